"""Where rows wait for Redshift's COPY: Parquet files and a manifest in S3.

A copy's folder is named after its batches and the digest of its rows, and an object is only put where there is none:
what is written twice is there once, and other rows never take the place of these. Everything below the prefix is the
pipeline's own, and is removed once it has been copied.
"""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from ingestion_pipeline.core.errors import ConfigurationError, StoreUnavailableError
from ingestion_pipeline.storage.warehouses.base import Copy

ROWS_PER_FILE = 50_000
CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 5, 60, 3
_EXISTS = {"PreconditionFailed", "412"}
_REFUSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403", "ExpiredToken"}
_NO_BUCKET = {"NoSuchBucket", "404"}


class S3Stage:
    """The staging area at `url` (`s3://bucket/prefix`), on Amazon's S3 or on the store at `endpoint`.

    Credentials and region are those of the AWS libraries: environment, profile or role of the machine.

    Raises:
        StoreUnavailableError: from every method, when the store does not answer.
        ConfigurationError: the bucket does not exist, or we may not use it.
    """

    def __init__(self, url: str, endpoint: str | None = None) -> None:
        scheme, _, path = url.partition("://")
        self.bucket, _, prefix = path.partition("/")
        if scheme != "s3" or not self.bucket or not prefix.strip("/"):
            raise ConfigurationError("REDSHIFT_S3_URL", url, "s3://bucket/prefix; the prefix is ours alone")
        self._prefix = prefix.strip("/")
        self._endpoint = endpoint

    def manifest_url(self, copy: Copy) -> str:
        """The URL of the manifest that names all files of `copy`."""
        folder = f"{copy.first_batch:012d}-{copy.last_batch:012d}-{copy.digest}"
        return f"s3://{self.bucket}/{self._prefix}/{folder}/manifest.json"

    def put(self, copy: Copy, rows: pa.Table) -> int:
        """Puts the files and, when all are there, the manifest; returns the bytes of the files."""
        folder = self.manifest_url(copy).rpartition("/")[0]
        entries: list[dict[str, object]] = []
        total = 0
        with self._reached():
            for start in range(0, rows.num_rows, ROWS_PER_FILE):
                part = rows.slice(start, ROWS_PER_FILE)
                # named by its rows: a version that cuts them otherwise must not take this file for its own
                url = f"{folder}/rows-{start:08d}-{start + part.num_rows:08d}.parquet"
                length = self._put_new(url, _parquet(part))
                entries.append({"url": url, "mandatory": True, "meta": {"content_length": length}})
                total += length
            self._put_new(self.manifest_url(copy), json.dumps({"entries": entries}).encode())
        return total

    def clear(self) -> None:
        """Removes everything below the prefix."""
        with self._reached():
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{self._prefix}/")
            for page in pages:
                keys = [{"Key": found["Key"]} for found in page.get("Contents", [])]
                if keys:
                    self._s3.delete_objects(Bucket=self.bucket, Delete={"Objects": keys, "Quiet": True})

    def close(self) -> None:
        if "_s3" in vars(self):  # else it was never opened
            self._s3.close()

    @cached_property
    def _s3(self) -> Any:
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        )
        return boto3.session.Session().client("s3", endpoint_url=self._endpoint, config=config)

    def _put_new(self, url: str, body: bytes) -> int:
        """Puts the object unless there is one; returns the size of what is there."""
        from botocore.exceptions import ClientError

        key = url.removeprefix(f"s3://{self.bucket}/")
        try:
            self._s3.put_object(Bucket=self.bucket, Key=key, Body=body, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] not in _EXISTS:
                raise
            return int(self._s3.head_object(Bucket=self.bucket, Key=key)["ContentLength"])
        return len(body)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

        try:
            yield
        except (NoCredentialsError, NoRegionError) as error:
            raise ConfigurationError("AWS_ACCESS_KEY_ID", "***", "credentials and a region for S3") from error
        except ClientError as error:
            code = str(error.response["Error"]["Code"])
            if code in _REFUSED or code in _NO_BUCKET:
                expected = f"an existing bucket that we may write to ({code})"
                raise ConfigurationError("REDSHIFT_S3_URL", f"s3://{self.bucket}/{self._prefix}", expected) from error
            raise StoreUnavailableError(f"S3 bucket {self.bucket}", code) from error
        except BotoCoreError as error:
            raise StoreUnavailableError(f"S3 bucket {self.bucket}", type(error).__name__) from error


def _parquet(rows: pa.Table) -> bytes:
    buffer = io.BytesIO()
    # Redshift reads instants from INT96 in every version
    parquet.write_table(rows, buffer, compression="snappy", use_deprecated_int96_timestamps=True)
    return buffer.getvalue()
