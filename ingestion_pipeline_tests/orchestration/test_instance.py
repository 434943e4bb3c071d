"""The instance of a process that makes many runs itself: connections are kept, and given back."""

from pathlib import Path

import psycopg
import pytest

from ingestion_pipeline.orchestration.instance import pooled_instance
from ingestion_pipeline.settings import PROJECT_ROOT
from ingestion_pipeline.storage.postgres import normalised_url


def backends(url: str) -> set[int]:
    """The server processes that serve other clients of this database."""
    statement = (
        "select pid from pg_stat_activity where datname = current_database() "
        "and backend_type = 'client backend' and pid <> pg_backend_pid()"
    )
    with psycopg.connect(url) as connection:
        return {pid for (pid,) in connection.execute(statement)}


def test_connections_are_kept_during_the_block_and_closed_after_it(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two reads use one connection; afterwards nobody is connected, so an embedded server can stop."""
    monkeypatch.setenv("DAGSTER_HOME", str(PROJECT_ROOT))
    monkeypatch.setenv("DAGSTER_ARTIFACTS", str(tmp_path))
    monkeypatch.setenv("DAGSTER_PG_URL", normalised_url(database_url, driver="psycopg2"))
    with pooled_instance() as instance:
        assert [] == instance.get_run_records()
        first = backends(database_url)
        assert [] == instance.get_run_records()
        assert first
        assert first == backends(database_url)
    assert set() == backends(database_url)
