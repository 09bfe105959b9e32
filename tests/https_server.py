"""An https server on this machine under public addresses, and a reactor of its own to run it."""

import time
from collections.abc import Callable, Sequence
from tempfile import NamedTemporaryFile

from authority import DAY_S, Holder, issue
from cryptography import x509
from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer  # type: ignore[import-untyped] # it ships no types

from sipguard.edge.credentials import Fetcher, Terms
from sipguard.edge.https import Endpoint
from sipguard.identity.credentials import Credentials
from sipguard.reason import Finding, Reason

HOST, URL = "cr.example.com", "https://cr.example.com/alice.pem"
PUBLIC, OTHER_PUBLIC = "9.9.9.9", "2620:fe::9"
START_S = 1_790_000_000.0
Act = Callable[["Serving"], None]


def certificate(name: str, issuer: Holder | None = None, *, dns: Sequence[str] = ()) -> Holder:
    """Return a certificate that is valid on the machine's own clock: TLS goes by that."""
    now_s = time.time()
    authority = () if dns else ((x509.BasicConstraints(ca=True, path_length=None), True),)
    return issue(
        name,
        issuer,
        dns=dns,
        from_s=now_s - DAY_S,
        until_s=now_s + DAY_S,
        extensions=authority,
    )


ROOT = certificate("Web authority")
STRANGER = certificate("Another authority")
SERVER = certificate(HOST, ROOT, dns=[HOST])
ALICE = issue("alice")


def answer(body: bytes = ALICE.pem, *headers: str, status: str = "200 OK", length: int = -1) -> Act:
    """Answer properly."""
    size = len(body) if length < 0 else length
    rows = [f"HTTP/1.1 {status}", f"Content-Length: {size}", *headers, "", ""]

    def act(connection: Serving) -> None:
        connection.send("\r\n".join(rows).encode() + body)

    return act


@implementer(IOpenSSLServerConnectionCreator)
class Keys:
    """A server's certificate and key, as Twisted takes them."""

    def __init__(self, holder: Holder) -> None:
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        with NamedTemporaryFile() as file:
            file.write(holder.key_pem + holder.pem)
            file.flush()
            self.context.use_certificate_chain_file(file.name)
            self.context.use_privatekey_file(file.name)

    def serverConnectionForTLS(self, _protocol: object) -> SSL.Connection:  # noqa: N802
        return SSL.Connection(self.context, None)


class Serving(Protocol):
    """One connection of the server: waits for a request, then does what the test wants."""

    def __init__(self, web: "Web") -> None:
        self.web = web
        self.received = b""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.received += data
        if self.received.endswith(b"\r\n\r\n"):
            self.web.requests.append(self.received)
            self.web.act(self)
            self.received = b""

    def connectionLost(self, *_: object) -> None:  # noqa: N802
        self.web.closed += 1

    def send(self, octets: bytes) -> None:
        self.transport.write(octets)  # type: ignore[union-attr,call-arg,misc] # zope's

    def abort(self) -> None:
        self.transport.abortConnection()  # type: ignore[union-attr] # TLS has it


class ServingFactory(Factory[Serving]):
    """Makes them."""

    noisy = False

    def __init__(self, web: "Web") -> None:
        self.web = web

    def buildProtocol(self, _address: object) -> Serving:  # noqa: N802
        return Serving(self.web)


class Web:
    """An https server on this machine, reached under public addresses, and a reactor to run it."""

    def __init__(self) -> None:
        self.reactor = EPollReactor()
        self.act: Act = answer()
        self.requests: list[bytes] = []
        self.closed = 0
        self.names: dict[str, Sequence[str] | None] = {HOST: (PUBLIC,)}
        self.looked_up: list[str] = []
        self.dialed: list[tuple[str, int]] = []
        self.unreachable: set[str] = set()
        self.now_s = START_S
        self.credentials = Credentials()
        self.ports: list[int] = []
        self._closing: list[Callable[[], object]] = []

    def serve(self, holder: Holder = SERVER) -> None:
        """Listen with this certificate from now on."""
        secured = TLSMemoryBIOFactory(Keys(holder), False, ServingFactory(self), clock=self.reactor)  # type: ignore[arg-type] # zope's
        self.listen(secured)

    def listen(self, factory: object) -> None:
        """Listen without TLS of ours."""
        port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.ports.append(port.getHost().port)
        self._closing.append(port.stopListening)

    def fetcher(self, terms: Terms | None = None) -> Fetcher:
        made = Fetcher(
            self.credentials,
            terms or Terms(authorities=(ROOT.der,)),
            self.reactor,
            lambda: self.now_s,
            resolve=self.resolve,
            dial=self.dial,
        )
        self._closing.append(made.close)
        return made

    def resolve(self, host: str) -> Deferred[Sequence[str]]:
        self.looked_up.append(host)
        addresses = self.names.get(host)
        return fail(DNSLookupError()) if addresses is None else succeed(addresses)

    def dial(self, address: str, port: int) -> Endpoint:
        self.dialed.append((address, port))
        there = 1 if address in self.unreachable else self.ports[-1]
        return TCP4ClientEndpoint(self.reactor, "127.0.0.1", there, timeout=1)  # type: ignore[return-value] # zope's

    def turn(self) -> None:
        self.reactor.runUntilCurrent()
        self.reactor.doIteration(0.01)

    def until(self, condition: Callable[[], bool], limit_s: float = 8.0) -> bool:
        end_s = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > end_s:
                return False
            self.turn()
        return True

    def fetch(self, url: str = URL, fetcher: Fetcher | None = None) -> tuple[bytes, ...] | str:
        """Fetch, and return the chain or why there is none."""
        waiting = (fetcher or self.fetcher()).fetch(url)
        assert self.until(lambda: waiting.called)
        return self.known(url)

    def known(self, url: str = URL) -> tuple[bytes, ...] | str:
        found = self.credentials.get(url, self.now_s)
        if isinstance(found, Finding):
            assert found.reason is Reason.NO_CREDENTIAL
            return found.detail
        return "" if found is None else found

    def close(self) -> None:
        for closing in self._closing:
            closing()
        for _ in range(5):
            self.turn()
        self.reactor.disconnectAll()
