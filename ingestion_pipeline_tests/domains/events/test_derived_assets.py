"""The assets derived from the event history, over a real lake and a real PostgreSQL, and what one day does to others."""

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import psycopg
import pytest

from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.events import derived_assets
from ingestion_pipeline.domains.events.derived_assets import ASSETS
from ingestion_pipeline.domains.events.derived_checks import CHECKS
from ingestion_pipeline.domains.events.tables import (
    ACTIVE_USERS,
    DAILY_ACTIVE_USERS,
    EVENT_AGGREGATIONS_DAILY,
    EVENT_AGGREGATIONS_HOURLY,
    EVENT_AGGREGATIONS_WEEKLY,
    EVENT_HISTORY,
    FUNNELS,
    RETENTION_COHORTS,
    TABLES,
)
from ingestion_pipeline.orchestration.partitions import DAILY, range_tags
from ingestion_pipeline.orchestration.resources import RESOURCES
from ingestion_pipeline.orchestration.staleness import Builds
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage import lake as lake_module
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import python
from ingestion_pipeline_tests.command import SECONDS
from ingestion_pipeline_tests.domains.events.factories import MONDAY, by_key, make_event, make_events, make_payment

FIRST = MONDAY.date()
WEEKLY_TABLES = (EVENT_AGGREGATIONS_WEEKLY, RETENTION_COHORTS)


def _keys(*tables: Table) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*[dg.AssetKey(list(table.asset_key)) for table in tables])


HISTORY = dg.AssetSpec(list(EVENT_HISTORY.asset_key), partitions_def=DAILY)
WEEKS = _keys(*WEEKLY_TABLES)
DEFS = dg.Definitions(
    [HISTORY, *ASSETS],
    asset_checks=CHECKS,
    resources=RESOURCES,
    jobs=[
        dg.define_asset_job("days", selection=dg.AssetSelection.assets(*ASSETS) - WEEKS),
        dg.define_asset_job("weeks", selection=WEEKS),
        dg.define_asset_job("readers", selection=_keys(DAILY_ACTIVE_USERS)),
    ],
)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def after(days: int) -> date:
    return FIRST + timedelta(days=days)


@dataclass
class Events:
    """The derived assets over an event history that a test writes."""

    settings: Settings
    postgres: Postgres
    lake: Lake
    instance: dg.DagsterInstance

    def store(self, *events: dict[str, Any]) -> None:
        """Makes `events` the whole history."""
        self.lake.replace(EVENT_HISTORY, make_events(*events), Window.of_days(after(-400), after(400)))
        for day in sorted({event["day"] for event in events}):
            self.instance.report_runless_asset_event(dg.AssetMaterialization(HISTORY.key, partition=str(day)))

    def run(self, job: str, first: date = FIRST, last: date | None = None) -> dg.ExecuteInProcessResult:
        result = DEFS.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            tags=range_tags(first, last or first),
            resources={"settings": self.settings, "postgres": self.postgres, "lake": self.lake},
            run_config=QUIET,
        )
        assert result.success
        return result

    def rows(self, table: Table) -> pd.DataFrame:
        every = Window.of_days(after(-400), after(400))
        frame = (
            self.postgres.rows(table, every) if table.store == "postgres" else self.lake.read(table, every).execute()
        )
        for column in table.columns:
            if column.type == "date":
                frame[column.name] = pd.Series(pd.to_datetime(frame[column.name]).dt.date, dtype="object")
        return frame.sort_values(list(table.key)).reset_index(drop=True)

    def outdated(self, *tables: Table) -> set[date]:
        keys = [dg.AssetKey(list(table.asset_key)) for table in tables]
        return set(Builds(self.instance, DEFS.get_repository_def().asset_graph).outdated(keys))


@pytest.fixture
def events(settings: Settings, postgres: Postgres, lake: Lake) -> Iterator[Events]:
    """Nothing has expired: the days of these tests are long past."""
    postgres.execute("update events.retention_classes set kept_for = interval '100 years'")
    with dg.DagsterInstance.ephemeral() as instance:
        yield Events(settings=settings, postgres=postgres, lake=lake, instance=instance)


def seen(user: str, day: float, **over: Any) -> dict[str, Any]:
    return make_event(user_id=user, occurred_at=MONDAY + timedelta(days=day), **over)


def failed_checks(result: dg.ExecuteInProcessResult) -> list[str]:
    return [it.check_name for it in result.get_asset_check_evaluations() if not it.passed]


def test_every_derived_table_is_filled_and_its_checks_hold(events: Events) -> None:
    """Two weeks of one user a day who pays; built again the rows are the same."""
    history = [
        event
        for day in range(14)
        for event in (
            seen(f"u{day % 3}", day + 0.5),
            make_payment(day + 0.25, occurred_at=MONDAY + timedelta(days=day)),
        )
    ]
    events.store(*history)
    tables = [EVENT_AGGREGATIONS_HOURLY, EVENT_AGGREGATIONS_DAILY, ACTIVE_USERS, DAILY_ACTIVE_USERS, FUNNELS]
    found = []
    for _ in range(2):
        results = [events.run("days", FIRST, after(13)), events.run("weeks", FIRST, after(7))]
        assert [[], []] == [failed_checks(result) for result in results]
        assert 16 == sum(len(result.get_asset_check_evaluations()) for result in results)
        found.append([events.rows(table) for table in (*tables, *WEEKLY_TABLES)])
    assert [28, 28] == [len(rows) for rows in found[0][:2]]
    assert [14, 4] == [len(found[0][3]), len(found[0][5])]
    for first, second in zip(*found, strict=True):
        pd.testing.assert_frame_equal(first, second, check_exact=True)
    amounts = by_key(found[0][5], "event_type", "bucket_start")["payment.completed", MONDAY]["properties"]["amount"]
    assert (7, 22.75, 3.25) == (amounts["count"], amounts["sum"], amounts["p50"])


def test_parts_of_a_window_give_the_rows_of_the_whole(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by cutting the days in parts; nothing may depend on where."""
    steps = ("project.created", "proposal.submitted", "milestone.approved")
    events.store(*[seen(f"u{i % 4}", i * 0.7, event_type=steps[i % 3], session_id=f"s{i % 5}") for i in range(18)])

    def build() -> list[pd.DataFrame]:
        events.run("days", FIRST, after(12))
        events.run("weeks", FIRST, after(7))
        return [events.rows(table) for table in (ACTIVE_USERS, DAILY_ACTIVE_USERS, FUNNELS, *WEEKLY_TABLES)]

    whole = build()
    chunks = Lake.chunks
    monkeypatch.setattr(Lake, "chunks", lambda *args, **kwargs: chunks(*args, **kwargs | {"max_rows": 1}))
    for one, parted in zip(whole, build(), strict=True):
        pd.testing.assert_frame_equal(one, parted, check_exact=True)
    assert 4 == whole[1]["active_users_28_days"].max()
    assert lake_module.ROWS_PER_CHUNK > 18


def test_a_late_event_makes_its_own_day_outdated_and_what_looks_back_on_it(events: Events) -> None:
    """Only those are built again; the other days' rows are not touched."""
    history = [seen("u1", day) for day in range(10)]
    events.store(*history)
    events.run("days", FIRST, after(9))
    assert set() == events.outdated(EVENT_AGGREGATIONS_DAILY, EVENT_AGGREGATIONS_HOURLY, ACTIVE_USERS, FUNNELS)
    events.lake.replace(EVENT_HISTORY, make_events(history[4], seen("u2", 4.5)), Window.of_days(after(4), after(4)))
    events.instance.report_runless_asset_event(dg.AssetMaterialization(HISTORY.key, partition=str(after(4))))
    assert {after(4)} == events.outdated(EVENT_AGGREGATIONS_DAILY, EVENT_AGGREGATIONS_HOURLY, ACTIVE_USERS, FUNNELS)
    events.run("days", after(4))
    counts = events.rows(EVENT_AGGREGATIONS_DAILY)["event_count"].tolist()
    assert [1, 1, 1, 1, 2, 1, 1, 1, 1, 1] == counts
    assert set() == events.outdated(EVENT_AGGREGATIONS_DAILY, EVENT_AGGREGATIONS_HOURLY, ACTIVE_USERS, FUNNELS)
    assert {after(day) for day in range(5, 10)} == {
        day for day in events.outdated(DAILY_ACTIVE_USERS) if day <= after(9)
    }


def test_days_may_be_built_in_any_order(events: Events) -> None:
    """Who turns out to have come earlier is new no longer on the later day, whose active users then count as rebuilt."""
    events.store(seen("u1", 1), seen("u1", 5), seen("u2", 5), seen("u1", 8))
    for day in (8, 5, 1):
        events.run("days", after(day))
    marks = {(row.user_id, row.day): bool(row.is_new) for row in events.rows(ACTIVE_USERS).itertuples()}
    expected = {("u1", 1): True, ("u1", 5): False, ("u2", 5): True, ("u1", 8): False}
    assert {(user, after(day)): is_new for (user, day), is_new in expected.items()} == marks
    assert {after(5), after(8)} <= events.outdated(DAILY_ACTIVE_USERS)
    events.run("days", after(5), after(8))
    new = by_key(events.rows(DAILY_ACTIVE_USERS), "day")
    assert [1, 1, 0] == [new[after(day)]["new_users"] for day in (1, 5, 8)]


def test_a_day_that_lost_marks_stays_outdated_until_its_own_events_are_read(events: Events) -> None:
    """That it is reported as changed says nothing of events that came late for it."""
    history = [seen("u1", 5), seen("u2", 5)]
    events.store(*history)
    events.run("days", after(5))
    events.store(*history, seen("u3", 5.5), seen("u1", 1))
    assert {after(1), after(5)} == events.outdated(ACTIVE_USERS)
    events.run("days", after(1))
    assert {after(5)} == events.outdated(ACTIVE_USERS)
    events.run("days", after(5))
    assert set() == events.outdated(ACTIVE_USERS)
    assert 3 == len(events.rows(ACTIVE_USERS).query("day == @after(5)"))


# Builds the first day, and is killed while it takes marks from later ones.
BUILDER = """
import os, signal, sys
import dagster as dg
from ingestion_pipeline.domains.events import derived_assets
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres

unmark = derived_assets._unmark

def unmarked(*arguments):
    unmark(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

derived_assets._unmark = unmarked
settings = Settings.from_environment({"DATABASE_URL": sys.argv[1], "INGESTION_HOME": sys.argv[2]})
resources = {"settings": settings, "postgres": Postgres(sys.argv[1]), "lake": Lake(settings)}
instance = dg.DagsterInstance.local_temp(sys.argv[3])
history = dg.AssetSpec(["events", "event_history"], partitions_def=derived_assets.active_users.partitions_def)
dg.materialize([history, derived_assets.active_users], instance=instance, partition_key=sys.argv[4], resources=resources)
"""


def test_a_day_that_lost_marks_has_its_readers_built_again_although_the_run_was_killed(
    events: Events, worker_url: str, tmp_path: Path
) -> None:
    """The next run finds no mark to take any more."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as events.instance:
        events.store(seen("u1", 1), seen("u1", 5))
        events.run("days", after(5))
        assert after(5) not in events.outdated(DAILY_ACTIVE_USERS)
        home = str(events.settings.ingestion_home)
        with python(BUILDER, worker_url, home, str(tmp_path), str(after(1))) as child:
            said, _ = child.communicate(timeout=SECONDS)
            assert -signal.SIGKILL == child.returncode, said
        assert [False] == events.rows(ACTIVE_USERS).query("day == @after(5)")["is_new"].tolist()
        assert after(5) in events.outdated(DAILY_ACTIVE_USERS)


def test_who_reads_a_day_before_it_lost_its_marks_is_built_again(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing else but the marks tells of the change: a reader looks back on 28 days."""
    last, unmark = after(40), derived_assets._unmark

    def after_a_reader(*given: Any) -> None:
        events.run("readers", last)
        unmark(*given)

    events.store(seen("u1", 1), seen("u1", 40))
    events.run("days", last)
    with monkeypatch.context() as patch:
        patch.setattr(derived_assets, "_unmark", after_a_reader)
        events.run("days", after(1))
    assert last in events.outdated(DAILY_ACTIVE_USERS)
    events.run("readers", last)
    assert last not in events.outdated(DAILY_ACTIVE_USERS)
    assert {after(1): 1, last: 0} == dict(events.rows(DAILY_ACTIVE_USERS)[["day", "new_users"]].itertuples(index=False))


def test_a_day_completes_the_funnels_of_the_days_before(events: Events) -> None:
    """They are built with it, as far back as a step may count."""
    steps = [
        seen("u1", 0, event_type="project.created"),
        seen("u1", 7, event_type="proposal.submitted"),
        seen("u1", 7, event_type="milestone.approved"),
    ]
    events.store(steps[0])
    events.run("days")
    assert [1, 0, 0] == events.rows(FUNNELS).query("day == @FIRST")["users"].tolist()
    events.store(*steps)
    events.run("days", after(7))
    assert [1, 1, 1] == events.rows(FUNNELS).query("day == @FIRST")["users"].tolist()


def test_a_week_that_changes_changes_the_cohorts_of_later_ones(events: Events) -> None:
    """They are built with it; a cohort has one size."""
    history = [seen("u1", 1), seen("u1", 15), seen("u2", 8)]
    events.store(*history)
    events.run("days", FIRST, after(20))
    events.run("weeks", FIRST, after(14))
    events.store(*history, seen("u2", 2))
    events.run("days", after(2))
    result = events.run("weeks", FIRST)
    rows = {
        (row.weeks_since, row.cohort_week): (row.cohort_users, row.retained_users)
        for row in events.rows(RETENTION_COHORTS).itertuples()
    }
    assert {(0, FIRST): (2, 2), (1, FIRST): (2, 1), (2, FIRST): (2, 1)} == rows
    assert [] == failed_checks(result)


def test_what_is_derived_from_expired_days_stays_as_it_is(events: Events) -> None:
    """A late event long before the limit, and one just after it, whose neighbours would be built with its day."""
    history = [seen(f"u{day % 3}", day, event_type="project.created") for day in range(42)]
    events.store(*history)
    tables = [table for table in TABLES if table is not EVENT_HISTORY]
    events.run("days", FIRST, after(41))
    events.run("weeks", FIRST, after(35))
    before = {table.name: events.rows(table) for table in tables}
    today = datetime.now(UTC).date()
    limit = after(9)  # a Wednesday: all of its week stays
    events.postgres.execute(f"update events.retention_classes set kept_for = interval '{(today - limit).days} days'")
    late = [
        seen(user, day, event_type=event_type)
        for day in (-2, 5, 11, 16, 30)
        for user, event_type in (("late", "project.created"), ("u0", "proposal.submitted"))
    ]
    events.store(*[event for event in history if event["day"] >= limit], *late)
    results = [events.run("days", day) for day in (after(-2), after(5), after(11), after(16), after(30))]
    results += [events.run("weeks", monday) for monday in (after(0), after(7), after(14), after(28))]
    assert [[]] * 9 == [failed_checks(result) for result in results]
    first_built = {table.name: after(14) for table in tables} | {DAILY_ACTIVE_USERS.name: after(14 + 27)}
    for table in tables:
        found = events.rows(table)
        old, new = (pd.to_datetime(it[table.partition_column], utc=True).dt.date for it in (before[table.name], found))
        expired = before[table.name][old < first_built[table.name]], found[new < first_built[table.name]]
        pd.testing.assert_frame_equal(*(it.reset_index(drop=True) for it in expired), check_exact=True)
        assert len(expired[0])
    daily = by_key(events.rows(EVENT_AGGREGATIONS_DAILY), "bucket_start", "event_type")
    assert [False, True] == [(MONDAY + timedelta(days=day), "proposal.submitted") in daily for day in (11, 16)]
    cohorts = by_key(events.rows(RETENTION_COHORTS), "week", "cohort_week")
    assert [3, 1] == [cohorts[after(28), cohort]["cohort_users"] for cohort in (FIRST, after(14))]


def test_a_cohort_that_changes_its_size_is_found(events: Events) -> None:
    """The week before is looked at too: within one week there is nothing to compare."""
    events.store(seen("u1", 0), seen("u2", 0), seen("u1", 8))
    events.run("days", FIRST, after(8))
    assert [] == failed_checks(events.run("weeks", FIRST, after(7)))
    events.postgres.execute(
        "update events.retention_cohorts set cohort_users = 3, retained_users = 3 where weeks_since = 0"
    )
    assert ["retention_cohorts_keep_their_size"] == failed_checks(events.run("weeks", after(7)))


def test_no_property_is_told_in_what_dagster_keeps(events: Events) -> None:
    """The amount of a single payment may be a person's; the table has it."""
    events.store(make_payment(987654321))
    kept = [str(event) for job in ("days", "weeks") for event in events.run(job).all_events]
    assert 987654321 == events.rows(EVENT_AGGREGATIONS_DAILY)["properties"][0]["amount"]["max"]
    assert [] == [event for event in kept if "987654321" in event or "987,654,321" in event]
    assert any("payment.completed" in event for event in kept)


def test_a_funnel_that_is_no_longer_configured_goes(events: Events) -> None:
    """With the next build of the day."""
    events.store(seen("u1", 0))
    events.run("days")
    events.settings = events.settings.model_copy(update={"events_funnels": "reading:VIEW>COPY>SAVE>FORK"})
    events.run("days")
    assert ["reading"] * 4 == events.rows(FUNNELS).query("day == @FIRST")["funnel"].tolist()


def test_no_user_is_named_in_what_dagster_keeps(events: Events) -> None:
    """An erasure does not reach Dagster's event log."""
    events.store(seen("somebody@example.com", 0))
    result = events.run("days")
    assert 1 == len(events.rows(ACTIVE_USERS))
    assert "somebody@example.com" not in json.dumps([str(event) for event in result.all_events])


HOT = (
    "insert into events.event_log (event_id, event_type, event_category, schema_version, user_id, session_id, "
    "event_data, metadata, occurred_at, received_at, caller, origin) values (%(event_id)s, %(event_type)s, "
    "%(event_category)s, 1, %(user_id)s, %(session_id)s, %(event_data)s, '{}', %(occurred_at)s, %(received_at)s, "
    "'tests', 'http')"
)


def hot(url: str, *events: dict[str, Any]) -> None:
    """The same events in the hot log."""
    with psycopg.connect(url) as connection:
        for event in events:
            connection.execute(HOT, event)
            if not event["is_counted"]:
                connection.execute(
                    "insert into events.event_states (event_id, received_at, uncounted_reason) values (%s, %s, %s)",
                    [event["event_id"], event["received_at"], event["uncounted_reason"]],
                )


def aggregated(postgres: Postgres, *hour: Any) -> int:
    with postgres.transaction() as connection:
        call = f"select events.aggregate_events_hourly({', '.join(['%s'] * len(hour))})"
        row = connection.execute(call, list(hour)).fetchone()
    assert row
    return int(row[0])


VALUES = [0.1, 7, -3.25, 0.1, "5", True, None, 1e18, "1e5", 1e19, 123456789.123, 0, 10**17]


def test_the_sql_function_gives_the_rows_of_the_asset(events: Events, database_url: str) -> None:
    """The same hour from the hot log and from the lake, as often as one likes; other hours stay."""
    history = [
        make_payment(
            value,
            event_id=f"01956b3e-0000-7000-8000-{number:012x}",
            event_type=["payment.completed", "payment.failed", "VIEW"][number % 3 if number % 5 else 0],
            event_category="transaction" if number % 4 else "content",
            user_id=[None, "u1", "u2"][number % 3],
            session_id=f"s{number % 4}",
            is_counted=number % 6 > 0,
            uncounted_reason=None if number % 6 else "repeat_view",
            occurred_at=MONDAY + timedelta(hours=9, minutes=59 * number / 30),
        )
        for number, value in enumerate(VALUES * 2)
    ]
    other = make_payment(1, event_id="01956b3e-0000-7000-8000-ffffffffffff", occurred_at=MONDAY + timedelta(hours=10))
    hot(database_url, *history, other)
    for _ in range(2):
        assert 6 == aggregated(events.postgres, MONDAY + timedelta(hours=9, minutes=20))
    ours = events.rows(EVENT_AGGREGATIONS_HOURLY)
    events.store(*history, other)
    events.run("days")
    theirs = events.rows(EVENT_AGGREGATIONS_HOURLY).query("bucket_start < @other['occurred_at']").reset_index(drop=True)
    pd.testing.assert_frame_equal(
        ours.drop(columns="properties"), theirs.drop(columns="properties"), check_dtype=False, check_exact=True
    )
    assert any(ours["properties"])
    for mine, its in zip(ours["properties"], theirs["properties"], strict=True):
        assert set(mine) == set(its)
        assert all(pytest.approx(mine[name], rel=1e-12) == its[name] for name in mine)


def test_the_sql_function_takes_the_last_full_hour(events: Events, database_url: str) -> None:
    """As a cron job calls it: without arguments, at any minute of the next hour."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute("select date_trunc('hour', now()), now()").fetchone()
    assert row
    hour, now = row
    hot(database_url, make_event(occurred_at=hour - timedelta(minutes=1), received_at=now))
    stored = aggregated(events.postgres)
    with psycopg.connect(database_url) as connection:
        later = connection.execute("select date_trunc('hour', now())").fetchone()
        buckets = connection.execute("select bucket_start from events.event_aggregations_hourly").fetchall()
    expected = (1, [(hour - timedelta(hours=1),)]) if later == (hour,) else (0, [])  # the hour has just changed
    assert expected == (stored, buckets)


@pytest.mark.parametrize("text", ["1e400", "-1e400", "1e-400", "9" * 400])
def test_the_sql_function_survives_numbers_of_any_size(events: Events, database_url: str, text: str) -> None:
    """JSON in PostgreSQL holds numbers that no double can."""
    hot(database_url, make_payment(0, event_data=f'{{"amount": {text}}}', occurred_at=MONDAY))
    assert 1 == aggregated(events.postgres, MONDAY)


def test_the_sql_function_refuses_what_the_hot_log_no_longer_holds(events: Events, database_url: str) -> None:
    """It would replace what the lake knows by nothing."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "create table events.event_log_20250305 partition of events.event_log "
            "for values from ('2025-03-05Z') to ('2025-03-06Z')"
        )
    with pytest.raises(psycopg.errors.RaiseException, match="older than the hot log, which begins on 2025-03-05"):
        aggregated(events.postgres, MONDAY)
    assert 0 == aggregated(events.postgres, MONDAY + timedelta(days=2))


def test_only_the_worker_may_call_the_sql_function(database_url: str) -> None:
    """The intake answers the internet."""
    with psycopg.connect(database_url) as connection:
        may = "select has_function_privilege(%s, 'events.aggregate_events_hourly(timestamptz)', 'execute')"
        roles = ("pipeline_worker", "pipeline_intake", "pipeline_reader")
        assert [True, False, False] == [connection.execute(may, [role]).fetchone()[0] for role in roles]
