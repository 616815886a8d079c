"""The view that analysts read: one row a prediction, with its model and its input."""

import hashlib
import json

import pytest

from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import NewInput, QueuedPrediction
from tests.support.database import Query
from tests.support.predictions import MODEL, PNG, prediction

COLUMNS = "SELECT attname FROM pg_attribute WHERE attrelid = 'prediction_log'::regclass AND attnum > 0 ORDER BY attnum"


def rows(query: Query) -> list[dict[str, object]]:
    """Return the view's rows, newest first."""
    columns = [name for (name,) in query(COLUMNS)]
    return [dict(zip(columns, row, strict=True)) for row in query("SELECT * FROM prediction_log ORDER BY 1 DESC")]


def test_a_predicted_image_is_one_row_with_its_model_and_what_is_known_of_its_file(
    ledger: Ledger, query: Query
) -> None:
    new = prediction(metadata={"form": 3}, user_id="anna")
    ledger.store(MODEL, [new])

    [row] = rows(query)

    assert query("SELECT name FROM models WHERE model_id = :id", id=row.pop("model_id")) == [["mnist"]]
    assert row == {
        "prediction_id": new.prediction_id,
        "created_at": new.record(MODEL).created_at,
        "user_id": "anna",
        "status": "succeeded",
        "model_name": "mnist",
        "model_version": "1",
        "task": "classification",
        "label": "7",
        "likely_class": 7,
        "confidence": 0.9642,
        "predicted_value": "7",
        "output": new.output,
        "features": None,
        "metadata": {"form": 3},
        "duration_ms": 0.41,
        "error": None,
        "contenttype": "image/png",
        "filename": "seven.png",
        "input_bytes": len(PNG),
        "input_sha256": hashlib.sha256(PNG).hexdigest(),
        "input_uri": None,
        "input_id": new.input.input_id,
        "input_form": None,
        "outputs": None,
        "declared_contenttype": None,
        "inference_id": None,
        "ground_truth": None,
        "correct": None,
        "judged_at": None,
    }


@pytest.mark.parametrize("features", ['{"bmi": 1e400, "bmi": 2}', '{"name": "\\u0000"}', "[1, [2, 3]]"])
def test_features_that_jsonb_could_not_hold_break_no_query(ledger: Ledger, query: Query, features: str) -> None:
    regression = {"output": [151.5], "predicted_value": 151.5, "likely_class": None, "label": None, "confidence": None}
    ledger.store(MODEL, [prediction(input=NewInput(None, "application/json", features=features), **regression)])

    shown = query("SELECT features::text, predicted_value::float8, label, input_bytes FROM prediction_log")

    assert shown == [[features, 151.5, None, len(features)]]


def test_a_prediction_that_is_still_to_be_made_is_a_row_without_a_model(ledger: Ledger, query: Query) -> None:
    ledger.enqueue(QueuedPrediction(NewInput(PNG, "image/png"), user_id="anna", metadata={}))

    [row] = rows(query)

    assert (row["status"], row["model_name"], row["predicted_value"]) == ("queued", None, None)
    assert row["input_bytes"] == len(PNG)


def test_inputs_are_not_read_for_a_query_that_asks_for_none_of_their_columns(query: Query) -> None:
    def tables(select: str) -> set[str]:
        [[plan]] = query(f"EXPLAIN (FORMAT json) {select} FROM prediction_log GROUP BY 1")
        return {table for table in ("predictions", "models", "inputs") if f'"{table}"' in json.dumps(plan)}

    assert tables("SELECT label, count(*)") == {"predictions"}
    assert tables("SELECT model_name, count(*)") == {"predictions", "models"}
    assert tables("SELECT contenttype, count(*)") == {"predictions", "inputs"}


def test_an_analyst_can_be_let_read_the_view_and_nothing_else(query: Query) -> None:
    query("CREATE ROLE analyst")
    try:
        query("GRANT SELECT ON prediction_log TO analyst")
        allowed = "SELECT has_table_privilege('analyst', :table, 'SELECT')"
        assert query(allowed, table="prediction_log") == [[True]]
        assert query(allowed, table="inputs") == [[False]]
        query("SET ROLE analyst")
        assert query("SELECT count(*) FROM prediction_log") == [[0]]
    finally:
        query("RESET ROLE")
        query("DROP OWNED BY analyst")
        query("DROP ROLE analyst")
