"""Rows of KDP's sheets as rows of the ledger.

Here: royalty sheets, pages read, free units of the order sheets; each cell checked, a row that cannot be read set
aside as a problem. Not here: which sheets are counted (kdp.py).

Natural keys (amounts are never part of them; the first word keeps the three kinds apart):
    royalty   is final, first and last day, ISBN or ASIN, marketplace, order date, royalty type, transaction type,
              currency
    pages     is final, first and last day, ASIN, marketplace
    free      first and last day, ASIN, marketplace
An estimate and a final row never share a key, so that neither overwrites the other.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion_pipeline.domains.sales import kdp_headers as words
from ingestion_pipeline.domains.sales.cells import (
    NOT_APPLICABLE,
    Values,
    dates,
    decimals,
    last_day,
    text_values,
    whole_numbers,
)
from ingestion_pipeline.domains.sales.contracts import (
    CURRENCIES,
    MONEY,
    SALES_EVENTS,
    QuarantineError,
    RowProblem,
    natural_key,
    nearest,
)
from ingestion_pipeline.domains.sales.kdp_layout import KdpTable

PAGES = "Kindle Edition Normalized Pages (KENP)"
_FORMATS = {
    "eBook Royalty": "ebook",
    "Paperback Royalty": "paperback",
    "Hardcover Royalty": "hardcover",
    "Audiobook Royalty": "audiobook",
}


@dataclass(frozen=True)
class Source:
    """What every row of a report shares; `month` is the one of a Prior Month report."""

    name: str
    report: str
    is_final: bool
    month: date | None


@dataclass(frozen=True)
class Part:
    """Ledger rows of one sheet and, beside them, their natural keys, of which equal rows have the same."""

    rows: pa.Table
    keys: Sequence[str]
    problems: Sequence[RowProblem]


class Cells:
    """The cells of one table, read by type; remembers the rows that have to be set aside, and why."""

    def __init__(self, table: KdpTable) -> None:
        self.table = table
        self.count = len(table.row_numbers)
        self.refused = np.zeros(self.count, dtype=bool)
        self.problems: list[RowProblem] = []

    def text(self, *columns: str) -> pa.Array:
        """The first of the columns that says something."""
        present = [_optional(text_values(self.table.columns[name])) for name in columns if name in self.table.columns]
        return pc.coalesce(*present) if present else pa.nulls(self.count, pa.string())

    def required_text(self, column: str, *others: str) -> pa.Array:
        array = self.text(column, *others)
        present = next((name for name in (column, *others) if name in self.table.columns), column)
        self.refuse(_null(array), present, "a text")
        return array

    def money(self, column: str) -> pa.Array:
        return self._values(column, lambda: decimals(self.table.columns[column], decimal_comma=self._comma), "a number")

    def whole(self, column: str) -> pa.Array:
        return self._values(
            column, lambda: whole_numbers(self.table.columns[column], decimal_comma=self._comma), "a whole number"
        )

    def span(self, *columns: str) -> tuple[pa.Array, pa.Array]:
        """First and last day, of the first of the columns that there is; it has to say one."""
        column = next(name for name in columns if name in self.table.columns)
        first, last = dates(self.table.columns[column])
        self.refuse(first.bad | _null(first.array), column, "a date such as 2026-03-31 or a month such as 2026-03")
        return first.array, last.array

    def day(self, column: str) -> pa.Array:
        """Null where nothing stands; the last day where the cell says a month."""
        if column not in self.table.columns:
            return pa.nulls(self.count, pa.date32())
        _, last = dates(self.table.columns[column])
        self.refuse(last.bad, column, "a date such as 2026-03-31")
        return last.array

    def refuse(self, mask: np.ndarray, column: str, expected: str) -> None:
        """A row is set aside once, for the first reason."""
        rows = np.flatnonzero(mask & ~self.refused)
        if rows.size == 0:
            return
        self.refused[rows] = True
        cells = self.table.columns.get(column)
        seen = text_values(cells).take(pa.array(rows)).to_pylist() if cells else [None] * len(rows)
        self.problems += [
            RowProblem(
                sheet=self.table.sheet,
                row_number=int(self.table.row_numbers[row]),
                column=self.table.headers.get(column, column),
                seen=(text or "")[:200],
                expected=expected,
            )
            for row, text in zip(rows, seen, strict=True)
        ]

    @property
    def _comma(self) -> bool:
        return self.table.decimal_comma

    def _values(self, column: str, read: Callable[[], Values], expected: str) -> pa.Array:
        if column not in self.table.columns:
            return pa.nulls(self.count, MONEY if expected == "a number" else pa.int64())
        values = read()
        self.refuse(values.bad, column, expected)
        return values.array


def royalty_rows(table: KdpTable, source: Source) -> Part:
    """Sales and refunds of a royalty sheet, of Combined Sales, or of Total Earnings (with its pages read)."""
    cells = Cells(table)
    book = _book(cells)
    start, end = _period(cells, source, "royalty_date", "date")
    transaction = _each(cells.text("transaction_type"), words.transaction_type)
    is_pages = _true(pc.equal(transaction, PAGES))
    currency = currencies(cells, "currency", source.name)
    cells.refuse(_null(currency), "currency", "a currency such as USD")
    sold = _zero(cells.whole("units_sold"))
    refunded = _zero(cells.whole("units_refunded"))
    net_column = "net_units" if "net_units" in table.columns else "net_units_or_pages"
    net = cells.whole(net_column)
    royalty = cells.money("royalty")
    cells.refuse(_true(pc.less(sold, 0)) & ~is_pages, "units_sold", "a number of units, not below 0")
    cells.refuse(_true(pc.less(refunded, 0)), "units_refunded", "a number of units, not below 0")
    expected_net = pc.subtract(sold, refunded)
    cells.refuse(_true(pc.not_equal(net, expected_net)) & ~is_pages, net_column, "units sold minus units refunded")
    free = _true(pc.starts_with(transaction, "Free")) & ~_true(pc.not_equal(royalty, pa.scalar(0, MONEY)))
    cells.refuse(_null(royalty) & ~free, "royalty", "a number")
    royalty_type = _each(cells.text("royalty_type"), _percent)
    kind = np.select(
        [
            is_pages,
            free,
            _true(pc.and_(pc.equal(sold, 0), pc.greater(refunded, 0))),
            _true(pc.and_(pc.equal(sold, 0), pc.not_equal(royalty, pa.scalar(0, MONEY)))),
        ],
        ["pages_read", "free", "refund", "adjustment"],
        "sale",
    )
    pages = pa.array(np.where(is_pages, _zero(net).to_numpy(), 0))
    order_date = cells.day("order_date")
    rows = _ledger(
        cells,
        source,
        **book,
        format=_formats(table, transaction),
        kind=pa.array(kind),
        transaction_type=transaction,
        royalty_type=royalty_type,
        units_sold=_where(is_pages, 0, sold),
        units_refunded=_where(is_pages, 0, refunded),
        net_units=_where(is_pages, 0, expected_net),
        pages_read=pages,
        list_price=cells.money("list_price"),
        offer_price=cells.money("offer_price"),
        currency=currency,
        royalty=pc.if_else(pa.array(free), pc.coalesce(royalty, pa.scalar(0, MONEY)), royalty),
        period_start=start,
        period_end=end,
    )
    sale_key = (order_date, royalty_type, transaction, currency)
    key = [pa.array(np.where(is_pages, "pages", "royalty")), pa.repeat(source.is_final, cells.count), start, end]
    key += [book["edition_id"], book["storefront"]]
    key += [pc.if_else(pa.array(is_pages), pa.scalar(None, array.type), array) for array in sale_key]
    return _part(cells, rows, key)


def pages_rows(table: KdpTable, source: Source) -> Part:
    """Pages read; the royalty only where the report states it."""
    cells = Cells(table)
    book = _book(cells)
    start, end = _period(cells, source, "date")
    pages = cells.whole("pages_read")
    cells.refuse(_null(pages) | _true(pc.less(pages, 0)), "pages_read", "a number of pages, not below 0")
    rows = _ledger(
        cells,
        source,
        **book,
        format=pa.repeat("ebook", cells.count),
        kind=pa.repeat("pages_read", cells.count),
        pages_read=pages,
        currency=_currency_of_market(cells, currencies(cells, "currency", source.name)),
        royalty=cells.money("royalty"),
        period_start=start,
        period_end=end,
    )
    no_text = pa.nulls(cells.count, pa.string())
    key = [pa.repeat("pages", cells.count), pa.repeat(source.is_final, cells.count), start, end]
    key += [book["edition_id"], book["storefront"], no_text, no_text, no_text, no_text]
    return _part(cells, rows, key)


def free_rows(table: KdpTable, source: Source) -> Part:
    """The free units of an orders sheet; its paid units repeat the royalty sheets."""
    every = Cells(table)
    units = every.whole("free_units")
    every.refuse(_true(pc.less(units, 0)), "free_units", "a number of units, not below 0")
    cells = Cells(table.only(_true(pc.greater(units, 0))))
    cells.problems = every.problems
    free = cells.whole("free_units")
    book = _book(cells)
    start, end = _period(cells, source, "date")
    rows = _ledger(
        cells,
        source,
        **book,
        format=pa.repeat("ebook", cells.count),
        kind=pa.repeat("free", cells.count),
        units_sold=free,
        net_units=free,
        currency=_currency_of_market(cells),
        royalty=pa.repeat(pa.scalar(0, MONEY), cells.count),
        period_start=start,
        period_end=end,
    )
    key = [pa.repeat("free", cells.count), start, end, book["edition_id"], book["storefront"]]
    return _part(cells, rows, key)


def currencies(cells: Cells, column: str, name: str) -> pa.Array:
    """ISO 4217 codes, null where none stands.

    Raises:
        QuarantineError: A currency that is none: the amounts beside it would mean nothing.
    """
    codes = _each(cells.text(column), str.upper)
    for code in pc.unique(codes).to_pylist():
        if code is not None and code not in CURRENCIES:
            row = cells.table.row_numbers[pc.index(codes, code).as_py()]
            where = f"{name!r}: sheet {cells.table.sheet!r} row {row}"
            raise QuarantineError(f"{where}: unknown currency {code!r}{nearest(code, CURRENCIES)}")
    return codes


def _book(cells: Cells) -> dict[str, pa.Array]:
    title = cells.required_text("title")
    storefront = cells.required_text("marketplace")
    edition = cells.required_text("isbn", "asin_or_isbn", "asin", "ebook_asin", "audible_asin", "audiobook_asin")
    for column in ("isbn", "asin_or_isbn", "asin"):
        if column in cells.table.columns:
            rounded = pc.match_substring_regex(cells.text(column), r"(?i)^\d([.,]\d+)?e\+?\d+$")
            cells.refuse(_true(rounded), column, "an ISBN or ASIN in full (Excel has rounded it: export it again)")
    return {
        "title": title,
        "author": cells.text("author"),
        "title_id": cells.text("asin", "ebook_asin", "asin_or_isbn", "isbn", "audible_asin", "audiobook_asin"),
        "edition_id": edition,
        "storefront": _each(
            storefront, lambda seen: market.storefront if (market := words.marketplace(seen)) else seen
        ),
        "country": _each(storefront, lambda seen: market.country if (market := words.marketplace(seen)) else None),
    }


def _period(cells: Cells, source: Source, *columns: str) -> tuple[pa.Array, pa.Array]:
    if source.month is not None:
        days = (source.month, last_day(source.month))
        first, last = (pa.repeat(pa.scalar(day, pa.date32()), cells.count) for day in days)
        return first, last
    if not any(column in cells.table.columns for column in columns):
        raise QuarantineError(
            f"{source.name!r}: sheet {cells.table.sheet!r} has neither a date column nor a 'Sales Period' row"
        )
    return cells.span(*columns)


def _currency_of_market(cells: Cells, stated: pa.Array | None = None) -> pa.Array:
    """The stated currency, or else the one of the marketplace's prices."""
    of_market = _each(
        cells.text("marketplace"), lambda seen: market.currency if (market := words.marketplace(seen)) else None
    )
    currency = of_market if stated is None else pc.coalesce(stated, of_market)
    cells.refuse(_null(currency), "marketplace", "a marketplace of Amazon whose currency is known")
    return currency


def _ledger(cells: Cells, source: Source, **columns: pa.Array) -> pa.Table:
    zeros = pa.repeat(pa.scalar(0, pa.int64()), cells.count)
    given = {
        "platform": pa.repeat("amazon_kdp", cells.count),
        "units_sold": zeros,
        "units_refunded": zeros,
        "net_units": zeros,
        "pages_read": zeros,
        "is_final": pa.repeat(source.is_final, cells.count),
        "source_report": pa.repeat(source.report, cells.count),
        "sheet": pa.array([cells.table.sheet] * cells.count, pa.string()),
        "row_number": pa.array(cells.table.row_numbers, pa.int64()),
        **columns,
    }
    arrays = [given.get(field.name, pa.nulls(cells.count, field.type)).cast(field.type) for field in SALES_EVENTS]
    return pa.table(dict(zip(SALES_EVENTS.names, arrays, strict=True)))


def _part(cells: Cells, rows: pa.Table, key: Sequence[pa.Array]) -> Part:
    taken = pa.array(~cells.refused)
    parts = [pc.fill_null(pc.cast(array.filter(taken), pa.string()), "\x00") for array in key]
    keys = [natural_key(str(joined)) for joined in pc.binary_join_element_wise(*parts, "\x1f")]
    return Part(rows.filter(taken), keys, sorted(cells.problems, key=lambda problem: problem.row_number))


def _formats(table: KdpTable, transaction: pa.Array) -> pa.Array:
    """By sheet; where one sheet holds all formats, or a CSV file does not say which it is, by transaction type."""
    if table.sheet is not None and table.kind in _FORMATS:
        return pa.repeat(_FORMATS[table.kind], len(transaction))
    otherwise = _FORMATS.get(table.kind, "ebook")

    def of(seen: str | None) -> str:
        if seen is None:
            return otherwise
        if "Hardcover" in seen:
            return "hardcover"
        return "paperback" if "Paperback" in seen or "Expanded" in seen else otherwise

    return pa.array([of(seen) for seen in transaction.to_pylist()], pa.string())


def _percent(seen: str) -> str:
    """0.7 in a cell formatted as a percentage, "70 %" and "70%" are one royalty type."""
    if re.fullmatch(r"0?[.,]\d+|1", seen):
        return f"{(Decimal(seen.replace(',', '.')) * 100).normalize():f}%"
    return re.sub(r"\s+%", "%", seen)


def _optional(text: pa.Array) -> pa.Array:
    return _each(text, lambda seen: None if seen.casefold() in NOT_APPLICABLE else seen)


def _each(text: pa.Array, change: Callable[[str], str | None]) -> pa.Array:
    """Changes every different text once."""
    encoded = text.dictionary_encode()
    if len(encoded.dictionary) == 0:
        return text
    return pa.array([change(seen) for seen in encoded.dictionary.to_pylist()], pa.string()).take(encoded.indices)


def _zero(array: pa.Array) -> pa.Array:
    return pc.fill_null(array, 0)


def _where(mask: np.ndarray, value: int, otherwise: pa.Array) -> pa.Array:
    return pc.if_else(pa.array(mask), pa.scalar(value, otherwise.type), otherwise)


def _true(array: pa.Array) -> np.ndarray:
    """Null is False."""
    mask: np.ndarray = pc.fill_null(array, fill_value=False).to_numpy(zero_copy_only=False)
    return mask


def _null(array: pa.Array) -> np.ndarray:
    mask: np.ndarray = array.is_null().to_numpy(zero_copy_only=False)
    return mask
