"""The demo's own cases, each through the real gateway and each without it."""

import pytest

from demo.cases import CASES, Case
from demo.stage import Stage

pytestmark = pytest.mark.kernel

GOOD_CALLS, ATTACKS = CASES[:2], CASES[2:]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_case_holds_through_the_gateway(case: Case, stage: Stage) -> None:
    """What the demo shows a newcomer is true."""
    outcome = case(stage)
    assert outcome.ok, outcome.line()


class TestWithoutAGuard:
    """The negative control: a test that also passes over plain routing proves nothing."""

    @pytest.mark.parametrize("case", GOOD_CALLS, ids=lambda case: case.__name__)
    def test_good_call_works(self, case: Case, plain_stage: Stage) -> None:
        """The telephones themselves are fit for their work."""
        outcome = case(plain_stage)
        assert outcome.ok, outcome.line()

    @pytest.mark.parametrize("case", ATTACKS, ids=lambda case: case.__name__)
    def test_attack_has_its_effect(self, case: Case, plain_stage: Stage) -> None:
        """The attacks are real."""
        outcome = case(plain_stage)
        assert not outcome.ok, outcome.line()
