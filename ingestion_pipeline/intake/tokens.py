"""Application tokens as their keeper handles them: made, listed, revoked. Checking them is callers.py."""

import re
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.intake.callers import token_digest
from ingestion_pipeline.storage.postgres import Postgres

PREFIX = "app_"  # tells people and secret scanners what it is
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SPAN = re.compile(r"([1-9]\d{0,4})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_INSERT = """
insert into operations.app_tokens (name, digest, scopes, created_at, expires_at)
values (:name, :digest, :scopes, :created_at, :expires_at)
on conflict (name) do nothing
"""
_REVOKE = "update operations.app_tokens set revoked_at = now() where name = :name and revoked_at is null"


def new_token() -> str:
    """A secret of 256 random bits."""
    return PREFIX + secrets.token_hex(32)


def create_token(
    postgres: Postgres, name: str, scopes: Sequence[str], *, known: Collection[str], expires_in: str | None = None
) -> str:
    """Makes a token with `scopes`, all of which are `known`; the token, which nothing can tell again.

    Raises:
        ConfigurationError: the name is taken or malformed, a scope is not known, the span is none such as 90d.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError("NAME", name, "letters, digits, dots, dashes and underscores, at most 64")
    for scope in scopes:
        if scope not in known:
            raise ConfigurationError("--scope", scope, " or ".join(sorted(known)))
    token, now = new_token(), utc_now()
    row = {
        "name": name,
        "digest": token_digest(token).hex(),
        "scopes": sorted(set(scopes)),
        "created_at": now,
        "expires_at": None if expires_in is None else _end_of(expires_in, now),
    }
    if not postgres.execute(_INSERT, row):
        raise ConfigurationError("NAME", name, "a name that no token has had; `tokens list` shows them")
    return token


def list_tokens(postgres: Postgres) -> list[dict[str, Any]]:
    """Name, scopes, created_at, expires_at, revoked_at of every token, oldest first."""
    return postgres.read("app_tokens")


def revoke_token(postgres: Postgres, name: str) -> None:
    """Ends a token; every intake process knows within seconds.

    Raises:
        ConfigurationError: no such token is in force.
    """
    if not postgres.execute(_REVOKE, {"name": name}):
        raise ConfigurationError("NAME", name, "the name of a token that is in force; `tokens list` shows them")


def _end_of(span: str, now: datetime) -> datetime:
    found = _SPAN.fullmatch(span)
    if not found:
        raise ConfigurationError("--expires-in", span, "a span such as 90d, 12h or 30m")
    return now + timedelta(**{_UNITS[found[2]]: int(found[1])})
