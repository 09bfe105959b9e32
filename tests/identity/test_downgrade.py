"""Protection that goes away on the way is told (SMI-33)."""

import pytest
import signed_messages as made
from signed_messages import NOW, rows, user

from sipguard.identity.downgrade import ANSWERED_S, RETRIED_S, Downgrades
from sipguard.moment import Moment
from sipguard.reason import Finding, Reason


def later(s: float) -> Moment:
    return Moment(NOW.monotonic_s + s, NOW.utc_s + s)


def signed() -> tuple[str, bytes]:
    content = made.sdp_part()
    return made.mixed(made.signed_part(content, made.sign(content, user())))


ENCRYPTED = ("application/pkcs7-mime; smime-type=enveloped-data", b"0\x80")
PLAIN = ("application/sdp", made.SDP)
WITH_AIB = made.mixed(made.sdp_part(), made.aib_part(rows(), user()))
SECOND = rows(call_id="second", cseq="1 INVITE")


def sent(downgrades: Downgrades, content: tuple[str, bytes]) -> None:
    message, ids, _ = made.read(made.raw_message(content))
    downgrades.passed(message, ids, NOW)


def answered(
    downgrades: Downgrades, status: str, content: tuple[str, bytes] = PLAIN, s: float = 1.0
) -> Finding | None:
    message, ids, _ = made.read(made.raw_message(content, start=f"SIP/2.0 {status}"))
    return downgrades.answered(message, ids, later(s))


def retried(
    downgrades: Downgrades, content: tuple[str, bytes], headers: made.Rows = SECOND, s: float = 2.0
) -> Finding | None:
    message, ids, _ = made.read(made.raw_message(content, headers))
    return downgrades.look(message, ids, later(s))


@pytest.mark.parametrize("content", [signed(), ENCRYPTED])
def test_smi_33_an_answer_without_protection_is_told(content: tuple[str, bytes]) -> None:
    """Once, and only for a final answer that takes the call."""
    downgrades = Downgrades()
    sent(downgrades, content)
    assert answered(downgrades, "180 Ringing") is None
    found = answered(downgrades, "200 OK")
    assert found == Finding(Reason.PROTECTION_LOST, "a protected request, an answer without")
    assert answered(downgrades, "200 OK") is None


def test_smi_33_a_protected_answer_is_what_was_wanted() -> None:
    """And a refusal answers nothing."""
    for status, content in (("200 OK", signed()), ("486 Busy Here", PLAIN)):
        downgrades = Downgrades()
        sent(downgrades, signed())
        assert answered(downgrades, status, content) is None


@pytest.mark.parametrize("content", [PLAIN, WITH_AIB])
def test_smi_33_only_what_was_protected_can_lose_it(content: tuple[str, bytes]) -> None:
    """An AIB is optional, and nobody answers it in kind."""
    downgrades = Downgrades()
    sent(downgrades, content)
    assert answered(downgrades, "200 OK") is None
    assert len(downgrades) == 0


def test_smi_33_a_plain_retry_after_415_is_told() -> None:
    """For a minute, from the same caller to the same callee."""
    downgrades = Downgrades()
    sent(downgrades, signed())
    assert retried(downgrades, PLAIN) is None
    refused = answered(downgrades, "415 Unsupported Media Type")
    assert refused == Finding(Reason.PROTECTION_LOST, "415 to a protected request")
    found = retried(downgrades, PLAIN)
    assert found is not None
    assert found.detail == (
        "sip:alice@example.com was told 415 for a protected request, and tries again without"
    )
    assert retried(downgrades, signed()) is None
    assert retried(downgrades, PLAIN, SECOND | {"To": "<sip:carol@example.net>"}) is None
    assert retried(downgrades, PLAIN, s=RETRIED_S + 2) is None


def test_smi_33_an_answer_that_comes_too_late_says_nothing() -> None:
    """The request has long given up."""
    downgrades = Downgrades()
    sent(downgrades, signed())
    assert answered(downgrades, "200 OK", s=ANSWERED_S + 1) is None


def test_a_full_table_loses_the_oldest_hints() -> None:
    """And nothing else."""
    downgrades = Downgrades(capacity=64)
    content = signed()
    for number in range(500):
        message, ids, _ = made.read(made.raw_message(content, rows(call_id=f"{number}")))
        downgrades.passed(message, ids, NOW)
    assert len(downgrades) <= 64
    message, ids, _ = made.read(
        made.raw_message(PLAIN, rows(call_id="499"), start="SIP/2.0 200 OK")
    )
    assert downgrades.answered(message, ids, later(1)) is not None
