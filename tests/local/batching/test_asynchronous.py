"""`Prefer: respond-async` where the database is the queue."""

from typing import Any

import httpx
import pytest

from tests.support.batching_transport import Start
from tests.support.database import Query
from tests.support.waiting import soon

PATIENCE = 120.0  # seconds


@pytest.fixture
def client(start: Start) -> httpx.Client:
    return start(works=True)


def queue(client: httpx.Client, content: bytes, **headers: str) -> httpx.Response:
    headers = {"content-type": "image/png", "prefer": "respond-async"} | headers
    return client.post("/prediction", content=content, headers=headers)


def finished(client: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """Return the record of what was queued, once it has an outcome."""
    record: dict[str, Any] = {}

    def is_finished() -> bool:
        record.update(client.get(answer.headers["location"]).json())
        return record["status"] in ("succeeded", "failed")

    assert soon(is_finished, PATIENCE)
    return record


def test_it_is_answered_at_once_and_predicted_as_it_would_have_been(client: httpx.Client, digit: bytes) -> None:
    answer = queue(client, digit)

    assert answer.status_code == 202
    prediction_id = answer.json()["prediction_id"]
    assert answer.json() == {"prediction_id": prediction_id, "status": "queued"}
    assert answer.headers["location"] == f"/prediction/{prediction_id}"
    assert answer.headers["preference-applied"] == "respond-async"
    at_once = client.post("/prediction", content=digit, headers={"content-type": "image/png"}).json()
    assert finished(client, answer)["prediction"] == at_once["prediction"]


def test_a_repeated_request_gets_its_first_answer_and_is_queued_once(
    client: httpx.Client, digit: bytes, query: Query
) -> None:
    first, again = queue(client, digit, **{"idempotency-key": "1"}), queue(client, digit, **{"idempotency-key": "1"})
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert query("SELECT count(*) FROM predictions") == [[1]]
    assert queue(client, digit + b"!", **{"idempotency-key": "1"}).status_code == 422


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({}, b"", 400),
        ({}, b"no image", 400),
        ({"content-type": "text/plain"}, b"no image", 415),
        ({"accept": "text/html"}, None, 406),
    ],
    ids=["nothing", "no image", "text", "another answer"],
)
def test_what_is_clearly_bad_is_refused_and_leaves_nothing(
    client: httpx.Client, query: Query, digit: bytes, headers: dict[str, str], content: bytes | None, status: int
) -> None:
    answer = queue(client, digit if content is None else content, **headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert query("SELECT count(*) FROM predictions") == query("SELECT count(*) FROM inputs") == [[0]]


def test_what_only_the_worker_finds_bad_fails_and_says_why(client: httpx.Client, digit: bytes) -> None:
    record = finished(client, queue(client, digit[:-30]))
    assert (record["status"], record["error"]) == ("failed", "the image is damaged or cut off.")


def test_where_sqs_is_the_queue_the_server_sends_there_and_works_on_nothing(
    environment: pytest.MonkeyPatch, start: Start, digit: bytes, query: Query
) -> None:
    environment.setenv("QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/123456789012/predictions")
    environment.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        environment.setenv(name, "none")
    environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
    answer = queue(start(works=True), digit)
    assert answer.status_code == 503
    assert query("SELECT count(*) FROM predictions") == [[0]]
