"""What a peer wrote, inside a sentence of ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.identity.shown import MAX_SHOWN, shown


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"", ""),
        (b"sip:alice@example.com", "sip:alice@example.com"),
        (b"a\r\nb\x1b[0m\xff", "a\\x0d\\x0ab\\x1b[0m\\xff"),
        (b"a\\x0ab", "a\\x5cx0ab"),
        (b"a" * 120, "a" * 120),
        (b"a" * 121, "a" * 117 + "..."),
        (b"\0" * 40, "\\x00" * 29 + "..."),
        (b"a" * 117 + b"\0", "a" * 117 + "..."),
    ],
)
def test_octets_are_shown_as_printable_ascii(octets: bytes, text: str) -> None:
    """No control octet, no half escape, never more than 120 characters."""
    assert shown(octets) == text


@given(st.binary(max_size=400))
def test_nothing_a_peer_writes_can_leave_the_line(octets: bytes) -> None:
    """Neither a line, nor a terminal, nor a page is ever at risk of a detail."""
    text = shown(octets)
    assert len(text) <= MAX_SHOWN
    assert text.isascii()
    assert text.isprintable()
