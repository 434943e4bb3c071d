"""Every error this package raises on purpose, and what the caller should do about it.

IngestionError
├── TransientError                try again later
│   ├── ProviderUnavailableError  the source did not answer, or answered 5xx
│   ├── RateLimitedError          the source asked us to wait
│   ├── CircuitOpenError          we stopped asking the source for a while
│   └── StoreUnavailableError     PostgreSQL, Redis or the lake cannot be reached
└── PermanentError                trying again changes nothing
    ├── ConfigurationError        a setting is wrong
    ├── NotMigratedError          the database has no, or an older, schema
    ├── MigrationError            a migration cannot be applied
    ├── RestoredDatabaseError     transaction ids do not go on where they stopped
    ├── ContractError             the source answered in a shape we do not know
    ├── UnknownSymbolError        the source has no such market
    └── UnsafePathError           a file outside the folder that may be read

Attributes carry the facts; the text is made from them in one place, here. The text names the thing, what was seen
and what was expected. Mapping to Dagster's retries happens in orchestration/failures.py, nowhere else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime


class IngestionError(Exception):
    """Base of everything raised on purpose. Survives pickling and copying, however its facts were given."""

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt, (type(self), self.args, vars(self))


class TransientError(IngestionError):
    """The same call may succeed later."""


class PermanentError(IngestionError):
    """The same call will fail again until somebody changes something."""


@dataclass(eq=False)
class ProviderUnavailableError(TransientError):
    provider: str
    reason: str

    def __str__(self) -> str:
        return f"provider {self.provider} is unavailable: {self.reason}"


@dataclass(eq=False)
class RateLimitedError(TransientError):
    provider: str
    retry_after_seconds: float | None = None

    def __str__(self) -> str:
        wait = "" if self.retry_after_seconds is None else f"; wait {self.retry_after_seconds:g} s"
        return f"provider {self.provider} limits our requests{wait}"


@dataclass(eq=False)
class CircuitOpenError(TransientError):
    provider: str
    retry_at: datetime | None = None

    def __str__(self) -> str:
        until = "" if self.retry_at is None else f" until {self.retry_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        return f"provider {self.provider} failed too often: its circuit breaker is open{until}"


@dataclass(eq=False)
class StoreUnavailableError(TransientError):
    store: str
    reason: str

    def __str__(self) -> str:
        return f"{self.store} cannot be reached: {self.reason}"


@dataclass(eq=False)
class ConfigurationError(PermanentError):
    variable: str
    value: str
    expected: str

    def __str__(self) -> str:
        return f"{self.variable}={self.value!r}: expected {self.expected}"


@dataclass(eq=False)
class NotMigratedError(PermanentError):
    database: str
    missing: Sequence[str]

    def __str__(self) -> str:
        return (
            f"database {self.database} lacks {len(self.missing)} migration(s), first {self.missing[0]}: "
            "run `ingestion-pipeline migrate`"
        )


@dataclass(eq=False)
class MigrationError(PermanentError):
    migration: str
    reason: str

    def __str__(self) -> str:
        return f"migration {self.migration}: {self.reason}"


@dataclass(eq=False)
class RestoredDatabaseError(PermanentError):
    position: str
    current: str

    def __str__(self) -> str:
        return (
            f"the sync has read up to transaction {self.position}, but the server is only at {self.current}: the "
            "database was restored onto another server; see `restored database` in RUNBOOK.md"
        )


@dataclass(eq=False)
class ContractError(PermanentError):
    source: str
    field: str
    seen: str
    expected: str

    def __str__(self) -> str:
        return f"{self.source}: {self.field} is {self.seen}, expected {self.expected}"


@dataclass(eq=False)
class UnknownSymbolError(PermanentError):
    provider: str
    symbol: str
    nearest: Sequence[str] = ()

    def __str__(self) -> str:
        hint = f"; did you mean {', '.join(self.nearest)}?" if self.nearest else ""
        return f"provider {self.provider} has no market {self.symbol!r}{hint}"


@dataclass(eq=False)
class UnsafePathError(PermanentError):
    path: str
    folder: str

    def __str__(self) -> str:
        return f"{self.path!r} is outside {self.folder!r}, the only folder that may be read"


def _rebuilt(kind: type[IngestionError], args: tuple[object, ...], facts: Mapping[str, object]) -> IngestionError:
    error = kind.__new__(kind, *args)
    vars(error).update(facts)
    return error
