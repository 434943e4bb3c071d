"""PostgreSQL: bulk writes that happen once and whole, text that comes back as it went in, a server that goes away."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from threading import Barrier
from typing import Any

import pandas as pd
import psycopg
import pytest

from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.core.tables import Column, Table
from ingestion_pipeline.core.windows import Window, midnight
from ingestion_pipeline.storage.postgres import Postgres, normalised_url, public_url
from ingestion_pipeline_tests.children import python, until

CANARY = "geheim42"
MONDAY, TUESDAY, WEDNESDAY = date(2026, 3, 2), date(2026, 3, 3), date(2026, 3, 4)
ON_TUESDAY = Window.of_days(TUESDAY, TUESDAY)

NOTES = Table(
    domain="market",
    name="notes",
    store="postgres",
    key=("note_id",),
    partitioning="daily",
    partition_column="day",
    columns=(
        Column("note_id", "integer", "Key"),
        Column("day", "date", "Day"),
        Column("written_at", "timestamp", "Instant", "UTC", True),
        Column("text", "text", "Text", None, True),
        Column("number", "float", "Number", None, True),
        Column("flag", "boolean", "Flag", None, True),
        Column("payload", "json", "JSON", None, True),
    ),
)
BY_INSTANT = Table(
    domain="market",
    name="notes",
    store="postgres",
    key=("note_id",),
    partitioning="daily",
    partition_column="written_at",
    columns=NOTES.columns,
)
CREATE = """
create table market.notes (
    note_id integer primary key, day date not null, written_at timestamptz, text text,
    number double precision check (number <> 13), flag boolean, payload jsonb
)
"""


@pytest.fixture(autouse=True)
def notes(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """The table, and another connection that looks at it."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(CREATE)
        yield connection


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    defaults = {"day": TUESDAY, "written_at": None, "text": None, "number": None, "flag": None, "payload": None}
    return pd.DataFrame([defaults | row for row in rows], columns=list(NOTES.column_names))


def texts(connection: psycopg.Connection[Any]) -> dict[int, Any]:
    return dict(connection.execute("select note_id, text from market.notes order by note_id").fetchall())


def test_upsert_inserts_new_rows_and_updates_those_whose_key_exists(
    postgres: Postgres, notes: psycopg.Connection[Any]
) -> None:
    """And leaves the others alone."""
    postgres.upsert(NOTES, frame({"note_id": 1, "text": "old"}, {"note_id": 2, "text": "kept"}))
    count = postgres.upsert(NOTES, frame({"note_id": 1, "text": "new"}, {"note_id": 3, "text": "added"}))
    assert (2, {1: "new", 2: "kept", 3: "added"}) == (count, texts(notes))


def test_upsert_twice_is_upsert_once(postgres: Postgres, notes: psycopg.Connection[Any]) -> None:
    """A retried run changes nothing."""
    rows = frame({"note_id": 1, "text": "a"}, {"note_id": 2, "text": "b"})
    postgres.upsert(NOTES, rows)
    postgres.upsert(NOTES, rows)
    assert {1: "a", 2: "b"} == texts(notes)


def test_upsert_keeps_rows_of_a_table_that_is_all_key(postgres: Postgres, notes: psycopg.Connection[Any]) -> None:
    """There is nothing to update; the row that exists stays."""
    keys = Table(domain="market", name="notes", store="postgres", key=("note_id",), columns=(NOTES.columns[0],))
    notes.execute("alter table market.notes alter column day drop not null")
    postgres.upsert(keys, pd.DataFrame({"note_id": [1, 2]}))
    postgres.upsert(keys, pd.DataFrame({"note_id": [2, 3]}))
    assert [1, 2, 3] == list(texts(notes))


def test_an_empty_upsert_is_no_upsert(postgres: Postgres, notes: psycopg.Connection[Any]) -> None:
    """A provider without news is not an error."""
    assert (0, {}) == (postgres.upsert(NOTES, frame()), texts(notes))


def test_two_upserts_of_the_same_rows_in_opposite_order_do_not_deadlock(postgres: Postgres) -> None:
    """Two runs overlap; both succeed."""
    rows = frame(*({"note_id": i, "text": "x"} for i in range(2000)))
    postgres.upsert(NOTES, rows)
    barrier = Barrier(2)

    def write(part: pd.DataFrame) -> int:
        barrier.wait()
        return sum(postgres.upsert(NOTES, part) for _ in range(6))

    with ThreadPoolExecutor(2) as pool:
        assert [12_000, 12_000] == list(pool.map(write, [rows, rows[::-1]]))


@pytest.mark.parametrize("table", [NOTES, BY_INSTANT], ids=["by date", "by instant"])
def test_replace_touches_only_the_window(postgres: Postgres, notes: psycopg.Connection[Any], table: Table) -> None:
    """From the first instant of Tuesday to the last; Monday's and Wednesday's rows stay."""
    last = midnight(WEDNESDAY) - timedelta(microseconds=1)
    instants = [midnight(TUESDAY) - timedelta(microseconds=1), midnight(TUESDAY), last, midnight(WEDNESDAY)]
    days = [MONDAY, TUESDAY, TUESDAY, WEDNESDAY]
    old = [{"note_id": i, "day": day, "written_at": at} for i, (day, at) in enumerate(zip(days, instants, strict=True))]
    postgres.upsert(table, frame(*old))
    count = postgres.replace(table, frame({"note_id": 9, "written_at": last}), ON_TUESDAY)
    assert (1, [0, 3, 9]) == (count, list(texts(notes)))


def test_replace_with_no_rows_clears_the_window(postgres: Postgres, notes: psycopg.Connection[Any]) -> None:
    """What the source no longer has, we no longer have."""
    postgres.upsert(NOTES, frame({"note_id": 1, "day": MONDAY}, {"note_id": 2}))
    postgres.replace(NOTES, frame(), ON_TUESDAY)
    assert [1] == list(texts(notes))


def test_a_failing_replace_leaves_the_old_rows(postgres: Postgres, notes: psycopg.Connection[Any]) -> None:
    """A row that breaks a check, the last of many, undoes the deletion too."""
    postgres.upsert(NOTES, frame({"note_id": 1, "text": "old"}))
    bad = frame(*({"note_id": i, "number": 0.5} for i in range(500)), {"note_id": 500, "number": 13.0})
    with pytest.raises(psycopg.errors.CheckViolation):
        postgres.replace(NOTES, bad, ON_TUESDAY)
    assert {1: "old"} == texts(notes)


@pytest.fixture
def blocked(database_url: str) -> Iterator[Callable[[], None]]:
    """Row 7 is taken by a transaction that has not ended, so a COPY that holds it waits; the fixture's value ends it."""
    with psycopg.connect(database_url) as connection:
        connection.execute("insert into market.notes (note_id, day) values (7, '2026-03-03')")
        yield connection.rollback


def copies_that_wait(connection: psycopg.Connection[Any]) -> list[int]:
    rows = connection.execute(
        "select pid from pg_stat_activity where datname = current_database() "
        "and wait_event_type = 'Lock' and query like 'copy market.notes%'"
    )
    return [pid for (pid,) in rows.fetchall()]


def test_a_reader_sees_the_old_rows_until_it_sees_the_new_ones(
    postgres: Postgres, notes: psycopg.Connection[Any], blocked: Callable[[], None]
) -> None:
    """Looked at in the middle of a replace, after its deletion."""
    postgres.upsert(NOTES, frame({"note_id": 1, "text": "old"}))
    with ThreadPoolExecutor(1) as pool:
        new = frame({"note_id": 2, "text": "new"}, {"note_id": 7, "text": "new"})
        writing = pool.submit(postgres.replace, NOTES, new, ON_TUESDAY)
        until(lambda: bool(copies_that_wait(notes)))
        during = texts(notes)
        blocked()
        writing.result()
    assert ({1: "old"}, {2: "new", 7: "new"}) == (during, texts(notes))


KILLED = """
import sys
import pandas as pd
from datetime import date
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.storage.test_postgres import NOTES, ON_TUESDAY, frame
Postgres(sys.argv[1]).replace(NOTES, frame({"note_id": 2, "text": "new"}, {"note_id": 7, "text": "new"}), ON_TUESDAY)
"""


def test_a_process_killed_in_the_middle_of_a_replace_leaves_the_old_rows(
    postgres: Postgres, notes: psycopg.Connection[Any], blocked: Callable[[], None]
) -> None:
    """kill -9 after the deletion and during the COPY."""
    postgres.upsert(NOTES, frame({"note_id": 1, "text": "old"}))
    with python(KILLED, postgres.url) as child:
        until(lambda: bool(copies_that_wait(notes)))
        (backend,) = copies_that_wait(notes)
        child.kill()
        child.wait()
    blocked()
    until(lambda: not notes.execute("select 1 from pg_stat_activity where pid = %s", [backend]).fetchone())
    assert {1: "old"} == texts(notes)


def test_concurrent_replaces_of_one_window_end_with_one_whole_version(
    postgres: Postgres, notes: psycopg.Connection[Any]
) -> None:
    """Never a mixture, never a conflict on the key."""
    barrier = Barrier(4)

    def write(version: int) -> int:
        rows = frame(*({"note_id": i, "text": f"version {version}"} for i in range(200)))
        barrier.wait()
        return sum(postgres.replace(NOTES, rows, ON_TUESDAY) for _ in range(5))

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(write, range(4)))
    assert ([1000] * 4, 200, 1) == (counts, len(texts(notes)), len(set(texts(notes).values())))


NASTY = [
    "a,b",
    'say "hello"',
    '"',
    '""',
    "line\nbreak\r\nand\rmore",
    "back\\slash \\n \\N \\.",
    "\\.",
    "\n\\.\n",
    "",
    " ",
    "NULL",
    "null",
    "nan",
    "'; drop table market.notes; --",
    "%s {} :name $1",
    "naïve 🚀 日本語 \u202e",
    "\t\x01\x7f",
    "x" * 100_000,
]


@pytest.mark.parametrize("write", ["upsert", "replace"])
def test_text_comes_back_as_it_went_in(postgres: Postgres, notes: psycopg.Connection[Any], write: str) -> None:
    """Commas, quotes, newlines, backslashes; the empty string is not NULL."""
    rows = frame(*({"note_id": i, "text": text} for i, text in enumerate([*NASTY, None])))
    if write == "upsert":
        postgres.upsert(NOTES, rows)
    else:
        postgres.replace(NOTES, rows, ON_TUESDAY)
    assert [*NASTY, None] == list(texts(notes).values())


def test_nan_nat_and_none_are_null_and_infinity_is_infinity(postgres: Postgres, notes: psycopg.Connection[Any]) -> None:
    """A NaN in PostgreSQL would be greater than every number and pass its checks."""
    at = pd.Timestamp("2026-03-03T12:30:00.123456Z")
    rows = frame(
        {"note_id": 1, "number": float("nan"), "written_at": pd.NaT, "flag": None},
        {"note_id": 2, "number": float("inf"), "written_at": at, "flag": False, "payload": '{"a": [1, null]}'},
        {"note_id": 3, "number": -1e-300, "written_at": at.tz_convert("Asia/Tokyo"), "flag": True},
    )
    rows["written_at"] = pd.to_datetime(rows["written_at"], utc=True)
    postgres.upsert(NOTES, rows)
    seen = notes.execute(
        "select number, extract(epoch from written_at)::float, flag, payload from market.notes order by note_id"
    ).fetchall()
    epoch = at.timestamp()
    assert [
        (None, None, None, None),
        (float("inf"), epoch, False, {"a": [1, None]}),
        (-1e-300, epoch, True, None),
    ] == seen


def test_rows_are_those_of_the_window_with_the_columns_of_the_declaration(postgres: Postgres) -> None:
    """What was written comes back as a frame."""
    postgres.upsert(NOTES, frame(*({"note_id": i, "day": day} for i, day in enumerate([MONDAY, TUESDAY, WEDNESDAY]))))
    seen = postgres.rows(NOTES, ON_TUESDAY)
    assert ([1], list(NOTES.column_names)) == (seen["note_id"].tolist(), list(seen.columns))


def test_rows_of_a_table_without_partitions_are_all_rows(postgres: Postgres) -> None:
    """The window says nothing about it."""
    whole = Table(domain="market", name="notes", store="postgres", key=("note_id",), columns=NOTES.columns)
    postgres.upsert(whole, frame({"note_id": 1, "day": MONDAY}, {"note_id": 2}))
    assert [1, 2] == sorted(postgres.rows(whole, ON_TUESDAY)["note_id"])


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_days_and_instants_are_utc_whatever_the_servers_time_zone(
    postgres: Postgres, notes: psycopg.Connection[Any], zone: str
) -> None:
    """A server set up in Tokyo must not shift a day."""
    postgres.upsert(NOTES, frame({"note_id": 1, "day": MONDAY}, {"note_id": 3, "day": WEDNESDAY}))
    notes.execute(f"alter database {notes.info.dbname} set timezone to '{zone}'")
    notes.execute(f"alter role pipeline_worker in database {notes.info.dbname} set timezone to '{zone}'")
    there = Postgres(postgres.url)
    there.replace(NOTES, frame({"note_id": 2, "written_at": midnight(TUESDAY)}), ON_TUESDAY)
    seen = there.rows(NOTES, ON_TUESDAY)
    there.close()
    assert ([2], [midnight(TUESDAY)], [1, 2, 3]) == (
        seen["note_id"].tolist(),
        [at.to_pydatetime() for at in seen["written_at"]],
        list(texts(notes)),
    )
    assert UTC == seen["written_at"].dt.tz


def test_every_session_is_in_utc(postgres: Postgres, notes: psycopg.Connection[Any]) -> None:
    """What a statement casts or truncates, it does in UTC."""
    notes.execute(f"alter database {notes.info.dbname} set timezone to 'Asia/Tokyo'")
    there = Postgres(postgres.url)
    with there.transaction() as connection:
        seen = connection.execute("select timestamptz '2026-03-03 23:00:00+00' :: date").fetchone()
    there.close()
    assert (TUESDAY,) == seen


def test_a_table_partitioned_by_date_is_read_and_replaced_by_whole_days(postgres: Postgres) -> None:
    """A window that begins at noon touches the day; the lake does the same."""
    noon = Window(midnight(TUESDAY) + timedelta(hours=12), midnight(TUESDAY) + timedelta(hours=13))
    postgres.upsert(NOTES, frame({"note_id": 1, "day": MONDAY}, {"note_id": 2}, {"note_id": 3, "day": WEDNESDAY}))
    read = postgres.rows(NOTES, noon)["note_id"].tolist()
    postgres.replace(NOTES, frame(), noon)
    left = postgres.rows(NOTES, Window.of_days(MONDAY, WEDNESDAY))["note_id"]
    assert ([2], [1, 3]) == (read, sorted(left))


def test_read_gives_the_rows_of_a_named_statement_as_dictionaries(postgres: Postgres) -> None:
    """With its parameters bound, never pasted."""
    hostile = "x'; drop table market.notes; --"
    assert [] == postgres.read("latest_snapshot", {"symbol": hostile})


def test_execute_returns_how_many_rows_it_touched(postgres: Postgres) -> None:
    """With `:name` parameters."""
    postgres.upsert(NOTES, frame({"note_id": 1}, {"note_id": 2}))
    assert 1 == postgres.execute("update market.notes set text = :text where note_id = :id", {"text": "a", "id": 2})


def test_a_transaction_that_raises_leaves_nothing(postgres: Postgres, notes: psycopg.Connection[Any]) -> None:
    """Both statements or none."""

    def work() -> None:
        with postgres.transaction() as connection:
            connection.execute("insert into market.notes (note_id, day) values (1, now())")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert {} == texts(notes)


CALLS: dict[str, Callable[[Postgres], object]] = {
    "read": lambda postgres: postgres.read("markets"),
    "rows": lambda postgres: postgres.rows(NOTES, ON_TUESDAY),
    "execute": lambda postgres: postgres.execute("select 1"),
    "upsert": lambda postgres: postgres.upsert(NOTES, frame({"note_id": 1})),
    "replace": lambda postgres: postgres.replace(NOTES, frame({"note_id": 1}), ON_TUESDAY),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    "url",
    [f"postgresql://user:{CANARY}@127.0.0.1:1/db", f"postgresql://user@127.0.0.1:1/db?password={CANARY}"],
    ids=["password in front", "password behind"],
)
def test_a_server_that_is_away_is_a_transient_error_without_the_password(
    call: Callable[[Postgres], object], url: str
) -> None:
    """It names the server and the reason in one line."""
    postgres = Postgres(url)
    with pytest.raises(StoreUnavailableError) as caught:
        call(postgres)
    postgres.close()
    text = str(caught.value)
    assert (True, True, False, 1) == (
        "127.0.0.1:1" in text,
        "refused" in text,
        CANARY in f"{text} {caught.value!r}",
        len(text.splitlines()),
    )


def test_a_connection_lost_between_two_uses_is_not_noticed(postgres: Postgres, notes: psycopg.Connection[Any]) -> None:
    """The pool asks before it hands one out."""
    postgres.execute("select 1")
    notes.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'pipeline_worker'")
    assert 1 == postgres.upsert(NOTES, frame({"note_id": 1}))


def test_a_connection_lost_in_use_is_a_transient_error_and_the_next_use_works(
    postgres: Postgres, notes: psycopg.Connection[Any]
) -> None:
    """Nothing of the broken transaction stays."""

    def work() -> None:
        with postgres.transaction() as connection:
            connection.execute("insert into market.notes (note_id, day) values (1, now())")
            notes.execute("select pg_terminate_backend(%s)", [connection.info.backend_pid])
            connection.execute("select 1")

    with pytest.raises(StoreUnavailableError):
        work()
    postgres.upsert(NOTES, frame({"note_id": 2}))
    assert [2] == list(texts(notes))


@pytest.mark.parametrize(
    ("url", "driver", "database", "expected"),
    [
        ("postgres://u:p@h/db", "psycopg2", None, "postgresql+psycopg2://u:p@h/db"),
        ("postgresql://u:p@h:5433/db", "psycopg", None, "postgresql+psycopg://u:p@h:5433/db"),
        ("postgresql+psycopg2://h/db", "psycopg", None, "postgresql+psycopg://h/db"),
        ("postgresql+psycopg://h/db", "", None, "postgresql://h/db"),
        ("postgresql://h/db?schema=public", "psycopg", None, "postgresql+psycopg://h/db"),
        ("postgres://h/db?schema=x&sslmode=require", "", None, "postgresql://h/db?sslmode=require"),
        ("postgresql://u@/db?host=/run/pg", "psycopg2", "other", "postgresql+psycopg2://u@/other?host=%2Frun%2Fpg"),
        ("postgresql://u:p%40ss%2F@h/db", "", None, "postgresql://u:p%40ss%2F@h/db"),
    ],
)
def test_every_spelling_of_a_url_becomes_one(url: str, driver: str, database: str | None, expected: str) -> None:
    """`postgres://`, drivers and Prisma's `?schema=`; password and other options are kept."""
    assert expected == normalised_url(url, driver=driver, database=database)


@pytest.mark.parametrize(
    "url",
    [f"postgresql://u:{CANARY}@h/db", f"postgresql://u@/db?host=/x&password={CANARY}", f"postgres://u:{CANARY}@h/d"],
)
def test_a_public_url_has_no_password(url: str) -> None:
    """Wherever it stands."""
    assert (False, True) == (CANARY in public_url(url), "://u" in public_url(url))


def test_instants_of_a_window_need_not_be_midnights(postgres: Postgres) -> None:
    """A table partitioned by instant is replaced from one instant to another."""
    noon = datetime(2026, 3, 3, 12, tzinfo=UTC)
    hour = Window(noon, noon + timedelta(hours=1))
    at = [noon - timedelta(seconds=1), noon, hour.end]
    postgres.upsert(BY_INSTANT, frame(*({"note_id": i, "written_at": instant} for i, instant in enumerate(at))))
    postgres.replace(BY_INSTANT, frame(), hour)
    assert [0, 2] == sorted(postgres.rows(BY_INSTANT, ON_TUESDAY)["note_id"])


@pytest.mark.parametrize("table", [NOTES, BY_INSTANT], ids=["day", "instant"])
def test_row_counts_are_those_of_the_window(postgres: Postgres, table: Table) -> None:
    """By the UTC day of the partition column, whatever its type; a day without rows is absent."""
    written = [(1, MONDAY), (2, TUESDAY), (3, TUESDAY), (4, WEDNESDAY)]
    postgres.upsert(NOTES, frame(*({"note_id": n, "day": day, "written_at": midnight(day)} for n, day in written)))
    assert {MONDAY: 1, TUESDAY: 2} == postgres.row_counts(table, Window.of_days(MONDAY - timedelta(days=1), TUESDAY))
    assert {} == postgres.row_counts(table, Window.of_days(date(2026, 4, 1), date(2026, 4, 2)))
