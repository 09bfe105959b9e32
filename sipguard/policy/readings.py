"""What fields read from a message beyond a plain attribute: bodies, credentials, findings."""

from typing import Final

from sipguard.errors import HostileInput
from sipguard.policy.subject import Subject
from sipguard.weight import Weight
from sipguard.wire.digest import Claims, read_claims, scheme_of
from sipguard.wire.multipart import walk
from sipguard.wire.sdp import parse_sdp
from sipguard.wire.sip import Message

UNREADABLE_DEPTH: Final = 99  # a multipart that cannot be read is deeper than any limit
_MALFORMED: Final = (Weight.MALFORMED, Weight.UNREADABLE)


def credentials(message: Message) -> Claims | None:
    """Return what the first Digest credentials claim, or ``None`` without any."""
    for name in (b"proxy-authorization", b"authorization"):
        for value in message.values(name):
            if scheme_of(value) == b"digest":
                return read_claims(value)
    return None


def digest_user(subject: Subject) -> bytes | None:
    """Return the user name of the credentials; equal to nothing where there are none."""
    given = credentials(subject.message)
    return given.user if given else None


def digest_realm(subject: Subject) -> bytes | None:
    """Return the realm of the credentials; equal to nothing where there are none."""
    given = credentials(subject.message)
    return given.realm if given else None


def digest_algorithm(subject: Subject) -> bytes | None:
    """Return the algorithm of the credentials in lower case, MD5 if they name none."""
    given = credentials(subject.message)
    return given.algorithm if given else None


def digest_qop(subject: Subject) -> bytes | None:
    """Return the quality of protection of the credentials: ``auth``, ``auth-int`` or ``none``."""
    given = credentials(subject.message)
    return given.qop if given else None


def sdp_kinds(subject: Subject) -> tuple[bytes, ...]:
    """Return the kinds of media in every session description, in lower case."""
    kinds: list[bytes] = []
    for body in subject.message.sdp_bodies:
        try:
            kinds += (media.kind.lower() for media in parse_sdp(body).media)
        except HostileInput:
            continue  # BAD_SDP stands among the findings where it matters
    return tuple(kinds)


def sdp_addresses(subject: Subject) -> tuple[bytes, ...]:
    """Return the media addresses in every session description; host names have none."""
    addresses: list[bytes] = []
    for body in subject.message.sdp_bodies:
        try:
            addresses += (media.address for media in parse_sdp(body).media if media.address)
        except HostileInput:
            continue
    return tuple(addresses)


def is_sips(subject: Subject) -> bool:
    """Whether the message says that it, or what comes back, must go over TLS all the way."""
    message = subject.message
    return message.is_sips or any(one.uri.scheme == b"sips" for one in message.contacts)


def has_alias(subject: Subject) -> bool:
    """Whether the sender takes requests over the connection that it opened (TLS-23)."""
    ids = subject.message.ids
    return ids is not None and any(name == b"alias" for name, _ in ids.via.params)


def names_a_flow(subject: Subject) -> bool:
    """Whether a Contact binds a flow and not only an address (TLS-24)."""
    return any(
        {b"reg-id", b"+sip.instance"} <= {name for name, _ in one.params}
        for one in subject.message.contacts
    )


def mime_depth(subject: Subject) -> int:
    """Return how many multiparts stand inside each other; 0 for a plain body."""
    message = subject.message
    if not message.content_type.startswith(b"multipart/"):
        return 0
    try:
        parts = walk(message.header(b"content-type") or b"", message.body)
    except HostileInput:
        return UNREADABLE_DEPTH
    return max((part.depth for part in parts), default=0)


def is_ambiguous(subject: Subject) -> bool:
    """Whether two sane parsers could read it differently."""
    return _has(subject, (Weight.AMBIGUOUS,))


def is_malformed(subject: Subject) -> bool:
    """Whether it breaks the grammar."""
    return _has(subject, _MALFORMED)


def is_oversize(subject: Subject) -> bool:
    """Whether it is larger than sipguard reads."""
    return _has(subject, (Weight.OVERSIZE,))


def _has(subject: Subject, weights: tuple[Weight, ...]) -> bool:
    forgiven = subject.tolerated or ()
    return any(
        finding.reason.weight in weights and finding.reason not in forgiven
        for finding in subject.findings
    )
