"""The systemd units that are shipped: what they say, and that what they start does start."""

import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from netns import Host
from nights import night
from other_root import as_user, script
from web_process import Client

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


def gateway_in(folder: Path) -> None:
    """Make the state directory and the settings as the README has them made."""
    for name in ("state", "settings", "root"):
        (folder / name).mkdir()
    night(folder / "state")
    write_password(folder / "settings" / "web.password", hash_password(PASSWORD))
    for path in (folder / "state", *(folder / "state").iterdir()):
        shutil.chown(path, SERVICE, GROUP)
        path.chmod(0o750 if path.is_dir() else 0o640)
    shutil.chown(folder / "settings" / "web.password", 0, GROUP)


@pytest.mark.kernel
def test_the_pages_start_as_the_unit_starts_them(folder: Path, host: Host) -> None:
    """The line as it stands, as a user without rights, with the files of root and of the service.

    It answers, logs in, reads what the service stored, and can write none of it.
    """
    gateway_in(folder)
    (line,) = read("sipguard-web")["ExecStart"]
    places = {
        "/opt/sipguard": Path(sys.prefix), "/etc/sipguard": folder / "settings",
        "/var/lib/sipguard": folder / "state",
    }  # fmt: skip
    start = script(folder / "root", places, f"{as_user(USER, [GROUP])} {line}")
    before = {path.name for path in (folder / "state").iterdir()}
    process = host.run(
        lambda: subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", start],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
    )  # fmt: skip
    try:
        client = Client("http://127.0.0.1:5080")
        host.run(client.wait)
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert host.run(lambda: client.log_in(PASSWORD))[0] == 200
        blocked = host.run(lambda: client.ask("/blocked"))
        policy = host.run(lambda: client.ask("/call/last"))
        listed = host.run(lambda: client.ask("/exceptions"))
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=30)
    assert f"Uid:\t{USER}\t{USER}" in status
    assert f"Groups:\t{GROUP}" in status
    for kind in ("Prm", "Eff", "Bnd", "Amb", "Inh"):
        assert f"Cap{kind}:\t{0:016x}" in status
    assert "NoNewPrivs:\t1" in status
    assert blocked[0] == policy[0] == 200
    assert blocked[1].count('<td data-label="Record"') == 5
    assert "the service was not started with --page-exceptions" in listed[1]
    assert "Traceback" not in said
    assert {path.name for path in (folder / "state").iterdir()} == before


def test_a_state_directory_without_a_desk_says_so(tmp_path: Path) -> None:
    """What the page says of it is what the unit's comment tells to turn on."""
    with pytest.raises(NotOpenError) as told:
        ask(tmp_path, {"ask": "may"})
    assert "--page-exceptions" in str(told.value)
    assert "--page-exceptions sipguard-web" in UNITS["sipguard-web"].read_text()
