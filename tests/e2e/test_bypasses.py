"""Packets that try to pass beside the judged ones do not reach the other side."""

import random
import socket
import struct
import time

import pytest

from demo import packets
from demo.network import within
from demo.packets import _checksum
from demo.stage import Stage

pytestmark = pytest.mark.kernel

UDP, UDP_LITE, SCTP, DCCP = 17, 136, 132, 33


def datagram(
    stage: Stage,
    ports: tuple[int, int],
    payload: bytes,
    *,
    length: int = 0,
    protocol: int = UDP,
) -> bytes:
    """Return a UDP header with *payload*; *length* lies about it."""
    size = length or 8 + len(payload)
    ends = socket.inet_aton(stage.network.caller.ipv4) + socket.inet_aton(stage.network.callee.ipv4)
    head = struct.pack("!HHH", *ports, size)
    covered = ends + struct.pack("!IHBB", size, 0, 0, protocol) + head + b"\0\0" + payload
    return head + struct.pack("!H", _checksum(covered) or 0xFFFF) + payload


def ip(
    stage: Stage, body: bytes, *, protocol: int = UDP, fragment: int = 0, ident: int = 0
) -> bytes:
    """Return an IPv4 packet of the caller to the callee."""
    network = stage.network
    return (
        struct.pack(
            "!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), ident or random.randrange(1, 65535),
            fragment, 64, protocol, 0,
            socket.inet_aton(network.caller.ipv4), socket.inet_aton(network.callee.ipv4),
        )
        + body
    )  # fmt: skip


def send(stage: Stage, *raw_packets: bytes) -> None:
    """Put raw IPv4 packets on the caller's wire."""
    network = stage.network
    with within(
        network.caller.namespace,
        lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
    ) as raw:
        for octets in raw_packets:
            raw.sendto(octets, (network.callee.ipv4, 0))
            time.sleep(0.002)


def mark() -> bytes:
    return packets.unique("MARK").encode()


@pytest.fixture
def wire(stage: Stage) -> "Wire":
    return Wire(stage)


class Wire:
    """Everything that arrives at the callee's interface, whatever protocol it is."""

    def __init__(self, stage: Stage) -> None:
        host = stage.network.callee
        self._socket = within(
            host.namespace,
            lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)),
        )
        self._socket.settimeout(0.3)

    def carries(self, octets: bytes) -> bool:
        """Whether a frame with these octets arrives."""
        try:
            while True:
                frame, where = self._socket.recvfrom(65_535)
                if octets in frame and where[2] != socket.PACKET_OUTGOING:
                    self._socket.close()
                    return True
        except TimeoutError:
            self._socket.close()
            return False


def clear_invite(stage: Stage, tag: bytes) -> bytes:
    """Return an INVITE that the policy refuses, with a mark near its end."""
    caller, callee = stage.network.caller.ipv4, stage.network.callee.ipv4
    body = packets.session(caller, keyed=False)
    invite = packets.request("INVITE", caller, callee, body=body)
    return packets.with_extra_header(invite, f"X-Mark: {tag.decode()}")


def options(stage: Stage, tag: bytes) -> bytes:
    caller, callee = stage.network.caller.ipv4, stage.network.callee.ipv4
    return packets.with_extra_header(
        packets.request("OPTIONS", caller, callee), f"X-Mark: {tag.decode()}"
    )


def test_the_wire_carries_what_is_allowed(stage: Stage, wire: Wire) -> None:
    """The witness itself works: an honest message is seen."""
    tag = mark()
    send(stage, ip(stage, datagram(stage, (5060, 5060), options(stage, tag))))
    assert wire.carries(tag)


@pytest.mark.parametrize("size", [8, 24, 256])
@pytest.mark.parametrize("order", ["forward", "backward"])
def test_small_fragments_are_judged_whole(stage: Stage, wire: Wire, size: int, order: str) -> None:
    """A refused INVITE in tiny fragments, in either order, does not arrive."""
    tag = mark()
    whole = datagram(stage, (5060, 5060), clear_invite(stage, tag))
    ident = random.randrange(1, 65535)
    pieces = [
        ip(
            stage, whole[at : at + size], ident=ident,
            fragment=at // 8 | (0x2000 if at + size < len(whole) else 0),
        )
        for at in range(0, len(whole), size)
    ]  # fmt: skip
    send(stage, *(pieces if order == "forward" else reversed(pieces)))
    assert not wire.carries(tag[:8])


def test_fragments_without_their_first(stage: Stage, wire: Wire) -> None:
    """Fragments that never become a datagram do not pass."""
    tag = mark()
    body = tag * 8
    send(stage, *(ip(stage, body, fragment=at, ident=77) for at in (100, 0x2000 | 300, 500)))
    assert not wire.carries(tag)


@pytest.mark.parametrize("carrier", ["keep-alive", "options"])
def test_octets_behind_the_udp_length(stage: Stage, wire: Wire, carrier: str) -> None:
    """What receivers ignore is no way past the rules."""
    tag, hidden = mark(), mark()
    seen = b"\r\n\r\n" if carrier == "keep-alive" else options(stage, tag)
    lying = datagram(stage, (5060, 5060), seen + hidden, length=8 + len(seen))
    send(stage, ip(stage, lying))
    assert not wire.carries(hidden)


@pytest.mark.parametrize(
    ("protocol", "ports"),
    [(UDP_LITE, (4000, 4000)), (UDP_LITE, (5060, 5060)), (SCTP, (5060, 5060)),
     (SCTP, (40000, 5061)), (DCCP, (4000, 4000)), (DCCP, (5060, 5060))],
)  # fmt: skip
def test_other_transports(stage: Stage, wire: Wire, protocol: int, ports: tuple[int, int]) -> None:
    """Neither SIP nor RTP finds a transport that nobody looks at."""
    tag = mark()
    head = struct.pack("!HHII", *ports, 1, 0) if protocol == SCTP else b""
    body = head + tag * 4 or tag
    if protocol != SCTP:
        body = datagram(stage, ports, tag * 4, protocol=protocol)
    send(stage, ip(stage, body, protocol=protocol))
    assert not wire.carries(tag)


@pytest.mark.parametrize(
    "ports", [(5060, 40000), (5060, 53), (40000, 5061), (53, 40000), (123, 123), (4000, 4002)]
)
def test_junk_on_other_ports(stage: Stage, wire: Wire, ports: tuple[int, int]) -> None:
    """The SIP port as the source opens nothing, and no port but a pinhole's passes."""
    tag = mark()
    send(stage, ip(stage, datagram(stage, ports, b"\x80\x00" + tag * 4)))
    assert not wire.carries(tag)
