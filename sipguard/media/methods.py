"""The keying methods by the words that policies and records have for them."""

from typing import Final

DTLS: Final = b"dtls"  # RFC 5763, 5764
MIKEY: Final = b"mikey"  # RFC 3830, 4567
SDES: Final = b"sdes"  # RFC 4568
ZRTP: Final = b"zrtp"  # RFC 6189
