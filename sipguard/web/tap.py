"""``twistd sipguard-web``: its options, and the few objects wired by hand."""

import os
import sys
import time
from ipaddress import ip_address
from pathlib import Path
from typing import ClassVar, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from twisted.application.internet import StreamServerEndpointService
from twisted.internet import endpoints, reactor, ssl
from twisted.internet.error import CannotListenError
from twisted.internet.threads import deferToThreadPool
from twisted.python import usage

from sipguard.edge.archive import Archive
from sipguard.edge.password_file import read_password, read_token
from sipguard.errors import EdgeError
from sipguard.web.door import Door
from sipguard.web.listening import QuietSite
from sipguard.web.site import Pages

STATE_DIR: Final = "/var/lib/sipguard"
LISTEN: Final = "127.0.0.1:5080"
_Endpoint = (
    endpoints.TCP4ServerEndpoint | endpoints.TCP6ServerEndpoint | endpoints.SSL4ServerEndpoint
)
THREADS: Final = 4  # each may hold a question to the store


class Options(usage.Options):
    """Where it listens, who may come in, and where the records are."""

    synopsis = "(--password-file FILE | --token-file FILE) [options]"
    longdesc = """
Pages for whoever reviews what sipguard blocked, read from the records of a sipguard that runs
beside it. It needs no privileges: run it as a user of its own that may read the state directory
and the policy ("twistd --uid sipguard-web --gid sipguard -n sipguard-web ..."). Make a password
with "sipguard web-password FILE". An address that others can reach needs TLS: give --tls-cert
and --tls-key, or leave it on loopback behind ssh or a proxy that speaks TLS.
"""
    optParameters: ClassVar = [
        ("state-dir", "s", STATE_DIR, "Where records and status are."),
        ("listen", "l", LISTEN, "ADDRESS:PORT to listen on; [ADDRESS]:PORT for IPv6."),
        ("password-file", None, None, "The password's hash, made by sipguard web-password."),
        ("token-file", None, None, "A token, for logging in and for Authorization: Bearer."),
        ("tls-cert", None, None, "The certificate, and those above it, as PEM."),
        ("tls-key", None, None, "The certificate's private key, as PEM."),
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Twisted does not type it
        self.address = ""
        self.port = 0

    def postOptions(self) -> None:
        """Refuse what cannot be, or would let strangers read along."""
        self.address, self.port = _listen_on(str(self["listen"]))
        if not self["password-file"] and not self["token-file"]:
            raise usage.UsageError(
                "give --password-file (sipguard web-password FILE makes one) or --token-file"
            )
        if bool(self["tls-cert"]) != bool(self["tls-key"]):
            raise usage.UsageError("--tls-cert and --tls-key go together")
        if not ip_address(self.address).is_loopback and not self["tls-cert"]:
            raise usage.UsageError(
                f"{self.address} can be reached by others, who would read passwords and calls on "
                "the way: give --tls-cert and --tls-key, or listen on 127.0.0.1"
            )


class PageService(StreamServerEndpointService):
    """Listens, or ends the program with a sentence that says why it cannot."""

    def privilegedStartService(self) -> None:
        """Listen while there still are privileges, for ports below 1024."""
        try:
            super().privilegedStartService()  # type: ignore[no-untyped-call] # not typed
        except CannotListenError as error:
            raise SystemExit(
                f"sipguard-web: cannot listen on {error.interface}:{error.port}: "
                f"{getattr(error.socketError, 'strerror', '')}; see --listen"
            ) from None


def makeService(options: Options) -> PageService:
    """Wire the site; a file that cannot be used ends the program here."""
    if os.geteuid() == 0:
        print("warning: root is not needed for this; see --uid and --gid", file=sys.stderr)
    try:
        password = options["password-file"]
        token = options["token-file"]
        hashed = read_password(Path(password)) if password else None
        digest = read_token(Path(token)) if token else None
        endpoint = _endpoint(options)
    except EdgeError as error:
        raise SystemExit(f"sipguard-web: {error}") from None
    reactor.suggestThreadPoolSize(THREADS)
    pool = reactor.getThreadPool()
    door = Door(hashed, digest, time.time, lambda ask: deferToThreadPool(reactor, pool, ask))
    pages = Pages(
        Archive(Path(str(options["state-dir"]))),
        door,
        reactor,
        lambda make: deferToThreadPool(reactor, pool, make),
        lambda ask: deferToThreadPool(reactor, pool, ask),
        is_secure=bool(options["tls-cert"]),
        now=time.time,
    )
    service = PageService(endpoint, QuietSite(pages, reactor))  # type: ignore[no-untyped-call] # Twisted does not type it
    service._raiseSynchronously = True  # an address in use ends the start, and says so
    return service


def _listen_on(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    if address == "localhost":
        address = "127.0.0.1"
    try:
        ip_address(address)
        if not port.isdecimal() or not 0 <= int(port) <= 65535:
            raise ValueError
    except ValueError:
        raise usage.UsageError("--listen is ADDRESS:PORT, such as 127.0.0.1:5080") from None
    return address, int(port)


def _endpoint(options: Options) -> _Endpoint:
    if options["tls-cert"]:
        context = _tls_context(Path(str(options["tls-cert"])), Path(str(options["tls-key"])))
        return endpoints.SSL4ServerEndpoint(
            reactor, options.port, context, interface=options.address
        )
    kind = endpoints.TCP6ServerEndpoint if ":" in options.address else endpoints.TCP4ServerEndpoint
    return kind(reactor, options.port, interface=options.address)


def _tls_context(certificate: Path, key: Path) -> ssl.CertificateOptions:
    try:
        chain = x509.load_pem_x509_certificates(certificate.read_bytes())
        private = load_pem_private_key(key.read_bytes(), None)
        first, *above = (crypto.X509.from_cryptography(one) for one in chain)
        return ssl.CertificateOptions(
            privateKey=crypto.PKey.from_cryptography_key(private),  # type: ignore[arg-type]
            certificate=first,
            extraCertChain=above,
            raiseMinimumTo=ssl.TLSVersion.TLSv1_2,
        )
    except OSError as error:
        raise EdgeError(f"cannot read {error.filename}: {error.strerror}") from None
    except (ValueError, TypeError, SSL.Error, crypto.Error):
        raise EdgeError(f"{certificate} and {key} are no certificate and its key") from None
