"""Read a record's JSON object as the types a face needs; a missing value is an empty one."""

from typing import Final

from sipguard.journal.record import Json
from sipguard.journal.words import cut
from sipguard.reason import Reason

_CALL_ID_COLUMNS: Final = 24

Told = dict[str, Json]


def text(told: Told, name: str) -> str:
    """Return a value as text; empty for none."""
    value = told.get(name)
    return "" if value is None or isinstance(value, list | dict) else str(value)


def number(told: Told, name: str) -> int:
    """Return a whole number; 0 for none."""
    value = told.get(name)
    return value if isinstance(value, int) else 0


def part(told: Told, name: str) -> Told:
    """Return an object; empty for none."""
    value = told.get(name)
    return value if isinstance(value, dict) else {}


def parts(told: Told, name: str) -> list[Told]:
    """Return the objects of a list."""
    value = told.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def verdict(told: Told) -> str:
    """Return ``drop``, or ``would drop`` where the packet passed: in shadow mode."""
    said, done = text(told, "verdict"), text(told, "applied")
    return f"would {said}" if done == "accept" and said != "accept" else said


def tally(told: Told) -> str:
    """Return how often it happened in words; empty for a single message."""
    count, more = number(told, "count"), number(told, "more")
    words = [f"{count:,} times"] if count > 1 else []
    if more:
        others = ", also from other sources" if told.get("more_from_others") else ""
        words.append(f"and {more:,} more like this{others}")
    return ", ".join(words)


def end(told: Told, side: str) -> str:
    """Return ``192.0.2.1:5060`` or ``[2001:db8::1]:5060`` of *side*, ``src`` or ``dst``."""
    return join(text(told, side), number(told, f"{side}_port"))


def join(address: str, port: int) -> str:
    """Return address and port as one word; without a port where none is known."""
    if not address:
        return ""
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def reason(told: Told) -> Reason | None:
    """Return a record's reason, if this version knows it."""
    code = text(told, "reason")
    return next((known for known in Reason if known.value == code), None)


def is_media(told: Told) -> bool:
    """Report whether a record is about packets of a stream; no SIP method has a blank in it."""
    return text(told, "method").startswith("media ")


def caller(told: Told) -> str:
    """Return who is calling, as From claims; where only packets were seen, which call it is."""
    known = text(told, "caller")
    if known or not is_media(told):
        return known
    call_id = text(told, "call_id")
    return f"(call {cut(call_id, _CALL_ID_COLUMNS)})" if call_id else ""


def subject(told: Told) -> str:
    """Return what it was: ``INVITE``, ``200 to INVITE``, ``datagram`` or ``connection``."""
    method, status = text(told, "method"), number(told, "status")
    if status:
        return f"{status} to {method}" if method else str(status)
    return method or ("datagram" if text(told, "transport") in ("", "udp") else "connection")


def step(told: Told, rung: Told) -> str:
    """Return a word for one row of a record's ladder, also where no message had begun."""
    return text(rung, "message") or subject(told)
