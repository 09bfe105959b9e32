"""A receiver of alarms: a real HTTPS server that says what the test wants and keeps what it got."""

import hashlib
import hmac
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path

from authority import DAY_S, issue
from cryptography import x509
from https_server import ROOT

SECRET = b"0123456789abcdef"


def _loopback() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


class Hook:
    """Answers with the codes it is told to, else with 200.

    Args:
        directory: For its certificate.
        listen: Makes its socket, in whatever namespace.
    """

    def __init__(self, directory: Path, listen: Callable[[], socket.socket] = _loopback) -> None:
        self.codes: list[int] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.got.append((dict(self.headers), body))
                code = hook.codes.pop(0) if hook.codes else 200
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(b"x" * 100_000)

            def log_message(self, *_: object) -> None:
                pass

        listening = listen()
        self.address = listening.getsockname()
        server = issue(
            "hook", ROOT, from_s=time.time() - DAY_S, until_s=time.time() + DAY_S,
            extensions=((_names(self.address[0]), False),),
        )  # fmt: skip
        (directory / "server.pem").write_bytes(server.key_pem + server.pem + ROOT.pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "server.pem")
        self.server = HTTPServer(self.address, Handler, bind_and_activate=False)
        self.server.socket.close()
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign] # who hangs up
        self.server.socket = context.wrap_socket(
            listening, server_side=True, do_handshake_on_connect=False
        )
        self.url = f"https://{self.address[0]}:{self.address[1]}/alarm?x=1"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Be gone."""
        self.server.shutdown()
        self.thread.join(10)
        self.server.server_close()


def is_signed(headers: dict[str, str], body: bytes) -> bool:
    """Whether a receiver that knows the secret takes it for ours, as docs/operations.md says."""
    told = dict(part.split("=") for part in headers["X-Sipguard-Signature"].split(","))
    signed = hmac.new(SECRET, f"{told['t']}.".encode() + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(told["v1"], signed)


def _names(address: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
