"""Transactions: the whole state table, matching, retransmission, lifetimes (TXN-*)."""

from itertools import product

import pytest
from calls_builder import CALL, packet, read, request
from phones import ALICE, BOB, CAROL
from subjects import octets

from sipguard.calls.table import HORIZON_S
from sipguard.calls.transaction import (
    INVITE_PENDING_S,
    LINGER_S,
    TRANSITIONS,
    Transaction,
    TransactionEvent,
    Transactions,
    TransactionState,
    contact_hosts,
    event_of_status,
)

_S, _E = TransactionState, TransactionEvent


def made(raw: bytes, source: str = ALICE, destination: str = BOB) -> Transaction:
    message, ids = read(raw)
    return Transaction(message, ids, packet(raw, source, destination), True)


# --- the table


def test_every_state_can_still_end() -> None:
    """No transaction waits for ever for an event that cannot come."""
    ends = {_S.ACCEPTED, _S.COMPLETED, _S.CONFIRMED}
    while more := {s for (s, _), after in TRANSITIONS.items() if after in ends} - ends:
        ends |= more
    assert ends == set(_S)


def test_every_state_is_reached() -> None:
    """A state that nothing leads to is a mistake in the table."""
    reached = {_S.TRYING}
    while more := {after for (s, _), after in TRANSITIONS.items() if s in reached} - reached:
        reached |= more
    assert reached == set(_S)


@pytest.mark.parametrize(("state", "event"), list(product(_S, _E)))
def test_the_whole_table(state: TransactionState, event: TransactionEvent) -> None:
    """A step either follows the table or changes nothing; states never go backward."""
    transaction = made(CALL.invite())
    transaction.state = state
    after = TRANSITIONS.get((state, event))
    assert transaction.step(event) is (after is not None)
    assert transaction.state is (after or state)
    assert transaction.state >= state


@pytest.mark.parametrize("state", [_S.TRYING, _S.PROCEEDING])
def test_no_ack_before_an_answer(state: TransactionState) -> None:
    """An ACK to an INVITE without a final response has no meaning (TXN-6)."""
    assert (state, _E.ACK) not in TRANSITIONS


def test_a_refused_request_is_not_accepted_later() -> None:
    """A 2xx after a 4xx is nobody's (TXN-4)."""
    assert (_S.COMPLETED, _E.SUCCESS) not in TRANSITIONS


@pytest.mark.parametrize(
    ("status", "event"),
    [
        (100, _E.PROVISIONAL),
        (199, _E.PROVISIONAL),
        (200, _E.SUCCESS),
        (299, _E.SUCCESS),
        (300, _E.FAILURE),
        (699, _E.FAILURE),
    ],
)
def test_what_a_status_means(status: int, event: TransactionEvent) -> None:
    """The hundreds decide, at both their ends."""
    assert event_of_status(status) is event


# --- matching


def test_branch_sent_by_and_method_name_a_transaction() -> None:
    """TXN-1: any of the three different, and it is another one."""
    table = Transactions(10)
    transaction = made(request("OPTIONS", branch="x"))
    table.add(transaction, 0.0)

    def found(raw: bytes) -> Transaction | None:
        message, ids = read(raw)
        return table.of_request(ids, message.method)

    assert found(request("OPTIONS", branch="x")) is transaction
    assert found(request("OPTIONS", branch="y")) is None
    assert found(request("OPTIONS", branch="x", sender=CAROL)) is None
    assert found(request("MESSAGE", branch="x")) is None


def test_an_old_sender_is_matched_by_its_call() -> None:
    """TXN-2: a branch without the cookie need not be unique; a proxy pings with branch=0."""
    table = Transactions(10)
    raws = [
        request("OPTIONS", branch="0", call_id=call_id).replace(b"z9hG4bK-0", b"0")
        for call_id in ("one", "two")
    ]
    for raw in raws:
        table.add(made(raw), 0.0)
    assert len(table) == 2
    _, ids = read(raws[0])
    found = table.of_request(ids, b"OPTIONS")
    assert found is not None
    assert found.call_id == b"one"


def test_the_same_octets_from_the_same_host_to_the_same_host() -> None:
    """TXN-12: a retransmission is all of that, nothing less."""
    raw = CALL.invite()
    transaction = made(raw)
    message, _ = read(raw)
    assert transaction.same_octets(message, packet(raw, ALICE, BOB))
    assert not transaction.same_octets(message, packet(raw, CAROL, BOB))
    assert not transaction.same_octets(message, packet(raw, ALICE, CAROL))
    changed, _ = read(raw.replace(b"Max-Forwards: 70", b"Max-Forwards: 69"))
    assert not transaction.same_octets(changed, packet(raw, ALICE, BOB))


@pytest.mark.parametrize(
    "change",
    [
        (b"call-1", b"call-2"),
        (b";tag=a", b";tag=z"),
        (b"CSeq: 1", b"CSeq: 2"),
        (b"sip:bob@example.com SIP", b"sip:eve@example.com SIP"),
        (b"To: <sip:bob@example.com>", b"To: <sip:bob@example.com>;tag=x"),
    ],
)
def test_a_cancel_repeats_every_identifier(change: tuple[bytes, bytes]) -> None:
    """TXN-9: Request-URI, Call-ID, tags and CSeq number, each of them."""
    transaction = made(CALL.invite())
    assert transaction.is_target_of_cancel(*read(CALL.cancel()))
    assert not transaction.is_target_of_cancel(*read(CALL.cancel().replace(*change)))


# --- lifetimes


def test_a_pending_invite_waits_past_timer_c() -> None:
    """TXN-5: three minutes of ringing, and longer with every provisional response."""
    table = Transactions(10)
    transaction = made(CALL.invite())
    table.add(transaction, 0.0)
    assert list(table.expire(180.0)) == []
    transaction.step(_E.PROVISIONAL)
    table.answered(transaction, 180, b"b", 180.0)
    assert list(table.expire(180.0 + INVITE_PENDING_S - 1)) == []
    assert list(table.expire(180.0 + INVITE_PENDING_S + 1)) == [transaction]


def test_other_requests_wait_for_64_times_t1() -> None:
    """Timer F."""
    table = Transactions(10)
    transaction = made(request("OPTIONS", branch="o"))
    table.add(transaction, 0.0)
    assert list(table.expire(LINGER_S - 1)) == []
    assert list(table.expire(LINGER_S + 1)) == [transaction]


@pytest.mark.parametrize("status", [200, 486])
def test_an_answered_invite_lingers_for_retransmissions(status: int) -> None:
    """TXN-4: RFC 6026 keeps it for timer L or M, counted from the first final response."""
    table = Transactions(10)
    transaction = made(CALL.invite())
    table.add(transaction, 0.0)
    table.answered(transaction, status, b"b", 10.0)
    table.answered(transaction, status, b"b", 20.0)
    assert list(table.expire(10.0 + LINGER_S - 1)) == []
    assert list(table.expire(HORIZON_S + 1)) == [transaction]  # looked at that late at most


def test_a_refused_invite_is_known_by_call_tags_and_number() -> None:
    """TXN-6: some clients acknowledge a refusal under a branch of their own."""
    table = Transactions(10)
    transaction = made(CALL.invite())
    table.add(transaction, 0.0)
    table.answered(transaction, 486, b"b", 1.0)
    _, ids = read(CALL.ack_to_failure(branch="own"))
    assert table.refused_invite(ids) is transaction
    for other in ({"cseq": 2}, {"to_tag": "zz"}):
        _, ids = read(CALL.ack_to_failure(branch="own", **other))
        assert table.refused_invite(ids) is None


def test_a_full_table_forgets_the_oldest() -> None:
    """A flood of accepted requests costs the oldest ones, and they are counted."""
    table = Transactions(2)
    for number in range(5):
        table.add(made(request("OPTIONS", branch=f"o{number}")), 0.0)
    assert (len(table), table.forgotten) == (2, 3)


# --- what is remembered of a request


def test_contact_hosts_are_literal_addresses_and_few() -> None:
    """Names are nobody's address, and a list of a thousand Contacts is not read."""
    message, _ = read(CALL.invite())
    assert contact_hosts(message) == (octets(ALICE),)
    named, _ = read(CALL.invite().replace(f"it@{ALICE}".encode(), b"it@phone.example.com"))
    assert contact_hosts(named) == ()
    many = "Contact: " + ", ".join(f"<sip:a@192.0.2.{n}>" for n in range(1, 9))
    listed, _ = read(request("REGISTER", branch="r", contact=None, headers=many))
    assert len(contact_hosts(listed)) == 4


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ("Contact: <sip:a@192.0.2.1>", 3600),
        ("Contact: <sip:a@192.0.2.1>\nExpires: 60", 60),
        ("Contact: <sip:a@192.0.2.1>;expires=30\nExpires: 60", 30),
        ("Contact: <sip:a@192.0.2.1>;expires=0", 0),
        ("Contact: *\nExpires: 0", 0),
        ("Expires: 60", None),
    ],
)
def test_how_long_a_register_binds(headers: str, seconds: int | None) -> None:
    """RFC 3261 section 10.2.1.1: the Contact's own word first; without Contact it is a query."""
    raw = request("REGISTER", branch="r", contact=None, headers=headers)
    assert made(raw).binds_for_s == seconds
