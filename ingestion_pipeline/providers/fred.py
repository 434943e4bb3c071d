"""FRED (fred.stlouisfed.org/docs/api): observations of macro series, as the source says them today.

Its first day of the real-time period is the vintage of all values of an answer. Missing is ".". Two requests a second
are allowed; faster ones are answered 429, or in part. A series is always read whole: revisions reach back for years,
and most series are one page.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from pydantic import BaseModel, Field, TypeAdapter

from ingestion_pipeline.core.errors import ConfigurationError, ContractError, IngestionError, RateLimitedError
from ingestion_pipeline.providers.http import Answer, CircuitBreaker, HttpLimits, HttpSource
from ingestion_pipeline.providers.rate import RateGate
from ingestion_pipeline.settings import Settings

NAME = "fred"
RATE = "2/second"
PAGE_ROWS = 100_000
OBSERVATIONS = "/series/observations"
_BAD_REQUEST, _TOO_MANY = 400, 429


class Observation(BaseModel):
    date: date
    value: str


class Page(BaseModel):
    realtime_start: date
    count: int = Field(ge=0)
    observations: list[Observation]


_PAGE = TypeAdapter(Page)


@dataclass(frozen=True)
class Series:
    """A whole series: each day with its value, None where the source says that there is none."""

    series_id: str
    vintage_date: date
    observations: Sequence[tuple[date, float | None]]


class FredSource(HttpSource):
    """FRED over HTTP. The key is no header: pages that quote the address that was asked for are shown without it."""

    def __init__(
        self,
        base_url: str,
        *,
        key: str,
        breaker: CircuitBreaker,
        rate: RateGate,
        limits: HttpLimits | None = None,
    ) -> None:
        super().__init__(NAME, base_url, breaker=breaker, rate=rate, limits=limits, explain=explain)
        self._bodies = replace(self._bodies, secrets=(key,))
        self._key = key

    def fetch_page(self, series_id: str, *, offset: int, limit: int) -> Page:
        """The observations of `series_id` from the `offset`-th on, `limit` at most, ascending by day."""
        params: dict[str, str | int] = {
            "series_id": series_id,
            "api_key": self._key,
            "file_type": "json",
            "sort_order": "asc",
            "limit": limit,
            "offset": offset,
        }
        return self.fetch(OBSERVATIONS, _PAGE, params=params)

    def excerpt(self, text: str) -> str:
        """The first characters of `text`, without the key."""
        return self._bodies.excerpt(text)


class FredProvider:
    """Fetches series of FRED."""

    name = NAME

    def __init__(self, source: FredSource, *, page_rows: int = PAGE_ROWS) -> None:
        self._source = source
        self._page_rows = page_rows

    def fetch_series(self, series_id: str) -> Series:
        """All observations of `series_id`, ascending by day.

        Raises:
            ConfigurationError: FRED does not know the series, or the key.
            ContractError: no observations, other than it counts, or another shape.
            TransientError: it cannot be asked now.
        """
        found: list[Observation] = []
        page = self._page(series_id, found)
        while len(found) < page.count and page.observations:
            page = self._page(series_id, found)
        where = f"{NAME} {OBSERVATIONS}"
        if not found:
            raise ContractError(where, f"{series_id}.observations", "empty", "at least one observation")
        if len(found) != page.count:
            raise ContractError(where, f"{series_id}.count", str(page.count), f"the {len(found)} that were sent")
        observations = {it.date: self._value(series_id, it) for it in found}
        return Series(series_id, page.realtime_start, sorted(observations.items()))

    def _page(self, series_id: str, found: list[Observation]) -> Page:
        page = self._source.fetch_page(series_id, offset=len(found), limit=self._page_rows)
        found += page.observations
        return page

    def _value(self, series_id: str, observation: Observation) -> float | None:
        if observation.value == ".":
            return None
        try:
            value = float(observation.value)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            where = f"{series_id}.{observation.date}"
            seen = self._source.excerpt(observation.value)
            raise ContractError(f"{NAME} {OBSERVATIONS}", where, seen, 'a number or "."')
        return value


def fred_provider(settings: Settings, *, breaker: CircuitBreaker) -> FredProvider | None:
    """FRED with the key, root and time-out of `settings`; None without a key."""
    if settings.fred_api_key is None:
        return None
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    source = FredSource(
        settings.fred_url,
        key=settings.fred_api_key.get_secret_value(),
        breaker=breaker,
        rate=RateGate(NAME, RATE, redis_url=redis_url),
        limits=HttpLimits(timeout_seconds=settings.provider_timeout_seconds),
    )
    return FredProvider(source)


def explain(answer: Answer) -> IngestionError | None:
    """FRED's own errors: `{"error_code": 400, "error_message": "Bad Request.  ..."}`."""
    body = answer.body if isinstance(answer.body, dict) else {}
    message = str(body.get("error_message", ""))
    if body.get("error_code") == _TOO_MANY:
        return RateLimitedError(NAME)
    if answer.status != _BAD_REQUEST:
        return None
    if "api_key" in message:
        expected = "a key that is registered at fredaccount.stlouisfed.org, 32 lower-case letters and digits"
        return ConfigurationError("FRED_API_KEY", "***", expected)
    if "does not exist" in message:
        series_id = str(answer.params.get("series_id"))
        return ConfigurationError("FRED_SERIES", series_id, "series of FRED; this one does not exist (any more)")
    return None
