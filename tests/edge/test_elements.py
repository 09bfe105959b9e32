"""From effects to changes of the kernel's sets, and from its answers to what passed."""

import pytest

from sipguard.edge.elements import Sets, Tally, Wanted, key_of, settle
from sipguard.edge.nft_messages import Change, Gone, Operation
from sipguard.edge.proofs import MAX_SOURCES, Proofs, proof_key
from sipguard.reason import Reason
from sipguard.verdict import (
    ClosePinhole,
    DoubtPinhole,
    Effect,
    Endpoint,
    Hole,
    OpenPinhole,
    ProvePinhole,
    Reply,
)

A, B = bytes([10, 9, 1, 2]), bytes([10, 9, 2, 2])
A6, B6 = bytes(15) + b"\1", bytes(15) + b"\2"
HOLE = Hole(A, B, 4000)
KEY = key_of(HOLE)
SSRC = 0xCAFE_BABE
OPEN = OpenPinhole(HOLE, "sdes", 60, b"call")
CLOSE = ClosePinhole(HOLE, "sdes", Reason.CALL_ENDED, b"call")


def prove(port: int, hole: Hole = HOLE, ssrc: int = SSRC) -> ProvePinhole:
    return ProvePinhole(hole, port, ssrc, b"call")


def doubt(port: int, hole: Hole = HOLE) -> DoubtPinhole:
    return DoubtPinhole(hole, port, Reason.UNPROVEN, b"call")


def source(port: int, hole: Hole = HOLE, ssrc: int = SSRC) -> bytes:
    return proof_key(key_of(hole), port, ssrc)


class Desk:
    """Effects in, changes out, and what the kernel told written down."""

    def __init__(self, destroys: bool = True, max_holes: int = 9) -> None:
        self.known = Proofs(max_holes)
        self.sets = Sets((("", 60),), destroys, True, self.known)

    def changes(self, *effects: Effect) -> list[tuple[str, str, list[bytes], bool]]:
        wanted = Wanted(effects)
        return [row(change) for change in self.sets.changes(wanted)]

    def carry_out(self, *effects: Effect, gone: list[Gone] | None = None) -> list[Tally]:
        wanted = Wanted(effects)
        return settle(wanted, gone or [], self.known)


def row(change: Change) -> tuple[str, str, list[bytes], bool]:
    return change.operation.value, change.set_name, list(change.keys), change.told


def counted(key: bytes, packets: int, octets: int) -> Gone:
    return Gone(key, packets, octets)


def test_a_source_is_its_pinhole_a_port_and_an_ssrc() -> None:
    """As the kernel compares it: addresses, both ports as in the UDP header, and SSRC."""
    assert source(5004).hex() == "0a0901020a090202138c0fa0cafebabe"


def test_the_last_word_on_a_source_counts() -> None:
    """Proven and doubted in one turn is doubted."""
    assert Wanted([prove(1), doubt(1), prove(2)]).effects() == [doubt(1), prove(2)]
    assert Wanted([doubt(1), prove(1)]).effects() == [doubt(1), prove(1)]


def test_a_doubt_is_about_all_ssrcs_of_a_port() -> None:
    """Whoever sends from it is judged packet by packet again."""
    desk = Desk()
    desk.carry_out(OPEN, prove(1), prove(1, ssrc=7), prove(2))
    gone = [source(1), source(1, ssrc=7)]
    assert desk.changes(doubt(1)) == [("destroy", "proven4", gone, True)]
    desk.carry_out(doubt(1))
    assert desk.known.of(KEY) == [source(2)]
    assert desk.changes(doubt(1)) == []


def test_no_proof_outlives_the_end_of_its_pinhole() -> None:
    """Whichever comes first; other pinholes' proofs stand."""
    other = Hole(A, B, 4002)
    wanted = Wanted([prove(1), prove(1, other), CLOSE, doubt(1)])
    assert list(wanted.proofs.values()) == [prove(1, other)]
    late = Wanted([CLOSE, prove(1), doubt(2)])
    assert (list(late.proofs), late.impossible) == ([], [prove(1)])
    assert list(Wanted([CLOSE, OPEN, prove(1)]).proofs.values()) == [prove(1)]


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_an_impossible_port_is_refused(port: int) -> None:
    """A bug of ours must not shift a key's octets."""
    assert Wanted([prove(port)]).impossible == [prove(port)]
    assert Wanted([prove(1, Hole(A, B6, 4000))]).impossible == [prove(1, Hole(A, B6, 4000))]


def test_replies_are_none_of_the_kernels() -> None:
    """They stand among the effects of one decision."""
    end = Endpoint(A, 5060)
    wanted = Wanted([Reply(b"", end, end)])
    assert (wanted.effects(), wanted.impossible) == ([], [])


def test_what_closes_takes_its_sources_along_and_proof_goes_first() -> None:
    """Proven packets do not ask for the pinhole: where a set is split, they must end first."""
    desk = Desk()
    desk.carry_out(OPEN, prove(1), prove(2))
    assert desk.changes(CLOSE) == [
        ("destroy", "proven4", [source(1), source(2)], True),
        ("destroy", "pinholes4", [KEY], True),
        ("destroy", "alive4", [KEY], False),
    ]
    six = Hole(A6, B6, 4000)
    assert desk.changes(prove(1, six), doubt(2)) == [
        ("destroy", "proven4", [source(2)], True),
        ("add", "proven6", [source(1, six)], False),
    ]


def test_before_linux_6_3_what_goes_is_added_first() -> None:
    """A plain delete of what has expired meanwhile would undo everything."""
    desk = Desk(destroys=False)
    desk.carry_out(prove(2))
    assert desk.changes(doubt(2)) == [
        ("add", "proven4", [source(2)], False),
        ("delete", "proven4", [source(2)], True),
    ]


def test_a_pinhole_opened_for_a_call_of_ours_is_asked_anew() -> None:
    """What an earlier process proved is no proof of this call; what we proved stays so."""
    desk = Desk()
    desk.known.adopt(source(1))
    desk.known.add(source(2))
    assert desk.changes(OPEN)[0] == ("destroy", "proven4", [source(1)], True)
    desk.carry_out(OPEN)
    assert desk.known.of(KEY) == [source(2)]
    assert all("proven" not in name for _, name, _, _ in desk.changes(OPEN))
    desk.known.adopt(source(1))
    assert desk.changes(OPEN, doubt(1), doubt(1))[0][2] == [source(1)]


def test_a_tally_is_the_sum_of_all_ways() -> None:
    """Asked, proven, doubted before: one stream."""
    desk = Desk()
    desk.carry_out(OPEN, prove(1))
    assert desk.carry_out(doubt(1), gone=[counted(source(1), 10, 1000)]) == []
    gone = [counted(source(2), 5, 500), counted(KEY, 2, 200)]
    assert desk.carry_out(CLOSE, gone=gone) == [Tally(HOLE, 17, 1700)]
    assert desk.carry_out(CLOSE, gone=[]) == []
    assert desk.carry_out(CLOSE, gone=[counted(KEY, 0, 0)]) == [Tally(HOLE, 0, 0)]


def test_without_room_there_is_no_proof() -> None:
    """What could not be taken back must not be given; without a gate there is none to give."""
    known = Proofs(1)
    wanted = Wanted([prove(port) for port in range(1, MAX_SOURCES + 1)])
    wanted.refuse_proofs(known, True)
    assert wanted.impossible == []
    settle(wanted, [], known)
    more = Wanted([prove(99), prove(1), doubt(98), prove(1, Hole(B, A, 1))])
    more.refuse_proofs(known, True)
    assert more.impossible == [prove(99), prove(1, Hole(B, A, 1))]
    gateless = Wanted([prove(1), doubt(1, Hole(B, A, 1))])
    gateless.refuse_proofs(known, False)
    assert (gateless.impossible, gateless.effects()) == ([prove(1)], [])


def test_operations_are_what_the_kernel_knows() -> None:
    """The names used above."""
    assert {operation.value for operation in Operation} == {"add", "delete", "destroy"}
