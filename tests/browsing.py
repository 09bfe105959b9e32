"""A browser for tests: headless Chromium, and a way in for it that is logged in already."""

import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from urllib.error import HTTPError

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
needs_browser = pytest.mark.skipif(
    not CHROMIUM and os.environ.get("SIPGUARD_NO_SKIP") != "1",
    reason="BROWSER NOT TESTED: no chromium here (apt-get install chromium)",
)
PATIENCE_S = 30.0
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
    *("--disable-dev-shm-usage", "--disable-background-networking", "--disable-sync"),
)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        return None


class _Watch:
    """Waits for a stream of events, and a while longer."""

    def __init__(self, watched: Callable[[], None] | None, linger_s: float) -> None:
        self._watched = watched
        self._linger_s = linger_s
        self._has_begun = Event()

    def begins(self) -> None:
        if self._watched is not None and not self._has_begun.is_set():
            self._has_begun.set()
            self._watched()

    def wait(self) -> None:
        if self._watched is not None:
            self._has_begun.wait(PATIENCE_S)
            time.sleep(self._linger_s)


@contextmanager
def way_in(
    page: str, cookie: str, watched: Callable[[], None] | None = None, linger_s: float = 0.0
) -> Iterator[str]:
    """Serve *page* with a session's cookie added to each request; yield the address.

    *watched* is called when the page's script has its stream of events; so long after it the logo
    comes, and with it the moment when a browser is done: *linger_s*.
    """
    opener = urllib.request.build_opener(_NoRedirect)
    watch = _Watch(watched, linger_s)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/static/shield.svg":
                watch.wait()
            request = urllib.request.Request(page + self.path, headers={"Cookie": cookie})
            try:
                answer = opener.open(request, timeout=20)
            except HTTPError as error:
                answer = error
            with answer:
                if "event-stream" in answer.headers.get("Content-Type", ""):
                    watch.begins()
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
