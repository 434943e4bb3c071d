"""Applies sql/migrations (each once, in order) and sql/functions (again whenever they change).

One transaction a file, a digest of each applied file so that an edited one is noticed, a polling lock so that two
runners never meet. A blocking lock would deadlock with `create index concurrently`.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import structlog
from psycopg import sql

from ingestion_pipeline.core.errors import MigrationError, NotMigratedError, StoreUnavailableError
from ingestion_pipeline.core.ids import digest
from ingestion_pipeline.settings import PROJECT_ROOT
from ingestion_pipeline.storage.postgres import CONNECT_TIMEOUT_SECONDS, first_line, normalised_url, public_url

SQL = PROJECT_ROOT / "sql"
LOCK_KEY = 7_216_043_411
LOCK_ATTEMPTS = 300
LOCK_PAUSE_SECONDS = 0.1

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class SqlFile:
    """A file to apply; functions are applied again when their text changes, migrations never are."""

    name: str
    statement: str
    is_function: bool

    @property
    def digest(self) -> str:
        return digest(self.statement.encode())


def sql_files(folder: Path = SQL) -> list[SqlFile]:
    """Migrations by number, then functions by name."""
    migrations = sorted((folder / "migrations").glob("*.sql"))
    functions = sorted((folder / "functions").glob("*.sql"))
    if not migrations:
        raise MigrationError(
            str(folder / "migrations"), "no migration files here; run from a checkout of the repository"
        )
    return [SqlFile(path.name, path.read_text(), is_function=False) for path in migrations] + [
        SqlFile(f"functions/{path.name}", path.read_text(), is_function=True) for path in functions
    ]


def ensure_database(url: str, database: str, *, owner: str | None = None) -> bool:
    """Creates `database` on the server of `url` unless it is there; True if it was created.

    Raises:
        MigrationError: the role of `url` may not create it.
        StoreUnavailableError: the server cannot be reached.
    """
    with _connect(normalised_url(url, driver="", database="postgres")) as connection:
        found = connection.execute("select 1 from pg_database where datname = %s", [database]).fetchone()
        if not found:
            _create_database(connection, database)
        if owner:
            connection.execute(
                sql.SQL("alter database {} owner to {}").format(sql.Identifier(database), sql.Identifier(owner))
            )
    return not found


def set_passwords(url: str, passwords: Mapping[str, str]) -> None:
    """Gives roles their passwords, so that processes on other machines can log in as themselves."""
    if not passwords:
        return
    with _connect(normalised_url(url, driver="")) as connection:
        for role, password in passwords.items():
            # hashed here: a server that logs its statements never sees the password
            verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
            statement = sql.SQL("alter role {} password {}")
            connection.execute(statement.format(sql.Identifier(role), sql.Literal(verifier)))


def migrate(url: str, *, folder: Path = SQL) -> list[str]:
    """Brings the database to the newest schema; returns the names of the files applied.

    Raises:
        MigrationError: an applied migration was edited, or a statement fails (that file is rolled back).
        StoreUnavailableError: the server cannot be reached.
    """
    files = sql_files(folder)
    with _connect(normalised_url(url, driver="")) as connection:
        _lock(connection)
        connection.execute("create schema if not exists operations")
        connection.execute(
            "create table if not exists operations.schema_migrations ("
            "name text primary key, digest text not null, applied_at timestamptz not null default now())"
        )
        applied = _applied(connection)
        names = [file.name for file in files if _apply(connection, file, applied.get(file.name))]
    if names:
        log.info("schema brought up to date", migrations=sum("/" not in name for name in names), files=len(names))
    return names


def pending(url: str, *, folder: Path = SQL) -> list[str]:
    """The names of the files that `migrate` would apply."""
    with _connect(normalised_url(url, driver="")) as connection:
        present = connection.execute("select to_regclass('operations.schema_migrations')").fetchone()
        applied = _applied(connection) if present and present[0] else {}
    return [file.name for file in sql_files(folder) if applied.get(file.name) != file.digest]


def require_migrated(url: str) -> None:
    """Raises NotMigratedError unless the database has the newest schema."""
    missing = pending(url)
    if missing:
        raise NotMigratedError(public_url(url), missing)


@contextmanager
def _connect(url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise StoreUnavailableError(f"PostgreSQL at {public_url(url)}", first_line(error)) from error


def _create_database(connection: psycopg.Connection[tuple[object, ...]], database: str) -> None:
    try:
        # another process may create it between our look and our command
        with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(database)))
    except psycopg.errors.InsufficientPrivilege as error:
        raise MigrationError(f"create database {database}", f"{error}; create it, or give the role CREATEDB") from error


def _applied(connection: psycopg.Connection[tuple[object, ...]]) -> dict[str, str]:
    rows = connection.execute("select name, digest from operations.schema_migrations").fetchall()
    return {str(name): str(applied_digest) for name, applied_digest in rows}


def _apply(connection: psycopg.Connection[tuple[object, ...]], file: SqlFile, applied_digest: str | None) -> bool:
    if applied_digest == file.digest:
        return False
    if applied_digest is not None and not file.is_function:
        raise MigrationError(file.name, "it was edited after it was applied; undo the edit and add a new migration")
    try:
        with connection.transaction():
            connection.execute(file.statement.encode())
            connection.execute(
                "insert into operations.schema_migrations (name, digest) values (%s, %s) "
                "on conflict (name) do update set digest = excluded.digest, applied_at = now()",
                [file.name, file.digest],
            )
    except psycopg.OperationalError:
        raise  # the server went away: the same migration may succeed later
    except psycopg.Error as error:
        raise MigrationError(file.name, first_line(error)) from error
    log.debug("migration applied", migration=file.name)
    return True


def _lock(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    for _ in range(LOCK_ATTEMPTS):
        row = connection.execute("select pg_try_advisory_lock(%s)", [LOCK_KEY]).fetchone()
        if row and row[0]:
            return
        time.sleep(LOCK_PAUSE_SECONDS)
    raise MigrationError("lock", "another migration has been running for more than 30 s")
