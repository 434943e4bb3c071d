"""One person erased, or made anonymous, everywhere: a request is recorded, PostgreSQL cleaned at once, the rest here.

Every step may be repeated: who finds a request that was begun does it again from the start and ends at the same place.
A file of the lake that held the person is gone afterwards, also for older versions of the table.

What stays: hashes of idempotency keys, figures that were counted (those of changed days are built again, but for days
of which events have expired), backups. Anonymous events are pseudonymous at best: numbers and times may still single
somebody out. An event that arrives under the same id later is a new event. Events of others that name the person in
their data, as a viewed profile, are theirs: an id in them cannot be told from another text, save the author of a rule.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import msgspec
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import structlog
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from ingestion_pipeline.core.errors import ConfigurationError, IngestionError
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.events.retention import (
    first_rebuildable_day,
    unreached_warehouses,
    without_names,
)
from ingestion_pipeline.domains.events.sync import ALL_TIME, LOCK
from ingestion_pipeline.domains.events.tables import ACTIVE_USERS, EVENT_HISTORY
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.audit import write_audit
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres, first_line
from ingestion_pipeline.storage.warehouses.base import Warehouse
from ingestion_pipeline.storage.warehouses.catalogue import warehouse

if TYPE_CHECKING:
    import ibis.expr.types as ir

Mode = Literal["erase", "anonymise"]

REASON = "erasure"
ROWS_PER_MERGE = 2_000_000
AUTHORED_TYPES = ("rule.published", "rule.updated", "rule.deleted")
"""Events whose data says in `authorId` whose rule it is."""
_KEPT_TYPES = {"number", "integer", "boolean"}
_BLANK = ("user_id", "session_id", "address_hash", "user_role", "clock_skew_seconds", "user_tenure_days")

_REQUEST = "select events.request_erasure(%s, %s, %s, %s)"
_READ = "select erasure_id, user_id, mode, removed, days from events.erasure_requests where erasure_id = %s"
_DUE = """
select erasure_id from events.erasure_requests
where status = 'requested' and next_attempt_at <= clock_timestamp()
order by requested_at
"""
_ERASE_HOT = """
update events.erasure_requests
set removed = events.added_counts(removed, events.erase_hot_events(user_id, mode))
where erasure_id = %s and status = 'requested'
"""
_FORGET_IN_COMMUNITY = """
update events.erasure_requests
set removed = events.added_counts(removed, community.forget_person(user_id, mode))
where erasure_id = %s and status = 'requested'
"""
# of its own, because it locks deliveries first, as who applies them does
_FORGET_DELIVERIES = """
select community.forget_deliveries(user_id) from events.erasure_requests where erasure_id = %s and status = 'requested'
"""
_FORGET_STATES = "delete from events.event_states where event_id = any(%s::uuid[])"
# said before the lake is changed: who comes after a kill finds no rows to count any more
_FOUND = """
update events.erasure_requests set
    days = array(select distinct unnest(days || %(days)s::date[]) order by 1),
    removed = removed || jsonb_build_object(
        %(name)s::text, greatest(coalesce((removed ->> %(name)s)::bigint, 0), %(rows)s)
    )
where erasure_id = %(id)s
"""
_COMPLETE = """
update events.erasure_requests set
    status = 'completed', user_id = null, completed_at = clock_timestamp(), error_message = null
where erasure_id = %s and status = 'requested'
returning requested_by, mode, user_digest, request_id, removed, days
"""
_CHANGED = """
insert into events.changed_days as changed (day, reason)
select day, %s
from unnest(%s::date[]) as day
where day >= %s
on conflict (day) do update set reason = excluded.reason, changed_at = excluded.changed_at
"""
_POSTPONE = """
update events.erasure_requests set
    error_message = %s, attempt_count = attempt_count + 1,
    next_attempt_at = clock_timestamp() + make_interval(mins => least(60, power(2, least(attempt_count, 6))::integer))
where erasure_id = %s and status = 'requested'
"""
_SCHEMAS = "select event_type, schema_version, json_schema from events.event_schemas"
_CHANGED_DAYS = "select day, changed_at from events.changed_days order by day"
_SETTLE_DAY = "delete from events.changed_days where day = %s and changed_at = %s"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Erasure:
    """A request and what came of it. `user_id` is None once it is completed."""

    erasure_id: UUID
    user_id: str | None
    mode: Mode
    removed: Mapping[str, int]
    days: Sequence[date]


@dataclass(frozen=True)
class ChangedDay:
    """A day of the history that has lost rows."""

    day: date
    changed_at: datetime


def erase(
    postgres: Postgres,
    lake: Lake,
    settings: Settings,
    user_id: str,
    *,
    mode: Mode = "erase",
    by: str,
    request_id: str | None = None,
) -> Erasure:
    """Erases or anonymises a person now; the answer says what was removed where and which days it changed.

    Killed in the middle, it is completed by `run_erasure_requests` or by the same call again.

    Raises:
        StoreUnavailableError, ConfigurationError: of the lake or the warehouse; the request stays open.
    """
    with postgres.transaction() as connection:
        (erasure_id,) = connection.execute(_REQUEST, [user_id, mode, by, request_id]).fetchone() or (None,)
    assert isinstance(erasure_id, UUID)  # noqa: S101
    return complete(postgres, lake, settings, erasure_id)


def run_erasure_requests(postgres: Postgres, lake: Lake, settings: Settings) -> list[Erasure]:
    """Completes every request that is due; one that fails does not stop the others and waits for 1, 2, 4 … 60 minutes.

    Raises:
        IngestionError, psycopg.Error: of the first that failed, after the others.
    """
    with postgres.transaction() as connection:
        waiting = [erasure_id for (erasure_id,) in connection.execute(_DUE)]
    done, problems = list[Erasure](), list[IngestionError | psycopg.Error]()
    for erasure_id in waiting:
        try:
            done.append(complete(postgres, lake, settings, erasure_id))
        except (IngestionError, psycopg.Error) as error:
            problems.append(error)
            with postgres.transaction() as connection:
                connection.execute(_POSTPONE, [first_line(error), erasure_id])
    if problems:
        raise problems[0]
    return done


def has_erasure_requests(postgres: Postgres) -> bool:
    """Is there anything for `run_erasure_requests` to do?"""
    with postgres.transaction() as connection:
        return connection.execute(_DUE).fetchone() is not None


def complete(postgres: Postgres, lake: Lake, settings: Settings, erasure_id: UUID) -> Erasure:
    """Does what a request asks for; one that is completed already is only read."""
    with postgres.exclusive(LOCK):
        request = _read(postgres, erasure_id)
        if request.user_id is None:
            return request
        with postgres.transaction() as connection:
            connection.execute(_ERASE_HOT, [erasure_id])
        _erase_history(postgres, lake, request)
        with postgres.transaction() as connection:
            connection.execute(_FORGET_IN_COMMUNITY, [erasure_id])
        with postgres.transaction() as connection:
            connection.execute(_FORGET_DELIVERIES, [erasure_id])
    _erase_active_users(postgres, lake, request)
    _erase_copies(postgres, settings, request)
    _complete(postgres, erasure_id)
    return _read(postgres, erasure_id)


def changed_days(postgres: Postgres) -> list[ChangedDay]:
    """The days of the history whose derived figures are to be built again."""
    with postgres.transaction() as connection, connection.cursor(row_factory=class_row(ChangedDay)) as cursor:
        return cursor.execute(_CHANGED_DAYS).fetchall()


def settle_changed_days(postgres: Postgres, days: Sequence[ChangedDay]) -> None:
    """Forgets the days, save those that have changed once more since they were read."""
    with postgres.transaction() as connection, connection.cursor() as cursor:
        cursor.executemany(_SETTLE_DAY, [(changed.day, changed.changed_at) for changed in days])


def _erase_history(postgres: Postgres, lake: Lake, request: Erasure) -> None:
    history = lake.read(EVENT_HISTORY, ALL_TIME)
    theirs = history.filter(history.user_id == request.user_id)
    found = theirs.select("event_id", "day", "event_type", "schema_version", "event_data").to_pyarrow()
    named = history.filter(_names_author(history, request.user_id or "")).select("event_id", "day", "event_data")
    authored = named.to_pyarrow()
    kept = _kept_properties(postgres)
    with postgres.transaction() as connection:
        if request.mode == "erase":  # a sync that was under way may have left states of hot events that are gone
            connection.execute(_FORGET_STATES, [found["event_id"].to_pylist()])
        _say_found(connection, request, "lake_events", found)
        if authored.num_rows:
            _say_found(connection, request, "lake_authors", authored)
    for part in _parts(lake, found):
        if request.mode == "erase":
            lake.merge(EVENT_HISTORY, part.select(["event_id", "day"]), deletes=True)
        else:
            lake.merge(EVENT_HISTORY, anonymous(part, kept))
    for part in _parts(lake, authored):
        lake.merge(EVENT_HISTORY, _without_author(part))
    lake.purge(EVENT_HISTORY)


def _names_author(history: "ir.Table", user_id: str) -> "ir.BooleanValue":
    """Events of others that say whose rule it is: this person's."""
    import ibis

    @ibis.udf.scalar.builtin(name="json_extract_string", signature=(("string", "string"), "string"))
    def json_text(document, path):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        """The text at a JSON path, null where there is none."""

    of_others = history.user_id.isnull() | (history.user_id != user_id)
    is_said = history.event_type.isin(AUTHORED_TYPES) & (json_text(history.event_data, "$.authorId") == user_id)
    return of_others & is_said


def _without_author(authored: pa.Table) -> pa.Table:
    """The events, which then say that the author is nobody; the rest of them is spelled as it was."""
    said = [msgspec.json.decode(text, type=dict[str, msgspec.Raw]) for text in authored["event_data"].to_pylist()]
    unsaid = [msgspec.json.encode({**members, "authorId": None}).decode() for members in said]
    return authored.set_column(authored.column_names.index("event_data"), "event_data", pa.array(unsaid, pa.string()))


def _parts(lake: Lake, found: pa.Table) -> Iterator[pa.Table]:
    """The rows by spans of days of which the history does not hold too much: a merge writes whole files anew."""
    if not found.num_rows:
        return
    bounds = pc.min_max(found["day"]).as_py()
    days = Window.of_days(bounds["min"], bounds["max"])
    for span in lake.chunks(EVENT_HISTORY, days, max_rows=ROWS_PER_MERGE):
        is_within = pc.and_(pc.greater_equal(found["day"], span.first_day), pc.less_equal(found["day"], span.last_day))
        part = found.filter(is_within)
        if part.num_rows:
            yield part


def _erase_active_users(postgres: Postgres, lake: Lake, request: Erasure) -> None:
    """A first day whose cohort is never derived again keeps its row, nameless: later weeks count the same users."""
    with postgres.exclusive(ACTIVE_USERS.qualified_name):
        active = lake.read(ACTIVE_USERS, ALL_TIME)
        found = active.filter(active.user_id == request.user_id).to_pyarrow()
        with postgres.transaction() as connection:
            _say_found(connection, request, "active_days", found)
        settled = first_rebuildable_day(postgres)
        for day in found.filter(found["is_new"])["day"].to_pylist():
            if day < settled:
                window = Window.of_days(day, day)
                rows = lake.read(ACTIVE_USERS, window).to_pyarrow()
                lake.replace(ACTIVE_USERS, without_names(rows, [request.user_id or ""]), window)
        lake.merge(ACTIVE_USERS, found.select(["user_id", "day"]), deletes=True)
        lake.purge(ACTIVE_USERS)


def _erase_copies(postgres: Postgres, settings: Settings, request: Erasure) -> None:
    """In a warehouse the person's rows are deleted in either mode.

    Raises:
        ConfigurationError: another warehouse holds copies too, and this request has not been there yet.
    """
    destination = warehouse(settings, EVENT_HISTORY)
    if destination is not None:
        _erase_copy(postgres, destination, request)
    left = [name for name in unreached_warehouses(postgres, settings) if f"{name}_events" not in request.removed]
    if left:
        expected = f"{left[0]}, which holds copies of events, until this is done there"
        raise ConfigurationError("WAREHOUSE", settings.warehouse or "", expected)


def _erase_copy(postgres: Postgres, destination: Warehouse, request: Erasure) -> None:
    from ingestion_pipeline.domains.events.copies import erase_user

    try:
        rows = erase_user(postgres, destination, request.user_id or "")
    finally:
        destination.close()
    more = Jsonb({f"{destination.name}_events": rows})
    with postgres.transaction() as connection:
        connection.execute(
            "update events.erasure_requests set removed = events.added_counts(removed, %s) where erasure_id = %s",
            [more, request.erasure_id],
        )


def _complete(postgres: Postgres, erasure_id: UUID) -> None:
    rebuildable = first_rebuildable_day(postgres)
    with postgres.transaction() as connection:
        row = connection.execute(_COMPLETE, [erasure_id]).fetchone()
        if row is None:  # somebody else has
            return
        by, mode, digest, request_id, removed, days = row
        connection.execute(_CHANGED, [REASON, days, rebuildable])
        details = {"erasure_id": str(erasure_id), "removed": removed, "days": len(days)}
        write_audit(
            connection,
            actor=by,
            action=f"{mode} completed",
            details=details,
            request_id=request_id,
            subject_digest=digest,
        )
    log.info("person is erased", erasure_id=str(erasure_id), mode=mode, removed=removed)


def anonymous(found: pa.Table, kept: Mapping[tuple[str, int], Collection[str]]) -> pa.Table:
    """What the rows of a person become: nothing that names, links or describes.

    Args:
        found: Columns event_id, day, event_type, schema_version, event_data.
        kept: By type and version the properties of event_data that stay where they are numbers or booleans.
    """
    members = [
        _numbers(row["event_data"], kept.get((row["event_type"], row["schema_version"]), ()))
        for row in found.select(["event_type", "schema_version", "event_data"]).to_pylist()
    ]
    types = {"user_tenure_days": pa.int64(), "clock_skew_seconds": pa.float64()}
    blank = {name: pa.nulls(found.num_rows, types.get(name, pa.string())) for name in _BLANK}
    return pa.table(
        {
            "event_id": found["event_id"],
            "day": found["day"],
            **blank,
            "metadata": pa.repeat("{}", found.num_rows),
            "event_data": pa.array(members, pa.string()),
        }
    )


def _numbers(event_data: str, names: Collection[str]) -> str:
    """Those of the members `names` of a JSON object that are numbers or booleans, spelled as they were."""
    members = msgspec.json.decode(event_data, type=dict[str, msgspec.Raw])
    kept = {
        name: raw for name, raw in members.items() if name in names and bytes(raw)[:1] not in (b'"', b"{", b"[", b"n")
    }
    return msgspec.json.encode(kept).decode()


def _kept_properties(postgres: Postgres) -> dict[tuple[str, int], set[str]]:
    """By event type and schema version: the properties that the registered schema says are numbers or booleans."""
    with postgres.transaction() as connection:
        return {
            (event_type, version): {name for name, rule in _properties(schema) if _types(rule) & _KEPT_TYPES}
            for event_type, version, schema in connection.execute(_SCHEMAS)
        }


def _properties(schema: object) -> Iterable[tuple[str, object]]:
    found = schema.get("properties") if isinstance(schema, dict) else None
    return found.items() if isinstance(found, dict) else ()


def _types(rule: object) -> set[object]:
    found = rule.get("type") if isinstance(rule, dict) else None
    return set(found) if isinstance(found, list) else {found}


def _read(postgres: Postgres, erasure_id: UUID) -> Erasure:
    with postgres.transaction() as connection, connection.cursor(row_factory=class_row(Erasure)) as cursor:
        request = cursor.execute(_READ, [erasure_id]).fetchone()
    assert request is not None  # noqa: S101 - requests are never deleted
    return request


def _say_found(connection: Any, request: Erasure, name: str, found: pa.Table) -> None:
    days = sorted(set(found["day"].to_pylist()))
    parameters = {"days": days, "name": name, "rows": found.num_rows, "id": request.erasure_id}
    connection.execute(_FOUND, parameters)
