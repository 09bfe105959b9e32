"""The demo's own cases, each through the real gateway."""

import pytest

from demo.cases import CASES, Case
from demo.stage import Stage

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_case_holds_through_the_gateway(case: Case, stage: Stage) -> None:
    """What the demo shows a newcomer is true."""
    outcome = case(stage)
    assert outcome.ok, outcome.line()
