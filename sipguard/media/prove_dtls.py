"""DTLS-SRTP shown to be used: both certificates as signalled, then media that looks encrypted.

RFC 5763, 5764 (DTL-4 to DTL-10), SRT-1 to SRT-4. Nobody here has the keys, so that no tag
can be checked. What can be: who shook hands, and whether media is as long as the agreed
profile makes it. A shared port is one component, a port for RTCP another, each with its own
handshake (RFC 5764 section 4.2).

DTLS goes on before and after the proof: it is what proves.
"""

from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.media.appearance import Appearance, Look, joined, looks_encrypted_rtcp
from sipguard.media.dtls_handshake import Handshakes
from sipguard.media.dtls_side import Settled
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
from sipguard.native import mypyc_attr
from sipguard.reason import Finding, Reason
from sipguard.wire.dtls_hello import is_aead, tag_octets
from sipguard.wire.rtp import Kind, Rtp, is_clear_rtcp, kind_of, parse_rtcp, parse_rtp
from sipguard.wire.sdp import Fingerprint
from sipguard.wire.stun import is_stun

MAX_LEAKS: Final = 4  # packets in clear of one direction, dropped in silence; telephones leak two
MAX_EARLY: Final = 50  # packets before the keys: a second of speech
MAX_GUESSES: Final = 16  # packets of a codec that shows nothing, waiting for two in a row
MAX_DOUBTS: Final = 3  # samples in clear before a proof is taken back
MAX_SOURCES: Final = 8  # SSRCs without a proof among them, and with one (SRT-4)
RTCP_ALONE_S: Final = 1.0  # a shared port without RTP by then has RTCP alone to prove itself

_REFUSE: Final = Word.REFUSE
_RTP: Final = Kind.RTP
_RTCP: Final = Kind.RTCP
_DTLS: Final = Kind.DTLS
_CLEAR: Final = Look.CLEAR
_SECURED: Final = Look.SECURED
_UNKNOWN: Final = Look.UNKNOWN

# What a handshake lacks says nothing where only some of its packets were shown.
_WRONG_BY_ITSELF: Final = frozenset(
    (Reason.DTLS_FINGERPRINT, Reason.DTLS_NO_SRTP, Reason.DTLS_ROLE)
)


def caller_is_active(caller_setup: bytes, callee_setup: bytes) -> bool:
    """Tell which side sends the ClientHello, from both ``a=setup`` words (DTL-2, DTL-8).

    The answer has the last word, and whose that was does not matter: an offer that says
    more than ``actpass`` agrees with it, or there is no key.
    """
    return caller_setup == b"active" or callee_setup == b"passive"


@final
@mypyc_attr(acyclic=True)
class _Way:
    """One direction of one component: what came before its proof, and what speaks against it."""

    __slots__ = (
        *("before", "doubts", "early", "guesses", "has_rtp"),
        *("leaks", "proven", "sources"),
    )

    def __init__(self) -> None:
        self.proven: tuple[int, ...] = ()  # the SSRCs that are
        self.before: Rtp | None = None  # of one that is not yet
        self.sources: list[int] = []  # SSRCs since the last proof
        self.leaks = 0
        self.early = 0
        self.guesses = 0
        self.doubts = 0
        self.has_rtp = False

    def leak(self, finding: Finding) -> Sight:
        """Drop in silence what honest telephones send by mistake, and tell of what goes on."""
        self.leaks += 1
        return IS_QUIET if self.leaks <= MAX_LEAKS else Sight(_REFUSE, finding)

    def may_wait(self, before: Rtp | None, header: Rtp) -> bool:
        """Tell whether the next packet may say more than this one: how much time it stands for.

        Two in a row say all that there is to say; some senders never send two in a row.
        """
        self.guesses += 1
        return self.guesses <= MAX_GUESSES and (
            before is None
            or before.ssrc != header.ssrc
            or (header.sequence - before.sequence) & 0xFFFF != 1
        )

    def end_wait(self, ssrc: int) -> None:
        self.proven = (*self.proven, ssrc)[-MAX_SOURCES:]
        self.before = None
        self.sources = []
        self.guesses = 0

    def counts(self, ssrc: int) -> bool:
        """Note a source; tell whether there are no more of them than a stream has."""
        if ssrc in self.sources:
            return True
        self.sources.append(ssrc)
        return len(self.sources) <= MAX_SOURCES


@final
@mypyc_attr(acyclic=True)
class _Component:
    """RTP's port or RTCP's: one handshake after another, and the media that they allow."""

    __slots__ = ("callee", "caller", "handshakes", "settled", "since_s")

    def __init__(self) -> None:
        self.handshakes: Handshakes | None = None
        self.settled: Settled | None = None
        self.since_s = -1.0  # when the first handshake was over
        self.caller: Final = _Way()
        self.callee: Final = _Way()

    def way(self, by_caller: bool) -> _Way:
        return self.caller if by_caller else self.callee

    def settle(self, settled: Settled | None, now_s: float) -> None:
        if settled is not None:
            self.settled = settled
            if self.since_s < 0:
                self.since_s = now_s

    def prove(self, way: _Way, ssrc: int) -> Sight:
        """Let a source be proven; with both directions, what only the handshake needs goes.

        A repetition of it, or the next one, is then compared from its beginning.
        """
        if ssrc not in way.proven:
            way.end_wait(ssrc)
            handshakes = self.handshakes
            is_all = self.caller.proven and self.callee.proven
            if is_all and handshakes is not None and handshakes.is_over:
                self.handshakes = None
        return PROVES


class DtlsProver(Prover):
    """Proves the two directions of a stream whose ends named their certificates in signalling.

    Args:
        caller_prints: The certificates that the caller may show, by fingerprint.
        callee_prints: The same for the callee.
        caller_setup: The caller's last word on ``a=setup``, in its offer or answer.
        callee_setup: The callee's.
        accept_hidden: Whether policy takes certificates that nobody here can see (DTLS
            1.3, resumed sessions) for the right ones.
        appearance: What clear RTP of the negotiated formats looks like.
    """

    def __init__(
        self,
        caller_prints: tuple[Fingerprint, ...],
        callee_prints: tuple[Fingerprint, ...],
        caller_setup: bytes,
        callee_setup: bytes,
        accept_hidden: bool,
        appearance: Appearance,
    ) -> None:
        """Expect one handshake for RTP and, where it has a port of its own, one for RTCP."""
        self._caller_prints = caller_prints
        self._callee_prints = callee_prints
        self._caller_is_client = caller_is_active(caller_setup, callee_setup)
        self._accepts_hidden = accept_hidden
        self._appearance = appearance
        self._rtp: _Component | None = None
        self._rtcp: _Component | None = None

    def is_agreed(self, *, is_rtcp: bool) -> bool:
        """Report whether a handshake on this port is over, with the right certificates."""
        component = self._rtcp if is_rtcp else self._rtp
        return component is not None and component.settled is not None

    def learn(self, looks: Appearance) -> None:
        """Let more formats be right."""
        self._appearance = joined(self._appearance, looks)

    def see(self, flight: Flight) -> Sight:
        """Judge a packet that waits for its verdict."""
        component = self._component(flight.is_rtcp)
        kind = kind_of(flight.payload)
        if kind is _DTLS:
            return self._hear_dtls(component, flight)
        if kind is not _RTP and kind is not _RTCP:
            return _judge_other(kind, flight.payload)
        way = component.way(flight.by_caller)
        settled = component.settled
        try:
            if settled is None:
                return self._hear_early(component, way, flight, kind)
            by_client = flight.by_caller == self._caller_is_client
            if settled.is_stranger(flight.origin, by_client):
                detail = "media from another port than the handshake"
                return Sight(_REFUSE, Finding(Reason.OTHER_SOURCE, detail))
            if kind is _RTCP:
                return _hear_rtcp(settled, component, way, flight)
            return self._hear_rtp(settled, component, way, flight)
        except HostileInput as error:
            return Sight(_REFUSE, error.finding())

    def sample(self, flight: Flight) -> Sight:
        """Judge the copy of a packet that was forwarded: is the stream still encrypted?"""
        component = self._component(flight.is_rtcp)
        kind = kind_of(flight.payload)
        settled = component.settled
        if kind is _DTLS:
            sight = self._hear_dtls(component, flight)
            finding = sight.finding
            return sight if finding is not None and finding.reason in _WRONG_BY_ITSELF else PASSES
        if settled is None or (kind is not _RTP and kind is not _RTCP):
            return PASSES
        way = component.way(flight.by_caller)
        try:
            if kind is _RTCP:
                look = _SECURED if _is_srtcp(flight.payload, settled) else _CLEAR
            else:
                look = self._look(settled, None, flight.payload, parse_rtp(flight.payload))
        except HostileInput:
            look = _CLEAR
        if look is not _CLEAR:
            if look is _SECURED:
                way.doubts = 0
            return PASSES
        way.doubts += 1
        if way.doubts < MAX_DOUBTS:
            return PASSES
        way.proven = ()
        return Sight(_REFUSE, Finding(Reason.PLAIN_RTP, "a proven stream goes on in clear"))

    def told(self, by_caller: bool) -> str:
        """Say how this direction was proven, or why it is not."""
        rtp, rtcp = _told(self._rtp, by_caller), _told(self._rtcp, by_caller)
        return rtp if rtcp in (rtp, _NOTHING) else f"{rtp}; for RTCP {rtcp}"

    def wipe(self) -> None:
        """Forget both handshakes; there are no keys here."""
        self._rtp = self._rtcp = None

    def _component(self, is_rtcp: bool) -> _Component:
        component = self._rtcp if is_rtcp else self._rtp
        if component is None:
            component = _Component()
            if is_rtcp:
                self._rtcp = component
            else:
                self._rtp = component
        return component

    def _hear_dtls(self, component: _Component, flight: Flight) -> Sight:
        handshakes = component.handshakes
        if handshakes is None:
            client, server = self._caller_prints, self._callee_prints
            if not self._caller_is_client:
                client, server = server, client
            handshakes = component.handshakes = Handshakes(client, server, self._accepts_hidden)
        by_client = flight.by_caller == self._caller_is_client
        sight = handshakes.hear(flight.payload, by_client, flight.origin)
        component.settle(handshakes.settled, flight.now_s)
        return sight

    def _hear_early(self, component: _Component, way: _Way, flight: Flight, kind: Kind) -> Sight:
        """Media without a handshake that allows it; what it is decides how it is called."""
        if component.handshakes is not None:
            refusal = component.handshakes.current.refusal
            if refusal is not None:
                return Sight(_REFUSE, refusal)
        payload = flight.payload
        if kind is _RTCP:
            parse_rtcp(payload)
            is_clear = is_clear_rtcp(payload)
        else:
            is_clear = self._appearance.is_clear(payload, parse_rtp(payload))
        way.early += 1
        if is_clear:
            return way.leak(Finding(Reason.PLAIN_RTP, "media in clear before the handshake"))
        if way.early <= MAX_EARLY:
            return IS_QUIET
        detail = "media goes on without a handshake that was seen"
        return Sight(_REFUSE, Finding(Reason.MEDIA_TOO_EARLY, detail))

    def _hear_rtp(
        self, settled: Settled, component: _Component, way: _Way, flight: Flight
    ) -> Sight:
        header = parse_rtp(flight.payload)
        if flight.is_rtcp:
            return way.leak(Finding(Reason.BAD_RTCP, "RTP on a port for RTCP"))
        way.has_rtp = True
        if not self._appearance.fits(header):
            return way.leak(Finding(Reason.BAD_RTP, "a payload type that was not negotiated"))
        is_known = header.ssrc in way.proven
        before = None if is_known else way.before
        look = self._look(settled, before, flight.payload, header)
        if not is_known:
            way.before = header
        if look is _CLEAR:
            return way.leak(Finding(Reason.PLAIN_RTP, "RTP in clear after the handshake"))
        if is_known:
            return PROVES
        if not way.counts(header.ssrc):
            return Sight(_REFUSE, Finding(Reason.SSRC_CHANGES, "each packet has another SSRC"))
        if look is _UNKNOWN and way.may_wait(before, header):
            return PASSES
        return component.prove(way, header.ssrc)

    def _look(self, settled: Settled, before: Rtp | None, payload: bytes, header: Rtp) -> Look:
        if not settled.profile:
            is_clear = self._appearance.is_clear(payload, header)
            return _CLEAR if is_clear else _UNKNOWN
        extra = tag_octets(settled.profile, is_rtcp=False) + settled.mki_octets
        if before is None:
            return self._appearance.look(payload, header, extra)
        return self._appearance.look_at_step(before, payload, header, extra)


_NOTHING: Final = "no DTLS handshake was seen"


def _told(component: _Component | None, by_caller: bool) -> str:
    if component is None:
        return _NOTHING
    settled, handshakes = component.settled, component.handshakes
    if settled is not None:
        if not component.way(by_caller).proven:
            return "the DTLS handshake is over, but no encrypted media came"
        if settled.hidden:
            return f"DTLS handshake, {settled.hidden}, then media that looks encrypted"
        return "DTLS handshake with the signalled certificates, then media that looks encrypted"
    if handshakes is None:
        return _NOTHING
    current = handshakes.current
    if current.refusal is not None:
        return current.refusal.detail
    if current.client_hello is not None or current.server_hello is not None:
        return "the DTLS handshake is not over"
    return _NOTHING


def _hear_rtcp(settled: Settled, component: _Component, way: _Way, flight: Flight) -> Sight:
    """On a shared port RTP proves, if there is any: encrypted RTCP beside clear RTP is easy."""
    ssrc = parse_rtcp(flight.payload).ssrc
    if not _is_srtcp(flight.payload, settled):
        return way.leak(Finding(Reason.PLAIN_RTP, "RTCP in clear after the handshake"))
    is_alone = not way.has_rtp and flight.now_s - component.since_s >= RTCP_ALONE_S
    if flight.is_rtcp or is_alone or ssrc in way.proven:
        return component.prove(way, ssrc)
    return PASSES


def _judge_other(kind: Kind, payload: bytes) -> Sight:
    """STUN passes (DTL-10); of the rest nothing belongs here (DTL-7)."""
    if kind is Kind.STUN and is_stun(payload):
        return PASSES
    if kind is Kind.ZRTP or len(payload) <= KEEP_ALIVE_OCTETS:
        return IS_QUIET  # a telephone may try ZRTP wherever it calls
    return Sight(_REFUSE, Finding(Reason.UNKNOWN_MEDIA, "neither SRTP nor DTLS nor STUN"))


def _is_srtcp(payload: bytes, settled: Settled) -> bool:
    profile = settled.profile
    if not profile:
        return not is_clear_rtcp(payload)
    tag = tag_octets(profile, is_rtcp=True)
    return looks_encrypted_rtcp(payload, tag, settled.mki_octets, aead=is_aead(profile))
