"""One document over TLS from a server that a stranger named: few octets, little time, no detours.

Whoever writes an ``x5u`` chooses whom this gateway asks. So its name is
resolved once, and only addresses that were checked are connected to: a second
look-up could lead elsewhere, into our own network. A redirect is an answer
and is not followed. What a server sends, handshake and headers included, is
counted before anything reads it. Its certificate is checked as a browser
does, by Twisted and service-identity (RFC 9525).
"""

import re
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple, Protocol

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol as Receiver
from twisted.internet.ssl import optionsForClientTLS
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, Response, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer  # type: ignore[import-untyped] # it ships no types

MAX_BODY_OCTETS: Final = 64 << 10
MAX_WIRE_OCTETS: Final = 160 << 10  # body, headers, and a handshake with a long chain
MAX_ADDRESSES: Final = 4  # of one name are tried, one after the other

_INTERIM: Final = b"HTTP/1.1 1"
_MAX_AGE: Final = re.compile(rb"(?i)(?:^|[,\s])max-age\s*=\s*\"?([0-9]{1,9})")
_NOT_KEPT: Final = re.compile(rb"(?i)(?:^|[,\s])no-(?:store|cache)\b")


class Endpoint(Protocol):
    """What connects to one address and port: Twisted's endpoints do."""

    def connect(self, factory: "_Wires", /) -> "Deferred[_Wire]":
        """Return what *factory* builds, once it is connected."""


Dial = Callable[[str, int], Endpoint]


class Unfetched(Exception):  # noqa: N818 - a server's fault, or its maker's
    """There is no document; the text says why, in our own words."""


class Document(NamedTuple):
    """What a server gave, and for how many seconds it says that this holds; None: it does not."""

    octets: bytes
    fresh_s: float | None


class Visit:
    """One request to one server.

    Args:
        reactor: Twisted's.
        dial: Makes the endpoint for an address and port.
        trust_root: The authorities that servers are checked against.
    """

    def __init__(self, reactor: object, dial: Dial, trust_root: object) -> None:
        self._reactor = reactor
        self._dial = dial
        self._trust_root = trust_root
        self._wires: list[_Wire] = []

    async def get(self, url: str, host: str, port: int, addresses: Sequence[str]) -> Document:
        """Return the document from the first of *addresses* that takes the connection.

        Raises:
            Unfetched: there is none.
        """
        endpoints = [self._dial(address, port) for address in addresses[:MAX_ADDRESSES]]
        options = optionsForClientTLS(host, trustRoot=self._trust_root)  # type: ignore[arg-type] # an interface of zope's
        server = _Server(endpoints, options, self._reactor, self._wires)
        agent = Agent.usingEndpointFactory(self._reactor, _Directions(server))
        headers = Headers({b"User-Agent": [b"sipguard"], b"Accept": [b"*/*"]})
        try:
            response = await agent.request(b"GET", url.encode("ascii"), headers)
            return await self._read(response)
        except (Unfetched, CancelledError, ConnectingCancelledError):
            raise
        except Exception as fault:
            raise Unfetched(self._why(fault)) from fault
        finally:
            self.hang_up()

    def hang_up(self) -> None:
        """End every connection at once; a server cannot keep one by being slow to say goodbye."""
        for wire in self._wires:
            wire.hang_up()

    async def _read(self, response: object) -> Document:
        if not isinstance(response, Response):
            raise Unfetched("the server's answer cannot be read")
        code = int(response.code)
        if 300 <= code < 400:
            raise Unfetched(f"the server answers {code}: redirects are not followed")
        if code != 200:
            raise Unfetched(f"the server answers {code}")
        body = _Body()
        response.deliverBody(body)
        return Document(await body.whole, fresh_s_of(response.headers))

    def _why(self, fault: Exception) -> str:
        if any(wire.octets > MAX_WIRE_OCTETS for wire in self._wires):
            return f"the server sends more than {MAX_WIRE_OCTETS >> 10} KiB"
        if any(wire.interim for wire in self._wires):
            return "the server sends other responses before its answer"
        causes = [failure.value for failure in getattr(fault, "reasons", ())]
        for cause in (fault, *causes):
            if isinstance(cause, VerificationError | CertificateError):
                return "the server's certificate is for another name"
            if isinstance(cause, SSL.Error):
                return "there is no trusted TLS connection with the server"
            if isinstance(cause, ConnectError):
                return "the server cannot be reached"
        return "the server's answer cannot be read"


@implementer(IAgentEndpointFactory)
class _Directions:
    """Leads the agent to one endpoint, whatever URI it has."""

    def __init__(self, endpoint: "_Server") -> None:
        self._endpoint = endpoint

    def endpointForURI(self, _uri: URI) -> "_Server":
        """Return the endpoint."""
        return self._endpoint


@implementer(IStreamClientEndpoint)
class _Server:
    """Connects to the first of some addresses that answers, and begins TLS."""

    def __init__(
        self, endpoints: Sequence[Endpoint], options: object, clock: object, wires: "list[_Wire]"
    ) -> None:
        self._endpoints = endpoints
        self._options = options
        self._clock = clock
        self._wires = wires

    def connect(self, factory: Factory) -> Deferred[object]:
        """Return what *factory* builds, once it is connected; TLS follows."""
        wires = _Wires(self._options, True, _finals_of(factory), clock=self._clock)  # type: ignore[arg-type] # interfaces of zope's
        return Deferred.fromCoroutine(self._connect(wires))

    async def _connect(self, factory: "_Wires") -> object:
        refusal: ConnectError = ConnectError(string="no address")
        for endpoint in self._endpoints:
            try:
                wire = await endpoint.connect(factory)
            except ConnectError as error:
                refusal = error
                continue
            self._wires.append(wire)
            return wire.wrappedProtocol.wrappedProtocol
        raise refusal


class _Wire(TLSMemoryBIOProtocol):
    """One connection; counts what comes, and hangs up on who sends more than any document needs."""

    octets = 0
    interim = False

    def dataReceived(self, data: bytes) -> None:
        """Decrypt it, unless there is too much."""
        self.octets += len(data)
        if self.octets > MAX_WIRE_OCTETS:
            self.hang_up()
        else:
            TLSMemoryBIOProtocol.dataReceived(self, data)

    def hang_up(self) -> None:
        """Close without waiting for the other side."""
        if self.connected:
            TLSMemoryBIOProtocol.abortConnection(self)


class _Wires(TLSMemoryBIOFactory):
    protocol = _Wire
    noisy = False


class _Final(ProtocolWrapper):
    """What was decrypted; hangs up on responses that are not final: each would be logged."""

    _head = b""

    def dataReceived(self, data: bytes) -> None:
        """Pass it on, unless it begins with a 1xx; nobody asked for one."""
        if len(self._head) < len(_INTERIM):
            self._head = data = self._head + data
            if len(data) < len(_INTERIM):
                return
        wire = self.transport
        if self._head.startswith(_INTERIM) and isinstance(wire, _Wire):
            wire.interim = True
            wire.hang_up()
        else:
            ProtocolWrapper.dataReceived(self, data)


class _Finals(WrappingFactory[_Final]):
    protocol = _Final
    noisy = False


_finals_of: Final[Callable[[Factory], object]] = _Finals


class _Body(Receiver):
    """Collects a body, up to a limit."""

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred()
        self._pieces: list[bytes] = []
        self._octets = 0

    def dataReceived(self, data: bytes) -> None:
        """Keep one piece."""
        self._octets += len(data)
        if self._octets <= MAX_BODY_OCTETS:
            self._pieces.append(data)
        elif not self.whole.called:
            excess = Unfetched(f"the document is longer than {MAX_BODY_OCTETS >> 10} KiB")
            self.whole.errback(excess)

    def connectionLost(self, reason: Failure = Failure(ResponseDone())) -> None:  # noqa: B008
        """Say that it is whole; without a length, the end of the connection is its end."""
        if self.whole.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(b"".join(self._pieces))
        else:
            self.whole.errback(Unfetched("the document breaks off"))


def fresh_s_of(headers: Headers) -> float | None:
    """Return for how long a response says that it holds (RFC 9111 section 4.2), or ``None``.

    0 is what may not be kept, or is too old already.
    """
    controls = b",".join(headers.getRawHeaders(b"cache-control", ()))
    if _NOT_KEPT.search(controls):
        return 0.0
    age = _first_number(headers, b"age")
    if found := _MAX_AGE.search(controls):
        return max(float(found[1]) - age, 0.0)
    expires = headers.getRawHeaders(b"expires", ())
    if not expires:
        return None
    until_s, now_s = _date_s(expires[0]), _date_s(headers.getRawHeaders(b"date", (b"",))[0])
    if until_s is None or now_s is None:
        return 0.0
    return max(until_s - now_s - age, 0.0)


def _first_number(headers: Headers, name: bytes) -> float:
    value = headers.getRawHeaders(name, (b"",))[0]
    return float(value) if value.isdigit() and len(value) <= 9 else 0.0


def _date_s(value: bytes) -> float | None:
    try:
        return parsedate_to_datetime(value.decode("ascii")).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
