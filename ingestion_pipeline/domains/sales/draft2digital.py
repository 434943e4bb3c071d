"""Draft2Digital's sales reports: the eBook and the print CSV of Reports > Downloads, monthly or of a full year.

Here: which column means what, and which rows are no sales. Not here: reading CSV (delimited.py), understanding cells
(delimited_values.py). Source of the format: FORMATS E3.
"""

import re
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion_pipeline.domains.sales.contracts import (
    MONEY,
    ParsedReport,
    QuarantineError,
    Skipped,
)
from ingestion_pipeline.domains.sales.countries import country_code
from ingestion_pipeline.domains.sales.delimited import DelimitedFile
from ingestion_pipeline.domains.sales.delimited_rows import Judged, holds, period_of, royalty_totals
from ingestion_pipeline.domains.sales.delimited_values import (
    amounts,
    counts,
    currency,
    day_order,
    days,
    decimal_mark,
    identifier,
    is_blank,
    isbn,
    truth,
    words,
)

PLATFORM = "draft2digital"
SMASHWORDS = "Smashwords"
NOTHING_IN = "USD"
"""The currency of a free copy that states none: nothing is nothing in any."""
EBOOK_ISBN, PRINT_ISBN = "Ebook ISBN", "Paperback ISBN"
START, END, TITLE_ID, TITLE, AUTHOR = "Start Date", "End Date", "Title ID", "Title", "Primary Author"
DISTRIBUTOR, VENDOR, COUNTRY, SALES_MODEL = "Distributor", "Vendor", "Country", "Sales Model"
SOLD, RETURNED, NET = "Units Sold", "Units Returned", "Net Unit Sales"
LIST_PRICE, OFFER_PRICE, PERCENT = "List Price Per Unit", "Offer Price Per Unit", "Royalty Percent"
CURRENCY, SHARE, SHARE_USD, VERIFIED = "Currency Code", "Publisher Share", "Publisher Share USD (estimated)", "Verified"
REQUIRED = (
    *(START, END, TITLE_ID, TITLE, DISTRIBUTOR, VENDOR, COUNTRY, SOLD, RETURNED, NET),
    *(SALES_MODEL, CURRENCY, OFFER_PRICE, SHARE, VERIFIED),
)
USED = (*REQUIRED, AUTHOR, LIST_PRICE, PERCENT, SHARE_USD)
UNUSED = (
    *("Publisher", "Retailer", "Sales Channel Fee/Taxes Per Unit", "Sales Channel Revenue Per Unit", "Unit Cost"),
    *("Extended Sales Channel Revenue", "Sales Channel Share", "D2D Share"),
)
_MONEY_COLUMNS = (LIST_PRICE, OFFER_PRICE, SHARE, SHARE_USD)


def parse(file: BinaryIO | Path, name: str) -> ParsedReport:
    """Reads an eBook or a print report.

    Natural key: start and end date, Title ID (else ISBN), distributor, vendor, country, sales model, currency and offer
    price, within the kind of report: a row that was estimated and is now verified replaces itself.

    A month as a date is its first day as Start Date, its last as End Date.

    A row of the distributor Smashwords has a storefront that begins with `Smashwords`: those sales may stand in a
    report of Smashwords as well (the database function `sales.supersede_smashwords` says which of them count).

    Raises:
        QuarantineError: no such report, an unknown currency, or dates or decimals written in two ways.
        StoreUnavailableError: the file changed while it was read.
    """
    with DelimitedFile(file, name) as source:
        columns = source.columns((*USED, *UNUSED, EBOOK_ISBN, PRINT_ISBN), REQUIRED, kind="Draft2Digital report")
        isbn_columns = [it for it in (EBOOK_ISBN, PRINT_ISBN) if it in columns.positions]
        if len(isbn_columns) != 1:
            found = "both" if isbn_columns else "neither"
            raise QuarantineError(f"{name}: expected a column {EBOOK_ISBN!r} or {PRINT_ISBN!r}, found {found}")
        rows = source.read({it: at for it, at in columns.positions.items() if it in (*USED, *isbn_columns)})
    judged = Judged(rows, name=name)
    skipped = _without_undated_end(judged)
    table = _ledger(judged, name=name, isbn_column=isbn_columns[0])
    return ParsedReport(
        report=_report(isbn_columns[0]),
        period=period_of(_of_a_month(table), name=name),
        is_final=bool(pc.all(table["is_final"], min_count=0).as_py()),
        rows=table,
        problems=judged.problems,
        skipped=skipped,
        ignored_columns={name: columns.unknown} if columns.unknown else {},
        totals=royalty_totals(table),
    )


def royalty_percent(text: str) -> str | None:
    """`0.6`, `60` and `60.00%` are `60%`; other words stay."""
    seen = words(text)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", seen or "")
    if match is None:
        return seen
    value = Decimal(match[1])
    share = value * 100 if value <= 1 and not match[2] else value
    return f"{share.normalize():f}%"


def _of_a_month(rows: pa.Table) -> pa.Table:
    """The rows that say which days a report is of: those within a month.

    Apple's windows begin in the month before, of which the report says nothing else. Where all are such, their last
    days.
    """
    first, last = (pc.floor_temporal(rows[it], unit="month") for it in ("period_start", "period_end"))
    within = rows.filter(pc.equal(first, last))
    if within.num_rows:
        return within
    return rows.set_column(rows.schema.get_field_index("period_start"), "period_start", rows["period_end"])


def _report(isbn_column: str) -> str:
    return "d2d_ebook" if isbn_column == EBOOK_ISBN else "d2d_print"


def _without_undated_end(judged: Judged) -> list[Skipped]:
    """Leaves out blank rows, and rows without dates below the last dated one (totals, notes)."""
    judged.leave_out_blank()
    is_undated = judged.where(START, is_blank) & judged.where(END, is_blank)
    dated = np.flatnonzero(~is_undated)
    is_below = np.arange(len(is_undated)) > (dated[-1] if len(dated) else -1)
    trailing = is_undated & is_below & judged.is_good
    judged.leave_out(trailing)
    count = int(trailing.sum())
    return [Skipped(sheet=None, reason=f"{count} rows without dates below the last sale")] if count else []


def _ledger(judged: Judged, *, name: str, isbn_column: str) -> pa.Table:
    order = day_order(judged.texts((START, END)), name=name)
    mark = decimal_mark(judged.texts(_MONEY_COLUMNS), name=name)
    start = judged.understood(START, days(order, of_month="first"), pa.date32())
    end = judged.understood(END, days(order, of_month="last"), pa.date32())
    judged.refuse(holds(pc.greater(start, end)), END, "a day not before Start Date")
    sold = judged.understood(SOLD, counts(mark), pa.int64())
    returned = pc.abs(judged.understood(RETURNED, counts(mark), pa.int64()))
    net = judged.understood(NET, counts(mark), pa.int64())
    judged.refuse(holds(pc.not_equal(net, pc.subtract(sold, returned))), NET, f"{SOLD} less {RETURNED}")
    edition = judged.understood(isbn_column, isbn, pa.string())
    title_id = pc.coalesce(judged.understood(TITLE_ID, identifier, pa.string()), edition)
    judged.refuse(holds(pc.is_null(title_id)), TITLE_ID, "an id, or an ISBN in its column")
    distributor, vendor = (judged.understood(it, words, pa.string()) for it in (DISTRIBUTOR, VENDOR))
    storefront = _storefronts(distributor, vendor)
    judged.refuse(holds(pc.is_null(storefront)), VENDOR, "the name of a store")
    listed = judged.understood(LIST_PRICE, amounts(mark), MONEY)
    offer = judged.understood(OFFER_PRICE, amounts(mark), MONEY)
    share = judged.understood(SHARE, amounts(mark), MONEY)
    is_free = pc.equal(pc.coalesce(offer, listed), Decimal(0))
    share = pc.if_else(pc.and_(pc.is_null(share), pc.fill_null(is_free, fill_value=False)), Decimal(0), share)
    judged.refuse(holds(pc.is_null(share)), SHARE, "a number")
    code = judged.understood(CURRENCY, lambda text: None if is_blank(text) else currency(text, name=name), pa.string())
    code = pc.if_else(pc.and_(pc.is_null(code), pc.equal(share, Decimal(0))), NOTHING_IN, code)
    judged.refuse(holds(pc.is_null(code)), CURRENCY, "an ISO 4217 code such as USD")
    country = judged.understood(COUNTRY, country_code, pa.string())
    model = judged.understood(SALES_MODEL, words, pa.string())
    usd = judged.understood(SHARE_USD, amounts(mark), MONEY)
    is_final = judged.understood(VERIFIED, truth, pa.bool_())
    where = judged.understood(COUNTRY, words, pa.string())
    return judged.ledger(
        {
            "platform": PLATFORM,
            "storefront": storefront,
            "country": country,
            "title_id": title_id,
            "edition_id": edition,
            "title": pc.coalesce(judged.understood(TITLE, words, pa.string()), title_id),
            "author": judged.understood(AUTHOR, words, pa.string()),
            "format": "ebook" if isbn_column == EBOOK_ISBN else "paperback",
            "kind": _kinds(sold, returned, listed, share),
            "transaction_type": model,
            "royalty_type": judged.understood(PERCENT, royalty_percent, pa.string()),
            "units_sold": sold,
            "units_refunded": returned,
            "net_units": net,
            "pages_read": 0,
            "list_price": listed,
            "offer_price": offer,
            "currency": code,
            "royalty": share,
            "reported_usd": usd,
            "period_start": start,
            "period_end": end,
            "is_final": is_final,
            "source_report": _report(isbn_column),
        },
        key=[PLATFORM, _report(isbn_column), start, end, title_id, distributor, vendor, where, model, code, offer],
    )


def _storefronts(distributor: pa.Array, vendor: pa.Array) -> pa.Array:
    """The vendor, else the distributor; what Smashwords sold begins with `Smashwords`."""
    store = pc.coalesce(vendor, distributor)
    is_smashwords = pc.and_(
        pc.equal(pc.utf8_lower(distributor), SMASHWORDS.lower()),
        pc.invert(pc.starts_with(store, SMASHWORDS, ignore_case=True)),
    )
    return pc.if_else(
        pc.fill_null(is_smashwords, fill_value=False), pc.binary_join_element_wise(SMASHWORDS, store, ": "), store
    )


def _kinds(sold: pa.Array, returned: pa.Array, listed: pa.Array, share: pa.Array) -> pa.Array:
    is_free = pc.and_(pc.fill_null(pc.equal(listed, Decimal(0)), fill_value=False), pc.equal(share, Decimal(0)))
    return pc.case_when(
        pc.make_struct(
            pc.and_(pc.equal(sold, 0), pc.greater(returned, 0)),
            pc.and_(is_free, pc.greater(sold, 0)),
            pc.greater(sold, 0),
        ),
        "refund",
        "free",
        "sale",
        "adjustment",
    )
