"""The sync: every event in the lake once, enriched, and everything that follows from it recorded once."""

import functools
import json
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from ingestion_pipeline.core.errors import ConfigurationError, RestoredDatabaseError, StoreUnavailableError
from ingestion_pipeline.domains.events import sync as sync_module
from ingestion_pipeline.domains.events.sync import ALL_TIME, SyncReport, sync
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.storage.event_reader import chunks
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.hot_log import NOON, HotLog, rows, value

VIEW = {"type": "VIEW", "ruleId": "r1"}
USERS = "create table public.users (id text primary key, role text, created_at timestamptz); grant select on public.users to pipeline_worker"
MINUTE = timedelta(minutes=1)
MIDNIGHT = NOON + timedelta(hours=12)


def copy_of(user: str | None = None, **over: Any) -> dict[str, Any]:
    return {"type": "COPY", "ruleId": "r1", **({"userId": user} if user else {}), **over}


def history(lake: Lake) -> dict[str, dict[str, Any]]:
    """The rows of the lake by event; each event is there once."""
    found = lake.read(EVENT_HISTORY, ALL_TIME).to_pyarrow().to_pylist()
    by_id = {row["event_id"]: row for row in found}
    assert len(by_id) == len(found)
    return by_id


def users_in(lake: Lake) -> list[str]:
    return sorted(row["user_id"] for row in history(lake).values())


def ledger(url: str) -> list[dict[str, Any]]:
    return rows(url, "select * from events.warehouse_sync_status order by batch_number")


def metrics(url: str) -> dict[tuple[str, str], float]:
    """The values by metric and bucket, of all types."""
    found = rows(
        url,
        "select metric_name, coalesce(dimensions ->> 'hour', dimensions ->> 'day') as bucket, sum(metric_value) as n "
        "from events.platform_metrics_realtime group by 1, 2",
    )
    return {(row["metric_name"], row["bucket"]): row["n"] for row in found}


def state(url: str, event_id: str) -> dict[str, Any]:
    (row,) = rows(url, "select * from events.event_states where event_id = %s", event_id)
    return row


def time_passes(url: str, minutes: float) -> None:
    rows(
        url,
        "update events.event_states set next_attempt_at = next_attempt_at - make_interval(secs => %s)",
        minutes * 60,
    )


class BrokenError(RuntimeError):
    """Where the test lets the sync stop, as a kill would."""


def killed_before_commit(postgres: Postgres, lake: Lake, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    def stop(*_: object, **__: object) -> None:
        raise BrokenError

    with monkeypatch.context() as patch:
        patch.setattr(sync_module, "_commit", stop)
        with pytest.raises(BrokenError):
            sync(postgres, lake, **options)


def test_events_are_brought_to_the_lake_once(hot_log: HotLog, postgres: Postgres, lake: Lake) -> None:
    """Each with what was sent and what is known of it; a second sync finds nothing to do."""
    sent = {
        **VIEW,
        "userId": "u1",
        "sessionId": "s1",
        "ts": (NOON - MINUTE).isoformat(),
        "data": {"n": 1, "text": 'a "quoted"\nline, ü'},
        "context": {"locale": "de", "userAgent": "curl/8.5.0"},
    }
    (entry,) = hot_log.send(sent, country_of=lambda _: "CH")
    report = sync(postgres, lake)
    assert (1, 1, 0, {NOON.date(): 1}) == (report.batches, report.rows, report.held, dict(report.days))
    (row,) = history(lake).values()
    assert {
        "event_id": str(UUID(entry.event_id)),
        "event_type": "VIEW",
        "event_category": "interaction",
        "user_id": "u1",
        "session_id": "s1",
        "rule_id": "r1",
        "occurred_at": NOON - MINUTE,
        "received_at": NOON,
        "lateness_seconds": 60.0,
        "country": "CH",
        "caller": "tests",
        "browser": "curl",
        "device_type": "other",
        "is_counted": True,
        "batch_number": 1,
        "day": NOON.date(),
    }.items() <= row.items()
    assert sent["data"] == json.loads(row["event_data"])
    assert sent["context"] == json.loads(row["metadata"])
    assert SyncReport() == sync(postgres, lake)
    assert 1 == len(history(lake))


def test_the_ledger_says_what_a_batch_was(hot_log: HotLog, postgres: Postgres, lake: Lake) -> None:
    """Events, bytes, milliseconds, status, lag, the first and last event, the days."""
    hot_log.send(copy_of(ts=(NOON - timedelta(days=2)).isoformat()), copy_of())
    sync(postgres, lake)
    (row,) = ledger(hot_log.url)
    assert {
        "warehouse_type": "delta",
        "batch_number": 1,
        "status": "committed",
        "events_synced": 2,
        "attempt_count": 1,
        "error_message": None,
        "first_event_at": NOON - timedelta(days=2),
        "last_event_at": NOON,
        "days": [date(2025, 3, 1), date(2025, 3, 3)],
    }.items() <= row.items()
    assert row["bytes_synced"] > 100
    assert row["sync_duration_ms"] >= 0
    assert abs(row["lag_seconds"] - (row["committed_at"] - NOON).total_seconds()) < 1


def test_batches_are_as_large_as_is_asked(hot_log: HotLog, postgres: Postgres, lake: Lake) -> None:
    for _ in range(5):
        hot_log.send(copy_of(), copy_of())
    report = sync(postgres, lake, max_rows=4)
    assert (3, 10, 10) == (report.batches, report.rows, len(history(lake)))
    assert [4, 4, 2] == [row["events_synced"] for row in ledger(hot_log.url)]


def test_a_batch_of_many_parts_is_one_commit(
    hot_log: HotLog, postgres: Postgres, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read three rows at a time: one batch, all rows, views judged across the parts."""
    monkeypatch.setattr(sync_module, "chunks", functools.partial(chunks, max_rows=3))
    hot_log.send(*(copy_of(f"u{n}") for n in range(10)), *([VIEW] * 5))
    report = sync(postgres, lake)
    assert (1, 15) == (report.batches, report.rows)
    assert 11 == sum(row["is_counted"] for row in history(lake).values())


# stopped in the middle


def test_a_sync_killed_before_its_commit_is_completed_by_the_next(
    hot_log: HotLog, postgres: Postgres, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is in the lake and `planned` in the ledger: it is not added again, and everything is recorded once."""
    now = datetime.now(UTC).replace(minute=30)
    keys = {now.date() + timedelta(days=n): b"key" for n in (-1, 0)}
    shared = {"received_at": now, "address_keys": keys}
    hot_log.send(VIEW, VIEW, copy_of("u1"), **shared)
    killed_before_commit(postgres, lake, monkeypatch)
    assert ["planned"] == [row["status"] for row in ledger(hot_log.url)]
    assert 3 == len(history(lake))
    assert {} == metrics(hot_log.url)
    hot_log.send(VIEW, **shared)
    report = sync(postgres, lake)
    assert (2, 4, 4) == (report.batches, report.rows, len(history(lake)))
    assert [("committed", 3, 2), ("committed", 1, 1)] == [
        (row["status"], row["events_synced"], row["attempt_count"]) for row in ledger(hot_log.url)
    ]
    assert 2 == sum(row["is_counted"] for row in history(lake).values())
    assert {2.0} == set(metrics(hot_log.url).values())
    assert 2 == value(hot_log.url, "select count(*) from events.event_states where uncounted_reason = 'repeat_view'")
    assert 1 == value(hot_log.url, "select count(*) from events.counted_views")


def test_a_sync_killed_twice_is_completed(
    hot_log: HotLog, postgres: Postgres, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    hot_log.send(copy_of("u1"), copy_of("u2"))
    for _ in range(2):
        killed_before_commit(postgres, lake, monkeypatch)
    assert 2 == sync(postgres, lake).rows
    assert ["u1", "u2"] == users_in(lake)


def test_what_a_killed_sync_held_back_is_tried_again(
    hot_log: HotLog, postgres: Postgres, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lake lacks it, and nothing but the log knows of it: it is held back, and arrives later."""
    rows(hot_log.url, USERS)
    rows(hot_log.url, "insert into users values ('poison', 'x', 'infinity')")
    hot_log.send(copy_of("good"), copy_of("poison"))
    killed_before_commit(postgres, lake, monkeypatch, users_table="public.users")
    assert 1 == sync(postgres, lake, users_table="public.users").held
    rows(hot_log.url, "update users set created_at = now()")
    time_passes(hot_log.url, 1)
    assert 1 == sync(postgres, lake, users_table="public.users").rows
    assert ["good", "poison"] == users_in(lake)


def test_a_lake_that_is_away_leaves_the_batch_for_later(
    hot_log: HotLog, postgres: Postgres, lake: Lake, tmp_path: Path
) -> None:
    """The ledger says why; nothing is lost and nothing doubled."""
    place = Path(lake.root)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("in the way")
    hot_log.send(copy_of("u1"))
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="lake"):
            sync(postgres, lake)
    (row,) = ledger(hot_log.url)
    assert ("planned", 2, True) == (row["status"], row["attempt_count"], "lake" in row["error_message"])
    place.unlink()
    sync(postgres, lake)
    assert ["u1"] == users_in(lake)
    (row,) = ledger(hot_log.url)
    assert ("committed", None) == (row["status"], row["error_message"])


def test_two_syncs_at_once_bring_each_event_once(hot_log: HotLog, postgres: Postgres, lake: Lake) -> None:
    for number in range(12):
        hot_log.send(copy_of(f"u{number:02}"), VIEW, received_at=NOON + number * timedelta(hours=1))
    reports: list[SyncReport] = []
    threads = [threading.Thread(target=lambda: reports.append(sync(postgres, lake, max_rows=2))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (3, 24, 24) == (len(reports), sum(report.rows for report in reports), len(history(lake)))
    assert ["committed"] * 12 == [row["status"] for row in ledger(hot_log.url)]


def test_an_event_that_commits_late_arrives_once(hot_log: HotLog, postgres: Postgres, lake: Lake) -> None:
    """Emitted before others in a transaction that is still open while they are synced."""
    with psycopg.connect(hot_log.url) as slow:
        slow.execute("select events.emit_platform_event('COPY', user_id => 'slow', rule_id => 'r')")
        hot_log.send(copy_of("quick"))
        assert 0 == sync(postgres, lake).rows
    assert 2 == sync(postgres, lake).rows
    assert ["quick", "slow"] == users_in(lake)


def test_a_restored_database_stops_the_sync(hot_log: HotLog, postgres: Postgres, lake: Lake) -> None:
    hot_log.send(copy_of())
    rows(
        hot_log.url,
        "insert into events.warehouse_sync_status (warehouse_type, batch_number, status, next_transaction_id, "
        "committed_at) values ('delta', 7, 'committed', '1000000000', now())",
    )
    with pytest.raises(RestoredDatabaseError):
        sync(postgres, lake)


# views


def test_views_are_judged_across_batches(hot_log: HotLog, postgres: Postgres, lake: Lake) -> None:
    """By those that counted before, also when a view arrives after a later one; the others keep their reason."""
    minutes = {0: True, 9: False, 10: True, 30: True, 25: False, 19: False, 20: True, 5: False}
    ids = {}
    for minute in minutes:
        ids[minute] = hot_log.view(NOON + minute * MINUTE)
        sync(postgres, lake)
    found = history(lake)
    assert minutes == {minute: found[event_id]["is_counted"] for minute, event_id in ids.items()}
    flagged = rows(hot_log.url, "select id::text from events.platform_events where uncounted_reason = 'repeat_view'")
    assert {ids[minute] for minute, does in minutes.items() if not does} == {row["id"] for row in flagged}


@pytest.mark.parametrize("offsets", [(-2, 3), (3, -2)])
def test_views_are_judged_across_midnight(
    hot_log: HotLog, postgres: Postgres, lake: Lake, offsets: tuple[int, int]
) -> None:
    """The address has another hash on the other day; in two batches, in either order."""
    for minutes in offsets:
        hot_log.view(MIDNIGHT + minutes * MINUTE, received_at=MIDNIGHT + 5 * MINUTE)
        sync(postgres, lake)
    assert [False, True] == sorted(row["is_counted"] for row in history(lake).values())


@pytest.mark.parametrize("offsets", [(-2, 3), (3, -2)])
def test_views_are_judged_across_midnight_after_a_kill(
    hot_log: HotLog, postgres: Postgres, lake: Lake, monkeypatch: pytest.MonkeyPatch, offsets: tuple[int, int]
) -> None:
    """The sync that completes a killed one remembers the same views."""
    first, second = (MIDNIGHT + minutes * MINUTE for minutes in offsets)
    hot_log.view(first, received_at=MIDNIGHT + 5 * MINUTE)
    killed_before_commit(postgres, lake, monkeypatch)
    sync(postgres, lake)
    hot_log.view(second, received_at=MIDNIGHT + 5 * MINUTE)
    sync(postgres, lake)
    assert [False, True] == sorted(row["is_counted"] for row in history(lake).values())


def test_a_view_dated_to_tomorrow_harms_nothing(hot_log: HotLog, postgres: Postgres, lake: Lake) -> None:
    """Just after the next midnight by its own account: it has one hash only, of the day it was received."""
    hot_log.view(MIDNIGHT + 3 * MINUTE, received_at=NOON)
    sync(postgres, lake)
    hot_log.view(MIDNIGHT + 4 * MINUTE)
    sync(postgres, lake)
    assert [False, True] == sorted(row["is_counted"] for row in history(lake).values())


def test_every_part_of_a_batch_knows_the_views_before_it(
    hot_log: HotLog, postgres: Postgres, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Views of one address and rule in two parts, each near another one that counted in an earlier batch."""
    for hours in (0, 5):
        hot_log.view(NOON + timedelta(hours=hours))
    sync(postgres, lake)
    monkeypatch.setattr(sync_module, "chunks", functools.partial(chunks, max_rows=1))
    late = [{**VIEW, "ts": (NOON + timedelta(hours=hours, minutes=1)).isoformat()} for hours in (0, 5)]
    hot_log.send(*late, received_at=NOON + timedelta(hours=6))
    sync(postgres, lake)
    assert 2 == sum(row["is_counted"] for row in history(lake).values())


# users


@pytest.fixture
def users(hot_log: HotLog) -> HotLog:
    rows(hot_log.url, USERS)
    rows(
        hot_log.url,
        "insert into users values ('u1', 'admin', %s), ('u2', null, null), ('poison', 'x', 'infinity')",
        NOON - timedelta(days=10, hours=1),
    )
    return hot_log


def test_users_are_looked_up_where_there_is_a_table(users: HotLog, postgres: Postgres, lake: Lake) -> None:
    users.send(copy_of("u1"), copy_of("u2"), copy_of("stranger"))
    sync(postgres, lake, users_table="public.users")
    found = {row["user_id"]: (row["user_role"], row["user_tenure_days"]) for row in history(lake).values()}
    assert {"u1": ("admin", 10), "u2": (None, None), "stranger": (None, None)} == found


@pytest.mark.parametrize("table", [None, "public.nosuch", "nosuch.users"])
def test_without_a_users_table_events_go_on(hot_log: HotLog, postgres: Postgres, lake: Lake, table: str | None) -> None:
    hot_log.send(copy_of("u1"))
    sync(postgres, lake, users_table=table)
    assert [None] == [row["user_role"] for row in history(lake).values()]


def test_a_users_table_may_have_no_role_and_no_age(hot_log: HotLog, postgres: Postgres, lake: Lake) -> None:
    """Ids of another type than text are found too."""
    rows(hot_log.url, "create table users (id integer, name text); insert into users values (7, 'x')")
    rows(hot_log.url, "grant select on users to pipeline_worker")
    hot_log.send(copy_of("7"))
    assert 1 == sync(postgres, lake, users_table="public.users").rows


@pytest.mark.parametrize(
    "table", ["create table users (uid text); grant select on users to pipeline_worker", "create table users (id text)"]
)
def test_a_users_table_that_cannot_be_used_stops_the_sync(
    hot_log: HotLog, postgres: Postgres, lake: Lake, table: str
) -> None:
    """It is a wrong setting, not wrong events: those wait, unharmed, until it is mended."""
    rows(hot_log.url, table)
    hot_log.send(copy_of("u1"))
    with pytest.raises(ConfigurationError, match="EVENTS_USERS_TABLE"):
        sync(postgres, lake, users_table="public.users")
    assert [] == rows(hot_log.url, "select * from events.event_states")
    assert 1 == sync(postgres, lake).rows


def test_an_event_that_cannot_be_enriched_holds_up_no_other(users: HotLog, postgres: Postgres, lake: Lake) -> None:
    """It is found among hundreds, and says why."""
    verdicts = users.send(*(copy_of(f"v{n:03}") for n in range(150)), copy_of("poison"), *([VIEW] * 50))
    report = sync(postgres, lake, users_table="public.users")
    assert (200, 1, 200) == (report.rows, report.held, len(history(lake)))
    poisoned = str(UUID(verdicts[150].event_id))
    (row,) = rows(users.url, "select * from events.platform_events where processing_status <> 'processed'")
    assert (poisoned, "pending", 1) == (str(row["id"]), row["processing_status"], row["retry_count"])
    assert "timestamp too large" in row["error_message"]
    assert 1 == sum(row["is_counted"] for row in history(lake).values() if row["event_type"] == "VIEW")


def test_a_held_event_is_tried_three_times(users: HotLog, postgres: Postgres, lake: Lake) -> None:
    """Again after one minute, then two; then it is dead, with the reason, and left alone."""
    (entry,) = users.send(copy_of("poison"))
    event_id = str(UUID(entry.event_id))
    run = functools.partial(sync, postgres, lake, users_table="public.users")
    pauses = []
    for attempt in (1, 2, 3):
        assert (1, 0) == ((report := run()).held, report.rows)
        found = state(users.url, event_id)
        assert (attempt, True) == (found["retry_count"], found["is_held"])
        if attempt < 3:
            pauses.append((found["next_attempt_at"] - ledger(users.url)[-1]["committed_at"]).total_seconds())
            assert ("pending", SyncReport()) == (found["processing_status"], run())
            time_passes(users.url, attempt)
    assert [60.0, 120.0] == pauses
    found = state(users.url, event_id)
    assert ("failed", None) == (found["processing_status"], found["next_attempt_at"])
    assert "timestamp too large" in found["error_message"]
    time_passes(users.url, 1000)
    assert SyncReport() == run()
    assert {} == history(lake)


@pytest.mark.parametrize("failures", [1, 2])
def test_a_held_event_arrives_once_it_can(users: HotLog, postgres: Postgres, lake: Lake, failures: int) -> None:
    """Enriched, counted, and once; beside events that came meanwhile."""
    now = datetime.now(UTC)
    (entry,) = users.send(copy_of("poison"), received_at=now)
    run = functools.partial(sync, postgres, lake, users_table="public.users")
    for attempt in range(1, failures + 1):
        run()
        time_passes(users.url, attempt)
    rows(users.url, "update users set created_at = %s where id = 'poison'", now - timedelta(days=3, hours=1))
    users.send(copy_of("u1"), received_at=now)
    assert (1, 2, 0) == ((report := run()).batches, report.rows, report.held)
    found = state(users.url, str(UUID(entry.event_id)))
    assert ("processed", False, None) == (found["processing_status"], found["is_held"], found["next_attempt_at"])
    assert ["poison", "u1"] == users_in(lake)
    assert 3 in {row["user_tenure_days"] for row in history(lake).values() if row["user_id"] == "poison"}
    assert {2.0} == set(metrics(users.url).values())
    assert SyncReport() == run()


# metrics


def test_metrics_count_what_counts(hot_log: HotLog, postgres: Postgres, lake: Lake) -> None:
    """Per type and hour, and per type and day, each with its time to live; batches add up, repeats do not count."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    shared = {"received_at": hour, "address_keys": {hour.date(): b"key"}}
    hot_log.send(VIEW, VIEW, copy_of(), **shared)
    sync(postgres, lake)
    hot_log.send(copy_of(), **shared)
    sync(postgres, lake)
    found = rows(
        hot_log.url,
        "select metric_name, dimensions, metric_value, extract(epoch from expires_at)::bigint as expires "
        "from events.platform_metrics_realtime order by metric_name, dimensions ->> 'type'",
    )
    day = hour.replace(hour=0)
    assert [(row["metric_name"], row["dimensions"], row["metric_value"]) for row in found] == [
        (name, {"type": kind, "category": "interaction", grain: bucket.isoformat()}, number)
        for name, grain, bucket in (("events_per_day", "day", day), ("events_per_hour", "hour", hour))
        for kind, number in (("COPY", 2), ("VIEW", 1))
    ]
    for row, end in zip(found, [day + timedelta(days=35)] * 2 + [hour + timedelta(hours=48)] * 2, strict=True):
        assert abs(row["expires"] - end.timestamp()) < 60


def test_metrics_of_what_is_long_over_are_not_made(hot_log: HotLog, postgres: Postgres, lake: Lake) -> None:
    hot_log.send(copy_of())
    sync(postgres, lake)
    assert {} == metrics(hot_log.url)


# status


def test_an_event_is_pending_until_it_is_in_the_lake(hot_log: HotLog, postgres: Postgres, lake: Lake) -> None:
    """As the view of the seed says."""
    status = "select processing_status, count(*) from events.platform_events group by 1 order by 1"
    hot_log.send(copy_of(), copy_of())
    assert [{"processing_status": "pending", "count": 2}] == rows(hot_log.url, status)
    sync(postgres, lake)
    hot_log.send(copy_of())
    assert [{"processing_status": "pending", "count": 1}, {"processing_status": "processed", "count": 2}] == rows(
        hot_log.url, status
    )


def test_an_event_longer_than_a_block_of_the_reader_reaches_the_lake(
    hot_log: HotLog, postgres: Postgres, lake: Lake
) -> None:
    """And does not keep back those behind it."""
    hot_log.send(copy_of(data={"text": "x" * 4_000_000}), copy_of("behind"))
    assert 2 == sync(postgres, lake).rows
    longest = max(len(row["event_data"]) for row in history(lake).values())
    assert longest > 4_000_000


def test_a_day_that_got_events_is_marked_in_the_transaction_of_its_batch(
    hot_log: HotLog, postgres: Postgres, lake: Lake
) -> None:
    """A run that is killed before it reports the day leaves that to the next."""
    late = NOON - timedelta(days=40)
    hot_log.send(copy_of(ts=late.isoformat()), copy_of(ts=NOON.isoformat()))
    sync(postgres, lake)
    changed = [row["day"] for row in rows(hot_log.url, "select day from events.changed_days order by day")]
    assert [late.date(), NOON.date()] == changed
