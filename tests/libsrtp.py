"""The C library that most telephones use for SRTP (Debian: libsrtp2-1), to test against.

Its structures are those of srtp.h of version 2; the tests skip where it is not installed.
"""

import ctypes
from collections.abc import Sequence
from ctypes.util import find_library
from functools import cache
from typing import ClassVar, Final

# The function that fills in a policy, by suite. The library knows no f8.
SETTERS: Final = {
    b"AES_CM_128_HMAC_SHA1_80": "rtp_default",
    b"AES_CM_128_HMAC_SHA1_32": "aes_cm_128_hmac_sha1_32",
    b"AES_192_CM_HMAC_SHA1_80": "aes_cm_192_hmac_sha1_80",
    b"AES_192_CM_HMAC_SHA1_32": "aes_cm_192_hmac_sha1_32",
    b"AES_256_CM_HMAC_SHA1_80": "aes_cm_256_hmac_sha1_80",
    b"AES_256_CM_HMAC_SHA1_32": "aes_cm_256_hmac_sha1_32",
    b"AEAD_AES_128_GCM": "aes_gcm_128_16_auth",
    b"AEAD_AES_256_GCM": "aes_gcm_256_16_auth",
}
_ANY_OUTBOUND = 3
_ROOM = 200  # for tag, MKI and index


class _CryptoPolicy(ctypes.Structure):
    _fields_: ClassVar = [
        ("cipher_type", ctypes.c_uint32),
        ("cipher_key_len", ctypes.c_int),
        ("auth_type", ctypes.c_uint32),
        ("auth_key_len", ctypes.c_int),
        ("auth_tag_len", ctypes.c_int),
        ("sec_serv", ctypes.c_int),
    ]


class _MasterKey(ctypes.Structure):
    _fields_: ClassVar = [
        ("key", ctypes.c_char_p),
        ("mki_id", ctypes.c_char_p),
        ("mki_size", ctypes.c_uint),
    ]


class _Policy(ctypes.Structure):
    _fields_: ClassVar = [
        ("ssrc_type", ctypes.c_int),
        ("ssrc_value", ctypes.c_uint),
        ("rtp", _CryptoPolicy),
        ("rtcp", _CryptoPolicy),
        ("key", ctypes.c_char_p),
        ("keys", ctypes.POINTER(ctypes.POINTER(_MasterKey))),
        ("num_master_keys", ctypes.c_ulong),
        ("deprecated_ekt", ctypes.c_void_p),
        ("window_size", ctypes.c_ulong),
        ("allow_repeat_tx", ctypes.c_int),
        ("enc_xtn_hdr", ctypes.c_void_p),
        ("enc_xtn_hdr_count", ctypes.c_int),
        ("next", ctypes.c_void_p),
    ]


@cache
def library() -> ctypes.CDLL | None:
    """Return the library, made ready, or nothing where there is none."""
    name = find_library("srtp2")
    if name is None:
        return None
    found = ctypes.CDLL(name)
    return found if found.srtp_init() == 0 else None


class Protector:
    """A sender: makes SRTP and SRTCP with the library.

    Each key is master key and salt together with its MKI; there is one key with an
    empty MKI, or several with an MKI each.
    """

    def __init__(self, suite: bytes, keys: Sequence[tuple[bytes, bytes]]) -> None:
        found = library()
        assert found is not None
        self._library = found
        self._has_mki = bool(keys[0][1])
        policy = _Policy()
        policy.ssrc_type = _ANY_OUTBOUND
        # RTCP has the long tag also where RTP has the short one.
        for part, name in ((policy.rtp, suite), (policy.rtcp, suite.replace(b"_32", b"_80"))):
            getattr(found, f"srtp_crypto_policy_set_{SETTERS[name]}")(ctypes.byref(part))
        masters = [_MasterKey(key, mki, len(mki)) for key, mki in keys]
        pointers = (ctypes.POINTER(_MasterKey) * len(masters))(*map(ctypes.pointer, masters))
        if self._has_mki:
            policy.keys, policy.num_master_keys = pointers, len(masters)
        else:
            policy.key = keys[0][0]
        self._session = ctypes.c_void_p()
        status = found.srtp_create(ctypes.byref(self._session), ctypes.byref(policy))
        assert status == 0, status

    def rtp(self, packet: bytes, key: int = 0) -> bytes:
        """Protect an RTP packet with the key of this number."""
        return self._protect(self._library.srtp_protect_mki, packet, key)

    def rtcp(self, packet: bytes, key: int = 0) -> bytes:
        """Protect an RTCP packet."""
        return self._protect(self._library.srtp_protect_rtcp_mki, packet, key)

    def _protect(self, function: "ctypes._NamedFuncPointer", packet: bytes, key: int) -> bytes:
        buffer = ctypes.create_string_buffer(packet, len(packet) + _ROOM)
        octets = ctypes.c_int(len(packet))
        status = function(
            self._session, buffer, ctypes.byref(octets), ctypes.c_uint(self._has_mki), key
        )
        assert status == 0, status
        return buffer.raw[: octets.value]

    def close(self) -> None:
        """Let the library's memory go."""
        self._library.srtp_dealloc(self._session)
