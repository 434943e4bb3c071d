"""Jobs run in this process: ranges of partitions, what is skipped, what came of it."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest
from dagster._utils.interrupts import capture_interrupts

from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.core.windows import Window, midnight
from ingestion_pipeline.definitions import defs
from ingestion_pipeline.orchestration.failures import RETRY_POLICY, explained_failures
from ingestion_pipeline.orchestration.partitions import DAILY, WEEKLY, TimePartitions, partition_window
from ingestion_pipeline.orchestration.runs import (
    Outcome,
    _add_event,
    backfill,
    day_ranges,
    outdated_spans,
    run_job,
    run_spans,
)
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

    def backfill(
        self, first: date, last: date, *, per_run: int = 2, again: bool = False, now: datetime | None = None
    ) -> tuple[bool, Outcome]:
        outcome = Outcome()
        is_done = backfill(
            self.job,
            self.instance,
            outcome,
            window=Window.of_days(first, last),
            per_run=per_run,
            again=again,
            now=now,
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


def outdated(toys: Toys, *, since: date = FIRST, per_run: int = 90) -> list[tuple[date, date]]:
    return outdated_spans(toys.job, toys.instance, since=since, per_run=per_run)


def test_what_is_older_than_its_source_is_outdated_wherever_it_lies(toys: Toys, empty: dg.DagsterInstance) -> None:
    """Not only after the days that were built: in consecutive spans of a bounded number."""
    toys.backfill(FIRST, LAST)
    assert [] == outdated(toys)
    for day in (3, 5, 6, 7):
        empty.report_runless_asset_event(dg.AssetMaterialization(TOYS, partition=f"2025-03-0{day}"))
    assert days((3, 3), (5, 7)) == outdated(toys)
    assert days((3, 3), (5, 6), (7, 7)) == outdated(toys, per_run=2)
    assert days((5, 7)) == outdated(toys, since=date(2025, 3, 4))


def test_the_spans_are_run_until_one_fails(toys: Toys) -> None:
    """Each is told of; what comes after the failure is not tried."""
    toys.fails_on = date(2025, 3, 7)
    told, outcome = list[tuple[date, date, bool]](), Outcome()
    ranges = days((3, 3), (5, 6), (7, 7), (9, 9))
    assert not run_spans(toys.job, toys.instance, outcome, ranges, on_range=lambda *it: told.append(it))
    assert [(first, last, False) for first, last in ranges[:2]] == told
    assert 3 == outcome.run_count


def test_a_day_built_while_it_was_running_is_built_again_when_it_has_ended(toys: Toys) -> None:
    """Its last bars came after the run; so does a running day, which is never settled."""
    today = datetime.now(UTC).date()
    tomorrow = midnight(today + timedelta(days=1))
    toys.backfill(today - timedelta(days=1), today)
    toys.built.clear()
    toys.backfill(today - timedelta(days=1), today, per_run=1, now=tomorrow)
    assert [(today, today)] == toys.built


def test_a_day_whose_source_was_built_again_is_built_again(toys: Toys, empty: dg.DagsterInstance) -> None:
    """As after a rebuild that was killed between two assets."""
    toys.backfill(FIRST, LAST)
    empty.report_runless_asset_event(dg.AssetMaterialization(TOYS, partition="2025-03-05"))
    toys.built.clear()
    toys.backfill(FIRST, LAST, per_run=1)
    assert days((5, 5)) == toys.built


@pytest.mark.parametrize("retries", [None, RETRY_POLICY])
def test_ctrl_c_ends_a_run_at_once(empty: dg.DagsterInstance, retries: dg.RetryPolicy | None) -> None:
    """It is no failure that is told, nor one that is tried again."""
    tries = []

    @dg.asset(retry_policy=retries)
    def toys() -> None:
        tries.append(1)
        with explained_failures():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)

    @dg.asset
    def trains() -> None:
        tries.append(2)

    job = dg.Definitions([toys, trains], jobs=[dg.define_asset_job("toy_job", [toys, trains])])
    with pytest.raises(KeyboardInterrupt):
        run_job(job.resolve_job_def("toy_job"), empty, Outcome())
    assert [1] == tries


def test_ctrl_c_between_two_steps_ends_the_command_too(empty: dg.DagsterInstance) -> None:
    """Dagster takes one that comes while it does its own work, here at the end of the last step, and forgets it."""

    @dg.success_hook
    def at_the_end(_: dg.HookContext) -> None:
        with capture_interrupts():
            os.kill(os.getpid(), signal.SIGINT)

    @dg.op
    def calm() -> None:
        pass

    @dg.job(hooks={at_the_end}, executor_def=dg.in_process_executor)
    def calm_job() -> None:
        calm()

    with pytest.raises(KeyboardInterrupt):
        run_job(calm_job, empty, Outcome())


def test_an_outcome_counts_rows_partitions_seconds_and_checks(pipeline: Pipeline) -> None:
    """Of real market jobs, as the command prints them."""
    outcome = Outcome()
    for event in pipeline.run("market_daily_job", FIRST, FIRST + timedelta(days=1)).all_events:
        _add_event(outcome, defs.resolve_job_def("market_daily_job"), event)
    checks = len([key for key in defs.resolve_asset_graph().asset_check_keys if key.asset_key.path[-1] == "price_bars"])
    daily, bars = outcome.assets["market/ohlc_daily"], outcome.assets["market/price_bars"]
    assert (6, {"2025-03-03", "2025-03-04"}) == (daily.rows, daily.partitions)
    assert 2 * (2 * 288 + 78) == bars.rows
    assert (checks, 0, 0) == (bars.checks_passed, bars.checks_warned, bars.checks_failed)
    assert daily.seconds > 0
    assert 6 == len(outcome.assets)  # a step of checks is no asset
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
