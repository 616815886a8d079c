"""`POST /upload`: a URL for an input that no request to the API has room for, and its prediction by `input_id`."""

import gzip
import hashlib
import io
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import requests
from moto import mock_aws
from PIL import Image

from functions.shared.ledger.errors import LedgerUnavailableError
from functions.shared.ledger.ledger import Ledger
from tests.support.buckets import Bucket, make_bucket, put
from tests.support.database import Query, inputs, predictions
from tests.support.event_transport import EventTransport, forget_environment
from tests.support.prediction_queue import AWS, Queue
from tests.support.repository import ROOT

BUCKET = "uploads-of-tests"
UNKNOWN = "019a0000-0000-7000-8000-000000000000"


@pytest.fixture(params=["UPLOADS_BUCKET", "INPUTS_BUCKET"])
def bucket(request: pytest.FixtureRequest, environment: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """The bucket to upload to: inputs are kept in the database, and then in the bucket."""
    for name, value in {**AWS, request.param: BUCKET}.items():
        environment.setenv(name, value)
    with mock_aws():
        yield make_bucket(BUCKET)


@pytest.fixture
def queue(bucket: Bucket, environment: pytest.MonkeyPatch) -> Queue:
    """A queue beside the bucket."""
    assert bucket is not None
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName="predictions")["QueueUrl"]
    environment.setenv("QUEUE_URL", url)
    return Queue(sqs, url)


def announce(api: httpx.Client, content: bytes, **members: Any) -> httpx.Response:
    """Say what is to be uploaded."""
    return api.post("/upload", json={"contenttype": "image/png", "size": len(content), **members})


def upload(api: httpx.Client, content: bytes, **members: Any) -> str:
    """Upload, and return the `input_id`."""
    announced = announce(api, content, **members).json()
    assert put(announced, content).status_code == 200
    return str(announced["input_id"])


def predict(
    api: httpx.Client, input_id: object, headers: dict[str, str] | None = None, **members: Any
) -> httpx.Response:
    """Ask for the prediction of an upload."""
    return api.post("/prediction", json={"input_id": input_id, **members}, headers=headers)


def test_what_was_uploaded_is_predicted_and_comes_back(api: httpx.Client, bucket: Bucket, digit: bytes) -> None:
    announced = announce(api, digit, filename="seven.png", user_id="anna")
    assert announced.status_code == 201
    assert announced.headers["cache-control"] == "no-store"
    assert announced.json()["method"] == "PUT"
    seconds = (datetime.fromisoformat(announced.json()["expires_at"]) - datetime.now(UTC)).total_seconds()
    assert 840 < seconds < 900
    put(announced.json(), digit)

    named: dict[str, Any] = {"metadata": {"camera": 1}, "client_request_id": "order-17"}
    answer = predict(api, announced.json()["input_id"], user_id="anna", **named)

    assert answer.status_code == 201
    record = answer.json()
    assert record["inference_id"] == "order-17"
    assert record["label"] == "7"
    assert record["input_id"] == announced.json()["input_id"]
    assert (record["filename"], record["contenttype"]) == ("seven.png", "image/png")
    assert (record["user_id"], record["metadata"]) == ("anna", {"camera": 1})
    assert api.get(f"{answer.headers['location']}/input").content == digit
    assert bucket.contents() == {f"inputs/anna/{record['input_id']}": digit}


def test_an_upload_is_measured_as_any_picture_is(api: httpx.Client, bucket: Bucket, digit: bytes, query: Query) -> None:
    assert bucket is not None
    assert predict(api, upload(api, digit)).status_code == 201
    [[measured]] = query("SELECT measured FROM predictions")
    assert measured[2:6] == [None, 28, 28, len(digit)]


def test_the_bytes_are_where_inputs_are_kept_and_there_only_once(
    api: httpx.Client, bucket: Bucket, digit: bytes, database_url: str, request: pytest.FixtureRequest
) -> None:
    predict(api, upload(api, digit))

    [[uri, content, size, sha256]] = inputs(database_url)
    in_database = "UPLOADS_BUCKET" in request.node.name
    assert (uri, content) == (
        (None, digit) if in_database else (f"s3://{BUCKET}/{next(iter(bucket.contents()))}", None)
    )
    assert (size, sha256) == (len(digit), hashlib.sha256(digit).hexdigest())


def test_what_is_uploaded_must_be_what_was_announced(api: httpx.Client, bucket: Bucket, digit: bytes) -> None:
    sha256 = hashlib.sha256(digit).hexdigest()
    headers = announce(api, digit, sha256=sha256).json()["headers"]

    assert headers["Content-Type"] == "image/png"
    assert headers["Content-Length"] == str(len(digit))
    assert "x-amz-checksum-sha256" in headers
    # moto checks no signatures: what got there nevertheless is refused when it is to be predicted.
    for members, content, wrong in (({}, digit + b"x", "bytes"), ({"sha256": sha256}, digit[:-1] + b"x", "SHA-256")):
        announced = announce(api, digit, **members).json()
        key = f"inputs/anonymous/{announced['input_id']}"
        bucket.s3.put_object(Bucket=BUCKET, Key=key, Body=content)
        answer = predict(api, announced["input_id"])
        assert answer.status_code == 422
        assert wrong in answer.json()["detail"]
        assert answer.json()["errors"][0]["pointer"] == "/input_id"


def test_what_was_uploaded_cannot_be_replaced(api: httpx.Client, bucket: Bucket, digit: bytes) -> None:
    announced = announce(api, digit).json()
    assert put(announced, digit).status_code == 200

    assert put(announced, digit[:-1] + b"x").status_code == 412

    assert list(bucket.contents().values()) == [digit]


def test_before_it_is_uploaded_it_cannot_be_predicted(
    api: httpx.Client, bucket: Bucket, digit: bytes, database_url: str
) -> None:
    assert bucket is not None
    announced = announce(api, digit).json()

    answer = predict(api, announced["input_id"])

    assert answer.status_code == 422
    assert "not there yet" in answer.json()["detail"]
    assert predictions(database_url) == 0
    put(announced, digit)
    assert predict(api, announced["input_id"]).status_code == 201


def test_somebody_elses_upload_is_an_unknown_one(api: httpx.Client, bucket: Bucket, digit: bytes) -> None:
    assert bucket is not None
    input_id = upload(api, digit, user_id="anna")

    theirs, nobodys = predict(api, input_id, user_id="bob"), predict(api, UNKNOWN, user_id="bob")

    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.content == nobodys.content
    assert "upload" in theirs.json()["detail"]
    assert predict(api, input_id).status_code == 404
    assert predict(api, input_id, user_id="anna").status_code == 201


def test_with_an_authorizer_an_upload_is_the_tokens_users(
    environment: pytest.MonkeyPatch, bucket: Bucket, digit: bytes
) -> None:
    assert bucket is not None
    environment.setenv("AUTH", "on")
    anna, bob, nobody = (
        httpx.Client(transport=EventTransport(user), base_url="https://api.example") for user in ("anna", "bob", None)
    )

    input_id = upload(anna, digit)

    assert predict(bob, input_id).status_code == 404
    assert announce(bob, digit, user_id="anna").status_code == 403
    assert announce(nobody, digit).status_code == 401
    assert predict(anna, input_id).json()["user_id"] == "anna"


def test_an_upload_is_predicted_as_often_as_one_likes(
    api: httpx.Client, bucket: Bucket, digit: bytes, database_url: str
) -> None:
    input_id = upload(api, digit)

    first, second = predict(api, input_id).json(), predict(api, input_id).json()

    assert first["prediction_id"] != second["prediction_id"]
    assert first["input_id"] == second["input_id"] == input_id
    assert predictions(database_url) == 2
    assert len(inputs(database_url)) == len(bucket.contents()) == 1
    for record in (first, second):
        assert api.get(f"/prediction/{record['prediction_id']}/input").content == digit


def test_a_prediction_that_fails_leaves_the_upload_and_those_before_as_they_were(
    api: httpx.Client, bucket: Bucket, digit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    input_id = upload(api, digit)
    first = predict(api, input_id).json()

    def away(*_: object, **__: object) -> None:
        raise LedgerUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "store", away)
        assert predict(api, input_id).status_code == 503

    assert list(bucket.contents().values()) == [digit]
    assert api.get(f"/prediction/{first['prediction_id']}/input").content == digit
    assert predict(api, input_id).status_code == 201


def test_an_upload_is_predicted_later_if_wanted(api: httpx.Client, bucket: Bucket, queue: Queue, digit: bytes) -> None:
    input_id = upload(api, digit)
    queued = predict(api, input_id, {"prefer": "respond-async"})
    assert queued.status_code == 202

    assert queue.deliver() == []

    record = api.get(queued.headers["location"]).json()
    assert (record["status"], record["label"], record["input_id"]) == ("succeeded", "7", input_id)
    assert len(bucket.contents()) == 1


def test_what_could_not_be_queued_leaves_the_upload_and_its_predictions(
    api: httpx.Client, bucket: Bucket, queue: Queue, environment: pytest.MonkeyPatch, digit: bytes, database_url: str
) -> None:
    input_id = upload(api, digit)
    first = predict(api, input_id).json()
    environment.setenv("QUEUE_URL", f"{queue.url}-of-yesterday")
    forget_environment()

    assert predict(api, input_id, {"prefer": "respond-async"}).status_code == 503

    assert predictions(database_url) == 1
    assert list(bucket.contents().values()) == [digit]
    assert api.get(f"/prediction/{first['prediction_id']}/input").content == digit


def test_a_key_stores_one_prediction_of_an_upload(
    api: httpx.Client, bucket: Bucket, digit: bytes, database_url: str
) -> None:
    input_id, other = upload(api, digit), upload(api, digit)
    key = {"idempotency-key": "key 1"}

    first, again = predict(api, input_id, key), predict(api, input_id, key)
    another = predict(api, other, key)

    assert (first.status_code, again.content) == (201, first.content)
    assert another.status_code == 422
    assert predictions(database_url) == 1
    assert len(bucket.contents()) == 2


def test_an_upload_that_is_no_image_is_refused_as_any_is(
    api: httpx.Client, bucket: Bucket, digit: bytes, database_url: str
) -> None:
    assert bucket is not None
    answer = predict(api, upload(api, digit[:-30]))

    assert answer.status_code == 400
    assert inputs(database_url) == []


def test_a_large_input_comes_back_wherever_it_is_kept(
    api: httpx.Client, bucket: Bucket, digit: bytes, request: pytest.FixtureRequest
) -> None:
    large = digit + bytes(8_000_000)  # what comes after a PNG's end is no part of the picture
    answer = predict(api, upload(api, large))
    if "UPLOADS_BUCKET" in request.node.name:
        # It has been copied, and may be gone from there, as all is that moto's server held.
        bucket.s3.delete_object(Bucket=BUCKET, Key=next(iter(bucket.contents())))

    record = api.get(answer.headers["location"]).json()
    redirect = api.get(record["input_url"])

    assert "image" not in record
    assert redirect.status_code == 307
    got = requests.get(redirect.headers["location"], timeout=30)
    assert (got.content, got.headers["content-type"]) == (large, "image/png")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b'{"contenttype": "image/png", "size": 1', 400, "not JSON"),
        (b"\xff", 400, "not UTF-8"),
        (b"[]", 422, "object"),
        (b'{"contenttype": "image/png", "size": 1, "colour": 1}', 422, "colour"),
        (b'{"size": 1}', 422, "contenttype"),
        (b'{"contenttype": 1, "size": 1}', 422, "contenttype"),
        (b'{"contenttype": "text/plain", "size": 1}', 415, "image/jpeg"),
        (b'{"contenttype": "image/png"}', 422, "size"),
        (b'{"contenttype": "image/png", "size": 0}', 422, "greater than 0"),
        (b'{"contenttype": "image/png", "size": 1, "size": 2}', 400, "the member 'size' twice"),
        (b'{"contenttype": "image/png", "size": true}', 422, "size"),
        (b'{"contenttype": "image/png", "size": 1.5}', 422, "size"),
        (b'{"contenttype": "image/png", "size": 20000001}', 413, "20000000"),
        (b'{"contenttype": "image/png", "size": 1, "sha256": "00"}', 422, "64 hexadecimal"),
        (b'{"contenttype": "image/png", "size": 1, "sha256": 5}', 422, "64 hexadecimal"),
        (b'{"contenttype": "image/png", "size": 1, "filename": ""}', 422, "filename"),
        (b'{"contenttype": "image/png", "size": 1, "user_id": "a\\nb"}', 422, "user_id"),
    ],
)
@pytest.mark.parametrize("bucket", ["UPLOADS_BUCKET"], indirect=True)
def test_an_announcement_that_is_wrong_is_told_so(
    api: httpx.Client, bucket: Bucket, body: bytes, status: int, said: str
) -> None:
    assert bucket is not None
    answer = api.post("/upload/", content=body, headers={"content-type": "application/json"})

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]


@pytest.mark.parametrize("bucket", ["UPLOADS_BUCKET"], indirect=True)
def test_an_image_itself_is_not_for_here(api: httpx.Client, bucket: Bucket, digit: bytes) -> None:
    assert bucket is not None
    answer = api.post("/upload", content=digit, headers={"content-type": "image/png"})

    assert answer.status_code == 415
    assert answer.headers["accept-post"] == "application/json"
    assert api.get("/upload").status_code == 405


@pytest.mark.parametrize("bucket", ["UPLOADS_BUCKET"], indirect=True)
def test_an_input_id_that_is_none_is_told_so(api: httpx.Client, bucket: Bucket, digit: bytes) -> None:
    assert bucket is not None
    wrong: Any
    for wrong in ("7", 7, [], {}):
        answer = predict(api, wrong)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/input_id"
    both = predict(api, upload(api, digit), image="data:,")
    assert both.status_code == 422
    assert "'image'" in both.json()["detail"]


def test_without_a_bucket_there_are_no_uploads(api: httpx.Client) -> None:
    answer = announce(api, b"1")

    assert answer.status_code == 404
    assert "Uploads are off" in answer.json()["detail"]
    assert predict(api, UNKNOWN).status_code == 404


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("name", ["user_id", "filename", "sha256"])
def test_what_is_announced_in_the_query_is_not_lost_but_refused(
    api: httpx.Client, digit: bytes, query: Query, name: str
) -> None:
    answer = api.post(f"/upload?{name}=bob", json={"contenttype": "image/png", "size": len(digit)})
    assert answer.status_code == 422
    assert "is not read from the query: send it in the body" in answer.text
    assert query("SELECT count(*) FROM uploads") == [[0]]


@pytest.mark.parametrize("bucket", ["UPLOADS_BUCKET"], indirect=True)
def test_without_the_database_nothing_is_announced(
    api: httpx.Client, bucket: Bucket, environment: pytest.MonkeyPatch, digit: bytes
) -> None:
    assert bucket is not None
    environment.setenv("DATABASE_URL", "postgresql://anna@127.0.0.1:1/ledger")

    assert announce(api, digit).status_code == 503


@pytest.mark.parametrize("bucket", ["UPLOADS_BUCKET"], indirect=True)
def test_a_model_that_takes_features_takes_no_uploads(
    api: httpx.Client, bucket: Bucket, environment: pytest.MonkeyPatch, digit: bytes
) -> None:
    assert bucket is not None
    environment.setenv("MODEL", str(ROOT / "model_artifacts" / "diabetes"))

    answer = announce(api, digit)

    assert answer.status_code == 415
    assert answer.headers["content-type"] == "application/problem+json"
    assert "takes no images" in answer.json()["detail"]


@pytest.mark.of_lambda
@pytest.mark.parametrize("bucket", ["UPLOADS_BUCKET"], indirect=True)
def test_nothing_is_announced_for_a_model_that_cannot_be_read(
    api: httpx.Client, bucket: Bucket, environment: pytest.MonkeyPatch, digit: bytes, tmp_path: Path
) -> None:
    assert bucket is not None
    environment.setenv("MODEL", str(tmp_path))

    answer = announce(api, digit)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "The model cannot be read" in answer.json()["detail"]
    shutil.copytree(ROOT / "model_artifacts" / "mnist", tmp_path, dirs_exist_ok=True)
    assert announce(api, digit).status_code == 201


@pytest.mark.parametrize("declared", ["image/jpg", "image/png", "IMAGE/PJPEG", "application/octet-stream"])
def test_an_upload_is_what_its_bytes_are(
    api: httpx.Client, bucket: Bucket, environment: pytest.MonkeyPatch, digit: bytes, declared: str
) -> None:
    assert bucket is not None
    environment.setattr("functions.get_prediction.stored_input.LARGEST_UNLENT", 1)
    file = io.BytesIO()
    Image.open(io.BytesIO(digit)).save(file, "JPEG")
    content = file.getvalue()
    input_id = upload(api, content, contenttype=declared)

    answer = predict(api, input_id)

    assert answer.status_code == 201
    record = answer.json()
    assert (record["contenttype"], record["declared_contenttype"]) == ("image/jpeg", declared.lower())
    assert api.get("/predictions").json()["predictions"] == [record]
    redirect = api.get(f"/prediction/{record['prediction_id']}/input")
    assert redirect.status_code == 307
    sent = requests.get(redirect.headers["location"], timeout=30)
    assert (sent.headers["content-type"], sent.content == content) == ("image/jpeg", True)


def test_an_announcement_may_be_compressed(api: httpx.Client, bucket: Bucket) -> None:
    assert bucket is not None
    body = gzip.compress(b'{"contenttype": "image/png", "size": 1}')
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert api.post("/upload", content=body, headers=headers).status_code == 201
    bomb = gzip.compress(bytes(50_000_000))
    assert api.post("/upload", content=bomb, headers=headers).status_code == 413
    refused = api.post("/upload", content=body, headers=headers | {"content-encoding": "br"})
    assert refused.status_code == 415
    assert "br" in refused.json()["detail"]


def test_an_optional_member_may_be_null_and_an_unknown_one_may_not(
    api: httpx.Client, bucket: Bucket, digit: bytes
) -> None:
    assert bucket is not None
    assert announce(api, digit, filename=None, sha256=None, user_id=None).status_code == 201
    refused = announce(api, digit, filname=None)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/filname"
