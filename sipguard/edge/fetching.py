"""Whether packets may wait for certificates, and who fetches them: what ``trust stir`` says."""

import time
from collections.abc import Callable
from typing import final

from sipguard.edge.clock import Clock
from sipguard.edge.control import StatusReport
from sipguard.edge.credentials import Counts, Fetcher, Terms
from sipguard.edge.holding import Holding
from sipguard.edge.turnstile import Passage, Turnstile
from sipguard.errors import EdgeError
from sipguard.identity.credentials import Credentials
from sipguard.identity.pem import read_pem
from sipguard.policy.rules import Policy

MakeFetcher = Callable[[Credentials, Terms, Clock, Counts], Fetcher]


class Fetching:
    """Joins turnstile, waiting packets and fetcher, anew with each policy.

    Args:
        turnstile: Judges packets, and those that waited once more.
        reactor: Twisted's.
        make: Makes a fetcher; a test has its own network.
    """

    def __init__(
        self, turnstile: Turnstile, reactor: Clock, make: MakeFetcher | None = None
    ) -> None:
        self._turnstile = turnstile
        self._reactor = reactor
        self._make = make or _make
        self._fetcher: Fetcher | None = None
        self.holding = Holding(turnstile.take_again, reactor)
        self._counts = Counts()

    def use(self, policy: Policy, credentials: Credentials) -> None:
        """Fetch as *policy* says from now on; what waits is judged by it at once.

        Raises:
            EdgeError: see :func:`terms_of`; nothing has changed then.
        """
        terms, before = terms_of(policy), self._fetcher
        if terms is None:
            self._fetcher = self._turnstile.hold = self._turnstile.wait = None
            self.holding.use(None, 0.0)
        else:
            fetcher = self._make(credentials, terms, self._reactor, self._counts)
            self._fetcher = fetcher
            self._turnstile.hold = self.holding.hold
            self._turnstile.wait = self._wait
            self.holding.use(fetcher.fetch, terms.within_s)
        if before is not None:
            before.close()  # last: nobody waits for it any more

    def _wait(self, passage: Passage, wants: tuple[str, ...]) -> None:
        self.holding.wait(WaitingMessage(passage, self._turnstile), wants)

    def stop(self) -> None:
        """Give every packet that waits its verdict, and fetch nothing any more."""
        self._turnstile.hold = self._turnstile.wait = None
        self.holding.stop()
        if self._fetcher is not None:
            self._fetcher.close()

    def count(self, report: StatusReport) -> None:
        """Add what was done; nothing where nothing ever was."""
        holding, counts = self.holding, self._counts
        for name, count in (
            ("held_now", len(holding)),
            ("held", holding.taken),
            ("held_no_room", holding.refused),
            ("held_too_long", holding.late),
            ("certificates_fetched", counts.fetched),
            ("certificates_failed", counts.failed),
            ("certificates_refused", counts.refused),
            ("certificates_busy", counts.busy),
        ):
            if count:
                report.counters[name] = count


@final
class WaitingMessage:
    """A message of a stream; what comes behind it waits, too."""

    __slots__ = ("_passage", "_turnstile")

    def __init__(self, passage: Passage, turnstile: Turnstile) -> None:
        self._passage = passage
        self._turnstile = turnstile

    @property
    def source(self) -> bytes:
        """Who counts as its sender."""
        return self._passage.source

    @property
    def settled(self) -> bool:
        """Whether it has its verdict."""
        return self._passage.settled

    def retain(self) -> bool:
        """Keep it; False where its connection is over."""
        return self._passage.retain()

    def judge(self, last: bool) -> tuple[str, ...]:
        """Judge it again; return what it wants still."""
        return self._turnstile.take_message_again(self._passage, last)

    def fail(self) -> None:
        """Do what follows a fault of our own."""
        self._passage.fail()


def terms_of(policy: Policy) -> Terms | None:
    """Return the part of ``trust stir`` that is about fetching, ``None`` where nothing is fetched.

    Raises:
        EdgeError: a file of ``fetch-ca`` holds no certificates.
    """
    trust = policy.stir
    if trust is None or trust.fetch == "never":
        return None
    authorities: list[bytes] = []
    for file in trust.fetch_ca:
        try:
            authorities += read_pem(file.octets)
        except ValueError as error:
            place = file.place
            raise EdgeError(
                f"{place.file}:{place.line}:{place.column}: fetch-ca {file.name}: {error}"
            ) from None
    return Terms(trust.fetch == "any", tuple(authorities), trust.within_s)


def _make(credentials: Credentials, terms: Terms, reactor: Clock, counts: Counts) -> Fetcher:
    return Fetcher(credentials, terms, reactor, time.time, counts)
