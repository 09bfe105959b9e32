"""Records beside calls: does the packets' way notice that two thousand a second are written?

Calls come, and beside them requests of scanners from thousands of addresses, each of which is
refused and gets a record; together they keep the guard busy for half of the time. The same load
again with the rule muted is the measure: the same packets, judged alike, and nothing told of
them. A third load tells the guard's part from the machine's: all is told as ever, and the process
that writes stands still meanwhile. They take turns in one gateway.

The generator naps where there is nothing to do: the process that writes records has the core
that the guard does not have, as on a gateway of two cores. It stands for telephones elsewhere,
so it goes first there: how long it waits for that core is no matter of the gateway's.
"""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from bench.gateways import POLICY, ROUTING, Running, gateway, sipguard
from bench.generator import Flood, Load, Played, play
from bench.kernel import GATEWAY_CORE, GENERATOR_CORE, await_quiet
from bench.network import ATTACKERS, FIRST_ATTACKER
from bench.report import Figure, progress
from sipguard.edge.exemptions import ExemptionFile
from sipguard.policy.exemptions import MUTE, Exemption

REFUSED_PER_S: Final = 2_200
ROOM_OCTETS: Final = 8 << 30
RECORDS_PER_S: Final = 2_000
LIMIT: Final = 1.1
_RULE: Final = "probes"
_RATES: Final = "record-rate 1000000/min\n"
_WATCH_S: Final = 2.5  # until the service has seen that a rule is muted, or is no longer
_STATUS_S: Final = 7.0  # until it has told how it is
_LATE_S: Final = 10.0
_MARGIN: Final = 50
_FEW, _MORE = 100.0, 500.0  # calls/s, to find what each costs
_HALF: Final = 0.5  # of the guard's core
_WITHOUT, _AT_REST, _WITH = "without", "writer at rest", "with records"
_SELDOM: Final = 3  # rounds to one with the writer at rest
_REST_S: Final = 4.0  # so long the guard keeps what is told


class Calls(NamedTuple):
    """What became of one round."""

    p50_us: float
    p99_us: float
    lost: int
    refused: int
    rows: int
    rows_per_s: float
    lost_records: int
    guard: float  # share of a core
    writer: float


class Scene:
    """One gateway, and a load with scanners in it."""

    def __init__(self, running: Running, folder: Path, state: Path) -> None:
        self.rate = _FEW  # calls/s
        self._running = running
        self._folder = folder
        self._state = state
        self._next = 0
        self._muted: int | None = None
        self._exemptions = ExemptionFile(state)

    def _mute(self, *, on: bool) -> None:
        """Keep what the rule refuses out of the records, or not any more."""
        if on and self._muted is None:
            wanted = Exemption(0, MUTE, 0.0, 3600.0, "", "", _RULE, "the measure", "bench")
            self._muted = self._exemptions.add(wanted).number
        elif not on and self._muted is not None:
            self._exemptions.remove(self._muted, "bench")
            self._muted = None
        time.sleep(_WATCH_S)

    def settle(self, seconds: float) -> None:
        """Find the rate of calls at which the guard has half of its core to do, without records."""
        self._mute(on=True)
        shares = []
        for self.rate in (_FEW, _MORE):
            began_s = self._running.own_cpu_s()
            play(self._load(seconds), GENERATOR_CORE)
            shares.append((self._running.own_cpu_s() - began_s) / seconds)
        each = (shares[1] - shares[0]) / (_MORE - _FEW)
        self.rate = max(_FEW, _FEW + (_HALF - shares[0]) / max(each, 1e-6))

    @contextmanager
    def _writer_at_rest(self) -> Iterator[None]:
        writers = self._running.children()
        for writer in writers:
            os.kill(writer, signal.SIGSTOP)
        try:
            yield
        finally:
            for writer in writers:
                os.kill(writer, signal.SIGCONT)

    def _load(self, seconds: float) -> Load:
        flood = Flood(self._scanners(seconds), REFUSED_PER_S, FIRST_ATTACKER, ATTACKERS)
        return Load(seconds, rate=self.rate, timed=True, flood=flood, nap=True, first=True)

    def round(self, name: str, seconds: float) -> Calls:
        """Play calls and scanners, and wait until all that is to be written is."""
        self._mute(on=name == _WITHOUT)
        await_quiet()
        seconds = min(seconds, _REST_S) if name == _AT_REST else seconds
        load = self._load(seconds)
        lost, rows = self._lost(), self._rows()
        guard_s, all_s = self._running.own_cpu_s(), self._running.cpu_s()
        began_s = time.monotonic()
        with self._writer_at_rest() if name == _AT_REST else nullcontext():
            played: Played = play(load, GENERATOR_CORE)
        guard_s, all_s = self._running.own_cpu_s() - guard_s, self._running.cpu_s() - all_s
        took_s = max(self._last_row_s() - began_s, seconds)
        rows = self._rows() - rows
        every = played.latency_us["all"]
        return Calls(
            every["p50"], every["p99"], played.lost + played.refused, played.forged, rows,
            rows / took_s, self._lost() - lost, guard_s / seconds, (all_s - guard_s) / seconds,
        )  # fmt: skip

    def _scanners(self, seconds: float) -> Path:
        """Write requests that nobody has sent yet."""
        file = self._folder / "scanners"
        first = self._next
        self._next += int(REFUSED_PER_S * seconds) + _MARGIN
        with file.open("wb") as out:
            for number in range(first, self._next):
                octets = probe(number)
                out.write(len(octets).to_bytes(2, "big") + octets)
        return file

    def _last_row_s(self) -> float:
        """Return when the last row came, once none has come for a second."""
        rows, last_s = self._rows(), time.monotonic()
        end_s = last_s + _LATE_S
        while time.monotonic() < min(last_s + 1.0, end_s):
            time.sleep(0.05)
            if (now := self._rows()) != rows:
                rows, last_s = now, time.monotonic()
        return last_s

    def _rows(self) -> int:
        store = sqlite3.connect(f"file:{self._state / 'records.sqlite3'}?mode=ro", uri=True)
        try:
            return int(store.execute("SELECT count(*) FROM records").fetchone()[0])
        finally:
            store.close()

    def _lost(self) -> int:
        """Return how many records are lost, as the service's next status says."""
        asked_s, end_s = time.time(), time.monotonic() + _STATUS_S
        while time.monotonic() < end_s:
            told = json.loads((self._state / "status.json").read_text())
            if told["written_s"] > asked_s + 0.5:  # the writer tells the guard as often
                return int(told["lost_records"])
            time.sleep(0.1)
        raise RuntimeError("the service tells nothing of itself")


def probe(number: int) -> bytes:
    """Return one INVITE of a scanner, as long as an honest one."""
    body = (
        b"v=0\r\no=- 1%08d 1 IN IP4 198.18.64.1\r\ns=-\r\nc=IN IP4 198.18.64.1\r\nt=0 0\r\n"
        b"m=audio 16384 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n"
        b"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
        % number
    )
    return (
        b"INVITE sip:%d@198.19.1.2 SIP/2.0\r\nMax-Forwards: 70\r\n"
        b"Via: SIP/2.0/UDP 198.18.64.1:5060;branch=z9hG4bK%08xs;rport\r\n"
        b'From: "sipvicious" <sip:%d@198.19.1.2>;tag=%08x\r\nTo: <sip:%d@198.19.1.2>\r\n'
        b"Call-ID: f%07x-scan@198.18.64.1\r\nCSeq: 1 INVITE\r\n"
        b"Contact: <sip:%d@198.18.64.1:5060>\r\nAllow: INVITE, ACK, CANCEL, OPTIONS, BYE\r\n"
        b"Content-Type: application/sdp\r\nUser-Agent: friendly-scanner/1.8\r\n"
        b"Content-Length: %d\r\n\r\n%b"
        % (number, number, number, number, number, number, number, len(body), body)
    )


def measure(folder: Path, state: Path, rounds: int, seconds: float) -> list[Figure]:
    """Play the same load with records and without, in turns, through one gateway.

    Args:
        folder: For what is sent.
        state: The service's.
        rounds: How often each has its turn, but for the one with the writer at rest. The
            ratio of nine differs by 0.15 from run to run.
        seconds: How long a turn is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    policy = folder / "records.policy"
    policy.write_text(_RATES + POLICY.read_text())
    found: dict[str, list[Calls]] = {_WITHOUT: [], _AT_REST: [], _WITH: []}
    keeps_all = "--keep-octets", str(ROOM_OCTETS)  # the rows are counted
    with gateway(sipguard(state, policy, *keeps_all), GATEWAY_CORE) as running:
        play(Load(1.0, rate=_MORE), GENERATOR_CORE)
        scene = Scene(running, folder, state)
        scene.settle(seconds)
        for number in range(rounds):
            for name, calls in found.items():
                if name == _AT_REST and number % _SELDOM:
                    continue
                calls.append(scene.round(name, seconds))
                progress(f"round {number + 1} of {rounds}: {name}: {_told(calls[-1])}")
    with gateway(ROUTING, GATEWAY_CORE):
        quiet = Load(seconds, rate=scene.rate, timed=True, nap=True, first=True)
        routing_us = play(quiet, GENERATOR_CORE).latency_us["all"]["p99"]
    return _compare(found, routing_us, scene.rate)


def _told(calls: Calls) -> str:
    return (
        f"p50 {calls.p50_us:.0f} us, p99 {calls.p99_us:.0f} us, {calls.lost} calls lost, "
        f"{calls.refused:,} refused, {calls.rows:,} rows, {calls.lost_records} lost, "
        f"guard {calls.guard:.0%} and writer {calls.writer:.0%} of a core"
    )


def _compare(found: dict[str, list[Calls]], routing_us: float, rate: float) -> list[Figure]:
    added = {
        name: median(calls.p99_us for calls in rounds) - routing_us
        for name, rounds in found.items()
    }
    written = found[_WITH]
    base_us = max(added[_WITHOUT], 1.0)
    rows_per_s = median(calls.rows_per_s for calls in written)
    load = f"{rate:,.0f} calls/s, {REFUSED_PER_S:,} requests of scanners/s"
    detail = f"{load}; {added[_WITH]:.0f} us, without {added[_WITHOUT]:.0f} us"
    lost = sum(calls.lost_records for calls in written)
    told = f"{sum(calls.rows for calls in written):,} of "
    told += f"{sum(calls.refused for calls in written):,} refused, {lost:,} said to be lost; "
    told += f"the writer took {median(calls.writer for calls in written):.0%} of a core"
    return [
        Figure(
            "p99 added latency with records written, to the same load without",
            added[_WITH] / base_us, "x", below=LIMIT, detail=detail,
        ),
        Figure(f"the same, {_AT_REST}: the guard's part alone", added[_AT_REST] / base_us, "x"),
        Figure("records/s written beside calls", rows_per_s, "", above=RECORDS_PER_S, detail=told),
    ]  # fmt: skip
