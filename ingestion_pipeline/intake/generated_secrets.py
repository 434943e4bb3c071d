"""Secrets that the embedded default makes for itself: once, in a file that only its owner reads.

Where DATABASE_URL is set nothing is generated: there an unset secret leaves its endpoints closed.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from ingestion_pipeline.intake.tokens import new_token
from ingestion_pipeline.settings import Settings

FILE = "secrets.env"
VARIABLES = ("INGEST_APP_TOKEN", "CRON_SECRET", "JWT_SECRET", "WEBHOOK_SECRET")


def embedded_secrets(settings: Settings, *, tell: Callable[[str], object]) -> dict[str, str]:
    """The variables that the environment leaves unset, with the values of `<home>/secrets.env`; `tell` says where.

    The file is written by whoever comes first; later ones, also at the same moment, read the same values.
    """
    if settings.database_url is not None or settings.intake_database_url is not None:
        return {}
    path = settings.ingestion_home / FILE
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = _read(path)
        if missing := [name for name in VARIABLES if name not in known]:
            known |= {name: new_token() for name in missing}
            _write(path, known)
    tell(f"secrets      {path}")
    return {name: known[name] for name in VARIABLES if getattr(settings, name.lower()) is None}


def _read(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines() if path.exists() else []
    pairs = [line.partition("=") for line in lines if "=" in line and not line.startswith("#")]
    return {name.strip(): value.strip() for name, _, value in pairs if value.strip()}


def _write(path: Path, values: dict[str, str]) -> None:
    """All at once: a crash leaves the old file or the new one."""
    text = "# Made by `ingestion-pipeline`; variables of the environment come first. Keep it to yourself.\n"
    text += "".join(f"{name}={value}\n" for name, value in values.items())
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
