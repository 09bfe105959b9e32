"""What review commands print of a whole night, as a person reads it; compared word for word."""

import csv
import io
import json
import re
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from nights import NIGHT, NOON, POLICY, A, B, X, keep, night, request, sdp

from sipguard.cli.main import main
from sipguard.edge.capture import CaptureReader, PcapWriter
from sipguard.edge.judged import Judged
from sipguard.edge.store import FILE_NAME, Store
from sipguard.journal.ledger import id_of
from sipguard.journal.observation import Observation
from sipguard.journal.record import record_of
from sipguard.reason import Reason
from sipguard.verdict import Action
from sipguard.wire.packet import Packet, build_udp

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([*map(str, arguments), "--state-dir", str(tmp_path)])
        out, err = capsys.readouterr()
        return code, out.replace(str(tmp_path), "/etc"), err.replace(str(tmp_path), "/etc")

    return call


@pytest.fixture
def ids(tmp_path: Path) -> dict[str, str]:
    return night(tmp_path)


BLOCKED = """\
ID        LAST (UTC)           VERDICT  SOURCE        MESSAGE  CALLER             RULE       WHY
1w8ra3g0  2026-01-01 12:00:03  drop     203.0.113.66  BYE      alice@example.com  stray      \
An in-dialog request from a host that is not on the call's path.
1w8raa00  2026-01-01 12:00:10  reject   203.0.113.66  INVITE   alice@example.com  spoofed    \
The rule spoofed of the policy refuses it.
1w8ram00  2026-01-01 12:00:20  reject   203.0.113.66  INVITE   eve@example.net    unsigned   \
The policy names nobody to trust for it, so nobody can say. (there is no trust line)
1w8ray00  2026-01-01 12:00:30  reject   10.0.0.1      INVITE   alice@example.com  plain      \
No key for SRTP was negotiated. (no key is offered)
1w8rb800  2026-01-01 12:00:40  drop     10.0.0.1      INVITE   alice@example.com  ambiguous  \
A header that may stand once stands twice.
"""


def test_blocked(run: Run, ids: dict[str, str]) -> None:
    """One line a call."""
    assert run("blocked") == (0, BLOCKED, "")


BY_SOURCE = """\
MESSAGES  CALLS  LAST (UTC)           EXAMPLE   SOURCE
       3      3  2026-01-01 12:00:20  1w8ram00  203.0.113.66
       2      2  2026-01-01 12:00:40  1w8rb800  10.0.0.1
"""


def test_blocked_by_source(run: Run, ids: dict[str, str]) -> None:
    """The loudest first, numbers to the right."""
    assert run("blocked", "--by", "source") == (0, BY_SOURCE, "")


@pytest.mark.parametrize(
    ("filters", "rules"),
    [
        (["--method", "bye"], {"stray"}),
        (["--callee", "BOB@example"], {"stray", "spoofed", "unsigned", "plain", "ambiguous"}),
        (["--callee", "carol"], set()),
        (["--finding", "SIP-12"], {"ambiguous"}),
        (["--finding", "duplicate-header"], {"ambiguous"}),
        (["--finding", "not-set-up"], {"unsigned"}),
        (["--source", "203.0.113.0/24", "--verdict", "drop"], {"stray"}),
        (["--source", "10.0.0.1", "--rule", "plain", "--reason", "not-keyed"], {"plain"}),
        (["--call-id", "CALL-4"], {"plain"}),
        (["--until", "2026-01-01T12:00:15"], {"stray", "spoofed"}),
    ],
)
def test_filters(run: Run, ids: dict[str, str], filters: list[str], rules: set[str]) -> None:
    """Each leaves what it names, in the list, in the counts and in the live view."""
    _, out, _ = run("blocked", "--json", *filters)
    assert {json.loads(line)["rule"] for line in out.splitlines()} == rules
    _, out, _ = run("blocked", "--json", "--by", "rule", *filters)
    assert {json.loads(line)["rule"] for line in out.splitlines()} == rules
    _, out, _ = run("tail", "--json", *filters)
    assert {json.loads(line)["rule"] for line in out.splitlines()} == rules


@pytest.mark.parametrize(
    "options", [["--by", "colour"], ["--finding", "a b"], ["--limit", "0"], ["--until", "soon"]]
)
def test_wrong_options_say_what_is_right(run: Run, ids: dict[str, str], options: list[str]) -> None:
    """Exit status 2, and one sentence."""
    code, out, err = run("blocked", *options)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


STRAY = """\
BYE from 203.0.113.66 was dropped because rule `stray` (gateway.policy:9) refuses it. \
An in-dialog request from a host that is not on the call's path.

Record      1w8ra3g0, 2026-01-01 12:00:03 UTC
Rule        stray, /etc/gateway.policy:9
            stray drop if method in {ACK BYE} and not dialog.known log
Reason      forged-in-dialog
Path        203.0.113.66:5060 to 10.0.0.2:5060, UDP
Request     sip:bob@example.com
From        <sip:alice@example.com>;tag=a
To          <sip:bob@example.com>;tag=b
Contact     <sip:alice@203.0.113.66>
Call-ID     call-1
CSeq        7 BYE
Branch      z9hG4bKcall-17BYE
Dialog      confirmed

Why the rule matched (had one of these not held, the next rule would have been asked)
  method in {ACK BYE}  method: BYE
  not dialog.known     dialog.known: false

Findings
  DLG-6   forged-in-dialog: An in-dialog request from a host that is not on the call's path.

Ladder (UTC)
                   10.0.0.1                  10.0.0.2                203.0.113.66
  12:00:00.100         |-------- INVITE -------->|                         |
  12:00:00.100         |<------ 200 INVITE ------|                         |
  12:00:00.200         |--------- ACK ---------->|                         |
  12:00:03.500         |                         |x--------- BYE ----------|  [drop]

What you can do
  - The sender is on neither end of the call. If it is a proxy of yours that joined later, it \
should be on the path from the first INVITE on (Record-Route).
  - The rule stands at /etc/gateway.policy:9; the first match wins, so an exception goes above \
it. Try it first: sipguard replay CAPTURE --policy FILE
  - The narrowest such rule: sipguard policy suggest 1w8ra3g0
  - More of this source: sipguard blocked --src 203.0.113.66 --since 1d
"""


def test_explain(run: Run, ids: dict[str, str]) -> None:
    """The sentence first, then the evidence, the ladder and what to do."""
    assert run("explain", ids["stray"]) == (0, STRAY, "")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("spoofed", "was refused with 403 because rule `spoofed` (gateway.policy:10) refuses what "
                    "matches: from.host in own and not src in phones."),
        ("unsigned", "with 428 because rule `unsigned` (gateway.policy:11) wants a valid AIB or "
                     "PASSporT, and the AIB is unknown: The policy names nobody to trust"),
        ("unsigned", "  not (aib.valid or stir.attest in {A B})  aib.valid: false, "
                     "stir.attest: unknown\n"),
        ("plain", "with 488 because rule `plain` (gateway.policy:14) refuses it. No key for SRTP"),
        ("ambiguous", "  line 6: Call-ID: call-5\n          ^^^^^^^\n"
                      "  line 9: Call-ID: other\n          ^^^^^^^\n"),
    ],
)  # fmt: skip
def test_explain_says_which_rule_wants_what(
    run: Run, ids: dict[str, str], rule: str, words: str
) -> None:
    """Nobody has to read the policy to know why."""
    code, out, _ = run("explain", ids[rule])
    assert code == 0
    assert words in out


def test_explain_a_default_and_an_old_record(run: Run, tmp_path: Path) -> None:
    """Where no rule decided, the sentence says so; a record without conditions needs none."""
    policy = (
        "mode shadow\ndefault reject 403\nchain request\n  phones accept if src in {10.0.0.0/8}\n"
    )
    ids = night(tmp_path, [(0, X, B, request(source=b"203.0.113.66"))], policy)
    _, out, _ = run("explain", ids["default"])
    assert out.startswith(
        "INVITE from 203.0.113.66 would have been refused with 403 (shadow mode: it passed) "
        "because no rule of gateway.policy accepts it, and that is its default.\n"
    )
    assert "Why the rule matched" not in out


def test_many_ends_of_a_ladder_stand_below_each_other(run: Run, tmp_path: Path) -> None:
    """Six hosts do not fit side by side; IPv6 addresses get letters."""
    hosts = [bytes([10, 0, 0, n]) for n in range(1, 9)]
    for name, ends in (("00000001", hosts), ("00000002", [bytes(15) + b"\1", b"\xfe" * 16])):
        seen = Observation(NOON, Action.DROP, Action.DROP, Reason.REPLAY, ends[0], ends[1],
                           method=b"INVITE", call_id=name.encode())  # fmt: skip
        steps = tuple((NOON + n, b"INVITE", a, b) for n, (a, b) in enumerate(pairwise(ends)))
        seen = seen._replace(ladder=steps)
        keep(tmp_path, [record_of(seen, name)])
    _, out, _ = run("explain", "00000001")
    assert "12:00:01.000  10.0.0.2        ---      INVITE      --> 10.0.0.3\n" in out
    _, out, _ = run("explain", "00000002")
    assert "  B = fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe\n" in out
    assert "|-------- INVITE --------x|  [drop]\n" in out


def test_csv(run: Run, ids: dict[str, str]) -> None:
    """A heading, then a row a record, as a spreadsheet reads it."""
    _, out, _ = run("blocked", "--csv", "--rule", "plain")
    heading, row = csv.reader(io.StringIO(out))
    told = dict(zip(heading, row, strict=True))
    assert (told["id"], told["code"], told["src_port"]) == (ids["plain"], "488", "5060")
    _, out, _ = run("blocked", "--csv", "--by", "caller")
    assert list(csv.reader(io.StringIO(out)))[1][:3] == ["alice@example.com", "4", "4"]


STATS = """\
Blocked: 5 calls, 5 messages.

BEGIN (UTC), 1 H  CALLS  MESSAGES
2026-01-01 12:00      5         5  ##############################

Sources
MESSAGES  CALLS  EXAMPLE   SRC
       3      3  1w8ram00  203.0.113.66
       2      2  1w8rb800  10.0.0.1

Callers (as claimed)
MESSAGES  CALLS  EXAMPLE   CALLER
       4      4  1w8rb800  alice@example.com
       1      1  1w8ram00  eve@example.net
"""
DAY = ("--since", "2026-01-01", "--until", "2026-01-02")


def test_stats(run: Run, ids: dict[str, str]) -> None:
    """How much, when, and by whom."""
    code, out, err = run("stats", *DAY)
    assert (code, err) == (0, "")
    assert out.startswith(STATS)
    _, out, _ = run("stats", *DAY, "--json", "--top", "1")
    told = json.loads(out)
    assert told["over_time"] == [
        {"time": "2026-01-01T12:00:00.000Z", "calls": {"drop": 2, "reject": 3},
         "messages": {"drop": 2, "reject": 3}},
    ]  # fmt: skip
    assert [(group["src"], group["records"]) for group in told["src"]] == [("203.0.113.66", 3)]
    assert run("stats", "--since", "2025-01-01", "--until", "2025-01-02") == (
        0, "Nothing was blocked in that time.\n", "",
    )  # fmt: skip
    assert run("stats", "--since", "1h", "--until", "2h")[0] == 2


def test_stats_of_what_was_judged(run: Run, ids: dict[str, str], tmp_path: Path) -> None:
    """Messages that passed have no record; their number stands beside what was blocked."""
    store = Store(tmp_path)
    store.judged(Judged(int(NOON // 3600) + 1, {"accept": 1204, "drop": 2}))
    store.write([], NOON)
    store.close()
    code, out, err = run("stats", *DAY)
    assert code == 0
    assert "Judged: 1,206 messages (accept 1,204, drop 2).\nBlocked: 5 calls, 5 messages.\n" in out
    rows = [line.split() for line in out.splitlines() if line.startswith("2026-01-01")]
    assert rows == [
        ["2026-01-01", "12:00", "5", "5", "0", "#" * 30],
        ["2026-01-01", "13:00", "0", "0", "1,206"],
    ]
    assert "messages judged are counted since 2026-01-01 13:00:00 UTC" in err
    told = json.loads(run("stats", *DAY, "--json")[1])
    assert told["judged_over_time"] == [
        {"time": "2026-01-01T13:00:00.000Z", "messages": {"accept": 1204, "drop": 2}}
    ]
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("DELETE FROM records WHERE rule = 'spoofed'")
    connection.close()
    _, _, err = run("stats", *DAY)
    assert "had to go for room" in err


def test_export_is_the_packet_that_was_kept(run: Run, ids: dict[str, str], tmp_path: Path) -> None:
    """Same ends, same time, masked octets; and Wireshark reads it."""
    pcap = tmp_path / "x.pcap"
    code, out, err = run("export", ids["spoofed"], "--pcap", pcap)
    assert (code, out) == (0, "")
    assert "keys and credentials masked" in err
    (captured,) = CaptureReader(str(pcap))
    packet = captured.packet
    assert (packet.src, packet.dst, packet.sport, packet.dport) == (X, B, 5060, 5060)
    assert captured.time_s == NOON + 10
    assert packet.payload.startswith(b"INVITE sip:bob@example.com SIP/2.0\r\n")
    assert b"inline:MASKEDMASKEDMASKEDMASKEDMASKEDMASKEDMASK\r\n" in packet.payload
    assert len(packet.payload) == len(NIGHT[4][3])
    assert pcap.stat().st_mode & 0o077 == 0
    assert run("export", ids["spoofed"], "--pcap", pcap)[0] == 1  # never overwrites
    code, _, err = run("export", ids["spoofed"], "--pcap", tmp_path / "y.pcap", "--with-keys")
    assert code == 1
    assert "never stored" in err
    assert not (tmp_path / "y.pcap").exists()
    if shutil.which("tshark"):
        told = subprocess.run(
            ["tshark", "-r", pcap, "-T", "fields", "-e", "sip.Call-ID", "-e", "sdp.media"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert told.stdout.startswith("call-2\taudio 4000 RTP/SAVP 0")


def test_export_of_what_has_no_message(run: Run, tmp_path: Path) -> None:
    """A record about packets says that there is nothing to write."""
    seen = Observation(
        NOON, Action.DROP, Action.DROP, Reason.PLAIN_RTP, A, B, method=b"media audio"
    )
    keep(tmp_path, [record_of(seen, id_of(1))])
    code, _, err = run("export", id_of(1), "--pcap", tmp_path / "x.pcap")
    assert code == 1
    assert "about packets of a stream" in err


def test_backup_while_the_service_writes(run: Run, ids: dict[str, str], tmp_path: Path) -> None:
    """The copy is sound, whole, private and readable; the writer was not held up."""
    store = Store(tmp_path)
    done = threading.Event()
    lost: list[str] = []

    def write() -> None:
        number = 1 << 39
        while not done.is_set():
            number += 1
            seen = Observation(NOON, Action.DROP, Action.DROP, Reason.REPLAY, A, B)
            store.write([record_of(seen, id_of(number))], NOON)
            lost.extend([store.last_error] if store.waiting else [])

    writer = threading.Thread(target=write)
    writer.start()
    copy = tmp_path / "copy" / FILE_NAME
    copy.parent.mkdir()
    try:
        code, out, err = run("backup", copy)
    finally:
        done.set()
        writer.join()
        store.close()
    assert (code, err, lost) == (0, "", [])
    assert str(copy.stat().st_size)[:1] in out
    assert [file.name for file in copy.parent.iterdir()] == [FILE_NAME]
    assert copy.stat().st_mode & 0o077 == 0
    with sqlite3.connect(copy) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert main(["explain", ids["stray"], "--state-dir", str(copy.parent)]) == 0
    assert run("backup", copy)[0] == 1  # never overwrites
    assert run("backup", tmp_path / "nowhere" / "x")[0] == 1


@pytest.mark.parametrize(
    "command",
    [["blocked"], ["blocked", "--by", "rule"], ["stats"], ["explain", "last"], ["tail"],
     ["export", "last", "--pcap", "x"], ["backup", "x"], ["policy", "suggest", "last"]],
)  # fmt: skip
@pytest.mark.parametrize("state", ["corrupt", "newer", "locked", "none"])
def test_a_store_that_cannot_be_read_is_one_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], state: str
) -> None:
    """No traceback, exit status 1, nothing left behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sipguard.edge.archive._BUSY_S", 0.05)
    other = None
    if state == "corrupt":
        (tmp_path / FILE_NAME).write_bytes(b"SQLite format 3\x00" + b"\xff" * 9000)
    elif state != "none":
        night(tmp_path, NIGHT[3:5])
        other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
        if state == "newer":
            other.execute("PRAGMA user_version = 99")
        else:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
    before = {file.name for file in tmp_path.iterdir()}
    code, out, err = run(*command)
    assert (code, out) == (1, "")
    assert err.startswith("sipguard: ")
    assert err.count("\n") == 1
    assert {file.name for file in tmp_path.iterdir()} <= before | {
        f"{FILE_NAME}-shm",
        f"{FILE_NAME}-wal",
    }
    words = {"newer": "a newer sipguard wrote it", "locked": "locked", "corrupt": "cannot read"}
    assert words.get(state, "no record store") in err
    if other is not None:
        other.close()


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, ""])
def test_a_record_that_somebody_spoilt_is_one_sentence(
    run: Run, ids: dict[str, str], tmp_path: Path, text: str
) -> None:
    """What is in the file is not believed, either."""
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE records SET json = ?", (text,))
    for command in (["blocked"], ["tail"], ["explain", "last"]):
        code, out, err = run(*command)
        assert (code, out) == (1, "")
        assert err.endswith("one of its records is no JSON object\n")
    assert run("blocked", "--by", "rule")[0] == 0


AGAINST = """\
It would refuse otherwise: 2 messages
MESSAGES  NOW         BY                         THEN  BY                           FOR EXAMPLE
       1  reject 403  spoofed (refused-by-rule)  drop  strangers (refused-by-rule)  \
2026-01-01T12:00:10 203.0.113.66 call-2
       1  reject 428  unsigned (not-set-up)      drop  strangers (refused-by-rule)  \
2026-01-01T12:00:20 203.0.113.66 call-3

2 messages would fare otherwise; 6 the same.
"""


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    writer = PcapWriter(tmp_path / "night.pcap")
    for at_s, src, dst, octets in NIGHT:
        writer.write(NOON + at_s, build_udp(Packet(src, dst, 5060, 5060, octets)))
    writer.close()
    return tmp_path / "night.pcap"


def replay(capture: Path, policies: dict[str, str], *more: str) -> int:
    for name, text in policies.items():
        (capture.parent / name).write_text(text)
    now, other = (str(capture.parent / name) for name in policies)
    return main(["replay", str(capture), "--policy", now, "--against", other, *more])


def test_replay_against_another_policy(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before it is in force, its author sees whom it would treat otherwise, and how."""
    other = POLICY.replace(
        "  spoofed ", "  strangers  drop  if src not in phones and method == INVITE\n  spoofed "
    )
    assert replay(capture, {"now.policy": POLICY, "next.policy": other}) == 0
    assert capsys.readouterr().out == AGAINST
    assert replay(capture, {"now.policy": POLICY, "next.policy": POLICY}) == 0
    assert capsys.readouterr().out == "0 messages would fare otherwise; 8 the same.\n"


def test_replay_against_says_what_is_refused_and_let_pass_anew(
    capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The two that matter come first, as numbers for a program as well."""
    policies = {"now.policy": POLICY, "open.policy": "default accept\n"}
    assert replay(capture, policies, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert {change["after"]["verdict"] for change in told["changes"]} >= {"accept"}
    assert sum(change["messages"] for change in told["changes"]) + told["same"] == len(NIGHT)
    assert replay(capture, dict(reversed(policies.items()))) == 0
    out = capsys.readouterr().out
    assert out.startswith("It would refuse what passes now: ")
    assert replay(capture, {"now.policy": POLICY, "bad.policy": "chain\n"}) == 1


SUGGESTED = """\
let-1w8raa00 accept if method == INVITE and src in { 203.0.113.66 } and from.user == "alice" \
and from.host == "example.com" log

It goes in chain request of /etc/gateway.policy, as line 10, above rule spoofed.
The policy loads with it, and the stored message passes.

What else it lets in
  - every other INVITE from 203.0.113.66 that says it is from alice@example.com, whoever is \
called and however often
  - whatever these rules say of it, which are asked no more: spoofed, unsigned
  - and who can send packets with the source 203.0.113.66: of UDP it can be forged
"""


def test_suggest(run: Run, ids: dict[str, str]) -> None:
    """One line, where it goes, and what it costs."""
    assert run("policy", "suggest", ids["spoofed"]) == (0, SUGGESTED, "")
    _, out, _ = run("policy", "suggest", ids["ambiguous"])
    assert out.startswith("let-1w8rb800 tolerate duplicate-header if src in { 10.0.0.1 }\n")


def test_what_is_suggested_does_let_that_call_pass_and_no_other(
    ids: dict[str, str], run: Run, tmp_path: Path
) -> None:
    """The line, put where it is said to go, changes this call's fate alone."""
    for rule in ("spoofed", "unsigned", "ambiguous"):
        _, out, _ = run("policy", "suggest", ids[rule], "--json")
        told = json.loads(out.replace("/etc/", f"{tmp_path}/"))
        lines = POLICY.split("\n")
        lines.insert(told["number"] - 1, told["line"])
        again = tmp_path / rule
        again.mkdir()
        left = night(again, NIGHT, "\n".join(lines))
        assert set(ids) - set(left) == {rule}


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("stray", "it depends on what came before it: calls, replay memory, rates"),
        ("plain", "its offer has no key for SRTP, and no rule opens a pinhole without one"),
    ],
)
def test_suggest_says_why_it_cannot(run: Run, ids: dict[str, str], rule: str, why: str) -> None:
    """No rule is better than one that does not help, or helps an attacker."""
    code, out, err = run("policy", "suggest", ids[rule])
    assert (code, out) == (1, "")
    assert err.startswith(f"sipguard: no rule for {ids[rule]}: ")
    assert why in err


def test_suggest_after_the_policy_changed(run: Run, ids: dict[str, str], tmp_path: Path) -> None:
    """What passes by now needs no rule; a broken policy gets none."""
    (tmp_path / "gateway.policy").write_text("default accept\n")
    code, _, err = run("policy", "suggest", ids["spoofed"])
    assert code == 1
    assert "the stored message" in err
    (tmp_path / "gateway.policy").write_text("chain request\n  nonsense\n")
    code, _, err = run("policy", "suggest", ids["spoofed"])
    assert code == 1
    assert "the policy is not good: /etc/gateway.policy:2" in err


def test_suggest_at_the_end_of_a_policy_that_drops_the_rest(run: Run, tmp_path: Path) -> None:
    """A default refuses: the rule goes behind the last one, also where that one spans lines."""
    policy = "chain request\n  phones accept if src in {\n    10.0.0.0/8 # ours\n  }\nchain media\n  sealed open if keyed\n"  # noqa: E501
    told = [(0.0, X, B, request(source=b"203.0.113.66", body=sdp(b"203.0.113.66")))]
    ids = night(tmp_path, told, policy)
    code, out, _ = run("policy", "suggest", ids["default"])
    assert code == 0
    assert "as line 5." in out


def test_suggest_in_an_included_file(run: Run, tmp_path: Path) -> None:
    """The line goes where the rule is that refuses, not where the policy begins."""
    (tmp_path / "rules.policy").write_text(POLICY[POLICY.index("set phones") :])
    policy = 'mode shadow\ndefault drop\ninclude "rules.policy"\n'
    ids = night(tmp_path, NIGHT, policy)
    code, out, err = run("policy", "suggest", ids["spoofed"])
    assert (code, err) == (0, "")
    assert "in chain request of /etc/rules.policy, as line 8, above rule spoofed." in out


def test_suggest_needs_more_than_one_rule(run: Run, tmp_path: Path) -> None:
    """A stranger's call in clear is refused twice; then one line does not do, and that is said."""
    told = [(0.0, X, B, request(source=b"203.0.113.66", body=sdp(b"203.0.113.66", keyed=False)))]
    ids = night(tmp_path, told)
    code, _, err = run("policy", "suggest", ids["spoofed"])
    assert code == 1
    assert re.search(r"one rule is not enough: .* refused by plain \(not-keyed\)", err)


def test_a_hostile_name_gets_into_no_suggested_rule(run: Run, tmp_path: Path) -> None:
    """A caller must not write the reviewer's policy: what is no plain word is left out."""
    user = b"x%22%20or%20src%20in%20%7b0.0.0.0/0%7d"
    told = [(0.0, X, B, request(user=user, source=b"203.0.113.66"))]
    ids = night(tmp_path, told)
    code, out, _ = run("policy", "suggest", ids["spoofed"])
    assert code == 0
    assert out.split("\n")[0] == (
        f"let-{ids['spoofed']} accept if method == INVITE and src in {{ 203.0.113.66 }} log"
    )
