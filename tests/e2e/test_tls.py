"""SIP over TLS through the gateway: ended here, judged, begun anew towards a verified server."""

import os
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from tls_ends import OTHER_ROOT, ROOT, tls_certificate

from demo.gateway import Gateway
from demo.network import Network
from demo.programs import Program, until
from sipguard.reason import Reason

pytestmark = pytest.mark.kernel

HERE = Path(__file__).parent
PBX = "10.20.2.2"
POLICY = """
mode enforce
default drop
set peers { branch.example.com }
trust tls ca "ca.pem" pinned "pin.pem"
tls-certificate "gw.pem" key "gw.key"
tls-certificate "pbx.pem" key "pbx.key"
chain request
  branch accept if tls.version == 1.3 and tls.client.valid and tls.peer in peers
  others accept if method == OPTIONS and transport == tls and not tls.client.valid log
chain response
  pbx accept if tls.peer in { pbx.example.com 10.20.2.2 }
"""


def options(number: int) -> bytes:
    """A request as a telephone writes it."""
    return (
        f"OPTIONS sip:{PBX} SIP/2.0\r\n"
        f"Via: SIP/2.0/TLS 10.20.1.2:5061;branch=z9hG4bKtls{number};rport\r\n"
        "Max-Forwards: 70\r\n"
        f"From: <sip:alice@10.20.1.2>;tag=1{number}\r\n"
        f"To: <sip:{PBX}>\r\n"
        f"Call-ID: tls{number}\r\n"
        "CSeq: 1 OPTIONS\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy with all that it names."""
    folder = tmp_path_factory.mktemp("tls")
    gateway = tls_certificate("gateway", dns=("gw.example.com",), addresses=(PBX,))
    named = tls_certificate("pbx in front", dns=("pbx.example.com",))
    alone = tls_certificate("an IP-PBX", None, dns=("pbx.example.com",))
    for name, octets in {
        "ca.pem": ROOT.pem,
        "pin.pem": alone.pem,
        "gw.pem": gateway.pem,
        "gw.key": gateway.key_pem,
        "pbx.pem": named.pem,
        "pbx.key": named.key_pem,
        "p.policy": POLICY.encode(),
    }.items():
        (folder / name).write_bytes(octets)
        (folder / name).chmod(0o600)
    for name, holder in {
        "good": tls_certificate("pbx", dns=("pbx.example.com",), addresses=(PBX, "fd20:2::2")),
        "wrong": tls_certificate("elsewhere", dns=("elsewhere.example.com",)),
        "wild": tls_certificate("wild", dns=("*.example.com",)),
        "stranger": tls_certificate("stranger", OTHER_ROOT, dns=("pbx.example.com",)),
        "alone": alone,
        "another": tls_certificate("an IP-PBX", None, dns=("pbx.example.com",)),
        "branch": tls_certificate("branch", uris=("sip:branch.example.com",)),
    }.items():
        (folder / f"{name}.both.pem").write_bytes(holder.pem + holder.key_pem)
    assert str(ip_address(PBX)) == PBX
    return folder


@pytest.fixture(scope="module")
def gateway(network: Network, work: Path, files: Path) -> Iterator[Gateway]:
    """A gateway with that policy."""
    with Gateway(network, work, policy=files / "p.policy") as running:
        yield running


class Serving:
    """The server behind the gateway, with one of the certificates."""

    def __init__(self, network: Network, files: Path, work: Path, name: str) -> None:
        self.log = work / f"server-{name}.log"
        argv = [
            "python3",
            str(HERE / "tls_server.py"),
            PBX,
            "5061",
            str(files / f"{name}.both.pem"),
        ]
        self._argv, self._namespace = argv, network.callee.namespace

    def __enter__(self) -> "Serving":
        self._program = Program(self._argv, log=self.log, namespace=self._namespace)
        assert until(lambda: "READY" in self.text(), 5)
        return self

    def __exit__(self, *_: object) -> None:
        self._program.stop()

    def text(self) -> str:
        """What it says."""
        return self.log.read_text() if self.log.exists() else ""


def s_client(
    network: Network, files: Path, *options_: str, said: bytes, wait_s: float = 1.5
) -> str:
    """Return what openssl's client shows of a connection over which it says *said*."""
    argv = ["ip", "netns", "exec", network.caller.namespace, "openssl", "s_client"]
    argv += ["-connect", f"{PBX}:5061", "-CAfile", str(files / "ca.pem"), *options_]
    seen = bytearray()
    client = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert client.stdin is not None
    assert client.stdout is not None
    os.set_blocking(client.stdout.fileno(), False)
    client.stdin.write(said)
    client.stdin.flush()

    def answered() -> bool:
        seen.extend(client.stdout.read() or b"" if client.stdout else b"")
        return b"200 OK" in seen or client.poll() is not None

    until(answered, wait_s)
    client.stdin.close()  # it ends then
    until(lambda: answered() and client.poll() is not None, 2)
    client.kill()
    client.wait()
    seen.extend(client.stdout.read() or b"")
    client.stdout.close()
    return seen.decode(errors="replace")


def reasons(gateway: Gateway) -> list[object]:
    """The reasons of all records so far."""
    return [record.get("reason") for record in gateway.blocked_records()]


def test_openssl_speaks_through_the_gateway(
    network: Network, gateway: Gateway, files: Path, tmp_path: Path
) -> None:
    """The answer of the server comes back; each side verified the other one's certificate."""
    with Serving(network, files, tmp_path, "good") as server:
        for number, version in enumerate(("-tls1_2", "-tls1_3")):
            shown = s_client(
                network, files, version, "-verify_return_error", "-servername",
                "pbx.example.com", "-verify_hostname", "pbx.example.com", said=options(number),
            )  # fmt: skip
            assert "SIP/2.0 200 OK" in shown, shown
            assert "Verification: OK" in shown
        assert "('10.20.1.2'" in server.text()
        assert "'pbx.example.com'" in server.text()
        shown = s_client(network, files, "-noservername", said=options(9))
        assert "SIP/2.0 200 OK" in shown, shown
        assert "CN = gateway" in shown


def test_a_client_with_a_certificate_is_known_to_the_rules(
    network: Network, gateway: Gateway, files: Path, tmp_path: Path
) -> None:
    """``tls.client.valid`` and ``tls.peer`` let it in."""
    with Serving(network, files, tmp_path, "good"):
        both = str(files / "branch.both.pem")
        shown = s_client(network, files, "-cert", both, "-key", both, said=options(20))
        assert "SIP/2.0 200 OK" in shown, shown
        both = str(files / "wrong.both.pem")  # valid, and not of the branch
        shown = s_client(network, files, "-cert", both, "-key", both, said=options(21))
        assert "SIP/2.0 200 OK" not in shown


@pytest.mark.parametrize(
    ("name", "reason", "alert"),
    [
        ("wrong", Reason.TLS_WRONG_NAME, "BAD_CERTIFICATE"),
        ("wild", Reason.TLS_WRONG_NAME, "BAD_CERTIFICATE"),
        ("stranger", Reason.UNKNOWN_ISSUER, "UNKNOWN_CA"),
        ("another", Reason.SELF_SIGNED, "UNKNOWN_CA"),
    ],
)
def test_a_server_that_is_not_the_one_is_refused(
    network: Network,
    gateway: Gateway,
    files: Path,
    tmp_path: Path,
    name: str,
    reason: Reason,
    alert: str,
) -> None:
    """Not one octet of SIP reaches it, and both sides hear why (RFC 5922 section 7.3)."""
    with Serving(network, files, tmp_path, name) as server:
        shown = s_client(network, files, "-servername", "pbx.example.com", said=options(30))
        assert "SIP/2.0 200 OK" not in shown
        assert "PEER" not in server.text()
        assert until(lambda: alert in server.text(), 2)
    assert until(lambda: reason.value in reasons(gateway), 4)


def test_a_pinned_server_is_spoken_to(
    network: Network, gateway: Gateway, files: Path, tmp_path: Path
) -> None:
    """An IP-PBX with its own self-signed certificate, which the policy names."""
    with Serving(network, files, tmp_path, "alone"):
        shown = s_client(network, files, "-servername", "pbx.example.com", said=options(35))
        assert "SIP/2.0 200 OK" in shown, shown
        shown = s_client(network, files, "-noservername", said=options(36))
        assert "SIP/2.0 200 OK" not in shown  # it does not name the address


def test_old_versions_and_garbage_are_recorded(
    network: Network, gateway: Gateway, files: Path
) -> None:
    """TLS 1.0 and 1.1 by name (RFC 8996); SIP in clear on the TLS port."""
    s_client(network, files, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", said=b"", wait_s=1)
    assert until(lambda: Reason.TLS_OLD_VERSION.value in reasons(gateway), 4)
    told = [str(record) for record in gateway.blocked_records()]
    assert any("TLS 1.1 at most" in record for record in told)


def test_sessions_are_resumed(
    network: Network, gateway: Gateway, files: Path, tmp_path: Path
) -> None:
    """By openssl's own account, and towards the server by the server's."""
    with Serving(network, files, tmp_path, "good") as server:
        shown = s_client(network, files, "-tls1_2", "-reconnect", said=b"", wait_s=2)
        assert shown.count("Reused, ") >= 4, shown
        session = tmp_path / "session"
        ask = ("-servername", "pbx.example.com")
        s_client(network, files, *ask, "-sess_out", str(session), said=options(50))
        shown = s_client(network, files, *ask, "-sess_in", str(session), said=options(51))
        assert "Reused, TLSv1.3" in shown
        assert "SIP/2.0 200 OK" in shown
        assert "TLSv1.3 True" in server.text()


def test_a_reload_swaps_the_certificate(
    network: Network, gateway: Gateway, files: Path, tmp_path: Path
) -> None:
    """A connection that stands lives on; a new one sees the new certificate."""
    with Serving(network, files, tmp_path, "good"):
        argv = ["ip", "netns", "exec", network.caller.namespace, "openssl", "s_client", "-quiet"]
        argv += ["-connect", f"{PBX}:5061", "-CAfile", str(files / "ca.pem")]
        client = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert client.stdin is not None
        assert client.stdout is not None
        answers = client.stdout.fileno()
        client.stdin.write(options(60))
        client.stdin.flush()
        assert b"200 OK" in client.stdout.readline()
        fresh = tls_certificate("gateway renewed", dns=("gw.example.com",), addresses=(PBX,))
        (files / "gw.pem").write_bytes(fresh.pem)
        (files / "gw.key").write_bytes(fresh.key_pem)
        gateway.reload()
        assert gateway.logged("policy reloaded")
        shown = s_client(network, files, "-noservername", said=options(61))
        assert "CN = gateway renewed" in shown
        client.stdin.write(options(62))
        client.stdin.flush()
        assert until(lambda: b"tls62" in os.read(answers, 65536), 3)
        client.kill()
        client.communicate()
