"""A person's own notifications and what they want to be told; row-level security holds every statement to that."""

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from ingestion_pipeline.core.ids import digest
from ingestion_pipeline.domains.community import notifications_openapi as openapi
from ingestion_pipeline.domains.community.notifications_targets import target_problem
from ingestion_pipeline.domains.community.notifications_text import KINDS, NotificationKind
from ingestion_pipeline.intake.bodies import decode
from ingestion_pipeline.intake.endpoints import PERSON, Answer, Call, Endpoint, HttpDomain, json_answer
from ingestion_pipeline.intake.owners import acting_as, owner_of
from ingestion_pipeline.intake.parameters import cursor_of, position_of, query_of, refused
from ingestion_pipeline.intake.problems import FieldError
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.storage.audit import AUDIT, audit_row

MAX_BODY_BYTES = 16_384
_READ = """
select has_target, kinds, digest, is_muted, updated_at from community.notification_preferences where person_id = %s
"""
_WRITE = "select community.set_notification_preferences(%s, %s, %s, %s, %s)"
_LIST = """
select id, kind, payload, created_at, due_at, sent_at, given_up_at
from community.notifications
where
    person_id = %(person)s
    and (%(before)s::timestamptz is null or (created_at, id) < (%(before)s::timestamptz, %(last_id)s::uuid))
order by created_at desc, id desc
limit %(limit)s
"""


class Preferences(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The body of PUT /api/community/notifications/preferences."""

    target: Annotated[str, msgspec.Meta(min_length=1)] | msgspec.UnsetType | None = msgspec.UNSET
    kinds: list[NotificationKind] = msgspec.field(default_factory=lambda: list(KINDS))
    digest: Literal["none", "daily", "weekly"] = "none"
    is_muted: bool = False


class NotificationsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of GET /api/community/notifications."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=openapi.MAX_ROWS)] = openapi.DEFAULT_ROWS
    cursor: str | None = None


_BODY = msgspec.json.Decoder(Preferences)


def endpoints(services: Services) -> list[Endpoint]:
    found = Notifications(services)
    path = "/api/community/notifications"
    return [
        Endpoint(
            method="GET",
            path=path,
            handler=found.newest,
            access=(PERSON,),
            summary="Your notifications, newest first",
            parameters=openapi.LIST_PARAMETERS,
            responses=openapi.LIST_RESPONSES,
        ),
        Endpoint(
            method="GET",
            path=f"{path}/preferences",
            handler=found.preferences,
            access=(PERSON,),
            summary="What you want to be told",
            responses=openapi.PREFERENCES_RESPONSES,
        ),
        Endpoint(
            method="PUT",
            path=f"{path}/preferences",
            handler=found.set_preferences,
            access=(PERSON,),
            summary="Say what you want to be told, and where",
            description="What is absent gets its default, except the target. What was not sent yet is planned anew.",
            request_schema=openapi.PREFERENCES,
            examples=openapi.PREFERENCES_EXAMPLES,
            max_body_bytes=MAX_BODY_BYTES,
            responses=openapi.PREFERENCES_RESPONSES,
        ),
    ]


def http(services: Services) -> HttpDomain:
    """This part of the intake."""
    return HttpDomain(endpoints=endpoints(services))


class Notifications:
    """Answers persons."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def newest(self, call: Call) -> Answer:
        """GET /api/community/notifications."""
        query, person = query_of(call, NotificationsQuery, max_page=openapi.MAX_ROWS), owner_of(call.caller)
        before, last_id = (None, None) if query.cursor is None else position_of(query.cursor, tuple[datetime, UUID])
        given = {"person": person, "before": before, "last_id": last_id, "limit": query.limit + 1}
        async with acting_as(self._services, person) as connection, connection.cursor(row_factory=dict_row) as cursor:
            rows = await (await cursor.execute(_LIST, given)).fetchall()
        page = rows[: query.limit]
        more = cursor_of([page[-1]["created_at"], page[-1]["id"]]) if len(rows) > query.limit else None
        return json_answer(200, {"notifications": [_document(row) for row in page], "nextCursor": more})

    async def preferences(self, call: Call) -> Answer:
        """GET /api/community/notifications/preferences."""
        person = owner_of(call.caller)
        async with acting_as(self._services, person) as connection:
            return json_answer(200, await _preferences(connection, person))

    async def set_preferences(self, call: Call) -> Answer:
        """PUT /api/community/notifications/preferences."""
        body, person = decode(call.body, _BODY), owner_of(call.caller)
        target = None if body.target is msgspec.UNSET else body.target
        if target is not None and (expected := await asyncio.to_thread(target_problem, target)):
            raise refused(FieldError("target", expected))  # what was seen holds a key
        kinds = [kind for kind in KINDS if kind in body.kinds]
        keeps_target = body.target is msgspec.UNSET
        changed = {"digest": body.digest, "kinds": kinds, "is_muted": body.is_muted, "sets_target": not keeps_target}
        async with acting_as(self._services, person) as connection:
            await connection.execute(_WRITE, [keeps_target, target, Jsonb(kinds), body.digest, body.is_muted])
            audit = audit_row(
                actor="person",  # subject_digest says who; the log outlives an erasure
                action="notification_preferences",
                subject_digest=digest(person.encode()),
                request_id=call.request_id,
                details=changed,
            )
            await connection.execute(AUDIT, audit)
            return json_answer(200, await _preferences(connection, person))


async def _preferences(connection: AsyncConnection[Any], person: str) -> dict[str, Any]:
    row = await (await connection.execute(_READ, [person])).fetchone()
    has_target, kinds, rhythm, is_muted, updated_at = row or (False, list(KINDS), "none", False, None)
    return {
        "hasTarget": has_target,
        "kinds": kinds,
        "digest": rhythm,
        "isMuted": is_muted,
        "updatedAt": updated_at,
    }


def _document(row: dict[str, Any]) -> dict[str, Any]:
    states = {"due": row["due_at"], "sent": row["sent_at"], "given_up": row["given_up_at"]}
    return {
        "id": row["id"],
        "kind": row["kind"],
        "payload": row["payload"],
        "state": next((name for name, at in states.items() if at is not None), "unsent"),
        "createdAt": row["created_at"],
        "dueAt": row["due_at"],
        "sentAt": row["sent_at"],
    }
