"""Telephones in browsers, as JsSIP writes: over WebSocket, from hosts that no DNS knows."""

import pytest
from exchange import ALICE, BOB, Exchange, octets

from sipguard.verdict import Action, Decision
from sipguard.wire.packet import Packet

# A browser does not know its own address (RFC 7118 section 5).
VIA = "SIP/2.0/WSS df7jal23ls0d.invalid"
CONTACT = "<sip:k3vn0q1a@df7jal23ls0d.invalid;transport=ws>"
FINGERPRINT = (
    "sha-256 6B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:"
    "DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08"
)
SERVERS = FINGERPRINT.replace("6B", "5A")
# Host candidates of a browser hide behind names of mDNS; the second is from a STUN server.
MDNS = (
    "a=candidate:1 1 udp 2113937151 1f4712db-ea17-4bcf-a596-105139dfd8bf.local 54400 typ host\r\n"
)
SEEN = f"a=candidate:2 1 udp 1677729535 {ALICE} 30000 typ srflx raddr 0.0.0.0 rport 0\r\n"
END = "\r\n"


class Wss(Exchange):
    """The guard between a browser and its server."""

    def judge(
        self, payload: bytes, source: str, target: str, ports: tuple[int, int] = (50000, 443)
    ) -> Decision:
        """Let one message of the WebSocket come."""
        self.now_s += self.step_s
        packet = Packet(octets(source), octets(target), *ports, payload, "wss")
        self.decision = self.guard.judge(packet, self.now)
        self.found += self.decision.findings
        self.apply(self.decision.effects)
        return self.decision

    def must(self, payload: bytes, source: str, target: str) -> None:
        """Let one message come, which has to pass without any objection."""
        decision = self.judge(payload, source, target)
        assert decision.action is Action.ACCEPT, (decision.judgement, decision.findings)
        assert decision.findings == ()


def browser_sdp(candidates: str, address: str = ALICE, port: int = 30000) -> str:
    """Return an offer as Chrome writes one for a call with sound."""
    return (
        f"v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
        "a=group:BUNDLE 0\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS 5f5c\r\n"
        f"m=audio {port} UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\n"
        f"c=IN IP4 {address}\r\na=rtcp:9 IN IP4 0.0.0.0\r\n{candidates}"
        "a=ice-ufrag:EsAw\r\na=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y\r\na=ice-options:trickle\r\n"
        f"a=fingerprint:{FINGERPRINT}\r\na=setup:actpass\r\na=mid:0\r\n"
        "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=sendrecv\r\n"
        "a=msid:5f5c 7a1b\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:111 opus/48000/2\r\n"
        "a=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n"
        "a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtpmap:9 G722/8000\r\n"
        "a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:13 CN/8000\r\n"
        "a=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n"
        "a=ssrc:3570614608 cname:4TOk42mSjXCkVIa6\r\na=ssrc:3570614608 msid:5f5c 7a1b\r\n"
    )


ANSWER = (
    f"v=0\r\no=- 77 1 IN IP4 {BOB}\r\ns=-\r\nc=IN IP4 {BOB}\r\nt=0 0\r\na=group:BUNDLE 0\r\n"
    "m=audio 40000 UDP/TLS/RTP/SAVPF 111 126\r\na=mid:0\r\na=rtcp-mux\r\n"
    "a=rtpmap:111 opus/48000/2\r\na=rtpmap:126 telephone-event/8000\r\n"
    "a=ice-ufrag:q8Zd\r\na=ice-pwd:1u7dFqTeiV3wDLmZ1TnzVwxk\r\n"
    f"a=candidate:1 1 udp 2130706431 {BOB} 40000 typ host\r\n"
    f"a=fingerprint:{SERVERS}\r\na=setup:passive\r\na=sendrecv\r\n"
)


def said(start: str, rows: list[str], body: str = "", *, has_length: bool = True) -> bytes:
    """Return a message; Content-Length may be left out over WebSocket (RFC 7118 section 5)."""
    kind = ["Content-Type: application/sdp"] if body else []
    length = [f"Content-Length: {len(body)}"] if has_length else []
    return "\r\n".join([start, *rows, *kind, *length, "", body]).encode()


def rows(method: str, cseq: int, call: str, *more: str, to_tag: str = "") -> list[str]:
    """Return the headers of a request of the browser's."""
    return [
        f"Via: {VIA};branch=z9hG4bK{method}{cseq}{call}",
        "Max-Forwards: 69",
        f"To: <sip:{'alice' if method == 'REGISTER' else 'bob'}@example.com>{to_tag}",
        "From: <sip:alice@example.com>;tag=kqb1fcgu3s",
        f"Call-ID: {call}",
        f"CSeq: {cseq} {method}",
        *more,
        "User-Agent: JsSIP 3.10.1",
    ]  # fmt: skip


def replied(request: bytes, status: str, *more: str, body: str = "") -> bytes:
    """Return what the server answers."""
    kept = [
        row
        for row in request.decode().split("\r\n\r\n")[0].split("\r\n")
        if row.startswith(("Via:", "From:", "To:", "Call-ID:", "CSeq:"))
    ]
    kept = [
        f"{row};tag=as7" if row.startswith("To:") and "tag=" not in row else row for row in kept
    ]
    kept = [
        f"{row};received={ALICE};rport=50000" if row.startswith("Via:") else row for row in kept
    ]
    return said(f"SIP/2.0 {status}", [*kept, *more], body)


@pytest.fixture
def wss() -> Wss:
    """Under the strict policy as shipped."""
    return Wss()


@pytest.mark.parametrize("has_length", [True, False])
def test_a_browser_registers(wss: Wss, has_length: bool) -> None:
    """An outbound Contact at an invented host, challenged and taken (RFC 7118 appendix B)."""
    contact = (
        f"Contact: {CONTACT};+sip.ice;reg-id=1;"
        '+sip.instance="<urn:uuid:6e5f39b4-3d2c-4f67-9c54-9a4f7b1d0b6e>";expires=600'
    )
    more = (contact, "Expires: 600", "Supported: path,gruu,outbound")
    start = "REGISTER sip:example.com SIP/2.0"
    first = said(start, rows("REGISTER", 1, "reg1", *more), has_length=has_length)
    wss.must(first, ALICE, BOB)
    challenge = (
        'WWW-Authenticate: Digest realm="example.com",nonce="a1b2c3",algorithm=MD5,qop="auth"'
    )
    wss.must(replied(first, "401 Unauthorized", challenge), BOB, ALICE)
    proof = (
        'Authorization: Digest algorithm=MD5, username="alice", realm="example.com", '
        'nonce="a1b2c3", uri="sip:example.com", response="6629fae49393a05397450978507c4ef1", '
        'qop=auth, cnonce="0a4f113b", nc=00000001'
    )
    second = said(start, rows("REGISTER", 2, "reg1", *more, proof), has_length=has_length)
    wss.must(second, ALICE, BOB)
    wss.must(replied(second, "200 OK", contact, "Flow-Timer: 120"), BOB, ALICE)


@pytest.mark.parametrize("candidates", [MDNS + SEEN, SEEN + MDNS, SEEN])
def test_a_browsers_call(wss: Wss, candidates: str) -> None:
    """INVITE to BYE with DTLS-SRTP and ICE; media flows between the two ends, and nowhere else."""
    offer = browser_sdp(candidates)
    contact = "Contact: <sip:k3vn0q1a@df7jal23ls0d.invalid;transport=ws;ob>"
    more = (contact, "Supported: timer,ice,replaces,outbound", "Session-Expires: 90")
    invite = said("INVITE sip:bob@example.com SIP/2.0", rows("INVITE", 7, "c1", *more), offer)
    wss.must(invite, ALICE, BOB)
    wss.must(replied(invite, "100 Trying"), BOB, ALICE)
    theirs = f"Contact: <sip:bob@{BOB}:443;transport=ws>"
    wss.must(replied(invite, "200 OK", theirs, body=ANSWER), BOB, ALICE)
    ends = [(ALICE, BOB, 40000), (BOB, ALICE, 30000)]
    assert all(wss.hears(*end) for end in ends)
    assert {hole.destination for hole in wss.holes} <= {octets(ALICE), octets(BOB)}
    target = f"sip:bob@{BOB}:443;transport=ws SIP/2.0"
    wss.must(said(f"ACK {target}", rows("ACK", 7, "c1", to_tag=";tag=as7")), ALICE, BOB)
    bye = said(f"BYE {target}", rows("BYE", 8, "c1", to_tag=";tag=as7"))
    wss.must(bye, ALICE, BOB)
    wss.must(replied(bye, "200 OK"), BOB, ALICE)
    assert not wss.holes


def test_a_browser_that_names_no_address(wss: Wss) -> None:
    """mDNS names alone, and 0.0.0.0 port 9: nothing is opened towards anybody else."""
    offer = browser_sdp(MDNS, "0.0.0.0", 9)
    more = (f"Contact: {CONTACT}",)
    invite = said("INVITE sip:bob@example.com SIP/2.0", rows("INVITE", 1, "c2", *more), offer)
    wss.must(invite, ALICE, BOB)
    wss.judge(
        replied(invite, "200 OK", f"Contact: <sip:bob@{BOB};transport=ws>", body=ANSWER), BOB, ALICE
    )
    assert {hole.destination for hole in wss.holes} <= {octets(ALICE), octets(BOB)}
    assert not any(hole.port == 9 for hole in wss.holes)


def test_a_call_towards_a_browser(wss: Wss) -> None:
    """The request comes back over the connection, to a Request-URI of the invented host."""
    invite = said(
        f"INVITE {CONTACT[1:-1]} SIP/2.0",
        [
            f"Via: SIP/2.0/WSS {BOB}:443;branch=z9hG4bKs1",
            "Max-Forwards: 69",
            "To: <sip:alice@example.com>",
            "From: <sip:bob@example.com>;tag=b1",
            "Call-ID: c3",
            "CSeq: 1 INVITE",
            f"Contact: <sip:bob@{BOB}:443;transport=ws>",
        ],
        ANSWER.replace("a=setup:passive", "a=setup:actpass"),
    )
    wss.judge(invite, BOB, ALICE, (443, 50000))
    assert wss.decision is not None
    assert wss.decision.action is Action.ACCEPT
    answer = browser_sdp(MDNS + SEEN).replace("a=setup:actpass", "a=setup:active")
    wss.must(replied(invite, "200 OK", f"Contact: {CONTACT}", body=answer), ALICE, BOB)
    assert wss.hears(ALICE, BOB, 40000)
    assert wss.hears(BOB, ALICE, 30000)
