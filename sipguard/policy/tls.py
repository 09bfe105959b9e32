"""What a policy says about TLS, as values: own certificates, and how peers are treated.

The gateway ends TLS towards the client and starts it anew towards the server, so it needs a
certificate of its own, and whom to believe on the other side (TLS-20, RFC 5922).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from sipguard.policy.problems import Problems
from sipguard.policy.syntax import Place, Setting, Word
from sipguard.policy.trust import TlsTrust, TrustFile
from sipguard.policy.trust_files import CERTIFICATE, Sort, TrustFiles

MAX_CERTIFICATES: Final = 256  # domains of one gateway
MAX_SERVERS: Final = 1024
NO_NAMES: Final[Mapping[bytes, str]] = MappingProxyType({})
PRIVATE_KEY: Final = Sort(
    "private key",
    (
        b"-----BEGIN PRIVATE KEY-----",
        b"-----BEGIN RSA PRIVATE KEY-----",
        b"-----BEGIN EC PRIVATE KEY-----",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----",  # refused where it is read, in its own words
    ),
)


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A private key's file; its octets are never shown, so not in its ``repr`` either."""

    name: str
    octets: bytes = field(repr=False)
    place: Place


class OwnCertificate(NamedTuple):
    """One of the gateway's certificates, with what its issuer sends along, and its key."""

    certificate: TrustFile
    key: KeyFile


class Named(NamedTuple):
    """A ``tls-certificate`` line before its files are read."""

    certificate: Word
    key: Word


class TlsTerms(NamedTuple):
    """Everything a policy says about TLS; without certificates TLS is not ended here."""

    named: tuple[Named, ...] = ()
    certificates: tuple[OwnCertificate, ...] = ()  # the first is the default
    clients: str = ""  # none, optional or required; empty: optional where there is trust
    minimum: str = "1.2"
    verify_servers: bool = True
    names: Mapping[bytes, str] = NO_NAMES  # what a server's certificate must carry, by address
    trust: TlsTrust | None = None

    @property
    def asks_clients(self) -> str:
        """Whether clients are asked for a certificate: none, optional or required."""
        return self.clients or ("optional" if self.trust is not None and self.trust.ca else "none")


def read_tls(terms: TlsTerms, trust: TlsTrust | None, files: TrustFiles) -> TlsTerms:
    """Return the terms with their files read and *trust* taken in; *files* reports faults."""
    found = []
    for certificate, key in terms.named:
        # A file of another sort is said already, and so is one that cannot be read.
        own = next(files.each([certificate], CERTIFICATE), None)
        secret = next(files.each([key], PRIVATE_KEY), None)
        if own is not None and secret is not None:
            found.append(OwnCertificate(own, KeyFile(*secret)))
    return terms._replace(certificates=tuple(found), trust=trust)


def check_tls(
    terms: TlsTerms,
    ports: Mapping[str, Sequence[int]],
    settings: Sequence[Setting],
    problems: Problems,
) -> None:
    """Report what does not fit together.

    *ports* are those of streams in clear and of TLS, by the setting that names them.
    """
    at: dict[str, Place] = {}
    for setting in settings:
        at.setdefault(setting.name.text, setting.name.at)
    if terms.named:
        _check_ends(terms, at, problems)
        _check_ports(ports, at, problems)
        return
    for name in ("tls-clients", "tls-minimum", "tls-servers", "tls-server"):
        if name in at:
            hint = 'add tls-certificate "FILE" key "FILE"'
            what = f"{name} does nothing without tls-certificate: TLS does not end here"
            problems.warn(at[name], what, hint)


def _check_ends(terms: TlsTerms, at: Mapping[str, Place], problems: Problems) -> None:
    if terms.trust is None and terms.verify_servers:
        hint = 'add trust tls ca "FILE", or say it: tls-servers unverified'
        what = "tls-certificate without trust tls: no server's certificate could be verified"
        problems.error(at["tls-certificate"], what, hint)
    if not (terms.trust and terms.trust.ca) and terms.clients in ("optional", "required"):
        what = f"tls-clients {terms.clients} without trust tls ca: no certificate would be valid"
        problems.error(at["tls-clients"], what, 'add trust tls ca "FILE"')
    if not terms.verify_servers:
        what = "anybody in between can pose as the server: its certificate is not verified"
        problems.warn(at["tls-servers"], what, 'write tls-servers verify and trust tls ca "FILE"')


def _check_ports(
    ports: Mapping[str, Sequence[int]], at: Mapping[str, Place], problems: Problems
) -> None:
    for name, those in ports.items():
        if name == "tls-ports":
            continue
        for port in sorted(set(those) & set(ports["tls-ports"])):
            place = at.get("tls-ports") or at.get(name) or at["tls-certificate"]
            hint = "a port carries either of them"
            problems.error(place, f"port {port} is both of {name} and of tls-ports", hint)
