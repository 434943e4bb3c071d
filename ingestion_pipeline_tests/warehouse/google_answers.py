"""Answers of the real Storage Write API that the emulator does not give, from a gRPC server of the test's own.

As Google's reference has them: GetWriteStream tells when a stream was committed, committing it again is an error with a
code of its own, and AppendRows may end the call with ALREADY_EXISTS or OUT_OF_RANGE instead of answering it.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.cloud.bigquery_storage_v1 import types

SERVICE = "/google.cloud.bigquery.storage.v1.BigQueryWrite/"


class Answers(grpc.GenericRpcHandler):
    """Streams that hold `appended` rows already and were committed if `is_committed`."""

    def __init__(self, *, appended: int = 0, is_committed: bool = False) -> None:
        self.appended, self.is_committed = appended, is_committed
        self.appends: list[int] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        name = details.method.removeprefix(SERVICE)
        if name == "AppendRows":
            return grpc.stream_stream_rpc_method_handler(
                self._append, types.AppendRowsRequest.deserialize, types.AppendRowsResponse.serialize
            )
        unary: dict[str, tuple[Callable[..., Any], Any, Any]] = {
            "GetWriteStream": (self._get, types.GetWriteStreamRequest, types.WriteStream),
            "FinalizeWriteStream": (
                self._finalize,
                types.FinalizeWriteStreamRequest,
                types.FinalizeWriteStreamResponse,
            ),
            "BatchCommitWriteStreams": (
                self._commit,
                types.BatchCommitWriteStreamsRequest,
                types.BatchCommitWriteStreamsResponse,
            ),
        }
        answer, request, response = unary[name]
        return grpc.unary_unary_rpc_method_handler(answer, request.deserialize, response.serialize)

    def _get(self, request: Any, _: grpc.ServicerContext) -> Any:
        stream = types.WriteStream(name=request.name)
        if self.is_committed:
            stream.commit_time = {"seconds": 1_700_000_000}
        return stream

    def _finalize(self, _: Any, __: grpc.ServicerContext) -> Any:
        return types.FinalizeWriteStreamResponse(row_count=self.appended)

    def _commit(self, request: Any, _: grpc.ServicerContext) -> Any:
        code = types.StorageError.StorageErrorCode.STREAM_ALREADY_COMMITTED
        errors = [types.StorageError(code=code, entity=name) for name in request.write_streams]
        return types.BatchCommitWriteStreamsResponse(stream_errors=errors if self.is_committed else [])

    def _append(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for request in requests:
            self.appends.append(request.offset)
            if request.offset < self.appended:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, "the offset is within the stream")
            if request.offset > self.appended:
                context.abort(grpc.StatusCode.OUT_OF_RANGE, "the offset is beyond the end of the stream")
            self.appended += arrow_rows(request)
            yield types.AppendRowsResponse(append_result={"offset": request.offset})


def arrow_rows(request: Any) -> int:
    import pyarrow as pa

    schema = pa.ipc.read_schema(pa.py_buffer(request.arrow_rows.writer_schema.serialized_schema))
    batch = pa.py_buffer(request.arrow_rows.rows.serialized_record_batch)
    return int(pa.ipc.read_record_batch(batch, schema).num_rows)


@contextmanager
def answering(answers: Answers) -> Iterator[str]:
    """The address of a server that gives `answers`."""
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((answers,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
