"""Take keys and credentials out of octets before anything is stored.

A record must be safe to mail to a colleague: no SRTP key (RFC 4568 ``inline:``,
``k=``, MIKEY), no digest response (RFC 3261 section 22), no password. The text
is hostile, folded, cut short or plain broken, so this works on lines and words
of the octets and not on a parsed message, and where a line is not exactly what
the standard says, all of it goes. Every pattern runs over its text once.
"""

import binascii
import re
from collections.abc import Callable
from typing import Final

STARS: Final = b"***"
MAX_MASKED_OCTETS: Final = 16_384  # what is longer is cut, never passed on unread
_GRAM: Final = 8  # a quotation sharing this many octets with a secret is part of it
_MAX_DEPTH: Final = 2  # base64 inside base64
_SHORT_OCTETS: Final = 128
_SHORTEST_RUN: Final = 16  # of base64 that is looked into
_FEW_OCTETS: Final = 256  # sought one by one, which costs less than two sets up to here

# A value runs to the first line end that no blank follows (folding, RFC 3261
# section 7.3.1). Hostile text also ends lines with a bare LF or CR.
_FOLDED: Final = rb"([^\r\n]*+(?:(?:\r\n|\n|\r)[ \t][^\r\n]*+)*)"
_FOLD: Final = rb"(?:[ \t]*+(?:(?:\r\n|\n|\r)[ \t]++)?)"

# --- SDP
_CRYPTO_LINE: Final = re.compile(rb"(?i)(crypto[ \t]*+:)" + _FOLDED)
_TAG_AND_SUITE: Final = re.compile(rb"[ \t]*[0-9]{1,9}[ \t]+[A-Z0-9]+_[A-Z0-9_]{1,40}(?=\s|\Z)")
_SESSION_PARAMETER: Final = re.compile(
    rb"KDR=[0-9]{1,2}|UNENCRYPTED_SRTC?P|UNAUTHENTICATED_SRTP|WSH=[0-9]{1,4}"
    rb"|FEC_ORDER=(?:FEC_SRTP|SRTP_FEC)"
)
_INLINE: Final = re.compile(rb"(?i)(inline(?:[ \t]*+:|%3a)" + _FOLD + rb")(\S*+)")
_INLINE_WORD: Final = re.compile(rb"(?i)inline:")
_LIFETIME_AND_MKI: Final = re.compile(
    rb"[^|]*((?:\|(?:2\^)?[0-9]{1,10})?(?:\|[0-9]{1,10}:[0-9]{1,3})?)"
)
_KEY_LINE: Final = re.compile(rb"(?im)((?:^|\r)[ \t]*+k[ \t]*+=)" + _FOLDED)
_KEY_ATTRIBUTE: Final = re.compile(rb"(?i)((?:key-mgmt|ice-pwd)[ \t]*+:)" + _FOLDED)
# The same inside a URI, and where something else stands before the protocol's name. Without
# encryption a MIKEY message is the SRTP key itself (RFC 3830 section 4.2.3).
_KEY_WORD: Final = re.compile(
    rb"(?i)((?:key-mgmt|ice-pwd)%3a|mikey(?:[ \t]|%20)" + _FOLD + rb"(?=[A-Za-z0-9+/%=]{16}))(\S++)"
)

# --- SIP
_SECRET_HEADER: Final = re.compile(
    rb"(?i)(auth(?:orization|entication-info)" + _FOLD + rb"(:|=|%3d))" + _FOLDED
)
_SECRET_NAME: Final = re.compile(
    rb"(?im)((?:^|\r)[ \t]*+[\w-]{0,64}?(?:passw|secret|token|api-?key|cookie|credential)"
    rb"[\w-]{0,64}+[ \t]*+[:=])" + _FOLDED
)
_SECRET_WORD: Final = re.compile(
    rb"(?i)((?:response|rspauth|auts|password|passwd|pwd|access_token)"
    + _FOLD
    + rb"(?:=|%3d)"
    + _FOLD
    + rb")(\"(?:[^\"\\]++|\\.)*\"?|[^\s,;&<>]++)"
)
_PARAMETER: Final = re.compile(
    rb"\s*([A-Za-z-]{1,32})\s*=\s*(\"[^\"\\]*+\"|[^\s\"\\,;=]++)\s*(?:,|\Z)"
)
_OPEN_PARAMETERS: Final = frozenset(
    b"username realm nonce uri algorithm cnonce opaque qop nc userhash nextnonce".split()
)
_DIGEST: Final = re.compile(rb"(?i)\s*digest\s")

# --- URIs: ``sip:user:password@host`` and ``https://user:password@host``. Words with a colon or
# a percent sign: in others nothing is masked. Each is looked at from its beginning alone.
_WORD: Final = re.compile(rb"(?<![^\s<>\"])[^\s<>\":%]*+[:%][^\s<>\"]*+")
# Inside binary, lengths and tags end a word.
_PLAIN_WORD: Final = re.compile(rb"(?<![!#-;=?-~])[!#$&-9;=?-~]*+[:%][!#-;=?-~]*+")
_SCHEME: Final = re.compile(rb"(?i)sips?:|:(/)/")
_CODED_SCHEME: Final = re.compile(rb"sips?%3a")
_HOST_PORT: Final = re.compile(
    rb"(?:\[[^\]]*+\]|[^:\[]*+)(?::(?:[0-9]{1,5}(?=[^0-9A-Za-z]|\Z).*)?)?", re.DOTALL
)

# --- encodings that hide text
_BASE64_RUN: Final = re.compile(
    rb"[A-Za-z0-9+/]{16,}+(?:(?:\r\n|\n|\r)[ \t]*+[A-Za-z0-9+/]++)*={0,2}"
)
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/]+")
_LONG_WORD: Final = re.compile(rb"[A-Za-z0-9+/_-]{24,}+={0,2}")
_QUOTED_PRINTABLE: Final = re.compile(rb"(?i)quoted-printable")
_CODED_BODY: Final = re.compile(
    rb"(?im)(?:^|\r)(?:content-encoding|e)[ \t]*+:[ \t]*+(?!identity)\S"
)
_LENGTH: Final = re.compile(rb"(?im)^(?:content-length|l)[ \t]*+:[ \t]*+([0-9]{1,5}+)[ \t]*+\r?$")
_END_OF_HEADERS: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")


def mask(octets: bytes, *, cut: bool = False) -> bytes:
    """Return *octets* with every key and credential replaced by ``***``.

    Args:
        octets: A message, a header, a body or any piece of one; what exceeds
            ``MAX_MASKED_OCTETS`` is cut off.
        cut: The end is missing, so that a last word which could be the start
            of a password is taken for one.
    """
    cut = cut or len(octets) > MAX_MASKED_OCTETS
    return _mask(octets[:MAX_MASKED_OCTETS], cut, _MAX_DEPTH)


def filled_up(message: bytes) -> bytes:
    """Return a masked message whose body is as long as its Content-Length says.

    Who counts octets takes a body that stars made shorter for a torn one, and
    reads none of it. The stars become as many as what they stand for had; that
    number can be told from Content-Length anyhow. A length that was a lie, and
    more than a message may have, stays one.
    """
    head, end, body = message.partition(b"\r\n\r\n")
    told, at = _LENGTH.search(head), body.rfind(STARS)
    missing = int(told[1]) - len(body) if told is not None else 0
    if at < 0 or not 0 < missing <= MAX_MASKED_OCTETS:
        return message
    return head + end + body[:at] + b"*" * missing + body[at:]


def traces_of_secrets(octets: bytes, masked: bytes) -> frozenset[bytes]:
    """Return every run of 8 octets of a message that is not in its masked form.

    A finding quotes a few octets, perhaps from the middle of a key, where
    nothing names them a key any more. ``mask_quotation`` knows them by these.
    """
    text = octets[:MAX_MASKED_OCTETS]
    if masked == text:
        return frozenset()
    # What both begin and end with is masked nowhere; most often little is left between.
    begin = _alike(text, masked)
    end = len(text) - _alike(text[begin:][::-1], masked[begin:][::-1])
    changed = text[max(begin - _GRAM + 1, 0) : end + _GRAM - 1]
    if len(changed) <= _FEW_OCTETS:
        return frozenset([gram for gram in _grams(changed) if masked.find(gram) < 0])
    return frozenset(_grams(changed) - _grams(masked))


def mask_quotation(octets: bytes, traces: frozenset[bytes] | None) -> bytes:
    """Mask a piece quoted out of a message.

    Args:
        octets: The piece, as a finding quotes it.
        traces: What ``traces_of_secrets`` said of the whole message; ``None``
            when the message is not at hand: then every long word of the base64
            or hexadecimal alphabet may be a key, and goes.
    """
    text = octets[:MAX_MASKED_OCTETS]
    if traces is None:
        return _LONG_WORD.sub(STARS, mask(text, cut=True))
    if traces:
        text = _mask_traces(text, traces)
    return mask(text)


def _mask(text: bytes, cut: bool, depth: int) -> bytes:
    text = _open_encodings(text, cut, depth)
    folded = text.lower()
    # One pattern finds nothing in a short text sooner than thirty searches do.
    if len(text) > _SHORT_OCTETS or _ANY_SIGN.search(folded) is not None:
        text = _mask_named(text, folded)
    if _names_a_scheme(folded):
        words = _WORD if depth == _MAX_DEPTH else _PLAIN_WORD
        text = words.sub(lambda word: _mask_password(word, cut), text)
    if not depth or len(text) < _SHORTEST_RUN:
        return text
    return _BASE64_RUN.sub(lambda run: _mask_base64(run[0], depth), text)


def _mask_named(text: bytes, folded: bytes) -> bytes:
    """Mask what a word beside it says is secret."""
    for signs, pattern, masked in _STEPS:
        for sign in signs:
            if folded.find(sign) >= 0:
                text = pattern.sub(masked, text)
                break
    return text


def _mask_crypto(line: re.Match[bytes]) -> bytes:
    """Keep tag, suite and session parameters (RFC 4568 section 6) of an a=crypto value."""
    known = _TAG_AND_SUITE.match(line[2])
    if known is None:
        return line[1] + STARS
    words = [line[1] + known[0]]
    for word in line[2][known.end() :].split():
        if _INLINE_WORD.match(word):
            words.append(b"inline:" + _masked_keys(word[7:]))
        else:
            words.append(word if _SESSION_PARAMETER.fullmatch(word) else STARS)
    return b" ".join(words)


def _mask_inline(key: re.Match[bytes]) -> bytes:
    return key[1] + _masked_keys(key[2])


def _masked_keys(keys: bytes) -> bytes:
    """Mask ``key|lifetime|MKI;inline:key...``; lifetime and MKI may stay, and nothing else."""
    kept: list[bytes] = []
    for key in keys.split(b";"):
        shape = _LIFETIME_AND_MKI.fullmatch(key)
        kept.append(STARS + (shape[1] if shape else b""))
    return b";inline:".join(kept)


def _mask_credentials(header: re.Match[bytes]) -> bytes:
    """Keep the harmless parameters of a well-formed digest; anything else goes whole."""
    value = header[3]
    if header[2] != b":" or not value.strip():
        return header[1] + STARS if value.strip() else header[0]
    digest = _DIGEST.match(value)
    if digest is None and header[1][:12].lower() == b"authorization":
        return header[1] + b" " + STARS
    scheme = b" Digest " if digest else b" "
    at = digest.end() if digest else 0
    kept: list[bytes] = []
    while at < len(value):
        parameter = _PARAMETER.match(value, at)
        if parameter is None:
            return header[1] + scheme + STARS
        is_open = parameter[1].lower() in _OPEN_PARAMETERS
        kept.append(parameter[1] + b"=" + (parameter[2] if is_open else STARS))
        at = parameter.end()
    return header[1] + scheme + b", ".join(kept)


def _mask_word(word: re.Match[bytes]) -> bytes:
    return word[1] + (b'"***"' if word[2].startswith(b'"') else STARS)


def _mask_password(found: re.Match[bytes], cut: bool) -> bytes:
    """Mask what stands between the first colon after the scheme and the last ``@`` of a word."""
    word = found[0]
    scheme = _SCHEME.search(word)
    colon = word.find(b":", scheme.end()) if scheme else -1
    if scheme is None or colon < 0:
        return _mask_coded_password(word)
    at = word.rfind(b"@")
    if colon < at:
        return word[: colon + 1] + STARS + word[at:]
    if at >= 0 or scheme[1] is not None:
        return _mask_coded_password(word)
    # No "@": a port, or a password whose end is missing.
    is_last = cut and found.end() == len(found.string)
    if is_last or not _HOST_PORT.fullmatch(word, scheme.end()):
        return word[: colon + 1] + STARS
    return _mask_coded_password(word)


def _mask_coded_password(word: bytes) -> bytes:
    """The same for a URI that stands percent-encoded inside another one's headers."""
    if word.find(b"%") < 0:
        return word
    folded = word.lower()
    scheme = _CODED_SCHEME.search(folded)
    if scheme is None:
        return word
    colon, at = folded.find(b"%3a", scheme.end()), folded.rfind(b"%40")
    return word[: colon + 3] + STARS + (word[at:] if at > colon else b"") if colon >= 0 else word


def _open_encodings(text: bytes, cut: bool, depth: int) -> bytes:
    """Lay open what an encoding hides: compressed bodies go, quoted-printable is undone."""
    one_line = text.find(b"\n") < 0 and text.find(b"\r") < 0  # so it has no body
    if one_line and not depth:
        return text
    folded = text.lower()
    coded = None if one_line or not _may_be_coded(folded) else _CODED_BODY.search(text)
    if coded is not None:
        end = _END_OF_HEADERS.search(text, coded.end())
        if end is not None and end.end() < len(text):
            text = text[: end.end()] + STARS
    # Most often there is none, and folding a text costs less than a pattern that folds.
    is_quoted = depth and folded.find(b"quoted-printable") >= 0
    quoted = _QUOTED_PRINTABLE.search(text) if is_quoted else None
    if quoted is None:
        return text
    plain = binascii.a2b_qp(text[quoted.end() :])
    if _mask(plain, cut, 0) == plain:
        return text
    return text[: quoted.end()] + plain


def _mask_base64(run: bytes, depth: int) -> bytes:
    """Mask a base64 run that holds a secret; a signature or certificate stays as it is.

    Junk before the run may shift it, so all four alignments are read.
    """
    letters = _NOT_BASE64.sub(b"", run)
    plains = [
        binascii.a2b_base64(letters[shift : shift + (len(letters) - shift) // 4 * 4])
        for shift in range(4)
    ]
    if not _may_hide(b"\n".join(plains), depth - 1):  # one look at all four
        return run
    for plain in plains:
        if _mask(plain, True, depth - 1) != plain:
            return STARS
    return run


def _may_hide(text: bytes, depth: int) -> bool:
    """Whether anything in a text, or in a piece of it, could be masked; most often not."""
    folded = text.lower()
    for sign in _SIGNS:
        if folded.find(sign) >= 0:
            return True
    if _names_a_scheme(folded):
        return True
    if _may_be_coded(folded) and _CODED_BODY.search(text) is not None:
        return True
    if not depth:
        return False
    return _BASE64_RUN.search(text) is not None or _QUOTED_PRINTABLE.search(text) is not None


def _may_be_coded(folded: bytes) -> bool:
    """Whether there is what ``_CODED_BODY`` finds, or little more: its name, long or short."""
    return (
        folded.find(b"content-encoding") >= 0
        or folded[:1] == b"e"
        or folded.find(b"\ne") >= 0
        or folded.find(b"\re") >= 0
    )


def _names_a_scheme(folded: bytes) -> bool:
    """Whether there is what ``_SCHEME`` or ``_CODED_SCHEME`` finds, or little more."""
    return folded.find(b"sip") >= 0 or folded.find(b"://") >= 0


def _alike(one: bytes, other: bytes) -> int:
    """Return how many octets two texts have in common from the first on."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _grams(text: bytes) -> set[bytes]:
    return {text[at : at + _GRAM] for at in range(len(text) - _GRAM + 1)}


def _mask_traces(text: bytes, traces: frozenset[bytes]) -> bytes:
    if len(text) < _GRAM:
        return STARS if len(text) > 3 and any(text in trace for trace in traces) else text
    out = bytearray()
    hidden_until = 0
    for at in range(len(text)):
        if text[at : at + _GRAM] in traces:
            if at >= hidden_until:
                out += STARS
            hidden_until = at + _GRAM
        elif at >= hidden_until:
            out.append(text[at])
    return bytes(out)


# What to look for before a pattern is tried, the pattern, and what it leaves. In
# this order: the lines that know most about their secrets come first.
_Masked = bytes | Callable[[re.Match[bytes]], bytes]
_STEPS: Final[tuple[tuple[tuple[bytes, ...], re.Pattern[bytes], _Masked], ...]] = (
    ((b"crypto",), _CRYPTO_LINE, _mask_crypto),
    ((b"inline",), _INLINE, _mask_inline),
    ((b"k=", b"k ", b"k\t"), _KEY_LINE, rb"\1***"),
    ((b"key-mgmt", b"ice-pwd"), _KEY_ATTRIBUTE, rb"\1***"),
    ((b"key-mgmt%", b"ice-pwd%", b"mikey"), _KEY_WORD, rb"\1***"),
    ((b"authorization", b"authentication-info"), _SECRET_HEADER, _mask_credentials),
    (
        (b"passw", b"secret", b"token", b"apikey", b"api-key", b"cookie", b"credential"),
        _SECRET_NAME,
        rb"\1 ***",
    ),
    (
        (b"response", b"rspauth", b"auts", b"passw", b"pwd", b"access_token"),
        _SECRET_WORD,
        _mask_word,
    ),
)
_SIGNS: Final = tuple(sign for signs, _, _ in _STEPS for sign in signs)
_ANY_SIGN: Final = re.compile(b"|".join(re.escape(sign) for sign in _SIGNS))
