"""Both ends of TLS in memory: our lines on one side, Python's own ssl module on the other."""

import ssl
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from authority import DAY_S, NOW_S, Holder, issue, make_authority, usage
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer  # type: ignore[import-untyped] # it ships no types

from sipguard.edge.stream.tls import Tls, TlsLine
from sipguard.edge.stream.tls_contexts import Wanted
from sipguard.edge.stream.tls_credentials import read_credentials
from sipguard.errors import HostileInput
from sipguard.policy.load import load_policy
from sipguard.policy.rules import Policy
from sipguard.policy.tls import TlsTerms
from sipguard.wire.channel import Channel

ROOT: Final = make_authority("TLS Root", until_s=NOW_S + 3000 * DAY_S)
OTHER_ROOT: Final = make_authority("Another Root", until_s=NOW_S + 3000 * DAY_S)
SERVER: Final = b"\xc0\x00\x02\x01"  # 192.0.2.1


def tls_certificate(
    name: str,
    issuer: Holder | None = ROOT,
    *,
    dns: Sequence[str] = (),
    uris: Sequence[str] = (),
    addresses: Sequence[str] = (),
    until_s: float = NOW_S + 3000 * DAY_S,
    from_s: float = NOW_S - 30 * DAY_S,
    purposes: Sequence[x509.ObjectIdentifier] = (
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    ),
    kind: str = "p256",
) -> Holder:
    """Return a certificate for TLS; *addresses* come as IP addresses in its names."""
    if not addresses:
        return issue(
            name, issuer, dns=dns, uris=uris, until_s=until_s, from_s=from_s,
            purposes=purposes, kind=kind, extensions=((usage(digital_signature=True), True),),
        )  # fmt: skip
    from ipaddress import ip_address

    names: list[x509.GeneralName] = [x509.IPAddress(ip_address(text)) for text in addresses]
    names += map(x509.DNSName, dns)
    names += map(x509.UniformResourceIdentifier, uris)
    return issue(
        name, issuer, until_s=until_s, from_s=from_s, purposes=purposes, kind=kind,
        extensions=(
            (usage(digital_signature=True), True),
            (x509.SubjectAlternativeName(names), False),
        ),
    )  # fmt: skip


GATEWAY: Final = tls_certificate("gw", dns=("gw.example.com",))
SECOND: Final = tls_certificate("second", dns=("gw.example.org",), uris=("sip:example.org",))
BASE: Final = 'trust tls ca "ca.pem"\ntls-certificate "gw.pem" key "gw.key"\n'
FILES: Final = MappingProxyType(
    {
        "ca.pem": ROOT.pem,
        "gw.pem": GATEWAY.pem,
        "gw.key": GATEWAY.key_pem,
        "second.pem": SECOND.pem,
        "second.key": SECOND.key_pem,
    }
)


class Folder:
    """Files of a policy, in memory."""

    def __init__(self, **files: bytes) -> None:
        self._files = {**FILES, **{_file(name): octets for name, octets in files.items()}}

    def octets(self, name: str) -> bytes:
        """Return a file."""
        if name not in self._files:
            raise FileNotFoundError(2, "No such file or directory", name)
        return self._files[name]

    def names(self, _folder: str) -> tuple[str, ...] | None:
        """There are no folders."""
        return None


def _file(name: str) -> str:
    return name.replace("_", ".")


def policy_of(text: str = BASE, /, **files: bytes) -> Policy:
    """Return a policy with these lines and nothing else; *gw_pem* and so on are its files."""
    return load_policy("p", lambda _name: text, Folder(**files))


def terms_of(text: str = BASE, /, **files: bytes) -> TlsTerms:
    """Return what such a policy says of TLS."""
    return policy_of(text, **files).tls


def made(
    text: str = BASE,
    clock: Clock | None = None,
    utc_s: Callable[[], float] = lambda: NOW_S,
    **files: bytes,
) -> Tls:
    """Return TLS as a policy with these lines wants it; *utc_s* tells the time of judgement."""
    terms = terms_of(text, **files)
    tls = Tls(clock or Clock(), utc_s)
    tls.use(read_credentials(terms, utc_s()), terms)
    return tls


@implementer(IHandshakeListener)
class Inner(Protocol):
    """Stands where a leg does."""

    def __init__(self) -> None:
        self.channel: Channel | None = None
        self.refused: HostileInput | None = None
        self.received = b""
        self.lost: Failure | None = None

    @property
    def line(self) -> TlsLine:
        """The TLS below."""
        assert isinstance(self.transport, TlsLine)
        return self.transport

    def handshakeCompleted(self) -> None:  # noqa: N802
        """Ask who it is."""
        try:
            self.channel = self.line.secured()
        except HostileInput as error:
            self.refused = error
            self.line.abortConnection()  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Keep it."""
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        """Keep why."""
        self.lost = reason


class Side:
    """One line of ours on a wire in memory."""

    def __init__(
        self, tls: Tls, wanted: Wanted | None = None, *, for_browsers: bool = False
    ) -> None:
        self.inner = Inner()
        factory: Factory[Protocol] = Factory.forProtocol(lambda: self.inner)
        made = (
            tls.listening(factory, for_browsers) if wanted is None else tls.onward(factory, wanted)
        )
        line = made.buildProtocol(None)
        assert isinstance(line, TlsLine)
        self.line = line
        self.wire = StringTransport()
        self.line.makeConnection(self.wire)  # type: ignore[arg-type] # an interface of zope's

    def is_cut_off(self) -> bool:
        """Whether we have reset the connection."""
        return self.wire.disconnected

    def hang_up(self) -> None:
        """The connection below is over."""
        if self.inner.lost is None:
            self.line.connectionLost(Failure(ConnectionDone()))


class Peer:
    """The other end: a client, or with *certificate* and *serves* a server."""

    def __init__(
        self,
        certificate: Holder | None = None,
        *,
        serves: bool = False,
        name: str | None = None,
        trusts: Holder | None = None,
        version: ssl.TLSVersion | None = None,
        ciphers: str = "",
        alpn: Sequence[str] = (),
        session: ssl.SSLSession | None = None,
        context: ssl.SSLContext | None = None,
        also: Sequence[Holder] = (),
    ) -> None:
        self.context = context or _context(certificate, also, serves=serves)
        if context is None:
            if trusts is not None:
                self.context.verify_mode = ssl.CERT_REQUIRED
                self.context.load_verify_locations(cadata=trusts.pem.decode())
            if ciphers:
                self.context.set_ciphers(ciphers)
            if alpn:
                self.context.set_alpn_protocols(list(alpn))
            if version is not None:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # that old versions are out of date
                    self.context.minimum_version = version
                    self.context.maximum_version = version
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = self.context.wrap_bio(
            self._in, self._out, server_side=serves, server_hostname=name, session=session
        )
        self.error: ssl.SSLError | None = None
        self.done = False
        self.is_over = False  # the other side said goodbye
        self.received = b""

    def turn(self, octets: bytes) -> bytes:
        """Take what came; return what it says to that."""
        if octets:
            self._in.write(octets)
        try:
            if not self.done:
                self.tls.do_handshake()
                self.done = True
            while data := self.tls.read(65536):
                self.received += data
            self.is_over = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.error = self.error or error
        return self._out.read()


def _context(certificate: Holder | None, also: Sequence[Holder], *, serves: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if serves else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "both.pem"
            rest = b"".join(one.pem for one in also)
            path.write_bytes(certificate.pem + rest + certificate.key_pem)
            context.load_cert_chain(path)
    return context


def shake(side: Side, peer: Peer) -> None:
    """Carry octets to and fro until both are silent; a side that closes hangs up."""
    for _ in range(20):
        ours = side.wire.value()
        side.wire.clear()
        theirs = peer.turn(ours)
        if theirs and side.inner.lost is None:
            side.line.dataReceived(theirs)
        if side.wire.disconnecting or side.wire.disconnected:
            peer.turn(side.wire.value())
            side.hang_up()
            return
        if not theirs and not side.wire.value():
            return


def accepted(tls: Tls, peer: Peer) -> Side:
    """Return our side after a client shook hands with it."""
    side = Side(tls)
    shake(side, peer)
    return side


def connected(tls: Tls, peer: Peer, wanted: Wanted | None = None) -> Side:
    """Return our side after it shook hands with a server."""
    side = Side(tls, wanted or Wanted(SERVER, 5061))
    shake(side, peer)
    return side
