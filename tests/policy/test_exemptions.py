"""Exceptions as a file: read as a whole or refused, bounded, and never for everything."""

import contextlib
import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.moment import Moment
from sipguard.policy.exemptions import (
    ALLOW,
    LONGEST_S,
    MAX_EXEMPTIONS,
    Exemption,
    Exemptions,
    caller_key,
    check,
    read_exemptions,
    write_exemptions,
)

GOOD = Exemption(1, ALLOW, 100.0, 200.0, source="192.0.2.0/24", reason="why", by="root")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


def test_a_file_reads_back() -> None:
    """What the command line wrote is what the service asks."""
    assert read_exemptions(write_exemptions(2, (GOOD,))) == (2, (GOOD,))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"kind": "grant"}, "allow or mute"),
        ({"source": ""}, "name a source"),
        ({"source": "192.0.2.0/33"}, "no address"),
        ({"caller": "sip:alice@EXAMPLE.com"}, "no address of a caller"),
        ({"reason": " "}, "say why"),
        ({"reason": "x\n"}, "printable"),
        ({"by": "\u202e"}, "printable"),
        ({"reason": "x" * 201}, "printable"),
        ({"until_s": 100.0}, "lasts"),
        ({"until_s": 101.0 + LONGEST_S}, "lasts"),
        ({"number": 0}, "lasts"),
    ],
)
def test_what_cannot_be_in_force(changed: dict[str, object], said: str) -> None:
    """Nothing is excepted from everything, for ever, or without saying why."""
    with pytest.raises(ValueError, match=said):
        check(dataclasses.replace(GOOD, **changed))  # type: ignore[arg-type]


def test_a_number_names_one() -> None:
    """Records name exceptions by their numbers, months later."""
    for following, both in ((3, (GOOD, GOOD)), (1, (GOOD,))):
        with pytest.raises(ValueError, match="one number"):
            read_exemptions(write_exemptions(following, both))


def test_there_is_room_for_some() -> None:
    """Each refusal is held against all of them."""
    many = tuple(dataclasses.replace(GOOD, number=n) for n in range(1, MAX_EXEMPTIONS + 2))
    assert len(read_exemptions(write_exemptions(999, many[:-1]))[1]) == MAX_EXEMPTIONS
    with pytest.raises(ValueError, match="more than 256"):
        read_exemptions(write_exemptions(999, many))
    assert len(Exemptions(many).exemptions) == MAX_EXEMPTIONS


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("alice@Example.com", "sip:alice@example.com"),
        ("sips:alice@example.com:5061;x=y", "sips:alice@example.com"),
        ("tel:+1-555-0100", "tel:+15550100"),
    ],
)
def test_callers_compare_as_everywhere(text: str, key: str) -> None:
    """By the person, not by port or parameters."""
    assert caller_key(text) == key


@pytest.mark.parametrize("text", ["", "a b@c", "\u202e", "sip:", "@"])
def test_no_caller(text: str) -> None:
    """Told to the operator."""
    with pytest.raises(ValueError, match="no address of a caller"):
        caller_key(text)


def test_hits_are_counted() -> None:
    """By number, so that `sipguard exceptions` can tell what is of use."""
    both = Exemptions((GOOD, dataclasses.replace(GOOD, number=2, source="", rule="r")))
    inside, outside = bytes((192, 0, 2, 1)), bytes((203, 0, 113, 1))
    now = Moment(0.0, 150.0)
    assert both.find(ALLOW, inside, b"", "r", now) is GOOD
    assert both.find(ALLOW, outside, b"", "x", now) is None
    found = both.find(ALLOW, outside, b"", "r", now)
    assert found is not None
    assert both.hits == {1: 1, 2: 1}
    assert (both.in_force(99.0), both.in_force(100.0), both.in_force(200.0)) == (0, 2, 0)


@given(st.binary(max_size=200) | JSON.map(lambda told: json.dumps(told).encode()))
def test_any_octets_are_a_file_or_none(octets: bytes) -> None:
    """A torn or foreign file raises nothing else."""
    with contextlib.suppress(ValueError):
        read_exemptions(octets)


@given(st.dictionaries(st.sampled_from(sorted(dataclasses.asdict(GOOD))), JSON))
def test_any_row_is_an_exception_or_none(changed: dict[str, object]) -> None:
    """So is one whose values are of other kinds."""
    row = {**dataclasses.asdict(GOOD), **changed}
    told = {"version": 1, "next": 9, "exceptions": [row]}
    try:
        _, (one,) = read_exemptions(json.dumps(told).encode())
    except ValueError:
        return
    assert one.source or one.caller or one.rule
    assert 0 < one.until_s - one.since_s <= LONGEST_S
