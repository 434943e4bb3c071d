"""Gumroad's API, version 2: the sales of an account, newest first, page by page.

Sales have no time of last change and a list has no refunds of its own: who wants refunds of old sales reads a trailing
window again. Pages are ten sales, addressed by a key; the last page has none. Errors come as 400, as 401, and as 200
with `success: false`. The token travels in a header; no error or log line shows it.

Not here: what a sale is worth (domains/sales/gumroad_sales.py), how far a window reaches back.
"""

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from pydantic import BaseModel, TypeAdapter

from ingestion_pipeline.core.errors import (
    ConfigurationError,
    ContractError,
    IngestionError,
    ProviderUnavailableError,
)
from ingestion_pipeline.providers.http import Answer, CircuitBreaker, HttpLimits, HttpSource
from ingestion_pipeline.providers.rate import RateGate

NAME = "gumroad"
URL = "https://api.gumroad.com"
RATE = "5/second"
MOST_PAGES = 100_000
_SALES = "/v2/sales"
_BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 400, 401, 403, 404
_KEY = re.compile(r"\d{20}(?=-)")
_NEWEST = "9" * 20
_ID = re.compile(r"[A-Za-z0-9_=-]{1,200}")


class _Page(BaseModel):
    success: bool
    sales: list[dict[str, Any]]
    next_page_key: str | None = None


class _Sale(BaseModel):
    success: bool
    sale: dict[str, Any]


_PAGE, _SALE = TypeAdapter(_Page), TypeAdapter(_Sale)


@dataclass(frozen=True)
class SalesPage:
    """Some sales as Gumroad wrote them; `next_page_key` continues after them, None after the last."""

    sales: Sequence[Mapping[str, Any]]
    next_page_key: str | None


class GumroadProvider:
    """Fetches the sales of one account."""

    name = NAME

    def __init__(self, source: HttpSource) -> None:
        self._source = source

    def fetch_pages(self, *, after: date | None = None) -> Iterator[SalesPage]:
        """The sales from the UTC day `after` on, newest first.

        Raises:
            ConfigurationError: the token is wrong, or may not see sales.
            ContractError: another shape, or pages that repeat or do not end.
            TransientError: it cannot be asked now, or the range is too wide for it.
        """
        params = {} if after is None else {"after": after.isoformat()}
        seen_keys: set[str] = set()
        last = SalesPage((), None)
        for _ in range(MOST_PAGES):
            key = last.next_page_key
            found = self._source.fetch(_SALES, _PAGE, params=params | ({"page_key": key} if key else {}))
            page = SalesPage(found.sales, found.next_page_key or None)
            _check_progress(page, last, seen_keys)
            yield page
            if page.next_page_key is None:
                return
            seen_keys.add(page.next_page_key)
            last = page
        raise ContractError(f"{NAME} {_SALES}", "next_page_key", "still more", f"at most {MOST_PAGES:,} pages")

    def fetch_sale(self, sale_id: str) -> Mapping[str, Any] | None:
        """One sale; None where the account has none of this id, such as one that a forged ping names.

        Raises:
            ConfigurationError, ContractError, TransientError
        """
        if not _ID.fullmatch(sale_id):
            return None
        try:
            found = self._source.fetch(f"{_SALES}/{sale_id}", _SALE)
        except _NoSuchSaleError:
            return None
        if _id_of(found.sale) != sale_id:
            raise ContractError(f"{NAME} {_SALES}/:id", "sale.id", "another", "the one that was asked for")
        return found.sale


class GumroadSource(HttpSource):
    """Keeps the bare token, not only the header's value, out of the texts of errors: an error page may echo it."""

    def __init__(
        self,
        base_url: str,
        *,
        access_token: str,
        breaker: CircuitBreaker,
        rate: RateGate,
        limits: HttpLimits | None = None,
    ) -> None:
        header = f"Bearer {access_token}"
        super().__init__(
            NAME,
            base_url,
            breaker=breaker,
            rate=rate,
            limits=limits,
            headers={"authorization": header},
            explain=self._explained,
        )
        self._bodies = replace(self._bodies, secrets=(header, access_token))

    def _explained(self, answer: Answer) -> IngestionError | None:
        """Gumroad's errors: `{"status": 400, "error": "Invalid page_key."}`, `{"success": false, "message": "..."}`."""
        body = answer.body if isinstance(answer.body, dict) else {}
        message = str(body.get("error") or body.get("message") or "")
        if answer.status in {_UNAUTHORIZED, _FORBIDDEN}:
            return ConfigurationError("GUMROAD_ACCESS_TOKEN", "***", "a token of Gumroad with the scope view_sales")
        if body.get("success") is True and answer.status < _BAD_REQUEST:
            return None
        if "timed out" in message.casefold():
            return ProviderUnavailableError(NAME, f"GET {answer.path}: its query timed out; a shorter range may do")
        is_missing = answer.status == _NOT_FOUND or "not found" in message.casefold()
        if answer.path != _SALES and is_missing:
            return _NoSuchSaleError(f"{NAME} {_SALES}/:id", "sale", "none of this id", "a sale of the account")
        seen = f"{answer.status} {self._bodies.excerpt(message)}"
        return ContractError(f"{NAME} {_SALES}", "answer", seen, "success")


def gumroad_provider(
    *,
    access_token: str,
    breaker: CircuitBreaker,
    base_url: str = URL,
    redis_url: str | None = None,
    timeout_seconds: float = 10.0,
) -> GumroadProvider:
    """Gumroad with the token of the settings GUMROAD_ACCESS_TOKEN (scope view_sales) and the root GUMROAD_URL.

    Raises:
        ConfigurationError: the token or the root cannot be one.
    """
    if not re.fullmatch(r"[\x21-\x7e]{8,500}", access_token):
        raise ConfigurationError("GUMROAD_ACCESS_TOKEN", "***", "a token without spaces, 8 to 500 characters")
    source = GumroadSource(
        base_url,
        access_token=access_token,
        breaker=breaker,
        rate=RateGate(NAME, RATE, redis_url=redis_url),
        limits=HttpLimits(timeout_seconds=timeout_seconds),
    )
    return GumroadProvider(source)


class _NoSuchSaleError(ContractError):
    """The account has no sale of the id that was asked for."""


def _id_of(sale: Mapping[str, Any]) -> str:
    sale_id = sale.get("id")
    if not isinstance(sale_id, str) or not sale_id:
        raise ContractError(f"{NAME} {_SALES}", "sale.id", ascii(sale_id)[:40], "an id")
    return sale_id


def _check_progress(page: SalesPage, last: SalesPage, seen_keys: Container[str]) -> None:
    """Raises ContractError where going on would read the same again, or nothing, for ever."""
    key, where = page.next_page_key, f"{NAME} {_SALES}"
    ids = [_id_of(sale) for sale in page.sales]
    if ids and ids == [_id_of(sale) for sale in last.sales]:
        raise ContractError(where, "sales", "the page before once more", "older sales")
    if key is None:
        return
    if not ids:
        raise ContractError(where, "next_page_key", "a further page after an empty one", "none")
    if key in seen_keys:
        raise ContractError(where, "next_page_key", "a key that was read already", "a new one")
    if _instant(key) > _instant(last.next_page_key):
        raise ContractError(where, "next_page_key", "newer than the one before", "older sales")


def _instant(key: str | None) -> str:
    """The creation time a key begins with: a key says which sale was the page's last; text that sorts by time."""
    match = _KEY.match(key or "")
    return match[0] if match else _NEWEST
