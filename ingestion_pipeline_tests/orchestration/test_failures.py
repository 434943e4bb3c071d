"""Our errors as Dagster's failures: what is tried again, and what a failed step says."""

from datetime import UTC, date, datetime

import dagster as dg
import pytest

from ingestion_pipeline.core.errors import (
    CircuitOpenError,
    ContractError,
    IngestionError,
    ProviderUnavailableError,
    RateLimitedError,
    StoreUnavailableError,
    UnknownSymbolError,
)
from ingestion_pipeline.core.tables import Column, Table
from ingestion_pipeline.orchestration.failures import RETRY_POLICY, explained_failures
from ingestion_pipeline.orchestration.specs import table_asset

TOYS = Table(domain="toy", name="toys", store="postgres", key=("toy",), columns=(Column("toy", "text", "Name"),))


def run_raising(*errors: Exception) -> dg.ExecuteInProcessResult:
    """A run of an asset whose attempts raise `errors`, one each, and then succeed."""
    left = list(errors)

    @table_asset(TOYS)
    def toys(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        if left:
            raise left.pop(0)
        return dg.MaterializeResult()

    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize([toys], instance=instance, raise_on_error=False)


def retries(run: dg.ExecuteInProcessResult) -> int:
    return len([event for event in run.all_events if event.is_step_up_for_retry])


def test_a_transient_error_is_tried_again_and_may_succeed() -> None:
    """The source came back: the run is green after one retry."""
    run = run_raising(ProviderUnavailableError("binance", "HTTP 503"))
    assert (True, 1) == (run.success, retries(run))


def test_a_transient_error_that_stays_fails_after_the_policy_s_retries() -> None:
    """Two retries, then the run is red and says why."""
    run = run_raising(*[StoreUnavailableError("Redis", "refused") for _ in range(9)])
    assert (False, RETRY_POLICY.max_retries) == (run.success, retries(run))
    (failed,) = [event for event in run.all_events if event.event_type_value == "STEP_FAILURE"]
    assert "Redis cannot be reached: refused" == failed.step_failure_data.user_failure_data.description


@pytest.mark.parametrize(
    "error",
    [UnknownSymbolError("mock", "BTC", ("BTC-USD",)), ZeroDivisionError("by zero"), KeyError("symbol")],
)
def test_what_would_fail_again_is_not_tried_again(error: Exception) -> None:
    """A permanent error of ours and a defect alike."""
    run = run_raising(error)
    assert (False, 0) == (run.success, retries(run))


@pytest.mark.parametrize(
    ("error", "allows_retries", "description", "facts"),
    [
        (
            RateLimitedError("coingecko", 30.0),
            True,
            "provider coingecko limits our requests; wait 30 s",
            {"error": "RateLimitedError", "provider": "coingecko", "retry_after_seconds": "30.0"},
        ),
        (
            CircuitOpenError("binance", datetime(2025, 1, 1, 12, tzinfo=UTC)),
            True,
            "provider binance failed too often: its circuit breaker is open until 2025-01-01 12:00:00 UTC",
            {"error": "CircuitOpenError", "provider": "binance", "retry_at": "2025-01-01 12:00:00+00:00"},
        ),
        (
            ContractError("binance", "close", "'x'", "a number"),
            False,
            "binance: close is 'x', expected a number",
            {
                "error": "ContractError",
                "source": "binance",
                "field": "close",
                "seen": "'x'",
                "expected": "a number",
            },
        ),
        (IngestionError("plain"), False, "plain", {"error": "IngestionError"}),
        (ValueError("out of range"), False, "ValueError: out of range", {}),
    ],
)
def test_a_failure_says_what_happened_and_carries_the_facts(
    error: Exception,
    *,
    allows_retries: bool,
    description: str,
    facts: dict[str, str],
) -> None:
    """The description is the sentence; the metadata names each fact; the cause is kept."""
    with pytest.raises(dg.Failure) as raised, explained_failures():
        raise error
    failure = raised.value
    assert (allows_retries, description) == (failure.allow_retries, failure.description)
    assert facts == {name: value.value for name, value in failure.metadata.items()}
    assert error is failure.__cause__


def test_a_failure_that_is_explained_already_is_left_alone() -> None:
    """What raised it knows best whether a retry helps."""
    with pytest.raises(dg.Failure) as raised, explained_failures():
        raise dg.Failure("as it is", allow_retries=True)
    assert ("as it is", True) == (raised.value.description, raised.value.allow_retries)


def test_success_is_left_alone() -> None:
    """Nothing is raised where nothing was."""
    with explained_failures():
        assert date(2025, 1, 1).year == 2025
