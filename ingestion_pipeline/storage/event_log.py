"""The hot event log: durable, de-duplicated appends by group commit.

Whoever appends waits for the commit; requests that arrive while one commit is under way share the next. Rows go to
PostgreSQL as one COPY straight into the day's partition, idempotency keys as another into their own table: a key that
is there already makes the fast way fail, and the group goes the slower one that finds out which. What only PostgreSQL
can see to be wrong with a row is narrowed down to that row; the others are stored.

Belongs here: transactions, keys, COPY. Does not belong here: what an event is and when one is refused (domains/events).
"""

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from uuid import UUID

import psycopg
import structlog

from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.core.ids import new_id
from ingestion_pipeline.storage.event_entries import Append, Entry
from ingestion_pipeline.storage.postgres import CONNECT_TIMEOUT_SECONDS, first_line, normalised_url, public_url
from ingestion_pipeline.storage.rejects import insert_rejects

COLUMNS = (
    "event_id, event_type, event_category, schema_version, user_id, session_id, rule_id, event_data, metadata, "
    "occurred_at, received_at, clock_skew_seconds, idempotency_key, caller, origin, country, address_hash, "
    "previous_address_hash"
)
DEFAULT_LEAF = "event_log_default"
COMMITTERS = 1
BYTES_PER_COMMIT = 16_000_000
MAX_WAITING_BYTES = 64_000_000
STATEMENT_TIMEOUT_MS = 30_000
LOCK_TIMEOUT_MS = 5_000
_SESSION = (
    f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS} "
    "-c synchronous_commit=on -c TimeZone=UTC"
)
RETRY_PAUSE_SECONDS = 0.1
COMMIT_ATTEMPTS = 5

_COPY_START = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END = b"\xff\xff"
_TWO_UUIDS, _UUID = b"\0\2\0\0\0\x10", b"\0\0\0\x10"
_COUNT = (
    "insert into events.intake_counts as counts (day, intake_id, received, stored, duplicate, rejected) "
    "values (%s, %s, %s, %s, %s, %s) on conflict (day, intake_id) do update set "
    "received = counts.received + excluded.received, stored = counts.stored + excluded.stored, "
    "duplicate = counts.duplicate + excluded.duplicate, rejected = counts.rejected + excluded.rejected"
)

log = structlog.get_logger(__name__)


class EventLog:
    """Appends to events.event_log from an asyncio process, through threads with connections of their own."""

    def __init__(self, url: str, *, committers: int = COMMITTERS) -> None:
        self._url = url
        self._intake_id = new_id()
        self._waiting: deque[tuple[Append, asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._serve, args=(i,), name=f"committer-{i}", daemon=True)
            for i in range(committers)
        ]
        for thread in self._threads:
            thread.start()

    async def append(self, append: Append) -> None:
        """Returns when everything in `append` is durable; the entries then say what became of each.

        Raises:
            StoreUnavailableError: nothing is known to be stored: PostgreSQL is away or more waits than it can take.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        with self._changed:
            if self._is_closed or self._waiting_bytes > MAX_WAITING_BYTES:
                raise StoreUnavailableError("event log", "closing" if self._is_closed else "too many events wait")
            self._waiting.append((append, loop, done))
            self._waiting_bytes += append.size
            self._changed.notify()
        await done

    def close(self) -> None:
        """Stores what still waits, then ends."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _serve(self, number: int) -> None:
        writer = _Writer(self._url, f"{self._intake_id}-{number}")
        while group := self._next_group():
            writer.write([append for append, _, _ in group])
            for loop in {loop for _, loop, _ in group}:
                outcomes = [(done, append.problem) for append, its_loop, done in group if its_loop is loop]
                loop.call_soon_threadsafe(_settle, outcomes)
        writer.close()

    def _next_group(self) -> list[tuple[Append, asyncio.AbstractEventLoop, asyncio.Future[None]]]:
        """Whatever waits, up to a limit; nothing when the log is closed and empty."""
        group, size = [], 0
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            while self._waiting and size < BYTES_PER_COMMIT:
                group.append(self._waiting.popleft())
                size += group[-1][0].size
            self._waiting_bytes -= size
        return group


def _settle(outcomes: Iterable[tuple["asyncio.Future[None]", StoreUnavailableError | None]]) -> None:
    for done, problem in outcomes:
        if not done.done():  # the request may be gone
            done.set_exception(problem) if problem else done.set_result(None)


class _Writer:
    """One connection, kept while it works."""

    def __init__(self, url: str, intake_id: str) -> None:
        self._url = url
        self._intake_id = intake_id
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        self._leaves: dict[date, str] = {}

    def write(self, appends: list[Append]) -> None:
        """Stores the group; each append that is not known to be stored as a whole is told why."""
        problem: StoreUnavailableError | None = None
        try:
            self._write(appends)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self.close()
            problem = self._away(error)
        except Exception as error:
            log.exception("events could not be stored")
            self.close()
            problem = StoreUnavailableError("event log", type(error).__name__)
        for append in appends:
            if not append.is_stored and append.problem is None:
                append.problem = problem

    def _away(self, error: psycopg.Error) -> StoreUnavailableError:
        return StoreUnavailableError(f"PostgreSQL at {public_url(self._url)}", first_line(error))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _write(self, appends: list[Append]) -> None:  # noqa: C901 - one clause for each thing that can be done
        """One transaction, tried again where that can help; in parts if a row is refused."""
        _mark_repeats(entry for append in appends for entry in append.entries)
        expect_new_keys, trust_leaves, deadlocks = True, True, 0
        while True:
            try:
                self._commit(appends, expect_new_keys=expect_new_keys)
            except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
                deadlocks += 1  # the loser has stored nothing and may go again at once
                if deadlocks == COMMIT_ATTEMPTS:
                    raise
                time.sleep(RETRY_PAUSE_SECONDS * (deadlocks - 1))
            except psycopg.errors.LockNotAvailable as error:
                self._without_the_blocked(appends, error)
                return
            except psycopg.errors.UndefinedTable:
                if not trust_leaves:
                    raise
                self._leaves, trust_leaves = {}, False
            except (psycopg.DataError, psycopg.IntegrityError) as error:
                if expect_new_keys and isinstance(error, psycopg.errors.UniqueViolation):
                    expect_new_keys = False
                elif trust_leaves and self._forget_leaves():
                    trust_leaves = False
                else:
                    self._narrow_down(appends, error)
                    return
            else:
                return

    def _without_the_blocked(self, appends: list[Append], error: psycopg.Error) -> None:
        """Another transaction holds a key of one of them: that one is told to come back, the others are stored."""
        if len(appends) == 1:
            appends[0].problem = self._away(error)
            return
        middle = len(appends) // 2
        self._write(appends[:middle])
        self._write(appends[middle:])

    def _narrow_down(self, appends: list[Append], error: psycopg.Error) -> None:
        """Somewhere in the group is a row that PostgreSQL refuses: halves are tried, down to that row."""
        if len(appends) > 1:
            middle = len(appends) // 2
            self._write(appends[:middle])
            self._write(appends[middle:])
            return
        (append,) = appends
        count = len(append.entries)
        if count > 1:
            second = Append(append.day, append.entries[count // 2 :])
            first = Append(
                append.day, append.entries[: count // 2], append.rejects, received=append.received - second.received
            )
            for half in (first, second):
                self._write([half])
            append.is_stored = first.is_stored and second.is_stored
            append.problem = first.problem or second.problem
        elif count == 1:
            entry = append.entries[0]
            entry.refused = first_line(error)
            append.rejects.append(entry.reject_as(entry.refused))
            only_rejects = Append(append.day, [], append.rejects, received=append.received)
            self._write([only_rejects])
            append.is_stored, append.problem = only_rejects.is_stored, only_rejects.problem
        else:
            raise error

    def _commit(self, appends: list[Append], *, expect_new_keys: bool) -> None:
        connection = self._connected()
        keyed = _keyed(_fresh(appends))
        known: dict[bytes, str] = {}
        with connection.transaction(), connection.cursor() as cursor:
            if keyed and expect_new_keys:
                with cursor.copy("copy events.event_keys (key_hash, event_id) from stdin (format binary)") as copy:
                    copy.write(_key_block(keyed))
            elif keyed:
                known = _insert_keys(cursor, keyed)
            for day in sorted({append.day for append in appends}):
                _copy_rows(cursor, self._leaf(cursor, day), [it for it in appends if it.day == day], known)
            insert_rejects(connection, (reject for append in appends for reject in append.rejects))
            _count(cursor, self._intake_id, appends, known)
        _tell_known(appends, known)
        for append in appends:
            append.is_stored = True

    def _leaf(self, cursor: psycopg.Cursor[tuple[object, ...]], day: date) -> str:
        """The partition of `day`; the default one while nobody has made it."""
        if self._leaves.get(day, DEFAULT_LEAF) == DEFAULT_LEAF:
            self._leaves[day] = _found_leaf(cursor, day)
        return self._leaves[day]

    def _forget_leaves(self) -> bool:
        """True if rows went to the default partition, which may have got one of their day in the meantime."""
        used_default = DEFAULT_LEAF in self._leaves.values()
        self._leaves = {}
        return used_default

    def _connected(self) -> psycopg.Connection[tuple[object, ...]]:
        if self._connection is None:
            self._connection = psycopg.connect(
                normalised_url(self._url, driver=""),
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                application_name="ingestion-intake",
                options=_SESSION,
                tcp_user_timeout=STATEMENT_TIMEOUT_MS,
            )
            self._leaves = {}
            try:
                self._connection.execute("select events.ensure_event_partitions()")
            except psycopg.Error as error:  # the default partition takes what comes
                log.warning("partitions could not be made", reason=first_line(error))
        return self._connection


def insert_append(connection: psycopg.Connection[tuple[object, ...]], append: Append, *, intake_id: str) -> None:
    """Stores `append`, counted as `intake_id`'s, in the transaction of `connection`, which records more with it.

    The entries say what became of each.

    Raises:
        psycopg.Error: PostgreSQL refuses a row, and nothing of the transaction can be kept.
    """
    _mark_repeats(append.entries)
    keyed = _keyed(_fresh([append]))
    with connection.cursor() as cursor:
        known = _insert_keys(cursor, keyed)
        _copy_rows(cursor, _found_leaf(cursor, append.day), [append], known)
        insert_rejects(connection, append.rejects)
        _count(cursor, intake_id, [append], known)
    _tell_known([append], known)


def _fresh(appends: Iterable[Append]) -> list[Entry]:
    return [entry for append in appends for entry in append.entries if not entry.first_id and not entry.refused]


def _keyed(entries: Iterable[Entry]) -> list[Entry]:
    """Those with a key, by key: two writers of the same keys then wait for each other instead of deadlocking."""
    return sorted((entry for entry in entries if entry.key_hash), key=lambda entry: entry.key_hash or b"")


def _tell_known(appends: Iterable[Append], known: Mapping[bytes, str]) -> None:
    """Also the repeats of a repeat: they name the event that is stored."""
    for append in appends if known else ():
        for entry in append.entries:
            if entry.key_hash and entry.key_hash in known:
                entry.first_id = known[entry.key_hash]


def _found_leaf(cursor: psycopg.Cursor[tuple[object, ...]], day: date) -> str:
    leaf = f"event_log_{day:%Y%m%d}"
    cursor.execute("select to_regclass(%s) is not null", [f"events.{leaf}"])
    (is_there,) = cursor.fetchone() or (False,)
    return leaf if is_there else DEFAULT_LEAF


def _copy_rows(
    cursor: psycopg.Cursor[tuple[object, ...]], leaf: str, appends: Iterable[Append], known: Mapping[bytes, str]
) -> None:
    rows = b"".join(entry.row for entry in _fresh(appends) if entry.key_hash not in known)
    if rows:
        with cursor.copy(f"copy events.{leaf} ({COLUMNS}) from stdin") as copy:
            copy.write(rows)


def _mark_repeats(entries: Iterable[Entry]) -> None:
    """The second event with a key in one group is a duplicate of the first, unless the first has been refused."""
    first: dict[bytes, str] = {}
    for entry in entries:
        if entry.key_hash:
            known = first.setdefault(entry.key_hash, entry.event_id)
            entry.first_id = "" if known == entry.event_id else known


def _key_block(entries: Iterable[Entry]) -> bytes:
    rows = b"".join([_TWO_UUIDS + (e.key_hash or b"") + _UUID + bytes.fromhex(e.event_id) for e in entries])
    return _COPY_START + rows + _COPY_END


def _insert_keys(cursor: psycopg.Cursor[tuple[object, ...]], entries: Sequence[Entry]) -> dict[bytes, str]:
    """Inserts the keys that are new; returns the others with the id of the event that each belongs to."""
    hashes = [(entry.key_hash or b"").hex() for entry in entries]
    ids = [entry.event_id for entry in entries]
    cursor.execute(
        "insert into events.event_keys (key_hash, event_id) "
        "select key_hash, event_id from unnest(%s::uuid[], %s::uuid[]) as incoming (key_hash, event_id) "
        "on conflict (key_hash) do nothing",
        [hashes, ids],
    )
    cursor.execute(
        "select keys.key_hash, keys.event_id from events.event_keys as keys "
        "inner join unnest(%s::uuid[], %s::uuid[]) as incoming (key_hash, event_id) using (key_hash) "
        "where keys.event_id <> incoming.event_id",
        [hashes, ids],
    )
    return {key.bytes: event_id.hex for key, event_id in _uuids(cursor)}


def _uuids(cursor: psycopg.Cursor[tuple[object, ...]]) -> Iterator[tuple[UUID, UUID]]:
    for key, event_id in cursor:
        assert isinstance(key, UUID) and isinstance(event_id, UUID)  # noqa: PT018, S101
        yield key, event_id


def _count(
    cursor: psycopg.Cursor[tuple[object, ...]], intake_id: str, appends: Iterable[Append], known: dict[bytes, str]
) -> None:
    days: dict[date, Counter[str]] = {}
    for append in appends:
        counts = days.setdefault(append.day, Counter())
        duplicates = sum(1 for entry in append.entries if entry.first_id or entry.key_hash in known)
        refused = sum(1 for entry in append.entries if entry.refused)
        counts["received"] += append.received
        counts["duplicate"] += duplicates
        counts["rejected"] += len(append.rejects)
        counts["stored"] += len(append.entries) - duplicates - refused
    for day, counts in sorted(days.items()):
        figures = [counts[name] for name in ("received", "stored", "duplicate", "rejected")]
        cursor.execute(_COUNT, [day, intake_id, *figures])
