"""Structured logs: structlog into the standard library, JSON for machines, aligned text on a terminal.

Belongs here: how a line looks and what is kept out of it. Context (run id, asset, partition, market) is bound by those
who know it, with `structlog.contextvars`.
"""

import logging
import re
import sys
from collections.abc import Collection, Mapping
from functools import partial
from typing import Literal

import structlog

PACKAGE = "ingestion_pipeline"
_SECRET_NAME = re.compile(r"secret|password|token|api[_-]?key|authorization", re.IGNORECASE)
# to the last @, because a password that nobody encoded holds any character; rather too much than half of one
_URL_PASSWORD = re.compile(r"""(?<=://)([^:/@\s]*):[^\s"'<>]+@""")
_WEBHOOK = re.compile(r"""(https?://(?:hooks\.[^/\s]+|[^\s"'<>]*?/(?:web)?hooks?)/)[^\s"'<>]+""", re.IGNORECASE)
_NAMED_SECRET = re.compile(
    r"""((?:secret|password|token|api[_-]?key)\w*(?:["']\s*:\s*|\s*=\s*)|\bbearer )"""
    r"""('(?:[^'\\\n]|\\.)*'?|"(?:[^"\\\n]|\\.)*"?|[^&\s"'<>]+)""",
    re.IGNORECASE,
)
_SHORTEST_KNOWN = 4
_OUR_OWN = ("level", "logger", "timestamp")  # never hold a secret, and a password may be a word such as `info`


def configure_logging(
    level: str, *, style: Literal["auto", "json", "console"] = "auto", secrets: Collection[str] = ()
) -> None:
    """Sends the package's log lines to standard error, at `level` and above, and through Dagster's own handlers.

    What is in `secrets` is kept out of them wherever it stands.
    """
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        partial(_redacted, frozenset(secrets)),
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


def redact(text: str, secrets: Collection[str] = ()) -> str:
    """`text` without `secrets` and without the passwords and keys of URLs, connection strings and headers in it."""
    for secret in sorted(secrets, key=len, reverse=True):  # one may be a part of another
        if len(secret) >= _SHORTEST_KNOWN:
            text = text.replace(secret, "***")
    text = _URL_PASSWORD.sub(r"\1:***@", text)
    return _NAMED_SECRET.sub(r"\1***", _WEBHOOK.sub(r"\1***", text))


def _redacted(
    secrets: Collection[str], _: object, __: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    for name, value in event.items():
        event[name] = value if name.startswith("_") or name in _OUR_OWN else _clean(name, value, secrets)
    return event


def _clean(name: str, value: object, secrets: Collection[str]) -> object:
    if _SECRET_NAME.search(name):
        return "***"
    if isinstance(value, str):
        return redact(value, secrets)
    if isinstance(value, Mapping):
        return {redact(str(key), secrets): _clean(str(key), item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(name, item, secrets) for item in value]
    return redact(repr(value), secrets) if isinstance(value, BaseException) else value
