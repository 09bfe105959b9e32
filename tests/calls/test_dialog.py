"""Dialogs: the whole state table, who may speak, CSeq per hop, lifetimes (DLG-*)."""

from itertools import product

import pytest

from sipguard.calls.dialog import (
    HOSTS,
    INVITES,
    TRANSITIONS,
    Dialog,
    DialogEvent,
    DialogState,
    place_of,
)
from sipguard.calls.dialogs import Dialogs
from sipguard.calls.ladder import LADDER_STEPS
from sipguard.calls.transaction import INVITE_PENDING_S, LINGER_S

_S, _E = DialogState, DialogEvent
KEY = (b"call-1", b"a", b"b")
A, B, C, P = b"\xc0\x00\x02\x0a", b"\xc6\x33\x64\x14", b"\xc6\x33\x64\x1e", b"\xcb\x00\x71\x05"


def test_every_state_can_still_end() -> None:
    """No reachable state can strand an open pinhole."""
    ends = {_S.ENDED}
    while more := {s for (s, _), after in TRANSITIONS.items() if after in ends} - ends:
        ends |= more
    assert ends == set(_S)


def test_nothing_revives_what_has_ended() -> None:
    """A late 2xx or BYE opens nothing again (DLG-5)."""
    assert not [event for state, event in TRANSITIONS if state is _S.ENDED]


@pytest.mark.parametrize(("state", "event"), list(product(_S, _E)))
def test_the_whole_table(state: DialogState, event: DialogEvent) -> None:
    """A step either follows the table or changes nothing and says so."""
    dialog = Dialog(*KEY, 0.0)
    dialog.state = state
    after = TRANSITIONS.get((state, event))
    assert dialog.step(event) is (after is not None)
    assert dialog.state is (after or state)


def test_a_failure_ends_no_answered_call() -> None:
    """DLG-5: the failure of one fork's INVITE ends early dialogs alone."""
    assert (_S.CONFIRMED, _E.FAILURE) not in TRANSITIONS


def test_only_hosts_seen_on_an_end_may_speak_for_it() -> None:
    """DLG-6: neither a stranger nor the other end."""
    dialog = Dialog(*KEY, 0.0)
    dialog.saw_hosts(True, (A, P))
    dialog.saw_host(False, B)
    assert dialog.may_speak(True, A)
    assert dialog.may_speak(True, P)
    assert not dialog.may_speak(True, B)
    assert dialog.may_speak(False, B)
    assert not dialog.may_speak(False, C)


def test_hosts_are_few_and_the_first_ones_stay() -> None:
    """Contacts without end cannot grow the list, nor push the real phone out."""
    dialog = Dialog(*KEY, 0.0)
    for number in range(50):
        dialog.saw_host(True, bytes([10, 0, 0, number]))
    assert len(dialog.caller_hosts) == HOSTS
    assert dialog.may_speak(True, bytes([10, 0, 0, 0]))


def test_cseq_counts_for_each_end_and_each_hop() -> None:
    """DLG-2: a proxy makes one request cross twice; each end counts for itself."""
    dialog = Dialog(*KEY, 0.0)
    dialog.saw_cseq(True, A, P, 2)
    assert not dialog.is_new_cseq(True, A, P, 2)
    assert not dialog.is_new_cseq(True, A, P, 1)
    assert dialog.is_new_cseq(True, A, P, 3)
    assert dialog.is_new_cseq(True, A, P, 300), "gaps are legal"
    assert dialog.is_new_cseq(True, P, B, 2)
    assert dialog.is_new_cseq(False, P, A, 1)


def test_a_late_answer_lowers_no_cseq() -> None:
    """DLG-2: a first INVITE's 2xx, repeated after a re-INVITE, lets no old request pass again."""
    dialog = Dialog(*KEY, 0.0)
    for hop in ((A, P), (P, B)):
        dialog.saw_cseq(True, *hop, 1)
        dialog.saw_cseq(True, *hop, 5)
        dialog.saw_cseq(True, *hop, 1)
        assert not dialog.is_new_cseq(True, *hop, 5)
        assert dialog.is_new_cseq(True, *hop, 6)
    assert len(dialog.highest_cseqs) == 2


def test_two_calls_in_one_place_are_never_mixed() -> None:
    """DLG-1: a place is a hash, and whoever knows its seed can aim for another call's."""
    dialogs = Dialogs(100, 3600.0)
    stranger, _ = dialogs.open(b"call-2", b"x", b"y", 0.0)
    stranger.place = place_of(*KEY)
    for table in dialogs._tables:
        table.put(stranger.place, stranger, 0.0)
        assert dialogs.find(*KEY) is None
        assert dialogs.find(KEY[0], KEY[2], KEY[1]) is None
        assert table.remove(stranger.place) is stranger
    dialogs._confirmed.put(stranger.place, stranger, 0.0)
    mine, gone = dialogs.open(*KEY, 0.0)
    assert gone is None
    mine.saw_invite(True, 1)
    assert dialogs.find(*KEY) is mine
    assert dialogs.find(KEY[0], KEY[2], KEY[1]) is mine
    assert dialogs.confirm(mine, 0.0) is stranger, "its pinholes must close"
    assert dialogs.find(*KEY) is mine


def test_a_call_that_loses_its_place_is_told() -> None:
    """Whoever is put out of a place is given back, so that its media ends with it."""
    dialogs = Dialogs(100, 3600.0)
    stranger = Dialog(b"call-2", b"x", b"y", 0.0)
    stranger.place = place_of(*KEY)
    dialogs._early.put(stranger.place, stranger, 0.0)
    mine, gone = dialogs.open(*KEY, 0.0)
    assert gone is stranger
    again, gone = dialogs.open(*KEY, 0.0)
    assert gone is None
    assert dialogs.confirm(mine, 0.0) is None, "it stands there no longer"
    assert dialogs.find(*KEY) is again


def test_cseq_zero_is_a_number() -> None:
    """RFC 3261 section 8.1.1.5 allows it; the first request is never old."""
    assert Dialog(*KEY, 0.0).is_new_cseq(True, A, B, 0)


def test_lists_inside_a_dialog_are_bounded() -> None:
    """A call of a million re-INVITEs costs what a call costs."""
    dialog = Dialog(*KEY, 0.0)
    for number in range(100):
        dialog.saw_invite(True, number)
        dialog.saw_reliable(number, 1)
        dialog.note(0.0, b"INVITE", True)
        dialog.saw_cseq(True, A, bytes([10, 0, 0, number]), 1)
    assert len(dialog.invites) == INVITES
    assert (True, 99) in dialog.invites
    assert len(dialog.reliable) == 8
    assert len(dialog.ladder) == LADDER_STEPS
    assert len(dialog.highest_cseqs) == 2 * HOSTS


# --- the table of dialogs


def test_both_directions_find_the_same_dialog() -> None:
    """DLG-1: local and remote tag change places with the direction."""
    dialogs = Dialogs(10, 1000.0)
    dialog, _ = dialogs.open(*KEY, 0.0)
    assert dialogs.find(b"call-1", b"a", b"b") is dialog
    assert dialogs.find(b"call-1", b"b", b"a") is dialog
    dialogs.confirm(dialog, 0.0)
    assert dialogs.find(b"call-1", b"b", b"a") is dialog
    assert dialogs.find(b"call-1", b"a", b"c") is None
    assert dialogs.find(b"call-2", b"a", b"b") is None
    assert len(dialogs) == 1


def test_early_dialogs_go_first_and_calls_survive() -> None:
    """Nobody ends a conversation by ringing a thousand phones."""
    dialogs = Dialogs(80, 1000.0)
    talking = [dialogs.open(b"t%d" % n, b"a", b"b", 0.0)[0] for n in range(10)]
    for dialog in talking:
        assert dialogs.confirm(dialog, 0.0) is None
    evicted = [dialogs.open(b"e%d" % n, b"a", b"b", 0.0)[1] for n in range(500)]
    assert sum(dialog is not None for dialog in evicted) == 500 - 64
    assert dialogs.forgotten == 500 - 64
    assert all(dialogs.find(b"t%d" % n, b"a", b"b") for n in range(10))


def test_confirmed_calls_are_bounded_too() -> None:
    """The oldest call goes, and whoever confirms the new one is told which."""
    dialogs = Dialogs(3, 1000.0)
    gone = []
    for number in range(5):
        dialog, _ = dialogs.open(b"c%d" % number, b"a", b"b", 0.0)
        gone.append(dialogs.confirm(dialog, 0.0))
    assert [dialog.key[0] for dialog in gone if dialog is not None] == [b"c0", b"c1"]


def test_an_early_dialog_ends_with_timer_c() -> None:
    """An INVITE nobody answers does not keep its dialog."""
    dialogs = Dialogs(10, 100_000.0)
    dialog, _ = dialogs.open(*KEY, 0.0)
    assert list(dialogs.expire(INVITE_PENDING_S - 1)) == []
    assert list(dialogs.expire(INVITE_PENDING_S + 1)) == [dialog]


def test_the_session_timer_and_its_limit() -> None:
    """RFC 4028: a call without refresh ends; no refresh reaches past the session limit."""
    dialogs = Dialogs(10, 1000.0)
    dialog, _ = dialogs.open(*KEY, 0.0)
    dialogs.confirm(dialog, 0.0)
    assert dialog.expires_at_s == 1000.0
    dialog.session_expires_s = 90
    dialogs.refresh(dialog, 10.0)
    assert dialog.expires_at_s == 100.0
    dialogs.refresh(dialog, 990.0)
    assert dialog.expires_at_s == 1000.0


def test_an_ending_dialog_lingers_and_no_longer() -> None:
    """64*T1 for retransmissions, from the confirmed table and from the early one."""
    for answered in (True, False):
        dialogs = Dialogs(10, 100_000.0)
        dialog, _ = dialogs.open(*KEY, 0.0)
        if answered:
            dialogs.confirm(dialog, 0.0)
        dialogs.linger(dialog, 5.0)
        assert list(dialogs.expire(5.0 + LINGER_S - 1)) == []
        assert list(dialogs.expire(5.0 + LINGER_S + 2)) == [dialog]
