"""The registry: which types there are, and what an event of each must look like."""

import time
from typing import Any

import pytest

from ingestion_pipeline.domains.events import schemas
from ingestion_pipeline.domains.events.schemas import STATEMENT, Registry
from ingestion_pipeline_tests.hot_log import HotLog, rows

S2_TYPES = {
    "transaction": {
        "project.created",
        "proposal.submitted",
        "milestone.approved",
        "payment.initiated",
        "payment.completed",
    },
    "interaction": {"profile.viewed", "search.performed", "filter.applied", "message.sent", "notification.clicked"},
    "user_activity": {"user.login", "user.logout", "session.started", "password.changed", "mfa.enabled"},
    "content": {"review.posted", "portfolio.created", "profile.updated"},
}
S4_TYPES = {"VIEW", "COPY", "SAVE", "FORK", "VOTE"}


def row(event_type: str = "A", version: int = 1, **over: Any) -> dict[str, Any]:
    default = {
        "event_type": event_type,
        "schema_version": version,
        "event_category": "content",
        "required_fields": [],
        "json_schema": {"type": "object"},
    }
    return default | over


def problem(schema: Any, data: dict[str, Any]) -> tuple[str, str] | None:
    found = Registry([row(json_schema=schema)]).find("A", None)
    assert found is not None
    return found.problem(data)


def test_the_types_of_both_seeds_are_registered(shared_log: HotLog) -> None:
    """In the categories, and kept as long, as the seed says."""
    found = rows(shared_log.url, "select * from events.event_schemas natural join events.retention_classes")
    for category, types in S2_TYPES.items():
        assert types <= {it["event_type"] for it in found if it["event_category"] == category}
    assert S4_TYPES <= {it["event_type"] for it in found if it["event_category"] == "interaction"}
    years = {it["event_category"]: it["kept_for"].days // 365 for it in found}
    assert {"transaction": 7, "content": 7, "user_activity": 2, "interaction": 1} == years


def test_every_registered_schema_is_a_json_schema(shared_log: HotLog) -> None:
    found = rows(shared_log.url, STATEMENT)
    registry = Registry(found)
    assert len(found) > 20
    assert [] == [it["event_type"] for it in found if it["event_type"] not in registry]


def test_the_highest_version_holds_for_an_event_that_names_none() -> None:
    registry = Registry([row(version=2), row(version=10), row(version=1)])
    found = {version: registry.find("A", version) for version in (None, 1, 2, 3, 10, 0)}
    assert {None: 10, 1: 1, 2: 2, 3: None, 10: 10, 0: None} == {asked: it and it.version for asked, it in found.items()}
    assert ([1, 2, 10], []) == (registry.versions("A"), registry.versions("B"))


def test_an_inactive_version_does_not_hold(shared_log: HotLog) -> None:
    assert "is_active" in STATEMENT
    rows(shared_log.url, "update events.event_schemas set is_active = false where event_type = 'FORK'")
    assert ("FORK" in shared_log.registry, "VIEW" in shared_log.registry) == (False, True)
    rows(shared_log.url, "update events.event_schemas set is_active = true where event_type = 'FORK'")


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, True])
def test_some_schemas_take_every_object(schema: Any) -> None:
    assert problem(schema, {"a": 1}) is None


def test_a_schema_that_is_false_takes_nothing() -> None:
    assert problem(False, {}) is not None


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"amount": 1}, None),
        ({"amount": -1}, "data.amount"),
        ({"amount": -(10**30)}, "data.amount"),
        ({"amount": 10**300}, None),
        ({"amount": "1"}, "data.amount"),
        ({}, "data"),
        ({"amount": 1, "items": [{"n": 1}, {"n": "x"}]}, "data.items.1.n"),
    ],
)
def test_a_broken_schema_names_the_field(data: dict[str, Any], field: str | None) -> None:
    number = {"type": "number"}
    schema = {
        "type": "object",
        "required": ["amount"],
        "properties": {
            "amount": {**number, "minimum": 0},
            "items": {"type": "array", "items": {"properties": {"n": number}}},
        },
    }
    found = problem(schema, data)
    assert field == (found and found[0])


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"$ref": "#/nowhere"},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$schema": "https://example.org/none"},
        {"properties": {"a": {"pattern": "("}}},
        5,
        "x",
        [],
        None,
    ],
)
def test_a_type_whose_schema_is_none_is_closed(schema: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The others stay open, and the log says which it is."""
    registry = Registry([row(json_schema=schema), row("B")])
    assert ("A" in registry, "B" in registry) == (False, True)
    assert "schema is no JSON Schema" in caplog.text


def test_a_wrong_version_leaves_the_right_one_open() -> None:
    registry = Registry([row(version=1), row(version=2, json_schema={"type": "objekt"})])
    assert [1] == registry.versions("A")


def test_a_regular_expression_cannot_hold_the_intake_up() -> None:
    """Backtracking has a limit: what would take years is answered."""
    schema = {"properties": {"a": {"pattern": r"^(a+)+\1$"}}}
    assert problem(schema, {"a": "a" * 5_000 + "b"}) is not None


def test_the_registry_is_read_again_when_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty one at once; for a type that nobody knows sooner than for others."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    registry = Registry()
    assert registry.is_due()
    registry.fill([])
    seen = []
    for seconds in (0.5, 1.0, 4.0):
        clock[0] += seconds
        seen.append((registry.is_due(), registry.is_due(unknown_type=True)))
    assert [(False, False), (False, True), (True, True)] == seen
    assert (1.0, 5.0) == (schemas.UNKNOWN_REFRESH_SECONDS, schemas.REFRESH_SECONDS)


def test_filling_replaces_what_was_known() -> None:
    registry = Registry([row("A")])
    registry.fill([row("B")])
    assert ("A" in registry, "B" in registry) == (False, True)
