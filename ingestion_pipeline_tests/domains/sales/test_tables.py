"""The declared sales tables are those of the database, and who may see what of them."""

import psycopg
import pytest

from ingestion_pipeline.core.tables import ColumnType, Table
from ingestion_pipeline.domains.sales.contracts import SALES_EVENTS as PARSED
from ingestion_pipeline.domains.sales.tables import SALES_EVENTS, TABLES
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.sales.ledgers import payment, query, report, row, store

_TYPES: dict[ColumnType, str] = {
    "text": "text",
    "decimal": "numeric",
    "integer": "integer",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamp with time zone",
}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_declaration_is_what_the_database_has(postgres: Postgres, table: Table) -> None:
    """Columns in their order, with type and whether they may be missing; the key."""
    columns = query(
        postgres,
        "select column_name, data_type, is_nullable = 'YES' from information_schema.columns "
        "where table_schema = 'sales' and table_name = %s order by ordinal_position",
        table.name,
    )
    assert [(it.name, _TYPES[it.type], it.nullable) for it in table.columns] == columns
    key = query(
        postgres,
        "select a.attname from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey) "
        "where i.indrelid = %s::regclass and i.indisprimary order by array_position(i.indkey::int2[], a.attnum)",
        table.qualified_name,
    )
    assert [(name,) for name in table.key] == key


def test_what_parsers_give_has_a_column() -> None:
    """Every column of a parsed row is one of the ledger, and may be missing only where it may there."""
    nullable = {it.name: it.nullable for it in SALES_EVENTS.columns}
    assert {field.name: nullable[field.name] for field in PARSED} == {field.name: field.nullable for field in PARSED}


@pytest.mark.parametrize("table", ["sales_events", "payments", "report_files"])
def test_a_caller_sees_only_what_is_theirs(postgres: Postgres, database_url: str, table: str) -> None:
    """By row-level security, whatever the HTTP side asks; without a caller nothing is seen. It writes no ledger."""
    for owner in ("ada", "grace"):
        store(postgres, report(row(), payments=[payment()]), "a", owner=owner)
    with psycopg.connect(database_url.replace("postgres@", "pipeline_intake@", 1), autocommit=True) as connection:
        seen = f"select distinct owner_id from sales.{table}"
        assert [] == connection.execute(seen).fetchall()
        connection.execute("select set_config('app.user_id', 'grace', false)")
        assert [("grace",)] == connection.execute(seen).fetchall()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"delete from sales.{table}")


@pytest.mark.parametrize(
    "change",
    [
        "net_units = 7", "currency = 'usd'", "fx_rate = -1", "royalty_usd = null", "period_end = '2020-01-01'",
        "period_start = '1999-12-31'", "period_end = '9999-12-31'",
    ],
)  # fmt: skip
def test_the_database_refuses_what_cannot_be(postgres: Postgres, change: str) -> None:
    """Whoever writes it."""
    store(postgres, report(row()))
    with postgres.transaction() as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(f"update sales.sales_events set {change}".encode())


@pytest.mark.parametrize(
    "change", ["'0001-01-01', '2026-01-31'", "'2026-01-01', '9999-12-31'", "'2030-01-01', '2026-01-01'"]
)
def test_a_report_covers_days_that_can_be(postgres: Postgres, change: str) -> None:
    """Each month of it is built."""
    store(postgres, report(row()))
    with postgres.transaction() as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(f"update sales.report_files set (period_start, period_end) = ({change})".encode())
