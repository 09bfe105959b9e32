"""What framing reads of a message's head: where it ends, and its Content-Length.

RFC 3261 section 18.3 lets Content-Length alone say where the next message begins.
Names are read as wire.rows reads them: the compact form, blanks before the colon,
folded lines (SIP-10, SIP-11). A test holds that both see the same.
"""

import re
from typing import Final

MAX_MESSAGE_OCTETS: Final = 65_536  # as over UDP; larger ones are not framed
MAX_START_LINE_OCTETS: Final = 8_192

# A break before the colon is wrong (SIP-10), but wire.sip joins it, and so do others.
_CONTENT_LENGTH: Final = re.compile(
    rb"\n(?:content-length|l)(?:[ \t]|\r\n[ \t])*:([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)(?=\r\n)",
    re.IGNORECASE,
)


def content_lengths(head: bytes) -> list[bytes]:
    """Return the value of every Content-Length in *head*, unfolded, in order.

    *head* ends with its empty line, and each of its lines with CR LF.
    """
    return [value.replace(b"\r\n", b"").strip(b" \t") for value in _CONTENT_LENGTH.findall(head)]
