"""A model that takes too long for an input is ended while there is time to say so. Nothing is stored."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from moto import mock_aws

from functions.shared.inference import run_deadline
from functions.shared.inference.errors import ModelTimeoutError
from functions.shared.inference.model import Model
from functions.shared.inference.package import ModelPackage
from functions.shared.ledger.identifiers import new_id
from functions.shared.ledger.records import ClaimedPrediction, Failure, Success
from functions.shared.prediction import synchronous, worker_batch
from tests.support.database import Query
from tests.support.event_transport import Context
from tests.support.graphs import looping, package
from tests.support.prediction_queue import AWS, Queue, work

pytestmark = pytest.mark.slow  # the tests wait for runs to be ended

HOURS = [1_000_000]
SECONDS = 1.0


@pytest.fixture
def slow_model(tmp_path: Path) -> Path:
    return package(tmp_path / "slow", looping())


@pytest.fixture
def slow(slow_model: Path, environment: pytest.MonkeyPatch, api: httpx.Client) -> httpx.Client:
    """The API with that model, and a limit that a test can wait for."""
    environment.setenv("MODEL", str(slow_model))
    environment.setattr(synchronous, "RUN_SECONDS", SECONDS)
    return api


@pytest.fixture
def queue(slow: httpx.Client, environment: pytest.MonkeyPatch) -> Iterator[Queue]:
    assert slow is not None
    for name, value in AWS.items():
        environment.setenv(name, value)
    with mock_aws():
        sqs = boto3.client("sqs")
        url = sqs.create_queue(QueueName="predictions")["QueueUrl"]
        environment.setenv("QUEUE_URL", url)
        yield Queue(sqs, url)


def ask(api: httpx.Client, *features: list[int], prefer: str | None = None) -> httpx.Response:
    headers = {} if prefer is None else {"prefer": prefer}
    if len(features) == 1:
        return api.post("/prediction", json={"features": features[0]}, headers=headers)
    return api.post("/predictions", json={"instances": [{"features": one} for one in features]})


@pytest.mark.parametrize("features", [[HOURS], [[1], HOURS, [2]]])
def test_it_is_answered_503_and_nothing_is_stored(slow: httpx.Client, query: Query, features: list[list[int]]) -> None:
    assert ask(slow, [1]).status_code == 201
    answer = ask(slow, *features)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "nothing was stored" in answer.json()["detail"]
    assert "Prefer: respond-async" in answer.json()["detail"]
    assert query("SELECT count(*) FROM predictions") == [[1]]
    assert ask(slow, [1]).status_code == 201  # the environment is as good as before


def test_the_open_inference_protocol_is_told_so_too(slow: httpx.Client, query: Query) -> None:
    given = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": HOURS}
    answer = slow.post("/v2/models/slow/infer", json={"inputs": [given]})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "nothing was stored" in answer.json()["error"]
    assert query("SELECT count(*) FROM predictions") == [[0]]


def test_of_a_workers_batch_the_others_are_predicted_and_it_fails_alone(
    slow: httpx.Client, queue: Queue, environment: pytest.MonkeyPatch, query: Query
) -> None:
    environment.setattr(worker_batch, "LONG_ENOUGH", 0.5)
    paths = [ask(slow, one, prefer="respond-async").headers["location"] for one in ([1], HOURS, [2])]
    messages = queue.receive()
    context = Context(milliseconds=1500)

    again = work(messages, context)
    assert len(again) == 3  # nobody knows which of them it was
    for _ in range(3):
        messages = [{**one, "Attributes": {"ApproximateReceiveCount": "2"}} for one in messages]
        query("UPDATE predictions SET status_since = now() - interval '1 hour' WHERE status = 'processing'")
        again = work([message for message in messages if message["Body"] in again], context)
    assert again == []
    records = [slow.get(path).json() for path in paths]
    assert [record["status"] for record in records] == ["succeeded", "failed", "succeeded"]
    assert "took longer than 1 seconds" in records[1]["error"]


def claimed(*features: list[int]) -> list[ClaimedPrediction]:
    return [ClaimedPrediction(new_id(), None, str(one), None) for one in features]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model.load(ModelPackage.load(package(tmp_path_factory.mktemp("slow"), looping())))


def test_one_that_was_alone_fails_only_if_it_had_long_enough(model: Model) -> None:
    [one] = claimed(HOURS)
    assert worker_batch.outcomes_of(model, [one], 1000) == (1, [])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(worker_batch, "LONG_ENOUGH", 0.5)
        tried, [outcome] = worker_batch.outcomes_of(model, [one], 1000)
    assert tried == 1
    assert isinstance(outcome, Failure)


def test_what_there_is_no_time_to_decode_is_left_for_the_next_portion(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(*arguments: Any) -> Any:
        threading.Event().wait(0.1)
        return decode(*arguments)

    decode: Callable[..., Any] = worker_batch._decode
    monkeypatch.setattr(worker_batch, "_decode", slowly)
    waiting = iter(claimed(*([1] for _ in range(10))))
    tried, outcomes = worker_batch.outcomes_of(model, waiting, 500)
    assert 1 <= tried < 10
    assert len(outcomes) == tried
    assert all(isinstance(outcome, Success) for outcome in outcomes)
    assert len(list(waiting)) == 10 - tried


def test_each_thread_has_a_time_of_its_own(model: Model) -> None:
    ended = threading.Event()

    def run_for_hours() -> None:
        with run_deadline.limited(0.5), pytest.raises(ModelTimeoutError):
            model.predict([model.decode_features(HOURS)])
        ended.set()

    thread = threading.Thread(target=run_for_hours)
    thread.start()
    with run_deadline.limited(60):
        while not ended.wait(0.01):
            model.predict([model.decode_features([1])])
    thread.join()


def test_a_process_that_was_forked_ends_its_runs_too(model: Model) -> None:
    with run_deadline.limited(60):  # the thread that looks runs here
        child = os.fork()
        if child == 0:
            status = 1
            try:
                with run_deadline.limited(0.5):
                    model.predict([model.decode_features(HOURS)])
            except ModelTimeoutError:
                status = 0
            finally:
                os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
