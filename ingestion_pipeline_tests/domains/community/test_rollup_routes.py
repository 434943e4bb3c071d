"""The endpoints of rollups through a real server: bodies, answers, refusals; the job behind them is this test's."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.storage.jobs import JobQueue
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.domains.community.served_rollups import SERVED
from ingestion_pipeline_tests.intake.process import CRON_SECRET, TOKEN, Intake, running

CRON = {"x-cron-secret": CRON_SECRET, "content-type": "application/json"}
RULE = "insert into community.rule_metrics_daily values ('2026-03-02', 'r 1ä', 'ada', 2, 1, 0, 0, 1, 0, 2, 7, 4.25, 3)"
AUTHOR = (
    "insert into community.author_metrics_daily values "
    "('2026-03-02', 'ada', 1, 2, 1, 0, 0, 1, 0, 7, 4.25, 1, '{\"USD\": \"12.50\"}')"
)
EXCLUDED = "insert into community.excluded_events_daily values ('2026-03-02', 'bot', 3, 3, 0, 0, 0, 0)"


@pytest.fixture
def intake(database_url: str, tmp_path: Path) -> Iterator[Intake]:
    url = database_url.replace("postgres@", "pipeline_intake@", 1)
    with running(url, tmp_path, SERVED, JOB_WAIT_SECONDS="60") as found:
        yield found


def roll(intake: Intake, body: Any = None, **query: Any) -> httpx.Response:
    content = b"" if body is None else json.dumps(body).encode()
    return intake.client.post("/cron/rollup", content=content, headers=CRON, params=query)


def test_a_rollup_is_a_job_that_is_waited_for(intake: Intake, postgres: Postgres) -> None:
    """Its output is the answer; who asked for what is in the audit log. Asked again meanwhile, it is the same job."""
    queue, output = JobQueue(postgres), {"ok": True, "date": "2026-03-02", "daysProcessed": 0, "days": []}
    with ThreadPoolExecutor() as pool:
        asked = [
            pool.submit(roll, intake, {"date": "2026-03-02T00:00:00Z", "dryRun": True, "daysToProcess": 3})
            for _ in range(2)
        ]
        (job,) = eventually(lambda: queue.claim("w", {"rollup": 1}))
        log = "select actor, action, details from operations.audit_log"

        def audited() -> list[Any]:
            with postgres.transaction() as connection:
                return connection.execute(log).fetchall()

        eventually(lambda: len(audited()) == 2)
        queue.settle(job.attempt_id, "completed", output=output)
        answers = [it.result() for it in asked]
    said = {"date": "2026-03-02", "dryRun": True, "daysToProcess": 3}
    assert said == job.input_data
    assert [("scheduler", "rollup", said)] * 2 == audited()
    assert [(200, output)] * 2 == [(it.status_code, it.json()) for it in answers]
    assert not queue.claim("w", {"rollup": None})


def test_without_a_body_it_is_the_last_week(intake: Intake, postgres: Postgres) -> None:
    """Not waited for, it is accepted; the defaults are those of the seed."""
    before = str(utc_now().date())
    answer = roll(intake, wait=0)
    assert (202, "accepted") == (answer.status_code, answer.json()["status"])
    (job,) = JobQueue(postgres).claim("w", {"rollup": None})
    assert before <= job.input_data["date"] <= str(utc_now().date())
    assert (False, 7) == (job.input_data["dryRun"], job.input_data["daysToProcess"])


def test_what_is_wrong_is_refused_by_name(intake: Intake) -> None:
    """And nothing is asked for."""
    wrong = {
        "daysToProcess": [{"daysToProcess": 0}, {"daysToProcess": 31}, {"daysToProcess": "7"}],
        "date": [{"date": "yesterday"}, {"date": "2026-03-02T00:00:00"}, {"date": "9999-01-01"}, {"date": 1}],
        "dryRun": [{"dryRun": "yes"}],
        "other": [{"other": 1}],
    }
    for field, bodies in wrong.items():
        for body in bodies:
            answer = roll(intake, body)
            assert (422, field) == (answer.status_code, answer.json()["errors"][0]["field"]), answer.text
    assert 400 == intake.client.post("/cron/rollup", content=b"{", headers=CRON).status_code
    assert 401 == intake.client.post("/cron/rollup", headers={**CRON, "x-cron-secret": "no"}).status_code
    assert 401 == intake.client.get("/api/community/exclusions").status_code


def test_metrics_of_a_rule_and_of_an_author_are_read_by_day(intake: Intake, postgres: Postgres) -> None:
    """Amounts stay text; days are included at both ends; who has none has none."""
    for statement in (RULE, AUTHOR, EXCLUDED):
        with postgres.transaction() as connection:
            connection.execute(statement.encode())
    days = {"from": "2026-03-01", "to": "2026-03-02"}

    def read(path: str, **query: str) -> Any:
        answer = intake.client.get(path, headers=TOKEN, params=query or days)
        assert 200 == answer.status_code, answer.text
        return answer.json()

    rule = read("/api/community/rules/r%201%C3%A4/metrics")
    assert {
        "ruleId": "r 1ä",
        **days,
        "days": [
            {
                "day": "2026-03-02",
                "authorId": "ada",
                "views": 2,
                "copies": 1,
                "saves": 0,
                "forks": 0,
                "votesUp": 1,
                "votesDown": 0,
                "uniqueUsers": 2,
                "points": 7.0,
                "trendingScore": 4.25,
                "excludedEvents": 3,
            }
        ],
    } == rule
    (author,) = read("/api/community/authors/ada/metrics")["days"]
    assert (1, {"USD": "12.50"}) == (author["donations"], author["donationsNet"])
    assert [{"day": "2026-03-02", "reason": "bot", "events": 3}] == [
        {name: row[name] for name in ("day", "reason", "events")} for row in read("/api/community/exclusions")["days"]
    ]
    assert [] == read("/api/community/rules/unknown/metrics")["days"]
    assert [] == read("/api/community/authors/ada/metrics", **{"from": "2026-03-03", "to": "2026-03-03"})["days"]
    assert [] == read("/api/community/exclusions", to="2026-03-01")["days"]


def test_a_span_of_days_is_bounded(intake: Intake) -> None:
    for query in (
        {"from": "2026-03-02", "to": "2026-03-01"},
        {"from": "2020-01-01", "to": "2026-03-01"},
        {"to": "0001-01-01"},
        {"from": "tomorrow"},
        {"to": "2026-03-02T00:00:00Z"},
        {"limit": "1"},
    ):
        answer = intake.client.get("/api/community/exclusions", headers=TOKEN, params=query)
        assert 422 == answer.status_code, (query, answer.text)
    assert 422 == intake.client.get(f"/api/community/rules/{'r' * 201}/metrics", headers=TOKEN).status_code
