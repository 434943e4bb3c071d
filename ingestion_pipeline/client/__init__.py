"""The client that applications use to send product events and to read what became of them.

Belongs here: what an application needs, on httpx and the standard library alone. Does not belong here: anything of the
rest of the package; the folder can be copied into another project as it is.
"""

from .clients import AnalyticsClient, AsyncAnalyticsClient
from .delivery import Stats
from .events import Envelope
from .http import AnalyticsError
from .results import ActiveUsers, Aggregation, DashboardMetrics, Event, RealtimeMetric, TypeCount

__all__ = [
    "ActiveUsers",
    "Aggregation",
    "AnalyticsClient",
    "AnalyticsError",
    "AsyncAnalyticsClient",
    "DashboardMetrics",
    "Envelope",
    "Event",
    "RealtimeMetric",
    "Stats",
    "TypeCount",
]
