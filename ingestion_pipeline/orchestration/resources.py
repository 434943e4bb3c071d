"""What assets are given: settings, stores, the configured provider. Built anew in every run from the environment.

They are plain objects: nothing about them, no secret above all, enters Dagster's configuration or its snapshots.
"""

from collections.abc import Iterator

import dagster as dg

from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.providers.base import MarketDataProvider
from ingestion_pipeline.providers.catalogue import provider
from ingestion_pipeline.providers.exchange_rates import ExchangeRatesFile, exchange_rates_file
from ingestion_pipeline.providers.fred import FredProvider, fred_provider
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.breakers import PostgresBreaker
from ingestion_pipeline.storage.cache import Cache, cache
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.metrics import store_metrics
from ingestion_pipeline.storage.migrate import require_migrated
from ingestion_pipeline.storage.postgres import Postgres


@dg.resource(description="The environment, read once")
def settings_resource(_: dg.InitResourceContext) -> Settings:
    return Settings.from_environment()


@dg.resource(description="PostgreSQL: served tables, rejects, breakers", required_resource_keys={"settings"})
def postgres_resource(context: dg.InitResourceContext) -> Iterator[Postgres]:
    url = context.resources.settings.database_url
    if url is None:
        raise ConfigurationError(
            "DATABASE_URL", "", 'a PostgreSQL URL; `eval "$(ingestion-pipeline env)"` sets the embedded one'
        )
    require_migrated(url.get_secret_value())
    postgres = Postgres(url.get_secret_value())
    yield postgres
    store_metrics(postgres)
    postgres.close()


@dg.resource(description="The Delta lake and the engine that reads it", required_resource_keys={"settings"})
def lake_resource(context: dg.InitResourceContext) -> Lake:
    return Lake(context.resources.settings)


@dg.resource(description="Redis with in-memory fallback", required_resource_keys={"settings"})
def cache_resource(context: dg.InitResourceContext) -> Cache:
    return cache(context.resources.settings)


@dg.resource(description="The provider named by INGESTION_PROVIDER", required_resource_keys={"settings", "postgres"})
def provider_resource(context: dg.InitResourceContext) -> MarketDataProvider:
    return provider(context.resources.settings, breaker=PostgresBreaker(context.resources.postgres))


@dg.resource(description="FRED, if FRED_API_KEY is set, else nothing", required_resource_keys={"settings", "postgres"})
def fred_resource(context: dg.InitResourceContext) -> FredProvider | None:
    return fred_provider(context.resources.settings, breaker=PostgresBreaker(context.resources.postgres))


@dg.resource(description="The file at SALES_RATES_URL", required_resource_keys={"settings", "postgres"})
def rates_file_resource(context: dg.InitResourceContext) -> ExchangeRatesFile:
    return exchange_rates_file(context.resources.settings, breaker=PostgresBreaker(context.resources.postgres))


RESOURCES = {
    "settings": settings_resource,
    "postgres": postgres_resource,
    "lake": lake_resource,
    "cache": cache_resource,
    "provider": provider_resource,
    "fred": fred_resource,
    "rates_file": rates_file_resource,
}
