"""Reads what leaderboards are made of from PostgreSQL, and puts a day's boards in the place of the former ones."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
from pyarrow import csv

from ingestion_pipeline.core.windows import DAY
from ingestion_pipeline.domains.community.leaderboard_tables import LEADERBOARD_SNAPSHOTS, MONTH_DAYS
from ingestion_pipeline.storage.postgres import Postgres, copy_rows

if TYPE_CHECKING:
    from ibis.backends import BaseBackend

BLOCK_BYTES = 64_000_000

_DAYS_SCHEMA = pa.schema(
    [
        ("subject_id", pa.string()),
        ("day", pa.date32()),
        ("points", pa.float64()),
        ("views", pa.int64()),
        ("trending_score", pa.float64()),
    ]
)
_RULES_SCHEMA = pa.schema([("rule_id", pa.string()), ("author_id", pa.string()), ("is_deleted", pa.bool_())])
_LABELS_SCHEMA = pa.schema([("rule_id", pa.string()), ("scope", pa.string()), ("scope_value", pa.string())])

_DAYS = """
select {subject}, day, points, views, trending_score from {table} where day > %(before)s and day <= %(day)s
union all
select {subject}, null, sum(points), sum(views), 0 from {table} where day <= %(before)s group by {subject}
"""
_RULE_DAYS = _DAYS.format(table="community.rule_metrics_daily", subject="rule_id")
_AUTHOR_DAYS = _DAYS.format(table="community.author_metrics_daily", subject="author_id")
_RULES = "select rule_id, author_id, status = 'deleted' from community.rules"
_LABELS = """
select rule_id, 'TAG', tag from community.rules, jsonb_array_elements_text(tags) as tag
union all
select rule_id, 'MODEL', model from community.rules where model is not null
"""
_INCOMING = """
create temporary table incoming on commit drop as
select period, kind, scope, scope_value, rank, subject_id, score, points, views
from community.leaderboard_snapshots limit 0
"""
_INSERT = """
insert into community.leaderboard_snapshots
select
    %(day)s, period, kind, scope, scope_value, incoming.rank, subject_id, incoming.score, incoming.points,
    incoming.views, former.rank, former.rank - incoming.rank
from incoming
left join (select * from community.leaderboard_snapshots where day = %(before)s) as former
    using (period, kind, scope, scope_value, subject_id)
"""
_FOLLOW = """
update community.leaderboard_snapshots as following
set previous_rank = changes.former_rank, rank_change = changes.former_rank - following.rank
from (
    select period, kind, scope, scope_value, subject_id, former.rank as former_rank
    from (select * from community.leaderboard_snapshots where day = %(after)s) as same
    left join (select * from community.leaderboard_snapshots where day = %(day)s) as former
        using (period, kind, scope, scope_value, subject_id)
) as changes
where
    following.day = %(after)s and following.period = changes.period and following.kind = changes.kind
    and following.scope = changes.scope and following.scope_value = changes.scope_value
    and following.subject_id = changes.subject_id and following.previous_rank is distinct from changes.former_rank
"""


_COUNTS = "select day, count(*) from community.leaderboard_snapshots where day between %s and %s group by day"


@dataclass(frozen=True)
class Inputs:
    """As `leaderboards` takes them."""

    rule_days: pa.Table
    author_days: pa.Table
    rules: pa.Table
    labels: pa.Table


def read_inputs(postgres: Postgres, day: date) -> Inputs:
    """What the boards of `day` are made of, as one snapshot of the database."""
    given = {"day": day, "before": day - timedelta(days=MONTH_DAYS)}
    with postgres.transaction() as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        return Inputs(
            rule_days=_rows(connection, _RULE_DAYS, _DAYS_SCHEMA, given),
            author_days=_rows(connection, _AUTHOR_DAYS, _DAYS_SCHEMA, given),
            rules=_rows(connection, _RULES, _RULES_SCHEMA, {}),
            labels=_rows(connection, _LABELS, _LABELS_SCHEMA, {}),
        )


def boards(inputs: Inputs, engine: "BaseBackend", *, day: date, half_life_hours: float) -> pa.Table:
    """The boards of `day`, computed by `engine`."""
    import ibis

    from ingestion_pipeline.domains.community.leaderboards import leaderboards

    tables = [ibis.memtable(it) for it in (inputs.rule_days, inputs.author_days, inputs.rules, inputs.labels)]
    return engine.to_pyarrow(leaderboards(*tables, day=day, half_life_hours=half_life_hours))


def replace_day(postgres: Postgres, rows: pa.Table, day: date) -> None:
    """Makes `rows` the only ones of `day`, and the changes of rank of that day and of the next follow, all at once."""
    given = {"day": day, "before": day - DAY, "after": day + DAY}
    name = LEADERBOARD_SNAPSHOTS.qualified_name
    with postgres.transaction() as connection:
        connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])
        connection.execute(f"delete from {name} where day = %(day)s".encode(), given)
        connection.execute(_INCOMING)
        with connection.cursor() as cursor:
            copy_rows(cursor, "incoming", rows)
        connection.execute(_INSERT, given)
        connection.execute(_FOLLOW, given)


def row_counts(postgres: Postgres, first: date, last: date) -> dict[date, int]:
    """Rows of each of the days."""
    with postgres.transaction() as connection:
        return dict(connection.execute(_COUNTS, [first, last]).fetchall())


def _rows(connection: psycopg.Connection[Any], statement: str, schema: pa.Schema, given: Mapping[str, Any]) -> pa.Table:
    """The rows of a statement as Arrow: a block of CSV at a time, so that the text is never whole in memory."""
    tables, block, size = [schema.empty_table()], list[Any](), 0
    with (
        connection.cursor() as cursor,
        cursor.copy(f"copy ({statement}) to stdout (format csv)".encode(), given) as lines,
    ):
        for line in lines:
            block.append(line)
            size += len(line)
            if size >= BLOCK_BYTES:
                tables.append(_parsed(block, schema))
                block, size = [], 0
    if block:
        tables.append(_parsed(block, schema))
    return pa.concat_tables(tables)


def _parsed(lines: list[Any], schema: pa.Schema) -> pa.Table:
    return csv.read_csv(
        io.BytesIO(b"".join(lines)),
        read_options=csv.ReadOptions(column_names=schema.names, block_size=BLOCK_BYTES * 2),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=dict(zip(schema.names, schema.types, strict=True)),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
        ),
    )
