"""What the job `rollup` does: builds days as the schedule does, or computes them and writes nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

import dagster as dg

from ingestion_pipeline.core.jobs import JobType
from ingestion_pipeline.domains.community.abuse import limits_of
from ingestion_pipeline.domains.community.rollup_automation import community_daily_job
from ingestion_pipeline.domains.community.rollup_days import (
    first_rollable_day,
    locked_day,
    rolled_authors,
    rolled_rules,
)
from ingestion_pipeline.domains.community.rollup_jobs import ROLLUP, Rollup, last_day
from ingestion_pipeline.domains.community.rollup_rows import Changes, replaced
from ingestion_pipeline.domains.community.rollup_tables import (
    AUTHOR_METRICS_DAILY,
    EXCLUDED_EVENTS_DAILY,
    RULE_METRICS_DAILY,
)
from ingestion_pipeline.orchestration.jobs import JOB_TAG, JobContext, JobHandler
from ingestion_pipeline.orchestration.partitions import range_tags

RECENT = 100
"""Builds of a day among which ours is looked for."""
_CHANGES = ("inserted", "updated", "deleted", "unchanged")
Told = Mapping[str, Any]
_NOTHING: Told = {}
"""Of a day that was left as it is: its events have expired between the question and the run."""


def rollup(context: JobContext, given: Rollup) -> dict[str, Any]:
    """Builds the days, oldest first, and says what that changed, or would; S4's answer.

    Days before INGESTION_FIRST_DAY, and those of which events have expired, are left as they are.
    """
    last = last_day(given)
    first = max(last - timedelta(days=given.days_to_process - 1), context.settings.ingestion_first_day)
    first = max(first, first_rollable_day(context.postgres))
    days = [first + timedelta(days=i) for i in range((last - first).days + 1)]
    built = _planned(context, days) if given.dry_run else _built(context, days)
    found = list(built)
    return {
        "ok": True,
        "date": str(last),
        "daysProcessed": len(found),
        "dryRun": given.dry_run,
        "days": found,
    }


HANDLERS: Mapping[JobType, JobHandler] = {ROLLUP: rollup}


def _planned(context: JobContext, days: Sequence[date]) -> Iterator[dict[str, Any]]:
    limits = limits_of(context.settings)
    for day in days:
        context.stop_if_cancelled()
        with locked_day(context.postgres, day) as connection:
            rollup = rolled_rules(connection, context.lake, limits, day)
            exclusions = replaced(connection, EXCLUDED_EVENTS_DAILY, rollup.excluded, day, is_dry=True)
            rules = replaced(connection, RULE_METRICS_DAILY, rollup.metrics, day, is_dry=True)
            rows = rolled_authors(connection, context.lake, rollup.metrics, day)
            authors = replaced(connection, AUTHOR_METRICS_DAILY, rows, day, is_dry=True)
        told = {"events": rollup.events, "excluded": rollup.excluded_counts, "exclusions": asdict(exclusions)}
        yield _day(day, told, rules, authors)


def _built(context: JobContext, days: Sequence[date]) -> Iterator[dict[str, Any]]:
    if not days:
        return
    context.run(community_daily_job.name, tags=range_tags(days[0], days[-1]))
    runs = {run.run_id for run in context.instance.get_runs(dg.RunsFilter(tags={JOB_TAG: context.job.job_id}))}
    tables = (RULE_METRICS_DAILY, AUTHOR_METRICS_DAILY)
    rules, authors = (_told(context.instance, table.asset_key, days, runs) for table in tables)
    for day in days:
        told = rules.get(day, _NOTHING)
        yield _day(day, told, _changes(told), _changes(authors.get(day, _NOTHING)))


def _told(
    instance: dg.DagsterInstance, key: Sequence[str], days: Sequence[date], runs: set[str]
) -> dict[date, dict[str, Any]]:
    """What an asset said of each day when one of `runs` built it last."""
    found: dict[date, dict[str, Any]] = {}
    for day in days:
        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(list(key)), asset_partitions=[str(day)])
        for record in instance.fetch_materializations(wanted, limit=RECENT).records:
            materialization = record.asset_materialization
            if record.run_id in runs and materialization is not None and day not in found:
                found[day] = {name: value.value for name, value in materialization.metadata.items()}
    return found


def _changes(told: Told) -> Changes:
    return Changes(**{name: int(told.get(name, 0)) for name in _CHANGES})


def _day(day: date, told: Told, rules: Changes, authors: Changes) -> dict[str, Any]:
    return {
        "day": str(day),
        "rules": rules.inserted + rules.updated + rules.unchanged,
        "authors": authors.inserted + authors.updated + authors.unchanged,
        "events": told.get("events", 0),
        "excluded": told.get("excluded", {}),
        "changes": {
            "rules": asdict(rules),
            "authors": asdict(authors),
            "exclusions": asdict(_changes(told.get("exclusions", _NOTHING))),
        },
    }
