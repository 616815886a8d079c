"""A model that takes named tensors: what it is sent, what it answers, and that both can be read back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper

from tests.support.graphs import graph, package, tensor

Serve = Callable[..., httpx.Client]

WORDS, WIDTH = 50, 8
RAGGED = [[1, 7, 2], [1, 9, 9, 4, 2], [1, 2], [1, 30, 31, 32, 2], [1, 3, 2]]


def transformer(*, seed: int = 0) -> ModelProto:
    """Make a small text classifier as exporters write them: token ids and a mask to logits and a state per token."""
    random = np.random.default_rng(seed)
    weights: dict[str, Any] = {
        "words": random.normal(size=(WORDS, WIDTH)).astype(np.float32),
        "classifier": random.normal(size=(WIDTH, 3)).astype(np.float32),
        "one": np.array(1, np.float32),
        "minus_much": np.array(-10_000, np.float32),
        "axis_1": np.array([1], np.int64),
        "axis_2": np.array([2], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["embedded"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["embedded"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["embedded", "turned"], ["similarity"]),
        helper.make_node("Sub", ["one", "mask"], ["hidden_tokens"]),
        helper.make_node("Mul", ["hidden_tokens", "minus_much"], ["penalties"]),
        helper.make_node("Unsqueeze", ["penalties", "axis_1"], ["penalty"]),
        helper.make_node("Add", ["similarity", "penalty"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["attention"], axis=2),
        helper.make_node("MatMul", ["attention", "embedded"], ["last_hidden_state"]),
        helper.make_node("Unsqueeze", ["mask", "axis_2"], ["mask_of_states"]),
        helper.make_node("Mul", ["last_hidden_state", "mask_of_states"], ["seen"]),
        helper.make_node("ReduceSum", ["seen", "axis_1"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "axis_1"], ["count"], keepdims=1),
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        helper.make_node("MatMul", ["mean", "classifier"], ["logits"]),
    ]
    inputs = [tensor(name, "int64", ["batch", "sequence"]) for name in ("input_ids", "attention_mask")]
    outputs = [
        tensor("logits", "float32", ["batch", 3]),
        tensor("last_hidden_state", "float32", ["batch", "sequence", WIDTH]),
    ]
    return graph(nodes, inputs, outputs, weights)


def example(tokens: list[int]) -> dict[str, list[int]]:
    return {"input_ids": tokens, "attention_mask": [1] * len(tokens)}


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
