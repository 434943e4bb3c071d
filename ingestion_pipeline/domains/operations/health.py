"""Whether the data can be trusted: from the freshness of assets to the status of services to the document of seed S0.

Pure. A service is an asset group, or one of the three that S0 names. It is RED (down) when an asset of it is beyond its
fail window; YELLOW (degraded) when one is beyond its warn window or was never built, markets are stale or have
too few sales, FRED is silent about a series, or the breaker of its source is not closed; UNKNOWN when nothing was ever
ingested. The whole is RED when two services are down or something critical is (PostgreSQL, the mirror of freshness),
GREEN when every service is, YELLOW otherwise.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from ingestion_pipeline.settings import Settings

Status = Literal["GREEN", "YELLOW", "RED", "UNKNOWN"]

WORSE_AFTER_CHECKS, BETTER_AFTER_CHECKS = 2, 3
OVERALL = "overall"
SEED_SERVICES = ("macro", "fundamentals", "comps")
NEVER_INGESTED = "never ingested"
MIRROR_SILENT_AFTER = timedelta(seconds=120)
"""What the mirror of freshness says is not believed any longer."""

_ORDER: Mapping[Status, int] = {"GREEN": 0, "YELLOW": 1, "UNKNOWN": 2, "RED": 3}
_ENOUGH_DOWN = 2
_MOST_LISTED = 5  # in a reason
_MOST_NAMED = 100  # markets, in a document that anybody may ask for
_MAIN_ASSETS = {
    "macro": "property/macro_observations",
    "fundamentals": "property/fundamentals",
    "comps": "property/comps",
}
_SERVICES_OF_ASSETS = {asset: service for service, asset in _MAIN_ASSETS.items()} | {
    "property/fundamentals_staleness": "fundamentals"
}
_SERVICES_OF_GROUPS = {"property": "predictions"}


class Asset(Protocol):
    """What is known of one asset; orchestration/freshness.py finds it out."""

    @property
    def asset_key(self) -> str: ...
    @property
    def asset_group(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def last_materialized_at(self) -> datetime | None: ...
    @property
    def data_as_of(self) -> datetime | None: ...
    @property
    def data_state(self) -> str: ...
    @property
    def has_data_time(self) -> bool: ...
    @property
    def reason(self) -> str | None: ...


@dataclass(frozen=True)
class Breaker:
    """The circuit breaker of one source: `closed`, `open` or `half_open`."""

    state: str = "closed"
    failures: int = 0


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that is judged. `breakers` are by service; `silent_series` are those that FRED gives no longer."""

    assets: Sequence[Asset]
    breakers: Mapping[str, Breaker] = field(default_factory=dict)
    silent_series: Sequence[str] = ()
    stale_markets: Sequence[str] = ()
    markets_below_min: Sequence[str] = ()


@dataclass(frozen=True)
class Judgement:
    """What a service looks like at this moment. `details` are for the document, instants as ISO text."""

    status: Status
    reasons: tuple[str, ...]
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The status of a service, since when, and how often in a row (`candidate_checks`) it has looked otherwise."""

    status: Status
    since: datetime
    reasons: tuple[str, ...] = ()
    candidate: Status | None = None
    candidate_since: datetime | None = None
    candidate_checks: int = 0


def judgements(facts: Facts) -> dict[str, Judgement]:
    """Every service, S0's three whether there are assets of them or not."""
    groups: dict[str, list[Asset]] = {service: [] for service in SEED_SERVICES}
    for asset in facts.assets:
        groups.setdefault(service_of(asset.asset_key, asset.asset_group), []).append(asset)
    return {service: _judged(service, assets, facts) for service, assets in groups.items()}


def service_of(asset_key: str, asset_group: str) -> str:
    """The service that an asset belongs to: its group's, but for the assets that S0 names."""
    return _SERVICES_OF_ASSETS.get(asset_key) or _SERVICES_OF_GROUPS.get(asset_group, asset_group)


def sources_of(settings: Settings) -> dict[str, str]:
    """By service, the outside source that it calls, under the name of its breaker and of its retries."""
    return {"macro": "fred", "market": settings.ingestion_provider}


def listed(names: Sequence[str], *, most: int) -> str:
    """The first of `names` in a sentence, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def settled(before: Standing | None, seen: Judgement, *, now: datetime, is_critical: bool = False) -> Standing:
    """The standing after one more check.

    It gets worse when it has looked worse in two checks in a row (at once when that is critical), and better after
    three. What was not known is taken as it is seen, at once.
    """
    if before is None or (before.status == "UNKNOWN" and seen.status != "UNKNOWN"):
        return Standing(status=seen.status, since=now, reasons=seen.reasons)
    if seen.status == before.status:
        return Standing(status=seen.status, since=before.since, reasons=seen.reasons)
    is_worse = _ORDER[seen.status] > _ORDER[before.status]
    has_begun = before.candidate is not None and (_ORDER[before.candidate] > _ORDER[before.status]) == is_worse
    checks = before.candidate_checks + 1 if has_begun else 1
    needed = (1 if is_critical else WORSE_AFTER_CHECKS) if is_worse else BETTER_AFTER_CHECKS
    if checks >= needed:
        return Standing(status=seen.status, since=now, reasons=seen.reasons)
    return Standing(
        status=before.status,
        since=before.since,
        reasons=before.reasons,
        candidate=seen.status,
        candidate_since=before.candidate_since if has_begun else now,
        candidate_checks=checks,
    )


def overall(services: Mapping[str, Standing], before: Standing | None, *, now: datetime) -> Standing:
    """The whole, of services that have settled: it changes when they do."""
    by_status = {status: sorted(name for name, it in services.items() if it.status == status) for status in _ORDER}
    status: Status = "YELLOW"
    if len(by_status["RED"]) >= _ENOUGH_DOWN:
        status = "RED"
    elif len(by_status["GREEN"]) == len(services):
        status = "GREEN"
    reasons = tuple(
        f"{name} is {bad}: {'; '.join(services[name].reasons)}"
        for bad in ("RED", "YELLOW", "UNKNOWN")
        for name in by_status[bad]
    )
    is_same = before is not None and before.status == status
    return Standing(status=status, since=before.since if before is not None and is_same else now, reasons=reasons)


def _judged(service: str, assets: Sequence[Asset], facts: Facts) -> Judgement:
    breaker = facts.breakers.get(service, Breaker())
    extra = [] if breaker.state == "closed" else [f"the breaker of its source is {breaker.state.upper()}"]
    details: dict[str, Any] = {"assets": {asset.asset_key: _states(asset) for asset in assets}}
    main = [asset for asset in assets if asset.asset_key == _MAIN_ASSETS.get(service)] or assets
    details |= _times(main)
    if service == "fundamentals":
        details["stale_market_count"] = len(facts.stale_markets)
        details["stale_markets"] = sorted(facts.stale_markets)[:_MOST_NAMED]
    if service == "comps":
        details["below_min_count"] = len(facts.markets_below_min)
        details["markets_below_min"] = sorted(facts.markets_below_min)[:_MOST_NAMED]
    if not _has_data(main):
        return Judgement("UNKNOWN", (NEVER_INGESTED, *extra), details | {"last_success_at": None})
    failed = [asset for asset in assets if "FAIL" in (asset.state, asset.data_state)]
    weak = [asset for asset in assets if asset not in failed and _is_weak(asset)]
    reasons = [f"{asset.asset_key}: {asset.reason}" for asset in [*failed, *weak]]
    if service == "macro" and facts.silent_series:
        extra.append(f"FRED has not answered for {_listed(facts.silent_series)}")
    if service == "fundamentals" and facts.stale_markets:
        extra.append(f"stale in {_listed(facts.stale_markets)}")
    if service == "comps" and facts.markets_below_min:
        extra.append(f"too few recent sales in {_listed(facts.markets_below_min)}")
    status: Status = "RED" if failed else "YELLOW" if weak or extra else "GREEN"
    return Judgement(status, (*reasons, *extra), details)


def _has_data(assets: Iterable[Asset]) -> bool:
    """Has anything ever come? By the time of the data where the tables say it, else by whether they were built."""
    timed = [asset for asset in assets if asset.has_data_time]
    if timed:
        return any(asset.data_as_of is not None for asset in timed)
    return any(asset.last_materialized_at is not None for asset in assets)


def _is_weak(asset: Asset) -> bool:
    """An asset that is built and empty is fine: there may be nothing for it to hold."""
    return asset.state != "PASS" or asset.data_state == "WARN"


def _times(assets: Sequence[Asset]) -> dict[str, str | None]:
    built = [asset.last_materialized_at for asset in assets if asset.last_materialized_at is not None]
    data = [asset.data_as_of for asset in assets if asset.data_as_of is not None]
    return {
        "last_success_at": max(built).isoformat() if built else None,
        "last_row_as_of": max(data).isoformat() if data else None,
    }


def _states(asset: Asset) -> dict[str, str | None]:
    return {
        "state": asset.state,
        "data_state": asset.data_state,
        "last_materialized_at": asset.last_materialized_at.isoformat() if asset.last_materialized_at else None,
        "data_as_of": asset.data_as_of.isoformat() if asset.data_as_of else None,
    }


def _listed(names: Sequence[str]) -> str:
    return listed(sorted(names), most=_MOST_LISTED)
