"""What tests stand on: a real PostgreSQL with one migrated database a test, a lake in a folder, a Dagster instance.

One embedded server serves the whole session of a worker process; a test's database is a clone of a migrated template.
"""

import importlib.util
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.migrate import ensure_database, migrate
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.databases import TEMPLATE, migrated_database
from ingestion_pipeline_tests.pipeline import Pipeline

DATA = Path(__file__).parent / "data"
SLOW = tuple(f"ingestion_pipeline_tests/{name}" for name in ("flows/", "test_benchmarks", "test_documents", "test_cli"))

# what a shell ignores for a job in the background, its children would ignore as well
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Spark lives in an environment of its own: `make test-spark`
collect_ignore = [] if importlib.util.find_spec("pyspark") else ["spark"]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Twice as many as cores: half of the tests wait for processes that they have started."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files whose tests start processes come first, so that no worker is left with one at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(SLOW))


@pytest.fixture(autouse=True)
def _logging() -> None:
    """Each test begins with the same logging, whatever the one before it has set."""
    configure_logging("debug", style="json")


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """A PostgreSQL server of this worker's own, stopped and removed at the end."""
    # not below pytest's own folder: another session may tidy that away while the server runs
    with tempfile.TemporaryDirectory(prefix="ingestion-tests-", ignore_cleanup_errors=True) as home:
        folder = Path(home) / "postgres"
        running = embedded.start(folder)
        with psycopg.connect(running.url(database="postgres"), autocommit=True) as connection:
            connection.execute("alter system set fsync = off")  # it lives no longer than the tests; they make thousands
            connection.execute("select pg_reload_conf()")
        ensure_database(running.url(), TEMPLATE)
        migrate(running.url(database=TEMPLATE))
        yield running
        embedded.stop_when_unused(folder)


@pytest.fixture
def database_url(server: EmbeddedServer) -> Iterator[str]:
    """The superuser's URL of a fresh, migrated database."""
    with migrated_database(server) as url:
        yield url


@pytest.fixture
def worker_url(database_url: str) -> str:
    """The same database for the role that runs assets."""
    return database_url.replace("postgres@", "pipeline_worker@", 1)


@pytest.fixture
def postgres(worker_url: str) -> Iterator[Postgres]:
    database = Postgres(worker_url)
    yield database
    database.close()


@pytest.fixture
def settings(worker_url: str, tmp_path: Path) -> Settings:
    """Settings of a pipeline in a folder of its own, with the mock provider."""
    return Settings.from_environment(
        {"DATABASE_URL": worker_url, "INGESTION_HOME": str(tmp_path), "INGESTION_PROVIDER": "mock"}
    )


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return Lake(settings)


@pytest.fixture(scope="session")
def instance() -> Iterator[dg.DagsterInstance]:
    """An in-memory Dagster instance, shared: making one takes longer than most tests."""
    with dg.DagsterInstance.ephemeral() as shared:
        yield shared


@pytest.fixture
def pipeline(settings: Settings, postgres: Postgres, lake: Lake, instance: dg.DagsterInstance) -> Pipeline:
    """The real assets and checks over this test's database and lake, with the mock provider."""
    return Pipeline(settings=settings, postgres=postgres, lake=lake, instance=instance)
