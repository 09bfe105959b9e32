"""SIP, SIPS, tel and other URIs: strict reading, comparison, identity key (RFC 3261 section 19.1).

One reading only: a raw ``@`` twice, a host that is neither a name nor an address in
plain form, or a ``%`` that starts no escape is refused rather than guessed (SIP-36).
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.packet import parse_address
from sipguard.wire.reader import MAX_PARAMS, Params

MAX_CACHED_OCTETS: Final = 128  # longer URIs are parsed each time, which bounds the cache's memory

_ESCAPED: Final = rb"%[0-9A-Fa-f]{2}"
_UNRESERVED: Final = rb"A-Za-z0-9\-_.!~*'()"
# Every loop is possessive: where a piece fails it fails at once, so matching is linear.
# Possessive sets, but no possessive groups: those are broken before Python 3.11.5 (Debian 12
# has 3.11.2). The sets make every group match in one way only, so it stays linear.
_SIP: Final = re.compile(
    rb"(?:((?:[" + _UNRESERVED + rb"&=+$,;?/]++|" + _ESCAPED + rb")+)"
    rb"(?::((?:[" + _UNRESERVED + rb"&=+$,]++|" + _ESCAPED + rb")*))?@)?"
    rb"(\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9.\-]++)(?::([0-9]{1,5}))?"
    rb"((?:;(?:[" + _UNRESERVED + rb"\[\]/:&+$]++|" + _ESCAPED + rb")+"
    rb"(?:=(?:[" + _UNRESERVED + rb"\[\]/:&+$]++|" + _ESCAPED + rb")+)?)*)"
    rb"(?:\?((?:[" + _UNRESERVED + rb"\[\]/?:+$=&]++|" + _ESCAPED + rb")+))?"
)
_TEL: Final = re.compile(
    rb"(\+[0-9\-.()]++|[0-9A-Fa-f*#\-.()]++)"
    rb"((?:;[A-Za-z0-9\-]++(?:=(?:[" + _UNRESERVED + rb"\[\]/:&+$]++|" + _ESCAPED + rb")+)?)*)"
)
_ABSOLUTE: Final = re.compile(rb"(?:[" + _UNRESERVED + rb";/?:@&=+$,]++|" + _ESCAPED + rb")+")
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*+")
_HEADER: Final = re.compile(rb"[^=&]++=[^=&]*+")
# The top label starts with a letter, which keeps "1.2.3" and "127.1" from being names.
_TOP_LABEL: Final = re.compile(rb"[A-Za-z]")
_DECODABLE: Final = re.compile(_ESCAPED)
_UNRESERVED_OCTET: Final = re.compile(rb"[" + _UNRESERVED + rb"]")
# RFC 3261 section 19.1.4: these never match when only one side states them.
_TELLING_PARAMS: Final = (b"user", b"ttl", b"method", b"maddr", b"transport")
_VISUAL_SEPARATORS: Final = b"-.()"


class Uri(NamedTuple):
    """One URI, read but not decoded; of schemes other than sip, sips, tel only scheme and raw."""

    scheme: bytes  # lower case
    user: bytes = b""
    password: bytes = b""
    host: bytes = b""  # lower case, IPv6 without brackets
    port: int = 0  # 0: none stated
    params: Params = ()  # names lower case, values raw
    headers: bytes = b""
    raw: bytes = b""

    def param(self, name: bytes) -> bytes | None:
        """Return the value of a parameter (``b""`` if it has none), ``None`` if absent."""
        for key, value in self.params:
            if key == name:
                return value
        return None


def parse_uri(raw: bytes) -> Uri:
    """Return the URI in *raw*, which holds nothing else, no blanks and no brackets.

    Raises:
        HostileInput: ``BAD_URI``, or ``DUPLICATE_PARAMETER`` where a parameter stands
            twice with different values. Equal repetition is borne: Linphone's stack
            writes ``;transport=tcp;transport=tcp``.
    """
    return _cached_uri(raw) if len(raw) <= MAX_CACHED_OCTETS else _parse_uri(raw)


def _parse_uri(raw: bytes) -> Uri:
    scheme, colon, rest = raw.partition(b":")
    scheme = scheme.lower()
    if scheme in (b"sip", b"sips"):
        return _parse_sip(scheme, rest, raw)
    if not colon or _SCHEME.fullmatch(scheme) is None:
        raise HostileInput(Reason.BAD_URI, "no URI scheme", raw)
    if scheme == b"tel":
        return _parse_tel(rest, raw)
    if _ABSOLUTE.fullmatch(rest) is None:
        raise HostileInput(Reason.BAD_URI, "an octet that no URI may hold", raw)
    return Uri(scheme, raw=raw)


_cached_uri = lru_cache(maxsize=4096)(_parse_uri)


def _parse_sip(scheme: bytes, rest: bytes, raw: bytes) -> Uri:
    match = _SIP.fullmatch(rest)
    if match is None:
        raise HostileInput(Reason.BAD_URI, "not the form of a SIP URI", raw)
    user, password, host, port, params, headers = match.groups()
    if headers is not None:
        _check_headers(headers, raw)
    return Uri(
        scheme,
        user or b"",
        password or b"",
        parse_host(host),
        _read_port(port, raw),
        _read_uri_params(params) if params else (),
        headers or b"",
        raw,
    )


def _check_headers(headers: bytes, raw: bytes) -> None:
    if not all(_HEADER.fullmatch(header) for header in headers.split(b"&")):
        raise HostileInput(Reason.BAD_URI, "URI headers that are not name=value", raw)


def _read_port(port: bytes | None, raw: bytes) -> int:
    number = int(port) if port else 0
    if number > 65535:
        raise HostileInput(Reason.BAD_URI, "a port above 65535", raw)
    return number


def _parse_tel(rest: bytes, raw: bytes) -> Uri:
    match = _TEL.fullmatch(rest)
    if match is None:
        raise HostileInput(Reason.BAD_URI, "not the form of a tel URI", raw)
    return Uri(b"tel", match[1], params=_read_uri_params(match[2]) if match[2] else (), raw=raw)


def _read_uri_params(text: bytes) -> Params:
    pairs = text.split(b";")[1:]  # the text starts with its first semicolon
    if len(pairs) > MAX_PARAMS:
        raise HostileInput(Reason.BAD_URI, "more URI parameters than sipguard reads")
    params: dict[bytes, bytes] = {}
    for pair in pairs:
        name, _, value = pair.partition(b"=")
        name = name.lower()
        if params.setdefault(name, value).lower() != value.lower():
            raise HostileInput(Reason.DUPLICATE_PARAMETER, "a URI parameter with two values", text)
    return tuple(params.items())


@lru_cache(maxsize=4096)
def _cached_host(host: bytes) -> bytes:
    return _parse_host(host)


def parse_host(host: bytes) -> bytes:
    """Return a host in lower case, IPv6 without its brackets.

    Raises:
        HostileInput: ``BAD_URI`` if it is neither a host name, nor a dotted quad without
            leading zeros, nor an IPv6 address in brackets.
    """
    return _cached_host(host) if len(host) <= MAX_CACHED_OCTETS else _parse_host(host)


def _parse_host(host: bytes) -> bytes:
    if host.startswith(b"[") and host.endswith(b"]"):
        return _parse_ipv6(host[1:-1].lower(), host)
    labels = host.removesuffix(b".").split(b".")
    top = labels[-1]
    if _TOP_LABEL.match(top) is None:
        if parse_address(host) is None or b":" in host:
            raise HostileInput(Reason.BAD_URI, "a host that is neither name nor address", host)
        return host
    if not all(_is_label(label) for label in labels):
        raise HostileInput(Reason.BAD_URI, "a host name with a malformed label", host)
    return host.lower()


def _is_label(label: bytes) -> bool:
    """Letters, digits and inner hyphens (RFC 3261 section 25.1, domainlabel)."""
    return label.replace(b"-", b"0").isalnum() and label[:1] != b"-" and label[-1:] != b"-"


def _parse_ipv6(text: bytes, host: bytes) -> bytes:
    if b"." in text:
        # RFC 3261's own grammar derives ":::" before an IPv4 tail (RFC 5118 section 4.10,
        # corrected by RFC 5954); there is only one way to read it.
        text = text.replace(b":::", b"::")
    address = parse_address(text)
    if address is None or len(address) != 16:
        raise HostileInput(Reason.BAD_URI, "not an IPv6 address in the brackets", host)
    return text


def uri_equal(a: Uri, b: Uri) -> bool:
    """Compare two URIs as RFC 3261 section 19.1.4 does; not transitive, so no key for a table."""
    if a.scheme != b.scheme:
        return False
    if a.scheme not in (b"sip", b"sips"):
        return _same_other(a, b)
    if _plain(a.user) != _plain(b.user) or _plain(a.password) != _plain(b.password):
        return False
    if _host_key(a.host) != _host_key(b.host) or a.port != b.port:
        return False
    return _same_params(a, b) and _header_set(a.headers) == _header_set(b.headers)


def _same_other(a: Uri, b: Uri) -> bool:
    if a.scheme != b"tel":
        return a.raw.partition(b":")[2] == b.raw.partition(b":")[2]
    ours = {name: value.lower() for name, value in a.params}
    return aor_key(a) == aor_key(b) and ours == {name: value.lower() for name, value in b.params}


def _same_params(a: Uri, b: Uri) -> bool:
    ours = {_plain(name).lower(): _plain(value).lower() for name, value in a.params}
    theirs = {_plain(name).lower(): _plain(value).lower() for name, value in b.params}
    if any(ours[name] != theirs[name] for name in ours.keys() & theirs.keys()):
        return False
    return not any((name in ours) != (name in theirs) for name in _TELLING_PARAMS)


def _header_set(headers: bytes) -> set[tuple[bytes, bytes]]:
    pairs = (header.partition(b"=") for header in headers.split(b"&") if header)
    return {(_plain(name).lower(), _plain(value)) for name, _, value in pairs}


def _host_key(host: bytes) -> bytes:
    """IP literals compare by value, not by spelling (RFC 5954 section 4.2)."""
    return parse_address(host) or host if b":" in host else host


def _plain(text: bytes) -> bytes:
    """Undo escapes of unreserved octets, which mean the same; other escapes stay, upper case."""
    if b"%" not in text:
        return text
    return _DECODABLE.sub(_decode_unreserved, text)


def _decode_unreserved(match: re.Match[bytes]) -> bytes:
    octet = _decode(match)
    return octet if _UNRESERVED_OCTET.match(octet) else match.group().upper()


def aor_key(uri: Uri) -> bytes:
    """Return scheme, decoded user and host as one key for "the same person" questions.

    Port, parameters and URI headers do not count; the user's case does (SIP-37). A host
    never holds ``@``, so the last one ends the user even if the decoded user has some.
    """
    if uri.scheme == b"tel":
        return b"tel:" + uri.user.translate(None, _VISUAL_SEPARATORS).lower()
    if uri.scheme not in (b"sip", b"sips"):
        return uri.raw
    user = _DECODABLE.sub(_decode, uri.user) if b"%" in uri.user else uri.user
    return uri.scheme + b":" + user + b"@" + uri.host if user else uri.scheme + b":" + uri.host


def _decode(match: re.Match[bytes]) -> bytes:
    return bytes((int(match.group()[1:], 16),))
