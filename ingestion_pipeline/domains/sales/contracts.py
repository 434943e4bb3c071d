"""What every parser of an author's sales report returns: ledger rows, payments, problems, and what was left out.

Here: the columns of the ledger and of payments, the words allowed in them, natural keys, the result of a parser and
the error of a file that nobody can read. Not here: how one platform's files look (its own module), storage.
"""

import difflib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, Protocol

import pyarrow as pa

from ingestion_pipeline.core.errors import PermanentError

PLATFORMS = ("amazon_kdp", "gumroad", "draft2digital", "smashwords")
FORMATS = ("ebook", "paperback", "hardcover", "audiobook", "other")
KINDS = ("sale", "refund", "free", "pages_read", "adjustment")
REPORTS = (
    "kdp_prior_month",
    "kdp_dashboard",
    "kdp_estimator",
    "kdp_orders",
    "kdp_kenp",
    "kdp_payments",
    "gumroad_api",
    "gumroad_csv",
    "d2d_ebook",
    "d2d_print",
    "smashwords",
)

# `source_report` of rows whose sheet repeats other sheets of KDP with other words, days or ids
REPETITIONS = ("kdp_combined_sales", "kdp_total_earnings", "kdp_orders_placed")
# What a KDP report can speak for; those of `REPETITIONS` by their own names, the other sheets by format or kind
PARTS = ("ebook", "paperback", "hardcover", "audiobook", "pages", "free", *REPETITIONS)

MONEY = pa.decimal128(24, 8)

SALES_EVENTS = pa.schema(
    [
        pa.field("platform", pa.string(), nullable=False),
        pa.field("storefront", pa.string(), nullable=False),
        pa.field("country", pa.string()),
        pa.field("title_id", pa.string(), nullable=False),
        pa.field("edition_id", pa.string()),
        pa.field("title", pa.string(), nullable=False),
        pa.field("author", pa.string()),
        pa.field("format", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("transaction_type", pa.string()),
        pa.field("royalty_type", pa.string()),
        pa.field("units_sold", pa.int64(), nullable=False),
        pa.field("units_refunded", pa.int64(), nullable=False),
        pa.field("net_units", pa.int64(), nullable=False),
        pa.field("pages_read", pa.int64(), nullable=False),
        pa.field("list_price", MONEY),
        pa.field("offer_price", MONEY),
        pa.field("currency", pa.string(), nullable=False),
        pa.field("royalty", MONEY),
        pa.field("reported_usd", MONEY),
        pa.field("period_start", pa.date32(), nullable=False),
        pa.field("period_end", pa.date32(), nullable=False),
        pa.field("is_final", pa.bool_(), nullable=False),
        pa.field("source_report", pa.string(), nullable=False),
        pa.field("sheet", pa.string()),
        pa.field("row_number", pa.int64(), nullable=False),
        pa.field("natural_key", pa.string(), nullable=False),
    ]
)

PAYMENTS = pa.schema(
    [
        pa.field("platform", pa.string(), nullable=False),
        pa.field("payment_id", pa.string()),
        pa.field("period_start", pa.date32()),
        pa.field("period_end", pa.date32()),
        pa.field("storefront", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("source", pa.string()),
        pa.field("method", pa.string()),
        pa.field("currency", pa.string(), nullable=False),
        pa.field("accrued", MONEY),
        pa.field("tax_withheld", MONEY),
        pa.field("adjustments", MONEY),
        pa.field("net", MONEY),
        pa.field("payout_currency", pa.string()),
        pa.field("fx_rate", MONEY),
        pa.field("payout_amount", MONEY),
        pa.field("status", pa.string()),
        pa.field("paid_on", pa.date32()),
        pa.field("sheet", pa.string()),
        pa.field("row_number", pa.int64(), nullable=False),
        pa.field("natural_key", pa.string(), nullable=False),
    ]
)

# ISO 4217, the codes in circulation
CURRENCIES = frozenset(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP
    CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF
    IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD
    MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB
    RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD
    UYU UZS VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
    """.split()  # noqa: SIM905 - 150 quoted codes would be ten times as long to read
)


@dataclass(eq=False)
class QuarantineError(PermanentError):
    """The file is set aside: `message` names what was found and the nearest known."""

    message: str

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, kw_only=True)
class RowProblem:
    """One row that was not taken, and why. `row_number` is 1-based, as a person sees it in Excel."""

    sheet: str | None
    row_number: int
    column: str
    seen: str
    expected: str

    @property
    def told(self) -> str:
        sheet = "" if self.sheet is None else f"sheet {self.sheet!r} "
        return f"{sheet}row {self.row_number}: {self.column} is {self.seen!r}, expected {self.expected}"


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A sheet, or part of one, that was left out on purpose."""

    sheet: str | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Period:
    """First and last day, both included."""

    start: date
    end: date


@dataclass(frozen=True, kw_only=True)
class ParsedReport:
    """One report file, read.

    Attributes:
        report: One of `REPORTS`.
        period: What the report covers; None where neither the file nor its rows say. A period with no rows is a real
            zero, not a gap.
        is_final: Whether the platform will not change these amounts any more.
        rows: `SALES_EVENTS`.
        payments: `PAYMENTS`; never to be added to royalties.
        problems: The rows that were not taken.
        skipped: The sheets, and the kinds of rows, that were left out, each with its reason.
        ignored_columns: Columns, by sheet, that the format does not know (a person added them).
        parts: Of `PARTS`, what a report of KDP holds sheets of, empty ones too.
        totals: What the report itself states ("stated") and what its rows add up to ("parsed"), by quantity.
    """

    report: str
    period: Period | None
    is_final: bool
    rows: pa.Table
    payments: pa.Table = field(default_factory=PAYMENTS.empty_table)
    problems: Sequence[RowProblem] = ()
    skipped: Sequence[Skipped] = ()
    ignored_columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    parts: Sequence[str] = ()
    totals: Mapping[str, Mapping[str, Decimal]] = field(default_factory=dict)

    @property
    def left_out(self) -> Sequence[Skipped]:
        """`skipped`, and the columns that were ignored."""
        return [
            *self.skipped,
            *(
                Skipped(sheet=sheet, reason=f"the column {column!r} is not known: ignored")
                for sheet, columns in self.ignored_columns.items()
                for column in columns
            ),
        ]


class ReportParser(Protocol):
    """The seam of a platform's files: `parse(file, name)`.

    Raises:
        QuarantineError: The kind of file, a sheet, a header or a currency is unknown, or the file cannot be read.
    """

    def __call__(self, file: BinaryIO | Path, name: str) -> ParsedReport: ...


def nearest(seen: str, known: Iterable[str], *, likeness: float = 0.5) -> str:
    """' (nearest known: …)' for the end of a message, or nothing where no known word is close."""
    by_folded = {word.casefold(): word for word in known}
    close = difflib.get_close_matches(seen.casefold(), by_folded, n=3, cutoff=likeness)
    return f" (nearest known: {', '.join(by_folded[word] for word in close)})" if close else ""


def natural_key(*parts: object) -> str:
    """sha256 hex over the parts of a platform's natural key; None counts as a part of its own."""
    text = "\x1f".join("\x00" if part is None else str(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()


def natural_keys(rows: Iterable[Sequence[object]]) -> list[str]:
    """The key of each row; the second and later of equal rows get their occurrence index into the key."""
    return distinct_keys(natural_key(*row) for row in rows)


def distinct_keys(keys: Iterable[str]) -> list[str]:
    """Keys as they are, but for the second and later of equal ones: their occurrence index is hashed in."""
    seen: dict[str, int] = {}
    distinct = []
    for key in keys:
        occurrence = seen.get(key, 0)
        seen[key] = occurrence + 1
        distinct.append(natural_key(key, occurrence) if occurrence else key)
    return distinct
