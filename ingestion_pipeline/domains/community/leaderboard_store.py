"""Reads what leaderboards are made of from PostgreSQL, and puts a day's boards in the place of the former ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa

from ingestion_pipeline.domains.community.leaderboard_tables import LEADERBOARD_SNAPSHOTS, MONTH_DAYS
from ingestion_pipeline.domains.community.rollup_rows import Changes, replaced
from ingestion_pipeline.storage.arrow_rows import selected
from ingestion_pipeline.storage.postgres import Postgres

if TYPE_CHECKING:
    from ibis.backends import BaseBackend

_DAYS_SCHEMA = pa.schema(
    [
        ("rule_id", pa.string()),
        ("day", pa.date32()),
        ("points", pa.float64()),
        ("views", pa.int64()),
        ("trending_score", pa.float64()),
    ]
)
_RULES_SCHEMA = pa.schema([("rule_id", pa.string()), ("author_id", pa.string()), ("is_deleted", pa.bool_())])
_LABELS_SCHEMA = pa.schema([("rule_id", pa.string()), ("scope", pa.string()), ("scope_value", pa.string())])

_LOCK = "select pg_advisory_xact_lock(hashtextextended('community.leaderboard_snapshots', 0))"
_RULE_DAYS = """
select rule_id, day, points, views, trending_score
from community.rule_metrics_daily where day > %(before)s and day <= %(last)s
union all
select rule_id, null, sum(points), sum(views), 0
from community.rule_metrics_daily where day <= %(before)s group by rule_id
"""
_RULES = "select rule_id, author_id, status = 'deleted' from community.rules"
_LABELS = """
select rule_id, 'TAG', tag from community.rules, jsonb_array_elements_text(tags) as tag
union all
select rule_id, 'MODEL', model from community.rules where model is not null
"""
_FORMER_BOARDS = """
create temporary table former_boards on commit drop as
select period, kind, scope, scope_value from community.leaderboard_snapshots where day = %(day)s and rank = 1
"""
# the boards that the day has or had, and the next ones of theirs: whose former places may have changed
_MOVED_BOARDS = """
create temporary table moved_boards on commit drop as
select touched.*, days.day, (
    select max(earlier.day) from community.leaderboard_snapshots as earlier
    where
        (earlier.period, earlier.kind, earlier.scope, earlier.scope_value)
        = (touched.period, touched.kind, touched.scope, touched.scope_value)
        and earlier.rank = 1 and earlier.day < days.day
) as former_day
from (
    select period, kind, scope, scope_value from former_boards
    union
    select period, kind, scope, scope_value from community.leaderboard_snapshots where day = %(day)s and rank = 1
) as touched, lateral (
    select %(day)s::date as day
    union all
    select min(later.day) from community.leaderboard_snapshots as later
    where
        (later.period, later.kind, later.scope, later.scope_value)
        = (touched.period, touched.kind, touched.scope, touched.scope_value)
        and later.rank = 1 and later.day > %(day)s
) as days
"""
_FORMER_RANK = """(
    select former.rank from community.leaderboard_snapshots as former
    where
        (former.day, former.period, former.kind, former.scope, former.scope_value, former.subject_id)
        = (moved.former_day, moved.period, moved.kind, moved.scope, moved.scope_value, placed.subject_id)
)"""
_MOVE = f"""
update community.leaderboard_snapshots as placed
set previous_rank = {_FORMER_RANK}, rank_change = {_FORMER_RANK} - placed.rank
from moved_boards as moved
where
    (placed.day, placed.period, placed.kind, placed.scope, placed.scope_value)
    = (moved.day, moved.period, moved.kind, moved.scope, moved.scope_value)
    and placed.previous_rank is distinct from {_FORMER_RANK}
"""
_FORGET = """
delete from community.leaderboard_snapshots
where
    scope <> 'GLOBAL' and day in (
        select day from community.leaderboard_snapshots where rank = 1 and scope <> 'GLOBAL' and day < %s
    )
"""


@dataclass(frozen=True)
class Inputs:
    """As `leaderboards` takes them."""

    rule_days: pa.Table
    rules: pa.Table
    labels: pa.Table


def build_boards(
    postgres: Postgres, engine: "BaseBackend", days: Sequence[date], *, half_life_hours: float, labelled_since: date
) -> None:
    """Makes the boards of consecutive days anew, thirty in one transaction; those of tags and models since a day only.

    What they are made of is read once for the thirty, while nobody else builds: an older reading never replaces a newer
    one.
    """
    for i in range(0, len(days), MONTH_DAYS):
        some = days[i : i + MONTH_DAYS]
        with postgres.transaction() as connection:
            connection.execute(_LOCK)
            inputs = read_inputs(postgres, some[0], some[-1])
            for day in some:
                its = inputs if day >= labelled_since else replace(inputs, labels=inputs.labels.slice(0, 0))
                replace_day(connection, boards(its, engine, day=day, half_life_hours=half_life_hours), day)
            connection.execute(_FORGET, [labelled_since])


def read_inputs(postgres: Postgres, first: date, last: date) -> Inputs:
    """What the boards of the days `first` to `last` are made of, as one snapshot of the database."""
    given = {"before": first - timedelta(days=MONTH_DAYS), "last": last}
    with postgres.transaction() as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        return Inputs(
            rule_days=selected(connection, _RULE_DAYS, given, _DAYS_SCHEMA),
            rules=selected(connection, _RULES, {}, _RULES_SCHEMA),
            labels=selected(connection, _LABELS, {}, _LABELS_SCHEMA),
        )


def boards(inputs: Inputs, engine: "BaseBackend", *, day: date, half_life_hours: float) -> pa.Table:
    """The boards of `day`, computed by `engine`."""
    import ibis

    from ingestion_pipeline.domains.community.leaderboards import leaderboards
    from ingestion_pipeline.storage.engine import released

    with released(engine):
        tables = [ibis.memtable(it) for it in (inputs.rule_days, inputs.rules, inputs.labels)]
        return engine.to_pyarrow(leaderboards(*tables, day=day, half_life_hours=half_life_hours))


def replace_day(connection: psycopg.Connection[Any], rows: pa.Table, day: date) -> Changes:
    """Makes `rows` the only ones of `day`; changes of rank follow, those of the day and of the next with the board."""
    given = {"day": day}
    connection.execute("drop table if exists former_boards, moved_boards")
    connection.execute(_FORMER_BOARDS, given)
    placed = rows.append_column("day", pa.repeat(pa.scalar(day, pa.date32()), rows.num_rows))
    changes = replaced(connection, LEADERBOARD_SNAPSHOTS, placed, day)
    connection.execute(_MOVED_BOARDS, given)
    connection.execute("analyze moved_boards")  # that rows are looked up by board, not the whole history read
    connection.execute(_MOVE.encode())
    return changes
