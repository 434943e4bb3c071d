"""The walk of a view and of a donation: sent over HTTP, rolled up, ranked, told; and again when something comes late.

The intake is a process of its own; sensors and jobs are those of the code location, over the same stores. Nothing here
says what has been built: only runs do.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ingestion_pipeline.definitions import defs
from ingestion_pipeline.domains.community.content_automation import community_rules_sensor, community_search_sensor
from ingestion_pipeline.domains.community.donations_automation import community_donations_sensor
from ingestion_pipeline.domains.community.leaderboard_automation import community_leaderboards_sensor
from ingestion_pipeline.domains.community.rollup_automation import community_rollups_sensor
from ingestion_pipeline.domains.events.automation import events_sync_sensor
from ingestion_pipeline.orchestration import derived
from ingestion_pipeline.orchestration.partitions import DAILY, tagged_window
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.domains.community.stripe_events import (
    METADATA,
    SECRETS,
    WEBHOOK,
    body_of,
    charge_refunded,
    intent,
    session,
    signed,
)
from ingestion_pipeline_tests.flows.intake_process import batch_of
from ingestion_pipeline_tests.intake.process import REAL, TOKEN, Intake, running
from ingestion_pipeline_tests.pipeline import Pipeline

NOW = datetime.now(UTC)
DAY = NOW.date() - timedelta(days=3)
YESTERDAY = DAY + timedelta(days=2)
SENSORS = (
    events_sync_sensor,
    community_donations_sensor,
    community_rules_sensor,
    community_search_sensor,
    community_rollups_sensor,
    community_leaderboards_sensor,
)
MOST_ROUNDS = 10


@pytest.fixture
def intake(database_url: str, tmp_path: Path) -> Iterator[Intake]:
    url = database_url.replace("postgres@", "pipeline_intake@", 1)
    with running(url, tmp_path, REAL, **SECRETS) as server:
        yield server


@pytest.fixture
def walk(
    pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pipeline]:
    """The pipeline with an instance of its own, on which nothing was ever built; no day ends while it walks."""
    monkeypatch.setattr(derived, "utc_now", lambda: NOW)
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance:
        yield replace(pipeline, instance=instance)


def settle(walk: Pipeline) -> Counter[tuple[str, date | None, date | None]]:
    """Does what the sensors ask for until none of them asks for anything more: each run with its first and last day."""
    done: Counter[tuple[str, date | None, date | None]] = Counter()
    for _ in range(MOST_ROUNDS):
        before = done.total()
        for sensor in SENSORS:
            for request in sensed(walk, sensor):
                job = request.job_name or sensor.job.name
                window = tagged_window(request.tags, DAILY)
                first, last = (window.first_day, window.last_day) if window else (None, None)
                run = walk.run(job, first, last)
                assert [] == walk.problems(run)
                assert [] == [check for check in run.get_asset_check_evaluations() if not check.passed]
                done[job, first, last] += 1
        if done.total() == before:
            return done
    raise AssertionError(f"the sensors ask for ever: {done}")


def sensed(walk: Pipeline, sensor: dg.SensorDefinition) -> list[dg.RunRequest]:
    """What a sensor asks for when it ticks now."""
    resources = {"postgres": walk.postgres} if "postgres" in sensor.required_resource_keys else {}
    repository = defs.get_repository_def()
    answer: Any = sensor(
        dg.build_sensor_context(instance=walk.instance, repository_def=repository, resources=resources)
    )
    if isinstance(answer, dg.SkipReason):
        return []
    return answer if isinstance(answer, list) else [answer]


def at(hour: int, minute: int = 0) -> datetime:
    return datetime(DAY.year, DAY.month, DAY.day, hour, minute, tzinfo=UTC)


def event(kind: str, user: str, hour: int, **over: Any) -> dict[str, Any]:
    """Of the rule r1, from an address of the user's own."""
    address = f"203.0.113.{len(user)}"
    return {
        "type": kind,
        "ruleId": "r1",
        "userId": user,
        "ts": at(hour).isoformat(),
        "idempotencyKey": f"{kind} {user} {hour}",
        "context": {
            "ip": address,
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        },
        **over,
    }


def pay(intake: Intake, *events: dict[str, Any]) -> None:
    """As Stripe would have on DAY at noon."""
    for number, it in enumerate(events):
        body = body_of({**it, "created": int(at(12).timestamp()) + number})
        assert 200 == intake.client.post(WEBHOOK, content=body, headers=signed(body)).status_code


def board(intake: Intake, **asked: Any) -> list[tuple[Any, ...]]:
    answer = intake.get("/api/leaderboards", params={"day": str(DAY), **asked}, headers=TOKEN)
    assert 200 == answer.status_code, answer.text
    return [(it["subjectId"], it["points"], it["views"]) for it in answer.json()["entries"]]


def author_days(intake: Intake) -> list[tuple[Any, ...]]:
    answer = intake.get(f"/api/community/authors/ada/metrics?from={DAY}&to={YESTERDAY}", headers=TOKEN)
    assert 200 == answer.status_code, answer.text
    return [(it["day"], it["views"], it["donations"], it["donationsNet"]) for it in answer.json()["days"]]


def test_views_and_donations_walk_to_the_boards_and_late_ones_make_their_day_anew(
    intake: Intake, walk: Pipeline
) -> None:
    """Each change has each table of its day built once, and of no other day but the boards that look back on it."""
    for job in ("community_rules_job", "community_daily_job", "community_leaderboards_job"):  # as their schedules do
        assert [] == walk.problems(walk.run(job, DAY, NOW.date()))
    published = event("rule.published", "ada", 8, data={"title": "Test first", "tags": ["tdd"], "authorId": "ada"})
    seen = [event("VIEW", "b", 9), event("VIEW", "cc", 10), event("FORK", "cc", 11), event("VOTE", "ada", 12)]
    assert 1 == intake.post("/ingest/events", batch_of(published)).json()["accepted"]
    settle(walk)
    assert 4 == intake.post("/ingest/events", batch_of(*seen)).json()["accepted"]
    given = {**METADATA, "ruleId": "r1", "authorId": ""}
    pay(intake, session(metadata=given), intent(metadata=given))

    done = settle(walk)
    boards = ("community_leaderboards_job", DAY, YESTERDAY)
    of_the_day = {("community_rules_job", DAY, DAY), ("community_daily_job", DAY, DAY), boards}
    assert dict.fromkeys(of_the_day, 1) == {key: times for key, times in done.items() if key in of_the_day}
    assert {"community_rules_job", "community_daily_job", "community_leaderboards_job"} == {
        job for job, first, _ in done if first is not None and first <= YESTERDAY and job != "events_sync_job"
    }
    assert [("r1", 7.0, 2)] == board(intake) == board(intake, scope="TAG", scopeValue="tdd")
    assert [("ada", 7.0, 2)] == board(intake, kind="AUTHOR", period="ALL_TIME")
    assert [(str(DAY), 2, 1, {"USD": "25.00"})] == author_days(intake)
    excluded = intake.get(f"/api/community/exclusions?from={DAY}&to={DAY}", headers=TOKEN).json()["days"]
    assert [("self_vote", 1)] == [(it["reason"], it["events"]) for it in excluded]
    found = intake.get("/api/search?q=testing", headers=TOKEN).json()["results"]
    assert [("rule", "r1", "<mark>Test</mark> first")] == [(it["kind"], it["id"], it["titleHtml"]) for it in found]

    assert 1 == intake.post("/ingest/events", batch_of(event("FORK", "dddd", 23))).json()["accepted"]
    pay(intake, charge_refunded(1000, metadata=given))
    again = settle(walk)
    assert dict.fromkeys(of_the_day, 1) == {key: times for key, times in again.items() if key in of_the_day}
    eventually(lambda: [("r1", 12.0, 2)] == board(intake))  # the intake forgets the old board within a second
    assert [(str(DAY), 2, 1, {"USD": "15.00"})] == author_days(intake)
    assert not settle(walk)
    assert json.loads(intake.get("/health").text)["status"] == "ok"
