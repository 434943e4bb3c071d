"""The intake with the endpoints of rollups. `python -m ingestion_pipeline_tests.domains.community.served_rollups`."""

from ingestion_pipeline.asgi import create_app
from ingestion_pipeline.domains.community.rollup_routes import http
from ingestion_pipeline.intake.server import serve
from ingestion_pipeline.settings import Settings

SERVED = ("-m", "ingestion_pipeline_tests.domains.community.served_rollups")

if __name__ == "__main__":
    settings = Settings.from_environment()
    serve(
        settings,
        lambda: create_app(settings, domains=[http]),
        tell=print,
    )
