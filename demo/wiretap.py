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
            self.protocol == socket.IPPROTO_UDP
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
                octets, address = self._socket.recvfrom(65_535)
            except TimeoutError:
                continue
            except OSError:
                return
            frame = read_frame(octets, outgoing=address[2] == PACKET_OUTGOING)
            if frame is not None and len(self.frames) < MAX_FRAMES:
                self.frames.append(frame)


def looks_encrypted(frames: list[Frame]) -> bool:
    """Whether the first payload octets are spread as ciphertext is, and not as a codec's silence."""
    firsts = [frame.payload[12] for frame in frames[:100] if len(frame.payload) > 12]
    expected = 256 * (1 - (255 / 256) ** len(firsts))  # distinct values of that many random octets
    return len(firsts) >= 10 and len(set(firsts)) > 0.7 * expected


def read_frame(octets: bytes, *, outgoing: bool) -> Frame | None:
    """Read an Ethernet frame; None for what is neither IPv4 nor IPv6."""
    kind, packet = octets[12:14], octets[14:]
    if kind == b"\x08\x00" and len(packet) >= 20:
        header = (packet[0] & 15) * 4
        length, flags = struct.unpack("!2xH2xH", packet[:8])
        source = socket.inet_ntop(socket.AF_INET, packet[12:16])
        destination = socket.inet_ntop(socket.AF_INET, packet[16:20])
        protocol, offset, more = packet[9], flags & 0x1FFF, bool(flags & 0x2000)
        segment = packet[header:length]
    elif kind == b"\x86\xdd" and len(packet) >= 40:
        length, protocol, offset, more = (
            40 + struct.unpack("!4xH", packet[:6])[0],
            packet[6],
            0,
            False,
        )
        source = socket.inet_ntop(socket.AF_INET6, packet[8:24])
        destination = socket.inet_ntop(socket.AF_INET6, packet[24:40])
        segment = packet[40:length]
        if protocol == socket.IPPROTO_FRAGMENT and len(segment) >= 8:
            protocol, field = struct.unpack("!BxH", segment[:4])
            offset, more, segment = field >> 3, bool(field & 1), segment[8:]
    else:
        return None
    source_port = port = 0
    payload = b""
    if not offset and protocol == socket.IPPROTO_UDP and len(segment) >= 8:
        source_port, port = struct.unpack("!HH", segment[:4])
        payload = segment[8:]
    elif not offset and protocol == socket.IPPROTO_TCP and len(segment) >= 20:
        source_port, port = struct.unpack("!HH", segment[:4])
        payload = segment[(segment[12] >> 4) * 4 :]
    return Frame(
        time.time(), outgoing, source, destination, protocol, source_port, port, payload,
        bool(offset or more), packet[:length],
    )  # fmt: skip
