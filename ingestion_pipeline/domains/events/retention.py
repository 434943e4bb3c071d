"""What has been kept long enough goes: from PostgreSQL, the lake with its older versions, the warehouse.

An event expires by the class of its type, counted from the UTC day on which it happened; of a type that the registry
has lost, after the longest class. Figures derived from events stay: they hold no person. events/active_users does, and
loses whoever has no event left.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.events.sync import ALL_TIME, LOCK
from ingestion_pipeline.domains.events.tables import ACTIVE_USERS, EVENT_HISTORY
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.warehouses.catalogue import warehouse

FILES_PER_DAY = 10

_LIMITS = """
select null as event_type, (now() at time zone 'UTC' - max(kept_for))::date from events.retention_classes
union all
select event_type, (now() at time zone 'UTC' - kept_for)::date from events.event_retention
"""
_POSTGRES = "select events.apply_data_retention_policy(%s, %s)"
_AUDIT = "insert into operations.audit_log (actor, action, details) values ('retention', 'retention', %s)"


@dataclass(frozen=True)
class Limits:
    """The first day that is kept, by event type; `unknown` of types that are not in the registry."""

    unknown: date
    by_type: Mapping[str, date]

    def of(self, event_type: str) -> date:
        return self.by_type.get(event_type, self.unknown)

    @property
    def newest(self) -> date:
        """From this day on nothing has expired."""
        return max([self.unknown, *self.by_type.values()])


@dataclass
class RetentionReport:
    """What was removed. `postgres` is what the function apply_data_retention_policy says."""

    postgres: dict[str, Any] = field(default_factory=dict)
    lake_events: int = 0
    lake_days: int = 0
    active_days: int = 0
    warehouse_events: int = 0
    files: int = 0
    compacted_days: int = 0


def apply_retention(postgres: Postgres, lake: Lake, settings: Settings) -> RetentionReport:
    """Removes what has expired, everywhere; then gathers the small files of past days. Killed, it goes on next time.

    Readers of expired days, or of files that were replaced the day before, may fail meanwhile.

    Raises:
        StoreUnavailableError, ConfigurationError: of a store; what was done until then is done.
    """
    report, limits = RetentionReport(), _limits(postgres)
    with postgres.exclusive(LOCK):
        expired = _expired(lake, limits)
        report.lake_days = len({day for day, _ in expired})
        report.lake_events = sum(lake.delete(EVENT_HISTORY, predicate) for predicate in _predicates(lake, expired))
        with postgres.transaction() as connection:
            days = [settings.events_hot_days, settings.events_deduplication_days]
            (report.postgres,) = connection.execute(_POSTGRES, days).fetchone() or ({},)
        report.files = lake.purge(EVENT_HISTORY)
        report.compacted_days = _compact(lake, utc_now().date())
    report.active_days = _forget_users(postgres, lake, limits)
    report.warehouse_events = _delete_copies(postgres, settings, limits, {event_type for _, event_type in expired})
    with postgres.transaction() as connection:
        connection.execute(_AUDIT, [Jsonb(vars(report))])
    return report


def _limits(postgres: Postgres) -> Limits:
    with postgres.transaction() as connection:
        found = dict(connection.execute(_LIMITS).fetchall())
    return Limits(found.pop(None), found)


def _expired(lake: Lake, limits: Limits) -> dict[tuple[date, str], int]:
    """Rows of the history that have expired, by day and type."""
    old = _before(lake, limits.newest)
    counted = old.group_by("day", "event_type").aggregate(rows=old.count()).to_pyarrow().to_pylist()
    return {
        (row["day"], row["event_type"]): row["rows"] for row in counted if row["day"] < limits.of(row["event_type"])
    }


def _predicates(lake: Lake, expired: Mapping[tuple[date, str], int]) -> Iterator[str]:
    """Conditions on the rows that have expired: one for all days of which nothing is left, else one for each day."""
    rows, types = Counter[date](), defaultdict[date, list[str]](list)
    for (day, event_type), count in sorted(expired.items()):
        rows[day] += count
        types[day].append(event_type)
    held = lake.row_counts(EVENT_HISTORY, ALL_TIME)
    whole = [day for day in rows if rows[day] == held.get(day)]
    if whole:
        yield f"day in ({', '.join(map(_quoted, whole))})"
    for day in sorted(rows.keys() - set(whole)):
        yield f"day = {_quoted(day)} and event_type in ({', '.join(map(_quoted, types[day]))})"


def _compact(lake: Lake, today: date) -> int:
    """Yesterday, which has become whole, and every earlier day that has got many files."""
    yesterday = today - timedelta(days=1)
    scattered = [
        day
        for day, files in lake.file_counts(EVENT_HISTORY).items()
        if (day == yesterday and files > 1) or (day < yesterday and files > FILES_PER_DAY)
    ]
    for day in scattered:
        lake.compact(EVENT_HISTORY, Window.of_days(day, day))
    return len(scattered)


def _forget_users(postgres: Postgres, lake: Lake, limits: Limits) -> int:
    """Takes those out of events/active_users of whom the history has nothing any more; returns how many rows."""
    with postgres.exclusive(ACTIVE_USERS.qualified_name):
        active, history = lake.read(ACTIVE_USERS, ALL_TIME), lake.read(EVENT_HISTORY, ALL_TIME)
        last_days = active.group_by("user_id").aggregate(last_day=active.day.max())
        candidates = last_days.filter(last_days.last_day < limits.newest).select("user_id")
        gone = candidates.anti_join(history.select("user_id").distinct(), "user_id")
        rows = active.semi_join(gone, "user_id").select("user_id", "day").to_pyarrow()
        if rows.num_rows:
            lake.merge(ACTIVE_USERS, rows, deletes=True)
            lake.purge(ACTIVE_USERS)
    return int(rows.num_rows)


def _delete_copies(postgres: Postgres, settings: Settings, limits: Limits, seen: set[str]) -> int:
    from ingestion_pipeline.domains.events.copies import delete_older

    destination = warehouse(settings, EVENT_HISTORY)
    if destination is None:
        return 0
    types = defaultdict[date, list[str]](list)
    for event_type in sorted({*limits.by_type, *seen}):
        types[limits.of(event_type)].append(event_type)
    try:
        return sum(delete_older(postgres, destination, some, before) for before, some in types.items())
    finally:
        destination.close()


def _before(lake: Lake, day: date) -> Any:
    history = lake.read(EVENT_HISTORY, ALL_TIME)
    return history.filter(history.day < day)


def _quoted(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"
