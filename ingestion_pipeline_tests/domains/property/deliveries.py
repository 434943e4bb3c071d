"""Deliveries as senders write them, kept in the inbox as the intake keeps them, received when a test says."""

import json
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from ingestion_pipeline.storage.inbox import NewDelivery, accept_all
from ingestion_pipeline.storage.postgres import Postgres

START = datetime(2026, 3, 2, 12, tzinfo=UTC)
MARKET = "dallas"
_keys = count()


def fundamentals(**over: Any) -> dict[str, Any]:
    """Figures of February 2026; `metrics` may be replaced."""
    return {"as_of": "2026-02-28", "metrics": {"median_sale_price_usd": 400_000.0}} | over


def comp(**over: Any) -> dict[str, Any]:
    return {
        "comp_id": "sale-1",
        "property_type": "single_family",
        "sale_date": "2026-02-10",
        "sale_price_usd": 400_000.0,
        "living_area_sqft": 2_000.0,
        "latitude": 32.8,
        "longitude": -96.8,
    } | over


def macro(*observations: tuple[str, Any], **over: Any) -> dict[str, Any]:
    """A series with one observation, unless others are given."""
    given = observations or (("2026-02-01", 4.1),)
    return {"series_id": "UNRATE", "observations": [{"date": day, "value": value} for day, value in given]} | over


def deliver(
    postgres: Postgres,
    event_type: str,
    *bodies: dict[str, Any],
    received: datetime | None = None,
    source: str = "acme",
    market_slug: str | None = MARKET,
) -> list[str]:
    """Keeps one delivery a body, the first received at `received`, each a minute after the one before; their ids."""
    news = [
        NewDelivery(
            source=source,
            idempotency_key=f"key-{next(_keys)}",
            event_type=event_type,
            payload=json.dumps({"event_type": event_type, "market_slug": market_slug, "data": body}).encode(),
            scheme="sha256",
            signed_by="acme 1",
            market_slug=market_slug,
        )
        for body in bodies
    ]
    with postgres.transaction() as connection:
        ids = [accepted.delivery_id for accepted in accept_all(connection, news)]
        for number, delivery_id in enumerate(ids):
            connection.execute(
                "update operations.deliveries set received_at = %s where delivery_id = %s",
                [(received or START) + timedelta(minutes=number), delivery_id],
            )
    return ids


def query(postgres: Postgres, statement: str) -> list[tuple[Any, ...]]:
    with postgres.transaction() as connection:
        return connection.execute(statement).fetchall()
