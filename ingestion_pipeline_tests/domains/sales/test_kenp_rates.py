"""Pages become money by the rate of their month and marketplace, or stay without."""

import io
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.domains.sales.kdp import parse
from ingestion_pipeline.domains.sales.kenp_rates import KenpRate, KenpRates, kenp_rates, store_kenp_rates
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.sales.kdp_reports import (
    Pages,
    Sale,
    estimate_sheets,
    prior_month_sheets,
    workbook,
)
from ingestion_pipeline_tests.domains.sales.ledgers import query, report_file, store

HEADER = "month,marketplace,rate,currency\n"
SEPTEMBER = date(2025, 9, 1)


def rates_file(folder: Path, text: str) -> Path:
    path = folder / "rates.csv"
    path.write_text(text, encoding="utf-8-sig")
    return path


def test_the_rates_of_the_package_are_dated_and_per_marketplace():
    assert kenp_rates()["amazon.com", SEPTEMBER] == KenpRate(Decimal("0.004521"), "USD")


def test_a_file_of_ones_own_adds_and_wins(tmp_path: Path):
    own = rates_file(tmp_path, HEADER + "2025-09,Amazon.com,0.0046,USD\n2026-03,Amazon.de,0.0031,EUR\n")
    rates = kenp_rates(own)
    assert rates["amazon.com", SEPTEMBER].rate == Decimal("0.0046")
    assert rates["amazon.de", date(2026, 3, 1)] == KenpRate(Decimal("0.0031"), "EUR")
    assert rates["amazon.com", date(2025, 10, 1)].rate == Decimal("0.005007")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("soon,Amazon.com,0.0046,USD", "line 2: month"),
        ("2025-09,Amazon.com,much,USD", "line 2: rate"),
        ("2025-09,Amazon.com,NaN,USD", "line 2: rate"),
        ("2025-09,Amazon.com,-1,USD", "line 2: rate"),
        ("2025-09,Amazon.com,0.0046,EURO", "line 2: currency"),
        ("2025-09,Amazon.com", "line 2: currency"),
    ],
)
def test_a_row_that_is_no_rate_is_named(tmp_path: Path, row: str, says: str):
    with pytest.raises(ContractError, match=says):
        kenp_rates(rates_file(tmp_path, HEADER + row + "\n"))


def test_a_file_without_its_columns_is_refused(tmp_path: Path):
    with pytest.raises(ContractError, match="the column 'rate'"):
        kenp_rates(rates_file(tmp_path, "month,marketplace\n"))


ESTIMATES = (
    "select period_start, country, royalty, estimated_royalty, royalty_usd from sales.sales_events "
    "where kind = 'pages_read' order by 1, 2"
)


def stored(postgres: Postgres, rates: KenpRates) -> int:
    with postgres.transaction() as connection:
        return store_kenp_rates(connection, rates)


def test_pages_are_worth_the_rate_of_their_month_whenever_it_comes(postgres: Postgres):
    """No rate, or one in another currency, and the row stays without; a report that comes again changes nothing."""
    pages = [
        Pages(day=date(2025, 9, 30), pages=1000),
        Pages(day=date(2025, 10, 1), pages=1000),
        Pages(day=SEPTEMBER, marketplace="Amazon.de"),
    ]
    report = parse(io.BytesIO(workbook(estimate_sheets([Sale(day=SEPTEMBER)], pages))), "x.xlsx")
    rates = {**kenp_rates(), ("amazon.de", SEPTEMBER): KenpRate(Decimal("0.004"), "USD")}
    expected = [
        (SEPTEMBER, "DE", None, None, None),
        (date(2025, 9, 30), "US", None, Decimal("4.521"), Decimal("4.521")),
        (date(2025, 10, 1), "US", None, Decimal("5.007"), Decimal("5.007")),
    ]
    assert stored(postgres, {("amazon.com", SEPTEMBER): rates["amazon.com", SEPTEMBER]}) == 0
    store(postgres, report, "pages")
    assert query(postgres, ESTIMATES)[:2] == expected[:2]
    query(postgres, "select sales.build_daily(10)")
    assert stored(postgres, rates) == 1
    assert query(postgres, ESTIMATES) == expected
    assert stored(postgres, rates) == 0
    assert store(postgres, report, report_file("again", days=1)).updated == 0
    assert query(postgres, ESTIMATES) == expected
    query(postgres, "select sales.build_daily(10)")
    sums = "select royalty, royalty_usd from sales.sales_daily where pages_read > 0 and country = 'US' order by day"
    assert query(postgres, sums) == [(Decimal("4.521"),) * 2, (Decimal("5.007"),) * 2]
    assert postgres.read("sales_daily_differences") == []


def test_a_corrected_rate_corrects_what_it_was_used_for(postgres: Postgres):
    report = parse(io.BytesIO(workbook(estimate_sheets(pages=[Pages(day=SEPTEMBER, pages=1000)]))), "x.xlsx")
    store(postgres, report, "pages")
    assert stored(postgres, kenp_rates()) == 1
    assert stored(postgres, {("amazon.com", SEPTEMBER): KenpRate(Decimal("0.0046"), "USD")}) == 1
    assert query(postgres, ESTIMATES)[0][3] == Decimal("4.6")


def test_a_royalty_that_the_report_states_is_kept_and_an_estimate_is_not_final(postgres: Postgres):
    stored(postgres, kenp_rates())
    pages = [Pages(day=SEPTEMBER, pages=1000, royalty=Decimal("9.99"))]

    def put(label: str, days: int, *, with_page_royalties: bool) -> None:
        sheets = prior_month_sheets(SEPTEMBER, [], pages, total_sheet=None, with_page_royalties=with_page_royalties)
        store(postgres, parse(io.BytesIO(workbook(sheets)), "x.xlsx"), report_file(label, days=days))
        query(postgres, "select sales.build_daily(10)")

    put("without", 0, with_page_royalties=False)
    assert query(postgres, "select royalty, is_final from sales.sales_daily") == [(Decimal("4.521"), False)]
    put("with", 1, with_page_royalties=True)
    assert query(postgres, "select royalty, is_final from sales.sales_daily") == [(Decimal("9.99"), True)]
