"""The compute engine: an Ibis backend chosen by COMPUTE_ENGINE. DuckDB on one machine, Spark beyond it.

Expressions are the same on every engine; only this module and storage/lake.py know which one runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import ibis

from ingestion_pipeline.settings import Settings

if TYPE_CHECKING:
    from ibis.backends import BaseBackend


def connect(settings: Settings) -> "BaseBackend":
    """A fresh connection to the configured engine. It spills to disk beyond COMPUTE_MEMORY_LIMIT instead of dying."""
    if settings.compute_engine == "pyspark":
        return _spark(settings)
    spill = Path(settings.ingestion_home) / "spill"
    spill.mkdir(parents=True, exist_ok=True)
    backend = ibis.duckdb.connect(
        memory_limit=settings.compute_memory_limit, temp_directory=str(spill), preserve_insertion_order=False
    )
    backend.raw_sql("set TimeZone = 'UTC'")
    return backend


def _spark(settings: Settings) -> "BaseBackend":
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.appName("ingestion-pipeline")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.driver.memory", settings.compute_memory_limit.removesuffix("B").lower())
        .getOrCreate()
    )
    return ibis.pyspark.connect(session)
