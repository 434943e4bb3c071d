"""CSV and TSV files that nobody vouches for: every encoding and line end, and what is no such file at all."""

import contextlib
import csv
import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.domains.sales import delimited, delimited_bytes
from ingestion_pipeline.domains.sales.contracts import QuarantineError
from ingestion_pipeline.domains.sales.delimited import DelimitedFile
from ingestion_pipeline_tests.domains.sales.delimited_text import rendered

COLUMNS = ["Title", "Author", "Net"]


def read(content, name="report.csv", columns=COLUMNS):
    """The rows below the header, by row number, and the malformed ones."""
    with DelimitedFile(io.BytesIO(content) if isinstance(content, bytes) else content, name) as source:
        rows = source.read(source.columns(columns, columns, kind="report").positions)
    cells = zip(*(rows.columns[it].to_pylist() for it in columns), strict=True)
    return dict(zip(rows.numbers.tolist(), cells, strict=True)), rows.malformed


def text_of(*lines, end="\n"):
    return "".join(line + end for line in ("Title,Author,Net", *lines))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_and_line_ends(encoding, end):
    rows, malformed = read(text_of("Zoë,Günter €,1", "Ümit,Håkon,2", end=end).encode(encoding))
    assert rows == {2: ("Zoë", "Günter €", "1"), 3: ("Ümit", "Håkon", "2")}
    assert malformed == []


def test_mixed_encodings_are_read_line_by_line():
    """Two exports that were pasted into one file."""
    content = text_of("Zoë,a,1").encode() + "Günter,b,2\n".encode("cp1252") + "Ümit €,c,3\n".encode()
    assert [title for title, _, _ in read(content)[0].values()] == ["Zoë", "Günter", "Ümit €"]


def test_mixed_line_ends_are_line_ends():
    assert list(read(b"Title,Author,Net\r\na,b,1\nc,d,2\re,f,3")[0]) == [2, 3, 4]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter):
    content = rendered(COLUMNS, [{"Title": "a,b;c", "Author": "d|e", "Net": "1"}], delimiter=delimiter)
    assert read(content)[0] == {2: ("a,b;c", "d|e", "1")}


@pytest.mark.parametrize("above", ["sep=,\n", "\n\n", ",,\n", "sep=,\r\n\r\n"])
def test_row_numbers_are_those_of_a_spreadsheet(above):
    """Whatever stands above the header, blank rows between, cells of several lines: as Excel counts."""
    content = above + text_of("a,b,1", "", '"two\nlines",d,2', "", "e,f,3")
    first = above.count("\n") + 2
    rows, malformed = read(content.encode())
    assert {number: cells for number, cells in rows.items() if any(cells)} == {
        first: ("a", "b", "1"),
        first + 2: ("two\nlines", "d", "2"),
        first + 4: ("e", "f", "3"),
    }
    assert malformed == []


def test_rows_of_another_width_are_told_and_left_out():
    rows, malformed = read(text_of("a,b,1", "c,d", "e,f,3,more", "g,h,4").encode())
    assert list(rows) == [2, 5]
    assert malformed == [(3, 2), (4, 4)]


def test_a_truncated_file_is_told_by_its_last_row():
    content = text_of("a,b,1", "c,d,2").encode()
    rows, malformed = read(content[:-4])
    assert list(rows) == [2]
    assert malformed == [(3, 2)]


ZIPPED = io.BytesIO()
with zipfile.ZipFile(ZIPPED, "w") as archive:
    archive.writestr("xl/workbook.xml", "<x/>")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b" \r\n\t\n", "the file is empty"),
        (b"\xef\xbb\xbf", "columns, found 0"),
        (b",,,\n,,\n", "columns, found 0"),
        (ZIPPED.getvalue(), r"Excel workbook \(.xlsx\): save it as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "old or encrypted Excel workbook"),
        (b"%PDF-1.7 ...", "this is a PDF"),
        (b"\x1f\x8b\x08\x00abc", "gzip archive: unpack it"),
        (b'{"error": "unauthorized"}', "this is JSON"),
        (b"\n <!DOCTYPE html><html>", "a web page or XML: was the download a login page"),
        (b"Just a letter.\nWith lines.\n", "expected a header of 2 to 1000 columns, found 1"),
        (b"\x00\x01\x02\x03" * 100, "binary or damaged"),
        (b"Title,Author,Net\na,\x00,1\n", "binary or damaged"),
        ("Title,Author,Net\na,\x00,1\n".encode("utf-16"), "binary or damaged"),
        (b"Title,Author,Net\na,\x81\x8d,1\n", "byte 0x81 in .* is neither UTF-8 nor Windows-1252"),
        ("Title,Author,Net\na,b,1\n".encode("utf-16")[:-1], "damaged UTF-16-LE text"),
        (b"\xff\xfe\x00\xd8A\x00", "damaged UTF-16-LE text"),
        (b",".join([b"c"] * 1001) + b"\n", "found 1001"),
        (b'Title,Author,Net\na,"b,1\nc,d,2\ne,f,3\n', "row 2 runs over several lines: is a quotation mark not closed"),
        (b'Title,Author,Net\na,b,1\nc,"' + b"d,2\n" * 900_000, "quotation mark not closed"),
        (text_of(*["a"] * 1002).encode(), r"over 1,000 rows have another number of cells .* \(row 2 first\)"),
        (b"Title,Author,Net\n" + b"x" * (3 * 1024 * 1024) + b",b,1\n", "line is longer than 1024 KiB"),
        (b"Title,Author\na,b\n", "column 'Net' is missing; its header is 'Title', 'Author'"),
    ],
)
def test_what_is_no_report_is_set_aside_with_a_reason(content, message):
    with pytest.raises(QuarantineError, match=rf"^report\.csv: .*{message}"):
        read(content)


def test_a_file_that_is_too_large_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr(delimited_bytes, "MOST_BYTES", 3 * 1024 * 1024)
    endless = io.BytesIO(b"Title,Author,Net\n" + b"a,b,1\n" * 2_000_000)
    with pytest.raises(QuarantineError, match="larger than 3 MiB; split it"):
        read(endless)
    assert endless.tell() <= 5 * 1024 * 1024


def test_too_many_rows_are_too_many(monkeypatch):
    monkeypatch.setattr(delimited, "MOST_ROWS", 1000)
    with pytest.raises(QuarantineError, match="more than 1,000 rows; split it"):
        read(text_of(*["a,b,1"] * 1001).encode())


def test_a_file_that_changes_while_it_is_read_is_read_again_later(tmp_path):
    """What was read might be half of one and half of another: a transient error, the job comes back."""
    path = tmp_path / "report.csv"
    path.write_bytes(text_of("a,b,1").encode())
    with DelimitedFile(path, "report.csv") as source:
        with path.open("ab") as more:
            more.write(b"c,d,2\n")
        with pytest.raises(StoreUnavailableError, match="it changed while it was read"):
            source.read({"Title": 0})


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_files_are_closed(tmp_path):
    """A path that was opened here is closed, also after an error; a file of the caller stays open."""
    path = tmp_path / "report.csv"
    path.write_bytes(b"%PDF")
    before = open_files()
    with pytest.raises(QuarantineError):
        DelimitedFile(path, "report.csv")
    path.write_bytes(text_of("a,b,1").encode())
    assert read(path)[0] == {2: ("a", "b", "1")}
    assert open_files() == before
    mine = io.BytesIO(text_of("a,b,1").encode())
    read(mine)
    assert not mine.closed


def test_reading_begins_where_the_file_stands():
    """A part of a multipart body, say."""
    file = io.BytesIO(b"--boundary\r\n" + text_of("a,b,1").encode())
    file.seek(12)
    assert read(file)[0] == {2: ("a", "b", "1")}


def test_no_row_is_lost_between_blocks():
    """Many blocks of uneven lines, with cells of several lines and of other encodings: every row arrives, numbered."""
    lines = [f'"{"é" * (number % 700)}\n{number}",b,{number}' for number in range(20_000)]
    content = b"".join(
        (line + "\n").encode("cp1252" if number % 3 else "utf-8")
        for number, line in enumerate(["Title,Author,Net", *lines])
    )
    assert len(content) > 5 * delimited_bytes.LONGEST_ROW_BYTES
    rows, malformed = read(content)
    assert malformed == []
    assert list(rows) == list(range(2, 20_002))
    assert [net for _, _, net in rows.values()] == [str(number) for number in range(20_000)]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_no_row_is_lost_between_blocks_of_utf_16(encoding):
    content = text_of(*(f"{'é' * (number % 90)},b,{number}" for number in range(20_000))).encode(encoding)
    rows, _ = read(content)
    assert [net for _, _, net in rows.values()] == [str(number) for number in range(20_000)]


@given(blocks=st.lists(st.binary(max_size=5)), size=st.integers(1, 9))
def test_law_a_stream_answers_in_full(blocks, size):
    """Arrow takes a short answer for the end of the file, and the rest of the rows would be lost without a word."""
    stream, whole = delimited_bytes.Stream(iter(blocks)), b"".join(blocks)
    answers = [stream.read(size) for _ in range(len(whole) // size + 1)]
    assert answers == [whole[at : at + size] for at in range(0, len(whole) + 1, size)][: len(answers)]
    assert b"".join(answers) == whole
    assert stream.read(size) == b""
    assert stream.is_at_end


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=8),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    delimiter=st.sampled_from([",", ";"]),
)
def test_law_what_python_writes_is_read(rows, end, delimiter):
    """Whatever is in the cells: quotation marks, delimiters, line ends, any character but NUL."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([COLUMNS, *rows])
    found, malformed = read(text.getvalue().encode())
    assert malformed == []
    assert list(found.values()) == rows
    assert list(found) == list(range(2, len(rows) + 2))


@settings(max_examples=150, deadline=None)
@given(
    content=st.binary(max_size=200), header=st.sampled_from([b"", b"Title,Author,Net\n", b"\xff\xfe", b"\xef\xbb\xbf"])
)
def test_law_any_bytes_are_read_or_refused(content, header):
    """No error but the documented one."""
    with contextlib.suppress(QuarantineError):
        read(header + content)
