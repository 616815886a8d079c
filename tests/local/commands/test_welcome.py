"""What the server prints when it is ready, and how it uses MODEL."""

import dataclasses
import json
import shlex
import subprocess
import sys

import httpx
import pytest

from functions.shared.inference.feature_input import FeatureColumn, FeatureInput
from functions.shared.inference.package import ModelPackage
from functions.shared.inference.tensor_input import InputTensor, TensorInput
from local.commands.welcome import SAMPLE, curl_lines
from tests.support.local_server import PROJECT, Serve
from tests.support.repository import ROOT

pytestmark = pytest.mark.server

ADDRESS = "http://127.0.0.1:3000"


@pytest.fixture
def features() -> ModelPackage:
    """Return a package of the repository whose features have names."""
    return ModelPackage.load(ROOT / "model_artifacts" / "diabetes")


def body(package: ModelPackage) -> object:
    """Return the body that the first command sends."""
    words = shlex.split(curl_lines(ADDRESS, package)[0][1])
    assert words[0] == "curl"
    assert words[-1] == f"{ADDRESS}/prediction"
    return json.loads(words[words.index("-d") + 1])


def test_an_image_model_is_sent_the_image_that_the_repository_ships() -> None:
    package = ModelPackage.load(ROOT / "model_artifacts" / "mnist")
    assert curl_lines(ADDRESS, package)[0][1] == f"curl -F file=@{SAMPLE} {ADDRESS}/prediction"
    assert (ROOT / SAMPLE).is_file()


def test_a_model_of_named_features_is_sent_each_by_its_name(features: ModelPackage) -> None:
    assert features.feature_names is not None
    assert body(features) == {"features": dict.fromkeys(features.feature_names, 1.5)}


def test_a_model_of_nameless_features_is_sent_a_list_of_their_types(features: ModelPackage) -> None:
    columns = tuple(FeatureColumn(None, dtype) for dtype in ("float32", "int64", "bool", "string"))
    nameless = dataclasses.replace(features, input=FeatureInput(columns, (), None, unbatched=False))
    assert body(nameless) == {"features": [1.5, 1, True, "a"]}


def test_a_model_of_any_number_of_features_is_sent_several(features: ModelPackage) -> None:
    anything = dataclasses.replace(features, input=FeatureInput(None, (), None, unbatched=False))
    assert body(anything) == {"features": [1.5, 1.5, 1.5, 1.5]}


def of_tensors(features: ModelPackage, *tensors: InputTensor) -> ModelPackage:
    return dataclasses.replace(features, input=TensorInput(tensors, None, unbatched=False, batch_axes=frozenset()))


def test_a_model_of_tensors_is_sent_one_of_each_type(features: ModelPackage) -> None:
    tensors = [
        InputTensor("ids", "int64", ("sequence",), batched=True),
        InputTensor("it's", "string", (), batched=True),
        InputTensor("box", "float32", (1, 2), batched=True),
        InputTensor("scale", "float32", (), batched=False, optional=True),
    ]
    assert body(of_tensors(features, *tensors)) == {"inputs": {"ids": [1] * 8, "it's": "a", "box": [[1, 1]]}}


def test_a_large_tensor_is_written_out_by_python(features: ModelPackage) -> None:
    package = of_tensors(features, InputTensor("it's", "float32", (3, 64, None), batched=True))
    line = curl_lines(ADDRESS, package)[0][1]
    python, curl = line.split(" | ")
    words = shlex.split(python)
    assert words[0] == "python3"
    body = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=True).stdout
    assert json.loads(body) == {"inputs": {"it's": [[[1] * 8] * 64] * 3}}
    assert curl.endswith(f"-d @- {ADDRESS}/prediction")


def test_a_quote_in_a_features_name_survives_the_shell(features: ModelPackage) -> None:
    awkward = FeatureInput((FeatureColumn("it's $HOME", "float32"),), (), None, unbatched=False)
    assert body(dataclasses.replace(features, input=awkward)) == {"features": {"it's $HOME": 1.5}}


def test_functions_are_told_of_the_model_where_it_is_and_the_curl_lines_fit_it(serve: Serve) -> None:
    server = serve(TEMPLATE=str(PROJECT / "model.yaml"), MODEL="model_artifacts/diabetes").start()
    environment = httpx.get(f"{server.address}/echo").json()["environment"]
    assert environment["MODEL"] == str(ROOT / "model_artifacts" / "diabetes")
    assert "model      diabetes 1, for features" in server.output
    server.wait_for(f'"features": .* {server.address}/prediction')


def test_a_model_that_cannot_be_served_is_one_line(serve: Serve) -> None:
    server = serve(TEMPLATE=str(PROJECT / "model.yaml"), MODEL="no/such/model").launch()
    assert server.wait() == 1
    assert server.output == "onnx-ledger: MODEL=no/such/model: model: there is no such folder\n"
