"""Carries messages to whoever is to be told: ALERT_WEBHOOK_URL as JSON, the targets of ALERT_TARGETS through Apprise.

Belongs here: targets, what a message looks like and what is kept out of it, how long sending may take. Does not belong
here: what is wrong and what is due to be said (storage/alerts.py), nor anything that connects (alert_sender.py).
"""

import json
import logging
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

import structlog

from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.core.ids import digest
from ingestion_pipeline.core.logs import redact
from ingestion_pipeline.providers.addresses import without_internal
from ingestion_pipeline.settings import Settings, Severity, child_environment

SENDING_SECONDS = 10
STARTING_SECONDS = 5
LONGEST_TEXT, LONGEST_READ = 1000, 10_000
_ENDS = (0, -signal.SIGALRM, -signal.SIGKILL)  # done, or out of time
_SEPARATOR = re.compile(r"\s*,\s*(?=[a-z][a-z0-9+.-]*://)", re.IGNORECASE)
_SHORTEST_PASSWORD, _SHORTEST_KEY = 4, 8  # a shorter part of a path is a word such as `hook`
_STORE_URLS = (
    "database_url",
    "dagster_pg_url",
    "intake_database_url",
    "redis_url",
    "s3_endpoint_url",
    "bigquery_endpoint",
)
# Through a proxy nobody can say where a connection ends: with public targets only, none is used.
_NO_PROXY = {name: "" for it in ("http_proxy", "https_proxy", "all_proxy") for name in (it, it.upper())}

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Message:
    """What a target is told. `context` names the alert (`alert`) and what this says of it (`notice`)."""

    severity: Severity
    text: str
    context: Mapping[str, str]
    at: datetime

    def body(self) -> dict[str, Any]:
        return {
            "severity": self.severity,
            "message": self.text,
            "context": dict(self.context),
            "at": self.at.isoformat(),
        }


@dataclass(frozen=True)
class Target:
    """Who is told. `name` is the kind of service with a digest of the address, never the address: that is a key."""

    name: str
    kind: Literal["webhook", "apprise"]
    url: str = field(repr=False)


@dataclass(frozen=True)
class Words:
    """Keeps secrets and internal addresses out of texts."""

    settings: Settings

    def clean(self, text: str) -> str:
        """`text` without them, on a readable length."""
        # cut first, far beyond what is shown: a half secret at the cut is not, and patterns take long on long texts
        text = text.replace("\x00", "")[:LONGEST_READ]
        cleaned = without_internal(redact(text, self._secrets), self._hosts)
        return cleaned if len(cleaned) <= LONGEST_TEXT else f"{cleaned[: LONGEST_TEXT - 1]}…"

    def clean_context(self, context: Mapping[str, str]) -> dict[str, str]:
        # with its name, because `api_key=…` says what it is
        return {
            self.clean(name): self.clean(f"{name}={value}").removeprefix(f"{name}=") for name, value in context.items()
        }

    @cached_property
    def _secrets(self) -> frozenset[str]:
        return self.settings.secrets() | {key for target in targets(self.settings) for key in _keys(target)}

    @cached_property
    def _hosts(self) -> frozenset[str]:
        found = {self.settings.redshift_host}
        for name in _STORE_URLS:
            value = getattr(self.settings, name)
            text = value.get_secret_value() if hasattr(value, "get_secret_value") else value or ""
            found |= set(_hosts_of(text))
        return frozenset(host for host in found if host)


def targets(settings: Settings) -> tuple[Target, ...]:
    """Everybody who is told, the webhook first."""
    found = []
    if settings.alert_webhook_url is not None:
        found.append(_target("webhook", settings.alert_webhook_url.get_secret_value()))
    if settings.alert_targets is not None:
        urls = _SEPARATOR.split(settings.alert_targets.get_secret_value().strip())
        found += [_target("apprise", url) for url in urls if url]
    return tuple(dict.fromkeys(found))


def require_targets(settings: Settings) -> tuple[Target, ...]:
    """The targets, each of which Apprise can read.

    Raises:
        ConfigurationError: one is of a service that Apprise does not know, or lacks a part.
    """
    found = targets(settings)
    for target in found:
        if target.kind == "apprise" and (problem := _problem(target.url)):
            scheme, mark, _ = target.url.lower().partition("://")
            raise ConfigurationError("ALERT_TARGETS", f"{scheme}://***" if mark else "***", problem)
    return found


def deliver(
    messages: Mapping[Target, Sequence[Message]], settings: Settings, *, seconds: int = SENDING_SECONDS
) -> dict[Target, list[str | None]]:
    """Sends each target its messages; for each None if it was taken, else why not. Takes `seconds` at most."""
    order = {
        "seconds": seconds,
        "may_be_private": settings.alert_private_targets,
        "targets": [
            {"name": it.name, "kind": it.kind, "url": it.url, "messages": [message.body() for message in said]}
            for it, said in messages.items()
        ],
    }
    environment = child_environment({} if settings.alert_private_targets else _NO_PROXY)
    found = {(it["target"], it["message"]): it["problem"] for it in _outcomes(order, environment)}
    outcomes: dict[Target, list[str | None]] = {}
    for target, said in messages.items():
        told = [found.get((target.name, place), "") for place in range(len(said))]
        first = next((problem for problem in told if problem), f"no answer in {seconds} s")
        outcomes[target] = [first if problem == "" else problem for problem in told]
        if any(outcomes[target]):
            log.warning("alert not delivered", target=target.name, reason=first)
    return outcomes


def _outcomes(order: Mapping[str, Any], environment: Mapping[str, str]) -> list[dict[str, Any]]:
    with subprocess.Popen(
        [sys.executable, "-m", "ingestion_pipeline.providers.alert_sender"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # may hold what the library was given
        text=True,
    ) as process:
        try:
            printed, _ = process.communicate(json.dumps(order), timeout=order["seconds"] + STARTING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            printed, _ = process.communicate()
    if process.returncode not in _ENDS:
        log.error("the process that sends alerts has failed", exit_code=process.returncode)
    return [json.loads(line) for line in printed.splitlines() if line.endswith("}")]


def _target(kind: Literal["webhook", "apprise"], url: str) -> Target:
    scheme, mark, _ = url.lower().partition("://")
    service = scheme if kind == "apprise" and mark else kind
    return Target(f"{service}-{digest(url.encode())[:6]}", kind, url)


def _problem(url: str) -> str | None:
    """What Apprise expects where it cannot read `url`."""
    import apprise

    logging.getLogger("apprise").disabled = True  # it logs the address that it cannot read
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its plugins import what is deprecated
        plugins = apprise.Apprise().details()["schemas"]
        is_readable = apprise.Apprise.instantiate(url) is not None
    scheme, mark, _ = url.lower().partition("://")
    if not mark:
        return "comma-separated targets such as slack://… or mailto://…"
    if not any(scheme in _schemes(plugin) for plugin in plugins):
        return "a known target of Apprise"
    return None if is_readable else "a complete target of Apprise"


def _schemes(plugin: Mapping[str, Any]) -> set[str]:
    return {*(plugin["protocols"] or ()), *(plugin["secure_protocols"] or ())}


def _keys(target: Target) -> set[str]:
    """What in a target's address may be a key: user, password, path, query, and what stands in place of a host."""
    rest = target.url.partition("://")[2]
    user, at, rest = rest.rpartition("@")
    place, _, query = rest.partition("?")
    host, *path = place.split("/")
    keys = {*path, *(value for _, value in parse_qsl(query)), "" if "." in host else host.partition(":")[0]}
    found = {it for it in keys if len(it) >= _SHORTEST_KEY} | {target.url, target.url.partition("://")[2]}
    found |= {it for it in user.split(":") if at and len(it) >= _SHORTEST_PASSWORD}
    return found | {unquote(it) for it in found}


def _hosts_of(urls: str) -> Iterator[str]:
    """The hosts in one or several URLs, or in one URL of several hosts; not the folder of a socket."""
    for part in urls.split(","):
        place, _, query = part.partition("://")[2 if "://" in part else 0].partition("?")
        yield place.partition("/")[0].rpartition("@")[2].partition(":")[0]
        yield from (value for name, value in parse_qsl(query) if name == "host" and "/" not in value)
