"""blocked, explain, tail and status: what the person who reviews sees the morning after."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sipguard.cli.main import main
from sipguard.edge.control import RuleHits, StatusReport, write_status
from sipguard.edge.store import FILE_NAME, Store
from sipguard.evidence import Evidence, State
from sipguard.journal import told
from sipguard.journal.advice import advise
from sipguard.journal.ledger import Ledger
from sipguard.journal.observation import MediaNote, Observation
from sipguard.journal.record import record_of
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action, Endpoint

NOW = time.time()
A, B, C = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 66]), bytes([198, 51, 100, 7])
ROOT = Path(__file__).parents[2]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("SIPGUARD_STATE", raising=False)

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def seen(ago_s: float, src: bytes, reason: Reason, rule: str, **changes: object) -> Observation:
    return Observation(
        utc_s=NOW - ago_s,
        action=Action.DROP,
        judged=Action.DROP,
        reason=reason,
        src=src,
        dst=C,
        sport=5060,
        dport=5060,
        rule=rule,
        method=b"INVITE",
        from_=b'"\x1b[2JEve" <sip:eve@example.net>;tag=1',
        to=b"<sip:bob@example.com>",
        call_id=b"%b-%f" % (src, ago_s),
        request_uri=b"sip:bob@example.com",
        raw=b"INVITE sip:b@c SIP/2.0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:SECRETSECRET\r\n",
    )._replace(**changes)  # type: ignore[arg-type]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Three records: an old replay, a spoofed call with a flood behind it, a clear-RTP call."""
    policy = tmp_path / "strict.policy"
    policy.write_text("chain request\n  spoofed   reject 403   if from.host in own    log\n")
    ledger = Ledger(per_source=1)
    flood = [
        seen(60 - n / 100, B, Reason.REFUSED_BY_RULE, "spoofed", place=f"{policy}:2", status=403,
             judged=Action.REJECT, action=Action.REJECT)
        for n in range(5)
    ]  # fmt: skip
    media = MediaNote(
        b"audio", b"RTP/AVP", b"", b"", False, Reason.NOT_KEYED, Endpoint(A, 4000), Endpoint(b"", 0)
    )
    told = [
        seen(90_000, A, Reason.REPLAY, "replayed", octets=b"CSeq: 1\x07"),
        *flood,
        seen(30, A, Reason.NOT_KEYED, "plain", mode="shadow", action=Action.ACCEPT, media=(media,),
             findings=(Finding(Reason.NOT_KEYED, "no key", b"m=audio"),)),
        seen(20, A, Reason.ACCEPTED, "emergency", judged=Action.ACCEPT,
             action=Action.ACCEPT, log=True, from_="<sip:שלום@example.com>".encode()),
    ]  # fmt: skip
    store = Store(tmp_path)
    store.write([record for record in map(ledger.note, told) if record], NOW)
    store.write(ledger.flush(NOW), NOW)
    store.close()
    return tmp_path


def ids(run: Run, state: Path, *more: str) -> list[str]:
    code, out, _ = run("blocked", "--state-dir", state, "--json", *more)
    assert code == 0
    return [json.loads(line)["rule"] for line in out.splitlines()]


def test_blocked_lists_what_was_refused(run: Run, state: Path) -> None:
    """One line a call, newest last, with the flood as a number; accepted calls only if asked."""
    code, out, _ = run("blocked", "--state-dir", state)
    assert code == 0
    lines = out.splitlines()
    assert " ".join(lines[0].split()) == "ID LAST (UTC) VERDICT SOURCE MESSAGE CALLER RULE WHY"
    assert len(lines) == 4
    assert "reject" in lines[2]
    assert "and 4 more like this" in lines[2]
    assert "would drop" in lines[3]
    assert "eve@example.net" in lines[3]
    assert ids(run, state) == ["replayed", "spoofed", "plain"]
    assert ids(run, state, "--all") == ["replayed", "spoofed", "plain", "emergency"]


@pytest.mark.parametrize(
    ("filters", "rules"),
    [
        (["--since", "1h"], ["spoofed", "plain"]),
        (["--until", "1h"], ["replayed"]),
        (["--src", "192.0.2.66"], ["spoofed"]),
        (["--rule", "plain"], ["plain"]),
        (["--reason", "replay"], ["replayed"]),
        (["--verdict", "accept"], ["emergency"]),
        (["--caller", "nobody"], []),
        (["--limit", "1"], ["plain"]),
    ],
)
def test_filters(run: Run, state: Path, filters: list[str], rules: list[str]) -> None:
    """Each filter leaves what it names."""
    assert ids(run, state, *filters) == rules


def test_groups(run: Run, state: Path) -> None:
    """The loudest first, with an id to explain."""
    code, out, _ = run("blocked", "--state-dir", state, "--group-by", "rule", "--json")
    groups = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [(g["rule"], g["messages"], g["records"]) for g in groups] == [
        ("spoofed", 5, 1),
        ("plain", 1, 1),
        ("replayed", 1, 1),
    ]
    code, out, _ = run("blocked", "--state-dir", state, "--group-by", "src")
    assert out.splitlines()[1].split()[0] == "5"
    assert out.splitlines()[1].endswith("192.0.2.66")
    assert run("explain", "--state-dir", state, groups[0]["example"])[0] == 0


def test_an_empty_list_is_no_failure(run: Run, state: Path) -> None:
    """A quiet night is good news."""
    code, out, _ = run("blocked", "--state-dir", state, "--rule", "none")
    assert (code, out) == (0, "Nothing was blocked that fits.\n")


def test_explain_tells_the_story(run: Run, state: Path) -> None:
    """Sentence first, then the rule with its text, the path, the count and what to do."""
    _, out, _ = run("blocked", "--state-dir", state, "--rule", "spoofed", "--json")
    identifier = json.loads(out)["id"]
    code, out, _ = run("explain", "--state-dir", state, identifier.upper())
    assert code == 0
    assert out.splitlines()[0] == (
        "INVITE from 192.0.2.66 was refused with 403 because rule `spoofed` (strict.policy:2) "
        "refuses it."
    )
    for words in (
        f"spoofed, {state}/strict.policy:2",
        "spoofed reject 403 if from.host in own log",
        "192.0.2.66:5060 to 198.51.100.7:5060, UDP",
        '"\\x1b[2JEve" <sip:eve@example.net>;tag=1',
        "and 4 more like this",
        "Ladder (UTC)",
        "[reject]",
        "sipguard blocked --src 192.0.2.66 --since 1d",
    ):
        assert words in out, words
    assert "\x1b" not in out


def test_explain_tells_media_findings_and_shadow(run: Run, state: Path) -> None:
    """A call without a key: which stream, which end, and that it passed this time."""
    _, out, _ = run("blocked", "--state-dir", state, "--rule", "plain", "--json")
    code, out, _ = run("explain", "--state-dir", state, json.loads(out)["id"], "--message")
    assert code == 0
    for words in (
        "would have been dropped (shadow mode: it passed)",
        "audio RTP/AVP, no key: not-keyed; caller 192.0.2.1:4000, callee not yet known",
        "PIN-18  not-keyed: No key for SRTP was negotiated. no key “m=audio”",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:***",
        "Nothing to do now",
        "Clear RTP never gets a pinhole",
    ):
        assert words in out, words
    assert "SECRET" not in out


@pytest.mark.parametrize(
    ("ipsec", "words"), [(True, " (zone hq, by IPsec)"), (False, " (zone hq)")]
)
def test_explain_tells_the_zone(run: Run, tmp_path: Path, ipsec: bool, words: str) -> None:
    """Where it came in, by the policy's own word for it."""
    store = Store(tmp_path)
    found = seen(1, A, Reason.REPLAY, "r", interface="ga", zone="hq", ipsec=ipsec)
    store.write([record_of(found, "zzzzzzzz")], NOW)
    store.close()
    _, out, _ = run("explain", "--state-dir", tmp_path, "last")
    assert f"UDP on ga{words}\n" in out


def test_explain_tells_proofs(run: Run, state: Path) -> None:
    """Who signed, what it covers, and why it was not enough."""
    why = "From says alice@example.com, the certificate speaks for mallory@example.com"
    proof = Evidence(
        State.FAILED,
        Finding(Reason.AIB_WRONG_SIGNER, why),
        signer=b"sip:mallory@example.com",
        covers=(b"from", b"date", b"call-id", b"contact"),
    )
    record = record_of(
        seen(0, A, Reason.REFUSED_BY_RULE, "unsigned", proofs=(("aib", proof),)), "zzzzzzzx"
    )
    store = Store(state)
    store.write([record], NOW)
    store.close()
    _, out, _ = run("explain", "--state-dir", state, "zzzzzzzx")
    assert f"Identity    AIB: failed: {why}.\n" in out
    assert "would cover From, Date, Call-ID, Contact; not the session description\n" in out
    assert out.count("If the certificate's name is right, From is not") == 1


@pytest.mark.parametrize(
    ("reason", "finding", "help_"),
    [
        (Reason.KEY_MGMT_FAILED, Reason.MIKEY_TIME, "compare both with a time server"),
        (Reason.KEY_MGMT_FAILED, Reason.MIKEY_MAC, "change it under psk or certs of trust mikey"),
        (Reason.KEY_MGMT_FAILED, Reason.UNKNOWN_ISSUER, "under ca of the trust line"),
        (Reason.MIKEY_UNCHECKED, Reason.MIKEY_UNCHECKED, "under psk of trust mikey, or the auth"),
        (Reason.MIKEY_REPLAY, Reason.MIKEY_REPLAY, "Each call needs a MIKEY message of its own"),
    ],
)
def test_explain_tells_what_is_wrong_with_mikey(
    run: Run, state: Path, reason: Reason, finding: Reason, help_: str
) -> None:
    """The check that failed, what helps, and the message without its key."""
    message = b"INVITE sip:b@c SIP/2.0\r\n\r\nv=0\r\na=key-mgmt:mikey AQAAAgEAAACGBQ"
    found = (Finding(finding, "said so"), Finding(reason, "said so"))
    record = record_of(seen(0, A, reason, "plain", findings=found, raw=message), "zzzzzzzy")
    store = Store(state)
    store.write([record], NOW)
    store.close()
    _, out, _ = run("explain", "--state-dir", state, "zzzzzzzy", "--message")
    words = " ".join(out.split())
    assert f"{finding.rule} {finding.value}: {finding.sentence} said so" in words
    assert help_ in words
    assert "a=key-mgmt:***" in out
    assert "AQAAAgEA" not in out


def test_explain_last_and_as_json(run: Run, state: Path) -> None:
    """`last` is the newest record, whatever it is."""
    code, out, _ = run("explain", "--state-dir", state, "last", "--json")
    assert code == 0
    assert json.loads(out)["rule"] == "emergency"


def test_explain_of_no_record(run: Run, state: Path) -> None:
    """A mistyped id is answered, not traced."""
    for identifier in ("00000000", "what\x1b?"):
        code, out, err = run("explain", "--state-dir", state, identifier)
        assert (code, out) == (1, "")
        assert "no record" in err
        assert "\x1b" not in err


def test_tail_shows_the_last(run: Run, state: Path) -> None:
    """Without -f it ends."""
    code, out, _ = run("tail", "--state-dir", state, "-n", "2")
    assert code == 0
    assert len(out.splitlines()) == 3


def test_tail_follows(state: Path) -> None:
    """What is written while it follows appears, and an interrupt ends it well."""
    tail = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "sipguard.cli.main",
            "tail",
            "-f",
            "--state-dir",
            str(state),
            "--json",
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert tail.stdout is not None
    try:
        for _ in range(3):
            assert tail.stdout.readline()
        store = Store(state)
        for identifier in ("zzzzzzzy", "zzzzzzzz"):  # each once, nothing again
            new = record_of(seen(0, A, Reason.STRAY_ACK, "calls"), identifier)
            store.write([new], NOW)
            assert json.loads(tail.stdout.readline())["id"] == identifier
        store.close()
        tail.send_signal(2)
        assert tail.wait(10) == 0
    finally:
        tail.kill()
        tail.wait()
        tail.stdout.close()


def test_wrong_filters_are_usage_errors(run: Run, state: Path) -> None:
    """Exit status 2, and what would be right."""
    code, _, err = run("blocked", "--state-dir", state, "--since", "soon")
    assert code == 2
    assert "2026-01-31" in err
    assert run("blocked", "--state-dir", state, "--reason", "because")[0] == 2
    assert run("tail", "--state-dir", state, "-n", "0")[0] == 2


@pytest.mark.parametrize("command", [["blocked"], ["explain", "last"], ["tail"], ["status"]])
def test_no_store_says_where_it_looked(run: Run, tmp_path: Path, command: list[str]) -> None:
    """The usual mistake is another state directory."""
    code, out, err = run(*command, "--state-dir", tmp_path)
    assert (code, out) == (1, "")
    assert str(tmp_path) in err
    assert "--state-dir" in err


def test_the_state_directory_may_come_from_the_environment(
    run: Run, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIPGUARD_STATE saves typing."""
    monkeypatch.setenv("SIPGUARD_STATE", str(state))
    assert run("blocked")[0] == 0


def report(**changes: object) -> StatusReport:
    told = StatusReport(
        pid=os.getpid(),
        written_s=time.time(),
        started_s=time.time() - 7530,
        mode="shadow",
        policy_file="/etc/sipguard/x\x1b.policy",
        packets=1234,
        by_verdict={"accept": 1000, "drop": 234},
        pinholes=2,
        rules=[
            RuleHits("request", "forged", "x:3", 7, NOW),
            RuleHits("media", "plain", "x:9", 0, 0),
        ],
    )
    for name, value in changes.items():
        setattr(told, name, value)
    return told


def test_status_tells_of_connections(run: Run, tmp_path: Path) -> None:
    """In a line of their own; and in none where nothing ever connected."""
    counters = {"streams_open": 3, "streams_accepted": 1200, "stream_messages": 45_678}
    write_status(tmp_path, report(counters={**counters, "streams_slow_stream": 7}))
    _, out, _ = run("status", "--state-dir", tmp_path)
    told = "3 open, 1,200 accepted, 45,678 messages; refused or ended: slow stream 7"
    assert any(line.startswith("streams") and line.endswith(told) for line in out.splitlines())
    write_status(tmp_path, report())
    assert "streams" not in run("status", "--state-dir", tmp_path)[1]


def test_status_of_a_running_service(run: Run, tmp_path: Path) -> None:
    """Healthy is short, with exit status 0."""
    write_status(tmp_path, report(media_path="direct from eth0"))
    code, out, _ = run("status", "--state-dir", tmp_path, "--rules")
    assert "direct from eth0" in out
    assert code == 0
    assert f"sipguard is running: process {os.getpid()}, for 2 h 5 min" in out
    assert "shadow (nothing is dropped)" in out
    assert "1,234 judged: accept 1,000, drop 234" in out
    assert "x\\x1b.policy" in out
    assert "warning" not in out
    assert "never" in out.splitlines()[-1]


def test_status_warns_of_what_is_lost(run: Run, tmp_path: Path) -> None:
    """Losses are the first thing an admin must see."""
    counters = {"crowded_out": 4, "records_lost_no_room": 1, "writer_restarts": 2}
    lost = {"queue_drops": 3, "lost_records": 1, "counters": counters}
    write_status(tmp_path, report(**lost, store_error="disk full", errors=2))
    _, out, _ = run("status", "--state-dir", tmp_path)
    assert "the kernel dropped 3 packets" in out
    assert "4 large packets found the queue full" in out
    assert "1 record could not be stored: 1 came faster than they are written" in out
    assert "the process that writes records ended 2 times" in out
    assert "disk full" in out
    assert "2 packets met a fault" in out


def test_status_of_a_dead_or_silent_service(run: Run, tmp_path: Path) -> None:
    """A monitoring script needs only the exit status."""
    write_status(tmp_path, report(pid=2**22 + 1))
    code, out, _ = run("status", "--state-dir", tmp_path)
    assert code == 1
    assert "not running" in out
    write_status(tmp_path, report(written_s=time.time() - 100))
    code, out, _ = run("status", "--state-dir", tmp_path, "--json")
    assert code == 1
    assert json.loads(out)["stale"] is True


def test_a_closed_pipe_is_no_error(state: Path) -> None:
    """`sipguard blocked | head -1` ends in silence."""
    command = f'"{sys.executable}" -m sipguard.cli.main blocked --json --state-dir "{state}"'
    ran = subprocess.run(
        ["/bin/sh", "-c", f"{command}; echo $? >&2"],
        stdout=closed_pipe(),
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert ran.stderr.strip() == "0"


def closed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def test_every_reason_has_advice_that_reads(state: Path) -> None:
    """Whatever was blocked, the admin is told what can be done; no braces are left over."""
    for reason in Reason:
        record = record_of(seen(0, A, reason, "x", place="p:1"), "00000001").to_json()
        lines = list(advise(record))
        assert lines
        assert not any("{{" in line or "{src}" in line for line in lines)
    assert (state / FILE_NAME).exists()


def test_advice_on_proofs_fits_what_was_there() -> None:
    """No empty line, and nobody who signed something is told to sign."""
    absent = Evidence(State.ABSENT, Finding(Reason.STIR_ABSENT))
    for aib, told_to_sign in (
        (Evidence(State.FAILED, Finding(Reason.AIB_STALE)), False),
        (Evidence(State.ABSENT, Finding(Reason.AIB_ABSENT)), True),
    ):
        proofs = (("aib", aib), ("smime", Evidence(State.ABSENT)), ("stir", absent))
        observation = seen(1, A, Reason.AIB_STALE, "wrong", proofs=proofs)
        lines = list(advise(record_of(observation, "00000001").to_json()))
        assert all(lines)
        assert any("signs nothing" in line for line in lines) is told_to_sign


@pytest.mark.parametrize(
    ("transport", "what"), [("udp", "datagram"), ("tls", "connection"), ("tcp", "connection")]
)
def test_what_is_no_message_is_named_after_what_it_is(transport: str, what: str) -> None:
    """A failed handshake is no datagram; a packet that cannot be read is one."""
    reason = Reason.TLS_OLD_VERSION if transport == "tls" else Reason.NOT_SIP
    seen = Observation(NOW, Action.DROP, Action.DROP, reason, A, C, transport=transport)
    assert told.subject(record_of(seen, "00000000").to_json()) == what


def test_a_failed_handshake_comes_with_advice() -> None:
    """What to do about the name of a server is in the policy's own words."""
    seen = Observation(NOW, Action.DROP, Action.DROP, Reason.TLS_WRONG_NAME, A, C, transport="tls")
    assert any("tls-server ADDRESS name" in one for one in advise(record_of(seen, "0").to_json()))
