"""Whoever looks after the inbox sees what was delivered and why it was refused, and sends it its way again."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from ingestion_pipeline.domains.operations.delivery_reads import read_deliveries, read_delivery
from ingestion_pipeline.domains.operations.delivery_replay import Replayed, Selection, replay
from ingestion_pipeline.intake.tokens import create_token
from ingestion_pipeline.storage.inbox import apply_pending
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.domains.operations.deliveries import ACME, TYPES, kept, make_body, send
from ingestion_pipeline_tests.intake.process import TOKEN, Intake
from ingestion_pipeline_tests.intake.test_routing import refused

LIST, REPLAY = "/api/deliveries", "/api/deliveries/replay"
ADMIN = "deliveries:admin"


@pytest.fixture
def worker(inbox_url: str) -> Iterator[Postgres]:
    with closing(Postgres(inbox_url.replace("postgres@", "pipeline_worker@", 1))) as postgres:
        yield postgres


def page(inbox: Intake, **query: Any) -> list[dict[str, Any]]:
    answer = inbox.get(LIST, params=query, headers=TOKEN)
    assert 200 == answer.status_code, answer.text
    return answer.json()["deliveries"]


def replayed(inbox: Intake, **body: Any) -> httpx.Response:
    return inbox.client.post(REPLAY, json=body, headers=TOKEN)


def make_dead(url: str, *delivery_ids: str) -> None:
    execute(
        url,
        "update operations.deliveries set status = 'dead', reason = 'boom', settled_at = now(), attempt_count = 5 "
        "where delivery_id = any(%s::uuid[])",
        list(delivery_ids),
    )


def execute(url: str, statement: str, *parameters: Any) -> list[dict[str, Any]]:
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        cursor = connection.execute(statement.encode(), parameters)
        return cursor.fetchall() if cursor.description else []


def audits(url: str) -> list[dict[str, Any]]:
    return execute(url, "select actor, action, request_id, details from operations.audit_log order by audit_id")


def delivered(inbox: Intake, **over: Any) -> str:
    return str(send(inbox, make_body(**over)).json()["delivery_id"])


# looking


def test_deliveries_are_listed_newest_first_without_what_they_say(inbox: Intake) -> None:
    delivered(inbox, id="a")
    refused(send(inbox, make_body(id="b", data={})), 422)
    rows = page(inbox)
    assert [("b", "rejected"), ("a", "pending")] == [(row["idempotency_key"], row["status"]) for row in rows]
    assert not any("payload" in row for row in rows)
    assert "data.as_of" in rows[0]["reason"]
    assert (None, True) == (rows[0]["next_attempt_at"], rows[1]["next_attempt_at"] is not None)


def test_filters_are_joined(inbox: Intake, inbox_url: str) -> None:
    delivered(inbox, id="a")
    delivered(inbox, id="b", event_type="series.update", data={"series_id": "x"})
    send(inbox, make_body(id="c", source="acme"), ACME)
    refused(send(inbox, make_body(id="d", data={})), 422)
    execute(inbox_url, "update operations.deliveries set received_at = '2025-03-03T12:00Z' where idempotency_key = 'a'")

    def keys(**query: Any) -> set[str]:
        return {row["idempotency_key"] for row in page(inbox, **query)}

    assert {"d"} == keys(status="rejected")
    assert {"b"} == keys(event_type="series.update")
    assert {"c"} == keys(source="acme")
    assert set() == keys(source="acme", event_type="series.update")
    assert {"a"} == keys(to="2025-03-04T00:00:00Z")
    assert {"b", "c", "d"} == keys(**{"from": "2025-03-03T12:00:00.000001Z"})
    assert {"a"} == keys(**{"from": "2025-03-03T12:00:00Z", "to": "2025-03-03T12:00:00.000001Z"})


def test_pages_follow_one_another(inbox: Intake, inbox_url: str) -> None:
    """Also where many came at the same instant."""
    for number in range(7):
        delivered(inbox, id=str(number))
    execute(inbox_url, "update operations.deliveries set received_at = '2025-03-03T12:00Z' where idempotency_key < '4'")
    found, query = [], {"limit": 2}
    while True:
        answer = inbox.get(LIST, params=query, headers=TOKEN).json()
        found.append([row["idempotency_key"] for row in answer["deliveries"]])
        if answer["next_cursor"] is None:
            break
        query = {"limit": 2, "cursor": answer["next_cursor"]}
    assert [2, 2, 2, 1] == list(map(len, found))
    keys = [key for rows in found for key in rows]
    assert ["6", "5", "4"] == keys[:3]
    assert set("0123456") == set(keys)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"status": "lost"}, "status"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"cursor": "zzz"}, "cursor"),
        ({"cursor": "WzEsMl0"}, "cursor"),
        ({"from": "yesterday"}, "from"),
        ({"from": "2025-03-03T12:00:00"}, "from"),
        ({"to": "0001-01-01T00:00:00Z"}, "to"),
        ({"source": ""}, "source"),
        ({"page": "2"}, "page"),
    ],
)
def test_a_wrong_parameter_is_named(inbox: Intake, query: dict[str, str], field: str) -> None:
    answer = refused(inbox.get(LIST, params=query, headers=TOKEN), 422)
    assert [field] == [error["field"] for error in answer["errors"]]


def test_one_is_shown_with_what_was_sent(inbox: Intake) -> None:
    delivery_id = delivered(inbox, id="a", event_type="anything.at_all", data=12345678901234567890)
    shown = inbox.get(f"{LIST}/{delivery_id}", headers=TOKEN).json()
    assert make_body(id="a", event_type="anything.at_all", data=12345678901234567890) == shown["payload"]
    assert ("WEBHOOK_SECRET 1", "sha256", "http", 0) == (
        shown["signed_by"], shown["scheme"], shown["origin"], shown["attempt_count"]
    )  # fmt: skip


@pytest.mark.parametrize("delivery_id", ["00000000-0000-0000-0000-000000000000", "17", "a' or 1=1", "%00"])
def test_one_that_is_not_there_is_not_found(inbox: Intake, delivery_id: str) -> None:
    refused(inbox.get(f"{LIST}/{delivery_id}", headers=TOKEN), 404)


def test_only_an_administrator_may_look_or_replay(inbox: Intake, inbox_url: str) -> None:
    """Nobody without a token, none without the scope; a sender's signature opens nothing here."""
    with closing(Postgres(inbox_url)) as owner:
        other = create_token(owner, "other", ["events:write"], known={"events:write"})
        admin = create_token(owner, "admin", [ADMIN], known={ADMIN})
    delivery_id = delivered(inbox)
    eventually(lambda: inbox.get(LIST, headers={"x-app-token": admin}).status_code == 200)
    for path in (LIST, f"{LIST}/{delivery_id}"):
        refused(inbox.get(path), 401)
        refused(inbox.get(path, headers={"x-app-token": other}), 403)
    refused(inbox.client.post(REPLAY, json={}), 401)
    refused(inbox.client.post(REPLAY, json={}, headers={"x-app-token": other}), 403)
    assert 200 == inbox.client.post(REPLAY, json={}, headers={"x-app-token": admin}).status_code


# replaying


def test_a_dead_one_is_pending_again_with_all_its_attempts(inbox: Intake, inbox_url: str) -> None:
    delivery_id = delivered(inbox)
    make_dead(inbox_url, delivery_id)
    (before,) = kept(inbox_url)
    answer = replayed(inbox, id=delivery_id)
    assert (200, {"replayed": 1, "rejected": 0, "dry_run": False}) == (answer.status_code, answer.json())
    (row,) = kept(inbox_url)
    assert ("pending", None, None, 0, 1, "INGEST_APP_TOKEN") == (
        row["status"], row["reason"], row["settled_at"], row["attempt_count"], row["replay_count"], row["replayed_by"]
    )  # fmt: skip
    unchanged = ("payload", "received_at", "signed_by", "signed_at", "source", "idempotency_key", "origin")
    assert [before[name] for name in unchanged] == [row[name] for name in unchanged]


def test_a_replay_never_looks_at_the_clock(inbox: Intake, inbox_url: str) -> None:
    """It was verified when it came, however long ago."""
    delivery_id = delivered(inbox)
    make_dead(inbox_url, delivery_id)
    execute(
        inbox_url, "update operations.deliveries set signed_at = '2020-01-01T00:00Z', received_at = '2020-01-01T00:00Z'"
    )
    assert 1 == replayed(inbox, id=delivery_id).json()["replayed"]


def test_a_rejected_one_is_judged_by_the_rules_of_now(inbox: Intake, inbox_url: str) -> None:
    """What is still wrong stays, with the reason of now; what has become right gets its type and market."""
    refused(send(inbox, make_body(id="wrong", data={})), 422)
    refused(send(inbox, make_body(id="late", data={})), 422)
    execute(
        inbox_url,
        "update operations.deliveries set payload = payload || %s::jsonb, event_type = 'unknown', market_slug = null "
        "where idempotency_key = 'late'",
        '{"data": {"as_of": "2025-03-03T00:00:00Z", "prices": {}}}',
    )
    execute(inbox_url, "update operations.deliveries set reason = 'before'")
    assert {"replayed": 1, "rejected": 1, "dry_run": False} == replayed(inbox, status="rejected").json()
    found = {row["idempotency_key"]: row for row in kept(inbox_url)}
    assert ("pending", "prices.upsert", "dallas") == tuple(
        found["late"][name] for name in ("status", "event_type", "market_slug")
    )
    assert "rejected" == found["wrong"]["status"]
    assert "data.as_of" in found["wrong"]["reason"]


def test_one_that_spoke_for_another_source_stays_rejected(inbox: Intake, inbox_url: str) -> None:
    refused(send(inbox, make_body(source="other"), ACME), 422)
    refused(send(inbox, make_body(source="acme")), 422)
    assert {"replayed": 0, "rejected": 2, "dry_run": False} == replayed(inbox).json()


def test_what_could_not_be_stored_stays_rejected(inbox: Intake, inbox_url: str) -> None:
    refused(send(inbox, b'{"a": "\\u0000"}'), 422)
    assert 1 == replayed(inbox).json()["rejected"]
    assert "body" in kept(inbox_url)[0]["reason"]


def test_a_filter_chooses(inbox: Intake, inbox_url: str) -> None:
    """Everything that is given must hold; the oldest come first."""
    ids = {key: delivered(inbox, id=key) for key in "abcd"}
    ids["e"] = delivered(inbox, id="e", event_type="series.update", data={"series_id": "x"})
    ids["f"] = str(send(inbox, make_body(id="f", source="acme"), ACME).json()["delivery_id"])
    make_dead(inbox_url, *ids.values())
    for number, key in enumerate("abcdef"):
        execute(
            inbox_url,
            "update operations.deliveries set received_at = %s where idempotency_key = %s",
            datetime(2025, 3, 3, number, tzinfo=UTC),
            key,
        )

    def pending(**body: Any) -> str:
        replayed(inbox, **body)
        found = "".join(sorted(row["idempotency_key"] for row in kept(inbox_url) if row["status"] == "pending"))
        make_dead(inbox_url, *ids.values())
        return found

    assert "f" == pending(source="acme")
    assert "e" == pending(event_type="series.update")
    assert "" == pending(event_type="series.update", source="acme")
    assert "" == pending(status="rejected")
    assert "bc" == pending(**{"from": "2025-03-03T01:00:00Z", "to": "2025-03-03T03:00:00Z"})
    assert "ab" == pending(limit=2)
    assert "abcdef" == pending()


def test_a_dry_run_says_what_would_come_of_it(inbox: Intake, inbox_url: str) -> None:
    make_dead(inbox_url, delivered(inbox, id="a"))
    refused(send(inbox, make_body(id="b", data={})), 422)
    before = kept(inbox_url)
    assert {"replayed": 1, "rejected": 1, "dry_run": True} == replayed(inbox, dry_run=True).json()
    assert before == kept(inbox_url)
    assert [] == audits(inbox_url)


def test_a_replay_is_audited(inbox: Intake, inbox_url: str) -> None:
    """Who, in which request, what was chosen and what came of it; one that found nothing did nothing."""
    make_dead(inbox_url, delivered(inbox, id="a"))
    body = {"source": "external-provider", "from": "2025-01-01T00:00:00Z"}
    inbox.client.post(REPLAY, json=body, headers={**TOKEN, "x-request-id": "r-17"})
    replayed(inbox, source="nobody")
    details = {
        "replayed": 1,
        "rejected": 0,
        "selection": {"source": "external-provider", "first": "2025-01-01T00:00:00+00:00"},
    }
    assert [
        {"actor": "INGEST_APP_TOKEN", "action": "deliveries replayed", "request_id": "r-17", "details": details}
    ] == audits(inbox_url)


def test_one_that_was_not_refused_is_not_replayed(inbox: Intake, inbox_url: str) -> None:
    """Applied twice it would not be counted twice, but nobody asked for that."""
    delivery_id = delivered(inbox)
    assert "pending" in refused(replayed(inbox, id=delivery_id), 409)["detail"]
    assert 0 == replayed(inbox).json()["replayed"]
    assert 0 == kept(inbox_url)[0]["replay_count"]
    refused(replayed(inbox, id="00000000-0000-0000-0000-000000000000"), 404)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"id": "17"}, "id"),
        ({"status": "processed"}, "status"),
        ({"limit": 0}, "limit"),
        ({"from": "2025-03-03"}, "from"),
        ({"to": "9999-01-01T00:00:00Z"}, "to"),
        ({"everything": True}, "everything"),
        ({"dry_run": "yes"}, "dry_run"),
    ],
)
def test_a_wrong_field_is_named(inbox: Intake, body: dict[str, Any], field: str) -> None:
    assert [field] == [error["field"] for error in refused(replayed(inbox, **body), 422)["errors"]]


def test_a_replayed_delivery_is_applied_once(inbox: Intake, inbox_url: str, worker: Postgres) -> None:
    """The whole way: dead, replayed by the operator's command, applied."""
    delivered(inbox, id="a")
    broken = apply_pending(worker, ["prices.upsert"], _fail, run_id="run-1")
    assert (1, "dead") == (broken.dead, kept(inbox_url)[0]["status"])
    assert Replayed(replayed=1) == replay(worker, TYPES, Selection(), by="cli:me")
    seen: list[str] = []
    done = apply_pending(worker, ["prices.upsert"], lambda _, found: seen.extend(it.source for it in found), run_id="2")
    assert (1, ["external-provider"]) == (done.processed, seen)
    assert Replayed() == replay(worker, TYPES, Selection(), by="cli:me")
    assert ["cli:me"] == [audit["actor"] for audit in audits(inbox_url)]


def _fail(*_: Any) -> None:
    raise psycopg.DataError("no such day")


def test_more_than_a_transaction_holds_are_replayed(inbox: Intake, inbox_url: str, worker: Postgres) -> None:
    execute(
        inbox_url,
        "insert into operations.deliveries (source, idempotency_key, event_type, payload, status, reason, settled_at, "
        "scheme, signed_by, received_at) select 's', n, 'anything.at_all', '{\"event_type\": \"anything.at_all\", "
        "\"data\": 1}', 'dead', 'x', now(), 'sha256', 's', now() - interval '1 hour' from generate_series(1, 173) as n",
    )
    assert Replayed(replayed=120) == replay(worker, TYPES, Selection(), by="me", most=120)
    assert Replayed(replayed=53) == replay(worker, TYPES, Selection(), by="me")


def test_the_worker_reads_the_same(inbox: Intake, worker: Postgres) -> None:
    delivery_id = delivered(inbox)
    (row,) = read_deliveries(worker, limit=5)
    assert delivery_id == row["delivery_id"]
    assert [] == read_deliveries(worker, limit=5, before=datetime.now(UTC) - timedelta(days=1))
    assert (read_delivery(worker, row["delivery_id"]) or {})["payload"].startswith('{"data"')
