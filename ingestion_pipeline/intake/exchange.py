"""One request and what becomes of it: filled in on its way through the intake, written to the log at its end."""

from collections.abc import Mapping
from dataclasses import dataclass

from ingestion_pipeline.core.ids import new_id

_ID_CHARACTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_LONGEST_ID = 64
_LONGEST_METHOD = 16


@dataclass(slots=True)
class Exchange:
    """`path` is the template of the endpoint, `rate_headers` go onto the answer whatever it is."""

    request_id: str
    method: str
    headers: Mapping[bytes, bytes]
    address: str
    path: str = "(unknown)"
    status: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    caller: str | None = None
    cache_hit: bool | None = None
    market: str | None = None
    rate_headers: tuple[tuple[bytes, bytes], ...] = ()


def joined_headers(pairs: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """By lower-case name; a repeated header is one, separated by commas, which no credential survives."""
    headers: dict[bytes, bytes] = {}
    for name, value in pairs:
        headers[name] = value if name not in headers else headers[name] + b", " + value
    return headers


def request_id_of(headers: Mapping[bytes, bytes]) -> str:
    """The caller's own `X-Request-Id` where it is a sane one, else a new id."""
    given = headers.get(b"x-request-id", b"")
    if 0 < len(given) <= _LONGEST_ID and _ID_CHARACTERS.issuperset(given):
        return given.decode()
    return new_id()


def method_of(text: str) -> str:
    """The method as it is logged."""
    return text[:_LONGEST_METHOD]
