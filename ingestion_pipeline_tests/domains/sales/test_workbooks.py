"""Untrusted files: what is read, what is refused, and with which words."""

import io
import os
import zipfile
from datetime import date, datetime
from pathlib import Path

import openpyxl
import pytest

from ingestion_pipeline.core.errors import TransientError
from ingestion_pipeline.domains.sales.contracts import QuarantineError
from ingestion_pipeline.domains.sales.workbooks import (
    MAX_COLUMNS,
    FileChangedError,
    Sheet,
    WorkbookError,
    read_sheets,
)
from ingestion_pipeline_tests.domains.sales import kdp_damaged as damaged
from ingestion_pipeline_tests.domains.sales.kdp_reports import delimited, workbook

MOMENT = datetime(2026, 3, 1)  # noqa: DTZ001 - a cell of Excel has no time zone


def read(data: bytes, name: str = "report.xlsx") -> list[Sheet]:
    return read_sheets(io.BytesIO(data), name)


def refusal(data: bytes, name: str = "report.xlsx") -> str:
    with pytest.raises(WorkbookError) as error:
        read(data, name)
    assert isinstance(error.value, QuarantineError)
    assert name in str(error.value)
    return str(error.value)


def test_cells_keep_their_type_and_their_row():
    """Text, number and date stand apart; an empty cell is null in all three; index i is row i + 1 of Excel."""
    [sheet] = read(workbook({"A": [[], ["x", 1.5, MOMENT], [None, None, None], ["y", 2, "2026-03"]]}))
    assert sheet.name == "A"
    assert sheet.row_count == 4
    text, number, moment = sheet.columns
    assert text.text.to_pylist() == [None, "x", None, "y"]
    assert number.number.to_pylist() == [None, 1.5, None, 2.0]
    assert moment.moment.to_pylist() == [None, MOMENT, None, None]
    assert moment.text.to_pylist() == [None, None, None, "2026-03"]


def test_every_sheet_is_given_also_an_empty_one():
    assert [(sheet.name, sheet.row_count) for sheet in read(workbook({"A": [["x"]], "B": [], "C": [[1], [2]]}))] == [
        ("A", 1),
        ("B", 0),
        ("C", 2),
    ]


def test_sheets_longer_than_a_batch_are_whole():
    [sheet] = read(workbook({"A": [[row] for row in range(20_000)]}))
    assert sheet.columns[0].number.to_pylist() == [float(row) for row in range(20_000)]


def test_a_path_is_read_like_a_stream(tmp_path: Path):
    path = tmp_path / "a.xlsx"
    path.write_bytes(workbook({"A": [["x"]]}))
    assert read_sheets(path, "a.xlsx")[0].head(1) == [["x"]]


def test_the_extension_decides_nothing():
    """A workbook named .csv and a text named .xlsx are what their content is."""
    assert read(workbook({"A": [["x"]]}), "report.csv")[0].name == "A"
    assert read(b"a,b\r\n1,2\r\n", "report.xlsx")[0].head(2) == [["a", "b"], ["1", "2"]]


def test_a_formula_is_never_evaluated():
    """What Excel stored beside it is read; a formula without a stored value is an empty cell."""
    stored = read(damaged.with_formulas("O2", "1+1", "7"))[0].columns[14]
    assert stored.number.to_pylist() == [None, 7.0]
    not_stored = read(damaged.with_formulas("O2", "WEBSERVICE(&quot;http://127.0.0.1:9/&quot;)", None))[0].columns[14]
    assert not_stored.filled().tolist() == [True, False]


def test_a_text_that_looks_like_a_formula_stays_text():
    [sheet] = read(b'Title\r\n"=HYPERLINK(""http://x"",""y"")"\r\n@SUM(A1)\r\n', "a.csv")
    assert sheet.columns[0].text.to_pylist() == ["Title", '=HYPERLINK("http://x","y")', "@SUM(A1)"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (damaged.old_xls(), "old .xls"),
        (damaged.old_xls(encrypted=True), "remove the password"),
        (damaged.encrypted_zip(), "remove the password"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"  <!DOCTYPE html><html>", "web page"),
        (b"\x00\x01\x02binary\x00", "binary file"),
        (damaged.zip_of({"a.txt": b"x"}), "a.txt"),
        (damaged.zip_of({"mimetype": b"application/vnd.oasis.opendocument.spreadsheet"}), "OpenDocument"),
        (damaged.with_members(workbook({"A": [["x"]]}), {"xl/vbaProject.bin": b"macro"}), "macros"),
        (damaged.with_members(workbook({"A": [["x"]]}), {"xl/macrosheets/sheet1.xml": b"<x/>"}), "macros"),
        (damaged.with_members(workbook({"A": [["x"]]}), {"xl/workbook.bin": b"x"}), ".xlsb"),
        (damaged.with_members(workbook({"A": [["x"]]}), {"xl/../../etc/passwd": b"x"}), "points outside"),
        (damaged.with_members(workbook({"A": [["x"]]}), {"xl/workbook.xml": b"<not xml"}), "not a readable workbook"),
        (damaged.zip_of({"[Content_Types].xml": b"<x/>", "xl/a.xml": b"<x/>"}), "not a readable workbook"),
    ],
)
def test_what_is_no_readable_workbook_is_refused_by_its_name(data: bytes, says: str):
    assert says in refusal(data)


def test_a_zip_bomb_is_refused_before_it_is_unpacked():
    assert "zip bomb" in refusal(damaged.zip_bomb())


def test_a_bomb_whose_directory_lies_is_refused():
    assert "damaged" in refusal(damaged.lying_bomb())


def test_a_bomb_in_memory_kills_only_its_own_process():
    """A grid of 17 thousand million cells in a file of a few kilobytes."""
    assert "memory" in refusal(damaged.memory_bomb())
    assert read(workbook({"A": [["x"]]}))[0].head(1) == [["x"]]


def test_sheets_that_are_nearly_empty_count_with_the_space_between():
    """Each would be accepted; together they would take the memory of the process that asked."""
    book = openpyxl.Workbook()
    for number in range(2):
        sheet = book.create_sheet(f"S{number}")
        sheet.cell(row=1, column=1, value="x")
        sheet.cell(row=20_000, column=300, value="x")
    file = io.BytesIO()
    book.save(file)
    assert "more than 10,000,000 cells" in refusal(file.getvalue())


def test_a_member_that_stands_twice_is_refused():
    file = io.BytesIO(workbook({"A": [["x"]]}))
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("xl/worksheets/sheet1.xml", b"<worksheet/>")
    assert "twice" in refusal(file.getvalue())


@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
def test_a_truncated_workbook_is_refused(part: float):
    data = workbook({"A": [[f"row {row}", row] for row in range(500)]})
    assert "truncated" in refusal(data[: int(len(data) * part)])


def test_a_flipped_bit_is_found():
    data = bytearray(workbook({"A": [[f"row {row}", row] for row in range(500)]}))
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        sheet = archive.getinfo("xl/worksheets/sheet1.xml")
    data[sheet.header_offset + 200] ^= 0xFF
    assert "damaged" in refusal(bytes(data))


def test_a_sheet_wider_than_any_report_is_refused():
    assert f"more than {MAX_COLUMNS}" in refusal(workbook({"A": [["x"] * (MAX_COLUMNS + 1)]}))


def test_a_nul_character_is_refused():
    """Excel's escape for it decodes to one, and no text column of the database holds it."""
    assert "NUL" in refusal(workbook({"A": [["before_x0000_after"]]}))


def test_a_file_above_the_limit_is_refused(tmp_path: Path):
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.truncate(201 * 1024**2)
    with pytest.raises(WorkbookError, match="larger than 200 MB"):
        read_sheets(path, "huge.csv")


class GrowingFile(io.FileIO):
    """Somebody appends to the file as soon as it is read for the first time."""

    grown = False

    def read(self, size: int = -1, /) -> bytes:
        data = super().read(size)
        if not self.grown:
            self.grown = True
            with Path(str(self.name)).open("ab") as writer:
                writer.write(b"more\r\n")
                writer.flush()
                os.fsync(writer.fileno())
        return data


def test_a_file_that_changes_while_it_is_read_is_read_again_later(tmp_path: Path):
    """The error is a transient one: nothing is wrong with the file."""
    path = tmp_path / "growing.csv"
    path.write_bytes(b"a,b\r\n")
    with GrowingFile(path) as file, pytest.raises(FileChangedError, match="changed while it was read") as error:
        read_sheets(file, "growing.csv")  # type: ignore[arg-type]
    assert isinstance(error.value, TransientError)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_text_file_is_read_in_every_usual_form(delimiter: str, line_end: str, encoding: str):
    rows = [["Título", "Precio"], ["Año, «uno»; dos", "6,99"], ["", "x"]]
    [sheet] = read(delimited(rows, delimiter=delimiter, encoding=encoding, line_end=line_end), "a.csv")
    assert sheet.name is None
    assert sheet.head(3) == rows


def test_a_japanese_text_file_in_shift_jis_is_read():
    rows = [["タイトル", "マーケットプレイス"], ["灯台の本", "Amazon.co.jp"]]
    assert read(delimited(rows, encoding="cp932"), "a.csv")[0].head(2) == rows


def test_mixed_encodings_are_read_byte_by_byte():
    """Lines of UTF-8 and of Windows in one file, as they come from pasting two exports together."""
    data = "Título,1\r\n".encode() + "Año,2\r\n".encode("cp1252") + "Größe,3\r\n".encode()
    assert read(data, "a.csv")[0].columns[0].text.to_pylist() == ["Título", "Año", "Größe"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'Title,Units\r\n"cut in the mid', "truncated"),
        (b"Title,Units\r\n" + b"x" * 200_000, "truncated or not a delimited text"),
        (b"a," * 600 + b"\r\n", "more than"),
        ("Título".encode("utf-16")[:-1], "utf-16"),
        (b"a,b\r\n" * 20_000 + b"x\x00y,1\r\n", "NUL"),
    ],
)
def test_a_text_file_that_is_not_whole_is_refused(data: bytes, says: str):
    assert says in refusal(data, "a.csv")


def test_dates_are_shown_in_iso():
    assert read(workbook({"A": [[date(2026, 3, 1), 7.0, 9781980000001]]}))[0].head(1) == [
        ["2026-03-01", "7", "9781980000001"]
    ]
