"""Writes KDP's reports as FORMATS E1 documents them: every file, in every language and year (damaged ones: kdp_damaged.py).

`Sale`, `Pages` and `Order` say what happened; a report function renders them as KDP does. `workbook` and `delimited`
write any sheets.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import openpyxl

from ingestion_pipeline_tests.domains.sales.kdp_languages import ENGLISH, JAPANESE, Language, header_row

Rows = list[list[Any]]
# of Total Earnings, whatever the transaction type was
PAYOUT_PLANS = {"ebook": "Standard", "paperback": "Standard - Paperback", "hardcover": "Standard - Hardcover"}
Sheets = Mapping[str, Rows]


@dataclass(frozen=True)
class Sale:
    day: date = date(2026, 3, 1)
    title: str = "The Lighthouse"
    author: str = "Ada Writer"
    format: str = "ebook"
    asin: str = "B0AAAAAAA1"
    isbn: str | None = None
    marketplace: str = "Amazon.com"
    royalty_type: str = "70%"
    transaction: str = "Standard"
    sold: int = 1
    refunded: int = 0
    list_price: Any = Decimal("4.99")
    offer_price: Any = Decimal("4.99")
    cost: Any = Decimal("0.06")
    royalty: Any = Decimal("3.45")
    currency: str = "USD"
    order_day: date | None = None


@dataclass(frozen=True)
class Pages:
    day: date = date(2026, 3, 1)
    title: str = "The Lighthouse"
    author: str = "Ada Writer"
    asin: str = "B0AAAAAAA1"
    marketplace: str = "Amazon.com"
    pages: int = 250
    royalty: Any = None
    currency: str = "USD"


@dataclass(frozen=True)
class Order:
    day: date = date(2026, 3, 1)
    title: str = "The Lighthouse"
    author: str = "Ada Writer"
    asin: str = "B0AAAAAAA1"
    marketplace: str = "Amazon.com"
    paid: int = 1
    free: int = 0


@dataclass(frozen=True)
class Payment:
    start: date | None = date(2026, 1, 1)
    end: date | None = date(2026, 1, 31)
    marketplace: str | None = "Amazon.de"
    number: str | None = "123456789"
    detail: str = "Royalty"
    paid_on: date | None = date(2026, 3, 29)
    method: str = "EFT"
    currency: str = "EUR"
    accrued: Any = Decimal("120.50")
    tax: Any = Decimal("-12.05")
    adjustments: Any = 0
    net: Any = Decimal("108.45")
    source: str = "Sales"
    fx_rate: Any = Decimal("1.0832")
    payout_currency: str = "USD"
    payout: Any = Decimal("117.47")
    status: str = "Paid"


def paperback(**over: Any) -> Sale:
    """A printed book: ISBN, order date, 60 %."""
    sale = Sale(
        format="paperback",
        asin="B0PPPPPPP1",
        isbn="9781980000001",
        royalty_type="60%",
        transaction="Standard - Paperback",
        list_price=Decimal("12.99"),
        offer_price=Decimal("12.99"),
        cost=Decimal("3.65"),
        royalty=Decimal("4.14"),
        order_day=date(2026, 2, 27),
    )
    return replace(sale, **over)


def hardcover(**over: Any) -> Sale:
    sale = paperback(format="hardcover", asin="B0HHHHHHH1", isbn="9781980000002", transaction="Standard - Hardcover")
    return replace(sale, **over)


@dataclass(frozen=True)
class Style:
    """How cells are written: dates as `text`, `datetime`, `serial` or `month`; numbers as `number`, `point`, `comma`."""

    dates: str = "text"
    numbers: str = "number"

    def day(self, day: date | None) -> Any:
        if day is None:
            return None
        return {
            "text": day.isoformat(),
            "datetime": datetime(day.year, day.month, day.day),  # noqa: DTZ001
            "serial": (day - date(1899, 12, 30)).days,
            "month": f"{day:%Y-%m}",
        }[self.dates]

    def number(self, value: Any) -> Any:
        if self.numbers == "number" or not isinstance(value, Decimal):
            return value
        return f"{value:f}".replace(".", "," if self.numbers == "comma" else ".")


PLAIN = Style()


def estimate_sheets(
    sales: Sequence[Sale] = (),
    pages: Sequence[Pages] = (),
    orders: Sequence[Order] = (),
    *,
    language: Language = ENGLISH,
    style: Style = PLAIN,
    summary: bool = False,
) -> dict[str, Rows]:
    """The sheets that Dashboard, Royalties Estimator and Orders share."""
    by_format = {name: [sale for sale in sales if sale.format == name] for name in ("ebook", "paperback", "hardcover")}
    sheets: dict[str, Rows] = {}
    if summary:
        sheets["Report Definitions"] = [["Royalty Date", "The day on which a royalty was earned"]]
        sheets["Summary"] = summary_rows(sales, pages, orders, language)
    if language.combined:
        sheets["Combined Sales"] = [list(language.combined)] + [_combined(sale, language, style) for sale in sales]
    sheets["eBook Royalty"] = [list(language.ebook)] + [_ebook(sale, language, style) for sale in by_format["ebook"]]
    for name in ("paperback", "hardcover"):
        title = f"{name.capitalize()} Royalty"
        if title in language.sheets or not language.sheets:
            sheets[title] = [list(language.printed)] + [_print(sale, language, style) for sale in by_format[name]]
    placed = [[style.day(o.day), o.title, o.author, o.asin, o.marketplace, o.paid, o.free] for o in orders]
    sheets["Orders Processed"] = [list(language.orders), *placed]
    if "eBook Orders Placed" in language.sheets or not language.sheets:
        sheets["eBook Orders Placed"] = [list(language.orders), *placed]
    sheets["KENP Read"] = kenp_rows(pages, language=language, style=style)
    return {language.sheets.get(name, name): rows for name, rows in sheets.items()}


def kenp_rows(pages: Sequence[Pages], *, language: Language = ENGLISH, style: Style = PLAIN) -> Rows:
    rows = [[style.day(p.day), p.title, p.author, p.asin, p.marketplace, p.pages] for p in pages]
    return [list(language.kenp), *rows]


def kenp_with_audiobooks_rows(pages: Sequence[Pages]) -> Rows:
    """The newer sheet `KENP`."""
    headers = header_row("Date | Title | Author Name | eBook ASIN | Audiobook ASIN | Audible ASIN | Marketplace | KENP")
    return [
        headers,
        *[[p.day.isoformat(), p.title, p.author, p.asin, None, None, p.marketplace, p.pages] for p in pages],
    ]


def summary_rows(sales: Sequence[Sale], pages: Sequence[Pages], orders: Sequence[Order], language: Language) -> Rows:
    """One row a month; its royalties include those of pages."""
    currencies = ["USD", "GBP", "EUR", "JPY", "CAD", "INR", "PLN", "SEK", "BRL", "MXN", "AUD"]
    headers = {
        "en": header_row(
            "Date | Net Units Sold (eBook) | Free Units Sold (eBook) | Net Units Sold (Paperback) | "
            "Net Units Sold (Hardcover) | KOLL Borrows | Kindle Edition Normalized Page (KENP) Read"
        ),
        "es": header_row(
            "Fecha | Unidades netas vendidas (eBook) | Unidades gratuitas vendidas (eBook) | "
            "Unidades netas vendidas (Tapa blanda) | Unidades netas vendidas (tapa dura) | Préstamos de KOLL | "
            "Páginas KENP leídas"
        ),
        "ja": header_row("日付 | 電子書籍 | 無料 | ペーパーバック | ハードカバー | KOLL | 既読 KENP"),
    }[language.code]
    word = {"en": "Royalty", "es": "Regalías", "ja": "ロイヤリティ"}[language.code]
    rows: Rows = [[*headers, *[f"{word} ({currency})" for currency in currencies]]]
    for month in sorted({entry.day.replace(day=1) for entry in (*sales, *pages)}):
        of_month = [
            sale for sale in sales if sale.day.replace(day=1) == month and not sale.transaction.startswith("Free")
        ]
        read = [entry for entry in pages if entry.day.replace(day=1) == month]
        units: defaultdict[str, int] = defaultdict(int)
        money: defaultdict[str, Decimal] = defaultdict(Decimal)
        for sale in of_month:
            units[sale.format] += sale.sold - sale.refunded
            money[sale.currency] += sale.royalty
        for entry in read:
            money[entry.currency] += entry.royalty or Decimal(0)
        free = sum(order.free for order in orders if order.day.replace(day=1) == month)
        counts = [units["ebook"], free, units["paperback"], units["hardcover"], "N/A", sum(p.pages for p in read)]
        rows.append([language.month(month), *counts, *[money[currency] for currency in currencies]])
    return rows


def prior_month_sheets(
    month: date,
    sales: Sequence[Sale] = (),
    pages: Sequence[Pages] = (),
    *,
    language: Language = ENGLISH,
    style: Style = PLAIN,
    total_sheet: str | None = "Total Earnings",
    with_page_royalties: bool = True,
    with_net_units_of_print: bool = True,
) -> dict[str, Rows]:
    """Two header rows, no date column; `total_sheet` is called Total Royalty or Combined Royalty Report in older ones."""
    top = [[language.sales_period, language.month(month)]]
    sheets: dict[str, Rows] = {
        "eBook Royalty": [
            *top,
            list(language.prior_ebook),
            *[_prior_ebook(sale, language, style) for sale in sales if sale.format == "ebook"],
        ]
    }
    if language is ENGLISH:
        headers = header_row(
            "Title | Author | ISBN | Marketplace | Units Sold | Units Refunded | Net Units Sold | Royalty Type | "
            "Transaction Type | Avg. List Price without tax | Avg. Offer Price without tax | Avg. Manufacturing Cost | "
            "Royalty | Currency | ASIN"
        )
        for name in ("paperback", "hardcover"):
            rows = [[*top[0]], headers, *[_prior_print(sale, style) for sale in sales if sale.format == name]]
            if not with_net_units_of_print:
                rows = [rows[0], *[row[:6] + row[7:] for row in rows[1:]]]
            sheets[f"{name.capitalize()} Royalty"] = rows
    money = ["ロイヤリティ", "通貨"] if language is JAPANESE else ["Royalty", "Currency"]
    sheets["KENP Read"] = [
        *top,
        [*language.prior_kenp, *(money if with_page_royalties else [])],
        *[
            [
                p.title,
                p.author,
                p.asin,
                p.marketplace,
                p.pages,
                *([p.royalty, p.currency] if with_page_royalties else []),
            ]
            for p in pages
        ],
    ]
    if language is ENGLISH and total_sheet:
        sheets[total_sheet] = [*top, *total_rows(sales, pages, style, newest=total_sheet == "Total Earnings")]
    return {language.sheets.get(name, name): rows for name, rows in sheets.items()}


def total_rows(sales: Sequence[Sale], pages: Sequence[Pages], style: Style = PLAIN, *, newest: bool = True) -> Rows:
    headers = header_row(
        "Title | Author | ASIN/ISBN | Marketplace | Units Sold | Units Refunded | Net Units Sold or KENP Read** | "
        "Royalty Type | Payout Plan | Currency | Avg. List Price without tax | Avg. Offer Price without tax | "
        "Avg. File Size (MB) | Avg. Delivery/Manufacturing cost | Earnings"
    )
    if not newest:
        headers[6], headers[-1] = "Net Units Sold or Combined KENP", "Royalty"
    rows: Rows = [headers]
    for sale in sales:
        prices = [style.number(value) for value in (sale.list_price, sale.offer_price)]
        units = [sale.sold, sale.refunded, sale.sold - sale.refunded]
        book = [sale.title, sale.author, sale.isbn or sale.asin, sale.marketplace]
        plan = [sale.royalty_type, PAYOUT_PLANS[sale.format], sale.currency]
        rows.append([*book, *units, *plan, *prices, 1.2, style.number(sale.cost), style.number(sale.royalty)])
    for entry in pages:
        book = [entry.title, entry.author, entry.asin, entry.marketplace]
        plan = ["N/A", "Kindle Edition Normalized Pages (KENP)", entry.currency, "N/A", "N/A", "N/A", "N/A"]
        rows.append([*book, "N/A", "N/A", entry.pages, *plan, style.number(entry.royalty)])
    return rows


def payment_rows(
    payments: Sequence[Payment], *, with_adjustments: bool = False, blank_column: bool = True, style: Style = PLAIN
) -> Rows:
    headers = header_row(
        "Sales Period - Start Date | Sales Period - End Date | Marketplace | Payment Number | Detail | Date | "
        "Payment Method | Currency | Accrued Royalty | Tax Withholding | Adjustments | Net Earnings | Source | FX Rate | "
        "Currency | Payout Amount | Payment Status"
    )
    rows: Rows = [headers]
    for p in payments:
        days = [style.day(p.start), style.day(p.end)]
        who = [p.marketplace, p.number, p.detail, style.day(p.paid_on), p.method, p.currency]
        money = [style.number(value) for value in (p.accrued, p.tax, p.adjustments, p.net)]
        paid = [p.source, style.number(p.fx_rate), p.payout_currency, style.number(p.payout), p.status]
        rows.append([*days, *who, *money, *paid])
    if not with_adjustments:
        rows = [row[:10] + row[11:] for row in rows]
    return [["", *row] if blank_column else row for row in rows]


def workbook(sheets: Sheets) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def delimited(rows: Rows, *, delimiter: str = ",", encoding: str = "utf-8", line_end: str = "\r\n") -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=line_end).writerows(rows)
    return text.getvalue().encode(encoding)


def _combined(sale: Sale, language: Language, style: Style) -> list[Any]:
    return [*_start(sale, style), sale.isbn or sale.asin, *_middle(sale, language, style), *_end(sale, style)]


def _ebook(sale: Sale, language: Language, style: Style) -> list[Any]:
    cost, royalty, currency = _end(sale, style)
    return [*_start(sale, style), sale.asin, *_middle(sale, language, style), 1.46, cost, royalty, currency]


def _print(sale: Sale, language: Language, style: Style) -> list[Any]:
    day, title, author = _start(sale, style)
    book = [day, style.day(sale.order_day), title, author, sale.isbn]
    return [*book, *_middle(sale, language, style), *_end(sale, style), sale.asin]


def _start(sale: Sale, style: Style) -> list[Any]:
    return [style.day(sale.day), sale.title, sale.author]


def _middle(sale: Sale, language: Language, style: Style) -> list[Any]:
    transaction = language.transactions.get(sale.transaction, sale.transaction)
    units = [sale.sold, sale.refunded, sale.sold - sale.refunded]
    prices = [style.number(sale.list_price), style.number(sale.offer_price)]
    return [sale.marketplace, sale.royalty_type, transaction, *units, *prices]


def _end(sale: Sale, style: Style) -> list[Any]:
    return [style.number(sale.cost), style.number(sale.royalty), sale.currency]


def _prior_ebook(sale: Sale, language: Language, style: Style) -> list[Any]:
    transaction = language.transactions.get(sale.transaction, sale.transaction)
    units = [sale.sold, sale.refunded, sale.sold - sale.refunded]
    prices = [style.number(sale.list_price), style.number(sale.offer_price)]
    cost = language.not_applicable if sale.royalty_type == "35%" else style.number(sale.cost)
    book = [sale.title, sale.author, sale.asin, sale.marketplace]
    return [
        *book,
        *units,
        sale.royalty_type,
        transaction,
        sale.currency,
        *prices,
        1.46,
        cost,
        style.number(sale.royalty),
    ]


def _prior_print(sale: Sale, style: Style) -> list[Any]:
    units = [sale.sold, sale.refunded, sale.sold - sale.refunded]
    prices = [style.number(value) for value in (sale.list_price, sale.offer_price, sale.cost, sale.royalty)]
    book = [sale.title, sale.author, sale.isbn, sale.marketplace]
    return [*book, *units, sale.royalty_type, sale.transaction, *prices, sale.currency, sale.asin]
