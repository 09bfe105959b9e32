"""SRTP suites and their keys: lengths, and how session keys come from master keys.

RFC 3711 section 4.3, RFC 4568 section 6.2, RFC 6188, RFC 7714 (SDE-1, SRT-8).
"""

from typing import Final, final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from sipguard.native import mypyc_attr

_PRF_SALT_OCTETS: Final = 14
_BLOCK_OCTETS: Final = 16

# Labels of the key derivation (RFC 3711 section 4.3.1); those of SRTCP are 3 more.
CIPHER_KEY: Final = 0
AUTH_KEY: Final = 1
CIPHER_SALT: Final = 2
RTCP_LABELS: Final = 3


@final
@mypyc_attr(acyclic=True)
class Suite:
    """Lengths in octets, and whether cipher and tag are one (AEAD)."""

    __slots__ = ("is_aead", "key_octets", "rtcp_tag_octets", "rtp_tag_octets", "salt_octets")

    def __init__(
        self,
        key_octets: int,
        salt_octets: int,
        rtp_tag_octets: int,
        rtcp_tag_octets: int,
        is_aead: bool,
    ) -> None:
        self.key_octets: Final = key_octets
        self.salt_octets: Final = salt_octets
        self.rtp_tag_octets: Final = rtp_tag_octets
        self.rtcp_tag_octets: Final = rtcp_tag_octets
        self.is_aead: Final = is_aead


# A tag of 32 bits is for RTP alone (RFC 4568 section 6.2.2, RFC 6188 section 4).
_CM_128_80: Final = Suite(16, 14, 10, 10, False)
_CM_128_32: Final = Suite(16, 14, 4, 10, False)
_CM_192_80: Final = Suite(24, 14, 10, 10, False)
_CM_192_32: Final = Suite(24, 14, 4, 10, False)
_CM_256_80: Final = Suite(32, 14, 10, 10, False)
_CM_256_32: Final = Suite(32, 14, 4, 10, False)

# The names that wire.crypto takes (SDE-1, SDE-11). f8 has another cipher and the same tags.
SUITES: Final = {
    b"AES_CM_128_HMAC_SHA1_80": _CM_128_80,
    b"AES_CM_128_HMAC_SHA1_32": _CM_128_32,
    b"F8_128_HMAC_SHA1_80": _CM_128_80,
    b"F8_128_HMAC_SHA1_32": _CM_128_32,
    b"AES_192_CM_HMAC_SHA1_80": _CM_192_80,
    b"AES_192_CM_HMAC_SHA1_32": _CM_192_32,
    b"AES_CM_192_HMAC_SHA1_80": _CM_192_80,
    b"AES_CM_192_HMAC_SHA1_32": _CM_192_32,
    b"AES_256_CM_HMAC_SHA1_80": _CM_256_80,
    b"AES_256_CM_HMAC_SHA1_32": _CM_256_32,
    b"AES_CM_256_HMAC_SHA1_80": _CM_256_80,
    b"AES_CM_256_HMAC_SHA1_32": _CM_256_32,
    b"AEAD_AES_128_GCM": Suite(16, 12, 16, 16, True),
    b"AEAD_AES_256_GCM": Suite(32, 12, 16, 16, True),
}


def derive(
    master_key: bytes | bytearray,
    master_salt: bytes | bytearray,
    label: int,
    period: int,
    octets: int,
) -> bytearray:
    """Return a session key (RFC 3711 section 4.3); *period* is index DIV key derivation rate.

    The text gives SRTCP an index of 32 bits, which would move the label; everybody
    keeps it where SRTP has it (SRT-8). A salt of 96 bits is filled up on the right
    (RFC 7714 section 11).
    """
    salt = int.from_bytes(bytes(master_salt).ljust(_PRF_SALT_OCTETS, b"\0"), "big")
    counter = ((salt ^ (label << 48 | period)) << 16).to_bytes(_BLOCK_OCTETS, "big")
    key = bytearray(octets + _BLOCK_OCTETS - 1)  # update_into wants room for a block more
    Cipher(AES(master_key), CTR(counter)).encryptor().update_into(bytes(octets), key)
    del key[octets:]
    return key


@final
@mypyc_attr(acyclic=True)
class MasterKey:
    """A master key with its salt behind it, and the MKI that packets name it by, if any.

    *secret* is overwritten when the keys are wiped.
    """

    __slots__ = ("mki", "secret")

    def __init__(self, secret: bytearray, mki: bytes = b"") -> None:
        self.secret: Final = secret
        self.mki: Final = mki


def overwrite(secret: bytearray) -> None:
    """Leave zeros where a key was (SRT-10)."""
    secret[:] = bytes(len(secret))
