"""Structured logs: structlog into the standard library, JSON for machines, aligned text on a terminal.

Belongs here: how a line looks and what is kept out of it. Context (run id, asset, partition, market) is bound by those
who know it, with `structlog.contextvars`.
"""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Literal

import structlog

PACKAGE = "ingestion_pipeline"
_SECRET_NAME = re.compile(r"secret|password|token|api[_-]?key|authorization", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"""(?<=://)([^:/@\s]*):[^/\s"'<>]+@""")
_NAMED_SECRET = re.compile(r"""((?:secret|password|token|api[_-]?key)\w*=|\bbearer )[^&\s"'<>]+""", re.IGNORECASE)


def configure_logging(level: str, *, style: Literal["auto", "json", "console"] = "auto") -> None:
    """Sends the package's log lines to standard error, at `level` and above, and through Dagster's own handlers."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redacted,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    plain = structlog.dev.plain_traceback  # a trace is text by then, without secrets
    renderer = (
        structlog.dev.ConsoleRenderer(exception_formatter=plain) if console else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logger = logging.getLogger(PACKAGE)
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


def redact(text: str) -> str:
    """`text` without the passwords and keys of the URLs, connection strings and headers in it."""
    return _NAMED_SECRET.sub(r"\1***", _URL_PASSWORD.sub(r"\1:***@", text))


def _redacted(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    for name, value in event.items():
        event[name] = value if name.startswith("_") else _clean(name, value)
    return event


def _clean(name: str, value: object) -> object:
    if _SECRET_NAME.search(name):
        return "***"
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(key): _clean(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(name, item) for item in value]
    return redact(repr(value)) if isinstance(value, BaseException) else value
