"""What a donation is: a pure function of the last states of a payment's objects, whatever order their events came in.

net = received - refunded - disputed. received: only once the payment intent has succeeded or a session is paid.
refunded: what the charge says that has been given back, or its refunds add up to, if that is more. disputed: what is
withheld while a dispute is open and gone once it is lost; of money that was refunded nothing can be withheld again.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

from ingestion_pipeline.domains.community.stripe import NOTHING_BACK, Fact, ObjectType, StripeObject

Status = Literal["pending", "paid", "failed", "refunded", "partially_refunded", "disputed", "lost"]

ZERO_DECIMAL = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"]
)
THREE_DECIMAL = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])
"""docs.stripe.com/currencies. ISK and UGX have no decimals either, but Stripe writes them with two."""

_NOTHING_WITHHELD = frozenset({"won", "prevented", "warning_needs_response", "warning_under_review", "warning_closed"})
_FAILURES = frozenset(
    {
        "payment_intent.payment_failed",
        "payment_intent.canceled",
        "checkout.session.async_payment_failed",
        "checkout.session.expired",
    }
)
_SPEAKERS: Sequence[ObjectType] = ("payment_intent", "checkout.session", "charge", "refund", "dispute")


@dataclass(frozen=True, kw_only=True)
class Donation:
    """A row of community.donations. Amounts are in units of the currency."""

    payment_intent: str
    rule_id: str | None
    author_id: str | None
    donor_id: str | None
    is_anonymous: bool
    currency: str
    received: Decimal
    refunded: Decimal
    disputed: Decimal
    status: Status
    dispute_status: str | None
    donor_name: str | None
    message: str | None
    paid_at: datetime | None
    is_live: bool

    @property
    def net(self) -> Decimal:
        return self.received - self.refunded - self.disputed


def major_units(amount: int, currency: str) -> Decimal:
    """`amount` of Stripe's, exactly: 1250 of USD is 12.50, of JPY 1250, of KWD 1.250."""
    decimals = 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2
    return Decimal(amount).scaleb(-decimals)


def donation(facts: Sequence[Fact]) -> Donation | None:
    """The donation that `facts`, each the last state of an object of one payment, make; None without a currency."""
    spoken = sorted(facts, key=lambda it: (_SPEAKERS.index(it.object_type), it.object_id))
    currency = next((it.state.currency.upper() for it in spoken if it.state.currency), None)
    if currency is None:
        return None
    paid = [it for it in spoken if it.is_paid]
    received = _amount(paid[0].state) if paid else 0
    refunded = min(received, _refunded(spoken))
    disputes = [it for it in spoken if it.object_type == "dispute"]
    withheld = [it for it in disputes if it.state.status not in _NOTHING_WITHHELD]
    disputed = min(received - refunded, sum(_withheld(it.state, currency, received) for it in withheld))
    is_anonymous = any(it.is_anonymous for it in spoken)
    return Donation(
        payment_intent=spoken[0].payment_intent,
        rule_id=_said(spoken, "ruleId"),
        author_id=_said(spoken, "authorId"),
        donor_id=None if is_anonymous else _said(spoken, "donorId") or _donor_of_session(spoken),
        is_anonymous=is_anonymous,
        currency=currency,
        received=major_units(received, currency),
        refunded=major_units(refunded, currency),
        disputed=major_units(disputed, currency),
        status=_status(withheld, received=received, refunded=refunded) if paid else _unpaid(spoken),
        dispute_status=_dispute_status(disputes, withheld),
        donor_name=None if is_anonymous else _said(spoken, "donorName") or _name_of_session(spoken),
        message=_said(spoken, "message"),
        paid_at=datetime.fromtimestamp(min(_settled_at(it) for it in paid), tz=UTC) if paid else None,
        is_live=all(it.is_live for it in spoken),
    )


def _settled_at(fact: Fact) -> int:
    return fact.event_created if fact.settled_at is None else fact.settled_at


def _amount(state: StripeObject) -> int:
    """What a payment intent has received or a session has charged; the last state of one that was paid may say 0."""
    return state.amount_received or state.amount_total or state.amount or 0


def _refunded(facts: Sequence[Fact]) -> int:
    """What was given back. A charge's sum holds refunds that have not failed before it: those are taken out of it."""
    refunds = [it for it in facts if it.object_type == "refund"]
    failed = [it for it in refunds if it.state.status in NOTHING_BACK]
    single = sum(it.state.amount or 0 for it in refunds if it.state.status not in NOTHING_BACK)
    charged = sum(
        (charge.state.amount_refunded or 0)
        - sum(
            it.state.amount or 0
            for it in failed
            if it.state.charge in (None, charge.object_id) and _settled_at(it) >= charge.event_created
        )
        for charge in facts
        if charge.object_type == "charge"
    )
    return max(single, charged)


def _withheld(state: StripeObject, currency: str, received: int) -> int:
    """Of a dispute in another currency than the payment's: all of it."""
    if state.amount is None or (state.currency or currency).upper() != currency:
        return received
    return state.amount


def _status(withheld: Sequence[Fact], *, received: int, refunded: int) -> Status:
    """Of one that is paid."""
    if withheld:
        return "lost" if any(it.state.status == "lost" for it in withheld) else "disputed"
    if not refunded:
        return "paid"
    return "refunded" if refunded == received else "partially_refunded"


def _unpaid(facts: Sequence[Fact]) -> Status:
    return "failed" if any(it.event_type in _FAILURES for it in facts) else "pending"


def _dispute_status(disputes: Sequence[Fact], withheld: Sequence[Fact]) -> str | None:
    """Of a lost one, else of an open one, else of the last."""
    lost = [it for it in withheld if it.state.status == "lost"]
    chosen = max(lost or withheld or disputes, key=lambda it: it.order, default=None)
    return None if chosen is None else chosen.state.status


def _said(facts: Iterable[Fact], name: str) -> str | None:
    """The first value of the metadata `name`; an empty one is none."""
    values = (getattr(it.state.metadata, name).strip() for it in facts if getattr(it.state.metadata, name, None))
    return next((value for value in values if value), None)


def _sessions(facts: Iterable[Fact]) -> Iterator[StripeObject]:
    return (it.state for it in facts if it.object_type == "checkout.session")


def _donor_of_session(facts: Iterable[Fact]) -> str | None:
    return next((it.client_reference_id for it in _sessions(facts) if it.client_reference_id), None)


def _name_of_session(facts: Iterable[Fact]) -> str | None:
    details = (it.customer_details for it in _sessions(facts))
    return next((it.name for it in details if it is not None and it.name), None)
