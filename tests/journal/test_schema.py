"""The JSON Schema that is shipped, held against records of every kind."""

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from calls_builder import POLICY, STRANGER, Dialogue, World
from hostile_octets import CORPUS
from hostile_records import A6, record
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import (  # type: ignore[import-untyped] # it ships no types
    Draft202012Validator,
)
from nights import NIGHT, NOON, night
from phones import BOB
from stream_ends import ended, invited, refused

from sipguard.edge.archive import Archive
from sipguard.evidence import Evidence, State
from sipguard.journal.ledger import Ledger
from sipguard.journal.query import Query
from sipguard.journal.record import SCHEMA_VERSION, Record, record_of
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action

SCHEMA = json.loads(files("sipguard.journal").joinpath("record.schema.json").read_text())
RECORDS_PAGE = Path(__file__).parents[2] / "docs" / "records.md"
VALIDATOR = Draft202012Validator(SCHEMA)


def check(line: str) -> None:
    """Hold one line against the schema: valid, and every key in it is described."""
    told = json.loads(line)
    VALIDATOR.validate(told)
    assert list(told) == list(SCHEMA["properties"])


def of_ledger() -> Iterator[Record]:
    """Return records that grew, gave way to others, and have streams."""
    ledger = Ledger(per_source=2)
    seen = [invited(), invited(NOON + 1, judged=Action.DROP), refused(NOON + 2)]
    seen += [invited(NOON + 3, call_id=b"%d" % n, judged=Action.REJECT) for n in range(9)]
    made = [made for made in map(ledger.note, seen) if made is not None]
    ledger.stream_ended(ended(at_s=NOON + 4))
    ledger.stream_ended(ended(source=bytes([10, 0, 0, 9]), packets=0, at_s=NOON + 4))
    yield from made
    yield from ledger.flush(NOON + 5)


def proven(state: State) -> Record:
    finding = Finding(Reason.WRONG_SIGNATURE, "", b"\xff") if state is not State.VALID else None
    notes = (Finding(Reason.WRONG_SIGNATURE, "soon", b"x"),)
    proof = Evidence(
        state, finding, notes=notes, signer=b"sip:a@h", covers=(b"from", b"sdp"), attest=b"A"
    )
    return record(proofs=(("aib", proof), ("stir", proof)))


def test_the_schema_is_one() -> None:
    """By the rules of its own draft; its number is that of the records."""
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema"]["const"] == SCHEMA_VERSION


@pytest.mark.parametrize("name", CORPUS)
def test_hostile_callers(name: str) -> None:
    """Whatever they wrote: one object in one line, without a character that a terminal obeys."""
    line = record(CORPUS[name]).to_line()
    check(line)
    assert line.isprintable()
    assert len(line) < 16_384


@pytest.mark.parametrize("state", State)
def test_proofs_of_every_state(state: State) -> None:
    """Signed, unsigned, wrongly signed."""
    check(proven(state).to_line())


def test_what_grew_gave_way_and_has_streams() -> None:
    """Records as they are written again and again."""
    made = list(of_ledger())
    assert any(one.also for one in made)
    assert any(one.streams for one in made)
    assert any(one.more for one in made)
    for one in made:
        check(one.to_line())


def test_a_night(tmp_path: Path) -> None:
    """Judged by the guard and stored: replays, spoofed callers, clear media, ambiguity."""
    night(tmp_path, NIGHT)
    entries = Archive(tmp_path).find(Query())
    assert len(list(entries)) >= 5
    for entry in Archive(tmp_path).find(Query()):
        check(json.dumps(dict(entry.line)))


def test_other_ends_and_modes() -> None:
    """IPv6, shadow mode, no packet at all, a call that a rule logs."""
    for one in (
        record(src=A6, transport="tls", zone="office", ipsec=True),
        record(mode="shadow", judged=Action.REJECT, action=Action.ACCEPT, status=403, phrase="No"),
        record(src=b"", raw=b""),
        record(action=Action.ACCEPT, log=True, alarm=True),
    ):
        check(one.to_line())
    world = World(POLICY.replace("hosts      accept      if src in phones",
                                 "hosts accept if src in phones log alarm"))  # fmt: skip
    world.talk()
    world.send(Dialogue(call_id="c2").invite(), STRANGER, BOB)
    assert len(world.records) >= 2
    for seen in world.records:
        check(record_of(seen, "00000001").to_line())


@given(st.binary(max_size=200), st.sampled_from(Reason), st.sampled_from([*Action][:3]))
def test_any_octets_and_reasons(octets: bytes, reason: Reason, action: Action) -> None:
    """No reason's code and no caller's octets leave the schema."""
    check(record(octets, reason=reason, judged=action, action=action).to_line())


def test_a_wrong_record_is_refused() -> None:
    """A schema that takes anything tells nothing."""
    told = record().to_json()
    for key, value in (("verdict", "hold"), ("src_port", 65536), ("time", "now"), ("id", "x")):
        assert not VALIDATOR.is_valid({**told, key: value})
    del told["reason"]
    assert not VALIDATOR.is_valid(told)


def test_every_key_is_in_the_documentation() -> None:
    """docs/records.md and the schema tell of the same keys."""
    page = RECORDS_PAGE.read_text()
    assert [key for key in SCHEMA["properties"] if f"`{key}`" not in page] == []
