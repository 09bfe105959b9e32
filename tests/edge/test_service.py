"""The running gateway without a kernel: packets, records, reload, faults of our own."""

import gc
import signal
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from authority import make_authority
from desks import DeskHere
from phones import ALICE, ANSWER, BOB, OFFER, octets
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from waiting import Proving, prove_by

from sipguard.calls.table import ALL
from sipguard.edge import media_gate
from sipguard.edge import service as room
from sipguard.edge.archive import Archive
from sipguard.edge.direct.path import DirectPath
from sipguard.edge.elements import Tally
from sipguard.edge.feeds.stream import Connector
from sipguard.edge.netfilter import Applied
from sipguard.edge.nfqueue import TurnEnd
from sipguard.edge.overload import OVERLOADED_AT
from sipguard.edge.plan import Plan
from sipguard.edge.policy_file import load
from sipguard.edge.proofs import Proofs
from sipguard.edge.queued import Judge, QueuedPacket, Reader
from sipguard.edge.service import GuardService, Settings
from sipguard.edge.stream import listeners
from sipguard.edge.ticking import BITE
from sipguard.edge.turnstile import CLOSE_WITHIN_S
from sipguard.errors import EdgeError
from sipguard.guard import Guard
from sipguard.journal.query import Query
from sipguard.journal.told import parts
from sipguard.moment import Moment
from sipguard.verdict import ClosePinhole, Effect, OpenPinhole, Reply

GOOD = "default drop\nchain request\n  all accept\nchain media\n  keyed open if keyed idle 60s\n"


class Kernel:
    """What Netfilter, Queue and ReplySender would have done."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.plans: list[Plan] = []
        self.refuses = False
        self.fail_open = False
        self.reactor: Clock | None = None
        self.judge: Judge = lambda *_: None
        self.make_way: Callable[[], None] = lambda: None
        self.turn_end: TurnEnd = lambda _: False
        self.waiting = 0
        self.removed: list[bool] = []
        ends = (lambda _: b""), self.settle
        self.reader = Reader(
            0, 1, *ends, lambda *_: None, lambda _: "", lambda *_: None, 9,
            make_way=lambda: self.make_way(),
        )  # fmt: skip

    def settle(self, verdict: bytes) -> None:
        """Read the verdict's number (nfnetlink_queue.h)."""
        self.log.append("accept" if verdict[27] else "drop")


class FakeNetfilter:
    kernel: Kernel

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.direct = DirectPath(Proofs(1))

    def install(self) -> None:
        if self.kernel.refuses:
            raise EdgeError("no permission")
        self.kernel.plans.append(self.plan)

    def reinstall(self, plan: Plan) -> None:
        if self.kernel.refuses:
            raise EdgeError("the kernel said no")
        self.plan = plan
        self.kernel.plans.append(plan)

    def remove(self, *, keep: bool) -> None:
        self.kernel.removed.append(keep)

    def pinholes(self) -> list[object]:
        return []

    def sources(self) -> int:
        return 0

    def forget_silent(self) -> int:
        return 0

    def apply(self, effects: Sequence[Effect]) -> Applied:
        for effect in effects:
            self.kernel.log.append("open" if isinstance(effect, OpenPinhole) else "close")
            assert isinstance(effect, OpenPinhole | ClosePinhole)
        closed = [effect.hole for effect in effects if isinstance(effect, ClosePinhole)]
        return Applied((), tuple(Tally(hole, 7, 1204) for hole in closed))

    def totals(self) -> object:
        return type("T", (), {"opened": 0, "closed": 0, "refused": 0, "proven": 0, "doubted": 0})()

    def counters(self) -> dict[str, object]:
        return {}


class FakeQueue:
    kernel: Kernel

    def __init__(
        self,
        number: int,
        judge: Judge,
        *,
        fail_open: bool,
        reactor: Clock | None,
        turn_end: TurnEnd,
        make_way: Callable[[], None],
        **_: object,
    ) -> None:
        self.number = number
        self.kernel.judge = judge
        self.kernel.make_way = make_way
        self.kernel.fail_open = fail_open
        self.kernel.reactor = reactor
        self.kernel.turn_end = turn_end
        self.closed = False

    def choose(self, *, fail_open: bool) -> None:
        self.kernel.fail_open = fail_open

    def waiting(self) -> int:
        return self.kernel.waiting

    def status(self) -> object:
        values = {"waiting": self.kernel.waiting, "dropped_full": 0, "dropped_unread": 0}
        return type("S", (), values)()

    def counts(self) -> object:
        return type("C", (), {"failures": 0, "overruns": 0, "crowded_out": 2})()

    def close(self) -> None:
        self.closed = True


class FakeMediaQueue(FakeQueue):
    """That of the media gate, which tests/edge/test_media_service.py is about."""

    def __init__(self, number: int, judge: Judge, **_: object) -> None:
        self.number = number


class FakeSamples:
    failures = overruns = 0

    def __init__(self, group: int, take: object) -> None:
        self.group = group

    def close(self) -> None:
        pass


class FakeReplies:
    kernel: Kernel
    sent = 0

    def __init__(self, mark: int) -> None:
        self.mark = mark

    def send(self, reply: Reply) -> bool:
        self.kernel.log.append("reply")
        return True

    def close(self) -> None:
        self.kernel.log.append("replies closed")


class SilentNames:
    """A resolver that never answers."""

    def resolveHostName(self, receiver: object, host: str) -> None:  # noqa: N802
        pass


class FakeReactor(Clock):
    nameResolver = SilentNames()  # noqa: N815

    def addReader(self, reader: object) -> None:  # noqa: N802
        pass

    def removeReader(self, reader: object) -> None:  # noqa: N802
        pass

    def connectTCP(self, *_: object) -> Connector:  # noqa: N802
        raise NotImplementedError

    def adoptStreamPort(self, *_: object) -> listeners.ListeningPort:  # noqa: N802
        raise NotImplementedError

    def callFromThread(self, work: Callable[..., None], *arguments: object) -> None:  # noqa: N802
        work(*arguments)


def ip_packet(payload: bytes, source: str = ALICE, destination: str = BOB) -> bytes:
    udp = struct.pack("!HHHH", 5060, 5060, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
    return head + octets(source) + octets(destination) + udp


class Gateway:
    """A service on a fake kernel."""

    def __init__(self, directory: Path, kernel: Kernel, text: str = GOOD) -> None:
        self.kernel = kernel
        self.policy = directory / "p"
        self.policy.write_text(text)
        self.desk = DeskHere(directory)
        self.store = self.desk.store
        settings = Settings(str(self.policy), directory)
        loaded = load(str(self.policy), "", 0.0)
        self.reactor = FakeReactor()
        self.service = GuardService(settings, loaded, self.desk, self.reactor)

    def send(self, payload: bytes, source: str = ALICE, destination: str = BOB) -> str:
        packet = QueuedPacket(self.kernel.reader, b"\0\0\0\1", b"")
        reader = self.kernel.reader
        before = reader.accepted, reader.dropped
        self.kernel.judge(ip_packet(payload, source, destination), "lan0", packet)
        self.kernel.turn_end(True)
        after = reader.accepted, reader.dropped
        return {(1, 0): "accept", (0, 1): "drop"}[after[0] - before[0], after[1] - before[1]]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    for fake in (FakeNetfilter, FakeQueue, FakeReplies):
        monkeypatch.setattr(fake, "kernel", made, raising=False)
    monkeypatch.setattr(room, "Netfilter", FakeNetfilter)
    monkeypatch.setattr(room, "Queue", FakeQueue)
    monkeypatch.setattr(room, "ReplySender", FakeReplies)
    monkeypatch.setattr(media_gate, "Queue", FakeMediaQueue)
    monkeypatch.setattr(media_gate, "Samples", FakeSamples)
    monkeypatch.setattr(listeners, "listening_socket", lambda *_: None)
    return made


@pytest.fixture
def gateway(tmp_path: Path, kernel: Kernel) -> Iterator[Gateway]:
    made = Gateway(tmp_path, kernel)
    made.service.privilegedStartService()
    yield made
    made.store.close()


INVITE = (
    f"INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP {ALICE}:5060;branch=z9hG4bK-1\r\n"
    "Max-Forwards: 70\r\nFrom: <sip:a@example.com>;tag=a\r\nTo: <sip:b@example.com>\r\n"
    f"Call-ID: c1\r\nCSeq: 1 INVITE\r\nContact: <sip:a@{ALICE}>\r\n"
    f"Content-Type: application/sdp\r\nContent-Length: {len(OFFER.raw)}\r\n\r\n"
).encode() + OFFER.raw
ANSWERED = (
    f"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {ALICE}:5060;branch=z9hG4bK-1\r\n"
    "From: <sip:a@example.com>;tag=a\r\nTo: <sip:b@example.com>;tag=b\r\n"
    f"Call-ID: c1\r\nCSeq: 1 INVITE\r\nContact: <sip:b@{BOB}>\r\n"
    f"Content-Type: application/sdp\r\nContent-Length: {len(ANSWER.raw)}\r\n\r\n"
).encode() + ANSWER.raw
BYE = (
    f"BYE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP {ALICE}:5060;branch=z9hG4bK-2\r\n"
    "Max-Forwards: 70\r\nFrom: <sip:a@example.com>;tag=a\r\nTo: <sip:b@example.com>;tag=b\r\n"
    "Call-ID: c1\r\nCSeq: 2 BYE\r\n\r\n"
).encode()
OVER = b"SIP/2.0 200 OK\r\n" + BYE.partition(b"\r\n")[2].replace(b"Max-Forwards: 70\r\n", b"")


def test_holes_open_before_the_answer_goes_on(gateway: Gateway) -> None:
    """Media must not outrun its hole."""
    assert gateway.send(INVITE) == "accept"
    gateway.kernel.log.clear()
    assert gateway.send(ANSWERED, BOB, ALICE) == "accept"
    assert gateway.kernel.log == ["open"] * 4 + ["accept"]


def test_large_packets_may_wait(gateway: Gateway) -> None:
    """The queue for SIP knows whom to ask for another turn; what found no room is told."""
    assert gateway.kernel.reactor is gateway.reactor
    assert gateway.service.report().counters["crowded_out"] == 2 * 2  # of SIP and of media


def test_what_was_done_is_counted_and_recorded(gateway: Gateway) -> None:
    """Verdicts, reasons and records reach the status and the store."""
    gateway.send(INVITE)
    gateway.send(ANSWERED.replace(b"z9hG4bK-1", b"z9hG4bK-2"), BOB, ALICE)
    gateway.desk.finish()
    report = gateway.service.report()
    assert report.packets == 2
    assert report.by_verdict == {"accept": 1, "drop": 1}
    assert report.by_reason["stray-response"] == 1
    assert (report.records, report.lost_records) == (1, 0)


def test_the_record_of_a_call_has_what_went_through(tmp_path: Path, kernel: Kernel) -> None:
    """`record all`: who hung up, and what the kernel counted on each pinhole until then."""
    made = Gateway(tmp_path, kernel, f"record all\n{GOOD}")
    made.service.privilegedStartService()
    made.send(INVITE)
    made.send(ANSWERED, BOB, ALICE)
    assert made.send(BYE) == "accept"
    assert made.send(OVER, BOB, ALICE) == "accept"
    made.reactor.advance(CLOSE_WITHIN_S)
    made.desk.finish()
    (entry,) = Archive(tmp_path).find(Query())
    ends = parts(entry.line, "streams")
    assert len(ends) == 4
    told = {(end["packets"], end["octets"], end["closed_by"], end["reason"]) for end in ends}
    assert told == {(7, 1204, "caller", "call-ended")}
    assert made.service.report().lost_records == 0
    made.store.close()


def test_a_refusal_is_dropped_first_and_then_answered(tmp_path: Path, kernel: Kernel) -> None:
    """The packet's fate waits for no socket."""
    made = Gateway(tmp_path, kernel, "default reject 403\n")
    made.service.privilegedStartService()
    made.send(INVITE)
    assert kernel.log == ["drop", "reply"]
    made.store.close()


def test_a_good_policy_replaces_the_old_one(gateway: Gateway) -> None:
    """And the kernel's rules only when they change."""
    gateway.policy.write_text("default drop\n")
    gateway.service.reload()
    assert gateway.send(INVITE) == "drop"
    assert gateway.service.report().last_reload == "ok"
    gateway.policy.write_text("default drop\nsip-ports 5060 5062\n")
    gateway.service.reload()
    assert gateway.kernel.plans[-1].sip_ports == (5060, 5062)


def test_the_end_of_a_trial_is_the_end_of_its_mercy(gateway: Gateway) -> None:
    """In shadow mode a fault of ours lets its packet pass; from the reload to enforce on, not."""
    for mode, is_open in (("shadow", True), ("enforce", False)):
        gateway.policy.write_text(f"mode {mode}\n{GOOD}")
        gateway.service.reload()
        assert gateway.kernel.fail_open is is_open


def test_a_bad_policy_leaves_the_last_good_one(gateway: Gateway) -> None:
    """Whole; and the same bad file is not tried every two seconds."""
    before = gateway.service.report().policy_hash
    gateway.policy.write_text("nonsense\ndefault maybe\n")
    gateway.service.reload()
    report = gateway.service.report()
    assert report.last_reload.startswith("refused: ")
    assert "; " in report.last_reload  # two errors, and one line of `sipguard status`
    assert report.last_reload.isprintable()
    assert report.policy_hash == before
    assert gateway.send(INVITE) == "accept"
    gateway.policy.write_text(GOOD)
    gateway.service._look_at_the_policy()
    assert gateway.service.report().last_reload == "ok"


def test_a_bad_certificate_by_url_leaves_the_last_good_policy(gateway: Gateway) -> None:
    """STI-15: it is told with its place, like anything else that is wrong with a policy."""
    name = "https%3A%2F%2Fcr.example.com%2Fa.pem"
    gateway.policy.with_name("ca.pem").write_bytes(make_authority("Root").pem)
    mark = "-----{} CERTIFICATE-----\n"
    broken = mark.format("BEGIN") + "AAAA*\n" + mark.format("END")
    gateway.policy.with_name(name).write_text(broken)
    before = gateway.service.report().policy_hash
    words = f'trust stir ca "ca.pem" fetch never certs "{name}"\n'
    gateway.policy.write_text(f"default drop\n{words}chain request\n  a accept if stir.valid\n")
    gateway.service.reload()
    report = gateway.service.report()
    assert report.policy_hash == before
    assert f"cannot use {gateway.policy.with_name(name)}" in report.last_reload


def test_a_certificate_that_was_missing_is_seen_to_come(gateway: Gateway) -> None:
    """The policy that names it is taken then by itself; nobody touches it again."""
    ca = gateway.policy.with_name("ca.pem")
    before = gateway.service.report().policy_hash
    text = 'default drop\ntrust aib ca "ca.pem"\nchain request\n  a drop if not aib.valid\n'
    gateway.policy.write_text(text)
    gateway.service._look_at_the_policy()
    assert "cannot read" in gateway.service.report().last_reload
    assert gateway.service.report().policy_hash == before
    ca.write_text("-----BEGIN CERTIFICATE-----\n")
    gateway.service._look_at_the_policy()
    assert f"{gateway.policy}:2:" in gateway.service.report().last_reload
    ca.write_bytes(make_authority("Example").pem)
    gateway.service._look_at_the_policy()
    assert gateway.service.report().last_reload == "ok"
    assert gateway.service.report().policy_hash != before


def test_a_kernel_that_refuses_leaves_the_last_good_policy(gateway: Gateway) -> None:
    """Rules and policy never disagree."""
    gateway.kernel.refuses = True
    gateway.policy.write_text("default drop\nsip-ports 5062\n")
    gateway.service.reload()
    assert "the kernel said no" in gateway.service.report().last_reload
    assert gateway.send(INVITE) == "accept"


def test_a_start_that_fails_says_so_in_one_sentence(tmp_path: Path, kernel: Kernel) -> None:
    """And lets go of everything."""
    kernel.refuses = True
    made = Gateway(tmp_path, kernel)
    with pytest.raises(SystemExit, match="sipguard: no permission"):
        made.service.privilegedStartService()
    assert kernel.log == ["replies closed"]


def test_a_fault_in_a_turn_does_not_end_the_loop(gateway: Gateway) -> None:
    """It is counted, logged, and the next turn comes."""

    def broken() -> None:
        raise RuntimeError("ours")

    gateway.service._guarded(broken)
    assert gateway.service.report().errors == 1


def test_a_long_queue_is_an_overload_and_a_short_one_is_not(gateway: Gateway) -> None:
    """on-overload keep-dialogs: a new call gets 503."""
    gateway.kernel.waiting = OVERLOADED_AT
    gateway.service._look_at_the_queue()
    assert gateway.send(INVITE) == "drop"
    gateway.kernel.waiting = 0
    gateway.service._look_at_the_queue()
    assert gateway.send(INVITE) == "accept"


def test_an_exception_of_the_guard_reaches_the_queue(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue gives the verdict then, fail closed or open (tests/edge/test_nfqueue.py)."""

    monkeypatch.setattr(gateway.desk, "journal", None)
    with pytest.raises(AttributeError):
        gateway.send(b"GET / HTTP/1.1\r\n\r\n")


SIGNED = """default drop
trust stir ca "ca.pem" fetch any within 2s
chain request
  good accept if stir.valid
  rest reject 436
"""


class Waiting:
    """A gateway whose packets wait, and what they wait for."""

    def __init__(self, directory: Path, kernel: Kernel, proving: Proving) -> None:
        (directory / "ca.pem").write_bytes(make_authority("root").pem)
        self.gateway = Gateway(directory, kernel, SIGNED)
        self.service = self.gateway.service
        self.kernel = kernel
        self.fetches: list[Deferred[None]] = []
        self.service.privilegedStartService()
        proving.guard = self.service._guard
        self.hook()

    def hook(self) -> None:
        """Have certificates come when the test says so."""

        def fetch(_url: str) -> Deferred[None]:
            self.fetches.append(Deferred())
            return self.fetches[-1]

        fetcher = self.service._fetching._fetcher
        assert fetcher is not None
        self.service._fetching.holding.use(fetch, 2.0)

    def send(self) -> None:
        packet = QueuedPacket(self.kernel.reader, b"\0\0\0\1", b"")
        self.kernel.judge(ip_packet(INVITE), "lan0", packet)

    def report(self, name: str) -> int:
        return self.service.report().counters.get(name, 0)


@pytest.fixture
def waiting(
    tmp_path: Path, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Waiting, Proving]]:
    proving = prove_by(monkeypatch)
    made = Waiting(tmp_path, kernel, proving)
    yield made, proving
    made.service._fetching.stop()
    made.gateway.store.close()


def test_a_packet_waits_for_its_certificate(waiting: tuple[Waiting, Proving]) -> None:
    """STI-15: it gets its verdict when that is here; until then it is no packet judged."""
    made, proving = waiting
    made.send()
    assert (made.kernel.log, made.service.report().packets) == ([], 0)
    assert made.report("held_now") == 1
    proving.word = "valid"
    made.fetches[0].callback(None)
    assert made.kernel.log == ["accept"]
    assert made.service.report().by_verdict == {"accept": 1}
    assert (made.report("held_now"), made.report("held")) == (0, 1)


def test_at_the_deadline_the_policy_decides(waiting: tuple[Waiting, Proving]) -> None:
    """STI-15: unknown, after as long as ``within`` says; the refusal is answered."""
    made, _proving = waiting
    made.send()
    made.gateway.reactor.advance(1.9)
    assert made.kernel.log == []
    made.gateway.reactor.advance(0.1)
    assert made.kernel.log == ["drop", "reply"]
    assert made.report("held_too_long") == 1


def test_a_reload_judges_what_waits(waiting: tuple[Waiting, Proving]) -> None:
    """By the new policy, which here wants no proof."""
    made, _proving = waiting
    made.send()
    made.gateway.policy.write_text(GOOD)
    made.service.reload()
    assert made.kernel.log == ["accept"]
    made.fetches[0].callback(None)
    assert made.kernel.log == ["accept"]


def test_a_reload_that_still_waits_fetches_anew(waiting: tuple[Waiting, Proving]) -> None:
    """The old fetcher is closed, and what it brings no longer counts."""
    made, proving = waiting
    made.send()
    before = made.service._fetching._fetcher
    made.service.reload()
    after = made.service._fetching._fetcher
    assert before is not None
    assert after is not None
    assert before is not after
    assert before.fetch("https://cr.example.com/b.pem").called, "it is closed"
    assert made.report("held_now") == 1
    proving.word = "valid"
    made.gateway.reactor.advance(2.0)
    assert made.kernel.log == ["accept"]


def test_stopping_leaves_nobody_waiting(waiting: tuple[Waiting, Proving]) -> None:
    """Each packet has its verdict before the queues close and the last record is written."""
    made, _proving = waiting
    made.send()
    made.service.stopService()
    assert made.kernel.log[:2] == ["drop", "reply"]


def test_a_file_without_authorities_is_refused(
    waiting: tuple[Waiting, Proving], tmp_path: Path, kernel: Kernel
) -> None:
    """``fetch-ca``: at the start and at a reload, with the place that names it."""
    made, _proving = waiting
    rubbish = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    (tmp_path / "web.pem").write_text(rubbish)
    bad = SIGNED.replace("fetch any", 'fetch any fetch-ca "web.pem"')
    made.gateway.policy.write_text(bad)
    made.service.reload()
    told = made.service.report().last_reload
    assert ":2:" in told
    assert "fetch-ca" in told
    assert "web.pem" in told
    made.send()
    assert made.report("held_now") == 1
    with pytest.raises(EdgeError, match=r"web\.pem"):
        Gateway(tmp_path, kernel, bad)


def test_without_trust_nothing_waits(
    tmp_path: Path, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``fetch never``, or no ``trust stir`` at all: unknown at once, and nobody fetches."""
    (tmp_path / "ca.pem").write_bytes(make_authority("root").pem)
    for text in (
        SIGNED.replace("fetch any within 2s", "fetch never"),
        SIGNED.replace("trust", "#"),
    ):
        proving = prove_by(monkeypatch)
        made = Gateway(tmp_path, kernel, text)
        made.service.privilegedStartService()
        proving.guard = made.service._guard
        kernel.log.clear()
        assert made.send(INVITE) == "drop"
        assert made.service._fetching._fetcher is None
        made.store.close()


def test_time_passes_for_the_guard_in_steps(
    tmp_path: Path, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before there is a guard nothing happens; while packets come close, less in each step."""
    looked_at: list[int] = []

    def tick(_guard: Guard, _now: Moment, most: int) -> tuple[Effect, ...]:
        looked_at.append(most)
        return ()

    monkeypatch.setattr(Guard, "tick", tick)
    made = Gateway(tmp_path, kernel)
    made.service._ticking.between_packets()
    assert looked_at == []
    made.service.privilegedStartService()
    made.service._ticking.between_packets()
    made.service._ticking.start()
    assert looked_at == [BITE, ALL]
    made.store.close()


def test_the_memories_are_swept(
    tmp_path: Path, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a turn of its own: a tick does it no more."""
    forgotten: list[Moment] = []
    monkeypatch.setattr(Guard, "forget", lambda _guard, now: forgotten.append(now))
    made = Gateway(tmp_path, kernel)
    made.service._forget()
    made.service.privilegedStartService()
    made.service._ticking.between_packets()
    assert forgotten == []
    made.service._forget()
    assert len(forgotten) == 1
    made.store.close()


@pytest.mark.parametrize(
    ("processors", "is_owing", "may"), [(1, False, True), (1, True, False), (2, True, True)]
)
def test_with_one_processor_records_are_written_first(
    gateway: Gateway, processors: int, is_owing: bool, may: bool
) -> None:
    """Whoever writes them has what time we leave."""
    gateway.service._processors, gateway.desk.is_owing = processors, is_owing
    assert gateway.service._poll._may() is may


def test_the_end_of_a_turn_reaches_who_waits_for_it(gateway: Gateway) -> None:
    """Frames of records are made when no packet waits for that."""
    gateway.send(INVITE)
    assert not gateway.kernel.turn_end(False)
    assert gateway.desk.turns == [True, False]


def test_pinholes_open_before_the_answer(gateway: Gateway) -> None:
    """Media must not outrun them."""
    gateway.send(INVITE)
    gateway.kernel.log.clear()
    assert gateway.send(ANSWERED, BOB, ALICE) == "accept"
    assert gateway.kernel.log == ["open"] * 4 + ["accept"]


def test_pinholes_close_behind_the_answer(gateway: Gateway) -> None:
    """Who hung up hears of it first; nobody is harmed by media that comes a little longer."""
    gateway.send(INVITE)
    gateway.send(ANSWERED, BOB, ALICE)
    assert gateway.send(BYE) == "accept"
    gateway.kernel.log.clear()
    assert gateway.send(OVER, BOB, ALICE) == "accept"
    assert gateway.kernel.log == ["accept"]
    gateway.reactor.advance(CLOSE_WITHIN_S)
    assert gateway.kernel.log == ["accept"] + ["close"] * 4


def test_pinholes_close_before_the_rules_are_left_alone(gateway: Gateway) -> None:
    """With ``on-exit keep`` nobody else would close them."""
    gateway.send(INVITE)
    gateway.send(ANSWERED, BOB, ALICE)
    gateway.send(BYE)
    gateway.send(OVER, BOB, ALICE)
    gateway.kernel.log.clear()
    gateway.service._end(None)
    assert gateway.kernel.log[:4] == ["close"] * 4
    assert gateway.kernel.removed


def test_pinholes_close_at_once_where_no_turn_ends(gateway: Gateway) -> None:
    """A packet that was held gets its verdict between turns: nothing may be left waiting."""
    gateway.send(INVITE)
    gateway.send(ANSWERED, BOB, ALICE)
    assert gateway.send(BYE) == "accept"
    gateway.kernel.log.clear()
    packet = QueuedPacket(gateway.kernel.reader, b"\0\0\0\1", b"")
    turnstile = gateway.service._turnstile
    turnstile.take_again(ip_packet(OVER, BOB, ALICE), "lan0", packet, True)
    assert gateway.kernel.log == ["close"] * 4 + ["accept"]


def test_starting_and_stopping(tmp_path: Path, kernel: Kernel) -> None:
    """on-exit keep leaves the rules; every record is written; signals work meanwhile."""
    made = Gateway(tmp_path, kernel)
    numbers = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
    handlers, thresholds = [signal.getsignal(number) for number in numbers], gc.get_threshold()
    try:
        made.service.privilegedStartService()
        made.service.startService()
        made.send(ANSWERED, BOB, ALICE)
        made.policy.write_text("default drop\n")
        signal.raise_signal(signal.SIGHUP)
        assert made.send(INVITE) == "drop"
        made.service.stopService()
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
        gc.unfreeze()
        gc.set_threshold(*thresholds)
    assert kernel.removed == [True]
    assert made.store.written >= 1
    assert made.desk.log == ["check", "start", "reopen", "check", "use"]
    judged = Archive(tmp_path).summary(Query(), 3600).judged
    assert [bar.messages for bar in judged if bar.messages] == [{"drop": 2}]
    assert (tmp_path / "status.json").exists()
    judged = Archive(tmp_path).summary(Query(), 3600).judged
    assert sum(sum(bar.messages.values()) for bar in judged) == 2


@pytest.fixture
def signals() -> Iterator[None]:
    """Leaves those of the test run as they are."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals")
def test_packets_are_judged_until_connections_are_done(
    gateway: Gateway, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """UDP would wait in the kernel else, and be lost; a reload, which would listen, waits."""
    ended, hurried = Deferred[None](), []
    monkeypatch.setattr(gateway.service._streams, "stop", lambda: ended)
    monkeypatch.setattr(gateway.service._streams, "hurry", lambda: hurried.append(True))
    stopping = gateway.service.stopService()
    assert [stopping.called, kernel.removed] == [False, []]
    gateway.policy.write_text("default drop\n")
    gateway.service.reload()
    assert gateway.send(INVITE) == "accept"
    signal.raise_signal(signal.SIGTERM)
    assert hurried == [True]
    ended.callback(None)
    assert [stopping.called, kernel.removed] == [True, [True]]
