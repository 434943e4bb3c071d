"""Files that are no report: bombs, encrypted, with macros, with formulas."""

import io
import struct
import zipfile
from collections.abc import Mapping

from ingestion_pipeline_tests.domains.sales.kdp_reports import Sale, estimate_sheets, workbook


def zip_of(members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def with_members(book: bytes, members: Mapping[str, bytes]) -> bytes:
    """A workbook with members added or replaced."""
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        old = {member.filename: archive.read(member) for member in archive.infolist()}
    return zip_of({**old, **members})


def zip_bomb(unpacked_bytes: int = 600 * 1024**2) -> bytes:
    """A workbook with one sheet of spaces."""
    file = io.BytesIO(workbook({"eBook Royalty": [["x"]]}))
    with (
        zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("xl/worksheets/sheet9.xml", "w", force_zip64=True) as member,
    ):
        for _ in range(unpacked_bytes // 1024**2):
            member.write(b" " * 1024**2)
    return file.getvalue()


def memory_bomb() -> bytes:
    """Two cells in opposite corners: a small file whose grid has 17 thousand million cells."""
    cells = (
        b'<row r="1"><c r="A1" t="inlineStr"><is><t>x</t></is></c></row>'
        b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    )
    return with_members(workbook({"eBook Royalty": [["x"]]}), {"xl/worksheets/sheet1.xml": _sheet_xml(cells)})


def lying_bomb() -> bytes:
    """Its directory says that the member unpacks to 10 bytes."""
    honest = with_members(workbook({"eBook Royalty": [["x"]]}), {"xl/worksheets/sheet1.xml": b" " * 30_000_000})
    return honest.replace(struct.pack("<L", 30_000_000), struct.pack("<L", 10))


def _sheet_xml(rows: bytes) -> bytes:
    return (
        b'<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
        + rows
        + b"</sheetData></worksheet>"
    )


def with_formulas(cell: str, formula: str, stored: str | None) -> bytes:
    """One eBook row whose royalty is a formula, with or without the value that Excel stores beside it."""
    book = estimate_sheets([Sale()])["eBook Royalty"]
    sheet = workbook({"eBook Royalty": book})
    with zipfile.ZipFile(io.BytesIO(sheet)) as archive:
        xml = archive.read("xl/worksheets/sheet1.xml").decode()
    start = xml.index(f'<c r="{cell}"')
    end = xml.index("</c>", start) + 4
    value = "" if stored is None else f"<v>{stored}</v>"
    changed = f'{xml[:start]}<c r="{cell}"><f>{formula}</f>{value}</c>{xml[end:]}'
    return with_members(sheet, {"xl/worksheets/sheet1.xml": changed.encode()})


def old_xls(*, encrypted: bool = False) -> bytes:
    """The first bytes of an OLE2 file; Excel keeps an encrypted .xlsx in one."""
    entry = "EncryptedPackage" if encrypted else "Workbook"
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 1016 + entry.encode("utf-16-le") + b"\x00" * 400


def encrypted_zip() -> bytes:
    """A ZIP whose members are marked as encrypted."""
    book = bytearray(workbook({"eBook Royalty": [["x"]]}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = book.find(signature)
        while position >= 0:
            book[position + offset] |= 1
            position = book.find(signature, position + 4)
    return bytes(book)
