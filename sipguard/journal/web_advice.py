"""What the admin can do where a WebSocket fails, in the policy's own words."""

from collections.abc import Mapping
from typing import Final

from sipguard.reason import Reason

BY_WEB: Final[Mapping[Reason, str]] = {
    Reason.WS_NOT_HTTP: (
        "Something else than a WebSocket comes to a port of ws-ports or wss-ports; SIP over TCP "
        "belongs to sip-ports, and TLS to wss-ports or tls-ports."
    ),
    Reason.WS_NO_UPGRADE: (
        "If web pages come from this port as well, give SIP over WebSocket a port of its own: "
        "ws-ports and wss-ports carry nothing else."
    ),
    Reason.WS_BAD_HANDSHAKE: (
        "A proxy between the browser and this gateway may not know WebSocket; look whether it "
        "passes Upgrade and Connection on."
    ),
    Reason.WS_SUBPROTOCOL: (
        "The client or the server speaks something else in its WebSocket than SIP (RFC 7118): "
        "look at the address that the page connects to."
    ),
    Reason.WS_ORIGIN: "If this page is yours, add its origin to ws-origins.",
    Reason.WS_REFUSED: (
        "Look at the server's own log; it wants another path, Host or Origin, or a cookie."
    ),
    Reason.WS_FRAMING: "A broken program, or an attack on the server behind this gateway.",
    Reason.WS_NOT_UTF8: (
        "Update this program: what is no UTF-8 may go in a binary message (RFC 7118 section 5)."
    ),
    Reason.WS_TOO_LARGE: "No SIP message is that large; the page sends something else.",
}
