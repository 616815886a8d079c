"""A model's answer that is NaN or infinite is refused whoever asks: JSON has neither, so nobody could read a record."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from tests.support.database import Query
from tests.support.graphs import graph, package, tensor
from tests.support.prediction_queue import Queue

node = helper.make_node


def model(nodes: list[Any], *outputs: Any) -> ModelProto:
    """Make a model of the features `a` and `b`, which nodes find beside `q` = `a` / `b` and `pair`, `q` and `a`."""
    named = [
        node("Split", ["x", "ones"], ["a", "b"], axis=1),
        node("Div", ["a", "b"], ["q"]),
        node("Concat", ["q", "a"], ["pair"], axis=1),
        node("Unsqueeze", ["pair", "last"], ["nested"]),
    ]
    needed = [one for one in named if one.op_type != "Unsqueeze" or any(out.name == "nested" for out in outputs)]
    weights = {"ones": np.array([1, 1]), "last": np.array([2]), "middle": np.array([1])}
    return graph([*needed, *nodes], [tensor("x", "float32", ["N", 2])], outputs, weights)


def finds(which: str) -> ModelProto:
    """Make a detection of one find, of which one part is `q`."""
    parts = {name: node("Identity", ["a"], [name]) for name in ("scores", "labels")}
    parts["num"] = node("Div", ["b", "b"], ["num"])
    parts["box"] = node("Concat", ["a"] * 4, ["box"], axis=1)
    if which == "box":
        parts["box"] = node("Concat", ["q"] * 4, ["box"], axis=1)
    else:
        parts[which] = node("Identity", ["q"], [which])
    parts["boxes"] = node("Unsqueeze", ["box", "middle"], ["boxes"])
    outputs = [tensor("boxes", "float32", ["N", 1, 4])]
    outputs += [tensor(name, "float32", ["N", 1]) for name in ("scores", "labels", "num")]
    return model([*parts.values()], *outputs)


def floats(name: str, *axes: int) -> Any:
    return tensor(name, "float32", ["N", *axes])


def map_for_each_row() -> ModelProto:
    kind = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    output = helper.make_value_info("map", helper.make_sequence_type_proto(kind))
    zipped = node("ZipMap", ["pair"], ["map"], domain="ai.onnx.ml", classlabels_strings=["a", "b"])
    return model([zipped], output)


ANSWERS: dict[str, tuple[ModelProto, dict[str, Any]]] = {
    "a regression": (model([], floats("q", 1)), {}),
    "a regression of several values": (model([], floats("pair", 2)), {"task": "regression"}),
    "a regression of several axes": (model([], floats("nested", 2, 1)), {"task": "regression"}),
    "halves": (
        model([node("Cast", ["q"], ["half"], to=TensorProto.FLOAT16)], tensor("half", "float16", ["N", 1])),
        {"task": "regression"},
    ),
    "a classification": (model([], floats("pair", 2)), {"task": "classification", "labels": ["a", "b"]}),
    "a map for each row": (map_for_each_row(), {}),
    "an embedding": (model([], floats("pair", 2)), {"task": "embedding"}),
    "several targets": (model([], floats("pair", 2)), {"task": "multi-target"}),
    **{f"a detection: {part}": (finds(part), {"task": "detection"}) for part in ("box", "scores", "labels", "num")},
    "tensors": (model([], floats("nested", 2, 1)), {"task": "tensors"}),
    "beside a number": (model([], floats("a", 1), floats("nested", 2, 1)), {"answer": "a"}),
    "beside a probability": (
        model([node("Softmax", ["x"], ["shares"])], floats("shares", 2), floats("q", 1)),
        {"answer": "shares"},
    ),
    "in a sequence": (
        model(
            [node("SequenceConstruct", ["q", "a"], ["both"])],
            floats("a", 1),
            helper.make_tensor_sequence_value_info("both", TensorProto.FLOAT, None),
        ),
        {"answer": "a"},
    ),
}
"""By what is not finite in an answer where `q` is not: the model, and its model.json."""

GOOD = [4.0, 2.0]
BAD = {"NaN": [0.0, 0.0], "Infinity": [1.0, 0.0], "-Infinity": [-1.0, 0.0]}


@pytest.mark.parametrize("name", ANSWERS)
def test_nothing_is_stored_of_an_answer_that_is_not_finite_and_the_next_one_is(
    api: httpx.Client, environment: pytest.MonkeyPatch, queue: Queue, query: Query, tmp_path: Path, name: str
) -> None:
    graph, said = ANSWERS[name]
    environment.setenv("MODEL", str(package(tmp_path / "m", graph, **said)))
    tensors = said.get("task") == "tensors"

    def instance(row: list[float]) -> dict[str, Any]:
        return {"inputs": {"x": row}} if tensors else {"features": row}

    def version_2(*rows: list[float]) -> dict[str, Any]:
        data = [value for row in rows for value in row]
        return {"inputs": [{"name": "x", "shape": [len(rows), 2], "datatype": "FP32", "data": data}]}

    for row in BAD.values():
        for answer, status in (
            (api.post("/prediction", json=instance(row)), 422),
            (api.post("/predictions", json={"instances": [instance(GOOD), instance(row)]}), 422),
            (api.post("/v2/models/m/infer", json=version_2(row)), 400),
            (api.post("/v2/models/m/infer", json=version_2(GOOD, row)), 400),
            (api.post("/v1/models/m:predict", json={"instances": [row]}), 400),
        ):
            assert answer.status_code == status, answer.text
            assert "not a finite number" in answer.text
    assert query("SELECT count(*) FROM inputs") == [[0]]

    later = api.post("/prediction", json=instance(BAD["NaN"]), headers={"prefer": "respond-async"})
    assert later.status_code == 202, later.text
    assert queue.deliver() == []
    failed = api.get(f"/prediction/{later.json()['prediction_id']}").json()
    assert failed["status"] == "failed"
    assert "not a finite number" in failed["error"]
    assert not {"prediction", "outputs", "predicted_value"} & failed.keys()

    for answer in (
        api.post("/prediction", json=instance(GOOD)),
        api.post("/v2/models/m/infer", json=version_2(GOOD)),
        api.post("/v1/models/m:predict", json={"instances": [GOOD]}),
    ):
        assert answer.status_code in (200, 201), answer.text
    assert len(api.get("/predictions").json()["predictions"]) == 4


def test_a_logit_of_no_chance_at_all_is_a_probability_of_zero(
    api: httpx.Client, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A class that is masked out has the logit -Infinity, of which a softmax makes 0: that can be stored."""
    said = {"activation": "softmax", "labels": ["a", "b"]}
    environment.setenv("MODEL", str(package(tmp_path / "m", model([], floats("pair", 2)), **said)))
    answer = api.post("/prediction", json={"features": BAD["-Infinity"]})
    assert answer.status_code == 201, answer.text
    assert (answer.json()["prediction"], answer.json()["label"]) == ([0.0, 1.0], "b")
