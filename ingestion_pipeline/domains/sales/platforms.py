"""The four platforms behind one Protocol: from what a job asks for to one parsed report and where it came from.

Here: finding a report (kept file, drop folder, API) and having it parsed. Not here: storing it, what becomes of the job
(handlers.py), how a platform's files look (kdp.py, gumroad.py, draft2digital.py, smashwords.py).
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Protocol

import pyarrow as pa

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import ConfigurationError, PermanentError
from ingestion_pipeline.domains.sales import draft2digital, gumroad, kdp, smashwords
from ingestion_pipeline.domains.sales.contracts import ParsedReport, Period, QuarantineError, ReportParser
from ingestion_pipeline.domains.sales.gumroad_sales import parse_sales
from ingestion_pipeline.domains.sales.jobs import GumroadPayload, Payload, SalesOptions
from ingestion_pipeline.domains.sales.kenp_rates import kenp_rates, store_kenp_rates
from ingestion_pipeline.domains.sales.ledger import ReportFile
from ingestion_pipeline.domains.sales.report_drop import kept_from_drop
from ingestion_pipeline.providers.gumroad import GumroadProvider, gumroad_provider
from ingestion_pipeline.storage.breakers import PostgresBreaker
from ingestion_pipeline.storage.kept_files import KeptFiles, kept_files
from ingestion_pipeline.storage.postgres import Postgres

_FILE = """
select name, size_bytes, exported_at from sales.report_files
where owner_id = %s and platform = %s and sha256 = %s
"""
_LAST_SUCCESS = """
select max(output_data ->> 'fetched_until') from operations.jobs
where
    job_type = 'platform_ingest' and status = 'COMPLETED' and input_data ->> 'platform' = %s
    and output_data ? 'fetched_until'
"""
_QUARANTINE = """
update sales.report_files
set status = 'quarantined', reason = %s, settled_at = clock_timestamp(), job_id = %s
where owner_id = %s and platform = %s and sha256 = %s and status <> 'ingested'
"""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a platform works with: who asks, for what, and the stores.

    `go_on` is called between steps and raises where the job shall end.
    """

    owner_id: str
    job_id: str
    options: SalesOptions
    postgres: Postgres
    go_on: Callable[[], None]

    @property
    def files(self) -> KeptFiles:
        return kept_files(self.options.files_url, s3_endpoint_url=self.options.s3_endpoint_url)


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """One report, whose it is, where it came from, and what else the job's output says of it."""

    owner_id: str
    report: ParsedReport
    file: ReportFile
    facts: Mapping[str, Any]


class Platform(Protocol):
    """One platform: `fetch` reads what `payload` names.

    Raises:
        QuarantineError: nobody can read the file; it is set aside, with the message.
        PermanentError: there is no such file, or a setting is wrong.
        TransientError: a store or the platform is away, or the file was written while it was read.
    """

    @property
    def name(self) -> str: ...

    def fetch(self, payload: Any, asked: Asked) -> Fetched: ...


@dataclass(frozen=True)
class FilePlatform:
    """A platform that is known by its report files."""

    name: str
    parse: ReportParser

    def fetch(self, payload: Payload, asked: Asked) -> Fetched:
        if payload.path is not None:
            owner_id, called = asked.options.owner, None
            sha256 = kept_from_drop(asked.postgres, asked.options, self.name, payload.path)
        elif payload.file_sha256 is not None:
            owner_id, sha256, called = asked.owner_id, payload.file_sha256, payload.name
        else:
            raise PermanentError(f"payload: nothing of {self.name} is named, expected file_sha256 or path")
        file = self._file(asked, owner_id, sha256, called)
        asked.go_on()
        try:
            with asked.files.opened(sha256) as original:
                report = self.parse(original, file.name)
        except QuarantineError as error:
            quarantine(asked.postgres, owner_id, file, str(error))
            raise
        return Fetched(owner_id=owner_id, report=report, file=file, facts={"file_sha256": sha256, "file": file.name})

    def _file(self, asked: Asked, owner_id: str, sha256: str, called: str | None) -> ReportFile:
        with asked.postgres.transaction() as connection:
            row = connection.execute(_FILE, [owner_id, self.name, sha256]).fetchone()
        if row is None:
            raise PermanentError(f"no file {sha256} of {self.name} was received from {owner_id}")
        name, size_bytes, exported_at = row
        return ReportFile(
            platform=self.name,
            sha256=sha256,
            name=called or name,
            size_bytes=size_bytes,
            exported_at=exported_at,
            job_id=asked.job_id,
        )


class AmazonKdp(FilePlatform):
    """Rates of pages that are new reach all rows, also those of earlier reports."""

    def fetch(self, payload: Payload, asked: Asked) -> Fetched:
        with asked.postgres.transaction() as connection:
            store_kenp_rates(connection, kenp_rates(asked.options.kenp_rates))
        return super().fetch(payload, asked)


class Gumroad(FilePlatform):
    """Also its API: incremental, one sale, or all."""

    def fetch(self, payload: Payload, asked: Asked) -> Fetched:
        if payload.file_sha256 is not None or payload.path is not None or not isinstance(payload, GumroadPayload):
            return super().fetch(payload, asked)
        provider = self._provider(asked)
        if payload.sale_id is not None:
            sale = provider.fetch_sale(payload.sale_id)
            report = parse_sales([] if sale is None else [sale])
            return self._fetched(asked, report, None, {"is_known_sale": sale is not None})
        now = utc_now()
        last = self._last_success(asked.postgres)
        after = self._after(payload, last, asked.options.gumroad_window_days)
        report = parse_sales(self._sales(provider, asked, after))
        facts: dict[str, Any] = {"after": after}
        if after is None or (last is not None and after <= last):  # without a gap since then
            facts["fetched_until"] = now.date()
        return self._fetched(asked, report, None if after is None else Period(start=after, end=now.date()), facts)

    def _provider(self, asked: Asked) -> GumroadProvider:
        options = asked.options
        if not options.gumroad_access_token:
            expected = "a token of Gumroad with the scope view_sales, to read its API"
            raise ConfigurationError("GUMROAD_ACCESS_TOKEN", "", expected)
        return gumroad_provider(
            access_token=options.gumroad_access_token,
            breaker=PostgresBreaker(asked.postgres),
            base_url=options.gumroad_url,
            redis_url=options.redis_url,
            timeout_seconds=options.timeout_seconds,
        )

    def _last_success(self, postgres: Postgres) -> date | None:
        with postgres.transaction() as connection:
            row = connection.execute(_LAST_SUCCESS, [self.name]).fetchone()
        return date.fromisoformat(row[0]) if row and row[0] else None

    def _after(self, payload: GumroadPayload, last: date | None, window_days: int) -> date | None:
        if payload.full or payload.since is not None:
            return payload.since
        return None if last is None else last - timedelta(days=window_days)

    def _sales(self, provider: GumroadProvider, asked: Asked, after: date | None) -> Iterator[Mapping[str, Any]]:
        for page in provider.fetch_pages(after=after):
            asked.go_on()
            yield from page.sales

    def _fetched(self, asked: Asked, report: ParsedReport, covers: Period | None, facts: Mapping[str, Any]) -> Fetched:
        """What an API says is a report without an original: answers hold buyers' names, and are not kept.

        A digest of its rows stands for it, not one of the answer: that says how long ago each sale was.
        """
        now: datetime = utc_now()
        file = ReportFile(
            platform=self.name,
            sha256=_digest(report.rows),
            name=f"api {now:%Y-%m-%d %H:%M}",
            size_bytes=report.rows.nbytes,
            exported_at=now,
            covers=covers,
            job_id=asked.job_id,
        )
        return Fetched(owner_id=asked.options.owner, report=report, file=file, facts=facts)


def _digest(rows: pa.Table) -> str:
    digest = hashlib.sha256()
    for batch in rows.to_batches(max_chunksize=10_000):
        digest.update(repr(batch.to_pylist()).encode())
    return digest.hexdigest()


PLATFORMS: Mapping[str, Platform] = {
    platform.name: platform
    for platform in (
        AmazonKdp("amazon_kdp", kdp.parse),
        Gumroad("gumroad", gumroad.parse),
        FilePlatform("draft2digital", draft2digital.parse),
        FilePlatform("smashwords", smashwords.parse),
    )
}


def quarantine(postgres: Postgres, owner_id: str, file: ReportFile, reason: str) -> None:
    """Sets the file aside: it is kept, and its row says why. What was read of it once stays, and stays counted."""
    with postgres.transaction() as connection:
        where = [owner_id, file.platform, file.sha256]
        connection.execute(_QUARANTINE, [reason, file.job_id, *where])
