"""Did offer and answer negotiate a key for SRTP? (RULES.md 7.0 to 7.4)

SDES (RFC 4568), DTLS-SRTP by fingerprint (RFC 5763, 5764), ZRTP by hash (RFC 6189),
MIKEY (RFC 4567) and opportunistic SRTP (RFC 8643). The answer decides: an offer may
carry suites, methods and NULL ciphers that nobody takes.
"""

from functools import lru_cache
from typing import Final, final

from sipguard.media.methods import DTLS, SDES, ZRTP
from sipguard.media.suites import SUITES
from sipguard.reason import Reason
from sipguard.wire.sdp import Crypto, Media

_SRTP: Final = frozenset((b"RTP/SAVP", b"RTP/SAVPF"))
_DTLS_SRTP: Final = frozenset((b"UDP/TLS/RTP/SAVP", b"UDP/TLS/RTP/SAVPF"))
_RTP: Final = frozenset((b"RTP/AVP", b"RTP/AVPF"))  # secure only by RFC 8643 or 6189
_OFFER_ROLES: Final = frozenset((b"actpass", b"active", b"passive"))
_ROLE_PAIRS: Final = frozenset(
    (
        (b"actpass", b"active"),
        (b"actpass", b"passive"),
        (b"active", b"passive"),
        (b"passive", b"active"),
    )
)  # RFC 4145 section 4.1 without holdconn (DTL-2)


@final
class Keying:
    """Whether a stream has a key, by which method and suite, or why it has none.

    ``bits`` is the key's length, 0 where a handshake has yet to tell. ``hashed`` says
    that each side that spoke signalled its ZRTP Hello (``a=zrtp-hash``), ``fingerprint`` names the
    hash function of the certificates, ``clear`` that the key itself can be read here.
    ``mode`` and ``state`` are MIKEY's: how its key is made, and whether it holds.
    """

    __slots__ = (
        *("bits", "clear", "detail", "fingerprint", "hashed"),
        *("keyed", "method", "mode", "reason", "state", "suite"),
    )

    def __init__(
        self,
        keyed: bool,
        method: bytes,
        suite: bytes,
        reason: Reason,
        detail: str,
        *,
        clear: bool = False,
        hashed: bool = False,
        fingerprint: bytes = b"",
        mode: bytes = b"",
        state: bytes = b"absent",
        bits: int = 0,
    ) -> None:
        self.keyed = keyed
        self.method = method
        self.suite = suite
        self.reason = reason
        self.detail = detail
        self.clear = clear
        self.hashed = hashed
        self.fingerprint = fingerprint
        self.mode = mode
        self.state = state
        self.bits = bits


def offered_key(offer: Media, mikey: Keying | None = None) -> Keying:
    """Return what the offer alone could lead to; ``keyed`` means an answer can still secure it.

    *mikey* is what its MIKEY message is worth, if it has one.
    """
    if offer.proto in _DTLS_SRTP:
        return _offered_dtls(offer)
    if offer.proto not in _SRTP and offer.proto not in _RTP:
        return without(Reason.NOT_KEYED, "a transport that sipguard knows no keying for")
    for crypto in offer.cryptos:
        if crypto.problem is None:
            return _keyed_by_sdes(crypto.suite)
    if offer.fingerprints:
        return _offered_dtls(offer)
    if mikey is not None:
        return mikey
    if announces_zrtp(offer):
        return _keyed_by_zrtp()
    return _why_not(offer.cryptos)


def agreed_key(offer: Media, answer: Media, mikey: Keying | None = None) -> Keying:
    """Return what offer and answer of one ``m=`` line negotiated together (PIN-18).

    *mikey* is what the MIKEY messages of both came to, if the offer has one.
    """
    if answer.proto != offer.proto:
        return without(Reason.PROFILE_DOWNGRADE, "the answer has another transport profile")
    if offer.proto in _DTLS_SRTP:
        return _agreed_dtls(offer, answer)
    if offer.proto not in _SRTP:
        if offer.proto not in _RTP:
            return without(Reason.NOT_KEYED, "a transport that sipguard knows no keying for")
        if _is_mixed(answer):
            return without(Reason.KEY_MIXED, "the answer takes more than one keying method")
    return _agreed_rtp(offer, answer, mikey)


def _agreed_rtp(offer: Media, answer: Media, mikey: Keying | None) -> Keying:
    """Let the answer say which method it takes."""
    if answer.cryptos:
        return _agreed_sdes(offer.cryptos, answer.cryptos)
    if answer.fingerprints:
        return _agreed_dtls(offer, answer)
    if mikey is not None and (mikey.keyed or has_key_mgmt(answer)):
        return mikey
    if announces_zrtp(answer):
        return _agreed_zrtp(offer)
    if mikey is not None:
        return mikey
    return without(Reason.NOT_KEYED, "the answer carries no key")


def without(reason: Reason, detail: str) -> Keying:
    """Return that there is no key, and why."""
    return Keying(False, b"", b"", reason, detail)


def _why_not(cryptos: tuple[Crypto, ...]) -> Keying:
    problems = {crypto.problem for crypto in cryptos}
    if Reason.WEAK_CRYPTO in problems:
        return without(Reason.WEAK_CRYPTO, "no crypto line encrypts and authenticates")
    if problems:
        return without(Reason.BAD_CRYPTO, "no crypto line can be used")
    return without(Reason.NOT_KEYED, "no key is offered")


def _is_mixed(answer: Media) -> bool:
    """Report an optional-SRTP answer with more than one keying method (KEY-2)."""
    methods = {name for name, _ in answer.attributes if name in (b"key-mgmt", b"zrtp-hash")}
    return len(methods) + bool(answer.cryptos) + bool(answer.fingerprints) > 1


def _agreed_sdes(offered: tuple[Crypto, ...], answered: tuple[Crypto, ...]) -> Keying:
    """Match the one answered crypto line with the offered ones (SDE-5, SDE-4)."""
    if len(answered) != 1:
        return without(Reason.ANSWER_CRYPTO, "the answer has more than one crypto line")
    answer = answered[0]
    if answer.problem is not None:
        return without(answer.problem, "the answered crypto line cannot be used")
    offer = match_crypto(offered, answer)
    if offer is None:
        return without(Reason.ANSWER_CRYPTO, "tag and suite were not offered together")
    if offer.problem is not None:
        return without(offer.problem, "the offered crypto line cannot be used")
    for crypto in offered:
        for key in answer.keys:
            if key in crypto.keys:
                # Two senders under one key: the two-time pad of RFC 4568 section 6.1.
                return without(Reason.KEY_REUSE, "offer and answer share a key")
    return _keyed_by_sdes(answer.suite)


def match_crypto(offered: tuple[Crypto, ...], answer: Crypto) -> Crypto | None:
    """Return the offered line that an answered one takes."""
    for offer in offered:
        if offer.tag == answer.tag and offer.suite == answer.suite:
            return offer
    return None


@lru_cache(maxsize=64)
def _keyed_by_sdes(suite: bytes) -> Keying:
    return Keying(
        True, SDES, suite, Reason.KEYED, "", clear=True, bits=8 * SUITES[suite].key_octets
    )


@lru_cache(maxsize=16)
def _keyed_by_dtls(function: bytes) -> Keying:
    return Keying(True, DTLS, b"", Reason.KEYED, "", fingerprint=function)


@lru_cache(maxsize=1)
def _keyed_by_zrtp() -> Keying:
    # Nothing else announces it, so a rule that asks for the hash must not refuse the offer.
    return Keying(True, ZRTP, b"", Reason.KEYED, "", hashed=True)


def _offered_dtls(offer: Media) -> Keying:
    if not offer.fingerprints:
        return without(Reason.BAD_FINGERPRINT, "no usable fingerprint is offered")
    if offer.setup not in _OFFER_ROLES:
        return without(Reason.BAD_SETUP, "no usable a=setup is offered")
    return _keyed_by_dtls(offer.fingerprints[0].hash)


def _agreed_dtls(offer: Media, answer: Media) -> Keying:
    """Both ends need a fingerprint and roles that pair (DTL-1, DTL-2)."""
    if not (offer.fingerprints and answer.fingerprints):
        return without(Reason.BAD_FINGERPRINT, "one side has no usable fingerprint")
    if (offer.setup, answer.setup) not in _ROLE_PAIRS:
        return without(Reason.BAD_SETUP, "the a=setup roles do not pair")
    return _keyed_by_dtls(answer.fingerprints[0].hash)


def _agreed_zrtp(offer: Media) -> Keying:
    """Both ends say that they speak ZRTP; whether they agree on a key their packets show."""
    if not announces_zrtp(offer):
        return without(Reason.NOT_KEYED, "one side alone announces ZRTP")
    return _keyed_by_zrtp()


def has_key_mgmt(media: Media) -> bool:
    """Report whether a line has key management of its own (RFC 4567)."""
    return any(name == b"key-mgmt" for name, _ in media.attributes)


def announces_zrtp(media: Media) -> bool:
    """Report whether ``a=zrtp-hash`` names the Hello to expect (RFC 6189 section 8; ZRT-5).

    ``a=zrtp`` alone promises nothing: telephones were seen that write it and speak no ZRTP.
    """
    return any(name == b"zrtp-hash" for name, _ in media.attributes)
