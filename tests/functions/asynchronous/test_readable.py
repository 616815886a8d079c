"""Whatever is accepted can be read and listed, synchronously made or not: what could not be is refused or fails."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import helper
from PIL import Image

from functions.shared.ledger import ledger as ledger_module
from tests.support.graphs import graph, package, pixels, tensor
from tests.support.prediction_queue import Queue, listed


def picture(side: int) -> bytes:
    """Return a PNG of noise."""
    noise = np.random.default_rng(side).integers(0, 256, (side, side), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def send(api: httpx.Client, image: bytes, metadata: object = None, *, prefer: str = "") -> httpx.Response:
    """Send an image."""
    data = {} if metadata is None else {"metadata": json.dumps(metadata)}
    return api.post("/prediction", files={"file": ("a.png", image)}, data=data, headers={"prefer": prefer})


def read(api: httpx.Client, prediction_id: str) -> dict[str, Any]:
    """Read a record, and see that it is on the list as well."""
    answer = api.get(f"/prediction/{prediction_id}")
    assert answer.status_code == 200
    assert len(answer.content) <= 6_000_000
    assert prediction_id in listed(api)
    record: dict[str, Any] = answer.json()
    return record


def nested(levels: int) -> dict[str, object]:
    """Return an object with lists in it: so many levels."""
    value: object = 1
    for _ in range(levels - 1):
        value = [value]
    return {"a": value}


@pytest.mark.parametrize("prefer", ["", "respond-async"])
@pytest.mark.parametrize("levels", [33, 255, 900])
def test_metadata_too_deep_to_be_read_back_is_refused(
    api: httpx.Client, queue: Queue, digit: bytes, prefer: str, levels: int
) -> None:
    assert queue is not None
    answer = send(api, digit, nested(levels), prefer=prefer)

    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"pointer": "/metadata", "detail": "metadata must be at most 32 objects and lists deep"}
    ]
    assert listed(api) == []


@pytest.mark.parametrize("prefer", ["", "respond-async"])
def test_metadata_as_deep_as_is_taken_is_read_back(api: httpx.Client, queue: Queue, digit: bytes, prefer: str) -> None:
    made = send(api, digit, nested(32), prefer=prefer).json()["prediction_id"]
    queue.deliver()

    assert read(api, made)["metadata"] == nested(32)


@pytest.fixture
def large_outputs(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A model whose output is as large as its image."""
    folder = package(tmp_path, pixels(["batch", 1, "height", "width"]), task="regression")
    environment.setenv("MODEL", str(folder))
    environment.setenv("MAX_IMAGE_PIXELS", "50000000")


def plain(side: int) -> bytes:
    """Return a black PNG."""
    file = BytesIO()
    Image.new("L", (side, side)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.usefixtures("large_outputs")
def test_an_output_that_cannot_be_stored_is_refused(api: httpx.Client, queue: Queue) -> None:
    assert queue is not None
    answer = send(api, plain(2900))

    assert answer.status_code == 413
    assert "at most 33554432" in answer.json()["detail"]
    assert listed(api) == []


@pytest.mark.usefixtures("large_outputs")
def test_a_queued_prediction_with_such_an_output_fails_alone(api: httpx.Client, queue: Queue) -> None:
    small, large = (send(api, plain(side), prefer="respond-async").json()["prediction_id"] for side in (9, 2900))

    assert queue.deliver() == []

    assert read(api, small)["status"] == "succeeded"
    assert read(api, large)["status"] == "failed"
    assert "at most 33554432" in read(api, large)["error"]


@pytest.mark.usefixtures("large_outputs")
def test_an_image_that_does_not_fit_beside_the_output_is_a_reference(
    environment: pytest.MonkeyPatch, api: httpx.Client, queue: Queue
) -> None:
    assert queue is not None
    environment.setenv("MAX_INLINE_BYTES", "4000000")
    image = picture(199) + bytes(3_600_000)  # what comes after a PNG's end is no part of the picture
    made = send(api, image).json()["prediction_id"]

    record = read(api, made)

    assert "image" not in record
    assert api.get(record["input_url"]).content == image


def test_a_label_too_long_to_be_indexed_is_refused(
    environment: pytest.MonkeyPatch, api: httpx.Client, queue: Queue, tmp_path: Path
) -> None:
    # A text classifier of one word: its label is the word.
    node = helper.make_node("Identity", ["word"], ["label"])
    model = graph([node], [tensor("word", "string", [None, 1])], [tensor("label", "string", [None, 1])])
    environment.setenv("MODEL", str(package(tmp_path, model, task="classification")))
    queued = {"prefer": "respond-async"}

    refused = api.post("/prediction", json={"features": ["x" * 6000]})
    later = api.post("/prediction", json={"features": ["x" * 6000]}, headers=queued).json()["prediction_id"]
    neighbour = api.post("/prediction", json={"features": ["x" * 255]}, headers=queued).json()["prediction_id"]
    assert queue.deliver() == []

    assert refused.status_code == 422
    assert "at most 255" in refused.json()["detail"]
    assert read(api, later)["status"] == "failed"
    assert read(api, neighbour)["label"] == "x" * 255


def test_an_answer_that_the_database_refuses_fails_alone(
    api: httpx.Client, queue: Queue, digit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [send(api, digit, prefer="respond-async").json()["prediction_id"] for _ in range(3)]
    row = ledger_module._result_row

    def with_a_null_character(result: Any) -> dict[str, object]:
        return row(result) | ({"label": "\x00"} if str(result.prediction_id) == made[1] else {})

    monkeypatch.setattr(ledger_module, "_result_row", with_a_null_character)
    assert queue.deliver() == []

    first, refused, last = (read(api, one) for one in made)
    assert (first["status"], last["status"]) == ("succeeded", "succeeded")
    assert (refused["status"], refused["error"]) == ("failed", "The model's answer cannot be stored.")
