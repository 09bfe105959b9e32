"""The line for fail2ban, read by fail2ban itself with the filter that is shipped."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hostile_octets import CORPUS
from hostile_records import A6, record

from sipguard.edge.feeds.refused import EACH, RefusedOutlet, refused_line
from sipguard.verdict import Action

CONTRIB = Path(__file__).parents[3] / "contrib" / "fail2ban"
FILTER = CONTRIB / "filter.d" / "sipguard.conf"
needs_fail2ban = pytest.mark.skipif(
    not shutil.which("fail2ban-regex"), reason="needs fail2ban (apt)"
)


def fired_on(log: Path) -> list[str]:
    """Return the addresses that fail2ban would have counted, one for each line that matched."""
    done = subprocess.run(
        ["fail2ban-regex", "-o", "ip", str(log), str(FILTER)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout.split()


def test_the_line_stays_as_it_is() -> None:
    """Filters out there match it; what is added goes before the caller, never elsewhere."""
    assert refused_line(record()) == (
        "2026-05-28T20:26:40.250Z sipguard[refused]: src=192.0.2.7 verdict=drop mode=enforce "
        "reason=refused-by-rule rule=spoofed method=INVITE count=1 id=00000005 "
        'caller="alice@h"'
    )


@pytest.mark.parametrize("name", CORPUS)
def test_no_caller_writes_a_line_or_ends_its_quotes(name: str) -> None:
    """One printable line, whose only quotes are ours."""
    line = refused_line(record(CORPUS[name]))
    assert line.isprintable()
    assert len(line) < 2_000
    assert line.count('"') == 2
    assert re.fullmatch(r"\S+Z sipguard\[refused\]: src=192\.0\.2\.7 .*", line)


@needs_fail2ban
def test_fail2ban_fires_on_the_right_address_only(tmp_path: Path) -> None:
    """Whatever the callers call themselves; IPv6 as well, and nobody who was let through."""
    log = tmp_path / "refused.log"
    outlet = RefusedOutlet(log)
    records = [record(hostile, number) for number, hostile in enumerate(CORPUS.values())]
    records.append(record(number=100, src=A6))
    records.append(record(number=101, mode="shadow", src=bytes((203, 0, 113, 66))))
    assert all(outlet.wants(one, is_new=True) for one in records)
    assert outlet.take(records) == len(records)
    assert fired_on(log) == ["192.0.2.7"] * len(CORPUS) + ["2001:db8::7"]
    outlet.close()


@needs_fail2ban
def test_the_jail_is_one_that_fail2ban_takes(tmp_path: Path) -> None:
    """With its own files around it."""
    config = tmp_path / "fail2ban"
    shutil.copytree("/etc/fail2ban", config)
    for folder in ("filter.d", "jail.d"):
        shutil.copy(CONTRIB / folder / "sipguard.conf", config / folder / "sipguard.conf")
    jail = config / "jail.d" / "sipguard.conf"
    (tmp_path / "refused.log").touch()
    jail.write_text(jail.read_text().replace("/var/lib/sipguard", str(tmp_path)))
    for other in (config / "jail.d").glob("defaults-*"):
        other.unlink()
    done = subprocess.run(
        ["fail2ban-client", "-c", str(config), "-t"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    dumped = subprocess.run(
        ["fail2ban-client", "-c", str(config), "-d"], capture_output=True, text=True, timeout=60
    )
    assert "'sipguard', 'addfailregex'" in dumped.stdout
    assert "FORWARD" in dumped.stdout


def test_who_was_let_through_has_no_line(tmp_path: Path) -> None:
    """Nor has a packet without a sender."""
    outlet = RefusedOutlet(tmp_path / "x")
    assert not outlet.wants(record(action=Action.ACCEPT), is_new=True)
    assert not outlet.wants(record(src=b""), is_new=True)


def test_brute_force_under_one_call_id_has_more_lines(tmp_path: Path) -> None:
    """One for ten messages; what timers repeat is no brute force."""
    outlet = RefusedOutlet(tmp_path / "x")
    first = record()
    assert outlet.wants(first, is_new=True)
    grown = [first._replace(count=count) for count in range(2, 3 * EACH)]
    assert sum(outlet.wants(one, is_new=False) for one in grown) == 2


def test_what_others_sent_is_nobody_s_fault(tmp_path: Path) -> None:
    """A flood from forged senders is counted on one record; its source sent one message."""
    outlet = RefusedOutlet(tmp_path / "x")
    first = record()
    assert outlet.wants(first, is_new=True)
    flood = first._replace(more=5_000, elsewhere=True)
    assert not outlet.wants(flood, is_new=False)
    assert " count=1 " in refused_line(flood)
    own = first._replace(more=5_000)
    assert outlet.wants(own, is_new=False)
