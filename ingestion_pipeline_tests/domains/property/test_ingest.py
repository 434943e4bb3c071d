"""Deliveries become rows: once, the bad ones kept aside, the newest word the last, whatever the order of arrival."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion_pipeline.domains.property.contracts import (
    COMPS_UPSERT,
    DELIVERY_TYPES,
    FUNDAMENTALS_UPSERT,
    MACRO_UPDATE,
)
from ingestion_pipeline.domains.property.ingest import (
    Report,
    apply_comps,
    apply_fundamentals,
    apply_macro,
    write_staleness,
)
from ingestion_pipeline.domains.property.revisions import write_comps
from ingestion_pipeline.domains.property.transforms import CompRow, Origin, comp_rows
from ingestion_pipeline.storage.cache import MemoryCache
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.property.deliveries import (
    START,
    comp,
    deliver,
    fundamentals,
    macro,
    query,
)

NOW_DAYS = 30


@pytest.fixture
def cache() -> MemoryCache:
    return MemoryCache()


@pytest.fixture
def apply(postgres: Postgres, cache: MemoryCache) -> Callable[[str], Report]:
    """Applies what is pending of an event type, as its asset does."""

    def run(event_type: str) -> Report:
        if event_type == FUNDAMENTALS_UPSERT:
            return apply_fundamentals(postgres, cache, max_age_days=NOW_DAYS, run_id="run-1")
        if event_type == COMPS_UPSERT:
            return apply_comps(postgres, cache, run_id="run-1")
        return apply_macro(postgres, cache, run_id="run-1")

    return run


FIGURES = "select market_slug, metric, as_of_date::text, value, revision from property.fundamentals order by 1, 2, 3"
HISTORY = "select revision, value, source from property.fundamentals_revisions order by metric, as_of_date, revision"
SALES = "select comp_id, sale_price_usd, revision from property.comps order by 1"
VINTAGES = (
    "select observation_date::text, vintage_date::text, confirmed_date::text, value from property.macro_observations "
    "order by 1, 2"
)


def test_a_delivery_becomes_rows_with_units_and_provenance(postgres: Postgres, apply: Callable[[str], Report]) -> None:
    """Every figure says in what unit it is, who sent it and as part of which delivery."""
    metrics = {"median_sale_price_usd": 400_000.0, "months_of_supply": 3.5}
    (delivery_id,) = deliver(postgres, FUNDAMENTALS_UPSERT, fundamentals(metrics=metrics))
    report = apply(FUNDAMENTALS_UPSERT)
    assert (1, {"new": 2}) == (report.deliveries.processed, dict(report.rows))
    rows = query(
        postgres,
        "select metric, value, unit, source, provenance ->> 'delivery_id' from property.fundamentals order by 1",
    )
    assert [
        ("median_sale_price_usd", 400_000.0, "usd", "acme", delivery_id),
        ("months_of_supply", 3.5, "months", "acme", delivery_id),
    ] == rows


def test_the_same_values_in_another_delivery_are_no_revision(
    postgres: Postgres, apply: Callable[[str], Report]
) -> None:
    """They only say that the value still stands, and when."""
    deliver(postgres, FUNDAMENTALS_UPSERT, fundamentals(), fundamentals())
    report = apply(FUNDAMENTALS_UPSERT)
    assert {"new": 1, "same": 1} == dict(report.rows)
    assert [(1, 400_000.0, "acme")] == query(postgres, HISTORY)
    assert [(START + timedelta(minutes=1), START + timedelta(minutes=1))] == query(
        postgres, "select received_at, revised_at from property.fundamentals"
    )
    assert {} == dict(apply(FUNDAMENTALS_UPSERT).rows)


def test_another_value_is_a_revision_and_the_one_before_is_kept(
    postgres: Postgres, apply: Callable[[str], Report]
) -> None:
    """With who said it."""
    deliver(postgres, FUNDAMENTALS_UPSERT, fundamentals())
    apply(FUNDAMENTALS_UPSERT)
    later = fundamentals(metrics={"median_sale_price_usd": 410_000.0})
    deliver(postgres, FUNDAMENTALS_UPSERT, later, received=START + timedelta(days=1), source="other")
    assert {"revised": 1} == dict(apply(FUNDAMENTALS_UPSERT).rows)
    assert [("dallas", "median_sale_price_usd", "2026-02-28", 410_000.0, 2)] == query(postgres, FIGURES)
    assert [(1, 400_000.0, "acme"), (2, 410_000.0, "other")] == query(postgres, HISTORY)


def test_a_delivery_that_comes_late_replaces_nothing(postgres: Postgres, apply: Callable[[str], Report]) -> None:
    """`revised_at` says what is newer; the older value goes to the history, once."""
    new = fundamentals(metrics={"median_sale_price_usd": 2.0}, revised_at="2026-03-01T00:00:00Z")
    old = fundamentals(metrics={"median_sale_price_usd": 1.0}, revised_at="2026-02-28T00:00:00Z")
    deliver(postgres, FUNDAMENTALS_UPSERT, new)
    apply(FUNDAMENTALS_UPSERT)
    deliver(postgres, FUNDAMENTALS_UPSERT, old, old, received=START + timedelta(days=1))
    assert {"late": 2} == dict(apply(FUNDAMENTALS_UPSERT).rows)
    assert [("dallas", "median_sale_price_usd", "2026-02-28", 2.0, 1)] == query(postgres, FIGURES)
    assert [(1, 2.0, "acme"), (2, 1.0, "acme")] == query(postgres, HISTORY)


@pytest.mark.parametrize(
    ("event_type", "bad", "reason"),
    [
        (FUNDAMENTALS_UPSERT, fundamentals(as_of="2027-01-01"), "as_of is 2027-01-01, in the future of 2026-03-02"),
        (FUNDAMENTALS_UPSERT, fundamentals(as_of="1066-01-01"), "as_of is 1066-01-01, expected 1600-01-01 or later"),
        (FUNDAMENTALS_UPSERT, fundamentals(metrics={"vacancy_ratio": 7}), "vacancy_ratio is 7.0, expected 0 to 1"),
        (FUNDAMENTALS_UPSERT, fundamentals(metrics={"median_rent_usd": 0}), "median_rent_usd is 0.0, expected 1e-09"),
        (FUNDAMENTALS_UPSERT, fundamentals(revised_at="2999-01-01T00:00:00Z"), "would outlast all updates"),
        (COMPS_UPSERT, comp(sale_price_usd=-1), "sale_price_usd is -1.0, expected"),
        (COMPS_UPSERT, comp(sale_price_usd=10**40), "sale_price_usd is 1e+40, expected"),
        (COMPS_UPSERT, comp(sale_date="2026-04-01"), "sale_date is 2026-04-01, in the future"),
        (COMPS_UPSERT, comp(year_built=10**9), "year_built is 1000000000, expected 1500 to 2200"),
        (COMPS_UPSERT, comp(latitude=91.0), "latitude is 91.0, expected -90 to 90"),
        (COMPS_UPSERT, comp(longitude=None), "latitude and longitude: one is missing"),
        (COMPS_UPSERT, comp(living_area_sqft=0), "living_area_sqft is 0.0"),
        (COMPS_UPSERT, comp(revised_at="2999-01-01T00:00:00Z"), "would outlast all updates"),
        (MACRO_UPDATE, macro(("2026-01-01", "soon")), "value is 'soon', expected a number, null or '.'"),
        (MACRO_UPDATE, macro(("2026-01-01", "nan")), "value is 'nan'"),
        (MACRO_UPDATE, macro(as_of="2027-01-01"), "as_of is 2027-01-01, in the future"),
        (MACRO_UPDATE, macro(("1066-10-14", 1)), "date is 1066-10-14"),
    ],
)
def test_what_cannot_be_true_is_kept_aside_with_its_reason(
    postgres: Postgres, apply: Callable[[str], Report], event_type: str, bad: dict[str, Any], reason: str
) -> None:
    """The delivery is done; the reject names the field, the value and what was expected."""
    deliver(postgres, event_type, bad)
    report = apply(event_type)
    assert (1, 0, 1) == (report.deliveries.processed, report.deliveries.dead, report.rejected_rows)
    ((source, kept),) = query(postgres, "select source, reason from operations.rejects")
    assert "webhook:acme" == source
    assert reason in kept
    assert [("failed", 0, 1, kept)] == query(
        postgres,
        "select status, processed_records, rejected_records, error_message from operations.ingestion_events",
    )


def test_a_bad_row_keeps_no_other_of_its_delivery_back(postgres: Postgres, apply: Callable[[str], Report]) -> None:
    """The good ones are stored; the record says partial."""
    comps = [comp(), comp(comp_id="sale-2", sale_price_usd=-5), comp(comp_id="sale-3")]
    deliver(postgres, COMPS_UPSERT, {"comps": comps}, comp(comp_id="sale-4"))
    assert 1 == apply(COMPS_UPSERT).rejected_rows
    assert [("sale-1", 400_000.0, 1), ("sale-3", 400_000.0, 1), ("sale-4", 400_000.0, 1)] == query(postgres, SALES)
    assert [("partial", 2, 1), ("success", 1, 0)] == query(
        postgres,
        "select status, processed_records, rejected_records from operations.ingestion_events "
        "order by ingestion_event_id",
    )
    assert [("-5.0", "dallas")] == query(
        postgres, "select payload ->> 'sale_price_usd', payload ->> 'market_slug' from operations.rejects"
    )


def test_a_record_tells_of_each_delivery(
    postgres: Postgres, apply: Callable[[str], Report], cache: MemoryCache
) -> None:
    """Who, what, how long, which run, and which cached values it made invalid; those are gone."""
    keys = {
        "property:fundamentals:dallas:latest": FUNDAMENTALS_UPSERT,
        "property:comps:dallas:recent": COMPS_UPSERT,
        "property:macro:UNRATE": MACRO_UPDATE,
    }
    for key in (*keys, "property:fundamentals:austin:latest", "property:macro:CPI"):
        cache.set(key, 1, ttl_seconds=60)
    bodies = {FUNDAMENTALS_UPSERT: fundamentals(), COMPS_UPSERT: comp(), MACRO_UPDATE: macro()}
    ids = {event_type: deliver(postgres, event_type, body)[0] for event_type, body in bodies.items()}
    for event_type in bodies:
        apply(event_type)
    rows = query(
        postgres,
        "select event_type, delivery_id::text, source, market_slug, cache_keys_invalidated, dagster_run_id, "
        "processing_time_ms > 0, provenance ->> 'signed_by' from operations.ingestion_events",
    )
    patterns = {
        FUNDAMENTALS_UPSERT: "property:fundamentals:dallas*",
        COMPS_UPSERT: "property:comps:dallas*",
        MACRO_UPDATE: "property:macro:UNRATE*",
    }
    assert [
        (event_type, ids[event_type], "acme", "dallas", [patterns[event_type]], "run-1", True, "acme 1")
        for event_type in bodies
    ] == rows
    assert [None] * 3 == [cache.get(key) for key in keys]
    assert [1, 1] == [cache.get(key) for key in ("property:fundamentals:austin:latest", "property:macro:CPI")]


@pytest.mark.parametrize("slug", [None, "San Antonio", "a--b", "../x", "all"])
def test_a_market_that_is_no_slug_is_a_dead_delivery(
    postgres: Postgres, apply: Callable[[str], Report], slug: str | None
) -> None:
    """It can be replayed once it is known what it was meant for; the others of its batch are applied."""
    deliver(postgres, FUNDAMENTALS_UPSERT, fundamentals(), market_slug=slug)
    deliver(postgres, FUNDAMENTALS_UPSERT, fundamentals())
    report = apply(FUNDAMENTALS_UPSERT)
    assert (1, 1) == (report.deliveries.processed, report.deliveries.dead)
    assert 1 == len(query(postgres, FIGURES))
    ((reason,),) = query(postgres, "select reason from operations.deliveries where status = 'dead'")
    assert "market_slug" in reason


def test_a_sale_named_twice_in_a_delivery_is_the_first_one(postgres: Postgres, apply: Callable[[str], Report]) -> None:
    """Nothing says which is meant; thousands of them would be judged one after the other."""
    comps = [comp(sale_price_usd=2.0), comp(comp_id="sale-2"), *(comp(sale_price_usd=1.0),) * 3]
    deliver(postgres, COMPS_UPSERT, {"comps": comps})
    assert 3 == apply(COMPS_UPSERT).rejected_rows
    assert [("sale-1", 2.0, 1), ("sale-2", 400_000.0, 1)] == query(postgres, SALES)
    assert [("comp_id is 'sale-1', which an earlier sale of the delivery has",)] == query(
        postgres, "select distinct reason from operations.rejects"
    )


def test_many_states_of_one_sale_do_not_each_read_all_of_them(postgres: Postgres) -> None:
    """Of many deliveries at once: what is read grows with the rows, not with their square."""
    states = [sale_row(number, state) for state in range(200) for number in range(20)]
    with postgres.transaction() as connection:
        assert {"new": 20, "revised": 199 * 20} == dict(write_comps(connection, states))
        row = connection.execute(
            "select seq_tup_read from pg_stat_xact_all_tables where relid = 'pg_temp.property_incoming'::regclass"
        ).fetchone()
    assert row is not None
    assert row[0] < 20 * len(states)


def sale_row(number: int, state: int) -> CompRow:
    data = DELIVERY_TYPES[COMPS_UPSERT].data_of(comp(comp_id=str(number), sale_price_usd=1000.0 + state))
    received = START + timedelta(minutes=state)
    origin = Origin(source="acme", received_at=received, provenance="{}", market_slug="dallas")
    (row,) = comp_rows(data, origin).rows
    return row


def test_a_sale_that_moves_is_forgotten_in_the_market_where_it_was(
    postgres: Postgres, apply: Callable[[str], Report], cache: MemoryCache
) -> None:
    """Here, and in other processes through the record; other markets keep what they have."""
    deliver(postgres, COMPS_UPSERT, comp(), market_slug="houston")
    deliver(postgres, COMPS_UPSERT, comp(comp_id="sale-2"), market_slug="austin")
    apply(COMPS_UPSERT)
    for market in ("houston", "austin"):
        cache.set(f"property:comps:{market}:recent", 1, ttl_seconds=60)
    deliver(postgres, COMPS_UPSERT, comp(), received=START + timedelta(days=1))
    apply(COMPS_UPSERT)
    assert (None, 1) == tuple(cache.get(f"property:comps:{market}:recent") for market in ("houston", "austin"))
    (*_, (last,)) = query(
        postgres, "select cache_keys_invalidated from operations.ingestion_events order by ingestion_event_id"
    )
    assert ["property:comps:dallas*", "property:comps:houston*"] == last


def test_types_of_property_have_one_spelling(postgres: Postgres, apply: Callable[[str], Report]) -> None:
    """Valuation compares like with like."""
    spelt = ["Single Family", "single-family", "SINGLE_FAMILY"]
    comps = [comp(comp_id=str(number), property_type=text) for number, text in enumerate(spelt)]
    deliver(postgres, COMPS_UPSERT, {"comps": comps})
    apply(COMPS_UPSERT)
    assert [("single_family", 3)] == query(postgres, "select property_type, count(*) from property.comps group by 1")


def test_a_corrected_sale_keeps_what_it_was(postgres: Postgres, apply: Callable[[str], Report]) -> None:
    """All its columns, who said so and when."""
    deliver(postgres, COMPS_UPSERT, comp(bedrooms=3), comp(bedrooms=3), comp(bedrooms=4))
    assert {"new": 1, "same": 1, "revised": 1} == dict(apply(COMPS_UPSERT).rows)
    history = query(
        postgres,
        "select revision, (comp ->> 'bedrooms')::float, comp ->> 'market_slug' from property.comps_revisions order by 1",
    )
    assert [(1, 3.0, "dallas"), (2, 4.0, "dallas")] == history


def test_macro_values_have_vintages(postgres: Postgres, apply: Callable[[str], Report]) -> None:
    """A revision is a new vintage, the same value confirms the one before, a missing one is NULL."""
    day, month = "2026-01-01", "2026-02-01"
    for as_of, values in (
        ("2026-02-06", [(day, 4.0), (month, ".")]),
        ("2026-02-07", [(day, 4.0), (month, None)]),
        ("2026-03-01", [(day, "4.1"), (month, 3.9)]),
    ):
        deliver(postgres, MACRO_UPDATE, macro(*values, as_of=as_of))
        apply(MACRO_UPDATE)
    assert [
        (day, "2026-02-06", "2026-02-07", 4.0),
        (day, "2026-03-01", "2026-03-01", 4.1),
        (month, "2026-02-06", "2026-02-07", None),
        (month, "2026-03-01", "2026-03-01", 3.9),
    ] == query(postgres, VINTAGES)
    assert [(4.1,), (3.9,)] == query(postgres, "select value from property.macro_latest order by observation_date")


def test_a_day_named_twice_in_a_delivery_has_its_first_value(
    postgres: Postgres, apply: Callable[[str], Report]
) -> None:
    """Both are of the same vintage: nothing says which is meant."""
    deliver(postgres, MACRO_UPDATE, macro(("2026-01-01", 4.0), ("2026-01-01", 4.1), ("2026-02-01", 4.2)))
    assert 1 == apply(MACRO_UPDATE).rejected_rows
    assert [(4.0,), (4.2,)] == query(postgres, "select value from property.macro_latest order by observation_date")
    assert [("date is 2026-01-01, which an earlier observation of the delivery has",)] == query(
        postgres, "select reason from operations.rejects"
    )


def test_a_late_vintage_is_history(postgres: Postgres, apply: Callable[[str], Report]) -> None:
    """Also one from between the first and the last day on which the value of today was seen."""
    for as_of, value in (("2026-02-01", 1.0), ("2026-02-20", 1.0), ("2026-02-10", 2.0), ("2026-01-20", 3.0)):
        deliver(postgres, MACRO_UPDATE, macro(("2026-01-01", value), as_of=as_of))
        apply(MACRO_UPDATE)
    assert [(1.0,)] == query(postgres, "select value from property.macro_latest")
    assert [
        ("2026-01-01", "2026-01-20", "2026-01-20", 3.0),
        ("2026-01-01", "2026-02-01", "2026-02-01", 1.0),
        ("2026-01-01", "2026-02-10", "2026-02-10", 2.0),
        ("2026-01-01", "2026-02-20", "2026-02-20", 1.0),
    ] == query(postgres, VINTAGES)


ARRIVALS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(1, 3)), min_size=1, max_size=6, unique_by=lambda pair: pair[0]
).flatmap(lambda told: st.tuples(st.just(told), st.permutations(told)))


@pytest.mark.parametrize("kind", [FUNDAMENTALS_UPSERT, COMPS_UPSERT, MACRO_UPDATE])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(arrivals=ARRIVALS, passes=st.sampled_from(["one", "each"]))
def test_the_last_word_is_the_same_in_any_order_of_arrival(
    postgres: Postgres,
    apply: Callable[[str], Report],
    kind: str,
    arrivals: tuple[list[tuple[int, int]], list[tuple[int, int]]],
    passes: str,
) -> None:
    """Whatever arrives first: what the source says as of the newest day is current, and every value is remembered."""
    told, arriving = arrivals
    with postgres.transaction() as connection:
        for table in ("fundamentals", "fundamentals_revisions", "comps", "comps_revisions", "macro_observations"):
            connection.execute(f"delete from property.{table}")  # type: ignore[arg-type]
    for number, (day, value) in enumerate(arriving):
        said = datetime(2026, 2, 1, tzinfo=UTC) + timedelta(days=day)
        body = {
            FUNDAMENTALS_UPSERT: fundamentals(
                metrics={"median_sale_price_usd": float(value)}, revised_at=said.isoformat()
            ),
            COMPS_UPSERT: comp(sale_price_usd=float(value), revised_at=said.isoformat(), sale_date="2026-01-10"),
            MACRO_UPDATE: macro(("2026-01-01", float(value)), as_of=said.date().isoformat()),
        }[kind]
        deliver(postgres, kind, body, received=START + timedelta(minutes=number))
        if passes == "each":
            apply(kind)
    apply(kind)
    current, history = {
        FUNDAMENTALS_UPSERT: (
            "select value from property.fundamentals",
            "select distinct value from property.fundamentals_revisions",
        ),
        COMPS_UPSERT: (
            "select sale_price_usd from property.comps",
            "select distinct (comp ->> 'sale_price_usd')::float from property.comps_revisions",
        ),
        MACRO_UPDATE: (
            "select value from property.macro_latest",
            "select distinct value from property.macro_observations",
        ),
    }[kind]
    assert [(float(max(told)[1]),)] == query(postgres, current)
    assert {float(value) for _, value in told} == {value for (value,) in query(postgres, history)}
    if kind == MACRO_UPDATE:
        for until in range(6):  # what docs/property.md asks for a day
            known = (
                "select distinct on (observation_date) value from property.macro_observations "
                f"where series_id = 'UNRATE' and vintage_date <= date '2026-02-01' + {until} "
                "order by observation_date, vintage_date desc"
            )
            newest = max([pair for pair in told if pair[0] <= until], default=None)
            assert ([] if newest is None else [(float(newest[1]),)]) == query(postgres, known)


def test_staleness_is_told_with_the_figures(postgres: Postgres, apply: Callable[[str], Report]) -> None:
    """Of the markets of the deliveries, at once; of all by the asset. Age counts from the newest figure."""
    today = datetime.now(UTC).date()
    fresh, old = (today - timedelta(days=30)).isoformat(), (today - timedelta(days=31)).isoformat()
    metrics = {"median_sale_price_usd": 1.0, "median_rent_usd": 1.0}
    deliver(
        postgres,
        FUNDAMENTALS_UPSERT,
        fundamentals(as_of=fresh, metrics=metrics),
        fundamentals(as_of="2020-01-31"),
        received=datetime.now(UTC),
    )
    deliver(postgres, FUNDAMENTALS_UPSERT, fundamentals(as_of=old), market_slug="austin", received=datetime.now(UTC))
    apply(FUNDAMENTALS_UPSERT)
    rows = (
        "select market_slug, age_days, max_age_days, is_stale, metric_count "
        "from property.fundamentals_staleness order by 1"
    )
    assert [("austin", 31, 30, True, 1), ("dallas", 30, 30, False, 2)] == query(postgres, rows)
    with postgres.transaction() as connection:
        assert 2 == write_staleness(connection, max_age_days=29)
    assert [("austin", 31, 29, True, 1), ("dallas", 30, 29, True, 2)] == query(postgres, rows)
    with postgres.transaction() as connection:
        connection.execute("delete from property.fundamentals where market_slug = 'austin'")
        assert 1 == write_staleness(connection, max_age_days=29, markets=["dallas"])
    assert 2 == len(query(postgres, rows))
    with postgres.transaction() as connection:
        assert 1 == write_staleness(connection, max_age_days=29)
    assert [("dallas", 30, 29, True, 2)] == query(postgres, rows)
