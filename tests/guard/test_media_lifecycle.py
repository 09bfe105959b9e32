"""Keys and proofs through the life of a call: forks, previews, rollback, two legs, its end."""

from base64 import b64decode, b64encode

import pytest
import zrtp_builder
from dtls_ends import Datagram, end, identity, prints_of, talk
from exchange import ALICE, BOB, CAROL, KEYS, OTHER_KEY, PROXY, SUITE, Call, Exchange, octets, sdp
from gated import PORTS, made, proven, show
from ice_peers import PWDS, UFRAGS
from srtp_sender import Sender
from stun_builder import request, success

from sipguard.media.keys import SdesKeys
from sipguard.media.line import Line
from sipguard.media.prove_sdes import SdesProver
from sipguard.media.sessions import Sessions
from sipguard.reason import Reason
from sipguard.wire.sip import parse_message

SENDERS = {host: Sender(SUITE.encode(), b64decode(key)) for host, key in KEYS.items()}
NEXT = Sender(SUITE.encode(), b64decode(OTHER_KEY))


def sealed(host: str, index: int) -> bytes:
    return SENDERS[host].rtp(index)


def sessions_of(exchange: Exchange) -> Sessions:
    return exchange.guard._rooms.negotiator.sessions


def lines_of(exchange: Exchange) -> list[Line]:
    found = []
    for call in sessions_of(exchange)._calls.values():
        for talk_ in call.talks:
            found += [*talk_.lines, *(talk_.offer.lines if talk_.offer else ())]
            found += [line for retired in talk_.retired for _, line in retired.holes]
    return found


def is_empty(exchange: Exchange) -> bool:
    book = sessions_of(exchange)._life.book
    stores = (book._pairs, book._shared, book._single, book._beside, book._users, book._by_peer)
    return book.count == 0 and not any(stores)


def running(rule: str = "sealed open if keyed") -> tuple[Exchange, Call]:
    exchange = made(rule)
    call = Call(exchange)
    call.establish()
    show(exchange, ALICE, sealed(ALICE, 1))
    show(exchange, BOB, sealed(BOB, 1))
    return exchange, call


# --- the end


def test_the_end_of_a_call_leaves_no_key_behind() -> None:
    """SRT-10: overwritten where they stood, gone from every line, and the book is empty."""
    exchange, call = running()
    (line,) = lines_of(exchange)
    keys, watch = line.keys, line.watch
    assert isinstance(keys, SdesKeys)
    assert watch is not None
    assert isinstance(watch.prover, SdesProver)
    secrets = [keys.terms.secrets]
    for side in (watch.prover._caller, watch.prover._callee):
        secrets += [master.secret for master in side.keys._masters]
    assert all(any(secret) for secret in secrets)
    call.ask("BYE")
    assert line.keys is None
    assert line.watch is None
    assert not any(any(secret) for secret in secrets)
    assert is_empty(exchange)


def test_a_lost_bye_ends_keys_with_the_call() -> None:
    """The session timer, or whatever ends it, wipes as well."""
    exchange = made()
    call = Call(exchange)
    call.establish()
    (line,) = lines_of(exchange)
    bye = call.request("BYE")
    exchange.send(bye, ALICE, BOB)
    exchange.wait(40)
    assert line.keys is None
    assert is_empty(exchange)


# --- renegotiation


def test_a_failed_reinvite_leaves_the_old_keys_and_no_new_ones() -> None:
    """PIN-8: previewed in a 183, refused by a 488; the old key is good, the new one is not."""
    exchange, call = running()
    offer = sdp(ALICE, key=OTHER_KEY, version=2)
    request_ = call.must(call.request("INVITE", body=offer), ALICE, BOB)
    preview = sdp(BOB, 40000, key=KEYS[BOB][::-1], version=2)
    call.must(call.response(request_, 183, body=preview), BOB, ALICE)
    new = [line for line in lines_of(exchange) if line.keys is not None][-1]
    assert show(exchange, ALICE, NEXT.rtp(2)).accept
    assert show(exchange, BOB, sealed(BOB, 2)).accept
    call.must(call.response(request_, 488), BOB, ALICE)
    assert new.keys is None
    assert not show(exchange, ALICE, NEXT.rtp(3)).accept
    assert show(exchange, ALICE, sealed(ALICE, 3), wait_s=2).accept
    assert show(exchange, BOB, sealed(BOB, 3), wait_s=2).accept
    assert len(proven(exchange)) == 2
    call.ask("BYE")
    assert is_empty(exchange)


def test_the_old_key_is_wiped_after_the_overlap() -> None:
    """A minute later nobody has a use for it."""
    exchange, call = running()
    call.reinvite(ALICE, sdp(ALICE, key=OTHER_KEY, version=2), sdp(BOB, 40000, version=2))
    assert show(exchange, ALICE, sealed(ALICE, 2)).accept
    exchange.wait(61)
    assert not show(exchange, ALICE, sealed(ALICE, 3)).accept
    (line,) = lines_of(exchange)
    assert line.watch is not None
    assert line.watch.older is None


def test_rekeying_again_and_again_keeps_two_keys_at_most() -> None:
    """A call that changes its key every second costs no more than another."""
    exchange, call = running()
    for version in range(2, 40):
        key = b64encode(bytes((version,)) * 30).decode()
        call.reinvite(ALICE, sdp(ALICE, key=key, version=version), sdp(BOB, 40000, version=version))
        show(exchange, ALICE, Sender(SUITE.encode(), bytes((version,)) * 30).rtp(version))
    (line,) = lines_of(exchange)
    assert line.watch is not None
    assert line.watch.older is not None
    assert line.watch.older.older is None


def test_copies_under_the_old_key_are_no_forgery() -> None:
    """What the kernel forwarded just before the change is shown to the gate after it."""
    exchange, call = running()
    call.reinvite(ALICE, sdp(ALICE, key=OTHER_KEY, version=2), sdp(BOB, 40000, version=2))
    for index in range(2, 6):
        show(exchange, ALICE, sealed(ALICE, index), is_sample=True)
    assert exchange.records == []


def test_new_formats_under_the_same_key_are_right() -> None:
    """A re-INVITE adds a codec; neither the packets nor their copies are refused for it."""
    exchange, call = running()
    more = [
        sdp(host, port, "a=rtpmap:101 telephone-event/8000", version=2).replace(
            "SAVP 0", "SAVP 0 101"
        )
        for host, port in PORTS.items()
    ]
    call.reinvite(ALICE, more[0], more[1])
    packet = SENDERS[ALICE].rtp(50, size=4, payload_type=101)
    assert show(exchange, ALICE, packet, wait_s=2).accept
    show(exchange, ALICE, SENDERS[ALICE].rtp(51, size=4, payload_type=101), is_sample=True)
    assert exchange.records == []
    assert len(proven(exchange)) == 2


def test_a_moved_telephone_is_heard_at_both_ends_for_a_while() -> None:
    """PIN-8: both pinholes with their keys, then the new one alone."""
    exchange, call = running()
    moved = sdp(ALICE, 32000, key=OTHER_KEY, version=2)
    call.reinvite(ALICE, moved, sdp(BOB, 40000, version=2))
    assert show(exchange, BOB, sealed(BOB, 5)).accept
    assert show(exchange, BOB, sealed(BOB, 6), port=32000).accept
    exchange.wait(61)
    assert not show(exchange, BOB, sealed(BOB, 7)).accept
    assert show(exchange, BOB, sealed(BOB, 8), port=32000).accept
    call.ask("BYE")
    assert is_empty(exchange)


def test_a_moved_side_is_proven_from_its_new_port() -> None:
    """PIN-14: the address is the same; what was forwarded from the old port is not any more."""
    exchange, call = running()
    moved = sdp(BOB, 42000, version=2)
    call.reinvite(BOB, moved, sdp(ALICE, version=2))
    assert {port for hole, port in exchange.proven if hole.port == 30000} == set()
    assert show(exchange, BOB, sealed(BOB, 7), source_port=42000).accept
    assert {port for hole, port in exchange.proven if hole.port == 30000} == {42000}


# --- early media, forks, late offers


def test_early_media_proves_itself_and_the_answer_keeps_it() -> None:
    """183 with SDP, then a 200 with the same: one line, one proof."""
    exchange = made()
    call = Call(exchange)
    invite = call.must(call.invite(), ALICE, BOB)
    call.must(call.response(invite, 183, body=sdp(BOB, 40000)), BOB, ALICE)
    assert show(exchange, BOB, sealed(BOB, 1)).accept
    exchange.wait(30)
    call.must(call.response(invite, 200, body=sdp(BOB, 40000)), BOB, ALICE)
    call.must(call.request("ACK"), ALICE, BOB)
    assert proven(exchange) == {(octets(BOB), 30000)}
    assert show(exchange, ALICE, sealed(ALICE, 1)).accept


def test_a_late_offer_is_proven_with_the_roles_turned() -> None:
    """200 offers, ACK answers: each side's packets are still under its own key."""
    exchange = made()
    call = Call(exchange)
    invite = call.must(call.invite(""), ALICE, BOB)
    call.must(call.response(invite, 200, body=sdp(BOB, 40000)), BOB, ALICE)
    call.must(call.request("ACK", body=sdp(ALICE)), ALICE, BOB)
    assert show(exchange, ALICE, sealed(ALICE, 1)).accept
    assert show(exchange, BOB, sealed(BOB, 1)).accept
    assert not show(exchange, BOB, sealed(ALICE, 2)).accept


def test_prack_and_update_change_keys_as_reinvites_do() -> None:
    """A reliable 183 answers, an UPDATE before the 200 brings another key."""
    exchange = made()
    call = Call(exchange)
    reliable = ("Require: 100rel", "RSeq: 1")
    invite = call.must(call.invite(extra=("Supported: 100rel",)), ALICE, BOB)
    call.must(call.response(invite, 183, body=sdp(BOB, 40000), extra=reliable), BOB, ALICE)
    call.ask("PRACK", extra=("RAck: 1 1 INVITE",))
    assert show(exchange, ALICE, sealed(ALICE, 1)).accept
    call.ask(
        "UPDATE",
        body=sdp(ALICE, key=OTHER_KEY, version=2),
        reply=sdp(BOB, 40000, version=2),
    )
    assert show(exchange, ALICE, NEXT.rtp(2)).accept
    call.must(call.response(invite, 200), BOB, ALICE)
    call.must(call.request("ACK", cseq=1), ALICE, BOB)
    exchange.wait(61)
    assert show(exchange, ALICE, NEXT.rtp(3)).accept
    assert not show(exchange, ALICE, sealed(ALICE, 4)).accept


def test_forks_of_one_offer_are_told_and_each_has_its_key() -> None:
    """SDE-10: every end that rang has the caller's key; the one that lost is closed and wiped."""
    exchange = made()
    call = Call(exchange)
    invite = call.must(call.invite(), ALICE, PROXY)
    call.must(call.response(invite, 183, body=sdp(BOB, 40000), to_tag="bob"), PROXY, ALICE)
    assert Reason.SDES_FORKED not in {finding.reason for finding in exchange.found}
    carols = sdp(CAROL, 40000, key=OTHER_KEY)
    call.must(call.response(invite, 183, body=carols, to_tag="carol"), PROXY, ALICE)
    assert [one.rule for one in exchange.found].count("SDE-10") == 1
    assert show(exchange, BOB, sealed(BOB, 1)).accept
    assert show(exchange, CAROL, NEXT.rtp(1), target=ALICE).accept
    assert not show(exchange, CAROL, sealed(BOB, 2), target=ALICE).accept
    call.must(call.response(invite, 200, body=carols, to_tag="carol"), PROXY, ALICE)
    call.to_tag = "carol"
    call.must(call.request("ACK"), ALICE, PROXY)
    bobs = [line for line in lines_of(exchange) if line.callee == octets(BOB)]
    exchange.wait(33)
    assert not exchange.hears(BOB, ALICE, 30000)
    assert [line.keys for line in bobs] == [None]
    assert show(exchange, CAROL, NEXT.rtp(5), target=ALICE).accept


def test_dtls_forks_are_no_leak_of_a_key() -> None:
    """A fingerprint is public: SDE-10 is about SDES alone."""
    exchange = made()
    call = Call(exchange)
    invite = call.must(call.invite(with_dtls(ALICE, "alice", "actpass")), ALICE, PROXY)
    for host, name in ((BOB, "bob"), (CAROL, "carol")):
        body = with_dtls(host, name, "active")
        call.must(call.response(invite, 183, body=body, to_tag=name), PROXY, ALICE)
    assert "SDE-10" not in {finding.rule for finding in exchange.found}


# --- two ways of one call, and two calls of one way


def through_proxy(exchange: Exchange, offer: str, answer: str) -> Call:
    """INVITE and 200 cross the gateway before the proxy and after it."""
    call = Call(exchange)
    invite = call.invite(offer)
    vias = [call.via(PROXY), *(via.decode() for via in parse_message(invite).values(b"via"))]
    second = call.request("INVITE", body=offer, in_dialog=False, vias=vias, cseq=1)
    call.must(invite, ALICE, PROXY)
    call.must(second, PROXY, BOB)
    call.must(call.response(second, 200, body=answer), BOB, PROXY)
    call.must(call.response(invite, 200, body=answer), PROXY, ALICE)
    return call


def test_two_ways_of_a_call_have_one_proof() -> None:
    """PIN-16: the same description crosses twice; what is proven is proven for both."""
    exchange = made()
    through_proxy(exchange, sdp(ALICE), sdp(BOB, 40000))
    assert show(exchange, ALICE, sealed(ALICE, 1)).accept
    lines = [line for line in lines_of(exchange) if line.holes()]
    assert len(lines) == 2
    assert lines[0].watch is not None
    assert lines[0].watch is lines[1].watch
    assert lines[0].watch.users == 2


def again(call: Call, offer: str, answer: str, status: int = 200) -> None:
    """A re-INVITE of the caller's on both ways, the far one answered first."""
    first = call.request("INVITE", body=offer)
    vias = [call.via(PROXY), *(via.decode() for via in parse_message(first).values(b"via"))]
    second = call.request("INVITE", body=offer, vias=vias, cseq=call.cseqs[ALICE])
    call.must(first, ALICE, PROXY)
    call.must(second, PROXY, BOB)
    body = answer if status < 300 else ""
    call.must(call.response(second, status, body=body), BOB, PROXY)
    call.must(call.response(first, status, body=body), PROXY, ALICE)


def zrtp_bodies(exchange: zrtp_builder.Exchange, version: int = 1) -> list[str]:
    return [
        sdp(
            host,
            PORTS[host],
            f"a=zrtp-hash:1.10 {side.hash.hex()}",
            proto="RTP/AVP",
            key="-",
            version=version,
        )
        for host, side in ((ALICE, exchange.initiator), (BOB, exchange.responder))
    ]


def test_a_zrtp_proof_holds_on_both_ways_of_a_call() -> None:
    """The exchange was seen once; no refresh on any way must ask for another."""
    exchange = made()
    zrtp = zrtp_builder.exchange()
    offer, answer = zrtp_bodies(zrtp)
    call = through_proxy(exchange, offer, answer)
    for by_caller, payload in zrtp.said():
        assert show(exchange, ALICE if by_caller else BOB, payload).accept
    assert show(exchange, ALICE, zrtp_builder.rtp(170, 1)).accept
    for version in (2, 3):
        offer, answer = zrtp_bodies(zrtp, version)
        again(call, offer, answer)
    offer, answer = zrtp_bodies(zrtp, 4)
    again(call, offer, answer, status=488)
    assert len(proven(exchange)) == 1
    assert show(exchange, BOB, zrtp_builder.rtp(170, 1)).accept
    assert {line.watch.users for line in lines_of(exchange) if line.watch is not None} == {2}


def test_new_keys_on_both_ways_are_one_change() -> None:
    """The far way changes first, the near one follows; the overlap is counted once."""
    exchange = made()
    call = through_proxy(exchange, sdp(ALICE), sdp(BOB, 40000))
    assert show(exchange, ALICE, sealed(ALICE, 1)).accept
    offer, answer = sdp(ALICE, key=OTHER_KEY, version=2), sdp(BOB, 40000, version=2)
    again(call, offer, answer)
    assert proven(exchange) == set()
    assert show(exchange, ALICE, NEXT.rtp(2)).accept
    assert show(exchange, ALICE, sealed(ALICE, 3)).accept
    lines = lines_of(exchange)
    assert len({id(line.watch) for line in lines}) == 1
    exchange.wait(61)
    assert not show(exchange, ALICE, sealed(ALICE, 4)).accept
    assert show(exchange, ALICE, NEXT.rtp(5)).accept
    far = lines[0].watch
    call.must(call.request("BYE"), ALICE, PROXY)
    exchange.wait(40)
    assert far is not None
    assert far.users == 0
    assert is_empty(exchange)


def test_new_keys_refused_on_both_ways_leave_the_old_ones() -> None:
    """PIN-8 with two ways: previews on both, then a refusal that comes back step by step."""
    exchange = made()
    call = through_proxy(exchange, sdp(ALICE), sdp(BOB, 40000))
    assert show(exchange, ALICE, sealed(ALICE, 1)).accept
    offer, answer = sdp(ALICE, key=OTHER_KEY, version=2), sdp(BOB, 40000, version=2)
    first = call.request("INVITE", body=offer)
    vias = [call.via(PROXY), *(via.decode() for via in parse_message(first).values(b"via"))]
    second = call.request("INVITE", body=offer, vias=vias, cseq=call.cseqs[ALICE])
    call.must(first, ALICE, PROXY)
    call.must(second, PROXY, BOB)
    for status in (183, 488):
        body = answer if status < 300 else ""
        call.must(call.response(second, status, body=body), BOB, PROXY)
        call.must(call.response(first, status, body=body), PROXY, ALICE)
        if status < 300:
            assert show(exchange, ALICE, NEXT.rtp(2)).accept
    assert not show(exchange, ALICE, NEXT.rtp(3)).accept
    assert show(exchange, ALICE, sealed(ALICE, 4), wait_s=2).accept
    assert proven(exchange) == {(octets(ALICE), 40000)}


def test_another_call_does_not_take_a_running_stream_over() -> None:
    """SDP-9: the same ends and ports under other keys, and the first would fall silent."""
    exchange, call = running()
    other = Call(exchange)
    offer, answer = sdp(ALICE, key=OTHER_KEY), sdp(BOB, 40000, key=KEYS[BOB][::-1])
    other.establish(offer, answer)
    assert Reason.HOLE_COLLISION in {finding.reason for finding in exchange.found}
    assert len(proven(exchange)) == 2
    other.ask("BYE")
    exchange.wait(70)
    assert show(exchange, ALICE, sealed(ALICE, 5)).accept
    assert call.has_media


def test_credentials_of_another_call_do_not_restart_ours() -> None:
    """SDP-9: the same ends and certificates, which are public, under other ICE passwords."""
    exchange, call = browsers()
    assert secured(exchange, ALICE, 1)
    other = Call(exchange)
    other.establish(browser(ALICE, "x"), browser(BOB, "x"))
    assert Reason.HOLE_COLLISION in {finding.reason for finding in exchange.found}
    assert len(proven(exchange)) == 1
    other.ask("BYE")
    assert call.exchange.hears(ALICE, BOB, 40000)


def test_a_telephone_that_came_up_again_gets_its_ports_back() -> None:
    """Its old call was never ended; nothing of that is heard any more."""
    exchange, _ = running()
    exchange.wait(60)
    other = Call(exchange)
    other.establish(sdp(ALICE, key=OTHER_KEY), sdp(BOB, 40000))
    assert show(exchange, ALICE, NEXT.rtp(1)).accept


def test_a_back_to_back_agent_that_copies_keys_shares_the_proof() -> None:
    """Two Call-IDs, one stream, one key: either call may end first."""
    exchange, call = running()
    other = Call(exchange)
    other.establish()
    assert Reason.HOLE_COLLISION not in {finding.reason for finding in exchange.found}
    call.ask("BYE")
    assert other.has_media
    assert show(exchange, ALICE, sealed(ALICE, 9)).accept
    other.ask("BYE")
    assert is_empty(exchange)


# --- ICE, BUNDLE and DTLS together, as browsers have it


def with_dtls(host: str, name: str, setup: str, *more: str, version: int = 1) -> str:
    digest = prints_of(identity(name))[0].digest
    row = "a=fingerprint:sha-256 " + ":".join(f"{octet:02X}" for octet in digest)
    rows = (row, f"a=setup:{setup}", "a=rtcp-mux", *more)
    port = PORTS.get(host, 40000)
    return sdp(host, port, *rows, proto="UDP/TLS/RTP/SAVPF", key="-", version=version)


def ice_rows(host: str, suffix: str = "", *, candidates: bool = True) -> tuple[str, ...]:
    is_caller = host == ALICE
    rows = [
        f"a=ice-ufrag:{UFRAGS[is_caller].decode()}{suffix}",
        f"a=ice-pwd:{PWDS[is_caller].decode()}{suffix}",
    ]
    if candidates:
        rows.append(f"a=candidate:1 1 UDP 2130706431 {host} {PORTS[host]} typ host")
    return tuple(rows)


def browser(host: str, suffix: str = "", *more: str, version: int = 1) -> str:
    """A browser's description: nothing in m= and c=, all in candidates; audio and video."""
    setup, name = ("actpass", "alice") if host == ALICE else ("active", "bob")
    video = (
        "a=mid:0",
        "m=video 9 UDP/TLS/RTP/SAVPF 96",
        "a=mid:1",
        "a=rtcp-mux",
        "a=setup:" + setup,
    )
    digest = prints_of(identity(name))[0].digest
    row = "a=fingerprint:sha-256 " + ":".join(f"{octet:02X}" for octet in digest)
    text = with_dtls(
        host,
        name,
        setup,
        *ice_rows(host, suffix),
        *more,
        *video,
        row,
        *ice_rows(host, suffix, candidates=False),
        version=version,
    )
    text = text.replace(f"c=IN IP4 {host}", "c=IN IP4 0.0.0.0").replace(
        f"m=audio {PORTS[host]}", "m=audio 9"
    )
    return text.replace("t=0 0", "t=0 0\r\na=group:BUNDLE 0 1", 1)


def check_both_ways(exchange: Exchange, suffix: bytes = b"") -> bool:
    passed = []
    for source, target in ((ALICE, BOB), (BOB, ALICE)):
        by_caller = source == ALICE
        name = UFRAGS[not by_caller] + suffix + b":" + UFRAGS[by_caller] + suffix
        asks = request(name, PWDS[not by_caller] + suffix)
        passed.append(show(exchange, source, asks).accept)
        passed.append(show(exchange, target, success(PWDS[not by_caller] + suffix)).accept)
    return all(passed)


def shake_hands(exchange: Exchange) -> bool:
    def passes(datagram: Datagram) -> bool:
        return show(exchange, BOB if datagram.by_client else ALICE, datagram.octets).accept

    client = end(identity("bob"), is_client=True)
    return talk(client, end(identity("alice"), is_client=False), passes)


def secured(exchange: Exchange, host: str, first: int, payload_type: int = 0) -> bool:
    return all(
        show(exchange, host, zrtp_builder.rtp(170, first + at, payload_type)).accept
        for at in range(3)
    )


def browsers() -> tuple[Exchange, Call]:
    exchange = made()
    call = Call(exchange)
    call.establish(browser(ALICE), browser(BOB))
    assert check_both_ways(exchange)
    assert shake_hands(exchange)
    return exchange, call


def test_two_browsers_have_one_path_with_all_in_it() -> None:
    """PIN-12, PIN-13, DTL-4: checks, one handshake, audio and video, one pinhole each way."""
    exchange, _ = browsers()
    assert len(exchange.holes) == 2
    assert secured(exchange, ALICE, 1)
    assert secured(exchange, BOB, 1, payload_type=96)
    assert len(proven(exchange)) == 2
    assert exchange.records == []


def test_a_restart_of_ice_keeps_the_handshake() -> None:
    """RFC 8842 section 4: new checks, the same association; media goes on for good."""
    exchange, call = browsers()
    assert secured(exchange, ALICE, 1)
    call.reinvite(ALICE, browser(ALICE, "x", version=2), browser(BOB, "x", version=2))
    assert secured(exchange, ALICE, 5)
    assert check_both_ways(exchange, b"x")
    exchange.wait(90)
    assert check_both_ways(exchange, b"x")
    assert secured(exchange, ALICE, 10)
    assert secured(exchange, BOB, 10)
    assert len(proven(exchange)) == 2
    call.ask("BYE")
    assert is_empty(exchange)


def test_a_restart_that_fails_leaves_the_old_ways() -> None:
    """PIN-8: previewed and refused; the checked ways and the handshake still count."""
    exchange, call = browsers()
    assert secured(exchange, ALICE, 1)
    offer = call.must(call.request("INVITE", body=browser(ALICE, "x", version=2)), ALICE, BOB)
    call.must(call.response(offer, 183, body=browser(BOB, "x", version=2)), BOB, ALICE)
    call.must(call.response(offer, 488), BOB, ALICE)
    exchange.wait(2)
    assert secured(exchange, ALICE, 5)
    assert check_both_ways(exchange)
    assert len(proven(exchange)) == 1


def test_an_ice_call_survives_hold_and_refresh() -> None:
    """The same credentials: nothing is asked for anew."""
    exchange, call = browsers()
    assert secured(exchange, ALICE, 1)
    call.reinvite(
        ALICE,
        browser(ALICE, "", "a=sendonly", version=2),
        browser(BOB, "", "a=recvonly", version=2),
    )
    call.reinvite(ALICE, browser(ALICE, version=3), browser(BOB, version=3))
    exchange.proven.clear()
    exchange.wait(2)
    assert secured(exchange, ALICE, 5)
    assert len(proven(exchange)) == 1


def test_a_candidate_that_comes_later_gets_its_pinhole() -> None:
    """UPDATE or re-INVITE under the same credentials: one more pair, the proof stays."""
    exchange, call = browsers()
    assert secured(exchange, ALICE, 1)
    third = "a=candidate:2 1 UDP 1694498815 203.0.113.9 30000 typ srflx raddr 0.0.0.0 rport 9"
    call.ask("UPDATE", body=browser(ALICE, "", third, version=2), reply=browser(BOB, version=2))
    assert exchange.hears("203.0.113.9", BOB, 40000)
    assert len(proven(exchange)) == 1


@pytest.mark.parametrize(
    "candidate",
    [
        "224.0.0.5 30000",
        "127.0.0.1 30000",
        f"{ALICE} 1023",
        f"{ALICE} 5060",
        f"{ALICE} 5061",
        "255.255.255.255 30000",
        "169.254.1.1 30000",
        "ff02::1 30000",
        "::1 30000",
    ],
)
def test_candidates_that_no_media_may_go_to(candidate: str) -> None:
    """SDP-3, SDP-8: multicast, loopback, SIP's own ports, anything below 1024."""
    exchange = made()
    row = f"a=candidate:2 1 UDP 1694498815 {candidate} typ host"
    Call(exchange).establish(browser(ALICE, "", row), browser(BOB))
    assert len(exchange.holes) == 2


def test_ice_mismatch_uses_the_default_addresses() -> None:
    """PIN-17: an ALG has rewritten c= and m=; without ICE the plain pinholes."""
    exchange = made()
    answer = with_dtls(BOB, "bob", "active", "a=ice-mismatch")
    Call(exchange).establish(with_dtls(ALICE, "alice", "actpass", *ice_rows(ALICE)), answer)
    assert exchange.hears(ALICE, BOB, 40000)
    assert exchange.hears(BOB, ALICE, 30000)
    assert Reason.ICE_MISMATCH in {finding.reason for finding in exchange.found}


def test_an_ice_lite_end_only_answers_checks() -> None:
    """A server with a public address: one side's checks are enough."""
    exchange = made()
    answer = browser(BOB).replace("t=0 0", "t=0 0\r\na=ice-lite", 1)
    Call(exchange).establish(browser(ALICE), answer)
    asks = request(UFRAGS[False] + b":" + UFRAGS[True], PWDS[False])
    assert show(exchange, ALICE, asks).accept
    assert show(exchange, BOB, success(PWDS[False])).accept
    assert shake_hands(exchange)
    assert secured(exchange, BOB, 1)
    assert len(proven(exchange)) == 1


# --- budgets and families


LIMITED = "max-pinholes-per-call 4\nmax-pinholes-per-peer 6\n"


def test_a_call_has_so_many_pinholes_and_no_more() -> None:
    """GEN-3: the third stream gets none, and leaves no key behind that nobody uses."""
    exchange = made(settings="max-pinholes-per-call 8\n")
    lines = [
        "\r\n".join([f"m=audio {port} RTP/SAVP 0", f"a=crypto:1 {SUITE} inline:{key}"])
        for port in (31000, 32000)
        for key in (b64encode(bytes((port // 1000,)) * 30).decode(),)
    ]
    theirs = [
        "\r\n".join([f"m=audio {port} RTP/SAVP 0", f"a=crypto:1 {SUITE} inline:{key}"])
        for port in (41000, 42000)
        for key in (b64encode(bytes((port // 1000,)) * 30).decode(),)
    ]
    Call(exchange).establish(sdp(ALICE, 30000, *lines), sdp(BOB, 40000, *theirs))
    assert len(exchange.holes) == 8
    assert Reason.HOLE_LIMIT in {finding.reason for finding in exchange.found}


def test_a_peer_has_so_many_pinholes_in_all_its_calls() -> None:
    """One host cannot fill the table for all; its second call gets nothing."""
    exchange = made(settings=LIMITED)
    first, second = Call(exchange), Call(exchange)
    first.establish()
    second.establish(sdp(ALICE, 31000), sdp(BOB, 41000))
    assert len(exchange.holes) == 4
    assert Reason.HOLE_LIMIT in {finding.reason for finding in exchange.found}
    first.ask("BYE")
    second.reinvite(ALICE, sdp(ALICE, 31000, version=2), sdp(BOB, 41000, version=2))
    assert exchange.hears(ALICE, BOB, 41000)


def test_both_families_in_one_offer_open_the_pairs_that_fit() -> None:
    """ICE with IPv4 and IPv6 candidates: each pairs with its like."""
    exchange = made()
    rows = {ALICE: "fd20:1::2", BOB: "fd20:2::2"}
    bodies = [
        browser(host, "", f"a=candidate:2 1 UDP 2130706400 {rows[host]} {PORTS[host]} typ host")
        for host in PORTS
    ]
    Call(exchange).establish(bodies[0], bodies[1])
    assert len(exchange.holes) == 4
    assert exchange.hears(rows[ALICE], rows[BOB], 40000)
    assert not exchange.hears(rows[ALICE], BOB, 40000)


def test_a_refused_line_leaves_no_share_of_a_proof() -> None:
    """The budget is used up when a re-INVITE moves: nothing counts the old proof twice."""
    exchange = made(settings="max-pinholes-per-call 2\n")
    call = Call(exchange)
    offer, answer = with_dtls(ALICE, "alice", "actpass"), with_dtls(BOB, "bob", "active")
    call.establish(offer, answer)
    shake_hands(exchange)
    (line,) = lines_of(exchange)
    watch = line.watch
    assert watch is not None
    moved = offer.replace("m=audio 30000", "m=audio 32000").replace("o=- 1 1", "o=- 1 2")
    call.reinvite(ALICE, moved, answer.replace("o=- 1 1", "o=- 1 2"))
    assert Reason.HOLE_LIMIT in {finding.reason for finding in exchange.found}
    call.ask("BYE")
    exchange.wait(61)
    assert watch.users == 0
    assert is_empty(exchange)
