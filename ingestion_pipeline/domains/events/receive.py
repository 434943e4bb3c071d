"""From the bytes of a request to rows of the event log, or to the reason why not. Pure: no IO, no clock.

Each event is read by itself: a bad one becomes a reject with the field, what was seen and what was expected, and the
others go on. The client's address arrives here and only its hash leaves.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

from ingestion_pipeline.domains.events.contracts import Event
from ingestion_pipeline.domains.events.schemas import EventSchema, Registry
from ingestion_pipeline.intake.bodies import is_deeper
from ingestion_pipeline.storage.event_entries import NULL, Entry, copy_text, key_hash
from ingestion_pipeline.storage.rejects import Reject

SOURCE = "events"
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
MAX_FUTURE = timedelta(days=1)
VIEW_WINDOW = timedelta(minutes=10)
_WINDOW_MINUTES = VIEW_WINDOW.seconds // 60
MAX_USER_AGENT_LENGTH = 512
MAX_REASON_LENGTH = 500
CACHED_ADDRESSES = 4_096
MAX_DIGITS = 300
MAX_DEPTH = 32

_MAY_BE_ADDRESS = re.compile(r"[0-9A-Fa-f]*[.:][0-9A-Fa-f.:]+")
_UNPLAIN = re.compile(rb"[\\\x00-\x1f]")
_MAY_HOLD_NUL = b"\\u0000"
_encode = msgspec.json.Encoder().encode
_decode_event = msgspec.json.Decoder(Event).decode


@dataclass(frozen=True, kw_only=True)
class Reception:
    """What is the same for every event of a request.

    `country_of` looks an address up; `address_keys` are the secrets of the days under which addresses are hashed. A
    replay has no address any more, only what was kept of it, and says when the event arrived first.
    """

    received_at: datetime
    caller: str
    origin: str
    address_keys: Mapping[date, bytes]
    country_of: Callable[[str], str | None]
    address: str | None = None
    user_agent: str | None = None
    sent_at: datetime | None = None
    first_received_at: datetime | None = None
    max_depth: int = MAX_DEPTH
    kept_hash: str | None = None
    kept_country: str | None = None

    @cached_property
    def received_text(self) -> str:
        return self.received_at.isoformat()

    @cached_property
    def caller_text(self) -> str:
        return copy_text(self.caller)

    @cached_property
    def plain_context(self) -> str:
        """The context of an event that gives none."""
        return _json({"userAgent": self.user_agent} if self.user_agent else None)

    @cached_property
    def known_hashes(self) -> dict[tuple[str | None, date, bool], tuple[str | None, str | None]]:
        """Most events of a request come from one address on one day."""
        return {}

    def hashes(self, address: str | None, occurred_at: datetime) -> tuple[str | None, str | None]:
        """As `address_hashes`."""
        place = (address, occurred_at.date(), not occurred_at.hour and occurred_at.minute < _WINDOW_MINUTES)
        if (found := self.known_hashes.get(place)) is None:
            found = address_hashes(address, occurred_at, self.received_at, self.address_keys)
            self.known_hashes[place] = found
        return found


@dataclass(frozen=True)
class Refusal:
    """The field that is wrong, and how. What was seen of it is shortened: it may be as long as a body."""

    field: str
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "field", self.field[:MAX_REASON_LENGTH])
        object.__setattr__(self, "reason", self.reason[:MAX_REASON_LENGTH])


def received(raw: bytes, event_id: str, registry: Registry, reception: Reception) -> Entry | Refusal:
    """The row of one event, or why it is refused."""
    if is_deeper(raw, reception.max_depth):
        return Refusal("", f"the event nests deeper than {reception.max_depth} levels")
    try:
        event = _decode_event(raw)
    except msgspec.ValidationError as error:
        return _refusal_of(error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Refusal("", f"the event cannot be read: {error}")
    if _MAY_HOLD_NUL in raw and _holds_nul(event):
        return Refusal("", "the event holds the character NUL, which cannot be stored")
    schema = registry.find(event.type, event.schema_version)
    if schema is None:
        return _unknown(event, registry)
    refusal = _broken(event, schema)
    return refusal or _entry(raw, event, event_id, schema, reception)


def reject_of(raw: bytes, event_id: str, refusal: Refusal, reception: Reception) -> Reject:
    """The refused event as it is kept for a replay, with what was known of its reception; the address only hashed.

    One that is sent again with its idempotency key is the same reject; without a key each is one of its own.
    """
    event: Any = _unreadable(raw) if is_deeper(raw, reception.max_depth) else _readable(raw)
    address, user_agent = reception.address, reception.user_agent
    context = event.get("context") if isinstance(event, dict) else None
    for holder in (event, context):
        if isinstance(holder, dict) and "ip" in holder:
            address = str(holder.pop("ip"))
    if isinstance(context, dict):
        user_agent = context.get("userAgent", user_agent)
    hashes = address_hashes(address, reception.received_at, reception.received_at, reception.address_keys)
    envelope = {
        "receivedAt": reception.received_at.isoformat(),
        "caller": reception.caller,
        "sentAt": None if reception.sent_at is None else reception.sent_at.isoformat(),
        "addressHash": hashes[0],
        "country": _country(address, reception),
        "userAgent": user_agent,
    }
    key = event.get("idempotencyKey") if isinstance(event, dict) else None
    identity = f"{reception.caller}\0{key}" if isinstance(key, str) else event_id
    payload = {"event": event, "received": envelope}
    return Reject(SOURCE, refusal.reason, payload, identity.encode("utf-8", "backslashreplace"))


def address_hashes(
    address: str | None, occurred_at: datetime, received_at: datetime, keys: Mapping[date, bytes]
) -> tuple[str | None, str | None]:
    """The hash of an address under the key of the event's day, and, just after midnight, under that of the day before.

    The key changes at midnight: with the second hash a view at 00:03 still finds the one of 23:58. An event older than
    the oldest key is hashed under that one.
    """
    normal = normal_address(address)
    if normal is None or not keys:
        return None, None
    days = sorted(keys)
    day = min(max(occurred_at.date(), days[0]), days[-1], received_at.date())
    before = occurred_at - VIEW_WINDOW
    hashed = _keyed(keys[day if day in keys else days[0]], normal)
    if before.date() < day and before.date() in keys:
        return hashed, _keyed(keys[before.date()], normal)
    return hashed, None


@lru_cache(CACHED_ADDRESSES)
def normal_address(address: str | None) -> str | None:
    """One spelling of an IP address; None for what is none."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def _broken(event: Event, schema: EventSchema) -> Refusal | None:
    if event.category is not None and event.category != schema.category:
        return Refusal("category", f"category is {event.category!r}, expected {schema.category!r}")
    for field in schema.required_fields:
        if getattr(event, _FIELDS.get(field, field), None) is None:
            return Refusal(field, f"{field} is missing, expected because type {schema.event_type!r} requires it")
    problem = schema.problem(event.data or {})
    if problem:
        return Refusal(problem[0], f"{problem[0]}: {problem[1]}")
    return None


def _entry(raw: bytes, event: Event, event_id: str, schema: EventSchema, reception: Reception) -> Entry | Refusal:
    arrived_at = reception.first_received_at or reception.received_at
    occurred_at, skew = corrected(event.ts, event.sent_at or reception.sent_at, arrived_at)
    if occurred_at < EARLIEST:
        return Refusal("ts", f"ts is {occurred_at.isoformat()} by our clock, expected {EARLIEST.date()} or later")
    context, address = event.context or {}, reception.address
    if context:
        address = str(context.pop("ip")) if "ip" in context else address
        if "userAgent" not in context and reception.user_agent:
            context = {**context, "userAgent": reception.user_agent}
    hashed, hashed_before = reception.hashes(address, occurred_at)
    # most events hold nothing that COPY or JSON would have to escape
    text, data = (copy_text, _json) if _UNPLAIN.search(raw) else (_plain_text, _plain_json)
    fields = (
        event_id,
        schema.event_type_text,
        schema.category,
        schema.version_text,
        text(event.user_id),
        text(event.session_id),
        text(event.rule_id),
        data(event.data),
        _json(context) if event.context else reception.plain_context,
        occurred_at.isoformat(),
        reception.received_text,
        NULL if skew is None else repr(skew),
        text(event.idempotency_key),
        reception.caller_text,
        reception.origin,
        copy_text(_country(address, reception) or reception.kept_country),
        hashed or reception.kept_hash or NULL,
        hashed_before or NULL,
    )
    key = None if event.idempotency_key is None else key_hash(event.idempotency_key)
    row = ("\t".join(fields) + "\n").encode()
    return Entry(event_id, key, row, lambda reason: reject_of(raw, event_id, Refusal("", reason), reception))


def corrected(ts: datetime | None, sent_at: datetime | None, received_at: datetime) -> tuple[datetime, float | None]:
    """When the event happened by our clock, and how many seconds ours is ahead of the sender's, where it says that.

    A sender whose clock is wrong says `sentAt` by the same clock as `ts`: the difference between our receiving and its
    sending is taken off both. More than a day in the future is nobody's truth: then it is when we received it.
    """
    skew = None if sent_at is None else (received_at - sent_at).total_seconds()
    if ts is None:
        return received_at, skew
    try:
        occurred_at = ts if ts.tzinfo is UTC else ts.astimezone(UTC)
        if skew is not None:
            occurred_at += timedelta(seconds=skew)
    except OverflowError:  # beyond the calendar, on the side on which `ts` is
        return (EARLIEST - timedelta(days=1) if ts.year < EARLIEST.year else received_at), skew
    if occurred_at > received_at + MAX_FUTURE:
        return received_at, skew
    return occurred_at, skew


_FIELDS = {"ruleId": "rule_id", "userId": "user_id", "sessionId": "session_id", "idempotencyKey": "idempotency_key"}


def _unknown(event: Event, registry: Registry) -> Refusal:
    if event.type in registry:
        known = ", ".join(map(str, registry.versions(event.type)))
        return Refusal(
            "schemaVersion", f"schemaVersion is {event.schema_version} of type {event.type!r}, expected {known}"
        )
    return Refusal("type", f"type is {event.type!r}, expected one of those in events.event_schemas")


def _refusal_of(error: msgspec.ValidationError) -> Refusal:
    text, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").lstrip(".") if path else ""
    unknown = re.search(r"unknown field `(\w+)`", text)
    field = unknown[1] if unknown else field
    return Refusal(field, f"{field}: {text}" if field else text)


def _holds_nul(event: Event) -> bool:
    def walk(value: object) -> bool:
        if isinstance(value, str):
            return "\0" in value
        if isinstance(value, Mapping):
            return any(walk(name) or walk(item) for name, item in value.items())
        return isinstance(value, list) and any(map(walk, value))

    return walk(msgspec.to_builtins(event))


def _readable(raw: bytes) -> Any:
    """The event, as far as it can be read: more than is accepted. What cannot is kept as text without addresses."""
    try:
        return json.loads(raw, parse_int=lambda digits: int(digits) if len(digits) <= MAX_DIGITS else digits)
    except (ValueError, RecursionError):
        return _unreadable(raw)


def _unreadable(raw: bytes) -> dict[str, str]:
    text = raw.decode("utf-8", "backslashreplace")
    return {"unreadable": _MAY_BE_ADDRESS.sub(lambda it: "" if normal_address(it[0]) else it[0], text)}


def _country(address: str | None, reception: Reception) -> str | None:
    normal = normal_address(address)
    return None if normal is None else reception.country_of(normal)


@lru_cache(CACHED_ADDRESSES)
def _keyed(key: bytes, address: str) -> str:
    return blake2b(address.encode(), key=key, digest_size=16).hexdigest()


def _plain_text(value: str | None) -> str:
    return NULL if value is None else value


def _plain_json(value: Mapping[str, Any] | None) -> str:
    return _encode(value).decode() if value else "{}"


def _json(value: Mapping[str, Any] | None) -> str:
    return _encode(value).decode().replace("\\", "\\\\") if value else "{}"
