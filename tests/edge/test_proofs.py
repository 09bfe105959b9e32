"""The memory of proven sources against a plain model of it."""

from hypothesis import given
from hypothesis import strategies as st

from sipguard.edge.proofs import MAX_SOURCES, Proofs, hole_key_of, is_proof, port_key, proof_key

HOLES = [bytes(8) + bytes([0, hole, 0, 0]) for hole in (1, 2, 3)] + [bytes(36)]
keys = st.builds(proof_key, st.sampled_from(HOLES), st.integers(1, 3), st.integers(1, 2))
steps = st.lists(st.tuples(st.sampled_from(["add", "adopt", "remove", "close", "disown"]), keys))


def test_keys_tell_what_they_are() -> None:
    """Of either family."""
    assert [is_proof(key) for key in (bytes(12), bytes(16), bytes(36), bytes(40))] == [
        False,
        True,
        False,
        True,
    ]


def test_a_source_is_kept_as_the_kernel_sees_it() -> None:
    """Addresses, then both ports as they stand in the UDP header, then the SSRC."""
    hole = bytes(range(8)) + b"\x0f\xa0\0\0"
    key = proof_key(hole, 0x1234, 0xAABBCCDD)
    assert key == bytes(range(8)) + b"\x12\x34\x0f\xa0" + b"\xaa\xbb\xcc\xdd"
    assert hole_key_of(key) == hole


@given(steps)
def test_it_knows_what_was_proven_and_not_taken_back(steps: list[tuple[str, bytes]]) -> None:
    """Whatever the order; nothing of one pinhole touches another."""
    known, own, adopted = Proofs(9), set[bytes](), set[bytes]()
    for step, key in steps:
        hole = hole_key_of(key)
        if step == "add":
            known.add(key)
            own.add(key)
            adopted.discard(key)
        elif step == "adopt":
            known.adopt(key)
            adopted |= {key} - own
        elif step == "remove":
            known.remove(key)
            own.discard(key)
            adopted.discard(key)
        elif step == "close":
            known.close(hole)
            own = {other for other in own if hole_key_of(other) != hole}
            adopted = {other for other in adopted if hole_key_of(other) != hole}
        else:
            known.disown(hole)
            adopted = {other for other in adopted if hole_key_of(other) != hole}
    for hole in HOLES:
        listed = known.of(hole)
        assert len(listed) == len(set(listed))
        assert set(listed) == {key for key in own | adopted if hole_key_of(key) == hole}
        assert set(known.adopted(hole)) == {key for key in adopted if hole_key_of(key) == hole}
        for port in (1, 2, 3):
            begins = port_key(hole, port)
            assert set(known.of_port(begins)) == {key for key in listed if key.startswith(begins)}
    both = {hole_key_of(key) for key in own}, {hole_key_of(key) for key in adopted}
    assert len(known) == len(both[0]) + len(both[1])


def test_it_is_bounded_in_pinholes_and_ports() -> None:
    """An attacker with a key cannot make it grow."""
    known = Proofs(2)
    for port in range(1, MAX_SOURCES + 1):
        assert known.has_room(proof_key(HOLES[0], port, 9))
        known.add(proof_key(HOLES[0], port, 9))
    assert not known.has_room(proof_key(HOLES[0], 99, 9))
    assert known.has_room(proof_key(HOLES[0], 1, 9)), "it is known already"
    known.add(proof_key(HOLES[1], 1, 9))
    assert not known.has_room(proof_key(HOLES[2], 1, 9))
    known.close(HOLES[1])
    assert known.has_room(proof_key(HOLES[2], 1, 9))


def test_what_a_source_sends_is_found_by_its_address() -> None:
    """Of its family alone: zeros begin addresses of both."""
    known = Proofs(9)
    of_source = proof_key(bytes([1, 2, 3, 4]) + bytes(8), 7, 9)
    for key in (of_source, proof_key(bytes([1, 2, 3, 5]) + bytes(8), 7, 9)):
        known.add(key)
    known.adopt(proof_key(bytes(36), 7, 9))
    assert known.sent_by(bytes([1, 2, 3, 4])) == [of_source]
    assert known.sent_by(bytes(4)) == []
    assert known.sent_by(bytes(16)) == [proof_key(bytes(36), 7, 9)]


def test_forgetting_forgets_the_counts_too() -> None:
    """The kernel's sets are new then."""
    known = Proofs(9)
    known.count(HOLES[0], 3, 300)
    known.count(HOLES[0], 1, 100)
    assert known.close(HOLES[0]) == (4, 400)
    assert known.close(HOLES[0]) == (0, 0)
    known.count(HOLES[0], 3, 300)
    known.add(proof_key(HOLES[0], 1, 9))
    known.clear()
    assert (len(known), known.close(HOLES[0])) == (0, (0, 0))
