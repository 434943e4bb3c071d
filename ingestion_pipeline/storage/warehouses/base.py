"""What a warehouse that holds a copy of a lake table can do, whichever it is.

A copy goes plan → write → commit. Each step may be repeated after a kill: `plan` sends no rows and names a target,
which the caller saves before `write`; `write` sends what is missing; `commit` makes all rows visible at once, and only
once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

WarehouseName = Literal["bigquery", "redshift"]


@dataclass(frozen=True)
class Copy:
    """The rows of the batches `first_batch` to `last_batch`, both included, always in the same order.

    `digest` tells these rows from any others; `days` are the partitions that they lie in.
    """

    first_batch: int
    last_batch: int
    days: tuple[date, ...]
    digest: str
    rows: "pa.Table"


class Warehouse(Protocol):
    """One table of one warehouse; it is created when it is missing.

    Raises:
        StoreUnavailableError: from every method, when the warehouse does not answer; the same call may be repeated.
        ConfigurationError: it refuses us, or its dataset or bucket does not exist.
        ContractError: it refuses the rows.
    """

    name: WarehouseName

    def plan(self, copy: Copy) -> str:
        """Where `copy` will be written. The text holds its digest. Nothing of the rows is sent."""
        ...

    def write(self, target: str, copy: Copy) -> int | None:
        """Sends what `target` has not yet of `copy`; returns the bytes of all of it.

        None if `target` is lost or holds something else: `copy` must be planned anew.
        """
        ...

    def commit(self, target: str, copy: Copy) -> None:
        """Makes the written rows visible, all at once."""
        ...

    def is_committed(self, target: str, copy: Copy) -> bool:
        """Are the rows of the batches of `copy` visible, also if they were others than `copy` holds now?"""
        ...

    def erase_user(self, user_id: str) -> int:
        """Deletes every visible row of one person; returns how many.

        What waits to be committed is removed, or stays invisible: the lake has other rows for it by now, so that it is
        planned anew.
        """
        ...

    def delete_older(self, event_types: Sequence[str], before: date) -> int:
        """Deletes the rows of these types from days before `before`; returns how many."""
        ...

    def close(self) -> None: ...
