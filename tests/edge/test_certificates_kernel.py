"""The service itself: signed calls from one host to another, and servers that hold certificates."""

import ipaddress
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from authority import DAY_S, issue
from calls_builder import request
from cryptography import x509
from netns import A4, B4, Lab

from sipguard.cli.main import main
from sipguard.edge.control import StatusReport, read_status

pytestmark = pytest.mark.kernel
ROOT = Path(__file__).parents[2]
CALLER, CALLEE = "+12155551212", "+12155551213"
POLICY = """mode enforce
default drop
trust stir ca "ca/ca.pem" fetch any fetch-ca "web-ca.pem" within 1s
chain request
  proven  accept      if stir.attest == A
  wrong   reject 438  if stir.failed
  unsure  reject 436  if stir.unknown
chain media
  keyed   open        if keyed
"""
SERVER = """
import http.server, ssl, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow.pem":
            time.sleep(4)
        if self.path == "/elsewhere.pem":
            self.send_response(302)
            self.send_header("Location", "/caller.pem")
            self.end_headers()
            return
        octets = open("caller.pem", "rb").read()
        if self.path == "/huge.pem":
            octets = octets + bytes(1 << 20)
        self.send_response(200)
        self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)
server = http.server.ThreadingHTTPServer((sys.argv[1], 8443), Handler)
server.daemon_threads = True
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("web.pem", "web.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
"""


class Site:
    """A gateway, a caller behind it, and on the other side a callee with a server."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.programs: list[subprocess.Popen[bytes]] = []
        self.number = 0
        self._make_certificates()
        (folder / "server.py").write_text(SERVER)
        (folder / "p").write_text(POLICY)
        self.caller = lab.a.udp(A4, 5060)
        self.callee = lab.b.udp(B4, 5060)
        for end in (self.caller, self.callee):
            end.settimeout(4)

    def start(self) -> None:
        server = self._run(self.lab.b.name, [sys.executable, "server.py", B4])
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        twistd = Path(sys.executable).with_name("twistd")
        words = ["-n", "sipguard", "--policy", "p", "--state-dir", "state"]
        self._run(self.lab.router.name, [str(twistd), "--pidfile", "", *words])
        end_s = time.monotonic() + 20
        while time.monotonic() < end_s and not (self.folder / "state/status.json").exists():
            time.sleep(0.1)
        self.report()

    def _run(self, namespace: str, words: list[str]) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join(path for path in sys.path if path)
        with (self.folder / f"{namespace}.log").open("wb") as log:
            started = subprocess.Popen(
                ["ip", "netns", "exec", namespace, *words],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{paths}"},
                stdout=subprocess.PIPE if "server.py" in words else log,
                stderr=log,
            )
        self.programs.append(started)
        return started

    def _make_certificates(self) -> None:
        ca = self.folder / "ca"
        assert main(["identity", "make-ca", str(ca)]) == 0
        assert main(["identity", "issue", str(ca), CALLER, "--stir", "--spc", "1234"]) == 0
        (self.folder / "caller.pem").write_bytes((ca / f"{CALLER[1:]}.pem").read_bytes())
        now_s = time.time()
        since_s, until_s = now_s - DAY_S, now_s + DAY_S
        is_ca = (x509.BasicConstraints(ca=True, path_length=None), True)
        web_ca = issue("web authority", extensions=(is_ca,), from_s=since_s, until_s=until_s)
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(B4))])
        web = issue("web", web_ca, extensions=((address, False),), from_s=since_s, until_s=until_s)
        (self.folder / "web-ca.pem").write_bytes(web_ca.pem)
        (self.folder / "web.pem").write_bytes(web.pem)
        (self.folder / "web.key").write_bytes(web.key_pem)

    def signed(self, file: str) -> bytes:
        """Return a signed INVITE, its certificate at this file of the server."""
        self.number += 1
        plain = request(
            "INVITE",
            branch=f"b{self.number}",
            sender=A4,
            call_id=f"call-{self.number}",
            uri=f"sip:{CALLEE}@{B4}",
            from_=f"sip:{CALLER}@example.com",
            to=f"sip:{CALLEE}@example.com",
        )
        message, key = self.folder / "invite", self.folder / "ca" / CALLER[1:]
        message.write_bytes(plain)
        words = ["--key", f"{key}.key", "--cert", f"{key}.pem", "--stir", "--attest", "A"]
        url = ["--x5u", f"https://{B4}:8443/{file}", "--in-place"]
        assert main(["identity", "sign-message", str(message), *words, *url]) == 0
        return message.read_bytes()

    def call(self, file: str) -> float:
        """Send a signed INVITE that must pass, octet for octet; return the seconds it took."""
        invite = self.signed(file)
        start_s = time.monotonic()
        self.caller.sendto(invite, (B4, 5060))
        assert self.callee.recv(65535) == invite
        return time.monotonic() - start_s

    def refused(self, file: str) -> tuple[str, float]:
        """Send a signed INVITE that must not pass; return what the caller hears, and when."""
        start_s = time.monotonic()
        self.caller.sendto(self.signed(file), (B4, 5060))
        answer = self.caller.recv(65535).split(b"\r\n")[0].decode()
        took_s = time.monotonic() - start_s
        self.callee.settimeout(0.1)
        with pytest.raises(TimeoutError):
            self.callee.recv(65535)
        self.callee.settimeout(4)
        return answer, took_s

    def report(self) -> StatusReport:
        return read_status(self.folder / "state", time.time()).report

    def close(self) -> None:
        while self.programs:
            program = self.programs.pop()
            program.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                program.wait(10)
            if program.poll() is None:
                program.kill()
            if program.stdout is not None:
                program.stdout.close()


@pytest.fixture
def site(lab: Lab, tmp_path: Path) -> Iterator[Site]:
    made = Site(lab, tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_certificates_come_while_calls_wait(site: Site) -> None:
    """STI-15: a good one lets the call pass, the next does not wait; bad servers cost a second."""
    first_s = site.call("caller.pem")
    assert first_s < 1.0
    assert site.call("caller.pem") < first_s + 0.1
    answer, took_s = site.refused("slow.pem")
    assert answer.startswith("SIP/2.0 436 ")
    assert 0.9 < took_s < 2.0
    for file in ("huge.pem", "elsewhere.pem"):
        answer, took_s = site.refused(file)
        assert answer.startswith("SIP/2.0 436 ")
        assert took_s < 1.0
    assert site.call("caller.pem") < 0.5
    site.close()
    counters = site.report().counters
    assert (counters["held"], counters["held_too_long"]) == (4, 1)
    assert counters["certificates_failed"] == 2
    assert "held_now" not in counters
