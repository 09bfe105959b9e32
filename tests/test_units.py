"""The systemd units that are shipped: what they say, and that what they start does start."""

import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from netns import A4, B4, Host, Lab, heard
from nights import night, request
from other_root import as_user, script
from web_process import Client

from demo.programs import until
from sipguard.edge.exemption_desk import NotOpenError, ask
from sipguard.edge.password_file import hash_password, write_password
from sipguard.tap import Options as GuardOptions
from sipguard.web.tap import Options as WebOptions

ROOT = Path(__file__).parents[1]
UNITS = {
    name: ROOT / "docs" / "systemd" / f"{name}.service" for name in ("sipguard", "sipguard-web")
}
ANALYZE = shutil.which("systemd-analyze") or ""
USER, GROUP, SERVICE = 61_234, 61_235, 61_236  # of nobody
PASSWORD = "correct horse battery"
Unit = dict[str, list[str]]


def read(name: str) -> Unit:
    """Return the settings of all sections of a unit."""
    unit: Unit = defaultdict(list)
    for line in UNITS[name].read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            key, is_there, value = line.partition("=")
            assert is_there, line
            unit[key].append(value)
    return unit


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_to_say(name: str, tmp_path: Path) -> None:
    """Every setting is known and can be; where systemd is not here, a reader of ours must do."""
    for key, values in read(name).items():
        assert key.isalpha(), key
        assert values
    if not ANALYZE:
        return
    copy = tmp_path / f"{name}.service"
    here = f"{sys.prefix}/bin/"
    copy.write_text(UNITS[name].read_text().replace("/opt/sipguard/bin/", here))
    ran = subprocess.run([ANALYZE, "verify", str(copy)], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")
    copy.write_text(copy.read_text().replace("ProtectHome=", "ProtectHous="))
    ran = subprocess.run([ANALYZE, "verify", str(copy)], capture_output=True, text=True, timeout=60)
    assert "ProtectHous" in ran.stderr


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_gives_away_no_rights(name: str) -> None:
    """Two capabilities for the gateway, none for the pages; nothing of the system to write to."""
    unit = read(name)
    rights = {"sipguard": "CAP_NET_ADMIN CAP_NET_RAW", "sipguard-web": ""}[name]
    assert unit["CapabilityBoundingSet"] == [rights]
    assert unit["AmbientCapabilities"] == ([rights] if rights else [])
    for key, value in (("NoNewPrivileges", "yes"), ("ProtectSystem", "strict"),
                       ("ProtectHome", "yes"), ("RestrictSUIDSGID", "yes"),
                       ("SystemCallFilter", "@system-service")):  # fmt: skip
        assert unit[key] == [value], key
    assert unit["User"] == [name]
    assert ("StateDirectory" in unit) is (name == "sipguard")


def test_what_the_units_start_are_options_that_there_are() -> None:
    """Of twistd's two commands, with what the README tells to put into /etc/default."""
    for name, options in (("sipguard", GuardOptions), ("sipguard-web", WebOptions)):
        program, *words = read(name)["ExecStart"][0].replace("$SIPGUARD_OPTIONS", "").split()
        assert program == "/opt/sipguard/bin/twistd"
        assert words[:3] == ["-n", "--pidfile=", name]
        options().parseOptions(words[3:])  # type: ignore[no-untyped-call] # Twisted does not type it


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may reach."""
    with TemporaryDirectory(prefix="sipguard-units-", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def host() -> Iterator[Host]:
    """A network namespace with its own loopback, where the usual port is free."""
    name = f"units-{USER}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    made = Host(name)
    try:
        yield made
    finally:
        made.close()
        subprocess.run(["ip", "netns", "del", name], check=True)


class Installed:
    """A gateway's files as the README has them made, and its units' programs as they start them."""

    def __init__(self, folder: Path) -> None:
        self.state, self.settings = folder / "state", folder / "settings"
        self._folder = folder
        self._places = {
            "/opt/sipguard": Path(sys.prefix), "/etc/sipguard": self.settings,
            "/var/lib/sipguard": self.state,
        }  # fmt: skip
        for path in (self.state, self.settings):
            path.mkdir()
        write_password(self.settings / "web.password", hash_password(PASSWORD))
        shutil.chown(self.settings / "web.password", 0, GROUP)
        self.give_state()

    def give_state(self) -> None:
        """Make all of the state the service's, as it does itself."""
        for path in (self.state, *self.state.iterdir()):
            shutil.chown(path, SERVICE, GROUP)
            path.chmod(0o750 if path.is_dir() else 0o640)

    def pages(self, host: Host) -> "subprocess.Popen[str]":
        """Start the pages: no rights, and the service's group to read by."""
        return self._start(host, as_user(USER, USER, [GROUP]), "sipguard-web")

    def gateway(self, host: Host) -> "subprocess.Popen[str]":
        """Start the gateway: a user with two capabilities."""
        who = as_user(SERVICE, GROUP, [0], "net_admin,net_raw")
        return self._start(host, who, "sipguard", "--page-exceptions sipguard-web")

    def _start(self, host: Host, who: str, name: str, options: str = "") -> "subprocess.Popen[str]":
        (line,) = read(name)["ExecStart"]
        line = line.replace("$SIPGUARD_OPTIONS", options)
        folder = self._folder / name
        folder.mkdir()
        users = {"sipguard": SERVICE, "sipguard-web": USER}
        start = script(folder, self._places, f"{who} {line}", users)
        with (self._folder / f"{name}.log").open("w") as log:
            return host.run(
                lambda: subprocess.Popen(
                    ["unshare", "--mount", "sh", "-c", start],
                    stdout=log, stderr=subprocess.STDOUT, text=True,
                )
            )  # fmt: skip

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()


@pytest.mark.kernel
def test_the_pages_start_as_the_unit_starts_them(folder: Path, host: Host) -> None:
    """The line as it stands, as a user without rights, with the files of root and of the service.

    It answers, logs in, reads what the service stored, and can write none of it.
    """
    installed = Installed(folder)
    night(installed.state)
    installed.give_state()
    before = {path.name for path in installed.state.iterdir()}
    process = installed.pages(host)
    try:
        client = Client("http://127.0.0.1:5080")
        host.run(client.wait)
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert host.run(lambda: client.log_in(PASSWORD))[0] == 200
        blocked = host.run(lambda: client.ask("/blocked"))
        call = host.run(lambda: client.ask("/call/last"))
        listed = host.run(lambda: client.ask("/exceptions"))
    finally:
        process.terminate()
        process.wait(30)
    assert f"Uid:\t{USER}\t{USER}" in status
    assert f"Groups:\t{GROUP}" in status
    for kind in ("Prm", "Eff", "Bnd", "Amb", "Inh"):
        assert f"Cap{kind}:\t{0:016x}" in status
    assert "NoNewPrivs:\t1" in status
    assert blocked[0] == call[0] == 200
    assert blocked[1].count('<td data-label="Record"') == 5
    assert "the service was not started with --page-exceptions" in listed[1]
    assert "Traceback" not in installed.log("sipguard-web")
    assert {path.name for path in installed.state.iterdir()} == before


@pytest.mark.kernel
def test_an_exception_from_the_page_opens_the_gateway_and_its_end_closes_it(
    folder: Path, lab: Lab
) -> None:
    """Both units' programs as two users: the page asks, the service lets packets pass.

    What the parse chain refuses is refused all the same, and the audit says who it was.
    """
    installed = Installed(folder)
    (installed.settings / "gateway.policy").write_text(CLOSED)
    gateway, pages = installed.gateway(lab.router), installed.pages(lab.router)
    try:
        assert until(lambda: "sipguard is guarding" in installed.log("sipguard"), 60)
        assert not passes(lab, request(call=b"one"))
        client = Client("http://127.0.0.1:5080")
        lab.router.run(client.wait)
        assert lab.router.run(lambda: client.log_in(PASSWORD))[0] == 200
        ask_page = partial(_asked, lab.router, client)
        assert until(lambda: "/call/" in ask_page("/blocked?rule=closed"), 20)
        there = re.search(r'href="/call/(\w+)"', ask_page("/blocked?rule=closed"))
        assert there is not None
        page = ask_page(f"/call/{there[1]}")
        csrf = re.search(r'name="csrf" value="([^"]+)"', page)
        assert csrf is not None
        form = {"csrf": csrf[1], "by": "anna", "call": there[1]}
        more = {"ask": "make", "kind": "allow", "lasts": "15m", "why": "trunk", "on-source": "1"}
        assert "Exception 1 is made" in ask_page("/exceptions", {**form, **more})
        assert until(lambda: passes(lab, request(call=b"two")), 6)
        assert not passes(lab, request(call=b"three", more=b"Call-ID: other\r\n"))
        hits = re.compile(r'data-label="Hits" class="n">[1-9]')
        assert until(lambda: bool(hits.search(ask_page("/exceptions"))), 20)
        assert "is not in force" in ask_page("/exceptions", {**form, "ask": "end", "number": "1"})
        assert until(lambda: not passes(lab, request(call=b"four")), 6)
    finally:
        for process in (pages, gateway):
            process.terminate()
        for process in (pages, gateway):
            process.wait(30)
    lines = (installed.state / "exceptions.audit").read_text().splitlines()
    place = "the page of user sipguard-web, asked from 127.0.0.1"
    assert [(line["what"], line["by"], line["from"]) for line in map(json.loads, lines)] == [
        ("add", "anna on the page", place), ("remove", "anna on the page", place),
    ]  # fmt: skip
    assert "audit: exception 1 made by anna from 127.0.0.1" in installed.log("sipguard-web")
    assert "Traceback" not in installed.log("sipguard") + installed.log("sipguard-web")


CLOSED = """\
mode enforce
default drop
media-proof off
stream-transports refuse
chain parse
  ambiguous  drop        if ambiguous         log
chain request
  closed     reject 403  if method == INVITE  log
"""


def passes(lab: Lab, octets: bytes) -> bool:
    """Whether a request from host a arrives at host b."""
    with lab.a.udp(A4, 5060) as phone, lab.b.udp(B4, 5060) as other:
        phone.sendto(octets, (B4, 5060))
        return heard(other) == octets


def _asked(host: Host, client: Client, path: str, fields: dict[str, str] | None = None) -> str:
    return host.run(lambda: client.ask(path, fields))[1]


def test_a_state_directory_without_a_desk_says_so(tmp_path: Path) -> None:
    """What the page says of it is what the unit's comment tells to turn on."""
    with pytest.raises(NotOpenError) as told:
        ask(tmp_path, {"ask": "may"})
    assert "--page-exceptions" in str(told.value)
    assert "--page-exceptions sipguard-web" in UNITS["sipguard-web"].read_text()
