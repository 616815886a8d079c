"""The worker: messages in, outcomes on record, and each prediction made once however often its message comes."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import numpy as np
import pytest
from PIL import Image

from functions.shared.inference.model import Model
from functions.shared.ledger.errors import LedgerUnavailableError
from functions.shared.ledger.ledger import Ledger
from functions.shared.prediction.worker_batch import LEASE_MARGIN
from functions.worker.handler import environment
from local.runtime.sqs_event import Message
from tests.support.database import Query
from tests.support.event_transport import Context
from tests.support.graphs import brittle, linear, package
from tests.support.prediction_queue import Queue, listed, predict, work
from tests.support.repository import ROOT


def message(body: str) -> Message:
    """Return a message as the queue gives it."""
    return {"MessageId": str(uuid4()), "ReceiptHandle": "-", "Body": body, "MD5OfBody": "-", "Attributes": {}}


def queued(api: httpx.Client, *contents: bytes) -> list[str]:
    """Send inputs to be predicted later, and return the predictions' ids."""
    return [predict(api, content).json()["prediction_id"] for content in contents]


def record(api: httpx.Client, prediction_id: str) -> dict[str, Any]:
    """Return the record without its input."""
    found: dict[str, Any] = api.get(f"/prediction/{prediction_id}").json()
    found.pop("image", None)
    return found


def test_a_batch_is_one_run_of_the_model(
    api: httpx.Client, queue: Queue, digit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = queued(api, *[digit] * 8)
    runs: list[int] = []
    run = Model.predict

    def counted(model: Model, instances: Any) -> Any:
        runs.append(len(instances))
        return run(model, instances)

    environment()  # which warms the model up
    monkeypatch.setattr(Model, "predict", counted)

    assert queue.deliver() == []

    assert runs == [8]
    assert {record(api, one)["status"] for one in made} == {"succeeded"}


def test_a_bad_input_fails_alone_and_says_why(api: httpx.Client, queue: Queue, digit: bytes) -> None:
    good, bad = queued(api, digit, digit[:-30])

    assert queue.deliver() == []

    assert record(api, good)["status"] == "succeeded"
    failed = record(api, bad)
    assert (failed["status"], failed["error"]) == ("failed", "the image is damaged or cut off.")
    assert not {"prediction", "label", "confidence", "predicted_value", "model", "duration_ms"} & set(failed)
    assert api.get(f"/prediction/{bad}/input").content == digit[:-30]
    assert [one["status"] for one in api.get("/predictions").json()["predictions"]] == ["failed", "succeeded"]
    assert queue.receive() == []


def test_a_worker_measures_each_and_the_ledger_how_long_it_was_in_the_queue(
    api: httpx.Client, queue: Queue, digit: bytes, query: Query
) -> None:
    first, bad, second = queued(api, digit, digit[:-30], digit)
    time.sleep(0.1)

    assert queue.deliver() == []

    found = {row[0]: row[1] for row in query("SELECT prediction_id::text, measured FROM predictions")}
    assert found.pop(bad) is None
    assert found.keys() == {first, second}
    for measured in found.values():
        decode_ms, inference_ms, queue_ms, width, height, size, brightness, contrast = measured
        assert min(decode_ms, inference_ms) > 0
        assert queue_ms >= 100
        assert (width, height, size) == (28, 28, len(digit))
        assert 0 < brightness < contrast < 1


@pytest.mark.parametrize("comes", ["before", "after"])
def test_a_ground_truth_is_compared_with_the_outcome_whichever_comes_first(
    api: httpx.Client, queue: Queue, digit: bytes, comes: str
) -> None:
    right, wrong, bad = queued(api, digit, digit, digit[:-30])

    def judge() -> None:
        for prediction_id, label in ((right, "7"), (wrong, "1"), (bad, "7")):
            answer = api.put(f"/prediction/{prediction_id}/ground_truth", json={"label": label})
            assert answer.status_code == 200

    if comes == "before":
        judge()
        assert "correct" not in record(api, right)
    assert queue.deliver() == []
    if comes == "after":
        judge()

    assert [record(api, one).get("correct") for one in (right, wrong, bad)] == [True, False, None]
    assert [record(api, one)["ground_truth"] for one in (right, wrong, bad)] == ["7", "1", "7"]


def test_an_input_that_the_model_has_no_number_for_fails_alone(
    api: httpx.Client, queue: Queue, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    roots = package(tmp_path / "roots", linear(np.eye(2, dtype=np.float32), then=["Sqrt"]), task="regression")
    environment.setenv("MODEL", str(roots))
    made = []
    for features in ([4, 9], [4, -1], [16, 25], [-1, 1]):
        answer = api.post("/prediction", json={"features": features}, headers={"prefer": "respond-async"})
        made.append(answer.json()["prediction_id"])

    assert queue.deliver() == []

    records = [record(api, prediction_id) for prediction_id in made]
    assert [one.get("prediction") for one in records] == [[2, 3], None, [4, 5], None]
    refused = api.post("/prediction", json={"features": [4, -1]})
    assert refused.status_code == 422
    assert {one["error"] for one in (records[1], records[3])} == {refused.json()["detail"]}


def test_a_message_that_comes_again_changes_nothing(api: httpx.Client, queue: Queue, digit: bytes) -> None:
    made = queued(api, digit, digit[:-30])
    messages = queue.receive()
    work(messages)
    before = [record(api, prediction_id) for prediction_id in made]

    assert work(messages) == []

    assert [record(api, prediction_id) for prediction_id in made] == before


def test_messages_that_come_to_several_workers_at_once_end_in_one_outcome(
    api: httpx.Client, queue: Queue, digit: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    made = queued(api, *[digit] * 10)
    messages = queue.receive()
    environment()  # one for all of them, since one database is what they meet in
    workers = 3
    start = threading.Barrier(workers)

    def deliver() -> list[str]:
        start.wait()
        return work(messages)

    with ThreadPoolExecutor(workers) as threads:
        again = [one for delivery in [threads.submit(deliver) for _ in range(workers)] for one in delivery.result()]

    # One is told to come back while another is at it, and finds nothing to do then.
    assert set(again) <= set(made)
    assert work([message(body) for body in again]) == []
    assert {record(api, prediction_id)["status"] for prediction_id in made} == {"succeeded"}
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    predicted = [line["prediction_id"] for line in lines if line["message"] == "predicted"]
    assert sorted(predicted) == sorted(made)


def test_two_messages_of_one_prediction_in_a_batch_are_both_done(api: httpx.Client, queue: Queue, digit: bytes) -> None:
    (made,) = queued(api, digit)

    assert work([*queue.receive(), message(made), message(made.upper())]) == []

    assert record(api, made)["status"] == "succeeded"


def test_what_a_worker_was_at_when_it_died_is_done_again_once_its_time_is_up(
    api: httpx.Client, queue: Queue, digit: bytes, database_url: str
) -> None:
    (made,) = queued(api, digit)
    messages = queue.receive()
    ledger = Ledger.at(database_url, longest=60)
    ledger.claim([UUID(record(api, made)["prediction_id"])], lease_seconds=60)
    ledger.close()

    assert work(messages) == [made]
    assert record(api, made)["status"] == "processing"
    time.sleep(LEASE_MARGIN)
    assert work(messages, Context(milliseconds=0)) == []
    assert record(api, made)["status"] == "succeeded"


def again(messages: list[Message], times: int) -> list[Message]:
    """Return messages as the queue gives them for the second time, the third, and so on."""
    return [{**one, "Attributes": {**one["Attributes"], "ApproximateReceiveCount": str(times)}} for one in messages]


def test_an_input_that_ends_its_worker_takes_no_other_with_it_once_its_message_has_come_again(
    api: httpx.Client, queue: Queue, digit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison, *innocent = queued(api, digit + b"poison", *[digit] * 4)
    messages = sorted(queue.receive(), key=lambda one: one["Body"])  # the poison first
    decode = Model.decode_image

    class WorkerEnded(BaseException):
        """What happens to a process without memory: nothing catches it."""

    def decode_or_end(model: Model, data: bytes, *rest: Any) -> Any:
        if data.endswith(b"poison"):
            raise WorkerEnded
        return decode(model, data, *rest)

    monkeypatch.setattr(Model, "decode_image", decode_or_end)
    short = Context(milliseconds=1000)
    for times in (1, 2, 3):
        with pytest.raises(WorkerEnded):
            work(again(messages, times), short)
        time.sleep(1 + LEASE_MARGIN + 0.2)  # as long as other workers believe that this one lives

    assert [record(api, one)["status"] for one in innocent] == ["succeeded"] * 4
    assert record(api, poison)["status"] == "processing"


def test_messages_that_come_for_the_first_time_are_predicted_before_those_that_come_again(
    api: httpx.Client, queue: Queue, digit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = queued(api, *[digit] * 6)
    messages = sorted(queue.receive(), key=lambda one: one["Body"])
    runs: list[int] = []
    run = Model.predict

    def counted(model: Model, instances: Any) -> Any:
        runs.append(len(instances))
        return run(model, instances)

    environment()
    monkeypatch.setattr(Model, "predict", counted)

    assert work([*again(messages[:2], 2), *messages[2:]]) == []

    assert runs == [4, 1, 1]
    assert {record(api, one)["status"] for one in made} == {"succeeded"}


def test_suspects_that_there_is_no_time_for_come_again(api: httpx.Client, queue: Queue, digit: bytes) -> None:
    queued(api, *[digit] * 3)

    assert len(work(again(queue.receive(), 2), Context(milliseconds=0))) == 2


def test_a_message_that_is_no_id_is_left_to_the_dead_letter_queue_and_harms_no_other(
    api: httpx.Client, queue: Queue, digit: bytes
) -> None:
    (made,) = queued(api, digit)
    strange = ["", "hello", '{"prediction_id": "1"}', "' OR true --", "7" * 1000]

    assert work([*map(message, strange), *queue.receive()]) == strange

    assert record(api, made)["status"] == "succeeded"


def test_a_prediction_that_was_withdrawn_has_nothing_to_be_done(api: httpx.Client) -> None:
    assert listed(api) == []
    assert work([message("019ab000-0000-7000-8000-000000000001")]) == []


def test_what_there_is_no_time_for_comes_again_and_nothing_is_lost(
    api: httpx.Client, queue: Queue, digit: bytes
) -> None:
    made = queued(api, *[digit] * 3)

    again = work(queue.receive(), Context(milliseconds=0))

    assert len(again) == 2  # a worker makes one in any case, or there would be no end of it
    assert sorted(record(api, prediction_id)["status"] for prediction_id in made) == [
        *("processing", "processing", "succeeded")
    ]


def test_an_input_for_another_model_than_is_served_by_now_fails(
    api: httpx.Client, queue: Queue, environment: pytest.MonkeyPatch, digit: bytes
) -> None:
    (made,) = queued(api, digit)
    environment.setenv("MODEL", str(ROOT / "model_artifacts" / "diabetes"))

    assert queue.deliver() == []

    assert "takes features" in record(api, made)["error"]


def test_an_input_that_the_runtime_fails_on_is_left_to_another_try_alone(
    api: httpx.Client, queue: Queue, environment: pytest.MonkeyPatch, digit: bytes, tmp_path: Path
) -> None:
    folder = package(tmp_path / "brittle", brittle(), task="classification")
    environment.setenv("MODEL", str(folder))
    black = BytesIO()
    Image.new("L", (28, 28)).save(black, "png")
    dark, bright = queued(api, black.getvalue(), digit)

    assert queue.deliver() == [bright]

    assert record(api, dark)["prediction"] == [0.25, 0.75]
    assert record(api, bright)["status"] == "processing"


def test_without_its_database_the_whole_batch_comes_again(
    api: httpx.Client, queue: Queue, environment: pytest.MonkeyPatch, digit: bytes
) -> None:
    queued(api, digit)
    environment.setenv("DATABASE_URL", "postgresql://anna@127.0.0.1:1/ledger")

    with pytest.raises(LedgerUnavailableError):
        queue.deliver()
