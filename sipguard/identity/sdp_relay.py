"""A session description against its signed copy: the same, changed by a relay, or forged (SMI-35).

A media relay puts its own addresses and ports into a description and breaks no promise
that a caller's signature makes: the keys, codecs and directions stay his. Everything
else that differs is somebody's forgery.
"""

from typing import Final, NamedTuple

from sipguard.identity.shown import shown
from sipguard.wire.packet import parse_address

MAX_LINES: Final = 2000
# What tells where media goes, and nothing of what it is or with which key.
_RELAYED: Final = (
    *(b"o=", b"c=", b"a=rtcp:", b"a=candidate:", b"a=end-of-candidates", b"a=remote-candidates:"),
    *(b"a=ice-ufrag:", b"a=ice-pwd:", b"a=ice-options:", b"a=ice-lite", b"a=ice-mismatch"),
)
_SHOWN: Final = (b"o=", b"c=", b"m=", b"v=", b"s=", b"t=")  # no line that may hold a key
_CANDIDATE_ADDRESS: Final = 4  # foundation, component, transport, priority, address (RFC 8839)


class Change(NamedTuple):
    """How a description differs from the signed one.

    ``forged`` says what no relay may change, ``""`` where only addresses and ports
    differ; ``addresses`` are then the new ones, as they stand, and ``all_addresses``
    all that the description has.
    """

    forged: str
    addresses: frozenset[bytes] = frozenset()
    all_addresses: frozenset[bytes] = frozenset()


def compare_sdp(ours: bytes, signed: bytes) -> Change | None:
    """Return how *ours* differs from the description that was signed, None where it does not."""
    if ours == signed:
        return None
    our_lines, signed_lines = _lines(ours), _lines(signed)
    if max(len(our_lines), len(signed_lines)) > MAX_LINES:
        return Change("a session description too long to be compared")
    forged = _forged(_promised(our_lines), _promised(signed_lines))
    if forged:
        return Change(forged)
    addresses = _addresses(our_lines)
    return Change("", addresses - _addresses(signed_lines), addresses)


def address_octets(text: bytes) -> bytes | None:
    """Return the octets of an IP address in a description, None for a name."""
    return parse_address(text)


def _lines(sdp: bytes) -> list[bytes]:
    return sdp.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n", MAX_LINES)


def _promised(lines: list[bytes]) -> list[bytes]:
    """Return the lines without what a relay may change; their order counts."""
    return [
        _without_port(line) if line.startswith(b"m=") else line
        for line in lines
        if not line.startswith(_RELAYED)
    ]


def _without_port(line: bytes) -> bytes:
    """Port 0 refuses a stream and is no port (RFC 3264 section 6); a count stays, too."""
    pieces = line.split(b" ")
    if len(pieces) < 2:
        return line
    port, slash, count = pieces[1].partition(b"/")
    pieces[1] = (port if port.strip(b"0") == b"" else b"*") + slash + count
    return b" ".join(pieces)


def _forged(ours: list[bytes], signed: list[bytes]) -> str:
    for our, their in zip(ours, signed, strict=False):
        if our != their:
            return _says(our, their)
    if len(ours) != len(signed):
        more = ours[len(signed) :] or signed[len(ours) :]
        where = "only the message" if len(ours) > len(signed) else "only the signed copy"
        return f"{where} has the line {_line(more[0])}"
    return ""


def _says(ours: bytes, signed: bytes) -> str:
    if ours[:2] == signed[:2] and not ours.startswith(_SHOWN):
        return f"the line {_line(ours)} is not the signed one"
    return f"the message has the line {_line(ours)}, the signed copy {_line(signed)}"


def _line(line: bytes) -> str:
    """Show a line, of attributes the name alone: their values may be keys."""
    if line.startswith(_SHOWN):
        return shown(line)
    return shown(line.partition(b":")[0]) if line.startswith(b"a=") else shown(line[:2]) + "..."


def _addresses(lines: list[bytes]) -> frozenset[bytes]:
    """Return every address; where a line is malformed the line itself, which no relay has."""
    found = set()
    for line in lines:
        pieces = line.split(b" ")
        if line.startswith(b"c="):
            found.add(pieces[2].partition(b"/")[0] if len(pieces) == 3 else line)
        elif line.startswith(b"a=rtcp:"):
            if len(pieces) == 4:
                found.add(pieces[3])
            elif not line.removeprefix(b"a=rtcp:").isdigit():
                found.add(line)
        elif line.startswith(b"a=candidate:"):
            found.add(pieces[_CANDIDATE_ADDRESS] if len(pieces) > _CANDIDATE_ADDRESS else line)
    return frozenset(found)
