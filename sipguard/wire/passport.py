"""One Identity header value and the PASSporT in it (RFC 8224 section 4, RFC 8225; STI-1, STI-21).

Reading says what stands there; whether it is true is ``identity/stir``'s
business. The token is a JWS in compact serialization (STI-23), and one strict reading
holds for it: base64url without padding or stray bits, JSON without a member
twice, no number that a parser might round.
"""

import json
import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from typing import Final, NamedTuple

from sipguard.errors import HostileInput
from sipguard.reason import Reason

MAX_TOKEN_OCTETS: Final = 8192  # a div-o token with two inner ones has about 2,500
MAX_VALUE_OCTETS: Final = MAX_TOKEN_OCTETS + 2048
MAX_PARAMETERS: Final = 16
MAX_BRACKETS: Final = 128  # openings in one JSON text; bounds depth and number of values
MAX_DIGITS: Final = 15  # of a number: any parser holds it exactly

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
JsonObject = dict[str, Json]

_URL_TO_PLAIN: Final = bytes.maketrans(b"-_", b"+/")
_PLAIN_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_TOKEN: Final = rb"[A-Za-z0-9\-.!%*_+`'~]+"
_PARAMETER: Final = re.compile(
    rb";[ \t]*(%b)(?:[ \t]*=[ \t]*"
    rb"(?:<([!-;=?-~]+)>|\"([ !#-\[\]-~]*)\"|([A-Za-z0-9\-.!%%*_+`'~\[\]:]+)))?[ \t]*" % _TOKEN
)
_SEGMENTS: Final = re.compile(rb"[A-Za-z0-9_\-.]+")
_OTHER_ALPHABET: Final = re.compile(rb"[A-Za-z0-9_\-.+/=]+")


class Identity(NamedTuple):
    """One Identity header value, read but not believed.

    In compact form ``header``, ``payload`` and ``signed`` are empty: the
    signer expects the verifier to write them anew (RFC 8224 section 7).
    ``signed`` is what the signature is over, as received. ``ppt`` is empty
    where the parameter is absent. ``is_canonical`` tells whether header and
    payload are written as RFC 8225 section 9 wants.
    """

    is_compact: bool
    header: JsonObject
    payload: JsonObject
    signed: bytes
    signature: bytes
    info: str
    alg: str = "ES256"
    ppt: str = ""
    is_canonical: bool = True


def parse_identity(value: bytes) -> Identity:
    """Return what one Identity header value says.

    Raises:
        HostileInput: ``OLD_IDENTITY`` for the form of RFC 4474 (STI-50), else
            ``BAD_PASSPORT``.
    """
    if value.startswith(b'"'):
        raise HostileInput(Reason.OLD_IDENTITY, "a signature of RFC 4474", value)
    if len(value) > MAX_VALUE_OCTETS:
        raise _bad("an Identity header longer than 10 KiB")
    token, semicolon, rest = value.partition(b";")
    parameters = _parameters(semicolon + rest)
    info = parameters.get(b"info", b"")
    if not info.startswith(b"<"):
        raise _bad("no info parameter with a URI in angle brackets")
    return parse_token(
        token.rstrip(b" \t"),
        info[1:].decode("ascii"),
        parameters.get(b"alg", b"ES256").decode("ascii"),
        parameters.get(b"ppt", b"").decode("ascii"),
    )


def parse_token(token: bytes, info: str, alg: str, ppt: str) -> Identity:
    """Return what a token says, full or ``..signature``, with what stands beside it.

    Raises:
        HostileInput: ``BAD_PASSPORT``.
    """
    if len(token) > MAX_TOKEN_OCTETS:
        raise _bad("a PASSporT longer than 8 KiB")
    if not _SEGMENTS.fullmatch(token):
        if _OTHER_ALPHABET.fullmatch(token):
            raise _bad("base64 with +, / or =; RFC 7515 wants base64url without padding")
        raise _bad("octets that no PASSporT holds")
    segments = token.split(b".")
    if len(segments) != 3:
        raise _bad("a PASSporT that has not three segments")
    signature = decode_segment(segments[2])
    if not segments[0] and not segments[1]:
        return Identity(True, {}, {}, b"", signature, info, alg, ppt)
    header, header_is_canonical = _read_object(decode_segment(segments[0]))
    payload, payload_is_canonical = _read_object(decode_segment(segments[1]))
    signed = segments[0] + b"." + segments[1]
    is_canonical = header_is_canonical and payload_is_canonical
    return Identity(False, header, payload, signed, signature, info, alg, ppt, is_canonical)


def read_unsecured_header(token: bytes) -> JsonObject:
    """Return the header of a token that stands alone, as those inside ``opt`` do (RFC 8946).

    Raises:
        HostileInput: ``BAD_PASSPORT``.
    """
    if len(token) > MAX_TOKEN_OCTETS:
        raise _bad("a PASSporT longer than 8 KiB")
    return _read_object(decode_segment(token.partition(b".")[0]))[0]


def canonical_json(value: Json) -> bytes:
    """Return a value as RFC 8225 section 9 writes it: no blanks, members in code point order.

    Raises:
        HostileInput: ``BAD_PASSPORT``, where a string holds half a surrogate pair.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise _bad("JSON with half a surrogate pair") from None


def encode_segment(octets: bytes) -> bytes:
    """Return base64url without padding (RFC 7515 section 2)."""
    return b2a_base64(octets, newline=False).rstrip(b"=").translate(_PLAIN_TO_URL)


def decode_segment(text: bytes) -> bytes:
    """Return the octets of base64url without padding, which stand for themselves alone.

    Bits behind the last octet must be zero: otherwise a changed token would
    still hold the same signature.

    Raises:
        HostileInput: ``BAD_PASSPORT``.
    """
    try:
        octets = a2b_base64(text.translate(_URL_TO_PLAIN) + b"=" * (-len(text) % 4))
    except Base64Error:
        raise _bad("a segment is no base64url") from None
    if encode_segment(octets) != text:
        raise _bad("a segment is no base64url")
    return octets


def _parameters(text: bytes) -> dict[bytes, bytes]:
    """Return the parameters; a URI in brackets keeps its opening one."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(text):
        match = _PARAMETER.match(text, at)
        if match is None or len(found) == MAX_PARAMETERS:
            raise _bad("a parameter is not well formed, or too many are there")
        name, uri, quoted, token = match.groups()
        name = name.lower()
        if name in found:
            raise _bad("a parameter stands twice")
        found[name] = b"<" + uri if uri else (token or quoted or b"")
        at = match.end()
    return found


def _read_object(octets: bytes) -> tuple[JsonObject, bool]:
    if octets.count(b"{") + octets.count(b"[") > MAX_BRACKETS:
        raise _bad("JSON with too many values")
    try:
        value: Json = _DECODER.decode(octets.decode())
    except (ValueError, RecursionError):
        raise _bad("no well-formed JSON") from None
    if not isinstance(value, dict):
        raise _bad("JSON that is no object")
    return value, canonical_json(value) == octets


def _unique(pairs: list[tuple[str, Json]]) -> JsonObject:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _bad("a JSON member stands twice")
    return members


def _short_integer(text: str) -> int:
    if len(text) > MAX_DIGITS + 1:
        raise _bad("a JSON number that is too long")
    return int(text)


def _refuse_constant(_: str) -> float:
    raise _bad("a JSON number that is none")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_short_integer, parse_constant=_refuse_constant
)


def _bad(detail: str) -> HostileInput:
    return HostileInput(Reason.BAD_PASSPORT, detail)
