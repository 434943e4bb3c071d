"""What a page read was worth: KENP rates by marketplace and month, and pages turned into estimated royalties.

KDP's reports of pages state no money but for the final ones of a month. The rates that come with this package
(kenp_rates.csv, as authors published them) are few: a file of one's own, with the same columns
(month YYYY-MM, marketplace, rate in `currency` for a page, currency), adds to them and wins. No rate, no royalty:
the row stays without one.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.domains.sales.cells import month_of
from ingestion_pipeline.domains.sales.contracts import CURRENCIES, MONEY

_PACKAGED = Path(__file__).with_name("kenp_rates.csv")
_COLUMNS = ("month", "marketplace", "rate", "currency")
_SCALE = Decimal(1).scaleb(-MONEY.scale)


@dataclass(frozen=True)
class KenpRate:
    """Money for one page in `currency`."""

    rate: Decimal
    currency: str


KenpRates = Mapping[tuple[str, date], KenpRate]


def kenp_rates(own: Path | None = None) -> KenpRates:
    """By marketplace (as KDP names it, in lower case) and first day of the month.

    Raises:
        ContractError: A row of a file is not a rate; it says which.
    """
    rates = dict(_rates(_PACKAGED))
    return rates | dict(_rates(own)) if own else rates


def with_estimated_pages(rows: pa.Table, rates: KenpRates) -> pa.Table:
    """`SALES_EVENTS` whose pages have a royalty where the report states none and the month's rate is known.

    The rate is the one of the month in which the row's period begins; it has to be in the row's currency.
    """
    open_pages = pc.and_(pc.equal(rows["kind"], "pages_read"), rows["royalty"].is_null())
    if not pc.any(open_pages).as_py():
        return rows
    estimated = [
        _royalty(rates, row) if is_open else None
        for is_open, row in zip(
            open_pages.to_pylist(),
            rows.select(["storefront", "period_start", "currency", "pages_read"]).to_pylist(),
            strict=True,
        )
    ]
    royalty = pc.coalesce(rows["royalty"], pa.array(estimated, MONEY))
    return rows.set_column(rows.schema.get_field_index("royalty"), rows.schema.field("royalty"), royalty)


def _royalty(rates: KenpRates, row: Mapping[str, object]) -> Decimal | None:
    start, pages = row["period_start"], row["pages_read"]
    assert isinstance(start, date) and isinstance(pages, int)  # noqa: S101, PT018 - the schema says so
    rate = rates.get((str(row["storefront"]).casefold(), start.replace(day=1)))
    if rate is None or rate.currency != row["currency"]:
        return None
    return (rate.rate * pages).quantize(_SCALE, ROUND_HALF_EVEN)


def _rates(path: Path) -> Iterator[tuple[tuple[str, date], KenpRate]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if missing := [column for column in _COLUMNS if column not in (rows.fieldnames or ())]:
            raise ContractError(str(path), "header", repr(rows.fieldnames), f"the column {missing[0]!r}")
        for row in rows:
            where = f"{path} line {rows.line_num}"
            month = month_of(row["month"] or "")
            if month is None:
                raise ContractError(where, "month", repr(row["month"]), "a month such as 2026-03")
            if row["currency"] not in CURRENCIES:
                raise ContractError(where, "currency", repr(row["currency"]), "a currency such as USD")
            yield (
                ((row["marketplace"] or "").strip().casefold(), month),
                KenpRate(_rate(row["rate"], where), row["currency"]),
            )


def _rate(text: str | None, where: str) -> Decimal:
    """No page of a book was ever worth 100 of any currency of KDP."""
    try:
        rate = Decimal(text or "")
        is_rate = 0 < rate < 100  # noqa: PLR2004
    except InvalidOperation:
        is_rate = False
    if not is_rate:
        raise ContractError(where, "rate", repr(text), "money for one page, such as 0.0045")
    return rate
