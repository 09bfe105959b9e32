"""``policies/signed-callers.policy``: who gets in from outside, who does not, and what it costs."""

from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from subjects import STRANGER, Counts, Proven, Stream, request, response
from subjects import subject as made

from sipguard.edge.policy_file import Files
from sipguard.evidence import NOT_ASKED, Evidence, State
from sipguard.policy import Policy, Subject, load_policy
from sipguard.reason import Finding, Reason

FILE = Path(__file__).parents[2] / "policies" / "signed-callers.policy"
PROVIDER = "203.0.113.10"
OWN, OTHER = "<sip:alice@example.com>;tag=a1", "<sip:carol@elsewhere.org>;tag=c1"

NONE = Evidence(State.ABSENT, Finding(Reason.AIB_ABSENT))
VALID = Evidence(State.VALID, signer=b"sip:alice@example.com", covers=(b"from",))
WRONG = Evidence(State.FAILED, Finding(Reason.AIB_MISMATCH))
AGAIN = Evidence(State.FAILED, Finding(Reason.AIB_REPLAY))
NO_CERTIFICATE = Evidence(State.UNKNOWN, Finding(Reason.NO_SIGNER_CERTIFICATE))


def attested(letter: bytes) -> Evidence:
    return Evidence(State.VALID, attest=letter)


@cache
def policy() -> Policy:
    files = Files()
    return load_policy(str(FILE), files.text, files)


def calling(
    method: str = "INVITE",
    *,
    from_: str = OTHER,
    src: str = STRANGER,
    aib: Evidence = NONE,
    stir: Evidence = NONE,
    smime: Evidence = NONE,
    uri: str = "sip:bob@example.com",
    to: str = "<sip:bob@example.com>",
    rates: Counts | None = None,
) -> Subject:
    """Return a request as it comes from outside."""
    subject = made(request(method, uri=uri, from_=from_, to=to), src=src, rates=rates)
    subject.proofs = Proven(aib=aib, stir=stir, smime=smime, digest=NOT_ASKED)
    return subject


def ruled(subject: Subject, chain: str = "request") -> str:
    ruling = policy().judge(chain, subject)
    if ruling is None:
        return "none"
    status = ruling.rule.status
    return f"{ruling.rule.name} {ruling.action}{f' {status}' if status else ''}"


OUTSIDE = [
    (OTHER, NONE, NONE, "unsigned reject 428"),
    (OTHER, VALID, NONE, "proven accept"),
    (OTHER, NONE, attested(b"A"), "proven accept"),
    (OTHER, NONE, attested(b"B"), "proven accept"),
    (OTHER, NONE, attested(b"C"), "unattested reject 403"),
    (OTHER, NONE, attested(b""), "unattested reject 403"),
    (OTHER, VALID, attested(b"C"), "proven accept"),
    (OTHER, WRONG, NONE, "wrong reject"),
    (OTHER, NONE, WRONG, "wrong reject"),
    (OTHER, VALID, WRONG, "wrong reject"),
    (OTHER, WRONG, attested(b"A"), "wrong reject"),
    (OTHER, AGAIN, NONE, "used-again drop"),
    (OTHER, AGAIN, attested(b"A"), "used-again drop"),
    (OTHER, NO_CERTIFICATE, NONE, "unsure reject"),
    (OTHER, NONE, NO_CERTIFICATE, "unsure reject"),
    (OTHER, NOT_ASKED, NOT_ASKED, "unsure reject"),
    (OWN, NONE, NONE, "unsigned reject 428"),
    (OWN, VALID, NONE, "proven accept"),
    (OWN, NONE, attested(b"A"), "proven accept"),
    (OWN, NONE, attested(b"B"), "own-name reject 403"),
    (OWN, NONE, attested(b"C"), "own-name reject 403"),
    (OWN, NO_CERTIFICATE, NONE, "own-name reject 403"),
    (OWN, WRONG, NONE, "wrong reject"),
]


@pytest.mark.parametrize("src", [STRANGER, "2001:db8:bad::1"])
@pytest.mark.parametrize(("from_", "aib", "stir", "told"), OUTSIDE)
def test_from_outside_only_who_proves_it(
    from_: str, aib: Evidence, stir: Evidence, told: str, src: str
) -> None:
    """Own names need a proof of this very user; others an AIB, or attestation A or B."""
    assert ruled(calling(from_=from_, aib=aib, stir=stir, src=src)) == told


@pytest.mark.parametrize(("from_", "aib", "stir", "told"), OUTSIDE)
def test_the_provider_needs_no_proof_but_for_our_names(
    from_: str, aib: Evidence, stir: Evidence, told: str
) -> None:
    """A trunk is no way to borrow a name."""
    wanted = "carrier accept" if from_ == OTHER else told
    assert ruled(calling(from_=from_, aib=aib, stir=stir, src=PROVIDER)) == wanted


def test_telephones_sign_nothing() -> None:
    """And nothing of theirs is verified, be it signed or not."""
    for method in ("INVITE", "REGISTER", "OPTIONS", "SUBSCRIBE", "MESSAGE"):
        subject = made(request(method))
        subject.proofs = proofs = Proven()
        assert ruled(subject) == "handsets accept"
        assert proofs.kinds == []


def test_changed_and_unreadable_sessions_do_not_get_in() -> None:
    """A forged session description under a good signature, and one that nobody can read."""
    forged = Evidence(State.FAILED, Finding(Reason.SDP_DIFFERS))
    hidden = Evidence(State.UNKNOWN, Finding(Reason.ENCRYPTED_BODY))
    relayed = Evidence(State.VALID, covers=(b"sdp",), notes=(Finding(Reason.SDP_RELAYED),))
    assert ruled(calling(aib=VALID, smime=forged)) == "wrong reject"
    assert ruled(calling(aib=VALID, smime=hidden)) == "unreadable reject 488"
    assert ruled(calling(aib=VALID, smime=relayed)) == "proven accept"


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        (calling(uri="sip:112@example.com", src="10.20.0.5"), "emergency accept"),
        (calling(uri="urn:service:sos", src="10.20.0.5"), "emergency accept"),
        (calling(uri="sip:112@example.com", from_=OWN), "sos-roaming accept"),
        (calling(uri="sip:112@example.com", from_=OWN, aib=WRONG), "sos-roaming accept"),
        (calling(uri="sip:112@example.com"), "unsigned reject 428"),
        (
            calling(
                uri="sip:112@example.com", from_=OWN, rates=Counts({("src", b"INVITE", 60): 4})
            ),
            "unsigned reject 428",
        ),
        (calling("MESSAGE", uri="sip:112@example.com", from_=OWN), "unsigned reject 428"),
    ],
)
def test_emergency_calls_need_no_proof(subject: Subject, told: str) -> None:
    """Whoever bears a name of ours; a few a minute where nobody knows that he does."""
    assert ruled(subject) == told


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        (calling("OPTIONS", aib=VALID), "other drop"),
        (calling("SUBSCRIBE", aib=VALID), "other drop"),
        (calling(uri="sip:bob@elsewhere.org", aib=VALID), "other drop"),
        (calling(uri="sip:bob@10.20.0.7", aib=VALID), "proven accept"),
        (calling("MESSAGE", aib=VALID), "proven accept"),
        (calling("REGISTER", aib=VALID), "foreign drop"),
        (calling("REGISTER", aib=VALID, from_=OWN), "foreign drop"),
        (calling("REGISTER", aib=VALID, from_=OWN, to="<sip:alice@example.com>"), "proven accept"),
        (calling("REGISTER", from_=OWN, to="<sip:alice@example.com>"), "unsigned reject 428"),
        (calling("REGISTER", src=PROVIDER, aib=VALID), "foreign drop"),
        (calling("BYE", aib=VALID), "stray drop"),
        (calling("INVITE", aib=VALID, to="<sip:bob@example.com>;tag=b1"), "stray-tag reject 481"),
        (calling("FROB", src="10.20.0.5"), "new-method reject 405"),
    ],
)
def test_a_proof_opens_no_other_door(subject: Subject, told: str) -> None:
    """A proven stranger calls and writes to us: he relays nothing, registers nobody else."""
    assert ruled(subject) == told


@pytest.mark.parametrize(
    ("method", "rate", "told"),
    [
        ("INVITE", (("src", b"INVITE", 1), 6), "call-flood drop"),
        ("MESSAGE", (("src", b"*", 1), 21), "knocking drop"),
        ("REGISTER", (("src.aor", b"REGISTER", 60), 21), "guessing drop"),
    ],
)
def test_a_flood_is_refused_before_anything_is_verified(
    method: str, rate: tuple[tuple[str, bytes, int], int], told: str
) -> None:
    """Counters cost a microsecond, a signature a thousand times that."""
    subject = calling(method, from_=OWN, aib=WRONG, rates=Counts(dict([rate])))
    subject.proofs = proofs = Proven(aib=WRONG)
    assert ruled(subject) == told
    assert proofs.kinds == []


def test_replays_are_dropped_before_anything_is_verified() -> None:
    """A known request again with other headers gets no answer, however good its signature."""
    subject = calling(aib=VALID)
    subject.proofs = proofs = Proven(aib=VALID)
    subject.replay = True
    assert ruled(subject) == "replayed drop"
    assert proofs.kinds == []


def test_a_forged_answer_is_dropped() -> None:
    """RFC 3893 section 6; an unsigned one passes."""
    for evidence, told in ((WRONG, "forged drop"), (NONE, "none"), (VALID, "none")):
        subject = made(response(200), src=STRANGER)
        subject.proofs = Proven(aib=evidence)
        subject.transaction_known = True
        assert ruled(subject, "response") == told


@pytest.mark.parametrize("status", [401, 407])
def test_nobody_outside_asks_for_passwords(status: int) -> None:
    """A stranger who is called could otherwise collect digests; the provider may challenge."""
    for src, told in ((STRANGER, "leak drop"), (PROVIDER, "none"), ("10.20.0.5", "none")):
        subject = made(response(status), src=src)
        subject.proofs = Proven(aib=NONE)
        assert ruled(subject, "response") == told


def test_media_is_sealed_here_too() -> None:
    """Who proves himself still needs a key."""
    assert ruled(made(stream=Stream(keyed=False)), "media") == "plain reject 488"
    assert ruled(made(stream=Stream()), "media") == "sealed open"


def test_a_running_call_asks_nothing() -> None:
    """Requests of a known call pass without any rule of this policy, and so without a signature."""
    assert policy().in_dialog.rules == ()


def test_the_example_authority_is_one_and_trusts_nobody() -> None:
    """The file says that its key is gone; it is an authority, so that nothing else is odd."""
    trust = policy().aib
    assert trust is not None
    (file,) = trust.ca
    assert b"key was destroyed" in file.octets
    assert b"PRIVATE" not in file.octets
    (certificate,) = x509.load_pem_x509_certificates(file.octets)
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert policy().warnings == ()
