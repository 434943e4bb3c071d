"""What a page read was worth: KENP rates by marketplace and month.

KDP's reports of pages state no money but for the final ones of a month. The rates that come with this package
(kenp_rates.csv, as authors published them) are few: a file of one's own, with the same columns
(month YYYY-MM, marketplace, rate in `currency` for a page, currency), adds to them and wins. They are published
after the month: what rows of pages are worth (`estimated_royalty`) depends on the rates that are there, not on when
they came. No rate, no estimate; a royalty that the report states is never touched.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import psycopg

from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.domains.sales.cells import month_of
from ingestion_pipeline.domains.sales.contracts import CURRENCIES

_PACKAGED = Path(__file__).with_name("kenp_rates.csv")
_COLUMNS = ("month", "marketplace", "rate", "currency")
_KNOWN = "select storefront, month, rate, currency from sales.kenp_rates"
_STORE = """
insert into sales.kenp_rates (storefront, month, rate, currency) values (%s, %s, %s, %s)
on conflict (month, storefront) do update set rate = excluded.rate, currency = excluded.currency
"""


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


def store_kenp_rates(connection: psycopg.Connection[Any], rates: KenpRates) -> int:
    """Stores rates that are new or other than before, and gives rows of pages theirs; how many rows changed."""
    known = {
        (storefront, month): KenpRate(rate, currency)
        for storefront, month, rate, currency in connection.execute(_KNOWN).fetchall()
    }
    changed = [(key, rate) for key, rate in rates.items() if known.get(key) != rate]
    if not changed:
        return 0
    # sales.store_report holds it shared: a report that is stored meanwhile would not see these rates
    connection.execute("select pg_advisory_xact_lock(hashtextextended('sales.sales_events', 0))")
    for (storefront, month), rate in sorted(changed, key=lambda it: it[0]):
        connection.execute(_STORE, [storefront, month, rate.rate, rate.currency])
    row = connection.execute("select sales.apply_page_rates()").fetchone()
    return row[0] if row else 0


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
