"""A copier killed (-9) at each step of its work, in a process of its own: whoever goes on leaves each event there once."""

from pathlib import Path

import pytest

from ingestion_pipeline.domains.events.copies import Copied, copied_batches
from ingestion_pipeline.storage.warehouses import s3_stage
from ingestion_pipeline_tests.children import python
from ingestion_pipeline_tests.warehouse.history import History, make_event
from ingestion_pipeline_tests.warehouse.places import BigQueryPlace, Place, RedshiftPlace, to_text
from ingestion_pipeline_tests.warehouse.stopping import ROWS_PER_FILE

EVENTS = 12_000  # three appends, three files

# what the ledger says when the process dies there: None if it says nothing yet
BIGQUERY_STEPS = [
    ("before", "create_write_stream", 1, None),
    ("after", "create_write_stream", 1, None),
    ("before", "append_rows", 1, "planned"),
    ("within", "append_rows", 1, "planned"),
    ("before", "finalize_write_stream", 1, "planned"),
    ("after", "finalize_write_stream", 1, "planned"),
    ("before", "batch_commit_write_streams", 1, "written"),
    ("after", "batch_commit_write_streams", 1, "written"),
]
REDSHIFT_STEPS = [
    ("before", "put_object", 1, "planned"),
    ("after", "put_object", 1, "planned"),
    ("after", "put_object", 3, "planned"),  # all files, not the manifest
    ("after", "put_object", 4, "planned"),
    ("before", "cursor", 1, "written"),
    ("before", "commit", 1, "written"),
    ("after", "commit", 1, "written"),
    ("after", "delete_objects", 1, "written"),
]


@pytest.fixture(autouse=True)
def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_stage, "ROWS_PER_FILE", ROWS_PER_FILE)


@pytest.fixture
def large_history(history: History) -> History:
    history.add(1, (make_event(number) for number in range(EVENTS - 1)))
    history.add(2, [make_event(EVENTS - 1)])
    return history


def kill_at(when: str, call: str, which: int, place: BigQueryPlace | RedshiftPlace, url: str, home: Path) -> None:
    code = "from ingestion_pipeline_tests.warehouse.stopping import main; main()"
    with python(code, to_text(place), url, str(home), when, call, str(which)) as child:
        assert child.stdout is not None
        said = []
        while "there\n" not in said:
            said.append(child.stdout.readline())
            assert said[-1], "".join(said)
        child.kill()
        child.wait()


def require_exactly_once(history: History, place: Place, ledger_says: str | None) -> None:
    """Goes on where the killed process stopped, and looks at what the warehouse has."""
    before = history.ledger(place.name)
    assert [ledger_says] * len(before) == list(before["status"])
    assert (2 if ledger_says else 0) == len(before)
    done = list(copied_batches(history.postgres, history.lake, place.warehouse()))
    assert done == [Copied(1, 2, EVENTS, was_resumed=ledger_says is not None)]
    after = history.ledger(place.name)
    assert ["committed", "committed"] == list(after["status"])
    assert list(before["target"]) == list(after["target"])[: len(before)]
    assert list(history.rows()["event_id"]) == list(place.rows()["event_id"])


@pytest.mark.parametrize(("when", "call", "which", "ledger_says"), BIGQUERY_STEPS)
def test_bigquery_has_each_event_once(
    large_history: History,
    bigquery: BigQueryPlace,
    worker_url: str,
    tmp_path: Path,
    when: str,
    call: str,
    which: int,
    ledger_says: str | None,
) -> None:
    """The stream that the ledger names is gone on with, from the first append to a commit that nobody heard of."""
    kill_at(when, call, which, bigquery, worker_url, tmp_path)
    require_exactly_once(large_history, bigquery, ledger_says)


@pytest.mark.parametrize(("when", "call", "which", "ledger_says"), REDSHIFT_STEPS)
def test_redshift_has_each_event_once(
    large_history: History,
    redshift: RedshiftPlace,
    worker_url: str,
    tmp_path: Path,
    when: str,
    call: str,
    which: int,
    ledger_says: str | None,
) -> None:
    """Files that are there are not sent again; a transaction that was not committed leaves nothing."""
    kill_at(when, call, which, redshift, worker_url, tmp_path)
    require_exactly_once(large_history, redshift, ledger_says)
