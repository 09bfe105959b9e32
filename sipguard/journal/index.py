"""What a record can be found by that is no key of its own: its callee, and all that was found.

Made of the record's own text, which is masked and escaped already, so that
records of an earlier version can be given the same.
"""

import json
from collections.abc import Iterator, Sequence

from sipguard.journal.proofs import Json

MAX_WORDS = 64  # two for each finding and each proof; what has more is found by the first


def party_of(value: str) -> str:
    """Return ``user@host`` of a To or From value in lower case, however broken: a claim."""
    opened = value.rfind("<")
    if opened >= 0:
        value = value[opened + 1 :].partition(">")[0]
    scheme, colon, rest = value.strip().partition(":")
    value = rest if colon and scheme.lower() in {"sip", "sips", "tel"} else value.strip()
    user, at, host = value.rpartition("@")
    host = host.partition(";")[0].partition("?")[0]
    return (user.partition(":")[0] + at + host).lower()


def words_found(findings: Sequence[Json], identity: dict[str, Json]) -> str:
    """Return rule ids and reason codes of all findings and proofs: `` sip-8 bare-lf ``.

    Each stands between blanks, so that a search for one finds it and not a longer one.
    """
    words = dict.fromkeys(word.lower() for word in _words((*findings, *identity.values())) if word)
    return f" {' '.join(list(words)[:MAX_WORDS])} " if words else ""


def callee_of_line(line: str) -> str:
    """Return ``party_of`` the To of a stored line of JSON."""
    return party_of(_text(json.loads(line).get("to")))


def words_of_line(line: str) -> str:
    """Return ``words_found`` of a stored line of JSON."""
    told = json.loads(line)
    findings, identity = told.get("findings"), told.get("identity")
    return words_found(
        findings if isinstance(findings, list) else [],
        identity if isinstance(identity, dict) else {},
    )


def _words(parts: Sequence[Json]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, dict):
            yield _text(part.get("rule"))
            yield _text(part.get("reason"))


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""
