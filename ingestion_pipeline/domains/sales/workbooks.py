"""Reads an untrusted .xlsx or delimited text file into sheets of typed cells.

Here: what kind of file it is (by its content, never by its name), what is refused and why, the private copy that is
read, the limits. Not here: what the sheets mean. Formulas are never evaluated, macros and links never followed.

A workbook is read by python-calamine in a process of its own (workbook_process.py) with a limit on memory and
processor time, since an allocation that fails aborts it. 100,000 rows of 16 columns: 76 MB unpacked, ratio 12, 0.24 GB
and 2 s in that process. The limits below leave five times that.
"""

import codecs
import csv
import io
import json
import lzma
import os
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion_pipeline.core.errors import TransientError
from ingestion_pipeline.domains.sales.contracts import QuarantineError

MAX_FILE_BYTES = 200 * 1024**2
MAX_UNPACKED_BYTES = 400 * 1024**2
MAX_RATIO = 200
MAX_MEMBERS = 2_000
MAX_COLUMNS = 500
MAX_CELLS = 10_000_000
"""Of all sheets together, with the empty ones between: 28 bytes each in this process."""
PROCESS_MEMORY_BYTES = 1024**3
PROCESS_CPU_SECONDS = 120

_CHUNK = 1024**2
_CSV_BATCH_ROWS = 16_384
_OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OTHER_KINDS = {
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a gzip archive",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"PAR1": "a Parquet file",
}


class WorkbookError(QuarantineError):
    """The file cannot be read as a workbook or as delimited text; the message says what it is and what to do."""


@dataclass(eq=False)
class FileChangedError(TransientError):
    """The file was written while it was read: read it again when the writer has finished."""

    name: str

    def __str__(self) -> str:
        return f"{self.name!r} changed while it was read: try again when it is complete"


@dataclass(frozen=True)
class Column:
    """The cells of one column, equally long; at most one of the three holds a cell, an empty cell is null in all.

    Attributes:
        text: As it stands, never empty.
        number: A numeric cell.
        moment: A date cell, timestamp in microseconds without a time zone.
    """

    text: pa.Array
    number: pa.Array
    moment: pa.Array

    def below(self, row: int) -> "Column":
        return Column(self.text.slice(row), self.number.slice(row), self.moment.slice(row))

    def only(self, rows: np.ndarray) -> "Column":
        mask = pa.array(rows)
        return Column(self.text.filter(mask), self.number.filter(mask), self.moment.filter(mask))

    def filled(self) -> np.ndarray:
        """Which rows hold something."""
        filled: np.ndarray = np.logical_or.reduce(
            [array.is_valid().to_numpy(zero_copy_only=False) for array in (self.text, self.number, self.moment)]
        )
        return filled


@dataclass(frozen=True)
class Sheet:
    """Columns from the sheet's first row on, so that index i is row i + 1 of Excel. `name` is None for text files."""

    name: str | None
    columns: tuple[Column, ...]
    row_count: int

    def head(self, rows: int) -> list[list[str]]:
        """The first rows as text, "" for an empty cell."""
        count = min(rows, self.row_count)
        columns = [_as_text(column, count) for column in self.columns]
        return [[values[row] for values in columns] for row in range(count)]


def read_sheets(file: BinaryIO | Path, name: str) -> list[Sheet]:
    """All sheets of a workbook in order, or the one sheet of a text file.

    Args:
        file: Copied first, so that nothing that happens to it later is seen.
        name: As the person called it; it appears in messages and decides nothing.

    Raises:
        WorkbookError: Not readable, too large, encrypted, with macros, truncated, or another kind of file.
        FileChangedError: It was written while it was copied.
    """
    with tempfile.TemporaryFile() as copy:
        _copy(file, copy, name)
        start = _start(copy)
        if start.startswith(b"PK\x03\x04"):
            _guard_archive(copy, name)
            return _read_workbook(copy, name)
        _refuse_other_kinds(copy, start, name)
        return [_read_text(copy, start, name)]


def _copy(file: BinaryIO | Path, copy: BinaryIO, name: str) -> None:
    with _opened(file) as source:
        before = _fingerprint(source)
        size = 0
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > MAX_FILE_BYTES:
                raise WorkbookError(f"{name!r} is larger than {MAX_FILE_BYTES // 1024**2} MB")
            copy.write(chunk)
        if before != _fingerprint(source) or (before is not None and before[0] != size):
            raise FileChangedError(name)
    if size == 0:
        raise WorkbookError(f"{name!r} is empty")
    copy.seek(0)


@contextmanager
def _opened(file: BinaryIO | Path) -> Iterator[BinaryIO]:
    if isinstance(file, Path):
        with file.open("rb") as opened:
            yield opened
    else:
        file.seek(0)
        yield file


def _fingerprint(file: BinaryIO) -> tuple[int, int] | None:
    """Size and time of the last write, where the file is a real one."""
    try:
        status = os.fstat(file.fileno())
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _start(copy: BinaryIO) -> bytes:
    start = copy.read(65_536)
    copy.seek(0)
    return start


def _guard_archive(copy: BinaryIO, name: str) -> None:
    """Refuses what must not reach the reader: bombs, macros, encrypted or damaged members, other formats in a ZIP."""
    try:
        with zipfile.ZipFile(copy) as archive:
            members = archive.infolist()
            _refuse_bomb(members, name)
            _refuse_other_packages(archive, {member.filename for member in members}, name)
            if len({member.filename for member in members}) != len(members):
                raise WorkbookError(f"{name!r} holds a member twice: it was not written by a spreadsheet program")
            if damaged := archive.testzip():
                raise WorkbookError(f"{name!r} is damaged in {damaged!r}: download or save it again")
    except zipfile.BadZipFile as error:
        raise WorkbookError(f"{name!r} is a truncated or damaged workbook ({error}): download it again") from None
    except (RuntimeError, NotImplementedError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise WorkbookError(f"{name!r} is damaged and cannot be unpacked ({error}): download it again") from None
    finally:
        copy.seek(0)


def _refuse_bomb(members: Sequence[zipfile.ZipInfo], name: str) -> None:
    unpacked = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if len(members) > MAX_MEMBERS:
        raise WorkbookError(f"{name!r} holds {len(members)} members, more than {MAX_MEMBERS}: not a report")
    if unpacked > MAX_UNPACKED_BYTES or unpacked > MAX_RATIO * max(packed, _CHUNK // 16):
        raise WorkbookError(
            f"{name!r} unpacks from {packed:,} to {unpacked:,} bytes, more than {MAX_UNPACKED_BYTES // 1024**2} MB or "
            f"{MAX_RATIO} times: refused as a zip bomb; a report this large can be exported in shorter periods"
        )
    if any(member.flag_bits & 0x1 for member in members):
        raise WorkbookError(f"{name!r} is encrypted: remove the password and save it again")


def _refuse_other_packages(archive: zipfile.ZipFile, names: set[str], name: str) -> None:
    if any(member.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", member) for member in names):
        raise WorkbookError(f"{name!r} holds a member that points outside it: refused")
    if any(member.lower().endswith("vbaproject.bin") or "/macrosheets/" in member.lower() for member in names):
        raise WorkbookError(f"{name!r} holds macros: open it and save it as .xlsx without macros")
    if "xl/workbook.bin" in names:
        raise WorkbookError(f"{name!r} is a binary workbook (.xlsb): save it as .xlsx")
    if "mimetype" in names and b"opendocument" in archive.read("mimetype"):
        raise WorkbookError(f"{name!r} is an OpenDocument file: save it as .xlsx")
    if "[Content_Types].xml" not in names or not any(member.lower().startswith("xl/") for member in names):
        inside = ", ".join(sorted(names)[:3])
        raise WorkbookError(f"{name!r} is a ZIP archive, not a workbook (it holds {inside}): unpack it first")


def _read_workbook(copy: BinaryIO, name: str) -> list[Sheet]:
    program = Path(__file__).with_name("workbook_process.py")
    copy.flush()
    os.lseek(copy.fileno(), 0, os.SEEK_SET)  # copy.seek(0) may move inside its buffer only; the process has none of it
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(  # noqa: S603 - our own program, no shell
            [sys.executable, "-I", str(program), *map(str, (PROCESS_MEMORY_BYTES, PROCESS_CPU_SECONDS, MAX_CELLS))],
            stdin=copy,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={"ARROW_DEFAULT_MEMORY_POOL": "system"},
        ) as process,
    ):
        output = cast("BinaryIO", process.stdout)
        try:
            sheets = [_read_sheet(output, title, name) for title in json.loads(output.readline())]
        except (pa.ArrowException, OSError, ValueError):
            sheets = None
            process.kill()
        except BaseException:
            process.kill()
            raise
        code = process.wait()
        if sheets is None or code != 0:
            errors.seek(0)
            raise WorkbookError(_why(name, code, errors.read(300).decode(errors="replace")))
    return sheets


def _why(name: str, code: int, said: str) -> str:
    if code == 3:  # noqa: PLR2004 - workbook_process.UNREADABLE
        return f"{name!r} is not a readable workbook ({said}): open it and save it again as .xlsx"
    if code == 4:  # noqa: PLR2004 - workbook_process.TOO_LARGE
        return f"{name!r} has sheets of more than {MAX_CELLS:,} cells: refused; export a shorter period"
    return (
        f"{name!r} needs more than {PROCESS_MEMORY_BYTES // 1024**2} MB of memory or {PROCESS_CPU_SECONDS} s to read: "
        "refused; export a shorter period"
    )


def _read_sheet(output: BinaryIO, title: str, name: str) -> Sheet:
    with pa.ipc.open_stream(output) as stream:
        width = len(stream.schema) // 3
        if width > MAX_COLUMNS:
            raise WorkbookError(f"{name!r}: sheet {title!r} is {width} columns wide, more than {MAX_COLUMNS}")
        table = stream.read_all()
    arrays = [column.combine_chunks() for column in table.columns]
    columns = tuple(Column(*arrays[start : start + 3]) for start in range(0, len(arrays), 3))
    if any(pc.any(pc.match_substring(column.text, "\x00")).as_py() for column in columns):
        raise WorkbookError(f"{name!r}: sheet {title!r} holds a NUL character: not written by a spreadsheet program")
    return Sheet(title, columns, table.num_rows)


def _refuse_other_kinds(copy: BinaryIO, start: bytes, name: str) -> None:
    if start.startswith(_OLE2):
        encrypted = "EncryptedPackage".encode("utf-16-le") in copy.read()
        raise WorkbookError(
            f"{name!r} is an encrypted workbook: remove the password and save it again"
            if encrypted
            else f"{name!r} is a workbook of the old .xls kind: open it and save it as .xlsx"
        )
    kind = next((kind for magic, kind in _OTHER_KINDS.items() if start.startswith(magic)), None)
    if kind is None and start.lstrip()[:1] == b"<":
        kind = "a web page, perhaps of a login that has ended"
    if kind is None and b"\x00" in start and not start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        kind = "a binary file of an unknown kind"
    if kind:
        raise WorkbookError(f"{name!r} is {kind}: expected an .xlsx workbook or a CSV file")


def _read_text(copy: BinaryIO, start: bytes, name: str) -> Sheet:
    encoding = _encoding(start)
    errors = "cp1252_bytes" if encoding == "utf-8-sig" else "strict"
    text = io.TextIOWrapper(copy, encoding, errors, newline="")
    try:
        batches = [_batch(rows) for rows in _row_batches(text, _delimiter(start, encoding))]
    except csv.Error as error:
        raise WorkbookError(f"{name!r} is truncated or not a delimited text ({error}): export it again") from None
    except UnicodeDecodeError as error:
        raise WorkbookError(f"{name!r} is not {encoding} text ({error.reason}): save it as UTF-8") from None
    finally:
        text.detach()
    width = max(len(batch) for batch in batches) if batches else 0
    columns = [
        pa.chunked_array(
            [batch[index] if index < len(batch) else pa.nulls(len(batch[0]), pa.string()) for batch in batches if batch]
        ).combine_chunks()
        for index in range(width)
    ]
    return Sheet(None, tuple(_text_column(column) for column in columns), len(columns[0]) if columns else 0)


def _row_batches(text: Iterable[str], delimiter: str) -> Iterator[list[list[str]]]:
    rows = csv.reader(text, delimiter=delimiter, strict=True)
    cells = 0
    while batch := list(islice(rows, _CSV_BATCH_ROWS)):
        if any(len(row) > MAX_COLUMNS for row in batch):
            raise csv.Error(f"a row of more than {MAX_COLUMNS} cells before line {rows.line_num}")
        if any("\x00" in cell for row in batch for cell in row):
            raise csv.Error(f"a NUL character before line {rows.line_num}")
        cells += sum(map(len, batch))
        if cells > MAX_CELLS:
            raise csv.Error(f"more than {MAX_CELLS:,} cells before line {rows.line_num}: export a shorter period")
        yield batch


def _batch(rows: list[list[str]]) -> list[pa.Array]:
    columns = zip_longest(*rows, fillvalue="")
    return [pa.array([value or None for value in column], pa.string()) for column in columns] or [
        pa.nulls(len(rows), pa.string())
    ]


def _text_column(text: pa.Array) -> Column:
    return Column(text, pa.nulls(len(text), pa.float64()), pa.nulls(len(text), pa.timestamp("us")))


def _encoding(start: bytes) -> str:
    """UTF-8 (where bytes that are not are read as cp1252, one by one), UTF-16 by its mark, or Shift-JIS by its kana."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        kana = re.findall("[\u3041-\u30fe]", start.decode("cp932", errors="ignore"))
        return "cp932" if len(kana) > 3 else "utf-8-sig"  # noqa: PLR2004 - cp1252 read as cp932 gives none
    return "utf-8-sig"


def _cp1252_bytes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", errors="replace"), error.end


codecs.register_error("cp1252_bytes", _cp1252_bytes)


def _delimiter(start: bytes, encoding: str) -> str:
    lines = re.split(r"\r\n|\r|\n", re.sub('"[^"]*"', "", start.decode(encoding, errors="ignore")))[:3]
    return max(",;\t", key=lambda delimiter: sum(line.count(delimiter) for line in lines))


def _as_text(column: Column, count: int) -> list[str]:
    cells = zip(
        *(array.slice(0, count).to_pylist() for array in (column.text, column.number, column.moment)), strict=True
    )
    return [
        text or (f"{number:.15g}" if number is not None else "" if moment is None else moment.date().isoformat())
        for text, number, moment in cells
    ]
