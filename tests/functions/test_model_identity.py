"""A record names the model that made it: other weights or settings are another model, whatever the file's name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from tests.support import graphs

Forget = Callable[[], None]


@pytest.fixture
def folder(tmp_path: Path, environment: pytest.MonkeyPatch) -> Path:
    """A model package as PyTorch writes one, with its weights beside the graph, which the API serves."""
    environment.setenv("MODEL", str(tmp_path / "torch"))
    (tmp_path / "torch").mkdir()
    write_weights(tmp_path / "torch", 1)
    return tmp_path / "torch"


def write_weights(folder: Path, weights: float) -> None:
    (folder / "model.onnx.data").unlink(missing_ok=True)
    onnx.save(
        graphs.linear(np.full((64, 1), weights)),
        folder / "model.onnx",
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=0,
    )


def predict(api: httpx.Client) -> dict[str, Any]:
    answer = api.post("/prediction", json={"features": [1.0] * 64})
    assert answer.status_code == 201, answer.text
    record: dict[str, Any] = answer.json()
    return record


def listed(api: httpx.Client, **wanted: str) -> list[str]:
    return [record["prediction_id"] for record in api.get("/predictions", params=wanted).json()["predictions"]]


def models(database_url: str) -> dict[str, Any]:
    """Return (model_id, sha256, settings) by prediction."""
    connection = Connection(parse_database_url(database_url), longest=60)
    rows = connection.run(
        "SELECT p.prediction_id::text, m.model_id, encode(m.sha256, 'hex'), m.settings "
        "FROM predictions p JOIN models m USING (model_id)",
        {},
    )
    connection.close()
    return {row[0]: tuple(row[1:]) for row in rows}


def test_swapped_weights_beside_the_same_graph_are_another_version_and_both_are_listed(
    api: httpx.Client, folder: Path, forget: Forget, database_url: str
) -> None:
    first = predict(api)
    graph = (folder / "model.onnx").read_bytes()
    write_weights(folder, 2)
    assert (folder / "model.onnx").read_bytes() == graph
    forget()
    second = predict(api)
    write_weights(folder, 1)
    forget()
    third = predict(api)

    assert [record["predicted_value"] for record in (first, second, third)] == [64.0, 128.0, 64.0]
    assert first["model"] == third["model"] != second["model"]
    assert first["model"]["name"] == second["model"]["name"] == "torch"
    assert listed(api, version=first["model"]["version"]) == [third["prediction_id"], first["prediction_id"]]
    assert listed(api, version=second["model"]["version"]) == [second["prediction_id"]]
    assert len(listed(api, model="torch")) == 3
    of = models(database_url)
    assert of[first["prediction_id"]] == of[third["prediction_id"]]
    assert of[first["prediction_id"]][:2] != of[second["prediction_id"]][:2]


def test_other_settings_under_the_same_explicit_version_are_two_models_listed_as_one_version(
    api: httpx.Client, folder: Path, forget: Forget, database_url: str
) -> None:
    (folder / "model.json").write_text('{"version": "1"}')
    plain = predict(api)
    (folder / "model.json").write_text('{"version": "1", "activation": "sigmoid"}')
    forget()
    squashed = predict(api)

    assert plain["model"] == squashed["model"] == {"name": "torch", "version": "1"}
    assert listed(api, version="1") == [squashed["prediction_id"], plain["prediction_id"]]
    of = models(database_url)
    assert of[plain["prediction_id"]][:2] != of[squashed["prediction_id"]][:2]
    assert [of[one["prediction_id"]][2]["activation"] for one in (plain, squashed)] == ["none", "sigmoid"]


def test_the_model_route_tells_the_digest_its_files_and_the_settings_that_are_recorded(
    api: httpx.Client, folder: Path, database_url: str
) -> None:
    told = api.get("/model").json()
    record = predict(api)
    _, sha256, settings = models(database_url)[record["prediction_id"]]
    assert (told["sha256"], told["settings"]) == (sha256, settings)
    assert told["version"] == record["model"]["version"] == sha256[:12]
    assert [(file["name"], file["size"]) for file in told["files"]] == [
        (path.name, path.stat().st_size) for path in (folder / "model.onnx", folder / "model.onnx.data")
    ]
    assert api.get("/model").json()["provider"] == "CPUExecutionProvider"


def test_a_model_without_its_weights_is_not_served(
    api: httpx.Client, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "model.onnx.data").unlink()
    assert api.get("/model").status_code == 503
    assert api.get("/health").status_code == 503
    assert api.post("/prediction", json={"features": [1.0] * 64}).status_code >= 500
    reasons = [json.loads(line).get("reason", "") for line in capfd.readouterr().out.splitlines()]
    assert any(reason.startswith("model.onnx.data: is missing: model.onnx keeps the values") for reason in reasons)


def test_the_digest_of_another_model_in_model_json_is_refused(api: httpx.Client, folder: Path, forget: Forget) -> None:
    (folder / "model.json").write_text(json.dumps({"sha256": api.get("/model").json()["sha256"]}))
    forget()
    assert predict(api)["predicted_value"] == 64.0
    write_weights(folder, 2)
    forget()
    assert api.get("/model").status_code == 503
    assert api.post("/prediction", json={"features": [1.0] * 64}).status_code >= 500
    assert len(listed(api)) == 1
