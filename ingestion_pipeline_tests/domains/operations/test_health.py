"""Health as S0 rules it: what a service is, what the whole is, and that neither flaps; with a clock that is passed in."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.domains.operations.health import (
    Breaker,
    Facts,
    Judgement,
    Standing,
    Status,
    judgements,
    overall,
    service_of,
    settled,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
TICK = timedelta(seconds=30)
STATUSES: list[Status] = ["GREEN", "YELLOW", "RED", "UNKNOWN"]


@dataclass(frozen=True, kw_only=True)
class Asset:
    asset_key: str = "property/macro_observations"
    asset_group: str = "property"
    state: str = "PASS"
    last_materialized_at: datetime | None = NOW - timedelta(minutes=5)
    data_as_of: datetime | None = NOW - timedelta(days=1)
    data_state: str = "PASS"
    has_data_time: bool = True
    reason: str | None = None


def never(key: str, group: str = "property") -> Asset:
    return Asset(
        asset_key=key,
        asset_group=group,
        state="UNKNOWN",
        last_materialized_at=None,
        data_as_of=None,
        data_state="UNKNOWN",
        reason="never built",
    )


def judged(service: str, *assets: Asset, **facts: Any) -> Judgement:
    return judgements(Facts(assets=assets, **facts))[service]


def standing(status: Status, **over: Any) -> Standing:
    return Standing(**{"status": status, "since": NOW} | over)


def test_a_service_whose_assets_pass_is_green() -> None:
    """With when it last succeeded and of when its newest row is."""
    seen = judged("macro", Asset())
    assert ("GREEN", ()) == (seen.status, seen.reasons)
    assert (NOW - timedelta(minutes=5)).isoformat() == seen.details["last_success_at"]
    assert (NOW - timedelta(days=1)).isoformat() == seen.details["last_row_as_of"]


@pytest.mark.parametrize(
    ("state", "data_state", "status"),
    [
        ("WARN", "PASS", "YELLOW"),
        ("PASS", "WARN", "YELLOW"),
        ("UNKNOWN", "PASS", "YELLOW"),
        ("FAIL", "PASS", "RED"),
        ("PASS", "FAIL", "RED"),
        ("WARN", "FAIL", "RED"),
    ],
)
def test_the_worst_of_run_and_data_decides(state: str, data_state: str, status: str) -> None:
    """An asset that ran and has no recent data is as bad as one that did not run."""
    seen = judged("macro", Asset(state=state, data_state=data_state, reason="why"))
    assert (status, ("property/macro_observations: why",)) == (seen.status, seen.reasons)


def test_one_broken_asset_takes_its_whole_group_down() -> None:
    """Every bad one is named, the broken ones first."""
    bars = Asset(asset_key="market/price_bars", asset_group="market")
    weekly = Asset(asset_key="market/ohlc_weekly", asset_group="market", state="WARN", reason="last built 5 hours ago")
    quotes = Asset(asset_key="market/snapshots", asset_group="market", state="FAIL", reason="last built 9 hours ago")
    seen = judged("market", bars, weekly, quotes)
    assert "RED" == seen.status
    assert ("market/snapshots: last built 9 hours ago", "market/ohlc_weekly: last built 5 hours ago") == seen.reasons


@pytest.mark.parametrize("service", ["macro", "fundamentals", "comps"])
def test_what_was_never_ingested_is_unknown_not_red(service: str) -> None:
    """Of S0's services also where there is no such asset."""
    assert ("UNKNOWN", ("never ingested",)) == (judged(service).status, judged(service).reasons)


def test_a_schedule_that_ran_without_bringing_anything_is_no_ingestion() -> None:
    """Without a FRED key the asset is materialized every hour, empty; nor does it ever become RED for standing still."""
    for state in ("PASS", "FAIL"):
        seen = judged("macro", Asset(state=state, data_as_of=None, data_state="UNKNOWN", reason="last built"))
        assert ("UNKNOWN", ("never ingested",), None) == (seen.status, seen.reasons, seen.details["last_success_at"])


def test_a_derived_table_does_not_stand_for_its_source() -> None:
    """The staleness of no fundamentals is computed daily all the same."""
    derived = Asset(asset_key="property/fundamentals_staleness", has_data_time=False, data_as_of=None)
    assert "UNKNOWN" == judged("fundamentals", never("property/fundamentals"), derived).status


def test_an_empty_table_of_a_group_with_data_is_fine_but_one_never_built_is_not() -> None:
    """Nothing may have happened that it could hold; not having been built is no such reason."""
    bars = Asset(asset_key="events/event_history", asset_group="events")
    empty = Asset(asset_key="events/funnels", asset_group="events", data_as_of=None, data_state="UNKNOWN")
    assert "GREEN" == judged("events", bars, empty).status
    seen = judged("events", bars, never("events/funnels", "events"))
    assert ("YELLOW", ("events/funnels: never built",)) == (seen.status, seen.reasons)


def test_a_group_whose_tables_have_no_time_is_judged_by_whether_it_was_built() -> None:
    """Such as one that only holds definitions."""
    built = Asset(asset_key="sales/authors", asset_group="sales", has_data_time=False, data_as_of=None)
    assert "GREEN" == judged("sales", built).status
    assert "UNKNOWN" == judged("sales", never("sales/authors", "sales")).status


@pytest.mark.parametrize(("state", "status"), [("closed", "GREEN"), ("open", "YELLOW"), ("half_open", "YELLOW")])
def test_a_breaker_that_is_not_closed_degrades_its_service(state: str, status: str) -> None:
    """Fresh data is served on; nothing new comes."""
    seen = judged("macro", Asset(), breakers={"macro": Breaker(state, 5)})
    assert status == seen.status
    assert (state == "closed") == (seen.reasons == ())
    assert "GREEN" == judged("comps", Asset(asset_key="property/comps"), breakers={"macro": Breaker(state)}).status


def test_stale_markets_degrade_the_fundamentals_and_only_the_fail_window_takes_them_down() -> None:
    """All are stale together each month, before the publishers' next files: that is no outage."""
    asset = Asset(asset_key="property/fundamentals")
    some = judged("fundamentals", asset, stale_markets=["san-antonio"])
    assert ("YELLOW", ("stale in san-antonio",)) == (some.status, some.reasons)
    assert ["san-antonio"] == some.details["stale_markets"]
    old = Asset(asset_key="property/fundamentals", data_state="FAIL", reason="its newest data is of 2025-10-31")
    assert "RED" == judged("fundamentals", old, stale_markets=["san-antonio"]).status
    assert "GREEN" == judged("fundamentals", asset).status


def test_a_series_that_fred_gives_no_longer_degrades_macro() -> None:
    """However recent what senders deliver is."""
    seen = judged("macro", Asset(), silent_series=["UNRATE", "DGS10"])
    assert ("YELLOW", ("FRED has not answered for DGS10, UNRATE",)) == (seen.status, seen.reasons)
    assert "GREEN" == judged("comps", Asset(asset_key="property/comps"), silent_series=["UNRATE"]).status


@pytest.mark.parametrize(
    ("service", "asset_key", "names", "count"),
    [
        ("fundamentals", "property/fundamentals", "stale_markets", "stale_market_count"),
        ("comps", "property/comps", "markets_below_min", "below_min_count"),
    ],
)
def test_of_many_markets_a_hundred_are_named_and_all_counted(
    service: str, asset_key: str, names: str, count: str
) -> None:
    """Anybody may ask for the document, and it is made every second."""
    markets = [f"market-{number:05}" for number in range(26_000)]
    details = judged(service, Asset(asset_key=asset_key), **{names: markets[::-1]}).details
    assert (markets[:100], 26_000) == (details[names], details[count])


def test_markets_with_too_few_sales_degrade_the_comps() -> None:
    """Many are counted rather than named."""
    seen = judged("comps", Asset(asset_key="property/comps"), markets_below_min=[f"m{n}" for n in range(9)])
    assert ("YELLOW", ("too few recent sales in m0, m1, m2, m3, m4 and 4 more",)) == (seen.status, seen.reasons)
    assert 9 == len(seen.details["markets_below_min"])


def test_services_are_groups_but_for_those_that_the_seed_names() -> None:
    """A new domain is a service as soon as it has assets."""
    assert "macro" == service_of("property/macro_observations", "property")
    assert "fundamentals" == service_of("property/fundamentals_staleness", "property")
    assert "predictions" == service_of("property/prediction_accuracy", "property")
    assert "sales" == service_of("sales/ledger", "sales")


def whole(*statuses: Status) -> Status:
    return overall({f"s{n}": standing(status) for n, status in enumerate(statuses)}, None, now=NOW).status


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["GREEN", "GREEN", "GREEN"], "GREEN"),
        (["GREEN", "YELLOW", "GREEN"], "YELLOW"),
        (["YELLOW", "YELLOW", "YELLOW"], "YELLOW"),
        (["RED", "GREEN", "GREEN"], "YELLOW"),
        (["RED", "RED", "GREEN"], "RED"),
        (["UNKNOWN", "GREEN", "GREEN"], "YELLOW"),
        (["UNKNOWN", "UNKNOWN", "UNKNOWN"], "YELLOW"),
        (["UNKNOWN", "RED", "GREEN"], "YELLOW"),
    ],
)
def test_the_whole(statuses: list[Status], expected: Status) -> None:
    """One down is degraded, two down are RED; unknown is never GREEN, and never RED for ever."""
    assert expected == whole(*statuses)


@given(st.lists(st.sampled_from(STATUSES), min_size=1, max_size=8))
def test_the_whole_is_green_only_if_everything_is(statuses: list[Status]) -> None:
    """Whatever there is."""
    assert (whole(*statuses) == "GREEN") == (set(statuses) == {"GREEN"})


def test_the_whole_says_why_and_since_when() -> None:
    """`since` moves when the status does, not when a reason does."""
    first = overall({"macro": standing("YELLOW", reasons=("slow",))}, None, now=NOW)
    second = overall({"macro": standing("YELLOW", reasons=("slower",))}, first, now=NOW + TICK)
    assert (NOW, ("macro is YELLOW: slower",)) == (second.since, second.reasons)
    third = overall({"macro": standing("GREEN")}, second, now=NOW + 2 * TICK)
    assert ("GREEN", NOW + 2 * TICK, ()) == (third.status, third.since, third.reasons)


def through(first: Status, *seen: Status, is_critical: bool = False) -> list[Standing]:
    """The standings after each of the checks, 30 seconds apart."""
    found = [standing(first)]
    for number, status in enumerate(seen, start=1):
        judgement = Judgement(status, (f"reason {number}",))
        found.append(settled(found[-1], judgement, now=NOW + number * TICK, is_critical=is_critical))
    return found[1:]


def test_worse_after_two_checks() -> None:
    """One bad look is kept as a candidate, with since when; the second counts, from its own instant on."""
    first, second = through("GREEN", "RED", "RED")
    assert ("GREEN", "RED", NOW + TICK, 1, NOW) == (
        first.status,
        first.candidate,
        first.candidate_since,
        first.candidate_checks,
        first.since,
    )
    assert ("RED", None, NOW + 2 * TICK, ("reason 2",)) == (
        second.status,
        second.candidate,
        second.since,
        second.reasons,
    )


def test_worse_at_once_when_it_is_critical() -> None:
    """PostgreSQL away is no matter of a second look; coming back is."""
    found = through("GREEN", "RED", "GREEN", "GREEN", "GREEN", is_critical=True)
    assert ["RED", "RED", "RED", "GREEN"] == [it.status for it in found]


def test_better_after_three_checks() -> None:
    """What was bad stays bad, with its reasons, until it is surely over."""
    found = through("RED", "GREEN", "GREEN", "GREEN")
    assert ["RED", "RED", "GREEN"] == [it.status for it in found]
    assert NOW == found[1].since
    assert ((), ("reason 3",)) == (found[1].reasons, found[2].reasons)


def test_a_relapse_begins_the_wait_anew() -> None:
    """Two good looks and a bad one are no recovery."""
    found = through("RED", "GREEN", "GREEN", "RED", "GREEN", "GREEN", "GREEN")
    assert ["RED", "RED", "RED", "RED", "RED", "GREEN"] == [it.status for it in found]
    assert found[2].candidate is None


def test_getting_worse_in_different_ways_is_getting_worse() -> None:
    """YELLOW and RED in turn are not GREEN; it becomes what it is at the second look."""
    assert ["GREEN", "RED"] == [it.status for it in through("GREEN", "YELLOW", "RED")]
    assert ["GREEN", "YELLOW"] == [it.status for it in through("GREEN", "RED", "YELLOW")]


def test_what_was_not_known_is_taken_as_it_is_seen() -> None:
    """The first ingestion shows at once, also when it is a bad one."""
    assert ["GREEN"] == [it.status for it in through("UNKNOWN", "GREEN")]
    assert ["RED"] == [it.status for it in through("UNKNOWN", "RED")]
    assert "YELLOW" == settled(None, Judgement("YELLOW", ()), now=NOW).status
    assert ["GREEN", "UNKNOWN"] == [it.status for it in through("GREEN", "UNKNOWN", "UNKNOWN")]


@given(st.sampled_from(STATUSES), st.lists(st.sampled_from(STATUSES), max_size=20))
def test_alternating_looks_never_change_what_is_known(first: Status, seen: list[Status]) -> None:
    """No status is taken over that was not seen, and steady looks are always believed in the end."""
    last = standing(first)
    for number, status in enumerate(seen):
        after = settled(last, Judgement(status, ()), now=NOW + number * TICK)
        assert after.status in (last.status, status)
        last = after
    for number in range(3):
        last = settled(last, Judgement("YELLOW", ()), now=NOW + (50 + number) * TICK)
    assert ("YELLOW", None) == (last.status, last.candidate)


def test_a_single_bad_look_in_between_is_never_shown() -> None:
    """The flap that hysteresis is for."""
    assert {"GREEN"} == {it.status for it in through("GREEN", *(["RED", "GREEN"] * 10))}
    assert {"RED"} == {it.status for it in through("RED", *(["GREEN", "GREEN", "RED"] * 10))}
