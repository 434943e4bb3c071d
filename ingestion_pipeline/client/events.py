"""One event as it is sent: its JSON, its key, the instant it happened, the device it happened on.

Belongs here: building and encoding. Does not belong here: queues, requests.
"""

import json
import locale
import os
import platform
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypedDict


class Envelope(TypedDict, total=False):
    """What `emit` and every `track_*` take besides the data.

    `session_id` and `context` replace those of `init_session` for one event: a web server that speaks for many people
    passes theirs, for example `context={"userAgent": ..., "ip": ..., "locale": ...}`.
    """

    user_id: str | None
    session_id: str | None
    rule_id: str | None
    category: str | None
    ts: datetime | None
    idempotency_key: str | None
    context: Mapping[str, Any] | None


def event_key() -> str:
    """A UUIDv7: sorts by the instant of the call, to a quarter of a microsecond, and is random after that."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = (rest << 12) // 1_000_000
    random = int.from_bytes(os.urandom(8), "big") >> 2
    return str(uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random))


def instant(moment: datetime | None = None) -> str:
    """`moment` (default: now) in UTC as the service reads it, such as `2024-01-01T00:00:00.000000Z`.

    Raises:
        TypeError: `moment` is no datetime.
        ValueError: `moment` has no time zone.
    """
    if moment is None:
        moment = datetime.fromtimestamp(time.time(), UTC)
    if not isinstance(moment, datetime):
        raise TypeError(f"an instant is {type(moment).__name__}, expected datetime")
    if moment.tzinfo is None:
        raise ValueError(f"the instant {moment.isoformat()} has no time zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def device_context() -> dict[str, Any]:
    """Platform, Python, locale and time zone of this process."""
    try:
        language = locale.getlocale()[0]
    except ValueError:  # LC_ALL names a locale that does not exist
        language = None
    context: dict[str, Any] = {
        "timezone": time.strftime("%Z"),
        "device": {"platform": platform.platform(), "python": platform.python_version()},
    }
    return context if language is None else {**context, "locale": language.replace("_", "-")}


def encoded(event_type: str, data: Mapping[str, Any] | None, envelope: Envelope) -> bytes:
    """The JSON of one event; fields that are None are left out.

    Raises:
        TypeError: an argument has the wrong type, or the data holds what JSON cannot express.
        ValueError: the data holds NaN or an infinity, or itself; `ts` has no time zone.
        RecursionError: the data is nested too deeply.
    """
    fields: dict[str, Any] = {
        "type": event_type,
        "ruleId": envelope.get("rule_id"),
        "userId": envelope.get("user_id"),
        "sessionId": envelope.get("session_id"),
        "category": envelope.get("category"),
        "idempotencyKey": envelope.get("idempotency_key"),
    }
    for name, value in fields.items():
        if not isinstance(value, str | None) or (name == "type" and value is None):
            raise TypeError(f"{name} is {type(value).__name__}, expected str")
    objects: dict[str, Any] = {"data": data, "context": envelope.get("context")}
    for name, value in objects.items():
        if not isinstance(value, Mapping | None):
            raise TypeError(f"{name} is {type(value).__name__}, expected a mapping")
    event = {**fields, "ts": instant(envelope.get("ts")), **objects}
    given = {name: value for name, value in event.items() if value is not None}
    return json.dumps(given, allow_nan=False, separators=(",", ":"), default=_plain).encode()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    raise TypeError(f"data holds {type(value).__name__}, which JSON cannot express")
