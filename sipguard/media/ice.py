"""Connectivity checks before media: ICE as the gateway sees it (RFC 8445, 8839, 7675; PIN-13).

Signalling shows the credentials of both sides, so each check can be verified here: it goes
under the name and password of the side that is asked. Until checks have passed, STUN alone
may use a pair of addresses; then the keying method's prover judges.

A side's check has passed with its verified request and the verified success response to it.
What may go from one end to another then:

* Media, once the sender's check of this way has passed, and the other side's check of the
  sender's end. RFC 8445 section 7.3.1.4 has every request answered by a check of the other
  side, so that costs an honest caller no more than its first packets.
* DTLS and ZRTP, once one of the two has passed. The side whose check succeeded may send at
  once (section 12.1; RFC 8842 section 6 puts the handshake right behind the checks), and
  its peer, which has agreed by a response that only it could make, has to answer before
  its own check is through. It proves nothing: the inner prover judges each packet.
* A lite peer only answers, so the other side's check is all there will be (section 2.5).
  Between two lite peers there are none (section 8.2), and signalling is all we know.

A response is known by its transaction, not by the address it comes from: baresip on a host
with two addresses answers from the other one. RFC 8445 section 7.2.5.2.1 lets the asker
give up on that; here it is enough that the one who was asked could answer.
Which pair is nominated does not matter: data may use every valid one (section 12.1).
"""

from enum import Enum
from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.media.appearance import Appearance
from sipguard.media.proof import IS_QUIET, PASSES, Flight, Prover, Sight, Word
from sipguard.native import mypyc_attr
from sipguard.reason import Finding, Reason
from sipguard.wire.candidate import Ice
from sipguard.wire.rtp import Kind, kind_of
from sipguard.wire.stun import (
    BINDING,
    MAX_BARE_OCTETS,
    Stun,
    StunClass,
    has_integrity,
    parse_stun,
)

MAX_ASKED: Final = 64  # requests of one side that wait for their responses
MAX_PASSED: Final = 64  # ways of one side; only who knows the credentials makes any
MAX_CHECK_OCTETS: Final = 1280  # what RFC 8489 section 6.1 allows where the path is not known
EARLY_PACKETS: Final = 100  # two seconds of audio: more is no race with the checks
RESTART_S: Final = 30.0  # consent to the old pair lasts so long (RFC 7675 section 5.1)

_PROVEN: Final = Word.PROVEN
_REFUSE: Final = Word.REFUSE
_STUN: Final = Kind.STUN
_HANDSHAKES: Final = (Kind.DTLS, Kind.ZRTP)
_REQUEST: Final = StunClass.REQUEST
_INDICATION: Final = StunClass.INDICATION
_SUCCESS: Final = StunClass.SUCCESS
_ERROR: Final = StunClass.ERROR
# What an agent answers to a request that it cannot authenticate, and so without integrity
# (RFC 8489 section 9.1.3).
_UNAUTHENTICATED: Final = (400, 401)


def _refused(reason: Reason, detail: str) -> Sight:
    return Sight(_REFUSE, Finding(reason, detail))


_NO_CHECK: Final = _refused(Reason.BAD_STUN, "a STUN message that is no connectivity check")
_TOO_LONG: Final = _refused(Reason.BAD_STUN, "a STUN message longer than any check")
_FOREIGN: Final = _refused(Reason.ICE_INTEGRITY, "a check without the credentials of this call")
_FORGED: Final = _refused(Reason.ICE_INTEGRITY, "a response without the password of this call")
_UNCHECKED: Final = _refused(Reason.ICE_UNCHECKED, "no check has passed between these addresses")


class _Standing(Enum):
    """How far the checks have come."""

    UNCHECKED = "no check has passed yet"
    ONE_WAY = "a check has passed one way"
    CHECKED = "checks have passed"


_NOT_YET: Final = _Standing.UNCHECKED
_ONE_WAY: Final = _Standing.ONE_WAY
_CHECKED: Final = _Standing.CHECKED


@final
@mypyc_attr(acyclic=True)
class _Side:
    """One side's checks, those that wait and those that have passed, and what they go under.

    An *end* is address and port; a *way* is two of them, from where to where.
    """

    __slots__ = ("asked", "early", "is_lite", "pwd", "reached", "username", "ways")

    def __init__(self, own: Ice, other: Ice) -> None:
        self.username = other.ufrag + b":" + own.ufrag  # what this side's requests say
        self.pwd = own.pwd  # what this side's responses are made with
        self.is_lite = own.is_lite
        self.asked: dict[bytes, tuple[bytes, bytes]] = {}  # ends by transaction
        self.ways: dict[bytes, bytes] = {}  # passed, with the end that each has reached
        self.reached: set[bytes] = set()
        self.early = 0  # packets before any check

    def ask(self, transaction: bytes, source: bytes, destination: bytes) -> None:
        """Remember a verified request until its response."""
        self.asked[transaction] = (source, destination)
        if len(self.asked) > MAX_ASKED:
            del self.asked[next(iter(self.asked))]

    def passed(self, source: bytes, destination: bytes) -> None:
        """Note that a check went through; the oldest way makes room."""
        self.ways[source + destination] = destination
        self.reached.add(destination)
        if len(self.ways) > MAX_PASSED:
            del self.ways[next(iter(self.ways))]
            self.reached = set(self.ways.values())

    def forget(self) -> None:
        """Forget the password and all ends."""
        self.pwd = b""
        self.asked = {}
        self.ways = {}
        self.reached = set()


@final
class IceProver(Prover):
    """Lets checks through, and what they have cleared the way for on to the *inner* prover.

    Between a restart and its first checks data goes on over the ways of *before*, the
    prover that this one replaces (RFC 8445 section 9); what that one wraps is not used.
    """

    def __init__(
        self,
        inner: Prover,
        caller: Ice,
        callee: Ice,
        before: "IceProver | None" = None,
        *,
        is_lent: bool = False,
    ) -> None:
        """Begin with the credentials of both sides; *inner* knows the keys.

        It *is_lent* where it is that of *before*: a restart of ICE alone leaves the keys
        and their handshake as they are (RFC 8842 section 4).
        """
        self.inner: Final = inner
        self._is_lent: Final = is_lent
        self._caller = _Side(caller, callee)
        self._callee = _Side(callee, caller)
        self._before = before
        self._before_until_s = 0.0  # 0 while no check under the new credentials has passed
        if before is not None:
            before._before = None

    # --- what the gate asks

    def authenticates(self) -> bool:
        """Report what the inner prover does."""
        return self.inner.authenticates()

    def is_agreed(self, *, is_rtcp: bool) -> bool:
        """Report what the inner prover does."""
        return self.inner.is_agreed(is_rtcp=is_rtcp)

    def learn(self, looks: Appearance) -> None:
        """Tell the inner prover."""
        self.inner.learn(looks)

    def move(self, by_caller: bool) -> None:
        """Tell the inner prover."""
        self.inner.move(by_caller)

    def see(self, flight: Flight) -> Sight:
        """Judge a packet: checks here, all else by the inner prover once its way is checked."""
        kind = kind_of(flight.payload)
        if kind is _STUN:
            return self._stun(flight)
        standing = self._standing(flight)
        if standing is _CHECKED:
            return self.inner.see(flight)
        if standing is _ONE_WAY and kind in _HANDSHAKES:
            sight = self.inner.see(flight)
            # Not before both have checked may the kernel forward by itself.
            return Sight(Word.PASS, sight.finding) if sight.word is _PROVEN else sight
        side = self._caller if flight.by_caller else self._callee
        side.early += 1
        # At first without a word: honest media may race the checks, and Linphone's does.
        return IS_QUIET if side.early <= EARLY_PACKETS else _UNCHECKED

    def sample(self, flight: Flight) -> Sight:
        """Judge the copy of a forwarded packet, which may be a check for consent (RFC 7675)."""
        if kind_of(flight.payload) is _STUN:
            return self._stun(flight)
        if self._standing(flight) is not _CHECKED:
            return _UNCHECKED
        return self.inner.sample(flight)

    def told(self, by_caller: bool) -> str:
        """Say how far the checks have come, and what the inner prover says."""
        passed = (
            bool(self._caller.ways or self._caller.is_lite),
            bool(self._callee.ways or self._callee.is_lite),
        )
        standing = _CHECKED if all(passed) else _ONE_WAY if any(passed) else _NOT_YET
        if not (self._caller.ways or self._callee.ways):
            standing = _NOT_YET
        return f"ICE: {standing.value}; {self.inner.told(by_caller)}"

    def wipe(self) -> None:
        """Forget passwords, ways and keys.

        *before* is not ours to wipe: where the restart has failed, it goes on (PIN-8).
        """
        self._before = None
        self._forget()
        if not self._is_lent:
            self.inner.wipe()

    def _forget(self) -> None:
        self._caller.forget()
        self._callee.forget()

    def is_valid_check(self, payload: bytes, by_caller: bool) -> bool:
        """Tell whether this is a verified check of that side, wherever it comes from.

        For a source that is no candidate: a peer-reflexive one may be let in on the
        strength of such a request, and of nothing less (RFC 8445 section 7.3.1.3).
        """
        if len(payload) > MAX_CHECK_OCTETS:
            return False
        try:
            stun = parse_stun(payload)
        except HostileInput:
            return False
        if stun.method != BINDING or stun.kind is not _REQUEST:
            return False
        return self._is_check(payload, stun, by_caller)

    # --- checks

    def _stun(self, flight: Flight) -> Sight:
        payload = flight.payload
        if len(payload) > MAX_CHECK_OCTETS:
            return _TOO_LONG
        try:
            stun = parse_stun(payload)
        except HostileInput as refused:
            return Sight(_REFUSE, refused.finding())
        if stun.method != BINDING:
            return _NO_CHECK  # TURN is between a client and its server, on a port of that
        if stun.kind is _INDICATION:
            # A keepalive carries no credentials (RFC 8445 section 11), so it must be small.
            return PASSES if len(payload) <= MAX_BARE_OCTETS else _NO_CHECK
        sight = self._judge(flight, stun)
        before = self._earlier(flight.now_s)
        if sight.word is _REFUSE and before is not None:
            older = before._judge(flight, stun)
            return older if older.word is not _REFUSE else sight
        return sight

    def _judge(self, flight: Flight, stun: Stun) -> Sight:
        return (
            self._request(flight, stun) if stun.kind is _REQUEST else self._response(flight, stun)
        )

    def _request(self, flight: Flight, stun: Stun) -> Sight:
        if not self._is_check(flight.payload, stun, flight.by_caller):
            return _FOREIGN
        side = self._caller if flight.by_caller else self._callee
        side.ask(stun.transaction, _source(flight), _destination(flight))
        return PASSES

    def _is_check(self, payload: bytes, stun: Stun, by_caller: bool) -> bool:
        """Verify a request: named and keyed by the side that is asked (RFC 8445 7.2.2)."""
        asks, asked = self._caller, self._callee
        if not by_caller:
            asks, asked = asked, asks
        return stun.username == asks.username and has_integrity(payload, stun, asked.pwd)

    def _response(self, flight: Flight, stun: Stun) -> Sight:
        """Judge an answer, which is made with the password of the side that sends it.

        One to no request that was seen passes and shows nothing: the kernel forwards what a
        proven source asks, and a peer may answer twice.
        """
        asked, answers = self._callee, self._caller
        if not flight.by_caller:
            asked, answers = answers, asked
        ends = asked.asked.get(stun.transaction)
        was_asked = ends is not None and ends[0] == _destination(flight)
        if not has_integrity(flight.payload, stun, answers.pwd):
            is_bare = not stun.integrity_at and stun.error in _UNAUTHENTICATED
            return PASSES if was_asked and is_bare and stun.kind is _ERROR else _FORGED
        if ends is not None and was_asked:
            del asked.asked[stun.transaction]
            if stun.kind is _SUCCESS:
                asked.passed(ends[0], ends[1])
                self._caller.early = self._callee.early = 0
                if self._before is not None and not self._before_until_s:
                    self._before_until_s = flight.now_s + RESTART_S
        return PASSES

    # --- standing

    def _standing(self, flight: Flight) -> _Standing:
        standing = self._stands(flight)
        if standing is _CHECKED:
            return standing
        before = self._earlier(flight.now_s)
        if before is not None and before._stands(flight) is _CHECKED:
            return _CHECKED
        return standing

    def _stands(self, flight: Flight) -> _Standing:
        sends, receives = self._caller, self._callee
        if not flight.by_caller:
            sends, receives = receives, sends
        if sends.is_lite and receives.is_lite:
            return _CHECKED
        source, destination = _source(flight), _destination(flight)
        if sends.is_lite:
            return _CHECKED if destination + source in receives.ways else _NOT_YET
        has_checked = source + destination in sends.ways
        if receives.is_lite:
            return _CHECKED if has_checked else _NOT_YET
        is_checked = source in receives.reached
        if has_checked and is_checked:
            return _CHECKED
        return _ONE_WAY if has_checked or is_checked else _NOT_YET

    def _earlier(self, now_s: float) -> "IceProver | None":
        """Return the prover from before a restart, while its ways still count."""
        if self._before is not None and 0 < self._before_until_s < now_s:
            self._before._forget()
            self._before = None
        return self._before


def _source(flight: Flight) -> bytes:
    return flight.source + flight.source_port.to_bytes(2, "big")


def _destination(flight: Flight) -> bytes:
    return flight.destination + flight.port.to_bytes(2, "big")
