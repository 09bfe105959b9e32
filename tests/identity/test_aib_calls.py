"""AIBs over time and in calls: freshness, replay, dialogs, responses, several, encrypted."""

from collections.abc import Callable

import pytest
import signed_messages as made
from authority import DAY_S, NOW_S, Holder, issue
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.serialization import pkcs7
from signed_messages import NOW, rows, user

from sipguard.evidence import Evidence, State
from sipguard.identity.aib import Aib, AibSettings
from sipguard.identity.aib_memory import AibMemory
from sipguard.moment import Moment
from sipguard.reason import Reason

BOB = "sip:bob@example.net"
DEFAULT = AibSettings()


def later(s: float) -> Moment:
    return Moment(NOW.monotonic_s + s, NOW.utc_s + s)


class Gateway:
    """One Aib, and what is asked of it."""

    def __init__(self, *known: Holder, settings: AibSettings = DEFAULT) -> None:
        self.memory = AibMemory()
        self.aib = Aib(settings, made.store(*known), self.memory)

    def sees(
        self,
        octets: bytes,
        now: Moment = NOW,
        *,
        src: bytes = made.SRC,
        in_dialog: bool = False,
        retry: bool = False,
    ) -> Evidence:
        message, ids, packet = made.read(octets)
        packet = packet.changed(src=src)
        return self.aib.examine(message, ids, packet, now, in_dialog=in_dialog, retry=retry)


def request(
    signed: made.Rows,
    outer: made.Rows | None = None,
    *,
    method: str = "INVITE",
    branch: str = "z9hG4bKnashds8",
    holder: Holder | None = None,
    target: str = BOB,
) -> bytes:
    content = made.mixed(made.aib_part(signed, holder or user()))
    return made.raw_message(
        content,
        signed if outer is None else outer,
        start=f"{method} {target} SIP/2.0",
        vias=(f"SIP/2.0/UDP 192.0.2.33;branch={branch}",),
    )


def why(evidence: Evidence) -> tuple[State, Reason]:
    assert evidence.finding is not None
    assert evidence.signer == b""
    return evidence.state, evidence.finding.reason


REPLAYED = (State.FAILED, Reason.AIB_REPLAY)


# --- freshness


@pytest.mark.parametrize(
    ("age_s", "fits"), [(0, True), (600, True), (-600, True), (601, False), (-601, False)]
)
def test_aib_7_date_lies_inside_the_window(age_s: int, fits: bool) -> None:
    """To both sides: a Date in the future is a thief's stock."""
    evidence = Gateway().sees(request(rows(date=made.date_at(NOW_S - age_s))))
    assert (evidence.state is State.VALID) is fits
    if not fits:
        assert why(evidence) == (State.FAILED, Reason.AIB_STALE)
        assert evidence.finding is not None
        way = "old" if age_s > 0 else "ahead"
        said = f"Date is 601 s {way}, more than the 600 s that the policy allows"
        assert evidence.finding.detail == said


def test_aib_7_the_window_is_the_policys() -> None:
    """Up to RFC 3893's hour."""
    hour = request(rows(date=made.date_at(NOW_S - 3600)))
    assert Gateway(settings=AibSettings(max_age_s=3600)).sees(hour).state is State.VALID
    assert why(Gateway(settings=AibSettings(max_age_s=3599)).sees(hour)) == (
        State.FAILED,
        Reason.AIB_STALE,
    )


def test_aib_7_date_lies_inside_the_life_of_the_certificate() -> None:
    """Made before its certificate was: valid now, but not then."""
    young = issue("young", made.root(), uris=("sip:alice@example.com",), from_s=NOW_S - 60)
    octets = request(rows(date=made.date_at(NOW_S - 61)), holder=young)
    assert why(Gateway().sees(octets)) == (State.FAILED, Reason.AIB_STALE)
    octets = request(rows(date=made.date_at(NOW_S - 60)), holder=young)
    assert Gateway().sees(octets).state is State.VALID


# --- replay


def test_aib_8_the_same_call_id_again_is_a_replay() -> None:
    """Another branch, another source: the thief's copy."""
    gateway = Gateway()
    assert gateway.sees(request(rows())).state is State.VALID
    copy = request(rows(), branch="z9hG4bKthief")
    assert why(gateway.sees(copy, later(40))) == REPLAYED
    assert why(gateway.sees(request(rows()), later(1), src=bytes(4))) == REPLAYED


def test_aib_8_nothing_is_written_before_the_signature_is_verified() -> None:
    """Or one forged request would spend the Call-ID of an honest one."""
    gateway = Gateway()
    forgeries = [
        request(rows(), holder=user("mallory@example.com")),
        request(rows(), holder=made.expired_user()),
        request(rows(), rows(To="<sip:carol@example.net>")),
        request(rows(date=made.date_at(NOW_S - 9999))),
        request(rows(contact=None)),
    ]
    for forgery in forgeries:
        gateway.sees(forgery)
    broken = bytearray(request(rows()))
    at = broken.rindex(b"\r\n\r\n--boundary42--") - 40
    broken[at] = ord("A") if broken[at] != ord("A") else ord("B")
    assert gateway.sees(bytes(broken)).state is State.FAILED
    assert len(gateway.memory) == 0
    assert gateway.sees(request(rows())).state is State.VALID
    assert len(gateway.memory) == 1


def test_aib_8_dates_in_the_future_are_remembered_as_long_as_they_are_believed() -> None:
    """Twice the window, however little the policy remembers."""
    gateway = Gateway(settings=AibSettings(max_age_s=600, remember_s=60))
    signed = rows(date=made.date_at(NOW_S + 600))
    assert gateway.sees(request(signed)).state is State.VALID
    thief = request(signed, branch="z9hG4bKthief")
    for s in (61, 600, 1199):
        assert why(gateway.sees(thief, later(s))) == REPLAYED
    assert why(gateway.sees(thief, later(1201))) == (State.FAILED, Reason.AIB_STALE)


def test_aib_9_a_a_retransmission_is_no_replay() -> None:
    """Also where a packet that waited is judged once more."""
    gateway = Gateway()
    for s in (0.0, 0.5, 1.5, 3.5):
        assert gateway.sees(request(rows()), later(s)).state is State.VALID


def test_aib_9_b_an_answer_to_a_challenge() -> None:
    """After 401 the same Call-ID and tag, a higher CSeq, a new signature."""
    gateway = Gateway()
    assert gateway.sees(request(rows())).state is State.VALID
    answer = request(rows(cseq="314160 INVITE"), branch="z9hG4bKsecond")
    assert gateway.sees(answer, later(1)).state is State.VALID
    first_again = request(rows(), branch="z9hG4bKthief")
    assert why(gateway.sees(first_again, later(2))) == REPLAYED
    lifted = request(rows(), rows(cseq="314161 INVITE"), branch="z9hG4bKthief")
    assert why(gateway.sees(lifted, later(2))) == (State.FAILED, Reason.AIB_MISMATCH)


def test_aib_9_b_a_thin_aib_counts_on_only_where_the_guard_knows_why() -> None:
    """Nobody signed its CSeq."""
    gateway = Gateway()
    signed = rows(cseq=None)
    assert gateway.sees(request(signed, rows())).state is State.VALID
    answer = request(signed, rows(cseq="314160 INVITE"), branch="z9hG4bKsecond")
    assert why(gateway.sees(answer, later(1))) == REPLAYED
    assert gateway.sees(answer, later(1), retry=True).state is State.VALID


def test_aib_9_c_one_aib_for_a_whole_call() -> None:
    """RFC 3893 section 10; the numbers rise, and CSeq is then not covered."""
    gateway = Gateway()
    assert gateway.sees(request(rows())).state is State.VALID

    def bye(number: int, branch: str) -> bytes:
        ended = "Bob <sip:bob@example.net>;tag=b"
        outer = rows(cseq=f"{number} BYE", contact=None, date=None, to=ended)
        return request(rows(), outer, method="BYE", branch=branch)

    first = bye(314160, "z9hG4bKb")
    assert why(Gateway().sees(first)) == (State.FAILED, Reason.AIB_MISMATCH)
    evidence = gateway.sees(first, later(60), in_dialog=True)
    assert evidence.state is State.VALID
    assert b"cseq" not in evidence.covers
    # Long after its Date: it was fresh when the call began.
    second = bye(314161, "z9hG4bKc")
    assert gateway.sees(second, later(2000), in_dialog=True).state is State.VALID
    assert why(gateway.sees(bye(314161, "z9hG4bKd"), later(2001), in_dialog=True)) == REPLAYED
    assert why(gateway.sees(bye(314160, "z9hG4bKe"), later(2001), in_dialog=True)) == REPLAYED


def test_aib_9_c_a_new_aib_in_a_call_must_be_fresh() -> None:
    """Only the very octets that were verified are borne when they are old."""
    gateway = Gateway()
    assert gateway.sees(request(rows())).state is State.VALID
    signed = rows(cseq="314160 UPDATE")
    update = request(signed, method="UPDATE", branch="z9hG4bKu")
    assert why(gateway.sees(update, later(2000), in_dialog=True)) == (
        State.FAILED,
        Reason.AIB_STALE,
    )
    assert gateway.sees(update, later(20), in_dialog=True).state is State.VALID


def test_aib_9_c_the_ack_of_an_invite_may_carry_its_aib() -> None:
    """Same number, other method."""
    gateway = Gateway()
    assert gateway.sees(request(rows())).state is State.VALID
    ack = request(rows(), rows(cseq="314159 ACK"), method="ACK", branch="z9hG4bKack")
    assert gateway.sees(ack, later(1), in_dialog=True).state is State.VALID
    assert why(gateway.sees(ack, later(1))) == (State.FAILED, Reason.AIB_MISMATCH)


def test_aib_9_d_and_rpl_3_forks_and_spirals_carry_the_same_aib() -> None:
    """The guard's memory knows them by their Vias; here they are believed once more."""
    gateway = Gateway()
    assert gateway.sees(request(rows())).state is State.VALID
    proxied = made.raw_message(
        made.mixed(made.aib_part(rows(), user())),
        rows(),
        start="INVITE sip:bob@192.0.2.4 SIP/2.0",
        vias=(
            "SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKproxy",
            "SIP/2.0/UDP 192.0.2.33;branch=z9hG4bKnashds8",
        ),
    )
    assert why(gateway.sees(proxied, later(0.01))) == REPLAYED
    evidence = gateway.sees(proxied, later(0.01), retry=True)
    assert evidence.state is State.VALID
    assert Reason.AIB_RETARGETED in {note.reason for note in evidence.notes}


def test_smi_31_another_certificate_inside_a_call_is_noted() -> None:
    """Both are alice's; the record says that the signer changed."""
    gateway = Gateway()
    assert gateway.sees(request(rows())).state is State.VALID
    second = issue("second phone", made.root(), uris=("sip:alice@example.com",))
    update = request(rows(cseq="314160 UPDATE"), method="UPDATE", branch="z9hG4bKu", holder=second)
    evidence = gateway.sees(update, later(1), in_dialog=True)
    assert evidence.state is State.VALID
    assert Reason.SIGNER_CHANGED in {note.reason for note in evidence.notes}


# --- where it leads


@pytest.mark.parametrize(
    ("contact", "src", "vias", "told"),
    [
        ("192.0.2.33", "192.0.2.33", ["192.0.2.33"], False),
        ("8.8.4.4", "8.8.4.4", ["10.0.0.5"], False),
        ("8.8.4.4", "203.0.113.66", ["8.8.4.4"], True),
        ("10.0.0.5", "203.0.113.66", ["10.0.0.5"], False),
        ("8.8.4.4", "203.0.113.66", ["203.0.113.66", "8.8.4.4"], False),
        ("pc33.example.com", "203.0.113.66", ["pc33.example.com"], False),
        ("pc33.example.com", "203.0.113.66", ["203.0.113.66"], True),
        ("example.com", "203.0.113.66", ["203.0.113.66"], False),
    ],
)
def test_aib_10_a_contact_that_leads_elsewhere_is_told(
    contact: str, src: str, vias: list[str], told: bool
) -> None:
    """The thief cannot receive what follows; translators and proxies are normal."""
    headers = rows(contact=f"<sip:alice@{contact}>")
    hops = [f"SIP/2.0/UDP {host};branch=z9hG4bK{n}" for n, host in enumerate(vias)]
    octets = made.raw_message(made.mixed(made.aib_part(headers, user())), headers, vias=hops)
    address = bytes(int(piece) for piece in src.split("."))
    evidence = Gateway().sees(octets, src=address)
    assert evidence.state is State.VALID
    assert (Reason.AIB_FOREIGN_CONTACT in {note.reason for note in evidence.notes}) is told
    if told:
        said = f"Contact leads to {contact}, the message came from {src}"
        assert said in [note.detail for note in evidence.notes]


def test_aib_10_a_request_to_another_than_its_signed_to_is_told() -> None:
    """A registrar's proxy rewrites the Request-URI; a REGISTER has the domain there."""
    moved = Gateway().sees(request(rows(), target="sip:bob@192.0.2.4"))
    assert moved.state is State.VALID
    said = "the signed To says sip:bob@example.net, the request goes to sip:bob@192.0.2.4"
    assert [note.detail for note in moved.notes] == [said]
    assert Gateway().sees(request(rows())).notes == ()
    register = rows(to="<sip:alice@example.com>", cseq="1 REGISTER")
    octets = request(register, method="REGISTER", target="sip:example.com")
    assert Gateway().sees(octets).notes == ()


def test_aib_11_an_aib_never_speaks_for_the_session() -> None:
    """Swap the session description: still valid, and ``sdp`` is not among what is covered."""
    part = made.aib_part(rows(), user())
    sdp = made.SDP.replace(b"192.0.2.33", b"203.0.113.66")
    evidence = Gateway().sees(made.raw_message(made.mixed(made.sdp_part(sdp), part)))
    assert evidence.state is State.VALID
    assert b"sdp" not in evidence.covers
    assert b"body" not in evidence.covers
    assert b"via" not in evidence.covers


# --- responses


def response(
    signed: made.Rows, holder: Holder | None = None, outer: made.Rows | None = None
) -> bytes:
    headers = rows(to="Bob <sip:bob@example.net>;tag=b", contact="<sip:bob@192.0.2.4>")
    content = made.mixed(made.aib_part(signed, holder or user("bob@example.net")))
    return made.raw_message(content, headers, start="SIP/2.0 200 OK")


def answer(**changes: str | None) -> made.Rows:
    """What the callee signs: From is his own (RFC 3893 section 6)."""
    plain: dict[str, str | None] = {
        "from": "Bob <sip:bob@example.net>",
        "to": None,
        "contact": "<sip:bob@192.0.2.4>",
    }
    return rows(**plain | changes)


def test_aib_12_a_response_is_signed_by_who_answers() -> None:
    """From of the AIB is the callee's, and so it speaks for To outside."""
    evidence = Gateway().sees(response(answer()), src=bytes((192, 0, 2, 4)))
    assert evidence.state is State.VALID
    assert evidence.signer == b"sip:bob@example.net"
    assert evidence.covers == (b"to", b"contact", b"date", b"call-id", b"cseq")


def test_aib_12_somebody_else_may_answer_and_it_is_told() -> None:
    """Retargeting, or theft: the record says who."""
    signed = answer(From="<sip:carol@example.org>")
    evidence = Gateway().sees(response(signed, user("carol@example.org")))
    assert evidence.state is State.VALID
    assert b"to" not in evidence.covers
    assert b"from" not in evidence.covers
    said = "sip:carol@example.org answers, To says sip:bob@example.net"
    assert said in [note.detail for note in evidence.notes]


@pytest.mark.parametrize(
    ("signed", "holder", "reason"),
    [
        (answer(to="Bob <sip:bob@example.net>"), "bob@example.net", Reason.AIB_MISMATCH),
        (rows(), "alice@example.com", Reason.AIB_MISMATCH),
        (answer(), "mallory@example.com", Reason.AIB_WRONG_SIGNER),
        (answer(call_id="other"), "bob@example.net", Reason.AIB_MISMATCH),
        (answer(cseq="314158 INVITE"), "bob@example.net", Reason.AIB_MISMATCH),
        (answer(contact="<sip:bob@192.0.2.5>"), "bob@example.net", Reason.AIB_MISMATCH),
        (answer(contact=None), "bob@example.net", Reason.AIB_INCOMPLETE),
        (answer(date=made.date_at(NOW_S - 601)), "bob@example.net", Reason.AIB_MISMATCH),
    ],
)
def test_aib_12_what_a_response_may_not_carry(
    signed: made.Rows, holder: str, reason: Reason
) -> None:
    """The request's own AIB sent back, another call's, another signer's."""
    assert why(Gateway().sees(response(signed, user(holder)))) == (State.FAILED, reason)


def test_aib_12_responses_do_not_spend_a_call_id() -> None:
    """180 and 200 answer one request, each with an AIB of its own."""
    gateway = Gateway()
    for status in ("180 Ringing", "200 OK", "200 OK"):
        octets = response(answer()).replace(b"200 OK", status.encode(), 1)
        assert gateway.sees(octets).state is State.VALID
    assert len(gateway.memory) == 0


def test_aib_12_without_cseq_a_response_is_thin() -> None:
    """To may not be there, so it is not missed."""
    evidence = Gateway().sees(response(answer(cseq=None)), src=bytes((192, 0, 2, 4)))
    assert [note.detail for note in evidence.notes] == ["the AIB lacks CSeq"]


# --- encrypted


def envelope(content: bytes) -> bytes:
    """A part that only bob could read."""
    reader = user("reader@example.net", "rsa2048").certificate
    builder = pkcs7.PKCS7EnvelopeBuilder().set_data(content).add_recipient(reader)
    builder = builder.set_content_encryption_algorithm(algorithms.AES128)
    return builder.encrypt(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary])


def enveloped(disposition: str = "attachment; filename=smime.p7m; handling=required") -> bytes:
    head = (
        "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\n"
        f"Content-Transfer-Encoding: binary\r\nContent-Disposition: {disposition}\r\n\r\n"
    )
    return head.encode() + envelope(made.fragment(rows()))


AIB_OUTSIDE = "Content-Disposition: aib; handling=optional\r\n"


def test_aib_13_the_example_of_rfc_3893_section_9() -> None:
    """Encrypted, then signed: who signed is known, what he signed is not."""
    content = enveloped()
    part = made.signed_part(content, made.sign(content, user()), headers=AIB_OUTSIDE)
    for body in (made.mixed(made.sdp_part(), part), made.alone(part)):
        extra = AIB_OUTSIDE if body[0].startswith("multipart/signed") else ""
        evidence = Gateway().sees(made.raw_message(body, extra=extra))
        assert why(evidence) == (State.UNKNOWN, Reason.AIB_ENCRYPTED)
        assert evidence.finding is not None
        said = "signed by alice@example.com, its headers are encrypted"
        assert evidence.finding.detail == said


def test_aib_13_a_thief_signs_the_ciphertext_again() -> None:
    """Anybody can; From says somebody else, so it fails."""
    content = enveloped()
    thief = user("mallory@example.com")
    part = made.signed_part(content, made.sign(content, thief), headers=AIB_OUTSIDE)
    evidence = Gateway().sees(made.raw_message(made.mixed(part)))
    assert why(evidence) == (State.FAILED, Reason.AIB_WRONG_SIGNER)


def test_aib_13_a_wrong_signature_over_ciphertext_fails() -> None:
    """Unknown is only what is encrypted, not what is wrong."""
    content = enveloped()
    part = made.signed_part(content, made.sign(content + b"x", user()), headers=AIB_OUTSIDE)
    assert Gateway().sees(made.raw_message(made.mixed(part))).state is State.FAILED


def test_aib_13_signed_then_encrypted_is_unknown() -> None:
    """And so is any message with a part that nobody here can read."""
    whole = "the AIB is encrypted, signature and all"
    perhaps = "a part is encrypted, perhaps with an AIB in it"
    kind, inner = made.mixed(enveloped())
    nested = f"Content-Type: {kind}\r\n{AIB_OUTSIDE}\r\n".encode() + inner
    nested = nested.replace(b"unique-boundary-1", b"inner-boundary")
    for part, said in (
        (enveloped("aib; handling=optional"), whole),
        (enveloped(), perhaps),
        (made.signed_part(enveloped(), b"a signature of something else"), perhaps),
        (nested, perhaps),
    ):
        evidence = Gateway().sees(made.raw_message(made.mixed(made.sdp_part(), part)))
        assert why(evidence) == (State.UNKNOWN, Reason.AIB_ENCRYPTED)
        assert evidence.finding is not None
        assert evidence.finding.detail == said


def test_aib_13_encrypted_inside_an_opaque_signature() -> None:
    """Who signed around the ciphertext is known there, too."""
    content = enveloped("aib; handling=optional")
    for signer, state in (("alice@example.com", State.UNKNOWN), ("m@example.com", State.FAILED)):
        cms = made.sign(content, user(signer), inside=True)
        body = "application/pkcs7-mime; smime-type=signed-data", cms
        assert Gateway().sees(made.raw_message(body)).state is state


# --- several


def test_aib_14_a_supplemental_aib_is_ignored() -> None:
    """A third party signs another statement; the caller's own counts (section 4)."""
    other = rows(From="<sip:carol@example.com>")
    third = made.aib_part(other, user("carol@example.com"), boundary="third")
    own = made.aib_part(rows(), user())
    for parts in ((third, own), (own, third)):
        evidence = Gateway().sees(made.raw_message(made.mixed(*parts)))
        assert evidence.state is State.VALID
        assert evidence.signer == b"sip:alice@example.com"
    alone = Gateway().sees(made.raw_message(made.mixed(third)))
    assert why(alone) == (State.FAILED, Reason.AIB_MISMATCH)


def test_aib_14_two_signers_of_one_message_are_ambiguous() -> None:
    """Nobody can say which of them a phone would believe."""
    domain = issue("domain", made.root(), dns=("example.com",))
    parts = (
        made.aib_part(rows(), user()),
        made.aib_part(rows(), domain, boundary="second"),
    )
    gateway = Gateway(settings=AibSettings(domain_signers=True))
    octets = made.raw_message(made.mixed(*parts))
    assert why(gateway.sees(octets)) == (State.FAILED, Reason.AIB_SEVERAL)
    assert len(gateway.memory) == 0
    assert Gateway().sees(octets).signer == b"sip:alice@example.com"


def test_aib_14_two_aibs_of_one_signer_are_one_statement() -> None:
    """The same twice."""
    parts = (made.aib_part(rows(), user()), made.aib_part(rows(), user(), boundary="second"))
    assert Gateway().sees(made.raw_message(made.mixed(*parts))).state is State.VALID


def test_aib_14_more_aibs_than_are_verified() -> None:
    """A message full of them costs four signatures, and the rest is told."""
    kind, inner = made.mixed(*[made.fragment(rows()) for _ in range(6)])
    content = f"Content-Type: {kind}\r\n\r\n".encode() + inner
    octets = made.raw_message(made.alone(made.signed_part(content, made.sign(content, user()))))
    evidence = Gateway().sees(octets)
    assert evidence.state is State.VALID
    assert [note.detail for note in evidence.notes] == ["more than 4 AIBs", "more than 4 AIBs"]
    assert {note.reason for note in evidence.notes} == {Reason.AIB_SEVERAL}
    forged = [
        made.aib_part(rows(), user("mallory@example.com"), boundary=f"b{n}") for n in range(5)
    ]
    assert Gateway().sees(made.raw_message(made.mixed(*forged))).state is State.FAILED


def test_aib_14_an_unsigned_copy_beside_a_signed_one() -> None:
    """It spoils nothing and proves nothing; without the other it is a forgery."""
    forged = made.fragment(rows(From="<sip:ceo@example.com>;tag=1928301774"))
    own = made.aib_part(rows(), user())
    evidence = Gateway().sees(made.raw_message(made.mixed(forged, own)))
    assert evidence.state is State.VALID
    assert Reason.AIB_UNSIGNED in {note.reason for note in evidence.notes}
    ceo = rows(From="<sip:ceo@example.com>;tag=1928301774")
    assert Gateway().sees(made.raw_message(made.mixed(forged, own), ceo)).state is State.FAILED


# --- verdicts


def test_aib_15_the_codes_of_rfc_3261() -> None:
    """Broken structure 400, invalid 403, unusable certificate 437, absent 428."""
    status = {reason: reason.status for reason in Reason if reason.rule.startswith("AIB-")}
    assert status[Reason.AIB_BAD_FRAGMENT] == 400
    assert Reason.CERTIFICATE_EXPIRED.status == 437
    assert status[Reason.AIB_ABSENT] == 428
    assert status[Reason.AIB_STALE] == 403
    assert status[Reason.AIB_MISMATCH] == 403
    assert status[Reason.AIB_REPLAY] == 403


SPOILED: list[Callable[[bytes], bytes]] = [
    lambda octets: octets.replace(b"Call-ID: a", b"Call-ID: b", 1),
    lambda octets: octets.replace(b"micalg=sha-256; ", b""),
    lambda octets: octets.replace(b"micalg=sha-256", b"micalg=sha-512"),
    lambda octets: octets.replace(b"MII", b"!!!"),
    lambda octets: octets.replace(b"MII", b""),
    lambda octets: octets.replace(b"--boundary42", b"--boundary4"),
    lambda octets: octets.replace(b"Content-Disposition: aib", b"Content-Disposition: aib;x="),
]


@pytest.mark.parametrize("spoil", SPOILED)
def test_aib_16_an_invalid_aib_is_never_better_than_none(
    spoil: Callable[[bytes], bytes],
) -> None:
    """It names no signer and covers nothing, so no rule can take it for one."""
    octets = request(rows())
    assert spoil(octets) != octets
    evidence = Gateway().sees(spoil(octets))
    assert evidence.state in (State.FAILED, State.UNKNOWN)
    assert evidence.signer == b""
    assert evidence.covers == ()


@pytest.mark.parametrize(
    "method", ["INVITE", "ACK", "BYE", "REFER", "MESSAGE", "SUBSCRIBE", "UPDATE", "INFO", "OPTIONS"]
)
def test_aib_17_every_method_can_be_proven(method: str) -> None:
    """Which of them must be is the policy's business."""
    signed = rows(cseq=f"7 {method}")
    assert Gateway().sees(request(signed, method=method)).state is State.VALID
    carol = request(signed, rows(cseq=f"7 {method}", From="<sip:carol@example.com>"), method=method)
    assert why(Gateway().sees(carol)) == (State.FAILED, Reason.AIB_MISMATCH)


@pytest.mark.parametrize(("method", "may"), [("BYE", True), ("MESSAGE", True), ("INVITE", False)])
def test_aib_3_contact_may_stand_in_the_aib_alone_where_the_method_has_none(
    method: str, may: bool
) -> None:
    """Section 5 wants it in every AIB; a MESSAGE must not have one (RFC 3428)."""
    signed = rows(cseq=f"7 {method}")
    outer = rows(cseq=f"7 {method}", contact=None)
    evidence = Gateway().sees(request(signed, outer, method=method))
    assert (evidence.state is State.VALID) is may
    if may:
        assert b"contact" not in evidence.covers
        assert Reason.AIB_UNCOMPARED in {note.reason for note in evidence.notes}


def test_aib_18_size_and_transport_make_no_difference() -> None:
    """Signed requests are larger than one packet; they come over TCP as well."""
    octets = made.raw_message(
        made.mixed(made.sdp_part(), made.aib_part(rows(), user(kind="rsa2048"))),
        vias=("SIP/2.0/TCP 192.0.2.33;branch=z9hG4bKnashds8",),
    )
    assert len(octets) > 1500
    message, ids, packet = made.read(octets, "tcp")
    judge = Aib(AibSettings(), made.store(), AibMemory())
    assert judge.examine(message, ids, packet, NOW).state is State.VALID


def test_smi_29_sha_1_only_as_legacy() -> None:
    """RFC 3261's own digest; nobody should accept it without being told to."""
    assert AibSettings().legacy_sha1 is False
    assert DAY_S > AibSettings().remember_s >= 2 * AibSettings().max_age_s
