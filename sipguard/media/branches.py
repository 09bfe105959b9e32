"""One call and its branches: the INVITE on each path, and a talk per fork and path."""

from functools import lru_cache
from typing import Final, final

from sipguard.media.agreement import Vouched
from sipguard.media.offer_answer import Offer, State, Talk
from sipguard.media.terms import CallKey, Party, Step, stamp_of
from sipguard.native import mypyc_attr
from sipguard.verdict import Hole
from sipguard.wire.sdp import Sdp, parse_sdp

MAX_TALKS: Final = 16  # forks of one call times the paths they are seen on
MAX_PATHS: Final = 8
MAX_TAGS: Final = 16  # To tags remembered as answered or as gone


@final
@mypyc_attr(acyclic=True)
class Root:
    """The dialog-forming INVITE as seen on one path; every fork starts from its offer."""

    __slots__ = ("cseq", "mikey", "path", "raw", "sdp", "since_s")

    def __init__(self, step: Step, now_s: float) -> None:
        self.path = _shared(step.path)
        self.cseq = step.cseq
        self.sdp = step.sdp
        self.raw = b"" if step.sdp is None else step.sdp.raw
        self.since_s = now_s
        self.mikey = step.offered

    def offer(self) -> Sdp | None:
        """Return the offer; once the call is answered only its octets are kept."""
        return self.sdp or (parse_sdp(self.raw) if self.raw else None)

    def branch(self, to_tag: bytes, path: bytes) -> Talk:
        """Return a fork's talk, which starts where the INVITE left off (PIN-3)."""
        talk = Talk(to_tag, self.path if path == self.path else path)
        stamp = stamp_of(b"INVITE", self.cseq, True)
        offer = self.offer()
        if offer is None:
            talk.blank = stamp
        else:
            talk.offer = Offer(offer, Party.CALLER, stamp, False, self.since_s, self.mikey)
            talk.state = State.OFFERED
        return talk


@lru_cache(maxsize=8192)
def _shared(path: bytes) -> bytes:
    """Return one object for all calls between the same two hosts."""
    return path


@final
@mypyc_attr(acyclic=True)
class Call(Vouched):
    """What the media room keeps of one call."""

    __slots__ = ("_answered", "_answered_too", "_talks", "gone", "key", "roots", "until_s")

    def __init__(self, key: CallKey) -> None:
        super().__init__()
        self.key = key
        self.roots: tuple[Root, ...] = ()
        self._talks: Talk | tuple[Talk, ...] = ()
        self.gone: tuple[bytes, ...] = ()  # To tags of ended dialogs: late SDP opens nothing
        self.until_s = 0.0  # when it has rung too long; once answered, when its other forks end
        # To tags with a 2xx; nearly always one.
        self._answered = b""
        self._answered_too: tuple[bytes, ...] = ()

    @property
    def talks(self) -> tuple[Talk, ...]:
        """Its dialogs on their paths; most calls have one, and that is kept without a tuple."""
        return (self._talks,) if isinstance(self._talks, Talk) else self._talks

    @talks.setter
    def talks(self, talks: tuple[Talk, ...]) -> None:
        self._talks = talks[0] if len(talks) == 1 else talks

    def add(self, talk: Talk) -> bool:
        """Take one more talk; tell whether with it a second end has an SDES key of the caller's.

        Whoever the call forks to gets the whole offer (SDE-10). Told once: of the second end.
        """
        talks, offer = self.talks, talk.offer
        self.talks = (*talks, talk)
        if not talks or offer is None:
            return False
        tags = {other.to_tag for other in talks}
        return (
            len(tags) == 1
            and talk.to_tag not in tags
            and any(media.cryptos for media in offer.sdp.media)
        )

    def confirm(self, to_tag: bytes) -> None:
        """Remember the To tag of a 2xx; the oldest go where they are too many."""
        if not self._answered:
            self._answered = to_tag
            return
        self._answered_too = (*self._answered_too, to_tag)
        if len(self._answered_too) >= MAX_TAGS:
            self._answered, *rest = self._answered_too
            self._answered_too = tuple(rest)

    def is_confirmed(self, to_tag: bytes) -> bool:
        """Report whether a 2xx with this To tag was seen."""
        return self._answered == to_tag or to_tag in self._answered_too

    @property
    def is_answered(self) -> bool:
        """Whether any 2xx was seen."""
        return self._answered != b""

    def root(self, path: bytes, cseq: int) -> Root | None:
        """Return the INVITE *cseq* of this path, or of any path if this one was not seen."""
        found = None
        for root in self.roots:
            if root.cseq == cseq:
                found = root
                if root.path == path:
                    break
        return found

    def talk(self, to_tag: bytes, path: bytes) -> Talk | None:
        """Return the talk of one dialog on one path."""
        for talk in self.talks:
            if talk.to_tag == to_tag and talk.path == path:
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
        return [talk for talk in self.talks if not self.is_confirmed(talk.to_tag)]

    def holes(self) -> set[Hole]:
        """Return every hole this call uses."""
        found: set[Hole] = set()
        for talk in self.talks:
            for line in (*talk.lines, *(talk.offer.lines if talk.offer else ())):
                found.update(line.holes())
            for retired in talk.retired:
                found.update([hole for hole, _ in retired.holes])
        return found


def can_matter(call: Call | None, is_request: bool, method: bytes, status: int) -> bool:
    """Report whether a message without SDP can change anything; most cannot."""
    if is_request and method == b"INVITE":
        return True
    if call is None:
        return False
    if not is_request:
        return status >= 200
    return method == b"ACK" and call.awaits_answer()
