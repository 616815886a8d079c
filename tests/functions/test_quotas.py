"""Quotas for each user: what is over one is answered 429, in words that say which, and leaves nothing behind."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import boto3
import httpx
import pytest
from moto import mock_aws

from functions.shared.settings import PredictSettings, SettingsError, UploadSettings
from tests.support.buckets import Bucket, make_bucket, put
from tests.support.database import Query
from tests.support.event_transport import EventTransport
from tests.support.prediction_queue import AWS, Queue
from tests.support.repository import ROOT

pytestmark = pytest.mark.usefixtures("within_one_hour")


@pytest.fixture
def bucket(environment: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket to upload to and to keep inputs in."""
    for name, value in {**AWS, "INPUTS_BUCKET": "quota"}.items():
        environment.setenv(name, value)
    with mock_aws():
        yield make_bucket("quota")


@pytest.fixture
def queue(bucket: Bucket, environment: pytest.MonkeyPatch) -> Queue:
    """A queue beside the bucket."""
    assert bucket is not None
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName="predictions")["QueueUrl"]
    environment.setenv("QUEUE_URL", url)
    return Queue(sqs, url)


def send(
    api: httpx.Client,
    content: bytes,
    *,
    user_id: str | None = None,
    copies: int = 1,
    key: str | None = None,
    prefer: str | None = None,
) -> httpx.Response:
    files = [("file", ("seven.png", content, "image/png"))] * copies
    data = {} if user_id is None else {"user_id": user_id}
    path = "/prediction" if copies == 1 else "/predictions"
    headers = {"idempotency-key": key, "prefer": prefer}
    return api.post(path, files=files, data=data, headers={name: text for name, text in headers.items() if text})


def announce(api: httpx.Client, content: bytes) -> httpx.Response:
    return api.post("/upload", json={"contenttype": "image/png", "size": len(content)})


def refused(answer: httpx.Response, *, within: int) -> str:
    assert answer.status_code == 429, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert 0 < int(answer.headers["retry-after"]) <= within
    document = answer.json()
    assert (document["status"], document["title"]) == (429, "Too Many Requests")
    return str(document["detail"])


def count(query: Query, table: str) -> int:
    [[found]] = query(f"SELECT count(*) FROM {table}")
    return int(found)


def test_predictions_of_an_hour(api: httpx.Client, environment: pytest.MonkeyPatch, digit: bytes, query: Query) -> None:
    environment.setenv("QUOTA_PREDICTIONS_PER_HOUR", "3")
    assert send(api, digit, copies=2, key="once").status_code == 201
    assert "3 predictions an hour" in refused(send(api, digit, copies=2), within=3601)
    last = send(api, digit)
    assert last.status_code == 201
    answer = send(api, digit)
    detail = refused(answer, within=3601)
    assert f"The next hour begins in {answer.headers['retry-after']} seconds." in detail
    assert "Nothing was stored." in detail
    # Nobody said who they are, and another who does has a quota of their own.
    assert send(api, digit, user_id="anna").status_code == 201
    # A repeated request is no further one. What is refused leaves its key free.
    again = send(api, digit, copies=2, key="once")
    assert again.headers["idempotency-replayed"] == "true"
    refused(send(api, digit, key="later"), within=3601)
    query("UPDATE quota_usage SET hour = hour - interval '1 hour'")
    assert send(api, digit, key="later").status_code == 201
    assert count(query, "predictions") == count(query, "inputs") == 5
    # What is only read, or refused for another reason, is not counted.
    for _ in range(5):
        assert api.get(last.headers["location"]).status_code == 200
        assert send(api, b"text").status_code == 400
    assert send(api, digit, copies=2).status_code == 201


def test_rows_of_the_open_inference_protocol(api: httpx.Client, environment: pytest.MonkeyPatch, query: Query) -> None:
    environment.setenv("MODEL", str(ROOT / "model_artifacts" / "diabetes"))
    environment.setenv("QUOTA_PREDICTIONS_PER_HOUR", "3")
    environment.setenv("QUOTA_STORED_BYTES", "1000000")
    one = api.get("/v2/models/diabetes").json()["inputs"][0]

    def infer(rows: int) -> httpx.Response:
        columns = one["shape"][1]
        given = {
            "name": one["name"],
            "datatype": one["datatype"],
            "shape": [rows, columns],
            "data": [0.0] * rows * columns,
        }
        return api.post("/v2/models/diabetes/infer", json={"inputs": [given]})

    assert infer(2).status_code == 200
    answer = infer(2)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "3 predictions an hour" in answer.json()["error"]
    assert infer(1).status_code == 200
    [[counted]] = query("SELECT stored_bytes FROM quota_usage")
    assert [[counted]] == query("SELECT sum(size)::bigint FROM inputs")


def test_the_user_is_that_of_the_token(environment: pytest.MonkeyPatch, digit: bytes) -> None:
    environment.setenv("AUTH", "on")
    environment.setenv("QUOTA_PREDICTIONS_PER_HOUR", "1")
    for subject in ("anna", "bob"):
        with httpx.Client(transport=EventTransport(subject), base_url="https://api.example") as own:
            assert send(own, digit).status_code == 201
            refused(send(own, digit), within=3601)


def test_bytes_that_are_stored(
    api: httpx.Client, environment: pytest.MonkeyPatch, digit: bytes, bucket: Bucket, query: Query
) -> None:
    environment.setenv("QUOTA_STORED_BYTES", str(2 * len(digit)))
    first, _ = send(api, digit), send(api, digit)
    detail = refused(send(api, digit), within=3600)
    assert f"{2 * len(digit)} bytes of inputs" in detail
    assert "DELETE /prediction/{prediction_id}" in detail
    assert len(bucket.contents()) == count(query, "inputs") == 2  # the object of the third is gone, too
    assert api.delete(first.headers["location"]).status_code == 204
    assert send(api, digit).status_code == 201
    refused(send(api, digit), within=3600)


def test_queued_predictions(
    api: httpx.Client, environment: pytest.MonkeyPatch, digit: bytes, queue: Queue, query: Query
) -> None:
    environment.setenv("QUOTA_QUEUED_PREDICTIONS", "2")
    for _ in range(2):
        for _ in range(2):
            assert send(api, digit, prefer="respond-async").status_code == 202
        detail = refused(send(api, digit, prefer="respond-async"), within=60)
        assert "2 queued predictions" in detail
        assert send(api, digit).status_code == 201
        assert queue.deliver() == []
    assert count(query, "predictions") == 6


def test_what_cannot_be_queued_leaves_its_place_free(
    api: httpx.Client, environment: pytest.MonkeyPatch, digit: bytes, queue: Queue
) -> None:
    environment.setenv("QUOTA_QUEUED_PREDICTIONS", "1")
    environment.setenv("QUOTA_PREDICTIONS_PER_HOUR", "1")
    environment.setenv("QUOTA_STORED_BYTES", str(len(digit)))
    queue.sqs.delete_queue(QueueUrl=queue.url)
    for _ in range(2):
        assert send(api, digit, prefer="respond-async").status_code == 503
    queue.sqs.create_queue(QueueName="predictions")
    assert send(api, digit, prefer="respond-async").status_code == 202


def test_open_uploads(
    api: httpx.Client, environment: pytest.MonkeyPatch, digit: bytes, bucket: Bucket, query: Query
) -> None:
    environment.setenv("QUOTA_OPEN_UPLOADS", "1")
    assert bucket.contents() == {}
    for _ in range(2):
        announced = announce(api, digit)
        assert announced.status_code == 201
        assert "1 open uploads" in refused(announce(api, digit), within=3600)
        assert put(announced.json(), digit).status_code == 200
        assert api.post("/prediction", json={"input_id": announced.json()["input_id"]}).status_code == 201
    assert count(query, "uploads") == 2


def test_of_many_at_once_none_passes_the_last_place(
    api: httpx.Client, environment: pytest.MonkeyPatch, digit: bytes, query: Query
) -> None:
    environment.setenv("QUOTA_PREDICTIONS_PER_HOUR", "10")
    assert send(api, digit, user_id="bob").status_code == 201  # makes the environment, before there are threads

    def one(_: int) -> int:
        with httpx.Client(transport=EventTransport(), base_url="https://api.example") as own:
            return send(own, digit).status_code

    with ThreadPoolExecutor(4) as threads:
        statuses = list(threads.map(one, range(20)))
    assert (statuses.count(201), statuses.count(429)) == (10, 10)
    assert count(query, "predictions") == 11


@pytest.mark.parametrize("value", ["-1", "1.5", "many", str(2**63)])
@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (PredictSettings, "QUOTA_PREDICTIONS_PER_HOUR"),
        (PredictSettings, "QUOTA_STORED_BYTES"),
        (PredictSettings, "QUOTA_QUEUED_PREDICTIONS"),
        (UploadSettings, "QUOTA_OPEN_UPLOADS"),
    ],
)
def test_what_is_no_quota_stops_the_start(
    settings: type[PredictSettings | UploadSettings], name: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=name):
        settings.from_environment({"DATABASE_URL": "postgresql:///x", name: value})


def test_zero_is_no_quota(api: httpx.Client, environment: pytest.MonkeyPatch, digit: bytes, query: Query) -> None:
    for name in ("PREDICTIONS_PER_HOUR", "STORED_BYTES", "QUEUED_PREDICTIONS"):
        environment.setenv(f"QUOTA_{name}", "0")
    assert send(api, digit).status_code == 201
    assert count(query, "quota_usage") == 0
