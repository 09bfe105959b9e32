"""Signed session descriptions and signed copies of messages (SMI-32 to SMI-35)."""

import pytest
import signed_messages as made
from authority import NOW_S, Holder, issue
from hypothesis import given, settings
from hypothesis import strategies as st
from signed_messages import NOW, SDP, rows, user

from sipguard.evidence import Evidence, State
from sipguard.identity.sdp_relay import compare_sdp
from sipguard.identity.signed_body import SignedBodies
from sipguard.reason import Reason

RELAY = bytes((198, 51, 100, 40))
RELAYED = SDP.replace(b"192.0.2.33", b"198.51.100.40").replace(b"49172", b"30000")


def examine(octets: bytes, *known: Holder, src: bytes = made.SRC) -> Evidence:
    message, ids, packet = made.read(octets)
    packet = packet.changed(src=src)
    judge = SignedBodies(made.store(*known), False, 600)
    # As a set of addresses does, it takes octets and nothing else.
    return judge.examine(message, ids, packet, NOW, lambda address: bytes(address) == RELAY)


def signed(content: bytes, holder: Holder | None = None) -> bytes:
    return made.signed_part(content, made.sign(content, holder or user()))


def copy(
    headers: made.Rows,
    *,
    sdp: bytes = SDP,
    start: bytes = b"INVITE sip:bob@example.net SIP/2.0\r\n",
    kind: bytes = b"message/sip",
) -> bytes:
    """A whole message as a part (RFC 3261 section 23.4.3)."""
    body = b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n" % len(sdp) + sdp
    if not sdp:
        body = b"Content-Length: 0\r\n\r\n"
    hops = b"Via: SIP/2.0/UDP 192.0.2.33;branch=z9hG4bKnashds8\r\nMax-Forwards: 70\r\n"
    return b"Content-Type: " + kind + b"\r\n\r\n" + start + hops + made.text(headers) + body


def together(*parts: bytes) -> bytes:
    """Several parts as one, which may stand in another multipart."""
    kind, inner = made.mixed(*parts)
    whole = f"Content-Type: {kind}\r\n\r\n".encode() + inner
    return whole.replace(b"unique-boundary-1", b"inner-boundary")


def tunneled(
    headers: made.Rows | None = None,
    outer: made.Rows | None = None,
    sdp: bytes = SDP,
    beside: bytes = SDP,
    holder: Holder | None = None,
) -> bytes:
    """The shape of section 23.4: the signed copy, and the description once more outside."""
    part = signed(copy(headers or rows(), sdp=sdp), holder)
    parts = (made.sdp_part(beside), part) if beside else (part,)
    return made.raw_message(made.mixed(*parts), outer)


def why(evidence: Evidence) -> tuple[State, Reason]:
    assert evidence.finding is not None
    assert evidence.signer == b""
    assert evidence.covers == ()
    return evidence.state, evidence.finding.reason


def detail(evidence: Evidence) -> str:
    assert evidence.finding is not None
    return evidence.finding.detail


HEADERS = (b"from", b"to", b"contact", b"date", b"call-id", b"cseq")


# --- the session description


def test_smi_35_a_signed_session_description() -> None:
    """Inside the signature, and nothing outside."""
    octets = made.raw_message(made.alone(signed(made.sdp_part())))
    evidence = examine(octets)
    assert evidence.state is State.VALID
    assert evidence.signer == b"sip:alice@example.com"
    assert evidence.covers == (b"sdp",)


def test_smi_35_a_copy_outside_must_be_the_signed_one() -> None:
    """Whichever of both a phone would take."""
    same = made.raw_message(made.mixed(made.sdp_part(), signed(made.sdp_part())))
    assert examine(same).covers == (b"sdp",)
    other = made.sdp_part(SDP.replace(b"192.0.2.33", b"203.0.113.66"))
    for parts in ((other, signed(made.sdp_part())), (signed(made.sdp_part()), other)):
        evidence = examine(made.raw_message(made.mixed(*parts)))
        assert why(evidence) == (State.FAILED, Reason.SDP_DIFFERS)
        assert detail(evidence) == "media goes to 203.0.113.66, which the signed copy does not name"


def test_smi_35_an_aib_says_nothing_of_the_session() -> None:
    """It is not asked here."""
    octets = made.raw_message(made.mixed(made.sdp_part(), made.aib_part(rows(), user())))
    assert examine(octets).state is State.ABSENT


def test_smi_35_a_signature_around_sdp_and_aib() -> None:
    """RFC 3261 section 23: the whole body signed."""
    kind, inner = made.mixed(made.sdp_part(), made.fragment(rows()))
    content = f"Content-Type: {kind}\r\n\r\n".encode() + inner
    assert examine(made.raw_message(made.alone(signed(content)))).covers == (b"sdp",)


@pytest.mark.parametrize(
    ("spoil", "to"),
    [
        (b"c=IN IP4 192.0.2.33", b"c=IN IP4 203.0.113.66"),
        (b"49172", b"49174"),
        (b"inline:A", b"inline:B"),
        (b"a=crypto", b"a=cryptx"),
        (b"RTP/SAVP", b"RTP/AVP"),
        (b"49172", b"0"),
        (b"t=0 0\r\n", b"t=0 0\r\nk=clear:x\r\n"),
        (b"o=alice", b"o=mallory"),
    ],
)
def test_smi_35_anybody_elses_change_is_a_forgery(spoil: bytes, to: bytes) -> None:
    """Address, port, key, profile: no relay that the policy names has been at work."""
    assert spoil in SDP
    octets = tunneled(beside=SDP.replace(spoil, to))
    assert why(examine(octets)) == (State.FAILED, Reason.SDP_DIFFERS)


def test_smi_35_no_key_ever_stands_in_a_sentence() -> None:
    """The record keeps it for months."""
    for spoil, to in ((b"inline:A", b"inline:B"), (b"a=crypto:1", b"k=clear:secret")):
        said = detail(examine(tunneled(beside=SDP.replace(spoil, to))))
        assert "inline" not in said
        assert "secret" not in said
        assert "AAEC" not in said


@pytest.mark.parametrize(
    "sdp",
    [
        RELAYED,
        RELAYED.replace(b"t=0 0\r\n", b"t=0 0\r\na=ice-lite\r\n"),
        RELAYED + b"a=rtcp:30001 IN IP4 198.51.100.40\r\n",
        RELAYED + b"a=candidate:1 1 UDP 1 198.51.100.40 30000 typ host\r\n",
        RELAYED.replace(b"c=IN", b"c=IN").replace(b"s=-\r\nc=IN IP4 198.51.100.40\r\n", b"s=-\r\n")
        + b"c=IN IP4 198.51.100.40\r\n",
    ],
)
def test_smi_35_a_relay_that_the_policy_names_may_change_addresses(sdp: bytes) -> None:
    """The identity stays valid, and the record says who changed what."""
    evidence = examine(tunneled(beside=sdp))
    assert evidence.state is State.VALID
    assert b"sdp" in evidence.covers
    assert [note.reason for note in evidence.notes] == [Reason.SDP_RELAYED]
    said = "identity valid, addresses and ports changed by relay 198.51.100.40"
    assert evidence.notes[0].detail == said


@pytest.mark.parametrize(
    "sdp",
    [
        RELAYED.replace(b"inline:A", b"inline:B"),
        RELAYED.replace(b"a=crypto:1", b"a=crypto:2"),
        RELAYED.replace(b"RTP/SAVP 0", b"RTP/SAVP 8"),
        RELAYED + b"a=sendonly\r\n",
        RELAYED + b"m=audio 30002 RTP/AVP 0\r\n",
        RELAYED.replace(b"30000", b"0"),
        RELAYED + b"a=rtcp:30001 IN IP4 203.0.113.66\r\n",
        RELAYED + b"a=candidate:1 1 UDP 1 203.0.113.66 30000 typ host\r\n",
        RELAYED.replace(b"c=IN IP4 198.51.100.40", b"c=IN IP4 relay.example.net"),
        RELAYED.replace(b"c=IN IP4 198.51.100.40", b"c=IN IP4 198.51.100.40 x"),
    ],
)
def test_smi_35_a_relay_may_change_nothing_else(sdp: bytes) -> None:
    """No key, codec, direction or stream, and no address but its own."""
    assert why(examine(tunneled(beside=sdp))) == (State.FAILED, Reason.SDP_DIFFERS)


def test_smi_35_the_source_of_a_packet_makes_no_address_a_relays() -> None:
    """Over UDP a source is easily forged; where only ports differ it does."""
    stranger = SDP.replace(b"192.0.2.33", b"203.0.113.66")
    assert why(examine(tunneled(beside=stranger), src=RELAY)) == (
        State.FAILED,
        Reason.SDP_DIFFERS,
    )
    ports = tunneled(beside=SDP.replace(b"49172", b"30000"))
    assert examine(ports, src=RELAY).state is State.VALID
    assert why(examine(ports)) == (State.FAILED, Reason.SDP_DIFFERS)


@pytest.mark.parametrize("spoil", [b"inline:A", b"a=crypto:1", b"RTP/SAVP"])
def test_smi_35_a_relays_own_packet_may_change_no_more(spoil: bytes) -> None:
    """Whoever sends under its address, and it itself."""
    octets = tunneled(beside=SDP.replace(spoil, spoil.lower().replace(b":", b":9")))
    assert why(examine(octets, src=RELAY)) == (State.FAILED, Reason.SDP_DIFFERS)


def test_smi_35_where_the_relay_was_signed_it_may_change_its_ports() -> None:
    """A caller behind it names it himself; then no address is new, and all are the relay's."""
    own = SDP.replace(b"192.0.2.33", b"198.51.100.40")
    octets = tunneled(sdp=own, beside=own.replace(b"49172", b"30000"))
    assert [note.reason for note in examine(octets).notes] == [Reason.SDP_RELAYED]


RTCP = b"a=rtcp:30001"
CANDIDATE = b"a=candidate:1 1 UDP 2130706431"


@pytest.mark.parametrize(
    ("line", "address"),
    [
        (b"c=IN IP4 203.0.113.1", b"203.0.113.1"),
        (b"c=IN IP4 224.2.1.1/127", b"224.2.1.1"),
        (b"c=IN IP4", b"c=IN IP4"),
        (b"c=IN IP4 203.0.113.1 x", b"c=IN IP4 203.0.113.1 x"),
        (RTCP, None),
        (RTCP + b" IN IP6 2001:db8::1", b"2001:db8::1"),
        (RTCP + b" IN IP4 203.0.113.1 x", RTCP + b" IN IP4 203.0.113.1 x"),
        (RTCP + b"\tIN\tIP4\t203.0.113.1", RTCP + b"\tIN\tIP4\t203.0.113.1"),
        (CANDIDATE + b" 203.0.113.1 9 typ host", b"203.0.113.1"),
        (CANDIDATE + b"  203.0.113.1 9 typ host", b""),
        (CANDIDATE, CANDIDATE),
    ],
)
def test_smi_35_every_address_counts_however_it_is_written(
    line: bytes, address: bytes | None
) -> None:
    """What a lenient reader might take for one is none of a relay's."""
    change = compare_sdp(RELAYED + line + b"\r\n", SDP)
    assert change is not None
    assert change.forged == ""
    assert change.addresses == {b"198.51.100.40", address} - {None}
    assert change.all_addresses == change.addresses


@pytest.mark.parametrize(
    ("ours", "signed", "said"),
    [
        (b"m=audio", b"m=audio 1", "the message has the line m=audio, the signed copy m=audio *"),
        (b"m=audio 1/2", b"m=audio 1", "line m=audio */2, the signed copy m=audio *"),
        (b"m=audio 00", b"m=audio 7", "line m=audio 00, the signed copy m=audio *"),
        (b"a=key:1", b"a=key:2", "the line a=key is not the signed one"),
        (b"k=clear:1", b"k=clear:2", "the line k=... is not the signed one"),
        (b"a=key:1", b"k=clear:2", "the message has the line a=key, the signed copy k=..."),
        (b"t=1 1", b"t=2 2", "the message has the line t=1 1, the signed copy t=2 2"),
        (b"v=0\na=x:1", b"v=0", "only the message has the line a=x"),
        (b"v=0", b"v=0\na=x:1", "only the signed copy has the line a=x"),
    ],
)
def test_smi_35_what_was_forged_is_said_without_keys(ours: bytes, signed: bytes, said: str) -> None:
    """Which line, on which side; of attributes the name alone."""
    change = compare_sdp(ours, signed)
    assert change is not None
    assert said in change.forged


def test_smi_35_two_descriptions_under_one_signature() -> None:
    """Nobody can say which was meant."""
    kind, inner = made.mixed(made.sdp_part(), made.sdp_part(RELAYED))
    content = f"Content-Type: {kind}\r\n\r\n".encode() + inner
    octets = made.raw_message(made.alone(signed(content)))
    assert why(examine(octets)) == (State.FAILED, Reason.SDP_DIFFERS)


# --- signed copies of the message


def test_smi_34_a_signed_copy_speaks_for_headers_and_session() -> None:
    """The example of RFC 3261 section 23.4.3, Via and Max-Forwards left alone."""
    evidence = examine(tunneled())
    assert evidence.state is State.VALID
    assert evidence.covers == (*HEADERS, b"sdp")
    hidden = examine(tunneled(beside=b""))
    assert hidden.covers == (*HEADERS, b"sdp")


def test_smi_34_what_hops_may_change() -> None:
    """Request-URI, Via, Route, Record-Route, Max-Forwards, Proxy-Authorization."""
    inner = rows() | {"Proxy-Authorization": "Digest x=y", "Route": "<sip:p.example.com;lr>"}
    content = copy(inner, start=b"INVITE sip:bob@192.0.2.4 SIP/2.0\r\n")
    outer = rows() | {"Record-Route": "<sip:p.example.com;lr>"}
    octets = made.raw_message(made.mixed(made.sdp_part(), signed(content)), outer)
    assert examine(octets).covers == (*HEADERS, b"sdp")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("from", "Alice <sip:ceo@example.com>;tag=1928301774"),
        ("to", "<sip:carol@example.net>"),
        ("call_id", "other"),
        ("cseq", "314160 INVITE"),
        ("contact", "<sip:alice@203.0.113.66>"),
        ("date", made.date_at(NOW_S + 1)),
    ],
)
def test_smi_34_a_header_that_differs_breaks_the_seal(name: str, value: str) -> None:
    """Both values stand in the sentence."""
    evidence = examine(tunneled(outer=rows(**{name: value})))
    assert why(evidence) == (State.FAILED, Reason.INNER_DIFFERS)
    assert ", the signed copy " in detail(evidence)


def test_smi_34_an_unknown_header_that_differs_is_ignored() -> None:
    """RFC 3261 section 23.4.1.1; it is not covered, and the record says so."""
    inner = rows() | {"X-Account": "7", "Subject": "lunch"}
    outer = rows() | {"X-Account": "8", "Subject": "lunch"}
    evidence = examine(tunneled(inner, outer))
    assert evidence.state is State.VALID
    assert b"x-account" not in evidence.covers
    assert b"subject" in evidence.covers
    said = "X-Account differs from the signed copy and is not covered"
    assert said in [note.detail for note in evidence.notes]
    other = rows() | {"Subject": "dinner"}
    assert why(examine(tunneled(inner, other))) == (State.FAILED, Reason.INNER_DIFFERS)


@pytest.mark.parametrize("name", ["from", "to", "call_id", "cseq"])
def test_smi_34_a_copy_that_names_no_message(name: str) -> None:
    """Four headers at least."""
    evidence = examine(tunneled(rows(**{name: None})))
    assert why(evidence) == (State.FAILED, Reason.INNER_DIFFERS)
    assert "lacks" in detail(evidence)


@pytest.mark.parametrize(("age_s", "fits"), [(600, True), (601, False), (-601, False)])
def test_smi_34_an_old_copy_is_somebody_elses_catch(age_s: int, fits: bool) -> None:
    """The signed Date is compared with the clock."""
    headers = rows(date=made.date_at(NOW_S - age_s))
    evidence = examine(tunneled(headers, headers))
    assert (evidence.state is State.VALID) is fits
    if not fits:
        assert why(evidence) == (State.FAILED, Reason.SIGNING_TIME)


def test_smi_34_a_copy_of_another_method() -> None:
    """And a response is no request."""
    for start in (b"REFER sip:bob@example.net SIP/2.0\r\n", b"SIP/2.0 200 OK\r\n"):
        octets = made.raw_message(made.mixed(signed(copy(rows(), start=start))))
        assert why(examine(octets)) == (State.FAILED, Reason.INNER_DIFFERS)


def test_smi_34_a_copy_that_is_no_message() -> None:
    """Two From inside."""
    octets = tunneled(rows() | {"FROM": "<sip:ceo@example.com>"})
    assert why(examine(octets)) == (State.FAILED, Reason.BAD_SIGNED_BODY)


def test_smi_34_a_copy_beside_something_else_under_one_signature() -> None:
    """It is held against the message wherever it stands inside."""
    content = together(b"Content-Type: text/plain\r\n\r\nhello", copy(rows()))
    body = made.mixed(made.sdp_part(), signed(content))
    assert examine(made.raw_message(body)).covers == (*HEADERS, b"sdp")
    other = made.raw_message(body, rows(to="<sip:carol@example.net>"))
    assert why(examine(other)) == (State.FAILED, Reason.INNER_DIFFERS)


def test_smi_34_two_copies_under_one_signature() -> None:
    """Nobody can say which of them is the message."""
    content = together(copy(rows()), copy(rows(), sdp=b""))
    octets = made.raw_message(made.mixed(made.sdp_part(), signed(content)))
    assert why(examine(octets)) == (State.FAILED, Reason.BAD_SIGNED_BODY)


def test_smi_10_only_a_fragment_can_be_an_aib() -> None:
    """The word alone takes nothing out of the signature's account; a broken AIB is not ours."""
    worded = b"Content-Type: text/plain\r\nContent-Disposition: aib\r\n\r\nhello"
    assert examine(made.raw_message(made.mixed(signed(worded)))).covers == (b"body",)
    broken = made.fragment(rows()).replace(b"From:", b"From: <sip:x@example.com>\r\nFrom:")
    assert examine(made.raw_message(made.mixed(signed(broken)))).state is State.ABSENT


def test_smi_34_a_fragment_without_the_disposition_of_an_aib() -> None:
    """RFC 3261's tunneling with RFC 3420's type."""
    content = copy(rows(), start=b"", kind=b"message/sipfrag")
    octets = made.raw_message(made.mixed(made.sdp_part(), signed(content)))
    assert examine(octets).covers == (*HEADERS, b"sdp")


# --- who signed


def test_cert_4_the_signer_is_the_caller() -> None:
    """Mallory signs a good copy of alice's message."""
    evidence = examine(tunneled(holder=user("mallory@example.com")))
    assert why(evidence) == (State.FAILED, Reason.WRONG_SIGNER)
    said = "From says alice@example.com, the certificate speaks for mallory@example.com"
    assert detail(evidence) == said


def test_cert_6_a_domain_does_not_sign_its_users_sessions() -> None:
    """Not the domain of the caller, and not another one."""
    for name in ("example.com", "example.org"):
        domain = issue(f"domain {name}", made.root(), dns=(name,))
        evidence = examine(tunneled(holder=domain))
        assert why(evidence) == (State.FAILED, Reason.WRONG_DOMAIN)
        assert name in detail(evidence)


def test_cert_4_a_certificate_without_sip_names_is_somebody_elses() -> None:
    """Neither a user's nor a domain's."""
    other = issue("other", made.root(), uris=("im:alice@example.com",))
    evidence = examine(tunneled(holder=other))
    assert why(evidence) == (State.FAILED, Reason.WRONG_SIGNER)


def test_a_response_is_signed_by_the_callee() -> None:
    """To names him."""
    for holder, state in (("bob@example.net", State.VALID), ("alice@example.com", State.FAILED)):
        content = made.mixed(signed(made.sdp_part(), user(holder)))
        assert examine(made.raw_message(content, start="SIP/2.0 200 OK")).state is state


def test_smi_30_an_unknown_signer_is_unknown() -> None:
    """Neither valid nor failed."""
    content = made.sdp_part()
    part = made.signed_part(content, made.sign(content, user(), certificates=False))
    octets = made.raw_message(made.mixed(part))
    assert why(examine(octets)) == (State.UNKNOWN, Reason.NO_SIGNER_CERTIFICATE)
    assert examine(octets, user()).state is State.VALID


# --- encrypted


def envelope(extra: bytes = b"") -> bytes:
    return (
        b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n"
        b"Content-Transfer-Encoding: binary\r\n" + extra + b"\r\n0\x80\x06\x09"
    )


def test_smi_32_what_is_encrypted_is_unknown() -> None:
    """Never a silent hole: the finding is what ``sdp.encrypted`` asks for."""
    for body in (made.mixed(envelope()), made.alone(envelope())):
        evidence = examine(made.raw_message(body))
        assert why(evidence) == (State.UNKNOWN, Reason.ENCRYPTED_BODY)


def test_smi_32_signed_over_encrypted() -> None:
    """Who signed is known, and said; what, is not."""
    evidence = examine(made.raw_message(made.mixed(signed(envelope()))))
    assert why(evidence) == (State.UNKNOWN, Reason.ENCRYPTED_BODY)
    assert "signed by alice@example.com" in detail(evidence)
    forged = made.signed_part(envelope(), made.sign(b"x", user()))
    assert examine(made.raw_message(made.mixed(forged))).state is State.FAILED


@pytest.mark.parametrize(
    "content", [("application/sdp", SDP), ("text/plain", b"x"), made.mixed(made.sdp_part())]
)
def test_nothing_signed_is_absent(content: tuple[str, bytes]) -> None:
    """Neither good nor bad."""
    evidence = examine(made.raw_message(content))
    assert evidence.state is State.ABSENT
    assert evidence.finding is None


def test_other_signed_content_is_the_body() -> None:
    """A signed text says nothing of the session beside it."""
    text = b"Content-Type: text/plain\r\n\r\nhello"
    octets = made.raw_message(made.mixed(made.sdp_part(), signed(text)))
    assert examine(octets).covers == (b"body",)


# --- properties

TUNNELED = tunneled()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_octet_under_the_signature_may_change(data: st.DataObject) -> None:
    """Nor any of the session description outside."""
    start = TUNNELED.index(b"Content-Type: message/sip")
    end = TUNNELED.index(b"\r\n--boundary42\r\nContent-Type: application/pkcs7")
    outside = TUNNELED.index(b"v=0\r\n")
    at = data.draw(st.integers(start, end - 1) | st.integers(outside, outside + len(SDP) - 1))
    flip = data.draw(st.integers(1, 255))
    changed = TUNNELED[:at] + bytes([TUNNELED[at] ^ flip]) + TUNNELED[at + 1 :]
    message, ids, packet = made.read_or_none(changed)
    if message is None or ids is None:
        return
    judge = SignedBodies(made.store(), False, 600)
    evidence = judge.examine(message, ids, packet, NOW, lambda address: False)
    assert evidence.state is not State.VALID


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_comparing_descriptions_is_total(ours: bytes, theirs: bytes) -> None:
    """Whatever calls itself one; equal octets are equal."""
    assert compare_sdp(ours, ours) is None
    change = compare_sdp(ours, theirs)
    assert (change is None) is (ours == theirs)


def test_comparing_long_descriptions_ends() -> None:
    """Bounded by the number of lines."""
    change = compare_sdp(b"a=x\r\n" * 5000, b"a=y\r\n")
    assert change is not None
    assert change.forged
