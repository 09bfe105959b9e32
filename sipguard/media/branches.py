"""One call and its branches: the INVITE on each path, and a talk per fork and path."""

from typing import Final

from sipguard.media.agreement import Vouched, all_holes
from sipguard.media.offer_answer import Offer, Stamp, State, Talk
from sipguard.media.terms import CallKey, Party, Step
from sipguard.verdict import Hole
from sipguard.wire.sdp import Sdp, parse_sdp

MAX_TALKS: Final = 16  # forks of one call times the paths they are seen on
MAX_PATHS: Final = 8
MAX_TAGS: Final = 16  # To tags remembered as answered or as gone


class Root:
    """The dialog-forming INVITE as seen on one path; every fork starts from its offer."""

    __slots__ = ("cseq", "far", "near", "raw", "sdp", "since_s")

    def __init__(self, step: Step, now_s: float) -> None:
        self.near = step.source
        self.far = step.destination
        self.cseq = step.cseq
        self.sdp = step.sdp
        self.raw = b"" if step.sdp is None else step.sdp.raw
        self.since_s = now_s

    def is_between(self, one: bytes, other: bytes) -> bool:
        """Report whether the INVITE crossed between *one* and *other*, either way round."""
        near = self.near
        return (near == one and self.far == other) or (near == other and self.far == one)

    def offer(self) -> Sdp | None:
        """Return the offer; once the call is answered only its octets are kept."""
        return self.sdp or (parse_sdp(self.raw) if self.raw else None)

    def branch(self, to_tag: bytes, near: bytes, far: bytes) -> Talk:
        """Return a fork's talk, which starts where the INVITE left off (PIN-3)."""
        talk = Talk(to_tag, near, far)
        stamp = Stamp(Party.CALLER, self.cseq, b"INVITE")
        offer = self.offer()
        if offer is None:
            talk.blank = stamp
        else:
            talk.offer = Offer(offer, Party.CALLER, stamp, False, self.since_s)
            talk.state = State.OFFERED
        return talk


class Call(Vouched):
    """What the media room keeps of one call."""

    __slots__ = ("confirmed", "gone", "key", "roots", "talks")

    def __init__(self, key: CallKey) -> None:
        super().__init__()
        self.key = key
        self.roots: tuple[Root, ...] = ()
        self.talks: tuple[Talk, ...] = ()
        self.confirmed: tuple[bytes, ...] = ()  # To tags with a 2xx
        self.gone: tuple[bytes, ...] = ()  # To tags of ended dialogs: late SDP opens nothing

    def root(self, one: bytes, other: bytes, cseq: int) -> Root | None:
        """Return the INVITE *cseq* of this path, or of any path if this one was not seen."""
        found = None
        for root in self.roots:
            if root.cseq == cseq:
                found = root
                if root.is_between(one, other):
                    break
        return found

    def talk(self, to_tag: bytes, one: bytes, other: bytes) -> Talk | None:
        """Return the talk of one dialog on one path."""
        for talk in self.talks:
            if talk.to_tag == to_tag and talk.is_between(one, other):
                return talk
        return None

    def awaits_answer(self) -> bool:
        """Report whether any talk has an offer that is not answered yet."""
        return any(talk.offer is not None for talk in self.talks)

    def kin(self, to_tag: bytes) -> list[Talk]:
        """Return the talks of one dialog on all its paths."""
        return [talk for talk in self.talks if talk.to_tag == to_tag]

    def early(self) -> list[Talk]:
        """Return the talks whose dialog has no 2xx."""
        return [talk for talk in self.talks if talk.to_tag not in self.confirmed]

    def holes(self) -> set[Hole]:
        """Return every hole this call uses."""
        return {hole for talk in self.talks for hole, _ in holes_of(talk)}


def holes_of(talk: Talk) -> list[tuple[Hole, str]]:
    """Return every use of a hole that *talk* has: agreed, previewed and replaced ones."""
    pairs = all_holes(talk.lines)
    if talk.tentative:
        pairs += all_holes(talk.tentative)
    for retired in talk.retired:
        pairs += retired.holes
    return pairs


def can_matter(call: Call | None, step: Step) -> bool:
    """Report whether a message without SDP can change anything; most cannot."""
    if step.is_request and step.method == b"INVITE":
        return True
    if call is None:
        return False
    if not step.is_request:
        return step.status >= 200
    return step.method == b"ACK" and call.awaits_answer()
