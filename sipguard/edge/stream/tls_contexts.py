"""OpenSSL set up: TLS 1.2 and 1.3 only, as RFC 9325 wants it, and certificates by name.

One object for each loaded policy. A reload makes a new one; connections keep the one that
they began with, and sessions of the old one are not resumed in the new one.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from OpenSSL import SSL, crypto

from sipguard.edge.stream.tls_alerts import name_alerts
from sipguard.edge.stream.tls_credentials import Credentials, Own, read_credentials
from sipguard.edge.stream.tls_judging import Judging, Remembered, verify
from sipguard.errors import HostileInput, PolicyError, Problem
from sipguard.identity.peers import Expected, Peer, Peers
from sipguard.policy.tls import TlsTerms
from sipguard.reason import Finding
from sipguard.wire.packet import parse_address
from sipguard.wire.uri import parse_host

ALPN: Final = b"sip/2"  # IANA's name of SIP/2.0
SESSION_S: Final = 3600  # a client that was away for so long shakes hands again
RENEW_S: Final = 86400  # keys of session tickets live no longer (RFC 9325 section 4.3)
MAX_SESSIONS: Final = 1024  # of servers
KEPT: Final = 8  # sessions with one server: as many connections to it may begin together
# Forward secrecy and AEAD; what RFC 9325 section 4.2 recommends, and ChaCha20 for telephones
# without AES in hardware. Level 2: keys of 112 bits of strength, no SHA-1.
CIPHERS: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
_SESSION_ID: Final = b"sipguard"
_VERSIONS: Final = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


class _Kept(NamedTuple):
    """A session with a server, and the chain that it showed when it was made."""

    session: SSL.Session
    chain: tuple[bytes, ...]


class Wanted(NamedTuple):
    """What is asked of a server: the address it is at, whom the client named, the protocol."""

    address: bytes
    port: int
    name: bytes = b""  # what the client asked for (SNI), in lower case; empty if nothing
    alpn: bool = False


class Ends:
    """Makes TLS connections: ``accept`` towards clients, ``connect`` towards servers."""

    def __init__(
        self,
        credentials: Credentials,
        terms: TlsTerms,
        utc_s: Callable[[], float] = time.time,
    ) -> None:
        self._terms: Final = terms
        self._peers: Final = credentials.peers
        self._utc_s: Final = utc_s
        self._remembered: Final = Remembered()
        self._sessions: OrderedDict[tuple[Wanted, Expected], list[_Kept]] = OrderedDict()
        self.made_s: Final = utc_s()
        self._alerts: list[object] = []  # OpenSSL calls them
        contexts = [self._server_context(own, credentials) for own in credentials.own]
        self._by_name: Final[dict[bytes, SSL.Context]] = {}
        for own, context in zip(credentials.own, contexts, strict=True):
            for name in own.names:
                self._by_name.setdefault(name, context)
        self._default: Final = contexts[0] if contexts else None
        self._client: Final = self._client_context(credentials)

    @property
    def has_certificate(self) -> bool:
        """Whether TLS can be ended here."""
        return self._default is not None

    # --- towards clients

    def accept(self, for_browsers: bool = False) -> tuple[SSL.Connection, Judging]:
        """Return one end of a connection that a client opened.

        With *for_browsers*, a certificate is asked for only where one is required: they fail
        a WebSocket whose server asks, unless their user has picked one before.

        Raises:
            ValueError: there is no certificate to show.
        """
        if self._default is None:
            raise ValueError("no certificate of our own")
        connection = SSL.Connection(self._default)
        judging = Judging(self._judge_client, required=self._terms.asks_clients == "required")
        if for_browsers and self._terms.asks_clients == "optional":
            connection.set_verify(SSL.VERIFY_NONE, verify)
        connection.set_accept_state()
        return connection, judging

    def client_stands(self, connection: SSL.Connection, judging: Judging) -> bool:
        """Report whether a client whose handshake is done may go on; it may have resumed one."""
        if judging.is_fresh:
            if judging.peer is not None:
                judging.stand(self._remembered.keep(judging.chain))
        elif self._terms.asks_clients != "none":
            leaf = _shown_by(connection)
            if leaf:
                return judging.settle(self._remembered.of(leaf))
            return self._terms.asks_clients != "required"
        return judging.peer is not None or self._terms.asks_clients != "required"

    def _judge_client(self, chain: Sequence[bytes]) -> Peer | Finding:
        return _peers(self._peers).client(chain, self._utc_s())

    # --- towards servers

    def expected(self, wanted: Wanted) -> Expected:
        """Return whom the server must be: as the policy says, or whom the client asked for."""
        named = self._terms.names.get(wanted.address, "").encode()
        return Expected(named or wanted.name, wanted.address)

    def connect(self, wanted: Wanted) -> tuple[SSL.Connection, Judging]:
        """Return one end of a connection that the gateway opens."""
        expected = self.expected(wanted)
        connection = SSL.Connection(self._client)
        judging = Judging(
            self._judge_server(expected) if self._peers is not None else None,
            required=self._terms.verify_servers,
        )
        connection.set_connect_state()
        asked_for = wanted.name or expected.name
        if asked_for:
            connection.set_tlsext_host_name(asked_for)
        if wanted.alpn:
            connection.set_alpn_protos([ALPN])
        if kept := self._sessions.get((wanted, expected)):
            latest = kept.pop()  # used once (RFC 8446 appendix C.4)
            judging.before = latest.chain
            connection.set_session(latest.session)
        return connection, judging

    def server_stands(self, judging: Judging) -> bool:
        """Report whether the server may be spoken to.

        One that resumed a session showed no certificate now: what it showed is judged anew,
        since it may have expired meanwhile.
        """
        if judging.is_fresh and judging.peer is not None:
            judging.stand(self._remembered.keep(judging.chain))
        elif judging.before:
            judging.settle(judging.before)
        return judging.peer is not None or not self._terms.verify_servers

    def keep_session(self, wanted: Wanted, connection: SSL.Connection, judging: Judging) -> None:
        """Keep the session of a connection that stands, for the next one to this server."""
        session = connection.get_session()
        if session is None or judging.peer is None or not judging.before:
            return
        server = wanted, self.expected(wanted)
        kept = self._sessions.setdefault(server, [])
        self._sessions.move_to_end(server)
        kept.append(_Kept(session, judging.before))
        del kept[:-KEPT]
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)

    @staticmethod
    def leave_session(connection: SSL.Connection) -> None:
        """Leave the session of a connection that ends as it is.

        OpenSSL spoils that of one which ends without goodbye (truncation); each of our messages
        has its own end, so nothing can be cut off unseen.
        """
        connection.set_shutdown(connection.get_shutdown() | SSL.SENT_SHUTDOWN)

    def _judge_server(self, expected: Expected) -> Callable[[Sequence[bytes]], Peer | Finding]:
        peers, utc_s = _peers(self._peers), self._utc_s
        return lambda chain: peers.server(chain, expected, utc_s())

    # --- contexts

    def _server_context(self, own: Own, credentials: Credentials) -> SSL.Context:
        context = _context(SSL.TLS_SERVER_METHOD, self._terms)
        _show(context, own)
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
        context.set_session_id(_SESSION_ID)
        context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
        context.set_timeout(SESSION_S)
        context.set_tlsext_servername_callback(self._pick)
        context.set_alpn_select_callback(_choose)
        asks = self._terms.asks_clients
        if asks == "none":
            context.set_verify(SSL.VERIFY_NONE, verify)
            return context
        _believe(context, credentials)
        for root in credentials.roots:
            context.add_client_ca(root)
        must = SSL.VERIFY_FAIL_IF_NO_PEER_CERT if asks == "required" else 0
        context.set_verify(SSL.VERIFY_PEER | must, verify)
        self._alerts.append(name_alerts(context, SSL.VERIFY_PEER | must))
        return context

    def _client_context(self, credentials: Credentials) -> SSL.Context:
        context = _context(SSL.TLS_CLIENT_METHOD, self._terms)
        if credentials.own:
            _show(context, credentials.own[0])  # to servers that ask for one
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        if credentials.peers is None:
            context.set_verify(SSL.VERIFY_NONE, verify)
            return context
        _believe(context, credentials)
        context.set_verify(SSL.VERIFY_PEER, verify)
        self._alerts.append(name_alerts(context, SSL.VERIFY_PEER))
        return context

    def _pick(self, connection: SSL.Connection) -> None:
        """Show the certificate of the name that was asked for; the default for all others."""
        context = self._by_name.get(asked_name(connection))
        if context is not None:
            connection.set_context(context)


def try_out(terms: TlsTerms, now_s: float) -> None:
    """Have OpenSSL take the certificates, so that what it refuses is told when they are read.

    Raises:
        PolicyError: it does not, or they cannot be used at all.
    """
    if not terms.certificates:
        return
    try:
        Ends(read_credentials(terms, now_s), terms)
    except (SSL.Error, crypto.Error) as error:
        told: object = error.args[0] if error.args else None
        causes = [str(entry[-1]) for entry in told] if isinstance(told, list) else []
        what = f"OpenSSL does not take the certificates: {', '.join(causes)[:120] or 'no reason'}"
        raise PolicyError((Problem(*terms.certificates[0].certificate.place, what),)) from None


def asked_name(connection: SSL.Connection) -> bytes:
    """Return the host name that a client asked for, in lower case, empty if it is none."""
    name = connection.get_servername()
    if not name:
        return b""
    try:
        host = parse_host(name)
    except HostileInput:
        return b""
    return b"" if parse_address(host) is not None else host


def _shown_by(connection: SSL.Connection) -> bytes:
    shown = connection.get_peer_certificate()
    return b"" if shown is None else crypto.dump_certificate(crypto.FILETYPE_ASN1, shown)


def _peers(peers: Peers | None) -> Peers:
    if peers is None:
        raise ValueError("nobody is trusted")
    return peers


def _choose(
    _connection: SSL.Connection, offered: list[bytes]
) -> bytes | SSL._NoOverlappingProtocols:
    """Take SIP where it is offered; whoever offers other protocols alone gets no answer."""
    return ALPN if ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _context(method: int, terms: TlsTerms) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(_VERSIONS[terms.minimum])
    context.set_cipher_list(CIPHERS)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # some 30 KB of an idle connection
    return context


def _show(context: SSL.Context, own: Own) -> None:
    leaf, *issuers = own.chain
    context.use_certificate(leaf)
    for issuer in issuers:
        context.add_extra_chain_cert(issuer)
    context.use_privatekey(own.key)


def _believe(context: SSL.Context, credentials: Credentials) -> None:
    """Let OpenSSL gather chains up to whom we believe; what counts is our own judgement."""
    store = context.get_cert_store()
    if store is None:
        return
    for certificate in (*credentials.roots, *credentials.middles):
        store.add_cert(crypto.X509.from_cryptography(certificate))
    store.set_flags(0x80000)  # X509_V_FLAG_PARTIAL_CHAIN: an anchor need not be self-signed
