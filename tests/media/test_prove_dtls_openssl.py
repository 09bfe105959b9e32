"""Handshakes of OpenSSL: the prover is shown every datagram, and those it refuses are lost."""

from random import Random

import pytest
from dtls_ends import BOTH, Datagram, context_of, end, identity, prints_of, talk
from dtls_line import ALICE, BOB, MALLORY, PROVEN, QUIET, REFUSED, Line, formats
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from sipguard.media.proof import Word
from sipguard.media.prove_dtls import MAX_LEAKS, DtlsProver
from sipguard.reason import Reason


@pytest.fixture(params=[280, 500, 1200], ids=lambda mtu: f"mtu {mtu}")
def mtu(request: pytest.FixtureRequest) -> int:
    """Small ones cut certificates, hellos and tickets into fragments."""
    return int(request.param)


def test_dtl_4_a_good_handshake_proves_both_directions(mtu: int) -> None:
    """Certificates as signalled, profile agreed, both encrypt: SRTP is believed, not before."""
    line = Line()
    early = line.media()
    assert early == QUIET
    assert talk(
        end(BOB, is_client=True, mtu=mtu), end(ALICE, is_client=False, mtu=mtu), line.passes
    )
    assert line.findings() == set()
    assert line.media() == PROVEN
    assert "signalled certificates" in line.prover.told(True)


@pytest.mark.parametrize("kind", ["p256", "rsa2048"])
@pytest.mark.parametrize("profile", [b"SRTP_AES128_CM_SHA1_80", b"SRTP_AES128_CM_SHA1_32"])
def test_kinds_of_keys_and_profiles(kind: str, profile: bytes) -> None:
    """The profile says how long a packet must be; clear ones are dropped, and then told of."""
    alice, bob = identity("alice", kind), identity("bob", kind)
    prints = prints_of(alice), prints_of(bob, b"sha-512")
    line = Line(DtlsProver(*prints, b"passive", b"active", False, formats()))
    client = end(bob, is_client=True, profiles=profile)
    assert talk(client, end(alice, is_client=False, profiles=profile), line.passes)
    assert client.get_selected_srtp_profile() == profile
    for _ in range(MAX_LEAKS):
        assert line.media(0) == QUIET
    assert line.media(0) == REFUSED
    assert line.findings() == {Reason.PLAIN_RTP}
    assert line.media(10 if profile.endswith(b"80") else 4) == PROVEN


def test_dtl_4_the_servers_certificate_was_swapped(mtu: int) -> None:
    """The client never sees it whole, so it cannot finish; nothing is ever proven."""
    line = Line()
    client, server = end(BOB, is_client=True, mtu=mtu), end(MALLORY, is_client=False, mtu=mtu)
    assert not talk(client, server, line.passes)
    assert Reason.DTLS_FINGERPRINT in line.findings()
    assert line.media() == REFUSED
    assert line.sights[-1].finding is not None
    assert line.sights[-1].finding.reason is Reason.DTLS_FINGERPRINT
    assert "another fingerprint" in line.prover.told(False)


def test_dtl_4_the_clients_certificate_was_swapped(mtu: int) -> None:
    """The same in the other direction: what follows the wrong certificate is refused, too."""
    line = Line()
    client, server = end(MALLORY, is_client=True, mtu=mtu), end(ALICE, is_client=False, mtu=mtu)
    assert not talk(client, server, line.passes)
    assert line.findings() == {Reason.DTLS_FINGERPRINT}
    assert [sight.word for sight in line.sights[-2:]] == [Word.REFUSE] * 2  # CCS, Finished
    assert line.media() == REFUSED


def test_dtl_4_both_certificates_belong_to_the_other_side() -> None:
    """Right fingerprints, wrong ends: each side is held to its own."""
    line = Line()
    assert not talk(end(ALICE, is_client=True), end(BOB, is_client=False), line.passes)
    assert line.findings() == {Reason.DTLS_FINGERPRINT}


def test_dtl_5_a_client_that_does_not_offer_srtp() -> None:
    """DTLS for something else: the ClientHello goes nowhere."""
    line = Line()
    assert not talk(
        end(BOB, is_client=True, profiles=b""), end(ALICE, is_client=False), line.passes
    )
    assert [sight.word for sight in line.sights] == [Word.REFUSE]
    assert line.findings() == {Reason.DTLS_NO_SRTP}
    assert line.media() == QUIET


def test_dtl_5_a_server_that_does_not_take_srtp() -> None:
    """Its ServerHello says so in clear; the client never gets it."""
    line = Line()
    assert not talk(
        end(BOB, is_client=True), end(ALICE, is_client=False, profiles=b""), line.passes
    )
    assert line.findings() == {Reason.DTLS_NO_SRTP}
    assert line.media() == REFUSED


def test_dtl_4_a_client_that_shows_no_certificate_though_asked() -> None:
    """An empty Certificate message is none."""
    line = Line()
    assert not talk(end(None, is_client=True), end(ALICE, is_client=False), line.passes)
    assert line.findings() == {Reason.DTLS_NO_CERTIFICATE}
    assert line.media() == REFUSED


def test_dtl_4_a_client_that_nobody_asks_for_a_certificate() -> None:
    """Mutual authentication is not the server's to waive (RFC 5763 section 5)."""
    line = Line()
    server = end(ALICE, is_client=False, asks=False)
    assert not talk(end(BOB, is_client=True), server, line.passes)
    assert line.findings() == {Reason.DTLS_NO_CERTIFICATE}
    assert line.media() == REFUSED


def test_dtl_8_the_passive_side_begins() -> None:
    """Roles are negotiated: who should wait does not send a ClientHello."""
    line = Line()
    wrong_way = lambda datagram: line.passes(Datagram(not datagram.by_client, datagram.octets))  # noqa: E731
    assert not talk(end(ALICE, is_client=True), end(BOB, is_client=False), wrong_way)
    assert line.findings() == {Reason.DTLS_ROLE}
    assert line.media() == QUIET


def test_a_second_handshake_on_the_same_ports() -> None:
    """Media goes on under the first until the second is over (RFC 6347 section 4.2.8)."""
    line = Line()
    assert talk(end(BOB, is_client=True), end(ALICE, is_client=False), line.passes)
    assert line.media() == PROVEN

    def passes(datagram: Datagram) -> bool:
        assert line.media() == PROVEN
        return line.passes(datagram)

    assert talk(end(BOB, is_client=True), end(ALICE, is_client=False), passes)
    assert line.media() == PROVEN
    assert line.findings() == set()


def test_dtl_4_a_second_handshake_with_another_certificate() -> None:
    """It cannot finish, so the first one's keys stay in use, and its media passes."""
    for wrong_client in (True, False):
        line = Line()
        assert talk(end(BOB, is_client=True), end(ALICE, is_client=False), line.passes)
        assert line.media() == PROVEN
        client = end(MALLORY if wrong_client else BOB, is_client=True)
        server = end(ALICE if wrong_client else MALLORY, is_client=False)
        assert not talk(client, server, line.passes)
        assert line.findings() == {Reason.DTLS_FINGERPRINT}
        assert line.media() == PROVEN
        assert talk(end(BOB, is_client=True), end(ALICE, is_client=False), line.passes)


@pytest.mark.parametrize("accepts", [False, True])
def test_dtl_4_a_resumed_session_shows_no_certificates(accepts: bool) -> None:
    """Whoever once had a session: unknown, so policy decides, as of DTLS 1.3."""
    bob, alice = context_of(BOB), context_of(ALICE)
    alice.set_session_id(b"sipguard")
    first = end(None, is_client=True, context=bob)
    assert talk(first, end(None, is_client=False, context=alice), Line().passes)
    session = first.get_session()
    assert session is not None
    first.shutdown()  # a connection that dies without takes its session along
    line = Line(accept_hidden=accepts)
    client = end(None, is_client=True, context=bob, session=session)
    server = end(None, is_client=False, context=alice)
    assert talk(client, server, line.passes) is accepts
    assert line.findings() == {Reason.DTLS_HIDDEN}
    words = [sight.word for sight in line.sights]
    assert (Word.REFUSE in words) is not accepts
    assert line.media() == (PROVEN if accepts else REFUSED)
    assert "resumed" in line.prover.told(True)


def flights() -> list[list[Datagram]]:
    """One honest handshake, cut into the turns that its ends take."""
    found: list[list[Datagram]] = []

    def passes(datagram: Datagram) -> bool:
        if not found or found[-1][0].by_client != datagram.by_client:
            found.append([])
        found[-1].append(datagram)
        return True

    assert talk(end(BOB, is_client=True, mtu=280), end(ALICE, is_client=False, mtu=280), passes)
    assert len(found) == 4
    return found


FLIGHTS = flights()


@given(st.integers(0, 2**32))
def test_losses_repetitions_and_disorder(seed: int) -> None:
    """Whatever the network does to an honest handshake, nobody is accused, and it is proven.

    A flight may arrive in any order, and old datagrams may come again. What is dropped the
    sender sends again with all its flight.
    """
    chance = Random(seed)
    line = Line()
    seen: list[Datagram] = []
    for flight in FLIGHTS:
        missing = set(flight)
        while missing:
            for datagram in chance.sample(flight, len(flight)):
                for old in chance.choices(seen, k=chance.randrange(3)) if seen else ():
                    line.passes(old)
                if line.passes(datagram):
                    missing.discard(datagram)
                seen.append(datagram)
    assert line.findings() == set()
    assert line.media() == PROVEN
    for flight in FLIGHTS[2:]:  # what the ends may still send again
        for datagram in chance.sample(flight, len(flight)):
            assert line.passes(datagram)
    assert line.findings() == set()
    assert line.media() == PROVEN


@pytest.mark.parametrize("missed", [0, 1, 2, 4, 7, 12])
def test_a_handshake_that_began_unseen_passes_and_proves_nothing(missed: int) -> None:
    """The hole opened in the middle of it: DTLS goes on, and the next one proves."""
    line = Line()
    count = iter(range(1000))

    def passes(datagram: Datagram) -> bool:
        return next(count) < missed or line.passes(datagram)

    client, server = end(BOB, is_client=True, mtu=280), end(ALICE, is_client=False, mtu=280)
    assert talk(client, server, passes)
    assert line.findings() == set()
    words = line.media()
    assert words in (PROVEN, QUIET)
    assert (words == PROVEN) is (missed <= 1)  # the ClientHello
    assert talk(end(BOB, is_client=True), end(ALICE, is_client=False), line.passes)
    assert line.findings() == set()
    assert line.media() == PROVEN


def test_dtl_6_application_data_does_not_pass() -> None:
    """An encrypted channel beside the media would pass whatever it likes."""
    line = Line()
    client, server = end(BOB, is_client=True), end(ALICE, is_client=False)
    assert talk(client, server, line.passes)
    assert client.send(b"anything") == 8
    assert not line.passes(Datagram(True, client.bio_read(2000)))
    assert line.findings() == {Reason.BAD_DTLS}
    client.shutdown()
    assert line.passes(Datagram(True, client.bio_read(2000)))  # an alert


def test_openssl_offers_what_these_tests_think() -> None:
    """Certificates do go over in clear: this is DTLS 1.2."""
    client, server = end(BOB, is_client=True), end(ALICE, is_client=False)
    assert talk(client, server, lambda _: True)
    assert client.get_protocol_version_name() == "DTLSv1.2"
    assert isinstance(server, SSL.Connection)
    assert BOTH.startswith(server.get_selected_srtp_profile())
