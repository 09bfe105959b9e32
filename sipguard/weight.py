"""How much a finding matters."""

from enum import Enum


class Weight(Enum):
    """How much a finding matters before any policy is asked."""

    NOTE = "note"  # passes; recorded
    MALFORMED = "malformed"  # no sane sender writes this: 400 where a reply is allowed, else drop
    AMBIGUOUS = "ambiguous"  # two sane parsers could read it differently (GEN-1)
    OVERSIZE = "oversize"
    UNREADABLE = "unreadable"  # not even enough to say which call it belongs to: always drop
