"""A browser for tests: headless Chromium, and a way in for it that is logged in already."""

import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from urllib.error import HTTPError

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
    *("--disable-dev-shm-usage", "--disable-background-networking", "--disable-sync"),
)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        return None


@contextmanager
def way_in(page: str, cookie: str, linger_s: float = 0.0) -> Iterator[str]:
    """Serve *page* with a session's cookie added to each request; yield the address.

    *linger_s*: how long the logo takes, and with it the moment when a browser is done.
    """
    opener = urllib.request.build_opener(_NoRedirect)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/static/shield.svg":
                time.sleep(linger_s)
            request = urllib.request.Request(page + self.path, headers={"Cookie": cookie})
            try:
                answer = opener.open(request, timeout=20)
            except HTTPError as error:
                answer = error
            with answer:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in ("transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.end_headers()
                while octets := answer.read1(65_536):
                    self.wfile.write(octets)
                    self.wfile.flush()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A browser that ends leaves its streams."""

    server = Server(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def picture(address: str, file: Path, size: tuple[int, int], *, dark: bool = False) -> None:
    """Write what a browser shows as PNG."""
    _chromium(
        f"--screenshot={file}",
        f"--window-size={size[0]},{size[1]}",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        address,
    )


def document(address: str) -> str:
    """Return the document as it is when all of it is there and its scripts ran."""
    return _chromium("--dump-dom", address)


def _chromium(*arguments: str) -> str:
    with TemporaryDirectory(prefix="sipguard-browser-") as profile:
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *arguments]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return ran.stdout
