"""What helps where a WebSocket fails."""

import re

import pytest
from stream_ends import refused

from sipguard.journal.advice import advise
from sipguard.journal.record import record_of
from sipguard.journal.web_advice import BY_WEB
from sipguard.reason import Reason

FAULTS = [reason for reason in Reason if reason.name.startswith("WS_")]


@pytest.mark.parametrize("reason", FAULTS)
def test_every_fault_of_a_websocket_has_advice(reason: Reason) -> None:
    """In whole sentences, and it is what `sipguard blocked` shows."""
    assert re.fullmatch(r"[A-Z][^{}]+\.|[A-Z][^{}]+ws-origins\.", BY_WEB[reason])
    assert "  " not in BY_WEB[reason]
    shown = record_of(refused(reason=reason), "00000001").to_json()
    assert BY_WEB[reason] in list(advise(shown))
