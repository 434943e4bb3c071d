"""What a KDP workbook states about itself, beside what its rows add up to.

Quantities, by name, in `ParsedReport.totals["stated"]` and `["parsed"]`; one is compared where both have it:
    royalty USD              of sales and refunds, by currency, pages read not included
    pages_royalty USD        of pages read
    royalty_with_pages USD   both (the Summary states only this)
    net_units                sales less refunds, with the free units of the royalty sheets (Combined Sales, Total
                             Earnings)
    net_units ebook          sales less refunds of one format, without free units (Summary)
    free_units               of the orders sheet (Summary)
    pages_read
    pages_without_royalty    pages whose rows state no royalty: where there are any, `royalty_with_pages` says nothing
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ingestion_pipeline.domains.sales.kdp_cells import Cells
from ingestion_pipeline.domains.sales.kdp_layout import KdpTable

Totals = Mapping[str, Decimal]

_ROUNDING = Decimal("0.05")
_ROUNDING_RATIO = Decimal("0.001")
_SUMMARY = {
    "net_units_ebook": "net_units ebook",
    "net_units_paperback": "net_units paperback",
    "net_units_hardcover": "net_units hardcover",
    "free_units_ebook": "free_units",
    "pages_read": "pages_read",
}


def stated_totals(summary: KdpTable | None, repetitions: Iterable[pa.Table]) -> Totals:
    """Of Summary, and of the rows of sheets that repeat others, as far as the workbook has them."""
    stated = _summary(summary) if summary else {}
    for rows in repetitions:
        stated |= _of_royalty_rows(rows)
    return stated


def parsed_totals(royalties: pa.Table, ledger: pa.Table) -> Totals:
    """Of the rows of the royalty sheets, free ones included, and of the whole ledger part."""
    totals: defaultdict[str, Decimal] = defaultdict(Decimal, _of_royalty_rows(royalties))
    for row in _sums(ledger, ["kind", "format", "currency"]):
        if row["kind"] == "free":
            totals["free_units"] += row["net_units"]
        elif row["kind"] != "pages_read":
            totals[f"net_units {row['format']}"] += row["net_units"]
    pages = ledger.filter(pc.equal(ledger["kind"], "pages_read"))
    totals["pages_read"] = Decimal(pc.sum(pages["pages_read"]).as_py() or 0)
    unpaid = pc.sum(pages.filter(pages["royalty"].is_null())["pages_read"]).as_py()
    totals["pages_without_royalty"] = Decimal(unpaid or 0)
    for row in _sums(pages, ["currency"]):
        totals[f"pages_royalty {row['currency']}"] = row["royalty"]
    for currency in pc.unique(ledger["currency"]).to_pylist():
        totals[f"royalty_with_pages {currency}"] = totals[f"royalty {currency}"] + totals[f"pages_royalty {currency}"]
    return {quantity: Decimal(value) for quantity, value in sorted(totals.items())}


def disagreements(totals: Mapping[str, Totals]) -> list[tuple[str, Decimal, Decimal]]:
    """(quantity, stated, parsed) that differ by more than rounding: 0.05 or 0.1 %, and nothing for units and pages."""
    stated, parsed = totals.get("stated", {}), totals.get("parsed", {})
    found = []
    for quantity, value in stated.items():
        if quantity.startswith("royalty_with_pages") and parsed.get("pages_without_royalty"):
            continue
        other = parsed.get(quantity, Decimal(0))
        allowed = max(_ROUNDING, abs(value) * _ROUNDING_RATIO) if "royalty" in quantity else Decimal(0)
        if abs(value - other) > allowed:
            found.append((quantity, value, other))
    return found


def _summary(table: KdpTable) -> dict[str, Decimal]:
    cells = Cells(table)
    stated = {
        quantity: pc.sum(cells.money(column)).as_py() or Decimal(0)
        for column, quantity in _SUMMARY.items()
        if column in table.columns
    }
    for column in table.columns:
        if column.startswith("royalty_") and column.removeprefix("royalty_").isupper():
            quantity = f"royalty_with_pages {column.removeprefix('royalty_')}"
            stated[quantity] = pc.sum(cells.money(column)).as_py() or Decimal(0)
    return stated


def _of_royalty_rows(rows: pa.Table) -> dict[str, Decimal]:
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in _sums(rows, ["kind", "currency"]):
        if row["kind"] == "pages_read":
            totals["pages_read"] += row["pages_read"]
            if not rows["royalty"].null_count:
                totals[f"pages_royalty {row['currency']}"] += row["royalty"]
        else:
            totals["net_units"] += row["net_units"]
            totals[f"royalty {row['currency']}"] += row["royalty"]
    return totals


def _sums(rows: pa.Table, by: list[str]) -> list[dict[str, Any]]:
    sums = rows.group_by(by).aggregate([("net_units", "sum"), ("pages_read", "sum"), ("royalty", "sum")])
    return [
        {column.removesuffix("_sum"): value or 0 if column.endswith("_sum") else value for column, value in row.items()}
        for row in sums.to_pylist()
    ]
