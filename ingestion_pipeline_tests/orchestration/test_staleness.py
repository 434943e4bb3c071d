"""Settled or not, outdated or not: by what Dagster has recorded of real runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from ingestion_pipeline.core.windows import midnight
from ingestion_pipeline.definitions import defs
from ingestion_pipeline.orchestration.partitions import DAILY, WEEKLY, range_tags
from ingestion_pipeline.orchestration.staleness import Builds, newest_place, spans

DAYS, WEEKS, TRENDS, SUMS = (dg.AssetKey(["toy", name]) for name in ("days", "weeks", "trends", "sums"))
MONDAY = date(2025, 3, 3)
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@dg.asset(key=DAYS, partitions_def=DAILY, backfill_policy=dg.BackfillPolicy.single_run())
def days_() -> None: ...


@dg.asset(key=WEEKS, deps=[DAYS], partitions_def=WEEKLY, backfill_policy=dg.BackfillPolicy.single_run())
def weeks() -> None: ...


LOOK_BACK = dg.TimeWindowPartitionMapping(start_offset=-3, allow_nonexistent_upstream_partitions=True)


@dg.asset(
    key=TRENDS,
    deps=[dg.AssetDep(DAYS, partition_mapping=LOOK_BACK)],
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def trends() -> None: ...


@dg.asset(
    key=SUMS,
    deps=[DAYS, TRENDS],
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    config_schema={"late": dg.Field(bool, default_value=False)},
)
def sums(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """As `table_asset` makes them; when `late`, its day is built again while it is being read."""
    place = newest_place(context.instance)
    if context.op_execution_context.op_config["late"]:
        for day in context.partition_keys:
            context.instance.report_runless_asset_event(dg.AssetMaterialization(DAYS, partition=day))
    return dg.MaterializeResult(data_version=dg.DataVersion(str(place)))


ALL = (days_, weeks, trends, sums)
TOYS = dg.Definitions(ALL, jobs=[dg.define_asset_job(it.key.path[-1], [it]) for it in ALL])


@dataclass
class Toys:
    """A day, the week of it, and a trend that looks back three days."""

    instance: dg.DagsterInstance

    def build(self, key: dg.AssetKey, first: date, last: date | None = None, *, late: bool = False) -> None:
        job, config = TOYS.resolve_job_def(key.path[-1]), {"ops": {"toy__sums": {"config": {"late": late}}}}
        assert job.execute_in_process(
            config if key == SUMS else {}, instance=self.instance, tags=range_tags(first, last or first)
        ).success

    @property
    def builds(self) -> Builds:
        return Builds(self.instance, TOYS.get_repository_def().asset_graph)

    def outdated(self, key: dg.AssetKey) -> set[date]:
        return set(self.builds.outdated([key]))

    def settled(self, key: dg.AssetKey, *days: date, now: datetime = NOW) -> set[date]:
        return self.builds.settled([key], days, now=now)


@pytest.fixture
def toys() -> Iterator[Toys]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Toys(instance)


def after(days: int) -> date:
    return MONDAY + timedelta(days=days)


def test_what_looks_back_is_outdated_within_its_reach(toys: Toys) -> None:
    """The day itself and the three after it; not the fourth, not the day before."""
    toys.build(DAYS, MONDAY, after(9))
    toys.build(TRENDS, MONDAY, after(9))
    assert set() == toys.outdated(TRENDS)
    toys.build(DAYS, after(4))
    assert {after(4), after(5), after(6), after(7)} == toys.outdated(TRENDS)
    toys.build(TRENDS, after(4), after(6))
    assert {after(7)} == toys.outdated(TRENDS)


def test_the_newest_build_read_names_the_state_that_is_outdated(toys: Toys) -> None:
    """A later build gives a greater number; a build out of reach gives the same."""
    toys.build(TRENDS, after(4))
    toys.build(DAYS, after(4))
    before = toys.builds.outdated([TRENDS])
    toys.build(DAYS, after(9))
    assert before[after(4)] == toys.builds.outdated([TRENDS])[after(4)]
    toys.build(DAYS, after(2))
    assert before[after(4)] < toys.builds.outdated([TRENDS])[after(4)]


def test_what_was_never_built_is_outdated_once_its_own_days_are_there(toys: Toys) -> None:
    """A day that is only looked back on does not ask for the days after it."""
    toys.build(DAYS, after(2), after(3))
    assert {after(2), after(3)} == toys.outdated(TRENDS)
    assert {MONDAY} == toys.outdated(WEEKS)


def test_a_week_is_as_old_as_its_days(toys: Toys) -> None:
    """Any of the seven; not the Sunday before nor the Monday after."""
    toys.build(DAYS, MONDAY, after(6))
    toys.build(WEEKS, MONDAY)
    toys.build(DAYS, after(-1))
    toys.build(DAYS, after(7))
    assert {after(-7), after(7)} == toys.outdated(WEEKS)
    assert {MONDAY} == toys.settled(WEEKS, MONDAY)
    toys.build(DAYS, after(6))
    assert {after(-7), MONDAY, after(7)} == toys.outdated(WEEKS)
    assert set() == toys.settled(WEEKS, MONDAY)


def test_days_that_are_looked_back_on_unsettle_nothing(toys: Toys) -> None:
    """Bars need not be fetched again for it; the day's own source does."""
    toys.build(DAYS, MONDAY, after(2))
    toys.build(TRENDS, MONDAY, after(2))
    toys.build(DAYS, MONDAY)
    assert {after(1), after(2)} == toys.settled(TRENDS, MONDAY, after(1), after(2))


def test_every_ended_day_built_while_it_ran_is_unsettled(toys: Toys) -> None:
    """Also one behind later days that are settled, as after a lookback that was built from its end."""
    today = datetime.now(UTC).date()
    yesterday = today - timedelta(days=1)
    toys.build(DAYS, yesterday, today)
    later = midnight(today + timedelta(days=3))
    assert {yesterday} == toys.settled(DAYS, yesterday, today, now=later)
    newer = today + timedelta(days=1)
    toys.instance.report_runless_asset_event(dg.AssetMaterialization(DAYS, partition=str(newer)))
    assert {yesterday} == toys.settled(DAYS, yesterday, today, newer, now=later)


def test_a_running_day_is_never_settled(toys: Toys) -> None:
    """Its last bars are still to come."""
    toys.build(DAYS, MONDAY, after(1))
    assert {MONDAY} == toys.settled(DAYS, MONDAY, after(1), now=midnight(after(1)) + timedelta(hours=23))


def test_every_asset_must_have_it(toys: Toys) -> None:
    """And nothing built is nothing settled."""
    assert set() == toys.settled(DAYS, MONDAY)
    toys.build(DAYS, MONDAY, after(1))
    toys.build(TRENDS, MONDAY)
    assert {MONDAY} == toys.builds.settled([DAYS, TRENDS], [MONDAY, after(1)], now=NOW)


def test_a_run_that_was_deleted_leaves_the_time_of_its_events(toys: Toys) -> None:
    """As after a tidying of old runs."""
    toys.build(DAYS, MONDAY)
    (run,) = toys.instance.get_runs()
    toys.instance.run_storage.delete_run(run.run_id)
    assert {MONDAY} == toys.settled(DAYS, MONDAY)


def test_many_partitions_take_few_queries(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    """A month is judged by one query for its builds, one for their runs."""
    toys.build(DAYS, MONDAY, after(29))
    asked = []
    for name in ("fetch_materializations", "get_run_records"):
        real = getattr(toys.instance, name)
        monkeypatch.setattr(
            toys.instance,
            name,
            lambda *args, real=real, name=name, **more: (asked.append(name), real(*args, **more))[1],
        )
    assert 30 == len(toys.settled(DAYS, *(after(i) for i in range(30))))
    assert ["fetch_materializations", "get_run_records"] == asked


def test_partitions_before_the_first_are_left_alone(toys: Toys) -> None:
    """Built before INGESTION_FIRST_DAY was moved: no run could build them again."""
    toys.instance.report_runless_asset_event(dg.AssetMaterialization(DAYS, partition="2020-01-01"))
    assert set() == toys.outdated(TRENDS) | toys.outdated(WEEKS)


def test_spans_are_consecutive_and_bounded() -> None:
    """Days next to each other, weeks next to each other."""
    days = [after(i) for i in (9, 0, 1, 2, 4)]
    assert [(after(0), after(2)), (after(4), after(4)), (after(9), after(9))] == spans(days, DAILY, per_run=9)
    assert [(after(0), after(1)), (after(2), after(2))] == spans(days[1:4], DAILY, per_run=2)
    assert [(after(0), after(7)), (after(21), after(21))] == spans(map(after, (0, 7, 21)), WEEKLY, per_run=9)


@pytest.mark.parametrize(
    ("name", "expected"), [("roi_statistics", 372), ("comparisons", 37), ("ohlc_weekly", 0), ("ohlc_daily", 0)]
)
def test_the_market_looks_back_as_far_as_its_statistics_read(name: str, expected: int) -> None:
    """The longest window and a week more, in which a base price may lie."""
    job = "market_weekly_job" if name == "ohlc_weekly" else "market_lookback_job"
    graphs = [defs.get_repository_def().asset_graph]
    if name != "ohlc_daily":  # a job's own graph says the same
        graphs.append(defs.resolve_job_def(job).asset_layer.asset_graph)
    with dg.DagsterInstance.ephemeral() as instance:
        for graph in graphs:
            (source,) = Builds(instance, graph).sources(dg.AssetKey(["market", name]))
            assert timedelta(days=expected) == source.look_back


def test_what_is_built_while_it_is_read_is_read_again(toys: Toys) -> None:
    """Its build is recorded before that of its reader, which may have read it too early."""
    toys.build(DAYS, MONDAY)
    toys.build(TRENDS, MONDAY)
    toys.build(SUMS, MONDAY, late=True)
    assert {MONDAY} == toys.outdated(SUMS)
    assert set() == toys.builds.settled([SUMS], [MONDAY], now=NOW)
    toys.build(SUMS, MONDAY)
    assert set() == toys.outdated(SUMS)
    assert {MONDAY} == toys.builds.settled([SUMS], [MONDAY], now=NOW)


def test_what_reads_an_outdated_partition_would_be_built_twice(toys: Toys) -> None:
    """Also where the source of its source is outdated, and where it looks back; not for partitions that are not over."""
    days = [MONDAY + timedelta(days=number) for number in range(5)]
    for key in (DAYS, TRENDS, SUMS):
        toys.build(key, days[0], days[-1])
    assert set() == toys.builds.premature([SUMS, TRENDS], now=NOW)
    toys.build(DAYS, MONDAY)
    assert set(days[:4]) == toys.outdated(TRENDS) == toys.builds.premature([SUMS], now=NOW)
    assert set() == toys.builds.premature([TRENDS], now=NOW)
    assert set() == toys.builds.premature([SUMS], now=midnight(MONDAY))
