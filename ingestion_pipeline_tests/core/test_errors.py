"""Errors: texts that name the thing, what was seen and what was expected; one tree, drawn where it is declared."""

import copy
import pickle
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone

import pytest

from ingestion_pipeline.core import errors
from ingestion_pipeline.core.errors import (
    CircuitOpenError,
    ConfigurationError,
    ContractError,
    IngestionError,
    MigrationError,
    NotMigratedError,
    PermanentError,
    ProviderUnavailableError,
    RateLimitedError,
    RestoredDatabaseError,
    StoreUnavailableError,
    TransientError,
    UnknownSymbolError,
    UnsafePathError,
)

NOON = datetime(2026, 3, 2, 12, 30, 5, tzinfo=UTC)

TEXTS = [
    (ProviderUnavailableError("binance", "503"), "provider binance is unavailable: 503"),
    (RateLimitedError("binance"), "provider binance limits our requests"),
    (RateLimitedError("binance", 1.5), "provider binance limits our requests; wait 1.5 s"),
    (CircuitOpenError("binance"), "provider binance failed too often: its circuit breaker is open"),
    (
        CircuitOpenError("binance", NOON),
        "provider binance failed too often: its circuit breaker is open until 2026-03-02 12:30:05 UTC",
    ),
    (StoreUnavailableError("Redis at redis://h", "refused"), "Redis at redis://h cannot be reached: refused"),
    (ConfigurationError("LOG_LEVEL", "loud", "'debug' or 'info'"), "LOG_LEVEL='loud': expected 'debug' or 'info'"),
    (
        NotMigratedError("postgresql://h/db", ["0002_market.sql", "functions/f.sql"]),
        "database postgresql://h/db lacks 2 migration(s), first 0002_market.sql: run `ingestion-pipeline migrate`",
    ),
    (MigrationError("0002_market.sql", "syntax error"), "migration 0002_market.sql: syntax error"),
    (
        RestoredDatabaseError("900", "100"),
        (
            "the sync has read up to transaction 900, but the server is only at 100: the database was restored onto another "
            "server; see `restored database` in RUNBOOK.md"
        ),
    ),
    (ContractError("coingecko", "price", "'x'", "a number"), "coingecko: price is 'x', expected a number"),
    (UnknownSymbolError("mock", "BTC"), "provider mock has no market 'BTC'"),
    (
        UnknownSymbolError("mock", "BTC", ("BTC-USD", "BTC-EUR")),
        "provider mock has no market 'BTC'; did you mean BTC-USD, BTC-EUR?",
    ),
    (UnsafePathError("../x", "/data"), "'../x' is outside '/data', the only folder that may be read"),
]


def declared() -> list[type[IngestionError]]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, IngestionError)]
    return sorted(kinds, key=lambda kind: kind.__name__)


@pytest.mark.parametrize(("error", "text"), TEXTS, ids=[type(error).__name__ for error, _ in TEXTS])
def test_the_text_names_the_thing_what_was_seen_and_what_was_expected(error: IngestionError, text: str) -> None:
    """Somebody who reads only the text knows what to look at."""
    assert text == str(error)


def test_every_error_has_its_text_tested() -> None:
    """A new error cannot be added without its sentence."""
    bases = {IngestionError, TransientError, PermanentError}
    assert set(declared()) - bases == {type(error) for error, _ in TEXTS}


def test_an_open_breaker_names_its_instant_in_utc() -> None:
    """An instant in another zone is the same instant, and the text says UTC."""
    tokyo = NOON.astimezone(timezone(timedelta(hours=9)))
    assert str(CircuitOpenError("x", NOON)) == str(CircuitOpenError("x", tokyo))


@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize(("error", "text"), TEXTS, ids=[type(error).__name__ for error, _ in TEXTS])
def test_errors_survive_pickling_and_copying_however_they_were_made(copied, error: IngestionError, text: str) -> None:
    """Errors cross process boundaries, with facts given by position or by name."""
    by_name = type(error)(**{field.name: getattr(error, field.name) for field in fields(error)})
    assert [(type(error), text)] * 2 == [(type(e), str(e)) for e in (copied(error), copied(by_name))]


def test_errors_without_facts_keep_their_words_when_pickled() -> None:
    """The three bases are ordinary exceptions."""
    assert ("words",) == pickle.loads(pickle.dumps(TransientError("words"))).args


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    """The drawing that readers trust names every error under its real base."""
    drawn: dict[str, str | None] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        name = next((word for word in line.split() if word.endswith("Error")), None)
        if name is None or not (line.startswith(name) or "── " in line):
            continue
        depth = line.index(name) // 4
        path[depth:] = [name]
        drawn[name] = path[depth - 1] if depth else None
    classes = {kind.__name__: kind.__base__.__name__ if kind is not IngestionError else None for kind in declared()}
    assert classes == drawn
