"""Every event is accounted for: received = stored + duplicate + rejected, stored = in the lake + pending + dead."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ingestion_pipeline.domains.events import sync as sync_module
from ingestion_pipeline.domains.events.checks import MOST_LAG_SECONDS, Account, accounts
from ingestion_pipeline.domains.events.sync import ALL_TIME, sync
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.hot_log import NOON, HotLog, rows
from ingestion_pipeline_tests.pipeline import Pipeline

COPY = {"type": "COPY", "ruleId": "r1"}
DAY = NOON.date()
BALANCED = Account(
    day=DAY, received=10, stored=6, duplicate=3, rejected=1, erased=1, hot=7, by_intake=5, pending=3, dead=1, in_lake=3
)


def account(postgres: Postgres, lake: Lake, day: date = DAY) -> Account:
    (found,) = accounts(postgres, lake, day, day)
    return found


def traffic(hot_log: HotLog, at: datetime = NOON) -> None:
    """Seven received: four stored, two duplicates, one rejected; and two emitted by a transaction of ours."""
    keyed = {**COPY, "idempotencyKey": f"k{at}"}
    hot_log.send(COPY, keyed, keyed, {"type": "NOSUCH"}, COPY, COPY, keyed, received_at=at)


@pytest.mark.parametrize(
    "wrong",
    [
        {"received": 11},
        {"stored": 7},
        {"duplicate": 2},
        {"rejected": 0},
        {"erased": 0},
        {"hot": 8},
        {"by_intake": 6},
        {"pending": 2},
        {"dead": 0},
        {"in_lake": 4},
    ],
)
def test_an_account_balances_only_if_every_number_fits(wrong: dict[str, int]) -> None:
    assert BALANCED.is_balanced
    assert not replace(BALANCED, **wrong).is_balanced


def test_a_day_without_events_has_no_account(postgres: Postgres, lake: Lake) -> None:
    assert [] == accounts(postgres, lake, DAY, DAY)


def test_the_account_of_a_day_follows_its_events(hot_log: HotLog, postgres: Postgres, lake: Lake) -> None:
    """Pending, then in the lake; what came after the sync is pending again."""
    traffic(hot_log)
    expected = Account(
        day=DAY,
        received=7,
        stored=4,
        duplicate=2,
        rejected=1,
        erased=0,
        hot=4,
        by_intake=4,
        pending=4,
        dead=0,
        in_lake=0,
    )
    assert (expected, True) == ((found := account(postgres, lake)), found.is_balanced)
    sync(postgres, lake)
    synced = replace(expected, pending=0, in_lake=4)
    assert (synced, True) == ((found := account(postgres, lake)), found.is_balanced)
    hot_log.send(COPY, received_at=NOON + timedelta(hours=1))
    assert replace(synced, received=8, stored=5, hot=5, by_intake=5, pending=1) == account(postgres, lake)


def test_accounts_go_by_the_utc_day_of_reception(hot_log: HotLog, postgres: Postgres, lake: Lake) -> None:
    """A late event is in the lake under its own day and in the account of the day it came."""
    midnight = NOON + timedelta(hours=12)
    late = (NOON - timedelta(days=3)).isoformat()
    hot_log.send({**COPY, "ts": late}, received_at=midnight - timedelta(microseconds=1))
    hot_log.send({**COPY, "ts": late}, COPY, received_at=midnight)
    sync(postgres, lake)
    found = accounts(postgres, lake, DAY - timedelta(days=3), DAY + timedelta(days=2))
    assert [(DAY, 1), (DAY + timedelta(days=1), 2)] == [(it.day, it.in_lake) for it in found]
    assert all(it.is_balanced for it in found)


def test_emitted_events_are_accounted_for(hot_log: HotLog, postgres: Postgres, lake: Lake) -> None:
    """They did not pass the intake, which did not count them; the lake has them all the same."""
    with psycopg.connect(hot_log.url) as connection:
        connection.execute("select events.emit_platform_event('COPY', rule_id => 'r1')")
    today = datetime.now(UTC).date()
    (before,) = accounts(postgres, lake, today - timedelta(days=1), today)
    sync(postgres, lake)
    (after,) = accounts(postgres, lake, today - timedelta(days=1), today)
    assert [(0, 1, 0, 1, 0, True), (0, 1, 0, 0, 1, True)] == [
        (it.received, it.hot, it.by_intake, it.pending, it.in_lake, it.is_balanced) for it in (before, after)
    ]


def test_held_events_are_pending_and_dead_ones_dead(hot_log: HotLog, postgres: Postgres, lake: Lake) -> None:
    rows(
        hot_log.url,
        "create table public.users (id text, created_at timestamptz); insert into users values ('u', 'infinity')",
    )
    rows(hot_log.url, "grant select on public.users to pipeline_worker")
    hot_log.send(COPY, {**COPY, "userId": "u"})
    seen = []
    for _ in range(3):
        sync(postgres, lake, users_table="public.users")
        found = account(postgres, lake)
        seen.append((found.in_lake, found.pending, found.dead, found.is_balanced))
        rows(hot_log.url, "update events.event_states set next_attempt_at = now()  where processing_status = 'pending'")
    assert [(1, 1, 0, True), (1, 1, 0, True), (1, 0, 1, True)] == seen


def test_what_is_in_the_lake_but_not_committed_is_not_miscounted(
    hot_log: HotLog, postgres: Postgres, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill between the two the account does not balance, until the next sync has completed the batch."""

    def stop(*_: object, **__: object) -> None:
        raise RuntimeError

    traffic(hot_log)
    with monkeypatch.context() as patch:
        patch.setattr(sync_module, "_commit", stop)
        with pytest.raises(RuntimeError):
            sync(postgres, lake)
    assert not account(postgres, lake).is_balanced
    sync(postgres, lake)
    assert account(postgres, lake).is_balanced


# the check as Dagster runs it


def outcome(pipeline: Pipeline) -> tuple[bool, dict[str, Any]]:
    """Whether the check passes, and its metadata."""
    result = pipeline.run("events_accounts_job")
    (found,) = [
        it for it in result.get_asset_check_evaluations() if it.check_name == "event_history_accounts_for_every_event"
    ]
    return found.passed, {name: value.value for name, value in found.metadata.items()}


def today() -> datetime:
    """An instant of the last days, so that the check looks at it; never of tomorrow."""
    return datetime.now(UTC) - timedelta(days=1)


def test_the_check_passes_while_every_event_is_somewhere(hot_log: HotLog, pipeline: Pipeline) -> None:
    traffic(hot_log, today())
    sync(pipeline.postgres, pipeline.lake)
    assert (True, {"days": 1, "events": 7, "lag_seconds": 0.0}) == outcome(pipeline)


def test_the_check_fails_while_events_wait_too_long(hot_log: HotLog, pipeline: Pipeline) -> None:
    """Every event is accounted for, but the lake has not seen those of a day ago."""
    traffic(hot_log, today())
    passed, metadata = outcome(pipeline)
    assert (False, 7) == (passed, metadata["events"])
    assert "examples" not in metadata
    assert metadata["lag_seconds"] > MOST_LAG_SECONDS


@pytest.mark.parametrize(
    "damage",
    [
        "delete from events.event_log where ctid = (select min(ctid) from events.event_log)",
        "update events.intake_counts set received = received + 1",
        "insert into events.event_log select * from events.event_log limit 1",
        "lake",
    ],
)
def test_the_check_fails_when_an_event_is_missing_or_doubled(hot_log: HotLog, pipeline: Pipeline, damage: str) -> None:
    """Deleted or doubled by hand in the log, miscounted, or gone from the lake; it shows the day and the numbers."""
    traffic(hot_log, today())
    sync(pipeline.postgres, pipeline.lake)
    if damage == "lake":
        kept = pipeline.lake.read(EVENT_HISTORY, ALL_TIME).to_pyarrow().slice(1)
        pipeline.lake.replace(EVENT_HISTORY, kept, ALL_TIME)
    else:
        rows(hot_log.url, damage)
    passed, metadata = outcome(pipeline)
    assert not passed
    assert today().date().isoformat() in metadata["examples"]
