"""The database that a command works on, embedded or DATABASE_URL's: migrated, with Dagster's own beside it.

Belongs here: which server, which roles, which environment the processes we start are given. Does not belong here: how
either server works (embedded.py, postgres.py) or what a schema holds (migrate.py).
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from os import W_OK, access
from typing import Literal

from sqlalchemy.engine import make_url

from ingestion_pipeline.core.errors import ConfigurationError, NotMigratedError
from ingestion_pipeline.settings import PROJECT_ROOT, Settings
from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.migrate import ensure_database, migrate, pending, require_migrated, set_passwords
from ingestion_pipeline.storage.postgres import Postgres, normalised_url, public_url

DAGSTER_DATABASE = "dagster"
DAGSTER_ROLE = "dagster"
ARTIFACTS = "dagster"
WORKER_ROLE = "pipeline_worker"
INTAKE_ROLE = "pipeline_intake"

# Events of a run over many partitions are written in batches, and planned ones once a run: a year in 5 s instead of 27.
DAGSTER_TUNING = {
    "DAGSTER_EVENT_BATCH_SIZE": "500",
    "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS": "true",
}


# What a command wants of a server that is not ours: to prepare it, to run jobs on it as it is, or only to read.
Purpose = Literal["prepare", "run", "read"]


@contextmanager
def database(
    settings: Settings, *, purpose: Purpose = "prepare", keep_running: bool = False
) -> Iterator[dict[str, str]]:
    """Yields the environment of processes that use the database; it runs and is migrated meanwhile.

    Processes log in as their own roles on the embedded server, which is always prepared; with DATABASE_URL, as whom it
    says, and that server is changed only with the purpose `prepare`.

    Raises:
        ConfigurationError: INGESTION_HOME cannot be written.
        StoreUnavailableError: the server does not start or cannot be reached.
        MigrationError: a migration cannot be applied.
        NotMigratedError: DATABASE_URL's server is not prepared, and that is not the purpose.
    """
    require_writable_home(settings)
    artifacts = settings.ingestion_home / ARTIFACTS
    environment = {
        **DAGSTER_TUNING,
        "DAGSTER_HOME": str(PROJECT_ROOT),
        "DAGSTER_ARTIFACTS": str(artifacts),
        "INGESTION_HOME": str(settings.ingestion_home),
    }
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        yield environment | (_prepared(settings, url) if purpose == "prepare" else _found(settings, url, purpose))
        return
    with embedded.embedded_postgres(settings, keep_running=keep_running) as server:
        ensure_database(server.url(), embedded.DATABASE)
        migrate(server.url())
        ensure_database(server.url(), DAGSTER_DATABASE, owner=DAGSTER_ROLE)
        dagster_url = server.url(role=DAGSTER_ROLE, database=DAGSTER_DATABASE)
        yield environment | {
            "DATABASE_URL": server.url(role=WORKER_ROLE),
            "INTAKE_DATABASE_URL": server.url(role=INTAKE_ROLE),
            "DAGSTER_PG_URL": normalised_url(dagster_url, driver="psycopg2"),
        }


def require_writable_home(settings: Settings) -> None:
    """Makes INGESTION_HOME and its folder of run files.

    Raises:
        ConfigurationError: it is no folder, or cannot be written.
    """
    artifacts = settings.ingestion_home / ARTIFACTS
    try:
        artifacts.mkdir(parents=True, exist_ok=True)
        is_writable = access(settings.ingestion_home, W_OK) and access(artifacts, W_OK)
    except OSError:
        is_writable = False
    if not is_writable:
        raise ConfigurationError("INGESTION_HOME", str(settings.ingestion_home), "a folder that can be written")


def _found(settings: Settings, url: str, purpose: Purpose) -> dict[str, str]:
    """Only looks whether the server of `url` has what `purpose` needs."""
    require_migrated(url)
    dagster_url = _dagster_url(settings, url)
    name = _on_same_server(dagster_url, url)
    if purpose == "run" and name:
        with closing(Postgres(url)) as postgres:
            is_there = postgres.execute("select 1 from pg_database where datname = :name", {"name": name})
        if not is_there:
            raise NotMigratedError(public_url(url), [f"create database {name}"])
    return {"DATABASE_URL": url, "DAGSTER_PG_URL": dagster_url}


def _prepared(settings: Settings, url: str) -> dict[str, str]:
    """Prepares the server of `url` as far as that is missing; a worker's login finds nothing to do."""
    if pending(url):
        migrate(url)
    passwords = {
        WORKER_ROLE: settings.worker_password,
        INTAKE_ROLE: settings.intake_password,
        DAGSTER_ROLE: settings.dagster_password,
    }
    set_passwords(url, {role: secret.get_secret_value() for role, secret in passwords.items() if secret})
    dagster_url = _dagster_url(settings, url)
    name = _on_same_server(dagster_url, url)
    if name:
        ensure_database(url, name, owner=DAGSTER_ROLE if settings.dagster_password else None)
    return {"DATABASE_URL": url, "DAGSTER_PG_URL": dagster_url}


def _on_same_server(dagster_url: str, url: str) -> str | None:
    """The name of Dagster's database if it lies on the server of `url`."""
    dagster, ours = make_url(dagster_url), make_url(normalised_url(url, driver="psycopg2"))
    return dagster.database if (dagster.host, dagster.port) == (ours.host, ours.port) else None


def _dagster_url(settings: Settings, url: str) -> str:
    """DAGSTER_PG_URL, or the database `<name>_dagster` on the server of `url`."""
    if settings.dagster_pg_url is not None:
        return normalised_url(settings.dagster_pg_url.get_secret_value(), driver="psycopg2")
    name = f"{make_url(normalised_url(url, driver='psycopg2')).database}_{DAGSTER_DATABASE}"
    return normalised_url(url, driver="psycopg2", database=name)
