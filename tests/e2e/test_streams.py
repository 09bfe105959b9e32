"""SIP over TCP passes through the gateway: message by message, and judged."""

import time

import pytest
from sealed import CALLEE_KEY, CALLER_KEY, sealed

from demo import packets
from demo.clients import Sipp
from demo.programs import until
from demo.stage import Stage

pytestmark = pytest.mark.kernel

CALLER_PORT, CALLEE_PORT = 30000, 32000


def play(stage: Stage, many: int = 10) -> tuple[int, int]:
    """Send SRTP both ways; return how many packets came to the callee and to the caller."""
    caller, callee = stage.network.caller, stage.network.callee
    there, back = stage.callee_side.mark(), stage.caller_side.mark()
    here, far = (caller.ipv4, CALLER_PORT), (callee.ipv4, CALLEE_PORT)
    packets.send(caller.namespace, here, far, sealed(CALLER_KEY, 1, many), gap_s=0.002)
    packets.send(callee.namespace, far, here, sealed(CALLEE_KEY, 2, many), gap_s=0.002)
    time.sleep(0.1)
    return (
        len(stage.callee_side.rtp(caller.ipv4, port=CALLEE_PORT, since=there)),
        len(stage.caller_side.rtp(callee.ipv4, port=CALLER_PORT, since=back)),
    )


def ports(stage: Stage) -> set[int]:
    """The destination ports of the pinholes now."""
    return {hole.port for hole in stage.pinholes()}


@pytest.mark.parametrize("version", [4, 6])
def test_call_over_tcp(stage: Stage, version: int) -> None:
    """A call over TCP opens its pinholes as one over UDP does, and both ends are content."""
    network = stage.network
    called = Sipp(
        "callee", network.callee, stage.work, version=version, media_port=CALLEE_PORT, tcp=True
    )
    with called:
        calling = Sipp(
            "caller",
            network.caller,
            stage.work,
            towards=network.callee.address(version),
            version=version,
            talk_ms=1000,
            media_port=CALLER_PORT,
            tcp=True,
        )
        with calling:
            assert until(lambda: CALLEE_PORT in ports(stage), 3)
            if version == 4:
                assert play(stage) == (10, 10)
            assert calling.wait(8) == 0, calling.complaint()
            assert called.wait(4) == 0, called.complaint()
    assert stage.pinholes_gone()
