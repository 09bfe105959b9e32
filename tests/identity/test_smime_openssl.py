"""identity.smime against OpenSSL and GnuTLS: what they sign we verify, and the other way round."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from authority import NOW_S, Holder, issue, make_authority
from cms_builder import (
    PART,
    key_pem,
    multipart_signed,
    open_ended,
    sign,
    signed_data,
    signer_info,
)

from sipguard.identity.smime import Verified, find_signed, is_encrypted, verify_signed
from sipguard.identity.trust import Store
from sipguard.reason import Reason
from sipguard.wire import ber
from sipguard.wire.cms import EnvelopedData, parse_cms

OPENSSL = shutil.which("openssl") or ""
CERTTOOL = shutil.which("certtool") or ""
pytestmark = pytest.mark.skipif(not OPENSSL, reason="no openssl program")

FROM_S = 0.0  # the program signs at the clock's time, whenever that is
UNTIL_S = 2_500_000_000.0
ROOT = make_authority("Example Root")
KINDS = ("rsa2048", "p256", "p384", "ed25519")
SIGNERS = {
    kind: issue(
        kind, ROOT, uris=(f"sip:{kind}@example.com",), kind=kind, from_s=FROM_S, until_s=UNTIL_S
    )
    for kind in KINDS
}
STORE = Store([ROOT.der])
KNOWING = Store([ROOT.der], known=[holder.der for holder in SIGNERS.values()])
BODY = PART + bytes(range(256)) * 20


def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([OPENSSL, *arguments], capture_output=True, timeout=30, check=False)


def theirs(folder: Path, holders: Sequence[Holder], *options: str, digest: str = "sha256") -> bytes:
    """Return what the program makes of ``BODY``."""
    (folder / "content").write_bytes(BODY)
    signers = []
    for number, holder in enumerate(holders):
        pem = folder / f"{number}.pem"
        pem.write_bytes(key_pem(holder))
        signers += ["-signer", str(pem)]
    done = run(
        *("cms", "-sign", "-binary", "-outform", "DER", "-md", digest, *signers),
        *("-in", str(folder / "content"), *options),
    )
    if done.returncode:
        pytest.skip(f"this openssl cannot: {done.stderr.decode()[:200]}")
    return done.stdout


def verify(cms: bytes, micalg: str, store: Store = STORE, body: bytes = BODY) -> Verified:
    value, whole = multipart_signed(body, cms, micalg=micalg)
    signed = find_signed(value, whole)[0]
    return verify_signed(signed, store, NOW_S, legacy_sha1=False, max_age_s=0, user=None)


def accepts(folder: Path, cms: bytes, content: bytes, *options: str) -> bool:
    """Ask the program whether it verifies this detached signature."""
    (folder / "cms").write_bytes(cms)
    (folder / "content").write_bytes(content)
    (folder / "root.pem").write_bytes(ROOT.pem)
    done = run(
        *("cms", "-verify", "-binary", "-inform", "DER", "-in", str(folder / "cms")),
        *("-content", str(folder / "content"), "-out", str(folder / "out")),
        *("-CAfile", str(folder / "root.pem"), "-purpose", "any"),
        *("-attime", str(int(NOW_S)), *options),
    )
    return done.returncode == 0


@pytest.mark.parametrize("options", ["", "-noattr", "-keyid", "-stream", "-nosmimecap -cades"])
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("kind", KINDS[:3])  # OpenSSL 3.0 has no Ed25519 in CMS
def test_what_openssl_signs_is_verified(
    kind: str, digest: str, options: str, tmp_path: Path
) -> None:
    """Every kind of key and digest, DER and BER, with and without attributes (SMI-20 to SMI-29)."""
    cms = theirs(tmp_path, [SIGNERS[kind]], *options.split(), digest=digest)
    micalg = digest.replace("sha", "sha-")
    assert verify(cms, micalg).finding is None
    changed = verify(cms, micalg, body=BODY.replace(b"alice", b"mallo"))
    assert changed.finding is not None


@pytest.mark.skipif(not CERTTOOL, reason="no certtool program")
@pytest.mark.parametrize("options", ["", "--p7-time"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_gnutls_signs_is_verified(kind: str, options: str, tmp_path: Path) -> None:
    """A third implementation, which has Ed25519; without and with attributes (SMI-29)."""
    holder = SIGNERS[kind]
    for name, octets in (("key", holder.key_pem), ("own", holder.pem), ("in", BODY)):
        (tmp_path / name).write_bytes(octets)
    done = subprocess.run(
        [
            *(CERTTOOL, "--p7-detached-sign", "--outder", *options.split()),
            *("--load-privkey", tmp_path / "key", "--load-certificate", tmp_path / "own"),
            *("--infile", tmp_path / "in", "--outfile", tmp_path / "out"),
        ],
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert done.returncode == 0
    cms = (tmp_path / "out").read_bytes()
    assert verify(cms, "unknown", KNOWING).finding is None
    assert verify(cms, "unknown", KNOWING, BODY + b"x").finding is not None


def test_pss_of_openssl_is_verified(tmp_path: Path) -> None:
    """Its salt fills the key unless told otherwise (SMI-29)."""
    for options in ((), ("-keyopt", "rsa_pss_saltlen:32"), ("-keyopt", "rsa_mgf1_md:sha512")):
        padded = ("-keyopt", "rsa_padding_mode:pss", *options)
        cms = theirs(tmp_path, [SIGNERS["rsa2048"]], *padded)
        assert verify(cms, "sha-256").finding is None


@pytest.mark.parametrize("options", ["-nocerts", "-nocerts -keyid", "-nocerts -noattr"])
def test_without_certificate_it_must_be_known(options: str, tmp_path: Path) -> None:
    """By issuer and serial, by the key's id (SMI-30)."""
    cms = theirs(tmp_path, [SIGNERS["p256"]], *options.split())
    unknown = verify(cms, "sha-256")
    assert unknown.unknown
    assert verify(cms, "sha-256", KNOWING).finding is None


def test_several_signers_of_openssl(tmp_path: Path) -> None:
    """Three signers of three kinds, all valid (SMI-22)."""
    cms = theirs(tmp_path, [SIGNERS[kind] for kind in KINDS[:3]])
    verified = verify(cms, "sha-256")
    assert verified.finding is None
    assert [note.reason for note in verified.notes] == [Reason.SEVERAL_SIGNERS]


@pytest.mark.parametrize("options", ["-nodetach", "-nodetach -stream", "-nodetach -noattr"])
def test_opaque_signatures_of_openssl(options: str, tmp_path: Path) -> None:
    """The content inside, whole or in pieces (SMI-1, SMI-20)."""
    cms = theirs(tmp_path, [SIGNERS["p256"]], *options.split())
    signed = find_signed(b"application/pkcs7-mime; smime-type=signed-data", cms)[0]
    assert signed.content == BODY
    verified = verify_signed(signed, STORE, NOW_S, legacy_sha1=False, max_age_s=0, user=None)
    assert verified.finding is None


def test_sha1_of_openssl_is_legacy(tmp_path: Path) -> None:
    """Refused, or valid with a note (SMI-29)."""
    cms = theirs(tmp_path, [SIGNERS["rsa2048"]], digest="sha1")
    finding = verify(cms, "sha1").finding
    assert finding is not None
    assert finding.reason is Reason.WEAK_SIGNATURE
    signed = find_signed(*multipart_signed(BODY, cms, micalg="sha1"))[0]
    verified = verify_signed(signed, STORE, NOW_S, legacy_sha1=True, max_age_s=0, user=None)
    assert verified.finding is None


@pytest.mark.parametrize("options", ["", "-stream", "-aes-256-gcm"])
def test_encrypted_data_of_openssl_is_recognized(options: str, tmp_path: Path) -> None:
    """Enveloped, in BER, and with authentication (SMI-32)."""
    (tmp_path / "content").write_bytes(BODY)
    (tmp_path / "to.pem").write_bytes(SIGNERS["rsa2048"].pem)
    done = run(
        *("cms", "-encrypt", "-binary", "-outform", "DER", *options.split()),
        *("-in", str(tmp_path / "content"), str(tmp_path / "to.pem")),
    )
    if done.returncode:
        pytest.skip(f"this openssl cannot: {done.stderr.decode()[:200]}")
    assert isinstance(parse_cms(done.stdout), EnvelopedData)
    assert is_encrypted(b"application/pkcs7-mime", done.stdout)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_openssl_verifies_what_the_tests_sign(kind: str, plain: bool, tmp_path: Path) -> None:
    """The other direction: our own vectors are what the world calls a signature."""
    holder = SIGNERS[kind]
    digest = "sha512" if kind == "ed25519" else "sha256"
    info = signer_info(BODY, holder, digest=digest, plain=plain)
    cms = signed_data(info, certificates=(holder.der,), digests=(digest,))
    if kind == "ed25519" and not accepts(tmp_path, cms, BODY):
        pytest.skip("this openssl has no Ed25519 in CMS (3.0 has not)")
    assert accepts(tmp_path, cms, BODY)
    assert not accepts(tmp_path, cms, BODY + b"\r\n")


def test_openssl_agrees_with_the_rewriting(tmp_path: Path) -> None:
    """A second opinion on BER: the program verifies before and after (SMI-20)."""
    cms = open_ended(sign(BODY, SIGNERS["p256"]))
    assert accepts(tmp_path, cms, BODY)
    assert accepts(tmp_path, ber.to_der(cms), BODY)


def test_openssl_and_we_agree_on_every_changed_octet(tmp_path: Path) -> None:
    """No octet makes us more lenient than the program, but an unannounced digest (SMI-28)."""
    holder = SIGNERS["p256"]
    cms = signed_data(signer_info(BODY, holder), certificates=(holder.der,))
    lenient = []
    for at in range(0, len(cms), 7):
        changed = cms[:at] + bytes((cms[at] ^ 0x01,)) + cms[at + 1 :]
        ours = verify(changed, "sha-256")
        if ours.finding is None and not ours.notes and not accepts(tmp_path, changed, BODY):
            lenient.append(at)
    assert lenient == []
