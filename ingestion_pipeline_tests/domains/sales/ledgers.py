"""Reports for the ledger, without files: `row()` is one row with its key, `report()` a parsed report, `store` stores it."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from ingestion_pipeline.domains.sales.contracts import (
    PAYMENTS,
    SALES_EVENTS,
    ParsedReport,
    Period,
    natural_key,
)
from ingestion_pipeline.domains.sales.ledger import ReportFile, Stored, store_report
from ingestion_pipeline.storage.postgres import Postgres

OWNER = "ada"
EXPORTED = datetime(2026, 4, 1, 12, tzinfo=UTC)

_LEDGER = """
select platform, natural_key, units_sold, units_refunded, pages_read, royalty, is_final, superseded_by, source_sha256,
    exported_at, row_number, title, fx_rate, fx_date, royalty_usd
from sales.sales_events order by owner_id, platform, natural_key
"""


def row(day: date = date(2026, 3, 5), end: date | None = None, **over: Any) -> dict[str, Any]:
    """A sale of one e-book on Amazon.com, an estimate. The key is made of what identifies the row, as parsers do."""
    sold, refunded = over.pop("sold", 1), over.pop("refunded", 0)
    made = {
        "platform": "amazon_kdp",
        "storefront": "Amazon.com",
        "country": "US",
        "title_id": "B0AAAAAAA1",
        "edition_id": "B0AAAAAAA1",
        "title": "The Lighthouse",
        "author": "Ada Writer",
        "format": "ebook",
        "kind": "sale",
        "transaction_type": "Standard",
        "royalty_type": "70%",
        "units_sold": sold,
        "units_refunded": refunded,
        "net_units": sold - refunded,
        "pages_read": 0,
        "list_price": Decimal("4.99"),
        "offer_price": Decimal("4.99"),
        "currency": "USD",
        "royalty": Decimal("3.45") * (sold - refunded),
        "reported_usd": None,
        "period_start": day,
        "period_end": end or day,
        "is_final": False,
        "source_report": "kdp_dashboard",
        "sheet": "eBook Royalty",
        "row_number": 2,
        **over,
    }
    identity = ("platform", "storefront", "edition_id", "kind", "currency", "period_start", "period_end")
    final = made["is_final"] if made["platform"] == "amazon_kdp" else None
    return {"natural_key": natural_key(*(made[name] for name in identity), final), **made}


def month_row(month: date = date(2026, 3, 1), **over: Any) -> dict[str, Any]:
    """What a final report says of a month."""
    end = (month.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    return row(month, end, **({"is_final": True, "source_report": "kdp_prior_month"} | over))


def payment(**over: Any) -> dict[str, Any]:
    made = {
        "platform": "amazon_kdp",
        "payment_id": "1",
        "currency": "EUR",
        "net": Decimal("108.45"),
        "payout_currency": "USD",
        "row_number": 2,
        **over,
    }
    return dict.fromkeys(PAYMENTS.names) | made | {"natural_key": natural_key("payment", made["payment_id"])}


def report(
    *rows: Mapping[str, Any],
    name: str = "kdp_dashboard",
    is_final: bool = False,
    period: Period | None = None,
    payments: Sequence[Mapping[str, Any]] = (),
    **over: Any,
) -> ParsedReport:
    table = pa.Table.from_pylist([dict(it) for it in rows], schema=SALES_EVENTS)
    paid = pa.Table.from_pylist([dict(it) for it in payments], schema=PAYMENTS)
    return ParsedReport(report=name, period=period, is_final=is_final, rows=table, payments=paid, **over)


def prior_month(*rows: Mapping[str, Any], month: date = date(2026, 3, 1), **over: Any) -> ParsedReport:
    """A workbook with a sheet of all, or of what `parts` says."""
    over = {"parts": ["ebook", "paperback", "pages", "kdp_total_earnings"], **over}
    period = Period(start=month, end=month_row(month)["period_end"])
    return report(*rows, name="kdp_prior_month", is_final=True, period=period, **over)


def report_file(label: str, *, platform: str = "amazon_kdp", days: float = 0, **over: Any) -> ReportFile:
    """A file of its own for each `label`, exported `days` after the first of April."""
    return ReportFile(
        **{
            "platform": platform,
            "sha256": hashlib.sha256(label.encode()).hexdigest(),
            "name": f"{label}.xlsx",
            "size_bytes": 1,
            "exported_at": EXPORTED + timedelta(days=days),
            **over,
        }
    )


def store(postgres: Postgres, parsed: ParsedReport, file: ReportFile | str = "a", *, owner: str = OWNER) -> Stored:
    given = report_file(file) if isinstance(file, str) else file
    with postgres.transaction() as connection:
        return store_report(connection, owner, parsed, given)


def query(postgres: Postgres, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with postgres.transaction() as connection:
        return connection.execute(statement.encode(), parameters).fetchall()


def ledger(postgres: Postgres) -> list[tuple[Any, ...]]:
    """All rows with what makes them what they are; not when they were stored."""
    return query(postgres, _LEDGER)


def counted(postgres: Postgres) -> list[tuple[Any, ...]]:
    """(platform, day, sold, royalty, is_final) of the rows that count."""
    statement = (
        "select platform, period_start, units_sold, royalty, is_final from sales.sales_events "
        "where superseded_by is null order by 1, 2, 3"
    )
    return query(postgres, statement)
