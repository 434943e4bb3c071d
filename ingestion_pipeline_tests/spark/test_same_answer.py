"""The same expressions over the same lake on Spark and on DuckDB: the same rows. Run by `make test-spark`."""

import warnings
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import ibis
import pandas as pd
import pytest

from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.market import transforms
from ingestion_pipeline.domains.market.tables import GRAINS, OHLC_DAILY, OHLC_HOURLY, OHLC_WEEKLY, PRICE_BARS
from ingestion_pipeline.providers.mock import MockProvider
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake

WEEK = Window.of_days(date(2026, 3, 2), date(2026, 3, 8))
MARKETS = pd.DataFrame({"symbol": ["BTC-USD", "SPX"], "calendar": ["24/7", "XNYS"]})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with a week of mock bars, gaps included."""
    folder = tmp_path_factory.mktemp("home")
    provider = MockProvider()
    raw = pd.concat([provider.fetch_bars(symbol, WEEK) for symbol in MARKETS["symbol"]], ignore_index=True)
    gappy = raw[raw.index % 97 != 0]
    bars, _ = transforms.judged_bars(gappy, WEEK, now=WEEK.end, provider="mock")
    lake_on("duckdb", folder).replace(PRICE_BARS, bars, WEEK)
    return folder


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    # pyspark and py4j leave sockets open and use pandas interfaces that warn
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def lake_on(engine: str, home: Path) -> Lake:
    return Lake(Settings.from_environment({"INGESTION_HOME": str(home), "COMPUTE_ENGINE": engine}))


@pytest.mark.parametrize("table", [OHLC_HOURLY, OHLC_DAILY, OHLC_WEEKLY], ids=lambda table: table.name)
def test_spark_and_duckdb_give_the_same_bars(home: Path, table) -> None:
    """Every row and column of the OHLC tables, computed by both engines from the same Parquet files."""
    grain = GRAINS[table.name]
    expected = transforms.expected_sessions(MARKETS["calendar"], WEEK, grain)
    rows = {}
    for engine in ("duckdb", "pyspark"):
        bars = lake_on(engine, home).read(PRICE_BARS, WEEK)
        built = transforms.ohlc(bars, ibis.memtable(MARKETS), ibis.memtable(expected), grain=grain).to_pyarrow()
        rows[engine] = built.to_pandas().sort_values(["symbol", "bar_start_at"]).reset_index(drop=True)
    assert len(rows["duckdb"]) > 0
    pd.testing.assert_frame_equal(rows["duckdb"], rows["pyspark"], check_exact=False, rtol=1e-12)
