"""The pages as a process: how large it gets, over TLS, to guessers, and what it refuses to be."""

import re
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from urllib.error import URLError

import pytest
from authority import make_authority
from https_server import certificate
from nights import night
from web_process import ROOT, Client, command, free_port, serving

from sipguard.edge.control import StatusReport, write_status
from sipguard.edge.password_file import hash_password, write_password

PASSWORD = "correct horse battery"
LIMIT_MB = 120
PAGES = (
    *("/", "/?since=30d", "/blocked", "/blocked?by=caller", "/blocked?all=1&caller=alice", "/live"),
    *("/policy", "/exceptions", "/call/last", "/call/last.json", "/call/last.pcap"),
)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A night, a service that judges by the strictest policy, and a password."""
    night(tmp_path)
    report = StatusReport(pid=1, written_s=time.time(), started_s=time.time() - 60, mode="enforce")
    report.policy_file = str(ROOT / "policies" / "strict.policy")
    write_status(tmp_path, report)
    write_password(tmp_path / "password", hash_password(PASSWORD))
    return tmp_path


def options(state: Path, listen: str, *more: object) -> tuple[object, ...]:
    return ("--state-dir", state, "--password-file", state / "password", "--listen", listen, *more)


def most_mb(pid: int) -> float:
    """Return the most memory that a process ever had resident."""
    told = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", told)
    assert found is not None
    return int(found[1]) / 1024


def test_the_process_stays_small(state: Path) -> None:
    """Under 120 MB at its largest: policy loaded, rules tried, scrypt, and many at once."""
    port = free_port()
    with serving(*options(state, f"127.0.0.1:{port}")) as process:
        client = Client(f"http://127.0.0.1:{port}")
        client.wait()
        assert client.log_in("wrong")[0] == 403
        assert client.log_in(PASSWORD)[0] == 200
        text = ""
        for path in PAGES * 2:
            status, text_ = client.ask(path)
            assert status == 200, path
            text += text_
        assert "It would load, without errors or warnings." in text  # the policy was loaded
        assert "It was tried: the policy loads with it" in text  # and a rule was looked for
        together = [threading.Thread(target=_often, args=(client,)) for _ in range(8)]
        for one in together:
            one.start()
        for one in together:
            one.join()
        most = most_mb(process.pid)
        print(f"the pages had at most {most:.0f} MB")
        assert 20 < most < LIMIT_MB


def _often(client: Client) -> None:
    other = Client(client.address)
    other.jar = client.jar
    for path in PAGES:
        client.ask(path)


def test_over_tls_for_real(state: Path) -> None:
    """A login over a verified connection; nobody else's authority, and no old TLS."""
    authority = make_authority("Pages CA")
    holder = certificate("127.0.0.1", authority, dns=["localhost"])
    (state / "cert.pem").write_bytes(holder.pem + authority.pem)
    (state / "key.pem").write_bytes(holder.key_pem)
    (state / "ca.pem").write_bytes(authority.pem)
    port = free_port()
    tls = ("--tls-cert", state / "cert.pem", "--tls-key", state / "key.pem")
    with serving(*options(state, f"0.0.0.0:{port}", *tls)):
        client = Client(
            f"https://localhost:{port}", ssl.create_default_context(cafile=str(state / "ca.pem"))
        )
        client.wait()
        assert client.log_in(PASSWORD)[0] == 200
        assert client.ask("/blocked")[0] == 200
        assert client.headers["strict-transport-security"] == "max-age=31536000"
        (cookie,) = [one for one in client.jar if one.name == "__Host-sipguard"]
        assert cookie.secure
        with pytest.raises(URLError, match="CERTIFICATE_VERIFY_FAILED"):
            Client(f"https://localhost:{port}").ask("/login")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with (
            socket.create_connection(("localhost", port), 10) as line,
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            old.wrap_socket(line)
        with socket.create_connection(("localhost", port), 10) as line:
            line.settimeout(10)
            line.sendall(b"GET /login HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"HTTP/1.1 200" not in line.recv(100)


@pytest.mark.parametrize("address", ["0.0.0.0", "[::]"])
def test_a_public_address_without_tls_is_refused(state: Path, address: str) -> None:
    """The program ends, says why and what to do, and nobody ever listened."""
    port = free_port()
    ran = subprocess.run(
        command(*options(state, f"{address}:{port}")),
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "can be reached by others" in ran.stdout + ran.stderr
    assert "--tls-cert" in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 5)


def test_guessing_is_slowed_down_for_real(state: Path) -> None:
    """After some wrong ones even the right password waits; who waits gets in."""
    port = free_port()
    with serving(*options(state, f"127.0.0.1:{port}")):
        client = Client(f"http://127.0.0.1:{port}")
        client.wait()
        assert [client.log_in(f"wrong {n}")[0] for n in range(3)] == [403] * 3
        status, text = client.log_in(PASSWORD)
        assert status == 429
        assert "Too many wrong passwords" in text
        time.sleep(int(client.headers["retry-after"]))
        assert client.log_in(PASSWORD)[0] == 200
