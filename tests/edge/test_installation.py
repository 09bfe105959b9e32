"""Installing, replacing, adopting and removing the rules in a real kernel."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from guarded import PLAN, Gateway, accept, closed, opened
from netns import A4, A6, B4, B6, Lab, raw

from sipguard.edge import media_rules, programs
from sipguard.edge.netfilter import Netfilter, Plan
from sipguard.edge.nfqueue import Queue
from sipguard.errors import EdgeError

pytestmark = pytest.mark.kernel


def test_installing_again_keeps_media_and_makes_no_second_jump(gateway: Gateway) -> None:
    """A restart with another policy: the old rules go, the open streams stay."""
    gateway.install(PLAN).apply([opened(A4, B4, 4000, 30), opened(A6, B6, 4000, 30)])
    again = gateway.install(replace(PLAN, sip_ports=(5062,), media_idle_s=30))
    assert len(again.pinholes()) == 2
    assert gateway.media(A4, B4)
    assert gateway.jumps() == 1
    assert "5060" not in gateway.lab.router.shell("iptables-nft", "-t", "mangle", "-S")


def test_idle_times_of_an_earlier_policy_live_on(gateway: Gateway) -> None:
    """A policy that no longer says `idle 45s` does not cut the streams that it was said for."""
    before = gateway.install(replace(PLAN, other_idle_s=(45,)))
    before.apply([opened(A4, B4, 4000, 45)])
    after = gateway.install(PLAN)
    assert gateway.media(A4, B4)
    after.apply([closed(A4, B4)])
    assert not gateway.media(A4, B4)


def test_sets_of_an_earlier_version_live_on(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel swept those once a second; whether it does or not, media flows on."""
    with monkeypatch.context() as earlier:
        for name in ("SELDOM", "NOW_AND_THEN"):
            earlier.setattr(media_rules, name, "")
        gateway.install(PLAN).apply([opened(A4, B4, 4000, 30)])
    assert "gc-interval" not in gateway.rules()
    after = gateway.install(replace(PLAN, sip_ports=(5062,)))
    assert gateway.media(A4, B4)
    after.apply([closed(A4, B4), opened(A6, B6)])
    assert (gateway.media(A4, B4), gateway.media(A6, B6)) == (False, True)


def test_the_kernel_sweeps_the_sets_seldom(gateway: Gateway) -> None:
    """It walks them whole, 50 ns an element, while calls wait; what is closed goes at once."""
    gateway.install(replace(PLAN, media_queue=1))
    bodies = gateway.rules().split("set ")[1:]
    swept = {body.split()[0]: "gc-interval" in body.partition("}")[0] for body in bodies}
    seldom = {name for name, is_seldom in swept.items() if is_seldom}
    kinds = {name.rstrip("0123456789").partition("4")[0].partition("6")[0] for name in seldom}
    assert kinds == {"pinholes", "alive", "bans", "proven"}


KILLED = """
import sys, time
from sipguard.edge.netfilter import Netfilter, Plan
from sipguard.edge.nfqueue import Queue
from sipguard.verdict import Hole, OpenPinhole
queue = Queue(0, lambda octets, name, packet: packet.accept())
netfilter = Netfilter(Plan(media_idle_s=20))
netfilter.install()
source, destination = bytes.fromhex(sys.argv[1]), bytes.fromhex(sys.argv[2])
netfilter.apply([OpenPinhole(Hole(source, destination, 4000), "sdes", 20, b"call")])
print("ready", flush=True)
time.sleep(60)
"""


def test_kill_9_leaves_media_running_and_a_restart_adopts_it(gateway: Gateway) -> None:
    """Running calls outlive us; SIP waits for the next judge and is not waved through."""
    lab = gateway.lab
    words = [sys.executable, "-c", KILLED, raw(A4).hex(), raw(B4).hex()]
    victim = lab.router.run(
        lambda: subprocess.Popen(words, stdout=subprocess.PIPE, cwd=os.getcwd())
    )
    assert victim.stdout is not None
    with victim.stdout:
        assert victim.stdout.readline() == b"ready\n"
        with pytest.raises(EdgeError, match="bound already"):
            lab.router.run(lambda: Queue(0, accept))
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    assert gateway.media(A4, B4)
    assert not gateway.media(A4, B4, 5060)
    netfilter = gateway.install(Plan(media_idle_s=20))
    assert [hole.hole.port for hole in netfilter.pinholes()] == [4000]
    assert gateway.jumps() == 1
    queue = lab.router.run(lambda: Queue(0, accept))
    netfilter.apply([closed(A4, B4)])
    assert not gateway.media(A4, B4)
    queue.close()


def test_removal_leaves_nothing_of_ours(gateway: Gateway) -> None:
    """`on-exit remove`: no table, no chain, no jump; traffic flows as before us."""
    netfilter = gateway.install(replace(PLAN, local=True, interfaces=("ra", "rb")))
    gateway.lab.router.run(netfilter.remove)
    assert "sipguard" not in gateway.rules().lower()
    assert gateway.media(A4, B4, 5060)
    assert gateway.media(A4, B4)


def test_keeping_leaves_media_and_refuses_sip(gateway: Gateway) -> None:
    """`on-exit keep`: running calls go on, nothing new is signalled."""
    netfilter = gateway.install(replace(PLAN, media_idle_s=20))
    netfilter.apply([opened(A4, B4, 4000, 20)])
    netfilter.remove(keep=True)
    assert gateway.media(A4, B4)
    assert not gateway.media(A4, B4, 5060)
    with pytest.raises(EdgeError, match="not installed"):
        netfilter.apply([closed(A4, B4)])


def failing_ip6tables(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = programs.Iptables.restore

    def restore(self: programs.Iptables, script: str) -> None:
        if self.name == "ip6tables-nft" and "-I FORWARD" in script:
            raise EdgeError("ip6tables-nft-restore was refused: for this test")
        whole(self, script)

    monkeypatch.setattr(programs.Iptables, "restore", restore)


def test_a_failing_last_step_leaves_nothing_half_installed(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first installation that fails leaves the machine as it was."""
    failing_ip6tables(monkeypatch)
    with pytest.raises(EdgeError, match="for this test"):
        gateway.install()
    assert "sipguard" not in gateway.rules().lower()


def test_a_failing_reinstallation_leaves_the_earlier_rules(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart that fails leaves the rules and the media of the run before it."""
    gateway.install(PLAN).apply([opened(A4, B4, 4000, 60)])
    before = without_moving_parts(gateway.rules())
    failing_ip6tables(monkeypatch)
    with pytest.raises(EdgeError, match="for this test"):
        gateway.install(replace(PLAN, sip_ports=(5070,), interfaces=("ra",)))
    assert without_moving_parts(gateway.rules()) == before


def without_moving_parts(rules: str) -> list[str]:
    """Return the lines of a listing in fixed order, counts and times left out."""
    lines = [line.split(" counter packets")[0].strip() for line in rules.splitlines()]
    return sorted(line for line in lines if "expires" not in line and "packets" not in line)


def test_a_foreign_table_of_our_name_is_not_touched(gateway: Gateway) -> None:
    """Somebody else's table is refused in a sentence, and stays."""
    gateway.lab.router.shell("nft", "add table inet sipguard; add chain inet sipguard mine")
    with pytest.raises(EdgeError, match="is not ours"):
        gateway.install()
    assert "chain mine" in gateway.rules()


def test_another_policy_replaces_the_rules_and_keeps_media(gateway: Gateway) -> None:
    """A reload in the running service; a refused one leaves rules and plan as they were."""
    netfilter = gateway.install(replace(PLAN, media_idle_s=30))
    netfilter.apply([opened(A4, B4, idle_s=30)])
    enforced = netfilter.plan
    gateway.lab.router.run(lambda: netfilter.reinstall(replace(enforced, shadow=True)))
    assert gateway.media(A4, B4, 5060)
    assert gateway.media(A4, B4)
    with pytest.raises(EdgeError, match="cannot change"):
        netfilter.reinstall(replace(enforced, table="other"))
    assert netfilter.plan.shadow
    netfilter.apply([closed(A4, B4)])
    assert netfilter.pinholes() == []


def test_a_second_worker_uses_the_sets_of_the_first(gateway: Gateway) -> None:
    """One installs, the others attach; attaching to nothing says so."""
    other = Netfilter(PLAN)
    with pytest.raises(EdgeError, match="is not installed"):
        gateway.lab.router.run(other.attach)
    gateway.install()
    gateway.lab.router.run(other.attach)
    assert other.apply([opened(A4, B4)]).refused == ()
    assert gateway.media(A4, B4)
    other.remove(keep=True)


def test_without_permission_it_says_so(lab: Lab) -> None:
    """One sentence for who forgot to be root, and nothing installed."""
    said = lab.router.unprivileged(
        "from sipguard.edge.netfilter import Netfilter, Plan; Netfilter(Plan()).install()"
    )
    assert "run as root or with CAP_NET_ADMIN" in said
    assert "sipguard" not in lab.router.shell("nft", "list", "tables")


@pytest.mark.parametrize(
    ("missing", "package"), [("nft", "nftables"), ("iptables-nft", "iptables")]
)
def test_a_missing_program_is_named_with_its_package(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, package: str
) -> None:
    """The newcomer reads what to install."""
    for program in ("nft", "iptables-nft", "iptables-nft-restore"):
        if program != missing:
            (tmp_path / program).symlink_to(f"/usr/sbin/{program}")
    monkeypatch.setattr(programs, "_PATH", str(tmp_path))
    with pytest.raises(EdgeError, match=f"install the package {package}"):
        gateway.install()
    assert "table" not in gateway.lab.router.shell("nft", "list", "tables")
