"""What the status page says of operations: health with reasons, queues, what comes in, how fresh each group is. Pure.

Health is told as GET /api/health/data tells it: from the same figures, believed under the same conditions.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from ingestion_pipeline.domains.operations.health import OVERALL
from ingestion_pipeline.domains.operations.health_document import credible
from ingestion_pipeline.intake.status_charts import bars, stack
from ingestion_pipeline.intake.status_sections import (
    Column,
    Html,
    Row,
    Section,
    age,
    badge,
    code,
    number,
    say,
    since,
    table,
    text,
    tile,
    tiles,
)

REQUESTS, EVENTS = "http_requests_total", "events_received_total"
"""The counters that the rates are made of."""
MOST_REASONS, LONGEST_REASON = 5, 300
MOST_WEAK = 20
"""Assets of a group that are named because they are not fresh."""
STATES = ("FAIL", "WARN", "UNKNOWN", "PASS")  # the worst first
_STATUSES = ("RED", "YELLOW", "UNKNOWN", "GREEN")

_HEALTH = "select operations.health_figures() as figures"
_QUEUES = "select queue, depth, make_interval(secs => oldest_age_seconds) as oldest_age from operations.queue_depths()"
_MINUTES = f"""
select
    minutes.minute,
    coalesce(sum(counted.value) filter (where counted.name = '{REQUESTS}'), 0) as requests,
    coalesce(sum(counted.value) filter (where counted.name = '{EVENTS}'), 0) as events
from generate_series(
    date_trunc('minute', now()) - interval '59 minutes', date_trunc('minute', now()), interval '1 minute'
) as minutes (minute)
left join operations.metric_minutes as counted
    on minutes.minute = counted.minute and counted.name in ('{REQUESTS}', '{EVENTS}')
group by minutes.minute
order by minutes.minute
"""
_FRESHNESS = """
select asset_group, asset_key, state, data_state, last_materialized_at, data_as_of, reason, now() as now
from operations.freshness_states
order by asset_group, asset_key
"""
_PATHS = """
select path, count(*) as requests, count(*) filter (where status >= 500) as failed,
    count(*) filter (where status between 400 and 499) as refused,
    percentile_cont(0.5) within group (order by duration_ms) as median_ms,
    percentile_cont(0.99) within group (order by duration_ms) as p99_ms
from operations.api_requests
where occurred_at >= now() - interval '1 hour'
group by path order by 2 desc limit 20
"""
_QUEUE_TITLES = {"jobs": "Jobs due", "deliveries": "Deliveries pending", "events": "Events not in the lake yet"}


def health(rows: Sequence[Row]) -> Html:
    """The whole; every service that is not fine, with its reasons, the worst first; the names of the others."""
    figures = rows[0]["figures"]
    ground, states = credible(figures), figures["services"]
    now = datetime.fromisoformat(figures["now"])
    if ground.status != "GREEN":
        names = sorted(set(states) - {OVERALL})
        return Html(_whole(ground.status) + _listed(ground.reasons) + _chips([("UNKNOWN", name) for name in names]))
    whole = states.pop(OVERALL)
    in_order = sorted(states.items(), key=lambda it: (_STATUSES.index(it[1]["status"]), it[0]))
    blocks = "".join(_service(name, state, now) for name, state in in_order if state["status"] != "GREEN")
    fine = [(state["status"], name) for name, state in in_order if state["status"] == "GREEN"]
    lasted = f" for {age(now - datetime.fromisoformat(whole['since']))}"
    return Html(_whole(whole["status"], lasted) + blocks + _chips(fine))


def queues(rows: Sequence[Row]) -> Html:
    """How many wait, and for how long the first of them has."""
    return tiles(
        *(
            tile(
                _QUEUE_TITLES[row["queue"]],
                f"{row['depth']:,}",
                say(f"the oldest for {age(row['oldest_age'])}" if row["depth"] else "nothing waits"),
            )
            for row in rows
        )
    )


def rates(rows: Sequence[Row]) -> Html:
    """Of the last hour: the minute before this one, which is not over, and all sixty as bars."""
    names = [f"{row['minute']:%H:%M}" for row in rows]
    return tiles(*(_rate(what, [row[what] for row in rows], names) for what in ("requests", "events")))


def freshness(rows: Sequence[Row]) -> Html:
    """A line a group; what is not fresh in it, unfolded on demand, with the reason."""
    if not rows:
        return say("No asset has been looked at yet: the Dagster daemon does that, and has not run.")
    lines = [_group(name, list(assets)) for name, assets in groupby(rows, key=lambda row: str(row["asset_group"]))]
    columns = (Column("Group"), Column("Assets", "any"), Column("Last built", "wide"), Column("Newest data"))
    return table(columns, lines)


def paths(rows: Sequence[Row]) -> Html:
    """The twenty most asked for."""
    if not rows:
        return say("There were none.")
    columns = (
        Column("Path", "any"),
        Column("Requests", "n"),
        Column("5xx", "n"),
        Column("4xx", "n"),
        Column("Median ms", "n wide"),
        Column("p99 ms", "n"),
    )
    lines = [
        [
            code(row["path"]),
            *(number(row[name]) for name in ("requests", "failed", "refused")),
            *(number(row[name], 1) for name in ("median_ms", "p99_ms")),
        ]
        for row in rows
    ]
    return table(columns, lines)


HEALTH = Section(title="Health", query=_HEALTH, render=health)
QUEUES = Section(title="Queues", query=_QUEUES, render=queues)
RATES = Section(title="Intake, per minute of the last hour", query=_MINUTES, render=rates)
FRESHNESS = Section(title="Freshness", query=_FRESHNESS, render=freshness)
PATHS = Section(title="Requests of the last hour, by path", query=_PATHS, render=paths)


def _whole(status: str, more: str = "") -> Html:
    return Html(f'<p class="whole">{badge(status)}{more}</p>')


def _service(name: str, state: Mapping[str, Any], now: datetime) -> Html:
    begun = since(datetime.fromisoformat(state["since"]), now)
    return Html(
        f'<div class="service"><p>{badge(state["status"])} <b>{text(name)}</b> <span class="faint">{begun}</span></p>'
        f"{_listed(state['reasons'])}</div>"
    )


def _chips(services: Sequence[tuple[str, str]]) -> Html:
    chips = "".join(f"<span>{badge(status)} {text(name)}</span>" for status, name in services)
    return Html(f'<p class="chips">{chips}</p>' if chips else "")


def _listed(reasons: Sequence[str]) -> Html:
    lines = "".join(f"<li>{text(reason, longest=LONGEST_REASON)}</li>" for reason in reasons[:MOST_REASONS])
    more = f"<li>and {len(reasons) - MOST_REASONS} more</li>" if len(reasons) > MOST_REASONS else ""
    return Html(f"<ul>{lines}{more}</ul>" if reasons else "")


def _rate(what: str, counts: Sequence[float], names: Sequence[str]) -> Html:
    total, highest = sum(counts), max(counts)
    if not total:
        return tile(what.capitalize(), "0", say(f"no {what} in the last hour"))
    minute, hour = "in the last full minute", f"{total:,.0f} in the hour, at most {highest:,.0f} a minute"
    return tile(
        what.capitalize(),
        f"{counts[-2]:,.0f}",
        say(minute),
        bars(counts, names, label=f"{what} per minute: {counts[-2]:,.0f} {minute}; {hour}"),
        Html(f'<p class="ends"><span>{names[0]}</span><span>{names[-1]} UTC</span></p>'),
        say(hour),
    )


def _group(name: str, assets: Sequence[Row]) -> list[Html]:
    now = assets[0]["now"]
    states = Counter(_worst(asset) for asset in assets)
    counts = {state: states[state] for state in reversed(STATES)}
    words = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    weak = [asset for asset in assets if _worst(asset) != "PASS"]
    unfolded = ""
    if weak:
        weak.sort(key=lambda it: STATES.index(_worst(it)))
        items = "".join(map(_weak, weak[:MOST_WEAK]))
        more = f"<li>and {len(weak) - MOST_WEAK:,} more</li>" if len(weak) > MOST_WEAK else ""
        opened = " open" if states["FAIL"] or states["WARN"] else ""
        unfolded = f"<details{opened}><summary>not fresh</summary><ul>{items}{more}</ul></details>"
    built = [asset["last_materialized_at"] for asset in assets if asset["last_materialized_at"] is not None]
    newest = [asset["data_as_of"] for asset in assets if asset["data_as_of"] is not None]
    return [
        text(name),
        Html(f'{stack(counts, label=words)}<span class="faint">{words}</span>{unfolded}'),
        since(max(built, default=None), now),
        since(max(newest, default=None), now),
    ]


def _weak(asset: Row) -> str:
    reason = text(asset["reason"] or "never built", longest=LONGEST_REASON)
    return f"<li>{badge(_worst(asset))} {code(asset['asset_key'])} {reason}</li>"


def _worst(asset: Row) -> str:
    """Of both states of an asset: did it run, and is its data recent? Data without a time is judged by the first."""
    states = {asset["state"], asset["data_state"]}
    if asset["data_state"] == "UNKNOWN" and asset["state"] == "PASS":
        return "PASS"
    return next(state for state in STATES if state in states)
