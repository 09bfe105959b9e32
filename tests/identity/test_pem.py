"""Certificates and lists out of files: PEM with all that stands around it, or DER."""

import base64

import pytest
from authority import issue_user, make_authority, revoke
from hypothesis import given
from hypothesis import strategies as st

from sipguard.identity.pem import read_crls, read_pem

ROOT = make_authority("PEM Root")
ALICE = issue_user(ROOT)


def test_every_certificate_of_a_file_in_order() -> None:
    """With the keys and the remarks that people leave in such files."""
    octets = b"subject=Alice\n" + ALICE.pem + ALICE.key_pem + b"\nissuer\r\n" + ROOT.pem
    assert read_pem(octets) == (ALICE.der, ROOT.der)
    assert read_pem(octets.replace(b"\n", b"\r\n")) == (ALICE.der, ROOT.der)


def test_one_certificate_in_der() -> None:
    """As some authorities hand it out."""
    assert read_pem(ALICE.der) == (ALICE.der,)


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"", "no certificate"),
        (ALICE.key_pem, "no certificate"),
        (b"\x30\x00", "certificate 1 of 1"),
        (ALICE.pem[:-30], "without its end"),
        (ALICE.pem.replace(b"MII", b"M!!", 1), "not base64"),
        (ROOT.pem + ALICE.pem.replace(b"MII", b"AAA", 1), "certificate 2 of 2"),
    ],
)
def test_what_cannot_be_read_is_said(octets: bytes, words: str) -> None:
    """In words that lead to the line of the file."""
    with pytest.raises(ValueError, match=words):
        read_pem(octets)


def test_lists_in_pem_and_der() -> None:
    """Beside certificates, as ``openssl`` users keep them."""
    pem = revoke(ROOT, ALICE)
    der = base64.b64decode(b"".join(pem.split(b"\n")[1:-2]))
    for octets in (pem, ROOT.pem + pem, der):
        (crl,) = read_crls(octets)
        assert crl.revoked == {ALICE.certificate.serial_number}
    for octets in (b"", ROOT.pem, ROOT.der, b"\x30\x03" + der):
        with pytest.raises(ValueError, match="revocation list"):
            read_crls(octets)


@given(
    st.lists(st.sampled_from([ALICE.pem, b"-----BEGIN ", b"CERTIFICATE-----", b"-----END ", b"x"]))
)
def test_reading_is_total(pieces: list[bytes]) -> None:
    """Certificates fetched from a URL are hostile: ValueError and nothing else."""
    for read in (read_pem, read_crls):
        try:
            assert read(b"".join(pieces))
        except ValueError:
            continue
