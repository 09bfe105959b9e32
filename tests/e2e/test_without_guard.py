"""The negative control: over plain routing good calls work and attacks have their effect.

A test that passes here as well would prove nothing about the guard. In a module of its own,
since the gateway of a module runs until its last test.
"""

import pytest

from demo.cases import CASES, Case
from demo.linphone import linphone_is_missing
from demo.media_cases import (
    SDES_CASES,
    dtls_call,
    readable_key,
    relayed_call,
    swapped_certificate,
    zrtp_call,
)
from demo.stage import Stage

pytestmark = pytest.mark.kernel

GOOD_CALLS = (*CASES[:2], dtls_call, relayed_call)
ATTACKS = (*CASES[2:], *SDES_CASES, swapped_certificate, readable_key)


@pytest.mark.parametrize("case", GOOD_CALLS, ids=lambda case: case.__name__)
def test_good_call_works(case: Case, plain_stage: Stage) -> None:
    """The telephones themselves are fit for their work."""
    outcome = case(plain_stage)
    assert outcome.ok, outcome.line()


@pytest.mark.skipif(linphone_is_missing(), reason="linphonec is not installed")
def test_linphone_works(plain_stage: Stage) -> None:
    """The one telephone that can be left out."""
    outcome = zrtp_call(plain_stage)
    assert outcome.ok, outcome.line()


@pytest.mark.parametrize("case", ATTACKS, ids=lambda case: case.__name__)
def test_attack_has_its_effect(case: Case, plain_stage: Stage) -> None:
    """The attacks are real."""
    outcome = case(plain_stage)
    assert not outcome.ok, outcome.line()
