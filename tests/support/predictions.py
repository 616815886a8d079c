"""A model, an image and predictions to store in a ledger."""

from typing import Any

from functions.shared.ledger.records import ModelIdentity, NewInput, NewPrediction

MODEL = ModelIdentity(
    name="mnist",
    version="1",
    sha256="ab" * 32,
    labels=tuple("0123456789"),
    task="classification",
    provider="CPUExecutionProvider",
    settings='{"activation": "none", "rescale_factor": 0.00392156862745098}',
)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def prediction(**changes: Any) -> NewPrediction:
    """Return a prediction of a seven, with `changes`."""
    given: dict[str, Any] = {
        "input": NewInput(PNG, "image/png", "seven.png"),
        "output": [0.0004, 0.003, 0.0087, 0.0034, 0.0006, 0.0021, 0.000005, 0.9642, 0.0034, 0.0137],
        "likely_class": 7,
        "label": "7",
        "confidence": 0.9642,
        "predicted_value": "7",
        "duration_ms": 0.41,
        "user_id": "anonymous",
        "metadata": {},
    }
    return NewPrediction(**(given | changes))
