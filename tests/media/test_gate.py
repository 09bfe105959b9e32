"""The media gate: who proved himself, who is too late, whom to doubt again."""

from typing import Final

from phones import ALICE, BOB, octets

from sipguard.media.gate import MAX_SSRCS, RETURN_S, SETTLING_S, SILENT_S, Gate, closing
from sipguard.media.holebook import HoleBook
from sipguard.media.keys import Keys, ProofTerms
from sipguard.media.line import Line
from sipguard.media.proof import IS_QUIET, PASSES, PROVES, Flight, Prover, Sight, Word
from sipguard.reason import Finding, Reason
from sipguard.verdict import DoubtPinhole, Effect, Hole, ProvePinhole
from sipguard.wire.packet import Packet
from sipguard.wire.sdp import Media

CALLEE_PORT: Final = 40000
CALLER_PORT: Final = 30000
HERE: Final = Hole(octets(ALICE), octets(BOB), CALLEE_PORT)
REFUSED: Final = Sight(Word.REFUSE, Finding(Reason.SRTP_TAG))
WORDS: Final = {b"p": PROVES, b"w": PASSES, b"q": IS_QUIET, b"r": REFUSED}
STUN: Final = b"\0\1"
SSRC: Final = 0xCAFE_BABE


class Spoken(Prover):
    """Says what a packet's last octet says; remembers what it was shown."""

    def __init__(self, name: str, authentic: bool) -> None:
        self.name = name
        self.authentic = authentic
        self.flights: list[Flight] = []
        self.wiped = False

    def authenticates(self) -> bool:
        return self.authentic

    def see(self, flight: Flight) -> Sight:
        self.flights.append(flight)
        if flight.payload.endswith(self.name.encode() + flight.payload[-1:]):
            return WORDS[flight.payload[-1:]]
        return REFUSED

    def sample(self, flight: Flight) -> Sight:
        return self.see(flight)

    def told(self, by_caller: bool) -> str:
        return f"{self.name} {'caller' if by_caller else 'callee'}"

    def wipe(self) -> None:
        self.wiped = True


class Named(Keys):
    """Keys by name."""

    def __init__(self, name: str, authentic: bool = True) -> None:
        super().__init__(b"audio", b"sdes", b"")
        self.name = name
        self.authentic = authentic
        self.made: list[Spoken] = []

    def prover(self, terms: ProofTerms) -> Prover:
        self.made.append(Spoken(self.name, self.authentic))
        return self.made[-1]

    def same_as(self, other: Keys) -> bool:
        return isinstance(other, Named) and other.name == self.name

    def goes_on_with(self, offer: Media, by_caller: bool) -> bool:
        return True


class Scene:
    """A gate before one call's line, and packets of it."""

    def __init__(self, within_s: float = 10.0, authentic: bool = True) -> None:
        self.book = HoleBook(100)
        self.gate = Gate(self.book, ProofTerms(within_s))
        self.keys = Named("k", authentic)
        self.line = self.agree(self.keys)
        assert self.book.claim(self.line, 8) == 4
        self.now_s = 100.0
        self.ssrc = SSRC

    def agree(self, keys: Keys) -> Line:
        line = Line(octets(ALICE), octets(BOB), 30001 << 16 | 30000, 40001 << 16 | 40000, "sdes")
        line.call_id, line.keys = b"call-1", keys
        return line

    def packet(
        self, payload: bytes, port: int = CALLER_PORT, to: int = CALLEE_PORT, back: bool = False
    ) -> Packet:
        ends = (BOB, ALICE) if back else (ALICE, BOB)
        head = b"\x80" + bytes(7) + self.ssrc.to_bytes(4, "big")
        return Packet(octets(ends[0]), octets(ends[1]), port, to, head + payload, "udp", "")

    def send(
        self, payload: bytes, port: int = CALLER_PORT, to: int = CALLEE_PORT, back: bool = False
    ) -> tuple[bool, tuple[Effect, ...]]:
        answer = self.gate.inspect(self.packet(payload, port, to, back), self.now_s)
        return answer.accept, answer.effects

    def overdue(self) -> list[Hole]:
        return [late.hole for late in self.gate.tick(self.now_s)]


def doubt(port: int = CALLER_PORT) -> DoubtPinhole:
    return DoubtPinhole(HERE, port, Reason.OTHER_SOURCE, b"call-1")


def prove(port: int = CALLER_PORT, ssrc: int = SSRC) -> ProvePinhole:
    return ProvePinhole(HERE, port, ssrc, b"call-1")


def test_a_proof_makes_the_kernel_forward_the_rest() -> None:
    """The first authentic packet passes, and its source needs no more asking."""
    scene = Scene()
    assert scene.send(b"kp") == (True, (prove(),))


def test_packets_already_on_their_way_bring_no_second_proof() -> None:
    """Until the kernel has heard of it; one that comes much later shows that it forgot."""
    scene = Scene()
    scene.send(b"kp")
    assert scene.send(b"kp") == (True, ())
    scene.now_s += SETTLING_S + 0.1
    assert scene.send(b"kp") == (True, (prove(),))


def test_what_proves_nothing_passes_or_not_as_the_prover_says() -> None:
    """STUN and handshakes pass, leaks do not and are not told, forgeries are told once."""
    scene = Scene()
    assert scene.send(b"kw") == (True, ())
    assert scene.send(b"kq") == (False, ())
    first = scene.gate.inspect(scene.packet(b"kr"), scene.now_s)
    again = scene.gate.inspect(scene.packet(b"kr"), scene.now_s)
    assert first.finding == Finding(Reason.SRTP_TAG)
    assert (first.accept, again.accept, again.finding) == (False, False, None)


def test_each_lane_proves_itself() -> None:
    """Direction and RTCP port by themselves: the prover is told which it sees."""
    scene = Scene()
    scene.send(b"kp")
    scene.send(b"kp", port=30001, to=40001)
    scene.send(b"kp", port=CALLEE_PORT, to=CALLER_PORT, back=True)
    seen = [(f.by_caller, f.is_rtcp, f.source_port) for f in scene.keys.made[0].flights]
    assert seen == [(True, False, 30000), (True, True, 30001), (False, False, 40000)]


def test_strangers_and_closed_streams_are_dropped() -> None:
    """A packet whose hole is gone, or that no key is known for, passes nothing."""
    scene = Scene()
    assert scene.send(b"kp", to=50000) == (False, ())
    scene.book.release_line(scene.line)
    assert scene.send(b"kp") == (False, ())


def test_another_port_is_latched_only_when_the_first_is_silent() -> None:
    """PIN-14: a copied authentic packet from another port of the same host latches nothing."""
    scene = Scene()
    scene.send(b"kp")
    answer = scene.gate.inspect(scene.packet(b"kp", port=31000), scene.now_s)
    assert (answer.accept, answer.finding) == (False, Finding(Reason.OTHER_SOURCE))
    scene.now_s += SILENT_S + 1
    assert scene.send(b"kp", port=31000) == (True, (doubt(), prove(31000)))


def test_who_only_seemed_silent_takes_his_place_back() -> None:
    """Where no copies come, a replay after SILENT_S must not shut the call's own source out."""
    scene = Scene()
    scene.send(b"kp")
    scene.now_s += SILENT_S + 1
    assert scene.send(b"kp", port=31000) == (True, (doubt(), prove(31000)))
    scene.now_s += 0.02
    assert scene.send(b"kp") == (True, (doubt(31000), prove()))
    assert scene.send(b"kp", port=31000) == (False, ()), "and nobody takes turns"
    scene.now_s += RETURN_S + 1
    assert scene.send(b"kp") == (True, (prove(),))


def test_another_stream_from_another_port_passes_but_is_not_latched() -> None:
    """Who has the key may have two senders; each packet of the second is asked about."""
    scene = Scene()
    scene.send(b"kp")
    scene.ssrc = 7
    assert scene.send(b"kp", port=31000) == (True, ())
    assert scene.send(b"kp", port=31000) == (True, ())


def test_without_a_tag_another_port_is_refused() -> None:
    """What only looks right could come from anybody at that host."""
    scene = Scene(authentic=False)
    scene.send(b"kp")
    answer = scene.gate.inspect(scene.packet(b"kp", port=31000), scene.now_s)
    assert (answer.accept, answer.finding) == (False, Finding(Reason.OTHER_SOURCE))


def test_another_ssrc_proves_itself_too() -> None:
    """SRT-4: what the kernel forwards alone is one port and one SSRC; each is asked about once."""
    scene = Scene()
    scene.send(b"kp")
    scene.ssrc = 7
    assert scene.send(b"kr") == (False, ())
    assert scene.send(b"kp") == (True, (prove(ssrc=7),))
    assert scene.send(b"kp") == (True, ())
    for ssrc in range(8, 8 + MAX_SSRCS):
        scene.ssrc = ssrc
        accept, effects = scene.send(b"kp")
        assert accept
    assert effects == ()


def test_copies_keep_a_source_proven() -> None:
    """A sample of the first source shows that it is alive, so no other port takes its place."""
    scene = Scene()
    scene.send(b"kp")
    scene.now_s += SILENT_S
    assert scene.gate.sample(scene.packet(b"kp"), scene.now_s).effects == ()
    scene.now_s += SILENT_S / 2
    assert scene.send(b"kp", port=31000) == (False, ())


def test_a_copy_that_is_wrong_takes_the_proof_back() -> None:
    """A later swap: each packet is asked about again, and told why."""
    scene = Scene()
    scene.send(b"kp")
    answer = scene.gate.sample(scene.packet(b"kr"), scene.now_s)
    assert answer.effects == (DoubtPinhole(HERE, CALLER_PORT, Reason.SRTP_TAG, b"call-1"),)
    assert answer.finding == Finding(Reason.SRTP_TAG)
    assert scene.send(b"kp") == (True, (prove(),))


def test_who_proves_nothing_in_time_is_closed() -> None:
    """The clock starts with the first packet that should have proven something."""
    scene = Scene(within_s=10.0)
    scene.now_s += 500.0
    scene.send(b"kw")
    scene.now_s += 9.9
    assert scene.overdue() == []
    scene.now_s += 0.2
    late = scene.gate.tick(scene.now_s)
    assert [one.hole for one in late] == [HERE]
    effect = closing(late[0])
    assert (effect.hole, effect.reason, effect.call_id) == (HERE, Reason.UNPROVEN, b"call-1")
    assert scene.overdue() == []


def test_who_is_proven_or_gone_is_not_overdue() -> None:
    """Proof stops the clock; so does the end of the stream."""
    scene = Scene()
    scene.send(b"kw")
    scene.send(b"kp")
    scene.send(b"kw", port=CALLEE_PORT, to=CALLER_PORT, back=True)
    scene.book.release_line(scene.line)
    scene.now_s += 60.0
    assert scene.overdue() == []


def test_stun_starts_no_clock() -> None:
    """Keep-alives of a path that carries nothing must not close it (consent, RFC 7675)."""
    scene = Scene()
    packet = Packet(octets(ALICE), octets(BOB), CALLER_PORT, CALLEE_PORT, STUN + b"kw", "udp", "")
    assert scene.gate.inspect(packet, scene.now_s).accept
    scene.now_s += 60.0
    assert scene.overdue() == []


def test_new_keys_must_be_proven_and_old_ones_are_good_for_a_while() -> None:
    """PIN-8: packets under the old keys are on their way when the new ones are agreed."""
    scene = Scene()
    scene.send(b"kp")
    line = scene.agree(Named("n"))
    before = scene.book.share(line)
    assert before is scene.line
    doubt = DoubtPinhole(HERE, CALLER_PORT, Reason.RENEGOTIATED, b"call-1")
    assert scene.gate.succeed(line, before, scene.now_s) == (doubt,)
    assert scene.send(b"kp") == (True, ())
    assert scene.send(b"np") == (True, (prove(),))
    scene.now_s += 61.0
    assert scene.send(b"kp") == (False, ())


def test_a_renegotiation_that_fails_brings_the_old_keys_back() -> None:
    """PIN-8: exactly as they were, and the proof of the new ones counts no more."""
    scene = Scene()
    scene.send(b"kp")
    line = scene.agree(Named("n"))
    before = scene.book.share(line)
    assert before is not None
    scene.gate.succeed(line, before, scene.now_s)
    scene.now_s += 2.0
    assert scene.book.release_line(line) == []
    assert scene.send(b"kp") == (True, (prove(),))
    assert scene.send(b"np") == (False, ())


def test_the_same_keys_again_change_nothing() -> None:
    """A session refresh, or the call's other leg: what is proven stays proven."""
    scene = Scene()
    scene.send(b"kp")
    line = scene.agree(Named("k"))
    before = scene.book.share(line)
    assert before is not None
    assert scene.gate.succeed(line, before, scene.now_s) == ()
    assert line.watch is scene.line.watch
    assert len(scene.keys.made) == 1
