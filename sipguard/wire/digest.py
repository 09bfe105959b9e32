"""Digest credentials and challenges, read strictly (RFC 3261 section 22, RFC 7616, RFC 8760).

What is clear but not written as it must be gets a finding; what can be read in two ways, or
lacks what it must have, is refused. A quoted value stays as it stands between its quotes, for
the hashes are made of those octets; only user and realm, which are compared with names
outside, have their quoted pairs undone.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from sipguard.errors import HostileInput
from sipguard.reason import Finding, Reason
from sipguard.wire.reader import BLANKS, is_quoted, is_token, split_list

MAX_OCTETS: Final = 4096  # AKA challenges are the longest honest ones, below 1000
MAX_PARAMETERS: Final = 32
MAX_QOPS: Final = 8
MD5: Final = b"MD5"
AUTH: Final = b"auth"
AUTH_INT: Final = b"auth-int"

# RFC 7616 sections 3.3 and 3.4; in SIP ``uri`` must be quoted as well (RFC 3261 section 22.4).
_QUOTED_IN_CREDENTIALS: Final = frozenset(
    (b"username", b"realm", b"nonce", b"uri", b"response", b"cnonce", b"opaque")
)
_PLAIN_IN_CREDENTIALS: Final = frozenset((b"algorithm", b"qop", b"nc", b"userhash", b"username*"))
_QUOTED_IN_CHALLENGE: Final = frozenset((b"realm", b"domain", b"nonce", b"opaque", b"qop"))
_PLAIN_IN_CHALLENGE: Final = frozenset((b"stale", b"algorithm", b"userhash", b"charset"))
_QUOTED_IN_INFO: Final = frozenset((b"nextnonce", b"rspauth", b"cnonce"))
_PLAIN_IN_INFO: Final = frozenset((b"qop", b"nc"))
_NAMES: Final = (
    _QUOTED_IN_CREDENTIALS | _PLAIN_IN_CREDENTIALS | _QUOTED_IN_CHALLENGE | _PLAIN_IN_CHALLENGE
    | _QUOTED_IN_INFO | _PLAIN_IN_INFO
)  # fmt: skip
# Hex digits of a response (RFC 8760 section 2.2; AKA is RFC 3310 and 4169).
_LENGTHS: Final = {
    **dict.fromkeys((b"MD5", b"MD5-SESS", b"AKAV1-MD5", b"AKAV2-MD5"), 32),
    **dict.fromkeys((b"SHA-256", b"SHA-256-SESS", b"SHA-512-256", b"SHA-512-256-SESS"), 64),
}
_SHORTEST: Final = 32
_LONG_HEX: Final = re.compile(rb"[0-9a-f]{32,}")
_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)
_HEX: Final = b"0123456789abcdef"
_COUNT_DIGITS: Final = 8

Parameters = dict[bytes, tuple[bytes, bool]]  # the value, and whether it was quoted


class Credentials(NamedTuple):
    """Who a request says it is, and the response that shall prove it; nothing is verified."""

    user: bytes  # hex digits where ``is_userhash``
    realm: bytes
    nonce: bytes
    uri: bytes
    response: bytes  # lower case; empty before any challenge (IMS)
    algorithm: bytes = MD5  # upper case, "-SESS" included
    qop: bytes = b""  # lower case
    cnonce: bytes = b""
    nc: bytes = b""  # as written
    opaque: bytes = b""
    is_userhash: bool = False
    findings: tuple[Finding, ...] = ()

    @property
    def nonce_count(self) -> int:
        """The nonce count; 0 where there is none."""
        return int(self.nc, 16) if self.nc else 0


class Claims(NamedTuple):
    """What credentials say about themselves, complete or not."""

    user: bytes
    realm: bytes
    algorithm: bytes  # lower case
    qop: bytes  # lower case; ``none`` without any


class Challenge(NamedTuple):
    """What a server asks for in a 401 or 407."""

    realm: bytes
    nonce: bytes
    algorithm: bytes = MD5  # upper case
    qops: tuple[bytes, ...] = ()  # lower case
    opaque: bytes = b""
    is_stale: bool = False
    findings: tuple[Finding, ...] = ()


class Info(NamedTuple):
    """What a server says after it was satisfied (RFC 7616 section 3.5)."""

    nextnonce: bytes = b""
    qop: bytes = b""
    cnonce: bytes = b""
    nc: bytes = b""


def scheme_of(value: bytes) -> bytes:
    """Return the authentication scheme in lower case; ``b""`` in an empty value."""
    return _cut_scheme(value)[0]


def parse_credentials(value: bytes) -> Credentials:
    """Return the Digest credentials in a value of Authorization or Proxy-Authorization.

    Raises:
        HostileInput: ``DIGEST_BASIC`` for Basic; ``DIGEST_QUOTES`` where it is no Digest or
            breaks the grammar; ``DUPLICATE_PARAMETER``; ``DIGEST_USERS`` with two user
            names; ``DIGEST_LENGTH`` where the response cannot be one; ``DIGEST_QOP`` where
            what qop demands is missing.
    """
    _check_length(value)
    return _parse_credentials(value)


@lru_cache(maxsize=512)  # several rooms ask about one value, and it crosses on two legs
def _parse_credentials(value: bytes) -> Credentials:
    found = _read_parameters(_cut_digest(value))
    algorithm = _text(found, b"algorithm").upper() or MD5
    response, qop, nc = _read_response(found, algorithm), _read_qop(found, algorithm), b""
    notes = _check_quotes(found, _QUOTED_IN_CREDENTIALS, _PLAIN_IN_CREDENTIALS)
    if b"nc" in found:
        nc = _text(found, b"nc")
        if not _is_count(nc):
            raise HostileInput(Reason.DIGEST_QUOTES, "a nonce count that is no hex number")
        if len(nc) != _COUNT_DIGITS or nc.translate(None, _HEX):
            notes.append(Finding(Reason.DIGEST_QUOTES, "nc is not eight lower-case hex digits"))
    if not qop and (nc or b"cnonce" in found):
        notes.append(Finding(Reason.DIGEST_QOP, "cnonce or nc without qop"))
    if _text(found, b"response") != response:
        notes.append(Finding(Reason.DIGEST_QUOTES, "the response is not in lower case"))
    return Credentials(
        _read_user(found),
        _needed(found, b"realm", unescaped=True),
        _needed(found, b"nonce", empty=not response),
        _needed(found, b"uri"),
        response,
        algorithm,
        qop,
        _text(found, b"cnonce"),
        nc,
        _text(found, b"opaque"),
        _text(found, b"userhash").lower() == b"true",
        tuple(notes),
    )


def read_claims(value: bytes) -> Claims:
    """Return what Digest credentials claim, be they ever so malformed; never raises.

    For the rules of a policy, which speak of them before they are judged. Of two equal names
    the first counts.
    """
    found: Parameters = {}
    for piece in split_list(_cut_scheme(value)[1][:MAX_OCTETS]):
        name, _, text = piece.partition(b"=")
        text = text.strip(BLANKS)
        was_quoted = is_quoted(text)
        found.setdefault(
            name.strip(BLANKS).lower(), (text[1:-1] if was_quoted else text, was_quoted)
        )
    return Claims(
        _unescaped(_text(found, b"username")),
        _unescaped(_text(found, b"realm")),
        (_text(found, b"algorithm") or MD5).lower(),
        (_text(found, b"qop") or b"none").lower(),
    )


def find_responses(value: bytes) -> tuple[bytes, ...]:
    """Return what could be a response in a value that cannot be read: its long hex numbers.

    Backslashes are left out, for a server may undo them. Total, and in lower case.
    """
    found = _LONG_HEX.findall(value.replace(b"\\", b"").lower())
    return tuple(dict.fromkeys(found))


def parse_challenge(value: bytes) -> Challenge:
    """Return the Digest challenge in a value of WWW-Authenticate or Proxy-Authenticate.

    Raises:
        HostileInput: ``DIGEST_BASIC``, ``DIGEST_QUOTES`` or ``DUPLICATE_PARAMETER``.
    """
    _check_length(value)
    found = _read_parameters(_cut_digest(value))
    notes = _check_quotes(found, _QUOTED_IN_CHALLENGE, _PLAIN_IN_CHALLENGE)
    qops = tuple([qop.strip(BLANKS).lower() for qop in _text(found, b"qop").split(b",", MAX_QOPS)])
    if not any(qops):
        notes.append(Finding(Reason.DIGEST_QOP, "the challenge offers no qop"))
    return Challenge(
        _needed(found, b"realm", unescaped=True),
        _needed(found, b"nonce"),
        _text(found, b"algorithm").upper() or MD5,
        tuple([qop for qop in qops if qop]),
        _text(found, b"opaque"),
        _text(found, b"stale").lower() == b"true",
        tuple(notes),
    )


def parse_info(value: bytes) -> Info:
    """Return what a value of Authentication-Info says.

    Raises:
        HostileInput: ``DIGEST_QUOTES`` or ``DUPLICATE_PARAMETER``.
    """
    _check_length(value)
    found = _read_parameters(value)
    return Info(
        _text(found, b"nextnonce"),
        _text(found, b"qop").lower(),
        _text(found, b"cnonce"),
        _text(found, b"nc"),
    )


def shown_name(name: bytes) -> bytes:
    """Return a parameter name for a record; what is no known one may be half a response."""
    return name if name in _NAMES else b""


def _check_length(value: bytes) -> None:
    if len(value) > MAX_OCTETS:
        raise HostileInput(Reason.DIGEST_QUOTES, "longer than sipguard reads")


def _cut_scheme(value: bytes) -> tuple[bytes, bytes]:
    pieces = value.split(None, 1)
    if not pieces:
        return b"", b""
    return pieces[0].lower(), pieces[1] if len(pieces) > 1 else b""


def _cut_digest(value: bytes) -> bytes:
    scheme, text = _cut_scheme(value)
    if scheme == b"basic":
        raise HostileInput(Reason.DIGEST_BASIC)
    if scheme != b"digest":
        raise HostileInput(Reason.DIGEST_QUOTES, "another scheme than Digest")
    return text


def _read_parameters(text: bytes) -> Parameters:
    pieces = split_list(text)
    if len(pieces) > MAX_PARAMETERS:
        raise HostileInput(Reason.DIGEST_QUOTES, "more parameters than sipguard reads")
    found: Parameters = {}
    for piece in pieces:
        name, equals, value = piece.partition(b"=")
        name, value = name.strip(BLANKS).lower(), value.strip(BLANKS)
        if not equals or not is_token(name):
            raise HostileInput(Reason.DIGEST_QUOTES, "a parameter that is not name=value")
        if name in found:
            raise HostileInput(
                Reason.DUPLICATE_PARAMETER, "a digest parameter twice", shown_name(name)
            )
        found[name] = _read_value(name, value)
    return found


def _read_value(name: bytes, value: bytes) -> tuple[bytes, bool]:
    """Return a value without its quotes; what must be quoted and is not may hold no blank."""
    if value.startswith(b'"'):
        if not is_quoted(value):
            what = "a quoted value that is not closed"
            raise HostileInput(Reason.DIGEST_QUOTES, what, shown_name(name))
        return value[1:-1], True
    if not value or value.find(b'"') >= 0 or len(value.split()) != 1:
        what = "a value that is neither token nor quoted"
        raise HostileInput(Reason.DIGEST_QUOTES, what, shown_name(name))
    return value, False


def _check_quotes(
    found: Parameters, quoted: frozenset[bytes], plain: frozenset[bytes]
) -> list[Finding]:
    """Note each known parameter with quotes too many or too few (DIG-3)."""
    wrong = [
        name.decode("ascii")
        for name, (_, was_quoted) in found.items()
        if name in (plain if was_quoted else quoted)
    ]
    if not wrong:
        return []
    return [Finding(Reason.DIGEST_QUOTES, "quotes too many or too few: " + ", ".join(wrong))]


def _text(found: Parameters, name: bytes) -> bytes:
    parameter = found.get(name)
    return b"" if parameter is None else parameter[0]


def _needed(
    found: Parameters, name: bytes, *, unescaped: bool = False, empty: bool = False
) -> bytes:
    parameter = found.get(name)
    if parameter is None or not (parameter[0] or empty or name == b"realm"):
        raise HostileInput(Reason.DIGEST_QUOTES, "a parameter is missing", name)
    return _unescaped(parameter[0]) if unescaped else parameter[0]


def _unescaped(value: bytes) -> bytes:
    return _PAIR.sub(rb"\1", value) if value.find(b"\\") >= 0 else value


def _read_user(found: Parameters) -> bytes:
    """Return the user name in either of its two spellings (DIG-9)."""
    extended = found.get(b"username*")
    if extended is None:
        return _needed(found, b"username", unescaped=True)
    if b"username" in found:
        raise HostileInput(Reason.DIGEST_USERS, "username and username*")
    charset, _, rest = extended[0].partition(b"'")
    _, quote, user = rest.partition(b"'")
    if charset.lower() != b"utf-8" or not quote:  # RFC 8187 section 3.2.1
        raise HostileInput(Reason.DIGEST_QUOTES, "username* is not in the form of RFC 8187")
    return unquote_to_bytes(user)


def _read_response(found: Parameters, algorithm: bytes) -> bytes:
    """Return the response in lower case (DIG-4); empty where there was no challenge yet."""
    parameter = found.get(b"response")
    if parameter is None:
        raise HostileInput(Reason.DIGEST_QUOTES, "a parameter is missing", b"response")
    response = parameter[0].lower()
    if not response:
        if _text(found, b"nonce"):
            raise HostileInput(Reason.DIGEST_LENGTH, "an empty response to a challenge")
        return response
    wanted = _LENGTHS.get(algorithm, 0)
    if response.translate(None, _HEX):
        raise HostileInput(Reason.DIGEST_LENGTH, "not hex digits")
    if len(response) != wanted if wanted else len(response) < _SHORTEST:
        raise HostileInput(
            Reason.DIGEST_LENGTH, f"{len(response)} digits instead of {wanted or _SHORTEST}"
        )
    return response


def _read_qop(found: Parameters, algorithm: bytes) -> bytes:
    """Return the quality of protection; with it come cnonce and nc (DIG-6)."""
    parameter = found.get(b"qop")
    if parameter is None:
        if algorithm.endswith(b"-SESS"):
            raise HostileInput(Reason.DIGEST_QOP, "a session algorithm without qop")
        return b""
    qop = parameter[0].lower()
    if not is_token(qop):
        raise HostileInput(Reason.DIGEST_QOP, "not one single qop")
    if not _text(found, b"cnonce") or b"nc" not in found:
        raise HostileInput(Reason.DIGEST_QOP, "qop without cnonce or nc")
    return qop


def _is_count(nc: bytes) -> bool:
    return 0 < len(nc) <= _COUNT_DIGITS and not nc.lower().translate(None, _HEX)
