"""Reads one file of bars that we do not trust: CSV, CSV.gz or Parquet, into arrays by symbol.

Columns: symbol, ts (a date, or an ISO 8601 instant; without an offset it is UTC), open, high, low, close, volume and
optionally adj_close; in any order, others are ignored. A number that cannot be read becomes NaN, and the market domain
rejects that row with its reason. A time that cannot be read stops the file: the row belongs to no window.

A whole file is held in memory (56 bytes a row), bounded by FileLimits. More than that belongs into the lake.

Belongs here: bytes to arrays. Does not belong here: guarding bytes (file_bytes.py), folders and caches (file_index.py).
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.providers.bars import VALUE_COLUMNS, Instants
from ingestion_pipeline.providers.file_bytes import FileLimits, bounded_bytes, excerpt

if TYPE_CHECKING:
    import pyarrow as pa

REQUIRED_COLUMNS = ("symbol", "ts", "open", "high", "low", "close", "volume")
KNOWN_COLUMNS = (*REQUIRED_COLUMNS, "adj_close")
_ROW_BYTES = 8 * (1 + len(VALUE_COLUMNS))


@dataclass(frozen=True, eq=False)
class SymbolBars:
    """One symbol of one file, ascending; `numbers` has a row for each of VALUE_COLUMNS."""

    start_us: Instants
    numbers: NDArray[np.float64]


def read_symbols(path: Path, limits: FileLimits) -> dict[str, SymbolBars]:
    """The bars of every symbol in the file.

    Raises:
        ContractError: naming the file, and the line and column where there is one.
    """
    is_parquet = path.suffix == ".parquet"
    table = _parquet(path, limits) if is_parquet else _csv(path, limits)
    if not table.num_rows:
        raise ContractError(str(path), "content", "empty", "at least one bar")
    symbols = _symbols(path, table)
    starts = _starts(path, table)
    values = np.stack([_numbers(table, name) for name in VALUE_COLUMNS])
    codes, names = _codes(symbols)
    order = np.lexsort((starts, codes))
    starts, values, codes = starts[order], values[:, order], codes[order]
    edges = np.searchsorted(codes, np.arange(len(names) + 1))
    spans = zip(names, edges[:-1], edges[1:], strict=True)
    return {name: SymbolBars(starts[a:b], values[:, a:b]) for name, a, b in spans}


def _csv(path: Path, limits: FileLimits) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import csv

    content = bounded_bytes(path, limits)
    if not content:
        raise ContractError(str(path), "content", "empty", f"a header with {', '.join(REQUIRED_COLUMNS)}")
    broken: list[Any] = []

    def stop(row: Any) -> str:
        broken.append(row)
        return "error"

    header = content.split(b"\n", 1)[0].decode("utf-8-sig", errors="replace").strip().replace('"', "").split(",")
    names = _checked_columns(path, header)
    try:
        return csv.read_csv(
            pa.BufferReader(content),
            # One thread: only then does a broken row know its number.
            read_options=csv.ReadOptions(use_threads=False, column_names=header, skip_rows=1),
            parse_options=csv.ParseOptions(invalid_row_handler=stop),
            convert_options=csv.ConvertOptions(
                include_columns=names, column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True,
                null_values=[""],
            ),
        ).rename_columns([name.strip().lower() for name in names])  # fmt: skip
    except pa.ArrowInvalid as error:
        if broken:
            row = broken[0]
            line = f"line {row.number}" if row.number else "a line"
            seen, expected = f"{row.actual_columns} ({excerpt(row.text)})", f"{row.expected_columns}"
            raise ContractError(str(path), f"number of columns in {line}", seen, expected) from None
        raise ContractError(str(path), "content", excerpt(str(error)), "CSV in UTF-8") from None


def _parquet(path: Path, limits: FileLimits) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            expanded = file.metadata.num_rows * _ROW_BYTES
            if expanded > limits.max_bytes:
                seen, expected = f"{expanded} bytes of bars", f"at most {limits.max_bytes} (limit max_bytes)"
                raise ContractError(str(path), "size when read", seen, expected)
            names = _checked_columns(path, file.schema_arrow.names)
            return file.read(columns=names).rename_columns([name.strip().lower() for name in names])
    except (pa.ArrowException, OSError) as error:
        raise ContractError(str(path), "content", excerpt(str(error)), "Parquet") from None


def _checked_columns(path: Path, found: Sequence[str]) -> list[str]:
    """The columns that we read, as the file spells them."""
    plain = [name.strip().lower() for name in found]
    missing = [name for name in REQUIRED_COLUMNS if name not in plain]
    if missing or len(set(plain)) != len(plain):
        seen = ", ".join(excerpt(name) for name in found[:20])
        hints = [
            f"{near[0]!r} for {name}" for name in missing if (near := difflib.get_close_matches(name, plain, 1, 0.5))
        ]
        wanted = (
            f"{', '.join(REQUIRED_COLUMNS)} (optional: adj_close), each once; missing: {', '.join(missing) or 'none'}"
        )
        nearest = f"; nearest: {', '.join(hints)}" if hints else ""
        raise ContractError(str(path), "columns", seen, wanted + nearest)
    return [name for name, known in zip(found, plain, strict=True) if known in KNOWN_COLUMNS]


def _symbols(path: Path, table: "pa.Table") -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    given = table["symbol"].combine_chunks().cast(pa.string())
    symbols = pc.utf8_upper(pc.utf8_trim_whitespace(given))
    is_missing = pc.fill_null(pc.equal(symbols, ""), fill_value=True).to_numpy(zero_copy_only=False)
    if is_missing.any():
        raise ContractError(str(path), f"symbol in line {_line(int(is_missing.argmax()))}", "empty", "a market symbol")
    return symbols


def _starts(path: Path, table: "pa.Table") -> Instants:
    """Microseconds since 1970 UTC."""
    import pandas as pd
    import pyarrow as pa

    given = table["ts"].combine_chunks()
    if pa.types.is_temporal(given.type):
        instants = pd.to_datetime(given.to_pandas(), utc=True)
    else:
        # All of one form is quick; of several, each is read by itself.
        text = given.cast(pa.string()).to_pandas()
        instants = pd.to_datetime(text, utc=True, errors="coerce", format="ISO8601")
    is_bad = instants.isna().to_numpy()
    if is_bad.any():
        row = int(is_bad.argmax())
        seen = excerpt(str(given[row].as_py() or ""))
        raise ContractError(str(path), f"ts in line {_line(row)}", seen, "an ISO 8601 date or instant")
    plain = instants.dt.tz_localize(None).to_numpy().astype("datetime64[us]")
    return np.asarray(plain.astype(np.int64))


def _numbers(table: "pa.Table", name: str) -> NDArray[np.float64]:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    column = table[name].combine_chunks()
    if pa.types.is_string(column.type):
        column = pc.utf8_trim_whitespace(column)
    try:
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return np.asarray(pd.to_numeric(column.to_pandas(), errors="coerce"), dtype=np.float64)


def _codes(symbols: "pa.Array") -> tuple[NDArray[np.int64], list[str]]:
    encoded = symbols.dictionary_encode()
    return np.asarray(encoded.indices.to_numpy(), dtype=np.int64), encoded.dictionary.to_pylist()


def _line(row: int) -> int:
    """The line of a row, below a header and without blank lines between; for Parquet the row plus two."""
    return row + 2
