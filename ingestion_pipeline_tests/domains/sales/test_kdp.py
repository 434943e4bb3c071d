"""KDP's reports as rows of the ledger: every language and way of writing, and what is not counted twice."""

import io
from collections import Counter
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from ingestion_pipeline.domains.sales.contracts import (
    SALES_EVENTS,
    Period,
    RowProblem,
)
from ingestion_pipeline.domains.sales.kdp import parse
from ingestion_pipeline.domains.sales.kdp_totals import disagreements
from ingestion_pipeline_tests.domains.sales import kdp_damaged as damaged
from ingestion_pipeline_tests.domains.sales.kdp_languages import ENGLISH, LANGUAGES, Language
from ingestion_pipeline_tests.domains.sales.kdp_parsed import (
    DASHBOARD,
    ESTIMATOR,
    KENP,
    ORDERS,
    PRINTED,
    SALES,
    parsed,
    quarantine,
    rows_of,
)
from ingestion_pipeline_tests.domains.sales.kdp_reports import (
    Order,
    Pages,
    Sale,
    Style,
    delimited,
    estimate_sheets,
    kenp_rows,
    kenp_with_audiobooks_rows,
    paperback,
)


def test_a_row_of_the_dashboard_has_every_column_of_the_ledger():
    report = parsed(estimate_sheets([paperback(sold=2, royalty=Decimal("8.28"))]))
    [row] = report.rows.to_pylist()
    assert row.pop("natural_key").isalnum()
    assert row == {
        "platform": "amazon_kdp",
        "storefront": "Amazon.com",
        "country": "US",
        "title_id": "B0PPPPPPP1",
        "edition_id": "9781980000001",
        "title": "The Lighthouse",
        "author": "Ada Writer",
        "format": "paperback",
        "kind": "sale",
        "transaction_type": "Standard - Paperback",
        "royalty_type": "60%",
        "units_sold": 2,
        "units_refunded": 0,
        "net_units": 2,
        "pages_read": 0,
        "list_price": Decimal("12.99000000"),
        "offer_price": Decimal("12.99000000"),
        "currency": "USD",
        "royalty": Decimal("8.28000000"),
        "reported_usd": None,
        "period_start": date(2026, 3, 1),
        "period_end": date(2026, 3, 1),
        "is_final": False,
        "source_report": "kdp_dashboard",
        "sheet": "Paperback Royalty",
        "row_number": 2,
    }


@pytest.mark.parametrize(
    ("name", "report"),
    [(DASHBOARD, "kdp_dashboard"), (ESTIMATOR, "kdp_estimator"), (ORDERS, "kdp_orders")],
)
def test_the_three_estimates_differ_in_their_name_only(name: str, report: str):
    """A sale has the same key in all of them, so that it is counted once."""
    sheets = estimate_sheets([*SALES, *PRINTED], [Pages()], [Order(free=4)])
    one = parsed(sheets, name)
    assert one.report == report
    assert one.is_final is False
    assert rows_of(one, "natural_key") == rows_of(parsed(sheets, DASHBOARD), "natural_key")


def test_what_combined_sales_and_orders_repeat_is_counted_once():
    """FORMATS E1.5, rules 1 and 2."""
    orders = [Order(paid=5, free=4), Order(day=date(2026, 3, 2), paid=1)]
    report = parsed(estimate_sheets([*SALES, *PRINTED], [Pages()], orders, summary=True))
    assert Counter(rows_of(report, "sheet", "kind")) == {
        ("eBook Royalty", "sale"): 3,
        ("eBook Royalty", "refund"): 1,
        ("Paperback Royalty", "sale"): 2,
        ("Hardcover Royalty", "sale"): 1,
        ("KENP Read", "pages_read"): 1,
        ("Orders Processed", "free"): 1,
    }
    reasons = {skipped.sheet: skipped.reason for skipped in report.skipped}
    assert "explains the columns" in reasons["Report Definitions"]
    assert "states totals" in reasons["Summary"]
    assert "repeats the rows of eBook Royalty, Paperback Royalty, Hardcover Royalty" in reasons["Combined Sales"]
    assert "paid units" in reasons["Orders Processed"]
    assert "Orders Processed" in reasons["eBook Orders Placed"]
    assert report.problems == []


def test_combined_sales_alone_is_counted_with_formats_from_the_transaction_type():
    combined = estimate_sheets([*SALES, *PRINTED])["Combined Sales"]
    report = parsed({"Combined Sales": combined})
    assert Counter(rows_of(report, "format")) == {"ebook": 4, "paperback": 2, "hardcover": 1}
    assert set(rows_of(report, "source_report")) == {"kdp_combined_sales"}
    by_format = parsed(estimate_sheets([*SALES, *PRINTED]))
    assert not set(rows_of(by_format, "natural_key")) & set(rows_of(report, "natural_key"))


def test_combined_sales_is_counted_for_formats_without_a_sheet_of_their_own():
    sheets = estimate_sheets([*SALES, *PRINTED])
    del sheets["Paperback Royalty"]
    report = parsed(sheets)
    assert Counter(rows_of(report, "format", "sheet")) == {
        ("ebook", "eBook Royalty"): 4,
        ("paperback", "Combined Sales"): 2,
        ("hardcover", "Hardcover Royalty"): 1,
    }


@pytest.mark.parametrize("header", ["Transaction Type", "Net Units Sold", "Order Date", "Avg. Offer Price without tax"])
def test_a_header_that_kdp_renames_is_no_column_that_a_person_added(header: str):
    """Without it keys would be others, or formats wrong: refused with the nearest known."""
    rows = estimate_sheets([paperback()])["Paperback Royalty"]
    rows[0] = [name.replace(header, f"{header}s") for name in rows[0]]
    assert f"nearest known: {header}" in quarantine({"Paperback Royalty": rows})


def test_an_unknown_transaction_type_is_refused_with_the_nearest():
    """It could be a kind of sale that is counted otherwise, and would be another row in another language."""
    message = quarantine({"eBook Royalty": estimate_sheets([Sale(transaction="Kindle Countdwn")])["eBook Royalty"]})
    assert "unknown Transaction Type 'Kindle Countdwn' (nearest known: Kindle Countdown" in message


def test_a_file_of_which_nearly_no_row_can_be_read_is_refused():
    rows = estimate_sheets([Sale(royalty="$3.45")] * 1001)["eBook Royalty"]
    message = quarantine({"eBook Royalty": rows})
    assert "more than 1,000 rows of sheet 'eBook Royalty' cannot be read" in message
    assert "row 2: Royalty is '$3.45', expected a number" in message


def test_the_columns_of_a_sheet_say_what_marks_decimals():
    """English headers, written by a German Excel: a price of three decimals is not thousands."""
    rows = estimate_sheets([Sale(royalty="3,45", list_price="2,415", offer_price="2,415", cost="0,06")])
    rows["eBook Royalty"][1][12] = "1,46"
    report = parse(io.BytesIO(delimited(rows["eBook Royalty"], delimiter=";")), "x.csv")
    assert rows_of(report, "royalty", "list_price") == [(Decimal("3.45"), Decimal("2.415"))]
    rows["eBook Royalty"][1][12] = "1.46"
    [problem] = parse(io.BytesIO(delimited(rows["eBook Royalty"], delimiter=";")), "x.csv").problems
    assert (problem.column, problem.seen) == ("Avg. List Price without tax", "2,415")


def test_the_period_is_of_every_row_that_has_a_day():
    """Of a day on which nothing but paid copies was ordered as well: it is covered."""
    report = parsed(estimate_sheets([Sale()], orders=[Order(day=date(2026, 3, 30), paid=1)]))
    assert report.period == Period(start=date(2026, 3, 1), end=date(2026, 3, 30))


def test_free_copies_come_from_the_orders_sheet_only():
    """Rows of free copies in a royalty sheet are left out, and the report says how many."""
    free = Sale(transaction="Free - Promotion", sold=40, royalty=Decimal(0))
    report = parsed(estimate_sheets([Sale(), free], orders=[Order(paid=1, free=40)]))
    assert rows_of(report, "kind", "units_sold", "net_units", "royalty") == [
        ("sale", 1, 1, Decimal("3.45000000")),
        ("free", 40, 40, Decimal(0)),
    ]
    assert any("1 rows of free copies (40 units)" in skipped.reason for skipped in report.skipped)


def test_orders_placed_give_the_free_copies_where_there_is_no_other_orders_sheet():
    sheets = estimate_sheets([], orders=[Order(free=4)])
    del sheets["Orders Processed"]
    assert rows_of(parsed(sheets), "sheet", "net_units") == [("eBook Orders Placed", 4)]


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.code)
@pytest.mark.parametrize(("dates", "numbers"), [("text", "comma"), ("datetime", "number"), ("serial", "point")])
def test_every_language_and_way_of_writing_gives_the_same_rows(language: Language, dates: str, numbers: str):
    sales = [*SALES, paperback()]
    style = Style(dates=dates, numbers=numbers)
    sheets = estimate_sheets(sales, [Pages()], [Order(free=2)], language=language, style=style, summary=True)
    columns = [name for name in SALES_EVENTS.names if name != "sheet"]
    english = parsed(estimate_sheets(sales, [Pages()], [Order(free=2)]))
    assert rows_of(parsed(sheets), *columns) == rows_of(english, *columns)


@pytest.mark.parametrize(
    "rows",
    [
        kenp_rows([Pages(), Pages(marketplace="Amazon.in")]),
        kenp_with_audiobooks_rows([Pages(), Pages(marketplace="Amazon.in")]),
    ],
)
def test_pages_have_no_money_but_the_currency_of_their_marketplace(rows: Any):
    report = parsed({"KENP": rows} if "eBook ASIN" in rows[0] else {"KENP Read": rows}, KENP)
    assert report.report == "kdp_kenp"
    assert rows_of(report, "kind", "pages_read", "net_units", "royalty", "currency", "title_id") == [
        ("pages_read", 250, 0, None, "USD", "B0AAAAAAA1"),
        ("pages_read", 250, 0, None, "INR", "B0AAAAAAA1"),
    ]


def test_pages_are_counted_once_where_two_sheets_hold_them():
    report = parsed({"KENP Read": kenp_rows([Pages()]), "KENP": kenp_with_audiobooks_rows([Pages()])}, KENP)
    assert report.rows.num_rows == 1
    assert [skipped.sheet for skipped in report.skipped] == ["KENP"]


def test_columns_that_a_person_added_are_ignored_and_named():
    rows = [[*row, extra] for row, extra in zip(kenp_with_audiobooks_rows([Pages()]), ["KENP PAID", 1.13], strict=True)]
    report = parsed({"KENP": rows}, KENP)
    assert report.ignored_columns == {"KENP": ("KENP PAID",)}
    assert [it.reason for it in report.left_out] == ["the column 'KENP PAID' is not known: ignored"]
    assert report.rows.num_rows == 1


def test_empty_rows_are_no_rows_and_do_not_shift_the_numbers():
    rows = estimate_sheets([Sale(), Sale(day=date(2026, 3, 2))])["eBook Royalty"]
    rows.insert(2, [None] * 16)
    rows.append(["  "])
    assert rows_of(parsed({"eBook Royalty": rows}), "row_number") == [2, 4]


def test_a_row_that_cannot_be_read_is_set_aside_with_its_place():
    sales = [
        Sale(),
        Sale(royalty="lots"),
        Sale(royalty="N/A"),
        Sale(sold="1.5"),
        Sale(currency=""),
        Sale(title=""),
        Sale(asin="9.78198E+12"),
        Sale(day=date(2026, 3, 9)),
    ]
    prices = [4.99, 4.99, 1, 0.1]
    rows = estimate_sheets([])["eBook Royalty"]
    for sale in sales:
        book = [sale.title, sale.author, sale.asin, sale.marketplace]
        rows.append(["2026-03-01", *book, "70%", "Standard", sale.sold, 0, None, *prices, sale.royalty, sale.currency])
    rows[-1][0] = "01/03/2026"
    rows.append([*rows[1][:7], 2, 1, 2, *rows[1][10:]])
    rows.append([*rows[1][:7], -2, 1, None, *rows[1][10:]])
    report = parsed({"eBook Royalty": rows})
    assert rows_of(report, "row_number") == [2]
    assert [problem.row_number for problem in report.problems] == list(range(3, 12))
    by_row = {problem.row_number: problem for problem in report.problems}
    assert by_row[3] == RowProblem(
        sheet="eBook Royalty", row_number=3, column="Royalty", seen="lots", expected="a number"
    )
    assert {row: (problem.column, problem.seen) for row, problem in by_row.items()} == {
        3: ("Royalty", "lots"),
        4: ("Royalty", "N/A"),
        5: ("Units Sold", "1.5"),
        6: ("Currency", ""),
        7: ("Title", ""),
        8: ("ASIN", "9.78198E+12"),
        9: ("Royalty Date", "01/03/2026"),
        10: ("Net Units Sold", "2"),
        11: ("Units Sold", "-2"),
    }


def test_a_formula_is_no_amount():
    """The royalty of an edited file: without a stored value the row is set aside."""
    report = parse(io.BytesIO(damaged.with_formulas("O2", "1+1", None)), DASHBOARD)
    assert report.rows.num_rows == 0
    assert [(problem.row_number, problem.column) for problem in report.problems] == [(2, "Royalty")]


def test_money_without_units_is_an_adjustment():
    report = parsed(estimate_sheets([Sale(sold=0, royalty=Decimal("-0.12"))]))
    assert rows_of(report, "kind", "net_units", "royalty") == [("adjustment", 0, Decimal("-0.12000000"))]


def test_rows_of_one_natural_key_are_one_row():
    """KDP may write sale and refund of a day as two rows, and another day as one: it is the same row of the ledger."""
    two = [Sale(sold=2, royalty=Decimal("6.90")), Sale(sold=0, refunded=1, royalty=Decimal("-3.45"), list_price=None)]
    one = [Sale(sold=2, refunded=1, royalty=Decimal("3.45"))]
    columns = (
        "natural_key",
        "kind",
        "units_sold",
        "units_refunded",
        "net_units",
        "royalty",
        "offer_price",
        "row_number",
    )
    assert rows_of(parsed(estimate_sheets(two)), *columns) == rows_of(parsed(estimate_sheets(one)), *columns)
    refund = Sale(sold=0, refunded=1, royalty=Decimal("-3.45"), offer_price=Decimal("1.99"))
    [row] = parsed(estimate_sheets([refund, refund, Sale(day=date(2026, 3, 9))])).rows.to_pylist()[:1]
    assert (row["kind"], row["net_units"], row["royalty"]) == ("refund", -2, Decimal("-6.90"))
    assert rows_of(parsed(estimate_sheets([Sale(), refund])), "offer_price") == [None]


def test_the_key_knows_no_amount():
    """A later export with other units and money meets the same row."""
    assert rows_of(parsed(estimate_sheets([Sale()])), "natural_key") == rows_of(
        parsed(estimate_sheets([Sale(sold=7, royalty=Decimal("24.15"), list_price=Decimal("5.99"))])), "natural_key"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"day": date(2026, 3, 2)},
        {"asin": "B0AAAAAAA2"},
        {"marketplace": "Amazon.ca"},
        {"royalty_type": "35%"},
        {"transaction": "Kindle Countdown Deals"},
        {"currency": "CAD"},
    ],
)
def test_the_key_knows_every_part_of_the_natural_key(change: dict[str, Any]):
    assert rows_of(parsed(estimate_sheets([Sale()])), "natural_key") != rows_of(
        parsed(estimate_sheets([replace(Sale(), **change)])), "natural_key"
    )


def test_the_order_date_is_part_of_the_key_of_print():
    sheets = estimate_sheets([paperback(), paperback(order_day=date(2026, 2, 26))])
    one = parsed(sheets)
    sheets["Paperback Royalty"][1:] = reversed(sheets["Paperback Royalty"][1:])
    assert set(rows_of(one, "natural_key")) == set(rows_of(parsed(sheets), "natural_key"))


def test_totals_of_the_workbook_are_kept_beside_those_of_the_rows():
    orders = [Order(free=4)]
    report = parsed(estimate_sheets([*SALES, *PRINTED], [], orders, summary=True))
    assert report.totals["stated"]["royalty_with_pages USD"] == Decimal("15.87")
    assert report.totals["stated"]["net_units ebook"] == Decimal(2)
    assert report.totals["parsed"]["net_units paperback"] == Decimal(2)
    assert report.totals["stated"]["free_units"] == Decimal(4)
    assert disagreements(report.totals) == []


def test_a_total_that_disagrees_is_found():
    sheets = estimate_sheets([Sale(), Sale(day=date(2026, 3, 2))], summary=True)
    del sheets["eBook Royalty"][2]
    found = {quantity: (stated, read) for quantity, stated, read in disagreements(parsed(sheets).totals)}
    assert found["net_units ebook"] == (Decimal(2), Decimal(1))
    assert found["royalty USD"] == (Decimal("6.90"), Decimal("3.45"))
    assert "royalty_with_pages USD" in found


def test_numbers_become_exact_decimals():
    """Excel keeps 13.77 as 13.7699…; what a person sees is what is stored."""
    report = parsed(estimate_sheets([Sale(royalty=13.770000000000001, list_price="1,299.00", offer_price=0.1 + 0.2)]))
    assert rows_of(report, "royalty", "list_price", "offer_price") == [
        (Decimal("13.77000000"), Decimal("1299.00000000"), Decimal("0.30000000"))
    ]


def test_a_title_that_is_a_number_is_a_text():
    assert rows_of(parsed(estimate_sheets([Sale(title=1984)])), "title") == ["1984"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "isbn", ["9781980000001", "978-1-980000-00-1", "'9781980000001", 9781980000001, 9781980000001.0]
)
def test_an_isbn_is_the_same_as_text_and_as_number(isbn: Any):
    assert rows_of(parsed(estimate_sheets([paperback(isbn=isbn)])), "edition_id") == ["9781980000001"]


@pytest.mark.parametrize("royalty_type", ["70%", "70 %", 0.7, "0,7", 70, "70.0%", "70,0%"])
def test_a_royalty_type_is_the_same_as_text_and_as_percentage(royalty_type: Any):
    assert rows_of(parsed(estimate_sheets([Sale(royalty_type=royalty_type)])), "royalty_type") == ["70%"]


def test_an_unknown_marketplace_is_kept_as_it_is():
    assert rows_of(parsed(estimate_sheets([Sale(marketplace="Amazon.moon")])), "storefront", "country") == [
        ("Amazon.moon", None)
    ]


def test_reading_twice_gives_the_same():
    sheets = estimate_sheets([*SALES, *PRINTED], [Pages()], [Order(free=1)], language=ENGLISH, summary=True)
    assert parsed(sheets).rows.equals(parsed(sheets).rows)
