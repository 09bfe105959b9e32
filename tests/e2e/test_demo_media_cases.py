"""The demo's cases about media, each through the real gateway with the policy it is shown with."""

from collections.abc import Iterator

import pytest

from demo.cases import Case
from demo.gateway import STRICT, Gateway
from demo.linphone import linphone_is_missing
from demo.media_cases import KEYED_CASES, SDES_CASES, media_policy, zrtp_call
from demo.stage import Stage

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def secure(gateway: Gateway) -> Iterator[Gateway]:
    """The module's gateway, with the policy for the strictest media."""
    gateway.stop()
    gateway.policy = media_policy(gateway.log.parent)
    gateway.start()
    yield gateway
    gateway.stop()
    gateway.policy = STRICT
    gateway.start()


@pytest.mark.parametrize("case", SDES_CASES, ids=lambda case: case.__name__)
def test_case_holds_through_the_gateway(case: Case, stage: Stage) -> None:
    """What the demo shows a newcomer about injected media is true."""
    outcome = case(stage)
    assert outcome.ok, outcome.line()


@pytest.mark.parametrize("case", KEYED_CASES, ids=lambda case: case.__name__)
@pytest.mark.usefixtures("secure")
def test_case_holds_with_secure_media(case: Case, stage: Stage) -> None:
    """And about keys that only the two ends have."""
    if case is zrtp_call and linphone_is_missing():
        pytest.skip("linphonec is not installed")
    outcome = case(stage)
    assert outcome.ok, outcome.line()
