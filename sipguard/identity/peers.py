"""Who is at the other end of TLS (RFC 5922 section 7, TLS-20).

A server's certificate must carry the very name that was asked for: compared whole, so no
wildcards and no parts of names, sip URIs before DNS names (CERT-5, CERT-6). Where no name
was asked for, only the address is known, and the certificate must carry that. A client is
whom its certificate names; whether that is enough, the policy decides.

The names of a certificate are read by ``identity.names``, and a server's must match both as
octets and as service-identity has it. Its own reading is not used: it knows no users, takes a
DNS name although a sip URI stands beside it, honors wildcards, and gives up the whole certificate
at a URI with a port or an odd name (tests/identity/test_service_identity.py has them side by side).
"""

from collections.abc import Container, Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple

from service_identity.hazmat import DNS_ID, DNSPattern, IPAddress_ID, IPAddressPattern

from sipguard.errors import HostileInput
from sipguard.identity.certificate import Certificate, read_certificate
from sipguard.identity.shown import shown
from sipguard.identity.trust import Purpose, Store
from sipguard.reason import Finding, Reason

MAX_SHOWN: Final = 4  # names in one sentence


class Expected(NamedTuple):
    """Whom a server must be: *name* in lower case, or where that is empty its *address*."""

    name: bytes
    address: bytes

    @property
    def title(self) -> str:
        """What a sentence calls it."""
        return shown(self.name) if self.name else str(ip_address(self.address))


class Peer(NamedTuple):
    """A verified peer, and what its certificate names: domains, then addresses, as text."""

    identities: tuple[str, ...] = ()


class Peers:
    """Judges the chains that peers show, the peer's own certificate first, all in DER.

    Servers' certificates in *any_name* need not carry the name that was asked for.
    """

    def __init__(self, store: Store, any_name: Container[bytes] = ()) -> None:
        self._store: Final = store
        self._any_name: Final = any_name

    def client(self, chain: Sequence[bytes], utc_s: float) -> Peer | Finding:
        """Return whom a client's chain proves, or why it proves nobody."""
        found = self._believed(chain, utc_s, Purpose.TLS_CLIENT)
        return found if isinstance(found, Finding) else Peer(identities_of(found))

    def server(self, chain: Sequence[bytes], expected: Expected, utc_s: float) -> Peer | Finding:
        """Return whom a server's chain proves, or why it is not whom was *expected*."""
        found = self._believed(chain, utc_s, Purpose.TLS_SERVER)
        if isinstance(found, Finding):
            return found
        misnamed = None if found.der in self._any_name else _misnamed(found, expected)
        return misnamed or Peer(identities_of(found))

    def _believed(
        self, chain: Sequence[bytes], utc_s: float, purpose: Purpose
    ) -> Certificate | Finding:
        if not chain:
            return Finding(Reason.TLS_NO_CERTIFICATE, "no certificate was shown")
        try:
            leaf = read_certificate(chain[0])
        except HostileInput as error:
            return error.finding()
        return self._store.check(leaf, chain[1:], utc_s, purpose) or leaf


def identities_of(certificate: Certificate) -> tuple[str, ...]:
    """Return whom a certificate names in TLS, as text (RFC 5922 section 7.1)."""
    addresses = (str(ip_address(address)) for address in certificate.addresses)
    return (*(domain.decode("ascii") for domain in certificate.domains), *addresses)


def _is_named(leaf: Certificate, expected: Expected) -> bool:
    """Both must hold, so that a fault in one reading of the RFCs lets nobody in."""
    patterns: list[DNSPattern | IPAddressPattern]
    try:
        if expected.name:
            fits = leaf.speaks_for_domain(expected.name)
            wanted: DNS_ID | IPAddress_ID = DNS_ID(expected.name.decode("ascii"))
            patterns = [DNSPattern(name) for name in leaf.domains]
        else:
            fits = expected.address in leaf.addresses
            wanted = IPAddress_ID(ip_address(expected.address))
            patterns = [IPAddressPattern(ip_address(address)) for address in leaf.addresses]
    except ValueError:  # no name of a host
        return False
    return fits and any(wanted.verify(pattern) for pattern in patterns)


def _misnamed(leaf: Certificate, expected: Expected) -> Finding | None:
    if _is_named(leaf, expected):
        return None
    names = identities_of(leaf)
    whom = ", ".join(names[:MAX_SHOWN]) or "nobody"
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    words = f"the server's certificate names {whom}{more}, not {expected.title}"
    return Finding(Reason.TLS_WRONG_NAME, words, leaf.named[:128])
