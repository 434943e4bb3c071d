"""Draft2Digital reports as FORMATS E3 documents them: `sale()` is one row, `report()` a file of any variant."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal

from ingestion_pipeline_tests.domains.sales.delimited_text import rendered

_START = ["Start Date", "End Date", "Publisher", "Title ID"]
_MIDDLE = [
    *("Title", "Primary Author", "Distributor", "Vendor", "Country", "Units Sold", "Units Returned"),
    *("Net Unit Sales", "Sales Model", "Retailer", "List Price Per Unit", "Currency Code", "Offer Price Per Unit"),
    "Royalty Percent",
]
_PER_UNIT = "Sales Channel Revenue Per Unit"
_END = ["Publisher Share", "Publisher Share USD (estimated)", "Verified"]
_CHANNEL = ["Extended Sales Channel Revenue", "Sales Channel Share", "D2D Share"]
EBOOK = [*_START, "Ebook ISBN", *_MIDDLE, "Sales Channel Fee/Taxes Per Unit", *_CHANNEL, *_END]
EBOOK_PER_UNIT = [*_START, "Ebook ISBN", *_MIDDLE, "Sales Channel Fee/Taxes Per Unit", _PER_UNIT, *_CHANNEL, *_END]
PRINT = [*_START, "Paperback ISBN", *_MIDDLE, "Unit Cost", _PER_UNIT, _CHANNEL[0], *_END]
USD_RATES = {"USD": "1", "EUR": "1.1", "GBP": "1.25", "JPY": "0.0067"}


def sale(
    start: date = date(2024, 3, 5),
    end: date | None = None,
    *,
    sold: int = 2,
    returned: int = 0,
    offer: str = "4.99",
    currency: str = "USD",
    day_format: str = "%Y-%m-%d",
    **over: str,
) -> dict[str, str]:
    """One row of either report; `over` replaces cells, with `_` for space."""
    net = sold - returned
    share = Decimal(offer) * net * Decimal("0.6")
    return {
        "Start Date": start.strftime(day_format),
        "End Date": (end or start).strftime(day_format),
        "Publisher": "Inez Hot",
        "Title ID": "100200",
        "Ebook ISBN": "9781732461123",
        "Paperback ISBN": "9781732461130",
        "Title": "The First Book",
        "Primary Author": "Inez Hot",
        "Distributor": "Kobo",
        "Vendor": "Kobo Books",
        "Country": "US",
        "Units Sold": str(sold),
        "Units Returned": str(returned),
        "Net Unit Sales": str(net),
        "Sales Model": "Retail",
        "Retailer": "Kobo",
        "List Price Per Unit": "4.99",
        "Currency Code": currency,
        "Offer Price Per Unit": offer,
        "Royalty Percent": "0.6",
        "Unit Cost": "2.15",
        "Sales Channel Fee/Taxes Per Unit": "0",
        _PER_UNIT: offer,
        "Extended Sales Channel Revenue": str(Decimal(offer) * net),
        "Sales Channel Share": "0",
        "D2D Share": "0",
        "Publisher Share": str(share),
        "Publisher Share USD (estimated)": str(share * Decimal(USD_RATES.get(currency, "1"))),
        "Verified": "True",
        **{column.replace("_", " "): text for column, text in over.items()},
    }


def apple_window(start: date, *, days: int = 35, **over: str) -> dict[str, str]:
    """A row of Apple's business calendar: 28 or 35 days, across months."""
    end = start + timedelta(days=days - 1)
    return sale(start, end, **({"Distributor": "Apple", "Vendor": "Apple Books"} | over))


def report(rows: Iterable[Mapping[str, str]], *, header: Sequence[str] = EBOOK, **format_: object) -> bytes:
    """The file; `format_` as of `rendered`."""
    return rendered(header, rows, **format_)
