"""Inputs that share a run do not influence each other: a model that mixes them runs each alone, or is refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from functions.shared.inference.errors import ModelPackageError
from functions.shared.inference.instance import Instance
from functions.shared.inference.model import Model
from functions.shared.inference.package import ModelPackage
from tests.support import graphs
from tests.support.graphs import tensor
from tests.support.model_runs import runs_of

node = helper.make_node
WEIGHTS: dict[str, NDArray[Any]] = {
    "first": np.array(0),
    "axis0": np.array([0]),
    "last": np.array([-1]),
    "before": np.array([-9]),
}

MIXED: dict[str, list[NodeProto]] = {
    "a softmax over the rows": [node("Softmax", ["x"], ["y"], axis=0)],
    "the mean of the rows": [node("ReduceMean", ["x"], ["m"], axes=[0]), node("Sub", ["x", "m"], ["y"])],
    "a sum that goes on": [node("CumSum", ["x", "first"], ["y"])],
    "a sum that goes back": [node("CumSum", ["x", "first"], ["y"], reverse=1)],
    "the rows in another order": [node("Slice", ["x", "last", "before", "axis0", "last"], ["y"])],
    "the first row for all": [
        node("Gather", ["x", "first"], ["row"]), node("Shape", ["x"], ["shape"]),
        node("Expand", ["row", "shape"], ["y"]),
    ],
    "whether a value is over the mean": [
        node("ReduceMean", ["x"], ["m"], axes=[0]), node("Greater", ["x", "m"], ["over"]),
        node("Cast", ["over"], ["y"], to=TensorProto.FLOAT),
    ],
}  # fmt: skip
ROWS = [[1.0, 0.5, 2.0], [4.0, 5.0, 0.25], [3.0, 8.0, 9.0]]


def model_of(nodes: list[NodeProto], batch: int | str = "N") -> ModelProto:
    used = {name: array for name, array in WEIGHTS.items() if any(name in one.input for one in nodes)}
    return graphs.graph(nodes, [tensor("x", "float32", [batch, 3])], [tensor("y", "float32", [batch, 3])], used)


def load(folder: Path, model: ModelProto, **said: Any) -> Model:
    return Model.load(ModelPackage.load(graphs.package(folder / "model", model, **said)))


def decoded(model: Model, rows: list[Any]) -> list[Instance]:
    tensors = model.package.takes == "tensors"
    return [model.decode_tensors({"x": row}) if tensors else model.decode_features(row) for row in rows]


def answers(model: Model, instances: list[Instance]) -> list[Any]:
    """Return what is answered, and see that the outputs beside it are the same."""
    made = model.predict_tensors(instances)
    values = [np.ravel(arrays["y"]).tolist() for _, arrays in made]
    for (prediction, _), predicted in zip(made, model.predict(instances), strict=True):
        assert (prediction.output, prediction.outputs) == (predicted.output, predicted.outputs)
    return values


@pytest.mark.parametrize("said", [{"task": "regression"}, {"task": "tensors"}], ids=["features", "tensors"])
@pytest.mark.parametrize("nodes", MIXED.values(), ids=MIXED)
def test_rows_that_a_model_mixes_are_answered_as_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nodes: list[NodeProto], said: Mapping[str, Any]
) -> None:
    model = load(tmp_path, model_of(nodes), **said)
    model.warm_up()
    instances = decoded(model, ROWS)
    alone = [answers(model, [one])[0] for one in instances]

    assert answers(model, instances) == alone
    runs = runs_of(model, monkeypatch)
    assert answers(model, instances[::-1]) == alone[::-1]
    assert set(runs) == {1}


def test_a_recurrent_network_over_the_wrong_axis_is_answered_as_alone(tmp_path: Path) -> None:
    """PyTorch's LSTM without batch_first, exported with its first axis as the batch's."""
    random = np.random.default_rng(0)
    weights = {"w": random.normal(size=(1, 8, 3)).astype(np.float32), "r": random.normal(size=(1, 8, 2)), "at": [1]}
    made = graphs.graph(
        [node("LSTM", ["x", "w", "r"], ["all"], hidden_size=2), node("Squeeze", ["all", "at"], ["y"])],
        [tensor("x", "float32", ["N", 4, 3])],
        [tensor("y", "float32", ["N", 4, 2])],
        {name: np.asarray(value, np.int64 if name == "at" else np.float32) for name, value in weights.items()},
    )
    model = load(tmp_path, made, task="tensors")
    model.warm_up()
    instances = decoded(model, random.normal(size=(5, 4, 3)).tolist())
    alone = [answers(model, [one])[0] for one in instances]
    assert answers(model, instances) == alone


def test_shared_runs_are_compared_until_they_are_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(tmp_path, model_of([node("Identity", ["x"], ["y"])]), task="regression")
    model.warm_up()
    instances = decoded(model, ROWS)
    runs = runs_of(model, monkeypatch)
    for _ in range(5):
        assert [one.output for one in model.predict(instances)] == ROWS
    assert runs == [3, 1, 1] * 3 + [3] * 2


def test_copies_prove_nothing(tmp_path: Path) -> None:
    model = load(tmp_path, model_of(MIXED["the mean of the rows"]), task="regression")
    model.warm_up()
    copies, instances = decoded(model, ROWS[:1] * 3), decoded(model, ROWS)
    for _ in range(5):
        assert answers(model, copies) == [[0.0] * 3] * 3
    assert answers(model, instances) == [[0.0] * 3] * 3


def test_the_value_of_one_input_that_is_not_finite_is_not_that_of_the_others(tmp_path: Path) -> None:
    model = load(tmp_path, model_of(MIXED["the mean of the rows"]), task="tensors", missing="nan")
    model.warm_up()
    instances = decoded(model, [*ROWS, [None, 1.0, 1.0]])
    with pytest.raises(Exception, match="not a finite number") as refused:
        model.predict(instances)
    assert [one.instance for one in refused.value.problems] == [3]  # type: ignore[attr-defined]


def test_a_model_that_answers_by_chance_still_shares_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [node("RandomNormalLike", ["x"], ["noise"], scale=100.0), node("Add", ["x", "noise"], ["y"])]
    model = load(tmp_path, model_of(nodes), task="regression")
    model.warm_up()
    runs = runs_of(model, monkeypatch)
    for _ in range(5):
        model.predict(decoded(model, ROWS))
    assert runs[-1] == 3
    fixed = load(tmp_path, model_of(nodes, 3), task="regression")
    fixed.warm_up()
    assert len(fixed.predict(decoded(fixed, ROWS))) == 3


def test_what_differs_in_the_last_bits_shares_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousandth of an answer, as half precision rounds it, makes no other answer."""
    nodes = [
        node("RandomUniformLike", ["x"], ["noise"], low=0.999, high=1.001),
        node("Mul", ["x", "noise"], ["y"]),
    ]
    model = load(tmp_path, model_of(nodes), task="regression")
    model.warm_up()
    runs = runs_of(model, monkeypatch)
    for _ in range(5):
        model.predict(decoded(model, ROWS))
    assert runs == [3, 1, 1] * 3 + [3] * 2


@pytest.mark.parametrize("said", [{"task": "regression"}, {"task": "tensors", "batched": True}], ids=str)
@pytest.mark.parametrize(
    "nodes",
    [*MIXED.values(), [node("Transpose", ["x"], ["y"], perm=[1, 0])]],
    ids=[*MIXED, "scores whose second axis is that of the rows"],
)
def test_a_fixed_batch_whose_rows_are_mixed_is_refused_at_start(
    tmp_path: Path, nodes: list[NodeProto], said: Mapping[str, Any]
) -> None:
    model = load(tmp_path, model_of(nodes, 3), **said)
    with pytest.raises(ModelPackageError) as refused:
        model.warm_up()
    message = str(refused.value)
    assert message.startswith("model.onnx: takes 3 rows at a time, and its answer to one depends on the others")
    assert "task: tensors and batched: false" in message
    assert "\n" not in message
    whole = load(tmp_path, model_of(nodes, 3), task="tensors", batched=False)
    whole.warm_up()
    [prediction] = whole.predict([whole.decode_tensors({"x": ROWS})])
    assert prediction.output["outputs"]["y"]["shape"] == [3, 3]  # type: ignore[call-overload]


def test_rows_that_only_real_inputs_show_to_be_mixed_are_answered_as_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text cannot be made up that a model surely takes, so that nothing is found at the start of a fixed batch."""
    nodes = [node("Gather", ["x", "first"], ["row"]), node("Expand", ["row", "shape"], ["y"])]
    weights = {"first": np.array(0), "shape": np.array([2, 1])}
    made = graphs.graph(nodes, [tensor("x", "string", [2, 1])], [tensor("y", "string", [2, 1])], weights)
    model = load(tmp_path, made, task="classification")
    model.warm_up()
    instances = decoded(model, [["a"], ["b"]])
    assert [one.label for one in model.predict(instances)] == ["a", "b"]
    runs = runs_of(model, monkeypatch)
    for _ in range(5):
        assert [one.label for one in model.predict(instances)] == ["a", "b"]
    assert runs == [1, 1] * 5
