"""Signed messages, made as an admin makes them on his bench: ``sipguard identity`` and openssl."""

import subprocess
from pathlib import Path

from demo import packets
from demo.gateway import BIN
from demo.programs import run

ALICE = "alice@example.com"
MALLORY = "mallory@example.com"
NUMBER = "+49301234560"
CERTIFICATE_URL = "https://certs.carrier.example/1.pem"


class Authority:
    """A trial authority with three certificates: two callers' and a telephone number's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._work = folder / "message"
        _identity("make-ca", str(folder), "--name", "Demo authority")
        for caller in (ALICE, MALLORY):
            _identity("issue", str(folder), caller)
        _identity("issue", str(folder), NUMBER, "--x5u", CERTIFICATE_URL)

    def issue(self, name: str, *addresses: str) -> None:
        """Make a certificate for TLS, of a host by its name and its IP addresses."""
        for_addresses = [word for address in addresses for word in ("--ip", address)]
        _identity("issue", str(self.folder), name, "--tls", *for_addresses)

    def chain_and_key(self, name: str) -> Path:
        """Return one file with certificate and key, as baresip wants them."""
        both = self.folder / f"{name}.both"
        named = (self.folder / f"{name}{suffix}" for suffix in (".pem", ".key"))
        both.write_bytes(b"".join(path.read_bytes() for path in named))
        return both

    def with_aib(self, message: bytes, signer: str = ALICE, *, date: str = "") -> bytes:
        """Return the message with an AIB of its From, To, Contact, Date, Call-ID and CSeq."""
        return self._sign(message, signer, date)

    def with_passport(self, message: bytes, *, date: str = "", url: str = CERTIFICATE_URL) -> bytes:
        """Return the message with a SHAKEN PASSporT, attestation A, its certificate at *url*."""
        return self._sign(message, NUMBER[1:], date, "--stir", "--x5u", url, "--attest=A")

    def with_signed_copy(self, message: bytes) -> bytes:
        """Return the message with a signed copy of itself in its body (RFC 3261 section 23.4)."""
        kind = packets.header(message, "Content-Type")
        _, _, body = message.partition(b"\r\n\r\n")
        part = b"Content-Type: message/sip\r\n\r\n" + message
        outer, inner = packets.unique("o").encode(), packets.unique("i").encode()
        protocol = b'protocol="application/pkcs7-signature"'
        return packets.with_body(
            message,
            "multipart/mixed;boundary=" + outer.decode(),
            _multipart(
                outer,
                b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body,
                b"Content-Type: multipart/signed;micalg=sha-256;%b;boundary=%b\r\n\r\n"
                % (protocol, inner)
                + _multipart(
                    inner,
                    part,
                    b"Content-Type: application/pkcs7-signature\r\n"
                    b"Content-Transfer-Encoding: binary\r\n\r\n" + self._openssl(part),
                ),
            ),
        )

    def _sign(self, message: bytes, signer: str, date: str, *options: str) -> bytes:
        self._work.write_bytes(message)
        named = self.folder / signer
        keys = ["--key", f"{named}.key", "--cert", f"{named}.pem"]
        dated = ["--date", date] if date else []
        _identity("sign-message", str(self._work), "--in-place", *keys, *dated, *options)
        return self._work.read_bytes()

    def _openssl(self, octets: bytes) -> bytes:
        """Sign with another implementation than ours."""
        named = self.folder / ALICE
        keys = ["-signer", f"{named}.pem", "-inkey", f"{named}.key"]
        argv = ["openssl", "cms", "-sign", "-binary", "-outform", "DER", *keys]
        return subprocess.run(argv, input=octets, capture_output=True, check=True).stdout


def _identity(*words: str) -> None:
    run([str(BIN / "sipguard"), "identity", *words])


def _multipart(boundary: bytes, *parts: bytes) -> bytes:
    delimited = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
    return delimited + b"--%b--\r\n" % boundary
