"""The walk of an event: sent over HTTP, synced to the lake, aggregated, shown; and again when it comes late.

The intake is a process of its own; sensors and jobs are those of the code location, over the same stores.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ingestion_pipeline.definitions import defs
from ingestion_pipeline.domains.events.automation import events_derived_sensor, events_sync_sensor
from ingestion_pipeline.domains.events.checks import accounts
from ingestion_pipeline.orchestration import derived
from ingestion_pipeline.orchestration.partitions import DAILY, WEEKLY, partition_length, tagged_window
from ingestion_pipeline_tests.flows.intake_process import batch_of
from ingestion_pipeline_tests.intake.process import REAL, TOKEN, Intake, running
from ingestion_pipeline_tests.pipeline import Pipeline

NOW = datetime.now(UTC)
DAY = NOW.date() - timedelta(days=10)  # a day of a week that is over
ROUNDS = 4  # of the sensor, until it has nothing more to ask for


@pytest.fixture
def intake(database_url: str, tmp_path: Path) -> Iterator[Intake]:
    with running(database_url.replace("postgres@", "pipeline_intake@", 1), tmp_path, REAL) as server:
        yield server


@pytest.fixture
def walk(
    pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pipeline]:
    """The pipeline with an instance of its own, on which nothing was ever built; no day ends while it walks."""
    monkeypatch.setattr(derived, "utc_now", lambda: NOW)
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance:
        yield replace(pipeline, instance=instance)


def at(hour: int, minute: int = 0) -> str:
    return datetime(DAY.year, DAY.month, DAY.day, hour, minute, tzinfo=UTC).isoformat()


def paid(user: str, amount: float, ts: str) -> dict[str, Any]:
    return {
        "type": "payment.completed",
        "userId": user,
        "ts": ts,
        "data": {"payment_id": f"{user} {ts}", "amount": amount},
    }


def sensed(walk: Pipeline, sensor: dg.SensorDefinition) -> list[dg.RunRequest]:
    """What a sensor asks for when it ticks now."""
    resources = {"postgres": walk.postgres} if sensor is events_sync_sensor else {}
    repository = defs.get_repository_def()
    answer: Any = sensor(
        dg.build_sensor_context(instance=walk.instance, repository_def=repository, resources=resources)
    )
    if isinstance(answer, dg.SkipReason):
        return []
    return answer if isinstance(answer, list) else [answer]


def do(walk: Pipeline, request: dg.RunRequest, job: str) -> tuple[str, date, date]:
    """Runs what a sensor asked for: the job, its first and last partition."""
    partitions = WEEKLY if job == "events_weekly_job" else DAILY
    window = tagged_window(request.tags, partitions)
    assert window is not None
    first, last = window.first_day, (window.end - partition_length(partitions)).date()
    run = walk.run(job, first, last)
    assert [] == walk.problems(run)
    assert [] == [check for check in run.get_asset_check_evaluations() if not check.passed]
    return job, first, last


def settle(walk: Pipeline) -> set[tuple[str, date, date]]:
    """Syncs what waits and derives what is outdated, as the sensors ask for it: the derived runs."""
    (request,) = sensed(walk, events_sync_sensor)
    do(walk, request, "events_sync_job")
    assert [] == sensed(walk, events_sync_sensor)
    done = {do(walk, it, str(it.job_name)) for _ in range(ROUNDS) for it in sensed(walk, events_derived_sensor)}
    assert [] == sensed(walk, events_derived_sensor)
    return done


def aggregations(intake: Intake, period: str, event_type: str) -> list[dict[str, Any]]:
    monday = DAY - timedelta(days=DAY.weekday())
    query = {"period": period, "type": event_type, "from": f"{monday}T00:00:00Z"}
    answer = intake.get("/api/events/aggregations", params=query, headers=TOKEN)
    assert 200 == answer.status_code, answer.text
    return list(answer.json()["aggregations"])


def figures(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(it["bucketStart"][:13], it["count"], it["uncountedCount"], it["uniqueUsers"]) for it in rows]


def realtime(intake: Intake) -> dict[tuple[str, str], float]:
    """Events of DAY on the dashboard, by metric and type."""
    shown = intake.get("/api/events/dashboard", headers=TOKEN).json()["realtime"]
    return {(it["name"], it["dimensions"]["type"]): it["value"] for it in shown if it["name"] == "events_per_day"}


def test_an_event_walks_from_http_to_the_dashboard_and_a_late_one_makes_its_day_anew(
    intake: Intake, walk: Pipeline
) -> None:
    """Counted once whatever was sent twice; the late event changes its day, its week and no other."""
    payments = [paid("u1", 10.0, at(9)), paid("u2", 30.0, at(9, 30)), paid("u1", 5.0, at(11))]
    views = [{"type": "VIEW", "ruleId": "r1", "ts": at(9, minute)} for minute in (0, 5, 20)]
    keyed = [{**it, "idempotencyKey": str(number)} for number, it in enumerate([*payments, *views])]
    answer = intake.post("/ingest/events", batch_of(*keyed, {"type": "NO-SUCH"}))
    assert (6, 1) == (answer.json()["accepted"], answer.json()["rejected"])
    assert 6 == intake.post("/api/events", batch_of(*keyed)).json()["duplicates"]
    assert ["pending"] * 6 == statuses(intake)

    monday = DAY - timedelta(days=DAY.weekday())
    derived = {("events_changed_days_job", DAY, DAY), ("events_weekly_job", monday, monday)}
    assert derived == settle(walk)
    assert ["processed"] * 6 == statuses(intake)
    hour = f"{DAY}T"
    assert [(hour + "11", 1, 0, 1), (hour + "09", 2, 0, 2)] == figures(
        aggregations(intake, "hourly", "payment.completed")
    )
    (day,) = aggregations(intake, "daily", "payment.completed")
    assert [(hour + "00", 3, 0, 2)] == figures([day])
    amount = day["properties"]["amount"]
    assert (3, 45.0, 5.0, 30.0, 10.0) == tuple(amount[name] for name in ("count", "sum", "min", "max", "p50"))
    assert [(hour + "00", 2, 1, 0)] == figures(aggregations(intake, "daily", "VIEW"))
    assert {("events_per_day", "payment.completed"): 3.0, ("events_per_day", "VIEW"): 2.0} == realtime(intake)

    late = intake.post("/api/events", batch_of({**paid("u3", 100.0, at(23)), "idempotencyKey": "late"}))
    assert 1 == late.json()["accepted"]
    assert derived == settle(walk)
    assert [(hour + "00", 4, 0, 3)] == figures(aggregations(intake, "daily", "payment.completed"))
    assert [(f"{monday}T00", 4, 0, 3)] == figures(aggregations(intake, "weekly", "payment.completed"))
    assert 4.0 == realtime(intake)["events_per_day", "payment.completed"]

    today = datetime.now(UTC).date()
    found = accounts(walk.postgres, walk.lake, today - timedelta(days=1), today)
    assert [True] * len(found) == [account.is_balanced for account in found]
    totals = [
        sum(getattr(account, name) for account in found) for name in ("received", "stored", "duplicate", "rejected")
    ]
    assert [14, 7, 6, 1] == totals


def statuses(intake: Intake) -> list[str]:
    answer = intake.get("/api/events", headers=TOKEN).json()
    return [event["processingStatus"] for event in answer["events"]]
