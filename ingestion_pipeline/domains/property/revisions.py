"""Writes current rows and their history: what a source says later replaces what it said before, and both are kept.

Every incoming row has an instant as of which its source stands by it (`revised_at`; of a macro value a day, its
vintage) and one at which we received it. The row with the greatest pair is current, whatever the order in which rows
arrive. Same values again confirm the current row and make no revision; other values that are older than the current
ones go to the history only.

Belongs here: that rule, as SQL over one COPY. Does not belong here: where rows come from (ingest.py), whether they are
plausible (transforms.py).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from ingestion_pipeline.domains.property.transforms import CompRow, FundamentalRow, MacroRow

Counts = Mapping[str, int]
"""How many rows were `new`, `revised` (another value), `same` (confirmed), `late` (history only), `known` (nothing)."""

_INCOMING = "property_incoming"
_META = ("revised_at", "received_at", "provenance")
_MOVED = f"""
select source, comp_id, array_agg(distinct history.comp ->> 'market_slug')
from property.comps_revisions as history
inner join (select distinct source, comp_id from {_INCOMING}) as incoming using (source, comp_id)
group by source, comp_id
having count(distinct history.comp ->> 'market_slug') > 1
"""


@dataclass(frozen=True, kw_only=True)
class Revisioned:
    """A table with a history. `values` are the columns that make a revision, `said` those of who said it first.

    `recorded` says which column of the history holds which expression over the judged row.
    """

    table: str
    history: str
    key: Sequence[str]
    values: Sequence[str]
    said: Sequence[str]
    recorded: Mapping[str, str]

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.key, *self.values, *self.said, *_META)


COMP_VALUES = tuple(name for name in CompRow._fields if name not in {"source", "comp_id", *_META})
FUNDAMENTALS = Revisioned(
    table="property.fundamentals",
    history="property.fundamentals_revisions",
    key=("market_slug", "metric", "as_of_date"),
    values=("value", "unit"),
    said=("source",),
    recorded={"value": "judged.value", "unit": "judged.unit"},
)
COMPS = Revisioned(
    table="property.comps",
    history="property.comps_revisions",
    key=("source", "comp_id"),
    values=COMP_VALUES,
    said=(),
    recorded={"comp": "jsonb_build_object(" + ", ".join(f"'{name}', judged.{name}" for name in COMP_VALUES) + ")"},
)


def write_fundamentals(connection: psycopg.Connection[Any], rows: Iterable[FundamentalRow]) -> Counts:
    """Writes property.fundamentals and its history in the transaction of `connection`."""
    return _write(connection, FUNDAMENTALS, rows)


def write_comps(connection: psycopg.Connection[Any], rows: Iterable[CompRow]) -> Counts:
    """Writes property.comps and its history in the transaction of `connection`."""
    return _write(connection, COMPS, rows)


def former_markets(connection: psycopg.Connection[Any]) -> dict[tuple[str, str], list[str]]:
    """By source and comp_id, every market that a sale has been in, of those of the last write_comps that have moved.

    It looks at what write_comps copied, in the same transaction.
    """
    rows = _execute(connection, _MOVED).fetchall()
    return {(source, comp_id): markets for source, comp_id, markets in rows}


def write_macro(connection: psycopg.Connection[Any], rows: Iterable[MacroRow]) -> Counts:
    """Writes property.macro_observations in the transaction of `connection`: a revision is a new vintage.

    A value that is confirmed on a later day gets that day; on the same day nothing is written, since a series is
    fetched every hour. Another value from in between two days on which a value was seen makes that one two vintages.
    """
    order = "vintage_date, received_at, value"
    rounds = _copy(
        connection, "property.macro_observations", MacroRow._fields, rows, ("series_id", "observation_date"), order
    )
    return _rounds(connection, _MACRO, rounds)


def _write(connection: psycopg.Connection[Any], it: Revisioned, rows: Iterable[Sequence[Any]]) -> Counts:
    order = f"revised_at, received_at, row({', '.join(it.values)})::text"
    return _rounds(connection, _statement(it), _copy(connection, it.table, it.columns, rows, it.key, order))


def _copy(
    connection: psycopg.Connection[Any],
    table: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    key: Sequence[str],
    order: str,
) -> int:
    """Copies `rows` beside `table`, numbered within their key; returns the highest number.

    One writer at a time until the transaction ends: what a row is judged against does not change under it.
    """
    names = ", ".join(columns)
    connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [table])
    _execute(connection, f"drop table if exists pg_temp.{_INCOMING}")
    _execute(
        connection,
        f"create temporary table {_INCOMING} on commit drop as select {names}, 0 as round from {table} limit 0",
    )
    with connection.cursor() as cursor, cursor.copy(f"copy {_INCOMING} ({names}) from stdin") as copy:
        for row in rows:
            copy.write_row(row)
    numbered = f"select ctid, row_number() over (partition by {', '.join(key)} order by {order}) as number"
    _execute(
        connection,
        f"update {_INCOMING} as incoming set round = numbered.number "
        f"from ({numbered} from {_INCOMING}) as numbered where numbered.ctid = incoming.ctid",
    )
    _execute(connection, f"create index on {_INCOMING} (round)")
    _execute(connection, f"analyze {_INCOMING}")
    last = _execute(connection, f"select coalesce(max(round), 0) from {_INCOMING}").fetchone()
    return 0 if last is None else int(last[0])


def _rounds(connection: psycopg.Connection[Any], statement: str, rounds: int) -> Counts:
    """Runs `statement` for the first row of every key, then for the second ones, and so on."""
    counts: Counter[str] = Counter()
    for number in range(1, rounds + 1):
        counts.update(dict(_execute(connection, statement, {"round": number}).fetchall()))
    return counts


def _statement(it: Revisioned) -> str:
    """Judges the rows of one round against the current ones and writes both tables; returns counts by verdict."""
    key, columns, recorded = ", ".join(it.key), ", ".join(it.columns), ", ".join(it.recorded)
    expressions = ", ".join(it.recorded.values())
    of_key = " and ".join(f"history.{name} = judged.{name}" for name in it.key)
    of_current = " and ".join(f"stored.{name} = judged.{name}" for name in it.key)
    said = ", ".join((*it.said, *_META))
    values = f"row({', '.join(f'incoming.{name}' for name in it.values)})"
    current = f"row({', '.join(f'current.{name}' for name in it.values)})"
    updates = ", ".join(f"{name} = excluded.{name}" for name in (*it.values, *it.said, *_META, "revision"))
    pairs = "(incoming.revised_at, incoming.received_at) {} (current.revised_at, current.received_at)"
    return f"""
with judged as materialized (
    select
        incoming.*,
        case
            when current.revision is null then 'new'
            when {values} is not distinct from {current} then case when {pairs.format(">")} then 'same' else 'known' end
            when {pairs.format(">")} then 'revised'
            when {pairs.format("=")} and {values}::text > {current}::text then 'revised'
            else 'late'
        end as verdict
    from {_INCOMING} as incoming
    left join {it.table} as current using ({key})
    where incoming.round = %(round)s
), numbered as materialized (
    select
        judged.*,
        1 + coalesce((select max(history.revision) from {it.history} as history where {of_key}), 0) as revision
    from judged
    where verdict in ('new', 'revised') or (
        verdict = 'late'
        and not exists (
            select from {it.history} as history
            where {of_key} and row({", ".join(f"history.{name}" for name in it.recorded)}) = row({expressions})
        )
    )
), replaced as (
    insert into {it.table} ({columns}, revision)
    select {columns}, revision from numbered where verdict <> 'late' order by {key}
    on conflict ({key}) do update set {updates}
), confirmed as (
    update {it.table} as stored
    set revised_at = judged.revised_at, received_at = judged.received_at
    from judged where judged.verdict = 'same' and {of_current}
), remembered as (
    insert into {it.history} ({key}, revision, {recorded}, {said})
    select {key}, revision, {expressions}, {said} from numbered as judged
)
select verdict, count(*) from judged group by verdict
"""


_MACRO = f"""
with judged as materialized (
    select
        incoming.*,
        current.vintage_date as current_vintage_date,
        case
            when current.vintage_date is null then 'new'
            when incoming.value is not distinct from current.value then
                case
                    when incoming.vintage_date > current.confirmed_date then 'same'
                    when incoming.vintage_date >= current.vintage_date then 'known'
                    else 'late'
                end
            when
                (incoming.vintage_date, incoming.received_at) >= (current.confirmed_date, current.received_at)
                then 'revised'
            else 'late'
        end as verdict
    from {_INCOMING} as incoming
    left join lateral (
        select stored.vintage_date, stored.confirmed_date, stored.value, stored.received_at
        from property.macro_observations as stored
        where stored.series_id = incoming.series_id and stored.observation_date = incoming.observation_date
        order by stored.confirmed_date desc, stored.received_at desc
        limit 1
    ) as current on true
    where incoming.round = %(round)s
), replaced as (
    insert into property.macro_observations
    (series_id, observation_date, vintage_date, confirmed_date, value, source, received_at)
    select series_id, observation_date, vintage_date, vintage_date, value, source, received_at
    from judged where verdict in ('new', 'revised') order by series_id, observation_date
    on conflict (series_id, observation_date, vintage_date) do update
    set value = excluded.value, source = excluded.source, received_at = excluded.received_at,
        confirmed_date = excluded.confirmed_date
), confirmed as (
    update property.macro_observations as stored
    set confirmed_date = judged.vintage_date, received_at = judged.received_at
    from judged
    where judged.verdict = 'same' and stored.series_id = judged.series_id
        and stored.observation_date = judged.observation_date and stored.vintage_date = judged.current_vintage_date
), interrupted as materialized (
    select stored.*
    from property.macro_observations as stored
    inner join judged using (series_id, observation_date)
    where judged.verdict = 'late' and stored.value is distinct from judged.value
        and stored.vintage_date < judged.vintage_date and judged.vintage_date < stored.confirmed_date
), shortened as (
    update property.macro_observations as stored
    set confirmed_date = stored.vintage_date
    from interrupted
    where stored.series_id = interrupted.series_id and stored.observation_date = interrupted.observation_date
        and stored.vintage_date = interrupted.vintage_date
), said_again as (
    insert into property.macro_observations
    (series_id, observation_date, vintage_date, confirmed_date, value, source, received_at)
    select series_id, observation_date, confirmed_date, confirmed_date, value, source, received_at
    from interrupted
    on conflict (series_id, observation_date, vintage_date) do nothing
), remembered as (
    insert into property.macro_observations
    (series_id, observation_date, vintage_date, confirmed_date, value, source, received_at)
    select series_id, observation_date, vintage_date, vintage_date, value, source, received_at
    from judged where verdict = 'late' order by series_id, observation_date
    on conflict (series_id, observation_date, vintage_date) do nothing
)
select verdict, count(*) from judged group by verdict
"""


def _execute(
    connection: psycopg.Connection[Any], statement: str, parameters: Mapping[str, object] | None = None
) -> psycopg.Cursor[Any]:
    """The statement is made of our own names only."""
    return connection.execute(statement, parameters)
