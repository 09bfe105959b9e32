"""identity verify-message: what sign-message signs is valid, and nothing else is."""

import datetime
import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trials import ALICE, CALL, INVITE, NUMBER, URL, Run, sign

from sipguard.cli.verify_message import Trust, exit_status, verify_message
from sipguard.evidence import State


def in_(seconds: float) -> str:
    """Return a time as --now takes it."""
    return datetime.datetime.fromtimestamp(time.time() + seconds, datetime.UTC).isoformat()


@pytest.fixture
def signed(identity: Run, trial: Path, invite: Path) -> Path:
    """Alice's INVITE with an AIB."""
    sign(identity, trial, invite, ALICE)
    return invite.parent / "signed.txt"


@pytest.fixture
def number(identity: Run, trial: Path, invite: Path) -> Path:
    """A call from a number with a PASSporT, whose certificate lies in trial/x5u."""
    assert identity("issue", trial, NUMBER, "--x5u", URL)[0] == 0
    invite.write_text(CALL)
    sign(identity, trial, invite, NUMBER, "--stir", "--x5u", URL, "--attest", "A")
    return invite.parent / "signed.txt"


class TestAib:
    """Authenticated identity bodies."""

    @pytest.mark.parametrize("more", [(), ("--base64",)])
    def test_what_is_signed_here_is_valid(
        self, identity: Run, trial: Path, invite: Path, more: tuple[str, ...]
    ) -> None:
        """AIB-5, AIB-11: signer and coverage are said, and what is not covered as well."""
        sign(identity, trial, invite, ALICE, *more)
        code, out, err = identity(
            "verify-message", invite.parent / "signed.txt", "--ca", trial / "ca.pem"
        )
        assert code == 0, out + err
        assert f"AIB: valid: signed by sip:{ALICE}\n" in out
        [covers] = [line for line in out.splitlines() if "covers" in line]
        assert covers.startswith("  covers ")
        for name in ("From", "To", "Contact", "Date", "Call-ID", "CSeq"):
            assert name in covers
        assert covers.endswith("; not the session description")
        assert "STIR: absent" in out

    def test_for_programs(self, identity: Run, trial: Path, signed: Path) -> None:
        """--json has the same keys as a record's identity."""
        code, out, _ = identity("verify-message", signed, "--ca", trial / "ca.pem", "--json")
        assert code == 0
        told = json.loads(out)
        assert list(told) == ["aib", "smime", "stir"]
        assert told["aib"]["state"] == "valid"
        assert told["aib"]["signer"] == f"sip:{ALICE}"

    @pytest.mark.parametrize("pss", [(), ("--pss",)])
    def test_rsa(self, identity: Run, trial: Path, invite: Path, pss: tuple[str, ...]) -> None:
        """SMI-29: both paddings."""
        identity("issue", trial, ALICE, "--key", "rsa")
        sign(identity, trial, invite, ALICE, *pss)
        given = ("verify-message", invite.parent / "signed.txt", "--ca", trial / "ca.pem")
        assert identity(*given)[0] == 0

    def test_a_body_that_is_signed_too(self, identity: Run, trial: Path, invite: Path) -> None:
        """SMI-35: then the session description is covered, and a change of it is seen."""
        sign(identity, trial, invite, ALICE, "--with-body")
        path = invite.parent / "signed.txt"
        code, out, _ = identity("verify-message", path, "--ca", trial / "ca.pem")
        assert code == 0, out
        assert f"AIB: valid: signed by sip:{ALICE}\n" in out
        assert f"S/MIME: valid: signed by sip:{ALICE}\n" in out
        path.write_bytes(path.read_bytes().replace(b"m=audio 4000", b"m=audio 4002"))
        code, out, _ = identity("verify-message", path, "--ca", trial / "ca.pem")
        assert code == 1
        assert "valid" not in out

    def test_another_caller_in_from(self, identity: Run, trial: Path, signed: Path) -> None:
        """AIB-6: both values stand in the sentence, so that nobody has to look them up."""
        changed = signed.read_bytes().replace(b"sip:alice@example", b"sip:caleb@example", 1)
        signed.write_bytes(changed)
        code, out, _ = identity("verify-message", signed, "--ca", trial / "ca.pem")
        assert code == 1
        assert "AIB: failed" in out
        assert "caleb@example.com" in out
        assert ALICE in out

    def test_the_wrong_signer(self, identity: Run, trial: Path, invite: Path) -> None:
        """AIB-5: a good certificate of somebody else proves nothing."""
        sign(identity, trial, invite, "mallory@example.com")
        path = invite.parent / "signed.txt"
        code, out, _ = identity("verify-message", path, "--ca", trial / "ca.pem")
        assert code == 1
        assert "mallory@example.com" in out

    def test_a_domain_signs_where_it_may(self, identity: Run, trial: Path, invite: Path) -> None:
        """AIB-5 b: only where the policy says so."""
        sign(identity, trial, invite, "example.com")
        given = ("verify-message", invite.parent / "signed.txt", "--ca", trial / "ca.pem")
        assert identity(*given)[0] == 1
        assert identity(*given, "--domain-signers")[0] == 0

    def test_time(self, identity: Run, trial: Path, signed: Path) -> None:
        """AIB-7, CERT-1: ten minutes around Date, and never past the certificate's end."""
        given = ("verify-message", signed, "--ca", trial / "ca.pem")
        assert identity(*given, "--now", in_(500))[0] == 0
        assert identity(*given, "--now", in_(700))[0] == 1
        assert identity(*given, "--now", in_(700), "--max-age", "800")[0] == 0
        assert identity(*given, "--now", in_(400 * 86400))[0] == 1

    def test_an_authority_nobody_trusts(
        self, identity: Run, trial: Path, signed: Path, tmp_path: Path
    ) -> None:
        """CERT-1: the same words by another authority are worth nothing."""
        assert identity("make-ca", tmp_path / "other")[0] == 0
        code, out, _ = identity("verify-message", signed, "--ca", tmp_path / "other" / "ca.pem")
        assert code in (1, 3)
        assert "valid" not in out

    def test_no_proof(self, identity: Run, trial: Path, tmp_path: Path) -> None:
        """AIB-16: absent is neither valid nor failed."""
        plain = tmp_path / "plain.txt"
        plain.write_bytes(INVITE.replace("\n", "\r\n").encode())
        code, out, _ = identity("verify-message", plain, "--ca", trial / "ca.pem")
        assert code == 3
        assert "AIB: absent" in out

    def test_no_octet_under_the_signature_may_change(
        self, identity: Run, trial: Path, signed: Path
    ) -> None:
        """SMI-4, SMI-24: whatever is flipped there, nothing is valid."""
        octets = signed.read_bytes()
        start = octets.index(b"Content-Type: message/sipfrag")
        end = octets.index(b"\r\n--", start)
        trust = Trust([trial / "ca.pem"])
        assert exit_status(verify_message(octets, trust, time.time())) == 0

        @settings(max_examples=150, deadline=None)
        @given(st.integers(start, end - 1), st.integers(1, 255))
        def flip(at: int, mask: int) -> None:
            changed = octets[:at] + bytes((octets[at] ^ mask,)) + octets[at + 1 :]
            judged = dict(verify_message(changed, trust, time.time()).proofs)
            assert judged["aib"].state is not State.VALID

        flip()


class TestPassport:
    """PASSporTs, with certificates from a directory."""

    def test_what_is_signed_here_is_valid(self, identity: Run, trial: Path, number: Path) -> None:
        """STI-16, STI-31, STI-35: the number in the certificate, attestation and caller."""
        given = ("verify-message", number, "--ca", trial / "ca.pem", "--x5u-dir", trial / "x5u")
        code, out, err = identity(*given)
        assert code == 0, out + err
        assert "STIR: valid" in out
        assert "  attestation A for 49301234560\n" in out
        assert "AIB: absent" in out

    @pytest.mark.parametrize(
        ("caller", "words"),
        [
            (f"sip:{NUMBER}@example.com", ()),
            ("sip:+49-30.123(45)60@example.com", ()),
            ("sip:+49%2030%20123%2045%2060@example.com", ()),
            ("sip:%2B49%2030%20123-45%2060@example.com;user=phone", ()),
            ("sip:49301234560@example.com;user=phone", ()),
            ("sip:49301234560@example.com", ()),
            ("tel:+49-30-123(45)60", ()),
            ("sip:0301234560@example.com", ("--country", "49")),
            ("tel:0049-30-1234560", ("--country", "49")),
        ],
    )
    def test_a_number_is_signed_in_one_spelling(
        self, identity: Run, trial: Path, invite: Path, caller: str, words: tuple[str, ...]
    ) -> None:
        """STI-7: plus, blanks and dashes fall away; a country's own way to dial it, if named."""
        assert identity("issue", trial, NUMBER, "--x5u", URL)[0] == 0
        invite.write_text(CALL.replace(f"sip:{NUMBER}@example.com;user=phone", caller))
        more = ("--stir", "--x5u", URL, "--attest", "A", *words)
        sign(identity, trial, invite, NUMBER, *more)
        given = ("--ca", trial / "ca.pem", "--x5u-dir", trial / "x5u", *words)
        code, out, err = identity("verify-message", invite.parent / "signed.txt", *given)
        assert code == 0, out + err
        assert f"attestation A for {NUMBER[1:]}" in out

    def test_what_could_be_an_extension_is_signed_as_an_address(
        self, identity: Run, trial: Path, invite: Path
    ) -> None:
        """Without --attest the domain speaks for ``sip:1001``; no country has the code 0."""
        assert identity("issue", trial, "example.com", "--stir", "--x5u", URL)[0] == 0
        invite.write_text(INVITE.replace(ALICE, "1001@Example.com"))
        sign(identity, trial, invite, "example.com", "--stir", "--x5u", URL)
        given = ("--ca", trial / "ca.pem", "--x5u-dir", trial / "x5u")
        code, out, err = identity("verify-message", invite.parent / "signed.txt", *given)
        assert code == 0, out + err
        with pytest.raises(SystemExit):
            identity("verify-message", invite, *given, "--country", "049")

    def test_without_its_certificate(self, identity: Run, trial: Path, number: Path) -> None:
        """STI-15: nobody can say, and nothing is fetched."""
        code, out, _ = identity("verify-message", number, "--ca", trial / "ca.pem")
        assert code == 3
        assert "STIR: unknown" in out

    def test_time(self, identity: Run, trial: Path, number: Path) -> None:
        """STI-10: a minute."""
        given = ("verify-message", number, "--ca", trial / "ca.pem", "--x5u-dir", trial / "x5u")
        code, out, _ = identity(*given, "--now", in_(90))
        assert code == 1
        assert "STIR: failed" in out

    @pytest.mark.parametrize("who", [b"49301234560", b"49-30-999"])
    def test_other_numbers(self, identity: Run, trial: Path, number: Path, who: bytes) -> None:
        """STI-6, STI-9: neither caller nor callee may be another."""
        number.write_bytes(number.read_bytes().replace(who, who[:-1] + b"1", 1))
        given = ("verify-message", number, "--ca", trial / "ca.pem", "--x5u-dir", trial / "x5u")
        assert identity(*given)[0] == 1

    def test_a_domain_speaks_for_addresses(self, identity: Run, trial: Path, invite: Path) -> None:
        """STI-16: a certificate of example.com for alice@example.com, none for a number."""
        identity("issue", trial, "example.com", "--stir", "--x5u", URL)
        sign(identity, trial, invite, "example.com", "--stir", "--x5u", URL)
        path = invite.parent / "signed.txt"
        given = ("verify-message", path, "--ca", trial / "ca.pem", "--x5u-dir", trial / "x5u")
        code, out, _ = identity(*given)
        assert code == 0, out
        assert f"  no attestation for sip:{ALICE}\n" in out


class TestFiles:
    """What cannot be read is no verdict."""

    def test_unreadable(self, identity: Run, trial: Path, signed: Path, tmp_path: Path) -> None:
        """Exit status 2, and a line that says which file."""
        ca = trial / "ca.pem"
        for arguments in (
            (tmp_path / "none.txt", "--ca", ca),
            (signed, "--ca", trial / "ca.key"),
            (signed, "--ca", ca, "--crl", ca),
            (signed, "--ca", ca, "--x5u-dir", ca),
            (ca, "--ca", ca),
        ):
            code, out, err = identity("verify-message", *arguments)
            assert (code, out) == (2, ""), arguments
            assert err.startswith("sipguard: ")
