"""The schema that the migrations make: the one that is written down, and the one that the tables declare."""

from datetime import UTC, date, datetime

import psycopg
import pytest

from ingestion_pipeline.core.tables import ColumnType, Table
from ingestion_pipeline.domains.community.content_tables import TABLES as CONTENT_TABLES
from ingestion_pipeline.domains.community.donations_tables import TABLES as DONATION_TABLES
from ingestion_pipeline.domains.community.leaderboard_tables import TABLES as LEADERBOARD_TABLES
from ingestion_pipeline.domains.community.rollup_tables import TABLES as ROLLUP_TABLES
from ingestion_pipeline.domains.events.tables import TABLES as EVENT_TABLES
from ingestion_pipeline.domains.market.tables import TABLES as MARKET_TABLES
from ingestion_pipeline.domains.property.tables import TABLES as PROPERTY_TABLES
from ingestion_pipeline.domains.property.valuation_tables import TABLES as VALUATION_TABLES
from ingestion_pipeline.domains.sales.tables import TABLES as SALES_TABLES
from ingestion_pipeline.storage.migrate import migrate, sql_files
from ingestion_pipeline.storage.postgres import QUERIES, Postgres
from ingestion_pipeline_tests.sql.schema import SCHEMA, dump

POSTGRES_TYPES: dict[ColumnType, str] = {
    "text": "text",
    "float": "double precision",
    "decimal": "numeric",
    "integer": "integer",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamp with time zone",
    "json": "jsonb",
}
COMMUNITY_TABLES = (*DONATION_TABLES, *CONTENT_TABLES, *ROLLUP_TABLES, *LEADERBOARD_TABLES)
TABLES = (*MARKET_TABLES, *EVENT_TABLES, *PROPERTY_TABLES, *VALUATION_TABLES, *SALES_TABLES, *COMMUNITY_TABLES)
SERVED = [table for table in TABLES if table.store == "postgres"]

COLUMNS = """
select column_name, case data_type when 'bigint' then 'integer' else data_type end, is_nullable = 'YES'
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


@pytest.mark.parametrize("table", SERVED, ids=[table.path for table in SERVED])
def test_a_declared_table_is_the_one_in_the_database(database_url: str, table: Table) -> None:
    """Columns in the same order with the same types and nullability, and the same key."""
    declared = [(column.name, POSTGRES_TYPES[column.type], column.nullable) for column in table.columns]
    with psycopg.connect(database_url) as connection:
        columns = connection.execute(COLUMNS, [table.domain, table.name]).fetchall()
        key = connection.execute(PRIMARY_KEY, [table.domain, table.name]).fetchall()
    assert (declared, table.key) == (columns, tuple(name for (name,) in key))


TABLES_AND_COMMENTS = """
select relname, obj_description(oid, 'pg_class')
from pg_class
where relnamespace = %s::regnamespace and relkind in ('r', 'p') and not relispartition
order by 1
"""


@pytest.mark.parametrize("schema", ["market", "events", "property", "sales", "community", "operations"])
def test_every_table_is_declared_or_says_what_a_row_is(database_url: str, schema: str) -> None:
    """A declared one has an asset, freshness and docs; operators meet the others without the code. The history of
    migrations explains itself."""
    with psycopg.connect(database_url) as connection:
        comments = dict(connection.execute(TABLES_AND_COMMENTS, [schema]).fetchall())
    declared = {table.name for table in SERVED if table.domain == schema}
    assert declared <= set(comments)
    assert [] == sorted({name for name, text in comments.items() if not text} - declared - {"schema_migrations"})


def test_every_market_table_is_declared(database_url: str) -> None:
    """Events have a hot log and what hangs on it beside their declared tables; the market has none."""
    with psycopg.connect(database_url) as connection:
        found = [name for name, _ in connection.execute(TABLES_AND_COMMENTS, ["market"]).fetchall()]
    assert sorted(table.name for table in SERVED if table.domain == "market") == found


DALLAS = {"market_slug": "dallas"}
PAGE: dict[str, object] = {"from_date": None, "to_date": None, "limit": 10}
SINCE = {"since": datetime(2026, 3, 2, tzinfo=UTC)}
WEEK = {"first": date(2026, 3, 2), "last": date(2026, 3, 8)}
PARAMETERS: dict[str, dict[str, object]] = {
    "alerts_jobs": SINCE,
    "alerts_caches": SINCE,
    "alerts_api": {**SINCE, "waiting_paths": ["/api/ingest"]},
    "alerts_stale_markets": {"oldest": date(2026, 3, 2)},
    "alerts_list": {"with_resolved": True, "limit": 10},
    "community_donations_with_facts": WEEK,
    "community_leaderboard": {
        "day": None,
        "period": "DAILY",
        "kind": "RULE",
        "scope": "GLOBAL",
        "scope_value": "",
    },
    "community_leaderboard_differences": {**WEEK, "half_life_hours": 48.0},
    "community_notifications_pending": {"now": datetime(2026, 3, 2, tzinfo=UTC), **SINCE},
    "property_accuracy": {**DALLAS},
    "property_comps": {
        **DALLAS,
        **PAGE,
        "property_type": None,
        "after_date": None,
        "after_source": None,
        "after_id": None,
    },
    "property_fundamentals": {**DALLAS, **PAGE, "metric": "inventory_count"},
    "property_fundamentals_latest": {**DALLAS},
    "property_macro": {**PAGE, "series_id": "UNRATE"},
    "property_markets": {"limit": 10},
    "property_predictions": {
        **DALLAS,
        "after_made_at": None,
        "after_id": None,
        "limit": 10,
    },
    "property_sales": {**DALLAS, "property_type": "condo", "after": date(2026, 3, 2), "method_version": "1"},
    "property_series": {"limit": 10},
    "property_staleness": {**DALLAS},
    "property_types": {**DALLAS, "after": date(2026, 3, 2)},
    "property_unvalued_sales": {"method_version": "1"},
    "property_value_index": {**DALLAS},
    "property_valued_sales": {"method_version": "1", "after": date(2026, 3, 2)},
    "latest_snapshot": {"symbol": "BTC-USD"},
    "recent_rejects": {"limit": 10},
    "event_accounts": WEEK,
}


@pytest.mark.parametrize("query", sorted(path.stem for path in QUERIES.glob("*.sql")))
def test_every_named_statement_runs_as_the_worker(postgres: Postgres, query: str) -> None:
    """On an empty database it gives nothing, and no error."""
    assert [] == postgres.read(query, PARAMETERS.get(query))
