"""The certificates of one TLS peer on their way through OpenSSL to our own judgement.

OpenSSL would say ``certificate verify failed``, follow one way up only and take names with
wildcards, so it only gathers the chain here, and ``identity`` judges it (TLS-20). The peer
hears of our judgement in the alert: see ``tls_alerts``.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, final

from OpenSSL import SSL, crypto

from sipguard.identity.peers import Peer
from sipguard.reason import Finding

MAX_CHAIN: Final = 16
MAX_REMEMBERED: Final = 4096  # chains of peers that may resume their sessions

Judge = Callable[[Sequence[bytes]], Peer | Finding]


@final
class Judging:
    """What is known of one peer. *required*: the handshake fails where the judge refuses.

    ``peer`` is who it is, None while nothing is proven; ``finding`` says why it is nobody.
    ``before`` is the chain of the session that is offered to be resumed.
    """

    __slots__ = ("_chain", "_judge", "_required", "before", "finding", "peer")

    def __init__(self, judge: Judge | None, *, required: bool) -> None:
        self._judge = judge
        self._required = required
        self._chain: dict[int, bytes] = {}
        self.before: tuple[bytes, ...] = ()
        self.peer: Peer | None = None
        self.finding: Finding | None = None

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The peer's certificates, its own first, as far as they were gathered."""
        return tuple(self._chain[depth] for depth in sorted(self._chain))

    def stand(self, chain: tuple[bytes, ...]) -> None:
        """Keep *chain* in place of what was gathered: the same octets, held once for all."""
        self.before = chain
        self._chain.clear()

    @property
    def is_fresh(self) -> bool:
        """Whether certificates came; none do where a session is resumed."""
        return bool(self._chain)

    def take(self, certificate: crypto.X509, depth: int) -> bool:
        """Take one certificate as OpenSSL comes to it; return whether the handshake goes on."""
        if depth >= MAX_CHAIN:
            return True
        self._chain[depth] = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
        if depth > 0:
            return True  # it comes from the top down, so this is not all yet
        return self.settle(self.chain)

    def settle(self, chain: Sequence[bytes]) -> bool:
        """Judge the chain; return whether the connection may stand."""
        if self._judge is None:
            return not self._required
        found = self._judge(chain)
        self.peer, self.finding = (None, found) if isinstance(found, Finding) else (found, None)
        return self.peer is not None or not self._required


class Judged:
    """What stands above an OpenSSL connection, as its application data."""

    judging: Judging


def verify(
    connection: SSL.Connection, certificate: crypto.X509, _errno: int, depth: int, _ok: int
) -> bool:
    """Stand as OpenSSL's verify callback: every connection has its own judging."""
    line: object = connection.get_app_data()
    return isinstance(line, Judged) and line.judging.take(certificate, depth)


@final
class Remembered:
    """The chains that peers showed, by their own certificate.

    A resumed session of a client has its own certificate alone.
    """

    def __init__(self) -> None:
        self._chains: OrderedDict[bytes, tuple[bytes, ...]] = OrderedDict()

    def keep(self, chain: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Remember a chain that was good, and return the one there is of it for all connections.

        The one unused for longest goes.
        """
        kept = self._chains.get(chain[0])
        if kept != chain:
            self._chains[chain[0]] = kept = chain
        self._chains.move_to_end(chain[0])
        if len(self._chains) > MAX_REMEMBERED:
            self._chains.popitem(last=False)
        return kept

    def of(self, leaf: bytes) -> tuple[bytes, ...]:
        """Return the chain of a certificate, itself alone where it is not known."""
        return self._chains.get(leaf, (leaf,))
