"""Parts of the OpenAPI document that endpoints of several domains have. No behaviour."""

from typing import Any, Literal


def object_schema(**properties: dict[str, Any]) -> dict[str, Any]:
    """An object of which every one of `properties` is always there."""
    return {"type": "object", "required": list(properties), "properties": properties}


def parameter(
    name: str,
    schema: dict[str, Any],
    description: str,
    *,
    place: Literal["query", "path"] = "query",
    is_required: bool = False,
) -> dict[str, Any]:
    """A parameter; one in the path is always required."""
    return {
        "name": name,
        "in": place,
        "required": is_required or place == "path",
        "schema": schema,
        "description": description,
    }


def limit_parameter(*, most: int, default: int) -> dict[str, Any]:
    """How many rows a page has."""
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return parameter("limit", schema, "Rows of one page")


ACCEPTED = object_schema(
    status={"const": "accepted"}, job_id={"type": "string", "format": "uuid"}, job_status={"type": "string"}
)
"""What `waiting.still_working` answers."""
