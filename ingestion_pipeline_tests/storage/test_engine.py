"""The compute engine: within its memory, in UTC, spilling where nobody else does; and ibis as it is pinned."""

import json
from contextlib import suppress
from pathlib import Path

import ibis
import pandas as pd
import pyarrow as pa
import pytest

from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.engine import connect, released
from ingestion_pipeline_tests.children import output, python, until


@pytest.fixture
def frugal(tmp_path: Path) -> Settings:
    return Settings.from_environment({"INGESTION_HOME": str(tmp_path), "COMPUTE_MEMORY_LIMIT": "64MB"})


def setting(engine: ibis.BaseBackend, name: str) -> object:
    return engine.raw_sql(f"select current_setting('{name}')").fetchone()[0]


def test_the_memory_limit_is_the_configured_one(frugal: Settings) -> None:
    """COMPUTE_MEMORY_LIMIT, as DuckDB prints it."""
    assert "61.0 MiB" == setting(connect(frugal), "memory_limit")


def test_instants_are_shown_and_cast_in_utc(frugal: Settings) -> None:
    """A day is a UTC day on every machine."""
    engine = connect(frugal)
    day = engine.raw_sql("select cast(timestamptz '2026-03-02 23:30:00-05' as date)::text").fetchone()[0]
    assert ("UTC", "2026-03-03") == (setting(engine, "TimeZone"), day)


def test_every_connection_spills_into_a_folder_of_its_own(frugal: Settings) -> None:
    """Under the home; DuckDB names its files alike everywhere."""
    engines = [connect(frugal), connect(frugal)]
    folders = {Path(str(setting(engine, "temp_directory"))) for engine in engines}
    assert (2, {frugal.ingestion_home / "spill"}) == (len(folders), {folder.parent for folder in folders})


def test_rows_in_memory_are_given_back(frugal: Settings) -> None:
    """A run of many days would keep those of each; also when it fails."""
    engine = connect(frugal)
    before = pa.total_allocated_bytes()
    kept = ibis.memtable({"a": [1]})
    assert 1 == engine.to_pyarrow(kept).num_rows
    for _ in range(3):
        with suppress(KeyError), released(engine):
            assert 100_000 == engine.to_pyarrow(ibis.memtable(pa.table({"a": range(100_000)})).count()).as_py()
            raise KeyError
    assert 100_000 > pa.total_allocated_bytes() - before
    assert 1 == engine.to_pyarrow(kept).num_rows


SPILL = """
import sys
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.engine import connect
engine = connect(Settings.from_environment({"INGESTION_HOME": sys.argv[1], "COMPUTE_MEMORY_LIMIT": "48MB"}))
engine.raw_sql("set enable_progress_bar = false; set threads = 2")
print("ready", flush=True)
sys.stdin.readline()
sums = "select k, sum(v) as v from (select (i * 7) % 2000003 as k, i as v from range(1500000) t(i)) group by k order by v"
print(engine.raw_sql(f"select count(*), sum(v) from ({sums})").fetchall(), flush=True)
sys.stdin.read()
"""


def test_processes_that_spill_at_the_same_time_get_their_own_rows(tmp_path: Path) -> None:
    """Two runs beyond their memory limit; in one folder they would read each other's blocks."""
    with python(SPILL, str(tmp_path)) as first, python(SPILL, str(tmp_path)) as second:
        for child in (first, second):
            until(lambda child=child: "ready" in child.stdout.readline())
        for child in (first, second):
            child.stdin.write("go\n")
            child.stdin.flush()
        answers = [child.stdout.readline() for child in (first, second)]
        rest = [output(child) for child in (first, second)]
    assert (["[(1500000, 1124999250000)]\n"] * 2, ["", ""], []) == (
        answers,
        rest,
        list((tmp_path / "spill").iterdir()),
    )


def test_what_a_killed_process_spilled_is_removed_by_the_next_and_nothing_else(frugal: Settings) -> None:
    """A disk does not fill with the leavings of the dead; those who live keep theirs."""
    alive = connect(frugal)
    with python(SPILL, str(frugal.ingestion_home)) as child:
        until(lambda: "ready" in child.stdout.readline())
        before = len(list((frugal.ingestion_home / "spill").iterdir()))
        child.kill()
        child.wait()
    new = connect(frugal)
    kept = {Path(str(setting(engine, "temp_directory"))) for engine in (alive, new)}
    assert (2, kept) == (before, set((frugal.ingestion_home / "spill").iterdir()))


def test_ibis_creates_inserts_upserts_and_drops_on_this_engine(frugal: Settings) -> None:
    """ibis 12 with a newer sqlglot or DuckDB does not; the pins in pyproject.toml say which."""
    engine = connect(frugal)
    rows = pd.DataFrame({"symbol": ["BTC-USD", "SPX"], "close": [1.0, 2.0]})
    engine.create_table("bars", rows)
    engine.insert("bars", pd.DataFrame({"symbol": ["ETH-USD"], "close": [3.0]}))
    engine.upsert("bars", pd.DataFrame({"symbol": ["SPX", "DAX"], "close": [4.0, 5.0]}), on="symbol")
    engine.create_view("dear", engine.table("bars").filter(ibis._.close > 2))
    seen = engine.table("dear").order_by("symbol").to_pyarrow().to_pylist()
    engine.drop_view("dear")
    engine.drop_table("bars")
    expected = '[{"symbol": "DAX", "close": 5.0}, {"symbol": "ETH-USD", "close": 3.0}, {"symbol": "SPX", "close": 4.0}]'
    left = engine.raw_sql(
        "select count(*) from information_schema.tables where table_name in ('bars', 'dear')"
    ).fetchone()[0]
    assert (expected, 0) == (json.dumps(seen), left)
