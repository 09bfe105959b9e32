"""SDES: the keys stand in the signalling, so every packet's tag can be verified (SRT-1 to SRT-10).

The first authentic packet proves its direction: it was made with the key that its
sender announced (RFC 4568 section 5, SDE-6), and nobody without that key can make one.
"""

from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.media.appearance import Appearance, Look, appearance_of, joined
from sipguard.media.proof import (
    IS_QUIET,
    KEEP_ALIVE_OCTETS,
    PASSES,
    PROVES,
    Flight,
    Prover,
    Sight,
    Word,
)
from sipguard.media.srtp import SrtpKeys, Tag
from sipguard.media.suites import SUITES, MasterKey, overwrite
from sipguard.native import mypyc_attr
from sipguard.reason import Finding, Reason
from sipguard.wire.crypto import Crypto
from sipguard.wire.rtp import Kind, is_clear_rtcp, kind_of, parse_rtcp, parse_rtp
from sipguard.wire.sdp import Media
from sipguard.wire.stun import is_binding

MAX_SSRCS: Final = 8  # of one side; telephones take a new one after a hold, or never
MAX_LEAKS: Final = 2  # clear packets of one side that are no attack
MAX_FAILURES: Final = 2  # samples in a row that take a proof back
_SHOWN_OCTETS: Final = 12  # of a packet, for the record: its header

_STUN: Final = Kind.STUN
_RTP: Final = Kind.RTP
_RTCP: Final = Kind.RTCP
_RIGHT: Final = Tag.RIGHT
_REPLAYED: Final = Tag.REPLAYED
_OPEN: Final = Tag.OPEN
_CLEAR: Final = Look.CLEAR
_REFUSE: Final = Word.REFUSE
_PROVEN: Final = Word.PROVEN

_CLEAR_AGAIN: Final = Finding(Reason.PLAIN_RTP, "clear RTP after its proof")
# What baresip opens its ports with, secured or not: an RTCP APP of 16 octets.
_PING: Final = b"\x80\xcc\x00\x03"
_PONG: Final = b"PINGPONG"

_NAMES: Final = {name: name for name in SUITES}  # one object for all calls


@final
@mypyc_attr(acyclic=True)
class _Details:
    """What few crypto lines have: MKIs, perhaps for several keys, or a key derivation rate."""

    __slots__ = ("mkis", "rate")

    def __init__(self, mkis: tuple[bytes, ...], rate: int) -> None:
        self.mkis: Final = mkis
        self.rate: Final = rate


@final
@mypyc_attr(acyclic=True)
class SdesTerms:
    """What offer and answer agreed on, small enough to be kept for every call.

    ``secrets`` are the caller's master keys and after them the callee's.
    """

    __slots__ = ("_callee", "_caller", "looks", "secrets", "suite")

    def __init__(self, caller: Crypto, callee: Crypto, looks: Appearance) -> None:
        """Take the two lines that were agreed on: usable ones, of one suite."""
        self.suite: Final = _NAMES[caller.suite]
        self.secrets: Final = bytearray(b"".join(caller.keys + callee.keys))
        self._caller: Final = _details(caller)
        self._callee: Final = _details(callee)
        self.looks: Final = looks

    def keys(self, is_caller: bool) -> SrtpKeys:
        """Return one side's keys, ready to verify its packets with."""
        suite = SUITES[self.suite]
        details = self._caller if is_caller else self._callee
        mkis = (b"",) if details is None else details.mkis or (b"",)
        length = suite.key_octets + suite.salt_octets
        at = 0 if is_caller else len(self.secrets) - len(mkis) * length
        masters = []
        for mki in mkis:
            masters.append(MasterKey(self.secrets[at : at + length], mki))
            at += length
        return SrtpKeys(suite, masters, -1 if details is None else details.rate)


def _details(line: Crypto) -> _Details | None:
    return _Details(line.mkis, line.rate) if line.mkis or line.rate >= 0 else None


def sdes_terms(offer: Media, answer: Media, *, is_callers_offer: bool) -> SdesTerms | None:
    """Return the terms of a stream that ``agreed_key`` found keyed by SDES, else ``None``."""
    if len(answer.cryptos) != 1 or answer.cryptos[0].problem is not None:
        return None
    taken = answer.cryptos[0]
    looks = joined(appearance_of(offer), appearance_of(answer))
    for line in offer.cryptos:
        if line.tag == taken.tag and line.suite == taken.suite and line.problem is None:
            if is_callers_offer:
                return SdesTerms(line, taken, looks)
            return SdesTerms(taken, line, looks)
    return None


@final
@mypyc_attr(acyclic=True)
class _Side:
    """One direction: its sender's keys, and what came of its packets so far."""

    __slots__ = ("failures", "is_proven", "keys", "leaks", "ssrcs", "why")

    def __init__(self, keys: SrtpKeys, max_ssrcs: int) -> None:
        self.keys: Final = keys
        self.is_proven = False
        self.leaks = 0
        self.failures = 0
        self.ssrcs = max_ssrcs
        self.why = "no packet came"


@final
class SdesProver(Prover):
    """Verifies each packet that it is shown; the first with a right tag proves its source.

    Refused are wrong tags, replays, clear media and what is no media. Honest telephones
    leak a clear packet or two: they are dropped without a word.
    """

    __slots__ = ("_callee", "_caller", "_looks", "_terms")

    def __init__(self, terms: SdesTerms, max_ssrcs: int = MAX_SSRCS) -> None:
        """Make the keys ready; *max_ssrcs* of one side are not worth a finding (SRT-4)."""
        self._terms: Final = terms
        self._looks = terms.looks
        self._caller: Final = _Side(terms.keys(is_caller=True), max_ssrcs)
        self._callee: Final = _Side(terms.keys(is_caller=False), max_ssrcs)

    def authenticates(self) -> bool:
        """Report that each packet's tag is verified."""
        return True

    def learn(self, looks: Appearance) -> None:
        """Let more formats be right."""
        self._looks = joined(self._looks, looks)

    def see(self, flight: Flight) -> Sight:
        """Judge a packet that waits for its verdict."""
        side = self._caller if flight.by_caller else self._callee
        sight = self._judge(side, flight)
        if sight.word is _PROVEN:
            side.is_proven = True
        elif sight.finding is not None:
            side.why = sight.finding.detail
        return sight

    def sample(self, flight: Flight) -> Sight:
        """Judge a copy of a packet that went on already.

        A proof is taken back after several failures in a row, and not for one. Single
        packets with a wrong tag can come from anybody who forges a source address, and a
        good call must not end for them: each authentic sample between clears the count.
        Nor does a lost roll-over counter count: :meth:`SrtpKeys.verify_rtp` looks for all
        that it can be by now. What is taken back is not lost for long: the next authentic
        packet, which then waits for its verdict again, proves its source anew. Replays,
        STUN and what only keeps a path open count neither way.
        """
        side = self._caller if flight.by_caller else self._callee
        sight = self._judge(side, flight)
        side.keys.rest()
        if sight.word is _PROVEN:
            side.failures = 0
            return sight
        finding = sight.finding
        if sight is IS_QUIET and kind_of(flight.payload) is _RTP:
            finding = _CLEAR_AGAIN  # it is no leak any more
        if finding is None or finding.reason is Reason.SRTP_REPLAY:
            return PASSES
        side.failures += 1
        if side.failures < MAX_FAILURES:
            return PASSES
        side.failures = 0
        side.is_proven = False
        side.why = finding.detail
        return Sight(_REFUSE, finding)

    def told(self, by_caller: bool) -> str:
        """Say in words how this direction was proven, or why it is not."""
        side = self._caller if by_caller else self._callee
        if side.is_proven:
            suite = self._terms.suite.decode("ascii")
            return f"SRTP tag verified with the negotiated key ({suite})"
        return f"no SRTP with the negotiated key: {side.why}"

    def wipe(self) -> None:
        """Overwrite the keys (SRT-10)."""
        self._caller.keys.wipe()
        self._callee.keys.wipe()
        overwrite(self._terms.secrets)

    def _judge(self, side: _Side, flight: Flight) -> Sight:
        payload = flight.payload
        kind = kind_of(payload)
        if kind is _RTP and not flight.is_rtcp:
            return self._judge_rtp(side, payload, flight.now_s)
        if kind is _RTP or kind is _RTCP:
            return _judge_rtcp(side, payload, flight.now_s)
        if kind is _STUN and is_binding(payload):
            return PASSES
        if len(payload) <= KEEP_ALIVE_OCTETS:
            return IS_QUIET
        return _refuse(Reason.UNKNOWN_MEDIA, "neither RTP nor RTCP nor a STUN binding", payload)

    def _judge_rtp(self, side: _Side, payload: bytes, now_s: float) -> Sight:
        try:
            header = parse_rtp(payload)
        except HostileInput as hostile:
            return _refuse(hostile.reason, hostile.detail, payload)
        if not self._looks.fits(header):
            return _refuse(
                Reason.BAD_RTP, f"payload type {header.payload_type} was not negotiated", payload
            )
        tag = side.keys.verify_rtp(payload, header, now_s)
        if tag is _RIGHT:
            return _prove(side)
        if tag is _REPLAYED:
            return _refuse(Reason.SRTP_REPLAY, "an RTP packet that came before", payload)
        if self._looks.look(payload, header, side.keys.rtp_extra_octets) is _CLEAR:
            return _leak(side, "clear RTP", payload)
        return _refuse(Reason.SRTP_TAG, "an RTP packet with a wrong tag", payload)


def _judge_rtcp(side: _Side, payload: bytes, now_s: float) -> Sight:
    if payload[:4] == _PING and payload[8:] == _PONG:
        return IS_QUIET
    try:
        header = parse_rtcp(payload)
    except HostileInput as hostile:
        return _refuse(hostile.reason, hostile.detail, payload)
    if not 192 <= header.packet_type <= 223:
        return _refuse(Reason.BAD_RTCP, "no RTCP on the port that is for RTCP alone", payload)
    tag = side.keys.verify_rtcp(payload, now_s)
    if tag is _RIGHT:
        return _prove(side)
    if tag is _REPLAYED:
        return _refuse(Reason.SRTP_REPLAY, "an RTCP packet that came before", payload)
    if is_clear_rtcp(payload):
        return _leak(side, "clear RTCP", payload)
    if tag is _OPEN:
        return _refuse(Reason.PLAIN_RTP, "RTCP that says it is not encrypted", payload)
    return _refuse(Reason.SRTP_TAG, "an RTCP packet with a wrong tag", payload)


def _prove(side: _Side) -> Sight:
    """Return the proof, with a finding for each SSRC past the number that may be."""
    if side.keys.ssrcs <= side.ssrcs:
        return PROVES
    side.ssrcs = side.keys.ssrcs
    return Sight(_PROVEN, Finding(Reason.SSRC_CHANGES, f"SSRC number {side.ssrcs} of one side"))


def _leak(side: _Side, what: str, payload: bytes) -> Sight:
    """Drop clear media, a packet or two without a word.

    Some come before a telephone is secure, and baresip says goodbye with a clear RTCP BYE.
    """
    if side.leaks >= MAX_LEAKS:
        return _refuse(Reason.PLAIN_RTP, what, payload)
    side.leaks += 1
    side.why = what
    return IS_QUIET


def _refuse(reason: Reason, detail: str, payload: bytes) -> Sight:
    return Sight(_REFUSE, Finding(reason, detail, payload[:_SHOWN_OCTETS]))
