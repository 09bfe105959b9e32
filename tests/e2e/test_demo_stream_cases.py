"""The demo's cases about connections, each through the real gateway with TLS and WebSocket."""

from collections.abc import Callable, Iterator

import pytest

from demo.gateway import STRICT, Gateway
from demo.signing import Authority
from demo.stage import Outcome, Stage
from demo.stream_cases import STREAM_CASES, stream_policy

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def authority(gateway: Gateway) -> Iterator[Authority]:
    """Who issued what the module's gateway shows, and believes."""
    work = gateway.log.parent
    made = Authority(work / "tls-authority")
    gateway.stop()
    gateway.policy = stream_policy(work, gateway.network, made)
    gateway.start()
    yield made
    gateway.stop()
    gateway.policy = STRICT
    gateway.start()


@pytest.mark.parametrize("case", STREAM_CASES, ids=lambda case: case.__name__)
def test_case_holds_through_the_gateway(
    case: Callable[[Stage, Authority], Outcome], stage: Stage, authority: Authority
) -> None:
    """What the demo shows a newcomer about TCP, TLS, SIPS and WebSocket is true."""
    outcome = case(stage, authority)
    assert outcome.ok, outcome.line()
