"""Pages as a visitor with a clock of the test's has them, for a real browser to look at."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread

from visitor import Visitor


@contextmanager
def shown(visitor: Visitor) -> Iterator[str]:
    """Serve what *visitor* is answered; yield the address. Its time stands still."""
    lock, over = Lock(), Event()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            """Pass it on as it came, and back."""
            if self.path == "/events":
                self.events()
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            head = [f"{self.command} {self.path} HTTP/1.1", "Connection: close"]
            head += [f"{k}: {v}" for k, v in self.headers.items() if k.lower() != "connection"]
            with lock:
                told = visitor.send("\r\n".join([*head, "", ""]).encode() + body).value()
            self.wfile.write(told)
            self.wfile.flush()
            if b"text/event-stream" in told.partition(b"\r\n\r\n")[0]:
                over.wait()  # nothing more comes, as time stands still
            self.close_connection = True

        def events(self) -> None:
            """Have the page hear that it is live; nothing ever happens."""
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            over.wait()

        do_GET = do_POST = answer  # noqa: N815 - names of the library's

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        over.set()
        server.shutdown()
        server.server_close()
