"""The ledger in a real database: overlapping, repeated, late and contradicting reports."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from ingestion_pipeline.domains.sales.contracts import Period, QuarantineError, RowProblem
from ingestion_pipeline.domains.sales.ledger import Stored
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.sales.ledgers import (
    EXPORTED,
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
    expected = ("ingested", "kdp_dashboard", 2, 1, "x", {"royalty USD": {"stated": "3.45"}}, DAY, True)
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
    assert 0 == store(postgres, prior_month(month_row(sold=4)), "final").superseded
    assert 1 == store(postgres, report(row(DAY.replace(day=20))), report_file("late", days=20)).superseded
    assert [final, free, april] == counted(postgres)
    reasons = "select superseded_by, count(*) from sales.sales_events group by 1 order by 1"
    assert [("final_month", 3), (None, 3)] == query(postgres, reasons)


def test_a_final_report_of_one_sheet_replaces_what_it_has_rows_of(postgres: Postgres) -> None:
    """A CSV file of the e-books says nothing of paperbacks or pages."""
    paper = row(format="paperback", edition_id="9781980000001")
    store(postgres, report(row(), paper, row(kind="pages_read")), "estimates")
    csv = report_file("final", name="KDP_Prior_Month_Royalties-2026-03-01.csv")
    assert 1 == store(postgres, prior_month(month_row(sheet=None)), csv).superseded
    assert 0 == store(postgres, prior_month(), report_file("empty", name="Empty.CSV")).superseded


def test_payments_are_no_final_month(postgres: Postgres) -> None:
    """A report of payments is final too, and says nothing of sales."""
    store(postgres, report(row()), "estimates")
    paid = report(
        name="kdp_payments", is_final=True, payments=[payment()], period=Period(start=date(2026, 3, 1), end=DAY)
    )
    assert stored(payments=1) == store(postgres, paid, "payments")
    assert 1 == len(counted(postgres))
    assert [(date(2026, 3, 1), 1)] == query(postgres, "select month, version from sales.ledger_months")


@pytest.mark.parametrize(("later", "expected"), [("month", 7), ("days", 3)])
def test_a_month_is_counted_by_the_day_or_as_a_whole(postgres: Postgres, later: str, expected: int) -> None:
    """KDP rolls long ranges up to months: what was exported last counts."""
    whole = month_row(sold=7, is_final=False, source_report="kdp_estimator")
    store(postgres, report(whole), report_file("month", days=later == "month"))
    store(postgres, report(row(sold=1), row(DAY.replace(day=6), sold=2)), report_file("days", days=later == "days"))
    assert expected == sum(sold for _, _, sold, _, _ in counted(postgres))


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


def test_rows_that_share_a_key_are_one_row(postgres: Postgres) -> None:
    """The last of them; parsers number the rows that are separate sales."""
    assert stored(inserted=1, unchanged=1) == store(
        postgres, report(row(sold=1, row_number=2), row(sold=2, row_number=3))
    )
    assert [("amazon_kdp", DAY, 2, Decimal("6.90"), False)] == counted(postgres)


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
    rate = "insert into sales.exchange_rates values ('GBP', %s, %s, 'x') on conflict do nothing"

    def build(number: int) -> None:
        other = Postgres(worker_url)
        with other.transaction() as connection:
            connection.execute(rate, [days[number], number + 1])
            connection.execute("select sales.apply_rates()")
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
