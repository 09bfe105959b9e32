"""What the judgement of MIKEY is about and what it comes to: context, views, agreements.

These hold SRTP keys, and so have no ``repr``.
"""

from typing import Final, NamedTuple, final

from sipguard.evidence import State
from sipguard.media.mikey_crypto import SharedKey
from sipguard.media.mikey_keys import NO_SESSION, MediaKey, protection_for
from sipguard.media.mikey_parties import Parties, name_of_uri
from sipguard.media.mikey_policy import Protection
from sipguard.moment import Moment
from sipguard.reason import Finding
from sipguard.wire.mikey import CryptoSession, Mikey
from sipguard.wire.mikey_values import (
    DH_INIT,
    DHHMAC_INIT,
    NOT_CHOSEN,
    PK_INIT,
    PSK_INIT,
    RSA_R_INIT,
    SAKKE_INIT,
    TRANSFER_INIT,
)
from sipguard.wire.uri import Uri

PSK: Final = "psk"
RSA: Final = "rsa"
DH: Final = "dh"
DHHMAC: Final = "dhhmac"
RSA_R: Final = "rsa-r"
TICKET: Final = "ticket"
SAKKE: Final = "sakke"

MODES: Final = {
    PSK_INIT: PSK,
    PK_INIT: RSA,
    DH_INIT: DH,
    DHHMAC_INIT: DHHMAC,
    RSA_R_INIT: RSA_R,
    TRANSFER_INIT: TICKET,
    SAKKE_INIT: SAKKE,
}


class Context(NamedTuple):
    """What SIP and SDP say about the message in hand.

    ``listed`` are the protocol ids of all key-mgmt lines beside it, in their order.
    ``sender`` is who sends it, by From where it comes in a request and by To in a
    response; ``receivers`` are To and Request-URI, or From. None or empty compares with
    anybody (a caller may wish to stay anonymous). ``source`` and ``destination`` are the
    packet's addresses.
    """

    call_id: bytes
    listed: tuple[bytes, ...]
    now: Moment
    sender: Uri | None = None
    receivers: tuple[Uri, ...] = ()
    source: bytes = b""
    destination: bytes = b""

    def sender_name(self) -> bytes:
        """Return the sender's name as ``mikey_parties`` compares names, or nothing."""
        return b"" if self.sender is None else name_of_uri(self.sender)

    def receiver_names(self) -> tuple[bytes, ...]:
        """Return the receivers' names."""
        return tuple([name_of_uri(uri) for uri in self.receivers])


@final
class MikeyView:
    """What an initiator's message is worth; complete, and not changed, once ``examine`` is done.

    ``state`` is VALID where somebody here could authenticate it, FAILED where it must not
    key a stream, UNKNOWN in between; ``finding`` says why it is not valid. ``notes`` are
    other findings. ``cleartext`` says that the SRTP keys stand in it for everybody to read
    (MIK-8). ``suite`` is empty where SRTP's defaults are left unsaid. ``keys`` are the
    master keys that the gateway can know. ``signer`` is who was authenticated.
    """

    __slots__ = (
        *("cleartext", "finding", "key_bits", "keys", "listed", "message", "mode", "notes"),
        *("parties", "protections", "rand", "shared", "signer", "ssrcs", "stamp_s", "state"),
        *("suite", "wants_answer"),
    )

    def __init__(self, mode: str, message: Mikey | None) -> None:
        """Begin with nothing known."""
        self.mode = mode
        self.message = message
        self.state = State.UNKNOWN
        self.finding: Finding | None = None
        self.notes: tuple[Finding, ...] = ()
        self.listed: tuple[bytes, ...] = ()
        self.cleartext = False
        self.suite = b""
        self.key_bits = 0
        self.ssrcs: tuple[int, ...] = ()
        self.keys: tuple[MediaKey, ...] = ()
        self.protections: dict[int, Protection] = {}
        self.parties = Parties()
        self.signer = b""
        self.wants_answer = False
        self.shared: SharedKey | None = None
        self.rand = b""
        self.stamp_s = 0.0

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All that was noticed, what decides first."""
        return self.notes if self.finding is None else (self.finding, *self.notes)

    def note(self, finding: Finding) -> None:
        """Add a finding that decides nothing."""
        self.notes = (*self.notes, finding)

    def fail(self, finding: Finding) -> None:
        """Make it a message that keys no stream."""
        self.state = State.FAILED
        self.finding = finding
        self.keys = ()
        self.shared = None


@final
class Agreement:
    """What offer and answer come to: whether there is a key, and what is known of it.

    Keys and sessions are those of the packets that each side *sends*; no keys mean that the
    gateway cannot know them. ``view`` is that of the answer where it is an initiator's
    message of its own.
    """

    __slots__ = (
        *("answerer_keys", "answerer_protections", "answerer_sessions", "cleartext", "finding"),
        *("key_bits", "keyed", "mode", "notes", "offerer_keys", "offerer_protections"),
        *("offerer_sessions", "state", "suite", "view"),
    )

    def __init__(self, offer: MikeyView) -> None:
        """Begin with what the offer says, and no key."""
        self.keyed = False
        self.mode = offer.mode
        self.state = offer.state
        self.finding = offer.finding
        self.notes: tuple[Finding, ...] = ()
        self.cleartext = offer.cleartext
        self.suite = offer.suite
        self.key_bits = offer.key_bits
        self.offerer_keys: tuple[MediaKey, ...] = ()
        self.answerer_keys: tuple[MediaKey, ...] = ()
        self.offerer_sessions: tuple[CryptoSession, ...] = ()
        self.answerer_sessions: tuple[CryptoSession, ...] = ()
        self.offerer_protections = offer.protections
        self.answerer_protections = offer.protections
        self.view: MikeyView | None = None

    def note(self, finding: Finding) -> None:
        """Add a finding that decides nothing."""
        self.notes = (*self.notes, finding)

    def fail(self, finding: Finding) -> "Agreement":
        """Make it one without a key."""
        self.keyed = False
        self.state = State.FAILED
        self.finding = finding
        self.offerer_keys = self.answerer_keys = ()
        return self

    def weaken(self, finding: Finding) -> None:
        """Note that the answer could not be authenticated."""
        if self.state is State.VALID:
            self.state, self.finding = State.UNKNOWN, finding
        else:
            self.note(finding)

    def of_line(self, line: int) -> "StreamKeys":
        """Return what belongs to one media line of a message at session level.

        Each line has two crypto sessions: 1 and 2, 3 and 4 (RFC 4567 section 7.1). Where
        the message does not count in this way, everything belongs to every line.
        """
        numbers = (2 * line + 1, 2 * line + 2)
        sessions = (*self.offerer_sessions, *self.answerer_sessions)
        if not any(session.cs_id in numbers for session in sessions):
            return self.whole()
        return self._of([session for session in sessions if session.cs_id in numbers])

    def whole(self) -> "StreamKeys":
        """Return everything, which belongs to the line of a message at media level."""
        return self._of(None)

    def _of(self, sessions: list[CryptoSession] | None) -> "StreamKeys":
        return StreamKeys(
            _side(self.offerer_keys, self.offerer_sessions, self.offerer_protections, sessions),
            _side(self.answerer_keys, self.answerer_sessions, self.answerer_protections, sessions),
        )


def _side(
    keys: tuple[MediaKey, ...],
    sessions: tuple[CryptoSession, ...],
    protections: dict[int, Protection],
    chosen: list[CryptoSession] | None,
) -> "SideKeys":
    if chosen is not None:
        numbers = {session.cs_id for session in chosen}
        keys = tuple([key for key in keys if key.cs_id in numbers])
        sessions = tuple([session for session in sessions if session.cs_id in numbers])
    first = sessions[0] if sessions else NO_SESSION
    return SideKeys(protection_for(first, protections).suite, ssrcs_of(sessions), keys)


@final
class SideKeys:
    """What is known of the packets that one side sends: suite, announced SSRCs, visible keys."""

    __slots__ = ("keys", "ssrcs", "suite")

    def __init__(self, suite: bytes, ssrcs: tuple[int, ...], keys: tuple[MediaKey, ...]) -> None:
        self.suite: Final = suite
        self.ssrcs: Final = ssrcs
        self.keys: Final = keys


class StreamKeys(NamedTuple):
    """The same of both sides of one stream."""

    offerer: SideKeys
    answerer: SideKeys


def ssrcs_of(sessions: list[CryptoSession] | tuple[CryptoSession, ...]) -> tuple[int, ...]:
    """Return the SSRCs that are announced, in the order of their sessions (MIK-13)."""
    return tuple([one.ssrc for one in sessions if one.ssrc != NOT_CHOSEN])
