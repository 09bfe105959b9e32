"""Who is at the other end of TLS: names out of certificates, however odd (RFC 5922)."""

from ipaddress import ip_address, ip_network

import pytest
from authority import NOW_S, issue, make_authority, usage
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from sipguard.identity.certificate import read_certificate
from sipguard.identity.names import names_in
from sipguard.identity.peers import Expected, Peer, Peers, identities_of
from sipguard.identity.trust import SIP_DOMAIN, Store
from sipguard.reason import Finding, Reason

ROOT = make_authority("Peers Root")
MIDDLE = make_authority("Peers Middle", ROOT)
PEERS = Peers(Store([ROOT.der]))
SIGNS = ((usage(digital_signature=True), True),)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
NAME = Expected(b"example.com", b"\xc0\x00\x02\x01")


def test_what_a_certificate_names() -> None:
    """SIP domains before hosts, and addresses (CERT-5)."""
    both = issue("both", ROOT, uris=("sip:example.com", "sip:a@b.example"), dns=("x.example",))
    assert identities_of(read_certificate(both.der)) == ("example.com",)
    hosts = issue("hosts", ROOT, dns=("A.example", "b.example"))
    assert identities_of(read_certificate(hosts.der)) == ("a.example", "b.example")


@pytest.mark.parametrize(
    ("purposes", "serves", "asks"),
    [
        ((), True, True),
        ((SERVER,), True, False),
        ((CLIENT,), False, True),
        ((SIP_DOMAIN,), True, True),
        ((ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,), True, True),
        ((ExtendedKeyUsageOID.EMAIL_PROTECTION,), False, False),
    ],
)
def test_purposes(purposes: tuple[x509.ObjectIdentifier, ...], serves: bool, asks: bool) -> None:
    """What a certificate says it is for (CERT-7, RFC 5924)."""
    name = "for " + " ".join(one.dotted_string for one in purposes)
    one = issue(name, ROOT, dns=("example.com",), purposes=purposes, extensions=SIGNS)
    assert isinstance(PEERS.server([one.der], NAME, NOW_S), Peer) is serves
    assert isinstance(PEERS.client([one.der], NOW_S), Peer) is asks


def test_issuers_that_come_along_are_used() -> None:
    """In any order, and only those."""
    one = issue("below", MIDDLE, dns=("example.com",), extensions=SIGNS)
    found = PEERS.server([one.der], NAME, NOW_S)
    assert isinstance(found, Finding)
    assert found.reason is Reason.UNKNOWN_ISSUER
    assert PEERS.server([one.der, ROOT.der, MIDDLE.der], NAME, NOW_S) == Peer(("example.com",))


def test_no_certificate_and_no_der_prove_nobody() -> None:
    """A reason, not an exception."""
    for chain, reason in (
        ([], Reason.TLS_NO_CERTIFICATE),
        ([b"\x30\x00"], Reason.BAD_CERTIFICATE),
    ):
        found = PEERS.client(chain, NOW_S)
        assert isinstance(found, Finding)
        assert found.reason is reason


def test_an_address_is_no_answer_to_a_name() -> None:
    """Whoever asks for a name must get it; that the address is right proves another thing."""
    names = (x509.SubjectAlternativeName([x509.IPAddress(ip_address("192.0.2.1"))]), False)
    one = issue("by address alone", ROOT, extensions=(*SIGNS, names))
    assert isinstance(PEERS.server([one.der], NAME, NOW_S), Finding)
    assert PEERS.server([one.der], NAME._replace(name=b""), NOW_S) == Peer(("192.0.2.1",))


def test_the_sentence_names_both() -> None:
    """Whom it names, and whom not; a long list is cut."""
    many = issue("many", ROOT, dns=[f"h{n}.example" for n in range(9)], extensions=SIGNS)
    found = PEERS.server([many.der], NAME, NOW_S)
    assert isinstance(found, Finding)
    assert found.reason is Reason.TLS_WRONG_NAME
    assert found.detail == (
        "the server's certificate names h0.example, h1.example, h2.example, h3.example "
        "and 5 more, not example.com"
    )
    nobody = issue("nobody", ROOT, extensions=SIGNS)
    found = PEERS.server([nobody.der], Expected(b"", b"\xc0\x00\x02\x01"), NOW_S)
    assert isinstance(found, Finding)
    assert found.detail == "the server's certificate names nobody, not 192.0.2.1"


_TEXTS = st.text(st.characters(max_codepoint=127), max_size=40) | st.sampled_from(
    [
        "sip:example.com:5061",
        "sip:[::1]:x",
        "sip:a@example.com;b=c",
        "*.example.com",
        "sip:",
        "sips:",
    ]
)
_NAMES = st.one_of(
    _TEXTS.map(x509.DNSName),
    _TEXTS.map(x509.UniformResourceIdentifier),
    st.sampled_from(["a@example.com", '"a b"@example.com', "a@[::1]"]).map(x509.RFC822Name),
    st.ip_addresses().map(x509.IPAddress),
    st.just(x509.IPAddress(ip_network("192.0.2.0/24"))),
    st.just(x509.RegisteredID(SIP_DOMAIN)),
    st.just(x509.OtherName(SIP_DOMAIN, b"\x05\x00")),
)


@given(st.lists(_NAMES, max_size=8))
def test_odd_names_never_raise(names: list[x509.GeneralName]) -> None:
    """Ports, users, wildcards, other kinds: what is no name of a peer is passed over."""
    found = names_in(names, "")
    for domain in found.domains:
        assert b"*" not in domain
        assert b"@" not in domain
        assert domain.decode("ascii")
    assert all(len(address) in (4, 16) for address in found.addresses)
