"""What libraries take to read a file and do nothing with it, in a process that imports nothing else.

Run as `python -m benchmarks._readers openpyxl|pandas|pyarrow FILE`; prints seconds and the peak of memory in MB.
"""

import sys
from collections.abc import Callable
from functools import partial

from benchmarks._measures import peak_mb, seconds


def reader(library: str, path: str) -> Callable[[], object]:
    """Reads the file when it is called; the import is not measured."""
    if library == "openpyxl":
        import openpyxl

        return lambda: read_cells(openpyxl.load_workbook(path, read_only=True))
    if library == "pandas":
        import pandas as pd

        return partial(pd.read_csv, path)
    from pyarrow import csv

    return partial(csv.read_csv, path)


def read_cells(book: "openpyxl.Workbook") -> None:  # noqa: F821 - not every process imports it
    for sheet in book.worksheets:
        for _ in sheet.iter_rows(values_only=True):
            pass
    book.close()


if __name__ == "__main__":
    print(seconds(reader(*sys.argv[1:])), peak_mb())
