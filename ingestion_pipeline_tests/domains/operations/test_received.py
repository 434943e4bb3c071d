"""Whatever is sent, it is judged and nothing breaks; what is judged right is right again in a replay."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.core.deliveries import DeliveryType
from ingestion_pipeline.core.ids import digest
from ingestion_pipeline.domains.operations.received import Provenance, Reader, Received, normalised
from ingestion_pipeline.intake.problems import Problem
from ingestion_pipeline_tests.domains.operations.deliveries import TYPES, encoded, make_body

READER = Reader(TYPES, named_sources={"acme"})
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("event_type", "type", "market_slug", "source", "id", "timestamp", "data")
BODIES = st.dictionaries(st.sampled_from(NAMES), VALUES) | st.builds(
    lambda name, value: {**make_body(), name: value}, st.sampled_from(NAMES), VALUES
)


def provenance(**over: Any) -> Provenance:
    return Provenance(**{"scheme": "sha256", "signed_by": "x 1", "default_source": "webhook", **over})


def judged(content: bytes, by: Provenance) -> Received | Problem:
    try:
        return READER.read(content, by)
    except Problem as problem:
        return problem


@given(BODIES | VALUES, st.sampled_from([None, "acme", "other"]), st.sampled_from([None, "msg_1"]))
def test_any_json_is_judged_and_can_be_kept(body: Any, source: str | None, key: str | None) -> None:
    """Under a source and key that the inbox takes; as it was sent, or as text."""
    content = json.dumps(body).encode()
    received = judged(content, provenance(source=source, key=key))
    if isinstance(received, Problem):
        assert 400 == received.status  # NaN, infinity
        return
    delivery = received.delivery
    assert (received.problem is None) == (delivery.reason is None)
    assert 1 <= len(delivery.source) <= 100
    assert 1 <= len(delivery.idempotency_key) <= 300
    assert 1 <= len(delivery.event_type) <= 200
    assert source is None or source == delivery.source
    assert key is None or key == delivery.idempotency_key
    payload = msgspec.json.decode(delivery.payload)
    if received.problem is None:
        assert [] == READER.errors(payload, source=delivery.source)


@given(st.text(max_size=60))
def test_any_text_is_judged(text: str) -> None:
    received = judged(text.encode("utf-8", "ignore"), provenance())
    assert 400 == received.status if isinstance(received, Problem) else received.problem


@given(BODIES)
def test_what_is_normalised_stays_as_it_is(body: dict[str, Any]) -> None:
    assert repr(normalised(normalised(body))) == repr(normalised(body))


def test_the_key_is_the_signed_id_then_the_body_s_then_its_digest() -> None:
    with_id, without = encoded(make_body(id="evt-1")), encoded(make_body())
    assert "msg_1" == READER.read(with_id, provenance(key="msg_1")).delivery.idempotency_key
    assert "evt-1" == READER.read(with_id, provenance()).delivery.idempotency_key
    assert digest(without) == READER.read(without, provenance()).delivery.idempotency_key


def test_a_standard_body_loses_nothing() -> None:
    """What is moved outside of `data` is there; what was outside stays."""
    sent = {"type": "t", "timestamp": "x", "data": {"market_slug": "m", "source": "s", "a": 1}, "id": "i", "more": [2]}
    assert {**sent, "event_type": "t", "market_slug": "m", "source": "s", "data": {"a": 1}} == normalised(sent)


@pytest.mark.parametrize("body", [{"event_type": "t", "type": "u", "data": {"source": "s"}}, {}, [], "x", {"data": {}}])
def test_any_other_body_is_not_touched(body: Any) -> None:
    assert normalised(body) is body


OWN = DeliveryType(
    name="owner.event",
    summary="By its owner alone",
    data_type=Any,
    needs_market=False,
    source="owner",
    kept=lambda data: data and {"used": data["used"]},
)
OWNERS = Reader([*TYPES, OWN])
SENT = {"event_type": "owner.event", "id": "1", "data": {"used": 1, "card": "4242"}}


@pytest.mark.parametrize("over", [{}, {"source": "owner"}, {"source": None}])
def test_a_type_with_a_source_of_its_own_is_of_that_source(over: dict[str, Any]) -> None:
    """Whoever drops a file is trusted, and need not say so."""
    dropped = provenance(scheme="file", default_source="files")
    received = OWNERS.read(encoded({**SENT, **over}), dropped)
    assert (None, "owner") == (received.problem, received.delivery.source)
    wrong = OWNERS.read(encoded({**SENT, **over, "id": 7}), dropped)
    assert ("owner", True) == (wrong.delivery.source, wrong.delivery.reason is not None)


def test_a_file_that_names_another_source_for_such_a_type_is_refused() -> None:
    """With what is kept of it: the source and the id tell a delivery from its duplicate."""
    received = OWNERS.read(encoded({**SENT, "source": "acme"}), provenance(scheme="file", default_source="files"))
    assert received.problem is not None
    assert [("source", "owner, which alone sends owner.event")] == [
        (error.field, error.expected) for error in received.problem.errors
    ]
    assert ("files", {"used": 1}) == (received.delivery.source, json.loads(received.delivery.payload)["data"])


@pytest.mark.parametrize("named", [None, "owner", "acme"])
@pytest.mark.parametrize("signer", [None, "acme"])
def test_no_webhook_speaks_for_such_a_source(signer: str | None, named: str | None) -> None:
    """It is kept under the signer's name, reduced as its type says, and is wrong in a replay as well."""
    received = OWNERS.read(encoded({**SENT, "source": named}), provenance(source=signer))
    assert received.problem is not None
    assert {"source"} == {error.field for error in received.problem.errors}
    assert (signer or "webhook") == received.delivery.source
    payload = json.loads(received.delivery.payload)
    assert {"used": 1} == payload["data"]
    assert {"source"} == {error.field for error in OWNERS.errors(payload, source=received.delivery.source)}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (json.dumps({**SENT, "data": {"used": 1, "card": "4242\0"}}), {"used": 1}),
        (json.dumps({**SENT, "source": "a\0", "data": {"used": 2, "card": "4242"}}), {"used": 2}),
        (encoded({**SENT, "data": {"used": 3, "card": "4242"}}).decode()[:-1] + ', "id": 1e999}', {"used": 3}),
        ('{"event_type": "owner.event", "data": {"card": "4242", "used": ' + "[" * 9_000 + "]" * 9_000 + "}}", None),
    ],
    ids=["NUL", "NUL outside", "number", "depth"],
)
@pytest.mark.parametrize("scheme", ["file", "sha256"])
def test_of_such_a_type_no_more_is_kept_where_it_cannot_be_stored(text: str, kept: Any, scheme: Any) -> None:
    """Nothing of it, if it cannot be read."""
    received = OWNERS.read(text.encode(), provenance(scheme=scheme, default_source="anybody"))
    assert received.problem is not None
    delivery = received.delivery
    assert ("anybody", "owner.event") == (delivery.source, delivery.event_type)
    assert {"event_type": "owner.event", "data": kept} == json.loads(delivery.payload)


@pytest.mark.parametrize("name", ["owner.evnt", "something else"])
def test_nobody_is_told_of_a_type_that_is_not_theirs(name: str) -> None:
    """What is expected in the place of an unknown type is not refused the next time."""
    told = {
        signer: OWNERS.errors({"event_type": name, "data": 1}, source=signer)[0].expected
        for signer in (None, "acme", "owner")
    }
    assert {"owner"} == {signer for signer, expected in told.items() if "owner.event" in expected}
