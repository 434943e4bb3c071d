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
        ("sale", 1, 0, Decimal("3.45000000"), "Standard", 3),
        ("refund", -1, 0, Decimal("-3.45000000"), "Standard", 4),
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
        ("ebook", "sale"): 3,
        ("ebook", "refund"): 1,
        ("paperback", "sale"): 2,
        ("hardcover", "sale"): 1,
        ("ebook", "pages_read"): 1,
    }
    assert rows_of(report, "royalty")[-1] == (Decimal("4.52000000") if with_pages else None)
    assert report.problems == []
    expected = [] if with_pages else [("pages_royalty USD", Decimal("4.52"), Decimal(0))]
    assert disagreements(report.totals) == expected


def test_total_earnings_alone_is_counted_pages_included():
    pages = [Pages(pages=1000, royalty=Decimal("4.52"))]
    both = prior_month_sheets(MARCH.start, [*SALES, *PRINTED], pages)
    alone = parsed({"Total Earnings": both["Total Earnings"], "KENP Read": both["KENP Read"]}, PRIOR_MONTH)
    assert Counter(rows_of(alone, "kind", "format")) == {
        ("sale", "ebook"): 3,
        ("refund", "ebook"): 1,
        ("sale", "paperback"): 2,
        ("sale", "hardcover"): 1,
        ("pages_read", "ebook"): 1,
    }
    assert [skipped.sheet for skipped in alone.skipped] == ["KENP Read"]
    whole = parsed(both, PRIOR_MONTH)
    assert sorted(rows_of(alone, "natural_key", "royalty")) == sorted(rows_of(whole, "natural_key", "royalty"))


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


def test_payments_are_kept_apart_from_royalties():
    payments = [
        Payment(),
        Payment(start=None, end=None, marketplace=None, number=None, detail="Bonus", accrued=5, net=5),
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
    filled = ("payment_id", "period_start", "period_end", "storefront")
    assert [second[column] for column in filled] == [first[column] for column in filled]


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
