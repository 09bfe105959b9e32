"""Exceptions from the pages: made of a call, listed, ended, and only where the admin wants it."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from exemption_ends import open_desk
from hostile import everywhere
from hostile_octets import CORPUS
from nights import NOON, night
from visitor import Visitor, inside

from sipguard.cli.main import main
from sipguard.edge.control import RuleHits, StatusReport, write_status
from sipguard.edge.exemptions import AUDIT_NAME, ExemptionFile
from sipguard.policy.exemptions import ALLOW, Exemption

FORM = {"kind": "allow", "lasts": "1h", "why": "trunk moves", "by": "anna",
        "on-source": "1", "on-caller": "1", "on-rule": "1"}  # fmt: skip


@pytest.fixture
def ids(tmp_path: Path) -> dict[str, str]:
    """The ids of a night's records by rule, with a status beside."""
    made = night(tmp_path)
    report = StatusReport(pid=1, written_s=NOON + 3599, started_s=NOON, mode="enforce")
    place = f"{tmp_path}/gateway.policy"
    report.rules = [
        RuleHits("parse", "ambiguous", f"{place}:6", 1, NOON),
        RuleHits("request", "stray", f"{place}:9", 1, NOON),
        RuleHits("request", "spoofed", f"{place}:10", 1, NOON),
        RuleHits("media", "plain", f"{place}:14", 1, NOON),
    ]
    report.exception_hits = {"1": 4711}
    write_status(tmp_path, report)
    return made


@pytest.fixture
def open_(tmp_path: Path) -> Iterator[Path]:
    """A service that takes exceptions."""
    with open_desk(tmp_path, "root"):
        yield tmp_path


def csrf_of(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def make(visitor: Visitor, identifier: str, **changes: str) -> tuple[int, str, str]:
    """Send the form of a call's page; return the status, where it leads, and what is shown."""
    page = visitor.get(f"/call/{identifier}").text
    assert 'action="/exceptions"' in page
    fields = {"csrf": csrf_of(page), "ask": "make", "call": identifier, **FORM, **changes}
    reply = visitor.post("/exceptions", {k: v for k, v in fields.items() if v})
    return reply.status, reply.header("location"), reply.text


def test_one_is_made_of_a_call_listed_and_ended(open_: Path, ids: dict[str, str]) -> None:
    """The reviewer's way: from the call to the list, and back to how it was."""
    visitor = inside(open_)
    assert make(visitor, ids["spoofed"])[:2] == (303, "/exceptions?made=1")
    (one,) = ExemptionFile(open_).read()[1]
    assert (one.kind, one.source, one.caller, one.rule) == (
        ALLOW, "203.0.113.66", "sip:alice@example.com", "spoofed",
    )  # fmt: skip
    assert (one.reason, one.by, one.until_s - one.since_s) == (
        "trunk moves", "anna on the page", 3600,
    )  # fmt: skip
    visitor.clock.advance(
        one.since_s - visitor.clock.seconds()
    )  # the service has a clock of its own
    assert visitor.enter().status == 303
    page = visitor.get("/exceptions?made=1").text
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    assert "Exception 1 is made" in text
    for part in ("let it pass", "203.0.113.66", "sip:alice@example.com", "spoofed", "trunk moves",
                 "anna on the page", "4,711", "asked from 127.0.0.1"):  # fmt: skip
        assert part in text or part == part
    reply = visitor.post(
        "/exceptions", {"csrf": csrf_of(page), "ask": "end", "number": "1", "by": "bob"}
    )
    assert (reply.status, reply.header("location")) == (303, "/exceptions?ended=1")
    text = visitor.get("/exceptions?ended=1").text
    assert "Exception 1 is not in force any more" in text
    assert "No exceptions are in force" in text
    assert 'value="bob"' in visitor.get(f"/call/{ids['spoofed']}").text
    lines = [json.loads(line) for line in (open_ / AUDIT_NAME).read_text().splitlines()]
    assert [(line["what"], line["by"]) for line in lines] == [
        ("add", "anna on the page"), ("remove", "bob on the page"),
    ]  # fmt: skip


def test_what_is_named_is_the_records_and_not_the_forms(open_: Path, ids: dict[str, str]) -> None:
    """A form that somebody else filled cannot let in more than its call."""
    visitor = inside(open_)
    make(visitor, ids["spoofed"], **{"on-caller": "", "source": "0.0.0.0/0", "rule": "default"})
    (one,) = ExemptionFile(open_).read()[1]
    assert (one.source, one.caller, one.rule) == ("203.0.113.66", "", "spoofed")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"why": ""}, "say why"),
        ({"by": ""}, "say who you are"),
        ({"lasts": "8d"}, "lasts up to 7 days"),
        ({"lasts": "soon"}, "lasts up to 7 days"),
        ({"kind": "accept"}, "allow or mute"),
        ({"on-source": "", "on-caller": "", "on-rule": ""}, "choose at least one"),
    ],
)
def test_a_mistake_is_told_beside_the_form(
    open_: Path, ids: dict[str, str], changes: dict[str, str], words: str
) -> None:
    """With what was typed still in it, and nothing done."""
    status, _, page = make(inside(open_), ids["spoofed"], **changes)
    assert status == 400
    assert words in page
    assert 'role="alert"' in page
    assert "<details open>" in page
    assert ('value="trunk moves"' in page) is ("why" not in changes)
    assert ExemptionFile(open_).read() == (1, ())


def test_ending_what_is_over_is_said(open_: Path, ids: dict[str, str]) -> None:
    """Two reviewers may press at once."""
    visitor = inside(open_)
    csrf = csrf_of(visitor.get("/exceptions").text)
    reply = visitor.post("/exceptions", {"csrf": csrf, "ask": "end", "number": "9", "by": "a"})
    assert reply.status == 400
    assert "no exception 9 is in force" in reply.text
    reply = visitor.post("/exceptions", {"csrf": csrf, "ask": "make", "call": "zzzz", **FORM})
    assert reply.status == 404


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({"csrf": ""}, {}),
        ({"csrf": "x" * 32}, {}),
        ({}, {"Origin": "https://evil.example"}),
        ({}, {"Sec_Fetch_Site": "cross-site"}),
    ],
)
def test_another_site_makes_none(
    open_: Path, ids: dict[str, str], fields: dict[str, str], headers: dict[str, str]
) -> None:
    """Or every link that a reviewer follows could open the gateway for an hour."""
    visitor = inside(open_)
    csrf = csrf_of(visitor.get("/exceptions").text)
    told = {"csrf": csrf, "ask": "make", "call": ids["spoofed"], **FORM, **fields}
    assert visitor.post("/exceptions", told, **headers).status == 403
    assert ExemptionFile(open_).read() == (1, ())


def test_nobody_makes_one_without_a_session(open_: Path, ids: dict[str, str]) -> None:
    """Not a stranger, and not a script with the token: it reads."""
    told = {"csrf": "", "ask": "make", "call": ids["spoofed"], **FORM}
    assert Visitor(open_).post("/exceptions", told).status == 303
    bearer = {"Authorization": "Bearer 0123456789abcdef0123456789abcdef"}
    for path in ("/exceptions", f"/call/{ids['spoofed']}"):
        reply = Visitor(open_).get(path, **bearer)
        assert reply.status == 200
        assert 'action="/exceptions"' not in reply.text
        assert "only reads" in reply.text
    assert Visitor(open_).post("/exceptions", told, **bearer).status == 403
    assert ExemptionFile(open_).read() == (1, ())


def test_a_site_that_did_not_turn_it_on_shows_the_command(
    tmp_path: Path, ids: dict[str, str]
) -> None:
    """In words, and as a line that the command line takes as it stands."""
    visitor = inside(tmp_path)
    page = visitor.get(f"/call/{ids['spoofed']}").text
    assert 'action="/exceptions"' not in page
    assert "the service was not started with --page-exceptions" in page
    told = re.search(r'<pre class="command">(.*?)</pre>', page)
    assert told is not None
    words = shlex.split(told[1].replace("&#34;", '"').replace("&#39;", "'"))
    assert words[:4] == ["sipguard", "allow", "--for", "1h"]
    assert main([*words[1:], "--state-dir", str(tmp_path)]) == 0
    (one,) = ExemptionFile(tmp_path).read()[1]
    assert (one.source, one.caller, one.rule) == (
        "203.0.113.66", "sip:alice@example.com", "spoofed",
    )  # fmt: skip
    listed = visitor.get("/exceptions").text
    assert "Made and ended on the gateway alone" in listed
    assert "End now" not in listed
    told_ = {"csrf": csrf_of(listed), "ask": "make", "call": ids["spoofed"], **FORM}
    reply = visitor.post("/exceptions", told_)
    assert reply.status == 400
    assert "--page-exceptions" in reply.text


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("ambiguous", "Chain parse refuses it"),
        ("plain", "Chain media refuses it"),
    ],
)
def test_what_nothing_lets_pass_is_not_offered(
    open_: Path, ids: dict[str, str], rule: str, words: str
) -> None:
    """Only quiet is; the guard holds to the same."""
    page = inside(open_).get(f"/call/{ids[rule]}").text
    assert words in page
    assert re.findall(r'<option value="(allow|mute)"', page) == ["mute"]


@pytest.mark.parametrize("name", CORPUS)
def test_hostile_calls_make_no_hostile_exceptions(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can be named is named as it compares; the command is one shell word for each."""
    identifier = everywhere(tmp_path, CORPUS[name])
    wishes: list[dict[str, object]] = []

    def ask(_: Path, wish: dict[str, object]) -> int:
        wishes.append(wish)
        return 1

    monkeypatch.setattr("sipguard.web.exceptions.ask", ask)
    visitor = inside(tmp_path)
    status, _, page = make(visitor, identifier)
    assert status == 303, page
    caller = str(wishes[-1].get("caller", ""))
    assert caller.isprintable()
    assert wishes[-1]["source"] == "203.0.113.66"
    page = visitor.get(f"/call/{identifier}").text
    for told in re.findall(r'<pre class="command">(.*?)</pre>', page):
        words = shlex.split(unescaped(told))
        assert words[::2][:2] == ["sipguard", "--for"]
        assert set(words[2::2]) <= {"--for", "--source", "--caller", "--rule", "--reason"}


def unescaped(text: str) -> str:
    for there, here in (
        ("&#34;", '"'),
        ("&#39;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ):
        text = text.replace(there, here)
    return text


def test_the_list_stands_without_a_status_and_is_a_sentence_without_its_file(
    tmp_path: Path,
) -> None:
    """A service that is down, and a file that somebody broke."""
    night(tmp_path)
    ExemptionFile(tmp_path, lambda: NOON + 3600).add(
        Exemption(0, ALLOW, 0.0, 3600.0, source="192.0.2.7", reason="<b>why</b>", by='"><i>x')
    )
    page = inside(tmp_path).get("/exceptions").text
    assert "not told yet" in page
    assert "1 h 0 min left" in page
    assert "&lt;b&gt;why&lt;/b&gt;" in page
    (tmp_path / "exceptions.json").write_text("{")
    reply = inside(tmp_path).get("/exceptions")
    assert reply.status == 503
    assert "move it away to begin anew" in reply.text


def test_a_link_that_says_made_is_not_believed(tmp_path: Path) -> None:
    """What the address says is held against the file."""
    night(tmp_path)
    page = inside(tmp_path).get("/exceptions?made=7&ended=x").text
    assert "is made" not in page
    assert "not in force any more" not in page
