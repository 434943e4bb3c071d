"""Endpoints as one route of the application: found by path, then allowed, limited, read, answered, in this order.

Limits come before credentials, so that guessing those is limited too; the body comes last, so that nobody unknown makes
us read one.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from limits import RateLimitItem, parse
from starlette.routing import BaseRoute, Match

from ingestion_pipeline.intake.bodies import (
    CLOSE,
    read_body,
    require_json,
    require_size,
    require_storable,
    require_text,
)
from ingestion_pipeline.intake.endpoints import PUBLIC, SCHEDULER, Call, Endpoint
from ingestion_pipeline.intake.exchange import Exchange
from ingestion_pipeline.intake.layer import EXCHANGE, Receive, Scope, Send, send_answer
from ingestion_pipeline.intake.problems import FieldError, Problem, retry_after
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.intake.uploads import FORM, read_upload, require_type, type_of

MOST_PARAMETERS = 50
_NAME = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class _Mounted:
    endpoint: Endpoint
    limit: RateLimitItem | None
    max_body_bytes: int


@dataclass(frozen=True, slots=True)
class _Path:
    template: str
    pattern: re.Pattern[str]
    methods: dict[str, _Mounted]


class EndpointRoute(BaseRoute):
    """Every endpoint. Stands last among the routes: a path that it does not know is nobody's."""

    def __init__(self, endpoints: Iterable[Endpoint], services: Services) -> None:
        self._services = services
        self._fixed: dict[str, _Path] = {}
        self._open: list[_Path] = []
        for endpoint in endpoints:
            self._add(endpoint)

    def matches(self, _: Scope) -> tuple[Match, Scope]:
        return Match.FULL, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope[EXCHANGE]
        path, values = self._find(scope["path"])
        exchange.path = path.template
        mounted = _of_method(path, scope["method"])
        try:
            if mounted.limit is not None:
                await self._limit(mounted, exchange)
            caller = self._services.callers.require(mounted.endpoint.access, exchange.headers)
        except Problem as problem:
            if type_of(exchange.headers) in mounted.endpoint.file_types:
                problem.headers += (CLOSE,)
            raise
        exchange.caller = None if caller.kind == PUBLIC else caller.name
        call = Call(
            request_id=exchange.request_id,
            body=b"",
            query=_query(scope["query_string"]),
            path=values,
            headers=exchange.headers,
            caller=caller,
            address=exchange.address,
        )
        await self._receive(mounted, exchange, receive, call)
        try:
            if mounted.endpoint.market is not None:
                exchange.market = mounted.endpoint.market(call)
            answer = await mounted.endpoint.handler(call)
        finally:
            if call.upload is not None:
                call.upload.file.close()
        exchange.cache_hit = answer.cache_hit
        exchange.market = answer.market or exchange.market
        await send_answer(answer, send)

    def _add(self, endpoint: Endpoint) -> None:
        max_body_bytes = endpoint.max_body_bytes or self._services.settings.max_body_bytes
        mounted = _Mounted(endpoint, self._rate(endpoint), max_body_bytes)
        path = next((it for it in [*self._fixed.values(), *self._open] if it.template == endpoint.path), None)
        if path is None:
            pattern = "".join(
                f"(?P<{part}>[^/]+)" if index % 2 else re.escape(part)
                for index, part in enumerate(_NAME.split(endpoint.path))
            )
            path = _Path(endpoint.path, re.compile(pattern), {})
            if "{" in endpoint.path:
                self._open.append(path)
            else:
                self._fixed[endpoint.path] = path
        if endpoint.method in path.methods:
            raise ValueError(f"two endpoints at {endpoint.method} {endpoint.path}")
        path.methods[endpoint.method] = mounted

    def _rate(self, endpoint: Endpoint) -> RateLimitItem | None:
        if endpoint.limit is None:
            return None
        return self._services.limits.item(endpoint.limit) if endpoint.rate is None else parse(endpoint.rate)

    def _find(self, text: str) -> tuple[_Path, Mapping[str, str]]:
        if path := self._fixed.get(text):
            return path, {}
        for path in self._open:
            if (found := path.pattern.fullmatch(text)) and text.isprintable():
                return path, found.groupdict()
        raise Problem(404, "there is nothing at this path")

    async def _limit(self, mounted: _Mounted, exchange: Exchange) -> None:
        name, item = mounted.endpoint.limit, mounted.limit
        assert name is not None and item is not None  # noqa: PT018, S101
        standing = await self._services.limits.hit(name, item, exchange.address)
        exchange.rate_headers = standing.headers
        if not standing.is_allowed:
            wait = retry_after(standing.reset_seconds)
            raise Problem(429, f"this address may make {item} such requests", headers=(wait,))

    async def _receive(self, mounted: _Mounted, exchange: Exchange, receive: Receive, call: Call) -> None:
        """Gives `call` its body, or the file that was sent in its place."""
        endpoint, settings = mounted.endpoint, self._services.settings
        if type_of(exchange.headers) not in endpoint.file_types:
            call.body = await self._body(mounted, exchange, receive)
            return
        call.upload = await read_upload(
            receive,
            exchange.headers,
            name=call.query.get("name"),
            sender=f"{call.caller.kind}:{call.caller.name}",
            max_bytes=endpoint.max_file_bytes,
            idle_seconds=settings.body_timeout_seconds,
        )
        exchange.request_bytes = call.upload.size_bytes

    async def _body(self, mounted: _Mounted, exchange: Exchange, receive: Receive) -> bytes:
        endpoint, settings = mounted.endpoint, self._services.settings
        if endpoint.request_schema is None:
            return b""
        require_size(exchange.headers, mounted.max_body_bytes)
        is_empty = exchange.headers.get(b"content-length", b"0") == b"0"
        if is_empty and b"transfer-encoding" not in exchange.headers:
            if endpoint.is_body_optional:
                return b""
            raise Problem(400, "the body is empty; expected JSON")
        is_form = endpoint.takes_form and type_of(exchange.headers) == FORM
        if endpoint.file_types:
            require_type(exchange.headers, endpoint.file_types)
        elif not is_form:
            require_json(exchange.headers)
        body = await read_body(receive, max_bytes=mounted.max_body_bytes, timeout_seconds=settings.body_timeout_seconds)
        exchange.request_bytes = len(body)
        if endpoint.judges_parts or is_form:
            require_text(body)
        else:
            require_storable(body, max_depth=settings.max_json_depth)
        return body


def _of_method(path: _Path, method: str) -> _Mounted:
    methods = dict(path.methods)
    if "GET" in methods and methods["GET"].endpoint.access != (SCHEDULER,):  # what only that calls starts something
        methods["HEAD"] = methods["GET"]
    mounted = methods.get(method)
    if mounted is None:
        allowed = ", ".join(methods)
        raise Problem(405, f"{path.template} takes {allowed}", headers=((b"allow", allowed.encode()),))
    return mounted


def _query(text: bytes) -> dict[str, str]:
    """The parameters of the query, each at most once.

    Raises:
        Problem: 400 for what is not UTF-8, 422 for a repeated one, NUL or too many.
    """
    if not text:
        return {}
    try:
        pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS)
    except UnicodeDecodeError:
        raise Problem(400, "the query is not UTF-8") from None
    except ValueError:
        raise Problem(422, f"the query has more than {MOST_PARAMETERS} parameters") from None
    query: dict[str, Any] = {}
    for name, value in pairs:
        if name in query:
            raise Problem(422, f"query parameter {name} is repeated", errors=[FieldError(name, "one value")])
        if "\0" in value or "\0" in name:
            raise Problem(422, f"query parameter {name} holds NUL", errors=[FieldError(name, "text without NUL")])
        query[name] = value
    return query
