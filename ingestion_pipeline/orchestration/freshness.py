"""How fresh every served asset is: Dagster's state (did it run?) and the age of its newest data (is it recent?).

Both are brought into `operations.freshness_states`, so that nobody else asks Dagster's tables or the lake. The age of
the data is read of PostgreSQL's tables every time, because an import changes them without a materialization; of lake
tables only when they were materialized since the last time: nothing else changes them. Belongs here: reading and
storing. Does not belong here: what the states mean for a service (domains/operations/health.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Literal

import dagster as dg
import structlog
from psycopg.rows import dict_row

from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.core.tables import Freshness, Table
from ingestion_pipeline.orchestration.specs import declared_table
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres

State = Literal["PASS", "WARN", "FAIL", "UNKNOWN"]

_STORED = "select asset_key, last_materialized_at, data_as_of from operations.freshness_states"
_UPSERT = """
insert into operations.freshness_states as kept (
    asset_key, asset_group, state, state_changed_at, last_materialized_at, data_as_of, data_state, reason, checked_at
) values (
    %(asset_key)s, %(asset_group)s, %(state)s, %(checked_at)s, %(last_materialized_at)s, %(data_as_of)s, %(data_state)s,
    %(reason)s, %(checked_at)s
)
on conflict (asset_key) do update set
    asset_group = excluded.asset_group,
    state = excluded.state,
    state_changed_at = case
        when (kept.state, kept.data_state) = (excluded.state, excluded.data_state) then kept.state_changed_at
        else excluded.state_changed_at
    end,
    last_materialized_at = excluded.last_materialized_at,
    data_as_of = excluded.data_as_of,
    data_state = excluded.data_state,
    reason = excluded.reason,
    checked_at = excluded.checked_at
"""
_GONE = "delete from operations.freshness_states where asset_key <> all(%s)"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class AssetFreshness:
    """One asset. `has_data_time`: its table says of when its rows are. `reason`: why a state is not PASS."""

    asset_key: str
    asset_group: str
    state: State
    last_materialized_at: datetime | None
    data_as_of: datetime | None
    data_state: State
    has_data_time: bool
    reason: str | None


def current_freshness(
    graph: Any, instance: dg.DagsterInstance, postgres: Postgres, lake: Lake, *, now: datetime
) -> list[AssetFreshness]:
    """Every asset of `graph` that has a freshness policy, in the order of their keys.

    Raises:
        StoreUnavailableError: PostgreSQL is away; of a lake that is away the last known age of the data is given.
    """
    keys = sorted(key for key in graph.get_all_asset_keys() if graph.get(key).freshness_policy)
    states = instance.get_freshness_state_records(keys)
    materialized = _materialized(instance, keys)
    with postgres.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
        stored = {row["asset_key"]: row for row in cursor.execute(_STORED).fetchall()}
    changed = [
        table
        for key in keys
        if (table := declared_table(key)) is not None
        and table.as_of_column is not None
        and (table.store == "postgres" or _is_newer(materialized.get(key), stored.get(table.path)))
    ]
    read = data_times(changed, postgres, lake)
    for table in changed:
        if table.path not in read:  # it counts as not built since, and is read the next time
            materialized[dg.AssetKey(list(table.asset_key))] = stored.get(table.path, {}).get("last_materialized_at")
    known = {path: row["data_as_of"] for path, row in stored.items()} | read
    return [
        _freshness_of(
            key,
            graph.get(key).group_name,
            _state(states[key].freshness_state.value if key in states else "UNKNOWN"),
            materialized.get(key),
            known.get(key.to_user_string()),
            now,
        )
        for key in keys
    ]


def data_times(tables: Iterable[Table], postgres: Postgres, lake: Lake) -> dict[str, datetime | None]:
    """By path, of when the newest row of each table is: one statement for PostgreSQL, of lake tables the log alone."""
    found: dict[str, datetime | None] = {}
    tables = list(tables)
    maxima = [
        f"select '{table.path}', max({table.as_of_column})::timestamptz from {table.qualified_name}"
        for table in tables
        if table.store == "postgres"
    ]
    if maxima:
        with postgres.transaction() as connection:
            found |= dict(connection.execute(" union all ".join(maxima).encode()).fetchall())
    for table in tables:
        if table.store == "lake":
            try:
                day = lake.newest_day(table)
            except StoreUnavailableError as error:
                _log.warning("the age of data cannot be read", table=table.path, reason=str(error))
                continue
            found[table.path] = None if day is None else datetime.combine(day, time(), UTC)
    return found


def store_freshness(postgres: Postgres, assets: Sequence[AssetFreshness], *, now: datetime) -> None:
    """Makes `assets` the rows of operations.freshness_states."""
    with postgres.transaction() as connection, connection.cursor() as cursor:
        cursor.executemany(_UPSERT, [vars(asset) | {"checked_at": now} for asset in assets])
        cursor.execute(_GONE, [[asset.asset_key for asset in assets]])


def data_state(freshness: Freshness | None, as_of: datetime | None, *, now: datetime) -> State:
    """What the windows of `freshness` say of data that is as old as `as_of`; UNKNOWN where there is none."""
    if as_of is None:
        return "UNKNOWN"
    age = now - as_of
    if freshness and freshness.data_fail_after is not None and age > freshness.data_fail_after:
        return "FAIL"
    if freshness and freshness.data_warn_after is not None and age > freshness.data_warn_after:
        return "WARN"
    return "PASS"


def span(length: timedelta) -> str:
    """`length` for people: `3 days`, `5 hours`, `40 minutes`."""
    minutes = int(length.total_seconds() // 60)
    for unit, size in (("day", 1_440), ("hour", 60)):
        if minutes >= 2 * size:
            return f"{minutes // size} {unit}s"
    return f"{minutes} minutes"


def _freshness_of(
    key: dg.AssetKey,
    group: str,
    state: State,
    materialized_at: datetime | None,
    as_of: datetime | None,
    now: datetime,
) -> AssetFreshness:
    table = declared_table(key)
    freshness = table.freshness if table else None
    age_state = data_state(freshness, as_of, now=now)
    return AssetFreshness(
        asset_key=key.to_user_string(),
        asset_group=group,
        state=state,
        last_materialized_at=materialized_at,
        data_as_of=as_of,
        data_state=age_state,
        has_data_time=table is not None and table.as_of_column is not None,
        reason=_reason(state, materialized_at, age_state, as_of, now),
    )


def _reason(
    state: State, materialized_at: datetime | None, age_state: State, as_of: datetime | None, now: datetime
) -> str | None:
    reasons = []
    if materialized_at is None:
        reasons.append("never built")
    elif state in ("WARN", "FAIL"):
        reasons.append(f"last built {span(now - materialized_at)} ago")
    elif state == "UNKNOWN":
        reasons.append("built, but Dagster has not judged it yet")
    if as_of is not None and age_state in ("WARN", "FAIL"):
        reasons.append(f"its newest data is of {as_of:%Y-%m-%d %H:%M}, {span(now - as_of)} ago")
    return "; ".join(reasons) or None


def _materialized(instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey]) -> dict[dg.AssetKey, datetime | None]:
    """When each was last materialized, any partition of it."""
    found: dict[dg.AssetKey, datetime | None] = {}
    for record in instance.get_asset_records(keys):
        if (event := record.asset_entry.last_materialization) is not None:
            found[record.asset_entry.asset_key] = datetime.fromtimestamp(event.timestamp, UTC)
    return found


def _is_newer(materialized_at: datetime | None, stored: Mapping[str, Any] | None) -> bool:
    return materialized_at is not None and (stored is None or stored["last_materialized_at"] != materialized_at)


def _state(value: str) -> State:
    match value:
        case "PASS" | "WARN" | "FAIL":
            return value
        case _:
            return "UNKNOWN"
