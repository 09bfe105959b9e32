"""SIP over plain TCP: the framing alone."""

from sipguard.edge.stream.binding import Binding
from sipguard.edge.stream.codec import Codec
from sipguard.streams.live import MessageStream


@final
class TcpCodec:
    """Messages by their Content-Length (RFC 3261 section 18.3), the same to both ends."""

    def __init__(self) -> None:
        self._stream = MessageStream()

    def begin(self) -> bytes:
        """Nothing: whoever has something to say begins."""
        return b""

    def receive(self, octets: bytes) -> Sequence[bytes]:
        """Take octets; see :class:`Codec`."""
        return self._stream.receive(octets)

    def taken(self) -> Sequence[bytes]:
        """Return what was whole when the framing was lost."""
        return self._stream.taken()

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


def tcp_server_codec(_client: Codec) -> Codec:
    """Return the codec towards the server, which needs nothing of the client's."""
    return TcpCodec()


TCP = Binding("tcp", TcpCodec, tcp_server_codec)
