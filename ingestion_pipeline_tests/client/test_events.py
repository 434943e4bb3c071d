"""One event as it is sent."""

import json
import uuid
from collections import UserDict
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from ingestion_pipeline.client.events import device_context, encoded, event_key, instant


def test_keys_sort_by_time_and_are_unique() -> None:
    """Also within a millisecond, to the clock's own step; PostgreSQL's index and the intake take them as UUIDv7."""
    keys = [event_key() for _ in range(2000)]
    assert len(set(keys)) == len(keys)
    assert {uuid.UUID(key).version for key in keys} == {7}
    assert {uuid.UUID(key).variant for key in keys} == {uuid.RFC_4122}
    ticks = [uuid.UUID(key).int >> 64 for key in keys]
    assert ticks == sorted(ticks)


def test_key_holds_the_instant() -> None:
    before = datetime.now(UTC)
    milliseconds = uuid.UUID(event_key()).int >> 80
    after = datetime.now(UTC)
    assert int(before.timestamp() * 1000) <= milliseconds <= int(after.timestamp() * 1000)


def test_instants_are_sent_in_utc() -> None:
    moment = datetime(2024, 1, 1, 2, 30, tzinfo=timezone(timedelta(hours=2)))
    assert instant(moment) == "2024-01-01T00:30:00.000000Z"


def test_event_has_only_the_fields_that_were_given() -> None:
    event = json.loads(encoded("VIEW", None, {"rule_id": "r1", "user_id": None}))
    assert datetime.fromisoformat(event.pop("ts")) <= datetime.now(UTC)
    assert event == {"type": "VIEW", "ruleId": "r1"}


def test_data_may_hold_mappings_instants_and_uuids() -> None:
    """What applications have at hand besides JSON's own types."""
    key = uuid.UUID(int=1)
    data = {"filters": UserDict({"a": 1}), "at": datetime(2024, 1, 1, tzinfo=UTC), "id": key}
    sent = json.loads(encoded("search.performed", data, {}))["data"]
    assert sent == {"filters": {"a": 1}, "at": "2024-01-01T00:00:00.000000Z", "id": str(key)}


@pytest.mark.parametrize(
    ("event_type", "data", "envelope", "names"),
    [
        (None, None, {}, "type is NoneType"),
        (7, None, {}, "type is int"),
        ("VIEW", [1], {}, "data is list"),
        ("VIEW", {"x": object()}, {}, "object"),
        ("VIEW", None, {"user_id": 7}, "userId is int"),
        ("VIEW", None, {"context": "x"}, "context is str"),
        ("VIEW", None, {"ts": "2024-01-01"}, "instant is str"),
    ],
)
def test_wrong_type_is_named(event_type: Any, data: Any, envelope: Any, names: str) -> None:
    with pytest.raises(TypeError, match=names):
        encoded(event_type, data, envelope)


def test_device_context_says_where_this_runs() -> None:
    context = device_context()
    assert context["device"].keys() == {"platform", "python"}
    assert context["timezone"]
    json.dumps(context)
