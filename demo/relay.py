"""A proxy with a media relay beside it: honest, and small enough to be read.

It stands for Kamailio with rtpengine: signalling goes through one address, media through
another, and the session descriptions name the second. It has no key and changes no packet.
"""

import re
import select
import threading
from types import TracebackType

from demo import packets
from demo.network import Host, datagram_socket
from demo.programs import finished, run

SIP_PORT = 5060
MEDIA_ADDRESS = "10.20.3.40"  # a second address of the host it runs on
TOWARDS_CALLER, TOWARDS_CALLEE = 40000, 40010  # each with RTCP on the next port

Ends = dict[int, tuple[str, int]]


class Relay:
    """Passes one call on, signalling and media.

    Args:
        host: Where it runs.
        callee: Whom calls to it are meant for.
    """

    def __init__(self, host: Host, callee: Host) -> None:
        self._host, self._callee = host, callee
        self._caller = ""
        self._ends: Ends = {}  # by our own port: where what comes to its twin is sent
        self.passed = 0

    def __enter__(self) -> "Relay":
        namespace, interface = self._host.namespace, self._host.interface
        run(["ip", "-n", namespace, "address", "add", f"{MEDIA_ADDRESS}/24", "dev", interface])
        ports = (TOWARDS_CALLER, TOWARDS_CALLER + 1, TOWARDS_CALLEE, TOWARDS_CALLEE + 1)
        self._sip = datagram_socket(namespace, self._host.ipv4, SIP_PORT)
        self._media = {port: datagram_socket(namespace, MEDIA_ADDRESS, port) for port in ports}
        self._open = True
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        self._thread.join()
        for one in (self._sip, *self._media.values()):
            one.close()
        namespace, interface = self._host.namespace, self._host.interface
        finished(["ip", "-n", namespace, "address", "del", f"{MEDIA_ADDRESS}/24", "dev", interface])

    def _serve(self) -> None:
        while self._open:
            ready, _, _ = select.select([self._sip, *self._media.values()], [], [], 0.1)
            for one in ready:
                octets, source = one.recvfrom(65_535)
                if one is self._sip:
                    self._pass_message(octets, source[0])
                else:
                    self._pass_media(octets, one.getsockname()[1])

    def _pass_media(self, octets: bytes, port: int) -> None:
        """What comes to one side leaves by the other, from the port that its end knows."""
        twin = port + TOWARDS_CALLEE - TOWARDS_CALLER
        twin = twin if twin in self._media else port - TOWARDS_CALLEE + TOWARDS_CALLER
        if twin in self._ends:
            self._media[twin].sendto(octets, self._ends[twin])
            self.passed += 1

    def _pass_message(self, octets: bytes, source: str) -> None:
        is_from_callee = source == self._callee.ipv4
        if not is_from_callee:
            self._caller = source
        head, _, body = octets.partition(b"\r\n\r\n")
        head = self._response(head) if head.startswith(b"SIP/") else self._request(head)
        if body:
            body = self._session(body.decode(), source, is_from_callee).encode()
            head = re.sub(rb"(?im)^Content-Length:[^\r]*", b"Content-Length: %d" % len(body), head)
        there = self._caller if is_from_callee else self._callee.ipv4
        self._sip.sendto(head + b"\r\n\r\n" + body, (there, SIP_PORT))

    def _response(self, head: bytes) -> bytes:
        """Take our Via off (RFC 3261 section 16.7)."""
        return re.sub(rb"(?im)^Via:[^\r]*\r\n", b"", head, count=1)

    def _request(self, head: bytes) -> bytes:
        """Put our Via on, and ourselves into the path of the call (section 16.6)."""
        own, callee = self._host.ipv4.encode(), self._callee.ipv4.encode()
        first, _, rest = head.partition(b"\r\n")
        branch = packets.header(head, "Via").partition("branch=")[2].partition(";")[0]
        lines = [b"Via: SIP/2.0/UDP %b:5060;branch=%b.relay" % (own, branch.encode())]
        # A request of the call names us in Route, and its target in the first line.
        rest = re.sub(rb"(?im)^Route:[^\r]*%b[^\r]*\r\n" % re.escape(own), b"", rest)
        if first.startswith(b"INVITE "):
            lines.append(b"Record-Route: <sip:%b;lr>" % own)
        first = first.replace(b"@" + own, b"@" + callee)
        rest = re.sub(
            rb"(?im)^(Max-Forwards: *)(\d+)",
            lambda found: found[1] + b"%d" % (int(found[2]) - 1),
            rest,
        )
        return b"\r\n".join([first, *lines, rest])

    def _session(self, body: str, source: str, is_from_callee: bool) -> str:
        """Put the relay's address and port in place of an end's, and remember the end's."""
        found = re.search(r"(?m)^m=audio (\d+)", body)
        if found is None:
            return body
        own, theirs = TOWARDS_CALLER, TOWARDS_CALLEE
        if not is_from_callee:
            own, theirs = theirs, own
        for further in (0, 1):
            self._ends[theirs + further] = (source, int(found[1]) + further)
        body = re.sub(r"(?m)^m=audio \d+", f"m=audio {own}", body)
        body = re.sub(r"(?m)^a=rtcp:\d+[^\r]*", f"a=rtcp:{own + 1}", body)
        return re.sub(r"(?m)^c=IN IP4 [^\r]*", f"c=IN IP4 {MEDIA_ADDRESS}", body)
