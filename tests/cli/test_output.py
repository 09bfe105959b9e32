"""Output: columns line up, colors only where wanted, and names cannot move their neighbors."""

import io

import pytest

from sipguard.cli.output import Screen, Style, cut, many, show_span, width

HEBREW = "\u05e9\u05dc\u05d5\u05dd"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_columns_line_up_with_wide_and_marked_characters() -> None:
    """A Japanese name takes two columns a character, a combining mark none."""
    out = io.StringIO()
    Screen(out, io.StringIO()).table(("A", "B"), [("山田", "x"), ("e\u0301", "y"), ("abcd", "z")])
    assert out.getvalue().splitlines() == ["A     B", "山田  x", "e\u0301     y", "abcd  z"]


def test_no_color_and_no_cut_without_a_terminal() -> None:
    """A pipe gets whole plain text."""
    out = io.StringIO()
    Screen(out, io.StringIO()).table(("VERDICT", "WHY"), [("drop", "x" * 500)])
    assert out.getvalue().splitlines()[1] == "drop     " + "x" * 500


@pytest.mark.parametrize(
    ("variables", "colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colors_only_where_wanted(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], colored: bool
) -> None:
    """NO_COLOR and dumb terminals are respected."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    screen = Screen(Terminal(), io.StringIO())
    assert screen.paint("drop", Style.REFUSED) == ("\x1b[31mdrop\x1b[0m" if colored else "drop")


def test_a_terminal_cuts_the_last_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """One record stays one line."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    Screen(out, io.StringIO()).table(("ID", "WHY"), [("1", "山" * 50)])
    row = out.getvalue().splitlines()[1]
    assert row.endswith("…")
    assert width(row) <= 40


def test_right_to_left_names_are_isolated_on_a_terminal() -> None:
    """A Hebrew name must not swap the source and the rule beside it."""
    assert Screen(Terminal(), io.StringIO()).isolate(HEBREW) == f"\u2068{HEBREW}\u2069"
    assert Screen(io.StringIO(), io.StringIO()).isolate(HEBREW) == HEBREW
    assert Screen(Terminal(), io.StringIO()).isolate("Zoë") == "Zoë"


def test_an_old_terminal_gets_escapes_instead_of_a_crash() -> None:
    """LANG=C prints what it can."""
    octets = io.BytesIO()
    out = io.TextIOWrapper(octets, encoding="ascii")
    Screen(out, io.StringIO()).line("Zoë")
    out.flush()
    assert octets.getvalue() == b"Zo\\xeb\n"


def test_spans_and_counts_in_words() -> None:
    """As people say it."""
    assert [show_span(s) for s in (5, 200, 7500, 100_000)] == [
        "5 s",
        "3 min 20 s",
        "2 h 5 min",
        "1 d 3 h",
    ]
    assert [many(1, "rule"), many(4212, "rule")] == ["1 rule", "4,212 rules"]
    assert [cut("abc", 3), cut("abcd", 3)] == ["abc", "ab…"]
