"""How a signature of named tensors is read, what an example may be, and how examples share a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from functions.shared.inference.errors import (
    InputError,
    InvalidFeaturesError,
    MissingFeaturesError,
    ModelPackageError,
    UnpredictableInputError,
)
from functions.shared.inference.model import Model
from functions.shared.inference.package import ModelPackage, TensorInput
from model_artifacts.__main__ import main
from tests.support.graphs import Axes, graph, package, passing, tensor
from tests.support.model_runs import runs_of
from tests.support.transformer import transformer


def load(folder: Path, model: ModelProto, **settings: Any) -> Model:
    return Model.load(ModelPackage.load(package(folder / "model", model, **({"task": "tensors"} | settings))))


def predict(model: Model, *examples: object) -> list[dict[str, Any]]:
    """Return the outputs of each example, by name."""
    made = model.predict([model.decode_tensors(one) for one in examples])
    assert all(set(one.output) == {"outputs"} for one in made)
    return [dict(one.output["outputs"]) for one in made if isinstance(one.output, dict)]


def problems(model: Model, example: object) -> list[tuple[str, str]]:
    """Return what is wrong with an example."""
    with pytest.raises(InputError) as refused:
        model.decode_tensors(example)
    return [(one.pointer, one.detail) for one in refused.value.problems]


def identity(*inputs: tuple[str, str, Axes], outputs: Sequence[Axes] = ()) -> ModelProto:
    """Make a model that returns each of its inputs, under its name with _out."""
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name, _, _ in inputs]
    shapes = outputs or [axes for _, _, axes in inputs]
    return graph(
        nodes,
        [tensor(*one) for one in inputs],
        [tensor(f"{name}_out", dtype, axes) for (name, dtype, _), axes in zip(inputs, shapes, strict=True)],
    )


def with_default(model: ModelProto, name: str, value: Any) -> ModelProto:
    """Give an input a value that a caller may leave as it is."""
    model.graph.initializer.append(numpy_helper.from_array(value, name))
    return model


# --- the signature ---


@pytest.mark.parametrize(
    ("inputs", "batched", "shapes", "rows"),
    [
        pytest.param([["batch", "sequence"]], None, [["sequence"]], None, id="open batch"),
        pytest.param([[None, 3, None]], None, [[3, None]], None, id="axes without a name"),
        pytest.param([["unk__1", 3], ["unk__2", 4]], None, [[3], [4]], None, id="made-up names"),
        pytest.param([[1, 3, 4]], None, [[3, 4]], 1, id="a batch of one"),
        pytest.param([[4, 3]], True, [[3]], 4, id="a fixed batch, as model.json says"),
        pytest.param([[4, 3]], False, [[4, 3]], 0, id="no batch, as model.json says"),
        pytest.param([["sequence", 3]], False, [["sequence", 3]], 0, id="a series, as model.json says"),
        pytest.param([["sequence", 3]], True, [[3]], None, id="a batch with an odd name, as model.json says"),
        pytest.param([["batch", 3], [2]], None, [[3], [2]], None, id="one value for all beside a batch"),
        pytest.param([["batch", 3], []], None, [[3], []], None, id="a scalar beside a batch"),
        pytest.param([["a", 3], ["b", 4]], True, [[3], [4]], None, id="two names, as model.json says"),
        pytest.param([["batch"]], None, [[]], None, id="a scalar for each example"),
        pytest.param([[]], None, [[]], 0, id="a scalar alone"),
        pytest.param([[2, 3], [4, 3]], None, [[2, 3], [4, 3]], 0, id="lengths that are no batch"),
    ],
)
def test_an_example_is_what_stands_after_the_batch_axis(
    tmp_path: Path, inputs: list[list[Any]], batched: bool | None, shapes: list[list[Any]], rows: int | None
) -> None:
    model = identity(*((f"x{at}", "float32", axes) for at, axes in enumerate(inputs)))
    loaded = load(tmp_path, model, **({} if batched is None else {"batched": batched}))

    wanted = loaded.package.input

    assert isinstance(wanted, TensorInput)
    assert [list(one.shape) for one in wanted.tensors] == shapes
    assert wanted.rows == rows
    [outputs] = predict(
        loaded,
        {
            f"x{at}": np.ones([axis if isinstance(axis, int) else 2 for axis in one]).tolist()
            for at, one in enumerate(shapes)
        },
    )
    assert [one["shape"] for one in outputs.values()] == [
        [axis if isinstance(axis, int) else 2 for axis in one] for one in shapes
    ]


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        pytest.param([["sequence", 3]], "x0", id="a name that is part of an example"),
        pytest.param([["num_boxes", 4]], "x0", id="a number of things"),
        pytest.param([["a", 3], ["b", 4]], "x0", id="two names"),
        pytest.param([[4, 3]], "x0", id="a length that the output has too"),
    ],
)
def test_a_signature_that_can_be_read_in_two_ways_is_refused_with_the_key_that_settles_it(
    tmp_path: Path, inputs: list[list[Any]], named: str
) -> None:
    model = identity(*((f"x{at}", "float32", axes) for at, axes in enumerate(inputs)))

    with pytest.raises(ModelPackageError, match=rf"model\.json: batched: .* input '{named}' .* two ways") as refused:
        load(tmp_path, model)

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        pytest.param(
            passing("float32", ["batch", 3]), {"size": [3, 3]}, "size: is about images or features", id="an image's key"
        ),
        pytest.param(
            passing("float32", ["batch", 3]),
            {"feature_names": ["a", "b", "c"]},
            "feature_names: ",
            id="a feature's key",
        ),
        pytest.param(passing("complex64", ["batch", 3]), {}, "'x' is of type complex64", id="complex"),
        pytest.param(
            graph(
                [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
                [helper.make_tensor_value_info("x", TensorProto.BFLOAT16, ["batch", 2])],
                [tensor("y", "float32", ["batch", 2])],
            ),
            {},
            "'x' is of type bfloat16, which is not served",
            id="bfloat16",
        ),
        pytest.param(
            graph(
                [helper.make_node("SequenceConstruct", ["x"], ["y"])],
                [tensor("x", "float32", ["batch", 2])],
                [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)],
            ),
            {},
            r"output 'y' is sequence\(float32\) and no tensor: name the others under keep",
            id="a sequence",
        ),
        pytest.param(
            passing("float32", ["batch", 3]), {"labels": ["a", "b", "c"]}, "labels: ", id="labels of no output"
        ),
        pytest.param(passing("int64", ["batch", 3]), {"missing": "nan"}, "missing: ", id="no floats"),
        pytest.param(passing("float32", ["batch", 3]), {"padding": {"z": 0}}, 'no input "z"', id="an unknown input"),
        pytest.param(passing("float32", ["batch", 3]), {"padding": {"x": 0}}, "nothing to pad", id="nothing to pad"),
        pytest.param(passing("int64", ["batch", "n"]), {"padding": {"x": 0.5}}, "no int64", id="another type"),
        pytest.param(passing("int64", ["batch", None]), {"padding": {"x": 0}}, "name its open axes", id="no name"),
        pytest.param(
            identity(("a", "int64", ["batch", "n"]), ("b", "int64", ["batch", "n"])),
            {"padding": {"a": 0}},
            "input 'b' has the axis 'n' of 'a'",
            id="half of a pair",
        ),
        pytest.param(
            identity(("x", "float32", [4, 2]), outputs=[[3, 2]]),
            {"batched": True},
            r"takes 4 examples a run, and output 'x_out' is \[3, 2\]",
            id="a fixed batch and an output of another length",
        ),
    ],
)
def test_what_contradicts_the_file_or_cannot_be_served_is_refused_at_start(
    tmp_path: Path, model: ModelProto, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelPackageError, match=message):
        load(tmp_path, model, **settings)


SCORES = graph(
    [
        helper.make_node("Identity", ["x"], ["logits"]),
        helper.make_node("Softmax", ["x"], ["probabilities"]),
        helper.make_node("ArgMax", ["x"], ["best"], axis=1, keepdims=0),
        helper.make_node("ReduceSum", ["x", "axis"], ["sum"]),
    ],
    [tensor("x", "float32", ["batch", 3])],
    [
        tensor("logits", "float32", ["batch", 3]),
        tensor("probabilities", "float32", ["batch", 3]),
        tensor("best", "int64", ["batch"]),
        tensor("sum", "float32", ["batch", 1]),
    ],
    {"axis": np.array([1])},
)
SIXES, SHARES = [1.0, 3.0, 2.0], [0.09003057, 0.66524096, 0.24472847]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({}, (None, None, None, None), id="no answer"),
        pytest.param(
            {"answer": "logits", "activation": "softmax", "labels": ["a", "b", "c"]},
            (1, "b", SHARES[1], "b"),
            id="logits",
        ),
        pytest.param(
            {"answer": "logits", "labels": ["a", "b", "c"]}, (1, "b", None, "b"), id="logits without activation"
        ),
        pytest.param(
            {"answer": "logits", "activation": "softmax"}, (1, "1", SHARES[1], "1"), id="logits without labels"
        ),
        pytest.param({"answer": "probabilities"}, (1, "1", SHARES[1], "1"), id="probabilities"),
        pytest.param({"answer": "best", "labels": ["a", "b", "c"]}, (1, "b", None, "b"), id="a label"),
        pytest.param({"answer": "sum"}, (None, None, None, 6.0), id="a number"),
        pytest.param({"answer": "sum", "keep": ["sum", "best"]}, (None, None, None, 6.0), id="kept"),
    ],
)
@pytest.mark.parametrize("count", [1, 2])
def test_one_output_may_be_the_answer_and_all_are_answered_once(
    tmp_path: Path, settings: dict[str, Any], expected: tuple[Any, ...], count: int
) -> None:
    model = load(tmp_path, SCORES, **settings)

    made = model.predict([model.decode_tensors({"x": SIXES})] * count)

    for one in made:
        assert (one.likely_class, one.label, one.predicted_value) == (expected[0], expected[1], expected[3])
        assert one.confidence == (expected[2] and pytest.approx(expected[2]))
        assert isinstance(one.output, dict)
        assert list(one.output["outputs"]) == [
            name for name in ("logits", "probabilities", "best", "sum") if name in settings.get("keep", [name])
        ]
        assert one.outputs is None
        if "keep" not in settings:
            assert one.output["outputs"]["logits"]["data"] == SIXES  # what the model answers, before the activation


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"answer": "z"}, 'answer: the model has no output "z": its outputs are logits, probabilities, best, sum'),
        ({"keep": ["z"]}, 'keep: the model has no output "z"'),
        ({"answer": "sum", "keep": ["best"]}, "answer: is .* not one of those to keep"),
        ({"answer": "logits"}, "answer: is 'logits', .* say labels or activation .* else leave answer out"),
        ({"answer": "logits", "labels": ["a", "b"]}, "labels: 2 given, but output 'logits' has 3 values"),
        ({"answer": "best", "activation": "softmax"}, "activation: is softmax, but the model answers a label"),
        (
            {"answer": "probabilities", "activation": "softmax"},
            "activation: is softmax, but output 'probabilities' already",
        ),
        ({"labels": ["a", "b", "c"]}, "labels: is about one output: say which under answer"),
        ({"activation": "softmax"}, "activation: is about one output: say which under answer"),
        ({"missing": "NaN"}, "missing: must be one of nan"),
    ],
)
def test_an_answer_that_contradicts_the_outputs_is_refused_at_start(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelPackageError, match=message):
        load(tmp_path, SCORES, **settings)


def test_null_is_a_missing_value_where_the_package_says_so(tmp_path: Path) -> None:
    model = graph(
        [helper.make_node("IsNaN", ["x"], ["y"])],
        [tensor("x", "float32", ["batch", "n"]), tensor("z", "int64", ["batch"])],
        [tensor("y", "bool", ["batch", "n"])],
    )
    loaded = load(tmp_path, model, missing="nan")

    assert predict(loaded, {"x": [1, None, 2.5], "z": 1})[0]["y"]["data"] == [False, True, False]
    assert problems(loaded, {"x": [1, "x"], "z": None}) == [
        ("/inputs/x/1", 'input "x"[1] must be a finite number, or null if it is missing, not a text'),
        ("/inputs/z", 'input "z" must be a whole number from -9223372036854775808 to 9223372036854775807, not null'),
    ]
    assert problems(load(tmp_path, model), {"x": [1, None], "z": 1})[0][0] == "/inputs/x/1"


def test_an_output_that_can_never_be_stored_is_refused_at_start_unless_it_is_not_kept(tmp_path: Path) -> None:
    nodes = [helper.make_node("Expand", ["x", "shape"], ["raw"]), helper.make_node("Identity", ["x"], ["boxes"])]
    outputs = [tensor("raw", "float32", [1, 84, 100_800]), tensor("boxes", "float32", [1, 1, 1])]
    model = graph(nodes, [tensor("x", "float32", [1, 1, 1])], outputs, {"shape": np.array([1, 84, 100_800])})

    with pytest.raises(
        ModelPackageError, match=r"output 'raw' is \[84, 100800\] per input, .* under keep in model.json"
    ):
        load(tmp_path, model)

    assert predict(load(tmp_path, model, keep=["boxes"]), {"x": [[0.5]]}) == [
        {"boxes": {"shape": [1, 1], "datatype": "FP32", "data": [0.5]}}
    ]


@pytest.mark.parametrize("key", [{"padding": {"x": 0}}, {"batched": True}])
def test_keys_about_tensors_are_refused_where_the_task_is_another(tmp_path: Path, key: dict[str, Any]) -> None:
    with pytest.raises(ModelPackageError, match=f"{next(iter(key))}: is about tensors"):
        load(tmp_path, passing("float32", ["batch", 3]), task="regression", **key)


def test_the_settings_tell_two_paddings_apart(tmp_path: Path) -> None:
    model = passing("int64", ["batch", "n"])
    identities = [
        load(tmp_path, model, **settings).package.sha256
        for settings in ({}, {"padding": {"x": 0}}, {"padding": {"x": 1}}, {"batched": False}, {"batched": True})
    ]
    assert len(set(identities)) == 4
    assert identities[0] == identities[4]


# --- an example ---


@pytest.mark.parametrize(
    ("dtype", "value", "datatype", "data"),
    [
        ("float32", [1, 2.5, -0.0], "FP32", [1.0, 2.5, 0.0]),
        ("float64", [0.1, 1e300, 5e-324], "FP64", [0.1, 1e300, 5e-324]),
        ("float16", [1, 0.1, 65504], "FP16", [1.0, 0.0999755859375, 65504.0]),
        ("int64", [-(2**63), 2**63 - 1, 7.0], "INT64", [-(2**63), 2**63 - 1, 7]),
        ("int32", [1, 2, 3], "INT32", [1, 2, 3]),
        ("int8", [-128, 127, 0], "INT8", [-128, 127, 0]),
        ("uint8", [0, 255, 1], "UINT8", [0, 255, 1]),
        ("uint16", [0, 65535, 1], "UINT16", [0, 65535, 1]),
        ("bool", [True, False, True], "BOOL", [True, False, True]),
        ("string", ["a", "", "é漢🙂"], "BYTES", ["a", "", "é漢🙂"]),
    ],
)
@pytest.mark.parametrize("count", [1, 3])
def test_every_type_goes_in_and_comes_out(
    tmp_path: Path, dtype: str, value: list[Any], datatype: str, data: list[Any], count: int
) -> None:
    model = load(tmp_path, passing(dtype, ["batch", 3]))

    made = predict(model, *[{"x": value}] * count)

    assert made == [{"y": {"shape": [3], "datatype": datatype, "data": data}}] * count
    assert repr(made[0]["y"]["data"]) == repr(data)


@pytest.mark.parametrize("value", ["a", [[["a"]]]])
@pytest.mark.parametrize("count", [1, 3])
def test_a_text_of_any_rank_is_taken(tmp_path: Path, value: Any, count: int) -> None:
    shape = list(np.shape(value))
    made = predict(load(tmp_path, passing("string", ["batch", *shape])), *[{"x": value}] * count)
    assert made == [{"y": {"shape": shape, "datatype": "BYTES", "data": ["a"]}}] * count


@pytest.mark.parametrize("value", [2.5, [[[1.5]]]])
def test_a_value_of_any_rank_is_taken(tmp_path: Path, value: Any) -> None:
    shape = list(np.shape(value))
    model = load(tmp_path, passing("float32", ["batch", *shape]))
    assert predict(model, {"x": value}) == [
        {"y": {"shape": shape, "datatype": "FP32", "data": np.ravel(value).tolist()}}
    ]


def test_a_list_may_be_empty_where_its_length_is_open(tmp_path: Path) -> None:
    model = load(tmp_path, passing("float32", ["batch", "n", 2]))
    assert predict(model, {"x": []}) == [{"y": {"shape": [0, 2], "datatype": "FP32", "data": []}}]


PAIR = identity(
    ("ids", "int64", ["batch", "n"]), ("mask", "int64", ["batch", "n"]), ("a/b", "float32", ["batch", 2, 2])
)
GOOD = {"ids": [1, 2], "mask": [1, 1], "a/b": [[1, 2], [3, 4]]}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"ids": "x"}, [("/inputs/ids", 'input "ids" must be lists of the shape [n], each entry a whole number')]),
        ({"ids": [1, "x"]}, [("/inputs/ids/1", 'input "ids"[1] must be a whole number')]),
        ({"ids": [1, 1.5]}, [("/inputs/ids/1", "not 1.5")]),
        ({"ids": [1, 2**63]}, [("/inputs/ids/1", "not one beyond that")]),
        ({"ids": [1, True]}, [("/inputs/ids/1", "not a boolean")]),
        ({"ids": [1, None]}, [("/inputs/ids/1", "not null")]),
        ({"ids": [[1], [2]]}, [("/inputs/ids/0", "not a list"), ("/inputs/ids/1", "not a list")]),
        ({"ids": [1]}, [("/inputs/mask", "must have as many entries as in the input before, 1")]),
        ({"a/b": [[1, 2], [3]]}, [("/inputs/a~1b/1", "is ragged: 1 values here, but 2 in the first list")]),
        ({"a/b": [[1, 2], 3]}, [("/inputs/a~1b/1", "here is a number, not a list")]),
        ({"a/b": [[1, 2]]}, [("/inputs/a~1b", "but is [1, 2]: axis 0 must have 2 entries")]),
        ({"a/b": [[1, 2], [3, 1e400]]}, [("/inputs/a~1b/1/1", "not Infinity")]),
        ({"a/b": [[1, 2], [3, 1e39]]}, [("/inputs/a~1b/1/1", "not one beyond the float32")]),
        ({"c": 1}, [("/inputs/c", 'the model has no input "c": send an object with ids, mask, a/b')]),
        ({"ids": [1, "x"], "mask": [1, "y"]}, [("/inputs/ids/1", "not a text"), ("/inputs/mask/1", "not a text")]),
    ],
)
def test_every_mistake_is_pointed_at(tmp_path: Path, change: dict[str, Any], found: list[tuple[str, str]]) -> None:
    model = load(tmp_path, PAIR)

    told = problems(model, GOOD | change)

    assert [pointer for pointer, _ in told] == [pointer for pointer, _ in found]
    for (_, detail), (_, wanted) in zip(told, found, strict=True):
        assert wanted in detail


def test_a_missing_input_is_named_with_what_it_must_be(tmp_path: Path) -> None:
    told = problems(load(tmp_path, PAIR), {"ids": [1], "mask": [1]})
    assert told == [
        ("/inputs/a~1b", 'input "a/b" is missing: it must be lists of the shape [2, 2], each entry a finite number')
    ]


@pytest.mark.parametrize("nothing", [None, {}])
def test_no_inputs_are_missing_inputs(tmp_path: Path, nothing: object) -> None:
    with pytest.raises(MissingFeaturesError, match="send an object with ids, mask, a/b"):
        load(tmp_path, PAIR).decode_tensors(nothing)


def test_inputs_that_are_no_object_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFeaturesError, match="must be an object with ids, mask, a/b, not a list"):
        load(tmp_path, PAIR).decode_tensors([1, 2])


def test_of_very_many_mistakes_a_hundred_are_listed(tmp_path: Path) -> None:
    told = problems(load(tmp_path, passing("int64", ["batch", "n"])), {"x": ["a"] * 100_000})
    assert [pointer for pointer, _ in told] == [f"/inputs/x/{at}" for at in range(100)]


def test_of_mistakes_in_several_inputs_the_first_hundred_are_listed(tmp_path: Path) -> None:
    model = load(tmp_path, identity(("a", "int64", ["batch", "n"]), ("b", "int64", ["batch", "m"])))

    with pytest.raises(InvalidFeaturesError, match=r"\(and at least 100 more\)") as refused:
        model.decode_tensors({"a": ["x"] * 500, "b": ["x"]})

    assert len(refused.value.problems) == 101
    assert refused.value.problems[-1].detail == "and more problems"


def test_half_of_a_character_is_no_text(tmp_path: Path) -> None:
    assert problems(load(tmp_path, passing("string", ["batch", 1])), {"x": ["\ud800"]})[0][0] == "/inputs/x/0"


def test_an_input_with_a_value_in_the_file_may_be_left_out(tmp_path: Path) -> None:
    model = graph(
        [helper.make_node("Mul", ["x", "scale"], ["y"])],
        [tensor("x", "float32", ["batch", 2]), tensor("scale", "float32", [1])],
        [tensor("y", "float32", ["batch", 2])],
    )
    loaded = load(tmp_path, with_default(model, "scale", np.array([2], np.float32)))

    made = predict(loaded, {"x": [1, 2]}, {"x": [1, 2], "scale": [10]}, {"x": [3, 4]}, {"x": [1, 2], "scale": [0.5]})

    assert [one["y"]["data"] for one in made] == [[2, 4], [10, 20], [6, 8], [0.5, 1]]
    assert [one["optional"] for one in loaded.package.describe_input()["inputs"]] == [False, True]  # type: ignore[attr-defined]


def test_an_old_file_lists_its_weights_as_inputs_which_are_none(tmp_path: Path) -> None:
    model = graph(
        [helper.make_node("Mul", ["x", "scale"], ["y"])],
        [tensor("x", "float32", ["batch", 2]), tensor("scale", "float32", [1])],
        [tensor("y", "float32", ["batch", 2])],
    )
    model.ir_version = 3
    model.opset_import[0].version = 8
    loaded = load(tmp_path, with_default(model, "scale", np.array([2], np.float32)))
    assert problems(loaded, {"x": [1, 2], "scale": [1]})[0][0] == "/inputs/scale"


# --- runs ---


def runs_when_warm(model: Model, monkeypatch: pytest.MonkeyPatch, *, compared: bool = True) -> list[int]:
    """Return a list that gets the number of examples of each run, once the model has served for a while."""
    model.warm_up()
    if compared:
        model._to_compare = 0
    return runs_of(model, monkeypatch)


RAGGED = [[1], [2, 3], [4], [5, 6, 7], [8, 9]]


def test_examples_of_one_shape_share_a_run_and_no_value_is_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(tmp_path, passing("int64", ["batch", "n"]))
    runs = runs_when_warm(model, monkeypatch)

    made = predict(model, *({"x": one} for one in RAGGED))

    assert [one["y"]["data"] for one in made] == RAGGED
    assert sorted(runs) == [1, 2, 2]


@pytest.mark.parametrize("answer", [["batch", "n"], ["batch", "m"], ["batch", None], None], ids=str)
@pytest.mark.parametrize(
    ("dtype", "padding", "convert"),
    [("int64", 0, int), ("string", "", str), ("float32", -1, float), ("bool", False, bool)],
)
def test_padded_examples_share_a_run_and_answer_what_they_answer_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Axes, dtype: str, padding: Any, convert: type
) -> None:
    model = load(tmp_path, passing(dtype, ["batch", "n"], answer=answer), padding={"x": padding})
    runs = runs_when_warm(model, monkeypatch)
    examples = [[convert(value) for value in one] for one in RAGGED]

    made = predict(model, *({"x": one} for one in examples))

    assert [one["y"]["data"] for one in made] == examples
    assert [one["y"]["shape"] for one in made] == [[len(one)] for one in examples]
    assert runs == [5]


def masked_sum() -> ModelProto:
    """Make a model that answers the sum of a row without its values of 100."""
    nodes = [
        helper.make_node("Equal", ["x", "filled"], ["is_filled"]),
        helper.make_node("Where", ["is_filled", "nothing", "x"], ["own"]),
        helper.make_node("ReduceSum", ["own", "axis"], ["y"], keepdims=0),
    ]
    weights = {"filled": np.array(100), "nothing": np.array(0), "axis": np.array([1])}
    return graph(nodes, [tensor("x", "int64", ["batch", "n"])], [tensor("y", "int64", ["batch"])], weights)


@pytest.mark.parametrize(
    ("said", "runs_made"),
    [
        pytest.param({"padding": {"x": 100}}, [2, 1, 1] * 3 + [2], id="with what the model masks"),
        pytest.param({"padding": {"x": 7}}, [2, 1, 1, 1] + [1, 1] * 4, id="with what counts"),
        pytest.param({}, [1, 1] * 4, id="with nothing"),
    ],
)
def test_what_examples_are_filled_up_with_is_masked_by_the_model_or_they_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], runs_made: list[int]
) -> None:
    loaded = load(tmp_path, masked_sum(), **said)
    runs = runs_when_warm(loaded, monkeypatch, compared=False)
    for _ in range(4):
        assert [one["y"]["data"] for one in predict(loaded, {"x": [1, 2, 3]}, {"x": [1]})] == [[6], [1]]
    assert runs == runs_made


def test_an_output_that_is_not_one_entry_an_example_makes_examples_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many entries as there are examples in the run do not make it theirs: 3 of [3] belong to each of three."""
    model = graph(
        [helper.make_node("ReduceMax", ["x"], ["y"], axes=[0], keepdims=0), helper.make_node("Identity", ["x"], ["z"])],
        [tensor("x", "float32", ["batch", 3])],
        [tensor("y", "float32", [None]), tensor("z", "float32", ["batch", 3])],
    )
    loaded = load(tmp_path, model)
    runs = runs_when_warm(loaded, monkeypatch)

    made = predict(loaded, *({"x": [float(at)] * 3} for at in range(3)))

    assert [(one["y"]["data"], one["z"]["data"]) for one in made] == [
        ([float(at)] * 3, [float(at)] * 3) for at in range(3)
    ]
    assert runs == [1, 1, 1]


@pytest.mark.parametrize(
    ("axes", "runs_made"),
    [([None, 2], [1, 1]), (["rows", 2], [1, 1]), (["unk__9", 2], [1, 1]), (None, [1, 1]), ([1, 2], [2])],
    ids=str,
)
def test_an_output_shares_a_run_only_where_the_file_shows_that_it_follows_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, axes: Axes, runs_made: list[int]
) -> None:
    loaded = load(tmp_path, passing("float32", ["batch", 2], answer=axes) if axes else _shapeless())
    runs = runs_when_warm(loaded, monkeypatch)

    made = predict(loaded, {"x": [1, 2]}, {"x": [3, 4]})

    assert made == [{"y": {"shape": [2], "datatype": "FP32", "data": one}} for one in ([1, 2], [3, 4])]
    assert runs == runs_made


def test_a_first_axis_without_a_name_on_input_and_output_is_that_of_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load(tmp_path, passing("float32", [None, 2]))
    runs = runs_when_warm(loaded, monkeypatch)
    assert [one["y"]["data"] for one in predict(loaded, {"x": [1, 2]}, {"x": [3, 4]})] == [[1, 2], [3, 4]]
    assert runs == [2]


def _shapeless() -> ModelProto:
    model = passing("float32", ["batch", 2])
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model


def finds(*, batch: int | str = 1) -> ModelProto:
    """Make a model that returns the positions of the values above 0: any number of rows, also none."""
    return graph(
        [
            helper.make_node("Greater", ["x", "zero"], ["above"]),
            helper.make_node("NonZero", ["above"], ["positions"]),
            helper.make_node("Transpose", ["positions"], ["y"]),
        ],
        [tensor("x", "float32", [batch, 3])],
        [tensor("y", "int64", ["finds", 2])],
        {"zero": np.array(0, np.float32)},
    )


@pytest.mark.parametrize("batch", [1, "batch"])
def test_an_output_with_a_row_a_find_may_have_none(tmp_path: Path, batch: int | str) -> None:
    model = load(tmp_path, finds(batch=batch))

    made = predict(model, {"x": [0, 0, 0]}, {"x": [0, 1, 0]}, {"x": [1, 1, 1]})

    assert [one["y"]["shape"] for one in made] == [[0, 2], [1, 2], [3, 2]]
    assert [one["y"]["data"] for one in made] == [[], [0, 1], [0, 0, 0, 1, 0, 2]]


def test_a_fixed_batch_is_filled_up_with_copies_that_nobody_sees(tmp_path: Path) -> None:
    model = load(tmp_path, passing("float32", [4, 2]), batched=True)
    made = predict(model, *({"x": [at, at]} for at in range(6)))
    assert [one["y"]["data"] for one in made] == [[at, at] for at in range(6)]


def test_a_model_without_a_batch_axis_runs_each_example_alone(tmp_path: Path) -> None:
    model = load(tmp_path, passing("float32", ["sequence", 2]), batched=False)
    made = predict(model, {"x": [[1, 2]]}, {"x": [[1, 2], [3, 4]]})
    assert [one["y"]["shape"] for one in made] == [[1, 2], [2, 2]]


def test_examples_with_other_values_of_an_input_without_a_batch_axis_run_apart(tmp_path: Path) -> None:
    model = graph(
        [helper.make_node("Mul", ["x", "scale"], ["y"])],
        [tensor("x", "float32", ["batch", 2]), tensor("scale", "float32", [])],
        [tensor("y", "float32", ["batch", 2])],
    )
    made = predict(load(tmp_path, model), *({"x": [1, 2], "scale": scale} for scale in (2, 3, 2)))
    assert [one["y"]["data"] for one in made] == [[2, 4], [3, 6], [2, 4]]


def test_nan_in_any_output_refuses_the_example_that_it_is_for(tmp_path: Path) -> None:
    model = graph(
        [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Log", ["x"], ["logs"])],
        [tensor("x", "float32", ["batch", "n"])],
        [tensor("y", "float32", ["batch", "n"]), tensor("logs", "float32", ["batch", "n"])],
    )
    loaded = load(tmp_path, model)
    instances = [loaded.decode_tensors({"x": one}) for one in ([1], [1, 2], [-1], [3, 0], [1])]

    with pytest.raises(UnpredictableInputError, match=r"output 'logs' .* not a finite number") as refused:
        loaded.predict(instances)

    assert [one.instance for one in refused.value.problems] == [2, 3]


def test_values_that_the_model_refuses_are_the_callers_to_change(tmp_path: Path) -> None:
    model = graph(
        [helper.make_node("Gather", ["words", "x"], ["y"])],
        [tensor("x", "int64", ["batch", "n"])],
        [tensor("y", "float32", ["batch", "n", 2])],
        {"words": np.ones((3, 2), np.float32)},
    )
    loaded = load(tmp_path, model)
    instances = [loaded.decode_tensors({"x": one}) for one in ([0], [2, 99], [1])]

    with pytest.raises(InvalidFeaturesError) as refused:
        loaded.predict(instances)

    assert [(one.pointer, one.instance) for one in refused.value.problems] == [("/inputs", 1)]


# --- the command ---


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "of a made-up input"),
        ([], '-d \'{"inputs": {"input_ids": [1, 1, 1, 1, 1, 1, 1, 1], "attention_mask": '),
        (["--inputs", '{"inputs": {"input_ids": [1, 2], "attention_mask": [1, 1]}}'], '"logits": {"shape": [3]'),
    ],
)
def test_check_shows_a_package_of_tensors_and_predicts(
    tmp_path: Path, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = package(tmp_path, transformer(), task="tensors")
    assert main(["check", str(folder), *arguments]) == 0
    assert expected in capsys.readouterr().out
    assert main(["check", str(folder), "--features", "[1]"]) == 1
    assert "takes tensors (--inputs), not features" in capsys.readouterr().err
