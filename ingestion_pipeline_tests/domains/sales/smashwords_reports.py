"""Smashwords reports as FORMATS E4 documents them: tab-separated, CR line ends, cuts negative, payments among sales."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from ingestion_pipeline_tests.domains.sales.delimited_text import rendered

HEADER = [
    *("type", "channel", "location", "id", "isbn", "title", "author", "price", "qty", "amount", "couponCode"),
    *("retailerCut", "smashwordsCut", "affiliateCut", "transFee", "vat", "net", "currency", "amountFinal (USD)"),
    *("date", "balanceAdjusted"),
]
_BOOK = {
    "id": "11111",
    "isbn": "978-1-7324611-2-3",
    "title": "The First Book",
    "author": "Inez Hot (NovelistInezHot)",
    "currency": "USD",
}


def own_sale(price: str = "1.99", quantity: int = 1, *, fee: str = "-0.36", **over: str) -> dict[str, str]:
    """A sale in Smashwords' own store: credited at once; price 0 with a coupon is a free copy."""
    amount = Decimal(price) * quantity
    cut = -(amount * Decimal("0.12")).quantize(Decimal("0.01"))
    net = amount + cut + (Decimal(fee) if amount else 0)
    return {
        **_BOOK,
        "type": "sale",
        "channel": "Smashwords.com",
        "price": price,
        "qty": str(quantity),
        "amount": str(amount),
        "smashwordsCut": str(cut),
        "affiliateCut": "0",
        "transFee": fee if amount else "0",
        "net": str(net),
        "amountFinal (USD)": str(net),
        "date": "2024-03-17 5:18",
        "balanceAdjusted": "2024-03-17 5:18",
        **over,
    }


def retailer_sale(price: str = "1.99", quantity: int = 1, *, credited: str = "", **over: str) -> dict[str, str]:
    """A sale in another store: accrued until `credited`."""
    amount = Decimal(price) * quantity
    retailer, own = (-(amount * Decimal(it)).quantize(Decimal("0.01")) for it in ("0.3", "0.1"))
    net = amount + retailer + own
    return {
        **_BOOK,
        "type": "retailer sale",
        "channel": "Kobo",
        "location": "country_CA",
        "price": price,
        "qty": str(quantity),
        "amount": str(amount),
        "retailerCut": str(retailer),
        "smashwordsCut": str(own),
        "vat": "0",
        "net": str(net),
        "amountFinal (USD)": str(net) if credited else "",
        "date": "2024-03-20 0:00",
        "balanceAdjusted": credited,
        **over,
    }


def payment(amount: str = "14.34", **over: str) -> dict[str, str]:
    """A payout: negative."""
    day = "2024-05-01 0:00"
    cells = {"type": "payment", "id": "6518", "title": "Payment", "net": f"-{amount}", "currency": "USD"}
    return cells | {"amountFinal (USD)": f"-{amount}", "date": day, "balanceAdjusted": day} | over


def report(rows: Iterable[Mapping[str, str]], *, header: Sequence[str] = HEADER, **over: object) -> bytes:
    """The file as Smashwords writes it; `over` as of `rendered`."""
    return rendered(header, rows, **({"delimiter": "\t", "line_end": "\r", "is_quoted": False} | over))
