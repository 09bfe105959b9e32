"""The cases about media without a kernel: each from a capture of its own."""

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from demo import media_cases
from demo.gateway import BIN, STRICT
from demo.media_cases import FIRST, KEYED_CASES, POLICY, SDES_CASES
from demo.programs import finished
from demo.stage import Outcome

FOLDER = Path(__file__).with_name("media")
TIMEOUT_S = 60


class Summary(NamedTuple):
    """What ``sipguard replay --summary --json`` counted in a capture."""

    messages: Counter[tuple[str, str]]  # by verdict and rule
    media: Counter[tuple[str, str]]  # packets by verdict and reason
    proven: int  # senders
    opened: int  # pinholes

    def says(self, *reasons: str) -> str:
        """Return what became of media: what is proven, what was dropped for these reasons."""
        told = [f"{self.media['drop', reason]} packets dropped as {reason}" for reason in reasons]
        return ", ".join([*told, f"{self.proven} senders proven"])


def capture_of(case: Callable[..., Outcome]) -> Path:
    """Return where the capture of a case is kept."""
    return FOLDER / f"{case.__name__}.pcap"


def judged_media() -> list[Outcome]:
    """Run the captures through the guard, two at a time, and judge each case by what it did."""
    cases = (*SDES_CASES, *KEYED_CASES)
    with ThreadPoolExecutor(2) as pool:
        summaries = list(pool.map(_replayed, cases))
    return [judge(summary) for judge, summary in zip(_JUDGES, summaries, strict=True)]


def _replayed(case: Callable[..., Outcome]) -> Summary:
    policy = STRICT if case in SDES_CASES else FOLDER / POLICY
    argv = [str(BIN / "sipguard"), "replay", str(capture_of(case)), "--policy", str(policy)]
    done = finished([*argv, "--summary", "--json"], timeout_s=TIMEOUT_S)
    if done.returncode:
        raise RuntimeError(f"sipguard replay failed: {done.stderr.strip()}")
    told = json.loads(done.stdout)
    messages = Counter[tuple[str, str]]()
    for row in told["counts"]:
        messages[row["verdict"], row["rule"]] += row["messages"]
    media = {(row["verdict"], row["reason"]): row["packets"] for row in told["media"]}
    return Summary(messages, Counter(media), told["sources_proven"], told["pinholes_opened"])


def _attacked(number: int, title: str, reason: str, proven: int) -> Callable[[Summary], Outcome]:
    def judged(summary: Summary) -> Outcome:
        return Outcome(
            number,
            title,
            f"dropped as {reason}, what is honest is proven",
            summary.says(reason),
            summary.media["drop", reason] > 0 and summary.proven >= proven,
        )

    return judged


def _honest(number: int, title: str, proven: int) -> Callable[[Summary], Outcome]:
    def judged(summary: Summary) -> Outcome:
        passed = summary.media["accept", "proven"]
        return Outcome(
            number,
            title,
            "the senders of both ways prove themselves, their media passes",
            f"{summary.says()}, {passed} packets passed",
            summary.proven >= proven and passed > proven,
        )

    return judged


def _readable(summary: Summary) -> Outcome:
    refused = summary.messages["reject", "readable"]
    return Outcome(
        FIRST + 5,
        media_cases.READABLE_TITLE,
        "488, no pinhole",
        f"{refused} refused by the rule readable, {summary.opened} pinholes",
        refused == 1 and not summary.opened,
    )


_JUDGES = (
    _attacked(FIRST, media_cases.PLAIN_TITLE, "plain-rtp", 2),
    _attacked(FIRST + 1, media_cases.INJECTED_TITLE, "other-source", 2),
    _honest(FIRST + 2, media_cases.DTLS_TITLE, 2),
    _attacked(FIRST + 3, media_cases.SWAPPED_TITLE, "dtls-fingerprint", 1),
    _honest(FIRST + 4, media_cases.RELAY_TITLE, 4),
    _readable,
    _honest(FIRST + 6, media_cases.ZRTP_TITLE, 2),
)
