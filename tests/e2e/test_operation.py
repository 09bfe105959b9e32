"""What an admin does to a running gateway, and what befalls one: reload, restart, crash, flood."""

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo import packets
from demo.cases import clean_invite_passes
from demo.clients import Baresip
from demo.gateway import ROOT, Gateway
from demo.network import Network
from demo.programs import finished, until
from demo.stage import Stage, silent, staged

pytestmark = pytest.mark.kernel

Serve = Callable[..., Stage]
FLOOD = 12_000
IDLE_S = 4  # as the policy below says
ENDED = {0, -signal.SIGTERM}  # twistd ends itself by the signal that it was stopped with

POLICY = """\
mode enforce
default drop
on-exit keep
on-unknown-dialog learn for 30m

set phones { 10.20.0.0/16 fd20::/16 }

chain request
  calls   accept  if src in phones and method in {INVITE ACK BYE CANCEL OPTIONS}
chain media
  sealed  open    if keyed  idle 4s
"""
CLOSED = POLICY.replace("method in {INVITE ACK BYE CANCEL OPTIONS}", "method == OPTIONS")
UNPROVEN = POLICY.replace("mode enforce", "mode enforce\nmedia-proof off")
REMOVING = POLICY.replace("on-exit keep", "on-exit remove")


@pytest.fixture
def serve(network: Network, tmp_path: Path) -> Iterator[Serve]:
    """Start a gateway of one's own with the given policy text; it is gone after the test."""
    with contextlib.ExitStack() as stack:

        def start(text: str, *options: str) -> Stage:
            policy = tmp_path / "own.policy"
            policy.write_text(text)
            running = Gateway(network, tmp_path, policy=policy, options=options)
            gateway = stack.enter_context(running)
            return stack.enter_context(staged(network, tmp_path, silent, gateway))

        yield start


def keeper_of(stage: Stage) -> Gateway:
    """The gateway of a stage that has one."""
    assert stage.gateway is not None
    return stage.gateway


@contextlib.contextmanager
def running_call(stage: Stage) -> Iterator[tuple[Baresip, Baresip]]:
    """A baresip call with SRTP both ways."""
    network = stage.network
    with (
        Baresip("bob", network.callee, stage.work, answers=True) as bob,
        Baresip("alice", network.caller, stage.work) as alice,
    ):
        alice.dial(network.callee.ipv4)
        assert alice.happened("CALL_ESTABLISHED")
        assert media_flows(stage)
        yield alice, bob


def media_flows(stage: Stage, seconds: float = 0.5) -> bool:
    """Whether most of the packets of so many seconds come through, both ways."""
    there, back = stage.callee_side.mark(), stage.caller_side.mark()
    time.sleep(seconds)
    network = stage.network
    counts = (
        len(stage.callee_side.rtp(network.caller.ipv4, since=there)),
        len(stage.caller_side.rtp(network.callee.ipv4, since=back)),
    )
    return min(counts) > seconds * 50 * 0.5


def media_ends(stage: Stage) -> bool:
    """Whether the stream that passed just now does not pass any more, at the latest when idle.

    Its own last packet tells: no other would pass without proof.
    """
    caller, callee = stage.network.caller, stage.network.callee
    media = stage.callee_side.rtp(caller.ipv4)[-1]
    time.sleep(IDLE_S + 1.5)
    mark = stage.callee_side.mark()
    here, far = (caller.ipv4, media.source_port), (callee.ipv4, media.port)
    packets.send(caller.namespace, here, far, [media.payload] * 10)
    time.sleep(0.3)
    return not stage.callee_side.rtp(caller.ipv4, since=mark)


class TestReload:
    """A policy changes under running calls, or does not change at all."""

    def test_good_policy_takes_effect(self, serve: Serve) -> None:
        """After SIGHUP the new rules judge."""
        stage = serve(POLICY)
        gateway = keeper_of(stage)
        assert clean_invite_passes(stage)
        gateway.policy.write_text(CLOSED)
        gateway.reload()
        assert until(lambda: not clean_invite_passes(stage), 6)

    def test_running_call_outlives_it(self, serve: Serve) -> None:
        """A call keeps its media and can be hung up under a policy that would refuse it."""
        stage = serve(POLICY)
        gateway = keeper_of(stage)
        with running_call(stage) as (alice, bob):
            gateway.policy.write_text(CLOSED)
            gateway.reload()
            time.sleep(1.0)
            assert media_flows(stage)
            alice.hang_up()
            assert bob.happened("CALL_CLOSED")
            assert stage.pinholes_gone()

    def test_bad_policy_keeps_the_last_good_one(self, serve: Serve) -> None:
        """A mistake is named with its place, in the log and in the status; judging goes on."""
        stage = serve(POLICY)
        gateway = keeper_of(stage)
        mark = len(gateway.text())
        gateway.policy.write_text(POLICY.replace("src in phones", "src in fones"))
        gateway.reload()
        assert gateway.logged(f"{gateway.policy}:9:", since=mark), gateway.text()[mark:]
        assert clean_invite_passes(stage)
        assert until(lambda: "fones" in gateway.ask("status").stdout, 8)


class TestRestart:
    """Running calls do not notice that the guard went away and came back."""

    def test_stop_and_start_keeps_the_media(self, serve: Serve) -> None:
        """With on-exit keep the pinholes stay while nobody guards; the call ends properly."""
        stage = serve(POLICY)
        with running_call(stage) as (alice, bob):
            assert keeper_of(stage).stop() in ENDED
            assert media_flows(stage)
            keeper_of(stage).start()
            assert media_flows(stage)
            alice.hang_up()
            assert bob.happened("CALL_CLOSED"), "the BYE of a learned call passes"
            assert media_ends(stage)

    def test_kill_keeps_the_media(self, serve: Serve) -> None:
        """After kill -9 as well; the sets live in the kernel."""
        stage = serve(POLICY)
        with running_call(stage) as (alice, bob):
            keeper_of(stage).kill()
            assert media_flows(stage)
            keeper_of(stage).start()
            assert media_flows(stage)
            bob.hang_up()
            assert alice.happened("CALL_CLOSED"), "the BYE of a learned call passes"
            assert media_ends(stage)

    def test_nothing_passes_unjudged_meanwhile(self, serve: Serve) -> None:
        """Fail closed: while nobody guards, no new call comes through."""
        stage = serve(POLICY)
        keeper_of(stage).kill()
        assert not clean_invite_passes(stage)
        keeper_of(stage).start()
        assert clean_invite_passes(stage)

    def test_fail_open_lets_calls_pass_meanwhile(self, serve: Serve) -> None:
        """Where the admin chose it, calls go on while nobody guards."""
        stage = serve(POLICY, "--fail-open")
        keeper_of(stage).kill()
        assert clean_invite_passes(stage)

    def test_remove_leaves_nothing_in_the_kernel(self, serve: Serve) -> None:
        """With on-exit remove the machine routes as before."""
        stage = serve(REMOVING)
        assert keeper_of(stage).stop() in ENDED
        listed = finished(["nft", "list", "ruleset"], namespace=stage.network.gateway)
        assert "sipguard" not in listed.stdout.lower()
        assert "queue" not in listed.stdout.lower()


def clear_rtp_arrives(stage: Stage) -> bool:
    """Whether RTP in clear, from the caller's own address and port, comes to the callee."""
    caller, callee = stage.network.caller, stage.network.callee
    media = stage.callee_side.rtp(caller.ipv4)[-1]
    here, far = (caller.ipv4, media.source_port), (callee.ipv4, media.port)
    forged, mark = packets.clear_packets(10), stage.callee_side.mark()
    packets.send(caller.namespace, here, far, forged, gap_s=0.005)
    time.sleep(0.3)
    return any(frame.payload in forged for frame in stage.callee_side.frames[mark:])


class TestMediaProof:
    """What has proven itself flows on, whatever becomes of the guard; nothing else does."""

    def test_proven_media_outlives_a_crash(self, serve: Serve) -> None:
        """Killed, gone and back: not a gap, and nobody slips in meanwhile or afterwards."""
        stage = serve(POLICY.replace("idle 4s", "idle 60s"))  # RTCP is rarer than every four
        gateway = keeper_of(stage)
        with running_call(stage):
            proven = {source[:4] for source in gateway.waits_for_sources(2)}
            assert len(proven) >= 2
            gateway.kill()
            assert media_flows(stage)
            assert not clear_rtp_arrives(stage)
            gateway.start()
            assert media_flows(stage)
            assert not clear_rtp_arrives(stage)
            assert {source[:4] for source in gateway.sources()} >= proven

    def test_it_can_be_switched_off_and_on_again(self, serve: Serve) -> None:
        """The call goes on; clear RTP passes just as long as nobody asks for proof."""
        stage = serve(POLICY)
        gateway = keeper_of(stage)
        with running_call(stage) as (alice, bob):
            assert not clear_rtp_arrives(stage)
            gateway.policy.write_text(
                POLICY.replace("mode enforce", "mode enforce\nmedia-proof off")
            )
            gateway.reload()
            assert until(lambda: clear_rtp_arrives(stage), 6)
            assert media_flows(stage)
            gateway.policy.write_text(POLICY)
            gateway.reload()
            assert until(lambda: not clear_rtp_arrives(stage), 6)
            assert media_flows(stage)
            assert len(gateway.waits_for_sources(2)) >= 2, "it has proven itself anew"
            alice.hang_up()
            assert bob.happened("CALL_CLOSED")
            assert stage.pinholes_gone()


def test_full_queue_loses_packets_but_not_the_service(serve: Serve) -> None:
    """A guard that stood still goes on afterwards, and says how many packets it lost."""
    stage = serve(POLICY)
    gateway, network = keeper_of(stage), stage.network
    flood = packets.request("OPTIONS", network.stranger.ipv4, network.callee.ipv4)
    with gateway.paused():
        packets.send(
            network.stranger.namespace,
            (network.stranger.ipv4, 5060),
            (network.callee.ipv4, 5060),
            [flood] * FLOOD,
        )
    assert until(lambda: clean_invite_passes(stage), 10)

    def dropped() -> int:
        return int(json.loads(gateway.ask("status", "--json").stdout)["queue_drops"])

    assert until(lambda: dropped() > 0, 8)


@pytest.mark.parametrize(("limit_us", "least_s"), [("60000", 1), ("0", 0)])
def test_nobody_sleeps_between_packets_that_come_close(
    serve: Serve, limit_us: str, least_s: int
) -> None:
    """`--busy-poll`: judged as ever, and the status says for how long that went on."""
    stage = serve(POLICY, "--busy-poll", limit_us)
    gateway, network = keeper_of(stage), stage.network
    here, there = network.caller.ipv4, network.callee.ipv4
    asked = [packets.request("OPTIONS", here, there) for _ in range(1000)]
    packets.send(network.caller.namespace, (here, 5060), (there, 5060), asked, gap_s=0.002)
    assert clean_invite_passes(stage)

    def told() -> tuple[int, int]:
        status = json.loads(gateway.ask("status", "--json").stdout)
        return status["counters"]["busy_poll_s"], status["by_verdict"].get("accept", 0)

    assert until(lambda: told()[1] > 1000, 8)
    assert least_s <= told()[0] <= 20 * least_s


def test_second_instance_refuses_and_the_first_goes_on(serve: Serve) -> None:
    """Two guards on one queue: the second says so in one sentence and leaves no trace."""
    stage = serve(POLICY)
    gateway = keeper_of(stage)
    other = Gateway(stage.network, stage.work, policy=gateway.policy)
    other.state = stage.work / "other-state"
    done = finished(other.command(), namespace=stage.network.gateway)
    assert done.returncode not in (0, None)
    said = done.stdout + done.stderr
    assert "queue 0" in said
    assert "Traceback" not in said
    assert clean_invite_passes(stage)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (None, "own.policy"),
        (POLICY.replace("default drop", "default dorp"), "own.policy:2:9: "),
        (POLICY.replace("src in phones", "src in fones"), "own.policy:9:"),
    ],
    ids=["missing", "unknown word", "unknown set"],
)
def test_bad_policy_refuses_to_start(
    text: str | None, place: str, network: Network, tmp_path: Path
) -> None:
    """No guard runs on a policy that was not understood; the error names the place."""
    gateway = Gateway(network, tmp_path, policy=tmp_path / "own.policy")
    if text is not None:
        gateway.policy.write_text(text)
    done = finished(gateway.command(), namespace=network.gateway)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert place in said
    assert "Traceback" not in said
    assert "sipguard" not in finished(["nft", "list", "tables"], namespace=network.gateway).stdout


def test_shadow_mode_drops_nothing_and_says_what_it_would(serve: Serve) -> None:
    """In shadow mode even a scanner passes, and its record names the rule and the mode."""
    shadow = ROOT / "policies" / "shadow.policy"
    stage = serve(shadow.read_text())
    network = stage.network
    probe = packets.scanner_probe(network.stranger.ipv4, network.callee.ipv4)
    with packets.Ear(network.callee) as phone, packets.Ear(network.stranger) as scan:
        scan.say(probe, phone.address)
        assert phone.hears(probe)
        phone.say(packets.response(probe, 200, "OK"), scan.address)
        assert until(lambda: bool(scan.heard), 2), "the answer passes as well"
    here, far = (network.stranger.ipv4, 30000), (network.callee.ipv4, 32000)
    packets.send(network.stranger.namespace, here, far, packets.srtp_packets(5))
    assert until(lambda: len(stage.callee_side.rtp(network.stranger.ipv4)) == 5, 2)
    gateway = keeper_of(stage)
    assert until(lambda: bool(gateway.blocked_records()), 8)
    assert gateway.blocked_records()[0]["mode"] == "shadow"


def test_flushed_rules_come_back(serve: Serve) -> None:
    """`nft flush ruleset` opens the gateway for seconds, not until somebody notices."""
    stage = serve(POLICY)
    gateway = keeper_of(stage)
    with running_call(stage):
        before = {hole[:3] for hole in gateway.holes()}
        finished(["nft", "flush", "ruleset"], namespace=stage.network.gateway)
        assert until(lambda: "they are in force again" in gateway.text(), 10.0)
        assert {hole[:3] for hole in gateway.holes()} == before
        assert media_flows(stage)
