"""A small text classifier with the inputs and outputs of a transformer, and token lists for it."""

from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper

from tests.support.graphs import graph, tensor

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


def example(tokens: list[Any]) -> dict[str, list[Any]]:
    """Return token ids with the mask that hides none of them."""
    return {"input_ids": tokens, "attention_mask": [1] * len(tokens)}
