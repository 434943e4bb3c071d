"""A person erased, or made anonymous, everywhere: searched for in every table and every file of the lake."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.core.ids import digest
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.events import erasure as module
from ingestion_pipeline.domains.events.checks import accounts
from ingestion_pipeline.domains.events.erasure import (
    Erasure,
    Mode,
    changed_days,
    erase,
    has_erasure_requests,
    run_erasure_requests,
    settle_changed_days,
)
from ingestion_pipeline.domains.events.export import export
from ingestion_pipeline.domains.events.sync import ALL_TIME, WRITER, sync
from ingestion_pipeline.domains.events.tables import ACTIVE_USERS, EVENT_HISTORY
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.event_reader import next_batch
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import python
from ingestion_pipeline_tests.command import run
from ingestion_pipeline_tests.domains.events.traces import traces
from ingestion_pipeline_tests.hot_log import HotLog, as_intake, rows, value
from ingestion_pipeline_tests.intake.process import REAL, TOKEN, Intake, running

ALICE, BOB = "alice-canary-1", "bob-canary-2"
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@dataclass
class Held:
    """A pipeline that holds events of ALICE and BOB."""

    url: str
    hot_log: HotLog
    postgres: Postgres
    lake: Lake
    settings: Settings

    def send(self, user: str, number: int, *, days_ago: int = 0, **over: Any) -> None:
        event = {
            "type": "search.performed",
            "userId": user,
            "sessionId": f"session-of-{user}",
            "ts": (NOW - days_ago * DAY).isoformat(),
            "idempotencyKey": f"{user}-{number}-{days_ago}",
            "data": {"query": f"name of {user}", "results_count": number, "search_time_ms": 1.5},
            "context": {"userAgent": f"Browser of {user}", "locale": "en"},
            **over,
        }
        self.hot_log.send(event, received_at=NOW, address="203.0.113.9", sent_at=NOW)

    def sync(self) -> int:
        return sync(self.postgres, self.lake).rows

    def derive(self) -> None:
        """As the asset events/active_users does."""
        from ingestion_pipeline.domains.events.derived_assets import _store_active_users

        _store_active_users(self.lake, Window.of_days((NOW - 9 * DAY).date(), NOW.date()))

    def erase(self, mode: Mode = "erase", user: str = ALICE) -> Erasure:
        return erase(self.postgres, self.lake, self.settings, user, mode=mode, by="tests", request_id="request-1")

    def traces(self, text: str = ALICE) -> list[str]:
        return traces(self.url, Path(self.lake.root), text)

    def history(self, user: str | None) -> list[dict[str, Any]]:
        history = self.lake.read(EVENT_HISTORY, ALL_TIME)
        theirs = history.filter(history.user_id.isnull() if user is None else history.user_id == user)
        return theirs.order_by("event_id").to_pyarrow().to_pylist()

    def hot(self, user: str | None) -> list[dict[str, Any]]:
        return rows(
            self.url, "select * from events.event_log where user_id is not distinct from %s order by event_id", user
        )

    def is_balanced(self) -> bool:
        found = accounts(self.postgres, self.lake, NOW.date(), NOW.date())
        return bool(found) and all(account.is_balanced for account in found)


@pytest.fixture
def empty(hot_log: HotLog, postgres: Postgres, lake: Lake, settings: Settings, database_url: str) -> Held:
    return Held(database_url, hot_log, postgres, lake, settings)


@pytest.fixture
def held(empty: Held) -> Held:
    """Of each: three events in the lake on two days, one that waits, one refused, one that failed, an active day."""
    for user in (ALICE, BOB):
        empty.send(user, 1)
        empty.send(user, 2)
        empty.send(user, 3, days_ago=3)
    assert 6 == empty.sync()
    empty.derive()
    for user in (ALICE, BOB):
        empty.send(user, 4)
        empty.send(user, 5, colour="red")
        empty.send(user, 6, type=f"unknown.of.{user}")
    rows(
        empty.url,
        "insert into events.event_states (event_id, received_at, processing_status, retry_count, error_message) "
        "select event_id, received_at, 'failed', 3, 'no room for ' || user_id from events.event_log "
        "where event_data ->> 'results_count' = '2'",
    )
    rows(
        empty.url,
        "insert into operations.api_requests select now(), 'r', 'GET', '/x', 200, 1, 1, 1, caller "
        "from unnest(%s::text[]) as caller",
        [ALICE, BOB],
    )
    return empty


def test_the_canary_is_found_everywhere_before(held: Held) -> None:
    """Else the tests below would prove nothing."""
    found = held.traces()
    assert {"events.event_states", "operations.rejects", "operations.api_requests"} < set(found)
    assert {"event_log", "history", "active_users"} == {
        name for name in ("event_log", "history", "active_users") if any(name in place for place in found)
    }
    assert held.is_balanced()


def test_nothing_of_an_erased_person_is_left(held: Held) -> None:
    """In no table, in no file, also of older versions; of others nothing is missing."""
    before = held.history(BOB), held.hot(BOB), held.traces(BOB)
    done = held.erase()
    assert [] == held.traces()
    assert before[:2] == (held.history(BOB), held.hot(BOB))
    assert len(before[2]) >= len(held.traces(BOB)) > 0
    expected = {"hot_events": 4, "rejects": 2, "requests": 1, "lake_events": 3, "active_days": 2}
    assert (expected, None) == (dict(done.removed), done.user_id)
    assert [(NOW - 3 * DAY).date(), NOW.date()] == done.days
    assert held.is_balanced()
    assert 1 == held.sync()
    assert held.is_balanced()


def test_an_anonymous_person_leaves_figures(held: Held) -> None:
    """Type, time, country, numbers stay; what names, links or describes does not."""
    before = held.history(ALICE)
    done = held.erase("anonymise")
    assert [] == held.traces()
    assert (3, []) == (len(held.history(None)), held.history(ALICE))
    for old, new in zip(before, held.history(None), strict=True):
        assert json.loads(new["event_data"]) == {
            "results_count": json.loads(old["event_data"])["results_count"],
            "search_time_ms": 1.5,
        }
        assert "{}" == new["metadata"]
        gone = {"user_id", "session_id", "address_hash", "user_role", "user_tenure_days", "clock_skew_seconds"}
        assert {None} == {new[name] for name in gone}
        assert all(old[name] == new[name] for name in set(old) - gone - {"event_data", "metadata"})
    for row in held.hot(None):
        assert {"results_count", "search_time_ms"} == set(row["event_data"])
        assert {None} == {row[name] for name in ("session_id", "idempotency_key", "address_hash", "clock_skew_seconds")}
    assert (4, 3) == (done.removed["hot_events"], done.removed["lake_events"])
    assert held.is_balanced()
    assert 2 == held.sync()
    assert [] == held.traces()
    assert held.is_balanced()


@pytest.mark.parametrize("mode", ["erase", "anonymise"])
def test_once_more_changes_nothing(held: Held, mode: Mode) -> None:
    held.erase(mode)
    before = held.history(None), held.hot(None)
    again = held.erase(mode)
    assert {0} == set(again.removed.values())
    assert (before, []) == ((held.history(None), held.hot(None)), again.days)


def test_anonymous_then_erased(held: Held) -> None:
    """What is anonymous belongs to nobody and stays."""
    held.erase("anonymise")
    assert 0 == held.erase("erase").removed["lake_events"]
    assert 3 == len(held.history(None))


@pytest.mark.parametrize(
    "user",
    ["o'hara", 'say "hi"', "back\\slash", "100%_", "Zoë 🦉", "'; drop table events.event_log; --", "a\tb\nc", " "],
)
def test_ids_of_any_spelling(empty: Held, user: str) -> None:
    """One is erased and nobody else."""
    empty.send(user, 1)
    empty.send(user + "x", 1)
    empty.sync()
    empty.send(user, 2, colour="red")
    done = empty.erase(user=user)
    assert (1, 1, 1) == (done.removed["lake_events"], done.removed["hot_events"], done.removed["rejects"])
    assert ([], 1) == (empty.history(user), len(empty.history(user + "x")))


def test_rejects_that_name_the_person_elsewhere_go_too(empty: Held) -> None:
    """Under a wrong name, which was the reason; in a text that could not be read; from a trigger."""
    empty.hot_log.send({"type": "VIEW", "user_id": ALICE}, {"type": "VIEW", "user": ALICE}, received_at=NOW)
    empty.hot_log.send(f'{{"userId": "{ALICE}", '.encode(), {"type": "VIEW", "userId": BOB}, received_at=NOW)
    rows(empty.url, "select events.emit_platform_event('none', null, %s)", ALICE)
    assert 4 == empty.erase().removed["rejects"]
    assert ([], 1) == (empty.traces(), len(empty.hot_log.rejects()))


def test_files_of_killed_writers_go_too(held: Held) -> None:
    """A sync that was killed leaves a file that no version knows."""
    file = next(Path(held.lake.uri(EVENT_HISTORY)).glob("day=*/*.parquet"))
    shutil.copy(file, file.with_name("part-left-behind.parquet"))
    held.erase()
    assert [] == held.traces()


def test_a_large_history_is_changed_part_by_part(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with the days that a person was there."""
    monkeypatch.setattr(module, "ROWS_PER_MERGE", 1)
    assert 3 == held.erase("anonymise").removed["lake_events"]
    merges = [it for it in DeltaTable(held.lake.uri(EVENT_HISTORY)).history() if it["operation"] == "MERGE"]
    assert (2, []) == (len(merges), held.traces())


def test_compaction_brings_no_name_into_the_log(held: Held) -> None:
    """Nor do checkpoints: what is least and greatest in a file is told of numbers and instants only."""
    held.lake.compact(EVENT_HISTORY, ALL_TIME)
    held.lake.tidy(EVENT_HISTORY.path)
    logs = sorted((Path(held.lake.uri(EVENT_HISTORY)) / "_delta_log").iterdir())
    assert any(file.suffix == ".parquet" for file in logs)
    assert [] == [file.name for file in logs if ALICE.encode() in file.read_bytes()]
    held.erase()
    assert [] == held.traces()


def test_a_batch_that_is_in_the_lake_is_still_known(held: Held) -> None:
    """Neither erasing nor tidying lets a batch in twice."""
    last = value(held.url, "select max(batch_number) from events.warehouse_sync_status")
    held.erase()
    held.lake.tidy(EVENT_HISTORY.path)
    assert held.lake.has_batch(EVENT_HISTORY, writer=WRITER, batch_number=last)
    assert not held.lake.append(EVENT_HISTORY, iter([]), writer=WRITER, batch_number=last)
    assert held.sync() == 1


@pytest.mark.parametrize("is_written", [False, True], ids=["planned", "in the lake"])
@pytest.mark.parametrize("mode", ["erase", "anonymise"])
def test_a_sync_that_was_begun_is_finished_without_the_person(held: Held, mode: Mode, *, is_written: bool) -> None:
    """Killed after the plan, or after the rows were in the lake: each of the others is there once."""
    if is_written:
        held.sync()
        rows(
            held.url,
            "update events.warehouse_sync_status set status = 'planned', committed_at = null where batch_number = 2",
        )
        rows(held.url, "delete from events.platform_metrics_realtime")
    else:
        next_batch(held.postgres, max_rows=100)
    held.erase(mode)
    held.sync()
    assert (4, []) == (len(held.history(BOB)), held.traces())
    assert (0 if mode == "erase" else 4) == len(held.history(None))
    assert held.is_balanced()
    held.send(BOB, 7)
    assert 1 == held.sync()


def test_a_batch_of_which_nothing_is_left_does_not_stop_the_sync(empty: Held) -> None:
    empty.send(ALICE, 1)
    next_batch(empty.postgres, max_rows=100)
    empty.erase()
    assert 0 == empty.sync()
    empty.send(BOB, 1)
    assert 1 == empty.sync()
    assert (1, []) == (len(empty.history(BOB)), empty.traces())


def test_an_event_that_comes_later_is_a_new_one(held: Held) -> None:
    """An erasure is no ban; a late copy of an erased event stays away by its key."""
    held.erase()
    held.send(ALICE, 1)
    held.send(ALICE, 99)
    assert [99] == [row["event_data"]["results_count"] for row in held.hot(ALICE)]


def test_what_was_done_can_be_proved_and_names_nobody(held: Held) -> None:
    """Who, what, when, in which request, about whom: the person as the hash of their id."""
    done = held.erase()
    log = rows(held.url, "select * from operations.audit_log order by audit_id")
    assert ["erase requested", "erase completed"] == [row["action"] for row in log]
    assert {("tests", "request-1", digest(ALICE.encode()))} == {
        (row["actor"], row["request_id"], row["subject_digest"]) for row in log
    }
    assert {"erasure_id": str(done.erasure_id), "removed": dict(done.removed), "days": 2} == log[1]["details"]
    (request,) = rows(held.url, "select status, user_id, completed_at from events.erasure_requests")
    assert ("completed", None, True) == (request["status"], request["user_id"], request["completed_at"] is not None)


def test_changed_days_are_there_until_somebody_has_seen_to_them(held: Held) -> None:
    """A day that changes once more meanwhile stays."""
    settle_changed_days(held.postgres, changed_days(held.postgres))
    assert [] == changed_days(held.postgres)
    held.erase()
    seen = changed_days(held.postgres)
    assert [(NOW - 3 * DAY).date(), NOW.date()] == [changed.day for changed in seen]
    held.sync()
    held.erase(user=BOB)
    settle_changed_days(held.postgres, seen)
    assert 2 == len(changed_days(held.postgres))
    settle_changed_days(held.postgres, changed_days(held.postgres))
    assert [] == changed_days(held.postgres)


def test_days_of_which_a_class_has_expired_are_not_derived_again(empty: Held) -> None:
    """They would be derived from what is left of them."""
    empty.send(ALICE, 1, days_ago=300)
    empty.send(ALICE, 2, days_ago=400, type="user.login")
    empty.sync()
    settle_changed_days(empty.postgres, changed_days(empty.postgres))
    done = empty.erase()
    assert ([(NOW - 400 * DAY).date(), (NOW - 300 * DAY).date()], [(NOW - 300 * DAY).date()]) == (
        done.days,
        [changed.day for changed in changed_days(empty.postgres)],
    )


STEPS = {
    "before the lake": ("Lake.merge", "before"),
    "after the lake": ("Lake.merge", "after"),
    "before active users": ("_erase_active_users", "before"),
    "before the end": ("_complete", "before"),
    "after the end": ("_complete", "after"),
}


@pytest.mark.parametrize("mode", ["erase", "anonymise"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_it_is_completed_by_who_comes_next(
    held: Held, worker_url: str, step: str, mode: Mode, tmp_path: Path
) -> None:
    """kill -9; the request knows the person until it is done, then not any more."""
    name, when = STEPS[step]
    code = """
    import sys
    from ingestion_pipeline.domains.events import erasure
    from ingestion_pipeline.settings import Settings
    from ingestion_pipeline.storage.lake import Lake
    from ingestion_pipeline.storage.postgres import Postgres

    url, home, user, mode, name, when = sys.argv[1:]
    owner, _, attribute = name.rpartition(".")
    owner = Lake if owner else erasure
    real = getattr(owner, attribute)

    def stop():
        print("stopped", flush=True)
        sys.stdin.read()

    def stopping(*arguments, **options):
        if when == "before":
            stop()
        result = real(*arguments, **options)
        stop()
        return result

    setattr(owner, attribute, stopping)
    settings = Settings.from_environment({"DATABASE_URL": url, "INGESTION_HOME": home, "LOG_LEVEL": "error"})
    erasure.erase(Postgres(url), Lake(settings), settings, user, mode=mode, by="child")
    """
    with python(code, worker_url, str(tmp_path), ALICE, mode, name, when) as child:
        assert "stopped\n" in iter(child.stdout.readline, "")
        child.kill()
        child.wait()
    is_done = step == "after the end"
    assert has_erasure_requests(held.postgres) is not is_done
    assert [] == [
        done.user_id for done in run_erasure_requests(held.postgres, held.lake, held.settings) if done.user_id
    ]
    assert [] == held.traces()
    assert (3, 0 if mode == "erase" else 3) == (len(held.history(BOB)), len(held.history(None)))
    (request,) = rows(held.url, "select status, removed, days from events.erasure_requests")
    expected = {"hot_events": 4, "rejects": 2, "requests": 1, "lake_events": 3, "active_days": 2}
    assert ("completed", expected, 2) == (request["status"], request["removed"], len(request["days"]))
    assert ["erase completed" if mode == "erase" else "anonymise completed"] == [
        row["action"]
        for row in rows(held.url, "select action from operations.audit_log where action like '%%completed'")
    ]
    assert 2 == len(changed_days(held.postgres))
    assert held.is_balanced()


def test_one_request_that_fails_does_not_stop_the_others(held: Held, worker_url: str, tmp_path: Path) -> None:
    """A warehouse that is not set up is said in the request, which stays open."""
    broken = Settings.from_environment(
        {"DATABASE_URL": worker_url, "INGESTION_HOME": str(tmp_path), "WAREHOUSE": "bigquery"}
    )
    with pytest.raises(ConfigurationError):
        erase(held.postgres, held.lake, broken, ALICE, by="tests")
    with pytest.raises(ConfigurationError):
        run_erasure_requests(held.postgres, held.lake, broken)
    (request,) = rows(held.url, "select status, error_message from events.erasure_requests")
    assert ("requested", True) == (request["status"], bool(request["error_message"]))
    assert ALICE not in request["error_message"]
    rows(held.url, NOW_DUE)
    assert 1 == len(run_erasure_requests(held.postgres, held.lake, held.settings))
    assert [] == held.traces()


REFUSE = """
create function public.refuse() returns trigger language plpgsql as $$ begin
    raise 'not first' using detail = 'Failing row contains (first, Ada).';
end $$;
create trigger refuse before update of removed on events.erasure_requests for each row
when (old.user_id = 'first') execute function public.refuse()
"""


def test_one_request_that_postgresql_refuses_does_not_stop_the_others(held: Held) -> None:
    """The reason is said in the request, which is tried again; no row is, as whoever reads requests may read no rows."""
    with psycopg.connect(held.url, autocommit=True) as connection:
        for person in ("first", ALICE):
            connection.execute("select events.request_erasure(%s, 'erase', 'tests')", [person])
        connection.execute(REFUSE)
    with pytest.raises(psycopg.Error, match="not first"):
        run_erasure_requests(held.postgres, held.lake, held.settings)
    assert [] == held.traces()
    (request,) = rows(
        held.url, "select attempt_count, error_message from events.erasure_requests where user_id = 'first'"
    )
    assert {"attempt_count": 1, "error_message": "not first"} == request


NOW_DUE = "update events.erasure_requests set next_attempt_at = now()"
WAITS = """
select round(extract(epoch from next_attempt_at - clock_timestamp()) / 60)::integer as minutes
from events.erasure_requests
"""


def test_a_request_that_fails_waits_longer_each_time(held: Held, worker_url: str, tmp_path: Path) -> None:
    """1, 2, 4 … 60 minutes; meanwhile nobody is asked for a run. Asked for again, it is due at once."""
    given = {"DATABASE_URL": worker_url, "INGESTION_HOME": str(tmp_path), "WAREHOUSE": "bigquery"}
    broken, waits = Settings.from_environment(given), []
    request = "select events.request_erasure(%s, 'erase', 'tests')"
    rows(held.url, request, ALICE)
    for _ in range(8):
        assert has_erasure_requests(held.postgres)
        with pytest.raises(ConfigurationError):
            run_erasure_requests(held.postgres, held.lake, broken)
        assert not has_erasure_requests(held.postgres)
        assert [] == run_erasure_requests(held.postgres, held.lake, broken)
        waits.append(value(held.url, WAITS))
        rows(held.url, NOW_DUE)
    assert [1, 2, 4, 8, 16, 32, 60, 60] == waits
    rows(held.url, "update events.erasure_requests set next_attempt_at = now() + interval '1 hour'")
    rows(held.url, request, ALICE)
    assert has_erasure_requests(held.postgres)


def test_a_request_stays_open_while_a_warehouse_out_of_reach_holds_copies(held: Held) -> None:
    """By the ledger, whether WAREHOUSE was unset or changed; nothing else is left undone meanwhile."""
    rows(
        held.url,
        "insert into events.warehouse_sync_status (warehouse_type, batch_number, status, committed_at) "
        "values ('redshift', 1, 'committed', now())",
    )
    with pytest.raises(ConfigurationError, match="WAREHOUSE='': expected redshift, which holds copies"):
        held.erase()
    assert ["events.erasure_requests"] == held.traces()
    assert has_erasure_requests(held.postgres)
    with pytest.raises(ConfigurationError):
        run_erasure_requests(held.postgres, held.lake, held.settings)
    assert "redshift" in value(held.url, "select error_message from events.erasure_requests")
    # what the copy's own part of an erasure records
    rows(held.url, """update events.erasure_requests set removed = removed || '{"redshift_events": 3}'""")
    rows(held.url, NOW_DUE)
    assert [None] == [done.user_id for done in run_erasure_requests(held.postgres, held.lake, held.settings)]
    assert [] == held.traces()


def test_the_first_day_of_a_settled_cohort_stays_without_the_name(empty: Held) -> None:
    """Weeks that are derived later count cohorts of the same size; of days that are derived again nothing stays."""
    old, new = (NOW - 500 * DAY).date(), (NOW - 3 * DAY).date()
    active = pa.table(
        {"user_id": [ALICE, BOB, ALICE, "carol"], "is_new": [True, True, False, True], "day": [old, old, new, new]}
    )
    empty.lake.replace(ACTIVE_USERS, active, Window.of_days(old, new))
    assert [2, 1] == [empty.erase(user=user).removed["active_days"] for user in (ALICE, "carol")]
    found = empty.lake.read(ACTIVE_USERS, ALL_TIME).to_pyarrow().to_pylist()
    assert {(old, True, True), (old, True, False)} == {
        (row["day"], row["is_new"], row["user_id"] == BOB) for row in found
    }
    assert (2, []) == (len(found), empty.traces())


def test_only_registered_numbers_stay_of_an_anonymous_event(empty: Held) -> None:
    """A number that no schema names may be a phone number; a property may have several types."""
    schema = '{"type": "object", "properties": {"on": {"type": ["boolean", "null"]}, "n": {"type": "integer"}}}'
    rows(
        empty.url,
        "insert into events.event_schemas (event_type, event_category, retention_class, json_schema) "
        "values ('survey.filled', 'content', 'content', %s)",
        schema,
    )
    data = {"on": True, "n": 7, "phone": 491701234567, "vip": True, "name": "x", "deep": {"n": 1}}
    empty.send(ALICE, 1, type="survey.filled", data=data)
    empty.sync()
    empty.send(ALICE, 2, type="survey.filled", data=data)
    empty.erase("anonymise")
    assert [{"on": True, "n": 7}] == [json.loads(row["event_data"]) for row in empty.history(None)]
    assert [{"on": True, "n": 7}] * 2 == [row["event_data"] for row in empty.hot(None)]


@pytest.mark.parametrize(
    ("event", "is_named"),
    [
        ({"data": {"viewers": [{"who": "4711"}]}}, True),
        ({"userId": 4711}, True),
        ({"data": [{"profile_id": 4711}]}, True),
        ({"type": "VIEW", "schemaVersion": 4711, "data": {"price": 4711}}, False),
        ({"userId": "47110", "data": {"4711": 1}}, False),
        ({"userId": 47.11}, False),
        ("4711", True),
        ({"unreadable": '{"userId": "4711", '}, True),
        (None, False),
    ],
)
def test_who_a_refused_event_names(database_url: str, event: object, *, is_named: bool) -> None:
    """An id is a text equal to it anywhere, a number where ids and users stand; a price is no person."""
    assert is_named is value(database_url, "select events.names_person(%s::jsonb, '4711')", json.dumps(event))


def test_everything_held_is_handed_over(held: Held) -> None:
    """Each part, of this person only; audited."""
    records = list(export(held.postgres, held.lake, ALICE, by="tests", request_id="request-2"))
    assert ["hot_log"] * 4 + ["lake"] * 3 + ["active_days"] * 2 + ["rejects"] * 2 + ["requests"] == [
        record.part for record in records
    ]
    assert [1, 2, 3, 4] == sorted(record.content["event_data"]["results_count"] for record in records[:4])
    failed = [record.content["state"] for record in records[:4] if record.content["state"]]
    assert [f"no room for {ALICE}"] == [state["error_message"] for state in failed]
    assert {ALICE} == {record.content["user_id"] for record in records[:9]}
    assert BOB not in str(records)
    (audited,) = rows(held.url, "select actor, action, subject_digest, request_id from operations.audit_log")
    assert ("tests", "export", digest(ALICE.encode()), "request-2") == tuple(audited.values())
    assert [] == list(export(held.postgres, held.lake, "nobody", by="tests"))


def test_an_export_goes_on_after_any_record(held: Held) -> None:
    """What a page of the endpoint is made of."""
    records = list(export(held.postgres, held.lake, ALICE, by="tests"))
    for number, record in enumerate(records):
        assert records[number + 1 :] == list(export(held.postgres, held.lake, ALICE, by="tests", after=record))


@pytest.fixture
def intake(held: Held, worker_url: str, tmp_path: Path) -> Iterator[Intake]:
    with running(as_intake(held.url), tmp_path, REAL) as found:
        yield found


def test_over_http(held: Held, intake: Intake) -> None:
    """Recorded, and gone from PostgreSQL at once; a worker does the rest; the address says how far it is."""
    body = json.dumps({"userId": ALICE}).encode()
    asked = intake.post("/api/events/erase", body)
    assert 202 == asked.status_code, asked.text
    assert ("requested", 4, []) == (asked.json()["status"], asked.json()["removed"]["hot_events"], held.hot(ALICE))
    again = intake.post("/api/events/erase", body)
    assert asked.json()["erasureId"] == again.json()["erasureId"]
    address = asked.headers["location"]
    assert "requested" == intake.get(address, headers=TOKEN).json()["status"]
    assert 1 == len(run_erasure_requests(held.postgres, held.lake, held.settings))
    answer = intake.get(address, headers=TOKEN).json()
    assert ("completed", 3) == (answer["status"], answer["removed"]["lake_events"])
    assert [] == held.traces()
    assert held.is_balanced()
    unknown = [intake.get(f"/api/events/erasures/{name}", headers=TOKEN) for name in ("x", digest(b"")[:32])]
    assert [404, 404] == [answer.status_code for answer in unknown]


def test_an_export_over_http_is_the_same_page_by_page(held: Held, intake: Intake) -> None:
    expected = [(record.part, record.position) for record in export(held.postgres, held.lake, ALICE, by="tests")]
    found, query = [], {"userId": ALICE, "limit": "5"}
    while True:
        page = intake.get("/api/events/export", headers=TOKEN, params=query)
        assert 200 == page.status_code, page.text
        found += [record["part"] for record in page.json()["records"]]
        if not (cursor := page.json()["nextCursor"]):
            break
        query["cursor"] = cursor
    assert [part for part, _ in expected] == found
    audited = rows(held.url, "select details ->> 'after' as after from operations.audit_log where action = 'export'")
    assert [None, None, "lake", "rejects"] == [row["after"] for row in audited], "each page, and the one above"
    for cursor in ("x", "WyJyZWplY3RzIiwiYSJd", "WyJob3RfbG9nIiwiYSJd", "WyJyZXF1ZXN0cyIsImEiXQ"):
        wrong = intake.get("/api/events/export", headers=TOKEN, params={"userId": ALICE, "cursor": cursor})
        assert (422, "cursor") == (wrong.status_code, wrong.json()["errors"][0]["field"])


def test_the_commands(held: Held, worker_url: str, tmp_path: Path) -> None:
    """Nobody is erased by accident; what was removed is said; what is held is written line by line."""
    where = {"home": tmp_path, "DATABASE_URL": worker_url}
    exported = run("export", "--user", ALICE, "--output", str(tmp_path / "alice.ndjson"), **where)
    assert (0, "12 record(s)") == (exported.returncode, exported.stderr.strip()), exported.stderr
    assert (0o600, []) == ((tmp_path / "alice.ndjson").stat().st_mode & 0o777, list(tmp_path.glob(".alice*")))
    assert 2 == run("export", "--user", ALICE, "--output", str(tmp_path), **where).returncode
    lines = [json.loads(line) for line in (tmp_path / "alice.ndjson").read_text().splitlines()]
    assert (12, {ALICE}) == (len(lines), {line["content"]["user_id"] for line in lines[:9]})
    printed = run("export", "--user", ALICE, **where)
    assert lines == [json.loads(line) for line in printed.stdout.splitlines()]
    refused = run("erase", "--user", ALICE, **where)
    assert (2, True) == (refused.returncode, "--yes" in refused.stderr)
    assert 4 == len(held.hot(ALICE))
    done = run("erase", "--user", ALICE, "--yes", **where)
    assert 0 == done.returncode, done.stderr
    (tmp_path / "alice.ndjson").unlink()
    assert "lake events          3\n" in done.stdout
    assert [] == held.traces()
    assert 0 == run("erase", "--user", BOB, "--anonymise", "--yes", **where).returncode
    assert ([], 3) == (held.traces(BOB), len(held.history(None)))
