"""The database functions of the seed: emitting inside a transaction, claiming, settling, metrics; and who may do what."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

from ingestion_pipeline.domains.events.sync import sync
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.migrate import ensure_database, migrate
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.hot_log import NOON, HotLog, as_intake, make_entry, opened, rows, store, value

VIEW = {"type": "VIEW", "ruleId": "r1"}
EMIT = (
    "select events.emit_platform_event(event_type => %s, user_id => %s, event_data => %s::jsonb, idempotency_key => %s)"
)
PROJECTS = (
    "create table projects (id uuid default gen_random_uuid() primary key, client_id text, title text, budget numeric); "
    "create trigger emit_project_created after insert on projects "
    "for each row execute function events.emit_project_created(); "
    "create role shop login; grant insert, select on projects to shop"
)
REVIEWS = (
    "create table reviews (id bigint primary key, reviewer_id text, project_id text, rating integer); "
    "create trigger emit_review_posted after insert on reviews "
    "for each row execute function events.emit_review_posted()"
)


@pytest.fixture
def worker(worker_url: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with psycopg.connect(worker_url, autocommit=True, row_factory=dict_row) as connection:
        yield connection


@pytest.fixture
def other(worker_url: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with psycopg.connect(worker_url, autocommit=True, row_factory=dict_row) as connection:
        yield connection


def emit(connection: psycopg.Connection[Any], event_type: str = "VIEW", **over: Any) -> UUID | None:
    """Emits an event with the function's own parameters; its id."""
    arguments = {"event_type": event_type, **({"rule_id": "r1"} if event_type == "VIEW" else {}), **over}
    named = ", ".join(f"{name} => %({name})s" for name in arguments)
    cursor = connection.cursor(row_factory=dict_row).execute(
        f"select events.emit_platform_event({named}) as id".encode(), arguments
    )
    found: UUID | None = cursor.fetchone()["id"]  # type: ignore[index]
    return found


def claim(connection: psycopg.Connection[Any], count: int = 100) -> list[UUID]:
    return [row["id"] for row in connection.execute("select id from events.get_pending_events(%s)", [count])]


def settle(connection: psycopg.Connection[Any], event_id: UUID, *, error: str | None = None) -> str | None:
    cursor = connection.execute(
        "select events.mark_event_processed(%s, %s, %s) as status", [event_id, error is None, error]
    )
    found: str | None = cursor.fetchone()["status"]
    return found


def event(url: str, event_id: UUID) -> dict[str, Any]:
    (row,) = rows(url, "select * from events.platform_events where id = %s", event_id)
    return row


def seconds_to_next_attempt(url: str, event_id: UUID) -> float:
    statement = "select extract(epoch from next_attempt_at - now())::float from events.event_states where event_id = %s"
    found: float = value(url, statement, event_id)
    return found


def time_passes(url: str, minutes: int) -> None:
    rows(url, "update events.event_states set next_attempt_at = next_attempt_at - make_interval(mins => %s)", minutes)


# emitting


def test_an_event_commits_or_vanishes_with_its_transaction(worker: Any, database_url: str) -> None:
    """Event and key together: after the rollback the key is free."""
    with worker.transaction(force_rollback=True):
        assert emit(worker, idempotency_key="k")
        assert 1 == worker.execute("select count(*) as n from events.event_log").fetchone()["n"]
    assert [] == rows(database_url, "select event_id from events.event_log")
    kept = emit(worker, idempotency_key="k")
    assert [{"event_id": kept}] == rows(database_url, "select event_id from events.event_log")


def test_an_emitted_event_has_all_that_was_said(worker: Any, database_url: str) -> None:
    at = datetime.now(UTC) - timedelta(hours=1)
    event_id = emit(
        worker,
        "project.created",
        event_category="transaction",
        user_id="u1",
        event_data='{"project_id": "p"}',
        session_id="s",
        metadata='{"locale": "en", "ip": "203.0.113.9"}',
        idempotency_key="k",
        occurred_at=at,
        rule_id="r",
    )
    assert isinstance(event_id, UUID)
    assert 7 == event_id.version
    (row,) = rows(database_url, "select * from events.event_log")
    assert abs((row["received_at"] - datetime.now(UTC)).total_seconds()) < 60
    assert {
        "event_type": "project.created",
        "event_category": "transaction",
        "user_id": "u1",
        "event_data": {"project_id": "p"},
        "session_id": "s",
        "metadata": {"locale": "en"},
        "idempotency_key": "k",
        "occurred_at": at,
        "rule_id": "r",
        "schema_version": 1,
        "caller": "sql",
        "origin": "sql",
        "address_hash": None,
    }.items() <= row.items()


def test_a_key_is_one_key_over_sql_and_http(hot_log: HotLog, worker: Any) -> None:
    """Whichever comes first, the other is told its id."""
    first = emit(worker, idempotency_key="a")
    (entry,) = hot_log.send({**VIEW, "idempotencyKey": "a"}, received_at=datetime.now(UTC))
    assert first == UUID(entry.first_id)
    (entry,) = hot_log.send({**VIEW, "idempotencyKey": "b"}, received_at=datetime.now(UTC))
    assert UUID(entry.event_id) == emit(worker, idempotency_key="b")
    assert 2 == value(hot_log.url, "select count(*) from events.event_log")


def test_two_transactions_emit_a_key_once(worker: Any, worker_url: str, database_url: str) -> None:
    """The second waits for the first; when that one vanishes, it is the event itself."""
    with psycopg.connect(worker_url) as first:
        emit(first, idempotency_key="k")
        first.rollback()
    second = emit(worker, idempotency_key="k")
    assert second == emit(worker, idempotency_key="k")
    assert [{"event_id": second}] == rows(database_url, "select event_id from events.event_log")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"event_type": "NOSUCH"}, "type is 'NOSUCH', expected one of the registered types"),
        ({"event_type": None}, "type is NULL"),
        ({"event_category": "content"}, "category is 'content', expected 'interaction'"),
        ({"rule_id": None}, "ruleId is missing"),
        ({"event_data": "[]"}, "data is no object"),
        ({"metadata": '"x"'}, "metadata is no object"),
        ({"user_id": "x" * 201}, "longer than 200"),
        ({"session_id": ""}, "is empty"),
        ({"occurred_at": "1999-12-31T23:59:59Z"}, "expected an instant since 2000"),
        ({"occurred_at": "infinity"}, "expected an instant since 2000"),
        ({"occurred_at": "-infinity"}, "expected an instant since 2000"),
    ],
)
def test_a_wrong_event_does_not_break_the_transaction(
    worker: Any, database_url: str, wrong: dict[str, Any], reason: str
) -> None:
    """It goes to the rejects, with the reason, in a shape that a replay reads; emitted again it is counted there."""
    for _ in range(2):
        with worker.transaction():
            assert emit(worker, **{"event_type": "VIEW", "rule_id": "r1", **wrong}) is None
    (reject,) = rows(database_url, "select reason, payload, seen_count from operations.rejects where source = 'events'")
    assert reason in reject["reason"]
    assert (2, "sql") == (reject["seen_count"], reject["payload"]["received"]["caller"])
    assert (wrong | {"event_type": "VIEW"} | wrong)["event_type"] == reject["payload"]["event"].get("type")


def test_a_reject_is_kept_without_the_address(worker: Any, database_url: str) -> None:
    emit(worker, "NOSUCH", metadata='{"ip": "203.0.113.9", "locale": "en"}')
    (reject,) = rows(database_url, "select payload from operations.rejects")
    assert {"locale": "en"} == reject["payload"]["event"]["context"]
    assert "203.0.113.9" not in json.dumps(reject)


def test_a_time_beyond_a_day_ahead_is_not_believed(worker: Any, database_url: str) -> None:
    near = emit(worker, occurred_at=datetime.now(UTC) + timedelta(hours=23))
    far = emit(worker, occurred_at=datetime.now(UTC) + timedelta(hours=25))
    assert near is not None
    assert far is not None
    ahead = "select occurred_at > received_at as ahead from events.event_log where event_id = %s"
    assert [True, False] == [value(database_url, ahead, event_id) for event_id in (near, far)]


def test_the_newest_active_schema_holds(worker: Any, database_url: str) -> None:
    rows(
        database_url,
        "insert into events.event_schemas (event_type, schema_version, event_category, retention_class, is_active) values "
        "('VIEW', 2, 'content', 'content', true), ('VIEW', 3, 'transaction', 'transaction', false)",
    )
    event_id = emit(worker)
    assert event_id is not None
    assert (2, "content") == tuple(event(database_url, event_id)[name] for name in ("schema_version", "event_category"))


def test_a_project_emits_an_event_in_its_own_transaction(database_url: str) -> None:
    """From the trigger as its header says, for an application that has no rights on ours."""
    rows(database_url, PROJECTS)
    with psycopg.connect(database_url.replace("postgres@", "shop@", 1)) as shop:
        shop.execute("insert into projects (client_id, title, budget) values ('gone', 'Rolled back', 1)")
        shop.rollback()
        shop.execute(
            "insert into projects (client_id, title, budget) values ('u1', 'Roof', 1200.5), ('u2', 'Door', null)"
        )
    stored = rows(database_url, "select user_id, event_data, event_type from events.event_log order by user_id")
    ids = {row["client_id"]: str(row["id"]) for row in rows(database_url, "select id, client_id from projects")}
    assert stored == [
        {
            "user_id": "u1",
            "event_type": "project.created",
            "event_data": {"project_id": ids["u1"], "title": "Roof", "budget": 1200.5},
        },
        {"user_id": "u2", "event_type": "project.created", "event_data": {"project_id": ids["u2"], "title": "Door"}},
    ]
    rows(database_url, "drop table projects; drop role shop")


def test_a_review_emits_an_event_in_its_own_transaction(database_url: str) -> None:
    """One without a reviewer is inserted all the same; its event is a reject."""
    rows(database_url, REVIEWS)
    rows(database_url, "insert into reviews values (1, 'u1', 'p1', 5), (2, null, 'p1', 1)")
    stored = rows(database_url, "select user_id, event_category, event_data from events.event_log")
    assert stored == [
        {
            "user_id": "u1",
            "event_category": "content",
            "event_data": {"review_id": "1", "project_id": "p1", "rating": 5},
        }
    ]
    assert 2 == value(database_url, "select count(*) from reviews")
    assert ["userId is missing, expected because its type requires it"] == [
        row["reason"] for row in rows(database_url, "select reason from operations.rejects")
    ]


def test_the_events_of_the_triggers_keep_to_their_schemas(database_url: str) -> None:
    """What they emit is what the registry asks for: the HTTP intake would take it too."""
    rows(database_url, PROJECTS.replace("create role shop login; grant insert, select on projects to shop", ""))
    rows(database_url, REVIEWS)
    rows(database_url, "insert into projects (client_id, title, budget) values ('u1', 'Roof', 1200)")
    rows(database_url, "insert into reviews values (1, 'u1', 'p1', 5)")
    with opened(database_url) as log:
        hot_log = HotLog(database_url, log)
        stored = rows(database_url, "select event_type, user_id, event_data from events.event_log")
        verdicts = hot_log.send(
            *({"type": row["event_type"], "userId": row["user_id"], "data": row["event_data"]} for row in stored)
        )
    assert 2 == len(verdicts)
    assert [] == hot_log.rejects()


# claiming and settling


def test_two_callers_get_different_events(worker: Any, other: Any) -> None:
    """The second skips what the first holds locked, and what it has claimed."""
    ids = [emit(worker) for _ in range(6)]
    with worker.transaction():
        first = claim(worker, 3)
        second = claim(other, 2)
    third = claim(other, 100)
    assert (ids[:3], ids[3:5], ids[5:]) == (first, second, third)
    assert [] == claim(worker)


def test_a_claim_that_vanishes_is_given_out_again(worker: Any, other: Any) -> None:
    """A caller that dies has claimed nothing."""
    event_id = emit(worker)
    with worker.transaction(force_rollback=True):
        assert [event_id] == claim(worker)
    assert [event_id] == claim(other)


def test_a_claim_ends_after_five_minutes(worker: Any, other: Any, database_url: str) -> None:
    event_id = emit(worker)
    assert event_id is not None
    assert [event_id] == claim(worker)
    assert "processing" == event(database_url, event_id)["processing_status"]
    time_passes(database_url, 4)
    assert [] == claim(other)
    time_passes(database_url, 1)
    assert [event_id] == claim(other)


def test_a_settled_event_is_not_given_out_again(worker: Any, database_url: str) -> None:
    event_id = emit(worker)
    assert event_id is not None
    claim(worker)
    assert "processed" == settle(worker, event_id)
    assert None is settle(worker, event_id, error="too late")
    time_passes(database_url, 60)
    assert [] == claim(worker)
    found = event(database_url, event_id)
    assert ("processed", 0, None) == (found["processing_status"], found["retry_count"], found["error_message"])
    assert found["processed_at"] is not None


@pytest.mark.parametrize("is_claimed", [True, False])
def test_a_failing_event_is_tried_three_times(worker: Any, database_url: str, *, is_claimed: bool) -> None:
    """Again after two minutes, then four; then it has failed, with the last reason."""
    event_id = emit(worker)
    assert event_id is not None
    seen = []
    for attempt, minutes in ((1, 2), (2, 4), (3, 0)):
        if is_claimed:
            assert [event_id] == claim(worker)
        seen.append((settle(worker, event_id, error=f"no {attempt}"), event(database_url, event_id)["retry_count"]))
        if minutes:
            assert minutes * 60 - 30 < seconds_to_next_attempt(database_url, event_id) <= minutes * 60
            assert [] == claim(worker)
            time_passes(database_url, minutes)
    assert [("pending", 1), ("pending", 2), ("failed", 3)] == seen
    assert [] == claim(worker)
    assert "no 3" == event(database_url, event_id)["error_message"]
    assert None is settle(worker, event_id)


def test_an_unknown_event_cannot_be_settled(worker: Any) -> None:
    assert None is settle(worker, UUID(int=7))


def test_events_in_the_lake_are_not_given_out(worker: Any, postgres: Postgres, lake: Lake, database_url: str) -> None:
    """The watermark says so; what came after is."""
    before = emit(worker)
    assert before is not None
    sync(postgres, lake)
    after = emit(worker)
    assert after is not None
    assert [after] == claim(worker)
    assert ["processed", "processing"] == [event(database_url, it)["processing_status"] for it in (before, after)]


def test_a_held_event_is_the_syncs_own(worker: Any, database_url: str) -> None:
    """Neither given out nor settled by a caller: it would never reach the lake."""
    event_id = emit(worker)
    assert event_id is not None
    assert [event_id] == claim(worker)
    rows(
        database_url,
        "update events.event_states set is_held = true, processing_status = 'pending', next_attempt_at = now()",
    )
    assert ([], None) == (claim(worker), settle(worker, event_id))
    assert "pending" == event(database_url, event_id)["processing_status"]


# metrics


def test_a_metric_is_set_or_added_to(worker: Any, database_url: str) -> None:
    update = "select events.update_realtime_metric('m', %s, '{\"a\": 1}', interval '1 hour', %s) as value"
    found = [
        worker.execute(update, arguments).fetchone()["value"]
        for arguments in ([5, False], [2, True], [4, False], [1.5, True])
    ]
    assert [5, 7, 4, 5.5] == found
    assert 1 == value(database_url, "select count(*) from events.platform_metrics_realtime")


def test_a_metric_lives_as_long_as_it_was_given(worker: Any, database_url: str) -> None:
    """An update renews it; an expired one starts anew and is swept away by the cleanup."""
    for name, hours in (("short", 1), ("long", 2)):
        worker.execute("select events.update_realtime_metric(%s, 5, ttl => make_interval(hours => %s))", [name, hours])
    age = "update events.platform_metrics_realtime set expires_at = expires_at - interval '90 minutes'"
    rows(database_url, age)
    added = worker.execute("select events.update_realtime_metric('short', 1, is_increment => true) as value").fetchone()
    assert 1 == added["value"]
    assert 0 == worker.execute("select events.cleanup_expired_metrics() as n").fetchone()["n"]
    rows(database_url, age)
    assert 2 == worker.execute("select events.cleanup_expired_metrics() as n").fetchone()["n"]
    assert [] == rows(database_url, "select metric_name from events.platform_metrics_realtime")


def test_a_metric_without_a_lifetime_lives_an_hour(worker: Any, database_url: str) -> None:
    worker.execute("select events.update_realtime_metric('m', 1)")
    lifetime = "select extract(epoch from expires_at - updated_at)::int from events.platform_metrics_realtime"
    assert 3600 == value(database_url, lifetime)


# partitions and keys


def test_partitions_are_there_for_the_coming_days(database_url: str) -> None:
    """From yesterday to a week ahead; a second call makes none."""
    value(database_url, "select events.ensure_event_partitions()")
    leaves = rows(
        database_url,
        "select inhrelid::regclass::text as leaf from pg_inherits where inhparent = 'events.event_log'::regclass",
    )
    wanted = rows(
        database_url,
        "select 'events.event_log_' || to_char((now() at time zone 'UTC')::date + n, 'YYYYMMDD') as leaf "
        "from generate_series(-1, 7) as n",
    )
    found = {row["leaf"] for row in leaves}
    assert {row["leaf"] for row in wanted} <= found
    assert 0 == value(database_url, "select events.ensure_event_partitions()")
    assert value(database_url, "select events.ensure_event_partitions(30)") == 23


def test_partitions_go_by_utc_whatever_the_time_zone_of_the_session(database_url: str) -> None:
    """A row just before midnight UTC is in the partition of that day."""
    with opened(database_url) as log:
        store(log, [make_entry(at=NOON.replace(hour=23, minute=59))])
    with psycopg.connect(database_url, options="-c TimeZone=Asia/Tokyo") as connection:
        connection.execute("select events.ensure_event_partitions()")
    assert "events.event_log_20250303" == value(database_url, "select tableoid::regclass::text from events.event_log")


def test_making_partitions_does_not_wait_for_a_long_transaction(worker: Any, database_url: str) -> None:
    """Whoever writes to the default partition keeps it; the next call makes up for it."""
    with worker.transaction():
        assert emit(worker)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            value(database_url, "select events.ensure_event_partitions()")
    assert value(database_url, "select events.ensure_event_partitions()") >= 9


def test_address_keys_are_made_once_and_removed_after_two_days(worker: Any, database_url: str) -> None:
    """32 random bytes; the keys of yesterday and today stay what they were."""
    rows(database_url, "insert into events.address_keys select (now() at time zone 'UTC')::date - 2, 'old'")
    days = "select day, key from events.address_keys order by day"
    ensure = (
        "select events.ensure_address_key((now() at time zone 'UTC')::date - 1), "
        "events.ensure_address_key((now() at time zone 'UTC')::date)"
    )
    worker.execute(ensure)
    first = rows(database_url, days)
    worker.execute(ensure)
    assert first == rows(database_url, days)
    assert [32, 32] == [len(row["key"]) for row in first]
    assert 2 == len({row["key"] for row in first})


# who may do what


def test_no_function_that_changes_something_is_everyones(database_url: str) -> None:
    """PostgreSQL gives every new function to PUBLIC. Those that only compute may stay there, and the maker of ids."""
    public = rows(
        database_url,
        "select proname from pg_proc where pronamespace = 'events'::regnamespace and provolatile = 'v' "
        "and has_function_privilege('public', oid, 'execute') order by 1",
    )
    assert ["time_ordered_id"] == [row["proname"] for row in public]


def test_definers_functions_fix_their_search_path(database_url: str) -> None:
    """Nobody can put a table of their own in the way."""
    loose = rows(
        database_url,
        "select proname from pg_proc where pronamespace = 'events'::regnamespace and prosecdef "
        "and not coalesce(array_to_string(proconfig, ',') like '%search_path=pg_catalog%', false)",
    )
    assert [] == loose


def three_events(hot_log: HotLog) -> None:
    """One of u1, one of u2, one of nobody."""
    hot_log.send(*({**VIEW, **user} for user in ({"userId": "u1"}, {"userId": "u2"}, {})))


@pytest.mark.parametrize(
    ("settings", "users"),
    [
        ({}, []),
        ({"app.user_id": ""}, []),
        ({"app.user_id": "u1"}, ["u1"]),
        ({"app.user_id": "u2", "app.scope": ""}, ["u2"]),
        ({"app.user_id": "nobody"}, []),
        ({"app.user_id": "u1", "app.scope": "person"}, ["u1"]),
        ({"app.scope": "application"}, ["u1", "u2", None]),
    ],
)
@pytest.mark.parametrize("relation", ["event_log", "platform_events"])
def test_the_intake_sees_what_its_caller_may(
    hot_log: HotLog, relation: str, settings: dict[str, str], users: list[str | None]
) -> None:
    """A person their own, an application all, nobody nothing; after the transaction nothing again."""
    three_events(hot_log)
    select = f"select user_id from events.{relation} order by user_id nulls last".encode()
    with psycopg.connect(as_intake(hot_log.url), autocommit=True) as connection:
        with connection.transaction():
            for name, setting in settings.items():
                connection.execute("select set_config(%s, %s, true)", [name, setting])
            assert users == [user for (user,) in connection.execute(select)]
        assert [] == connection.execute(select).fetchall()


@pytest.mark.parametrize("role", ["pipeline_worker", "pipeline_reader"])
def test_workers_and_readers_see_every_event(hot_log: HotLog, role: str) -> None:
    three_events(hot_log)
    for relation in ("event_log", "platform_events"):
        assert 3 == value(hot_log.url, f"select count(*) from events.{relation}", role=role)


def test_security_holds_for_an_owner_without_privileges(hot_log: HotLog) -> None:
    """FORCE: on a server where the owner is no superuser, only the policy that names it lets it see all."""
    three_events(hot_log)
    assert value(
        hot_log.url,
        "select relrowsecurity and relforcerowsecurity from pg_class where oid = 'events.event_log'::regclass",
    )
    rows(
        hot_log.url,
        "create role landlord; grant usage on schema events to landlord; alter table events.event_log owner to landlord",
    )
    try:
        assert 0 == value(hot_log.url, "select count(*) from events.event_log", role="landlord")
    finally:
        rows(hot_log.url, "reassign owned by landlord to postgres; drop owned by landlord; drop role landlord")


@pytest.mark.parametrize("role", ["pipeline_intake", "pipeline_reader"])
def test_partitions_cannot_be_read_past_the_policies(hot_log: HotLog, role: str) -> None:
    """They have no policies of their own: nobody who is bound by those may select from them."""
    three_events(hot_log)
    value(hot_log.url, "select events.ensure_event_partitions()")
    leaves = rows(
        hot_log.url,
        "select inhrelid::regclass::text as leaf from pg_inherits where inhparent = 'events.event_log'::regclass",
    )
    assert len(leaves) >= 10
    for row in leaves:
        for doing in ("select", "update", "delete", "truncate"):
            assert not value(hot_log.url, "select has_table_privilege(%s, %s, %s)", role, row["leaf"], doing), row


@pytest.mark.parametrize(
    "statement",
    [
        "update events.event_log set user_id = 'u9'",
        "delete from events.event_log",
        "delete from events.event_keys",
        "update events.event_keys set event_id = gen_random_uuid()",
        "insert into events.event_schemas (event_type, event_category, retention_class) values ('X', 'content', 'content')",
        "insert into events.address_keys values ('2025-03-03', 'mine')",
        "insert into events.warehouse_sync_status (warehouse_type, batch_number, status) values ('delta', 1, 'planned')",
        "select events.get_pending_events()",
        "select events.mark_event_processed(gen_random_uuid())",
        "select events.update_realtime_metric('m', 1)",
        "delete from operations.rejects",
        "create table events.mine (n integer)",
    ],
)
def test_the_intake_may_not(database_url: str, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        rows(database_url, statement, role="pipeline_intake")


@pytest.mark.parametrize("table", ["address_keys", "event_keys"])
def test_readers_have_no_secrets(database_url: str, table: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        rows(database_url, f"select * from events.{table}", role="pipeline_reader")


# the seed's monitoring queries


# as printed there under "Key Metrics"
PROCESSING_STATUS = """
SELECT processing_status, COUNT(*), AVG(retry_count)
FROM platform_events
WHERE created_at > NOW() - INTERVAL '1 hour'
GROUP BY processing_status;
"""
SYNC_PERFORMANCE = """
SELECT
  warehouse_type,
  AVG(sync_duration_ms) as avg_ms,
  SUM(events_synced) as total_synced
FROM warehouse_sync_status
WHERE created_at > NOW() - INTERVAL '1 day'
GROUP BY warehouse_type;
"""
FAILED_EVENTS = """
SELECT event_type, error_message, COUNT(*)
FROM platform_events
WHERE processing_status = 'failed'
GROUP BY event_type, error_message
ORDER BY COUNT(*) DESC;
"""


@pytest.fixture(scope="module")
def fresh_url(server: EmbeddedServer) -> Iterator[str]:
    """A database migrated itself: a clone does not take over what its template sets for its sessions."""
    ensure_database(server.url(), "monitored")
    migrate(server.url(database="monitored"))
    yield server.url(database="monitored")
    with psycopg.connect(server.url(database="postgres"), autocommit=True) as connection:
        connection.execute("drop database monitored with (force)")


@pytest.mark.parametrize("role", ["pipeline_worker", "pipeline_reader"])
def test_the_monitoring_queries_of_the_seed_run_unchanged(fresh_url: str, settings_lake: Lake, role: str) -> None:
    """With what they should say: one event in the lake, one failed, one pending."""
    rows(
        fresh_url,
        "delete from events.event_log; delete from events.event_states; delete from events.warehouse_sync_status",
    )
    postgres = Postgres(fresh_url.replace("postgres@", "pipeline_worker@", 1))
    with psycopg.connect(fresh_url) as connection:
        emit(connection)
        failed = emit(connection, "COPY", rule_id="r1")
    sync(postgres, settings_lake)
    with psycopg.connect(fresh_url) as connection:
        connection.execute(
            "insert into events.event_states (event_id, received_at, processing_status, retry_count, error_message) "
            "values (%s, now(), 'failed', 3, 'no user')",
            [failed],
        )
        emit(connection)
    postgres.close()
    status, performance, failures = (
        rows(fresh_url, query, role=role) for query in (PROCESSING_STATUS, SYNC_PERFORMANCE, FAILED_EVENTS)
    )
    found = {row["processing_status"]: (row["count"], int(row["avg"])) for row in status}
    assert {"processed": (1, 0), "failed": (1, 3), "pending": (1, 0)} == found
    assert [("delta", 2)] == [(row["warehouse_type"], row["total_synced"]) for row in performance]
    assert performance[0]["avg_ms"] >= 0
    assert [{"event_type": "COPY", "error_message": "no user", "count": 1}] == failures


@pytest.fixture
def settings_lake(tmp_path: Any) -> Lake:
    return Lake(Settings.from_environment({"INGESTION_HOME": str(tmp_path)}))
