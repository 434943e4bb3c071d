"""Rows of a statement as Arrow: every value as PostgreSQL has it, whatever the text, in blocks of any size."""

from typing import Any

import pyarrow as pa
import pytest

from ingestion_pipeline.storage import arrow_rows
from ingestion_pipeline.storage.arrow_rows import selected, selected_blocks
from ingestion_pipeline.storage.postgres import Postgres

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("count", pa.int64()),
        ("number", pa.float64()),
        ("flag", pa.bool_()),
        ("day", pa.date32()),
        ("instant", pa.timestamp("us", tz="UTC")),
    ]
)
ODD = 'a "quoted",\ncomma, tab\t, \\N and ümläut'
VALUES = f"""
select * from (
    values ('', 1, 0.1::double precision, true, '2026-03-02'::date, '2026-03-02 01:02:03.000004Z'::timestamptz),
    ($odd${ODD}$odd$, -9007199254740993, 1e300, false, '2026-03-03', '2026-03-03Z'),
    (null, null, null, null, null, null), ('last', 4, -0.0, true, '2026-03-04', '2026-03-04Z')
) as given
"""


def rows(postgres: Postgres, statement: str = VALUES, **over: Any) -> list[dict[str, Any]]:
    with postgres.transaction() as connection:
        return selected(connection, statement, over, SCHEMA).to_pylist()


def test_values_are_those_of_the_server(postgres: Postgres) -> None:
    """An empty text is no NULL, a float keeps its last bit, a line break ends no row."""
    with postgres.transaction() as connection:
        expected = connection.execute(VALUES).fetchall()
    found = [tuple(row.values()) for row in rows(postgres)]
    assert expected == found
    assert "" == found[0][0]


def test_parameters_are_values(postgres: Postgres) -> None:
    statement = f"select * from ({VALUES}) as them (a, b, c, d, e, f) where a = %(text)s"
    assert [ODD] == [row["text"] for row in rows(postgres, statement, text=ODD)]


def test_no_row_is_a_table_without_rows(postgres: Postgres) -> None:
    with postgres.transaction() as connection:
        assert SCHEMA.empty_table() == selected(connection, f"{VALUES} limit 0", {}, SCHEMA)


@pytest.mark.parametrize(("max_rows", "sizes"), [(1, [1, 1, 1, 1]), (3, [3, 1]), (4, [4]), (None, [4])])
def test_blocks_have_at_most_so_many_rows(postgres: Postgres, max_rows: int | None, sizes: list[int]) -> None:
    with postgres.transaction() as connection:
        blocks = list(selected_blocks(connection, VALUES, {}, SCHEMA, max_rows=max_rows))
    assert sizes == [block.num_rows for block in blocks]


def test_blocks_have_at_most_so_many_bytes(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows come, whichever block they are in."""
    whole = rows(postgres)
    monkeypatch.setattr(arrow_rows, "BYTES_PER_BLOCK", 1)
    with postgres.transaction() as connection:
        assert 4 == len(list(selected_blocks(connection, VALUES, {}, SCHEMA)))
    assert whole == rows(postgres)
