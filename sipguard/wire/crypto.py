"""One ``a=crypto`` line of SDES: suite, keys and session parameters (RFC 4568, 6188, 7714).

A line that cannot be used is a value with a *problem*, never an exception:
an offer may carry lines that nobody takes (NULL suites in the wild), and only
the line that the answer picks decides (SDE-5).
"""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from typing import Final, final

from sipguard.native import mypyc_attr
from sipguard.reason import Reason
from sipguard.wire.memo import Memo

# Octets of master key and salt together, by suite (SDE-1). The AES_CM_192 and
# AES_CM_256 spellings come from stacks older than RFC 6188; F8_.._32 stands in
# the grammar of RFC 4568 but not in its text (SDE-11).
KEY_OCTETS: Final = {
    b"AES_CM_128_HMAC_SHA1_80": 30,
    b"AES_CM_128_HMAC_SHA1_32": 30,
    b"F8_128_HMAC_SHA1_80": 30,
    b"F8_128_HMAC_SHA1_32": 30,
    b"AES_192_CM_HMAC_SHA1_80": 38,
    b"AES_192_CM_HMAC_SHA1_32": 38,
    b"AES_CM_192_HMAC_SHA1_80": 38,
    b"AES_CM_192_HMAC_SHA1_32": 38,
    b"AES_256_CM_HMAC_SHA1_80": 46,
    b"AES_256_CM_HMAC_SHA1_32": 46,
    b"AES_CM_256_HMAC_SHA1_80": 46,
    b"AES_CM_256_HMAC_SHA1_32": 46,
    b"AEAD_AES_128_GCM": 28,
    b"AEAD_AES_256_GCM": 44,
}
_PLAIN_OCTETS: Final = 30
MAX_KEYS: Final = 8  # keys in one line; nobody needs more than two or three
MAX_LIFETIME: Final = 2**48  # packets (RFC 3711 section 9.2)
MAX_MKI_OCTETS: Final = 128
MAX_MKI_DIGITS: Final = 310  # 128 octets written in decimal need 309

_WEAKENING: Final = (b"UNENCRYPTED_SRTP", b"UNENCRYPTED_SRTCP", b"UNAUTHENTICATED_SRTP")
_TAG: Final = re.compile(rb"0|[1-9][0-9]{0,8}")
_NUMBER: Final = re.compile(rb"[1-9][0-9]{0,15}")
_POWER: Final = re.compile(rb"2\^([0-9]{1,2})")
# What nearly every telephone writes: one key, neither padding nor parameters.
_PLAIN_DIGITS: Final = 40
_PLAIN: Final = re.compile(rb"([1-9][0-9]{0,8}) ([A-Z0-9_]+)")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]{1,128}={0,2}")


@final
@mypyc_attr(acyclic=True)
class Crypto:
    """One ``a=crypto`` line; usable only where ``problem`` is ``None``.

    ``keys`` are decoded master key || salt and must never be logged. ``mkis`` has the
    octets that packets name each of them by, or is empty where they do not; ``rate`` is
    the exponent of the key derivation rate, -1 without one.
    """

    __slots__ = ("keys", "mkis", "params", "problem", "rate", "suite", "tag")

    def __init__(
        self,
        tag: int,
        suite: bytes,
        keys: tuple[bytes, ...],
        params: tuple[bytes, ...],
        problem: Reason | None,
        mkis: tuple[bytes, ...] = (),
        rate: int = -1,
    ) -> None:
        """Keep what the line says."""
        self.tag: Final = tag
        self.suite: Final = suite
        self.keys: Final = keys
        self.params: Final = params
        self.problem: Final = problem
        self.mkis: Final = mkis
        self.rate: Final = rate

    def spoiled(self) -> "Crypto":
        """Return the same line as one that cannot be used."""
        return Crypto(self.tag, self.suite, self.keys, self.params, Reason.BAD_CRYPTO)


def _read_plain_head(head: bytes) -> tuple[int, bytes]:
    """Return tag and suite before a key of 30 octets; the tag is -1 where it is none of those."""
    plain = _PLAIN.fullmatch(head)
    if plain is None or KEY_OCTETS.get(plain[2]) != _PLAIN_OCTETS:
        return -1, b""
    return int(plain[1]), plain[2]


_PLAIN_HEADS: Final = Memo(_read_plain_head)


def parse_crypto(value: bytes) -> Crypto:
    """Return the line after ``a=crypto:`` as a value, its fault in ``problem``.

    Raises nothing: an unusable line beside a good one is legal (SDE-1).
    """
    head, _, text = value.partition(b" inline:")
    if len(text) == _PLAIN_DIGITS:
        number, name = _PLAIN_HEADS[head]
        if number >= 0:
            try:
                key = a2b_base64(text, strict_mode=True)
            except Base64Error:
                key = b""
            if len(key) == _PLAIN_OCTETS:
                return Crypto(number, name, (key,), (), None)
    words = [word for word in value.replace(b"\t", b" ").split(b" ") if word]
    if value[:1] in (b" ", b"\t") or len(words) < 3 or not _TAG.fullmatch(words[0]):
        return Crypto(0, b"", (), (), Reason.BAD_CRYPTO)
    tag, suite, params = int(words[0]), words[1].upper(), tuple(words[3:])
    if suite.startswith(b"NULL_"):
        return Crypto(tag, suite, (), params, Reason.WEAK_CRYPTO)
    octets = KEY_OCTETS.get(suite)
    keys, mkis = _keys(words[2], octets) if octets else ((), ())
    if not keys:
        return Crypto(tag, suite, (), params, Reason.BAD_CRYPTO)
    return Crypto(tag, suite, keys, params, _problem(params), mkis, _rate(params))


def _keys(text: bytes, octets: int) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Return decoded keys and MKIs of one key-params field, or nothing if any is wrong."""
    infos = text.split(b";", MAX_KEYS)
    if len(infos) > MAX_KEYS:
        return (), ()
    keys, mkis = [], []
    for info in infos:
        method, _, rest = info.partition(b":")
        key_text, *details = rest.split(b"|")
        key = _decode(key_text)
        mki = _mki(details)
        if method.lower() != b"inline" or len(key) != octets or mki is None:
            return (), ()
        keys.append(key)
        mkis.append(mki)
    if mkis == [b""]:
        return tuple(keys), ()
    # With several keys each packet must say which one it uses (SDE-2).
    if b"" in mkis or len({len(mki) for mki in mkis}) > 1 or len(set(mkis)) < len(mkis):
        return (), ()
    return tuple(keys), tuple(mkis)


def _decode(text: bytes) -> bytes:
    """Decode base64 with or without its padding (rtpengine leaves it out); empty if wrong."""
    if not _BASE64.fullmatch(text):
        return b""
    bare = text.rstrip(b"=")
    padded = bare + b"=" * (-len(bare) % 4)
    if len(text) not in (len(bare), len(padded)):
        return b""
    try:
        return a2b_base64(padded)
    except Base64Error:
        return b""


def _mki(details: list[bytes]) -> bytes | None:
    """Return the MKI after ``[|lifetime][|MKI:length]``, empty without one, None if wrong.

    A decimal number there, it goes into packets with the most significant octet first
    (RFC 4568 section 6.1).
    """
    if len(details) > 2:
        return None
    if details and b":" not in details[0]:
        if not _is_lifetime(details[0]):
            return None
        details = details[1:]
    if not details:
        return b""
    if len(details) > 1:
        return None
    digits, _, length = details[0].partition(b":")
    if not (digits.isdigit() and len(digits) <= MAX_MKI_DIGITS and _NUMBER.fullmatch(length)):
        return None
    mki, octets = int(digits), int(length)
    if octets > MAX_MKI_OCTETS or mki.bit_length() > 8 * octets:
        return None
    return mki.to_bytes(octets, "big")


def _is_lifetime(text: bytes) -> bool:
    power = _POWER.fullmatch(text)
    if power:
        return int(power[1]) <= 48 and (text == b"2^0" or not power[1].startswith(b"0"))
    return _NUMBER.fullmatch(text) is not None and int(text) <= MAX_LIFETIME


def _problem(params: tuple[bytes, ...]) -> Reason | None:
    """Return what is wrong with the session parameters (SDE-3), or ``None``."""
    rates = 0
    for param in params:
        name, _, value = param.partition(b"=")
        name = name.upper()
        if name in _WEAKENING:
            return Reason.WEAK_CRYPTO
        if not (name.startswith(b"-") or _is_harmless(name, value)):
            return Reason.BAD_CRYPTO
        rates += name == b"KDR"
    return Reason.BAD_CRYPTO if rates > 1 else None


def _rate(params: tuple[bytes, ...]) -> int:
    """Return the exponent of the key derivation rate, -1 without one (RFC 4568 section 6.3.1).

    The text begins with 1, only the grammar has 0: whoever writes that means none.
    """
    rate = 0
    for param in params:
        name, _, value = param.partition(b"=")
        if name.upper() == b"KDR" and _is_harmless(b"KDR", value):
            rate = int(value)
    return rate or -1


def _is_harmless(name: bytes, value: bytes) -> bool:
    if name == b"KDR":
        return value.isdigit() and len(value) <= 2 and int(value) <= 24
    if name == b"WSH":
        return _NUMBER.fullmatch(value) is not None and int(value) >= 64
    if name == b"FEC_ORDER":
        return value.upper() in (b"FEC_SRTP", b"SRTP_FEC")
    return name == b"FEC_KEY" and value[:7].lower() == b"inline:"
