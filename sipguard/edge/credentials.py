"""Certificates by URL (``x5u``) for whoever waits for them: fetched once, a few at a time, kept.

STI-15 in the field. The URL comes out of a header that anybody may have
written, so this room limits what a stranger can make the gateway do: https on
two ports, public addresses alone unless the policy says otherwise
(``identity.credentials`` knows which), one fetch of a URL at a time, few at
once, fewer from one host, all of them short. What came and what failed is
kept in ``Credentials`` for the guard; here nothing is believed: whether a
chain is trusted, the identity room says.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IHostResolution, IResolutionReceiver
from twisted.internet.ssl import Certificate, platformTrust, trustRootFromCertificates
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer  # type: ignore[import-untyped] # it ships no types

from sipguard.edge.clock import Alarm, Clock
from sipguard.edge.https import Dial, Document, Endpoint, Unfetched, Visit
from sipguard.identity.credentials import Credentials, check_url, is_public
from sipguard.wire.packet import parse_address

FETCH_S: Final = 5.0  # longer than a packet waits: the next call finds it here
CONNECT_S: Final = 1.5  # to one address; a name may have several
MAX_AT_ONCE: Final = 8
MAX_OF_HOST: Final = 2
MAX_WAITING: Final = 64
MAX_ADDRESSES: Final = 16
LEAST_S: Final = 60.0  # kept for at least and at most so long, whatever the server says
MOST_S: Final = 86_400.0
SILENT_S: Final = 3600.0  # where the server says nothing
FAILED_S: Final = 30.0

Resolve = Callable[[str], Deferred[Sequence[str]]]


class Terms(NamedTuple):
    """What the policy says about fetching.

    *anywhere*: private addresses and local names as well, for a network of
    one's own. *authorities*: who may vouch for https servers, in DER; empty is
    whoever this machine trusts. *within_s*: how long a packet waits.
    """

    anywhere: bool = False
    authorities: tuple[bytes, ...] = ()
    within_s: float = 2.0


@dataclass(slots=True)
class Counts:
    """What became of URLs."""

    fetched: int = 0
    failed: int = 0
    refused: int = 0  # may not be fetched, or lead where nothing may be fetched
    busy: int = 0  # too many under way: not even tried


@dataclass(eq=False, slots=True)
class _Errand:
    """One URL under way, and who waits for it."""

    url: str
    host: str
    port: int
    waiting: list[Deferred[None]] = field(default_factory=list)
    begun: bool = False
    overdue: bool = False
    work: Deferred[None] | None = None


class Fetcher:
    """Brings certificates into *credentials*.

    Args:
        credentials: The guard's cache.
        terms: The policy's.
        reactor: Twisted's.
        utc_s: POSIX time.
        counts: Counted on here, if there was a fetcher before.
        resolve: Returns every address of a name, as text.
        dial: Makes the endpoint for an address and port.
    """

    log = Logger()

    def __init__(
        self,
        credentials: Credentials,
        terms: Terms,
        reactor: Clock,
        utc_s: Callable[[], float],
        counts: Counts | None = None,
        *,
        resolve: Resolve | None = None,
        dial: Dial | None = None,
    ) -> None:
        self._credentials = credentials
        self._terms = terms
        self._reactor = reactor
        self._utc_s = utc_s
        self.counts = counts or Counts()
        self._resolve = resolve or resolver_of(reactor)
        self._dial = dial or dialer_of(reactor)
        self._trust_root = _trust_root_of(terms.authorities)
        self._errands: dict[str, _Errand] = {}  # in order of arrival
        self._lookups = 0  # a look-up cannot be ended, so it may outlive its errand
        self._closed = False

    def fetch(self, url: str) -> Deferred[None]:
        """Return what fires, with None, when the URL's certificate is here or will not come."""
        errand = self._errands.get(url)
        if errand is None:
            why_not = check_url(url, private=self._terms.anywhere)
            place = _place_of(url)
            if why_not is not None or place is None:
                self._refuse(url, why_not or "the URL is not well formed")
                return succeed(None)
            if self._closed or len(self._errands) >= MAX_AT_ONCE + MAX_WAITING:
                self.counts.busy += 1  # and nothing is remembered: it is not the URL's fault
                return succeed(None)
            errand = self._errands[url] = _Errand(url, *place)
        waiter: Deferred[None] = Deferred()
        errand.waiting.append(waiter)
        self._start()
        return waiter

    def close(self) -> None:
        """End what is under way; whoever waits hears of it, and the cache does not."""
        self._closed = True
        for errand in tuple(self._errands.values()):
            if errand.work is not None:
                errand.work.cancel()
            self._finish(errand)

    @property
    def under_way(self) -> int:
        """How many URLs are being fetched, or wait for that."""
        return len(self._errands)

    def _start(self) -> None:
        """Begin what there is room for."""
        while (errand := self._next()) is not None:
            self._run(errand)

    def _next(self) -> _Errand | None:
        """Return the oldest that may begin; no host gets all the room."""
        busy = [errand.host for errand in self._errands.values() if errand.begun]
        if self._closed or max(len(busy), self._lookups) >= MAX_AT_ONCE:
            return None
        for errand in self._errands.values():
            if not errand.begun and busy.count(errand.host) < MAX_OF_HOST:
                return errand
        return None

    def _run(self, errand: _Errand) -> None:
        errand.begun = True
        visit = Visit(self._reactor, self._dial, self._trust_root)
        work = Deferred.fromCoroutine(self._bring(errand, visit))
        errand.work = work
        alarm = self._reactor.callLater(FETCH_S, self._end, errand)
        work.addErrback(self._fail, errand)
        work.addBoth(self._over, errand, alarm)

    async def _bring(self, errand: _Errand, visit: Visit) -> None:
        addresses = await self._addresses_of(errand.host)
        document = await visit.get(errand.url, errand.host, errand.port, addresses)
        self._keep(errand.url, document)

    async def _addresses_of(self, host: str) -> Sequence[str]:
        """Resolve a name; every one of its addresses must be one that may be asked."""
        try:
            addresses = await self._look_up(host)
        except OSError as error:  # Twisted's DNSLookupError is one
            raise Unfetched("the server's name cannot be resolved") from error
        if not self._terms.anywhere and not all(map(_is_public, addresses)):
            self.counts.refused += 1
            raise Unfetched("the server's name leads to an address that is not public")
        return addresses

    def _look_up(self, host: str) -> Deferred[Sequence[str]]:
        """Resolve in a thread of the reactor's; who waits may give up, the thread cannot."""
        found: Deferred[Sequence[str]] = Deferred()
        self._lookups += 1
        maybeDeferred(self._resolve, host).addBoth(self._on_addresses, found)
        return found

    def _on_addresses(
        self, result: Sequence[str] | Failure, found: Deferred[Sequence[str]]
    ) -> None:
        self._lookups -= 1
        if isinstance(result, Failure):
            found.errback(result)
        else:
            found.callback(result)
        self._start()

    def _keep(self, url: str, document: Document) -> None:
        says_s = SILENT_S if document.fresh_s is None else document.fresh_s
        keep_s = min(max(says_s, LEAST_S), MOST_S)
        self._credentials.put(url, document.octets, self._utc_s() + keep_s)
        self.counts.fetched += 1

    def _fail(self, failure: Failure, errand: _Errand) -> None:
        """Remember for a while that it failed, and why."""
        if self._closed:
            return
        if errand.overdue:
            why = f"the server takes longer than {FETCH_S:g} s"
        elif isinstance(failure.value, Unfetched):
            why = str(failure.value)
        else:
            why = "a fault of our own"
            self.log.failure("our own code failed in fetching a certificate", failure)
        self.counts.failed += 1
        self._credentials.fail(errand.url, why, self._utc_s() + FAILED_S)

    def _refuse(self, url: str, why_not: str) -> None:
        self.counts.refused += 1
        self._credentials.fail(url, why_not, self._utc_s() + FAILED_S)

    def _end(self, errand: _Errand) -> None:
        errand.overdue = True
        if errand.work is not None:
            errand.work.cancel()

    def _over(self, _result: object, errand: _Errand, alarm: Alarm) -> None:
        if alarm.active():
            alarm.cancel()
        self._finish(errand)
        self._start()

    def _finish(self, errand: _Errand) -> None:
        if self._errands.pop(errand.url, None) is None:
            return
        waiting, errand.waiting = errand.waiting, []
        for waiter in waiting:
            waiter.callback(None)


def resolver_of(reactor: object) -> Resolve:
    """Return what asks the machine's own resolver: hosts file, DNS, whatever it is set up for."""

    def resolve(host: str) -> Deferred[Sequence[str]]:
        addresses = _Addresses()
        reactor.nameResolver.resolveHostName(addresses, host)  # type: ignore[attr-defined] # zope's
        return addresses.all

    return resolve


def dialer_of(reactor: object) -> Dial:
    """Return what makes plain TCP endpoints."""

    def dial(address: str, port: int) -> Endpoint:
        kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        return kind(reactor, address, port, timeout=CONNECT_S)  # type: ignore[return-value] # zope's

    return dial


@implementer(IResolutionReceiver)
class _Addresses:
    """Collects the addresses of a name."""

    def __init__(self) -> None:
        self.all: Deferred[Sequence[str]] = Deferred()
        self._found: list[str] = []

    def resolutionBegan(self, _resolution: IHostResolution) -> None:
        """It began."""

    def addressResolved(self, address: object) -> None:
        """Keep one address, of either family."""
        host = getattr(address, "host", "")
        if len(self._found) < MAX_ADDRESSES and host not in self._found:
            self._found.append(host)

    def resolutionComplete(self) -> None:
        """Hand all of them over; a name without any is no name."""
        if self._found:
            self.all.callback(self._found)
        else:
            self.all.errback(Unfetched("the server's name cannot be resolved"))


def _is_public(address: str) -> bool:
    octets = parse_address(address.encode("ascii", "replace"))
    return octets is not None and is_public(octets)


def _place_of(url: str) -> tuple[str, int] | None:
    """Return host and port of an https URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme != "https" or not host or parts.username is not None or not url.isascii():
        return None
    return host, port or 443


def _trust_root_of(authorities: Sequence[bytes]) -> object:
    if not authorities:
        return platformTrust()
    return trustRootFromCertificates([Certificate.load(der) for der in authorities])
