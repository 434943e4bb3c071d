"""The job `market_ingest` over the real assets: S1's counts are what was written for the asked markets, others' rows stay.

The mock provider answers by the clock: these tests ask for the days that the code itself would.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import ConfigurationError, UnknownSymbolError
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.definitions import defs
from ingestion_pipeline.domains.market.handlers import HANDLERS, OnlyMarkets, market_ingest
from ingestion_pipeline.domains.market.jobs import JOB_TYPES, MarketIngest
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
from ingestion_pipeline.orchestration.jobs import Attempt, JobCancelled, JobContext
from ingestion_pipeline.orchestration.partitions import FIRST_DAY
from ingestion_pipeline.providers.base import BAR_COLUMNS
from ingestion_pipeline.providers.mock import MockProvider
from ingestion_pipeline.storage.jobs import ClaimedJob, JobQueue, NewJob
from ingestion_pipeline_tests.pipeline import Pipeline

EVERYTHING = (PRICE_BARS, OHLC_HOURLY, OHLC_DAILY, OHLC_WEEKLY, COMPARISONS, ROI_STATISTICS, SNAPSHOTS)
LOOKBACK_DAYS = 2


@pytest.fixture
def short(pipeline: Pipeline) -> Pipeline:
    """A pipeline of its own history, with a short lookback."""
    pipeline.settings = pipeline.settings.model_copy(update={"ingestion_lookback_days": LOOKBACK_DAYS})
    return pipeline


def ingested(pipeline: Pipeline, instance: dg.DagsterInstance, **given: Any) -> Mapping[str, Any]:
    queue = JobQueue(pipeline.postgres)
    queue.enqueue(NewJob(job_type="market_ingest", owner_id="me"))
    (job,) = queue.claim("w", {"market_ingest": None})
    output = market_ingest(context_of(pipeline, instance, job), MarketIngest(**given))
    queue.settle(job.attempt_id, "completed", output=output)
    return output


def context_of(pipeline: Pipeline, instance: dg.DagsterInstance, job: ClaimedJob) -> JobContext:
    return JobContext(
        job,
        pipeline.settings,
        pipeline.postgres,
        pipeline.lake,
        pipeline.cache,
        instance,
        defs.get_repository_def,
        Attempt(job.attempt_id),
    )


def counted(pipeline: Pipeline, symbols: set[str]) -> dict[str, int]:
    """The rows of these markets in the stores."""
    bars = [pipeline.rows(table) for table in (OHLC_HOURLY, OHLC_DAILY, OHLC_WEEKLY)]
    pairs, statistics = pipeline.rows(COMPARISONS), pipeline.rows(ROI_STATISTICS)
    return {
        "marketsIngested": int(pipeline.rows(MARKETS)["symbol"].isin(symbols).sum()),
        "snapshotsIngested": int(pipeline.rows(SNAPSHOTS)["symbol"].isin(symbols).sum()),
        "aggregatesIngested": sum(int(frame["symbol"].isin(symbols).sum()) for frame in bars),
        "comparisonsIngested": int((pairs["base_symbol"].isin(symbols) | pairs["quote_symbol"].isin(symbols)).sum()),
        "roiStatsIngested": int(statistics["symbol"].isin(symbols).sum()),
    }


def counts_of(output: Mapping[str, Any]) -> dict[str, int]:
    return {name: value for name, value in output.items() if name.endswith("Ingested")}


def test_the_first_ingest_builds_the_lookback_and_counts_what_it_wrote(
    short: Pipeline, instance: dg.DagsterInstance
) -> None:
    """For one asked market too the unsettled days are built for all, but only the asked one is counted."""
    with dg.DagsterInstance.ephemeral() as fresh:
        output = ingested(short, fresh, symbols=["BTC-USD"])
        runs = fresh.get_runs()
    assert counted(short, {"BTC-USD"}) == counts_of(output)
    assert {"BTC-USD", "ETH-USD", "SPX"} == set(short.rows(MARKETS)["symbol"])
    assert {"BTC-USD", "ETH-USD"} <= set(short.rows(PRICE_BARS)["symbol"])
    assert LOOKBACK_DAYS <= short.rows(PRICE_BARS)["day"].nunique() <= LOOKBACK_DAYS + 1
    assert min(counts_of(output).values()) >= 1
    assert output["startedAt"] < output["completedAt"]
    assert ("manual", "Z") == (output["trigger"], output["startedAt"][-1])
    assert {"market_daily_job", "market_weekly_job", "market_snapshots_job"} == {run.job_name for run in runs}
    assert all(run.is_success for run in runs)


def test_a_later_ingest_of_one_market_leaves_the_others_as_they_are(short: Pipeline) -> None:
    """Only the asked one is fetched of the running day; nobody's row is lost, in any table."""
    with dg.DagsterInstance.ephemeral() as fresh:
        ingested(short, fresh, symbols=None)
        before = {table.path: short.rows(table) for table in EVERYTHING}
        output = ingested(short, fresh, symbols=["BTC-USD"], trigger="cron")
    assert "cron" == output["trigger"]
    for table in EVERYTHING:
        keys_before = keys(table.key, before[table.path])
        after = short.rows(table)
        assert keys_before <= keys(table.key, after), table.path
    for table in (PRICE_BARS, SNAPSHOTS):
        pd.testing.assert_frame_equal(others(before[table.path]), others(short.rows(table)))
    today = date.fromisoformat(output["startedAt"][:10])
    assert output["marketsIngested"] == output["snapshotsIngested"] == 1
    assert output["comparisonsIngested"] == int((short.rows(COMPARISONS, today)["base_symbol"] == "BTC-USD").sum())
    assert output["roiStatsIngested"] == int((short.rows(ROI_STATISTICS, today)["symbol"] == "BTC-USD").sum())


def keys(columns: tuple[str, ...], frame: pd.DataFrame) -> set[tuple[Any, ...]]:
    return set(frame[list(columns)].itertuples(index=False, name=None))


def others(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["symbol"] != "BTC-USD"].reset_index(drop=True)


def test_a_cancelled_ingest_asks_for_no_further_market(short: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run that goes on ends as cancelled, which raises no alert, and nothing of it is stored."""
    JobQueue(short.postgres).enqueue(NewJob(job_type="market_ingest", owner_id="me"))
    (job,) = JobQueue(short.postgres).claim("w", {"market_ingest": None})
    asked: list[str] = []
    real = MockProvider.fetch_bars

    def cancelling(provider: MockProvider, symbol: str, window: Window) -> pd.DataFrame:
        asked.append(symbol)
        context.attempt.is_stopped.set()
        return real(provider, symbol, window)

    monkeypatch.setattr(MockProvider, "fetch_bars", cancelling)
    with dg.DagsterInstance.ephemeral() as fresh:
        context = context_of(short, fresh, job)
        with pytest.raises(JobCancelled):
            market_ingest(context, MarketIngest())
        (run,) = fresh.get_runs()
    assert (1, dg.DagsterRunStatus.CANCELED) == (len(asked), run.status)
    assert short.rows(PRICE_BARS).empty


def test_a_market_that_is_not_configured_is_refused_with_the_nearest(
    short: Pipeline, instance: dg.DagsterInstance
) -> None:
    """A worker may be configured otherwise than the intake that took the job in."""
    with pytest.raises(UnknownSymbolError, match="BTC-USD"):
        ingested(short, instance, symbols=["BTC-USDT"])


def test_a_history_that_has_not_begun_is_said(short: Pipeline, instance: dg.DagsterInstance) -> None:
    """INGESTION_FIRST_DAY in the future leaves nothing to ingest."""
    assert FIRST_DAY < utc_now().date()
    short.settings = short.settings.model_copy(update={"ingestion_lookback_days": -1})
    with pytest.raises(ConfigurationError, match="INGESTION_FIRST_DAY"):
        ingested(short, instance)


def test_a_provider_of_some_markets_has_nothing_of_the_others() -> None:
    """Not even an error; bars have their columns."""
    source = MockProvider()
    only = OnlyMarkets(source, frozenset({"BTC-USD"}))
    asked = ["ETH-USD", "BTC-USD"]
    assert ["BTC-USD"] == [market.symbol for market in only.fetch_markets(asked)]
    assert ["BTC-USD"] == [quote.symbol for quote in only.fetch_quotes(asked)]
    day = utc_now().date() - timedelta(days=3)
    window = Window.of_days(day, day)
    assert (0, list(BAR_COLUMNS)) == (
        len(only.fetch_bars("ETH-USD", window)),
        list(only.fetch_bars("ETH-USD", window).columns),
    )
    pd.testing.assert_frame_equal(source.fetch_bars("BTC-USD", window), only.fetch_bars("BTC-USD", window))
    assert "mock" == only.name


def test_every_type_has_a_handler() -> None:
    """Under the same name."""
    assert list(JOB_TYPES) == list(HANDLERS)
