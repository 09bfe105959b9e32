"""What a record store counts, and the same counted from its records."""

import sqlite3
from pathlib import Path

from sipguard.edge.tallies import COUNTED, HOUR_S

Row = tuple[object, ...]


def counted(path: Path) -> set[Row]:
    """What ``tallies`` says of each source, caller, rule and reason."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute(
            "SELECT kind, span, start, key, verdict, records, messages FROM tallies"
            " WHERE kind <> 'all'"
        ).fetchall()
    connection.close()
    return set(rows)


def recounted(path: Path) -> set[Row]:
    """The same, counted from the records themselves."""
    with sqlite3.connect(path) as connection:
        rows = {
            row
            for kind, spans in COUNTED.items()
            for span in spans
            for row in connection.execute(
                f"SELECT '{kind}', {span}, CAST(first_s / {HOUR_S * span} AS INTEGER) * {span},"
                f" {kind}, verdict, count(*), sum(count + more) FROM records GROUP BY 3, 4, 5"
            )
        }
    connection.close()
    return rows
