"""ROI statistics of 2,000 symbols over 365 days in four windows, beside quantstats and empyrical called per symbol.

Everybody starts from the same tidy frame of closes. Ours: `roi_statistics`, to the finished frame. The peers: per
symbol its closes by day, its returns once, then per window the nine ratios that both have (not the dates of the
drawdown); for a sample of symbols, scaled to all. All run in this process, in turns.
"""

import warnings
from collections.abc import Callable
from datetime import date
from functools import partial
from importlib.util import find_spec

import empyrical
import numpy as np
import pandas as pd

from benchmarks._measures import faster, medians, peak_mb, seconds
from ingestion_pipeline.domains.market.statistics import roi_statistics

SYMBOLS, DAYS, WINDOWS = 2_000, 373, (7, 30, 90, 365)
SAMPLE, ROUNDS, YEARS = 30, 5, 20
PERIODS, RISK_FREE_RATE = 365, 0.03
DAILY_RISK_FREE = (1 + RISK_FREE_RATE) ** (1 / PERIODS) - 1


def closes_of(symbols: int, days: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DatetimeIndex]:
    """Random walks of daily closes as in market/ohlc_daily, the markets, the days."""
    random = np.random.default_rng(20_240_101)
    names = np.array([f"S{number:04d}-USD" for number in range(symbols)])
    index = pd.date_range("2023-01-01", periods=days)
    prices = 100 * np.exp(np.cumsum(random.normal(0, 0.02, (symbols, days)), axis=1))
    closes = pd.DataFrame(
        {
            "symbol": np.repeat(names, days),
            "day": np.tile(index, symbols),
            "close": prices.ravel(),
            "adj_close": np.nan,
            "volume": random.random(symbols * days),
        }
    )
    return closes, pd.DataFrame({"symbol": names, "periods_per_year": PERIODS}), index


def with_empyrical(returns: pd.Series) -> list[float]:
    return [
        empyrical.cum_returns_final(returns),
        empyrical.cagr(returns, annualization=PERIODS),
        empyrical.annual_volatility(returns, annualization=PERIODS),
        empyrical.sharpe_ratio(returns, DAILY_RISK_FREE, annualization=PERIODS),
        empyrical.sortino_ratio(returns, DAILY_RISK_FREE, annualization=PERIODS),
        empyrical.max_drawdown(returns),
        empyrical.calmar_ratio(returns, annualization=PERIODS),
        returns.max(),
        returns.min(),
    ]


def with_quantstats(returns: pd.Series) -> list[float]:
    from quantstats import stats

    return [
        stats.comp(returns),
        stats.cagr(returns, periods=PERIODS),
        stats.volatility(returns, periods=PERIODS),
        stats.sharpe(returns, rf=RISK_FREE_RATE, periods=PERIODS),
        stats.sortino(returns, rf=RISK_FREE_RATE, periods=PERIODS),
        stats.max_drawdown(returns),
        stats.calmar(returns, periods=PERIODS),
        stats.best(returns),
        stats.worst(returns),
    ]


def loop(function: Callable[[pd.Series], list[float]], closes: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    """One row of nine ratios per symbol and window."""
    rows = []
    for symbol, own in closes.groupby("symbol"):
        returns = own.set_index("day")["close"].sort_index().pct_change()
        rows += [
            [symbol, window, *function(returns[as_of - pd.Timedelta(days=window - 1) : as_of])] for window in WINDOWS
        ]
    return pd.DataFrame(rows)


def main(symbols: int = SYMBOLS, sample_size: int = SAMPLE, rounds: int = ROUNDS, years: int = YEARS) -> None:
    warnings.simplefilter("ignore")
    closes, markets, index = closes_of(symbols, DAYS)
    sample = closes.iloc[: sample_size * DAYS]
    as_of = index[-1]
    before_mb = peak_mb()

    def ours() -> None:
        roi_statistics(closes, markets, as_of_days=[as_of.date()], risk_free_rate=RISK_FREE_RATE, windows=WINDOWS)

    ours()
    own_peak_mb = peak_mb()
    peers = {"quantstats": (with_quantstats, 100), "empyrical": (with_empyrical, 80)}
    if find_spec("quantstats") is None:
        print("without quantstats: `make install-bench` installs it")
        del peers["quantstats"]
    works: dict[str, Callable[[], object]] = {"ours": ours}
    works |= {name: partial(loop, function, sample, as_of) for name, (function, _) in peers.items()}
    times = medians(works, rounds=rounds)
    own = times["ours"]
    print(f"{symbols:,} symbols x 365 days, windows {WINDOWS}, medians of {rounds} rounds")
    print(f"peers: a loop per symbol and window over {sample_size} symbols, scaled to {symbols:,}")
    for name, (_, target) in peers.items():
        peer = times[name] * symbols / sample_size
        print(f"ours {own * 1e3:6.1f} ms  {name:<10} {peer:6.2f} s  {faster(peer / own, target)}")
    print(f"peak memory {own_peak_mb:,.0f} MB, of which {before_mb:,.0f} MB before our call (inputs, libraries)")
    backfill(years)


def backfill(years: int) -> None:
    """Years of nine symbols, every day, in one call: an absolute figure, without a peer."""
    closes, markets, index = closes_of(9, years * 365 + 372)
    days = [date.fromordinal(day.toordinal()) for day in index[372:]]
    spent = seconds(lambda: roi_statistics(closes, markets, as_of_days=days, risk_free_rate=RISK_FREE_RATE))
    print(f"backfill of {len(days):,} days x 9 symbols x {len(WINDOWS)} windows: {spent:.2f} s   target below 60 s")


if __name__ == "__main__":
    main()
