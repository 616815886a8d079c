"""A model that takes named tensors: what it is sent, what it answers, and that both can be read back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, helper

from tests.support.database import Query
from tests.support.graphs import graph, package, passing, tensor
from tests.support.repository import ROOT
from tests.support.transformer import RAGGED, WIDTH, example, transformer

Serve = Callable[..., httpx.Client]


def array(value: dict[str, Any]) -> Any:
    """Return a tensor of an answer as an array."""
    return np.array(value["data"]).reshape(value["shape"])


@pytest.fixture
def serve(api: httpx.Client, environment: pytest.MonkeyPatch, tmp_path: Path) -> Serve:
    """Return a function that makes the API serve a model, with `settings` in its model.json."""

    def with_model(model: ModelProto, **settings: Any) -> httpx.Client:
        environment.setenv("MODEL", str(package(tmp_path / "model", model, task="tensors", **settings)))
        return api

    return with_model


@pytest.mark.parametrize("padding", [None, {"input_ids": 0, "attention_mask": 0}], ids=["in groups", "padded"])
def test_a_batch_of_ragged_token_lists_is_answered_stored_listed_and_read_back(
    serve: Serve, tmp_path: Path, padding: dict[str, int] | None
) -> None:
    api = serve(transformer(), **({} if padding is None else {"padding": padding}))

    answer = api.post("/predictions", json={"instances": [{"inputs": example(tokens)} for tokens in RAGGED]})

    assert answer.status_code == 201, answer.text
    records = answer.json()["predictions"]
    session = onnxruntime.InferenceSession(tmp_path / "model" / "model.onnx")
    for tokens, record in zip(RAGGED, records, strict=True):
        alone = session.run(None, {name: np.array([values]) for name, values in example(tokens).items()})
        outputs = record["prediction"]["outputs"]
        assert outputs["logits"]["shape"] == [3]
        assert outputs["last_hidden_state"]["shape"] == [len(tokens), WIDTH]
        assert {one["datatype"] for one in outputs.values()} == {"FP32"}
        np.testing.assert_allclose(array(outputs["logits"]), alone[0][0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(array(outputs["last_hidden_state"]), alone[1][0], rtol=1e-4, atol=1e-5)
        assert not {"label", "confidence", "likely_class", "predicted_value", "outputs"} & set(record)
        read = api.get(f"/prediction/{record['prediction_id']}").json()
        assert read.pop("inputs") == example(tokens)
        assert read == record
    assert api.get("/predictions").json()["predictions"] == records[::-1]


def rows(query: Query) -> list[list[int]]:
    """Return how many rows each table has that a request can leave something in."""
    return [query(f"SELECT count(*) FROM {table}")[0] for table in ("predictions", "inputs", "idempotency_keys")]


NOTHING = [[0], [0], [0]]


def test_one_output_is_the_answer_where_the_package_says_so(serve: Serve) -> None:
    labels = ["no", "perhaps", "yes"]
    api = serve(transformer(), answer="logits", activation="softmax", labels=labels, keep=["logits"])

    record = api.post("/prediction", json={"inputs": example([1, 7, 2]), "user_id": "anna"}).json()

    logits = array(record["prediction"]["outputs"]["logits"])
    shares = np.exp(logits) / np.exp(logits).sum()
    assert list(record["prediction"]["outputs"]) == ["logits"]
    assert record["likely_class"] == int(np.argmax(logits))
    assert record["label"] == record["predicted_value"] == labels[int(np.argmax(logits))]
    assert record["confidence"] == pytest.approx(shares.max())
    listed = api.get("/predictions", params={"label": record["label"], "user_id": "anna"}).json()["predictions"]
    assert listed == [record]


AS_SENT = '{ "input_ids":[1,\t7e0,  2.0], "attention_mask": [1, 1, 1]\n}'


def test_inputs_are_kept_to_the_letter(serve: Serve, query: Query) -> None:
    api = serve(transformer())
    body = f'{{"user_id": "anna", "inputs": {AS_SENT} , "metadata": {{"b": 1}}}}'

    made = api.post("/prediction", content=body, headers={"content-type": "application/json"})

    assert made.status_code == 201, made.text
    prediction_id = made.json()["prediction_id"]
    assert query("SELECT form, features::text FROM inputs") == [["tensors", AS_SENT]]
    assert f'"inputs":{AS_SENT}' in api.get(f"/prediction/{prediction_id}").text
    alone = api.get(f"/prediction/{prediction_id}/input")
    assert (alone.text, alone.headers["content-type"]) == (AS_SENT, "application/json")


def test_the_same_key_gets_the_same_answer_byte_for_byte_and_other_inputs_conflict(serve: Serve, query: Query) -> None:
    api = serve(transformer(), answer="logits", activation="softmax")
    headers = {"idempotency-key": "k", "content-type": "application/json"}
    body = f'{{"inputs": {AS_SENT}}}'

    first, second = (api.post("/prediction", content=body, headers=headers) for _ in range(2))
    other = api.post("/prediction", content=body.replace("7e0", "8"), headers=headers)

    assert (first.status_code, second.status_code, other.status_code) == (201, 201, 422)
    assert second.content == first.content
    assert second.headers["idempotency-replayed"] == "true"
    assert rows(query) == [[1], [1], [1]]


@pytest.mark.parametrize("batch", [False, True])
def test_a_record_is_read_back_byte_for_byte_as_it_was_answered(serve: Serve, batch: bool) -> None:
    """The outputs' names and numbers are of every kind that a database might write otherwise."""
    names = ["é", "b", "aa", "A", "a/b"]
    nodes = [helper.make_node("Identity", ["x"], [name]) for name in names]
    outputs = [tensor(name, "float64", ["batch", "n"]) for name in names]
    api = serve(graph(nodes, [tensor("x", "float64", ["batch", "n"])], outputs))
    inputs = {"x": [1e16, 1e22, -0.0, 1e-7, 0.1, 5e-324, 1.7976931348623157e308, 3]}
    path, body = (
        ("/predictions", {"instances": [{"inputs": inputs}] * 2}) if batch else ("/prediction", {"inputs": inputs})
    )

    made = api.post(path, json=body).text

    [record, *_] = json.loads(made)["predictions"] if batch else [json.loads(made)]
    read = api.get(f"/prediction/{record['prediction_id']}").text
    assert read[: read.index(',"inputs":')] in made
    listed = api.get("/predictions").text
    assert read[: read.index(',"inputs":')] in listed


def several_outputs() -> ModelProto:
    """Make a model with a number, texts, no rows and a matrix for each example."""
    nodes = [
        helper.make_node("ReduceSum", ["x", "one"], ["sum"], keepdims=0),
        helper.make_node("Identity", ["word"], ["words"]),
        helper.make_node("Slice", ["x", "zero", "zero", "one"], ["none"]),
        helper.make_node("Unsqueeze", ["x", "one"], ["matrix"]),
        helper.make_node("Greater", ["x", "nought"], ["above"]),
    ]
    weights = {"one": np.array([1]), "zero": np.array([0]), "nought": np.array(0, np.float32)}
    return graph(
        nodes,
        [tensor("x", "float32", ["batch", 3]), tensor("word", "string", ["batch"])],
        [
            tensor("sum", "float32", ["batch"]),
            tensor("words", "string", ["batch"]),
            tensor("none", "float32", ["batch", 0]),
            tensor("matrix", "float32", ["batch", 1, 3]),
            tensor("above", "bool", ["batch", 3]),
        ],
        weights,
    )


def test_outputs_of_every_rank_and_type_are_answered_stored_and_read_back(serve: Serve) -> None:
    api = serve(several_outputs())
    instances = [{"inputs": {"x": [1, -2, 3], "word": "Köln"}}, {"inputs": {"x": [0, 0, 0], "word": ""}}]

    made = api.post("/predictions", json={"instances": instances})

    assert made.status_code == 201, made.text
    records = made.json()["predictions"]
    assert records[0]["prediction"]["outputs"] == {
        "sum": {"shape": [], "datatype": "FP32", "data": [2.0]},
        "words": {"shape": [], "datatype": "BYTES", "data": ["Köln"]},
        "none": {"shape": [0], "datatype": "FP32", "data": []},
        "matrix": {"shape": [1, 3], "datatype": "FP32", "data": [1.0, -2.0, 3.0]},
        "above": {"shape": [3], "datatype": "BOOL", "data": [True, False, True]},
    }
    assert api.get("/predictions").json()["predictions"] == records[::-1]
    for instance, record in zip(instances, records, strict=True):
        assert api.get(f"/prediction/{record['prediction_id']}").json() == record | instance


def test_get_model_says_what_an_example_is(serve: Serve) -> None:
    api = serve(transformer(), padding={"input_ids": 0, "attention_mask": 0})

    model = api.get("/model").json()

    assert (model["takes"], model["task"]) == ("tensors", "tensors")
    assert model["inputs"] == [
        {"name": name, "datatype": "INT64", "shape": ["sequence"], "optional": False, "padding": 0}
        for name in ("input_ids", "attention_mask")
    ]
    assert api.get("/", headers={"accept": "application/json"}).json()["predict"]["contenttypes"] == [
        "application/json"
    ]


# --- what is refused ---


@pytest.mark.parametrize(
    ("body", "status", "detail", "pointers"),
    [
        ({}, 400, "has no inputs: send inputs, as an object", []),
        ({"inputs": {}}, 400, "has no inputs: send inputs, as an object", []),
        ({"inputs": None}, 400, "has no inputs", []),
        ({"inputs": [1, 2]}, 422, "must be an object with input_ids, attention_mask, not a list", ["/inputs"]),
        ({"inputs": {"input_ids": [1]}}, 422, 'input "attention_mask" is missing', ["/inputs/attention_mask"]),
        ({"inputs": {**example([1]), "token_type_ids": [0]}}, 422, "no input", ["/inputs/token_type_ids"]),
        ({"inputs": example([1, "a"])}, 422, "must be a whole number", ["/inputs/input_ids/1"]),
        ({"inputs": {"input_ids": [1, 2], "attention_mask": [1]}}, 422, "as many entries", ["/inputs/attention_mask"]),
        ({"inputs": example([1, 99])}, 422, "cannot take these values", ["/inputs"]),
        ({"features": [1, 2]}, 422, "takes inputs, not features: send inputs, as an object", ["/features"]),
        ({"image": "data:image/png;base64,AA=="}, 422, "takes inputs, not image", ["/image"]),
        ({"input_id": "019c7f6e-0000-7000-8000-000000000000"}, 422, "'input_id' is unknown here", ["/input_id"]),
    ],
)
@pytest.mark.parametrize("batch", [False, True])
def test_a_bad_example_is_refused_with_what_would_be_right_and_nothing_is_stored(
    serve: Serve, query: Query, batch: bool, body: dict[str, Any], status: int, detail: str, pointers: list[str]
) -> None:
    api = serve(transformer())

    if batch:
        answer = api.post("/predictions", json={"instances": [{"inputs": example([1])}, body]})
        pointers = [f"/instances/1{pointer}" for pointer in pointers or [""]]
    else:
        answer = api.post("/prediction", json=body)

    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert detail in problem["detail"]
    assert [error["pointer"] for error in problem.get("errors", [])] == pointers
    assert rows(query) == NOTHING


def test_every_bad_example_of_a_batch_is_pointed_at(serve: Serve) -> None:
    api = serve(transformer())
    instances = [{"inputs": example(tokens)} for tokens in ([1], [1.5], [99, 1], [1, 2], ["a"])]

    decoded = api.post("/predictions", json={"instances": instances}).json()
    run = api.post("/predictions", json={"instances": [instances[at] for at in (0, 2, 3, 2)]}).json()

    assert [one["pointer"] for one in decoded["errors"]] == [
        "/instances/1/inputs/input_ids/0",
        "/instances/4/inputs/input_ids/0",
    ]
    assert [one["pointer"] for one in run["errors"]] == ["/instances/1/inputs", "/instances/3/inputs"]


def test_an_image_is_415_and_says_what_is_taken(serve: Serve, digit: bytes, query: Query) -> None:
    api = serve(transformer())
    for answer in (
        api.post("/prediction", content=digit, headers={"content-type": "image/png"}),
        api.post("/prediction", files={"file": ("a.png", digit)}),
        api.post("/predictions", files={"file": ("a.png", digit)}),
    ):
        assert answer.status_code == 415
        assert answer.headers["accept-post"] == "application/json"
    empty = api.post("/prediction")
    assert empty.status_code == 400
    assert '{"inputs": {"<name>": [...]}}' in empty.json()["detail"]
    assert rows(query) == NOTHING


@pytest.mark.parametrize(("model", "wanted"), [("mnist", "image"), ("diabetes", "features")])
def test_a_model_that_takes_something_else_says_so_when_it_is_sent_inputs(
    api: httpx.Client, environment: pytest.MonkeyPatch, model: str, wanted: str
) -> None:
    environment.setenv("MODEL", str(ROOT / "model_artifacts" / model))

    answer = api.post("/prediction", json={"inputs": {"x": [1]}})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/inputs"
    assert f"this model takes {wanted}, not inputs: send {wanted}, as " in answer.json()["detail"]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e400", "-1e39"])
def test_a_number_that_no_tensor_holds_is_refused(serve: Serve, query: Query, value: str) -> None:
    api = serve(passing("float32", ["batch", 1]))
    answer = api.post(
        "/prediction", content=f'{{"inputs": {{"x": [{value}]}}}}', headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422
    assert rows(query) == NOTHING


def test_an_output_that_is_no_number_is_refused_and_named(serve: Serve, query: Query) -> None:
    node = helper.make_node("Log", ["x"], ["logs"])
    api = serve(graph([node], [tensor("x", "float32", ["batch", 1])], [tensor("logs", "float32", ["batch", 1])]))

    answer = api.post("/prediction", json={"inputs": {"x": [0]}})

    assert (answer.status_code, rows(query)) == (422, NOTHING)
    assert "output 'logs' for this input has a value that is not a finite number" in answer.json()["detail"]


def long_series() -> ModelProto:
    """Make a model whose two outputs are as many times 1/3 as it is told."""
    nodes = [helper.make_node("Expand", ["third", "count"], [name]) for name in ("y", "z")]
    return graph(
        nodes,
        [tensor("count", "int64", [1])],
        [tensor(name, "float64", ["n"]) for name in ("y", "z")],
        {"third": np.array([1 / 3])},
    )


@pytest.mark.parametrize("count", [10, 20_000, 60_000, 130_000, 1_000_000, 2_200_000])
def test_what_is_accepted_can_be_read_and_listed_and_what_could_not_is_refused_with_the_key_that_helps(
    serve: Serve, query: Query, count: int
) -> None:
    api = serve(long_series(), batched=False)

    answer = api.post("/prediction", json={"inputs": {"count": [count]}})

    if answer.status_code == 201:
        read = api.get(f"/prediction/{answer.json()['prediction_id']}")
        assert read.json()["prediction"] == answer.json()["prediction"]
        assert read.json()["prediction"]["outputs"]["z"]["shape"] == [count]
        assert api.get("/predictions").json()["predictions"] == [answer.json()]
    else:
        assert count > 2_000_000
        assert answer.status_code == 413
        assert "at most 33554432" in answer.json()["detail"]
        assert '"keep"' in answer.json()["detail"]
        assert rows(query) == NOTHING


def test_keep_makes_room(serve: Serve) -> None:
    api = serve(long_series(), batched=False, keep=["z"])
    answer = api.post("/prediction", json={"inputs": {"count": [2_200_000]}})
    assert answer.status_code == 201
    assert list(answer.json()["prediction"]["outputs"]) == ["z"]
