"""SIP over TLS: where the TLS of both legs ends, and what is known of who is behind it.

The client's handshake comes first, because it says whom the client wants to reach (SNI).
Only then the onward connection is opened and secured in turn, and only when the server
has proven that it is that one (RFC 5922 section 7.3, TLS-20), messages go on.
"""

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from OpenSSL import SSL
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    ITransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer  # type: ignore[import-untyped] # it ships no types

from sipguard.edge.clock import Alarm, Clock
from sipguard.edge.stream.sockets import Prompt
from sipguard.edge.stream.tls_contexts import ALPN, RENEW_S, Ends, Wanted, asked_name
from sipguard.edge.stream.tls_credentials import Credentials
from sipguard.edge.stream.tls_failures import FIRST_OCTETS, failure_of
from sipguard.edge.stream.tls_judging import Judged
from sipguard.errors import HostileInput
from sipguard.policy.tls import TlsTerms
from sipguard.reason import Finding, Reason
from sipguard.wire.channel import Channel

HANDSHAKE_S: Final = 10.0  # a telephone on the other side of the world needs one
LINGER_S: Final = 5.0  # for the peer to say goodbye as well
MAX_HANDSHAKES: Final = 2000  # in progress; beyond it new ones are refused
_VERSIONS: Final = {"TLSv1.2": "1.2", "TLSv1.3": "1.3"}
_UNVERIFIED: Final = "the policy does not verify servers"


class Tls:
    """TLS as the policy in force wants it, and the counts of what failed.

    ``failed`` counts by reason. ``handshakes`` are in progress.
    """

    def __init__(self, clock: Clock, utc_s: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._utc_s = utc_s
        self._ends: Ends | None = None
        self._made_of: Callable[[], Ends] | None = None
        self.handshakes = 0
        self.done = 0
        self.failed: Counter[Reason] = Counter()

    def use(self, credentials: Credentials, terms: TlsTerms) -> None:
        """Take new certificates and terms for connections to come; those that stand live on."""
        self._made_of = partial(Ends, credentials, terms, self._utc_s) if credentials.own else None
        self._ends = self._made_of() if self._made_of is not None else None

    def renew(self) -> None:
        """Change the keys that session tickets are sealed with, once a day."""
        ends = self._ends
        if ends is None or self._made_of is None:
            return
        if self._utc_s() - ends.made_s > RENEW_S:
            self._ends = self._made_of()

    @property
    def ends(self) -> Ends:
        """What new connections begin with.

        Raises:
            ValueError: the policy names no certificate.
        """
        if self._ends is None:
            raise ValueError("no certificate of our own")
        return self._ends

    def listening(self, factory: Factory[Protocol], for_browsers: bool = False) -> "TlsFactory":
        """Return *factory* with TLS around what it makes, for connections that clients open."""
        return TlsFactory(self, factory, None, self._clock, for_browsers)

    def onward(self, factory: Factory[Protocol], wanted: Wanted) -> "TlsFactory":
        """Return *factory* with TLS around what it makes, for a connection to a server."""
        return TlsFactory(self, factory, wanted, self._clock)


class TlsLine(TLSMemoryBIOProtocol, Judged):
    """The TLS of one leg: the transport that the leg sees.

    ``finding`` is why there is no connection, once there is none.
    """

    loseWriteConnection = None  # half of a TLS connection cannot be closed

    def __init__(self, factory: "TlsFactory", wrapped: IProtocol) -> None:
        super().__init__(factory, wrapped)  # type: ignore[no-untyped-call] # Twisted
        self.tls: Final = factory.tls
        self.wanted: Final = factory.wanted
        self.ends: Final = factory.tls.ends
        self._for_browsers: Final = factory.for_browsers
        self.finding: Finding | None = None
        self.stands = False
        self._first = b""
        self._has_kept = False  # the session with a server
        self._handle: SSL.Connection | None = None
        self._clock = factory.clock
        self._deadline: Alarm | None = None

    @property
    def is_client(self) -> bool:
        """Whether the peer is the client."""
        return self.wanted is None

    # --- while it comes about

    def made(self) -> SSL.Connection:
        """Return our end of it, as OpenSSL has it."""
        if self.wanted is None:
            self._handle, self.judging = self.ends.accept(self._for_browsers)
        else:
            self._handle, self.judging = self.ends.connect(self.wanted)
        self._handle.set_app_data(self)
        return self._handle

    def makeConnection(self, transport: ITransport) -> None:
        """Begin the handshake; it must be over in time, and there must not be too many."""
        self.tls.handshakes += 1
        self._deadline = self._clock.callLater(HANDSHAKE_S, self._too_late)
        super().makeConnection(transport)  # type: ignore[no-untyped-call] # Twisted
        if self.tls.handshakes > MAX_HANDSHAKES and self.is_client:
            what = f"{MAX_HANDSHAKES} others are in progress"
            self._refuse(Finding(Reason.TLS_BUSY, what))

    def dataReceived(self, data: bytes) -> None:
        """Keep the first octets: they tell TLS 1.0 from garbage, should it fail.

        What is said to that leaves together: the end of a handshake, and the first message.
        """
        if not self._first:
            self._first = data[:FIRST_OCTETS]
        below, stood = self.transport, self.stands
        if isinstance(below, Prompt):
            below.cork()
        try:
            super().dataReceived(data)  # type: ignore[no-untyped-call] # Twisted
        finally:
            if isinstance(below, Prompt):
                below.uncork()
        if stood and self.wanted is not None and not self._has_kept:
            # TLS 1.3 tells what resumes a session right behind the handshake; the next
            # connection to this server need not wait until this one ends.
            self._keep_session()

    def _too_late(self) -> None:
        self._deadline = None
        who = "the client" if self.is_client else "the server"
        what = f"{who} did not finish the handshake in {HANDSHAKE_S:.0f} s"
        self._refuse(Finding(Reason.TLS_TIMEOUT, what))

    def _refuse(self, finding: Finding) -> None:
        self.finding = finding
        self.abortConnection()  # type: ignore[no-untyped-call] # Twisted

    def _came_about(self) -> None:
        self.stands = True
        self.tls.handshakes -= 1
        self.tls.done += 1
        self._in_time()

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # --- once it stands

    def secured(self) -> Channel:
        """Return what is known of the peer, now that the handshake is done.

        Raises:
            HostileInput: it is not one to speak with; the connection must end.
        """
        handle, judging = self._handle, self.judging
        if handle is None or not self._holds(handle):
            raise self._refused()
        self._came_about()
        found = judging.finding
        peer = judging.peer
        failure = found.detail or found.reason.sentence if found else ""
        if not self.is_client and peer is None:
            failure = failure or _UNVERIFIED
        version = handle.get_protocol_version_name()
        return Channel(
            tls_version=_VERSIONS.get(version, version),
            tls_peer=peer.identities if peer is not None else (),
            tls_failure=failure,
            tls_client_valid=self.is_client and peer is not None,
        )

    def _holds(self, handle: SSL.Connection) -> bool:
        if self.is_client:
            return self.ends.client_stands(handle, self.judging)
        return self.ends.server_stands(self.judging)

    def _refused(self) -> HostileInput:
        """Name the cause; only a resumed session can come so far without standing."""
        self.finding = self.judging.finding or Finding(
            Reason.TLS_NO_CERTIFICATE, "the resumed session has no certificate that is valid"
        )
        return HostileInput(self.finding.reason, self.finding.detail, self.finding.octets)

    @property
    def asked_for(self) -> bytes:
        """The name that the client asked for."""
        return b"" if self._handle is None else asked_name(self._handle)

    @property
    def speaks_sip(self) -> bool:
        """Whether SIP was agreed on as the protocol (ALPN)."""
        return bool(self.negotiatedProtocol == ALPN)

    # --- the end

    def loseConnection(self) -> None:
        """Say goodbye; whoever does not answer it in time is cut off."""
        # Ours never ends, and Twisted would wait for that.
        self.unregisterProducer()  # type: ignore[no-untyped-call]
        super().loseConnection()  # type: ignore[no-untyped-call] # Twisted
        if self.connected and self._deadline is None:
            self._deadline = self._clock.callLater(LINGER_S, self._cut_off)

    def _cut_off(self) -> None:
        self._deadline = None
        self.abortConnection()  # type: ignore[no-untyped-call] # Twisted

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Leave the session for later, or keep the cause of the failure."""
        self._in_time()
        if self.stands:
            self._keep_session()
            if self._handle is not None:
                self.ends.leave_session(self._handle)
        else:
            self.tls.handshakes -= 1
            self.finding = self._explained(self._reason or reason)
            self.tls.failed[self.finding.reason] += 1
        self._handle = None
        super().connectionLost(reason)  # type: ignore[no-untyped-call] # Twisted

    @property
    def was_silent(self) -> bool:
        """Whether a client never said anything."""
        return self.is_client and not self._first

    def broken_by(self, reason: Failure) -> Finding:
        """Return why a connection that stood is over."""
        return self._explained(reason)

    def _explained(self, reason: Failure) -> Finding:
        if self.finding is not None:
            return self.finding
        if self.judging.finding is not None and isinstance(reason.value, SSL.Error):
            return self.judging.finding
        return failure_of(reason.value or Exception(), self._first, is_client=self.is_client)

    def _keep_session(self) -> None:
        if self.wanted is not None and self._handle is not None and not self._has_kept:
            self._has_kept = True
            self.ends.keep_session(self.wanted, self._handle, self.judging)


@implementer(IOpenSSLServerConnectionCreator, IOpenSSLClientConnectionCreator)
class _Creator:
    """Stands where Twisted asks for a connection; every line makes its own."""

    def serverConnectionForTLS(self, tlsProtocol: TlsLine) -> SSL.Connection:  # noqa: N803
        """Return our end of a client's connection."""
        return tlsProtocol.made()

    def clientConnectionForTLS(self, tlsProtocol: TlsLine) -> SSL.Connection:  # noqa: N803
        """Return our end of a connection to a server."""
        return tlsProtocol.made()


class TlsFactory(TLSMemoryBIOFactory):
    """Wraps TLS around the protocols of another factory; *wanted* is None towards clients."""

    protocol = TlsLine

    def __init__(
        self,
        tls: Tls,
        wrapped: Factory[Protocol],
        wanted: Wanted | None,
        clock: Clock,
        for_browsers: bool = False,
    ) -> None:
        # zope's interfaces are nothing that types could be checked against.
        super().__init__(_Creator(), wanted is not None, wrapped, clock)  # type: ignore[arg-type]
        self.tls: Final = tls
        self.wanted: Final = wanted
        self.clock: Final = clock
        self.for_browsers: Final = for_browsers
