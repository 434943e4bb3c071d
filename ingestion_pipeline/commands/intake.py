"""The commands of the HTTP intake: serving it alone, and the tokens with which applications call it."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from ingestion_pipeline.commands.stores import opened_postgres
from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.settings import Settings, export

tokens = typer.Typer(help="Tokens with which applications call the HTTP intake.", no_args_is_help=True)


def serve_intake(settings: Settings, *, tell: Callable[[str], object]) -> None:
    """Serves until a signal; on the embedded server unless a database is set. Main thread only.

    Raises:
        StoreUnavailableError, NotMigratedError: of the database.
        ConfigurationError: the port is taken.
    """
    from ingestion_pipeline.asgi import create_app
    from ingestion_pipeline.intake.generated_secrets import embedded_secrets
    from ingestion_pipeline.intake.server import serve
    from ingestion_pipeline.storage.database import database
    from ingestion_pipeline.storage.embedded import kept_alive
    from ingestion_pipeline.storage.migrate import require_migrated

    if url := settings.intake_database_url or settings.database_url:
        require_migrated(url.get_secret_value())
        serve(settings, create_app, tell=tell)
        return
    with database(settings) as environment, kept_alive(settings.ingestion_home / "postgres"):
        export(environment | embedded_secrets(settings, tell=tell))
        serve(settings, create_app, tell=tell)


@tokens.command()
def create(
    name: Annotated[str, typer.Argument(help="Which application it is for")],
    scope: Annotated[list[str], typer.Option(help="What it may do, such as events:write; may be repeated")],
    expires_in: Annotated[str | None, typer.Option(help="A span such as 90d or 12h; never when left out")] = None,
) -> None:
    """Make a token and print it, once: only its digest is stored."""
    from ingestion_pipeline.asgi import application_scopes
    from ingestion_pipeline.intake.tokens import create_token

    with opened_postgres() as postgres:
        typer.echo(create_token(postgres, name, scope, known=application_scopes(postgres.url), expires_in=expires_in))


@tokens.command("list")
def show() -> None:
    """Every token: name, scopes, since when, until when."""
    from ingestion_pipeline.intake.tokens import list_tokens

    with opened_postgres() as postgres:
        rows = list_tokens(postgres)
    for row in rows:
        typer.echo(f"{row['name']}  {' '.join(row['scopes'])}  made {row['created_at']:%Y-%m-%d %H:%M}  {_state(row)}")
    if not rows:
        typer.echo("no tokens")


@tokens.command()
def revoke(name: Annotated[str, typer.Argument(help="The token's name")]) -> None:
    """End a token; running intakes know within seconds."""
    from ingestion_pipeline.intake.tokens import revoke_token

    with opened_postgres() as postgres:
        revoke_token(postgres, name)
    typer.echo(f"{name} is revoked")


def _state(row: dict[str, Any]) -> str:
    if row["revoked_at"]:
        return f"revoked {row['revoked_at']:%Y-%m-%d %H:%M}"
    if row["expires_at"] is None:
        return "in force"
    return f"{'expired' if row['expires_at'] <= utc_now() else 'until'} {row['expires_at']:%Y-%m-%d %H:%M}"
