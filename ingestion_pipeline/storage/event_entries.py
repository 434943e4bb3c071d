"""An event on its way into the hot log: its row as COPY takes it, its key, and what became of it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256

from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.storage.rejects import Reject

NULL = "\\N"
_SPECIAL = re.compile(r"[\\\t\n\r]")
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_REJECT_BYTES = 1_000


@dataclass(slots=True)
class Entry:
    """An event as it is stored: its id in 32 hex digits, the hash of its idempotency key, its row as COPY text.

    After the append `first_id` is the id of the event that its key belongs to, `refused` why PostgreSQL refused it;
    `reject_as` makes the reject that is kept then.
    """

    event_id: str
    key_hash: bytes | None
    row: bytes
    reject_as: Callable[[str], Reject]
    first_id: str = ""
    refused: str = ""


@dataclass(slots=True)
class Append:
    """What one request wants stored, all of it received on `day`.

    `received` is how many events came in; each must be an entry or a reject. After the append `is_stored` tells whether
    all of it is durable, `problem` why not.
    """

    day: date
    entries: Sequence[Entry]
    rejects: list[Reject] = field(default_factory=list)
    received: int = -1
    is_stored: bool = False
    problem: StoreUnavailableError | None = None

    def __post_init__(self) -> None:
        if self.received < 0:
            self.received = self.rows

    @property
    def rows(self) -> int:
        return len(self.entries) + len(self.rejects)

    @property
    def size(self) -> int:
        """Bytes of its rows, about."""
        return sum(len(entry.row) for entry in self.entries) + _REJECT_BYTES * len(self.rejects)


def copy_text(value: str | None) -> str:
    """A value as COPY takes it."""
    if value is None:
        return NULL
    return value.translate(_ESCAPES) if _SPECIAL.search(value) else value


def key_hash(idempotency_key: str) -> bytes:
    """As events.key_hash in SQL: the first 16 bytes of the SHA-256."""
    return sha256(idempotency_key.encode()).digest()[:16]
