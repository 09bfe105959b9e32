"""Any order of offers, answers, refusals and ends keeps the book and the kernel in step."""

from binascii import a2b_base64

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from phones import (
    ALICE,
    BOB,
    CAROL,
    CRYPTO_A,
    CRYPTO_A2,
    CRYPTO_B,
    CRYPTO_B2,
    KEY_A,
    KEY_A2,
    KEY_B,
    KEY_B2,
    PROXY,
    SUITE,
    Script,
    audio,
    octets,
    sdp,
)
from srtp_sender import Sender, rtp

from sipguard.media.keys import Keys, SdesKeys
from sipguard.media.line import OFF
from sipguard.media.sessions import Party, Sessions
from sipguard.media.watch import Watch
from sipguard.verdict import Hole, ProvePinhole
from sipguard.wire.packet import Packet
from sipguard.wire.sdp import Sdp

KEYED = {
    Party.CALLER: [
        sdp(ALICE, audio(30000, CRYPTO_A)),
        sdp(ALICE, audio(30010, CRYPTO_A2), version=2),
        sdp("0.0.0.0", audio(30000, CRYPTO_A), version=3),
        sdp(ALICE, audio(30000, CRYPTO_A), f"m=video 30002 RTP/SAVP 96\n{CRYPTO_A2}"),
    ],
    Party.CALLEE: [
        sdp(BOB, audio(40000, CRYPTO_B)),
        sdp(BOB, audio(40010, CRYPTO_B2, "a=rtcp-mux"), version=2),
        sdp(CAROL, audio(40000, CRYPTO_B), version=3),
        sdp(BOB, audio(40000, CRYPTO_B), f"m=video 40002 RTP/SAVP 96\n{CRYPTO_B2}"),
    ],
}
# Nothing that these describe is keyed, on ports that no keyed one uses.
UNKEYED = {
    Party.CALLER: [sdp(ALICE, audio(33000)), sdp(ALICE, audio(33000, proto="RTP/AVP"))],
    Party.CALLEE: [sdp(BOB, audio(44000)), sdp(BOB, audio(44000, CRYPTO_B, proto="RTP/AVP"))],
}
UNKEYED_PORTS = {33000, 33001, 44000, 44001}
# Who may send with which key: what a side has ever announced.
KEYS = {"a": KEY_A, "a2": KEY_A2, "b": KEY_B, "b2": KEY_B2}
SENDERS = {
    name: Sender(SUITE.encode(), a2b_base64(key.removeprefix("inline:")))
    for name, key in KEYS.items()
} | {"none": Sender(SUITE.encode(), bytes(30))}
KEYS_OF = {octets(ALICE): {"a", "a2"}, octets(BOB): {"b", "b2"}, octets(CAROL): {"b"}}
# Where nobody ever agrees on media.
CLOSED = {Hole(octets(ALICE), octets(BOB), 44000), Hole(octets(PROXY), octets(ALICE), 30000)}
TAGS = [b"bob", b"carol"]
PATHS = [(ALICE, BOB), (ALICE, PROXY), (PROXY, BOB)]

calls = st.sampled_from([b"call-1", b"call-2", b"call-3"])
parties = st.sampled_from(Party)
tags = st.sampled_from(TAGS)
choices = st.integers(0, 5)
cseqs = st.integers(1, 4)
paths = st.sampled_from(PATHS)
carriers = st.sampled_from(["INVITE", "UPDATE", "PRACK"])


def pick(sender: Party, choice: int) -> Sdp:
    return (KEYED[sender] + UNKEYED[sender])[choice]


def way(path: tuple[str, str], sender: Party) -> tuple[str, str]:
    return path if sender is Party.CALLER else (path[1], path[0])


class Conversation(RuleBasedStateMachine):
    """Three calls between the same hosts, two forks each, over three paths."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions = Sessions(max_calls=2, max_holes=40, max_holes_per_call=12)
        self.open: set[Hole] = set()
        self.keys: dict[int, Keys] = {}
        self.watches: dict[int, Watch] = {}
        self.scripts = {
            call: Script(self.sessions, call_id=call, opened=self.open)
            for call in (b"call-1", b"call-2", b"call-3")
        }

    @rule(call=calls, choice=choices, cseq=cseqs, path=paths, has_offer=st.booleans())
    def invite(
        self, call: bytes, choice: int, cseq: int, path: tuple[str, str], has_offer: bool
    ) -> None:
        offer = pick(Party.CALLER, choice) if has_offer else None
        self.scripts[call].invite(offer, cseq=cseq, path=path)

    @rule(
        call=calls,
        method=st.sampled_from(["INVITE", "UPDATE", "PRACK", "ACK"]),
        sender=parties,
        choice=choices,
        cseq=cseqs,
        tag=tags,
        path=paths,
        has_sdp=st.booleans(),
    )
    def request(
        self,
        call: bytes,
        method: str,
        sender: Party,
        choice: int,
        cseq: int,
        tag: bytes,
        path: tuple[str, str],
        has_sdp: bool,
    ) -> None:
        described = pick(sender, choice) if has_sdp else None
        self.scripts[call].request(
            method, described, cseq=cseq, sender=sender, tag=tag, path=way(path, sender)
        )

    @rule(
        call=calls,
        method=carriers,
        status=st.sampled_from([183, 200, 200, 488]),
        sender=parties,
        choice=choices,
        cseq=cseqs,
        tag=tags,
        path=paths,
        reliable=st.booleans(),
        has_sdp=st.booleans(),
    )
    def response(
        self,
        call: bytes,
        method: str,
        status: int,
        sender: Party,
        choice: int,
        cseq: int,
        tag: bytes,
        path: tuple[str, str],
        reliable: bool,
        has_sdp: bool,
    ) -> None:
        self.scripts[call].response(
            status,
            pick(sender, choice) if has_sdp and status < 300 else None,
            method=method,
            cseq=cseq,
            sender=sender,
            tag=tag,
            reliable=reliable and status == 183,
            path=way(path, sender),
        )

    @rule(call=calls, choice=choices, answer=choices, tag=tags, path=paths)
    def whole_call(
        self, call: bytes, choice: int, answer: int, tag: bytes, path: tuple[str, str]
    ) -> None:
        """A shortcut through the common case, so that much is open when odd steps come."""
        script = self.scripts[call]
        script.invite(pick(Party.CALLER, choice), path=path)
        script.response(200, pick(Party.CALLEE, answer), tag=tag, path=way(path, Party.CALLEE))

    @rule(call=calls, tag=tags, whole=st.booleans())
    def end(self, call: bytes, tag: bytes, whole: bool) -> None:
        self.scripts[call].end(b"" if whole else tag)

    @rule(
        place=st.integers(0, 60),
        source_port=st.sampled_from([30000, 40000, 5555]),
        key=st.sampled_from(sorted(SENDERS)),
        index=st.sampled_from([0, 1, 2, 65_535, 65_536, 70_000]),
        is_copy=st.booleans(),
    )
    def packet(self, place: int, source_port: int, key: str, index: int, is_copy: bool) -> None:
        """Media passes an open hole alone, and only with a key that its side has announced."""
        holes = sorted(self.open | CLOSED, key=lambda hole: (hole.source, hole.port))
        hole = holes[place % len(holes)]
        payload = rtp(index) if key == "none" else SENDERS[key].rtp(index)
        packet = Packet(hole.source, hole.destination, source_port, hole.port, payload, "udp", "")
        gate, now_s = self.sessions.gate, next(iter(self.scripts.values())).now_s
        if is_copy:
            gate.sample(packet, now_s)
            return
        answer = gate.inspect(packet, now_s)
        if answer.accept:
            assert hole in self.open
            assert key in KEYS_OF[hole.source]
        proven = [one for one in answer.effects if isinstance(one, ProvePinhole)]
        assert all(one.hole == hole and one.source_port == source_port for one in proven)

    @rule(
        call=calls,
        choice=st.integers(0, 3),
        answer=st.integers(0, 3),
        tag=tags,
        path=paths,
        index=st.integers(0, 2),
    )
    def call_with_media(
        self, call: bytes, choice: int, answer: int, tag: bytes, path: tuple[str, str], index: int
    ) -> None:
        """What mostly happens, so that there is something to renegotiate, replay and forge."""
        self.whole_call(call, choice, answer, tag, path)
        for place in range(len(self.open)):
            for key in SENDERS:
                self.packet(place, 30000, key, index, False)

    @rule(seconds=st.sampled_from([1, 33, 61, 901]))
    def wait(self, seconds: int) -> None:
        for script in self.scripts.values():
            script.now_s += seconds
        script.apply(self.sessions.expire(script.now))
        for late in self.sessions.gate.tick(script.now_s):
            assert late.hole in self.open

    @invariant()
    def book_and_kernel_agree(self) -> None:
        """What was opened and not closed is exactly what the book holds."""
        assert set(self.sessions.holes()) == self.open
        assert self.sessions.statistics().holes == len(self.open) <= 40

    @invariant()
    def unkeyed_ends_stay_closed(self) -> None:
        """No hole leads to a port that was only ever described without a key."""
        assert not any(hole.port in UNKEYED_PORTS for hole in self.open)

    @invariant()
    def holes_belong_to_live_calls(self) -> None:
        """No call, no hole; and the table keeps its bound."""
        calls_known = self.sessions.statistics().calls
        assert calls_known <= 2
        assert calls_known or not self.open

    @invariant()
    def lines_in_use_have_keys(self) -> None:
        """Whatever a talk still has is keyed; what was ever seen is kept for the end."""
        for call in self.sessions._calls.values():
            for talk in call.talks:
                retired = [line for old in talk.retired for _, line in old.holes]
                pending = talk.offer.lines if talk.offer else ()
                for line in (*talk.lines, *pending, *retired):
                    if line is OFF:
                        continue
                    assert line.keys is not None or line in retired
                    if line.keys is not None:
                        self.keys[id(line.keys)] = line.keys
                    if line.watch is not None:
                        self.watches[id(line.watch)] = line.watch

    def teardown(self) -> None:
        """After every call has ended nothing is open, and no key or proof is left."""
        for script in self.scripts.values():
            script.end(b"")
        assert self.open == set()
        statistics = self.sessions.statistics()
        assert (statistics.calls, statistics.ringing, statistics.holes) == (0, 0, 0)
        assert self.sessions.gate.tick(float("inf")) == []
        assert {watch.users for watch in self.watches.values()} <= {0}
        for keys in self.keys.values():
            assert isinstance(keys, SdesKeys)
            assert keys.users == 0
            assert not any(keys.terms.secrets)


Conversation.TestCase.settings = settings(max_examples=2500, stateful_step_count=40, deadline=None)
TestConversation = Conversation.TestCase
