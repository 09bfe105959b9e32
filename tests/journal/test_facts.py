"""One list of facts for every face, and a word for each row of a ladder."""

import re
from pathlib import Path

import pytest
from nights import NOON, B, X, keep, night
from visitor import inside

from sipguard.cli.ladder import draw_ladder
from sipguard.cli.main import main
from sipguard.journal import told
from sipguard.journal.facts import facts_of
from sipguard.journal.ledger import id_of
from sipguard.journal.observation import Observation
from sipguard.journal.record import Json, record_of
from sipguard.reason import Reason
from sipguard.verdict import Action
from sipguard.web.charts import ladder_of


def test_terminal_and_page_list_the_same_facts_in_the_same_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who reads one to somebody who looks at the other finds the line."""
    night(tmp_path)
    assert main(["explain", "last", "--state-dir", str(tmp_path)]) == 0
    first = capsys.readouterr().out.partition("\nWhy")[0]
    rows = re.findall(r"(?m)^([A-Z][A-Za-z-]+)  +\S", first)
    page = inside(tmp_path).get("/call/last").text
    names = [name.removesuffix(" (claimed)") for name in re.findall(r"<dt>([^<]*)</dt>", page)]
    shared = [name for name in names if name in rows]
    assert len(shared) > 8
    assert [name for name in rows if name in names] == shared
    assert set(names) - set(rows) == {"When"}
    assert set(rows) - set(names) <= {"Record", "Identity"}


def test_every_fact_has_a_name_and_a_value() -> None:
    """An empty one is no fact."""
    also: Json = {"verdict": "drop", "rule": "x", "reason": "y", "count": 3}
    facts = list(facts_of({"also": [also, also], "to": ""}))
    assert all(name and value for name, value in facts)
    assert facts[1:] == [("Also", "drop by x (y), 3 times")] * 2


@pytest.mark.parametrize(("transport", "word"), [("tls", "connection"), ("udp", "datagram")])
def test_what_was_no_message_has_a_word_on_its_arrow(transport: str, word: str) -> None:
    """A handshake that failed has no start line, and an arrow without a word tells nothing."""
    seen = Observation(
        NOON, Action.DROP, Action.DROP, Reason.TLS_GARBAGE, X, B, transport=transport
    )
    record = record_of(seen, id_of(1)).to_json()
    assert told.parts(record, "ladder")[0]["message"] == ""
    ladder = ladder_of(record)
    assert ladder is not None
    assert [arrow.label for arrow in ladder.arrows] == [word]
    assert f"- {word} -" in "\n".join(draw_ladder(record))


def test_the_table_beside_the_drawing_has_the_word_too(tmp_path: Path) -> None:
    """Many ends are told as rows alone."""
    seen = Observation(NOON, Action.DROP, Action.DROP, Reason.TLS_GARBAGE, X, B, transport="tls")
    keep(tmp_path, [record_of(seen, id_of(1))])
    page = inside(tmp_path).get("/call/last").text
    assert "<td><bdi>connection</bdi></td>" in page
    assert ">connection [drop]</text>" in page
