"""Any octets, in any pieces, on either side of a WebSocket: messages, or HostileInput."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from web_ends import Browser, Server
from websockets.http11 import Request

from sipguard.edge.stream.websocket import Binary, ClientCodec, ServerCodec, Text
from sipguard.edge.stream.ws_handshake import MAX_HEAD_OCTETS
from sipguard.errors import HostileInput
from sipguard.wire.message import MAX_MESSAGE_OCTETS

ASKED = b"".join(Browser().protocol.data_to_send())


def opened() -> tuple[ServerCodec, ClientCodec]:
    """Return both codecs of a WebSocket that stands."""
    client = ServerCodec()
    client.receive(ASKED)
    server = ClientCodec(client)
    peer = Server()
    peer.protocol.receive_data(server.begin())
    for event in peer.protocol.events_received():
        assert isinstance(event, Request)
        peer.protocol.send_response(peer.protocol.accept(event))
    server.receive(b"".join(peer.protocol.data_to_send()))
    assert client.answers().startswith(b"HTTP/1.1 101 ")
    return client, server


def frame(opcode: int, payload: bytes, *, fin: bool = True, mask: bytes | None = None) -> bytes:
    """Return a frame; masked where there is a mask."""
    size = len(payload)
    if size < 126:
        length = bytes([size])
    else:
        length = b"\x7e" + size.to_bytes(2) if size < 65536 else b"\x7f" + size.to_bytes(8)
    head = bytes([opcode | (0x80 if fin else 0)])
    if mask is None:
        return head + length + payload
    veil = int.from_bytes((mask * (size // 4 + 1))[:size])
    hidden = (int.from_bytes(payload) ^ veil).to_bytes(size)
    return head + bytes([length[0] | 0x80]) + length[1:] + mask + hidden


def fed(
    codec: ServerCodec | ClientCodec, pieces: Sequence[bytes]
) -> tuple[list[tuple[type, bytes]], str]:
    """Return the messages, with their kinds, and why the framing was lost."""
    messages: list[bytes] = []
    lost = ""
    for piece in pieces:
        try:
            messages += codec.receive(piece)
        except HostileInput as error:
            messages += codec.taken()
            lost = error.reason.value
            break
    return [(type(message), bytes(message)) for message in messages], lost


def split(octets: bytes, cuts: Sequence[int]) -> list[bytes]:
    ends = sorted({0, len(octets), *(cut % (len(octets) + 1) for cut in cuts)})
    return [octets[a:b] for a, b in pairwise(ends)]


_OPCODES = st.sampled_from((0, 1, 2, 1, 2, 8, 9, 10, 3, 11))
_FRAMES = st.lists(
    st.builds(
        frame,
        _OPCODES,
        st.one_of(
            st.binary(max_size=140), st.text(max_size=40).map(str.encode), st.just(bytes(66_000))
        ),
        fin=st.booleans(),
        mask=st.binary(min_size=4, max_size=4),
    ),
    max_size=6,
).map(b"".join)
_CUTS = st.lists(st.integers(0, 70_000), max_size=8)


@given(st.one_of(_FRAMES, st.binary(max_size=200)), _CUTS)
def test_any_split_gives_the_same_messages_of_a_client(octets: bytes, cuts: list[int]) -> None:
    """The pieces that octets come in never matter, and nothing but HostileInput is raised."""
    assert fed(opened()[0], [octets]) == fed(opened()[0], split(octets, cuts))


@given(st.one_of(_FRAMES, st.binary(max_size=200)), _CUTS)
def test_any_split_gives_the_same_messages_of_a_server(octets: bytes, cuts: list[int]) -> None:
    """The same towards the server, whose frames have no masks."""
    assert fed(opened()[1], [octets]) == fed(opened()[1], split(octets, cuts))


def test_every_octet_alone() -> None:
    """A handshake, fragments with a ping in between, and a goodbye, octet by octet."""
    client = ServerCodec()
    assert fed(client, [bytes([octet]) for octet in ASKED]) == ([], "")
    assert client.asked is not None
    octets = (
        frame(1, b"INVITE ", fin=False, mask=b"abcd")
        + frame(9, b"?", mask=b"efgh")
        + frame(0, "bjørn".encode(), mask=b"ijkl")
        + frame(2, b"\xff" * 300, mask=b"mnop")
    )
    stands, _ = opened()
    found, lost = fed(stands, [bytes([octet]) for octet in octets])
    assert found == [(Text, "INVITE bjørn".encode()), (Binary, b"\xff" * 300)]
    assert lost == ""
    assert stands.held == 0


@given(
    st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=60).map(lambda octets: ASKED[:-2] + octets + b"\r\n\r\n"),
        st.tuples(st.integers(0, len(ASKED)), st.binary(max_size=6)).map(
            lambda change: ASKED[: change[0]] + change[1] + ASKED[change[0] :]
        ),
    ),
    _CUTS,
)
def test_any_handshake_of_a_client(octets: bytes, cuts: list[int]) -> None:
    """It asks for a WebSocket, or is refused with a status; the pieces never matter."""
    whole, pieces = ServerCodec(), ServerCodec()
    found = fed(whole, [octets])
    assert found[0] == []
    assert fed(pieces, split(octets, cuts)) == found
    if found[1]:
        assert whole.end().startswith(b"HTTP/1.1 4")
    elif whole.asked is not None:
        ClientCodec(whole).begin()  # what was asked for can be asked for


@given(
    st.one_of(
        st.binary(max_size=300),
        st.tuples(
            st.integers(0, 600), st.sampled_from((200, 302, 401, 999, 100)), st.binary(max_size=40)
        ).map(lambda t: b"HTTP/1.1 %d X\r\nA: %s\r\nContent-Length: 0\r\n\r\n" % (t[1], t[2])),
    ),
    _CUTS,
)
def test_any_answer_of_a_server(octets: bytes, cuts: list[int]) -> None:
    """What is no acceptance of ours ends it, and the client hears a status."""
    client = ServerCodec()
    client.receive(ASKED)
    server = ClientCodec(client)
    server.begin()
    messages, _ = fed(server, split(octets, cuts))
    assert messages == []
    assert client.answers() == b""
    told = client.end()
    assert told.startswith((b"HTTP/1.1 5", b"HTTP/1.1 4", b"HTTP/1.1 3", b"HTTP/1.1 9"))
    assert told.count(b"\r\n\r\n") == 1


def test_what_a_client_may_have_us_keep() -> None:
    """A head and a message have their bounds, and nothing is kept beyond them."""
    codec = ServerCodec()
    assert _most(codec, b"GET / HTTP/1.1\r\n") <= MAX_HEAD_OCTETS
    codec, _ = opened()
    codec.receive(frame(2, b"", fin=False, mask=bytes(4)))
    part = frame(0, bytes(1000), fin=False, mask=bytes(4))
    assert _most(codec, part) <= MAX_MESSAGE_OCTETS + 1000


def _most(codec: ServerCodec, piece: bytes) -> int:
    """Return how much was held at most, until it was too much."""
    most = 0
    for _ in range(5000):
        try:
            codec.receive(piece)
        except HostileInput:
            return most
        most = max(most, codec.held)
    raise AssertionError("it takes everything")


def test_a_message_may_be_as_long_as_any() -> None:
    """The bound itself is no more than it says."""
    codec, _ = opened()
    octets = frame(2, bytes(MAX_MESSAGE_OCTETS), mask=bytes(4))
    assert [len(message) for message in codec.receive(octets)] == [MAX_MESSAGE_OCTETS]


def test_something_is_held_of_a_message_of_empty_fragments() -> None:
    """So that the clock for unfinished messages runs."""
    codec, _ = opened()
    codec.receive(frame(1, b"", fin=False, mask=bytes(4)))
    assert codec.held > 0
    codec.receive(frame(0, b"", fin=False, mask=bytes(4)))
    assert codec.held > 0


def test_many_pings_are_answered_once() -> None:
    """The last of those that came together (RFC 6455 section 5.5.3), and one goes on."""
    client, server = opened()
    client.receive(b"".join(frame(9, b"%d" % n, mask=bytes(4)) for n in range(1000)))
    assert client.answers() == frame(10, b"999")
    assert len(server.answers()) == 6
    assert server.answers() == b""
