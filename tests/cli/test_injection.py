"""What strangers put into their messages, on every face: shown, escaped, cut, and never obeyed."""

import csv
import io
import json
import re
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile import everywhere
from hostile_octets import CORPUS

from sipguard.cli.main import main
from sipguard.cli.output import Screen
from sipguard.edge.control import FeedState, StatusReport, write_status

Face = Callable[[str], list[str]]
FACES: dict[str, Face] = {
    "blocked": lambda _id: ["blocked", "--all"],
    "by caller": lambda _id: ["blocked", "--all", "--by", "caller"],
    "by rule": lambda _id: ["blocked", "--all", "--by", "rule"],
    "json": lambda _id: ["blocked", "--all", "--json"],
    "csv": lambda _id: ["blocked", "--all", "--csv"],
    "csv by caller": lambda _id: ["blocked", "--all", "--csv", "--by", "caller"],
    "tail": lambda _id: ["tail", "--all"],
    "stats": lambda _id: ["stats", "--since", "2026-01-01", "--until", "2026-01-02"],
    "explain": lambda id_: ["explain", id_],
    "message": lambda id_: ["explain", id_, "--message"],
    "explain json": lambda id_: ["explain", id_, "--json"],
    "suggest": lambda id_: ["policy", "suggest", id_],
}
SGR = re.compile(r"\x1b\[[0-9;]*m")
ISOLATES = "\u2068\u2069"


class Stream(io.StringIO):
    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, str]]:
    """Run a command on a terminal or none; return output and errors together, and apart."""

    def run(arguments: list[str], state: Path, *, is_terminal: bool) -> tuple[str, str]:
        out, err = Stream(is_terminal=is_terminal), Stream(is_terminal=is_terminal)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "120")
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setattr("sipguard.cli.main.standard_screen", lambda: Screen(out, err))
        assert main([*arguments, "--state-dir", str(state)]) in (0, 1)
        return out.getvalue(), err.getvalue()

    return run


def check(text: str, *, is_terminal: bool) -> None:
    """No control character, nothing invisible or turning; balanced isolates; bounded lines."""
    if is_terminal:
        text = SGR.sub("", text)
    for line in text.replace("\r\n", "\n").split("\n"):
        for char in line:
            if is_terminal and char in ISOLATES:
                continue
            assert unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}, repr(
                line[:200]
            )
        assert line.count("\u2068") == line.count("\u2069")
        assert len(line) < 12_000
        if is_terminal:
            assert "\x1b" not in line


@pytest.mark.parametrize("is_terminal", [False, True], ids=["pipe", "terminal"])
@pytest.mark.parametrize("name", CORPUS)
def test_every_face(
    tmp_path: Path, told: Callable[..., tuple[str, str]], name: str, is_terminal: bool
) -> None:
    """Whatever a caller calls himself, the reviewer sees it, and nothing else happens."""
    identifier = everywhere(tmp_path, CORPUS[name])
    for face, arguments in FACES.items():
        out, err = told(arguments(identifier), tmp_path, is_terminal=is_terminal)
        check(out, is_terminal=is_terminal)
        check(err, is_terminal=is_terminal)
        assert out or face == "suggest", face
        if face in ("json", "explain json"):
            for document in [out] if face == "explain json" else out.splitlines():
                assert isinstance(json.loads(document), dict)
        if face.startswith("csv"):
            rows = list(csv.reader(io.StringIO(out, newline="")))
            assert len(rows) in (2, 3), face  # both records may have one caller
            assert len({len(row) for row in rows}) == 1
            for cell in (cell for row in rows[1:] for cell in row):
                assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r")), cell


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("html", "<script>alert(1)</script>"),
        ("screen", "\\x1b[2J\\x1b[1;1H\\x1b]0;owned\\x07"),
        ("right-to-left", "\\xe2\\x80\\xaegnirts"),
        ("nul", "a\\x00b"),
        ("invalid utf-8", "\\xff\\xfe\\xc0\\x80"),
        ("markup", "[bold red]x[/bold red][link=http://evil]y[/link] :bomb:"),
        ("backslashes", "\\\\x1b\\\\\\\\ \\\\u202e"),
    ],
)
def test_what_was_sent_can_be_read(
    tmp_path: Path, told: Callable[..., tuple[str, str]], name: str, shown: str
) -> None:
    """Escaped is not hidden: it is evidence, on a terminal as in a pipe."""
    identifier = everywhere(tmp_path, CORPUS[name])
    for is_terminal in (False, True):
        out, _ = told(["explain", identifier], tmp_path, is_terminal=is_terminal)
        assert shown in out


@pytest.mark.parametrize("is_terminal", [False, True], ids=["pipe", "terminal"])
@pytest.mark.parametrize("name", CORPUS)
def test_the_status_quotes_others_escaped(
    tmp_path: Path, told: Callable[..., tuple[str, str]], name: str, is_terminal: bool
) -> None:
    """A receiver's certificate, a file's name and a policy's mistake are not our words, either."""
    words = CORPUS[name].decode("utf-8", "replace")[:1_000]
    report = StatusReport(1, time.time(), 0.0, mode="enforce", policy_file=words)
    report.last_reload = f"refused: {words}"
    report.store_error = report.exceptions_error = words
    report.feeds = [FeedState(f"webhook {words}", 1, 2, 3, words)]
    write_status(tmp_path, report)
    out, err = told(["status"], tmp_path, is_terminal=is_terminal)
    check(out + err, is_terminal=is_terminal)
    assert "warning: feed webhook " in out


def test_a_table_keeps_one_line_for_each_record(
    tmp_path: Path, told: Callable[..., tuple[str, str]]
) -> None:
    """No name breaks a row or pushes the others out of sight."""
    for name in ("60 KB wide", "line ends", "marks", "markup"):
        state = tmp_path / name
        state.mkdir()
        everywhere(state, CORPUS[name])
        out, _ = told(["blocked", "--all"], state, is_terminal=True)
        lines = SGR.sub("", out).splitlines()
        assert len(lines) == 3
        assert all(sum(_columns(char) for char in line) <= 120 for line in lines)


def _columns(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
