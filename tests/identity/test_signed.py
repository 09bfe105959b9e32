"""identity.signed: bodies cut at the octets that signatures cover (SMI-1 to SMI-10, SMI-32)."""

import base64

import pytest
from authority import issue_user, make_authority
from cms_builder import (
    ENVELOPED,
    PART,
    content_info,
    integer,
    multipart_signed,
    sequence,
    sign,
    signed_data,
    signer_info,
)
from hypothesis import given
from hypothesis import strategies as st

from sipguard.identity.signed import MAX_SIGNED, Signed, find_signed, is_encrypted
from sipguard.reason import Reason

ROOT = make_authority("Example Root")
ALICE = issue_user(ROOT)
CMS = sign(PART, ALICE)
ENCRYPTED = content_info(sequence(integer(0)), ENVELOPED)
SDP = b"Content-Type: application/sdp\r\n\r\nv=0\r\n"
MIXED = b"multipart/mixed;boundary=mix"
OPAQUE = b"application/pkcs7-mime; smime-type=signed-data; name=smime.p7m"


def mixed(*parts: bytes) -> bytes:
    return b"".join(b"--mix\r\n" + part + b"\r\n" for part in parts) + b"--mix--\r\n"


def as_part(value: bytes, body: bytes, extra: bytes = b"") -> bytes:
    return b"Content-Type: " + value + b"\r\n" + extra + b"\r\n" + body


def only(content_type: bytes, body: bytes) -> Signed:
    found = find_signed(content_type, body)
    assert len(found) == 1
    return found[0]


def fault(content_type: bytes, body: bytes) -> Reason | None:
    found = only(content_type, body).fault
    return None if found is None else found.reason


def signature_headers(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in lines)


REQUIRED = b"Content-Disposition: attachment; handling=required"
TYPE = b"Content-Type: application/pkcs7-signature"


# --- where it stands


def test_the_body_itself_may_be_signed() -> None:
    """Its own disposition stands in the SIP header, which is not asked here (SMI-1)."""
    value, body = multipart_signed(PART, CMS)
    signed = only(value, body)
    assert (signed.content, body[signed.start : signed.end]) == (PART, PART)
    assert (signed.fault, signed.notes, signed.opaque, signed.micalg) == (
        None,
        (),
        False,
        b"sha-256",
    )
    assert (signed.content_type, signed.disposition) == (b"multipart/signed", b"")


def test_signed_octets_end_before_the_line_end_of_the_delimiter() -> None:
    """Part headers and blank line included, delimiters and their CRLF not (SMI-4)."""
    for part in (PART, PART + b"\r\n", b"\r\nno headers", b"Content-Type: text/plain\r\n\r\n"):
        value, body = multipart_signed(part, CMS)
        signed = find_signed(value, b"a preamble\r\n" + body)[0]
        assert signed.content == part


def test_the_signed_part_is_read_with_spans_into_the_content() -> None:
    """So that its headers need not be read twice."""
    value, body = multipart_signed(PART, CMS)
    part = only(MIXED, mixed(SDP, as_part(value, body))).part
    assert part is not None
    assert (part.content_type, part.disposition, part.handling) == (
        b"message/sipfrag",
        b"aib",
        b"optional",
    )
    assert PART[part.start : part.end] == PART.partition(b"\r\n\r\n")[2]


def test_it_is_found_at_any_depth_outermost_first() -> None:
    """Beside a session description, and inside another signature (SMI-10)."""
    value, body = multipart_signed(PART, CMS)
    inner = as_part(value, body, b"Content-Disposition: AIB\r\n")
    whole = mixed(SDP, inner)
    found = find_signed(MIXED, whole)
    assert [(one.content, one.disposition) for one in found] == [(PART, b"aib")]
    assert whole[found[0].start : found[0].end] == PART
    outer_part = as_part(MIXED, mixed(inner, SDP))
    value, body = multipart_signed(outer_part, sign(outer_part, ALICE), boundary="outer")
    found = find_signed(value, body)
    assert [one.content for one in found] == [outer_part, PART]
    assert [body[one.start : one.end] for one in found] == [outer_part, PART]


def test_opaque_signatures_are_opened() -> None:
    """application/pkcs7-mime holds the content itself; what is signed inside it too (SMI-1)."""
    cms = sign(PART, ALICE, opaque=True)
    signed = only(OPAQUE, cms)
    assert (signed.opaque, signed.content, signed.start, signed.end) == (True, PART, 0, 0)
    assert signed.part is not None
    assert signed.part.disposition == b"aib"
    encoded = as_part(
        b"application/x-pkcs7-mime",
        base64.encodebytes(cms).replace(b"\n", b"\r\n"),
        b"Content-Transfer-Encoding: base64\r\n",
    )
    assert only(MIXED, mixed(SDP, encoded)).content == PART
    value, body = multipart_signed(PART, CMS)
    wrapped = as_part(MIXED, mixed(as_part(value, body), SDP))
    found = find_signed(OPAQUE, sign(wrapped, ALICE, opaque=True))
    assert [(one.opaque, one.content, one.start) for one in found] == [
        (True, wrapped, 0),
        (False, PART, 0),
    ]


def test_an_opaque_signature_over_no_mime_has_no_part() -> None:
    """It may be valid and says nothing."""
    signed = only(OPAQUE, sign(b"\x00\x01\x02", ALICE, opaque=True))
    assert (signed.part, signed.fault) == (None, None)


def test_what_is_not_signed_is_not_found() -> None:
    """No body, plain bodies, certificates alone, encrypted data (SMI-1)."""
    certificates = signed_data(certificates=(ALICE.der,))
    assert find_signed(b"", b"") == ()
    assert find_signed(b"application/sdp", b"v=0\r\n") == ()
    assert find_signed(MIXED, mixed(SDP, PART)) == ()
    assert find_signed(b"application/pkcs7-mime; smime-type=certs-only", certificates) == ()
    assert find_signed(b"application/pkcs7-mime", certificates) == ()
    assert find_signed(b"application/pkcs7-mime", ENCRYPTED) == ()
    assert find_signed(b"nonsense", b"v=0\r\n") == ()


# --- structure


@pytest.mark.parametrize("encoding", [b"binary", b"8bit", b"BASE64", b""])
def test_the_signature_part_may_be_encoded(encoding: bytes) -> None:
    """Binary is normal in SIP (RFC 3853), base64 is printed in RFC 3893 (SMI-8)."""
    cms = base64.encodebytes(CMS).replace(b"\n", b"\r\n") if encoding == b"BASE64" else CMS
    line = b"Content-Transfer-Encoding: " + encoding
    headers = signature_headers(TYPE, REQUIRED, *([line] if encoding else []))
    assert fault(*multipart_signed(PART, cms, headers=headers)) is None


def test_broken_encodings_are_faults() -> None:
    """One strict reading (SMI-8)."""
    for line in (b"base64", b"x-uuencode"):
        headers = signature_headers(TYPE, REQUIRED, b"Content-Transfer-Encoding: " + line)
        assert fault(*multipart_signed(PART, CMS, headers=headers)) is Reason.CONTENT_ENCODING


@pytest.mark.parametrize("parts", [0, 1, 3])
def test_a_signed_body_has_two_parts(parts: int) -> None:
    """Content and signature; a third would be unsigned inside the signed (SMI-2)."""
    value = b'multipart/signed;protocol="application/pkcs7-signature";micalg=sha-256;boundary=mix'
    signature = signature_headers(TYPE, REQUIRED) + b"\r\n" + CMS
    body = mixed(*[PART, signature, SDP][: max(parts, 1)])
    expected = Reason.BAD_SIGNED_BODY if parts else Reason.BAD_MULTIPART
    assert fault(value, body if parts else b"--mix--\r\n") is expected


@pytest.mark.parametrize(
    "value",
    [
        b"multipart/signed;micalg=sha-256;boundary=sgn",
        b"multipart/signed;protocol=x;micalg=sha-256;boundary=sgn",
        b'multipart/signed;protocol="application/pgp-signature";micalg=sha-256;boundary=sgn',
        b'multipart/signed;protocol="application/x-pkcs7-signature";micalg=sha-256;boundary=sgn',
        b'multipart/signed;protocol="application/pkcs7-signature";boundary=sgn',
    ],
)
def test_parameters_must_be_there_and_fit(value: bytes) -> None:
    """RFC 1847 section 2.1: protocol and micalg, and the second part of that type (SMI-2)."""
    _, body = multipart_signed(PART, CMS)
    assert fault(value, body) is Reason.BAD_SIGNED_BODY


def test_another_protocol_is_none_of_ours() -> None:
    """OpenPGP in both places fits together, and is not S/MIME (SMI-2)."""
    pgp = "application/pgp-signature"
    headers = signature_headers(b"Content-Type: " + pgp.encode(), REQUIRED)
    assert fault(*multipart_signed(PART, CMS, protocol=pgp, headers=headers)) is (
        Reason.BAD_SIGNED_BODY
    )


def test_the_old_type_is_read_and_noted() -> None:
    """Clients from before RFC 2633 write x-pkcs7-signature in both places (SMI-2)."""
    old = "application/x-pkcs7-signature"
    headers = signature_headers(b"Content-Type: " + old.encode(), REQUIRED)
    signed = only(*multipart_signed(PART, CMS, protocol=old, headers=headers))
    assert signed.fault is None
    assert [note.reason for note in signed.notes] == [Reason.CMS_ODD]


def test_a_signature_without_handling_is_noted() -> None:
    """RFC 3261 section 23.3 wants handling=required (SMI-9)."""
    for line in ((), (b"Content-Disposition: attachment; handling=optional",)):
        headers = signature_headers(TYPE, *line)
        signed = only(*multipart_signed(PART, CMS, headers=headers))
        assert signed.fault is None
        assert [note.reason for note in signed.notes] == [Reason.CMS_ODD]


def test_a_content_inside_must_be_the_content_outside() -> None:
    """Detached is the rule; two different contents under one signature are a trick (SMI-3)."""
    same = only(*multipart_signed(PART, sign(PART, ALICE, opaque=True)))
    assert same.fault is None
    assert [note.reason for note in same.notes] == [Reason.CMS_ODD]
    other = sign(PART.replace(b"alice", b"mallory"), ALICE, opaque=True)
    assert fault(*multipart_signed(PART, other)) is Reason.BAD_SIGNED_BODY


@pytest.mark.parametrize(
    ("micalg", "digest", "expected"),
    [
        ("sha-256", "sha256", None),
        ("SHA256", "sha256", None),
        ("sha1", "sha1", None),
        ("sha-1", "sha1", None),
        ("sha-384", "sha384", None),
        ("SHA384", "sha384", None),
        ("sha-512", "sha512", None),
        ("sha512", "sha512", None),
        ("sha-224", "sha256", Reason.MICALG),
        ("sha-256", "sha512", Reason.MICALG),
        ("sha256", "sha512", Reason.MICALG),
        ("sha-384", "sha256", Reason.MICALG),
        ("sha384", "sha256", Reason.MICALG),
        ("sha-1", "sha256", Reason.MICALG),
        ("sha-512", "sha256", Reason.MICALG),
        ("sha512", "sha256", Reason.MICALG),
        ("sha1", "sha256", Reason.MICALG),
        ("md5", "sha256", Reason.MICALG),
        ('"sha-512 ,\t sha-256 "', "sha256", None),
        ('"sha-512,sha1"', "sha256", Reason.MICALG),
        ("sha3-256", "sha256", None),
        ("unknown", "sha256", None),
        ("sha-256", "md5", None),
    ],
)
def test_micalg_must_not_lie(micalg: str, digest: str, expected: Reason | None) -> None:
    """Known and another is an error (RFC 1847); unknown is not (SMI-7)."""
    holder = issue_user(ROOT, "rsa@example.com", kind="rsa2048")
    cms = signed_data(signer_info(PART, holder, digest=digest), digests=(digest,))
    assert fault(*multipart_signed(PART, cms, micalg=micalg)) is expected


def test_broken_signatures_are_faults_not_absences() -> None:
    """A stripped or spoiled signature must not look like an unsigned message (SMI-20)."""
    for cms in (b"", b"\x30", CMS[:-1], CMS + b"\r\n", ENCRYPTED):
        found = only(*multipart_signed(PART, cms))
        assert found.fault is not None
        assert found.fault.reason in (Reason.BAD_CMS, Reason.BAD_SIGNED_BODY)
        assert found.cms is None
    for cms in (b"", CMS):
        opaque = as_part(OPAQUE, cms, b"Content-Disposition: aib\r\n")
        found = only(MIXED, mixed(SDP, opaque))
        assert found.fault is not None
        assert found.fault.reason in (Reason.BAD_CMS, Reason.BAD_SIGNED_BODY)
        assert found == Signed(
            b"", 0, 0, None, None, found.fault, (), True, b"", b"application/pkcs7-mime", b"aib"
        )


def test_a_body_that_cannot_be_cut_is_a_fault_where_a_signature_is_meant() -> None:
    """Otherwise a missing delimiter would strip a signature (SMI-2)."""
    value, body = multipart_signed(PART, CMS)
    for broken in (body.removesuffix(b"--\r\n"), body.replace(b"\r\n--sgn", b"\n--sgn"), b""):
        assert fault(value, broken) is Reason.BAD_MULTIPART
    inner = mixed(SDP, as_part(value, body[:-6]))
    assert fault(MIXED, inner) is Reason.BAD_MULTIPART
    assert fault(b"multipart/signed;;", b"") is Reason.BAD_CONTENT_TYPE
    assert find_signed(MIXED, b"--mix\r\nno signature at all") == ()
    opaque = b"--mix\r\nContent-Type: application/pkcs7-mime\r\n"
    assert fault(MIXED, opaque) is Reason.BAD_MULTIPART


def test_signatures_are_bounded() -> None:
    """Verifying costs; nobody honest sends five (SMI-20)."""
    parts = [as_part(*multipart_signed(PART, CMS, boundary=f"b{n}")) for n in range(5)]
    assert [one.fault for one in find_signed(MIXED, mixed(*parts[:4]))] == [None] * MAX_SIGNED
    assert not is_encrypted(MIXED, mixed(*parts[:4]))
    assert fault(MIXED, mixed(*parts)) is Reason.BAD_SIGNED_BODY
    assert is_encrypted(MIXED, mixed(*parts))
    envelope = as_part(b"application/pkcs7-mime", ENCRYPTED)
    assert fault(MIXED, mixed(*[envelope] * 4, parts[0])) is Reason.BAD_SIGNED_BODY


def test_nesting_is_bounded() -> None:
    """Opaque signatures inside each other are opened three deep; what is below hides."""
    cms = CMS
    expected = [(1, False), (1, False), (2, False), (3, False), (3, True), (3, True)]
    for number, hidden in expected:
        found = find_signed(OPAQUE, cms)
        assert (len(found), is_encrypted(OPAQUE, cms)) == (number, hidden)
        cms = sign(PART if cms is CMS else as_part(OPAQUE, cms), ALICE, opaque=True)


# --- encrypted


@pytest.mark.parametrize(
    ("value", "body", "expected"),
    [
        (b"application/pkcs7-mime; smime-type=enveloped-data", ENCRYPTED, True),
        (b"application/pkcs7-mime; smime-type=enveloped-data", b"", True),
        (b"application/pkcs7-mime; smime-type=authEnveloped-data", b"", True),
        (b"application/pkcs7-mime; smime-type=compressed-data", b"", True),
        (b"application/x-pkcs7-mime", ENCRYPTED, True),
        (
            b"application/pkcs7-mime; smime-type=certs-only",
            signed_data(certificates=(ALICE.der,)),
            False,
        ),
        (b"application/pkcs7-mime", b"broken", True),
        (b"application/pkcs7-mime; smime-type=signed-data", ENCRYPTED, True),
        (OPAQUE, sign(PART, ALICE, opaque=True), False),
        (OPAQUE, sign(as_part(b"application/pkcs7-mime", ENCRYPTED), ALICE, opaque=True), True),
        (OPAQUE, sign(b"\x00 no MIME", ALICE, opaque=True), True),
        (MIXED, mixed(SDP, as_part(b"application/pkcs7-mime", ENCRYPTED)), True),
        (MIXED, mixed(SDP, PART), False),
        (MIXED, b"--mix\r\nContent-Type: Application/PKCS7-MIME\r\n", True),
        (MIXED, b"--mix\r\n", False),
        (b"application/sdp", b"v=0\r\n", False),
        (b"", b"", False),
    ],
)
def test_what_cannot_be_inspected_is_said(value: bytes, body: bytes, expected: bool) -> None:
    """Encrypted, compressed, broken: a session may hide in it (SMI-32)."""
    assert is_encrypted(value, body) is expected


def test_encrypted_under_a_signature_is_seen_and_the_signature_too() -> None:
    """Encrypt, then sign: the signature can still be verified (SMI-32, AIB-13)."""
    part = as_part(b"application/pkcs7-mime; smime-type=enveloped-data", ENCRYPTED)
    value, body = multipart_signed(part, sign(part, ALICE))
    assert is_encrypted(value, body)
    assert fault(value, body) is None


# --- totality

PIECES = st.sampled_from(
    [
        b"--sgn\r\n",
        b"\r\n--sgn\r\n",
        b"\r\n--sgn--\r\n",
        b"--mix\r\n",
        b"\r\n--mix--",
        b"Content-Type: multipart/signed; boundary=sgn; micalg=x\r\n",
        b"Content-Type: application/pkcs7-mime\r\n",
        TYPE + b"\r\n",
        b"\r\n",
        b"\n",
        CMS,
        ENCRYPTED,
        PART,
    ]
)
VALUES = st.sampled_from([multipart_signed(b"", b"")[0], MIXED, OPAQUE, b"", b"multipart/signed"])


@given(VALUES, st.lists(PIECES | st.binary(max_size=10), max_size=12).map(b"".join))
def test_find_signed_never_raises(value: bytes, body: bytes) -> None:
    """Whatever the body: spans inside it, and a signature or a fault."""
    for one in find_signed(value, body):
        assert (one.fault is None) <= (one.cms is not None)
        assert 0 <= one.start <= one.end <= len(body)
        if one.end:
            assert body[one.start : one.end] == one.content
    assert is_encrypted(value, body) in (True, False)
