"""Real bars through the real command and the real assets, in a process of its own: its first partition is in 1999."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import empyrical
import numpy as np
import pandas as pd
import pytest

from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.market.tables import OHLC_DAILY, OHLC_HOURLY, ROI_STATISTICS, TABLES
from ingestion_pipeline.settings import Settings, child_environment
from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.conftest import DATA

BARS = DATA / "market"
ALL_DAYS = Window.of_days(date(1999, 1, 4), date(2021, 11, 21))
COMMAND = [sys.executable, "-m", "ingestion_pipeline"]


@dataclass(frozen=True)
class Demo:
    output: str
    ohlc_hourly: pd.DataFrame
    ohlc_daily: pd.DataFrame
    roi_statistics: pd.DataFrame


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`ingestion-pipeline demo --provider file` over all the real bars, and what it stored."""
    home = tmp_path_factory.mktemp("real")
    run = subprocess.run(
        [*COMMAND, "demo", "--provider", "file", "--path", str(BARS)],
        env=child_environment({"INGESTION_HOME": str(home)}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (run.returncode, "" if run.returncode == 0 else run.stdout + run.stderr)
    lake = Lake(Settings.from_environment({"INGESTION_HOME": str(home)}))
    server = embedded.start(home / "postgres")
    postgres = Postgres(server.url(role="pipeline_worker"))
    yield Demo(
        run.stdout,
        lake.read(OHLC_HOURLY, ALL_DAYS).execute(),
        lake.read(OHLC_DAILY, ALL_DAYS).execute(),
        postgres.rows(ROI_STATISTICS, ALL_DAYS),
    )
    postgres.close()
    embedded.stop_when_unused(home / "postgres")


def raw(name: str) -> pd.DataFrame:
    """A file as pandas reads it: independent of the provider, the lake and the engine."""
    return pd.read_csv(BARS / name, parse_dates=["ts"])


def resampled(frame: pd.DataFrame, rule: str) -> pd.DataFrame:
    rules = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    sampled = (
        frame.set_index("ts").resample(rule).agg(rules | {"symbol": "count"}).rename(columns={"symbol": "bar_count"})
    )
    return sampled[sampled["bar_count"] > 0]


@pytest.mark.parametrize("symbol", ["ETH-BTC", "LTC-BTC", "XRP-USDT"])
@pytest.mark.parametrize(("rule", "stored"), [("D", "ohlc_daily"), ("h", "ohlc_hourly")])
def test_bars_built_from_five_minutes_equal_a_pandas_resample(demo: Demo, symbol: str, rule: str, stored: str) -> None:
    """Hourly and daily OHLC of every real five-minute file, by two independent ways."""
    independent = resampled(raw(f"bars_5m_{symbol}.csv.gz"), rule)
    ours: pd.DataFrame = getattr(demo, stored)
    ours = ours[ours["symbol"] == symbol].set_index("bar_start_at").sort_index()
    assert independent.index.tolist() == ours.index.tolist()
    for column in ("open", "high", "low", "close", "bar_count"):
        assert independent[column].tolist() == ours[column].tolist()
    np.testing.assert_allclose(ours["volume"], independent["volume"], rtol=1e-12)


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("AAPL", "bars_1d_equities"),
        ("IBM", "bars_1d_equities"),
        ("MSFT", "bars_1d_equities"),
        ("SP500", "bars_1d_sp500"),
    ],
)
def test_stored_statistics_of_real_prices_equal_empyrical(demo: Demo, symbol: str, name: str) -> None:
    """The last day of each market, all four windows, from the file to PostgreSQL, within 1e-9."""
    frame = raw(f"{name}.csv.gz").query("symbol == @symbol").set_index("ts").sort_index()
    as_of = frame.index[-1]
    ours = demo.roi_statistics.query("symbol == @symbol")
    ours = ours[pd.to_datetime(ours["as_of_date"]) == as_of].set_index("window_days")
    assert [7, 30, 90, 365] == sorted(ours.index)
    returns = frame["adj_close"].pct_change()
    for days, row in ours.iterrows():
        window = returns[returns.index > as_of - pd.Timedelta(days=int(days))]
        expected = {
            "total_return_ratio": empyrical.cum_returns_final(window),
            "volatility_ratio": empyrical.annual_volatility(window),
            "sharpe_ratio": empyrical.sharpe_ratio(window),
            "sortino_ratio": empyrical.sortino_ratio(window),
            "max_drawdown_ratio": empyrical.max_drawdown(window),
            "best_day_ratio": window.max(),
            "worst_day_ratio": window.min(),
        }
        assert {name: pytest.approx(value, rel=1e-9, abs=1e-9) for name, value in expected.items()} == row[
            list(expected)
        ].to_dict()
        assert len(window) == row["return_count"]


def test_the_demo_says_what_it_built_and_where_it_is(demo: Demo) -> None:
    """Every market asset is in the table, and nothing failed."""
    assert [] == [table.path for table in TABLES if table.path not in demo.output]
    assert "failed" not in demo.output
    assert "make up" in demo.output


def test_a_wrong_folder_is_named(tmp_path: Path) -> None:
    """The demo of a folder that is not there ends with one line and exit code 2."""
    run = subprocess.run(
        [*COMMAND, "demo", "--provider", "file", "--path", str(tmp_path / "nowhere")],
        env=child_environment({"INGESTION_HOME": str(tmp_path)}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (2, 1) == (run.returncode, len(run.stderr.strip().splitlines()))
    assert "nowhere" in run.stderr
