"""Named tensors, queued: the worker predicts them together, and each succeeds or fails for itself."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.functions.test_tensors import AS_SENT, long_series
from tests.support.graphs import package
from tests.support.prediction_queue import Queue, listed
from tests.support.repository import ROOT
from tests.support.transformer import RAGGED, example, transformer

QUEUED = {"prefer": "respond-async"}


@pytest.fixture
def model(environment: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A served model that takes tensors."""
    folder = package(tmp_path / "model", transformer(), task="tensors", answer="logits", activation="softmax")
    environment.setenv("MODEL", str(folder))
    return folder


def send(api: httpx.Client, inputs: object) -> str:
    answer = api.post("/prediction", json={"inputs": inputs}, headers=QUEUED)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["prediction_id"])


def read(api: httpx.Client, prediction_id: str) -> dict[str, Any]:
    """Read a record, and see that it is on the list as well."""
    answer = api.get(f"/prediction/{prediction_id}")
    assert answer.status_code == 200
    assert prediction_id in listed(api)
    record: dict[str, Any] = answer.json()
    return record


@pytest.mark.usefixtures("model")
def test_ragged_examples_are_queued_predicted_together_and_read_back(api: httpx.Client, queue: Queue) -> None:
    made = [send(api, example(tokens)) for tokens in RAGGED]
    assert read(api, made[0])["status"] == "queued"
    assert read(api, made[0])["inputs"] == example(RAGGED[0])

    assert queue.deliver() == []

    at_once = api.post("/predictions", json={"instances": [{"inputs": example(tokens)} for tokens in RAGGED]}).json()
    for tokens, one, same in zip(RAGGED, made, at_once["predictions"], strict=True):
        record = read(api, one)
        assert (record["status"], record["inputs"]) == ("succeeded", example(tokens))
        for member in ("likely_class", "label", "predicted_value"):
            assert record[member] == same[member]
        assert record["confidence"] == pytest.approx(same["confidence"], abs=1e-5)
        assert record["prediction"]["outputs"].keys() == same["prediction"]["outputs"].keys()


@pytest.mark.usefixtures("model")
def test_what_the_model_refuses_fails_alone_and_what_is_wrong_is_not_queued(api: httpx.Client, queue: Queue) -> None:
    good, bad = send(api, example([1, 2])), send(api, example([1, 99]))
    refused = api.post("/prediction", json={"inputs": {"input_ids": [1, 2]}}, headers=QUEUED)
    assert queue.deliver() == []

    assert read(api, good)["status"] == "succeeded"
    assert (read(api, bad)["status"], read(api, bad)["error"]) == ("failed", "the model cannot take these values.")
    assert (refused.status_code, len(listed(api))) == (422, 2)


@pytest.mark.usefixtures("model")
def test_a_key_of_a_queued_request_is_replayed(api: httpx.Client, queue: Queue) -> None:
    headers = QUEUED | {"idempotency-key": "k", "content-type": "application/json"}
    first, second = (api.post("/prediction", content=f'{{"inputs": {AS_SENT}}}', headers=headers) for _ in range(2))
    assert queue.deliver() == []
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["prediction_id"] == second.json()["prediction_id"]
    assert api.get(f"/prediction/{first.json()['prediction_id']}/input").text == AS_SENT


def test_outputs_that_cannot_be_stored_fail_and_name_the_key_that_helps(
    environment: pytest.MonkeyPatch, api: httpx.Client, queue: Queue, tmp_path: Path
) -> None:
    environment.setenv("MODEL", str(package(tmp_path, long_series(), task="tensors", batched=False)))
    large, small = send(api, {"count": [2_200_000]}), send(api, {"count": [3]})

    assert queue.deliver() == []

    assert read(api, large)["status"] == "failed"
    assert "at most 33554432" in read(api, large)["error"]
    assert '"keep"' in read(api, large)["error"]
    assert read(api, small)["status"] == "succeeded"


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("other", ["mnist", "diabetes"])
def test_tensors_queued_for_a_model_that_is_no_longer_served_fail(
    environment: pytest.MonkeyPatch, api: httpx.Client, queue: Queue, other: str
) -> None:
    made = send(api, example([1, 2]))
    environment.setenv("MODEL", str(ROOT / "model_artifacts" / other))

    assert queue.deliver() == []

    takes = "image" if other == "mnist" else "features"
    assert read(api, made)["error"] == f"another model is served by now, which takes {takes}."
