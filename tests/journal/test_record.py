"""The record: one self-contained, masked, escaped JSON object with a stable order of keys."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.journal.observation import MediaNote, Observation
from sipguard.journal.record import (
    MAX_LADDER,
    Rung,
    bounded_ladder,
    caller_of,
    iso_time,
    record_of,
    show_address,
)
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action, Endpoint

A, B = bytes([192, 0, 2, 1]), bytes([198, 51, 100, 7])
KEY = b"WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"

# fmt: off
KEYS = [
    "id", "time", "verdict", "mode", "rule", "place", "reason", "why", "field", "src",
    "src_port", "dst", "dst_port", "transport", "interface", "zone", "ipsec", "method", "status",
    "request_uri",
    "from", "to", "contact", "call_id", "cseq", "branch", "user_agent", "identity", "media",
    "dialog", "count", "more", "more_from_others", "first_time", "last_time", "findings",
    "ladder", "also", "caller", "applied", "code", "phrase", "alarm", "packets",
    "streams", "more_streams", "condition", "schema",
]
# fmt: on


def observation(**changes: object) -> Observation:
    return Observation(
        utc_s=1_767_225_600.5,
        action=Action.REJECT,
        judged=Action.REJECT,
        reason=Reason.REFUSED_BY_RULE,
        src=A,
        dst=B,
        sport=5060,
        dport=5060,
        rule="spoofed",
        place="strict.policy:29",
        status=403,
        method=b"INVITE",
        from_=b'"Al\x1bice" <sip:alice:pw@Example.com>;tag=1',
        call_id=b"a84b4c@h",
        start_line=b"INVITE sip:b@c SIP/2.0",
    )._replace(**changes)  # type: ignore[arg-type]


def test_keys_and_their_order_are_a_contract() -> None:
    """Programs that read the lines rely on these names, and people on their order."""
    record = record_of(observation(), "00000001")
    assert list(json.loads(record.to_line())) == KEYS


def test_what_the_guard_told_is_all_there() -> None:
    """The record explains itself without the service, the policy or the capture."""
    told = record_of(observation(alarm=True), "00000001").to_json()
    assert told["time"] == "2026-01-01T00:00:00.500Z"
    assert (told["verdict"], told["code"], told["rule"]) == ("reject", 403, "spoofed")
    assert told["why"] == "The rule spoofed of the policy refuses it."
    assert (told["src"], told["src_port"], told["dst"]) == ("192.0.2.1", 5060, "198.51.100.7")
    assert told["from"] == '"Al\\x1bice" <sip:alice:***@Example.com>;tag=1'
    assert told["caller"] == "alice@example.com"
    assert told["identity"] == {}
    assert told["status"] is None
    assert told["alarm"] is True
    assert told["ladder"] == [
        {
            "time": "2026-01-01T00:00:00.500Z",
            "message": "INVITE",
            "src": "192.0.2.1",
            "dst": "198.51.100.7",
            "verdict": "reject",
        }
    ]


def test_a_response_and_a_drop() -> None:
    """A response has its status; a drop has no code."""
    record = record_of(
        observation(judged=Action.DROP, sip_status=200, reason=Reason.STRAY_RESPONSE), "00000001"
    )
    told = record.to_json()
    assert (told["status"], told["code"]) == (200, None)
    assert record.ladder[0].message == "200 INVITE"
    assert told["why"] == "A response to no request that was seen."


def test_shadow_mode_tells_both_what_was_said_and_done() -> None:
    """In shadow mode the call went through, and the record does not pretend otherwise."""
    told = record_of(observation(action=Action.ACCEPT, mode="shadow"), "00000001").to_json()
    assert (told["verdict"], told["applied"], told["mode"]) == ("reject", "accept", "shadow")


def test_media_is_told_by_its_ends() -> None:
    """A reviewer sees which stream was refused a key, and between whom."""
    note = MediaNote(
        b"audio", b"RTP/AVP", b"", b"", False, Reason.NOT_KEYED, Endpoint(A, 4000), Endpoint(b"", 0)
    )
    told = record_of(observation(media=(note,)), "00000001").to_json()
    assert told["media"] == [
        {
            "kind": "audio",
            "transport": "RTP/AVP",
            "key_method": "",
            "suite": "",
            "keyed": False,
            "reason": "not-keyed",
            "detail": "",
            "caller": {"address": "192.0.2.1", "port": 4000},
            "callee": {"address": "", "port": 0},
        }
    ]


def test_no_key_gets_into_any_part() -> None:
    """A finding that quotes the middle of a key is masked by what the whole message says."""
    raw = b"INVITE sip:b@c SIP/2.0\r\n\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY
    finding = Finding(Reason.BAD_CRYPTO, "length", raw[-30:])
    record = record_of(
        observation(raw=raw, octets=raw[-25:-5], findings=(finding,), user_agent=raw[-60:]), "0"
    )
    assert KEY[-12:].decode() not in record.to_line()
    assert KEY[15:27].decode() not in record.to_line()
    assert record.field == "***"
    assert record.message.endswith(b"inline:***")
    assert record.octets == len(raw)


@given(st.binary(max_size=400), st.binary(max_size=300), st.floats(allow_nan=False))
def test_any_octets_make_one_printable_line(raw: bytes, octets: bytes, utc_s: float) -> None:
    """No packet can break the line its record is written on."""
    fields = ("request_uri", "from_", "to", "contact", "call_id", "cseq", "branch", "user_agent")
    seen = observation(
        utc_s=utc_s, raw=raw, octets=octets, method=octets[:9],
        findings=(Finding(Reason.BAD_URI, "x", octets),) * 40,
        ladder=((utc_s, octets, octets[:4], octets[:16]),),
        **dict.fromkeys((*fields, "start_line"), octets),
    )  # fmt: skip
    line = record_of(seen, "00000001").to_line()
    assert line.isprintable()
    assert len(line) < 60_000
    assert list(json.loads(line)) == KEYS


@pytest.mark.parametrize(
    ("value", "caller"),
    [
        (b"<sip:alice@Example.COM>;tag=1", "alice@example.com"),
        (b"sip:alice@example.com;tag=1", "alice@example.com"),
        (b'"a <x>" <sips:alice:pw@example.com:5061;user=phone>', "alice@example.com:5061"),
        (b"<tel:+4930123>;tag=2", "+4930123"),
        (b"<sip:192.0.2.1>", "192.0.2.1"),
        (b"<sip:a@b", "a@b"),
        (b"", ""),
        (b"alice", "alice"),
        (b"\x00<>", ""),
    ],
)
def test_caller_is_read_from_any_from(value: bytes, caller: str) -> None:
    """Grouping by caller works for broken senders too, and never shows a password."""
    assert caller_of(value) == caller


def test_a_long_ladder_keeps_its_start_and_its_end() -> None:
    """How a call began and what happened last both survive a storm of retransmissions."""
    rungs = tuple(Rung(float(n), "INVITE", "a", "b") for n in range(100))
    kept = [int(rung.time_s) for rung in bounded_ladder(rungs)]
    assert len(kept) == MAX_LADDER
    assert kept == [*range(8), *range(76, 100)]


def test_a_judged_row_beats_the_same_row_told() -> None:
    """The ladder marks the message that was refused, once."""
    told, judged = Rung(1.0, "BYE", "a", "b"), Rung(1.0, "BYE", "a", "b", "drop")
    assert bounded_ladder((told, judged)) == (judged,)
    assert bounded_ladder((judged, told)) == (judged,)


def test_addresses_and_times_of_any_kind() -> None:
    """A broken clock or an empty address is shown, not a crash."""
    assert show_address(bytes(15) + b"\x01") == "::1"
    assert show_address(b"") == ""
    assert show_address(b"\x01") == "\\x01"
    assert iso_time(1e300) == "1970-01-01T00:00:00.000Z"
    assert iso_time(1_767_225_600.0004) == "2026-01-01T00:00:00.000Z"


def test_the_documentation_names_every_key_in_order() -> None:
    """Who parses the lines reads docs/records.md, not our code."""
    text = (Path(__file__).parents[2] / "docs" / "records.md").read_text()
    text = text[: text.index("## Proofs")]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    assert [key for row in rows for key in re.findall(r"`(\w+)`", row)] == KEYS
