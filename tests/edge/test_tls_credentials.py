"""The gateway's own certificates: what is wrong with them is said when they are read."""

from pathlib import Path

import pytest
from authority import DAY_S, NOW_S, Holder
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from tls_ends import BASE, GATEWAY, ROOT, SECOND, policy_of, terms_of, tls_certificate

from sipguard.edge import policy_file
from sipguard.edge.stream import tls_contexts
from sipguard.edge.stream.tls_credentials import read_credentials, tls_warnings
from sipguard.errors import PolicyError


def wrong(text: str = BASE, /, **files: bytes) -> list[str]:
    """Return what is wrong with a policy's certificates now."""
    with pytest.raises(PolicyError) as caught:
        read_credentials(terms_of(text, **files), NOW_S)
    return [str(problem) for problem in caught.value.problems]


def warned(**files: bytes) -> list[str]:
    """Return what an admin is told about these files."""
    return [str(problem) for problem in tls_warnings(policy_of(**files), NOW_S)]


def test_good_ones_are_read() -> None:
    """The chain as it is sent, and every name that a client may ask for."""
    mixed = tls_certificate("mixed", dns=("A.example.com",), uris=("sip:example.com", "sip:[::1"))
    credentials = read_credentials(
        terms_of(gw_pem=mixed.pem + ROOT.pem, gw_key=mixed.key_pem), NOW_S
    )
    (own,) = credentials.own
    assert own.chain == (mixed.certificate, ROOT.certificate)
    assert set(own.names) == {b"a.example.com", b"example.com"}
    assert credentials.roots == (ROOT.certificate,)
    assert credentials.peers is not None
    assert warned() == []


def encrypted(holder: Holder) -> bytes:
    """Return a key that wants a password."""
    return holder.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


OLD = tls_certificate("old gw", dns=("gw.example.com",), until_s=NOW_S - DAY_S)
YOUNG = tls_certificate("young gw", dns=("gw.example.com",), from_s=NOW_S + DAY_S)
WEAK = tls_certificate("weak gw", dns=("gw.example.com",), kind="rsa1024")
CUT = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
TOLD: list[tuple[dict[str, bytes], str]] = [
    ({"gw_key": SECOND.key_pem}, "2:30: the key gw.key does not fit the certificate gw.pem"),
    ({"gw_pem": ROOT.pem + GATEWAY.pem}, "2:17: the key fits certificate 2 of gw.pem"),
    ({"gw_key": encrypted(GATEWAY)}, "2:30: the key in gw.key is encrypted"),
    ({"gw_key": GATEWAY.key_pem[:90]}, "2:30: the private key in gw.key cannot be read"),
    ({"gw_pem": WEAK.pem, "gw_key": WEAK.key_pem}, "2:17: gw.pem is weak: its RSA key has 1024"),
    ({"gw_pem": CUT}, "2:17: gw.pem: certificate 1 of 1: a certificate that breaks RFC 5280"),
    ({"ca_pem": CUT}, "1:14: ca.pem: certificate 1 of 1: a certificate that breaks RFC 5280"),
]


@pytest.mark.parametrize(("files", "told"), TOLD)
def test_what_cannot_be_used_is_refused(files: dict[str, bytes], told: str) -> None:
    """In words, with the place in the policy: the last good policy stays in force."""
    (first, *_) = wrong(**files)
    assert first.startswith(f"p:{told}"), first


def test_a_key_of_another_kind_is_refused() -> None:
    """DSA signs no TLS 1.2 suite that is allowed, and nothing in 1.3."""
    key = dsa.generate_private_key(2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (first, *_) = wrong(gw_key=key)
    assert "gw.key" in first


def test_a_broken_revocation_list_is_refused() -> None:
    """A list that cannot be read would revoke nobody."""
    text = BASE.replace('"ca.pem"', '"ca.pem" crl "crl.pem"')
    crl = b"-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n"
    (first, *_) = wrong(text, crl_pem=crl)
    assert first.startswith("p:1:27: crl.pem: revocation list 1 of 1 cannot be read")


@pytest.mark.parametrize(
    ("holder", "told"),
    [
        (OLD, "p:2:17: gw.pem expired on 2026-09-20: clients will refuse it (renew it)"),
        (YOUNG, "p:2:17: gw.pem is not valid before 2026-09-22: clients will refuse it"),
    ],
)
def test_a_certificate_out_of_its_time_ends_no_other_calls(holder: Holder, told: str) -> None:
    """It is shown, and clients refuse it; a gateway that did not start would take all with it."""
    files = {"gw_pem": holder.pem, "gw_key": holder.key_pem}
    (warning,) = warned(**files)
    assert warning.startswith(told), warning
    assert len(read_credentials(terms_of(**files), NOW_S).own) == 1


def test_what_works_badly_is_said() -> None:
    """Soon over, not for servers, without a name."""
    soon = tls_certificate("soon", dns=("gw.example.com",), until_s=NOW_S + 3 * DAY_S)
    (warning,) = warned(gw_pem=soon.pem, gw_key=soon.key_pem)
    assert "gw.pem expires on 2026-09-24 (renew it)" in warning
    clients = tls_certificate(
        "clients", dns=("gw.example.com",), purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,)
    )
    (warning,) = warned(gw_pem=clients.pem, gw_key=clients.key_pem)
    assert "is not for servers" in warning
    nameless = tls_certificate("nameless")
    (warning,) = warned(gw_pem=nameless.pem, gw_key=nameless.key_pem)
    assert "names no host" in warning


def test_a_self_signed_certificate_of_our_own_may_be_shown() -> None:
    """Clients that pin it, or do not verify, are the admin's affair."""
    own = tls_certificate("own gw", None, dns=("gw.example.com",))
    assert len(read_credentials(terms_of(gw_pem=own.pem, gw_key=own.key_pem), NOW_S).own) == 1


def test_what_openssl_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own limits, whatever they are: at the policy, and not when the first client comes."""
    monkeypatch.setattr(tls_contexts, "CIPHERS", b"ECDHE+AESGCM:@SECLEVEL=5")  # keys of 512 bits
    with pytest.raises(PolicyError) as caught:
        tls_contexts.try_out(terms_of(), NOW_S)
    (problem,) = caught.value.problems
    assert str(problem).startswith("p:2:17: OpenSSL does not take the certificates: ee key too")


def test_files_are_watched_and_an_open_key_is_told(tmp_path: Path) -> None:
    """A renewed certificate is seen; a key that everybody can read is a warning."""
    (tmp_path / "p.policy").write_text(BASE)
    for name, octets in (
        ("ca.pem", ROOT.pem),
        ("gw.pem", GATEWAY.pem),
        ("gw.key", GATEWAY.key_pem),
    ):
        (tmp_path / name).write_bytes(octets)
        (tmp_path / name).chmod(0o600)
    loaded = policy_file.load(str(tmp_path / "p.policy"), "", NOW_S)
    assert loaded.policy.warnings == ()
    assert {Path(name).name for name in loaded.mtimes_ns} == {
        "p.policy",
        "ca.pem",
        "gw.pem",
        "gw.key",
    }
    (tmp_path / "gw.key").chmod(0o644)
    (warning,) = policy_file.load(str(tmp_path / "p.policy"), "", NOW_S).policy.warnings
    assert "everybody on this machine can read the key" in warning.message
    assert warning.line == 2
    (tmp_path / "gw.key").write_bytes(SECOND.key_pem)
    assert policy_file.has_changed(loaded)
    with pytest.raises(PolicyError, match="does not fit the certificate"):
        policy_file.load(str(tmp_path / "p.policy"), "", NOW_S)


PINNED = 'trust tls pinned "pin.pem"\ntls-certificate "gw.pem" key "gw.key"\n'


def test_pinned_certificates_that_cannot_be_meant_are_refused() -> None:
    """One file holds one server's own; a chain would pin whoever stands first."""
    assert wrong(PINNED, pin_pem=CUT)[0].startswith("p:1:18: pin.pem: ")
    (two,) = wrong(PINNED, pin_pem=SECOND.pem + ROOT.pem)
    assert two.startswith("p:1:18: pin.pem holds 2 certificates")


@pytest.mark.parametrize(
    ("options", "holder", "words"),
    [
        ("", OLD, "pin.pem expired on"),
        ("", WEAK, "pin.pem is weak"),
        ("", tls_certificate("soon", until_s=NOW_S + DAY_S, dns=("a.b",)), "pin.pem expires on"),
        ("", tls_certificate("no names"), "pin.pem names no host: it fits no server"),
        (" pinned-any-name", tls_certificate("no names"), ""),
        ("", SECOND, ""),
    ],
)
def test_pinned_certificates_of_little_use_are_told(
    options: str, holder: Holder, words: str
) -> None:
    """The gateway starts all the same: calls over UDP and TCP would end with it."""
    text = PINNED.replace('"pin.pem"', f'"pin.pem"{options}')
    told = [str(one) for one in tls_warnings(policy_of(text, pin_pem=holder.pem), NOW_S)]
    assert [words in one for one in told] == ([True] if words else [])
