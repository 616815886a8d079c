"""A loaded model: one prediction and many, every form of output, batches, failures and execution providers."""

import io
import logging
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from PIL import Image

from functions.shared.inference.errors import (
    InvalidFeaturesError,
    ModelPackageError,
    ProviderUnavailableError,
    UnpredictableInputError,
)
from functions.shared.inference.model import Instance, Model
from functions.shared.inference.package import ModelPackage
from functions.shared.inference.prediction import Prediction
from tests.support import graphs

Load = Callable[..., Model]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def write_and_load(model: onnx.ModelProto, **settings: object) -> Model:
        return Model.load(ModelPackage.load(graphs.package(tmp_path / "model", model, **settings)))

    return write_and_load


def predict(model: Model, *features: object) -> list[Prediction]:
    return model.predict([model.decode_features(one) for one in features])


def values(prediction: Prediction) -> list[Any]:
    """Return an output that is no object."""
    assert isinstance(prediction.output, list)
    return prediction.output


def only(model: Model, features: object) -> Prediction:
    (prediction,) = predict(model, features)
    return prediction


def digit(seed: int = 0) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (28, 28), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


# --- forms of output -------------------------------------------------------------------------------------------------


def passing(width: int, dtype: str = "float32") -> onnx.ModelProto:
    """Make a model that answers its features, so that a test can choose the scores."""
    return graphs.passing(dtype, ["N", width])


def test_probabilities_are_a_classification(load: Load) -> None:
    model = load(passing(3), labels=["a", "b", "c"])
    assert only(model, [0.25, 0.5, 0.25]) == Prediction([0.25, 0.5, 0.25], 1, "b", 0.5, "b")


def test_without_labels_a_class_is_called_by_its_position(load: Load) -> None:
    assert only(load(passing(3), task="classification"), [0.0, 0.25, 0.75]) == Prediction(
        [0.0, 0.25, 0.75], 2, "2", 0.75, "2"
    )


def test_scores_that_are_no_probabilities_give_no_confidence(load: Load) -> None:
    model = load(passing(2), task="classification")
    assert only(model, [3.0, 7.0]) == Prediction([3.0, 7.0], 1, "1", None, "1")
    assert only(model, [0.5, 0.75]).confidence is None


def test_softmax_is_applied_to_logits_even_to_very_large_ones(load: Load) -> None:
    model = load(passing(3), activation="softmax")
    prediction = only(model, [1.0, 2.0, 3.0])
    expected = np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum()
    assert prediction.output == pytest.approx(expected.tolist(), abs=1e-7)
    assert prediction.confidence == values(prediction)[2]
    assert only(model, [3e38, -3e38, 0.0]).output == [1.0, 0.0, 0.0]


def test_sigmoid_is_applied_to_each_logit_even_to_very_large_ones(load: Load) -> None:
    model = load(passing(3), activation="sigmoid")
    prediction = only(model, [2.0, -3e38, 3e38])
    assert prediction.output == pytest.approx([1 / (1 + math.exp(-2)), 0.0, 1.0], abs=1e-7)
    assert (prediction.likely_class, prediction.confidence) == (2, 1.0)


def test_independent_probabilities_need_not_add_up_to_one(load: Load) -> None:
    model = load(graphs.linear(np.eye(3) * 2, then=["Sigmoid"]), task="classification")
    prediction = only(model, [1.0, 2.0, 0.0])
    assert prediction.likely_class == 1
    assert prediction.confidence == pytest.approx(1 / (1 + math.exp(-4)))


@pytest.mark.parametrize(
    ("logit", "index", "label", "confidence"),
    [(2.0, 1, "yes", 0.880797), (-2.0, 0, "no", 0.880797), (0.0, 0, "no", 0.5)],
)
def test_one_probability_tells_two_classes(load: Load, logit: float, index: int, label: str, confidence: float) -> None:
    inside = load(graphs.linear(np.ones((1, 1)), then=["Sigmoid"]), labels=["no", "yes"])
    outside = load(graphs.linear(np.ones((1, 1))), labels=["no", "yes"], activation="sigmoid")
    for model in (inside, outside):
        prediction = only(model, [logit])
        assert (prediction.likely_class, prediction.label, prediction.predicted_value) == (index, label, label)
        assert prediction.confidence == pytest.approx(confidence)
        assert prediction.output == pytest.approx([1 / (1 + math.exp(-logit))])


def test_one_probability_without_labels_where_model_json_says_classification(load: Load) -> None:
    assert only(load(passing(1), task="classification", activation="none"), [0.75]) == Prediction(
        [0.75], 1, "1", 0.75, "1"
    )


@pytest.mark.parametrize("answer", [["N", 1], ["N"], ["N", 1, 1]])
def test_one_number_is_a_regression_whatever_its_axes(load: Load, answer: list[Any]) -> None:
    target = np.array([-1] + [1] * (len(answer) - 1), np.int64)
    model = graphs.graph(
        [helper.make_node("Reshape", ["x", "target"], ["y"])],
        [graphs.tensor("x", "float32", ["N", 1])],
        [graphs.tensor("y", "float32", answer)],
        {"target": target},
    )
    predictions = predict(load(model), [2.5], [-1.5])
    assert [one.predicted_value for one in predictions] == [2.5, -1.5]
    assert (predictions[0].label, predictions[0].confidence, predictions[0].likely_class) == (None, None, None)
    assert np.ravel(np.array(predictions[0].output)).tolist() == [2.5]


def test_several_targets_are_a_list(load: Load) -> None:
    assert only(load(passing(2), task="regression"), [1.5, 2.5]) == Prediction([1.5, 2.5], None, None, None, [1.5, 2.5])


def test_an_output_of_more_axes_is_nested(load: Load) -> None:
    model = load(graphs.passing("float32", ["N", 1, 8, 9]), task="regression")
    assert model.package.task == "regression"
    output = model.predict([model.decode_image(digit())])[0].output
    assert np.array(output).shape == (1, 8, 9)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_numbers_are_plain_and_exact_whatever_the_models_type(load: Load, dtype: str) -> None:
    value = only(load(passing(1, dtype)), [0.1]).predicted_value
    assert type(value) is float
    assert value == float(np.dtype(dtype).type(0.1))


@pytest.mark.parametrize("dtype", ["int64", "uint8", "int32"])
def test_whole_numbers_stay_whole(load: Load, dtype: str) -> None:
    assert only(load(passing(1, dtype), task="regression"), [7]) == Prediction([7], None, None, None, 7)


def test_there_is_no_negative_zero(load: Load) -> None:
    value = only(load(passing(1)), [-0.0]).predicted_value
    assert math.copysign(1, value) == 1  # type: ignore[arg-type]  # a number here


def test_a_label_alone_is_a_classification_without_confidence(load: Load) -> None:
    assert only(load(passing(1, "string")), ["rose"]) == Prediction(["rose"], None, "rose", None, "rose")
    named = load(passing(1, "string"), labels=["lily", "rose"])
    assert only(named, ["rose"]) == Prediction(["rose"], 1, "rose", None, "rose")


def test_the_index_of_the_best_is_the_position_of_its_label(load: Load) -> None:
    node = helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=0)
    model = graphs.graph([node], [graphs.tensor("x", "float32", ["N", 3])], [graphs.tensor("y", "int64", ["N"])])
    assert only(load(model), [1, 5, 2]) == Prediction([1], 1, "1", None, "1")
    assert only(load(model, labels=["a", "b", "c"]), [1, 5, 2]) == Prediction([1], 1, "b", None, "b")


def _with_label(classes: np.ndarray[Any, Any]) -> onnx.ModelProto:
    """Make what skl2onnx makes of a classifier that has no operator of its own: classes[argmax], and the scores."""
    nodes = [
        helper.make_node("ArgMax", ["x"], ["best"], axis=1),
        helper.make_node("ArrayFeatureExtractor", ["classes", "best"], ["chosen"], domain="ai.onnx.ml"),
        helper.make_node("Reshape", ["chosen", "flat"], ["label"]),
        helper.make_node("Identity", ["x"], ["probabilities"]),
    ]
    outputs = [
        graphs.tensor("label", "int64" if classes.dtype == np.int64 else "string", ["N"]),
        graphs.tensor("probabilities", "float32", ["N", 3]),
    ]
    weights = {"classes": classes, "flat": np.array([-1])}
    return graphs.graph(nodes, [graphs.tensor("x", "float32", ["N", 3])], outputs, weights)


def test_the_label_that_the_model_answers_counts_and_its_position_is_found(load: Load) -> None:
    numbers = load(_with_label(np.array([3, 7, 9])))
    assert numbers.package.labels == ("3", "7", "9")
    assert only(numbers, [0.25, 0.5, 0.25]) == Prediction([0.25, 0.5, 0.25], 1, "7", 0.5, "7")
    texts = load(_with_label(np.array(["cat", "dog", "owl"], object)))
    assert only(texts, [0.25, 0.25, 0.5]) == Prediction([0.25, 0.25, 0.5], 2, "owl", 0.5, "owl")
    renamed = load(_with_label(np.array([3, 7, 9])), labels=["three", "seven", "nine"])
    assert only(renamed, [0.25, 0.5, 0.25]).label == "seven"


def _zipmap(keys: dict[str, Any], width: int, batch: int | str = "N") -> onnx.ModelProto:
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", **keys)
    key_type = onnx.TensorProto.INT64 if "classlabels_int64s" in keys else onnx.TensorProto.STRING
    floats = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [])
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(key_type, floats))
    inputs = [graphs.tensor("x", "float32", [batch, width])]
    return graphs.graph([node], inputs, [helper.make_value_info("y", maps)])


def test_a_zipmap_is_a_list_in_the_order_of_the_classes_not_of_the_keys(load: Load) -> None:
    texts = load(_zipmap({"classlabels_strings": ["owl", "cat"]}, 2))
    assert only(texts, [0.25, 0.75]) == Prediction([0.25, 0.75], 1, "cat", 0.75, "cat")
    numbers = load(_zipmap({"classlabels_int64s": [10, 2, 1]}, 3))
    assert only(numbers, [0.5, 0.25, 0.25]) == Prediction([0.5, 0.25, 0.25], 0, "10", 0.5, "10")


def test_a_zipmap_of_a_fixed_batch_loses_its_padding(load: Load) -> None:
    model = load(_zipmap({"classlabels_strings": ["owl", "cat"]}, 2, batch=3))
    predictions = predict(model, [1, 0], [0, 1], [1, 0], [0, 1])
    assert [one.label for one in predictions] == ["owl", "cat", "owl", "cat"]


def test_outputs_that_are_not_kept_are_not_computed(load: Load) -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["answer"]),
        helper.make_node("Gather", ["table", "index"], ["broken"]),
    ]
    model = graphs.graph(
        nodes,
        [graphs.tensor("x", "float32", ["N", 2])],
        [graphs.tensor("answer", "float32", ["N", 2]), graphs.tensor("broken", "float32", [1])],
        {"table": np.zeros(1, np.float32), "index": np.array([0])},
    )
    assert only(load(model, task="regression", keep=["answer"]), [1, 2]).output == [1.0, 2.0]


def test_labels_are_counted_at_load_even_where_only_a_run_tells_how_many_scores_there_are(load: Load) -> None:
    model = graphs.linear(np.ones((4, 10)), answer=["N", None])
    assert load(model, labels=[*range(10)]).package.answer.width is None
    with pytest.raises(ModelPackageError, match="labels: 20 given, but the model answers 10 values"):
        load(model, labels=[*range(20)])


# --- batches ---------------------------------------------------------------------------------------------------------


class CountingSession:
    """The runtime's session, with a note of how many rows each run had."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.rows: list[int] = []

    def run(self, names: list[str], feeds: dict[str, Any], options: Any = None) -> Any:
        self.rows.append(len(next(iter(feeds.values()))))
        return self.session.run(names, feeds, options)


def counted(model: Model) -> CountingSession:
    """Count the runs of a model that is warm, as it is where it serves, and whose shared runs have been compared."""
    model.warm_up()
    model._to_compare = 0
    session = CountingSession(model._session)
    model._session = session
    return session


def test_many_small_inputs_are_one_run(load: Load) -> None:
    model = load(graphs.linear(np.eye(3)), task="regression")
    session = counted(model)
    predictions = predict(model, *[[float(at), 0, 0] for at in range(100)])
    assert [values(one)[0] for one in predictions] == [float(at) for at in range(100)]
    assert session.rows == [100]


def test_no_inputs_are_no_run(load: Load) -> None:
    assert load(graphs.linear(np.eye(3)), task="regression").predict([]) == []


@pytest.mark.parametrize(("batch", "count", "runs"), [(1, 3, [1] * 3), (4, 4, [4]), (4, 1, [4]), (4, 10, [4] * 3)])
def test_a_fixed_batch_is_run_as_many_at_a_time_and_its_padding_dropped(
    load: Load, batch: int, count: int, runs: list[int]
) -> None:
    model = load(graphs.linear(np.eye(2), batch=batch), task="regression")
    session = counted(model)
    predictions = predict(model, *[[float(at), 1] for at in range(count)])
    assert [one.predicted_value for one in predictions] == [[float(at), 1.0] for at in range(count)]
    assert session.rows == runs


def test_inputs_that_are_large_together_are_run_in_groups(load: Load) -> None:
    model = load(graphs.conv_net("NCHW", size=(320, 320)))  # 400 kB each
    session = counted(model)
    images = [model.decode_image(digit(seed)) for seed in (1, 2, 3, 4, 5)]
    together = np.array([values(one) for one in model.predict(images)])
    assert session.rows == [2, 2, 1]
    assert np.allclose(together, [values(model.predict([one])[0]) for one in images], atol=1e-6)


def test_an_input_that_is_too_large_for_a_group_is_run_alone(load: Load) -> None:
    model = load(graphs.conv_net("NCHW", channels=3, size=(512, 512)))  # 3 MB each
    session = counted(model)
    model.predict([model.decode_image(digit())] * 3)
    assert session.rows == [1, 1, 1]


def test_images_of_different_sizes_are_run_apart_and_answered_in_order(load: Load) -> None:
    model = load(graphs.conv_net("NHWC", size=(None, None)))
    session = counted(model)
    files = []
    for side in (20, 20, 30, 20):
        file = io.BytesIO()
        Image.new("L", (side, side), side).save(file, "PNG")
        files.append(file.getvalue())
    predictions = model.predict([model.decode_image(data) for data in files])
    assert session.rows == [2, 1, 1]
    assert predictions[0] == predictions[1] == predictions[3] != predictions[2]


def test_a_batch_gives_what_single_predictions_give(load: Load) -> None:
    model = load(graphs.conv_net())
    instances = [model.decode_image(digit(seed)) for seed in range(20)]
    for together, alone in zip(model.predict(instances), (model.predict([one])[0] for one in instances), strict=True):
        assert together.output == pytest.approx(alone.output, abs=1e-6)


def test_a_graph_without_batch_axis_runs_one_by_one(load: Load) -> None:
    model = load(
        graphs.graph(
            [helper.make_node("MatMul", ["x", "weights"], ["y"])],
            [graphs.tensor("x", "float32", [3])],
            [graphs.tensor("y", "float32", [2])],
            {"weights": np.ones((3, 2), np.float32)},
        ),
        task="regression",
    )
    assert [one.output for one in predict(model, [1, 2, 3], [0, 0, 1])] == [[6.0, 6.0], [1.0, 1.0]]


def test_an_image_without_batch_axis_runs_one_by_one(load: Load) -> None:
    model = load(graphs.passing("float32", [8, 9, 3], answer=[8, 9, 3]), task="regression", color="rgb")
    predictions = model.predict([model.decode_image(digit(seed)) for seed in (0, 1)])
    assert np.array(predictions[0].output).shape == (8, 9, 3)
    assert predictions[0] != predictions[1]


def test_a_graph_that_melts_its_rows_into_one_is_run_one_by_one(load: Load) -> None:
    model = graphs.graph(
        [helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0)],
        [graphs.tensor("x", "float32", ["N", 2])],
        [graphs.tensor("y", "float32", [])],
    )
    assert [one.predicted_value for one in predict(load(model), [1, 3], [5, 5])] == [2.0, 5.0]


def test_a_zipmap_over_rows_melted_into_one_is_run_one_by_one(load: Load) -> None:
    model = _zipmap({"classlabels_strings": ["owl", "cat"]}, 2)
    model.graph.node[0].input[0] = "mean"
    model.graph.node.insert(0, helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0]))
    assert [one.label for one in predict(load(model), [1, 0], [0, 1])] == ["owl", "cat"]


def test_an_output_claimed_to_have_one_row_may_have_one_per_input(load: Load) -> None:
    # what PyTorch's exporter writes where only the input's axis was said to be dynamic
    model = load(graphs.linear(np.eye(3), answer=[1, 3]), task="classification")
    assert [one.likely_class for one in predict(model, [1, 0, 0], [0, 1, 0])] == [0, 1]


def test_several_threads_may_predict_at_once(load: Load) -> None:
    model = load(graphs.conv_net())
    instances = [model.decode_image(digit(seed)) for seed in range(8)]
    expected = [model.predict([one]) for one in instances]
    wrong: list[int] = []

    def work(at: int) -> None:
        wrong.extend(at for _ in range(50) if model.predict([instances[at]]) != expected[at])

    threads = [threading.Thread(target=work, args=(at,)) for at in range(len(instances))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# --- failures --------------------------------------------------------------------------------------------------------


def test_an_answer_that_is_not_finite_is_refused_and_the_input_named(load: Load) -> None:
    node = helper.make_node("Div", ["one", "x"], ["y"])
    model = load(
        graphs.graph(
            [node],
            [graphs.tensor("x", "float32", ["N", 1])],
            [graphs.tensor("y", "float32", ["N", 1])],
            {"one": np.ones(1, np.float32)},
        )
    )
    with pytest.raises(UnpredictableInputError, match="not a finite number") as caught:
        predict(model, [1], [0], [2], [0])
    assert [problem.instance for problem in caught.value.problems] == [1, 3]


def test_in_a_fixed_batch_too_the_right_input_is_named_once(load: Load) -> None:
    model = load(
        graphs.graph(
            [helper.make_node("Log", ["x"], ["y"])],
            [graphs.tensor("x", "float32", [3, 1])],
            [graphs.tensor("y", "float32", [3, 1])],
        )
    )
    with pytest.raises(UnpredictableInputError) as caught:
        predict(model, [1], [1], [1], [-1])
    assert [problem.instance for problem in caught.value.problems] == [3]


def _only_known_categories() -> onnx.ModelProto:
    node = helper.make_node("OneHotEncoder", ["x"], ["y"], domain="ai.onnx.ml", cats_strings=["a", "b"], zeros=0)
    return graphs.graph([node], [graphs.tensor("x", "string", ["N", 1])], [graphs.tensor("y", "float32", ["N", 1, 2])])


def test_values_that_the_model_itself_refuses_are_the_callers_and_named_without_internals(
    load: Load, capfd: pytest.CaptureFixture[str]
) -> None:
    model = load(_only_known_categories(), task="classification")
    assert only(model, ["b"]).likely_class == 1
    with pytest.raises(InvalidFeaturesError) as caught:
        predict(model, ["a"], ["c"], ["b"], ["d"])
    assert [(one.instance, one.pointer) for one in caught.value.problems] == [(1, "/features"), (3, "/features")]
    assert str(caught.value) == "the model cannot take these values"
    assert capfd.readouterr().err == ""  # the runtime keeps quiet: what it says is in the log


def test_a_made_up_input_that_the_model_refuses_does_not_keep_it_from_starting(load: Load) -> None:
    load(_only_known_categories(), task="classification").warm_up()


def test_an_image_of_a_size_that_the_model_cannot_take_is_refused(load: Load) -> None:
    model = load(graphs.conv_net(size=(None, None)))
    tiny = io.BytesIO()
    Image.new("L", (2, 2)).save(tiny, "PNG")
    with pytest.raises(UnpredictableInputError, match="cannot take an image of this size"):
        model.predict([model.decode_image(tiny.getvalue())])


def test_any_number_of_features_is_a_question_to_the_model_where_the_file_leaves_it_open(load: Load) -> None:
    model = graphs.linear(np.ones((3, 2)))
    model.graph.input[0].type.tensor_type.shape.dim[1].Clear()
    loaded = load(model, task="regression")
    assert only(loaded, [1, 2, 3]).output == [6.0, 6.0]
    with pytest.raises(InvalidFeaturesError) as caught:
        predict(loaded, [1, 2, 3], [1, 2])
    assert [problem.instance for problem in caught.value.problems] == [1]


def test_a_file_that_the_runtime_cannot_load_is_refused_at_load(tmp_path: Path) -> None:
    model = passing(1)
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ModelPackageError, match=r"^model\.onnx: onnxruntime cannot load it: "):
        Model.load(ModelPackage.load(graphs.package(tmp_path, model)))


def test_weights_may_lie_beside_the_file(tmp_path: Path) -> None:
    folder = graphs.package(tmp_path, graphs.linear(np.ones((64, 1))))
    model = onnx.load(folder / "model.onnx")
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    instance = Model.load(ModelPackage.load(folder))
    assert only(instance, [1.0] * 64).output == [64.0]


def test_a_model_of_features_decodes_no_images_and_the_other_way_round(load: Load) -> None:
    with pytest.raises(TypeError, match="takes features, not images"):
        load(passing(1)).decode_image(digit())
    with pytest.raises(TypeError, match="takes image, not features"):
        load(graphs.conv_net()).decode_features([1])


# --- start -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (graphs.conv_net(), {}),
        (graphs.conv_net("NCHW", channels=3, size=(None, None), dtype="float16"), {}),
        (graphs.conv_net(batch=4, dtype="uint8"), {}),
        (graphs.passing("float32", [24, 24, 3]), {"color": "rgb", "task": "regression"}),
        (graphs.linear(np.ones((3, 2)), batch=2), {"task": "classification"}),
        (graphs.passing("float32", ["N", None]), {"task": "embedding"}),
        (graphs.passing("string", ["N", 1]), {}),
        (graphs.passing("bool", ["N", 2]), {"task": "multi-target"}),
    ],
)
def test_every_model_warms_up_on_a_made_up_input(load: Load, model: onnx.ModelProto, said: dict[str, object]) -> None:
    loaded = load(model, **said)
    loaded.warm_up()
    assert isinstance(loaded.made_up_instance(), Instance)


def test_auto_is_the_cpu_where_there_is_no_cuda(load: Load) -> None:
    assert load(passing(1)).provider == "CPUExecutionProvider"


def test_an_explicit_list_is_taken_in_its_order(tmp_path: Path) -> None:
    package = ModelPackage.load(graphs.package(tmp_path, passing(1)))
    assert Model.load(package, providers=" CPUExecutionProvider ,").provider == "CPUExecutionProvider"


@pytest.mark.parametrize("providers", ["CUDAExecutionProvider,CPUExecutionProvider", "cpu", "", ","])
def test_an_explicit_list_that_cannot_be_had_fails_at_load(tmp_path: Path, providers: str) -> None:
    package = ModelPackage.load(graphs.package(tmp_path, passing(1)))
    with pytest.raises(ProviderUnavailableError, match="execution provider"):
        Model.load(package, providers=providers)


class SessionWithoutItsLibraries(onnxruntime.InferenceSession):  # type: ignore[misc]  # onnxruntime is untyped
    """What the GPU build makes where there is no device: it was asked for CUDA, and quietly took the CPU."""

    def __init__(self, path: str, options: Any, *, providers: list[str], **settings: Any) -> None:
        del providers
        super().__init__(path, options, providers=["CPUExecutionProvider"], **settings)


@pytest.fixture
def gpu_build_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
    monkeypatch.setattr(onnxruntime, "InferenceSession", SessionWithoutItsLibraries)


@pytest.mark.usefixtures("gpu_build_without_a_gpu")
def test_auto_falls_back_to_the_cpu_with_one_log_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    package = ModelPackage.load(graphs.package(tmp_path, passing(1)))
    assert Model.load(package).provider == "CPUExecutionProvider"
    assert [record.getMessage() for record in caplog.records if "CUDA" in record.getMessage()] == [
        "CUDA is in this build of onnxruntime, but its device or libraries are not here: using the CPU"
    ]


@pytest.mark.usefixtures("gpu_build_without_a_gpu")
def test_a_runtime_that_quietly_takes_the_cpu_instead_is_found_out(tmp_path: Path) -> None:
    package = ModelPackage.load(graphs.package(tmp_path, passing(1)))
    with pytest.raises(ProviderUnavailableError, match="CUDAExecutionProvider cannot be had on this machine"):
        Model.load(package, providers="CUDAExecutionProvider,CPUExecutionProvider")
