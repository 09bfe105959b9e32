"""The cases without root or kernel: the bundled capture through the same guard."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from demo.gateway import BIN, ROOT, STRICT
from demo.offline_media import judged_media
from demo.programs import finished
from demo.signed_cases import FIRST, POLICY, SIGNED, replayed_outcome, signed_outcome
from demo.stage import Outcome, summed_up

CAPTURE = Path(__file__).with_name("calls.pcap")
CONTENTS = Path(__file__).with_name("calls.json")
SIGNED_FOLDER = Path(__file__).with_name("signed")  # with its policy, and what that trusts
SIGNED_CAPTURE = SIGNED_FOLDER / "calls.pcap"
SIGNED_CONTENTS = SIGNED_FOLDER / "calls.json"
STRANGER = "10.20.3.2"
TIMEOUT_S = 60

Line = dict[str, object]  # one line of `sipguard replay --json`


def run(reason: str) -> int:
    """Judge the capture, say what is left out and why; 0 only if every case held."""
    print("sipguard demo, WITHOUT THE KERNEL PART:")
    print(f"  {reason}.")
    print("  So no namespaces, no telephones, no NFQUEUE and no pinholes in the kernel: the")
    print(f"  messages of an earlier run ({CAPTURE.relative_to(ROOT)}) go through the same guard")
    print("  with the same policies instead.\n")
    outcomes = judged_capture()
    for outcome in outcomes:
        print(outcome.line(), flush=True)
    return summed_up(outcomes)


def judged_capture() -> list[Outcome]:
    """Run the bundled captures through the guard and judge each case by what it did."""
    calls = _stretches(_replayed(CAPTURE, STRICT), CONTENTS)
    signed = _stretches(_replayed(SIGNED_CAPTURE, SIGNED_FOLDER / POLICY), SIGNED_CONTENTS)
    outcomes = [case(lines) for case, lines in zip(CASES, calls, strict=True)]
    outcomes += [
        signed_outcome(number, case, _fates(lines)[-1])
        for number, (case, lines) in enumerate(zip(SIGNED, signed, strict=False), FIRST)
    ]
    outcomes = sorted([*outcomes, *judged_media()], key=lambda outcome: outcome.number)
    return [*outcomes, replayed_outcome(FIRST + len(SIGNED), _fates(signed[-1]))]


def _fates(lines: Sequence[Line]) -> list[str]:
    """Say what came of each INVITE: passed, dropped or a status code."""
    words = {"accept": "passed", "drop": "dropped"}
    return [
        words.get(str(line["verdict"])) or str(line["code"])
        for line in lines
        if line.get("method") == "INVITE" and not line.get("status")
    ] or ["nothing"]


def _replayed(capture: Path, policy: Path) -> list[Line]:
    """Run ``sipguard replay`` as a user would, and read its lines."""
    argv = [str(BIN / "sipguard"), "replay", str(capture), "--policy", str(policy), "--json"]
    done = finished(argv, timeout_s=TIMEOUT_S)
    if done.returncode:
        raise RuntimeError(f"sipguard replay failed: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _stretches(lines: Sequence[Line], contents: Path) -> list[list[Line]]:
    """Cut the lines where one case ends and the next begins."""
    ends = [stretch["until_s"] for stretch in json.loads(contents.read_text())]
    cut: list[list[Line]] = [[] for _ in ends]
    for line in lines:
        time_s = float(str(line["time_s"]))
        number = sum(time_s > end for end in ends[:-1])
        cut[number].append(line)
    return cut


def _verdicts(lines: Sequence[Line], method: str, source: str = "") -> Counter[str]:
    """Count the verdicts over the requests of a method (from a source)."""
    return Counter(
        str(line["verdict"])
        for line in lines
        if line.get("method") == method and str(line["src"]).startswith(source)
    )


def _pinholes(lines: Sequence[Line]) -> Counter[str]:
    """Count pinholes opened and closed."""
    actions: Counter[str] = Counter()
    for line in lines:
        pinholes = line.get("pinholes")
        for pinhole in pinholes if isinstance(pinholes, list) else []:
            actions[str(pinhole["action"])] += 1
    return actions


def _call(number: int, version: int) -> Callable[[Sequence[Line]], Outcome]:
    def judged(lines: Sequence[Line]) -> Outcome:
        passed = sum(line["verdict"] == "accept" for line in lines)
        holes = _pinholes(lines)
        return Outcome(
            number,
            f"SRTP call (SDES, baresip) over IPv{version}",
            "every message passes, pinholes opened and closed",
            f"{passed} of {len(lines)} messages passed, "
            f"{holes['open']} pinholes opened, {holes['close']} closed",
            passed == len(lines) > 5 and holes["open"] == holes["close"] >= 2,
        )

    return judged


def _plain(lines: Sequence[Line]) -> Outcome:
    refused = [line for line in lines if line["verdict"] == "reject"]
    codes = sorted({str(line["code"]) for line in refused})
    opened = _pinholes(lines)["open"]
    return Outcome(
        3,
        "plain RTP offer (SIPp)",
        "488, no pinhole",
        f"{' '.join(codes) or 'not refused'}, {opened} pinholes",
        codes == ["488"] and not opened,
    )


def _scanner(lines: Sequence[Line]) -> Outcome:
    seen = _verdicts(lines, "OPTIONS", STRANGER)
    return Outcome(
        4,
        "scanner (OPTIONS of friendly-scanner)",
        "dropped",
        f"{seen['drop']} of {seen.total()} probes dropped",
        seen["drop"] == seen.total() > 0,
    )


def _forged_bye(lines: Sequence[Line]) -> Outcome:
    forged, every = _verdicts(lines, "BYE", STRANGER), _verdicts(lines, "BYE")
    return Outcome(
        5,
        "forged BYE from a third address",
        "dropped, the call's own BYE passes",
        f"{forged['drop']} of {forged.total()} forged dropped, {every['accept']} BYE passed",
        forged["drop"] == forged.total() == 1 and every["accept"] == 1,
    )


def _replay(lines: Sequence[Line]) -> Outcome:
    seen = _verdicts(lines, "INVITE")
    return Outcome(
        6,
        "captured INVITE replayed with a changed From",
        "2 replays dropped, INVITE and retransmission pass",
        f"{seen['drop']} dropped, {seen['accept']} passed",
        seen["drop"] == 2 and seen["accept"] == 2,
    )


def _ambiguous(lines: Sequence[Line]) -> Outcome:
    seen = _verdicts(lines, "INVITE")
    return Outcome(
        7,
        "two From headers, two Content-Length headers",
        "2 dropped as ambiguous, a clean one passes",
        f"{seen['drop']} dropped, {seen['accept']} passed",
        seen["drop"] == 2 and seen["accept"] == 1,
    )


def _fragments(lines: Sequence[Line]) -> Outcome:
    seen, ended = _verdicts(lines, "INVITE"), _verdicts(lines, "BYE")
    return Outcome(
        8,
        "3 KB INVITE in IP fragments",
        "judged whole: a good one passes, one with a second From in the last fragment does not",
        f"{seen['accept']} passed, {seen['drop']} dropped, call "
        f"{'completed' if ended['accept'] else 'failed'}",
        seen["accept"] == 1 and seen["drop"] == 1 and ended["accept"] == 1,
    )


def _stolen(lines: Sequence[Line]) -> Outcome:
    seen = _verdicts(lines, "REGISTER")
    return Outcome(
        9,
        "stolen digest response under another Contact",
        "1 dropped, its owner's 2 pass",
        f"{seen['drop']} dropped, {seen['accept']} passed",
        seen["drop"] == 1 and seen["accept"] == 2,
    )


CASES: tuple[Callable[[Sequence[Line]], Outcome], ...] = (
    _call(1, 4),
    _call(2, 6),
    _plain,
    _scanner,
    _forged_bye,
    _replay,
    _ambiguous,
    _fragments,
    _stolen,
)
