"""Our errors as Dagster failures: transient ones are retried, everything else is not. The only place that maps them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass

import dagster as dg

from ingestion_pipeline.core.errors import IngestionError, TransientError

RETRY_POLICY = dg.RetryPolicy(max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


class Interrupted(dg.DagsterError, dg.DagsterExecutionInterruptedError):
    """Ctrl-C, or a run that was cancelled. Dagster lets its own errors pass; a plain interrupt it would retry."""


@contextmanager
def explained_failures() -> Iterator[None]:
    """Turns an IngestionError into a `dg.Failure` whose text says what to do and whose metadata names the facts."""
    try:
        yield
    except (dg.Failure, dg.RetryRequested):
        raise  # explained already, by who knows best
    except dg.DagsterExecutionInterruptedError as interrupt:
        raise Interrupted("interrupted") from interrupt
    except IngestionError as error:
        facts: dict[str, str] = (
            {f.name: str(getattr(error, f.name)) for f in fields(error)} if is_dataclass(error) else {}
        )
        raise dg.Failure(
            description=str(error),
            metadata={"error": type(error).__name__, **facts},
            allow_retries=isinstance(error, TransientError),
        ) from error
    except Exception as error:
        # a defect or a broken constraint: the same rows would break it again
        raise dg.Failure(description=f"{type(error).__name__}: {error}", allow_retries=False) from error
