"""Rows of KDP's sheets as rows of the ledger.

Here: royalty sheets, pages read, free units of the order sheets; each cell checked, a row that cannot be read set
aside as a problem. Not here: which sheets are counted (kdp.py).

Natural keys (amounts are never part of them; the first word keeps the kinds apart):
    royalty   is final, first and last day, ISBN or ASIN, marketplace, order date, royalty type, transaction type,
              currency
    pages     is final, first and last day, ASIN, marketplace
    free      first and last day, ASIN, marketplace
An estimate and a final row never share a key, so that neither overwrites the other; nor do rows of a sheet that repeats
other sheets (Combined Sales, Total Earnings, eBook Orders Placed) with rows of those: they write the same sale with
other words, without order dates, or on another day. Which of them counts, sales.supersede says.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion_pipeline.domains.sales import kdp_headers as words
from ingestion_pipeline.domains.sales.cells import last_day
from ingestion_pipeline.domains.sales.contracts import (
    MONEY,
    SALES_EVENTS,
    QuarantineError,
    RowProblem,
    natural_key,
    nearest,
)
from ingestion_pipeline.domains.sales.delimited_values import identifier, isbn
from ingestion_pipeline.domains.sales.kdp_cells import Cells, currencies, each_text, is_null, is_true, place
from ingestion_pipeline.domains.sales.kdp_layout import KdpTable

PAGES = "Kindle Edition Normalized Pages (KENP)"
FORMAT_OF_SHEET = {
    "eBook Royalty": "ebook",
    "Paperback Royalty": "paperback",
    "Hardcover Royalty": "hardcover",
    "Audiobook Royalty": "audiobook",
}
REPORT_OF_REPETITION = {
    "Combined Sales": "kdp_combined_sales",
    "Total Earnings": "kdp_total_earnings",
    "eBook Orders Placed": "kdp_orders_placed",
}
_SUMMED = ("units_sold", "units_refunded", "net_units", "pages_read", "royalty")
_PRICES = ("list_price", "offer_price")


@dataclass(frozen=True)
class Source:
    """What every row of a report shares; `month` is the one of a Prior Month report."""

    name: str
    report: str
    is_final: bool
    month: date | None


@dataclass(frozen=True)
class Part:
    """Ledger rows of one sheet, of which several may have the same natural key."""

    rows: pa.Table
    problems: Sequence[RowProblem]

    def only(self, column: str, values: Iterable[str]) -> "Part":
        return Part(self.rows.filter(pc.is_in(self.rows[column], pa.array(values, pa.string()))), self.problems)

    def without(self, column: str, values: Iterable[str]) -> "Part":
        is_one = pc.is_in(self.rows[column], pa.array(values, pa.string()))
        return Part(self.rows.filter(pc.invert(is_one)), self.problems)


def no_rows() -> Part:
    """Of a sheet that is not there."""
    return Part(SALES_EVENTS.empty_table(), ())


def royalty_rows(table: KdpTable, source: Source) -> Part:
    """Sales and refunds of a royalty sheet, of Combined Sales, or of Total Earnings (with its pages read)."""
    cells = Cells(table)
    book = _book(cells)
    start, end = _period(cells, source, "royalty_date", "date")
    transaction = _transactions(cells, source.name)
    if table.kind not in FORMAT_OF_SHEET:
        cells.refuse(is_null(transaction), "transaction_type", "a transaction type such as Standard - Paperback")
    is_pages = is_true(pc.equal(transaction, PAGES))
    currency = currencies(cells, "currency", source.name)
    cells.refuse(is_null(currency), "currency", "a currency such as USD")
    sold = _zero(cells.whole("units_sold"))
    refunded = _zero(cells.whole("units_refunded"))
    net_column = "net_units" if "net_units" in table.columns else "net_units_or_pages"
    net = cells.whole(net_column)
    royalty = cells.money("royalty")
    cells.refuse(is_true(pc.less(sold, 0)) & ~is_pages, "units_sold", "a number of units, not below 0")
    cells.refuse(is_true(pc.less(refunded, 0)), "units_refunded", "a number of units, not below 0")
    expected_net = pc.subtract(sold, refunded)
    cells.refuse(is_true(pc.not_equal(net, expected_net)) & ~is_pages, net_column, "units sold minus units refunded")
    free = is_true(pc.starts_with(transaction, "Free")) & ~is_true(pc.not_equal(royalty, pa.scalar(0, MONEY)))
    cells.refuse(is_null(royalty) & ~free, "royalty", "a number")
    royalty_type = each_text(cells.text("royalty_type"), _percent)
    sold, refunded, expected_net = (_where(is_pages, 0, units) for units in (sold, refunded, expected_net))
    kind = np.select([is_pages, free], ["pages_read", "free"], kind_of_sale(sold, refunded, royalty))
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
        units_sold=sold,
        units_refunded=refunded,
        net_units=expected_net,
        pages_read=pages,
        list_price=cells.money("list_price"),
        offer_price=cells.money("offer_price"),
        currency=currency,
        royalty=pc.if_else(pa.array(free), pc.coalesce(royalty, pa.scalar(0, MONEY)), royalty),
        period_start=start,
        period_end=end,
    )
    sale_key = (order_date, royalty_type, transaction, currency)
    counted_as = REPORT_OF_REPETITION.get(table.kind, "")
    kinds = np.where(is_pages, f"pages{counted_as}", f"royalty{counted_as}")
    key = [pa.array(kinds), pa.repeat(source.is_final, cells.count), start, end]
    key += [book["edition_id"], book["storefront"]]
    key += [pc.if_else(pa.array(is_pages), pa.scalar(None, array.type), array) for array in sale_key]
    return _part(cells, rows, key)


def pages_rows(table: KdpTable, source: Source) -> Part:
    """Pages read; the royalty only where the report states it."""
    cells = Cells(table)
    book = _book(cells)
    start, end = _period(cells, source, "date")
    pages = cells.whole("pages_read")
    cells.refuse(is_null(pages) | is_true(pc.less(pages, 0)), "pages_read", "a number of pages, not below 0")
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
    every.refuse(is_true(pc.less(units, 0)), "free_units", "a number of units, not below 0")
    is_free = is_true(pc.greater(units, 0))
    cells = Cells(table.only(is_free))
    cells.problems = every.problems
    free = units.filter(pa.array(is_free))
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
    counted_as = REPORT_OF_REPETITION.get(table.kind, "")
    key = [pa.repeat(f"free{counted_as}", cells.count), start, end, book["edition_id"], book["storefront"]]
    return _part(cells, rows, key)


def kind_of_sale(sold: pa.Array, refunded: pa.Array, royalty: pa.Array) -> np.ndarray:
    """sale, refund (nothing but refunds) or adjustment (money without units)."""
    no_sale = pc.equal(sold, 0)
    is_refund = is_true(pc.and_(no_sale, pc.greater(refunded, 0)))
    is_adjustment = is_true(pc.and_(no_sale, pc.not_equal(royalty, pa.scalar(0, MONEY))))
    return np.select([is_refund, is_adjustment], ["refund", "adjustment"], "sale")


def _transactions(cells: Cells, name: str) -> pa.Array:
    """In KDP's English, null where none stands.

    Raises:
        QuarantineError: One that nobody knows: it could be any kind of sale, and would be another row in each language.
    """
    seen = cells.text("transaction_type")
    known = each_text(seen, words.transaction_type)
    unknown = pc.and_(seen.is_valid(), known.is_null())
    if pc.any(unknown).as_py():
        row = pc.index(unknown, value=True).as_py()
        text, header = seen[row].as_py(), cells.table.headers["transaction_type"]
        raise QuarantineError(
            f"{place(cells, name, row)}: unknown {header} {text!r}{nearest(text, words.TRANSACTION_ALIASES)}"
        )
    return known


def _book(cells: Cells) -> dict[str, pa.Array]:
    title = cells.required_text("title")
    storefront = cells.required_text("marketplace")
    edition = cells.required_text("isbn", "asin_or_isbn", "asin", "ebook_asin", "audible_asin", "audiobook_asin")
    for column in ("isbn", "asin_or_isbn", "asin"):
        if column in cells.table.columns:
            rounded = pc.match_substring_regex(cells.text(column), r"(?i)^\d([.,]\d+)?e\+?\d+$")
            cells.refuse(is_true(rounded), column, "an ISBN or ASIN in full (Excel has rounded it: export it again)")
    return {
        "title": title,
        "author": cells.text("author"),
        "title_id": each_text(
            cells.text("asin", "ebook_asin", "asin_or_isbn", "isbn", "audible_asin", "audiobook_asin"),
            _plain_id,
        ),
        "edition_id": each_text(edition, _plain_id),
        "storefront": each_text(
            storefront, lambda seen: market.storefront if (market := words.marketplace(seen)) else seen
        ),
        "country": each_text(storefront, lambda seen: market.country if (market := words.marketplace(seen)) else None),
    }


def _plain_id(seen: str) -> str:
    """Of an ISBN the digits only: with hyphens or with Excel's apostrophe it is the same."""
    bare = seen.lstrip("'")
    return isbn(bare) or identifier(bare) or seen


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
    of_market = each_text(
        cells.text("marketplace"), lambda seen: market.currency if (market := words.marketplace(seen)) else None
    )
    currency = of_market if stated is None else pc.coalesce(stated, of_market)
    cells.refuse(is_null(currency), "marketplace", "a marketplace of Amazon whose currency is known")
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
        "source_report": pa.repeat(REPORT_OF_REPETITION.get(cells.table.kind, source.report), cells.count),
        "sheet": pa.array([cells.table.sheet] * cells.count, pa.string()),
        "row_number": pa.array(cells.table.row_numbers, pa.int64()),
        **columns,
    }
    arrays = [given.get(field.name, pa.nulls(cells.count, field.type)).cast(field.type) for field in SALES_EVENTS]
    return pa.table(dict(zip(SALES_EVENTS.names, arrays, strict=True)))


def _part(cells: Cells, rows: pa.Table, key: Sequence[pa.Array]) -> Part:
    taken = pa.array(~cells.refused)
    parts = [pc.fill_null(pc.cast(array.filter(taken), pa.string()), "\x00") for array in key]
    keys = pa.array([natural_key(str(joined)) for joined in pc.binary_join_element_wise(*parts, "\x1f")], pa.string())
    index = SALES_EVENTS.get_field_index("natural_key")
    keyed = rows.filter(taken).set_column(index, SALES_EVENTS.field(index), keys).cast(SALES_EVENTS)
    return Part(keyed, sorted(cells.problems, key=lambda problem: problem.row_number))


def merged(parts: Iterable[Part]) -> pa.Table:
    """All rows, those of one key as one: KDP's rows are sums, and a sale and its refund are one key.

    A price that they do not share is null, as is a royalty that one of them does not state. The place is the first's.
    """
    rows = pa.concat_tables([no_rows().rows, *(part.rows for part in parts)]).combine_chunks()
    if pc.count_distinct(rows["natural_key"]).as_py() == rows.num_rows:
        return rows
    whole = pc.ScalarAggregateOptions(skip_nulls=False)
    numbered = rows.append_column("place", pa.array(np.arange(rows.num_rows)))
    sums = numbered.group_by("natural_key", use_threads=False).aggregate(
        [
            ("place", "min"),
            *((name, "sum", whole) for name in _SUMMED),
            *((name, function) for name in _PRICES for function in ("min", "max")),
        ]
    )
    first = rows.take(sums["place_min"])
    columns = {name: first[name] for name in SALES_EVENTS.names} | {name: sums[f"{name}_sum"] for name in _SUMMED}
    for name in _PRICES:
        columns[name] = pc.if_else(pc.equal(sums[f"{name}_min"], sums[f"{name}_max"]), first[name], None)
    kind = kind_of_sale(*(columns[name].combine_chunks() for name in ("units_sold", "units_refunded", "royalty")))
    is_sale = pc.invert(pc.is_in(columns["kind"], pa.array(["free", "pages_read"])))
    columns["kind"] = pc.if_else(is_sale, pa.array(kind.tolist(), pa.string()), columns["kind"])
    return pa.table({name: columns[name] for name in SALES_EVENTS.names}).cast(SALES_EVENTS)


def _formats(table: KdpTable, transaction: pa.Array) -> pa.Array:
    """By sheet; where one sheet holds all formats, or a CSV file does not say which it is, by transaction type."""
    if table.sheet is not None and table.kind in FORMAT_OF_SHEET:
        return pa.repeat(FORMAT_OF_SHEET[table.kind], len(transaction))
    otherwise = FORMAT_OF_SHEET.get(table.kind, "ebook")

    def of(seen: str | None) -> str:
        if seen is None:
            return otherwise
        if "Hardcover" in seen:
            return "hardcover"
        if "Audiobook" in seen:
            return "audiobook"
        return "paperback" if "Paperback" in seen or "Expanded" in seen else otherwise

    return pa.array([of(seen) for seen in transaction.to_pylist()], pa.string())


def _percent(seen: str) -> str:
    """0.7 and 70 in a cell, "70 %", "70,0%" and "70%" are one royalty type."""
    match = re.fullmatch(r"(\d*[.,]?\d+)\s*(%?)", seen)
    if match is None:
        return seen
    value = Decimal(match[1].replace(",", "."))
    share = value * 100 if value <= 1 and not match[2] else value
    return f"{share.normalize():f}%"


def _zero(array: pa.Array) -> pa.Array:
    return pc.fill_null(array, 0)


def _where(mask: np.ndarray, value: int, otherwise: pa.Array) -> pa.Array:
    return pc.if_else(pa.array(mask), pa.scalar(value, otherwise.type), otherwise)
