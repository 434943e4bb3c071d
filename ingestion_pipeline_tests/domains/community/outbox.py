"""Donations, preferences and receivers for notifications."""

import json
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from ingestion_pipeline.domains.community.notifications_text import KINDS

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)  # a Tuesday
PERSON = "ada"


class Receiver:
    """Takes messages; while its `answers` are cleared it does not answer."""

    def __init__(self, server: HTTPServer, path: str = "/hook") -> None:
        self.url = f"http://127.0.0.1:{server.port}{path}"
        self.bodies: list[dict[str, Any]] = []
        self.status = 200
        self.answers = threading.Event()
        self.answers.set()
        server.expect_request(path).respond_with_handler(self._take)

    def _take(self, request: Request) -> Response:
        self.bodies.append(json.loads(request.get_data()))
        assert self.answers.wait(60)
        return Response("", self.status)

    @property
    def keys(self) -> list[str]:
        return [body["context"]["idempotency_key"] for body in self.bodies]

    @property
    def texts(self) -> list[str]:
        return [body["message"] for body in self.bodies]


def prefer(
    owner: psycopg.Connection[Any],
    target: str | None,
    *,
    person: str = PERSON,
    kinds: Sequence[str] = KINDS,
    digest: str = "none",
    muted: bool = False,
    at: datetime = NOON,
) -> None:
    """As the HTTP process does it."""
    with owner.transaction():
        owner.execute("select set_config('app.user_id', %s, true)", [person])
        owner.execute(
            "select community.set_notification_preferences(false, %s, %s, %s, %s, %s)",
            [target, Jsonb(list(kinds)), digest, muted, at],
        )


def notify(owner: psycopg.Connection[Any], key: str, *, person: str = PERSON, at: datetime = NOON) -> bool:
    """A milestone, in the outbox."""
    details = Jsonb({"metric": "views", "threshold": 100})
    row = owner.execute("select community.notify(%s, %s, 'milestone', %s, %s)", [key, person, details, at]).fetchone()
    return bool(row and row[0])


def donate(owner: psycopg.Connection[Any], intent: str, **over: Any) -> None:
    """A paid donation of 12.50 USD to Ada; `over` are other columns."""
    row = {
        "payment_intent": intent,
        "rule_id": "rule-1",
        "author_id": PERSON,
        "donor_id": None,
        "is_anonymous": False,
        "currency": "USD",
        "received": "12.5",
        "refunded": "0",
        "disputed": "0",
        "status": "paid",
        "donor_name": None,
        "paid_at": NOON,
        "is_live": True,
        **over,
    }
    updates = ", ".join(f"{name} = excluded.{name}" for name in row if name != "payment_intent")
    owner.execute(
        f"insert into community.donations ({', '.join(row)}) values ({', '.join(['%s'] * len(row))}) "
        f"on conflict (payment_intent) do update set {updates}".encode(),
        list(row.values()),
    )


def rows(owner: psycopg.Connection[Any], columns: str = "*") -> list[dict[str, Any]]:
    with owner.cursor(row_factory=dict_row) as cursor:
        statement = f"select {columns} from community.notifications order by created_at, idempotency_key"
        return cursor.execute(statement.encode()).fetchall()
