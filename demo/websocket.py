"""A telephone in a browser and its registrar, as far as the demo needs them, on ``websockets``."""

import socket
import threading
from types import TracebackType

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from demo import packets
from demo.network import Host, within

PORT = 8080
SIP = Subprotocol("sip")  # RFC 7118 section 4
ANSWER_S = 4.0


class Registrar:
    """Answers each REGISTER that comes as one WebSocket message with 200."""

    def __init__(self, host: Host) -> None:
        self.heard: list[bytes] = []

        def bound() -> socket.socket:
            return socket.create_server((host.ipv4, PORT))

        self._server: Server = serve(
            self._answer, sock=within(host.namespace, bound), subprotocols=[SIP]
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "Registrar":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()

    def _answer(self, connection: ServerConnection) -> None:
        for said in connection:
            message = said.encode() if isinstance(said, str) else said
            self.heard.append(message)
            connection.send(packets.response(message, 200, "OK").decode())


def registers(host: Host, server: str, *, subprotocol: Subprotocol = SIP) -> str:
    """Register over a WebSocket; return the answer's status line, or why there is none."""

    def connected() -> socket.socket:
        return socket.create_connection((server, PORT), ANSWER_S)

    nowhere = packets.unique("k") + ".invalid"  # a browser does not know its own address
    request = packets.request("REGISTER", nowhere, server, caller=f"sip:alice@{server}")
    message = request.replace(b"SIP/2.0/UDP", b"SIP/2.0/WS").replace(b":5060>", b";transport=ws>")
    try:
        with connect(
            f"ws://{server}:{PORT}",
            sock=within(host.namespace, connected),
            subprotocols=[subprotocol],
            open_timeout=ANSWER_S,
            proxy=None,
        ) as phone:
            phone.send(message.decode())
            answer = phone.recv(ANSWER_S)
            return str(answer).partition("\r\n")[0]
    except (WebSocketException, OSError) as error:
        return f"{error}".partition("\n")[0] or type(error).__name__
