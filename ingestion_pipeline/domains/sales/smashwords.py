"""Smashwords' sales report: tab-separated text, although it is named `SmashWords_salesReport-YYYY-MM-DD.xls`.

Here: which column means what, and payments. Not here: reading text (delimited.py), understanding cells
(delimited_values.py), which sales Draft2Digital reports as well (`sales.supersede_smashwords`). Source of the format:
FORMATS E4.
"""

from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion_pipeline.domains.sales.contracts import (
    MONEY,
    PAYMENTS,
    ParsedReport,
    QuarantineError,
    natural_key,
    nearest,
)
from ingestion_pipeline.domains.sales.countries import country_code
from ingestion_pipeline.domains.sales.delimited import Columns, DelimitedFile
from ingestion_pipeline.domains.sales.delimited_rows import Judged, Mask, holds, period_of, royalty_totals, total
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
    required_amounts,
    words,
)

PLATFORM = "smashwords"
SALE, RETAILER_SALE, PAYMENT = "sale", "retailer sale", "payment"
TYPES = (SALE, RETAILER_SALE, PAYMENT)
OWN_STORE = "Smashwords.com"
CUTS = ("retailerCut", "smashwordsCut", "affiliateCut", "transFee", "vat")
FINAL_USD = "amountFinal (USD)"
REQUIRED = (
    *("type", "channel", "location", "id", "title", "price", "qty", "amount", "couponCode"),
    *("net", "currency", "date", "balanceAdjusted"),
)
KNOWN = (*REQUIRED, *CUTS, "isbn", "author", FINAL_USD)
_MONEY_COLUMNS = ("price", "amount", "net", FINAL_USD, *CUTS)
_ROUNDING = Decimal("0.02")


def parse(file: BinaryIO | Path, name: str) -> ParsedReport:
    """Reads a report. `net` is the author's money; cuts, fees and VAT are negative and already in it.

    A row whose `balanceAdjusted` is filled was credited (final), else it is accrued (an estimate).

    Natural key: type, channel, location, book id, price, quantity, coupon, currency and time, with an occurrence index
    for rows that are equal in all of these. No amount is in it: the columns that are filled when a sale is credited
    would make a second sale of it. Payments: the id.

    Raises:
        QuarantineError: no such report, an unknown currency, or dates or decimals written in two ways.
        StoreUnavailableError: the file changed while it was read.
    """
    with DelimitedFile(file, name) as source:
        columns = source.columns(KNOWN, REQUIRED, kind="Smashwords sales report")
        _require_cuts(columns, name)
        rows = source.read(columns.positions)
    judged = Judged(rows, name=name)
    judged.leave_out_blank()
    kind = judged.understood("type", _row_type, pa.string())
    is_payment = holds(pc.equal(kind, PAYMENT))
    parse_day = days(day_order(judged.texts(("date", "balanceAdjusted")), name=name))
    mark = decimal_mark(judged.texts(_MONEY_COLUMNS), name=name)
    money = {it: judged.understood(it, amounts(mark), MONEY) for it in _MONEY_COLUMNS}
    day = judged.understood("date", parse_day, pa.date32())
    code = judged.understood("currency", lambda text: currency(text, name=name), pa.string())
    judged.understood("net", required_amounts(mark), MONEY)
    computed = _computed_net(money)
    if not columns.unknown:
        # A column that nobody knows may be one more cut.
        difference = pc.abs(pc.subtract(pc.fill_null(money["net"], Decimal(0)), computed))
        judged.refuse(holds(pc.greater(difference, _ROUNDING)) & ~is_payment, "net", "amount plus the (negative) cuts")
    payments = _payments(judged, is_payment, money=money, day=day, code=code)
    judged.leave_out(is_payment)
    table = _ledger(judged, kind=kind, money=money, day=day, code=code)
    return ParsedReport(
        report="smashwords",
        period=period_of(table, name=name),
        is_final=bool(pc.all(table["is_final"], min_count=0).as_py()),
        rows=table,
        payments=payments,
        problems=judged.problems,
        ignored_columns={name: columns.unknown} if columns.unknown else {},
        totals=royalty_totals(table)
        | {"net": {"stated": total(judged.taken(money["net"])), "parsed": total(judged.taken(computed))}},
    )


def _require_cuts(columns: Columns, name: str) -> None:
    """A cut that is missing beside a column that nobody knows has been renamed: `net` could not be trusted."""
    missing = [cut for cut in CUTS if cut not in columns.positions]
    if missing and columns.unknown:
        found = columns.unknown[0]
        raise QuarantineError(f"{name}: no column {missing[0]!r}, but an unknown one {found!r}{nearest(found, CUTS)}")


def _row_type(text: str) -> str:
    folded = " ".join(text.casefold().split())
    if folded not in TYPES:
        raise ValueError(f"one of {', '.join(TYPES)}{nearest(folded, TYPES)}")
    return folded


def _location(text: str) -> str | None:
    """`country_US` is US; `_` is nothing."""
    return country_code(text.strip().removeprefix("country_"))


def _is_credited(text: str) -> bool:
    return not is_blank(text)


def _computed_net(money: dict[str, pa.Array]) -> pa.Array:
    net = pc.fill_null(money["amount"], Decimal(0))
    for cut in CUTS:
        net = pc.add(net, pc.fill_null(money[cut], Decimal(0))).cast(MONEY)
    return net


def _ledger(judged: Judged, *, kind: pa.Array, money: dict[str, pa.Array], day: pa.Array, code: pa.Array) -> pa.Table:
    quantity = judged.understood("qty", counts("."), pa.int64())
    sold, refunded = pc.max_element_wise(quantity, 0), pc.max_element_wise(pc.negate(quantity), 0)
    book, edition = judged.understood("id", identifier, pa.string()), judged.understood("isbn", isbn, pa.string())
    judged.refuse(holds(pc.is_null(book)), "id", "the id of a book")
    is_paid_back = pc.and_(pc.less(quantity, 0), pc.greater(money["net"], Decimal(0)))
    judged.refuse(holds(is_paid_back), "net", "money that goes back, as the quantity says")
    channel = judged.understood("channel", words, pa.string())
    storefront = pc.if_else(pc.equal(kind, SALE), pc.coalesce(channel, OWN_STORE), channel)
    judged.refuse(holds(pc.is_null(storefront)), "channel", "the name of a store")
    location, time = (judged.understood(it, words, pa.string()) for it in ("location", "date"))
    coupon = judged.understood("couponCode", words, pa.string())
    is_free = pc.and_(
        pc.equal(pc.coalesce(money["amount"], money["price"]), Decimal(0)), pc.equal(money["net"], Decimal(0))
    )
    return judged.ledger(
        {
            "platform": PLATFORM,
            "storefront": storefront,
            "country": judged.understood("location", _location, pa.string()),
            "title_id": book,
            "edition_id": edition,
            "title": pc.coalesce(judged.understood("title", words, pa.string()), book),
            "author": judged.understood("author", words, pa.string()),
            "format": "ebook",
            "kind": _kinds(quantity, pc.fill_null(is_free, fill_value=False)),
            "transaction_type": pc.if_else(pc.equal(kind, SALE), "Sale", "Retailer sale"),
            "units_sold": sold,
            "units_refunded": refunded,
            "net_units": quantity,
            "pages_read": 0,
            "offer_price": money["price"],
            "currency": code,
            "royalty": money["net"],
            "reported_usd": money[FINAL_USD],
            "period_start": day,
            "period_end": day,
            "is_final": judged.understood("balanceAdjusted", _is_credited, pa.bool_()),
            "source_report": "smashwords",
        },
        key=[PLATFORM, kind, channel, location, book, money["price"], quantity, coupon, code, day, _clock(time)],
    )


def _kinds(quantity: pa.Array, is_free: pa.Array) -> pa.Array:
    sold = pc.greater(quantity, 0)
    cases = pc.make_struct(pc.less(quantity, 0), pc.and_(is_free, sold), sold)
    return pc.case_when(cases, "refund", "free", "sale", "adjustment")


def _clock(time: pa.Array) -> pa.Array:
    """The time of day of a text, without a leading zero: a spreadsheet writes `05:18` where the report has `5:18`."""
    return pc.struct_field(pc.extract_regex(time, r"[T ,]+0?(?P<clock>\d{1,2}:\d{2})"), "clock")


def _payments(judged: Judged, mask: Mask, *, money: dict[str, pa.Array], day: pa.Array, code: pa.Array) -> pa.Table:
    """Payouts are negative in the report, positive here."""
    ids = judged.understood("id", identifier, pa.string())
    judged.refuse(holds(pc.is_null(ids)) & mask, "id", "the id of a payment")
    numbers = judged.numbers
    taken = np.flatnonzero(mask & judged.is_good)
    paid = [
        {
            "platform": PLATFORM,
            "payment_id": ids[at].as_py(),
            "currency": code[at].as_py(),
            "net": -money["net"][at].as_py(),
            "payout_currency": code[at].as_py(),
            "payout_amount": -money["net"][at].as_py(),
            "status": "paid",
            "paid_on": day[at].as_py(),
            "row_number": numbers[at].as_py(),
            "natural_key": natural_key(PLATFORM, PAYMENT, ids[at].as_py()),
        }
        for at in taken.tolist()
    ]
    return pa.Table.from_pylist([dict.fromkeys(PAYMENTS.names) | row for row in paid], schema=PAYMENTS)
