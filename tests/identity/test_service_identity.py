"""How our reading of a certificate's names differs from service-identity's, on record.

RFC 5922 wants more than RFC 6125 does: no wildcards, sip URIs before DNS names, nothing that an
odd name beside the right one could break. What service-identity matches is only part of ours.
"""

import re
from ipaddress import ip_address
from typing import Final

import pytest
from authority import NOW_S, issue, make_authority, usage
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import extract_patterns
from service_identity.hazmat import DNS_ID, URI_ID, ServiceID, verify_service_identity

from sipguard.errors import HostileInput
from sipguard.identity.peers import Expected, Peer, Peers, _is_named
from sipguard.identity.trust import Store
from sipguard.reason import Finding, Reason
from sipguard.wire.uri import parse_host

ROOT: Final = make_authority("Names Root")
PEERS: Final = Peers(Store([ROOT.der]))
SIGNS: Final = ((usage(digital_signature=True), True),)
HOST: Final = "sip.example.com"
ADDRESS: Final = b"\xc0\x00\x02\x01"
dns, uri = x509.DNSName, x509.UniformResourceIdentifier
ODD: Final = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7"), b"\x04\x01x")


def certificate(*names: x509.GeneralName) -> bytes:
    """Return a server's certificate with these names."""
    alternative = (x509.SubjectAlternativeName(names), False)
    extensions = (*SIGNS, alternative) if names else SIGNS
    return issue(f"names {names}"[:60], ROOT, extensions=extensions).der


def ours(der: bytes, name: str) -> str:
    """Return ``yes`` or ``no``; anything else is not expected of us."""
    found = PEERS.server([der], Expected(name.encode(), ADDRESS), NOW_S)
    if isinstance(found, Finding):
        assert found.reason is Reason.TLS_WRONG_NAME
    return "yes" if isinstance(found, Peer) else "no"


def theirs(der: bytes, wanted: ServiceID) -> str:
    """Return ``yes``, ``no``, or the exception."""
    try:
        patterns = extract_patterns(x509.load_der_x509_certificate(der))
        verify_service_identity(patterns, [wanted], [])
    except VerificationError:
        return "no"
    except (CertificateError, ValueError) as error:
        return type(error).__name__
    return "yes"


@pytest.mark.parametrize(
    ("names", "name", "we", "by_dns", "by_uri"),
    [
        ([uri("sip:sip.example.com")], HOST, "yes", "no", "yes"),
        ([uri("SIP:SIP.example.COM")], HOST, "yes", "no", "yes"),
        ([dns("sip.example.com")], HOST, "yes", "yes", "no"),
        ([dns("SIP.Example.COM")], HOST, "yes", "yes", "no"),
        ([dns("other.example.com"), dns("sip.example.com")], HOST, "yes", "yes", "no"),
        ([dns("other.example.com")], HOST, "no", "no", "no"),
        # RFC 5922 section 7.1: where a sip URI stands, DNS names say nothing.
        ([uri("sip:other.example"), dns("sip.example.com")], HOST, "no", "yes", "no"),
        ([uri("sip:a@other.example"), dns("sip.example.com")], HOST, "yes", "yes", "no"),
        # A user's URI is not the domain's; service-identity compares all behind the colon.
        ([uri("sip:a@sip.example.com")], HOST, "no", "no", "no"),
        # RFC 5922 section 7.2: no wildcards.
        ([dns("*.example.com")], HOST, "no", "yes", "no"),
        ([dns("*.example.com"), dns("sip.example.com")], HOST, "yes", "yes", "no"),
        ([dns("*.com")], HOST, "no", "CertificateError", "CertificateError"),
        ([dns("*"), dns("sip.example.com")], HOST, "yes", "CertificateError", "CertificateError"),
        # A port is no part of the name.
        ([uri("sip:sip.example.com:5061")], HOST, "yes", "ValueError", "ValueError"),
        (
            [uri("sip:sip.example.com:5061"), dns("sip.example.com")],
            HOST, "yes", "ValueError", "ValueError",
        ),
        ([uri("sips:sip.example.com")], HOST, "no", "no", "no"),
        ([uri("sip:sip.example.com;transport=tls")], HOST, "yes", "no", "no"),
        ([uri("https://sip.example.com/a:b"), dns("sip.example.com")], HOST, "yes",
         "ValueError", "ValueError"),
        # Odd names beside the right one.
        ([dns("sip.example.com"), dns("192.0.2.1")], HOST, "yes",
         "CertificateError", "CertificateError"),
        ([dns("sip.example.com"), dns("")], HOST, "yes", "CertificateError", "CertificateError"),
        ([dns("sip.example.com"), dns("a\0b")], HOST, "yes",
         "CertificateError", "CertificateError"),
        ([dns("sip.example.com"), uri("sip:*")], HOST, "yes",
         "CertificateError", "CertificateError"),
        ([dns("sip.example.com"), ODD], HOST, "yes", "CertificateError", "CertificateError"),
        ([dns("sip.example.com\0.evil.example")], HOST, "no",
         "CertificateError", "CertificateError"),
        ([x509.RFC822Name("a@sip.example.com")], HOST, "no",
         "CertificateError", "CertificateError"),
        ([], HOST, "no", "CertificateError", "CertificateError"),
        # An IDN stands as A-labels in certificates (RFC 5280 section 7.2) and in SIP.
        ([dns("xn--bcher-kva.example")], "xn--bcher-kva.example", "yes", "yes", "no"),
        ([dns("*.xn--bcher-kva.example")], "a.xn--bcher-kva.example", "no", "yes", "no"),
    ],
)  # fmt: skip
def test_side_by_side(
    names: list[x509.GeneralName], name: str, we: str, by_dns: str, by_uri: str
) -> None:
    """CERT-5, CERT-6, TLS-20: we say yes for RFC 5922's reasons, and never raise."""
    der = certificate(*names)
    found = (ours(der, name), theirs(der, DNS_ID(name)), theirs(der, URI_ID(f"sip:{name}")))
    assert found == (we, by_dns, by_uri)


def test_an_address_is_matched_whole() -> None:
    """As an address, not as text; a DNS name that looks like one is none."""
    named = certificate(x509.IPAddress(ip_address("192.0.2.1")))
    assert isinstance(PEERS.server([named], Expected(b"", ADDRESS), NOW_S), Peer)
    for names in ([x509.IPAddress(ip_address("192.0.2.2"))], [dns("192.0.2.1")]):
        found = PEERS.server([certificate(*names)], Expected(b"", ADDRESS), NOW_S)
        assert isinstance(found, Finding)


_HOSTS: Final = st.from_regex(r"[A-Za-z0-9_.*-]{1,20}", fullmatch=True)


class Leaf:
    """As much of a certificate as the match asks: a real one takes long to make."""

    def __init__(self, name: bytes) -> None:
        self.domains = (name,)
        self.addresses = ()

    def speaks_for_domain(self, host: bytes) -> bool:
        return host.lower() in self.domains


@given(_HOSTS, _HOSTS)
def test_both_must_agree(name: str, shown: str) -> None:
    """No name is lost by asking twice, but a number: service-identity calls it an address."""
    for asked in (name, shown):
        try:
            host, wanted = parse_host(shown.encode()), parse_host(asked.encode())
        except HostileInput:
            continue
        found = _is_named(Leaf(host), Expected(wanted, ADDRESS))  # type: ignore[arg-type]
        if found or re.search(rb"[a-z]", host):
            assert found is (wanted == host)
