"""One response twice: what a thief does with it, and what honest senders do (DIG-24, RPL-*)."""

from collections.abc import Mapping

import pytest
from calls_builder import request
from digest_gate import (
    AOR,
    ASKED,
    BOB,
    CALLEE,
    OTHER,
    PHONE,
    PROXY,
    SERVER,
    Gate,
    invite,
    noted,
    proof,
    register,
    why,
)
from digester import Asked, answer
from hypothesis import given
from hypothesis import strategies as st

from sipguard.evidence import State
from sipguard.reason import Reason

BARE = Asked(qop="")
BODY = b"v=0\r\no=- 1 1 IN IP4 %b\r\ns=-\r\nc=IN IP4 %b\r\nt=0 0\r\nm=audio %d RTP/SAVP 0\r\n"
THEIRS, THIEFS = (
    BODY % (b"192.0.2.10", b"192.0.2.10", 4000),
    BODY % (b"192.0.2.66", b"192.0.2.66", 9),
)
BELOW = [f"{PHONE}:5060;branch=z9hG4bK-i2;rport"]
# What a thief may change and qop=auth does not cover. The Request-URI is not here: where all
# else is equal it is a proxy's to change, and the replay memory judges the way (RPL-3).
CHANGES: Mapping[str, Mapping[str, object]] = {
    "from": {"from_": "sip:mallory@example.org"},
    "to": {"to": "sip:premium@example.org"},
    "contact": {"contact": "192.0.2.66"},
    "call-id": {"call_id": "another"},
    "from-tag": {"from_tag": "another"},
    "cseq": {"cseq": 3},
    "body": {"body": THIEFS},
}


@pytest.fixture
def gate() -> Gate:
    """A gateway through which an INVITE with credentials went, answered by 200."""
    made = Gate()
    made.ask(ASKED, method="INVITE")
    first = invite(proof("INVITE"), cseq=2, body=THEIRS)
    assert made.send(first, PHONE, PROXY).finding is None
    made.reply(first, 200, source=PROXY)
    return made


@given(
    st.sets(st.sampled_from(sorted(CHANGES)), min_size=1),
    st.sampled_from([PHONE, OTHER, CALLEE]),
    st.sampled_from([PROXY, SERVER]),
    st.floats(0.0, 3000.0),
    st.booleans(),
)
def test_a_response_under_other_headers_is_stolen(
    changed: set[str], source: str, target: str, later_s: float, retry: bool
) -> None:
    """DIG-24: whatever the thief changes, wherever he sits, and however the replay memory errs."""
    gate = Gate()
    gate.ask(ASKED, method="INVITE")
    first = invite(proof("INVITE"), cseq=2, body=THEIRS)
    gate.send(first, PHONE, PROXY)
    gate.reply(first, 200, source=PROXY)
    gate.now_s += later_s
    options: dict[str, object] = {"cseq": 2, "body": THEIRS, "branch": "thief"}
    for name in changed:
        options |= CHANGES[name]
    evidence = gate.look(invite(proof("INVITE"), **options), source, target, retry=retry)  # type: ignore[arg-type]
    assert (evidence.state, why(evidence)) == (State.FAILED, Reason.DIGEST_REPLAY)


@pytest.mark.parametrize(
    "inputs",
    [
        {"method": "REGISTER"},
        {"uri": "sip:premium@example.org"},
        {"nonce": "other"},
        {"cnonce": "other"},
        {"nc": "00000002"},
        {"user": "mallory"},
    ],
)
def test_a_response_with_other_inputs_is_forged(gate: Gate, inputs: dict[str, str]) -> None:
    """DIG-24: method, uri, nonce, cnonce and nc are in the hash; no honest client gets it so."""
    headers = proof("INVITE")
    for old, new in {
        "uri": (BOB, inputs.get("uri", BOB)),
        "nonce": (ASKED.nonce, inputs.get("nonce", ASKED.nonce)),
        "cnonce": ("0a4f113b", inputs.get("cnonce", "0a4f113b")),
        "nc": ("00000001", inputs.get("nc", "00000001")),
        "user": ("alice", inputs.get("user", "alice")),
    }.values():
        headers = headers.replace(old, new)
    raw = invite(headers, cseq=2, body=THEIRS)
    if "method" in inputs:
        raw = raw.replace(b"INVITE", b"REGISTER")
    assert why(gate.look(raw)) is Reason.DIGEST_REPLAY
    assert why(gate.look(raw, retry=True)) is Reason.DIGEST_REPLAY


@pytest.mark.parametrize("source", [PHONE, OTHER])
def test_the_whole_request_after_its_time(gate: Gate, source: str) -> None:
    """RPL-1: longer than timer B no copy is on its way, whatever the replay memory forgot."""
    first = invite(proof("INVITE"), cseq=2, body=THEIRS, branch="again")
    gate.now_s += 40
    assert why(gate.look(first, source, PROXY)) is Reason.DIGEST_REPLAY
    assert gate.look(first, source, PROXY, retry=True).finding is None


@pytest.mark.parametrize(
    "disguise",
    [
        lambda row: row.replace("Authorization", "Proxy-Authorization"),
        lambda row: row.replace("Digest", "dIGEST \t"),
        lambda row: row.replace('username="alice"', "username=alice"),
        lambda row: row.replace('response="', 'response=" '),
        lambda row: row.replace('response="', 'response="\\'),
        lambda row: row.replace(", qop=auth", ", qop=auth, =junk"),
        lambda row: row + ", nonce=twice",
        lambda row: row.replace("Digest", "Token x, Digest"),
        lambda row: (
            row.upper().replace("AUTHORIZATION", "Authorization").replace("DIGEST", "Digest")
        ),
        lambda row: row + ', opaque="' + "x" * 5000 + '"',
    ],
)
def test_a_stolen_response_is_known_in_any_dress(gate: Gate, disguise: object) -> None:
    """DIG-24: a server may read what we refuse to read, so malformed wrapping hides nothing."""
    assert callable(disguise)
    evidence = gate.look(invite(disguise(proof("INVITE")), cseq=2, call_id="stolen"), OTHER)
    assert (evidence.state, why(evidence)) == (State.FAILED, Reason.DIGEST_REPLAY)


def test_theft_weighs_more_than_any_other_fault(gate: Gate) -> None:
    """It is what rules ask for, also behind credentials with faults of their own."""
    rows = "Authorization: Digest junk\n" + proof("INVITE", proxy=True)
    evidence = gate.look(invite(rows, cseq=2, call_id="stolen"))
    assert why(evidence) is Reason.DIGEST_REPLAY


def test_a_thiefs_request_changes_no_memory(gate: Gate) -> None:
    """In shadow mode it passes; the response stays the one of its first sender."""
    stolen = invite(proof("INVITE"), cseq=2, call_id="stolen")
    for _ in range(2):
        assert why(gate.send(stolen, OTHER, PROXY)) is Reason.DIGEST_REPLAY
    copy = invite(proof("INVITE"), cseq=2, body=THEIRS)
    assert gate.look(copy, PHONE, PROXY).finding is None


@pytest.mark.parametrize(
    ("source", "changes", "said"),
    [
        (OTHER, {"cseq": 3}, "from another host, with another CSeq"),
        (PHONE, {"call_id": "x"}, "with another Call-ID or From tag"),
        (PHONE, {"from_tag": "x", "cseq": 9}, "with another Call-ID or From tag"),
        (PHONE, {"contact": OTHER}, "with another From, To, Contact or body"),
    ],
)
def test_what_differs_is_said(
    gate: Gate, source: str, changes: dict[str, object], said: str
) -> None:
    """The reviewer reads why it was a thief."""
    options = {"cseq": 2, "body": THEIRS, **changes}
    evidence = gate.look(invite(proof("INVITE"), **options), source, PROXY)  # type: ignore[arg-type]
    assert evidence.finding is not None
    assert evidence.finding.detail == f"the credentials of an earlier request, {said}"


# --- copies


def test_a_copy_through_a_proxy_is_none(gate: Gate) -> None:
    """RPL-3: the proxy leaves the credentials in, changes the Request-URI, and both legs cross."""
    leg = invite(
        proof("INVITE"), cseq=2, body=THEIRS, sender=PROXY, contact=PHONE, branch="p",
        lower_vias=BELOW, uri="sip:bob@192.0.2.40",
    )  # fmt: skip
    for target in (CALLEE, OTHER):
        evidence = gate.send(leg, PROXY, target, retry=True)
        assert evidence.finding is None
        assert noted(evidence) == [Reason.DIGEST_URI]


@pytest.mark.parametrize("home", [CALLEE, PHONE])
def test_a_proxy_may_rewrite_contact_and_body(gate: Gate, home: str) -> None:
    """A proxy that mends NAT and relays media, and two branches of a fork; also to phones
    behind the caller's own NAT address."""
    rewritten = BODY % (b"192.0.2.20", b"192.0.2.20", 40000)
    leg = invite(
        proof("INVITE"), cseq=2, body=rewritten, sender=PROXY, contact=PROXY, branch="p",
        lower_vias=BELOW,
    )  # fmt: skip
    assert gate.send(leg, PROXY, home).finding is None
    assert gate.send(leg.replace(b"-p;", b"-q;"), PROXY, home).finding is None


def test_a_border_controller_may_rename_the_call(gate: Gate) -> None:
    """It hands the credentials on under a Call-ID of its own, at once and onward."""
    leg = invite(proof("INVITE"), cseq=77, call_id="inner", sender=PROXY, body=THEIRS)
    assert gate.look(leg, PROXY, SERVER).finding is None
    gate.now_s += 40
    assert why(gate.look(leg, PROXY, SERVER)) is Reason.DIGEST_REPLAY


def test_a_callee_may_not_use_what_he_got(gate: Gate) -> None:
    """He got the caller's credentials with the call, and sends them back to the proxy."""
    leg = invite(
        proof("INVITE"), cseq=2, body=THEIRS, sender=PROXY, contact=PHONE, lower_vias=BELOW
    )
    gate.send(leg, PROXY, CALLEE, retry=True)
    stolen = invite(proof("INVITE"), cseq=2, call_id="mine", sender=CALLEE, body=THEIRS)
    assert why(gate.look(stolen, CALLEE, PROXY)) is Reason.DIGEST_REPLAY


# --- retries


def test_the_retry_after_a_challenge_is_honest() -> None:
    """DIG-11: same Call-ID and From tag, the next CSeq, and a new response."""
    gate = Gate()
    gate.ask(ASKED, method="INVITE")
    first = invite(proof("INVITE"), cseq=2, body=THEIRS)
    assert gate.send(first).finding is None
    fresh = Asked(nonce="fresh", stale=True)
    gate.reply(first, 407, fresh.header(407))
    assert gate.send(invite(proof("INVITE", fresh), cseq=3, body=THEIRS)).finding is None


@pytest.mark.parametrize("status", [401, 407, 422, 500, 503, 0])
def test_a_retry_may_copy_the_first_realms_credentials(status: int) -> None:
    """DIG-7, DIG-11: the proxy is satisfied, then the callee asks; also where nobody answered."""
    gate = Gate()
    gate.ask(ASKED, method="INVITE")
    first = invite(proof("INVITE", proxy=True), cseq=2, body=THEIRS)
    assert gate.send(first).finding is None
    second = Asked(realm="callee.example.org", nonce="second")
    if status:
        gate.reply(first, status, *([second.header(status)] if status in (401, 407) else []))
    both = proof("INVITE", proxy=True) + "\n" + proof("INVITE", second)
    again = gate.send(invite(both, cseq=3, body=THEIRS))
    assert why(again) in (None, Reason.DIGEST_NONCE)
    stolen = gate.look(invite(both, cseq=4, body=THIEFS))
    assert why(stolen) is Reason.DIGEST_REPLAY
    assert why(gate.look(invite(both, cseq=4, body=THEIRS), OTHER)) is Reason.DIGEST_REPLAY


def test_a_retry_comes_soon() -> None:
    """RFC 3261 timer C: who waits longer than any answer may take, asks for a new nonce."""
    gate = Gate()
    gate.ask(ASKED, method="INVITE")
    gate.send(invite(proof("INVITE"), cseq=2, body=THEIRS))
    later = invite(proof("INVITE"), cseq=3, body=THEIRS)
    gate.now_s += 200
    assert gate.look(later).finding is None
    gate.now_s += 60
    assert why(gate.look(later)) is Reason.DIGEST_REPLAY


def test_after_an_answer_nothing_is_tried_again(gate: Gate) -> None:
    """DIG-24: the same credentials with the next CSeq after a 200 are no retry."""
    assert why(gate.look(invite(proof("INVITE"), cseq=3, body=THEIRS))) is Reason.DIGEST_REPLAY


def test_a_nonce_serves_many_requests(gate: Gate) -> None:
    """DIG-23: clients keep the nonce and count up, for other calls as well."""
    for nc in range(2, 40):
        raw = invite(proof("INVITE", nc=nc, cnonce=f"{nc}"), cseq=nc, call_id=f"c{nc}")
        assert gate.send(raw).finding is None
        gate.reply(raw, 200)


# --- inside a dialog


def test_clients_that_copy_credentials_inside_their_call(gate: Gate) -> None:
    """Careless: the INVITE's credentials in every request. A fault, but nobody's theft."""
    bye = invite(proof("INVITE"), cseq=3, to_tag="b").replace(b"INVITE", b"BYE")
    evidence = gate.look(bye, PHONE, PROXY, in_dialog=True)
    assert (evidence.state, why(evidence)) == (State.FAILED, Reason.DIGEST_COUNT)
    again = invite(proof("INVITE"), cseq=3, to_tag="b", body=THIEFS)
    assert why(gate.look(again, PHONE, PROXY, in_dialog=True)) is Reason.DIGEST_COUNT


def test_stolen_credentials_inside_ones_own_call(gate: Gate) -> None:
    """DIG-24: the thief's call is known; the credentials in it are another's."""
    raw = invite(proof("INVITE"), cseq=3, call_id="thiefs", to_tag="b")
    for source in (OTHER, PHONE):
        assert why(gate.look(raw, source, PROXY, in_dialog=True)) is Reason.DIGEST_REPLAY
    assert why(gate.look(raw.replace(b"INVITE", b"BYE"), OTHER, in_dialog=True)) is (
        Reason.DIGEST_REPLAY
    )


def test_what_counts_as_careless(gate: Gate) -> None:
    """Only the same call, from the same host, and with a new CSeq."""
    bye = invite(proof("INVITE"), cseq=3, to_tag="b").replace(b"INVITE", b"BYE")
    assert why(gate.look(bye, OTHER, PROXY, in_dialog=True)) is Reason.DIGEST_REPLAY
    other = bye.replace(b"Call-ID: call", b"Call-ID: other")
    assert why(gate.look(other, PHONE, PROXY, in_dialog=True)) is Reason.DIGEST_REPLAY
    same_cseq = invite(proof("INVITE"), cseq=2, to_tag="b", body=THIEFS)
    assert why(gate.look(same_cseq, PHONE, PROXY, in_dialog=True)) is Reason.DIGEST_REPLAY


def test_a_refused_request_inside_a_dialog_is_tried_again() -> None:
    """DIG-11: 491, or 422 with a longer session timer; the credentials may be copied."""
    gate = Gate()
    gate.ask(ASKED, method="INVITE")
    first = invite(proof("INVITE"), cseq=3, to_tag="b", body=THEIRS)
    gate.send(first, in_dialog=True)
    gate.reply(first, 491)
    again = invite(proof("INVITE"), cseq=4, to_tag="b", body=THEIRS)
    assert gate.send(again, in_dialog=True).finding is None


def test_a_call_without_qop_goes_on() -> None:
    """RFC 2069: a second re-INVITE has the response of the first."""
    gate = Gate()
    gate.ask(BARE, method="INVITE")
    for cseq in range(2, 6):
        body = BODY % (b"192.0.2.10", b"192.0.2.%d" % cseq, 4000)
        raw = invite(proof("INVITE", BARE), cseq=cseq, to_tag="b", body=body)
        assert gate.send(raw, in_dialog=True).finding is None
        gate.reply(raw, 200)


def test_requests_inside_a_dialog_go_on_counting(gate: Gate) -> None:
    """DIG-23: nc+1 in the re-INVITE; its copy behind the proxy is the same."""
    raw = invite(proof("INVITE", nc=2), cseq=3, to_tag="b", body=THEIRS)
    assert gate.send(raw, PHONE, PROXY, in_dialog=True).finding is None
    assert gate.send(raw, PROXY, CALLEE, in_dialog=True).finding is None


# --- without qop


def test_a_refresh_without_qop_repeats_its_response() -> None:
    """RFC 2069: same nonce, method and uri, same response. The same phone, day after day."""
    gate = Gate()
    gate.ask(BARE)
    for cseq in range(2, 60):
        raw = register(proof(asked=BARE), cseq=cseq)
        evidence = gate.send(raw)
        assert evidence.finding is None, cseq
        gate.reply(raw, 200)
        gate.now_s += 1800
    assert gate.send(register(proof(asked=BARE), cseq=1, call_id="after-a-restart")).finding is None
    ending = register(proof(asked=BARE) + "\nExpires: 0", cseq=2, call_id="after-a-restart")
    assert gate.send(ending).finding is None


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        (OTHER, {}),
        (PHONE, {"contact": "192.0.2.66"}),
        (PHONE, {"from_": "sip:mallory@example.org"}),
        (PHONE, {"to": "sip:bob@example.org"}),
        (PHONE, {"uri": "sip:other.org"}),
        (PHONE, {"body": b"x"}),
        (PHONE, {"cseq": 1}),
    ],
)
def test_a_thief_without_qop(source: str, changes: dict[str, object]) -> None:
    """DIG-24: from elsewhere, or to elsewhere, it is no refresh."""
    gate = Gate()
    gate.ask(BARE)
    first = register(proof(asked=BARE), cseq=2)
    gate.send(first)
    gate.reply(first, 200)
    stolen = register(proof(asked=BARE), **{"cseq": 3, **changes})  # type: ignore[arg-type]
    assert why(gate.look(stolen, source)) is Reason.DIGEST_REPLAY


def test_a_second_call_to_the_same_number_without_qop() -> None:
    """The response is the same again; media to the same host is honest, to another is not."""
    gate = Gate()
    gate.ask(BARE, method="INVITE")
    first = invite(proof("INVITE", BARE), cseq=2, body=THEIRS)
    gate.send(first)
    gate.reply(first, 200)
    moved_port = BODY % (b"192.0.2.10", b"192.0.2.10", 5000)
    second = invite(proof("INVITE", BARE), cseq=1, call_id="second", body=moved_port)
    assert gate.send(second).finding is None
    stolen = invite(proof("INVITE", BARE), cseq=1, call_id="third", body=THIEFS)
    assert why(gate.look(stolen)) is Reason.DIGEST_REPLAY
    garbage = invite(proof("INVITE", BARE), cseq=1, call_id="third", body=b"v=9")
    assert why(gate.look(garbage)) is Reason.DIGEST_REPLAY


def test_a_second_call_with_qop_has_its_own_response() -> None:
    """DIG-24: with qop clients count; the same response from the same address is a forger's."""
    gate = Gate()
    gate.ask(method="INVITE")
    first = invite(proof("INVITE"), cseq=2, body=THEIRS)
    gate.send(first)
    gate.reply(first, 200)
    for cseq in (1, 2, 3):
        again = invite(proof("INVITE"), cseq=cseq, call_id="second", body=THEIRS)
        assert why(gate.look(again)) is Reason.DIGEST_REPLAY


def test_messages_without_qop() -> None:
    """Chat and presence to one address: each has the same response and other words."""
    gate = Gate()
    gate.ask(BARE, method="INVITE")
    for method in ("MESSAGE", "PUBLISH"):
        row = answer(BARE, method, BOB)
        for number in range(5):
            raw = request(
                method, branch=f"{method}{number}", sender=PHONE, call_id=f"{method}{number}",
                from_=AOR, to=BOB, uri=BOB, headers=row, body=b"words %d" % number, contact=PHONE,
            )  # fmt: skip
            raw = raw.replace(b"application/sdp", b"text/plain")
            assert gate.send(raw).finding is None, number
            gate.reply(raw, 200)
        assert why(gate.look(raw.replace(b"words", b"lies"), OTHER)) is Reason.DIGEST_REPLAY


@pytest.mark.parametrize("first", ["*", None])
def test_phones_that_clear_or_ask_before_they_register(first: str | None) -> None:
    """Without qop ``Contact: *`` and the binding have one response; elsewhere it is a thief's."""
    gate = Gate()
    gate.ask(BARE)
    clearing = register(proof(asked=BARE), cseq=2, contact=None)
    if first:
        clearing = clearing.replace(b"Content-L", b"Contact: *\r\nExpires: 0\r\nContent-L")
    gate.send(clearing)
    gate.reply(clearing, 200)
    stolen = register(proof(asked=BARE), cseq=3, contact=OTHER)
    assert why(gate.look(stolen)) is Reason.DIGEST_REPLAY
    binding = register(proof(asked=BARE), cseq=3)
    assert why(gate.look(binding.replace(b"10:5060>", b"10:5070>"))) is Reason.DIGEST_REPLAY
    assert gate.look(binding.replace(b"10:5060>", b"10>")).finding is None
    assert gate.send(binding).finding is None
    gate.reply(binding, 200)
    assert gate.send(register(proof(asked=BARE), cseq=4)).finding is None


def test_a_thiefs_copy_is_no_new_beginning() -> None:
    """Without qop, too: what passed in shadow mode is not the next honest refresh's pattern."""
    gate = Gate()
    gate.ask(BARE)
    gate.send(register(proof(asked=BARE), cseq=2))
    gate.send(register(proof(asked=BARE), cseq=9, contact="192.0.2.66"), OTHER)
    assert gate.look(register(proof(asked=BARE), cseq=3)).finding is None
