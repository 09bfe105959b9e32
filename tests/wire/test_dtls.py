"""wire.dtls: records, handshake fragments, and how fragments become a message again."""

import os
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from dtls_ends import piece, record, vector
from hypothesis import given
from hypothesis import strategies as st

from sipguard.edge.capture import read_capture
from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.dtls import (
    CIPHERTEXT_1_3,
    MAX_MESSAGE_OCTETS,
    MAX_PIECES,
    MAX_RECORDS,
    MAX_SPANS,
    Reassembly,
    parse_pieces,
    parse_records,
)
from sipguard.wire.rtp import Kind, kind_of

CORPUS = Path(os.environ.get("SIPGUARD_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))


def refused(payload: bytes, connection_id_octets: int = 0) -> str:
    with pytest.raises(HostileInput) as caught:
        parse_records(payload, connection_id_octets)
    assert caught.value.reason is Reason.BAD_DTLS
    return caught.value.detail


class TestRecords:
    def test_dtl_6_a_datagram_holds_several_records(self) -> None:
        """A flight may fit into one datagram; each record has its own type and epoch."""
        payload = record(22, b"abc", version=0xFEFF) + record(20, b"\1") + record(22, b"", epoch=1)
        found = [(one.content, one.epoch, one.octets) for one in parse_records(payload)]
        assert found == [(22, 0, b"abc"), (20, 0, b"\1"), (22, 1, b"")]

    @pytest.mark.parametrize("content", range(20, 27))
    def test_dtl_6_what_is_cut_off_is_refused_whole(self, content: int) -> None:
        """A receiver would read the records before the cut, and so might we, differently."""
        good = record(22, b"abc")
        whole = good + (record(content, b"defg") if content != 25 else with_id(b"xy", b"defg"))
        assert len(parse_records(whole, 2)) == 2
        for end in range(1, len(whole)):
            if end != len(good):
                refused(whole[:end], 2)

    @pytest.mark.parametrize("content", [27, 31])
    def test_dtl_6_unknown_types_are_refused(self, content: int) -> None:
        """They share the range of first octets with DTLS, and are none."""
        assert kind_of(bytes((content,))) is Kind.DTLS
        assert refused(record(content, b"")) == "no DTLS content type"

    @pytest.mark.parametrize("version", [0xFEFC, 0xFEFE, 0x0303, 0x0100, 0])
    def test_dtl_6_only_versions_1_0_and_1_2_stand_in_records(self, version: int) -> None:
        """1.3 writes 1.2; receivers drop other records in silence."""
        assert refused(record(22, b"", version=version)) == "no DTLS version"

    def test_an_empty_datagram_is_no_dtls(self) -> None:
        """Nothing is no record."""
        refused(b"")

    def test_the_number_of_records_is_bounded(self) -> None:
        """As many as an Ethernet frame holds are read."""
        assert len(parse_records(record(21, b"") * MAX_RECORDS)) == MAX_RECORDS
        refused(record(21, b"") * (MAX_RECORDS + 1))

    def test_a_connection_id_must_have_been_negotiated(self) -> None:
        """RFC 9146: its length stands nowhere, and a guess would hide what follows."""
        payload = with_id(b"12345", b"secret") + record(21, b"")
        first, second = parse_records(payload, 5)
        assert (first.content, first.epoch, first.octets) == (25, 1, b"secret")
        assert second.content == 21
        assert refused(payload) == "a connection id that nobody negotiated"


def with_id(connection_id: bytes, octets: bytes) -> bytes:
    return b"\x19\xfe\xfd\0\1" + bytes(6) + connection_id + vector(octets, 2)


class TestUnified:
    """RFC 9147 section 4: the first three bits are 001, then C, S, L and two bits of epoch."""

    def test_every_first_octet_of_1_3_is_recognized(self) -> None:
        """Whatever its flags say, it is one kind of record, with the epoch's low bits."""
        for first in range(0x20, 0x40):
            header = bytes((2 if first & 8 else 1) + (2 if first & 4 else 0))
            (only,) = parse_records(bytes((first,)) + header)
            assert (only.content, only.epoch) == (CIPHERTEXT_1_3, first & 3)

    def test_a_length_ends_the_record(self) -> None:
        """With L, another one may follow."""
        payload = b"\x2e\0\1\0\3abc" + b"\x26\1\0\2de" + record(21, b"")
        assert [one.octets for one in parse_records(payload)] == [b"abc", b"de", b""]

    def test_without_a_length_it_takes_the_rest(self) -> None:
        """And with a connection id nobody here can tell where the length stands."""
        for first in (b"\x2a\0\1", b"\x22\1", b"\x36", b"\x3e"):
            (only,) = parse_records(first + record(21, b""))
            assert only.octets == record(21, b"")

    @pytest.mark.parametrize("cut", [b"\x2e", b"\x2e\0\1\0", b"\x2e\0\1\0\1", b"\x28\0", b"\x20"])
    def test_what_is_cut_off_is_refused(self, cut: bytes) -> None:
        """Header or content."""
        refused(cut)


class TestPieces:
    def test_dtl_6_several_messages_in_one_record(self) -> None:
        """Each has its own header of 12 octets."""
        found = parse_pieces(piece(14, b"", 3) + piece(11, b"certificates", 2, 5, 9))
        assert [(one.kind, one.length, one.sequence) for one in found] == [(14, 0, 3), (11, 12, 2)]
        assert [(one.offset, one.octets, one.is_whole) for one in found] == [
            (0, b"", True),
            (5, b"fica", False),
        ]

    @pytest.mark.parametrize(
        "octets",
        [
            b"",
            piece(11, b"certificates", 2)[:-1],
            piece(11, b"certificates", 2)[:11],
            b"\x0b\0\0\x05\0\2\0\0\1\0\0\5abcde",
            b"\x0b\0\0\x05\0\2\xff\xff\xff\0\0\1a",
            piece(14, b"", 3) * (MAX_PIECES + 1),
        ],
        ids=["none", "cut", "cut header", "outside", "far outside", "too many"],
    )
    def test_dtl_6_what_cannot_be_is_refused(self, octets: bytes) -> None:
        """Cut off, or beyond the end of its own message."""
        with pytest.raises(HostileInput) as caught:
            parse_pieces(octets)
        assert caught.value.reason is Reason.BAD_DTLS


class TestReassembly:
    def test_fragments_in_any_order_repeated_and_overlapping(self) -> None:
        """RFC 6347 section 4.2.3: senders may cut a retransmission otherwise."""
        made = Reassembly(10)
        for start, end in ((6, 10), (0, 3), (0, 3), (2, 7)):
            assert not made.is_whole
            made.add(start, b"0123456789"[start:end])
        assert made.is_whole
        assert made.message() == b"0123456789"

    def test_an_empty_message_is_whole_at_once(self) -> None:
        """ServerHelloDone has no octets."""
        made = Reassembly(0)
        made.add(0, b"")
        assert made.is_whole
        assert made.message() == b""

    @pytest.mark.parametrize(
        ("start", "octets"), [(3, b"X"), (0, b"012X"), (3, b"X56"), (2, b"2345")]
    )
    def test_dtl_4_fragments_that_disagree_are_refused(self, start: int, octets: bytes) -> None:
        """Which of two the receiver takes nobody can know; the first one stands."""
        made = Reassembly(10)
        made.add(1, b"123")
        made.add(5, b"X")
        with pytest.raises(HostileInput) as caught:
            made.add(start, octets)
        assert caught.value.reason is Reason.BAD_DTLS
        made.add(0, b"01234X6789")
        assert made.message() == b"01234X6789"

    def test_a_fragment_lies_inside_the_message(self) -> None:
        """Neither before it nor behind it."""
        made = Reassembly(10)
        for start, octets in ((9, b"ab"), (-1, b"a"), (11, b"")):
            with pytest.raises(HostileInput):
                made.add(start, octets)

    def test_a_message_has_a_greatest_length(self) -> None:
        """What is announced costs nothing, what comes is bounded."""
        Reassembly(MAX_MESSAGE_OCTETS)
        with pytest.raises(HostileInput):
            Reassembly(MAX_MESSAGE_OCTETS + 1)

    def test_gaps_are_bounded(self) -> None:
        """Every second octet first: each more costs all that follow."""
        made = Reassembly(MAX_MESSAGE_OCTETS)
        for at in range(MAX_SPANS):
            made.add(2 * at, b"a")
        with pytest.raises(HostileInput):
            made.add(2 * MAX_SPANS, b"a")
        made.add(1, b"b")  # closes one
        made.add(2 * MAX_SPANS, b"a")

    @given(st.data())
    def test_any_fragmentation_in_any_order_gives_the_message(self, data: st.DataObject) -> None:
        """Cut anywhere, shuffled, some of it twice with other borders."""
        message = data.draw(st.binary(min_size=1, max_size=200))
        cuts = data.draw(st.sets(st.integers(0, len(message)), max_size=MAX_SPANS - 1))
        borders = [0, *sorted(cuts), len(message)]
        parts = list(pairwise(borders))
        for _ in range(data.draw(st.integers(0, 5))):
            start = data.draw(st.integers(0, len(message)))
            parts.append((start, data.draw(st.integers(start, len(message)))))
        made = Reassembly(len(message))
        for start, end in data.draw(st.permutations(parts)):
            made.add(start, message[start:end])
        assert made.is_whole
        assert made.message() == message

    @given(
        st.integers(0, 60),
        st.lists(st.tuples(st.integers(-2, 70), st.binary(max_size=12)), max_size=30),
    )
    def test_it_is_whole_only_with_every_octet(
        self, length: int, parts: list[tuple[int, bytes]]
    ) -> None:
        """Against a table of octets: what is taken agrees with it, what disagrees is refused."""
        made, table = Reassembly(length), dict[int, int]()
        for start, octets in parts:
            wanted = {start + at: octet for at, octet in enumerate(octets)}
            agrees = all(table.get(at, octet) == octet for at, octet in wanted.items())
            try:
                made.add(start, octets)
            except HostileInput:
                assert not agrees or start < 0 or start + len(octets) > length
            else:
                assert agrees
                table.update(wanted)
            assert made.is_whole is (len(table) == length)
        if made.is_whole:
            assert made.message() == bytes(table[at] for at in range(length))


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.tuples(st.integers(0, 255), st.binary(max_size=20), st.integers(0, 3)).map(
                lambda parts: record(*parts)
            ),
            st.tuples(st.integers(0, 255), st.binary(max_size=9), st.integers(0, 3)).map(
                lambda parts: record(22, piece(*parts))
            ),
            st.binary(max_size=9).map(lambda rest: b"\x2e\0\1" + vector(rest, 2)),
        ),
        max_size=4,
    ).map(b"".join),
    st.integers(0, 8),
)
def test_reading_is_total(payload: bytes, connection_id_octets: int) -> None:
    """No octets raise anything but HostileInput, and nothing is read twice."""
    records = []
    with suppress(HostileInput):
        records = parse_records(payload, connection_id_octets)
        assert records
    assert sum(1 + len(one.octets) for one in records) <= len(payload)
    for one in records:
        with suppress(HostileInput):
            pieces = parse_pieces(one.octets)
            assert sum(12 + len(part.octets) for part in pieces) == len(one.octets)


def test_others_captures_are_read() -> None:
    """Every datagram of every DTLS capture there is: OpenSSL, wolfSSL, GnuTLS, browsers."""
    for path in sorted((CORPUS / "pcap" / "dtls").glob("*.pcap*")):
        if path.suffix == ".out":
            continue
        for captured in read_capture(path):
            payload = captured.packet.payload
            if kind_of(payload) is Kind.DTLS:
                for one in parse_records(payload):
                    if one.content == 22 and not one.epoch:
                        assert parse_pieces(one.octets)
