"""Durable, de-duplicated intake over HTTP, beside a binary COPY of the same rows and the service most would write.

The load comes from another process; server, PostgreSQL and load share the machine. An event counts when its 202 is
there: after the fsynced commit. The limit is a binary COPY, in blocks of 5,000, of the same rows into the same tables:
their keys into events.event_keys, the rows into the day's partition. The peer has a pydantic model and commits one
SQLAlchemy session a request.
"""

import itertools
import json
import random
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from benchmarks._load import drive_in_process, request
from benchmarks._measures import faster, share
from benchmarks._services import TOKEN, memory_mb, service
from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.ids import time_ordered_ids
from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.database import database
from ingestion_pipeline.storage.event_entries import key_hash
from ingestion_pipeline.storage.event_log import COLUMNS

BATCH, SECONDS, COPY_ROWS, SOAK_SECONDS = 100, 15.0, 200_000, 600.0
CONNECTIONS, SINGLE_CONNECTIONS = 16, 64
COPY_TARGET, PLAIN_TARGET, EMPTY_TARGET = 0.6, 5, 0.5
P99_TARGET_MS, GROWTH_TARGET = 50, 1.1
INTAKE_PORT, PLAIN_PORT = 18_787, 18_788
HEADERS = {"x-app-token": TOKEN}
ROWS_PER_BLOCK = 5_000


def event(number: int, run: str) -> dict[str, object]:
    return {
        "type": "VIEW",
        "ruleId": f"rule-{number % 997}",
        "userId": f"user-{number % 9_973}",
        "sessionId": f"session-{number % 19_937}",
        "ts": "2026-11-22T08:00:00Z",
        "idempotencyKey": f"{run}-{number}",
        "data": {"page": f"/rules/{number % 997}", "milliseconds": number % 1000 / 7, "referrer": "search"},
    }


def batches(run: str, size: int) -> Iterator[bytes]:
    """Requests of `size` different events without end: the texts are made once, only the keys change."""
    parts = [json.dumps(event(number, "RUN-KEY")).split(f"RUN-KEY-{number}") for number in range(size)]
    for turn in itertools.count():
        events = ",".join(f"{head}{run}-{turn}-{i}{tail}" for i, (head, tail) in enumerate(parts))
        yield request("POST", "/ingest/events", body=f'{{"events":[{events}]}}'.encode(), headers=HEADERS)


def empty() -> Iterator[bytes]:
    """What an endpoint that does nothing is sent: a request of the same form as one event."""
    body = json.dumps({"events": [event(0, "empty")]}).encode()
    return itertools.repeat(request("POST", "/empty", body=body, headers=HEADERS))


def copy_rate(owner: str, rows: int) -> float:
    """Rows per second of a binary COPY into the same tables, in commits of ROWS_PER_BLOCK."""
    now = utc_now()
    table = f"events.event_log_{now:%Y%m%d}"
    types = (
        "uuid text text int4 text text text jsonb jsonb timestamptz timestamptz float8 text text text text text text"
    )
    occurred = datetime(2026, 11, 22, 8, tzinfo=UTC)
    blocks = []
    for start in range(0, rows, ROWS_PER_BLOCK):
        ids = [UUID(event_id) for event_id in time_ordered_ids(now, ROWS_PER_BLOCK)]
        run = f"copy-{random.random()}"
        found = [event(start + i, run) for i in range(ROWS_PER_BLOCK)]
        blocks.append([_row(each, event_id, occurred, now) for each, event_id in zip(found, ids, strict=True)])
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("select events.ensure_event_partitions()")
        started = time.perf_counter()
        for block in blocks:
            with connection.transaction(), connection.cursor() as cursor:
                with cursor.copy("copy events.event_keys from stdin (format binary)") as copy:
                    copy.set_types(["uuid", "uuid"])
                    for row in sorted((UUID(bytes=key_hash(str(row[12]))), row[0]) for row in block):
                        copy.write_row(row)
                with cursor.copy(f"copy {table} ({COLUMNS}) from stdin (format binary)") as copy:
                    copy.set_types(types.split())
                    for row in block:
                        copy.write_row(row)
        return rows / (time.perf_counter() - started)


def _row(sent: dict[str, object], event_id: UUID, occurred: datetime, received: datetime) -> tuple[object, ...]:
    head = (event_id, sent["type"], "interaction", 1, sent["userId"], sent["sessionId"], sent["ruleId"])
    data = (Jsonb(sent["data"]), Jsonb({}), occurred, received, None, sent["idempotencyKey"])
    return (*head, *data, "benchmark", "http", None, "0" * 32, None)


def main(
    seconds: float = SECONDS, copy_rows: int = COPY_ROWS, soak_seconds: float = SOAK_SECONDS, rounds: int = 3
) -> None:
    configure_logging("warning")
    with tempfile.TemporaryDirectory(prefix="ingestion-bench-", ignore_cleanup_errors=True) as folder:
        settings = Settings.from_environment({"INGESTION_HOME": folder, "DATABASE_URL": ""})
        with database(settings) as environment:
            owner = environment["DATABASE_URL"].replace("pipeline_worker@", "postgres@", 1)
            _measure(environment, owner, seconds, copy_rows, soak_seconds, rounds)


def _measure(
    environment: dict[str, str], owner: str, seconds: float, copy_rows: int, soak_seconds: float, rounds: int
) -> None:
    copies, ours, singles, empties = [], [], [], []
    with service("intake", environment, port=INTAKE_PORT) as intake:
        for number in range(rounds):
            copies.append(copy_rate(owner, copy_rows))
            ours.append(_events(f"ours-{number}", BATCH, seconds, INTAKE_PORT))
            singles.append(_events(f"single-{number}", 1, seconds, INTAKE_PORT, connections=SINGLE_CONNECTIONS))
            load = drive_in_process(
                f"{__name__}:empty", port=INTAKE_PORT, seconds=seconds, connections=SINGLE_CONNECTIONS
            )
            empties.append(load.per_second)
        limit, rate, single, nothing = (sorted(rates)[rounds // 2] for rates in (copies, ours, singles, empties))
        print(f"limit: binary COPY of the same rows and keys  {limit:9,.0f} events/s")
        print(f"ours: intake, batches of {BATCH}               {rate:9,.0f} events/s")
        print(f"    of the COPY            {share(rate / limit, COPY_TARGET)}")
        print(f"limit: an empty endpoint, same server         {nothing:9,.0f} requests/s")
        print(f"ours: intake, one event a request             {single:9,.0f} requests/s")
        print(f"    of the empty endpoint  {share(single / nothing, EMPTY_TARGET)}")
        half = drive_in_process(
            f"{__name__}:batches",
            ["half", BATCH],
            port=INTAKE_PORT,
            seconds=seconds,
            connections=CONNECTIONS,
            per_second=rate / BATCH / 2,
        )
        verdict = "met" if half.latency_ms(0.99) <= P99_TARGET_MS else "MISSED"
        print(f"latency at half of that: p50 {half.latency_ms(0.5):.1f} ms, p99 {half.latency_ms(0.99):.1f} ms")
        print(f"    target p99 at most {P99_TARGET_MS} ms  {verdict}")
        before = memory_mb(intake)
        soak = _events("soak", BATCH, soak_seconds, INTAKE_PORT)
        growth = memory_mb(intake) / before
        verdict = "met" if growth <= GROWTH_TARGET else "MISSED"
        print(f"memory after {soak_seconds:,.0f} s at {soak:,.0f} events/s: {memory_mb(intake):,.0f} MB")
        print(f"    ratio {growth:.2f} x of before  target at most {GROWTH_TARGET} x  {verdict}")
    plain_url = {"PLAIN_URL": owner.replace("postgresql://", "postgresql+psycopg://", 1)}
    with service("plain", environment | plain_url, port=PLAIN_PORT):
        peer = _events("plain", BATCH, seconds, PLAIN_PORT)
    print(f"peer: FastAPI model, SQLAlchemy insert and commit {peer:9,.0f} events/s")
    print(f"    over the peer          {faster(rate / peer, PLAIN_TARGET)}")


def _events(run: str, size: int, seconds: float, port: int, *, connections: int = CONNECTIONS) -> float:
    """Events per second that were acknowledged."""
    load = drive_in_process(f"{__name__}:batches", [run, size], port=port, seconds=seconds, connections=connections)
    if load.broken or set(load.statuses) != {202}:
        raise RuntimeError(f"not every request was acknowledged: {load}")
    return load.per_second * size


if __name__ == "__main__":
    main()
