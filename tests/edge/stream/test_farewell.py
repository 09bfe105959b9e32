"""The end of the service: what is under way may finish within bounds; nobody else is waited for."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_paper import POLICY, Line, Paper, answer, request
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from sipguard.edge.stream.farewell import GOODBYE_S, LOOK_S
from sipguard.edge.stream.in_flight import ACK_S, INVITE_S, MAX_REQUESTS, OTHERS_S, InFlight

OPTIONS, INVITE = request(), request("INVITE")
ACK = request("ACK").replace(b"To: <sip:bob@example.com>", b"To: <sip:bob@example.com>;tag=b")
GRACE_S = 10.0


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What is logged."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type] # an interface of zope's
    yield lines
    globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type] # as above


def passes(paper: Paper, seconds: float) -> None:
    """Let time pass as a reactor does."""
    for _ in range(round(seconds / LOOK_S)):
        paper.reactor.advance(LOOK_S)


def asked(paper: Paper, message: bytes = OPTIONS) -> Line:
    """Return a connection with a request that has no answer yet."""
    line = paper.connected()
    line.client_sends(message)
    assert line.server_got() == message
    return line


def fired(ended: "Deferred[None]") -> bool:
    """Whether the end has come."""
    return ended.called


def stopped(paper: Paper) -> "Deferred[None]":
    ended = paper.gate.stop()
    passes(paper, 2 * LOOK_S)
    return ended


def test_idle_connections_are_closed_at_once(told: list[str]) -> None:
    """In order; nothing is said of it, since nobody was waited for."""
    paper = Paper()
    line = paper.connected()
    ended = paper.gate.stop()
    paper.reactor.advance(0)
    assert line.is_over()
    assert not line.client.reset
    passes(paper, 2 * LOOK_S)
    assert fired(ended)
    assert not [text for text in told if "stopping" in text]


def test_without_connections_the_end_is_now() -> None:
    """Nothing to wait for."""
    assert fired(Paper().gate.stop())


def test_a_request_is_waited_for_until_it_is_answered(told: list[str]) -> None:
    """Judged as ever; then its connection is closed in order, and idle ones went before."""
    paper = Paper()
    idle, busy = paper.connected(), asked(paper)
    ended = stopped(paper)
    assert idle.is_over()
    assert not busy.is_over()
    assert not fired(ended)
    busy.server_sends(answer(OPTIONS))
    passes(paper, 2 * LOOK_S)
    assert busy.client_got() == answer(OPTIONS)
    assert busy.is_over()
    assert not busy.client.reset
    passes(paper, 2 * LOOK_S)
    assert fired(ended)
    assert "1 connections have something under way and get 10.0 s, 1 idle ones" in told[0]
    assert told[-1] == "1 of 1 connections finished what was under way, 0 were cut"


def test_an_answered_call_waits_for_its_ack() -> None:
    """Or the callee would send its 200 again and again, to nobody."""
    paper = Paper()
    line = asked(paper, INVITE)
    ended = stopped(paper)
    line.server_sends(answer(INVITE, 180))
    line.server_sends(answer(INVITE))
    passes(paper, 1)
    assert not line.is_over()
    line.client_sends(ACK)
    passes(paper, 2 * LOOK_S)
    assert line.is_over()
    assert fired(ended)


def test_what_lasts_too_long_is_cut(told: list[str]) -> None:
    """After stream-grace, whatever it is."""
    paper = Paper()
    line = asked(paper, INVITE)
    ended = paper.gate.stop()
    passes(paper, GRACE_S - 2 * LOOK_S)
    assert not line.is_over()
    passes(paper, 4 * LOOK_S)
    assert line.client.reset
    assert line.server.reset
    assert fired(ended)
    assert told[-1] == "0 of 1 connections finished what was under way, 1 were cut"


@pytest.mark.parametrize(("setting", "seconds"), [("off", 0.0), ("1s", 1.0), ("1m", 60.0)])
def test_how_long_is_the_policys(setting: str, seconds: float) -> None:
    """From nothing to a minute."""
    paper = Paper(f"stream-grace {setting}\n{POLICY}")
    line = asked(paper, INVITE)
    paper.gate.stop()
    paper.reactor.advance(0)
    passes(paper, seconds - 2 * LOOK_S)
    assert line.is_over() is (seconds == 0)
    passes(paper, 4 * LOOK_S)
    assert line.is_over()


def test_a_second_signal_cuts_what_is_left(told: list[str]) -> None:
    """At once; and before the end is asked for, and after it, it does nothing."""
    paper = Paper()
    paper.gate.hurry()
    line = asked(paper)
    ended = stopped(paper)
    paper.gate.hurry()
    assert line.is_over()
    assert fired(ended)
    paper.gate.hurry()
    assert told[-1] == "0 of 1 connections finished what was under way, 1 were cut"


def test_a_message_that_was_begun_may_become_whole() -> None:
    """And is judged, and waits for its answer."""
    paper = Paper()
    line = paper.connected()
    line.client_sends(OPTIONS[:30])
    stopped(paper)
    assert not line.is_over()
    line.client_sends(OPTIONS[30:])
    passes(paper, 1)
    assert line.server_got() == OPTIONS
    assert not line.is_over()
    line.server_sends(answer(OPTIONS))
    passes(paper, 2 * LOOK_S)
    assert line.is_over()


def test_an_end_that_does_not_close_is_reset() -> None:
    """It has a second to take its last octets and to say goodbye."""
    paper = Paper()
    line = paper.connected()
    line.client.loseConnection = lambda: None  # type: ignore[method-assign]
    ended = stopped(paper)
    before = line.client.reset
    passes(paper, GOODBYE_S + LOOK_S)
    assert [before, line.client.reset] == [False, True]
    assert fired(ended)


def test_a_fault_of_ours_does_not_keep_the_service_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else systemd would have to kill it, and the kernel's rules would stay."""
    paper = Paper()
    line = paper.connected()

    def breaks() -> None:
        raise ValueError

    monkeypatch.setattr(next(iter(paper.gate._conversations)), "close", breaks)
    ended = stopped(paper)
    assert fired(ended)
    paper.gate.close()
    assert line.is_over()


# --- which requests have no answer yet


def test_each_request_has_its_time() -> None:
    """As RFC 3261's timers have it; who never answers is not waited for."""
    for message, lasts_s in ((OPTIONS, OTHERS_S), (INVITE, INVITE_S)):
        ledger = InFlight()
        ledger.went(message, 5.0)
        assert ledger.waits(5.0 + lasts_s - 0.1)
        assert not ledger.waits(5.0 + lasts_s)
    ledger = InFlight()
    ledger.went(INVITE, 0.0)
    ledger.went(answer(INVITE, 486), 1.0)
    assert ledger.waits(1.0 + ACK_S - 0.1)
    assert not ledger.waits(1.0 + ACK_S)


def test_each_answer_is_to_its_request() -> None:
    """By Call-ID, number and method: an answer sent twice takes no other request with it."""
    ledger, second = InFlight(), request(number=2)
    ledger.went(OPTIONS, 0.0)
    ledger.went(second, 0.0)
    for _ in range(2):
        ledger.went(answer(OPTIONS), 0.0)
    assert ledger.waits(0.0)
    ledger.went(answer(second, 100), 0.0)
    assert ledger.waits(0.0)
    ledger.went(answer(second, 404).replace(b"Call-ID:", b"i:"), 0.0)
    assert not ledger.waits(0.0)


def test_what_is_kept_of_a_connection_is_bounded() -> None:
    """The newest count."""
    ledger = InFlight()
    for number in range(1, 2 * MAX_REQUESTS):
        ledger.went(request(number=number), 0.0)
    for number in range(1, MAX_REQUESTS):
        ledger.went(answer(request(number=number)), 0.0)
    assert ledger.waits(0.0)
    for number in range(MAX_REQUESTS, 2 * MAX_REQUESTS):
        ledger.went(answer(request(number=number)), 0.0)
    assert not ledger.waits(0.0)


@given(st.lists(st.binary(max_size=200) | st.sampled_from([OPTIONS, ACK, answer(INVITE), INVITE])))
def test_no_octets_trouble_it(messages: list[bytes]) -> None:
    """Whatever went on, after the longest time nothing is waited for."""
    ledger = InFlight()
    for message in messages:
        ledger.went(message, 0.0)
    assert not ledger.waits(INVITE_S)
