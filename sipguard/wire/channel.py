"""What carried a message beyond its ends: a secured connection, a zone, an IPsec tunnel."""

from typing import Final, NamedTuple


class Channel(NamedTuple):
    """What is known of the way that a message came, one value for all messages of a connection.

    ``tls_version`` is ``1.2`` or ``1.3``, empty in clear. ``tls_peer`` are the
    identities of the certificate that the sender of the message showed and that
    was verified (RFC 5922 section 7.1: URIs' hosts first, else DNS names), empty
    where none was. ``tls_failure`` says why a certificate that was shown is not
    valid. ``zone`` is the policy's name for where the message came from, and
    ``ipsec`` whether it came through IPsec, which proves a site and never a
    caller (IPS-1). ``connection`` tells connections apart; 0 over UDP.
    ``tls_client_valid`` is true of both directions where the client that opened the
    connection showed a certificate that was verified, whomever it names. ``ws_origin`` is
    the origin of the page that opened the WebSocket, as its browser says, in lower case.
    """

    tls_version: str = ""
    tls_peer: tuple[str, ...] = ()
    tls_failure: str = ""
    zone: str = ""
    ipsec: bool = False
    connection: int = 0
    tls_client_valid: bool = False
    ws_origin: str = ""


CLEAR: Final = Channel()
