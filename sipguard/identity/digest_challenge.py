"""Challenges in a 401 or 407: what is wrong with them (DIG-1, 2, 6, 8, 28, 32)."""

from typing import Final

from sipguard.errors import HostileInput
from sipguard.identity.digest_memory import Offer
from sipguard.identity.digest_proof import is_strong
from sipguard.reason import Finding, Reason
from sipguard.wire.digest import Challenge, parse_challenge, scheme_of
from sipguard.wire.message import Message

MAX_CHALLENGES: Final = 8
UNCHALLENGEABLE: Final = frozenset((b"ACK", b"CANCEL"))  # DIG-32
_HEADERS: Final = {401: b"www-authenticate", 407: b"proxy-authenticate"}


def read_challenges(message: Message) -> tuple[list[Challenge], list[Finding]]:
    """Return the Digest challenges that can be read, and what is wrong with the others.

    A UAS and a registrar ask by 401, a proxy by 407, each with its own header (DIG-2). Other
    schemes, such as RFC 8898's Bearer, are not our business.
    """
    challenges: list[Challenge] = []
    findings: list[Finding] = []
    values = [value for name in _HEADERS.values() for value in message.values(name)]
    for value in values[:MAX_CHALLENGES]:
        if scheme_of(value) not in (b"digest", b"basic"):
            continue
        try:
            challenges.append(parse_challenge(value))
        except HostileInput as error:
            findings.append(error.finding())
    return challenges, findings


def faults_of(message: Message, method: bytes, *, wants_strong: bool) -> list[Finding]:
    """Return what is wrong with the challenges of a 401 or 407 to a request of *method*."""
    challenges, findings = read_challenges(message)
    if message.header(_HEADERS[message.status]) is None:
        findings.append(Finding(Reason.DIGEST_NO_CHALLENGE))
    if method in UNCHALLENGEABLE:
        findings.append(Finding(Reason.DIGEST_CHALLENGES, "ACK and CANCEL cannot be challenged"))
    for challenge in challenges:
        findings += challenge.findings
    findings += _faults_of_order(challenges)
    if wants_strong and challenges and not any(is_strong(c.algorithm) for c in challenges):
        findings.append(Finding(Reason.DIGEST_DOWNGRADE, "the challenge offers MD5 alone"))
    return findings


def _faults_of_order(challenges: list[Challenge]) -> list[Finding]:
    """RFC 8760 section 2.4: each realm offers an algorithm once, the best one first (DIG-8)."""
    seen: dict[bytes, list[bytes]] = {}
    findings = []
    for challenge in challenges:
        before = seen.setdefault(challenge.realm, [])
        if challenge.algorithm in before:
            findings.append(Finding(Reason.DIGEST_CHALLENGES, "an algorithm twice for one realm"))
        elif before and is_strong(challenge.algorithm) and not is_strong(before[-1]):
            detail = "a weaker algorithm stands before a stronger one"
            findings.append(Finding(Reason.DIGEST_CHALLENGES, detail))
        before.append(challenge.algorithm)
    return findings


def offer_of(challenge: Challenge) -> Offer:
    """Return what is kept of a challenge."""
    qops = tuple([qop for qop in (b"auth", b"auth-int") if qop in challenge.qops])
    algorithm = challenge.algorithm[:32]
    return Offer(hash(challenge.realm), algorithm, qops, hash(challenge.opaque))
