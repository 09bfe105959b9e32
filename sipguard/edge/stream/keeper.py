"""What a conversation asks of whoever keeps it: the gate, or a test."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.internet.protocol import ClientFactory

from sipguard.edge.stream.leg import Leg, Passage
from sipguard.reason import Finding
from sipguard.wire.channel import Channel
from sipguard.wire.packet import Packet

if TYPE_CHECKING:
    from sipguard.edge.stream.conversation import Conversation


class Attempt(Protocol):
    """An onward connection in the making."""

    def cancel(self) -> None:
        """Give it up, silently."""


class Keeper(Protocol):
    """What a conversation asks of whoever keeps it."""

    @property
    def is_shadow(self) -> bool:
        """Whether nothing is ever dropped."""

    @property
    def idle_s(self) -> float:
        """How long a connection may be silent."""

    @property
    def has_room(self) -> bool:
        """Whether most of the connections that may be are not taken."""

    def now_s(self) -> float:
        """Return the time, in monotonic seconds."""

    def later(self, work: Callable[[], None]) -> None:
        """Call *work* in the reactor's next turn."""

    def interface_of(self, leg: Leg) -> str:
        """Return the interface that an end's packets come in by, empty where nobody knows."""

    def channel_by(self, interface: str, zone: int) -> Channel:
        """Return the zone, and whether it is IPsec's, of what comes in by an interface.

        *zone* is the number of an IPsec zone, 0 for none.
        """

    def is_diverted(self, kind: str, port: int) -> bool:
        """Whether connections to *port* come to us by our rules."""

    def connect(
        self, conversation: "Conversation", factory: ClientFactory, client: Packet
    ) -> Attempt:
        """Connect to where *client* wanted to, in its name.

        ``conversation.unreachable`` is called where that fails.
        """

    def judge(self, passage: Passage) -> None:
        """Have a message judged, now or later."""

    def unavailable(self, packet: Packet) -> bytes:
        """Return our answer to a request that there is no server for; maybe nothing."""

    def refused(self, packet: Packet, finding: Finding) -> None:
        """Record that a connection ends, and why."""

    def finished(self, conversation: "Conversation") -> None:
        """Both ends are gone."""
