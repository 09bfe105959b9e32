"""Where the parts of a certificate stand (RFC 5280 section 4.1), cut out as they are.

Nothing here says that a certificate is well-formed: what is no certificate may yield any
outline, or an IndexError. Who reads certificates asks cryptography first.
"""

from typing import Final, final

from sipguard.native import mypyc_attr

_VERSION: Final = 0xA0
_UTF8: Final = 0x0C
_LONG: Final = 0x80
_MAX_LENGTH_OCTETS: Final = 2  # nothing longer than 64 KiB is looked at
_ONE_OCTET_TEXTS: Final = frozenset((0x13, 0x16))  # PrintableString and IA5String


@final
@mypyc_attr(acyclic=True)
class Outline:
    """Parts of one certificate in DER, each with its tag and length where not said otherwise.

    ``signed`` and ``signature`` are places: what the signature covers begins and ends
    there; the octets of the signature itself begin there and end with the certificate,
    after the octet that tells how many bits of the last one do not count. ``inner`` and
    ``algorithm`` should be the same algorithm, named inside the signature and outside.
    ``key_algorithm`` is the subject's, with its parameters; ``key`` is the place of the key itself.
    """

    __slots__ = (
        "algorithm", "inner", "issuer", "key", "key_algorithm", "signature", "signed", "subject",
    )  # fmt: skip

    def __init__(
        self,
        issuer: bytes,
        subject: bytes,
        key_algorithm: bytes,
        key: int,
        inner: bytes,
        algorithm: bytes,
        signed: tuple[int, int],
        signature: int,
    ) -> None:
        self.issuer: Final = issuer
        self.subject: Final = subject
        self.key_algorithm: Final = key_algorithm
        self.key: Final = key
        self.inner: Final = inner
        self.algorithm: Final = algorithm
        self.signed: Final = signed
        self.signature: Final = signature


def outline_of(der: bytes) -> Outline:
    """Cut *der*; IndexError where it ends too early."""
    whole, _ = _contents(der, 0)
    at, signed_end = _contents(der, whole)
    if der[at] == _VERSION:
        _, at = _contents(der, at)
    _, inner = _contents(der, at)  # after serialNumber
    _, issuer = _contents(der, inner)
    _, validity = _contents(der, issuer)
    _, subject = _contents(der, validity)
    _, key = _contents(der, subject)
    key_algorithm, _ = _contents(der, key)
    _, key_bits = _contents(der, key_algorithm)
    key_octets, _ = _contents(der, key_bits)
    _, bits = _contents(der, signed_end)
    signature, _ = _contents(der, bits)
    return Outline(
        der[issuer:validity],
        der[subject:key],
        der[key_algorithm:key_bits],
        key_octets + 1,
        der[inner:issuer],
        der[signed_end:bits],
        (whole, signed_end),
        signature + 1,
    )


def rsa_numbers_of(der: bytes, at: int) -> tuple[int, bool]:
    """Return the exponent of the RSA key at *at*, and whether its modulus is odd.

    The modulus need not become a number for that; IndexError where there is no such key.
    """
    at, _ = _contents(der, at)
    _, modulus_end = _contents(der, at)
    start, end = _contents(der, modulus_end)
    return int.from_bytes(der[start:end], "big"), bool(der[modulus_end - 1] & 1)


def subject_of(der: bytes) -> bytes:
    """Return the subject of what may be a certificate, as it stands, without reading the rest.

    ``b""`` where there is none. Only good for telling which certificates are worth reading.
    """
    try:
        return outline_of(der).subject
    except IndexError:
        return b""


def has_plain_text(name: bytes) -> bool:
    """True where every value in a well-formed Name is text that any reader takes.

    UTF-8, or one octet for each character; the wider kinds that old authorities used, and
    some get wrong, are none.
    """
    at, end = _contents(name, 0)
    while at < end:
        at, set_end = _contents(name, at)
        if at == set_end:
            return False
        while at < set_end:
            at, attribute_end = _contents(name, at)
            _, value = _contents(name, at)
            if not _is_plain_text(name, value):
                return False
            at = attribute_end
    return True


def _is_plain_text(name: bytes, at: int) -> bool:
    if name[at] in _ONE_OCTET_TEXTS:
        return True
    if name[at] != _UTF8:
        return False
    start, end = _contents(name, at)
    text = name[start:end]
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _contents(der: bytes, start: int) -> tuple[int, int]:
    """Return where the contents of the value at *start* begin, and where they end."""
    length = der[start + 1]
    first = start + 2
    if length & _LONG:
        octets = length & ~_LONG
        if octets > _MAX_LENGTH_OCTETS:
            raise IndexError
        length = 0
        for octet in der[first : first + octets]:
            length = length << 8 | octet
        first += octets
    if first + length > len(der):
        raise IndexError
    return first, first + length
