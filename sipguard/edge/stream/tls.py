"""SIP over TLS: where the TLS of both legs ends, and what is known of who is behind it.

The client's handshake comes first, because it says whom the client wants to reach (SNI).
Only then the onward connection is opened and secured in turn, and only when the server
has proven that it is that one (RFC 5922 section 7.3, TLS-20), messages go on.
"""

from collections import Counter
from typing import Final

from OpenSSL import SSL
from twisted.internet.interfaces import (
    IDelayedCall,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    ITransport,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from sipguard.edge.stream.tls_contexts import ALPN, RENEW_S, Ends, Wanted, asked_name
from sipguard.edge.stream.tls_credentials import Credentials
from sipguard.edge.stream.tls_failures import FIRST_OCTETS, failure_of
from sipguard.edge.stream.tls_judging import Judging
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

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._ends: Ends | None = None
        self._made_of: tuple[Credentials, TlsTerms] | None = None
        self.handshakes = 0
        self.done = 0
        self.failed: Counter[Reason] = Counter()

    def use(self, credentials: Credentials, terms: TlsTerms) -> None:
        """Take new certificates and terms for connections to come; those that stand live on."""
        self._made_of = credentials, terms
        self._ends = Ends(credentials, terms) if credentials.own else None

    def renew(self, now_s: float) -> None:
        """Change the keys that session tickets are sealed with once a day. *now_s*: POSIX time."""
        ends = self._ends
        if ends is not None and self._made_of is not None and now_s - ends.made_s > RENEW_S:
            self._ends = Ends(*self._made_of)

    @property
    def ends(self) -> Ends:
        """What new connections begin with.

        Raises:
            ValueError: the policy names no certificate.
        """
        if self._ends is None:
            raise ValueError("no certificate of our own")
        return self._ends

    def listening(self, factory: Factory) -> IProtocolFactory:
        """Return *factory* with TLS around what it makes, for connections that clients open."""
        return _Factory(self, factory, None, self._clock)

    def onward(self, factory: Factory, wanted: Wanted) -> IProtocolFactory:
        """Return *factory* with TLS around what it makes, for a connection to a server."""
        return _Factory(self, factory, wanted, self._clock)


class TlsLine(TLSMemoryBIOProtocol):  # type: ignore[misc] # Twisted does not type it
    """The TLS of one leg: the transport that the leg sees.

    ``finding`` is why there is no connection, once there is none.
    """

    loseWriteConnection = None  # half of a TLS connection cannot be closed

    def __init__(self, factory: "_Factory", wrapped: IProtocol) -> None:
        super().__init__(factory, wrapped)
        self.tls: Final = factory.tls
        self.wanted: Final = factory.wanted
        self.ends: Final = factory.tls.ends
        self.judging: Judging | None = None
        self.finding: Finding | None = None
        self.stands = False
        self._first = b""
        self._deadline: IDelayedCall | None = None

    @property
    def is_client(self) -> bool:
        """Whether the peer is the client."""
        return self.wanted is None

    # --- while it comes about

    def made(self) -> SSL.Connection:
        """Return our end of it, as OpenSSL has it."""
        if self.wanted is None:
            connection, self.judging = self.ends.accept()
        else:
            connection, self.judging = self.ends.connect(self.wanted)
        return connection

    def makeConnection(self, transport: ITransport) -> None:
        """Begin the handshake; it must be over in time, and there must not be too many."""
        self.tls.handshakes += 1
        self._deadline = self.factory.clock.callLater(HANDSHAKE_S, self._too_late)
        super().makeConnection(transport)
        if self.tls.handshakes > MAX_HANDSHAKES and self.is_client:
            what = f"{MAX_HANDSHAKES} others are in progress"
            self._refuse(Finding(Reason.TLS_BUSY, what))

    def dataReceived(self, data: bytes) -> None:
        """Keep the first octets: they tell TLS 1.0 from garbage, should it fail."""
        if not self._first:
            self._first = data[:FIRST_OCTETS]
        super().dataReceived(data)

    def _too_late(self) -> None:
        self._deadline = None
        who = "the client" if self.is_client else "the server"
        what = f"{who} did not finish the handshake in {HANDSHAKE_S:.0f} s"
        self._refuse(Finding(Reason.TLS_TIMEOUT, what))

    def _refuse(self, finding: Finding) -> None:
        self.finding = finding
        self.abortConnection()

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
        handle, judging = self.getHandle(), self.judging
        if judging is None or not self._holds(handle, judging):
            raise self._refused(judging)
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

    def _holds(self, handle: SSL.Connection, judging: Judging) -> bool:
        if self.is_client:
            return self.ends.client_stands(handle, judging)
        return self.ends.server_stands(judging)

    def _refused(self, judging: Judging | None) -> HostileInput:
        """Name the cause; only a resumed session can come so far without standing."""
        found = judging.finding if judging is not None else None
        self.finding = found or Finding(
            Reason.TLS_NO_CERTIFICATE, "the resumed session has no certificate that is valid"
        )
        return HostileInput(self.finding.reason, self.finding.detail, self.finding.octets)

    @property
    def asked_for(self) -> bytes:
        """The name that the client asked for."""
        return asked_name(self.getHandle())

    @property
    def speaks_sip(self) -> bool:
        """Whether SIP was agreed on as the protocol (ALPN)."""
        return bool(self.negotiatedProtocol == ALPN)

    # --- the end

    def loseConnection(self) -> None:
        """Say goodbye; whoever does not answer it in time is cut off."""
        super().loseConnection()
        if self.connected and self._deadline is None:
            self._deadline = self.factory.clock.callLater(LINGER_S, self._cut_off)

    def _cut_off(self) -> None:
        self._deadline = None
        self.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Keep the session for later, or the cause of the failure."""
        self._in_time()
        if self.stands:
            self._keep_session()
        else:
            self.tls.handshakes -= 1
            self.finding = self._explained(self._reason or reason)
            self.tls.failed[self.finding.reason] += 1
        super().connectionLost(reason)

    def _explained(self, reason: Failure) -> Finding:
        if self.finding is not None:
            return self.finding
        judged = self.judging.finding if self.judging is not None else None
        if judged is not None and isinstance(reason.value, SSL.Error):
            return judged
        return failure_of(reason.value, self._first, is_client=self.is_client)

    def _keep_session(self) -> None:
        handle = self.getHandle()
        if self.wanted is not None and self.judging is not None and handle is not None:
            self.ends.keep_session(self.wanted, handle, self.judging)


@implementer(IOpenSSLServerConnectionCreator, IOpenSSLClientConnectionCreator)
class _Creator:
    """Stands where Twisted asks for a connection; every line makes its own."""

    def serverConnectionForTLS(self, tlsProtocol: TlsLine) -> SSL.Connection:
        """Return our end of a client's connection."""
        return tlsProtocol.made()

    def clientConnectionForTLS(self, tlsProtocol: TlsLine) -> SSL.Connection:
        """Return our end of a connection to a server."""
        return tlsProtocol.made()


class _Factory(TLSMemoryBIOFactory):
    """Wraps TLS around the protocols of another factory; *wanted* is None towards clients."""

    protocol = TlsLine

    def __init__(
        self, tls: Tls, wrapped: IProtocolFactory, wanted: Wanted | None, clock: IReactorTime
    ) -> None:
        super().__init__(_Creator(), wanted is not None, wrapped, clock)
        self.tls: Final = tls
        self.wanted: Final = wanted
        self.clock: Final = clock
