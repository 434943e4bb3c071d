"""Stripe's events: which are applied, what of them is kept, and of which payment they tell.

Belongs here: the shapes of docs.stripe.com/api/events (API 2026-06-24), reduced to the fields that are used: the rest,
such as addresses and cards, is never stored. Does not belong here: who signed (stripe_signatures.py), what a donation
is (donations.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from ingestion_pipeline.core.deliveries import DeliveryType

EVENT_TYPE, SOURCE, SECRET_VARIABLE = "stripe.event", "stripe", "STRIPE_WEBHOOK_SECRET"

ObjectType = Literal["checkout.session", "payment_intent", "charge", "refund", "dispute"]
APPLIED: Mapping[str, ObjectType] = {
    "checkout.session.completed": "checkout.session",
    "checkout.session.expired": "checkout.session",
    "checkout.session.async_payment_failed": "checkout.session",
    "checkout.session.async_payment_succeeded": "checkout.session",
    "payment_intent.processing": "payment_intent",
    "payment_intent.requires_action": "payment_intent",
    "payment_intent.payment_failed": "payment_intent",
    "payment_intent.canceled": "payment_intent",
    "payment_intent.succeeded": "payment_intent",
    "charge.refunded": "charge",
    "charge.refund.updated": "refund",
    "refund.created": "refund",
    "refund.updated": "refund",
    "refund.failed": "refund",
    "charge.dispute.created": "dispute",
    "charge.dispute.updated": "dispute",
    "charge.dispute.funds_withdrawn": "dispute",
    "charge.dispute.funds_reinstated": "dispute",
    "charge.dispute.closed": "dispute",
}
"""The types of events that say something of a donation, with the object that they carry."""

_LIVES: Mapping[ObjectType, Sequence[str]] = {
    "checkout.session": (
        "checkout.session.completed",
        "checkout.session.expired",
        "checkout.session.async_payment_failed",
        "checkout.session.async_payment_succeeded",
    ),
    "payment_intent": (
        "payment_intent.processing",
        "payment_intent.requires_action",
        "payment_intent.payment_failed",
        "payment_intent.canceled",
        "payment_intent.succeeded",
    ),
    "refund": ("pending", "requires_action", "succeeded", "canceled", "failed"),
    "dispute": (
        "warning_needs_response",
        "warning_under_review",
        "warning_closed",
        "needs_response",
        "under_review",
        "prevented",
        "lost",
        "won",
    ),
}
"""What comes later in the life of an object, by type of event or by status: tells states of one second apart."""

NOTHING_BACK = frozenset({"failed", "canceled"})
"""Statuses of a refund of which nothing arrives."""

_TRUE = frozenset({"true", "1", "yes", "on"})
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
_Amount = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
_Currency = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z]{3}$(?!\n)")]


class Metadata(msgspec.Struct, omit_defaults=True):
    """What our checkout writes onto the session and the payment intent. Stripe keeps up to 500 characters of each."""

    ruleId: str | None = None  # noqa: N815 - as it is spelled in the metadata
    authorId: str | None = None  # noqa: N815
    donorId: str | None = None  # noqa: N815
    donorName: str | None = None  # noqa: N815
    message: str | None = None
    anonymous: str | None = None


class CustomerDetails(msgspec.Struct, omit_defaults=True):
    name: str | None = None


class StripeObject(msgspec.Struct, omit_defaults=True):
    """A checkout session, payment intent, charge, refund or dispute. Amounts are in the currency's minor units."""

    id: _Id
    object: str = ""
    payment_intent: _Id | None = None
    charge: _Id | None = None
    status: str | None = None
    payment_status: str | None = None
    currency: _Currency | None = None
    amount: _Amount | None = None
    amount_total: _Amount | None = None
    amount_received: _Amount | None = None
    amount_refunded: _Amount | None = None
    metadata: Metadata | None = None
    client_reference_id: str | None = None
    customer_details: CustomerDetails | None = None

    @property
    def is_anonymous(self) -> bool:
        return self.metadata is not None and _is_true(self.metadata.anonymous)

    def without_blanks(self) -> "StripeObject":
        """The same, and no blanks around what Stripe repeats of others."""
        return msgspec.structs.replace(
            self,
            metadata=self.metadata and _stripped(self.metadata),
            client_reference_id=self.client_reference_id and self.client_reference_id.strip(),
            customer_details=self.customer_details and _stripped(self.customer_details),
        )

    def without_donor(self) -> "StripeObject":
        """The same, and nothing that names the donor."""
        metadata = self.metadata and msgspec.structs.replace(self.metadata, donorId=None, donorName=None)
        return msgspec.structs.replace(self, metadata=metadata, client_reference_id=None, customer_details=None)

    def without_words(self) -> "StripeObject":
        """The same, and nothing that the donor wrote."""
        return msgspec.structs.replace(
            self, metadata=self.metadata and msgspec.structs.replace(self.metadata, message=None)
        )

    def without_author(self) -> "StripeObject":
        """The same, and nothing that names the author."""
        return msgspec.structs.replace(
            self, metadata=self.metadata and msgspec.structs.replace(self.metadata, authorId=None)
        )


_Part = TypeVar("_Part", Metadata, CustomerDetails)
_REPEATED = frozenset({"client_reference_id", *Metadata.__struct_fields__, *CustomerDetails.__struct_fields__})


class EventData(msgspec.Struct):
    object: StripeObject


class StripeEvent(msgspec.Struct):
    """An event of one of the types of APPLIED."""

    id: _Id
    type: str
    created: Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]
    livemode: bool
    data: EventData
    object: Literal["event"]


class EventHead(msgspec.Struct):
    """Of every event: all that is kept of one whose type is not applied."""

    id: _Id
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    created: Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]
    livemode: bool
    object: Literal["event"]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """The state of one object, as an event tells it. Times are in seconds since 1970.

    `is_anonymous` and `settled_at` are of all its states: has any asked for it; when did one first say that a payment
    intent or session is paid, or that a refund gives nothing back.
    """

    payment_intent: str
    object_type: ObjectType
    object_id: str
    event_id: str
    event_created: int
    event_rank: int
    event_type: str
    is_live: bool
    is_anonymous: bool
    settled_at: int | None
    state: StripeObject

    @property
    def is_paid(self) -> bool:
        """Was it ever? What has been paid stays so, and money that goes back is a refund or a dispute."""
        is_payment = self.object_type in ("payment_intent", "checkout.session")
        return _is_paid(self.object_type, self.state) or (is_payment and self.settled_at is not None)

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.payment_intent, self.object_type, self.object_id)

    @property
    def order(self) -> tuple[int, int, str]:
        """Of two states of an object the one that is greater holds."""
        return (self.event_created, self.event_rank, self.event_id)


def reduced(event: StripeEvent) -> StripeEvent:
    """`event` as it is kept: no blanks around what a checkout wrote, so that an id is found as it is; of an anonymous
    donation nothing that names the donor.
    """
    state = event.data.object.without_blanks()
    return msgspec.structs.replace(event, data=EventData(state.without_donor() if state.is_anonymous else state))


def fact_of(data: Any) -> Fact | None:
    """What an event says of a payment; None if its type is not applied, or its object belongs to no payment.

    Args:
        data: The event as JSON has it, reduced or whole.

    Raises:
        msgspec.ValidationError: it is not an event.
    """
    object_type = APPLIED.get(msgspec.convert(data, EventHead).type)
    if object_type is None:
        return None
    event = reduced(msgspec.convert(data, StripeEvent))
    state = event.data.object
    payment_intent = state.id if object_type == "payment_intent" else state.payment_intent
    if payment_intent is None:
        return None
    return Fact(
        payment_intent=payment_intent,
        object_type=object_type,
        object_id=state.id,
        event_id=event.id,
        event_created=event.created,
        event_rank=_rank(event, object_type),
        event_type=event.type,
        is_live=event.livemode,
        is_anonymous=state.is_anonymous,
        settled_at=event.created if _is_settled(object_type, state) else None,
        state=state,
    )


def newest(facts: Iterable[Fact]) -> list[Fact]:
    """The last state of each object, by key, with what is of all its states."""
    found: dict[tuple[str, str, str], Fact] = {}
    for fact in facts:
        known = found.get(fact.key, fact)
        last = max(known, fact, key=lambda it: it.order)
        settled = [at for at in (known.settled_at, fact.settled_at) if at is not None]
        found[fact.key] = replace(
            last,
            is_anonymous=known.is_anonymous or fact.is_anonymous,
            settled_at=min(settled, default=None),
        )
    return [found[key] for key in sorted(found)]


def forgetting(fact: Fact, *, donor: bool, author: bool) -> Fact:
    """`fact` as it is kept of a payment whose donor or author was erased."""
    if donor:
        fact = replace(fact, is_anonymous=True, state=fact.state.without_donor().without_words())
    return replace(fact, state=fact.state.without_author()) if author else fact


def kept(data: Any) -> Any:
    """What is kept of an event, also of one that is wrong: the fields that are used, as they are written, where nothing
    stands for more than that it was there. Of an anonymous donation nothing that names the donor.
    """
    is_applied = isinstance(data, Mapping) and data.get("type") in list(APPLIED)
    return _known(data, StripeEvent if is_applied else EventHead)


def _known(value: Any, shape: type[msgspec.Struct]) -> Any:
    if not isinstance(value, Mapping):
        return _flat(value)
    names = set(shape.__struct_fields__) & set(value)
    if shape is StripeObject and isinstance(told := value.get("metadata"), Mapping) and _is_true(told.get("anonymous")):
        names -= {"client_reference_id", "customer_details"}
        value = {**value, "metadata": {name: told[name] for name in told if name not in ("donorId", "donorName")}}
    parts = _PARTS.get(shape, {})
    found = {name: _known(value[name], parts[name]) if name in parts else _flat(value[name]) for name in sorted(names)}
    return {name: it.strip() if name in _REPEATED and isinstance(it, str) else it for name, it in found.items()}


def _flat(value: Any) -> Any:
    """A scalar that PostgreSQL can store; of an object or a list that it was one."""
    if isinstance(value, Mapping | list):
        return type(value)()
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    return None if isinstance(value, float) and not isfinite(value) else value


def _stripped(part: _Part) -> _Part:
    texts = msgspec.structs.asdict(part).items()
    return msgspec.structs.replace(part, **{name: text.strip() for name, text in texts if text is not None})


def _is_true(value: Any) -> bool:
    return str(value).strip().lower() in _TRUE


def _is_paid(object_type: ObjectType, state: StripeObject) -> bool:
    if object_type == "payment_intent":
        return state.status == "succeeded"
    return object_type == "checkout.session" and state.payment_status == "paid"


def _is_settled(object_type: ObjectType, state: StripeObject) -> bool:
    return _is_paid(object_type, state) or (object_type == "refund" and state.status in NOTHING_BACK)


def _rank(event: StripeEvent, object_type: ObjectType) -> int:
    """How far the object has come; of a charge what was given back, which only grows within a second."""
    state = event.data.object
    if object_type == "charge":
        return state.amount_refunded or 0
    stage = state.status if object_type in ("refund", "dispute") else event.type
    life = _LIVES[object_type]
    return life.index(stage) if stage in life else 0


_PARTS: Mapping[type[msgspec.Struct], Mapping[str, type[msgspec.Struct]]] = {
    StripeEvent: {"data": EventData},
    EventData: {"object": StripeObject},
    StripeObject: {"metadata": Metadata, "customer_details": CustomerDetails},
}
STRIPE_EVENT = DeliveryType(
    name=EVENT_TYPE,
    summary="An event of Stripe, by Stripe alone",
    data_type=EventHead,
    needs_market=False,
    source=SOURCE,
    kept=kept,
)
DELIVERY_TYPES = {STRIPE_EVENT.name: STRIPE_EVENT}
