"""Temporary exceptions: what the operator lets pass, or keeps out of the records, for a while.

An ``allow`` takes back the refusal of a rule of chain ``request``, or of the
default, for what it names. It never reaches the parse chain (what cannot be
read for certain passes for nobody), a replay, a hijacked registration,
another's credentials, or the media chain: no key, no hole. A ``mute`` changes
no verdict; it keeps matching refusals out of records, logs and alarms.

From is a claim. An exception for a caller alone lets everybody pass who
writes that name into a request.
"""

import json
from dataclasses import asdict, dataclass
from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.moment import Moment
from sipguard.policy.literals import parse_prefix
from sipguard.policy.sets import AddressSet
from sipguard.wire.uri import aor_key, parse_uri

MAX_EXEMPTIONS: Final = 256  # in force at a time; each refusal is held against them all
MAX_OCTETS: Final = 1 << 20
MAX_TEXT: Final = 200
LONGEST_S: Final = 7 * 86_400
ALLOW: Final = "allow"
MUTE: Final = "mute"
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Exemption:
    """One exception; what it names must all hold, and empty texts name nothing."""

    number: int
    kind: str
    since_s: float  # POSIX time
    until_s: float
    source: str = ""
    caller: str = ""
    rule: str = ""
    reason: str = ""
    by: str = ""

    @property
    def named(self) -> str:
        """What it names, as the command line writes it."""
        names = (("source", self.source), ("caller", self.caller), ("rule", self.rule))
        return " ".join(f"--{name} {value}" for name, value in names if value)


@final
class Exemptions:
    """Those in force, ready to be asked; counts what they did."""

    def __init__(self, exemptions: tuple[Exemption, ...] = ()) -> None:
        self.exemptions = exemptions[:MAX_EXEMPTIONS]
        self.hits: dict[int, int] = {}
        self._asked = tuple(
            (one, _addresses(one.source), one.caller.encode()) for one in self.exemptions
        )

    def find(
        self, kind: str, source: bytes, caller: bytes, rule: str, now: Moment
    ) -> Exemption | None:
        """Return the first exception of *kind* that is in force and names all this, counted.

        Args:
            kind: ``ALLOW`` or ``MUTE``.
            source: Address octets of the packet.
            caller: ``aor_key`` of From; empty where there is none.
            rule: The name of the rule that refuses.
            now: This instant; exceptions are over by the wall clock.
        """
        for one, addresses, of_caller in self._asked:
            if one.kind != kind or not one.since_s <= now.utc_s < one.until_s:
                continue
            if addresses is not None and not addresses[source]:
                continue
            if (of_caller and of_caller != caller) or (one.rule and one.rule != rule):
                continue
            self.hits[one.number] = self.hits.get(one.number, 0) + 1
            return one
        return None

    def in_force(self, utc_s: float) -> int:
        """Return how many have not expired."""
        return sum(one.since_s <= utc_s < one.until_s for one in self.exemptions)


NO_EXEMPTIONS: Final = Exemptions()


def caller_key(text: str) -> str:
    """Return how a caller is compared: ``alice@example.com`` is a SIP address.

    Raises:
        ValueError: It is no address.
    """
    scheme = text.partition(":")[0].lower()
    raw = text if scheme in ("sip", "sips", "tel") else f"sip:{text}"
    try:
        return aor_key(parse_uri(raw.encode())).decode()
    except (HostileInput, UnicodeError):
        raise ValueError(f"{text[:80]!r} is no address of a caller") from None


def check(one: Exemption) -> Exemption:
    """Return *one* if it can be in force.

    Raises:
        ValueError: It cannot; the text says why.
    """
    if one.kind not in (ALLOW, MUTE):
        raise ValueError("an exception is allow or mute")
    if not (one.source or one.caller or one.rule):
        raise ValueError("name a source, a caller or a rule: nothing is excepted from everything")
    if one.source and parse_prefix(one.source) is None:
        raise ValueError(f"{one.source[:80]!r} is no address and no network")
    if one.caller and caller_key(one.caller) != one.caller:
        raise ValueError(f"{one.caller[:80]!r} is no address of a caller")
    if not one.reason.strip():
        raise ValueError("say why: it stands in every record of what passes by it")
    texts = (one.reason, one.by, one.rule, one.caller)
    if any(len(text) > MAX_TEXT or not text.isprintable() for text in texts):
        raise ValueError(f"texts are printable and have at most {MAX_TEXT} characters")
    if one.number < 1 or not 0 < one.until_s - one.since_s <= LONGEST_S:
        raise ValueError(f"an exception lasts up to {LONGEST_S // 86_400} days")
    return one


def read_exemptions(octets: bytes) -> tuple[int, tuple[Exemption, ...]]:
    """Return the next number and every exception of a file; any octets do, or are refused.

    Raises:
        ValueError: It is not a file of exceptions.
    """
    if len(octets) > MAX_OCTETS:
        raise ValueError(f"it is larger than {MAX_OCTETS >> 20} MiB")
    try:
        told = json.loads(octets)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(told, dict) or told.get("version") != VERSION:
        raise ValueError("it is no file of exceptions of this version")
    following, rows = told.get("next"), told.get("exceptions")
    if type(following) is not int or not isinstance(rows, list):
        raise ValueError("it has no list of exceptions")
    if len(rows) > MAX_EXEMPTIONS:
        raise ValueError(f"more than {MAX_EXEMPTIONS} exceptions")
    exemptions = tuple(_read(row) for row in rows)
    numbers = [one.number for one in exemptions]
    if len(set(numbers)) < len(numbers) or any(number >= following for number in numbers):
        raise ValueError("two exceptions have one number")
    return following, exemptions


def write_exemptions(following: int, exemptions: tuple[Exemption, ...]) -> bytes:
    """Return the file that ``read_exemptions`` reads."""
    rows = [asdict(one) for one in exemptions]
    told = {"version": VERSION, "next": following, "exceptions": rows}
    return json.dumps(told, indent=1).encode() + b"\n"


def _read(row: object) -> Exemption:
    if not isinstance(row, dict) or set(row) != set(Exemption.__dataclass_fields__):
        raise ValueError("an exception with other keys than it has")
    if type(row["number"]) is not int or not all(
        type(row[name]) in (int, float) and abs(row[name]) < 1e12 for name in ("since_s", "until_s")
    ):
        raise ValueError("an exception without number or time")
    texts = ("kind", "source", "caller", "rule", "reason", "by")
    if not all(isinstance(row[name], str) for name in texts):
        raise ValueError("an exception with something else than text")
    return check(Exemption(**row))


def _addresses(source: str) -> AddressSet | None:
    prefix = parse_prefix(source) if source else None
    return AddressSet([prefix]) if prefix is not None else None
