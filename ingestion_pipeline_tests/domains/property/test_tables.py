"""The declared tables are those of the database, and who may do what with them."""

from datetime import timedelta

import psycopg
import pytest

from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.domains.property.tables import FUNDAMENTALS, TABLES
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.property.deliveries import query

_TYPES = {
    "text": "text",
    "float": "double precision",
    "integer": "integer",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamp with time zone",
    "json": "jsonb",
}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_declaration_is_what_the_database_has(postgres: Postgres, table: Table) -> None:
    """Columns in their order, with type and whether they may be missing; the key."""
    columns = query(
        postgres,
        "select column_name, data_type, is_nullable = 'YES' from information_schema.columns "
        f"where table_schema = 'property' and table_name = '{table.name}' order by ordinal_position",
    )
    assert [(it.name, _TYPES[it.type], it.nullable) for it in table.columns] == columns
    key = query(
        postgres,
        "select a.attname from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey) "
        f"where i.indrelid = 'property.{table.name}'::regclass and i.indisprimary "
        "order by array_position(i.indkey::int2[], a.attnum)",
    )
    assert [(name,) for name in table.key] == key


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_intake_reads_and_never_writes(database_url: str, table: Table) -> None:
    """It serves what is there; runs write."""
    with psycopg.connect(database_url.replace("postgres@", "pipeline_intake@", 1), autocommit=True) as connection:
        assert [] == connection.execute(f"select * from {table.qualified_name}").fetchall()
        assert [] == connection.execute("select * from property.macro_latest").fetchall()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"delete from {table.qualified_name}")


def test_monthly_files_are_in_time_until_the_next_one_is_out() -> None:
    """One of July is out in the middle of August, the next in the middle of September: 76 days after the end of June."""
    assert FUNDAMENTALS.freshness is not None
    assert (timedelta(days=75), timedelta(days=105)) == (
        FUNDAMENTALS.freshness.data_warn_after,
        FUNDAMENTALS.freshness.data_fail_after,
    )


@pytest.mark.parametrize(
    "values",
    [
        "('San Antonio', 'm', '2026-01-01', 1, 'usd', 's', 1, now(), now(), '{}')",
        "('a', 'm', '2026-01-01', 'NaN', 'usd', 's', 1, now(), now(), '{}')",
        "('a', 'm', '2026-01-01', 'Infinity', 'usd', 's', 1, now(), now(), '{}')",
        "('a', 'm', '2026-01-01', 1, 'usd', 's', 0, now(), now(), '{}')",
    ],
)
def test_the_database_refuses_what_cannot_be(postgres: Postgres, values: str) -> None:
    """Whoever writes it."""
    with pytest.raises(psycopg.errors.CheckViolation), postgres.transaction() as connection:
        connection.execute(f"insert into property.fundamentals values {values}")
