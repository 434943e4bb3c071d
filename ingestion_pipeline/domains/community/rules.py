"""From the event history to rules: each rule is a function of all events that say something of it.

The days of a run replace what community.rule_events has of them, so that late, repeated and erased events all end in
the same rules; then the rules they are about are made again, and marked for the search index. Where a rule has another
author than before, the days on which it was rolled up are marked as dirty: an author has a rule for all of its history.
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
        event_id, day, rule_id, event_type, occurred_at, user_id, author_id, title, body, tags, model
    )
    select
        event_id, day, rule_id, event_type, occurred_at, user_id,
        case
            when event_data ? 'authorId' then coalesce(event_data ->> 'authorId', '')  -- null of an erased author
            when event_type = 'rule.published' then user_id
        end,
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
        occurred_at = excluded.occurred_at, user_id = excluded.user_id, author_id = excluded.author_id,
        title = excluded.title, body = excluded.body, tags = excluded.tags, model = excluded.model
    where
        (kept.day, kept.rule_id, kept.event_type, kept.occurred_at, kept.user_id, kept.author_id, kept.title, kept.body,
        kept.tags, kept.model)
        is distinct from
        (excluded.day, excluded.rule_id, excluded.event_type, excluded.occurred_at, excluded.user_id,
        excluded.author_id, excluded.title, excluded.body, excluded.tags, excluded.model)
    returning kept.rule_id
)
insert into changed select rule_id from stored
"""
_REMAKE = "select community.remake_rules(array(select distinct rule_id from changed))"
_FORMER_AUTHORS = """
create temporary table former_authors on commit drop as
select rule_id, author_id from community.rules where rule_id in (select rule_id from changed)
"""
# days of which events have expired cannot be rolled up again
_MARK_DAYS = """
select community.mark_dirty_days(array_agg(distinct metrics.day), 'another author', 'rules')
from community.rule_metrics_daily as metrics
where
    metrics.day >= community.first_rollable_day()
    and metrics.rule_id in (
        select rule_id
        from (select distinct rule_id from changed) as made
        left join former_authors as former using (rule_id)
        left join community.rules as rules using (rule_id)
        where former.author_id is distinct from rules.author_id
    )
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
    connection.execute(_FORMER_AUTHORS)
    connection.execute(_REMAKE)
    connection.execute(_MARK_DAYS)
    ((rules,),) = connection.execute(_COUNT).fetchall()
    return RuleChanges(events.num_rows, rules)
