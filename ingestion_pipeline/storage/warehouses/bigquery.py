"""BigQuery: one pending stream of the Storage Write API for each copy.

Rows of a pending stream are invisible until it is committed, and every append says at which offset it belongs: what is
sent twice is there once. The dataset must exist (its location is yours to choose), the table is created.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from functools import cached_property
from typing import Any

import pyarrow as pa

from ingestion_pipeline.core.errors import ConfigurationError, ContractError, StoreUnavailableError
from ingestion_pipeline.core.tables import ColumnType, Table
from ingestion_pipeline.storage.warehouses.base import Copy, WarehouseName

TYPES: dict[ColumnType, str] = {
    "text": "STRING",
    "float": "FLOAT64",
    "integer": "INT64",
    "boolean": "BOOL",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "json": "JSON",
}
CLUSTERED_BY = ("event_type", "user_id")
ROWS_PER_APPEND = 5_000
BYTES_PER_APPEND = 8_000_000  # a request of 10 MB is refused
TIMEOUT_SECONDS = 60.0
RETRIED_FOR_SECONDS = 30.0
QUERY_SECONDS = 600.0

# what a stream answers to an append: google.rpc.Code
_OK, _INVALID_ARGUMENT, _ALREADY_EXISTS = 0, 3, 6


class BigQuery:
    """The copy of `table` at `project.dataset`.

    Args:
        table: Its declaration.
        project: Project that holds the dataset and pays for queries.
        dataset: An existing dataset.
        endpoint: Of an emulator, `http://host:port,host:port`: REST, then gRPC. Google's with the application default
            credentials when None.
    """

    name: WarehouseName = "bigquery"

    def __init__(self, table: Table, *, project: str, dataset: str, endpoint: str | None = None) -> None:
        self.table = table
        self._project, self._dataset = project, dataset
        self._rest, self._grpc = _addresses(endpoint)
        self._id = f"{project}.{dataset}.{table.name}"
        self._parent = f"projects/{project}/datasets/{dataset}/tables/{table.name}"

    def plan(self, copy: Copy) -> str:
        from google.cloud.bigquery_storage_v1 import types

        with self._reached():
            self._ensure_table()
            pending = types.WriteStream(type_=types.WriteStream.Type.PENDING)
            stream = self._writer.create_write_stream(parent=self._parent, write_stream=pending, **self._patience)
        return f"{stream.name}#{copy.digest}"

    def write(self, target: str, copy: Copy) -> int | None:
        from google.api_core.exceptions import FailedPrecondition, NotFound, OutOfRange

        stream = _stream(target)
        appends = list(_appends(stream, copy.rows))
        with self._reached():
            try:
                refusal = self._append(stream, appends)
                count = self._writer.finalize_write_stream(name=stream, **self._patience).row_count
            except (NotFound, FailedPrecondition, OutOfRange):
                return None  # it has expired, or lacks rows before an offset
        if count == copy.rows.num_rows:
            return sum(len(append.arrow_rows.rows.serialized_record_batch) for append in appends)
        if refusal and refusal.code == _INVALID_ARGUMENT:
            raise ContractError(f"BigQuery {self._id}", "rows", refusal.message, "the columns of the table")
        return None  # an earlier process cut the rows otherwise

    def commit(self, target: str, copy: Copy) -> None:  # noqa: ARG002 - the stream is all of it
        from google.cloud.bigquery_storage_v1 import types

        request = types.BatchCommitWriteStreamsRequest(parent=self._parent, write_streams=[_stream(target)])
        with self._reached():
            answer = self._writer.batch_commit_write_streams(request=request, **self._patience)
        is_done = types.StorageError.StorageErrorCode.STREAM_ALREADY_COMMITTED
        problems = [error.error_message for error in answer.stream_errors if error.code != is_done]
        if problems:
            raise StoreUnavailableError(f"BigQuery {self._id}", problems[0])

    def is_committed(self, target: str, copy: Copy) -> bool:
        from google.api_core.exceptions import NotFound

        with self._reached():
            try:
                if self._writer.get_write_stream(name=_stream(target), **self._patience).commit_time:
                    return True
            except NotFound:
                pass  # a stream is forgotten after some days: only the rows can tell
            self._ensure_table()
            found = self._query(
                f"select 1 from `{self._id}` where day in unnest(@days) "
                "and batch_number between @first and @last limit 1",
                days=copy.days,
                first=copy.first_batch,
                last=copy.last_batch,
            )
            return any(True for _ in found.result(timeout=QUERY_SECONDS))

    def erase_user(self, user_id: str) -> int:
        return self._delete("user_id = @user_id", user_id=user_id)

    def delete_older(self, event_types: Sequence[str], before: date) -> int:
        return self._delete(
            "event_type in unnest(@event_types) and day < @before", event_types=tuple(event_types), before=before
        )

    def close(self) -> None:
        if "_client" in vars(self):  # else it was never opened
            self._client.close()
        if "_writer" in vars(self):
            self._writer.transport.close()

    @cached_property
    def _client(self) -> Any:
        from google.api_core.client_options import ClientOptions
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import bigquery

        if self._rest is None:
            return bigquery.Client(project=self._project)
        options = ClientOptions(api_endpoint=self._rest)
        return bigquery.Client(project=self._project, credentials=AnonymousCredentials(), client_options=options)

    @cached_property
    def _writer(self) -> Any:
        from google.cloud.bigquery_storage_v1 import BigQueryWriteClient
        from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport

        if self._grpc is None:
            return BigQueryWriteClient()
        import grpc

        return BigQueryWriteClient(transport=BigQueryWriteGrpcTransport(channel=grpc.insecure_channel(self._grpc)))

    @cached_property
    def _patience(self) -> dict[str, Any]:
        """Every call here may be repeated; the client's own retries go on for twenty minutes."""
        from google.api_core.retry import Retry

        return {"timeout": TIMEOUT_SECONDS, "retry": Retry(initial=0.5, maximum=5.0, timeout=RETRIED_FOR_SECONDS)}

    def _ensure_table(self) -> None:
        from google.api_core.exceptions import NotFound
        from google.cloud import bigquery

        try:
            self._client.get_table(self._id, **self._patience)
        except NotFound:
            self._client.get_dataset(f"{self._project}.{self._dataset}", **self._patience)  # or that is what is missing
        else:
            return
        fields = [
            bigquery.SchemaField(
                column.name,
                TYPES[column.type],
                "NULLABLE" if column.nullable else "REQUIRED",
                description=column.description,
            )
            for column in self.table.columns
        ]
        wanted = bigquery.Table(self._id, schema=fields)
        wanted.time_partitioning = bigquery.TimePartitioning(field=self.table.partition_column)
        wanted.clustering_fields = list(CLUSTERED_BY)
        self._client.create_table(wanted, exists_ok=True, **self._patience)

    def _append(self, stream: str, appends: Sequence[Any]) -> Any:
        """Sends every append; one that is there already counts as sent. Returns the first refusal, None without any."""
        from google.api_core.exceptions import AlreadyExists

        metadata = (("x-goog-request-params", f"write_stream={stream}"),)
        done = 0
        while done < len(appends):
            try:
                answers = self._writer.append_rows(iter(appends[done:]), metadata=metadata, timeout=QUERY_SECONDS)
                for answer in answers:
                    if answer.error.code not in (_OK, _ALREADY_EXISTS):
                        return answer.error
                    done += 1
            except AlreadyExists:
                done += 1
        return None

    def _delete(self, condition: str, **parameters: object) -> int:
        with self._reached():
            self._ensure_table()
            job = self._query(f"delete from `{self._id}` where {condition}", **parameters)
            job.result(timeout=QUERY_SECONDS)
            return int(job.num_dml_affected_rows or 0)

    def _query(self, statement: str, **parameters: object) -> Any:
        from google.cloud import bigquery

        values = [_parameter(name, value) for name, value in parameters.items()]
        config = bigquery.QueryJobConfig(query_parameters=values, use_query_cache=False)
        return self._client.query(statement, job_config=config, **self._patience)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Turns what Google's libraries raise into our errors."""
        from google.api_core import exceptions as api
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
        from requests.exceptions import RequestException

        try:
            yield
        except (api.Unauthorized, api.Unauthenticated, DefaultCredentialsError) as error:
            expected = "application default credentials: a key file or a service account of the machine"
            raise ConfigurationError("GOOGLE_APPLICATION_CREDENTIALS", "***", expected) from error
        except api.Forbidden as error:
            raise ConfigurationError(
                "BIGQUERY_PROJECT_ID", self._project, f"a project we may use: {_said(error)}"
            ) from error
        except api.NotFound as error:
            raise ConfigurationError(
                "BIGQUERY_DATASET_ID", self._dataset, f"an existing dataset: {_said(error)}"
            ) from error
        except api.BadRequest as error:
            if "streaming buffer" in str(error):  # rows of the last half hour cannot be deleted yet
                raise StoreUnavailableError(f"BigQuery {self._id}", _said(error)) from error
            raise ContractError(f"BigQuery {self._id}", "request", _said(error), "one that it accepts") from error
        except (api.GoogleAPIError, GoogleAuthError, RequestException) as error:
            raise StoreUnavailableError(f"BigQuery {self._id}", _said(error)) from error


def _addresses(endpoint: str | None) -> tuple[str | None, str | None]:
    if endpoint is None:
        return None, None
    rest, _, grpc = endpoint.partition(",")
    if not rest.startswith("http") or not grpc:
        raise ConfigurationError("BIGQUERY_ENDPOINT", endpoint, "http://host:port,host:port of an emulator (REST,gRPC)")
    return rest, grpc


def _stream(target: str) -> str:
    return target.partition("#")[0]


def _appends(stream: str, rows: pa.Table) -> Iterator[Any]:
    """The requests that write `rows`, each at its offset; cut the same way every time."""
    from google.cloud.bigquery_storage_v1 import types

    schema = rows.schema.serialize().to_pybytes()
    offset = 0
    for count, batch in _blocks(rows, ROWS_PER_APPEND):
        request = types.AppendRowsRequest(write_stream=stream, offset=offset)
        request.arrow_rows.writer_schema.serialized_schema = schema
        request.arrow_rows.rows.serialized_record_batch = batch
        yield request
        offset += count


def _blocks(rows: pa.Table, size: int) -> Iterator[tuple[int, bytes]]:
    """Serialized record batches and how many rows each holds; halved until a request takes it."""
    for start in range(0, rows.num_rows, size):
        part = rows.slice(start, size).combine_chunks()
        data = part.to_batches()[0].serialize().to_pybytes()
        if len(data) > BYTES_PER_APPEND and part.num_rows > 1:
            yield from _blocks(part, -(-part.num_rows // 2))
        else:
            yield part.num_rows, data


def _parameter(name: str, value: object) -> Any:
    from google.cloud import bigquery

    types = {str: "STRING", int: "INT64", date: "DATE"}
    if isinstance(value, tuple):
        return bigquery.ArrayQueryParameter(name, types[type(value[0])] if value else "STRING", list(value))
    return bigquery.ScalarQueryParameter(name, types[type(value)], value)


def _said(error: Exception) -> str:
    """The first line of what the service said: what follows are requests and traces."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
