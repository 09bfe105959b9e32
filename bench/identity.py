"""What proofs of identity cost, beside the bare arithmetic on the same machine in the same run.

Every message is of a call of its own, as from a live gateway; the two are timed in turns, because
the machine's other work comes and goes.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from bench import hostile
from bench.report import Figure, progress
from bench.signers import (
    KINDS,
    NAMED_CALLER,
    PASSPORT_URL,
    Holder,
    authority,
    carrier,
    key_of,
    signer_of,
    user,
    with_aib,
    with_passport,
)
from sipguard.edge.policy_file import Files, read_policy
from sipguard.evidence import Evidence, State
from sipguard.guard import Guard
from sipguard.identity.aib import Aib, AibSettings
from sipguard.identity.aib_memory import AibMemory
from sipguard.identity.credentials import Credentials
from sipguard.identity.stir import Stir, StirSettings
from sipguard.identity.trust import Store
from sipguard.moment import Moment
from sipguard.policy.rules import Policy
from sipguard.verdict import Action
from sipguard.wire.packet import Packet
from sipguard.wire.sip import Message, parse_message

TEMPLATE: Final = Path(__file__).with_name("proven-callers.policy")
KNOWN_LIMIT: Final = 6.0  # times the bare verify
FIRST_LIMIT: Final = 15.0
MEMORY_LIMIT_MB: Final = 300.0
PAUSE_LIMIT_MS: Final = 5.0
ENTRIES: Final = 1_000_000
FILLING: Final = 300_000  # more than any memory of proofs keeps
CALLER: Final = NAMED_CALLER.caller_address
CALLEE: Final = NAMED_CALLER.callee_address
_TURNS: Final = 12
_SIGNED: Final = b"a" * 105  # what a signature covers: the signed attributes of CMS have that size


class Ready(NamedTuple):
    """A message parsed beforehand."""

    message: Message
    packet: Packet


Judge = Callable[[Ready], Evidence]


def write_policy(folder: Path, root: Holder) -> Path:
    """Put the bench's policy and the authority that it names into *folder*."""
    (folder / "trust").mkdir(parents=True, exist_ok=True)
    (folder / "trust" / "ca.pem").write_bytes(root.pem)
    policy = folder / TEMPLATE.name
    policy.write_text(TEMPLATE.read_text(encoding="utf-8"), encoding="utf-8")
    return policy


def load_proven(folder: Path, root: Holder) -> Policy:
    """Return the policy that trusts *root*."""
    return read_policy(str(write_policy(folder, root)), Files())


def _ready(octets: bytes) -> Ready:
    return Ready(
        parse_message(octets, "udp"), Packet(CALLER, CALLEE, 5060, 5060, octets, interface="in")
    )


def _bare(kind: str) -> Callable[[], None]:
    """Return one bare verification, the measure of all others."""
    key, digest = key_of(kind, "user"), hashes.SHA256()
    if isinstance(key, rsa.RSAPrivateKey):
        pkcs1 = padding.PKCS1v15()
        signature, modulus = key.sign(_SIGNED, pkcs1, digest), key.public_key()
        return lambda: modulus.verify(signature, _SIGNED, pkcs1, digest)
    scheme = ec.ECDSA(digest)
    signature, point = key.sign(_SIGNED, scheme), key.public_key()
    return lambda: point.verify(signature, _SIGNED, scheme)


def _each_us(work: Callable[[], object], times: int) -> float:
    start_ns = time.thread_time_ns()
    for _ in range(times):
        work()
    return (time.thread_time_ns() - start_ns) / 1000 / times


def _in_turns(kind: str, judge: Callable[[int], None], messages: int) -> tuple[float, float]:
    """Return the medians of *judge* on one message and of one bare verification, in microseconds.

    *judge* gets the number of each message once.
    """
    bare = _bare(kind)
    share = messages // _TURNS
    ours, theirs = [], []
    for turn in range(_TURNS):
        theirs.append(_each_us(bare, share))
        start_ns = time.thread_time_ns()
        for number in range(turn * share, (turn + 1) * share):
            judge(number)
        ours.append((time.thread_time_ns() - start_ns) / 1000 / share)
    return median(ours), median(theirs)


def _figure(what: str, spent: tuple[float, float], limit: float | None, detail: str = "") -> Figure:
    ours_us, bare_us = spent
    detail = f"{ours_us:.0f} us, bare {bare_us:.0f} us{detail}"
    return Figure(what, ours_us / bare_us, "x", below=limit, detail=detail)


def _must_be_valid(evidence: Evidence) -> None:
    if evidence.state is not State.VALID:
        raise RuntimeError(f"a message of the bench is not valid: {evidence.finding}")


def _now() -> Moment:
    return Moment(1000.0, float(int(time.time())))


def _aib_figures(kind: str, messages: int, folder: Path) -> list[Figure]:
    now = _now()
    root = authority(f"root {kind}", kind)
    store = Store((root.der,))
    known = signer_of(user(kind, root))
    octets = [with_aib(number, now.utc_s, known) for number in range(messages)]
    ready = [_ready(each) for each in octets]
    aib = Aib(AibSettings(), store, AibMemory())

    def examine(one: Ready) -> None:
        assert one.message.ids is not None
        _must_be_valid(aib.examine(one.message, one.message.ids, one.packet, now))

    examine(_ready(with_aib(messages, now.utc_s, known)))  # from here on the signer is known
    spent = _in_turns(kind, lambda number: examine(ready[number]), messages)
    size = f", {len(octets[0]):,} octets"
    figures = [_figure(f"one AIB of a known signer, {kind}", spent, KNOWN_LIMIT, size)]

    def below_root(number: int) -> Ready:
        return _ready(with_aib(number, now.utc_s, signer_of(user(kind, root))))

    def below_another(number: int) -> Ready:
        between = authority(f"middle {kind}", kind, root)
        return _ready(with_aib(number, now.utc_s, signer_of(user(kind, between), between)))

    ways = {"below a root": below_root, "below an intermediate": below_another}
    for round_, (way, first_of) in enumerate(ways.items(), 1):
        start = messages * round_ + 1
        fresh = [first_of(number) for number in range(start, start + messages)]

        def examine_fresh(number: int, fresh: list[Ready] = fresh) -> None:
            examine(fresh[number])

        spent = _in_turns(kind, examine_fresh, messages)
        what = f"one AIB, first sight of a signer {way}, {kind}"
        figures.append(_figure(what, spent, FIRST_LIMIT))

    guard = Guard(load_proven(folder, root), b"bench" * 8)

    def judge(number: int) -> None:
        decision = guard.judge(ready[number].packet, now)
        if decision.judgement.rule != "proven":
            raise RuntimeError(f"a message of the bench is not proven: {decision.judgement}")

    spent = _in_turns(kind, judge, messages)
    figures.append(_figure(f"the same through the whole guard, {kind}", spent, None))
    return figures


def _stir_figure(messages: int) -> Figure:
    now = _now()
    root = authority("root of carriers", "p-256")
    holder = carrier(root)
    credentials = Credentials()
    credentials.add_offline(PASSPORT_URL, holder.pem)
    stir = Stir(StirSettings(), Store((root.der,)), credentials)
    signer = signer_of(holder)
    ready = [_ready(with_passport(number, now.utc_s, signer)) for number in range(messages)]

    def examine(number: int) -> None:
        message, packet = ready[number]
        assert message.ids is not None
        _must_be_valid(stir.examine(message, message.ids, packet, now, patient=False))

    spent = _in_turns("p-256", examine, messages)
    return _figure("one PASSporT, certificate cached", spent, KNOWN_LIMIT)


def _hostile_figure(folder: Path) -> Figure:
    """Let the whole guard judge the worst there is, and name what took longest."""
    now = _now()
    root = authority("root p-256", "p-256")
    policy = load_proven(folder, root)
    spent_ms: dict[str, float] = {}
    pem = carrier(root).pem
    for name, make in hostile.cases(root, "root p-256", now.utc_s).items():
        times = []
        for number in range(3):
            guard = Guard(policy, b"bench" * 8)
            guard.credentials.add_offline(PASSPORT_URL, pem)
            packet = Packet(CALLER, CALLEE, 5060, 5060, make(number))
            start_ns = time.thread_time_ns()
            decision = guard.judge(packet, now)
            times.append((time.thread_time_ns() - start_ns) / 1e6)
            if decision.action is Action.ACCEPT:
                raise RuntimeError(f"hostile message let in: {name}")
        spent_ms[name] = median(times)
    slowest = sorted(spent_ms, key=lambda name: -spent_ms[name])
    detail = f"{slowest[0]}; of {len(slowest)}, then " + ", ".join(
        f"{name} {spent_ms[name]:.1f}" for name in slowest[1:4]
    )
    return Figure("slowest hostile message, whole guard", spent_ms[slowest[0]], "ms", detail=detail)


def _memory_figures(quick: bool) -> list[Figure]:
    """Ask processes of their own what the memories take when full, and how long they stop."""
    figures = []
    for kind, most in (("requests", ENTRIES), ("proofs", FILLING)):
        entries = most // 10 if quick else most
        progress(f"replay memory of {kind}")
        command = [sys.executable, "-P", "-m", "bench.replays", kind, str(entries)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        said = json.loads(done.stdout)
        limit = None if quick else MEMORY_LIMIT_MB
        what = f"replay memory after {entries:,} {said['what']}"
        figures.append(Figure(what, said["mb"], "MB", below=limit, detail=said["kept"]))
        what = f"longest pause of expiry, {kind}"
        figures.append(
            Figure(what, said["pause_ms"], "ms", below=PAUSE_LIMIT_MS, detail=said["rest"])
        )
    return figures


def measure(folder: Path, quick: bool) -> list[Figure]:
    """Measure what needs no kernel; *folder* gets policies and certificates."""
    messages = _TURNS * (10 if quick else 50)
    figures: list[Figure] = []
    for kind in KINDS:
        progress(f"signed requests, {kind}")
        figures += _aib_figures(kind, messages, folder / kind)
    progress("PASSporTs and hostile messages")
    figures.append(_stir_figure(messages))
    figures.append(_hostile_figure(folder / "hostile"))
    return figures + _memory_figures(quick)
