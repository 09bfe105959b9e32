"""TLS handshakes a second, and what an idle connection takes, beside a bare Twisted TLS echo.

Both ends are in this process, without sockets; only the work of the server's end is timed. The
two are timed in turns, because the machine's other work comes and goes.
"""

import gc
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Final

from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer  # type: ignore[import-untyped] # it ships no types

from bench.report import Figure
from bench.signers import Holder, authority, user
from sipguard.edge.stream.tls import Tls, TlsLine
from sipguard.edge.stream.tls_credentials import Credentials, Own
from sipguard.identity.peers import Peers
from sipguard.identity.trust import Store
from sipguard.policy.tls import TlsTerms

RATIO_LIMIT: Final = 0.6
IDLE: Final = 1000
_ROOT_NAME: Final = "Bench TLS"


class _Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        if self.transport is not None:
            self.transport.write(data)  # type: ignore[call-arg,misc] # an interface of zope's


@implementer(IHandshakeListener)
class _Ours(_Echo):
    def handshakeCompleted(self) -> None:  # noqa: N802
        if isinstance(self.transport, TlsLine):
            self.transport.secured()


Make = Callable[[], TLSMemoryBIOProtocol]


def measure(quick: bool) -> list[Figure]:
    """Return the ratio of handshakes, and the memory of a connection that stands."""
    root = authority(_ROOT_NAME, "p-256")
    holder = user("p-256", root)
    ours, bare = _ours(root, holder), _bare(holder)
    client = SSL.Context(SSL.TLS_CLIENT_METHOD)
    rounds, many = (3, 50) if quick else (9, 200)
    spent: dict[str, list[float]] = {"ours": [], "bare": []}
    _many(ours, client, many), _many(bare, client, many)  # neither is the first
    for _ in range(rounds):
        spent["ours"].append(_many(ours, client, many))
        spent["bare"].append(_many(bare, client, many))
    ours_s, bare_s = median(spent["ours"]), median(spent["bare"])
    detail = f"{1 / ours_s:,.0f} and {1 / bare_s:,.0f} a second; new sessions, P-256"
    return [
        Figure(
            "TLS handshakes, to a bare echo's",
            bare_s / ours_s,
            "x",
            above=RATIO_LIMIT,
            detail=detail,
        ),
        _idle(ours, bare, client, IDLE // 4 if quick else IDLE),
    ]


def _ours(root: Holder, holder: Holder) -> Make:
    tls = Tls(Clock())
    own = Own((holder.certificate,), holder.key, (b"gateway.example.com",))
    trusted = Peers(Store([root.der]))
    tls.use(Credentials((own,), trusted, (root.certificate,)), TlsTerms(clients="optional"))
    factory: Factory[Protocol] = Factory.forProtocol(_Ours)
    return lambda: tls.listening(factory).buildProtocol(None)


def _bare(holder: Holder) -> Make:
    options = CertificateOptions(
        privateKey=crypto.PKey.from_cryptography_key(holder.key),
        certificate=crypto.X509.from_cryptography(holder.certificate),
    )
    factory: Factory[Protocol] = Factory.forProtocol(_Echo)
    made = TLSMemoryBIOFactory(options, False, factory, Clock())  # type: ignore[arg-type]
    return lambda: made.buildProtocol(None)


def _many(make: Make, client: SSL.Context, many: int) -> float:
    """Return the seconds of one handshake at the server's end."""
    gc.collect()
    return sum(_shake(make(), client)[0] for _ in range(many)) / many


def _shake(server: TLSMemoryBIOProtocol, client: SSL.Context) -> tuple[float, TLSMemoryBIOProtocol]:
    spent_s = 0.0
    wire = StringTransport()
    end = SSL.Connection(client)
    end.set_connect_state()
    began_s = time.perf_counter()
    server.makeConnection(wire)
    spent_s += time.perf_counter() - began_s
    for _ in range(3):
        with suppress(SSL.WantReadError):
            end.do_handshake()
        with suppress(SSL.WantReadError):
            said = end.bio_read(1 << 16)
            began_s = time.perf_counter()
            server.dataReceived(said)
            spent_s += time.perf_counter() - began_s
        if wire.value():
            end.bio_write(wire.value())
            wire.clear()
    return spent_s, server


def _idle(ours: Make, bare: Make, client: SSL.Context, many: int) -> Figure:
    """Return what we add to a connection, in KB."""
    kept: list[TLSMemoryBIOProtocol] = []
    sizes = []
    for make in (ours, bare):
        kept += [_shake(make(), client)[1] for _ in range(many // 10)]
        before_kb = _resident_kb()
        kept += [_shake(make(), client)[1] for _ in range(many)]
        sizes.append((_resident_kb() - before_kb) / many)
    detail = (
        f"{sizes[0]:.1f} KB in all, and {sizes[1]:.1f} KB of a bare echo's, OpenSSL's part in both"
    )
    return Figure(
        "an idle TLS connection, beside a bare one",
        sizes[0] - sizes[1],
        "KB",
        below=40.0,
        detail=detail,
    )


def _resident_kb() -> int:
    gc.collect()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0])
