"""kill -9 in the middle: every partition is wholly old or wholly new, and the next run makes all of it new, once.

Old and new differ in the markets: one is built first, then three over it. What is waited for is a commit or a line of
output, never a time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import psycopg
import pytest
from deltalake import DeltaTable

from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.market.tables import (
    COMPARISONS,
    MARKETS,
    OHLC_DAILY,
    OHLC_HOURLY,
    OHLC_WEEKLY,
    PRICE_BARS,
    ROI_STATISTICS,
)
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.command import killed, run

BUILT = (PRICE_BARS, OHLC_HOURLY, OHLC_DAILY, OHLC_WEEKLY, COMPARISONS, ROI_STATISTICS)
FIRST, LAST = date(2025, 2, 6), date(2025, 2, 11)
ALL_DAYS = Window.of_days(FIRST - timedelta(days=30), LAST + timedelta(days=30))
OLD = {"INGESTION_MARKETS": "ETH-USD,SPX"}
NEW = {"INGESTION_MARKETS": "BTC-USD,ETH-USD,SPX"}
BACKFILL = ("backfill", "market", "--from", str(FIRST), "--to", str(LAST), "--days-per-run", "3", "--again")

Rows = dict[str, pd.DataFrame]


@dataclass
class Home:
    """A pipeline in a folder of its own, killed from outside and read directly."""

    folder: Path

    @contextmanager
    def postgres(self) -> Iterator[Postgres]:
        """The server, which a killed command leaves running or not."""
        server = embedded.start(self.folder / "postgres")
        database = Postgres(server.url(role="pipeline_worker"))
        try:
            yield database
        finally:
            database.close()

    def rows(self) -> Rows:
        """Every stored row, ordered by key."""
        lake = Lake(Settings.from_environment({"INGESTION_HOME": str(self.folder), "LAKE_URL": ""}))
        with self.postgres() as postgres:
            return {table.name: ordered(table, lake, postgres) for table in (*BUILT, MARKETS)}

    def version(self, table: Table) -> int:
        """How many commits a lake table has seen."""
        with suppress(Exception):
            return DeltaTable(str(self.folder / "lake" / table.path)).version()
        return -1

    def stop(self) -> None:
        embedded.stop_when_unused(self.folder / "postgres")


def ordered(table: Table, lake: Lake, postgres: Postgres) -> pd.DataFrame:
    stored = lake.read(table, ALL_DAYS).execute() if table.store == "lake" else postgres.rows(table, ALL_DAYS)
    return stored.sort_values(list(table.key), ignore_index=True)


def partitions(table: Table, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each partition."""
    days = rows.groupby(rows[table.partition_column].astype(str))
    return {day: part.reset_index(drop=True) for day, part in days}


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Rows, Rows]]:
    """A home in which the old rows are built, the old rows, and the new ones of a run that nobody disturbed."""
    home, undisturbed = Home(tmp_path_factory.mktemp("killed")), Home(tmp_path_factory.mktemp("undisturbed"))
    for folder, markets in ((undisturbed, NEW), (home, OLD)):
        done = run(*BACKFILL, home=folder.folder, LOG_LEVEL="error", **markets)
        assert (0, "") == (done.returncode, done.stderr)
    yield home, home.rows(), undisturbed.rows()
    home.stop()
    undisturbed.stop()


def assert_nothing_is_half(home: Home, old: Rows, new: Rows) -> int:
    """Each partition of each table equals its old or its new rows; returns how many are new."""
    found, renewed = home.rows(), 0
    for table in BUILT:
        was, will = partitions(table, old[table.name]), partitions(table, new[table.name])
        now = partitions(table, found[table.name])
        assert now.keys() <= will.keys()
        for day in will:
            is_old = same(now.get(day), was.get(day))
            is_new = same(now.get(day), will[day])
            assert is_old or is_new, (table.name, day, now.get(day))
            renewed += is_new and not is_old
    return renewed


def same(one: pd.DataFrame | None, other: pd.DataFrame | None) -> bool:
    """Sums may differ in their last bit: the engine adds in parallel."""
    if one is None or other is None:
        return one is other
    try:
        pd.testing.assert_frame_equal(one, other, rtol=1e-12)
    except AssertionError:
        return False
    return True


def commits(home: Home, table: Table, count: int) -> Callable[[str], bool]:
    """True once `table` has seen `count` more commits."""
    before = home.version(table)
    return lambda _: home.version(table) >= before + count


def transactions(home: Home, table: Table) -> Callable[[str], bool]:
    """True once another transaction has written rows of `table`."""
    query = f"select coalesce(max(xmin::text::bigint), 0) from {table.qualified_name}"
    with home.postgres() as postgres, postgres.transaction() as connection:
        before = connection.execute(query).fetchone()[0]
        url = postgres.url

    def is_written(_: str) -> bool:
        with suppress(psycopg.Error), psycopg.connect(url) as connection:
            return bool(connection.execute(query).fetchone()[0] > before)
        return False

    return is_written


def test_a_backfill_killed_anywhere_leaves_partitions_whole_and_can_be_repeated(
    states: tuple[Home, Rows, Rows],
) -> None:
    """In the first bars, between tables, between ranges, in the statistics; then once to the end."""
    home, old, new = states
    points: list[Callable[[], Callable[[str], bool]]] = [
        lambda: commits(home, PRICE_BARS, 1),
        lambda: transactions(home, COMPARISONS),
        lambda: lambda printed: "market_daily_job: " in printed,
        lambda: commits(home, OHLC_DAILY, 2),
        lambda: lambda printed: "market_weekly_job: " in printed,
    ]
    renewed = []
    for point in points:
        killed(*BACKFILL, home=home.folder, when=point(), LOG_LEVEL="error", **NEW)
        renewed.append(assert_nothing_is_half(home, old, new))
    assert 0 < renewed[0] < renewed[-1]
    done = run(*BACKFILL, home=home.folder, LOG_LEVEL="error", **NEW)
    assert (0, "") == (done.returncode, done.stderr)
    for name, rows in home.rows().items():
        pd.testing.assert_frame_equal(new[name], rows)


def test_a_demo_that_was_killed_can_be_repeated(tmp_path: Path) -> None:
    """After two kills the third run succeeds, and no key is there twice."""
    home = Home(tmp_path)
    killed("demo", "--days", "5", home=tmp_path, when=commits(home, PRICE_BARS, 1))
    killed("demo", "--days", "5", home=tmp_path, when=lambda printed: "built\n" in printed)
    done = run("demo", "--days", "5", home=tmp_path, LOG_LEVEL="error")
    assert (0, "") == (done.returncode, done.stderr)
    lake = Lake(Settings.from_environment({"INGESTION_HOME": str(tmp_path), "LAKE_URL": ""}))
    with home.postgres() as postgres:
        ever = Window.of_days(date(2020, 1, 1), date(2100, 1, 1))
        for table in BUILT:
            stored = lake.read(table, ever).execute() if table.store == "lake" else postgres.rows(table, ever)
            assert len(stored)
            assert not stored.duplicated(list(table.key)).any()
    home.stop()
