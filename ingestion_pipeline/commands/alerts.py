"""The commands of alerts: what is wrong now and who has been told, and a test of the targets."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from ingestion_pipeline.commands.stores import command_settings, opened_postgres
from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import ConfigurationError

FAILED = 1

alerts = typer.Typer(help="What is wrong, and who is told.", no_args_is_help=True)


@alerts.command("list")
def show(
    with_resolved: Annotated[bool, typer.Option("--all", help="Also those that are over")] = False,  # noqa: FBT002
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, last raised first")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line")] = False,  # noqa: FBT002
) -> None:
    """Alerts that are not over: since when, how often, who has been told, who could not be."""
    with opened_postgres() as postgres:
        rows = postgres.read("alerts_list", {"with_resolved": with_resolved, "limit": limit})
    for row in rows:
        typer.echo(json.dumps(row, default=str) if as_json else _line(row))
    if not rows and not as_json:
        typer.echo("no alerts")


@alerts.command()
def test() -> None:
    """Send a test alert to every target, whatever ALERT_MIN_SEVERITY, and say who took it."""
    from ingestion_pipeline.providers.alerts import Message, deliver, require_targets

    settings = command_settings()
    targets = require_targets(settings)
    if not targets:
        raise ConfigurationError("ALERT_WEBHOOK_URL", "", "this or ALERT_TARGETS, or nobody is told of anything")
    context = {"alert": "test", "notice": "alert"}
    message = Message("info", "a test of the alerts of the ingestion pipeline", context, utc_now())
    outcomes = deliver({target: [message] for target in targets}, settings)
    for target, (problem,) in outcomes.items():
        typer.echo(f"{target.name}  {problem or 'taken'}")
    if any(problem for (problem,) in outcomes.values()):
        raise typer.Exit(FAILED)


def _line(row: Mapping[str, Any]) -> str:
    parts = [f"{row['severity']:<8}", row["alert_key"], row["message"]]
    parts.append(f"since {row['first_raised_at']:%Y-%m-%d %H:%M}, raised {row['raised_count']} time(s)")
    if row["resolved_at"]:
        parts.append(f"over {row['resolved_at']:%Y-%m-%d %H:%M}")
    parts.append(f"told {row['notified_at']:%Y-%m-%d %H:%M}" if row["notified_at"] else "nobody told")
    return "  ".join([*parts, *([f"not delivered: {row['failure']}"] if row["failure"] else [])])
