"""Reads the body of an HTTP answer without trusting it: size, time and JSON are all bounded or strict.

Belongs here: bytes to JSON. Does not belong here: requests, retries, what the JSON means.
"""

import json
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import httpx

from ingestion_pipeline.core.errors import ContractError, ProviderUnavailableError

_EXCERPT_CHARACTERS = 80
_GZIP = 31  # zlib's window bits for a gzip wrapper


@dataclass(eq=False)
class UnreadableBodyError(ContractError):
    """A body that is no JSON at all: unlike other broken contracts it may be a passing fault of a proxy."""


@dataclass(eq=False)
class OversizedBodyError(UnreadableBodyError):
    """A body larger than we read: the source is at fault, and asking again costs as much again."""


@dataclass(frozen=True, kw_only=True)
class BodyReader:
    """Reads bodies of one provider; `secrets` never appear in an excerpt, even if the provider echoes them."""

    provider: str
    max_bytes: int
    deadline_seconds: float
    secrets: Sequence[str] = ()

    def read(self, response: httpx.Response, path: str) -> bytes:
        """The decoded body.

        Raises:
            OversizedBodyError: larger than `max_bytes`.
            UnreadableBodyError: in an encoding that we did not ask for, or damaged.
            ProviderUnavailableError: it trickles in for longer than `deadline_seconds`.
        """
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"identity", "gzip", ""}:
            raise self.unreadable(
                path, "content-encoding", seen=encoding[:_EXCERPT_CHARACTERS], expected="gzip or none"
            )
        raw = self._within_limits(response.iter_raw(), path)
        if encoding != "gzip" or not raw:
            return raw
        inflate = zlib.decompressobj(_GZIP)
        try:
            body = inflate.decompress(raw, self.max_bytes + 1)
        except zlib.error:
            raise self.unreadable(path, "body", seen="damaged gzip", expected="gzip") from None
        if len(body) > self.max_bytes:
            raise self._oversized(path)
        return body

    def parse(self, body: bytes, path: str) -> object:
        """Strict JSON: no NaN, no Infinity, nothing truncated.

        Raises:
            UnreadableBodyError: anything else.
        """
        try:
            return json.loads(body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise self.unreadable(path, "body", seen=self.excerpt(body), expected="JSON") from None

    def excerpt(self, body: bytes | str) -> str:
        """The first characters of `body`, printable, without our secrets."""
        # Cut after replacing: a secret that straddles the cut would otherwise survive in part.
        head = body[:65_536]
        text = head.decode("utf-8", errors="replace") if isinstance(head, bytes) else head
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return ascii(" ".join(text[: 4 * _EXCERPT_CHARACTERS].split())[:_EXCERPT_CHARACTERS]) if text else "empty"

    def unreadable(self, path: str, field: str, *, seen: str, expected: str) -> UnreadableBodyError:
        return UnreadableBodyError(f"{self.provider} {path}", field, seen, expected)

    def _within_limits(self, chunks: Iterable[bytes], path: str) -> bytes:
        deadline = time.monotonic() + self.deadline_seconds
        body = bytearray()
        for chunk in chunks:
            body += chunk
            if len(body) > self.max_bytes:
                raise self._oversized(path)
            if time.monotonic() > deadline:
                reason = f"GET {path}: the body did not arrive within {self.deadline_seconds:g} s"
                raise ProviderUnavailableError(self.provider, reason)
        return bytes(body)

    def _oversized(self, path: str) -> OversizedBodyError:
        seen, expected = f"over {self.max_bytes} bytes", f"at most {self.max_bytes} bytes"
        return OversizedBodyError(f"{self.provider} {path}", "body size", seen, expected)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
