"""The walk from a provider to statistics: real jobs, real PostgreSQL, real lake."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.definitions import defs
from ingestion_pipeline.domains.market import reads
from ingestion_pipeline.domains.market.assets import snapshots
from ingestion_pipeline.domains.market.reads import daily_bars, latest_snapshot
from ingestion_pipeline.domains.market.tables import (
    COMPARISONS,
    MARKETS,
    OHLC_DAILY,
    OHLC_HOURLY,
    OHLC_WEEKLY,
    PRICE_BARS,
    ROI_STATISTICS,
    SNAPSHOTS,
)
from ingestion_pipeline.orchestration.partitions import DAILY
from ingestion_pipeline.providers.file import FileProvider
from ingestion_pipeline.providers.mock import MockProvider
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.migrate import ensure_database, sql_files
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.conftest import DATA
from ingestion_pipeline_tests.pipeline import Pipeline

MONDAY = date(2026, 3, 2)
SUNDAY = MONDAY + timedelta(days=6)
DAILY_TABLES = (PRICE_BARS, OHLC_HOURLY, OHLC_DAILY, COMPARISONS, ROI_STATISTICS)


def test_a_week_of_the_mock_provider_fills_every_table(pipeline: Pipeline) -> None:
    """One run a job, every asset materialized, every check passed."""
    runs = [
        pipeline.run("market_daily_job", MONDAY, SUNDAY),
        pipeline.run("market_weekly_job", MONDAY),
        pipeline.run("market_snapshots_job"),
    ]
    assert [True, True, True] == [run.success for run in runs]
    counts = {table.name: len(pipeline.rows(table)) for table in (MARKETS, *DAILY_TABLES, OHLC_WEEKLY, SNAPSHOTS)}
    # two crypto markets of 288 bars a day, an index of 78 bars in five sessions
    assert 2 * 7 * 288 + 5 * 78 == counts["price_bars"]
    assert (2 * 7 * 24 + 5 * 7, 2 * 7 + 5, 3) == (counts["ohlc_hourly"], counts["ohlc_daily"], counts["ohlc_weekly"])
    assert (3, 3) == (counts["markets"], counts["snapshots"])
    assert counts["comparisons"] > 0
    assert counts["roi_statistics"] > 0
    checks = [
        event.event_specific_data.passed
        for run in runs
        for event in run.all_events
        if event.event_type_value == "ASSET_CHECK_EVALUATION"
    ]
    assert [True] * len(checks) == checks
    assert {table.name for table in (MARKETS, *DAILY_TABLES, OHLC_WEEKLY, SNAPSHOTS)} == checked(runs)


def checked(runs: list[dg.ExecuteInProcessResult]) -> set[str]:
    """The tables on which a check was evaluated."""
    events = [event for run in runs for event in run.all_events if event.event_type_value == "ASSET_CHECK_EVALUATION"]
    return {event.event_specific_data.asset_key.path[-1] for event in events}


def test_building_a_day_again_gives_the_same_rows(pipeline: Pipeline) -> None:
    """A partition is replaced, not added to, whether alone or in a range."""
    pipeline.run("market_daily_job", MONDAY, SUNDAY)
    before = {table.name: pipeline.rows(table) for table in DAILY_TABLES}
    assert pipeline.run("market_daily_job", MONDAY + timedelta(days=3)).success
    for table in DAILY_TABLES:
        pd.testing.assert_frame_equal(before[table.name], pipeline.rows(table))


def test_a_range_in_one_run_equals_its_days_one_by_one(pipeline: Pipeline, tmp_path: Path) -> None:
    """BackfillPolicy.single_run changes the speed and nothing else."""
    pipeline.run("market_daily_job", MONDAY, MONDAY + timedelta(days=2))
    together = {table.name: pipeline.rows(table) for table in DAILY_TABLES}
    for table in (COMPARISONS, ROI_STATISTICS):
        pipeline.postgres.execute(f"delete from {table.qualified_name}")
    apart = replace(
        pipeline, lake=type(pipeline.lake)(pipeline.settings.model_copy(update={"lake_url": str(tmp_path / "apart")}))
    )
    for day in range(3):
        apart.run("market_daily_job", MONDAY + timedelta(days=day))
    for table in DAILY_TABLES:
        pd.testing.assert_frame_equal(together[table.name], apart.rows(table))


def test_every_partition_of_a_range_is_recorded_with_its_own_row_count(pipeline: Pipeline) -> None:
    """The UI plots rows per partition also after a backfill in one run."""
    run = pipeline.run("market_daily_job", MONDAY, SUNDAY)
    materializations = run.asset_materializations_for_node("market__ohlc_daily")
    counts = {m.partition: m.metadata["dagster/partition_row_count"].value for m in materializations}
    keys = DAILY.get_partition_keys_in_range(dg.PartitionKeyRange(str(MONDAY), str(SUNDAY)))
    assert dict(zip(keys, [3, 3, 3, 3, 3, 2, 2], strict=True)) == counts


LYING = """symbol,ts,open,high,low,close,volume
AAPL,2026-03-02T15:00:00Z,100,101,99,100.5,10
AAPL,2026-03-02T15:05:00Z,100,101,99,-1,10
AAPL,2026-03-02T15:10:00Z,100,90,99,100,10
AAPL,2026-03-02T15:15:00Z,,101,99,100,10
AAPL,2026-03-02T15:20:00Z,100,101,99,100.5,10
AAPL,2026-03-02T15:20:00Z,100,101,99,100.7,10
"""


def test_a_lying_source_fills_the_rejects_and_the_good_rows_go_on(pipeline: Pipeline, tmp_path: Path) -> None:
    """Negative price, high below low, no number, a repeated timestamp: each is kept with its reason, once."""
    folder = tmp_path / "bars"
    folder.mkdir()
    (folder / "bars_5m_aapl.csv").write_text(LYING)
    settings = pipeline.settings.model_copy(update={"ingestion_markets": ("AAPL",)})
    lying = replace(pipeline, settings=settings, provider=FileProvider(folder))
    for _ in range(2):
        run = lying.run("market_daily_job", MONDAY)
        assert run.success
        bars = run.asset_materializations_for_node("market__price_bars")[0]
        assert 4 == bars.metadata["rejected_rows"].value
    assert [100.5, 100.5] == lying.rows(PRICE_BARS)["close"].tolist()
    kept = pipeline.postgres.read("recent_rejects", {"limit": 10})
    assert {
        "close is not positive": 2,
        "high is below low": 2,
        "open is not a number": 2,
        "bar_start_at repeats an earlier bar of the same symbol": 2,
    } == {row["reason"]: row["seen_count"] for row in kept}
    assert {"file:market/price_bars"} == {row["source"] for row in kept}


def test_a_day_without_trading_is_an_empty_partition(pipeline: Pipeline) -> None:
    """A Sunday of an index succeeds and says that there are no rows."""
    closed = replace(pipeline, settings=pipeline.settings.model_copy(update={"ingestion_markets": ("SPX",)}))
    run = closed.run("market_daily_job", SUNDAY)
    assert [] == closed.problems(run)
    assert "no rows" == run.asset_materializations_for_node("market__price_bars")[0].metadata["time_range"].value


def test_an_unknown_symbol_fails_at_once_and_is_named(pipeline: Pipeline) -> None:
    """A configuration mistake is not retried."""
    wrong = replace(pipeline, settings=pipeline.settings.model_copy(update={"ingestion_markets": ("BTC-USDD",)}))
    run = wrong.run("market_snapshots_job")
    failure = wrong.failure(run)
    assert "provider mock has no market 'BTC-USDD'" in failure.description
    assert "BTC-USD" in failure.description
    assert not [event for event in run.all_events if event.is_step_up_for_retry]


def test_a_database_that_is_down_is_named_and_retried(pipeline: Pipeline) -> None:
    """A store that may come back is tried again; the message names it and not its password."""
    down = replace(pipeline, postgres=Postgres("postgresql://worker:hunter2@127.0.0.1:1/gone"))
    run = down.run("market_snapshots_job")
    failure = down.failure(run)
    assert "PostgreSQL at postgresql://worker:***@127.0.0.1:1/gone cannot be reached" in failure.description
    assert "hunter2" not in failure.description
    assert 2 == len([event for event in run.all_events if event.is_step_up_for_retry])


def test_a_snapshot_seen_twice_is_one_row(pipeline: Pipeline) -> None:
    """The price of a closed market is de-duplicated on (symbol, as_of)."""
    settings = pipeline.settings.model_copy(update={"ingestion_markets": ("SP500",)})
    index = replace(pipeline, settings=settings, provider=FileProvider(DATA / "market"))
    index.run("market_snapshots_job")
    index.run("market_snapshots_job")
    assert [("SP500", date(2019, 1, 1), 2506.850098)] == [
        (row.symbol, row.as_of.date(), row.price) for row in index.rows(SNAPSHOTS).itertuples()
    ]


def test_ingestion_makes_the_cache_forget(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a run the reads answer with the new rows, not with the cached ones."""
    assert latest_snapshot(pipeline.cache, pipeline.postgres, "BTC-USD", ttl_seconds=300) is None
    now = datetime.now(UTC)
    today = now.date()
    monkeypatch.setattr(reads, "utc_now", lambda: now)  # the bars of two days are those of the same two days
    pipeline.cache.set("market:BTC-USD:latest", {"price": 1.0}, ttl_seconds=300)
    pipeline.cache.set("market:BTC-USD:aggregates", [{"close": 1.0}], ttl_seconds=300)
    pipeline.run("market_daily_job", today - timedelta(days=2), today)
    pipeline.run("market_snapshots_job")
    snapshot = latest_snapshot(pipeline.cache, pipeline.postgres, "BTC-USD", ttl_seconds=300)
    bars = daily_bars(pipeline.cache, pipeline.lake, "BTC-USD", days=2, ttl_seconds=300)
    stored = pipeline.rows(OHLC_DAILY)
    assert snapshot is not None
    assert pipeline.rows(SNAPSHOTS).query("symbol == 'BTC-USD'")["price"].tolist() == [snapshot["price"]]
    assert stored[stored["symbol"] == "BTC-USD"]["close"].tolist() == [bar["close"] for bar in bars]


def test_a_database_that_is_not_migrated_is_named_with_what_to_do(
    server: EmbeddedServer, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The run of the real resources fails before any asset starts."""
    ensure_database(server.url(), "unmigrated")
    monkeypatch.setenv("DATABASE_URL", server.url(database="unmigrated"))
    monkeypatch.setenv("INGESTION_HOME", str(tmp_path))
    job = defs.resolve_job_def("market_snapshots_job")
    with pytest.raises(dg.DagsterResourceFunctionError) as caught:
        job.execute_in_process(instance=pipeline.instance)
    said = f"lacks {len(sql_files())} migration(s), first 0001_foundation.sql: run `ingestion-pipeline migrate`"
    assert said in str(caught.value.user_exception)


def test_one_unknown_market_does_not_keep_the_others(pipeline: Pipeline) -> None:
    """The run goes on with the markets that exist; the one that does not is named by a failed check."""
    markets = ("BTC-USD", "NO-SUCH", "ETH-USD")
    mixed = replace(pipeline, settings=pipeline.settings.model_copy(update={"ingestion_markets": markets}))
    runs = [mixed.run("market_daily_job", MONDAY), mixed.run("market_snapshots_job")]
    assert [True, True] == [run.success for run in runs]
    for table in (MARKETS, PRICE_BARS, OHLC_DAILY, SNAPSHOTS):
        assert {"BTC-USD", "ETH-USD"} == set(mixed.rows(table)["symbol"])
    failed = {
        check.check_name: check.description
        for run in runs
        for check in run.get_asset_check_evaluations()
        if not check.passed
    }
    assert {"markets_answered", "price_bars_answered", "snapshots_answered"} == set(failed)
    assert all("no market 'NO-SUCH'" in description for description in failed.values())


def test_an_empty_answer_deletes_nothing(pipeline: Pipeline) -> None:
    """Bars of a market that is no longer configured, or for which the source has nothing now, stay."""
    pipeline.run("market_daily_job", MONDAY)
    before = pipeline.rows(PRICE_BARS)
    fewer = replace(pipeline, settings=pipeline.settings.model_copy(update={"ingestion_markets": ("BTC-USD",)}))
    run = fewer.run("market_daily_job", MONDAY)
    pd.testing.assert_frame_equal(before, fewer.rows(PRICE_BARS))
    assert 288 + 78 == run.asset_materializations_for_node("market__price_bars")[0].metadata["kept_rows"].value


class Silent(MockProvider):
    """A source that knows its markets and has nothing to say of them."""

    def fetch_bars(self, symbol: str, window: Window) -> pd.DataFrame:
        return super().fetch_bars(symbol, window).iloc[:0]


def test_a_source_that_says_nothing_is_noticed(pipeline: Pipeline) -> None:
    """No bar where a session ended is a warning that names the market; a closed market is not named."""
    run = replace(pipeline, provider=Silent()).run("market_daily_job", SUNDAY)
    answered = {check.check_name: check for check in run.get_asset_check_evaluations()}["price_bars_answered"]
    assert (False, dg.AssetCheckSeverity.WARN) == (answered.passed, answered.severity)
    assert "BTC-USD, ETH-USD" == answered.metadata["markets"].value


def test_only_configured_markets_are_compared(pipeline: Pipeline) -> None:
    """What is left in the lake of a market of former days takes no part."""
    pipeline.run("market_daily_job", MONDAY, SUNDAY)
    fewer = replace(
        pipeline, settings=pipeline.settings.model_copy(update={"ingestion_markets": ("BTC-USD", "ETH-USD")})
    )
    fewer.run("market_lookback_job", SUNDAY)
    assert [("BTC-USD", "ETH-USD")] == [
        (row.base_symbol, row.quote_symbol) for row in fewer.rows(COMPARISONS, SUNDAY).itertuples()
    ]
    assert {"BTC-USD", "ETH-USD"} == set(fewer.rows(ROI_STATISTICS, SUNDAY)["symbol"])


def test_a_market_that_is_not_known_yet_does_not_keep_the_others(pipeline: Pipeline) -> None:
    """A snapshot run alone after INGESTION_MARKETS grew names the new one and stores the rest."""
    pipeline.run("market_snapshots_job")
    more = replace(
        pipeline, settings=pipeline.settings.model_copy(update={"ingestion_markets": ("BTC-USD", "SOL-USD")})
    )
    run = more.materialize(snapshots)
    answered = {check.check_name: check for check in run.get_asset_check_evaluations()}["snapshots_answered"]
    assert run.success
    assert "SOL-USD is not in market/markets: materialize that first" == answered.description
