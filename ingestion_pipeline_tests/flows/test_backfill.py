"""`ingestion-pipeline backfill`: skips what is there, builds what is missing, and what looked back on what was missing."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.market.tables import (
    COMPARISONS,
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
MONDAY = date(2025, 2, 3)
ALL_DAYS = Window.of_days(date(2024, 12, 30), date(2025, 12, 31))


@dataclass
class Home:
    """A pipeline in a folder of its own, driven by the command, read directly."""

    folder: Path

    def backfill(self, first: date, last: date, *options: str, **over: str) -> str:
        """Runs the command; returns what it printed, without the closing table."""
        done = run(
            "backfill",
            "market",
            "--from",
            str(first),
            "--to",
            str(last),
            *options,
            home=self.folder,
            LOG_LEVEL="error",
            **over,
        )
        assert (0, "") == (done.returncode, done.stderr)
        return done.stdout

    def rows(self) -> dict[str, pd.DataFrame]:
        """Every stored row, ordered by key."""
        lake = Lake(Settings.from_environment({"INGESTION_HOME": str(self.folder), "LAKE_URL": ""}))
        server = embedded.start(self.folder / "postgres")
        postgres = Postgres(server.url(role="pipeline_worker"))
        try:
            return {table.name: self._rows(table, lake, postgres) for table in BUILT}
        finally:
            postgres.close()
            embedded.stop_when_unused(self.folder / "postgres")

    def _rows(self, table: Table, lake: Lake, postgres: Postgres) -> pd.DataFrame:
        stored = lake.read(table, ALL_DAYS).execute() if table.store == "lake" else postgres.rows(table, ALL_DAYS)
        return stored.sort_values(list(table.key), ignore_index=True)


def lines(printed: str) -> list[str]:
    """What was said of each range."""
    return [line for line in printed.splitlines() if line.startswith("market_") and "_job: " in line]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, pd.DataFrame]]:
    """The rows of five weeks built in one go, oldest first."""
    home = Home(tmp_path_factory.mktemp("straight"))
    home.backfill(MONDAY - timedelta(days=14), MONDAY + timedelta(days=20))
    return home.rows()


def test_days_in_any_order_give_the_same_rows(tmp_path: Path, straight: dict[str, pd.DataFrame]) -> None:
    """Later days first, then earlier ones: what looked back on a gap is built again, no row is there twice."""
    home = Home(tmp_path)
    late = home.backfill(MONDAY, MONDAY + timedelta(days=20))
    assert "market_lookback_job" not in late
    before = home.rows()["roi_statistics"]
    early = home.backfill(MONDAY - timedelta(days=14), MONDAY - timedelta(days=1))
    assert f"market_lookback_job: {MONDAY} to {MONDAY + timedelta(days=20)} built" in early
    rows = home.rows()
    for name, expected in straight.items():
        pd.testing.assert_frame_equal(expected, rows[name])
    after = rows["roi_statistics"]
    assert len(before) < len(after[pd.to_datetime(after["as_of_date"]) >= pd.Timestamp(MONDAY)])


def test_what_is_built_is_skipped(tmp_path: Path) -> None:
    """A second time nothing runs; a longer span runs what is missing; `--again` (test_killed_run.py) runs all."""
    home = Home(tmp_path)
    span = (MONDAY, MONDAY + timedelta(days=6))
    assert "market/ohlc_daily" in home.backfill(*span)
    nothing = home.backfill(*span)
    assert "market/ohlc_daily" not in nothing
    assert [
        f"market_daily_job: {MONDAY} to {MONDAY + timedelta(days=6)} built before",
        f"market_weekly_job: {MONDAY} to {MONDAY} built before",
    ] == lines(nothing)
    longer = home.backfill(MONDAY, MONDAY + timedelta(days=13), "--days-per-run", "7")
    assert [
        f"market_daily_job: {MONDAY} to {MONDAY + timedelta(days=6)} built before",
        f"market_daily_job: {MONDAY + timedelta(days=7)} to {MONDAY + timedelta(days=13)} built",
        f"market_weekly_job: {MONDAY} to {MONDAY + timedelta(days=7)} built",
    ] == lines(longer)


def test_a_backfill_that_was_killed_before_the_lookback_is_made_good(
    tmp_path: Path, straight: dict[str, pd.DataFrame]
) -> None:
    """Its days are all built and skipped by the next; the later days are known to be outdated all the same."""
    home = Home(tmp_path)
    home.backfill(MONDAY, MONDAY + timedelta(days=20))
    earlier = (
        "backfill",
        "market",
        "--from",
        str(MONDAY - timedelta(days=14)),
        "--to",
        str(MONDAY - timedelta(days=1)),
    )
    killed(*earlier, home=tmp_path, when=lambda printed: "market_weekly_job: " in printed)
    home.backfill(MONDAY - timedelta(days=14), MONDAY - timedelta(days=1))
    pd.testing.assert_frame_equal(straight["roi_statistics"], home.rows()["roi_statistics"])


def progress(printed: str) -> dict[str, str]:
    """How far each bar came: done, of how many."""
    return dict(re.findall(r"^(market_\w+) .* (\d+/\d+) +partitions", printed, re.MULTILINE))


def test_a_week_is_built_again_when_more_of_its_days_are(tmp_path: Path) -> None:
    """First its Wednesday, then all of it; the bar counts weeks as weeks."""
    home, monday = Home(tmp_path), date(2025, 1, 6)
    home.backfill(monday + timedelta(days=2), monday + timedelta(days=2))
    whole = home.backfill(monday, monday + timedelta(days=6))
    assert f"market_weekly_job: {monday} to {monday} built" in lines(whole)
    assert {"market_daily_job": "7/7", "market_weekly_job": "1/1"} == progress(whole)
    rows = home.rows()
    weekly, daily = rows["ohlc_weekly"].set_index("symbol"), rows["ohlc_daily"]
    assert daily.groupby("symbol")["bar_count"].sum().to_dict() == weekly["bar_count"].to_dict()


def test_later_days_of_the_same_span_are_built_again_too(tmp_path: Path, straight: dict[str, pd.DataFrame]) -> None:
    """They are skipped as built before, and look back on the days that are new. After that there is nothing to do."""
    home, first, last = Home(tmp_path), MONDAY - timedelta(days=14), MONDAY + timedelta(days=20)
    home.backfill(MONDAY, last)
    options = ("--days-per-run", "14")
    printed = home.backfill(first, last, *options)
    assert f"market_daily_job: {MONDAY} to {MONDAY + timedelta(days=13)} built before" in lines(printed)
    assert f"market_lookback_job: {MONDAY} to {MONDAY + timedelta(days=13)} built" in lines(printed)
    assert {"market_daily_job": "35/35", "market_weekly_job": "5/5", "market_lookback_job": "21/21"} == progress(
        printed
    )
    rows = home.rows()
    for name, expected in straight.items():
        pd.testing.assert_frame_equal(expected, rows[name])
    assert {True} == {line.endswith(" built before") for line in lines(home.backfill(first, last, *options))}
