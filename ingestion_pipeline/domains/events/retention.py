"""What has been kept long enough goes: from PostgreSQL, the lake with its older versions, the warehouse.

An event expires by the class of its type, counted from the UTC day on which it happened; of a type that the registry
has lost, after the longest class. Figures of days of which some class has expired are never derived again: they would
be derived from what is left. Of events/active_users only everybody's first day outlives that, which the size of cohorts
is counted from; of whom no event is left, without their name.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import structlog

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.ids import new_id
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.events.sync import ALL_TIME, LOCK
from ingestion_pipeline.domains.events.tables import ACTIVE_USERS, EVENT_HISTORY
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.audit import write_audit
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.warehouses.catalogue import warehouse

FILES_PER_DAY = 10
BLOCKS_PER_TRANSACTION = 1_000
ROWS_PER_REWRITE = 2_000_000
FORGOTTEN = "forgotten:"  # begins the id that takes the place of somebody's of whom no event is left

_LIMITS = """
select null as event_type, (now() at time zone 'UTC' - max(kept_for))::date from events.retention_classes
union all
select event_type, (now() at time zone 'UTC' - kept_for)::date from events.event_retention
"""
_POSTGRES = "select events.apply_data_retention_policy(%s, %s)"
_PRUNED = {
    "idempotency_keys": "events.event_keys",
    "rejects": "operations.rejects",
    "api_requests": "operations.api_requests",
}
_BLOCKS = "select pg_relation_size(%s::regclass) / current_setting('block_size')::bigint + 1"
_PRUNE = "select events.prune(%s, %s, %s, %s)"
_COPIED_TO = "select distinct warehouse_type from events.warehouse_sync_status where warehouse_type <> 'delta'"

log = structlog.get_logger(__name__)


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
    """What was removed. `postgres` is what the function apply_data_retention_policy says.

    `active_days` are rows of events/active_users that went or lost their name; `unreached_warehouses` hold copies that
    WAREHOUSE keeps us from.
    """

    pruned: dict[str, int] = field(default_factory=dict)
    postgres: dict[str, Any] = field(default_factory=dict)
    lake_events: int = 0
    lake_days: int = 0
    active_days: int = 0
    warehouse_events: int = 0
    unreached_warehouses: list[str] = field(default_factory=list)
    files: int = 0
    compacted_days: int = 0


def apply_retention(postgres: Postgres, lake: Lake, settings: Settings) -> RetentionReport:
    """Removes what has expired, everywhere; then gathers the small files of past days. Killed, it goes on next time.

    Each step is audited when it is done. Readers of expired days, or of files that were replaced the day before, may
    fail meanwhile.

    Raises:
        StoreUnavailableError, ConfigurationError: of a store; what was done until then is done.
    """
    report, limits = RetentionReport(), _limits(postgres)
    report.pruned = _prune(postgres, settings.events_deduplication_days)
    _audit(postgres, pruned=report.pruned)
    with postgres.exclusive(LOCK):
        expired = _expired(lake, limits)
        report.lake_days = len({day for day, _ in expired})
        report.lake_events = sum(lake.delete(EVENT_HISTORY, predicate) for predicate in _predicates(lake, expired))
        _audit(postgres, lake_days=report.lake_days, lake_events=report.lake_events)
        with postgres.transaction() as connection:
            days = [settings.events_hot_days, settings.events_deduplication_days]
            (report.postgres,) = connection.execute(_POSTGRES, days).fetchone() or ({},)
        _audit(postgres, policy=report.postgres)
        report.files = lake.purge(EVENT_HISTORY)
        report.compacted_days = _compact(lake, utc_now().date())
        _audit(postgres, files=report.files, compacted_days=report.compacted_days)
    report.active_days = _forget_users(postgres, lake, limits)
    _audit(postgres, active_days=report.active_days)
    report.unreached_warehouses = unreached_warehouses(postgres, settings)
    if report.unreached_warehouses:
        log.warning("expired events stay in warehouses that WAREHOUSE does not name", held=report.unreached_warehouses)
    report.warehouse_events = _delete_copies(postgres, settings, limits, {event_type for _, event_type in expired})
    _audit(postgres, warehouse_events=report.warehouse_events, unreached_warehouses=report.unreached_warehouses)
    return report


def first_rebuildable_day(postgres: Postgres) -> date:
    """The Monday of the first week of which no event has expired: what is derived from earlier days stays as it is.

    Whole weeks, so that days and weeks still add up where the two meet.
    """
    day = _limits(postgres).newest
    return day + timedelta(days=-day.weekday() % 7)


def unreached_warehouses(postgres: Postgres, settings: Settings) -> list[str]:
    """Warehouses that hold copies, by the ledger, and that WAREHOUSE does not name."""
    with postgres.transaction() as connection:
        held = {name for (name,) in connection.execute(_COPIED_TO)}
    return sorted(held - {settings.warehouse})


def without_names(active: pa.Table, users: Sequence[str]) -> pa.Table:
    """Rows of events/active_users in which each row of one of `users` has a random id in place of theirs."""
    names = active["user_id"].combine_chunks()
    is_theirs = pc.is_in(names, value_set=pa.array(users, pa.string()))
    others = pa.array([f"{FORGOTTEN}{new_id()}" for _ in range(pc.sum(is_theirs).as_py() or 0)], pa.string())
    place = active.column_names.index("user_id")
    return active.set_column(place, "user_id", pc.replace_with_mask(names, is_theirs, others))


def _prune(postgres: Postgres, deduplication_days: int) -> dict[str, int]:
    """Removes keys, rejects and requests, some blocks in each transaction: the intake may want the same key."""
    removed = dict.fromkeys(_PRUNED, 0)
    for kind, table in _PRUNED.items():
        with postgres.transaction() as connection:
            (blocks,) = connection.execute(_BLOCKS, [table]).fetchone() or (0,)
        for first in range(0, blocks, BLOCKS_PER_TRANSACTION):
            with postgres.transaction() as connection:
                parameters = [kind, deduplication_days, first, first + BLOCKS_PER_TRANSACTION]
                (rows,) = connection.execute(_PRUNE, parameters).fetchone() or (0,)
            removed[kind] += rows
    return removed


def _audit(postgres: Postgres, **removed: object) -> None:
    with postgres.transaction() as connection:
        write_audit(connection, actor="retention", action="retention", details=removed)


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
    """Leaves of expired days of events/active_users the first days alone, nameless of whom the history has nothing.

    Returns how many rows that took away or changed.
    """
    changed = 0
    with postgres.exclusive(ACTIVE_USERS.qualified_name):
        days = [day for day in lake.row_counts(ACTIVE_USERS, ALL_TIME) if day < limits.newest]
        if days:
            gone = _gone_users(lake, limits.newest)
            for span in lake.chunks(ACTIVE_USERS, Window.of_days(days[0], days[-1]), max_rows=ROWS_PER_REWRITE):
                changed += _leave_first_days(lake, span, gone)
        lake.purge(ACTIVE_USERS)
    return changed


def _gone_users(lake: Lake, first_kept: date) -> list[str]:
    """Who was active last before `first_kept` and has no event any more."""
    active, history = lake.read(ACTIVE_USERS, ALL_TIME), lake.read(EVENT_HISTORY, ALL_TIME)
    last_days = active.group_by("user_id").aggregate(last_day=active.day.max())
    named = last_days.filter((last_days.last_day < first_kept) & ~last_days.user_id.startswith(FORGOTTEN))
    gone = named.select("user_id").anti_join(history.select("user_id").distinct(), "user_id")
    return list(gone.to_pyarrow()["user_id"].to_pylist())


def _leave_first_days(lake: Lake, span: Window, gone: Sequence[str]) -> int:
    active = lake.read(ACTIVE_USERS, span).to_pyarrow()
    first_days = active.filter(active["is_new"])
    named = pc.sum(pc.is_in(first_days["user_id"], value_set=pa.array(gone, pa.string()))).as_py() or 0
    changed = active.num_rows - first_days.num_rows + named
    if changed:
        lake.replace(ACTIVE_USERS, without_names(first_days, gone), span)
    return int(changed)


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
