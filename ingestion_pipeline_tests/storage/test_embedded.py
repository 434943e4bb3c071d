"""The embedded server: started, joined, left, killed and broken for real."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.migrate import ensure_database
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import output, python, until

START = """
import sys
from pathlib import Path
from ingestion_pipeline.storage import embedded
embedded.start(Path(sys.argv[1]))
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="home-", ignore_cleanup_errors=True) as path:
        yield Path(path)


def postmaster(folder: Path) -> int:
    """The number of the server that is up; 0 while none is, or one is starting."""
    try:
        return int((folder / "postmaster.pid").read_text().split()[0])
    except (FileNotFoundError, IndexError):
        return 0


def count(server: EmbeddedServer) -> int:
    with psycopg.connect(server.url(database="postgres")) as connection:
        return connection.execute("select count(*) from kept").fetchone()[0]


@pytest.fixture
def kept(spare: EmbeddedServer) -> Iterator[EmbeddedServer]:
    """A server with one committed row and one that is not."""
    with psycopg.connect(spare.url(database="postgres"), autocommit=True) as connection:
        connection.execute("create table kept as select 1 as i")
    yield spare
    with psycopg.connect(spare.url(database="postgres"), autocommit=True) as connection:
        connection.execute("drop table kept")


def test_it_starts_here_as_postgresql_18_on_a_socket_only(spare: EmbeddedServer) -> None:
    """As whatever user runs the tests, root too, and nobody on the network can reach it."""
    with psycopg.connect(spare.url(database="postgres")) as connection:
        version, addresses = connection.execute(
            "select current_setting('server_version_num')::int / 10000, current_setting('listen_addresses')"
        ).fetchone()
    assert (18, "") == (version, addresses)


def test_a_second_process_joins_the_server_that_runs(spare: EmbeddedServer, spare_folder: Path) -> None:
    """And leaves it running when it ends."""
    before = postmaster(spare_folder)
    with python(START, str(spare_folder)) as child:
        output(child)
    with psycopg.connect(spare.url(database="postgres")) as connection:
        assert (before, 1) == (postmaster(spare_folder), connection.execute("select 1").fetchone()[0])


def test_processes_that_start_the_same_server_at_once_share_one(home: Path) -> None:
    """`demo` and `up` typed at the same time."""
    folder = home / "postgres"
    with ExitStack() as stack:
        children = [stack.enter_context(python(START, str(folder))) for _ in range(3)]
        for child in children:
            output(child)
    starts = (folder / "log").read_text().count("starting PostgreSQL")
    until(lambda: embedded.stop_when_unused(folder))
    assert 1 == starts


def test_it_is_not_stopped_while_another_client_is_connected(kept: EmbeddedServer, spare_folder: Path) -> None:
    """Whoever leaves last stops it; started again in the same process, it has its rows."""
    with psycopg.connect(kept.url(database="postgres")):
        refused = embedded.stop_when_unused(spare_folder)
        pid = postmaster(spare_folder)
    with psycopg.connect(kept.url(database="postgres")) as last:
        last.execute("select 1")
    until(lambda: embedded.stop_when_unused(spare_folder))
    runs = (spare_folder / "postmaster.pid").exists()
    again = embedded.start(spare_folder)
    assert (False, False, True, 1) == (
        refused,
        runs,
        pid != postmaster(spare_folder),
        count(again),
    )


def test_a_command_does_not_stop_the_server_under_an_idle_holder(home: Path) -> None:
    """`show` beside a running `up`, which is often not connected: the server stays until the last holder leaves."""
    settings = Settings.from_environment({"INGESTION_HOME": str(home), "DATABASE_URL": ""})
    with embedded.embedded_postgres(settings):
        pid = postmaster(home / "postgres")
        for _ in range(3):
            with embedded.embedded_postgres(settings):
                pass
        stayed = postmaster(home / "postgres")
    assert (pid, False) == (stayed, (home / "postgres" / "postmaster.pid").exists())


def test_it_is_not_stopped_when_it_is_too_full_to_be_asked(spare: EmbeddedServer, spare_folder: Path) -> None:
    """A server with no free connection is in use."""
    url = spare.url(database="postgres")
    with ExitStack() as stack:
        first = stack.enter_context(psycopg.connect(url))
        places = first.execute("select current_setting('max_connections')::int").fetchone()[0]
        for _ in range(places - 1):
            stack.enter_context(psycopg.connect(url))
        assert False is embedded.stop_when_unused(spare_folder)


def test_stopping_what_does_not_run_is_done_already(home: Path) -> None:
    """No folder, or one without a server."""
    (home / "empty").mkdir()
    assert (True, True) == (
        embedded.stop_when_unused(home / "nothing"),
        embedded.stop_when_unused(home / "empty"),
    )


def test_a_killed_server_starts_again_with_every_committed_row(kept: EmbeddedServer, spare_folder: Path) -> None:
    """kill -9 with clients connected, and `start` the instant after; a pool that was open goes on."""
    pool = Postgres(kept.url(database="postgres"))
    pool.execute("insert into kept values (2)")
    uncommitted = psycopg.connect(kept.url(database="postgres"))
    uncommitted.execute("insert into kept values (3)")
    os.kill(postmaster(spare_folder), signal.SIGKILL)
    again = embedded.start(spare_folder)
    uncommitted.close()
    assert (2, 2) == (count(again), pool.execute("select * from kept"))
    pool.close()


def test_a_watched_server_comes_back_by_itself(kept: EmbeddedServer, spare_folder: Path) -> None:
    """`up` keeps PostgreSQL alive as it does its other parts."""
    before = postmaster(spare_folder)
    with embedded.kept_alive(spare_folder):
        os.kill(before, signal.SIGKILL)
        until(lambda: postmaster(spare_folder) not in {0, before})
        embedded.start(spare_folder)
        assert 1 == count(kept)


def test_a_killed_holder_leaves_the_server_running(kept: EmbeddedServer, spare_folder: Path) -> None:
    """The server is nobody's child: what others do in it goes on."""
    before = postmaster(spare_folder)
    with python(START + "print('started', flush=True)\nsys.stdin.read()", str(spare_folder)) as child:
        until(lambda: "started" in child.stdout.readline())
        child.kill()
        child.wait()
    assert (before, 1) == (postmaster(spare_folder), count(kept))


def test_a_lock_file_of_before_a_restart_of_the_machine_does_not_stop_it(home: Path) -> None:
    """Its number belongs to another program now: this one."""
    folder = home / "postgres"
    embedded.start(folder)
    lock = (folder / "postmaster.pid").read_text()
    socket_lock = folder / ".s.PGSQL.5432.lock"
    until(lambda: embedded.stop_when_unused(folder))
    for file in (folder / "postmaster.pid", socket_lock):
        file.write_text(lock.replace(lock.split()[0], str(os.getpid()), 1))
    server = embedded.start(folder)
    with psycopg.connect(server.url(database="postgres")) as connection:
        answer = connection.execute("select 1").fetchone()
    until(lambda: embedded.stop_when_unused(folder))
    assert (1,) == answer


def test_a_broken_data_folder_is_an_error_with_the_reason(home: Path) -> None:
    """The server's own last words; mended, it starts in the same process."""
    folder = home / "postgres"
    folder.mkdir()
    (folder / "PG_VERSION").write_text("18\n")
    with pytest.raises(StoreUnavailableError, match=r"the embedded PostgreSQL cannot be reached: .*postgresql\.conf"):
        embedded.start(folder)
    (folder / "PG_VERSION").unlink()
    (folder / "log").unlink()
    server = embedded.start(folder)
    with psycopg.connect(server.url(database="postgres")) as connection:
        answer = connection.execute("select 1").fetchone()
    until(lambda: embedded.stop_when_unused(folder))
    assert (1,) == answer


def test_a_file_in_place_of_the_folder_is_an_error(home: Path) -> None:
    """Not a traceback of the library."""
    (home / "postgres").write_text("")
    with pytest.raises(StoreUnavailableError, match=r"the embedded PostgreSQL cannot be reached: .*postgres"):
        embedded.start(home / "postgres")


@pytest.mark.parametrize("keep_running", [True, False])
def test_the_context_stops_the_server_unless_it_is_to_stay(home: Path, keep_running: bool) -> None:  # noqa: FBT001
    """`up` keeps it for the processes that it started; `demo` does not."""
    settings = Settings.from_environment({"INGESTION_HOME": str(home)})
    with embedded.embedded_postgres(settings, keep_running=keep_running) as server:
        ensure_database(server.url(), "ingestion")
    runs = (home / "postgres" / "postmaster.pid").exists()
    until(lambda: embedded.stop_when_unused(home / "postgres"))
    assert keep_running == runs
