"""Putting the rows of one UTC day in the place of the former ones: only what differs is written, and counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
import pyarrow as pa

from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.storage.postgres import copy_rows

_COMPARED = """
select
    count(*) filter (where old.is_there is null) as inserted,
    count(*) filter (
        where new.is_there and old.is_there and row({new_columns}) is distinct from row({old_columns})
    ) as updated,
    count(*) filter (where new.is_there is null) as deleted,
    count(*) filter (
        where new.is_there and old.is_there and row({new_columns}) is not distinct from row({old_columns})
    ) as unchanged
from (select {columns}, true as is_there from {incoming}) as new
full join (select {columns}, true as is_there from {table} where day = %s) as old using ({key})
"""


@dataclass(frozen=True)
class Changes:
    """What building a day again does to the rows of one table."""

    inserted: int
    updated: int
    deleted: int
    unchanged: int


def replaced(
    connection: psycopg.Connection[Any], table: Table, rows: pa.Table, day: date, *, is_dry: bool = False
) -> Changes:
    """Makes `rows` the only rows of `table` of `day`, unless it is dry; what that changes.

    Columns that `rows` does not have are neither compared nor written.
    """
    names = rows.column_names
    values = [name for name in names if name not in table.key]
    incoming = f"incoming_{table.name}"
    words = {
        "table": table.qualified_name,
        "incoming": incoming,
        "columns": ", ".join(names),
        "key": ", ".join(table.key),
        "new_columns": ", ".join(f"new.{name}" for name in values),
        "old_columns": ", ".join(f"old.{name}" for name in values),
    }
    connection.execute(f"drop table if exists {incoming}".encode())
    like = "create temporary table {incoming} on commit drop as select {columns} from {table} limit 0"
    connection.execute(like.format(**words).encode())
    with connection.cursor() as cursor:
        copy_rows(cursor, incoming, rows)
    connection.execute(f"analyze {incoming}".encode())  # that it is joined, not looked through for every row
    (counts,) = connection.execute(_COMPARED.format(**words).encode(), [day]).fetchall()
    changes = Changes(*counts)
    if is_dry:
        return changes
    if changes.deleted:
        _delete(connection, table, words, day)
    if changes.inserted + changes.updated:
        _upsert(connection, words, values)
    return changes


def _delete(connection: psycopg.Connection[Any], table: Table, words: Mapping[str, str], day: date) -> None:
    # a day that is newer than the statistics of the table counts as one row, and its join is planned for one
    connection.execute("create index on {incoming} ({key})".format(**words).encode())
    same = " and ".join(f"new.{name} = old.{name}" for name in table.key)
    gone = "delete from {table} as old where day = %s and not exists (select from {incoming} as new where {same})"
    connection.execute(gone.format(**words, same=same).encode(), [day])


def _upsert(connection: psycopg.Connection[Any], words: Mapping[str, str], values: list[str]) -> None:
    changed = (
        "insert into {table} as old ({columns}) select {columns} from {incoming} as new order by {key} "
        "on conflict ({key}) do update set {assigned} where row({old_columns}) is distinct from row({excluded})"
    )
    assigned = ", ".join(f"{name} = excluded.{name}" for name in values)
    excluded = ", ".join(f"excluded.{name}" for name in values)
    connection.execute(changed.format(**words, assigned=assigned, excluded=excluded).encode())
