"""The compute engine: an Ibis backend chosen by COMPUTE_ENGINE. DuckDB on one machine, Spark beyond it.

Expressions are the same on every engine; only this module and storage/lake.py know which one runs.
"""

import fcntl
import shutil
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import ibis

from ingestion_pipeline.core.ids import new_id
from ingestion_pipeline.settings import Settings

if TYPE_CHECKING:
    import ibis.expr.types as ir
    from ibis.backends import BaseBackend

LOCK_FILE = "in-use"


def connect(settings: Settings) -> "BaseBackend":
    """A fresh connection to the configured engine. It spills to disk beyond COMPUTE_MEMORY_LIMIT instead of dying."""
    if settings.compute_engine == "pyspark":
        return _spark(settings)
    spill, lock = _spill_folder(settings.ingestion_home / "spill")
    backend = ibis.duckdb.connect(
        memory_limit=settings.compute_memory_limit, temp_directory=str(spill), preserve_insertion_order=False
    )
    backend.raw_sql("set TimeZone = 'UTC'")
    weakref.finalize(backend, _remove, spill, lock)
    return backend


@contextmanager
def released(engine: "BaseBackend") -> Iterator[None]:
    """Gives back at its end what expressions brought into memory meanwhile; none of them may be used afterwards.

    On DuckDB Ibis keeps the rows of every memtable until the connection ends.
    """
    known = _views(engine)
    try:
        yield
    finally:
        for name in _views(engine) - known:
            engine.con.unregister(name)


def _views(engine: "BaseBackend") -> set[str]:
    if engine.name != "duckdb":
        return set()
    found = engine.con.execute("select view_name from duckdb_views() where not internal")
    return {name for (name,) in found.fetchall()}


def _spill_folder(root: Path) -> tuple[Path, IO[str]]:
    """A folder of this connection's own, and the lock that says it is in use.

    DuckDB names its files alike in every process: two that share a folder read each other's rows.
    """
    root.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(root)
    folder = root / new_id()
    hidden = folder.with_name(f".{folder.name}")  # until it is locked, lest another process takes it for abandoned
    hidden.mkdir()
    lock = (hidden / LOCK_FILE).open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    hidden.rename(folder)
    return folder, lock


def _remove_abandoned(root: Path) -> None:
    """Removes what killed processes left behind."""
    for path in root.glob(f"[!.]*/{LOCK_FILE}"):
        with suppress(OSError), path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)


def _remove(folder: Path, lock: IO[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.close()


def read_parquet(backend: "BaseBackend", files: Sequence[str], *, root: str) -> "ir.Table":
    """The rows of Parquet files below `root`, with the partition columns that their paths name."""
    if backend.name == "duckdb":
        return backend.read_parquet(files, hive_partitioning=True)
    name = ibis.util.gen_name("lake")
    # ibis takes one path on Spark, Spark itself takes many
    backend._session.read.option("basePath", root).parquet(*files).createTempView(name)  # noqa: SLF001
    return backend.table(name)


def _spark(settings: Settings) -> "BaseBackend":
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.appName("ingestion-pipeline")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.driver.memory", settings.compute_memory_limit.removesuffix("B").lower())
        .getOrCreate()
    )
    return ibis.pyspark.connect(session)
