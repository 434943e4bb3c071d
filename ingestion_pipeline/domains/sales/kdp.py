"""Reports of Amazon KDP as rows of the ledger and payments.

Here: which sheets of a report are counted and which repeat others (FORMATS E1.5). Not here: reading files
(workbooks.py), recognising sheets (kdp_layout.py, kdp_headers.py), reading rows (kdp_rows.py, kdp_payments.py).

A royalty is counted from the sheets by format; Combined Sales and Total Earnings repeat them and are counted only
where those are not there. Free units are counted only from an orders sheet, pages only from KENP Read. Payments are
kept apart. Prior Month Royalties are final, everything else is an estimate. The legacy .xls of before 2015 is refused.
"""

import itertools
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from ingestion_pipeline.domains.sales.cells import last_day
from ingestion_pipeline.domains.sales.contracts import (
    PAYMENTS,
    SALES_EVENTS,
    ParsedReport,
    Period,
    RowProblem,
    Skipped,
    distinct_keys,
)
from ingestion_pipeline.domains.sales.kdp_layout import (
    ROYALTY_SHEETS,
    KdpTable,
    month_of_report,
    report_of,
    tables,
)
from ingestion_pipeline.domains.sales.kdp_payments import payment_rows
from ingestion_pipeline.domains.sales.kdp_rows import Part, Source, free_rows, pages_rows, royalty_rows
from ingestion_pipeline.domains.sales.kdp_totals import parsed_totals, stated_totals
from ingestion_pipeline.domains.sales.workbooks import read_sheets


def parse(file: BinaryIO | Path, name: str) -> ParsedReport:
    """One report file of KDP, .xlsx or CSV, in English, Spanish or Japanese.

    Args:
        file: The file.
        name: As it was downloaded; the month of an old Prior Month report may stand only there.

    Raises:
        QuarantineError: Nobody can read it; the message says why (a WorkbookError where the file itself is at fault).
        FileChangedError: It was written while it was read.
    """
    found, skipped = tables(read_sheets(file, name), name)
    report = report_of(found, name)
    month = month_of_report(found, name) if report == "kdp_prior_month" else None
    source = Source(name=name, report=report, is_final=report in ("kdp_prior_month", "kdp_payments"), month=month)
    repeats = _repeats({table.kind for table in found})
    counted = [table for table in found if table.kind not in repeats]
    repeated = [table for table in found if table.kind in repeats]
    skipped += [Skipped(sheet=table.sheet, reason=repeats[table.kind]) for table in repeated]
    royalties = [_royalties(table, source, skipped) for table in counted if _is_royalty(table)]
    others = [
        _other(table, source, skipped) for table in counted if not _is_royalty(table) and table.kind != "Payments"
    ]
    payments, payment_problems = _payments(counted, name)
    ledger, keys = _joined([*(_without_free(part) for part in royalties), *others])
    rows = ledger.set_column(
        ledger.schema.get_field_index("natural_key"), "natural_key", pa.array(distinct_keys(keys), pa.string())
    ).cast(SALES_EVENTS)
    problems = [problem for part in (*royalties, *others) for problem in part.problems]
    return ParsedReport(
        report=report,
        period=_period(month, rows, payments),
        is_final=source.is_final,
        rows=rows,
        payments=payments,
        problems=[*problems, *payment_problems],
        skipped=skipped,
        ignored_columns={table.sheet or name: table.ignored for table in found if table.ignored},
        totals={
            "stated": stated_totals(repeated, source),
            "parsed": parsed_totals(_joined(royalties)[0], rows),
        },
    )


def _repeats(kinds: set[str]) -> dict[str, str]:
    """The sheets that are not counted beside the others, each with the reason."""
    repeats = {"Summary": "states totals: kept for comparison"}
    by_format = [kind for kind in ROYALTY_SHEETS if kind in kinds]
    if by_format:
        repeats["Combined Sales"] = f"repeats the rows of {', '.join(by_format)}: counted once"
    if "Combined Sales" in kinds or by_format:
        repeats["Total Earnings"] = "repeats the royalty sheets and KENP Read: counted once, kept for comparison"
    elif "Total Earnings" in kinds:
        repeats["KENP Read"] = "its pages are rows of Total Earnings: counted once"
    if "Orders Processed" in kinds:
        repeats["eBook Orders Placed"] = "repeats the units of Orders Processed: counted once"
    return repeats


def _is_royalty(table: KdpTable) -> bool:
    return table.kind in (*ROYALTY_SHEETS, "Combined Sales", "Total Earnings")


def _royalties(table: KdpTable, source: Source, skipped: list[Skipped]) -> Part:
    part = royalty_rows(table, source)
    free = part.rows.filter(pc.equal(part.rows["kind"], "free"))
    if free.num_rows:
        units = pc.sum(free["units_sold"]).as_py()
        reason = f"{free.num_rows} rows of free copies ({units} units): free units are counted from an orders sheet"
        skipped.append(Skipped(sheet=table.sheet, reason=reason))
    return part


def _other(table: KdpTable, source: Source, skipped: list[Skipped]) -> Part:
    if table.kind == "KENP Read":
        return pages_rows(table, source)
    part = free_rows(table, source)
    skipped.append(Skipped(sheet=table.sheet, reason="paid units repeat the royalty sheets: only free units counted"))
    return part


def _without_free(part: Part) -> Part:
    kept = pc.not_equal(part.rows["kind"], "free").to_numpy()
    keys = list(itertools.compress(part.keys, kept))
    return Part(part.rows.filter(pa.array(kept)), keys, part.problems)


def _joined(parts: Sequence[Part]) -> tuple[pa.Table, list[str]]:
    if not parts:
        return SALES_EVENTS.empty_table(), []
    return pa.concat_tables([part.rows for part in parts]), [key for part in parts for key in part.keys]


def _payments(counted: Sequence[KdpTable], name: str) -> tuple[pa.Table, Sequence[RowProblem]]:
    table = next((table for table in counted if table.kind == "Payments"), None)
    return payment_rows(table, name) if table else (PAYMENTS.empty_table(), [])


def _period(month: date | None, rows: pa.Table, payments: pa.Table) -> Period | None:
    if month:
        return Period(start=month, end=last_day(month))
    covered = rows if rows.num_rows else payments
    start, end = pc.min(covered["period_start"]).as_py(), pc.max(covered["period_end"]).as_py()
    return Period(start=start, end=end) if start and end else None
