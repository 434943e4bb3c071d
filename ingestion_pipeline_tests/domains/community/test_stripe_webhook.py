"""An event of Stripe is taken once, reduced to what is used; what is wrong is refused and, if it was signed, kept."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest

from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.conftest import TEMPLATE
from ingestion_pipeline_tests.domains.community.stripe_events import (
    METADATA,
    NEXT_SECRET,
    SECRET,
    SECRETS,
    WEBHOOK,
    body_of,
    charge_refunded,
    event,
    intent,
    session,
    signed,
)
from ingestion_pipeline_tests.domains.operations.deliveries import kept
from ingestion_pipeline_tests.intake.process import JSON, REAL, Intake, running
from ingestion_pipeline_tests.intake.test_routing import refused

_numbers = itertools.count()


@pytest.fixture(scope="module")
def stripe_url(server: EmbeddedServer) -> Iterator[str]:
    """The superuser's URL of a migrated database that the module shares."""
    name = f"stripe_{next(_numbers)}"
    with psycopg.connect(server.url(database="postgres"), autocommit=True) as connection:
        connection.execute(f"create database {name} template {TEMPLATE}".encode())
    yield server.url(database=name)
    with psycopg.connect(server.url(database="postgres"), autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)".encode())


@pytest.fixture(scope="module")
def _served(stripe_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intake]:
    as_intake = stripe_url.replace("postgres@", "pipeline_intake@", 1)
    with running(as_intake, tmp_path_factory.mktemp("stripe"), REAL, **SECRETS) as intake:
        yield intake


@pytest.fixture
def intake(_served: Intake, stripe_url: str) -> Intake:
    with psycopg.connect(stripe_url, autocommit=True) as connection:
        connection.execute("truncate operations.deliveries, operations.delivery_sources")
    return _served


def send(intake: Intake, sent: Any, secret: str = SECRET, *, age: float = 0, **headers: str) -> httpx.Response:
    body = body_of(sent)
    return intake.client.post(WEBHOOK, content=body, headers={**signed(body, secret, age=age), **headers})


def test_an_event_is_acknowledged_once_it_is_kept(intake: Intake, stripe_url: str) -> None:
    """Under its own id, with who signed it; the second time it is a duplicate, whichever secret signs it then."""
    sent = intent()
    first = send(intake, sent, **{"x-request-id": "r-1"})
    assert (200, {"received": True, "duplicate": False}) == (first.status_code, first.json())
    again = send(intake, {**sent, "pending_webhooks": 0}, NEXT_SECRET)
    assert (200, {"received": True, "duplicate": True}) == (again.status_code, again.json())
    (row,) = kept(stripe_url)
    assert ("stripe", sent["id"], "stripe.event", "pending", "STRIPE_WEBHOOK_SECRET 2", "http", "r-1") == (
        row["source"], row["idempotency_key"], row["event_type"], row["status"], row["signed_by"], row["origin"],
        row["request_id"],
    )  # fmt: skip


def test_only_what_is_used_is_kept(intake: Intake, stripe_url: str) -> None:
    """No address, no card, no e-mail address of a donor."""
    sent = [session(), intent(), charge_refunded(1000)]
    assert [200] * 3 == [send(intake, it).status_code for it in sent]
    rows = {row["idempotency_key"]: row["payload"] for row in kept(stripe_url)}
    state = rows[sent[0]["id"]]["data"]["data"]["object"]
    assert {
        "id": "cs_pi_1",
        "object": "checkout.session",
        "payment_intent": "pi_1",
        "status": "complete",
        "payment_status": "paid",
        "currency": "usd",
        "amount_total": 2500,
        "metadata": METADATA,
        "customer_details": {"name": "Bob Donor"},
    } == state
    assert not any(word in str(rows) for word in ("bob@example.org", "Paris", "4242", "billing_details"))


def test_an_anonymous_donor_is_not_kept_either(intake: Intake, stripe_url: str) -> None:
    sent = session(metadata={**METADATA, "donorName": "Bob Donor", "anonymous": "true"}, client_reference_id="bob")
    assert 200 == send(intake, sent).status_code
    (row,) = kept(stripe_url)
    assert "bob" not in str(row["payload"]).lower()
    assert "rule_1" in str(row["payload"])


@pytest.mark.parametrize("name", ["customer.created", "charge.succeeded", "a.type.of.next.year", "balance.available"])
def test_an_unknown_type_is_kept_without_its_object(intake: Intake, stripe_url: str, name: str) -> None:
    """Whatever shape that has."""
    sent = event(name, {"id": 7, "amount": "x", "status": {}, "email": "bob@example.org"})
    assert {"received": True, "duplicate": False} == send(intake, sent).json()
    (row,) = kept(stripe_url)
    head = {key: sent[key] for key in ("id", "type", "created", "livemode", "object")}
    assert {"event_type": "stripe.event", "data": head} == row["payload"]


@pytest.mark.parametrize(
    "sent",
    [
        {"id": "evt_1", "object": "v2.core.event", "type": "v1.charge.refunded", "created": "2026-03-05T00:00:00Z"},
        {"object": "v2.core.event"},
        {**intent(), "object": "v2.core.event"},
    ],
)
def test_a_thin_event_is_refused_with_what_to_do(intake: Intake, stripe_url: str, sent: dict[str, Any]) -> None:
    answer = refused(send(intake, sent), 400)
    assert "urn:problem:thin-event" == answer["type"]
    assert "snapshot" in answer["detail"]
    assert [] == kept(stripe_url)


@pytest.mark.parametrize("age", [301, 3_600, -301, -86_400])
def test_a_recorded_event_is_not_taken_later(intake: Intake, stripe_url: str, age: float) -> None:
    answer = refused(send(intake, intent(), age=age), 401)
    assert "urn:problem:stale-signature" == answer["type"]
    assert [] == kept(stripe_url)


@pytest.mark.parametrize("secret", ["whsec_of_somebody_else", "", f"{NEXT_SECRET}, {SECRET}"])
def test_a_wrong_secret_is_refused_and_nothing_is_kept(intake: Intake, stripe_url: str, secret: str) -> None:
    answer = send(intake, intent(), secret)
    assert "signature is wrong" in refused(answer, 401)["detail"]
    assert "Stripe-Signature" == answer.headers["www-authenticate"]
    assert [] == kept(stripe_url)


def test_an_unsigned_event_is_refused(intake: Intake, stripe_url: str) -> None:
    """Another credential opens nothing."""
    for headers in ({}, {"x-app-token": "app-token-canary-1"}, {"authorization": f"Bearer {SECRET}"}):
        answer = intake.client.post(WEBHOOK, content=body_of(intent()), headers={**headers, **JSON})
        assert "missing" in refused(answer, 401)["detail"]
    assert [] == kept(stripe_url)


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({**intent(), "id": 7}, "id"),
        ({**intent(), "id": ""}, "id"),
        ({**intent(), "created": "yesterday"}, "created"),
        ({**intent(), "created": -1}, "created"),
        ({**intent(), "object": "list"}, "object"),
        ({name: value for name, value in intent().items() if name != "livemode"}, "livemode"),
        ({name: value for name, value in intent().items() if name != "data"}, "data"),
        ({"object": "event"}, "id"),
        ({}, "id"),
        (intent(amount_received=-1), "data.object.amount_received"),
        (intent(amount_received=12.5), "data.object.amount_received"),
        (intent(amount_received="12"), "data.object.amount_received"),
        (intent(amount_received=10**40), "data.object.amount_received"),
        (intent(currency="dollars"), "data.object.currency"),
        (intent(metadata={"ruleId": 7}), "data.object.metadata.ruleId"),
        (session(payment_intent={"id": "pi_1"}), "data.object.payment_intent"),
        (b"[]", "body"),
        (b"7", "body"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_signed_body_that_is_no_event_is_refused_and_kept(
    intake: Intake, stripe_url: str, sent: Any, field: str
) -> None:
    """With the reason: it may be money."""
    answer = refused(send(intake, sent), 422)
    assert [field] == [error["field"] for error in answer["errors"]]
    (row,) = kept(stripe_url)
    assert ("rejected", answer["detail"], body_of(sent).decode()) == (row["status"], row["reason"], row["payload"])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (body_of(intent(metadata={"message": "a\0b"})), "NUL"),
        (body_of(intent(metadata={"message": "\ud800"})), "surrogate"),
        (b'{"object": "event", "id": ' + b"[" * 100 + b"]" * 100 + b"}", "nests deeper"),
        (b'{"object": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}", "nests deeper"),
        (b'{"object": "event", "created": 1e999}', "range of a double"),
    ],
    ids=["NUL", "surrogate", "arrays", "objects", "number"],
)
def test_what_no_store_can_hold_is_refused_and_kept_as_text(
    intake: Intake, stripe_url: str, body: bytes, said: str
) -> None:
    assert said in refused(send(intake, body), 422)["detail"]
    (row,) = kept(stripe_url)
    assert ("rejected", body.decode()) == (row["status"], row["payload"])


@pytest.mark.parametrize("body", [b"{", b"hello", b"\xff\xfe", b'{"a": NaN}', b"\x00" * 10])
def test_what_is_no_json_is_refused_and_not_kept(intake: Intake, stripe_url: str, body: bytes) -> None:
    refused(send(intake, body), 400)
    assert [] == kept(stripe_url)


def test_a_body_of_unusual_size_is_not_read(intake: Intake, stripe_url: str) -> None:
    refused(send(intake, b'"' + b"x" * 600_000 + b'"'), 413)
    assert [] == kept(stripe_url)


def test_hostile_bodies_are_not_looked_into_before_they_are_signed(intake: Intake, stripe_url: str) -> None:
    for body in (b"[" * 500_000, b'{"a": "\\ud800"}', b"hello"):
        refused(send(intake, body, "whsec_of_somebody_else"), 401)
    assert [] == kept(stripe_url)


def test_many_at_once_are_each_kept_once(intake: Intake, stripe_url: str) -> None:
    events = [intent(pi=f"pi_{n}") for n in range(20)] * 5
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda it: send(intake, it), events))
    assert {200} == {answer.status_code for answer in answers}
    assert 80 == sum(answer.json()["duplicate"] for answer in answers)
    assert 20 == len(kept(stripe_url))


def test_no_answer_and_no_log_holds_a_secret_or_a_donor(intake: Intake) -> None:
    answers = [
        send(intake, session()),
        send(intake, session(), "whsec_of_somebody_else"),
        send(intake, intent(metadata={"ruleId": 7, "donorName": "Bob Donor"})),
        send(intake, intent(metadata={"donorName": "Bob Donor\0"})),
    ]
    assert [200, 401, 422, 422] == [answer.status_code for answer in answers]
    told = intake.printed() + "".join(answer.text for answer in answers)
    assert not any(word in told for word in (SECRET, NEXT_SECRET, "Bob Donor", "bob@example.org"))


def test_without_a_secret_the_endpoint_is_closed(stripe_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """As a path that is not there; the log says what to set."""
    as_intake = stripe_url.replace("postgres@", "pipeline_intake@", 1)
    with running(as_intake, tmp_path_factory.mktemp("closed"), REAL) as closed:
        refused(send(closed, intent()), 404)
        refused(closed.client.post(WEBHOOK, content=b"{}", headers=JSON), 404)
        assert eventually(lambda: [it for it in closed.lines() if it.get("variable") == "STRIPE_WEBHOOK_SECRET"])
