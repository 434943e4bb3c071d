"""Sensors that ask for a run while work waits in PostgreSQL: one at a time, and later each time after runs that failed."""

from collections.abc import Iterator
from datetime import UTC, timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.ids import new_id
from ingestion_pipeline.definitions import defs
from ingestion_pipeline.orchestration import runs
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.postgres import Postgres

_DELIVERY = """
insert into operations.deliveries (source, idempotency_key, event_type, payload, scheme, signed_by)
values ('acme', 'k', '{}', '{{}}', 'sha256', 'a')
"""
_BATCH = """
insert into events.warehouse_sync_status
    (warehouse_type, batch_number, status, first_transaction_id, next_transaction_id, committed_at, events_synced)
values ('delta', 1, '{}', '0', '3', {}, 1)
"""
# what waits, by the sensor that asks for it
WORK = {
    "webhook_drop_sensor": _DELIVERY.format("comps.upsert"),
    "community_donations_sensor": _DELIVERY.format("stripe.event"),
    "community_notifications_sensor": (
        "insert into community.notifications (idempotency_key, person_id, kind, payload, created_at, due_at, digest) "
        "values ('k', 'ada', 'milestone', '{}', now(), now() - interval '1 minute', 'none')"
    ),
    "events_sync_sensor": _BATCH.format("written", "null"),
    "events_copy_sensor": _BATCH.format("committed", "now()"),
    "events_erasure_sensor": "select events.request_erasure('ada', 'erase', 'operator')",
    "community_search_sensor": "insert into community.search_changes (kind, id) values ('rule', 'r1')",
    "sales_derived_sensor": "insert into sales.ledger_months (owner_id, platform, month) values ('ada', 'gumroad', '2026-03-01')",
}


@pytest.fixture
def own_instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.mark.parametrize("name", WORK)
def test_a_sensor_asks_for_one_run_at_a_time_and_pauses_after_one_that_failed(
    name: str,
    own_instance: dg.DagsterInstance,
    postgres: Postgres,
    database_url: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without work for none; a run that went well holds nothing back, nor does one that failed long ago."""
    now = utc_now()
    monkeypatch.setattr(runs, "utc_now", lambda: now)
    given = Settings.from_environment(
        {
            "DATABASE_URL": settings.database_url,
            "INGESTION_HOME": str(settings.ingestion_home),
            "WAREHOUSE": "bigquery",
            "BIGQUERY_PROJECT_ID": "p",
        }
    )
    sensor = defs.resolve_sensor_def(name)

    def tick() -> Any:
        with dg.build_sensor_context(
            instance=own_instance,
            resources={
                key: value
                for key, value in {"settings": given, "postgres": postgres}.items()
                if key in sensor.required_resource_keys
            },
        ) as context:
            return sensor(context)

    assert isinstance(tick(), dg.SkipReason)
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(WORK[name].encode())
    assert isinstance(tick(), dg.RunRequest)
    for status, said in {
        dg.DagsterRunStatus.STARTING: "is queued or going on",
        dg.DagsterRunStatus.STARTED: "is queued or going on",
        dg.DagsterRunStatus.FAILURE: "the last run failed",
    }.items():
        run = own_instance.add_run(dg.DagsterRun(job_name=sensor.job_name, run_id=new_id(), status=status))
        assert said in str(tick().skip_message)
        own_instance.delete_run(run.run_id)
    own_instance.add_run(dg.DagsterRun(job_name=sensor.job_name, run_id=new_id(), status=dg.DagsterRunStatus.FAILURE))
    with monkeypatch.context() as later:
        later.setattr(runs, "utc_now", lambda: now + timedelta(hours=1))
        assert isinstance(tick(), dg.RunRequest)
    own_instance.add_run(dg.DagsterRun(job_name=sensor.job_name, run_id=new_id(), status=dg.DagsterRunStatus.SUCCESS))
    assert isinstance(tick(), dg.RunRequest)


def test_the_pause_doubles_with_each_failure_in_a_row_up_to_five_minutes(
    own_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins when the last of them ended; what waits is delayed, never given up."""
    for seconds in (10, 20, 40, 80, 160, 300, 300, 300, 300, 300):
        own_instance.add_run(dg.DagsterRun(job_name="toy", run_id=new_id(), status=dg.DagsterRunStatus.FAILURE))
        ended = max(record.update_timestamp for record in own_instance.get_run_records()).replace(tzinfo=UTC)
        for since, is_paused in {seconds - 1: True, seconds + 1: False}.items():
            monkeypatch.setattr(runs, "utc_now", lambda now=ended + timedelta(seconds=since): now)
            assert is_paused == (runs.pause_after_failures(own_instance, "toy") is not None), (seconds, since)
