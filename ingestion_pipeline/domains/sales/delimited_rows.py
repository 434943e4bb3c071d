"""The rows of a delimited report while they are understood: refused with a reason, or turned into ledger rows.

Here: which rows are refused, the ledger's table, natural keys, sums and periods of many rows. Not here: how a cell is
read (delimited_values.py), what a platform's column means (its own module).
"""

import calendar
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ingestion_pipeline.domains.sales.contracts import (
    SALES_EVENTS,
    Period,
    QuarantineError,
    RowProblem,
    natural_key,
)
from ingestion_pipeline.domains.sales.delimited import MOST_PROBLEMS, Rows
from ingestion_pipeline.domains.sales.delimited_values import is_blank

T = TypeVar("T")
Mask = npt.NDArray[np.bool_]

_LONGEST_SEEN = 60
_CHUNK_ROWS = 20_000
_HEX_DIGEST = "S64"
_MONTH_IN_NAME = re.compile(r"(?<!\d)(20\d\d)[-_ ](0[1-9]|1[0-2])(?![-_]?\d)")


class Judged:
    """The rows of a file while they are understood: what could not be is refused, with a reason."""

    def __init__(self, rows: Rows, *, name: str) -> None:
        self._rows = rows
        self._name = name
        self._is_refused: Mask = np.zeros(len(rows.numbers), dtype=bool)
        self.problems = [
            RowProblem(
                sheet=None,
                row_number=it.row_number,
                column="row",
                seen=f"{it.cells} cells",
                expected=f"{rows.width} cells",
            )
            for it in rows.malformed
        ]

    @property
    def is_good(self) -> Mask:
        """True for the rows that were not refused."""
        return ~self._is_refused

    def leave_out(self, mask: Mask) -> None:
        """Rows that are none: no problem is noted."""
        self._is_refused |= mask

    def refuse(self, mask: Mask, column: str, expected: str) -> None:
        """Refuses the rows of `mask`, because of `column`.

        Raises:
            QuarantineError: so many rows are refused that the file cannot be what it seems.
        """
        texts = self._rows.columns.get(column)
        for index in np.flatnonzero(mask & self.is_good):
            seen = "" if texts is None else str(texts[int(index)].as_py())
            number = int(self._rows.numbers[index])
            self.problems.append(
                RowProblem(sheet=None, row_number=number, column=column, seen=seen[:_LONGEST_SEEN], expected=expected)
            )
            if len(self.problems) > MOST_PROBLEMS:
                raise QuarantineError(
                    f"{self._name}: more than {MOST_PROBLEMS:,} rows cannot be read; the last is row {number}: "
                    f"{column} is {seen[:_LONGEST_SEEN]!r}, expected {expected}"
                )
        self._is_refused |= mask

    def understood(self, column: str, parse: Callable[[str], T], kind: pa.DataType) -> pa.Array:
        """`column` with each text parsed; rows whose text `parse` refuses (ValueError: what was expected) are refused.

        A column that the file does not have is all null.
        """
        texts = self._rows.columns.get(column)
        if texts is None:
            return pa.nulls(len(self._rows.numbers), kind)
        values: list[T | None] = []
        bad: dict[str, list[int]] = {}
        for code, text in enumerate(texts.dictionary.to_pylist()):
            try:
                values.append(parse(text))
            except ValueError as error:
                values.append(None)
                bad.setdefault(str(error), []).append(code)
        for expected, codes in bad.items():
            self.refuse(np.isin(texts.indices.to_numpy(), codes), column, expected)
        return pa.array(values, kind).take(texts.indices)

    def where(self, column: str, is_so: Callable[[str], bool]) -> Mask:
        """True where the text of `column` is so; nowhere, where the file does not have the column."""
        texts = self._rows.columns.get(column)
        if texts is None:
            return np.zeros(len(self._rows.numbers), dtype=bool)
        return holds(pa.array(map(is_so, texts.dictionary.to_pylist()), pa.bool_()).take(texts.indices))

    def leave_out_blank(self) -> None:
        """Leaves out the rows without any text in the columns that were read."""
        self.leave_out(np.logical_and.reduce([self.where(column, is_blank) for column in self._rows.columns]))

    def ledger(self, columns: Mapping[str, pa.Array | str | int], *, key: Sequence[pa.Array | str]) -> pa.Table:
        """`SALES_EVENTS` of the rows that were not refused; a single value stands in every row, an absent one is null.

        `key` are the parts of the natural key, in their order.
        """
        fields = {**columns, "row_number": self.numbers}
        natural = keys([part if isinstance(part, str) else self.taken(part) for part in key])
        arrays = [
            natural if field.name == "natural_key" else self.taken(self._column(fields.get(field.name), field.type))
            for field in SALES_EVENTS
        ]
        return pa.Table.from_arrays(arrays, schema=SALES_EVENTS)

    @property
    def numbers(self) -> pa.Array:
        """The rows' numbers as a spreadsheet shows them."""
        return pa.array(self._rows.numbers)

    def taken(self, column: pa.Array) -> pa.Array:
        """The cells of the rows that were not refused."""
        return column.filter(pa.array(self.is_good)) if self._is_refused.any() else column

    def _column(self, value: pa.Array | str | int | None, kind: pa.DataType) -> pa.Array:
        if isinstance(value, pa.Array):
            return value.cast(kind)
        return pa.repeat(pa.scalar(value, kind), len(self._rows.numbers))

    def texts(self, columns: Iterable[str]) -> list[str]:
        """The different texts of `columns`."""
        known = (self._rows.columns[it] for it in columns if it in self._rows.columns)
        return [text for column in known for text in column.dictionary.to_pylist()]


def keys(parts: Sequence[pa.Array | str]) -> pa.Array:
    """The natural key of each row: `contracts.natural_keys`, in little memory; a single part is the same in all."""
    count = next(len(part) for part in parts if not isinstance(part, str))
    values = np.empty(count, dtype=_HEX_DIGEST)
    for start in range(0, count, _CHUNK_ROWS):
        chunk = list(map(natural_key, *_texts(parts, start)))
        values[start : start + len(chunk)] = chunk
    for index, occurrence in _occurrences(values):
        values[index] = natural_key(values[index].decode(), occurrence)
    return pa.array(values, pa.binary()).cast(pa.string())


def _texts(parts: Sequence[pa.Array | str], start: int) -> Iterator[Iterable[str | None]]:
    for part in parts:
        yield (
            itertools.repeat(part)
            if isinstance(part, str)
            else (part.slice(start, _CHUNK_ROWS).cast(pa.string()).to_pylist())
        )


def _occurrences(values: npt.NDArray[np.bytes_]) -> Iterable[tuple[int, int]]:
    """The rows whose value was seen before, each with how often."""
    order = np.argsort(values, kind="stable")
    is_first = np.ones(len(values), dtype=bool)
    np.not_equal(values[order[1:]], values[order[:-1]], out=is_first[1:])
    starts = np.flatnonzero(is_first)
    occurrence = np.arange(len(values)) - np.repeat(starts, np.diff(np.append(starts, len(values))))
    again = occurrence > 0
    return zip(order[again].tolist(), occurrence[again].tolist(), strict=True)


def holds(mask: pa.Array) -> Mask:
    """Where `mask` is true; null counts as false."""
    return pc.fill_null(mask, fill_value=False).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def total(column: pa.ChunkedArray | pa.Array) -> Decimal:
    """The exact sum; nothing adds up to zero."""
    value = pc.sum(column).as_py()
    return Decimal(0) if value is None else Decimal(value)


def royalty_totals(rows: pa.Table) -> dict[str, dict[str, Decimal]]:
    """What the rows add up to: net units, and royalties by currency."""
    sums = rows.group_by("currency").aggregate([("royalty", "sum")]).sort_by("currency").to_pylist()
    royalties = {f"royalty {it['currency']}": {"parsed": it["royalty_sum"] or Decimal(0)} for it in sums}
    return {"net_units": {"parsed": total(rows["net_units"])}, **royalties}


def period_of(rows: pa.Table, *, name: str) -> Period | None:
    """First and last day of the rows; without rows the month in the file's name; None where neither says."""
    if rows.num_rows:
        return Period(start=pc.min(rows["period_start"]).as_py(), end=pc.max(rows["period_end"]).as_py())
    match = _MONTH_IN_NAME.search(name)
    if match is None:
        return None
    year, month = map(int, match.groups())
    return Period(start=date(year, month, 1), end=date(year, month, calendar.monthrange(year, month)[1]))
