"""Gumroad's sale objects and dashboard CSV as FORMATS E2 documents them: one `Purchase`, rendered either way."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ingestion_pipeline_tests.domains.sales.delimited_text import rendered

HEADER = [
    *("Purchase ID", "Item Name", "Buyer Name", "Purchase Email", "Buyer Email", "Do not contact?", "Purchase Date"),
    *("Purchase Time (UTC timezone)", "Subtotal ($)", "Taxes ($)", "Shipping ($)", "Sale Price ($)", "Fees ($)"),
    *("Net Total ($)", "Tip ($)", "Tax Included in Price?", "Street Address", "City", "Zip Code", "State", "Country"),
    *("Referrer", "Refunded?", "Partial Refund ($)", "Fully Refunded?", "Disputed?", "Dispute Won?", "Variants"),
    *("Discount Code", "Recurring Charge?", "Free trial purchase?", "Pre-order authorization?", "Product ID"),
    *("Order Number", "Pre-order authorization time (UTC timezone)", "Custom Fields", "Item Price ($)"),
    *("Variants Price ($)", "Giftee Email", "SKU ID", "Quantity", "Recurrence", "Affiliate"),
    *("Affiliate commission ($)", "Discover?", "Subscription End Date", "Rating", "Review", "License Key"),
    *("Payment Type", "PayPal Transaction ID", "PayPal Fee Amount", "PayPal Fee Currency", "Stripe Transaction ID"),
    *("Stripe Fee Amount", "Stripe Fee Currency", "Purchasing Power Parity Discounted?", "Upsold?"),
    *("Sent Abandoned Cart Email?", "UTM Source", "UTM Medium", "UTM Campaign", "UTM Term", "UTM Content"),
]
TOTALED = ("Sale Price ($)", "Fees ($)", "Net Total ($)", "Partial Refund ($)")


@dataclass(frozen=True, kw_only=True)
class Purchase:
    """One purchase, amounts in cents; `refunded` is what went back of `price`."""

    id: str = "A-m3CDDC5dlrSdKZp0RFhA=="
    created_at: datetime = datetime(2024, 3, 5, 23, 34, 56, tzinfo=UTC)
    title: str = "The First Book (EPUB)"
    product: str = "firstbook"
    price: int = 999
    fee: int = 130
    affiliate: int = 0
    refunded: int = 0
    quantity: int = 1
    country: str = "United Kingdom"
    is_disputed: bool = False
    is_dispute_won: bool = False
    is_gift: bool = False
    is_recurring: bool = False

    @property
    def is_whole_refunded(self) -> bool:
        return 0 < self.price == self.refunded

    @property
    def is_part_refunded(self) -> bool:
        return 0 < self.refunded < self.price


def sale(purchase: Purchase, **over: object) -> dict[str, Any]:
    """The object of the API; `over` adds keys or replaces them."""
    rest = Decimal(purchase.price - purchase.refunded) / 100
    return {
        "id": purchase.id,
        "email": "buyer@example.com",
        "seller_id": "kL0psVL2admJSYRNs-OCMg==",
        "timestamp": "about 2 months ago",
        "daystamp": "5 Mar 2024 11:34 PM",
        "created_at": f"{purchase.created_at:%Y-%m-%dT%H:%M:%SZ}",
        "product_name": purchase.title,
        "product_has_variants": False,
        "price": purchase.price,
        "gumroad_fee": purchase.fee,
        "is_bundle_purchase": False,
        "is_bundle_product_purchase": False,
        "formatted_display_price": f"${Decimal(purchase.price) / 100}",
        "formatted_total_price": f"${Decimal(purchase.price) / 100}",
        "currency_symbol": "$",
        "amount_refundable_in_currency": f"{rest:.2f}",
        "product_id": "32-nPAicqbLj8B_WswVlMw==",
        "product_permalink": purchase.product,
        "refunded": purchase.is_whole_refunded,
        "partially_refunded": purchase.is_part_refunded,
        "chargedback": purchase.is_disputed and not purchase.is_dispute_won,
        "purchase_email": "buyer@example.com",
        "full_name": "A Buyer",
        "country": purchase.country,
        "paid": purchase.price != 0,
        "has_variants": False,
        "custom_fields": {},
        "order_id": 524459995,
        "disputed": purchase.is_disputed,
        "dispute_won": purchase.is_dispute_won,
        "is_gift_sender_purchase": purchase.is_gift,
        "is_gift_receiver_purchase": False,
        "referrer": "direct",
        "card": {"visual": None, "type": None, "bin": None, "expiry_month": None, "expiry_year": None},
        "recurring_charge": purchase.is_recurring,
        **(
            {"affiliate": {"email": "a@example.com", "amount": _dollars(purchase.affiliate)}}
            if purchase.affiliate
            else {}
        ),
        "quantity": purchase.quantity,
        **over,
    }


def row(purchase: Purchase, **over: str) -> dict[str, str]:
    """The row of the dashboard's CSV; `over` replaces cells by their names, with `_` for space."""
    part = purchase.refunded if purchase.is_part_refunded else 0
    return {
        "Purchase ID": _escaped(purchase.id),
        "Item Name": purchase.title,
        "Buyer Name": "A Buyer",
        "Purchase Email": "buyer@example.com",
        "Purchase Date": f"{purchase.created_at:%Y-%m-%d}",
        "Purchase Time (UTC timezone)": f"{purchase.created_at:%Y-%m-%d %H:%M:%S} UTC",
        "Sale Price ($)": _amount(purchase.price),
        "Fees ($)": _amount(purchase.fee),
        "Net Total ($)": _amount(purchase.price - purchase.fee),
        "Country": purchase.country,
        "Refunded?": str(int(purchase.refunded > 0)),
        "Partial Refund ($)": _amount(part),
        "Fully Refunded?": str(int(purchase.is_whole_refunded)),
        "Disputed?": str(int(purchase.is_disputed)),
        "Dispute Won?": str(int(purchase.is_dispute_won)),
        "Recurring Charge?": str(int(purchase.is_recurring)),
        "Free trial purchase?": "0",
        "Pre-order authorization?": "0",
        "Product ID": purchase.product,
        "Giftee Email": "friend@example.com" if purchase.is_gift else "",
        "Quantity": str(purchase.quantity),
        "Affiliate commission ($)": _amount(purchase.affiliate) if purchase.affiliate else "",
        **{column.replace("_", " "): text for column, text in over.items()},
    }


def report(
    rows: Iterable[dict[str, str]], *, header: list[str] = HEADER, has_totals: bool = True, **over: object
) -> bytes:
    """The CSV with its last line `Totals`; `over` as of `rendered`."""
    lines = list(rows)
    if has_totals:
        lines.append(
            {"Purchase ID": "Totals"} | {column: _sum(it.get(column, "") for it in lines) for column in TOTALED}
        )
    return rendered(header, lines, **({"line_end": "\n"} | over))


def _sum(texts: Iterable[str]) -> str:
    return str(sum((Decimal(it) for it in texts if re.fullmatch(r"[-\d.]+", it)), Decimal(0)).quantize(Decimal("0.01")))


def _amount(cents: int) -> str:
    """A float in dollars, as Ruby writes it: `5.0`, `9.99`."""
    return str(cents / 100)


def _dollars(cents: int) -> str:
    return f"${Decimal(cents) / 100:.2f}"


def _escaped(text: str) -> str:
    return f"'{text}" if text[:1] in {"=", "+", "-", "@"} else text
