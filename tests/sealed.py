"""SRTP as the demo's SIPp scenarios agree on it, each packet once."""

from base64 import b64decode
from itertools import count

from srtp_sender import Sender

# As the scenarios have them; the second is what the caller changes to.
CALLER_KEY = "rWIB5FAyH87zhszagTJ+ZfjjCU7ED74dtq7ILK8m"
CALLER_RENEWED = "qOw69LyT7auzvdG/7jHAJhoNs90Nqy8vufzOk18w"
CALLEE_KEY = "JQqfTizsXHPk4fNk5diaZrZ6wJny90Or8uTYfPTL"

_INDICES = count(1)


def sealed(secret: str, ssrc: int, many: int) -> list[bytes]:
    """Return so many packets of the sender who has this key."""
    sender = Sender(b"AES_CM_128_HMAC_SHA1_80", b64decode(secret))
    return [sender.rtp(next(_INDICES), ssrc) for _ in range(many)]
