"""Rows of the ledger with times, truths and measurements that a test chooses, for figures that are made of them."""

import json
import os
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from functions.shared.ledger.identifiers import first_id_at
from tests.support.database import Query

_MODELS = """
INSERT INTO models (model_id, name, version, sha256, labels, task, provider, settings, registered_at, served_at,
                    baseline)
SELECT model_id, name, version, decode(sha256, 'hex'), labels, task, 'CPUExecutionProvider', settings, registered_at,
       served_at, baseline
FROM json_to_recordset(:rows::json) AS r (
    model_id bigint, name text, version text, sha256 text, labels jsonb, task text, settings jsonb,
    registered_at timestamptz, served_at timestamptz, baseline jsonb)
"""

_INPUTS = """
INSERT INTO inputs (input_id, size, sha256, contenttype, features, content)
SELECT prediction_id, 1, decode(sha256, 'hex'), 'application/json', coalesce(features, '[]'), NULL
FROM json_to_recordset(:rows::json) AS r (prediction_id uuid, sha256 text, features json)
"""

_PREDICTIONS = """
INSERT INTO predictions (prediction_id, input_id, model_id, created_at, duration_ms, confidence, likely_class, status,
                         status_since, user_id, label, predicted_value, output, metadata, error, inference_id,
                         ground_truth, correct, judged_at, failure, measured)
SELECT prediction_id, prediction_id, model_id, created_at, duration_ms, confidence, likely_class, status, created_at,
       user_id, label, predicted_value, output, '{}', error, inference_id, ground_truth, correct,
       CASE WHEN ground_truth IS NOT NULL THEN now() END, failure, measured
FROM json_to_recordset(:rows::json) AS r (
    prediction_id uuid, model_id bigint, created_at timestamptz, duration_ms double precision,
    confidence double precision, likely_class integer, status text, user_id text, label text, predicted_value jsonb,
    output jsonb, error text, inference_id text, ground_truth jsonb, correct boolean, failure text, measured real[])
"""

DIGITS = 101
"""`model_id` of the classifier that `digits` describes."""

AGES = 201
"""`model_id` of the regression that `ages` describes."""


def digits(model_id: int = DIGITS, *, version: str = "1", labels: tuple[str, ...] = ("a", "b", "c")) -> dict[str, Any]:
    """Return a classifier."""
    return {
        "model_id": model_id,
        "name": "digits",
        "version": version,
        "sha256": f"{model_id:064x}",
        "labels": list(labels),
        "task": "classification",
        "settings": None,
        "registered_at": "2026-01-01T00:00:00Z",
        "served_at": "2026-01-02T00:00:00Z",
        "baseline": None,
    }


def ages(model_id: int = AGES) -> dict[str, Any]:
    """Return a regression."""
    return digits(model_id) | {
        "name": "ages",
        "labels": None,
        "task": "regression",
        "settings": {"feature_names": None},
    }


def classified(at: datetime, label: str, shares: dict[str, float], **changes: Any) -> dict[str, Any]:
    """Return the row of a classification that succeeded, with `changes`."""
    return _row(at) | {
        "model_id": DIGITS,
        "label": label,
        "likely_class": list(shares).index(label),
        "confidence": shares[label],
        "predicted_value": label,
        "output": list(shares.values()),
        **changes,
    }


def regressed(at: datetime, value: float, **changes: Any) -> dict[str, Any]:
    """Return the row of a regression that succeeded, with `changes`."""
    return _row(at) | {"model_id": AGES, "predicted_value": value, "output": [value], **changes}


def unfinished(at: datetime, status: str, **changes: Any) -> dict[str, Any]:
    """Return a row that no model has made: queued, in processing or failed."""
    row = _row(at) | {"status": status, "duration_ms": None, "measured": None}
    failed = {"error": "It could not be made.", "failure": "gave_up"} if status == "failed" else {}
    return row | failed | changes


def judged(row: dict[str, Any], truth: object) -> dict[str, Any]:
    """Return a row with a ground truth."""
    label = row["label"]
    return row | {"ground_truth": truth, "correct": None if label is None else label == truth}


def _row(at: datetime) -> dict[str, Any]:
    rest = int.from_bytes(os.urandom(8), "big") >> 2
    return {
        "prediction_id": str(UUID(int=first_id_at(at).int | rest)),
        "created_at": at.astimezone(UTC).isoformat(),
        "sha256": os.urandom(32).hex(),
        "features": None,
        "model_id": None,
        "duration_ms": 1.0,
        "confidence": None,
        "likely_class": None,
        "status": "succeeded",
        "user_id": "anonymous",
        "label": None,
        "predicted_value": None,
        "output": None,
        "error": None,
        "inference_id": None,
        "ground_truth": None,
        "correct": None,
        "failure": None,
        "measured": None,
    }


def insert(query: Query, models: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    """Store models and rows."""
    query(_MODELS, rows=json.dumps(models))
    query(_INPUTS, rows=json.dumps(rows))
    query(_PREDICTIONS, rows=json.dumps(rows))
