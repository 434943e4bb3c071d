"""The process that reads one workbook: a bomb kills it and nobody else.

It is run as a program by workbooks.py, with the workbook as its standard input, and imports nothing of this package.
Its standard output is one line of JSON, the sheets' names, and then for each sheet one Arrow stream of batches: three
columns for each column of the sheet (text, number, moment), of which at most one holds the cell. Formulas are not
evaluated: the value that Excel stored beside the formula is read, and a formula without one is an empty cell.
"""

import json
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa
import python_calamine

BATCH_ROWS = 16_384
UNREADABLE, TOO_LARGE = 3, 4


class TooManyCellsError(Exception):
    """The sheets are larger than any report: an area that is nearly empty takes memory like one that is full."""


def main(memory_bytes: int, cpu_seconds: int, most_cells: int) -> int:
    pa.set_memory_pool(pa.system_memory_pool())
    _limit(memory_bytes, cpu_seconds)
    try:
        with python_calamine.CalamineWorkbook.from_filelike(sys.stdin.buffer) as workbook:
            write_sheets(workbook, sys.stdout.buffer, most_cells)
    except TooManyCellsError:
        return TOO_LARGE
    except (python_calamine.CalamineError, OSError, ValueError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}")
        return UNREADABLE
    return 0


def write_sheets(workbook: python_calamine.CalamineWorkbook, output: BinaryIO, most_cells: int) -> None:
    cells = 0
    output.write(json.dumps(workbook.sheet_names).encode() + b"\n")
    for name in workbook.sheet_names:
        sheet = workbook.get_sheet_by_name(name)
        width = sheet.width
        cells += width * sheet.height
        if cells > most_cells:
            raise TooManyCellsError
        schema = pa.schema(
            [
                field
                for index in range(width)
                for field in (
                    pa.field(f"text{index}", pa.string()),
                    pa.field(f"number{index}", pa.float64()),
                    pa.field(f"moment{index}", pa.timestamp("us")),
                )
            ]
        )
        with pa.ipc.new_stream(output, schema) as stream:
            for rows in _batches(sheet.iter_rows()):
                arrays = [array for values in zip(*rows, strict=True) for array in column_arrays(values)]
                stream.write_batch(pa.record_batch(arrays, schema=schema))
    output.flush()


def column_arrays(values: Sequence[Any]) -> tuple[pa.Array, pa.Array, pa.Array]:
    """The cells of one column as text, number and moment; an empty cell is null in all three."""
    kinds = set(map(type, values))
    text = [_text(value) for value in values] if kinds - {float, int} else []
    number = [value if type(value) in (float, int) else None for value in values] if kinds & {float, int} else []
    moment = [_moment(value) for value in values] if kinds & {date, datetime} else []
    return (
        pa.array(text, pa.string()) if text else pa.nulls(len(values), pa.string()),
        pa.array(number, pa.float64()) if number else pa.nulls(len(values), pa.float64()),
        pa.array(moment, pa.timestamp("us")) if moment else pa.nulls(len(values), pa.timestamp("us")),
    )


def _text(value: Any) -> str | None:
    if type(value) is str:
        return value or None
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return str(value) if isinstance(value, time | timedelta) else None


def _moment(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    return datetime(value.year, value.month, value.day) if isinstance(value, date) else None  # noqa: DTZ001


def _batches(rows: Iterator[list[Any]]) -> Iterator[list[list[Any]]]:
    while batch := list(islice(rows, BATCH_ROWS)):
        yield batch


def _limit(memory_bytes: int, cpu_seconds: int) -> None:
    """What the interpreter has already mapped is not counted."""
    mapped = 0
    if os.path.exists("/proc/self/statm"):  # noqa: PTH110 - no pathlib in a process that starts for one file
        with open("/proc/self/statm") as statm:  # noqa: PTH123
            mapped = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + memory_bytes, mapped + memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:4])))
