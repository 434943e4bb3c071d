"""The database of a command: embedded with a role a process, or the one that DATABASE_URL names."""

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text

from ingestion_pipeline.core.errors import ConfigurationError, MigrationError, NotMigratedError, StoreUnavailableError
from ingestion_pipeline.settings import PROJECT_ROOT, Settings
from ingestion_pipeline.storage.database import DAGSTER_TUNING, Purpose, database
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.migrate import ensure_database, migrate, pending

ASK = "select current_user, current_database(), pg_get_userbyid(datdba) from pg_database where datname = current_database()"

_numbers = itertools.count()


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="home-", ignore_cleanup_errors=True) as path:
        yield Path(path)


@pytest.fixture
def external(server: EmbeddedServer) -> Iterator[str]:
    """The URL of an empty database on a server that is not ours; what is made beside it is dropped."""
    name = f"external_{next(_numbers)}"
    ensure_database(server.url(), name)
    yield server.url(database=name)
    with psycopg.connect(server.url(database="postgres"), autocommit=True) as connection:
        for each in (name, f"{name}_dagster"):
            connection.execute(f"drop database if exists {each} with (force)")


def ask(url: str, statement: str = ASK) -> tuple[object, ...]:
    engine = create_engine(url)
    with engine.connect() as connection:
        row = connection.execute(text(statement)).one()
    engine.dispose()
    return tuple(row)


def databases(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {name for (name,) in connection.execute("select datname from pg_database").fetchall()}


def test_children_of_the_embedded_server_log_in_as_their_own_roles(home: Path) -> None:
    """Never as the superuser; Dagster owns its own database and speaks psycopg2; the schema is the newest."""
    settings = Settings.from_environment({"INGESTION_HOME": str(home), "DATABASE_URL": "", "DAGSTER_PG_URL": ""})
    with database(settings) as environment:
        ours, dagsters = environment["DATABASE_URL"], environment["DAGSTER_PG_URL"]
        seen = (ask(ours)[:2], ask(dagsters), pending(ours), dagsters.split("://", maxsplit=1)[0])
    runs = (home / "postgres" / "postmaster.pid").exists()
    assert (
        ("pipeline_worker", "ingestion"),
        ("dagster", "dagster", "dagster"),
        [],
        "postgresql+psycopg2",
        False,
    ) == (*seen, runs)


def test_children_learn_where_everything_is(external: str, tmp_path: Path) -> None:
    """Dagster's home, artifacts and tuning, and our home; the folders exist."""
    settings = Settings.from_environment({"INGESTION_HOME": str(tmp_path), "DATABASE_URL": external})
    with database(settings) as environment:
        paths = {name: environment[name] for name in ("DAGSTER_HOME", "DAGSTER_ARTIFACTS", "INGESTION_HOME")}
    assert (
        {
            "DAGSTER_HOME": str(PROJECT_ROOT),
            "DAGSTER_ARTIFACTS": str(tmp_path / "dagster"),
            "INGESTION_HOME": str(tmp_path),
        },
        DAGSTER_TUNING,
        True,
    ) == (paths, {name: environment[name] for name in DAGSTER_TUNING}, (tmp_path / "dagster").is_dir())


def test_an_external_database_is_migrated_and_gets_one_for_dagster_beside_it(external: str, tmp_path: Path) -> None:
    """`<name>_dagster`; the second command finds both."""
    settings = Settings.from_environment(
        {"INGESTION_HOME": str(tmp_path), "DATABASE_URL": external, "DAGSTER_PG_URL": ""}
    )
    name = psycopg.conninfo.conninfo_to_dict(external)["dbname"]
    before = databases(external)
    with database(settings) as first, database(settings) as second:
        pass
    assert (first, external, ("postgres", f"{name}_dagster", "postgres"), [], {f"{name}_dagster"}) == (
        second,
        first["DATABASE_URL"],
        ask(first["DAGSTER_PG_URL"]),
        pending(external),
        databases(external) - before,
    )


def test_dagster_pg_url_is_taken_as_it_is_in_dagsters_own_spelling(external: str, tmp_path: Path) -> None:
    """And no database is created for it."""
    before = databases(external)
    settings = Settings.from_environment(
        {
            "INGESTION_HOME": str(tmp_path),
            "DATABASE_URL": external,
            "DAGSTER_PG_URL": "postgres://d:p@h/x?schema=public",
        }
    )
    with database(settings) as environment:
        url = environment["DAGSTER_PG_URL"]
    assert ("postgresql+psycopg2://d:p@h/x", before) == (url, databases(external))


def test_a_role_that_may_not_create_dagsters_database_is_told_so(worker_url: str, tmp_path: Path) -> None:
    """In one line, with what to do."""
    settings = Settings.from_environment(
        {"INGESTION_HOME": str(tmp_path), "DATABASE_URL": worker_url, "DAGSTER_PG_URL": ""}
    )
    with pytest.raises(MigrationError, match=r"_dagster: permission denied .* create it"), database(settings):
        pass


def test_an_external_server_that_is_away_is_a_transient_error(tmp_path: Path) -> None:
    """The embedded one is not started in its place."""
    settings = Settings.from_environment(
        {"INGESTION_HOME": str(tmp_path), "DATABASE_URL": "postgresql://u:geheim42@127.0.0.1:1/db"}
    )
    with pytest.raises(StoreUnavailableError, match="refused") as caught, database(settings):
        pass
    assert (False, False) == ("geheim42" in str(caught.value), (tmp_path / "postgres").exists())


def test_migrating_with_passwords_lets_each_role_log_in_as_itself(external: str, tmp_path: Path) -> None:
    """WORKER_PASSWORD and DAGSTER_PASSWORD become the roles' own; Dagster's role owns Dagster's database."""
    roles = "('pipeline_worker', 'dagster')"
    settings = Settings.from_environment(
        {
            "INGESTION_HOME": str(tmp_path),
            "DATABASE_URL": external,
            "WORKER_PASSWORD": "worker's",
            "DAGSTER_PASSWORD": "dagster's",
        }
    )
    with database(settings) as environment:
        dagsters = environment["DAGSTER_PG_URL"]
    with psycopg.connect(external) as connection:
        stored = connection.execute(
            f"select rolname, rolpassword like 'SCRAM-SHA-256%' from pg_authid where rolname in {roles} order by 1"
        ).fetchall()
        connection.execute("alter role pipeline_worker password null")
        connection.execute("alter role dagster password null")
    assert [("dagster", True), ("pipeline_worker", True)] == stored
    assert "dagster" == ask(dagsters)[2]


@pytest.mark.parametrize("purpose", ["run", "read"])
def test_an_external_database_that_is_not_migrated_is_left_alone(
    external: str, tmp_path: Path, purpose: Purpose
) -> None:
    """Unless the purpose is to prepare it."""
    before = (databases(external), pending(external))
    settings = Settings.from_environment({"INGESTION_HOME": str(tmp_path), "DATABASE_URL": external})
    with pytest.raises(NotMigratedError, match="run `ingestion-pipeline migrate`"), database(settings, purpose=purpose):
        pass
    assert before == (databases(external), pending(external))


def test_runs_need_dagsters_database_and_reading_does_not(external: str, tmp_path: Path) -> None:
    """Neither makes it, nor sets a password; once it is prepared, all three see the same."""
    settings = Settings.from_environment(
        {"INGESTION_HOME": str(tmp_path), "DATABASE_URL": external, "DAGSTER_PG_URL": "", "WORKER_PASSWORD": "worker's"}
    )
    migrate(external)
    before = databases(external)
    with database(settings, purpose="read") as read:
        pass
    with (
        pytest.raises(NotMigratedError, match=r"create database external_\d+_dagster"),
        database(settings, purpose="run"),
    ):
        pass
    passwords = "select rolpassword from pg_authid where rolname = 'pipeline_worker'"
    with psycopg.connect(external) as connection:
        assert (None,) == connection.execute(passwords).fetchone()
    assert before == databases(external)
    with database(settings) as prepared, database(settings, purpose="run") as run:
        pass
    with psycopg.connect(external) as connection:
        connection.execute("alter role pipeline_worker password null")
    assert read == prepared == run


def test_a_home_that_is_no_folder_is_named(external: str, tmp_path: Path) -> None:
    """Before the server is asked."""
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        settings = Settings.from_environment({"INGESTION_HOME": str(home), "DATABASE_URL": external})
        with pytest.raises(ConfigurationError) as caught, database(settings):
            pass
        assert ("INGESTION_HOME", str(home)) == (caught.value.variable, caught.value.value)
    assert pending(external)
