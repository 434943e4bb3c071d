"""Comparisons of 2,000 markets over 365 days on one calendar, beside the bare NumPy matrix product of the returns.

The peer is `returns.T @ returns` of float64 (NumPy does half of the work: it sees that both are one matrix), which
gives one number for each pair. Two figures of ours: the kernel `pair_statistics` (returns in; both ratios, spread,
correlation and count of every pair out), for which the target is set, and the whole `comparisons`, from the tidy frame
of 746,000 closes to the finished frame of 1,999,000 rows. All run in this process, in turns.
"""

from datetime import date

import numpy as np

from benchmarks._measures import medians, peak_mb, share
from benchmarks.roi_statistics import closes_of
from ingestion_pipeline.domains.market.comparisons import comparisons, pair_statistics

MARKETS, DAYS, ROUNDS, TARGET = 2_000, 365, 15, 0.5


def main(markets: int = MARKETS, rounds: int = ROUNDS) -> None:
    closes, _, index = closes_of(markets, DAYS + 8)
    as_of = date.fromordinal(index[-1].toordinal())
    prices = np.ascontiguousarray(closes["close"].to_numpy().reshape(markets, -1).T)
    returns = (prices[1:] / prices[:-1] - 1)[-DAYS:]
    last, volume, total = prices[-1], np.ones(markets), prices[-1] / prices[-DAYS - 1] - 1
    before_mb = peak_mb()
    works = {
        "matrix product": lambda: returns.T @ returns,
        "kernel": lambda: pair_statistics(returns, last_close=last, volume=volume, total_return=total),
        "whole function": lambda: comparisons(closes, as_of_days=[as_of], window_days=DAYS),
        "whole, 30 days": lambda: comparisons(closes, as_of_days=[as_of], window_days=30),
    }
    times = medians(works, rounds=rounds)
    pairs = markets * (markets - 1) // 2
    limit = times.pop("matrix product")
    print(f"{pairs:,} pairs x {DAYS} days, medians of {rounds} rounds")
    print(f"limit: X.T @ X alone, {limit * 1e3:.1f} ms, {pairs / limit / 1e6:.1f} M pairs/s")
    for name, spent in times.items():
        ratio = share(limit / spent, TARGET if name == "kernel" else None)
        print(f"{name:<15} {spent * 1e3:6.1f} ms  {pairs / spent / 1e6:6.1f} M pairs/s  {ratio}")
    print(f"peak memory {peak_mb():,.0f} MB, of which {before_mb:,.0f} MB before our calls (inputs, libraries)")


if __name__ == "__main__":
    main()
