"""A stand-in for a Redshift cluster: PostgreSQL behind Redshift's own driver. It shows that our transaction is right, not
that Redshift accepts it.

What differs is bridged here and nowhere else: the driver's extra startup parameters, the table's distribution and sort
keys, and COPY, which PostgreSQL cannot do from S3: the files of the manifest are inserted into the staging table.
"""

import contextlib
import io
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import redshift_connector
from pyarrow import parquet

COPY = re.compile(r"copy (\w+) from '(s3://[^']+)' iam_role '[^']+' format as parquet manifest")
KEYS = re.compile(r" diststyle key distkey \(\w+\) sortkey \(\w+, \w+\)$")
UNDERSTOOD = (b"user", b"database")


@contextlib.contextmanager
def listener(socket_folder: str) -> Iterator[int]:
    """The port of a PostgreSQL that listens on a Unix socket, for clients that say more than it understands."""
    server = next(path for path in Path(socket_folder).glob(".s.PGSQL.*") if path.suffix != ".lock")
    with socket.create_server(("127.0.0.1", 0)) as accepting:
        threading.Thread(target=_serve, args=(accepting, str(server)), daemon=True).start()
        yield int(accepting.getsockname()[1])


def _serve(accepting: socket.socket, server: str) -> None:
    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=_bridge, args=(accepting.accept()[0], server), daemon=True).start()


def _bridge(client: socket.socket, server: str) -> None:
    with client, socket.socket(socket.AF_UNIX) as upstream:
        upstream.connect(server)
        upstream.sendall(_startup(client))
        there = threading.Thread(target=_pump, args=(client, upstream), daemon=True)
        there.start()
        _pump(upstream, client)
        there.join()


def _startup(client: socket.socket) -> bytes:
    """The client's StartupMessage with the parameters that PostgreSQL understands."""
    with client.makefile("rb", buffering=0) as stream:
        (length,) = struct.unpack("!i", stream.read(4))
        body = stream.read(length - 4)
    words = body[4:].rstrip(b"\0").split(b"\0")
    kept = [word for pair in zip(words[::2], words[1::2], strict=True) if pair[0] in UNDERSTOOD for word in pair]
    message = body[:4] + b"".join(word + b"\0" for word in kept) + b"\0"
    return struct.pack("!i", len(message) + 4) + message


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def connects_to(port: int, database: str, s3_endpoint: str) -> Callable[[], Any]:
    """Opens connections of Redshift's driver to the stand-in."""

    def connect() -> Any:
        connection = redshift_connector.connect(
            host="127.0.0.1", port=port, database=database, user="postgres", password="", ssl=False, timeout=60
        )
        return Connection(connection, s3_endpoint)

    return connect


class Connection:
    """The driver's connection; its cursors can COPY."""

    def __init__(self, connection: Any, s3_endpoint: str) -> None:
        self._connection, self._s3_endpoint = connection, s3_endpoint

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def cursor(self) -> Any:
        cursor = self._connection.cursor()
        execute = cursor.execute
        cursor.execute = lambda statement, values=(): _execute(execute, statement, values, self._s3_endpoint)
        return cursor


def _execute(execute: Callable[..., Any], statement: str, values: Any, s3_endpoint: str) -> Any:
    if copied := COPY.fullmatch(statement):
        for rows in _files(copied[2], s3_endpoint):
            execute(f"insert into {copied[1]} select * from json_populate_recordset(null::{copied[1]}, %s)", (rows,))
        return None
    return execute(KEYS.sub("", statement), values)


def _files(manifest: str, s3_endpoint: str) -> Iterator[str]:
    """The rows of each file as JSON. Like COPY from Parquet, it insists on the length that the manifest says."""
    with contextlib.closing(boto3.client("s3", endpoint_url=s3_endpoint)) as s3:
        for entry in json.loads(_object(s3, manifest))["entries"]:
            body = _object(s3, entry["url"])
            assert entry["mandatory"]
            assert len(body) == entry["meta"]["content_length"]
            yield json.dumps(parquet.read_table(io.BytesIO(body)).to_pylist(), default=str)


def _object(s3: Any, url: str) -> bytes:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()
