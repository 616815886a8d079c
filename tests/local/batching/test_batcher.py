"""Requests that arrive together are answered together, and each as if it were alone."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import httpx
import pytest

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from local.batching import batcher
from tests.support.batching_transport import BatchingTransport, Start
from tests.support.database import Query

PATIENCE = 60.0  # seconds

Post = Callable[[httpx.Client], httpx.Response]


def image(content: bytes, **headers: str) -> Post:
    return lambda client: client.post("/prediction", content=content, headers={"content-type": "image/png", **headers})


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads to send requests from."""
    with ThreadPoolExecutor(64) as threads:
        yield threads


@pytest.fixture
def patient_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a batch wait for the callers of the last one until they are back, however long that takes."""
    monkeypatch.setattr(batcher, "_RETURN_SHARE", 1e6)
    monkeypatch.setattr(batcher, "_LONGEST_RETURN", 10 * PATIENCE)


@contextmanager
def no_commit(database_url: str) -> Iterator[None]:
    """Let no prediction be stored within the block: the batch that is at work waits for its commit."""
    connection = Connection(parse_database_url(database_url), longest=60)
    connection.run("BEGIN", {}, keep=False)
    connection.run("LOCK TABLE predictions IN EXCLUSIVE MODE", {}, keep=False)
    try:
        yield
    finally:
        connection.close()  # which ends the transaction


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def waiting_for_commit(query: Query) -> Callable[[], bool]:
    sql = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'predictions'::regclass"
    return lambda: query(sql)[0][0] > 0


def is_queued(client: httpx.Client, count: int) -> bool:
    """Tell whether so many requests wait."""
    transport = cast("BatchingTransport", client._transport)
    application: Any = transport._application
    return len(application._batcher._waiting) == count


def together(
    client: httpx.Client, threads: ThreadPoolExecutor, database_url: str, query: Query, posts: dict[str, Post]
) -> dict[str, httpx.Response]:
    """Send requests so that all are in one batch: they arrive while a batch before them waits for its commit."""
    with no_commit(database_url):
        threads.submit(posts.pop("first"), client)
        wait_until(waiting_for_commit(query))
        sent: dict[str, Future[httpx.Response]] = {}
        for name, post in posts.items():
            sent[name] = threads.submit(post, client)
            wait_until(partial(is_queued, client, len(sent)))
    return {name: answer.result(PATIENCE) for name, answer in sent.items()}


def count(query: Query) -> int:
    [[found]] = query("SELECT count(*) FROM predictions")
    return int(found)


def count_transactions(query: Query, ids: list[str]) -> int:
    """Count the transactions that some predictions were stored by."""
    [[found]] = query(
        "SELECT count(DISTINCT xmin::text) FROM predictions WHERE prediction_id::text = ANY(:ids)",
        ids="{" + ",".join(ids) + "}",
    )
    return int(found)


def test_what_arrives_while_a_batch_is_at_work_is_stored_by_one_commit(
    start: Start, threads: ThreadPoolExecutor, database_url: str, query: Query, digit: bytes
) -> None:
    client = start(batch_threads=1)
    posts = {"first": image(digit)} | {str(number): image(digit) for number in range(20)}
    answers = together(client, threads, database_url, query, posts)
    assert {answer.status_code for answer in answers.values()} == {201}
    ids = [answer.json()["prediction_id"] for answer in answers.values()]
    assert count_transactions(query, ids) == 1
    assert count(query) == 21


@pytest.mark.usefixtures("patient_batches")
def test_callers_who_were_answered_together_and_ask_again_are_answered_together(
    start: Start,
    threads: ThreadPoolExecutor,
    database_url: str,
    query: Query,
    digit: bytes,
) -> None:
    client = start(batch_threads=1)
    with no_commit(database_url):
        first = threads.submit(image(digit), client)
        wait_until(waiting_for_commit(query))
        second = threads.submit(image(digit), client)
        wait_until(partial(is_queued, client, 1))
    first.result(PATIENCE)
    assert is_queued(client, 1)  # it waits for the caller of the first
    assert threads.submit(image(digit), client).result(PATIENCE).status_code == 201
    assert second.result(PATIENCE).status_code == 201
    one = threads.submit(image(digit), client)
    wait_until(partial(is_queued, client, 1))
    other = threads.submit(image(digit), client)
    ids = [answer.result(PATIENCE).json()["prediction_id"] for answer in (one, other)]
    assert count_transactions(query, ids) == 1


@pytest.mark.usefixtures("patient_batches")
def test_a_lone_caller_who_asks_again_waits_for_nobody(start: Start, digit: bytes) -> None:
    client = start(batch_threads=1)
    assert [image(digit)(client).status_code for _ in range(3)] == [201, 201, 201]


def test_a_caller_who_does_not_come_back_is_waited_for_only_a_moment(
    start: Start, threads: ThreadPoolExecutor, database_url: str, query: Query, digit: bytes
) -> None:
    client = start(batch_threads=1)
    posts = {"first": image(digit)} | {str(number): image(digit) for number in range(3)}
    together(client, threads, database_url, query, posts)
    assert [image(digit)(client).status_code for _ in range(3)] == [201, 201, 201]


def test_a_request_is_refused_at_once_where_the_queue_has_no_room(
    start: Start, threads: ThreadPoolExecutor, database_url: str, query: Query, digit: bytes
) -> None:
    client = start(batch_threads=1, max_queued_inputs=2)
    with no_commit(database_url):
        sent = [threads.submit(image(digit), client)]
        wait_until(waiting_for_commit(query))
        for number in (1, 2):
            sent.append(threads.submit(image(digit), client))
            wait_until(partial(is_queued, client, number))
        # The body is not even looked at.
        refused = client.post("/prediction", content=b"no image", headers={"content-type": "image/png"})
        protocol = client.post("/v2/models/mnist/infer", content=b"no json")
    assert refused.status_code == protocol.status_code == 503
    assert refused.headers["retry-after"] == protocol.headers["retry-after"] == "1"
    assert refused.headers["content-type"] == "application/problem+json"
    assert "nothing was predicted or stored" in refused.json()["detail"]
    assert protocol.json() == {"error": refused.json()["detail"]}
    assert [answer.result(PATIENCE).status_code for answer in sent] == [201, 201, 201]
    assert count(query) == 3


@pytest.mark.usefixtures("patient_batches")
@pytest.mark.parametrize("batch_wait_ms", [0, 600_000])
def test_nobody_is_waited_for_whom_the_queue_has_no_room_for(
    start: Start,
    threads: ThreadPoolExecutor,
    database_url: str,
    query: Query,
    digit: bytes,
    batch_wait_ms: int,
) -> None:
    client = start(batch_threads=1, max_queued_inputs=1, batch_wait_ms=batch_wait_ms)
    with no_commit(database_url):
        first = threads.submit(image(digit), client)
        wait_until(waiting_for_commit(query))
        second = threads.submit(image(digit), client)
        wait_until(partial(is_queued, client, 1))
    assert first.result(PATIENCE).status_code == 201
    assert second.result(PATIENCE).status_code == 201


def test_a_request_whose_time_is_over_before_it_is_begun_is_not_predicted(
    start: Start, threads: ThreadPoolExecutor, database_url: str, query: Query, digit: bytes
) -> None:
    client = start(batch_threads=1, request_seconds=1)
    with no_commit(database_url):
        first = threads.submit(image(digit), client)
        wait_until(waiting_for_commit(query))
        late = threads.submit(image(digit), client).result(PATIENCE)
        assert not first.done()  # nobody had to be ready for the late one to be told
    assert late.status_code == 503
    assert late.headers["retry-after"] == "1"
    assert "did not come to this request in time" in late.json()["detail"]
    assert first.result(PATIENCE).status_code == 201
    assert count(query) == 1


def test_a_request_is_not_predicted_if_nobody_waits_for_it_any_more(
    start: Start, threads: ThreadPoolExecutor, database_url: str, query: Query, digit: bytes
) -> None:
    client = start(batch_threads=1)
    transport = cast("BatchingTransport", client._transport)
    with no_commit(database_url):
        first = threads.submit(image(digit), client)
        wait_until(waiting_for_commit(query))
        second = threads.submit(image(digit), client)
        wait_until(partial(is_queued, client, 1))
        application: Any = transport._application
        [job] = application._batcher._waiting
        job.scope["onnx_ledger.client_gone"] = True  # as the protocol notes it
    first.result(PATIENCE)
    assert second.result(PATIENCE).status_code == 503  # which nobody reads
    assert count(query) == 1


def test_what_is_at_work_when_the_server_stops_is_answered_and_stored(
    start: Start, threads: ThreadPoolExecutor, database_url: str, query: Query, digit: bytes
) -> None:
    client = start(batch_threads=1)
    with no_commit(database_url):
        sent = [threads.submit(image(digit), client)]
        wait_until(waiting_for_commit(query))
        sent.append(threads.submit(image(digit), client))
        wait_until(partial(is_queued, client, 1))
        cast("BatchingTransport", client._transport).stop()
    assert [answer.result(PATIENCE).status_code for answer in sent] == [201, 201]
    assert count(query) == 2


def test_a_batch_that_the_database_refuses_is_refused_and_the_next_one_is_stored(
    start: Start, threads: ThreadPoolExecutor, query: Query, digit: bytes
) -> None:
    client = start()
    query("ALTER TABLE predictions RENAME TO elsewhere")
    try:
        answers = list(threads.map(lambda _: image(digit)(client), range(8)))
    finally:
        query("ALTER TABLE elsewhere RENAME TO predictions")
    assert {answer.status_code for answer in answers} == {503}
    assert {"nothing was stored" in answer.json()["detail"] for answer in answers} == {True}
    assert image(digit)(client).status_code == 201
    assert count(query) == 1


def test_each_request_of_a_batch_is_answered_as_if_it_were_alone(
    start: Start, threads: ThreadPoolExecutor, database_url: str, query: Query, digit: bytes
) -> None:
    client = start(batch_threads=1)
    alone = image(digit, **{"idempotency-key": "used"})(client).json()
    form = {"file": ("seven.png", digit, "image/png")}
    posts: dict[str, Post] = {
        "first": image(digit),
        "good": image(digit),
        "no image": image(b"\x89PNG no image"),
        "key": image(digit, **{"idempotency-key": "new"}),
        "replayed": image(digit, **{"idempotency-key": "used"}),
        "conflict": image(digit + b"x", **{"idempotency-key": "used"}),
        "wrong type": lambda client: client.post("/prediction", content=b"7", headers={"content-type": "text/plain"}),
        "unacceptable": image(digit, accept="text/html"),
        "anna": lambda client: client.post("/prediction", files=form, data={"user_id": "anna"}),
        "several": lambda client: client.post("/predictions", files=[("file", form["file"])] * 3),
        "one of several is bad": lambda client: client.post(
            "/predictions", files=[("file", form["file"]), ("file", ("bad.png", b"bad", "image/png"))]
        ),
        "no such model": lambda client: client.post("/v2/models/other/infer", json={"inputs": []}),
        "no instances": lambda client: client.post("/v1/models/mnist:predict", json={"instances": []}),
    }
    answers = together(client, threads, database_url, query, posts)
    assert {name: answer.status_code for name, answer in answers.items()} == {
        "good": 201,
        "no image": 400,
        "key": 201,
        "replayed": 201,
        "conflict": 422,
        "wrong type": 415,
        "unacceptable": 406,
        "anna": 201,
        "several": 201,
        "one of several is bad": 400,
        "no such model": 404,
        "no instances": 400,
    }
    assert answers["replayed"].json() == alone
    assert answers["replayed"].headers["idempotency-replayed"] == "true"
    for name in ("good", "key", "anna"):
        record = answers[name].json()
        assert record["prediction"] == pytest.approx(alone["prediction"], abs=1e-6)
        assert record["user_id"] == ("anna" if name == "anna" else "anonymous")
        assert client.get(f"/prediction/{record['prediction_id']}/input").content == digit
    assert [one["label"] for one in answers["several"].json()["predictions"]] == ["7"] * 3
    assert count(query) == 1 + 1 + 3 + 3


def test_every_line_of_the_log_has_the_id_that_its_request_was_answered_with(
    start: Start,
    threads: ThreadPoolExecutor,
    database_url: str,
    query: Query,
    digit: bytes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = start(batch_threads=1)
    posts = {"first": image(digit)} | {str(number): image(digit) for number in range(4)}
    answers = together(client, threads, database_url, query, posts)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    logged = {line["prediction_id"]: line["function_request_id"] for line in lines if line["message"] == "predicted"}
    assert len({answer.headers["x-request-id"] for answer in answers.values()}) == 4
    for answer in answers.values():
        assert logged[answer.json()["prediction_id"]] == answer.headers["x-request-id"]


def test_a_batch_has_no_more_inputs_than_it_may_have_however_many_requests_wait(
    start: Start,
    threads: ThreadPoolExecutor,
    database_url: str,
    query: Query,
    digit: bytes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = start(batch_threads=1, max_batch_inputs=4)
    file = ("file", ("seven.png", digit, "image/png"))

    def several(inputs: int) -> Post:
        return lambda client: client.post("/predictions", files=[file] * inputs)

    inputs = [3, 1, 2, 3, 4, 1, 1]
    posts = {"first": image(digit)} | {str(number): several(one) for number, one in enumerate(inputs)}
    answers = together(client, threads, database_url, query, posts)
    assert [len(answer.json()["predictions"]) for answer in answers.values()] == inputs
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    batches = [line["batch"] for line in lines if line["message"] == "predicted"]
    assert batches == [1, *[4] * 4, *[2] * 2, *[3] * 3, *[4] * 4, *[2] * 2]
    assert count(query) == 1 + sum(inputs)
