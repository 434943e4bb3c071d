"""Sale objects of Gumroad's API (version 2, also read back after a ping) as ledger rows.

Here: what a sale object means. Not here: asking the API (providers/gumroad.py), the dashboard's CSV (gumroad.py).
Source of the format: FORMATS E2. Amounts are US cents; decimals are made of them exactly.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from ingestion_pipeline.domains.sales.contracts import (
    SALES_EVENTS,
    ParsedReport,
    Period,
    RowProblem,
    Skipped,
    natural_key,
)
from ingestion_pipeline.domains.sales.countries import country_code

PLATFORM, STOREFRONT, CURRENCY = "gumroad", "Gumroad", "USD"
_CENT = Decimal("0.01")
_EIGHT_PLACES = Decimal("0.00000001")
_AMOUNT = re.compile(r"\d[\d,]*(?:\.\d+)?")
_DECIMAL_COMMA = re.compile(r",\d{1,2}$")
_FORMATS = (
    ("audiobook", re.compile(r"\b(audio ?book|mp3|m4b)\b", re.IGNORECASE)),
    ("hardcover", re.compile(r"\bhard(cover|back)\b", re.IGNORECASE)),
    ("paperback", re.compile(r"\b(paperback|softcover|print(ed)?)\b", re.IGNORECASE)),
    ("ebook", re.compile(r"\b(e-?book|epub|mobi|pdf|kindle)\b", re.IGNORECASE)),
)


class Affiliate(msgspec.Struct):
    """`amount` is text such as `$2.50`."""

    amount: str = ""


class Sale(msgspec.Struct):
    """The keys of a sale that the ledger needs. Gumroad leaves out keys without a value."""

    id: str
    created_at: datetime
    product_name: str
    price: int
    product_id: str = ""
    product_permalink: str = ""
    gumroad_fee: int = 0
    quantity: int = 1
    currency_symbol: str = "$"
    formatted_display_price: str = ""
    amount_refundable_in_currency: str | None = None
    refunded: bool = False
    partially_refunded: bool = False
    chargedback: bool = False
    disputed: bool = False
    dispute_won: bool = False
    country: str | None = None
    country_iso2: str | None = None
    variants_and_quantity: str | None = None
    recurring_charge: bool = False
    free_trial_ends_on: date | None = None
    is_gift_sender_purchase: bool = False
    is_gift_receiver_purchase: bool = False
    is_bundle_product_purchase: bool = False
    is_preorder_authorization: bool = False
    affiliate: Affiliate | None = None


@dataclass(frozen=True, kw_only=True)
class Money:
    """What was charged in US dollars, what Gumroad and an affiliate kept, and what went back to the buyer.

    `refunded` is None where it is only known that something went back.
    """

    charged: Decimal
    fee: Decimal
    affiliate: Decimal = Decimal(0)
    refunded: Decimal | None = Decimal(0)

    @property
    def royalty(self) -> Decimal | None:
        """The seller's part: fee and commission go back in proportion to a refund.

        Gumroad keeps a processing fee of refunds that neither its API nor its CSV states.
        """
        if self.refunded is None:
            return None
        earned = self.charged - self.fee - self.affiliate
        if not self.refunded:
            return earned
        if self.refunded >= self.charged:
            return Decimal(0)
        return (earned * (self.charged - self.refunded) / self.charged).quantize(_CENT, ROUND_HALF_EVEN)


@dataclass(frozen=True, kw_only=True)
class LedgerSale:
    """One sale, whichever way it came; `lost` is Refunded or Charged back, for a sale that was taken back whole."""

    id: str
    product: str
    title: str
    variants: str
    country: str | None
    day: date
    quantity: int
    money: Money
    lost: str | None = None
    is_recurring: bool = False
    is_gift: bool = False


def parse_sales(sales: Iterable[Mapping[str, Any]]) -> ParsedReport:
    """One ledger row for each sale object; `row_number` is its place among `sales`, from 1.

    Natural key: the sale's id, as in the dashboard's CSV: a sale read again, refunded meanwhile, replaces itself.
    A sale that occurs twice among `sales` is taken once, as it was last.
    A refund has the day of the sale. A lost or an open dispute counts as charged back until it is won.
    The other halves of gifts and bundles, pre-order authorizations and free trials are no sales: left out and counted.
    """
    rows: dict[str, dict[str, object]] = {}
    problems, skipped = [], Counter[str]()
    for number, seen in enumerate(sales, start=1):
        try:
            sale = msgspec.convert(seen, Sale)
            reason = _no_sale(sale)
            if reason is not None:
                skipped[reason] += 1
            else:
                rows[sale.id] = ledger_row(_ledger_sale(sale), report="gumroad_api", row_number=number)
        except (msgspec.ValidationError, ValueError) as error:
            problems.append(_problem(number, seen, error))
    return report_of("gumroad_api", rows.values(), problems=problems, skipped=skipped)


def ledger_row(sale: LedgerSale, *, report: str, row_number: int) -> dict[str, object]:
    """The row of `SALES_EVENTS` of one sale."""
    royalty = Decimal(0) if sale.lost else sale.money.royalty
    refunded = sale.quantity if sale.lost else 0
    return {
        "platform": PLATFORM,
        "storefront": STOREFRONT,
        "country": sale.country,
        "title_id": sale.product,
        "edition_id": None,
        "title": sale.title,
        "author": None,
        "format": book_format(f"{sale.title} {sale.variants}"),
        "kind": "refund" if sale.lost else "sale" if sale.money.charged else "free",
        "transaction_type": _transaction_type(sale),
        "royalty_type": None,
        "units_sold": sale.quantity,
        "units_refunded": refunded,
        "net_units": sale.quantity - refunded,
        "pages_read": 0,
        "list_price": None,
        "offer_price": (sale.money.charged / sale.quantity).quantize(_EIGHT_PLACES, ROUND_HALF_EVEN),
        "currency": CURRENCY,
        "royalty": royalty,
        "reported_usd": royalty,
        "period_start": sale.day,
        "period_end": sale.day,
        "is_final": True,
        "source_report": report,
        "sheet": None,
        "row_number": row_number,
        "natural_key": natural_key(PLATFORM, sale.id),
    }


def report_of(
    report: str, rows: Iterable[Mapping[str, object]], *, problems: list[RowProblem], skipped: Mapping[str, int]
) -> ParsedReport:
    """The parsed report of `rows`."""
    table = pa.Table.from_pylist(list(rows), schema=SALES_EVENTS)
    days = pc.min_max(table["period_start"]).as_py()
    royalty = pc.sum(table["royalty"]).as_py() or Decimal(0)
    return ParsedReport(
        report=report,
        period=Period(start=days["min"], end=days["max"]) if table.num_rows else None,
        is_final=True,
        rows=table,
        problems=problems,
        skipped=[Skipped(sheet=None, reason=f"{count} {reason}") for reason, count in sorted(skipped.items())],
        totals={
            "net_units": {"parsed": Decimal(pc.sum(table["net_units"]).as_py() or 0)},
            f"royalty {CURRENCY}": {"parsed": royalty},
        },
    )


@lru_cache(maxsize=10_000)
def book_format(text: str) -> str:
    """What a product's name and variants say of its format; Gumroad itself has no such field."""
    return next((name for name, pattern in _FORMATS if pattern.search(text)), "other")


def _transaction_type(sale: LedgerSale) -> str:
    if sale.lost:
        return sale.lost
    if sale.money.refunded is None:
        return "Partially refunded, amount unknown"
    if sale.money.refunded:
        return "Partially refunded"
    if sale.is_gift:
        return "Gift"
    return "Recurring charge" if sale.is_recurring else "Sale"


def _no_sale(sale: Sale) -> str | None:
    if sale.is_gift_receiver_purchase:
        return "receivers of gifts: the giver's row counts"
    if sale.is_bundle_product_purchase:
        return "products of bundles: the bundle's row counts"
    if sale.is_preorder_authorization:
        return "pre-order authorizations: not charged yet"
    trial_end = sale.free_trial_ends_on
    if trial_end is not None and not sale.recurring_charge and sale.created_at.date() < trial_end:
        return "free trials: nothing was charged"
    return None


def _ledger_sale(sale: Sale) -> LedgerSale:
    if not sale.id or sale.quantity < 1 or sale.price < 0:
        raise ValueError("Expected an id, a quantity of 1 or more and a price of 0 or more")
    product = sale.product_permalink.rstrip("/").rpartition("/")[2] or sale.product_id
    if not product:
        raise ValueError("Expected product_permalink or product_id")
    charged = _dollars(sale.price)
    return LedgerSale(
        id=sale.id,
        product=product,
        title=sale.product_name,
        variants=sale.variants_and_quantity or "",
        country=country_code(sale.country_iso2 or "") or country_code(sale.country or ""),
        day=sale.created_at.astimezone(UTC).date() if sale.created_at.tzinfo else sale.created_at.date(),
        quantity=sale.quantity,
        money=Money(
            charged=charged,
            fee=_dollars(sale.gumroad_fee),
            affiliate=_first_amount(sale.affiliate.amount) or Decimal(0) if sale.affiliate else Decimal(0),
            refunded=_refunded(sale, charged) if sale.partially_refunded else Decimal(0),
        ),
        lost=lost(
            is_refunded=sale.refunded, is_disputed=sale.chargedback or sale.disputed, is_dispute_won=sale.dispute_won
        ),
        is_recurring=sale.recurring_charge,
        is_gift=sale.is_gift_sender_purchase,
    )


def lost(*, is_refunded: bool, is_disputed: bool, is_dispute_won: bool) -> str | None:
    """Why the whole sale went back; None where it did not."""
    if is_refunded:
        return "Refunded"
    return "Charged back" if is_disputed and not is_dispute_won else None


def _dollars(cents: int) -> Decimal:
    return Decimal(cents).scaleb(-2)


def _refunded(sale: Sale, charged: Decimal) -> Decimal | None:
    """The list has no refund amount, but what may still be refunded, in the product's currency.

    Nothing refundable says nothing of a partial refund: Gumroad says so, too, when the payment's processor is gone.
    """
    rest = _first_amount(sale.amount_refundable_in_currency or "")
    if not rest:
        return None
    if sale.currency_symbol == "$":
        return max(charged - rest, Decimal(0))
    displayed = _first_amount(sale.formatted_display_price)
    if not displayed:
        return None
    return (charged * max(1 - rest / displayed, Decimal(0))).quantize(_CENT, ROUND_HALF_EVEN)


def _first_amount(text: str) -> Decimal | None:
    """The number in `text`, thousands by commas; None where a comma may be a decimal one."""
    match = _AMOUNT.search(text)
    if match is None or _DECIMAL_COMMA.search(match[0]):
        return None
    return Decimal(match[0].replace(",", ""))


def _problem(number: int, seen: object, error: Exception) -> RowProblem:
    expected, _, path = str(error).partition(" - at `$")
    column = path.strip("`.") or "sale"
    value = seen.get(column, "nothing") if isinstance(seen, Mapping) else seen
    shown = str(value)[:60] if column != "sale" else f"sale {seen.get('id')}"[:60] if isinstance(seen, Mapping) else ""
    return RowProblem(sheet=None, row_number=number, column=column, seen=shown, expected=expected)
