"""Alarms as HTTPS requests: the record's JSON, signed, and again until somebody takes it.

The signature is HMAC-SHA256 over the time, a dot and the body, keyed with a
secret that the receiver has, too: ``X-Sipguard-Signature: t=TIME,v1=HEX``. A
receiver refuses what is older than some minutes, and what it had already by
its ``X-Sipguard-Delivery``.
"""

import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from OpenSSL import crypto
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IConsumer, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol as Receiver
from twisted.internet.ssl import Certificate, platformTrust, trustRootFromCertificates
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer  # type: ignore[import-untyped] # it ships no types

from sipguard.edge.feeds.outlet import Outlet
from sipguard.edge.feeds.stream import StreamReactor
from sipguard.journal.escape import safe_text
from sipguard.journal.record import Record

CONNECT_S: Final = 10.0
ANSWER_S: Final = 15.0
FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 300.0
ATTEMPTS: Final = 12  # with the waits between them: 34 minutes
_MAX_REMEMBERED: Final = 10_000
_FINAL: Final = range(400, 500)  # the receiver will not like it better later, but for these:
_LATER: Final = frozenset({408, 425, 429})


class Webhook:
    """Posts alarms one after the other.

    Args:
        url: Where to.
        secret: What the signature is keyed with.
        authority: PEM of who may certify the receiver; empty for the system's authorities.
        reactor: Twisted's.
        clock: POSIX seconds.

    Raises:
        ValueError: *authority* holds no certificates.
    """

    def __init__(
        self,
        url: str,
        secret: bytes,
        authority: bytes,
        reactor: StreamReactor,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.sent = 0
        self.lost = 0
        self.last_error = ""
        self._url = url.encode("ascii")
        self._secret = secret
        self._reactor = reactor
        self._clock = clock
        root = (
            trustRootFromCertificates(read_authority(authority)) if authority else platformTrust()
        )
        policy = BrowserLikePolicyForHTTPS(trustRoot=root)
        self._agent: Agent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor, policy))
        self._alarmed: dict[str, None] = {}
        self._attempts = 0
        self._due_s = float("-inf")
        self._current: Deferred[int] | None = None
        self._done = False  # the first record that waits has been taken, or given up

    @property
    def is_closed(self) -> bool:
        """What was on its way is given up."""
        return True

    def wants(self, record: Record, *, is_new: bool) -> bool:
        """Alarms, each attempt once; one that grows into an alarm is new here."""
        if not record.alarm or record.id in self._alarmed:
            return False
        self._alarmed[record.id] = None
        if len(self._alarmed) > _MAX_REMEMBERED:
            del self._alarmed[next(iter(self._alarmed))]
        return True

    def take(self, records: Sequence[Record]) -> int:
        """Post the first one; it is done with when its answer is here, or it is given up."""
        if self._done:
            self._done = False
            return 1
        if self._current is None and records and self._clock() >= self._due_s:
            self._post(records[0])
        return 0

    def follow(self, before: Outlet) -> None:
        """Know which alarms went out, and how long the receiver wants to be left alone."""
        if isinstance(before, Webhook):
            self._alarmed = before._alarmed
            self._attempts, self._due_s = before._attempts, before._due_s
            self._done = before._done
            self.last_error = before.last_error

    def reopen(self) -> None:
        """Do nothing: there is no file."""

    def close(self) -> None:
        """Give up what is on its way."""
        if self._current is not None:
            self._current.cancel()

    def _post(self, record: Record) -> None:
        body = record.to_line().encode("utf-8", "replace")
        time_s = int(self._clock())
        self._attempts += 1
        headers = Headers(
            {
                b"Content-Type": [b"application/json"],
                b"User-Agent": [b"sipguard"],
                b"X-Sipguard-Delivery": [record.id.encode()],
                b"X-Sipguard-Signature": [signature_of(self._secret, time_s, body)],
            }
        )
        current = Deferred.fromCoroutine(self._answered(headers, body))
        current.addTimeout(ANSWER_S, self._reactor)  # type: ignore[arg-type] # an interface of zope's
        if not current.called:
            self._current = current
        current.addCallbacks(self._judge, self._fail)

    async def _answered(self, headers: Headers, body: bytes) -> int:
        response = await self._agent.request(b"POST", self._url, headers, _Body(body))  # type: ignore[arg-type] # an interface of zope's
        code = int(response.code)
        response.deliverBody(_Ignored())  # type: ignore[call-arg, misc] # zope
        return code

    def _judge(self, code: int) -> None:
        self._current = None
        if 200 <= code < 300:
            self.sent += 1
            self.last_error = ""
            self._finish()
            return
        self.last_error = f"the receiver answers {code}"
        if code in _FINAL and code not in _LATER:
            self._give_up()
        else:
            self._wait()

    def _fail(self, failure: object) -> None:
        self._current = None
        fault = getattr(failure, "value", failure)
        if isinstance(fault, CancelledError):
            self.last_error = "the request was given up"
        else:
            reasons = getattr(fault, "reasons", None) or [fault]
            inner = getattr(reasons[0], "value", reasons[0])
            # A receiver's certificate has a say in it.
            self.last_error = safe_text(f"{type(inner).__name__}: {inner}"[:200])
        self._wait()

    def _wait(self) -> None:
        if self._attempts >= ATTEMPTS:
            self._give_up()
            return
        wait_s = min(FIRST_WAIT_S * 2 ** (self._attempts - 1), LONGEST_WAIT_S)
        self._due_s = self._clock() + wait_s

    def _give_up(self) -> None:
        self.lost += 1
        self._finish()

    def _finish(self) -> None:
        self._attempts = 0
        self._due_s = float("-inf")
        self._done = True


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Connects as an agent by itself would, without two lines in the log for each request."""

    def __init__(self, reactor: StreamReactor, policy: BrowserLikePolicyForHTTPS) -> None:
        self._reactor = reactor
        self._policy = policy

    def endpointForURI(self, uri: URI) -> "_Quiet":
        """Return what connects to a receiver."""
        end = HostnameEndpoint(self._reactor, uri.host.decode(), uri.port, CONNECT_S)
        if uri.scheme != b"https":
            return _Quiet(end)  # type: ignore[arg-type] # zope
        creator = self._policy.creatorForNetloc(uri.host, uri.port)
        return _Quiet(wrapClientTLS(creator, end))  # type: ignore[arg-type] # zope


class _End(Protocol):
    """What connects: Twisted's endpoints do."""

    def connect(self, factory: Factory[Receiver], /) -> Deferred[Receiver]:
        """Return what *factory* builds, once it is connected."""


@implementer(IStreamClientEndpoint)
class _Quiet:
    def __init__(self, end: _End) -> None:
        self._end = end

    def connect(self, factory: Factory[Receiver]) -> Deferred[Receiver]:
        """Connect."""
        factory.noisy = False
        return self._end.connect(factory)


@implementer(IBodyProducer)
class _Body:
    """A request's body, small enough to be written at once."""

    def __init__(self, octets: bytes) -> None:
        self.length = len(octets)
        self._octets = octets

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write all of it."""
        consumer.write(self._octets)  # type: ignore[call-arg, misc] # zope
        return succeed(None)

    def pauseProducing(self) -> None:
        """There is nothing left to hold back."""

    def resumeProducing(self) -> None:
        """Nor anything to go on with."""

    def stopProducing(self) -> None:
        """Nor to give up."""


class _Ignored(Receiver):
    """Reads nothing: the code says it all, and a long answer is no reason to stay."""

    def connectionMade(self) -> None:
        """Hang up."""
        self.transport.loseConnection()  # type: ignore[union-attr, misc] # zope


def signature_of(secret: bytes, time_s: int, body: bytes) -> bytes:
    """Return the value of ``X-Sipguard-Signature``."""
    digest = hmac.new(secret, b"%d.%b" % (time_s, body), hashlib.sha256).hexdigest()
    return f"t={time_s},v1={digest}".encode()


def read_authority(pem: bytes) -> list[Certificate]:
    """Return the certificates of a PEM file.

    Raises:
        ValueError: There are none, or one cannot be read.
    """
    end = b"-----END CERTIFICATE-----"
    try:
        found = [Certificate.loadPEM(part + end) for part in pem.split(end)[:-1]]
    except crypto.Error:
        raise ValueError("a certificate in it cannot be read") from None
    if not found:
        raise ValueError("it holds no certificates")
    return found
