"""A PostgreSQL server that a test may stop, kill or fill: one a module, with no roles and no schema of ours."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.embedded import EmbeddedServer


@pytest.fixture(scope="module")
def spare_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="spare-", ignore_cleanup_errors=True) as home:
        folder = Path(home) / "postgres"
        yield folder
        with psycopg.connect(embedded.start(folder).url(database="postgres"), autocommit=True) as connection:
            connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()")
        embedded.stop_when_unused(folder)


@pytest.fixture
def spare(spare_folder: Path) -> EmbeddedServer:
    """The spare server, running."""
    return embedded.start(spare_folder)
