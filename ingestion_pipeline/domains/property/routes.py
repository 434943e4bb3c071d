"""The HTTP endpoints of the property domain: macro series, fundamentals, comparable sales, predictions.

What is asked without a parameter comes through the cache (`X-Cache: hit`, `miss` or `stale`), the rest from PostgreSQL.
"""

import asyncio
import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated, Any

import msgspec

from ingestion_pipeline.core.markets import MARKET_SLUG
from ingestion_pipeline.domains.property import reads
from ingestion_pipeline.domains.property import routes_openapi as openapi
from ingestion_pipeline.domains.property.contracts import property_type
from ingestion_pipeline.domains.property.metrics import METRICS
from ingestion_pipeline.domains.property.reads import DEFAULT_OBSERVATIONS, DEFAULT_ROWS, Document, Value
from ingestion_pipeline.intake.endpoints import Answer, Call, Endpoint, HttpDomain, json_answer
from ingestion_pipeline.intake.parameters import cursor_of, position_of, query_of, refused
from ingestion_pipeline.intake.problems import FieldError, Problem, shown
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.warming import Stores

SCOPE = "property:read"
_SERIES = re.compile(r"[A-Za-z0-9_.-]{1,64}")

_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
_Rows = Annotated[int, msgspec.Meta(ge=1, le=openapi.MAX_ROWS)]


class MacroQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of GET /api/property/macro/{series_id}."""

    since: date | None = msgspec.field(default=None, name="from")
    until: date | None = msgspec.field(default=None, name="to")
    limit: Annotated[int, msgspec.Meta(ge=1, le=openapi.MAX_OBSERVATIONS)] = DEFAULT_OBSERVATIONS


class FundamentalsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of GET /api/property/markets/{market_slug}/fundamentals."""

    metric: _Word | None = None
    since: date | None = msgspec.field(default=None, name="from")
    until: date | None = msgspec.field(default=None, name="to")
    limit: _Rows = DEFAULT_ROWS


class CompsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of GET /api/property/markets/{market_slug}/comps."""

    property_type: Annotated[str, msgspec.Meta(min_length=1, max_length=50)] | None = None
    since: date | None = msgspec.field(default=None, name="from")
    until: date | None = msgspec.field(default=None, name="to")
    limit: _Rows = DEFAULT_ROWS
    cursor: str | None = None


class PredictionsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of GET /api/property/markets/{market_slug}/predictions."""

    limit: _Rows = DEFAULT_ROWS
    cursor: str | None = None


def http(services: Services) -> HttpDomain:
    """The domain's part of the intake."""
    reader = Reader(services)
    return HttpDomain(endpoints=reader.endpoints(), shutdown=reader.close)


class Reader:
    """Answers the queries, in threads: the cache and PostgreSQL are asked synchronously, as by the worker."""

    def __init__(self, services: Services) -> None:
        self._postgres = Postgres(services.database_url)  # connects when it is first asked
        self._stores = Stores(services.settings, self._postgres, services.cache)

    async def close(self) -> None:
        await asyncio.to_thread(self._postgres.close)

    def endpoints(self) -> list[Endpoint]:
        markets: dict[str, Any] = {
            "method": "GET",
            "access": (SCOPE,),
            "market": lambda call: call.path["market_slug"],
        }
        return [
            Endpoint(
                method="GET",
                path="/api/property/macro/{series_id}",
                handler=self.macro,
                access=(SCOPE,),
                summary="Observations of a macro series, newest first",
                description="Each day's value as the source says it today; missing ones are null.",
                parameters=openapi.MACRO_PARAMETERS,
                responses=openapi.MACRO_RESPONSES,
            ),
            Endpoint(
                path="/api/property/markets/{market_slug}/fundamentals",
                handler=self.fundamentals,
                summary="Figures of a market",
                description="The newest value of each metric, and how old they are; with `metric` its history.",
                parameters=openapi.FUNDAMENTALS_PARAMETERS,
                responses=openapi.FUNDAMENTALS_RESPONSES,
                **markets,
            ),
            Endpoint(
                path="/api/property/markets/{market_slug}/comps",
                handler=self.comps,
                summary="Comparable sales of a market, newest first",
                parameters=openapi.COMPS_PARAMETERS,
                responses=openapi.COMPS_RESPONSES,
                **markets,
            ),
            Endpoint(
                path="/api/property/markets/{market_slug}/predictions",
                handler=self.predictions,
                summary="What the sold homes of a market were thought to be worth the day before, newest first",
                description="And how true such predictions have turned out to be. Those of a job are in its output.",
                parameters=openapi.PREDICTIONS_PARAMETERS,
                responses=openapi.PREDICTIONS_RESPONSES,
                **markets,
            ),
        ]

    async def macro(self, call: Call) -> Answer:
        """GET /api/property/macro/{series_id}."""
        series_id = _named(call, "series_id", _SERIES)
        query = query_of(call, MacroQuery, max_page=openapi.MAX_OBSERVATIONS)
        if not call.query:
            return await self._cached(reads.recent_macro(self._stores, series_id), "observations of this series")
        return await self._loaded(
            lambda: reads.macro(
                self._postgres, series_id, limit=query.limit, from_date=query.since, to_date=query.until
            ),
            "observations of this series and time",
        )

    async def fundamentals(self, call: Call) -> Answer:
        """GET /api/property/markets/{market_slug}/fundamentals."""
        market = _named(call, "market_slug", MARKET_SLUG)
        query = query_of(call, FundamentalsQuery, max_page=openapi.MAX_ROWS)
        metric = query.metric
        if metric is None and call.query:
            raise refused(FieldError("metric", "a metric with `from`, `to` or `limit`", "nothing"))
        if metric is None:
            return await self._cached(reads.latest_fundamentals(self._stores, market), "fundamentals of this market")
        if metric not in METRICS:
            raise refused(FieldError("metric", f"one of {', '.join(METRICS)}", shown(metric)))
        return await self._loaded(
            lambda: reads.metric_history(
                self._postgres, market, metric, limit=query.limit, from_date=query.since, to_date=query.until
            ),
            "values of this market, metric and time",
        )

    async def comps(self, call: Call) -> Answer:
        """GET /api/property/markets/{market_slug}/comps."""
        market = _named(call, "market_slug", MARKET_SLUG)
        query = query_of(call, CompsQuery, max_page=openapi.MAX_ROWS)
        if not call.query:
            return await self._cached(reads.recent_comps(self._stores, market), "sales of this market", _comps_cursor)
        kind = None if query.property_type is None else property_type(query.property_type)
        after = None if query.cursor is None else position_of(query.cursor, tuple[date, _Word, _Word])
        return await self._loaded(
            lambda: reads.comps(
                self._postgres,
                market,
                limit=query.limit,
                property_type=kind,
                from_date=query.since,
                to_date=query.until,
                after=after,
            ),
            "sales of this market, type and time",
            _comps_cursor,
        )

    async def predictions(self, call: Call) -> Answer:
        """GET /api/property/markets/{market_slug}/predictions."""
        market = _named(call, "market_slug", MARKET_SLUG)
        query = query_of(call, PredictionsQuery, max_page=openapi.MAX_ROWS)
        if not call.query:
            value = reads.recent_predictions(self._stores, market)
            return await self._cached(value, "predictions of this market", _predictions_cursor)
        after = None if query.cursor is None else position_of(query.cursor, tuple[datetime, _Word])
        return await self._loaded(
            lambda: reads.predictions(self._postgres, market, limit=query.limit, after=after),
            "older predictions of this market",
            _predictions_cursor,
        )

    async def _cached(self, value: Value, what: str, cursor: Callable[[Document], str | None] | None = None) -> Answer:
        found = await asyncio.to_thread(value.read, self._stores)
        answer = _answer(found.value, what, cursor)
        answer.headers = ((b"x-cache", found.how.encode()),)
        answer.cache_hit = found.is_hit
        return answer

    async def _loaded(
        self,
        load: Callable[[], Document | None],
        what: str,
        cursor: Callable[[Document], str | None] | None = None,
    ) -> Answer:
        return _answer(await asyncio.to_thread(load), what, cursor)


def _named(call: Call, name: str, pattern: re.Pattern[str]) -> str:
    """What the path names; what no name can be is not looked for, nor does it get into a key of the cache."""
    if not pattern.fullmatch(call.path[name]):
        raise Problem(404, f"there is no {name} of this spelling")
    return call.path[name]


def _answer(document: Document | None, what: str, cursor: Callable[[Document], str | None] | None) -> Answer:
    if document is None:
        raise Problem(404, f"there are no {what}")
    return json_answer(200, document if cursor is None else {**document, "next_cursor": cursor(document)})


def _comps_cursor(document: Document) -> str | None:
    last = document["comps"][-1]
    return cursor_of([last["sale_date"], last["source"], last["comp_id"]]) if document["has_more"] else None


def _predictions_cursor(document: Document) -> str | None:
    last = document["predictions"][-1]
    return cursor_of([last["made_at"], last["prediction_id"]]) if document["has_more"] else None
