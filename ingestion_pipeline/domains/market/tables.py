"""The stored tables of the market domain: columns, units, keys, partitioning, freshness. No behaviour."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

from ingestion_pipeline.core.tables import Column, Freshness, Table

Grain = Literal["hour", "day", "week"]

GRAIN_SECONDS: Mapping[Grain, int] = {"hour": 3_600, "day": 86_400, "week": 604_800}

COMPARISON_WINDOW_DAYS = 30
ROI_WINDOWS_DAYS = (7, 30, 90, 365)
BASE_PRICE_MAX_AGE_DAYS = 7
"""How much older than the start of the window the base price may be: a long weekend, not a delisting."""

_SYMBOL = Column("symbol", "text", "Market symbol, as in market/markets")
_DAY = Column("day", "date", "UTC day of the bar: the partition")
_METHOD = Column("method_version", "text", "Version of the definitions in docs/market.md")


def _freshness(*, warn_hours: int, fail_hours: int, more_days: int = 0) -> Freshness:
    """The data may be as old as exchanges close over a long weekend, `more_days` more where a row is of a Monday."""
    return Freshness(
        warn_after=timedelta(hours=warn_hours),
        fail_after=timedelta(hours=fail_hours),
        data_warn_after=timedelta(days=4 + more_days),
        data_fail_after=timedelta(days=7 + more_days),
    )


def _prices(*, unit: str = "quote asset") -> tuple[Column, ...]:
    return (
        Column("open", "float", "First price", unit),
        Column("high", "float", "Highest price", unit),
        Column("low", "float", "Lowest price", unit),
        Column("close", "float", "Last price", unit),
        Column(
            "adj_close", "float", "Last price adjusted for splits and dividends, where the source has it", unit, True
        ),
        Column("volume", "float", "Traded volume", "base asset"),
    )


MARKETS = Table(
    domain="market",
    name="markets",
    store="postgres",
    key=("symbol",),
    freshness=Freshness(warn_after=timedelta(hours=24), fail_after=timedelta(hours=48)),
    columns=(
        _SYMBOL,
        Column("name", "text", "Name for people"),
        Column("base_asset", "text", "What is priced"),
        Column("quote_asset", "text", "What the price is in"),
        Column("asset_class", "text", "crypto, equity or index"),
        Column("calendar", "text", "Trading calendar: 24/7 or an ISO 10383 code"),
        Column("periods_per_year", "integer", "Daily returns in a year: crypto 365, equities and indices 252", "days"),
        Column("first_day", "date", "First UTC day with bars"),
        Column("provider", "text", "Source of the definition"),
    ),
)

PRICE_BARS = Table(
    domain="market",
    name="price_bars",
    store="lake",
    key=("symbol", "bar_start_at"),
    partitioning="daily",
    partition_column="day",
    as_of_column="day",
    freshness=_freshness(warn_hours=3, fail_hours=26),
    columns=(
        _SYMBOL,
        Column("bar_start_at", "timestamp", "First instant of the bar", "UTC"),
        Column("interval_seconds", "integer", "Length of the bar", "seconds"),
        *_prices(),
        Column("provider", "text", "Source of the bar"),
        _DAY,
    ),
)


def _ohlc(name: str, partitioning: str, grain: str) -> Table:
    return Table(
        domain="market",
        name=name,
        store="lake",
        key=("symbol", "bar_start_at"),
        partitioning="weekly" if partitioning == "weekly" else "daily",
        partition_column="day",
        as_of_column="day",
        freshness=_freshness(warn_hours=3, fail_hours=26, more_days=7 if partitioning == "weekly" else 0),
        columns=(
            _SYMBOL,
            Column("bar_start_at", "timestamp", f"First instant of the {grain}", "UTC"),
            *_prices(),
            Column("bar_count", "integer", "Finest bars seen", "bars"),
            Column("expected_bar_count", "integer", "Finest bars that the trading calendar promises", "bars"),
            Column("is_complete", "boolean", "Every expected bar was seen: false while unfinished or with gaps"),
            Column("interval_seconds", "integer", "Length of the finest bars", "seconds"),
            _DAY if partitioning == "daily" else Column("day", "date", "Monday of the week: the partition"),
        ),
    )


OHLC_HOURLY = _ohlc("ohlc_hourly", "daily", "UTC hour")
OHLC_DAILY = _ohlc("ohlc_daily", "daily", "UTC day")
OHLC_WEEKLY = _ohlc("ohlc_weekly", "weekly", "week (Monday)")

GRAINS: Mapping[str, Grain] = {OHLC_HOURLY.name: "hour", OHLC_DAILY.name: "day", OHLC_WEEKLY.name: "week"}

SNAPSHOTS = Table(
    domain="market",
    name="snapshots",
    store="postgres",
    key=("symbol", "as_of"),
    as_of_column="as_of",
    freshness=_freshness(warn_hours=1, fail_hours=6),
    columns=(
        _SYMBOL,
        Column("as_of", "timestamp", "When the price was true", "UTC"),
        Column("price", "float", "Last price", "quote asset"),
        Column("change_24h_ratio", "float", "Change over 24 hours; 0.01 is +1 %", "ratio", True),
        Column("volume_24h", "float", "Traded volume over 24 hours", "base asset", True),
        Column("volatility_ratio", "float", "Annualised volatility of daily returns over the lookback", "ratio", True),
        Column("roi_1d_ratio", "float", "Return against the close one day before", "ratio", True),
        Column("roi_7d_ratio", "float", "Return against the close seven days before", "ratio", True),
        Column("roi_30d_ratio", "float", "Return against the close thirty days before", "ratio", True),
        Column("provider", "text", "Source of the price"),
    ),
)

COMPARISONS = Table(
    domain="market",
    name="comparisons",
    store="postgres",
    key=("as_of_date", "base_symbol", "quote_symbol"),
    partitioning="daily",
    partition_column="as_of_date",
    as_of_column="as_of_date",
    freshness=_freshness(warn_hours=3, fail_hours=26),
    columns=(
        Column("as_of_date", "date", "UTC day whose close is the last one used"),
        Column("base_symbol", "text", "First market; sorts before the second"),
        Column("quote_symbol", "text", "Second market"),
        Column("window_days", "integer", "Calendar days of returns", "days"),
        Column("price_ratio", "float", "Last close of the first over the second", "ratio", True),
        Column("volume_ratio", "float", "Volume in the window of the first over the second", "ratio", True),
        Column("roi_spread_ratio", "float", "Total return of the first minus the second", "ratio", True),
        Column("return_correlation", "float", "Pearson correlation of daily returns on common days", "-1 to 1", True),
        Column("common_return_count", "integer", "Days on which both have a return", "returns"),
        _METHOD,
    ),
)

ROI_STATISTICS = Table(
    domain="market",
    name="roi_statistics",
    store="postgres",
    key=("as_of_date", "symbol", "window_days"),
    partitioning="daily",
    partition_column="as_of_date",
    as_of_column="as_of_date",
    freshness=_freshness(warn_hours=3, fail_hours=26),
    columns=(
        Column("as_of_date", "date", "UTC day whose close is the last one used"),
        _SYMBOL,
        Column("window_days", "integer", "Calendar days of returns: 7, 30, 90 or 365", "days"),
        Column("return_count", "integer", "Daily returns in the window", "returns"),
        Column("total_return_ratio", "float", "Last price over base price, minus one", "ratio", True),
        Column("annualised_return_ratio", "float", "Calendar-time compound annual growth rate", "ratio", True),
        Column("volatility_ratio", "float", "Annualised sample standard deviation (ddof = 1)", "ratio", True),
        Column("sharpe_ratio", "float", "Annualised mean excess return over volatility", "ratio", True),
        Column(
            "sortino_ratio", "float", "Annualised mean excess return over downside deviation (all n)", "ratio", True
        ),
        Column(
            "max_drawdown_ratio", "float", "Deepest fall from a peak, negative; the base price counts", "ratio", True
        ),
        Column("max_drawdown_peak_date", "date", "Day of the peak before the deepest fall", None, True),
        Column("max_drawdown_trough_date", "date", "Day of the bottom of the deepest fall", None, True),
        Column("calmar_ratio", "float", "Annualised return over the depth of the drawdown", "ratio", True),
        Column("best_day_ratio", "float", "Highest daily return", "ratio", True),
        Column("worst_day_ratio", "float", "Lowest daily return", "ratio", True),
        Column("periods_per_year", "integer", "Daily returns in a year used to annualise", "days"),
        Column("risk_free_rate_ratio", "float", "Annual risk-free rate used", "ratio"),
        _METHOD,
    ),
)

TABLES = (MARKETS, PRICE_BARS, OHLC_HOURLY, OHLC_DAILY, OHLC_WEEKLY, SNAPSHOTS, COMPARISONS, ROI_STATISTICS)
