"""Claims become asset checks: what a result shows, what blocks, which rows are looked at."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pandas as pd
import pytest

from ingestion_pipeline.core.windows import Window, midnight
from ingestion_pipeline.definitions import defs
from ingestion_pipeline.domains.market.assets import ASSETS
from ingestion_pipeline.domains.market.checks import CHECKS
from ingestion_pipeline.domains.market.tables import OHLC_DAILY, PRICE_BARS
from ingestion_pipeline.orchestration.checks import SHOWN_ROWS, Claim, examples, outcomes
from ingestion_pipeline.orchestration.partitions import range_tags
from ingestion_pipeline.orchestration.specs import table_asset
from ingestion_pipeline_tests.factories import START, make_series
from ingestion_pipeline_tests.pipeline import Pipeline

MONDAY = START.date()
DAILY = dg.AssetKey(["market", "ohlc_daily"])
BARS = dg.AssetKey(["market", "price_bars"])
# without those that the asset itself answers: they run with it only
CHECKS_OF_BARS = dg.AssetSelection.checks(*(key for it in CHECKS for key in it.check_keys if key.asset_key == BARS))


def claim(name: str = "ratios_are_positive", **over: bool) -> Claim:
    return Claim(name=name, description="ratio > 0.", breaking=lambda rows: rows[rows["ratio"] <= 0], **over)


def ratios(*values: float) -> pd.DataFrame:
    return pd.DataFrame({"symbol": [f"S{i}" for i in range(len(values))], "ratio": values})


def test_a_result_counts_what_breaks_the_claim_and_shows_the_first_rows() -> None:
    """Over all parts together."""
    (result,) = outcomes(PRICE_BARS, [claim()], iter([ratios(1, -1, 2), ratios(*[0.0] * 9), ratios(3)]))
    assert (False, dg.AssetCheckSeverity.ERROR) == (result.passed, result.severity)
    assert (13, 10) == (result.metadata["rows_checked"].value, result.metadata["rows_breaking"].value)
    assert "| S1 | -1 |" in result.metadata["examples"].value
    (many,) = outcomes(PRICE_BARS, [claim()], iter([ratios(*[-1.0] * 9)]))
    assert SHOWN_ROWS == len(many.metadata["examples"].value.splitlines()) - 2


def test_a_claim_that_holds_passes_and_shows_nothing() -> None:
    """Also over no rows at all."""
    for parts, rows in [([ratios(1, 2)], 2), ([], 0)]:
        (result,) = outcomes(PRICE_BARS, [claim()], iter(parts))
        assert result.passed
        assert {"rows_checked": rows, "rows_breaking": 0} == {k: v.value for k, v in result.metadata.items()}


def test_examples_name_no_person() -> None:
    """Whatever they are made of; a check without rows has none."""
    table, rows = replace(PRICE_BARS, personal=frozenset({"symbol"})), ratios(*[-1.0] * 9)
    for given in (rows, rows.to_dict("records")):
        (shown,) = examples(table, given).values()
        assert ["| ratio |", "| --- |", *["| -1 |"] * SHOWN_ROWS] == shown.value.splitlines()
    assert {} == examples(table, []) == examples(table, rows.iloc[:0])
    (result,) = outcomes(table, [claim()], iter([rows]))
    assert "S1" not in result.metadata["examples"].value


def test_each_claim_is_judged_for_itself() -> None:
    """One result a claim, under its own name; a claim that only warns says so."""
    claims = [claim("a"), claim("b", warns=True), replace(claim("c"), breaking=lambda rows: rows.iloc[:0])]
    results = list(outcomes(PRICE_BARS, claims, iter([ratios(-1)])))
    assert [("a", False, "ERROR"), ("b", False, "WARN"), ("c", True, "ERROR")] == [
        (it.check_name, it.passed, it.severity.value) for it in results
    ]
    assert {BARS} == {it.asset_key for it in results}


def run(pipeline: Pipeline, selection: dg.AssetSelection, **tags: str) -> dg.ExecuteInProcessResult:
    """A run of a part of the graph, as the UI launches one."""
    job = dg.define_asset_job("part_of_the_graph", selection=selection)
    extended = dg.Definitions.merge(defs, dg.Definitions(jobs=[job]))
    return extended.resolve_job_def(job.name).execute_in_process(
        instance=pipeline.instance,
        tags=tags,
        resources={name: getattr(pipeline, name) for name in ("settings", "postgres", "lake", "cache", "provider")},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
    )


def results(run: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    events = [event for event in run.all_events if event.event_type_value == "ASSET_CHECK_EVALUATION"]
    return {event.event_specific_data.check_name: event.event_specific_data for event in events}


def built(run: dg.ExecuteInProcessResult) -> set[str]:
    return {event.asset_key.path[-1] for event in run.all_events if event.is_step_materialization}


class Crooked:
    """A lake whose bars go bad after they were judged: what write and read of a wrong row would look like."""

    def __init__(self, pipeline: Pipeline, spoil: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        self.pipeline, self.spoil = pipeline, spoil

    def write(self, first: date, last: date) -> None:
        for day in Window.of_days(first, last).days():
            bars = make_series(288, bar_start_at=midnight(day))
            rows = self.spoil(bars.assign(provider="mock", day=day))
            self.pipeline.lake.replace(PRICE_BARS, rows, Window.of_days(day, day))


def with_high_below_low(bars: pd.DataFrame) -> pd.DataFrame:
    return bars.assign(high=bars["high"].where(bars.index != 7, 1.0))


@pytest.fixture
def known(pipeline: Pipeline) -> Pipeline:
    """A pipeline that knows its markets."""
    assert pipeline.run("market_snapshots_job").success
    return pipeline


def test_a_blocking_check_keeps_everything_downstream_from_running(known: Pipeline) -> None:
    """Crossed prices in the lake turn the run red before any OHLC is built from them."""

    @table_asset(PRICE_BARS)
    def price_bars(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        Crooked(known, with_high_below_low).write(MONDAY, MONDAY)
        return dg.MaterializeResult()

    broken = dg.Definitions(
        assets=[price_bars, *(asset for asset in ASSETS if asset.key != BARS)],
        asset_checks=CHECKS,
        resources={name: getattr(known, name) for name in ("settings", "postgres", "lake", "cache", "provider")},
        jobs=[dg.define_asset_job("bars_and_daily", dg.AssetSelection.assets(BARS, DAILY))],
    )
    failed = broken.resolve_job_def("bars_and_daily").execute_in_process(
        instance=known.instance, tags=range_tags(MONDAY, MONDAY), raise_on_error=False
    )
    assert (False, {"price_bars"}) == (failed.success, built(failed))
    found = results(failed)
    assert {"price_bars_have_ordered_prices"} == {name for name, it in found.items() if not it.passed}
    shown = found["price_bars_have_ordered_prices"].metadata
    assert (288, 1) == (shown["rows_checked"].value, shown["rows_breaking"].value)
    assert "BTC-USD" in shown["examples"].value
    assert known.lake.row_counts(OHLC_DAILY, Window.of_days(MONDAY, MONDAY)) == {}


def test_a_check_that_warns_leaves_the_run_green(known: Pipeline) -> None:
    """A day with gaps is built, and marked."""
    Crooked(known, lambda bars: bars[bars.index % 2 == 0]).write(MONDAY, MONDAY)
    Crooked(known, lambda bars: bars).write(MONDAY + timedelta(days=1), MONDAY + timedelta(days=1))
    green = run(known, dg.AssetSelection.assets(DAILY), **range_tags(MONDAY, MONDAY + timedelta(days=1)))
    assert (True, {"ohlc_daily"}) == (green.success, built(green))
    complete = results(green)["ohlc_daily_are_complete"]
    assert (False, "WARN", 1) == (complete.passed, complete.severity.value, complete.metadata["rows_breaking"].value)


def test_a_check_alone_looks_at_the_lookback(known: Pipeline) -> None:
    """Started from the UI without a partition, it sees the last INGESTION_LOOKBACK_DAYS and today, and no other day."""
    today = datetime.now(UTC).date()
    lookback = known.settings.ingestion_lookback_days
    for day in (today - timedelta(days=lookback + 2), today - timedelta(days=lookback), today):
        Crooked(known, lambda bars: bars.head(10)).write(day, day)
    found = results(run(known, CHECKS_OF_BARS))
    assert {20} == {it.metadata["rows_checked"].value for it in found.values()}


def test_the_row_count_is_compared_with_the_day_before_the_run(known: Pipeline) -> None:
    """`history_days` reads one day more than the run builds; the day that lost its bars is named."""
    Crooked(known, lambda bars: bars).write(MONDAY, MONDAY)
    Crooked(known, lambda bars: bars.head(10)).write(MONDAY + timedelta(days=1), MONDAY + timedelta(days=1))
    Crooked(known, lambda bars: bars).write(MONDAY + timedelta(days=2), MONDAY + timedelta(days=2))
    tags = range_tags(MONDAY + timedelta(days=1), MONDAY + timedelta(days=2))
    found = results(run(known, CHECKS_OF_BARS, **tags))["price_bars_keep_their_row_count"]
    assert (False, 1) == (found.passed, found.metadata["rows_breaking"].value)
    assert f"| BTC-USD | {MONDAY + timedelta(days=1)} | 10 | 288 |" in found.metadata["examples"].value


def test_one_check_can_be_run_without_the_others(known: Pipeline) -> None:
    """A selected check alone is evaluated."""
    Crooked(known, with_high_below_low).write(MONDAY, MONDAY)
    key = dg.AssetCheckKey(BARS, "price_bars_have_ordered_prices")
    found = results(run(known, dg.AssetSelection.checks(key), **range_tags(MONDAY, MONDAY)))
    assert {"price_bars_have_ordered_prices": False} == {name: it.passed for name, it in found.items()}
