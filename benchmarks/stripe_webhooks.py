"""Events of Stripe through signature, inbox and ledger, beside the verification of their signatures alone.

Signatures alone: Stripe's library verifies each raw body, one after the other. Commits alone, the limit of whoever
answers when it is durable: each body into a plain table, in a transaction of its own, as many at a time. What we do:
the webhook's handler verifies, reduces and keeps each event, as the intake does behind HTTP; then the ledger applies
them all. Every event is another; four of a payment, out of order.
"""

import asyncio
import hashlib
import hmac
import itertools
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import psycopg
from pydantic import SecretStr

from benchmarks._measures import medians, peak_mb_of, share
from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.domains.community.donations_ledger import apply_donations
from ingestion_pipeline.domains.community.donations_routes import PATH, StripeWebhooks
from ingestion_pipeline.domains.community.stripe_signatures import StripeSignatures
from ingestion_pipeline.intake.endpoints import PUBLIC, Call, Caller
from ingestion_pipeline.intake.services import Services, services
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.migrate import ensure_database, migrate
from ingestion_pipeline.storage.postgres import Postgres

EVENTS, REQUESTS_AT_ONCE, ROUNDS = 10_000, 32, 3
SECRET = SecretStr("whsec_of_the_benchmark")
TARGET_SHARE = 0.4
_CREATED = 1_772_712_000
_PADDING = {f"field_{n}": "what a real event holds and nobody reads" for n in range(40)}
_COMMON = {"object": "charge", "currency": "usd", "metadata": {"ruleId": "rule_1", "authorId": "author_1"}}
_STATES = {
    "charge.refunded": {"amount_refunded": 500},
    "checkout.session.completed": {"amount_total": 2_500, "payment_status": "paid"},
    "charge.dispute.created": {"amount": 700, "status": "needs_response"},
    "payment_intent.succeeded": {"amount_received": 2_500, "status": "succeeded"},
}
_EMPTY = (
    "truncate operations.deliveries, operations.audit_log, community.donations, community.donation_facts, public.plain"
)

_rounds = itertools.count()


def main(events: int = EVENTS, requests_at_once: int = REQUESTS_AT_ONCE, rounds: int = ROUNDS) -> None:
    configure_logging("warning")
    library()
    with tempfile.TemporaryDirectory(prefix="ingestion-bench-", ignore_cleanup_errors=True) as home:
        server = embedded.start(Path(home) / "postgres")
        try:
            ensure_database(server.url(), embedded.DATABASE)
            migrate(server.url())
            measure(server, events, requests_at_once, rounds)
        finally:
            embedded.stop_when_unused(Path(home) / "postgres")


def library() -> None:
    """Prints what Stripe's library costs an intake."""
    base = "from ingestion_pipeline import asgi"
    plain, loaded = peak_mb_of(base), peak_mb_of(f"{base}\nimport stripe")
    print(f"memory: an intake's imports {plain:.0f} MB, with Stripe's library {loaded:.0f} MB")


def measure(server: embedded.EmbeddedServer, events: int, requests_at_once: int, rounds: int) -> None:
    """Prints events per second of each part, and the share of the limit that remains."""
    settings = Settings.from_environment(
        {"DATABASE_URL": server.url(role="pipeline_intake"), "STRIPE_WEBHOOK_SECRET": SECRET.get_secret_value()}
    )
    batches: list[Sequence[Call]] = []
    worker_url = server.url(role="pipeline_worker")
    with closing(Postgres(worker_url)) as postgres, psycopg.connect(server.url(), autocommit=True) as owner:
        owner.execute("create table public.plain (body text); grant insert on public.plain to pipeline_intake")

        def prepare() -> None:
            if owner.execute("select count(*) from operations.deliveries").fetchone() == (0,):
                batches[:] = [list(calls(events, f"round{next(_rounds)}"))]

        def ledger() -> None:
            applied(postgres, events)
            owner.execute(_EMPTY)

        works: dict[str, Callable[[], object]] = {
            "signatures": lambda: verified(batches[0]),
            "commits": lambda: asyncio.run(committed(settings, batches[0], requests_at_once)),
            "inbox": lambda: asyncio.run(kept(settings, batches[0], requests_at_once)),
            "ledger": ledger,
        }
        found = medians(works, rounds=rounds, before=prepare)
    body_bytes = sum(len(call.body) for call in batches[0]) / events
    print(f"limit: signatures of {body_bytes:,.0f} bytes alone  {events / found['signatures']:10,.0f} events/s")
    print(f"limit: commits alone, {requests_at_once} at a time  {events / found['commits']:10,.0f} events/s")
    print(f"    signature and inbox  {events / found['inbox']:10,.0f} events/s", end="  ")
    print(share(found["commits"] / found["inbox"], TARGET_SHARE))
    print(f"    ledger  {events / found['ledger']:10,.0f} events/s")
    ours = found["inbox"] + found["ledger"]
    print(f"ours: signature, inbox and ledger  {events / ours:10,.0f} events/s", end="  ")
    print(f"{share(found['signatures'] / ours)} of signatures alone")


def calls(events: int, name: str) -> Iterator[Call]:
    """So many signed requests: of each type of event that of every payment, then the next type."""
    payments = -(-events // len(_STATES))
    made = ((number, kind) for kind in _STATES for number in range(payments))
    for place, (number, kind) in enumerate(itertools.islice(made, events)):
        payment = f"pi_{name}_{number}"
        state = {**_PADDING, **_COMMON, **_STATES[kind], "payment_intent": payment}
        state["id"] = payment if kind.startswith("payment_intent") else f"{kind}_{payment}"
        event = {"id": f"evt_{name}_{place}", "object": "event", "type": kind, "created": _CREATED + place}
        body = json.dumps({**event, "livemode": True, "data": {"object": state}}).encode()
        stamp = str(int(time.time()))
        mac = hmac.new(SECRET.get_secret_value().encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
        headers = {b"stripe-signature": f"t={stamp},v1={mac}".encode()}
        yield Call(f"request-{place}", body, {}, {}, headers, Caller(PUBLIC, PATH), "127.0.0.1")


def verified(given: Sequence[Call]) -> None:
    signatures = StripeSignatures(SECRET)
    for call in given:
        signatures.verify(call.headers[b"stripe-signature"], call.body)


async def committed(settings: Settings, given: Sequence[Call], at_once: int) -> None:
    """Each body is durable."""
    found = services(settings)

    async def keep(call: Call) -> None:
        async with found.pool.connection() as connection:
            await connection.execute("insert into public.plain values (%s)", [call.body.decode()])

    await _each(found, keep, given, at_once)


async def kept(settings: Settings, given: Sequence[Call], at_once: int) -> None:
    """Each is acknowledged."""
    found = services(settings)
    receive = StripeWebhooks(found).receive

    async def send(call: Call) -> None:
        if (answer := await receive(call)).status != 200:
            raise RuntimeError(f"an event was not kept: {answer.body!r}")

    await _each(found, send, given, at_once)


async def _each(found: Services, work: Callable[[Call], Awaitable[None]], given: Sequence[Call], at_once: int) -> None:
    waiting = iter(given)

    async def worker() -> None:
        for call in waiting:
            await work(call)

    await found.pool.open(wait=True)
    try:
        await asyncio.gather(*(worker() for _ in range(at_once)))
    finally:
        await found.pool.close()


def applied(postgres: Postgres, events: int) -> None:
    done = apply_donations(postgres, run_id="benchmark")
    if done.deliveries.processed != events:
        raise RuntimeError(f"{done.deliveries} of {events} events")


if __name__ == "__main__":
    main()
