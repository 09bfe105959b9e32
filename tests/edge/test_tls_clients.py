"""TLS towards clients: versions, names, certificates, resumption, and why a handshake failed."""

import ssl
import tempfile
from pathlib import Path

import pytest
from authority import DAY_S, NOW_S, Holder, revoke
from cryptography.x509.oid import ExtendedKeyUsageOID
from tls_ends import (
    BASE,
    OTHER_ROOT,
    ROOT,
    Peer,
    Side,
    accepted,
    made,
    shake,
    terms_of,
    tls_certificate,
)

from sipguard.edge.stream.tls_credentials import read_credentials
from sipguard.reason import Reason

ALICE = tls_certificate("alice", uris=("sip:branch.example.com",))
REQUIRED = BASE + "tls-clients required\n"


@pytest.mark.parametrize(
    ("version", "name"), [(ssl.TLSVersion.TLSv1_2, "1.2"), (ssl.TLSVersion.TLSv1_3, "1.3")]
)
def test_both_living_versions_are_spoken(version: ssl.TLSVersion, name: str) -> None:
    """TLS 1.2 and 1.3, verified by the client against the authority of our certificate."""
    peer = Peer(trusts=ROOT, version=version, name="gw.example.com")
    side = accepted(made(), peer)
    assert peer.done
    assert peer.error is None
    assert side.inner.channel is not None
    assert side.inner.channel.tls_version == name
    assert side.inner.channel.tls_peer == ()
    assert not side.inner.channel.tls_client_valid


def test_what_is_said_comes_through() -> None:
    """Both ways, after the handshake."""
    peer = Peer()
    side = accepted(made(), peer)
    peer.tls.write(b"OPTIONS")
    side.inner.line.write(b"200")  # type: ignore[no-untyped-call]
    shake(side, peer)
    assert side.inner.received == b"OPTIONS"
    assert peer.received == b"200"


def test_the_name_asked_for_picks_the_certificate() -> None:
    """Two domains on one address (SNI); whoever asks for none gets the first certificate."""
    tls = made(BASE + 'tls-certificate "second.pem" key "second.key"\n')
    for name, expected in (
        ("gw.example.com", "gw"),
        ("GW.example.org", "second"),
        ("example.org", "second"),
        ("elsewhere.net", "gw"),
        (None, "gw"),
    ):
        peer = Peer(trusts=ROOT, name=name)
        accepted(tls, peer)
        assert _subject(peer) == expected


def _subject(peer: Peer) -> str:
    certificate = peer.tls.getpeercert()
    assert certificate is not None
    return str(certificate["subject"]).split("'")[3]


def test_the_name_is_there_for_the_way_onward() -> None:
    """What the client asked for, in lower case; an address is no name."""
    assert accepted(made(), Peer(name="PBX.example.com")).line.asked_for == b"pbx.example.com"
    assert accepted(made(), Peer()).line.asked_for == b""


def test_sip_is_agreed_on_where_it_is_offered() -> None:
    """ALPN: ``sip/2`` is taken; other offers, and none, fail nothing."""
    peer = Peer(alpn=("http/1.1", "sip/2"))
    side = accepted(made(), peer)
    assert peer.tls.selected_alpn_protocol() == "sip/2"
    assert side.line.speaks_sip
    for offered in ((), ("http/1.1",)):
        peer = Peer(alpn=offered)
        side = accepted(made(), peer)
        assert peer.done
        assert not side.line.speaks_sip


# --- clients' certificates


def test_a_client_with_a_valid_certificate_is_known() -> None:
    """Its domains are the identities of what it sends (RFC 5922 section 7.1, CERT-5)."""
    for text in (BASE, REQUIRED):
        channel = accepted(made(text), Peer(ALICE)).inner.channel
        assert channel is not None
        assert channel.tls_peer == ("branch.example.com",)
        assert channel.tls_client_valid
        assert channel.tls_failure == ""


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(("text", "known"), [(BASE, False), (REQUIRED, True)])
def test_browsers_are_asked_only_where_they_must(
    text: str, known: bool, version: ssl.TLSVersion
) -> None:
    """They give up a WebSocket whose server asks for a certificate that is optional."""
    side = Side(made(text), for_browsers=True)
    peer = Peer(ALICE, version=version, name="gw.example.com")
    shake(side, peer)
    assert side.inner.channel is not None
    assert side.inner.channel.tls_client_valid == known


def test_a_client_that_is_not_asked_stays_unknown() -> None:
    """``tls-clients none``: it has a certificate, and nobody wants to see it."""
    channel = accepted(made(BASE + "tls-clients none\n"), Peer(ALICE)).inner.channel
    assert channel is not None
    assert channel.tls_peer == ()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_without_certificate_is_refused_where_one_is_required(
    version: ssl.TLSVersion,
) -> None:
    """It never gets to say a word (TLS-20)."""
    tls = made(REQUIRED)
    side = accepted(tls, Peer(version=version))
    assert _why(side) is Reason.TLS_NO_CERTIFICATE
    assert tls.failed[Reason.TLS_NO_CERTIFICATE] == 1
    assert tls.handshakes == 0


def _why(side: Side) -> Reason | None:
    assert side.inner.channel is None
    assert side.line.finding is not None
    return side.line.finding.reason


BAD = {
    Reason.CERTIFICATE_EXPIRED: tls_certificate("old", dns=("a.example",), until_s=NOW_S - DAY_S),
    Reason.CERTIFICATE_NOT_YET: tls_certificate("young", dns=("a.example",), from_s=NOW_S + DAY_S),
    Reason.UNKNOWN_ISSUER: tls_certificate("stranger", OTHER_ROOT, dns=("a.example",)),
    Reason.SELF_SIGNED: tls_certificate("self", None, dns=("a.example",)),
    Reason.WEAK_SIGNATURE: tls_certificate("weak", dns=("a.example",), kind="rsa1024"),
    Reason.WRONG_KEY_USAGE: tls_certificate(
        "server only", dns=("a.example",), purposes=(ExtendedKeyUsageOID.SERVER_AUTH,)
    ),
}


@pytest.mark.parametrize("reason", BAD)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_bad_certificate_names_its_fault(reason: Reason, version: ssl.TLSVersion) -> None:
    """Required: refused, and the record says why. Optional: the client is just unknown."""
    peer = Peer(version=version, context=_weak_client(BAD[reason], version))
    side = accepted(made(REQUIRED), peer)
    assert _why(side) is reason
    assert side.line.finding is not None
    assert "certificate" in side.line.finding.detail
    peer = Peer(version=version, context=_weak_client(BAD[reason], version))
    channel = accepted(made(), peer).inner.channel
    assert channel is not None
    assert channel.tls_peer == ()
    assert channel.tls_failure != ""
    assert not channel.tls_client_valid


def _weak_client(certificate: Holder, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Let the other side show what its own library would not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "both.pem"
        path.write_bytes(certificate.pem + certificate.key_pem)
        context.load_cert_chain(path)
    return context


def test_a_revoked_certificate_is_refused() -> None:
    """By the list that ``trust tls`` names (CERT-2)."""
    text = REQUIRED.replace('"ca.pem"', '"ca.pem" crl "crl.pem"')
    listed = revoke(ROOT, ALICE)
    assert _why(accepted(made(text, crl_pem=listed), Peer(ALICE))) is Reason.CERTIFICATE_REVOKED
    other = accepted(made(text, crl_pem=revoke(ROOT)), Peer(ALICE))
    assert other.inner.channel is not None


def test_the_client_is_told_what_is_wrong() -> None:
    """An alert that fits."""
    for reason, alert in (
        (Reason.CERTIFICATE_EXPIRED, "EXPIRED"),
        (Reason.UNKNOWN_ISSUER, "UNKNOWN_CA"),
    ):
        peer = Peer(BAD[reason])
        accepted(made(REQUIRED), peer)
        assert peer.error is not None
        assert alert in str(peer.error.reason)
    peer = Peer(ALICE)
    listed = REQUIRED.replace('"ca.pem"', '"ca.pem" crl "crl.pem"')
    accepted(made(listed, crl_pem=revoke(ROOT, ALICE)), peer)
    assert peer.error is not None
    assert "CERTIFICATE_REVOKED" in str(peer.error.reason)


# --- resumption


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("text", [BASE, REQUIRED])
def test_sessions_are_resumed(version: ssl.TLSVersion, text: str) -> None:
    """A client that comes again saves the signatures, and is known as it was."""
    tls = made(text)
    first = Peer(ALICE, version=version)
    accepted(tls, first)
    again = Peer(context=first.context, session=first.tls.session)
    channel = accepted(tls, again).inner.channel
    assert again.tls.session_reused
    assert channel is not None
    assert channel.tls_peer == ("branch.example.com",)
    assert channel.tls_client_valid


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_that_expired_meanwhile_resumes_nothing(version: ssl.TLSVersion) -> None:
    """The session is good for an hour, the certificate is not: it is judged each time."""
    now_s = [NOW_S]
    tls = made(REQUIRED, utc_s=lambda: now_s[0])
    client = tls_certificate("brief", dns=("brief.example.com",), until_s=NOW_S + 60)
    first = Peer(client, version=version)
    assert accepted(tls, first).inner.channel is not None
    now_s[0] = NOW_S + 120
    again = Peer(context=first.context, session=first.tls.session)
    side = accepted(tls, again)
    assert again.tls.session_reused
    assert _why(side) is Reason.CERTIFICATE_EXPIRED
    assert side.inner.refused is not None


def test_a_reload_ends_old_sessions_and_no_connection() -> None:
    """New connections see the new certificate; the old one lives on."""
    tls = made()
    peer = Peer(trusts=ROOT)
    side = accepted(tls, peer)
    terms = terms_of(BASE.replace("gw.", "second."))
    tls.use(read_credentials(terms, NOW_S), terms)
    again = Peer(context=peer.context, session=peer.tls.session)
    accepted(tls, again)
    assert not again.tls.session_reused
    assert _subject(again) == "second"
    peer.tls.write(b"still here")
    shake(side, peer)
    assert side.inner.received == b"still here"


def test_ticket_keys_change_once_a_day() -> None:
    """RFC 9325 section 4.3: a key that leaks later opens no old session."""
    now_s = [NOW_S]
    tls = made(REQUIRED, utc_s=lambda: now_s[0])
    before = tls.ends
    now_s[0] += 3600
    tls.renew()
    assert tls.ends is before
    now_s[0] += 86400
    tls.renew()
    assert tls.ends is not before
