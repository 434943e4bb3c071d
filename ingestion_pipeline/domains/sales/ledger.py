"""The ledger: stores one parsed report, in one transaction, so that the order of reports does not matter.

Here: which of two reports is right about a row, what is counted, what has changed. Which rows are not counted is
decided by the database function `sales.supersede`, in one place. Not here: reading reports (the parsers), rates
(rates.py), what is derived (assets.py). The laws are in docs/sales-ledger.md.
"""

from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.types.json import Jsonb

from ingestion_pipeline.core import clock
from ingestion_pipeline.domains.sales.contracts import (
    PAYMENTS,
    SALES_EVENTS,
    ParsedReport,
    Period,
    QuarantineError,
)
from ingestion_pipeline.domains.sales.transforms import totals_by_quantity
from ingestion_pipeline.storage.postgres import copy_rows, first_line

PROBLEMS_KEPT = 1_000
PAYMENTS_REPORT = "kdp_payments"
FIRST_DAY = date(2000, 1, 1)
DAYS_AHEAD = 731
ROWS_NAMED = 5
_PAGES = """
left join sales.kenp_rates as page
    on
        incoming.kind = 'pages_read' and incoming.royalty is null
        and page.storefront = lower(incoming.storefront) and page.currency = incoming.currency
        and page.month = date_trunc('month', incoming.period_start)::date
"""
_PAGES_ROYALTY = "round(incoming.pages_read * page.rate, 8)"
_KEY = ("platform", "natural_key")
_PLACE = ("source_report", "sheet", "row_number")

_SETTLE_FILE = """
insert into sales.report_files as kept (
    owner_id, sha256, platform, name, size_bytes, status, report, period_start, period_end, is_final, is_whole,
    parts, is_by_day, row_count, problem_count, problems, skipped, totals, exported_at, settled_at, job_id
) values (
    %(owner_id)s, %(sha256)s, %(platform)s, %(name)s, %(size_bytes)s, 'ingested', %(report)s, %(period_start)s,
    %(period_end)s, %(is_final)s, %(is_whole)s, %(parts)s, %(is_by_day)s, %(row_count)s, %(problem_count)s,
    %(problems)s, %(skipped)s, %(totals)s, least(%(exported_at)s, clock_timestamp()), clock_timestamp(), %(job_id)s
)
on conflict (owner_id, platform, sha256) do update set
    status = 'ingested',
    reason = null,
    report = excluded.report,
    period_start = case when excluded.report = 'gumroad_api' then least(kept.period_start, excluded.period_start)
        else excluded.period_start end,
    period_end = case when excluded.report = 'gumroad_api' then greatest(kept.period_end, excluded.period_end)
        else excluded.period_end end,
    exported_at = case when excluded.report = 'gumroad_api' then greatest(kept.exported_at, excluded.exported_at)
        else least(kept.exported_at, clock_timestamp()) end,
    is_final = excluded.is_final,
    is_whole = excluded.is_whole,
    parts = excluded.parts,
    is_by_day = excluded.is_by_day,
    row_count = excluded.row_count,
    problem_count = excluded.problem_count,
    problems = excluded.problems,
    skipped = excluded.skipped,
    totals = excluded.totals,
    settled_at = excluded.settled_at,
    job_id = coalesce(excluded.job_id, kept.job_id)
returning exported_at
"""
_IS_SETTLED = """
select exists (
    select from sales.report_files
    where owner_id = %s and platform = %s and sha256 = %s and status = 'ingested'
)
"""


@dataclass(frozen=True, kw_only=True)
class ReportFile:
    """Where a report came from.

    Attributes:
        platform: One of `PLATFORMS`.
        sha256: Of the original's bytes, or of what an API answered.
        name: As the file was named.
        size_bytes: Of the original.
        exported_at: When the platform wrote it, or was asked; if nobody knows, or it is said to be in the future, when
            it was received. What was said first of a file holds, by whoever made its row in `sales.report_files`; an
            API that answers the same again says that it is true now.
        covers: What the report was asked for, where its rows cannot tell: days without sales are real zeros.
        job_id: The job that stores it.
    """

    platform: str
    sha256: str
    name: str
    size_bytes: int
    exported_at: datetime
    covers: Period | None = None
    job_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What storing a report did to the ledger, in rows.

    `updated` got other values; `unchanged` had the same values, or right ones; `superseded` stopped to be counted.
    """

    inserted: int
    updated: int
    unchanged: int
    superseded: int
    payments: int


def store_report(connection: psycopg.Connection[Any], owner_id: str, report: ParsedReport, file: ReportFile) -> Stored:
    """Stores a report in the transaction of `connection`, and settles its row of `sales.report_files`.

    Of two reports that have a row of the same natural key, a final one is right, else the one that was exported last.
    The same report stored again changes nothing, unless a parser has learned to read it better.

    Raises:
        QuarantineError: no row of it could be read, a value that the ledger cannot hold, days that cannot be, or rows
            that are the same row twice; the transaction can only be rolled back.
    """
    _refuse_unreadable(report, file)
    _refuse_impossible_days(report, file)
    _refuse_rows_that_are_one(report, file)
    try:
        connection.execute("set local work_mem = '64MB'")
        _copy(connection, "incoming_events", "sales.sales_events", report.rows)
        if report.payments.num_rows:
            _copy(connection, "incoming_payments", "sales.payments", report.payments)
        # sales.apply_rates waits for all that store; of one owner one stores at a time, and sees all of those before
        connection.execute("select pg_advisory_xact_lock_shared(hashtextextended('sales.sales_events', 0))")
        connection.execute("select pg_advisory_xact_lock(hashtextextended('sales ledger of ' || %s, 0))", [owner_id])
        (is_again,) = _row(connection.execute(_IS_SETTLED, [owner_id, file.platform, file.sha256]))
        facts = {
            "owner_id": owner_id,
            "source_sha256": file.sha256,
            "exported_at": _settle_file(connection, owner_id, report, file),
            "job_id": file.job_id,
            "now": clock.utc_now(),
        }
        events = connection.execute(_MERGE_EVENTS, facts).fetchall()
        payments = connection.execute(_MERGE_PAYMENTS, facts).fetchall() if report.payments.num_rows else []
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise QuarantineError(f"{file.name!r}: the ledger cannot hold it: {first_line(error)}") from error
    covered = [] if report.report == PAYMENTS_REPORT else _covered_months(file.covers or report.period)
    changed = [month for month, new, other in events if new or other]
    changed += [] if is_again else covered
    connection.execute("select sales.mark_months(%s, %s, %s::date[])", [owner_id, file.platform, changed])
    starts = pc.unique(pc.floor_temporal(report.rows["period_start"], unit="month")).to_pylist()
    months = sorted({*starts, *covered})
    judge = "select sales.supersede(%s, %s, %s::date[])"
    (superseded,) = _row(connection.execute(judge, [owner_id, file.platform, months]))
    inserted, updated = (sum(row[place] for row in events) for place in (1, 2))
    return Stored(
        inserted=inserted,
        updated=updated,
        unchanged=report.rows.num_rows - inserted - updated,
        superseded=superseded,
        payments=sum(inserted + updated for _, inserted, updated in payments),
    )


def _merge(table: str, incoming: str, columns: list[str], *, month: str, rates: bool) -> str:
    """The statement that merges `incoming` into `table`; by month, how many rows are new and how many got new values.

    In the order of the key: two writers of the same rows then wait for each other instead of deadlocking.
    """
    values = [name for name in columns if name not in (*_KEY, *_PLACE)]
    given = ["owner_id", "source_sha256", "exported_at", *(["job_id"] if rates else [])]
    places = [name for name in columns if name in _PLACE]
    rated = {
        "fx_rate": "rated.fx_rate",
        "fx_date": "rated.fx_date",
        "estimated_royalty": _PAGES_ROYALTY,
        "royalty_usd": f"round(coalesce(incoming.royalty, {_PAGES_ROYALTY}) * rated.fx_rate, 8)",
    }
    derived = rated if rates else {}
    join = f"left join rated on incoming.currency = rated.currency and incoming.period_end = rated.period_end {_PAGES}"
    overwritten = [*values, *derived, *places, *given[1:]]
    newer = ["exported_at", "source_sha256", "row_number"]
    if rates:
        newer.insert(0, "is_final")
    return f"""
with rated as (
    select days.currency, days.period_end, rate.fx_rate, rate.fx_date
    from (select distinct currency, period_end from {incoming}) as days
    cross join lateral sales.usd_rate(days.currency, days.period_end) as rate
),
merged as (
    insert into {table} as kept ({", ".join([*columns, *derived, *given, "updated_at"])})
    select {", ".join(f"incoming.{name}" for name in columns)},
        {"".join(f"{value}, " for value in derived.values())}
        {", ".join(f"%({name})s" for name in given)}, %(now)s
    from {incoming} as incoming {join if rates else ""}
    order by incoming.natural_key, incoming.platform
    on conflict (owner_id, platform, natural_key) do update set
        {", ".join(f"{name} = excluded.{name}" for name in overwritten)},
        updated_at = case
            when ({_listed("kept", values)}) is distinct from ({_listed("excluded", values)})
                then excluded.updated_at
            else kept.updated_at
        end
    where
        ({_listed("excluded", newer)}) > ({_listed("kept", newer)})
        or (
            ({_listed("excluded", newer)}) = ({_listed("kept", newer)})
            and ({_listed("excluded", values)}) is distinct from ({_listed("kept", values)})
        )
    returning {month} as month, xmax = 0 as is_inserted, updated_at = %(now)s as is_changed
)
select
    month,
    count(*) filter (where is_inserted) as inserted,
    count(*) filter (where is_changed and not is_inserted) as updated
from merged
group by month
"""


def _listed(table: str, columns: list[str]) -> str:
    return ", ".join(f"{table}.{name}" for name in columns)


_MERGE_EVENTS = _merge(
    "sales.sales_events",
    "incoming_events",
    SALES_EVENTS.names,
    month="date_trunc('month', kept.period_start)::date",
    rates=True,
)
_MERGE_PAYMENTS = _merge("sales.payments", "incoming_payments", PAYMENTS.names, month="kept.period_start", rates=False)


def _copy(connection: psycopg.Connection[Any], target: str, table: str, rows: pa.Table) -> None:
    columns = ", ".join(rows.column_names)
    with connection.cursor() as cursor:
        cursor.execute(f"drop table if exists pg_temp.{target}".encode())
        cursor.execute(
            f"create temporary table {target} on commit drop as select {columns} from {table} limit 0".encode()
        )
        copy_rows(cursor, target, rows)
        cursor.execute(f"analyze {target}".encode())


def _refuse_unreadable(report: ParsedReport, file: ReportFile) -> None:
    """A report of which no row was read is not one without sales."""
    if report.problems and not report.rows.num_rows and not report.payments.num_rows:
        count, first = len(report.problems), report.problems[0].told
        raise QuarantineError(f"{file.name!r}: none of its {count} rows can be read; the first: {first}")


def _refuse_impossible_days(report: ParsedReport, file: ReportFile) -> None:
    """Every month of a report's period is built: one of a thousand years would stop all others."""
    periods = [(it.start, it.end) for it in (file.covers, report.period) if it]
    if report.rows.num_rows:
        columns = report.rows["period_start"], report.rows["period_end"]
        periods.append((pc.min(columns[0]).as_py(), pc.max(columns[1]).as_py()))
    last_day = clock.utc_now().date() + timedelta(days=DAYS_AHEAD)
    for start, end in periods:
        if not FIRST_DAY <= start <= end <= last_day:
            expected = f"the first day before the last, both from {FIRST_DAY} to {last_day}"
            raise QuarantineError(f"{file.name!r}: its days are {start} to {end}, expected {expected}")


def _refuse_rows_that_are_one(report: ParsedReport, file: ReportFile) -> None:
    """Of two rows with one natural key one would be lost."""
    for rows in (report.rows, report.payments):
        if pc.count_distinct(rows["natural_key"]).as_py() < rows.num_rows:
            by_key = rows.group_by("natural_key").aggregate([("row_number", "list")])
            numbers = next(it for it in by_key["row_number_list"].to_pylist() if len(it) > 1)
            named = ", ".join(map(str, numbers[:ROWS_NAMED]))
            raise QuarantineError(f"{file.name!r}: rows {named} have the same natural key, expected one each")


def _settle_file(
    connection: psycopg.Connection[Any], owner_id: str, report: ParsedReport, file: ReportFile
) -> datetime:
    """When the file was exported, as it was said first."""
    period = file.covers or report.period
    totals = {
        quantity: {side: str(value) for side, value in sides.items()}
        for quantity, sides in totals_by_quantity(report.totals).items()
    }
    facts = {
        "owner_id": owner_id,
        "sha256": file.sha256,
        "platform": file.platform,
        "name": file.name,
        "size_bytes": file.size_bytes,
        "report": report.report,
        "period_start": period.start if period else None,
        "period_end": period.end if period else None,
        "is_final": report.is_final,
        "is_whole": _is_whole(report),
        "parts": list(report.parts),
        "is_by_day": bool(pc.all(pc.equal(report.rows["period_start"], report.rows["period_end"])).as_py()),
        "row_count": report.rows.num_rows,
        "problem_count": len(report.problems),
        "problems": Jsonb([asdict(problem) for problem in report.problems[:PROBLEMS_KEPT]]),
        "skipped": Jsonb([asdict(skipped) for skipped in report.left_out]),
        "totals": Jsonb(totals),
        "exported_at": file.exported_at,
        "job_id": file.job_id,
    }
    (exported_at,) = _row(connection.execute(_SETTLE_FILE, facts))
    assert isinstance(exported_at, datetime)  # noqa: S101 - the column's type
    return exported_at


def _is_whole(report: ParsedReport) -> bool:
    """Every row was read, and of KDP it has the sheets of e-books and pages, or the one of all."""
    is_all = not report.report.startswith("kdp_") or "kdp_total_earnings" in report.parts
    return not report.problems and (is_all or {"ebook", "pages"} <= set(report.parts))


def _covered_months(period: Period | None) -> list[date]:
    """The first day of every month that `period` touches."""
    if period is None:
        return []
    first, last = (12 * day.year + day.month - 1 for day in (period.start, period.end))
    return [date(month // 12, month % 12 + 1, 1) for month in range(first, last + 1)]


def _row(cursor: psycopg.Cursor[Any]) -> tuple[Any, ...]:
    row = cursor.fetchone()
    assert row is not None  # noqa: S101 - the statement gives one row
    return tuple(row)
