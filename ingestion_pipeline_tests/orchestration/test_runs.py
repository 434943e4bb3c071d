"""Jobs run in this process: ranges of partitions, what is skipped, what came of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

import dagster as dg
import pytest

from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.definitions import defs
from ingestion_pipeline.orchestration.failures import explained_failures
from ingestion_pipeline.orchestration.partitions import DAILY, WEEKLY, TimePartitions, partition_window
from ingestion_pipeline.orchestration.runs import Outcome, _add_event, backfill, day_ranges, outdated, run_job
from ingestion_pipeline_tests.pipeline import Pipeline

FIRST, LAST = date(2025, 3, 3), date(2025, 3, 9)
TOYS, DOLLS = dg.AssetKey(["toy", "toys"]), dg.AssetKey(["toy", "dolls"])


@dataclass
class Toys:
    """A job of two assets over days or weeks, that remembers what it built and fails where it is told to."""

    partitions: TimePartitions
    instance: dg.DagsterInstance
    built: list[tuple[date, date]] = field(default_factory=list)
    fails_on: date | None = None
    told: list[tuple[date, date, bool]] = field(default_factory=list)

    @property
    def job(self) -> dg.JobDefinition:
        @dg.asset(key=TOYS, partitions_def=self.partitions, backfill_policy=dg.BackfillPolicy.single_run())
        def toys(context: dg.AssetExecutionContext) -> None:
            window = partition_window(context)
            with explained_failures():
                if self.fails_on and self.fails_on in window.days():
                    raise ContractError("toys.csv", "weight", "'heavy'", "a number")
            self.built.append((window.first_day, window.last_day))
            for key in context.partition_keys:
                context.add_asset_metadata({"dagster/partition_row_count": 3}, partition_key=key)

        @dg.asset(
            key=DOLLS, deps=[TOYS], partitions_def=self.partitions, backfill_policy=dg.BackfillPolicy.single_run()
        )
        def dolls(context: dg.AssetExecutionContext) -> None: ...

        defs = dg.Definitions([toys, dolls], jobs=[dg.define_asset_job("toy_job", [toys, dolls])])
        return defs.resolve_job_def("toy_job")

    def backfill(self, first: date, last: date, *, per_run: int = 2, again: bool = False) -> tuple[bool, Outcome]:
        outcome = Outcome()
        is_done = backfill(
            self.job,
            self.instance,
            outcome,
            window=Window.of_days(first, last),
            per_run=per_run,
            again=again,
            on_range=lambda *told: self.told.append(told),
        )
        return is_done, outcome


@pytest.fixture
def empty() -> Iterator[dg.DagsterInstance]:
    """An instance in which nothing has been built."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def toys(empty: dg.DagsterInstance) -> Toys:
    return Toys(DAILY, empty)


def days(*pairs: tuple[int, int]) -> list[tuple[date, date]]:
    return [(date(2025, 3, first), date(2025, 3, last)) for first, last in pairs]


@pytest.mark.parametrize(
    ("per_run", "expected"),
    [
        (3, days((3, 5), (6, 8), (9, 9))),
        (7, days((3, 9))),
        (90, days((3, 9))),
        (1, days(*((i, i) for i in range(3, 10)))),
    ],
)
def test_days_are_split_into_ranges_that_cover_each_once(per_run: int, expected: list[tuple[date, date]]) -> None:
    """Oldest first; the last range may be shorter."""
    assert expected == list(day_ranges(FIRST, LAST, DAILY, per_run=per_run))


def test_weeks_are_those_that_the_days_touch() -> None:
    """From a Wednesday to a Tuesday are two weeks, named by their Mondays."""
    assert days((3, 10)) == list(day_ranges(date(2025, 3, 5), date(2025, 3, 11), WEEKLY, per_run=5))
    assert days((3, 3), (10, 10)) == list(day_ranges(date(2025, 3, 5), date(2025, 3, 11), WEEKLY, per_run=1))


def test_a_backfill_builds_every_range_and_says_so(toys: Toys) -> None:
    """In order, with the number of runs, partitions and rows."""
    is_done, outcome = toys.backfill(FIRST, LAST, per_run=3)
    assert is_done
    assert days((3, 5), (6, 8), (9, 9)) == toys.built
    assert [(first, last, False) for first, last in toys.built] == toys.told
    counted = outcome.assets["toy/toys"]
    assert (3, 7, 21, []) == (outcome.run_count, len(counted.partitions), counted.rows, outcome.problems)


def test_what_is_built_is_skipped(toys: Toys) -> None:
    """A range is skipped only if all of it is there."""
    toys.backfill(date(2025, 3, 3), date(2025, 3, 5))
    toys.built.clear()
    toys.told.clear()
    is_done, outcome = toys.backfill(FIRST, LAST)
    assert (True, 3) == (is_done, outcome.run_count)
    assert days((5, 6), (7, 8), (9, 9)) == toys.built
    assert [True, False, False, False] == [was_skipped for *_, was_skipped in toys.told]


def test_again_builds_what_is_built(toys: Toys) -> None:
    """The rows of a source that changed its mind."""
    toys.backfill(FIRST, LAST)
    toys.built.clear()
    toys.backfill(FIRST, LAST, again=True)
    assert days((3, 4), (5, 6), (7, 8), (9, 9)) == toys.built


def test_a_backfill_stops_at_the_first_range_that_fails_and_says_why(toys: Toys) -> None:
    """What came before stays; what comes after is not tried."""
    toys.fails_on = date(2025, 3, 6)
    is_done, outcome = toys.backfill(FIRST, LAST)
    assert not is_done
    assert days((3, 4)) == toys.built
    assert ["toy__toys: toys.csv: weight is 'heavy', expected a number"] == outcome.problems


def test_a_broken_off_backfill_goes_on_where_it_stopped(toys: Toys) -> None:
    """The second time only what is missing is built."""
    toys.fails_on = date(2025, 3, 6)
    toys.backfill(FIRST, LAST)
    toys.fails_on = None
    toys.built.clear()
    is_done, _ = toys.backfill(FIRST, LAST)
    assert is_done
    assert days((5, 6), (7, 8), (9, 9)) == toys.built


def test_a_partition_counts_as_built_when_all_assets_of_the_job_have_it(toys: Toys, empty: dg.DagsterInstance) -> None:
    """A run that failed halfway leaves its first assets built."""
    empty.report_runless_asset_event(dg.AssetMaterialization(TOYS, partition=str(FIRST)))
    toys.backfill(FIRST, FIRST)
    assert days((3, 3)) == toys.built


def test_weeks_are_backfilled_by_their_monday(empty: dg.DagsterInstance) -> None:
    """The week of each day, once."""
    weeks = Toys(WEEKLY, empty)
    weeks.backfill(date(2025, 3, 5), date(2025, 3, 18), per_run=2)
    assert days((3, 16), (17, 23)) == weeks.built
    assert {"2025-03-03", "2025-03-10", "2025-03-17"} == empty.get_materialized_partitions(TOYS)


def stale(toys: Toys, window: tuple[date, date], *, after_days: int) -> Window | None:
    return outdated(toys.job, toys.instance, source=TOYS, window=Window.of_days(*window), days=after_days)


def test_later_days_built_before_an_earlier_one_are_outdated(toys: Toys) -> None:
    """They looked back on a day that was not there; within their reach only."""
    toys.backfill(date(2025, 3, 10), date(2025, 3, 14))
    toys.backfill(FIRST, FIRST)
    assert Window.of_days(date(2025, 3, 10), date(2025, 3, 14)) == stale(toys, (FIRST, FIRST), after_days=365)
    assert Window.of_days(date(2025, 3, 10), date(2025, 3, 11)) == stale(toys, (FIRST, FIRST), after_days=8)
    assert stale(toys, (FIRST, FIRST), after_days=6) is None


def test_later_days_built_after_it_are_not_outdated(toys: Toys) -> None:
    """In the order of time, or built again since."""
    toys.backfill(FIRST, LAST, per_run=1)
    assert stale(toys, (FIRST, FIRST), after_days=365) is None
    toys.backfill(FIRST, FIRST, again=True)
    toys.backfill(date(2025, 3, 4), LAST, again=True)
    assert stale(toys, (FIRST, FIRST), after_days=365) is None


def test_nothing_is_outdated_where_nothing_is_built(toys: Toys) -> None:
    """An empty instance, and days that no run has touched."""
    assert stale(toys, (FIRST, LAST), after_days=365) is None
    toys.backfill(FIRST, FIRST)
    assert stale(toys, (LAST, LAST), after_days=365) is None


def test_an_outcome_counts_rows_partitions_seconds_and_checks(pipeline: Pipeline) -> None:
    """Of real market jobs, as the command prints them."""
    outcome = Outcome()
    for event in pipeline.run("market_daily_job", FIRST, FIRST + timedelta(days=1)).all_events:
        _add_event(outcome, event)
    checks = len([key for key in defs.resolve_asset_graph().asset_check_keys if key.asset_key.path[-1] == "price_bars"])
    daily, bars = outcome.assets["market/ohlc_daily"], outcome.assets["market/price_bars"]
    assert (6, {"2025-03-03", "2025-03-04"}) == (daily.rows, daily.partitions)
    assert 2 * (2 * 288 + 78) == bars.rows
    assert (checks, 0, 0) == (bars.checks_passed, bars.checks_warned, bars.checks_failed)
    assert daily.seconds > 0
    assert 3 == outcome.assets["market/markets"].rows


def test_a_resource_that_cannot_be_made_is_named(empty: dg.DagsterInstance) -> None:
    """It fails the run before any step does."""

    @dg.resource
    def broken(_: dg.InitResourceContext) -> None:
        raise ContractError("DATABASE_URL", "host", "''", "a host")

    @dg.op(required_resource_keys={"broken"})
    def work() -> None: ...

    @dg.job(resource_defs={"broken": broken})
    def toy_job() -> None:
        work()

    outcome = Outcome()
    assert not run_job(toy_job, empty, outcome)
    (problem,) = outcome.problems
    assert "DATABASE_URL: host is '', expected a host" in problem
