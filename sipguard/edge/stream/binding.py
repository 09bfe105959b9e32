"""What differs between SIP over TCP, over TLS and over WebSocket: one value for each kind.

A new kind is a :class:`Binding`, a diversion in ``edge/from_policy.py`` with the same
``kind``, and its entry in ``StreamGate``. Nothing else knows of kinds. What happens when:

1. A connection is accepted and within the limits. Its outermost factory is
   ``Admission``; inside stands what ``listening`` returns for the factory that makes
   :class:`~sipguard.edge.stream.leg.Leg`\\ s. **TLS**: return ``TLSMemoryBIOFactory(options,
   False, factory)``. The leg implements ``IHandshakeListener``.
2. With ``is_secured``, the leg stands at ``handshakeCompleted``, else at once. Then
   ``channel`` is asked (**TLS**: version, verified names of the peer's certificate); where it
   raises ``HostileInput``, that is recorded and the connection ends. Then
   what the codec says at ``begin`` is sent.
3. The client's octets go into its codec, until ``is_open`` says that the onward connection
   may be made (**WebSocket**: once the opening handshake was read and is a good one; what it
   says back leaves by ``Codec.answers``). For TCP and TLS that is at once. From then on
   the client is not read until the onward connection stands. Before that, ``objection`` is
   asked whether the policy has any (**WebSocket**: to the page's origin).
4. The onward connection is made, from the client's address and, if it is free, port.
   ``onward`` wraps the factory (**TLS**: ``TLSMemoryBIOFactory(creator, True, factory)``; the
   client's leg is there for its SNI: ``leg.wire``). It stands as in 2.
   ``server_codec`` gets the client's codec (**WebSocket**: path, host and origin to ask for).
   Whenever something came from one end, both codecs are asked for their ``answers``: what
   the server says to the handshake is what the client is told.
5. Messages are judged, both ways, as ``kind``, with the channel of the leg that they came by.
6. A leg that is lost before it stands, or by an error, is asked about by ``explain`` (**TLS**:
   a failed handshake, a certificate that does not verify); its finding is recorded, with the
   client's addresses, and the connection ends.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import ClientFactory, Factory
from twisted.python.failure import Failure

from sipguard.edge.stream.codec import Codec
from sipguard.reason import Finding
from sipguard.wire.channel import CLEAR, Channel

if TYPE_CHECKING:
    from sipguard.edge.stream.leg import Leg


FIRST_S: Final = 30.0  # a connection whose first message was not accepted by then is nobody's


def _listening(factory: Factory) -> IProtocolFactory:
    return factory  # type: ignore[return-value] # an interface of zope's


def _onward(factory: ClientFactory, _client: "Leg") -> ClientFactory:
    return factory


def _clear(_leg: "Leg") -> Channel:
    return CLEAR


def _always(_client: Codec) -> bool:
    return True


def _nothing(_leg: "Leg", _reason: Failure) -> Finding | None:
    return None


def _never(_codec: Codec) -> bool:
    return False


def _no_objection(_client: Codec) -> Finding | None:
    return None


def _no_origin(_client: Codec) -> str:
    return ""


def _soon(_client: Codec) -> float:
    return FIRST_S


@dataclass(frozen=True, slots=True)
class Binding:
    """One kind of connection; see the module for what is called when.

    ``passes_raw`` says that in shadow mode, what cannot be framed any more may go on as it came;
    ``says_why``, that a connection that we end is closed with a word in its framing, not reset.
    ``has_ended`` tells whether a codec's peer has said goodbye in its framing: nothing more comes.
    ``origin`` is what the client's codec knows of the page that opened the connection.
    ``first_s`` tells within how many seconds a message must be accepted, while there is room
    for connections enough; ``FIRST_S`` where there is not.
    """

    kind: str
    client_codec: Callable[[], Codec]
    server_codec: Callable[[Codec], Codec]
    is_secured: bool = False
    listening: Callable[[Factory], IProtocolFactory] = _listening
    onward: Callable[[ClientFactory, "Leg"], ClientFactory] = _onward
    channel: Callable[["Leg"], Channel] = _clear
    is_open: Callable[[Codec], bool] = _always
    explain: Callable[["Leg", Failure], Finding | None] = _nothing
    passes_raw: bool = True
    says_why: bool = False
    has_ended: Callable[[Codec], bool] = _never
    objection: Callable[[Codec], Finding | None] = _no_objection
    origin: Callable[[Codec], str] = _no_origin
    first_s: Callable[[Codec], float] = _soon
