"""replay: the JSON contract, and a capture judged as the night went."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import prove_by

from sipguard.cli.main import main
from sipguard.cli.rerun import Rerun
from sipguard.cli.rerun_line import label_of, render_json, show_moment
from sipguard.edge.capture import Captured, PcapWriter
from sipguard.edge.policy_file import load
from sipguard.guard import Guard
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action, Decision, Hole, Judgement, OpenPinhole
from sipguard.wire.packet import Packet, build_udp

ROOT = Path(__file__).parents[2]
NOON = 1_767_268_800.25
A, B, X = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), bytes([203, 0, 113, 66])
KEY = b"WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
KEY_2 = b"d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
KEYS = [
    "time", "time_s", "src", "src_port", "dst", "dst_port", "transport", "method", "status",
    "call_id", "verdict", "code", "rule", "reason", "findings", "pinholes",
]  # fmt: skip
POLICY = """
mode enforce
default drop
chain parse
  ambiguous  drop        if ambiguous
chain request
  forged     drop        if method in {ACK CANCEL BYE} and not dialog.known
  phones     accept      if src in {10.0.0.0/8}
chain media
  plain      reject 488  if not keyed
  sealed     open        if keyed
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "x.policy"
    path.write_text(POLICY)
    return path


def sdp(host: str, key: bytes) -> bytes:
    keyed = b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:%b\r\n" % key if key else b""
    return (
        b"v=0\r\no=- 1 1 IN IP4 %b\r\ns=-\r\nc=IN IP4 %b\r\nt=0 0\r\n"
        b"m=audio 4000 RTP/%b 0\r\na=rtcp-mux\r\n%b"
        % (host.encode(), host.encode(), b"SAVP" if key else b"AVP", keyed)
    )


def request(
    method: bytes, number: int, call: bytes, body: bytes = b"", to_tag: bytes = b""
) -> bytes:
    kind = b"Content-Type: application/sdp\r\n" if body else b""
    return (
        b"%b sip:bob@10.0.0.2 SIP/2.0\r\n"
        b"Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK%b%d%b\r\nMax-Forwards: 70\r\n"
        b"From: <sip:alice@10.0.0.1>;tag=a\r\nTo: <sip:bob@10.0.0.2>%b\r\nCall-ID: %b\r\n"
        b"CSeq: %d %b\r\nContact: <sip:alice@10.0.0.1>\r\n%bContent-Length: %d\r\n\r\n%b"
        % (method, call, number, method, b";tag=" + to_tag if to_tag else b"", call, number,
           method, kind, len(body), body)
    )  # fmt: skip


def response(status: int, method: bytes, number: int, call: bytes, body: bytes = b"") -> bytes:
    kind = b"Content-Type: application/sdp\r\n" if body else b""
    return (
        b"SIP/2.0 %d OK\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK%b%d%b\r\n"
        b"From: <sip:alice@10.0.0.1>;tag=a\r\nTo: <sip:bob@10.0.0.2>;tag=b\r\nCall-ID: %b\r\n"
        b"CSeq: %d %b\r\nContact: <sip:bob@10.0.0.2>\r\n%bContent-Length: %d\r\n\r\n%b"
        % (status, call, number, method, call, number, method, kind, len(body), body)
    )


def write(path: Path, packets: list[tuple[float, bytes, bytes, int, bytes]]) -> Path:
    writer = PcapWriter(path)
    for at_s, src, dst, port, payload in packets:
        writer.write(NOON + at_s, build_udp(Packet(src, dst, port, port, payload)))
    writer.close()
    return path


def a_call(
    call: bytes, at_s: float, key: bytes = KEY
) -> list[tuple[float, bytes, bytes, int, bytes]]:
    return [
        (at_s, A, B, 5060, request(b"INVITE", 1, call, sdp("10.0.0.1", key))),
        (at_s + 0.1, B, A, 5060, response(200, b"INVITE", 1, call, sdp("10.0.0.2", key and KEY_2))),
        (at_s + 0.2, A, B, 5060, request(b"ACK", 1, call, to_tag=b"b")),
        (at_s + 0.3, A, B, 4000, b"\x80\x00" + bytes(170)),
        (at_s + 5, A, B, 5060, request(b"BYE", 2, call, to_tag=b"b")),
        (at_s + 5.1, B, A, 5060, response(200, b"BYE", 2, call)),
    ]


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    forged = request(b"BYE", 9, b"other", to_tag=b"b")
    junk = response(200, b"INVITE", 1, b"c3").replace(b" 200 ", b" 4294967301 ")
    return write(
        tmp_path / "calls.pcap",
        [
            *a_call(b"c1", 0),
            *a_call(b"c2", 10, key=b"")[:1],
            (11, X, B, 5060, forged),
            (12, X, B, 5060, b"GET / HTTP/1.1\r\n\r\n"),
            (13, A, B, 5060, b"\r\n\r\n"),
            (14, A, B, 5080, junk),
        ],
    )


def test_the_json_contract(run: Run, capture: Path, policy: Path) -> None:
    """One object per SIP message in capture order, with these keys and these types."""
    code, out, err = run("replay", capture, "--policy", policy, "--json")
    assert (code, err) == (0, "")
    told = [json.loads(line) for line in out.splitlines()]
    assert all(list(one) == KEYS for one in told)
    assert [(one["method"], one["status"]) for one in told] == [
        ("INVITE", None), (None, 200), ("ACK", None), ("BYE", None), (None, 200),
        ("INVITE", None), ("BYE", None), (None, None),
    ]  # fmt: skip
    assert [one["verdict"] for one in told] == [*["accept"] * 5, "reject", "drop", "drop"]
    assert [one["code"] for one in told] == [*[None] * 5, 488, None, None]
    first = told[0]
    assert first["time"] == "2026-01-01T12:00:00.250000Z"
    assert first["time_s"] == NOON
    assert (first["src"], first["src_port"], first["dst"], first["dst_port"]) == (
        "10.0.0.1", 5060, "10.0.0.2", 5060,
    )  # fmt: skip
    assert (first["transport"], first["call_id"], first["rule"]) == ("udp", "c1", "phones")
    assert (told[5]["rule"], told[5]["reason"]) == ("plain", "not-keyed")
    assert told[6]["rule"] == "forged"


@given(
    st.binary(max_size=40),
    st.text(max_size=20),
    st.floats(min_value=-1e12, max_value=1e12),
)
def test_a_line_is_written_as_json_would_write_it(
    call_id: bytes, words: str, time_s: float
) -> None:
    """Programs parse these lines: nothing that a stranger or a policy says can break one."""
    payload = b"INVITE sip:b@c SIP/2.0\r\nCall-ID: " + call_id
    captured = Captured(time_s, Packet(A, bytes(16), 1, 65535, payload), b"", 0)
    judgement = Judgement(Action.REJECT, Reason.NOT_KEYED, words)
    opened = OpenPinhole(Hole(A, B, 4000), words, 60, call_id)
    finding = Finding(Reason.UNKNOWN_DIALOG)
    line = render_json(captured, Decision(Action.REJECT, judgement, (finding, finding), (opened,)))
    assert line == json.dumps(json.loads(line)) + "\n"
    told = json.loads(line)
    assert list(told) == KEYS
    assert (told["time_s"], told["rule"], told["code"]) == (time_s, words, 488)
    assert told["pinholes"][0]["key_method"] == words


def test_pinholes_open_with_the_answer_and_close_with_the_bye(
    run: Run, capture: Path, policy: Path
) -> None:
    """Both directions, both ends named, and how they were keyed."""
    _, out, _ = run("replay", capture, "--policy", policy, "--json")
    told = [json.loads(line) for line in out.splitlines()]
    ends = [("10.0.0.1", "10.0.0.2", 4000), ("10.0.0.2", "10.0.0.1", 4000)]
    opened = [hole for one in told for hole in one["pinholes"] if hole["action"] == "open"]
    closed = [hole for one in told for hole in one["pinholes"] if hole["action"] == "close"]
    assert sorted((h["src"], h["dst"], h["port"]) for h in opened) == ends
    assert sorted((h["src"], h["dst"], h["port"]) for h in closed) == ends
    assert {hole["key_method"] for hole in opened} == {"sdes"}
    assert [bool(one["pinholes"]) for one in told[:5]].count(True) == 2


def test_the_summary_counts_everything_on_sip_ports(run: Run, capture: Path, policy: Path) -> None:
    """Junk and keep-alives show in the table; media of a call is counted by what became of it."""
    code, out, _ = run("replay", capture, "--policy", policy, "--summary")
    assert code == 0
    assert (
        "8 SIP messages; 2 other on SIP ports; 0 datagrams of media or other kinds not judged."
        in out
    )
    assert "2 pinholes opened, 2 closed." in out
    assert "1 media packet: drop unproven 1; 0 sources proven." in out
    assert any(line.split()[:3] == ["other", "drop", "not-sip"] for line in out.splitlines())
    code, out, _ = run("replay", capture, "--policy", policy, "--summary", "--json")
    told = json.loads(out)
    assert sum(row["messages"] for row in told["counts"]) == 10
    assert (told["pinholes_opened"], told["not_judged"]) == (2, 0)
    assert told["media"] == [{"verdict": "drop", "reason": "unproven", "packets": 1}]


def test_the_readable_form(run: Run, capture: Path, policy: Path) -> None:
    """One line a message, with what opened."""
    code, out, _ = run("replay", capture, "--policy", policy)
    lines = out.splitlines()
    assert code == 0
    assert len(lines) == 8
    assert "INVITE     accept     phones" in lines[0]
    assert "open 10.0.0.1 > 10.0.0.2:4000" in lines[1]
    assert "reject 488" in lines[5]
    assert "unreadable" in lines[7]


def test_shadow_mode_still_tells_the_verdict(run: Run, capture: Path, policy: Path) -> None:
    """Trying a policy in shadow mode would be no use if everything read accept."""
    policy.write_text(POLICY.replace("mode enforce", "mode shadow"))
    _, out, _ = run("replay", capture, "--policy", policy, "--json")
    assert [json.loads(line)["verdict"] for line in out.splitlines()][5:7] == ["reject", "drop"]


def test_nothing_waits_in_a_capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """STI-15: its night is over; a certificate that is not here is unknown, each message once."""
    proving = prove_by(monkeypatch)
    text = POLICY.replace(
        "phones  ", "unproven reject 436 if method == INVITE and stir.unknown\n  phones "
    )
    (tmp_path / "p").write_text(text)
    capture = write(tmp_path / "c.pcap", a_call(b"one", 0.0))
    rerun = Rerun(str(capture), load(str(tmp_path / "p"), "", 0.0).policy)
    proving.guard = rerun._guard
    first = next(iter(rerun))[1]
    assert (first.judgement.rule, first.action) == ("unproven", Action.REJECT)
    assert {tally.verdict for tally in rerun.counts} == {"reject"}


def test_a_capture_knows_no_zone(run: Run, capture: Path, tmp_path: Path) -> None:
    """IPS-1: unknown is not IPsec, and the reader of the verdicts is told."""
    policy = tmp_path / "zoned.policy"
    rule = "a drop if zone != z and not ipsec"
    policy.write_text(f"zone z {{ interface e ipsec }}\nchain request\n  {rule}\n")
    code, out, err = run("replay", capture, "--policy", policy)
    assert code == 0
    assert "drop" in out
    assert "zone is empty, ipsec is false" in err


def test_twice_is_the_same(run: Run, capture: Path, policy: Path) -> None:
    """A capture replays exactly as the night went, today and next year."""
    arguments = ("replay", capture, "--policy", policy, "--json")
    assert run(*arguments) == run(*arguments)


def test_what_cannot_be_read(run: Run, capture: Path, policy: Path, tmp_path: Path) -> None:
    """A wrong file is one sentence; a capture that was cut tells so and counts what came before."""
    (tmp_path / "no.pcap").write_bytes(b"no capture at all, really not")
    for name in ("no.pcap", "none.pcap"):
        code, out, err = run("replay", tmp_path / name, "--policy", policy, "--json")
        assert (code, out) == (1, "")
        assert len(err.splitlines()) == 1
    code, out, err = run("replay", capture, "--policy", tmp_path / "none")
    assert (code, out) == (1, "")
    (tmp_path / "cut.pcap").write_bytes(capture.read_bytes()[:-10])
    code, out, err = run("replay", tmp_path / "cut.pcap", "--policy", policy, "--json")
    assert code == 0
    assert len(out.splitlines()) == 7
    assert err


def test_progress_when_asked(
    run: Run, capture: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress goes to standard error, so that it never mixes with the result."""
    monkeypatch.setattr("sipguard.cli.replay._PROGRESS_S", 0.0)
    code, out, err = run("replay", capture, "--policy", policy, "--json", "--progress")
    assert code == 0
    assert "% of" in err
    assert len(out.splitlines()) == 8


def test_a_fault_of_our_own_costs_one_message(
    run: Run, capture: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug is told once, fails closed, and the capture goes on."""

    def fail(*_: object) -> None:
        raise RuntimeError("bug\x1b")

    monkeypatch.setattr(Guard, "judge", fail)
    code, out, err = run("replay", capture, "--policy", policy, "--json")
    told = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [(one["verdict"], one["reason"]) for one in told] == [("drop", "internal-error")] * 8
    assert err.count("RuntimeError: bug") == 1
    assert "10 messages met a fault" in err
    assert "\x1b" not in err


def test_a_long_capture_is_fast_and_takes_constant_memory(tmp_path: Path, policy: Path) -> None:
    """A night is replayed in minutes: the bound here is loose, `make bench` prints the speed."""
    calls = 4000
    packets = [packet for n in range(calls) for packet in a_call(b"call-%d" % n, n * 10.0)]
    capture = write(tmp_path / "night.pcap", packets)
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, "replay", capture, "--policy", policy, "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        cwd=ROOT,
    )
    took_s, memory_kib = map(float, ran.stderr.split()[-2:])
    assert ran.stdout.count("\n") == calls * 5
    assert calls * 5 / took_s > 2_000
    assert memory_kib < 200_000


MEASURE = r"""
import re, sys, time
from sipguard.cli.main import main
code = main(sys.argv[1:])
# CPU, not the clock: others may use the machine, too.
print(time.process_time(), file=sys.stderr)
# Not getrusage: its maximum outlives exec, so it would tell the size of pytest.
print(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1], file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("payload", "label"),
    [
        (b"INVITE sip:b@c SIP/2.0\r\nCall-ID: x\r\n\r\n", ("INVITE", None, "x")),
        (b"\r\nSIP/2.0 200 OK\r\ni : y \r\n\r\n", (None, 200, "y")),
        (b"INVITE SIP/2.0\r\n\r\n", ("INVITE", None, None)),
        (b"<INVITE> sip:b@c SIP/2.0\r\n\r\n", (None, None, None)),
        (b"SIP/2.0 4294967301 x\r\ncall-id:z\x1b\r\n\r\n", (None, None, "z\\x1b")),
        (b"INVITE sip:b@c SIP/7.0\r\nCALL-ID: x", ("INVITE", None, "x")),
        (b"INVITE sip:b@c SIP/2.0\r\nCall-ID: cut", ("INVITE", None, "cut")),
    ],
)
def test_labels(payload: bytes, label: tuple[str | None, int | None, str | None]) -> None:
    """What a message calls itself is shown, however broken the rest is."""
    assert tuple(label_of(payload)) == label


@given(st.binary(max_size=200))
def test_labels_are_total_and_printable(payload: bytes) -> None:
    """No octets break a label or get through it raw."""
    label = label_of(payload)
    assert label.method is None or label.status is None
    assert (label.method or "").isprintable()
    assert (label.call_id or "").isprintable()


def test_moments_of_any_kind() -> None:
    """A capture with a mad clock is still read."""
    assert show_moment(0.000001) == "1970-01-01T00:00:00.000001Z"
    assert show_moment(1e300) == show_moment(float("nan")) == "1970-01-01T00:00:00.000000Z"
    assert show_moment(-0.25) == "1969-12-31T23:59:59.750000Z"
    assert show_moment(1.9999999) == "1970-01-01T00:00:02.000000Z"
