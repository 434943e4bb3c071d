"""A webhook from its acknowledgement to its row, beside one bare Dagster run; and what a delivery costs among many.

All in one stack as `ingestion-pipeline up` starts it. The bare run is operations_jobs_job with an empty queue, from its
launch through the UI's GraphQL to its success; webhooks are signed as seed S0 says and sent one at a time, at different
moments between two looks of the sensor. Deliveries of one tick are put into the inbox in one transaction.
"""

import hashlib
import hmac
import json
import math
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
from ingestion_pipeline.orchestration.runs import TICK_SECONDS
from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.inbox import NewDelivery, accept_all

WEBHOOKS, TICK_SIZES, ROUNDS = 20, (1, 100, 1_000), 5
BARE_JOB, EVENT_TYPE, SOURCE = "operations_jobs_job", "market.fundamentals.upsert", "benchmark"
SECRET = "webhook-secret-of-the-benchmark"
TARGET_DIFFERENCE_SECONDS, TIMEOUT_SECONDS, POLL_SECONDS = 5.0, 300, 0.02
_VISIBLE = "select count(*) from property.fundamentals where market_slug like %s"
_RUNS = "select distinct dagster_run_id from operations.deliveries where market_slug like %s"
_TIMES = "query($id: ID!) { runOrError(runId: $id) { ... on Run { creationTime startTime } } }"


def main(webhooks: int = WEBHOOKS, tick_sizes: Sequence[int] = TICK_SIZES, rounds: int = ROUNDS) -> None:
    with tempfile.TemporaryDirectory(prefix="ingestion-bench-", ignore_cleanup_errors=True) as home:
        (port,) = free_ports(1)
        environment = {**environment_of(home), "PORT": str(port), "WEBHOOK_SECRET": SECRET}
        with stack(environment) as running:
            url = embedded.start(Path(home) / "postgres").url()
            with psycopg.connect(url, autocommit=True) as postgres:
                latency(running, postgres, f"http://127.0.0.1:{port}/api/ingest/webhook", webhooks)
                cost(running, postgres, tick_sizes, rounds)


def latency(running: Stack, postgres: psycopg.Connection[Any], address: str, webhooks: int) -> None:
    """Prints how long a webhook takes, beside a bare run; the two take turns, and the first of each does not count."""
    bare, ours, parts = [], [], []
    for number in range(webhooks + 1):
        bare.append(seconds(lambda: running.wait(running.launch(BARE_JOB))))
        time.sleep(TICK_SECONDS * number / webhooks)
        market = f"one-{number}"
        acknowledged = send(address, market)
        visible = await_rows(postgres, market, 1)
        asked, began = run_times(running, postgres, market)
        ours.append(visible - acknowledged)
        parts.append((asked - acknowledged, began - asked, visible - began))
    median, run = statistics.median(ours[1:]), statistics.median(bare[1:])
    print(f"bare: launch to success of one run       {_shown(bare[1:])}")
    print(f"ours: webhook acknowledged to row there  {_shown(ours[1:])}")
    waits, starts, applies = (statistics.median(part) for part in zip(*parts[1:], strict=True))
    print(f"    until the sensor asks for a run {waits:.2f} s, until it begins {starts:.2f} s, in it {applies:.2f} s")
    difference = median - run
    verdict = "met" if difference <= TARGET_DIFFERENCE_SECONDS else "MISSED"
    print(f"    {at_most(median / run)}, difference {difference:+.2f} s", end="")
    print(f"  target at most {TARGET_DIFFERENCE_SECONDS:+g} s  {verdict}")


def cost(running: Stack, postgres: psycopg.Connection[Any], tick_sizes: Sequence[int], rounds: int) -> None:
    """Prints what a delivery costs when so many come at the same moment, and of that what the run does for it."""
    spent: dict[int, list[tuple[float, float]]] = {size: [] for size in tick_sizes}
    for number in range(rounds):
        for size, times in spent.items():
            prefix = f"tick-{number}-of-{size}-"
            accept(postgres, prefix, size)
            accepted = time.time()
            visible = await_rows(postgres, f"{prefix}%", size)
            _, began = run_times(running, postgres, f"{prefix}%")
            times.append((visible - accepted, visible - began))
    alone, *_ = (statistics.median(whole) for whole, _ in (zip(*times, strict=True) for times in spent.values()))
    for size, times in spent.items():
        whole, in_run = (statistics.median(part) for part in zip(*times, strict=True))
        each, ratio = whole / size * 1e3, whole / size / alone
        print(f"{size:>6,} in one tick  {whole:6.2f} s, in the run {in_run:5.2f} s", end="")
        print(f"  each {each:8.1f} ms, in the run {in_run / size * 1e3:6.1f} ms  ratio {ratio:.4f} x")


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


def await_rows(postgres: psycopg.Connection[Any], markets: str, count: int) -> float:
    """Waits for so many rows; when they were there."""
    deadline = time.time() + TIMEOUT_SECONDS
    while (postgres.execute(_VISIBLE, [markets]).fetchone() or (0,))[0] < count:
        if time.time() > deadline:
            raise RuntimeError(f"{markets} did not arrive in {TIMEOUT_SECONDS} s")
        time.sleep(POLL_SECONDS)
    return time.time()


def run_times(running: Stack, postgres: psycopg.Connection[Any], markets: str) -> tuple[float, float]:
    """When the run that took the deliveries of `markets` was asked for, and when it began; waits for its end."""
    runs = postgres.execute(_RUNS, [markets]).fetchall()
    if len(runs) != 1:
        raise RuntimeError(f"{markets} took {len(runs)} runs")
    running.wait(runs[0][0])
    times = running.ask(_TIMES, {"id": runs[0][0]})["runOrError"]
    return times["creationTime"], times["startTime"]


def _shown(values: Sequence[float]) -> str:
    p95 = sorted(values)[math.ceil(0.95 * len(values)) - 1]
    return f"median {statistics.median(values):6.2f} s  p95 {p95:6.2f} s  of {len(values)}"


if __name__ == "__main__":
    main()
