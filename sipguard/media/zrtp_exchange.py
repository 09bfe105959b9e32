"""One ZRTP exchange, followed from outside: who may say what, and what holds together.

Each message is bound to the one before it (RFC 6189 sections 8.1.1 and 9): a Hello ends
with H3, the Commit shows H2, the DHPart H1, each the hash of the next, and each the key
to the MAC of the message before. With ``a=zrtp-hash`` the chain hangs on signalling.
H0 and everything in the Confirms is encrypted. So of DHPart1 only H1 can be checked here;
that its public value was changed the ends find out by their Confirms. Whether the two
people compared their short authentication strings nobody here can see: the exchange being
right says nothing of who they are (ZRT-10).
"""

import hashlib
from enum import Enum
from hmac import compare_digest
from hmac import digest as hmac_digest
from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.reason import Finding, Reason
from sipguard.wire.zrtp import (
    ERRORS,
    HASH_OCTETS,
    MAC_OCTETS,
    PUBLIC_VALUE_OCTETS,
    Commit,
    DhPart,
    Hello,
    Type,
    ZrtpPacket,
)

VERSION: Final = b"1.10"

# What each end can do whether its Hello says so or not (section 5.1.2 to 5.1.6).
_IMPLIED: Final = (
    frozenset((b"S256",)),
    frozenset((b"AES1",)),
    frozenset((b"HS32", b"HS80")),
    frozenset((b"DH3k", b"Mult")),
    frozenset((b"B32 ",)),
)
_KINDS: Final = ("hash", "cipher", "SRTP tag", "key agreement", "SAS rendering")
_WEAK: Final = frozenset((b"DH2k", b"EC52"))  # deprecated by section 5.1.5, or unfit for its name
_PRIME_FIELD: Final = frozenset((b"DH3k", b"DH2k"))
_MULTISTREAM: Final = b"Mult"
_TAG_OCTETS: Final = {b"HS32": 4, b"HS80": 10, b"SK32": 4, b"SK64": 8}


class Stage(Enum):
    """How far an exchange is, by what it waits for."""

    DISCOVERY = "a Commit"
    COMMITTED = "DHPart1"
    ANSWERED = "DHPart2"
    SHORT = "Confirm1, without an exchange of keys"
    AGREED = "Confirm1"
    CONFIRMING = "Confirm2"
    CONFIRMED = "Conf2ACK"
    SECURE = "nothing more"


class Step(Enum):
    """What takes an exchange on."""

    COMMIT = "a Commit to an exchange of keys"
    SHORT_COMMIT = "a Commit that needs none"
    DH_PART_1 = "DHPart1"
    DH_PART_2 = "DHPart2"
    CONFIRM_1 = "Confirm1"
    CONFIRM_2 = "Confirm2"
    CONF_2_ACK = "Conf2ACK"
    MEDIA = "SRTP of the responder"  # says the same as Conf2ACK (section 4.6)


_S, _E = Stage, Step
# ZRT-7. A second Commit is contention; who wins is told apart in _contend. DHParts repeated
# are compared with the first. Confirms are not: nobody here can say which is the right one,
# and a forged one must not keep out the other.
TRANSITIONS: Final = {
    (_S.DISCOVERY, _E.COMMIT): _S.COMMITTED,
    (_S.DISCOVERY, _E.SHORT_COMMIT): _S.SHORT,
    (_S.COMMITTED, _E.COMMIT): _S.COMMITTED,
    (_S.COMMITTED, _E.SHORT_COMMIT): _S.COMMITTED,
    (_S.COMMITTED, _E.DH_PART_1): _S.ANSWERED,
    (_S.ANSWERED, _E.DH_PART_2): _S.AGREED,
    (_S.SHORT, _E.SHORT_COMMIT): _S.SHORT,
    (_S.SHORT, _E.COMMIT): _S.COMMITTED,
    (_S.SHORT, _E.CONFIRM_1): _S.CONFIRMING,
    (_S.AGREED, _E.CONFIRM_1): _S.CONFIRMING,
    (_S.CONFIRMING, _E.CONFIRM_1): _S.CONFIRMING,
    (_S.CONFIRMING, _E.CONFIRM_2): _S.CONFIRMED,
    (_S.CONFIRMED, _E.CONFIRM_1): _S.CONFIRMED,
    (_S.CONFIRMED, _E.CONFIRM_2): _S.CONFIRMED,
    (_S.CONFIRMED, _E.CONF_2_ACK): _S.SECURE,
    (_S.CONFIRMED, _E.MEDIA): _S.SECURE,
    (_S.SECURE, _E.CONFIRM_1): _S.SECURE,
    (_S.SECURE, _E.CONFIRM_2): _S.SECURE,
    (_S.SECURE, _E.CONF_2_ACK): _S.SECURE,
    (_S.SECURE, _E.MEDIA): _S.SECURE,
}
_BY_INITIATOR: Final = frozenset((_E.DH_PART_2, _E.CONFIRM_2))
_CONFIRMS: Final = {
    Type.CONFIRM_1: _E.CONFIRM_1,
    Type.CONFIRM_2: _E.CONFIRM_2,
    Type.CONF_2_ACK: _E.CONF_2_ACK,
}


@final
class Side:
    """What one end has said: at most one Hello and one Commit, and digests to know them again.

    ``signalled`` are the hashes of its ``a=zrtp-hash``.
    """

    __slots__ = ("commit", "commit_octets", "hello", "hello_octets", "seen", "signalled")

    def __init__(self, signalled: tuple[bytes, ...]) -> None:
        self.signalled = signalled
        self.hello: Hello | None = None
        self.hello_octets = b""
        self.commit: Commit | None = None
        self.commit_octets = b""
        self.seen: dict[Type, bytes] = {}

    @property
    def shows_chain(self) -> bool:
        """Tell whether the Hello was held against what only its sender knew."""
        return len(self.seen) > 1

    def forget(self) -> None:
        """Keep no more than the digests."""
        self.hello = self.commit = None
        self.hello_octets = self.commit_octets = b""


@final
class Exchange:
    """Follows both ends of one stream; every message that fails leaves it as it was (ZRT-3)."""

    __slots__ = ("_commit", "callee", "caller", "caller_initiates", "hvi_agrees", "stage")

    def __init__(self, caller_hashes: tuple[bytes, ...], callee_hashes: tuple[bytes, ...]) -> None:
        self.caller = Side(caller_hashes)
        self.callee = Side(callee_hashes)
        self.stage = Stage.DISCOVERY
        self.caller_initiates = False
        self.hvi_agrees = False
        self._commit: Commit | None = None  # the one that both follow

    @property
    def is_short(self) -> bool:
        """Tell whether it went without an exchange of keys, in Multistream or Preshared mode."""
        return self._commit is not None and self._commit.is_short

    @property
    def tag_octets(self) -> int:
        """The length of the SRTP tag that was agreed, -1 where nobody knows."""
        return -1 if self._commit is None else _TAG_OCTETS.get(self._commit.chosen[2], -1)

    def may_send(self, by_caller: bool) -> bool:
        """Tell whether this end's SRTP is due (section 4.6; ZRT-7)."""
        if self.stage is Stage.SECURE:
            return True
        return self.stage is Stage.CONFIRMED and by_caller is not self.caller_initiates

    def take_media(self, by_caller: bool) -> None:
        """Take note of SRTP: the responder's says that Confirm2 arrived."""
        if by_caller is not self.caller_initiates and self.may_send(by_caller):
            self._go(Step.MEDIA, by_caller)

    def take(self, by_caller: bool, packet: ZrtpPacket) -> tuple[bool, Finding | None]:
        """Follow one packet; return whether it is progress, and what is odd about it.

        Raises:
            HostileInput: it must not arrive, and was taken no notice of.
        """
        side = self.caller if by_caller else self.callee
        content = packet.content
        if content is not None:
            seen = side.seen.get(packet.type)
            digest = hashlib.sha256(packet.message).digest()
            if seen == digest:
                return False, None  # a repetition (ZRT-8)
            finding: Finding | None = None
            if isinstance(content, Hello):
                finding = self._take_hello(side, packet.message, content, digest)
            elif isinstance(content, Commit):
                finding = self._take_commit(by_caller, side, packet.message, content)
            else:
                self._take_part(by_caller, side, packet, content)
            side.seen[packet.type] = digest
            return seen is None, finding
        step = _CONFIRMS.get(packet.type)
        if step is not None:
            return self._go(step, by_caller), None
        return False, self._take_other(by_caller, packet)

    def forget(self) -> None:
        """Keep no message."""
        self.caller.forget()
        self.callee.forget()

    def _after(self, step: Step) -> Stage:
        after = TRANSITIONS.get((self.stage, step))
        if after is None:
            raise HostileInput(Reason.ZRTP_ORDER, f"{step.value} while {self.stage.value} is due")
        return after

    def _after_its(self, step: Step, by_caller: bool) -> Stage:
        """Return the stage after a step that only one of both may take."""
        after = self._after(step)
        if (step in _BY_INITIATOR) is not (by_caller is self.caller_initiates):
            raise HostileInput(Reason.ZRTP_ORDER, f"{step.value} from the wrong side")
        return after

    def _go(self, step: Step, by_caller: bool) -> bool:
        """Take one step of the table, and tell whether it led on."""
        after = self._after_its(step, by_caller)
        before, self.stage = self.stage, after
        if after is Stage.SECURE:
            self.forget()
        return after is not before

    def _other(self, side: Side) -> Side:
        return self.callee if side is self.caller else self.caller

    # --- Hello

    def _take_hello(
        self, side: Side, message: bytes, hello: Hello, digest: bytes
    ) -> Finding | None:
        if side.signalled and digest not in side.signalled:
            raise HostileInput(Reason.ZRTP_HASH, "the Hello is not the one in a=zrtp-hash")
        if self.stage is not Stage.DISCOVERY:
            raise HostileInput(Reason.ZRTP_CHAIN, "another Hello after a Commit")
        peer = self._other(side).hello
        if peer is not None and peer.zid == hello.zid:
            raise HostileInput(Reason.ZRTP_ODD, "both Hellos name the same device")
        is_other = side.hello is not None
        side.hello, side.hello_octets = hello, message
        if is_other:
            # Behind a relay another telephone may have taken over. Where signalling names the
            # Hello this cannot happen; elsewhere the Commit shows whose Hello it follows.
            return Finding(Reason.ZRTP_CHAIN, "another Hello than before, and no Commit yet")
        odd = []
        if hello.version != VERSION:
            odd.append("a version other than 1.10")
        if hello.is_middle_man:
            odd.append("a Hello of a middle man")
        return _odd(odd)

    # --- Commit

    def _take_commit(
        self, by_caller: bool, side: Side, message: bytes, commit: Commit
    ) -> Finding | None:
        after = self._after(Step.SHORT_COMMIT if commit.is_short else Step.COMMIT)
        hello, peer = side.hello, self._other(side).hello
        if hello is None or peer is None:
            raise HostileInput(Reason.ZRTP_ORDER, "a Commit before both Hellos")
        if side.commit is not None:
            raise HostileInput(Reason.ZRTP_CHAIN, "another Commit than before")
        if _hash(commit.h2) != hello.h3 or commit.zid != hello.zid:
            raise HostileInput(Reason.ZRTP_CHAIN, "the Commit does not belong to its Hello")
        _check_mac(commit.h2, side.hello_octets, "Hello")
        _check_offered(commit, hello, peer)
        if self._commit is None or _beats(commit, hello, self._commit, peer):
            self._commit, self.caller_initiates = commit, by_caller
        side.commit, side.commit_octets = commit, message
        self.stage = after
        return _odd(_odd_commit(commit, hello))

    # --- DHPart1 and DHPart2

    def _take_part(self, by_caller: bool, side: Side, packet: ZrtpPacket, part: DhPart) -> None:
        is_first = packet.type is Type.DH_PART_1
        step = Step.DH_PART_1 if is_first else Step.DH_PART_2
        if packet.type in side.seen:
            raise HostileInput(Reason.ZRTP_CHAIN, f"another {step.value} than before")
        after = self._after_its(step, by_caller)
        hello, commit = side.hello, self._commit
        if hello is None or commit is None:
            raise HostileInput(Reason.ZRTP_ORDER, f"{step.value} for a stream that has ended")
        h2 = _hash(part.h1)
        if _hash(h2) != hello.h3:
            raise HostileInput(Reason.ZRTP_CHAIN, f"{step.value} does not belong to its Hello")
        _check_mac(h2, side.hello_octets, "Hello")
        if side.commit is not None:
            _check_mac(part.h1, side.commit_octets, "Commit")
        _check_public_value(commit.agreement, part.public_value)
        if not is_first:
            self.hvi_agrees = _hvi_agrees(commit, packet.message, self._other(side).hello_octets)
        self.stage = after

    # --- what leads nowhere

    def _take_other(self, by_caller: bool, packet: ZrtpPacket) -> Finding | None:
        kind = packet.type
        if kind is Type.GO_CLEAR or kind is Type.CLEAR_ACK:
            raise HostileInput(Reason.ZRTP_CLEAR, "a GoClear or its acknowledgement")
        if (
            kind is Type.HELLO_ACK
            and Type.HELLO not in (self.callee if by_caller else self.caller).seen
        ):
            raise HostileInput(Reason.ZRTP_ORDER, "a HelloACK without a Hello")
        if kind is Type.ERROR:
            words = ERRORS.get(packet.code, "of an unknown kind")
            return Finding(Reason.ZRTP_ERROR, f"error {packet.code:#x}: {words}")
        if kind is Type.SAS_RELAY:
            if self.stage is not Stage.SECURE:
                raise HostileInput(Reason.ZRTP_ORDER, "a SASrelay before the exchange is over")
            return Finding(Reason.ZRTP_ODD, "a middle man relays a SAS")
        return None


def _hash(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


def _odd(words: list[str]) -> Finding | None:
    return Finding(Reason.ZRTP_ODD, ", ".join(words)) if words else None


def _check_mac(key: bytes, message: bytes, name: str) -> None:
    """Hold a message against the key that was shown after it (section 8.1.1; ZRT-4)."""
    mac = hmac_digest(key, message[:-MAC_OCTETS], "sha256")[:MAC_OCTETS]
    if not compare_digest(mac, message[-MAC_OCTETS:]):
        raise HostileInput(Reason.ZRTP_MAC, f"the {name} before it was changed on its way")


def _check_offered(commit: Commit, hello: Hello, peer: Hello) -> None:
    """Want each algorithm to be in both Hellos, or implied by all (ZRT-7)."""
    for at, name in enumerate(commit.chosen):
        if name in _IMPLIED[at] or (name in hello.offers[at] and name in peer.offers[at]):
            continue
        raise HostileInput(Reason.ZRTP_ODD, f"a Commit to a {_KINDS[at]} that not both offer")


def _odd_commit(commit: Commit, hello: Hello) -> list[str]:
    odd = []
    if hello.is_passive:
        odd.append("a Commit from a side that said it sends none")
    if commit.agreement in _WEAK:
        odd.append("a weak key agreement")
    if not commit.is_short and commit.chosen[0] not in _HASHES:
        odd.append("a hash that is not known here: the hvi cannot be checked")
    if not commit.is_short and commit.agreement not in PUBLIC_VALUE_OCTETS:
        odd.append("a key agreement that is not known here")
    return odd


def _beats(commit: Commit, hello: Hello, other: Commit, peer: Hello) -> bool:
    """Tell whose Commit counts where both sent one (section 4.2)."""
    if (commit.agreement == _MULTISTREAM) is not (other.agreement == _MULTISTREAM):
        raise HostileInput(Reason.ZRTP_ORDER, "one Commit is for Multistream mode, the other not")
    if commit.is_short is not other.is_short:
        return other.is_short
    if (
        commit.is_short
        and commit.agreement != _MULTISTREAM
        and hello.is_middle_man is not peer.is_middle_man
    ):
        return peer.is_middle_man
    return commit.promise > other.promise


def _check_public_value(agreement: bytes, value: bytes) -> None:
    """Refuse values of another length than the key agreement's, and those that keep no secret.

    Near the prime, whose first 64 bits are ones, no honest exponent leads; p - 1 lies there.
    0 and 1 come in either order of octets (ZRT-6).
    """
    octets = PUBLIC_VALUE_OCTETS.get(agreement)
    if octets is not None and len(value) != octets:
        raise HostileInput(Reason.BAD_ZRTP, "a public value of another length than agreed")
    if agreement in _PRIME_FIELD and value[:8] == b"\xff" * 8:
        raise HostileInput(Reason.BAD_ZRTP, "a public value that keeps no secret")
    if not any(value[1:]) or not any(value[:-1]):
        raise HostileInput(Reason.BAD_ZRTP, "a public value that keeps no secret")


_HASHES: Final = {b"S256": "sha256", b"S384": "sha384", b"N256": "sha3_256", b"N384": "sha3_384"}


def _hvi_agrees(commit: Commit, dh_part_2: bytes, responder_hello: bytes) -> bool:
    """Hold the initiator's key value against what it committed to (section 4.4.1.1; ZRT-6)."""
    name = _HASHES.get(commit.chosen[0])
    if name is None:
        return False
    hvi = hashlib.new(name, dh_part_2 + responder_hello).digest()[:HASH_OCTETS]
    if not compare_digest(hvi, commit.promise):
        raise HostileInput(Reason.ZRTP_HVI, "the hvi is not the hash of this DHPart2")
    return True
