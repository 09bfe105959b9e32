"""Streams keyed by ZRTP: the exchange has to be right and over before media may pass (RFC 6189).

The key itself nobody in between can have. What can be held against the stream: that the
messages are those of the Hellos that signalling names, come in order and belong together,
and that what follows does not look like clear media. Of a codec whose frames vary in size
the last cannot be told.
"""

from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.media.appearance import Appearance, Look, joined, looks_encrypted_rtcp
from sipguard.media.proof import IS_QUIET, PASSES, PROVES, Flight, Prover, Sight, Word
from sipguard.media.zrtp_exchange import Exchange, Stage
from sipguard.native import mypyc_attr
from sipguard.reason import Finding, Reason
from sipguard.wire.rtp import Kind, Rtp, is_clear_rtcp, kind_of, parse_rtcp, parse_rtp
from sipguard.wire.stun import is_stun
from sipguard.wire.zrtp import Type, ZrtpPacket, parse_zrtp

# Telephones that may do without ZRTP talk in clear until it is over: Linphone does, each 20 ms.
# While the exchange makes progress that is dropped without a word; a message that was lost
# comes again after 150 ms, and after 300 ms more (section 6).
LEAK_S: Final = 1.0
# ZRT-8: a Hello is sent 21 times in 3.75 s, others 11 times, and each is acknowledged once.
BURST: Final = 25
PER_SECOND: Final = 10.0

MAX_ORIGINS: Final = 8
# Messages that prove by the hash chain whose they are; anybody can write the others.
_CHAINED: Final = frozenset((Type.HELLO, Type.COMMIT, Type.DH_PART_1, Type.DH_PART_2))

# Telephones do not agree on the SRTCP tag of a suite with short SRTP tags (RFC 3711 section
# 5.2 asks for 80 bits).
_SRTCP_TAGS: Final = (10, 4, 8)

_SHORT: Final = " without an exchange of keys of its own"

_REFUSE: Final = Word.REFUSE
_QUIET: Final = Word.QUIET
_CLEAR: Final = Look.CLEAR
_UNKNOWN: Final = Look.UNKNOWN
_ZRTP: Final = Kind.ZRTP
_STUN: Final = Kind.STUN
_RTP: Final = Kind.RTP
_RTCP: Final = Kind.RTCP
_TOO_EARLY: Final = Sight(_QUIET, Finding(Reason.MEDIA_TOO_EARLY, "ZRTP is not over"))
_PLAIN: Final = Sight(_REFUSE, Finding(Reason.PLAIN_RTP))
_STRANGE: Final = Sight(_REFUSE, Finding(Reason.UNKNOWN_MEDIA))
_OTHER_TYPE: Final = Sight(_REFUSE, Finding(Reason.BAD_RTP, "a payload type nobody negotiated"))
_BAD_RTCP: Final = Sight(_REFUSE, Finding(Reason.BAD_RTCP, "neither RTCP nor SRTCP"))
_ON_RTCP: Final = Sight(_REFUSE, Finding(Reason.ZRTP_ORDER, "ZRTP on the port for RTCP"))
_OTHER_SOURCE: Final = Sight(
    _REFUSE, Finding(Reason.OTHER_SOURCE, "media from another port than the exchange")
)
_FLOOD: Final = Sight(_REFUSE, Finding(Reason.ZRTP_FLOOD, "the same over and over again"))


@final
@mypyc_attr(acyclic=True)
class _Pace:
    """How many more messages of one type may come for now."""

    __slots__ = ("_at_s", "_left")

    def __init__(self, now_s: float) -> None:
        self._left = float(BURST)
        self._at_s = now_s

    def allows(self, now_s: float) -> bool:
        """Count one message."""
        elapsed_s = max(0.0, now_s - self._at_s)
        self._at_s = now_s
        self._left = min(float(BURST), self._left + elapsed_s * PER_SECOND)
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


@final
class _Way:
    """What one direction has shown: messages by type, the last packet of SRTP, its last fault."""

    __slots__ = ("before", "is_proven", "origins", "paces", "trouble", "was_clear")

    def __init__(self) -> None:
        self.paces: dict[Type, _Pace] = {}
        self.before: Rtp | None = None
        self.was_clear = False  # after the exchange
        self.origins: list[tuple[bytes, int]] = []  # of its part in the exchange: hole and port
        self.is_proven = False
        self.trouble = ""


@final
class ZrtpProver(Prover):
    """Follows one stream's ZRTP exchange and lets media through after it (ZRT-1 to ZRT-11).

    ``caller_hashes`` and ``callee_hashes`` are the 32 octets of each ``a=zrtp-hash`` of a
    side, one for each version it speaks, none where it signalled none. For ``clear_grace_s``
    from the first packet on media passes although the exchange is not over (ZRT-9). Without
    ``appearance`` any payload type will do, and only RTCP shows whether it is clear.
    """

    __slots__ = (
        *("_appearance", "_callee", "_caller", "_clear_grace_s", "_clear_until_s"),
        *("_exchange", "_step_s"),
    )

    def __init__(
        self,
        caller_hashes: tuple[bytes, ...],
        callee_hashes: tuple[bytes, ...],
        appearance: Appearance | None = None,
        clear_grace_s: float = 0.0,
    ) -> None:
        self._appearance = appearance
        self._exchange = Exchange(caller_hashes, callee_hashes)
        self._caller = _Way()
        self._callee = _Way()
        self._clear_grace_s = clear_grace_s
        self._clear_until_s = -1.0
        self._step_s = -1.0  # when the exchange made progress, at first when the stream began

    def is_agreed(self, *, is_rtcp: bool) -> bool:
        """Report whether the exchange is over; it is for both ports."""
        return self._exchange.stage is Stage.SECURE

    def learn(self, looks: Appearance) -> None:
        """Let more formats be right."""
        if self._appearance is not None:
            self._appearance = joined(self._appearance, looks)

    def move(self, by_caller: bool) -> None:
        """Forget where a side's exchange came from; it goes on from another port."""
        (self._caller if by_caller else self._callee).origins = []

    def see(self, flight: Flight) -> Sight:
        """Judge a packet that waits for its verdict."""
        if self._step_s < 0:
            self._step_s = flight.now_s
            self._clear_until_s = flight.now_s + self._clear_grace_s
        way = self._caller if flight.by_caller else self._callee
        try:
            sight = self._see(way, flight)
        except HostileInput as error:
            # A wrong checksum is to be dropped silently (ZRT-1).
            word = _QUIET if error.reason is Reason.ZRTP_CRC else _REFUSE
            sight = Sight(word, error.finding())
        if sight.word is _REFUSE and sight.finding is not None:
            way.trouble = sight.finding.detail or sight.finding.reason.value
        elif sight.word is Word.PROVEN:
            way.is_proven = True
            self._exchange.take_media(flight.by_caller)
        return sight

    def sample(self, flight: Flight) -> Sight:
        """Judge the copy of a packet that the kernel has forwarded already."""
        kind = kind_of(flight.payload)
        try:
            if kind is _RTP and not flight.is_rtcp:
                return self._sample_rtp(flight.payload)
            if kind is _RTCP:
                return _PLAIN if is_clear_rtcp(flight.payload) else PROVES
            if kind is _ZRTP:
                _, finding = self._exchange.take(flight.by_caller, parse_zrtp(flight.payload))
                return Sight(Word.PASS, finding)
        except HostileInput as error:
            is_told = error.reason in (Reason.ZRTP_CLEAR, Reason.BAD_RTP)
            return Sight(_REFUSE if is_told else Word.PASS, error.finding())
        return PASSES if kind is _STUN or not flight.payload else _STRANGE

    def told(self, by_caller: bool) -> str:
        """Say in words how far the exchange is, and what it rests on."""
        exchange = self._exchange
        way = self._caller if by_caller else self._callee
        trouble = f"; refused: {way.trouble}" if way.trouble else ""
        if exchange.stage is not Stage.SECURE:
            return f"ZRTP exchange not over: {exchange.stage.value} is due{trouble}"
        words = f"ZRTP exchange complete{_SHORT if exchange.is_short else ''}: "
        words += _agreement(exchange, by_caller)
        return words if way.is_proven else f"{words}; no SRTP yet{trouble}"

    def wipe(self) -> None:
        """Forget the messages; there are no keys here."""
        self._exchange.forget()

    def _see(self, way: _Way, flight: Flight) -> Sight:
        kind = kind_of(flight.payload)
        is_media = kind is _RTP or kind is _RTCP
        if is_media and not flight.is_rtcp and _is_stranger(way, flight.origin):
            return _OTHER_SOURCE
        if kind is _RTP:
            return _BAD_RTCP if flight.is_rtcp else self._see_rtp(way, flight)
        if kind is _RTCP:
            return self._see_rtcp(flight)
        if kind is _ZRTP:
            return self._see_zrtp(way, flight)
        if kind is _STUN and is_stun(flight.payload):
            return PASSES
        # Empty datagrams keep paths open (RFC 6263 section 4.1).
        return _STRANGE if flight.payload else IS_QUIET

    # --- the exchange

    def _see_zrtp(self, way: _Way, flight: Flight) -> Sight:
        if flight.is_rtcp:
            return _ON_RTCP
        packet = parse_zrtp(flight.payload)
        is_progress, finding = self._exchange.take(flight.by_caller, packet)
        if is_progress:
            # Never held against a pace, or others could keep it out by repeating the old.
            self._step_s = flight.now_s
            if packet.type in _CHAINED:
                way.origins = [*way.origins, flight.origin][-MAX_ORIGINS:]
        elif not self._keeps_pace(way, packet, flight.now_s):
            return _FLOOD
        return PASSES if finding is None else Sight(Word.PASS, finding)

    def _keeps_pace(self, way: _Way, packet: ZrtpPacket, now_s: float) -> bool:
        pace = way.paces.get(packet.type)
        if pace is None:
            pace = way.paces[packet.type] = _Pace(now_s)
        return pace.allows(now_s)

    # --- media

    def _see_rtp(self, way: _Way, flight: Flight) -> Sight:
        header = parse_rtp(flight.payload)
        appearance = self._appearance
        if appearance is not None and not appearance.fits(header):
            return _OTHER_TYPE
        may_send = self._exchange.may_send(flight.by_caller)
        look = self._look(way.before if may_send else None, flight.payload, header)
        before = way.before
        if may_send:
            way.before = header  # a clear one, too: the next must not be held against a gap
        if look is _CLEAR:
            way.was_clear = way.was_clear or may_send
            return self._unless_on_its_way(_PLAIN, flight.now_s)
        if not may_send:
            return self._unless_on_its_way(_TOO_EARLY, flight.now_s)
        # By size alone two clear frames may look like one with a tag; the next packet tells.
        # Who was clear once has to send two in a row that are not.
        if look is _UNKNOWN and not _follows(before, header) and (before is None or way.was_clear):
            return PASSES
        return PROVES

    def _look(self, before: Rtp | None, payload: bytes, header: Rtp) -> Look:
        """Return what the packet looks like, knowing the length of the tag or not."""
        appearance = self._appearance
        if appearance is None:
            return _UNKNOWN
        tag_octets = self._exchange.tag_octets
        if tag_octets < 0:
            return _CLEAR if appearance.is_clear(payload, header) else _UNKNOWN
        if before is None:
            return appearance.look(payload, header, tag_octets)
        return appearance.look_at_step(before, payload, header, tag_octets)

    def _see_rtcp(self, flight: Flight) -> Sight:
        parse_rtcp(flight.payload)
        if is_clear_rtcp(flight.payload):
            return self._unless_on_its_way(_PLAIN, flight.now_s)
        if not self._exchange.may_send(flight.by_caller):
            return self._unless_on_its_way(_TOO_EARLY, flight.now_s)
        for tag_octets in _SRTCP_TAGS:
            if looks_encrypted_rtcp(flight.payload, tag_octets):
                return PROVES
        return _BAD_RTCP

    def _unless_on_its_way(self, sight: Sight, now_s: float) -> Sight:
        """Judge media that is clear, or earlier than its key (ZRT-7, ZRT-9)."""
        if now_s < self._clear_until_s and self._exchange.stage is not Stage.SECURE:
            return PASSES
        return IS_QUIET if now_s - self._step_s <= LEAK_S else sight

    def _sample_rtp(self, payload: bytes) -> Sight:
        header = parse_rtp(payload)
        if self._appearance is not None and not self._appearance.fits(header):
            return _OTHER_TYPE
        return _PLAIN if self._look(None, payload, header) is _CLEAR else PROVES


def _is_stranger(way: _Way, origin: tuple[bytes, int]) -> bool:
    """Tell whether the exchange came through the same hole, but from other ports alone.

    ZRTP runs on the port of the media (RFC 6189 section 5), and nothing else tells whose
    this is: whoever forges the address could be first (PIN-14). A side that has moved
    comes through another hole.
    """
    if origin in way.origins:
        return False
    return any(hole == origin[0] for hole, _ in way.origins)


def _agreement(exchange: Exchange, by_caller: bool) -> str:
    """Say what one side's messages were held against."""
    side = exchange.caller if by_caller else exchange.callee
    held = ["hash chain"] if side.shows_chain else []
    if exchange.hvi_agrees:
        held.append("hvi")
    if side.signalled:
        held.append("a=zrtp-hash")
    if not held:
        return "nothing of this side could be checked"
    if len(held) == 1:
        return f"{held[0]} agrees"
    return f"{', '.join(held[:-1])} and {held[-1]} agree"


def _follows(before: Rtp | None, header: Rtp) -> bool:
    """Tell whether two packets are neighbors, so that the time between them says something."""
    return (
        before is not None
        and before.ssrc == header.ssrc
        and (header.sequence - before.sequence) & 0xFFFF == 1
    )
