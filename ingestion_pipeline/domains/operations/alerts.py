"""When something is wrong: the conditions under which an alert is raised, and under which it is over.

Each condition is a pure function from rows to a Verdict; `judge` reads the rows, `apply` raises and clears. The
thresholds are those of seed S0; a ratio of fewer than its minimum of samples says nothing and raises nothing.

Belongs here: what is wrong. Does not belong here: who is told and when (notices.py), failed runs (automation.py).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import psycopg
import structlog
from sqlalchemy.exc import DBAPIError

from ingestion_pipeline.core.silence import parse_silence
from ingestion_pipeline.domains.operations.health import MIRROR_SILENT_AFTER, listed
from ingestion_pipeline.domains.operations.silence import SilentSource, silent_sources
from ingestion_pipeline.providers.alerts import Words
from ingestion_pipeline.settings import Settings, Severity
from ingestion_pipeline.storage.alerts import Alert, clear_alerts, open_alerts, raise_alerts
from ingestion_pipeline.storage.postgres import Postgres, first_line

JOB_FAILURE_RATIO, JOB_SAMPLE, JOB_WINDOW = 0.05, 20, timedelta(hours=1)
CACHE_HIT_RATIO, CACHE_SAMPLE, CACHE_WINDOW = 0.70, 50, timedelta(hours=1)
API_P95_MS, API_SAMPLE, API_WINDOW = 2000.0, 20, timedelta(minutes=5)
DATA_AGE = timedelta(days=30)
QUEUE_AGE = timedelta(minutes=10)
NAMED = 10  # so many are named in a message
WAITING_PATHS = (
    "/api/ingest",
    "/api/cron",
    "/api/cron/cache-warming",
    "/api/jobs",
    "/api/jobs/{job_id}",
    "/cron/rollup",
    "/cron/rebuild-search",
)

Rows = Sequence[Mapping[str, Any]]

log = structlog.get_logger(__name__)


def _nothing(_: str) -> bool:
    return False


@dataclass(frozen=True)
class Verdict:
    """What is wrong in one family of alerts, by key (`family:name`).

    Open alerts of the family that are not raised are over, except those that `is_undecided`: nothing is known of them.
    """

    family: str
    raised: Mapping[str, Alert] = field(default_factory=dict)
    is_undecided: Callable[[str], bool] = _nothing

    def is_over(self, key: str) -> bool:
        """Is the open alert of `key` one of this family, and over?"""
        return key.startswith(f"{self.family}:") and key not in self.raised and not self.is_undecided(key)


def health(rows: Rows, now: datetime) -> Verdict:
    """RED is critical. UNKNOWN is neither RED nor its end. An evaluation that has stopped is an error of its own."""
    if not rows:
        return Verdict("health")
    row = rows[0]
    if now - row["checked_at"] > MIRROR_SILENT_AFTER:
        text = f"health has not been evaluated since {row['checked_at']:%Y-%m-%d %H:%M:%S} UTC"
        alert = Alert("error", text, {"last_status": row["status"]})
        return Verdict("health", {"health:mirror": alert}, lambda key: key == "health:overall")
    if row["status"] == "RED":
        text = f"health is RED: {_named(row['reasons']) or 'no reason given'}"
        return Verdict("health", {"health:overall": Alert("critical", text, {"since": row["since"].isoformat()})})
    return Verdict("health", is_undecided=lambda key: key == "health:overall" and row["status"] == "UNKNOWN")


def freshness(rows: Rows, now: datetime) -> Verdict:
    """An alert per asset that did not run (Dagster's state) or whose data are old: WARN is a warning, FAIL an error.

    What never ran, and what has not been mirrored lately, says nothing.
    """
    raised: dict[str, Alert] = {}
    undecided: set[str] = set()
    for row in rows:
        asset, key = row["asset_key"], f"freshness:{row['asset_key']}"
        states = {row["state"], row["data_state"]}
        if now - row["checked_at"] > MIRROR_SILENT_AFTER or states == {"UNKNOWN"}:
            undecided.add(key)
        elif worst := next((it for it in ("FAIL", "WARN") if it in states), None):
            severity: Severity = "error" if worst == "FAIL" else "warning"
            raised[key] = Alert(severity, f"freshness of {asset} is {worst}", {"asset": asset, **_freshness_facts(row)})
    return Verdict("freshness", raised, undecided.__contains__)


def data_age(rows: Rows, stale_markets: Rows, now: datetime, *, fundamentals_days: int) -> Verdict:
    """Data of more than 30 days ago, per asset whose data must be recent; of the fundamentals the markets, by
    FUNDAMENTALS_MAX_STALENESS_DAYS.
    """
    raised = {}
    for row in rows:
        is_judged = row["data_state"] != "UNKNOWN"  # a month without a donation is no fault
        if is_judged and row["data_as_of"] is not None and now - row["data_as_of"] > DATA_AGE:
            asset, as_of = row["asset_key"], row["data_as_of"]
            text = f"the newest data of {asset} are of {as_of:%Y-%m-%d}, more than {DATA_AGE.days} days ago"
            raised[f"data:{asset}"] = Alert("warning", text, {"asset": asset})
    if stale_markets:
        names = _named([f"{row['market_slug']} ({row['last_as_of_date']})" for row in stale_markets])
        text = f"{len(stale_markets)} market(s) have no fundamentals of the last {fundamentals_days} days: {names}"
        raised["data:property/fundamentals"] = Alert("warning", text, {"asset": "property/fundamentals"})
    return Verdict("data", raised)


def job_failures(rows: Rows) -> Verdict:
    """More than 5 % of the jobs of the last hour failed, of at least 20."""
    finished, failed = (sum(int(row[name]) for row in rows) for name in ("finished_count", "failed_count"))
    if finished < JOB_SAMPLE or failed / finished <= JOB_FAILURE_RATIO:
        return Verdict("jobs")
    worst = sorted((row for row in rows if row["failed_count"]), key=lambda row: -row["failed_count"])
    text = f"{failed} of {finished} jobs of the last hour failed ({failed / finished:.1%})"
    types = _named([f"{row['job_type']} {row['failed_count']}" for row in worst])
    return Verdict("jobs", {"jobs:failures": Alert("error", text, {"failed_by_type": types})})


def failed_jobs(rows: Rows) -> Verdict:
    """The newest job of a type has failed for good, and not because of what was asked: until one of the type completes.

    A type of which no job ended in the last hour stays as it is.
    """
    raised = {}
    for row in rows:
        if row["newest_status"] == "FAILED" and row["newest_error_kind"] != "permanent":
            text = f"job {row['job_type']} failed: {row['newest_error_message']}"
            context = {"job_type": row["job_type"], "job_id": row["newest_job_id"]}
            raised[f"job:{row['job_type']}"] = Alert("warning", text, context)
    completed = {f"job:{row['job_type']}" for row in rows if row["newest_status"] == "COMPLETED"}
    return Verdict("job", raised, lambda key: key not in completed)


def cache_hits(rows: Rows) -> Verdict:
    """Less than 70 % of a service's reads of the last hour were hits, of at least 50."""
    raised = {}
    for row in rows:
        reads, hits = float(row["read_count"]), float(row["hit_count"])
        if reads >= CACHE_SAMPLE and hits / reads < CACHE_HIT_RATIO:
            text = f"the cache of {row['service']} answered {hits / reads:.1%} of {reads:g} reads of the last hour"
            raised[f"cache:{row['service']}"] = Alert("warning", text, {"service": row["service"]})
    return Verdict("cache", raised)


def api_latency(rows: Rows) -> Verdict:
    """The 95th percentile of the requests of the last five minutes took more than 2 s, of at least 20."""
    slow = [row for row in rows if row["request_count"] >= API_SAMPLE and row["p95_ms"] > API_P95_MS]
    if not slow:
        return Verdict("api")
    row = slow[0]
    text = f"95 % of {row['request_count']} requests of the last 5 minutes took up to {row['p95_ms'] / 1000:.2f} s"
    return Verdict("api", {"api:latency": Alert("warning", text)})


def queue_ages(rows: Rows) -> Verdict:
    """The oldest of what waits in a queue (jobs, deliveries, events) has waited for more than 10 minutes."""
    raised = {}
    for row in rows:
        if timedelta(seconds=row["oldest_age_seconds"]) > QUEUE_AGE:
            minutes = row["oldest_age_seconds"] / 60
            text = f"{row['depth']} {row['queue']} wait, the oldest for {minutes:.0f} minutes"
            raised[f"queue:{row['queue']}"] = Alert("warning", text, {"queue": row["queue"]})
    return Verdict("queue", raised)


def dead_deliveries(rows: Rows) -> Verdict:
    """Deliveries of a source could not be applied and wait for somebody: until they are replayed or removed."""
    raised = {}
    for row in rows:
        text = f"{row['dead_count']} deliveries of {row['source']} could not be applied: {row['newest_reason']}"
        context = {"source": row["source"], "delivery_id": row["newest_delivery_id"]}
        raised[f"deliveries:{row['source']}"] = Alert("error", text, context)
    return Verdict("deliveries", raised)


def silence(sources: Sequence[SilentSource]) -> Verdict:
    """A source that once delivered has not for longer than WEBHOOK_SILENCE allows."""
    raised = {}
    for it in sources:
        text = f"source {it.source} has not delivered since {it.last_received_at:%Y-%m-%d %H:%M} UTC"
        context = {"source": it.source, "allowed": str(it.allowed)}
        raised[f"silence:{it.source}"] = Alert("warning", text, context)
    return Verdict("silence", raised)


def judge(postgres: Postgres, settings: Settings, now: datetime) -> list[Verdict]:
    """Every condition as of `now`. One that cannot be evaluated leaves its alerts as they are and hides no other.

    Raises:
        StoreUnavailableError: PostgreSQL cannot be reached.
    """
    days = settings.fundamentals_max_staleness_days

    def read(query: str, **parameters: object) -> Rows:
        return postgres.read(f"alerts_{query}", parameters)

    assets = cache(lambda: read("freshness"))
    jobs = cache(lambda: read("jobs", since=now - JOB_WINDOW))
    conditions: dict[str, Callable[[], Verdict]] = {
        "health": lambda: health(read("health"), now),
        "freshness": lambda: freshness(assets(), now),
        "data": lambda: data_age(
            assets(),
            read("stale_markets", oldest=now.date() - timedelta(days=days)),
            now,
            fundamentals_days=days,
        ),
        "jobs": lambda: job_failures(jobs()),
        "job": lambda: failed_jobs(jobs()),
        "cache": lambda: cache_hits(read("caches", since=now - CACHE_WINDOW)),
        "api": lambda: api_latency(read("api", since=now - API_WINDOW, waiting_paths=list(WAITING_PATHS))),
        "queue": lambda: queue_ages(read("queues")),
        "deliveries": lambda: dead_deliveries(read("dead_deliveries")),
        "silence": lambda: silence(silent_sources(postgres, parse_silence(settings.webhook_silence), now=now)),
    }
    return [_judged(family, condition) for family, condition in conditions.items()]


def apply(postgres: Postgres, verdicts: Iterable[Verdict], words: Words, *, now: datetime) -> set[str]:
    """Raises what is wrong and clears what is over; returns the keys of which there is something new to say."""
    found = list(verdicts)
    raised = {key: alert for it in found for key, alert in it.raised.items()}
    over = [key for key in open_alerts(postgres) if any(it.is_over(key) for it in found)]
    clear_alerts(postgres, over, now=now)
    return raise_clean(postgres, raised, words, now=now)


def raise_clean(postgres: Postgres, alerts: Mapping[str, Alert], words: Words, *, now: datetime) -> set[str]:
    """Raises alerts without secrets and internal addresses; what is new is a line of the log too, whoever is told."""
    clean = {
        key: Alert(it.severity, words.clean(it.message), words.clean_context(it.context)) for key, it in alerts.items()
    }
    news = raise_alerts(postgres, clean, now=now)
    for key in sorted(news):
        log.log(_LEVELS[clean[key].severity], clean[key].message, alert=key, context=clean[key].context)
    return news


def _judged(family: str, condition: Callable[[], Verdict]) -> Verdict:
    try:
        return condition()
    except (DBAPIError, psycopg.Error) as error:
        log.warning("a condition of alerts could not be evaluated", family=family, reason=first_line(error))
        return Verdict(family, is_undecided=lambda _: True)


def _freshness_facts(row: Mapping[str, Any]) -> dict[str, str]:
    facts = {"reason": row["reason"], "last_run": row["last_materialized_at"], "data_as_of": row["data_as_of"]}
    return {
        name: value if isinstance(value, str) else value.isoformat()
        for name, value in facts.items()
        if value is not None
    }


def _named(names: Sequence[str]) -> str:
    return listed(names, most=NAMED)


_LEVELS: Mapping[Severity, int] = {"info": 20, "warning": 30, "error": 40, "critical": 50}
