"""Pending deliveries become one run, of the assets whose types wait, and of no more runs than help."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from ingestion_pipeline.core.ids import new_id
from ingestion_pipeline.orchestration import runs as module
from ingestion_pipeline.orchestration.inbox import delivery_sensor
from ingestion_pipeline.storage.inbox import NewDelivery, accept_all, apply_pending
from ingestion_pipeline.storage.postgres import Postgres

COMPS, MACRO = dg.AssetKey("comps"), dg.AssetKey("macro")


@dg.asset(key=COMPS)
def comps() -> None: ...


@dg.asset(key=MACRO)
def macro() -> None: ...


JOB = dg.define_asset_job("deliveries_job", selection=[COMPS, MACRO])
SENSOR = delivery_sensor("drop_sensor", JOB, {"comps.upsert": COMPS, "macro.update": MACRO})
DEFS = dg.Definitions(assets=[comps, macro], jobs=[JOB], sensors=[SENSOR])


@pytest.fixture
def own_instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def put(postgres: Postgres, event_type: str, *, count: int = 1) -> None:
    deliveries = [
        NewDelivery(
            source="acme",
            idempotency_key=new_id(),
            event_type=event_type,
            payload=b"{}",
            scheme="sha256",
            signed_by="a",
        )
        for _ in range(count)
    ]
    with postgres.transaction() as connection:
        accept_all(connection, deliveries)


def tick(instance: dg.DagsterInstance, postgres: Postgres) -> Any:
    with dg.build_sensor_context(instance=instance, resources={"postgres": postgres}) as context:
        return SENSOR(context)


def run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, job: str = JOB.name) -> str:
    run_id = new_id()
    instance.add_run(dg.DagsterRun(job_name=job, run_id=run_id, status=dg.DagsterRunStatus.STARTED))
    events = {
        dg.DagsterRunStatus.FAILURE: dg.DagsterEventType.RUN_FAILURE,
        dg.DagsterRunStatus.SUCCESS: dg.DagsterEventType.RUN_SUCCESS,
    }
    if status in events:
        instance.report_dagster_event(
            dg.DagsterEvent(event_type_value=events[status].value, job_name=job, message="x"), run_id=run_id
        )
    return run_id


def test_it_is_on_by_default_and_looks_as_often_as_dagster_does() -> None:
    """That is every five seconds; an interval of exactly that would now and then leave a look out."""
    assert (dg.DefaultSensorStatus.RUNNING, 1) == (SENSOR.default_status, SENSOR.minimum_interval_seconds)


def test_without_deliveries_no_run_is_asked_for(own_instance: dg.DagsterInstance, postgres: Postgres) -> None:
    put(postgres, "other.type")
    assert isinstance(tick(own_instance, postgres), dg.SkipReason)


def test_however_many_wait_one_run_takes_them(own_instance: dg.DagsterInstance, postgres: Postgres) -> None:
    """Of the assets whose types are due, no others."""
    put(postgres, "comps.upsert", count=1_000)
    request = tick(own_instance, postgres)
    assert isinstance(request, dg.RunRequest)
    assert [COMPS] == request.asset_selection
    assert {"dagster/priority": "5"} == request.tags
    put(postgres, "macro.update")
    assert [COMPS, MACRO] == tick(own_instance, postgres).asset_selection
    apply_pending(postgres, ["comps.upsert", "macro.update"], lambda *_: None, run_id="r")
    assert isinstance(tick(own_instance, postgres), dg.SkipReason)


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
def test_while_a_run_is_going_on_no_other_is_asked_for(
    own_instance: dg.DagsterInstance, postgres: Postgres, status: dg.DagsterRunStatus
) -> None:
    """It takes what comes meanwhile; another job's run does not count."""
    put(postgres, "comps.upsert")
    own_instance.add_run(dg.DagsterRun(job_name="other_job", run_id=new_id(), status=status))
    assert isinstance(tick(own_instance, postgres), dg.RunRequest)
    own_instance.add_run(dg.DagsterRun(job_name=JOB.name, run_id=new_id(), status=status))
    assert "going on" in str(tick(own_instance, postgres).skip_message)


def test_what_waits_for_its_next_attempt_asks_for_none(own_instance: dg.DagsterInstance, postgres: Postgres) -> None:
    put(postgres, "comps.upsert")
    postgres.execute("update operations.deliveries set next_attempt_at = now() + interval '1 minute'")
    assert isinstance(tick(own_instance, postgres), dg.SkipReason)


def test_after_failed_runs_it_waits_longer_each_time(
    own_instance: dg.DagsterInstance, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken code location is not started every five seconds; one success ends the wait."""
    put(postgres, "comps.upsert")
    run(own_instance, dg.DagsterRunStatus.SUCCESS)
    assert isinstance(tick(own_instance, postgres), dg.RunRequest)
    for pause in (10, 20, 40, 80, 160, 300, 300):
        run(own_instance, dg.DagsterRunStatus.FAILURE)
        assert "failed" in str(tick(own_instance, postgres).skip_message)
        later = datetime.now(UTC) + timedelta(seconds=pause)
        for seconds, kind in ((-5, dg.SkipReason), (1, dg.RunRequest)):
            at = later + timedelta(seconds=seconds)
            with monkeypatch.context() as patched:
                patched.setattr(module, "utc_now", lambda at=at: at)
                assert isinstance(tick(own_instance, postgres), kind)
    run(own_instance, dg.DagsterRunStatus.SUCCESS)
    assert isinstance(tick(own_instance, postgres), dg.RunRequest)


def test_dagster_takes_the_request(own_instance: dg.DagsterInstance, postgres: Postgres) -> None:
    """The selection is one that the job knows."""
    put(postgres, "macro.update")
    request = tick(own_instance, postgres)
    result = DEFS.resolve_job_def(JOB.name).execute_in_process(
        instance=own_instance, asset_selection=request.asset_selection
    )
    assert [MACRO] == [event.asset_key for event in result.all_events if event.is_step_materialization]
