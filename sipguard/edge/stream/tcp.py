"""SIP over plain TCP: the framing alone."""

from collections.abc import Sequence
from typing import final

from sipguard.edge.stream.binding import Binding
from sipguard.edge.stream.codec import Codec
from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.streams import Mode, SipStream


@final
class TcpCodec:
    """Messages by their Content-Length (RFC 3261 section 18.3)."""

    def __init__(self) -> None:
        self._stream = SipStream()
        self._taken: list[bytes] = []

    def begin(self) -> bytes:
        """Nothing: whoever has something to say begins."""
        return b""

    def receive(self, octets: bytes) -> Sequence[bytes]:
        """Take octets; see :class:`Codec`."""
        if not self._stream.held and not octets.strip(b"\r\n"):
            return [octets]
        messages = self._stream.feed(octets)
        if self._stream.mode is not Mode.SIP:
            self._taken = messages
            raise HostileInput(Reason.NOT_SIP, "no SIP message begins here", octets[:64])
        return messages

    def taken(self) -> Sequence[bytes]:
        """Return what was whole when the framing was lost."""
        taken, self._taken = self._taken, []
        return taken

    def encode(self, message: bytes) -> bytes:
        """Return the message: it frames itself."""
        return message

    def answers(self) -> bytes:
        """Nothing."""
        return b""

    def end(self) -> bytes:
        """Nothing."""
        return b""

    @property
    def held(self) -> int:
        """How much of a message is here."""
        return self._stream.held

    @property
    def ended(self) -> bool:
        """No: TCP itself says so."""
        return False


def _server_codec(_client: Codec) -> Codec:
    return TcpCodec()


TCP = Binding("tcp", TcpCodec, _server_codec)
