"""Records and handshake fragments of DTLS, as a bystander sees them (RFC 6347, 9147; DTL-6).

Nothing is decrypted. Up to DTLS 1.2 the handshake is in clear until ChangeCipherSpec, the
certificates of both sides included; DTLS 1.3 encrypts everything behind ServerHello, which
shows by the first three bits of its records.

A datagram is read whole or not at all: receivers skip a record that they do not like and
go on with the next, so what we misread they could read.
"""

from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.native import mypyc_attr
from sipguard.reason import Reason

CHANGE_CIPHER_SPEC: Final = 20
ALERT: Final = 21
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23
HEARTBEAT: Final = 24  # RFC 6520
WITH_CONNECTION_ID: Final = 25  # RFC 9146
ACK: Final = 26  # RFC 9147 section 7
CIPHERTEXT_1_3: Final = 32  # whichever of the 32 first octets it was

RECORD_HEADER_OCTETS: Final = 13
PIECE_HEADER_OCTETS: Final = 12
MAX_RECORDS: Final = 128  # of one datagram; an MTU holds 115 empty ones
MAX_PIECES: Final = 128  # of one record
MAX_MESSAGE_OCTETS: Final = 16_384  # of a message that is put together; certificates have 1000
MAX_SPANS: Final = 64  # stretches of one message with gaps between them

_VERSIONS: Final = (0xFEFF, 0xFEFD)  # 1.0 and 1.2; 1.3 writes the latter
_UNIFIED_CONNECTION_ID: Final = 0x10
_UNIFIED_LONG_SEQUENCE: Final = 0x08
_UNIFIED_LENGTH: Final = 0x04
_UNIFIED_EPOCH: Final = 0x03
_WHY: Final = Reason.BAD_DTLS


@final
@mypyc_attr(acyclic=True)
class Record:
    """One record: content type, epoch (of DTLS 1.3 its two low bits), and what it carries.

    From epoch 1 on the content is encrypted; that of ``CIPHERTEXT_1_3`` always is.
    """

    __slots__ = ("content", "epoch", "octets")

    def __init__(self, content: int, epoch: int, octets: bytes) -> None:
        """Keep what the record says."""
        self.content: Final = content
        self.epoch: Final = epoch
        self.octets: Final = octets


def parse_records(payload: bytes, connection_id_octets: int = 0) -> list[Record]:
    """Cut a datagram into its records.

    Args:
        payload: The whole datagram.
        connection_id_octets: How long the connection id is that the receiver asked for;
            records with one do not say.

    Raises:
        HostileInput: ``BAD_DTLS`` for an unknown type or version, a record that is cut
            off, a connection id that nobody negotiated.
    """
    records: list[Record] = []
    at, size = 0, len(payload)
    while at < size:
        if len(records) == MAX_RECORDS:
            raise HostileInput(_WHY, "more records in a datagram than sipguard reads")
        first = payload[at]
        if first & 0xE0 == CIPHERTEXT_1_3:
            record, at = _read_unified(payload, at)
        else:
            record, at = _read_record(payload, at, connection_id_octets)
        records.append(record)
    if not records:
        raise HostileInput(_WHY, "an empty datagram")
    return records


def _read_record(payload: bytes, at: int, connection_id_octets: int) -> tuple[Record, int]:
    content = payload[at]
    if not CHANGE_CIPHER_SPEC <= content <= ACK:
        raise HostileInput(_WHY, "no DTLS content type")
    body_at = at + RECORD_HEADER_OCTETS
    if content == WITH_CONNECTION_ID:
        if not connection_id_octets:
            raise HostileInput(_WHY, "a connection id that nobody negotiated")
        body_at += connection_id_octets
    if body_at > len(payload):
        raise HostileInput(_WHY, "the record header is cut off")
    if int.from_bytes(payload[at + 1 : at + 3], "big") not in _VERSIONS:
        raise HostileInput(_WHY, "no DTLS version")
    end = body_at + int.from_bytes(payload[body_at - 2 : body_at], "big")
    if end > len(payload):
        raise HostileInput(_WHY, "the record is longer than its datagram")
    epoch = int.from_bytes(payload[at + 3 : at + 5], "big")
    return Record(content, epoch, payload[body_at:end]), end


def _read_unified(payload: bytes, at: int) -> tuple[Record, int]:
    """Read a record of DTLS 1.3 (RFC 9147 section 4).

    With a connection id nobody but its ends knows where the rest begins, so the record
    takes the datagram's rest, as one without a length does.
    """
    first = payload[at]
    body_at, end = at + 1, len(payload)
    if not first & _UNIFIED_CONNECTION_ID:
        body_at += 2 if first & _UNIFIED_LONG_SEQUENCE else 1
        if first & _UNIFIED_LENGTH:
            body_at += 2
            if body_at > end:
                raise HostileInput(_WHY, "the record header is cut off")
            end = body_at + int.from_bytes(payload[body_at - 2 : body_at], "big")
    if max(body_at, end) > len(payload):
        raise HostileInput(_WHY, "the record is longer than its datagram")
    return Record(CIPHERTEXT_1_3, first & _UNIFIED_EPOCH, payload[body_at:end]), end


@final
@mypyc_attr(acyclic=True)
class Piece:
    """A handshake message or a fragment of one: type and length are the whole message's."""

    __slots__ = ("kind", "length", "octets", "offset", "sequence")

    def __init__(self, kind: int, length: int, sequence: int, offset: int, octets: bytes) -> None:
        """Keep what the fragment says; *sequence* numbers the sender's messages."""
        self.kind: Final = kind
        self.length: Final = length
        self.sequence: Final = sequence
        self.offset: Final = offset
        self.octets: Final = octets

    @property
    def is_whole(self) -> bool:
        """Whether the message is not fragmented."""
        return len(self.octets) == self.length


def parse_pieces(octets: bytes) -> list[Piece]:
    """Cut the content of a handshake record in clear (RFC 6347 section 4.2.2).

    Raises:
        HostileInput: ``BAD_DTLS`` for a fragment that is cut off or lies outside its message.
    """
    pieces: list[Piece] = []
    at, size = 0, len(octets)
    while at < size:
        start = at + PIECE_HEADER_OCTETS
        if start > size:
            raise HostileInput(_WHY, "a handshake header is cut off")
        if len(pieces) == MAX_PIECES:
            raise HostileInput(_WHY, "more handshake messages in a record than sipguard reads")
        length = int.from_bytes(octets[at + 1 : at + 4], "big")
        sequence = int.from_bytes(octets[at + 4 : at + 6], "big")
        offset = int.from_bytes(octets[at + 6 : at + 9], "big")
        end = start + int.from_bytes(octets[at + 9 : at + 12], "big")
        if end > size:
            raise HostileInput(_WHY, "a handshake fragment is longer than its record")
        if offset + end - start > length:
            raise HostileInput(_WHY, "a handshake fragment lies outside its message")
        pieces.append(Piece(octets[at], length, sequence, offset, octets[start:end]))
        at = end
    if not pieces:
        raise HostileInput(_WHY, "a handshake record without a message")
    return pieces


@final
@mypyc_attr(acyclic=True)
class Reassembly:
    """One handshake message, out of fragments in any order, repeated or overlapping.

    Where two fragments overlap they must agree: of two that differ, which one counts the
    receiver alone knows, and a bystander would read another message than he (RFC 6347
    section 4.2.3 only says that ranges may overlap).
    """

    __slots__ = ("_octets", "_spans", "length")

    def __init__(self, length: int) -> None:
        """Wait for a message of *length* octets.

        Raises:
            HostileInput: ``BAD_DTLS`` where it is longer than ``MAX_MESSAGE_OCTETS``.
        """
        if length > MAX_MESSAGE_OCTETS:
            raise HostileInput(_WHY, "a handshake message longer than 16 KiB")
        self.length: Final = length
        self._octets = bytearray()  # grows with what comes, not with what is announced
        self._spans: list[tuple[int, int]] = []  # with gaps between them

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return not self.length or self._spans == [(0, self.length)]

    def message(self) -> bytes:
        """Return the message; what is missing at its end is left out."""
        return bytes(self._octets)

    def add(self, offset: int, octets: bytes) -> None:
        """Put a fragment in its place.

        Raises:
            HostileInput: ``BAD_DTLS`` where it lies outside, disagrees with another, or
                would leave more gaps than honest loss does. Nothing is changed then.
        """
        end = offset + len(octets)
        if offset < 0 or end > self.length:
            raise HostileInput(_WHY, "a handshake fragment lies outside its message")
        if not octets:
            return
        low, high = offset, end
        spans: list[tuple[int, int]] = []
        for span in self._spans:
            if span[1] < offset or end < span[0]:
                spans.append(span)
                continue
            self._compare(max(span[0], offset), min(span[1], end), offset, octets)
            low, high = min(low, span[0]), max(high, span[1])
        spans.append((low, high))
        if len(spans) > MAX_SPANS:
            raise HostileInput(_WHY, "a handshake message in too many pieces")
        self._spans = spans
        if len(self._octets) < end:
            self._octets.extend(bytes(end - len(self._octets)))
        self._octets[offset:end] = octets

    def _compare(self, start: int, end: int, offset: int, octets: bytes) -> None:
        if self._octets[start:end] != octets[start - offset : end - offset]:
            raise HostileInput(_WHY, "two fragments of a handshake message differ")
