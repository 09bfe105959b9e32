"""Patterns in linear time: google-re2, the only place that knows it.

Python's ``re`` backtracks, and a policy could be made slow by what a stranger
writes into his User-Agent. RE2 has no backreferences and no lookaround, and
needs time proportional to the text, whatever the pattern.
"""

from collections.abc import Callable
from typing import Final

import re2  # type: ignore[import-untyped]

MAX_PATTERN_OCTETS: Final = 1 << 22  # of memory for the compiled automaton


class PatternError(ValueError):
    """A pattern that RE2 does not take; the text says why."""


def compile_pattern(pattern: str, *, ignore_case: bool = False) -> Callable[[bytes], bool]:
    """Return a test whether *pattern* is found anywhere in some octets.

    Octets are matched as Latin-1, one octet one character, so that no octets
    a peer can send are outside what a pattern sees.

    Raises:
        PatternError: *pattern* is not in RE2's syntax, or too large.
    """
    options = re2.Options()
    options.log_errors = False  # RE2 would print to stderr by itself
    options.max_mem = MAX_PATTERN_OCTETS
    options.case_sensitive = not ignore_case
    options.encoding = re2.Options.Encoding.LATIN1
    try:
        search = re2.compile(pattern.encode(), options).search
    except re2.error as error:
        reason = error.args[0] if error.args else b""
        shown = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise PatternError(shown) from None
    return lambda text: search(text) is not None
