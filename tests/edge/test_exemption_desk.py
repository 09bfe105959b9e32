"""Exceptions asked for over a socket: who may, what of it, and what is written of it."""

import json
import os
import socket
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from calls_builder import CALL, MONDAY_S, World
from exemption_ends import open_desk
from hypothesis import given
from hypothesis import strategies as st
from phones import ALICE

from sipguard.edge.exemption_desk import (
    MAX_CHANGES,
    MAX_CONNECTIONS,
    MAX_LINE,
    Desk,
    NotOpenError,
    Told,
    ask,
)
from sipguard.edge.exemptions import AUDIT_NAME, ExemptionFile, ExemptionWatch, recent_changes
from sipguard.errors import EdgeError
from sipguard.policy.exemptions import MAX_TEXT

NOW_S = MONDAY_S + 1000.0
NOBODY = 65_534  # no user that anybody named
WISH: Told = {
    "ask": "make", "kind": "allow", "lasts_s": 3600, "source": ALICE, "reason": "trunk test",
    "by": "anna", "place": "192.0.2.9",
}  # fmt: skip


def desk_in(state: Path, user: str = "root", now_s: float = NOW_S) -> Desk:
    return Desk(ExemptionFile(state, lambda: now_s), user, lambda: now_s)


def asked(desk: Desk, wish: Told, uid: int = 0) -> Told:
    return desk.answer(json.dumps(wish).encode(), uid)


def test_what_the_page_asks_for_is_in_force_and_answered_for(tmp_path: Path) -> None:
    """Who, when, what, why and from where, written by the service and not by the page."""
    world, watch = World("default reject 403\n"), ExemptionWatch(tmp_path)
    assert asked(desk_in(tmp_path), WISH) == {"done": True, "number": 1}
    watch.look(world.guard)
    assert world.send(CALL.invite()).judgement.rule == "exception 1"
    assert asked(desk_in(tmp_path), {"ask": "end", "number": 1, "by": "bob", "place": "::1"}) == {
        "done": True, "number": 1,
    }  # fmt: skip
    watch.look(world.guard)
    assert not world.passes(CALL.invite(cseq=2, branch="b2"))
    lines = [json.loads(line) for line in (tmp_path / AUDIT_NAME).read_text().splitlines()]
    assert [(line["what"], line["by"], line["from"]) for line in lines] == [
        ("add", "anna on the page", "the page of user root, asked from 192.0.2.9"),
        ("remove", "bob on the page", "the page of user root, asked from ::1"),
    ]
    assert lines[0]["time"].startswith("2024-01-08T12:16:40")
    assert [(one.what, one.number, one.by) for one in recent_changes(tmp_path, 9)] == [
        ("made allow", "1", "anna on the page"), ("ended allow", "1", "bob on the page"),
    ]  # fmt: skip


def test_what_nothing_lets_pass_stays_out(tmp_path: Path) -> None:
    """The page is no way around the parse chain: the same exception, and still ambiguous."""
    world = World("default reject 403\nchain parse\n  a drop if ambiguous\n")
    watch = ExemptionWatch(tmp_path)
    asked(desk_in(tmp_path), WISH)
    watch.look(world.guard)
    assert world.passes(CALL.invite())
    twice = CALL.invite(cseq=2, branch="b2").replace(b"Call-ID:", b"Call-ID: x\r\nCall-ID:", 1)
    assert not world.passes(twice)


@pytest.mark.parametrize("uid", [NOBODY, 1])
def test_other_users_are_sent_away(tmp_path: Path, uid: int) -> None:
    """Who may read the records may not for that let anybody pass."""
    wishes: list[Told] = [WISH, {"ask": "may"}, {"ask": "end", "number": 1, "by": "x"}]
    for wish in wishes:
        answer = asked(desk_in(tmp_path, "sipguard-web"), wish, uid)
        assert answer["done"] is False
        assert "from the user sipguard-web" in str(answer["why"])
    assert not (tmp_path / AUDIT_NAME).exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"by": " "}, "who you are"),
        ({"reason": ""}, "say why"),
        ({"reason": "x" * (MAX_TEXT + 1)}, "at most"),
        ({"reason": "a\nb"}, "printable"),
        ({"by": "\u202ex"}, "printable"),
        ({"by": "x" * MAX_TEXT}, "at most"),
        ({"lasts_s": 7 * 86_400 + 1}, "7 days"),
        ({"lasts_s": 1e999}, "7 days"),
        ({"lasts_s": -1}, "7 days"),
        ({"lasts_s": True}, "nobody here can"),
        ({"lasts_s": "1h"}, "nobody here can"),
        ({"source": "", "caller": "", "rule": ""}, "nothing is excepted from everything"),
        ({"source": "192.0.2"}, "no address"),
        ({"caller": "a b"}, "no address of a caller"),
        ({"kind": "accept"}, "allow or mute"),
        ({"ask": "stop"}, "nobody here can"),
        ({"ask": "end", "number": 9}, "no exception 9"),
        ({"ask": "end", "number": "9"}, "nobody here can"),
    ],
)
def test_what_cannot_be_is_said_and_not_done(tmp_path: Path, change: Told, words: str) -> None:
    """The service asks as much of the page as of the command line."""
    answer = asked(desk_in(tmp_path), WISH | change)
    assert answer["done"] is False
    assert words in str(answer["why"])
    assert ExemptionFile(tmp_path).read() == (1, ())


def test_a_page_gone_wild_is_slowed_down(tmp_path: Path) -> None:
    """Each change is written to the disk twice, and the audit never shrinks."""
    desk = desk_in(tmp_path)
    for _ in range(MAX_CHANGES):
        assert asked(desk, WISH)["done"] is True
    assert "are enough" in str(asked(desk, WISH)["why"])
    assert asked(desk, {"ask": "may"})["done"] is True


@given(st.binary(max_size=200) | st.builds(lambda v: json.dumps(v).encode(), st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda one: st.lists(one, max_size=4) | st.dictionaries(
        st.sampled_from(["ask", "kind", "number", "lasts_s", "by", "reason", "source"]), one),
)))  # fmt: skip
def test_any_line_is_answered(line: bytes) -> None:
    """A page that somebody took over must not reach further than a page."""
    answer = desk_in(Path("/nonexistent")).answer(line, 0)
    assert answer["done"] in (True, False)


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose name leaves room for a socket's."""
    return tmp_path_factory.mktemp("s")


def test_over_the_socket(short: Path) -> None:
    """The way the pages go: with an answer, an error, or nobody there."""
    with pytest.raises(NotOpenError, match="--page-exceptions"):
        ask(short, {"ask": "may"})
    with open_desk(short, "nobody") as path:
        assert path.stat().st_mode & 0o777 == 0o660
        assert ask(short, {"ask": "may"}) == 0
        assert ask(short, WISH) == 1
        with pytest.raises(EdgeError, match="say why"):
            ask(short, WISH | {"reason": ""})
        hands = [threading.Thread(target=ask, args=(short, WISH)) for _ in range(4)]
        for hand in hands:
            hand.start()
        for hand in hands:
            hand.join()
        assert len(ExemptionFile(short).read()[1]) == 5
    with pytest.raises(NotOpenError):
        ask(short, {"ask": "may"})


def test_a_socket_left_by_a_killed_service_is_taken_over(short: Path) -> None:
    """And until then the page says that nobody is there."""
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(short / "exceptions.socket"))
    left.close()
    with pytest.raises(NotOpenError, match="not running"):
        ask(short, {"ask": "may"})
    with open_desk(short, "root"):
        deadline = 50
        while deadline:
            try:
                assert ask(short, {"ask": "may"}) == 0
                break
            except NotOpenError:
                deadline -= 1
                threading.Event().wait(0.1)
        assert deadline


def test_who_says_nothing_or_too_much_is_hung_up_on(short: Path) -> None:
    """And who takes all the places leaves some to others, in a while."""
    with open_desk(short, "root") as path:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(10)
            line.connect(str(path))
            line.sendall(b"x" * (MAX_LINE * 4))
            assert line.recv(10) == b""
        held = [socket.socket(socket.AF_UNIX) for _ in range(MAX_CONNECTIONS)]
        for one in held:
            one.connect(str(path))
        with pytest.raises(NotOpenError):
            ask(short, {"ask": "may"})
        for one in held:
            one.close()
        threading.Event().wait(0.3)
        assert ask(short, {"ask": "may"}) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks beside threads
def test_the_kernel_says_who_asks() -> None:
    """Not the page: a claim in the line counts for nothing."""
    with (
        TemporaryDirectory(prefix="sipguard-desk-") as made,
        open_desk(Path(made), "daemon") as path,
    ):
        short = Path(made)
        short.chmod(0o755)
        path.chmod(0o666)
        told = {}
        for uid in (1, NOBODY):
            reading, writing = os.pipe()
            if (child := os.fork()) == 0:
                os.setuid(uid)
                try:
                    said = str(ask(short, {"ask": "may", "user": "daemon", "uid": 0}))
                except EdgeError as error:
                    said = str(error)
                os.write(writing, said.encode())
                os._exit(0)
            os.close(writing)
            os.waitpid(child, 0)
            told[uid] = os.read(reading, 1000).decode()
            os.close(reading)
    assert told[1] == "0"
    assert "from the user daemon, not" in told[NOBODY]


def test_an_audit_that_was_cut_off_shows_the_rest(tmp_path: Path) -> None:
    """A full disk leaves half a line; what is whole is shown."""
    asked(desk_in(tmp_path), WISH)
    with (tmp_path / AUDIT_NAME).open("ab") as stream:
        stream.write(b'{"time": "2024\n[]\n\xff\xff\n')
    asked(desk_in(tmp_path), WISH)
    assert [one.number for one in recent_changes(tmp_path, 20)] == ["1", "2"]
    assert recent_changes(tmp_path / "none", 20) == []
