"""What is BigQuery's own: the table, streams that are lost or cut otherwise, answers of Google's, errors."""

from datetime import date

import pytest
from google.api_core import exceptions as api
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import bigquery as client
from requests.exceptions import ConnectionError as RequestsConnectionError

from ingestion_pipeline.core.errors import ConfigurationError, ContractError, IngestionError, StoreUnavailableError
from ingestion_pipeline.domains.events import copies
from ingestion_pipeline.domains.events.copies import Copied, copied_batches
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.storage.warehouses import bigquery as module
from ingestion_pipeline.storage.warehouses.base import Copy
from ingestion_pipeline.storage.warehouses.bigquery import BigQuery
from ingestion_pipeline_tests.command import free_port
from ingestion_pipeline_tests.warehouse.google_answers import Answers, answering
from ingestion_pipeline_tests.warehouse.history import NOON, History, make_event
from ingestion_pipeline_tests.warehouse.places import BigQueryPlace
from ingestion_pipeline_tests.warehouse.services import PROJECT


def copied(history: History, place: BigQueryPlace) -> list[Copied]:
    return list(copied_batches(history.postgres, history.lake, place.warehouse()))


def first_copy(history: History, place: BigQueryPlace) -> Copy:
    return copies._read(history.lake, copies._batches(history.postgres, copies._NEXT, place.warehouse()))


def stop_when_planned(history: History, place: BigQueryPlace) -> str:
    """The ledger as a process leaves it that dies before it has sent anything; its target."""
    one = first_copy(history, place)
    return copies._planned(history.postgres, place.warehouse(), one)


def test_the_table_is_partitioned_by_day_and_clustered_and_described(history: History, bigquery: BigQueryPlace) -> None:
    """Columns, types and descriptions are those of the declaration."""
    history.add(1, [make_event(1)])
    copied(history, bigquery)
    table = bigquery.client.get_table(f"{PROJECT}.{bigquery.dataset}.event_history")
    assert ("DAY", "day") == (table.time_partitioning.type_, table.time_partitioning.field)
    assert ["event_type", "user_id"] == table.clustering_fields
    assert [(column.name, column.nullable, column.description) for column in EVENT_HISTORY.columns] == [
        (field.name, field.is_nullable, field.description) for field in table.schema
    ]


@pytest.mark.parametrize("change", ["forgotten", "cut otherwise"])
def test_a_stream_that_cannot_be_gone_on_with_is_replaced(
    history: History, bigquery: BigQueryPlace, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BigQuery forgets streams after some days; another version of ours may have cut the rows otherwise."""
    history.add(1, [make_event(number) for number in range(20)])
    target = stop_when_planned(history, bigquery)
    if change == "forgotten":
        lost = target.replace(target.partition("#")[0][-16:], "0" * 16)
        history.postgres.execute(
            "update events.warehouse_sync_status set target = :lost where warehouse_type = 'bigquery'", {"lost": lost}
        )
    else:
        with monkeypatch.context() as patch:
            patch.setattr(module, "ROWS_PER_APPEND", 7)
            warehouse = bigquery.warehouse()
            appends = list(module._appends(module._stream(target), first_copy_rows(history)))
            assert warehouse._append(module._stream(target), appends[:2]) is None
    assert copied(history, bigquery) == [Copied(1, 1, 20, was_resumed=True)]
    assert target != history.ledger("bigquery")["target"][0]
    assert list(history.rows()["event_id"]) == list(bigquery.rows()["event_id"])


def first_copy_rows(history: History):
    (batch,) = history.ledger("delta").to_dict("records")  # type: ignore[arg-type]
    found = copies._Batch(1, batch["events_synced"], batch["days"], "committed", "")
    return copies._read(history.lake, [found]).rows


def test_appends_stay_below_the_size_that_bigquery_takes(history: History, bigquery: BigQueryPlace) -> None:
    """Large events travel fewer at a time; every row is in one append, at its offset."""
    large = '{"text": "' + "x" * 300_000 + '"}'
    history.add(1, [make_event(number, event_data=large) for number in range(70)])
    rows = first_copy(history, bigquery).rows
    appends = list(module._appends("stream", rows))
    assert len(appends) > 1
    assert max(len(append.arrow_rows.rows.serialized_record_batch) for append in appends) <= module.BYTES_PER_APPEND
    assert copied(history, bigquery) == [Copied(1, 1, 70, was_resumed=False)]
    assert {len(large)} == {len(str(value["text"])) + 12 for value in bigquery.rows()["event_data"]}
    assert 70 == len(set(bigquery.rows()["event_id"]))


@pytest.fixture
def copy_of_three(history: History, bigquery: BigQueryPlace, monkeypatch: pytest.MonkeyPatch) -> Copy:
    """Six rows that go in three appends."""
    monkeypatch.setattr(module, "ROWS_PER_APPEND", 2)
    history.add(1, [make_event(number) for number in range(6)])
    return first_copy(history, bigquery)


def talking_to(address: str, bigquery: BigQueryPlace) -> BigQuery:
    rest = bigquery.endpoint.partition(",")[0]
    return BigQuery(EVENT_HISTORY, project=PROJECT, dataset=bigquery.dataset, endpoint=f"{rest},{address}")


def test_appends_that_end_the_call_because_they_are_there_count_as_sent(
    copy_of_three: Copy, bigquery: BigQueryPlace
) -> None:
    """The stream had two of three appends; each of them ends a call, the third is sent once."""
    answers = Answers(appended=4)
    with answering(answers) as address:
        assert talking_to(address, bigquery).write("stream#digest", copy_of_three)
    assert [0, 2, 4] == sorted(set(answers.appends))
    assert 6 == answers.appended


def test_a_stream_that_lacks_rows_before_an_offset_is_planned_anew(
    copy_of_three: Copy, bigquery: BigQueryPlace
) -> None:
    """Another version of ours has cut the rows otherwise: the call itself is refused."""
    answers = Answers(appended=3)
    with answering(answers) as address:
        assert talking_to(address, bigquery).write("stream#digest", copy_of_three) is None
    assert (4, 3) == (max(answers.appends), answers.appended)


def test_a_stream_that_tells_when_it_was_committed_is_committed(copy_of_three: Copy, bigquery: BigQueryPlace) -> None:
    """Whatever the table has; and committing it again is not an error."""
    for is_committed in (True, False):
        with answering(Answers(is_committed=is_committed)) as address:
            warehouse = talking_to(address, bigquery)
            assert is_committed == warehouse.is_committed("stream#digest", copy_of_three)
            warehouse.commit("stream#digest", copy_of_three)


def test_rows_that_do_not_fit_the_table_are_a_contract_error(history: History, bigquery: BigQueryPlace) -> None:
    """Somebody made the table otherwise: the error names it, and nothing is there."""
    fields = [
        client.SchemaField(column.name, "INT64" if column.name == "event_type" else module.TYPES[column.type])
        for column in EVENT_HISTORY.columns
    ]
    bigquery.client.create_table(client.Table(f"{PROJECT}.{bigquery.dataset}.event_history", schema=fields))
    history.add(1, [make_event(1)])
    with pytest.raises(ContractError, match="event_history: rows"):
        copied(history, bigquery)
    assert bigquery.rows().empty
    assert "event_history: rows" in history.ledger("bigquery")["error_message"][0]


def test_a_dataset_that_is_missing_is_named(history: History, bigquery: BigQueryPlace) -> None:
    """It is not made: where its data lies is not ours to choose."""
    history.add(1, [make_event(1)])
    missing = BigQueryPlace(bigquery.endpoint, "not_there")
    with pytest.raises(ConfigurationError, match="BIGQUERY_DATASET_ID='not_there'"):
        copied(history, missing)
    assert history.ledger("bigquery").empty


def test_bigquery_away_is_transient(history: History, bigquery: BigQueryPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """REST or gRPC: nothing is lost, the next call goes on."""
    monkeypatch.setattr(module, "RETRIED_FOR_SECONDS", 0.1)
    history.add(1, [make_event(1)])
    rest, _, grpc = bigquery.endpoint.partition(",")
    for endpoint in (f"http://127.0.0.1:{free_port()},{grpc}", f"{rest},127.0.0.1:{free_port()}"):
        with pytest.raises(StoreUnavailableError):
            copied(history, BigQueryPlace(endpoint, bigquery.dataset))
    assert copied(history, bigquery) == [Copied(1, 1, 1, was_resumed=False)]


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (api.ServiceUnavailable("busy"), StoreUnavailableError),
        (api.TooManyRequests("slow down"), StoreUnavailableError),
        (api.DeadlineExceeded("late"), StoreUnavailableError),
        (api.RetryError("gave up", None), StoreUnavailableError),
        (RequestsConnectionError("refused"), StoreUnavailableError),
        (api.BadRequest("UPDATE or DELETE would affect rows in the streaming buffer"), StoreUnavailableError),
        (api.BadRequest("syntax"), ContractError),
        (api.Forbidden("no access"), ConfigurationError),
        (api.Unauthorized("who are you"), ConfigurationError),
        (DefaultCredentialsError("none found"), ConfigurationError),
    ],
    ids=lambda it: getattr(it, "__name__", type(it).__name__),
)
def test_errors_of_google_s_libraries_are_ours(
    raised: Exception, expected: type[IngestionError], bigquery: BigQueryPlace
) -> None:
    """What may succeed later is transient; what somebody must set right says what."""
    with pytest.raises(expected), bigquery.warehouse()._reached():
        raise raised


@pytest.mark.parametrize("endpoint", ["http://host:1", "host:1,host:2", "http://host:1,"])
def test_an_endpoint_has_two_addresses(endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="BIGQUERY_ENDPOINT"):
        BigQuery(EVENT_HISTORY, project="p", dataset="d", endpoint=endpoint)


def test_deleting_tells_what_google_s_client_was_asked(history: History, bigquery: BigQueryPlace) -> None:
    """Values travel as parameters: a user id is never part of the statement."""
    history.add(1, [make_event(1, user_id="it's `me`")])
    copied(history, bigquery)
    assert copies.delete_older(history.postgres, bigquery.warehouse(), ["VIEW"], date(2000, 1, 1)) == 0
    assert copies.erase_user(history.postgres, bigquery.warehouse(), "it's `me`") == 1
    assert NOON.date() == history.rows()["day"][0].date()
