"""The job `rollup`: a dry run tells what a real one then does, and changes nothing."""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.domains.community import rollup_handlers
from ingestion_pipeline.domains.community.rollup_handlers import HANDLERS, rollup
from ingestion_pipeline.domains.community.rollup_jobs import JOB_TYPES, ROLLUP, Rollup, last_day
from ingestion_pipeline.domains.community.rollup_tables import TABLES
from ingestion_pipeline.orchestration.jobs import Attempt, JobContext
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.cache import MemoryCache
from ingestion_pipeline.storage.jobs import ClaimedJob, JobQueue, NewJob
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.community.rolled import DAY, DEFS, Rolled, event, prepare


@pytest.fixture
def rolled(database_url: str, settings: Settings, postgres: Postgres, lake: Lake) -> Iterator[Rolled]:
    prepare(database_url)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Rolled(settings, postgres, lake, instance)


def done(rolled: Rolled, **given: Any) -> Mapping[str, Any]:
    """The output of a job with this input."""
    queue = JobQueue(rolled.postgres)
    queue.enqueue(NewJob(job_type=ROLLUP.name, owner_id="scheduler", input_data=given))
    (job,) = queue.claim("w", {ROLLUP.name: None})
    output = rollup(context_of(rolled, job), ROLLUP.input_of(given))
    queue.settle(job.attempt_id, "completed", output=output)
    return output


def context_of(rolled: Rolled, job: ClaimedJob) -> JobContext:
    return JobContext(
        job,
        rolled.settings,
        rolled.postgres,
        rolled.lake,
        MemoryCache(),
        rolled.instance,
        DEFS.get_repository_def,
        Attempt(job.attempt_id),
    )


def test_a_dry_run_tells_what_a_real_one_does(rolled: Rolled) -> None:
    """The same answer but for `dryRun`; nothing is written by the first, and nothing is left to do after the second."""
    rolled.author("r1", "ada")
    rolled.store(event(), event("COPY", rule_id="r2"), event("VOTE", user_id="ada"), event(hours=30))
    rolled.run()
    rolled.store(event(), event("COPY"), event("VOTE", user_id="ada"), event(hours=30))
    before = [rolled.rows(table, day) for table in TABLES for day in (DAY, DAY + timedelta(days=1))]
    asked = {"date": "2026-03-03", "daysToProcess": 2}
    dry = done(rolled, **asked, dryRun=True)
    assert before == [rolled.rows(table, day) for table in TABLES for day in (DAY, DAY + timedelta(days=1))]
    none = {"inserted": 0, "updated": 0, "deleted": 0, "unchanged": 0}
    assert {
        "ok": True,
        "date": "2026-03-03",
        "daysProcessed": 2,
        "dryRun": True,
        "days": [
            {
                "day": "2026-03-02",
                "rules": 1,
                "authors": 1,
                "events": 3,
                "excluded": {"self_vote": 1},
                "changes": {
                    "rules": none | {"updated": 1, "deleted": 1},
                    "authors": none | {"updated": 1},
                    "exclusions": none | {"unchanged": 1},
                },
            },
            {
                "day": "2026-03-03",
                "rules": 1,
                "authors": 1,
                "events": 1,
                "excluded": {},
                "changes": {"rules": none | {"inserted": 1}, "authors": none | {"inserted": 1}, "exclusions": none},
            },
        ],
    } == dry
    assert {**dry, "dryRun": False} == done(rolled, **asked)
    again = done(rolled, **asked)
    same = none | {"unchanged": 1}
    assert [
        {"rules": same, "authors": same, "exclusions": same},
        {"rules": same, "authors": same, "exclusions": none},
    ] == [day["changes"] for day in again["days"]]


def test_another_reason_is_a_change(rolled: Rolled) -> None:
    """The rows of rules and authors are the same, those of reasons are not: a dry run says so too."""
    rolled.store(event(device_type="bot"), event(device_type="bot"))
    rolled.run()
    rolled.store(event(device_type="bot"), event(is_counted=False))
    asked = {"date": str(DAY), "daysToProcess": 1}
    (day,) = done(rolled, **asked, dryRun=True)["days"]
    assert {"inserted": 1, "updated": 1, "deleted": 0, "unchanged": 0} == day["changes"]["exclusions"]
    assert {"inserted": 0, "updated": 0, "deleted": 0, "unchanged": 1} == day["changes"]["rules"]
    assert [day] == done(rolled, **asked)["days"]


def test_days_that_expire_before_the_run_are_told_as_left(
    rolled: Rolled, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Midnight passes between what the job asks and what the asset asks."""
    rolled.store(event())
    rolled.run()
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("update events.retention_classes set kept_for = interval '1 day'")
    monkeypatch.setattr(rollup_handlers, "first_rollable_day", lambda _: DAY)
    (day,) = done(rolled, date=str(DAY), daysToProcess=1)["days"]
    assert (0, {}) == (day["events"], day["excluded"])
    assert {0} == {count for it in (day["changes"]["rules"], day["changes"]["exclusions"]) for count in it.values()}


def test_the_example_of_the_seed_is_taken(rolled: Rolled) -> None:
    """Its day is before the first: nothing is built."""
    output = done(rolled, date="2024-01-01T00:00:00Z", dryRun=False, daysToProcess=7)
    assert (True, 0, []) == (output["ok"], output["daysProcessed"], output["days"])


def test_days_before_the_first_are_left_out(rolled: Rolled) -> None:
    first = rolled.settings.ingestion_first_day
    output = done(rolled, date=str(first + timedelta(days=1)), daysToProcess=30, dryRun=True)
    assert (2, [str(first), str(first + timedelta(days=1))]) == (
        output["daysProcessed"],
        [day["day"] for day in output["days"]],
    )


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-03-02", date(2026, 3, 2)),
        ("2026-03-02T00:00:00Z", date(2026, 3, 2)),
        ("2026-03-02T01:00:00+02:00", date(2026, 3, 1)),
    ],
)
def test_a_date_is_a_day_or_an_instant(text: str, day: date) -> None:
    """The UTC day of it."""
    assert day == last_day(Rollup(date=text))


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-02T00:00:00",
        "2026-02-30",
        "today",
        "",
        "0001-01-01T00:00:00+10:00",
        "9999-12-31",
        "٢٠٢٦-٠٣-٠٢",
    ],
)
def test_what_is_no_day_of_ours_is_refused(settings: Settings, text: str) -> None:
    with pytest.raises(ContractError) as caught:
        ROLLUP.check(Rollup(date=text), None, settings)
    assert "input_data.date" == caught.value.field


def test_without_a_date_it_is_today(settings: Settings) -> None:
    ROLLUP.check(Rollup(), None, settings)
    before = utc_now().date()
    assert before <= last_day(Rollup()) <= utc_now().date()
    assert set(JOB_TYPES) == set(HANDLERS)
