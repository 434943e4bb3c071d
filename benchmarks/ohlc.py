"""Hourly and daily OHLC from 20 million one-minute bars of 2,000 symbols, beside hand-written DuckDB SQL and pandas.

Ours is what the assets do, without Dagster: the days in parts, `transforms.ohlc` through Ibis on DuckDB, a Delta commit
a part. The peer is one statement a grain over the same Parquet files, with the same columns, as Arrow ("compute") and
written to Parquet folders by day ("stored"); daily from the bars, not from the hours, because bars longer than an
hour count too. pandas does one day, which is scaled to all. Peaks of memory: each in a process of its own.
"""

import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import duckdb
import ibis
import pandas as pd
import pyarrow as pa

from benchmarks._measures import at_most, faster, medians, peak_mb_of
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.market import transforms
from ingestion_pipeline.domains.market.tables import GRAIN_SECONDS, GRAINS, OHLC_DAILY, OHLC_HOURLY, PRICE_BARS
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake

SYMBOLS, DAYS, BARS_PER_DAY, ROUNDS = 2_000, 10, 1_000, 5
FIRST_DAY = date(2024, 1, 1)
TARGETS = tuple((table, GRAINS[table.name]) for table in (OHLC_HOURLY, OHLC_DAILY))
CALENDAR = "24/7"

# sums of eighths are exact, whatever the order in which threads add them up
BARS = """
with prices as (
    select 'S' || lpad(s.range::text, 4, '0') || '-USD' as symbol,
        make_timestamptz({start} + b.range * 60000000) as bar_start_at,
        80 + hash(s.range, b.range, '{day}', 1) % 4000 / 100.0 as open,
        80 + hash(s.range, b.range, '{day}', 2) % 4000 / 100.0 as close,
        hash(s.range, b.range, '{day}', 3) % 8000 / 8.0 as volume,
        s.range % 2 = 0 as is_adjusted
    from range({symbols}) s, range({bars}) b
)
select symbol, bar_start_at, 60::bigint as interval_seconds, open, greatest(open, close) + 0.5 as high,
    least(open, close) - 0.5 as low, close, case when is_adjusted then close end as adj_close, volume,
    'benchmark' as provider, date '{day}' as day
from prices order by symbol, bar_start_at
"""

PEER = """
select symbol, bar_start_at, open, high, low, close, adj_close, volume, bar_count,
    coalesce(greatest(session_count, session_seconds // interval_seconds), 0) as expected_bar_count,
    bar_count >= expected_bar_count as is_complete, interval_seconds, bar_start_at::date as day
from (
    select symbol, date_trunc('{grain}', bar_start_at) as bar_start_at, min_by(open, b.bar_start_at) as open,
        max(high) as high, min(low) as low, max_by(close, b.bar_start_at) as close,
        max_by(adj_close, b.bar_start_at) as adj_close, sum(volume) as volume, count(*) as bar_count,
        max(interval_seconds) as interval_seconds
    from read_parquet('{files}', hive_partitioning = true) b
    where interval_seconds <= {seconds}
    group by all
)
left join markets using (symbol)
left join expected_{grain} e on e.calendar = markets.calendar and e.bucket_at = bar_start_at
"""


def lake_at(folder: str) -> Lake:
    return Lake(Settings.from_environment({"INGESTION_HOME": folder, "LAKE_URL": "", "COMPUTE_ENGINE": "duckdb"}))


def window_of(days: int) -> Window:
    return Window.of_days(FIRST_DAY, FIRST_DAY + timedelta(days=days - 1))


def fill(lake: Lake, *, symbols: int, days: int, bars_per_day: int) -> None:
    """Writes market/price_bars, a commit a day."""
    for part in window_of(days).split(days=1):
        start = int(part.start.timestamp() * 1_000_000)
        statement = BARS.format(start=start, day=part.first_day, symbols=symbols, bars=bars_per_day)
        with duckdb.connect() as connection:
            connection.execute("set TimeZone = 'UTC'; set enable_progress_bar = false")
            lake.replace(PRICE_BARS, connection.sql(statement).to_arrow_table(), part)


def markets_of(symbols: int) -> pd.DataFrame:
    return pd.DataFrame({"symbol": [f"S{number:04d}-USD" for number in range(symbols)], "calendar": CALENDAR})


def ours(lake: Lake, symbols: int, days: int, *, is_stored: bool) -> None:
    listed = ibis.memtable(markets_of(symbols))
    for target, grain in TARGETS:
        sessions = ibis.memtable(transforms.expected_sessions([CALENDAR], window_of(days), grain))
        for part in lake.chunks(PRICE_BARS, window_of(days)):
            built = transforms.ohlc(lake.read(PRICE_BARS, part), listed, sessions, grain=grain).to_pyarrow()
            if is_stored:
                lake.replace(target, built, part)


def hand_written(lake: Lake, symbols: int, days: int, *, folder: str | None = None) -> dict[str, pa.Table]:
    """The answers by grain; with a `folder` they are stored there instead."""
    answers = {}
    with duckdb.connect(config={"memory_limit": "4GB", "preserve_insertion_order": False}) as connection:
        connection.execute("set TimeZone = 'UTC'; set enable_progress_bar = false")
        connection.register("markets", markets_of(symbols))
        for _, grain in TARGETS:
            connection.register(f"expected_{grain}", transforms.expected_sessions([CALENDAR], window_of(days), grain))
            files = f"{lake.uri(PRICE_BARS)}/*/*.parquet"
            statement = PEER.format(grain=grain, files=files, seconds=GRAIN_SECONDS[grain])
            if folder is None:
                answers[grain] = connection.sql(statement).to_arrow_table()
            else:
                options = "format parquet, partition_by (day), overwrite"
                Path(folder).mkdir(exist_ok=True)
                connection.execute(f"copy ({statement}) to '{folder}/{grain}' ({options})")
    return answers


def with_pandas(lake: Lake) -> None:
    """One day."""
    bars = pd.read_parquet(f"{lake.uri(PRICE_BARS)}/day={FIRST_DAY}")
    for grain in ("h", "D"):
        groups = bars.sort_values("bar_start_at").groupby(["symbol", bars["bar_start_at"].dt.floor(grain)])
        groups.agg(
            open=("open", "first"),
            high=("high", "max"),
            low=("low", "min"),
            close=("close", "last"),
            adj_close=("adj_close", "last"),
            volume=("volume", "sum"),
            bar_count=("open", "size"),
            interval_seconds=("interval_seconds", "max"),
        )


def is_equal(lake: Lake, symbols: int, days: int) -> bool:
    """What our path stored, row by row beside the peer's answer."""
    answers = hand_written(lake, symbols, days)
    for target, grain in TARGETS:
        stored = lake.read(target, window_of(days)).to_pyarrow()
        own, peer = (rows.to_pandas().sort_values(list(target.key)) for rows in (stored, answers[grain]))
        columns = list(target.column_names)
        pd.testing.assert_frame_equal(
            own[columns].reset_index(drop=True),
            peer[columns].reset_index(drop=True),
            check_dtype=False,
            check_exact=True,
        )
    return True


def peaks_mb(folder: str, symbols: int, days: int) -> dict[str, float]:
    start = f"from benchmarks.ohlc import *; lake = lake_at({folder!r})"
    return {
        "libraries alone": peak_mb_of(start),
        "ours, one day": peak_mb_of(f"{start}; ours(lake, {symbols}, 1, is_stored=True)"),
        "ours, all days": peak_mb_of(f"{start}; ours(lake, {symbols}, {days}, is_stored=True)"),
        "hand-written, all days": peak_mb_of(f"{start}; hand_written(lake, {symbols}, {days})"),
    }


def main(symbols: int = SYMBOLS, days: int = DAYS, bars_per_day: int = BARS_PER_DAY, rounds: int = ROUNDS) -> None:
    with tempfile.TemporaryDirectory(prefix="ingestion-bench-") as folder:
        lake = lake_at(folder)
        fill(lake, symbols=symbols, days=days, bars_per_day=bars_per_day)
        works: dict[str, Callable[[], object]] = {
            "ours, compute": partial(ours, lake, symbols, days, is_stored=False),
            "peer, compute": partial(hand_written, lake, symbols, days),
            "ours, stored": partial(ours, lake, symbols, days, is_stored=True),
            "peer, stored": partial(hand_written, lake, symbols, days, folder=str(Path(folder) / "peer")),
            "pandas, one day": partial(with_pandas, lake),
        }
        spent = medians(works, rounds=rounds)
        print(f"{symbols * days * bars_per_day:,} bars, {symbols:,} symbols, {days} days, medians of {rounds} rounds")
        for what in ("compute", "stored"):
            own, peer = spent[f"ours, {what}"], spent[f"peer, {what}"]
            print(f"{what:<8} ours {own:6.2f} s  hand-written SQL {peer:6.2f} s  {at_most(own / peer, 1.25)}")
        peer = spent["pandas, one day"] * days
        print(f"compute  ours {spent['ours, compute']:6.2f} s  pandas, scaled   {peer:6.2f} s  "
              f"{faster(peer / spent['ours, compute'], 1)}")  # fmt: skip
        print(f"same rows as the peer: {is_equal(lake, symbols, days)}")
        peaks = peaks_mb(folder, symbols, days)
        for name, peak in peaks.items():
            print(f"peak memory {name:<23} {peak:7,.0f} MB")
        print(f"peak memory {days} days beside one  {at_most(peaks['ours, all days'] / peaks['ours, one day'], 1.3)}")


if __name__ == "__main__":
    main()
