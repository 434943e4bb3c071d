"""What is Redshift's own: the statements, the files and the manifest in S3, values that COPY would refuse, errors."""

import gc
import io
import json
import warnings
from datetime import date

import pyarrow as pa
import pytest
import redshift_connector
import sqlglot
from pyarrow import parquet
from pydantic import SecretStr

from ingestion_pipeline.core.errors import ConfigurationError, ContractError, IngestionError, StoreUnavailableError
from ingestion_pipeline.core.tables import Column, Table
from ingestion_pipeline.domains.events import copies
from ingestion_pipeline.domains.events.copies import Copied, copied_batches
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.storage.lake import arrow_schema
from ingestion_pipeline.storage.warehouses import redshift as module
from ingestion_pipeline.storage.warehouses import s3_stage
from ingestion_pipeline.storage.warehouses.base import Copy
from ingestion_pipeline.storage.warehouses.redshift import Redshift, connected_to
from ingestion_pipeline.storage.warehouses.s3_stage import S3Stage
from ingestion_pipeline_tests.command import free_port
from ingestion_pipeline_tests.warehouse.history import History, make_event
from ingestion_pipeline_tests.warehouse.places import ROLE, RedshiftPlace
from ingestion_pipeline_tests.warehouse.services import BUCKET

SMALL = Table(
    domain="events",
    name="things",
    store="lake",
    key=("event_id",),
    partitioning="daily",
    partition_column="day",
    columns=(
        Column("event_id", "text", "Key"),
        Column("event_type", "text", "Type"),
        Column("event_data", "json", "Says", None, True),
        Column("amount", "float", "Amount", None, True),
        Column("occurred_at", "timestamp", "When"),
        Column("is_counted", "boolean", "Counts"),
        Column("batch_number", "integer", "Batch"),
        Column("day", "date", "Partition"),
    ),
)

STATEMENTS = {
    "table": (
        "create table if not exists events.things (event_id varchar(4096) not null, event_type varchar(4096) not null, "
        "event_data varchar(65535), amount double precision, occurred_at timestamp not null, "
        "is_counted boolean not null, batch_number bigint not null, day date not null) "
        "diststyle key distkey (event_id) sortkey (day, event_type)"
    ),
    "staging": "create temp table things_staging (like events.things)",
    "copy": ("copy things_staging from 's3://bucket/it''s/manifest.json' iam_role 'arn' format as parquet manifest"),
    "merge": (
        "merge into events.things using things_staging on things.event_id = things_staging.event_id "
        "when matched then update set batch_number = things_staging.batch_number "
        "when not matched then insert "
        "(event_id, event_type, event_data, amount, occurred_at, is_counted, batch_number, day) values "
        "(things_staging.event_id, things_staging.event_type, things_staging.event_data, things_staging.amount, "
        "things_staging.occurred_at, things_staging.is_counted, things_staging.batch_number, things_staging.day)"
    ),
}


def test_statements_are_what_redshift_s_manual_says() -> None:
    """Word for word; a change here is a change that no Redshift has seen."""
    assert {
        "table": module.table_statement(SMALL),
        "staging": module.staging_statement(SMALL),
        "copy": module.copy_statement(SMALL, "s3://bucket/it's/manifest.json", "'arn'"),
        "merge": module.merge_statement(SMALL),
    } == STATEMENTS


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_parser_of_redshift_s_dialect_takes_the_statements(name: str) -> None:
    statement = sqlglot.parse_one(STATEMENTS[name], dialect="redshift")
    assert not isinstance(statement, sqlglot.exp.Command)  # what it does not know


def read(history: History, redshift: RedshiftPlace) -> Copy:
    return copies._read(history.lake, copies._batches(history.postgres, copies._NEXT, redshift.warehouse()))


def copied(history: History, redshift: RedshiftPlace) -> list[Copied]:
    return list(copied_batches(history.postgres, history.lake, redshift.warehouse()))


def test_the_manifest_names_every_file_with_its_length(
    history: History, redshift: RedshiftPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files together are the rows, in the order of the table's columns."""
    monkeypatch.setattr(s3_stage, "ROWS_PER_FILE", 4)
    history.add(3, [make_event(number) for number in range(10)])
    history.postgres.execute("update events.warehouse_sync_status set batch_number = 3")
    copy = read(history, redshift)
    target = redshift.warehouse().plan(copy)
    assert redshift.staged() == {}
    assert redshift.warehouse().write(target, copy)
    folder = f"000000000003-000000000003-{copy.digest}"
    staged = redshift.staged()
    assert f"s3://{BUCKET}/{redshift.database}/{folder}/manifest.json" == target
    manifest = json.loads(staged.pop(f"{folder}/manifest.json"))
    names = [f"{folder}/rows-{first:08d}-{last:08d}.parquet" for first, last in ((0, 4), (4, 8), (8, 10))]
    assert names == sorted(staged)
    assert manifest["entries"] == [
        {
            "url": f"s3://{BUCKET}/{redshift.database}/{name}",
            "mandatory": True,
            "meta": {"content_length": len(staged[name])},
        }
        for name in names
    ]
    files = pa.concat_tables([parquet.read_table(io.BytesIO(staged[name])) for name in names])
    assert list(EVENT_HISTORY.column_names) == files.column_names
    assert copy.rows["event_id"].to_pylist() == files["event_id"].to_pylist()
    assert [it.replace(tzinfo=None) for it in copy.rows["occurred_at"].to_pylist()] == files["occurred_at"].to_pylist()


def test_an_object_that_is_there_is_not_put_again(history: History, redshift: RedshiftPlace) -> None:
    """The store itself refuses it: also a process that believes it is alone changes nothing."""
    history.add(1, [make_event(1)])
    copy = read(history, redshift)
    target = redshift.warehouse().plan(copy)
    first = redshift.warehouse().write(target, copy)
    (file,) = (name for name in redshift.staged() if name.endswith(".parquet"))
    redshift.s3.put_object(Bucket=BUCKET, Key=f"{redshift.database}/{file}", Body=b"x" * 10)
    assert redshift.warehouse().write(target, copy) == 10 != first
    assert b"x" * 10 == redshift.staged()[file]


def test_rows_cut_otherwise_by_an_earlier_version_are_all_copied(
    history: History, redshift: RedshiftPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are not taken for ours, which have the same digest."""
    history.add(1, [make_event(number) for number in range(10)])
    copy = read(history, redshift)
    target = copies._planned(history.postgres, redshift.warehouse(), copy)
    with monkeypatch.context() as patch:
        patch.setattr(s3_stage, "ROWS_PER_FILE", 4)
        redshift.warehouse().write(target, copy)
    redshift.s3.delete_object(Bucket=BUCKET, Key=target.removeprefix(f"s3://{BUCKET}/"))
    assert copied(history, redshift) == [Copied(1, 1, 10, was_resumed=True)]
    assert 10 == len(redshift.rows())


def test_nothing_is_left_in_s3_after_a_copy_or_an_erasure(history: History, redshift: RedshiftPlace) -> None:
    """Nor what was left there by a process that died; other prefixes are not ours."""
    redshift.s3.put_object(Bucket=BUCKET, Key=f"{redshift.database}-not-ours/file", Body=b"1")
    redshift.s3.put_object(Bucket=BUCKET, Key=f"{redshift.database}/old/file", Body=b"1")
    history.add(1, [make_event(1)])
    copied(history, redshift)
    assert redshift.staged() == {}
    redshift.s3.put_object(Bucket=BUCKET, Key=f"{redshift.database}/old/file", Body=b"1")
    copies.erase_user(history.postgres, redshift.warehouse(), "nobody")
    assert redshift.staged() == {}
    assert redshift.s3.get_object(Bucket=BUCKET, Key=f"{redshift.database}-not-ours/file")["Body"].read() == b"1"


def test_values_that_copy_would_refuse_are_made_to_fit(history: History, redshift: RedshiftPlace) -> None:
    """One of them would stop this batch and all after it. The lake keeps the original."""
    longest = '{"a": "' + "é" * 32_763 + '"}'
    assert 65_535 == len(longest.encode())
    history.add(
        1,
        [
            make_event(0, event_data=longest),
            make_event(1, event_data=longest + " "),
            make_event(2, event_type="🦉" * 2_000),
        ],
    )
    copied(history, redshift)
    rows = redshift.rows()
    assert [longest, '{"too_long_bytes": 65536}'] == list(rows["event_data"])[:2]
    assert "🦉" * 1_024 == rows["event_type"][2]


def test_nulls_and_empty_tables_are_made_to_fit_too() -> None:
    rows = pa.Table.from_pylist([make_event(0, user_id=None)], schema=arrow_schema(EVENT_HISTORY))
    assert [None] == module.loadable(EVENT_HISTORY, rows)["user_id"].to_pylist()
    assert 0 == module.loadable(EVENT_HISTORY, rows.slice(0, 0)).num_rows


def test_merging_again_changes_nothing(history: History, redshift: RedshiftPlace) -> None:
    """The same files, a second transaction: as after a commit that nobody heard of."""
    history.add(1, [make_event(number) for number in range(10)])
    copy = read(history, redshift)
    warehouse = redshift.warehouse()
    target = warehouse.plan(copy)
    for _ in range(2):
        warehouse.write(target, copy)
        warehouse.commit(target, copy)
        assert 10 == len(redshift.rows())


def test_a_transaction_that_fails_leaves_nothing(history: History, redshift: RedshiftPlace) -> None:
    """A file of the manifest is gone: the rows of the others are not there either."""
    history.add(1, [make_event(1)])
    copy = read(history, redshift)
    warehouse = redshift.warehouse()
    target = warehouse.plan(copy)
    warehouse.write(target, copy)
    (file,) = (name for name in redshift.staged() if name.endswith(".parquet"))
    redshift.s3.delete_object(Bucket=BUCKET, Key=f"{redshift.database}/{file}")
    with pytest.raises(redshift.s3.exceptions.NoSuchKey):  # the stand-in's words; COPY has its own
        warehouse.commit(target, copy)
    assert not warehouse.is_committed(target, copy)


def test_s3_away_or_refusing_or_without_the_bucket(
    history: History, redshift: RedshiftPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_stage, "ATTEMPTS", 1)
    history.add(1, [make_event(1)])
    copy = read(history, redshift)
    with pytest.raises(StoreUnavailableError, match="S3 bucket stage cannot be reached"):
        S3Stage(f"s3://{BUCKET}/x", f"http://127.0.0.1:{free_port()}").put(copy, copy.rows)
    with pytest.raises(ConfigurationError, match=r"REDSHIFT_S3_URL='s3://nowhere/x': .*NoSuchBucket"):
        S3Stage("s3://nowhere/x", redshift.s3_endpoint).put(copy, copy.rows)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ConfigurationError, match="AWS_ACCESS_KEY_ID"):
        S3Stage(f"s3://{BUCKET}/x", redshift.s3_endpoint).put(copy, copy.rows)


@pytest.mark.parametrize(
    "url", ["bucket/prefix", "s3://bucket", "s3://bucket/", "https://bucket/prefix", "s3:///prefix"]
)
def test_the_stage_needs_a_bucket_and_a_prefix_of_its_own(url: str) -> None:
    with pytest.raises(ConfigurationError, match="REDSHIFT_S3_URL"):
        S3Stage(url)


def test_what_waits_for_copy_goes_with_what_has_expired(history: History, redshift: RedshiftPlace) -> None:
    """It may hold expired rows; what is left of it is staged again."""
    history.add(1, [make_event(1)])
    copy, warehouse = read(history, redshift), redshift.warehouse()
    warehouse.write(warehouse.plan(copy), copy)
    assert 2 == len(redshift.staged())
    assert 0 == warehouse.delete_older(["VIEW"], date(2000, 1, 1))
    assert {} == redshift.staged()
    assert copied(history, redshift) == [Copied(1, 1, 1, was_resumed=False)]


def test_a_cluster_that_is_away_is_transient_and_the_password_is_not_told(
    history: History, redshift: RedshiftPlace
) -> None:
    history.add(1, [make_event(1)])
    warehouse = Redshift(
        EVENT_HISTORY,
        stage=S3Stage(f"s3://{BUCKET}/{redshift.database}", redshift.s3_endpoint),
        iam_role=ROLE,
        connect=connected_to(
            host="127.0.0.1", port=free_port(), database="d", user="u", password=SecretStr("canary-password")
        ),
        error=redshift_connector.Error,
    )
    with pytest.raises(StoreUnavailableError) as raised:
        list(copied_batches(history.postgres, history.lake, warehouse))
    assert "canary" not in f"{raised.value}{history.ledger('redshift').to_dict()}{warehouse!r}{vars(warehouse)}"
    assert copied(history, redshift) == [Copied(1, 1, 1, was_resumed=True)]


def test_a_database_that_is_missing_is_a_mistake_of_ours(redshift: RedshiftPlace) -> None:
    place = RedshiftPlace(redshift.port, "nowhere", redshift.s3_endpoint)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the driver forgets the socket of a refused login
        with pytest.raises(ConfigurationError, match="nowhere"):
            place.warehouse().erase_user("nobody")
        gc.collect()


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("28000", ConfigurationError),
        ("42501", ConfigurationError),
        ("57014", StoreUnavailableError),
        ("40001", StoreUnavailableError),
        ("", StoreUnavailableError),
        ("42601", ContractError),
        ("XX000", ContractError),
    ],
)
def test_sqlstates_decide_who_must_act(state: str, expected: type[IngestionError], redshift: RedshiftPlace) -> None:
    """What the server says is told, its first line."""
    facts = {"C": state, "M": "it said so\nat length"} if state else "communication error"
    with pytest.raises(expected) as raised, redshift.warehouse()._reached():
        raise redshift_connector.ProgrammingError(facts)
    assert ("it said so" if state else "communication error") in str(raised.value)
    assert "at length" not in str(raised.value)


def test_the_stand_in_refuses_a_file_of_another_length(history: History, redshift: RedshiftPlace) -> None:
    """The stand-in is as strict as COPY where a manifest has lengths; otherwise it would prove less."""
    history.add(1, [make_event(1)])
    copy = read(history, redshift)
    warehouse = redshift.warehouse()
    target = warehouse.plan(copy)
    warehouse.write(target, copy)
    (file,) = (name for name in redshift.staged() if name.endswith(".parquet"))
    redshift.s3.put_object(Bucket=BUCKET, Key=f"{redshift.database}/{file}", Body=redshift.staged()[file] + b"x")
    with pytest.raises(AssertionError):
        warehouse.commit(target, copy)
