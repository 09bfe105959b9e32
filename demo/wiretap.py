"""What an interface really carried: an independent witness that shares no code with sipguard."""

import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple

from demo.network import within
from demo.programs import until

ETH_P_ALL = 3
PACKET_OUTGOING = 4
SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python has no name for it
TIMESPEC = struct.Struct("@ll")
ANCILLARY_OCTETS = socket.CMSG_SPACE(TIMESPEC.size)
PROTOCOL_TCP = socket.IPPROTO_TCP
PROTOCOL_UDP = socket.IPPROTO_UDP
MAX_FRAMES = 50_000

SIP_START = re.compile(rb"(?:SIP/2\.0 \d{3} |[A-Z]+ sips?:)")


class Frame(NamedTuple):
    """One IP packet on the interface; of a fragmented datagram the first piece has the payload."""

    time_s: float
    outgoing: bool
    source: str
    destination: str
    protocol: int
    source_port: int
    port: int
    payload: bytes
    fragment: bool
    octets: bytes

    @property
    def is_sip(self) -> bool:
        """Whether it starts like a SIP message."""
        return SIP_START.match(self.payload) is not None

    @property
    def is_rtp(self) -> bool:
        """Whether it looks like RTP or SRTP, and not like RTCP (RFC 5761 section 4)."""
        start = self.payload[:12]
        return (
            self.protocol == PROTOCOL_UDP
            and len(start) == 12
            and start[0] >> 6 == 2
            and not 192 <= start[1] <= 223
        )


class Wiretap:
    """Keeps the frames of one interface from now on, in memory, up to a bound."""

    def __init__(self, namespace: str, interface: str) -> None:
        def listen() -> socket.socket:
            return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))

        self._socket = within(namespace, listen)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        # The kernel's time of arrival: several taps then agree on what came first.
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.bind((interface, ETH_P_ALL))
        self._socket.settimeout(0.1)
        self._open = True
        self.frames: list[Frame] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Wiretap":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening; the frames stay."""
        self._open = False
        self._thread.join()
        self._socket.close()

    def mark(self) -> int:
        """The place in the tape up to now; frames after it are newer."""
        return len(self.frames)

    def sip(self, start: bytes = b"", *, source: str = "", since: int = 0) -> list[Frame]:
        """The SIP messages whose first line starts with *start*."""
        return [
            frame
            for frame in self.frames[since:]
            if frame.is_sip and frame.payload.startswith(start) and source in ("", frame.source)
        ]

    def rtp(self, source: str, *, port: int = 0, since: int = 0) -> list[Frame]:
        """The RTP or SRTP packets from *source* (to *port*, where given)."""
        return [
            frame
            for frame in self.frames[since:]
            if frame.is_rtp and frame.source == source and port in (0, frame.port)
        ]

    def waits_for(self, wanted: Callable[[Frame], bool], timeout_s: float = 3.0) -> Frame | None:
        """Return the first frame so *wanted*, on the tape already or within the time."""
        until(lambda: any(wanted(frame) for frame in self.frames), timeout_s)
        return next((frame for frame in self.frames if wanted(frame)), None)

    def _listen(self) -> None:
        while self._open:
            try:
                octets, notes, _, address = self._socket.recvmsg(65_535, ANCILLARY_OCTETS)
            except TimeoutError:
                continue
            except OSError:
                return
            outgoing = address[2] == PACKET_OUTGOING
            frame = read_frame(octets, arrival_s(notes), outgoing=outgoing)
            if frame is not None and len(self.frames) < MAX_FRAMES:
                self.frames.append(frame)


def looks_encrypted(frames: list[Frame]) -> bool:
    """Whether the first payload octets are spread as ciphertext is, unlike a codec's tone."""
    firsts = [frame.payload[12] for frame in frames[:100] if len(frame.payload) > 12]
    expected = 256 * (1 - (255 / 256) ** len(firsts))  # distinct values of so many random octets
    return len(firsts) >= 10 and len(set(firsts)) > 0.7 * expected


class _Header(NamedTuple):
    """What is needed of an IP header, whichever version."""

    source: str
    destination: str
    protocol: int
    offset: int
    more: bool
    segment: bytes
    packet: bytes


def arrival_s(notes: list[tuple[int, int, bytes]]) -> float:
    """Return the kernel's time stamp among a packet's ancillary notes, as POSIX time."""
    for level, kind, value in notes:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS) and len(value) == TIMESPEC.size:
            seconds, nanoseconds = TIMESPEC.unpack(value)
            return float(seconds + nanoseconds / 1e9)
    return time.time()


def read_frame(octets: bytes, time_s: float, *, outgoing: bool) -> Frame | None:
    """Read an Ethernet frame; None for what is neither IPv4 nor IPv6."""
    kind, packet = octets[12:14], octets[14:]
    if kind == b"\x08\x00" and len(packet) >= 20:
        ip = _read_ipv4(packet)
    elif kind == b"\x86\xdd" and len(packet) >= 40:
        ip = _read_ipv6(packet)
    else:
        return None
    source_port, port, payload = _read_segment(ip)
    return Frame(
        time_s=time_s,
        outgoing=outgoing,
        source=ip.source,
        destination=ip.destination,
        protocol=ip.protocol,
        source_port=source_port,
        port=port,
        payload=payload,
        fragment=bool(ip.offset or ip.more),
        octets=ip.packet,
    )


def _read_segment(ip: _Header) -> tuple[int, int, bytes]:
    """Return source port, port and payload, as far as UDP or TCP starts in this packet."""
    segment = ip.segment
    if ip.offset or len(segment) < 8 or ip.protocol not in (PROTOCOL_TCP, PROTOCOL_UDP):
        return 0, 0, b""
    start = 8
    if ip.protocol == PROTOCOL_TCP:
        start = (segment[12] >> 4) * 4 if len(segment) >= 20 else len(segment)
    ports = int.from_bytes(segment[:2], "big"), int.from_bytes(segment[2:4], "big")
    return *ports, segment[start:]


def _read_ipv4(packet: bytes) -> _Header:
    length, flags = struct.unpack("!2xH2xH", packet[:8])
    return _Header(
        socket.inet_ntop(socket.AF_INET, packet[12:16]),
        socket.inet_ntop(socket.AF_INET, packet[16:20]),
        packet[9],
        flags & 0x1FFF,
        bool(flags & 0x2000),
        packet[(packet[0] & 15) * 4 : length],
        packet[:length],
    )


def _read_ipv6(packet: bytes) -> _Header:
    length = 40 + int.from_bytes(packet[4:6], "big")
    protocol, offset, more, segment = packet[6], 0, False, packet[40:length]
    if protocol == socket.IPPROTO_FRAGMENT and len(segment) >= 8:
        field = int.from_bytes(segment[2:4], "big")
        protocol, offset, more, segment = segment[0], field >> 3, bool(field & 1), segment[8:]
    return _Header(
        socket.inet_ntop(socket.AF_INET6, packet[8:24]),
        socket.inet_ntop(socket.AF_INET6, packet[24:40]),
        protocol,
        offset,
        more,
        segment,
        packet[:length],
    )
