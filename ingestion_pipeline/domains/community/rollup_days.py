"""Building one day of the rollups: read and compute, in the transaction that then replaces the day (rollup_rows.py).

A day is locked before anything of it is read: of two that build it at once the second sees what the first has seen, or
more. Nor do the authors of rules change meanwhile: who changes them then sees which days had the former ones.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.community.abuse import Limits
from ingestion_pipeline.domains.community.rollup_tables import (
    AUTHOR_METRICS_DAILY,
    EXCLUDED_EVENTS_DAILY,
    RULE_EVENTS,
    RULE_METRICS_DAILY,
)
from ingestion_pipeline.domains.community.rules import LOCK as RULES_LOCK
from ingestion_pipeline.storage.arrow_rows import selected
from ingestion_pipeline.storage.lake import Lake, arrow_schema
from ingestion_pipeline.storage.postgres import Postgres

if TYPE_CHECKING:
    import ibis.expr.types as ir

_LOCK = "select pg_advisory_xact_lock(hashtextextended('community.rollups ' || %s::date, 1))"
_KEEP_RULES = "select pg_advisory_xact_lock_shared(hashtextextended(%s, 0))"
_RULES = "select rule_id, author_id from community.rules where author_id is not null"
_FIRST_DAY = "select community.first_rollable_day()"
# paid on the day and not wholly given back, by the author they were for; those of Stripe's test mode are nobody's
_DONATIONS = """
select
    author_id,
    sum(donations)::bigint as donations,
    jsonb_object_agg(currency, net::text)::text as donations_net
from (
    select author_id, currency, count(*) as donations, sum(net) as net
    from community.donations
    where paid_on = %(day)s and author_id is not null and is_live and net > 0
    group by 1, 2
) as sums
group by author_id
"""
_RULES_SCHEMA = pa.schema([("rule_id", pa.string()), ("author_id", pa.string())])
_DONATIONS_SCHEMA = pa.schema([("author_id", pa.string()), ("donations", pa.int64()), ("donations_net", pa.string())])
_METRICS_SCHEMA = pa.schema([(it.name, it.type) for it in arrow_schema(RULE_METRICS_DAILY)])
_COUNTED = ("views", "copies", "saves", "forks", "votes_up", "votes_down")


@dataclass(frozen=True)
class RuleRollup:
    """The rows of rule_metrics_daily and excluded_events_daily of one day."""

    metrics: pa.Table
    excluded: pa.Table

    @property
    def excluded_counts(self) -> dict[str, int]:
        """Events that do not count, by reason."""
        counts = zip(self.excluded["reason"].to_pylist(), self.excluded["events"].to_pylist(), strict=True)
        return dict(sorted(counts))

    @property
    def events(self) -> int:
        """Events of rules on the day, counted or not."""
        counted = [pc.sum(self.metrics[name]).as_py() or 0 for name in _COUNTED]
        return sum(counted) + sum(self.excluded_counts.values())


def first_rollable_day(postgres: Postgres) -> date:
    """The first day of which no event of rules has expired: the rows of earlier ones stay as they are."""
    with postgres.transaction() as connection:
        ((day,),) = connection.execute(_FIRST_DAY).fetchall()
    return day  # type: ignore[no-any-return]


@contextmanager
def locked_day(postgres: Postgres, day: date) -> Iterator[psycopg.Connection[Any]]:
    """A transaction in which nobody else builds `day` and no rule changes."""
    with postgres.transaction() as connection:
        connection.execute(_LOCK, [day])
        connection.execute(_KEEP_RULES, [RULES_LOCK])
        yield connection


def rolled_rules(connection: psycopg.Connection[Any], lake: Lake, limits: Limits, day: date) -> RuleRollup:
    """Judges and counts the events of `day`. Reads that day of the lake and the authors of all rules."""
    import ibis

    from ingestion_pipeline.domains.community.rollups import excluded_events, rule_events, rule_metrics
    from ingestion_pipeline.storage.engine import released

    with released(lake.engine):
        rules = ibis.memtable(selected(connection, _RULES, {}, _RULES_SCHEMA))
        events = lake.read(RULE_EVENTS, Window.of_days(day, day))
        counts = rule_events(lake.engine, events, rules, limits)
        return RuleRollup(
            _rows(lake, RULE_METRICS_DAILY, rule_metrics(counts, rules), day),
            _rows(lake, EXCLUDED_EVENTS_DAILY, excluded_events(counts), day),
        )


def rolled_authors(connection: psycopg.Connection[Any], lake: Lake, metrics: pa.Table, day: date) -> pa.Table:
    """The rows of author_metrics_daily: sums of `metrics`, the day's rows of rules, with the donations of the day."""
    import ibis

    from ingestion_pipeline.domains.community.rollups import author_metrics
    from ingestion_pipeline.storage.engine import released

    donations = selected(connection, _DONATIONS, {"day": day}, _DONATIONS_SCHEMA)
    with released(lake.engine):
        rows = author_metrics(ibis.memtable(metrics), ibis.memtable(donations))
        return _rows(lake, AUTHOR_METRICS_DAILY, rows, day)


def stored_metrics(connection: psycopg.Connection[Any], day: date) -> pa.Table:
    """The rows of rule_metrics_daily of `day`."""
    names = ", ".join(RULE_METRICS_DAILY.column_names)
    statement = f"select {names} from {RULE_METRICS_DAILY.qualified_name} where day = %(day)s"
    return selected(connection, statement, {"day": day}, _METRICS_SCHEMA)


def _rows(lake: Lake, table: Table, rows: "ir.Table", day: date) -> pa.Table:
    """`rows` of one day with the columns of `table`."""
    found = lake.engine.to_pyarrow(rows)
    found = found.append_column("day", pa.repeat(pa.scalar(day, pa.date32()), found.num_rows))
    return found.select(list(table.column_names))
