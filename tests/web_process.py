"""The pages as twistd runs them, in a process of their own, and who logs in over the network."""

import re
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode

ROOT = Path(__file__).parents[1]
_CODE = "import sys; from twisted.scripts.twistd import run; sys.exit(run())"
_PATIENCE_S = 60.0


def command(*options: object) -> list[str]:
    """Return what starts the pages with these options."""
    words = (sys.executable, "-c", _CODE, "-n", "--pidfile=", "sipguard-web", *options)
    return [str(word) for word in words]


def free_port() -> int:
    """Return a port of loopback that nobody has now."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@contextmanager
def serving(*options: object) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the pages; end them."""
    with subprocess.Popen(command(*options), cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()


class Client:
    """Asks for pages over HTTP or HTTPS, and keeps cookies."""

    def __init__(self, address: str, context: ssl.SSLContext | None = None) -> None:
        self.address = address
        self.jar = CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self.jar),
            urllib.request.HTTPSHandler(context=context),
        )
        self.headers: dict[str, str] = {}

    def ask(self, path: str, fields: dict[str, str] | None = None) -> tuple[int, str]:
        """Return status and text; *fields* are sent as a form."""
        body = urlencode(fields).encode() if fields is not None else None
        try:
            answer = self._opener.open(self.address + path, body, timeout=_PATIENCE_S)
        except HTTPError as error:
            answer = error
        with answer:
            self.headers = {name.lower(): value for name, value in answer.headers.items()}
            return answer.status, answer.read().decode(errors="replace")

    def wait(self) -> None:
        """Wait until somebody answers."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                self.ask("/login")
            except URLError as error:
                if isinstance(error.reason, ssl.SSLError) or time.monotonic() > deadline_s:
                    raise
                time.sleep(0.1)
            else:
                return

    def log_in(self, word: str) -> tuple[int, str]:
        """Send the form of the login."""
        field = re.search(r'name="form" value="(\w+)"', self.ask("/login")[1])
        assert field is not None
        return self.ask("/login", {"form": field[1], "word": word})
