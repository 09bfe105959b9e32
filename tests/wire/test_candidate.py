"""wire.candidate: what SDP says about ICE, at which level, and what of it can be used (PIN-13)."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.candidate import (
    MAX_CANDIDATES,
    MAX_FINDINGS,
    MAX_OPTIONS,
    Ice,
    parse_candidate,
    read_ice,
)
from sipguard.wire.packet import parse_address
from sipguard.wire.sdp import parse_sdp

CORPUS = Path(os.environ.get("SIPGUARD_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
HOST = b"1 1 UDP 2130706431 203.0.113.141 8998 typ host"
REFLEXIVE = b"2 1 UDP 1694498815 192.0.2.3 45664 typ srflx raddr 203.0.113.141 rport 8998"
PWD = b"asd88fgpdd777uzjYhagZg"


def ice(*media: bytes, session: bytes = b"", more: bytes = b"") -> Ice | None:
    """What the first section says, from attributes of both levels, one per argument."""
    own = b"".join(b"a=" + line + b"\r\n" for line in media)
    text = b"v=0\r\no=- 1 1 IN IP4 192.0.2.3\r\ns=-\r\nc=IN IP4 192.0.2.3\r\nt=0 0\r\n"
    sdp = parse_sdp(text + session + b"m=audio 45664 RTP/AVP 0\r\n" + own + more)
    return read_ice(sdp, sdp.media[0])


def used(*media: bytes, session: bytes = b"") -> Ice:
    found = ice(*media, session=session)
    assert found is not None
    return found


CREDENTIALS = (b"ice-ufrag:8hhY", b"ice-pwd:" + PWD)


# --- a=candidate


def test_a_host_candidate() -> None:
    """RFC 8839 section 5.1, the example of its section 4.2.6."""
    candidate = parse_candidate(HOST)
    assert candidate.is_usable
    assert (candidate.foundation, candidate.component, candidate.transport) == (b"1", 1, b"udp")
    assert (candidate.priority, candidate.port, candidate.type) == (2_130_706_431, 8998, b"host")
    assert candidate.address == parse_address(b"203.0.113.141")


@pytest.mark.parametrize("kind", [b"srflx", b"prflx", b"relay"])
def test_a_reflexive_candidate_counts_with_its_own_address(kind: bytes) -> None:
    """PIN-13: packets come from 192.0.2.3; what lies behind it never crosses here."""
    candidate = parse_candidate(REFLEXIVE.replace(b"srflx", kind))
    assert candidate.is_usable
    assert (candidate.address, candidate.port) == (parse_address(b"192.0.2.3"), 45_664)
    assert candidate.type == kind


@pytest.mark.parametrize(
    "line",
    [
        HOST.replace(b"UDP", b"udp"),
        HOST.replace(b"203.0.113.141", b"2001:db8::1"),
        HOST + b" generation 0 ufrag 8hhY network-id 1 network-cost 10",
        HOST + b" ",
        REFLEXIVE.replace(b"203.0.113.141 rport 8998", b"0.0.0.0 rport 0"),
        HOST.replace(b"1 1", b"a+/Z9 256"),
        HOST.replace(b"1 1", b"x" * 32 + b" 100"),
        HOST.replace(b"8998", b"1"),
        HOST.replace(b"2130706431", b"1"),
        HOST.replace(b"2130706431", b"2147483647"),
        HOST.replace(b"8998", b"65535"),
    ],
)
def test_usable_lines(line: bytes) -> None:
    """Lower case, IPv6, extensions, hidden related addresses, and every limit."""
    assert parse_candidate(line).is_usable


@pytest.mark.parametrize(
    "line",
    [
        HOST.replace(b"203.0.113.141", b"phone.example.com"),
        HOST.replace(b"203.0.113.141", b"1f4712db-ea17-4bcf-a596-105139dfd8bf.local"),
        HOST.replace(b"UDP", b"TCP") + b" tcptype active",
        HOST.replace(b"203.0.113.141", b"x"),
        HOST.replace(b"UDP", b"ssltcp"),
        HOST.replace(b"UDP", b"x"),
        HOST.replace(b"typ host", b"typ imaginary"),
        HOST.replace(b"8998", b"0"),
    ],
    ids=["name", "mdns", "tcp", "letter", "ssltcp", "transport", "type", "port 0"],
)
def test_well_formed_and_of_no_use(line: bytes) -> None:
    """Names are to be ignored (RFC 8839 section 5.1), and only UDP gets a pinhole; no fault."""
    candidate = parse_candidate(line)
    assert not candidate.is_usable
    assert candidate.problem is None


def test_a_name_has_no_address() -> None:
    """Neither a domain's nor mDNS's is resolved (SDP-3)."""
    for name in (b"phone.example.com", b"1f4712db.local"):
        assert parse_candidate(HOST.replace(b"203.0.113.141", name)).address == b""


@pytest.mark.parametrize(
    "line",
    [
        b"",
        HOST.rpartition(b" ")[0],
        HOST.replace(b" typ", b" type"),
        HOST.replace(b"1 1", b"1  1"),
        HOST.replace(b"1 1", b"! 1"),
        HOST.replace(b"1 1", b"x" * 33 + b" 1"),
        HOST.replace(b"1 1", b"1 0"),
        HOST.replace(b"1 1", b"1 257"),
        HOST.replace(b"1 1", b"1 -1"),
        HOST.replace(b"2130706431", b"0"),
        HOST.replace(b"2130706431", b"2147483648"),
        HOST.replace(b"2130706431", b"1e9"),
        HOST.replace(b"203.0.113.141", b"[::1]"),
        HOST.replace(b"8998", b"65536"),
        HOST.replace(b"8998", b"08998"),
        HOST.replace(b"UDP", b"U/DP"),
        HOST.replace(b"host", b"(host)"),
        HOST.replace(b" ", b"\t"),
    ],
)
def test_malformed_lines(line: bytes) -> None:
    """PIN-13: a candidate that an agent may read in another way, or not at all."""
    candidate = parse_candidate(line)
    assert candidate.problem is Reason.BAD_CANDIDATE
    assert not candidate.is_usable


@given(st.binary(max_size=120))
def test_reading_a_candidate_is_total(value: bytes) -> None:
    """No octets raise; what can be used has an address and a port."""
    candidate = parse_candidate(value)
    if candidate.is_usable:
        assert len(candidate.address) in (4, 16)
        assert 0 < candidate.port <= 65_535
        assert 1 <= candidate.component <= 256


@given(
    st.lists(
        st.sampled_from([b"1", b"UDP", b"2130706431", b"::1", b"9", b"typ", b"host", b"", b"x"]),
        max_size=12,
    )
)
def test_words_in_any_order_are_total(words: list[bytes]) -> None:
    """A line made of the right words raises nothing either."""
    parse_candidate(b" ".join(words))


# --- a whole section


def test_no_sign_of_ice() -> None:
    """Candidates without credentials, and a session that is lite, use no ICE."""
    assert ice() is None
    assert ice(b"candidate:" + HOST) is None
    assert ice(b"candidate:" + HOST, session=b"a=ice-lite\r\n") is None


def test_credentials_of_the_section() -> None:
    """SDP-5: at the level of the media."""
    found = used(*CREDENTIALS, b"candidate:" + HOST, b"candidate:" + REFLEXIVE)
    assert (found.ufrag, found.pwd) == (b"8hhY", PWD)
    assert [candidate.port for candidate in found.candidates] == [8998, 45_664]
    assert found.is_usable
    assert found.findings == ()


SESSION = b"a=ice-ufrag:9uB6\r\na=ice-pwd:YH75Fviy6338Vbrhrlp8Yh\r\na=ice-options:ice2\r\n"


def test_credentials_of_the_session() -> None:
    """SDP-5: inherited where the section has none."""
    found = used(b"candidate:" + HOST, session=SESSION)
    assert (found.ufrag, found.pwd) == (b"9uB6", b"YH75Fviy6338Vbrhrlp8Yh")
    assert found.options == (b"ice2",)


def test_the_section_overrides_the_session() -> None:
    """SDP-5: RFC 8839 section 5.4, each attribute for itself."""
    found = used(*CREDENTIALS, b"ice-options:trickle rtp+ecn", session=SESSION)
    assert (found.ufrag, found.pwd) == (b"8hhY", PWD)
    assert found.options == (b"trickle", b"rtp+ecn")
    half = used(b"ice-ufrag:8hhY", session=SESSION)
    assert (half.ufrag, half.pwd) == (b"8hhY", b"YH75Fviy6338Vbrhrlp8Yh")


@pytest.mark.parametrize(
    "lines",
    [
        (b"ice-ufrag:8hhY",),
        (b"ice-pwd:" + PWD,),
        (b"ice-ufrag:8hh", b"ice-pwd:" + PWD),
        (b"ice-ufrag:8h:Y", b"ice-pwd:" + PWD),
        (b"ice-ufrag:8hhY", b"ice-pwd:" + PWD[:21]),
        (b"ice-ufrag:8hhY", b"ice-pwd:" + PWD + b"="),
        (b"ice-ufrag:8hhY", b"ice-pwd:" + b"x" * 257),
        (*CREDENTIALS, b"ice-ufrag:other"),
        (*CREDENTIALS, b"ice-pwd:" + PWD[::-1]),
    ],
)
def test_credentials_that_verify_nothing(lines: tuple[bytes, ...]) -> None:
    """Missing, too short for RFC 8839 section 5.4, with a foreign character, or two of them."""
    found = used(*lines)
    assert not found.is_usable
    assert len(lines) == 1 or found.findings[0].reason is Reason.BAD_CANDIDATE


def test_the_same_credential_twice_is_one() -> None:
    """A repeated line says nothing new."""
    assert used(*CREDENTIALS, *CREDENTIALS).is_usable


def test_lite_is_said_of_the_session() -> None:
    """RFC 8839 section 5.3; in a section it is ignored, and flagged (SDP-5)."""
    assert used(*CREDENTIALS, session=b"a=ice-lite\r\n").is_lite
    found = used(*CREDENTIALS, b"ice-lite")
    assert not found.is_lite
    assert found.findings[0].reason is Reason.SDP_LEVEL


def test_a_mismatch_ends_ice_for_its_section() -> None:
    """PIN-17: the answer says so, at the level of the media alone."""
    found = used(*CREDENTIALS, b"ice-mismatch")
    assert found.is_mismatch
    assert not found.is_usable
    alone = used(b"ice-mismatch")
    assert alone.is_mismatch
    found = used(*CREDENTIALS, session=b"a=ice-mismatch\r\n")
    assert found.is_usable
    assert found.findings[0].reason is Reason.SDP_LEVEL


def test_remote_candidates() -> None:
    """RFC 8839 section 5.2: component, address and port, on one line or several."""
    first, second = (1, parse_address(b"192.0.2.3"), 45_664), (2, parse_address(b"::1"), 45_665)
    one = used(*CREDENTIALS, b"remote-candidates:1 192.0.2.3 45664 2 ::1 45665")
    two = used(
        *CREDENTIALS,
        b"remote-candidates:1 192.0.2.3 45664",
        b"remote-candidates:2 ::1 45665",
    )
    assert one.remote == two.remote == (first, second)


@pytest.mark.parametrize("value", [b"", b"1 192.0.2.3", b"1 192.0.2.3 45664 2", b"0 192.0.2.3 9",
                                   b"1 192.0.2.3 65536", b"1 [::1] 9", b"257 ::1 9"])  # fmt: skip
def test_remote_candidates_that_cannot_be_read(value: bytes) -> None:
    """They are none, and said to be."""
    found = used(*CREDENTIALS, b"remote-candidates:" + value)
    assert found.remote == ()
    assert found.findings[0].reason is Reason.BAD_CANDIDATE
    assert found.is_usable


def test_a_bad_candidate_does_not_spoil_the_others() -> None:
    """PIN-13: it is left out, and told with the line."""
    found = used(*CREDENTIALS, b"candidate:nonsense", b"candidate:" + HOST)
    assert len(found.candidates) == 1
    assert [(one.reason, one.octets) for one in found.findings] == [
        (Reason.BAD_CANDIDATE, b"nonsense")
    ]


def test_candidates_findings_and_options_are_bounded() -> None:
    """GEN-3: a body of 64 KiB cannot grow the record or the plan."""
    lines = [b"candidate:" + HOST] * (MAX_CANDIDATES + 1)
    full, over = used(*CREDENTIALS, *lines[1:]), used(*CREDENTIALS, *lines)
    assert len(full.candidates) == len(over.candidates) == MAX_CANDIDATES
    assert full.findings == ()
    assert [one.reason for one in over.findings] == [Reason.BAD_CANDIDATE]
    ends = b"remote-candidates:" + b" ".join([b"1 ::1 4000"] * MAX_CANDIDATES)
    assert len(used(*CREDENTIALS, ends).remote) == MAX_CANDIDATES
    assert used(*CREDENTIALS, ends + b" 1 ::1 4000").remote == ()
    found = used(*CREDENTIALS, *[b"candidate:bad"] * 20, b"ice-options:" + b"x " * 99)
    assert len(found.findings) == MAX_FINDINGS
    assert len(found.options) == MAX_OPTIONS


def test_new_credentials_are_a_restart() -> None:
    """RFC 8445 section 9; the same ones at another level are none (RFC 8839 section 4.4.1.1.1)."""
    here = used(*CREDENTIALS)
    there = used(session=b"a=ice-ufrag:8hhY\r\na=ice-pwd:" + PWD + b"\r\n")
    assert not there.is_restart_of(here)
    assert used(session=SESSION).is_restart_of(here)
    assert used(b"ice-ufrag:8hhZ", CREDENTIALS[1]).is_restart_of(here)


def test_the_parser_of_sdp_stays_silent() -> None:
    """SDP-5: a candidate of the session is flagged there, and no section's."""
    found = used(*CREDENTIALS, session=b"a=candidate:" + HOST + b"\r\n")
    assert found.candidates == ()


FOLDERS = ("sdp/sdp-transform", "sdp/rfc", "sdes/rtpengine-sdp", "sdp/mozilla-webrtc-sdp")


@pytest.mark.parametrize("folder", FOLDERS)
def test_real_descriptions(folder: str) -> None:
    """Browsers, servers and the RFCs write nothing that is refused here."""
    if not (CORPUS / folder).exists():
        pytest.skip("the corpus is not here")
    seen = 0
    for path in sorted((CORPUS / folder).glob("*.sdp")):
        try:
            sdp = parse_sdp(path.read_bytes())
        except HostileInput:
            continue
        for media in sdp.media:
            found = read_ice(sdp, media)
            if found is not None:
                seen += 1
                wrong = [one for one in found.findings if one.reason is Reason.BAD_CANDIDATE]
                assert wrong == [], path
                assert found.is_usable or found.is_mismatch
    assert seen or folder == "sdp/mozilla-webrtc-sdp"
