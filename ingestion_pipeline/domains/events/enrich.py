"""From rows of the hot log to rows of the history: device, user, what counts. Pure: table to table.

What a whole table needs to know - the users, the views counted before - comes in as plain data.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc
from ua_parser import parse

from ingestion_pipeline.domains.events.receive import MAX_USER_AGENT_LENGTH, VIEW_WINDOW

VIEW = "VIEW"
REPEAT_VIEW = "repeat_view"
CACHED_USER_AGENTS = 50_000
SECONDS_PER_DAY = 86_400
_WINDOW_MICROSECONDS = int(VIEW_WINDOW.total_seconds() * 1_000_000)
_BETWEEN = "\x1f"

_TABLETS, _MOBILES = ("iPad", "Tablet", "Kindle"), ("iOS", "Android", "Windows Phone")
_DESKTOPS = ("Windows", "Mac OS X", "Linux", "Ubuntu", "Chrome OS", "Fedora", "Debian", "FreeBSD")


@dataclass(frozen=True)
class User:
    role: str | None
    created_at: datetime | None


@dataclass(frozen=True, slots=True)
class Device:
    device_type: str | None
    browser: str | None
    operating_system: str | None


@dataclass
class CountedViews:
    """When views counted, in microseconds since 1970, by address and rule (one text: `pairs`)."""

    times: dict[str, list[int]] = field(default_factory=dict)

    def add_known(self, pairs: Iterable[str], instants: Iterable[int]) -> None:
        """Views that were counted before; those that are known already are left out."""
        for pair, at in zip(pairs, instants, strict=True):
            known = self.times.setdefault(pair, [])
            place = bisect_left(known, at)
            if place == len(known) or known[place] != at:
                known.insert(place, at)

    def count(self, pair: str, previous_pair: str | None, at: int) -> bool:
        """Does a view at `at` count? Not within ten minutes of one that did, earlier or later, also across midnight.

        One that counts just after midnight is known under the pair of the day before too: a view of before midnight
        that arrives later finds it there.
        """
        if self._has_near(pair, at) or (previous_pair is not None and self._has_near(previous_pair, at)):
            return False
        insort(self.times.setdefault(pair, []), at)
        if previous_pair is not None:
            insort(self.times.setdefault(previous_pair, []), at)
        return True

    def _has_near(self, pair: str, at: int) -> bool:
        times = self.times.get(pair)
        if not times:
            return False
        place = bisect_left(times, at)
        return any(abs(at - near) < _WINDOW_MICROSECONDS for near in times[max(place - 1, 0) : place + 1])


def enriched(rows: pa.Table, users: Mapping[str, User], views: CountedViews, *, batch_number: int) -> pa.Table:
    """`rows` of the hot log (storage/event_reader.py) with the columns of EVENT_HISTORY."""
    agents = rows["user_agent"].combine_chunks().dictionary_encode()
    devices = [device(agent) for agent in agents.dictionary.to_pylist()]
    people = rows["user_id"].combine_chunks().dictionary_encode()
    found = [users.get(user_id) for user_id in people.dictionary.to_pylist()]
    created = _taken([user.created_at if user else None for user in found], people, pa.timestamp("us", tz="UTC"))
    occurred, received = rows["occurred_at"].combine_chunks(), rows["received_at"].combine_chunks()
    columns = {
        **{name: rows[name] for name in _KEPT},
        "lateness_seconds": _seconds(pc.subtract(received, occurred)),
        "device_type": _taken([found.device_type for found in devices], agents, pa.string()),
        "browser": _taken([found.browser for found in devices], agents, pa.string()),
        "operating_system": _taken([found.operating_system for found in devices], agents, pa.string()),
        "user_role": _taken([user.role if user else None for user in found], people, pa.string()),
        "user_tenure_days": pc.floor(pc.divide(_seconds(pc.subtract(occurred, created)), SECONDS_PER_DAY)).cast(
            pa.int64()
        ),
        "batch_number": pa.repeat(batch_number, rows.num_rows),
        "day": occurred.cast(pa.date32()),
    }
    reasons = pa.array(uncounted_reasons(rows, views), pa.string())  # last: what fails above has counted nothing
    return pa.table({**columns, "is_counted": pc.is_null(reasons), "uncounted_reason": reasons})


_KEPT = (
    "event_id",
    "event_type",
    "event_category",
    "schema_version",
    "user_id",
    "session_id",
    "rule_id",
    "event_data",
    "metadata",
    "occurred_at",
    "received_at",
    "clock_skew_seconds",
    "caller",
    "country",
    "address_hash",
)


def uncounted_reasons(rows: pa.Table, views: CountedViews) -> list[str | None]:
    """Per row why it does not count, or None. Views are judged in the order in which they happened."""
    reasons: list[str | None] = [None] * rows.num_rows
    places = pc.indices_nonzero(is_view(rows).combine_chunks())
    if not len(places):
        return reasons
    views_here = rows.take(places)
    candidates = pa.table(
        {
            "pair": pairs(views_here, "address_hash"),
            "previous_pair": pairs(views_here, "previous_address_hash"),
            "at": microseconds(views_here["occurred_at"]),
            "event_id": views_here["event_id"],
            "place": places.cast(pa.int64()),
        }
    ).sort_by([("at", "ascending"), ("event_id", "ascending")])
    names = ("pair", "previous_pair", "at", "place")
    for pair, previous_pair, at, place in zip(*(candidates[name].to_pylist() for name in names), strict=True):
        if not views.count(pair, previous_pair, at):
            reasons[place] = REPEAT_VIEW
    return reasons


def is_view(rows: pa.Table) -> pa.ChunkedArray:
    """Which rows are views that may be repeats: of a rule, from an address."""
    is_from_address = pc.and_(pc.equal(rows["event_type"], VIEW), pc.is_valid(rows["address_hash"]))
    return pc.and_(is_from_address, pc.is_valid(rows["rule_id"]))


def pairs(rows: pa.Table, hash_column: str) -> pa.ChunkedArray:
    """Address and rule of each row as one text; null without an address."""
    return pc.binary_join_element_wise(rows[hash_column], rows["rule_id"], _BETWEEN)


def microseconds(instants: pa.ChunkedArray) -> pa.ChunkedArray:
    """Instants as microseconds since 1970."""
    return instants.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())


@lru_cache(CACHED_USER_AGENTS)
def device(user_agent: str | None) -> Device:
    """Kind of device, browser and operating system that a user agent names; only its first characters are read."""
    if not user_agent:
        return Device(None, None, None)
    user_agent = user_agent[:MAX_USER_AGENT_LENGTH]
    said = parse(user_agent)
    browser = said.user_agent.family if said.user_agent else None
    system = said.os.family if said.os else None
    family = said.device.family if said.device else ""
    return Device(_device_type(family, system or "", user_agent), browser, system)


def _device_type(family: str, system: str, user_agent: str) -> str:
    if family == "Spider" or "bot" in user_agent.lower():
        return "bot"
    if any(name in family or name in user_agent for name in _TABLETS):
        return "tablet"
    if system in _MOBILES:
        return "mobile" if "Mobile" in user_agent or system != "Android" else "tablet"
    return "desktop" if system in _DESKTOPS else "other"


def _taken(values: list[object], encoded: pa.DictionaryArray, kind: pa.DataType) -> pa.Array:
    """One value a row, of those that the dictionary's entries have."""
    return pa.array(values, kind).take(encoded.indices)


def _seconds(duration: pa.Array) -> pa.Array:
    return pc.divide(duration.cast(pa.duration("us")).cast(pa.int64()).cast(pa.float64()), 1e6)
