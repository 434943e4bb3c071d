"""Databases of a worker's PostgreSQL server, each a copy of one that is migrated."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from ingestion_pipeline.storage.embedded import EmbeddedServer

TEMPLATE = "template_migrated"
_numbers = itertools.count()


@contextmanager
def migrated_database(server: EmbeddedServer) -> Iterator[str]:
    """The superuser's URL of a fresh, migrated database, which is gone afterwards."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(server.url(database="postgres"), autocommit=True) as connection:
        connection.execute(f"create database {name} template {TEMPLATE} strategy file_copy".encode())
    yield server.url(database=name)
    with psycopg.connect(server.url(database="postgres"), autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)".encode())
