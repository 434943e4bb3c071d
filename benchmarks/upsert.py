"""100,000 rows of market/roi_statistics into PostgreSQL, beside a plain COPY of the same CSV block and `pandas.to_sql`.

All write into one keyed table of an embedded server. Ours begins with the frame, as the assets do; the plain COPY is
given the finished block and an empty table, and cannot update. `pandas.to_sql` appends to an empty table with its
default method; with `method="multi"` it takes six times as long here.
"""

import tempfile
from collections.abc import Callable
from datetime import date

import pandas as pd
import psycopg
import pyarrow as pa

from benchmarks._measures import faster, peak_mb, seconds, share
from benchmarks.roi_statistics import closes_of
from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.market.statistics import roi_statistics
from ingestion_pipeline.domains.market.tables import ROI_STATISTICS
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.database import database
from ingestion_pipeline.storage.postgres import Postgres, csv_blocks

SYMBOLS, AS_OF_DAYS, ROUNDS = 250, 100, 5  # times four windows
COPY_TARGET, PANDAS_TARGET = 0.4, 5
TABLE = ROI_STATISTICS.qualified_name


def statistics_of(symbols: int, as_of_days: int) -> pd.DataFrame:
    """Statistics of random walks over the last `as_of_days` days."""
    closes, markets, index = closes_of(symbols, 365 + 8 + as_of_days)
    days = [date.fromordinal(day.toordinal()) for day in index[-as_of_days:]]
    return roi_statistics(closes, markets, as_of_days=days, risk_free_rate=0.03)


def plain_copy(postgres: Postgres, block: bytes) -> None:
    statement = f"copy {TABLE} ({', '.join(ROI_STATISTICS.column_names)}) from stdin (format csv)"
    with postgres.transaction() as connection, connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(block)


def works_of(postgres: Postgres, frame: pd.DataFrame) -> dict[str, tuple[bool, Callable[[], object]]]:
    """By name: whether the table is empty before, and the work. Those on a full table follow one that fills it."""
    columns = list(ROI_STATISTICS.column_names)
    block = b"".join(csv_blocks(pa.Table.from_pandas(frame[columns], preserve_index=False)))
    days = pd.DatetimeIndex(frame["as_of_date"])
    window = Window.of_days(days.min().date(), days.max().date())
    changed = frame.assign(total_return_ratio=frame["total_return_ratio"] + 1e-6)
    target = {"name": ROI_STATISTICS.name, "schema": ROI_STATISTICS.domain, "if_exists": "append", "index": False}
    return {
        "plain COPY": (True, lambda: plain_copy(postgres, block)),
        "upsert, new rows": (True, lambda: postgres.upsert(ROI_STATISTICS, frame)),
        "upsert, updates": (False, lambda: postgres.upsert(ROI_STATISTICS, changed)),
        "replace, same days": (False, lambda: postgres.replace(ROI_STATISTICS, frame, window)),
        "replace, new days": (True, lambda: postgres.replace(ROI_STATISTICS, frame, window)),
        "pandas.to_sql": (True, lambda: frame.to_sql(con=postgres.engine, **target)),
    }


def measured(owner: str, works: dict[str, tuple[bool, Callable[[], object]]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each round; the first warms up. A checkpoint before each, so that none pays for another's pages."""
    times: dict[str, list[float]] = {name: [] for name in works}
    with psycopg.connect(owner, autocommit=True) as connection:
        for _ in range(rounds + 1):
            for name, (is_empty_before, work) in works.items():
                if is_empty_before:
                    connection.execute(f"truncate {TABLE}")
                connection.execute("checkpoint")
                times[name].append(seconds(work))
    return {name: spent[1:] for name, spent in times.items()}


def main(symbols: int = SYMBOLS, as_of_days: int = AS_OF_DAYS, rounds: int = ROUNDS) -> None:
    configure_logging("warning")
    frame = statistics_of(symbols, as_of_days)
    with tempfile.TemporaryDirectory(prefix="ingestion-bench-", ignore_cleanup_errors=True) as folder:
        settings = Settings.from_environment({"INGESTION_HOME": folder, "DATABASE_URL": ""})
        with database(settings) as environment:
            url = environment["DATABASE_URL"]
            postgres = Postgres(url)
            owner = url.replace("pipeline_worker@", "postgres@", 1)
            times = measured(owner, works_of(postgres, frame), rounds)
            postgres.close()
    medians = {name: pd.Series(spent).median() for name, spent in times.items()}
    limit = medians.pop("plain COPY")
    print(f"{len(frame):,} rows of {len(ROI_STATISTICS.columns)} columns, medians of {rounds} rounds")
    print(f"limit: plain COPY of the finished block   {limit:6.2f} s  {len(frame) / limit:9,.0f} rows/s")
    peer = medians.pop("pandas.to_sql")
    print(f"peer: pandas.to_sql                     {peer:6.2f} s  {len(frame) / peer:9,.0f} rows/s")
    for name, spent in medians.items():
        print(f"ours: {name:<33} {spent:6.2f} s  {len(frame) / spent:9,.0f} rows/s")
        print(f"    of plain COPY          {share(limit / spent, COPY_TARGET)}")
        print(f"    over pandas.to_sql     {faster(peer / spent, PANDAS_TARGET)}")
    print(f"peak memory {peak_mb():,.0f} MB")


if __name__ == "__main__":
    main()
