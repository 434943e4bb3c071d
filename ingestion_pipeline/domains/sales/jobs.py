"""The kind of job that ingests a platform's sales, as both processes know it. What it does is in handlers.py.

Here: the shape of what is asked for, the job and the row of a received file that stand for it, the settings that both
processes need. Not here: HTTP (routes.py), platforms (platforms.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import msgspec
from pydantic import SecretStr

from ingestion_pipeline.core.file_names import LONGEST_NAME
from ingestion_pipeline.core.ids import digest
from ingestion_pipeline.core.jobs import JobType
from ingestion_pipeline.domains.sales.inputs import LONGEST_PATH, PLATFORMS, SALE_ID, SHA256, PlatformName
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.jobs import NewJob

MAX_ATTEMPTS = 3

_ONE_LINE = r"(?!\n)"  # `$` also stands before a last line break
_Sha256 = Annotated[str, msgspec.Meta(pattern=SHA256 + _ONE_LINE)]
_Path = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_PATH)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_NAME)]
_SaleId = Annotated[str, msgspec.Meta(pattern=SALE_ID + _ONE_LINE)]

RECEIVE_FILE = """
insert into sales.report_files (owner_id, sha256, platform, name, size_bytes, exported_at)
values (
    %(owner_id)s, %(sha256)s, %(platform)s, %(name)s, %(size_bytes)s,
    least(%(exported_at)s::timestamptz, clock_timestamp())  -- also where nobody says when
)
on conflict (owner_id, platform, sha256) do nothing
"""


class Payload(msgspec.Struct, forbid_unknown_fields=True):
    """One report file: kept already, or below the drop folder; all that wait there when neither is said.

    `name` is what the file is called now; some reports say their month only there.
    """

    file_sha256: _Sha256 | None = None
    path: _Path | None = None
    name: _Name | None = None

    def __post_init__(self) -> None:
        _at_most_one({"file_sha256": self.file_sha256, "path": self.path})
        if self.name is not None and self.file_sha256 is None:
            raise ValueError("name without file_sha256, expected both")

    @property
    def is_of_account(self) -> bool:
        """Does it concern what belongs to the account's owner, not to whoever asks?"""
        return self.file_sha256 is None


class GumroadPayload(Payload):
    """A file of the dashboard, or the API: one sale, all sales, those `since` a day, or by default those that are new
    and those that may have been refunded since.
    """

    since: date | None = None
    full: bool = False
    sale_id: _SaleId | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        given = {"file_sha256": self.file_sha256, "path": self.path, "since": self.since, "sale_id": self.sale_id}
        _at_most_one({**given, "full": self.full or None})


PAYLOADS: Mapping[str, type[Payload]] = dict.fromkeys(PLATFORMS, Payload) | {"gumroad": GumroadPayload}


class PlatformIngest(msgspec.Struct, forbid_unknown_fields=True):
    """Which platform, and what of it."""

    platform: PlatformName
    payload: dict[str, Any] = {}

    def of_platform(self) -> Payload:
        """`payload` as the platform takes it.

        Raises:
            msgspec.ValidationError: it does not fit.
        """
        return msgspec.convert(self.payload, PAYLOADS[self.platform])


PLATFORM_INGEST = JobType(
    name="platform_ingest",
    summary="takes sales of one platform into the ledger, from a report file or its API",
    input_type=PlatformIngest,
    max_attempts=MAX_ATTEMPTS,
    is_long=True,
)
JOB_TYPES = (PLATFORM_INGEST,)


@dataclass(frozen=True, kw_only=True)
class SalesOptions:
    """What the environment says of sales.

    Attributes:
        files_url: Where originals are kept: a folder or a bucket.
        drop_url: The folder or bucket below which `<platform>/<file>` are taken; none when None.
        s3_endpoint_url: Of s3:// URLs, where it is not Amazon's.
        owner: Whose sales those of the drop folder and of the Gumroad account are.
        gumroad_access_token: With the scope view_sales; its API is not asked when None.
        gumroad_ping_secret: The last part of the path of its pings; there is no such path when None.
        gumroad_url: Root of the API.
        gumroad_window_days: How far back it looks for refunds of sales that are known.
        kenp_rates: A file of one's own with rates of pages.
        redis_url: For the rate limit that several processes share.
        timeout_seconds: Of one request to a platform.
    """

    files_url: str
    owner: str
    drop_url: str | None = None
    s3_endpoint_url: str | None = None
    gumroad_access_token: str | None = field(default=None, repr=False)
    gumroad_ping_secret: str | None = field(default=None, repr=False)
    gumroad_url: str = "https://api.gumroad.com"
    gumroad_window_days: int = 120
    kenp_rates: Path | None = None
    redis_url: str | None = field(default=None, repr=False)
    timeout_seconds: float = 10.0


def sales_options(settings: Settings) -> SalesOptions:
    """What `settings` say of sales."""
    return SalesOptions(
        files_url=settings.sales_files_url or str(settings.ingestion_home / "reports"),
        owner=settings.sales_owner,
        drop_url=settings.sales_drop_url,
        s3_endpoint_url=settings.s3_endpoint_url,
        gumroad_access_token=_plain(settings.gumroad_access_token),
        gumroad_ping_secret=_plain(settings.gumroad_ping_secret),
        gumroad_url=settings.gumroad_url,
        gumroad_window_days=settings.gumroad_window_days,
        kenp_rates=settings.sales_kenp_rates,
        redis_url=_plain(settings.redis_url),
        timeout_seconds=settings.provider_timeout_seconds,
    )


def ingest_job(platform: str, payload: Mapping[str, Any], *, owner_id: str, request_id: str | None = None) -> NewJob:
    """The job; while one of the same owner, platform and payload is not finished, that is the same one.

    Under another name a file is another payload, but the same file.
    """
    same = {name: value for name, value in payload.items() if name != "name"}
    return NewJob(
        job_type=PLATFORM_INGEST.name,
        owner_id=owner_id,
        input_data={"platform": platform, "payload": dict(payload)},
        unique_key=f"{platform}:{digest(same)}",
        max_attempts=MAX_ATTEMPTS,
        request_id=request_id,
    )


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _at_most_one(values: Mapping[str, object]) -> None:
    given = [name for name, value in values.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} together, expected one of them")
