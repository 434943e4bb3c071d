"""S4's rollup for a scheduler, and what applications read of rollups: metrics of a rule or an author, exclusions."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import msgspec
from psycopg.rows import dict_row

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.core.ids import digest
from ingestion_pipeline.domains.community import rollup_openapi as openapi
from ingestion_pipeline.domains.community.rollup_jobs import ROLLUP, Rollup, last_day
from ingestion_pipeline.domains.community.rollup_tables import (
    AUTHOR_METRICS_DAILY,
    EXCLUDED_EVENTS_DAILY,
    RULE_METRICS_DAILY,
)
from ingestion_pipeline.intake.bodies import decode
from ingestion_pipeline.intake.endpoints import SCHEDULER, Answer, Call, Endpoint, HttpDomain, json_answer
from ingestion_pipeline.intake.owners import SCHEDULER_OWNER
from ingestion_pipeline.intake.parameters import query_of, refused
from ingestion_pipeline.intake.problems import FieldError
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.intake.waiting import enqueue, output_or_problem, still_working, wait_for, wait_seconds
from ingestion_pipeline.storage.audit import AUDIT, audit_row
from ingestion_pipeline.storage.jobs import NewJob

SCOPE = "community:read"
MAX_BODY_BYTES = 4_096
MOST_DAYS, DAYS_SHOWN = 366, 30
LONGEST_ID = 200
FIRST, LAST = date(2000, 1, 1), date(2099, 12, 31)
_RULE = (
    f"select {', '.join(name for name in RULE_METRICS_DAILY.column_names if name != 'rule_id')} "
    "from community.rule_metrics_daily where rule_id = %s and day between %s and %s order by day"
)
_AUTHOR = (
    f"select {', '.join(name for name in AUTHOR_METRICS_DAILY.column_names if name != 'author_id')} "
    "from community.author_metrics_daily where author_id = %s and day between %s and %s order by day"
)
_EXCLUDED = (
    f"select {', '.join(EXCLUDED_EVENTS_DAILY.column_names)} "
    "from community.excluded_events_daily where day between %s and %s order by day, reason"
)


class DaysQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which days, both included; the last 30 by default."""

    first: date | None = msgspec.field(default=None, name="from")
    last: date | None = msgspec.field(default=None, name="to")


_BODY = msgspec.json.Decoder(Rollup)


def http(services: Services) -> HttpDomain:
    """The part of the intake that rolls days up and shows what came of them."""
    return HttpDomain(endpoints=endpoints(services))


def endpoints(services: Services) -> list[Endpoint]:
    """The domain's endpoints of rollups."""
    rollups = Rollups(services)
    return [
        Endpoint(
            method="POST",
            path="/cron/rollup",
            handler=rollups.roll,
            access=(SCHEDULER,),
            summary="Build the rollups of some days again, or tell what that would change",
            description="Schedules do it hourly in any case. A job that is not finished is joined, not started again.",
            request_schema=openapi.ROLLUP,
            examples=openapi.ROLLUP_EXAMPLES,
            is_body_optional=True,
            max_body_bytes=MAX_BODY_BYTES,
            parameters=[openapi.wait(services.settings.job_wait_seconds)],
            responses=openapi.ROLLUP_RESPONSES,
        ),
        Endpoint(
            method="GET",
            path="/api/community/rules/{rule_id}/metrics",
            handler=rollups.of_rule,
            access=(SCOPE,),
            summary="What counted on a rule, day by day",
            parameters=[openapi.RULE_ID, *openapi.DAYS],
            responses=openapi.RULE_RESPONSES,
        ),
        Endpoint(
            method="GET",
            path="/api/community/authors/{author_id}/metrics",
            handler=rollups.of_author,
            access=(SCOPE,),
            summary="What counted on the rules of an author, and their donations, day by day",
            parameters=[openapi.AUTHOR_ID, *openapi.DAYS],
            responses=openapi.AUTHOR_RESPONSES,
        ),
        Endpoint(
            method="GET",
            path="/api/community/exclusions",
            handler=rollups.exclusions,
            access=(SCOPE,),
            summary="What did not count, and why, day by day",
            parameters=openapi.DAYS,
            responses=openapi.EXCLUSION_RESPONSES,
        ),
    ]


class Rollups:
    """Answers them."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def roll(self, call: Call) -> Answer:
        """POST /cron/rollup."""
        given = decode(call.body, _BODY) if call.body else Rollup()
        seconds = wait_seconds(call, self._services)
        try:
            ROLLUP.check(given, None, self._services.settings)
        except ContractError as error:
            raise refused(FieldError("date", error.expected, error.seen)) from None
        said = {"date": str(last_day(given)), "dryRun": given.dry_run, "daysToProcess": given.days_to_process}
        new = NewJob(
            job_type=ROLLUP.name,
            owner_id=SCHEDULER_OWNER,
            input_data=said,
            unique_key=digest(said),
            max_attempts=ROLLUP.max_attempts,
            request_id=call.request_id,
        )

        async def audit(connection: Any) -> None:
            row = audit_row(actor=call.caller.name, action="rollup", request_id=call.request_id, details=said)
            await connection.execute(AUDIT, row)

        job, _ = await enqueue(self._services, new, before=audit)
        job = await wait_for(self._services, job, seconds)
        result = output_or_problem(job)
        return still_working(job) if result is None else json_answer(200, result)

    async def of_rule(self, call: Call) -> Answer:
        """GET /api/community/rules/{rule_id}/metrics."""
        first, last = _days(call)
        rule_id = _id(call, "rule_id")
        rows = await self._rows(_RULE, [rule_id, first, last])
        return _answer({"ruleId": rule_id}, first, last, rows)

    async def of_author(self, call: Call) -> Answer:
        """GET /api/community/authors/{author_id}/metrics."""
        first, last = _days(call)
        author_id = _id(call, "author_id")
        rows = await self._rows(_AUTHOR, [author_id, first, last])
        return _answer({"authorId": author_id}, first, last, rows)

    async def exclusions(self, call: Call) -> Answer:
        """GET /api/community/exclusions."""
        first, last = _days(call)
        return _answer({}, first, last, await self._rows(_EXCLUDED, [first, last]))

    async def _rows(self, statement: str, parameters: Sequence[object]) -> list[dict[str, Any]]:
        async with self._services.pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return await (await cursor.execute(statement.encode(), parameters)).fetchall()


def _days(call: Call) -> tuple[date, date]:
    query = query_of(call, DaysQuery, max_page=1)
    last = query.last or utc_now().date()
    if not FIRST <= last <= LAST:
        raise refused(FieldError("to", "a day of the years 2000 to 2099", str(last)))
    first = query.first or last - timedelta(days=DAYS_SHOWN - 1)
    if not 0 <= (last - first).days < MOST_DAYS:
        raise refused(FieldError("from", f"a day not after `to`, and at most {MOST_DAYS} days", str(first)))
    return first, last


def _id(call: Call, name: str) -> str:
    found = call.path[name]
    if not 0 < len(found) <= LONGEST_ID or "\0" in found:
        raise refused(FieldError(name, f"1 to {LONGEST_ID} characters"))
    return found


def _answer(of: dict[str, str], first: date, last: date, rows: Sequence[dict[str, Any]]) -> Answer:
    days = [{_camel(name): value for name, value in row.items()} for row in rows]
    return json_answer(200, {**of, "from": first, "to": last, "days": days})


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)
