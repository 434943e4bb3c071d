"""A webhook is taken once, from whoever can sign it, and refused with the fields that are wrong."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.domains.operations.deliveries import (
    ACME,
    ACME_NEXT,
    OTHER,
    SHARED,
    SHARED_NEXT,
    WEBHOOK,
    encoded,
    kept,
    make_body,
    send,
    send_standard,
    signed,
    standard,
)
from ingestion_pipeline_tests.intake.process import JSON, Intake
from ingestion_pipeline_tests.intake.test_routing import refused

DATA = make_body()["data"]


def reasons(url: str) -> list[tuple[str, str | None]]:
    return [(row["status"], row["reason"]) for row in kept(url)]


# accepted


def test_a_signed_webhook_is_accepted_once(inbox: Intake, inbox_url: str) -> None:
    """As seed S0 prints it; 202 names the delivery, and a repeated one is its duplicate."""
    first = send(inbox, headers := make_body(), **{"x-request-id": "r-1"})
    assert 202 == first.status_code
    delivery_id = first.json()["delivery_id"]
    expected = {
        "status": "accepted",
        "delivery_id": delivery_id,
        "duplicate": False,
        "event_type": "prices.upsert",
        "request_id": "r-1",
    }
    assert expected == first.json()
    again = send(inbox, headers, **{"x-request-id": "r-2"})
    told = {**expected, "duplicate": True, "same": True, "delivery_status": "pending", "request_id": "r-2"}
    assert (202, told) == (again.status_code, again.json())
    (row,) = kept(inbox_url)
    assert (delivery_id, make_body(), "external-provider", "prices.upsert", "dallas", "pending", None) == (
        str(row["delivery_id"]), row["payload"], row["source"], row["event_type"], row["market_slug"], row["status"],
        row["reason"],
    )  # fmt: skip
    assert ("sha256", "WEBHOOK_SECRET 1", "http", "r-1") == (
        row["scheme"], row["signed_by"], row["origin"], row["request_id"]
    )  # fmt: skip
    assert abs(row["signed_at"].timestamp() - time.time()) < 60


def test_standard_webhooks_are_accepted_beside_it(inbox: Intake, inbox_url: str) -> None:
    """Their body is normalised: `data` is what the type describes, market and source stand outside of it."""
    body = {
        "type": "prices.upsert",
        "timestamp": "2025-03-03T00:00:00Z",
        "data": {**DATA, "market_slug": "dallas", "source": "vendor"},
    }
    assert (202, False) == ((first := send_standard(inbox, body)).status_code, first.json()["duplicate"])
    (row,) = kept(inbox_url)
    assert ("standard", "WEBHOOK_SECRET 2", "vendor", "dallas", "msg_1", DATA) == (
        row["scheme"], row["signed_by"], row["source"], row["market_slug"], row["idempotency_key"],
        row["payload"]["data"],
    )  # fmt: skip
    assert {"duplicate": True, "delivery_id": first.json()["delivery_id"]}.items() <= (
        send_standard(inbox, body).json().items()
    )
    assert not send_standard(inbox, body, key="msg_2").json()["duplicate"]


def test_either_scheme_takes_either_body(inbox: Intake, inbox_url: str) -> None:
    standard_body = {"type": "series.update", "data": {"series_id": "x"}}
    assert 202 == send_standard(inbox, make_body()).status_code
    assert 202 == send(inbox, standard_body).status_code
    assert ["external-provider", "webhook"] == [row["source"] for row in kept(inbox_url)]


def test_the_headers_of_svix_are_accepted(inbox: Intake) -> None:
    content = encoded(make_body())
    headers = {name.replace("webhook-", "svix-"): value for name, value in standard(content).items()}
    assert 202 == inbox.client.post(WEBHOOK, content=content, headers=headers).status_code


@pytest.mark.parametrize(
    ("key", "over"),
    [("evt-1", {"id": "evt-1"}), ("evt-1", {"id": "evt-1", "timestamp": 17.5})],
)
def test_the_sender_s_id_is_the_key(inbox: Intake, inbox_url: str, key: str, over: dict[str, Any]) -> None:
    """Whatever else the body says; headers that are not signed have no say."""
    send(
        inbox, make_body(**over), **{"webhook-id": "unsigned", "x-idempotency-key": "unsigned", "idempotency-key": "u"}
    )
    assert [key] == [row["idempotency_key"] for row in kept(inbox_url)]


def test_a_key_that_comes_with_another_body_is_a_duplicate_and_said_to_be(inbox: Intake, inbox_url: str) -> None:
    """To the sender and in the log. The first one stays."""
    first = send(inbox, make_body(id="evt-1"))
    second = send(inbox, make_body(id="evt-1", market_slug="austin"))
    assert (202, True, first.json()["delivery_id"]) == (
        second.status_code, second.json()["duplicate"], second.json()["delivery_id"]
    )  # fmt: skip
    assert (False, True) == (second.json()["same"], send(inbox, make_body(id="evt-1")).json()["same"])
    assert ["dallas"] == [row["market_slug"] for row in kept(inbox_url)]
    line = eventually(lambda: [it for it in inbox.lines() if "another body" in it["event"]])[-1]
    assert first.json()["delivery_id"] == line["delivery_id"]


@pytest.mark.parametrize(("status", "reason"), [("dead", "boom"), ("processed", None)])
def test_a_duplicate_is_told_what_became_of_the_first(
    inbox: Intake, inbox_url: str, status: str, reason: str | None
) -> None:
    """Who sends again what is dead learns that it was not applied."""
    send(inbox, make_body(id="evt-1"))
    with psycopg.connect(inbox_url, autocommit=True) as connection:
        connection.execute(
            "update operations.deliveries set status = %s, reason = %s, settled_at = now()", [status, reason]
        )
    answer = send(inbox, make_body(id="evt-1")).json()
    assert (True, status) == (answer["duplicate"], answer["delivery_status"])


def test_many_at_once_are_each_kept_once(inbox: Intake, inbox_url: str) -> None:
    bodies = [make_body(id=f"evt-{n % 20}") for n in range(100)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: send(inbox, body), bodies))
    assert {202} == {answer.status_code for answer in answers}
    assert 80 == sum(answer.json()["duplicate"] for answer in answers)
    assert 20 == len(kept(inbox_url))


def test_a_large_body_is_judged_aside(inbox: Intake, inbox_url: str) -> None:
    """Beyond the size at which a thread does it: the outcome is the same."""
    body = make_body(data={**DATA, "prices": {f"m{n}": float(n) for n in range(10_000)}})
    assert 202 == send(inbox, body).status_code
    assert 422 == send(inbox, make_body(data={**DATA, "prices": {f"m{n}": "x" for n in range(10_000)}})).status_code
    assert 401 == send(inbox, body, "another-secret-0").status_code
    assert ["pending", "rejected"] == [row["status"] for row in kept(inbox_url)]


def test_a_request_names_its_market_in_the_log(inbox: Intake, inbox_url: str) -> None:
    send(inbox, make_body(market_slug="log-town"))
    query = f"select market, caller from operations.api_requests where path = '{WEBHOOK}' and market = 'log-town'"

    def logged() -> list[Any]:
        with psycopg.connect(inbox_url) as connection:
            return connection.execute(query.encode()).fetchall()

    assert [("log-town", None)] == eventually(logged)


# who signed


@pytest.mark.parametrize(
    ("secret", "signed_by"),
    [(SHARED, "WEBHOOK_SECRET 1"), (SHARED_NEXT, "WEBHOOK_SECRET 2")],
)
def test_shared_secrets_speak_for_any_source_without_its_own(
    inbox: Intake, inbox_url: str, secret: str, signed_by: str
) -> None:
    assert 202 == send(inbox, make_body(), secret).status_code
    assert [("external-provider", signed_by)] == [(row["source"], row["signed_by"]) for row in kept(inbox_url)]


@pytest.mark.parametrize("source", ["acme", None])
def test_a_named_source_speaks_for_itself(inbox: Intake, inbox_url: str, source: str | None) -> None:
    """With each of its secrets, whether the body names it or not."""
    assert 202 == send(inbox, make_body(source=source, id="1"), ACME).status_code
    assert 202 == send(inbox, make_body(source=source, id="2"), ACME_NEXT).status_code
    assert 202 == send_standard(inbox, make_body(source=source), ACME_NEXT, key="3").status_code
    assert [("acme", "acme 1", "1"), ("acme", "acme 2", "2"), ("acme", "acme 2", "3")] == [
        (row["source"], row["signed_by"], row["idempotency_key"]) for row in kept(inbox_url)
    ]


@pytest.mark.parametrize("source", ["other", "external-provider"])
def test_a_named_source_speaks_for_nobody_else(inbox: Intake, inbox_url: str, source: str) -> None:
    """It is refused, kept under the signer, and takes no key of the other."""
    answer = refused(send(inbox, make_body(source=source, id="evt-1"), ACME), 422)
    assert ["source"] == [error["field"] for error in answer["errors"]]
    assert "acme" in answer["detail"]
    assert [("acme", "rejected")] == [(row["source"], row["status"]) for row in kept(inbox_url)]
    secret = OTHER if source == "other" else SHARED
    assert not send(inbox, make_body(source=source, id="evt-1"), secret).json()["duplicate"]


def test_a_shared_secret_does_not_speak_for_a_named_source(inbox: Intake, inbox_url: str) -> None:
    answer = refused(send(inbox, make_body(source="acme", id="evt-1")), 422)
    assert ["source"] == [error["field"] for error in answer["errors"]]
    assert [("webhook", "rejected")] == [(row["source"], row["status"]) for row in kept(inbox_url)]
    assert not send(inbox, make_body(source="acme", id="evt-1"), ACME).json()["duplicate"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-signature": "sha256=" + "0" * 64},
        {"x-signature": "sha256=" + "0" * 64, "x-timestamp": "1642261200"},
        {"webhook-id": "x", "webhook-timestamp": "1642261200", "webhook-signature": "v1,AAAA"},
        {"authorization": f"Bearer {SHARED}"},
        {"x-app-token": "app-token-canary-1"},
    ],
    ids=lambda headers: ",".join(headers) or "none",
)
def test_who_does_not_sign_is_refused_and_nothing_is_kept(
    inbox: Intake, inbox_url: str, headers: dict[str, str]
) -> None:
    answer = inbox.client.post(WEBHOOK, content=encoded(make_body()), headers={**JSON, **headers})
    refused(answer, 401)
    assert "www-authenticate" in answer.headers
    assert [] == kept(inbox_url)


@pytest.mark.parametrize("secret", ["another-secret-0", SHARED.upper(), SHARED + " ", ""])
def test_a_wrong_secret_is_refused(inbox: Intake, inbox_url: str, secret: str) -> None:
    assert "signature is wrong" in refused(send(inbox, make_body(), secret), 401)["detail"]
    assert [] == kept(inbox_url)


def test_a_signature_is_of_one_body(inbox: Intake, inbox_url: str) -> None:
    """Taken from a request that was seen, for another one."""
    headers = signed(encoded(make_body()))
    for content in (encoded(make_body(market_slug="austin")), encoded(make_body()) + b" ", b""):
        status = 400 if not content else 401
        refused(inbox.client.post(WEBHOOK, content=content, headers=headers), status)
    assert [] == kept(inbox_url)


@pytest.mark.parametrize(
    ("age", "status", "said"),
    [
        (0, 202, ""),
        (60, 202, ""),
        (290, 202, ""),
        (310, 401, "too old"),
        (3_600, 401, "too old"),
        (86_400 * 400, 401, "too old"),
        (-290, 202, ""),
        (-310, 401, "too new"),
        (-86_400, 401, "too new"),
    ],
)
def test_a_recorded_request_at_every_age(inbox: Intake, inbox_url: str, age: float, status: int, said: str) -> None:
    """Within the tolerance of clocks it is a duplicate, beyond it is refused: it is never taken twice."""
    assert 202 == send(inbox, make_body()).status_code
    replayed = send(inbox, make_body(), age=age)
    assert status == replayed.status_code
    assert said in replayed.json().get("detail", "")
    if status == 202:
        assert replayed.json()["duplicate"]
    assert 1 == len(kept(inbox_url))


def test_a_stale_request_is_told_apart(inbox: Intake) -> None:
    answer = refused(send(inbox, make_body(), age=301), 401)
    assert "urn:problem:stale-signature" == answer["type"]
    assert "300 s" in answer["detail"]


# what is wrong


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (make_body(event_type=None), ["event_type"]),
        (make_body(event_type=7), ["event_type"]),
        (make_body(event_type=""), ["event_type"]),
        (make_body(event_type="prices.upsrt"), ["event_type"]),
        (make_body(market_slug=None), ["market_slug"]),
        (make_body(market_slug="Dallas, TX"), ["market_slug"]),
        (make_body(market_slug="dallas\n"), ["market_slug"]),
        (make_body(market_slug=7), ["market_slug"]),
        (make_body(data=None), ["data"]),
        (make_body(data=[]), ["data"]),
        (make_body(data={"prices": {}}), ["data.as_of"]),
        (make_body(data={**DATA, "prices": {"median": -1}}), ["data.prices[...]"]),
        (make_body(data={**DATA, "prices": {"median": True}}), ["data.prices[...]"]),
        (make_body(data={**DATA, "price": 1}), ["data.price"]),
        (make_body(data={**DATA, "as_of": 0}), ["data.as_of"]),
        (make_body(data={**DATA, "prices": {"mean": 1}}), ["data.prices.mean"]),
        (make_body(source="a b"), ["source"]),
        (make_body(source="../acme"), ["source"]),
        (make_body(source="acme\n"), ["source"]),
        (make_body(id=""), ["id"]),
        (make_body(id=7), ["id"]),
        (make_body(id="x" * 257), ["id"]),
        (make_body(timestamp=[]), ["timestamp"]),
        ({}, ["event_type", "data"]),
        ({"market_slug": 1, "source": 2, "id": 3}, ["event_type", "market_slug", "source", "id", "data"]),
        ([], ["body"]),
        ([make_body()], ["body"]),
        ("text", ["body"]),
        (17, ["body"]),
        ({"type": "prices.upsert", "data": DATA}, ["market_slug"]),
        ({"type": "prices.upsert", "data": 1}, ["market_slug", "data"]),
        ({"type": 1}, ["event_type", "data"]),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_a_wrong_body_names_its_fields_and_is_kept(inbox: Intake, inbox_url: str, body: Any, fields: list[str]) -> None:
    """With the reason, for whoever looks after the inbox; the sender has had a 422."""
    answer = refused(send(inbox, body), 422)
    assert fields == [error["field"] for error in answer["errors"]]
    (row,) = kept(inbox_url)
    assert ("rejected", answer["detail"]) == (row["status"], row["reason"])
    assert body == row["payload"] or "type" in body


def test_an_unknown_type_is_told_the_nearest(inbox: Intake) -> None:
    assert "prices.upsert" in refused(send(inbox, make_body(event_type="price.upserts")), 422)["detail"]
    far = refused(send(inbox, make_body(event_type="zzz")), 422)["detail"]
    assert all(name in far for name in ("prices.upsert", "series.update", "anything.at_all"))


def test_a_type_s_own_rule_says_what_is_known(inbox: Intake) -> None:
    answer = refused(send(inbox, make_body(data={**DATA, "prices": {"mean": 1}})), 422)
    assert "data.prices.mean: expected a known price; the nearest is prices.median" == answer["detail"]


def test_a_rejected_one_can_be_sent_again_mended(inbox: Intake, inbox_url: str) -> None:
    """Under the same id: it is no duplicate of the wrong one."""
    refused(send(inbox, make_body(id="evt-1", data={})), 422)
    assert (202, False) == ((good := send(inbox, make_body(id="evt-1"))).status_code, good.json()["duplicate"])
    assert [("pending", None)] == reasons(inbox_url)
    refused(send(inbox, make_body(id="evt-1", data={})), 422)
    assert [("pending", None)] == reasons(inbox_url)


def test_one_without_a_market_may_leave_it_out(inbox: Intake) -> None:
    assert (
        202 == send(inbox, make_body(event_type="series.update", market_slug=None, data={"series_id": "x"})).status_code
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"event_type": "anything.at_all", "data": "a\\u0000b"}', "NUL"),
        (b'{"event_type": "anything.at_all", "data": "\\ud800"}', "surrogate"),
        (b'{"event_type": "anything.at_all", "data": {"\\udc00": 1}}', "surrogate"),
        (b'{"event_type": "anything.at_all", "data": 1e999}', "range of a double"),
        (b'{"event_type": "anything.at_all", "data": ' + b"9" * 400 + b"}", "range of a double"),
        (b'{"event_type": "anything.at_all", "data": 0.' + b"1" * 20_000 + b"}", "too many digits"),
        (b'{"event_type": "anything.at_all", "data": 1e-20000}', "too many digits"),
        (b'{"event_type": "anything.at_all", "data": ' + b"[" * 100 + b"]" * 100 + b"}", "nests deeper"),
        (b'{"event_type": "anything.at_all", "data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nests deeper"),
        (b'{"event_type": "anything.at_all", "data": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}", "nests"),
    ],
    ids=lambda value: value[:70].decode() if isinstance(value, bytes) else value,
)
def test_what_no_store_can_hold_is_refused_and_kept_as_text(
    inbox: Intake, inbox_url: str, content: bytes, said: str
) -> None:
    assert said in refused(send(inbox, content), 422)["detail"]
    (row,) = kept(inbox_url)
    assert ("rejected", content.decode()) == (row["status"], row["payload"])
    assert said in row["reason"]


@pytest.mark.parametrize("content", [b"[" * 50 + b'"\x00"' + b"]" * 50, b'{"a": 1e999, "b": "\x00"}'])
def test_what_holds_nul_as_well_is_kept_without_it(inbox: Intake, inbox_url: str, content: bytes) -> None:
    """PostgreSQL's text takes it neither raw nor escaped."""
    refused(send(inbox, content), 422)
    (row,) = kept(inbox_url)
    assert ("rejected", content.decode().replace("\0", "\ufffd")) == (row["status"], row["payload"])


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"hello",
        b"\xff\xfe",
        b'{"a": NaN}',
        b"<xml/>",
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": "\xed\xa0\x80"}',
        b"\x00" * 100,
    ],
)
def test_what_is_no_json_is_refused_and_not_kept(inbox: Intake, inbox_url: str, content: bytes) -> None:
    refused(send(inbox, content), 400)
    assert [] == kept(inbox_url)


def test_hostile_bodies_are_not_looked_into_before_they_are_signed(inbox: Intake, inbox_url: str) -> None:
    """A bomb from somebody unknown costs a digest."""
    for content in (b"[" * 1_000_000, b'{"a": "\\ud800"}', b"hello"):
        refused(send(inbox, content, "another-secret-0"), 401)
    assert [] == kept(inbox_url)


@pytest.mark.parametrize(
    ("data", "stored"),
    [
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b"0.1", 0.1),
        (b'"\\ud83d\\ude00 \\\\u0000"', "😀 \\u0000"),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"1e300", 10**300),
        (b"-0", 0),
        (b"[" * 29 + b"]" * 29, None),
    ],
    ids=lambda value: repr(value)[:30],
)
@pytest.mark.parametrize("name", ["event_type", "type"])
def test_unusual_json_is_kept_as_it_is(inbox: Intake, inbox_url: str, name: str, data: bytes, stored: Any) -> None:
    """In both shapes of a body."""
    assert 202 == send(inbox, b'{"%s": "anything.at_all", "data": %s}' % (name.encode(), data)).status_code
    (row,) = kept(inbox_url)
    if stored is not None:
        assert stored == row["payload"]["data"]


@pytest.mark.parametrize(("kind", "status"), [("text/plain", 415), ("application/x-www-form-urlencoded", 415)])
def test_another_content_type_is_refused(inbox: Intake, kind: str, status: int) -> None:
    refused(send(inbox, make_body(), **{"content-type": kind}), status)


def test_no_secret_is_ever_printed(inbox: Intake) -> None:
    """Not in answers, not in the log."""
    answers = [send(inbox, make_body(), secret) for secret in (SHARED, ACME, OTHER, "wrong-secret-0000")]
    text = inbox.printed() + "".join(answer.text for answer in answers)
    assert not [secret for secret in (SHARED, ACME, SHARED_NEXT, ACME_NEXT, OTHER) if secret in text]


def test_the_document_describes_it(inbox: Intake) -> None:
    """With the shape of each type's data, so that a client can be made of it."""
    document = inbox.get("/openapi.json").json()
    operation = document["paths"][WEBHOOK]["post"]
    shapes = operation["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    assert ["prices.upsert", "series.update", "anything.at_all", "Standard Webhooks"] == [it["title"] for it in shapes]
    assert "#/components/schemas/Prices" == shapes[0]["properties"]["data"]["$ref"]
    assert ["as_of", "prices"] == document["components"]["schemas"]["Prices"]["required"]
    answers = operation["responses"]["202"]["content"]["application/json"]["schema"]["properties"]
    assert {"same", "delivery_status"} <= set(answers)
    assert "`id`" in operation["description"]
    assert {"202", "400", "401", "408", "413", "415", "422", "503"} <= set(operation["responses"])
