"""The OpenAPI document: what generators need, and for each deployment what its own model takes."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from onnx import helper, numpy_helper

from functions.describe.openapi_document import PATH
from tests.support.graphs import graph, package, passing, tensor
from tests.support.repository import ROOT

Document = dict[str, Any]
Serve = Callable[..., Document]

IMAGE_FORMS = {"multipart/form-data", "image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff"}


@pytest.fixture
def served(api: httpx.Client, environment: pytest.MonkeyPatch, forget: Callable[[], None]) -> Serve:
    """Return a function that returns the document of a deployment with a model and other settings."""

    def serve(model: Path | str = "mnist", **settings: str) -> Document:
        for name, value in {"MODEL": str(ROOT / "model_artifacts" / model), **settings}.items():
            environment.setenv(name, value)
        forget()
        answer = api.get("/openapi.json")
        assert answer.status_code == 200
        document: Document = answer.json()
        return document

    return serve


@pytest.fixture(params=["all", "mnist", "diabetes"])
def document(request: pytest.FixtureRequest, served: Serve) -> Document:
    """The document of the project, and that of each of the shipped models."""
    return json.loads(PATH.read_text("utf-8")) if request.param == "all" else served(request.param)


def operations(document: Document) -> Iterator[tuple[str, Document]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def descriptions(part: object) -> Iterator[str]:
    """Yield every description within a part of a document."""
    if isinstance(part, dict):
        if isinstance(text := part.get("description"), str):
            yield text
        for inner in part.values():
            yield from descriptions(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from descriptions(inner)


def content_types(document: Document, path: str) -> set[str]:
    return set(document["paths"][path]["post"]["requestBody"]["content"])


def is_valid(document: Document, name: str, instance: object) -> bool:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return bool(Draft202012Validator(schema).is_valid(instance))


def test_an_operation_has_a_short_name_of_its_own(document: Document) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert {"predict", "predict_many", "list_predictions", "get_prediction", "delete_prediction"} <= set(names)
    assert len(names) == len(set(names))


def test_every_description_is_a_whole_sentence(document: Document) -> None:
    texts = {text for text in descriptions(document) if text != "Successful Response"}  # that is FastAPI's
    assert len(texts) > 100
    assert [text for text in sorted(texts) if not text.endswith((".", ".`", ".)"))] == []


def test_every_schema_that_is_named_is_there_and_every_one_that_is_there_is_named(document: Document) -> None:
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert named == set(document["components"]["schemas"])


def test_bytes_are_binary_to_generators_of_any_version() -> None:
    document = json.loads(PATH.read_text("utf-8"))
    schemas = document["components"]["schemas"]
    bytes_ = [schemas["ImageForm"]["properties"]["file"], schemas["ImagesForm"]["properties"]["file"]["items"]]
    content = document["paths"]["/prediction"]["post"]["requestBody"]["content"]
    bytes_ += [media["schema"] for name, media in content.items() if name.startswith("image/")]
    assert len(bytes_) == 8
    for schema in bytes_:
        assert (schema["type"], schema["format"]) == ("string", "binary")
        assert schema["contentMediaType"]


def test_the_document_of_an_image_model_offers_images_alone(served: Serve) -> None:
    document = served("mnist")
    assert content_types(document, "/prediction") == {*IMAGE_FORMS, "application/json"}
    assert content_types(document, "/predictions") == {"multipart/form-data", "application/json"}
    assert "/upload" in document["paths"]
    assert "eatures" not in json.dumps(document["components"]["schemas"]["Instances"])
    assert not {"Features", "FeaturesInput", "FeaturesInstance"} & set(document["components"]["schemas"])


def test_the_document_of_a_features_model_offers_its_features_alone(served: Serve) -> None:
    document = served("diabetes")
    assert content_types(document, "/prediction") == content_types(document, "/predictions") == {"application/json"}
    assert "/upload" not in document["paths"]
    assert not {name for name in document["components"]["schemas"] if "Image" in name or "Upload" in name}
    assert "pixels" not in json.dumps(document)

    sample = json.loads((ROOT / "local" / "samples" / "diabetes.json").read_text("utf-8"))["features"]
    values = [float(value) for value in sample.values()]
    for row in (sample, values):
        assert is_valid(document, "FeaturesInput", {"features": row})
    for row in (values[:-1], [*values, 1.0], [str(value) for value in values], {**sample, "x": 1.0}, {"age": 62}):
        assert not is_valid(document, "FeaturesInput", {"features": row})


@pytest.mark.parametrize(
    ("dtype", "right", "wrong"),
    [
        ("float32", [0.5, 1, -2], ["a", "b", "c"]),
        ("int64", [1, 2, 3], [0.5, 1, 2]),
        ("string", ["a", "", "b"], [1, 2, 3]),
    ],
)
def test_features_without_names_are_a_row_of_their_number_and_type(
    served: Serve, tmp_path: Path, dtype: str, right: list[object], wrong: list[object]
) -> None:
    task = "multi-target" if dtype == "string" else "regression"
    document = served(package(tmp_path / "row", passing(dtype, ["N", 3]), task=task))
    assert is_valid(document, "FeaturesInstance", {"features": right})
    for row in (wrong, right[:-1], {"x": right[0]}):
        assert not is_valid(document, "FeaturesInstance", {"features": row})


def test_a_missing_value_is_null_where_the_model_takes_one(served: Serve, tmp_path: Path) -> None:
    folder = package(tmp_path / "row", passing("float32", ["N", 2]), task="multi-target", missing="nan")
    document = served(folder)
    assert is_valid(document, "FeaturesInstance", {"features": [None, 1.5]})
    assert not is_valid(document, "FeaturesInstance", {"features": ["a", 1.5]})


def test_a_row_of_any_length_stays_one_of_any_length(served: Serve, tmp_path: Path) -> None:
    document = served(package(tmp_path / "row", passing("float32", ["N", "F"], answer=["N", "F"]), task="regression"))
    assert is_valid(document, "FeaturesInstance", {"features": [1.0] * 7})


def test_a_missing_value_is_null_where_the_model_says_so(served: Serve, tmp_path: Path) -> None:
    row: list[float | None] = [None, 1.0, 2.0]
    model = passing("float32", ["N", 3])
    for settings, valid in (({}, False), ({"missing": "nan"}, True)):
        document = served(package(tmp_path / "row", model, task="regression", **settings))
        assert is_valid(document, "FeaturesInstance", {"features": row}) == valid


def test_the_document_of_a_tensors_model_offers_its_tensors_alone(served: Serve, tmp_path: Path) -> None:
    inputs = [tensor("tokens", "int64", ["batch", "sequence"]), tensor("image", "float32", ["batch", 2, 3])]
    nodes = [helper.make_node("Identity", [one.name], [f"{one.name}_out"]) for one in inputs]
    outputs = [tensor("tokens_out", "int64", ["batch", "sequence"]), tensor("image_out", "float32", ["batch", 2, 3])]
    document = served(package(tmp_path / "two", graph(nodes, inputs, outputs), task="tensors"))

    assert content_types(document, "/prediction") == content_types(document, "/predictions") == {"application/json"}
    assert "/upload" not in document["paths"]
    image = [[0.5, 1, 2], [3, 4, 5]]
    assert is_valid(document, "TensorsInput", {"inputs": {"tokens": [1, 2, 3, 4], "image": image}})
    for wrong in (
        {"tokens": [1, 2]},
        {"tokens": [1.5], "image": image},
        {"tokens": [1], "image": image[:1]},
        {"tokens": [1], "image": image, "x": 1},
        {"tokens": 1, "image": image},
    ):
        assert not is_valid(document, "TensorsInput", {"inputs": wrong})


def test_an_optional_tensor_may_be_left_out_and_a_missing_value_is_null(served: Serve, tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in ("ids", "box", "text", "scale")]
    inputs = [
        tensor("ids", "int64", ["batch", "sequence"]),
        tensor("box", "float32", ["batch", 2, 2]),
        tensor("text", "string", ["batch"]),
        tensor("scale", "float32", []),
    ]
    outputs = [
        tensor(f"{name}_out", dtype, None)
        for name, dtype in (("ids", "int64"), ("box", "float32"), ("text", "string"), ("scale", "float32"))
    ]
    model = graph(nodes, inputs, outputs)
    model.graph.initializer.append(numpy_helper.from_array(np.array(2, np.float32), "scale"))
    document = served(package(tmp_path / "tensors", model, task="tensors", missing="nan"))

    assert content_types(document, "/prediction") == content_types(document, "/predictions") == {"application/json"}
    assert "/upload" not in document["paths"]
    assert not {name for name in document["components"]["schemas"] if re.search("Image|Upload|Feature", name)}
    right: dict[str, Any] = {"ids": [1, 2, 3], "box": [[0.5, None], [1, 2]], "text": "a"}
    assert is_valid(document, "TensorsInput", {"inputs": right, "metadata": {"form": 3}})
    assert is_valid(document, "TensorsInstance", {"inputs": right | {"scale": 3}})
    wrong: list[dict[str, Any]] = [
        {"ids": [0.5]},
        {"ids": 1},
        {"ids": [None]},
        {"box": [[1, 2]]},
        {"text": ["a"]},
        {"x": 1},
        {"scale": []},
    ]
    for change in wrong:
        assert not is_valid(document, "TensorsInput", {"inputs": right | change})
    assert not is_valid(document, "TensorsInput", {"inputs": {"ids": [1]}})


@pytest.mark.of_lambda
def test_a_model_that_cannot_be_read_does_not_take_the_document_with_it(served: Serve, tmp_path: Path) -> None:
    document = served(tmp_path)
    assert content_types(document, "/prediction") == {*IMAGE_FORMS, "application/json"}
    assert {"FeaturesInput", "ImageInput"} <= set(document["components"]["schemas"])


def test_a_token_is_named_where_it_is_required_and_nowhere_else(served: Serve) -> None:
    required = served("mnist", AUTH="on")
    assert required["components"]["securitySchemes"]["Token"]["scheme"] == "bearer"
    assert {"Token": []} in required["paths"]["/prediction"]["post"]["security"]
    assert "Token" not in json.dumps(served("mnist", AUTH="off"))


def test_a_client_names_a_user_only_where_no_token_does(served: Serve) -> None:
    def naming(document: Document) -> set[str]:
        schemas = document["components"]["schemas"].items()
        return {name for name, schema in schemas if "user_id" in schema.get("properties", {})}

    answered = {"Group", "Prediction", "PredictionWithInput"}
    assert naming(served("mnist", AUTH="on")) == answered
    assert naming(served("mnist", AUTH="off")) > answered
