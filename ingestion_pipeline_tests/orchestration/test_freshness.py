"""The mirror of freshness: Dagster's states and the age of data, brought to PostgreSQL and read no more than needed."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import psycopg
import pytest
from dagster._core.definitions.freshness import FreshnessState
from psycopg.rows import dict_row

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.tables import Freshness
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.definitions import defs
from ingestion_pipeline.domains.market.tables import PRICE_BARS, ROI_STATISTICS, SNAPSHOTS
from ingestion_pipeline.orchestration.freshness import (
    AssetFreshness,
    current_freshness,
    data_state,
    data_times,
    span,
    store_freshness,
)
from ingestion_pipeline.orchestration.specs import declared_table
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.factories import make_bars, make_series
from ingestion_pipeline_tests.orchestration.mirrored import becomes
from ingestion_pipeline_tests.pipeline import Pipeline

GRAPH = defs.get_repository_def().asset_graph
TODAY = date(2026, 3, 2)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
BARS, QUOTES = dg.AssetKey(["market", "price_bars"]), dg.AssetKey(["market", "snapshots"])


@pytest.fixture
def own_instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def built(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None = None) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))


def add_bars(lake: Lake, day: date) -> None:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    frame = make_series(2, bar_start_at=start).assign(provider="mock", day=day)
    lake.replace(PRICE_BARS, frame, Window.of_days(day, day))


def stored(url: str) -> dict[str, dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        rows = connection.execute("select * from operations.freshness_states").fetchall()
    return {row["asset_key"]: row for row in rows}


@pytest.fixture
def look(own_instance: dg.DagsterInstance, postgres: Postgres, lake: Lake) -> Any:
    def look(now: datetime | None = None) -> dict[str, AssetFreshness]:
        now = now or utc_now()
        assets = current_freshness(GRAPH, own_instance, postgres, lake, now=now)
        store_freshness(postgres, assets, now=now)
        return {asset.asset_key: asset for asset in assets}

    return look


def test_every_served_asset_is_mirrored_and_of_a_fresh_installation_nothing_is_known(
    look: Any, database_url: str
) -> None:
    """Each with its group; none of them looks good."""
    found = look()
    with_policy = {key.to_user_string() for key in GRAPH.get_all_asset_keys() if GRAPH.get(key).freshness_policy}
    assert with_policy == set(found) == set(stored(database_url))
    assert {("UNKNOWN", "UNKNOWN", "never built", None)} == {
        (it.state, it.data_state, it.reason, it.last_materialized_at) for it in found.values()
    }
    assert "market" == found["market/price_bars"].asset_group


def test_every_served_asset_knows_its_declaration() -> None:
    """So that the age of its data can be asked for; the columns are those of the stores (see test_data_times)."""
    keys = [key for key in GRAPH.get_all_asset_keys() if GRAPH.get(key).freshness_policy]
    assert [] == [key for key in keys if declared_table(key) is None]
    assert declared_table(dg.AssetKey(["nobody"])) is None


def test_a_backfill_of_an_old_day_is_no_newer_data(
    look: Any, own_instance: dg.DagsterInstance, lake: Lake, database_url: str
) -> None:
    """Dagster says PASS: it ran. The data says FAIL: of today there is nothing."""
    old = TODAY - timedelta(days=30)
    add_bars(lake, old)
    built(own_instance, BARS, str(old))
    becomes(own_instance, BARS, FreshnessState.PASS)
    look(NOON)
    row = stored(database_url)["market/price_bars"]
    assert ("PASS", "FAIL") == (row["state"], row["data_state"])
    assert datetime.combine(old, datetime.min.time(), UTC) == row["data_as_of"]
    assert f"its newest data is of {old} 00:00, 30 days ago" in row["reason"]
    add_bars(lake, TODAY)
    built(own_instance, BARS, str(TODAY))
    bars = look(NOON)["market/price_bars"]
    assert ("PASS", None) == (bars.data_state, bars.reason)


def test_the_states_of_dagster_are_mirrored_with_when_they_changed(
    look: Any, own_instance: dg.DagsterInstance, database_url: str
) -> None:
    """The instant of a change stays while nothing changes; the check is always of now."""
    built(own_instance, QUOTES)
    start = utc_now()
    becomes(own_instance, QUOTES, FreshnessState.PASS)
    look(start)
    becomes(own_instance, QUOTES, FreshnessState.FAIL)
    later, latest = start + timedelta(hours=6), start + timedelta(hours=7)
    look(later)
    look(latest)
    row = stored(database_url)["market/snapshots"]
    assert ("FAIL", later, latest) == (row["state"], row["state_changed_at"], row["checked_at"])
    assert "last built 7 hours ago" in row["reason"] or "last built 6 hours ago" in row["reason"]


def test_an_asset_that_is_gone_leaves_the_mirror(look: Any, postgres: Postgres, database_url: str) -> None:
    """A removed asset would otherwise be stale for ever."""
    gone = AssetFreshness(
        asset_key="market/of_yesterday",
        asset_group="market",
        state="FAIL",
        last_materialized_at=None,
        data_as_of=None,
        data_state="UNKNOWN",
        has_data_time=False,
        reason="never built",
    )
    store_freshness(postgres, [gone], now=utc_now())
    assert {"market/of_yesterday"} == set(stored(database_url))
    look()
    assert "market/of_yesterday" not in stored(database_url)


def test_the_age_of_lake_data_is_read_again_only_after_a_materialization(
    look: Any, own_instance: dg.DagsterInstance, lake: Lake
) -> None:
    """Nothing else changes it: every other tick costs the lake nothing."""
    add_bars(lake, TODAY - timedelta(days=1))
    built(own_instance, BARS)
    before = look()["market/price_bars"].data_as_of
    add_bars(lake, TODAY)
    assert before == look()["market/price_bars"].data_as_of
    built(own_instance, BARS)
    assert before + timedelta(days=1) == look()["market/price_bars"].data_as_of


def test_an_import_is_seen_without_a_materialization(look: Any, database_url: str) -> None:
    """The data of a PostgreSQL table is as old as its rows are, whoever wrote them."""
    fundamentals = (
        "insert into property.fundamentals (market_slug, metric, as_of_date, value, unit, source, revision, revised_at, "
        "received_at, provenance) values ('dallas', 'homes_sold_count', %s, 1, 'count', 'zillow', 1, now(), now(), '{}')"
    )
    for day in (date(2026, 1, 31), date(2026, 2, 28)):
        with psycopg.connect(database_url) as connection:
            connection.execute(fundamentals, [day])
        found = look(NOON)["property/fundamentals"]
        assert (datetime(day.year, day.month, day.day, tzinfo=UTC), None) == (
            found.data_as_of,
            found.last_materialized_at,
        )
    assert "PASS" == found.data_state


def test_while_the_lake_is_away_the_last_known_age_stands_and_is_read_again_when_it_is_back(
    look: Any, own_instance: dg.DagsterInstance, lake: Lake
) -> None:
    """An outage of the lake does not silence the mirror, and no materialization is passed over because of it."""
    add_bars(lake, TODAY - timedelta(days=1))
    built(own_instance, BARS)
    before = look()["market/price_bars"].data_as_of
    add_bars(lake, TODAY)
    built(own_instance, BARS)
    folder = Path(lake.root)
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("no folder")
    assert before == look()["market/price_bars"].data_as_of
    folder.unlink()
    folder.with_name("elsewhere").rename(folder)
    assert before + timedelta(days=1) == look()["market/price_bars"].data_as_of


def test_data_times_are_read_of_every_declared_column(postgres: Postgres, lake: Lake, pipeline: Pipeline) -> None:
    """Of every table of the code location that names one: a misspelt column would stop the whole mirror."""
    tables = [table for key in GRAPH.get_all_asset_keys() if (table := declared_table(key)) and table.as_of_column]
    assert dict.fromkeys(table.path for table in tables) == data_times(tables, postgres, lake)
    assert pipeline.run("market_daily_job", date(2026, 3, 1), date(2026, 3, 2)).success
    found = data_times([PRICE_BARS, ROI_STATISTICS, SNAPSHOTS], postgres, lake)
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    assert {
        "market/price_bars": midnight,
        "market/roi_statistics": midnight,
        "market/snapshots": None,
    } == found


def test_the_age_of_every_postgresql_table_has_an_index(database_url: str) -> None:
    """It is asked twice a minute, of tables that grow."""
    tables = [table for key in GRAPH.get_all_asset_keys() if (table := declared_table(key)) and table.as_of_column]
    asked = {(table.qualified_name, table.as_of_column) for table in tables if table.store == "postgres"}
    with psycopg.connect(database_url) as connection:
        indexed = connection.execute(
            "select relnamespace::regnamespace || '.' || relname, attname from pg_index "
            "inner join pg_class on pg_class.oid = indrelid "
            "inner join pg_attribute on attrelid = indrelid and attnum = indkey[0] where indpred is null"
        ).fetchall()
    assert asked
    assert set() == asked - set(indexed)


def test_the_newest_day_of_a_lake_table_has_rows(lake: Lake) -> None:
    """A day that was replaced with nothing does not count."""
    assert lake.newest_day(PRICE_BARS) is None
    add_bars(lake, date(2026, 3, 2))
    add_bars(lake, date(2026, 3, 1))
    assert date(2026, 3, 2) == lake.newest_day(PRICE_BARS)
    empty = make_bars().assign(provider=pd.Series(dtype=str), day=pd.Series(dtype=object))
    lake.replace(PRICE_BARS, empty, Window.of_days(date(2026, 3, 2), date(2026, 3, 2)))
    assert date(2026, 3, 1) == lake.newest_day(PRICE_BARS)


@pytest.mark.parametrize(
    ("days", "expected"), [(0, "PASS"), (2, "PASS"), (2.01, "WARN"), (5, "WARN"), (5.01, "FAIL"), (-1, "PASS")]
)
def test_windows_of_data(days: float, expected: str) -> None:
    """At its window data still passes; data of tomorrow is no error of freshness."""
    now = datetime(2026, 3, 2, tzinfo=UTC)
    freshness = Freshness(timedelta(hours=1), timedelta(hours=2), timedelta(days=2), timedelta(days=5))
    assert expected == data_state(freshness, now - timedelta(days=days), now=now)


def test_without_windows_data_may_be_of_any_age() -> None:
    """Only where there is none, nothing is known."""
    now = datetime(2026, 3, 2, tzinfo=UTC)
    freshness = Freshness(timedelta(hours=1), timedelta(hours=2))
    assert "PASS" == data_state(freshness, now - timedelta(days=5_000), now=now)
    assert "UNKNOWN" == data_state(freshness, None, now=now)


def test_spans_for_people() -> None:
    """In the largest unit of which there are two."""
    spans = [timedelta(minutes=1), timedelta(minutes=119), timedelta(hours=2), timedelta(hours=47), timedelta(days=9)]
    assert ["1 minutes", "119 minutes", "2 hours", "47 hours", "9 days"] == [span(it) for it in spans]
