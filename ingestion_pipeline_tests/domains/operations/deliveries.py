"""The intake with the inbox's endpoints over types of the tests' own, and senders who sign.

As a process: `python -m ingestion_pipeline_tests.domains.operations.deliveries`.
"""

import hashlib
import hmac
import json
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx
import msgspec
import psycopg
from psycopg.rows import dict_row
from standardwebhooks import Webhook

from ingestion_pipeline.asgi import create_app
from ingestion_pipeline.core.deliveries import DeliveryType
from ingestion_pipeline.domains.operations import webhooks_openapi
from ingestion_pipeline.domains.operations.delivery_routes import delivery_endpoints
from ingestion_pipeline.domains.operations.webhooks import webhook_endpoints
from ingestion_pipeline.intake.endpoints import HttpDomain
from ingestion_pipeline.intake.server import serve
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.settings import Settings
from ingestion_pipeline_tests.intake.process import JSON, Intake

INBOX = ("-m", "ingestion_pipeline_tests.domains.operations.deliveries")
WEBHOOK = "/api/ingest/webhook"

SHARED, SHARED_NEXT = "shared-secret-canary-4", "whsec_" + "c2hhcmVkLWNhbmFyeS01LW9mLTI0LWJ5dGVz"
ACME, ACME_NEXT = "acme-secret-canary-6", "whsec_" + "YWNtZS1jYW5hcnktNy1vZi0yNC1ieXRlcw=="
OTHER = "other-secret-canary-8"
SECRETS = {
    "WEBHOOK_SECRET": f"{SHARED}, {SHARED_NEXT}",
    "WEBHOOK_SECRETS": f"acme={ACME}, acme={ACME_NEXT}, other={OTHER}",
}


class Prices(msgspec.Struct, forbid_unknown_fields=True):
    as_of: datetime
    prices: dict[str, Annotated[float, msgspec.Meta(ge=0)]]

    def __post_init__(self) -> None:
        if "mean" in self.prices:
            raise ValueError("prices.mean is not a known price; the nearest is prices.median")


class Series(msgspec.Struct):
    series_id: str


PRICES = DeliveryType(name="prices.upsert", summary="Prices of a market", data_type=Prices)
SERIES = DeliveryType(name="series.update", summary="A series of no market", data_type=Series, needs_market=False)
ANYTHING = DeliveryType(name="anything.at_all", summary="Whatever JSON holds", data_type=Any, needs_market=False)
TYPES = (PRICES, SERIES, ANYTHING)


def make_body(**over: Any) -> dict[str, Any]:
    """As seed S0 prints it; fields that are given as None are left out."""
    body = {
        "event_type": "prices.upsert",
        "market_slug": "dallas",
        "data": {"as_of": "2025-03-03T00:00:00Z", "prices": {"median": 350_000.0}},
        "source": "external-provider",
        **over,
    }
    return {name: value for name, value in body.items() if value is not None}


def encoded(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def signed(body: bytes, secret: str = SHARED, *, age: float = 0) -> dict[str, str]:
    """Headers of seed S0's scheme, signed `age` seconds ago."""
    stamp = str(int(time.time() - age))
    mac = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {**JSON, "x-timestamp": stamp, "x-signature": f"sha256={mac}"}


def standard(body: bytes, secret: str = SHARED_NEXT, *, key: str = "msg_1", age: float = 0) -> dict[str, str]:
    """Headers of Standard Webhooks, signed by its library."""
    at = datetime.fromtimestamp(int(time.time() - age), tz=UTC)
    return {
        **JSON,
        "webhook-id": key,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(key, at, body.decode()),
    }


def send(intake: Intake, body: Any = None, secret: str = SHARED, *, age: float = 0, **headers: str) -> httpx.Response:
    content = encoded(make_body() if body is None else body)
    return intake.client.post(WEBHOOK, content=content, headers={**signed(content, secret, age=age), **headers})


def send_standard(intake: Intake, body: Any, secret: str = SHARED_NEXT, **options: Any) -> httpx.Response:
    content = encoded(body)
    return intake.client.post(WEBHOOK, content=content, headers=standard(content, secret, **options))


def kept(url: str) -> list[dict[str, Any]]:
    """Every delivery, in the order in which they came, as the superuser sees them."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute("select * from operations.deliveries order by received_at, delivery_id").fetchall()


def inbox(services: Services) -> HttpDomain:
    return HttpDomain(
        endpoints=[*webhook_endpoints(services, TYPES), *delivery_endpoints(services, TYPES)],
        schemas=webhooks_openapi.schemas(TYPES),
    )


if __name__ == "__main__":
    settings = Settings.from_environment()
    serve(settings, lambda: create_app(settings, domains=[inbox]), tell=print)
