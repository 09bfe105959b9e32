"""SRTP master keys out of MIKEY messages, where a gateway can know them (MIK-5, SRT-10).

Keys are seen where they travel in clear, or where the gateway has the pre-shared key.
They are never shown: ``MediaKey`` has no ``repr``.
"""

from typing import Final, final

from sipguard.media.mikey_crypto import MIKEY_1, PRF_SHA256, traffic_key, traffic_salt
from sipguard.media.mikey_policy import DEFAULT, Protection
from sipguard.native import mypyc_attr
from sipguard.wire.mikey import CryptoSession, Mikey
from sipguard.wire.mikey_values import NOT_CHOSEN, KeyData

MAX_MEDIA_KEYS: Final = 32  # of one message; a call with video needs four
NO_SESSION: Final = CryptoSession(0, (), NOT_CHOSEN, 0)  # for messages that map none


@final
@mypyc_attr(acyclic=True)
class MediaKey:
    """The key of one crypto session: suite, master key || master salt, SSRC, MKI, first ROC.

    ``ssrc`` is ``NOT_CHOSEN`` where the message leaves it to the stream's sender.
    """

    __slots__ = ("cs_id", "key", "mki", "roc", "ssrc", "suite")

    def __init__(
        self, cs_id: int, suite: bytes, key: bytes, ssrc: int, roc: int, mki: bytes
    ) -> None:
        self.cs_id: Final = cs_id
        self.suite: Final = suite
        self.key: Final = key
        self.ssrc: Final = ssrc
        self.roc: Final = roc
        self.mki: Final = mki


def media_keys(
    message: Mikey,
    keys: tuple[KeyData, ...],
    rand: bytes,
    protections: dict[int, Protection],
) -> tuple[MediaKey, ...]:
    """Return the master keys of every crypto session; none where one cannot be told.

    *rand* is that of the exchange: an update message has none of its own.
    """
    sessions = message.sessions or (NO_SESSION,)
    if len(sessions) * len(keys) > MAX_MEDIA_KEYS or message.prf not in (MIKEY_1, PRF_SHA256):
        return ()
    found: list[MediaKey] = []
    for session in sessions:
        protection = protection_for(session, protections)
        if protection.is_rated:
            return ()
        for data in keys:
            key = _master(message, data, rand, session, protection)
            if not key:
                return ()
            found.append(
                MediaKey(
                    session.cs_id,
                    protection.suite,
                    key,
                    session.ssrc,
                    session.roc,
                    data.validity.spi,
                )
            )
    return tuple(found)


def protection_for(session: CryptoSession, protections: dict[int, Protection]) -> Protection:
    """Return what protects a session: the first policy that it names, else the only one."""
    for number in session.policies:
        if number in protections:
            return protections[number]
    return next(iter(protections.values())) if len(protections) == 1 else DEFAULT


def _master(
    message: Mikey, data: KeyData, rand: bytes, session: CryptoSession, protection: Protection
) -> bytes:
    key_octets, salt_octets = protection.key_octets, protection.salt_octets
    salt = data.salt
    if data.is_tek:
        key = data.key
        if not salt:
            # GStreamer and others write both as one TEK.
            key, salt = key[:key_octets], key[key_octets:]
    elif rand and session.cs_id:
        key = traffic_key(message, data.key, rand, session.cs_id, key_octets)
        salt = salt or traffic_salt(message, data.key, rand, session.cs_id, salt_octets)
    else:
        return b""
    return key + salt if len(key) == key_octets and len(salt) == salt_octets else b""
