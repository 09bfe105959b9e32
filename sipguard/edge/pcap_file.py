"""Capture files as octets: pcap and pcapng, either byte order, plain or gzip, read and written.

Formats as in draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. Files are
read in big pieces and frames are cut out of them, in constant memory.
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from sipguard.errors import EdgeError

LINKTYPE_RAW: Final = 101
MAX_FRAME_OCTETS: Final = 262_144  # libpcap's own MAXIMUM_SNAPLEN
MAX_BLOCK_OCTETS: Final = 1_048_576  # a frame with generous options
MAX_INTERFACES: Final = 4096  # of one pcapng section
READ_OCTETS: Final = 1_048_576

_PCAP_MAGICS: Final = {  # byte order, and fractions of a second
    b"\xd4\xc3\xb2\xa1": ("<", 1e6),
    b"\xa1\xb2\xc3\xd4": (">", 1e6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e9),
    b"\xa1\xb2\x3c\x4d": (">", 1e9),
}
_SECTION: Final = 0x0A0D0D0A  # reads the same in both byte orders
_SECTION_OCTETS: Final = b"\x0a\x0d\x0d\x0a"
_INTERFACE: Final = 1
_OLD_PACKET: Final = 2
_SIMPLE_PACKET: Final = 3
_ENHANCED_PACKET: Final = 6
_TIME_RESOLUTION: Final = 9  # if_tsresol
_TIME_OFFSET: Final = 14  # if_tsoffset

Progress = Callable[[int, int], None]
Warn = Callable[[str], None]


class Frame(NamedTuple):
    """One captured frame: capture time (POSIX seconds), link type, octets as stored."""

    time_s: float
    linktype: int
    octets: bytes


class _Interface(NamedTuple):
    linktype: int
    snaplen: int
    ticks: int  # per second
    offset_s: int


class Source:
    """The octets of a file, unpacked if it is gzip, with progress told piece by piece."""

    def __init__(self, path: str | os.PathLike[str], progress: Progress | None) -> None:
        self.name = str(path)
        self.cut_off = False  # a gzip stream ended early
        self._progress = progress
        self._done = 0
        try:
            self._file: BinaryIO = Path(path).open("rb")  # noqa: SIM115 - closed by close()
            self._total = os.fstat(self._file.fileno()).st_size
            self._packed = self._read_file(READ_OCTETS)
        except OSError as wrong:
            raise EdgeError(f"cannot read {self.name}: {wrong.strerror or wrong}") from wrong
        self._unzip = zlib.decompressobj(31) if self._packed.startswith(b"\x1f\x8b") else None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def more(self, buffer: bytes, at: int, needed: int) -> bytes:
        """Return ``buffer[at:]`` with more behind it: *needed* octets or, at the end, fewer."""
        pieces = [buffer[at:]]
        size = len(pieces[0])
        while size < needed and (piece := self._read()):
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)

    def _read(self) -> bytes:
        try:
            piece = self._read_plain() if self._unzip is None else self._read_unzipped()
        except OSError as wrong:
            raise EdgeError(f"cannot read {self.name}: {wrong.strerror or wrong}") from wrong
        except zlib.error as wrong:
            raise EdgeError(f"{self.name}: the gzip data is damaged") from wrong
        if self._progress is not None:
            self._progress(self._done, max(self._total, self._done))
        return piece

    def _read_plain(self) -> bytes:
        first, self._packed = self._packed, b""
        return first or self._read_file(READ_OCTETS)

    def _read_unzipped(self) -> bytes:
        """Unpack at most ``READ_OCTETS``, however well the file was packed."""
        while self._unzip is not None:
            if not self._packed:
                self._packed = self._read_file(READ_OCTETS)
            if self._unzip.eof:
                # Several members may follow each other (RFC 1952 section 2.2).
                if not self._packed.startswith(b"\x1f\x8b"):
                    return b""
                self._unzip = zlib.decompressobj(31)
            if not self._packed:
                # What the last call had no room for may still be inside.
                piece = self._unzip.decompress(b"", READ_OCTETS)
                self.cut_off = not piece and not self._unzip.eof
                return piece
            piece = self._unzip.decompress(self._packed, READ_OCTETS)
            self._packed = self._unzip.unconsumed_tail or self._unzip.unused_data
            if piece:
                return piece
        return b""

    def _read_file(self, size: int) -> bytes:
        piece = self._file.read(size)
        self._done += len(piece)
        return piece


def read_frames(source: Source, warn: Warn) -> Iterator[Frame]:
    """Yield every frame of a capture file.

    A file that ends inside a frame (its writer was killed, a disk was full) is
    read up to there, and *warn* is told; anything else that is wrong raises.

    Raises:
        EdgeError: not a capture file, or a damaged one.
    """
    buffer = source.more(b"", 0, 24)
    magic = buffer[:4]
    if magic in _PCAP_MAGICS:
        yield from _read_pcap(source, buffer, warn)
    elif magic == _SECTION_OCTETS:
        yield from _read_pcapng(source, buffer, warn)
    elif not buffer:
        raise EdgeError(f"{source.name} is empty")
    else:
        raise EdgeError(f"{source.name} is neither pcap nor pcapng")
    if source.cut_off:
        warn(f"{source.name}: the gzip data ends too early; read up to there")


def _read_pcap(source: Source, buffer: bytes, warn: Warn) -> Iterator[Frame]:
    order, fractions = _PCAP_MAGICS[buffer[:4]]
    if len(buffer) < 24:
        warn(f"{source.name}: the file ends inside its header")
        return
    (linktype,) = struct.unpack_from(order + "L", buffer, 20)
    linktype &= 0xFFFF  # the upper bits tell of a frame check sequence
    unpack = struct.Struct(order + "LLL4x").unpack_from
    at, size = 24, len(buffer)
    new = tuple.__new__  # a frame a microsecond sooner than by Frame's own constructor
    while True:
        if size - at < 16:
            buffer = source.more(buffer, at, 16)
            at, size = 0, len(buffer)
            if size < 16:
                break
        seconds, fraction, length = unpack(buffer, at)
        if length > MAX_FRAME_OCTETS:
            raise EdgeError(f"{source.name} is damaged: a frame claims {length} octets")
        end = at + 16 + length
        if end > size:
            buffer = source.more(buffer, at, 16 + length)
            at, size, end = 0, len(buffer), 16 + length
            if end > size:
                break
        yield new(Frame, (seconds + fraction / fractions, linktype, buffer[at + 16 : end]))
        at = end
    if size:
        warn(f"{source.name}: the last frame is cut off; read up to there")


class _Section:
    """What the blocks of one pcapng section need to know of it."""

    def __init__(self, name: str, order: str, time_s: float) -> None:
        self._name = name
        self._order = order
        self._time_s = time_s  # of the frame before; simple blocks carry none of their own
        self._interfaces: list[_Interface] = []
        self._enhanced = struct.Struct(order + "LLLLL").unpack_from
        self._old = struct.Struct(order + "HHLLLL").unpack_from

    @property
    def time_s(self) -> float:
        """Return the time of the last frame."""
        return self._time_s

    def read(self, kind: int, block: bytes) -> Frame | None:
        """Read one block's content; only packet blocks yield a frame."""
        try:
            if kind == _ENHANCED_PACKET:
                number, high, low, length, _ = self._enhanced(block)
                return self._frame(number, high << 32 | low, block[20 : 20 + length], length)
            if kind == _OLD_PACKET:
                number, _, high, low, length, _ = self._old(block)
                return self._frame(number, high << 32 | low, block[20 : 20 + length], length)
            if kind == _SIMPLE_PACKET:
                return self._simple_frame(block)
            if kind == _INTERFACE:
                self._add_interface(block)
        except struct.error:
            raise self._damaged("a block is too short") from None
        return None

    def _frame(self, number: int, ticks: int, octets: bytes, length: int) -> Frame:
        if number >= len(self._interfaces):
            raise self._damaged("a frame names an interface that was not described")
        if length != len(octets) or length > MAX_FRAME_OCTETS:
            raise self._damaged("a frame is longer than its block")
        interface = self._interfaces[number]
        self._time_s = ticks / interface.ticks + interface.offset_s
        return Frame(self._time_s, interface.linktype, octets)

    def _simple_frame(self, block: bytes) -> Frame:
        if not self._interfaces:
            raise self._damaged("a frame names an interface that was not described")
        interface = self._interfaces[0]
        (length,) = struct.unpack_from(self._order + "L", block)
        if interface.snaplen:
            length = min(length, interface.snaplen)
        octets = block[4 : 4 + length]
        if len(octets) != length:
            raise self._damaged("a frame is longer than its block")
        return Frame(self._time_s, interface.linktype, octets)

    def _add_interface(self, block: bytes) -> None:
        if len(self._interfaces) >= MAX_INTERFACES:
            raise self._damaged(f"more than {MAX_INTERFACES} interfaces")
        linktype, snaplen = struct.unpack_from(self._order + "H2xL", block)
        ticks, offset_s, at = 1_000_000, 0, 8
        while at + 4 <= len(block):
            code, length = struct.unpack_from(self._order + "HH", block, at)
            value = block[at + 4 : at + 4 + length]
            if code == _TIME_RESOLUTION and len(value) == 1:
                ticks = 2 ** (value[0] & 127) if value[0] & 128 else 10 ** value[0]
            elif code == _TIME_OFFSET and len(value) == 8:
                (offset_s,) = struct.unpack(self._order + "q", value)
            elif code == 0:
                break
            at += 4 + (length + 3) // 4 * 4
        self._interfaces.append(_Interface(linktype, snaplen, ticks, offset_s))

    def _damaged(self, what: str) -> EdgeError:
        return EdgeError(f"{self._name} is damaged: {what}")


def _read_pcapng(source: Source, buffer: bytes, warn: Warn) -> Iterator[Frame]:
    section = _Section(source.name, "<", 0.0)
    for order, kind, content in _blocks(source, buffer, warn):
        if kind == _SECTION:
            section = _Section(source.name, order, section.time_s)
        elif (frame := section.read(kind, content)) is not None:
            yield frame


def _blocks(source: Source, buffer: bytes, warn: Warn) -> Iterator[tuple[str, int, bytes]]:
    """Yield byte order, type and content of each block."""
    order, at = "<", 0
    while True:
        if len(buffer) - at < 12:
            buffer, at = source.more(buffer, at, 12), 0
            if len(buffer) < 12:
                break
        if buffer.startswith(_SECTION_OCTETS, at):
            order = _byte_order(source.name, buffer[at + 8 : at + 12])
        kind, length = struct.unpack_from(order + "LL", buffer, at)
        if length < 12 or length % 4 or length > MAX_BLOCK_OCTETS:
            raise EdgeError(f"{source.name} is damaged: a block claims {length} octets")
        if len(buffer) - at < length:
            buffer, at = source.more(buffer, at, length), 0
            if len(buffer) < length:
                break
        end = at + length
        if buffer[at + 4 : at + 8] != buffer[end - 4 : end]:
            raise EdgeError(f"{source.name} is damaged: the two lengths of a block differ")
        yield order, kind, buffer[at + 8 : end - 4]
        at = end
    if len(buffer) > at:
        warn(f"{source.name}: the last block is cut off; read up to there")


def _byte_order(name: str, magic: bytes) -> str:
    if magic == b"\x4d\x3c\x2b\x1a":
        return "<"
    if magic == b"\x1a\x2b\x3c\x4d":
        return ">"
    raise EdgeError(f"{name} is damaged: a section without byte-order magic")


class PcapWriter:
    """Writes IP packets to a new pcap file with microsecond times."""

    def __init__(self, path: str | os.PathLike[str], linktype: int = LINKTYPE_RAW) -> None:
        """Create the file, readable by its owner alone: it holds what people said.

        Raises:
            EdgeError: the file cannot be created.
        """
        self._name = str(path)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            self._file: BinaryIO = os.fdopen(descriptor, "wb")
        except OSError as wrong:
            raise EdgeError(f"cannot write {self._name}: {wrong.strerror or wrong}") from wrong
        self._put(struct.pack("<LHHlLLL", 0xA1B2C3D4, 2, 4, 0, 0, MAX_FRAME_OCTETS, linktype))

    def write(self, time_s: float, octets: bytes) -> None:
        """Append one packet.

        Raises:
            EdgeError: the disk refuses it.
        """
        seconds, microseconds = divmod(round(time_s * 1_000_000), 1_000_000)
        size = len(octets)
        self._put(struct.pack("<LLLL", seconds & 0xFFFFFFFF, microseconds, size, size) + octets)

    def close(self) -> None:
        """Write out what is buffered and close the file.

        Raises:
            EdgeError: the disk refuses it.
        """
        try:
            self._file.close()
        except OSError as wrong:
            raise EdgeError(f"cannot write {self._name}: {wrong.strerror or wrong}") from wrong

    def _put(self, octets: bytes) -> None:
        try:
            self._file.write(octets)
        except OSError as wrong:
            raise EdgeError(f"cannot write {self._name}: {wrong.strerror or wrong}") from wrong
