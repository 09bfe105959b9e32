"""``sipguard identity``: try AIB and PASSporT on a bench, without a provider."""

import argparse
import json
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sipguard.cli.output import Screen, Style
from sipguard.errors import EdgeError
from sipguard.journal.escape import escape, safe_text
from sipguard.journal.query import parse_when

if TYPE_CHECKING:
    from sipguard.cli.message_file import MessageFile
    from sipguard.cli.signing import Signer
    from sipguard.cli.trial_authority import Issued

SUMMARY = "make certificates, sign and verify messages, for trials"
DETAILS = """\
A small certificate authority and a signer, so that signed callers can be tried on
a bench, and the gateway's own verifier for one message in a file. FOR TRIALS: the
authority's key and all others lie unencrypted in DIR (mode 0600).

from an authority to a verified call:
  sipguard identity make-ca trial
  sipguard identity issue trial alice@example.com
  sipguard identity sign-message invite.txt --key trial/alice@example.com.key \\
      --cert trial/alice@example.com.pem -o signed.txt
  sipguard identity verify-message signed.txt --ca trial/ca.pem

Each has --help. The policy then trusts the authority: trust aib ca "trial/ca.pem"
"""
_MAKE_CA = """\
Makes DIR/ca.pem, which verifiers trust, and DIR/ca.key, which issues. The key is
not encrypted: this is an authority for trials.

example:
  sipguard identity make-ca trial --name "Example trial authority"

exit status:
  0  made; 1  DIR has one already, or cannot be written; 2  the command line was wrong
"""
_ISSUE = """\
Writes DIR/WHO.pem and DIR/WHO.key. WHO is
  an address   alice@example.com   signs AIBs of this caller (RFC 6216)
  a domain     example.com         signs for its callers: AIBs where the policy says
                                   domain-signers, with --stir PASSporTs too (RFC 5922);
                                   with --tls its servers and clients show it
  a number     +49301234560        signs PASSporTs of this number (RFC 8226)

examples:
  sipguard identity issue trial alice@example.com --key rsa
  sipguard identity issue trial +49301234560
  sipguard identity issue trial carrier.example --stir --spc 1234
  sipguard identity issue trial pbx.example.com --tls --ip 192.0.2.5

exit status:
  0  issued; 1  not, and standard error says why; 2  the command line was wrong
"""
_SIGN = """\
Adds an authenticated identity body (AIB, RFC 3893) to the SIP message in FILE, or
with --stir an Identity header (PASSporT, RFC 8224). All other octets stay, except
Content-Length, the wrapper around the body, and a Date where there is none. A file
whose lines end with LF alone gets CRLF.

An AIB signs From, To, Contact, Date, Call-ID and CSeq, not the body: --with-body
signs that as well. What is signed is good for as long as the verifier's window
around Date: ten minutes for an AIB, one for a PASSporT, by default.

A PASSporT names From and To by their digits where they are tel: URIs, user=phone or
begin with a plus, and with --attest where they can be dialed; else by their address.

examples:
  sipguard identity sign-message invite.txt --key alice.key --cert alice.pem -o signed.txt
  sipguard identity sign-message invite.txt --key 1.key --cert 1.pem --stir \\
      --x5u https://certs.example.com/1.pem --attest A --in-place
  sipguard identity sign-message invite.txt --key alice.key --cert alice.pem \\
      --sipp -o call.xml && sipp -sf call.xml -cid_str CALL-ID -m 1 192.0.2.1

exit status:
  0  signed; 1  not, and standard error says why; 2  the command line was wrong
"""
_VERIFY = """\
Judges the identity of one SIP message as the gateway does: AIB, signed bodies and
PASSporT, each with its signer, what its signature covers, and why it failed. Only
files are read; no certificate is fetched.

examples:
  sipguard identity verify-message signed.txt --ca trial/ca.pem
  sipguard identity verify-message old.txt --ca ca.pem --now 2026-01-31T08:30
  sipguard identity verify-message call.txt --ca ca.pem --x5u-dir certs

--x5u-dir holds chains in PEM or DER, each in a file named as its URL with every
octet but letters, digits and -._~ as %XX: https%3A%2F%2Fcerts.example.com%2F1.pem

exit status:
  0  at least one proof is valid, and none failed
  1  a proof failed
  2  the command line was wrong, or a file cannot be read
  3  nothing proves the caller: no proof is there, or none can be checked
"""
EXIT_UNREADABLE: Final = 2
_URL: Final = re.compile(r"https?://[!#-;=?-Z_a-z~%\[\]]{1,1000}")  # no quotes, <, > or blanks
_COUNTRY: Final = re.compile(r"[1-9][0-9]{0,2}")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the four commands below this one."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, summary: str, details: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            description=f"sipguard identity {name}: {summary}",
            epilog=details,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    _add_make_ca(command("make-ca", "make a certificate authority for trials", _MAKE_CA))
    _add_issue(command("issue", "issue a certificate and its key", _ISSUE))
    _add_sign(command("sign-message", "sign the SIP message in a file", _SIGN))
    _add_verify(command("verify-message", "verify the SIP message in a file", _VERIFY))


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Run the command that was chosen."""
    code: int = options.act(options, screen)
    return code


def _add_make_ca(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help="made if it is not there")
    parser.add_argument("--name", default="", help="what the authority calls itself")
    parser.set_defaults(act=_make_ca)


def _add_issue(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help="where make-ca put the authority")
    parser.add_argument("who", metavar="WHO", help="an address, a domain, or a telephone number")
    parser.add_argument("--key", choices=("ec", "rsa"), default="ec", help="P-256, or RSA-2048")
    parser.add_argument("--days", type=_days, default=365, help="how long it is valid (365)")
    parser.add_argument("--stir", action="store_true", help="to sign PASSporTs with")
    parser.add_argument(
        "--spc", metavar="CODE", action="append", default=[], help="a service provider code"
    )
    parser.add_argument(
        "--x5u",
        metavar="URL",
        help="keep a copy in DIR/x5u under this URL's name, for offline verifiers",
    )
    parser.add_argument("--tls", action="store_true", help="for a domain's servers and clients")
    parser.add_argument(
        "--ip",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="with --tls: for clients that call the server by this IP address",
    )
    parser.set_defaults(act=_issue)


def _add_sign(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="a SIP message")
    parser.add_argument("--key", metavar="KEY", type=Path, required=True, help="in PEM")
    parser.add_argument(
        "--cert", metavar="CERT", type=Path, required=True, help="in PEM; more are its chain"
    )
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("-o", "--output", metavar="FILE", help="where to; - is standard output")
    target.add_argument("--in-place", action="store_true", help="write it back")
    parser.add_argument(
        "--date", metavar="WHEN", help="set Date: 1h (ago), 08:30, 2026-01-31T08:30 (UTC)"
    )
    parser.add_argument("--sipp", action="store_true", help="write a scenario for SIPp")
    aib = parser.add_argument_group("AIB")
    aib.add_argument("--with-body", action="store_true", help="sign the body (SDP), too")
    aib.add_argument("--base64", action="store_true", help="the signature as text")
    aib.add_argument("--pss", action="store_true", help="RSA-PSS instead of PKCS #1 v1.5")
    stir = parser.add_argument_group("PASSporT")
    stir.add_argument("--stir", action="store_true", help="an Identity header instead of an AIB")
    stir.add_argument("--x5u", metavar="URL", help="where the certificate can be fetched")
    stir.add_argument("--attest", choices=("A", "B", "C"), default="", help="SHAKEN, with this")
    _add_country(stir)
    parser.set_defaults(act=_sign)


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="a SIP message")
    parser.add_argument(
        "--ca", metavar="FILE", type=Path, action="append", required=True, help="trusted roots"
    )
    parser.add_argument(
        "--cert",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="known certificates, for signatures that bring none",
    )
    parser.add_argument(
        "--crl", metavar="FILE", type=Path, action="append", default=[], help="revocation lists"
    )
    parser.add_argument("--x5u-dir", metavar="DIR", type=Path, help="certificates by URL")
    parser.add_argument("--now", metavar="WHEN", help="judge as at that time (UTC)")
    parser.add_argument("--max-age", metavar="SECONDS", type=int, help="the window around Date")
    parser.add_argument(
        "--domain-signers", action="store_true", help="let a domain sign for its callers"
    )
    _add_country(parser)
    parser.add_argument("--json", action="store_true", help="as in a record, for programs")
    parser.set_defaults(act=_verify)


def _add_country(parser: "argparse._ActionsContainer") -> None:
    parser.add_argument(
        "--country", metavar="CODE", type=_country, default=b"", help="whose numbers 030... are: 49"
    )


def _make_ca(options: argparse.Namespace, screen: Screen) -> int:
    from sipguard.cli.trial_authority import CA_NAME, make_authority

    _tell(screen, make_authority(options.folder, options.name or CA_NAME))
    return 0


def _issue(options: argparse.Namespace, screen: Screen) -> int:
    from sipguard.cli.trial_authority import file_of_url, issue, read_holder, write_new

    holder = read_holder(options.who)
    issued = issue(
        options.folder,
        holder,
        kind=options.key,
        days=options.days,
        for_stir=options.stir or bool(holder.number),
        codes=tuple(options.spc),
        for_tls=options.tls,
        addresses=tuple(options.ip),
    )
    _tell(screen, issued)
    if options.x5u:
        copy = options.folder / "x5u" / file_of_url(options.x5u)
        copy.parent.mkdir(exist_ok=True)
        write_new(copy, issued.certificate.read_bytes(), mode=0o644)
        screen.line(f"  {copy}")
    return 0


def _tell(screen: Screen, issued: "Issued") -> None:
    screen.line(f"{', '.join(issued.names)}:")
    screen.line(f"  {issued.certificate}")
    screen.line(f"  {issued.key}  (mode 0600)")
    screen.note(f"{screen.paint('note:', Style.WARNING)} for trials: the key is not encrypted")


def _sign(options: argparse.Namespace, screen: Screen) -> int:
    from sipguard.cli.message_file import read_message_file, read_octets
    from sipguard.cli.signing import Form, Signer, dated, sign_aib, sign_passport
    from sipguard.cli.trial_authority import read_certificates, read_key

    if options.stir != bool(options.x5u):
        raise EdgeError("--stir and --x5u go together: a PASSporT says where its certificate is")
    now_s = time.time()
    signer = Signer(read_key(options.key), read_certificates(options.cert))
    if signer.certificates[0].public_key() != signer.key.public_key():
        raise EdgeError(f"{options.key} is not the key of the first certificate in {options.cert}")
    plain = read_message_file(read_octets(options.file))
    plain = plain.with_body(plain.body)
    plain.parsed()
    message = dated(plain, parse_when(options.date, now_s) if options.date else None, now_s)
    if options.stir:
        date_s = message.parsed().date_s
        if date_s is None:
            raise EdgeError("the Date of the message cannot be read: set one with --date")
        if not _URL.fullmatch(options.x5u):
            raise EdgeError(f"{options.x5u!r} is no URL that an Identity header can name")
        signed = sign_passport(
            message, signer, options.x5u, options.attest, date_s, options.country
        )
    else:
        form = Form(options.with_body, options.base64 or options.sipp, options.pss)
        _warn_of_signer(signer, message, screen)
        signed = sign_aib(message, signer, form)
    _write(options, signed)
    return 0


def _warn_of_signer(signer: "Signer", message: "MessageFile", screen: Screen) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    from sipguard.identity.certificate import read_certificate

    ids = message.parsed().ids
    certificate = read_certificate(signer.certificates[0].public_bytes(Encoding.DER))
    if ids is None:
        return
    uri = ids.from_.uri if message.is_request else ids.to.uri
    if not (certificate.speaks_for_user(uri.user, uri.host) or certificate.domains):
        caller, named = escape(uri.raw), escape(certificate.named)
        words = f"the certificate ({named}) does not speak for {caller}: verifiers will refuse it"
        screen.note(f"{screen.paint('note:', Style.WARNING)} {words}")


def _write(options: argparse.Namespace, signed: "MessageFile") -> None:
    from sipguard.cli.sipp_scenario import sipp_scenario

    octets = sipp_scenario(signed).encode() if options.sipp else signed.octets
    if options.output == "-":
        sys.stdout.buffer.write(octets)
        return
    path = options.file if options.in_place else Path(options.output)
    try:
        path.write_bytes(octets)
    except OSError as error:
        raise EdgeError(f"cannot write {path}: {error.strerror}") from None


def _verify(options: argparse.Namespace, screen: Screen) -> int:
    from sipguard.cli.message_file import read_octets
    from sipguard.cli.verify_message import Trust, exit_status, verify_message
    from sipguard.journal.proofs import proofs_json
    from sipguard.journal.proofs_told import tell_proofs

    now_s = time.time()
    at_s = parse_when(options.now, now_s) if options.now else now_s
    trust = Trust(
        options.ca,
        options.cert,
        options.crl,
        options.x5u_dir,
        options.max_age,
        options.domain_signers,
        options.country,
    )
    try:
        judged = verify_message(read_octets(options.file), trust, at_s)
    except EdgeError as error:
        screen.note(f"{screen.paint('sipguard:', Style.WARNING)} {safe_text(str(error))}")
        return EXIT_UNREADABLE
    for finding in judged.findings:
        screen.note(f"note: {finding.reason.sentence} {finding.detail}".rstrip())
    told = proofs_json(judged.proofs, None)
    if options.json:
        screen.line(json.dumps(told))
    else:
        for line in tell_proofs({"identity": told}):
            screen.line(line)
    return exit_status(judged)


def _country(text: str) -> bytes:
    if not _COUNTRY.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no country code, such as 49")
    return text.encode()


def _days(text: str) -> int:
    from sipguard.cli.trial_authority import MAX_DAYS

    if not text.isdigit() or not 0 < int(text) <= MAX_DAYS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days from 1 to {MAX_DAYS}")
    return int(text)
