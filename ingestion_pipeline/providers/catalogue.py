"""The one place that maps INGESTION_PROVIDER to an implementation; each is imported only when it is chosen."""

from ingestion_pipeline.providers.base import MarketDataProvider
from ingestion_pipeline.providers.http import CircuitBreaker
from ingestion_pipeline.settings import Settings


def provider(settings: Settings, *, breaker: CircuitBreaker) -> MarketDataProvider:
    """The provider that `settings` name.

    Raises:
        ConfigurationError: a setting that this provider needs is missing or wrong.
    """
    match settings.ingestion_provider:
        case "mock":
            from ingestion_pipeline.providers.mock import MockProvider

            return MockProvider()
        case "file":
            from ingestion_pipeline.providers.file import FileProvider

            return FileProvider(settings.ingestion_file_path)
        case "coingecko":
            from ingestion_pipeline.providers.coingecko import coingecko_provider

            return coingecko_provider(settings, breaker=breaker)
        case "binance":
            from ingestion_pipeline.providers.binance import binance_provider

            return binance_provider(settings, breaker=breaker)
