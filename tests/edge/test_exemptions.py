"""Exceptions on disk: changed by one hand at a time, seen by the service, answered for."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from calls_builder import CALL, MONDAY_S, World
from phones import ALICE

from sipguard.edge.control import StatusReport
from sipguard.edge.exemptions import AUDIT_NAME, FILE_NAME, ExemptionFile, ExemptionWatch
from sipguard.errors import EdgeError
from sipguard.policy.exemptions import ALLOW, MAX_EXEMPTIONS, Exemption, write_exemptions

NOW_S = MONDAY_S + 1000.0
WANTED = Exemption(0, ALLOW, 0.0, 3600.0, source=ALICE, reason="trunk test", by="root")
CLOSED = "default reject 403\n"


def file_in(directory: Path, now_s: float = NOW_S) -> ExemptionFile:
    return ExemptionFile(directory, lambda: now_s)


def test_the_service_takes_it_up_and_lets_it_go(tmp_path: Path) -> None:
    """Within one look each; and says how many there are, and what they did."""
    world, watch, file = World(CLOSED), ExemptionWatch(tmp_path), file_in(tmp_path)
    watch.look(world.guard)
    assert not world.passes(CALL.invite())
    made = file.add(WANTED)
    assert (made.number, made.since_s, made.until_s) == (1, NOW_S, NOW_S + 3600)
    watch.look(world.guard)
    assert world.send(CALL.invite(cseq=2, branch="b2")).judgement.rule == "exception 1"
    report = StatusReport(1, NOW_S, NOW_S)
    watch.count(report, world.guard)
    assert (report.counters["exceptions"], report.counters["passed_by_exception"]) == (1, 1)
    assert report.exception_hits == {"1": 1}
    file.remove(1, "root")
    watch.look(world.guard)
    assert world.guard.exemptions.exemptions == ()


def test_a_file_that_cannot_be_read_leaves_the_last_good_ones(tmp_path: Path) -> None:
    """They expire as they would have; and `sipguard status` says so until it is mended."""
    world, watch, file = World(CLOSED), ExemptionWatch(tmp_path), file_in(tmp_path)
    file.add(WANTED)
    watch.look(world.guard)
    for octets in (b"", b"\xff", b'{"version": 1', b"[" * 100_000):
        (tmp_path / FILE_NAME).write_bytes(octets)
        watch.look(world.guard)
        assert len(world.guard.exemptions.exemptions) == 1
        report = StatusReport(1, NOW_S, NOW_S)
        watch.count(report, world.guard)
        assert "the last good ones hold" in report.exceptions_error
        with pytest.raises(EdgeError, match="move it away"):
            file.add(WANTED)
    (tmp_path / FILE_NAME).unlink()
    watch.look(world.guard)
    assert world.guard.exemptions.exemptions == ()


def test_numbers_are_never_given_twice(tmp_path: Path) -> None:
    """Records of last month name them."""
    file = file_in(tmp_path)
    assert [file.add(WANTED).number for _ in range(2)] == [1, 2]
    file.remove(2, "root")
    later = file_in(tmp_path, NOW_S + 9_999)
    assert later.add(WANTED).number == 3
    assert [one.number for one in later.read()[1]] == [3]  # what is over goes


def test_who_did_what_is_kept(tmp_path: Path) -> None:
    """One line for each change, whatever was written into the reason."""
    file = file_in(tmp_path)
    file.add(WANTED)
    file.remove(1, "bob")
    lines = [json.loads(line) for line in (tmp_path / AUDIT_NAME).read_text().splitlines()]
    assert [(line["what"], line["by"], line["number"], line["reason"]) for line in lines] == [
        ("add", "root", 1, "trunk test"), ("remove", "bob", 1, "trunk test"),
    ]  # fmt: skip
    assert (tmp_path / AUDIT_NAME).stat().st_mode & 0o777 == 0o640


def test_there_is_room_for_some(tmp_path: Path) -> None:
    """And the operator is told what to do beyond."""
    many = tuple(
        Exemption(n, ALLOW, NOW_S, NOW_S + 60, source=ALICE, reason="r")
        for n in range(1, MAX_EXEMPTIONS + 1)
    )
    (tmp_path / FILE_NAME).write_bytes(write_exemptions(999, many))
    with pytest.raises(EdgeError, match="remove some first"):
        file_in(tmp_path).add(WANTED)
    assert file_in(tmp_path, NOW_S + 61).add(WANTED).number == 999


def test_many_hands_at_once_lose_nothing(tmp_path: Path) -> None:
    """Each change is made on what the one before left."""
    hands = [
        threading.Thread(target=lambda: [file_in(tmp_path).add(WANTED) for _ in range(5)])
        for _ in range(4)
    ]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    assert [one.number for one in file_in(tmp_path).read()[1]] == list(range(1, 21))


def test_a_state_directory_that_is_not_there(tmp_path: Path) -> None:
    """One sentence."""
    with pytest.raises(EdgeError, match="cannot change"):
        file_in(tmp_path / "none").add(WANTED)
    assert file_in(tmp_path / "none").read() == (1, ())


def run(state: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "sipguard.cli.main", *words, "--state-dir", str(state)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_the_command_line(tmp_path: Path) -> None:
    """Made, listed, taken back; and what was wrong is said with status 2 or 1."""
    made = run(tmp_path, "allow", "--for", "1h", "--caller", "a@X.com", "--rule", "closed",
               "--reason", "=ticket \u202e 1")  # fmt: skip
    assert made.returncode == 1
    assert "printable" in made.stderr
    made = run(tmp_path, "allow", "--for", "1h", "--caller", "a@X.com", "--reason", "ticket 1")
    assert made.returncode == 0
    assert made.stdout.startswith("exception 1: allow --caller sip:a@x.com until ")
    assert "From is a claim" in made.stderr
    muted = run(tmp_path, "mute", "--for", "8h", "--source", "203.0.113.0/24", "--reason", "noise")
    assert muted.stdout.startswith("exception 2: mute --source 203.0.113.0/24 until ")
    listed = run(tmp_path, "exceptions")
    assert [line.split()[:2] for line in listed.stdout.splitlines()] == [
        ["NUMBER", "KIND"], ["1", "allow"], ["2", "mute"],
    ]  # fmt: skip
    assert run(tmp_path, "exceptions", "--remove", "1").returncode == 0
    assert [one["number"] for one in json.loads(run(tmp_path, "exceptions", "--json").stdout)] == [
        2
    ]
    assert run(tmp_path, "exceptions", "--remove", "1").returncode == 1
    for wrong in (
        ("--for", "1", "--source", "192.0.2.1"),
        ("--for", "1h", "--source", "nobody"),
        ("--for", "1h", "--source", "192.0.2.1/24"),
        ("--for", "1h", "--caller", "a b"),
    ):
        assert run(tmp_path, "allow", *wrong, "--reason", "r").returncode == 2
    for unfit in (("--for", "1h"), ("--for", "8d", "--source", "192.0.2.1")):
        assert run(tmp_path, "allow", *unfit, "--reason", "r").returncode == 1
