"""How long a registration wants its connection kept (RFC 5626 section 5.3)."""

import re
from typing import Final

DAY_S: Final = 86_400.0

# A header's value by one of its names, in a message that was accepted.
_REGISTERED: Final = re.compile(rb"\nCSeq[ \t]*:[ \t]*[0-9]+[ \t]+REGISTER\b", re.IGNORECASE)
_FLOW_TIMER: Final = re.compile(rb"\nFlow-Timer[ \t]*:[ \t]*([0-9]{1,6})", re.IGNORECASE)
_EXPIRES: Final = re.compile(
    rb"(?:\nExpires[ \t]*:[ \t]*|;[ \t]*expires[ \t]*=[ \t]*)([0-9]{1,6})", re.IGNORECASE
)
_FLOW_GRACE_S: Final = 30.0


def kept_s(response: bytes) -> float | None:
    """Return for how many seconds, a day at most; ``None`` where nothing was registered."""
    if not response.startswith(b"SIP/2.0 2") or not _REGISTERED.search(response):
        return None
    times = [float(found) for found in _EXPIRES.findall(response)]
    flow = _FLOW_TIMER.search(response)
    if flow is not None:
        times.append(float(flow[1]) + _FLOW_GRACE_S)
    return min(max(times, default=0.0), DAY_S)
