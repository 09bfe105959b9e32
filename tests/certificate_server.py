"""An https server with a carrier's certificate in a namespace, and what a hostile one does."""

import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

from authority import DAY_S, issue
from cryptography import x509

from demo.network import within

NAME = "certs.carrier.example"
PORT = 443
GIVE_UP_S = 6.0  # no thread of ours waits any longer


class _Serving(BaseHTTPRequestHandler):
    """One request; the first word of the path says how it is answered."""

    server: "_Server"

    def do_GET(self) -> None:
        owner = self.server.owner
        owner.asked.append(self.path)
        match self.path.removeprefix("/").split("-")[0]:
            case "late":
                owner.release.wait(GIVE_UP_S)
                self._answer(owner.chain)
            case "drip":
                self._drip(owner.chain)
            case "huge":
                self._answer(owner.chain + bytes(1 << 20))
            case "elsewhere":
                self.send_response(302)
                self.send_header("Location", "/plain.pem")
                self.end_headers()
            case _:
                self._answer(owner.chain)

    def _answer(self, octets: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)

    def _drip(self, octets: bytes) -> None:
        """Send one octet after the other: never idle, never done."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        end_s = time.monotonic() + GIVE_UP_S
        for octet in octets:
            if time.monotonic() > end_s:
                return
            self.wfile.write(bytes((octet,)))
            time.sleep(0.1)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    """Shakes hands in the thread of the connection: a slow client holds nobody up."""

    daemon_threads = True
    block_on_close = False
    owner: "CertificateServer"

    def finish_request(self, request: object, client_address: object) -> None:
        self.owner.connections += 1
        assert isinstance(request, socket.socket)
        with self.owner.tls.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, _request: object, _client_address: object) -> None:
        """Say nothing: clients that hang up are what is tested."""


class CertificateServer:
    """Serves *chain* under ``NAME`` at every address of a namespace, until it is closed.

    Attributes:
        chain: What is at every path, in PEM.
        authority: A file with the authority of the server's own certificate.
        asked: Every path that was asked for.
        release: Set it, and what waits under ``/late-...`` is answered.
    """

    def __init__(self, namespace: str, chain: bytes, folder: Path) -> None:
        self.chain = chain
        self.asked: list[str] = []
        self.connections = 0
        self.release = threading.Event()
        self.authority = folder / "web-ca.pem"
        self.tls = self._secured(folder)
        self._server = within(namespace, lambda: _Server(("", PORT), _Serving))
        self._server.owner = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    def __enter__(self) -> "CertificateServer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _secured(self, folder: Path) -> ssl.SSLContext:
        """Write the server's keys and its authority, valid on the machine's own clock."""
        now_s = time.time()
        since_s, until_s = now_s - DAY_S, now_s + DAY_S
        is_ca = (x509.BasicConstraints(ca=True, path_length=None), True)
        root = issue("Web authority", extensions=(is_ca,), from_s=since_s, until_s=until_s)
        holder = issue(NAME, root, dns=[NAME], from_s=since_s, until_s=until_s)
        self.authority.write_bytes(root.pem)
        both = folder / "web.pem"
        both.write_bytes(holder.pem + holder.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        return context
