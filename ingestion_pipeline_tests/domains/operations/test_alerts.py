"""Every condition at its threshold and just below, with its least sample; then over real tables, as the worker's role."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.domains.operations.alerts import (
    Verdict,
    api_latency,
    apply,
    cache_hits,
    data_age,
    dead_deliveries,
    failed_jobs,
    freshness,
    health,
    job_failures,
    judge,
    queue_ages,
    silence,
)
from ingestion_pipeline.domains.operations.silence import SilentSource
from ingestion_pipeline.providers.alerts import Words
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.alerts import open_alerts
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.command import log_lines

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
CANARY = "geheim-geheim-42"


def raised(verdict: Verdict) -> dict[str, str]:
    """The severity of each alert."""
    return {key: alert.severity for key, alert in verdict.raised.items()}


def state(status: str, checked_at: datetime = NOW) -> list[dict[str, Any]]:
    return [{"status": status, "since": NOW, "reasons": ["macro is down", "comps are stale"], "checked_at": checked_at}]


def test_health_that_is_red_is_critical() -> None:
    verdict = health(state("RED"), NOW)
    assert {"health:overall": "critical"} == raised(verdict)
    assert "health is RED: macro is down, comps are stale" == verdict.raised["health:overall"].message


@pytest.mark.parametrize("status", ["GREEN", "YELLOW"])
def test_health_that_is_not_red_is_over(status: str) -> None:
    verdict = health(state(status), NOW)
    assert {} == raised(verdict)
    assert verdict.is_over("health:overall")


def test_health_that_is_unknown_is_neither_red_nor_its_end() -> None:
    verdict = health(state("UNKNOWN"), NOW)
    assert {} == raised(verdict)
    assert not verdict.is_over("health:overall")


def test_health_that_is_not_evaluated_is_an_alert_of_its_own() -> None:
    """After 120 s, not at 120 s; what it said last is not believed."""
    assert {"health:overall": "critical"} == raised(health(state("RED", NOW - 120 * SECOND), NOW))
    verdict = health(state("RED", NOW - 121 * SECOND), NOW)
    assert {"health:mirror": "error"} == raised(verdict)
    assert not verdict.is_over("health:overall")
    assert health(state("GREEN"), NOW).is_over("health:mirror")


def test_health_that_was_never_evaluated_says_nothing() -> None:
    assert {} == raised(health([], NOW))


def fresh(state: str, data_state: str = "PASS", **over: Any) -> dict[str, Any]:
    row = {"asset_key": "market/bars", "state": state, "data_state": data_state, "reason": "late", "checked_at": NOW}
    return row | {"last_materialized_at": NOW, "data_as_of": None} | over


@pytest.mark.parametrize(
    ("state", "data_state", "severity"),
    [
        ("WARN", "PASS", "warning"),
        ("FAIL", "PASS", "error"),
        ("PASS", "WARN", "warning"),
        ("WARN", "FAIL", "error"),
        ("FAIL", "UNKNOWN", "error"),
        ("PASS", "PASS", None),
        ("PASS", "UNKNOWN", None),
    ],
)
def test_an_asset_that_is_not_fresh_is_an_alert(state: str, data_state: str, severity: str | None) -> None:
    """By the worse of both: did it run, are its data new?"""
    verdict = freshness([fresh(state, data_state)], NOW)
    assert ({"freshness:market/bars": severity} if severity else {}) == raised(verdict)
    assert (severity is None) == verdict.is_over("freshness:market/bars")


def test_what_never_ran_and_what_is_not_mirrored_says_nothing() -> None:
    """And ends no alert; an asset that is gone ends its own."""
    for row in (fresh("UNKNOWN", "UNKNOWN"), fresh("FAIL", checked_at=NOW - 121 * SECOND)):
        verdict = freshness([row], NOW)
        assert {} == raised(verdict)
        assert not verdict.is_over("freshness:market/bars")
    assert freshness([], NOW).is_over("freshness:market/bars")


def test_data_of_more_than_thirty_days_ago_are_an_alert() -> None:
    """Not of thirty days to the second, nor where data may be of any age; of an asset whose age nobody knows nothing is said."""
    rows = [
        fresh("PASS", data_as_of=NOW - 30 * DAY),
        fresh("PASS", asset_key="x/none"),
        fresh("PASS", "UNKNOWN", asset_key="community/donations", data_as_of=NOW - 90 * DAY),
    ]
    assert {} == raised(data_age(rows, [], NOW, fundamentals_days=30))
    old = [fresh("PASS", data_as_of=NOW - 30 * DAY - SECOND)]
    assert {"data:market/bars": "warning"} == raised(data_age(old, [], NOW, fundamentals_days=30))


def test_stale_markets_are_one_alert_that_names_ten() -> None:
    markets = [{"market_slug": f"m{number}", "last_as_of_date": date(2026, 1, 1)} for number in range(12)]
    (alert,) = data_age([], markets, NOW, fundamentals_days=30).raised.values()
    assert alert.message.startswith("12 market(s) have no fundamentals of the last 30 days: m0 (2026-01-01), ")
    assert alert.message.endswith("m9 (2026-01-01) and 2 more")


def ended(finished: int, failed: int, **over: Any) -> dict[str, Any]:
    newest = {"newest_status": "COMPLETED", "newest_error_kind": None, "newest_error_message": None}
    return (
        {"job_type": "prediction", "finished_count": finished, "failed_count": failed, "newest_job_id": "7"}
        | newest
        | over
    )


@pytest.mark.parametrize(
    ("finished", "failed", "is_raised"),
    [
        (100, 5, False),
        (100, 6, True),
        (20, 1, False),
        (20, 2, True),
        (19, 19, False),
        (1_000_000, 50_001, True),
        (0, 0, False),
    ],
)
def test_more_than_five_per_cent_of_at_least_twenty_jobs_is_an_alert(
    finished: int, failed: int, *, is_raised: bool
) -> None:
    """S0: "Job failure rates > 5%"; over all types together."""
    half = finished // 2
    verdict = job_failures([ended(half, 0, job_type="a"), ended(finished - half, failed, job_type="b")])
    assert ({"jobs:failures": "error"} if is_raised else {}) == raised(verdict)
    assert (not is_raised) == verdict.is_over("jobs:failures")


def test_no_jobs_at_all_end_the_alert() -> None:
    assert job_failures([]).is_over("jobs:failures")


def test_a_job_that_failed_for_good_is_an_alert_until_one_of_its_type_completes() -> None:
    """Not when what was asked was wrong; of a type without jobs nothing is known."""
    failed = {"newest_status": "FAILED", "newest_error_message": "the provider is away"}
    verdict = failed_jobs(
        [
            ended(3, 1, job_type="a", newest_error_kind="transient", **failed),
            ended(3, 1, job_type="b", newest_error_kind="lost", **failed),
            ended(3, 1, job_type="c", newest_error_kind="permanent", **failed),
            ended(3, 1, job_type="d"),
        ]
    )
    assert {"job:a": "warning", "job:b": "warning"} == raised(verdict)
    assert "job a failed: the provider is away" == verdict.raised["job:a"].message
    assert [False, False, True, False] == [verdict.is_over(f"job:{name}") for name in "acde"]


@pytest.mark.parametrize(
    ("reads", "hits", "is_raised"),
    [(100, 70, False), (100, 69, True), (50, 0, True), (49, 0, False), (10_000, 6999, True)],
)
def test_less_than_seventy_per_cent_of_at_least_fifty_reads_is_an_alert(
    reads: int, hits: int, *, is_raised: bool
) -> None:
    """S0: "Cache hit ratios < 70%"; for each service by itself."""
    rows = [
        {"service": "macro", "read_count": reads, "hit_count": hits},
        {"service": "comps", "read_count": 50, "hit_count": 50},
    ]
    assert ({"cache:macro": "warning"} if is_raised else {}) == raised(cache_hits(rows))


@pytest.mark.parametrize(
    ("count", "p95", "is_raised"), [(20, 2000.0, False), (20, 2000.1, True), (19, 60_000.0, False)]
)
def test_more_than_two_seconds_of_at_least_twenty_requests_is_an_alert(
    count: int, p95: float, *, is_raised: bool
) -> None:
    """S0: "API response times > 2 seconds"; the 95th percentile."""
    verdict = api_latency([{"request_count": count, "p95_ms": p95}])
    assert ({"api:latency": "warning"} if is_raised else {}) == raised(verdict)
    assert {} == raised(api_latency([]))


@pytest.mark.parametrize(("seconds", "is_raised"), [(600.0, False), (600.1, True)])
def test_a_queue_whose_oldest_has_waited_more_than_ten_minutes_is_an_alert(seconds: float, *, is_raised: bool) -> None:
    verdict = queue_ages([{"queue": "deliveries", "depth": 3, "oldest_age_seconds": seconds}])
    assert ({"queue:deliveries": "warning"} if is_raised else {}) == raised(verdict)


def test_dead_deliveries_are_an_alert_per_source_until_none_is_left() -> None:
    rows = [{"source": "acme", "dead_count": 7, "newest_reason": "no such market", "newest_delivery_id": "1"}]
    verdict = dead_deliveries(rows)
    assert {"deliveries:acme": "error"} == raised(verdict)
    assert verdict.is_over("deliveries:other")


def test_a_silent_source_is_an_alert() -> None:
    verdict = silence([SilentSource("acme", NOW - 25 * timedelta(hours=1), timedelta(hours=25), DAY)])
    assert {"silence:acme": "warning"} == raised(verdict)
    assert "source acme has not delivered since 2026-03-01 11:00 UTC" == verdict.raised["silence:acme"].message


@pytest.fixture
def owner(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def insert(owner: psycopg.Connection[Any], table: str, **values: object) -> None:
    columns = ", ".join(values)
    owner.execute(f"insert into {table} ({columns}) values ({', '.join(['%s'] * len(values))})", list(values.values()))


def judged(postgres: Postgres, settings: Settings, now: datetime = NOW) -> dict[str, str]:
    return {key: severity for verdict in judge(postgres, settings, now) for key, severity in raised(verdict).items()}


def job(owner: psycopg.Connection[Any], count: int, *, is_failed: bool, at: datetime, kind: str = "transient") -> None:
    """Jobs that ended; the state machine's trigger is not what is tested here."""
    owner.execute("set session_replication_role = replica")
    owner.execute(
        "insert into operations.jobs (job_type, status, owner_id, attempt_count, error_kind, error_message, output_data, "
        "finished_at) select 'prediction', %s, 'x', 1, %s, %s, %s, %s from generate_series(1, %s)",
        ["FAILED", kind, "it broke", None, at, count] if is_failed else ["COMPLETED", None, None, "{}", at, count],
    )
    owner.execute("set session_replication_role = default")


def test_an_empty_database_has_nothing_wrong(postgres: Postgres, settings: Settings) -> None:
    assert {} == judged(postgres, settings)


def test_jobs_are_those_of_the_last_hour(
    owner: psycopg.Connection[Any], postgres: Postgres, settings: Settings
) -> None:
    """19 of 20 from the minute before it do not count; the newest of the type decides about the type."""
    job(owner, 20, is_failed=True, at=NOW - timedelta(minutes=61))
    assert {} == judged(postgres, settings)
    job(owner, 19, is_failed=False, at=NOW - timedelta(minutes=59))
    job(owner, 1, is_failed=True, at=NOW - timedelta(minutes=2), kind="permanent")
    assert {} == judged(postgres, settings)
    job(owner, 1, is_failed=True, at=NOW - timedelta(minutes=1))
    assert {"jobs:failures": "error", "job:prediction": "warning"} == judged(postgres, settings)
    job(owner, 1, is_failed=False, at=NOW)
    assert {"jobs:failures": "error"} == judged(postgres, settings)


def reads(
    owner: psycopg.Connection[Any], name: str, value: int, at: datetime, labels: str = '{"service": "macro"}'
) -> None:
    insert(owner, "operations.metric_minutes", minute=at, name=name, labels=labels, value=value)


def test_reads_of_a_cache_are_those_of_the_last_hour(
    owner: psycopg.Connection[Any], postgres: Postgres, settings: Settings
) -> None:
    """A stale value that stood in is a read and no hit."""
    reads(owner, "cache_miss", 500, NOW - timedelta(minutes=61))
    reads(owner, "cache_hit", 70, NOW - timedelta(minutes=59))
    reads(owner, "cache_miss", 20, NOW - timedelta(minutes=59))
    reads(owner, "cache_stale", 10, NOW - timedelta(minutes=59))
    reads(owner, "api_retry_total", 1000, NOW - timedelta(minutes=5))
    reads(owner, "cache_warm", 1000, NOW - timedelta(minutes=5))
    assert {} == judged(postgres, settings)
    reads(owner, "cache_stale", 1, NOW - timedelta(minutes=1))
    assert {"cache:macro": "warning"} == judged(postgres, settings)


def requests(owner: psycopg.Connection[Any], count: int, milliseconds: float, path: str, at: datetime) -> None:
    owner.execute(
        "insert into operations.api_requests (occurred_at, request_id, method, path, status, duration_ms, request_bytes, "
        "response_bytes) select %s, 'r', 'GET', %s, 200, %s, 0, 0 from generate_series(1, %s)",
        [at, path, milliseconds, count],
    )


def test_requests_are_those_of_the_last_five_minutes_that_do_not_wait(
    owner: psycopg.Connection[Any], postgres: Postgres, settings: Settings
) -> None:
    requests(owner, 100, 9000, "/api/events", NOW - timedelta(minutes=6))
    requests(owner, 100, 9000, "/api/cron", NOW - timedelta(minutes=1))
    requests(owner, 100, 9000, "/api/jobs/{job_id}", NOW - timedelta(minutes=1))
    requests(owner, 100, 2000, "/api/events", NOW - timedelta(minutes=4))
    assert {} == judged(postgres, settings)
    requests(owner, 10, 2001, "/api/events", NOW - timedelta(minutes=1))
    assert {"api:latency": "warning"} == judged(postgres, settings)


def test_states_markets_deliveries_and_sources_are_read(
    owner: psycopg.Connection[Any], postgres: Postgres, settings: Settings
) -> None:
    """One of each, and one beside it of which nothing is to be said."""
    health_row = {"service": "overall", "status": "RED", "since": NOW, "checked_at": NOW}
    insert(owner, "operations.health_states", **health_row)
    insert(owner, "operations.health_states", **(health_row | {"service": "macro"}))
    for name, status in (("market/bars", "FAIL"), ("market/snapshots", "PASS")):
        insert(
            owner,
            "operations.freshness_states",
            asset_key=name,
            asset_group="market",
            state=status,
            state_changed_at=NOW,
            data_as_of=NOW - (31 * DAY if status == "FAIL" else DAY),
            data_state="PASS",
            checked_at=NOW,
        )
    for slug, day in (("dallas", date(2026, 1, 30)), ("austin", date(2026, 1, 31))):
        insert(
            owner,
            "property.fundamentals_staleness",
            market_slug=slug,
            last_as_of_date=day,
            last_received_at=NOW,
            age_days=0,
            max_age_days=30,
            is_stale=False,
            metric_count=1,
            checked_at=NOW,
        )
    for number, (source, status) in enumerate(
        (("acme", "dead"), ("acme", "dead"), ("other", "rejected"), ("other", "processed"))
    ):
        insert(
            owner,
            "operations.deliveries",
            source=source,
            idempotency_key=str(number),
            event_type="comps.upsert",
            payload="{}",
            status=status,
            reason=f"reason {number}",
            received_at=NOW + number * SECOND,
            settled_at=NOW,
            scheme="sha256",
            signed_by="WEBHOOK_SECRET 1",
        )
    for source, last in (("acme", NOW - DAY), ("late", NOW - DAY - SECOND)):
        insert(owner, "operations.delivery_sources", source=source, first_received_at=last, last_received_at=last)
    verdicts = judge(postgres, settings, NOW)
    found = {key: alert for verdict in verdicts for key, alert in verdict.raised.items()}
    assert {
        "health:overall": "critical",
        "freshness:market/bars": "error",
        "data:market/bars": "warning",
        "data:property/fundamentals": "warning",
        "deliveries:acme": "error",
        "silence:late": "warning",
    } == {key: alert.severity for key, alert in found.items()}
    assert (
        "1 market(s) have no fundamentals of the last 30 days: dallas (2026-01-30)"
        == found["data:property/fundamentals"].message
    )
    assert "2 deliveries of acme could not be applied: reason 1" == found["deliveries:acme"].message


def test_a_delivery_and_a_job_that_wait_for_long_are_alerts(
    owner: psycopg.Connection[Any], postgres: Postgres, settings: Settings
) -> None:
    """By the server's clock; a job of later is not due."""
    values = "'x', 'k', 'comps.upsert', '{}', 'sha256', 'me', now() - interval '11 minutes'"
    owner.execute(
        "insert into operations.deliveries (source, idempotency_key, event_type, payload, scheme, signed_by, received_at) "
        f"values ({values})"
    )
    for age in ("9 minutes", "-1 day"):
        owner.execute(
            f"insert into operations.jobs (job_type, owner_id, run_at) values ('a', 'x', now() - interval '{age}')"
        )
    assert {"queue:deliveries": "warning"} == judged(postgres, settings)
    owner.execute(
        "insert into operations.jobs (job_type, owner_id, run_at) values ('a', 'x', now() - interval '11 minutes')"
    )
    assert {"queue:deliveries": "warning", "queue:jobs": "warning"} == judged(postgres, settings)


def test_a_condition_that_cannot_be_evaluated_hides_no_other(
    owner: psycopg.Connection[Any], postgres: Postgres, settings: Settings
) -> None:
    """Its alerts stay as they are; the other conditions are evaluated."""
    insert(owner, "operations.health_states", service="overall", status="RED", since=NOW, checked_at=NOW)
    owner.execute("alter table operations.metric_minutes rename to elsewhere")
    verdicts = {verdict.family: verdict for verdict in judge(postgres, settings, NOW)}
    assert {"health:overall": "critical"} == raised(verdicts["health"])
    assert not verdicts["cache"].is_over("cache:macro")
    assert verdicts["api"].is_over("api:latency")


def test_what_is_wrong_is_raised_and_cleared_when_it_is_over(postgres: Postgres, settings: Settings) -> None:
    """And only what the evaluated families know of."""
    words = Words(settings)
    wrong = [health(state("RED"), NOW), freshness([fresh("FAIL")], NOW)]
    assert {"health:overall", "freshness:market/bars"} == apply(postgres, wrong, words, now=NOW)
    assert set() == apply(postgres, wrong, words, now=NOW + SECOND)
    apply(postgres, [health(state("UNKNOWN"), NOW)], words, now=NOW + SECOND)
    assert {"health:overall", "freshness:market/bars"} == set(open_alerts(postgres))
    apply(
        postgres, [health(state("GREEN"), NOW), freshness([fresh("UNKNOWN", "UNKNOWN")], NOW)], words, now=NOW + SECOND
    )
    assert {"freshness:market/bars"} == set(open_alerts(postgres))


def test_what_is_raised_has_no_secret_and_no_internal_address(
    postgres: Postgres, settings: Settings, database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither in the table nor in the log, which has a line at the alert's own level, once."""
    configure_logging("debug", style="json")
    rows = [ended(3, 1, newest_status="FAILED", newest_error_kind="lost", newest_error_message=f"{CANARY} at 10.0.0.9")]
    secret: Mapping[str, str] = {
        "JWT_SECRET": f"{CANARY} at 10.0.0.9 and more to be long enough",
        "CRON_SECRET": CANARY,
    }
    words = Words(Settings.from_environment({"DATABASE_URL": database_url, **secret}))
    for _ in range(2):
        apply(postgres, [failed_jobs(rows)], words, now=NOW)
    written = capfd.readouterr().err
    (line,) = [it for it in log_lines(written) if it.get("alert") == "job:prediction"]
    assert ("warning", "job prediction failed: *** at (internal address)") == (line["level"], line["event"])
    with psycopg.connect(database_url) as connection:
        (stored,) = connection.execute("select alerts::text from operations.alerts").fetchone() or ("",)
    for text in (written, stored):
        assert CANARY not in text
        assert "10.0.0.9" not in text
