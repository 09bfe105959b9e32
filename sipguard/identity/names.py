"""Whom a certificate speaks for: users and domains out of its subjectAltName.

Users follow RFC 3261 section 23.1 and RFC 6216: a sip or sips URI with a user, or an
e-mail address; the subject's common name never counts. Domains follow RFC 5922 section
7.1: sip URIs without a user, DNS names only where no such URI stands, the common name
only where there is no subjectAltName at all. Names compare whole (CERT-6).

The service-identity package does not read them: it honors wildcards, which RFC 5922
section 7.2 forbids, knows no users, and raises a bare ValueError at a URI with a port.
``identity.peers`` has it match whole names.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from cryptography import x509

from sipguard.errors import HostileInput
from sipguard.wire.packet import parse_address
from sipguard.wire.uri import Uri, aor_key, parse_host, parse_uri

MAX_NAMES: Final = 256  # no user has as many; a provider's certificate for its domains may

User = tuple[bytes, bytes]


class Names(NamedTuple):
    """Users as (user decoded once, host in lower case), domains in lower case, in order.

    ``addresses`` are 4 or 16 octets each, for connections to an address (TLS-20).
    """

    users: tuple[User, ...] = ()
    domains: tuple[bytes, ...] = ()
    addresses: tuple[bytes, ...] = ()


def user_key(user: bytes, host: bytes) -> User:
    """Return user and host as they compare: one %-decoding, host in lower case (CERT-4).

    *user* stands as in a URI, undecoded: the ``user`` of a ``wire.uri.Uri``.
    """
    key = aor_key(Uri(b"sip", user=user, host=host.lower()))
    decoded, _, host = key.removeprefix(b"sip:").rpartition(b"@")
    return decoded, host


def names_in(alternatives: Iterable[x509.GeneralName] | None, common_name: str) -> Names:
    """Return the names; *alternatives* is None where the extension is absent altogether."""
    if alternatives is None:
        if "." not in common_name:
            return Names()
        # "Alice" is no domain, though a host might be called so.
        return Names(domains=tuple(n for n in _domains((common_name,)) if b"." in n))
    users: list[User] = []
    domains: list[bytes] = []
    dns: list[str] = []
    addresses: list[bytes] = []
    for name in alternatives:
        if isinstance(name, x509.UniformResourceIdentifier):
            _sort_uri(name.value, users, domains)
        elif isinstance(name, x509.RFC822Name):
            users += _mailbox(name.value)
        elif isinstance(name, x509.DNSName):
            dns.append(name.value)
        elif isinstance(name, x509.IPAddress):
            addresses += _packed(name.value)
    # One sip URI, even an address that no domain can equal, bars the DNS names (CERT-5).
    named = domains or _domains(dns)
    hosts = dict.fromkeys(n for n in named if not _is_address(n))
    return Names(_unique(users), tuple(hosts), tuple(dict.fromkeys(addresses)))


def _unique(users: list[User]) -> tuple[User, ...]:
    return tuple(dict.fromkeys(users))


def _packed(address: object) -> list[bytes]:
    """A network stands in name constraints alone, and is no address."""
    return [address.packed] if isinstance(address, IPv4Address | IPv6Address) else []


def _sort_uri(text: str, users: list[User], domains: list[bytes]) -> None:
    """A sip URI is a user's or a domain's; im, pres and all others say nothing."""
    try:
        uri = parse_uri(text.encode("ascii"))
    except (HostileInput, UnicodeEncodeError):
        return
    if uri.scheme not in (b"sip", b"sips") or uri.password or uri.headers:
        return
    if uri.user:
        users.append(user_key(uri.user, uri.host))
    elif uri.scheme == b"sip" and "@" not in text:
        domains.append(uri.host)


def _mailbox(text: str) -> list[User]:
    """``local@domain``, the local part taken literally; quoted ones are nobody's SIP address."""
    try:
        local, at, domain = text.encode("ascii").rpartition(b"@")
        host = parse_host(domain)
    except (HostileInput, UnicodeEncodeError):
        return []
    plain = at and local and not any(octet in b'"@<> \\' or octet < 33 for octet in local)
    return [(local, host)] if plain else []


def _domains(texts: Iterable[str]) -> list[bytes]:
    """Host names only: a wildcard is no host name and so equals nothing."""
    found = []
    for text in texts:
        try:
            found.append(parse_host(text.encode("ascii")))
        except (HostileInput, UnicodeEncodeError):
            continue
    return found


def _is_address(host: bytes) -> bool:
    return parse_address(host) is not None
