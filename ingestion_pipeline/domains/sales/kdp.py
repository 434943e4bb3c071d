"""Reports of Amazon KDP as rows of the ledger and payments.

Here: which sheets of a report are counted and which repeat others (FORMATS E1.5). Not here: reading files
(workbooks.py), recognising sheets (kdp_layout.py, kdp_headers.py), reading rows (kdp_rows.py, kdp_payments.py), which
of two reports is right (ledger.py).

A royalty is counted from the sheets by format; Combined Sales and Total Earnings repeat them and are counted only for
formats whose own sheet is not there. Free units are counted only from an orders sheet. Pages are counted from KENP
Read, or from Total Earnings where only that states what they earned. Payments are kept apart. Prior Month Royalties are
final, everything else is an estimate. Rows of one natural key are one row. The legacy .xls of before 2015 is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from ingestion_pipeline.domains.sales.cells import dates, last_day
from ingestion_pipeline.domains.sales.contracts import (
    FORMATS,
    PAYMENTS,
    ParsedReport,
    Period,
    QuarantineError,
    RowProblem,
    Skipped,
)
from ingestion_pipeline.domains.sales.kdp_layout import (
    REPEATING_SHEETS,
    ROYALTY_SHEETS,
    KdpTable,
    Unread,
    month_of_report,
    report_of,
    tables,
)
from ingestion_pipeline.domains.sales.kdp_payments import payment_rows
from ingestion_pipeline.domains.sales.kdp_rows import (
    FORMAT_OF_SHEET,
    REPORT_OF_REPETITION,
    Part,
    Source,
    free_rows,
    merged,
    no_rows,
    pages_rows,
    royalty_rows,
)
from ingestion_pipeline.domains.sales.kdp_totals import parsed_totals, stated_totals
from ingestion_pipeline.domains.sales.workbooks import read_sheets

_OF_ALL_FORMATS = ("Combined Sales", "Total Earnings")
_ORDERS = ("Orders Processed", "eBook Orders Placed")
_READERS = {
    **dict.fromkeys((*ROYALTY_SHEETS, *_OF_ALL_FORMATS), royalty_rows),
    **dict.fromkeys(_ORDERS, free_rows),
    "KENP Read": pages_rows,
}
_PARTS = {**FORMAT_OF_SHEET, "KENP Read": "pages", "Orders Processed": "free", **REPORT_OF_REPETITION}


def parse(file: BinaryIO | Path, name: str) -> ParsedReport:
    """One report file of KDP, .xlsx or CSV, in English, Spanish or Japanese.

    Args:
        file: The file.
        name: As it was downloaded; the month of an old Prior Month report may stand only there.

    Raises:
        QuarantineError: Nobody can read it; the message says why (a WorkbookError where the file itself is at fault).
        FileChangedError: It was written while it was read.
    """
    found, unread, skipped = tables(read_sheets(file, name), name)
    report = report_of(found, name)
    month = month_of_report(found, name) if report == "kdp_prior_month" else None
    source = Source(name=name, report=report, is_final=report in ("kdp_prior_month", "kdp_payments"), month=month)
    read = _read(found, unread, source)
    royalties, pages, free = _royalties(read), _pages(read), _free(read)
    counted = {*royalties, *pages, *free}
    sold = [part.without("kind", ["free"]) for part in royalties.values()]
    rows = merged([*sold, *pages.values(), *free.values()])
    payments, problems = _payments(found, name)
    for it in unread:
        if not _only_repeats(it.kind, read):
            raise QuarantineError(it.reason)
        skipped.append(Skipped(sheet=it.sheet, reason=f"not read, for it only repeats other sheets: {it.reason}"))
    skipped += [
        Skipped(sheet=table.sheet, reason=reason)
        for table in found
        for reason in _reasons(table.kind, read, royalties, pages)
    ]
    summary = next((table for table in found if table.kind == "Summary"), None)
    return ParsedReport(
        report=report,
        period=_period(month, found, payments),
        is_final=source.is_final,
        rows=rows,
        payments=payments,
        problems=[*(problem for kind in read if kind in counted for problem in read[kind].problems), *problems],
        skipped=skipped,
        ignored_columns={table.sheet or name: table.ignored for table in found if table.ignored},
        parts=_parts(read, sheets={table.kind: table.sheet for table in found}),
        totals={
            "stated": stated_totals(summary, _repeated(read, royalties, pages)),
            "parsed": parsed_totals(
                pa.concat_tables([no_rows().rows, *(part.rows for part in royalties.values())]), rows
            ),
        },
    )


def _read(found: Sequence[KdpTable], unread: list[Unread], source: Source) -> dict[str, Part]:
    """The rows of every sheet by its English name; one that may repeat others and cannot be read goes to `unread`."""
    read = {}
    for table in found:
        if table.kind not in _READERS:
            continue
        try:
            read[table.kind] = _READERS[table.kind](table, source)
        except QuarantineError as error:
            if table.sheet is None or table.kind not in REPEATING_SHEETS:
                raise
            unread.append(Unread(table.kind, table.sheet, str(error)))
    return read


def _royalties(read: Mapping[str, Part]) -> dict[str, Part]:
    """The sales, free copies among them, that are counted of each royalty sheet."""
    royalties: dict[str, Part] = {}
    told: set[str] = set()
    for kind in (*ROYALTY_SHEETS, *_OF_ALL_FORMATS):
        if kind not in read:
            continue
        part = read[kind].without("kind", ["pages_read"]).without("format", told)
        if kind in ROYALTY_SHEETS:
            royalties[kind] = read[kind]
            told.add(FORMAT_OF_SHEET[kind])
        elif part.rows.num_rows or not told:
            royalties[kind] = part
            told.update(FORMATS)
    return royalties


def _pages(read: Mapping[str, Part]) -> dict[str, Part]:
    """The pages that are counted: of Total Earnings where KENP Read is not there or does not say what they earned."""
    totals = read.get("Total Earnings", no_rows()).only("kind", ["pages_read"])
    if totals.rows.num_rows and not _states_pages(read):
        return {"Total Earnings": totals}
    return {"KENP Read": read["KENP Read"]} if "KENP Read" in read else {}


def _states_pages(read: Mapping[str, Part]) -> bool:
    """Whether KENP Read says of all pages what they earned."""
    return "KENP Read" in read and read["KENP Read"].rows["royalty"].null_count == 0


def _free(read: Mapping[str, Part]) -> dict[str, Part]:
    kind = next((kind for kind in _ORDERS if kind in read), None)
    return {kind: read[kind]} if kind else {}


def _only_repeats(kind: str, read: Mapping[str, Part]) -> bool:
    if kind == "eBook Orders Placed":
        return "Orders Processed" in read
    if kind in _OF_ALL_FORMATS and not any(it in read for it in (*ROYALTY_SHEETS, "Combined Sales")):
        return False
    return kind != "Total Earnings" or _states_pages(read)


def _reasons(
    kind: str, read: Mapping[str, Part], royalties: Mapping[str, Part], pages: Mapping[str, Part]
) -> Iterator[str]:
    """Why a sheet, or some of its rows, are not counted."""
    if kind == "Summary":
        yield "states totals: kept for comparison"
    elif kind == "eBook Orders Placed" and "Orders Processed" in read:
        yield "repeats the units of Orders Processed: counted once"
    elif kind in _ORDERS:
        yield "paid units repeat the royalty sheets: only free units counted"
    elif kind == "KENP Read" and kind not in pages:
        yield "its pages are rows of Total Earnings, which says what they earned: counted once"
    elif kind in _OF_ALL_FORMATS and kind not in royalties:
        others = [kind for kind in royalties if kind != "Total Earnings"]
        also = "; only its pages are counted, for it says what they earned" if kind in pages else ""
        yield f"repeats the rows of {', '.join(others)}: counted once{also}"
    elif kind in _OF_ALL_FORMATS and len(royalties) > 1:
        yield "repeats the rows of the sheets by format: counted for the others only"
    free = royalties[kind].only("kind", ["free"]).rows if kind in royalties else no_rows().rows
    if free.num_rows:
        units = pc.sum(free["units_sold"]).as_py()
        yield f"{free.num_rows} rows of free copies ({units} units): free units are counted from an orders sheet"


def _repeated(read: Mapping[str, Part], royalties: Mapping[str, Part], pages: Mapping[str, Part]) -> Iterator[pa.Table]:
    """The rows that are not counted and should add up to those that are."""
    for kind in (*_OF_ALL_FORMATS, "KENP Read"):
        part = read.get(kind, no_rows())
        part = part.only("kind", ["pages_read"]) if kind in royalties else part
        yield (part.without("kind", ["pages_read"]) if kind in pages else part).rows


def _parts(read: Mapping[str, Part], sheets: Mapping[str, str | None]) -> list[str]:
    """Of contracts.PARTS, what the report holds sheets of; print as CSV does not say by its kind which it is."""
    parts: set[str] = set()
    for kind, part in read.items():
        if sheets[kind] is None and kind in FORMAT_OF_SHEET and part.rows.num_rows:
            parts.update(pc.unique(part.rows["format"]).to_pylist())
        else:
            parts.add(_PARTS[kind])
    return sorted(parts)


def _payments(found: Sequence[KdpTable], name: str) -> tuple[pa.Table, Sequence[RowProblem]]:
    table = next((table for table in found if table.kind == "Payments"), None)
    return payment_rows(table, name) if table else (PAYMENTS.empty_table(), [])


def _period(month: date | None, found: Sequence[KdpTable], payments: pa.Table) -> Period | None:
    """The first to the last day that any sheet names, of rows that are not counted as well."""
    if month:
        return Period(start=month, end=last_day(month))
    spans = [
        (first.array, last.array)
        for table in found
        if table.kind in _READERS
        for column in ("royalty_date", "date")
        if column in table.columns
        for first, last in [dates(table.columns[column])]
    ] or [(payments["period_start"], payments["period_end"])]
    starts = [pc.min(first).as_py() for first, _ in spans if first.null_count < len(first)]
    ends = [pc.max(last).as_py() for _, last in spans if last.null_count < len(last)]
    return Period(start=min(starts), end=max(ends)) if starts and ends else None
