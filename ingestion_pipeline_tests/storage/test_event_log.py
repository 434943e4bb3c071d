"""The hot log: what is acknowledged is stored, each key once, and one row never costs another."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import date, timedelta

import psycopg
import pytest

from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.storage import event_log
from ingestion_pipeline.storage.event_entries import Append, key_hash
from ingestion_pipeline.storage.event_log import EventLog
from ingestion_pipeline.storage.rejects import Reject
from ingestion_pipeline_tests.children import output, python, until
from ingestion_pipeline_tests.hot_log import NOON, as_intake, make_entry, opened, rows, store, stored_ids, value

DAY = NOON.date()
REFUSES_COPIES = "alter table events.event_log add constraint no_copies check (event_type <> 'COPY') not valid"
COMMITTERS = "from pg_stat_activity where datname = current_database() and application_name = 'ingestion-intake'"
HELD_UP = f"select count(*) {COMMITTERS} and wait_event_type = 'Lock'"


@pytest.fixture
def log(database_url: str) -> Iterator[EventLog]:
    with opened(database_url) as found:
        yield found


def counts(url: str, day: date = DAY) -> dict[str, int]:
    """The sum over the intake processes."""
    (row,) = rows(
        url,
        "select sum(received)::int received, sum(stored)::int stored, sum(duplicate)::int duplicate, "
        "sum(rejected)::int rejected from events.intake_counts where day = %s",
        day,
    )
    return row


def test_an_event_is_stored_as_it_was_sent(log: EventLog, database_url: str) -> None:
    odd = "tab\there, back\\slash, \n new line, \\. end, ü 🙂"
    escaped = odd.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
    entry = make_entry(key="k", user_id=escaped, country="CH", clock_skew_seconds="-1.5")
    store(log, [entry])
    (row,) = rows(database_url, "select * from events.event_log")
    assert (entry.event_id, odd, "CH", -1.5, NOON) == (
        row["event_id"].hex,
        row["user_id"],
        row["country"],
        row["clock_skew_seconds"],
        row["received_at"],
    )


def test_a_key_is_stored_once_in_one_request(log: EventLog, database_url: str) -> None:
    first, second = make_entry(key="k"), make_entry(key="k")
    store(log, [first, second])
    assert ("", first.event_id, [first.event_id]) == (first.first_id, second.first_id, stored_ids(database_url))


def test_a_key_is_stored_once_in_many_requests(log: EventLog, database_url: str) -> None:
    """Of a hundred at once exactly one is accepted; the others name it."""
    entries = [make_entry(key="k") for _ in range(100)]
    store(log, *([entry] for entry in entries))
    (accepted,) = [entry.event_id for entry in entries if not entry.first_id]
    assert ([accepted], {accepted}) == (stored_ids(database_url), {entry.first_id for entry in entries} - {""})


def test_a_key_is_remembered_across_restarts(database_url: str) -> None:
    first, second = make_entry(key="k"), make_entry(key="k")
    for entry in (first, second):
        with opened(database_url) as log:
            store(log, [entry])
    assert (first.event_id, [first.event_id]) == (second.first_id, stored_ids(database_url))


def test_repeats_of_a_known_key_name_the_event_that_is_stored(log: EventLog, database_url: str) -> None:
    """Not the first of their own request, which was a repeat itself."""
    first, *repeats = (make_entry(key="k") for _ in range(3))
    store(log, [first])
    store(log, repeats)
    assert [first.event_id] * 2 == [entry.first_id for entry in repeats]


def test_two_processes_store_a_key_once(database_url: str) -> None:
    """Both get the same hundred keys in opposite orders at the same time."""
    code = """
        import sys
        from ingestion_pipeline_tests.hot_log import make_entry, opened, store
        with opened(sys.argv[1]) as log:
            store(log, [])
            print("ready", flush=True)
            sys.stdin.readline()
            keys = [f"k{n}" for n in range(100)][:: int(sys.argv[2])]
            entries = [[make_entry(key=key)] for key in keys]
            store(log, *entries)
            print(sum(not entry.first_id for (entry,) in entries))
    """
    with python(code, database_url, "1") as one, python(code, database_url, "-1") as other:
        for child in (one, other):
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in (one, other):
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        accepted = [int(output(child)) for child in (one, other)]
    keys = "select count(distinct idempotency_key) keys, count(*) events from events.event_log"
    assert (100, [{"keys": 100, "events": 100}]) == (sum(accepted), rows(database_url, keys))
    assert {"received": 200, "stored": 100, "duplicate": 100, "rejected": 0} == counts(database_url)


@pytest.mark.parametrize("has_partitions", [True, False])
def test_a_key_is_one_key_across_midnight(log: EventLog, database_url: str, *, has_partitions: bool) -> None:
    """The same key a second before and a second after: two days, two partitions, one event."""
    midnight = NOON + timedelta(hours=12)
    before, after = (make_entry(at=midnight + timedelta(seconds=n), key="k") for n in (-1, 1))
    if has_partitions:
        for at in (NOON, midnight):
            store(log, [make_entry(at=at)], day=at.date())
        value(database_url, "select events.ensure_event_partitions()")
    store(log, [before], day=DAY)
    store(log, [after], day=DAY + timedelta(days=1))
    leaf = value(database_url, "select tableoid::regclass::text from events.event_log where idempotency_key = 'k'")
    assert leaf == "events.event_log_20250303" or not has_partitions
    assert ("", before.event_id) == (before.first_id, after.first_id)
    assert 1 == counts(database_url, DAY + timedelta(days=1))["duplicate"]


def test_concurrent_requests_share_commits(log: EventLog, database_url: str) -> None:
    """While commits are held up 300 requests arrive: two are under way at most, and take all or leave the rest to one."""
    entries = [make_entry() for _ in range(300)]

    async def send() -> None:
        waiting = [asyncio.ensure_future(log.append(Append(DAY, [entry]))) for entry in entries]
        await asyncio.sleep(0)
        await asyncio.to_thread(until, lambda: value(database_url, HELD_UP) >= 1)
        holder.rollback()
        await asyncio.gather(*waiting)

    with psycopg.connect(database_url) as holder:
        holder.execute("lock table events.event_log in access exclusive mode")
        asyncio.run(send())
    (found,) = rows(
        database_url, "select count(*) events, count(distinct transaction_id) commits from events.event_log"
    )
    assert 300 == found["events"]
    assert found["commits"] <= 3


def test_nothing_is_acknowledged_before_its_commit(log: EventLog, database_url: str) -> None:
    """While the commit cannot happen the caller waits; when the server breaks it off, the caller hears so."""
    outcome: list[object] = []

    def storing() -> None:
        try:
            store(log, [make_entry(key="k")])
        except StoreUnavailableError as error:
            outcome.append(error.store)

    with psycopg.connect(database_url, autocommit=True) as holder, holder.transaction():
        holder.execute("lock table events.event_keys in exclusive mode")
        thread = threading.Thread(target=storing)
        thread.start()
        until(lambda: value(database_url, HELD_UP) == 1)
        assert outcome == []
        rows(database_url, f"select pg_terminate_backend(pid) {COMMITTERS}")
        thread.join()
    assert (1, True, []) == (len(outcome), "PostgreSQL" in str(outcome), stored_ids(database_url))
    store(log, [make_entry(key="k")])
    assert 1 == len(stored_ids(database_url))


def test_commits_are_durable_whatever_the_server_defaults_to(database_url: str) -> None:
    """The log asks for a flushed commit itself: a row is only accepted where that is so."""
    name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
    rows(database_url, f"alter database {name} set synchronous_commit = off")
    rows(
        database_url, "alter table events.event_log add check (current_setting('synchronous_commit') = 'on') not valid"
    )
    entry = make_entry()
    with opened(database_url) as log:
        store(log, [entry])
    assert ("", [entry.event_id]) == (entry.refused, stored_ids(database_url))


def test_a_row_that_only_the_database_can_refuse_costs_no_other(log: EventLog, database_url: str) -> None:
    """Narrowed down from a group of requests to the row; it is kept as a reject with what the database said."""
    rows(database_url, REFUSES_COPIES)
    requests = [[make_entry(key=f"{r}-{n}") for n in range(20)] for r in range(5)]
    bad = make_entry(key="bad", event_type="COPY")
    requests[3].insert(7, bad)
    store(log, *requests)
    good = sorted(entry.event_id for entries in requests for entry in entries if entry is not bad)
    assert good == stored_ids(database_url)
    assert "no_copies" in bad.refused
    rejects = rows(database_url, "select reason, payload -> 'event' ->> 'id' as id from operations.rejects")
    assert [{"reason": bad.refused, "id": bad.event_id}] == rejects
    assert {"received": 101, "stored": 100, "duplicate": 0, "rejected": 1} == counts(database_url)


def test_the_key_of_a_refused_row_is_still_free(log: EventLog, database_url: str) -> None:
    """The second event with that key, in the same request, is stored: a key belongs to an event that is there."""
    rows(database_url, REFUSES_COPIES)
    bad, good, repeat = make_entry(key="k", event_type="COPY"), make_entry(key="k"), make_entry(key="k")
    store(log, [bad, good, repeat])
    assert [good.event_id] == stored_ids(database_url)
    assert ("", good.event_id) == (good.first_id, repeat.first_id)
    assert {"received": 3, "stored": 1, "duplicate": 1, "rejected": 1} == counts(database_url)


def test_a_deadlock_stores_nothing_twice(database_url: str) -> None:
    """It befalls one part of a group whose other part is stored already; only that part is tried again."""
    rows(database_url, REFUSES_COPIES)
    rows(
        database_url,
        """
        create sequence events.deadlocks;
        create function events.deadlock_twice() returns trigger language plpgsql security definer as $$
        begin
            if new.user_id = 'unlucky' and exists (
                select from events.event_log where user_id = 'first' and transaction_id <> pg_current_xact_id()
            ) and nextval('events.deadlocks') <= 2 then
                raise exception using errcode = 'deadlock_detected', message = 'deadlock detected';
            end if;
            return new;
        end $$;
        create trigger deadlock_twice before insert on events.event_log_default
        for each row execute function events.deadlock_twice();
        """,
    )
    users = ("first", "second", "third", "unlucky")
    entries = [*(make_entry(user_id=user) for user in users), make_entry(event_type="COPY")]
    with opened(database_url, committers=1) as log:
        store(log, entries)
    assert value(database_url, "select last_value > 2 from events.deadlocks")
    assert sorted(entry.event_id for entry in entries[:4]) == stored_ids(database_url)
    assert {"received": 5, "stored": 4, "duplicate": 0, "rejected": 1} == counts(database_url)


def test_rejects_are_kept_in_the_same_commit(log: EventLog, database_url: str) -> None:
    """With the counts: received is stored and duplicate and rejected."""
    store(log, [make_entry(key="k"), make_entry(key="k"), make_entry()], rejects=[Reject("events", "bad", {"n": 1})])
    assert {"received": 4, "stored": 2, "duplicate": 1, "rejected": 1} == counts(database_url)
    assert ["bad"] == [row["reason"] for row in rows(database_url, "select reason from operations.rejects")]


def test_without_a_partition_the_default_one_takes_the_event(log: EventLog, database_url: str) -> None:
    """And its own partition gets it later, with the transaction id that the sync goes by."""
    entry = make_entry()
    store(log, [entry])
    place = "select tableoid::regclass::text as leaf, transaction_id::text as transaction from events.event_log"
    (before,) = rows(database_url, place)
    value(database_url, "select events.ensure_event_partitions()")
    assert [{**before, "leaf": "events.event_log_20250303"}] == rows(database_url, place)
    assert "events.event_log_default" == before["leaf"]


def test_a_partition_that_was_dropped_is_not_missed(database_url: str) -> None:
    """The log knew the partition of the day; somebody drops it; the next event is stored all the same."""
    with opened(database_url, committers=1) as log:
        store(log, [make_entry()])
        value(database_url, "select events.ensure_event_partitions()")
        store(log, [make_entry()])
        rows(database_url, "drop table events.event_log_20250303")
        entry = make_entry(key="k")
        store(log, [entry])
    assert ("", "", [entry.event_id]) == (entry.first_id, entry.refused, stored_ids(database_url))


def test_nothing_is_lost_while_partitions_are_made(database_url: str) -> None:
    """Five days, each begun without a partition: events go on being stored while it is made and their rows move."""
    days, sent = [NOON], list[str]()

    def storing() -> None:
        with opened(database_url) as log:
            while len(days) < 6:
                at = days[-1]
                entries = [make_entry(at=at, key=f"{len(sent)}-{n}") for n in range(20)]
                store(log, *([entry] for entry in entries), day=at.date())
                sent.extend(entry.event_id for entry in entries if not entry.first_id and not entry.refused)

    thread = threading.Thread(target=storing)
    thread.start()
    for _ in range(5):
        before = len(sent)
        until(lambda before=before: len(sent) > before + 40 or not thread.is_alive())
        value(database_url, "select events.ensure_event_partitions()")
        during = len(sent)
        until(lambda during=during: len(sent) > during + 40 or not thread.is_alive())
        days.append(days[-1] + timedelta(days=1))
    thread.join()
    leaves = "select distinct tableoid::regclass::text as leaf from events.event_log order by 1"
    assert [f"events.event_log_{day:%Y%m%d}" for day in days[:5]] == [row["leaf"] for row in rows(database_url, leaves)]
    assert sorted(sent) == stored_ids(database_url)


def test_intake_makes_the_partitions_that_are_missing_when_it_starts(database_url: str) -> None:
    """Nobody ran the schedule: today's partition is gone, and is there after the first event."""
    leaf = value(database_url, "select 'events.event_log_' || to_char(now() at time zone 'UTC', 'YYYYMMDD')")
    rows(database_url, f"drop table if exists {leaf}")
    with opened(database_url) as log:
        store(log, [make_entry()])
    assert leaf == value(database_url, "select to_regclass(%s)::text", leaf)


def test_a_closed_log_refuses(database_url: str) -> None:
    with opened(database_url) as log:
        store(log, [make_entry()])
    with pytest.raises(StoreUnavailableError, match="closing"):
        store(log, [make_entry()])


def test_closing_stores_what_waits(database_url: str) -> None:
    """Acknowledged or not: what was handed over before the end is stored."""

    async def send_and_close() -> None:
        log = EventLog(as_intake(database_url))
        waiting = [asyncio.ensure_future(log.append(Append(DAY, [make_entry()]))) for _ in range(50)]
        await asyncio.sleep(0)
        await asyncio.to_thread(log.close)
        await asyncio.gather(*waiting)

    asyncio.run(send_and_close())
    assert 50 == len(stored_ids(database_url))


def test_more_than_can_wait_is_refused_at_once(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: with PostgreSQL held up, events beyond the limit are refused; those that waited are stored."""
    monkeypatch.setattr(event_log, "MAX_WAITING_BYTES", 2 * len(make_entry().row))
    monkeypatch.setattr(event_log, "_SESSION", "-c TimeZone=UTC")  # it waits as long as the test holds it up

    async def overflow(log: EventLog) -> None:
        waiting = [asyncio.ensure_future(log.append(Append(DAY, [make_entry()])))]
        await asyncio.to_thread(until, lambda: value(database_url, HELD_UP) == 1)
        waiting += [asyncio.ensure_future(log.append(Append(DAY, [make_entry()]))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailableError, match="too many events wait"):
            await log.append(Append(DAY, [make_entry()]))
        holder.rollback()
        await asyncio.gather(*waiting)

    with psycopg.connect(database_url) as holder, opened(database_url, committers=1) as log:
        holder.execute("lock table events.event_log in access exclusive mode")
        asyncio.run(overflow(log))
    assert 4 == len(stored_ids(database_url))


def test_without_a_server_nothing_is_acknowledged() -> None:
    """The error says which server, without its password."""
    log = EventLog("postgresql://intake:canary@127.0.0.1:1/none")
    try:
        with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1") as caught:
            store(log, [make_entry()])
    finally:
        log.close()
    assert "canary" not in str(caught.value)


def test_a_request_that_is_gone_harms_nobody(log: EventLog, database_url: str) -> None:
    """A caller that gives up while the commit is under way: its event may be stored, those beside it are."""

    async def give_up() -> None:
        gone = asyncio.ensure_future(log.append(Append(DAY, [make_entry()])))
        stays = asyncio.ensure_future(log.append(Append(DAY, [make_entry(key="stays")])))
        await asyncio.sleep(0)
        gone.cancel()
        await stays
        assert gone.cancelled()

    asyncio.run(give_up())
    assert 1 == value(database_url, "select count(*) from events.event_log where idempotency_key = 'stays'")


@pytest.mark.parametrize("key", ["k", "ü🙂", " ", "x" * 200, "a\\b\t"])
def test_keys_are_hashed_alike_here_and_in_the_database(database_url: str, key: str) -> None:
    """An event from a trigger and one over HTTP with the same key are one."""
    assert key_hash(key).hex() == value(database_url, "select events.key_hash(%s)", key).hex


def test_only_the_request_whose_key_is_held_has_to_come_back(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that emitted an event with the same key and stays open does not stop the intake."""
    monkeypatch.setattr(event_log, "_SESSION", "-c lock_timeout=100 -c TimeZone=UTC")
    blocked, free = Append(DAY, [make_entry(key="held")]), Append(DAY, [make_entry(key="free")])

    async def send(log: EventLog) -> list[BaseException | None]:
        return await asyncio.gather(log.append(blocked), log.append(free), return_exceptions=True)

    with psycopg.connect(database_url) as holder, opened(database_url, committers=1) as log:
        holder.execute("select events.emit_platform_event('COPY', rule_id => 'r', idempotency_key => 'held')")
        answers = asyncio.run(send(log))
        holder.rollback()
    assert [StoreUnavailableError, type(None)] == [type(answer) for answer in answers]
    assert [free.entries[0].event_id] == stored_ids(database_url)


def test_an_event_that_gets_lost_before_the_commit_is_seen_in_the_counts(log: EventLog, database_url: str) -> None:
    """What came in is counted by itself, not as the sum of what became of it."""
    asyncio.run(log.append(Append(DAY, [make_entry()], received=2)))
    assert {"received": 2, "stored": 1, "duplicate": 0, "rejected": 0} == counts(database_url)


@pytest.mark.parametrize("reason", ["unknown field a\x00b", "half a pair \ud83d"])
def test_a_reason_that_cannot_be_stored_is_stored_readably(log: EventLog, database_url: str, reason: str) -> None:
    """And costs no event beside it."""
    store(log, [make_entry()], rejects=[Reject("events", reason, {"event": {}})])
    assert 1 == len(stored_ids(database_url))
    assert reason[:4] == value(database_url, "select reason from operations.rejects")[:4]
