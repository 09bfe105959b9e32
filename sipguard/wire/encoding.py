"""Transfer encodings of body parts (RFC 2045 section 6; SIP-55)."""

import binascii
import quopri
from typing import Final

from sipguard.errors import HostileInput
from sipguard.reason import Reason

_PLAIN: Final = frozenset({b"", b"binary", b"8bit", b"7bit"})


def undo_encoding(content: bytes, encoding: bytes, packed: bytes = b"") -> bytes:
    """Return the octets that *content* stands for; SIP's own default is no encoding.

    Args:
        content: The content of one part.
        encoding: Its Content-Transfer-Encoding, empty where absent.
        packed: Its Content-Encoding, empty where absent; nothing packed is read.

    Raises:
        HostileInput: ``CONTENT_ENCODING`` for an encoding that is not read, or broken.
    """
    if packed.lower() in (b"", b"identity"):
        encoding = encoding.lower()
        if encoding in _PLAIN:
            return content
        if encoding == b"base64":
            return _from_base64(content)
        if encoding == b"quoted-printable":
            return quopri.decodestring(content)
    raise HostileInput(Reason.CONTENT_ENCODING, "a part in an encoding that is not read")


def _from_base64(content: bytes) -> bytes:
    try:
        return binascii.a2b_base64(content.translate(None, b"\r\n\t "), strict_mode=True)
    except binascii.Error:
        raise HostileInput(Reason.CONTENT_ENCODING, "base64 that does not decode") from None
