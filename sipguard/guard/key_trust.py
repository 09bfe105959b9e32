"""What MIKEY messages are checked with: keys by name, and certificates of who signs (MIK-6).

The media room asks by names as it compares them, ``user@host`` for a SIP URI and for a NAI; the
certificates are the identity room's to judge, as those of an AIB are.
"""

from collections.abc import Mapping, Sequence
from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.identity.certificate import Certificate, read_certificate
from sipguard.identity.shown import shown
from sipguard.identity.trust import Purpose, Store
from sipguard.media.mikey_parties import name_of
from sipguard.reason import Finding, Reason
from sipguard.wire.mikey_values import Identity

_NAI: Final = 0  # types of ID payloads
_URI: Final = 1
_SCHEMES: Final = (b"sip:", b"sips:", b"tel:")
_USER: Final = Purpose.USER


def names_of(keys: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Return keys by the names that messages are compared by."""
    found: dict[bytes, bytes] = {}
    for name, key in keys.items():
        kind = _URI if name.lower().startswith(_SCHEMES) else _NAI
        found[name_of(Identity(kind, name))] = key
    return found


def certificates_at_hand(files: Sequence[tuple[str, tuple[bytes, ...]]]) -> dict[bytes, bytes]:
    """Return certificates (DER) by the users they speak for, and by the URLs of their files.

    Of several of one user the one that was made out last counts.
    """
    found: dict[bytes, bytes] = {}
    since_s: dict[bytes, float] = {}
    for url, certificates in files:
        if url and certificates:
            found[url.encode()] = certificates[0]
        for der in certificates:
            certificate = read_certificate(der)
            for user, host in certificate.users:
                name = user + b"@" + host
                if certificate.not_before_s >= since_s.get(name, float("-inf")):
                    found[name], since_s[name] = der, certificate.not_before_s
    return found


@final
class KeySigners:
    """Judges the certificates of who signs MIKEY messages."""

    __slots__ = ("_store",)

    def __init__(self, store: Store) -> None:
        self._store = store

    def refusal(
        self, leaf: bytes, others: tuple[bytes, ...], now_s: float, name: bytes
    ) -> Finding | None:
        """Return why a certificate is not to be believed for a user, or None where it is.

        *leaf* and *others* are DER as a message carries them, *name* is whom it speaks for.
        """
        try:
            certificate = read_certificate(leaf)
        except HostileInput as wrong:
            return wrong.finding()
        user, at, host = name.rpartition(b"@")
        if not at or (user, host) not in certificate.users:
            return _another(certificate, name)
        return self._store.check(certificate, others, now_s, _USER)


def _another(certificate: Certificate, name: bytes) -> Finding:
    words = f"the message is from {shown(name)}, the certificate speaks for {certificate.title}"
    return Finding(Reason.MIKEY_SIGNER, words, certificate.named[:128])
