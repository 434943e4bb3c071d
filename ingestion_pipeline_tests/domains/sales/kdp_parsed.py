"""Parses rendered reports for the tests, and the names that KDP gives its files."""

import io
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from ingestion_pipeline.domains.sales.contracts import (
    PAYMENTS,
    SALES_EVENTS,
    ParsedReport,
    Period,
    QuarantineError,
)
from ingestion_pipeline.domains.sales.kdp import parse
from ingestion_pipeline_tests.domains.sales.kdp_reports import (
    Sale,
    hardcover,
    paperback,
    workbook,
)

UUID = "0d9c9a4e-1111-4222-8333-444455556666"
PRIOR_MONTH = f"KDP_Prior_Month_Royalties-2026-03-01-{UUID}.xlsx"
DASHBOARD = f"KDP_Dashboard-{UUID}.xlsx"
ESTIMATOR = f"KDP_Royalties_Estimator-{UUID}.xlsx"
ORDERS = f"KDP_Orders-{UUID}.xlsx"
KENP = f"KDP_KENP_Read-{UUID}.xlsx"
PAYMENTS_NAME = f"KDP_Payments-{UUID}.xlsx"
MARCH = Period(start=date(2026, 3, 1), end=date(2026, 3, 31))

SALES = [
    Sale(),
    Sale(day=date(2026, 3, 2), sold=3, refunded=1, royalty=Decimal("6.90")),
    Sale(day=date(2026, 3, 3), sold=0, refunded=2, royalty=Decimal("-6.90")),
    Sale(marketplace="Amazon.co.uk", currency="GBP", royalty_type="35%", cost="N/A", royalty=Decimal("0.86")),
]
PRINTED = [paperback(), hardcover(), paperback(transaction="Expanded Distribution Channels", royalty_type="40%")]


def parsed(sheets: dict[str, Any], name: str = DASHBOARD) -> ParsedReport:
    report = parse(io.BytesIO(workbook(sheets)), name)
    assert report.rows.schema == SALES_EVENTS
    assert report.payments.schema == PAYMENTS
    report.rows.validate(full=True)
    return report


def rows_of(report: ParsedReport, *columns: str) -> list[Any]:
    rows = report.rows.select(list(columns)).to_pylist()
    return [row[columns[0]] if len(columns) == 1 else tuple(row.values()) for row in rows]


def quarantine(sheets: dict[str, Any], name: str = DASHBOARD) -> str:
    with pytest.raises(QuarantineError) as error:
        parse(io.BytesIO(workbook(sheets)), name)
    return str(error.value)
