"""The cells of one of KDP's sheets, read by type; rows that cannot be read are set aside as problems.

Here: text, amounts, units, days, currencies of a `KdpTable`. Not here: how one cell is read (cells.py), what a row
means (kdp_rows.py, kdp_payments.py).
"""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion_pipeline.domains.sales.cells import (
    NOT_APPLICABLE,
    Sign,
    Values,
    dates,
    decimals,
    proven_signs,
    text_values,
    whole_numbers,
)
from ingestion_pipeline.domains.sales.contracts import CURRENCIES, MONEY, QuarantineError, RowProblem, nearest
from ingestion_pipeline.domains.sales.delimited import MOST_PROBLEMS
from ingestion_pipeline.domains.sales.kdp_layout import KdpTable

_NUMBERS = frozenset(
    """
    units_sold units_refunded net_units net_units_or_pages list_price offer_price file_size cost royalty pages_read
    paid_units free_units accrued tax_withheld adjustments net_earnings fx_rate payout_amount
    """.split()  # noqa: SIM905 - easier to read than 18 quoted words
)


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
        self.refuse(is_null(array), present, "a text")
        return array

    def money(self, column: str) -> pa.Array:
        return self._values(column, lambda: decimals(self.table.columns[column], sign=self._sign), "a number")

    def whole(self, column: str) -> pa.Array:
        return self._values(
            column, lambda: whole_numbers(self.table.columns[column], sign=self._sign), "a whole number"
        )

    def span(self, *columns: str) -> tuple[pa.Array, pa.Array]:
        """First and last day, of the first of the columns that there is; it has to say one."""
        column = next(name for name in columns if name in self.table.columns)
        first, last = dates(self.table.columns[column])
        self.refuse(first.bad | is_null(first.array), column, "a date such as 2026-03-31 or a month such as 2026-03")
        return first.array, last.array

    def day(self, column: str) -> pa.Array:
        """Null where nothing stands; the last day where the cell says a month."""
        if column not in self.table.columns:
            return pa.nulls(self.count, pa.date32())
        _, last = dates(self.table.columns[column])
        self.refuse(last.bad, column, "a date such as 2026-03-31")
        return last.array

    def refuse(self, mask: np.ndarray, column: str, expected: str) -> None:
        """A row is set aside once, for the first reason.

        Raises:
            QuarantineError: So many rows are refused that the file cannot be what it seems.
        """
        rows = np.flatnonzero(mask & ~self.refused)
        if rows.size == 0:
            return
        self.refused[rows] = True
        cells = self.table.columns.get(column)
        named = rows[: MOST_PROBLEMS + 1]
        seen = text_values(cells).take(pa.array(named)).to_pylist() if cells else [None] * len(named)
        self.problems += [
            RowProblem(
                sheet=self.table.sheet,
                row_number=int(self.table.row_numbers[row]),
                column=self.table.headers.get(column, column),
                seen=(text or "")[:200],
                expected=expected,
            )
            for row, text in zip(named, seen, strict=True)
        ]
        if len(self.problems) > MOST_PROBLEMS:
            where = "" if self.table.sheet is None else f" of sheet {self.table.sheet!r}"
            raise QuarantineError(
                f"more than {MOST_PROBLEMS:,} rows{where} cannot be read; the first: {self.problems[0].told}"
            )

    @cached_property
    def _sign(self) -> Sign | None:
        """What marks decimals where a column does not say: as the sheet's others do, else as the headers' language."""
        columns = [cells for column, cells in self.table.columns.items() if column in _NUMBERS]
        signs = set().union(*map(proven_signs, columns))
        if signs:
            return next(iter(signs)) if len(signs) == 1 else None
        return "," if self.table.decimal_comma else "."

    def _values(self, column: str, read: Callable[[], Values], expected: str) -> pa.Array:
        if column not in self.table.columns:
            return pa.nulls(self.count, MONEY if expected == "a number" else pa.int64())
        values = read()
        self.refuse(values.bad, column, expected)
        return values.array


def currencies(cells: Cells, column: str, name: str) -> pa.Array:
    """ISO 4217 codes, null where none stands.

    Raises:
        QuarantineError: A currency that is none: the amounts beside it would mean nothing.
    """
    codes = each_text(cells.text(column), str.upper)
    for code in pc.unique(codes).to_pylist():
        if code is not None and code not in CURRENCIES:
            where = place(cells, name, pc.index(codes, code).as_py())
            raise QuarantineError(f"{where}: unknown currency {code!r}{nearest(code, CURRENCIES)}")
    return codes


def place(cells: Cells, name: str, row: int) -> str:
    sheet = "" if cells.table.sheet is None else f" sheet {cells.table.sheet!r}"
    return f"{name!r}:{sheet} row {cells.table.row_numbers[row]}"


def _optional(text: pa.Array) -> pa.Array:
    return each_text(text, lambda seen: None if seen.casefold() in NOT_APPLICABLE else seen)


def each_text(text: pa.Array, change: Callable[[str], str | None]) -> pa.Array:
    """Changes every different text once."""
    encoded = text.dictionary_encode()
    if len(encoded.dictionary) == 0:
        return text
    return pa.array([change(seen) for seen in encoded.dictionary.to_pylist()], pa.string()).take(encoded.indices)


def is_true(array: pa.Array) -> np.ndarray:
    """Null is False."""
    mask: np.ndarray = pc.fill_null(array, fill_value=False).to_numpy(zero_copy_only=False)
    return mask


def is_null(array: pa.Array) -> np.ndarray:
    mask: np.ndarray = array.is_null().to_numpy(zero_copy_only=False)
    return mask
