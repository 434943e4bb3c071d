"""The stored tables of the sales domain: columns, units, keys, freshness. No behaviour.

sales.report_files, sales.payments and sales.ledger_months are written with the ledger and are no assets of their own.
"""

from datetime import timedelta

from ingestion_pipeline.core.tables import Column, Freshness, Table

_OWNER = Column("owner_id", "text", "Whose sales they are")
_PLATFORM = Column("platform", "text", "amazon_kdp, gumroad, draft2digital or smashwords")
_CURRENCY = Column("currency", "text", "ISO 4217: what the amounts are in")
_MONEY = "currency"

_DAILY = Freshness(warn_after=timedelta(hours=26), fail_after=timedelta(hours=50))

EXCHANGE_RATES = Table(
    domain="sales",
    name="exchange_rates",
    store="postgres",
    key=("currency", "rate_date"),
    as_of_column="rate_date",
    freshness=Freshness(
        warn_after=timedelta(hours=26),
        fail_after=timedelta(hours=50),
        data_warn_after=timedelta(days=6),
        data_fail_after=timedelta(days=14),
    ),
    columns=(
        Column("currency", "text", "ISO 4217; the dollar itself is 1 and not in the table"),
        Column("rate_date", "date", "Day of the rate; none on weekends and bank holidays"),
        Column("usd_per_unit", "decimal", "What one unit of the currency is worth", "usd"),
        Column("source", "text", "Who published it"),
    ),
)

SALES_EVENTS = Table(
    domain="sales",
    name="sales_events",
    store="postgres",
    key=("owner_id", "platform", "natural_key"),
    as_of_column="exported_at",
    freshness=Freshness(
        warn_after=timedelta(hours=26),
        fail_after=timedelta(hours=50),
        data_warn_after=timedelta(days=40),
        data_fail_after=timedelta(days=100),
    ),
    personal=frozenset({"owner_id", "author"}),
    columns=(
        _OWNER,
        _PLATFORM,
        Column(
            "natural_key", "text", "SHA-256 of what identifies the row on its platform: overlapping exports meet here"
        ),
        Column("storefront", "text", "Marketplace or channel, as the platform names it"),
        Column("country", "text", "ISO 3166 alpha-2", None, True),
        Column("title_id", "text", "The platform's id of the title"),
        Column("edition_id", "text", "ASIN or ISBN of the edition", None, True),
        Column("title", "text", "As reported"),
        Column("author", "text", "As reported", None, True),
        Column("format", "text", "ebook, paperback, hardcover, audiobook or other"),
        Column("kind", "text", "sale, refund, free, pages_read or adjustment"),
        Column("transaction_type", "text", "The platform's word, in English", None, True),
        Column("royalty_type", "text", "The platform's royalty plan", None, True),
        Column("units_sold", "integer", "Copies", "copies"),
        Column("units_refunded", "integer", "Copies that came back", "copies"),
        Column("net_units", "integer", "Sold minus refunded", "copies"),
        Column("pages_read", "integer", "Kindle Edition Normalized Pages", "pages"),
        Column("list_price", "decimal", "Without tax", _MONEY, True),
        Column("offer_price", "decimal", "What was asked, without tax", _MONEY, True),
        _CURRENCY,
        Column("royalty", "decimal", "The author's money; NULL where the report states none", _MONEY, True),
        Column(
            "estimated_royalty",
            "decimal",
            "Pages times the rate of their month, where royalty is NULL and a rate is known",
            _MONEY,
            True,
        ),
        Column("reported_usd", "decimal", "Where the report itself states dollars: not used in sums", "usd", True),
        Column(
            "fx_rate", "decimal", "Rate of the last day of the period; NULL where there is none", "usd per unit", True
        ),
        Column("fx_date", "date", "Day of that rate: the last one on or before period_end", None, True),
        Column("royalty_usd", "decimal", "royalty or estimated_royalty, times fx_rate; NULL without one", "usd", True),
        Column("period_start", "date", "First day that the row covers"),
        Column("period_end", "date", "Last day that the row covers"),
        Column("is_final", "boolean", "The platform will not change it any more"),
        Column(
            "superseded_by",
            "text",
            "Why it is not counted: final_month, newer_export, other_sheet, draft2digital",
            None,
            True,
        ),
        Column("source_report", "text", "Kind of report"),
        Column("source_sha256", "text", "The file: SHA-256, as in sales.report_files"),
        Column("exported_at", "timestamp", "When the platform wrote the report", "UTC"),
        Column("sheet", "text", "Sheet of the file", None, True),
        Column("row_number", "integer", "Row in the sheet, from 1, as a person sees it"),
        Column("job_id", "text", "Job that stored it", None, True),
        Column("first_seen_at", "timestamp", "When it was first stored", "UTC"),
        Column("updated_at", "timestamp", "When its values last changed", "UTC"),
    ),
)

_COUNTS = (
    Column("units_sold", "integer", "Copies sold, free ones not included", "copies"),
    Column("units_refunded", "integer", "Copies that came back", "copies"),
    Column("net_units", "integer", "Sold minus refunded", "copies"),
    Column("free_units", "integer", "Copies given away", "copies"),
    Column("pages_read", "integer", "Kindle Edition Normalized Pages", "pages"),
    Column("royalty", "decimal", "The author's money, estimated pages too; NULL where there is none", _MONEY, True),
    Column("royalty_usd", "decimal", "The same in dollars; NULL where a part of it has no rate", "usd", True),
    Column("row_count", "integer", "Rows of the ledger in it", "rows"),
    Column("is_final", "boolean", "All of them are final, and none is estimated"),
)
_WHAT = (
    _OWNER,
    _PLATFORM,
    Column("title_id", "text", "The platform's id of the title"),
    Column("format", "text", "ebook, paperback, hardcover, audiobook or other"),
    Column("country", "text", "ISO 3166 alpha-2; ZZ where unknown"),
    Column("title", "text", "As reported last"),
    _CURRENCY,
)

SALES_DAILY = Table(
    domain="sales",
    name="sales_daily",
    store="postgres",
    key=("day", "period_days", "owner_id", "platform", "title_id", "format", "country", "currency"),
    freshness=_DAILY,
    personal=frozenset({"owner_id"}),
    columns=(
        Column("day", "date", "Day of the sales; of a longer period, its first day"),
        Column("period_days", "integer", "1, or how many days the reports state in one sum", "days"),
        *_WHAT,
        *_COUNTS,
    ),
)

SALES_MONTHLY = Table(
    domain="sales",
    name="sales_monthly",
    store="postgres",
    key=("month", "owner_id", "platform", "title_id", "format", "country", "currency"),
    freshness=_DAILY,
    personal=frozenset({"owner_id"}),
    columns=(Column("month", "date", "First day of the month in which the sales began"), *_WHAT, *_COUNTS),
)

COVERAGE = Table(
    domain="sales",
    name="coverage",
    store="postgres",
    key=("month", "owner_id", "platform"),
    freshness=_DAILY,
    personal=frozenset({"owner_id"}),
    columns=(
        Column("month", "date", "First day of the month"),
        _OWNER,
        _PLATFORM,
        Column("state", "text", "final, estimate or missing; a final month without sales is final"),
        Column("report_count", "integer", "Reports that cover the month or a part of it", "reports"),
        Column("row_count", "integer", "Rows of the ledger that are counted", "rows"),
        Column("last_seen_at", "timestamp", "When the newest of these reports was exported", "UTC", True),
    ),
)

TABLES = (EXCHANGE_RATES, SALES_EVENTS, SALES_DAILY, SALES_MONTHLY, COVERAGE)
