"""The document of GET /api/health/data, as seed S0 prints it, with reasons and since when. Pure.

Made of what `operations.health_figures` says (states as the mirror left them, breakers and metrics as of now) and of
whether that can be believed: while PostgreSQL is away, or the mirror silent, nothing is known and nothing looks GREEN.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ingestion_pipeline.domains.operations.health import (
    MIRROR_SILENT_AFTER,
    OVERALL,
    SEED_SERVICES,
    Judgement,
    Standing,
    sources_of,
)
from ingestion_pipeline.settings import Settings

NOT_MIRRORED = "health has not been evaluated yet: operations_freshness_sensor of the Dagster daemon has not run"

Figures = Mapping[str, Any]


def credible(figures: Figures) -> Judgement:
    """Whether the mirror can be believed: GREEN, or RED with the reason."""
    mirrored = figures["services"].get(OVERALL)
    if mirrored is None:
        return Judgement("RED", (NOT_MIRRORED,))
    now, checked_at = _instant(figures["now"]), _instant(mirrored["checked_at"])
    if now - checked_at > MIRROR_SILENT_AFTER:
        reason = (
            f"freshness was last checked at {_text(checked_at)}: the Dagster daemon, or its "
            "operations_freshness_sensor, is not running"
        )
        return Judgement("RED", (reason,))
    return Judgement("GREEN", ())


def document(figures: Figures | None, ground: Standing, settings: Settings) -> dict[str, Any]:
    """The whole answer. `ground` is RED while `figures`, the last that were read, cannot be believed."""
    figures = figures or {"now": ground.since.isoformat(), "services": {}}
    is_known = ground.status == "GREEN" and OVERALL in figures["services"]
    states = {name: state for name, state in figures["services"].items() if name != OVERALL}
    names = [*SEED_SERVICES, *sorted(set(states) - set(SEED_SERVICES))]
    whole = figures["services"][OVERALL] if is_known else None
    return {
        "status": whole["status"] if whole else "RED",
        "as_of": _seconds(figures["now"]),
        "since": _seconds(whole["since"]) if whole else _text(ground.since),
        "reasons": whole["reasons"] if whole else list(ground.reasons),
        "services": {name: _service(name, states.get(name), figures, settings, is_known=is_known) for name in names},
        "metrics": _metrics(figures, names, settings),
    }


def _service(
    name: str, state: Mapping[str, Any] | None, figures: Figures, settings: Settings, *, is_known: bool
) -> dict[str, Any]:
    details = state["details"] if state else {}
    succeeded_at = details.get("last_success_at")
    age = None if succeeded_at is None else int((_instant(figures["now"]) - _instant(succeeded_at)).total_seconds())
    found: dict[str, Any] = {
        "status": state["status"] if state and is_known else "UNKNOWN",
        "source": _source(name, settings),
        "last_success_at": _seconds(succeeded_at),
        "freshness_seconds": age,
        "last_row_as_of": _seconds(details.get("last_row_as_of")),
        "since": _seconds(state["since"]) if state else None,
        "reasons": state["reasons"] if state else [],
    }
    if state and not is_known:
        found["last_known_status"] = state["status"]
    ttl_seconds = {
        "macro": settings.cache_ttl_macro,
        "fundamentals": settings.cache_ttl_fundamentals,
        "comps": settings.cache_ttl_comps,
        "market": settings.cache_ttl_seconds,
    }.get(name)
    found["cache"] = {"used": ttl_seconds is not None, "ttl_seconds": ttl_seconds}
    if (source := sources_of(settings).get(name)) is not None:
        breaker = figures.get("breakers", {}).get(source, {"state": "closed", "failures": 0})
        found["breaker"] = {"state": breaker["state"].upper(), "failures": breaker["failures"]}
    if name == "fundamentals":
        found["max_allowed_staleness_days"] = settings.fundamentals_max_staleness_days
        found["stale_market_count"] = details.get("stale_market_count", 0)
        found["stale_markets"] = details.get("stale_markets", [])
    if name == "comps":
        found["min_required_recent"] = settings.comps_min_recent
        found["below_min_count"] = details.get("below_min_count", 0)
        found["markets_below_min"] = details.get("markets_below_min", [])
    return found


def _metrics(figures: Figures, services: list[str], settings: Settings) -> dict[str, Any]:
    ratios, retries = figures.get("cache_hit_ratio", {}), figures.get("retries")
    sources = sources_of(settings)
    latency = figures.get("prediction_latency_ms", {})
    return {
        "cache_hit_ratio": {name: _rounded(ratios.get(name), 4) for name in dict.fromkeys([*services, *ratios])},
        "api_retry_count_5m": {
            name: None if retries is None else int(sum(retries.get(it, 0) for it in {name, sources.get(name, name)}))
            for name in services
        },
        "prediction_latency_ms_p50": _rounded(latency.get("p50"), 1),
        "prediction_latency_ms_p95": _rounded(latency.get("p95"), 1),
    }


def _source(name: str, settings: Settings) -> str:
    return "FRED" if name == "macro" else sources_of(settings).get(name, "PostgreSQL")


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _seconds(text: str | None) -> str | None:
    return None if text is None else _text(_instant(text))


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
