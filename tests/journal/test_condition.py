"""What a rule asked, in a record: masked by the header's name, escaped, cut."""

import json

from hypothesis import given
from hypothesis import strategies as st

from sipguard.journal.condition import condition_json
from sipguard.journal.observation import Answer, Condition


def value_of(name: str, value: bytes) -> str:
    told = condition_json(Condition("x", False, (Answer("x", True, ((name, value),)),)))
    tests = told["tests"]
    assert isinstance(tests, list)
    assert isinstance(tests[0], dict)
    values = tests[0]["values"]
    assert isinstance(values, dict)
    return str(values[name])


def test_a_header_is_masked_as_that_header() -> None:
    """A rule that asks for credentials must not write them down."""
    secret = (
        b'Digest username="bob", realm="r", nonce="n", response="0123456789abcdef0123456789abcdef"'
    )
    for name in ('header["Authorization"]', 'header["proxy-authorization"]'):
        shown = value_of(name, secret)
        assert "0123456789abcdef" not in shown
        assert 'username="bob"' in shown
    assert "c2VjcmV0" not in value_of('header["Authorization"]', b"Basic c2VjcmV0")
    assert value_of('header["X-Note"]', b"a, b") == "a, b"
    assert "hunter2" not in value_of("from.user", b"sip:bob:hunter2@h")


def test_no_rule_no_condition() -> None:
    """Empty, not missing."""
    assert condition_json(None) == {}


@given(st.text(max_size=50), st.binary(max_size=400), st.sampled_from([True, False, None]))
def test_any_octets_are_bounded_printable_text(text: str, value: bytes, holds: bool | None) -> None:
    """A policy may quote anything, and so may a stranger."""
    answers = (Answer(text, holds, (("src", value), ('header["X"]', value))),)
    line = json.dumps(condition_json(Condition(text, True, answers)), ensure_ascii=False)
    assert line.isprintable()
    assert len(line) < 8_000
