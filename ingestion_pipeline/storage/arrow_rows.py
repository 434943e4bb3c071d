"""Rows that PostgreSQL selects, as Arrow: by COPY and Arrow's reader of CSV, never as Python objects.

Belongs here: the way from a statement to tables. Does not belong here: which statements there are.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg
import pyarrow as pa
from pyarrow import csv

BYTES_PER_BLOCK = 64_000_000


def selected_blocks(
    connection: psycopg.Connection[Any],
    statement: str,
    parameters: Mapping[str, object],
    schema: pa.Schema,
    *,
    max_rows: int | None = None,
) -> Iterator[pa.Table]:
    """The rows of `statement`, whose columns are those of `schema`, at most about 64 MB of text or `max_rows` a time.

    An empty text is a text; NULL is null.
    """
    with (
        connection.cursor() as cursor,
        cursor.copy(f"copy ({statement}) to stdout (format csv)".encode(), parameters) as lines,
    ):
        block, size = list[Any](), 0
        for line in lines:
            block.append(line)
            size += len(line)
            if len(block) == max_rows or size >= BYTES_PER_BLOCK:
                yield _table(block, schema)
                block, size = [], 0
        if block:
            yield _table(block, schema)


def selected(
    connection: psycopg.Connection[Any], statement: str, parameters: Mapping[str, object], schema: pa.Schema
) -> pa.Table:
    """All of them as one table."""
    return pa.concat_tables([schema.empty_table(), *selected_blocks(connection, statement, parameters, schema)])


def _table(lines: Sequence[Any], schema: pa.Schema) -> pa.Table:
    text = b"".join(lines)
    return csv.read_csv(
        io.BytesIO(text),
        # one block: a row that is longer than a block cannot be read
        read_options=csv.ReadOptions(column_names=schema.names, block_size=len(text) + 1),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=dict(zip(schema.names, schema.types, strict=True)),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            timestamp_parsers=[csv.ISO8601],
        ),
    )
