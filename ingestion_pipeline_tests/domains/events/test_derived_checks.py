"""Every claim about the derived tables: rows that break it, and rows that do not."""

from datetime import timedelta
from functools import partial
from typing import Any

import pandas as pd
import pytest

from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.events.derived_checks import (
    BUCKETS,
    CHECKS,
    disordered_users,
    growing_steps,
    impossible_cohorts,
    impossible_counts,
    impossible_properties,
    misplaced_events,
    repeated_users,
    resized_cohorts,
    unequal_sums,
)
from ingestion_pipeline.domains.events.tables import (
    ACTIVE_USERS,
    EVENT_AGGREGATIONS_DAILY,
    EVENT_AGGREGATIONS_HOURLY,
    EVENT_AGGREGATIONS_WEEKLY,
)
from ingestion_pipeline.orchestration.checks import examples
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.events.factories import MONDAY

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FIRST = MONDAY.date()
FIGURES = {"count": 4, "sum": 10.0, "min": 1.0, "max": 4.0, "p50": 2.5, "p95": 3.85}


def make_bucket(**over: Any) -> dict[str, Any]:
    """An hour of ten views by three users."""
    start = over.get("bucket_start", MONDAY)
    return {
        "bucket_start": start,
        "event_type": "VIEW",
        "event_category": "interaction",
        "event_count": 10,
        "uncounted_count": 2,
        "unique_users": 3,
        "unique_sessions": 4,
        "first_event_at": start,
        "last_event_at": start + timedelta(minutes=59),
        "properties": {},
        **over,
    }


def broken(claim: Any, *rows: dict[str, Any], **options: Any) -> list[int]:
    """The places of the rows that break `claim`."""
    return claim(pd.DataFrame(list(rows)), **options).index.tolist()


@pytest.mark.parametrize(
    "over",
    [{"unique_users": 11}, {"unique_sessions": 11}, {"event_count": 0}, {"event_count": 0, "uncounted_count": 0}],
)
def test_more_users_than_events_are_found(over: dict[str, int]) -> None:
    """Or sessions, or a bucket of nothing."""
    assert [1] == broken(impossible_counts, make_bucket(), make_bucket(**over))


def test_as_many_users_as_events_are_possible() -> None:
    """And none, where only uncounted events are."""
    nobody = make_bucket(event_count=0, unique_users=0, unique_sessions=0)
    assert [] == broken(impossible_counts, make_bucket(unique_users=10, unique_sessions=10), nobody)


@pytest.mark.parametrize(
    "over",
    [
        {"first_event_at": MONDAY - timedelta(microseconds=1)},
        {"last_event_at": MONDAY + HOUR},
        {"first_event_at": MONDAY + timedelta(minutes=2), "last_event_at": MONDAY + timedelta(minutes=1)},
    ],
)
def test_events_outside_their_bucket_are_found(over: dict[str, Any]) -> None:
    """Before it, after it, or the last before the first."""
    bucket = BUCKETS[EVENT_AGGREGATIONS_HOURLY.name]
    assert [1] == broken(misplaced_events, make_bucket(), make_bucket(**over), bucket=bucket)


@pytest.mark.parametrize(
    "over",
    [
        {"min": 2.6},
        {"p50": 3.9},
        {"p95": 4.1},
        {"max": 3.0},
        {"sum": 17.0},
        {"sum": 3.0},
        {"count": 0},
        {"count": 11},
    ],
)
def test_figures_that_contradict_each_other_are_found(over: dict[str, float]) -> None:
    """One property is enough."""
    good, bad = {"amount": FIGURES}, {"amount": FIGURES, "rating": FIGURES | over}
    rows = [make_bucket(properties=good), make_bucket(properties=bad), make_bucket()]
    assert [1] == broken(impossible_properties, *rows)


def test_rounding_is_no_contradiction() -> None:
    """The mean of three equal numbers may differ from them in the last digit."""
    equal = {"count": 3, "sum": 0.30000000000000004, "min": 0.1, "max": 0.1, "p50": 0.1, "p95": 0.1}
    assert [] == broken(impossible_properties, make_bucket(properties={"amount": equal}))


@pytest.mark.parametrize("over", [{"new_users": 3}, {"active_users": 6}, {"active_users_7_days": 10}])
def test_users_of_a_day_that_are_missing_in_the_longer_span_are_found(over: dict[str, int]) -> None:
    """New ≤ day ≤ seven days ≤ twenty-eight."""
    good = {"new_users": 2, "active_users": 2, "active_users_7_days": 5, "active_users_28_days": 9}
    assert [1] == broken(disordered_users, good, good | over)


def test_a_step_with_more_users_than_the_one_before_is_found() -> None:
    """Within its day and funnel, whatever the order of rows."""
    rows = [
        {"day": FIRST + day * DAY, "funnel": funnel, "step": step, "users": users}
        for day, funnel, step, users in [(0, "a", 2, 5), (0, "a", 1, 5), (0, "b", 1, 1), (1, "a", 1, 3), (1, "a", 2, 4)]
    ]
    assert [4] == broken(growing_steps, *rows)


def make_cohort(**over: Any) -> dict[str, Any]:
    return {"cohort_week": FIRST, "weeks_since": 1, "cohort_users": 5, "retained_users": 3, **over}


def test_impossible_cohorts_are_found() -> None:
    """More come back than there are; not all are there in the first week."""
    rows = [make_cohort(), make_cohort(retained_users=6), make_cohort(weeks_since=0, retained_users=4)]
    assert [1, 2] == broken(impossible_cohorts, *rows, make_cohort(weeks_since=0, retained_users=5))


def test_a_cohort_with_two_sizes_is_found() -> None:
    """With all its rows; which is wrong is for people to say."""
    rows = [make_cohort(), make_cohort(cohort_users=6), make_cohort(cohort_week=FIRST + 7 * DAY)]
    assert [0, 1] == broken(resized_cohorts, *rows)


def store(postgres: Postgres, table: Any, *rows: dict[str, Any]) -> None:
    frame = pd.DataFrame([make_bucket(**row) for row in rows]).assign(properties="{}")
    postgres.replace(table, frame, Window.of_days(FIRST, FIRST + 30 * DAY))


def test_sums_that_differ_are_found(postgres: Postgres) -> None:
    """Of counted or uncounted events, of a type that only one table has; equal ones and those outside are not."""
    days = [
        {"event_type": "equal", "event_count": 20, "uncounted_count": 4},
        {"event_type": "more", "event_count": 11},
        {"event_type": "uncounted", "uncounted_count": 3},
        {"event_type": "only a day"},
        {"event_type": "outside", "bucket_start": MONDAY + DAY},
    ]
    hours = [
        {"event_type": "equal"},
        {"event_type": "equal", "bucket_start": MONDAY + 23 * HOUR},
        {"event_type": "more"},
        {"event_type": "uncounted"},
        {"event_type": "only an hour"},
        {"event_type": "outside", "bucket_start": MONDAY + DAY, "event_count": 1},
    ]
    store(postgres, EVENT_AGGREGATIONS_DAILY, *days)
    store(postgres, EVENT_AGGREGATIONS_HOURLY, *hours)
    found = unequal_sums(postgres, EVENT_AGGREGATIONS_HOURLY, EVENT_AGGREGATIONS_DAILY, Window.of_days(FIRST, FIRST))
    expected = [("more", 11, 10), ("only a day", 10, None), ("only an hour", None, 10), ("uncounted", 10, 10)]
    assert expected == [(it["event_type"], it["event_count"], it["summed_event_count"]) for it in found]


def test_days_add_up_to_weeks_from_monday(postgres: Postgres) -> None:
    """Sunday belongs to the week that ends."""
    days = [{"bucket_start": MONDAY + number * DAY} for number in range(8)]
    weeks = [
        {"event_count": 70, "uncounted_count": 14},
        {"bucket_start": MONDAY + 7 * DAY, "event_count": 9},
    ]
    store(postgres, EVENT_AGGREGATIONS_DAILY, *days)
    store(postgres, EVENT_AGGREGATIONS_WEEKLY, *weeks)
    window = Window.of_days(FIRST, FIRST + 13 * DAY)
    found = unequal_sums(postgres, EVENT_AGGREGATIONS_DAILY, EVENT_AGGREGATIONS_WEEKLY, window)
    assert [(MONDAY + 7 * DAY, 9, 10)] == [
        (it["bucket_start"], it["event_count"], it["summed_event_count"]) for it in found
    ]


def test_examples_name_nobody() -> None:
    """Dagster keeps them, out of the reach of an erasure."""
    day = {"user_id": "CANARY", "is_new": True, "day": FIRST}
    wrong = make_bucket(unique_users=11, last_event_at=MONDAY + DAY, properties={"CANARY": {**FIGURES, "min": 9}})
    claims = (impossible_counts, impossible_properties, partial(misplaced_events, bucket=HOUR))
    buckets = [examples(EVENT_AGGREGATIONS_HOURLY, claim(pd.DataFrame([wrong]))) for claim in claims]
    for shown in (examples(ACTIVE_USERS, repeated_users(pd.DataFrame([day, day]))), *buckets):
        assert str(FIRST) in str(shown["examples"].value)
        assert "CANARY" not in str(shown["examples"].value)


def test_every_derived_table_has_checks_named_after_it() -> None:
    """One at least, and no name is there twice."""
    specs = [spec for checks in CHECKS for spec in checks.check_specs]
    assert all(spec.name.startswith(f"{spec.asset_key.path[-1]}_") for spec in specs)
    assert len(specs) == len({spec.name for spec in specs}) == 16
    assert 7 == len({spec.asset_key for spec in specs})
