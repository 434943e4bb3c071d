"""The HTTP part of operations, put together: webhooks and deliveries, jobs, cache warming, health, metrics."""

from collections.abc import Sequence

from ingestion_pipeline.core.deliveries import DeliveryType
from ingestion_pipeline.core.jobs import JobType
from ingestion_pipeline.domains.operations import webhooks_openapi
from ingestion_pipeline.domains.operations.delivery_routes import delivery_endpoints
from ingestion_pipeline.domains.operations.health_routes import HealthReport
from ingestion_pipeline.domains.operations.job_routes import job_endpoints
from ingestion_pipeline.domains.operations.metrics_routes import MetricsReport
from ingestion_pipeline.domains.operations.warming import warming_endpoints
from ingestion_pipeline.domains.operations.webhooks import webhook_endpoints
from ingestion_pipeline.intake.endpoints import HttpDomain
from ingestion_pipeline.intake.services import Services


def http(services: Services, *, job_types: Sequence[JobType], delivery_types: Sequence[DeliveryType]) -> HttpDomain:
    """The domain's part of the intake, for the kinds of jobs and deliveries of all domains."""
    health, metrics = HealthReport(services), MetricsReport(services)

    async def start() -> None:
        await health.start()
        await metrics.start()

    async def close() -> None:
        await health.close()
        await metrics.close()

    return HttpDomain(
        endpoints=[
            *webhook_endpoints(services, delivery_types),
            *delivery_endpoints(services, delivery_types),
            *job_endpoints(services, job_types),
            *warming_endpoints(services),
            *health.endpoints(),
            *metrics.endpoints(),
        ],
        schemas=webhooks_openapi.schemas([it for it in delivery_types if it.source is None]),
        startup=start,
        shutdown=close,
    )
