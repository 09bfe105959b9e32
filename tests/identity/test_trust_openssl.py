"""What real private authorities issue is believed: the ``openssl`` program, and RFC 6216."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from authority import NOW_S

from sipguard.identity.certificate import Certificate, read_certificate
from sipguard.identity.pem import read_crls, read_pem
from sipguard.identity.trust import Purpose, Store
from sipguard.reason import Finding, Reason

CORPUS = Path(os.environ.get("SIPGUARD_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
RFC6216 = CORPUS / "smime" / "sip-rfc6216" / "certs"
SAN = "subjectAltName=URI:sip:alice@example.com"


def now() -> float:
    """openssl issues from this moment on, and the suite may have run for minutes before it."""
    return time.time() + 60


CONFIG = """
[req]
distinguished_name = dn
[dn]
[ca]
default_ca = d
[d]
new_certs_dir = new
database = index
serial = serial
crlnumber = serial
default_md = sha256
default_days = 365
default_crl_days = 30
policy = p
x509_extensions = usr
copy_extensions = copy
[p]
commonName = supplied
[usr]
basicConstraints = CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid, issuer:always
"""

ROOTS = {
    "as req -x509 makes it": None,
    "version 1": "",
    "basicConstraints only": "basicConstraints=CA:TRUE\n",
    "with purposes": (
        "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
        "extendedKeyUsage=critical,emailProtection\nsubjectKeyIdentifier=hash\n"
        "authorityKeyIdentifier=keyid:always,issuer\n"
    ),
}
LEAVES = {
    "name only": f"{SAN}\n",
    "as usr_cert": (
        f"{SAN}\nbasicConstraints=CA:FALSE\nnsComment=OpenSSL Generated\n"
        "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid,issuer\n"
    ),
    "Netscape type": f"{SAN}\nnsCertType=client,email\nkeyUsage=nonRepudiation,digitalSignature\n",
    "everything": (
        f"{SAN}\nbasicConstraints=CA:FALSE\ncertificatePolicies=1.2.3.4\n"
        "extendedKeyUsage=critical,emailProtection,1.3.6.1.5.5.7.3.20\n"
        "crlDistributionPoints=URI:http://ca/crl\nauthorityInfoAccess=OCSP;URI:http://ca/\n"
    ),
    "odd extension": f"{SAN}\n1.2.3.4.5=ASN1:UTF8String:hello\n",
    "critical name": "subjectAltName=critical,URI:sip:alice@example.com,otherName:1.2.3;UTF8:x\n",
}

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def openssl(folder: Path, *words: str) -> None:
    """Run it in *folder*, which holds ``openssl.cnf``."""
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two keys and a request for Alice's certificate."""
    folder = tmp_path_factory.mktemp("openssl")
    (folder / "openssl.cnf").write_text(CONFIG)
    (folder / "new").mkdir()
    (folder / "index").touch()
    (folder / "serial").write_text("01\n")
    for name in ("root", "alice"):
        openssl(folder, "genrsa", "-out", f"{name}.key", "2048")
    request(folder, "alice", "/CN=alice")
    return folder


def request(folder: Path, name: str, subject: str, *words: str) -> None:
    """Make a request that asks for no extensions."""
    openssl(
        folder, "req", "-new", "-config", "openssl.cnf", "-key", f"{name}.key",
        "-subj", subject, "-out", f"{name}.csr", *words,
    )  # fmt: skip


def make_root(folder: Path, extensions: str | None, *words: str) -> bytes:
    """Return a self-signed root in DER."""
    if extensions is None:
        openssl(
            folder, "req", "-x509", "-key", "root.key", "-subj", "/CN=Private Root",
            "-days", "3650", "-out", "root.pem",
        )  # fmt: skip
    else:
        request(folder, "root", "/CN=Private Root")
        sign(folder, "root", extensions, "-signkey", "root.key", "-days", "3650", *words)
    return read_pem((folder / "root.pem").read_bytes())[0]


def sign(folder: Path, name: str, extensions: str, *words: str) -> Certificate:
    """Answer a request; without extensions openssl 3.0 makes version 1."""
    (folder / "ext").write_text(extensions)
    extra = ("-extfile", "ext") if extensions else ()
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *words, *extra)
    return read_certificate(read_pem((folder / f"{name}.pem").read_bytes())[0])


def issue(folder: Path, extensions: str, *words: str) -> Certificate:
    """Return Alice's certificate."""
    authority = ("-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-days", "800")
    return sign(folder, "alice", extensions, *authority, *words)


@pytest.mark.parametrize("root", ROOTS)
def test_private_authorities_are_believed(folder: Path, root: str) -> None:
    """CERT-1, CERT-7: with and without key identifiers, usage, purposes, even version 1."""
    store = Store([make_root(folder, ROOTS[root])])
    for extensions in LEAVES.values():
        alice = issue(folder, extensions)
        assert store.check(alice, [], now(), Purpose.USER) is None
        assert alice.speaks_for_user(b"alice", b"example.com")


def test_a_version_1_user_speaks_for_nobody(folder: Path) -> None:
    """No extensions, no names: believed, but of use to no user."""
    store = Store([make_root(folder, None)])
    alice = issue(folder, "")
    assert store.check(alice, [], now(), Purpose.USER) is None
    assert alice.users == ()
    assert alice.domains == ()


def test_a_root_with_serial_number_zero_is_believed(folder: Path) -> None:
    """Old tools gave it, and cryptography warns of it; pytest makes warnings errors."""
    extensions = ROOTS["basicConstraints only"]
    store = Store([make_root(folder, extensions, "-set_serial", "0")])
    assert store.check(issue(folder, f"{SAN}\n"), [], now(), Purpose.USER) is None


def test_sha1_is_a_legacy_that_the_policy_must_allow(folder: Path) -> None:
    """SMI-29: in a user's certificate; in the root's own signature it proves nothing anyway."""
    root = make_root(folder, ROOTS["basicConstraints only"], "-sha1")
    assert Store([root]).check(issue(folder, SAN), [], now(), Purpose.USER) is None
    alice = issue(folder, SAN, "-sha1")
    assert reason(Store([root]).check(alice, [], now(), Purpose.USER)) is Reason.WEAK_SIGNATURE
    legacy = Store([root], legacy_sha1=True)
    assert legacy.check(alice, [], now(), Purpose.USER) is None
    md5 = issue(folder, SAN, "-md5")
    assert reason(legacy.check(md5, [], now(), Purpose.USER)) is Reason.WEAK_SIGNATURE


def test_other_purposes(folder: Path) -> None:
    """CERT-7, STI-30: certificates for a domain, for a web server and for PASSporTs."""
    store = Store([make_root(folder, None)])
    web = issue(folder, "subjectAltName=DNS:example.com\nextendedKeyUsage=serverAuth,clientAuth\n")
    assert reason(store.check(web, [], now(), Purpose.DOMAIN)) is Reason.WRONG_KEY_USAGE
    sip = issue(folder, "subjectAltName=URI:sip:example.com\nextendedKeyUsage=1.3.6.1.5.5.7.3.20\n")
    assert store.check(sip, [], now(), Purpose.DOMAIN) is None
    openssl(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "stir.key")
    request(folder, "stir", "/CN=SHAKEN 1234")
    extensions = (
        "basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\n"
        "1.3.6.1.5.5.7.1.26=ASN1:SEQUENCE:tn\n[tn]\nspc=EXPLICIT:0,IA5STRING:1234\n"
    )
    words = ("-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-days", "800")
    stir = sign(folder, "stir", extensions, *words)
    assert store.check(stir, [], now(), Purpose.STIR) is None
    assert stir.tn_auth_list == bytes.fromhex("3008a006160431323334")


def test_openssl_ca_issues_and_revokes(folder: Path) -> None:
    """CERT-2: ``openssl ca`` with ``-gencrl``."""
    root = make_root(folder, None)
    request(folder, "alice", "/CN=alice at ca", "-addext", SAN)
    signing = ("-config", "openssl.cnf", "-cert", "root.pem", "-keyfile", "root.key")
    openssl(folder, "ca", "-batch", "-notext", *signing, "-in", "alice.csr", "-out", "ca.pem")
    alice = read_certificate(read_pem((folder / "ca.pem").read_bytes())[0])
    assert Store([root]).check(alice, [], now(), Purpose.USER) is None
    openssl(folder, "ca", *signing, "-gencrl", "-out", "before.crl")
    openssl(folder, "ca", *signing, "-revoke", "ca.pem")
    openssl(folder, "ca", *signing, "-gencrl", "-out", "after.crl")
    for name, expected in (("before", None), ("after", Reason.CERTIFICATE_REVOKED)):
        crls = read_crls((folder / f"{name}.crl").read_bytes())
        store = Store([root], crls=crls, hard_revocation=True)
        assert reason(store.check(alice, [], now(), Purpose.USER)) is expected


def reason(finding: Finding | None) -> Reason | None:
    """The reason alone."""
    return finding.reason if finding else None


def published(name: str) -> Certificate:
    """Return a certificate of RFC 6216."""
    return read_certificate(read_pem((RFC6216 / f"{name}.pem").read_bytes())[0])


@pytest.mark.skipif(not RFC6216.is_dir(), reason="needs the RFC's certificates")
class TestRfc6216:
    """CERT-8: the authority, users and domains that the RFC prints; all signed with SHA-1."""

    @pytest.mark.parametrize(
        ("name", "purpose"),
        [
            ("fluffy-eku", Purpose.USER),
            ("kumiko-eku", Purpose.USER),
            ("example.com-eku", Purpose.DOMAIN),
            ("example.net-eku", Purpose.DOMAIN),
        ],
    )
    def test_believed_as_legacy_only(self, name: str, purpose: Purpose) -> None:
        """SMI-29."""
        root = published("ca-sipit-root").der
        leaf = published(name)
        assert reason(Store([root]).check(leaf, [], NOW_S, purpose)) is Reason.WEAK_SIGNATURE
        legacy = Store([root], legacy_sha1=True)
        assert legacy.check(leaf, [], NOW_S, purpose) is None
        early = legacy.check(leaf, [], 1_290_000_000.0, purpose)
        assert reason(early) is Reason.CERTIFICATE_NOT_YET

    def test_names(self) -> None:
        """CERT-4 to CERT-6: im and pres URIs say nothing, the domain URI bars the DNS name."""
        assert published("fluffy-eku").users == ((b"fluffy", b"example.com"),)
        assert published("kumiko-eku").users == ((b"kumiko", b"example.net"),)
        assert published("example.com-eku").domains == (b"example.com",)
        assert published("fluffy-eku").domains == ()
        assert published("example.com-eku").users == ()
        assert not published("fluffy-eku").speaks_for_user(b"kumiko", b"example.net")

    def test_a_users_certificate_is_no_domains(self) -> None:
        """CERT-7: both carry sipDomain; the domain's has no e-mail, and no user in its name."""
        assert not published("fluffy-eku").speaks_for_domain(b"example.com")
        assert not published("example.com-eku").speaks_for_user(b"fluffy", b"example.com")

    def test_without_the_root_nobody_is_believed(self) -> None:
        """An untrusted root, and self-signed."""
        leaf, root = published("fluffy-eku"), published("ca-sipit-root")
        store = Store([published("example.com-eku").der], legacy_sha1=True)
        found = store.check(leaf, [root.der], NOW_S, Purpose.USER)
        assert reason(found) is Reason.UNKNOWN_ISSUER
        assert reason(store.check(root, [], NOW_S, Purpose.USER)) is Reason.SELF_SIGNED
