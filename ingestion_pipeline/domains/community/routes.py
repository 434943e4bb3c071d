"""Every part of the intake that the community has. Not here: what the endpoints do (<part>_routes.py)."""

from collections.abc import Callable

from ingestion_pipeline.domains.community import (
    content_routes,
    donations_routes,
    leaderboard_routes,
    notifications_routes,
    rollup_routes,
)
from ingestion_pipeline.intake.endpoints import HttpDomain
from ingestion_pipeline.intake.services import Services

PARTS: tuple[Callable[[Services], HttpDomain], ...] = (
    donations_routes.http,
    content_routes.http,
    rollup_routes.http,
    leaderboard_routes.http,
    notifications_routes.http,
)
