"""What applications and persons read of events, through a real server that logs in as the intake does."""

import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import jsonschema_rs
import jwt
import psycopg
import pytest

from ingestion_pipeline.intake.callers import token_digest
from ingestion_pipeline_tests.databases import migrated_database
from ingestion_pipeline_tests.intake.process import JWT_SECRET, REAL, TOKEN, Intake, running

WRITER = "token-that-may-only-write"
NOW = datetime.now(UTC).replace(microsecond=0)
TODAY = NOW.replace(hour=0, minute=0, second=0)
OLD = TODAY - timedelta(days=400)  # beyond what is hot, but aggregated
EVENTS = "/api/events"
AGGREGATIONS = "/api/events/aggregations"
DASHBOARD = "/api/events/dashboard"

_INSERT = """
insert into events.event_log (
    event_id, event_type, event_category, schema_version, user_id, session_id, rule_id, event_data, metadata,
    occurred_at, received_at, caller, origin
) values (
    events.time_ordered_id(%(at)s), %(type)s, %(category)s, 1, %(user)s, %(session)s, %(rule)s, %(data)s,
    '{"locale": "en"}', %(at)s, %(at)s, 'app', 'http'
) returning event_id
"""


def stored(connection: psycopg.Connection[Any], number: int, **over: object) -> UUID:
    """One event of a quarter of an hour; every third is alice's, every third bob's, every third anonymous."""
    values = {
        "at": NOW - timedelta(minutes=15 * number),
        "type": "COPY" if number % 2 else "VIEW",
        "category": "interaction",
        "user": ("alice", "bob", None)[number % 3],
        "session": f"session-{number % 2}",
        "rule": f"rule-{number % 5}",
        "data": json.dumps({"n": number}),
        **over,
    }
    [event_id] = connection.execute(_INSERT, values).fetchone() or ()
    assert isinstance(event_id, UUID)
    return event_id


@pytest.fixture(scope="module")
def database(server) -> Iterator[str]:
    """The superuser's URL of a database with 40 events: 0-2 not yet in the lake, 3 failed, 4 not counted."""
    with migrated_database(server) as url:
        with psycopg.connect(url) as connection:
            ids = {number: stored(connection, number) for number in range(3, 40)}
        with psycopg.connect(url) as connection:
            connection.execute(
                "insert into events.warehouse_sync_status "
                "(warehouse_type, batch_number, status, next_transaction_id, committed_at) "
                "values ('delta', 1, 'committed', pg_current_xact_id(), now())"
            )
            connection.execute(
                "insert into events.event_states "
                "(event_id, received_at, processing_status, retry_count, error_message, uncounted_reason) values "
                "(%s, now(), 'failed', 3, 'no lake', null), (%s, now(), null, 0, null, 'repeat_view')",
                [ids[3], ids[4]],
            )
            for number in range(3):
                stored(connection, number)
            _aggregate(connection)
            connection.execute(
                "insert into operations.app_tokens (name, digest, scopes) values ('writer', %s, '{events:write}')",
                [token_digest(WRITER).hex()],
            )
        yield url


def _aggregate(connection: psycopg.Connection[Any]) -> None:
    """30 days and one long ago, each of VIEW, COPY and project.created; activity of today; two metrics, one expired."""
    connection.execute(
        'insert into events.event_aggregations_daily select day, type, category, 10, 2, 3, 4, day, day, \'{"amount": '
        '{"p50": 1.5}}\' '
        "from unnest(%s::timestamptz[]) as day cross join (values ('VIEW', 'interaction'), ('COPY', 'interaction'), "
        "('project.created', 'transaction')) as types (type, category)",
        [[OLD, *(TODAY - timedelta(days=days) for days in range(30))]],
    )
    connection.execute(
        "update events.event_aggregations_daily set event_count = 30 where event_type = 'VIEW' and bucket_start = %s",
        [TODAY],
    )
    connection.execute("insert into events.daily_active_users values (%s, 5, 25, 80, 1, 9)", [TODAY.date()])
    connection.execute(
        "insert into events.platform_metrics_realtime values "
        "('events', '{\"type\": \"VIEW\"}', 3, now(), now() + interval '1 day'), ('gone', '{}', 1, now(), now())"
    )


@pytest.fixture(scope="module")
def intake(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intake]:
    with running(database.replace("postgres@", "pipeline_intake@", 1), tmp_path_factory.mktemp("read"), REAL) as found:
        yield found


def person(subject: str) -> dict[str, str]:
    claims = {"sub": subject, "aud": "authenticated", "exp": int(time.time()) + 86_400}
    return {"authorization": f"Bearer {jwt.encode(claims, JWT_SECRET, algorithm='HS256')}"}


def read(intake: Intake, path: str, who: dict[str, str] = TOKEN, **parameters: Any) -> dict[str, Any]:
    answer = intake.get(path, headers=who, params=parameters)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def walk(intake: Intake, path: str, who: dict[str, str] = TOKEN, **parameters: Any) -> list[dict[str, Any]]:
    """The rows of all pages."""
    rows: list[dict[str, Any]] = []
    name = "events" if path == EVENTS else "aggregations"
    cursor: str | None = None
    while cursor != "":
        page = read(intake, path, who, **parameters, **({"cursor": cursor} if cursor else {}))
        rows += page[name]
        cursor = page["nextCursor"] or ""
    return rows


def numbers(rows: list[dict[str, Any]]) -> list[int]:
    return [row["data"]["n"] for row in rows]


def at(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


def test_event_says_everything(intake: Intake) -> None:
    event = read(intake, EVENTS, status="failed")["events"][0]
    assert str(UUID(event.pop("id")))
    assert event == {
        "type": "COPY",
        "category": "interaction",
        "userId": "alice",
        "sessionId": "session-1",
        "ruleId": "rule-3",
        "data": {"n": 3},
        "metadata": {"locale": "en"},
        "timestamp": at(NOW - timedelta(minutes=45)),
        "createdAt": at(NOW - timedelta(minutes=45)),
        "processingStatus": "failed",
        "retryCount": 3,
        "errorMessage": "no lake",
    }


@pytest.mark.parametrize("limit", [1, 7, 20, 40, 41, 500])
def test_pages_give_every_event_once_newest_first(intake: Intake, limit: int) -> None:
    assert numbers(walk(intake, EVENTS, limit=limit)) == list(range(40))


def test_pages_are_stable_while_events_arrive(intake: Intake, database: str) -> None:
    """Later pages hold what they would have held: no row twice, none skipped."""
    with psycopg.connect(database, autocommit=True) as connection:
        for number in range(12):
            stored(connection, number, user="carol")
        first = read(intake, EVENTS, limit=5, userId="carol")
        for number in range(12, 15):
            stored(connection, number, user="carol", at=NOW + timedelta(seconds=1))
        rest: list[dict[str, Any]] = []
        cursor = first["nextCursor"]
        while cursor:
            page = read(intake, EVENTS, limit=5, userId="carol", cursor=cursor)
            rest, cursor = rest + page["events"], page["nextCursor"]
        connection.execute("delete from events.event_log where user_id = 'carol'")
    assert numbers(first["events"] + rest) == list(range(12))


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"type": "COPY"}, [number for number in range(40) if number % 2]),
        ({"category": "interaction"}, list(range(40))),
        ({"category": "transaction"}, []),
        ({"userId": "bob"}, list(range(1, 40, 3))),
        ({"sessionId": "session-0"}, list(range(0, 40, 2))),
        ({"ruleId": "rule-4"}, list(range(4, 40, 5))),
        ({"ruleId": "rule-4", "type": "VIEW"}, list(range(4, 40, 10))),
        ({"from": at(NOW - timedelta(minutes=30))}, [0, 1, 2]),
        ({"to": at(NOW - timedelta(minutes=30))}, list(range(3, 40))),
        ({"from": at(NOW - timedelta(minutes=45)), "to": at(NOW - timedelta(minutes=15))}, [2, 3]),
        ({"status": "pending"}, [0, 1, 2]),
        ({"status": "processed"}, list(range(4, 40))),
        ({"status": "failed"}, [3]),
        ({"status": "processing"}, []),
        ({"type": "'; drop table events.event_log; --"}, []),
        ({"userId": "%s {x} \\' $1"}, []),
    ],
)
def test_filters(intake: Intake, parameters: dict[str, str], expected: list[int]) -> None:
    """Times are half-open; text is text, whatever it looks like."""
    assert numbers(walk(intake, EVENTS, **parameters)) == expected


def test_person_sees_their_own_events_only(intake: Intake) -> None:
    assert numbers(walk(intake, EVENTS, person("alice"), limit=4)) == list(range(0, 40, 3))
    assert walk(intake, EVENTS, person("alice"), userId="bob") == []
    assert walk(intake, EVENTS, person("nobody")) == []


def test_database_shows_the_intake_no_more_than_the_caller_may_see(database: str) -> None:
    """The second wall: whatever a statement forgets, row-level security does not."""
    sight = "select set_config('app.user_id', %s, true), set_config('app.scope', %s, true)"
    seen = "select distinct user_id from events.platform_events order by 1"
    found = {}
    for user, scope in (("alice", ""), ("", ""), ("", "application"), ("alice", "person")):
        with psycopg.connect(database.replace("postgres@", "pipeline_intake@", 1)) as connection:
            connection.execute(sight, [user, scope])
            found[user, scope] = [row[0] for row in connection.execute(seen).fetchall()]
    assert found == {
        ("alice", ""): ["alice"],
        ("", ""): [],
        ("", "application"): ["alice", "bob", None],
        ("alice", "person"): ["alice"],
    }


def test_sight_does_not_outlive_its_request(intake: Intake) -> None:
    """Connections are shared: a person after an application, an application after a person."""
    for _ in range(10):
        assert len(walk(intake, EVENTS)) == 40
        assert len(walk(intake, EVENTS, person("bob"))) == 13


@pytest.mark.parametrize(
    ("path", "parameter", "value"),
    [
        (EVENTS, "limit", "0"),
        (EVENTS, "limit", "501"),
        (EVENTS, "limit", "ten"),
        (EVENTS, "limit", "-1"),
        (EVENTS, "limit", "\u00b2"),
        (EVENTS, "limit", "9" * 400),
        (EVENTS, "from", "yesterday"),
        (EVENTS, "from", "2026-01-01T00:00:00"),
        (EVENTS, "from", "0"),
        (EVENTS, "to", "0001-01-01T00:00:00+14:00"),
        (EVENTS, "to", "9999-12-31T23:59:59-14:00"),
        (EVENTS, "status", "done"),
        (EVENTS, "category", "fun"),
        (EVENTS, "type", ""),
        (EVENTS, "userId", "u" * 201),
        (EVENTS, "colour", "red"),
        (EVENTS, "period", "daily"),
        (EVENTS, "cursor", ""),
        (EVENTS, "cursor", "x"),
        (EVENTS, "cursor", "\u00fc"),
        (EVENTS, "cursor", base64.urlsafe_b64encode(b'["not an id"]').decode()),
        (EVENTS, "cursor", base64.urlsafe_b64encode(b"[" * 5000).decode()),
        (AGGREGATIONS, "cursor", base64.urlsafe_b64encode(b'["2026-01-01T00:00:00Z", "VIEW"]').decode()),
        (AGGREGATIONS, "cursor", base64.urlsafe_b64encode(b'["0001-01-01T00:00:00+14:00", "V", "c"]').decode()),
        (AGGREGATIONS, "cursor", base64.urlsafe_b64encode(b'["2026-01-01T00:00:00Z", "V\\u0000", "c"]').decode()),
        (AGGREGATIONS, "period", "yearly"),
        (AGGREGATIONS, "userId", "alice"),
        (AGGREGATIONS, "limit", "501"),
        (DASHBOARD, "limit", "1"),
    ],
)
def test_wrong_parameter_is_named(intake: Intake, path: str, parameter: str, value: str) -> None:
    answer = intake.get(path, headers=TOKEN, params={parameter: value})
    assert (422, "application/problem+json") == (answer.status_code, answer.headers["content-type"]), answer.text
    assert [parameter] == [error["field"] for error in answer.json()["errors"]]
    assert parameter in answer.json()["detail"]


@pytest.mark.parametrize("path", [EVENTS, AGGREGATIONS, DASHBOARD])
def test_strangers_read_nothing(intake: Intake, path: str) -> None:
    assert 401 == intake.get(path).status_code
    assert 401 == intake.get(path, headers={"x-app-token": "wrong"}).status_code
    assert 403 == intake.get(path, headers={"x-app-token": WRITER}).status_code


def test_aggregations_are_typed_and_newest_first(intake: Intake) -> None:
    rows = walk(intake, AGGREGATIONS, period="daily", limit=7)
    assert len(rows) == 31 * 3
    assert rows == sorted(rows, key=lambda row: (row["bucketStart"], row["type"]), reverse=True)
    assert rows[0] == {
        "period": "daily",
        "bucketStart": at(TODAY),
        "type": "project.created",
        "category": "transaction",
        "count": 10,
        "uncountedCount": 2,
        "uniqueUsers": 3,
        "uniqueSessions": 4,
        "firstEventAt": at(TODAY),
        "lastEventAt": at(TODAY),
        "properties": {"amount": {"p50": 1.5}},
    }
    assert rows == walk(intake, AGGREGATIONS)


@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        ({"type": "VIEW"}, 31),
        ({"category": "interaction"}, 62),
        ({"from": at(TODAY - timedelta(days=1))}, 6),
        ({"to": at(OLD + timedelta(seconds=1))}, 3),
        ({"from": at(TODAY), "to": at(TODAY)}, 0),
        ({"period": "weekly"}, 0),
        ({"period": "hourly"}, 0),
    ],
)
def test_aggregation_filters(intake: Intake, parameters: dict[str, str], count: int) -> None:
    assert len(walk(intake, AGGREGATIONS, **parameters)) == count


def test_person_gets_aggregations_of_their_own_events(intake: Intake) -> None:
    """Counted from the log: those stored count everybody. Alice's events are 0, 3, 6 … 39."""
    rows = walk(intake, AGGREGATIONS, person("alice"), period="daily", limit=1)
    assert sum(row["count"] for row in rows) == 14
    assert {row["uniqueUsers"] for row in rows} == {1}
    assert {row["type"] for row in rows} == {"VIEW", "COPY"}
    bobs = walk(intake, AGGREGATIONS, person("bob"), period="hourly", type="VIEW")
    assert (sum(row["count"] for row in bobs), sum(row["uncountedCount"] for row in bobs)) == (5, 1)
    assert walk(intake, AGGREGATIONS, person("nobody")) == []


def test_dashboard_of_an_application(intake: Intake) -> None:
    found = read(intake, DASHBOARD)
    assert datetime.fromisoformat(found.pop("generatedAt")) >= NOW
    [metric] = found.pop("realtime")
    assert (metric["name"], metric["dimensions"], metric["value"]) == ("events", {"type": "VIEW"}, 3.0)
    assert metric["updatedAt"] < metric["expiresAt"]
    assert found == {
        "today": {"events": 50, "uncountedEvents": 6, "uniqueUsers": 5, "uniqueSessions": 9},
        "byCategory": {"interaction": 40, "transaction": 10},
        "topTypes": [
            {"type": "VIEW", "count": 30},
            {"type": "COPY", "count": 10},
            {"type": "project.created", "count": 10},
        ],
        "activeUsers": {"day": 5, "week": 25, "month": 80},
    }


def test_dashboard_of_a_person_is_about_them(intake: Intake) -> None:
    found = read(intake, DASHBOARD, person("alice"))
    own = [number for number in range(0, 40, 3) if NOW - timedelta(minutes=15 * number) >= TODAY]
    assert (found["today"]["events"], found["today"]["uniqueUsers"]) == (len(own), 1)
    assert sum(row["count"] for row in found["topTypes"]) == len(own)
    assert (found["realtime"], found["activeUsers"]) == ([], {"day": 1, "week": 1, "month": 1})
    nobody = read(intake, DASHBOARD, person("nobody"))
    assert nobody["today"] == {"events": 0, "uncountedEvents": 0, "uniqueUsers": 0, "uniqueSessions": 0}
    assert (nobody["byCategory"], nobody["topTypes"]) == ({}, [])
    assert nobody["activeUsers"] == {"day": 0, "week": 0, "month": 0}


@pytest.mark.parametrize("who", [TOKEN, person("alice")], ids=["application", "person"])
@pytest.mark.parametrize("path", [EVENTS, AGGREGATIONS, DASHBOARD])
def test_answers_are_as_documented(intake: Intake, path: str, who: dict[str, str]) -> None:
    document = intake.get("/openapi.json").json()
    schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    answer = read(intake, path, who)
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    assert [] == [error.message for error in validator.iter_errors(answer)]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (EVENTS, "type category userId sessionId ruleId from to status limit cursor"),
        (AGGREGATIONS, "period type category from to limit cursor"),
        (DASHBOARD, ""),
    ],
)
def test_every_parameter_is_documented(intake: Intake, path: str, names: str) -> None:
    parameters = intake.get("/openapi.json").json()["paths"][path]["get"]["parameters"]
    assert names.split() == [parameter["name"] for parameter in parameters]


def test_query_that_takes_too_long_says_what_to_narrow(intake: Intake, database: str) -> None:
    """The table is held by somebody else: the statement's time ends."""
    with psycopg.connect(database) as connection:
        connection.execute("lock table events.event_log in access exclusive mode")
        answer: httpx.Response = intake.get(EVENTS, headers=TOKEN)
    assert (422, ["from"]) == (answer.status_code, [error["field"] for error in answer.json()["errors"]])
