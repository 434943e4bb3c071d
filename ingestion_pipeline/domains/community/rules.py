"""From the event history to rules: each rule is a function of all events that say something of it.

The days of a run replace what community.rule_events has of them, so that late, repeated and erased events all end in
the same rules; then the rules they are about are made again, and marked for the search index.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from ingestion_pipeline.core.windows import DAY, Window
from ingestion_pipeline.domains.community.content_tables import RULE_EVENT_TYPES, RULE_HISTORY
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres, copy_rows

if TYPE_CHECKING:
    import pyarrow as pa

LOCK = "community.rules"

_INCOMING = """
create temporary table incoming (
    event_id text, event_type text, user_id text, rule_id text, event_data jsonb, occurred_at timestamptz, day date
) on commit drop
"""
_CHANGED = "create temporary table changed (rule_id text) on commit drop"
# the lake forgets events after their time, rules stay
_REMOVE_EVENTS = """
with removed as (
    delete from community.rule_events as kept
    where
        kept.day >= %(first)s and kept.day < %(end)s
        and kept.occurred_at > now() - (
            select kept_for from events.retention_classes where retention_class = 'content'
        )
        and not exists (select from incoming where incoming.event_id = kept.event_id)
    returning kept.rule_id
)
insert into changed select rule_id from removed
"""
_STORE_EVENTS = """
with stored as (
    insert into community.rule_events as kept (
        event_id, day, rule_id, event_type, occurred_at, author_id, title, body, tags, model
    )
    select
        event_id, day, rule_id, event_type, occurred_at,
        coalesce(event_data ->> 'authorId', case when event_type = 'rule.published' then user_id end),
        event_data ->> 'title',
        event_data ->> 'body',
        case when jsonb_typeof(event_data -> 'tags') = 'array' then (
            select coalesce(jsonb_agg(tag order by place), '[]')
            from jsonb_array_elements(event_data -> 'tags') with ordinality as one (tag, place)
            where jsonb_typeof(tag) = 'string'
        ) end,
        event_data ->> 'model'
    from incoming
    order by event_id
    on conflict (event_id) do update set
        day = excluded.day, rule_id = excluded.rule_id, event_type = excluded.event_type,
        occurred_at = excluded.occurred_at, author_id = excluded.author_id, title = excluded.title,
        body = excluded.body, tags = excluded.tags, model = excluded.model
    where
        (kept.day, kept.rule_id, kept.event_type, kept.occurred_at, kept.author_id, kept.title, kept.body, kept.tags,
        kept.model)
        is distinct from
        (excluded.day, excluded.rule_id, excluded.event_type, excluded.occurred_at, excluded.author_id, excluded.title,
        excluded.body, excluded.tags, excluded.model)
    returning kept.rule_id
)
insert into changed select rule_id from stored
"""
_REMOVE_RULES = """
delete from community.rules as kept
using (select distinct rule_id from changed) as changed
where
    kept.rule_id = changed.rule_id
    and not exists (select from community.rule_events as facts where facts.rule_id = kept.rule_id)
"""


def _newest(column: str, condition: str | None = None) -> str:
    """The value of the last event that says one."""
    condition = condition or f"{column} is not null"
    return f"(array_agg({column} order by occurred_at desc, event_id desc) filter (where {condition}))[1]"


_STORE_RULES = f"""
insert into community.rules as kept (
    rule_id, author_id, title, body, tags, model, status, published_at, updated_at, event_id
)
select
    rule_id,
    {_newest("author_id")},
    coalesce({_newest("title")}, ''),
    coalesce({_newest("body")}, ''),
    coalesce({_newest("tags")}, '[]'),
    {_newest("model")},
    case
        when {_newest("event_type", "event_type <> 'rule.updated'")} = 'rule.deleted' then 'deleted' else 'published'
    end,
    coalesce(min(occurred_at) filter (where event_type = 'rule.published'), min(occurred_at)),
    max(occurred_at),
    {_newest("event_id")}
from community.rule_events
where rule_id in (select rule_id from changed)
group by rule_id
order by rule_id
on conflict (rule_id) do update set
    author_id = excluded.author_id, title = excluded.title, body = excluded.body, tags = excluded.tags,
    model = excluded.model, status = excluded.status, published_at = excluded.published_at,
    updated_at = excluded.updated_at, event_id = excluded.event_id
"""
_MARK = """
insert into community.search_changes (kind, id)
select distinct 'rule', rule_id from changed order by 2
on conflict (kind, id) do update set changed_at = excluded.changed_at
"""
_COUNT = "select count(distinct rule_id) from changed"


@dataclass(frozen=True)
class RuleChanges:
    """How many events the days have, and how many rules they changed."""

    events: int
    rules: int


def apply_days(postgres: Postgres, lake: Lake, window: Window) -> Iterator[RuleChanges]:
    """Brings the rules up to the lake's events of the days of `window`, part by part, each in one transaction."""
    for part in lake.chunks(RULE_HISTORY, window):
        with postgres.transaction() as connection:
            # the lake is read while nobody else applies: an older reading never replaces a newer one
            connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [LOCK])
            changes = _apply(connection, _events(lake, part), part)
        yield changes


def _events(lake: Lake, window: Window) -> "pa.Table":
    rows = lake.read(RULE_HISTORY, window)
    chosen = rows.filter(rows.event_type.isin(RULE_EVENT_TYPES) & rows.rule_id.notnull())
    return chosen.select(*RULE_HISTORY.column_names).to_pyarrow()


def _apply(connection: psycopg.Connection[Any], events: "pa.Table", window: Window) -> RuleChanges:
    connection.execute(_INCOMING)
    connection.execute(_CHANGED)
    with connection.cursor() as cursor:
        copy_rows(cursor, "incoming", events)
    connection.execute(_REMOVE_EVENTS, {"first": window.first_day, "end": window.last_day + DAY})
    connection.execute(_STORE_EVENTS)
    connection.execute(_REMOVE_RULES)
    connection.execute(_STORE_RULES.encode())
    connection.execute(_MARK)
    ((rules,),) = connection.execute(_COUNT).fetchall()
    return RuleChanges(events.num_rows, rules)
