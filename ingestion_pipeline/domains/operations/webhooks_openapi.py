"""The webhook endpoint as OpenAPI describes it: bodies, headers and answers. No behaviour."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ingestion_pipeline.core.deliveries import DeliveryType
from ingestion_pipeline.core.markets import LONGEST_SLUG, MARKET_SLUG_PATTERN
from ingestion_pipeline.domains.operations.received import (
    LONGEST_ID,
    LONGEST_SOURCE,
    SOURCE_PATTERN,
)
from ingestion_pipeline.intake.endpoints import Response, Schema

DESCRIPTION = """
The signature is the credential. Either scheme is accepted; `docs/webhooks.md` signs in Python, JavaScript and shell.

* `X-Signature: sha256=<hex>`: HMAC-SHA256 with the secret as it is written, over `<X-Timestamp>.<body>`.
* Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`, with a `whsec_` secret.

A timestamp may be 300 s off. What was sent before, by the signed `webhook-id`, else the body's `id`, else the SHA-256
of the body, is answered with `duplicate: true` and changes nothing; `same: false` then says that the first one had
another body, `delivery_status` what became of it. 202 comes after the durable commit.

Give every event an `id` of its own. Without one, the same body is a duplicate for 90 days, also when another came in
between: a figure that goes from A to B and back to A stays at B.
"""
_SLUG = {"type": "string", "pattern": MARKET_SLUG_PATTERN, "maxLength": LONGEST_SLUG}
_SOURCE = {"type": "string", "pattern": SOURCE_PATTERN, "maxLength": LONGEST_SOURCE}
_ID = {
    "type": ["string", "null"],
    "minLength": 1,
    "maxLength": LONGEST_ID,
    "description": "Yours of this event, the same in every retry; without it the body itself is the key",
}
_TIME = {"type": ["string", "number", "null"], "description": "The sender's own; not looked at"}
_HEADERS = {
    "X-Signature": "`sha256=` and the hexadecimal HMAC-SHA256",
    "X-Timestamp": "When it was signed, seconds since 1970",
    "webhook-id": "Standard Webhooks: the sender's id, the same in each retry",
    "webhook-timestamp": "Standard Webhooks: when it was signed, seconds since 1970",
    "webhook-signature": "Standard Webhooks: `v1,` and the base64 HMAC-SHA256, several separated by spaces",
}
PARAMETERS = [
    {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": text}
    for name, text in _HEADERS.items()
]
_ACCEPTED = {
    "type": "object",
    "required": ["status", "delivery_id", "duplicate", "event_type", "request_id"],
    "properties": {
        "status": {"const": "accepted"},
        "delivery_id": {"type": "string", "format": "uuid"},
        "duplicate": {"type": "boolean"},
        "event_type": {"type": "string"},
        "request_id": {"type": "string"},
        "same": {"type": "boolean", "description": "Of a duplicate: the first one had the same body"},
        "delivery_status": {
            "enum": ["pending", "processed", "dead"],
            "description": "Of a duplicate: what became of the first one; a dead one waits for an operator",
        },
    },
}
RESPONSES = {
    202: Response(description="Kept, or known already (`duplicate`)", schema=_ACCEPTED),
    401: Response(description="The signature is missing, wrong or stale; `detail` says which."),
    422: Response(description="The body is not valid; `errors` names the fields. It is kept with the reason."),
}


def request_schema(types: Sequence[DeliveryType]) -> dict[str, Any]:
    """Each type in seed S0's shape, then the Standard Webhooks one."""
    names = [it.name for it in types]
    references, _ = _components(types)
    standard = {
        "type": "object",
        "title": "Standard Webhooks",
        "description": "`market_slug` and `source` stand in `data`",
        "required": ["type", "data"],
        "properties": {"type": {"enum": names}, "timestamp": _TIME, "data": {"type": ["object", "array"]}},
    }
    return {"anyOf": [*map(_body_schema, types, references), standard]}


def schemas(types: Sequence[DeliveryType]) -> Mapping[str, Schema]:
    """The named schemas that `request_schema` refers to, for the domain's `schemas`."""
    return _components(types)[1]


def _components(types: Sequence[DeliveryType]) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    data_types = [it.data_type for it in types]
    return msgspec.json.schema_components(data_types, ref_template="#/components/schemas/{name}")


def _body_schema(kind: DeliveryType, data: dict[str, Any]) -> dict[str, Any]:
    required = ["event_type", "data", *(["market_slug"] if kind.needs_market else [])]
    return {
        "type": "object",
        "title": kind.name,
        "description": kind.summary,
        "required": required,
        "properties": {
            "event_type": {"const": kind.name},
            "market_slug": _SLUG if kind.needs_market else {**_SLUG, "type": ["string", "null"]},
            "data": data,
            "source": {**_SOURCE, "type": ["string", "null"]},
            "id": _ID,
            "timestamp": _TIME,
        },
    }
