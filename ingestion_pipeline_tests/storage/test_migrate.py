"""Migrations: each once, in order, whole or not at all, by one runner at a time."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import psycopg
import pytest

from ingestion_pipeline.core.errors import MigrationError, NotMigratedError, StoreUnavailableError
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.migrate import ensure_database, migrate, pending, require_migrated, sql_files
from ingestion_pipeline_tests.children import output, python

CANARY = "geheim42"
RUNNERS = 4

_numbers = itertools.count()


@pytest.fixture
def fresh(server: EmbeddedServer) -> Iterator[str]:
    """The superuser's URL of an empty database."""
    name = f"fresh_{next(_numbers)}"
    ensure_database(server.url(), name)
    yield server.url(database=name)
    with psycopg.connect(server.url(database="postgres"), autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two migrations, the second of which needs the first, and a function."""
    (tmp_path / "migrations").mkdir()
    (tmp_path / "functions").mkdir()
    write(tmp_path, "migrations/0002_b.sql", "insert into t values (2); comment on table t is '100 %';")
    write(tmp_path, "migrations/0001_a.sql", "create table t (i integer);")
    write(tmp_path, "functions/f.sql", "create or replace function f() returns integer return 1;")
    return tmp_path


def write(folder: Path, name: str, statement: str) -> None:
    (folder / name).write_text(statement)


def one(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(statement).fetchone()
    return row[0] if row else None


def test_migrations_run_by_number_then_functions(fresh: str, folder: Path) -> None:
    """And the names of what was applied are returned."""
    applied = migrate(fresh, folder=folder)
    assert (["0001_a.sql", "0002_b.sql", "functions/f.sql"], 2, 1) == (
        applied,
        one(fresh, "select i from t"),
        one(fresh, "select f()"),
    )


def test_migrating_again_does_nothing(fresh: str, folder: Path) -> None:
    """Every start of the program does it."""
    migrate(fresh, folder=folder)
    assert ([], 1) == (migrate(fresh, folder=folder), one(fresh, "select count(*) from t"))


def test_only_what_is_new_is_applied(fresh: str, folder: Path) -> None:
    """The rest has been there since the last release."""
    migrate(fresh, folder=folder)
    write(folder, "migrations/0003_c.sql", "insert into t values (3);")
    assert (["0003_c.sql"], 2) == (migrate(fresh, folder=folder), one(fresh, "select count(*) from t"))


def test_a_changed_function_is_applied_again(fresh: str, folder: Path) -> None:
    """It is code, not history."""
    migrate(fresh, folder=folder)
    write(folder, "functions/f.sql", "create or replace function f() returns integer return 2;")
    assert (["functions/f.sql"], 2, []) == (
        migrate(fresh, folder=folder),
        one(fresh, "select f()"),
        migrate(fresh, folder=folder),
    )


def test_a_migration_edited_after_it_was_applied_is_refused_by_name(fresh: str, folder: Path) -> None:
    """And nothing after it is applied."""
    migrate(fresh, folder=folder)
    write(folder, "migrations/0001_a.sql", "create table t (i bigint);")
    write(folder, "migrations/0003_c.sql", "insert into t values (3);")
    with pytest.raises(MigrationError, match=r"^migration 0001_a\.sql: it was edited after it was applied"):
        migrate(fresh, folder=folder)
    assert 1 == one(fresh, "select count(*) from t")


def test_a_failing_migration_is_rolled_back_whole_and_named(fresh: str, folder: Path) -> None:
    """What came before it stays; it is applied once it is mended."""
    bad = "create table u (i integer); insert into t values (3); select nonsense;"
    write(folder, "migrations/0003_c.sql", bad)
    with pytest.raises(MigrationError) as caught:
        migrate(fresh, folder=folder)
    left = (one(fresh, "select count(*) from t"), one(fresh, "select to_regclass('u')"))
    write(folder, "migrations/0003_c.sql", "insert into t values (3);")
    assert (
        'migration 0003_c.sql: column "nonsense" does not exist',
        (1, None),
        ["0003_c.sql", "functions/f.sql"],
    ) == (str(caught.value), left, migrate(fresh, folder=folder))


def test_a_server_lost_in_the_middle_is_a_transient_error_and_leaves_nothing(fresh: str, folder: Path) -> None:
    """The same migration succeeds on the next start, so it is not a wrong migration."""
    write(folder, "migrations/0003_c.sql", "insert into t values (3); select pg_terminate_backend(pg_backend_pid());")
    with pytest.raises(StoreUnavailableError):
        migrate(fresh, folder=folder)
    assert (1, ["0003_c.sql", "functions/f.sql"]) == (
        one(fresh, "select count(*) from t"),
        pending(fresh, folder=folder),
    )


def test_many_migrators_at_once_all_succeed_and_apply_each_file_once(fresh: str) -> None:
    """The real migrations, by threads that start at the same instant."""
    barrier = Barrier(RUNNERS)

    def run(_: int) -> list[str]:
        barrier.wait()
        return migrate(fresh)

    with ThreadPoolExecutor(RUNNERS) as pool:
        applied = list(pool.map(run, range(RUNNERS)))
    assert [file.name for file in sql_files()] == [name for names in applied for name in names]


def test_two_processes_that_migrate_at_once_both_succeed(fresh: str) -> None:
    """`up` on two machines, one database."""
    code = "import sys; from ingestion_pipeline.storage.migrate import migrate; print(len(migrate(sys.argv[1])))"
    with python(code, fresh) as first, python(code, fresh) as second:
        counts = sorted(int(output(child).split()[-1]) for child in (first, second))
    assert [0, len(sql_files())] == counts


def test_two_databases_of_a_new_server_can_be_migrated_at_once(spare: EmbeddedServer) -> None:
    """Roles belong to the server: the second migration finds those that the first one is making."""
    urls = [spare.url(database=f"twin_{i}") for i in range(RUNNERS)]
    for i in range(RUNNERS):
        ensure_database(spare.url(), f"twin_{i}")
    barrier = Barrier(RUNNERS)

    def run(url: str) -> int:
        barrier.wait()
        return len(migrate(url))

    with ThreadPoolExecutor(RUNNERS) as pool:
        assert [len(sql_files())] * RUNNERS == list(pool.map(run, urls))


def test_a_role_that_is_no_superuser_can_migrate_a_database_of_its_own(spare: EmbeddedServer) -> None:
    """As on a hosted server: it owns the database and may create roles."""
    with psycopg.connect(spare.url(database="postgres"), autocommit=True) as connection:
        connection.execute("create role tenant login createrole")
        for role in ("pipeline_owner", "pipeline_reader", "pipeline_worker", "pipeline_intake", "dagster"):
            connection.execute(f"do $$ begin create role {role}; exception when duplicate_object then null; end $$")
    ensure_database(spare.url(), "hosted", owner="tenant")
    url = spare.url(role="tenant", database="hosted")
    assert ([file.name for file in sql_files()], []) == (migrate(url), migrate(url))


def test_pending_names_what_migrate_would_apply(fresh: str, folder: Path) -> None:
    """Before, after, and with an edited function."""
    before = pending(fresh, folder=folder)
    migrate(fresh, folder=folder)
    after = pending(fresh, folder=folder)
    write(folder, "functions/f.sql", "create or replace function f() returns integer return 2;")
    assert (["0001_a.sql", "0002_b.sql", "functions/f.sql"], [], ["functions/f.sql"]) == (
        before,
        after,
        pending(fresh, folder=folder),
    )


def test_a_database_without_the_schema_says_what_to_run(fresh: str) -> None:
    """And is fine afterwards; the message has no password."""
    with pytest.raises(NotMigratedError) as caught:
        require_migrated(fresh.replace("postgres@", f"postgres:{CANARY}@", 1))
    migrate(fresh)
    files = sql_files()
    assert (True, False, None) == (
        str(caught.value).endswith(
            f"lacks {len(files)} migration(s), first {files[0].name}: run `ingestion-pipeline migrate`"
        ),
        CANARY in str(caught.value),
        require_migrated(fresh),
    )


def test_a_folder_without_migrations_is_named(fresh: str, tmp_path: Path) -> None:
    """An installed wheel has none; an empty schema must not pass for the newest one."""
    with pytest.raises(MigrationError, match=f"{tmp_path}/migrations: no migration files here"):
        migrate(fresh, folder=tmp_path)


def test_a_server_that_is_away_is_a_transient_error_without_the_password() -> None:
    """From every door."""
    url = f"postgresql://user:{CANARY}@127.0.0.1:1/db"
    texts = []
    for call in (migrate, pending, require_migrated, lambda away: ensure_database(away, "x")):
        with pytest.raises(StoreUnavailableError, match="refused") as caught:
            call(url)
        texts.append(str(caught.value))
    assert [False] * 4 == [CANARY in text for text in texts]


def test_ensure_database_creates_it_once(spare: EmbeddedServer) -> None:
    """And says whether it did; odd names are quoted, the owner is set."""
    name = 'odd "name"; --'
    with psycopg.connect(spare.url(database="postgres"), autocommit=True) as connection:
        connection.execute("create role keeper login")
        created = [ensure_database(spare.url(), name, owner="keeper") for _ in range(2)]
        owner = connection.execute(
            "select pg_get_userbyid(datdba) from pg_database where datname = %s", [name]
        ).fetchone()
    assert ([True, False], ("keeper",)) == (created, owner)


def test_many_that_ensure_one_database_at_once_all_succeed(spare: EmbeddedServer) -> None:
    """`up` and `migrate` started together."""
    barrier = Barrier(RUNNERS)

    def run(name: str) -> None:
        barrier.wait()
        ensure_database(spare.url(), name)

    with ThreadPoolExecutor(RUNNERS) as pool:
        for number in range(3):
            list(pool.map(run, [f"wanted_{number}"] * RUNNERS))
    assert 3 == one(spare.url(database="postgres"), "select count(*) from pg_database where datname like 'wanted%'")


def test_a_role_that_may_not_create_databases_is_told_what_to_do(worker_url: str) -> None:
    """In one line."""
    with pytest.raises(MigrationError, match=r"create database mine: permission denied .* give the role CREATEDB"):
        ensure_database(worker_url, "mine")


DENIED = [
    ("pipeline_worker", "insert into operations.schema_migrations (name, digest) values ('x', 'x')"),
    ("pipeline_worker", "update operations.schema_migrations set digest = 'x'"),
    ("pipeline_worker", "delete from operations.schema_migrations"),
    ("pipeline_worker", "truncate operations.schema_migrations"),
    ("pipeline_worker", "truncate market.markets"),
    ("pipeline_worker", "drop table market.comparisons"),
    ("pipeline_worker", "create table market.mine (i integer)"),
    ("pipeline_worker", "create table operations.mine (i integer)"),
    ("pipeline_worker", "create table public.mine (i integer)"),
    ("pipeline_worker", "create schema mine"),
    ("pipeline_worker", "create role mine"),
    ("pipeline_reader", "delete from market.markets"),
    ("pipeline_reader", "update operations.rejects set reason = ''"),
    (
        "pipeline_reader",
        "insert into operations.rejects (source, reason, payload, payload_digest) values ('','','{}','')",
    ),
    ("pipeline_reader", "select operations.breaker_record('x', false, 1, '1 minute')"),
    ("pipeline_reader", "select * from operations.rejects"),
    ("pipeline_reader", "select * from operations.audit_log"),
    ("pipeline_intake", "select * from market.comparisons"),
    ("dagster", "select * from market.comparisons"),
]
ALLOWED = [
    ("pipeline_worker", "select * from operations.schema_migrations"),
    ("pipeline_worker", "delete from market.snapshots"),
    ("pipeline_worker", "create temporary table mine (i integer)"),
    ("pipeline_worker", "select operations.breaker_record('x', false, 1, '1 minute')"),
    (
        "pipeline_worker",
        "insert into operations.rejects (source, reason, payload, payload_digest) values ('','','{}','')",
    ),
    ("pipeline_reader", "select * from market.comparisons"),
    ("pipeline_reader", "select * from operations.schema_migrations"),
]


def as_role(url: str, role: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(f"set role {role}")
        connection.execute(statement)


@pytest.mark.parametrize(("role", "statement"), DENIED, ids=[f"{role}: {statement}" for role, statement in DENIED])
def test_a_role_cannot_do_what_is_not_its_work(database_url: str, role: str, statement: str) -> None:
    """Whoever takes over an asset's process cannot change the schema or its history."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        as_role(database_url, role, statement)


@pytest.mark.parametrize(("role", "statement"), ALLOWED, ids=[f"{role}: {statement}" for role, statement in ALLOWED])
def test_a_role_can_do_its_work(database_url: str, role: str, statement: str) -> None:
    """Rights that are too narrow stop the pipeline."""
    as_role(database_url, role, statement)


def test_no_role_that_processes_log_in_as_bypasses_row_level_security(database_url: str) -> None:
    """Nor is one a superuser or may create roles or databases."""
    loose = (
        "select count(*) from pg_roles where rolname in ('pipeline_worker', 'pipeline_intake', 'pipeline_reader', 'dagster')"
        " and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb)"
    )
    assert 0 == one(database_url, loose)
