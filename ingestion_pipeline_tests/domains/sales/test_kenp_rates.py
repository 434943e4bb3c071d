"""Pages become money by the rate of their month and marketplace, or stay without."""

import io
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.domains.sales.contracts import SALES_EVENTS
from ingestion_pipeline.domains.sales.kdp import parse
from ingestion_pipeline.domains.sales.kenp_rates import KenpRate, kenp_rates, with_estimated_pages
from ingestion_pipeline_tests.domains.sales.kdp_reports import (
    Pages,
    Sale,
    estimate_sheets,
    prior_month_sheets,
    workbook,
)

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


def test_pages_are_worth_the_rate_of_their_month():
    """No rate, or one in another currency, and the row stays without a royalty; sales are not touched."""
    pages = [
        Pages(day=date(2025, 9, 30), pages=1000),
        Pages(day=date(2025, 10, 1), pages=1000),
        Pages(day=date(2025, 9, 1), marketplace="Amazon.de"),
        Pages(day=date(2026, 3, 1)),
    ]
    rows = parse(io.BytesIO(workbook(estimate_sheets([Sale(day=date(2025, 9, 1))], pages))), "x.xlsx").rows
    priced = with_estimated_pages(rows, kenp_rates())
    assert priced.schema == SALES_EVENTS
    assert priced["royalty"].to_pylist() == [Decimal("3.45"), Decimal("4.521"), Decimal("5.007"), None, None]


def test_a_royalty_that_the_report_states_is_kept():
    pages = [replace(Pages(day=SEPTEMBER, pages=1000), royalty=Decimal("9.99"))]
    rows = parse(io.BytesIO(workbook(prior_month_sheets(SEPTEMBER, [], pages))), "x.xlsx").rows
    assert with_estimated_pages(rows, kenp_rates()).equals(rows)
