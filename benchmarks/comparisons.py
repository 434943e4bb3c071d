"""Comparisons of 2,000 markets over 365 days on one calendar, beside the bare NumPy matrix product of the returns.

The peer is `returns.T @ returns` of float64 (NumPy does half of the work: it sees that both are one matrix), which
gives one number for each pair. Two figures of ours: the kernel `pair_statistics` (returns in; both ratios, spread,
correlation and count of every pair out), for which the target is set, and the whole `comparisons`, from the tidy frame
of 746,000 closes to the finished frame of 1,999,000 rows. All run in this process, in turns.
"""

import statistics
from datetime import date

import numpy as np

from benchmarks.roi_statistics import closes_of, peak_mb, seconds
from ingestion_pipeline.domains.market.comparisons import comparisons, pair_statistics

MARKETS, DAYS, ROUNDS, TARGET = 2_000, 365, 15, 0.5


def main() -> None:
    closes, _, index = closes_of(MARKETS, DAYS + 8)
    as_of = date.fromordinal(index[-1].toordinal())
    prices = np.ascontiguousarray(closes["close"].to_numpy().reshape(MARKETS, -1).T)
    returns = (prices[1:] / prices[:-1] - 1)[-DAYS:]
    last, volume, total = prices[-1], np.ones(MARKETS), prices[-1] / prices[-DAYS - 1] - 1
    before_mb = peak_mb()
    works = {
        "matrix product": lambda: returns.T @ returns,
        "kernel": lambda: pair_statistics(returns, last_close=last, volume=volume, total_return=total),
        "whole function": lambda: comparisons(closes, as_of_days=[as_of], window_days=DAYS),
        "whole, 30 days": lambda: comparisons(closes, as_of_days=[as_of], window_days=30),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(ROUNDS):
        for name, work in works.items():
            times[name].append(seconds(work))
    medians = {name: statistics.median(spent) for name, spent in times.items()}
    pairs = MARKETS * (MARKETS - 1) // 2
    limit = medians.pop("matrix product")
    print(f"{pairs:,} pairs x {DAYS} days, medians of {ROUNDS} rounds")
    print(f"limit: X.T @ X alone, {limit * 1e3:.1f} ms, {pairs / limit / 1e6:.1f} M pairs/s")
    for name, spent in medians.items():
        verdict = f"  target {TARGET:.0%}  {'met' if limit / spent >= TARGET else 'MISSED'}" if name == "kernel" else ""
        rate = pairs / spent / 1e6
        print(f"{name:<15} {spent * 1e3:6.1f} ms  {rate:6.1f} M pairs/s  ratio {limit / spent:4.0%}{verdict}")
    print(f"peak memory {peak_mb():,.0f} MB, of which {before_mb:,.0f} MB before our calls (inputs, libraries)")


if __name__ == "__main__":
    main()
