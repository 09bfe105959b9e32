"""What SIPS promises, held against single messages (TLS-1, 2, 3, 5, 11, 12, 33)."""

import pytest
from calls_builder import packet, read, request, response
from phones import ALICE, BOB

from sipguard.calls.dialog import Dialog
from sipguard.calls.sips import Sips
from sipguard.calls.transaction import Transaction
from sipguard.reason import Finding, Reason
from sipguard.wire.channel import Channel

HONEST_TLS = ["tls", "wss"]
CLEAR = ["udp", "tcp", "ws"]


def sips(raw: bytes) -> bytes:
    """Return the same message as SIPS."""
    return raw.replace(b"sip:", b"sips:").replace(b"SIP/2.0/UDP", b"SIP/2.0/TLS")


def looked(
    raw: bytes,
    transport: str = "tls",
    *,
    watch: Sips | None = None,
    dialog: Dialog | None = None,
    channel: Channel | None = None,
) -> list[Finding]:
    message, ids = read(raw)
    way = packet(raw, ALICE, BOB, transport=transport)
    if channel:
        way = way.changed(channel=channel)
    return (watch or Sips()).look(message, ids, way, dialog)


def reasons(raw: bytes, transport: str = "tls") -> list[Reason]:
    return [finding.reason for finding in looked(raw, transport)]


INVITE = request("INVITE", branch="x")
SECURE = sips(INVITE)
REGISTER = request("REGISTER", branch="x", uri="sip:example.com")


# --- TLS-1: this hop


@pytest.mark.parametrize("transport", HONEST_TLS)
def test_sips_over_tls_is_what_it_says(transport: str) -> None:
    """Nothing is found on an honest call."""
    assert reasons(SECURE, transport) == []


@pytest.mark.parametrize("transport", CLEAR)
def test_sips_in_clear_is_a_lie(transport: str) -> None:
    """TLS-1: over UDP, TCP and WebSocket without TLS, and the detail says which."""
    (finding,) = looked(SECURE, transport)
    assert (finding.reason, finding.rule) == (Reason.SIPS_IN_CLEAR, "TLS-1")
    assert finding.detail == f"SIPS over {transport}"


def test_the_scheme_has_no_case() -> None:
    """Whoever writes it otherwise does not get around."""
    assert reasons(SECURE.replace(b"sips:bob", b"SiPs:bob"), "udp") == [Reason.SIPS_IN_CLEAR]


def test_the_top_route_is_where_this_hop_leads() -> None:
    """A SIPS Route over UDP is the same lie; one that stands lower is another hop's affair."""
    routed = request("BYE", branch="x", headers="Route: <sips:p.example.com;lr>")
    assert reasons(routed, "udp") == [Reason.SIPS_IN_CLEAR]
    lower = "Route: <sip:a.example.com;lr>, <sips:p.example.com;lr>"
    assert reasons(request("BYE", branch="x", headers=lower), "udp") == []


@pytest.mark.parametrize("transport", CLEAR + HONEST_TLS)
def test_plain_sip_may_go_anywhere(transport: str) -> None:
    """Over TLS as well."""
    assert reasons(INVITE, transport) == []
    assert reasons(REGISTER, transport) == []


# --- TLS-2


@pytest.mark.parametrize("value", ["tls", "TLS"])
def test_the_deprecated_parameter_is_noted(value: str) -> None:
    """In Request-URI and Contact; it passes, for half of all telephones write it."""
    uri = f"sip:bob@example.com;transport={value}"
    (finding,) = looked(request("INVITE", branch="x", uri=uri))
    assert (finding.reason, finding.detail) == (Reason.TLS_PARAMETER, "Request-URI")
    contact = INVITE.replace(b":5060>\r\n", b":5061;ob;transport=%b>\r\n" % value.encode())
    assert reasons(contact) == [Reason.TLS_PARAMETER]


def test_other_transports_are_no_matter() -> None:
    """Linphone writes its own twice."""
    uri = "sip:bob@example.com;transport=tcp;transport=tcp"
    assert reasons(request("INVITE", branch="x", uri=uri), "tcp") == []
    assert reasons(request("INVITE", branch="x", uri="sip:b@example.com;transport=ws"), "ws") == []


# --- TLS-3: the other side


def _after(raw: bytes) -> Sips:
    watch = Sips()
    watch.passed(read(raw)[1])
    return watch


@pytest.mark.parametrize("transport", CLEAR)
def test_what_began_as_sips_may_not_go_on_in_clear(transport: str) -> None:
    """The last-hop gap: a proxy beside us turns SIPS into SIP towards the telephone."""
    (finding,) = looked(INVITE, transport, watch=_after(SECURE))
    assert (finding.reason, finding.rule) == (Reason.SIPS_DOWNGRADE, "TLS-3")


def test_sip_over_tls_in_its_place_is_noted() -> None:
    """This hop is secured, but nobody promises the next."""
    assert [one.reason for one in looked(INVITE, watch=_after(SECURE))] == [Reason.SIPS_LOST]
    assert looked(SECURE, watch=_after(SECURE)) == []


def test_who_was_refused_as_sips_does_not_try_again_in_clear() -> None:
    """TLS-4: not on his own, and a person who dials again gets a Call-ID of its own."""
    watch = _after(SECURE)
    again = looked(request("INVITE", branch="x", cseq=2), "udp", watch=watch)
    assert [one.reason for one in again] == [Reason.SIPS_DOWNGRADE]
    assert looked(request("INVITE", branch="x", call_id="call-2"), "udp", watch=watch) == []
    assert looked(request("INVITE", branch="x", from_tag="a2"), "udp", watch=watch) == []


def test_a_telephone_may_register_otherwise_later() -> None:
    """It keeps its Call-ID; the same REGISTER on another leg may not."""
    watch = _after(sips(REGISTER))
    later = request("REGISTER", branch="x", uri="sip:example.com", cseq=2)
    assert looked(later, "udp", watch=watch) == []
    assert [one.reason for one in looked(REGISTER, "udp", watch=watch)] == [Reason.SIPS_DOWNGRADE]


def test_a_running_call_is_judged_by_its_own_beginning() -> None:
    """Nobody breaks it with a SIPS request of its Call-ID and tag."""
    dialog = Dialog(b"call-1", b"a", b"b", 0.0)
    bye = request("BYE", branch="y", to_tag="b", cseq=7)
    assert looked(bye, "udp", watch=_after(SECURE), dialog=dialog) == []


def test_a_call_that_sips_made_stays_sips() -> None:
    """Also long after its INVITE."""
    dialog = Dialog(b"call-1", b"a", b"b", 0.0)
    bye = request("BYE", branch="y", to_tag="b", cseq=7)
    assert looked(bye, "udp", dialog=dialog) == []
    dialog.secured = True
    assert [one.reason for one in looked(bye, "udp", dialog=dialog)] == [Reason.SIPS_DOWNGRADE]
    assert looked(sips(bye), dialog=dialog) == []


def test_the_memory_has_a_bound() -> None:
    """A flood of SIPS requests drives the oldest out."""
    watch = Sips(capacity=64)
    assert watch.is_idle
    for number in range(1000):
        watch.passed(read(request("INVITE", branch="x", call_id=f"c{number}"))[1])
    assert len(watch) <= 64
    assert not watch.is_idle


# --- TLS-5


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (REGISTER.replace(b"<sip:it@", b"<sips:it@"), "the Request-URI"),
        (
            sips(REGISTER).replace(b"Contact: ", b"Contact: <sip:it@a.example.com>, "),
            "SIP and SIPS Contacts together",
        ),
        (
            sips(REGISTER).replace(b"Contact: ", b"Path: <sip:p.example.com;lr>\r\nContact: "),
            "a Path",
        ),
    ],
)
def test_a_sips_address_is_not_bound_to_plain_ones(raw: bytes, detail: str) -> None:
    """RFC 5630 section 5.2: a registrar answers 400."""
    (finding,) = looked(raw)
    assert (finding.reason, finding.rule) == (Reason.SIPS_REGISTER, "TLS-5")
    assert (finding.detail, finding.reason.status) == (detail, 400)


@pytest.mark.parametrize(
    "raw",
    [
        sips(REGISTER),
        sips(REGISTER).replace(b"Contact: ", b"Path: <sips:p.example.com;lr>\r\nContact: "),
        sips(REGISTER)
        .replace(b"To: <sips:", b"To: <sip:")
        .replace(b"From: <sips:", b"From: <sip:"),
        sips(REGISTER).replace(b"Contact: <sips:it@", b"Contact: <sip:it@"),
    ],
)
def test_honest_registrations_pass(raw: bytes) -> None:
    """AORs are equal apart from the scheme, and a SIP address may be bound over TLS."""
    assert looked(raw) == []


# --- TLS-11


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER"])
def test_the_contact_of_a_sips_request_is_sips(method: str) -> None:
    """Or the other side answers into the open; a SIPS Route obliges as well."""
    raw = sips(request(method, branch="x")).replace(b"<sips:it@", b"<sip:it@")
    assert reasons(raw) == [Reason.SIPS_CONTACT]
    routed = request(method, branch="x", headers="Route: <sips:p.example.com;lr>")
    assert reasons(routed) == [Reason.SIPS_CONTACT]


def test_a_recorded_route_is_sips_too() -> None:
    """It is where the rest of the call goes."""
    raw = SECURE.replace(b"Contact:", b"Record-Route: <sip:p.example.com;lr>\r\nContact:")
    assert reasons(raw) == [Reason.SIPS_ROUTE]
    assert reasons(raw.replace(b"<sip:p.", b"<sips:p.")) == []


def _answered(raw: bytes, of: bytes, transport: str = "tls") -> list[Reason]:
    asked, asked_ids = read(of)
    transaction = Transaction(asked, asked_ids, packet(of, ALICE, BOB), from_caller=True)
    message, ids = read(raw)
    way = packet(raw, BOB, ALICE, transport=transport)
    return [one.reason for one in Sips().look_at_answer(message, ids, way, transaction)]


@pytest.mark.parametrize("status", [180, 200])
def test_the_answer_to_sips_leads_to_sips(status: int) -> None:
    """A plain Contact in it is noted: the caller's next requests would go there in clear."""
    answer = response(SECURE, status, contact=BOB)
    assert _answered(answer, SECURE) == [Reason.SIPS_ANSWER]
    assert _answered(answer.replace(b"<sip:it", b"<sips:it"), SECURE) == []


def test_a_sips_record_route_obliges_the_answer_as_well() -> None:
    """RFC 3261 section 12.1.1: what stands next to the callee counts."""
    over_tls = INVITE.replace(b"/UDP", b"/TLS")
    answer = response(over_tls, 200, contact=BOB, headers="Record-Route: <sips:p.example.com;lr>")
    assert _answered(answer, over_tls) == [Reason.SIPS_ANSWER]
    assert _answered(response(over_tls, 200, contact=BOB), over_tls) == []


def test_no_redirection_out_of_sips() -> None:
    """RFC 5630: whoever asked for SIPS does not try SIP on his own."""
    assert _answered(response(SECURE, 302, contact=BOB), SECURE) == [Reason.SIPS_ANSWER]
    assert _answered(response(SECURE, 486), SECURE) == []


def test_an_answer_comes_over_what_its_via_says() -> None:
    """The top Via is the client's own (TLS-31)."""
    answer = response(INVITE, 486)
    assert _answered(answer, INVITE, "udp") == []
    assert _answered(answer, INVITE, "tls") == [Reason.VIA_TRANSPORT]
    assert _answered(answer.replace(b"/UDP", b"/wss"), INVITE, "wss") == []


# --- TLS-12


def test_another_to_is_a_hint() -> None:
    """Somebody turned SIP into SIPS, or the other way round, on the way; in a call it is old."""
    raw = SECURE.replace(b"To: <sips:", b"To: <sip:")
    assert reasons(raw) == [Reason.SIPS_RETARGETED]
    inside = sips(request("BYE", branch="y", to_tag="b")).replace(b"To: <sips:", b"To: <sip:")
    assert reasons(inside) == []
    assert reasons(SECURE.replace(b"To: <sips:bob@example.com>", b"To: <tel:+4930123>")) == []


@pytest.mark.parametrize(
    ("hop", "found"),
    [
        (b"TLS", []),
        (b"tls-sctp", []),
        (b"WSS", []),
        (b"UDP", [Reason.SIPS_CLEAR_HOP]),
        (b"TCP", [Reason.SIPS_CLEAR_HOP]),
        (b"WS", [Reason.SIPS_CLEAR_HOP]),
    ],
)
def test_a_via_in_clear_is_a_hint(hop: bytes, found: list[Reason]) -> None:
    """The list can be forged, so no more than that."""
    via = b"Via: SIP/2.0/%b 192.0.2.99;branch=z9hG4bKq\r\nMax-Forwards" % hop
    assert reasons(SECURE.replace(b"Max-Forwards", via)) == found


# --- TLS-20


def test_a_certificate_that_is_not_valid_is_noted() -> None:
    """Its sender goes on unauthenticated, and the record says why; nothing inside a call."""
    bad = Channel("1.3", tls_failure="the certificate of a.example expired on 2026-01-01")
    (finding,) = looked(SECURE, channel=bad)
    assert (finding.reason, finding.rule) == (Reason.TLS_UNPROVEN, "TLS-20")
    assert finding.detail == bad.tls_failure
    assert looked(sips(request("BYE", branch="y", to_tag="b")), channel=bad) == []


# --- TLS-33


def test_the_certificates_domain_is_held_against_from() -> None:
    """A note, for in transit they may differ; nothing without a certificate, or inside a call."""
    own = Channel("1.3", ("Example.com", "sip.example.com"))
    other = Channel("1.3", ("example.net",))
    assert looked(SECURE, channel=own) == []
    (finding,) = looked(SECURE, channel=other)
    assert (finding.reason, finding.rule) == (Reason.PEER_DOMAIN, "TLS-33")
    assert finding.detail == "the certificate names example.net"
    assert looked(SECURE, channel=Channel("1.3")) == []
    assert looked(sips(request("BYE", branch="y", to_tag="b")), channel=other) == []
