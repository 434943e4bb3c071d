"""The assets derived from the event history: load, call a pure function, store. No arithmetic here.

What a day changes beyond its own partition is built again with it, never left to be wrong: funnels of the days before,
which the day's events complete; cohorts of the weeks after; whoever is no longer new on a later day. What would be
derived from days of which events have expired is not built again: those rows stay as they are (retention.py).
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from ingestion_pipeline.core.funnels import parse_funnels
from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.core.windows import DAY, Window, midnight
from ingestion_pipeline.domains.events.retention import first_rebuildable_day
from ingestion_pipeline.domains.events.tables import (
    ACTIVE_USERS,
    DAILY_ACTIVE_USERS,
    EVENT_AGGREGATIONS_DAILY,
    EVENT_AGGREGATIONS_HOURLY,
    EVENT_AGGREGATIONS_WEEKLY,
    EVENT_HISTORY,
    FUNNEL_DAYS,
    FUNNELS,
    MONTH_DAYS,
    RETENTION_COHORTS,
)
from ingestion_pipeline.orchestration.metadata import materialized, report_day
from ingestion_pipeline.orchestration.partitions import FIRST_DAY, monday, partition_window
from ingestion_pipeline.orchestration.specs import lookback, table_asset
from ingestion_pipeline.orchestration.staleness import read_places
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pandas as pd

    from ingestion_pipeline.domains.events.aggregations import Grain

WEEK = timedelta(days=7)
EARLIEST, LATEST = midnight(date(2000, 1, 1)), midnight(date(2100, 1, 1))  # what events.event_log takes


@table_asset(EVENT_AGGREGATIONS_HOURLY, deps=[EVENT_HISTORY])
def event_aggregations_hourly(
    context: dg.AssetExecutionContext, postgres: dg.ResourceParam[Postgres], lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult:
    """One row per event type and category per UTC hour with an event.

    Key: event_type, event_category, bucket_start. Source: events/event_history; numeric properties are those that
    events.event_schemas says are numbers. Cadence: hourly for the running day; a day with late events again. Readers:
    /api/events/aggregations, dashboards. The function aggregate_events_hourly() fills one hour from the hot log.
    """
    return _aggregations(context, postgres, lake, target=EVENT_AGGREGATIONS_HOURLY, grain="hour")


@table_asset(EVENT_AGGREGATIONS_DAILY, deps=[EVENT_HISTORY])
def event_aggregations_daily(
    context: dg.AssetExecutionContext, postgres: dg.ResourceParam[Postgres], lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult:
    """One row per event type and category per UTC day with an event.

    Key: event_type, event_category, bucket_start. Source: events/event_history, not the hours: different users do not
    add up. Cadence: hourly for the running day; a day with late events again. Readers: /api/events/aggregations and
    /api/events/dashboard.
    """
    return _aggregations(context, postgres, lake, target=EVENT_AGGREGATIONS_DAILY, grain="day")


@table_asset(EVENT_AGGREGATIONS_WEEKLY, deps=[EVENT_HISTORY])
def event_aggregations_weekly(
    context: dg.AssetExecutionContext, postgres: dg.ResourceParam[Postgres], lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult:
    """One row per event type and category per week, Monday to Sunday UTC, with an event.

    Key: event_type, event_category, bucket_start. Source: events/event_history, not the days. Cadence: hourly for the
    running week; a week with late events again. Readers: /api/events/aggregations.
    """
    return _aggregations(context, postgres, lake, target=EVENT_AGGREGATIONS_WEEKLY, grain="week")


@table_asset(ACTIVE_USERS, deps=[EVENT_HISTORY])
def active_users(
    context: dg.AssetExecutionContext, postgres: dg.ResourceParam[Postgres], lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult:
    """One row per user per UTC day with a counted event, marked on the user's first day.

    Key: user_id, day. Source: events/event_history of the day, and of earlier days this table itself. Cadence: hourly
    for the running day. Days may be built in any order: users found on an earlier day than before lose their mark on
    the later one, which counts as built anew. Readers: daily_active_users, retention_cohorts.
    """
    window = partition_window(context)
    with postgres.exclusive(ACTIVE_USERS.qualified_name):
        for part in _parts(lake, EVENT_HISTORY, window, since=first_rebuildable_day(postgres)):
            _store_active_users(lake, part)
            new = _new_users(lake, part)
            for day, rows in _days_marked_late(lake, part, new):
                # Of its events nothing was read: it stays as outdated as it was. Reported twice: a run that ends before
                # the second leaves no reader as it was, and who reads in between reads again.
                read_to = read_places(context.instance, context.asset_key).get(day, 0)
                report_day(context, day, rows=rows, read_to=read_to)
                _unmark(lake, day, new)
                report_day(context, day, rows=rows, read_to=read_to)
    return materialized(context, ACTIVE_USERS, counts=lake.row_counts(ACTIVE_USERS, window))


@table_asset(DAILY_ACTIVE_USERS, deps=[EVENT_HISTORY, lookback(ACTIVE_USERS, days=MONTH_DAYS - 1)])
def daily_active_users(
    context: dg.AssetExecutionContext, postgres: dg.ResourceParam[Postgres], lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult:
    """One row per UTC day: users of the day, of 7 and of 28 days, new users, sessions.

    Key: day. Source: events/active_users; events/event_history for sessions, which need no user. Cadence: hourly for
    the running day; a day with late events and the 27 after it again. Readers: /api/events/dashboard.
    """
    from ingestion_pipeline.domains.events import activity

    window, frames = partition_window(context), list["pd.DataFrame"]()
    since = first_rebuildable_day(postgres) + (MONTH_DAYS - 1) * DAY
    for part in _parts(lake, EVENT_HISTORY, window, since=since):
        active = lake.read(ACTIVE_USERS, part.widened(before=(MONTH_DAYS - 1) * DAY))
        sessions = activity.sessions(lake.read(EVENT_HISTORY, part)).execute()
        frames.append(activity.daily_active_users(active, sessions, days=part.days()))
        postgres.replace(DAILY_ACTIVE_USERS, frames[-1], part)
    return _materialized(context, postgres, DAILY_ACTIVE_USERS, frames)


@table_asset(FUNNELS, deps=[EVENT_HISTORY])
def funnels(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    postgres: dg.ResourceParam[Postgres],
    lake: dg.ResourceParam[Lake],
) -> dg.MaterializeResult:
    """One row per step of each of EVENTS_FUNNELS per UTC day on which users entered.

    Key: day, funnel, step. Source: events/event_history of the day and the 7 days after it, in which later steps count:
    with a day, the 7 days before it are built again. Cadence: hourly for the running day. Readers: dashboards.
    """
    import pandas as pd

    from ingestion_pipeline.domains.events import activity

    window, frames = partition_window(context), list["pd.DataFrame"]()
    wanted, after = parse_funnels(settings.events_funnels), FUNNEL_DAYS * DAY
    start = min(max(window.start - after, midnight(FIRST_DAY)), window.start)
    for part in _parts(lake, EVENT_HISTORY, Window(start, window.end), since=first_rebuildable_day(postgres)):
        events = lake.read(EVENT_HISTORY, part.widened(after=after))
        frames.append(pd.concat([activity.funnels(events, funnel, days=part.days()) for funnel in wanted]))
        postgres.replace(FUNNELS, frames[-1], part)
    return _materialized(context, postgres, FUNNELS, frames)


@table_asset(RETENTION_COHORTS, deps=[ACTIVE_USERS])
def retention_cohorts(
    context: dg.AssetExecutionContext, postgres: dg.ResourceParam[Postgres], lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult:
    """One row per week per cohort: users whose first counted event is in the cohort's week, and who of them came back.

    Key: week, cohort_week. Source: events/active_users. Cadence: hourly for the running week. A week that changes
    changes the cohorts of all later ones: with a week, those after it are built again. Readers: dashboards.
    """
    from ingestion_pipeline.domains.events import activity

    window, frames = partition_window(context), list["pd.DataFrame"]()
    built = Window(window.start, max(window.end, _end_of_cohorts(postgres)))
    for part in _parts(lake, ACTIVE_USERS, built, since=first_rebuildable_day(postgres), unit_days=7):
        new_users = _new_users(lake, Window(EARLIEST, part.end))
        weeks = [day for day in part.days() if day == monday(day)]
        frames.append(activity.retention_cohorts(lake.read(ACTIVE_USERS, part), new_users, weeks=weeks))
        postgres.replace(RETENTION_COHORTS, frames[-1], part)
    return _materialized(context, postgres, RETENTION_COHORTS, frames)


def _aggregations(
    context: dg.AssetExecutionContext, postgres: Postgres, lake: Lake, *, target: Table, grain: "Grain"
) -> dg.MaterializeResult:
    """Builds the aggregations `target` part by part."""
    from ingestion_pipeline.domains.events.aggregations import event_aggregations, numeric_properties

    window, frames = partition_window(context), list["pd.DataFrame"]()
    with postgres.transaction() as connection:
        schemas = connection.execute("select event_type, json_schema from events.event_schemas").fetchall()
    properties = numeric_properties(schemas)
    since, unit_days = first_rebuildable_day(postgres), 7 if grain == "week" else 1
    for part in _parts(lake, EVENT_HISTORY, window, since=since, unit_days=unit_days):
        frames.append(event_aggregations(lake.read(EVENT_HISTORY, part), properties, grain=grain))
        postgres.replace(target, frames[-1], part)
    return _materialized(context, postgres, target, frames)


def _parts(lake: Lake, source: Table, window: Window, *, since: date, unit_days: int = 1) -> Iterator[Window]:
    """What of `window` is to be built, part by part; nothing before `since`."""
    start = max(window.start, midnight(since))
    if start < window.end:
        yield from lake.chunks(source, Window(start, window.end), unit_days=unit_days)


def _store_active_users(lake: Lake, part: Window) -> None:
    from ingestion_pipeline.domains.events import activity

    known = _new_users(lake, Window(EARLIEST, part.start))
    lake.replace(ACTIVE_USERS, activity.active_users(lake.read(EVENT_HISTORY, part), known), part)


def _days_marked_late(lake: Lake, part: Window, new: "ir.Table") -> list[tuple[date, int]]:
    """The later days that still mark somebody who is `new` in `part`, with their rows."""
    later = Window(part.end, LATEST)
    if not (counts := lake.row_counts(ACTIVE_USERS, later)):
        return []
    days = _new_users(lake, later).semi_join(new, "user_id").select("day").distinct().to_pyarrow()
    return [(day, counts[day]) for day in sorted(days["day"].to_pylist())]


def _unmark(lake: Lake, day: date, new: "ir.Table") -> None:
    """Takes the mark from everybody of `new` on a later day."""
    from ingestion_pipeline.domains.events import activity

    window = Window.of_days(day, day)
    lake.replace(ACTIVE_USERS, activity.without_new(lake.read(ACTIVE_USERS, window), new), window)


def _new_users(lake: Lake, window: Window) -> "ir.Table":
    """Who was active for the first time in `window`: columns user_id, day."""
    active = lake.read(ACTIVE_USERS, window)
    return active.filter(active.is_new).select("user_id", "day")


def _end_of_cohorts(postgres: Postgres) -> datetime:
    """The end of the last week of events/retention_cohorts."""
    with postgres.transaction() as connection:
        row = connection.execute("select max(week) from events.retention_cohorts").fetchone()
    return midnight(row[0]) + WEEK if row and row[0] else EARLIEST


def _materialized(
    context: dg.AssetExecutionContext, postgres: Postgres, table: Table, frames: "list[pd.DataFrame]"
) -> dg.MaterializeResult:
    """What `table` holds of the partitions, and the last rows of what was built."""
    sample = next((frame for frame in reversed(frames) if len(frame)), None)
    return materialized(context, table, counts=postgres.row_counts(table, partition_window(context)), sample=sample)


ASSETS = [
    event_aggregations_hourly,
    event_aggregations_daily,
    event_aggregations_weekly,
    active_users,
    daily_active_users,
    funnels,
    retention_cohorts,
]
