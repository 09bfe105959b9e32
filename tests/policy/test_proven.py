"""Identity fields: verified when asked and not before, and what is not valid says nothing."""

from collections.abc import Callable

import pytest
from subjects import Proven, holds, load, request
from subjects import subject as made

from sipguard.evidence import NOT_ASKED, Awaited, Evidence, State
from sipguard.policy import Subject
from sipguard.policy.fields import FIELDS
from sipguard.reason import Finding, Reason

VALID = Evidence(
    State.VALID, signer=b"sip:alice@example.com", covers=(b"from", b"contact"),
    attest=b"A", orig=b"+4930123",
)  # fmt: skip
KINDS = ("aib", "smime", "stir", "digest")


def proven(**evidence: Evidence) -> Subject:
    subject = made()
    subject.proofs = Proven(**evidence)
    return subject


def failed(reason: Reason) -> Evidence:
    """Return evidence that claims everything and proves nothing."""
    return Evidence(
        State.FAILED, Finding(reason), signer=VALID.signer, covers=(b"from", b"sdp"),
        attest=b"A", orig=VALID.orig,
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", State)
def test_one_state_is_true(kind: str, state: State) -> None:
    """Unknown is a third value beside valid and failed."""
    subject = proven(**{kind: Evidence(state)})
    for other in State:
        assert holds(f"{kind}.{other.value}", subject) is (other is state)


@pytest.mark.parametrize(
    "condition",
    [
        'aib.signer == "sip:alice@example.com"',
        'aib.signer in {"sip:*@example.com"}',
        "aib.covers in {Contact}",
        "each aib.covers in {from contact}",
        'smime.signer == "sip:alice@example.com"',
        'stir.signer == "sip:alice@example.com"',
        "stir.attest in {A B}",
        'stir.orig in {"+49*"}',
    ],
)
def test_what_is_said_counts_only_where_it_is_valid(condition: str) -> None:
    """A forged PASSporT may claim attestation A, and an admin's rule must not see it."""
    assert holds(condition, proven(**dict.fromkeys(KINDS, VALID)))
    for reason in (Reason.AIB_MISMATCH, Reason.PASSPORT_SIGNATURE):
        assert not holds(condition, proven(**dict.fromkeys(KINDS, failed(reason))))
    for state in (State.ABSENT, State.UNKNOWN):
        told = Evidence(state, signer=VALID.signer, attest=b"A", orig=VALID.orig, covers=(b"from",))
        assert not holds(condition, proven(**dict.fromkeys(KINDS, told)))


@pytest.mark.parametrize(
    ("evidence", "word"),
    [
        (Evidence(State.VALID, covers=(b"sdp",)), "valid"),
        (
            Evidence(State.VALID, covers=(b"sdp",), notes=(Finding(Reason.SDP_RELAYED),)),
            "relayed",
        ),
        (Evidence(State.VALID, covers=(b"from",)), "absent"),
        (Evidence(State.ABSENT), "absent"),
        (failed(Reason.SDP_DIFFERS), "failed"),
        (NOT_ASKED, "unknown"),
    ],
)
def test_smime_sdp_is_one_word(evidence: Evidence, word: str) -> None:
    """SMI-35: signed and unchanged, changed by a relay, changed, or not signed at all."""
    assert holds(f"smime.sdp == {word}", proven(smime=evidence))


def test_encryption_is_no_silent_hole() -> None:
    """SMI-32: a rule can refuse what nobody here can read."""
    hidden = Evidence(State.UNKNOWN, Finding(Reason.ENCRYPTED_BODY))
    noted = Evidence(State.VALID, notes=(Finding(Reason.ENCRYPTED_BODY),))
    assert holds("sdp.encrypted", proven(smime=hidden))
    assert holds("sdp.encrypted", proven(smime=noted))
    assert not holds("sdp.encrypted", proven(smime=failed(Reason.SDP_DIFFERS)))


@pytest.mark.parametrize("reason", [Reason.DIGEST_REPLAY, Reason.DIGEST_COUNT])
def test_a_replayed_digest_is_a_field(reason: Reason) -> None:
    """DIG-23, DIG-24."""
    assert holds("digest.replayed", proven(digest=failed(reason)))
    assert not holds("digest.replayed", proven(digest=failed(Reason.DIGEST_WRONG)))


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (Reason.REPLAY, "changed"),
        (Reason.BRANCH_COLLISION, "changed"),
        (Reason.OLD_CSEQ, "changed"),
        (Reason.REPLAY_AFTER_END, "ended"),
        (Reason.DIGEST_REPLAY, "digest"),
        (Reason.DIGEST_COUNT, "digest"),
    ],
)
def test_replay_has_a_kind(reason: Reason, word: str) -> None:
    """What the guard found is known without any signature being verified."""
    subject = made()
    subject.proofs = proofs = Proven()
    subject.replay = True
    subject.findings = [Finding(Reason.NO_COOKIE), Finding(reason)]
    assert holds(f"replay.kind == {word}", subject)
    assert proofs.kinds == []
    subject.replay = False
    assert holds("replay.kind == none", subject)


def test_a_replayed_signature_is_a_kind_of_replay() -> None:
    """AIB-8 and STI-14, after what the guard knows."""
    aib, stir = failed(Reason.AIB_REPLAY), failed(Reason.PASSPORT_REPLAY)
    assert holds("replay.kind == aib", proven(aib=aib, stir=stir))
    assert holds("replay.kind == stir", proven(aib=VALID, stir=stir))
    assert holds("replay.kind == none", proven(aib=VALID, stir=VALID))
    subject = proven(aib=aib)
    subject.replay_kind = b"digest"
    assert holds("replay.kind == digest", subject)


@pytest.mark.parametrize(
    "condition",
    [
        "aib.valid and src in {192.0.2.1}",
        "not (aib.valid or not src in {192.0.2.1})",
        "(stir.attest in {A B} or aib.valid) and src in {192.0.2.1} and not replay",
        "src == dst and from.user == stir.orig",
    ],
)
def test_proofs_are_asked_last(condition: str) -> None:
    """A signature is verified only where nothing cheaper decides, however the rule is written."""
    subject = made()
    subject.proofs = proofs = Proven(aib=VALID)
    assert not holds(condition, subject)
    assert proofs.kinds == []
    assert not holds(f"method == BYE and ({condition})", subject)
    assert proofs.kinds == []


def test_a_rule_knows_which_proofs_it_asks() -> None:
    """So that who refuses by it knows whose finding made it speak."""
    policy = load(
        "chain request\n"
        "  a drop if not (aib.valid or stir.attest in {A B}) and smime.sdp != valid\n"
        "  b drop if digest.user == x and src in {10.0.0.1}\n"
        "  c drop if digest.failed and has header[\"X\"] and within mon\n"
        "  d drop if replay.kind != none\n"
        "  e drop if sdp.encrypted or user_agent matches /x/ or from.user == stir.orig\n"
        "  f drop if to.display == \"aib.valid\"\n"
        "  g drop\n"
    )  # fmt: skip
    assert [set(rule.identity) for rule in policy.rules] == [
        {"aib", "stir", "smime"},
        set(),
        {"digest"},
        {"aib", "stir"},
        {"smime", "stir"},
        set(),
        set(),
    ]


def test_every_identity_field_says_what_it_asks() -> None:
    """A field that verifies something and does not say so would be asked too early."""
    for name, field in FIELDS.items():
        subject = made(request(headers="Authorization: Digest username=a\r\n"))
        subject.proofs = proofs = Proven()
        read: Callable[[Subject], object] | None = getattr(field, "read", None)
        if read is not None:
            read(subject)
        assert set(proofs.kinds) == set(getattr(field, "proofs", ())), name


def test_a_certificate_on_its_way_stops_the_judgement() -> None:
    """Awaited passes through rules to whoever can hold the packet."""

    class Waiting(Proven):
        def stir(self) -> Evidence:
            raise Awaited(("https://certs.example.org/a.pem",))

    subject = made()
    subject.proofs = Waiting()
    with pytest.raises(Awaited):
        holds("not stir.valid", subject)
    assert not holds("stir.valid and src in {192.0.2.1}", subject)


def test_credentials_say_how_they_were_made() -> None:
    """Algorithm and qop are read, not verified; without credentials they are unknown."""
    raw = request(
        headers='Authorization: Digest username="a", algorithm=SHA-256, qop=auth, realm="r"\r\n'
    )
    assert holds("digest.algorithm == sha-256 and digest.qop == auth", made(raw))
    assert not holds("digest.algorithm == md5 or digest.qop == none", made())
