"""Where there is no root and no kernel support, the demo still shows every verdict."""

from pathlib import Path

import pytest

from demo import offline
from demo.media_cases import KEYED_CASES, SDES_CASES
from demo.offline_media import capture_of
from demo.signed_cases import SIGNED
from sipguard.edge.capture import CaptureReader

LARGEST_OCTETS = 100_000
MEDIA = (*SDES_CASES, *KEYED_CASES)


def test_every_case_holds_in_the_bundled_capture(capsys: pytest.CaptureFixture[str]) -> None:
    """The capture goes through the same guard, and it is said what was left out."""
    status = offline.run("this needs root")
    said = capsys.readouterr().out
    assert status == 0, said
    assert "WITHOUT THE KERNEL PART" in said
    assert "this needs root" in said
    assert said.count("\nok ") == len(offline.CASES) + len(MEDIA) + len(SIGNED) + 1


@pytest.mark.parametrize(
    "capture",
    [offline.CAPTURE, offline.SIGNED_CAPTURE, *map(capture_of, MEDIA)],
    ids=lambda capture: f"{capture.parent.name}/{capture.name}",
)
def test_bundled_capture_is_small_and_holds_nobody_elses_traffic(capture: Path) -> None:
    """It was recorded in the demo's own namespaces, on private addresses alone."""
    assert capture.stat().st_size < LARGEST_OCTETS
    packets = [captured.packet for captured in CaptureReader(str(capture))]
    assert packets
    own = (bytes((10, 20)), bytes((0xFD, 0x20)))  # 10.20.0.0/16 and fd20::/16
    assert all(end.startswith(own) for packet in packets for end in (packet.src, packet.dst))
