"""What strangers put into their messages, on every face: shown, escaped, cut, and never obeyed."""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from nights import NOON, B, X, keep, night, request

from sipguard.cli.main import main
from sipguard.cli.output import Screen
from sipguard.journal.ledger import id_of
from sipguard.journal.observation import Observation
from sipguard.journal.record import record_of
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action

CORPUS = {
    "html": b"<script>alert(1)</script>",
    "attribute": b'" onmouseover="alert(1)" x=\'',
    "screen": b"\x1b[2J\x1b[1;1H\x1b]0;owned\x07",
    "link": b"\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\",
    "c1": b"\xc2\x9b2J\x9b2J",
    "right-to-left": "\u202egnirts\u202c \u2066x\u2069 \u200f".encode(),
    "isolates": "\u2068\u2068\u2068".encode(),
    "hebrew": "שלום".encode() * 20,
    "marks": ("e" + "\u0301" * 60).encode(),
    "invisible": "a\u200bb\ufeffc\u3164d\U000e0041".encode(),
    "line ends": b"a\nFAKE LINE\rb\x0bc\x0cd\xc2\x85e\xe2\x80\xa8f",
    "nul": b"a\x00b",
    "invalid utf-8": b"\xff\xfe\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80",
    "60 KB": b"A" * 60_000,
    "60 KB wide": "山".encode() * 20_000,
    "formula": b'=HYPERLINK("http://evil","x")',
    "plus": b"+1+cmd|' /C calc'!A0",
    "minus": b"-2+3",
    "at": b"@SUM(1+1)",
    "tab": b"\t=1",
    "quotes": b'",=1+1,"\r\n=2',
    "markup": b"[bold red]x[/bold red][link=http://evil]y[/link] :bomb:",
    "broken markup": b"[/nothing] [",
    "braces": b"{src} {0.__class__} %s %n",
    "backslashes": b"\\x1b\\\\ \\u202e \\",
    "shell": b"$(reboot)`reboot`;reboot",
}
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


def everywhere(directory: Path, hostile: bytes) -> str:
    """Store a record with it in every field that a stranger writes, and one of the guard's."""
    short = hostile[:300]
    night(directory, [(0.0, X, B, request(user=hostile, more=b"User-Agent: %b\r\n" % hostile))])
    seen = Observation(
        utc_s=NOON + 1, action=Action.REJECT, judged=Action.REJECT, reason=Reason.REFUSED_BY_RULE,
        src=X, dst=B, sport=5060, dport=5060, rule="spoofed", status=403,
        place=f"{directory}/gateway.policy:10", octets=hostile, transport="udp",
        method=hostile[:40], request_uri=hostile, from_=b"<sip:%b@h>" % hostile, to=hostile,
        contact=hostile, call_id=hostile, cseq=hostile, branch=hostile, user_agent=hostile,
        raw=b"INVITE sip:b@h SIP/2.0\r\nFrom: %b\r\n\r\n" % hostile,
        findings=(Finding(Reason.BAD_URI, "x", hostile),),
    )  # fmt: skip
    seen.ladder = ((NOON, short, X, B), (NOON + 0.5, hostile, B, X))
    keep(directory, [record_of(seen, id_of(5))])
    return id_of(5)


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
