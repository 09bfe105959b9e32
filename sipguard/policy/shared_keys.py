"""Files of pre-shared keys for MIKEY (RFC 3830 section 3.1): whose each is, and how it is written.

One key a line: a name as messages say it in IDi or IDr (``alice@example.com``,
``sip:alice@example.com`` or ``tel:+49301234``), blanks, and ``hex:`` or ``base64:`` with the key;
``#`` starts a comment. Nothing guesses which of the two it is: many a key in hexadecimal is
sound base64 of another one. What is wrong is told by its place alone: a line is a secret.
"""

import base64
import re
from binascii import Error as NotBase64
from typing import Final

from sipguard.errors import HostileInput
from sipguard.policy.problems import Problems, Wrong
from sipguard.policy.syntax import Place
from sipguard.policy.trust import SharedKeys
from sipguard.wire.uri import aor_key, parse_uri

MAX_KEY_OCTETS: Final = 256
SHORT_OCTETS: Final = 16  # RFC 3830 derives keys of 128 bits from it
USAGE: Final = "write NAME hex:DIGITS or NAME base64:TEXT"
_MAKE: Final = "openssl rand -hex 16 makes one"
_NAMES: Final = (
    "write alice@example.com, sip:alice@example.com or tel:+49301234, as messages say it"
)
_WORD: Final = re.compile(rb"[^ \t]+")
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:")
_SCHEMES: Final = (b"sip", b"sips", b"tel")
_HEXADECIMAL: Final = re.compile(rb"[0-9A-Fa-f]+")


def read_shared_keys(name: str, octets: bytes, problems: Problems) -> SharedKeys:
    """Return the keys of a file; each line that has none becomes a problem in that file."""
    found: dict[bytes, bytes] = {}
    lines: dict[bytes, int] = {}
    if b"-----BEGIN " in octets:
        what = "this is PEM, and no file of pre-shared keys"
        problems.error(Place(name, 1, 1), what, USAGE)
        return SharedKeys(found)
    for number, row in enumerate(octets.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        words = [(word[0], word.start() + 1) for word in _WORD.finditer(row.rstrip(b"\r"))]
        if not words or words[0][0].startswith(b"#"):
            continue
        try:
            holder, key = _read(words, Place(name, number, 1), lines, problems)
        except Wrong as wrong:
            problems.add(wrong)
        else:
            found[holder] = key
    if not found and not problems.errors:
        problems.warn(Place(name, 1, 1), "the file holds no key", USAGE)
    return SharedKeys(found)


def _read(
    words: list[tuple[bytes, int]], line: Place, lines: dict[bytes, int], problems: Problems
) -> tuple[bytes, bytes]:
    """Return a name and its key; *lines* knows where earlier names stand.

    Raises:
        Wrong: it is none.
    """
    holder, column = words[0]
    at = line._replace(column=column)
    if len(words) == 1 or words[1][0].startswith(b"#"):
        raise Wrong(at, "this line has a single word", USAGE)
    if _is_key(holder) and not _is_key(words[1][0]):
        raise Wrong(at, "the key stands before the name", USAGE)
    compared = _compared(holder, at)
    if compared in lines:
        raise Wrong(at, "this name stands twice", f"first in line {lines[compared]}")
    if len(words) > 2 and not words[2][0].startswith(b"#"):
        what = "something stands behind the key"
        raise Wrong(line._replace(column=words[2][1]), what, f"{USAGE}; # starts a comment")
    at = line._replace(column=words[1][1])
    key = _key(words[1][0], at)
    if len(key) < SHORT_OCTETS:
        what = f"a key of less than {SHORT_OCTETS} octets: who hears one message can guess it"
        problems.warn(at, what, _MAKE)
    lines[compared] = line.line
    return holder, key


def _is_key(word: bytes) -> bool:
    return word.lower().startswith((b"hex:", b"base64:"))


def _compared(holder: bytes, at: Place) -> bytes:
    """Return a name so that two of one holder are equal."""
    scheme = _SCHEME.match(holder)
    if scheme is None:
        return _compared_uri(b"sip:" + holder) or holder
    compared = _compared_uri(holder) if scheme[0][:-1].lower() in _SCHEMES else b""
    if not compared:
        raise Wrong(at, "this is neither a NAI nor a SIP or tel URI", _NAMES)
    return compared


def _compared_uri(uri: bytes) -> bytes:
    try:
        return aor_key(parse_uri(uri)).removeprefix(b"sips:").removeprefix(b"sip:")
    except HostileInput:
        return b""


def _key(word: bytes, at: Place) -> bytes:
    """Return the octets of a key.

    Raises:
        Wrong: it is none.
    """
    kind, _, text = word.partition(b":")
    match kind.lower():
        case b"hex":
            key = _from_hexadecimal(text, at)
        case b"base64":
            key = _from_base64(text, at)
        case _:
            what = "the key does not say whether it is hexadecimal or base64"
            raise Wrong(at, what, "write hex: or base64: in front of it")
    if not 1 <= len(key) <= MAX_KEY_OCTETS:
        raise Wrong(at, f"a key has 1 to {MAX_KEY_OCTETS} octets", _MAKE)
    return key


def _from_hexadecimal(text: bytes, at: Place) -> bytes:
    if text and _HEXADECIMAL.fullmatch(text) is None:
        hint = "0 to 9 and a to f alone, without 0x, colons or blanks"
        raise Wrong(at, "the key is not hexadecimal", hint)
    if len(text) % 2:
        raise Wrong(at, "a hexadecimal digit is missing: they come in pairs", _MAKE)
    return bytes.fromhex(text.decode("ascii"))


def _from_base64(text: bytes, at: Place) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except NotBase64:
        hint = "a multiple of four letters, digits, + and /, filled up with ="
        raise Wrong(at, "the key is not base64", hint) from None
