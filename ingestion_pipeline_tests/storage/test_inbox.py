"""The inbox keeps a delivery once and applies it exactly once, whatever is raised, killed or started twice."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from ingestion_pipeline.core.errors import ContractError, ProviderUnavailableError, StoreUnavailableError
from ingestion_pipeline.storage import inbox
from ingestion_pipeline.storage.inbox import Accepted, Applied, Delivery, NewDelivery, accept, accept_all, apply_pending
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import until

COMPS, MACRO = "comps.upsert", "macro.update"
TYPES = [COMPS]


def make_delivery(key: str = "k1", **over: Any) -> NewDelivery:
    given = {
        "source": "acme",
        "idempotency_key": key,
        "event_type": COMPS,
        "market_slug": "dallas",
        "payload": json.dumps({"data": {"key": key}}).encode(),
        "scheme": "sha256",
        "signed_by": "acme 1",
    }
    return NewDelivery(**given | over)


def put(postgres: Postgres, *deliveries: NewDelivery) -> list[Accepted]:
    with postgres.transaction() as connection:
        return accept_all(connection, deliveries)


def rows(postgres: Postgres, statement: str, *parameters: Any) -> list[dict[str, Any]]:
    with postgres.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement.encode(), parameters).fetchall()


def kept(postgres: Postgres) -> list[dict[str, Any]]:
    return rows(postgres, "select * from operations.deliveries order by received_at, delivery_id")


def make_due(postgres: Postgres) -> None:
    """Leases and pauses are over."""
    postgres.execute("update operations.deliveries set next_attempt_at = now() where status = 'pending'")


def now(postgres: Postgres) -> datetime:
    (row,) = rows(postgres, "select clock_timestamp() as now")
    found: datetime = row["now"]
    return found


@pytest.fixture(autouse=True)
def _applications(database_url: str) -> None:
    """What a table of a domain is: its rows count how often each delivery was applied."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create table public.applications (delivery_id uuid, key text, market text)")
        connection.execute("grant all on public.applications to pipeline_worker, pipeline_intake")


def record(connection: psycopg.Connection[Any], deliveries: Sequence[Delivery]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into public.applications values (%s, %s, %s)",
            [(it.delivery_id, it.payload["data"]["key"], it.market_slug) for it in deliveries],
        )


def applications(postgres: Postgres) -> Counter[str]:
    return Counter(row["key"] for row in rows(postgres, "select key from public.applications"))


def raising(error: Exception, *, on: str) -> inbox.Apply:
    """Applies like `record`, and raises at one key."""

    def apply(connection: psycopg.Connection[Any], deliveries: Sequence[Delivery]) -> None:
        record(connection, deliveries)
        if on in {it.payload["data"]["key"] for it in deliveries}:
            raise error

    return apply


def run(postgres: Postgres, apply: inbox.Apply = record, types: Sequence[str] = TYPES) -> Applied:
    return apply_pending(postgres, types, apply, run_id="run-1")


# keeping


def test_a_delivery_is_kept_once(postgres: Postgres) -> None:
    (first,), (second,) = put(postgres, make_delivery()), put(postgres, make_delivery())
    assert (False, True, "pending") == (first.is_duplicate, first.is_same, first.status)
    assert Accepted(first.delivery_id, is_duplicate=True, is_same=True, status="pending") == second
    (row,) = kept(postgres)
    assert ("acme", "k1", COMPS, "dallas", "sha256", "acme 1", "http", 0) == tuple(
        row[name]
        for name in (
            "source", "idempotency_key", "event_type", "market_slug", "scheme", "signed_by", "origin", "attempt_count"
        )
    )  # fmt: skip


def test_a_key_that_comes_with_another_body_changes_nothing(postgres: Postgres) -> None:
    put(postgres, make_delivery())
    (again,) = put(postgres, make_delivery(payload=b'{"data": {"key": "other"}}', event_type=MACRO))
    assert (True, False) == (again.is_duplicate, again.is_same)
    assert [({"data": {"key": "k1"}}, COMPS)] == [(row["payload"], row["event_type"]) for row in kept(postgres)]


def test_sources_have_keys_of_their_own(postgres: Postgres) -> None:
    assert [False, False] == [it.is_duplicate for it in put(postgres, make_delivery(), make_delivery(source="other"))]


def test_a_rejected_one_gives_way_to_a_good_one(postgres: Postgres) -> None:
    """Under its own id; a bad one never replaces a good one."""
    (bad,) = put(postgres, make_delivery(reason="data: expected object", payload=b"[]"))
    (worse,) = put(postgres, make_delivery(reason="market_slug: expected a value", payload=b"[1]"))
    assert [("rejected", "market_slug: expected a value", [1])] == [
        (row["status"], row["reason"], row["payload"]) for row in kept(postgres)
    ]
    (good,) = put(postgres, make_delivery())
    assert (bad.delivery_id, False, "pending") == (good.delivery_id, good.is_duplicate, good.status)
    (late,) = put(postgres, make_delivery(reason="late", payload=b"[]"))
    assert (True, False, "pending") == (late.is_duplicate, late.is_same, late.status)
    assert [("pending", None, None)] == [(r["status"], r["reason"], r["settled_at"]) for r in kept(postgres)]
    assert worse.delivery_id == bad.delivery_id


@pytest.mark.parametrize("reason", [None, "wrong"])
def test_the_same_delivery_from_many_sides_at_once_is_kept_once(postgres: Postgres, reason: str | None) -> None:
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: put(postgres, make_delivery(reason=reason))[0], range(30)))
    assert 1 == len({it.delivery_id for it in found}) == len(kept(postgres))
    if reason is None:
        assert 29 == sum(it.is_duplicate for it in found)


def test_the_intake_keeps_through_the_function_and_sees_nothing(database_url: str, postgres: Postgres) -> None:
    """Row-level security: without an operator's scope its role reads no delivery, changes none, and adds none by itself."""
    url = database_url.replace("postgres@", "pipeline_intake@", 1)

    async def as_intake() -> Accepted:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            return await accept(connection, make_delivery())

    accepted = asyncio.run(as_intake())
    assert [accepted.delivery_id] == [str(row["delivery_id"]) for row in kept(postgres)]
    with psycopg.connect(url, autocommit=True) as connection:
        assert 0 == connection.execute("update operations.deliveries set status = 'dead', reason = 'x'").rowcount
        assert [] == connection.execute("select * from operations.deliveries").fetchall()
        for statement in (
            "update operations.deliveries set payload = '{}'",
            "insert into operations.deliveries (source) values ('x')",
            "delete from operations.deliveries",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
        with connection.transaction():
            connection.execute("select set_config('app.scope', 'operator', true)")
            assert 1 == len(connection.execute("select * from operations.deliveries").fetchall())
        assert [] == connection.execute("select * from operations.deliveries").fetchall()


def test_only_a_good_delivery_makes_a_source_known(postgres: Postgres) -> None:
    """Of a known one, a rejected or repeated delivery is a sign of life too."""
    sources = "select source, last_received_at > now() - interval '1 minute' as is_new from operations.delivery_sources"
    put(postgres, make_delivery(reason="wrong"))
    assert [] == rows(postgres, sources)
    put(postgres, make_delivery())
    assert [{"source": "acme", "is_new": True}] == rows(postgres, sources)
    for delivery in (make_delivery(), make_delivery("k2", reason="wrong")):
        postgres.execute("update operations.delivery_sources set last_received_at = now() - interval '1 hour'")
        put(postgres, delivery)
        assert [{"source": "acme", "is_new": True}] == rows(postgres, sources)


def test_they_are_kept_in_the_order_in_which_they_are_given(postgres: Postgres) -> None:
    """Also a key that comes twice among them; nothing is nothing."""
    found = put(postgres, make_delivery("b"), make_delivery("a"), make_delivery("b"), make_delivery("c", source="x"))
    assert [False, False, True, False] == [it.is_duplicate for it in found]
    assert found[0].delivery_id == found[2].delivery_id
    assert ["b", "a", "c"] == [row["idempotency_key"] for row in kept(postgres)]
    assert [] == put(postgres)


def test_a_webhook_and_a_file_of_one_source_do_not_wait_for_each_other_in_a_circle(
    postgres: Postgres, database_url: str
) -> None:
    """The file has the key that the webhook brings; its later records come while the webhook waits for that."""
    put(postgres, make_delivery("first"))
    postgres.execute("update operations.delivery_sources set last_received_at = now() - interval '1 hour'")
    waiting = (
        "select count(*) as waiting from pg_stat_activity "
        "where datname = current_database() and wait_event_type = 'Lock'"
    )
    holder = psycopg.connect(database_url)
    with ThreadPoolExecutor(2) as pool, holder:
        holder.execute("select pg_advisory_xact_lock(1)")
        # the file stands still between its two keys, where the trigger waits
        with psycopg.connect(database_url, autocommit=True) as owner:
            owner.execute(
                "create function public.stand_still() returns trigger language plpgsql as "
                "$$ begin if new.idempotency_key = 'still' then perform pg_advisory_xact_lock(1); end if; "
                "return new; end $$"
            )
            owner.execute(
                "create trigger stand_still before insert on operations.deliveries "
                "for each row execute function public.stand_still()"
            )
        file = pool.submit(put, postgres, *(make_delivery(key) for key in ("f1", "still", "k")))
        until(lambda: rows(postgres, waiting)[0]["waiting"] == 1)
        (webhook,) = pool.submit(put, postgres, make_delivery("k")).result(timeout=30)
        holder.rollback()
        assert [False, False, True] == [it.is_duplicate for it in file.result(timeout=30)]
    assert not webhook.is_duplicate


# applying


def test_deliveries_are_applied_once_and_settled(postgres: Postgres) -> None:
    put(postgres, make_delivery("a"), make_delivery("b", market_slug="austin"), make_delivery("c"))
    assert Applied(processed=3, by_market=Counter(dallas=2, austin=1)) == run(postgres)
    assert Applied() == run(postgres)
    assert Counter("abc") == applications(postgres)
    assert [("processed", None, 1, "run-1", True)] * 3 == [
        (row["status"], row["reason"], row["attempt_count"], row["dagster_run_id"], row["settled_at"] is not None)
        for row in kept(postgres)
    ]


def test_only_its_own_types_are_applied_and_counted_as_due(postgres: Postgres) -> None:
    put(postgres, make_delivery("a"), make_delivery("b", event_type=MACRO), make_delivery("c", reason="wrong"))
    assert {COMPS: 1, MACRO: 1} == inbox.due(postgres, [COMPS, MACRO, "other"])
    assert 1 == run(postgres, types=[MACRO]).processed
    assert {COMPS: 1} == inbox.due(postgres, [COMPS, MACRO])
    assert Counter("b") == applications(postgres)


def test_they_are_given_oldest_first_as_they_were_sent(postgres: Postgres) -> None:
    seen: list[Delivery] = []
    for number in range(20):
        put(postgres, make_delivery(f"{number:02}", payload=json.dumps({"n": number, "x": "é"}).encode()))
    run(postgres, lambda _, deliveries: seen.extend(deliveries))
    assert [{"n": number, "x": "é"} for number in range(20)] == [it.payload for it in seen]
    assert ("acme", COMPS, "dallas", "acme 1", "http", 1) == (
        seen[0].source, seen[0].event_type, seen[0].market_slug, seen[0].signed_by, seen[0].origin,
        seen[0].attempt_count,
    )  # fmt: skip


def test_batches_are_bounded_in_number_and_bytes(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    put(postgres, *(make_delivery(str(n)) for n in range(7)))
    monkeypatch.setattr(inbox, "DELIVERIES_PER_BATCH", 3)
    run(postgres, lambda _, deliveries: sizes.append(len(deliveries)))
    assert [3, 3, 1] == sizes
    put(postgres, *(make_delivery(f"again {n}") for n in range(3)))
    monkeypatch.setattr(inbox, "BYTES_PER_BATCH", 1)
    run(postgres, lambda _, deliveries: sizes.append(len(deliveries)))
    assert [3, 3, 1, 1, 1, 1] == sizes


@pytest.mark.parametrize(
    "error",
    [
        ContractError("acme", "data", "7", "an object"),
        psycopg.DataError("invalid input syntax for type date"),
        psycopg.errors.ProgramLimitExceeded("index row size 3000 exceeds maximum 2704"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_one_that_can_never_be_applied_is_dead_at_once_and_alone(postgres: Postgres, error: Exception) -> None:
    """Its neighbours in the batch are applied, once."""
    put(postgres, *(make_delivery(key) for key in "abc"))
    assert Applied(processed=2, dead=1, by_market=Counter(dallas=2)) == run(postgres, raising(error, on="b"))
    assert Counter("ac") == applications(postgres)
    found = {row["idempotency_key"]: (row["status"], row["reason"]) for row in kept(postgres)}
    assert ("dead", f"{type(error).__name__}: {error}") == found["b"]
    assert {"processed"} == {found[key][0] for key in "ac"}


@pytest.mark.parametrize(
    "error", [ProviderUnavailableError("fred", "503"), KeyError("price"), psycopg.IntegrityError()]
)
def test_any_other_failure_is_tried_five_times_then_dead(postgres: Postgres, error: Exception) -> None:
    """After 2, 4, 8, 16 seconds; the reason can be read meanwhile."""
    put(postgres, make_delivery("a"))
    for attempt in range(1, 5):
        before = now(postgres)
        assert Applied(retried=1) == run(postgres, raising(error, on="a"))
        (row,), pause = kept(postgres), timedelta(seconds=2**attempt)
        assert before + pause <= row["next_attempt_at"] <= now(postgres) + pause
        assert type(error).__name__ in row["reason"]
        postgres.execute("update operations.deliveries set next_attempt_at = now() + interval '1 hour'")
        assert Applied() == run(postgres, raising(error, on="a"))
        make_due(postgres)
    assert Applied(dead=1) == run(postgres, raising(error, on="a"))
    assert ["dead"] == [row["status"] for row in kept(postgres)]
    assert Counter() == applications(postgres)


def test_one_that_recovers_is_applied_once(postgres: Postgres) -> None:
    put(postgres, make_delivery("a"))
    run(postgres, raising(ProviderUnavailableError("fred", "503"), on="a"))
    make_due(postgres)
    assert 1 == run(postgres).processed
    assert Counter("a") == applications(postgres)
    assert [("processed", None)] == [(row["status"], row["reason"]) for row in kept(postgres)]


def test_a_reason_is_what_postgresql_can_store(postgres: Postgres) -> None:
    put(postgres, make_delivery("a"))
    run(postgres, raising(ContractError("x", "y", "\0 \ud800" + "z" * 5000, "w"), on="a"))
    (row,) = kept(postgres)
    assert "\\u0000 \\ud800zz" in row["reason"]
    assert len(row["reason"]) <= 1000


def test_another_store_that_is_away_ends_the_pass_and_costs_no_attempt(postgres: Postgres) -> None:
    """However long: the deliveries are no worse for it."""
    put(postgres, make_delivery("a"), make_delivery("b"))
    for _ in range(10):
        with pytest.raises(StoreUnavailableError, match="lake"):
            run(postgres, raising(StoreUnavailableError("lake", "no route to host"), on="a"))
        assert [("pending", 0)] * 2 == [(row["status"], row["attempt_count"]) for row in kept(postgres)]
        assert {} == inbox.due(postgres, TYPES)
        make_due(postgres)
    assert 2 == run(postgres).processed


def losing_connection(connection: psycopg.Connection[Any], deliveries: Sequence[Delivery]) -> None:
    record(connection, deliveries)
    connection.execute("select pg_terminate_backend(pg_backend_pid())")


def test_a_lost_connection_ends_the_pass_and_nothing_is_half_applied(postgres: Postgres) -> None:
    """The attempt counts: the delivery may be what takes the server down."""
    put(postgres, make_delivery("a"))
    for attempt in range(1, 6):
        with pytest.raises(StoreUnavailableError):
            run(postgres, losing_connection)
        assert [("pending", attempt)] == [(row["status"], row["attempt_count"]) for row in kept(postgres)]
        make_due(postgres)
    assert Applied(dead=1) == run(postgres)
    assert Counter() == applications(postgres)
    (row,) = kept(postgres)
    assert "connection is lost" in row["reason"]


@pytest.mark.parametrize(
    "error", [psycopg.errors.DiskFull("No space left on device"), psycopg.errors.TooManyConnections("sorry")]
)
def test_postgresql_without_room_ends_the_pass_and_costs_no_attempt(postgres: Postgres, error: Exception) -> None:
    put(postgres, make_delivery("a"), make_delivery("b"))
    for _ in range(6):
        with pytest.raises(StoreUnavailableError):
            run(postgres, raising(error, on="a"))
        assert [("pending", 0)] * 2 == [(row["status"], row["attempt_count"]) for row in kept(postgres)]
        make_due(postgres)
    assert 2 == run(postgres).processed


def test_one_that_takes_all_memory_is_dead_in_the_end(postgres: Postgres) -> None:
    """It may be its own fault: it must not hold up the others for ever."""
    put(postgres, make_delivery("a"))
    for _ in range(5):
        with pytest.raises(StoreUnavailableError):
            run(postgres, raising(psycopg.errors.OutOfMemory("out of memory"), on="a"))
        make_due(postgres)
    assert Applied(dead=1) == run(postgres)


@pytest.mark.parametrize("statement", ["select nothing from public.applications", "drop table operations.deliveries"])
def test_a_schema_that_is_behind_fails_the_pass_and_costs_no_attempt(postgres: Postgres, statement: str) -> None:
    """Or a right that is missing: the fault is ours, and deliveries wait until it is mended."""

    def apply(connection: psycopg.Connection[Any], deliveries: Sequence[Delivery]) -> None:
        record(connection, deliveries)
        connection.execute(statement.encode())

    put(postgres, make_delivery("a"), make_delivery("b"))
    for _ in range(6):
        with pytest.raises(psycopg.ProgrammingError):
            run(postgres, apply)
        assert [("pending", 0)] * 2 == [(row["status"], row["attempt_count"]) for row in kept(postgres)]
        make_due(postgres)
    assert 2 == run(postgres).processed
    assert Counter("ab") == applications(postgres)


def test_a_deadlock_is_the_batch_s_own_and_not_an_outage(postgres: Postgres) -> None:
    """PostgreSQL's driver files both under one error."""

    def apply(connection: psycopg.Connection[Any], deliveries: Sequence[Delivery]) -> None:
        record(connection, deliveries)
        if len(deliveries) > 1:
            raise psycopg.errors.DeadlockDetected

    put(postgres, *(make_delivery(key) for key in "abc"))
    assert 3 == run(postgres, apply).processed
    assert Counter("abc") == applications(postgres)


def test_two_appliers_at_once_share_the_work(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "DELIVERIES_PER_BATCH", 7)
    put(postgres, *(make_delivery(str(n)) for n in range(200)))
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda _: run(postgres), range(4)))
    assert 200 == sum(outcome.processed for outcome in outcomes)
    assert Counter(map(str, range(200))) == applications(postgres)


def test_one_whose_lease_ended_while_it_is_applied_is_passed_over(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is due again, but another applier cannot lock it."""
    put(postgres, make_delivery("a"))
    monkeypatch.setattr(inbox, "LEASE_SECONDS", 0)
    second: list[tuple[int, Applied]] = []

    def slow(connection: psycopg.Connection[Any], deliveries: Sequence[Delivery]) -> None:
        second.append((inbox.due(postgres, TYPES)[COMPS], run(postgres)))
        record(connection, deliveries)

    assert 1 == run(postgres, slow).processed
    assert [(1, Applied())] == second
    assert Counter("a") == applications(postgres)


def test_one_that_was_claimed_twice_is_applied_by_who_locks_it_first(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first applier is slow to begin, its lease ends, a second one takes over: the first then has nothing to do."""
    put(postgres, make_delivery("a"))
    begin: Callable[..., list[Delivery]] = inbox._applied

    def late(*arguments: Any) -> list[Delivery]:
        monkeypatch.setattr(inbox, "_applied", begin)
        make_due(postgres)
        assert 1 == run(postgres).processed
        return begin(*arguments)

    monkeypatch.setattr(inbox, "_applied", late)
    assert Applied() == run(postgres)
    assert Counter("a") == applications(postgres)


def test_ten_thousand_deliveries_are_applied_exactly_once(postgres: Postgres) -> None:
    """As when the daemon was stopped for long; the pass takes all of them, in few transactions."""
    put(postgres, *(make_delivery(str(n)) for n in range(10_000)))
    batches: list[int] = []

    def apply(connection: psycopg.Connection[Any], deliveries: Sequence[Delivery]) -> None:
        batches.append(len(deliveries))
        record(connection, deliveries)

    assert 10_000 == run(postgres, apply).processed
    assert [500] * 20 == batches
    found = applications(postgres)
    assert (10_000, {1}) == (len(found), set(found.values()))
