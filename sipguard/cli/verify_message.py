"""Judge the identity of one message in a file, by the same rooms as the gateway.

There is no call around it: nothing was seen before, so no replay can be told,
and the packet's source is taken from the topmost Via.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar
from urllib.parse import unquote

from sipguard.cli.message_file import read_octets
from sipguard.errors import EdgeError, HostileInput
from sipguard.evidence import Evidence, State
from sipguard.identity.aib import Aib, AibSettings
from sipguard.identity.aib_memory import AibMemory
from sipguard.identity.credentials import Credentials
from sipguard.identity.pem import read_crls, read_pem
from sipguard.identity.signed_body import SignedBodies
from sipguard.identity.stir import Stir, StirSettings
from sipguard.identity.trust import Store
from sipguard.moment import Moment
from sipguard.reason import Finding
from sipguard.weight import Weight
from sipguard.wire.packet import Packet, parse_address
from sipguard.wire.sip import Ids, Message, parse_message

MAX_FILES: Final = 10_000  # certificates by URL
_CARRIERS: Final = ("tcp", "tls", "ws", "wss")

T = TypeVar("T")


class Trust(NamedTuple):
    """What the command line says of whom to believe."""

    ca: Sequence[Path]
    cert: Sequence[Path] = ()
    crl: Sequence[Path] = ()
    x5u: Path | None = None
    max_age_s: int | None = None
    domain_signers: bool = False
    country: bytes = b""


class Judged(NamedTuple):
    """The message, as far as it can be read, and what each kind of proof says."""

    findings: tuple[Finding, ...]  # of the message itself, notes left out
    proofs: tuple[tuple[str, Evidence], ...]


def verify_message(octets: bytes, trust: Trust, now_s: float) -> Judged:
    """Return what a gateway that trusts so would say of this message.

    Raises:
        EdgeError: it is no SIP message, or a file of *trust* cannot be used.
    """
    store = _store_of(trust)
    message, ids = _read(octets)
    now = Moment(0.0, now_s)
    way = _packet_of(message, ids, octets)
    aib_settings = AibSettings(domain_signers=trust.domain_signers)
    stir_settings = StirSettings(fetch=False, country=trust.country)
    if trust.max_age_s is not None:
        aib_settings = aib_settings._replace(max_age_s=trust.max_age_s)
        stir_settings = stir_settings._replace(max_age_s=trust.max_age_s)
    aib = Aib(aib_settings, store, AibMemory()).examine(message, ids, way, now)
    bodies = SignedBodies(store, False, aib_settings.max_age_s)
    smime = bodies.examine(message, ids, way, now, _is_no_relay)
    passports = Stir(stir_settings, store, _credentials_of(trust.x5u))
    stir = passports.examine(message, ids, way, now, patient=False)
    heavy = [found for found in message.findings if found.reason.weight is not Weight.NOTE]
    return Judged(tuple(heavy), (("aib", aib), ("smime", smime), ("stir", stir)))


def exit_status(judged: Judged) -> int:
    """Return 0 where a proof is valid and none failed, 1 where one failed, 3 otherwise."""
    states = {evidence.state for _, evidence in judged.proofs}
    if State.FAILED in states:
        return 1
    return 0 if State.VALID in states else 3


def _read(octets: bytes) -> tuple[Message, Ids]:
    try:
        message = parse_message(octets)
        if message.ids is not None and message.ids.via.transport != b"UDP":
            carrier = message.ids.via.transport.decode("ascii", "replace").lower()
            message = parse_message(octets, carrier if carrier in _CARRIERS else "udp")
    except HostileInput as error:
        raise EdgeError(f"this is no SIP message: {error.detail or error.reason.value}") from None
    if message.ids is None:
        raise EdgeError("Via, From, To, Call-ID or CSeq is missing or cannot be read")
    return message, message.ids


def _packet_of(message: Message, ids: Ids, octets: bytes) -> Packet:
    here = parse_address(ids.via.host) or b"\x7f\x00\x00\x01"
    nobody = bytes(len(here))
    ends = (here, nobody) if message.is_request else (nobody, here)
    return Packet(*ends, ids.via.port or 5060, 5060, octets)


def _store_of(trust: Trust) -> Store:
    def read_all(paths: Sequence[Path]) -> list[bytes]:
        return [der for path in paths for der in _usable(path, read_pem)]

    crls = [crl for path in trust.crl for crl in _usable(path, read_crls)]
    try:
        return Store(read_all(trust.ca), crls=crls, known=read_all(trust.cert))
    except HostileInput as error:
        raise EdgeError(error.detail) from None


def _credentials_of(folder: Path | None) -> Credentials:
    credentials = Credentials()
    if folder is None:
        return credentials
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise EdgeError(f"cannot read {folder}: {error.strerror}") from None
    for path in files[:MAX_FILES]:
        try:
            credentials.add_offline(unquote(path.name), read_octets(path))
        except HostileInput as error:
            raise EdgeError(f"{path}: {error.detail}") from None
    return credentials


def _usable(path: Path, read: Callable[[bytes], Sequence[T]]) -> Sequence[T]:
    try:
        return read(read_octets(path))
    except (ValueError, HostileInput) as error:
        raise EdgeError(f"{path}: {error}") from None


def _is_no_relay(_host: bytes) -> bool:
    return False
