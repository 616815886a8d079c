"""What the fuzz tests know of an API that they call: its model, and an input that the model takes."""

import json
import math
import os
from base64 import b64encode
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import boto3
import httpx

from functions.shared.ledger.deletions import DeletingLedger
from tests.support.graphs import package, passing
from tests.support.prediction_queue import Queue, work
from tests.support.repository import DIGIT, ROOT

MODELS: Final = ("mnist", "diabetes", "vectors")
"""A model that takes images, one that takes features, and one that takes tensors."""

MAX_RESPONSE_BYTES: Final = 6_000_000
"""Lambda's largest answer."""

IMAGE: Final = DIGIT.read_bytes()
DATA_URI: Final = f"data:image/png;base64,{b64encode(IMAGE).decode()}"
FEATURES: Final = json.loads((ROOT / "local" / "samples" / "diabetes.json").read_text("utf-8"))["features"]
TENSORS: Final = {"x": [0.5, -1.0, 2.25]}
INPUTS: Final[dict[str, dict[str, Any]]] = {
    "mnist": {"image": DATA_URI},
    "diabetes": {"features": FEATURES},
    "vectors": {"inputs": TENSORS},
}
"""An input that each model takes, as the members of a request."""


def model_folder(model: str, folder: Path) -> Path:
    """Return the package of a model; that of the tensors is made in a folder."""
    if model == "vectors":
        return package(folder / model, passing("float32", ["batch", 3]), task="tensors")
    return ROOT / "model_artifacts" / model


@dataclass(frozen=True)
class Served:
    """The API of a model, and its queue."""

    model: str
    api: httpx.Client
    queue: Queue

    @property
    def takes(self) -> str:
        """The member of a request's JSON that holds the input."""
        [member] = INPUTS[self.model]
        return member

    @property
    def input(self) -> dict[str, Any]:
        """An input that the model takes, as the members of a request."""
        return INPUTS[self.model]

    @property
    def version(self) -> str:
        """The model's version."""
        version: str = self.api.get("/model").raise_for_status().json()["version"]
        return version

    @property
    def tensor(self) -> dict[str, Any]:
        """An input that the model takes, as a tensor of the Open Inference Protocol."""
        [described] = self.api.get(f"/v2/models/{self.model}").raise_for_status().json()["inputs"]
        shape = [1, *described["shape"][1:]]
        tensor: dict[str, Any] = described | {"shape": shape, "data": [0.5] * math.prod(shape)}
        return tensor

    def predicted(self, **members: str) -> str:
        """Make a prediction, with other members of its request, and return its id."""
        made: str = self.api.post("/prediction", json=self.input | members).raise_for_status().json()["prediction_id"]
        return made

    def cursor(self) -> str:
        """Return the cursor of a second page."""
        for _ in range(2):
            self.predicted()
        cursor: str = self.api.get("/predictions?limit=1").raise_for_status().json()["next_cursor"]
        return cursor

    def uploaded(self, user_id: str | None) -> str:
        """Upload an image for a user, and return its id."""
        announcement = {"contenttype": "image/png", "size": len(IMAGE), "user_id": user_id}
        announced = self.api.post("/upload", json=announcement).raise_for_status().json()
        key = unquote(announced["url"].partition("?")[0].partition("/inputs/")[2])
        boto3.client("s3").put_object(Bucket="uploads", Key=f"inputs/{key}", Body=IMAGE, ContentType="image/png")
        input_id: str = announced["input_id"]
        return input_id

    def deletion(self) -> str:
        """Begin a deletion of nothing, and return its id."""
        with closing(DeletingLedger.at(os.environ["DATABASE_URL"])) as ledger:
            return str(ledger.begin_deletion(user_id="nobody", until=None, requested_by=None).deletion_id)

    def work(self) -> None:
        """Let the worker make every queued prediction."""
        while messages := self.queue.receive():
            assert work(messages) == []
            for message in messages:
                self.queue.sqs.delete_message(QueueUrl=self.queue.url, ReceiptHandle=message["ReceiptHandle"])


def check(answer: httpx.Response) -> httpx.Response:
    """See that an answer is no failure, fits, and says what was wrong in the right form if it refuses something."""
    assert answer.status_code < 500, answer.text[:500]
    assert len(answer.content) <= MAX_RESPONSE_BYTES
    if answer.status_code >= 400 and answer.url.path.startswith(("/v1/", "/v2/")):
        assert answer.headers["content-type"] == "application/json"
        assert answer.json().keys() == {"error"}
    elif answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        document = answer.json()
        assert document["status"] == answer.status_code
        assert document["detail"]
    return answer
