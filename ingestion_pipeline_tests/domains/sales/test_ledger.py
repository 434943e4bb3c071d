"""The ledger in a real database: overlapping, repeated, late and contradicting reports."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from ingestion_pipeline.domains.sales.contracts import ParsedReport, Period, QuarantineError, RowProblem
from ingestion_pipeline.domains.sales.ledger import Stored
from ingestion_pipeline.domains.sales.platforms import quarantine
from ingestion_pipeline.domains.sales.rates import apply_rates, store_rates
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.sales.ledgers import (
    EXPORTED,
    OWNER,
    counted,
    ledger,
    month_row,
    payment,
    prior_month,
    query,
    report,
    report_file,
    row,
    store,
)

DAY = date(2026, 3, 5)


def stored(**over: int) -> Stored:
    return Stored(**({"inserted": 0, "updated": 0, "unchanged": 0, "superseded": 0, "payments": 0} | over))


def test_a_report_is_stored_with_its_file_and_where_each_row_stands(postgres: Postgres) -> None:
    """One transaction: rows, payments, the file's row."""
    problem = RowProblem(sheet="eBook Royalty", row_number=9, column="Royalty", seen="x", expected="a number")
    parsed = report(
        row(), row(currency="JPY", royalty=Decimal("0.12345678")), payments=[payment()], problems=[problem],
        period=Period(start=DAY, end=DAY), totals={"stated": {"royalty USD": Decimal("3.45")}},
    )  # fmt: skip
    assert stored(inserted=2, payments=1) == store(postgres, parsed)
    places = "select distinct source_sha256, sheet, row_number, exported_at from sales.sales_events"
    sha256 = report_file("a").sha256
    assert [(sha256, "eBook Royalty", 2, EXPORTED)] == query(postgres, places)
    assert [(Decimal("0.12345678"),)] == query(postgres, "select royalty from sales.sales_events where currency='JPY'")
    files = (
        "select status, report, row_count, problem_count, problems -> 0 ->> 'seen', totals, period_start, is_whole "
        "from sales.report_files where sha256 = %s"
    )
    expected = ("ingested", "kdp_dashboard", 2, 1, "x", {"royalty USD": {"stated": "3.45"}}, DAY, False)
    assert [expected] == query(postgres, files, sha256)
    assert [("1", Decimal("108.45"))] == query(postgres, "select payment_id, net from sales.payments")


def test_the_same_report_again_changes_nothing(postgres: Postgres) -> None:
    """Not the rows, not what is to be derived again, not even when it comes with another time of export."""
    parsed = report(row(), row(DAY.replace(day=6)), payments=[payment()])
    store(postgres, parsed)
    state = "select *, xmin::text from sales.sales_events order by natural_key"
    months = "select * from sales.ledger_months"
    before = query(postgres, state), query(postgres, months)
    assert stored(unchanged=2) == store(postgres, parsed, report_file("a", days=3))
    assert before == (query(postgres, state), query(postgres, months))


def test_the_newest_export_is_right_whichever_comes_first(postgres: Postgres) -> None:
    """By row: what only one of them has stays."""
    older = report(row(sold=1), row(DAY.replace(day=4)))
    newer = report(row(sold=3), row(DAY.replace(day=6)))
    assert stored(inserted=2) == store(postgres, newer, report_file("new", days=2))
    assert stored(inserted=1, unchanged=1) == store(postgres, older, report_file("old"))
    expected = [("amazon_kdp", date(2026, 3, day), sold, sold * Decimal("3.45"), False) for day, sold in
                ((4, 1), (5, 3), (6, 1))]  # fmt: skip
    assert expected == counted(postgres)
    assert stored(updated=1, unchanged=1) == store(
        postgres, report(row(sold=2), row(DAY.replace(day=6))), report_file("newest", days=4)
    )


def test_a_final_month_replaces_its_estimates_and_an_empty_one_removes_them(postgres: Postgres) -> None:
    """Whichever comes first. They are kept, and say why they are not counted; other months and free units stay."""
    estimates = report(
        row(sold=5), row(DAY.replace(month=4)), row(kind="free", royalty=Decimal(0)), row(kind="pages_read")
    )
    store(postgres, estimates, report_file("estimate", days=9))
    assert 2 == store(postgres, prior_month(), "empty").superseded
    free = ("amazon_kdp", DAY, 1, Decimal(0), False)
    april = ("amazon_kdp", DAY.replace(month=4), 1, Decimal("3.45"), False)
    assert [free, april] == counted(postgres)
    final = ("amazon_kdp", date(2026, 3, 1), 4, Decimal("13.80"), True)
    assert 0 == store(postgres, prior_month(month_row(sold=4)), report_file("final", days=1)).superseded
    assert 1 == store(postgres, report(row(DAY.replace(day=20))), report_file("late", days=20)).superseded
    assert [final, free, april] == counted(postgres)
    reasons = "select superseded_by, count(*) from sales.sales_events group by 1 order by 1"
    assert [("final_month", 3), (None, 3)] == query(postgres, reasons)


def test_a_final_report_of_one_sheet_replaces_what_it_has_rows_of(postgres: Postgres) -> None:
    """A file of the e-books says nothing of paperbacks or pages, one without a sheet that is known nothing at all."""
    paper = row(format="paperback", edition_id="9781980000001")
    store(postgres, report(row(), paper, row(kind="pages_read")), "estimates")
    csv = report_file("final", name="KDP_Prior_Month_Royalties-2026-03-01.csv")
    assert 1 == store(postgres, prior_month(month_row(sheet=None), parts=["ebook"]), csv).superseded
    assert 0 == store(postgres, prior_month(parts=[]), report_file("empty", name="Empty.CSV")).superseded
    assert 1 == store(postgres, prior_month(parts=["pages"]), "no pages").superseded


def test_a_final_month_that_was_issued_again_is_as_the_newest_says(postgres: Postgres) -> None:
    """Whichever comes first: rows that it no longer has are not counted. Not so if rows of it could not be read."""
    gone = month_row(edition_id="B0GONE0001")
    store(postgres, prior_month(month_row(sold=2)), report_file("again", days=2))
    store(postgres, prior_month(month_row(sold=2), gone), report_file("first", days=1))
    assert [2] == [sold for _, _, sold, _, _ in counted(postgres)]
    problem = RowProblem(sheet="eBook Royalty", row_number=3, column="Royalty", seen="x", expected="a number")
    store(postgres, prior_month(month_row(sold=3), problems=[problem]), report_file("damaged", days=3))
    assert [3] == [sold for _, _, sold, _, _ in counted(postgres)]
    assert [("newer_export",)] == query(
        postgres, "select superseded_by from sales.sales_events where edition_id = 'B0GONE0001'"
    )


def test_a_report_of_which_no_row_could_be_read_is_no_empty_one(postgres: Postgres) -> None:
    store(postgres, report(row(sold=5)), "estimates")
    problem = RowProblem(sheet="eBook Royalty", row_number=3, column="Royalty", seen="$3.45", expected="a number")
    with pytest.raises(
        QuarantineError, match=r"none of its 1 rows can be read; the first: .*row 3: Royalty is '\$3.45'"
    ):
        store(postgres, prior_month(problems=[problem]), "final")
    assert [5] == [sold for _, _, sold, _, _ in counted(postgres)]


def test_payments_are_no_final_month(postgres: Postgres) -> None:
    """A report of payments is final too, and says nothing of sales."""
    store(postgres, report(row()), "estimates")
    paid = report(
        name="kdp_payments", is_final=True, payments=[payment()], period=Period(start=date(2026, 3, 1), end=DAY)
    )
    assert stored(payments=1) == store(postgres, paid, "payments")
    assert 1 == len(counted(postgres))
    assert [(date(2026, 3, 1), 1)] == query(postgres, "select month, version from sales.ledger_months")


def days_of_march(first: int, last: int, **over: Any) -> ParsedReport:
    """A report by the day of these days of March, one copy on each."""
    days = [date(2026, 3, day) for day in range(first, last + 1)]
    return report(*(row(day, **over) for day in days), period=Period(start=days[0], end=days[-1]))


def rolled_up(sold: int, first: date, last: date, **over: Any) -> ParsedReport:
    """What KDP makes of a range over more than a month: March as a whole, as far as the range goes."""
    whole = month_row(sold=sold, is_final=False, source_report="kdp_estimator", **over)
    return report(whole, period=Period(start=first, end=last))


ALL_OF_IT, PART_OF_IT = (date(2026, 2, 1), date(2026, 3, 31)), (date(2026, 3, 27), date(2026, 4, 20))


@pytest.mark.parametrize(
    ("older", "newer", "expected"),
    [
        (rolled_up(30, *ALL_OF_IT), days_of_march(1, 1), 30),
        (rolled_up(30, *ALL_OF_IT), days_of_march(25, 31), 30),
        (rolled_up(30, *ALL_OF_IT), days_of_march(1, 31, sold=2), 62),
        (rolled_up(40, *ALL_OF_IT), days_of_march(1, 31), 31),
        (rolled_up(20, *ALL_OF_IT), days_of_march(3, 29), 27),
        (days_of_march(1, 28), rolled_up(40, *ALL_OF_IT), 40),
        (days_of_march(1, 28), rolled_up(2, *PART_OF_IT), 28),
        (days_of_march(1, 28), rolled_up(4, *PART_OF_IT), 30),
        (days_of_march(1, 28), rolled_up(2, *ALL_OF_IT), 28),
        (rolled_up(500, *ALL_OF_IT, kind="free"), days_of_march(25, 31, kind="free"), 500),
        (rolled_up(40, *ALL_OF_IT), days_of_march(1, 31, kind="free"), 71),
    ],
    ids=[
        "the first day of a month", "the last week of a month", "all days", "all days, fewer copies",
        "most days, more copies", "a whole month", "the end of a month, the same of it", "the end of a month, more of it",
        "fewer copies, nobody knows why", "free copies", "another measure",
    ],
)  # fmt: skip
def test_days_and_whole_months_count_once(
    postgres: Postgres, older: ParsedReport, newer: ParsedReport, expected: int
) -> None:
    """KDP rolls long ranges up to months. The newer report counts for what it covers; one of a part of the month takes
    nothing away."""
    store(postgres, newer, report_file("newer", days=1))
    store(postgres, older, report_file("older"))
    assert expected == sum(sold for _, _, sold, _, _ in counted(postgres))


def test_days_after_the_export_of_a_month_count_beside_it(postgres: Postgres) -> None:
    """A month that was exported while it ran ends with that day, and the next, which has begun somewhere."""
    middle = report_file("month", exported_at=datetime(2026, 3, 15, 12, tzinfo=UTC))
    store(postgres, rolled_up(20, date(2026, 1, 1), date(2026, 3, 31)), middle)
    assert stored(inserted=11, superseded=2) == store(postgres, days_of_march(15, 25), report_file("days"))
    assert 20 + 9 == sum(sold for _, _, sold, _, _ in counted(postgres))


def test_days_that_several_reports_cover_together_count(postgres: Postgres) -> None:
    """A month that is covered week by week; not by reports that are older, and not by one of another measure."""
    store(postgres, rolled_up(40, *ALL_OF_IT), report_file("month", days=1))
    store(postgres, days_of_march(1, 15), report_file("older"))
    store(postgres, days_of_march(16, 31), report_file("newer", days=2))
    store(postgres, days_of_march(1, 31, kind="pages_read"), report_file("pages", days=2))
    assert 40 + 31 == sum(sold for _, _, sold, _, _ in counted(postgres))
    store(postgres, days_of_march(1, 15), report_file("again", days=2))
    assert 31 + 31 == sum(sold for _, _, sold, _, _ in counted(postgres))


def d2d(day: date = DAY, **over: Any) -> dict[str, Any]:
    return row(day, **({"platform": "draft2digital", "storefront": "Kobo Books", "source_report": "d2d_ebook"} | over))


def smashwords(day: date = DAY, **over: Any) -> dict[str, Any]:
    return row(
        day, **({"platform": "smashwords", "storefront": "Smashwords.com", "source_report": "smashwords"} | over)
    )


def test_smashwords_is_not_counted_where_draft2digital_reports_it(postgres: Postgres) -> None:
    """From the first day of the month on that it lists; only of the same owner."""
    sales = report(*(smashwords(date(2026, month, day)) for month, day in ((3, 4), (3, 5), (3, 9), (4, 9))))
    file = report_file("smashwords", platform="smashwords")
    store(postgres, sales, file)
    store(postgres, sales, file, owner="grace")
    listed = report(d2d(date(2026, 3, 5), storefront="Smashwords: Smashwords Store"), d2d(date(2026, 4, 2)))
    assert stored(inserted=2, superseded=2) == store(postgres, listed, report_file("d2d", platform="draft2digital"))
    left = (
        "select owner_id, period_start from sales.sales_events where platform = 'smashwords' and superseded_by is null"
    )
    expected = [("ada", date(2026, 3, 4)), ("ada", date(2026, 4, 9))]
    assert expected == [it for it in sorted(query(postgres, left)) if it[0] == "ada"]
    assert 6 == len(query(postgres, left))


def test_a_verified_row_stays_verified(postgres: Postgres) -> None:
    """Of Draft2Digital and Smashwords the estimate and the final row are one row; final ones do not go back."""
    final = report(d2d(is_final=True, sold=2))
    store(postgres, final, report_file("verified", platform="draft2digital"))
    later = report(d2d(is_final=False, sold=1))
    assert stored(unchanged=1) == store(postgres, later, report_file("older", platform="draft2digital", days=5))
    assert [("draft2digital", DAY, 2, Decimal("6.90"), True)] == counted(postgres)


def test_a_value_that_the_ledger_cannot_hold_is_quarantined(postgres: Postgres) -> None:
    """And nothing of the report is stored."""
    with pytest.raises(QuarantineError, match=r"'a\.xlsx': the ledger cannot hold it: .*out of range"):
        store(postgres, report(row(), row(DAY.replace(day=6), sold=2**40)))
    with pytest.raises(QuarantineError, match="violates check constraint"):
        store(postgres, report(row(net_units=7)))
    assert [] == ledger(postgres)
    assert [] == query(postgres, "select 1 from sales.report_files")


def test_what_was_read_once_is_not_quarantined_later(postgres: Postgres) -> None:
    """Sent again under a name that does not tell its month, or to a newer parser: its rows and what it covers stay."""
    file = report_file("final", days=20)
    store(postgres, prior_month(), file)
    quarantine(postgres, OWNER, file, "does not say its month")
    assert [("ingested", None)] == query(postgres, "select status, reason from sales.report_files")
    assert 1 == store(postgres, report(row()), report_file("late", days=21)).superseded
    received = report_file("unread")
    received_row = "values (:owner_id, :sha256, :platform, :name, :size_bytes)"
    postgres.execute(
        f"insert into sales.report_files (owner_id, sha256, platform, name, size_bytes) {received_row}",
        {**asdict(received), "owner_id": OWNER},
    )
    quarantine(postgres, OWNER, received, "unknown")
    state = "select status, reason from sales.report_files where name = 'unread.xlsx'"
    assert [("quarantined", "unknown")] == query(postgres, state)


def test_rows_that_share_a_key_are_quarantined(postgres: Postgres) -> None:
    """One of them would be lost; parsers number the rows that are separate sales."""
    twice = r"'a\.xlsx': rows 3, 7 have the same natural key, expected one each"
    rows = [row(sold=1, row_number=3), row(DAY.replace(day=6)), row(sold=2, row_number=7)]
    with pytest.raises(QuarantineError, match=twice):
        store(postgres, report(*rows))
    with pytest.raises(QuarantineError, match=twice):
        store(postgres, report(payments=[payment(row_number=3), payment(row_number=7)]))
    assert [] == ledger(postgres)


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (
            date(1, 1, 1),
            date(2026, 3, 1),
            "its days are 0001-01-01 to 2026-03-01, expected the first day before the last, both from 2000-01-01",
        ),
        (date(2026, 3, 1), date(9999, 12, 31), "its days are 2026-03-01 to 9999-12-31"),
        (date(2026, 3, 1), date(2026, 1, 1), "its days are 2026-03-01 to 2026-01-01"),
    ],
)
def test_days_that_cannot_be_are_quarantined(postgres: Postgres, start: date, end: date, message: str) -> None:
    """Of a row, of what the file says of itself, and of what an API was asked for: each month would be built."""
    period = Period(start=start, end=end)
    with pytest.raises(QuarantineError, match=message):
        store(postgres, report(period=period))
    with pytest.raises(QuarantineError, match=message):
        store(postgres, report(name="gumroad_api"), report_file("api", platform="gumroad", covers=period))
    if start < end:
        with pytest.raises(QuarantineError, match=message):
            store(postgres, report(row(start), row(end)))
    assert [] == query(postgres, "select 1 from sales.report_files")


def test_a_file_from_the_future_is_as_old_as_its_arrival(postgres: Postgres) -> None:
    """A wrong clock must not be right for ever."""
    store(postgres, report(row(sold=1)), report_file("future", days=365 * 70))
    store(postgres, report(row(sold=9)), report_file("now", exported_at=datetime.now(UTC)))
    assert [9] == [sold for _, _, sold, _, _ in counted(postgres)]
    postgres.execute("update sales.report_files set exported_at = '2096-01-01' where name = 'future.xlsx'")
    store(postgres, report(row(sold=2)), report_file("future"))
    store(postgres, report(row(sold=3)), report_file("last", exported_at=datetime.now(UTC)))
    assert [3] == [sold for _, _, sold, _, _ in counted(postgres)]


def test_text_that_looks_like_sql_or_a_formula_is_text(postgres: Postgres) -> None:
    """Quotes, line ends, backslashes, an empty text and NULL come back as they were."""
    titles = ["=cmd|' /C calc'!A0", 'a "quoted", one', "two\nlines\r\n", r"\N \. '); drop", "", "Ünï 本 🎈"]
    store(postgres, report(*(row(title=title, author=None, edition_id=str(i)) for i, title in enumerate(titles))))
    assert titles == [it for (it,) in query(postgres, "select title from sales.sales_events order by edition_id")]
    assert [(None,)] == query(postgres, "select distinct author from sales.sales_events")


def test_many_store_at_once(postgres: Postgres, worker_url: str) -> None:
    """Overlapping reports of one owner and of others, beside runs that rate and build: no deadlock, and the ledger is that
    of the same reports one after the other."""
    days = [date(2026, 3, day) for day in range(1, 29)]
    sets = [
        (
            report(*(row(day, sold=number, currency="GBP") for day in days[number:])),
            report_file(f"{number}", days=number),
        )
        for number in range(6)
    ]
    sets.append((prior_month(month_row(currency="GBP")), report_file("final")))

    def build(number: int) -> None:
        other = Postgres(worker_url)
        rates = pa.table({"currency": ["GBP"], "rate_date": [days[number]], "usd_per_unit": [Decimal(number + 1)]})
        with other.transaction() as connection:
            store_rates(connection, rates, source="x")
        with other.transaction() as connection:
            apply_rates(connection)
        with other.transaction() as connection:
            connection.execute("select sales.build_daily(10), sales.build_monthly(10)")
        other.close()

    def put(number: int) -> None:
        other = Postgres(worker_url)
        for owner in ("ada", "grace") if number % 2 else ("grace", "ada"):
            store(other, *sets[number], owner=owner)
        other.close()

    with ThreadPoolExecutor(7) as threads:
        running = [threads.submit(put, number) for number in range(len(sets))]
        running += [threads.submit(build, number) for number in range(5)]
        for it in running:
            it.result()
    query(postgres, "select sales.apply_rates()")
    together = ledger(postgres)
    postgres.execute("delete from sales.sales_events")
    for owner in ("grace", "ada"):
        for parsed, file in sets:
            store(postgres, parsed, file, owner=owner)
    assert ledger(postgres) == together
    assert 2 * 29 == len(together)
    query(postgres, "select sales.build_daily(10), sales.build_monthly(10)")
    assert [] == postgres.read("sales_daily_differences") + postgres.read("sales_unbuilt_months")


def test_a_file_that_is_read_better_now_replaces_what_was_read(postgres: Postgres) -> None:
    """The same file, stored again after a parser was corrected; newer exports stay right."""
    store(postgres, report(row(sold=1), row(DAY.replace(day=6), sold=1)))
    store(postgres, report(row(DAY.replace(day=6), sold=5)), report_file("newer", days=1))
    corrected = report(row(sold=2), row(DAY.replace(day=6), sold=2))
    assert stored(updated=1, unchanged=1) == store(postgres, corrected)
    assert [2, 5] == [sold for _, _, sold, _, _ in counted(postgres)]


def test_an_api_that_answers_the_same_again_says_that_it_is_true_now(postgres: Postgres) -> None:
    """A dispute that is won makes the answer what it was before: it is newer than the one in between."""

    def sale(label: str, days: int, **over: Any) -> Stored:
        covers = Period(start=date(2026, 3, 1 + days), end=date(2026, 3, 20 + days))
        file = report_file(label, platform="gumroad", days=days, covers=covers)
        return store(postgres, report(row(platform="gumroad", is_final=True, **over), name="gumroad_api"), file)

    sale("paid", 0)
    assert stored(updated=1) == sale("disputed", 1, kind="sale", refunded=1)
    assert stored(updated=1) == sale("paid", 2)
    assert [("gumroad", DAY, 1, Decimal("3.45"), True)] == counted(postgres)
    period = "select period_start, period_end from sales.report_files where sha256 = %s"
    assert [(date(2026, 3, 1), date(2026, 3, 22))] == query(postgres, period, report_file("paid").sha256)
