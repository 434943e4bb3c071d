"""A published file of exchange rates, as bytes: from the web, or from a path for who has no web or another source.

Here: how the file is fetched. Not here: what it says (domains/sales/rates_ecb.py).
"""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx
from pydantic import TypeAdapter

from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.providers.http import CircuitBreaker, HttpLimits, HttpSource
from ingestion_pipeline.providers.http_body import BodyReader
from ingestion_pipeline.providers.rate import RateGate
from ingestion_pipeline.settings import Settings

NAME = "ecb"
RATE = "6/minute"
MAX_FILE_BYTES = 32 * 1024 * 1024
_BYTES = TypeAdapter(bytes)


class _AnyBody(BodyReader):
    """The body is no JSON: what is in it, its reader says."""

    def parse(self, body: bytes, path: str) -> object:  # noqa: ARG002 - the base's signature
        return body


class _FileSource(HttpSource):
    def __init__(self, base_url: str, *, breaker: CircuitBreaker, rate: RateGate, limits: HttpLimits | None) -> None:
        headers = {"accept": "application/zip, text/csv, */*;q=0.1"}
        super().__init__(NAME, base_url, breaker=breaker, rate=rate, limits=limits, headers=headers)
        self._bodies = _AnyBody(
            provider=NAME, max_bytes=self._bodies.max_bytes, deadline_seconds=self._bodies.deadline_seconds
        )


@dataclass(frozen=True)
class ExchangeRatesFile:
    """Where the rates are: an http(s) or file URL, or a path. `source` is the host or file that the table names."""

    url: str
    breaker: CircuitBreaker
    limits: HttpLimits | None = None
    redis_url: str | None = None

    @property
    def source(self) -> str:
        return self._web_host or Path(self._path).name

    def fetch(self) -> bytes:
        """The file as it is, at most 32 MB.

        Raises:
            ConfigurationError: there is no such file.
            ContractError: the source answers something else than a file.
            TransientError: it cannot be asked now.
        """
        if self._web_host is None:
            return self._read()
        parts = urlsplit(self.url)
        rate = RateGate(NAME, RATE, redis_url=self.redis_url)
        root = f"{parts.scheme}://{parts.netloc}"
        return _FileSource(root, breaker=self.breaker, rate=rate, limits=self.limits).fetch(
            parts.path or "/", _BYTES, params=httpx.QueryParams(parts.query)
        )

    @property
    def _web_host(self) -> str | None:
        parts = urlsplit(self.url)
        return (parts.hostname or "") if parts.scheme in ("http", "https") else None

    @property
    def _path(self) -> str:
        parts = urlsplit(self.url)
        return url2pathname(parts.path) if parts.scheme == "file" else self.url

    def _read(self) -> bytes:
        try:
            with Path(self._path).open("rb") as file:
                body = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            expected = f"a URL or a file that can be read ({error.strerror})"
            raise ConfigurationError("SALES_RATES_URL", self.url, expected) from None
        if len(body) > MAX_FILE_BYTES:
            raise ConfigurationError("SALES_RATES_URL", self.url, f"a file of at most {MAX_FILE_BYTES} bytes")
        return body


def exchange_rates_file(settings: Settings, *, breaker: CircuitBreaker) -> ExchangeRatesFile:
    """The file at SALES_RATES_URL."""
    return ExchangeRatesFile(
        settings.sales_rates_url,
        breaker=breaker,
        limits=HttpLimits(max_body_bytes=MAX_FILE_BYTES, timeout_seconds=settings.provider_timeout_seconds),
        redis_url=settings.redis_url.get_secret_value() if settings.redis_url else None,
    )
