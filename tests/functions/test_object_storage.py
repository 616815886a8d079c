"""With INPUTS_BUCKET, inputs are objects: there before the row that names them, and gone if it does not come."""

import base64
import hashlib
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
import pytest
import requests
from moto import mock_aws

from functions.shared.ledger.errors import LedgerUnavailableError, NoAnswerError
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.pool import Pool
from functions.shared.object_storage import bucket as bucket_module
from tests.support.buckets import Bucket, make_bucket
from tests.support.database import inputs, predictions
from tests.support.event_transport import forget_environment
from tests.support.prediction_queue import AWS, Queue
from tests.support.repository import ROOT

BUCKET = "inputs-of-tests"


@pytest.fixture
def aws(environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What boto3 asks for before it sends anything, and the bucket's name."""
    for name, value in AWS.items():
        environment.setenv(name, value)
    environment.setenv("INPUTS_BUCKET", BUCKET)
    return environment


@pytest.fixture
def bucket(aws: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """The bucket that inputs are kept in."""
    assert aws is not None
    with mock_aws():
        yield make_bucket(BUCKET)


@pytest.fixture
def queue(bucket: Bucket, aws: pytest.MonkeyPatch) -> Queue:
    """A queue beside the bucket."""
    assert bucket is not None
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName="predictions")["QueueUrl"]
    aws.setenv("QUEUE_URL", url)
    return Queue(sqs, url)


@pytest.fixture
def closed_port() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def predict(api: httpx.Client, content: bytes, **headers: str) -> httpx.Response:
    """Send an image of anna's."""
    files = {"file": ("seven.png", content, "image/png")}
    return api.post("/prediction", files=files, data={"user_id": "anna"}, headers=headers)


def test_the_bytes_are_an_object_and_the_row_says_where(
    api: httpx.Client, bucket: Bucket, digit: bytes, database_url: str
) -> None:
    record = predict(api, digit).json()

    key = f"inputs/anna/{record['input_id']}"
    assert bucket.contents() == {key: digit}
    assert inputs(database_url) == [[f"s3://{BUCKET}/{key}", None, len(digit), hashlib.sha256(digit).hexdigest()]]
    assert bucket.s3.head_object(Bucket=BUCKET, Key=key)["ContentType"] == "image/png"


def test_what_comes_back_is_what_was_sent(api: httpx.Client, bucket: Bucket, digit: bytes) -> None:
    assert bucket is not None
    record = predict(api, digit).json()

    found = api.get(f"/prediction/{record['prediction_id']}").json()
    got = api.get(f"/prediction/{record['prediction_id']}/input")

    assert found.pop("image") == f"data:image/png;base64,{base64.b64encode(digit).decode()}"
    assert found == record
    assert (got.content, got.headers["content-type"]) == (digit, "image/png")
    assert got.headers["etag"] == f'"{hashlib.sha256(digit).hexdigest()}"'


def test_features_stay_in_the_row(
    api: httpx.Client, bucket: Bucket, aws: pytest.MonkeyPatch, database_url: str
) -> None:
    aws.setenv("MODEL", str(ROOT / "model_artifacts" / "diabetes"))

    answer = api.post("/prediction", json={"features": [0.03] * 10})

    assert answer.status_code == 201
    assert bucket.contents() == {}
    assert [row[0] for row in inputs(database_url)] == [None]


def test_a_batch_is_as_many_objects(api: httpx.Client, bucket: Bucket, digit: bytes, database_url: str) -> None:
    files = [("file", (f"{number}.png", digit, "image/png")) for number in range(5)]

    records = api.post("/predictions", files=files).json()["predictions"]

    assert set(bucket.contents()) == {f"inputs/anonymous/{record['input_id']}" for record in records}
    assert {row[0] for row in inputs(database_url)} == {f"s3://{BUCKET}/{key}" for key in bucket.contents()}


def test_a_user_of_any_name_has_a_key(api: httpx.Client, bucket: Bucket, digit: bytes) -> None:
    for user_id in ("a/../b c?#%", "数" * 255, "~"):
        answer = api.post("/prediction", files={"file": ("7.png", digit, "image/png")}, data={"user_id": user_id})
        assert answer.status_code == 201
        assert api.get(f"/prediction/{answer.json()['prediction_id']}/input").content == digit

    assert max(len(key) for key in bucket.contents()) < 1024


def test_a_replay_leaves_one_object(api: httpx.Client, bucket: Bucket, digit: bytes) -> None:
    first = predict(api, digit, **{"idempotency-key": "key 1"})
    again = predict(api, digit, **{"idempotency-key": "key 1"})

    assert again.content == first.content
    assert len(bucket.contents()) == 1


def test_the_loser_of_a_race_for_a_key_takes_its_object_away(
    api: httpx.Client, bucket: Bucket, digit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = predict(api, digit, **{"idempotency-key": "key 1"})
    # The second one looks for the key before the first one has committed it.
    monkeypatch.setattr(Ledger, "replay", lambda *_: None)

    again = predict(api, digit, **{"idempotency-key": "key 1"})

    assert again.content == first.content
    assert set(bucket.contents()) == {f"inputs/anna/{first.json()['input_id']}"}


@pytest.mark.parametrize("headers", [{}, {"prefer": "respond-async"}, {"idempotency-key": "key 1"}])
def test_without_s3_nothing_is_stored_and_the_caller_may_come_back(
    api: httpx.Client,
    aws: pytest.MonkeyPatch,
    closed_port: str,
    digit: bytes,
    database_url: str,
    headers: dict[str, str],
) -> None:
    aws.setenv("QUEUE_URL", f"{closed_port}/123456789012/predictions")
    aws.setenv("AWS_ENDPOINT_URL_S3", closed_port)

    answer = predict(api, digit, **headers)

    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert BUCKET not in answer.text
    assert predictions(database_url) == 0
    assert inputs(database_url) == []


def test_an_s3_that_never_answers_is_given_up(
    api: httpx.Client, aws: pytest.MonkeyPatch, digit: bytes, database_url: str
) -> None:
    aws.setattr(bucket_module, "READ_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        aws.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{silent.getsockname()[1]}")

        assert predict(api, digit).status_code == 503

    assert inputs(database_url) == []


@pytest.mark.parametrize("headers", [{}, {"prefer": "respond-async"}, {"idempotency-key": "key 1"}])
@pytest.mark.parametrize("many", [False, True])
def test_what_is_not_committed_leaves_no_object(
    api: httpx.Client,
    bucket: Bucket,
    queue: Queue,
    aws: pytest.MonkeyPatch,
    digit: bytes,
    headers: dict[str, str],
    many: bool,
) -> None:
    assert queue is not None
    aws.setenv("DATABASE_URL", "postgresql://anna@127.0.0.1:1/ledger")
    # What a key has stored is looked up before anything is put.
    aws.setattr(Ledger, "replay", lambda *_: None)

    files = [("file", ("7.png", digit, "image/png"))] * (2 if many else 1)
    answer = api.post("/predictions" if many else "/prediction", files=files, headers=headers)

    assert answer.status_code == 503
    assert bucket.contents() == {}


class Acknowledgement:
    """The next commits are made, or not, and nobody is told.

    Parameters
    ----------
    committed
        Whether the statement takes effect.
    silent
        Whether the database says nothing from then on.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, committed: bool, silent: bool) -> None:
        self.lost = False
        run = Pool.run

        def lose(pool: Pool, sql: str, parameters: Any, *, keep: bool = True) -> Any:
            if self.lost and silent:
                raise LedgerUnavailableError("still silent")
            if "INSERT INTO predictions" not in sql:
                return run(pool, sql, parameters, keep=keep)
            self.lost = True
            if committed:
                run(pool, sql, parameters, keep=keep)
            raise NoAnswerError("no answer")

        monkeypatch.setattr(Pool, "run", lose)


@pytest.mark.parametrize("headers", [{}, {"prefer": "respond-async"}, {"idempotency-key": "key 1"}])
def test_what_was_committed_although_nobody_said_so_keeps_its_object(
    api: httpx.Client, bucket: Bucket, queue: Queue, aws: pytest.MonkeyPatch, digit: bytes, headers: dict[str, str]
) -> None:
    assert queue is not None
    with aws.context() as patch:
        Acknowledgement(patch, committed=True, silent=False)
        answer = predict(api, digit, **headers)

    assert answer.status_code in (201, 202)
    record = api.get(f"/prediction/{answer.json()['prediction_id']}").json()
    assert bucket.contents() == {f"inputs/anna/{record['input_id']}": digit}


@pytest.mark.parametrize("committed", [True, False])
def test_an_object_that_may_have_a_row_is_left(
    api: httpx.Client, bucket: Bucket, aws: pytest.MonkeyPatch, digit: bytes, database_url: str, committed: bool
) -> None:
    with aws.context() as patch:
        Acknowledgement(patch, committed=committed, silent=True)
        answer = predict(api, digit)

    assert answer.status_code == 503
    assert len(bucket.contents()) == 1
    assert len(inputs(database_url)) == committed


def test_what_could_not_be_queued_leaves_no_object(
    api: httpx.Client, bucket: Bucket, aws: pytest.MonkeyPatch, closed_port: str, digit: bytes, database_url: str
) -> None:
    aws.setenv("QUEUE_URL", f"{closed_port}/123456789012/predictions")
    aws.setenv("AWS_ENDPOINT_URL_SQS", closed_port)

    assert predict(api, digit, prefer="respond-async").status_code == 503

    assert bucket.contents() == {}
    assert inputs(database_url) == []


def test_a_worker_reads_the_objects(api: httpx.Client, bucket: Bucket, queue: Queue, digit: bytes) -> None:
    made = [predict(api, digit, prefer="respond-async").json()["prediction_id"] for _ in range(10)]
    assert len(bucket.contents()) == 10

    assert queue.deliver() == []

    records = [api.get(f"/prediction/{prediction_id}").json() for prediction_id in made]
    assert {(record["status"], record["label"]) for record in records} == {("succeeded", "7")}


def test_a_prediction_whose_object_is_gone_fails_alone(
    api: httpx.Client, bucket: Bucket, queue: Queue, digit: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    lost, kept = (predict(api, digit, prefer="respond-async").json()["prediction_id"] for _ in range(2))
    bucket.s3.delete_object(Bucket=BUCKET, Key=min(bucket.contents()))

    assert queue.deliver() == []

    assert api.get(f"/prediction/{kept}").json()["status"] == "succeeded"
    listed = {one["prediction_id"]: one for one in api.get("/predictions").json()["predictions"]}
    assert (listed[lost]["status"], listed[lost]["error"]) == ("failed", "The bytes of the input are no longer there.")
    assert "an input's object is missing" in capsys.readouterr().out


def test_what_a_worker_cannot_fetch_at_the_moment_comes_again(
    api: httpx.Client, bucket: Bucket, queue: Queue, aws: pytest.MonkeyPatch, closed_port: str, digit: bytes
) -> None:
    assert bucket is not None
    made = [predict(api, digit, prefer="respond-async").json()["prediction_id"] for _ in range(2)]
    forget_environment()
    aws.setenv("AWS_ENDPOINT_URL_S3", closed_port)

    assert sorted(queue.deliver()) == sorted(made)

    assert {one["status"] for one in api.get("/predictions").json()["predictions"]} == {"processing"}


def alter(bucket: Bucket) -> dict[str, bytes]:
    """Replace each object's bytes behind the service's back, and return what they were."""
    before = bucket.contents()
    for key in before:
        bucket.s3.put_object(Bucket=BUCKET, Key=key, Body=b"other bytes")
    return before


def test_bytes_that_are_not_those_that_were_stored_are_not_shown(
    api: httpx.Client, bucket: Bucket, digit: bytes
) -> None:
    made = predict(api, digit).json()["prediction_id"]
    alter(bucket)

    for path in (f"/prediction/{made}", f"/prediction/{made}/input"):
        answer = api.get(path)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0


def test_a_worker_predicts_no_other_bytes_than_those_that_were_stored(
    api: httpx.Client, bucket: Bucket, queue: Queue, digit: bytes
) -> None:
    made = predict(api, digit, prefer="respond-async").json()["prediction_id"]
    before = alter(bucket)

    assert queue.deliver() == [made]

    assert [one["status"] for one in api.get("/predictions").json()["predictions"]] == ["processing"]
    for key, content in before.items():
        bucket.s3.put_object(Bucket=BUCKET, Key=key, Body=content)
    assert api.get(f"/prediction/{made}").json()["image"].endswith(base64.b64encode(digit).decode())


def test_a_large_input_is_a_redirect_away(
    api: httpx.Client, bucket: Bucket, aws: pytest.MonkeyPatch, digit: bytes
) -> None:
    assert bucket is not None
    large = digit + bytes(2_000_000)  # what comes after a PNG's end is no part of the picture
    made = predict(api, large).json()["prediction_id"]
    aws.setattr("functions.get_prediction.stored_input.LARGEST_UNLENT", 1_999_999)
    aws.setenv("MAX_INLINE_BYTES", "1000000")
    forget_environment()

    record = api.get(f"/prediction/{made}").json()
    answer = api.get(f"/prediction/{made}/input")

    assert "image" not in record
    assert record["input_url"] == f"/prediction/{made}/input"
    assert answer.status_code == 307
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert "X-Amz-Expires=60" in urlsplit(answer.headers["location"]).query
    assert requests.get(answer.headers["location"], timeout=30).content == large


def test_a_large_input_comes_in_parts_without_a_redirect(
    api: httpx.Client, bucket: Bucket, aws: pytest.MonkeyPatch, digit: bytes
) -> None:
    assert bucket is not None
    large = digit + bytes(2_000_000)  # what comes after a PNG's end is no part of the picture
    path = f"/prediction/{predict(api, large).json()['prediction_id']}/input"
    aws.setattr("functions.get_prediction.stored_input.LARGEST_UNLENT", 999_999)
    aws.setattr("functions.get_prediction.byte_range.LARGEST_UNLENT", 999_999)

    parts = []
    for start in range(0, len(large), 999_999):
        answer = api.get(path, headers={"range": f"bytes={start}-"})
        assert answer.status_code == 206
        parts.append(answer.content)

    assert api.get(path).status_code == 307
    assert b"".join(parts) == large


def test_an_input_that_is_lost_is_no_secret_of_the_buckets(api: httpx.Client, bucket: Bucket, digit: bytes) -> None:
    made = predict(api, digit).json()["prediction_id"]
    bucket.s3.delete_object(Bucket=BUCKET, Key=min(bucket.contents()))

    for path in (f"/prediction/{made}", f"/prediction/{made}/input"):
        answer = api.get(path)
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) > 0
        assert BUCKET not in answer.text


def test_what_was_stored_before_there_was_a_bucket_is_still_read(
    api: httpx.Client, aws: pytest.MonkeyPatch, digit: bytes
) -> None:
    aws.delenv("INPUTS_BUCKET")
    made = predict(api, digit).json()["prediction_id"]
    with mock_aws():
        make_bucket(BUCKET)
        aws.setenv("INPUTS_BUCKET", BUCKET)
        forget_environment()
        assert api.get(f"/prediction/{made}/input").content == digit
