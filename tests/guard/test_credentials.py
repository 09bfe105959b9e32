"""Digest on the packet's way, with the policies as shipped: thieves stopped, honest calls alive."""

import pytest
from digester import REALM, Asked, answer, secret
from exchange import (
    ALICE,
    BOB,
    CAROL,
    MALLORY,
    PROXY,
    Call,
    Exchange,
    literal,
    policy_of,
    sdp,
)
from subjects import load

from sipguard.evidence import State
from sipguard.guard.credentials import digest_of
from sipguard.guard.rooms import Case, Rooms
from sipguard.identity.digest import DigestSettings
from sipguard.policy.subject import Subject
from sipguard.reason import Reason
from sipguard.verdict import Action
from sipguard.wire.packet import Packet
from sipguard.wire.sip import parse_message

REGISTRAR = f"sip:{REALM}"
TARGET = f"sip:bob@{REALM}"
# kamailio as it is installed, as a careful admin has it, and an old server without qop.
SERVERS = {
    "kamailio": Asked(nonce="ZxSlnWcUpHGWzG0tpI9Xc0yN7S5E3R8V"),
    "sha-256": Asked(nonce="n2", algorithm="SHA-256", opaque="5ccc"),
    "auth-int": Asked(nonce="n3", qop="auth-int,auth"),
    "old": Asked(nonce="n4", qop=""),
}


@pytest.fixture(params=["strict.policy", "shadow.policy", "branch-office.policy"])
def exchange(request: pytest.FixtureRequest) -> Exchange:
    """A guard with a shipped policy."""
    return Exchange(policy_of(request.param))


@pytest.fixture
def strict() -> Exchange:
    """The strict policy."""
    return Exchange()


class Phone:
    """A telephone with an account, and the proxy that is its registrar."""

    def __init__(
        self, exchange: Exchange, host: str = ALICE, user: str = "alice", server: str = PROXY
    ) -> None:
        self.exchange = exchange
        self.host = host
        self.user = user
        self.server = server
        self.call = Call(exchange, host, server, name="registration")
        aor = f"<sip:{user}@{REALM}>"
        self.call.uris = {host: aor, server: aor}
        self.cseq = 0

    def register(self, *headers: str, source: str = "", contact: str = "") -> bytes:
        """Return a REGISTER."""
        self.cseq += 1
        host = source or self.host
        return self.call.request(
            "REGISTER", in_dialog=False, cseq=self.cseq, uri=REGISTRAR, extra=headers,
            vias=[self.call.via(host)],
            contact=contact or f"<sip:{self.user}@{literal(self.host)}:5060>",
        )  # fmt: skip

    def proof(self, asked: Asked, nc: int = 1, method: str = "REGISTER", **more: object) -> str:
        """Return the answer to a challenge."""
        uri = REGISTRAR if method == "REGISTER" else TARGET
        return answer(asked, method, uri, nc=nc, user=self.user, **more)  # type: ignore[arg-type]

    def enroll(self, asked: Asked, refreshes: int = 0) -> None:
        """Register with a challenge, and refresh with the same nonce."""
        call, host, server = self.call, self.host, self.server
        bare = call.must(self.register(), host, server)
        call.must(call.response(bare, 401, extra=[asked.header()]), server, host)
        for nc in range(1, refreshes + 2):
            raw = call.must(self.register(self.proof(asked, nc)), host, server)
            call.must(call.response(raw, 200), server, host)
            if refreshes:
                self.exchange.wait(60)


def proxied(exchange: Exchange, asked: Asked, *, consumed: bool, proxy: str = PROXY) -> Call:
    """Play a call through a proxy that asks for a password; both legs cross the gateway."""
    call = Call(exchange)
    here = f"<sip:alice@{REALM}>"
    call.uris = {ALICE: here, BOB: f"<sip:bob@{REALM}>"}
    bare = call.must(call.invite(sdp(ALICE), uri=TARGET), ALICE, proxy)
    call.must(call.response(bare, 407, extra=[asked.header(407)], to_tag="p"), proxy, ALICE)
    vias = [parse_message(bare).values(b"via")[0].decode()]
    refused = call.request("ACK", cseq=1, vias=vias, to_tag="p", uri=TARGET)
    call.must(refused, ALICE, proxy)
    body = sdp(ALICE)
    proof = answer(asked, "INVITE", TARGET, body=body.encode(), proxy=True)
    call.cseqs[ALICE] = 2
    invite = call.must(call.invite(body, uri=TARGET, extra=[proof]), ALICE, proxy)
    call.must(call.response(invite, 100, contact=""), proxy, ALICE)
    vias = [call.via(proxy), parse_message(invite).values(b"via")[0].decode()]
    kept = [] if consumed else [proof]
    leg = call.must(call.invite(body, uri=f"sip:bob@{BOB}", vias=vias, extra=kept), proxy, BOB)
    for status, described in ((180, ""), (200, sdp(BOB, 40000))):
        call.must(call.response(leg, status, body=described), BOB, proxy)
        call.must(call.response(invite, status, body=described), proxy, ALICE)
    ack_proof = [proof]  # RFC 3261 section 22.1: the ACK repeats the INVITE's credentials
    call.must(call.request("ACK", cseq=2, extra=ack_proof), ALICE, BOB)
    return call


# --- honest


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("consumed", [True, False])
def test_a_day_with_passwords(exchange: Exchange, server: str, consumed: bool) -> None:
    """Registrations, refreshes, a call through the proxy, its end: nothing is refused.

    DIG-11 and DIG-23 as baresip, Linphone and kamailio live them; the old server is RFC 2069.
    """
    asked = SERVERS[server]
    office = exchange.guard.policy.file == "branch-office.policy"
    proxy = "203.0.113.10" if office else PROXY  # an office registers at its provider
    for host, user in ((ALICE, "alice"), (BOB, "bob")):
        Phone(exchange, host, user, proxy).enroll(asked, refreshes=20)
    call = proxied(exchange, asked, consumed=consumed, proxy=proxy)
    assert call.has_media
    proof = answer(asked, "BYE", f"sip:x@{BOB}", nc=2, proxy=True)
    call.ask("BYE", extra=[proof])
    assert not exchange.holes
    refused = [seen for seen in exchange.records if seen.judged is not Action.ACCEPT]
    assert refused == []


def test_two_realms_on_the_way(strict: Exchange) -> None:
    """DIG-7: the proxy asks by 407, then the callee by 401; the first answer is kept or renewed."""
    for again in (1, 2):
        call = Call(strict)
        first, second = Asked(nonce=f"p{again}"), Asked(realm="home.example.com", nonce=f"h{again}")
        for cseq, headers, status, asked in (
            (1, [], 407, first),
            (2, [answer(first, "INVITE", TARGET, proxy=True)], 401, second),
            (
                3,
                [
                    answer(first, "INVITE", TARGET, nc=again, proxy=True),
                    answer(second, "INVITE", TARGET),
                ],
                0,
                first,
            ),
        ):
            raw = call.must(call.invite(uri=TARGET, cseq=cseq, extra=headers), ALICE, PROXY)
            if status:
                call.must(call.response(raw, status, extra=[asked.header(status)]), PROXY, ALICE)


def test_a_stale_nonce_is_retried(strict: Exchange) -> None:
    """DIG-27: the registrar says stale=true, and the phone answers the new nonce silently."""
    phone = Phone(strict)
    old = Asked(nonce="old")
    phone.enroll(old)
    raw = phone.call.must(phone.register(phone.proof(old, 2)), ALICE, PROXY)
    new = Asked(nonce="new", stale=True)
    phone.call.must(phone.call.response(raw, 401, extra=[new.header()]), PROXY, ALICE)
    raw = phone.call.must(phone.register(phone.proof(new)), ALICE, PROXY)
    phone.call.must(phone.call.response(raw, 200), PROXY, ALICE)
    assert strict.decision is not None
    assert Reason.DIGEST_WRONG not in {finding.reason for finding in strict.decision.findings}


def test_the_next_nonce_is_taken_up(strict: Exchange) -> None:
    """DIG-30: Authentication-Info brings it; one that answers somebody else is noted."""
    phone = Phone(strict)
    phone.enroll(Asked())
    call = phone.call
    for cnonce, noted in (("0a4f113b", False), ("other", True)):
        raw = call.must(phone.register(phone.proof(Asked(), 3 + noted)), ALICE, PROXY)
        info = f'Authentication-Info: nextnonce="n2", cnonce="{cnonce}", qop=auth, nc=0000000'
        ok = call.response(raw, 200, extra=[info + str(3 + noted)])
        decision = strict.judge(ok, PROXY, ALICE)
        assert decision.action is Action.ACCEPT
        assert (Reason.DIGEST_ECHO in {found.reason for found in decision.findings}) is noted
    raw = phone.register(phone.proof(Asked(nonce="n2")))
    decision = strict.judge(raw, ALICE, PROXY)
    assert Reason.DIGEST_NONCE not in {found.reason for found in decision.findings}


def test_a_registrar_fails_over(strict: Exchange) -> None:
    """RFC 3263: 503, and the same request to the next server, credentials and all."""
    phone = Phone(strict)
    asked = Asked()
    phone.enroll(asked)
    raw = phone.call.must(phone.register(phone.proof(asked, 2)), ALICE, PROXY)
    phone.call.must(phone.call.response(raw, 503), PROXY, ALICE)
    phone.cseq -= 1
    again = phone.register(phone.proof(asked, 2))
    phone.call.must(again, ALICE, CAROL)


def test_a_retransmission_is_no_replay(strict: Exchange) -> None:
    """TXN-12: the same octets, because an answer was lost."""
    phone = Phone(strict)
    phone.enroll(Asked())
    raw = phone.register(phone.proof(Asked(), 2))
    for _ in range(4):
        phone.call.must(raw, ALICE, PROXY)


# --- thieves


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    ("source", "changes"),
    [
        (MALLORY, {"contact": f"<sip:alice@{MALLORY}>"}),
        (ALICE, {"contact": f"<sip:alice@{MALLORY}>"}),
        (MALLORY, {}),
    ],
)
def test_a_stolen_registration(
    strict: Exchange, server: str, source: str, changes: dict[str, str]
) -> None:
    """DIG-24: another Contact under the sniffed credentials, also with a forged source."""
    asked = SERVERS[server]
    Phone(strict).enroll(asked)
    thief = Phone(strict)
    stolen = thief.register(thief.proof(asked), source=source, **changes)
    assert not strict.send(stolen, source, PROXY)
    assert strict.why().startswith("drop replayed digest-replay")
    assert strict.records[-1].reason is Reason.DIGEST_REPLAY
    digits = thief.proof(asked).partition('response="')[2][:32]
    assert digits not in repr(strict.records[-1].findings)


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "SUBSCRIBE"])
def test_a_stolen_call(strict: Exchange, method: str) -> None:
    """DIG-24: toll fraud with sniffed credentials: other Call-ID, From, Contact and body."""
    asked = Asked()
    first = Call(strict)
    proof = answer(asked, method, TARGET, proxy=True)
    raw = first.request(method, in_dialog=False, uri=TARGET, extra=[proof, "Event: presence"])
    first.must(raw, ALICE, PROXY)
    first.must(first.response(raw, 200), PROXY, ALICE)
    for source in (MALLORY, ALICE):
        theft = Call(strict, source, PROXY)
        stolen = theft.request(
            method, in_dialog=False, uri=TARGET, extra=[proof, "Event: presence"],
            body=sdp(MALLORY) if method == "INVITE" else "",
            contact=f"<sip:x@{MALLORY}>",
        )  # fmt: skip
        assert not strict.send(stolen, source, PROXY)
        assert "digest-replay" in strict.why()


def test_a_stolen_digest_under_another_request_uri(strict: Exchange) -> None:
    """RPL-2, RPL-3: all as it was, only the Request-URI: no proxy between, so it is a replay."""
    call = Call(strict)
    proof = answer(Asked(), "INVITE", TARGET, proxy=True)
    raw = call.must(call.invite(uri=TARGET, extra=[proof]), ALICE, PROXY)
    premium = call.invite(uri=f"sip:+1900@{REALM}", extra=[proof])
    for source in (ALICE, MALLORY):
        assert not strict.send(premium, source, PROXY), strict.why()
    call.must(call.response(raw, 200, body=sdp(PROXY, 40000)), PROXY, ALICE)
    strict.wait(3000)
    assert not strict.send(premium, ALICE, PROXY), strict.why()


def test_a_stolen_digest_inside_the_thiefs_own_call(strict: Exchange) -> None:
    """DIG-24: in a dialog that is known; the rules for requests refuse it."""
    asked = Asked()
    owner = Call(strict)
    proof = answer(asked, "REFER", TARGET, proxy=True)
    refer = f"Refer-To: <{TARGET}>"
    owner.must(
        owner.request("REFER", in_dialog=False, uri=TARGET, extra=[proof, refer]), ALICE, PROXY
    )
    theirs = Call(strict, MALLORY, BOB)
    theirs.establish(sdp(MALLORY), None)
    stolen = theirs.request("REFER", uri=TARGET, extra=[proof, refer])
    assert not strict.send(stolen, MALLORY, BOB)
    assert strict.why().startswith("drop replayed digest-replay")
    careless = theirs.request("INFO", extra=[answer(asked, "INFO", f"sip:x@{BOB}")])
    theirs.must(careless, MALLORY, BOB)


def test_a_stolen_digest_in_a_dialog_that_nobody_knows() -> None:
    """DIG-24: a To tag of the thief's own making, where unknown dialogs may pass."""
    exchange = Exchange(load("on-unknown-dialog accept\nchain request\n"
                             "  replayed drop if replay\n  all accept\n"))  # fmt: skip
    owner, thief = Call(exchange), Call(exchange, MALLORY, PROXY)
    proof = answer(Asked(), "SUBSCRIBE", TARGET, proxy=True)
    event = "Event: presence"
    raw = owner.request("SUBSCRIBE", in_dialog=False, uri=TARGET, extra=[proof, event])
    owner.must(raw, ALICE, PROXY)
    stolen = thief.request("SUBSCRIBE", uri=TARGET, to_tag="made-up", extra=[proof, event])
    assert not exchange.send(stolen, MALLORY, PROXY)
    assert "digest-replay" in exchange.why()
    honest = thief.request("SUBSCRIBE", uri=TARGET, to_tag="old", extra=[event])
    thief.must(honest, MALLORY, PROXY)


def test_shadow_mode_says_what_it_would_drop() -> None:
    """And the thief that passes does not become the owner."""
    exchange = Exchange(policy_of("shadow.policy"))
    asked = Asked()
    Phone(exchange).enroll(asked)
    thief = Phone(exchange)
    for _ in range(2):
        stolen = thief.register(thief.proof(asked), contact=f"<sip:alice@{MALLORY}>")
        assert exchange.send(stolen, MALLORY, PROXY)
        assert exchange.records[-1].reason is Reason.DIGEST_REPLAY


def test_rules_may_read_what_was_found() -> None:
    """Findings by rule id, the kind of replay; a careless count is no theft."""
    exchange = Exchange(load(
        "default reject 499\nchain request\n"
        "  stolen reject 498 if replay.kind == digest\n"
        "  counted reject 497 if finding in {DIG-23}\n"
        "  foreign reject 496 if finding in {DIG-25}\n"
        "  unissued reject 495 if finding in {digest-nonce}\n"
        "  all accept if not replay\n"
        "chain response\n  all accept\n"
    ))  # fmt: skip
    asked = Asked()
    phone = Phone(exchange)
    phone.enroll(asked)
    cases = [
        (phone.proof(asked), phone.host, 0, 498),
        (phone.proof(asked, cnonce="other"), ALICE, 0, 497),
        (answer(asked, "REGISTER", REGISTRAR, user="bob", nc=9), ALICE, 0, 496),
        (phone.proof(Asked(nonce="x")), ALICE, 0, 495),
    ]
    for proof, source, _, status in cases:
        raw = phone.register(proof)
        decision = exchange.judge(raw, source, PROXY)
        assert decision.judgement.status == status, exchange.why()


def test_basic_does_not_pass(exchange: Exchange) -> None:
    """DIG-1: refused from a phone, and no server asks for it."""
    shadow = exchange.guard.policy.mode == "shadow"
    office = exchange.guard.policy.file == "branch-office.policy"
    server = "203.0.113.10" if office else PROXY
    phone = Phone(exchange, server=server)
    exchange.send(phone.register("Authorization: Basic YWxpY2U6eA=="), ALICE, server)
    assert exchange.why().startswith("reject basic")
    assert exchange.decision is not None
    assert (exchange.decision.action is Action.ACCEPT) is shadow
    raw = phone.call.must(phone.register(), ALICE, server)
    basic = phone.call.response(raw, 401, extra=['WWW-Authenticate: Basic realm="x"'])
    exchange.send(basic, server, ALICE)
    assert exchange.why().startswith("drop basic")


def test_a_challenge_without_a_challenge_is_dropped(strict: Exchange) -> None:
    """DIG-2: malformed, as the parse chain says of everything malformed."""
    phone = Phone(strict)
    raw = phone.call.must(phone.register(), ALICE, PROXY)
    empty = phone.call.response(raw, 401, extra=["WWW-Authenticate:"])
    assert not strict.send(empty.replace(b"WWW-Authenticate:", b"X-Nothing: "), PROXY, ALICE)
    assert strict.decision is not None
    assert Reason.DIGEST_NO_CHALLENGE in {finding.reason for finding in strict.decision.findings}


# --- the digest leak


@pytest.mark.parametrize("policy", ["strict.policy", "shadow.policy"])
def test_a_caller_asks_for_the_password(policy: str) -> None:
    """He calls, waits until the phone hangs up, and asks it for a password to guess at."""
    exchange = Exchange(policy_of(policy))
    call = Call(exchange, MALLORY, BOB)
    call.establish(sdp(MALLORY), None)
    bye = call.must(call.request("BYE", BOB), BOB, MALLORY)
    leak = call.response(bye, 407, extra=[Asked().header(407)])
    exchange.send(leak, MALLORY, BOB)
    assert exchange.why().startswith("drop leak")
    assert (exchange.decision is not None and exchange.decision.action is Action.ACCEPT) is (
        policy == "shadow.policy"
    )


def test_the_called_may_ask_the_caller(strict: Exchange) -> None:
    """A PBX that is called may challenge the re-INVITE and the BYE of the one who calls it."""
    call = Call(strict)
    call.establish()
    bye = call.must(call.request("BYE"), ALICE, BOB)
    call.must(call.response(bye, 407, extra=[Asked().header(407)]), BOB, ALICE)
    call.ask("BYE", extra=[answer(Asked(), "BYE", f"sip:x@{BOB}", proxy=True)])
    assert not strict.holes


def test_a_registrar_may_ask_whom_it_calls(strict: Exchange) -> None:
    """A PBX that puts a call through to a phone, and wants a password with its BYE."""
    phone = Phone(strict, BOB, "bob")
    phone.enroll(Asked())
    call = Call(strict, PROXY, BOB)
    call.establish(sdp(PROXY), None)
    bye = call.must(call.request("BYE", BOB), BOB, PROXY)
    call.must(call.response(bye, 407, extra=[Asked().header(407)]), PROXY, BOB)


def test_a_phone_of_the_office_is_asked_by_the_provider_alone() -> None:
    """branch-office.policy: whoever else asks for a password is no friend."""
    exchange = Exchange(policy_of("branch-office.policy"))
    provider = "203.0.113.10"
    call = Call(exchange, ALICE, provider)
    invite = call.must(call.invite(), ALICE, provider)
    call.must(call.response(invite, 407, extra=[Asked().header(407)]), provider, ALICE)
    call = Call(exchange)
    invite = call.must(call.invite(), ALICE, BOB)
    assert not exchange.send(call.response(invite, 407, extra=[Asked().header(407)]), BOB, ALICE)
    assert exchange.why().startswith("drop leak")


# --- evidence


def test_what_the_credentials_prove_is_there_for_whoever_asks() -> None:
    """digest.valid needs H(A1); requests that no room examined are examined when a rule asks."""
    rooms = Rooms(load("chain request\n  all accept\n"), b"s" * 64, None, learning=False)
    account = {(b"alice", REALM.encode()): ((b"MD5", secret().encode()),)}
    rooms.digests.configure(DigestSettings(ha1=account))
    call = Call(Exchange())
    call.uris = {ALICE: f"<sip:alice@{REALM}>", BOB: f"<sip:bob@{REALM}>"}
    for headers, state in (
        ([answer(Asked(), "INVITE", TARGET)], State.VALID),
        ([], State.ABSENT),
        ([answer(Asked(), "INVITE", TARGET, ha1="0" * 32)], State.FAILED),
    ):
        raw = call.invite(uri=TARGET, extra=headers)
        message = parse_message(raw)
        assert message.ids is not None
        packet = Packet(b"\x0a\x14\x01\x02", b"\x0a\x14\x02\x02", 5060, 5060, raw)
        now = call.exchange.now
        stand = rooms.book.stand_of_request(message, message.ids, packet)
        case = Case(packet, message, message.ids, stand, Subject(packet, message, now))
        assert digest_of(rooms, case).state is state
        assert digest_of(rooms, case) is digest_of(rooms, case)
