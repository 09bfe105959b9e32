"""Authenticated Identity Bodies: who is calling, and what proves it (AIB-1 to AIB-18)."""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import signed_messages as made
from authority import NOW_S, SIP_DOMAIN, Holder, issue, issue_user, make_authority
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from signed_messages import NOW, SDP, rows, user

from sipguard.evidence import Evidence, State
from sipguard.identity.aib import Aib, AibSettings
from sipguard.identity.aib_memory import AibMemory
from sipguard.identity.trust import Store
from sipguard.moment import Moment
from sipguard.reason import Reason

PIECES = [
    b"\r\n",
    b"--boundary42",
    b"\r\n--boundary42--",
    b"--unique-boundary-1--\r\n",
    b"Content-Disposition: aib\r\n",
    b"Content-Type: multipart/signed\r\n\r\n",
    b"Contact: *\r\n",
    b"From: x\r\n",
    b"<",
    b'"',
]
FROM_S, UNTIL_S = 1_700_000_000.0, 2_500_000_000.0
NOW_ROOT = issue(
    "Root of All Times",
    extensions=((x509.BasicConstraints(ca=True, path_length=None), True),),
    from_s=FROM_S,
    until_s=UNTIL_S,
)
ALL = (b"from", b"to", b"contact", b"date", b"call-id", b"cseq")


def aib(*, domain_signers: bool = False) -> Aib:
    settings = AibSettings(domain_signers=domain_signers)
    return Aib(settings, made.store(), AibMemory())


def examine(
    octets: bytes,
    judge: Aib | None = None,
    now: Moment = NOW,
    *,
    src: bytes = made.SRC,
    in_dialog: bool = False,
    retry: bool = False,
) -> Evidence:
    message, ids, packet = made.read(octets)
    packet = packet.changed(src=src)
    judge = judge or aib()
    return judge.examine(message, ids, packet, now, in_dialog=in_dialog, retry=retry)


def invite(
    signed: made.Rows | None = None,
    outer: made.Rows | None = None,
    holder: Holder | None = None,
    **changes: object,
) -> bytes:
    """SDP and AIB, as RFC 3893 section 3 prints them."""
    part = made.aib_part(rows() if signed is None else signed, holder or user())
    return made.raw_message(made.mixed(made.sdp_part(), part), outer, **changes)  # type: ignore[arg-type] # start, vias, extra


def why(evidence: Evidence) -> tuple[State, Reason]:
    assert evidence.finding is not None
    assert evidence.signer == b""  # only a valid one names a signer (AIB-16)
    assert evidence.covers == ()
    return evidence.state, evidence.finding.reason


def detail(evidence: Evidence) -> str:
    assert evidence.finding is not None
    return evidence.finding.detail


def reasons(evidence: Evidence) -> set[Reason]:
    return {note.reason for note in evidence.notes}


# --- form


def test_aib_1_the_example_of_rfc_3893_section_3() -> None:
    """The signed From has no tag, the INVITE's has one."""
    evidence = examine(invite(rows(From="Alice <sip:alice@example.com>")))
    assert evidence.state is State.VALID
    assert evidence.finding is None
    assert evidence.signer == b"sip:alice@example.com"
    assert evidence.covers == ALL
    assert reasons(evidence) == set()


def test_aib_1_disposition_in_any_case_and_order_of_parts() -> None:
    """Parts in another order, ``AIB`` in capitals."""
    content = made.fragment(rows(), disposition="AIB;handling=optional")
    part = made.signed_part(content, made.sign(content, user()))
    octets = made.raw_message(made.mixed(part, made.sdp_part()))
    assert examine(octets).state is State.VALID


def test_aib_1_an_aib_may_be_the_whole_body() -> None:
    """A BYE has no session description beside it."""
    octets = made.raw_message(made.alone(made.aib_part(rows(), user())))
    assert examine(octets).state is State.VALID


def test_aib_1_an_aib_inside_a_body_that_is_signed_as_a_whole() -> None:
    """RFC 3261 section 23 allows it; the AIB still speaks for headers alone."""
    kind, inner = made.mixed(made.sdp_part(), made.fragment(rows()))
    content = f"Content-Type: {kind}\r\n\r\n".encode() + inner
    octets = made.raw_message(made.alone(made.signed_part(content, made.sign(content, user()))))
    assert examine(octets).covers == ALL


def test_aib_1_an_opaque_signature() -> None:
    """application/pkcs7-mime with the fragment inside (RFC 8551 section 3.5.2)."""
    signature = made.sign(made.fragment(rows()), user(), inside=True)
    part = (
        b"Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\r\n"
        b"Content-Transfer-Encoding: binary\r\nContent-Disposition: aib\r\n\r\n" + signature
    )
    assert examine(made.raw_message(made.mixed(made.sdp_part(), part))).covers == ALL


def test_aib_1_an_opaque_signature_over_several_parts() -> None:
    """The AIB beside the session description, all of it inside."""
    kind, inner = made.mixed(made.sdp_part(), made.fragment(rows()))
    content = f"Content-Type: {kind}\r\n\r\n".encode() + inner
    body = "application/pkcs7-mime; smime-type=signed-data", made.sign(content, user(), inside=True)
    assert examine(made.raw_message(body)).covers == ALL
    forged = made.raw_message(body, rows(From="<sip:ceo@example.com>"))
    assert why(examine(forged)) == (State.FAILED, Reason.AIB_MISMATCH)


def test_aib_14_a_referred_by_token_is_no_aib() -> None:
    """A signed fragment with another disposition (RFC 3892), whatever the part around says."""
    content = made.fragment(rows(), disposition="auth-id; handling=optional")
    part = made.signed_part(
        content, made.sign(content, user()), headers="Content-Disposition: aib\r\n"
    )
    octets = made.raw_message(made.mixed(made.sdp_part(), part))
    assert why(examine(octets)) == (State.ABSENT, Reason.AIB_ABSENT)


@pytest.mark.parametrize(
    "content", [("application/sdp", SDP), ("text/plain", b"hello"), made.mixed(made.sdp_part())]
)
def test_aib_16_no_aib_is_absent(content: tuple[str, bytes]) -> None:
    """Which is neither valid nor failed."""
    assert why(examine(made.raw_message(content))) == (State.ABSENT, Reason.AIB_ABSENT)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda part: part.replace(b"From:", b"From: <sip:ceo@example.com>\r\nFrom:"),
        lambda part: part.replace(b"CSeq: 314159 INVITE", b"CSeq: INVITE"),
        lambda part: part.replace(b"\r\nTo:", b"\nTo:"),
        lambda part: part + b"\r\nbody that nothing describes",
        lambda part: part.replace(b"sipfrag", b"sipfrag;version=3.0"),
        lambda part: part.replace(b"\r\nFrom", b"\r\n\r\nFrom", 1),
        lambda part: part.replace(
            b"\r\nContent-D", b"\r\nContent-Transfer-Encoding: base64\r\nContent-D"
        ),
        lambda part: part.replace(b"\r\nContent-D", b"\r\nContent-Encoding: gzip\r\nContent-D"),
        lambda part: part + b"X-Pad: " + b"x" * 40_000 + b"\r\n",
    ],
)
def test_aib_2_a_signature_makes_no_fragment_well_formed(spoil: Callable[[bytes], bytes]) -> None:
    """Two From, bare line feeds, an undescribed body, another version, 40 KB."""
    content = spoil(made.fragment(rows()))
    part = made.signed_part(content, made.sign(content, user()))
    octets = made.raw_message(made.mixed(made.sdp_part(), part))
    evidence = examine(octets)
    assert why(evidence) == (State.FAILED, Reason.AIB_BAD_FRAGMENT)


@pytest.mark.parametrize("name", ["from", "date", "call_id", "contact"])
def test_aib_3_four_headers_are_required(name: str) -> None:
    """In every request, whatever its method."""
    evidence = examine(invite(rows(**{name: None})))
    assert why(evidence) == (State.FAILED, Reason.AIB_INCOMPLETE)
    assert name.replace("_", "-") in detail(evidence).lower()


def test_aib_3_to_and_cseq_should_be_there() -> None:
    """Without them it is easier to replay, so it is told."""
    evidence = examine(invite(rows(to=None, cseq=None)))
    assert evidence.state is State.VALID
    assert evidence.covers == (b"from", b"contact", b"date", b"call-id")
    assert [note.detail for note in evidence.notes] == ["the AIB lacks To and CSeq"]
    assert reasons(evidence) == {Reason.AIB_THIN}


def test_aib_4_an_unsigned_aib_is_an_invalid_one() -> None:
    """The signature was stripped, the fragment left."""
    octets = made.raw_message(made.mixed(made.sdp_part(), made.fragment(rows())))
    assert why(examine(octets)) == (State.FAILED, Reason.AIB_UNSIGNED)
    whole = made.raw_message(
        ("message/sipfrag", made.text(rows())), extra="Content-Disposition: aib\r\n"
    )
    assert why(examine(whole)) == (State.FAILED, Reason.AIB_UNSIGNED)


def test_aib_4_a_signature_speaks_for_no_fragment_beside_it() -> None:
    """Alice signed her session, and a thief puts an AIB before or behind it (SMI-10)."""
    content = made.sdp_part()
    signed = made.signed_part(content, made.sign(content, user()))
    for parts in ((signed, made.fragment(rows())), (made.fragment(rows()), signed)):
        evidence = examine(made.raw_message(made.mixed(*parts)))
        assert why(evidence) == (State.FAILED, Reason.AIB_UNSIGNED)


def test_aib_4_a_fragment_under_a_signature_that_covers_nothing() -> None:
    """multipart/signed with three parts (SMI-2)."""
    part = made.aib_part(rows(), user()).replace(
        b"\r\n--boundary42--", b"\r\n--boundary42\r\n\r\n--boundary42--"
    )
    octets = made.raw_message(made.mixed(made.sdp_part(), part))
    assert why(examine(octets)) == (State.FAILED, Reason.BAD_SIGNED_BODY)


def test_aib_16_a_body_that_cannot_be_cut_proves_nothing() -> None:
    """The closing boundary is missing."""
    octets = invite().replace(b"--boundary42--", b"--boundary43--")
    assert why(examine(octets)) == (State.FAILED, Reason.BAD_MULTIPART)


# --- the signer


def test_aib_5_somebody_elses_signature() -> None:
    """Signed by mallory, who is certified, and trusted to be mallory."""
    evidence = examine(invite(holder=user("mallory@example.com")))
    assert why(evidence) == (State.FAILED, Reason.AIB_WRONG_SIGNER)
    said = "From says alice@example.com, the certificate speaks for mallory@example.com"
    assert detail(evidence).replace("Alice", "alice") == said


@pytest.mark.parametrize(
    ("address", "fits"),
    [
        ("sip:alice@example.com", True),
        ("sips:alice@example.com", True),
        ("sip:alice@EXAMPLE.com", True),
        ("sip:Alice@example.com", False),
        ("sip:alice@sip.example.com", False),
        ("sip:alice@example.org", False),
        ("sip:example.com", False),
        ("tel:+4930123", False),
    ],
)
def test_aib_5_and_cert_4_the_whole_address_counts(address: str, fits: bool) -> None:
    """No subdomain, no other case of the user; the scheme may be sips."""
    said = rows(From=f"<{address}>;tag=1")
    evidence = examine(invite(said, said))
    assert (evidence.state is State.VALID) is fits
    if not fits:
        assert why(evidence) == (State.FAILED, Reason.AIB_WRONG_SIGNER)


@pytest.mark.parametrize(
    ("names", "allowed", "fits"),
    [
        ({"uris": ("sip:example.com",)}, True, True),
        ({"dns": ("example.com",)}, True, True),
        ({"dns": ("EXAMPLE.com",)}, True, True),
        ({"uris": ("sip:example.com",)}, False, False),
        ({"dns": ("*.com",)}, True, False),
        ({"dns": ("sub.example.com",)}, True, False),
        ({"dns": ("com",)}, True, False),
        ({"dns": ("example.com",), "uris": ("sip:example.org",)}, True, False),
    ],
)
def test_aib_5_b_cert_5_and_cert_6_a_domain_signs_where_the_policy_allows(
    names: dict[str, tuple[str, ...]], allowed: bool, fits: bool
) -> None:
    """Exactly the host of From; no wildcard; DNS names only without a sip URI."""
    domain = issue("domain", made.root(), purposes=(SIP_DOMAIN,), **names)  # type: ignore[arg-type] # uris, dns
    evidence = examine(invite(holder=domain), aib(domain_signers=allowed))
    assert (evidence.state is State.VALID) is fits
    if not fits:
        assert why(evidence) == (State.FAILED, Reason.AIB_WRONG_SIGNER)
        assert "alice@example.com" in detail(evidence)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"uris": ("im:alice@example.com",)},
         "the certificate speaks for no SIP address: CN=other"),
        ({"dns": ("example.com",)},
         "the certificate speaks for the domain example.com and not for its users"),
        ({"dns": ("example.org",)}, "the certificate speaks for the domain example.org"),
    ],
)  # fmt: skip
def test_aib_5_the_sentence_says_whom_the_certificate_speaks_for(
    names: dict[str, tuple[str, ...]], said: str
) -> None:
    """Three ways to be nobody in particular, and three remedies."""
    other = issue("other", made.root(), **names)  # type: ignore[arg-type] # uris, dns
    evidence = examine(invite(holder=other))
    assert why(evidence) == (State.FAILED, Reason.AIB_WRONG_SIGNER)
    assert detail(evidence) == f"From says alice@example.com, {said}"


def test_smi_30_a_signer_whose_certificate_nobody_has_is_unknown() -> None:
    """Neither attached nor in the store; with it in the store the AIB is valid."""
    content = made.fragment(rows())
    part = made.signed_part(content, made.sign(content, user(), certificates=False))
    octets = made.raw_message(made.mixed(made.sdp_part(), part))
    assert why(examine(octets)) == (State.UNKNOWN, Reason.NO_SIGNER_CERTIFICATE)
    knowing = Aib(AibSettings(), made.store(user()), AibMemory())
    assert examine(octets, knowing).state is State.VALID


@pytest.mark.parametrize(
    ("holder", "reason"),
    [
        (made.expired_user, Reason.CERTIFICATE_EXPIRED),
        (lambda: issue_user(make_authority("Other Root")), Reason.UNKNOWN_ISSUER),
        (lambda: issue_user(None), Reason.SELF_SIGNED),  # type: ignore[arg-type] # no issuer
    ],
)
def test_aib_5_a_certificate_that_is_not_trusted(
    holder: Callable[[], Holder], reason: Reason
) -> None:
    """Expired, of another authority, of nobody's."""
    assert why(examine(invite(holder=holder()))) == (State.FAILED, reason)


def test_smi_31_another_self_signed_certificate_for_one_address_is_an_alarm() -> None:
    """It proves nobody either way, but the second one is worse than the first."""
    judge = aib()
    first = issue("self", uris=("sip:alice@example.com",))
    second = issue("self two", uris=("sip:alice@example.com",))
    other = issue("self three", uris=("sip:carol@example.com",))
    for holder, reason in (
        (first, Reason.SELF_SIGNED),
        (first, Reason.SELF_SIGNED),
        (second, Reason.SIGNER_CHANGED),
        (other, Reason.SELF_SIGNED),
        (first, Reason.SELF_SIGNED),
    ):
        assert why(examine(invite(holder=holder), judge)) == (State.FAILED, reason)


def test_smi_31_a_forged_signature_teaches_the_keyring_nothing() -> None:
    """Or anybody could take a victim's place in it with a certificate picked from the wire."""
    judge = aib()
    victim = issue("self", uris=("sip:alice@example.com",))
    thief = issue("self two", uris=("sip:alice@example.com",))
    content = made.fragment(rows())
    forged = made.signed_part(content, made.sign(content + b"x", thief))
    octets = made.raw_message(made.mixed(made.sdp_part(), forged))
    assert examine(octets, judge).state is State.FAILED
    assert why(examine(invite(holder=victim), judge)) == (State.FAILED, Reason.SELF_SIGNED)


# --- correlation

DIFFERENT = [
    ("from", "CEO <sip:ceo@example.com>;tag=1928301774"),
    ("from", "Alice <sip:alice@example.com>;tag=other"),
    ("from", "CEO <sip:alice@example.com>;tag=1928301774"),
    ("from", "Alice <sips:alice@example.com>;tag=1928301774"),
    ("from", "Alice <sip:alice@example.com:5070>;tag=1928301774"),
    ("from", "Alice <sip:alice@example.com;user=phone>;tag=1928301774"),
    ("from", "Alice <sip:Alice@example.com>;tag=1928301774"),
    ("from", "Alice <sip:alice@example.com>"),
    ("to", "Bob <sip:carol@example.net>"),
    ("to", "Bob <sip:Bob@example.net>"),
    ("to", "Bob <sip:bob@example.org>"),
    ("contact", "<sip:alice@203.0.113.66>"),
    ("contact", "<sip:alice@192.0.2.33:5070>"),
    ("contact", "<sip:alice@192.0.2.33;transport=tcp>"),
    ("contact", "<sip:alice@192.0.2.33;gr=x>"),
    ("contact", "<sip:alice@192.0.2.33>;expires=0"),
    ("contact", "<sip:alice@192.0.2.33>, <sip:mallory@192.0.2.66>"),
    ("date", made.date_at(NOW_S - 60)),
    ("call_id", "a84b4c76e66711"),
    ("call_id", "A84b4c76e66710"),
    ("cseq", "314160 INVITE"),
]


@pytest.mark.parametrize(("name", "value"), DIFFERENT)
def test_aib_6_a_header_that_is_not_the_signed_one(name: str, value: str) -> None:
    """Both values stand in the sentence."""
    evidence = examine(invite(outer=rows(**{name: value})))
    assert why(evidence) == (State.FAILED, Reason.AIB_MISMATCH)
    assert " says " in detail(evidence)
    assert ", the AIB " in detail(evidence)


def test_aib_6_the_sentence_shows_both_values() -> None:
    """What an operator reads the next morning."""
    ceo = examine(invite(outer=rows(From="<sip:ceo@example.com>;tag=1928301774")))
    assert detail(ceo) == "From says sip:ceo@example.com, the AIB sip:alice@example.com"
    shown = examine(invite(outer=rows(From='"The \x1bCEO" <sip:alice@example.com>;tag=1928301774')))
    assert detail(shown) == "the name shown in From says The \\x1bCEO, the AIB Alice"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("from", '"Alice" <sip:alice@EXAMPLE.COM>;tag=1928301774'),
        ("from", "Alice <SIP:%61lice@example.com>;tag=1928301774;x=y"),
        ("to", "Bob <sip:bob@example.net>;tag=later"),
        ("contact", "Somebody <sip:alice@192.0.2.33>"),
        ("cseq", "314159   INVITE"),
    ],
)
def test_aib_6_what_means_the_same_is_the_same(name: str, value: str) -> None:
    """RFC 3261 sections 19.1.4 and 20; the tag of To comes later."""
    assert examine(invite(outer=rows(**{name: value}))).state is State.VALID


def test_aib_6_any_other_header_that_is_signed_counts_too() -> None:
    """Subject, Identity of an asserted party, or one that no standard knows."""
    for name, other in (
        ("Subject", "Fire"),
        ("X-Account", "7"),
        ("P-Asserted-Identity", "<sip:x@y.z>"),
    ):
        signed = rows() | {name: other}
        assert name.lower().encode() in examine(invite(signed, signed)).covers
        assert why(examine(invite(signed, rows()))) == (State.FAILED, Reason.AIB_MISMATCH)
        changed = rows() | {name: other.replace("F", "W").replace("7", "8").replace("x@", "w@")}
        assert why(examine(invite(signed, changed))) == (State.FAILED, Reason.AIB_MISMATCH)
        assert examine(invite(rows(), changed)).state is State.VALID
        assert name.lower().encode() not in examine(invite(rows(), changed)).covers


def test_aib_6_rows_joined_on_the_way_are_the_same() -> None:
    """RFC 3261 section 7.3.1."""
    signed = rows() | {"Allow": "INVITE, ACK, BYE"}
    outer = rows() | {"Allow": "INVITE,ACK", "allow": "BYE"}
    assert b"allow" in examine(invite(signed, outer)).covers


def test_aib_6_what_hops_may_change_is_not_compared() -> None:
    """A whole message may be the fragment (RFC 3893 section 2), Via and all."""
    signed = {"Via": "SIP/2.0/UDP 192.0.2.33;branch=z9hG4bKnashds8", "Max-Forwards": "71"} | rows()
    evidence = examine(invite(signed, vias=("SIP/2.0/UDP 192.0.2.33;branch=z9hG4bKother",)))
    assert evidence.covers == ALL


def test_aib_6_two_from_outside_are_not_the_signed_one() -> None:
    """Whichever of them a phone would show."""
    outer = rows() | {"FROM": "CEO <sip:ceo@example.com>;tag=1"}
    assert why(examine(invite(outer=outer))) == (State.FAILED, Reason.AIB_MISMATCH)


def test_aib_6_a_date_in_the_aib_alone_counts_and_is_told() -> None:
    """RFC 3893 asks for one in the AIB only."""
    evidence = examine(invite(outer=rows(date=None)))
    assert evidence.state is State.VALID
    assert reasons(evidence) == {Reason.AIB_UNCOMPARED}
    assert [note.detail for note in evidence.notes] == ["Date stands in the AIB alone"]


def test_aib_6_a_name_shown_but_not_signed_is_told() -> None:
    """Section 9's form signs a bare address; what the phone shows is then anybody's."""
    evidence = examine(invite(rows(From="sip:alice@example.com")))
    assert evidence.state is State.VALID
    assert [n.detail for n in evidence.notes] == ["the name shown in From is not signed"]


def test_aib_6_another_start_line_in_the_fragment() -> None:
    """A fragment of an INVITE in a REFER; the Request-URI may differ, the method not."""
    for start, state in (
        (b"INVITE sip:bob@192.0.2.4 SIP/2.0\r\n", State.VALID),
        (b"REFER sip:bob@example.net SIP/2.0\r\n", State.FAILED),
        (b"SIP/2.0 200 OK\r\n", State.FAILED),
    ):
        content = made.fragment(rows()).replace(b"\r\n\r\n", b"\r\n\r\n" + start, 1)
        part = made.signed_part(content, made.sign(content, user()))
        assert examine(made.raw_message(made.mixed(part))).state is state


# Signed once: an ECDSA signature is another one, and of another length, each time.
SIGNED = invite()
WITH_MORE = made.raw_message(
    made.mixed(made.sdp_part(), made.aib_part(rows(), user())),
    extra="Subject: lunch\r\nUser-Agent: phone\r\n",
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_aib_6_no_other_octet_of_a_signed_header_passes(data: st.DataObject) -> None:
    """Any octet of any header outside that the AIB carries: failed, or it means the same."""
    octets = SIGNED
    name = data.draw(
        st.sampled_from([b"From: ", b"Contact: ", b"Date: ", b"Call-ID: ", b"CSeq: ", b"To: "])
    )
    start = octets.index(b"\r\n" + name) + 2 + len(name)
    end = octets.index(b"\r\n", start)
    at = data.draw(st.integers(start, end - 1))
    other = data.draw(st.integers(32, 126).filter(lambda octet: octet != octets[at]))
    changed = octets[:at] + bytes([other]) + octets[at + 1 :]
    message, ids, packet = made.read_or_none(changed)
    if message is None or ids is None:
        return
    evidence = aib().examine(message, ids, packet, NOW)
    if evidence.state is State.VALID:
        # Only the case of scheme, host or a parameter's name is nobody's.
        assert octets[start:end].lower() == changed[start:end].lower()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_aib_11_what_the_aib_does_not_carry_may_change(data: st.DataObject) -> None:
    """And is not named by ``covers``: neither the session description nor another header."""
    octets = WITH_MORE
    spans = [octets.index(b"lunch"), octets.index(b"phone"), octets.index(b"c=IN IP4") + 9]
    at = data.draw(st.sampled_from(spans)) + data.draw(st.integers(0, 4))
    other = data.draw(st.sampled_from(b"0123456789"))
    evidence = examine(octets[:at] + bytes([other]) + octets[at + 1 :])
    assert evidence.state is State.VALID
    assert evidence.covers == ALL


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_octet_under_the_signature_may_change(data: st.DataObject) -> None:
    """Whatever else the change does to it."""
    octets = SIGNED
    start = octets.index(b"Content-Type: message/sipfrag")
    end = octets.index(b"\r\n--boundary42\r\nContent-Type: application/pkcs7")
    at = data.draw(st.integers(start, end - 1))
    flip = data.draw(st.integers(1, 255))
    evidence = examine(octets[:at] + bytes([octets[at] ^ flip]) + octets[at + 1 :])
    assert evidence.state in (State.FAILED, State.ABSENT)  # absent: no longer called an AIB


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
@pytest.mark.parametrize(
    "how", [(), ("-stream",), ("-noattr",), ("-md", "sha512"), ("-keyopt", "rsa_padding_mode:pss")]
)
def test_aib_5_what_another_program_signs(how: tuple[str, ...], tmp_path: Path) -> None:
    """openssl cms: DER and BER, with and without attributes, PSS; at its own time."""
    holder = issue(
        "alice now",
        NOW_ROOT,
        uris=("sip:alice@example.com",),
        kind="rsa2048",
        from_s=FROM_S,
        until_s=UNTIL_S,
    )
    now_s = time.time()
    headers = rows(date=made.date_at(now_s))
    content = made.fragment(headers)
    (tmp_path / "content").write_bytes(content)
    (tmp_path / "cert.pem").write_bytes(holder.pem)
    (tmp_path / "key.pem").write_bytes(holder.key_pem)
    files = ("-in", "content", "-signer", "cert.pem", "-inkey", "key.pem", "-out", "signature")
    command = ("openssl", "cms", "-sign", "-binary", "-outform", "DER", *files, *how)
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    part = made.signed_part(content, (tmp_path / "signature").read_bytes())
    if "sha512" in how:
        part = part.replace(b"micalg=sha-256", b"micalg=sha-512")
    octets = made.raw_message(made.mixed(made.sdp_part(), part), headers)
    judge = Aib(AibSettings(), Store([NOW_ROOT.der]), AibMemory())
    evidence = examine(octets, judge, Moment(NOW.monotonic_s, now_s))
    assert evidence.covers == ALL
    assert evidence.signer == b"sip:alice@example.com"


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_comes_there_is_evidence(data: st.DataObject) -> None:
    """Pieces of signed messages in any order: no exception, and no signer without validity."""
    octets = bytearray(SIGNED)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(octets) - 1))
        piece = data.draw(st.sampled_from(PIECES) | st.binary(max_size=6))
        octets[at : at + data.draw(st.integers(0, 30))] = piece
    message, ids, packet = made.read_or_none(bytes(octets))
    if message is None or ids is None:
        return
    evidence = aib().examine(message, ids, packet, NOW)
    assert (evidence.state is State.VALID) == bool(evidence.signer) == bool(evidence.covers)
    for finding in (evidence.finding, *evidence.notes):
        if finding is not None:
            assert finding.detail.isascii()
            assert finding.detail == "" or finding.detail.isprintable()
