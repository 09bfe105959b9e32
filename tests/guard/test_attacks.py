"""What a thief or a vandal sends does not pass the strict policy, whatever he has sniffed."""

from dataclasses import replace

import pytest
from exchange import (
    ACCOMPLICE,
    ALICE,
    ALICE6,
    BOB,
    BOB6,
    CAROL,
    MALLORY,
    MALLORY6,
    OTHER_KEY,
    PROXY,
    SUITE,
    Call,
    Exchange,
    policy_of,
    sdp,
)

from sipguard.wire.sip import parse_message


class TestForgedInDialog:
    """Requests inside a call, from a host that is not on its path."""

    @pytest.mark.parametrize("as_callee", [False, True])
    @pytest.mark.parametrize(
        "method",
        ["BYE", "INVITE", "UPDATE", "INFO", "REFER", "PRACK", "ACK", "MESSAGE", "NOTIFY",
         "OPTIONS", "SUBSCRIBE", "PUBLISH", "REGISTER", "FOO"],
    )  # fmt: skip
    @pytest.mark.parametrize("disguise", ["own", "victim-via", "received", "route"])
    def test_from_a_third_host(
        self, call: Call, method: str, disguise: str, as_callee: bool
    ) -> None:
        """All identifiers right and any Via, Route or Contact: only the host is wrong."""
        sender, target = (BOB, ALICE) if as_callee else (ALICE, BOB)
        via = call.via(MALLORY)
        extra = []
        match disguise:
            case "victim-via":
                via = call.via(sender)
            case "received":
                via = call.via(sender, more=f";received={sender}")
            case "route":
                extra = [f"Route: <sip:{sender};lr>", f"Record-Route: <sip:{MALLORY};lr>"]
            case _:
                pass
        body = sdp(MALLORY, 30000, version=2) if method in ("INVITE", "UPDATE", "ACK") else ""
        cseq = 1 if method == "ACK" else 0
        forged = call.request(
            method, sender, vias=[via], body=body, extra=extra, cseq=cseq,
            contact=f"<sip:x@{MALLORY}>",
        )  # fmt: skip
        before = set(call.exchange.holes)
        assert not call.exchange.send(forged, MALLORY, target), call.exchange.why()
        assert call.exchange.holes == before
        call.hang_up()

    @pytest.mark.parametrize("method", ["BYE", "INVITE", "UPDATE", "INFO"])
    def test_over_ipv6(self, exchange: Exchange, method: str) -> None:
        """The same over IPv6."""
        call = Call(exchange, ALICE6, BOB6)
        call.establish(sdp(ALICE6, key=OTHER_KEY), sdp(BOB6, 40000, key=OTHER_KEY[::-1]))
        assert not exchange.send(call.request(method), MALLORY6, BOB6)

    def test_accomplice_cannot_join_a_call(self, call: Call) -> None:
        """An INVITE with the call's identifiers, answered by an accomplice with its To tag.

        Neither of the two becomes a host of the call by that.
        """
        exchange = call.exchange
        for method in ("INVITE", "SUBSCRIBE", "REFER"):
            extra = ["Event: dialog", f"Refer-To: <sip:x@{CAROL}>"] * (method != "INVITE")
            request = call.request(
                method, in_dialog=False, cseq=77, extra=extra, body=sdp(MALLORY),
                vias=[call.via(MALLORY)], contact=f"<sip:m@{MALLORY}>",
            )  # fmt: skip
            exchange.send(request, MALLORY, ACCOMPLICE)
            for status in (183, 200):
                answer = call.response(
                    request, status, body=sdp(ACCOMPLICE, 40000), contact=f"<sip:m@{ACCOMPLICE}>"
                )
                exchange.send(answer, ACCOMPLICE, MALLORY)
            assert not exchange.send(call.request("BYE"), MALLORY, BOB), method
            assert not exchange.send(call.request("BYE", BOB), ACCOMPLICE, ALICE), method
        assert call.has_media

    def test_accomplice_cannot_join_a_ringing_call(self, exchange: Exchange) -> None:
        """The same while it rings, and with the tags the other way round."""
        call = Call(exchange)
        call.ring()
        for from_tag, to_tag in ((call.from_tag, call.to_tag), (call.to_tag, call.from_tag)):
            request = call.request(
                "INVITE", in_dialog=False, cseq=78, from_tag=from_tag, body=sdp(MALLORY),
                vias=[call.via(MALLORY)], contact=f"<sip:m@{MALLORY}>",
            )  # fmt: skip
            exchange.send(request, MALLORY, ACCOMPLICE)
            answer = call.response(request, 200, body=sdp(ACCOMPLICE, 40000), to_tag=to_tag)
            exchange.send(answer, ACCOMPLICE, MALLORY)
        assert not exchange.send(call.request("UPDATE"), MALLORY, BOB)
        assert not exchange.send(call.request("BYE"), MALLORY, BOB)

    def test_old_request_of_the_call_again(self, call: Call) -> None:
        """A request of the call itself, recorded, under another branch and after its time."""
        recorded = call.ask("INFO", body="Signal=1", kind="application/dtmf-relay")
        call.exchange.wait(40)
        assert not call.exchange.send(recorded, ALICE, BOB)
        assert not call.exchange.send(recorded, MALLORY, BOB)


class TestForgedCancel:
    """CANCEL cannot be challenged, so it has to fit."""

    def cancel(self, call: Call, invite: bytes, **more: object) -> bytes:
        read = parse_message(invite)
        options: dict[str, object] = {
            "vias": [read.values(b"via")[0].decode()],
            "uri": read.uri.decode(),
            "cseq": 1,
            "contact": "",
            "in_dialog": False,
        } | more
        return call.request("CANCEL", **options)  # type: ignore[arg-type]

    def test_from_elsewhere(self, exchange: Exchange) -> None:
        """From another host, and from another port of the caller's own host."""
        call = Call(exchange)
        cancel = self.cancel(call, call.ring())
        assert not exchange.send(cancel, MALLORY, BOB)
        assert not exchange.send(cancel, ALICE, BOB, (5062, 5060))
        assert exchange.send(cancel, ALICE, BOB)

    @pytest.mark.parametrize(
        "change",
        [
            {"cseq": 2},
            {"uri": f"sip:other@{BOB}"},
            {"from_tag": "other"},
            {"vias": ["SIP/2.0/UDP x;branch=z9hG4bKguess"]},
        ],
    )
    def test_that_does_not_fit(self, exchange: Exchange, change: dict[str, object]) -> None:
        """Any identifier that differs."""
        call = Call(exchange)
        assert not exchange.send(self.cancel(call, call.ring(), **change), ALICE, BOB)


class TestReplay:
    """A recorded INVITE again."""

    def changed(self, invite: bytes, change: str) -> bytes:
        fresh = invite.replace(b"branch=z9hG4bK", b"branch=z9hG4bKnew")
        match change:
            case "branch":
                return fresh
            case "from":
                return fresh.replace(b"<sip:alice@10.20.1.2>", b"<sip:boss@10.20.1.2>")
            case "from-same-branch":
                return invite.replace(b"<sip:alice@10.20.1.2>", b"<sip:boss@10.20.1.2>")
            case "display":
                return fresh.replace(b"From: <", b'From: "The Boss" <')
            case "to":
                return fresh.replace(b"To: <sip:bob@", b"To: <sip:eve@")
            case "contact":
                return fresh.replace(
                    b"Contact: <sip:alice@10.20.1.2", b"Contact: <sip:alice@10.20.1.9"
                )
            case "body":
                return fresh.replace(b"m=audio 30000", b"m=audio 30006")
            case "tag":
                return fresh.replace(b";tag=f", b";tag=g")
            case "uri":
                return fresh.replace(b"INVITE sip:x@", b"INVITE sip:y@")
            case _:
                return invite

    CHANGES = (
        "none",
        "branch",
        "from",
        "from-same-branch",
        "display",
        "to",
        "contact",
        "body",
        "tag",
        "uri",
    )

    @pytest.mark.parametrize("source", [ALICE, MALLORY])
    @pytest.mark.parametrize("after_s", [1, 35, 600])
    @pytest.mark.parametrize("change", CHANGES)
    def test_after_the_call(
        self, exchange: Exchange, change: str, after_s: int, source: str
    ) -> None:
        """When the call is over nothing of it can be used again, by nobody."""
        call = Call(exchange)
        invite = call.establish()
        call.hang_up()
        exchange.wait(after_s)
        again = self.changed(invite, change)
        assert not exchange.send(again, source, BOB), exchange.why()

    @pytest.mark.parametrize("change", [c for c in CHANGES if c != "none"])
    def test_while_it_rings(self, exchange: Exchange, change: str) -> None:
        """While it rings only the retransmission itself passes."""
        call = Call(exchange)
        invite = call.ring()
        assert exchange.send(invite, ALICE, BOB)
        for source in (ALICE, MALLORY):
            assert not exchange.send(self.changed(invite, change), source, BOB), source

    def test_from_another_host_while_it_rings(self, exchange: Exchange) -> None:
        """Not even octet by octet."""
        call = Call(exchange)
        assert not exchange.send(call.ring(), MALLORY, BOB)

    def test_behind_a_made_up_proxy(self, exchange: Exchange) -> None:
        """With another Via on top, after the call was answered."""
        call = Call(exchange)
        invite = call.establish()
        via = call.via(MALLORY).encode()
        dressed = invite.replace(b"\r\nVia:", b"\r\nVia: " + via + b"\r\nVia:", 1)
        assert not exchange.send(dressed, MALLORY, BOB)

    @pytest.mark.parametrize("target", [BOB, ACCOMPLICE])
    def test_behind_a_made_up_proxy_while_it_rings(self, exchange: Exchange, target: str) -> None:
        """With another Via on top while it rings it may look like a spiral, but joins nothing.

        A proxy with two addresses does the same, so the copy itself passes.
        """
        call = Call(exchange)
        invite = call.ring()
        via = call.via(MALLORY).encode()
        dressed = invite.replace(b"\r\nVia:", b"\r\nVia: " + via + b"\r\nVia:", 1)
        exchange.send(dressed, MALLORY, target)
        for status in (183, 200):
            answer = call.response(dressed, status, body=sdp(target, 41000))
            if target == ACCOMPLICE:
                assert not exchange.send(answer, target, MALLORY)
        exchange.send(call.response(dressed, 482, to_tag="merged"), target, MALLORY)
        assert not exchange.send(call.request("BYE"), MALLORY, BOB)
        call.must(call.response(invite, 200, body=sdp(BOB, 40000)), BOB, ALICE)
        call.must(call.request("ACK", cseq=1), ALICE, BOB)
        assert call.has_media

    @pytest.mark.parametrize("method", ["REGISTER", "MESSAGE", "PUBLISH", "OPTIONS"])
    def test_of_other_methods(self, exchange: Exchange, method: str) -> None:
        """A recorded request without a call, once it was answered and forgotten."""
        call = Call(exchange)
        recorded = call.ask(method, in_dialog=False)
        exchange.wait(40)
        for source in (ALICE, MALLORY):
            assert not exchange.send(recorded, source, BOB)
            fresh = recorded.replace(b"branch=z9hG4bK", b"branch=z9hG4bKnew")
            assert not exchange.send(fresh, source, BOB)


class TestForgedResponses:
    """Responses that answer nothing, or come from somebody else."""

    @pytest.mark.parametrize("status", [100, 180, 183, 200, 302, 401, 404, 487, 503, 603])
    def test_of_a_third_host(self, exchange: Exchange, status: int) -> None:
        """Somebody else answers the call."""
        call = Call(exchange)
        invite = call.must(call.invite(), ALICE, BOB)
        answer = call.response(invite, status, body=sdp(MALLORY, 40000), to_tag="m")
        assert not exchange.send(answer, MALLORY, ALICE)
        assert not exchange.send(answer, ACCOMPLICE, ALICE)
        assert not exchange.send(answer, BOB, MALLORY)
        assert not exchange.holes

    def test_second_answer_with_other_media(self, exchange: Exchange) -> None:
        """A second 200 under the same To tag opens nothing else, whoever sends it."""
        call = Call(exchange)
        invite = call.establish()
        before = set(exchange.holes)
        for host, address in ((MALLORY, MALLORY), (BOB, MALLORY), (BOB, BOB)):
            again = call.response(invite, 200, body=sdp(address, 45000))
            exchange.send(again, host, ALICE)
        assert exchange.holes == before

    def test_flood_of_answers(self, exchange: Exchange) -> None:
        """The callee repeats one answer far oftener than any timer would."""
        call = Call(exchange)
        invite = call.ring()
        ringing = call.response(invite, 180)
        exchange.step_s = 0.001
        assert sum(exchange.send(ringing, BOB, ALICE) for _ in range(3000)) < 600


class TestFloods:
    """More than any telephone sends."""

    @pytest.mark.parametrize("method", ["INFO", "MESSAGE", "OPTIONS", "UPDATE", "NOTIFY"])
    def test_inside_a_call(self, call: Call, method: str) -> None:
        """A party of a call floods the other one with requests of that call."""
        sent = [call.request(method) for _ in range(3000)]
        call.exchange.step_s = 0.001
        assert sum(call.exchange.send(request, ALICE, BOB) for request in sent) < 600
        call.hang_up(BOB)  # at once: the flood of one end does not drown the other

    def test_of_acks(self, call: Call) -> None:
        """ACKs to a 2xx have no transaction, but an end."""
        acks = [call.request("ACK", cseq=1) for _ in range(3000)]
        call.exchange.step_s = 0.001
        assert sum(call.exchange.send(ack, ALICE, BOB) for ack in acks) < 600

    def test_of_copies(self, exchange: Exchange) -> None:
        """One accepted request a thousand times."""
        call = Call(exchange)
        invite = call.must(call.invite(), ALICE, BOB)
        assert sum(exchange.send(invite, ALICE, BOB) for _ in range(1000)) < 20

    def test_of_subscriptions_does_not_forget_ringing_calls(self, exchange: Exchange) -> None:
        """One phone subscribes as fast as the policy lets it; others go on ringing."""
        call = Call(exchange)
        call.ring()
        for _ in range(15_000):
            exchange.now_s += 0.001
            spam = Call(exchange, MALLORY, BOB)
            request = spam.request("SUBSCRIBE", in_dialog=False, extra=["Event: x"])
            exchange.send(request, MALLORY, BOB)
        assert exchange.send(call.request("UPDATE"), ALICE, BOB), exchange.why()

    def test_of_answered_subscriptions_does_not_forget_calls(self) -> None:
        """Nor does it when an accomplice accepts every one of them."""
        exchange = Exchange(replace(policy_of("strict.policy"), max_dialogs=100))
        call = Call(exchange)
        call.establish()
        for _ in range(200):
            spam = Call(exchange, MALLORY, ACCOMPLICE)
            spam.ask("SUBSCRIBE", in_dialog=False, extra=["Event: x"])
        exchange.wait(2)
        assert call.has_media
        call.hang_up()


class TestDescriptions:
    """Media addresses that nobody may aim at."""

    @pytest.mark.parametrize(
        "line",
        [
            "c=IN IP4 10.20.9.9", "c=IN IP4 224.2.2.2/127", "c=IN IP4 255.255.255.255",
            "c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0", "c=IN IP4 169.254.1.1",
            "c=IN IP6 ::ffff:10.20.2.2", "c=IN IP4 host.example.org", "c=IN IP4 10.20.2.2/2",
            "c=IN IP4 010.020.002.002", "c=IN IP4 0x0a140202", "c=IN IP4 169083394",
            "c=IN IP6 ::1", "c=IN IP6 fe80::1", "c=IN IP6 10.20.2.2", "c=TN RFC2543 x",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("level", ["session", "media"])
    def test_addresses(self, exchange: Exchange, line: str, level: str) -> None:
        """No hole leads to or comes from any of them."""
        answer = sdp(BOB, 40000)
        if level == "session":
            answer = answer.replace(f"c=IN IP4 {BOB}", line)
        else:
            answer = answer.replace("RTP/SAVP 0\r\n", f"RTP/SAVP 0\r\n{line}\r\n")
        call = Call(exchange)
        invite = call.must(call.invite(), ALICE, BOB)
        exchange.send(call.response(invite, 200, body=answer), BOB, ALICE)
        assert not exchange.holes

    @pytest.mark.parametrize(
        "port",
        [
            "1",
            "22",
            "53",
            "1023",
            "5060",
            "5061",
            "65536",
            "99999",
            "-1",
            "30000x",
            "3_0",
            "+40000",
            "0",
        ],
    )
    def test_ports(self, exchange: Exchange, port: str) -> None:
        """No hole leads to a port that is none of media."""
        answer = sdp(BOB, 40000).replace("m=audio 40000", f"m=audio {port}")
        call = Call(exchange)
        invite = call.must(call.invite(), ALICE, BOB)
        exchange.send(call.response(invite, 200, body=answer), BOB, ALICE)
        assert not [hole for hole in exchange.holes if hole.port not in (30000, 30001)]
        assert not exchange.hears(ALICE, BOB, 0)

    @pytest.mark.parametrize(
        "attribute",
        ["a=rtcp:5060", "a=rtcp:53 IN IP4 10.20.9.9", "a=rtcp:40009 IN IP4 10.20.9.9",
         "a=rtcp:22", "a=candidate:1 1 UDP 1 10.20.9.9 5000 typ host"],
    )  # fmt: skip
    def test_rtcp_elsewhere(self, exchange: Exchange, attribute: str) -> None:
        """a=rtcp names neither another host nor a service."""
        call = Call(exchange)
        call.establish(None, sdp(BOB, 40000, attribute))
        assert {hole.port for hole in exchange.holes} <= {30000, 30001, 40000, 40001}

    def test_many_lines(self, exchange: Exchange) -> None:
        """A thousand m= lines open no thousand holes, and cost no second."""
        lines = "".join(
            f"m=audio {20000 + 2 * n} RTP/SAVP 0\r\na=crypto:1 {SUITE} inline:{OTHER_KEY}\r\n"
            for n in range(15)
        )
        call = Call(exchange)
        invite = call.must(call.invite(sdp(ALICE) + lines), ALICE, BOB)
        theirs = lines.replace(OTHER_KEY, OTHER_KEY[::-1])
        exchange.send(call.response(invite, 200, body=sdp(BOB, 40000) + theirs), BOB, ALICE)
        assert len(exchange.holes) <= 64

    @pytest.mark.parametrize("method", ["OPTIONS", "MESSAGE", "INFO", "NOTIFY", "REFER", "PUBLISH"])
    def test_of_other_methods(self, call: Call, method: str) -> None:
        """A description in a message that negotiates nothing opens nothing."""
        before = set(call.exchange.holes)
        for in_dialog in (True, False):
            request = call.request(
                method, body=sdp(ALICE, 33000), in_dialog=in_dialog,
                extra=["Event: x", "Refer-To: <sip:c@d>"], cseq=call.exchange.number() + 500,
            )  # fmt: skip
            call.exchange.send(request, ALICE, BOB)
            call.exchange.send(call.response(request, 200, body=sdp(BOB, 43000)), BOB, ALICE)
        assert call.exchange.holes == before

    def test_answer_in_an_ack_without_an_offer(self, call: Call) -> None:
        """An ACK with a description to a call that is settled already."""
        before = set(call.exchange.holes)
        call.exchange.send(call.request("ACK", cseq=1, body=sdp(ALICE, 33000)), ALICE, BOB)
        assert call.exchange.holes == before

    def test_downgrade_in_the_middle(self, call: Call) -> None:
        """A re-INVITE to clear RTP is refused; an answer that drops the key loses the hole."""
        plain = sdp(ALICE, 30000, proto="RTP/AVP", key="-", version=2)
        assert not call.exchange.send(call.request("INVITE", body=plain), ALICE, BOB)
        assert call.has_media
        optional = sdp(ALICE, 30000, proto="RTP/AVP", version=3)
        request = call.must(call.request("INVITE", body=optional), ALICE, BOB)
        answer = sdp(BOB, 40000, proto="RTP/AVP", key="-", version=2)
        call.exchange.send(call.response(request, 200, body=answer), BOB, ALICE)
        assert not call.has_media

    def test_one_stream_of_two_is_clear(self, exchange: Exchange) -> None:
        """Only the keyed stream gets holes."""
        clear = "m=video 31000 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
        call = Call(exchange)
        invite = call.must(call.invite(sdp(ALICE) + clear), ALICE, BOB)
        answer = sdp(BOB, 40000) + clear.replace("31000", "41000")
        exchange.send(call.response(invite, 200, body=answer), BOB, ALICE)
        assert {hole.port for hole in exchange.holes} == {30000, 30001, 40000, 40001}

    @pytest.mark.parametrize("kind", ["mixed", "alternative", "related", "unheard"])
    def test_hidden_second_description(self, exchange: Exchange, kind: str) -> None:
        """Two descriptions in one body: at most the one that everybody reads opens holes."""
        parts = [sdp(ALICE), sdp(ALICE, 36000)]
        body = "".join(f"--b\r\nContent-Type: application/sdp\r\n\r\n{part}\r\n" for part in parts)
        call = Call(exchange)
        invite = call.invite(body + "--b--\r\n", kind=f"multipart/{kind};boundary=b")
        passed = exchange.send(invite, ALICE, BOB)
        if passed:
            exchange.send(call.response(invite, 200, body=sdp(BOB, 40000)), BOB, ALICE)
        assert not exchange.hears(BOB, ALICE, 36000) or not exchange.hears(BOB, ALICE, 30000)

    @pytest.mark.parametrize(
        "kind",
        [
            "APPLICATION/SDP",
            "application/sdp ; charset=x",
            'application/sdp;a="b;c"',
            "Application / SDP",
        ],
    )
    def test_clear_offer_under_an_odd_type(self, exchange: Exchange, kind: str) -> None:
        """A clear offer is refused however its type is spelt."""
        plain = sdp(ALICE, 30000, proto="RTP/AVP", key="-")
        assert not exchange.send(Call(exchange).invite(plain, kind=kind), ALICE, BOB)

    @pytest.mark.parametrize(
        "extra", ["Content-Encoding: gzip", "e: deflate", "Content-Disposition: render"]
    )
    def test_clear_offer_in_disguise_opens_nothing(self, exchange: Exchange, extra: str) -> None:
        """What cannot be read opens no hole, whatever is answered."""
        plain = sdp(ALICE, 30000, proto="RTP/AVP", key="-")
        call = Call(exchange)
        invite = call.invite(plain, extra=[extra])
        if exchange.send(invite, ALICE, BOB):
            answer = sdp(BOB, 40000, proto="RTP/AVP", key="-")
            exchange.send(call.response(invite, 200, body=answer, extra=[extra]), BOB, ALICE)
            exchange.send(call.request("ACK", body=plain), ALICE, BOB)
        assert not exchange.holes


class TestHoleLife:
    """A hole lives no longer than its reason."""

    def test_not_before_the_answer(self, exchange: Exchange) -> None:
        """An offer alone opens nothing (PIN-1)."""
        Call(exchange).ring()
        assert not exchange.holes

    @pytest.mark.parametrize("status", [200, 403, 481, 500])
    def test_not_after_bye(self, call: Call, status: int) -> None:
        """Whatever the answer to BYE is."""
        call.ask("BYE", answer=status)
        assert not call.exchange.holes

    def test_not_after_a_bye_that_nobody_answers(self, call: Call) -> None:
        """64*T1 after the BYE at the latest."""
        call.must(call.request("BYE"), ALICE, BOB)
        call.exchange.wait(70)
        assert not call.exchange.holes

    def test_not_after_the_failure_of_the_call(self, exchange: Exchange) -> None:
        """Early media ends with the refusal."""
        call = Call(exchange)
        invite = call.must(call.invite(), ALICE, BOB)
        call.must(call.response(invite, 183, body=sdp(BOB, 40000)), BOB, ALICE)
        assert call.has_media
        call.must(call.response(invite, 487), BOB, ALICE)
        assert not exchange.holes
        exchange.send(call.response(invite, 200, body=sdp(BOB, 40000)), BOB, ALICE)
        exchange.send(call.response(invite, 183, body=sdp(BOB, 40000)), BOB, ALICE)
        assert not exchange.holes

    def test_not_for_a_call_that_rings_forever(self, exchange: Exchange) -> None:
        """Early media of an INVITE without a final answer ends with timer C."""
        call = Call(exchange)
        invite = call.must(call.invite(), ALICE, BOB)
        call.must(call.response(invite, 183, body=sdp(BOB, 40000)), BOB, ALICE)
        exchange.wait(300)
        assert not exchange.holes

    def test_not_after_the_session_timer(self, exchange: Exchange) -> None:
        """A call whose refresh does not come is over."""
        call = Call(exchange)
        invite = call.must(call.invite(), ALICE, BOB)
        timer = ["Session-Expires: 90;refresher=uac"]
        call.must(call.response(invite, 200, body=sdp(BOB, 40000), extra=timer), BOB, ALICE)
        call.must(call.request("ACK"), ALICE, BOB)
        exchange.wait(200)
        assert not exchange.holes

    def test_late_messages_of_an_ended_call_open_nothing(self, call: Call) -> None:
        """A re-INVITE, an UPDATE, an answer after the end."""
        invite = call.must(call.request("INVITE", body=sdp(ALICE, 31000, version=2)), ALICE, BOB)
        call.hang_up()
        exchange = call.exchange
        exchange.send(call.response(invite, 200, body=sdp(BOB, 41000, version=2)), BOB, ALICE)
        update = call.request("UPDATE", body=sdp(ALICE, 32000, version=3))
        exchange.send(update, ALICE, BOB)
        exchange.send(call.response(update, 200, body=sdp(BOB, 42000, version=3)), BOB, ALICE)
        assert not exchange.holes


class TestRegistration:
    """Names are not taken over."""

    def register(self, call: Call, source: str, *, credentials: bool, cseq: int = 1) -> bytes:
        call.uris = {call.caller: "<sip:bob@x.org>", call.callee: "<sip:bob@x.org>"}
        extra = [
            'Authorization: Digest username="bob", realm="x", nonce="n", response="0"'
        ] * credentials
        return call.request(
            "REGISTER", in_dialog=False, cseq=cseq, uri="sip:x.org", extra=extra,
            contact=f"<sip:bob@{source}>",
        )  # fmt: skip

    @pytest.mark.parametrize("credentials", [False, True])
    def test_where_the_registrar_asks_for_no_password(
        self, exchange: Exchange, credentials: bool
    ) -> None:
        """Another host is refused, also with credentials that nobody asked for."""
        phone = Call(exchange, BOB, PROXY)
        request = phone.must(self.register(phone, BOB, credentials=False), BOB, PROXY)
        phone.must(phone.response(request, 200), PROXY, BOB)
        thief = Call(exchange, MALLORY, PROXY)
        stolen = self.register(thief, MALLORY, credentials=credentials)
        assert not exchange.send(stolen, MALLORY, PROXY)

    def test_removal_by_another_host(self, exchange: Exchange) -> None:
        """Nor is the binding removed from elsewhere."""
        phone = Call(exchange, BOB, PROXY)
        request = phone.must(self.register(phone, BOB, credentials=False), BOB, PROXY)
        phone.must(phone.response(request, 200), PROXY, BOB)
        thief = Call(exchange, MALLORY, PROXY)
        removal = self.register(thief, MALLORY, credentials=False)
        removal = removal.replace(f"<sip:bob@{MALLORY}>".encode(), b"*\r\nExpires: 0")
        assert not exchange.send(removal, MALLORY, PROXY)


class TestDisguises:
    """What is not SIP, or not what it seems."""

    @pytest.mark.parametrize(
        "agent",
        [
            "friendly-scanner",
            "FRIENDLY-SCANNER",
            "Friendly-Scanner 0.3",
            "sipvicious",
            "  sipsak 0.9",
        ],
    )
    def test_scanners(self, exchange: Exchange, agent: str) -> None:
        """A scanner's name counts in any case and folding."""
        for row in (f"User-Agent: {agent}", f"USER-AGENT:\t{agent}", f"user-agent :\r\n {agent}"):
            request = Call(exchange).request("OPTIONS", in_dialog=False, extra=[row])
            assert not exchange.send(request, ALICE, BOB), row

    def test_second_agent_header(self, exchange: Exchange) -> None:
        """A harmless name before the real one is a duplicate header."""
        request = Call(exchange).request(
            "OPTIONS", in_dialog=False, extra=["User-Agent: phone", "User-Agent: sipvicious"]
        )
        assert not exchange.send(request, ALICE, BOB)

    @pytest.mark.parametrize("method", ["invite", "Invite", "INVITE\t", "INVITE\0", "OPTIONS\x0b"])
    def test_method_spelt_otherwise(self, exchange: Exchange, method: str) -> None:
        """Methods are case-sensitive; another spelling is an unknown method."""
        assert not exchange.send(
            Call(exchange).request(method, in_dialog=False, body=sdp(ALICE)), ALICE, BOB
        )

    @pytest.mark.parametrize(
        "payload",
        [
            b"A" * 500, b"\xf8\x00" + b"sigcomp" * 9, b"\x80\x00" + bytes(170), b"\r\n" * 40,
            b"\0" * 65, b"GET / HTTP/1.0\r\n\r\n", b"ssh-2.0\r\n", b"\x16\x03\x01" + bytes(80),
            b"\x00\x01\x00\x08\x21\x12\xa4\x42" + bytes(12) + b"tunnel!",
            b"SIP/2.0 200 OK\r\n\r\n", b"INVITE sip:a SIP/2.0", b" SIP/2.0\r\n\r\n",
        ],
    )  # fmt: skip
    def test_what_is_no_sip(self, exchange: Exchange, payload: bytes) -> None:
        """It does not pass on the SIP port."""
        assert not exchange.send(payload, ALICE, BOB)

    def test_stun_is_no_tunnel(self, exchange: Exchange) -> None:
        """STUN keep-alives are small and few; data in their guise is neither."""

        def stun(kind: int, size: int) -> bytes:
            head = kind.to_bytes(2, "big") + size.to_bytes(2, "big") + b"\x21\x12\xa4\x42"
            return (
                head + bytes(12) + b"\x80\x22" + (size - 4).to_bytes(2, "big") + b"x" * (size - 4)
            )

        assert not exchange.send(stun(1, 8000), ALICE, BOB), "a Binding of 8 kB"
        assert not exchange.send(stun(0x16, 1200), ALICE, BOB), "a TURN Send indication"
        assert exchange.send(stun(1, 8), ALICE, BOB)

    @pytest.mark.parametrize("prefix", [b"\r\n\r\n", b"\0\0", b"\n", b" ", b"\r\n\0\r\n"])
    def test_octets_before_the_message(self, exchange: Exchange, prefix: bytes) -> None:
        """CRLFs before a request hide nothing from the policy; other octets do not pass."""
        plain = sdp(ALICE, 30000, proto="RTP/AVP", key="-")
        assert not exchange.send(prefix + Call(exchange).invite(plain), ALICE, BOB)
        again = Call(exchange)
        bye = prefix + again.request("BYE")
        assert not exchange.send(bye, MALLORY, BOB)

    def test_two_messages_in_one_datagram(self, exchange: Exchange) -> None:
        """The second one is refused with the first."""
        call = Call(exchange)
        two = call.request("OPTIONS", in_dialog=False) + call.request("BYE")
        assert not exchange.send(two, ALICE, BOB)

    def test_stranger_networks(self, exchange: Exchange) -> None:
        """Nobody outside the named networks is answered."""
        for source in ("203.0.113.77", "2001:db8:ffff::1"):
            target = BOB if "." in source else BOB6
            for method in ("INVITE", "REGISTER", "OPTIONS", "BYE", "FOO"):
                request = Call(exchange, source, target).request(
                    method, in_dialog=False, body=sdp(source)
                )
                assert not exchange.send(request, source, target)
        assert not exchange.replies
