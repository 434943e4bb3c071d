"""Who calls: application tokens, the scheduler's secret, persons' JWTs. Everything is compared in constant time.

Tokens are known by their SHA-256; the table is read every few seconds, so that a revoked token ends soon, and the last
known tokens serve while PostgreSQL is away. A secret that is not set opens nothing.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import jwt
import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from pydantic import SecretStr

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.intake.endpoints import CALLER_KINDS, EVERY_SCOPE, PERSON, PUBLIC, SCHEDULER, Caller
from ingestion_pipeline.intake.problems import Problem, unavailable
from ingestion_pipeline.settings import Settings

READ_SECONDS = 3.0
CONNECTION_SECONDS = 2.0
CLOCK_SKEW_SECONDS = 10
ENVIRONMENT_TOKEN = "INGEST_APP_TOKEN"  # noqa: S105 - the caller's name
_LONGEST_SUBJECT = 200
_CRON_HEADERS = (b"x-cron-secret", b"x-vercel-cron-secret")
_TOKENS = "select digest, name, scopes, expires_at from operations.app_tokens where revoked_at is null"
_PUBLIC = Caller("public", "public")
_SCHEDULER = Caller("scheduler", "scheduler")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Token:
    caller: Caller
    expires_at: datetime | None


class Callers:
    """Tells who sent a request, and refuses whom an endpoint does not let in."""

    def __init__(self, settings: Settings, pool: AsyncConnectionPool) -> None:
        self._pool = pool
        self._tokens: dict[bytes, _Token] = {}
        self._known: dict[bytes, _Token] = {}
        self._cron_secret = _bytes(settings.cron_secret)
        self._jwt_secret = _bytes(settings.jwt_secret)
        self._task: asyncio.Task[None] | None = None
        self._is_away = False
        self._has_read = False
        if settings.ingest_app_token:
            caller = Caller("application", ENVIRONMENT_TOKEN, frozenset({EVERY_SCOPE}))
            self._known[token_digest(settings.ingest_app_token.get_secret_value())] = _Token(caller, None)

    async def start(self) -> None:
        """Reads the tokens, and goes on reading them."""
        await self.read()
        self._task = asyncio.create_task(self._read_forever(), name="app-tokens")

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def read(self) -> None:
        """Takes over the tokens of the table; keeps those of before when it cannot be read."""
        try:
            async with self._pool.connection(CONNECTION_SECONDS) as connection:
                rows = await (await connection.execute(_TOKENS)).fetchall()
        except (psycopg.Error, PoolTimeout) as error:
            if not self._is_away:
                _log.warning("application tokens cannot be read: the last known ones serve", reason=str(error))
            self._is_away = True
            return
        self._is_away, self._has_read = False, True
        self._tokens = {
            bytes.fromhex(digest): _Token(Caller("application", name, frozenset(scopes)), expires_at)
            for digest, name, scopes, expires_at in rows
        }

    def require(self, access: tuple[str, ...], headers: Mapping[bytes, bytes]) -> Caller:
        """The caller, who is one of `access`.

        Raises:
            Problem: nobody who is known (401), or somebody who may not (403).
        """
        if access == (PUBLIC,):
            return _PUBLIC
        bearer = _bearer(headers)
        if SCHEDULER in access and self._is_scheduler(headers, bearer):
            return _SCHEDULER
        token = headers.get(b"x-app-token")
        if token is None and CALLER_KINDS.isdisjoint(access):  # nobody else has a bearer token there: Prometheus, say
            token = bearer
        if token is not None and not CALLER_KINDS.issuperset(access):
            return self._application(token, access)
        if PERSON in access and bearer is not None:
            return self._person(bearer)
        self._say_what_is_unset(access)
        raise _unknown("credentials are missing or wrong", access)

    def _application(self, token: bytes, access: tuple[str, ...]) -> Caller:
        digest = hashlib.sha256(token).digest()
        # looked up by digest: how long that takes says nothing about a token that one could still guess
        found = self._known.get(digest) or self._tokens.get(digest)
        if found is None and not self._has_read:
            raise unavailable("the application tokens could not be read yet")
        if found is None or (found.expires_at is not None and found.expires_at <= utc_now()):
            raise _unknown("the application token is not known, has expired or was revoked", access)
        if found.caller.scopes.isdisjoint((*access, EVERY_SCOPE)):
            scopes = " or ".join(scope for scope in access if scope not in CALLER_KINDS)
            raise Problem(403, f"the application token lacks the scope {scopes}")
        return found.caller

    def _is_scheduler(self, headers: Mapping[bytes, bytes], bearer: bytes | None) -> bool:
        given = next((headers[name] for name in _CRON_HEADERS if name in headers), bearer)
        return bool(self._cron_secret and given is not None and hmac.compare_digest(given, self._cron_secret))

    def _person(self, bearer: bytes) -> Caller:
        if not self._jwt_secret:
            self._say_what_is_unset((PERSON,))
            raise _unknown("the bearer token is not valid", (PERSON,))
        try:
            claims = jwt.decode(
                bearer,
                self._jwt_secret,
                algorithms=["HS256"],
                audience="authenticated",
                leeway=CLOCK_SKEW_SECONDS,
                options={"require": ["exp", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise _unknown("the bearer token is not valid or has expired", (PERSON,)) from None
        subject = claims["sub"]
        if not isinstance(subject, str) or not subject.isprintable() or not 0 < len(subject) <= _LONGEST_SUBJECT:
            raise _unknown("the bearer token names nobody", (PERSON,))
        return Caller("person", subject)

    def _say_what_is_unset(self, access: tuple[str, ...]) -> None:
        """In the log only: a caller has no business knowing how the service is set up."""
        for kind, secret, variable in (
            (SCHEDULER, self._cron_secret, "CRON_SECRET"),
            (PERSON, self._jwt_secret, "JWT_SECRET"),
        ):
            if kind in access and not secret:
                _log.warning("a call was refused because a secret is not set", variable=variable)

    async def _read_forever(self) -> None:
        while True:
            await asyncio.sleep(READ_SECONDS)
            await self.read()


def token_digest(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


def _bearer(headers: Mapping[bytes, bytes]) -> bytes | None:
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    return credentials.strip() if scheme.lower() == b"bearer" else None


def _bytes(secret: SecretStr | None) -> bytes:
    return secret.get_secret_value().encode() if secret else b""


def _unknown(detail: str, access: tuple[str, ...]) -> Problem:
    challenge = b"Bearer" if {PERSON, SCHEDULER} & set(access) else b"AppToken"
    return Problem(401, detail, headers=((b"www-authenticate", challenge),))
