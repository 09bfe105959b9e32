"""Proofs in the record: those asked for, as codes and as sentences, masked like all else."""

import json
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sipguard.evidence import Evidence, State
from sipguard.journal.observation import Observation
from sipguard.journal.proofs import MAX_COVERED, MAX_NOTES, Json, because
from sipguard.journal.proofs_told import tell_proofs
from sipguard.journal.record import record_of
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action

ALICE = b"sip:alice@example.com"
AIB_COVERS = (b"from", b"to", b"date", b"call-id", b"contact", b"cseq")
KEY = b"WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
SENTENCE = "From says alice@example.com, the certificate speaks for mallory@example.com"


def identity(*proofs: tuple[str, Evidence], raw: bytes = b"") -> dict[str, Json]:
    """Return the record's ``identity`` as a reader of JSON lines has it."""
    seen = Observation(
        0.0, Action.DROP, Action.DROP, Reason.REFUSED_BY_RULE, b"", b"", raw=raw, proofs=proofs
    )
    told = json.loads(record_of(seen, "00000001").to_line())["identity"]
    assert isinstance(told, dict)
    return told


def sentences(*proofs: tuple[str, Evidence]) -> list[str]:
    """Return what ``sipguard explain`` says."""
    return list(tell_proofs({"identity": identity(*proofs)}))


def test_what_nobody_asked_for_is_not_there() -> None:
    """A proof that was not verified has no state."""
    assert identity() == {}
    assert list(identity(("stir", Evidence(State.ABSENT)))) == ["stir"]


def test_a_failed_proof_says_why() -> None:
    """Codes for programs, a sentence with both names for people."""
    mismatch = Finding(Reason.AIB_WRONG_SIGNER, SENTENCE, b"sip:alice@example.com")
    proof = Evidence(State.FAILED, mismatch, signer=b"sip:mallory@example.com", covers=AIB_COVERS)
    told = identity(("aib", proof))
    assert told["aib"] == {
        "state": "failed",
        "signer": "sip:mallory@example.com",
        "covers": [name.decode() for name in AIB_COVERS],
        "reason": "aib-wrong-signer",
        "rule": "AIB-5",
        "why": f"{SENTENCE}.",
        "octets": "sip:alice@example.com",
        "notes": [],
    }
    assert sentences(("aib", proof)) == [
        f"AIB: failed: {SENTENCE}.",
        "  signer: sip:mallory@example.com",
        "  would cover From, To, Date, Call-ID, Contact, CSeq; not the session description",
    ]


def test_a_valid_proof_says_what_it_covers() -> None:
    """AIB-11: who signed the headers has not signed the session description."""
    aib = Evidence(State.VALID, signer=ALICE, covers=AIB_COVERS)
    smime = Evidence(
        State.VALID, signer=ALICE, covers=(b"sdp",), notes=(Finding(Reason.SDP_RELAYED),)
    )
    assert sentences(("aib", aib), ("smime", smime)) == [
        "AIB: valid: signed by sip:alice@example.com",
        "  covers From, To, Date, Call-ID, Contact, CSeq; not the session description",
        "S/MIME: valid: signed by sip:alice@example.com",
        "  covers the session description",
        f"  note: {Reason.SDP_RELAYED.sentence}",
    ]


def test_a_passport_says_for_whom() -> None:
    """Attestation and number stand beside the signer; other proofs have neither."""
    proof = Evidence(State.VALID, signer=b"SHAKEN 1234", attest=b"A", orig=b"+4930123")
    assert identity(("stir", proof))["stir"] == {
        "state": "valid",
        "signer": "SHAKEN 1234",
        "attest": "A",
        "orig": "+4930123",
        "covers": [],
        "reason": "",
        "rule": "",
        "why": "",
        "octets": "",
        "notes": [],
    }
    assert sentences(("stir", proof), ("digest", Evidence(State.UNKNOWN))) == [
        "STIR: valid: signed by SHAKEN 1234",
        "  attestation A for +4930123",
        "Digest: unknown",
    ]


def test_a_valid_proof_may_have_doubts() -> None:
    """A finding beside a valid state keeps its signer's line."""
    odd = Evidence(State.VALID, Finding(Reason.AIB_THIN), signer=ALICE)
    assert sentences(("aib", odd))[1] == "  signed by sip:alice@example.com"


def test_a_detail_is_a_sentence_or_stands_behind_one() -> None:
    """Whoever wrote the check, the reader gets a whole sentence."""
    assert because(Finding(Reason.AIB_STALE)) == Reason.AIB_STALE.sentence
    assert because(Finding(Reason.WEAK_SIGNATURE, "RSA-1024")) == (
        f"{Reason.WEAK_SIGNATURE.sentence} (RSA-1024)"
    )
    assert because(Finding(Reason.AIB_STALE, "Date is 2 h old.")) == "Date is 2 h old."


def test_the_documentation_names_every_key_in_order() -> None:
    """Who parses the lines reads docs/records.md, not our code."""
    text = (Path(__file__).parents[2] / "docs" / "records.md").read_text()
    section = text[text.index("## Proofs") : text.index("## Streams")]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    stir = identity(("stir", Evidence(State.ABSENT)))["stir"]
    assert isinstance(stir, dict)
    assert [key for row in rows for key in re.findall(r"`(\w+)`", row)] == list(stir)


def test_records_of_the_first_version_are_still_told() -> None:
    """They had a word for each."""
    old: dict[str, Json] = {"identity": {"aib": "unknown", "stir": "failed: expired"}}
    assert list(tell_proofs(old)) == ["AIB: unknown", "STIR: failed: expired"]
    assert list(tell_proofs({})) == []


def test_no_secret_gets_out_by_a_proof() -> None:
    """A certificate may name what it likes, and a finding may quote the middle of a key."""
    raw = b"INVITE sip:b@c SIP/2.0\r\n\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY
    quote = Finding(Reason.SDP_DIFFERS, "o= differs, a=crypto:1 X inline:" + KEY.decode(), KEY[8:])
    proof = Evidence(
        State.FAILED, quote, notes=(quote,), signer=b"sip:alice:pass@example.com",
        covers=(b"a=crypto:1 X inline:" + KEY,),
    )  # fmt: skip
    line = json.dumps(identity(("smime", proof), raw=raw))
    assert KEY[12:24].decode() not in line
    short = Evidence(State.FAILED, Finding(Reason.SDP_DIFFERS, "", KEY[8:20]))
    assert KEY[8:20].decode() not in json.dumps(identity(("smime", short), raw=raw))
    assert "pass@" not in line


@given(st.binary(max_size=300), st.text(max_size=300))
def test_any_octets_make_printable_values(octets: bytes, detail: str) -> None:
    """No certificate and no header can write a line of its own, nor without end."""
    finding = Finding(Reason.AIB_MISMATCH, detail, octets[:128])
    proof = Evidence(
        State.FAILED, finding, notes=(finding,) * 50, signer=octets, covers=(octets,) * 99,
        attest=octets, orig=octets,
    )  # fmt: skip
    told = identity(("stir", proof), ("aib", proof))
    stir = told["stir"]
    assert isinstance(stir, dict)
    covers, notes = stir["covers"], stir["notes"]
    assert isinstance(covers, list)
    assert isinstance(notes, list)
    assert (len(covers), len(notes)) == (MAX_COVERED, MAX_NOTES)
    assert all(line.isprintable() for line in tell_proofs({"identity": told}))
