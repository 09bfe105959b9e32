"""What no honest program sends: forged sources, doubled headers, replays, odd fragments."""

import hashlib
import re
import socket
import struct
import threading
import time
import uuid
from collections.abc import Iterable
from types import TracebackType

from demo.network import Host, datagram_socket, within

FRAGMENT_OCTETS = 1400  # a multiple of 8, as IPv4 asks of every fragment but the last
CALLER_KEY = "c2lwZ3VhcmQgZGVtbzogdGhlIGNhbGxlciBrZXkh"
PROTOCOL_UDP = socket.IPPROTO_UDP


def unique(prefix: str) -> str:
    """Return a token never used before."""
    return f"{prefix}{uuid.uuid4().hex[:16]}"


def session(address: str, port: int = 30000, *, keyed: bool = True) -> str:
    """Return an SDP body with one audio stream, keyed by SDES or plain."""
    version = 6 if ":" in address else 4
    lines = [
        "v=0",
        f"o=- 4711 1 IN IP{version} {address}",
        "s=-",
        f"c=IN IP{version} {address}",
        "t=0 0",
        f"m=audio {port} RTP/{'SAVP' if keyed else 'AVP'} 0",
        "a=rtpmap:0 PCMU/8000",
    ]
    if keyed:
        lines.append(f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{CALLER_KEY}")
    return "\r\n".join(lines) + "\r\n"


def request(
    method: str,
    source: str,
    target: str,
    *,
    body: str = "",
    extra: Iterable[str] = (),
    user_agent: str = "sipguard demo",
    caller: str = "",
    callee: str = "",
) -> bytes:
    """Return a well-formed request outside any dialog; *extra* header lines come last.

    *caller* and *callee* are the URIs in From and To: alice at the source and
    bob at the target by default.
    """
    lines = [
        f"{method} sip:bob@{target} SIP/2.0",
        f"Via: SIP/2.0/UDP {source}:5060;branch={unique('z9hG4bK')};rport",
        "Max-Forwards: 70",
        f"From: <{caller or f'sip:alice@{source}'}>;tag={unique('f')}",
        f"To: <{callee or f'sip:bob@{target}'}>",
        f"Call-ID: {unique('demo-')}@{source}",
        f"CSeq: 1 {method}",
        f"Contact: <sip:alice@{source}:5060>",
        f"User-Agent: {user_agent}",
    ]
    if body:
        lines.append("Content-Type: application/sdp")
    lines += [f"Content-Length: {len(body)}", *extra]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def scanner_probe(source: str, target: str) -> bytes:
    """Return the OPTIONS that sipvicious' svmap sends, with the headers by which it is known."""
    lines = [
        f"OPTIONS sip:100@{target} SIP/2.0",
        f"Via: SIP/2.0/UDP {source}:5060;branch={unique('z9hG4bK-')};rport",
        "Content-Length: 0",
        f'From: "sipvicious"<sip:100@1.1.1.1>;tag={unique("s")}',
        "Accept: application/sdp",
        "User-Agent: friendly-scanner",
        'To: "sipvicious"<sip:100@1.1.1.1>',
        f"Contact: sip:100@{source}:5060",
        "CSeq: 1 OPTIONS",
        f"Call-ID: {unique('')}",
        "Max-Forwards: 70",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def credentials(challenge: str, method: str, uri: str, password: str) -> str:
    """Return alice's answer to a digest challenge, as a header line (RFC 7616, MD5, qop=auth)."""
    told = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    client = unique("c")
    secret = _md5(f"alice:{told['realm']}:{password}")
    middle = f"{told['nonce']}:00000001:{client}:auth"
    response = _md5(f"{secret}:{middle}:" + _md5(f"{method}:{uri}"))
    return (
        f'Authorization: Digest username="alice", realm="{told["realm"]}", '
        f'nonce="{told["nonce"]}", uri="{uri}", response="{response}", '
        f'algorithm=MD5, qop=auth, nc=00000001, cnonce="{client}"'
    )


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def response(to: bytes, status: int, phrase: str, *, extra: Iterable[str] = ()) -> bytes:
    """Return a response of the called side to a request."""
    echoed = [f"{name}: {header(to, name)}" for name in ("Via", "From", "Call-ID", "CSeq")]
    tagged = f"To: {header(to, 'To')};tag=b{uuid.uuid5(uuid.NAMESPACE_OID, call_id(to)).hex[:8]}"
    lines = [f"SIP/2.0 {status} {phrase}", *echoed, tagged, *extra, "Content-Length: 0"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def ack_to_failure(invite: bytes, failure: bytes) -> bytes:
    """Return the ACK to a final response from 300 up (RFC 3261 section 17.1.1.3)."""
    target = invite.split(b" ", 2)[1].decode()
    echoed = [f"{name}: {header(invite, name)}" for name in ("Via", "From", "Call-ID")]
    number = header(invite, "CSeq").split()[0]
    lines = [f"ACK {target} SIP/2.0", *echoed, f"To: {header(failure, 'To')}"]
    lines += [f"CSeq: {number} ACK", "Max-Forwards: 70", "Content-Length: 0"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def header(message: bytes, name: str) -> str:
    """Return the value of the first header *name* (long form) of a message."""
    found = re.search(rf"(?im)^{name}[ \t]*:[ \t]*(.*?)\r?$", message.decode("latin-1"))
    if found is None:
        raise ValueError(f"no {name} in {message[:60]!r}")
    return found[1]


def call_id(message: bytes) -> str:
    """Return the Call-ID of a message."""
    return header(message, "Call-ID")


def forged_bye(invite: bytes, answer: bytes, attacker: str) -> bytes:
    """Return the BYE of an eavesdropper: every identifier right, only the host is not the caller's.

    *invite* and *answer* are the call's INVITE and its 200 as heard on the wire.
    """
    return in_dialog("BYE", invite, answer, attacker)


def in_dialog(method: str, invite: bytes, answer: bytes, source: str) -> bytes:
    """Return the caller's ACK to the *answer*, or its next request in the call."""
    target = re.search(r"<([^>]*)>", header(answer, "Contact"))
    number = int(header(invite, "CSeq").split()[0]) + (method != "ACK")
    lines = [
        f"{method} {target[1] if target else 'sip:bob@invalid'} SIP/2.0",
        f"Via: SIP/2.0/UDP {source}:5060;branch={unique('z9hG4bK')};rport",
        "Max-Forwards: 70",
        f"From: {header(invite, 'From')}",
        f"To: {header(answer, 'To')}",
        f"Call-ID: {call_id(invite)}",
        f"CSeq: {number} {method}",
        "Content-Length: 0",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def forged_reinvite(invite: bytes, answer: bytes, attacker: str, port: int) -> bytes:
    """Return the re-INVITE of an eavesdropper that asks for the call's media himself."""
    bye = forged_bye(invite, answer, attacker).decode()
    body = session(attacker, port)
    head = bye.replace("BYE", "INVITE").replace("Content-Length: 0\r\n\r\n", "")
    lines = [
        f"Contact: <sip:attacker@{attacker}:5060>",
        "Content-Type: application/sdp",
        f"Content-Length: {len(body)}",
    ]
    return (head + "\r\n".join(lines) + "\r\n\r\n" + body).encode()


def cancel_of(invite: bytes) -> bytes:
    """Return the CANCEL of a pending INVITE: same branch, same all (RFC 3261 section 9.1)."""
    target = invite.split(b" ", 2)[1].decode()
    echoed = [f"{name}: {header(invite, name)}" for name in ("Via", "From", "To", "Call-ID")]
    number = header(invite, "CSeq").split()[0]
    lines = [f"CANCEL {target} SIP/2.0", *echoed, f"CSeq: {number} CANCEL"]
    return ("\r\n".join([*lines, "Max-Forwards: 70", "Content-Length: 0"]) + "\r\n\r\n").encode()


def listener(address: str, port: int = 5060) -> socket.socket:
    """Return a TCP socket that accepts connections."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, port))
    made.listen()
    return made


def connection(address: str, port: int = 5060) -> socket.socket:
    """Return a TCP connection; raises ConnectionRefusedError upon a reset."""
    return socket.create_connection((address, port), 3)


def with_changed_from(invite: bytes, *, new_branch: bool = True) -> bytes:
    """Return a captured INVITE with another caller's name in From, on a new branch by default."""
    changed = re.sub(rb"(?im)^(From:[^<\r]*<sips?:)[^@]+@", rb"\1the-director@", invite, count=1)
    if new_branch:
        fresh = unique("z9hG4bK").encode()
        changed = re.sub(rb"branch=[^;\r]+", b"branch=" + fresh, changed, count=1)
    return changed


def with_extra_header(message: bytes, line: str) -> bytes:
    """Return the message with one more header line at the end of its headers."""
    head, _, body = message.partition(b"\r\n\r\n")
    return head + b"\r\n" + line.encode() + b"\r\n\r\n" + body


def with_body(message: bytes, content_type: str, body: bytes) -> bytes:
    """Return the message with another body and the headers that tell of it."""
    head = message.partition(b"\r\n\r\n")[0]
    head = re.sub(rb"(?im)^Content-Type:[^\r]*", b"Content-Type: " + content_type.encode(), head)
    head = re.sub(rb"(?im)^Content-Length:[^\r]*", b"Content-Length: %d" % len(body), head)
    return head + b"\r\n\r\n" + body


def srtp_packets(count: int, *, source_id: int = 0x51B6A4D) -> list[bytes]:
    """Return RTP packets with random-looking payloads and a tag, as SRTP looks from outside."""
    noise = [bytes((7 * n + 31 * i + n * n * i) & 0xFF for i in range(170)) for n in range(count)]
    return [
        struct.pack("!BBHII", 0x80, 0, n & 0xFFFF, 160 * n, source_id) + noise[n]
        for n in range(count)
    ]


def clear_packets(count: int, *, source_id: int = 0xC1EA4) -> list[bytes]:
    """Return RTP packets with a codec's silence, readable to everybody."""
    heads = (struct.pack("!BBHII", 0x80, 0, n, 160 * n, source_id) for n in range(count))
    return [head + b"\xd5" * 160 for head in heads]


def send(
    namespace: str,
    source: tuple[str, int],
    destination: tuple[str, int],
    payloads: Iterable[bytes],
    *,
    gap_s: float = 0.0,
    fragment_octets: int = 0,
) -> None:
    """Send UDP from any source address and port, even one that a program holds.

    A raw socket writes the IP header itself; *fragment_octets* cuts the datagram (IPv4 alone).
    """
    version = 6 if ":" in source[0] else 4
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    with within(
        namespace, lambda: socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    ) as raw:
        for payload in payloads:
            datagram = _datagram(family, source, destination, payload)
            if version == 6:
                pieces = [_ipv6(source[0], destination[0], datagram)]
            else:
                pieces = _ipv4(source[0], destination[0], datagram, fragment_octets)
            for piece in pieces:
                raw.sendto(piece, (destination[0], 0))
            if gap_s:
                time.sleep(gap_s)


class Ear:
    """A plain UDP socket at one end that keeps what arrives; it answers nothing by itself."""

    def __init__(self, host: Host, *, port: int = 5060, version: int = 4) -> None:
        self.host = host
        self.address = host.address(version)
        self._socket = datagram_socket(host.namespace, self.address, port)
        self._socket.settimeout(0.1)
        self._open = True
        self.heard: list[bytes] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Ear":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        self._thread.join()
        self._socket.close()

    def say(self, payload: bytes, to: str, port: int = 5060) -> None:
        """Send one datagram from this socket."""
        self._socket.sendto(payload, (to, port))

    def hears(self, octets: bytes, timeout_s: float = 2.0) -> bool:
        """Wait for exactly these octets."""
        deadline_s = time.monotonic() + timeout_s
        while octets not in self.heard:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.02)
        return True

    def _listen(self) -> None:
        while self._open:
            try:
                self.heard.append(self._socket.recv(65_535))
            except TimeoutError:
                continue
            except OSError:
                return


def _datagram(
    family: socket.AddressFamily,
    source: tuple[str, int],
    destination: tuple[str, int],
    payload: bytes,
) -> bytes:
    length = 8 + len(payload)
    pseudo = socket.inet_pton(family, source[0]) + socket.inet_pton(family, destination[0])
    pseudo += struct.pack("!IHBB", length, 0, 0, PROTOCOL_UDP)
    head = struct.pack("!HHHH", source[1], destination[1], length, 0)
    checksum = _checksum(pseudo + head + payload) or 0xFFFF
    return head[:6] + struct.pack("!H", checksum) + payload


def _ipv4(source: str, destination: str, datagram: bytes, fragment_octets: int) -> list[bytes]:
    size = fragment_octets or len(datagram)
    identity = int(time.monotonic_ns() // 1000) & 0xFFFF or 1
    pieces = []
    for offset in range(0, len(datagram), size):
        piece = datagram[offset : offset + size]
        more = 0x2000 if offset + size < len(datagram) else 0
        head = struct.pack(
            "!BBHHHBBH4s4s", 0x45, 0, 20 + len(piece), identity, more | offset // 8, 64,
            PROTOCOL_UDP, 0, socket.inet_aton(source), socket.inet_aton(destination),
        )  # fmt: skip
        pieces.append(head + piece)  # the kernel fills the header checksum in
    return pieces


def _ipv6(source: str, destination: str, datagram: bytes) -> bytes:
    head = struct.pack("!IHBB", 0x60000000, len(datagram), PROTOCOL_UDP, 64)
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(
        socket.AF_INET6, destination
    )
    return head + ends + datagram


def _checksum(octets: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    if len(octets) % 2:
        octets += b"\0"
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
