"""``twistd sipguard-web``: what it refuses to start as."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.python.usage import UsageError

from sipguard.edge.password_file import hash_password, write_password
from sipguard.web.tap import Options, makeService


def options(*arguments: str) -> Options:
    made = Options()
    made.parseOptions(arguments)  # type: ignore[no-untyped-call] # Twisted does not type it
    return made


@pytest.fixture
def password(tmp_path: Path) -> str:
    """A password file."""
    write_password(tmp_path / "password", hash_password("correct horse"))
    return str(tmp_path / "password")


@pytest.fixture
def tls(tmp_path: Path) -> tuple[str, str]:
    """A certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gate.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, SHA256())
    )
    certificate, private = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return str(certificate), str(private)


@pytest.mark.parametrize("address", ["0.0.0.0:5080", "[::]:5080", "192.0.2.1:5080"])
def test_an_address_that_others_reach_needs_tls(
    password: str, tls: tuple[str, str], address: str
) -> None:
    """Or the password and all calls go over the network for whoever listens."""
    given = ("--password-file", password, "--listen", address)
    with pytest.raises(UsageError, match="can be reached by others"):
        options(*given)
    made = options(*given, "--tls-cert", tls[0], "--tls-key", tls[1])
    assert isinstance(makeService(made).endpoint, SSL4ServerEndpoint)


@pytest.mark.parametrize(
    ("address", "kind"),
    [("127.0.0.1:1", TCP4ServerEndpoint), ("[::1]:1", TCP6ServerEndpoint),
     ("localhost:1", TCP4ServerEndpoint)],
)  # fmt: skip
def test_loopback_needs_none(password: str, address: str, kind: type) -> None:
    """It is the default."""
    made = options("--password-file", password, "--listen", address)
    assert isinstance(makeService(made).endpoint, kind)
    assert options("--password-file", password)["listen"] == "127.0.0.1:5080"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--password-file"),
        (["--token-file", "t", "--listen", "here"], "ADDRESS:PORT"),
        (["--token-file", "t", "--listen", "gate.example:80"], "ADDRESS:PORT"),
        (["--token-file", "t", "--listen", "127.0.0.1:99999"], "ADDRESS:PORT"),
        (["--token-file", "t", "--tls-cert", "x"], "go together"),
    ],
)
def test_what_cannot_be_is_said(arguments: list[str], words: str) -> None:
    """Before anything starts."""
    with pytest.raises(UsageError, match=words):
        options(*arguments)


def test_files_that_cannot_be_used_end_it_with_a_sentence(tmp_path: Path, password: str) -> None:
    """No traceback for a wrong path."""
    for given in (
        ("--password-file", str(tmp_path / "none")),
        ("--token-file", str(tmp_path / "none")),
        ("--password-file", password, "--tls-cert", password, "--tls-key", password),
    ):
        with pytest.raises(SystemExit, match="sipguard-web: "):
            makeService(options(*given))


def test_a_secret_that_everybody_reads_is_none(tmp_path: Path, password: str) -> None:
    """The page says so rather than starts."""
    os.chmod(password, 0o644)
    with pytest.raises(SystemExit, match="can be read by everybody"):
        makeService(options("--password-file", password))
