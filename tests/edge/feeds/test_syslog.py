"""Syslog of RFC 5424 and CEF: read back by readers of their own, whatever the callers wrote."""

import re

import pytest
from hostile_octets import CORPUS
from hostile_records import A6, record
from hypothesis import given
from hypothesis import strategies as st
from receivers import read_cef

from sipguard.edge.feeds.syslog import (
    MAX_OCTETS,
    MAX_VALUE,
    common_event,
    framed,
    local_common_event,
    local_structured,
    sender_of,
    structured,
)
from sipguard.journal.record import Record
from sipguard.verdict import Action

SENDER = sender_of("gate way\n\u00fc", 42, "0.1.0")
_PARAMETER = re.compile(r' ([A-Za-z]+)="((?:[^"\\\]]|\\["\\\]])*)"')


def read(octets: bytes) -> tuple[str, dict[str, str], str]:
    """Return header, parameters and message by the grammar of RFC 5424 section 6."""
    header, bom, text = octets.partition(b" \xef\xbb\xbf")
    assert bom
    head = header.decode("utf-8")
    fixed = re.match(r"<(\d{1,3})>1 \S+ \S+ sipguard 42 (?:refused|accepted) ", head)
    assert fixed
    data = head[fixed.end() :]
    values: dict[str, str] = {}
    if data != "-":
        assert data.startswith("[sipguard@32473")
        at = len("[sipguard@32473")
        while found := _PARAMETER.match(data, at):
            values[found[1]] = re.sub(r"\\(.)", r"\1", found[2])
            at = found.end()
        assert data[at:] == "]"
    return fixed[0], values, text.decode("utf-8")


def test_a_message_with_structured_data() -> None:
    """Header, parameters, sentence."""
    head, values, text = read(structured(record(), SENDER))
    assert head == "<84>1 2026-05-28T20:26:40.250Z gateway sipguard 42 refused "
    assert values["src"] == "192.0.2.7"
    assert (values["rule"], values["reason"]) == ("spoofed", "refused-by-rule")
    assert text == (
        "INVITE from 192.0.2.7:5060 to 198.51.100.9: drop by spoofed: "
        "The rule spoofed of the policy refuses it."
    )


@pytest.mark.parametrize(
    ("one", "priority"),
    [
        (record(), 84),
        (record(alarm=True), 81),
        (record(action=Action.ACCEPT), 86),
        (record(mode="shadow", judged=Action.DROP, action=Action.DROP), 84),
    ],
)
def test_what_is_urgent_looks_it(one: Record, priority: int) -> None:
    """Facility authpriv; alarms are alerts."""
    assert structured(one, SENDER).startswith(b"<%d>1 " % priority)


@pytest.mark.parametrize("name", CORPUS)
def test_no_caller_ends_a_value(name: str) -> None:
    """Every value reads back as the record has it, cut; and no second element or line begins."""
    one = record(CORPUS[name])
    octets = structured(one, SENDER)
    _, values, text = read(octets)
    for key, value in (("caller", one.caller), ("to", one.to), ("callId", one.call_id)):
        assert values.get(key, "") == (
            value if len(value) <= MAX_VALUE else value[:MAX_VALUE] + "…"
        )
    assert values["src"] == "192.0.2.7"
    assert text.isprintable()
    assert len(octets) <= MAX_OCTETS
    assert b"\n" not in octets


@pytest.mark.parametrize("name", CORPUS)
def test_no_caller_writes_a_field_of_cef(name: str) -> None:
    """The header has seven fields, and the extension our keys alone."""
    one = record(CORPUS[name])
    octets = common_event(one, SENDER)
    _, _, text = read(octets)
    header, values = read_cef(text)
    assert header[:5] == ["CEF:0", "sipguard", "sipguard", "0.1.0", "refused-by-rule"]
    assert (values["src"], values["act"], values["spt"]) == ("192.0.2.7", "drop", "5060")
    assert set(values) <= {
        "rt", "externalId", "act", "src", "dst", "spt", "dpt", "proto", "app", "requestMethod",
        "suser", "duser", "cs1Label", "cs1", "cs2Label", "cs2", "cs3Label", "cs3", "cs4Label",
        "cs4", "outcome", "msg",
    }  # fmt: skip
    caller = one.caller if len(one.caller) <= MAX_VALUE else one.caller[:MAX_VALUE] + "…"
    assert values["suser"] == caller
    assert text.isprintable()
    assert len(octets) <= MAX_OCTETS


def test_ipv6_has_keys_of_its_own() -> None:
    """A SIEM that types ``src`` as IPv4 would drop the event."""
    _, _, text = read(common_event(record(src=A6), SENDER))
    _, values = read_cef(text)
    assert values["c6a2"] == "2001:db8::7"
    assert "src" not in values


@pytest.mark.parametrize("name", CORPUS)
def test_the_machine_s_own_socket_speaks_the_older_format(name: str) -> None:
    """Priority, time without a zone, program and process, as the C library writes them."""
    one = record(CORPUS[name])
    element, _, sentence = (
        structured(one, SENDER).decode().partition("refused ")[2].partition(" \ufeff")
    )
    event = common_event(one, SENDER).decode().partition("\ufeff")[2]
    for octets, text in (
        (local_structured(one, SENDER), f"{element} {sentence}"),
        (local_common_event(one, SENDER), event),
    ):
        head, _, told = octets.decode().partition(": ")
        assert re.fullmatch(r"<84>May (?:28|29) \d\d:\d\d:40 sipguard\[42\]", head)
        assert told == text
        assert told.isprintable()
        assert len(octets) <= MAX_OCTETS


def test_a_stream_tells_where_each_ends() -> None:
    """Octet counting: no message can hold the next one."""
    assert framed(b"abc") == b"3 abc"


@given(st.binary(max_size=300))
def test_any_caller_fits_both_formats(octets: bytes) -> None:
    """Nothing raises, and both read back."""
    one = record(octets)
    read(structured(one, SENDER))
    read_cef(read(common_event(one, SENDER))[2])


@given(st.floats(allow_nan=False))
def test_any_time_has_a_day(time_s: float) -> None:
    """A clock gone wrong ends no feed."""
    one = record()._replace(last_s=time_s)
    assert re.match(rb"<84>[A-Z][a-z]{2} [ \d]\d \d\d:", local_structured(one, SENDER))
