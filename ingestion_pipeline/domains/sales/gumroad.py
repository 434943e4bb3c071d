"""The dashboard's CSV of Gumroad (`Sales.csv`), one row a purchase and a last line `Totals`.

Here: which column means what. Not here: reading CSV (delimited.py), what a sale is in the ledger (gumroad_sales.py).
Source of the format: FORMATS E2 and Gumroad's `purchase_export_service.rb`.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from ingestion_pipeline.domains.sales.contracts import MONEY, ParsedReport
from ingestion_pipeline.domains.sales.countries import country_code
from ingestion_pipeline.domains.sales.delimited import DelimitedFile
from ingestion_pipeline.domains.sales.delimited_rows import Judged, Mask, holds, total
from ingestion_pipeline.domains.sales.delimited_values import (
    DayOrder,
    DecimalMark,
    amounts,
    counts,
    day_order,
    days,
    decimal_mark,
    identifier,
    required_amounts,
    truth,
    words,
)
from ingestion_pipeline.domains.sales.gumroad_sales import LedgerSale, Money, ledger_row, lost, report_of

TOTALS = "Totals"
ID, ITEM, DAY, PRODUCT, QUANTITY = "Purchase ID", "Item Name", "Purchase Date", "Product ID", "Quantity"
PRICE, FEES, NET, PARTIAL = "Sale Price ($)", "Fees ($)", "Net Total ($)", "Partial Refund ($)"
COMMISSION, COUNTRY, VARIANTS = "Affiliate commission ($)", "Country", "Variants"
REFUNDED, DISPUTED, WON = "Fully Refunded?", "Disputed?", "Dispute Won?"
RECURRING, GIFTEE, TIME = "Recurring Charge?", "Giftee Email", "Purchase Time (UTC timezone)"
TRIAL, PREORDER = "Free trial purchase?", "Pre-order authorization?"
REQUIRED = (ID, ITEM, DAY, PRODUCT, PRICE, FEES, NET, REFUNDED, PARTIAL, DISPUTED, WON)
KNOWN = (*REQUIRED, COMMISSION, COUNTRY, VARIANTS, RECURRING, TRIAL, PREORDER, GIFTEE, QUANTITY, TIME)
UNUSED = (
    *("Buyer Name", "Purchase Email", "Buyer Email", "Do not contact?", "Subtotal ($)", "Taxes ($)", "Tax Type"),
    *("Shipping ($)", "Tip ($)", "Tax Included in Price?", "Street Address", "City", "Zip Code", "State", "Referrer"),
    *("Refunded?", "Access Revoked?", "Discount Code", "Order Number", "Pre-order authorization time (UTC timezone)"),
    *("Custom Fields", "Item Price ($)", "Variants Price ($)", "SKU ID", "Recurrence", "Affiliate", "Discover?"),
    *("Cancellation Date", "Subscription End Date", "Rating", "Review", "License Key", "License Key Activation Count"),
    *("License Key Enabled?", "Payment Type", "PayPal Transaction ID", "PayPal Fee Amount", "PayPal Fee Currency"),
    *("Stripe Transaction ID", "Stripe Fee Amount", "Stripe Fee Currency", "Purchasing Power Parity Discounted?"),
    *("Upsold?", "Sent Abandoned Cart Email?", "UTM Source", "UTM Medium", "UTM Campaign", "UTM Term", "UTM Content"),
    *("Buyer Currency", "Buyer Total", "Buyer Refunded Total"),
)
_NO_SALES = {TRIAL: "free trials: nothing was charged", PREORDER: "pre-order authorizations: not charged yet"}
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) ?(UTC|[+-]\d{4})")
_MONEY_COLUMNS = (PRICE, FEES, NET, PARTIAL, COMMISSION)
_SUMMED = (PRICE, FEES, NET)


def parse(file: BinaryIO | Path, name: str) -> ParsedReport:
    """Reads the CSV. All amounts are US dollars; other columns (buyers, custom fields) are not read at all.

    Natural key: the purchase id, the same as the API's sale id: a sale counts once, from wherever it comes.

    Raises:
        QuarantineError: no such report, or dates or decimals written in two ways.
        StoreUnavailableError: the file changed while it was read.
    """
    with DelimitedFile(file, name) as source:
        columns = source.columns((*KNOWN, *UNUSED), REQUIRED, kind="Gumroad sales report")
        rows = source.read({it: at for it, at in columns.positions.items() if it in KNOWN})
    judged = Judged(rows, name=name)
    judged.leave_out_blank()
    mark = decimal_mark(judged.texts(_MONEY_COLUMNS), name=name)
    is_total = judged.where(ID, lambda text: text.strip() == TOTALS)
    stated = _sums(judged, mark, is_total)
    judged.leave_out(is_total)
    skipped = Counter[str]() if stated else Counter({"line Totals: it is missing, the file may be cut off": 1})
    for column, reason in _NO_SALES.items():
        is_none = judged.where(column, lambda text: text.strip() == "1") & judged.is_good
        skipped[reason] += int(is_none.sum())
        judged.leave_out(is_none)
    cells = _cells(judged, mark, day_order(judged.texts((DAY,)), name=name))
    found = {it[ID]: ledger_row(_sale(it), report="gumroad_csv", row_number=it["row_number"]) for it in cells}
    skipped["rows of a purchase that stands again below"] += len(cells) - len(found)
    report = report_of("gumroad_csv", found.values(), problems=judged.problems, skipped=+skipped)
    return replace(
        report,
        totals={**report.totals, **stated},
        ignored_columns={name: columns.unknown} if columns.unknown else {},
    )


def _sums(judged: Judged, mark: DecimalMark, is_total: Mask) -> dict[str, dict[str, Decimal]]:
    """What the line Totals states, and what the column adds up to; nothing without such a line."""
    if not is_total.any():
        return {}
    sums = {}
    for column in _SUMMED:
        values = judged.understood(column, amounts(mark), MONEY)
        sums[column] = {
            "stated": total(values.filter(pa.array(is_total))),
            "parsed": total(values.filter(pa.array(~is_total))),
        }
    return sums


def _cells(judged: Judged, mark: DecimalMark, order: DayOrder) -> list[dict[str, Any]]:
    """The cells of the rows that are sales, by column."""
    parsers: dict[str, tuple[Callable[[str], Any], pa.DataType]] = {
        ID: (_required(identifier, "an id"), pa.string()),
        PRODUCT: (_required(identifier, "an id"), pa.string()),
        ITEM: (words, pa.string()),
        VARIANTS: (words, pa.string()),
        COUNTRY: (country_code, pa.string()),
        GIFTEE: (words, pa.string()),
        DAY: (days(order), pa.date32()),
        TIME: (utc_day, pa.date32()),
        QUANTITY: (counts(mark, blank=1), pa.int64()),
        PRICE: (required_amounts(mark), MONEY),
        FEES: (required_amounts(mark), MONEY),
        PARTIAL: (amounts(mark), MONEY),
        COMMISSION: (amounts(mark), MONEY),
        **dict.fromkeys((REFUNDED, DISPUTED, WON, RECURRING), (truth, pa.bool_())),
    }
    columns = {column: judged.understood(column, *parser) for column, parser in parsers.items()}
    columns["row_number"] = judged.numbers
    judged.refuse(holds(pc.less(columns[QUANTITY], 1)), QUANTITY, "1 or more")
    judged.refuse(holds(pc.less(columns[PRICE], Decimal(0))), PRICE, "0 or more")
    taken = [judged.taken(column).to_pylist() for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*taken, strict=True)]


def utc_day(text: str) -> date | None:
    """The day in UTC of `2024-03-05 23:34:56 -0800`; None where the text has no day and zone."""
    match = _INSTANT.match(text.strip())
    if match is None:
        return None
    zone = "+0000" if match[2] == "UTC" else match[2]
    return datetime.strptime(match[1] + zone, "%Y-%m-%d %H:%M:%S%z").astimezone(UTC).date()


def _required(parse: Callable[[str], str | None], expected: str) -> Callable[[str], str]:
    def parse_required(text: str) -> str:
        value = parse(text)
        if value is None:
            raise ValueError(expected)
        return value

    return parse_required


def _sale(row: Mapping[str, Any]) -> LedgerSale:
    return LedgerSale(
        id=row[ID],
        product=row[PRODUCT],
        title=row[ITEM] or row[PRODUCT],
        variants=row[VARIANTS] or "",
        country=row[COUNTRY],
        day=row[TIME] or row[DAY],
        quantity=row[QUANTITY] or 1,
        money=Money(
            charged=row[PRICE],
            fee=row[FEES],
            affiliate=row[COMMISSION] or Decimal(0),
            refunded=row[PARTIAL] or Decimal(0),
        ),
        lost=lost(is_refunded=row[REFUNDED], is_disputed=row[DISPUTED], is_dispute_won=row[WON]),
        is_recurring=bool(row[RECURRING]),
        is_gift=row[GIFTEE] is not None,
    )
