"""All reports that KDP gives of one month, stored in every order: one ledger, and exactly what was sold.

The reports say the same with other words, days and sheets: Combined Sales knows no order date and may hold the ASIN of a
printed book, Total Earnings has payout plans for transaction types, an order is placed a day before it is processed, an
older export ends in the middle of the month, with less on its last day, and one of more than a month has no days.
"""

import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingestion_pipeline.domains.sales.contracts import ParsedReport
from ingestion_pipeline.domains.sales.kdp import parse
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.sales.kdp_languages import SPANISH
from ingestion_pipeline_tests.domains.sales.kdp_parsed import DASHBOARD, ESTIMATOR, KENP, ORDERS, PRIOR_MONTH
from ingestion_pipeline_tests.domains.sales.kdp_reports import (
    Order,
    Pages,
    Sale,
    Style,
    delimited,
    estimate_sheets,
    hardcover,
    kenp_rows,
    paperback,
    prior_month_sheets,
    workbook,
)
from ingestion_pipeline_tests.domains.sales.ledgers import ledger, query, report_file, store

MARCH = date(2026, 3, 1)
COUNTDOWN = "Kindle Countdown Deals"
SALES = (
    Sale(day=MARCH),
    Sale(day=date(2026, 3, 9), transaction=COUNTDOWN, royalty=Decimal("1.38")),
    Sale(day=date(2026, 3, 10), sold=4, royalty=Decimal("13.80")),
    Sale(day=date(2026, 3, 10), sold=0, refunded=1, royalty=Decimal("-3.45")),
    Sale(day=date(2026, 3, 10), marketplace="Amazon.de", currency="EUR", royalty_type="35%", royalty=Decimal("0.86")),
    Sale(day=date(2026, 3, 31), sold=2, royalty=Decimal("6.90")),
    paperback(day=date(2026, 3, 10)),
    paperback(day=date(2026, 3, 10), order_day=date(2026, 3, 2), sold=2, royalty=Decimal("8.28")),
    paperback(day=date(2026, 3, 20), transaction="Expanded Distribution Channels", royalty_type="40%"),
    hardcover(day=date(2026, 3, 21), royalty=Decimal("5.05")),
)
PAGES = (
    Pages(day=date(2026, 3, 3), pages=700, royalty=Decimal("3.16")),
    Pages(day=date(2026, 3, 30), pages=300, royalty=Decimal("1.36")),
    Pages(day=date(2026, 3, 30), marketplace="Amazon.de", currency="EUR", pages=50, royalty=Decimal("0.15")),
)
PROCESSED = tuple(Order(day=date(2026, 3, day), free=free) for day, free in ((5, 40), (6, 500), (24, 7)))
PLACED = tuple(replace(order, day=order.day - timedelta(days=1)) for order in PROCESSED)
# since the estimates, one e-book came back
FINAL = (*SALES, Sale(day=date(2026, 3, 31), sold=0, refunded=1, royalty=Decimal("-3.45")))

ESTIMATED = {
    ("sale", "ebook", "EUR"): (1, Decimal("0.86")),
    ("sale", "ebook", "USD"): (7, Decimal("22.08")),
    ("sale", "hardcover", "USD"): (1, Decimal("5.05")),
    ("sale", "paperback", "USD"): (4, Decimal("16.56")),
    ("free", "ebook", "USD"): (547, Decimal(0)),
    ("pages", "ebook", "EUR"): (50, None),
    ("pages", "ebook", "USD"): (1000, None),
}
FINALLY = {
    **ESTIMATED,
    ("sale", "ebook", "USD"): (6, Decimal("18.63")),
    ("pages", "ebook", "EUR"): (50, Decimal("0.15")),
    ("pages", "ebook", "USD"): (1000, Decimal("4.52")),
}
_COUNTED = """
select
    case kind when 'free' then 'free' when 'pages_read' then 'pages' else 'sale' end, format, currency,
    sum(net_units + pages_read)::int, sum(royalty)
from sales.sales_events where superseded_by is null group by 1, 2, 3
"""
Report = tuple[str, int, ParsedReport]


def read(data: bytes, name: str) -> ParsedReport:
    report = parse(io.BytesIO(data), name)
    assert report.problems == []
    return report


def until(day: date, sales: Sequence[Any]) -> list[Any]:
    return [it for it in sales if it.day <= day]


@cache
def estimates() -> tuple[Report, ...]:
    """(label, days after the first of April of the export, report)"""
    whole = estimate_sheets(SALES, PAGES, PROCESSED, summary=True)
    whole["eBook Orders Placed"] = estimate_sheets(orders=PLACED)["eBook Orders Placed"]
    tenth = date(2026, 3, 10)
    first = [replace(it, sold=1, royalty=Decimal("3.45")) if it.sold == 4 else it for it in until(tenth, SALES)]
    early = estimate_sheets(first, until(tenth, PAGES), until(tenth, PROCESSED), language=SPANISH)
    middle = [it for it in SALES if date(2026, 3, 9) <= it.day <= date(2026, 3, 20)]
    combined = estimate_sheets(SALES)["Combined Sales"]
    combined[7][3] = "B0PPPPPPP1"
    rolled = estimate_sheets(SALES, PAGES, PROCESSED, style=Style(dates="month"))
    del rolled["eBook Orders Placed"]
    return (
        ("early", -21, read(workbook(early), DASHBOARD)),
        ("middle", -11, read(workbook({"Combined Sales": estimate_sheets(middle)["Combined Sales"]}), ESTIMATOR)),
        ("whole", 1, read(workbook(whole), DASHBOARD)),
        ("combined", 2, read(delimited(combined), "Combined Sales.csv")),
        ("rolled", 3, read(workbook(rolled), ESTIMATOR)),
        ("orders", 4, read(workbook(estimate_sheets(orders=PROCESSED)), ORDERS)),
        ("placed", 5, read(delimited(whole["eBook Orders Placed"]), "KDP eBook Orders Placed.csv")),
        ("pages", 2, read(workbook({"KENP Read": kenp_rows(PAGES)}), KENP)),
        ("print", 6, read(delimited(whole["Paperback Royalty"]), "Paperback Royalty.csv")),
    )


@cache
def finals() -> tuple[Report, ...]:
    sheets = prior_month_sheets(MARCH, FINAL, PAGES, with_page_royalties=False)
    gone = prior_month_sheets(MARCH, [*FINAL, Sale(asin="B0GONE0001")], PAGES, with_page_royalties=False)
    csv = PRIOR_MONTH.replace("xlsx", "csv")
    return (
        ("month", 16, read(workbook(sheets), PRIOR_MONTH)),
        ("month before a correction", 15, read(workbook(gone), PRIOR_MONTH)),
        ("totals", 17, read(delimited(sheets["Total Earnings"]), f"Total Earnings {csv}")),
        ("e-books", 18, read(delimited(sheets["eBook Royalty"]), f"eBook Royalty {csv}")),
        ("final pages", 19, read(delimited(sheets["KENP Read"]), f"KENP Read {csv}")),
    )


def put(postgres: Postgres, reports: Sequence[Report]) -> None:
    for label, days, report in reports:
        store(postgres, report, report_file(label, days=days))


def counted(postgres: Postgres) -> dict[tuple[str, ...], tuple[int, Decimal | None]]:
    return {tuple(row[:3]): (row[3], row[4]) for row in query(postgres, _COUNTED)}


def clear(postgres: Postgres) -> None:
    for table in ("sales_events", "report_files", "ledger_months"):
        postgres.execute(f"delete from sales.{table}")


def in_every_order(postgres: Postgres, reports: Sequence[Report], expected: dict[tuple[str, ...], Any]) -> None:
    clear(postgres)
    put(postgres, sorted(reports, key=lambda report: report[1]))
    in_order = ledger(postgres)
    clear(postgres)
    put(postgres, reports)
    assert counted(postgres) == expected
    assert ledger(postgres) == in_order


LAW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@LAW
@given(order=st.permutations(range(9)))
@example(order=list(range(9)))
@example(order=list(reversed(range(9))))
def test_estimates_of_a_month_count_once_in_every_order(postgres: Postgres, order: list[int]):
    in_every_order(postgres, [estimates()[place] for place in order], ESTIMATED)


@LAW
@given(order=st.permutations(range(14)))
@example(order=list(range(14)))
@example(order=list(reversed(range(14))))
def test_a_month_with_its_finals_counts_once_in_every_order(postgres: Postgres, order: list[int]):
    reports = [*estimates(), *finals()]
    in_every_order(postgres, [reports[place] for place in order], FINALLY)


@pytest.mark.parametrize("label", ["whole", "combined", "rolled"])
def test_one_report_says_all_sales_of_the_month(postgres: Postgres, label: str):
    put(postgres, [it for it in estimates() if it[0] == label])
    sold = {key: value for key, value in ESTIMATED.items() if key[0] == "sale"}
    assert {key: value for key, value in counted(postgres).items() if key[0] == "sale"} == sold


@pytest.mark.parametrize("label", ["month", "totals"])
def test_one_final_report_says_all_of_the_month(postgres: Postgres, label: str):
    put(postgres, [*estimates(), *(it for it in finals() if it[0] == label)])
    assert counted(postgres) == FINALLY


def test_a_final_month_without_a_sheet_says_nothing_of_it(postgres: Postgres):
    """A workbook with the e-books only leaves pages and print as they were estimated; an empty sheet is a real zero."""
    sheets = prior_month_sheets(MARCH)
    put(
        postgres, [*estimates(), ("empty", 20, read(workbook({"eBook Royalty": sheets["eBook Royalty"]}), PRIOR_MONTH))]
    )
    assert counted(postgres) == {key: it for key, it in ESTIMATED.items() if key[1] != "ebook" or key[0] != "sale"}
    del sheets["Total Earnings"]
    put(postgres, [("emptier", 21, read(workbook(sheets), PRIOR_MONTH))])
    assert set(counted(postgres)) == {("free", "ebook", "USD")}


def test_orders_placed_count_on_days_without_orders_processed(postgres: Postgres):
    """A week's Orders Processed takes nothing away from the other days."""
    first = [Order(day=date(2026, 3, 3), paid=1), *PROCESSED[:2]]
    week = read(workbook(estimate_sheets(orders=first)), ORDERS)
    put(postgres, [("placed", 0, next(it for label, _, it in estimates() if label == "placed")), ("week", 1, week)])
    assert counted(postgres) == {("free", "ebook", "USD"): (547, Decimal(0))}
