"""Records beside packets: the process that writes them dies, stands still or finds no room."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo import packets
from demo.cases import clean_invite_passes
from demo.gateway import Gateway
from demo.network import Network
from demo.programs import until
from demo.stage import Stage, silent, staged

pytestmark = pytest.mark.kernel

Serve = Callable[[], Stage]

POLICY = """\
mode enforce
default drop
on-exit remove
record-rate 1000000/min

set phones { 10.20.0.0/16 fd20::/16 }

chain request
  scans   drop    if method == OPTIONS
  calls   accept  if src in phones
chain media
  sealed  open    if keyed  idle 60s
"""
GAP_S = 0.0002
STORE = "records.sqlite3"


@pytest.fixture
def serve(network: Network, tmp_path: Path) -> Iterator[Serve]:
    """Start a gateway of one's own; it is gone after the test."""
    with contextlib.ExitStack() as stack:

        def start() -> Stage:
            policy = tmp_path / "own.policy"
            policy.write_text(POLICY)
            gateway = stack.enter_context(Gateway(network, tmp_path, policy=policy))
            return stack.enter_context(staged(network, tmp_path, silent, gateway))

        yield start


def keeper_of(stage: Stage) -> Gateway:
    """The gateway of a stage that has one."""
    assert stage.gateway is not None
    return stage.gateway


def scan(stage: Stage, count: int) -> None:
    """Send requests that the policy refuses; each has a record."""
    network = stage.network
    here, far = (network.stranger.ipv4, 5060), (network.callee.ipv4, 5060)
    probes = (packets.request("OPTIONS", here[0], far[0]) for _ in range(count))
    packets.send(network.stranger.namespace, here, far, probes, gap_s=GAP_S)


def writer_of(gateway: Gateway) -> int:
    """The process id of the one that writes; 0 if there is none."""
    pid = gateway.program.pid
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(found[0]) if found else 0


def status_of(gateway: Gateway) -> dict[str, int]:
    """Counts of the status, those of records among them."""
    told = json.loads(gateway.ask("status", "--json").stdout)
    counters = told["counters"]
    return {**counters, "records": told["records"], "lost": told["lost_records"],
            "drops": told["by_verdict"].get("drop", 0)}  # fmt: skip


def is_sound(directory: Path) -> bool:
    """What SQLite's own check says of the store."""
    with contextlib.closing(sqlite3.connect(directory / STORE)) as store:
        return bool(store.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


def scans_in(directory: Path) -> int:
    """How many of the refused requests have a row."""
    with contextlib.closing(sqlite3.connect(directory / STORE)) as store:
        asked = "SELECT count(*), count(DISTINCT call_id) FROM records WHERE rule = 'scans'"
        rows, calls = store.execute(asked).fetchone()
    assert rows == calls
    return int(rows)


def test_a_killed_writer_costs_no_call(serve: Serve) -> None:
    """Calls pass while it is gone; it is counted, comes back, and the store is whole."""
    stage = serve()
    gateway = keeper_of(stage)
    scan(stage, 100)
    assert until(lambda: scans_in(gateway.state) == 100, 10)
    first = writer_of(gateway)
    os.kill(first, signal.SIGKILL)
    assert clean_invite_passes(stage)
    scan(stage, 100)
    assert until(lambda: scans_in(gateway.state) == 200, 10)
    assert writer_of(gateway) not in (0, first)
    assert until(lambda: status_of(gateway)["writer_restarts"] == 1, 8)
    assert "process that writes records ended 1 time" in gateway.ask("status").stdout
    assert is_sound(gateway.state)


def test_a_killed_service_has_its_records_written(serve: Serve) -> None:
    """What the guard told before it died is in the store; the next one goes on with new ids."""
    stage = serve()
    gateway = keeper_of(stage)
    scan(stage, 300)
    assert until(lambda: scans_in(gateway.state) > 0, 10)
    writer = writer_of(gateway)
    gateway.kill()
    assert until(lambda: not Path(f"/proc/{writer}/exe").exists(), 10), "it ends by itself"
    before = scans_in(gateway.state)
    assert before > 200
    assert is_sound(gateway.state)
    gateway.start()
    scan(stage, 50)
    assert until(lambda: scans_in(gateway.state) == before + 50, 10)


def test_the_end_writes_everything(serve: Serve) -> None:
    """SIGTERM to all processes at once, as systemd sends it, right behind a burst."""
    stage = serve()
    gateway = keeper_of(stage)
    scan(stage, 500)
    assert clean_invite_passes(stage), "the burst is judged"
    os.killpg(gateway.program.pid, signal.SIGTERM)
    assert gateway.program.wait(15.0) is not None
    assert scans_in(gateway.state) == 500
    told = json.loads((gateway.state / "status.json").read_text())
    assert (told["records"] >= 500, told["lost_records"]) == (True, 0)


def test_a_writer_that_stands_still_costs_records_and_no_call(serve: Serve) -> None:
    """The queue has a bound; what finds no room is counted, and the sum is right."""
    stage = serve()
    gateway = keeper_of(stage)
    scan(stage, 10)
    assert until(lambda: scans_in(gateway.state) == 10, 10)
    writer = writer_of(gateway)
    os.kill(writer, signal.SIGSTOP)
    try:
        scan(stage, 13_000)
        assert until(lambda: clean_invite_passes(stage), 10)
        assert until(lambda: status_of(gateway)["records_lost_no_room"] > 0, 8)
        assert until(lambda: "has said nothing for" in gateway.ask("status").stdout, 12)
    finally:
        os.kill(writer, signal.SIGCONT)
    assert until(lambda: status_of(gateway)["records_waiting"] == 0, 40)

    def adds_up() -> bool:
        counts = status_of(gateway)
        return scans_in(gateway.state) + counts["records_lost_no_room"] == counts["drops"]

    assert until(adds_up, 15), status_of(gateway)
    assert status_of(gateway)["writer_restarts"] == 0


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A state directory on a file system of two megabytes."""
    place = tmp_path / "state"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.usefixtures("small")
def test_a_full_disk_costs_no_call(serve: Serve) -> None:
    """Judging goes on, and with room again the records that waited are written."""
    stage = serve()
    gateway = keeper_of(stage)
    scan(stage, 10)
    assert until(lambda: scans_in(gateway.state) == 10, 10)
    filler = gateway.state / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    scan(stage, 300)
    assert clean_invite_passes(stage)
    filler.unlink()
    assert until(lambda: scans_in(gateway.state) == 310, 10)
    assert status_of(gateway)["lost"] == 0
    assert is_sound(gateway.state)
    assert gateway.stop() is not None
