"""Which partitions are settled and which are older than what they were built from. The one place that decides it.

A partition is settled when it is built, when the run that built it last began after the partition ended (else it lacks
the last bars), and when every partition that it reads was built before the step that built it began: what was built
later may have been read too early. What an asset reads is what its dependencies say: the partitions in its own span
and, where it looks back, those of the days before.

Belongs here: judging what Dagster has recorded. Does not belong here: asking for runs (runs.py, a domain's
automation.py).
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from ingestion_pipeline.core.windows import midnight
from ingestion_pipeline.orchestration.partitions import TimePartitions, partition_day, partition_length, partitions_of

_RECORDS_PER_QUERY = 500


@dataclass(frozen=True)
class Source:
    """An asset that another reads: in the span of the partition, and for `look_back` before it."""

    key: dg.AssetKey
    look_back: timedelta


@dataclass
class Builds:
    """What is recorded of the builds of assets; read once, when it is first asked for.

    Partitions are named by their first day. Builds are ordered by their place among all events, not by the clock: that
    at which they were recorded, and that at which their step began, which is their data version (`newest_place`).
    """

    instance: dg.DagsterInstance
    graph: BaseAssetGraph
    _places: dict[dg.AssetKey, Mapping[date, int]] = field(default_factory=dict)
    _reads: dict[dg.AssetKey, Mapping[date, int]] = field(default_factory=dict)
    _starts: dict[str, float | None] = field(default_factory=dict)

    def settled(self, keys: Iterable[dg.AssetKey], days: Iterable[date], *, now: datetime) -> set[date]:
        """Those of the partitions `days` that are settled in every partitioned asset of `keys`.

        Days that an asset looks back on do not count here: `outdated` finds what they leave behind, and to build that
        again takes no bars from the provider.
        """
        settled = set(days)
        for key in self._partitioned(keys):
            partitions, places = self._partitions(key), self._last_built(key)
            settled &= {day for day in settled & places.keys() if has_ended(partitions, day, now)}
            settled -= self._outdated(key, looking_back=False).keys()
            length = partition_length(partitions)
            began = self._began(key, settled)
            settled = {day for day in settled if began[day] >= (midnight(day) + length).timestamp()}
        return settled

    def outdated(self, keys: Iterable[dg.AssetKey]) -> dict[date, int]:
        """The partitions of `keys` that are older than one that they read, with the place of the newest of those.

        Also those never built although what they read in their own span is there.
        """
        newest: dict[date, int] = {}
        for key in self._partitioned(keys):
            for day, place in self._outdated(key, looking_back=True).items():
                newest[day] = max(place, newest.get(day, 0))
        return newest

    def premature(self, keys: Collection[dg.AssetKey], *, now: datetime) -> set[date]:
        """The partitions of `keys`, built together, that would have to be built once more: what they read, in a
        partition that has ended, is outdated itself, or what that reads.
        """
        found: set[date] = set()
        for key in self._partitioned(keys):
            partitions = self._partitions(key)
            for source in self.sources(key):
                if source.key in keys:
                    continue
                its = self._partitions(source.key)
                outdated = self._outdated(source.key, looking_back=True).keys() | self.premature([source.key], now=now)
                for day in (it for it in outdated if has_ended(its, it, now)):
                    last = day + partition_length(its) - timedelta(days=1) + source.look_back
                    found |= set(partitions_of(partitions, day, last))
        return found

    def sources(self, key: dg.AssetKey) -> list[Source]:
        """The partitioned assets that `key` reads."""
        node = self.graph.get(key)
        mappings = {parent: node.partition_mappings.get(parent) for parent in self._partitioned(node.parent_keys)}
        return [
            Source(parent, timedelta(days=-mapping.start_offset))
            if isinstance(mapping, dg.TimeWindowPartitionMapping)
            else Source(parent, timedelta(0))
            for parent, mapping in mappings.items()
        ]

    def _outdated(self, key: dg.AssetKey, *, looking_back: bool) -> dict[date, int]:
        partitions, places = self._partitions(key), self._last_read(key)
        found: dict[date, int] = {}
        for source in self.sources(key):
            read = self._last_built(source.key)
            days = sorted({*places, *(partition_day(partitions, day) for day in read)})
            back = source.look_back if looking_back else timedelta(0)
            last = partition_length(partitions) - timedelta(days=1)
            newest = _highest(read, ((day - back, day + last) for day in days))
            found |= {
                day: max(place, found.get(day, 0))
                for day, place in zip(days, newest, strict=True)
                if place > places.get(day, 0)
            }
        first = partitions.start.date()
        return {day: place for day, place in found.items() if day >= first}

    def _began(self, key: dg.AssetKey, days: Collection[date]) -> dict[date, float]:
        """When the run began that built each of `days` last; of an event without a run, its own time."""
        places = sorted(self._last_built(key)[day] for day in days)
        began: dict[date, float] = {}
        for i in range(0, len(places), _RECORDS_PER_QUERY):
            some = places[i : i + _RECORDS_PER_QUERY]
            filters = dg.AssetRecordsFilter(asset_key=key, storage_ids=some)
            records = self.instance.fetch_materializations(filters, limit=len(some)).records
            self._read_starts({record.run_id for record in records})
            for record in records:
                if record.partition_key is not None:
                    start = self._starts[record.run_id]
                    began[date.fromisoformat(record.partition_key)] = record.timestamp if start is None else start
        return began

    def _read_starts(self, run_ids: Iterable[str]) -> None:
        unknown = [run_id for run_id in run_ids if run_id not in self._starts]
        self._starts |= dict.fromkeys(unknown)
        if unknown:
            records = self.instance.get_run_records(dg.RunsFilter(run_ids=unknown))
            self._starts |= {record.dagster_run.run_id: record.start_time for record in records}

    def _last_built(self, key: dg.AssetKey) -> Mapping[date, int]:
        if key not in self._places:
            places = self.instance.event_log_storage.get_latest_storage_id_by_partition(
                key, dg.DagsterEventType.ASSET_MATERIALIZATION
            )
            self._places[key] = {date.fromisoformat(day): place for day, place in places.items()}
        return self._places[key]

    def _last_read(self, key: dg.AssetKey) -> Mapping[date, int]:
        """The place up to which the last build of each partition has surely read; where it says none, its own."""
        if key not in self._reads:
            self._reads[key] = {**self._last_built(key), **read_places(self.instance, key)}
        return self._reads[key]

    def _partitioned(self, keys: Iterable[dg.AssetKey]) -> list[dg.AssetKey]:
        return sorted(key for key in keys if self.graph.get(key).is_partitioned)

    def _partitions(self, key: dg.AssetKey) -> TimePartitions:
        partitions = self.graph.get(key).partitions_def
        if not isinstance(partitions, TimePartitions):
            raise TypeError(f"{key.to_user_string()} has partitions that are neither days nor weeks: {partitions}")
        return partitions


def newest_place(instance: dg.DagsterInstance) -> int:
    """The place of the newest event of all: whatever is recorded later has a higher one."""
    return instance.event_log_storage.get_maximum_record_id() or 0


def read_places(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[date, int]:
    """The place up to which the last build of each partition says that it has read; without those that say none."""
    versions = instance.event_log_storage.get_latest_tags_by_partition(
        key, dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
    )
    said = {date.fromisoformat(day): tags[DATA_VERSION_TAG] for day, tags in versions.items()}
    return {day: int(version) for day, version in said.items() if version.isdigit()}


def has_ended(partitions: TimePartitions, day: date, now: datetime) -> bool:
    """Is the partition that begins with `day` over?"""
    return midnight(day) + partition_length(partitions) <= now


def spans(days: Iterable[date], partitions: TimePartitions, *, per_run: int) -> list[tuple[date, date]]:
    """First and last of each sequence of consecutive partitions, at most `per_run` of them in one, ascending."""
    length, found = partition_length(partitions), list[tuple[date, date]]()
    for day in sorted(days):
        if found and found[-1][1] + length == day and (day - found[-1][0]) // length < per_run:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def _highest(values: Mapping[date, int], windows: Iterable[tuple[date, date]]) -> Iterator[int]:
    """The highest of the values in each window of days, ends included; 0 where there is none. The windows ascend."""
    ahead, seen = deque(sorted(values.items())), deque[tuple[date, int]]()
    for first, last in windows:
        while ahead and ahead[0][0] <= last:
            newest = ahead.popleft()
            while seen and seen[-1][1] <= newest[1]:
                seen.pop()
            seen.append(newest)
        while seen and seen[0][0] < first:
            seen.popleft()
        yield seen[0][1] if seen else 0
