"""``trust mikey`` through the whole guard: keys and certificates decide which calls get media."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence

import mikey_builder as m
import pytest
from authority import DAY_S, NOW_S, SIP_DOMAIN, Holder, issue, issue_user, make_authority, revoke
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from exchange import ALICE, BOB, KEYS, MALLORY, Call, Exchange, sdp
from exchange import octets as address
from ice_peers import PWDS, UFRAGS
from subjects import load

from sipguard.errors import PolicyError
from sipguard.guard.key_trust import certificates_at_hand, names_of
from sipguard.journal.record import record_of
from sipguard.moment import Moment
from sipguard.policy.rules import Policy
from sipguard.reason import Reason
from sipguard.verdict import Action
from sipguard.wire.packet import Packet

ROOT = make_authority("Root", kind="rsa2048")
MIDDLE = make_authority("Middle", ROOT, kind="rsa2048")
OTHER = make_authority("Other Root", kind="rsa2048")
SIGNER = issue_user(ROOT, m.ALICE.decode(), "rsa2048")
DROPPED = -1
NO_FILES: Mapping[str, str | bytes] = {}
PSK_FILE = f"# keys\nsip:alice@example.com hex:{m.PSK.hex()}  # of all her calls\n"
BOBS_LINE = f"bob@example.net hex:{m.PSK.hex()}\n"
PSK_TRUST = 'trust mikey psk "psk"\n'
CA_TRUST = 'trust mikey ca "ca.pem"\n'
# The status tells which state the rule saw.
STATES = """
default drop
chain request
  all      accept
chain media
  failed   reject 480  if mikey.state == failed
  unknown  reject 481  if mikey.state == unknown
  absent   reject 482  if mikey.state == absent
  plain    reject 488  if not keyed
  sealed   open        if mikey.valid
"""
STRICT = """
default drop
chain request
  all      accept
chain media
  plain    reject 488 "Encrypted media (SRTP) required"   if not keyed                  log
  unproven reject      if key.method == mikey and not mikey.valid                        log
  sealed   open        if keyed and peer in {signalling}
"""


def policy(
    text: str = STATES,
    trust: str = PSK_TRUST,
    psk: str = PSK_FILE,
    files: Mapping[str, str | bytes] = NO_FILES,
) -> Policy:
    usual: dict[str, str | bytes] = {"psk": psk, "ca.pem": ROOT.pem, "middle.pem": MIDDLE.pem}
    return load(trust + text, **{**usual, **files})


class Lab(Exchange):
    """The exchange at the time of the test authority's certificates."""

    @property
    def now(self) -> Moment:
        """The clock."""
        return Moment(self.now_s, NOW_S + self.now_s - 1000.0)

    def call(self, caller: str = ALICE) -> Call:
        """Return a call from alice to bob; *caller* is where it comes from."""
        call = Call(self, caller)
        call.uris = {caller: f"<sip:{m.ALICE.decode()}>", BOB: f"<sip:{m.BOB.decode()}>"}
        return call

    def offer(self, octets: bytes, caller: str = ALICE) -> int:
        """Let a call with this message come; return the refusal's status, or 0 if it passes."""
        self.replies.clear()
        call = self.call(caller)
        if self.send(call.invite(keyed(octets, caller)), caller, BOB):
            return 0
        return int(self.replies[0].split(b" ")[1]) if self.replies else DROPPED

    @property
    def reason(self) -> Reason:
        """Why the last message was judged as it was."""
        assert self.decision is not None
        return self.decision.judgement.reason

    def reasons(self) -> list[Reason]:
        """Return what was found on the last message."""
        assert self.decision is not None
        return [finding.reason for finding in self.decision.findings]


def keyed(octets: bytes, host: str = ALICE, port: int = 30000) -> str:
    value = f"a=key-mgmt:mikey {b64encode(octets).decode()}" if octets else "a=sendrecv"
    return sdp(host, port, value, key="-")


def changed(octets: bytes) -> bytes:
    return octets[:-1] + bytes((octets[-1] ^ 1,))


def user(issuer: Holder | None = ROOT, **changes: object) -> Holder:
    """Return a certificate of alice's with *changes*."""
    usual: dict[str, object] = {"uris": ["sip:alice@example.com"], "kind": "rsa2048"}
    return issue("alice", issuer, **{**usual, **changes})  # type: ignore[arg-type] # as issue takes them


def signed(
    signer: Holder | None = SIGNER,
    *others: Holder,
    url: bytes = b"",
    name: bytes = m.ALICE,
    at_s: float = NOW_S,
    key: Holder = SIGNER,
) -> bytes:
    """An offer in RSA mode; its signer's certificate is attached, at *url*, or nowhere."""
    certificates = [m.certificate(one.der) for one in (signer, *others) if one is not None]
    if url:
        certificates.insert(0, m.certificate(url, 1))
    chain = [
        m.stamp(at_s), m.rand(), m.nai(name), *certificates, m.nai(m.BOB),
        m.extension(1, b"mikey"), m.kemac(b"sealed", 1, 1, b"m" * 20), m.envelope(),
    ]  # fmt: skip
    private = (signer or key).key
    assert isinstance(private, rsa.RSAPrivateKey)
    return m.signed(m.build(2, chain, last=4), private)


# --- pre-shared keys


def test_a_call_with_a_known_key_gets_its_media() -> None:
    """MIK-4: the gateway has alice's key, so it knows that she made the message."""
    lab = Lab(policy())
    call = lab.call()
    call.establish(keyed(m.psk_offer()), keyed(b"", BOB, 40000))
    assert call.has_media
    assert Reason.MIKEY_UNCHECKED not in lab.reasons()


def test_a_known_key_lets_packets_be_held_against_it() -> None:
    """SRT-10: with the key of the exchange, those of the packets are known as well."""
    lab = Lab(policy())
    lab.call().establish(keyed(m.psk_offer()), keyed(b"", BOB, 40000))
    forged = Packet(address(ALICE), address(BOB), 30000, 40000, b"\x80\0" + bytes(30))
    for _ in range(9):
        assert not lab.guard.judge_media(forged, lab.now, is_sample=False).accept
    assert Reason.SRTP_TAG in [record.reason for record in lab.records]


@pytest.mark.parametrize(
    ("octets", "status", "reason"),
    [
        (m.psk_offer(), 0, None),
        (changed(m.psk_offer()), 480, Reason.MIKEY_MAC),
        (m.psk_offer(psk=b"another key of..."), 480, Reason.MIKEY_MAC),
        (m.psk_offer(at_s=NOW_S - 601), 480, Reason.MIKEY_TIME),
        (m.psk_offer(at_s=NOW_S + 602), 480, Reason.MIKEY_TIME),
        (m.psk_offer(at_s=NOW_S - 598), 0, None),
        (m.psk_offer()[:-1], 480, Reason.BAD_MIKEY),
        (b"", 482, None),
    ],
)
def test_a_rule_sees_what_a_message_is_worth(
    octets: bytes, status: int, reason: Reason | None
) -> None:
    """MIK-1, MIK-2, MIK-4: malformed, stale and wrongly authenticated ones have failed."""
    lab = Lab(policy())
    assert lab.offer(octets) == status
    if reason is not None:
        assert reason in lab.reasons()


@pytest.mark.parametrize("trust", ["", PSK_TRUST])
def test_who_has_no_key_here_is_unknown(trust: str) -> None:
    """GEN-2: neither valid nor failed, and a rule decides; media is not opened in silence."""
    lab = Lab(policy(trust=trust, psk=f"carol@example.com hex:{m.PSK.hex()}\n"))
    assert lab.offer(m.psk_offer()) == 481
    assert Reason.MIKEY_UNCHECKED in lab.reasons()


@pytest.mark.parametrize(
    "name", ["alice@EXAMPLE.com", "sips:%61lice@example.com", "bob@example.net"]
)
def test_keys_are_found_by_any_spelling_of_either_party(name: str) -> None:
    """A name in the file, a NAI in IDi and a URI in From are one user (CERT-4)."""
    key = b64encode(m.PSK).decode()
    assert Lab(policy(psk=f"{name} base64:{key}\n")).offer(m.psk_offer()) == 0


def test_tel_uris_have_keys_as_well() -> None:
    """Visual separators are no part of a number (RFC 3966 section 5)."""
    assert names_of({b"tel:+49-30-1": b"k", b"alice": b"l"}) == {
        b"tel:+49301": b"k",
        b"alice": b"l",
    }


@pytest.mark.parametrize("thief", [ALICE, MALLORY])
def test_a_message_serves_one_call(thief: str) -> None:
    """MIK-3: recorded and played again in another call, it has failed, also after a reload."""
    lab = Lab(policy())
    octets = m.psk_offer()
    lab.call().establish(keyed(octets), keyed(b"", BOB, 40000))
    assert lab.offer(octets, thief) == 480
    assert lab.decision is not None
    assert Reason.MIKEY_REPLAY in lab.reasons()
    lab.guard.replace_policy(policy(STATES + "  other reject 486\n"))
    assert lab.offer(octets, thief) == 480
    lab.guard.replace_policy(policy(trust=""))
    lab.guard.replace_policy(policy())
    assert lab.offer(octets, thief) == 480


def test_a_retransmitted_invite_is_no_replay() -> None:
    """The same message in the same call, which passes the gateway as often as timers send it."""
    lab = Lab(policy())
    call = lab.call()
    invite = call.ring(body=keyed(m.psk_offer()))
    assert lab.send(invite, ALICE, BOB)


def test_what_was_used_before_its_key_came_is_used() -> None:
    """MIK-3: a message that nobody could check then is not new because somebody can now."""
    lab = Lab(policy(STATES.replace("reject 481", "open"), trust=""))
    octets = m.psk_offer()
    lab.call().establish(keyed(octets), keyed(b"", BOB, 40000))
    lab.guard.replace_policy(policy())
    assert lab.offer(octets, MALLORY) == 480
    assert Reason.MIKEY_REPLAY in lab.reasons()
    assert lab.offer(m.psk_offer(at_s=NOW_S + 1), MALLORY) == 0


def test_a_longer_max_age_does_not_make_old_messages_new() -> None:
    """Forgotten for being stale, fresh again after a reload: the replay that must not be."""
    lab = Lab(policy(trust='trust mikey psk "psk" max-age 2s\n'))
    octets = m.psk_offer()
    call = lab.call()
    call.establish(keyed(octets), keyed(b"", BOB, 40000))
    call.hang_up()
    lab.wait(60)
    assert lab.offer(octets, MALLORY) == 480
    assert Reason.MIKEY_TIME in lab.reasons()
    lab.guard.replace_policy(policy(trust='trust mikey psk "psk" max-age 1h\n'))
    assert lab.offer(octets, MALLORY) == 480
    assert Reason.MIKEY_REPLAY in lab.reasons()
    assert lab.guard.statistics().replay_entries > 0
    lab.wait(2 * 3600 + 60)
    assert lab.guard.statistics().replay_entries == 0


@pytest.mark.parametrize(("action", "status"), [("drop", DROPPED), ("unknown", 481)])
def test_a_source_of_wrong_messages_is_not_verified_any_further(action: str, status: int) -> None:
    """GEN-3: what its messages cost is bounded, and what happens then is chosen."""
    lab = Lab(policy(f"signature-budget 2/s {action}\n{STATES}"))
    wrong = changed(m.psk_offer())
    assert [lab.offer(wrong), lab.offer(wrong), lab.offer(m.psk_offer())] == [480, 480, status]
    assert Reason.SIGNATURE_BUDGET in (*lab.reasons(), lab.reason)
    assert lab.offer(b"") == 482
    assert lab.offer(m.psk_offer(), MALLORY) == 0
    lab.wait(2)
    assert lab.offer(m.psk_offer(at_s=NOW_S + 1)) == 0


def test_the_budget_of_one_source_is_not_the_answer_of_another() -> None:
    """A flood between an offer and its answer takes nothing from either."""
    lab = Lab(policy(f"signature-budget 1/s unknown\n{STATES}", psk=PSK_FILE + BOBS_LINE))
    call = lab.call()
    invite = call.must(call.invite(keyed(m.psk_offer())), ALICE, BOB)
    wrong = changed(m.psk_offer())
    assert [lab.offer(wrong, MALLORY), lab.offer(m.psk_offer(), MALLORY)] == [480, 481]
    theirs = m.psk_offer(keys=m.key_data(b"bob's own TGK..."), ids=[m.nai(m.BOB), m.nai(m.ALICE)])
    call.must(call.response(invite, 200, body=keyed(theirs, BOB, 40000)), BOB, ALICE)
    assert call.has_media


def test_valid_messages_cost_no_budget() -> None:
    """A busy trunk whose calls are all proven is never held back."""
    lab = Lab(policy(f"signature-budget 2/s drop\n{STATES}"))
    assert not any(lab.offer(m.psk_offer(at_s=NOW_S + number / 9)) for number in range(9))


def test_a_key_that_is_taken_away_counts_no_more() -> None:
    """A reload changes the whole trust at once, and nothing of what was heard."""
    lab = Lab(policy())
    assert lab.offer(m.psk_offer()) == 0
    lab.guard.replace_policy(policy(psk=f"sip:alice@example.com hex:{bytes(16).hex()}\n"))
    assert lab.offer(m.psk_offer(at_s=NOW_S + 1)) == 480
    lab.guard.replace_policy(policy(trust=""))
    assert lab.offer(m.psk_offer(at_s=NOW_S + 2)) == 481
    lab.guard.replace_policy(policy())
    assert lab.offer(m.psk_offer(at_s=NOW_S + 3)) == 0


def test_the_answer_is_held_to_the_same_key() -> None:
    """MIK-10: where the offer asks for a response, a wrong one opens nothing, and says why."""
    for answer, opens in ((m.psk_response(), True), (changed(m.psk_response()), False)):
        lab = Lab(policy())
        call = lab.call()
        call.establish(keyed(m.psk_offer(v=True)), keyed(answer, BOB, 40000))
        assert call.has_media is opens
        if not opens:
            (record,) = lab.records
            assert Reason.MIKEY_MAC in [finding.reason for finding in record.findings]


def test_an_answer_with_a_key_of_its_own_serves_one_call_as_well() -> None:
    """MIK-3: both sides send an initiator's message, as RTSP clients do; either may be stolen."""
    lab = Lab(policy(psk=PSK_FILE + BOBS_LINE))
    theirs = m.psk_offer(keys=m.key_data(b"bob's own TGK..."), ids=[m.nai(m.BOB), m.nai(m.ALICE)])
    call = lab.call()
    call.establish(keyed(m.psk_offer()), keyed(theirs, BOB, 40000))
    assert call.has_media
    call.hang_up()
    stolen = lab.call()
    stolen.establish(keyed(m.psk_offer(at_s=NOW_S + 1)), keyed(theirs, BOB, 40000))
    assert not stolen.has_media
    assert Reason.MIKEY_REPLAY in [finding.reason for finding in lab.records[-1].findings]


@pytest.mark.parametrize(
    ("answer", "found"),
    [(changed(m.psk_response(NOW_S + 9)), "failed"), (b"garbage", "failed"), (b"", "absent")],
)
def test_a_running_call_that_is_answered_wrongly_has_a_state(answer: bytes, found: str) -> None:
    """PIN-7: what was good stays as it was, unless a rule says that it must not."""
    for state in ("failed", "valid", "absent"):
        lost = f"lost drop if media.downgraded and mikey.state == {state}"
        lab = Lab(policy(f"default accept\nchain media\n  {lost}\n  sealed open if keyed\n"))
        call = lab.call()
        call.establish(keyed(m.psk_offer()), keyed(b"", BOB, 40000))
        again = keyed(m.psk_offer(v=True, at_s=NOW_S + 9))
        call.reinvite(ALICE, again, keyed(answer, BOB, 40000))
        assert call.has_media is (state != found)


# --- what rules and records say


def test_strict_refuses_what_has_failed_with_488() -> None:
    """MIK-16: no key, no hole; the record names the rule of the RFC that was broken."""
    lab = Lab(policy(STRICT))
    assert lab.offer(changed(m.psk_offer())) == 488
    (record,) = lab.records
    assert (record.rule, record.reason) == ("plain", Reason.KEY_MGMT_FAILED)
    assert "MIK-4" in {finding.rule for finding in record.findings}


def test_a_refusal_of_what_is_not_proven_says_what_is_missing() -> None:
    """The reason is that of the message, not that the stream has a key."""
    lab = Lab(policy(STRICT, trust=""))
    assert lab.offer(m.psk_offer()) == 403
    (record,) = lab.records
    assert (record.rule, record.reason) == ("unproven", Reason.MIKEY_UNCHECKED)
    assert Reason.KEYED not in [finding.reason for finding in record.findings]


def test_a_refusal_for_something_else_blames_no_message() -> None:
    """A rule that does not ask about MIKEY is the reason itself."""
    text = STATES.replace("unknown  reject 481  if mikey.state == unknown", "late reject 486")
    lab = Lab(policy(text, trust=""))
    assert lab.offer(m.psk_offer()) == 486
    assert lab.records[-1].reason is Reason.REFUSED_BY_RULE


@pytest.mark.parametrize(
    ("found", "octets"),
    [
        ("MIK-4", changed(m.psk_offer())),
        ("mikey-time", m.psk_offer(at_s=NOW_S - 3600)),
        ("MIK-9", m.psk_offer([m.extension(1, b"mikey;other")])),
        ("MIK-14", m.psk_offer(ids=[m.nai(m.ALICE)])),
        ("MIK-8", m.build(0, [m.stamp(), m.rand(), m.kemac(m.key_data(m.TGK))])),
    ],
)
def test_a_rule_may_ask_for_a_finding(found: str, octets: bytes) -> None:
    """Each check of a message can be made one's own rule, also where it decides nothing."""
    text = STATES.replace("chain media", f"chain media\n  odd reject 499 if finding in {{{found}}}")
    lab = Lab(policy(text))
    assert lab.offer(octets) == 499
    assert lab.offer(m.psk_offer(at_s=NOW_S + 1)) == 0


@pytest.mark.parametrize(("found", "opens"), [("MIK-14", False), ("MIK-15", True)])
def test_a_rule_asks_for_findings_when_media_opens_as_well(found: str, opens: bool) -> None:
    """The offer passes for its other stream; the rule still knows what was odd about this one."""
    odd = f"odd reject if finding in {{{found}}} and media.type == audio"
    text = f"default accept\nchain media\n  {odd}\n  sealed open if keyed\n"
    lab = Lab(policy(text))
    call = lab.call()
    video = "m=video {} RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}\r\n"
    offer = keyed(m.psk_offer(ids=[m.nai(m.ALICE)])) + video.format(30002, KEYS[ALICE])
    call.establish(offer, keyed(b"", BOB, 40000) + video.format(40002, KEYS[BOB]))
    assert lab.hears(ALICE, BOB, 40002)
    assert lab.hears(ALICE, BOB, 40000) is opens


def test_findings_are_known_of_each_pair_of_candidates() -> None:
    """PIN-13: with ICE the rule is asked about every pair, of the same stream."""
    ends = []
    for host, port in ((ALICE, 30000), (BOB, 40000)):
        ufrag, password = UFRAGS[host == ALICE].decode(), PWDS[host == ALICE].decode()
        ice = f"a=rtcp-mux\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\n"
        ice += f"a=candidate:1 1 UDP 2130706431 {host} {port} typ host\r\n"
        octets = m.psk_offer(ids=[m.nai(m.ALICE)]) if host == ALICE else b""
        ends.append(keyed(octets, host, port) + ice)
    for found, opens in (("MIK-14", False), ("MIK-15", True)):
        odd = f"odd drop if finding in {{{found}}} and media.port.callee != 0"
        lab = Lab(policy(f"default accept\nchain media\n  {odd}\n  sealed open if keyed\n"))
        call = lab.call()
        call.establish(*ends)
        assert lab.hears(ALICE, BOB, 40000) is opens


def test_a_finding_is_told_once() -> None:
    """By the media chain and by the media room: it is one."""
    lab = Lab(policy(STATES.replace("reject 481", "open"), trust=""))
    assert lab.offer(m.psk_offer()) == 0
    assert lab.reasons() == [Reason.MIKEY_UNCHECKED]


def test_nothing_of_a_key_is_stored() -> None:
    """NULL encryption has the SRTP key in clear; neither record nor message shows it."""
    lab = Lab(policy(STATES.replace("default drop", "default drop\nrecord all"), trust=""))
    octets = m.build(0, [m.stamp(), m.rand(), m.nai(m.ALICE), m.kemac(m.key_data(m.TGK))])
    lab.offer(octets)
    (seen,) = lab.records
    record = record_of(seen, "2m4k07gx")
    stored = json.dumps(record.to_json()).encode() + record.message
    text = b64encode(octets)
    assert b"a=key-mgmt:***" in record.message
    assert not [at for at in range(len(text) - 8) if text[at : at + 8] in stored]
    assert m.TGK not in stored
    assert "MIK-8" in {finding["rule"] for finding in record.to_json()["findings"]}  # type: ignore[index, union-attr, call-overload]


# --- certificates


@pytest.mark.parametrize(
    ("octets", "status", "reason"),
    [
        (signed(), 0, None),
        (signed(at_s=NOW_S - 700), 480, Reason.MIKEY_TIME),
        (changed(signed()), 480, Reason.MIKEY_MAC),
        (signed(name=b"carol@example.com"), 480, Reason.MIKEY_SIGNER),
        (signed(user(issuer=OTHER)), 480, Reason.UNKNOWN_ISSUER),
        (signed(user(issuer=None)), 480, Reason.SELF_SIGNED),
        (signed(user(uris=["sip:carol@example.com"])), 480, Reason.MIKEY_SIGNER),
        (signed(user(uris=[], dns=["example.com"])), 480, Reason.MIKEY_SIGNER),
        (signed(user(until_s=NOW_S - DAY_S)), 480, Reason.CERTIFICATE_EXPIRED),
        (signed(user(purposes=[ExtendedKeyUsageOID.SERVER_AUTH])), 480, Reason.WRONG_KEY_USAGE),
        (signed(user(kind="rsa1024")), 480, Reason.WEAK_SIGNATURE),
        (signed(user(issuer=MIDDLE)), 480, Reason.UNKNOWN_ISSUER),
        (signed(user(issuer=MIDDLE), MIDDLE), 0, None),
        (signed(user(uris=[], emails=["alice@example.com"])), 0, None),
        (signed(user(uris=["sips:alice@EXAMPLE.com"], purposes=[SIP_DOMAIN])), 0, None),
    ],
)
def test_signatures_count_as_an_aibs_do(octets: bytes, status: int, reason: Reason | None) -> None:
    """MIK-6, CERT-1 to CERT-9: chain, validity and purpose, and the name in IDi and From."""
    lab = Lab(policy(trust=CA_TRUST))
    assert lab.offer(octets) == status
    if reason is not None:
        assert reason in lab.reasons()


def test_without_an_authority_a_signature_is_unknown() -> None:
    """Pre-shared keys alone: nobody is configured to trust a certificate."""
    assert Lab(policy()).offer(signed()) == 481


def test_intermediates_and_revocations_are_those_of_the_policy() -> None:
    """CERT-1, CERT-2: as in the other trust lines."""
    alice = user(issuer=MIDDLE)
    files: dict[str, str | bytes] = {"crl.pem": revoke(MIDDLE, alice), "root.crl": revoke(ROOT)}
    line = 'trust mikey ca "ca.pem" intermediates "middle.pem"'
    for words, status in (
        ("", 0),
        (' crl "root.crl"', 0),
        (' crl "root.crl" "crl.pem"', 480),
        (' crl "root.crl" crl-required', 480),
    ):
        lab = Lab(policy(trust=f"{line}{words}\n", files=files))
        assert lab.offer(signed(alice)) == status
    assert Reason.CRL_UNUSABLE in lab.reasons()


def test_certificates_that_no_message_brings() -> None:
    """MIK-7: RSA-R names a URL, others nothing; a file of that name, or of that user, helps."""
    url = b"http://certs.example.org/alice.cer"
    named = {"certs/http%3A%2F%2Fcerts.example.org%2Falice.cer": SIGNER.der}
    plain = {"certs/alice.pem": SIGNER.pem}
    line = 'trust mikey ca "ca.pem" certs "certs"\n'
    cases: Sequence[tuple[str, dict[str, bytes], bytes, int]] = (
        (CA_TRUST, {}, signed(None), 481),
        (CA_TRUST, {}, signed(None, url=url), 481),
        (line, named, signed(None, url=url), 0),
        (line, named, signed(None), 0),
        (line, plain, signed(None), 0),
        (line, plain, signed(None, url=url), 481),
        (
            line,
            {"certs/x.pem": user(issuer=OTHER).pem},
            signed(None),
            480,
        ),
    )
    for trust, files, octets, status in cases:
        assert Lab(policy(trust=trust, files=files)).offer(octets) == status


def test_the_certificate_made_out_last_counts() -> None:
    """A user with a new key keeps his old certificate in the folder for a while."""
    old = issue("alice", ROOT, uris=["sip:a@b"], from_s=NOW_S - 90 * DAY_S).der
    new = issue("alice", ROOT, uris=["sip:a@b"], from_s=NOW_S - DAY_S).der
    for files in ([("", (old, new))], [("", (new,)), ("", (old,))]):
        assert certificates_at_hand(files) == {b"a@b": new}


def test_a_file_that_is_no_certificate_keeps_the_trust_before() -> None:
    """Bad configuration gets file, line and column, and nothing changes by half."""
    lab = Lab(policy(trust=CA_TRUST))
    broken = b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
    both = 'trust mikey psk "psk" ca "ca.pem" max-age 1s\n'
    with pytest.raises(PolicyError) as caught:
        lab.guard.replace_policy(policy(trust=both, files={"ca.pem": broken}))
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.column) == ("p", 1, 26)
    assert lab.offer(m.psk_offer()) == 481
    assert lab.offer(signed(at_s=NOW_S - 30)) == 0


def test_shadow_mode_only_tells() -> None:
    """A first day with ``trust mikey`` breaks nobody's call."""
    lab = Lab(policy("mode shadow\n" + STRICT))
    assert lab.offer(changed(m.psk_offer())) == 0
    record = lab.records[-1]
    assert (record.judged, record.action) == (Action.REJECT, Action.ACCEPT)
