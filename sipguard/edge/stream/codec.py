"""What stands between the octets of a connection and the messages on it."""

from collections.abc import Sequence
from typing import Protocol


class Codec(Protocol):
    """One end of one connection, without any input or output of its own.

    Octets of plain text in (TLS is below this), whole messages out, and back. A
    message is one SIP message or one keep-alive, to be judged before it goes on.
    """

    def begin(self) -> bytes:
        """Return what must be sent before anything is received, such as a handshake."""

    def receive(self, octets: bytes) -> Sequence[bytes]:
        """Take the next octets; return the messages that they complete.

        Raises:
            HostileInput: the framing is lost for good; ``reason`` and ``detail`` say how.
                The connection ends, and what came before it in the same octets is lost, too,
                unless :meth:`taken` has it.
        """

    def taken(self) -> Sequence[bytes]:
        """Return the messages that were complete when the framing was lost, once."""

    def encode(self, message: bytes) -> bytes:
        """Return the octets that carry *message* to the other end."""

    def answers(self) -> bytes:
        """Return what the framing itself has to say to the other end by now, once."""

    def end(self) -> bytes:
        """Return what says goodbye in this framing."""

    @property
    def held(self) -> int:
        """How many octets wait for the rest of their message."""
