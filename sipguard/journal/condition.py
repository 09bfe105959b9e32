"""Why a rule matched, as a record keeps it: its tests, and the values they were asked of."""

from typing import Final

from sipguard.journal.escape import escape_capped, safe_text
from sipguard.journal.masking import mask
from sipguard.journal.observation import Condition
from sipguard.journal.proofs import Json
from sipguard.journal.shown import shown

MAX_TEXT_OCTETS: Final = 1_024  # of a condition as written
_VALUE_OCTETS: Final = 128


def condition_json(condition: Condition | None) -> dict[str, Json]:
    """Return a condition as JSON values, the peer's octets in it masked, escaped and capped."""
    if condition is None:
        return {}
    return {
        "text": _own(condition.text),
        "any": condition.any,
        "tests": [
            {
                "test": _own(test.text),
                "holds": test.holds,
                "values": {safe_text(name): _value(name, value) for name, value in test.values},
            }
            for test in condition.tests
        ],
    }


def _own(text: str) -> str:
    """Return text of the policy's author."""
    return escape_capped(text.encode("utf-8", "surrogateescape"), MAX_TEXT_OCTETS)


def _value(name: str, value: bytes) -> str:
    """Mask a header's value as that header's: the mask goes by names."""
    header = name[8:-2] if name.startswith('header["') else ""
    if header:
        before = header.encode() + b": "
        value = mask(before + value, cut=True).removeprefix(before)
        return escape_capped(value, _VALUE_OCTETS)
    return shown(value) if len(value) <= _VALUE_OCTETS else escape_capped(
        mask(value, cut=True), _VALUE_OCTETS
    )  # fmt: skip
