"""Whose rows a caller works with: the owner's name, and transactions that row-level security lets see them.

Belongs here: from a caller to an owner, and acting as one. Does not belong here: who a caller is (callers.py).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg import AsyncConnection

from ingestion_pipeline.intake.endpoints import EVERY_SCOPE, Caller
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.storage.scopes import AS_OPERATOR

SCHEDULER_OWNER = "scheduler"
_APPLICATION, _PERSON = "application:", "person:"
_OTHERS = (SCHEDULER_OWNER, "cli")


def owner_of(caller: Caller) -> str:
    """The `owner_id` of what `caller` asks for: a person's `sub`, `application:<name>`, `scheduler`.

    A `sub` that looks like one of the others, or like the command line's `cli:<user>`, is spelled `person:<sub>`.
    """
    if caller.kind == "application":
        return f"{_APPLICATION}{caller.name}"
    if caller.kind == "scheduler":
        return SCHEDULER_OWNER
    is_like_another = caller.name in _OTHERS or caller.name.startswith((_APPLICATION, _PERSON, "cli:"))
    return f"{_PERSON}{caller.name}" if is_like_another else caller.name


def is_operator(caller: Caller, scope: str) -> bool:
    """May `caller` see what belongs to others? `scope` is the administrative one, such as `jobs:admin`."""
    return caller.kind == "application" and not caller.scopes.isdisjoint((scope, EVERY_SCOPE))


@asynccontextmanager
async def acting_as(services: Services, owner: str) -> AsyncIterator[AsyncConnection]:
    """A transaction that sees the rows of `owner` and adds rows for `owner` only."""
    async with services.pool.connection() as connection:
        await connection.execute("select set_config('app.user_id', %s, true)", [owner])
        yield connection


@asynccontextmanager
async def acting_as_operator(services: Services) -> AsyncIterator[AsyncConnection]:
    """A transaction that sees the rows of all, for operators and for our own sums."""
    async with services.pool.connection() as connection:
        await connection.execute(AS_OPERATOR)
        yield connection
