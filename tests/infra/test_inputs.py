"""`python -m infra.inputs`: objects and rows compared, and inputs moved out of the database."""

import hashlib
from collections.abc import Iterator
from uuid import UUID, uuid4

import boto3
import pytest
from moto import mock_aws

from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import NewInput, QueuedPrediction
from functions.shared.object_storage.bucket import Bucket, NewObject, key_of
from infra.inputs import main

pytestmark = pytest.mark.slow

BUCKET = "inputs-of-tests"


@pytest.fixture
def bucket(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """The bucket, and an environment that names it and the ledger."""
    settings = {"DATABASE_URL": database_url, "INPUTS_BUCKET": BUCKET, "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**settings, "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield Bucket(BUCKET)


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    """The ledger."""
    opened = Ledger.at(database_url, longest=60)
    yield opened
    opened.close()


def keep(ledger: Ledger, content: bytes, bucket: Bucket | None = None, *, lost: bool = False) -> UUID:
    """Store an input, in the database or as an object, and return its prediction's id."""
    new = NewInput(content, "image/png", "7.png")
    if bucket is not None:
        key = key_of("anna", new.input_id)
        new = NewInput(content, "image/png", "7.png", input_id=new.input_id, uri=bucket.uri(key))
        if not lost:
            put(bucket, key, content)
    prediction = QueuedPrediction(new, "anna")
    ledger.enqueue(prediction)
    return prediction.prediction_id


def put(bucket: Bucket, key: str, content: bytes) -> None:
    bucket.put([NewObject(key, content, "image/png", hashlib.sha256(content).digest())])


def keys(bucket: Bucket) -> set[str]:
    return {one.key for one in bucket.list()}


class TestReconcile:
    """Objects without a row are litter, rows without an object a loss."""

    def test_where_all_is_well_there_is_nothing_to_report(
        self, ledger: Ledger, bucket: Bucket, capsys: pytest.CaptureFixture[str]
    ) -> None:
        keep(ledger, b"in the bucket", bucket)
        keep(ledger, b"in the database")

        assert main(["reconcile", "--older-than", "0"]) == 0

        assert "0 objects without a row" in (said := capsys.readouterr().out)
        assert "0 rows without an object" in said

    def test_an_object_without_a_row_is_reported_and_removed_when_told_so(
        self, ledger: Ledger, bucket: Bucket, capsys: pytest.CaptureFixture[str]
    ) -> None:
        keep(ledger, b"kept", bucket)
        kept, orphan = keys(bucket), key_of("anna", uuid4())
        put(bucket, orphan, b"left behind")

        assert main(["reconcile", "--older-than", "0"]) == 1
        assert orphan in capsys.readouterr().out
        assert keys(bucket) == kept | {orphan}

        assert main(["reconcile", "--older-than", "0", "--delete"]) == 0
        assert keys(bucket) == kept

    def test_a_copy_of_what_is_in_the_database_is_an_object_without_a_row(self, ledger: Ledger, bucket: Bucket) -> None:
        record, _ = ledger.get(keep(ledger, b"in the database"))
        put(bucket, key_of("anna", record.input_id), b"in the database")

        assert main(["reconcile", "--older-than", "0", "--delete"]) == 0

        assert keys(bucket) == set()

    def test_what_is_new_may_be_an_upload_that_waits(self, ledger: Ledger, bucket: Bucket) -> None:
        assert ledger is not None
        put(bucket, key_of("anna", uuid4()), b"just uploaded")

        assert main(["reconcile", "--delete"]) == 0

        assert len(keys(bucket)) == 1

    def test_what_is_no_input_is_left_alone(self, ledger: Ledger, bucket: Bucket) -> None:
        assert ledger is not None
        put(bucket, "inputs/anna/readme.txt", b"not ours")
        put(bucket, f"elsewhere/{uuid4()}", b"not ours")

        assert main(["reconcile", "--older-than", "0", "--delete"]) == 0

        assert bucket.has("inputs/anna/readme.txt")

    def test_a_row_without_an_object_is_reported_and_stays(
        self, ledger: Ledger, bucket: Bucket, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lost = keep(ledger, b"lost", bucket, lost=True)

        assert main(["reconcile", "--older-than", "0", "--delete"]) == 1

        record, stored = ledger.get(lost)
        assert f"row without an object\t{record.input_id}\t{stored.uri}" in capsys.readouterr().out

    def test_more_than_fit_into_one_lot_are_compared(
        self, ledger: Ledger, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("infra.inputs._TOGETHER", 2)
        for number in range(5):
            keep(ledger, bytes([number]), bucket)
            put(bucket, key_of("anna", uuid4()), b"left behind")

        assert main(["reconcile", "--older-than", "0", "--delete"]) == 0

        assert len(keys(bucket)) == 5


class TestMove:
    """Bytes leave the database once they are in the bucket."""

    def test_inputs_move_with_all_that_is_said_of_them(
        self, ledger: Ledger, bucket: Bucket, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made = [keep(ledger, bytes([number]) * 1000) for number in range(30)]
        before = [ledger.get(one) for one in made]

        assert main(["move"]) == 0

        assert "30 inputs with 0.0 MB moved" in capsys.readouterr().out
        for prediction_id, (record, stored) in zip(made, before, strict=True):
            assert ledger.get(prediction_id) == (
                record,
                stored._replace(content=None, uri=f"s3://{BUCKET}/inputs/anna/{record.input_id}"),
            )
            assert bucket.get(key_of("anna", record.input_id)) == stored.content
        assert main(["reconcile", "--older-than", "0"]) == 0

    def test_an_interrupted_move_goes_on_where_it_was(
        self, ledger: Ledger, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = [keep(ledger, bytes([number])) for number in range(30)]
        calls = iter(range(100))
        into = Ledger.move_input

        def interrupted(self: Ledger, input_id: UUID, uri: str) -> None:
            if next(calls) == 12:
                raise KeyboardInterrupt
            into(self, input_id, uri)

        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "move_input", interrupted)
            assert main(["move"]) == 130
        for number, one in enumerate(made):
            stored = ledger.get_input(one)
            assert stored.content == bytes([number]) or bucket.get(bucket.key(stored.uri or "")) == bytes([number])

        assert main(["move"]) == 0

        assert ledger.count_inputs_in_database() == (0, 0)
        assert len(keys(bucket)) == 30

    def test_what_the_bucket_does_not_give_back_stays_in_the_database(
        self,
        ledger: Ledger,
        bucket: Bucket,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert bucket is not None
        made = keep(ledger, b"content")
        monkeypatch.setattr(Bucket, "get", lambda *_: b"another")

        assert main(["move"]) == 1

        assert "the bucket returned other bytes" in capsys.readouterr().err
        assert ledger.get_input(made).content == b"content"

    def test_a_bucket_that_is_not_there_is_told(
        self, ledger: Ledger, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert bucket is not None
        made = keep(ledger, b"content")
        monkeypatch.setenv("INPUTS_BUCKET", "no-such-bucket")

        assert main(["move"]) == 1

        assert "infra.inputs: " in capsys.readouterr().err
        assert ledger.get_input(made).content == b"content"


def test_without_settings_it_says_which(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("INPUTS_BUCKET", BUCKET)

    assert main(["move"]) == 2

    assert "DATABASE_URL must be set" in capsys.readouterr().err
