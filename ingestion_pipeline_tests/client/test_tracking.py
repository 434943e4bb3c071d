"""What the tracking methods send is what the registry of event types asks for."""

from collections.abc import Callable
from typing import Any

import jsonschema_rs
import psycopg
import pytest

from ingestion_pipeline.client import AnalyticsClient
from ingestion_pipeline_tests.client.conftest import FakeService

Connect = Callable[..., AnalyticsClient]
Track = Callable[[AnalyticsClient], str]

TRACKED: dict[str, Track] = {
    "project.created": lambda client: client.track_project_created(
        "p1", {"title": "T", "budget": 10, "currency": "EUR"}
    ),
    "proposal.submitted": lambda client: client.track_proposal_submitted("o1", "p1", {"amount": 5.5}),
    "milestone.approved": lambda client: client.track_milestone_approved("m1", "p1", {"amount": 5}),
    "review.posted": lambda client: client.track_review_posted("r1", {"project_id": "p1", "rating": 4.5}),
    "profile.viewed": lambda client: client.track_profile_viewed("u2"),
    "search.performed": lambda client: client.track_search_performed("logo", {"max": 5}, 12, 3.5),
    "user.login": lambda client: client.track_user_login("password"),
}
BARE: dict[str, Track] = {
    "project.created": lambda client: client.track_project_created("p1"),
    "proposal.submitted": lambda client: client.track_proposal_submitted("o1", "p1"),
    "milestone.approved": lambda client: client.track_milestone_approved("m1", "p1"),
    "review.posted": lambda client: client.track_review_posted("r1"),
    "search.performed": lambda client: client.track_search_performed("logo"),
    "user.login": lambda client: client.track_user_login(),
}


@pytest.mark.parametrize("track", [*TRACKED.items(), *BARE.items()], ids=lambda track: track[0])
def test_tracked_event_satisfies_the_registry(
    service: FakeService, connect: Connect, database_url: str, track: tuple[str, Track]
) -> None:
    """Type, data and the fields of the envelope that the type requires, as migrated."""
    client = connect()
    client.init_session(user_id="u1")
    track[1](client)
    assert client.flush()
    [[event]] = service.batches()
    with psycopg.connect(database_url) as connection:
        [schema, required] = connection.execute(
            "select json_schema, required_fields from events.event_schemas where event_type = %s", [event["type"]]
        ).fetchone() or pytest.fail(f"{event['type']} is not registered")
    assert event["type"] == track[0]
    assert [] == [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(event["data"])]
    assert set(required) <= event.keys()


def sent(service: FakeService, client: AnalyticsClient) -> dict[str, Any]:
    assert client.flush()
    event = service.batches()[-1][-1]
    assert isinstance(event, dict)
    return event


def test_arguments_become_the_data(service: FakeService, connect: Connect) -> None:
    client = connect()
    client.track_search_performed("logo", {"max": 5}, 12, 3.5, user_id="u9", context={"ip": "203.0.113.9"})
    event = sent(service, client)
    assert event["data"] == {"query": "logo", "filters": {"max": 5}, "results_count": 12, "search_time_ms": 3.5}
    assert (event["userId"], event["context"]) == ("u9", {"ip": "203.0.113.9"})


def test_identifier_wins_over_the_data(service: FakeService, connect: Connect) -> None:
    client = connect()
    client.track_review_posted("r1", {"review_id": "other", "rating": 1})
    assert sent(service, client)["data"] == {"review_id": "r1", "rating": 1}


def test_session_travels_with_every_event(service: FakeService, connect: Connect) -> None:
    """Its id, its user, this device and the application's own context."""
    client = connect()
    session = client.init_session(user_id="u1", context={"screen": {"width": 1, "height": 2}, "locale": "de"})
    client.emit("VIEW", rule_id="r")
    event = sent(service, client)
    assert (event["sessionId"], event["userId"]) == (session, "u1")
    assert event["context"]["screen"] == {"width": 1, "height": 2}
    assert event["context"]["locale"] == "de"
    assert event["context"]["device"].keys() == {"platform", "python"}


def test_event_may_belong_to_another_session_and_user(service: FakeService, connect: Connect) -> None:
    """A web server speaks for many people."""
    client = connect()
    client.init_session(user_id="u1")
    client.emit("VIEW", session_id="theirs", user_id="u2", context={"userAgent": "x"})
    event = sent(service, client)
    assert (event["sessionId"], event["userId"], event["context"]) == ("theirs", "u2", {"userAgent": "x"})


def test_sessions_are_unique(connect: Connect) -> None:
    client = connect()
    assert len({client.init_session() for _ in range(100)}) == 100


def test_context_of_the_wrong_type_shows_at_the_start_of_the_session(connect: Connect) -> None:
    client = connect()
    with pytest.raises(TypeError, match="object"):
        client.init_session(context={"x": object()})
    with pytest.raises(TypeError, match="userId"):
        client.init_session(user_id=7)  # type: ignore[arg-type]


def test_key_of_the_application_is_kept(service: FakeService, connect: Connect) -> None:
    client = connect()
    assert client.emit("VIEW", idempotency_key="order-7") == "order-7"
    assert sent(service, client)["idempotencyKey"] == "order-7"


def test_event_without_a_session_names_none(service: FakeService, connect: Connect) -> None:
    client = connect()
    key = client.emit("VIEW")
    event = sent(service, client)
    assert event.pop("ts").endswith("Z")
    assert event == {"type": "VIEW", "idempotencyKey": key}
