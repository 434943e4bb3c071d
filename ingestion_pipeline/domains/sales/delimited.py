"""Reads CSV and TSV files that nobody vouches for: encoding, line ends and delimiter are found, size is bounded.

Here: lines to columns of text. Not here: encodings (delimited_bytes.py), what a cell is (delimited_values.py), what a
column means (each platform's module).

Every cell stays the text that it is: nothing is evaluated, a leading `=` means nothing. Lines are UTF-8, with or
without a mark, UTF-16, or Windows-1252, also mixed: each line is taken as UTF-8 where it can be. Line ends are LF, CRLF
or CR. Columns are dictionary-encoded while they are read, so a file costs four bytes a cell and its different texts.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv as arrow_csv

from ingestion_pipeline.domains.sales.contracts import QuarantineError, nearest
from ingestion_pipeline.domains.sales.delimited_bytes import LONGEST_ROW_BYTES, TextFile

MOST_ROWS = 3_000_000
MOST_COLUMNS = 1_000
MOST_PROBLEMS = 1_000
_HEADER_EXCERPT = 12
_DELIMITERS = ",;\t|"
_SEPARATOR_HINT = "sep="  # Excel's own first line
_QUOTED = re.compile(r'"(?=.*(?:""|,).*")([^"]|"")*"', re.DOTALL)
_TEXT = pa.dictionary(pa.int32(), pa.string())


class Malformed(NamedTuple):
    """A row with another number of cells than the header."""

    row_number: int
    cells: int


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The cells below the header: `columns` are dictionary<int32, string>, an empty cell is ''.

    `numbers` are the rows' numbers as a spreadsheet shows them (the header is 1 where nothing is above it); `width` is
    the number of cells of the header.
    """

    columns: Mapping[str, pa.DictionaryArray]
    numbers: npt.NDArray[np.int64]
    malformed: Sequence[Malformed]
    width: int


class Columns(NamedTuple):
    """Where the known columns of a header are, and the columns nobody knows."""

    positions: Mapping[str, int]
    unknown: Sequence[str]


class DelimitedFile:
    """One file, opened: its header is known, its rows are read when asked for."""

    def __init__(self, file: BinaryIO | Path, name: str) -> None:
        """Reads the header.

        Raises:
            QuarantineError: empty, another kind of file, too large, or without a header.
        """
        self.name = name
        self._text = TextFile(file, name)
        try:
            self.header, self.delimiter, self._header_row, self._header_bytes = self._found_header()
        except BaseException:
            self._text.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._text.close()

    def columns(self, known: Iterable[str], required: Iterable[str], *, kind: str) -> Columns:
        """Finds `known` columns by name, whatever the case and spaces; the first of two equal names counts.

        Raises:
            QuarantineError: one of `required` is missing: this is no report of `kind`, or a new version of it.
        """
        by_folded = {_folded(column): column for column in known}
        positions: dict[str, int] = {}
        unknown = []
        for position, seen in enumerate(self.header):
            column = by_folded.get(_folded(seen))
            if column is not None and column not in positions:
                positions[column] = position
            elif seen.strip():
                unknown.append(seen.strip())
        missing = [column for column in required if column not in positions]
        if missing:
            hint = nearest(missing[0], unknown) if unknown else ""
            raise QuarantineError(
                f"{self.name}: not a {kind} as we know it: column {', '.join(map(repr, missing[:5]))} is missing; "
                f"its header is {self._header_excerpt()}{hint.replace('nearest known', 'nearest in the file')}"
            )
        return Columns(positions, unknown)

    def read(self, positions: Mapping[str, int]) -> Rows:
        """The columns at `positions`, under their names.

        Raises:
            QuarantineError: undecodable, too large, too many rows, too many malformed rows, or an unclosed quote.
            StoreUnavailableError: it changed while it was read.
        """
        rows = self._read_tabs(positions) if self.delimiter == "\t" else self._read(positions, quote='"')
        self._text.check_unchanged()
        return rows

    def _read_tabs(self, positions: Mapping[str, int]) -> Rows:
        """Tab-separated text: platforms do not quote (a title may begin with a quotation mark), spreadsheets do."""
        plain: Rows | None = None
        try:
            plain = self._read(positions, quote=False)
            if not plain.malformed:
                return replace(plain, columns={name: _unquoted(it) for name, it in plain.columns.items()})
            quoted = self._read(positions, quote='"')
        except QuarantineError:
            if plain is None:
                raise
            return plain
        return min(plain, quoted, key=lambda it: len(it.malformed))

    def _read(self, positions: Mapping[str, int], *, quote: str | bool) -> Rows:
        malformed: list[Malformed] = []

        def note(row: arrow_csv.InvalidRow) -> str:
            malformed.append(Malformed(row.number, row.actual_columns))
            is_torn = "\n" in row.text or "\r" in row.text  # it has swallowed other rows
            return "error" if is_torn or len(malformed) > MOST_PROBLEMS else "skip"

        names = [str(position) for position in range(len(self.header))]
        stream = self._text.stream(skipping=self._header_bytes)
        try:
            reader = arrow_csv.open_csv(
                stream,
                read_options=arrow_csv.ReadOptions(use_threads=False, column_names=names, block_size=LONGEST_ROW_BYTES),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=self.delimiter,
                    quote_char=quote,
                    newlines_in_values=bool(quote),
                    ignore_empty_lines=False,
                    invalid_row_handler=note,
                ),
                convert_options=arrow_csv.ConvertOptions(
                    check_utf8=False,  # the stream is ours
                    strings_can_be_null=False,
                    include_columns=[names[position] for position in positions.values()],
                    column_types=dict.fromkeys(names, _TEXT),
                ),
            )
            batches = list(self._within_limits(reader))
            if not stream.is_at_end:
                raise QuarantineError(f"{self.name}: could not be read to its end")
        except pa.ArrowInvalid as error:
            if "Empty CSV" not in str(error):
                raise QuarantineError(f"{self.name}: {_arrow_reason(error, malformed, self._header_row)}") from None
            schema, batches = pa.schema([(names[position], _TEXT) for position in positions.values()]), []
        else:
            schema = reader.schema
        # Two names may stand for one column; Arrow has it once.
        table = pa.Table.from_batches(batches, schema).unify_dictionaries().combine_chunks()
        del batches
        pa.default_memory_pool().release_unused()
        columns = {name: _one_chunk(table.column(names[position])) for name, position in positions.items()}
        torn = np.array([row.row_number for row in malformed], dtype=np.int64)
        numbers = np.setdiff1d(np.arange(1, table.num_rows + len(torn) + 1), torn, assume_unique=True)
        found = [row._replace(row_number=row.row_number + self._header_row) for row in malformed]
        return Rows(columns=columns, numbers=numbers + self._header_row, malformed=found, width=len(self.header))

    def _within_limits(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        count = 0
        for batch in batches:
            count += batch.num_rows
            if count > MOST_ROWS:
                raise QuarantineError(f"{self.name}: more than {MOST_ROWS:,} rows; split it")
            yield batch

    def _found_header(self) -> tuple[tuple[str, ...], str, int, int]:
        """The header's cells, the delimiter, the header's row number, and its length in bytes of UTF-8."""
        text = next(self._text.blocks(), b"").decode()
        pulled: list[str] = []

        def lines() -> Iterator[str]:
            for line in io.StringIO(text, newline=""):
                pulled.append(line)
                yield line

        first = next((line for line in io.StringIO(text, newline="") if _is_content(line)), "")
        delimiter = max(_DELIMITERS, key=lambda it: len(next(csv.reader([first], delimiter=it), [])))
        try:
            number, cells = _first_content(csv.reader(lines(), delimiter=delimiter))
        except csv.Error as error:
            raise QuarantineError(f"{self.name}: the header cannot be read: {error}") from None
        if not 1 < len(cells) <= MOST_COLUMNS:
            raise QuarantineError(
                f"{self.name}: expected a header of 2 to {MOST_COLUMNS} columns, found {len(cells)}: {first[:80]!r}"
            )
        return tuple(cells), delimiter, number, len("".join(pulled).encode())

    def _header_excerpt(self) -> str:
        shown = ", ".join(repr(cell.strip()[:40]) for cell in self.header[:_HEADER_EXCERPT])
        hidden = len(self.header) - _HEADER_EXCERPT
        return f"{shown} and {hidden} more" if hidden > 0 else shown


def _first_content(rows: Iterable[list[str]]) -> tuple[int, list[str]]:
    numbered = enumerate(rows, start=1)
    headers = ((number, cells) for number, cells in numbered if _is_content("\t".join(cells)))
    return next(headers, (1, []))


def _is_content(line: str) -> bool:
    return bool(line.strip(f"{_DELIMITERS} \r\n")) and not line.lower().startswith(_SEPARATOR_HINT)


def _folded(name: str) -> str:
    return " ".join(name.replace("\N{NO-BREAK SPACE}", " ").split()).casefold()


def _unquoted(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """Undoes a spreadsheet's quoting: it quotes cells that hold a quotation mark, which it doubles, or a comma."""
    texts = [
        text[1:-1].replace('""', '"') if _QUOTED.fullmatch(text) else text for text in column.dictionary.to_pylist()
    ]
    return pa.DictionaryArray.from_arrays(column.indices, pa.array(texts, pa.string()))


def _arrow_reason(error: pa.ArrowInvalid, malformed: Sequence[Malformed], above: int) -> str:
    if len(malformed) > MOST_PROBLEMS:
        first = malformed[0].row_number + above
        return f"over {MOST_PROBLEMS:,} rows have another number of cells than the header (row {first} first)"
    if malformed:
        return f"row {malformed[-1].row_number + above} runs over several lines: is a quotation mark not closed?"
    if "straddling" in str(error):
        return f"a row is longer than {LONGEST_ROW_BYTES // 1024} KiB: is a quotation mark not closed?"
    return f"not a table: {str(error)[:120]}"


def _one_chunk(column: pa.ChunkedArray) -> pa.DictionaryArray:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), pa.array([], pa.string()))
