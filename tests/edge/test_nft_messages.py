"""Messages to the kernel's sets, octet by octet, and what is read back."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from sipguard.edge.nft_messages import (
    Change,
    Encoder,
    Gone,
    Operation,
    attribute,
    attributes,
    read_element,
    read_elements,
    read_gone,
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
    list(read_elements(octets))


def test_only_what_is_to_be_told_asks_for_an_echo() -> None:
    """Each echo costs the kernel a message; of a new element there is nothing to count."""
    changes = [
        Change(Operation.ADD, "s", [KEY], 1, told=True),
        Change(Operation.DESTROY, "s", [KEY], told=True),
        Change(Operation.DELETE, "s", [KEY], told=True),
        Change(Operation.DESTROY, "s", [KEY]),
    ]
    found = messages(Encoder("t").transaction(changes, 5))
    assert [flags for _, flags, _ in found[1:-1]] == [0x401, 0x009, 0x009, 0x005]
    (part,) = [change.part(0, 1) for change in changes[1:2]]
    assert (part.told, part.keys, part.operation) == (True, [KEY], Operation.DESTROY)


# What Linux 6.18 says of a closed pinhole, from the message's own header on: generation, table,
# set, and one element with key, counter, timeout and expiration.
ECHO = bytes.fromhex(
    "0100 2732 0d000100 7369706775617264 00000000 0e000200 70696e686f6c65733400 0000"
    "6000 0380 5c00 0180 1400 0180 1000 0100 c0000201 c6336407 0fa00000"
    "2c00 0780 0c00 0100 636f756e74657200 1c00 0280 0c00 0100 0000000000000230"
    "0c00 0200 0000000000000014 0c00 0400 00000000000f4240 0c00 0500 00000000000f4240".replace(
        " ", ""
    )
)


def told(octets: bytes) -> list[tuple[bytes, int, int]]:
    gone: list[Gone] = []
    read_gone(octets, 0, len(octets), gone)
    return [(element.key, element.packets, element.octets) for element in gone]


def test_what_went_is_told_with_its_counter() -> None:
    """A stream's packets and octets when its pinhole was closed."""
    assert told(ECHO) == [(KEY, 20, 560)]


def test_an_unusual_element_is_read_all_the_same() -> None:
    """Attributes in another order, or without a counter: a kernel other than ours."""
    head = ECHO[: ECHO.index(KEY) - 16]
    counter = attribute(1, (560).to_bytes(8, "big")) + attribute(2, (20).to_bytes(8, "big"))
    expression = attribute(0x8007, attribute(0x8002, counter) + attribute(1, b"counter\0"))
    key = attribute(0x8001, attribute(1, KEY))
    for content, expected in ((expression + key, (KEY, 20, 560)), (key, (KEY, 0, 0))):
        element = attribute(0x8001, content)
        assert told(head + attribute(0x8003, element + element)) == [expected] * 2


@given(st.binary(max_size=200), st.integers(0, len(ECHO)))
def test_reading_what_went_is_total(noise: bytes, cut: int) -> None:
    """No length leads beyond the message."""
    for octets in (noise, ECHO[:cut], ECHO[:cut] + noise):
        told(octets)
