"""Circuit breakers with their state in PostgreSQL, so that short-lived processes share it and health can show it.

The two transitions are SQL functions (sql/functions/breaker_*.sql). A breaker opens after five failures in a row, stays
open for a minute, then lets one probe through.
"""

from ingestion_pipeline.core.errors import CircuitOpenError
from ingestion_pipeline.storage.postgres import Postgres

FAILURE_THRESHOLD = 5
PAUSE = "1 minute"
PROBE_LEASE = "30 seconds"


class PostgresBreaker:
    """The CircuitBreaker of providers/http.py, kept in operations.circuit_breakers."""

    def __init__(self, postgres: Postgres, *, threshold: int = FAILURE_THRESHOLD, pause: str = PAUSE) -> None:
        self._postgres = postgres
        self._threshold = threshold
        self._pause = pause

    def before_call(self, name: str) -> None:
        """Raises CircuitOpenError while `name` must not be called."""
        with self._postgres.transaction() as connection:
            row = connection.execute(
                "select operations.breaker_before_call(%s, %s::interval)", [name, PROBE_LEASE]
            ).fetchone()
        if row and row[0]:
            raise CircuitOpenError(name, row[0])

    def record(self, name: str, *, ok: bool) -> None:
        with self._postgres.transaction() as connection:
            connection.execute(
                "select operations.breaker_record(%s, %s, %s, %s::interval)", [name, ok, self._threshold, self._pause]
            )
