"""What a URL in a setting may look like, and which parts of it are secret. Text to text; no network is asked."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, unquote

HTTP_SCHEMES = ("http://", "https://")
LAKE_SCHEMES = ("s3://", "gs://", "az://", "abfs://", "abfss://", "file://")
_CONTAINER = re.compile(r"abfss?://[^/@:]+@[^/@:]+(/.*)?")  # container@account is Azure's spelling, not a user
_SHORTEST_KEY = 12  # a shorter path is a word such as `hook`
_USER_INFO = re.compile(r"^([^/]*://)?.*@")


def require_scheme(url: str, schemes: tuple[str, ...]) -> str:
    if not url.startswith(schemes):
        raise ValueError(f"expected a URL that starts with {' or '.join(schemes)}")
    return url


def require_place(place: str, schemes: tuple[str, ...]) -> str:
    """A folder, or the URL of a bucket without a user."""
    if "://" in place:
        if not place.startswith(schemes):
            raise ValueError(f"expected a folder or a URL that starts with {' or '.join(schemes)}")
        if not _CONTAINER.fullmatch(place):
            require_no_user(place)
    return place


def require_database(url: str) -> str:
    """Refuses what only the first connection would notice."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        database = make_url(url).database
    except (ArgumentError, ValueError):
        database = None
    if not database:
        raise ValueError("expected a URL with host and database such as postgresql://user:password@host:5432/database")
    return url


def require_no_user(url: str) -> str:
    """A plain setting is printed; who puts a password into it would see it in every message."""
    host, at, _ = url.partition("://")[2].rpartition("@")
    if at and ("/" not in host or ":" in host.partition("/")[0]):
        raise ValueError("expected a URL without a user or password")
    return url


def without_user(url: str) -> str:
    return _USER_INFO.sub(r"\1***@", url)


def secrets_of(url: str) -> Iterator[str]:
    """Its passwords, as they are written and as they are meant; of a webhook also the path, which is the key."""
    rest = url.partition("://")[2]
    if url.startswith(HTTP_SCHEMES):
        path = rest.partition("/")[2]
        yield from (url, path) if len(path) >= _SHORTEST_KEY else (url,)
    users = {rest.partition("@")[0], rest.rpartition("@")[0]} if "@" in rest else set()  # an @ in the password
    passwords = {user.partition(":")[2] for user in users}
    passwords.update(parse_qs(rest.partition("?")[2]).get("password", []))
    yield from passwords
    yield from map(unquote, passwords)
