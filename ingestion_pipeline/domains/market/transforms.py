"""Pure functions from table to table: judging bars, building OHLC, making snapshots.

Belongs here: what makes a bar good, how bars become bigger bars, what a snapshot says. Does not belong here:
statistics over windows (statistics.py), IO, Dagster.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import ibis
import ibis.expr.datatypes as dt
import numpy as np
import pandas as pd

from ingestion_pipeline.core.calendars import trading_sessions
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.market.tables import GRAIN_SECONDS, MARKETS, PRICE_BARS, SNAPSHOTS, Grain
from ingestion_pipeline.providers.base import Market, Quote

if TYPE_CHECKING:
    import ibis.expr.types as ir

_TRUNCATE: Mapping[Grain, Literal["h", "D", "W"]] = {"hour": "h", "day": "D", "week": "W"}
PRICES = ("open", "high", "low", "close")
STALE_CLOSE_DAYS = 7
LONGEST_ROI_DAYS = 30
CLOCK_TOLERANCE = timedelta(minutes=5)


_INSTANT = dt.Timestamp("UTC")
_BY_INSTANT = ((dt.float64, _INSTANT), dt.float64)


@ibis.udf.agg.builtin(signature=_BY_INSTANT)
def min_by(value, order):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """The value at the smallest order. Ibis's own argmin is half as fast on DuckDB; the name exists on every engine."""


@ibis.udf.agg.builtin(signature=_BY_INSTANT)
def max_by(value, order):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """The value at the largest order."""


def market_rows(markets: Sequence[Market], *, provider: str) -> pd.DataFrame:
    """The rows of market/markets."""
    rows = [{**asdict(market), "provider": provider} for market in markets]
    return pd.DataFrame(rows, columns=list(MARKETS.column_names))


def judged_bars(
    raw: pd.DataFrame, window: Window, *, now: datetime, provider: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Splits bars as a provider gave them into good rows and rejects.

    Args:
        raw: The columns providers.base.BAR_COLUMNS, any order of rows.
        window: Where the bars must start.
        now: A bar that ends after it is from the future.
        provider: Recorded with each good row.

    Returns:
        The rows of market/price_bars, ordered by key, and the refused rows with a `reason` column. Of bars that repeat
        a (symbol, start) the first is good and the others are refused.
    """
    reasons = pd.Series(_reasons(raw, window, now), index=raw.index, dtype="object")
    repeated = raw[reasons.isna()].duplicated(["symbol", "bar_start_at"])
    reasons[repeated[repeated].index] = "bar_start_at repeats an earlier bar of the same symbol"
    good = raw[reasons.isna()].copy()
    good["provider"] = provider
    good["day"] = good["bar_start_at"].dt.date
    rejects = raw[reasons.notna()].assign(reason=reasons[reasons.notna()])
    return good.sort_values(["symbol", "bar_start_at"])[list(PRICE_BARS.column_names)].reset_index(drop=True), rejects


def _reasons(raw: pd.DataFrame, window: Window, now: datetime) -> np.ndarray:
    """The first thing wrong with each row, or None."""
    starts, ends = raw["bar_start_at"], raw["bar_start_at"] + pd.to_timedelta(raw["interval_seconds"], unit="s")
    body = raw[["open", "close"]]
    problems: list[tuple[pd.Series, str]] = [
        (starts.isna(), "bar_start_at is missing"),
        (ends > now, f"bar_start_at is in the future: the bar ends after {now:%Y-%m-%d %H:%M:%S} UTC"),
        (
            (starts < window.start) | (starts >= window.end),
            f"bar_start_at is outside the window {window.start:%Y-%m-%d} to {window.end:%Y-%m-%d}",
        ),
        (raw["interval_seconds"] <= 0, "interval_seconds is not positive"),
        *[(~np.isfinite(raw[name]), f"{name} is not a number") for name in PRICES],
        *[(raw[name] <= 0, f"{name} is not positive") for name in PRICES],
        (raw["high"] < raw["low"], "high is below low"),
        (raw["low"] > body.min(axis=1), "low is above open or close"),
        (raw["high"] < body.max(axis=1), "high is below open or close"),
        (~np.isfinite(raw["volume"]), "volume is not a number"),
        (raw["volume"] < 0, "volume is negative"),
        (
            raw["adj_close"].notna() & ~(np.isfinite(raw["adj_close"]) & (raw["adj_close"] > 0)),
            "adj_close is not positive",
        ),
    ]
    reasons = np.full(len(raw), None, dtype=object)
    for problem, text in reversed(problems):
        reasons[problem.to_numpy()] = text
    return reasons


def expected_sessions(calendars: Sequence[str], window: Window, grain: Grain) -> pd.DataFrame:
    """How long each calendar trades in each bucket of `grain`.

    Returns:
        Columns `calendar`, `bucket_at` (UTC), `session_seconds`, `session_count`; buckets without trading are absent.
    """
    parts = [_expected(calendar, window, grain) for calendar in sorted(set(calendars))]
    columns = {
        "calendar": "str",
        "bucket_at": "datetime64[us, UTC]",
        "session_seconds": "int64",
        "session_count": "int64",
    }
    empty = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})
    return pd.concat([part for part in parts if len(part)] or [empty], ignore_index=True).astype(columns)


def _expected(calendar: str, window: Window, grain: Grain) -> pd.DataFrame:
    sessions = trading_sessions(calendar, window)
    if sessions.empty:
        return sessions
    step = pd.Timedelta(hours=1) if grain == "hour" else pd.Timedelta(days=1)
    first = sessions["open_at"].dt.floor(step)
    counts = ((sessions["close_at"] - first + step - pd.Timedelta(1, "us")) // step).astype(int)
    row = np.repeat(np.arange(len(sessions)), counts)
    offset = np.arange(len(row)) - np.repeat(counts.cumsum().to_numpy() - counts.to_numpy(), counts)
    bucket = first.iloc[row].reset_index(drop=True) + offset * step
    start = np.maximum(bucket, sessions["open_at"].iloc[row].reset_index(drop=True))
    end = np.minimum(bucket + step, sessions["close_at"].iloc[row].reset_index(drop=True))
    if grain == "week":
        bucket = bucket.dt.floor("D") - pd.to_timedelta(bucket.dt.day_of_week, unit="D")
    pieces = pd.DataFrame({"bucket_at": bucket, "session_seconds": (end - start).dt.total_seconds()})
    grouped = pieces.groupby("bucket_at").agg(
        session_seconds=("session_seconds", "sum"), session_count=("session_seconds", "size")
    )
    return grouped.reset_index().assign(calendar=calendar)


def ohlc(bars: "ir.Table", markets: "ir.Table", expected: "ir.Table", *, grain: Grain) -> "ir.Table":
    """Bars of a larger grain from finer ones.

    Args:
        bars: Rows of market/price_bars, or of a finer OHLC table (then its `bar_count` is added up).
        markets: Columns `symbol`, `calendar`.
        expected: The rows of `expected_sessions` for the same grain.
        grain: Buckets are UTC hours, UTC days or weeks from Monday.

    Returns:
        The columns of market/ohlc_hourly, _daily, _weekly. A bucket without bars has no row; one with fewer bars than
        the calendar promises, or of a market that `markets` lacks, has `is_complete` false. Bars longer than the grain
        are left out.
    """
    fine = bars.filter(bars.interval_seconds <= GRAIN_SECONDS[grain])
    built = fine.group_by(fine.symbol, bucket_at=fine.bar_start_at.truncate(_TRUNCATE[grain]).cast(_INSTANT)).agg(
        open=min_by(fine.open, fine.bar_start_at),
        high=fine.high.max(),
        low=fine.low.min(),
        close=max_by(fine.close, fine.bar_start_at),
        adj_close=max_by(fine.adj_close, fine.bar_start_at),
        volume=fine.volume.sum(),
        bar_count=fine.bar_count.sum() if "bar_count" in fine.columns else fine.count(),
        interval_seconds=fine.interval_seconds.max(),
    )
    joined = built.left_join(markets, "symbol").left_join(expected, ["calendar", "bucket_at"])
    count = ibis.greatest(joined.session_count, joined.session_seconds // joined.interval_seconds).fill_null(0)
    return joined.select(
        "symbol",
        joined.bucket_at.name("bar_start_at"),
        *PRICES,
        "adj_close",
        "volume",
        "bar_count",
        count.cast("int64").name("expected_bar_count"),
        (joined.calendar.notnull() & (joined.bar_count >= count)).name("is_complete"),  # noqa: PD004 - an Ibis column
        "interval_seconds",
        joined.bucket_at.date().name("day"),
    )


@dataclass(frozen=True)
class BarCoverage:
    """How many of the finest bars that the calendars promise were seen."""

    seen: int = 0
    promised: int = 0

    def __add__(self, other: "BarCoverage") -> "BarCoverage":
        return BarCoverage(self.seen + other.seen, self.promised + other.promised)

    @property
    def gap_ratio(self) -> float | None:
        """Share of the promised bars that are missing; None where none is promised."""
        return None if self.promised == 0 else 1 - self.seen / self.promised


def bar_coverage(bars: pd.DataFrame, markets: pd.DataFrame, expected: pd.DataFrame, *, until: datetime) -> BarCoverage:
    """Counts seen and promised bars of every market that has any bar.

    Args:
        bars: OHLC rows with `symbol`, `bar_start_at`, `bar_count`, `expected_bar_count`, `interval_seconds`.
        markets: Columns `symbol`, `calendar`, `first_day`.
        expected: The rows of `expected_sessions`: a bucket without any bar is promised all the same.
        until: Buckets that start later are not promised yet.
    """
    promised = 0
    intervals = bars.groupby("symbol")["interval_seconds"].max()
    for symbol, calendar, first_day in markets[["symbol", "calendar", "first_day"]].itertuples(index=False):
        if symbol in intervals.index:
            listed = (expected["bucket_at"].dt.date >= first_day) & (expected["bucket_at"] <= until)
            buckets = expected[(expected["calendar"] == calendar) & listed]
            counts = np.maximum(buckets["session_count"], buckets["session_seconds"] // intervals[symbol])
            promised += int(counts.sum())
    counted = bars[bars["bar_start_at"] <= until]
    return BarCoverage(int(np.minimum(counted["bar_count"], counted["expected_bar_count"]).sum()), promised)


def judged_quotes(quotes: Sequence[Quote], *, now: datetime) -> tuple[list[Quote], list[dict[str, object]]]:
    """Splits quotes into good ones and refused rows with a `reason`."""
    good: list[Quote] = []
    bad: list[dict[str, object]] = []
    for quote in quotes:
        reason = _quote_problem(quote, now)
        if reason is None:
            good.append(quote)
        else:
            bad.append({**asdict(quote), "reason": reason})
    return good, bad


def _quote_problem(quote: Quote, now: datetime) -> str | None:
    if not np.isfinite(quote.price) or quote.price <= 0:
        return f"price is {quote.price}, expected a positive number"
    if quote.as_of > now + CLOCK_TOLERANCE:
        return f"as_of is in the future: {quote.as_of:%Y-%m-%d %H:%M:%S} UTC"
    if quote.change_24h_ratio is not None and not np.isfinite(quote.change_24h_ratio):
        return f"change_24h_ratio is {quote.change_24h_ratio}, expected a number"
    if quote.volume_24h is not None and not (np.isfinite(quote.volume_24h) and quote.volume_24h >= 0):
        return f"volume_24h is {quote.volume_24h}, expected a number that is not negative"
    return None


def snapshots(
    quotes: Sequence[Quote], closes: pd.DataFrame, markets: pd.DataFrame, *, lookback_days: int, provider: str
) -> pd.DataFrame:
    """One row a quote: price, 24 h change, volume, volatility, ROI.

    Args:
        quotes: One per market.
        closes: Rows of market/ohlc_daily that reach at least `lookback_days` and 31 days back.
        markets: Columns `symbol`, `periods_per_year`.
        lookback_days: Calendar days of daily returns in the volatility.
        provider: Recorded with each row.

    Returns:
        The rows of market/snapshots. Undefined is NULL: a market without history has a price and nothing else.
    """
    periods = dict(zip(markets["symbol"], markets["periods_per_year"], strict=True))
    history = {symbol: rows.sort_values("day") for symbol, rows in closes.groupby("symbol")}
    rows = []
    for quote in quotes:
        day = _day(quote)
        past = _past_closes(history.get(quote.symbol), day)
        rows.append(
            {
                **asdict(quote),
                "volatility_ratio": _volatility(past, day, lookback_days, periods[quote.symbol]),
                **{f"roi_{days}d_ratio": _roi(past, quote, days) for days in (1, 7, 30)},
                "provider": provider,
            }
        )
    return pd.DataFrame(rows, columns=list(SNAPSHOTS.column_names))


def snapshot_history(quotes: Sequence[Quote], *, lookback_days: int) -> Window:
    """The days of market/ohlc_daily that `snapshots` needs for these quotes."""
    days = [_day(quote) for quote in quotes] or [date.min + timedelta(days=lookback_days + 40)]
    before = timedelta(days=max(lookback_days, LONGEST_ROI_DAYS) + STALE_CLOSE_DAYS)
    return Window.of_days(min(days) - before, max(days))


def _day(quote: Quote) -> date:
    """The UTC day that a quote belongs to: a price at midnight is the last of the day that ends."""
    return (quote.as_of - timedelta(microseconds=1)).date()


def _past_closes(rows: pd.DataFrame | None, as_of: date) -> pd.Series:
    """Closes of days before the quote's own, by day, in the money of the last of them.

    Where the source adjusts every close for splits and dividends, the earlier ones are scaled as it says, so that a
    split is no return.
    """
    if rows is None or rows.empty:
        return pd.Series(dtype="float64", index=pd.DatetimeIndex([]))
    past = rows.set_index(pd.DatetimeIndex(pd.to_datetime(rows["day"])))
    past = past[past.index < pd.Timestamp(as_of)]
    if past.empty or past["adj_close"].isna().any():
        return past["close"].astype("float64")
    return past["adj_close"] * (past["close"].iloc[-1] / past["adj_close"].iloc[-1])


def _volatility(closes: pd.Series, as_of: date, lookback_days: int, periods_per_year: int) -> float | None:
    inside = closes[closes.index >= pd.Timestamp(as_of - timedelta(days=lookback_days))]
    deviation = inside.pct_change().std(ddof=1)
    return None if pd.isna(deviation) else float(deviation * np.sqrt(periods_per_year))


def _roi(closes: pd.Series, quote: Quote, days: int) -> float | None:
    """Against the last close at or before the day `days` before, if that close is not stale."""
    target = pd.Timestamp(_day(quote) - timedelta(days=days))
    earlier = closes[(closes.index <= target) & (closes.index >= target - pd.Timedelta(days=STALE_CLOSE_DAYS))]
    return None if earlier.empty else float(quote.price / earlier.iloc[-1] - 1)
