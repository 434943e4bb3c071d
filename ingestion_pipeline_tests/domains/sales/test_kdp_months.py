"""KDP's final months, in every language and year variant, and its payments."""

from collections import Counter
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from ingestion_pipeline.domains.sales.kdp_totals import disagreements
from ingestion_pipeline_tests.domains.sales.kdp_languages import LANGUAGES, Language
from ingestion_pipeline_tests.domains.sales.kdp_parsed import (
    ESTIMATOR,
    MARCH,
    PAYMENTS_NAME,
    PRINTED,
    PRIOR_MONTH,
    SALES,
    parsed,
    quarantine,
    rows_of,
)
from ingestion_pipeline_tests.domains.sales.kdp_reports import (
    Pages,
    Payment,
    Sale,
    Style,
    estimate_sheets,
    payment_rows,
    prior_month_sheets,
)


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.code)
def test_prior_month_royalties_are_final_and_of_the_month_in_the_first_row(language: Language):
    sales = [Sale(), Sale(sold=0, refunded=1, royalty=Decimal("-3.45")), Sale(royalty_type="35%", currency="JPY")]
    pages = [Pages(pages=10, royalty=Decimal("3.004217196"), currency="JPY", marketplace="Amazon.co.jp")]
    report = parsed(prior_month_sheets(MARCH.start, sales, pages, language=language), "renamed by its owner.xlsx")
    assert (report.report, report.is_final, report.period) == ("kdp_prior_month", True, MARCH)
    assert set(rows_of(report, "period_start", "period_end", "is_final")) == {(MARCH.start, MARCH.end, True)}
    assert rows_of(report, "kind", "net_units", "pages_read", "royalty", "transaction_type", "row_number") == [
        ("sale", 0, 0, Decimal("0E-8"), "Standard", 3),
        ("sale", 1, 0, Decimal("3.45000000"), "Standard", 5),
        ("pages_read", 0, 10, Decimal("3.00421720"), None, 3),
    ]


@pytest.mark.parametrize("said", ["March 2026", "Mar-26", "marzo de 2026", "3月 2026", "2026年3月", date(2026, 3, 1)])
def test_the_month_is_read_in_every_language_and_as_excel_changes_it(said: Any):
    sheets = prior_month_sheets(MARCH.start, [Sale()])
    for rows in sheets.values():
        rows[0][1] = said
    assert parsed(sheets, "x.xlsx").period == MARCH


def test_an_old_prior_month_has_its_month_in_its_name():
    sheets = {name: rows[1:] for name, rows in prior_month_sheets(MARCH.start, [Sale()], [Pages()]).items()}
    report = parsed({"eBook Royalty": sheets["eBook Royalty"], "KENP Read": sheets["KENP Read"]}, PRIOR_MONTH)
    assert (report.report, report.period, report.rows.num_rows) == ("kdp_prior_month", MARCH, 2)
    sheets.pop("Total Earnings")
    assert "neither a date column nor a 'Sales Period' row" in quarantine(sheets, "report.xlsx")


@pytest.mark.parametrize("total", ["Total Earnings", "Total Royalty", "Combined Royalty Report"])
@pytest.mark.parametrize("with_net", [True, False])
@pytest.mark.parametrize("with_pages", [True, False])
def test_prior_months_of_every_year_are_read(total: str, *, with_net: bool, with_pages: bool):
    """The sheet of totals changed its name, print lacked net units, pages lacked royalties."""
    pages = [Pages(pages=1000, royalty=Decimal("4.52"))]
    sheets = prior_month_sheets(
        MARCH.start,
        [*SALES, *PRINTED],
        pages,
        total_sheet=total,
        with_net_units_of_print=with_net,
        with_page_royalties=with_pages,
    )
    report = parsed(sheets, PRIOR_MONTH)
    assert Counter(rows_of(report, "format", "kind")) == {
        ("ebook", "sale"): 2,
        ("paperback", "sale"): 2,
        ("hardcover", "sale"): 1,
        ("ebook", "pages_read"): 1,
    }
    assert rows_of(report, "sheet", "pages_read", "royalty")[-1] == (
        "KENP Read" if with_pages else total,
        1000,
        Decimal("4.52000000"),
    )
    assert report.problems == []
    assert disagreements(report.totals) == []


def test_total_earnings_alone_is_counted_pages_included():
    pages = [Pages(pages=1000, royalty=Decimal("4.52"))]
    both = prior_month_sheets(MARCH.start, [*SALES, *PRINTED], pages)
    alone = parsed({"Total Earnings": both["Total Earnings"], "KENP Read": both["KENP Read"]}, PRIOR_MONTH)
    assert Counter(rows_of(alone, "kind", "format")) == {
        ("sale", "ebook"): 2,
        ("sale", "paperback"): 2,
        ("sale", "hardcover"): 1,
        ("pages_read", "ebook"): 1,
    }
    assert alone.skipped == []
    whole = parsed(both, PRIOR_MONTH)
    columns = ("edition_id", "royalty_type", "royalty", "pages_read")
    assert Counter(rows_of(alone, *columns)) == Counter(rows_of(whole, *columns))


def test_an_empty_final_month_is_a_real_zero():
    report = parsed(prior_month_sheets(MARCH.start), PRIOR_MONTH)
    assert (report.rows.num_rows, report.period, report.is_final, report.problems) == (0, MARCH, True, [])


def test_months_that_differ_between_sheets_are_refused():
    sheets = prior_month_sheets(MARCH.start, [Sale()])
    sheets["KENP Read"][0][1] = "April 2026"
    assert "different months" in quarantine(sheets, PRIOR_MONTH)


def test_a_sales_period_that_is_no_month_is_refused():
    sheets = prior_month_sheets(MARCH.start, [Sale()])
    sheets["eBook Royalty"][0][1] = "last month"
    assert "the sales period is 'last month'" in quarantine(sheets, PRIOR_MONTH)


def test_a_month_of_the_estimator_spans_the_month():
    """Longer ranges are rolled up to months: `2026-03`."""
    report = parsed(estimate_sheets([Sale()], style=Style(dates="month")), ESTIMATOR)
    assert rows_of(report, "period_start", "period_end") == [(MARCH.start, MARCH.end)]


def test_an_estimate_and_a_final_row_never_share_a_key():
    estimate = parsed(estimate_sheets([Sale()], [Pages()], style=Style(dates="month")), ESTIMATOR)
    final = parsed(prior_month_sheets(MARCH.start, [Sale()], [Pages()]), PRIOR_MONTH)
    assert not set(rows_of(estimate, "natural_key")) & set(rows_of(final, "natural_key"))


DETAIL_LEAVES_EMPTY = ("start", "end", "marketplace", "number", "paid_on", "method", "status")


def test_payments_are_kept_apart_from_royalties():
    payments = [
        Payment(),
        Payment(**dict.fromkeys(DETAIL_LEAVES_EMPTY), detail="Bonus", accrued=5, net=5),
    ]
    report = parsed({"Payments": payment_rows(payments)}, PAYMENTS_NAME)
    assert (report.report, report.rows.num_rows, report.payments.num_rows) == ("kdp_payments", 0, 2)
    first, second = report.payments.to_pylist()
    assert first.pop("natural_key") != second["natural_key"]
    assert first == {
        "platform": "amazon_kdp",
        "payment_id": "123456789",
        "period_start": date(2026, 1, 1),
        "period_end": date(2026, 1, 31),
        "storefront": "Amazon.de",
        "detail": "Royalty",
        "source": "Sales",
        "method": "EFT",
        "currency": "EUR",
        "accrued": Decimal("120.50000000"),
        "tax_withheld": Decimal("-12.05000000"),
        "adjustments": None,
        "net": Decimal("108.45000000"),
        "payout_currency": "USD",
        "fx_rate": Decimal("1.08320000"),
        "payout_amount": Decimal("117.47000000"),
        "status": "Paid",
        "paid_on": date(2026, 3, 29),
        "sheet": "Payments",
        "row_number": 2,
    }
    filled = ("payment_id", "period_start", "period_end", "storefront", "paid_on", "method", "status")
    assert [second[column] for column in filled] == [first[column] for column in filled]


def test_a_payment_keeps_its_key_when_it_gets_its_number():
    """First it is pending and has none; several of one key are told apart by their numbers, in whatever order they come."""

    def keys(*payments: Payment) -> dict[str | None, str]:
        rows = parsed({"Payments": payment_rows(payments)}, PAYMENTS_NAME).payments.to_pylist()
        return {row["payment_id"]: row["natural_key"] for row in rows}

    assert keys(Payment(number=None, status="Pending"))[None] == keys(Payment())["123456789"]
    first, second = Payment(number="9"), Payment(number="10")
    assert keys(first, second) == keys(second, first)
    assert len(set(keys(first, second).values())) == 2


def test_pages_without_earnings_get_them_from_total_earnings_or_stay_without():
    """Also where KENP Read is missing; where it says less than Total Earnings, that is told."""
    pages = [Pages(pages=1000, royalty=Decimal("4.52"))]
    sheets = prior_month_sheets(MARCH.start, [Sale()], pages, with_page_royalties=False)
    report = parsed({name: rows for name, rows in sheets.items() if name != "KENP Read"}, PRIOR_MONTH)
    assert rows_of(report, "kind", "royalty") == [("sale", Decimal("3.45")), ("pages_read", Decimal("4.52"))]
    sheets["KENP Read"][2][4] = 999
    assert ("pages_read", Decimal(999), Decimal(1000)) in disagreements(parsed(sheets, PRIOR_MONTH).totals)
    del sheets["Total Earnings"]
    assert rows_of(parsed(sheets, PRIOR_MONTH), "royalty") == [Decimal("3.45"), None]


def test_a_sheet_that_only_repeats_others_is_no_reason_to_refuse():
    """It is told. Where it alone says what pages earned, or what was sold, the file is refused."""
    pages = [Pages(pages=1000, royalty=Decimal("4.52"))]
    sheets = prior_month_sheets(MARCH.start, [Sale()], pages)
    sheets["Total Earnings"][2][8] = "Plan B"
    report = parsed(sheets, PRIOR_MONTH)
    assert rows_of(report, "royalty") == [Decimal("3.45"), Decimal("4.52")]
    assert any("not read" in it.reason and "'Plan B'" in it.reason for it in report.skipped)
    assert "'Plan B'" in quarantine({"Total Earnings": sheets["Total Earnings"]}, PRIOR_MONTH)
    sheets["KENP Read"] = prior_month_sheets(MARCH.start, [], pages, with_page_royalties=False)["KENP Read"]
    assert "'Plan B'" in quarantine(sheets, PRIOR_MONTH)


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.code)
def test_a_report_says_what_it_holds_sheets_of(language: Language):
    """Sheets without rows too: a final report of e-books says nothing of paperbacks."""
    parts = set(parsed(prior_month_sheets(MARCH.start, language=language), PRIOR_MONTH).parts)
    assert {"ebook", "pages"} <= parts
    assert ("kdp_total_earnings" in parts) == (language.code == "en")
    estimate = set(parsed(estimate_sheets(language=language), ESTIMATOR).parts)
    assert {"ebook", "paperback", "pages", "free"} <= estimate


@pytest.mark.parametrize("blank_column", [True, False])
@pytest.mark.parametrize("dates", ["text", "datetime", "serial"])
def test_older_payments_have_adjustments_and_may_begin_with_an_empty_column(dates: str, *, blank_column: bool):
    rows = payment_rows(
        [Payment(adjustments=Decimal("-1.50"))],
        with_adjustments=True,
        blank_column=blank_column,
        style=Style(dates=dates),
    )
    [payment] = parsed({"Payments": rows}, "renamed.xlsx").payments.to_pylist()
    assert (payment["adjustments"], payment["currency"], payment["payout_currency"], payment["paid_on"]) == (
        Decimal("-1.50000000"),
        "EUR",
        "USD",
        date(2026, 3, 29),
    )
