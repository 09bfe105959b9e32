"""The running gateway: packets from the kernel to the guard, and its decisions back."""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipguard.edge import policy_file
from sipguard.edge.busy_poll import BusyPoll
from sipguard.edge.control import INTERVAL_S, StatusReport, write_status
from sipguard.edge.exemptions import ExemptionWatch
from sipguard.edge.fetching import Fetching, terms_of
from sipguard.edge.garbage import LOOK_S, Garbage
from sipguard.edge.judged import JudgedMeter
from sipguard.edge.media_gate import MediaGate
from sipguard.edge.netfilter import Netfilter
from sipguard.edge.nfqueue import Queue
from sipguard.edge.overload import OverloadWatch
from sipguard.edge.plan import Plan
from sipguard.edge.policy_file import LoadedPolicy
from sipguard.edge.reactor import Reactor
from sipguard.edge.records.desk import Desk
from sipguard.edge.reply import ReplySender
from sipguard.edge.report import begun, count_kernel, count_tables, count_unjudged, rule_hits
from sipguard.edge.settings import Settings
from sipguard.edge.stream.gate import StreamGate
from sipguard.edge.streams_told import Closing
from sipguard.edge.ticking import Ticking
from sipguard.edge.turnstile import Turnstile, now
from sipguard.errors import EdgeError, PolicyError
from sipguard.guard import Guard
from sipguard.verdict import Effect, OpenPinhole, Reply

FORGET_S: Final = 0.25  # a bite of the memories that no call notices
OVERLOAD_S: Final = 0.25
WATCH_S: Final = 2.0

__all__ = ["GuardService", "Settings"]


class GuardService(Service):
    """One process: some queues and one guard. Records are written by another.

    ``privilegedStartService`` does everything that needs root and fails with
    one sentence; after it nothing of ours needs more than the open sockets,
    CAP_NET_ADMIN and the state directory.
    """

    log = Logger()

    def __init__(
        self, settings: Settings, loaded: LoadedPolicy, desk: Desk, reactor: Reactor
    ) -> None:
        self._settings = settings
        self._loaded = loaded
        self._desk = desk
        self._reactor = reactor
        self._netfilter = Netfilter(settings.plan(loaded.policy))
        self._queues: list[Queue] = []
        self._replies: ReplySender | None = None
        self._exemptions = ExemptionWatch(settings.state_dir)
        self._guard: Guard | None = None
        self._started_s = time.time()
        self._last_reload = ""
        self._turnstile = Turnstile(self._apply, self._reply, self._call_later)
        self._judged = JudgedMeter(self._turnstile.by_verdict)
        tick = partial(self._guarded, self._tick)
        self._ticking = Ticking(tick, self._packets, reactor)
        between = self._ticking.between_packets
        self._poll = BusyPoll(reactor, settings.busy_poll_us, self._may_poll, between)
        self._media = MediaGate(self._carry_out, reactor, self._poll)
        self._streams = StreamGate(self._turnstile, reactor)
        terms_of(loaded.policy)  # a file that cannot be used ends the start here
        desk.check(loaded.policy)
        self._fetching = Fetching(self._turnstile, reactor)
        self._garbage = Garbage()
        self._processors = len(os.sched_getaffinity(0))
        self._overload = OverloadWatch()
        self._unjudged = 0  # SIP packets that met our rules without a verdict of ours
        self._errors = 0
        self._passed_packets = self._passed_octets = 0  # through pinholes closed by now
        self._loops: list[LoopingCall] = []
        self._is_ending = False  # nothing is reloaded any more: it would listen again

    # --- starting and stopping

    def privilegedStartService(self) -> None:
        """Bind the queues, then install the rules: a busy queue leaves nothing behind."""
        try:
            self._desk.open()
            plan = self._netfilter.plan
            mark, fail_open, take = plan.mark, plan.lets_pass, self._turnstile.take
            for number in range(plan.queues[0], plan.queues[1] + 1):
                queue = Queue(
                    number, take, mark=mark, fail_open=fail_open, reactor=self._reactor,
                    make_way=self._turnstile.make_way,
                    turn_end=self._turn_ended, poll=self._poll,
                )  # fmt: skip
                self._queues.append(queue)
            self._media.open(plan)
            self._streams.open(plan)
            self._replies = ReplySender(plan.mark)
            self._netfilter.install()
            self._unjudged = count_unjudged(self._netfilter) or 0
        except EdgeError as error:
            self._let_go()
            raise SystemExit(f"sipguard: {error}") from None
        # Pinholes of an earlier run mean calls that it knew and we do not.
        adopted = len(self._netfilter.pinholes())
        forgotten = self._netfilter.forget_silent()
        self._guard = Guard(
            self._loaded.policy,
            os.urandom(32),
            record=self._desk.observe,
            learning=bool(adopted),
        )
        self._turnstile.guard = self._guard
        self._exemptions.look(self._guard)
        self._media.use(self._guard)
        self._streams.use(self._loaded.policy)
        self._fetching.use(self._loaded.policy, self._guard.credentials)
        if adopted or forgotten:
            self.log.info(
                "{adopted} pinholes of an earlier run stay open, {forgotten} silent ones closed",
                adopted=adopted,
                forgotten=forgotten,
            )

    def startService(self) -> None:
        """Begin to read the queues."""
        self.running = True
        for queue in self._queues:
            self._reactor.addReader(queue)
        self._media.start()
        self._streams.start()
        self._desk.start(self._loaded.policy)
        for seconds, work in (
            (FORGET_S, self._forget),
            (LOOK_S, self._collect_garbage),
            (INTERVAL_S, self._write_status),
            (OVERLOAD_S, self._look_at_the_queue),
            (WATCH_S, self._look_at_the_policy),
            (WATCH_S, self._look_at_the_rules),
            (WATCH_S, self._look_at_the_exceptions),
            (WATCH_S, self._netfilter.direct.look),
        ):
            loop = LoopingCall(self._guarded, work)
            loop.start(seconds)
            self._loops.append(loop)
        self._ticking.start()
        signal.signal(signal.SIGHUP, self._on_hangup)
        self._garbage.begin()
        policy = self._loaded.policy
        self.log.info(
            "sipguard is guarding: {mode}, {rules} rules of {file}, queue {queue}",
            mode=policy.mode,
            rules=len(policy.rules),
            file=policy.file,
            queue=self._settings.queues[0],
        )

    def stopService(self) -> Deferred[None]:
        """Let connections finish, judging on; then leave the kernel as ``on-exit`` says."""
        self.running = False
        self._is_ending = True
        if threading.current_thread() is threading.main_thread():  # signals are taken there alone
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_another)
        return self._streams.stop().addCallback(self._end)

    def _on_another(self, _signal: int, _frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._streams.hurry)

    def _end(self, _: None) -> None:
        for loop in self._loops:
            if loop.running:
                loop.stop()
        self._ticking.stop()
        for queue in self._queues:
            self._reactor.removeReader(queue)
        self._media.stop()
        self._fetching.stop()
        self._guarded(self._turnstile.close)
        keep = self._loaded.policy.on_exit == "keep"
        self._tell_judged()
        self._desk.finish()
        self._write_status()
        try:
            self._netfilter.remove(keep=keep)
        except EdgeError as error:
            self.log.error("{error}", error=error)
        self._let_go()
        self.log.info(
            "sipguard stops; {what}",
            what="pinholes of running calls stay" if keep else "its kernel rules are removed",
        )

    def _let_go(self) -> None:
        for queue in self._queues:
            queue.close()
        self._queues.clear()
        self._media.close()
        self._streams.close()
        if self._replies is not None:
            self._replies.close()
            self._replies = None

    def _all_queues(self) -> list[Queue]:
        return [*self._queues, *self._media.queues()]

    # --- one packet

    def _reply(self, reply: Reply) -> None:
        if self._replies is not None:
            self._replies.send(reply)

    def _turn_ended(self, is_empty: bool) -> bool:
        self._turnstile.turn_ended(is_empty)
        return self._desk.turn_ended(is_empty)

    def _apply(self, effects: Sequence[Effect]) -> None:
        self._media.overtaken_by(effects)
        self._carry_out(effects)

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        applied = self._netfilter.apply(effects)
        for effect in applied.refused:
            what = type(effect).__name__.removesuffix("Pinhole").lower()
            self.log.warn("the kernel did not {what} {hole}", what=what, hole=effect.hole)
        if applied.tallies:
            self._desk.streams_ended(Closing(effects, applied.tallies, time.time()))
        for tally in applied.tallies:
            self._passed_packets += tally.packets
            self._passed_octets += tally.octets

    # --- in turns

    def _guarded(self, work: Callable[..., None], *arguments: object) -> None:
        """Run one turn; a fault of ours is logged and does not end the loop."""
        try:
            work(*arguments)
        except Exception:  # noqa: BLE001 - the gateway goes on
            self._errors += 1
            self.log.failure(
                "our own code failed in {work}", Failure(), work=getattr(work, "__name__", "?")
            )

    def _call_later(self, delay_s: float, work: Callable[[], None]) -> None:
        self._reactor.callLater(delay_s, self._guarded, work)

    def _packets(self) -> int:
        return self._turnstile.packets

    def _tick(self, most: int) -> None:
        if self._guard is None:
            return
        effects = self._guard.tick(now(), most)
        if effects:
            self._apply(effects)
        self._media.tick()

    def _forget(self) -> None:
        if self._guard is not None:
            self._guard.forget(now())

    def _collect_garbage(self) -> None:
        self._garbage.look(self._packets())

    def _look_at_the_queue(self) -> None:
        if self._guard is not None:
            self._overload.look(self._queues, self._guard, self._loaded.policy.on_overload)

    def _may_poll(self) -> bool:
        """Whether nobody needs the processor more: what writes records runs when we sleep."""
        return self._processors > 1 or not self._desk.is_owing

    def _look_at_the_policy(self) -> None:
        if policy_file.has_changed(self._loaded):
            self.reload()

    def _look_at_the_rules(self) -> None:
        """Put our rules back where somebody flushed them: without them SIP passes unjudged."""
        unjudged = count_unjudged(self._netfilter)
        before, self._unjudged = self._unjudged, unjudged or 0
        if unjudged is not None and (unjudged <= before or self._netfilter.plan.lets_pass):
            return
        self._netfilter.install()
        self._unjudged = count_unjudged(self._netfilter) or 0
        if self._guard is not None:
            idle_s = self._loaded.policy.media_idle_s
            self._apply([OpenPinhole(hole, "", idle_s, b"") for hole in self._guard.open_holes()])
        self.log.error("our kernel rules were gone or passed by; they are in force again")

    def _look_at_the_exceptions(self) -> None:
        if self._guard is not None:
            self._exemptions.look(self._guard)

    # --- reloading

    def _on_hangup(self, _signal: int, _frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._guarded, self._hangup)

    def _hangup(self) -> None:
        self._desk.reopen()
        self.reload()

    def reload(self) -> None:
        """Read the policy anew; on any error the last good one stays in force, whole."""
        if self._is_ending:
            return
        before = self._loaded
        files = policy_file.Files()
        name, mode = self._settings.policy_file, self._settings.mode
        try:
            loaded = policy_file.load(name, mode, time.time(), files)
            terms_of(loaded.policy)
            self._desk.check(loaded.policy)
            plan = self._settings.plan(loaded.policy).beside(self._netfilter.plan)
            if plan != self._netfilter.plan:
                self._replace(plan)
                for queue in self._all_queues():
                    queue.choose(fail_open=plan.lets_pass)
        except (PolicyError, EdgeError) as error:
            # Do not try the same bad file again until it is written once more.
            # What it named and lacked is watched, too: it may come.
            seen = {name: policy_file.mtime_ns(name) for name in before.mtimes_ns}
            self._loaded = before._replace(mtimes_ns={**seen, **files.mtimes_ns})
            self._last_reload = f"refused: {'; '.join(str(error).splitlines())}"
            self.log.error(
                "policy not reloaded, the last good one stays in force:\n{error}", error=error
            )
            return
        self._loaded = loaded
        self._desk.use(loaded.policy)
        if self._guard is not None:
            self._guard.replace_policy(loaded.policy)
            self._streams.use(loaded.policy)
            self._fetching.use(loaded.policy, self._guard.credentials)
        self._last_reload = "ok"
        self.log.info(
            "policy reloaded: {mode}, {rules} rules of {file}",
            mode=loaded.policy.mode,
            rules=len(loaded.policy.rules),
            file=loaded.policy.file,
        )

    def _replace(self, plan: Plan) -> None:
        self._streams.replace(
            plan, lambda: self._media.replace(plan, lambda: self._netfilter.reinstall(plan))
        )

    # --- status

    def _write_status(self) -> None:
        if self._judged.is_due(time.time()):
            self._tell_judged()
        try:
            write_status(self._settings.state_dir, self.report())
        except OSError as error:
            self.log.warn("cannot write the status file: {error}", error=error)

    def _tell_judged(self) -> None:
        judged = self._judged.read(time.time())
        if judged is not None:
            self._desk.judged(judged)

    def report(self) -> StatusReport:
        """Gather what ``sipguard status`` shows."""
        policy = self._loaded.policy
        report = begun(self._loaded, self._turnstile, self._started_s)
        report.last_reload = self._last_reload
        self._exemptions.count(report, self._guard)
        failures = sum(queue.counts().failures for queue in self._queues)
        report.errors = self._errors + failures + self._media.failures() + self._streams.failures
        report.rules = rule_hits(policy, report.written_s - time.monotonic())
        count_tables(report, self._guard)
        self._fetching.count(report)
        count_kernel(report, self._all_queues(), self._netfilter)
        self._media.count(report)
        self._streams.count(report)
        self._desk.count(report)
        report.counters["busy_poll_s"] = int(self._poll.spent_s)
        report.counters["passed_packets"] = self._passed_packets
        report.counters["passed_octets"] = self._passed_octets
        if self._replies is not None:
            report.counters["replies_sent"] = self._replies.sent
        return report
