"""identity: a trial authority, its certificates, and messages signed for trials."""

import base64
import io
import json
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from trials import ALICE, BODY, CALL, INVITE, NUMBER, URL, Run, sign

from sipguard.cli.main import main
from sipguard.cli.message_file import read_message_file
from sipguard.cli.trial_authority import Holder, read_holder, tn_auth_list
from sipguard.errors import EdgeError
from sipguard.identity.certificate import TN_AUTH_LIST, read_certificate
from sipguard.wire.multipart import parse_content_type, split_multipart
from sipguard.wire.sip import parse_message

OPENSSL = shutil.which("openssl")


def parts_of(content_type: bytes, body: bytes) -> list[tuple[bytes, bytes]]:
    """Return each part with its headers, as a signature covers it, and its content."""
    _, params = parse_content_type(content_type)
    parts = split_multipart(body, params[b"boundary"])
    return [(body[part.part_start : part.end], body[part.start : part.end]) for part in parts]


def aib_of(signed: bytes) -> tuple[bytes, bytes]:
    """Return the octets that are signed and the CMS over them."""
    message = parse_message(signed)
    assert not message.findings
    content_type, body = message.values(b"content-type")[0], message.body
    while not content_type.startswith(b"multipart/signed"):
        whole, body = parts_of(content_type, body)[-1]
        content_type = read_message_file(b"X SIP/2.0\r\n" + whole).value(b"content-type")
    (part, _), (head, cms) = parts_of(content_type, body)
    return part, base64.b64decode(cms) if b"base64" in head else cms


def openssl(*arguments: object) -> str:
    assert OPENSSL is not None
    done = subprocess.run([OPENSSL, *map(str, arguments)], capture_output=True, text=True)
    return f"{done.returncode} {done.stdout}{done.stderr}"


needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="no openssl program")


class TestAuthority:
    """make-ca and issue."""

    def test_keys_are_for_their_owner_alone(self, identity: Run, trial: Path) -> None:
        """Nobody else on the machine may sign by this authority; and it says it is for trials."""
        code, out, err = identity("issue", trial, ALICE)
        assert code == 0
        assert f"sip:{ALICE}" in out
        assert "for trials" in err
        for name in ("ca.key", f"{ALICE}.key"):
            assert stat.S_IMODE((trial / name).stat().st_mode) == 0o600

    def test_nothing_is_overwritten(self, identity: Run, trial: Path) -> None:
        """A key that is written over is lost, with all that it signed for."""
        before = (trial / "ca.key").read_bytes()
        assert identity("make-ca", trial)[0] == 1
        assert (trial / "ca.key").read_bytes() == before
        assert identity("issue", trial, ALICE)[0] == 0
        code, _, err = identity("issue", trial, ALICE)
        assert (code, "is there already" in err) == (1, True)

    @pytest.mark.parametrize("kind", ["ec", "rsa"])
    def test_an_address_gets_what_rfc_6216_describes(
        self, identity: Run, trial: Path, kind: str
    ) -> None:
        """CERT-3, CERT-4: it speaks for this user and nobody else."""
        assert identity("issue", trial, f"sip:{ALICE}", "--key", kind)[0] == 0
        [pem] = x509.load_pem_x509_certificates((trial / f"{ALICE}.pem").read_bytes())
        read = read_certificate(pem.public_bytes(serialization.Encoding.DER))
        assert read.speaks_for_user(b"alice", b"example.com")
        assert not read.speaks_for_user(b"bob", b"example.com")
        assert read.domains == ()
        assert not read.weakness

    def test_a_domain_speaks_for_itself(self, identity: Run, trial: Path) -> None:
        """CERT-5: by sip URI and DNS name, not for what is below it."""
        assert identity("issue", trial, "Example.com", "--stir", "--spc", "1234")[0] == 0
        [pem] = x509.load_pem_x509_certificates((trial / "example.com.pem").read_bytes())
        read = read_certificate(pem.public_bytes(serialization.Encoding.DER))
        assert read.speaks_for_domain(b"example.com")
        assert not read.speaks_for_domain(b"sip.example.com")
        assert read.tn_auth_list == bytes.fromhex("3008a006160431323334"), "as RFC 9118 has it"

    def test_a_number_gets_a_tnauthlist(self, identity: Run, trial: Path) -> None:
        """STI-30: the number in digits, without its plus; and a copy by URL where asked."""
        assert identity("issue", trial, NUMBER, "--x5u", URL)[0] == 0
        [pem] = x509.load_pem_x509_certificates((trial / "49301234560.pem").read_bytes())
        value = pem.extensions.get_extension_for_oid(TN_AUTH_LIST).value
        assert isinstance(value, x509.UnrecognizedExtension)
        assert value.value == b"\x30\x0f\xa2\x0d\x16\x0b49301234560"
        copy = trial / "x5u" / "https%3A%2F%2Fcerts.example.com%2F1.pem"
        assert copy.read_bytes() == (trial / "49301234560.pem").read_bytes()

    @pytest.mark.parametrize(
        "arguments",
        [
            ("192.0.2.1",), ("[2001:db8::1]",), ("alice@@example.com",), ("",), ("exa mple",),
            ("alice@example.com;x=1",), (ALICE, "--stir"), (NUMBER, "--key", "rsa"),
            ("example.com", "--spc", "1234"), ("+4930123456789012",),
            (NUMBER, "--spc", "../../x"), (ALICE, "--tls"), (NUMBER, "--tls"),
            ("example.com", "--ip", "192.0.2.5"), ("example.com", "--tls", "--ip", "192.0.2.500"),
        ],
    )  # fmt: skip
    def test_what_no_certificate_can_say(
        self, identity: Run, trial: Path, arguments: tuple[str, ...]
    ) -> None:
        """Every refusal says why, and leaves no file behind."""
        before = sorted(trial.iterdir())
        code, _, err = identity("issue", trial, *arguments)
        assert code == 1
        assert err.startswith("sipguard: ")
        assert sorted(trial.iterdir()) == before

    def test_a_name_makes_no_path(self, identity: Run, trial: Path) -> None:
        """A slash in a user part does not leave DIR."""
        assert identity("issue", trial, "../../alice/x@example.com")[0] == 0
        assert (trial / "..%2F..%2Falice%2Fx@example.com.pem").exists()

    @needs_openssl
    @pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
    def test_openssl_takes_a_servers_certificate(
        self, identity: Run, trial: Path, purpose: str
    ) -> None:
        """RFC 5922: by the domain's name, and for those who call the address, by that."""
        assert identity("issue", trial, "pbx.example.com", "--tls", "--ip", "192.0.2.5")[0] == 0
        for name in (("-verify_hostname", "pbx.example.com"), ("-verify_ip", "192.0.2.5")):
            words = ("-x509_strict", "-purpose", purpose, *name, "-CAfile", trial / "ca.pem")
            said = openssl("verify", *words, trial / "pbx.example.com.pem")
            assert said.startswith("0 "), said

    @needs_openssl
    def test_openssl_believes_the_chain(self, identity: Run, trial: Path) -> None:
        """Another reader of RFC 5280 finds nothing wrong with what is issued."""
        for who in (ALICE, "example.com", NUMBER):
            identity("issue", trial, who)
        files = [path for path in trial.glob("*.pem") if path.name != "ca.pem"]
        said = openssl("verify", "-x509_strict", "-CAfile", trial / "ca.pem", *files)
        assert said.startswith("0 "), said

    @given(st.text(max_size=20))
    def test_read_holder_is_total(self, text: str) -> None:
        """Any text is one of the three, or refused in words."""
        try:
            holder = read_holder(text)
        except EdgeError:
            return
        assert sum(map(bool, holder)) == 1

    @given(st.integers(1, 200))
    def test_long_lists_are_der(self, count: int) -> None:
        """Lengths over 127 and over 255 octets are written as DER has them."""
        der = tn_auth_list("1", tuple(f"{n:04}" for n in range(count)))
        short, at = der[1] < 0x80, 2
        length = der[1]
        if not short:
            at += length & 0x7F
            length = int.from_bytes(der[2:at], "big")
        assert length == len(der) - at == 8 * count + 5

    def test_a_holder_has_one_name(self) -> None:
        """Numbers lose their punctuation, hosts their capitals."""
        assert read_holder("tel:+49 (30) 12-34") == Holder(number="49301234")
        assert read_holder("SIP:Alice@Example.COM") == Holder(address="Alice@example.com")


class TestAib:
    """sign-message without --stir."""

    def test_keeps_every_other_octet(self, identity: Run, trial: Path, invite: Path) -> None:
        """Compact names, odd spacing, folds and order stay; the body goes into a part."""
        signed = sign(identity, trial, invite, ALICE)
        before = INVITE.replace("\n", "\r\n").encode()
        head, _, body = before.partition(b"\r\n\r\n")
        kept = signed.partition(b"\r\n\r\n")[0].split(b"\r\n")
        gone = [b"Content-Type: application/sdp", b"Content-Disposition: session"]
        assert [row for row in head.split(b"\r\n") if row not in kept] == gone
        assert b"\r\n".join(gone) + b"\r\n\r\n" + body in signed
        read = parse_message(signed)
        assert read.findings == []
        assert read.sdp_bodies == (body,)

    @pytest.mark.parametrize(
        ("kind", "more"),
        [("ec", ()), ("rsa", ()), ("rsa", ("--pss",)), ("ec", ("--base64",)),
         ("ec", ("--with-body",))],
    )  # fmt: skip
    @needs_openssl
    def test_openssl_verifies_it(
        self, identity: Run, trial: Path, invite: Path, kind: str, more: tuple[str, ...]
    ) -> None:
        """SMI-4: the signature is over the part's own octets, its headers included."""
        identity("issue", trial, ALICE, "--key", kind)
        content, cms = aib_of(sign(identity, trial, invite, ALICE, *more))
        files = [invite.parent / name for name in ("content", "cms")]
        files[0].write_bytes(content)
        files[1].write_bytes(cms)
        arguments = ["cms", "-verify", "-inform", "DER", "-binary", "-purpose", "smimesign"]
        arguments += ["-in", str(files[1]), "-content", str(files[0]), "-out", "/dev/null"]
        said = openssl(*arguments, "-CAfile", trial / "ca.pem")
        assert said.startswith("0 "), said
        files[0].write_bytes(content.replace(b"alice", b"alicf"))
        assert not openssl(*arguments, "-CAfile", trial / "ca.pem").startswith("0 ")

    def test_carries_what_rfc_3893_asks(self, identity: Run, trial: Path, invite: Path) -> None:
        """AIB-1, AIB-3: six headers as they stand in the message, in a part of their own."""
        signed = sign(identity, trial, invite, ALICE)
        content, _ = aib_of(signed)
        date = parse_message(signed).header(b"date")
        assert date is not None
        assert content == (
            b"Content-Type: message/sipfrag\r\nContent-Disposition: aib; handling=optional\r\n\r\n"
            b'From: "Alice, at work" <sip:alice@example.com>;tag=a\r\n'
            b"To: <sip:bob@example.com>\r\nContact: <sip:alice@192.0.2.10:5060>\r\n"
            b"Date: " + date + b"\r\nCall-ID: trial-1\r\nCSeq: 7 INVITE\r\n"
        )

    def test_signs_the_body_where_asked(self, identity: Run, trial: Path, invite: Path) -> None:
        """SMI-35: only then does the session description stand under the signature."""
        assert b"m=audio" not in aib_of(sign(identity, trial, invite, ALICE))[0]
        content, _ = aib_of(sign(identity, trial, invite, ALICE, "--with-body"))
        assert BODY.replace("\n", "\r\n").encode() in content

    def test_a_request_without_a_body(self, identity: Run, trial: Path, tmp_path: Path) -> None:
        """The AIB is then the only body."""
        plain = tmp_path / "options.txt"
        head = INVITE.partition("\nContent-Type")[0].replace("INVITE", "OPTIONS")
        plain.write_bytes(head.replace("\n", "\r\n").encode() + b"\r\nContent-Length: 0\r\n\r\n")
        read = parse_message(sign(identity, trial, plain, ALICE))
        assert read.content_type == b"multipart/signed"
        assert read.findings == []

    def test_a_response_names_who_answers(self, identity: Run, trial: Path, tmp_path: Path) -> None:
        """AIB-12: From is the callee, and To must not stand in it."""
        answer = tmp_path / "answer.txt"
        head = INVITE.partition("\nSubject")[0].partition("\n")[2]
        head = head.replace("alice@192.0.2.10", "bob@198.51.100.20").replace(
            "com>\nCall", "com>;tag=b\nCall"
        )
        answer.write_text(f"SIP/2.0 200 OK\n{head}\n\n")
        content, _ = aib_of(sign(identity, trial, answer, "bob@example.com"))
        assert b"\r\nFrom: <sip:bob@example.com>\r\n" in content
        assert b"\r\nTo:" not in content

    def test_a_date_can_be_chosen(self, identity: Run, trial: Path, invite: Path) -> None:
        """To see a stale one refused; the message's own Date stays where nothing is said."""
        signed = sign(identity, trial, invite, ALICE, "--date", "2026-01-31T08:30")
        assert b"\r\nDate: Sat, 31 Jan 2026 08:30:00 GMT\r\n" in signed
        invite.write_bytes(signed)
        assert b"\r\nDate: Sat, 31 Jan 2026 08:30:00 GMT\r\n" in sign(
            identity, trial, invite, ALICE
        )

    def test_in_place_and_to_standard_output(
        self, identity: Run, trial: Path, invite: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """-o - is for pipes."""
        sign(identity, trial, invite, ALICE)
        out = io.TextIOWrapper(io.BytesIO())
        monkeypatch.setattr("sys.stdout", out)
        given = ["sign-message", str(invite), "--key", str(trial / f"{ALICE}.key")]
        given += ["--cert", str(trial / f"{ALICE}.pem")]
        assert main(["identity", *given, "--in-place"]) == 0
        assert b"message/sipfrag" in invite.read_bytes()
        assert main(["identity", *given, "-o", "-"]) == 0
        out.seek(0)
        assert not parse_message(out.buffer.read()).findings

    def test_says_where_the_signer_is_another(
        self, identity: Run, trial: Path, invite: Path
    ) -> None:
        """Signing in another's name is a trial worth making, and no accident."""
        identity("issue", trial, "mallory@example.com")
        stem = trial / "mallory@example.com"
        given = ["--key", f"{stem}.key", "--cert", f"{stem}.pem", "--in-place"]
        code, _, err = identity("sign-message", invite, *given)
        assert code == 0
        assert "does not speak for" in err

    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            (("Contact:", "X-Contact:"), "Contact"),
            (("Call-ID: trial-1\n", ""), "Call-ID"),
            ((INVITE.partition("Max")[0], ""), "does not begin"),
            (("Max-Forwards: 70", "nonsense"), "no header"),
        ],
    )
    def test_what_cannot_be_signed(
        self, identity: Run, trial: Path, invite: Path, spoil: tuple[str, str], words: str
    ) -> None:
        """It says what is missing, and writes nothing."""
        identity("issue", trial, ALICE)
        invite.write_text(INVITE.replace(*spoil))
        given = ["--key", trial / f"{ALICE}.key", "--cert", trial / f"{ALICE}.pem"]
        code, _, err = identity("sign-message", invite, *given, "-o", invite.parent / "signed.txt")
        assert code == 1
        assert words in err
        assert not (invite.parent / "signed.txt").exists()

    def test_key_and_certificate_belong_together(
        self, identity: Run, trial: Path, invite: Path
    ) -> None:
        """A mix-up is said at once, not by the other side."""
        identity("issue", trial, ALICE)
        given = ["--key", trial / "ca.key", "--cert", trial / f"{ALICE}.pem", "--in-place"]
        code, _, err = identity("sign-message", invite, *given)
        assert (code, "is not the key of" in err) == (1, True)


class TestPassport:
    """sign-message --stir."""

    def token(self, signed: bytes) -> tuple[dict[str, object], dict[str, object], bytes, bytes]:
        """Return header, claims, what is signed and the signature."""
        value = parse_message(signed).values(b"identity")[0]
        head, claims, signature = value.partition(b";")[0].split(b".")
        header, said, raw = (
            base64.urlsafe_b64decode(piece + b"==") for piece in (head, claims, signature)
        )
        return json.loads(header), json.loads(said), head + b"." + claims, raw

    def test_shaken(self, identity: Run, trial: Path, invite: Path) -> None:
        """STI-35, STI-13: full form, numbers without plus, Date as iat, keys of the SDP."""
        invite.write_text(CALL)
        signed = sign(identity, trial, invite, NUMBER, "--stir", "--x5u", URL, "--attest", "B")
        header, claims, text, raw = self.token(signed)
        assert header == {"alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": URL}
        assert list(claims) == ["attest", "dest", "iat", "mky", "orig", "origid"], "RFC 8225 9"
        assert (claims["orig"], claims["dest"]) == ({"tn": "49301234560"}, {"tn": ["4930999"]})
        assert claims["mky"] == [{"alg": "sha-256", "dig": "0A" * 32}]
        assert claims["iat"] == parse_message(signed).date_s
        assert signed.count(f";info=<{URL}>;alg=ES256;ppt=shaken\r\n".encode()) == 1
        key = x509.load_pem_x509_certificate((trial / "49301234560.pem").read_bytes()).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        numbers = (int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        key.verify(encode_dss_signature(*numbers), text, ec.ECDSA(hashes.SHA256()))
        without = [row for row in signed.split(b"\r\n") if not row.startswith((b"Ident", b"Date"))]
        assert b"\r\n".join(row for row in without if not row.startswith(b"Content-L")) == (
            CALL.replace("\n", "\r\n").encode()
        )

    def test_of_addresses(self, identity: Run, trial: Path, invite: Path) -> None:
        """Without --attest: the base PASSporT, with URIs where there are no numbers."""
        identity("issue", trial, "example.com", "--stir")
        header, claims, _, _ = self.token(
            sign(identity, trial, invite, "example.com", "--stir", "--x5u", URL)
        )
        assert "ppt" not in header
        assert claims["orig"] == {"uri": f"sip:{ALICE}"}
        assert claims["dest"] == {"uri": ["sip:bob@example.com"]}

    @pytest.mark.parametrize(
        ("who", "key", "more", "words"),
        [
            ("example.com", "rsa", ("--stir", "--x5u", URL), "P-256"),
            ("example.com", "ec", ("--stir",), "go together"),
            ("example.com", "ec", ("--stir", "--x5u", URL, "--attest", "A"), "telephone numbers"),
            ("example.com", "ec", ("--stir", "--x5u", "https://x/\r\nFrom: y"), "no URL"),
        ],
    )
    def test_what_cannot_be_signed(
        self, identity: Run, trial: Path, invite: Path, who: str, key: str, more: tuple[str, ...],
        words: str,
    ) -> None:  # fmt: skip
        """It says why."""
        identity("issue", trial, who, "--key", key)
        given = ["--key", trial / f"{who}.key", "--cert", trial / f"{who}.pem", "--in-place"]
        code, _, err = identity("sign-message", invite, *given, *more)
        assert (code, words in err) == (1, True), err
        assert invite.read_text() == INVITE


class TestSipp:
    """sign-message --sipp."""

    def test_everything_signed_stands_there(self, identity: Run, trial: Path, invite: Path) -> None:
        """SIPp fills in Via and length alone; ACK and BYE follow."""
        scenario = sign(identity, trial, invite, ALICE, "--sipp").decode()
        assert "-cid_str 'trial-1'" in scenario
        words = set(re.findall(r"\[([a-z_]+)\]", scenario))
        assert words == {"transport", "local_ip", "local_port", "branch", "len", "peer_tag_param"}
        assert scenario.count("<send") == 3
        assert 'f: "Alice, at work" <sip:alice@example.com>;tag=a\n' in scenario

    def test_what_sipp_would_change(self, identity: Run, trial: Path, invite: Path) -> None:
        """Brackets are SIPp's own words, and would break what is signed."""
        identity("issue", trial, ALICE)
        invite.write_text(INVITE.replace("192.0.2.10:5060>", "[2001:db8::1]>"))
        given = ["--key", trial / f"{ALICE}.key", "--cert", trial / f"{ALICE}.pem", "--sipp"]
        code, _, err = identity("sign-message", invite, *given, "--in-place")
        assert (code, "SIPp takes" in err) == (1, True)


@given(st.binary(max_size=300))
def test_reading_a_message_file_is_total(octets: bytes) -> None:
    """Any file is read or refused in words; what is read keeps its octets."""
    try:
        message = read_message_file(octets)
    except EdgeError:
        return
    if b"\r\n" in octets and b"\r\n\r\n" in octets and not octets.startswith((b"\r", b"\n")):
        assert octets.startswith(message.octets)
