"""Sends alerts as JSON to ALERT_WEBHOOK_URL.

An alert that cannot be delivered is logged; it never breaks what raised it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
import stamina
import structlog

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.settings import Settings, Severity

SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error", "critical")
TIMEOUT_SECONDS = 5.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Alert:
    severity: Severity
    message: str
    context: Mapping[str, str] = field(default_factory=dict)


def send_alert(settings: Settings, alert: Alert) -> bool:
    """Posts `{severity, message, context, at}`; True if the receiver took it.

    Nothing is sent below ALERT_MIN_SEVERITY or without ALERT_WEBHOOK_URL; the log line is written in any case.
    """
    log.log(_LEVELS[alert.severity], alert.message, severity=alert.severity, **alert.context)
    is_wanted = SEVERITIES.index(alert.severity) >= SEVERITIES.index(settings.alert_min_severity)
    if settings.alert_webhook_url is None or not is_wanted:
        return False
    try:
        _post(settings.alert_webhook_url.get_secret_value(), alert)
    except httpx.HTTPError as error:
        # the text of an httpx error may hold the URL, and the URL may hold a key
        log.warning("alert not delivered", reason=type(error).__name__)
        return False
    return True


def _post(url: str, alert: Alert) -> None:
    body = {
        "severity": alert.severity,
        "message": alert.message,
        "context": dict(alert.context),
        "at": utc_now().isoformat(),
    }
    # a block, not a decorated function: stamina logs the arguments of those, and the URL may hold a key
    for attempt in stamina.retry_context(on=httpx.HTTPError, attempts=3, wait_initial=0.2, wait_max=2.0):
        with attempt:
            httpx.post(url, json=body, timeout=TIMEOUT_SECONDS).raise_for_status()


_LEVELS: Mapping[Severity, int] = {"info": 20, "warning": 30, "error": 40, "critical": 50}
