"""The registry of event types in memory: which types there are and what an event of each must look like.

The rows of events.event_schemas are read anew every few seconds and, for a type that nobody knows, at once.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema_rs
import structlog

from ingestion_pipeline.storage.event_entries import copy_text

REFRESH_SECONDS = 5.0
UNKNOWN_REFRESH_SECONDS = 1.0
STATEMENT = (
    "select event_type, schema_version, event_category, required_fields, json_schema from events.event_schemas "
    "where is_active"
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EventSchema:
    """One version of one type. `validator` is absent where every object will do; the texts are as COPY takes them."""

    event_type: str
    version: int
    category: str
    required_fields: tuple[str, ...]
    validator: Any | None
    event_type_text: str
    version_text: str

    def problem(self, data: Mapping[str, Any]) -> tuple[str, str] | None:
        """The field of `data` that breaks the schema, and how; None if none does."""
        if self.validator is None or self.validator.is_valid(data):
            return None
        error = next(iter(self.validator.iter_errors(data)))
        return ".".join(["data", *map(str, error.instance_path)]), error.message


class Registry:
    """The active schemas by type and version. Without rows it is empty, and due to be filled."""

    def __init__(self, rows: Iterable[Mapping[str, Any]] | None = None) -> None:
        self._schemas: dict[str, dict[int, EventSchema]] = {}
        self._read_at = float("-inf")
        if rows is not None:
            self.fill(rows)

    def fill(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Replaces what is known. A type whose schema is no JSON Schema is closed."""
        schemas: dict[str, dict[int, EventSchema]] = {}
        for row in rows:
            if (schema := _schema(row)) is not None:
                schemas.setdefault(schema.event_type, {})[schema.version] = schema
        self._schemas = schemas
        self._read_at = time.monotonic()

    def is_due(self, *, unknown_type: bool = False) -> bool:
        """Should the table be read again?"""
        age = time.monotonic() - self._read_at
        return age > (UNKNOWN_REFRESH_SECONDS if unknown_type else REFRESH_SECONDS)

    def find(self, event_type: str, version: int | None) -> EventSchema | None:
        """The version asked for, or the highest."""
        versions = self._schemas.get(event_type, {})
        return versions.get(version if version is not None else max(versions, default=0))

    def versions(self, event_type: str) -> list[int]:
        return sorted(self._schemas.get(event_type, {}))

    def __contains__(self, event_type: str) -> bool:
        return event_type in self._schemas


def _refused(uri: str) -> Any:
    """A schema stands for itself: nothing is fetched while events wait."""
    raise ValueError(f"$ref to {uri} is outside the schema")


def _schema(row: Mapping[str, Any]) -> EventSchema | None:
    try:
        trivial = row["json_schema"] in ({}, {"type": "object"}, True)
        validator = None if trivial else jsonschema_rs.validator_for(row["json_schema"], retriever=_refused)
    except ValueError as error:
        log.warning("schema is no JSON Schema", event_type=row["event_type"], reason=str(error).partition("\n")[0])
        return None
    return EventSchema(
        row["event_type"],
        row["schema_version"],
        row["event_category"],
        tuple(row["required_fields"]),
        validator,
        copy_text(row["event_type"]),
        str(row["schema_version"]),
    )
