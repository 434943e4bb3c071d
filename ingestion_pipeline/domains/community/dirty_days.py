"""Days of donations and rules that have changed since they were last reported as built (community.mark_dirty_days)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from psycopg.rows import class_row

from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.storage.postgres import Postgres

_READ = "select table_name, day, marked_at from community.dirty_days where table_name = %s order by day"
_SETTLE = "delete from community.dirty_days where (table_name, day, marked_at) = (%s, %s, %s)"


@dataclass(frozen=True)
class DirtyDay:
    """A UTC day of a table that has changed."""

    table_name: str
    day: date
    marked_at: datetime


def dirty_days(postgres: Postgres, table: Table) -> list[DirtyDay]:
    """The days of a table that have changed and are not yet reported as built."""
    with postgres.transaction() as connection, connection.cursor(row_factory=class_row(DirtyDay)) as cursor:
        return cursor.execute(_READ, [table.name]).fetchall()


def settle_dirty_days(postgres: Postgres, days: Sequence[DirtyDay]) -> None:
    """They are reported; one that has changed again meanwhile stays."""
    with postgres.transaction() as connection:
        for it in days:
            connection.execute(_SETTLE, [it.table_name, it.day, it.marked_at])
