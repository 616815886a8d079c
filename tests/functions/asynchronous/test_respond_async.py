"""`Prefer: respond-async`: the input is stored, its id is sent to the queue, and a worker predicts it."""

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from struct import pack
from tempfile import TemporaryDirectory
from zlib import crc32

import httpx
import pytest

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import PredictionFilter
from functions.shared.queue import predictions
from tests.support.database_proxy import Proxy
from tests.support.hostile_images import progressive_jpeg
from tests.support.prediction_queue import Queue, listed, predict, work
from tests.support.repository import ROOT

OUTCOME = ("prediction", "likely_class", "label", "confidence", "predicted_value", "model")


def rows(database_url: str) -> list[list[int]]:
    """Return how many rows each table has that a request can leave something in."""
    connection = Connection(parse_database_url(database_url), longest=60)
    tables = ("predictions", "inputs", "idempotency_keys")
    counts = [connection.run(f"SELECT count(*) FROM {table}", {})[0] for table in tables]
    connection.close()
    return counts


NOTHING = [[0], [0], [0]]


class Endpoint:
    """Stands where the queue should be: something happens when a message comes, and the connection is closed."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self._happens = happens
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "Endpoint":
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                self._happens()


def header_of_a_png(width: int, height: int) -> bytes:
    """Return the beginning of a grey PNG file of a size."""
    header = b"IHDR" + pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + pack(">I", 13) + header + pack(">I", crc32(header)) + pack(">I", 64) + b"IDAT\0\0"


def test_the_answer_says_where_to_look_and_the_input_is_stored(api: httpx.Client, queue: Queue, digit: bytes) -> None:
    answer = predict(api, digit)

    assert answer.status_code == 202
    prediction_id = answer.json()["prediction_id"]
    assert answer.json() == {"prediction_id": prediction_id, "status": "queued"}
    assert answer.headers["location"] == f"/prediction/{prediction_id}"
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.headers["content-type"] == "application/json"
    record = api.get(answer.headers["location"]).json()
    assert record.pop("image").startswith("data:image/png;base64,")
    assert set(record) == {
        *("prediction_id", "input_id", "filename", "contenttype", "user_id", "metadata", "status", "created_at")
    }
    assert (record["status"], record["user_id"], record["metadata"]) == ("queued", "anna", {"b": 1, "a": [0.1, None]})
    assert api.get(f"/prediction/{prediction_id}/input").content == digit
    assert api.get("/predictions").json()["predictions"] == [record]
    assert queue.bodies() == [prediction_id]


def test_a_worker_makes_it_what_it_would_have_been_at_once(api: httpx.Client, queue: Queue, digit: bytes) -> None:
    at_once = predict(api, digit, prefer=None).json()
    later = predict(api, digit).json()["prediction_id"]

    assert queue.deliver() == []

    record = api.get(f"/prediction/{later}").json()
    assert record["status"] == "succeeded"
    assert "error" not in record
    assert {name: record[name] for name in OUTCOME} == {name: at_once[name] for name in OUTCOME}
    assert set(record) - {"image", "queue_ms"} == set(at_once)
    assert min(record[name] for name in ("duration_ms", "decode_ms", "inference_ms")) > 0
    assert record["queue_ms"] >= 0
    assert queue.receive() == []


def test_the_callers_own_id_is_kept_while_it_waits_and_after(api: httpx.Client, queue: Queue, digit: bytes) -> None:
    headers = {"content-type": "image/png", "prefer": "respond-async"}
    made = api.post("/prediction?inference_id=order-17", content=digit, headers=headers).json()["prediction_id"]

    for status in ("queued", "succeeded"):
        [found] = api.get("/predictions?inference_id=order-17").json()["predictions"]
        assert (found["prediction_id"], found["status"], found["inference_id"]) == (made, status, "order-17")
        assert api.get(f"/predictions?status={status}").json()["predictions"] == [found]
        queue.deliver()


def test_what_the_input_was_declared_to_be_is_kept_while_it_waits(
    api: httpx.Client, queue: Queue, digit: bytes
) -> None:
    headers = {"prefer": "respond-async", "content-type": "image/pjpeg"}
    path = api.post("/prediction", content=digit, headers=headers).headers["location"]
    waiting = api.get(path).json()
    queue.deliver()
    made = api.get(path).json()
    for record in (waiting, made):
        assert (record["contenttype"], record["declared_contenttype"]) == ("image/png", "image/pjpeg")
    assert (waiting["status"], made["status"], made["label"]) == ("queued", "succeeded", "7")


@pytest.mark.parametrize(
    "prefer",
    [
        "respond-async",
        "Respond-Async",
        "respond-async, wait=10",
        'handling="a, b; c", ,respond-async;x="y"',
        "return=minimal ,  respond-async ; foo",
        'respond-async=""',
    ],
)
def test_the_preference_is_read_as_the_rfc_writes_it(
    api: httpx.Client, queue: Queue, digit: bytes, prefer: str
) -> None:
    assert predict(api, digit, prefer=prefer).status_code == 202
    assert len(queue.receive()) == 1


def test_the_preference_may_be_in_any_of_several_headers(api: httpx.Client, queue: Queue, digit: bytes) -> None:
    headers = [("content-type", "image/png"), ("prefer", "wait=10"), ("prefer", "respond-async")]

    assert api.post("/prediction", content=digit, headers=headers).status_code == 202
    assert len(queue.receive()) == 1


def test_an_image_that_would_hold_up_the_worker_is_refused_before_it_is_queued(api: httpx.Client, queue: Queue) -> None:
    answer = predict(api, progressive_jpeg(5000, 3000))
    assert answer.status_code == 413
    assert "at most 100000000 are decoded" in answer.json()["detail"]
    assert queue.receive() == []
    assert listed(api) == []


@pytest.mark.parametrize(
    "prefer", ["", "wait=10", 'x="a, respond-async, b"', "respond-asynchronously", "a;respond-async"]
)
def test_other_preferences_change_nothing(api: httpx.Client, queue: Queue, digit: bytes, prefer: str) -> None:
    answer = predict(api, digit, prefer=prefer)

    assert answer.status_code == 201
    assert "preference-applied" not in answer.headers
    assert queue.receive() == []


def test_where_there_is_no_queue_the_preference_is_not_met(api: httpx.Client, digit: bytes) -> None:
    answer = predict(api, digit)

    assert answer.status_code == 201
    assert answer.json()["status"] == "succeeded"
    assert "preference-applied" not in answer.headers


def test_a_batch_is_predicted_at_once_all_the_same(api: httpx.Client, queue: Queue, digit: bytes) -> None:
    files = [("file", ("seven.png", digit, "image/png"))] * 2

    answer = api.post("/predictions", files=files, headers={"prefer": "respond-async"})

    assert answer.status_code == 201
    assert "preference-applied" not in answer.headers
    assert queue.receive() == []


def test_features_are_kept_to_the_letter_and_predicted_later(
    api: httpx.Client, queue: Queue, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("MODEL", str(ROOT / "model_artifacts" / "diabetes"))
    body = (ROOT / "local" / "samples" / "diabetes.json").read_bytes()
    headers = {"content-type": "application/json"}
    at_once = api.post("/prediction", content=body, headers=headers).json()
    later = api.post("/prediction", content=body, headers={**headers, "prefer": "respond-async"})

    queue.deliver()

    assert later.status_code == 202
    record = api.get(later.headers["location"]).json()
    assert record["prediction"] == at_once["prediction"]
    assert record["predicted_value"] == at_once["predicted_value"]
    assert record["features"] == api.get(f"/prediction/{at_once['prediction_id']}").json()["features"]


# --- what is refused at once -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (b"this is text", 400, "no image"),
        (b"", 400, "empty"),
        (header_of_a_png(8000, 7000), 413, "56000000 pixels"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", 400, "header"),
    ],
    ids=["text", "empty", "too large", "cut off"],
)
def test_what_the_first_bytes_tell_is_refused_at_once(
    api: httpx.Client, queue: Queue, database_url: str, content: bytes, status: int, says: str
) -> None:
    answer = predict(api, content)

    assert answer.status_code == status
    assert says in answer.json()["detail"]
    assert rows(database_url) == NOTHING
    assert queue.receive() == []


def test_wrong_features_are_refused_at_once(
    api: httpx.Client, queue: Queue, environment: pytest.MonkeyPatch, database_url: str
) -> None:
    environment.setenv("MODEL", str(ROOT / "model_artifacts" / "diabetes"))

    answer = api.post("/prediction", json={"features": [1, "two"]}, headers={"prefer": "respond-async"})

    assert answer.status_code == 422
    assert rows(database_url) == NOTHING
    assert queue.receive() == []


def test_somebody_elses_queued_record_is_an_unknown_one(api: httpx.Client, queue: Queue, digit: bytes) -> None:
    predict(api, digit)

    assert api.get("/predictions?user_id=bob").json()["predictions"] == []
    assert len(api.get("/predictions?user_id=anna").json()["predictions"]) == 1
    assert len(queue.receive()) == 1


# --- the same request again ------------------------------------------------------------------------------------------


def test_the_same_key_gets_the_same_answer_and_nothing_is_sent_twice(
    api: httpx.Client, queue: Queue, digit: bytes
) -> None:
    first = predict(api, digit, key="key 1")
    while_queued = predict(api, digit, key="key 1")
    messages = queue.receive()
    assert work(messages) == []
    when_predicted = predict(api, digit, key="key 1")

    assert len(messages) == 1
    assert "idempotency-replayed" not in first.headers
    for again in (while_queued, when_predicted):
        assert (again.status_code, again.content) == (202, first.content)
        assert again.headers["location"] == first.headers["location"]
        assert again.headers["preference-applied"] == "respond-async"
        assert again.headers["idempotency-replayed"] == "true"
    assert queue.receive() == []
    assert len(listed(api)) == 1


@pytest.mark.parametrize(("before", "after", "status"), [(None, "respond-async", 201), ("respond-async", None, 202)])
def test_a_key_answers_as_it_did_the_first_time_whatever_is_preferred_now(
    api: httpx.Client, queue: Queue, digit: bytes, before: str | None, after: str | None, status: int
) -> None:
    first = predict(api, digit, prefer=before, key="key 1")
    again = predict(api, digit, prefer=after, key="key 1")

    assert first.status_code == again.status_code == status
    assert again.content == first.content
    assert again.headers.get("preference-applied") == first.headers.get("preference-applied")
    assert again.headers["idempotency-replayed"] == "true"
    assert len(listed(api)) == 1
    assert len(queue.receive()) == (status == 202)


def test_another_input_under_the_same_key_is_refused(api: httpx.Client, queue: Queue, digit: bytes) -> None:
    predict(api, digit, key="key 1")

    assert predict(api, digit + b"\0", key="key 1").status_code == 422
    assert len(queue.receive()) == 1


def test_of_copies_that_race_each_other_one_is_stored_and_sent_and_all_get_it(
    api: httpx.Client, queue: Queue, digit: bytes
) -> None:
    predict(api, digit)
    queue.receive()

    with ThreadPoolExecutor(4) as threads:
        for number in range(10):
            copies = [threads.submit(predict, api, digit, key=f"key {number}") for _ in range(4)]
            answers = [copy.result() for copy in copies]
            assert {answer.status_code for answer in answers} == {202}
            assert len({answer.content for answer in answers}) == 1
            assert sorted("idempotency-replayed" in answer.headers for answer in answers) == [False, True, True, True]
            assert queue.bodies() == [answers[0].json()["prediction_id"]]
    assert len(listed(api)) == 11


# --- a queue that does not take it -----------------------------------------------------------------------------------


def test_a_queue_that_is_not_there_leaves_nothing_behind(
    api: httpx.Client, queue: Queue, credentials: pytest.MonkeyPatch, digit: bytes, database_url: str
) -> None:
    credentials.setenv("QUEUE_URL", f"{queue.url}-of-yesterday")

    for key in (None, "key 1"):
        answer = predict(api, digit, key=key)

        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) > 0
        assert "nothing was stored" in answer.json()["detail"]
        assert rows(database_url) == NOTHING


def test_a_key_is_free_again_once_its_request_was_refused(
    api: httpx.Client, queue: Queue, credentials: pytest.MonkeyPatch, digit: bytes, forget: Callable[[], None]
) -> None:
    credentials.setenv("QUEUE_URL", f"{queue.url}-of-yesterday")
    assert predict(api, digit, key="key 1").status_code == 503
    forget()
    credentials.setenv("QUEUE_URL", queue.url)

    answer = predict(api, digit, key="key 1")

    assert answer.status_code == 202
    assert "idempotency-replayed" not in answer.headers
    assert queue.bodies() == [answer.json()["prediction_id"]]


@pytest.fixture
def closed_port() -> str:
    """An address that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_queue_that_cannot_be_reached_leaves_nothing_behind(
    api: httpx.Client, credentials: pytest.MonkeyPatch, closed_port: str, digit: bytes, database_url: str
) -> None:
    credentials.setenv("QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/123456789012/predictions")
    credentials.setenv("AWS_ENDPOINT_URL_SQS", closed_port)

    for key in (None, "key 1"):
        assert predict(api, digit, key=key).status_code == 503
        assert rows(database_url) == NOTHING
    assert predict(api, digit, prefer=None).status_code == 201


def test_a_queue_that_never_answers_leaves_nothing_behind(
    api: httpx.Client, credentials: pytest.MonkeyPatch, digit: bytes, database_url: str
) -> None:
    credentials.setenv("QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/123456789012/predictions")
    credentials.setattr(predictions, "READ_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        credentials.setenv("AWS_ENDPOINT_URL_SQS", f"http://127.0.0.1:{silent.getsockname()[1]}")

        began = time.monotonic()
        answer = predict(api, digit, key="key 1")

    assert answer.status_code == 503
    assert time.monotonic() - began < 20
    assert rows(database_url) == NOTHING


def test_what_another_request_was_told_of_stays_although_it_could_not_be_sent(
    api: httpx.Client, credentials: pytest.MonkeyPatch, digit: bytes, database_url: str
) -> None:
    told: list[httpx.Response] = []

    with Endpoint(lambda: told.append(predict(api, digit, key="key 1"))) as endpoint:
        credentials.setenv("QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/123456789012/predictions")
        credentials.setenv("AWS_ENDPOINT_URL_SQS", endpoint.url)
        answer = predict(api, digit, key="key 1")

    assert answer.status_code == 202
    assert {(other.status_code, other.content) for other in told} == {(202, answer.content)}
    assert listed(api) == [answer.json()["prediction_id"]]
    assert rows(database_url) == [[1], [1], [1]]


@pytest.mark.parametrize("key", [None, "key 1"])
def test_what_a_worker_has_nevertheless_stays(
    api: httpx.Client, credentials: pytest.MonkeyPatch, digit: bytes, database_url: str, key: str | None
) -> None:
    def take() -> None:
        ledger = Ledger.at(database_url)
        queued = ledger.list(PredictionFilter(), limit=10).records
        ledger.claim([record.prediction_id for record in queued], lease_seconds=60)
        ledger.close()

    with Endpoint(take) as endpoint:
        credentials.setenv("QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/123456789012/predictions")
        credentials.setenv("AWS_ENDPOINT_URL_SQS", endpoint.url)
        answer = predict(api, digit, key=key)

    assert answer.status_code == 202
    assert api.get(answer.headers["location"]).json()["status"] == "processing"


def test_a_record_that_cannot_be_taken_back_any_more_is_answered_as_the_committed_record_it_is(
    api: httpx.Client, credentials: pytest.MonkeyPatch, digit: bytes, database_url: str
) -> None:
    with (
        TemporaryDirectory() as folder,
        Proxy(parse_database_url(database_url), Path(folder)) as database,
        Endpoint(database.close) as queue,
    ):
        credentials.setenv("DATABASE_URL", database.url)
        credentials.setenv("QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/123456789012/predictions")
        credentials.setenv("AWS_ENDPOINT_URL_SQS", queue.url)

        answer = predict(api, digit, prefer="respond-async")

    assert answer.status_code == 202
    assert rows(database_url) == [[1], [1], [0]]
