"""The ledger: one record per call attempt, floods as a number, memory with a bound."""

from hypothesis import given
from hypothesis import strategies as st

from sipguard.journal.ledger import LONGEST_S, WINDOW_S, Ledger, id_of, number_of
from sipguard.journal.observation import Observation
from sipguard.journal.record import MAX_LADDER, Record
from sipguard.reason import Reason
from sipguard.verdict import Action

NOON = 1_767_268_800.0
A, B, C = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2]), bytes([198, 51, 100, 7])


def seen(
    at_s: float,
    call: bytes = b"c1",
    src: bytes = A,
    judged: Action = Action.DROP,
    reason: Reason = Reason.REPLAY,
    rule: str = "replayed",
    log: bool = False,
    method: bytes = b"INVITE",
) -> Observation:
    return Observation(
        utc_s=NOON + at_s,
        action=judged,
        judged=judged,
        reason=reason,
        src=src,
        dst=C,
        rule=rule,
        call_id=call,
        log=log,
        method=method,
        raw=b"INVITE sip:b@c SIP/2.0\r\n\r\n",
    )


def only(records: list[Record]) -> Record:
    (record,) = records
    return record


def test_first_refusal_is_told_at_once_and_the_rest_is_counted() -> None:
    """`tail -f` shows a block when it happens; retransmissions do not write lines."""
    ledger = Ledger()
    first = ledger.note(seen(0))
    assert first is not None
    assert first.count == 1
    assert first.message
    assert [ledger.note(seen(at)) for at in (0.5, 1.5, 3.5)] == [None] * 3
    grown = only(ledger.flush(NOON + 4))
    assert (grown.id, grown.count, grown.last_s) == (first.id, 4, NOON + 3.5)
    assert grown.first_s == NOON
    assert not grown.message
    assert [rung.time_s - NOON for rung in grown.ladder] == [0, 0.5, 1.5, 3.5]
    assert ledger.flush(NOON + 5) == []


def test_attempts_are_told_apart_by_call_and_source() -> None:
    """A forger who uses a victim's Call-ID gets a record of his own."""
    ledger = Ledger()
    records = [
        ledger.note(seen(0)),
        ledger.note(seen(0, src=B)),
        ledger.note(seen(0, call=b"c2")),
    ]
    assert len({record.id for record in records if record}) == 3


def test_silence_ends_an_attempt() -> None:
    """The same Call-ID an hour later is a new attempt, not a count on an old one."""
    ledger = Ledger()
    assert ledger.note(seen(0))
    assert ledger.note(seen(WINDOW_S)) is None
    assert ledger.note(seen(2 * WINDOW_S + 1))


def test_an_attempt_that_never_falls_silent_starts_anew() -> None:
    """A registration that fails every 30 s all night is more than one line in the morning."""
    ledger = Ledger()
    records = [ledger.note(seen(at)) for at in range(0, int(3 * LONGEST_S), 30)]
    assert sum(record is not None for record in records) == 3


def test_accepted_messages_make_no_record_unless_asked() -> None:
    """The store holds what a reviewer looks for, not every good call."""
    ledger = Ledger()
    assert ledger.note(seen(0, judged=Action.ACCEPT)) is None
    logged = ledger.note(seen(0, judged=Action.ACCEPT, log=True, rule="emergency"))
    assert logged is not None
    assert logged.verdict is Action.ACCEPT


def test_accepted_messages_are_rows_of_an_open_ladder() -> None:
    """What went through around the refused message explains it."""
    ledger = Ledger()
    ledger.note(seen(0))
    ledger.note(seen(1, judged=Action.ACCEPT, method=b"ACK"))
    grown = only(ledger.flush(NOON + 2))
    assert grown.count == 1
    assert [(rung.message, rung.verdict) for rung in grown.ladder] == [
        ("INVITE", "drop"),
        ("ACK", ""),
    ]


def test_a_refusal_takes_over_the_headline() -> None:
    """A logged good call in which a forged BYE is dropped is a blocked call, under the same id."""
    ledger = Ledger()
    first = ledger.note(seen(0, judged=Action.ACCEPT, log=True, rule="emergency"))
    worse = ledger.note(seen(1, rule="forged", reason=Reason.FORGED_IN_DIALOG))
    assert first is not None
    assert worse is not None
    assert (worse.id, worse.verdict, worse.rule) == (first.id, Action.DROP, "forged")
    assert worse.first_s == NOON
    assert [(other.rule, other.count) for other in worse.also] == [("emergency", 1)]
    assert worse.message


def test_other_verdicts_on_the_attempt_are_listed() -> None:
    """A call refused for two reasons tells both."""
    ledger = Ledger()
    ledger.note(seen(0))
    for _ in range(3):
        ledger.note(seen(1, rule="flood", reason=Reason.RATE_EXCEEDED))
    grown = only(ledger.flush(NOON + 2))
    assert [(o.verdict, o.rule, o.reason, o.count) for o in grown.also] == [
        ("drop", "flood", "rate-exceeded", 3)
    ]


def test_a_flood_from_one_source_is_a_number() -> None:
    """Ten thousand Call-IDs write a few records: and 9,970 more like this."""
    ledger = Ledger(per_source=30)
    records = [ledger.note(seen(n / 1000, call=b"c%d" % n)) for n in range(10_000)]
    made = [record for record in records if record]
    assert len(made) == 30
    grown = ledger.flush(NOON + 10)
    assert sum(record.more for record in grown) == 10_000 - 30
    assert ledger.collapsed == 10_000 - 30
    assert not any(record.elsewhere for record in grown)


def test_a_spent_source_is_told_of_less_often() -> None:
    """Nothing of it was looked at, so its records are alike, and each holds up the calls a bit."""
    ledger = Ledger(per_source=30)
    spent = Reason.SIGNATURE_BUDGET
    records = [
        ledger.note(seen(number / 100, call=b"c%d" % number, reason=spent)) for number in range(99)
    ]
    made = [record for record in records if record]
    assert len(made) == 3
    grown = only(ledger.flush(NOON + 1))
    assert (grown.id, grown.more) == (made[-1].id, 96)
    assert ledger.note(seen(1, call=b"x", src=B, reason=spent))


def test_another_rule_or_source_is_not_silenced_by_a_flood() -> None:
    """A flood cannot hide the one call that matters."""
    ledger = Ledger(per_source=30)
    for n in range(1000):
        ledger.note(seen(0, call=b"c%d" % n))
    assert ledger.note(seen(1, call=b"x", src=B))
    assert ledger.note(seen(1, call=b"y", rule="spoofed", reason=Reason.REFUSED_BY_RULE))


def test_a_flood_under_forged_sources_is_a_number_too() -> None:
    """Sources are free to forge, so the bound does not hang on them alone."""
    ledger = Ledger(per_source=30, per_reason=120)
    records = [ledger.note(seen(0, call=b"c%d" % n, src=n.to_bytes(4, "big"))) for n in range(5000)]
    assert sum(record is not None for record in records) == 120
    grown = ledger.flush(NOON)
    assert sum(record.more for record in grown) == 5000 - 120
    assert any(record.elsewhere for record in grown)


def test_a_lasting_flood_gets_a_tenth_from_its_second_minute() -> None:
    """A week of flood does not push last week's records out of the store."""
    ledger = Ledger(per_source=30)
    made = [0] * 5
    for n in range(5 * 6000):
        made[n // 6000] += ledger.note(seen(n / 100, call=b"c%d" % n)) is not None
    assert made == [30, 3, 3, 3, 3]
    assert ledger.note(seen(1000, call=b"later"))


def test_memory_has_a_bound() -> None:
    """Whatever is sent, no more than the given number of attempts is remembered."""
    ledger = Ledger(max_open=50, per_source=10**9, per_reason=10**9)
    for n in range(500):
        ledger.note(seen(0, call=b"c%d" % n, src=n.to_bytes(4, "big")))
        ledger.note(seen(0, call=b"c%d" % n, src=n.to_bytes(4, "big")))
    assert len(ledger) == 50
    assert ledger.evicted == 450
    assert sum(len(ledger.flush(NOON, limit=100)) for _ in range(6)) == 500


def test_a_ladder_has_a_bound() -> None:
    """One attempt repeated without end stays one record of a fixed size."""
    ledger = Ledger()
    for n in range(5000):
        ledger.note(seen(n / 1000))
    grown = only(ledger.flush(NOON + 5))
    assert grown.count == 5000
    assert len(grown.ladder) == MAX_LADDER


def test_silent_attempts_are_forgotten_by_flush() -> None:
    """Quiet nights free the memory of busy days."""
    ledger = Ledger()
    ledger.note(seen(0))
    ledger.flush(NOON + WINDOW_S + 1)
    assert len(ledger) == 0


@given(st.integers(0, 32**8 - 1))
def test_ids_read_back_as_people_type_them(number: int) -> None:
    """Upper case, O for 0 and L for 1 are the same id: it is read out on the telephone."""
    identifier = id_of(number)
    assert len(identifier) == 8
    assert number_of(identifier) == number
    assert number_of(f" {identifier.upper().replace('0', 'O').replace('1', 'L')}\n") == number


@given(st.text(max_size=10))
def test_what_is_no_id_is_none(text: str) -> None:
    """Any text is an id or it is not; nothing else happens."""
    number = number_of(text)
    assert number is None or 0 <= number < 32**8


@given(st.lists(st.floats(-1e12, 1e12), max_size=50))
def test_ids_never_repeat_and_only_grow(times: list[float]) -> None:
    """A clock that steps back cannot overwrite an older record; nor can a restart."""
    ledger = Ledger(per_source=10**9, per_reason=10**9, after=id_of(5))
    made = [ledger.note(seen(at, call=b"c%d" % n)) for n, at in enumerate(times)]
    numbers = [number_of(record.id) or 0 for record in made if record]
    assert len(set(numbers)) == len(times)
    assert all(number != 5 for number in numbers)
