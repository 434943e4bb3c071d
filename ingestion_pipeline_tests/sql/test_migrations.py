"""The schema that the migrations make: the one that is written down, and the one that the tables declare."""

from datetime import date

import psycopg
import pytest

from ingestion_pipeline.core.tables import ColumnType, Table
from ingestion_pipeline.domains.market.tables import TABLES
from ingestion_pipeline.storage.migrate import migrate, sql_files
from ingestion_pipeline.storage.postgres import QUERIES, Postgres
from ingestion_pipeline_tests.sql.schema import SCHEMA, dump

POSTGRES_TYPES: dict[ColumnType, str] = {
    "text": "text",
    "float": "double precision",
    "integer": "integer",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamp with time zone",
    "json": "jsonb",
}
SERVED = [table for table in TABLES if table.store == "postgres"]

COLUMNS = """
select column_name, data_type, is_nullable = 'YES'
from information_schema.columns
where table_schema = %s and table_name = %s
order by ordinal_position
"""
PRIMARY_KEY = """
select usage.column_name
from information_schema.table_constraints as constraints
inner join information_schema.key_column_usage as usage using (constraint_schema, constraint_name)
where constraints.constraint_type = 'PRIMARY KEY' and usage.table_schema = %s and usage.table_name = %s
order by usage.ordinal_position
"""


def test_schema_sql_is_what_the_migrations_make(database_url: str) -> None:
    """If this fails after a migration was added: python -m ingestion_pipeline_tests.sql.schema."""
    assert SCHEMA.read_text() == dump(database_url)


def test_migrating_twice_changes_nothing(database_url: str) -> None:
    """Not even by functions, which may be applied again."""
    before = dump(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update operations.schema_migrations set digest = 'older' where name like 'functions/%'")
    again = migrate(database_url)
    functions = [file.name for file in sql_files() if file.is_function]
    assert (functions, before) == (again, dump(database_url))


@pytest.mark.parametrize("table", SERVED, ids=[table.name for table in SERVED])
def test_a_declared_table_is_the_one_in_the_database(database_url: str, table: Table) -> None:
    """Columns in the same order with the same types and nullability, and the same key."""
    declared = [(column.name, POSTGRES_TYPES[column.type], column.nullable) for column in table.columns]
    with psycopg.connect(database_url) as connection:
        columns = connection.execute(COLUMNS, [table.domain, table.name]).fetchall()
        key = connection.execute(PRIMARY_KEY, [table.domain, table.name]).fetchall()
    assert (declared, table.key) == (columns, tuple(name for (name,) in key))


def test_every_table_of_a_domain_is_declared(database_url: str) -> None:
    """A table that nobody declares has no asset, no freshness and no docs."""
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "select table_name from information_schema.tables where table_schema = 'market' order by 1"
        ).fetchall()
    assert sorted(table.name for table in SERVED) == [name for (name,) in found]


def test_every_operational_table_says_what_a_row_is(database_url: str) -> None:
    """Operators meet them without the code; the history of migrations explains itself."""
    with psycopg.connect(database_url) as connection:
        silent = connection.execute(
            "select relname from pg_class where relnamespace = 'operations'::regnamespace and relkind = 'r' "
            "and relname <> 'schema_migrations' and obj_description(oid, 'pg_class') is null"
        ).fetchall()
    assert [] == silent


PARAMETERS: dict[str, dict[str, object]] = {
    "latest_snapshot": {"symbol": "BTC-USD"},
    "recent_rejects": {"limit": 10},
    "event_accounts": {"first": date(2026, 3, 2), "last": date(2026, 3, 8)},
}


@pytest.mark.parametrize("query", sorted(path.stem for path in QUERIES.glob("*.sql")))
def test_every_named_statement_runs_as_the_worker(postgres: Postgres, query: str) -> None:
    """On an empty database it gives nothing, and no error."""
    assert [] == postgres.read(query, PARAMETERS.get(query))
