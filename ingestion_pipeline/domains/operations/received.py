"""From the bytes of a webhook or of a dropped record to a delivery to keep: pending if it is right, rejected if not.

Belongs here: what a body must say, whoever brings it, now or in a replay. Does not belong here: who signed it
(intake/signatures.py), how it is kept (storage/inbox.py), what its data means (each domain's DeliveryTypes).
"""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

import msgspec

from ingestion_pipeline.core.deliveries import DeliveryType
from ingestion_pipeline.core.ids import digest
from ingestion_pipeline.core.markets import LONGEST_SLUG, MARKET_SLUG_PATTERN
from ingestion_pipeline.intake.bodies import decode, field_error, read_anyhow, require_storable
from ingestion_pipeline.intake.problems import FieldError, Problem, printable, shown
from ingestion_pipeline.storage.inbox import NewDelivery, Scheme

UNKNOWN_TYPE = "unknown"
LONGEST_ID, LONGEST_SOURCE, LONGEST_TYPE = 256, 100, 200
SOURCE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$(?!\n)"  # Python's `$` alone lets a last newline through

_Source = Annotated[str, msgspec.Meta(pattern=SOURCE_PATTERN, max_length=LONGEST_SOURCE)]
_FIELDS: Mapping[str, Any] = {
    "event_type": Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_TYPE)],
    "market_slug": Annotated[str, msgspec.Meta(pattern=MARKET_SLUG_PATTERN, max_length=LONGEST_SLUG)] | None,
    "source": _Source | None,
    "id": Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_ID)] | None,
    "timestamp": str | int | float | None,
}
_ANY = msgspec.json.Decoder()
_IS_NOT = re.compile(r"(?P<field>.+?) is not (?P<expected>.+)")  # how a type's own rules say what is wrong


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How a body came: `source` is the one that signed it, if its secret is nobody else's; `key` the signed id.

    `default_source` is that of a body that names none.
    """

    scheme: Scheme
    signed_by: str
    default_source: str
    source: str | None = None
    signed_at: datetime | None = None
    key: str | None = None
    origin: str = "http"
    request_id: str | None = None


@dataclass(frozen=True)
class Received:
    """A delivery to keep, and what the sender is told when it is wrong."""

    delivery: NewDelivery
    problem: Problem | None


class Reader:
    """Judges bodies by `types`.

    A source of `named_sources` has secrets of its own, one of a type has an endpoint of its own: others cannot speak
    for it.
    """

    def __init__(
        self, types: Sequence[DeliveryType], *, named_sources: Collection[str] = (), max_depth: int = 32
    ) -> None:
        self._types = {it.name: it for it in types}
        self._named_sources = {*named_sources, *(it.source for it in types if it.source)}
        self._max_depth = max_depth

    def read(self, body: bytes, provenance: Provenance) -> Received:
        """The delivery that `body`, which is UTF-8, is.

        Raises:
            Problem: 400, it is not JSON; nothing of it can be kept.
        """
        try:
            require_storable(body, max_depth=self._max_depth)
            sent = decode(body, _ANY, max_depth=self._max_depth)
        except Problem as unstorable:
            if unstorable.status != HTTPStatus.UNPROCESSABLE_ENTITY:
                raise
            return self.refused(body, provenance, unstorable)
        payload = normalised(sent)
        errors = [*self.errors(payload, source=provenance.source), *self._claim_errors(payload, provenance)]
        payload = self._kept(payload)
        kept = body if payload is sent else msgspec.json.encode(payload)
        fields = payload if isinstance(payload, dict) else {}
        if errors:
            problem = Problem(422, reason_of(errors), errors=errors)
            return Received(self._rejected(body, kept, fields, provenance, problem), problem)
        source = self._source(fields, provenance)
        return Received(self._delivery(body, kept, fields, provenance, source=source), None)

    def refused(self, body: bytes, provenance: Provenance, problem: Problem) -> Received:
        """A body that cannot be stored as what it says is kept as the text that it is, NUL replaced.

        Of a type that says what is kept no more than that is; nothing where not even that can be read.
        """
        text = body.decode().replace("\0", "\ufffd")
        found = normalised(read_anyhow(text))
        sent = found if isinstance(found, Mapping) else {}
        reduced = [it for it in self._types.values() if it.kept and it.name in text]
        kind = self._type(sent) if sent else next(iter(reduced), None)
        fields = {"event_type": kind.name, "data": kind.kept(sent.get("data"))} if kind and kind.kept else {}
        payload = msgspec.json.encode(fields or text)
        source = provenance.source or provenance.default_source
        reason = printable(problem.detail)
        return Received(self._delivery(body, payload, fields, provenance, source=source, reason=reason), problem)

    def errors(self, payload: Any, *, source: str | None) -> list[FieldError]:
        """What is wrong with `payload`, all of it; if `source` is known, also one that names another."""
        if not isinstance(payload, dict):
            return [FieldError("body", "object", type(payload).__name__)]
        errors = [error for name in _FIELDS if (error := _field_error(payload, name))]
        wrong = {error.field for error in errors}
        kind = self._type(payload)
        if "source" not in wrong:
            errors += _source_errors(kind, signer=source, named=payload.get("source"))
        if kind is None and "event_type" not in wrong:
            errors.append(self._unknown_type(payload["event_type"], signer=source))
        if kind and kind.needs_market and payload.get("market_slug") is None:
            errors.append(FieldError("market_slug", "the market that the data is about", "nothing"))
        if "data" not in payload:
            errors.append(FieldError("data", "a value", "nothing"))
        elif kind:
            errors += _data_errors(kind, payload["data"])
        return errors

    def _kept(self, payload: Any) -> Any:
        """What is kept of `payload`, as its type says."""
        kind = self._type(payload)
        if kind is None or kind.kept is None:
            return payload
        fields = {name: payload[name] for name in _FIELDS if name in payload}
        return fields | {"data": kind.kept(payload.get("data"))}

    def _claim_errors(self, payload: Any, provenance: Provenance) -> list[FieldError]:
        named = payload.get("source") if isinstance(payload, dict) else None
        kind = self._type(payload)
        claimed = kind.source if named is None and kind else named
        is_anybody = provenance.source is None and provenance.scheme != "file"
        if is_anybody and isinstance(claimed, str) and claimed in self._named_sources:
            return [FieldError("source", "a signature by one of that source's own secrets", claimed)]
        return []

    def _type(self, payload: Any) -> DeliveryType | None:
        name = payload.get("event_type") if isinstance(payload, Mapping) else None
        return self._types.get(name) if isinstance(name, str) else None

    def _source(self, fields: Mapping[str, Any], provenance: Provenance) -> str:
        """The signer's, else the one that the body names, else that of its type."""
        kind = self._type(fields)
        of_type = kind.source if kind else None
        return provenance.source or fields.get("source") or of_type or provenance.default_source

    def _unknown_type(self, name: str, *, signer: str | None) -> FieldError:
        known = [it.name for it in self._types.values() if it.source in (None, signer)]
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"{nearest[0]} (the nearest known)" if nearest else " or ".join(sorted(known))
        return FieldError("event_type", hint, shown(name))

    def _rejected(
        self, body: bytes, payload: bytes, fields: Mapping[str, Any], provenance: Provenance, problem: Problem
    ) -> NewDelivery:
        wrong = {error.field for error in problem.errors}
        is_told = "source" not in wrong
        source = self._source(fields, provenance) if is_told else provenance.source or provenance.default_source
        return self._delivery(body, payload, fields, provenance, source=source, reason=printable(problem.detail))

    def _delivery(
        self,
        body: bytes,
        payload: bytes,
        fields: Mapping[str, Any],
        provenance: Provenance,
        *,
        source: str,
        reason: str | None = None,
    ) -> NewDelivery:
        """Fields that are wrong in themselves are left out: they are in the payload."""
        good = {name: fields.get(name) for name in _FIELDS if not _field_error(fields, name)}
        return NewDelivery(
            source=source,
            idempotency_key=provenance.key or good.get("id") or digest(body),
            event_type=good.get("event_type") or UNKNOWN_TYPE,
            market_slug=good.get("market_slug"),
            payload=payload,
            reason=reason,
            scheme=provenance.scheme,
            signed_by=provenance.signed_by,
            signed_at=provenance.signed_at,
            origin=provenance.origin,
            request_id=provenance.request_id,
        )


def normalised(payload: Any) -> Any:
    """A Standard Webhooks body (`type`, `data`) as ours: its type is the event type, market and source move outside."""
    if not isinstance(payload, dict) or "event_type" in payload or "type" not in payload:
        return payload
    outside: dict[str, Any] = {"event_type": payload["type"]}
    data = payload.get("data")
    if isinstance(data, dict):
        outside |= {name: data[name] for name in ("market_slug", "source") if name in data}
        outside["data"] = {name: value for name, value in data.items() if name not in outside}
    return {**payload, **outside}


def reason_of(errors: Sequence[FieldError]) -> str:
    """All of them in one line."""
    return "; ".join(
        f"{error.field}{'' if error.seen is None else f' is {error.seen}'}: expected {error.expected}"
        for error in errors
    )


def _field_error(payload: Mapping[str, Any], name: str) -> FieldError | None:
    if name == "event_type" and name not in payload:
        return FieldError(name, "a value", "nothing")
    try:
        msgspec.convert(payload.get(name), _FIELDS[name])
    except msgspec.ValidationError as error:
        found = field_error(str(error))
        return FieldError(name, found.expected, found.seen or shown(payload.get(name)))
    return None


def _source_errors(kind: DeliveryType | None, *, signer: str | None, named: str | None) -> list[FieldError]:
    if signer is not None and named not in (None, signer):
        return [FieldError("source", f"{signer}, who signed it", shown(named))]
    told = named if signer is None else signer
    if kind and kind.source and told not in (None, kind.source):
        return [FieldError("source", f"{kind.source}, which alone sends {kind.name}", shown(told))]
    return []


def _data_errors(kind: DeliveryType, data: Any) -> list[FieldError]:
    try:
        kind.data_of(data)
    except msgspec.ValidationError as error:
        found = field_error(str(error))
        where = "data" if found.field == "body" else f"data.{found.field}".replace("data.[", "data[")
        if own := _IS_NOT.fullmatch(found.expected):
            return [FieldError(f"{where}.{own['field']}", own["expected"])]
        return [FieldError(where, found.expected, found.seen)]
    return []
