"""What a site has running already, started for a test: rsyslog, a Homer's ear, Prometheus."""

import json
import os
import re
import shutil
import socket
import struct
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from demo.network import Host, within
from demo.programs import Program, finished, until

_PAIR = re.compile(r"([A-Za-z0-9]+)=((?:[^\\=]|\\[\\=])*?)(?= [A-Za-z0-9]+=|$)")
CONTRIB = Path(__file__).parents[1] / "contrib"

RSYSLOG = """\
global(workDirectory="{work}")
module(load="imudp") module(load="imtcp") module(load="mmpstrucdata")
module(load="imuxsock" SysSock.Use="off")
template(name="told" type="list") {{
  constant(value="{{\\"pri\\":") property(name="pri")
  constant(value=",\\"time\\":\\"") property(name="timereported" dateFormat="rfc3339")
  constant(value="\\",\\"app\\":\\"") property(name="app-name" format="json")
  constant(value="\\",\\"pid\\":\\"") property(name="procid" format="json")
  constant(value="\\",\\"kind\\":\\"") property(name="msgid" format="json")
  constant(value="\\",\\"data\\":\\"") property(name="structured-data" format="json")
  constant(value="\\",\\"values\\":[") property(name="$!rfc5424-sd")
  constant(value="],\\"text\\":\\"") property(name="msg" format="json")
  constant(value="\\"}}\\n")
}}
"""
RULESET = """\
ruleset(name="{name}") {{
  action(type="mmpstrucdata" sd_name.lowercase="off")
  action(type="omfile" file="{file}" template="told")
}}
input(type="{module}" {where} ruleset="{name}")
"""


class Logged(NamedTuple):
    """One message as rsyslog understood it."""

    priority: int
    time: str
    app: str
    pid: str
    kind: str
    values: dict[str, str]
    text: str


class Rsyslog(Program):
    """The real rsyslogd, with UDP and TCP at one port of a host, and a Unix socket."""

    def __init__(self, host: Host, work: Path, port: int) -> None:
        self._work = work
        self.socket = work / "log"
        text = RSYSLOG.format(work=work)
        at = f'address="{host.ipv4}" port="{port}"'
        for name, module, where in (
            ("udp", "imudp", at),
            ("tcp", "imtcp", at),
            ("local", "imuxsock", f'Socket="{self.socket}"'),
        ):
            file = work / f"{name}.told"
            text += RULESET.format(name=name, file=file, module=module, where=where)
        config = work / "rsyslog.conf"
        config.write_text(text)
        argv = ["rsyslogd", "-n", "-f", str(config), "-i", str(work / "rsyslog.pid")]
        super().__init__(argv, log=work / "rsyslog.log", namespace=host.namespace)
        if not (self.listens(port) and self.listens(port, tcp=True)):
            self.stop()
            raise RuntimeError(f"rsyslogd does not listen: {self.text()[-400:]}")

    def told(self, name: str) -> list[Logged]:
        """Return what came in by ``udp``, ``tcp`` or ``local``."""
        file = self._work / f"{name}.told"
        rows = file.read_text().splitlines() if file.exists() else []
        return [_logged(json.loads(row)) for row in rows]


def _logged(told: dict[str, Any]) -> Logged:
    values = told["values"][0]["sipguard@32473"] if told["values"] else {}
    return Logged(
        told["pri"], told["time"], told["app"], told["pid"], told["kind"],
        {name: str(value) for name, value in values.items()}, told["text"].strip().lstrip("\ufeff"),
    )  # fmt: skip


def hep_chunks(packet: bytes) -> dict[int, bytes]:
    """Return the values of a HEP packet by their type; fails where it does not add up."""
    assert packet[:4] == b"HEP3"
    assert struct.unpack("!H", packet[4:6])[0] == len(packet)
    found: dict[int, bytes] = {}
    at = 6
    while at < len(packet):
        vendor, kind, length = struct.unpack("!HHH", packet[at : at + 6])
        assert vendor == 0
        assert kind not in found
        assert length >= 6
        found[kind] = packet[at + 6 : at + length]
        at += length
    assert at == len(packet)
    return found


def read_cef(text: str) -> tuple[list[str], dict[str, str]]:
    """Return the seven header fields of a CEF event, and its extension."""
    fields = re.split(r"(?<!\\)(?:\\\\)*\|", text, maxsplit=7)
    assert len(fields) == 8
    return fields[:7], {
        key: re.sub(r"\\(.)", r"\1", value) for key, value in _PAIR.findall(fields[7])
    }


class Prometheus(Program):
    """The real one, with a configuration as shipped but for the interval, in a namespace."""

    def __init__(self, namespace: str, work: Path, config: str) -> None:
        self._namespace = namespace
        file = work / "prometheus.yml"
        file.write_text("global: {scrape_interval: 500ms, evaluation_interval: 1s}\n" + config)
        argv = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={work / 'tsdb'}"]
        super().__init__(
            [*argv, "--web.listen-address=127.0.0.1:9090"],
            log=work / "prometheus.log",
            namespace=namespace,
        )

    def asked(self, path: str, **words: str) -> tuple[int, Any]:
        """Return the status and the answer of its API, or 0 where nobody answers."""
        url = f"http://127.0.0.1:9090/api/v1/{path}?{urllib.parse.urlencode(words)}"
        return within(self._namespace, lambda: _fetched(url))

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return what an expression yields now: labels and value."""
        code, told = self.asked("query", query=expression)
        assert code in (0, 200), (expression, told)
        rows = told["data"]["result"] if code else []
        return [(row["metric"], float(row["value"][1])) for row in rows]


def _fetched(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, None


class Fail2ban(Program):
    """The real server with the filter and the jail as shipped, in a gateway's namespace."""

    def __init__(self, namespace: str, work: Path, log: Path) -> None:
        self._namespace = namespace
        config = fail2ban_files(work / "fail2ban", log)
        self._client = ["fail2ban-client", "-c", str(config), "-s", str(work / "fail2ban.sock")]
        own = ["-p", str(work / "fail2ban.pid"), "--logtarget", "stdout"]
        super().__init__(
            ["fail2ban-server", *self._client[1:], *own, "-f", "start"],
            log=work / "fail2ban.log",
            namespace=namespace,
        )
        if not until(lambda: "Jail 'sipguard' started" in self.text(), 15):
            self.stop()
            raise RuntimeError(f"fail2ban does not start: {self.text()[-800:]}")

    def banned(self) -> list[str]:
        """Return whom it bans now, by its own word."""
        return finished([*self._client, "get", "sipguard", "banip"]).stdout.split()

    def forgive(self) -> None:
        """Ban nobody."""
        finished([*self._client, "unban", "--all"])


def fail2ban_files(folder: Path, log: Path) -> Path:
    """Return a configuration of fail2ban's own files and ours, reading *log* instead."""
    shutil.copytree("/etc/fail2ban", folder)
    for part in ("filter.d", "jail.d"):
        shutil.copy(CONTRIB / "fail2ban" / part / "sipguard.conf", folder / part / "sipguard.conf")
    (folder / "fail2ban.local").write_text("[DEFAULT]\ndbfile = None\n")
    jail = folder / "jail.d" / "sipguard.conf"
    jail.write_text(jail.read_text().replace("/var/lib/sipguard/refused.log", str(log)))
    for other in (folder / "jail.d").glob("defaults-*"):
        other.unlink()
    log.touch()
    return folder


def listening(host: Host, port: int) -> socket.socket:
    """Return a socket of that host that takes connections."""
    return within(host.namespace, lambda: socket.create_server((host.ipv4, port)))


def family_of(pid: int) -> list[int]:
    """Return a process and its children: the service and the one that writes records for it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def need(*programs: str) -> None:
    """Leave a test out where a program is not installed, or fail where that is not allowed."""
    missing = " ".join(name for name in programs if shutil.which(name) is None)
    if missing and os.environ.get("SIPGUARD_NO_SKIP") == "1":
        pytest.fail(f"not installed: {missing}")
    if missing:
        pytest.skip(f"not installed: {missing}")
