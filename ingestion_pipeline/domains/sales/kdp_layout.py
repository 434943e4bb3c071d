"""What stands where in a file of Amazon KDP: which sheet is which, its header row, its columns, its month.

Here: recognition by names and headers, never by position (but for the second `Currency` of Payments, which has no
name of its own), and the refusal of what is not recognised. Not here: what the values mean.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from ingestion_pipeline.domains.sales import kdp_headers as words
from ingestion_pipeline.domains.sales.cells import month_of
from ingestion_pipeline.domains.sales.contracts import QuarantineError, Skipped, nearest
from ingestion_pipeline.domains.sales.workbooks import Column, Sheet

ROYALTY_SHEETS = ("eBook Royalty", "Paperback Royalty", "Hardcover Royalty", "Audiobook Royalty")
BOOK_IDS = ("asin", "isbn", "asin_or_isbn", "ebook_asin", "audible_asin", "audiobook_asin")

REPEATING_SHEETS = ("Summary", "Combined Sales", "Total Earnings", "eBook Orders Placed")

_HEAD_ROWS = 10
_LEAST_HEADERS = 3
_LIKENESS = 0.7
_PRINT = ("Paperback Royalty", "Hardcover Royalty")
_ROYALTY = (
    "title",
    "marketplace",
    "units_sold",
    "units_refunded",
    "royalty_type",
    "transaction_type",
    "royalty",
    "currency",
)
_REQUIRED = {
    "KENP Read": ("title", "marketplace", "pages_read"),
    "Orders Processed": ("date", "title", "marketplace", "free_units"),
    "eBook Orders Placed": ("date", "title", "marketplace", "free_units"),
    "Total Earnings": (*_ROYALTY, "net_units_or_pages"),
    "Combined Sales": (*_ROYALTY, "net_units"),
    **dict.fromkeys(ROYALTY_SHEETS, (*_ROYALTY, "net_units")),
    "Payments": (
        "payment_period_start",
        "payment_period_end",
        "marketplace",
        "payment_number",
        "currency",
        "accrued",
        "net_earnings",
    ),
}
# print of Prior Month Royalties may lack them; only print by the day has an order date
_OPTIONAL_IN_A_MONTH = ("transaction_type", "net_units")
_OTHERS = {
    "KENP Read": ("author", "royalty", "currency"),
    "Orders Processed": ("author", "paid_units"),
    "eBook Orders Placed": ("author", "paid_units"),
    "Payments": (
        "detail",
        "date",
        "payment_method",
        "tax_withheld",
        "adjustments",
        "source",
        "fx_rate",
        "payout_amount",
        "payment_status",
    ),
    **dict.fromkeys(
        (*ROYALTY_SHEETS, "Combined Sales", "Total Earnings"),
        ("author", "net_units", "transaction_type", "list_price", "offer_price", "cost"),
    ),
}
_PREFIXES = {
    "kdp_prior_month": r"KDP[_ -]Prior[_ -]Month[_ -]Royalties",
    "kdp_dashboard": r"KDP[_ -]Dashboard",
    "kdp_estimator": r"KDP[_ -]Royalties[_ -]Estimator",
    "kdp_orders": r"KDP[_ -]Orders",
    "kdp_kenp": r"KDP[_ -]KENP",
    "kdp_payments": r"KDP[_ -]Payments",
}


@dataclass(frozen=True)
class KdpTable:
    """One recognised sheet, its empty rows left out.

    Attributes:
        kind: The English name of the sheet.
        sheet: Its name in the file; None in a CSV file.
        columns: By our names.
        headers: What the file calls them, by our names.
        row_numbers: As in Excel, one for each row.
        month: Of the sheet's `Sales Period`; None where it has none.
        decimal_comma: Whether "1,234" is a number below two.
        ignored: Headers that KDP does not write.
    """

    kind: str
    sheet: str | None
    columns: dict[str, Column]
    headers: dict[str, str]
    row_numbers: np.ndarray
    month: date | None
    decimal_comma: bool
    ignored: tuple[str, ...]

    @property
    def has_own_dates(self) -> bool:
        return "royalty_date" in self.columns or "date" in self.columns

    def only(self, rows: np.ndarray) -> "KdpTable":
        columns = {column: cells.only(rows) for column, cells in self.columns.items()}
        return replace(self, columns=columns, row_numbers=self.row_numbers[rows])


@dataclass(frozen=True)
class Unread:
    """A sheet that may only repeat others, and why it cannot be read."""

    kind: str
    sheet: str
    reason: str


def tables(sheets: Sequence[Sheet], name: str) -> tuple[list[KdpTable], list[Unread], list[Skipped]]:
    """Every sheet as a table, as one of `REPEATING_SHEETS` that cannot be read or, with the reason, as left out.

    Raises:
        QuarantineError: An unknown sheet or header row, a missing column, or one kind of sheet twice.
    """
    found: list[KdpTable] = []
    unread: list[Unread] = []
    skipped: list[Skipped] = []
    for sheet in sheets:
        kind = _kind(sheet, name)
        if kind == "Report Definitions":
            skipped.append(Skipped(sheet=sheet.name, reason="explains the columns, holds no data"))
        elif sheet.row_count == 0:
            skipped.append(Skipped(sheet=sheet.name, reason="the sheet is empty"))
        elif kind == "KENP Read" and any(table.kind == kind for table in found):
            skipped.append(Skipped(sheet=sheet.name, reason="a second sheet of pages read: the first is counted"))
        else:
            try:
                found.append(_table(sheet, kind, name))
            except QuarantineError as error:
                if sheet.name is None or kind not in REPEATING_SHEETS:
                    raise
                unread.append(Unread(kind, sheet.name, str(error)))
    kinds = [table.kind for table in found]
    if twice := next((kind for kind in kinds if kinds.count(kind) > 1), None):
        raise QuarantineError(f"{name!r} holds the sheet {twice!r} twice: remove the copy")
    return found, unread, skipped


def report_of(found: Sequence[KdpTable], name: str) -> str:
    """One of contracts.REPORTS: by content where it tells, else by the beginning of the file's name."""
    kinds = {table.kind for table in found}
    if any(table.month for table in found):
        return "kdp_prior_month"
    if "Payments" in kinds:
        return "kdp_payments"
    named = next((report for report, prefix in _PREFIXES.items() if re.match(prefix, name, re.IGNORECASE)), None)
    if named == "kdp_prior_month" and any(table.has_own_dates for table in found):
        named = None
    if named is not None and named != "kdp_payments":
        return named
    if kinds == {"KENP Read"}:
        return "kdp_kenp"
    if "Total Earnings" in kinds:
        return "kdp_prior_month"
    return "kdp_dashboard" if "Summary" in kinds else "kdp_estimator"


def month_of_report(found: Sequence[KdpTable], name: str) -> date:
    """The one month of a Prior Month report: of its sheets, or where they do not say, of the file's name."""
    months = {table.month: table.sheet for table in found if table.month}
    if len(months) > 1:
        said = ", ".join(f"{sheet!r} {month:%Y-%m}" for month, sheet in months.items())
        raise QuarantineError(f"{name!r}: the sheets are of different months: {said}")
    if months:
        return next(iter(months))
    if (in_name := re.search(r"(?<!\d)(\d{4}-\d{2})-\d{2}(?!\d)", name)) and (month := month_of(in_name[1])):
        return month
    raise QuarantineError(
        f"{name!r} does not say its month: expected 'Sales Period' in the first row, or a file name as KDP gives it, "
        "such as KDP_Prior_Month_Royalties-2026-03-01-….xlsx"
    )


def _kind(sheet: Sheet, name: str) -> str | None:
    if sheet.name is None:
        return None
    kind = words.sheet_of(sheet.name)
    if kind is None and sheet.row_count:
        raise QuarantineError(
            f"{name!r}: unknown sheet {sheet.name!r}{nearest(sheet.name, words.SHEET_ALIASES)}; KDP's sheets are known "
            "in English, Spanish and Japanese"
        )
    return kind


def _table(sheet: Sheet, kind: str | None, name: str) -> KdpTable:
    head = sheet.head(_HEAD_ROWS)
    where = f"{name!r}" if sheet.name is None else f"{name!r}: sheet {sheet.name!r}"
    row = _header_row(head, where)
    columns, headers, ignored = _columns(sheet, head[row], kind, where)
    kind = kind or _kind_by_columns(columns, name, where)
    month = _sales_period(head[:row], where)
    _require(columns, kind, ignored, where)
    _refuse_misspelt(columns, kind, ignored, where)
    data = {column: cells.below(row + 1) for column, cells in columns.items()}
    filled = np.logical_or.reduce([cells.filled() for cells in data.values()])
    return KdpTable(
        kind=kind,
        sheet=sheet.name,
        columns=data if filled.all() else {column: cells.only(filled) for column, cells in data.items()},
        headers=headers,
        row_numbers=np.flatnonzero(filled) + row + 2,
        month=month,
        decimal_comma=words.language_of(head[row]) == "es",
        ignored=tuple(ignored),
    )


def _header_row(head: Sequence[Sequence[str]], where: str) -> int:
    known = [sum(words.column_of(cell) is not None for cell in row) for row in head]
    row = max(range(len(head)), key=known.__getitem__)
    if known[row] < _LEAST_HEADERS:
        first = next((cells for cells in head if any(cells)), [])
        seen = ", ".join(f"{cell!r}{nearest(cell, words.COLUMN_ALIASES)}" for cell in first[:5] if cell)
        raise QuarantineError(
            f"{where}: no header row of KDP in the first {_HEAD_ROWS} rows; found {seen or 'nothing'}"
        )
    return row


def _columns(
    sheet: Sheet, header_row: Sequence[str], kind: str | None, where: str
) -> tuple[dict[str, Column], dict[str, str], list[str]]:
    columns: dict[str, Column] = {}
    headers: dict[str, str] = {}
    ignored = []
    is_payments = kind == "Payments" or any(words.column_of(header) == "payment_number" for header in header_row)
    for header, cells in zip(header_row, sheet.columns, strict=True):
        if not header:
            continue
        column = words.column_of(header)
        if column == "currency" and is_payments and "currency" in columns:
            column = "payout_currency"
        if column is None:
            ignored.append(header)
        elif column in columns:
            raise QuarantineError(f"{where}: the column {header!r} stands twice")
        else:
            columns[column], headers[column] = cells, header
    return columns, headers, ignored


def _kind_by_columns(columns: dict[str, Column], name: str, where: str) -> str:
    """Of a CSV file, which has no sheet name."""
    plain = re.sub(r"[_-]+", " ", words.folded(name))
    is_hardcover = "hardcover" in plain
    kind_by_column = {
        "payment_number": "Payments",
        "pages_read": "KENP Read",
        "free_units": "eBook Orders Placed" if "orders placed" in plain else "Orders Processed",
        "net_units_or_pages": "Total Earnings",
        "asin_or_isbn": "Combined Sales",
        "isbn": "Hardcover Royalty" if is_hardcover else "Paperback Royalty",
        "royalty": "eBook Royalty",
    }
    if "isbn" in columns and "transaction_type" not in columns and is_hardcover == ("paperback" in plain):
        raise QuarantineError(
            f"{where} does not say whether its books are paperbacks or hardcovers: hand in the workbook, or name the "
            "file as the sheet is called"
        )
    if any(column.startswith("royalty_") and column[8:].isupper() for column in columns):
        return "Summary"
    kind = next((kind for column, kind in kind_by_column.items() if column in columns), None)
    if kind is None:
        raise QuarantineError(f"{where}: no report of KDP has only the columns {', '.join(columns)}")
    return kind


def _require(columns: dict[str, Column], kind: str, ignored: Sequence[str], where: str) -> None:
    required = list(_REQUIRED.get(kind, ()))
    if kind in _PRINT and "royalty_date" in columns:
        required.append("order_date")
    elif kind in _PRINT:
        required = [column for column in required if column not in _OPTIONAL_IN_A_MONTH]
    missing = [column for column in required if column not in columns]
    has_book = kind in ("Payments", "Summary") or any(column in columns for column in BOOK_IDS)
    if not missing and has_book:
        return
    lacking = [words.COLUMNS[column]["en"][0] for column in missing] + ([] if has_book else ["ASIN"])
    unknown = "; ".join(f"{header!r}{nearest(header, words.COLUMN_ALIASES)}" for header in ignored)
    raise QuarantineError(
        f"{where} lacks the column {', '.join(map(repr, lacking))} of {kind!r}; unknown headers: {unknown or 'none'}"
    )


def _refuse_misspelt(columns: dict[str, Column], kind: str, ignored: Sequence[str], where: str) -> None:
    """A header that nobody knows, where the sheet lacks a column of about that name."""
    lacking = [column for column in _OTHERS.get(kind, ()) if column not in columns]
    for header in ignored:
        if near := nearest(header, words.aliases_of(lacking), likeness=_LIKENESS):
            raise QuarantineError(f"{where}: unknown column {header!r}{near}")


def _sales_period(rows: Sequence[Sequence[str]], where: str) -> date | None:
    for row in rows:
        cells = [cell for cell in row if cell]
        if cells and words.is_sales_period(cells[0]):
            said = cells[1] if len(cells) > 1 else ""
            month = month_of(said) or month_of(said[:7])
            if month is None:
                raise QuarantineError(f"{where}: the sales period is {said!r}, expected a month such as 'March 2026'")
            return month
    return None
