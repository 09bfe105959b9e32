"""A loaded policy as values: rules, chains and what they rule about a message."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple, final

from sipguard.errors import Problem
from sipguard.moment import Moment
from sipguard.policy.compile import (
    OTHER_METHOD,
    Fixed,
    Node,
    Situation,
    compile_node,
    methods_named,
    narrow,
)
from sipguard.policy.feeds import Feed
from sipguard.policy.field import NO_PROOFS, Fact
from sipguard.policy.literals import Rate
from sipguard.policy.questions import Question
from sipguard.policy.subject import Subject
from sipguard.policy.syntax import Place
from sipguard.policy.tls import TlsTerms
from sipguard.policy.trust import AibTrust, DigestTrust, MikeyTrust, StirTrust
from sipguard.policy.zones import Zones
from sipguard.reason import Reason
from sipguard.verdict import Action, Judgement

CHAINS: Final = ("parse", "request", "response", "media")
_DIALOG, _REPLAY, _FINDINGS = (
    Fact.DIALOG_KNOWN.value,
    Fact.REPLAY.value,
    Fact.FINDINGS.value,
)
SITUATION_BITS: Final = range((_DIALOG | _REPLAY | _FINDINGS) + 1)


class Rule:
    """One named rule. ``hits`` and ``last_hit`` count; everything else never changes."""

    __slots__ = (
        "_question",
        "action",
        "alarm",
        "asks_mikey",
        "chain",
        "column",
        "condition",
        "file",
        "hits",
        "identity",
        "idle_s",
        "last_hit",
        "line",
        "log",
        "log_rate",
        "name",
        "node",
        "phrase",
        "shadow",
        "status",
        "tolerates",
        "unproven",
    )

    def __init__(self, name: str, chain: str, action: str, node: Node, at: Place) -> None:
        self.name = name
        self.chain = chain
        self.action = action  # accept, drop, reject, tolerate or open
        self.node = node
        self._question = compile_node(node)
        self.file, self.line, self.column = at
        self.condition = ""  # as text, for explanations
        self.identity = NO_PROOFS  # kinds of proof that its condition may ask for
        self.asks_mikey = False  # whether its condition may ask what MIKEY messages are worth
        self.status = 0  # of reject; 0: that of the finding that made the rule speak
        self.phrase = ""
        self.idle_s = 0
        self.unproven = False  # of open: its packets need not show the key
        self.log = False
        self.log_rate: Rate | None = None  # None: every hit
        self.alarm = False
        self.shadow = False
        self.tolerates: frozenset[Reason] = frozenset()
        self.hits = 0
        self.last_hit: Moment | None = None

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"

    def matches(self, subject: Subject) -> bool:
        """Whether its condition, in full, is true of a message."""
        return self._question.holds(subject)

    def hit(self, now: Moment) -> None:
        """Count a match."""
        self.hits += 1
        self.last_hit = now


@final
class Ruling:
    """What a chain decided, and by which rule; *judgement* is kept by who makes one of it."""

    __slots__ = ("action", "judgement", "rule")

    def __init__(self, action: str, rule: Rule) -> None:
        self.action = action
        self.rule = rule
        self.judgement: Judgement | None = None


@final
class _Step:
    """A rule as asked in one situation: what is left of its condition, or None for nothing."""

    __slots__ = ("question", "rule", "ruling")

    def __init__(self, question: Question | None, rule: Rule) -> None:
        self.question = question
        self.rule = rule
        self.ruling = Ruling(rule.action, rule)


_Steps = list[list[_Step] | None]  # by Fact bits; None where none were met yet


class Chain:
    """The rules of one chain, in order; first match wins."""

    def __init__(self, name: str, rules: tuple[Rule, ...] = ()) -> None:
        self.name = name
        self.rules = rules
        self._asked = tuple(rule for rule in rules if rule.action != "tolerate")
        named = frozenset().union(*(methods_named(rule.node) for rule in rules))
        self._steps: dict[bytes, _Steps] = {method: _no_steps() for method in sorted(named)}
        self._other_steps = _no_steps()

    def situations(self) -> list[Situation]:
        """Return every situation that the rules can tell apart."""
        methods = (*self._steps, OTHER_METHOD)
        return [Situation(method, bits) for method in methods for bits in SITUATION_BITS]

    def judge(self, subject: Subject) -> Ruling | None:
        """Return the first rule's ruling that matches, counting its hit; ``None`` if none does.

        A shadow rule that matches is counted and added to ``subject.noted``,
        and the next rule is asked: what it would have done, happens to no one.
        """
        if not self._asked:
            return None
        bits = 0
        if subject.dialog_known:
            bits = _DIALOG
        if subject.replay:
            bits |= _REPLAY
        if subject.findings:
            bits |= _FINDINGS
        steps = self._steps_in(subject.message.method, bits)
        for step in steps:
            question = step.question
            if question is None or question.holds(subject):
                rule = step.rule
                rule.hits += 1
                rule.last_hit = subject.now
                if rule.shadow:
                    subject.noted = (*subject.noted, rule)
                    continue
                return step.ruling
        return None

    def _steps_in(self, method: bytes, bits: int) -> list[_Step]:
        by_bits = self._steps.get(method)
        if by_bits is None:
            by_bits, method = self._other_steps, OTHER_METHOD
        steps = by_bits[bits]
        if steps is None:
            steps = by_bits[bits] = self._narrow(Situation(method, bits))
        return steps

    def _narrow(self, situation: Situation) -> list[_Step]:
        steps: list[_Step] = []
        for rule in self._asked:
            left = narrow(rule.node, situation)
            if isinstance(left, Fixed):
                if not left.answer:
                    continue
                steps.append(_Step(None, rule))
                if not rule.shadow:
                    break  # nothing behind it can be reached
            else:
                steps.append(_Step(compile_node(left), rule))
        return steps

    def tolerances(self, subject: Subject) -> frozenset[Reason]:
        """Return the reasons that ``tolerate`` rules forgive this peer."""
        forgiven: frozenset[Reason] = frozenset()
        for rule in self.rules:
            if rule.action == "tolerate" and rule.matches(subject):
                reasons = {finding.reason for finding in subject.findings}
                if rule.tolerates & reasons:
                    rule.hit(subject.now)
                forgiven |= rule.tolerates
        return forgiven


def _no_steps() -> _Steps:
    return [None for _ in SITUATION_BITS]


def in_dialog_chain(request: Chain) -> Chain:
    """Return the rules of chain request that only requests of a known call can match."""
    outside = [s for s in request.situations() if not s.bits & _DIALOG]
    required = (
        rule
        for rule in request.rules
        if all(narrow(rule.node, situation) == Fixed(False) for situation in outside)
        and any(narrow(rule.node, s) != Fixed(False) for s in request.situations())
    )
    return Chain("request", tuple(required))


class UnknownDialog(NamedTuple):
    """What happens to in-dialog requests of a call nobody saw begin."""

    action: str  # accept, drop or learn
    duration_s: int = 0  # learn: this long after the start, then drop


DEFAULT_UNKNOWN_DIALOG: Final = UnknownDialog("drop")
DEFAULT_RATE: Final = Rate(10, 1)
DEFAULT_BUDGET: Final = Rate(20, 1)
DEFAULT_RECORDS: Final = Rate(120, 60)
NO_TLS: Final = TlsTerms()


class NamedSet(NamedTuple):
    """A set as written, inner sets resolved: for showing, not for judging."""

    name: str
    members: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Everything a policy file says. The values never change; the rules count their hits."""

    file: str
    files: tuple[str, ...] = ()  # with everything included, for watching
    mode: str = "enforce"
    default: Action = Action.DROP
    default_status: int = 0
    on_overload: str = "keep-dialogs"
    on_unknown_dialog: UnknownDialog = DEFAULT_UNKNOWN_DIALOG
    on_exit: str = "keep"
    sip_ports: tuple[int, ...] = (5060,)
    stream_transports: str = "judge"
    max_connections: int = 4096
    max_connections_per_source: int = 256
    stream_idle_s: int = 3600
    stream_grace_s: int = 10
    forward_udp: tuple[int, ...] = ()
    keep_alives: Action = Action.ACCEPT
    keep_alive_rate: Rate = DEFAULT_RATE
    record: str = "blocked"
    record_rate: Rate = DEFAULT_RECORDS
    max_dialogs: int = 100_000
    max_pinholes: int = 400_000
    max_pinholes_per_call: int = 64
    max_pinholes_per_peer: int = 0  # 0: no limit of its own
    replay_window_s: int = 3600
    reply_rate: Rate = DEFAULT_RATE
    session_limit_s: int = 12 * 3600
    media_idle_s: int = 60
    proof_within_s: int = 10  # 0: media is not held against its keys
    recheck_s: int = 5  # 0: never again
    media_path: str = "routed"  # or direct
    hidden_dtls_ok: bool = False  # DTLS 1.3
    zrtp_grace_s: int = 0
    signature_budget: Rate = DEFAULT_BUDGET
    signature_budget_action: str = "unknown"  # or drop
    aib: AibTrust | None = None
    stir: StirTrust | None = None
    digest: DigestTrust | None = None
    mikey: MikeyTrust | None = None
    tls: TlsTerms = NO_TLS
    tls_ports: tuple[int, ...] = (5061,)
    ws_ports: tuple[int, ...] = ()
    wss_ports: tuple[int, ...] = ()
    ws_origins: tuple[str, ...] = ()  # none for any
    sets: tuple[NamedSet, ...] = ()
    zones: Zones | None = None  # None where none is named
    feeds: tuple[Feed, ...] = ()  # where records go besides the store
    chains: dict[str, Chain] = field(default_factory=lambda: {name: Chain(name) for name in CHAINS})
    in_dialog: Chain = field(default_factory=lambda: Chain("request"))
    asks_proofs: bool = False  # whether any rule reads a signature or credentials
    rates_needed: tuple[tuple[str, bytes, int], ...] = ()  # kind, method or b"*", window in s
    warnings: tuple[Problem, ...] = ()

    @property
    def default_shown(self) -> str:
        """The default as a policy writes it."""
        if self.default is Action.REJECT:
            return f"reject {self.default_status}"
        return str(self.default.value)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule, chain by chain."""
        return tuple(rule for chain in self.chains.values() for rule in chain.rules)

    def judge(self, chain: str, subject: Subject) -> Ruling | None:
        """Return what the first matching rule of *chain* says, or ``None`` if no rule matches.

        Shadow rules never decide; those that matched are in ``subject.noted``.
        The parse chain asks its ``tolerate`` rules first, wherever they stand.
        ``dialog`` asks, of chain request, the rules that require ``dialog.known``
        and no others: requests of a running call pass by these alone.
        """
        if chain == "dialog":
            return self.in_dialog.judge(subject)
        if chain == "parse" and subject.findings and subject.tolerated is None:
            self.tolerated(subject)
        return self.chains[chain].judge(subject)

    def take_back(self, now: Moment) -> None:
        """Uncount what the message judged at *now* hit: it is on hold, and judged again later."""
        for rule in self.rules:
            if rule.last_hit is now:
                rule.hits -= 1

    def tolerated(self, subject: Subject) -> frozenset[Reason]:
        """Return the reasons forgiven, and set them on *subject*: ``ambiguous`` skips them."""
        if subject.tolerated is None:
            subject.tolerated = (
                self.chains["parse"].tolerances(subject) if subject.findings else frozenset()
            )
        return subject.tolerated
