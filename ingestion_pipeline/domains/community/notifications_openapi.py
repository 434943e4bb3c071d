"""The endpoints of notifications as OpenAPI describes them. No behaviour."""

from ingestion_pipeline.domains.community.notifications_targets import LONGEST_TARGET
from ingestion_pipeline.domains.community.notifications_text import KINDS
from ingestion_pipeline.intake.endpoints import Response
from ingestion_pipeline.intake.schemas import object_schema

MAX_ROWS, DEFAULT_ROWS = 200, 50

_INSTANT = {"type": "string", "format": "date-time"}
_INSTANT_OR_NULL = {"type": ["string", "null"], "format": "date-time"}
_KINDS = {"type": "array", "items": {"type": "string", "enum": list(KINDS)}, "uniqueItems": True}
_DIGEST = {"type": "string", "enum": ["none", "daily", "weekly"]}


PREFERENCES = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "target": {
            "type": ["string", "null"],
            "minLength": 1,
            "maxLength": LONGEST_TARGET,
            "description": "https://… or an address of Apprise; null: none any more; absent: as it is",
        },
        "kinds": {**_KINDS, "description": "What you want to be told; all by default"},
        "digest": {**_DIGEST, "default": "none", "description": "One message a day or week (UTC) in place of each"},
        "isMuted": {"type": "boolean", "default": False},
    },
}
PREFERENCES_EXAMPLES = {
    "daily by Slack": {"target": "slack://TokenA/TokenB/TokenC/#me", "digest": "daily"},
    "donations at once": {"target": "https://example.org/hook", "kinds": ["new_donation"]},
    "silence": {"isMuted": True},
}
PREFERENCES_RESPONSES = {
    200: Response(
        description="What you want to be told; where is never shown",
        schema=object_schema(
            hasTarget={"type": "boolean"},
            kinds=_KINDS,
            digest=_DIGEST,
            isMuted={"type": "boolean"},
            updatedAt=_INSTANT_OR_NULL,
        ),
    )
}
LIST_PARAMETERS = [
    {
        "name": "limit",
        "in": "query",
        "required": False,
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_ROWS, "default": DEFAULT_ROWS},
        "description": "Rows of one page",
    },
    {
        "name": "cursor",
        "in": "query",
        "required": False,
        "schema": {"type": "string", "minLength": 1},
        "description": "`nextCursor` of the page before",
    },
]
LIST_RESPONSES = {
    200: Response(
        description="What you were told, or can read here only; newest first",
        schema=object_schema(
            notifications={
                "type": "array",
                "items": object_schema(
                    id={"type": "string", "format": "uuid"},
                    kind={"type": "string", "enum": list(KINDS)},
                    payload={"type": "object"},
                    state={"type": "string", "enum": ["due", "sent", "given_up", "unsent"]},
                    createdAt=_INSTANT,
                    dueAt=_INSTANT_OR_NULL,
                    sentAt=_INSTANT_OR_NULL,
                ),
            },
            nextCursor={"type": ["string", "null"]},
        ),
    )
}
