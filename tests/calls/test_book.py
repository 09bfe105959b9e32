"""The book of calls: what a message is to everything seen before (TXN-*, DLG-*)."""

import pytest
from calls_builder import CALL, Desk, Dialogue, packet, read, request, response
from phones import ALICE, BOB, CAROL, PROXY
from subjects import octets

from sipguard.calls.dialog import DialogState
from sipguard.calls.standing import Standing
from sipguard.calls.transaction import INVITE_PENDING_S, LINGER_S, TransactionState
from sipguard.reason import Reason

NEW, KNOWN, AGAIN = Standing.NEW, Standing.KNOWN, Standing.RETRANSMISSION
MALLORY = "192.0.2.66"


def ended(desk: Desk) -> list[tuple[bytes, Reason]]:
    return [(to_tag, reason) for _, to_tag, reason, _ in desk.ended]


# --- a whole call


def test_an_ordinary_call() -> None:
    """INVITE, 100, 180, 200, ACK, BYE, 200: each is known, and the call is over at the end."""
    desk = Desk()
    bye = CALL.inside("BYE")
    assert desk.ask(CALL.invite()) is NEW
    assert desk.ask(CALL.answer(100), BOB, ALICE) is KNOWN
    assert desk.ask(CALL.answer(180), BOB, ALICE) is KNOWN
    assert desk.ask(CALL.answer(200), BOB, ALICE) is KNOWN
    assert desk.ask(CALL.ack()) is KNOWN
    assert desk.ask(bye) is KNOWN
    assert desk.ask(response(bye, 200), BOB, ALICE) is KNOWN
    assert ended(desk) == [(b"b", Reason.CALL_ENDED)]
    assert desk.wait(100.0) == []
    assert len(desk.book.dialogs) == len(desk.book.transactions) == 0


def test_looking_changes_nothing() -> None:
    """The policy may still refuse what the book found to be new."""
    desk = Desk()
    message, ids = read(CALL.invite())
    for _ in range(3):
        stand = desk.book.stand_of_request(message, ids, packet(message.raw, ALICE, BOB))
        assert stand.standing is NEW
    assert len(desk.book.transactions) == 0


# --- repetition: TXN-12


@pytest.mark.parametrize("upto", [0, 1, 2])
def test_the_same_octets_again_are_a_retransmission(upto: int) -> None:
    """Timer A or G: until the ACK, before and after responses."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    for status in (180, 200)[:upto]:
        desk.see(CALL.answer(status), BOB, ALICE)
    assert desk.ask(CALL.invite()) is AGAIN


def test_after_the_ack_the_same_octets_are_a_replay() -> None:
    """Who acknowledged the answer has no reason to ask again; a thief with a recording has."""
    desk = Desk()
    desk.talk()
    assert desk.why(CALL.invite()) is Reason.REPLAY_AFTER_END


def test_after_the_ack_to_a_refusal_too() -> None:
    """A refused INVITE that comes again unchanged was recorded by somebody."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    desk.see(CALL.answer(486), BOB, ALICE)
    assert desk.ask(CALL.invite()) is AGAIN, "our refusal may have been lost"
    assert desk.ask(CALL.ack_to_failure()) is KNOWN
    assert desk.why(CALL.invite()) is Reason.REPLAY_AFTER_END


def test_the_same_octets_from_another_host_are_a_replay() -> None:
    """A sniffed packet sent from elsewhere."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    assert desk.why(CALL.invite(), MALLORY, BOB) is Reason.REPLAY


def test_other_octets_under_the_branch_are_a_replay_or_a_collision() -> None:
    """The branch alone does not make a retransmission."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    changed = CALL.invite().replace(b"m=audio 30000", b"m=audio 39999")
    assert desk.why(changed) is Reason.REPLAY
    assert desk.why(changed, MALLORY, BOB) is Reason.REPLAY
    other = Dialogue(call_id="call-2").invite(branch="i1-call-1")
    assert desk.why(other) is Reason.BRANCH_COLLISION


def test_a_retransmitted_bye_is_known() -> None:
    """Timer E, also after the 200 was seen, for it may have been lost."""
    desk = Desk()
    desk.talk()
    bye = CALL.inside("BYE")
    desk.see(bye, ALICE, BOB)
    assert desk.ask(bye) is AGAIN
    desk.see(response(bye, 200), BOB, ALICE)
    assert desk.ask(bye) is AGAIN


# --- responses: TXN-3, TXN-4, TXN-14


def test_a_response_to_nothing_is_stray() -> None:
    """TXN-4: this ends response floods and tunnels."""
    desk = Desk()
    assert desk.why(CALL.answer(200), BOB, ALICE) is Reason.STRAY_RESPONSE


@pytest.mark.parametrize("change", [(b"call-1", b"call-2"), (b";tag=a", b";tag=z")])
def test_a_response_may_not_change_what_it_copies(change: tuple[bytes, bytes]) -> None:
    """TXN-3: Call-ID and From tag come back as they were sent."""
    desk = Desk()
    desk.see(CALL.invite(branch="x"), ALICE, BOB)
    answer = CALL.answer(to=CALL.invite(branch="x")).replace(*change)
    assert desk.why(answer, BOB, ALICE) is Reason.RESPONSE_MISMATCH


def test_a_response_to_another_method_is_stray() -> None:
    """TXN-3: the CSeq method is part of the match."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    answer = CALL.answer().replace(b"CSeq: 1 INVITE", b"CSeq: 1 OPTIONS")
    assert desk.why(answer, BOB, ALICE) is Reason.STRAY_RESPONSE


@pytest.mark.parametrize(("source", "target"), [(CAROL, ALICE), (ALICE, BOB), (BOB, CAROL)])
def test_a_response_comes_from_where_the_request_went(source: str, target: str) -> None:
    """A forged 200 from another host, or towards one, answers nothing."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    assert desk.why(CALL.answer(), source, target) is Reason.RESPONSE_WRONG_WAY


def test_no_provisional_but_100_to_other_methods() -> None:
    """TXN-14 (RFC 4320)."""
    desk = Desk()
    options = request("OPTIONS", branch="o")
    desk.see(options, ALICE, BOB)
    assert desk.ask(response(options, 100), BOB, ALICE) is KNOWN
    for status in (101, 180, 199):
        assert desk.why(response(options, status), BOB, ALICE) is Reason.BAD_PROVISIONAL
    assert desk.ask(response(options, 200), BOB, ALICE) is KNOWN


def test_a_refused_request_is_not_accepted_afterwards() -> None:
    """A 200 after the 486 would open media for a call that is over."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    desk.see(CALL.answer(486), BOB, ALICE)
    for status in (180, 200):
        assert desk.why(CALL.answer(status), BOB, ALICE) is Reason.STRAY_RESPONSE
    assert desk.ask(CALL.answer(486), BOB, ALICE) is KNOWN, "a retransmission"


def test_a_2xx_is_retransmitted_until_its_ack() -> None:
    """RFC 6026: and another fork may answer as well."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    assert desk.ask(CALL.answer(200), BOB, ALICE) is KNOWN
    assert desk.ask(CALL.answer(200), BOB, ALICE) is KNOWN
    assert desk.ask(CALL.answer(200, to_tag="c"), BOB, ALICE) is KNOWN
    assert len(desk.book.dialogs) == 2


def test_a_response_long_after_the_end_is_stray() -> None:
    """TXN-5: the transaction is gone by then."""
    desk = Desk()
    desk.talk()
    desk.wait(2 * 60.0)
    assert desk.why(CALL.answer(200), BOB, ALICE) is Reason.STRAY_RESPONSE


# --- ACK: TXN-6, TXN-7


def test_an_ack_without_an_answer_is_stray() -> None:
    """Before any final response there is nothing to acknowledge."""
    desk = Desk()
    assert desk.ask(CALL.ack()) is Standing.UNKNOWN_DIALOG
    desk.see(CALL.invite(), ALICE, BOB)
    assert desk.why(CALL.ack_to_failure()) is Reason.STRAY_ACK


def test_the_ack_to_a_failure_comes_from_the_inviter() -> None:
    """TXN-6: same branch, same host, same number."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    desk.see(CALL.answer(486), BOB, ALICE)
    assert desk.why(CALL.ack_to_failure(), MALLORY, BOB) is Reason.STRAY_ACK
    wrong = CALL.ack_to_failure().replace(b"CSeq: 1", b"CSeq: 2")
    assert desk.why(wrong) is Reason.STRAY_ACK
    assert desk.ask(CALL.ack_to_failure()) is KNOWN
    assert desk.ask(CALL.ack_to_failure()) is KNOWN, "the 486 was retransmitted"


def test_the_ack_to_a_failure_names_its_call() -> None:
    """TXN-2: the INVITE's branch with another Call-ID acknowledges nothing."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    desk.see(CALL.answer(486), BOB, ALICE)
    foreign = CALL.ack_to_failure().replace(b"Call-ID: call-1", b"Call-ID: call-9")
    assert desk.why(foreign) is Reason.STRAY_ACK
    assert desk.ask(CALL.ack_to_failure()) is KNOWN


def test_the_ack_to_a_failure_under_a_branch_of_its_own() -> None:
    """TXN-2: everything else fits, and it comes from the inviter."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    desk.see(CALL.answer(486), BOB, ALICE)
    assert desk.why(CALL.ack_to_failure(branch="own"), MALLORY, BOB) is Reason.STRAY_ACK
    assert desk.ask(CALL.ack_to_failure(branch="own")) is KNOWN
    assert desk.why(CALL.invite()) is Reason.REPLAY_AFTER_END


def test_the_ack_to_a_2xx_belongs_to_dialog_and_number() -> None:
    """TXN-7: both tags, a host on the caller's path, the INVITE's CSeq number."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    desk.see(CALL.answer(200), BOB, ALICE)
    assert desk.why(CALL.ack(), MALLORY, BOB) is Reason.FORGED_IN_DIALOG
    assert desk.why(CALL.ack(cseq=7)) is Reason.STRAY_ACK
    other = CALL._replace(callee_tag="zz")
    assert desk.ask(other.ack()) is Standing.UNKNOWN_DIALOG
    assert desk.ask(CALL.ack()) is KNOWN
    assert desk.ask(CALL.ack()) is KNOWN, "the 200 was retransmitted"


def test_the_ack_to_a_reinvite_of_the_callee() -> None:
    """Both ends may invite again; the ACK then comes from that end."""
    desk = Desk()
    desk.talk()
    again = CALL.inside("INVITE", cseq=9, by_callee=True)
    assert desk.ask(again, BOB, ALICE) is KNOWN
    assert desk.ask(response(again, 200, contact=ALICE)) is KNOWN
    assert desk.why(CALL.inside("ACK", cseq=9)) is Reason.STRAY_ACK
    assert desk.ask(CALL.inside("ACK", cseq=9, by_callee=True), BOB, ALICE) is KNOWN


# --- CANCEL: TXN-9, TXN-10, TXN-11


def test_a_cancel_of_a_ringing_call() -> None:
    """From the host and port that sent the INVITE; its 200 and the 487 pass, and the ACK."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    desk.see(CALL.answer(180), BOB, ALICE)
    assert desk.ask(CALL.cancel()) is KNOWN
    assert desk.ask(CALL.cancel()) is AGAIN
    assert desk.ask(response(CALL.cancel(), 200), BOB, ALICE) is KNOWN
    assert desk.ask(CALL.answer(487), BOB, ALICE) is KNOWN
    assert ended(desk) == [(b"b", Reason.CALL_FAILED)]
    assert desk.ask(CALL.ack_to_failure()) is KNOWN


def test_a_forged_cancel() -> None:
    """TXN-10: who can guess a branch still does not send from the caller's host and port."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    assert desk.why(CALL.cancel(), MALLORY, BOB) is Reason.FORGED_CANCEL
    assert desk.why(CALL.cancel(), sport=5062) is Reason.FORGED_CANCEL


def test_a_cancel_of_nothing_or_of_something_else() -> None:
    """TXN-9 and TXN-11: no INVITE, or one with other identifiers."""
    desk = Desk()
    assert desk.why(CALL.cancel()) is Reason.STRAY_CANCEL
    desk.see(request("OPTIONS", branch="i1-call-1"), ALICE, BOB)
    assert desk.why(CALL.cancel()) is Reason.STRAY_CANCEL
    desk.see(CALL.invite(), ALICE, BOB)
    assert desk.why(CALL.cancel().replace(b"CSeq: 1", b"CSeq: 2")) is Reason.STRAY_CANCEL


@pytest.mark.parametrize("status", [200, 486])
def test_a_cancel_after_the_answer_is_too_late(status: int) -> None:
    """TXN-10: it could only hurt."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    desk.see(CALL.answer(status), BOB, ALICE)
    assert desk.why(CALL.cancel()) is Reason.CANCEL_TOO_LATE


# --- in-dialog requests: DLG-2, DLG-3, DLG-6


def test_an_in_dialog_request_of_no_call() -> None:
    """DLG-2: the policy decides; a wrong tag is as good as none."""
    desk = Desk()
    assert desk.ask(CALL.inside("BYE")) is Standing.UNKNOWN_DIALOG
    desk.talk()
    assert desk.ask(CALL._replace(callee_tag="zz").inside("BYE")) is Standing.UNKNOWN_DIALOG
    assert desk.ask(CALL._replace(caller_tag="zz").inside("BYE")) is Standing.UNKNOWN_DIALOG


@pytest.mark.parametrize("method", ["BYE", "INVITE", "UPDATE", "INFO", "REFER", "MESSAGE"])
@pytest.mark.parametrize("by_callee", [False, True])
def test_a_forger_knows_the_tags_but_is_not_on_the_path(method: str, by_callee: bool) -> None:
    """DLG-6: RFC 3261 section 26.1.4, tearing down sessions."""
    desk = Desk()
    desk.talk()
    forged = CALL.inside(method, by_callee=by_callee)
    victim = ALICE if by_callee else BOB
    assert desk.why(forged, MALLORY, victim) is Reason.FORGED_IN_DIALOG


def test_an_end_cannot_speak_for_the_other() -> None:
    """Bob's host with Alice's tags is a forger, too."""
    desk = Desk()
    desk.talk()
    assert desk.why(CALL.inside("BYE"), BOB, ALICE) is Reason.FORGED_IN_DIALOG


def test_an_old_cseq_is_refused() -> None:
    """DLG-2: recorded and sent again, under a new branch."""
    desk = Desk()
    desk.talk()
    assert desk.ask(CALL.inside("INFO", cseq=5)) is KNOWN
    assert desk.why(CALL.inside("INFO", cseq=5, branch="new")) is Reason.OLD_CSEQ
    assert desk.why(CALL.inside("INFO", cseq=4)) is Reason.OLD_CSEQ
    assert desk.why(CALL.inside("BYE", cseq=1)) is Reason.OLD_CSEQ
    assert desk.ask(CALL.inside("INFO", cseq=99)) is KNOWN, "gaps are legal"
    assert desk.ask(CALL.inside("INFO", cseq=1, by_callee=True), BOB, ALICE) is KNOWN


def test_through_a_recording_proxy_each_hop_counts_for_itself() -> None:
    """Record-Route: the same BYE crosses twice, with one CSeq, and both may pass."""
    desk = Desk()
    far = request("INVITE", branch="far", sender=PROXY, contact=ALICE)
    desk.see(CALL.invite(body=b""), ALICE, PROXY)
    desk.see(far, PROXY, BOB)
    desk.see(response(far, 200, contact=BOB), BOB, PROXY)
    desk.see(CALL.answer(200, to=CALL.invite(body=b"")), PROXY, ALICE)
    assert desk.ask(CALL.ack(), ALICE, PROXY) is KNOWN
    assert desk.ask(CALL.ack(branch="ack-far"), PROXY, BOB) is KNOWN
    assert desk.ask(CALL.inside("BYE"), ALICE, PROXY) is KNOWN
    assert desk.ask(CALL.inside("BYE", branch="bye-far"), PROXY, BOB) is KNOWN
    assert desk.why(CALL.inside("BYE", branch="bye-again"), PROXY, BOB) is Reason.OLD_CSEQ


def test_without_record_route_the_contacts_speak_directly() -> None:
    """RFC 3261 section 12.2: after the 2xx the ends talk past the proxy."""
    desk = Desk()
    far = request("INVITE", branch="far", sender=PROXY, contact=ALICE)
    desk.see(CALL.invite(body=b""), ALICE, PROXY)
    desk.see(far, PROXY, BOB)
    desk.see(response(far, 200, contact=BOB), BOB, PROXY)
    desk.see(CALL.answer(200, to=CALL.invite(body=b"")), PROXY, ALICE)
    assert desk.ask(CALL.ack(), ALICE, BOB) is KNOWN
    assert desk.ask(CALL.inside("BYE", by_callee=True), BOB, ALICE) is KNOWN


def test_a_second_proxy_that_records_its_route_may_speak() -> None:
    """RFC 3261 section 12.1: the route set may skip the proxy that the INVITE came through."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    desk.see(CALL.answer(200, headers=f"Record-Route: <sip:{PROXY};lr>"), BOB, ALICE)
    assert desk.ask(CALL.inside("BYE", by_callee=True), PROXY, ALICE) is KNOWN


def test_a_target_refresh_brings_a_new_host() -> None:
    """DLG-3: the Contact of a re-INVITE or UPDATE that passed may speak from then on."""
    for method in ("INVITE", "UPDATE"):
        desk = Desk()
        desk.talk()
        moved = CALL.inside(method, by_callee=True, contact=CAROL)
        assert desk.why(CALL.inside("BYE", by_callee=True, cseq=8), CAROL, ALICE)
        assert desk.ask(moved, BOB, ALICE) is KNOWN
        assert desk.ask(CALL.inside("BYE", by_callee=True, cseq=8), CAROL, ALICE) is KNOWN


def test_the_2xx_to_an_update_moves_the_other_end() -> None:
    """DLG-3: its Contact is a target refresh as well."""
    desk = Desk()
    desk.talk()
    update = CALL.inside("UPDATE")
    desk.see(update, ALICE, BOB)
    desk.see(response(update, 200, contact=CAROL), BOB, ALICE)
    assert desk.ask(CALL.inside("BYE", by_callee=True), CAROL, ALICE) is KNOWN


def test_other_requests_move_nobody() -> None:
    """DLG-3: a Contact in INFO is no target refresh."""
    desk = Desk()
    desk.talk()
    desk.see(CALL.inside("INFO", contact=CAROL), ALICE, BOB)
    assert desk.why(CALL.inside("BYE", cseq=3), CAROL, BOB) is Reason.FORGED_IN_DIALOG


def test_the_callee_may_update_before_it_answers() -> None:
    """TXN-16: an early dialog is one of both ends."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    assert desk.ask(CALL.inside("UPDATE", by_callee=True), BOB, ALICE) is not KNOWN
    desk.see(CALL.answer(183), BOB, ALICE)
    assert desk.ask(CALL.inside("UPDATE", by_callee=True, cseq=3), BOB, ALICE) is KNOWN


# --- PRACK: TXN-15


RELIABLE = "Require: 100rel\nRSeq: 17"


def test_a_prack_names_a_reliable_response() -> None:
    """TXN-15: RSeq and CSeq number must be ones that were sent; injected ones stop the ringing."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    desk.see(CALL.answer(183, headers=RELIABLE), BOB, ALICE)
    for rack in ("RAck: 18 1 INVITE", "RAck: 17 2 INVITE", "", "RAck: 17 INVITE"):
        assert desk.why(CALL.inside("PRACK", headers=rack)) is Reason.STRAY_PRACK
    good = CALL.inside("PRACK", headers="RAck: 17 1 INVITE")
    assert desk.why(good, MALLORY, BOB) is Reason.FORGED_IN_DIALOG
    assert desk.ask(good) is KNOWN


def test_an_unreliable_response_takes_no_prack() -> None:
    """Without Require: 100rel there is nothing to acknowledge."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    desk.see(CALL.answer(183, headers="RSeq: 17"), BOB, ALICE)
    assert desk.why(CALL.inside("PRACK", headers="RAck: 17 1 INVITE")) is Reason.STRAY_PRACK


# --- early dialogs, forks and failure: DLG-1, DLG-5


def test_every_to_tag_is_a_dialog_of_its_own() -> None:
    """DLG-1: a forked INVITE rings on two phones."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    desk.see(CALL.answer(180, to_tag="b"), BOB, ALICE)
    desk.see(CALL.answer(180, to_tag="c"), BOB, ALICE)
    assert len(desk.book.dialogs) == 2
    assert desk.ask(CALL._replace(callee_tag="c").inside("BYE")) is KNOWN


def test_a_failure_ends_its_early_dialogs_and_no_answered_one() -> None:
    """DLG-5: the other INVITE's fork goes on talking."""
    desk = Desk()
    desk.talk()
    other = Dialogue(call_id="call-2")
    desk.see(other.invite(), ALICE, BOB)
    desk.see(other.answer(180, to_tag="x"), BOB, ALICE)
    desk.see(other.answer(180, to_tag="y"), BOB, ALICE)
    desk.see(other.answer(603, to_tag="z"), BOB, ALICE)
    assert ended(desk) == [(b"x", Reason.CALL_FAILED), (b"y", Reason.CALL_FAILED)]
    desk.see(other.answer(603, to_tag="z"), BOB, ALICE)
    assert ended(desk) == [], "once"
    assert desk.ask(CALL.inside("INFO")) is KNOWN


def test_the_failure_of_one_branch_leaves_the_other_branches_dialog() -> None:
    """PIN-4: a proxy outside forks; one phone refuses while the other rings on."""
    desk = Desk()
    one = CALL.invite(branch="one")
    two = CALL.invite(branch="two")
    desk.see(one, PROXY, BOB)
    desk.see(two, PROXY, CAROL)
    desk.see(response(one, 180, to_tag="b"), BOB, PROXY)
    desk.see(response(two, 180, to_tag="c"), CAROL, PROXY)
    desk.see(response(one, 486, to_tag="b"), BOB, PROXY)
    assert ended(desk) == [(b"b", Reason.CALL_FAILED)]
    desk.see(response(two, 200, to_tag="c"), CAROL, PROXY)
    dialog = desk.book.dialogs.find(b"call-1", b"a", b"c")
    assert dialog is not None
    assert dialog.state is DialogState.CONFIRMED


def test_a_call_that_rings_on_keeps_its_early_dialog() -> None:
    """RFC 3261 section 13.3.1.1: a 180 a minute keeps a call pending; a queue plays music so."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    for _ in range(10):
        desk.see(CALL.answer(183), BOB, ALICE)
        assert desk.wait(60.0) == []
    assert desk.ask(CALL.inside("UPDATE")) is KNOWN


def test_an_early_dialog_that_falls_silent_ends() -> None:
    """Nobody answers, nobody cancels: timer C and a margin, then its media closes."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    desk.see(CALL.answer(183), BOB, ALICE)
    assert desk.wait(INVITE_PENDING_S - 2) == []
    assert [end.reason for end in desk.wait(4.0)] == [Reason.CALL_EXPIRED]


def test_after_the_answer_other_forks_live_no_longer_than_64_times_t1() -> None:
    """DLG-5: RFC 3261 section 13.2.2.4; their previews must close."""
    desk = Desk()
    desk.see(CALL.invite(), ALICE, BOB)
    desk.see(CALL.answer(183, to_tag="c"), BOB, ALICE)
    desk.see(CALL.answer(200), BOB, ALICE)
    desk.see(CALL.ack(), ALICE, BOB)
    assert desk.wait(LINGER_S - 1) == []
    assert [(end.to_tag, end.reason) for end in desk.wait(3.0)] == [(b"c", Reason.CALL_EXPIRED)]


def test_a_refused_reinvite_leaves_the_call() -> None:
    """TXN-17: the session stands as it was."""
    for status in (488, 491, 500):
        desk = Desk()
        desk.talk()
        again = CALL.inside("INVITE")
        desk.see(again, ALICE, BOB)
        desk.see(response(again, status), BOB, ALICE)
        assert ended(desk) == []
        assert desk.ask(CALL.inside("INFO", cseq=3)) is KNOWN


@pytest.mark.parametrize("status", [408, 481])
@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "INFO", "BYE"])
def test_a_call_that_the_other_end_does_not_know_is_over(method: str, status: int) -> None:
    """DLG-5: 481 and 408 inside a dialog end it."""
    desk = Desk()
    desk.talk()
    inside = CALL.inside(method)
    desk.see(inside, ALICE, BOB)
    desk.see(response(inside, status), BOB, ALICE)
    assert ended(desk) == [(b"b", Reason.CALL_ENDED)]
    assert desk.why(CALL.inside("INFO", cseq=9)) is Reason.UNKNOWN_DIALOG


def test_481_to_a_cancel_ends_no_call() -> None:
    """The CANCEL of a re-INVITE crossed its answer; it says nothing about the dialog."""
    desk = Desk()
    desk.talk()
    again = CALL.inside("INVITE", branch="again")
    cancel = CALL.inside("CANCEL", branch="again")
    desk.see(again, ALICE, BOB)
    assert desk.ask(cancel) is KNOWN
    desk.see(response(cancel, 481), BOB, ALICE)
    assert ended(desk) == []
    assert desk.ask(CALL.inside("INFO", cseq=3)) is KNOWN


# --- BYE


def test_a_bye_that_is_challenged_is_tried_again() -> None:
    """A 401 ends nothing; the next BYE with credentials does."""
    desk = Desk()
    desk.talk()
    bye = CALL.inside("BYE")
    desk.see(bye, ALICE, BOB)
    desk.see(response(bye, 401), BOB, ALICE)
    assert ended(desk) == []
    assert desk.wait(LINGER_S + 10) == []
    again = CALL.inside("BYE", cseq=3)
    assert desk.ask(again) is KNOWN
    desk.see(response(again, 200), BOB, ALICE)
    assert ended(desk) == [(b"b", Reason.CALL_ENDED)]


def test_a_bye_whose_answer_is_lost_ends_the_call_after_all() -> None:
    """64*T1, then the media closes: nobody comes back to a call he left."""
    desk = Desk()
    desk.talk()
    desk.see(CALL.inside("BYE"), ALICE, BOB)
    assert desk.wait(LINGER_S - 1) == []
    assert [end.reason for end in desk.wait(3.0)] == [Reason.CALL_ENDED]


@pytest.mark.parametrize("by_callee", [False, True])
@pytest.mark.parametrize("answered", [False, True])
def test_the_end_of_a_call_names_who_hung_up(by_callee: bool, answered: bool) -> None:
    """For the record; also where the answer to his BYE was lost."""
    desk = Desk()
    desk.talk()
    there = (BOB, ALICE) if by_callee else (ALICE, BOB)
    bye = CALL.inside("BYE", by_callee=by_callee)
    desk.see(bye, *there)
    if answered:
        desk.see(response(bye, 200), *reversed(there))
    over = desk.ended if answered else desk.wait(LINGER_S + 3)
    assert [end.party for end in over] == ["callee" if by_callee else "caller"]


def test_a_call_that_nobody_ended_names_nobody() -> None:
    """It ran into its limit."""
    desk = Desk(session_limit_s=60.0)
    desk.talk()
    assert [(end.reason, end.party) for end in desk.wait(100.0)] == [(Reason.CALL_EXPIRED, "")]


def test_both_ends_may_hang_up_at_once() -> None:
    """Two BYEs cross; both are answered, and the call ends once."""
    desk = Desk()
    desk.talk()
    mine, theirs = CALL.inside("BYE"), CALL.inside("BYE", by_callee=True)
    assert desk.ask(mine) is KNOWN
    assert desk.ask(theirs, BOB, ALICE) is KNOWN
    desk.see(response(mine, 200), BOB, ALICE)
    assert ended(desk) == [(b"b", Reason.CALL_ENDED)]
    assert desk.ask(response(theirs, 200)) is KNOWN
    assert ended(desk) == []


def test_after_the_end_the_call_is_unknown() -> None:
    """A recorded INFO or re-INVITE finds no call."""
    desk = Desk()
    desk.talk()
    bye = CALL.inside("BYE")
    desk.see(bye, ALICE, BOB)
    desk.see(response(bye, 200), BOB, ALICE)
    assert desk.why(CALL.inside("INFO", cseq=9)) is Reason.UNKNOWN_DIALOG
    desk.wait(2 * 60.0)
    assert desk.ask(CALL.inside("INFO", cseq=9)) is Standing.UNKNOWN_DIALOG


@pytest.mark.parametrize("cseq", [1, 5])
def test_a_new_invite_by_the_tags_of_an_ended_dialog_makes_its_own(cseq: int) -> None:
    """DLG-1, RFC 3261 section 13.2.2.4: a dialog that is over is none that exists."""
    desk = Desk()
    desk.see(CALL.invite(cseq=4), ALICE, BOB)
    desk.see(CALL.answer(180, cseq=4), BOB, ALICE)
    desk.see(CALL.answer(486, cseq=4), BOB, ALICE)
    assert ended(desk) == [(b"b", Reason.CALL_FAILED)]
    desk.see(CALL.invite(cseq=cseq, branch="new"), ALICE, BOB)
    desk.see(CALL.answer(200, to=CALL.invite(cseq=cseq, branch="new")), BOB, ALICE)
    assert ended(desk) == []
    assert len(desk.book.dialogs) == 1
    assert desk.ask(CALL.ack(cseq=cseq)) is KNOWN
    bye = CALL.inside("BYE", cseq=cseq + 1)
    desk.see(bye, ALICE, BOB)
    desk.see(response(bye, 200), BOB, ALICE)
    assert ended(desk) == [(b"b", Reason.CALL_ENDED)]


@pytest.mark.parametrize("status", [183, 200])
def test_an_answer_to_another_leg_of_an_ended_call_revives_nothing(status: int) -> None:
    """It is over, and that is told again for what the media room makes of the answer."""
    desk = Desk()
    leg = CALL.invite(branch="another-leg")
    desk.see(CALL.invite(), ALICE, BOB)
    desk.see(CALL.answer(180), BOB, ALICE)
    desk.see(CALL.answer(486), BOB, ALICE)
    desk.see(leg, ALICE, BOB)
    assert desk.ask(CALL.answer(status, to=leg), BOB, ALICE) is KNOWN
    assert ended(desk) == [(b"b", Reason.CALL_ENDED)]


def test_a_late_2xx_after_the_end_prolongs_nothing() -> None:
    """The callee repeats its answer after the BYE's: what is over lingers 64*T1, not for hours."""
    desk = Desk()
    desk.talk()
    bye = CALL.inside("BYE")
    desk.see(bye, ALICE, BOB)
    desk.see(response(bye, 200), BOB, ALICE)
    assert desk.ask(CALL.answer(200), BOB, ALICE) is KNOWN
    assert desk.ask(CALL.ack(branch="again")) is KNOWN
    desk.wait(LINGER_S + 2.0)
    assert len(desk.book.dialogs) == 0


def test_a_2xx_between_a_bye_and_its_lost_answer_prolongs_nothing() -> None:
    """PIN-15: a call that is being ended is over 64*T1 after its BYE, whatever is repeated."""
    desk = Desk()
    desk.talk()
    desk.see(CALL.inside("BYE"), ALICE, BOB)
    assert desk.ask(CALL.answer(200), BOB, ALICE) is KNOWN
    assert [end.reason for end in desk.wait(LINGER_S + 2.0)] == [Reason.CALL_ENDED]
    desk.wait(LINGER_S + 2.0)
    assert len(desk.book.dialogs) == 0


# --- time and room


def test_a_session_without_refresh_expires() -> None:
    """RFC 4028: the ends agreed on it, so that lost BYEs do not leave media open."""
    desk = Desk()
    desk.talk(headers="Session-Expires: 90;refresher=uac")
    assert desk.wait(60.0) == []
    update = CALL.inside("UPDATE")
    desk.see(update, ALICE, BOB)
    desk.see(response(update, 200, headers="Session-Expires: 90"), BOB, ALICE)
    assert desk.wait(80.0) == []
    assert [end.reason for end in desk.wait(70.0)] == [Reason.CALL_EXPIRED]


def test_no_call_lasts_past_the_limit() -> None:
    """Refreshed for ever, it ends at the session limit all the same."""
    desk = Desk(session_limit_s=300.0)
    desk.talk()
    assert desk.wait(290.0) == []
    again = CALL.inside("INVITE")
    desk.see(again, ALICE, BOB)
    desk.see(response(again, 200, headers="Session-Expires: 90"), BOB, ALICE)
    assert [end.reason for end in desk.wait(70.0)] == [Reason.CALL_EXPIRED]


def test_a_flood_of_ringing_calls_ends_no_conversation() -> None:
    """The oldest unanswered ones go, are named for their media, and are counted."""
    desk = Desk(dialogs=80)
    desk.talk()
    gone = []
    for number in range(200):
        call = Dialogue(call_id=f"flood-{number}")
        desk.see(call.invite(), ALICE, BOB)
        desk.see(call.answer(183), BOB, ALICE)
        gone += desk.ended
    assert [end.reason for end in gone] == [Reason.FORGOTTEN] * (200 - 64)
    assert gone[0].call == (b"flood-0", b"a")
    assert desk.book.dialogs.forgotten == 200 - 64
    assert desk.ask(CALL.inside("INFO")) is KNOWN


def test_subscriptions_push_no_ringing_call_out() -> None:
    """Phones subscribe far oftener than they call; both have room of their own."""
    desk = Desk(dialogs=80)
    desk.see(CALL.invite(), ALICE, BOB)
    desk.see(CALL.answer(183), BOB, ALICE)
    for number in range(100):
        desk.see(request("SUBSCRIBE", branch=f"s{number}", call_id=f"s{number}"), ALICE, BOB)
    assert desk.book.dialogs.forgotten == 100 - 64
    assert desk.wait(1.0) == []
    assert desk.ask(CALL.inside("UPDATE")) is KNOWN


# --- SUBSCRIBE, REFER, NOTIFY, REGISTER


@pytest.mark.parametrize("method", ["SUBSCRIBE", "REFER"])
def test_a_notify_may_overtake_the_2xx(method: str) -> None:
    """RFC 6665 section 4.4.1; but only from where the SUBSCRIBE went."""
    desk = Desk()
    subscribe = request(method, branch="s")
    notify = CALL.inside("NOTIFY", by_callee=True)
    assert desk.ask(notify, BOB, ALICE) is Standing.UNKNOWN_DIALOG
    assert desk.ask(subscribe) is NEW
    assert desk.why(notify, MALLORY, ALICE) is Reason.FORGED_IN_DIALOG
    assert desk.ask(notify, BOB, ALICE) is KNOWN
    assert desk.ask(response(subscribe, 202, contact=BOB), BOB, ALICE) is KNOWN
    assert desk.ask(CALL.inside("NOTIFY", by_callee=True, cseq=5), BOB, ALICE) is KNOWN
    assert desk.ask(CALL.inside("SUBSCRIBE", cseq=5)) is KNOWN


def test_a_registration_binds_the_name_to_its_host() -> None:
    """Only when the registrar said yes, and not for a query."""
    desk = Desk()
    register = request("REGISTER", branch="r", to="sip:alice@example.com")
    desk.see(register, ALICE, PROXY)
    assert len(desk.book.registrations) == 0
    desk.see(response(register, 401), PROXY, ALICE)
    assert len(desk.book.registrations) == 0
    again = request("REGISTER", branch="r2", to="sip:alice@example.com", cseq=2)
    desk.see(again, ALICE, PROXY)
    desk.see(response(again, 200), PROXY, ALICE)
    aor = b"sip:alice@example.com"
    assert desk.book.registrations.is_foreign(aor, octets(MALLORY), desk.now_s)
    assert not desk.book.registrations.is_foreign(aor, octets(ALICE), desk.now_s)
    query = request("REGISTER", branch="q", to="sip:bob@example.com", contact=None)
    desk.see(query, ALICE, PROXY)
    desk.see(response(query, 200), PROXY, ALICE)
    assert len(desk.book.registrations) == 1


# --- learning


def test_a_learned_dialog_is_one_of_both_ends() -> None:
    """DLG-2: after a restart the first in-dialog request teaches the call; forgers stay out."""
    desk = Desk()
    info = CALL.inside("INFO", cseq=20)
    message, ids = read(info)
    way = packet(info, ALICE, BOB)
    stand = desk.book.learn_dialog(message, ids, way, desk.now)
    desk.book.accept_request(stand, message, ids, way, desk.now)
    assert desk.ask(response(info, 200), BOB, ALICE) is KNOWN
    assert desk.ask(CALL.inside("INFO", by_callee=True), BOB, ALICE) is KNOWN
    assert desk.why(CALL.inside("BYE", cseq=21), MALLORY, BOB) is Reason.FORGED_IN_DIALOG
    assert desk.why(CALL.inside("INFO", cseq=19)) is Reason.OLD_CSEQ
    assert desk.ask(CALL.ack(cseq=3)) is KNOWN, "the INVITE was before our time"
    bye = CALL.inside("BYE", cseq=21)
    assert desk.ask(bye) is KNOWN
    desk.see(response(bye, 200), BOB, ALICE)
    assert ended(desk) == [(b"b", Reason.CALL_ENDED)]


def test_a_repeated_2xx_lets_no_old_request_pass() -> None:
    """DLG-2: the first INVITE's 200 comes again after the re-INVITE; CSeq 2 stays spent."""
    desk = Desk()
    desk.talk()
    assert desk.ask(CALL.inside("INVITE", cseq=2)) is KNOWN
    assert desk.ask(CALL.answer(200), BOB, ALICE) is KNOWN
    assert desk.why(CALL.inside("INFO", cseq=2)) is Reason.OLD_CSEQ


def test_a_transaction_confirms_with_its_ack() -> None:
    """Every leg of the INVITE is done with, not only the last."""
    desk = Desk()
    legs = [CALL.invite(branch="one"), CALL.invite(branch="two")]
    desk.see(legs[0], ALICE, PROXY)
    desk.see(legs[1], PROXY, BOB)
    desk.see(response(legs[1], 200, contact=BOB), BOB, PROXY)
    desk.see(response(legs[0], 200, contact=BOB), PROXY, ALICE)
    desk.see(CALL.ack(), ALICE, PROXY)
    for leg in legs:
        message, ids = read(leg)
        transaction = desk.book.transactions.of_request(ids, message.method)
        assert transaction is not None
        assert transaction.state is TransactionState.CONFIRMED


def test_a_subscription_that_nobody_notifies_ends_no_call() -> None:
    """A SUBSCRIBE with the Call-ID and From tag of somebody's call must not name that call."""
    desk = Desk()
    desk.talk()
    foreign = request("SUBSCRIBE", branch="s", sender=MALLORY, cseq=9)
    assert desk.ask(foreign, MALLORY, BOB) is NEW
    assert desk.wait(INVITE_PENDING_S + 60) == []
    assert desk.ask(CALL.inside("INFO", cseq=30)) is KNOWN
