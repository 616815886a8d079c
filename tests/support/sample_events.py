"""The sample events of `local/events/`: each one's function, the data that it needs, and the result to expect."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import ModelIdentity, NewInput, NewPrediction, QueuedPrediction
from local.gateway.integration import Response, read_result
from local.sample_events import DELETED_ID, FOLDER, PREDICTION_ID, QUEUED_ID, USER
from local.template import Function, read_template
from tests.support.repository import DIGIT, ROOT

FUNCTIONS = {function.logical_id: function for function in read_template(ROOT / "template.yaml")}
EVENTS = {path.stem: json.loads(path.read_bytes()) for path in sorted(FOLDER.glob("*.json"))}
VARIABLES = {
    "predict_features": {"MODEL": "model_artifacts/diabetes"},
    "upload": {"UPLOADS_BUCKET": "uploads", "AWS_ACCESS_KEY_ID": "sample", "AWS_SECRET_ACCESS_KEY": "sample"},
    "sweep": {"QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/predictions"},  # nothing is sent there
}
"""Environment variables that a function needs for a sample event, besides `DATABASE_URL`."""


def function_of(name: str) -> Function:
    """Return the function of a sample event."""
    key = EVENTS[name].get("routeKey")
    if key is None:
        return FUNCTIONS[f"{name.title()}Function"]
    [function] = [one for one in FUNCTIONS.values() if any(route.key == key for route in one.routes)]
    return function


NO_REQUESTS: dict[str, dict[str, Any]] = {
    "worker": {"batchItemFailures": []},
    "sweep": {"sent": 0, "failed": 0, "deleted": 0, "expired": 0},
    "rollup": {"left": False},
}
"""What is in the results of the events that are no requests, where there is nothing to sweep."""


OTHER_STATUSES = {
    "delete_ground_truth": 204,
    "delete_prediction": 204,
    "get_deletion": 404,
    "get_output": 404,
    "infer": 200,
    "infer_version": 200,
    "post_ground_truth": 200,
    "predict_v1": 200,
    "performance": 404,  # the ledger of the samples has another model
    "drift": 404,
}
"""Statuses of the requests that are answered neither with 200 nor, a POST, with 201."""


def check_result(name: str, result: dict[str, Any]) -> Response | None:
    """Check the result of a sample event. Return the response if the event was a request."""
    event = EVENTS[name]
    if "routeKey" not in event:
        assert NO_REQUESTS[name].items() <= result.items()
        return None
    response = read_result(result)
    usual = 201 if event["requestContext"]["http"]["method"] == "POST" else 200
    assert response.status == OTHER_STATUSES.get(name, usual), response.body
    return response


def store_sample(database_url: str) -> None:
    """Store the records that the sample events ask for and delete."""
    ledger = Ledger.at(database_url, longest=60)
    model = ModelIdentity("sample", "1", "0" * 64, ("6", "7"), "classification", "CPUExecutionProvider", "{}")
    samples = [
        NewPrediction(
            prediction_id=UUID(prediction_id),
            input=NewInput(DIGIT.read_bytes(), "image/png", DIGIT.name),
            output=[0.25, 0.75],
            likely_class=1,
            label="7",
            confidence=0.75,
            predicted_value="7",
            duration_ms=0.1,
            user_id=USER,
        )
        for prediction_id in (PREDICTION_ID, DELETED_ID)
    ]
    ledger.store(model, samples)
    ledger.close()


def queue_sample(database_url: str) -> None:
    """Queue the prediction that the sample event of `worker` asks for."""
    ledger = Ledger.at(database_url, longest=60)
    digit = NewInput(DIGIT.read_bytes(), "image/png", DIGIT.name)
    ledger.enqueue(QueuedPrediction(prediction_id=UUID(QUEUED_ID), input=digit, user_id=USER))
    ledger.close()


@dataclass(frozen=True)
class Timing:
    """The seconds that a sample event took."""

    event: str
    function: str
    cold: float
    warm: list[float]
