"""Output: columns line up, colors only where wanted, and names cannot move their neighbors."""

import csv
import io
import re

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


def test_a_narrow_terminal_keeps_columns_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long caller gives way; ids and verdicts stay whole, and each row is one line."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = Terminal()
    Screen(out, io.StringIO()).table(
        ("ID", "VERDICT", "CALLER", "N"),
        [("2q5ggqnm", "would drop", "c" * 300, "7"), ("2q5ggqnn", "drop", HEBREW * 30, "1,234")],
        numbers=(3,),
    )
    heading, *rows = re.sub("\x1b\\[[0-9;]*m", "", out.getvalue()).splitlines()
    assert "\x1b[33mwould drop" in out.getvalue()
    assert heading.startswith("ID        VERDICT     CALLER")
    assert rows[0].startswith("2q5ggqnm  would drop  cccc")
    assert rows[0].endswith("c…      7")
    assert len(rows) == 2
    assert rows[1].count("\u2068") == rows[1].count("\u2069") == 1
    assert rows[1].endswith("…\u2069  1,234")
    assert {len(row.strip("\u2068\u2069")) - row.count("\u2068") * 2 for row in rows} == {60}


@pytest.mark.parametrize("text", ["[bold]x[/]", "[link=http://x]y[/link]", ":bomb:", "[/nothing]"])
def test_no_text_is_markup(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A caller's name is shown as it is; it colors nothing, links nowhere and breaks nothing."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = Terminal()
    Screen(out, io.StringIO()).table(("A", "B"), [(text, text)])
    assert out.getvalue().count(text) == 2
    assert "\x1b]" not in out.getvalue()


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+4930", "'+4930"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("  =1", "'  =1"),
        ("\uff1d1", "'\uff1d1"),
        ("alice=1", "alice=1"),
        ("", ""),
    ],
)
def test_no_cell_is_a_formula(cell: str, shown: str) -> None:
    """What a caller calls himself is never computed in the reviewer's spreadsheet."""
    out = io.StringIO()
    Screen(out, io.StringIO()).csv(["x", cell, 'a,"b'])
    assert list(csv.reader(io.StringIO(out.getvalue()))) == [["x", shown, 'a,"b']]


def test_an_empty_cell_is_an_empty_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record need not have a caller."""
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    Screen(out, io.StringIO()).table(("A", "B", "C"), [("", "", "x"), ("a", "", "")])
    assert out.getvalue() == "A  B  C\n      x\na\n"


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
