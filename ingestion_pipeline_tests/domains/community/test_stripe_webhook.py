"""An event of Stripe is taken once, reduced to what is used; what is wrong is refused and, if it was signed, kept."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import psycopg
import pytest

from ingestion_pipeline.domains.community.donations_ledger import apply_donations
from ingestion_pipeline.domains.community.stripe import DELIVERY_TYPES
from ingestion_pipeline.domains.operations.delivery_replay import Selection, replay
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.databases import migrated_database
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
from ingestion_pipeline_tests.domains.operations import deliveries
from ingestion_pipeline_tests.domains.operations.deliveries import ACME, SHARED, kept
from ingestion_pipeline_tests.intake.process import JSON, REAL, Intake, running
from ingestion_pipeline_tests.intake.test_routing import refused

PRIVATE = ("bob@example.org", "Paris", "4242", "billing_details")
CLAIMED = "claimed-secret-canary-6"  # of somebody who is no Stripe


@pytest.fixture(scope="module")
def stripe_url(server: EmbeddedServer) -> Iterator[str]:
    """The superuser's URL of a migrated database that the module shares."""
    with migrated_database(server) as url:
        yield url


@pytest.fixture(scope="module")
def _served(stripe_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intake]:
    as_intake = stripe_url.replace("postgres@", "pipeline_intake@", 1)
    others = {"WEBHOOK_SECRET": SHARED, "WEBHOOK_SECRETS": f"acme={ACME}, stripe={CLAIMED}"}
    with running(as_intake, tmp_path_factory.mktemp("stripe"), REAL, **SECRETS, **others) as intake:
        yield intake


@pytest.fixture
def ledger(stripe_url: str) -> Iterator[Postgres]:
    """Of the worker, in the database of the intake."""
    with closing(Postgres(stripe_url.replace("postgres@", "pipeline_worker@", 1))) as postgres:
        yield postgres


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
    assert not any(word in str(rows) for word in PRIVATE)


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
    """With the reason: it may be money. Of people only what would be kept of an event."""
    answer = refused(send(intake, sent), 422)
    assert [field] == [error["field"] for error in answer["errors"]]
    (row,) = kept(stripe_url)
    assert ("rejected", answer["detail"], "stripe.event") == (
        row["status"],
        row["reason"],
        row["payload"]["event_type"],
    )
    assert not any(word in str(row["payload"]) for word in PRIVATE)


def test_what_is_kept_of_a_wrong_event_is_wrong_in_the_same_way(
    intake: Intake, stripe_url: str, ledger: Postgres
) -> None:
    """A replay applies it once the reason is mended, and not before."""
    wrong = session(payment_intent={"id": "pi_1", "receipt_email": "bob@example.org"}, metadata={"ruleId": 7})
    refused(send(intake, wrong), 422)
    (row,) = kept(stripe_url)
    state = row["payload"]["data"]["data"]["object"]
    assert ({}, {"ruleId": 7}, {"name": "Bob Donor"}) == (
        state["payment_intent"], state["metadata"], state["customer_details"]
    )  # fmt: skip
    assert 1 == replay(ledger, list(DELIVERY_TYPES.values()), Selection(), by="operator").replayed
    done = apply_donations(ledger, run_id="run-1").deliveries
    assert (0, 1) == (done.processed, done.dead)


def test_a_wrong_event_of_an_anonymous_donor_is_kept_without_them(intake: Intake, stripe_url: str) -> None:
    metadata = {**METADATA, "donorName": "Bob Donor", "anonymous": "true"}
    refused(send(intake, session(metadata=metadata, client_reference_id="bob", amount_total="12")), 422)
    (row,) = kept(stripe_url)
    assert "bob" not in str(row["payload"]).lower()
    assert "rule_1" in str(row["payload"])


@pytest.mark.parametrize(
    ("body", "said", "expected"),
    [
        (body_of(intent(metadata={"message": "a\0b"})), "NUL", "'message': 'a\ufffdb'"),
        (body_of(intent(metadata={"message": "a\ud800b"})), "surrogate", "'message': 'a?b'"),
        (body_of(intent()).replace(b"2500", b"1e999"), "range of a double", "'amount': None"),
        (b'{"object": "event", "id": ' + b"[" * 100 + b"]" * 100 + b"}", "nests deeper", "'id': []"),
        (b'{"object": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}", "nests deeper", "'data': None"),
    ],
    ids=["NUL", "surrogate", "number", "arrays", "objects"],
)
def test_what_no_store_can_hold_is_refused_and_kept_as_far_as_it_can_be_read(
    intake: Intake, stripe_url: str, body: bytes, said: str, expected: str
) -> None:
    assert said in refused(send(intake, body), 422)["detail"]
    (row,) = kept(stripe_url)
    assert "rejected" == row["status"]
    assert expected in str(row["payload"])
    assert not any(word in str(row["payload"]) for word in PRIVATE)


def test_nobody_else_takes_the_place_of_an_event_of_stripe(intake: Intake, stripe_url: str) -> None:
    """No other secret speaks for the source, whatever it is called; an honest relay is told so as well."""
    sent = {**intent(), "id": "evt_forged"}
    for secret in (SHARED, ACME):
        for event_type in ("stripe.event", "comps.upsert"):
            body = {"event_type": event_type, "source": "stripe", "id": sent["id"], "data": sent}
            assert "source" in str(refused(deliveries.send(intake, body, secret), 422)["errors"])
    refused(deliveries.send(intake, {"event_type": "stripe.event", "id": sent["id"], "data": sent}, ACME), 422)
    refused(deliveries.send(intake, {"event_type": "stripe.event", "id": sent["id"], "data": sent}, CLAIMED), 401)
    assert {"received": True, "duplicate": False} == send(intake, sent).json()
    (row,) = [row for row in kept(stripe_url) if row["source"] == "stripe"]
    assert ("pending", "STRIPE_WEBHOOK_SECRET 2") == (row["status"], row["signed_by"])


@pytest.mark.parametrize("secret", [SHARED, ACME])
def test_no_more_is_kept_of_an_event_that_a_relay_sends(
    intake: Intake, stripe_url: str, ledger: Postgres, secret: str
) -> None:
    """It is refused with what to do, and stays refused in a replay."""
    sent = charge_refunded(1000)
    for source in ({}, {"source": "stripe"}):
        body = {"event_type": "stripe.event", "id": sent["id"], "data": sent, "note": PRIVATE[0], **source}
        assert ["source"] == [error["field"] for error in refused(deliveries.send(intake, body, secret), 422)["errors"]]
        (row,) = kept(stripe_url)
        assert ("rejected", "stripe.event") == (row["status"], row["event_type"])
        assert "pi_1" in str(row["payload"])
        assert not any(word in str(row["payload"]) for word in PRIVATE)
        done = replay(ledger, list(DELIVERY_TYPES.values()), Selection(), by="operator")
        assert (0, 1) == (done.replayed, done.rejected)


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
