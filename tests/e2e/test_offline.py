"""Where there is no root and no kernel support, the demo still shows every verdict."""

import os

import pytest

from demo import offline, record

LARGEST_OCTETS = 100_000


def test_every_case_holds_in_the_bundled_capture(capsys: pytest.CaptureFixture[str]) -> None:
    """The capture goes through the same guard, and it is said what was left out."""
    status = offline.run("this needs root")
    said = capsys.readouterr().out
    assert status == 0, said
    assert "WITHOUT THE KERNEL PART" in said
    assert "this needs root" in said
    assert said.count("\nok ") == len(offline.CASES)


def test_bundled_capture_is_small_and_holds_nobody_elses_traffic() -> None:
    """It was recorded in the demo's own namespaces, on private addresses alone."""
    octets = offline.CAPTURE.read_bytes()
    assert len(octets) < LARGEST_OCTETS
    assert os.uname().nodename.encode() not in octets
    assert record.CAPTURE == offline.CAPTURE
