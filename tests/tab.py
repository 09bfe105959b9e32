"""One tab of headless Chromium that tests drive: keys, clicks, pictures (DevTools protocol)."""

import base64
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from browsing import CHROMIUM, FLAGS
from websockets.sync.client import ClientConnection, connect

_WAIT_S = 60.0
_KEYS = {
    "Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " "), "Escape": (27, ""),
    "ArrowDown": (40, ""), "ArrowUp": (38, ""),
}  # fmt: skip
Json = dict[str, object]


class Tab:
    """A page, and a hand on its keyboard."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self._events: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> Json:
        """Ask the browser; what happens meanwhile is kept for who waits for it."""
        self._number += 1
        asked = {"id": self._number, "method": method, "params": parameters}
        self._socket.send(json.dumps(asked))
        deadline_s = time.monotonic() + _WAIT_S
        while True:
            told = json.loads(self._socket.recv(deadline_s - time.monotonic()))
            if told.get("id") == self._number:
                assert "error" not in told, (method, told)
                result: Json = told["result"]
                return result
            self._events.append(str(told.get("method")))
            if told.get("method") == "Log.entryAdded":
                self._events.append(f"log: {told['params']['entry']['text']}")

    def open(self, address: str) -> None:
        """Go to an address and wait for all of the page."""
        self._events.clear()
        self.call("Page.navigate", url=address)
        self.wait_for("document.readyState == 'complete' && location.href != 'about:blank'")

    def said(self) -> list[str]:
        """Return what the browser complained about since the last address was opened."""
        return [event for event in self._events if event.startswith("log: ")]

    def evaluate(self, expression: str) -> object:
        """Return the value of a script's expression; a promise's once it is kept."""
        told = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in told, told
        result = told["result"]
        assert isinstance(result, dict)
        return result.get("value")

    def text(self, expression: str) -> str:
        """Return the value of an expression as text."""
        return str(self.evaluate(expression))

    def wait_for(self, condition: str) -> None:
        """Wait until a condition holds; a page that goes away meanwhile is waited for, too."""
        deadline_s = time.monotonic() + _WAIT_S
        while True:
            told = self.call("Runtime.evaluate", expression=f"!!({condition})", returnByValue=True)
            result = told["result"]
            if isinstance(result, dict) and result.get("value") is True:
                return
            assert time.monotonic() < deadline_s, condition
            time.sleep(0.05)

    def press(self, key: str, times: int = 1, *, shift: bool = False) -> None:
        """Press a key."""
        code, text = _KEYS[key]
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                self.call(
                    "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code,
                    text=text if kind == "keyDown" else "", modifiers=8 if shift else 0,
                )  # fmt: skip

    def write(self, text: str) -> None:
        """Type."""
        self.call("Input.insertText", text=text)

    def tab_to(self, condition: str) -> None:
        """Press the tabulator until *condition* holds of ``e``, the element with the focus."""
        for _ in range(100):
            self.press("Tab")
            if self.evaluate(f"(e => !!({condition}))(document.activeElement)"):
                return
        raise AssertionError(f"no way to {condition} by the keyboard")

    def leave(self, key: str) -> None:
        """Press a key that leads to another page, and wait for that."""
        self.evaluate("window.isOld = true")
        self.press(key)
        self.wait_for("!window.isOld && document.readyState == 'complete'")

    def log_in(self, address: str, word: str) -> None:
        """Log in at the pages of this address, by their form."""
        self.open(f"{address}/login")
        self.wait_for("document.activeElement.id === 'word'")
        self.write(word)
        self.leave("Enter")

    def size(self, width: int, height: int = 1400, *, dark: bool = False) -> None:
        """Be a window of so many pixels, light or dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, height: int | None = None) -> bytes:
        """Return the page as PNG: all of it, or its first *height* pixels."""
        width = int(self.text("document.documentElement.clientWidth"))
        whole = int(self.text("document.documentElement.scrollHeight"))
        clip = {"x": 0, "y": 0, "width": width, "height": min(height or whole, whole), "scale": 1}
        told = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(str(told["data"]))


@contextmanager
def tab() -> Iterator[Tab]:
    """Start a browser with one tab, with a profile that goes with it."""
    with TemporaryDirectory(prefix="sipguard-browser-", ignore_cleanup_errors=True) as profile:
        command = [
            CHROMIUM, *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={profile}",
            "about:blank",
        ]  # fmt: skip
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as browser:
            try:
                port = _port(Path(profile) / "DevToolsActivePort", browser)
                with connect(_target(port), max_size=1 << 26) as socket:
                    yield Tab(socket)
            finally:
                browser.terminate()


def _port(file: Path, browser: "subprocess.Popen[bytes]") -> int:
    deadline_s = time.monotonic() + _WAIT_S
    while not (file.exists() and file.read_text().strip()):
        assert browser.poll() is None, "the browser ended"
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    return int(file.read_text().split()[0])


def _target(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=_WAIT_S) as answer:
        targets = json.loads(answer.read())
    return next(str(one["webSocketDebuggerUrl"]) for one in targets if one["type"] == "page")
