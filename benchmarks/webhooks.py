"""A webhook from its acknowledgement to its row, beside one bare Dagster run; and what a delivery costs among many.

All in one stack as `ingestion-pipeline up` starts it. The bare run is operations_jobs_job with an empty queue, from its
launch through the UI's GraphQL to its success; webhooks are signed as seed S0 says and sent one at a time, at different
moments between two looks of the sensor. Deliveries of one tick are put into the inbox in one transaction.
"""

import hashlib
import hmac
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg

from benchmarks._measures import at_most, seconds
from benchmarks._stack import Stack, environment_of, free_ports, stack
from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.orchestration.inbox import TICK_SECONDS
from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.inbox import NewDelivery, accept_all

WEBHOOKS, RUNS, TICK_SIZES, ROUNDS = 20, 9, (1, 100, 1_000), 3
BARE_JOB, EVENT_TYPE, SOURCE = "operations_jobs_job", "market.fundamentals.upsert", "benchmark"
SECRET = "webhook-secret-of-the-benchmark"  # noqa: S105
TARGET_DIFFERENCE_SECONDS, TIMEOUT_SECONDS, POLL_SECONDS = 5.0, 300, 0.02
_VISIBLE = "select count(*) from property.fundamentals where market_slug like %s"
_RUN_OF = "select dagster_run_id from operations.deliveries where market_slug = %s"
_TIMES = "query($id: ID!) { runOrError(runId: $id) { ... on Run { creationTime startTime } } }"


def main(
    webhooks: int = WEBHOOKS, runs: int = RUNS, tick_sizes: Sequence[int] = TICK_SIZES, rounds: int = ROUNDS
) -> None:
    with tempfile.TemporaryDirectory(prefix="ingestion-bench-", ignore_cleanup_errors=True) as home:
        (port,) = free_ports(1)
        environment = {**environment_of(home), "PORT": str(port), "WEBHOOK_SECRET": SECRET}
        with stack(environment) as running:
            url = embedded.start(Path(home) / "postgres").url()
            with psycopg.connect(url, autocommit=True) as postgres:
                latency(running, postgres, f"http://127.0.0.1:{port}/api/ingest/webhook", webhooks, runs)
                cost(postgres, tick_sizes, rounds)


def latency(
    running: Stack, postgres: psycopg.Connection[Any], address: str, webhooks: int, runs: int
) -> None:
    """Prints how long a webhook takes, beside a bare run; the two take turns, and the first of each does not count."""
    bare, ours, parts = [], [], []
    for number in range(1, max(webhooks, runs) + 2):
        if number <= runs + 1:
            bare.append(seconds(lambda: running.wait(running.launch(BARE_JOB))))
        if number <= webhooks + 1:
            time.sleep(TICK_SECONDS * number / (webhooks + 1))
            market = f"one-{number}"
            acknowledged = send(address, market)
            await_rows(postgres, market, 1)
            ours.append(time.time() - acknowledged)
            parts.append(parts_of(running, postgres, market, acknowledged))
    bare, ours, parts = bare[1:], ours[1:], parts[1:]
    median, run = statistics.median(ours), statistics.median(bare)
    print(f"bare: launch to success of one run       median {run:6.2f} s  p95 {p95(bare):6.2f} s  of {len(bare)}")
    print(f"ours: webhook acknowledged to row there  median {median:6.2f} s  p95 {p95(ours):6.2f} s  of {len(ours)}")
    waits, starts, applies = (statistics.median(part) for part in zip(*parts, strict=True))
    print(f"    of it {waits:.2f} s until the sensor looks, {starts:.2f} s until the run starts, {applies:.2f} s in it")
    is_met = median - run <= TARGET_DIFFERENCE_SECONDS
    verdict = "met" if is_met else "MISSED"
    print(f"    {at_most(median / run)}, difference {median - run:+.2f} s", end="")
    print(f"  target at most {TARGET_DIFFERENCE_SECONDS:+.0f} s  {verdict}")


def cost(postgres: psycopg.Connection[Any], tick_sizes: Sequence[int], rounds: int) -> None:
    """Prints what a delivery costs when so many come at the same moment: from their commit to their last row."""
    spent: dict[int, list[float]] = {size: [] for size in tick_sizes}
    for number in range(rounds):
        for size, times in spent.items():
            prefix = f"tick-{number}-of-{size}-"
            accept(postgres, prefix, size)
            times.append(seconds(lambda prefix=prefix, size=size: await_rows(postgres, f"{prefix}%", size)))
    single = statistics.median(spent[tick_sizes[0]]) / tick_sizes[0]
    for size, times in spent.items():
        each = statistics.median(times) / size
        print(f"{size:>6,} in one tick  {statistics.median(times):6.2f} s  {each * 1e3:9.2f} ms each", end="")
        print(f"  ratio {each / single:7.4f} x" if size != tick_sizes[0] else "")


def send(address: str, market: str) -> float:
    """Sends one webhook; when it was acknowledged."""
    body = json.dumps(body_of(market)).encode()
    stamp = str(int(time.time()))
    mac = hmac.new(SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"content-type": "application/json", "x-timestamp": stamp, "x-signature": f"sha256={mac}"}
    answer = httpx.post(address, content=body, headers=headers, timeout=30)
    acknowledged = time.time()
    if answer.status_code != 202:
        raise RuntimeError(f"the webhook was not accepted: {answer.text}")
    return acknowledged


def accept(postgres: psycopg.Connection[Any], prefix: str, count: int) -> None:
    """Keeps `count` deliveries at once, each of a market of its own."""
    deliveries = [
        NewDelivery(
            source=SOURCE,
            idempotency_key=market,
            event_type=EVENT_TYPE,
            payload=json.dumps(body_of(market)).encode(),
            scheme="sha256",
            signed_by="benchmark",
            market_slug=market,
        )
        for market in (f"{prefix}{number}" for number in range(count))
    ]
    with postgres.transaction():
        accept_all(postgres, deliveries)


def body_of(market: str) -> Mapping[str, Any]:
    as_of = (utc_now() - timedelta(days=1)).date().isoformat()
    data = {"as_of": as_of, "metrics": {"median_sale_price_usd": 400_000.0}}
    return {"event_type": EVENT_TYPE, "market_slug": market, "data": data, "source": SOURCE}


def await_rows(postgres: psycopg.Connection[Any], markets: str, count: int) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (postgres.execute(_VISIBLE, [markets]).fetchone() or (0,))[0] < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{markets} did not arrive in {TIMEOUT_SECONDS} s")
        time.sleep(POLL_SECONDS)


def parts_of(
    running: Stack, postgres: psycopg.Connection[Any], market: str, acknowledged: float
) -> tuple[float, float, float]:
    """Of a delivery that is applied: seconds until its run was asked for, until that began, until now."""
    seen = time.time()
    (run_id,) = postgres.execute(_RUN_OF, [market]).fetchone() or (None,)
    times = running.ask(_TIMES, {"id": run_id})["runOrError"]
    return times["creationTime"] - acknowledged, times["startTime"] - times["creationTime"], seen - times["startTime"]


def p95(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]


if __name__ == "__main__":
    main()
