"""The declared tables of rollups are those of the database, which refuses what cannot be; what is on by default."""

import dagster as dg
import psycopg
import pytest

from ingestion_pipeline.core.tables import ColumnType, Table
from ingestion_pipeline.domains.community.abuse import REASONS, Limits, limits_of
from ingestion_pipeline.domains.community.rollup_assets import ASSETS
from ingestion_pipeline.domains.community.rollup_automation import SCHEDULES, SENSORS
from ingestion_pipeline.domains.community.rollup_tables import RULE_EVENTS, TABLES
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.postgres import Postgres

_TYPES: dict[ColumnType, str] = {
    "text": "text",
    "integer": "bigint",
    "float": "double precision",
    "date": "date",
    "json": "jsonb",
}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_declaration_is_what_the_database_has(postgres: Postgres, table: Table) -> None:
    with postgres.transaction() as connection:
        columns = connection.execute(
            "select column_name, data_type, is_nullable = 'YES' from information_schema.columns "
            "where table_schema = 'community' and table_name = %s order by ordinal_position",
            [table.name],
        ).fetchall()
    assert [(it.name, _TYPES[it.type], it.nullable) for it in table.columns] == columns


def test_every_table_has_an_asset() -> None:
    assert {dg.AssetKey(list(table.asset_key)) for table in TABLES} == {asset.key for asset in ASSETS}


def test_what_is_read_of_events_is_what_the_events_domain_has() -> None:
    """Names and types."""
    theirs = {column.name: column.type for column in EVENT_HISTORY.columns}
    assert {column.name: column.type for column in RULE_EVENTS.columns}.items() <= theirs.items()
    assert (EVENT_HISTORY.path, EVENT_HISTORY.partition_column) == (RULE_EVENTS.path, RULE_EVENTS.partition_column)


def test_the_database_knows_the_reasons(postgres: Postgres) -> None:
    statement = "insert into community.excluded_events_daily values ('2026-01-01', :reason, 1, 1, 0, 0, 0, 0)"
    for reason in REASONS:
        postgres.execute(statement, {"reason": reason})
    with postgres.transaction() as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(statement.replace(":reason", "'other'").encode())


@pytest.mark.parametrize("points", [1.5, 0.0])
def test_the_database_refuses_points_that_are_not_the_formula(postgres: Postgres, points: float) -> None:
    statement = (
        "insert into community.rule_metrics_daily values ('2026-01-01', 'r', null, 1, 0, 0, 0, 0, 0, 1, %s, 0, 0)"
    )
    with postgres.transaction() as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(statement, [points])


def test_schedule_and_sensor_are_on() -> None:
    assert [dg.DefaultScheduleStatus.RUNNING] == [it.default_status for it in SCHEDULES]
    assert [dg.DefaultSensorStatus.RUNNING] == [it.default_status for it in SENSORS]


def test_the_limits_are_those_of_the_settings() -> None:
    given = {
        "ABUSE_USER_AGENTS": "EvilScraper, Other Bot,",
        "ABUSE_EVENTS_PER_ADDRESS": "7",
        "TRENDING_HALF_LIFE_HOURS": "12.5",
    }
    limits = limits_of(Settings.from_environment(given))
    assert Limits(user_agents=("EvilScraper", "Other Bot"), events_per_address=7, half_life_hours=12.5) == limits
