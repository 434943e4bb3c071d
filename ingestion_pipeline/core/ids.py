"""The only place that makes identifiers, digests and seeds."""

import hashlib
import json
import os
import random
import uuid
from collections.abc import Mapping
from datetime import datetime

_RANDOM_BITS, _RANDOM_DIGITS = 80, 20

# ids are unlikely to meet, not hard to guess; asking the system for each costs more than the rest of one
_random = random.Random(os.urandom(32))  # noqa: S311
os.register_at_fork(after_in_child=lambda: _random.seed(os.urandom(32)))


def new_id() -> str:
    """A random UUID, as text."""
    return str(uuid.UUID(int=_random.getrandbits(128), version=4))


def time_ordered_ids(instant: datetime, count: int) -> list[str]:
    """`count` UUIDv7 (RFC 9562) of one instant, as 32 hex digits: they sort by time, and tell it."""
    start = int(instant.timestamp() * 1000).to_bytes(6, "big").hex()
    return [_time_ordered(start, f"{_random.getrandbits(_RANDOM_BITS):0{_RANDOM_DIGITS}x}") for _ in range(count)]


def _time_ordered(start: str, noise: str) -> str:
    return f"{start}7{noise[1:4]}{'89ab'[int(noise[0], 16) & 3]}{noise[5:]}"


def digest(payload: Mapping[str, object] | bytes) -> str:
    """SHA-256 in hex; the same mapping gives the same digest whatever the order of its keys."""
    if not isinstance(payload, bytes):
        payload = json.dumps(payload, sort_keys=True, default=str, separators=(",", ":")).encode()
    return hashlib.sha256(payload).hexdigest()


def seed(*parts: object) -> int:
    """A 64-bit seed for a random generator, the same on every machine for the same parts."""
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[:8], "big")
