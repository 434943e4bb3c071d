"""What queries return, and the parameters they take.

Belongs here: JSON to typed rows and back. Does not belong here: requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypedDict

from .events import instant


class EventFilter(TypedDict, total=False):
    """`start` and `end` bound the instant an event was received, half-open. `page_size` is at most 500."""

    event_type: str
    category: str
    user_id: str
    session_id: str
    rule_id: str
    start: datetime
    end: datetime
    status: Literal["pending", "processing", "processed", "failed"]
    page_size: int


class AggregationFilter(TypedDict, total=False):
    """`start` and `end` bound the start of the bucket, half-open. `page_size` is at most 500."""

    event_type: str
    category: str
    start: datetime
    end: datetime
    page_size: int


@dataclass(frozen=True, kw_only=True)
class Event:
    """One stored event. `timestamp` is when it happened, `created_at` when it was received."""

    id: str
    type: str
    category: str
    user_id: str | None
    session_id: str | None
    rule_id: str | None
    data: Mapping[str, Any]
    metadata: Mapping[str, Any]
    timestamp: datetime
    created_at: datetime
    processing_status: str
    retry_count: int
    error_message: str | None


@dataclass(frozen=True, kw_only=True)
class Aggregation:
    """One bucket of one event type. `properties` holds p50 and p95 of numeric properties of the data."""

    period: str
    bucket_start: datetime
    type: str
    category: str
    count: int
    uncounted_count: int
    unique_users: int
    unique_sessions: int
    first_event_at: datetime
    last_event_at: datetime
    properties: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TypeCount:
    type: str
    count: int


@dataclass(frozen=True, kw_only=True)
class RealtimeMetric:
    """A metric that updates with every batch, until `expires_at`."""

    name: str
    dimensions: Mapping[str, Any]
    value: float
    updated_at: datetime
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class ActiveUsers:
    """People with at least one event in the last day, week (7 days) and month (28 days) on record."""

    day: int
    week: int
    month: int


@dataclass(frozen=True, kw_only=True)
class DashboardMetrics:
    """`today` and `by_category` count events of the current UTC day; `top_types` is in falling order."""

    generated_at: datetime
    today: Mapping[str, int]
    by_category: Mapping[str, int]
    top_types: tuple[TypeCount, ...]
    realtime: tuple[RealtimeMetric, ...]
    active_users: ActiveUsers


_PARAMETERS = {
    "event_type": "type",
    "category": "category",
    "user_id": "userId",
    "session_id": "sessionId",
    "rule_id": "ruleId",
    "start": "from",
    "end": "to",
    "status": "status",
    "page_size": "limit",
}


def parameters(filters: Mapping[str, Any]) -> dict[str, str]:
    """The query string of `filters`; those that are None are left out.

    Raises:
        TypeError: there is no such filter.
    """
    if unknown := sorted(set(filters) - set(_PARAMETERS)):
        raise TypeError(f"unknown filter {unknown[0]!r}, expected one of {', '.join(_PARAMETERS)}")
    given = {_PARAMETERS[name]: value for name, value in filters.items() if value is not None}
    return {name: instant(value) if isinstance(value, datetime) else str(value) for name, value in given.items()}


def event(row: Mapping[str, Any]) -> Event:
    return Event(
        id=row["id"],
        type=row["type"],
        category=row["category"],
        user_id=row["userId"],
        session_id=row["sessionId"],
        rule_id=row["ruleId"],
        data=row["data"],
        metadata=row["metadata"],
        timestamp=datetime.fromisoformat(row["timestamp"]),
        created_at=datetime.fromisoformat(row["createdAt"]),
        processing_status=row["processingStatus"],
        retry_count=row["retryCount"],
        error_message=row["errorMessage"],
    )


def aggregation(row: Mapping[str, Any]) -> Aggregation:
    return Aggregation(
        period=row["period"],
        bucket_start=datetime.fromisoformat(row["bucketStart"]),
        type=row["type"],
        category=row["category"],
        count=row["count"],
        uncounted_count=row["uncountedCount"],
        unique_users=row["uniqueUsers"],
        unique_sessions=row["uniqueSessions"],
        first_event_at=datetime.fromisoformat(row["firstEventAt"]),
        last_event_at=datetime.fromisoformat(row["lastEventAt"]),
        properties=row["properties"],
    )


def dashboard_metrics(body: Mapping[str, Any]) -> DashboardMetrics:
    return DashboardMetrics(
        generated_at=datetime.fromisoformat(body["generatedAt"]),
        today=body["today"],
        by_category=body["byCategory"],
        top_types=tuple(TypeCount(type=row["type"], count=row["count"]) for row in body["topTypes"]),
        realtime=tuple(
            RealtimeMetric(
                name=row["name"],
                dimensions=row["dimensions"],
                value=row["value"],
                updated_at=datetime.fromisoformat(row["updatedAt"]),
                expires_at=datetime.fromisoformat(row["expiresAt"]),
            )
            for row in body["realtime"]
        ),
        active_users=ActiveUsers(**body["activeUsers"]),
    )
