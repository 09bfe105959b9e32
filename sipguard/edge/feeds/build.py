"""From a ``feed`` line to what sends: files are read and sockets named here, nothing is opened."""

import os
import socket
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Final

from sipguard.edge.feeds.hep import has_message, packet_of
from sipguard.edge.feeds.outlet import DatagramOutlet, Datagrams, LineOutlet, Outlet, datagrams_to
from sipguard.edge.feeds.refused import RefusedOutlet
from sipguard.edge.feeds.stream import StreamReactor, SyslogStream
from sipguard.edge.feeds.syslog import (
    Sender,
    common_event,
    local_common_event,
    local_structured,
    sender_of,
    structured,
)
from sipguard.edge.feeds.webhook import Webhook
from sipguard.errors import EdgeError
from sipguard.journal.record import Record
from sipguard.policy.feeds import Feed

MAX_SECRET_OCTETS: Final = 4096
LEAST_SECRET_OCTETS: Final = 16


class Builder:
    """Makes the far end of any feed.

    Args:
        reactor: Twisted's, for feeds that keep a connection.
    """

    def __init__(self, reactor: StreamReactor) -> None:
        self._reactor = reactor
        self._sender = sender_of(socket.gethostname(), os.getpid(), version("sipguard"))

    def __call__(self, feed: Feed) -> Outlet:
        """Return the far end.

        Raises:
            EdgeError: A file that the line names is no good.
        """
        match feed.kind:
            case "json":
                return LineOutlet(Path(feed.target), Record.to_line)
            case "fail2ban":
                return RefusedOutlet(Path(feed.target))
            case "hep":
                return self._hep(feed)
            case "syslog":
                return self._syslog(feed)
            case _:
                return self._webhook(feed)

    def _hep(self, feed: Feed) -> Outlet:
        key = _secret(feed, least=1) if feed.secret else b""

        def packet(record: Record) -> bytes:
            return packet_of(record, feed.capture_id, key)

        return DatagramOutlet(datagrams_to(feed.target, feed.port), packet, has_message)

    def _syslog(self, feed: Feed) -> Outlet:
        if feed.to == "local":
            write = _written_by(local_common_event if feed.cef else local_structured, self._sender)
            return DatagramOutlet(Datagrams(socket.AF_UNIX, feed.target), write)
        write = _written_by(common_event if feed.cef else structured, self._sender)
        if feed.to == "tcp":
            return SyslogStream(feed.target, feed.port, write, self._reactor)
        return DatagramOutlet(datagrams_to(feed.target, feed.port), write)

    def _webhook(self, feed: Feed) -> Outlet:
        authority = _read(feed, feed.authority) if feed.authority else b""
        try:
            return Webhook(
                feed.target, _secret(feed, least=LEAST_SECRET_OCTETS), authority, self._reactor
            )
        except ValueError as error:
            raise EdgeError(f"{feed.place}: {feed.authority}: {error}") from None


def _written_by(
    write: Callable[[Record, Sender], bytes], sender: Sender
) -> Callable[[Record], bytes]:
    return lambda record: write(record, sender)


def _secret(feed: Feed, least: int) -> bytes:
    octets = _read(feed, feed.secret).strip()
    if not least <= len(octets) <= MAX_SECRET_OCTETS:
        allowed = f"{least} to {MAX_SECRET_OCTETS} octets"
        raise EdgeError(f"{feed.place}: {feed.secret} must hold a secret of {allowed}")
    return octets


def _read(feed: Feed, name: str) -> bytes:
    try:
        with Path(name).open("rb") as stream:
            return stream.read(1 << 20)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise EdgeError(f"{feed.place}: cannot read {name}: {why}") from None
