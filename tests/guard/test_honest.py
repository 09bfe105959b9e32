"""What honest telephones and proxies do passes the strict policy, whole and with its media."""

import random
from itertools import pairwise

import pytest
from exchange import (
    ALICE,
    ALICE6,
    BOB,
    BOB6,
    CAROL,
    OTHER_KEY,
    PROXY,
    Call,
    Exchange,
    message,
    sdp,
)

from sipguard.wire.sip import parse_message


def held(address: str, port: int, direction: str, version: int = 2) -> str:
    return sdp(address, port, f"a={direction}", version=version)


class TestRenegotiation:
    """Everything a call may do between its answer and its end."""

    @pytest.mark.parametrize("sender", [ALICE, BOB])
    def test_hold_and_resume(self, call: Call, sender: str) -> None:
        """Either end holds and takes up again; RTCP flows on while it is held."""
        ports = {ALICE: 30000, BOB: 40000}
        other = BOB if sender == ALICE else ALICE
        for version, (mine, theirs) in enumerate(
            (("sendonly", "recvonly"), ("inactive", "inactive"), ("sendrecv", "sendrecv")), 2
        ):
            call.reinvite(
                sender,
                held(sender, ports[sender], mine, version),
                held(other, ports[other], theirs, version),
            )
            assert call.has_media
        call.hang_up(sender)
        assert not call.exchange.holes

    def test_hold_by_unspecified_address(self, call: Call) -> None:
        """RFC 2543 hold, c=0.0.0.0: nothing is sent to the holder, and it comes back."""
        call.reinvite(
            ALICE, sdp("0.0.0.0", version=2, origin=ALICE, key=OTHER_KEY), sdp(BOB, 40000)
        )
        assert not call.exchange.hears(BOB, ALICE, 30000)
        call.reinvite(ALICE, sdp(ALICE, version=3), sdp(BOB, 40000, version=2))
        assert call.has_media

    def test_glare(self, call: Call) -> None:
        """Both re-INVITE at once: both get 491, both try again later, one after the other."""
        requests = {}
        for sender, other in ((ALICE, BOB), (BOB, ALICE)):
            body = held(sender, 30000 if sender == ALICE else 40000, "sendonly")
            requests[sender] = call.must(call.request("INVITE", sender, body=body), sender, other)
        for sender, other in ((ALICE, BOB), (BOB, ALICE)):
            call.must(call.response(requests[sender], 491), other, sender)
            via = parse_message(requests[sender]).values(b"via")[0].decode()
            ack = call.request("ACK", sender, cseq=call.cseqs[sender], vias=[via])
            call.must(ack, sender, other)
        assert call.has_media
        call.exchange.wait(3)
        call.reinvite(BOB, held(BOB, 40000, "sendonly", 3), held(ALICE, 30000, "recvonly", 3))
        call.reinvite(ALICE, held(ALICE, 30000, "sendrecv", 4), held(BOB, 40000, "sendrecv", 4))
        assert call.has_media

    def test_refused_reinvite_leaves_the_media(self, call: Call) -> None:
        """RFC 3261 section 14.1: a refused re-INVITE changes nothing."""
        call.reinvite(ALICE, sdp(ALICE, 31000, version=2), "", 488)
        assert call.has_media
        assert not call.exchange.hears(BOB, ALICE, 31000)

    def test_challenged_reinvite(self, call: Call) -> None:
        """A 407 inside the call: ACK, and again with credentials and the next CSeq."""
        moved = sdp(ALICE, 31000, version=2)
        call.reinvite(ALICE, moved, "", 407)
        request = call.request(
            "INVITE", body=moved, extra=['Proxy-Authorization: Digest username="a", nonce="n"']
        )
        call.must(request, ALICE, BOB)
        call.must(call.response(request, 200, body=sdp(BOB, 40000, version=2)), BOB, ALICE)
        call.must(call.request("ACK", cseq=call.cseqs[ALICE]), ALICE, BOB)
        assert call.exchange.hears(BOB, ALICE, 31000)

    def test_reinvite_with_the_offer_in_the_answer(self, call: Call) -> None:
        """A re-INVITE without SDP: the 200 offers, the ACK answers."""
        request = call.must(call.request("INVITE"), ALICE, BOB)
        call.must(call.response(request, 200, body=sdp(BOB, 41000, version=2)), BOB, ALICE)
        ack = call.request("ACK", cseq=call.cseqs[ALICE], body=sdp(ALICE, 30000, version=2))
        call.must(ack, ALICE, BOB)
        assert call.exchange.hears(ALICE, BOB, 41000)

    @pytest.mark.parametrize("refresher", [ALICE, BOB])
    @pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
    def test_session_timer(self, exchange: Exchange, refresher: str, method: str) -> None:
        """RFC 4028: a call that is refreshed in time goes on well past its first interval."""
        call = Call(exchange)
        timer = ["Session-Expires: 90;refresher=uas", "Require: timer"]
        invite = call.must(call.invite(extra=["Session-Expires: 90"]), ALICE, BOB)
        answer = call.response(invite, 200, body=sdp(BOB, 40000), extra=timer)
        call.must(answer, BOB, ALICE)
        call.must(call.request("ACK"), ALICE, BOB)
        for version in range(2, 6):
            exchange.wait(45)
            if method == "UPDATE":
                call.ask("UPDATE", refresher, extra=["Session-Expires: 90"], reply_extra=timer)
            else:
                offer = sdp(refresher, 30000 if refresher == ALICE else 40000, version=version)
                other = BOB if refresher == ALICE else ALICE
                reply = sdp(other, 30000 if other == ALICE else 40000, version=version)
                request = call.must(
                    call.request("INVITE", refresher, body=offer, extra=["Session-Expires: 90"]),
                    refresher,
                    other,
                )
                call.must(call.response(request, 200, body=reply, extra=timer), other, refresher)
                call.must(
                    call.request("ACK", refresher, cseq=call.cseqs[refresher]), refresher, other
                )
            assert call.has_media
        call.hang_up(BOB)

    def test_update_of_the_callee_before_the_answer(self, exchange: Exchange) -> None:
        """UPDATE in an early dialog, by the callee, after a reliable answer."""
        call = Call(exchange)
        invite = call.must(call.invite(), ALICE, BOB)
        reliable = ["Require: 100rel", "RSeq: 7001"]
        call.must(call.response(invite, 183, body=sdp(BOB, 40000), extra=reliable), BOB, ALICE)
        call.ask("PRACK", extra=["RAck: 7001 1 INVITE"])
        call.ask("UPDATE", BOB, body=sdp(BOB, 41000, version=2), reply=sdp(ALICE, version=2))
        assert exchange.hears(ALICE, BOB, 41000)
        call.must(call.response(invite, 200), BOB, ALICE)
        call.must(call.request("ACK", cseq=1), ALICE, BOB)
        call.hang_up()


class TestEarlyCalls:
    """Ringing, early media, forks, redirection."""

    def test_two_reliable_answers_and_an_offer_in_prack(self, exchange: Exchange) -> None:
        """A 183 with SDP, a second reliable 180, a PRACK that offers again."""
        call = Call(exchange)
        invite = call.must(call.invite(extra=["Supported: 100rel"]), ALICE, BOB)
        call.must(
            call.response(invite, 183, body=sdp(BOB, 40000), extra=["Require: 100rel", "RSeq: 1"]),
            BOB,
            ALICE,
        )
        assert call.has_media
        call.ask(
            "PRACK",
            extra=["RAck: 1 1 INVITE"],
            body=sdp(ALICE, 30000, version=2),
            reply=sdp(BOB, 40000, version=2),
        )
        call.must(call.response(invite, 180, extra=["Require: 100rel", "RSeq: 2"]), BOB, ALICE)
        call.ask("PRACK", extra=["RAck: 2 1 INVITE"])
        call.must(call.response(invite, 200), BOB, ALICE)
        call.must(call.request("ACK", cseq=1), ALICE, BOB)
        assert call.has_media

    def test_offer_in_reliable_provisional_answer_in_prack(self, exchange: Exchange) -> None:
        """The INVITE has no SDP: a reliable 183 offers, the PRACK answers."""
        call = Call(exchange)
        invite = call.must(call.invite(body=""), ALICE, BOB)
        call.must(
            call.response(invite, 183, body=sdp(BOB, 40000), extra=["Require: 100rel", "RSeq: 5"]),
            BOB,
            ALICE,
        )
        call.ask("PRACK", extra=["RAck: 5 1 INVITE"], body=sdp(ALICE))
        assert call.has_media
        call.must(call.response(invite, 200), BOB, ALICE)
        call.must(call.request("ACK", cseq=1), ALICE, BOB)
        call.hang_up()

    def test_delayed_offer(self, exchange: Exchange) -> None:
        """The 200 offers, the ACK answers."""
        call = Call(exchange)
        invite = call.must(call.invite(body=""), ALICE, BOB)
        call.must(call.response(invite, 200, body=sdp(BOB, 40000)), BOB, ALICE)
        call.must(call.request("ACK", body=sdp(ALICE)), ALICE, BOB)
        assert call.has_media

    def test_early_media_of_two_forks(self, exchange: Exchange) -> None:
        """A proxy forks: two early dialogs with media each; one answers, the other ends."""
        call = Call(exchange)
        invite = call.must(call.invite(), ALICE, PROXY)
        legs = {}
        for phone in (BOB, CAROL):
            vias = [call.via(PROXY), parse_message(invite).values(b"via")[0].decode()]
            leg = call.must(call.invite(vias=vias), PROXY, phone)
            early = call.response(leg, 183, body=sdp(phone, 40000), to_tag=f"t{phone}")
            call.must(early, phone, PROXY)
            call.must(
                call.response(invite, 183, body=sdp(phone, 40000), to_tag=f"t{phone}"),
                PROXY,
                ALICE,
            )
            legs[phone] = leg
            assert exchange.hears(phone, ALICE, 30000)
        final = call.response(legs[BOB], 200, body=sdp(BOB, 40000), to_tag=f"t{BOB}")
        call.must(final, BOB, PROXY)
        answer = call.response(invite, 200, body=sdp(BOB, 40000), to_tag=f"t{BOB}")
        call.must(answer, PROXY, ALICE)
        call.to_tag = f"t{BOB}"
        call.must(call.request("ACK"), ALICE, BOB)
        gone = call.response(legs[CAROL], 487, to_tag=f"t{CAROL}")
        call.must(gone, CAROL, PROXY)
        assert exchange.hears(ALICE, BOB, 40000)
        assert exchange.hears(BOB, ALICE, 30000)
        exchange.wait(40)
        assert not exchange.hears(CAROL, ALICE, 30000)
        call.hang_up(BOB)

    def test_serial_fork_after_busy(self, exchange: Exchange) -> None:
        """The proxy tries the second phone when the first is busy."""
        call = Call(exchange)
        invite = call.must(call.invite(), ALICE, PROXY)
        below = parse_message(invite).values(b"via")[0].decode()
        first = call.must(call.invite(vias=[call.via(PROXY), below]), PROXY, BOB)
        call.must(call.response(first, 486, to_tag="busy"), BOB, PROXY)
        via = parse_message(first).values(b"via")[0].decode()
        call.must(call.request("ACK", cseq=1, vias=[via], to_tag="busy"), PROXY, BOB)
        second = call.must(call.invite(vias=[call.via(PROXY), below]), PROXY, CAROL)
        body = sdp(CAROL, 40000)
        call.must(call.response(second, 200, body=body), CAROL, PROXY)
        call.must(call.response(invite, 200, body=body), PROXY, ALICE)
        call.must(call.request("ACK"), ALICE, CAROL)
        assert exchange.hears(CAROL, ALICE, 30000)

    def test_redirection(self, exchange: Exchange) -> None:
        """A 302 is acknowledged; the next INVITE keeps the Call-ID and goes elsewhere."""
        call = Call(exchange)
        invite = call.must(call.invite(), ALICE, BOB)
        moved = call.response(invite, 302, contact=f"<sip:bob@{CAROL}>")
        call.must(moved, BOB, ALICE)
        via = parse_message(invite).values(b"via")[0].decode()
        call.must(call.request("ACK", vias=[via]), ALICE, BOB)
        again = call.must(call.invite(cseq=2, uri=f"sip:bob@{CAROL}"), ALICE, CAROL)
        call.to_tag = "carol"
        call.must(call.response(again, 200, body=sdp(CAROL, 40000)), CAROL, ALICE)
        call.must(call.request("ACK", cseq=2), ALICE, CAROL)
        assert exchange.hears(CAROL, ALICE, 30000)

    @pytest.mark.parametrize("status", [300, 302, 404, 480, 486, 488, 500, 503, 600, 603])
    def test_every_failure_is_acknowledged(self, exchange: Exchange, status: int) -> None:
        """Whatever the callee refuses with, its refusal and the ACK pass, also again."""
        call = Call(exchange)
        invite = call.must(call.invite(), ALICE, BOB)
        refusal = call.must(call.response(invite, status), BOB, ALICE)
        via = parse_message(invite).values(b"via")[0].decode()
        ack = call.must(call.request("ACK", vias=[via]), ALICE, BOB)
        exchange.wait(1)
        call.must(refusal, BOB, ALICE)
        call.must(ack, ALICE, BOB)
        assert not exchange.holes

    def test_cancel(self, exchange: Exchange) -> None:
        """CANCEL, its 200, 487 and ACK; and a CANCEL that is sent again."""
        call = Call(exchange)
        invite = call.ring()
        via = parse_message(invite).values(b"via")[0].decode()
        uri = parse_message(invite).uri.decode()
        cancel = call.request("CANCEL", vias=[via], uri=uri, in_dialog=False, cseq=1, contact="")
        call.must(cancel, ALICE, BOB)
        call.must(cancel, ALICE, BOB)
        call.must(call.response(cancel, 200), BOB, ALICE)
        call.must(call.response(invite, 487), BOB, ALICE)
        call.must(call.request("ACK", vias=[via], uri=uri), ALICE, BOB)

    def test_cancel_that_comes_too_late(self, exchange: Exchange) -> None:
        """The 200 crosses the CANCEL: ACK and BYE pass, and nothing stays open."""
        call = Call(exchange)
        invite = call.ring()
        via = parse_message(invite).values(b"via")[0].decode()
        call.must(call.response(invite, 200, body=sdp(BOB, 40000)), BOB, ALICE)
        cancel = call.request(
            "CANCEL", vias=[via], uri=parse_message(invite).uri.decode(),
            in_dialog=False, cseq=1, contact="",
        )  # fmt: skip
        exchange.send(cancel, ALICE, BOB)  # whether or not it passes
        call.must(call.request("ACK"), ALICE, BOB)
        call.hang_up()
        assert not exchange.holes


class TestEnds:
    """How calls end."""

    def test_callee_hangs_up(self, call: Call) -> None:
        """The BYE may come from either end."""
        call.hang_up(BOB)
        assert not call.exchange.holes

    def test_both_hang_up_at_once(self, call: Call) -> None:
        """Two BYEs cross, with both answers in any order."""
        one = call.must(call.request("BYE"), ALICE, BOB)
        two = call.must(call.request("BYE", BOB), BOB, ALICE)
        call.must(call.response(one, 200), BOB, ALICE)
        call.must(call.response(two, 200), ALICE, BOB)
        assert not call.exchange.holes

    def test_second_bye_after_the_first_was_answered(self, call: Call) -> None:
        """The callee's BYE was lost on the way and comes again when all is over."""
        one = call.must(call.request("BYE"), ALICE, BOB)
        call.must(call.response(one, 200), BOB, ALICE)
        two = call.must(call.request("BYE", BOB), BOB, ALICE)
        call.must(call.response(two, 481), ALICE, BOB)

    def test_challenged_bye(self, call: Call) -> None:
        """A proxy asks for credentials before it ends the call."""
        request = call.must(call.request("BYE"), ALICE, BOB)
        call.must(call.response(request, 407), BOB, ALICE)
        assert call.has_media
        call.ask("BYE", extra=['Proxy-Authorization: Digest username="a", nonce="n"'])
        assert not call.exchange.holes

    def test_call_after_call_between_the_same_phones(self, exchange: Exchange) -> None:
        """The same ports again in the next call, and calls the other way round."""
        for _ in range(3):
            call = Call(exchange)
            call.establish()
            assert call.has_media
            call.hang_up()
        back = Call(exchange, BOB, ALICE)
        back.establish(sdp(BOB, 40000), sdp(ALICE, 30000))
        assert exchange.hears(ALICE, BOB, 40000)


class TestTransfer:
    """REFER, NOTIFY, Replaces."""

    def test_blind_transfer(self, call: Call) -> None:
        """REFER in the call, NOTIFYs back, BYE by the transferor."""
        call.ask("REFER", answer=202, extra=["Refer-To: <sip:carol@10.20.2.3>"])
        for state in ("active;expires=60", "terminated;reason=noresource"):
            call.ask(
                "NOTIFY",
                BOB,
                body="SIP/2.0 200 OK\r\n",
                kind="message/sipfrag",
                extra=["Event: refer", f"Subscription-State: {state}"],
            )
        call.hang_up()

    def test_notify_before_the_202(self, call: Call) -> None:
        """The first NOTIFY overtakes the answer to REFER."""
        refer = call.must(
            call.request("REFER", extra=["Refer-To: <sip:carol@10.20.2.3>"]), ALICE, BOB
        )
        call.ask("NOTIFY", BOB, extra=["Event: refer", "Subscription-State: active"])
        call.must(call.response(refer, 202), BOB, ALICE)

    def test_attended_transfer(self, call: Call) -> None:
        """Carol calls with Replaces; the replaced call ends by BYE of the one who was called."""
        new = Call(call.exchange, CAROL, ALICE)
        replaces = f"Replaces: {call.call_id};to-tag={call.to_tag};from-tag={call.from_tag}"
        invite = new.must(new.invite(extra=[replaces, "Require: replaces"]), CAROL, ALICE)
        answer = new.response(invite, 200, body=sdp(ALICE, 30002))
        new.must(answer, ALICE, CAROL)
        new.must(new.request("ACK"), CAROL, ALICE)
        call.hang_up()
        assert call.exchange.hears(CAROL, ALICE, 30002)


class TestOtherMethods:
    """What is no call."""

    @pytest.mark.parametrize("sender", [ALICE, BOB])
    @pytest.mark.parametrize("method", ["OPTIONS", "MESSAGE", "PUBLISH"])
    def test_alone(self, exchange: Exchange, method: str, sender: str) -> None:
        """Outside any dialog, from either side."""
        other = BOB if sender == ALICE else ALICE
        call = Call(exchange, sender, other)
        call.ask(method, in_dialog=False, body="Hi", kind="text/plain")

    @pytest.mark.parametrize("method", ["OPTIONS", "MESSAGE", "INFO"])
    def test_inside_a_call(self, call: Call, method: str) -> None:
        """Inside a call, from either end."""
        for sender in (ALICE, BOB):
            call.ask(method, sender, body="Signal=5", kind="application/dtmf-relay")

    def test_subscription(self, exchange: Exchange) -> None:
        """SUBSCRIBE, 200, NOTIFYs, refresh, an end; one dialog for an hour."""
        call = Call(exchange)
        event = ["Event: dialog", "Expires: 600"]
        request = call.must(call.request("SUBSCRIBE", in_dialog=False, extra=event), ALICE, BOB)
        notice = ["Event: dialog", "Subscription-State: active;expires=600"]
        call.ask("NOTIFY", BOB, extra=notice)  # overtakes the 200
        call.must(call.response(request, 200, extra=["Expires: 600"]), BOB, ALICE)
        for _ in range(6):
            call.ask("NOTIFY", BOB, extra=notice)
            exchange.wait(550)
            call.ask("SUBSCRIBE", extra=event)
        call.ask("SUBSCRIBE", extra=["Event: dialog", "Expires: 0"])
        call.ask("NOTIFY", BOB, extra=["Event: dialog", "Subscription-State: terminated"])

    def test_voicemail_tells_unasked(self, exchange: Exchange) -> None:
        """A NOTIFY of message-summary to a phone that never subscribed."""
        call = Call(exchange, BOB, ALICE)
        for _ in range(2):
            call.ask(
                "NOTIFY",
                in_dialog=False,
                cseq=exchange.number(),
                body="Messages-Waiting: yes\r\n",
                kind="application/simple-message-summary",
                extra=["Event: message-summary", "Subscription-State: active"],
            )

    def test_pings_with_the_same_branch(self, exchange: Exchange) -> None:
        """Kamailio's nathelper sends all its OPTIONS with branch=0, each a call of its own."""
        for _ in range(5):
            call = Call(exchange, PROXY, ALICE)
            via = f"SIP/2.0/UDP {PROXY}:5060;branch=0"
            call.ask("OPTIONS", in_dialog=False, vias=[via], contact="", from_tag="uloc-1")
            exchange.wait(10)


class TestRegistration:
    """Phones come, stay, move and go."""

    def register(
        self,
        call: Call,
        cseq: int,
        *,
        source: str = ALICE,
        answer: int = 200,
        expires: int = 3600,
        credentials: bool = False,
        port: int = 5060,
    ) -> None:
        """Play one REGISTER of alice@example.org and what the registrar says."""
        extra = [f"Expires: {expires}"]
        if credentials:
            extra.append('Authorization: Digest username="alice", nonce="n", response="r"')
        request = call.request(
            "REGISTER", in_dialog=False, cseq=cseq, uri="sip:example.org", extra=extra,
            vias=[call.via(source)], contact=f"<sip:alice@{source}:{port}>",
        )  # fmt: skip
        assert call.exchange.send(request, source, PROXY, (port, 5060)), call.exchange.why()
        assert call.exchange.send(call.response(request, answer), PROXY, source, (5060, port)), (
            call.exchange.why()
        )

    def phone(self, exchange: Exchange, source: str = ALICE) -> Call:
        call = Call(exchange, source, PROXY)
        call.uris = {source: "<sip:alice@example.org>", PROXY: "<sip:alice@example.org>"}
        return call

    def test_life_of_a_binding(self, exchange: Exchange) -> None:
        """Challenge, registration, refreshes for a day, and the end."""
        phone = self.phone(exchange)
        self.register(phone, 1, answer=401)
        self.register(phone, 2, credentials=True)
        for cseq in range(3, 20):
            exchange.wait(1800)
            self.register(phone, cseq, credentials=True)
        self.register(phone, 20, expires=0, credentials=True)

    def test_phone_with_changing_ports(self, exchange: Exchange) -> None:
        """A NAT or a restart changes the port, not the right."""
        for port in (5060, 5062, 40123):
            phone = self.phone(exchange)
            self.register(phone, 1, answer=401, port=port)
            self.register(phone, 2, credentials=True, port=port)

    def test_two_phones_of_one_account(self, exchange: Exchange) -> None:
        """The desk phone and the one upstairs: the registrar asks both for the password."""
        for source in (ALICE, CAROL, BOB):
            phone = self.phone(exchange, source)
            self.register(phone, 1, source=source, answer=401)
            self.register(phone, 2, source=source, credentials=True)

    def test_phone_that_got_another_address(self, exchange: Exchange) -> None:
        """After a new lease the first REGISTER has no credentials; the registrar will ask."""
        phone = self.phone(exchange)
        self.register(phone, 1, answer=401)
        self.register(phone, 2, credentials=True)
        exchange.wait(60)
        moved = self.phone(exchange, CAROL)
        self.register(moved, 1, source=CAROL, answer=401)
        self.register(moved, 2, source=CAROL, credentials=True)


class TestProxies:
    """Signalling through proxies, media directly."""

    def through_proxy(
        self, exchange: Exchange, *, record_route: bool, offer: str = "", answer: str = ""
    ) -> Call:
        """Play A -> P -> B where both legs cross the gateway."""
        call = Call(exchange)
        offer = offer or sdp(ALICE)
        answer = answer or sdp(BOB, 40000)
        route = [f"Record-Route: <sip:{PROXY};lr>"] if record_route else []
        invite = call.must(call.invite(offer), ALICE, PROXY)
        call.must(call.response(invite, 100, contact=""), PROXY, ALICE)
        vias = [call.via(PROXY), parse_message(invite).values(b"via")[0].decode()]
        leg = call.must(call.invite(offer, vias=vias, extra=route), PROXY, BOB)
        for status, body in ((180, ""), (200, answer)):
            call.must(call.response(leg, status, body=body, extra=route), BOB, PROXY)
            call.must(call.response(invite, status, body=body, extra=route), PROXY, ALICE)
        if record_route:
            self.relay(call, call.request("ACK"), ALICE, BOB)
        else:
            call.must(call.request("ACK"), ALICE, BOB)
        assert call.has_media
        return call

    def relay(self, call: Call, request: bytes, source: str, target: str) -> bytes:
        """Let a request take the way over the proxy; return its second leg."""
        call.must(request, source, PROXY)
        head, _, rest = request.partition(b"\r\n")
        second = head + b"\r\nVia: " + call.via(PROXY).encode() + b"\r\n" + rest
        return call.must(second, PROXY, target)

    def test_proxy_stays_on_the_path(self, exchange: Exchange) -> None:
        """With Record-Route everything crosses twice, the BYE of the callee as well."""
        call = self.through_proxy(exchange, record_route=True)
        for sender, other in ((ALICE, BOB), (BOB, ALICE)):
            offer = sdp(sender, 30000 if sender == ALICE else 40000, version=2)
            answer = sdp(other, 40000 if sender == ALICE else 30000, version=2)
            request = call.request("INVITE", sender, body=offer)
            second = self.relay(call, request, sender, other)
            call.must(call.response(second, 200, body=answer), other, PROXY)
            call.must(call.response(request, 200, body=answer), PROXY, sender)
            ack = call.request("ACK", sender, cseq=call.cseqs[sender])
            self.relay(call, ack, sender, other)
            assert call.has_media
        bye = call.request("BYE", BOB)
        second = self.relay(call, bye, BOB, ALICE)
        call.must(call.response(second, 200), ALICE, PROXY)
        call.must(call.response(bye, 200), PROXY, BOB)
        assert not exchange.holes

    def test_proxy_leaves_the_path(self, exchange: Exchange) -> None:
        """Without Record-Route ACK, re-INVITE and BYE go straight."""
        call = self.through_proxy(exchange, record_route=False)
        call.reinvite(BOB, held(BOB, 40000, "sendonly"), held(ALICE, 30000, "recvonly"))
        call.hang_up(BOB)
        assert not exchange.holes

    def test_second_proxy_alone_stays_on_the_path(self, exchange: Exchange) -> None:
        """P1 forwards to P2 behind the gateway and leaves; P2 recorded itself and sends the BYE."""
        behind = "10.20.3.77"
        call = Call(exchange)
        route = [f"Record-Route: <sip:{behind};lr>"]
        invite = call.must(call.invite(), ALICE, PROXY)
        answer = call.response(invite, 200, body=sdp(PROXY, 40000), extra=route)
        call.must(answer, PROXY, ALICE)
        call.must(call.request("ACK"), ALICE, behind)
        bye = call.must(call.request("BYE", BOB), behind, ALICE)
        call.must(call.response(bye, 200), ALICE, behind)

    def test_five_proxies(self, exchange: Exchange) -> None:
        """Five Vias and five Record-Routes, as rows and as one comma list."""
        call = Call(exchange)
        hops = [f"192.168.7.{number}" for number in range(1, 5)]
        vias = [call.via(PROXY), *(call.via(hop) for hop in hops)]
        routes = ["Record-Route: " + ", ".join(f"<sip:{hop};lr;ftag=x>" for hop in hops)]
        routes.insert(0, f"Record-Route: <sip:{PROXY};lr;did=a.b>")
        invite = call.must(call.invite(vias=vias, extra=routes), PROXY, BOB)
        answer = call.response(invite, 200, body=sdp(BOB, 40000), extra=routes)
        call.must(answer, BOB, PROXY)
        call.must(call.request("ACK", vias=[call.via(PROXY), *vias[1:]]), PROXY, BOB)

    def test_spiral(self, exchange: Exchange) -> None:
        """The proxy sends the call out and back through the gateway to the next proxy."""
        call = Call(exchange)
        below = [call.via(ALICE)]
        path = [ALICE, PROXY, "10.20.4.9", BOB]
        for source, target in pairwise(path):
            vias = below if source == ALICE else [call.via(source), *below]
            call.must(call.invite(vias=vias), source, target)
            below = vias


class TestWriting:
    """Spellings that differ from the examples of the RFCs."""

    def test_compact_headers(self, exchange: Exchange) -> None:
        """All short names, odd case, blanks and folding."""
        raw = (
            f"INVITE sip:bob@{BOB} SIP/2.0\r\n"
            f"v : SIP / 2.0 / UDP {ALICE}:5060 ;branch=z9hG4bKcompact1\r\n"
            "MAX-FORWARDS: 0070\r\n"
            'f:\t"A \\" B"\r\n <sip:alice@example.org> ;tag=abc\r\n'
            f"t: sip:bob@{BOB}\r\n"
            "i: compact-1\r\n"
            "CSEQ: 0001\r\n  INVITE\r\n"
            f"m: <sip:alice@{ALICE}>\r\n"
            "k: 100rel,\r\n timer , replaces\r\n"
            "c: application/sdp;charset=utf-8\r\n"
            f"l:    {len(sdp(ALICE))}\r\n\r\n{sdp(ALICE)}"
        ).encode()
        assert exchange.send(raw, ALICE, BOB), exchange.why()

    @pytest.mark.parametrize(
        "contact",
        [
            '"Jörg Müller" <sip:j%C3%BCrg@10.20.1.2:5060;ob>;+sip.instance="<urn:uuid:1>";reg-id=1',
            "<sip:alice@example.org;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>",
            "<sip:10.20.1.2:5060;transport=udp>;expires=60;q=0.5",
            "sip:alice@10.20.1.2",
            "<sip:alice@[fd20:1::2]:5060>",
        ],
    )
    def test_contacts(self, exchange: Exchange, contact: str) -> None:
        """GRUU, instance ids, UTF-8 names, IPv6 literals."""
        call = Call(exchange)
        call.contacts[ALICE] = contact
        call.establish()
        call.hang_up()

    @pytest.mark.parametrize(
        "uri", ["tel:+49-30-1234;phone-context=x.org", "tel:110", "sip:+4930@h.org;user=phone"]
    )
    def test_telephone_numbers(self, exchange: Exchange, uri: str) -> None:
        """tel: in the Request-URI, in To and in From."""
        call = Call(exchange)
        call.uris = {ALICE: f"<{uri}>", BOB: f"<{uri}>"}
        invite = call.must(call.invite(uri=uri), ALICE, BOB)
        call.must(call.response(invite, 200, body=sdp(BOB, 40000)), BOB, ALICE)
        call.must(call.request("ACK"), ALICE, BOB)
        assert call.has_media

    def test_ipv6(self, exchange: Exchange) -> None:
        """A call over IPv6, every literal in brackets."""
        call = Call(exchange, ALICE6, BOB6)
        call.establish(sdp(ALICE6), sdp(BOB6, 40000, key=OTHER_KEY[::-1]))
        assert call.has_media
        call.hang_up(BOB6)

    def test_ipv4_media_under_ipv6_signalling_passes_without_hole(self, exchange: Exchange) -> None:
        """The call itself is let through; nobody vouches for the media address."""
        call = Call(exchange, ALICE6, BOB6)
        call.establish(sdp(ALICE), sdp(BOB, 40000))
        call.hang_up()

    @pytest.mark.parametrize(
        ("offer", "answer"),
        [
            (("a=rtcp-mux",), ("a=rtcp-mux",)),
            (("a=rtcp:30009",), ("a=rtcp:40009 IN IP4 10.20.2.2",)),
            (("a=rtcp-mux", "a=rtcp:30000"), ()),
            (("a=ptime:20", "a=foo:bär"), ("a=ssrc:1 cname:x",)),
        ],
    )
    def test_descriptions(
        self, exchange: Exchange, offer: tuple[str, ...], answer: tuple[str, ...]
    ) -> None:
        """rtcp-mux offered, taken or not, RTCP elsewhere, attributes unheard of."""
        call = Call(exchange)
        call.establish(sdp(ALICE, 30000, *offer), sdp(BOB, 40000, *answer))
        assert call.has_media

    @pytest.mark.parametrize("proto", ["RTP/SAVP", "UDP/TLS/RTP/SAVPF", "RTP/AVP"])
    def test_both_keyings_offered(self, exchange: Exchange, proto: str) -> None:
        """An offer with a=crypto and a fingerprint; the answer takes one of the two."""
        prints = "a=fingerprint:SHA-256 " + ":".join(["AB"] * 32)
        offer = sdp(ALICE, 30000, "a=setup:actpass", prints, proto=proto)
        if "TLS" in proto:
            other = "a=fingerprint:sha-256 " + ":".join(["CD"] * 32)
            answer = sdp(BOB, 40000, "a=setup:active", other, proto=proto, key="-")
        else:
            answer = sdp(BOB, 40000, proto=proto)
        call = Call(exchange)
        call.establish(offer, answer)
        assert call.has_media


@pytest.mark.parametrize("seed", range(12))
def test_calls_survive_loss(seed: int) -> None:
    """One packet in five is lost on either side of the gateway; timers repair every call."""
    chance = random.Random(seed)
    exchange = Exchange()
    call = Call(exchange)

    def crosses(payload: bytes, source: str, target: str) -> bool:
        """One try: lost before the gateway, refused by it, or lost behind it."""
        if chance.random() < 0.1:
            return False
        assert exchange.send(payload, source, target), (payload[:40], exchange.why())
        return chance.random() >= 0.1

    def asked(request: bytes, answer: bytes, source: str, target: str) -> None:
        """Send until an answer arrives, as timers A and E do; each request gets its answer."""
        for delay_s in (0.5, 1, 2, 4, 4, 4, 4, 4, 4, 4):
            if crosses(request, source, target) and crosses(answer, target, source):
                return
            exchange.wait(delay_s)
        raise AssertionError("no seed here loses ten in a row")

    invite = call.invite()
    answer = call.response(invite, 200, body=sdp(BOB, 40000))
    asked(invite, call.response(invite, 180), ALICE, BOB)
    ack = call.request("ACK")
    asked_for_ack = False
    while not asked_for_ack:
        if crosses(answer, BOB, ALICE):
            asked_for_ack = crosses(ack, ALICE, BOB)
        if not asked_for_ack:
            exchange.wait(1)
    assert call.has_media
    for sender, other in ((BOB, ALICE), (ALICE, BOB)):
        update = call.request("UPDATE", sender)
        asked(update, call.response(update, 200), sender, other)
    bye = call.request("BYE", BOB)
    asked(bye, call.response(bye, 200), BOB, ALICE)
    assert not exchange.holes


def test_old_phone_without_branch_cookie(exchange: Exchange) -> None:
    """An RFC 2543 phone: no cookie, no From tag; its calls pass by the old matching."""
    raw = message(
        f"INVITE sip:bob@{BOB} SIP/2.0",
        [
            f"Via: SIP/2.0/UDP {ALICE}:5060",
            f"From: <sip:alice@{ALICE}>;tag=1",
            f"To: <sip:bob@{BOB}>",
            "Call-ID: old-1",
            "CSeq: 1 INVITE",
            f"Contact: <sip:alice@{ALICE}>",
        ],
        sdp(ALICE),
    )
    call = Call(exchange)
    call.call_id, call.from_tag = "old-1", "1"
    call.must(raw, ALICE, BOB)
    call.must(call.response(raw, 200, body=sdp(BOB, 40000)), BOB, ALICE)
    old = [f"SIP/2.0/UDP {ALICE}:5060"]
    call.must(call.request("ACK", vias=old), ALICE, BOB)
    bye = call.must(call.request("BYE", vias=old), ALICE, BOB)
    call.must(call.response(bye, 200), BOB, ALICE)
    again = raw.replace(b"old-1", b"old-2")
    call.must(again, ALICE, BOB)
