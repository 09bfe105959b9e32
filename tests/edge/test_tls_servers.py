"""TLS towards servers: who is believed, by which name, and why others are not (RFC 5922)."""

import ssl

import pytest
from authority import DAY_S, NOW_S, Holder, revoke
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL
from tls_ends import (
    BASE,
    GATEWAY,
    OTHER_ROOT,
    ROOT,
    SERVER,
    Peer,
    Side,
    accepted,
    connected,
    made,
    shake,
    terms_of,
    tls_certificate,
)

from sipguard.edge.stream.tls import Tls
from sipguard.edge.stream.tls_alerts import error_of, name_alerts
from sipguard.edge.stream.tls_contexts import KEPT, Wanted
from sipguard.edge.stream.tls_judging import verify
from sipguard.reason import Finding, Reason

PBX = tls_certificate("pbx", dns=("pbx.example.com",))
ASKED = Wanted(SERVER, 5061, b"pbx.example.com")
MAPPED = BASE + 'tls-server 192.0.2.1 name "pbx.example.com"\n'
BOTH = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def why(side: Side) -> Reason | None:
    """Return why a server was refused; None where it stands."""
    if side.inner.channel is not None:
        return None
    assert side.line.finding is not None
    return side.line.finding.reason


@pytest.mark.parametrize("version", BOTH)
def test_a_server_with_the_name_asked_for_is_spoken_to(version: ssl.TLSVersion) -> None:
    """The client's own name for it goes on as SNI, and the certificate must carry it."""
    peer = Peer(PBX, serves=True, version=version)
    names: list[str] = []
    peer.context.sni_callback = lambda _tls, name, _context: names.append(name)
    side = connected(made(), peer, ASKED)
    assert why(side) is None
    assert names == ["pbx.example.com"]
    assert side.inner.channel is not None
    assert side.inner.channel.tls_peer == ("pbx.example.com",)
    assert not side.inner.channel.tls_client_valid


def test_the_policy_names_the_server_where_the_client_does_not() -> None:
    """And before the client: what the operator says of an address counts (TLS-20)."""
    assert why(connected(made(MAPPED), Peer(PBX, serves=True))) is None
    lied = Wanted(SERVER, 5061, b"elsewhere.example.com")
    assert why(connected(made(MAPPED), Peer(PBX, serves=True), lied)) is None
    other = Wanted(b"\xc0\x00\x02\x02", 5061)
    assert why(connected(made(MAPPED), Peer(PBX, serves=True), other)) is Reason.TLS_WRONG_NAME


def test_without_any_name_the_address_must_stand_in_the_certificate() -> None:
    """As an iPAddress; IPv6 as well."""
    mine = tls_certificate("by address", addresses=("192.0.2.1", "2001:db8::1"))
    side = connected(made(), Peer(mine, serves=True))
    assert side.inner.channel is not None
    assert side.inner.channel.tls_peer == ("192.0.2.1", "2001:db8::1")
    six = Wanted(bytes.fromhex("20010db8" + "00" * 11 + "01"), 5061)
    assert why(connected(made(), Peer(mine, serves=True), six)) is None
    other = Wanted(b"\xc0\x00\x02\x02", 5061)
    assert why(connected(made(), Peer(mine, serves=True), other)) is Reason.TLS_WRONG_NAME


NAMES = {
    "another host": {"dns": ("elsewhere.example.com",)},
    "a wildcard": {"dns": ("*.example.com",)},
    "a part of it": {"dns": ("example.com",)},
    "more than it": {"dns": ("x.pbx.example.com",)},
    "another URI bars the DNS name": {"dns": ("pbx.example.com",), "uris": ("sip:example.org",)},
    "a user": {"uris": ("sip:pbx@pbx.example.com",)},
    "sips names no domain": {"uris": ("sips:pbx.example.com",)},
}


@pytest.mark.parametrize("what", NAMES)
@pytest.mark.parametrize("version", BOTH)
def test_a_server_with_another_name_is_refused(what: str, version: ssl.TLSVersion) -> None:
    """Whole names, sip URIs before DNS names, no wildcards (RFC 5922 section 7.2)."""
    certificate = tls_certificate(f"named {what}", **NAMES[what])  # type: ignore[arg-type]
    side = connected(made(), Peer(certificate, serves=True, version=version), ASKED)
    assert why(side) is Reason.TLS_WRONG_NAME
    assert side.line.finding is not None
    assert side.line.finding.detail.endswith("not pbx.example.com")


def test_a_port_in_a_uri_raises_nothing() -> None:
    """``sip:pbx.example.com:5061`` names the host all the same."""
    ported = tls_certificate("ported", uris=("sip:pbx.example.com:5061", "sip:[::1", "http://x"))
    assert why(connected(made(), Peer(ported, serves=True), ASKED)) is None


BAD = {
    Reason.CERTIFICATE_EXPIRED: tls_certificate(
        "old pbx", dns=("pbx.example.com",), until_s=NOW_S - DAY_S
    ),
    Reason.CERTIFICATE_NOT_YET: tls_certificate(
        "young pbx", dns=("pbx.example.com",), from_s=NOW_S + DAY_S
    ),
    Reason.UNKNOWN_ISSUER: tls_certificate("strange pbx", OTHER_ROOT, dns=("pbx.example.com",)),
    Reason.SELF_SIGNED: tls_certificate("own pbx", None, dns=("pbx.example.com",)),
}


@pytest.mark.parametrize("reason", BAD)
@pytest.mark.parametrize("version", BOTH)
def test_a_bad_certificate_names_its_fault(reason: Reason, version: ssl.TLSVersion) -> None:
    """And the server gets an alert, not one octet more."""
    peer = Peer(BAD[reason], serves=True, version=version)
    side = connected(made(), peer, ASKED)
    assert why(side) is reason
    assert peer.error is not None
    assert "ALERT" in str(peer.error.reason)
    assert peer.received == b""


def test_a_revoked_server_is_refused() -> None:
    """By the list that ``trust tls`` names (CERT-2)."""
    text = BASE.replace('"ca.pem"', '"ca.pem" crl "crl.pem"')
    listed = made(text, crl_pem=revoke(ROOT, PBX))
    assert why(connected(listed, Peer(PBX, serves=True), ASKED)) is Reason.CERTIFICATE_REVOKED
    clean = made(text, crl_pem=revoke(ROOT))
    assert why(connected(clean, Peer(PBX, serves=True), ASKED)) is None


def alert(tls: Tls, certificate: Holder, asked: Wanted = ASKED) -> str:
    """Return what a refused server is told."""
    peer = Peer(certificate, serves=True)
    assert why(connected(tls, peer, asked)) is not None
    assert peer.error is not None
    return str(peer.error.reason)


def test_a_refused_server_is_told_why() -> None:
    """Its admin looks there first; "internal error" would send him to us."""
    listed = BASE.replace('"ca.pem"', '"ca.pem" crl "crl.pem"')
    elsewhere = ASKED._replace(name=b"elsewhere.example.com")
    client = tls_certificate("a client", purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,))
    assert alert(made(listed, crl_pem=revoke(ROOT, PBX)), PBX).endswith("CERTIFICATE_REVOKED")
    assert alert(made(), PBX, elsewhere).endswith("BAD_CERTIFICATE")
    assert alert(made(), client).endswith("UNSUPPORTED_CERTIFICATE")
    assert alert(made(), ALONE).endswith("UNKNOWN_CA")
    old = tls_certificate("old", dns=("pbx.example.com",), until_s=NOW_S - DAY_S)
    assert alert(made(), old).endswith("CERTIFICATE_EXPIRED")


def test_every_refusal_has_an_alert_that_blames_a_certificate() -> None:
    """And without a finding nothing is made up."""
    assert error_of(None) == 0
    assert {error_of(Finding(reason)) > 0 for reason in Reason} == {True}


def test_without_names_of_pyopenssls_peers_are_told_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """And judged as ever."""
    monkeypatch.delattr(SSL.Connection, "_reverse_mapping")
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_PEER, verify)
    assert name_alerts(context, SSL.VERIFY_PEER) is None


def test_a_server_that_speaks_old_versions_only_is_refused() -> None:
    """TLS 1.1 (RFC 8996)."""
    peer = Peer(PBX, serves=True, version=ssl.TLSVersion.TLSv1_1, ciphers="ALL:@SECLEVEL=0")
    assert why(connected(made(), peer, ASKED)) is Reason.TLS_OLD_VERSION


def test_unverified_is_said_and_goes_on() -> None:
    """``tls-servers unverified``: the server stands, and is nobody."""
    text = BASE.split("\n")[1] + "\ntls-servers unverified\n"
    for certificate in (*BAD.values(), PBX):
        channel = connected(made(text), Peer(certificate, serves=True), ASKED).inner.channel
        assert channel is not None
        assert channel.tls_peer == ()
        assert channel.tls_failure != ""
    side = connected(made(BASE + "tls-servers unverified\n"), Peer(PBX, serves=True), ASKED)
    assert side.inner.channel is not None
    assert side.inner.channel.tls_peer == ("pbx.example.com",)


def test_the_gateway_shows_its_certificate_where_it_is_asked() -> None:
    """A trunk that wants mutual TLS gets the first certificate of ours."""
    peer = Peer(PBX, serves=True, trusts=ROOT)
    assert why(connected(made(), peer, ASKED)) is None
    shown = peer.tls.getpeercert()
    assert shown is not None
    assert ("DNS", "gw.example.com") in shown["subjectAltName"]
    assert GATEWAY.certificate.serial_number == int(str(shown["serialNumber"]), 16)


def test_sip_is_offered_where_the_client_offers_it() -> None:
    """A server that knows no ALPN, and one that does (RFC 7301)."""
    peer = Peer(PBX, serves=True, alpn=("sip/2",))
    connected(made(), peer, ASKED)
    assert peer.tls.selected_alpn_protocol() is None
    peer = Peer(PBX, serves=True, alpn=("sip/2",))
    assert why(connected(made(), peer, ASKED._replace(alpn=True))) is None
    assert peer.tls.selected_alpn_protocol() == "sip/2"
    assert why(connected(made(), Peer(PBX, serves=True), ASKED._replace(alpn=True))) is None


@pytest.mark.parametrize("version", BOTH)
def test_sessions_are_resumed(version: ssl.TLSVersion) -> None:
    """The second connection to a server saves the signatures, and it is the same server."""
    tls = made()
    first = Peer(PBX, serves=True, version=version)
    connected(tls, first, ASKED).hang_up()
    again = Peer(serves=True, context=first.context)
    side = connected(tls, again, ASKED)
    assert again.tls.session_reused
    assert side.inner.channel is not None
    assert side.inner.channel.tls_peer == ("pbx.example.com",)
    # Another name is another session: what it was verified for does not carry over.
    other = Peer(serves=True, context=first.context)
    side = connected(tls, other, ASKED._replace(name=b"elsewhere.example.com"))
    assert why(side) is Reason.TLS_WRONG_NAME


@pytest.mark.parametrize("version", BOTH)
def test_sessions_are_resumed_while_the_first_connection_lives(version: ssl.TLSVersion) -> None:
    """A gateway's connections last; each session is used once, and each brings the next."""
    tls = made()
    first = Peer(PBX, serves=True, version=version)
    side = connected(tls, first, ASKED)
    first.tls.write(b"OPTIONS")
    shake(side, first)
    sides = [side]
    for _ in range(2):
        again = Peer(serves=True, context=first.context)
        sides.append(connected(tls, again, ASKED))
        assert again.tls.session_reused
        again.tls.write(b"OPTIONS")
        shake(sides[-1], again)
    # Their ends keep nothing a second time, and spoil nothing.
    for one in sides:
        one.hang_up()
    last = Peer(serves=True, context=first.context)
    assert why(connected(tls, last, ASKED)) is None
    assert last.tls.session_reused


def test_connections_that_begin_together_have_sessions_each() -> None:
    """As far as earlier ones left some; what is kept of a server is bounded."""
    tls = made()
    context = Peer(PBX, serves=True).context

    def begin_together() -> int:
        """Return how many of them resumed a session."""
        begun = [(Side(tls, ASKED), Peer(serves=True, context=context)) for _ in range(KEPT + 2)]
        for side, peer in begun:
            shake(side, peer)
            assert why(side) is None
        for side, _ in begun:
            side.hang_up()
        return sum(bool(peer.tls.session_reused) for _, peer in begun)

    assert begin_together() == 0
    assert begin_together() == KEPT


@pytest.mark.parametrize("version", BOTH)
def test_another_certificate_in_place_of_a_resumption_is_judged(version: ssl.TLSVersion) -> None:
    """Whoever took the server's place cannot resume, and must not pass by what it once showed."""
    tls = made()
    connected(tls, Peer(PBX, serves=True, version=version), ASKED).hang_up()
    impostor = Peer(BAD[Reason.UNKNOWN_ISSUER], serves=True, version=version)
    side = connected(tls, impostor, ASKED)
    assert not impostor.tls.session_reused
    assert why(side) is Reason.UNKNOWN_ISSUER


@pytest.mark.parametrize("version", BOTH)
def test_a_certificate_that_expired_meanwhile_is_not_resumed(version: ssl.TLSVersion) -> None:
    """What it showed is judged at the time of each connection."""
    now_s = [NOW_S]
    tls = made(clock=None, utc_s=lambda: now_s[0])
    brief = tls_certificate("brief pbx", dns=("pbx.example.com",), until_s=NOW_S + 60)
    first = Peer(brief, serves=True, version=version)
    connected(tls, first, ASKED).hang_up()
    now_s[0] += 120
    again = Peer(serves=True, context=first.context)
    side = connected(tls, again, ASKED)
    assert again.tls.session_reused
    assert why(side) is Reason.CERTIFICATE_EXPIRED


# --- pinned certificates

ALONE = tls_certificate("an IP-PBX", None, dns=("pbx.example.com",))
NAMELESS = tls_certificate("FPBX 3000", None)
PINNED = 'trust tls pinned "pin.pem"\ntls-certificate "gw.pem" key "gw.key"\n'
ANY_NAME = PINNED.replace('"pin.pem"', '"pin.pem" pinned-any-name')


@pytest.mark.parametrize("version", BOTH)
def test_a_pinned_certificate_is_believed_as_it_is(version: ssl.TLSVersion) -> None:
    """A PBX with its own self-signed certificate: the operator has seen it, and says so."""
    peer = Peer(ALONE, serves=True, version=version)
    side = connected(made(PINNED, pin_pem=ALONE.pem), peer, ASKED)
    assert why(side) is None
    assert side.inner.channel is not None
    assert side.inner.channel.tls_peer == ("pbx.example.com",)


def test_nothing_but_that_certificate_is_believed() -> None:
    """Neither another with the same name, nor what it signs, nor an authority's beside it."""
    tls = made(PINNED, pin_pem=ALONE.pem)
    again = tls_certificate("an IP-PBX", None, dns=("pbx.example.com",))
    assert again.der != ALONE.der
    assert why(connected(tls, Peer(again, serves=True), ASKED)) is Reason.SELF_SIGNED
    below = tls_certificate("below", ALONE, dns=("pbx.example.com",))
    peer = Peer(below, serves=True, also=[ALONE])
    assert why(connected(tls, peer, ASKED)) is Reason.UNKNOWN_ISSUER
    assert why(connected(tls, Peer(PBX, serves=True), ASKED)) is Reason.UNKNOWN_ISSUER


def test_the_name_of_a_pinned_certificate_counts() -> None:
    """Else each server could pose as any other; unless the policy says otherwise."""
    other = Wanted(SERVER, 5061, b"elsewhere.example.com")
    assert why(connected(made(PINNED, pin_pem=ALONE.pem), Peer(ALONE, serves=True), other)) is (
        Reason.TLS_WRONG_NAME
    )
    for one in (ALONE, NAMELESS):
        tls = made(ANY_NAME, pin_pem=one.pem)
        assert why(connected(tls, Peer(one, serves=True), other)) is None
    beside = made(ANY_NAME.replace("tls pinned", 'tls ca "ca.pem" pinned'), pin_pem=NAMELESS.pem)
    assert why(connected(beside, Peer(PBX, serves=True), other)) is Reason.TLS_WRONG_NAME
    assert why(connected(beside, Peer(PBX, serves=True), ASKED)) is None


@pytest.mark.parametrize(
    ("from_day", "until_day", "purpose", "reason"),
    [
        (-2, -1, ExtendedKeyUsageOID.SERVER_AUTH, Reason.CERTIFICATE_EXPIRED),
        (1, 9, ExtendedKeyUsageOID.SERVER_AUTH, Reason.CERTIFICATE_NOT_YET),
        (-1, 9, ExtendedKeyUsageOID.CLIENT_AUTH, Reason.WRONG_KEY_USAGE),
    ],
)
def test_dates_and_purposes_of_a_pinned_certificate_count(
    from_day: int, until_day: int, purpose: x509.ObjectIdentifier, reason: Reason
) -> None:
    """The operator's word is for the key, not for ever; days count from now."""
    one = tls_certificate(
        f"pinned {reason.value}",
        None,
        dns=("pbx.example.com",),
        from_s=NOW_S + from_day * DAY_S,
        until_s=NOW_S + until_day * DAY_S,
        purposes=(purpose,),
    )
    assert why(connected(made(PINNED, pin_pem=one.pem), Peer(one, serves=True), ASKED)) is reason


def test_a_pinned_certificate_is_a_servers_alone() -> None:
    """It lets no client in, and without authorities nobody is asked for a certificate."""
    assert terms_of(PINNED, pin_pem=ALONE.pem).asks_clients == "none"
    text = ANY_NAME.replace("tls pinned", 'tls ca "ca.pem" pinned')
    side = accepted(made(text, pin_pem=ALONE.pem), Peer(ALONE))
    assert side.inner.channel is not None
    assert not side.inner.channel.tls_client_valid


def test_a_session_with_a_pinned_server_is_resumed() -> None:
    """And what it showed is judged anew."""
    tls = made(PINNED, pin_pem=ALONE.pem)
    peer = Peer(ALONE, serves=True)
    connected(tls, peer, ASKED).hang_up()
    again = Peer(serves=True, context=peer.context)
    assert why(connected(tls, again, ASKED)) is None
    assert again.tls.session_reused
