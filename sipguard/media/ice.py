"""Connectivity checks before media: ICE as the gateway sees it (RFC 8445, 8839, 7675; PIN-13).

Signalling shows the credentials of both sides, so each check can be verified here: it goes
under the name and password of the side that is asked. Until the checks of a pair of
addresses have passed, STUN alone may use it; then the keying method's prover judges.

Three decisions:

* A direction has passed with a verified request and the verified success response to it.
  Media waits for both directions, as RFC 8445 section 7.3.1.4 has each request answered by
  a check of the other side; that costs an honest caller no more than its first packets.
* DTLS and ZRTP may begin when one direction has passed. The side whose check succeeded has
  a valid pair and may send on it at once (section 12.1; RFC 8842 section 6 puts the
  handshake right behind the checks), and its peer, which has agreed to that by a response
  only it could make, has to be able to answer before its own check is through. Nothing is
  proven by it: the handshake's own prover judges each of these packets.
* A lite peer only answers, so the other side's check is all there will be (section 2.5);
  between two lite peers there are none (section 8.2), and signalling is all that is known.

Which pair is nominated does not matter here: data may use every valid one (section 12.1).
"""

from enum import Enum
from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.media.proof import IS_QUIET, PASSES, Flight, Prover, Sight, Word
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

MAX_PAIRS: Final = 64  # only who knows the credentials makes any
MAX_ASKED: Final = 8  # transactions of one direction that wait; a peer has one or two
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
    """How far the checks of a pair have come."""

    UNCHECKED = "no check has passed yet"
    ONE_WAY = "a check has passed one way"
    CHECKED = "checks have passed"


_NOT_YET: Final = _Standing.UNCHECKED
_ONE_WAY: Final = _Standing.ONE_WAY
_CHECKED: Final = _Standing.CHECKED


@final
class _Pair:
    """Two transport addresses between which checks run: who has asked, and who has passed."""

    __slots__ = ("asked_by_callee", "asked_by_caller", "callee_passed", "caller_passed")

    def __init__(self) -> None:
        self.asked_by_caller: list[bytes] = []  # transactions without a response yet
        self.asked_by_callee: list[bytes] = []
        self.caller_passed = False
        self.callee_passed = False

    def asked(self, by_caller: bool) -> list[bytes]:
        return self.asked_by_caller if by_caller else self.asked_by_callee

    def ask(self, by_caller: bool, transaction: bytes) -> None:
        waiting = self.asked(by_caller)
        if transaction not in waiting:
            waiting.append(transaction)
            del waiting[:-MAX_ASKED]

    def passed(self, by_caller: bool) -> None:
        if by_caller:
            self.caller_passed = True
        else:
            self.callee_passed = True


@final
class IceProver(Prover):
    """Lets checks through, and what they have cleared the way for on to the *inner* prover.

    Between a restart and its first checks data goes on over the pairs of *before*, the
    prover that this one replaces (RFC 8445 section 9).
    """

    def __init__(
        self, inner: Prover, caller: Ice, callee: Ice, before: "IceProver | None" = None
    ) -> None:
        """Begin with the credentials of both sides; *inner* knows the keys."""
        self.method = inner.method
        self.inner: Final = inner
        self._to_callee = callee.ufrag + b":" + caller.ufrag
        self._to_caller = caller.ufrag + b":" + callee.ufrag
        self._callee_pwd = callee.pwd
        self._caller_pwd = caller.pwd
        self._caller_is_lite: Final = caller.is_lite
        self._callee_is_lite: Final = callee.is_lite
        self._pairs: dict[bytes, _Pair] = {}
        self._early_by_caller = 0
        self._early_by_callee = 0
        self._before = before
        self._before_until_s = 0.0  # 0 while no check under the new credentials has passed
        if before is not None:
            before._before = None

    # --- what the gate asks

    def see(self, flight: Flight) -> Sight:
        """Judge a packet: checks here, all else by the inner prover once its pair is checked."""
        kind = kind_of(flight.payload)
        if kind is _STUN:
            return self._stun(flight)
        standing = self._standing(flight)
        if standing is _CHECKED:
            return self.inner.see(flight)
        if standing is _ONE_WAY and kind in _HANDSHAKES:
            sight = self.inner.see(flight)
            # Not before the pair is checked may the kernel forward by itself.
            return Sight(Word.PASS, sight.finding) if sight.word is _PROVEN else sight
        return self._too_early(flight.by_caller)

    def sample(self, flight: Flight) -> Sight:
        """Judge the copy of a forwarded packet, which may be a check for consent (RFC 7675)."""
        if kind_of(flight.payload) is _STUN:
            return self._stun(flight)
        if self._standing(flight) is not _CHECKED:
            return _UNCHECKED
        return self.inner.sample(flight)

    def told(self, by_caller: bool) -> str:
        """Say how far the checks have come, and what the inner prover says."""
        return f"ICE: {self._best().value}; {self.inner.told(by_caller)}"

    def wipe(self) -> None:
        """Forget passwords, pairs and keys; what *before* wrapped is not ours to wipe."""
        if self._before is not None:
            self._before._forget()
            self._before = None
        self._forget()
        self.inner.wipe()

    def _forget(self) -> None:
        self._caller_pwd = self._callee_pwd = b""
        self._pairs.clear()

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
        return (
            stun.method == BINDING
            and stun.kind is _REQUEST
            and self._is_check(payload, stun, by_caller)
        )

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
        if stun.kind is _REQUEST:
            return self._request(flight, stun)
        return self._response(flight, stun)

    def _request(self, flight: Flight, stun: Stun) -> Sight:
        if not self._is_check(flight.payload, stun, flight.by_caller):
            return _FOREIGN
        self._pair(_key(flight)).ask(flight.by_caller, stun.transaction)
        return PASSES

    def _is_check(self, payload: bytes, stun: Stun, by_caller: bool) -> bool:
        """Verify a request: named and keyed by the side that is asked (RFC 8445 7.2.2)."""
        if by_caller:
            return stun.username == self._to_callee and has_integrity(
                payload, stun, self._callee_pwd
            )
        return stun.username == self._to_caller and has_integrity(payload, stun, self._caller_pwd)

    def _response(self, flight: Flight, stun: Stun) -> Sight:
        """Judge an answer, which is made with the password of the side that sends it.

        One to no request that was seen passes and shows nothing: the kernel forwards what a
        proven source asks, and a peer may answer twice.
        """
        asked_by_caller = not flight.by_caller
        pair = self._pairs.get(_key(flight))
        waiting = [] if pair is None else pair.asked(asked_by_caller)
        was_asked = stun.transaction in waiting
        password = self._caller_pwd if flight.by_caller else self._callee_pwd
        if not has_integrity(flight.payload, stun, password):
            is_bare = not stun.integrity_at and stun.error in _UNAUTHENTICATED
            return PASSES if was_asked and is_bare and stun.kind is _ERROR else _FORGED
        if was_asked and pair is not None:
            waiting.remove(stun.transaction)
            if stun.kind is _SUCCESS:
                self._passed(pair, asked_by_caller, flight.now_s)
        return PASSES

    def _passed(self, pair: _Pair, by_caller: bool, now_s: float) -> None:
        pair.passed(by_caller)
        self._early_by_caller = self._early_by_callee = 0
        if self._before is not None and not self._before_until_s:
            self._before_until_s = now_s + RESTART_S

    # --- pairs

    def _pair(self, key: bytes) -> _Pair:
        """Return the pair, made if it is new; the oldest that leads nowhere makes room."""
        pair = self._pairs.get(key)
        if pair is None:
            if len(self._pairs) >= MAX_PAIRS:
                oldest = next(iter(self._pairs))
                for other, known in self._pairs.items():
                    if self._how_far(known) is not _CHECKED:
                        oldest = other
                        break
                del self._pairs[oldest]
            pair = self._pairs[key] = _Pair()
        return pair

    def _standing(self, flight: Flight) -> _Standing:
        pair = self._pairs.get(_key(flight))
        standing = self._how_far(pair)
        if standing is not _CHECKED:
            before = self._earlier(flight.now_s)
            if before is not None and before._standing(flight) is _CHECKED:
                return _CHECKED
        return standing

    def _how_far(self, pair: _Pair | None) -> _Standing:
        if pair is None:
            return _CHECKED if self._caller_is_lite and self._callee_is_lite else _NOT_YET
        caller_done = pair.caller_passed or self._caller_is_lite
        callee_done = pair.callee_passed or self._callee_is_lite
        if caller_done and callee_done:
            return _CHECKED
        return _ONE_WAY if pair.caller_passed or pair.callee_passed else _NOT_YET

    def _best(self) -> _Standing:
        found = [self._how_far(pair) for pair in self._pairs.values()]
        for standing in (_CHECKED, _ONE_WAY):
            if standing in found:
                return standing
        return self._how_far(None)

    def _earlier(self, now_s: float) -> "IceProver | None":
        """Return the prover from before a restart, while its pairs still count."""
        if self._before_until_s and now_s > self._before_until_s:
            self._before = None
        return self._before

    def _too_early(self, by_caller: bool) -> Sight:
        """Drop what comes before the checks: at first without a word, since it may race them."""
        if by_caller:
            self._early_by_caller += 1
            early = self._early_by_caller
        else:
            self._early_by_callee += 1
            early = self._early_by_callee
        return IS_QUIET if early <= EARLY_PACKETS else _UNCHECKED


def _key(flight: Flight) -> bytes:
    """Return what names the two ends, the caller's first, whichever of them sends."""
    sends = flight.source + flight.source_port.to_bytes(2, "big")
    receives = flight.destination + flight.port.to_bytes(2, "big")
    return sends + receives if flight.by_caller else receives + sends
