"""Laws of the ledger: the same set of reports makes the same ledger, in any order and however often each is stored."""

from calendar import monthrange
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from ingestion_pipeline.domains.sales.contracts import Period, RowProblem
from ingestion_pipeline.domains.sales.ledger import ReportFile
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.sales.ledgers import (
    ParsedReport,
    ledger,
    month_row,
    prior_month,
    query,
    report,
    report_file,
    row,
    store,
)

Report = tuple[ParsedReport, ReportFile]
PLATFORMS = ("amazon_kdp", "draft2digital", "smashwords")
DAYS = st.sampled_from([date(2026, month, day) for month in (3, 4) for day in (1, 5, 20)])
MONTHS = st.sampled_from([date(2026, 3, 1), date(2026, 4, 1)])
SOLD = st.integers(0, 3)
PERIODS = [
    Period(start=date(2026, 3, first), end=date(2026, 4, last)) for first, last in ((1, 30), (1, 3), (5, 30), (20, 3))
]
OF_KDP = {"kind": st.sampled_from(["sale", "free", "pages_read"]), "format": st.sampled_from(["ebook", "paperback"])}
LAWS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def kdp_report(draw: st.DrawFn) -> ParsedReport:
    """Estimates by the day or the month, or the final report of a month."""
    if draw(st.booleans()):
        month = draw(MONTHS)
        rows = (month_row(month, sold=draw(SOLD), **kinds) for kinds in draw(some_kinds()))
        parts = draw(st.sampled_from([["ebook", "paperback", "pages", "kdp_total_earnings"], ["ebook"], ["pages"], []]))
        return prior_month(*rows, month=month, parts=parts)
    grain = draw(st.sampled_from(["day", "month"]))
    rows = []
    for kinds in draw(some_kinds(min_size=1)):
        if grain == "day":
            rows += [row(day, sold=draw(SOLD), **kinds) for day in draw(st.sets(DAYS, min_size=1, max_size=3))]
        else:
            months = draw(st.sets(MONTHS, min_size=1))
            rows += [month_row(month, is_final=False, sold=draw(SOLD), **kinds) for month in months]
    return report(*rows, period=draw(st.sampled_from(PERIODS)))


@st.composite
def some_kinds(draw: st.DrawFn, *, min_size: int = 0) -> list[dict[str, Any]]:
    drawn = draw(st.lists(st.fixed_dictionaries(OF_KDP), min_size=min_size, max_size=2))
    return [it | {"edition_id": f"{it['format']} {place}"} for place, it in enumerate(drawn)]


WINDOWS = [(date(2026, 2, 22), date(2026, 3, 21)), (date(2026, 3, 22), date(2026, 4, 18))]
UNREADABLE = RowProblem(sheet=None, row_number=9, column="Units Sold", seen="?", expected="a whole number")
STORES = {"Kobo Books": None, "Smashwords Store": "Smashwords.com", "Smashwords: Apple Books": "Apple"}
"""Draft2Digital's name of a store, and the one of Smashwords where it may report the same sales."""


@st.composite
def draft2digital_report(draw: st.DrawFn) -> ParsedReport:
    """Days and Apple's windows, estimated or verified, at one of two prices; of its months, as the parser says."""
    name = draw(st.sampled_from(["d2d_ebook", "d2d_ebook", "d2d_print"]))
    rows = []
    lines = st.tuples(st.one_of(DAYS, st.sampled_from(WINDOWS)), st.sampled_from([*STORES]), st.sampled_from("ab"))
    for span, store_, price in draw(st.sets(lines, min_size=1, max_size=4)):
        start, end = span if isinstance(span, tuple) else (span, span)
        over = {"platform": "draft2digital", "storefront": store_, "source_report": name, "sold": draw(SOLD)}
        rows.append(row(start, end, edition_id=f"{name} at {price}", is_final=draw(st.booleans()), **over))
    days = [it["period_start"] for it in rows if it["period_start"] == it["period_end"]]
    days = days or [it["period_end"] for it in rows]
    problems = draw(st.sampled_from([[], [], [UNREADABLE]]))
    return report(*rows, name=name, period=Period(start=min(days), end=max(days)), problems=problems)


@st.composite
def smashwords_report(draw: st.DrawFn) -> ParsedReport:
    drawn = draw(st.sets(st.tuples(DAYS, st.sampled_from(["Smashwords.com", "Apple", "Kobo"])), max_size=4))
    over = {"platform": "smashwords", "source_report": "smashwords"}
    rows = [row(day, storefront=store_, sold=draw(SOLD), is_final=draw(st.booleans()), **over) for day, store_ in drawn]
    return report(*rows, name="smashwords")


@st.composite
def reports(draw: st.DrawFn, platforms: tuple[str, ...] = PLATFORMS) -> list[Report]:
    """Up to five reports; some were exported at the same time."""
    kinds = {
        "amazon_kdp": kdp_report(),
        "smashwords": smashwords_report(),
        "draft2digital": draft2digital_report(),
    }
    made = []
    for number in range(draw(st.integers(1, 5))):
        platform = draw(st.sampled_from(platforms))
        name = draw(st.sampled_from([".xlsx", ".csv"]))
        days = draw(st.sampled_from([0, 1, 2] if platform == "amazon_kdp" else [-20, 0, 1, 2]))
        file = report_file(f"{number}", platform=platform, days=days, name=f"{number}{name}")
        made.append((draw(kinds[platform]), file))
    return made


def ledger_of(postgres: Postgres, given_reports: Iterable[Report]) -> list[tuple[Any, ...]]:
    """The ledger that these reports make, one after the other, from an empty one."""
    for table in ("sales_events", "report_files", "ledger_months"):
        postgres.execute(f"delete from sales.{table}")
    for parsed, file in given_reports:
        store(postgres, parsed, file)
    return ledger(postgres)


@LAWS
@given(reports=reports(), data=st.data())
def test_neither_order_nor_repetition_of_reports_matters(
    postgres: Postgres, reports: list[Report], data: st.DataObject
) -> None:
    """Replayed at once, replayed at the end, shuffled: the same rows, and the same rows counted."""
    repeated = data.draw(st.lists(st.sampled_from(reports), max_size=3))
    shuffled = data.draw(st.permutations(reports + repeated))
    assert ledger_of(postgres, reports) == ledger_of(postgres, shuffled)


Row = dict[str, Any]


def is_month(it: Row) -> bool:
    return bool(it["period_end"] > it["period_start"])


def part(it: Row) -> tuple[Any, ...]:
    measure = it["kind"] if it["kind"] in ("free", "pages_read") else "royalty"
    return it["period_start"].replace(day=1), measure, it["format"]


def covered_days(it: Row) -> set[date]:
    """The days of its month that the report of a row covers."""
    ends = [it["covers_to"], it["exported_at"].date() + timedelta(days=1)] if is_month(it) else [it["covers_to"]]
    first = part(it)[0]
    month = (first + timedelta(days=number) for number in range(monthrange(first.year, first.month)[1]))
    return {day for day in month if it["covers_from"] <= day <= min(ends)}


def newer_export(like: Iterable[Row]) -> list[Row]:
    """Of the estimates of one part those that another export states as well."""
    months = [it for it in like if is_month(it)]
    if not months:
        return []
    ends = [edge for it in months for edge in (min(covered_days(it)), max(covered_days(it)))]
    days = [it for it in like if not is_month(it) and min(ends) <= it["period_start"] <= max(ends)]
    newest = max(it["exported_at"] for it in months)
    newer = [it for it in days if it["exported_at"] >= newest]
    by_month, by_day = (sum(it["units_sold"] + it["pages_read"] for it in grain) for grain in (months, days))
    if not newer:
        return days if by_month >= by_day else months
    spanned = set().union(*(covered_days(it) for it in newer if it["is_by_day"]))
    whole = {min(ends) + timedelta(days=number) for number in range((max(ends) - min(ends)).days + 1)}
    return months if by_day >= by_month or whole <= spanned else days


Finals = dict[tuple[date, str], tuple[datetime, str]]


def not_counted(rows: Iterable[Row], finals: Finals) -> dict[str, str]:
    """Why rows of KDP are not counted, by their key: docs/sales-ledger.md, day by day."""
    reasons = {}
    parts: dict[tuple[Any, ...], list[Row]] = {}
    for it in rows:
        parts.setdefault(part(it), []).append(it)
    for (month, measure, format_), like in parts.items():
        sheet = (month, "pages" if measure == "pages_read" else format_)
        if measure != "free" and sheet in finals:
            older = [it for it in like if it["is_final"] and (it["exported_at"], it["source_sha256"]) < finals[sheet]]
            reasons |= {it["natural_key"]: "newer_export" for it in older}
        estimates = [it for it in like if not it["is_final"]]
        reasons |= {it["natural_key"]: "newer_export" for it in newer_export(estimates)}
        is_final = sheet in finals or (month, "kdp_total_earnings") in finals or len(estimates) < len(like)
        if measure != "free" and is_final:
            reasons |= {it["natural_key"]: "final_month" for it in estimates}
    return reasons


ROWS = """
select kept.*, files.period_start as covers_from, files.period_end as covers_to, files.is_by_day, files.problem_count
from sales.sales_events as kept
inner join sales.report_files as files on files.sha256 = kept.source_sha256
"""


@LAWS
@given(reports=reports(("amazon_kdp",)))
def test_what_is_not_counted_is_what_the_rules_say(postgres: Postgres, reports: list[Report]) -> None:
    """The database function judges rows in groups; here each is judged by the days that it covers."""
    ledger_of(postgres, reports)
    with postgres.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(ROWS).fetchall()
    whole = (
        "select period_start, unnest(parts), exported_at, sha256 from sales.report_files "
        "where report = 'kdp_prior_month' order by exported_at, sha256"
    )
    expected = not_counted(rows, {(month, sheet): (at, sha256) for month, sheet, at, sha256 in query(postgres, whole)})
    assert expected == {it["natural_key"]: it["superseded_by"] for it in rows if it["superseded_by"]}


def is_newer(it: Row, than: Row) -> bool:
    return (it["exported_at"], it["source_sha256"]) > (than["exported_at"], than["source_sha256"])


def is_restated(it: Row, rows: Iterable[Row], files: Iterable[Row]) -> bool:
    """An estimate that a newer export of its days, or of its window, does not list."""
    span = it["period_start"], it["period_end"]
    window = (*span, it["storefront"], it["source_report"])
    return not it["is_final"] and (
        any(
            file["report"] == it["source_report"]
            and file["period_start"] <= span[0]
            and span[1] <= file["period_end"]
            and is_newer(file, it)
            for file in files
        )
        or any(
            (other["period_start"], other["period_end"], other["storefront"], other["source_report"]) == window
            and not other["problem_count"]
            and is_newer(other, it)
            for other in rows
        )
    )


def lists(listed: Row, day: date) -> bool:
    """A window its days, a day the rest of its month until the export."""
    first, last = listed["period_start"], listed["period_end"]
    if first < last:
        return bool(first <= day <= last)
    exported = max(listed["exported_at"].date() + timedelta(days=1), first)
    return bool(first <= day <= exported and first.month == day.month)


READABLE = """
select report, period_start, period_end, exported_at, sha256 as source_sha256 from sales.report_files
where platform = 'draft2digital' and problem_count = 0
"""


@LAWS
@given(reports=reports(("draft2digital", "smashwords")))
def test_what_draft2digital_restates_or_lists_is_left_out(postgres: Postgres, reports: list[Report]) -> None:
    """Row by row: its own estimates at another price, and Smashwords' sales of the same store and days."""
    ledger_of(postgres, reports)
    with postgres.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(ROWS).fetchall()
        files = cursor.execute(READABLE).fetchall()
    stated, sold = ([it for it in rows if it["platform"] == platform] for platform in ("draft2digital", "smashwords"))
    restated = {it["natural_key"] for it in stated if is_restated(it, stated, files)}
    listed = [it for it in stated if it["natural_key"] not in restated]
    twice = {
        it["natural_key"]
        for it in sold
        if any(STORES[other["storefront"]] == it["storefront"] and lists(other, it["period_start"]) for other in listed)
    }
    expected = dict.fromkeys(restated, "newer_export") | dict.fromkeys(twice, "draft2digital")
    assert expected == {it["natural_key"]: it["superseded_by"] for it in rows if it["superseded_by"]}
