"""Why a rule refused, in words: from a record's condition and proofs."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from sipguard.journal import told
from sipguard.journal.words import cut, width
from sipguard.reason import Reason

_CONDITION_COLUMNS: Final = 120
_TEST_COLUMNS: Final = 48
_PLACE: Final = re.compile(r".+:[0-9]{1,7}")
# A rule that refuses unless a proof holds names it so.
_WANTED: Final = (
    ("aib", re.compile(r"\baib\.(valid|signer|covers)\b"), "AIB"),
    ("smime", re.compile(r"\bsmime\.(valid|signer|sdp)\b"), "signed body"),
    ("stir", re.compile(r"\bstir\.(valid|attest|orig|signer)\b"), "PASSporT"),
    ("digest", re.compile(r"\bdigest\.valid\b"), "digest response"),
)
_NEGATED: Final = re.compile(r"\bnot\b|!=")
_NAMES: Final = {kind: name for kind, _, name in _WANTED}


def because(record: told.Told) -> str:
    """Return `` because rule `unsigned` (strict.policy:31) wants ...``, or a sentence's end.

    Where no rule decided, the reason follows in a sentence of its own.
    """
    reason, why = told.reason(record), told.text(record, "why")
    verdict, place = told.text(record, "verdict"), told.text(record, "place")
    if verdict == "accept":
        return f". {why}"
    if reason is Reason.DEFAULT and place:
        return f" because no rule of {short(place)} accepts it, and that is its default."
    if not _PLACE.fullmatch(place):
        return f". {why}"
    condition = told.text(told.part(record, "condition"), "text")
    says = f" because rule `{told.text(record, 'rule')}` ({short(place)})"
    wanted = wants(condition)
    if wanted:
        proofs = list(_failures(record))
        shown = f", and {'; '.join(proofs)}" if proofs else f". {why}"
        return f"{says} wants {wanted}{shown}"
    if reason is Reason.REFUSED_BY_RULE:
        what = f"what matches: {cut(condition, _CONDITION_COLUMNS)}" if condition else "it"
        return f"{says} refuses {what}."
    return f"{says} refuses it. {why}"


def wants(condition: str) -> str:
    """Return ``a valid AIB or PASSporT`` for a rule that refuses without; empty otherwise."""
    if not _NEGATED.search(condition):
        return ""
    names = [name for _, pattern, name in _WANTED if pattern.search(condition)]
    return f"a valid {' or '.join(names)}" if names else ""


def tell_condition(record: told.Told) -> Iterator[str]:
    """Yield each test of the rule with what it was asked of."""
    condition = told.part(record, "condition")
    is_any = condition.get("any") is True
    tests = told.parts(condition, "tests")
    columns = min(max((width(told.text(test, "test")) for test in tests), default=0), _TEST_COLUMNS)
    for test in tests:
        text = told.text(test, "test")
        values = told.part(test, "values")
        shown = ", ".join(f"{name}: {value or 'empty'}" for name, value in values.items())
        holds = test.get("holds")
        mark = "" if not is_any else {True: "held", False: "did not hold"}.get(holds is True, "")
        if is_any and holds is None:
            mark = "was not asked"
        rest = "; ".join(part for part in (shown, mark) if part)
        yield f"{text}{' ' * (columns - width(text))}  {rest}".rstrip()


def heading_of(record: told.Told) -> str:
    """Return what stands above ``tell_condition``: what would have let the message pass."""
    if told.part(record, "condition").get("any") is True:
        return "Why the rule matched (had none of these held, the next rule would have been asked)"
    return "Why the rule matched (had one of these not held, the next rule would have been asked)"


def short(place: str) -> str:
    """Return a place without its folder."""
    return PurePosixPath(place).name


def _failures(record: told.Told) -> Iterator[str]:
    """Yield ``the AIB failed: ...`` for each proof that was asked for and is not valid."""
    identity = told.part(record, "identity")
    said = set()
    for kind, name in _NAMES.items():
        proof = told.part(identity, kind)
        state, why = told.text(proof, "state"), told.text(proof, "why")
        if not proof or state == "valid" or why in said:
            continue
        said.add(why)
        verb = "failed" if state == "failed" else f"is {state}"
        yield f"the {name} {verb}{f': {why}' if why else ''}"
