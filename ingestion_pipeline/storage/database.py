"""The database that a command works on, embedded or DATABASE_URL's: migrated, with Dagster's own beside it.

Belongs here: which server, which roles, which environment the processes we start are given. Does not belong here: how
either server works (embedded.py, postgres.py) or what a schema holds (migrate.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import make_url

from ingestion_pipeline.settings import PROJECT_ROOT, Settings
from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.migrate import ensure_database, migrate, pending, set_passwords
from ingestion_pipeline.storage.postgres import normalised_url

DAGSTER_DATABASE = "dagster"
DAGSTER_ROLE = "dagster"
WORKER_ROLE = "pipeline_worker"

# Events of a run over many partitions are written in batches, and planned ones once a run: a year in 5 s instead of 27.
DAGSTER_TUNING = {
    "DAGSTER_EVENT_BATCH_SIZE": "500",
    "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS": "true",
}


@contextmanager
def database(settings: Settings, *, keep_running: bool = False) -> Iterator[dict[str, str]]:
    """Yields the environment of processes that use the database; it runs and is migrated meanwhile.

    Processes log in as their own roles on the embedded server; with DATABASE_URL, as whom it says.

    Raises:
        StoreUnavailableError: the server does not start or cannot be reached.
        MigrationError: a migration cannot be applied.
    """
    artifacts = settings.ingestion_home / "dagster"
    artifacts.mkdir(parents=True, exist_ok=True)
    environment = {
        **DAGSTER_TUNING,
        "DAGSTER_HOME": str(PROJECT_ROOT),
        "DAGSTER_ARTIFACTS": str(artifacts),
        "INGESTION_HOME": str(settings.ingestion_home),
    }
    if settings.database_url is not None:
        yield environment | _external(settings, settings.database_url.get_secret_value())
        return
    with embedded.embedded_postgres(settings, keep_running=keep_running) as server:
        ensure_database(server.url(), embedded.DATABASE)
        migrate(server.url())
        ensure_database(server.url(), DAGSTER_DATABASE, owner=DAGSTER_ROLE)
        dagster_url = server.url(role=DAGSTER_ROLE, database=DAGSTER_DATABASE)
        yield environment | {
            "DATABASE_URL": server.url(role=WORKER_ROLE),
            "DAGSTER_PG_URL": normalised_url(dagster_url, driver="psycopg2"),
        }


def _external(settings: Settings, url: str) -> dict[str, str]:
    """Prepares the server of `url` as far as that is missing; a worker's login finds nothing to do."""
    if pending(url):
        migrate(url)
    passwords = {WORKER_ROLE: settings.worker_password, DAGSTER_ROLE: settings.dagster_password}
    set_passwords(url, {role: secret.get_secret_value() for role, secret in passwords.items() if secret})
    dagster_url = _dagster_url(settings, url)
    dagster, ours = make_url(dagster_url), make_url(normalised_url(url, driver="psycopg2"))
    if (dagster.host, dagster.port) == (ours.host, ours.port) and dagster.database:
        ensure_database(url, dagster.database, owner=DAGSTER_ROLE if settings.dagster_password else None)
    return {"DATABASE_URL": url, "DAGSTER_PG_URL": dagster_url}


def _dagster_url(settings: Settings, url: str) -> str:
    """DAGSTER_PG_URL, or the database `<name>_dagster` on the server of `url`."""
    if settings.dagster_pg_url is not None:
        return normalised_url(settings.dagster_pg_url.get_secret_value(), driver="psycopg2")
    name = f"{make_url(normalised_url(url, driver='psycopg2')).database}_{DAGSTER_DATABASE}"
    return normalised_url(url, driver="psycopg2", database=name)
