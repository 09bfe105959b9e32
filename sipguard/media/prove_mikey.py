"""Streams keyed by MIKEY: proven by the tag where their keys can be seen, else by their looks.

Keys are seen where they travel in clear or the gateway has the pre-shared key; then the
first authentic packet proves its direction. Otherwise packets have to be as long as SRTP
makes them, of a negotiated payload type, and of the SSRC that the message announces, if
it does (RFC 3830 section 6.1.1: it "MUST be used"; MIK-13, SRT-1 to SRT-10).
"""

from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.media.appearance import Appearance, Look, joined, looks_encrypted_rtcp
from sipguard.media.mikey_keys import MediaKey
from sipguard.media.mikey_view import SideKeys
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
from sipguard.media.suites import SUITES, MasterKey, Suite, overwrite
from sipguard.native import mypyc_attr
from sipguard.reason import Finding, Reason
from sipguard.wire.mikey_values import NOT_CHOSEN
from sipguard.wire.rtp import Kind, Rtp, kind_of, parse_rtcp, parse_rtp
from sipguard.wire.stun import is_stun

MAX_CANDIDATES: Final = 4  # keys that one side may use; more are as good as none
MAX_LEAKS: Final = 2  # clear packets that a telephone sends before it knows that it has a key
MIN_UNKNOWN: Final = 4  # packets in a row, none of which looks clear, where looks tell no more
MAX_DOUBTS: Final = 3  # samples in a row that take the proof back
MAX_SOURCES: Final = 16  # SSRCs before the proof, where none is announced (SRT-4)
RTCP_ALONE_S: Final = 1.0  # a shared port without RTP by then has RTCP alone to prove itself

_USUAL_MKI_OCTETS: Final = (0, 1, 4)
_REFUSE: Final = Word.REFUSE
_RTP: Final = Kind.RTP
_RTCP: Final = Kind.RTCP
_STUN: Final = Kind.STUN
_ZRTP: Final = Kind.ZRTP
_CLEAR: Final = Look.CLEAR
_SECURED: Final = Look.SECURED
_RIGHT: Final = Tag.RIGHT
_WRONG: Final = Tag.WRONG
_REPLAYED: Final = Tag.REPLAYED
_OPEN: Final = Tag.OPEN


@final
@mypyc_attr(acyclic=True)
class _Candidate:
    """One key that a side may use: for one SSRC, or for any."""

    __slots__ = ("mki", "secret", "ssrc", "suite")

    def __init__(self, key: MediaKey) -> None:
        self.suite: Final = SUITES[key.suite]
        self.secret: Final = bytearray(key.key)
        self.mki: Final = key.mki
        self.ssrc: Final = key.ssrc


@final
@mypyc_attr(acyclic=True)
class MikeySide:
    """What is known of the packets that one side sends; small enough to keep for every call."""

    __slots__ = ("_candidates", "ssrcs", "suite")

    def __init__(self, side: SideKeys) -> None:
        """Take what was agreed on, of ``Agreement.whole`` or ``of_line``."""
        self.suite: Final = SUITES[side.suite]
        self.ssrcs: Final = side.ssrcs
        keys = side.keys if len(side.keys) <= MAX_CANDIDATES else ()
        self._candidates: Final = tuple([_Candidate(key) for key in keys])

    @property
    def is_keyed(self) -> bool:
        """Whether the gateway knows the side's keys."""
        return bool(self._candidates)

    def keys(self) -> "tuple[_Ring, ...]":
        """Return the keys ready to verify with; those with an MKI belong together."""
        rings: list[_Ring] = []
        named: dict[tuple[int, int], list[_Candidate]] = {}
        for candidate in self._candidates:
            if candidate.mki:
                named.setdefault((candidate.ssrc, len(candidate.mki)), []).append(candidate)
            else:
                rings.append(_Ring(candidate.suite, candidate.ssrc, [candidate]))
        for (ssrc, _), candidates in named.items():
            rings.append(_Ring(candidates[0].suite, ssrc, candidates))
        return tuple(rings)

    def same_as(self, other: "MikeySide") -> bool:
        """Tell whether a stream that was proven under *other* is proven under this one."""
        if self.suite is not other.suite or self.ssrcs != other.ssrcs:
            return False
        ours, theirs = self._candidates, other._candidates
        return len(ours) == len(theirs) and all(
            a.secret == b.secret and a.mki == b.mki for a, b in zip(ours, theirs, strict=True)
        )

    def wipe(self) -> None:
        """Overwrite the keys (SRT-10)."""
        for candidate in self._candidates:
            overwrite(candidate.secret)


@final
class _Ring:
    """The master keys that one SSRC's packets may be made with."""

    __slots__ = ("keys", "ssrc")

    def __init__(self, suite: Suite, ssrc: int, candidates: list[_Candidate]) -> None:
        masters = [MasterKey(bytearray(one.secret), one.mki) for one in candidates]
        self.keys: Final = SrtpKeys(suite, masters)
        self.ssrc: Final = ssrc


@final
class _Way:
    """One direction: its keys, and what its packets have shown."""

    __slots__ = (
        *("before", "doubts", "has_rtp", "is_proven", "leaks", "rings", "side", "since_s"),
        *("sources", "trouble", "unknown"),
    )

    def __init__(self, side: MikeySide) -> None:
        self.side: Final = side
        self.rings = side.keys()
        self.before: Rtp | None = None
        self.sources: list[int] = []
        self.leaks = 0
        self.doubts = 0
        self.has_rtp = False
        self.is_proven = False
        self.since_s = -1.0  # when the first SRTCP came
        self.unknown = 0  # packets in a row that are neither clear nor surely SRTP
        self.trouble = ""

    def leak(self, detail: str) -> Sight:
        """Drop in silence what honest telephones send by mistake, and tell of what goes on."""
        self.leaks += 1
        self.unknown = 0
        if self.leaks <= MAX_LEAKS:
            return IS_QUIET
        return Sight(_REFUSE, Finding(Reason.PLAIN_RTP, detail))

    def verify(self, payload: bytes, header: Rtp | None, ssrc: int, now_s: float) -> Tag:
        """Verify RTP, or without a *header* RTCP, with each key that may be meant."""
        for ring in self.rings:
            if ring.ssrc not in (ssrc, NOT_CHOSEN):
                continue
            if header is None:
                tag = ring.keys.verify_rtcp(payload, now_s)
            else:
                tag = ring.keys.verify_rtp(payload, header, now_s)
            if tag is not _WRONG:
                return tag
        return _WRONG

    def announces(self, ssrc: int) -> bool:
        """Tell whether a packet without a visible key may come from this source."""
        if self.side.ssrcs:
            return ssrc in self.side.ssrcs
        if ssrc not in self.sources:
            self.sources.append(ssrc)
        return len(self.sources) <= MAX_SOURCES


@final
class MikeyProver(Prover):
    """Proves the two directions of a stream that MIKEY keyed.

    ``looks`` is what clear RTP of the negotiated formats looks like.
    """

    __slots__ = ("_callee", "_caller", "_looks")

    def __init__(self, caller: MikeySide, callee: MikeySide, looks: Appearance) -> None:
        self._caller = _Way(caller)
        self._callee = _Way(callee)
        self._looks = looks

    def authenticates(self) -> bool:
        """Report whether the keys of both sides are known here."""
        return self._caller.side.is_keyed and self._callee.side.is_keyed

    def learn(self, looks: Appearance) -> None:
        """Let more formats be right."""
        self._looks = joined(self._looks, looks)

    def see(self, flight: Flight) -> Sight:
        """Judge a packet that waits for its verdict."""
        way = self._caller if flight.by_caller else self._callee
        try:
            sight = self._see(way, flight)
        except HostileInput as error:
            sight = Sight(_REFUSE, error.finding())
        if sight.word is Word.PROVEN:
            way.is_proven = True
            way.doubts = 0
        elif sight.word is _REFUSE and sight.finding is not None:
            way.trouble = sight.finding.detail or sight.finding.reason.value
        return sight

    def sample(self, flight: Flight) -> Sight:
        """Judge the copy of a packet that was forwarded: is it still SRTP, under the same key?"""
        way = self._caller if flight.by_caller else self._callee
        kind = kind_of(flight.payload)
        if kind is not _RTP and kind is not _RTCP:
            return PASSES
        finding = self._doubt(way, flight, kind)
        if finding is None:
            return PASSES
        way.doubts += 1
        if way.doubts < MAX_DOUBTS:
            return PASSES
        way.is_proven = False
        way.trouble = finding.detail
        return Sight(_REFUSE, finding)

    def told(self, by_caller: bool) -> str:
        """Say how this direction was proven, or why it is not."""
        way = self._caller if by_caller else self._callee
        if not way.is_proven:
            return f"no SRTP yet{'; refused: ' + way.trouble if way.trouble else ''}"
        if way.side.is_keyed:
            return "SRTP tag right under the key of the MIKEY message"
        announced = " of the announced SSRC" if way.side.ssrcs else ""
        return f"looks like SRTP{announced}; the key of the MIKEY exchange cannot be seen here"

    def wipe(self) -> None:
        """Overwrite the keys (SRT-10)."""
        for way in (self._caller, self._callee):
            for ring in way.rings:
                ring.keys.wipe()
            way.side.wipe()

    def _see(self, way: _Way, flight: Flight) -> Sight:
        kind = kind_of(flight.payload)
        if kind is _RTP:
            if flight.is_rtcp:
                return Sight(_REFUSE, Finding(Reason.BAD_RTCP, "RTP on a port for RTCP"))
            return self._see_rtp(way, flight)
        if kind is _RTCP:
            return _see_rtcp(way, flight)
        if kind is _STUN and is_stun(flight.payload):
            return PASSES
        if kind is _ZRTP or len(flight.payload) <= KEEP_ALIVE_OCTETS:
            return IS_QUIET  # a telephone may try ZRTP wherever it calls
        return Sight(_REFUSE, Finding(Reason.UNKNOWN_MEDIA, "neither SRTP nor STUN"))

    def _see_rtp(self, way: _Way, flight: Flight) -> Sight:
        header = parse_rtp(flight.payload)
        way.has_rtp = True
        if not self._looks.fits(header):
            return Sight(_REFUSE, Finding(Reason.BAD_RTP, "a payload type nobody negotiated"))
        if not way.side.is_keyed:
            return self._see_sealed(way, flight.payload, header)
        tag = way.verify(flight.payload, header, header.ssrc, flight.now_s)
        if tag is _RIGHT:
            return PROVES
        if tag is _REPLAYED:
            return Sight(_REFUSE, Finding(Reason.SRTP_REPLAY))
        if self._looks.is_clear(flight.payload, header):
            return way.leak("RTP in clear where MIKEY brought a key")
        return _WRONG_KEY

    def _see_sealed(self, way: _Way, payload: bytes, header: Rtp) -> Sight:
        """Judge SRTP whose key nobody here has; how long its MKI is only the key tells."""
        if self._looks.is_clear(payload, header):
            return way.leak("RTP in clear where MIKEY agreed on a key")
        if not way.announces(header.ssrc):
            detail = "another SSRC than the MIKEY message announces"
            return Sight(_REFUSE, Finding(Reason.SSRC_CHANGES, detail))
        before, extra = way.before, way.side.suite.rtp_tag_octets
        way.before = header
        if before is None or before.ssrc != header.ssrc:
            way.unknown = 0
            look = self._looks.look(payload, header, extra)
        else:
            look = self._looks.look_at_step(before, payload, header, extra)
            if look is _CLEAR:
                return way.leak("RTP in clear where MIKEY agreed on a key")
        if look is not _SECURED:
            # Of some codecs nothing can be told. Of others the next packet tells, by its
            # timestamp, unless one was lost between.
            way.unknown += 1
            if way.unknown < MIN_UNKNOWN:
                return PASSES
        way.before = None
        way.sources = []
        return PROVES

    def _doubt(self, way: _Way, flight: Flight, kind: Kind) -> Finding | None:
        """Return what speaks against a packet that went on already; good ones end all doubt."""
        payload = flight.payload
        try:
            header = parse_rtp(payload) if kind is _RTP else None
            ssrc = parse_rtcp(payload).ssrc if header is None else header.ssrc
        except HostileInput as error:
            return error.finding()
        if way.side.is_keyed:
            tag = way.verify(payload, header, ssrc, flight.now_s)
            if tag is _WRONG or tag is _OPEN:
                return Finding(Reason.SRTP_TAG, "a proven stream goes on under another key")
        elif header is None:
            if not _is_srtcp(way.side.suite, payload):
                return Finding(Reason.PLAIN_RTP, "RTCP of a proven stream goes on in clear")
        elif self._looks.is_clear(payload, header):
            return Finding(Reason.PLAIN_RTP, "a proven stream goes on in clear")
        way.doubts = 0
        return None


_WRONG_KEY: Final = Sight(_REFUSE, Finding(Reason.SRTP_TAG, "not made with the MIKEY key"))


def _see_rtcp(way: _Way, flight: Flight) -> Sight:
    payload = flight.payload
    ssrc = parse_rtcp(payload).ssrc
    if way.side.is_keyed:
        tag = way.verify(payload, None, ssrc, flight.now_s)
        if tag is _RIGHT:
            return PROVES
        if tag is _REPLAYED:
            return Sight(_REFUSE, Finding(Reason.SRTP_REPLAY))
        if tag is _OPEN or not _is_srtcp(way.side.suite, payload):
            return way.leak("RTCP in clear where MIKEY brought a key")
        return _WRONG_KEY
    if not _is_srtcp(way.side.suite, payload):
        return way.leak("RTCP in clear where MIKEY agreed on a key")
    if way.side.ssrcs and ssrc not in way.side.ssrcs:
        detail = "RTCP of another SSRC than the MIKEY message announces"
        return Sight(_REFUSE, Finding(Reason.SSRC_CHANGES, detail))
    if way.since_s < 0:
        way.since_s = flight.now_s
    # On a shared port RTP proves, if there is any: encrypted RTCP beside clear RTP is easy.
    is_alone = not way.has_rtp and flight.now_s - way.since_s >= RTCP_ALONE_S
    return PROVES if flight.is_rtcp or way.is_proven or is_alone else PASSES


def _is_srtcp(suite: Suite, payload: bytes) -> bool:
    """Tell whether it looks like SRTCP; whether it has an MKI only the key would tell."""
    return any(
        looks_encrypted_rtcp(payload, suite.rtcp_tag_octets, octets, aead=suite.is_aead)
        for octets in _USUAL_MKI_OCTETS
    )
