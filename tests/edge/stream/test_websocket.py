"""SIP over WebSocket through the gateway, between two ends of another implementation."""

import pytest
from stream_paper import Paper, answer, request
from web_ends import POLICY, Browser, Call, Server, frames, header
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol, State
from websockets.utils import accept_key

from sipguard.edge.stream.binding import FIRST_S
from sipguard.edge.stream.conversation import LAST_WORD_S
from sipguard.edge.stream.websocket import UPGRADED_S
from sipguard.reason import Reason

TEXT, BINARY = Opcode.TEXT, Opcode.BINARY
OPTIONS = request().replace(b"/TCP", b"/WS")
REFUSED = request("OPTIONS", 2, "User-Agent: no").replace(b"/TCP", b"/WS")
NAMED = 'ws-ports 80\nws-origins { "https://phone.example.com" null }\n' + POLICY


def paper(policy: str = POLICY, *, shadow: bool = False) -> Paper:
    return Paper(policy, kind="ws", shadow=shadow)


def test_a_request_and_its_answer() -> None:
    """One message each way, whole, in one frame (RFC 7118 section 5)."""
    call = Call(Browser())
    call.says(OPTIONS)
    assert frames(call.server.events) == [(TEXT, OPTIONS)]
    call.answers(answer(OPTIONS))
    assert frames(call.browser.events) == [(TEXT, answer(OPTIONS))]
    assert call.browser.protocol.subprotocol == "sip"


def test_text_stays_text_and_octets_stay_octets() -> None:
    """TLS-31: both may be, and each end gets what the other one sent."""
    call = Call(Browser())
    call.says(OPTIONS, text=False)
    call.says(OPTIONS)
    call.says(OPTIONS, text=False)
    assert [kind for kind, _ in frames(call.server.events)] == [BINARY, TEXT, BINARY]


def test_the_server_is_asked_in_the_clients_words() -> None:
    """Target, Host, Origin, cookies; the key is another one, and no extension is offered."""
    browser = Browser(
        origin="https://phone.example.com",
        subprotocols=("chat", "sip"),
        headers=[
            ("Cookie", "a=b; c=d"),
            ("Authorization", "Bearer x"),
            ("Sec-WebSocket-Extensions", "permessage-deflate"),
            ("Connection", "Cookie"),
        ],
    )
    key = browser.protocol.key
    call = Call(browser)
    asked = call.server.request
    assert asked.path == "/sip?x=1"
    assert header(asked.headers, "Host") == ["pbx.example.com:5060"]
    assert header(asked.headers, "Origin") == ["https://phone.example.com"]
    assert header(asked.headers, "Cookie") == ["a=b; c=d"]
    assert header(asked.headers, "Authorization") == ["Bearer x"]
    assert header(asked.headers, "Sec-WebSocket-Protocol") == ["sip"]
    assert header(asked.headers, "Sec-WebSocket-Extensions") == []
    assert header(asked.headers, "Sec-WebSocket-Key") != [key]
    assert call.browser.protocol.state is State.OPEN


def test_the_client_hears_nothing_before_the_server_has_answered() -> None:
    """No 101 for a WebSocket that is none on the other side."""
    desk = paper()
    line = desk.reaches()
    line.client_sends(b"".join(Browser().protocol.data_to_send()))
    assert line.client_got() == b""
    line.server_takes_it()
    assert line.server_got().startswith(b"GET /sip?x=1 HTTP/1.1\r\nHost: pbx.example.com:5060\r\n")
    assert line.client_got() == b""


@pytest.mark.parametrize("status", [401, 403, 404, 503])
def test_a_servers_refusal_is_the_clients(status: int) -> None:
    """It hears the server's status, and both connections end."""
    call = Call(Browser(), Server(refuses=status))
    assert call.browser.response.status_code == status
    assert call.line.is_over()
    assert call.paper.reasons() == [Reason.WS_REFUSED.value]


def test_a_server_that_is_not_there() -> None:
    """502: the gateway is no server of SIP itself."""
    desk = paper()
    line = desk.reaches()
    line.client_sends(b"".join(Browser().protocol.data_to_send()))
    line.server_refuses()
    assert line.client_got().startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert line.is_over()
    assert desk.reasons() == [Reason.UNREACHABLE.value]


def answered_with(*rows: str) -> tuple[bytes, list[str]]:
    """Return what the client hears where the server's 101 has these rows, and the records."""
    desk = paper()
    line = desk.reaches()
    line.client_sends(b"".join(Browser(subprotocols=("sip", "chat")).protocol.data_to_send()))
    line.server_takes_it()
    (key,) = [row[19:] for row in line.server_got().split(b"\r\n") if b"WebSocket-Key" in row]
    lines = ["HTTP/1.1 101 Hello", "Upgrade: websocket", "Connection: upgrade", *rows]
    lines += [f"Sec-WebSocket-Accept: {accept_key(key.decode())}", "", ""]
    line.server_sends("\r\n".join(lines).encode())
    assert line.is_over() == bool(desk.reasons())
    return line.client_got(), desk.reasons()


def test_a_server_that_takes_what_was_not_offered() -> None:
    """502: another subprotocol, or none (RFC 7118 section 4.1), an extension, a cookie is fine."""
    good = "Sec-WebSocket-Protocol: sip"
    heard, told = answered_with(good, "Set-Cookie: a=b", "Server: pbx")
    assert heard.startswith(b"HTTP/1.1 101 ")
    assert b"\r\nSet-Cookie: a=b\r\n" in heard
    assert b"pbx" not in heard
    assert told == []
    for rows, reason in (
        ((), Reason.WS_SUBPROTOCOL),
        (("Sec-WebSocket-Protocol: chat",), Reason.WS_SUBPROTOCOL),
        ((good, good), Reason.WS_SUBPROTOCOL),
        ((good, "Sec-WebSocket-Extensions: permessage-deflate"), Reason.WS_BAD_HANDSHAKE),
    ):
        heard, told = answered_with(*rows)
        assert heard.startswith(b"HTTP/1.1 502 ")
        assert told == [reason.value]


@pytest.mark.parametrize("subprotocols", [(), ("chat",), ("sip2",), ("SIP",)])
def test_a_client_that_does_not_offer_sip(subprotocols: tuple[str, ...]) -> None:
    """400, and the server hears nothing of it."""
    call = Call(Browser(subprotocols=subprotocols))
    assert call.browser.response.status_code == 400
    assert not call.is_through
    assert call.line.is_over()
    assert call.paper.reasons() == [Reason.WS_SUBPROTOCOL.value]


@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        ("https://phone.example.com", True),
        ("HTTPS://PHONE.example.com", True),
        ("null", True),
        ("", True),
        ("https://evil.example.net", False),
        ("http://phone.example.com", False),
        ("https://phone.example.com:8443", False),
        ("https://phone.example.com.evil.net", False),
    ],
)
def test_only_pages_of_these_origins(origin: str, passes: bool) -> None:
    """403 for pages of others; a program that sends none is no browser."""
    call = Call(Browser(origin=origin), paper=paper(NAMED))
    assert call.browser.response.status_code == (101 if passes else 403)
    assert call.is_through == passes
    assert call.paper.reasons() == ([] if passes else [Reason.WS_ORIGIN.value])


def test_shadow_mode_tells_of_an_origin_and_lets_it_pass() -> None:
    """Nothing is dropped that would work without us."""
    call = Call(Browser(origin="https://evil.example.net"), paper=paper(NAMED, shadow=True))
    assert call.browser.protocol.state is State.OPEN
    assert call.paper.reasons() == [Reason.WS_ORIGIN.value]


def test_rules_know_the_origin() -> None:
    """``ws.origin`` is of what the browser sends."""
    policy = (
        'chain request\n  page accept if ws.origin == "https://phone.example.com" '
        "and transport == ws\n"
    )
    for origin, passes in (("https://phone.example.com", True), ("https://x.org", False)):
        call = Call(Browser(origin=origin), paper=paper(policy))
        call.says(OPTIONS)
        assert bool(frames(call.server.events)) == passes


def test_a_refused_message_and_an_innocent_one() -> None:
    """The refusal goes back in a frame; the WebSocket stays."""
    call = Call(Browser())
    call.says(REFUSED)
    call.says(OPTIONS)
    assert frames(call.server.events) == [(TEXT, OPTIONS)]
    ((kind, response),) = frames(call.browser.events)
    assert kind is TEXT
    assert response.startswith(b"SIP/2.0 488 ")


def test_a_refusal_comes_as_the_request_came() -> None:
    """A client that speaks octets is answered in octets."""
    call = Call(Browser())
    call.says(REFUSED, text=False)
    assert [kind for kind, _ in frames(call.browser.events)] == [BINARY]


def test_fragments_are_one_message() -> None:
    """Joined, judged, and sent on as one; a ping in between is answered at once."""
    call = Call(Browser())
    there = call.browser.protocol
    there.send_text(OPTIONS[:20], fin=False)
    call.move()
    there.send_ping(b"still here?")
    there.send_continuation(OPTIONS[20:90], fin=False)
    call.move()
    assert frames(call.server.events) == []
    there.send_continuation(OPTIONS[90:], fin=True)
    call.move()
    assert frames(call.server.events) == [(TEXT, OPTIONS)]
    pongs = [e for e in call.browser.events if isinstance(e, Frame) and e.opcode is Opcode.PONG]
    assert [bytes(pong.data) for pong in pongs] == [b"still here?"]


def test_a_ping_keeps_the_far_connection_alive_too() -> None:
    """It goes on without its octets, which nobody judged (RFC 7118 section 6)."""
    call = Call(Browser())
    call.browser.protocol.send_ping(b"secret")
    call.move()
    pings = [e for e in call.server.events if isinstance(e, Frame) and e.opcode is Opcode.PING]
    assert [bytes(ping.data) for ping in pings] == [b""]


def test_line_breaks_are_a_keep_alive() -> None:
    """Some clients send the keep-alive of streams (RFC 5626 section 4.4.1) as a message."""
    call = Call(Browser())
    call.says(b"\r\n\r\n")
    assert frames(call.server.events) == [(TEXT, b"\r\n\r\n")]
    assert call.paper.reasons() == []


@pytest.mark.parametrize("by_client", [True, False])
@pytest.mark.parametrize("code", [1000, 1001, 4000])
def test_goodbye_goes_through(code: int, by_client: bool) -> None:
    """The other end hears the code; each is answered, and both connections end."""
    call = Call(Browser())
    ends: tuple[Protocol, ...] = (
        call.browser.protocol,
        call.server.protocol,
    )
    one, other = ends if by_client else ends[::-1]
    one.send_close(code, "whatever")
    call.move()
    assert other.close_rcvd is not None
    assert (other.close_rcvd.code, other.close_rcvd.reason) == (code, "")
    assert one.close_rcvd is not None
    assert one.close_rcvd.code == code
    assert call.line.is_over()
    assert call.paper.reasons() == []


def test_a_goodbye_comes_after_what_was_said_before() -> None:
    """Messages that wait for their verdict are judged first."""
    call = Call(Browser())
    call.browser.protocol.send_text(OPTIONS)
    call.browser.protocol.send_close(1000)
    call.move()
    assert frames(call.server.events) == [(TEXT, OPTIONS)]
    assert call.line.is_over()


def test_a_connection_that_is_cut_off() -> None:
    """Without a goodbye the server is told 1001."""
    call = Call(Browser())
    call.line.client_ends()
    call.move()
    assert call.server.protocol.close_rcvd is not None
    assert call.server.protocol.close_rcvd.code == 1001


def masked(first: int, payload: bytes, length: bytes | None = None) -> bytes:
    """Return a frame of a client's, masked with zeros."""
    size = length if length is not None else bytes([len(payload)])
    return bytes([first, size[0] | 0x80]) + size[1:] + bytes(4) + payload


LONG = masked(0x02, bytes(40_000), b"\x7e" + (40_000).to_bytes(2))


@pytest.mark.parametrize(
    ("octets", "reason", "code"),
    [
        (masked(0x81, b"\xff\xfe"), Reason.WS_NOT_UTF8, 1007),
        (masked(0x80, b"lost"), Reason.WS_FRAMING, 1002),
        (masked(0x01, b"a") + masked(0x81, b"b"), Reason.WS_FRAMING, 1002),
        (masked(0xC1, b"compressed?"), Reason.WS_FRAMING, 1002),
        (masked(0x83, b"?"), Reason.WS_FRAMING, 1002),
        (masked(0x09, b"part of a ping"), Reason.WS_FRAMING, 1002),
        (b"\x81\x03abc", Reason.WS_FRAMING, 1002),
        (masked(0x88, b"\x03"), Reason.WS_FRAMING, 1002),
        (masked(0x88, b"\x03\xed"), Reason.WS_FRAMING, 1002),
        (masked(0x82, bytes(70_000), b"\x7f" + (1 << 40).to_bytes(8)), Reason.WS_TOO_LARGE, 1009),
        (LONG + LONG.replace(b"\x02", b"\x80", 1), Reason.WS_TOO_LARGE, 1009),
    ],
)  # fmt: skip
def test_bad_frames(octets: bytes, reason: Reason, code: int) -> None:
    """The client hears its code, the server that it is gone, and a record says why."""
    call = Call(Browser())
    call.line.client_sends(octets)
    call.move()
    assert call.browser.protocol.close_rcvd is not None
    assert call.browser.protocol.close_rcvd.code == code
    assert call.server.protocol.close_rcvd is not None
    assert call.server.protocol.close_rcvd.code == 1001
    assert frames(call.server.events) == []
    assert call.line.is_over()
    assert call.paper.reasons() == [reason.value]


def test_what_was_whole_before_a_bad_frame_goes_on() -> None:
    """As with a stream that loses its framing."""
    call = Call(Browser())
    call.browser.protocol.send_text(OPTIONS)
    octets = b"".join(call.browser.protocol.data_to_send())
    call.line.client_sends(octets + masked(0x83, b"?"))
    call.move()
    assert frames(call.server.events) == [(TEXT, OPTIONS)]
    assert call.line.is_over()


UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: pbx.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: sip\r\n"
)


@pytest.mark.parametrize(
    ("octets", "status", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426, Reason.WS_NO_UPGRADE),
        (UPGRADE.replace(b": 13", b": 8") + b"\r\n", 426, Reason.WS_NO_UPGRADE),
        (UPGRADE.replace(b"websocket\r", b"h2c\r") + b"\r\n", 426, Reason.WS_NO_UPGRADE),
        (UPGRADE.replace(b"n: Upgrade", b"n: close") + b"\r\n", 400, Reason.WS_BAD_HANDSHAKE),
        (UPGRADE.replace(b"dGhl", b"") + b"\r\n", 400, Reason.WS_BAD_HANDSHAKE),
        (UPGRADE + b"Content-Length: 5\r\n\r\nhello", 400, Reason.WS_BAD_HANDSHAKE),
        (UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n", 400, Reason.WS_BAD_HANDSHAKE),
        (UPGRADE + b"Origin: a\r\nOrigin: b\r\n\r\n", 400, Reason.WS_BAD_HANDSHAKE),
        (UPGRADE + b"\r\n" + masked(0x81, OPTIONS[:50]), 400, Reason.WS_BAD_HANDSHAKE),
        (UPGRADE + b"Host: other\r\n\r\n", 400, Reason.WS_NOT_HTTP),
        (UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n", 400, Reason.WS_NOT_HTTP),
        (UPGRADE + b"\n" + OPTIONS, 400, Reason.WS_NOT_HTTP),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n", 400, Reason.WS_NOT_HTTP),
        (OPTIONS, 400, Reason.WS_NOT_HTTP),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400, Reason.WS_NOT_HTTP),
        (UPGRADE + b"X: " + b"x" * 16_384, 400, Reason.WS_NOT_HTTP),
    ],
)  # fmt: skip
def test_what_is_no_websocket(octets: bytes, status: int, reason: Reason) -> None:
    """A status, a record, and nothing of it reaches the server."""
    desk = paper()
    line = desk.reaches()
    line.client_sends(octets)
    got = line.client_got()
    assert got.startswith(b"HTTP/1.1 %d " % status)
    assert (b"Sec-WebSocket-Version: 13" in got) == (status == 426)
    assert got.endswith(b"\r\n\r\n")
    assert line.is_over()
    assert desk.attempts == []
    assert desk.reasons() == [reason.value]


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        b"Sec-WebSocket-Protocol: sip\r\n\r\n",  # for another key
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"SIP/2.0 400 Bad Request\r\n\r\n",
    ],
)
def test_a_server_that_answers_something_else(said: bytes) -> None:
    """502 for the client: what is there is no WebSocket."""
    desk = paper()
    line = desk.reaches()
    line.client_sends(UPGRADE + b"\r\n")
    line.server_takes_it()
    line.server_got()
    line.server_sends(said)
    assert line.client_got().startswith(b"HTTP/1.1 502 ")
    assert line.is_over()
    assert len(desk.reasons()) == 1


def test_the_first_words_of_a_server_may_come_with_its_answer() -> None:
    """A server may speak first, in the same segment."""
    line = paper().reaches()
    browser, server = Browser(), Server()
    line.client_sends(b"".join(browser.protocol.data_to_send()))
    line.server_takes_it()
    server.protocol.receive_data(line.server_got())
    (asked,) = server.protocol.events_received()
    assert isinstance(asked, Request)
    server.protocol.send_response(server.protocol.accept(asked))
    server.protocol.send_text(OPTIONS)
    line.server_sends(b"".join(server.protocol.data_to_send()))
    browser.protocol.receive_data(line.client_got())
    assert frames(browser.protocol.events_received()) == [(TEXT, OPTIONS)]


def test_a_client_that_does_not_read_our_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is reset a little later."""
    desk = paper()
    line = desk.reaches()
    monkeypatch.setattr(line.client, "loseConnection", lambda: None)
    line.client_sends(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert line.client_got().startswith(b"HTTP/1.1 426 ")
    desk.wait(LAST_WORD_S - 1)
    before = line.client.reset
    desk.wait(2)
    assert (before, line.client.reset) == (False, True)
    assert desk.reasons() == [Reason.WS_NO_UPGRADE.value]


def test_a_page_may_open_its_websocket_long_before_its_user_logs_in() -> None:
    """Minutes, once the server has taken it; not for ever, and pings do not prolong it."""
    call = Call(Browser())
    call.paper.wait(UPGRADED_S - 10)
    call.browser.protocol.send_ping(b"")
    call.move()
    assert not call.line.is_over()
    call.paper.wait(11)
    assert call.line.is_over()
    assert call.paper.reasons() == [Reason.SLOW_STREAM.value]


def test_a_message_that_is_accepted_ends_the_wait() -> None:
    """Then stream-idle applies, as for all connections."""
    call = Call(Browser())
    call.paper.wait(UPGRADED_S - 10)
    call.says(OPTIONS)
    call.paper.wait(60)
    assert not call.line.is_over()


def test_a_handshake_has_no_minutes() -> None:
    """Whoever is no WebSocket yet is as any other connection."""
    desk = paper()
    line = desk.reaches()
    line.client_sends(b"".join(Browser().protocol.data_to_send()))
    line.server_takes_it()
    desk.wait(FIRST_S + 1)
    assert line.is_over()


def test_where_many_connections_stand_all_have_less_time() -> None:
    """Or silent pages could take what telephones need."""
    call = Call(Browser())
    call.paper.gate._limits.most = 2
    call.paper.wait(FIRST_S + 1)
    assert not call.line.is_over()
    call.paper.reaches(port=40001)
    call.paper.wait(1)
    assert call.line.is_over()
