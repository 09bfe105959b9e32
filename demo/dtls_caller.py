"""A caller who speaks DTLS-SRTP and whose certificate may be another than he says."""

import re
import socket
import time
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from demo import packets
from demo.network import Host, datagram_socket
from demo.packets import Ear

MEDIA_PORT = 30000
SHORTEST_SRTP = 100  # an audio packet of 20 ms; reports are shorter
PROFILES = b"SRTP_AES128_CM_SHA1_80"


class Certificate(NamedTuple):
    """One that signs itself, as telephones make them."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        """As it crosses the wire."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def fingerprint(self) -> str:
        """As signalling names it (RFC 8122)."""
        return self.certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def certificate(name: str) -> Certificate:
    """Make one."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    unsigned = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )
    return Certificate(key, unsigned.sign(key, hashes.SHA256()))


class DtlsCaller:
    """Calls bob and waits for his handshake, as the DTLS server.

    Args:
        host: Where he is.
        own: The certificate that he has.
        told: The one whose fingerprint bob hears of.
    """

    def __init__(self, host: Host, own: Certificate, told: Certificate) -> None:
        self._host, self._own, self._told = host, own, told
        self._invite = self._answer = b""
        self._ear = Ear(host)
        self._media = datagram_socket(host.namespace, host.ipv4, MEDIA_PORT)

    def __enter__(self) -> "DtlsCaller":
        self._ear.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._answer:
            self._say("BYE")
            time.sleep(0.2)
        self._ear.__exit__(kind, error, trace)
        self._media.close()

    def call(self, address: str, timeout_s: float = 6.0) -> bool:
        """Call bob; return whether he answered."""
        here = self._host.ipv4
        body = packets.session(here, MEDIA_PORT, keyed=False).replace("RTP/AVP", "UDP/TLS/RTP/SAVP")
        body += f"a=fingerprint:sha-256 {self._told.fingerprint}\r\na=setup:actpass\r\n"
        self._invite = packets.request("INVITE", here, address, body=body)
        self._ear.say(self._invite, address)
        deadline_s = time.monotonic() + timeout_s
        while not self._answer and time.monotonic() < deadline_s:
            time.sleep(0.02)
            answers = [said for said in self._ear.heard if said.startswith(b"SIP/2.0 200")]
            self._answer = answers[0] if answers else b""
        if self._answer:
            self._say("ACK")
        return bool(self._answer)

    def shakes_hands(self, timeout_s: float) -> bool:
        """Answer bob's handshake; return whether it ended well and his media came."""
        found = re.search(rb"m=audio (\d+)", self._answer)
        if found is None:
            return False
        self._media.connect((self._target(), int(found[1])))
        self._media.settimeout(0.1)
        connection, is_over = self._server(), False
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            try:
                octets = self._media.recv(4096)
            except (TimeoutError, ConnectionRefusedError):
                continue
            if octets[0] in range(20, 64):  # DTLS (RFC 7983)
                connection.bio_write(octets)
                is_over = _shook(connection)
                _send_records(connection, self._media)
            elif is_over and len(octets) > SHORTEST_SRTP:
                return True
        return False

    def _server(self) -> SSL.Connection:
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_options(SSL.OP_NO_QUERY_MTU)
        context.use_certificate(self._own.certificate)
        context.use_privatekey(self._own.key)
        context.set_tlsext_use_srtp(PROFILES)
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        connection = SSL.Connection(context, None)
        connection.set_accept_state()
        connection.set_ciphertext_mtu(1200)
        return connection

    def _say(self, method: str) -> None:
        message = packets.in_dialog(method, self._invite, self._answer, self._host.ipv4)
        self._ear.say(message, self._target())

    def _target(self) -> str:
        found = re.search(r"@([^:;>]+)", packets.header(self._answer, "Contact"))
        return found[1] if found else ""


def _shook(connection: SSL.Connection) -> bool:
    try:
        connection.do_handshake()
    except SSL.Error:  # it wants to read on, or bob has refused
        return False
    return True


def _send_records(connection: SSL.Connection, media: socket.socket) -> None:
    """Send each record in a datagram of its own; the buffer keeps no borders."""
    try:
        octets = connection.bio_read(65_536)
    except SSL.WantReadError:
        return
    while octets:
        size = 13 + int.from_bytes(octets[11:13], "big")
        media.send(octets[:size])
        octets = octets[size:]
