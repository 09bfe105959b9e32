"""Calls of every keying method through the whole guard: negotiated, handshaken, proven."""

from base64 import b64decode, b64encode

import mikey_builder
import pytest
import zrtp_builder
from authority import Holder
from dtls_ends import Datagram, end, identity, prints_of, talk
from exchange import ALICE, BOB, KEYS, SUITE, Call, Exchange, octets, sdp
from gated import PORTS, made, proven, show
from srtp_sender import Sender, rtp

from sipguard.media.suites import SUITES
from sipguard.reason import Reason

DTLS = "UDP/TLS/RTP/SAVP"
MUX = "a=rtcp-mux"
BOTH_WAYS = {(octets(ALICE), 40000), (octets(BOB), 30000)}
# SRTP that nobody here has the key of: 160 octets of PCMU and a tag.
SIZE = 170


def reasons(exchange: Exchange) -> set[Reason]:
    return {record.reason for record in exchange.records}


def findings(exchange: Exchange) -> set[str]:
    return {finding.rule for finding in exchange.found} - {"SDE-9"}


# --- DTLS-SRTP


def print_line(holder: Holder) -> str:
    digest = prints_of(holder)[0].digest
    return "a=fingerprint:sha-256 " + ":".join(f"{octet:02X}" for octet in digest)


def with_dtls(
    host: str, holder: Holder, setup: str, *more: str, port: int = 0, version: int = 1
) -> str:
    rows = (print_line(holder), f"a=setup:{setup}", *more)
    return sdp(host, port or PORTS[host], *rows, proto=DTLS, key="-", version=version)


def shake_hands(
    exchange: Exchange,
    client: Holder,
    server: Holder,
    *,
    callee_is_client: bool = True,
    rtcp: bool = False,
) -> bool:
    """A handshake whose datagrams arrive as the gate says; whether both ends are content."""

    def passes(datagram: Datagram) -> bool:
        source = BOB if datagram.by_client == callee_is_client else ALICE
        target = ALICE if source == BOB else BOB
        port, source_port = PORTS[target] + rtcp, PORTS[source] + rtcp
        octets_ = datagram.octets
        return show(exchange, source, octets_, port=port, source_port=source_port).accept

    return talk(end(client, is_client=True), end(server, is_client=False), passes)


def dtls_call(*more: str, answer: str = "active") -> Call:
    call = Call(made())
    call.establish(
        with_dtls(ALICE, identity("alice"), "actpass", *more),
        with_dtls(BOB, identity("bob"), answer, *more),
    )
    return call


def send_secured(exchange: Exchange, source: str, first: int = 1, count: int = 3) -> list[bool]:
    return [
        show(exchange, source, zrtp_builder.rtp(SIZE, first + at)).accept for at in range(count)
    ]


@pytest.mark.parametrize("answer", ["active", "passive"])
def test_a_dtls_call_proves_both_ways(answer: str) -> None:
    """DTL-4: the certificates of the handshake are those of signalling, then media flows."""
    exchange = dtls_call(MUX, answer=answer).exchange
    names = ("bob", "alice") if answer == "active" else ("alice", "bob")
    client, server = (identity(name) for name in names)
    assert shake_hands(exchange, client, server, callee_is_client=answer == "active")
    assert proven(exchange) == set()
    assert all(send_secured(exchange, ALICE))
    assert all(send_secured(exchange, BOB))
    assert proven(exchange) == BOTH_WAYS
    assert exchange.records == []


def test_media_before_the_handshake_does_not_pass() -> None:
    """SRT-10: nobody knows whose key it is; and what goes on like that is told."""
    exchange = dtls_call(MUX).exchange
    assert not any(send_secured(exchange, ALICE, count=60))
    assert reasons(exchange) == {Reason.MEDIA_TOO_EARLY}


@pytest.mark.parametrize("swapped", ["client", "server"])
def test_a_swapped_certificate_is_refused_and_told(swapped: str) -> None:
    """DTL-4: the man in the middle has a certificate of his own, whichever side he plays."""
    exchange = dtls_call(MUX).exchange
    names = {"client": "bob", "server": "alice"} | {swapped: "mallory"}
    shake_hands(exchange, identity(names["client"]), identity(names["server"]))
    assert Reason.DTLS_FINGERPRINT in reasons(exchange)
    assert not any(send_secured(exchange, ALICE))
    assert not any(send_secured(exchange, BOB))
    assert proven(exchange) == set()


def test_rtcp_on_its_own_port_has_its_own_handshake() -> None:
    """RFC 5764 section 4.1: without rtcp-mux there is one more association."""
    exchange = dtls_call().exchange
    client, server = identity("bob"), identity("alice")
    assert shake_hands(exchange, client, server)
    rtcp = zrtp_builder.SRTCP
    assert not show(exchange, ALICE, rtcp, port=40001, source_port=30001).accept
    assert shake_hands(exchange, client, server, rtcp=True)
    assert show(exchange, ALICE, rtcp, port=40001, source_port=30001).accept
    assert proven(exchange) == {(octets(ALICE), 40001)}


def test_the_same_fingerprints_once_more_keep_the_proof() -> None:
    """DTL-3: a session refresh needs no new handshake."""
    call = dtls_call(MUX)
    exchange = call.exchange
    shake_hands(exchange, identity("bob"), identity("alice"))
    send_secured(exchange, ALICE)
    for version in (2, 3):
        call.reinvite(
            ALICE,
            with_dtls(ALICE, identity("alice"), "actpass", MUX, version=version),
            with_dtls(BOB, identity("bob"), "active", MUX, version=version),
        )
        assert proven(exchange) == {(octets(ALICE), 40000)}
    assert all(send_secured(exchange, BOB))
    assert proven(exchange) == BOTH_WAYS
    assert exchange.records == []


def with_another_certificate() -> Exchange:
    """A running call whose callee offers another fingerprint, which is answered."""
    call = dtls_call(MUX)
    exchange = call.exchange
    shake_hands(exchange, identity("bob"), identity("alice"))
    send_secured(exchange, BOB)
    call.reinvite(
        BOB,
        with_dtls(BOB, identity("robert"), "actpass", MUX, version=2),
        with_dtls(ALICE, identity("alice"), "passive", MUX, version=2),
    )
    return call.exchange


def test_another_fingerprint_is_a_finding_and_needs_a_handshake() -> None:
    """PIN-7: told; the old association is good for the overlap, then the new one alone."""
    exchange = with_another_certificate()
    assert [record.reason for record in exchange.records] == [Reason.MEDIA_DOWNGRADE]
    assert proven(exchange) == set()
    assert all(send_secured(exchange, BOB, first=10))
    assert proven(exchange) == set()
    assert shake_hands(exchange, identity("robert"), identity("alice"))
    assert all(send_secured(exchange, BOB, first=20))
    assert proven(exchange) == {(octets(BOB), 30000)}


def test_the_old_association_ends_with_the_overlap() -> None:
    """Sixty seconds are for packets on their way; whoever has the old key is out then."""
    exchange = with_another_certificate()
    exchange.wait(61)
    assert not any(send_secured(exchange, BOB, first=10))


def test_a_telephone_that_only_listens_keeps_its_pinhole() -> None:
    """Its handshake proves who it is; that it has nothing to say for an hour is no fault."""
    exchange = dtls_call(MUX).exchange
    assert shake_hands(exchange, identity("bob"), identity("alice"))
    exchange.wait(30)
    assert all(send_secured(exchange, BOB))
    assert exchange.hears(ALICE, BOB, 40000)
    assert exchange.hears(BOB, ALICE, 30000)
    assert exchange.records == []


def test_half_a_handshake_has_its_time_and_no_more() -> None:
    """A ClientHello every second is no proof of anything."""
    exchange = dtls_call(MUX).exchange
    client = end(identity("bob"), is_client=True)
    talk(
        client,
        end(identity("alice"), is_client=False),
        lambda one: (show(exchange, BOB if one.by_client else ALICE, one.octets), False)[1],
    )
    exchange.wait(12)
    assert not exchange.hears(BOB, ALICE, 30000)
    assert Reason.UNPROVEN in reasons(exchange)


def test_clear_rtp_after_the_handshake_is_closed_in_the_end() -> None:
    """Half a promise: the handshake was right, and what follows is plain."""
    exchange = dtls_call(MUX).exchange
    shake_hands(exchange, identity("bob"), identity("alice"))
    for second in range(25):
        show(exchange, ALICE, rtp(second), wait_s=1.0)
        exchange.wait(0.1)
    assert not exchange.hears(ALICE, BOB, 40000)
    assert {Reason.PLAIN_RTP, Reason.UNPROVEN} <= reasons(exchange)


# --- ZRTP


def zrtp_line(side: zrtp_builder.End) -> str:
    return f"a=zrtp-hash:1.10 {side.hash.hex()}"


ZRTP = zrtp_builder.exchange()


def with_zrtp(host: str, *more: str, version: int = 1, side: zrtp_builder.End | None = None) -> str:
    side = side or (ZRTP.initiator if host == ALICE else ZRTP.responder)
    return sdp(host, PORTS[host], zrtp_line(side), *more, proto="RTP/AVP", key="-", version=version)


def zrtp_call() -> Call:
    call = Call(made())
    call.establish(with_zrtp(ALICE), with_zrtp(BOB))
    return call


def play_zrtp(exchange: Exchange, said: zrtp_builder.Exchange = ZRTP) -> bool:
    return all(
        show(exchange, ALICE if by_caller else BOB, octets_).accept
        for by_caller, octets_ in said.said()
    )


def test_a_zrtp_call_proves_both_ways() -> None:
    """ZRT-5, ZRT-7: the Hellos that signalling names, the whole exchange, then SRTP."""
    exchange = zrtp_call().exchange
    assert play_zrtp(exchange)
    assert all(send_secured(exchange, ALICE))
    assert all(send_secured(exchange, BOB))
    assert proven(exchange) == BOTH_WAYS
    assert exchange.records == []


def test_a_hello_that_signalling_does_not_name_is_refused() -> None:
    """ZRT-5: the man in the middle has another Hello, and nothing is ever proven."""
    exchange = zrtp_call().exchange
    other = zrtp_builder.exchange(initiator=zrtp_builder.End(b"mallory"))
    assert not play_zrtp(exchange, other)
    assert Reason.ZRTP_HASH in reasons(exchange)
    assert not any(send_secured(exchange, ALICE))
    assert proven(exchange) == set()


def test_plain_rtp_in_a_zrtp_call_is_refused() -> None:
    """ZRT-9: before the exchange and after it."""
    exchange = zrtp_call().exchange
    assert not any(show(exchange, ALICE, rtp(at), wait_s=0.5).accept for at in range(9))
    assert play_zrtp(exchange)
    assert not any(show(exchange, BOB, rtp(at), wait_s=0.5).accept for at in range(9))
    assert Reason.PLAIN_RTP in reasons(exchange)


@pytest.mark.parametrize("direction", ["sendonly", "inactive"])
def test_hold_and_resume_need_no_second_exchange(direction: str) -> None:
    """The same a=zrtp-hash: what was proven before the hold is proven after it."""
    call = zrtp_call()
    exchange = call.exchange
    play_zrtp(exchange)
    send_secured(exchange, ALICE)
    send_secured(exchange, BOB)
    back = {"sendonly": "recvonly", "inactive": "inactive"}[direction]
    call.reinvite(
        ALICE,
        with_zrtp(ALICE, f"a={direction}", version=2),
        with_zrtp(BOB, f"a={back}", version=2),
    )
    exchange.wait(120)
    call.reinvite(ALICE, with_zrtp(ALICE, version=3), with_zrtp(BOB, version=3))
    exchange.proven.clear()
    assert all(send_secured(exchange, ALICE, first=100))
    assert all(send_secured(exchange, BOB, first=100))
    assert proven(exchange) == BOTH_WAYS
    assert exchange.records == []


def test_the_old_way_to_hold_keeps_the_proof() -> None:
    """c=0.0.0.0 from one side, then from both: there is no pinhole left to keep it with."""
    call = zrtp_call()
    exchange = call.exchange
    play_zrtp(exchange)
    send_secured(exchange, ALICE)
    exchange.wait(5)
    held = [with_zrtp(host).replace(f"c=IN IP4 {host}", "c=IN IP4 0.0.0.0") for host in PORTS]
    call.reinvite(ALICE, held[0], held[1])
    assert not exchange.holes
    call.reinvite(ALICE, with_zrtp(ALICE, version=3), with_zrtp(BOB, version=3))
    exchange.proven.clear()
    assert all(send_secured(exchange, ALICE, first=100))
    assert proven(exchange) == {(octets(ALICE), 40000)}


def test_a_zrtp_telephone_that_moves_keeps_its_proof() -> None:
    """A re-INVITE from another port: ZRTP's keys are of the session, not of its addresses."""
    call = zrtp_call()
    exchange = call.exchange
    play_zrtp(exchange)
    send_secured(exchange, ALICE)
    send_secured(exchange, BOB)
    moved = with_zrtp(BOB, version=2).replace("m=audio 40000", "m=audio 41000")
    call.reinvite(BOB, moved, with_zrtp(ALICE, version=2))
    assert show(exchange, ALICE, zrtp_builder.rtp(SIZE, 50), port=41000, wait_s=2).accept
    assert (octets(ALICE), 41000) in proven(exchange)
    for at in range(3):
        assert show(exchange, BOB, zrtp_builder.rtp(SIZE, 60 + at), source_port=41000).accept
    assert {port for hole, port in exchange.proven if hole.port == 30000} == {41000}


def test_zrtp_media_comes_from_where_its_exchange_came() -> None:
    """PIN-14: a forged address alone must not be first, nor shut the right one out."""
    exchange = zrtp_call().exchange
    assert play_zrtp(exchange)
    for at in range(1, 4):
        forged = zrtp_builder.rtp(SIZE, at)
        assert not show(exchange, ALICE, forged, source_port=5555).accept
    assert reasons(exchange) == {Reason.OTHER_SOURCE}
    assert all(send_secured(exchange, ALICE))
    assert {port for _, port in exchange.proven} == {30000}


def test_a_zrtp_listener_keeps_its_pinhole() -> None:
    """recvonly: it takes part in the exchange on its way of the stream, and is silent then."""
    exchange = zrtp_call().exchange
    assert play_zrtp(exchange)
    exchange.wait(30)
    assert len(exchange.holes) == 4
    assert all(send_secured(exchange, BOB))
    assert exchange.records == []


# --- SDES: every suite, MKI, rates, session parameters


def key_text(suite: str, filler: bytes) -> str:
    lengths = SUITES[suite.encode()]
    return b64encode((filler * 8)[: lengths.key_octets + lengths.salt_octets]).decode()


def secret(suite: str, filler: bytes) -> bytes:
    lengths = SUITES[suite.encode()]
    return (filler * 8)[: lengths.key_octets + lengths.salt_octets]


def with_crypto(host: str, suite: str, key: str, *params: str, tag: int = 1) -> str:
    line = " ".join((f"a=crypto:{tag} {suite} inline:{key}", *params))
    return sdp(host, PORTS[host], line, key="-")


FILLERS = {ALICE: b"alice's ", BOB: b"bob's own "}


@pytest.mark.parametrize("suite", [name.decode() for name in SUITES])
def test_every_suite_is_proven_by_its_tags(suite: str) -> None:
    """SDE-1: RTP and RTCP, both ways, of all suites that a line may name."""
    call = Call(made())
    call.establish(*(with_crypto(host, suite, key_text(suite, FILLERS[host])) for host in PORTS))
    exchange = call.exchange
    for host, other in ((ALICE, BOB), (BOB, ALICE)):
        sender = Sender(suite.encode(), secret(suite, FILLERS[host]))
        assert show(exchange, host, sender.rtp(7)).accept
        port, source_port = PORTS[other] + 1, PORTS[host] + 1
        assert show(exchange, host, sender.rtcp(1), port=port, source_port=source_port).accept
    assert len(exchange.proven) == 4
    assert exchange.records == []


def test_mki_and_derivation_rate_end_to_end() -> None:
    """RFC 4568 sections 6.1 and 6.3.1: an MKI behind each packet, keys derived anew."""
    call = Call(made())
    keys = {host: f"{key_text(SUITE, FILLERS[host])}|2^20|7:4" for host in PORTS}
    call.establish(*(with_crypto(host, SUITE, keys[host], "KDR=5") for host in PORTS))
    exchange = call.exchange
    mki = b"\0\0\0\7"
    sender = Sender(SUITE.encode(), secret(SUITE, FILLERS[ALICE]), rate=5)
    assert show(exchange, ALICE, sender.rtp(70, mki=mki)).accept
    assert not show(exchange, ALICE, sender.rtp(71)).accept
    assert proven(exchange) == {(octets(ALICE), 40000)}


@pytest.mark.parametrize(
    "parameter", ["UNENCRYPTED_SRTP", "UNENCRYPTED_SRTCP", "UNAUTHENTICATED_SRTP", "FUNNY"]
)
def test_session_parameters_that_weaken_are_no_key(parameter: str) -> None:
    """SDE-3: not secure, or not understood; no pinhole."""
    exchange = made()
    call = Call(exchange)
    offer = with_crypto(ALICE, SUITE, key_text(SUITE, FILLERS[ALICE]), parameter)
    exchange.send(call.invite(offer), ALICE, BOB)
    answer = with_crypto(BOB, SUITE, key_text(SUITE, FILLERS[BOB]), parameter)
    exchange.send(call.response(call.invite(offer), 200, body=answer), BOB, ALICE)
    assert exchange.holes == set()


def test_a_reused_key_opens_nothing() -> None:
    """SDE-4: the answer repeats the offer's key."""
    exchange = made()
    call = Call(exchange)
    invite = call.must(call.invite(sdp(ALICE)), ALICE, BOB)
    exchange.send(call.response(invite, 200, body=sdp(BOB, 40000, key=KEYS[ALICE])), BOB, ALICE)
    assert exchange.holes == set()
    assert "SDE-4" in findings(exchange)


def test_the_key_of_the_old_port_is_told() -> None:
    """SDE-7: a new port wants a new key, or its first packets repeat the old key stream."""
    call = Call(made())
    call.establish()
    moved = sdp(ALICE, 32000, version=2)
    call.reinvite(ALICE, moved, sdp(BOB, 40000, version=2))
    assert Reason.SDES_SAME_KEY in [finding.reason for finding in call.exchange.found]


@pytest.mark.parametrize("direction", ["sendonly", "recvonly", "inactive"])
def test_a_hold_is_no_new_port(direction: str) -> None:
    """SDE-7 speaks of addresses and ports; a call on hold keeps them, and its key."""
    call = Call(made())
    call.establish()
    back = {"sendonly": "recvonly", "recvonly": "sendonly"}.get(direction, direction)
    call.reinvite(
        ALICE,
        sdp(ALICE, 30000, f"a={direction}", version=2),
        sdp(BOB, 40000, f"a={back}", version=2),
    )
    call.reinvite(ALICE, sdp(ALICE, version=3), sdp(BOB, 40000, version=3))
    assert findings(call.exchange) == set()


# --- several methods at once, and optional SRTP


def several(host: str, *more: str, proto: str = "RTP/AVP", key: str = "-") -> str:
    return sdp(host, PORTS[host], *more, proto=proto, key=key)


def offer_of_all(proto: str = "RTP/AVP") -> str:
    """An offer as linphone and rtpengine write it: all that they can, and the answer chooses."""
    return several(
        ALICE,
        zrtp_line(ZRTP.initiator),
        print_line(identity("alice")),
        "a=setup:actpass",
        proto=proto,
        key=KEYS[ALICE],
    )


ANSWERS = {
    "sdes": (several(BOB, key=KEYS[BOB]), "sdes"),
    "dtls": (several(BOB, print_line(identity("bob")), "a=setup:active"), "dtls"),
    "zrtp": (several(BOB, zrtp_line(ZRTP.responder)), "zrtp"),
}


@pytest.mark.parametrize("chosen", list(ANSWERS))
def test_of_several_methods_the_answer_chooses_one(chosen: str) -> None:
    """RFC 8643 section 3: one offer with all, each answered alone, and proven so."""
    exchange = made()
    Call(exchange).establish(offer_of_all(), ANSWERS[chosen][0])
    assert exchange.hears(ALICE, BOB, 40000)
    if chosen == "sdes":
        sender = Sender(SUITE.encode(), decoded(KEYS[ALICE]))
        assert show(exchange, ALICE, sender.rtp(1)).accept
    elif chosen == "dtls":
        assert shake_hands(exchange, identity("bob"), identity("alice"))
        assert all(send_secured(exchange, ALICE))
    else:
        assert play_zrtp(exchange)
        assert all(send_secured(exchange, ALICE))
    assert proven(exchange) == {(octets(ALICE), 40000)}
    assert exchange.records == []


def decoded(key: str) -> bytes:
    return b64decode(key)


def test_an_answer_with_two_methods_is_mixed() -> None:
    """KEY-2: which of them would count nobody can say."""
    exchange = made()
    call = Call(exchange)
    invite = call.must(call.invite(offer_of_all()), ALICE, BOB)
    answer = several(BOB, zrtp_line(ZRTP.responder), key=KEYS[BOB])
    exchange.send(call.response(invite, 200, body=answer), BOB, ALICE)
    assert exchange.holes == set()
    assert "KEY-2" in findings(exchange)


def test_optional_srtp_is_a_key_or_none() -> None:
    """RFC 8643: answered with a crypto line it is SRTP; answered without, nothing opens."""
    secured = made()
    Call(secured).establish(several(ALICE, key=KEYS[ALICE]), several(BOB, key=KEYS[BOB]))
    assert secured.hears(ALICE, BOB, 40000)
    assert not show(secured, ALICE, rtp(1)).accept
    clear = made()
    call = Call(clear)
    invite = call.must(call.invite(several(ALICE, key=KEYS[ALICE])), ALICE, BOB)
    clear.send(call.response(invite, 200, body=several(BOB)), BOB, ALICE)
    assert clear.holes == set()


# --- MIKEY


NOW_S = 1_700_000_000 + 1000.0
TEKS = {ALICE: bytes(range(30)), BOB: bytes(range(100, 130))}
SSRCS = {ALICE: 0x1111, BOB: 0x2222}


def with_mikey(host: str, message: bytes, *more: str, version: int = 1) -> str:
    line = "a=key-mgmt:mikey " + b64encode(message).decode()
    return sdp(host, PORTS[host], line, *more, key="-", version=version)


def null_message(host: str, *, at_s: float = NOW_S, tag_octets: int = 10) -> bytes:
    """As GStreamer writes it: the key in clear, and no code that authenticates anything."""
    key = mikey_builder.key_data(TEKS[host][:16], kind=3, salt=TEKS[host][16:])
    params = (0, 1), (1, 16), (2, 1), (3, 20), (7, 1), (8, 1), (10, 1), (11, tag_octets)
    chain = [
        mikey_builder.stamp(at_s),
        mikey_builder.policy(*params),
        mikey_builder.rand(),
        mikey_builder.kemac(key),
    ]
    return mikey_builder.build(0, chain, streams=mikey_builder.sessions(SSRCS[host]))


def mikey_call() -> Call:
    call = Call(made())
    call.establish(*(with_mikey(host, null_message(host)) for host in PORTS))
    return call


def test_mikey_with_visible_keys_is_proven_by_its_tags() -> None:
    """MIK-8: what anybody may read the gateway reads, too; each side under its own key."""
    exchange = mikey_call().exchange
    for host in PORTS:
        sender = Sender(SUITE.encode(), TEKS[host])
        assert show(exchange, host, sender.rtp(1, ssrc=SSRCS[host])).accept
    assert proven(exchange) == BOTH_WAYS
    assert exchange.records == []


def test_mikey_with_another_key_is_refused() -> None:
    """Injected: the right source, the right SSRC, and a key that was never agreed on."""
    exchange = mikey_call().exchange
    forger = Sender(SUITE.encode(), TEKS[BOB])
    assert not show(exchange, ALICE, forger.rtp(1, ssrc=SSRCS[ALICE])).accept
    assert reasons(exchange) == {Reason.SRTP_TAG}
    assert not any(show(exchange, ALICE, rtp(at, SSRCS[ALICE])).accept for at in range(9))
    assert proven(exchange) == set()


def test_a_mikey_refresh_with_the_same_keys_keeps_the_proof() -> None:
    """RFC 4567 section 3.3: a re-INVITE repeats key management; new messages, old keys."""
    call = mikey_call()
    exchange = call.exchange
    sender = Sender(SUITE.encode(), TEKS[ALICE])
    show(exchange, ALICE, sender.rtp(1, ssrc=SSRCS[ALICE]))
    at_s = NOW_S + exchange.now_s - 1000
    again = [with_mikey(host, null_message(host, at_s=at_s), version=2) for host in PORTS]
    call.reinvite(ALICE, again[0], again[1])
    assert proven(exchange) == {(octets(ALICE), 40000)}


def test_one_failed_message_ends_the_whole_session() -> None:
    """MIK-16: audio's is right and video's is not; neither gets a pinhole."""
    broken = b64encode(null_message(ALICE)[:-3]).decode()
    video = ("m=video 32000 RTP/SAVP 96", f"a=key-mgmt:mikey {broken}")
    exchange = made()
    call = Call(exchange)
    invite = call.invite(with_mikey(ALICE, null_message(ALICE), *video))
    exchange.send(invite, ALICE, BOB)
    answer = b64encode(null_message(BOB)).decode()
    video = ("m=video 42000 RTP/SAVP 96", f"a=key-mgmt:mikey {answer}")
    described = with_mikey(BOB, null_message(BOB), *video)
    exchange.send(call.response(invite, 200, body=described), BOB, ALICE)
    assert exchange.holes == set()
    assert "MIK-1" in findings(exchange)


def test_a_repeated_mikey_message_is_told() -> None:
    """MIK-3: the message of one call in another one."""
    call = mikey_call()
    exchange = call.exchange
    other = Call(exchange)
    invite = other.invite(with_mikey(ALICE, null_message(ALICE)))
    exchange.send(invite, ALICE, BOB)
    exchange.send(other.response(invite, 200, body=with_mikey(BOB, null_message(BOB))), BOB, ALICE)
    assert "MIK-3" in findings(exchange)


def test_an_offer_of_mikey_and_sdes_is_answered_by_either() -> None:
    """Both in one offer; what the answer takes is what is proven."""
    for with_sdes in (True, False):
        exchange = made()
        offer = sdp(ALICE, 30000, "a=key-mgmt:mikey " + b64encode(null_message(ALICE)).decode())
        answer = sdp(BOB, 40000) if with_sdes else with_mikey(BOB, null_message(BOB))
        Call(exchange).establish(offer, answer)
        key = decoded(KEYS[ALICE]) if with_sdes else TEKS[ALICE]
        sender = Sender(SUITE.encode(), key)
        assert show(exchange, ALICE, sender.rtp(1, ssrc=SSRCS[ALICE])).accept
        assert proven(exchange) == {(octets(ALICE), 40000)}


# --- relays


def test_a_key_that_ends_at_a_relay_is_noted() -> None:
    """PIN-16: SDES between telephone and relay; a fingerprint goes past it."""
    for body, is_told in (((sdp(ALICE), sdp(BOB, 40000)), True), (None, False)):
        exchange = made()
        exchange.guard._rooms.verifiers.is_relay = octets(BOB).__eq__
        call = Call(exchange)
        if body is None:
            body = (
                with_dtls(ALICE, identity("alice"), "actpass"),
                with_dtls(BOB, identity("bob"), "active"),
            )
        call.establish(*body)
        assert ("PIN-16" in findings(exchange)) is is_told


# --- less in the middle of a call


def clear_reinvite(call: Call) -> None:
    plain = [
        sdp(host, PORTS[host], proto="RTP/AVP", key="-", version=call.cseqs[ALICE] + 1)
        for host in PORTS
    ]
    call.reinvite(ALICE, plain[0], plain[1])


def test_a_downgrade_is_told_and_ends_nothing_that_was_good() -> None:
    """PIN-7: both ends agree on clear media; SRTP still passes, clear RTP does not."""
    call = Call(made("any open"))
    call.establish()
    exchange = call.exchange
    alice = Sender(SUITE.encode(), decoded(KEYS[ALICE]))
    assert show(exchange, ALICE, alice.rtp(1)).accept
    clear_reinvite(call)
    clear_reinvite(call)
    assert "PIN-7" in findings(exchange)
    assert call.has_media
    assert proven(exchange) == {(octets(ALICE), 40000)}
    assert not show(exchange, BOB, rtp(1)).accept
    bob = Sender(SUITE.encode(), decoded(KEYS[BOB]))
    assert show(exchange, BOB, bob.rtp(1)).accept
    call.reinvite(ALICE, sdp(ALICE, version=9), sdp(BOB, 40000, version=9))
    assert proven(exchange) == BOTH_WAYS
    call.ask("BYE")
    assert exchange.holes == set()


def test_where_media_is_not_held_against_keys_a_downgrade_closes() -> None:
    """Without the gate the same ports would carry clear RTP, and nobody would look."""
    call = Call(made("any open", "media-proof off\n"))
    call.establish()
    clear_reinvite(call)
    assert call.exchange.holes == set()


def test_another_method_in_a_running_call_is_told() -> None:
    """PIN-7: from DTLS to SDES; the handshake's keys are good for the overlap."""
    call = dtls_call(MUX)
    exchange = call.exchange
    shake_hands(exchange, identity("bob"), identity("alice"))
    assert all(send_secured(exchange, ALICE))
    call.reinvite(ALICE, sdp(ALICE, 30000, MUX, version=2), sdp(BOB, 40000, MUX, version=2))
    assert "PIN-7" in findings(exchange)
    assert proven(exchange) == set()
    assert all(send_secured(exchange, ALICE, first=10))
    assert proven(exchange) == set()
    alice = Sender(SUITE.encode(), decoded(KEYS[ALICE]))
    assert show(exchange, ALICE, alice.rtp(20)).accept
    assert proven(exchange) == {(octets(ALICE), 40000)}
