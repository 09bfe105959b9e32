"""What a policy trusts, as values: the files that ``trust`` lines name, and how they are used."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol, final

from sipguard.policy.sets import AddressSet
from sipguard.policy.syntax import Place

# H(A1) values by user and realm: algorithm (``md5``, ``sha-256`` or ``sha-512-256``) and its
# lower-case hexadecimal digits. As good as passwords: never shown, never kept anywhere else.
Accounts = Mapping[tuple[bytes, bytes], tuple[tuple[bytes, bytes], ...]]

NO_RELAYS: Final = AddressSet(())
NO_ACCOUNTS: Final[Accounts] = MappingProxyType({})


@final
class SharedKeys:
    """Pre-shared keys by the names of who has them, as written; never shown, so their ``repr``."""

    __slots__ = ("by_name",)

    def __init__(self, by_name: Mapping[bytes, bytes]) -> None:
        self.by_name: Final = by_name

    def __repr__(self) -> str:
        return f"<{len(self.by_name)} keys>"


NO_KEYS: Final = SharedKeys(MappingProxyType({}))


class TrustReader(Protocol):
    """Reads what trust lines name, for a core that opens no file itself."""

    def octets(self, name: str) -> bytes:
        """Return a file's octets; ``OSError`` or ``ValueError`` where it cannot be read."""

    def names(self, folder: str) -> tuple[str, ...] | None:
        """Return the names of the files in a folder, sorted; ``None`` if it is no folder."""


class NothingToRead:
    """Where no files are: every one is missing."""

    def octets(self, name: str) -> bytes:
        """Raise ``FileNotFoundError``."""
        raise FileNotFoundError(2, "No such file or directory", name)

    def names(self, folder: str) -> tuple[str, ...] | None:
        """Return ``None``."""
        return None


class TrustFile(NamedTuple):
    """One file's octets, and where the policy names it."""

    name: str
    octets: bytes
    place: Place


class AibTrust(NamedTuple):
    """``trust aib``: who may sign for callers (RFC 3893), and how strictly it is judged."""

    ca: tuple[TrustFile, ...]
    certs: tuple[TrustFile, ...] = ()  # of signers who attach none
    intermediates: tuple[TrustFile, ...] = ()  # below the authorities, for signers who send none
    crl: tuple[TrustFile, ...] = ()
    crl_hard: bool = False  # without a usable revocation list nothing is valid
    max_age_s: int = 600
    remember_s: int = 3600  # at least twice max_age_s: Dates may lie ahead, too
    legacy_sha1: bool = False
    domain_signers: bool = False
    codes: str = "strict"  # or identity: plain reject answers 428, 436, 437, 438 (AIB-15)
    relays: AddressSet = NO_RELAYS


class StirTrust(NamedTuple):
    """``trust stir``: whose PASSporTs count (RFC 8224), and how certificates are had."""

    ca: tuple[TrustFile, ...]
    intermediates: tuple[TrustFile, ...] = ()
    crl: tuple[TrustFile, ...] = ()
    crl_hard: bool = False
    max_age_s: int = 60
    remember_s: int = 3600
    fetch: str = "public-only"  # any or never
    fetch_ca: tuple[TrustFile, ...] = ()  # of the https servers; empty: the system's
    within_s: float = 2.0
    certs: tuple[tuple[str, TrustFile], ...] = ()  # by URL
    spc: frozenset[str] = frozenset()
    spc_for_uris: bool = False  # these codes speak for callers named by a URI, too (STI-16)
    require_mky: bool = False  # where the session description has a fingerprint (STI-13)
    codes: str = "identity"
    country: str = ""  # whose national numbers are meant where one is dialed (STI-7)
    asserted: bool = False  # P-Asserted-Identity stands before From (STI-6)


class DigestTrust(NamedTuple):
    """``trust digest``: passwords' digests, if there are any, and what is asked of responses."""

    ha1: TrustFile | None = None
    min_algorithm: str = ""  # or sha-256
    auth_int: bool = False
    strict_nonce: bool = False
    accounts: Accounts = NO_ACCOUNTS  # what *ha1* holds


class TlsTrust(NamedTuple):
    """``trust tls``: whose certificates count in TLS, of clients and of servers (RFC 5922)."""

    ca: tuple[TrustFile, ...]
    intermediates: tuple[TrustFile, ...] = ()
    crl: tuple[TrustFile, ...] = ()
    crl_hard: bool = False
    pinned: tuple[TrustFile, ...] = ()  # servers' own, whoever issued them
    pinned_any_name: bool = False  # they need not carry the name that was asked for


class MikeyTrust(NamedTuple):
    """``trust mikey``: what key management messages are checked with (RFC 3830)."""

    keys: SharedKeys = NO_KEYS
    ca: tuple[TrustFile, ...] = ()
    intermediates: tuple[TrustFile, ...] = ()
    certs: tuple[tuple[str, TrustFile], ...] = ()  # of signers who send none, some by URL
    crl: tuple[TrustFile, ...] = ()
    crl_hard: bool = False
    max_age_s: int = 600

    @property
    def proves(self) -> bool:
        """Whether any message could be found valid."""
        return bool(self.keys.by_name or self.ca)
