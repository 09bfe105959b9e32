"""What a caller without a good PASSporT is told: RFC 8224 section 6.2.2, and RFC 9410."""

import re

import pytest
from authority import NOW_S, Holder, issue, make_authority
from passports import CA as STI
from passports import IAT, PROVIDER, SHAKEN, URL, identity, invite, numbers, spc
from signed_messages import SRC

from sipguard.evidence import Evidence, State
from sipguard.guard import Guard
from sipguard.guard.codes import Codes
from sipguard.moment import Moment
from sipguard.policy import load_policy
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action, Judgement, Reply
from sipguard.wire.packet import Packet
from sipguard.wire.passport import JsonObject
from sipguard.wire.sip import parse_message

BOB = bytes((198, 51, 100, 1))
STRANGER: Holder = issue(
    "provider 1234", make_authority("nobody's root"), extensions=(numbers(spc(b"1234")),)
)
STALE: JsonObject = {**SHAKEN, "iat": IAT - 3600}
NO_ORIG: JsonObject = {name: value for name, value in SHAKEN.items() if name != "orig"}
OTHER_URL = "https://cr.example.com/other.pem"
STRANGE_URL = "https://cr.example.com/strange.pem"
ELSEWHERE = identity(url=OTHER_URL)  # nobody can have this certificate
REASON = re.compile(rb"(?m)^Reason: ([^\r]*)\r$")


def damaged(value: str) -> str:
    """Return the same with another signature."""
    head, _, rest = value.partition(";")
    return f"{head[:-10]}{'A' if head[-10] != 'A' else 'B'}{head[-9:]};{rest}"


def ppi(value: str) -> bytes:
    """Return how a response names an Identity header."""
    signature = value.partition(";")[0].rpartition(".")[2].encode()
    return b';ppi="..' + signature + b'"'


class Files:
    """The authority's certificate."""

    def octets(self, _name: str) -> bytes:
        """Return it."""
        return STI.pem

    def names(self, _folder: str) -> None:
        """Return that there are no folders."""
        return


def response(octets: bytes, words: str = "", verdict: str = "reject") -> bytes:
    """Return what a gateway answers that has the certificates of two providers, or nothing."""
    asked = "stir.failed or stir.unknown or stir.absent"
    text = (
        f'trust stir ca "sti.pem" fetch never {words}\ndefault drop\nchain request\n'
        f"  proven accept if stir.valid\n  wrong {verdict} if {asked}\n"
    )
    guard = Guard(load_policy("p", lambda _: text, Files()), b"secret" * 8, record=None)
    guard.credentials.put(URL, PROVIDER.pem, NOW_S + 600)
    guard.credentials.put(STRANGE_URL, STRANGER.pem, NOW_S + 600)
    decision = guard.judge(Packet(SRC, BOB, 5060, 5060, octets), Moment(1000.0, NOW_S))
    replies = [effect.octets for effect in decision.effects if isinstance(effect, Reply)]
    assert bool(replies) is (decision.action is Action.REJECT)
    return b"".join(replies)


def first_line(octets: bytes, words: str = "", verdict: str = "reject") -> str:
    return response(octets, words, verdict).partition(b"\r\n")[0].decode()


TABLE = [
    (identity(STALE), "403 Stale Date"),
    (identity(ppt="other"), "428 Use Supported PASSporT Format"),
    (ELSEWHERE, "436 Bad Identity Info"),
    (identity(holder=STRANGER, url=STRANGE_URL), "437 Unsupported Credential"),
    (damaged(identity()), "438 Invalid Identity Header"),
    (identity(NO_ORIG), "438 Invalid PASSporT"),
]


@pytest.mark.parametrize(("value", "line"), TABLE)
def test_sti_10_sti_15_sti_16_a_plain_reject_says_what_rfc_8224_says(value: str, line: str) -> None:
    """Code and phrase of section 6.2.2, so that the signer can mend what is wrong."""
    assert first_line(invite(value)) == f"SIP/2.0 {line}"


def test_sti_15_who_signs_nothing_is_asked_to() -> None:
    """428 with its own phrase."""
    octets = invite(headers=["Subject: " + "x" * 100])
    assert first_line(octets) == "SIP/2.0 428 Use Identity Header"


@pytest.mark.parametrize(
    ("words", "verdict", "line"),
    [
        ("", 'reject 403 "Go away"', "403 Go away"),
        ("", "reject 403", "403 Stale Date"),
        ("", 'reject 603 "No"', "603 No"),
        ("", "reject 603", "603 Decline"),
        ("codes strict", "reject", "403 Forbidden"),
    ],
)
def test_what_the_rule_says_goes_before_the_phrase_of_rfc_8224(
    words: str, verdict: str, line: str
) -> None:
    """The operator's number and words win; ``codes strict`` tells nothing."""
    assert first_line(invite(identity(STALE)), words, verdict) == f"SIP/2.0 {line}"


def test_sti_19_each_of_several_headers_gets_its_reason() -> None:
    """RFC 9410: protocol STIR, code, text and the token's signature, one header field each."""
    wrong, stale = damaged(identity()), identity(STALE)
    octets = invite(wrong, ELSEWHERE, stale)
    answer = response(octets)
    assert answer.startswith(b"SIP/2.0 436 Bad Identity Info\r\n")
    assert REASON.findall(answer) == [
        b'STIR ;cause=438 ;text="Invalid Identity Header" ' + ppi(wrong),
        b'STIR ;cause=436 ;text="Bad Identity Info" ' + ppi(ELSEWHERE),
        b'STIR ;cause=403 ;text="Stale Date" ' + ppi(stale),
    ]
    assert len(answer) <= len(octets)
    assert parse_message(answer).findings == []


def test_sti_19_what_cannot_be_read_has_no_name_and_what_is_ignored_no_reason() -> None:
    """A header that is no PASSporT has no signature to name; another kind has not failed."""
    wrong = damaged(identity())
    values = ["rubbish;info=<https://a.example/>", identity(ppt="other"), wrong]
    assert REASON.findall(response(invite(*values))) == [
        b'STIR ;cause=438 ;text="Invalid Identity Header" ' + ppi(wrong),
        b'STIR ;cause=438 ;text="Invalid Identity Header"',
    ]


def test_sti_19_the_token_inside_another_is_no_header() -> None:
    """A div-o names what it diverts; one header, one answer."""
    inner = identity(STALE).partition(";")[0]
    claims: JsonObject = {**SHAKEN, "div": {"tn": "12025550123"}, "opt": inner}
    outer, wrong = damaged(identity(claims, "div-o")), damaged(identity())
    answer = response(invite(outer, wrong))
    named = [found.rpartition(b" ")[2] for found in REASON.findall(answer)]
    assert named == [ppi(outer), ppi(wrong)]


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (invite(damaged(identity())), ""),  # the code says it all
        (invite(damaged(identity()), ELSEWHERE), "codes strict"),
        (invite(identity(ppt="other"), identity(ppt="odd")), ""),
    ],
)
def test_sti_19_otherwise_no_reason_is_given(octets: bytes, words: str) -> None:
    """One header, or a policy that tells nothing, or nothing that failed."""
    assert REASON.findall(response(octets, words)) == []


def test_sti_19_a_long_signature_is_not_repeated() -> None:
    """What a peer writes never makes a response long."""
    head, _, rest = identity().partition(";")
    long = f"{head}{'A' * 400};{rest}"
    answer = response(invite(long, damaged(identity())))
    assert [b"ppi" in found for found in REASON.findall(answer)] == [False, True]


def test_sti_19_a_request_refused_for_something_else_is_told_only_that() -> None:
    """A wrong AIB or a rule of its own has nothing to do with STIR."""
    finding = Finding(Reason.PASSPORT_SIGNATURE, "wrong")
    evidence = Evidence(State.FAILED, finding, failures=((b"..AA", finding),))
    codes = Codes()
    blamed = Judgement(Action.REJECT, finding.reason, detail=finding.detail)
    assert codes.reasons_of(evidence, blamed).startswith(b"Reason: STIR ;cause=438")
    other = Judgement(Action.REJECT, Reason.AIB_MISMATCH, detail=finding.detail)
    assert codes.reasons_of(evidence, other) == b""
    assert codes.reasons_of(Evidence(State.VALID), blamed) == b""


def test_aib_15_a_stale_aib_has_the_phrase_where_codes_are_those_of_rfc_8224() -> None:
    """By analogy, and only by choice."""
    codes = Codes()
    assert codes.phrase_of(Reason.AIB_STALE, 403) == ""
    codes.aib = "identity"
    assert codes.phrase_of(Reason.AIB_STALE, 403) == "Stale Date"
    assert codes.phrase_of(Reason.AIB_MISMATCH, 438) == ""
    assert codes.phrase_of(Reason.REFUSED_BY_RULE, 403) == ""
