"""The only place that makes identifiers, digests and seeds."""

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from datetime import datetime

_RANDOM_BYTES = 10


def new_id() -> str:
    """A random UUID, as text."""
    return str(uuid.uuid4())


def time_ordered_ids(instant: datetime, count: int) -> list[str]:
    """`count` UUIDv7 (RFC 9562) of one instant, as 32 hex digits: they sort by time, and tell it."""
    start = int(instant.timestamp() * 1000).to_bytes(6, "big").hex()
    noise = os.urandom(_RANDOM_BYTES * count).hex()
    step = 2 * _RANDOM_BYTES
    return [
        f"{start}7{noise[i + 1 : i + 4]}{'89ab'[int(noise[i], 16) & 3]}{noise[i + 5 : i + step]}"
        for i in range(0, step * count, step)
    ]


def digest(payload: Mapping[str, object] | bytes) -> str:
    """SHA-256 in hex; the same mapping gives the same digest whatever the order of its keys."""
    if not isinstance(payload, bytes):
        payload = json.dumps(payload, sort_keys=True, default=str, separators=(",", ":")).encode()
    return hashlib.sha256(payload).hexdigest()


def seed(*parts: object) -> int:
    """A 64-bit seed for a random generator, the same on every machine for the same parts."""
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[:8], "big")
