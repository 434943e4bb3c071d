"""S0's four tables as the roles of the processes see them: never tried as the owner, who sees everything."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

TABLES = ("jobs", "ingestion_events", "cache_metrics", "api_requests")
OTHERS = ("job_attempts",)
ROWS = {
    "jobs": "insert into operations.jobs (job_type, owner_id) values ('prediction', '{owner}')",
    "ingestion_events": (
        "insert into operations.ingestion_events (event_type, source, processing_time_ms) "
        "values ('macro.update', '{owner}', 1)"
    ),
    "cache_metrics": "insert into operations.cache_metrics (metric_name, metric_value) values ('cache_hit', 1)",
    "api_requests": (
        "insert into operations.api_requests (occurred_at, request_id, method, path, status, duration_ms, "
        "request_bytes, response_bytes, caller) values (now(), 'r', 'GET', '/', 200, 1, 0, 0, '{owner}')"
    ),
}


@pytest.fixture
def filled(database_url: str) -> str:
    """Two rows in each table, of Ada and of Bob."""
    with psycopg.connect(database_url) as connection:
        for statement in ROWS.values():
            for owner in ("ada", "bob"):
                connection.execute(statement.format(owner=owner).encode())
        connection.execute(
            "insert into operations.job_attempts (job_id, attempt, worker) select job_id, 1, 'w' from operations.jobs"
        )
    return database_url


@contextmanager
def as_role(url: str, role: str, *, user_id: str = "", scope: str = "") -> Iterator[psycopg.Connection[Any]]:
    """A login of `role`, on behalf of whom the application says."""
    with psycopg.connect(url.replace("postgres@", f"{role}@", 1)) as connection:
        connection.execute("select set_config('app.user_id', %s, true)", [user_id])
        connection.execute("select set_config('app.scope', %s, true)", [scope])
        yield connection


def count(connection: psycopg.Connection[Any], table: str) -> int:
    found: tuple[int] | None = connection.execute(f"select count(*) from operations.{table}".encode()).fetchone()
    assert found is not None
    return found[0]


def test_the_tables_force_row_level_security_and_the_roles_cannot_bypass_it(database_url: str) -> None:
    """Force: so that it holds for the owner as well; no role of a process is a superuser."""
    with psycopg.connect(database_url) as connection:
        flags = connection.execute(
            "select relname, relrowsecurity and relforcerowsecurity from pg_class where oid::regclass::text = any(%s)",
            [[f"operations.{table}" for table in (*TABLES, *OTHERS)]],
        ).fetchall()
        assert dict.fromkeys((*TABLES, *OTHERS), True) == dict(flags)
        roles = connection.execute(
            "select rolname from pg_roles where rolname like 'pipeline_%' and (rolsuper or rolbypassrls)"
        ).fetchall()
        assert [] == roles


@pytest.mark.parametrize("table", [*TABLES, *OTHERS])
def test_the_intake_sees_nothing_unless_it_says_for_whom(filled: str, table: str) -> None:
    """A forgotten set_config shows nothing instead of everything; an empty user is nobody."""
    with as_role(filled, "pipeline_intake") as connection:
        assert 0 == count(connection, table)


@pytest.mark.parametrize("table", [*TABLES, *OTHERS])
def test_the_intake_sees_everything_as_an_operator(filled: str, table: str) -> None:
    """For tokens with an administrator's scope, and for its own aggregates."""
    with as_role(filled, "pipeline_intake", scope="operator") as connection:
        assert 2 == count(connection, table)


@pytest.mark.parametrize("table", ["jobs", "job_attempts"])
def test_a_caller_sees_their_own_jobs(filled: str, table: str) -> None:
    """And the attempts of those; another's do not exist for them."""
    with as_role(filled, "pipeline_intake", user_id="ada") as connection:
        assert 1 == count(connection, table)
        owners = connection.execute("select distinct owner_id from operations.jobs").fetchall()
        assert [("ada",)] == owners
    with as_role(filled, "pipeline_intake", user_id="eve") as connection:
        assert 0 == count(connection, table)


@pytest.mark.parametrize("table", ["ingestion_events", "cache_metrics", "api_requests"])
def test_a_caller_does_not_see_what_is_the_operators(filled: str, table: str) -> None:
    """Not even rows that name them."""
    with as_role(filled, "pipeline_intake", user_id="ada") as connection:
        assert 0 == count(connection, table)


def test_a_caller_adds_only_their_own_jobs(filled: str) -> None:
    """A job in another's name is refused by the database, whatever the application does."""
    statement = ROWS["jobs"].encode()
    with as_role(filled, "pipeline_intake", user_id="ada") as connection:
        connection.execute(statement.replace(b"{owner}", b"ada"))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.replace(b"{owner}", b"bob"))
    with (
        as_role(filled, "pipeline_intake") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement.replace(b"{owner}", b""))


@pytest.mark.parametrize("table", ["ingestion_events", "cache_metrics", "api_requests"])
def test_the_intake_adds_and_changes_nothing(filled: str, table: str) -> None:
    """What happened is not rewritten over HTTP, by operators neither."""
    with as_role(filled, "pipeline_intake", scope="operator") as connection:
        connection.execute(ROWS[table].format(owner="eve").encode())
        assert 3 == count(connection, table)
        connection.commit()
    for statement in (f"delete from operations.{table}", f"update operations.{table} set created_at = now()"):
        with (
            as_role(filled, "pipeline_intake", scope="operator") as connection,
            pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedColumn)),
        ):
            connection.execute(statement.encode())
    with as_role(filled, "pipeline_intake", scope="operator") as connection:
        assert 3 == count(connection, table)


@pytest.mark.parametrize("table", TABLES)
def test_workers_see_and_write_all(filled: str, table: str) -> None:
    """Runs act for everybody."""
    with as_role(filled, "pipeline_worker") as connection:
        assert 2 == count(connection, table)
        connection.execute(ROWS[table].format(owner="eve").encode())
        assert 3 == count(connection, table)


@pytest.mark.parametrize("table", ["jobs", "ingestion_events", "cache_metrics"])
def test_readers_for_bi_see_and_write_nothing(filled: str, table: str) -> None:
    """A dashboard's role."""
    with psycopg.connect(filled) as connection:
        connection.execute("set role pipeline_reader")
        assert 2 == count(connection, table)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(ROWS[table].format(owner="eve").encode())


def test_readers_for_bi_do_not_see_who_asked_what(filled: str) -> None:
    """The request log names callers."""
    with psycopg.connect(filled) as connection:
        connection.execute("set role pipeline_reader")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            count(connection, "api_requests")


def test_a_setting_ends_with_its_transaction(filled: str) -> None:
    """A pooled connection does not carry one caller's rights to the next."""
    with as_role(filled, "pipeline_intake", scope="operator") as connection:
        assert 2 == count(connection, "api_requests")
        connection.commit()
        assert 0 == count(connection, "api_requests")


FUNCTIONS = (
    "operations.job_failure_ratio(now() - interval '1 hour')",
    "(operations.prediction_latency_ms(now() - interval '1 hour')).p50",
    "(operations.api_latency_ms(now() - interval '1 hour')).p50",
)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_show_no_more_than_their_caller_may_see(filled: str, function: str) -> None:
    """They run with the rights of who calls them."""
    with psycopg.connect(filled) as connection:
        connection.execute(
            "insert into operations.ingestion_events (event_type, source, processing_time_ms) "
            "values ('api.prediction', 'x', 5)"
        )
        connection.execute("alter table operations.jobs disable trigger user")
        connection.execute("update operations.jobs set status = 'COMPLETED', output_data = '{}', finished_at = now()")
    for scope, is_seen in (("", False), ("operator", True)):
        with as_role(filled, "pipeline_intake", scope=scope) as connection:
            found = connection.execute(f"select {function} is not null".encode()).fetchone()
            assert (is_seen,) == found


def test_the_figures_of_the_functions(filled: str) -> None:
    """Aggregates as S0 asks for them, with the least number from which a ratio says something."""
    with psycopg.connect(filled) as connection:
        connection.execute("alter table operations.jobs disable trigger user")
        connection.execute("delete from operations.jobs")
        connection.execute("delete from operations.api_requests")
        connection.execute(
            "insert into operations.jobs (job_type, owner_id, status, error_message, output_data, finished_at) "
            "select 'prediction', 'ada', status, case status when 'FAILED' then 'x' end, "
            "case status when 'COMPLETED' then '{}'::jsonb end, now() - age::interval "
            "from (values ('FAILED', '1 minute'), ('COMPLETED', '2 minutes'), ('COMPLETED', '3 minutes'), "
            "('COMPLETED', '4 minutes'), ('CANCELLED', '5 minutes'), ('FAILED', '2 hours')) as made (status, age)"
        )
        for milliseconds in (1, 2, 3):
            connection.execute(
                "insert into operations.api_requests values (now(), 'r', 'GET', '/', 200, %s, 0, 0)", [milliseconds]
            )
        connection.execute(
            "insert into operations.metric_minutes select date_trunc('minute', now() - age::interval), name, "
            "jsonb_build_object('service', service), value from (values "
            "('1 minute', 'cache_hit', 'macro', 6), ('1 minute', 'cache_miss', 'macro', 2), "
            "('1 minute', 'cache_stale', 'macro', 2), ('1 minute', 'cache_hit', 'comps', 9), "
            "('2 hours', 'cache_miss', 'macro', 90), ('1 minute', 'api_retry_total', 'macro', 4), "
            "('2 hours', 'api_retry_total', 'macro', 5)) as made (age, name, service, value)"
        )
    hour = "now() - interval '1 hour'"
    expected = {
        f"operations.job_failure_ratio({hour})": 0.25,
        f"operations.job_failure_ratio({hour}, 4)": 0.25,
        f"operations.job_failure_ratio({hour}, 5)": None,
        "operations.job_failure_ratio(now())": None,
        f"operations.cache_hit_ratio('macro', {hour})": 0.6,
        f"operations.cache_hit_ratio('macro', {hour}, 11)": None,
        f"operations.cache_hit_ratio('nobody', {hour})": None,
        f"operations.retry_count('macro', {hour})": 4,
        f"operations.retry_count('nobody', {hour})": 0,
        f"(operations.api_latency_ms({hour})).p50": 2.0,
        f"(operations.api_latency_ms({hour})).request_count": 3,
        f"(operations.prediction_latency_ms({hour})).prediction_count": 0,
    }
    with as_role(filled, "pipeline_intake", scope="operator") as connection:
        found = {
            function: (connection.execute(f"select {function}".encode()).fetchone() or ())[0] for function in expected
        }
    assert expected == found


@pytest.mark.parametrize(
    "function", ["add_metrics('[]')", "remove_old_metrics()", "queue_depths()", "health_figures()"]
)
def test_functions_are_not_everybodys(database_url: str, function: str) -> None:
    """A role that nobody granted anything to cannot call them."""
    with psycopg.connect(database_url) as connection:
        connection.execute("set role dagster")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"select operations.{function}".encode())
