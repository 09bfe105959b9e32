"""Why a TLS handshake failed, in words: OpenSSL's terms are no answer to an operator."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from OpenSSL import SSL

from sipguard.reason import Finding, Reason

FIRST_OCTETS: Final = 16  # of what a peer sends are kept, to say what it was
_HANDSHAKE: Final = 22  # the kind of a record
_VERSIONS: Final = {
    b"\x03\x00": "SSL 3.0",
    b"\x03\x01": "TLS 1.0",
    b"\x03\x02": "TLS 1.1",
    b"\x03\x03": "TLS 1.2",
}
_ALERT: Final = re.compile(r"(?:^|\b)(?:ssl/tls|sslv3|tlsv1|tlsv13|ssl|tls) alert (.+)$")
# What the peer's alerts mean here (RFC 8446 section 6.2).
_ALERTS: Final[Mapping[str, str]] = {
    "bad certificate": "it does not accept the certificate shown to it",
    "unsupported certificate": "it cannot use this kind of certificate",
    "certificate revoked": "the certificate shown to it was revoked",
    "certificate expired": "the certificate shown to it has expired",
    "certificate unknown": "it does not accept the certificate shown to it",
    "unknown ca": "it does not trust the authority that issued the certificate shown to it",
    "access denied": "the certificate shown to it is not enough",
    "certificate required": "it wants a certificate, and was shown none",
    "unrecognized name": "it does not know the name that was asked for",
    "no application protocol": "it speaks none of the protocols offered",
    "decrypt error": "a signature or key did not fit",
    "handshake failure": "there is no cipher suite, curve or signature in common",
    "insufficient security": "what was offered is too weak for it",
    "internal error": "it has a fault of its own",
    "user cancelled": "its user gave up",
    "protocol version": "it speaks none of the versions that are allowed here",
}
_OLD: Final = (
    *("unsupported protocol", "version too low", "wrong ssl version", "no protocols available"),
    *("unknown protocol", "unsupported ssl version", "inappropriate fallback"),
)
_NO_CIPHER: Final = (
    *("no shared cipher", "no suitable key share", "no shared signature algorithms"),
    *("no suitable signature algorithm", "no shared groups", "unsupported elliptic curve"),
    *("no suitable groups", "no ciphers available", "wrong curve"),
)
_NO_CERTIFICATE: Final = ("peer did not return a certificate",)


def failure_of(error: BaseException, first: bytes, *, is_client: bool) -> Finding:
    """Return why the handshake with a peer failed.

    Args:
        error: What ended it.
        first: The first octets that the peer sent.
        is_client: Whether the peer is the client.
    """
    who = "the client" if is_client else "the server"
    if not isinstance(error, SSL.Error) or not error.args:
        return _hung_up(first, who)
    return _told(_causes(error), first, who)


def _causes(error: SSL.Error) -> Sequence[str]:
    """Return OpenSSL's reasons in lower case, such as ``no shared cipher``."""
    told: object = error.args[0]
    if not isinstance(told, Sequence) or isinstance(told, str):
        return ()
    return [str(entry[-1]).lower() for entry in told if isinstance(entry, Sequence) and entry]


def _hung_up(first: bytes, who: str) -> Finding:
    if not first:
        return Finding(Reason.TLS_HUNG_UP, f"{who} closed the connection without a word")
    if first[0] != _HANDSHAKE:
        return _garbage(first, who)
    return Finding(Reason.TLS_HUNG_UP, f"{who} closed the connection in the middle of it")


def _garbage(first: bytes, who: str) -> Finding:
    return Finding(Reason.TLS_GARBAGE, f"what {who} sent does not begin as TLS does", first)


def _told(causes: Sequence[str], first: bytes, who: str) -> Finding:
    for cause in causes:
        if alert := _ALERT.search(cause):
            return _alerted(alert[1], who)
    if first and first[0] != _HANDSHAKE and first[0] != 21:  # nor an alert
        return _garbage(first, who)
    text = " ".join(causes)
    if any(word in text for word in _OLD):
        return Finding(Reason.TLS_OLD_VERSION, f"{who} offers {_offered(first)}")
    if any(word in text for word in _NO_CIPHER):
        what = f"{who} offers no cipher suite, curve or signature that is allowed here"
        return Finding(Reason.TLS_NO_CIPHER, what)
    if any(word in text for word in _NO_CERTIFICATE):
        what = f"{who} showed no certificate, and the policy requires one"
        return Finding(Reason.TLS_NO_CERTIFICATE, what)
    shown = causes[0][:80] if causes else "no reason"
    return Finding(Reason.TLS_GARBAGE, f"{who} breaks the rules of TLS: {shown}", first)


def _alerted(alert: str, who: str) -> Finding:
    words = _ALERTS.get(alert, f"its alert is {alert[:40]}")
    reason = Reason.TLS_ALERT
    if alert == "protocol version":
        reason = Reason.TLS_OLD_VERSION
    elif alert in ("handshake failure", "insufficient security"):
        reason = Reason.TLS_NO_CIPHER
    return Finding(reason, f"{who} refused: {words}")


def _offered(first: bytes) -> str:
    """Name what the peer's hello offers at most, where it can be read."""
    name = _VERSIONS.get(first[9:11]) if first[:1] == b"\x16" else None
    if name is None or name == "TLS 1.2":  # what version 1.3 says as well
        return "no version of TLS that is allowed here"
    return f"{name} at most, which is out of date (RFC 8996)"
