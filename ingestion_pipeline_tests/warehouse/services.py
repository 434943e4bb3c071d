"""The warehouses' servers as processes of their own: an emulator of BigQuery, one of S3."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ingestion_pipeline.settings import PROJECT_ROOT
from ingestion_pipeline_tests.command import eventually, free_port

PROJECT, BUCKET = "test-project", "stage"


@contextmanager
def bigquery_emulator(folder: Path) -> Iterator[str]:
    """BIGQUERY_ENDPOINT of a running bqemulator."""
    rest, grpc = free_port(), free_port()
    module = "ingestion_pipeline_tests.warehouse.emulator"
    arguments = ["start", "--rest-port", str(rest), "--grpc-port", str(grpc), "--log-level", "warning"]
    with _running([sys.executable, "-m", module, *arguments], folder / "bigquery.log", ports=(rest, grpc)):
        yield f"http://127.0.0.1:{rest},127.0.0.1:{grpc}"


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """S3_ENDPOINT_URL of a running moto with the bucket `stage`."""
    import boto3

    port = free_port()
    command = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)]
    with _running(command, folder / "s3.log", ports=(port,)):
        url = f"http://127.0.0.1:{port}"
        with closing(boto3.client("s3", endpoint_url=url)) as s3:
            s3.create_bucket(Bucket=BUCKET)
        yield url


@contextmanager
def _running(command: list[str], log: Path, *, ports: tuple[int, ...]) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=output, stderr=subprocess.STDOUT)
        try:
            eventually(lambda: process.poll() is not None or all(map(_answers, ports)), explain=log.read_text)
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
