"""Everything held about one person, part by part: events of the hot log and the lake, active days, refused events,
requests, and what the community holds: donations that they gave or received, deliveries of Stripe that name them as a
donor, rules, figures, notifications.

Records stream: memory does not grow with what there is. Each says where it stands, so that one can go on after it.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import psycopg
from psycopg.rows import dict_row

from ingestion_pipeline.domains.events.sync import ALL_TIME
from ingestion_pipeline.domains.events.tables import ACTIVE_USERS, EVENT_HISTORY
from ingestion_pipeline.storage.audit import write_audit
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres

ROWS_PER_FETCH = 1_000
ROWS_PER_READ = 10_000
JSON_COLUMNS = ("event_data", "metadata")

_SEES_ALL = "select set_config('app.scope', 'application', true)"  # where the intake's role asks
_HOT = """
select
    log.event_id::text as position,
    to_jsonb(log) - 'transaction_id' || jsonb_build_object('state', to_jsonb(states)) as content
from events.event_log as log
left join events.event_states as states on log.event_id = states.event_id
where log.user_id = %(user_id)s and (%(after)s = '' or log.event_id > nullif(%(after)s, '')::uuid)
order by log.event_id
"""
_REJECTS = """
select lpad(reject_id::text, 20, '0') as position, to_jsonb(rejects) as content
from operations.rejects
where
    source = 'events' and events.names_person(payload -> 'event', %(user_id)s)
    and reject_id > coalesce(nullif(%(after)s, ''), '0')::bigint
order by reject_id
"""
_REQUESTS = """
select
    to_char(occurred_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') || ' ' || request_id as position,
    to_jsonb(requests) as content
from operations.api_requests as requests
where
    caller = %(user_id)s and (
        %(after)s = '' or (occurred_at, request_id) > (
            nullif(split_part(%(after)s, ' ', 1), '')::timestamp at time zone 'UTC', split_part(%(after)s, ' ', 2)
        )
    )
order by occurred_at, request_id
"""
_COMMUNITY = """
select place as position, content
from community.held_about(%(user_id)s, '{part}')
where place > %(after)s
order by place
"""

Part = Literal[
    "hot_log",
    "lake",
    "active_days",
    "rejects",
    "requests",
    "donations",
    "donation_facts",
    "deliveries",
    "rules",
    "rule_events",
    "author_metrics",
    "places",
    "notifications",
    "notification_preferences",
]
PARTS: tuple[Part, ...] = get_args(Part)
_OF_THE_COMMUNITY = PARTS[PARTS.index("donations") :]


@dataclass(frozen=True)
class Record:
    """`content` is what `part` holds; `part` and `position` are the place to go on after."""

    part: Part
    position: str
    content: dict[str, Any]


def export(
    postgres: Postgres, lake: Lake, user_id: str, *, by: str, request_id: str | None = None, after: Record | None = None
) -> Generator[Record, None, None]:
    """The records of a person, the same ones in the same order whenever nothing has changed; each call is audited.

    An event that is in the hot log and in the lake is there twice: so it is held.

    Raises:
        StoreUnavailableError: PostgreSQL or the lake.
    """
    with postgres.transaction() as connection:
        write_audit(
            connection,
            actor=by,
            action="export",
            details={"after": after.part if after else None},
            request_id=request_id,
            subject_digest=hashlib.sha256(user_id.encode()).hexdigest(),
        )
    read: dict[Part, Callable[[str], Iterator[Record]]] = {
        "hot_log": lambda position: _stored(postgres, "hot_log", _HOT, user_id, position),
        "lake": lambda position: _history(lake, user_id, position),
        "active_days": lambda position: _active_days(lake, user_id, position),
        "rejects": lambda position: _stored(postgres, "rejects", _REJECTS, user_id, position),
        "requests": lambda position: _stored(postgres, "requests", _REQUESTS, user_id, position),
        **{part: partial(_community, postgres, part, user_id) for part in _OF_THE_COMMUNITY},
    }
    for part in PARTS[PARTS.index(after.part) if after else 0 :]:
        yield from read[part](after.position if after and part == after.part else "")


def _stored(postgres: Postgres, part: Part, statement: str, user_id: str, after: str) -> Iterator[Record]:
    with postgres.transaction() as connection:
        connection.execute(_SEES_ALL)
        with psycopg.ServerCursor(connection, part, row_factory=dict_row) as cursor:
            cursor.itersize = ROWS_PER_FETCH
            for row in cursor.execute(statement, {"user_id": user_id, "after": after}):
                yield Record(part, row["position"], row["content"])


def _community(postgres: Postgres, part: Part, user_id: str, after: str) -> Iterator[Record]:
    return _stored(postgres, part, _COMMUNITY.format(part=part), user_id, after)


def _history(lake: Lake, user_id: str, after: str) -> Iterator[Record]:
    history = lake.read(EVENT_HISTORY, ALL_TIME)
    theirs = history.filter(history.user_id == user_id)
    while True:
        rows = theirs.filter(theirs.event_id > after).order_by("event_id").limit(ROWS_PER_READ)
        page = rows.to_pyarrow().to_pylist()
        if not page:
            return
        for row in page:
            content = {name: json.loads(value) if name in JSON_COLUMNS else value for name, value in row.items()}
            yield Record("lake", row["event_id"], content)
        after = page[-1]["event_id"]


def _active_days(lake: Lake, user_id: str, after: str) -> Iterator[Record]:
    active = lake.read(ACTIVE_USERS, ALL_TIME)
    rows = active.filter(active.user_id == user_id).order_by("day").to_pyarrow().to_pylist()
    yield from (Record("active_days", str(row["day"]), row) for row in rows if str(row["day"]) > after)
