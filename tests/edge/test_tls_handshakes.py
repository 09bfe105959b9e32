"""Handshakes with clients that fail, take too long or are too many; and how connections end."""

import ssl
from contextlib import suppress

import pytest
from OpenSSL import SSL
from tls_ends import BASE, OTHER_ROOT, Peer, Side, accepted, made
from twisted.internet.task import Clock

from sipguard.edge.stream.tls import HANDSHAKE_S, LINGER_S, MAX_HANDSHAKES
from sipguard.reason import Reason


def _why(side: Side) -> Reason | None:
    assert side.inner.channel is None
    assert side.line.finding is not None
    return side.line.finding.reason


class Brake:
    """Something that never ends by itself."""

    def pauseProducing(self) -> None:  # noqa: N802
        """Wait."""

    def resumeProducing(self) -> None:  # noqa: N802
        """Go on."""

    def stopProducing(self) -> None:  # noqa: N802
        """End."""


@pytest.mark.parametrize(
    ("version", "name"),
    [(ssl.TLSVersion.TLSv1, "TLS 1.0"), (ssl.TLSVersion.TLSv1_1, "TLS 1.1")],
)
def test_old_versions_are_refused_by_name(version: ssl.TLSVersion, name: str) -> None:
    """RFC 8996, TLS-22; the record says which telephone must be updated, and why."""
    peer = Peer(version=version, ciphers="ALL:@SECLEVEL=0")
    side = accepted(made(), peer)
    assert _why(side) is Reason.TLS_OLD_VERSION
    assert side.line.finding is not None
    assert name in side.line.finding.detail
    assert peer.error is not None
    assert "PROTOCOL_VERSION" in str(peer.error.reason)


def test_the_policy_may_want_tls_13() -> None:
    """``tls-minimum 1.3``."""
    tls = made(BASE + "tls-minimum 1.3\n")
    assert _why(accepted(tls, Peer(version=ssl.TLSVersion.TLSv1_2))) is Reason.TLS_OLD_VERSION
    assert accepted(tls, Peer()).inner.channel is not None


def test_old_ciphers_are_refused() -> None:
    """RFC 3261's own mandatory suite has no forward secrecy (TLS-22)."""
    peer = Peer(version=ssl.TLSVersion.TLSv1_2, ciphers="AES128-SHA:@SECLEVEL=0")
    assert _why(accepted(made(), peer)) is Reason.TLS_NO_CIPHER


@pytest.mark.parametrize(
    "octets",
    [
        b"OPTIONS sip:a SIP/2.0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x80\x2e\x01\x00\x02" + bytes(60),
    ],
)
def test_what_is_not_tls_is_garbage(octets: bytes) -> None:
    """SIP in clear on the TLS port, a browser, SSL 2."""
    side = Side(made())
    side.line.dataReceived(octets)
    side.hang_up()
    assert _why(side) is Reason.TLS_GARBAGE


def test_a_broken_handshake_is_garbage() -> None:
    """It begins as TLS does, and goes on as it should not."""
    side = Side(made())
    side.line.dataReceived(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xff")
    side.hang_up()
    assert _why(side) is Reason.TLS_GARBAGE


def test_a_client_that_does_not_like_our_certificate_says_so() -> None:
    """Its alert, in words that lead to the cause."""
    peer = Peer(trusts=OTHER_ROOT)
    side = accepted(made(), peer)
    assert _why(side) is Reason.TLS_ALERT
    assert side.line.finding is not None
    assert "does not trust the authority" in side.line.finding.detail


def test_a_client_that_goes_away_is_told_from_one_that_breaks_rules() -> None:
    """Silent or in the middle of it."""
    tls = made()
    side = Side(tls)
    side.hang_up()
    assert _why(side) is Reason.TLS_HUNG_UP
    side = Side(tls)
    side.line.dataReceived(Peer().turn(b""))
    side.hang_up()
    assert _why(side) is Reason.TLS_HUNG_UP
    assert tls.failed[Reason.TLS_HUNG_UP] == 2
    assert tls.handshakes == 0


def test_a_handshake_has_its_time() -> None:
    """Whoever sends one octet a second gets no place for an hour."""
    clock = Clock()
    side = Side(made(clock=clock))
    clock.advance(HANDSHAKE_S - 1)
    side.line.dataReceived(b"\x16")
    assert not side.is_cut_off()
    clock.advance(1)
    assert side.is_cut_off()
    side.hang_up()
    assert _why(side) is Reason.TLS_TIMEOUT
    assert clock.getDelayedCalls() == []


def test_handshakes_in_progress_are_bounded() -> None:
    """The one beyond the bound is refused at once; a place that is free again is given again."""
    tls = made()
    tls.handshakes = MAX_HANDSHAKES
    side = Side(tls)
    assert side.wire.disconnected
    side.hang_up()
    assert _why(side) is Reason.TLS_BUSY
    tls.handshakes -= 1
    assert not Side(tls).wire.disconnected


def test_a_connection_that_stands_has_no_deadline() -> None:
    """A telephone is silent for minutes."""
    clock = Clock()
    side = accepted(made(clock=clock), Peer())
    assert clock.getDelayedCalls() == []
    clock.advance(3600)
    assert not side.wire.disconnected


def test_a_peer_that_does_not_say_goodbye_is_cut_off() -> None:
    """We close; it never answers, and holds the connection open."""
    clock = Clock()
    side = accepted(made(clock=clock), Peer())
    side.line.loseConnection()
    assert not side.is_cut_off()
    clock.advance(LINGER_S)
    assert side.is_cut_off()


def test_a_producer_does_not_hold_the_goodbye_back() -> None:
    """The brake between both legs is one, for as long as the connection lives."""
    peer = Peer()
    side = accepted(made(), peer)
    side.line.registerProducer(Brake(), True)  # type: ignore[no-untyped-call]
    side.line.loseConnection()
    peer.turn(side.wire.value())
    assert peer.is_over


def test_nobody_renegotiates() -> None:
    """Attacks on renegotiation have no door: the connection goes on without (RFC 9325)."""
    side = Side(made())
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    client = SSL.Connection(context)
    client.set_connect_state()

    def pump() -> None:
        for _ in range(10):
            with suppress(SSL.WantReadError):
                client.do_handshake()
            with suppress(SSL.WantReadError):
                side.line.dataReceived(client.bio_read(65536))
            if side.wire.value():
                client.bio_write(side.wire.value())
                side.wire.clear()

    pump()
    assert side.inner.channel is not None
    client.renegotiate()
    with pytest.raises(SSL.Error, match="no renegotiation"):
        pump()
