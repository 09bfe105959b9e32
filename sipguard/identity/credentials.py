"""Certificates of PASSporTs by the URL that names them (``x5u``; RFC 8224 section 7.2, STI-15).

This room fetches nothing: it says which URL may be fetched at all and which
address may be asked, and keeps what came. Anybody can write a URL into a
header, so a URL of ours must never reach into our own network, and what bad
URLs leave behind may never push out what good ones brought.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final, NamedTuple, final

from sipguard.errors import HostileInput
from sipguard.reason import Finding, Reason
from sipguard.wire.packet import parse_address
from sipguard.wire.uri import parse_host

MAX_URL_OCTETS: Final = 1024  # what carriers publish stays under 200
MAX_CREDENTIAL_OCTETS: Final = 65_536
MAX_CHAIN: Final = 8  # a provider's certificate, two intermediates, and room
MAX_CERTIFICATE_OCTETS: Final = 16_384
CAPACITY: Final = 2048  # URLs that brought a chain; all carriers of a country have some hundreds
MAX_FAILURES: Final = 4096  # URLs that brought none, kept apart from the others

_PORTS: Final = (443, 8443)  # ATIS-1000074 section 5.3.1 allows these two
_URL: Final = re.compile(
    r"https://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.\-]+)(?P<colon>:(?P<port>[0-9]{1,5}))?"
    r"(?:/[A-Za-z0-9\-._~!$&'*+(),;=:@%/]*)?(?:\?[A-Za-z0-9\-._~!$&'*+(),;=:@%/?]*)?"
)
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_END: Final = b"-----END CERTIFICATE-----"

# Of IPv4 all that IANA's special-purpose registry keeps from the Internet (RFC 6890), of
# IPv6 all but 2000::/3 and, inside that, what tunnels, documents or benchmarks.
_PRIVATE_4: Final = (
    *((b"\x00", 8), (b"\x0a", 8), (b"\x64\x40", 10), (b"\x7f", 8), (b"\xa9\xfe", 16)),
    *((b"\xac\x10", 12), (b"\xc0\x00\x00", 24), (b"\xc0\x00\x02", 24), (b"\xc0\x58\x63", 24)),
    *((b"\xc0\xa8", 16), (b"\xc6\x12", 15), (b"\xc6\x33\x64", 24), (b"\xcb\x00\x71", 24)),
    *((b"\xe0", 4), (b"\xf0", 4)),
)
_PRIVATE_6: Final = (
    *((b"\x20\x01\x00", 23), (b"\x20\x01\x0d\xb8", 32), (b"\x20\x02", 16), (b"\x3f\xff\x00", 20)),
)
_MAPPED: Final = b"\x00" * 10 + b"\xff\xff"
_NAT64: Final = b"\x00\x64\xff\x9b" + b"\x00" * 8


def is_public(address: bytes) -> bool:
    """Tell whether an address, 4 or 16 octets, belongs to the public Internet (STI-15).

    An IPv4 address inside an IPv6 one (mapped, or behind NAT64) counts as the
    IPv4 address that is asked in the end. 6to4 and Teredo never count: where
    their packets end is up to whoever made the address.
    """
    if len(address) == 16 and address[:12] in (_MAPPED, _NAT64):
        address = address[12:]
    if len(address) == 4:
        return not any(_lies_in(address, prefix, bits) for prefix, bits in _PRIVATE_4)
    if len(address) != 16 or address[0] >> 5 != 1:
        return False
    return not any(_lies_in(address, prefix, bits) for prefix, bits in _PRIVATE_6)


def _lies_in(address: bytes, prefix: bytes, bits: int) -> bool:
    width = 8 * len(prefix)
    ours = int.from_bytes(address[: len(prefix)], "big")
    return (ours ^ int.from_bytes(prefix, "big")) >> (width - bits) == 0


def check_url(url: str, *, private: bool = False) -> str | None:
    """Return in words why this URL may not be fetched, or ``None`` (STI-15).

    Whether its name leads to a public address shows only when it is resolved:
    ask ``is_public`` about every address then. With *private* (``fetch any``
    in the policy) hosts of our own network may be asked as well.
    """
    if len(url) > MAX_URL_OCTETS:
        return f"the URL is longer than {MAX_URL_OCTETS} characters"
    found = _URL.fullmatch(url)
    if found is None:
        return _why_no_url(url)
    port = int(found["port"]) if found["colon"] else 443
    if port not in _PORTS:
        return "the URL names a port other than 443 and 8443"
    try:
        host = parse_host(found["host"].encode("ascii"))
    except HostileInput:
        return "the URL has no usable host"
    address = parse_address(host)
    if private:
        return None
    if address is not None and not is_public(address):
        return "the URL leads to an address that is not public"
    if address is None and b"." not in host.rstrip(b"."):
        return "the URL names a host of the local network"
    return None


def _why_no_url(url: str) -> str:
    if url[:8].lower() != "https://":
        return "the URL is not https"
    authority = re.split(r"[/?#]", url[8:], maxsplit=1)[0]
    if "@" in authority:
        return "the URL holds a user name"
    if "#" in url:
        return "the URL holds a fragment"
    return "the URL is not well formed"


class _Kept(NamedTuple):
    chain: tuple[bytes, ...]
    until_s: float


class _Failure(NamedTuple):
    finding: Finding
    until_s: float


@final
class Credentials:
    """What is known of each URL: a chain, why there is none, or nothing.

    Chains are DER, the signer's own certificate first. At their bound the
    chain that was not asked for the longest goes, and its URL is fetched again
    when somebody needs it; the oldest failure goes likewise. What the operator
    gave never goes by itself.
    """

    def __init__(self, capacity: int = CAPACITY, max_failures: int = MAX_FAILURES) -> None:
        self._capacity = capacity
        self._max_failures = max_failures
        self._offline: dict[str, tuple[bytes, ...]] = {}
        self._kept: dict[str, _Kept] = {}
        self._failures: dict[str, _Failure] = {}

    def __len__(self) -> int:
        return len(self._offline) + len(self._kept) + len(self._failures)

    def get(self, url: str, utc_s: float) -> tuple[bytes, ...] | Finding | None:
        """Return the chain, or why there is none, or ``None``: not here yet, or too old."""
        offline = self._offline.get(url)
        if offline is not None:
            return offline
        kept = self._kept.pop(url, None)
        if kept is not None and utc_s < kept.until_s:
            self._kept[url] = kept  # to the end: what is in use goes last
            return kept.chain
        failure = self._failures.get(url)
        if failure is None:
            return None
        if utc_s < failure.until_s:
            return failure.finding
        del self._failures[url]
        return None

    def put(self, url: str, octets: bytes, until_s: float) -> None:
        """Keep what was fetched, PEM or DER, until *until_s* (POSIX seconds).

        What holds no certificate is remembered as a failure for as long.
        """
        if len(url) > MAX_URL_OCTETS:
            return
        try:
            chain = read_chain(octets)
        except HostileInput as error:
            self.fail(url, error.detail, until_s)
            return
        self._failures.pop(url, None)
        self._kept.pop(url, None)
        if len(self._kept) >= self._capacity:
            del self._kept[next(iter(self._kept))]
        self._kept[url] = _Kept(chain, until_s)

    def fail(self, url: str, detail: str, until_s: float) -> None:
        """Remember until *until_s* that the URL brought nothing; *detail* in our own words.

        A chain that is still good stands before it: a server that is down for a
        minute does not undo what it said before.
        """
        if len(url) > MAX_URL_OCTETS:
            return
        self._failures.pop(url, None)
        if len(self._failures) >= self._max_failures:
            del self._failures[next(iter(self._failures))]
        finding = Finding(Reason.NO_CREDENTIAL, detail, url.encode("utf-8", "replace")[:128])
        self._failures[url] = _Failure(finding, until_s)

    def add_offline(self, url: str, octets: bytes) -> None:
        """Take a certificate from the operator; it stands before whatever is fetched.

        Raises:
            HostileInput: ``NO_CREDENTIAL``, where the file holds no certificate.
        """
        self._offline[url] = read_chain(octets)

    def use_offline(self, chains: Mapping[str, tuple[bytes, ...]]) -> None:
        """Take what the operator gives now, and nothing of what he gave before."""
        self._offline = dict(chains)


def read_chain(octets: bytes) -> tuple[bytes, ...]:
    """Return the certificates in *octets*, PEM in order or one in DER; none is looked into.

    Raises:
        HostileInput: ``NO_CREDENTIAL``.
    """
    if len(octets) > MAX_CREDENTIAL_OCTETS:
        raise HostileInput(Reason.NO_CREDENTIAL, "the file is longer than 64 KiB")
    if octets.startswith(b"\x30") and _BEGIN not in octets:
        return (_check_size(octets),)
    pieces = octets.split(_BEGIN, MAX_CHAIN + 1)[1:]
    if not pieces:
        raise HostileInput(Reason.NO_CREDENTIAL, "the file holds no certificate")
    if len(pieces) > MAX_CHAIN:
        raise HostileInput(Reason.NO_CREDENTIAL, f"the file holds more than {MAX_CHAIN}")
    return tuple(_check_size(_unarmored(piece)) for piece in pieces)


def _unarmored(piece: bytes) -> bytes:
    text, end, _ = piece.partition(_END)
    try:
        der = base64.b64decode(b"".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        der = b""
    if not end or not der:
        raise HostileInput(Reason.NO_CREDENTIAL, "the file holds a broken certificate")
    return der


def _check_size(der: bytes) -> bytes:
    if len(der) > MAX_CERTIFICATE_OCTETS:
        raise HostileInput(Reason.NO_CREDENTIAL, "a certificate is longer than 16 KiB")
    return der
