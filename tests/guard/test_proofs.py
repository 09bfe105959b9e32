"""Signatures on the packet's way: asked for by rules, verified once, and told to the reviewer."""

from urllib.parse import quote

import pytest
from authority import NOW_S, Holder, issue, issue_user, make_authority
from passports import (
    ALICE,
    CALLER,
    IAT,
    PROVIDER,
    URL,
    identity,
    invite,
    keyed,
    numbers,
    spc,
)
from passports import CA as STI
from signed_messages import (
    SDP,
    SRC,
    aib_part,
    alone,
    mixed,
    raw_message,
    root,
    rows,
    sdp_part,
    sign,
    signed_part,
    user,
)

from sipguard.errors import PolicyError
from sipguard.evidence import State
from sipguard.guard import Guard
from sipguard.journal.observation import Observation
from sipguard.moment import Moment
from sipguard.policy import load_policy
from sipguard.policy.exemptions import ALLOW, Exemption, Exemptions
from sipguard.policy.rules import Policy
from sipguard.reason import Reason
from sipguard.verdict import Action, Decision, Reply
from sipguard.wire.packet import Packet, show_address
from sipguard.wire.passport import Json

BOB = bytes((198, 51, 100, 1))
THIEF = bytes((203, 0, 113, 9))
TRUST = 'trust aib ca "ca.pem"\n'
RULES = """
default drop
chain request
  wrong     reject      if aib.failed       log
  unsigned  reject 428  if aib.absent
  proven    accept      if aib.valid
"""


class Files:
    """What trust lines name."""

    def __init__(self, **octets: bytes) -> None:
        self._octets = {name.replace("_", "."): found for name, found in octets.items()}

    def add(self, name: str, octets: bytes) -> None:
        """Hold a file of any name."""
        self._octets[name] = octets

    def octets(self, name: str) -> bytes:
        """Return a file's octets."""
        return self._octets[name]

    def names(self, _folder: str) -> None:
        """Return that there are no folders."""
        return


def policy(text: str = RULES, trust: str = TRUST, ca: bytes = b"") -> Policy:
    files = Files(ca_pem=ca or root().pem, sti_pem=STI.pem)
    return load_policy("p", lambda _: trust + text, files)


class Gate:
    """A guard, a clock and what it told."""

    def __init__(self, chosen: Policy) -> None:
        self.told: list[Observation] = []
        self.guard = Guard(chosen, b"secret" * 8, record=self.told.append)
        self.now_s = 5000.0

    @property
    def now(self) -> Moment:
        """This instant."""
        return Moment(self.now_s, NOW_S + self.now_s - 5000.0)

    def judge(self, octets: bytes, source: bytes = SRC) -> Decision:
        """Let a message from outside come to Bob."""
        self.now_s += 0.01
        return self.guard.judge(Packet(source, BOB, 5060, 5060, octets), self.now)

    def refusal(self, octets: bytes, source: bytes = SRC) -> str:
        """Return the first line of the reply, or what became of it instead."""
        decision = self.judge(octets, source)
        for effect in decision.effects:
            if isinstance(effect, Reply):
                return effect.octets.split(b"\r\n")[0].decode()
        return decision.action.value


def signed(signer: Holder | None = None, **headers: str) -> bytes:
    """An INVITE whose AIB is that of other headers where *headers* differ."""
    part = aib_part(rows(), signer or user())
    return raw_message(mixed(sdp_part(), part), rows(**headers))


def unsigned(number: int = 0) -> bytes:
    return raw_message(
        ("application/sdp", SDP),
        rows(call_id=f"plain-{number}"),
        vias=[f"SIP/2.0/UDP 192.0.2.33;branch=z9hG4bKp{number}"],
    )


def other_from(number: int = 0) -> bytes:
    octets = signed(From="Boss <sip:boss@example.com>;tag=1928301774")
    return octets.replace(b"nashds8", b"n%d" % number)


def test_a_proven_caller_passes_and_the_record_says_what_was_covered() -> None:
    """AIB-5: the certificate speaks for From; AIB-11: not for the session description."""
    gate = Gate(policy(RULES.replace("if aib.valid", "if aib.valid log")))
    assert gate.judge(signed()).action is Action.ACCEPT
    ((kind, evidence),) = gate.told[-1].proofs
    assert (kind, evidence.state, evidence.signer) == ("aib", State.VALID, b"sip:alice@example.com")
    assert b"from" in evidence.covers
    assert b"sdp" not in evidence.covers


def test_the_refusal_names_the_proof_that_failed() -> None:
    """AIB-6: the sentence holds both values, and the reason is the proof's own."""
    gate = Gate(policy())
    decision = gate.judge(other_from())
    assert decision.judgement.reason is Reason.AIB_MISMATCH
    assert "boss@example.com" in decision.judgement.detail
    assert "alice@example.com" in decision.judgement.detail
    assert gate.told[-1].proofs[0][1].state is State.FAILED


def test_only_a_proof_that_the_rule_asked_for_is_blamed() -> None:
    """What another rule saw before, or what let a call pass, is not why this one refused."""
    rules = """
default drop
chain request
  friend   accept  if aib.valid
  nameless reject  if stir.absent       log
"""
    gate = Gate(policy(rules, TRUST + 'trust stir ca "sti.pem"\n'))
    assert gate.judge(other_from()).judgement.reason is Reason.STIR_ABSENT
    rules = "default drop\nchain request\n  any accept if not aib.valid log\n"
    decision = Gate(policy(rules)).judge(other_from())
    assert (decision.action, decision.judgement.reason) == (Action.ACCEPT, Reason.ACCEPTED)
    rules = """
default drop
chain request
  busy  reject 486  if method == INVITE
  wrong reject      if aib.failed
"""
    gate = Gate(policy(rules.replace("  busy ", "  never drop if aib.valid\n  busy ")))
    assert gate.judge(other_from()).judgement.reason is Reason.REFUSED_BY_RULE


def test_what_failed_is_blamed_before_what_is_missing() -> None:
    """In whatever order a rule asks."""
    trust = TRUST + 'trust stir ca "sti.pem"\n'
    for asked in ("stir.valid or aib.valid", "aib.valid or stir.valid"):
        rules = f"default drop\nchain request\n  unproven reject if not ({asked})\n"
        gate = Gate(policy(rules, trust))
        assert gate.judge(other_from()).judgement.reason is Reason.AIB_MISMATCH


@pytest.mark.parametrize(
    ("codes", "octets", "line"),
    [
        ("", other_from(), "SIP/2.0 403 Forbidden"),
        ("codes identity", other_from(), "SIP/2.0 438 Invalid Identity Header"),
        ("", unsigned(), "SIP/2.0 428 Use Identity Header"),
        ("codes identity", unsigned(), "SIP/2.0 428 Use Identity Header"),
        ("", signed(user("mallory@example.com")), "SIP/2.0 403 Forbidden"),
    ],
)
def test_a_plain_reject_answers_what_the_proof_asks_for(
    codes: str, octets: bytes, line: str
) -> None:
    """AIB-15: 403, or the codes of RFC 8224 where the policy says so; a rule's own number wins."""
    gate = Gate(policy(trust=f'trust aib ca "ca.pem" {codes}\n'))
    assert gate.refusal(octets) == line


def test_without_a_trust_line_nobody_can_say() -> None:
    """Unknown is neither valid nor failed nor absent: the default applies."""
    gate = Gate(policy(trust=""))
    assert gate.judge(signed()).judgement.reason is Reason.DEFAULT
    ((_, evidence),) = gate.told[-1].proofs
    assert (evidence.state, evidence.finding and evidence.finding.reason) == (
        State.UNKNOWN,
        Reason.NOT_SET_UP,
    )


def test_cheap_rules_spare_the_signature() -> None:
    """Nothing is verified for a message that a rule before decides."""
    gate = Gate(policy("chain request\n  all accept if method == INVITE log\n" + RULES[28:]))
    assert gate.judge(signed()).action is Action.ACCEPT
    assert gate.told[-1].proofs == ()


BUDGET = "signature-budget 2/s {}\n"


@pytest.mark.parametrize(
    ("action", "reason"),
    [("drop", Reason.SIGNATURE_BUDGET), ("unknown", Reason.DEFAULT)],
)
def test_a_source_of_bad_signatures_is_not_verified_any_further(
    action: str, reason: Reason
) -> None:
    """GEN-3: what its messages cost is bounded, and what happens then is chosen."""
    gate = Gate(policy(BUDGET.format(action) + RULES))
    reasons = [gate.judge(other_from(number)).judgement.reason for number in range(4)]
    assert reasons == [Reason.AIB_MISMATCH] * 2 + [reason] * 2
    assert gate.judge(other_from(9), THIEF).judgement.reason is Reason.AIB_MISMATCH
    gate.now_s += 3
    assert gate.judge(signed()).action is Action.ACCEPT


def test_valid_signatures_cost_no_budget() -> None:
    """A busy trunk whose calls are all proven is never held back."""
    gate = Gate(policy(BUDGET.format("drop") + RULES))
    for number in range(20):
        headers = rows(call_id=f"good-{number}")
        octets = raw_message(
            mixed(sdp_part(), aib_part(headers, user())),
            headers,
            vias=[f"SIP/2.0/UDP 192.0.2.33;branch=z9hG4bKg{number}"],
        )
        assert gate.judge(octets).action is Action.ACCEPT


def test_the_budget_holds_for_every_kind_of_signature() -> None:
    """GEN-3: bodies and PASSporTs cost as much as an AIB, and come out of the same purse."""
    rules = """
default drop
chain request
  signed    drop    if smime.failed
  attested  drop    if stir.failed
  else      accept
"""
    trust = TRUST + 'trust stir ca "sti.pem"\n'
    part = signed_part(sdp_part(), sign(sdp_part(), issue_user(make_authority("Nobody's"))))
    body, passport = raw_message(alone(part)), invite(identity(), from_="<sip:x@a.example>")
    for octets, rule in ((body, "signed"), (passport, "attested")):
        gate = Gate(policy("signature-budget 2/s unknown\n" + rules, trust))
        gate.guard.credentials.put(URL, PROVIDER.pem, NOW_S + 600)
        found = []
        for number in range(4):
            fresh = octets.replace(b"Call-ID: ", b"Call-ID: %d" % number)
            fresh = fresh.replace(b"branch=z9hG4bK", b"branch=z9hG4bK%d" % number)
            found.append(gate.judge(fresh).judgement.rule)
        assert found == [rule, rule, "else", "else"]


def test_what_was_proven_outlives_a_reload() -> None:
    """AIB-8: a thief cannot wait for the administrator to change the policy."""
    gate = Gate(policy())
    thin = mixed(sdp_part(), aib_part(rows(cseq=None), user()))
    assert gate.judge(raw_message(thin)).action is Action.ACCEPT
    gate.guard.replace_policy(policy(RULES + "  other drop\n"))
    vias = ["SIP/2.0/UDP 203.0.113.9;branch=z9hG4bKthief"]
    stolen = raw_message(thin, rows(cseq="314160 INVITE"), vias=vias)
    assert gate.judge(stolen, THIEF).judgement.reason is Reason.AIB_REPLAY


def test_a_file_that_is_no_certificate_is_refused_with_its_place() -> None:
    """Bad configuration gets file, line and column; the policy before stays in force."""
    gate = Gate(policy())
    broken = policy(ca=b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")
    with pytest.raises(PolicyError) as caught:
        gate.guard.replace_policy(broken)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.column) == ("p", 1, 14)
    assert gate.judge(signed()).action is Action.ACCEPT


CERTS = f'trust stir ca "sti.pem" fetch never certs "{quote(URL, safe="")}"\n'
ATTESTED = "default drop\nchain request\n  proven accept if stir.valid\n"


def by_url(pem: bytes, trust: str = CERTS) -> Policy:
    """A policy that gives the certificate of one URL."""
    files = Files(sti_pem=STI.pem)
    files.add(quote(URL, safe=""), pem)
    return load_policy("p", lambda _: trust + ATTESTED, files)


def test_a_certificate_by_url_goes_with_the_policy_that_named_it() -> None:
    """STI-15: taken away, or replaced, it counts no more from the reload on."""
    gate = Gate(by_url(PROVIDER.pem))
    octets = invite(identity())
    assert gate.judge(octets).judgement.rule == "proven"
    other = issue("provider 1234", STI, extensions=(numbers(spc(b"1234")),))
    gate.guard.replace_policy(by_url(other.pem))
    again = octets.replace(b"Call-ID: ", b"Call-ID: x").replace(b"z9hG4bK", b"z9hG4bKx")
    assert gate.judge(again).judgement.rule == "default"
    gate.guard.replace_policy(by_url(PROVIDER.pem, 'trust stir ca "sti.pem"\n'))
    assert gate.guard.credentials.get(URL, NOW_S) is None


@pytest.mark.parametrize(
    "pem",
    [
        b"-----BEGIN CERTIFICATE-----\nMAA*\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        PROVIDER.pem * 9,
    ],
    ids=["no base64", "no certificate", "too many"],
)
def test_a_certificate_by_url_that_is_none_is_refused_with_its_place(pem: bytes) -> None:
    """STI-15: the policy before stays in force, with what it had."""
    gate = Gate(by_url(PROVIDER.pem))
    with pytest.raises(PolicyError) as caught:
        gate.guard.replace_policy(by_url(pem))
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.column) == ("p", 1, 43)
    assert gate.judge(invite(identity())).judgement.rule == "proven"


def test_a_passport_stays_used_whatever_the_policy() -> None:
    """STI-14: a reload with other times does not make it new again."""
    rules = "default drop\nchain request\n  proven accept if stir.valid\n"
    words = 'trust stir ca "sti.pem" max-age {} remember {}\n'
    gate = Gate(policy(rules, words.format("10s", "20s")))
    gate.guard.credentials.put(URL, PROVIDER.pem, NOW_S + 6000)
    octets = invite(identity())
    assert gate.judge(octets).judgement.rule == "proven"
    gate.guard.replace_policy(policy(rules, words.format("10m", "1h")))
    gate.now_s += 30
    stolen = octets.replace(b"Call-ID: ", b"Call-ID: x").replace(b"z9hG4bK", b"z9hG4bKx")
    assert gate.judge(stolen, THIEF).judgement.rule == "default"
    (kind, evidence) = gate.told[-1].proofs[0]
    assert (kind, evidence.state) == ("stir", State.FAILED)
    assert evidence.finding is not None
    assert evidence.finding.reason is Reason.PASSPORT_REPLAY


def test_a_response_may_be_held_to_its_signature() -> None:
    """AIB-12: a forged answer is dropped, where a rule says so."""
    text = RULES + "chain response\n  forged drop if aib.failed log\n"
    gate = Gate(policy(text))
    assert gate.judge(signed()).action is Action.ACCEPT
    answer = raw_message(
        mixed(aib_part(rows(From="Bob <sip:bob@example.net>"), user())),
        rows(To="Bob <sip:bob@example.net>;tag=b"),
        start="SIP/2.0 200 OK",
    )
    gate.now_s += 0.01
    decision = gate.guard.judge(Packet(BOB, SRC, 5060, 5060, answer), gate.now)
    assert (decision.action, decision.judgement.rule) == (Action.DROP, "forged")


def test_a_rule_may_demand_signatures_inside_a_call() -> None:
    """AIB-17: an ACK cannot be answered, so it is dropped; AIB-9 c: the INVITE's AIB serves all."""
    rules = "  demand reject 403 if dialog.known and method in {ACK BYE} and not aib.valid log\n"
    gate = Gate(policy(RULES.replace("  wrong ", rules + "  wrong ")))
    part = aib_part(rows(), user())
    assert gate.judge(raw_message(mixed(sdp_part(), part))).action is Action.ACCEPT
    answer = raw_message(
        ("text/plain", b""),
        rows(To="Bob <sip:bob@example.net>;tag=b", Contact="<sip:bob@198.51.100.1>"),
        start="SIP/2.0 200 OK",
    )
    assert gate.guard.judge(Packet(BOB, SRC, 5060, 5060, answer), gate.now).action is Action.ACCEPT

    def inside(method: str, number: int, *parts: bytes, source: str = "alice") -> bytes:
        to = "Bob <sip:bob@example.net>;tag=b"
        headers = rows(To=to, cseq=f"{number} {method}")
        headers["From"] = headers["From"].replace("alice", source)
        via = f"SIP/2.0/UDP 192.0.2.33;branch=z9hG4bK{method}{number}{len(parts)}{source}"
        start = f"{method} sip:bob@198.51.100.1 SIP/2.0"
        content = mixed(*parts) if parts else ("text/plain", b"")
        return raw_message(content, headers, start=start, vias=[via])

    forged = aib_part(rows(From="Boss <sip:boss@example.com>"), user())
    assert gate.refusal(inside("ACK", 314159)) == "drop"
    assert gate.refusal(inside("ACK", 314159, forged)) == "drop"
    assert gate.judge(inside("ACK", 314159, part)).action is Action.ACCEPT
    assert gate.refusal(inside("BYE", 314160)) == "SIP/2.0 403 Forbidden"
    assert gate.refusal(inside("BYE", 314160, part, source="boss")) == "SIP/2.0 403 Forbidden"
    assert gate.judge(inside("BYE", 314160, part)).action is Action.ACCEPT


def test_a_call_that_waited_for_its_certificate_is_no_replay_of_itself() -> None:
    """What was verified before the wait stays good after it (AIB-8, STI-15)."""
    rules = """
default drop
chain request
  wrong   drop    if aib.failed or stir.failed log
  proven  accept  if aib.valid and stir.valid
"""
    gate = Gate(policy(rules, TRUST + 'trust stir ca "sti.pem"\n'))
    carrier = issue("example.com", STI, dns=("example.com",))
    claims: dict[str, Json] = {
        "dest": {"uri": ["sip:bob@example.net"]},
        "iat": IAT,
        "orig": {"uri": "sip:alice@example.com"},
    }
    octets = raw_message(
        mixed(sdp_part(), aib_part(rows(), user())),
        extra=f"Identity: {identity(claims, '', carrier)}\r\n",
    )
    decision = gate.judge(octets)
    assert (decision.action, decision.wants) == (Action.HOLD, (URL,))
    assert gate.told == []
    gate.guard.credentials.put(URL, carrier.pem, NOW_S + 600)
    gate.now_s += 1
    again = gate.guard.judge_again(Packet(SRC, BOB, 5060, 5060, octets), gate.now, last=False)
    assert (again.action, gate.told) == (Action.ACCEPT, [])


def test_a_certificate_that_does_not_come_leaves_the_caller_unknown() -> None:
    """At the deadline the policy's own words apply."""
    rules = """
default drop
chain request
  proven   accept      if stir.valid
  unsure   reject      if stir.unknown log
"""
    gate = Gate(policy(rules, 'trust stir ca "sti.pem"\n'))
    octets = invite(identity())
    assert gate.judge(octets).action is Action.HOLD
    last = gate.guard.judge_again(Packet(SRC, BOB, 5060, 5060, octets), gate.now, last=True)
    assert (last.judgement.rule, last.judgement.status) == ("unsure", 436)
    assert last.judgement.reason is Reason.NO_CREDENTIAL


def test_a_retry_without_protection_can_be_refused() -> None:
    """SMI-33: 415 to a signed body, and the plain one comes: a rule may know better."""
    rules = """
default drop
chain request
  downgraded  reject 403  if finding in {SMI-33}  log
  all         accept      if method in {INVITE ACK}
chain response
  answers     accept      if transaction.known
"""
    gate = Gate(policy(rules, ""))
    content = sdp_part()
    body = alone(signed_part(content, sign(content, user())))
    first = raw_message(body)
    assert gate.judge(first).action is Action.ACCEPT
    refusal = raw_message(
        ("text/plain", b""),
        rows(To="Bob <sip:bob@example.net>;tag=b"),
        start="SIP/2.0 415 Unsupported Media Type",
    )
    gate.now_s += 0.01
    decision = gate.guard.judge(Packet(BOB, SRC, 5060, 5060, refusal), gate.now)
    assert decision.action is Action.ACCEPT
    assert Reason.PROTECTION_LOST in {finding.reason for finding in decision.findings}
    again = raw_message(
        ("application/sdp", SDP),
        rows(cseq="314160 INVITE"),
        vias=["SIP/2.0/UDP 192.0.2.33;branch=z9hG4bKagain"],
    )
    decision = gate.judge(again)
    assert decision.judgement.rule == "downgraded"
    assert Reason.PROTECTION_LOST in {finding.reason for finding in decision.findings}


@pytest.mark.parametrize("trust", [TRUST, ""])
def test_what_can_be_read_is_not_encrypted(trust: str) -> None:
    """SMI-32: plain, signed or without any body, whoever is trusted."""
    part = signed_part(sdp_part(), sign(sdp_part(), user()))
    for content in (("application/sdp", SDP), ("text/plain", b""), alone(part)):
        gate = Gate(policy("default accept\nchain request\n  o drop if sdp.encrypted\n", trust))
        assert gate.judge(raw_message(content)).judgement.rule != "o"


@pytest.mark.parametrize("trust", [TRUST, ""])
def test_an_encrypted_body_is_never_silent(trust: str) -> None:
    """SMI-32: nobody can read what media it asks for, and a rule decides, whoever is trusted."""
    gate = Gate(
        policy("chain request\n  opaque reject 488 if sdp.encrypted log\n" + RULES[28:], trust)
    )
    kind = "application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m"
    decision = gate.judge(raw_message((kind, bytes.fromhex("3080060960864886f70d010703a0800000"))))
    assert (decision.judgement.rule, decision.judgement.status) == ("opaque", 488)
    assert decision.judgement.reason is Reason.ENCRYPTED_BODY


ENVELOPE = (
    b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\n\r\n"
    + bytes.fromhex("3080060960864886f70d010703a0800000")
)
OPAQUE = "chain request\n  opaque reject 488 if sdp.encrypted log\n" + RULES[28:]


@pytest.mark.parametrize(
    "beside",
    [
        signed_part(sdp_part(), b"no signature"),
        signed_part(sdp_part(), sign(sdp_part(), issue_user(make_authority("Nobody's")))),
        signed_part(b"Content-Type: message/sip\r\n\r\nnonsense", b""),
    ],
    ids=["broken", "of-a-stranger", "unreadable"],
)
def test_a_wrong_signature_hides_no_encrypted_body(beside: bytes) -> None:
    """SMI-32: what fails first must not keep a rule from seeing what nobody can read."""
    gate = Gate(policy(OPAQUE))
    octets = raw_message(mixed(ENVELOPE, beside))
    assert gate.judge(octets).judgement.rule == "opaque"


def test_a_spent_budget_hides_no_encrypted_body() -> None:
    """SMI-32, GEN-3: that a body is encrypted shows without verifying anything."""
    octets = raw_message(mixed(ENVELOPE))
    gate = Gate(policy("signature-budget 1/min unknown\n" + OPAQUE))
    assert gate.judge(other_from()).judgement.rule == "wrong"
    assert gate.judge(octets).judgement.rule == "opaque"
    gate = Gate(policy("signature-budget 1/min drop\n" + OPAQUE))
    assert gate.judge(other_from()).judgement.rule == "wrong"
    assert gate.judge(octets).judgement.rule == "signature-budget"


def test_an_exception_gives_a_spent_source_no_further_try() -> None:
    """GEN-3: what the guard refuses by itself is no rule's word, and nobody's to take back."""
    gate = Gate(policy("signature-budget 1/min drop\n" + OPAQUE))
    assert gate.judge(other_from()).judgement.rule == "wrong"
    ends = gate.now.utc_s - 1, gate.now.utc_s + 60
    allowed = Exemption(1, ALLOW, *ends, show_address(SRC), "", "", reason="test", by="root")
    gate.guard.exemptions = Exemptions((allowed,))
    assert gate.judge(raw_message(mixed(ENVELOPE))).judgement.rule == "signature-budget"


def test_a_spent_budget_hides_no_encrypted_answer() -> None:
    """SMI-32, GEN-3: no budget drops a response, so its rules are still asked."""
    chain = "chain response\n  opaque drop if sdp.encrypted\n  forged drop if aib.failed\n"
    gate = Gate(policy("signature-budget 1/min drop\n" + RULES + chain))
    assert gate.judge(signed()).action is Action.ACCEPT
    to = rows(To="Bob <sip:bob@example.net>;tag=b")
    forged = mixed(aib_part(rows(From="Bob <sip:bob@example.net>"), user()))
    for content, rule in ((forged, "forged"), (forged, "known-call"), (mixed(ENVELOPE), "opaque")):
        gate.now_s += 0.01
        answer = raw_message(content, to, start="SIP/2.0 200 OK")
        decision = gate.guard.judge(Packet(BOB, SRC, 5060, 5060, answer), gate.now)
        assert decision.judgement.rule == rule


URI_CLAIMS = identity(ALICE, "")
NATIONAL = invite(identity(), from_="<sip:2025550100@a.example>")
ASSERTED = invite(
    identity(),
    from_="<sip:anonymous@anonymous.invalid>",
    headers=[f"P-Asserted-Identity: <tel:+{CALLER}>"],
)
SIGNED_BY_CARRIER = invite(URI_CLAIMS, from_="<sip:alice@a.example>", to="<sip:bob@b.example>")


@pytest.mark.parametrize(
    ("words", "octets", "reason"),
    [
        ("", invite(identity(), sdp=keyed()), None),
        ("require-mky", invite(identity(), sdp=keyed()), Reason.PASSPORT_KEY),
        ("spc { 1234 }", SIGNED_BY_CARRIER, Reason.NO_AUTHORITY),
        ("spc { 1234 } spc-for-uris", SIGNED_BY_CARRIER, None),
        ("spc { 5678 } spc-for-uris", SIGNED_BY_CARRIER, Reason.NO_AUTHORITY),
        ("", NATIONAL, Reason.PASSPORT_ORIG),
        ("country 1", NATIONAL, None),
        ("", ASSERTED, Reason.PASSPORT_ORIG),
        ("asserted", ASSERTED, None),
    ],
)
def test_words_of_trust_stir_reach_the_verifier(
    words: str, octets: bytes, reason: Reason | None
) -> None:
    """STI-6, STI-7: who is meant; STI-13: what must be signed; STI-16: whose codes count."""
    rules = """
default drop
chain request
  proven  accept  if stir.valid
  wrong   drop    if stir.failed
"""
    gate = Gate(policy(rules, f'trust stir ca "sti.pem" {words}\n'))
    gate.guard.credentials.put(URL, PROVIDER.pem, NOW_S + 600)
    decision = gate.judge(octets)
    if reason is None:
        assert decision.judgement.rule == "proven"
    else:
        assert decision.judgement.reason is reason


def test_an_intermediate_is_trusted_through_its_authority_alone() -> None:
    """CERT-1: where signers do not send it, the policy may; named so it is no anchor."""
    middle = make_authority("Middle", root(), path_length=0)
    alice = issue_user(middle)
    line = 'trust aib ca "ca.pem" {}\n'
    files = Files(ca_pem=root().pem, middle_pem=middle.pem, other_pem=make_authority("Other").pem)
    for words, action in (
        ("", Action.REJECT),
        ('intermediates "middle.pem"', Action.ACCEPT),
        ('intermediates "other.pem"', Action.REJECT),
    ):
        text = line.format(words) + RULES
        gate = Gate(load_policy("p", {"p": text}.__getitem__, files))
        assert gate.judge(signed(alice)).action is action
    lonely = Files(ca_pem=make_authority("Other").pem, middle_pem=middle.pem)
    text = line.format('intermediates "middle.pem"') + RULES
    gate = Gate(load_policy("p", {"p": text}.__getitem__, lonely))
    assert gate.judge(signed(alice)).judgement.reason is Reason.UNKNOWN_ISSUER
