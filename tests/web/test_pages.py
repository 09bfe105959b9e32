"""What the pages tell of a night that was judged and stored, and what they say if they cannot."""

import json
import re
import sqlite3
import struct
from pathlib import Path

import pytest
from nights import NIGHT, NOON, POLICY, B, X, keep, night
from visitor import Visitor, inside

from sipguard.cli.main import main
from sipguard.edge import archive
from sipguard.edge.control import FeedState, RuleHits, StatusReport, write_status
from sipguard.edge.counting import Summary
from sipguard.edge.judged import Judged
from sipguard.edge.policy_file import Files, read_policy
from sipguard.edge.report import rule_hits
from sipguard.edge.store import FILE_NAME, Store
from sipguard.guard import Guard
from sipguard.journal.ledger import id_of
from sipguard.journal.observation import Observation
from sipguard.journal.query import Query
from sipguard.journal.record import record_of
from sipguard.moment import Moment
from sipguard.reason import Reason
from sipguard.verdict import Action
from sipguard.web.overview import FRESH_S
from sipguard.wire.packet import Packet

PAGES = ["/", "/blocked", "/blocked?by=rule", "/live", "/policy", "/exceptions", "/call/last"]


def status(state: Path, **more: object) -> None:
    """Leave a status as the service does."""
    report = StatusReport(pid=1, written_s=NOON + 3599, started_s=NOON - 600, mode="enforce")
    report.policy_file = str(state / "gateway.policy")
    report.rules = [
        RuleHits("request", "stray", f"{state}/gateway.policy:9", 17, NOON),
        RuleHits("request", "gone", f"{state}/gateway.policy:10", 3, NOON),
    ]
    for name, value in more.items():
        setattr(report, name, value)
    write_status(state, report)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with a night in it."""
    night(tmp_path)
    status(tmp_path)
    return tmp_path


def plain(page: str) -> str:
    """A page's text, blanks made one."""
    text = re.sub(r"<(style|script)[^>]*>.*?</\1>", " ", page, flags=re.DOTALL)
    text = re.sub(r"</?(bdi|code|mark)\b[^>]*>", "", text)
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


@pytest.mark.parametrize("path", PAGES)
def test_every_page_stands(state: Path, path: str) -> None:
    """With a heading, a language, a title, and a way past the navigation."""
    page = inside(state).get(path)
    assert page.status == 200
    for part in ('lang="en"', "<h1", "<title>", 'href="#content"', 'id="content"'):
        assert part in page.text
    assert page.text.count("<h1") == 1
    labels = set(re.findall(r'<label for="([^"]+)"', page.text))
    fields = set(re.findall(r'<(?:input|select) (?:type="checkbox" )?id="([^"]+)"', page.text))
    assert fields == labels
    assert "style=" not in page.text
    assert not re.search(r"<script(?! src=)", page.text)


def test_the_overview_counts_and_says_how_it_is(state: Path) -> None:
    """Numbers beside the chart, and the chart's numbers as a table."""
    text = plain(inside(state).get("/").text)
    assert "The service is running for 1 h 9 min and enforces its policy." in text
    assert "5 calls blocked in 24 hours" in text
    assert re.search(r"2026-01-01 12:00 2 3 0 5", text)
    assert "A header that may stand once stands twice." in text


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"queue_drops": 12}, "The kernel dropped 12 packets"),
        ({"last_reload": "refused: a.policy:3:1: no"}, "The last reload was refused"),
        ({"store_error": "disk full"}, "The record store: disk full."),
        ({"exceptions_error": "it is no JSON"}, "Temporary exceptions: it is no JSON."),
        (
            {"feeds": [FeedState("hep 192.0.2.9:9060", 7, 3, 2, "Connection refused")]},
            "Feed hep 192.0.2.9:9060: Connection refused (2 waiting, 3 lost).",
        ),
        ({"feeds": [FeedState("json a", 7, 1, 0, "")]}, "Feed json a lost 1 record."),
        ({"written_s": NOON}, "The service does not answer"),
        ({"mode": "shadow"}, "in shadow mode: nothing is dropped"),
        ({"pid": 2**22 + 5}, "The service is not running"),
    ],
)
def test_trouble_is_told_first(state: Path, more: dict[str, object], words: str) -> None:
    """Who opens the page in the morning sees it without looking for it."""
    status(state, **more)
    page = inside(state).get("/").text
    assert words in plain(page)
    mark = re.search(r'class="health card (\w+)"', page)
    assert mark is not None
    assert mark[1] == ("good" if "mode" in more else mark[1])
    assert mark[1] != "good" or "mode" in more


def test_the_overview_shows_what_was_judged(state: Path) -> None:
    """Beside what was blocked: messages that passed have no record, and are counted anyway."""
    store = Store(state)
    store.judged(Judged(int(NOON // 3600), {"accept": 1204, "drop": 2, "reject": 3}))
    store.write([], NOON)
    store.close()
    page = inside(state).get("/").text
    text = plain(page)
    assert "1,209 messages judged" in text
    assert "Messages judged over time" in text
    assert "2026-01-01 12:00 2 3 1,204" in text
    assert "by whole hours since 2025-12-31 13:00:00" in text
    assert "Messages judged are counted since 2026-01-01 12:00:00 UTC" in text
    assert page.count("<svg viewBox") == 2
    assert "Nothing was counted" not in text


def test_what_had_to_go_for_room_is_told(state: Path) -> None:
    """The chart keeps its numbers, and the lists are not taken for the whole."""
    with sqlite3.connect(state / FILE_NAME) as connection:
        connection.execute("DELETE FROM records WHERE rule = 'spoofed'")
    connection.close()
    text = plain(inside(state).get("/").text)
    assert "5 calls blocked in 24 hours" in text
    assert "had to go for room" in text
    assert "records before" not in plain(inside(state).get("/blocked").text)


def test_who_looks_again_sees_the_same(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many who watch cost what one does; two seconds later all of it is new."""
    asked: list[int] = []
    summary = archive.Archive.summary

    def count(self: archive.Archive, query: Query, span_s: int) -> Summary:
        asked.append(span_s)
        return summary(self, query, span_s)

    monkeypatch.setattr(archive.Archive, "summary", count)
    visitor = inside(state)
    before = len(asked)
    for path in ("/", "/?since=7d", "/", "/?live=1"):
        assert visitor.get(path).status == 200
    assert len(asked) - before == 2
    many(state, 3, NOON + 60)
    visitor.clock.advance(FRESH_S)
    assert "8 calls blocked" in plain(visitor.get("/").text)


def test_a_list_is_filtered_grouped_and_shared_by_its_address(state: Path) -> None:
    """All of it in GET parameters; relative times can be made fixed."""
    visitor = inside(state)
    assert visitor.get("/blocked").text.count('<td data-label="Record"') == 5
    some = visitor.get("/blocked?source=203.0.113.0/24&rule=stray&since=2h").text
    assert some.count('<td data-label="Record"') == 1
    assert 'value="203.0.113.0/24"' in some
    share = re.search(r'href="(/blocked\?[^"]*since=2026[^"]*)"', some)
    assert share is not None
    assert "since=2026-01-01T11%3A00%3A00" in share[1]
    again = visitor.get(share[1].replace("&amp;", "&")).text
    assert again.count('<td data-label="Record"') == 1
    groups = visitor.get("/blocked?by=reason").text
    there = re.search(r'href="(/blocked\?reason=[^"]+)"', groups)
    assert there is not None
    assert visitor.get(there[1]).text.count('<td data-label="Record"') == 1


@pytest.mark.parametrize(
    "asked",
    ["since=soon", "source=alice", "reason=none", "verdict=maybe", "by=weather", "finding=a+b",
     "limit=0", "after=zz/1"],
)  # fmt: skip
def test_a_filter_that_is_not_understood_is_told_beside_the_form(state: Path, asked: str) -> None:
    """With what would be, and the form as it was filled in."""
    page = inside(state).get(f"/blocked?{asked}")
    assert page.status == 400
    assert 'role="alert"' in page.text
    assert "Traceback" not in page.text


@pytest.mark.parametrize(
    "asked", ["rule=%00", "rule=%ff", f"rule={'x' * 300}", "rule=%e2%80%ae",
              "&".join(f"f{n}=1" for n in range(40))],
)  # fmt: skip
def test_what_nobody_types_is_refused(state: Path, asked: str) -> None:
    """Too much, too long, or not to be seen."""
    assert inside(state).get(f"/blocked?{asked}").status == 400


def many(state: Path, count: int, at_s: float) -> None:
    """Store so many records of one moment."""
    seen = Observation(
        utc_s=at_s, action=Action.DROP, judged=Action.DROP, reason=Reason.NOT_SIP, src=X, dst=B,
        rule="flood", method=b"INVITE", raw=b"x",
    )  # fmt: skip
    record = record_of(seen, id_of(1))
    keep(state, [record._replace(id=id_of(n + 1), first_s=at_s, last_s=at_s) for n in range(count)])


@pytest.mark.parametrize("count", [51, 130, 400])
def test_pages_of_a_flood_show_each_record_once(tmp_path: Path, count: int) -> None:
    """All of them came in one millisecond, so a time alone is no place to go on from."""
    many(tmp_path, count, NOON)
    visitor = inside(tmp_path)
    seen: list[str] = []
    there = "/blocked?since=1d"
    while there:
        page = visitor.get(there).text
        seen += re.findall(r'<td data-label="Record"[^>]*><a href="/call/(\w+)"', page)
        older = re.search(r'rel="next" href="([^"]+)"', page)
        there = older[1].replace("&amp;", "&") if older else ""
    assert len(seen) == count
    assert len(set(seen)) == count


def test_one_call_begins_with_the_sentence(state: Path) -> None:
    """Then what to do, the ladder, the proofs, the facts and the message."""
    visitor = inside(state)
    bye = re.search(r"/call/(\w+)", visitor.get("/blocked?rule=stray").text)
    assert bye is not None
    page = visitor.get(f"/call/{bye[1]}").text
    text = plain(page)
    assert "BYE from 203.0.113.66 was dropped because rule stray (gateway.policy:9)" in text
    assert text.index("was dropped because") < text.index("What you can do")
    assert "stray drop if method in {ACK BYE} and not dialog.known" in text
    assert "BYE [drop]" in text
    assert page.count('class="refused"') == 1
    assert visitor.get(f"/call/{bye[1].upper()}").status == 200


def test_the_offending_line_is_marked(state: Path) -> None:
    """Also for who does not see colors."""
    visitor = inside(state)
    found = re.search(r"/call/(\w+)", visitor.get("/blocked?reason=duplicate-header").text)
    assert found is not None
    page = visitor.get(f"/call/{found[1]}").text
    marked = re.findall(r'<li class="marked">.*?</li>', page)
    assert len(marked) == 2
    for line in marked:
        assert "<mark>Call-ID</mark>" in line
        assert 'class="hidden">marked: ' in line


def test_a_call_can_be_taken_along(state: Path) -> None:
    """As a capture with the masked message, and as the record itself."""
    visitor = inside(state)
    clear = re.search(r"/call/(\w+)", visitor.get("/blocked?rule=spoofed").text)
    assert clear is not None
    reply = visitor.get(f"/call/{clear[1]}.pcap")
    assert reply.header("content-disposition") == f'attachment; filename="sipguard-{clear[1]}.pcap"'
    assert struct.unpack("<L", reply.body[:4])[0] == 0xA1B2C3D4
    assert b"INVITE sip:bob@example.com SIP/2.0" in reply.body
    assert b"WVNfX19z" not in reply.body
    told = json.loads(visitor.get(f"/call/{clear[1]}.json").body)
    assert told["id"] == clear[1]


@pytest.mark.parametrize(
    "path", ["/call/zzzzzzz", "/call/", "/call/last.exe", "/call/..%2f..", "/x"]
)
def test_what_is_not_there_is_said(state: Path, path: str) -> None:
    """With where to go on."""
    reply = inside(state).get(path)
    assert reply.status == 404
    assert 'href="/"' in reply.text


def test_the_policy_has_its_hits_beside_it(state: Path) -> None:
    """At the rule's own line; where the file was changed since, at none."""
    page = inside(state).get("/policy").text
    row = re.search(r'<tr id="[^"]*gateway.policy-9">.*?</tr>', page, re.DOTALL)
    assert row is not None
    assert "stray" in row[0]
    assert ">17</a>" in row[0]
    other = re.search(r'<tr id="[^"]*gateway.policy-10">.*?</tr>', page, re.DOTALL)
    assert other is not None
    assert ">3</a>" not in other[0]
    assert "It would load" in plain(page)


def test_the_hits_are_the_guards_own(tmp_path: Path) -> None:
    """Each rule's at its own line, also in an included file and of a rule of many lines."""
    (tmp_path / "more.policy").write_text(
        "chain request\n  spoofed    reject 403  if from.host in own and (\n"
        "    src not in phones\n  ) log\n"
    )
    policy = POLICY.replace("chain media", 'include "more.policy"\nchain media')
    policy = re.sub("  spoofed .*\n", "", policy)
    night(tmp_path, policy=policy)
    read = read_policy(str(tmp_path / "gateway.policy"), Files())
    guard = Guard(read, b"secret", record=lambda _: None)
    for at_s, src, dst, octets in NIGHT:
        guard.judge(Packet(src, dst, 5060, 5060, octets), Moment(at_s, NOON + at_s))
    hits = rule_hits(read, NOON)
    status(tmp_path, rules=hits)
    page = inside(tmp_path).get("/policy").text
    rows = re.findall(r'<tr id="([^"]*)-(\d+)".*?<td class="n hits">(.*?)</td>', page, re.DOTALL)
    shown = {f"{file}:{number}": int(re.sub("<[^>]*>", "", told)) for file, number, told in rows
             if told}  # fmt: skip
    assert shown == {rule.place: rule.hits for rule in hits}
    assert sum(shown.values()) > 5
    never = re.search(r'id="never".*?<p class="code">(.*?)</p>', page)
    assert never is not None
    assert never[1].split(", ") == [rule.name for rule in hits if not rule.hits]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"last_reload": "refused: x"}, "The policy loaded before is still in force"),
        ({"last_reload": "ok", "policy_loaded_s": NOON},
         "Loaded 2026-01-01 12:00:00 UTC Last reload ok"),
        ({}, "Last reload none since the start"),
        ({"policy_hash": "0" * 16}, "The file was changed after the service loaded it"),
    ],
)  # fmt: skip
def test_the_policy_page_says_what_is_in_force(
    state: Path, more: dict[str, object], words: str
) -> None:
    """When it was loaded, how the last reload went, and whether the file is another by now."""
    status(state, **more)
    assert words in plain(inside(state).get("/policy").text)


def test_what_check_says_is_what_the_command_says(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same warnings, each at its line."""
    file = state / "gateway.policy"
    file.write_text(POLICY.replace("set own", "set never { 192.0.2.1 }\nset own"))
    assert main(["check", str(file)]) == 0
    said = capsys.readouterr()
    page = inside(state).get("/policy").text
    warnings = re.findall(
        r"gateway.policy:(\d+):\d+: warning: (.*?)(?: \(|\n)", said.err + said.out
    )
    assert warnings
    for line, message in warnings:
        row = re.search(rf'<tr id="[^"]*gateway.policy-{line}".*?</tr>', page, re.DOTALL)
        assert row is not None
        assert message in row[0].replace("&#34;", '"')


def test_a_policy_with_errors_is_shown_with_them(state: Path) -> None:
    """Line by line, and that the service goes on with the one it has."""
    (state / "gateway.policy").write_text("mode enforce\ndefault drop\nchain request\n  x acept\n")
    text = plain(inside(state).get("/policy").text)
    assert "the service would refuse this file and go on with what it has" in text
    assert "gateway.policy:4" in text


def test_shadow_results_are_what_would_be_blocked(tmp_path: Path) -> None:
    """By rule, and one by one."""
    night(tmp_path, policy="mode shadow\ndefault drop\nset own { a.example }\n")
    status(tmp_path, mode="shadow")
    text = plain(inside(tmp_path).get("/policy").text)
    assert "What would have been blocked, last 7 days" in text
    assert "would be dropped" in text
    assert "Some of them were blocked indeed" not in text
    night(tmp_path)
    assert "Some of them were blocked indeed" in plain(inside(tmp_path).get("/policy").text)


def broken(state: Path) -> None:
    (state / FILE_NAME).write_bytes(b"no database at all " * 300)


def missing(state: Path) -> None:
    (state / FILE_NAME).unlink()


def newer(state: Path) -> None:
    with sqlite3.connect(state / FILE_NAME) as connection:
        connection.execute("PRAGMA user_version = 99")


def torn(state: Path) -> None:
    for suffix in ("-wal", "-shm"):
        (state / f"{FILE_NAME}{suffix}").unlink(missing_ok=True)
    octets = (state / FILE_NAME).read_bytes()
    (state / FILE_NAME).write_bytes(octets[:4096] + b"\xee" * (len(octets) - 4096))


@pytest.mark.parametrize("harm", [broken, missing, newer, torn])
@pytest.mark.parametrize("path", ["/", "/blocked", "/live", "/policy", "/call/last"])
def test_a_store_that_cannot_be_read_is_a_sentence(state: Path, harm: object, path: str) -> None:
    """Status 503, what is wrong, and that judging goes on."""
    assert callable(harm)
    harm(state)
    reply = inside(state).get(path)
    assert reply.status == 503
    assert "record store" in reply.text
    assert "the service goes on" in reply.text
    assert "Traceback" not in reply.text


def test_a_locked_store_is_a_sentence(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while of waiting."""
    monkeypatch.setattr(archive, "_BUSY_S", 0.05)
    holder = sqlite3.connect(state / FILE_NAME, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    holder.execute("UPDATE records SET rule = rule")
    reply = inside(state).get("/blocked")
    holder.close()
    assert reply.status == 503
    assert "locked" in reply.text


def test_a_fault_of_ours_is_a_sentence(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The traceback goes to the log, and to nobody else."""

    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("sipguard.web.site.overview", fail)
    reply = inside(state).get("/")
    assert reply.status == 500
    assert "secret detail" not in reply.text
    assert "Traceback" not in reply.text


def test_assets_are_local_and_kept_by_the_browser(state: Path) -> None:
    """And nothing else is served from the folder."""
    visitor = Visitor(state)
    style = visitor.get("/static/sipguard.css")
    assert (style.status, style.header("content-type")) == (200, "text/css; charset=utf-8")
    again = visitor.get("/static/sipguard.css", If_None_Match=style.header("etag"))
    assert (again.status, again.body) == (304, b"")
    for name in ("../site.py", "..%2fsite.py", "base.html", ""):
        assert visitor.get(f"/static/{name}").status == 404
    scripts = [visitor.get(f"/static/{name}.js").text for name in ("live", "overview")]
    for text in (style.text, *scripts):
        assert "http" not in text
        assert "innerHTML" not in text


def test_a_page_is_asked_for_without_its_body(state: Path) -> None:
    """HEAD."""
    reply = inside(state).ask("HEAD", "/blocked")
    assert (reply.status, reply.body) == (200, b"")


def one_of(state: Path, rule: str) -> str:
    """Return the page of the call that a rule refused."""
    visitor = inside(state)
    found = re.search(r"/call/(\w+)", visitor.get(f"/blocked?rule={rule}").text)
    assert found is not None
    return visitor.get(f"/call/{found[1]}").text


def test_a_call_comes_with_the_smallest_rule_that_lets_it_pass(state: Path) -> None:
    """As `policy suggest` prints it, with the warning what else comes in by it."""
    page = one_of(state, "spoofed")
    text = plain(page)
    assert (
        "accept if method == INVITE and src in { 203.0.113.66 } and "
        "from.user == &#34;alice&#34; and from.host == &#34;example.com&#34; log" in text
    )
    assert "as line 10, above rule spoofed" in text
    assert "what else it lets in every other INVITE from 203.0.113.66" in text
    assert "of UDP it can be forged" in text
    similar = re.search(r'href="(/blocked\?caller=[^"]*)"', page)
    assert similar is not None
    listed = inside(state).get(similar[1].replace("&amp;", "&")).text
    assert listed.count('<td data-label="Record"') == 1


@pytest.mark.parametrize(
    ("rule", "why"),
    [("stray", "judged alone and by"), ("plain", "no rule opens a pinhole without one")],
)
def test_a_call_that_no_rule_lets_pass_says_why(state: Path, rule: str, why: str) -> None:
    """Instead of a rule that would not help."""
    text = plain(one_of(state, rule))
    assert "There is none:" in text
    assert why in text


def test_a_suggestion_follows_the_policy(state: Path) -> None:
    """It is kept for a while, and not longer than the file stays as it was."""
    assert "above rule spoofed" in plain(one_of(state, "spoofed"))
    policy = state / "gateway.policy"
    policy.write_text(policy.read_text().replace("chain media", "chain medium"))
    assert "the policy is not good" in plain(one_of(state, "spoofed"))


def test_an_accepted_call_has_neither_rule_nor_exception(tmp_path: Path) -> None:
    """It passed."""
    night(tmp_path, policy="mode enforce\ndefault drop\nchain request\n  all accept log\n")
    page = one_of(tmp_path, "all&verdict=accept")
    assert "smallest rule" not in page
    assert 'id="except"' not in page
