"""Stripe's deliveries into community.donations: facts first, then the donations of their payments, in one transaction.

One process applies at a time, so that a donation is never made of half of its facts. Belongs here: what is read and
written. Does not belong here: what a donation is (donations.py), what is stored of a change (sql/functions).
"""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import psycopg
from psycopg.rows import dict_row

from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.core.metrics import metrics
from ingestion_pipeline.domains.community.donations import Donation, donation
from ingestion_pipeline.domains.community.stripe import (
    EVENT_TYPE,
    SECRET_VARIABLE,
    SOURCE,
    Fact,
    StripeObject,
    fact_of,
    forgetting,
    newest,
)
from ingestion_pipeline.storage.inbox import Applied, Delivery, apply_pending
from ingestion_pipeline.storage.ingestion_events import IngestionEvent, record_ingestion
from ingestion_pipeline.storage.postgres import Postgres

# of whoever writes facts or donations, community.forget_person too; rows of operations.deliveries are locked before it
_LOCK = "select pg_advisory_xact_lock(hashtextextended('community.donations', 2))"
_GIVEN = """
jsonb_to_recordset(%s::jsonb) as given (
    payment_intent text, object_type text, object_id text, event_id text, event_created bigint, event_rank bigint,
    event_type text, is_live boolean, is_anonymous boolean, settled_at bigint, state jsonb
)
"""
_MERGE_FACTS = f"""
update community.donation_facts as kept
set
    is_anonymous = kept.is_anonymous or given.is_anonymous,
    settled_at = least(kept.settled_at, to_timestamp(given.settled_at))
from {_GIVEN}
where
    (kept.payment_intent, kept.object_type, kept.object_id)
    = (given.payment_intent, given.object_type, given.object_id)
"""
_STORE_FACTS = f"""
insert into community.donation_facts as kept (
    payment_intent, object_type, object_id, event_id, event_created, event_rank, event_type, is_live, is_anonymous,
    settled_at, state
)
select
    payment_intent, object_type, object_id, event_id, to_timestamp(event_created), event_rank, event_type, is_live,
    is_anonymous, to_timestamp(settled_at), state
from {_GIVEN}
order by payment_intent, object_type, object_id
on conflict (payment_intent, object_type, object_id) do update set
    event_id = excluded.event_id, event_created = excluded.event_created, event_rank = excluded.event_rank,
    event_type = excluded.event_type, is_live = excluded.is_live, state = excluded.state
where
    (kept.event_created, kept.event_rank, kept.event_id)
    < (excluded.event_created, excluded.event_rank, excluded.event_id)
"""
_FACTS = """
select
    payment_intent, object_type, object_id, event_id, extract(epoch from event_created)::bigint as event_created,
    event_rank, event_type, is_live, is_anonymous, extract(epoch from settled_at)::bigint as settled_at, state
from community.donation_facts
where payment_intent = any(%s)
order by payment_intent, object_type, object_id
"""
_FORGOTTEN = """
select payment_intent, forgets_donor as donor, forgets_author as author
from community.forgotten_payments
where payment_intent = any(%s)
"""
_FORGET_DONORS = """
update community.donation_facts
set
    is_anonymous = true,
    state = state - 'client_reference_id' - 'customer_details' #- '{metadata,donorId}' #- '{metadata,donorName}'
where payment_intent = any(%s)
"""
_STRIP = "select community.strip_deliveries(%s::uuid[])"
# rows that somebody holds are skipped: an erasure strips them itself, others leave them to the next run
_STRIP_REFUSED = """
select community.strip_deliveries(
    array(
        select sent.delivery_id
        from operations.deliveries as sent
        inner join community.forgotten_payments as forgotten
            on forgotten.payment_intent = community.payment_of(sent.payload)
        where sent.status in ('rejected', 'dead') and sent.event_type = 'stripe.event'
        for update of sent skip locked
    )
)
"""
_STORE_DONATIONS = "select community.store_donations(%s::jsonb, %s)"
_ATTRIBUTE = "select community.attribute_donations(%s)"


@dataclass
class Report:
    """What a pass did: deliveries applied, events by what became of them, donations that changed."""

    deliveries: Applied = field(default_factory=Applied)
    events: Counter[str] = field(default_factory=Counter)
    changed: int = 0
    attributed: int = 0

    @property
    def metadata(self) -> dict[str, int]:
        events = {f"events_{outcome}": count for outcome, count in sorted(self.events.items())}
        return {
            "deliveries": self.deliveries.processed,
            "dead_deliveries": self.deliveries.dead,
            "donations_changed": self.changed,
            "authors_found": self.attributed,
        } | events


def apply_donations(postgres: Postgres, *, run_id: str) -> Report:
    """Applies every event that is due; then rules whose author is known by now give donations their author, and what
    was refused loses whoever was erased from its payment.

    Raises:
        StoreUnavailableError: PostgreSQL is away; what was applied until then is.
    """
    report = Report()

    def apply(connection: psycopg.Connection[Any], deliveries: Sequence[Delivery]) -> None:
        started = time.perf_counter()
        connection.execute(_LOCK)
        events, changed = store_events(connection, deliveries, run_id=run_id)
        record_ingestion(
            connection,
            IngestionEvent(
                event_type=EVENT_TYPE,
                source=SOURCE,
                processed_records=len(deliveries),
                processing_time_ms=(time.perf_counter() - started) * 1000,
                provenance={"donations_changed": changed, **events},
                dagster_run_id=run_id,
            ),
        )
        for outcome, count in events.items():
            metrics.counter("stripe_events_applied_total", count, {"outcome": outcome})
        report.events.update(events)
        report.changed += changed

    report.deliveries = apply_pending(postgres, [EVENT_TYPE], apply, run_id=run_id)
    with postgres.transaction() as connection:
        connection.execute(_LOCK)
        connection.execute(_STRIP_REFUSED)
        ((report.attributed,),) = connection.execute(_ATTRIBUTE, [run_id]).fetchall()
    return report


def store_events(
    connection: psycopg.Connection[Any], deliveries: Sequence[Delivery], *, run_id: str
) -> tuple[Counter[str], int]:
    """Stores what `deliveries` say, in whatever order; the events by what became of them, donations that changed.

    Whoever was erased since the deliveries were claimed is forgotten here, in them too: an erasure takes the same lock.

    Raises:
        ContractError: one of them was not signed by Stripe, nor dropped as a file.
        msgspec.ValidationError: one of them is no event of Stripe.
    """
    events, facts, sources = Counter[str](), list[Fact](), dict[str, str]()
    for delivery in deliveries:
        _require_stripe(delivery)
        fact = fact_of(delivery.payload["data"])
        events["ignored" if fact is None else "applied"] += 1
        if fact is not None:
            facts.append(fact)
            sources[fact.payment_intent] = delivery.delivery_id
    connection.execute(_STRIP, [[delivery.delivery_id for delivery in deliveries]])
    if not facts:
        return events, 0
    _store_facts(connection, newest(_without_forgotten(connection, facts)))
    made = [made for known in facts_of(connection, sorted(sources)).values() if (made := donation(known))]
    if anonymous := [it.payment_intent for it in made if it.is_anonymous]:
        connection.execute(_FORGET_DONORS, [anonymous])
    rows = [_row(it, sources[it.payment_intent]) for it in made]
    ((changed,),) = connection.execute(_STORE_DONATIONS, [msgspec.json.encode(rows).decode(), run_id]).fetchall()
    return events, changed


def facts_of(connection: psycopg.Connection[Any], payment_intents: Sequence[str]) -> Mapping[str, Sequence[Fact]]:
    """The facts of each of these payments."""
    found = defaultdict[str, list[Fact]](list)
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(_FACTS, [list(payment_intents)]):
            found[row["payment_intent"]].append(fact_of_row(row))
    return found


def fact_of_row(row: Mapping[str, Any]) -> Fact:
    """A row of community.donation_facts, its times in seconds since 1970."""
    return Fact(**{**row, "state": msgspec.convert(row["state"], StripeObject)})


def _without_forgotten(connection: psycopg.Connection[Any], facts: Sequence[Fact]) -> list[Fact]:
    """`facts`, without whoever was erased from their payments."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_FORGOTTEN, [[it.payment_intent for it in facts]]).fetchall()
    forgotten = {row["payment_intent"]: row for row in rows}
    return [
        forgetting(it, donor=row["donor"], author=row["author"]) if (row := forgotten.get(it.payment_intent)) else it
        for it in facts
    ]


def are_attributable(postgres: Postgres) -> bool:
    """Is the author of a donation's rule known by now, and not yet the donation's?"""
    return bool(postgres.read("community_attributable_donations"))


def _require_stripe(delivery: Delivery) -> None:
    """Nobody else's secret speaks for Stripe; whoever may write to the drop folder is an operator."""
    if delivery.origin == "http" and not delivery.signed_by.startswith(f"{SECRET_VARIABLE} "):
        raise ContractError(
            f"delivery {delivery.delivery_id}", "signed_by", repr(delivery.signed_by), "a signature by Stripe itself"
        )


def _store_facts(connection: psycopg.Connection[Any], facts: Sequence[Fact]) -> None:
    given = msgspec.json.encode(facts).decode()
    connection.execute(_MERGE_FACTS, [given])
    connection.execute(_STORE_FACTS, [given])


def _row(made: Donation, delivery_id: str) -> dict[str, Any]:
    """As JSON, in which decimals are strings and keep their digits."""
    return {**vars(made), "delivery_id": delivery_id}
