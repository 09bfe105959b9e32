"""Messages to the kernel's sets, octet by octet, and what is read back."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from sipguard.edge.nft_messages import (
    Change,
    Encoder,
    Operation,
    attribute,
    attributes,
    read_element,
)

KEY = bytes([192, 0, 2, 1, 198, 51, 100, 7]) + (4000).to_bytes(2, "big") + bytes(2)

# Taken apart by hand against nf_tables.h: batch begin; NEWSETELEM with table,
# set and one element of key and timeout 30,000 ms, acknowledged; batch end.
ADD_ONE = bytes.fromhex(
    "14000000 1000 0100 09000000 00000000 0000 000a"
    "4c000000 0c0a 0504 09000000 00000000 01 00 0000"
    "0600 0100 7400 0000"
    "0600 0200 7300 0000"
    "2800 0380 2400 0180 1400 0180 1000 0100 c0000201 c6336407 0fa00000"
    "0c00 0400 0000000000007530".replace(" ", "")
) + bytes.fromhex("14000000 1100 0100 09000000 00000000 0000 000a".replace(" ", ""))


def messages(batch: bytes) -> list[tuple[int, int, int]]:
    """Return type, flags and sequence of each message; their lengths must add up."""
    found = []
    while batch:
        length, kind, flags, sequence = struct.unpack_from("=IHHI", batch)
        found.append((kind, flags, sequence))
        batch = batch[length + 3 & ~3 :]
    return found


def test_a_key_of_three_fields_is_padded_field_by_field() -> None:
    """The kernel compares twelve octets; a port at the wrong place would match nothing."""
    assert bytes.fromhex("c0000201c63364070fa00000") == KEY


def test_one_added_element_is_written_as_the_kernel_reads_it() -> None:
    """Golden octets: an accidental change of layout would only fail as root."""
    change = Change(Operation.ADD, "s", [KEY], 30)
    assert Encoder("t").transaction([change], 9) == ADD_ONE


def test_many_elements_are_many_attributes() -> None:
    """Each key has its own element, with its own timeout."""
    keys = [KEY[:8] + struct.pack("!HH", port, 0) for port in range(5)]
    batch = Encoder("t").transaction([Change(Operation.ADD, "s", keys, 7)], 1)
    body = batch[20 + 20 : -20]
    fields = dict(attributes(body))
    elements = [dict(attributes(element)) for _, element in attributes(fields[3])]
    assert [dict(attributes(element[1]))[1] for element in elements] == keys
    assert {element[4] for element in elements} == {struct.pack("!Q", 7000)}


def test_only_the_last_change_asks_for_the_acknowledgement() -> None:
    """One answer a transaction: more would be left in the socket for the next one."""
    changes = [
        Change(Operation.ADD, "s", [KEY], 1),
        Change(Operation.DELETE, "s", [KEY]),
        Change(Operation.DESTROY, "s", [KEY]),
    ]
    assert messages(Encoder("t").transaction(changes, 5)) == [
        (0x10, 1, 5),
        (0x0A0C, 0x401, 5),
        (0x0A0E, 1, 5),
        (0x0A1E, 5, 5),
        (0x11, 1, 5),
    ]


def test_nothing_to_do_is_no_message() -> None:
    """An empty transaction would wait for an answer that never comes."""
    assert Encoder("t").transaction([], 1) == b""
    assert Encoder("t").transaction([Change(Operation.ADD, "s", [], 1)], 1) == b""


def test_an_element_is_read_with_counter_and_time() -> None:
    """Status and adoption see what the kernel says."""
    counter = attribute(1, (560).to_bytes(8, "big")) + attribute(2, (20).to_bytes(8, "big"))
    octets = (
        attribute(0x8001, attribute(1, KEY))
        + attribute(5, (1500).to_bytes(8, "big"))
        + attribute(0x8007, attribute(1, b"counter\0") + attribute(0x8002, counter))
    )
    assert read_element(octets) == (KEY, 1.5, 20, 560)


@given(st.binary(max_size=200))
def test_reading_attributes_is_total(octets: bytes) -> None:
    """A kernel newer than us may send anything; it must not stop the service."""
    assert len(list(attributes(octets))) <= len(octets) // 4
    read_element(octets)
