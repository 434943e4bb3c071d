"""What most commands begin with: the settings, the database, who runs the command, ids and days as they were typed.

Belongs here: what commands of several groups need. Does not belong here: what one group alone says or opens.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from getpass import getuser
from typing import TYPE_CHECKING
from uuid import UUID

from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.core.windows import midnight
from ingestion_pipeline.settings import Settings

if TYPE_CHECKING:
    from ingestion_pipeline.storage.postgres import Postgres

DAY = "%Y-%m-%d"
"""How a UTC day is typed."""


def command_settings() -> Settings:
    """The settings of the environment; from here on logs go where they say.

    Raises:
        ConfigurationError: of a setting.
    """
    settings = Settings.from_environment()
    configure_logging(settings.log_level, style=settings.log_format, secrets=settings.secrets())
    return settings


@contextmanager
def opened_postgres(settings: Settings | None = None) -> "Iterator[Postgres]":
    """The database of `settings`, or of the environment, as the worker; a server of its own runs meanwhile.

    Raises:
        ConfigurationError, StoreUnavailableError, NotMigratedError: as `database` says.
    """
    from ingestion_pipeline.storage.database import database
    from ingestion_pipeline.storage.postgres import Postgres

    with (
        database(settings or command_settings(), purpose="read") as environment,
        closing(Postgres(environment["DATABASE_URL"])) as postgres,
    ):
        yield postgres


def operator() -> str:
    """Who runs the command, as owner and for the audit log."""
    try:
        return f"cli:{getuser()}"
    except (KeyError, OSError):  # a container without users
        return "cli"


def uuid_of(text: str, *, option: str, expected: str) -> UUID:
    """The id that was given as `option`; `expected` says where such ids are shown."""
    try:
        return UUID(text)
    except ValueError:
        raise ConfigurationError(option, text, expected) from None


def start_of(day: datetime | None) -> datetime | None:
    """Of the UTC day `day`."""
    return None if day is None else midnight(day.date())


def end_of(day: datetime | None) -> datetime | None:
    """Of the UTC day `day`: the first instant of the next one."""
    return None if day is None else midnight(day.date()) + timedelta(days=1)
