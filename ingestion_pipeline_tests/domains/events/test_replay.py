"""What was refused is taken in again once the reason is mended: everything of it, and once."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingestion_pipeline.domains.events import replay as module
from ingestion_pipeline.domains.events.replay import Replayed, Selection, replay, retry_failed
from ingestion_pipeline.domains.events.sync import sync
from ingestion_pipeline.intake.tokens import create_token
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import python
from ingestion_pipeline_tests.command import eventually, run
from ingestion_pipeline_tests.hot_log import HotLog, as_intake, rows, value
from ingestion_pipeline_tests.intake.process import JSON, REAL, TOKEN, Intake, running

NOW = datetime.now(UTC)
HOUR_AGO = NOW - timedelta(hours=1)
ARCHIVED = "project.archived"
EVERYTHING = Selection()


def register(url: str, event_type: str = ARCHIVED, *, required: str = "{}", schema: str = '{"type": "object"}') -> None:
    rows(
        url,
        "insert into events.event_schemas (event_type, event_category, retention_class, required_fields, json_schema) "
        "values (%s, 'content', 'content', %s, %s)",
        event_type,
        required,
        schema,
    )


def archived(number: int, **over: Any) -> dict[str, Any]:
    return {"type": ARCHIVED, "userId": f"u{number}", "data": {"n": number}, **over}


def send_each(hot_log: HotLog, *events: dict[str, Any]) -> None:
    """One request each: rejects of one request are numbered in no order."""
    for event in events:
        hot_log.send(event, received_at=NOW)


def stored(url: str) -> list[int]:
    found = rows(url, "select (event_data ->> 'n')::int as n from events.event_log order by 1")
    return [row["n"] for row in found]


def waiting(url: str) -> dict[int, str]:
    """Rejects that were not replayed: the event's number and the reason."""
    found = rows(
        url,
        "select (payload #>> '{event,data,n}')::int as n, reason from operations.rejects where replayed_at is null",
    )
    return {row["n"]: row["reason"] for row in found}


def balance(url: str) -> dict[str, int]:
    found = rows(
        url,
        "select sum(received)::int as received, sum(stored)::int as stored, sum(duplicate)::int as duplicate, "
        "sum(rejected)::int as rejected from events.intake_counts",
    )
    return dict(found[0])


def test_an_event_comes_back_as_it_came(
    hot_log: HotLog, postgres: Postgres, settings: Settings, database_url: str
) -> None:
    """Its own time by the sender's clock, its sender, its address as a hash: nothing is that of the replay."""
    happened = HOUR_AGO - timedelta(minutes=5)
    event = archived(1, ts=happened.isoformat(), context={"locale": "de"})
    hot_log.send(event, received_at=HOUR_AGO, sent_at=HOUR_AGO - timedelta(seconds=90), user_agent="Firefox")
    kept = rows(database_url, "select payload -> 'received' ->> 'addressHash' as hash from operations.rejects")
    register(database_url)
    assert Replayed(1, 0, 0) == replay(postgres, settings, EVERYTHING, by="tests")
    (row,) = rows(database_url, "select * from events.event_log")
    assert (happened + timedelta(seconds=90), 90.0) == (row["occurred_at"], row["clock_skew_seconds"])
    assert ("tests", "replay", "u1", {"n": 1}) == (row["caller"], row["origin"], row["user_id"], row["event_data"])
    assert {"locale": "de", "userAgent": "Firefox"} == row["metadata"]
    assert kept[0]["hash"] == row["address_hash"] is not None
    assert row["received_at"] > HOUR_AGO
    (reject,) = rows(database_url, "select replayed_at, replayed_as from operations.rejects")
    assert (True, str(row["event_id"])) == (reject["replayed_at"] is not None, reject["replayed_as"])


def test_a_second_replay_finds_nothing(
    hot_log: HotLog, postgres: Postgres, settings: Settings, database_url: str
) -> None:
    """Also without an idempotency key; and what was taken in is accounted for."""
    hot_log.send(*(archived(n) for n in range(3)), {"type": "VIEW", "ruleId": "r", "data": {"n": 9}}, received_at=NOW)
    register(database_url)
    assert [3, 0] == [replay(postgres, settings, EVERYTHING, by="tests").total for _ in range(2)]
    assert [0, 1, 2, 9] == stored(database_url)
    assert {"received": 7, "stored": 4, "duplicate": 0, "rejected": 3} == balance(database_url)


def test_what_is_still_wrong_stays_with_the_reason_of_now(
    hot_log: HotLog, postgres: Postgres, settings: Settings, database_url: str
) -> None:
    hot_log.send(archived(1), {"type": ARCHIVED, "data": {"n": 2}}, archived(3, colour="red"), received_at=NOW)
    register(database_url, required="{userId}")
    assert Replayed(accepted=1, rejected=2) == replay(postgres, settings, EVERYTHING, by="tests")
    reasons = waiting(database_url)
    assert {2, 3} == set(reasons)
    assert "userId is missing" in reasons[2]
    assert "colour" in reasons[3]


def test_what_could_not_be_read_stays(
    hot_log: HotLog, postgres: Postgres, settings: Settings, database_url: str
) -> None:
    """It was kept as a text and is tried as that text."""
    hot_log.send(b'{"type": "VIEW", ', b"[1]", b'"x"', received_at=NOW)
    before = [row["reason"] for row in hot_log.rejects()]
    assert Replayed(rejected=3) == replay(postgres, settings, EVERYTHING, by="tests")
    assert before == [row["reason"] for row in hot_log.rejects()]


def test_an_idempotency_key_still_holds(
    hot_log: HotLog, postgres: Postgres, settings: Settings, database_url: str
) -> None:
    """Of two rejects with one key the first is stored; a key that was used meanwhile makes both duplicates."""
    for number, key in ((1, "k"), (2, "k"), (3, "used")):  # of one caller they would be one reject
        hot_log.send(archived(number, idempotencyKey=key), received_at=NOW, caller=f"caller-{number}")
    hot_log.send({"type": "VIEW", "ruleId": "r", "data": {"n": 4}, "idempotencyKey": "used"}, received_at=NOW)
    register(database_url)
    assert Replayed(accepted=1, duplicates=2) == replay(postgres, settings, EVERYTHING, by="tests")
    assert [1, 4] == stored(database_url)
    became = rows(database_url, "select replayed_as from operations.rejects order by reject_id")
    assert became[0]["replayed_as"] == became[1]["replayed_as"] != became[2]["replayed_as"]


@pytest.fixture
def refused(hot_log: HotLog, database_url: str) -> str:
    """Number 1 of two days ago, 2 and 3 of now, 3 of another type."""
    send_each(hot_log, archived(1), archived(2), archived(3, type="rule.rated"))
    rows(database_url, "update operations.rejects set last_seen_at = now() - interval '2 days' where reject_id = 1")
    register(database_url)
    register(database_url, "rule.rated")
    return database_url


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (EVERYTHING, [1, 2, 3]),
        (Selection(reject_id=2), [2]),
        (Selection(reject_id=99), []),
        (Selection(event_type="rule.rated"), [3]),
        (Selection(reason="RULE.RATED"), [3]),
        (Selection(reason="100%_"), []),
        (Selection(first=NOW - timedelta(days=1)), [2, 3]),
        (Selection(before=NOW - timedelta(days=1)), [1]),
        (Selection(first=NOW - timedelta(days=1), event_type=ARCHIVED), [2]),
    ],
)
def test_selections(
    refused: str, postgres: Postgres, settings: Settings, selection: Selection, expected: list[int]
) -> None:
    """Everything that is given must hold; a dry run finds the same and stores nothing."""
    assert len(expected) == replay(postgres, settings, selection, by="tests", is_dry_run=True).accepted
    assert ([], {1, 2, 3}) == (stored(refused), set(waiting(refused)))
    assert len(expected) == replay(postgres, settings, selection, by="tests").accepted
    assert expected == stored(refused)


def test_no_more_than_asked_for(refused: str, postgres: Postgres, settings: Settings) -> None:
    assert 2 == replay(postgres, settings, EVERYTHING, by="tests", most=2).total
    assert [1, 2] == stored(refused)


def test_a_row_that_postgresql_refuses_leaves_the_others_alone(
    hot_log: HotLog, postgres: Postgres, settings: Settings, database_url: str
) -> None:
    """Narrowed down to that one, which says why; a repeat of its key is not lost with it."""
    send_each(
        hot_log,
        *(archived(n) for n in range(5)),
        archived(5, ruleId="poison", idempotencyKey="k"),
    )
    hot_log.send(archived(6, idempotencyKey="k"), received_at=NOW, caller="another")
    register(database_url)
    rows(database_url, "alter table events.event_log add constraint no_poison check (rule_id <> 'poison')")
    assert Replayed(accepted=6, rejected=1) == replay(postgres, settings, EVERYTHING, by="tests")
    assert [0, 1, 2, 3, 4, 6] == stored(database_url)
    assert "no_poison" in waiting(database_url)[5]


def test_an_event_emitted_by_sql_comes_back(postgres: Postgres, settings: Settings, database_url: str) -> None:
    """What a trigger emitted and was refused has no address and no sender but `sql`."""
    rows(database_url, "select events.emit_platform_event(%s, null, 'u1', '{\"n\": 1}')", ARCHIVED)
    register(database_url)
    assert Replayed(accepted=1) == replay(postgres, settings, EVERYTHING, by="tests")
    (row,) = rows(database_url, "select caller, origin, user_id, event_data from events.event_log")
    assert {"caller": "sql", "origin": "replay", "user_id": "u1", "event_data": {"n": 1}} == row


def test_a_replay_killed_in_the_middle_is_finished_by_the_next(
    hot_log: HotLog, postgres: Postgres, settings: Settings, database_url: str, worker_url: str
) -> None:
    """kill -9 between storing events and the commit: nothing is lost, nothing there twice."""
    send_each(hot_log, *(archived(n) for n in range(9)))
    register(database_url)
    code = """
    import sys
    from ingestion_pipeline.domains.events import replay as module
    from ingestion_pipeline.settings import Settings
    from ingestion_pipeline.storage.postgres import Postgres

    settle, calls = module._settle, []

    def stopping(*arguments):
        settle(*arguments)
        calls.append(arguments)
        if len(calls) == 2:
            print("stopped", flush=True)
            sys.stdin.read()

    module._settle, module.REJECTS_PER_TRANSACTION = stopping, 3
    module.replay(Postgres(sys.argv[1]), Settings.from_environment(), module.Selection(), by="child")
    """
    with python(code, worker_url) as child:
        assert "stopped\n" in iter(child.stdout.readline, "")
        child.kill()
        child.wait()
    assert [0, 1, 2] == stored(database_url)
    assert Replayed(accepted=6) == replay(postgres, settings, EVERYTHING, by="tests")
    assert list(range(9)) == stored(database_url)
    assert {"received": 18, "stored": 9, "duplicate": 0, "rejected": 9} == balance(database_url)


def test_two_replays_at_once_store_each_event_once(
    hot_log: HotLog, postgres: Postgres, settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hot_log.send(*(archived(n) for n in range(60)), received_at=NOW)
    register(database_url)
    monkeypatch.setattr(module, "REJECTS_PER_TRANSACTION", 5)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: replay(postgres, settings, EVERYTHING, by="tests"), range(4)))
    replay(postgres, settings, EVERYTHING, by="tests")
    assert list(range(60)) == stored(database_url)
    assert sum(outcome.accepted for outcome in done) <= 60


def fail(url: str, number: int, reason: str, *, is_held: bool) -> None:
    """The event has used its attempts up."""
    rows(
        url,
        "insert into events.event_states (event_id, received_at, processing_status, retry_count, error_message, is_held)"
        " select event_id, received_at, 'failed', 3, %s, %s from events.event_log where event_data ->> 'n' = %s",
        reason,
        is_held,
        str(number),
    )


@pytest.mark.parametrize("role", ["worker", "intake"])
def test_failed_events_are_tried_again(
    hot_log: HotLog, settings: Settings, lake: Lake, postgres: Postgres, database_url: str, role: str
) -> None:
    """Those held back reach the lake with the next sync; who may ask are the worker and, for the endpoint, the intake."""
    for number in range(3):
        hot_log.send({"type": "VIEW", "ruleId": "r", "data": {"n": number}}, received_at=NOW)
    sync(postgres, lake)
    rows(database_url, "delete from events.event_states")
    fail(database_url, 0, "bad Users table", is_held=True)
    fail(database_url, 1, "no answer", is_held=False)
    asked = Postgres(as_intake(database_url)) if role == "intake" else postgres
    try:
        assert [2, 1] == [retry_failed(asked, EVERYTHING, by="tests", is_dry_run=True, most=most) for most in (None, 1)]
        assert 1 == retry_failed(asked, Selection(reason="users"), by="tests")
        assert 0 == retry_failed(asked, Selection(event_type="COPY"), by="tests")
        assert 1 == retry_failed(asked, Selection(first=NOW - timedelta(days=1), event_type="VIEW"), by="tests")
    finally:
        asked.close()
    assert [0, 0] == [row["retry_count"] for row in rows(database_url, "select retry_count from events.event_states")]
    assert 1 == sync(postgres, lake).rows
    claimed = rows(database_url, "select event_data from events.get_pending_events(10)")
    assert [{"n": 1}] == [row["event_data"] for row in claimed]


def test_the_command(hot_log: HotLog, database_url: str, worker_url: str, tmp_path: Path) -> None:
    """Says what would come of it, does it, says what came of it."""
    hot_log.send(archived(1), archived(2, colour="red"), received_at=NOW)
    register(database_url)
    day = str(datetime.now(UTC).date())
    runs = [
        run("replay", *options, home=tmp_path, DATABASE_URL=worker_url)
        for options in (
            ["--dry-run"],
            ["--id", "999"],
            ["--to", "2020-01-01"],
            ["--from", "2020-01-01", "--to", day, "--type", ARCHIVED, "--reason", "archived"],
            ["--failed"],
        )
    ]
    assert [
        "2 refused event(s): 1 would be stored or are duplicates, 1 still refused",
        "0 refused event(s): 0 stored, 0 duplicate(s), 0 still refused",
        "0 refused event(s): 0 stored, 0 duplicate(s), 0 still refused",
        "1 refused event(s): 1 stored, 0 duplicate(s), 0 still refused",
        "0 failed event(s) are tried again",
    ] == [done.stdout.strip() for done in runs], [done.stderr for done in runs]
    wrong = run("replay", "--failed", "--id", "1", home=tmp_path, DATABASE_URL=worker_url)
    assert (2, True) == (wrong.returncode, "--id" in wrong.stderr)
    assert 3 == value(database_url, "select count(*) from operations.audit_log where action = 'replay'") - 1


@pytest.fixture
def intake(database_url: str, tmp_path: Path) -> Iterator[Intake]:
    with running(as_intake(database_url), tmp_path, REAL) as found:
        yield found


def test_over_http(hot_log: HotLog, database_url: str, intake: Intake) -> None:
    """Listed by page and filter, replayed by filter, counted."""
    send_each(hot_log, *(archived(n) for n in range(5)), archived(5, type="rule.rated"))
    register(database_url)
    path = "/api/events/rejects"
    page = intake.get(path, headers=TOKEN, params={"limit": 4, "type": ARCHIVED}).json()
    rest = intake.get(path, headers=TOKEN, params={"type": ARCHIVED, "cursor": page["nextCursor"]}).json()
    listed = [*page["rejects"], *rest["rejects"]]
    assert ([4, 3, 2, 1, 0], None) == ([row["event"]["data"]["n"] for row in listed], rest["nextCursor"])
    assert {"tests"} == {row["received"]["caller"] for row in listed}
    asked = {"type": ARCHIVED, "limit": 3}
    dry = intake.post(f"{path}/replay", json.dumps({**asked, "dryRun": True}).encode())
    done = intake.post(f"{path}/replay", json.dumps(asked).encode())
    assert dry.json() == done.json() == {"accepted": 3, "duplicates": 0, "rejected": 0, "retried": 0}
    assert [0, 1, 2] == stored(database_url)
    again = intake.get(path, headers=TOKEN, params={"replayed": "true"}).json()["rejects"]
    assert [2, 1, 0] == [row["event"]["data"]["n"] for row in again]
    both = intake.post(f"{path}/replay", b'{"failed": true, "id": 1}')
    assert (422, "id") == (both.status_code, both.json()["errors"][0]["field"])
    assert {"retried": 0} == {
        name: count
        for name, count in intake.post(f"{path}/replay", b'{"failed": true}').json().items()
        if name == "retried"
    }


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"from": "1999-01-01T00:00:00Z"}, "from"),
        ({"a": "b"}, "a"),
    ],
)
def test_wrong_parameters_are_named(intake: Intake, query: dict[str, str], field: str) -> None:
    answer = intake.get("/api/events/rejects", headers=TOKEN, params=query)
    assert (422, field) == (answer.status_code, answer.json()["errors"][0]["field"])


def test_only_the_scope_opens_the_endpoints(database_url: str, intake: Intake) -> None:
    """A token for sending and reading events is not one for erasing people."""
    scopes = ["events:write", "events:read"]
    admin = Postgres(database_url)
    token = create_token(admin, "shop", scopes, known=frozenset(scopes), expires_in=None)
    admin.close()
    paths = [
        ("POST", "/api/events/erase"),
        ("GET", "/api/events/erasures/x"),
        ("GET", "/api/events/export"),
        ("GET", "/api/events/rejects"),
        ("POST", "/api/events/rejects/replay"),
    ]
    eventually(lambda: 403 == intake.get("/api/events/rejects", headers={"x-app-token": token}).status_code)
    for method, path in paths:
        for headers, status in (({}, 401), ({"x-app-token": token}, 403)):
            answer = intake.client.request(method, path, content=b"{}", headers=JSON | headers)
            assert (path, status) == (path, answer.status_code)


@pytest.mark.parametrize("table", ["audit_log", "rejects", "api_requests", "app_tokens"])
def test_readers_of_figures_see_no_callers(database_url: str, table: str) -> None:
    """Refused events name people, the logs callers."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        rows(database_url, f"select * from operations.{table}", role="pipeline_reader")


def test_the_audit_log_cannot_be_rewritten(database_url: str) -> None:
    """Whoever writes it can neither change nor delete what is there."""
    for role in ("pipeline_worker", "pipeline_intake"):
        rows(database_url, "insert into operations.audit_log (actor, action) values ('a', 'b')", role=role)
        for statement in ("update operations.audit_log set actor = 'c'", "delete from operations.audit_log"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                rows(database_url, statement, role=role)
    assert 2 == value(database_url, "select count(*) from operations.audit_log")
