"""Property data through the cache: what is kept under which key, what stands in while PostgreSQL is away, warming."""

from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta

import pytest

from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.core.metrics import metrics
from ingestion_pipeline.domains.property.predict import predict_new_sales
from ingestion_pipeline.domains.property.reads import (
    WARMERS,
    latest_fundamentals,
    prediction_keys,
    recent_comps,
    recent_macro,
    recent_predictions,
)
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.cache import MemoryCache, invalidate
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.warming import Stores, warm_all
from ingestion_pipeline_tests.children import until
from ingestion_pipeline_tests.command import free_port
from ingestion_pipeline_tests.domains.property.sales import make_sale, sales_frame
from ingestion_pipeline_tests.domains.property.stored import RECEIVED, store_comps, store_fundamentals, store_macro

DAY = date(2026, 3, 2)
FACTORIES = {
    "property:macro:UNRATE:recent": lambda stores: recent_macro(stores, "UNRATE"),
    "property:fundamentals:dallas:latest": lambda stores: latest_fundamentals(stores, "dallas"),
    "property:comps:dallas:recent": lambda stores: recent_comps(stores, "dallas"),
    "property:predictions:dallas:recent": lambda stores: recent_predictions(stores, "dallas"),
}


@pytest.fixture
def stores(postgres: Postgres, settings: Settings) -> Stores:
    """With a little of everything."""
    store_macro(postgres, "UNRATE", (DAY, 4.0), vintage=DAY)
    store_fundamentals(postgres, "dallas", "inventory_count", (DAY, 7.0))
    store_fundamentals(postgres, "austin", "inventory_count", (DAY, 8.0))
    store_comps(postgres, sales_frame(make_sale(), make_sale(subject_id="mls/2", sale_date=DAY - timedelta(days=1))))
    list(predict_new_sales(postgres))
    return Stores(settings, postgres, MemoryCache())


@pytest.mark.parametrize("key", FACTORIES)
def test_a_value_is_kept_under_the_key_that_ingestion_forgets(stores: Stores, key: str) -> None:
    """`property:<service>:<series or market>*`."""
    value = FACTORIES[key](stores)
    assert key == value.key
    first = value.read(stores)
    assert ("miss", "hit") == (first.how, value.read(stores).how)
    assert first.value == value.read(stores).value
    invalidate(stores.cache, [key.rpartition(":")[0] + "*"], service="test")
    assert "miss" == value.read(stores).how


def test_predictions_are_forgotten_by_their_market(stores: Stores) -> None:
    value = recent_predictions(stores, "dallas")
    value.read(stores)
    stores.cache.delete(prediction_keys("austin"))
    assert "hit" == value.read(stores).how
    stores.cache.delete(prediction_keys("dallas"))
    assert "miss" == value.read(stores).how


@pytest.mark.parametrize("key", FACTORIES)
def test_lifetimes_are_settings(stores: Stores, key: str) -> None:
    """CACHE_TTL_MACRO, CACHE_TTL_FUNDAMENTALS, CACHE_TTL_COMPS."""
    lifetimes = {"cache_ttl_macro": 11, "cache_ttl_fundamentals": 12, "cache_ttl_comps": 13}
    changed = replace(stores, settings=stores.settings.model_copy(update=lifetimes))
    seconds = {"macro": 11, "fundamentals": 12, "comps": 13, "predictions": 13}
    assert seconds[key.split(":")[1]] == FACTORIES[key](changed).ttl_seconds


@pytest.mark.parametrize("key", FACTORIES)
def test_an_old_value_is_served_while_postgresql_is_away(stores: Stores, key: str) -> None:
    """And no value at all is an error that says that the store is away."""
    with closing(Postgres(f"postgresql://nobody@127.0.0.1:{free_port()}/none")) as away:
        broken = replace(stores, postgres=away)
        with pytest.raises(StoreUnavailableError):
            FACTORIES[key](broken).read(broken)
        fresh = replace(FACTORIES[key](stores), ttl_seconds=1)
        known = fresh.read(stores).value
        late = replace(FACTORIES[key](broken), ttl_seconds=1)
        until(lambda: late.read(broken).how == "stale")
        assert known == late.read(broken).value


def test_what_is_not_there_is_not_kept(stores: Stores) -> None:
    """The first delivery of a market is seen at once."""
    value = latest_fundamentals(stores, "houston")
    assert value.read(stores).value is None
    store_fundamentals(stores.postgres, "houston", "inventory_count", (DAY, 9.0))
    assert value.read(stores).value is not None


def test_warming_fills_what_is_asked_for_first(stores: Stores) -> None:
    """Every series, the figures of every market, the sales of those that have some."""
    metrics.take()
    warmed = warm_all(WARMERS, stores)
    assert ({"macro": 1, "fundamentals": 2, "comps": 1}, {}) == (warmed.counts, warmed.problems)
    for key in list(FACTORIES)[:3]:
        assert "hit" == FACTORIES[key](stores).read(stores).how
    counted = {(one.name, dict(one.labels)["service"]): one.value for one in metrics.take()}
    assert 2 == counted["cache_warm", "fundamentals"]


def test_the_markets_that_are_warmed_are_those_of_the_service_that_received_last(stores: Stores) -> None:
    """Many with figures alone leave room for those with sales."""
    newest = RECEIVED + timedelta(days=1)
    store_comps(stores.postgres, sales_frame(make_sale(subject_id="mls/3", market_slug="waco")), received_at=newest)
    found = stores.postgres.read("property_markets", {"limit": 1})
    assert [("comps", "waco"), ("fundamentals", "austin")] == sorted((it["service"], it["market_slug"]) for it in found)


def test_warming_goes_on_when_a_service_fails(stores: Stores, settings: Settings) -> None:
    """PostgreSQL away: each says so."""
    with closing(Postgres(f"postgresql://nobody@127.0.0.1:{free_port()}/none")) as away:
        warmed = warm_all(WARMERS, Stores(settings, away, stores.cache))
    assert {} == warmed.counts
    assert ["comps", "fundamentals", "macro"] == sorted(warmed.problems)
    assert all("PostgreSQL" in reason for reason in warmed.problems.values())
