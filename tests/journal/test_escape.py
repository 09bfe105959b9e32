"""Escaping: nothing a stranger sends can write on a terminal, a log or a page."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.journal.escape import escape, escape_capped, safe_text, unescape

HOSTILE = [
    b"\r\nfake line",
    b"\x1b[2J\x1b]0;owned\x07",
    b"\x9b31m",
    "\u202eevil\u2066".encode(),
    "a\u200bb\u200d\ufeff".encode(),
    "\u2028line\u2029".encode(),
    "x\u00a0y\u3000z".encode(),
    "\u3164\u2800\u115f".encode(),
    "\U000e0041tag\ufe0f".encode(),
    "\ud800".encode("utf-8", "surrogatepass"),
    b"\xc0\xaf\xff",
    b"\\x0a",
]


def harmless(char: str) -> bool:
    return char == " " or (
        unicodedata.category(char)[0] not in "CZ"
        and char not in "\u3164\u2800\u115f\u1160\uffa0\u034f\ufe0f"
    )


@pytest.mark.parametrize("octets", HOSTILE)
def test_no_trick_gets_out(octets: bytes) -> None:
    """Line ends, escapes, direction and zero-width characters all become visible ASCII."""
    shown = escape(octets)
    assert all(harmless(char) for char in shown)
    assert "\\" in shown
    assert unescape(shown) == octets


@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=80).map(lambda t: t.encode("utf-8", "surrogatepass")),
    )
)
def test_any_octets_come_out_printable_and_come_back(octets: bytes) -> None:
    """No octets get an unprintable character through, and none are lost: the reviewer sees all."""
    shown = escape(octets)
    assert all(harmless(char) for char in shown)
    assert unescape(shown) == octets


def test_honest_text_stays_readable() -> None:
    """Names in other scripts are legal SIP (RFC 3261 section 25.1) and stay as they are."""
    for name in ("Zoë Müller <sip:zoe@example.com>", "山田太郎", "Дарья", "नमस्ते", "שלום"):
        assert escape(name.encode()) == name


def test_marks_cannot_pile_up() -> None:
    """A tower of combining marks would paint over the lines above and below."""
    shown = escape(("a" + "\u0301" * 40).encode())
    assert shown.count("\u0301") == 2
    assert escape("\u0301a".encode()).startswith("\\xcc\\x81")


def test_cap_says_what_is_left_out() -> None:
    """A capped field never looks like a whole one."""
    assert escape_capped(b"a" * 20, 20) == "a" * 20
    assert escape_capped(b"a" * 21, 20) == "a" * 20 + "…(+1 octets)"
    assert escape_capped("ää".encode(), 3) == "ä\\xc3…(+1 octets)"


def test_own_text_with_a_hostile_file_name() -> None:
    """A policy file's name is not ours either; undecodable names survive as octets."""
    assert safe_text("x\ny.policy:3") == "x\\x0ay.policy:3"
    assert safe_text(b"\xff".decode("utf-8", "surrogateescape")) == "\\xff"


@given(st.text(alphabet="\\x0a1zq", max_size=12))
def test_unescape_refuses_what_escape_never_wrote(text: str) -> None:
    """unescape either returns octets or raises ValueError."""
    try:
        octets = unescape(text)
    except ValueError:
        return
    assert isinstance(octets, bytes)
