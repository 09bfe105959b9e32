"""SIP over WebSocket through the running gateway: a kept client library, and Kamailio behind."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tls_ends import ROOT, tls_certificate

from demo.gateway import Gateway
from demo.network import Network
from demo.programs import Program, finished, until
from sipguard.reason import Reason

pytestmark = pytest.mark.kernel

HERE = Path(__file__).parent
MODULES = Path("/usr/lib/x86_64-linux-gnu/kamailio/modules")
PBX = "10.20.2.2"
PAGE = "https://phone.example.com"
POLICY = f"""
mode enforce
default drop
ws-ports 8080
wss-ports 8443
ws-origins {{ "{PAGE}" }}
trust tls ca "ca.pem"
tls-certificate "gw.pem" key "gw.key"
chain request
  phones accept if transport in {{ ws wss }} and method in {{ REGISTER OPTIONS }}
chain response
  answers accept if transaction.known
"""
KAMAILIO = f"""#!KAMAILIO
debug=1
log_stderror=yes
children=1
tcp_children=1
enable_tls=yes
listen=tcp:{PBX}:8080
listen=tls:{PBX}:8443
tcp_accept_no_cl=yes
alias="example.com"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "tm.so"
loadmodule "tls.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "nathelper.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "xhttp.so"
loadmodule "websocket.so"
loadmodule "xlog.so"
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "certificate", "FOLDER/pbx.pem")
modparam("tls", "private_key", "FOLDER/pbx.key")
modparam("websocket", "rm_delay_interval", 1)
modparam("nathelper|registrar", "received_avp", "$avp(RECEIVED)")
request_route {{
  xlog("L_ALERT", "GOT $rm from $si over $pr\\n");
  force_rport();
  if (is_method("REGISTER")) {{
    fix_nated_register();
    if (!save("location")) sl_reply_error();
    exit;
  }}
  sl_send_reply("200", "Here");
}}
event_route[xhttp:request] {{
  xlog("L_ALERT", "ASKED $hu host=$hdr(Host) origin=$hdr(Origin) from=$si\\n");
  set_reply_close();
  set_reply_no_connect();
  if ($hdr(Upgrade) =~ "websocket" && ws_handle_handshake()) exit;
  xhttp_reply("404", "Not Here", "", "");
}}
event_route[websocket:closed] {{
  xlog("L_ALERT", "CLOSED\\n");
}}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy with all that it names, and Kamailio's configuration."""
    folder = tmp_path_factory.mktemp("ws")
    gateway = tls_certificate("gateway", dns=("gw.example.com",), addresses=(PBX,))
    server = tls_certificate("pbx", dns=("pbx.example.com",), addresses=(PBX,))
    for name, octets in {
        "ca.pem": ROOT.pem,
        "gw.pem": gateway.pem,
        "gw.key": gateway.key_pem,
        "pbx.pem": server.pem,
        "pbx.key": server.key_pem,
        "p.policy": POLICY.encode(),
        "kamailio.cfg": KAMAILIO.replace("FOLDER", str(folder)).encode(),
    }.items():
        (folder / name).write_bytes(octets)
        (folder / name).chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def gateway(network: Network, work: Path, files: Path) -> Iterator[Gateway]:
    """A gateway with that policy."""
    with Gateway(network, work, policy=files / "p.policy") as running:
        yield running


class Kamailio:
    """The server behind the gateway."""

    def __init__(self, network: Network, files: Path) -> None:
        self.log = files / "kamailio.log"
        config = files / "kamailio.cfg"
        argv = ["kamailio", "-DD", "-E", "-f", str(config), "-P", str(files / "kamailio.pid")]
        argv += ["-Y", str(files), "-m", "32", "-M", "8", "-n", "1"]
        self._program = Program(argv, log=self.log, namespace=network.callee.namespace)
        listens = ["ip", "netns", "exec", network.callee.namespace, "ss", "-ltn"]
        if not until(lambda: ":8443" in finished(listens).stdout, 10):
            self.stop()
            pytest.fail(self.text())

    def text(self) -> str:
        """What it says."""
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        """End it."""
        self._program.stop()


@pytest.fixture(scope="module")
def server(network: Network, files: Path) -> Iterator[Kamailio]:
    """Kamailio with its WebSocket module."""
    if not shutil.which("kamailio") or not (MODULES / "websocket.so").exists():
        pytest.skip("not installed: kamailio and kamailio-websocket-modules")
    running = Kamailio(network, files)
    yield running
    running.stop()


def phone(network: Network, *words: str) -> list[str]:
    """Return what the telephone says."""
    argv = [sys.executable, str(HERE / "ws_phone.py"), *words]
    done = finished(argv, namespace=network.caller.namespace, timeout_s=20)
    assert done.stderr == ""
    return done.stdout.splitlines()


def reasons(gateway: Gateway) -> list[object]:
    """The reasons of all records so far."""
    return [record.get("reason") for record in gateway.blocked_records()]


@pytest.mark.parametrize("words", [(), ("--binary",)])
def test_a_telephone_registers_over_websocket(
    network: Network, gateway: Gateway, server: Kamailio, words: tuple[str, ...]
) -> None:
    """REGISTER and OPTIONS are answered by Kamailio, which sees the client's own address."""
    began = len(server.text())
    said = phone(network, f"ws://{PBX}:8080/sip", "--origin", PAGE, *words)
    answers = [line.split(" ", 2) for line in said[1:3]]
    assert said[0] == "OPEN sip"
    assert [(line[0], line[2]) for line in answers] == [
        ("REGISTER", "SIP/2.0 200 OK"),
        ("OPTIONS", "SIP/2.0 200 Here"),
    ]
    assert said[3:] == ["PONG", "GOODBYE"]
    heard = server.text()[began:]
    assert f"ASKED /sip host={PBX}:8080 origin={PAGE} from=10.20.1.2" in heard
    assert "GOT REGISTER from 10.20.1.2 over ws" in heard
    assert until(lambda: "CLOSED" in server.text()[began:], 8)


def test_over_tls(network: Network, gateway: Gateway, server: Kamailio, files: Path) -> None:
    """WSS: TLS and the WebSocket both end at the gateway, and begin anew."""
    said = phone(network, f"wss://{PBX}:8443/", "--ca", str(files / "ca.pem"))
    assert said[0] == "OPEN sip"
    assert said[1].endswith("SIP/2.0 200 OK")
    assert said[2].endswith("SIP/2.0 200 Here")
    assert said[3:] == ["PONG", "GOODBYE"]


def test_refusals(network: Network, gateway: Gateway, server: Kamailio) -> None:
    """Another subprotocol, another page, too large a message: each with its word and record."""
    began = len(server.text())
    uri = f"ws://{PBX}:8080/"
    assert phone(network, uri, "--subprotocol", "chat") == ["STATUS 400"]
    assert phone(network, uri, "--origin", "https://evil.example.net") == ["STATUS 403"]
    assert "ASKED" not in server.text()[began:]
    assert phone(network, uri, "--oversize") == ["OPEN sip", "CLOSED 1009"]
    wanted = {Reason.WS_SUBPROTOCOL.value, Reason.WS_ORIGIN.value, Reason.WS_TOO_LARGE.value}
    assert until(lambda: wanted <= set(reasons(gateway)), 3)
    assert "GOT MESSAGE" not in server.text()[began:]


def test_the_server_is_gone(network: Network, gateway: Gateway) -> None:
    """502, and a record; last, since nothing listens here."""
    assert phone(network, f"ws://{network.stranger.ipv4}:8080/") == ["STATUS 502"]
    assert until(lambda: Reason.UNREACHABLE.value in reasons(gateway), 3)
