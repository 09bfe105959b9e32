"""``python -m demo.web``: a store filled from the bundled captures, and the page that shows it.

    python -m demo.web [--port PORT] [--keep DIR]

Judges the calls of the demo by the shipped policies as if they had come today, and serves
the page until it is interrupted. Needs no kernel, no root and no telephones.
"""

import argparse
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from demo.gateway import BIN, ROOT, STRICT
from demo.offline import CAPTURE, SIGNED_CAPTURE, SIGNED_FOLDER
from demo.signed_cases import POLICY as SIGNED_POLICY
from sipguard.edge.capture import read_capture
from sipguard.edge.control import StatusReport, write_status
from sipguard.edge.judged import JudgedMeter
from sipguard.edge.policy_file import Files, read_policy
from sipguard.edge.report import rule_hits
from sipguard.edge.store import Store
from sipguard.guard import Guard
from sipguard.journal.ledger import Ledger
from sipguard.journal.observation import Observation
from sipguard.moment import Moment
from sipguard.policy.rules import Policy

PORT: Final = 5080
DAY_S: Final = 86_400.0
# How often the calls of the capture come again, in hours before now: a night, and a quiet week.
_TIMES_H: Final = (
    *(150.0, 127.0, 103.0, 99.0, 80.0, 76.0, 54.0, 51.0, 50.5, 30.0, 26.0),
    *(20.0, 15.0, 11.0, 10.5, 10.0, 9.8, 9.0, 7.0, 4.0, 2.0, 1.2, 0.4),
)
_SECRET: Final = b"sipguard demo"


def fill(state: Path, now_s: float) -> StatusReport:
    """Judge the captures into a store in *state*, and leave a status beside it."""
    strict, signed = (
        read_policy(str(STRICT), Files()),
        read_policy(str(SIGNED_FOLDER / SIGNED_POLICY), Files()),
    )
    ledger, store = Ledger(), Store(state)
    for hours in _TIMES_H:
        _judge(CAPTURE, strict, now_s - hours * 3600.0, ledger, store)
    _judge(SIGNED_CAPTURE, signed, now_s - 6 * 3600.0, ledger, store)
    store.write(ledger.flush(now_s), now_s)
    if store.last_error:
        raise RuntimeError(store.last_error)
    report = _status(strict, store.written, now_s)
    store.close()
    write_status(state, report)
    return report


def _judge(capture: Path, policy: Policy, begin_s: float, ledger: Ledger, store: Store) -> None:
    """Judge a capture as if it had begun at *begin_s*; store what the ledger makes of it."""
    seen: list[Observation] = []
    verdicts: Counter[str] = Counter()
    guard = Guard(policy, _SECRET, record=seen.append)
    first_s: float | None = None
    for captured in read_capture(str(capture)):
        first_s = captured.time_s if first_s is None else first_s
        at_s = captured.time_s - first_s
        moment = Moment(at_s + 1.0, begin_s + at_s)
        verdicts[guard.judge(captured.packet, moment).action.value] += 1
    store.judged(JudgedMeter(verdicts).read(begin_s))
    made = [record for record in map(ledger.note, seen) if record is not None]
    store.write([*made, *ledger.flush(begin_s + DAY_S)], begin_s + DAY_S)


def _status(policy: Policy, records: int, now_s: float) -> StatusReport:
    hits = rule_hits(policy, now_s)
    report = StatusReport(pid=os.getpid(), written_s=now_s, started_s=now_s - 7 * DAY_S)
    report.mode, report.policy_file = policy.mode, policy.file
    report.policy_loaded_s, report.last_reload = now_s - DAY_S, "ok"
    report.packets = sum(rule.hits for rule in hits)
    report.rules, report.records, report.interval_s = hits, records, 3600.0
    return report


def serve(state: Path, port: int) -> int:
    """Serve the page of *state* until it ends; say where it is and what opens it."""
    token = secrets.token_urlsafe(24)
    file = state / "web.token"
    file.touch(mode=0o600)
    file.write_text(token)
    print(f"the page:  http://127.0.0.1:{port}/\nthe token: {token}\n(Ctrl-C ends it)", flush=True)
    command = [
        *(str(BIN / "twistd"), "-n", "--pidfile=", "sipguard-web", "--state-dir", str(state)),
        *("--token-file", str(file), "--listen", f"127.0.0.1:{port}"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment) as page:
        signal.signal(signal.SIGTERM, lambda *_: page.terminate())
        try:
            return page.wait()
        except KeyboardInterrupt:
            return page.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill and serve."""
    parser = argparse.ArgumentParser(prog="python -m demo.web", description=__doc__)
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="a folder for the store")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="sipguard-web-") as made:
        state = options.keep or Path(made)
        state.mkdir(parents=True, exist_ok=True)
        report = fill(state, time.time())
        print(f"{report.records} records of the demo's calls")
        return serve(state, options.port)


if __name__ == "__main__":
    sys.exit(main())
