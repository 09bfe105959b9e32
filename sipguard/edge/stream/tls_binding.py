"""A kind of connection over TLS: what is in clear otherwise, between two handshakes.

The client's leg says whom it wants to reach and whether it speaks ``sip/2``; the onward
leg asks for the same. Requests that come backwards over a client's connection (RFC 5923,
RFC 5626) need nothing of their own: ``tls.peer`` of them is the server's.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from OpenSSL import SSL
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import ClientFactory, Factory
from twisted.python.failure import Failure

from sipguard.edge.stream.binding import Binding
from sipguard.edge.stream.tls import Tls, TlsLine
from sipguard.edge.stream.tls_contexts import Wanted
from sipguard.errors import HostileInput
from sipguard.reason import Finding, Reason
from sipguard.wire.channel import Channel

if TYPE_CHECKING:
    from sipguard.edge.stream.leg import Leg

_NO_LINE: Final = "there is no TLS below it"  # a fault of ours


def over_tls(kind: str, clear: Binding, tls: Tls, *, for_browsers: bool = False) -> Binding:
    """Return the binding *kind*: what *clear* does, over TLS.

    *for_browsers*: certificates that are optional are not asked for.
    """

    def listening(factory: Factory) -> IProtocolFactory:
        return tls.listening(factory, for_browsers)  # type: ignore[arg-type,return-value] # zope's

    def onward(factory: ClientFactory, client: "Leg") -> ClientFactory:
        return tls.onward(factory, wanted_by(client))  # type: ignore[arg-type,return-value] # zope's

    return replace(
        clear,
        kind=kind,
        is_secured=True,
        listening=listening,
        onward=onward,
        channel=channel_of,
        explain=explain,
    )


def wanted_by(client: "Leg") -> Wanted:
    """Return whom a client wants to reach."""
    line, packet = _line(client), client.packet
    return Wanted(packet.dst, packet.dport, line.asked_for, line.speaks_sip)


def channel_of(leg: "Leg") -> Channel:
    """Return what is known of the peer of a leg whose handshake is done.

    Raises:
        HostileInput: it is not one to speak with.
    """
    channel = _line(leg).secured()
    if leg.is_client:
        return channel
    client = leg.conversation.client.packet.channel
    return channel._replace(tls_client_valid=client.tls_client_valid)


def explain(leg: "Leg", reason: Failure) -> Finding | None:
    """Return why a leg's TLS failed, None where it did not.

    A client that closes without a word is no news: so do those that only look whether
    somebody listens.
    """
    line = _line(leg)
    if line.stands:
        return line.broken_by(reason) if isinstance(reason.value, SSL.Error) else None
    return None if line.was_silent else line.finding


def _line(leg: "Leg") -> TlsLine:
    line = leg.wire
    if not isinstance(line, TlsLine):
        raise HostileInput(Reason.INTERNAL_ERROR, _NO_LINE)
    return line
