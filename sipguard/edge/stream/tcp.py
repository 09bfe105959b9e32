"""SIP over plain TCP: the framing alone."""

from sipguard.edge.stream.binding import Binding
from sipguard.edge.stream.codec import Codec
from sipguard.streams.live import LiveStream


def _server_codec(_client: Codec) -> Codec:
    return LiveStream()


TCP = Binding("tcp", LiveStream, _server_codec)
