"""The status file: whole or not there, and never believed when its service is gone."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.edge.control import (
    FILE_NAME,
    RuleHits,
    StatusReport,
    from_json,
    read_status,
    to_json,
    write_status,
)
from sipguard.errors import EdgeError
from sipguard.journal.record import Json

NOON = 1_767_268_800.0


def report(pid: int = 0) -> StatusReport:
    return StatusReport(
        pid=pid or os.getpid(),
        written_s=NOON,
        started_s=NOON - 60,
        mode="enforce",
        packets=3,
        by_verdict={"drop": 1, "accept": 2},
        rules=[RuleHits("request", "forged", "p:3", 1, NOON)],
    )


def test_what_the_service_writes_is_what_status_reads(tmp_path: Path) -> None:
    """Every field survives the file."""
    write_status(tmp_path, report())
    pulse = read_status(tmp_path, NOON + 1)
    assert pulse.report == report()
    assert (pulse.is_running, pulse.is_stale, pulse.age_s) == (True, False, 1)
    assert pulse.report.uptime_s == 60
    assert [file.name for file in tmp_path.iterdir()] == [FILE_NAME]


def test_a_dead_or_silent_service_is_told(tmp_path: Path) -> None:
    """A report outlives its service, so age and process are checked."""
    write_status(tmp_path, report(pid=2**22 + 1))
    assert not read_status(tmp_path, NOON).is_running
    write_status(tmp_path, report())
    assert read_status(tmp_path, NOON + 16).is_stale


@pytest.mark.parametrize("octets", [b"", b"{", b"[]", b"\xff", b"3"])
def test_a_broken_file_is_an_error_in_words(tmp_path: Path, octets: bytes) -> None:
    """Half a file is an error to read, not a traceback."""
    (tmp_path / FILE_NAME).write_bytes(octets)
    with pytest.raises(EdgeError, match="cannot read"):
        read_status(tmp_path, NOON)


def test_no_file_says_what_to_look_for(tmp_path: Path) -> None:
    """The usual mistake is the directory."""
    with pytest.raises(EdgeError, match="--state-dir"):
        read_status(tmp_path, NOON)


VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(to_json(report()))), VALUES))
def test_any_json_object_reads_as_some_report(told: dict[str, Json]) -> None:
    """A file of another version is read as far as it fits."""
    assert isinstance(from_json(told), StatusReport)
