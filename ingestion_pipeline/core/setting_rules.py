"""What the texts of settings must look like, where a type does not say it: each raises ValueError with the rule."""

import re
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_network

from croniter import CroniterBadDateError, croniter

SHORTEST_SECRET = 16
SHORTEST_SIGNING_KEY = 32  # RFC 7518: HS256 needs 256 bits
_CRON_FIELDS = 5
_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PATH_PART = re.compile(rf"[A-Za-z0-9_-]{{{SHORTEST_SECRET},200}}")
_RATE = re.compile(r"[1-9]\d{0,8}/(second|minute|hour|day)|0")


def split_texts(value: object) -> object:
    """The parts of a comma-separated text, none of them empty; anything else as it is."""
    return tuple(part for text in value.split(",") if (part := text.strip())) if isinstance(value, str) else value


def require_names(value: object, pattern: re.Pattern[str], expected: str) -> object:
    """Comma-separated names in upper case, all different."""
    names = tuple(part.strip().upper() for part in value.split(",")) if isinstance(value, str) else value
    if not isinstance(names, tuple) or not all(map(pattern.fullmatch, names)) or len(set(names)) != len(names):
        raise ValueError(f"expected comma-separated, different {expected}")
    return names


def require_networks(value: object) -> object:
    """Comma-separated networks (CIDR), each in its canonical form."""
    networks = tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value
    try:
        return tuple(str(ip_network(network)) for network in networks)  # type: ignore[attr-defined]
    except ValueError:
        raise ValueError("expected comma-separated networks such as 10.0.0.0/8,fd00::/8") from None


def require_secrets(value: str, *, has_source: bool) -> None:
    """Comma-separated secrets that are long enough; with `has_source` each after the name of its source."""
    for part in (text.strip() for text in value.split(",")):
        source, _, secret = part.partition("=") if has_source else ("any", "", part)
        if not _SOURCE.fullmatch(source) or len(secret) < SHORTEST_SECRET:
            shape = "source=secret pairs" if has_source else "secrets"
            raise ValueError(f"expected comma-separated {shape}, each secret of {SHORTEST_SECRET} characters")


def require_path_secret(value: str) -> None:
    """A secret that is a part of a path."""
    if not _PATH_PART.fullmatch(value):
        expected = f"at least {SHORTEST_SECRET} characters, letters, digits, - and _ only: it is part of a path"
        raise ValueError(f"expected {expected}")


def require_signing_key(value: str) -> None:
    """A key that is long enough for HS256."""
    if len(value) < SHORTEST_SIGNING_KEY:
        raise ValueError(f"expected at least {SHORTEST_SIGNING_KEY} characters")


def require_rate(value: str) -> None:
    """So many requests a unit of time, or 0."""
    if not _RATE.fullmatch(value):
        raise ValueError("expected a number of requests per second, minute, hour or day such as 60/minute, or 0")


def require_cron(value: str) -> None:
    """Five fields that some time agrees with: `0 0 31 2 *` is well formed and never comes."""
    if len(value.split()) != _CRON_FIELDS or not croniter.is_valid(value) or not _has_next(value):
        raise ValueError("expected a cron expression of five fields such as */15 * * * *")


def _has_next(cron: str) -> bool:
    with suppress(CroniterBadDateError):
        return bool(croniter(cron, datetime(2025, 1, 1, tzinfo=UTC)).get_next(float))
    return False
