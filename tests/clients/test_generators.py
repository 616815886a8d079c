"""Clients that generators make from `/openapi.json` predict, list and get, without a hand edit."""

import fcntl
import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import httpx
import pytest
from onnx import helper

from tests.support.clients import ENVIRONMENTS, ClientPython, ServeModel, run, token_of
from tests.support.graphs import graph, package, tensor
from tests.support.local_server import LocalServer
from tests.support.repository import DIGIT, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.server]

DIGITS, DIABETES = ROOT / "model_artifacts" / "mnist", ROOT / "model_artifacts" / "diabetes"
TYPESCRIPT = Path(__file__).parent / "typescript"


@dataclass(frozen=True)
class Generated:
    """A package `generated` for Python, and the server that it calls."""

    python: Path
    folder: Path
    server: LocalServer

    def call(self, program: str, *arguments: str) -> Any:
        """Run a program that uses the package and prints JSON."""
        return json.loads(run(self.python, "-c", dedent(program), self.server.address, *arguments, cwd=self.folder))


@pytest.fixture
def generate(serve_model: ServeModel, client_python: ClientPython, tmp_path: Path) -> Any:
    """Return a function that makes a Python client of the document that a model's server serves."""

    def make(model: Path, **settings: str) -> Generated:
        python, server = client_python("generators"), serve_model(model, **settings)
        url, folder = f"{server.address}/openapi.json", tmp_path / "generated"
        command = ("generate", "--url", url, "--output-path", str(folder), "--meta", "none")
        run(python, "-m", "openapi_python_client", *command, cwd=tmp_path)
        return Generated(python, tmp_path, server)

    return make


def test_openapi_python_client_predicts_lists_and_gets_images(generate: Any) -> None:
    said = generate(DIGITS).call(
        """
        import base64, json, sys
        from datetime import date
        from pathlib import Path
        from generated import Client
        from generated.api.predictions import get_input, get_prediction, list_predictions, predict, predict_many
        from generated.models import ImageForm, ImageFormMetadata, ImageInput, ImagesForm, Prediction
        from generated.types import File

        client, image = Client(sys.argv[1]), Path(sys.argv[2])

        def file():
            return File(image.open("rb"), "seven.png", "image/png")

        def form():
            return ImageForm(file(), user_id="anna", metadata=ImageFormMetadata.from_dict({"form": 3}))

        one = predict.sync(client=client, body=form(), idempotency_key="once")
        assert isinstance(one, Prediction), one
        again = predict.sync(client=client, body=form(), idempotency_key="once")
        many = predict_many.sync(client=client, body=ImagesForm([file(), file()]))
        data_uri = "data:image/png;base64," + base64.b64encode(image.read_bytes()).decode()
        as_json = predict.sync(client=client, body=ImageInput(data_uri))
        listed = list_predictions.sync(client=client, since=one.created_at, limit=10)
        today = list_predictions.sync(client=client, since=date(2020, 1, 1), user_id="anna")
        got = get_prediction.sync(one.prediction_id, client=client)
        stored = get_input.sync_detailed(one.prediction_id, client=client)
        refused = list_predictions.sync(client=client, limit=5000)
        print(json.dumps({
            "labels": [one.label, as_json.label, *(record.label for record in many.predictions)],
            "same": again.prediction_id == one.prediction_id,
            "listed": [len(listed.predictions), len(today.predictions)],
            "got": [got.filename, got.user_id, got.metadata.to_dict(), got.image[:22]],
            "bytes": stored.content == image.read_bytes(),
            "refused": refused.detail,
        }))
        """,
        str(DIGIT),
    )
    assert said == {
        "labels": ["7", "7", "7", "7"],
        "same": True,
        "listed": [4, 1],
        "got": ["seven.png", "anna", {"form": 3}, "data:image/png;base64,"],
        "bytes": True,
        "refused": "limit: input should be less than or equal to 1000, as in limit=50.",
    }


def test_openapi_python_client_predicts_lists_and_gets_features(generate: Any) -> None:
    sample = json.loads((ROOT / "local" / "samples" / "diabetes.json").read_text("utf-8"))["features"]
    said = generate(DIABETES).call(
        """
        import json, sys
        from generated import Client
        from generated.api.predictions import get_prediction, list_predictions, predict, predict_many
        from generated.models import FeaturesInput, FeaturesInstance, Instances

        client = Client(sys.argv[1])
        body = json.loads(sys.argv[2])
        by_name = predict.sync(client=client, body=FeaturesInput.from_dict({"features": body}))
        row = predict.sync(client=client, body=FeaturesInput(list(body.values())))
        instances = [FeaturesInstance(list(body.values())) for _ in range(3)]
        many = predict_many.sync(client=client, body=Instances(instances))
        listed = list_predictions.sync(client=client)
        got = get_prediction.sync(by_name.prediction_id, client=client)
        values = [by_name.predicted_value, row.predicted_value, *(one.predicted_value for one in many.predictions)]
        print(json.dumps([len(set(values)), len(listed.predictions), got.to_dict()["features"]]))
        """,
        json.dumps(sample),
    )
    assert said == [1, 5, sample]


def test_openapi_python_client_predicts_lists_and_gets_tensors(generate: Any, tmp_path: Path) -> None:
    inputs = [tensor("tokens", "int64", ["batch", "sequence"]), tensor("weights", "float32", ["batch", 2, 2])]
    outputs = [tensor("same", "int64", ["batch", "sequence"]), tensor("weights_out", "float32", ["batch", 2, 2])]
    nodes = [helper.make_node("Identity", [i.name], [o.name]) for i, o in zip(inputs, outputs, strict=True)]
    said = generate(package(tmp_path / "pair", graph(nodes, inputs, outputs), task="tensors")).call(
        """
        import json, sys
        from generated import Client
        from generated.api.predictions import get_prediction, list_predictions, predict
        from generated.models import Tensors, TensorsInput

        client = Client(sys.argv[1])
        body = TensorsInput(Tensors(tokens=[101, 7, 102], weights=[[0.5, 1.0], [2.0, 3.0]]))
        one = predict.sync(client=client, body=body)
        got = get_prediction.sync(one.prediction_id, client=client).to_dict()
        listed = list_predictions.sync(client=client)
        print(json.dumps([got["prediction"], got["inputs"], len(listed.predictions)]))
        """
    )
    assert said[0]["outputs"]["same"] == {"shape": [3], "datatype": "INT64", "data": [101, 7, 102]}
    assert said[1:] == [{"tokens": [101, 7, 102], "weights": [[0.5, 1.0], [2.0, 3.0]]}, 1]


def test_openapi_python_client_sends_the_token_where_one_is_required(generate: Any) -> None:
    generated = generate(DIGITS, AUTH="on")
    said = generated.call(
        """
        import json, sys
        from generated import AuthenticatedClient
        from generated.api.description import get_model, health
        from generated.api.predictions import list_predictions, predict
        from generated.models import ImageForm
        from generated.types import File

        client = AuthenticatedClient(sys.argv[1], token=sys.argv[2])
        one = predict.sync(client=client, body=ImageForm(File(open(sys.argv[3], "rb"), "seven.png")))
        listed = list_predictions.sync(client=client)
        described = [get_model.sync(client=client).additional_properties["name"], health.sync(client=client).to_dict()]
        print(json.dumps([one.label, one.user_id, len(listed.predictions), *described]))
        """,
        token_of(generated.server, "anna"),
        str(DIGIT),
    )
    assert said == ["7", "anna", 1, "mnist", {"status": "ok", "model": "ok"}]


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The folder with what package-lock.json pins, installed anew when that changes."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("there is no Node.js here: openapi-typescript needs it")
    environment = ENVIRONMENTS / "typescript"
    pinned = (TYPESCRIPT / "package-lock.json").read_bytes()
    wanted, stamp = hashlib.sha256(pinned).hexdigest(), environment / "installed"
    environment.mkdir(parents=True, exist_ok=True)
    with (ENVIRONMENTS / "typescript.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.is_file() and stamp.read_text("utf-8") == wanted):
            for name in ("package.json", "package-lock.json"):
                shutil.copy(TYPESCRIPT / name, environment)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            subprocess.run(command, cwd=environment, check=True, capture_output=True, text=True)
            stamp.write_text(wanted, "utf-8")
    return environment / "node_modules"


def test_openapi_typescript_and_openapi_fetch_predict_list_and_get(
    serve_model: ServeModel, node_modules: Path, tmp_path: Path
) -> None:
    server = serve_model(DIGITS)
    for name in ("client.ts", "tsconfig.json", "package.json"):
        shutil.copy(TYPESCRIPT / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(node_modules)
    (tmp_path / "openapi.json").write_bytes(httpx.get(f"{server.address}/openapi.json").raise_for_status().content)
    programs = node_modules / ".bin"

    run(programs / "openapi-typescript", "openapi.json", "--output", "schema.d.ts", cwd=tmp_path)
    run(programs / "tsc", "--project", ".", cwd=tmp_path)
    said = json.loads(run(Path("node"), "built/client.js", server.address, str(DIGIT), cwd=tmp_path))

    assert said["predicted"] == "7"
    assert said["listed"][0] is True
    assert said["got"] == ["seven.png", {"form": 3}, "data:image/png;base64,"]
    assert "as in since=2026-01-31T00:00:00Z" in said["refused"]
