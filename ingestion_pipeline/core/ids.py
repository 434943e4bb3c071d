"""The only place that makes identifiers, digests and seeds."""

import hashlib
import json
import uuid
from collections.abc import Mapping


def new_id() -> str:
    """A random UUID, as text."""
    return str(uuid.uuid4())


def digest(payload: Mapping[str, object] | bytes) -> str:
    """SHA-256 in hex; the same mapping gives the same digest whatever the order of its keys."""
    if not isinstance(payload, bytes):
        payload = json.dumps(payload, sort_keys=True, default=str, separators=(",", ":")).encode()
    return hashlib.sha256(payload).hexdigest()


def seed(*parts: object) -> int:
    """A 64-bit seed for a random generator, the same on every machine for the same parts."""
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[:8], "big")
