"""Rollups over an event history, rules and donations that a test writes; and what they must be, counted in plain Python.

`expected` shares nothing with the package but the names of reasons: rule by rule, event by event, with sets and sorts.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg
import pyarrow as pa

from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.community.rollup_assets import ASSETS
from ingestion_pipeline.domains.community.rollup_automation import JOBS
from ingestion_pipeline.domains.community.rollup_checks import CHECKS
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.orchestration.partitions import DAILY, range_tags
from ingestion_pipeline.orchestration.resources import RESOURCES
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake, arrow_schema
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.events.factories import make_event

DAY = date(2026, 3, 2)
START = datetime(2026, 3, 2, tzinfo=UTC)
EVER = Window.of_days(date(2020, 1, 1), date(2030, 1, 1))
SOURCES = [
    dg.AssetSpec(key, partitions_def=DAILY)
    for key in (["events", "event_history"], ["community", "rules"], ["community", "donations"])
]
DEFS = dg.Definitions([*SOURCES, *ASSETS], asset_checks=CHECKS, jobs=JOBS, resources=RESOURCES)
IN_MEMORY = "select view_name from duckdb_views() where view_name like '%memtable%'"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
VALUES = {"VIEW": 1, "COPY": 3, "SAVE": 4, "FORK": 5, "VOTE": 2}
METRICS = ("views", "copies", "saves", "forks", "votes_up", "votes_down")

_RULE = """
insert into community.rules (rule_id, author_id, title, body, tags, status, published_at, updated_at, event_id)
values (%s, %s, '', '', '[]', 'published', now(), now(), '') on conflict (rule_id) do update
set author_id = excluded.author_id
"""


def event(kind: str = "VIEW", hours: float = 12.0, **over: Any) -> dict[str, Any]:
    """A row of the history: r1 viewed at noon of DAY by u1 from the address a1; `value` is that of a vote."""
    value = over.pop("value", None)
    agent = over.pop("user_agent", None)
    at = over.pop("occurred_at", START + timedelta(hours=hours))
    return make_event(
        **{
            "event_type": kind,
            "occurred_at": at,
            "address_hash": "a1",
            "device_type": "desktop",
            "event_data": {} if value is None else {"value": value},
            "metadata": json.dumps({} if agent is None else {"userAgent": agent}, ensure_ascii=False),
            **over,
        }
    )


def history(*events: dict[str, Any]) -> pa.Table:
    """Events as the lake holds them, each with an id of its own in their order, unless it has one."""
    plain = make_event()["event_id"]
    rows = [{**it, "event_id": f"{i:08}"} if it["event_id"] == plain else it for i, it in enumerate(events)]
    return pa.Table.from_pylist(rows, schema=arrow_schema(EVENT_HISTORY))


def reasons(
    events: Sequence[Mapping[str, Any]],
    authors: Mapping[str, str],
    *,
    user_agents: Iterable[str] = (),
    events_per_address: int = 1000,
) -> list[str | None]:
    """Why each event of one day does not count, or None."""
    per_address = Counter(it["address_hash"] for it in events)
    busy = {address for address, n in per_address.items() if address is not None and n > events_per_address}
    found = [_flag(it, authors, list(user_agents), busy) for it in events]
    groups = defaultdict[Any, list[int]](list)
    for i, it in enumerate(events):
        if found[i] is None and it["event_type"] == "VIEW" and it["address_hash"] is not None:
            groups["view", it["rule_id"], it["address_hash"]].append(i)
        if found[i] is None and it["event_type"] == "VOTE" and (it["user_id"] or it["address_hash"]):
            voter = ("u", it["user_id"]) if it["user_id"] is not None else ("a", it["address_hash"])
            groups["vote", it["rule_id"], voter].append(i)
    for (kind, *_), places in groups.items():
        ordered = sorted(places, key=lambda i: (events[i]["occurred_at"], events[i]["event_id"]))
        for i in ordered[5:] if kind == "view" else ordered[:-1]:
            found[i] = "view_cap" if kind == "view" else "repeat_vote"
    for i, it in enumerate(events):
        if found[i] is None and it["event_type"] == "VOTE" and json.loads(it["event_data"]).get("value") == 0:
            found[i] = "withdrawn_vote"
    return found


def _flag(it: Mapping[str, Any], authors: Mapping[str, str], user_agents: list[str], busy: set[str]) -> str | None:
    agent = (json.loads(it["metadata"]).get("userAgent") or "").lower()
    flags = {
        "no_rule": it["rule_id"] is None,
        "repeat_view": not it["is_counted"],
        "bot": it["device_type"] == "bot" or any(text.lower() in agent for text in user_agents),
        "address_rate": it["address_hash"] in busy,
        "self_vote": it["event_type"] == "VOTE" and it["user_id"] and it["user_id"] == authors.get(it["rule_id"]),
    }
    return next((reason for reason, holds in flags.items() if holds), None)


def expected(
    events: Sequence[Mapping[str, Any]], authors: Mapping[str, str], *, half_life: float = 48.0, **limits: Any
) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """The metrics of each rule of one day, and how many events do not count, by reason."""
    some = [it for it in events if it["event_type"] in VALUES]
    why = reasons(some, authors, **limits)
    metrics: dict[str, dict[str, Any]] = {}
    users = defaultdict[str, set[str]](set)
    for it, reason in zip(some, why, strict=True):
        rule = it["rule_id"]
        if rule is None:
            continue
        row = metrics.setdefault(
            rule,
            {
                "author_id": authors.get(rule),
                **dict.fromkeys(METRICS, 0),
                "unique_users": 0,
                "points": 0.0,
                "trending_score": 0.0,
                "excluded_events": 0,
            },
        )
        if reason is not None:
            row["excluded_events"] += 1
            continue
        kind = it["event_type"]
        down = kind == "VOTE" and json.loads(it["event_data"]).get("value", 1) < 0
        names = {"VIEW": "views", "COPY": "copies", "SAVE": "saves", "FORK": "forks"}
        row[names.get(kind, "votes_down" if down else "votes_up")] += 1
        worth = -VALUES[kind] if down else VALUES[kind]
        end = datetime.combine(it["occurred_at"].date() + timedelta(days=1), datetime.min.time(), UTC)
        row["points"] += worth
        row["trending_score"] += worth * 0.5 ** ((end - it["occurred_at"]).total_seconds() / 3600 / half_life)
        if it["user_id"] is not None:
            users[rule].add(it["user_id"])
    for rule, row in metrics.items():
        row["unique_users"] = len(users[rule])
    return metrics, dict(sorted(Counter(filter(None, why)).items()))


@dataclass
class Rolled:
    """The assets over stores that a test fills."""

    settings: Settings
    postgres: Postgres
    lake: Lake
    instance: dg.DagsterInstance

    def store(self, *events: dict[str, Any]) -> None:
        """Makes `events` the whole history."""
        self.lake.replace(EVENT_HISTORY, history(*events), EVER)
        self.tell("events/event_history", *{it["day"] for it in events})

    def tell(self, asset: str, *days: date) -> None:
        """These days of `asset` have been built."""
        for day in sorted(days):
            key = dg.AssetKey(asset.split("/"))
            self.instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=str(day)))

    def author(self, rule: str, author: str | None) -> None:
        with self.postgres.transaction() as connection:
            connection.execute(_RULE, [rule, author])

    def run(self, first: date = DAY, last: date | None = None) -> dg.ExecuteInProcessResult:
        result = DEFS.resolve_job_def("community_daily_job").execute_in_process(
            instance=self.instance,
            tags=range_tags(first, last or first),
            resources={"settings": self.settings, "postgres": self.postgres, "lake": self.lake},
            run_config=QUIET,
        )
        assert result.success
        return result

    def rows(self, table: Table, day: date = DAY) -> list[dict[str, Any]]:
        """The rows of a day, ordered by key, without it."""
        columns = [name for name in table.column_names if name != "day"]
        statement = f"select {', '.join(columns)} from {table.qualified_name} where day = %s order by {table.key[1]}"
        with self.postgres.transaction() as connection:
            found = connection.execute(statement.encode(), [day]).fetchall()
        return [dict(zip(columns, row, strict=True)) for row in found]


def prepare(url: str) -> None:
    """As the owner: nothing has expired."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("update events.retention_classes set kept_for = interval '100 years'")
