"""Models as users export them, made small: what each is, and how its signature is read or why it is refused."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from tests.support import graphs
from tests.support.graphs import tensor

Make = Callable[[], ModelProto]

node = helper.make_node


def ml(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> onnx.NodeProto:
    return node(op, inputs, outputs, domain="ai.onnx.ml", **attributes)


@dataclass(frozen=True)
class Reading:
    """A model that is read in one way, and its answer to one input.

    Attributes
    ----------
    said
        model.json.
    given
        Features, tensors by name, or the pixels of an image.
    value, label, further
        What the prediction must hold: `predicted_value`, `label`, the data of the further outputs (of a model of
        tensors: of all outputs) by name, None for any data.
    """

    model: Make
    takes: str
    task: str
    given: Any
    value: Any = None
    label: str | None = None
    further: Mapping[str, Any] | None = None
    said: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Refusal:
    """A model that is refused at start, in one line with these words."""

    model: Make
    words: tuple[str, ...]
    said: Mapping[str, Any] = field(default_factory=dict)


# --- graphs ----------------------------------------------------------------------------------------------------------


def dense(
    weights: NDArray[Any],
    then: tuple[str, ...] = (),
    *,
    out: str = "y",
    dtype: str = "float32",
    answer: Any = None,
    batch: int | str = "N",
) -> ModelProto:
    """Make ``x @ weights`` as PyTorch's, Keras's and most other exporters write it."""
    model = graphs.linear(weights, then=then, dtype=dtype, answer=answer, batch=batch)
    for one in model.graph.node:
        one.output[:] = [out if name == "y" else name for name in one.output]
    model.graph.output[0].name = out
    return model


def heads(*outputs: tuple[str, str, list[Any], list[onnx.NodeProto]], width: int = 3) -> ModelProto:
    """Make a model of features with several outputs: name, dtype, shape and the nodes that compute it from ``x``."""
    nodes = [one for _, _, _, nodes in outputs for one in nodes]
    made = [tensor(name, dtype, axes) for name, dtype, axes, _ in outputs]
    column = np.array([[1.0], [2.0], [3.0]], np.float32)[:width]
    weights = {"column": column, "axis1": np.array([1]), "three": np.array([3])}
    return graphs.graph(nodes, [tensor("x", "float32", ["N", width])], made, weights)


def age(name: str = "age") -> tuple[str, str, list[Any], list[onnx.NodeProto]]:
    return name, "float32", ["N", 1], [node("MatMul", ["x", "column"], [name])]


def shares(name: str = "probabilities", width: int = 3) -> tuple[str, str, list[Any], list[onnx.NodeProto]]:
    return name, "float32", ["N", width], [node("Softmax", ["x"], [name])]


def best(name: str = "label") -> tuple[str, str, list[Any], list[onnx.NodeProto]]:
    return name, "int64", ["N"], [node("ArgMax", ["x"], [name], axis=1, keepdims=0)]


def attention(name: str = "attention") -> tuple[str, str, list[Any], list[onnx.NodeProto]]:
    return name, "float32", ["N", 3], [node("Neg", ["x"], ["less"]), node("Softmax", ["less"], [name])]


def same(name: str, axes: list[Any] | None = None) -> tuple[str, str, list[Any], list[onnx.NodeProto]]:
    return name, "float32", axes or ["N", 3], [node("Identity", ["x"], [name])]


def bert(*inputs: str, output: str = "logits", length: int | str = "sequence") -> ModelProto:
    """Make a classifier of tokens: the mean of their embeddings, then two logits."""
    nodes = [
        node("Gather", ["embeddings", inputs[0]], ["vectors"]),
        node("ReduceMean", ["vectors"], [output], axes=[1], keepdims=0),
    ]
    if len(inputs) > 1:
        nodes[1:] = [
            node("Cast", [inputs[1]], ["mask"], to=TensorProto.FLOAT),
            node("Unsqueeze", ["mask", "last"], ["wide"]),
            node("Mul", ["vectors", "wide"], ["seen"]),
            node("ReduceSum", ["seen", "second"], [output], keepdims=0),
        ]
    table = np.arange(20, dtype=np.float32).reshape(10, 2)
    return graphs.graph(
        nodes,
        [tensor(name, "int64", ["batch", length]) for name in inputs],
        [tensor(output, "float32", ["batch", 2])],
        {"embeddings": table, "last": np.array([2]), "second": np.array([1])},
    )


def hidden_states() -> ModelProto:
    """Make what optimum exports for feature extraction: one vector a token."""
    return graphs.graph(
        [node("Gather", ["embeddings", "input_ids"], ["last_hidden_state"])],
        [tensor("input_ids", "int64", ["batch_size", "sequence_length"])],
        [tensor("last_hidden_state", "float32", ["batch_size", "sequence_length", 2])],
        {"embeddings": np.arange(20, dtype=np.float32).reshape(10, 2)},
    )


def lstm() -> ModelProto:
    """Make a forecast of the next value from 60 rows of 12 values."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.normal(size=(1, 16, 12)).astype(np.float32) * 0.1,
        "r": rng.normal(size=(1, 16, 4)).astype(np.float32) * 0.1,
        "last": np.array([0]),
        "column": np.ones((4, 1), np.float32),
    }
    nodes = [
        node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
        node("LSTM", ["steps", "w", "r"], ["", "state", ""], hidden_size=4),
        node("Squeeze", ["state", "last"], ["h"]),
        node("MatMul", ["h", "column"], ["y"]),
    ]
    return graphs.graph(nodes, [tensor("x", "float32", ["N", 60, 12])], [tensor("y", "float32", ["N", 1])], weights)


def plane(axes: list[Any], *, kernel: tuple[int, ...] | None = None, new_axis: int = 1) -> ModelProto:
    """Make a model of a plane of numbers: a convolution where there is a kernel, and the largest value."""
    weights: dict[str, NDArray[Any]] = {"axis": np.array([new_axis])}
    nodes = []
    if kernel is not None:
        weights["kernel"] = np.full(kernel, 1 / np.prod(kernel), np.float32)
        nodes += [
            node("Unsqueeze", ["image", "axis"], ["planes"]),
            node("Conv", ["planes", "kernel"], ["found"]),
            node("GlobalMaxPool", ["found"], ["most"]),
            node("Flatten", ["most"], ["y"]),
        ]
    else:
        nodes += [node("ReduceMax", ["image"], ["y"], axes=[1, 2], keepdims=0)]
    batch = axes[0] if new_axis == 1 else 1
    return graphs.graph(nodes, [tensor("image", "float32", axes)], [tensor("y", "float32", [batch, 1])], weights)


def waveform() -> ModelProto:
    """Make a classifier of sound [N, 1, T]: the mean of what a convolution over time finds."""
    weights = {"kernel": np.ones((2, 1, 3), np.float32)}
    nodes = [
        node("Conv", ["audio", "kernel"], ["found"]),
        node("ReduceMean", ["found"], ["logits"], axes=[2], keepdims=0),
    ]
    return graphs.graph(
        nodes, [tensor("audio", "float32", ["N", 1, "T"])], [tensor("logits", "float32", ["N", 2])], weights
    )


def trees(*, missing: int = 1) -> ModelProto:
    """Make a tree that answers 10 below 0.5, 20 above, and goes left where the value is missing."""
    made = ml(
        "TreeEnsembleRegressor", ["x"], ["variable"],
        nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[0, 0, 0],
        nodes_values=[0.5, 0.0, 0.0], nodes_modes=["BRANCH_LT", "LEAF", "LEAF"],
        nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0], nodes_missing_value_tracks_true=[missing, 0, 0],
        target_treeids=[0, 0], target_nodeids=[1, 2], target_ids=[0, 0], target_weights=[10.0, 20.0], n_targets=1,
    )  # fmt: skip
    return graphs.graph([made], [tensor("x", "float32", ["N", 2])], [tensor("variable", "float32", ["N", 1])])


def imputer() -> ModelProto:
    """Make scikit-learn's SimpleImputer before a sum."""
    nodes = [
        ml("Imputer", ["x"], ["whole"], imputed_value_floats=[7.0, 8.0], replaced_value_float=float("nan")),
        node("ReduceSum", ["whole", "axis"], ["y"]),
    ]
    return graphs.graph(
        nodes, [tensor("x", "float32", ["N", 2])], [tensor("y", "float32", ["N", 1])], {"axis": np.array([1])}
    )


def tree_classifier(*, zipmap: bool, names: tuple[str, str] = ("label", "probabilities")) -> ModelProto:
    """Make what LightGBM, XGBoost and CatBoost become: a tree of two leaves, a label and probabilities."""
    label, scores = names
    made = ml(
        "TreeEnsembleClassifier", ["features"], [label, "raw" if zipmap else scores],
        nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[0, 0, 0],
        nodes_values=[0.5, 0.0, 0.0], nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
        class_treeids=[0] * 6, class_nodeids=[1, 1, 1, 2, 2, 2], class_ids=[0, 1, 2] * 2,
        class_weights=[0.75, 0.25, 0.0, 0.125, 0.625, 0.25], classlabels_int64s=[0, 1, 2],
    )  # fmt: skip
    nodes, outputs = [made], [tensor(label, "int64", ["N"])]
    if zipmap:
        nodes.append(ml("ZipMap", ["raw"], [scores], classlabels_int64s=[0, 1, 2]))
        floats = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
        kind = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, floats))
        outputs.append(helper.make_value_info(scores, kind))
    else:
        outputs.append(tensor(scores, "float32", ["N", 3]))
    return graphs.graph(nodes, [tensor("features", "float32", ["N", 3])], outputs)


def tree_label_beside(name: str, width: int, nodes: list[onnx.NodeProto]) -> ModelProto:
    """Make a tree of three classes that answers a label, and numbers beside it in place of its probabilities."""
    model = tree_classifier(zipmap=False, names=("label", "shares"))
    model.graph.node.extend(nodes)
    model.graph.output[1].CopyFrom(tensor(name, "float32", ["N", width]))
    return model


def several_labels() -> ModelProto:
    """Make what skl2onnx makes of a MultiOutputClassifier: a label [N, 2], and a sequence of probabilities."""
    nodes = [
        node("Greater", ["x", "half"], ["over"]),
        node("Cast", ["over"], ["label"], to=TensorProto.INT64),
        node("Sub", ["one", "x"], ["not"]),
        node("Split", ["x", "ones"], ["a", "b"], axis=1),
        node("Split", ["not", "ones"], ["na", "nb"], axis=1),
        node("Concat", ["na", "a"], ["first"], axis=1),
        node("Concat", ["nb", "b"], ["second"], axis=1),
        node("SequenceConstruct", ["first", "second"], ["probabilities"]),
    ]
    sequence = helper.make_tensor_sequence_value_info("probabilities", TensorProto.FLOAT, None)
    weights = {"half": np.array(0.5, np.float32), "one": np.array(1, np.float32), "ones": np.array([1, 1])}
    return graphs.graph(
        nodes, [tensor("x", "float32", [None, 2])], [tensor("label", "int64", [None, 2]), sequence], weights
    )


def scikit_learn(name: str) -> ModelProto:
    """Convert a trained model of scikit-learn."""
    from skl2onnx import to_onnx
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.ensemble import IsolationForest, RandomForestRegressor
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.multioutput import MultiOutputClassifier
    from sklearn.neural_network import MLPClassifier

    rows = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]] * 5, np.float32)
    both = rows.astype(int)
    model = {
        "logistic": lambda: LogisticRegression().fit(rows, both[:, 0]),
        "targets": lambda: MultiOutputClassifier(LogisticRegression()).fit(rows, both),
        "multilabel": lambda: MLPClassifier((4,), max_iter=300, random_state=0, solver="lbfgs").fit(rows, both),
        "clusters": lambda: KMeans(4, random_state=0, n_init=1).fit(rows),
        "outliers": lambda: IsolationForest(n_estimators=3, random_state=0).fit(rows),
        "line": lambda: LinearRegression().fit(rows, rows[:, 0] * 2),
        "lines": lambda: LinearRegression().fit(rows, np.c_[rows, rows[:, 0]]),
        "forest of targets": lambda: RandomForestRegressor(3, random_state=0, bootstrap=False).fit(rows, rows * 4),
        "components": lambda: PCA(2).fit(rows),
    }[name]()
    zipmap = {id(model): {"zipmap": False}} if name == "multilabel" else None
    made: ModelProto = to_onnx(model, rows[:1], target_opset={"": 17, "ai.onnx.ml": 3}, options=zipmap)
    return made


def torchvision() -> ModelProto:
    """Make a detector as torchvision exports it: rows for what is found, whatever their number.

    Each bright column of the image is a find: its box, its label and its score, which is its brightness.
    """
    nodes = [
        node("ReduceMax", ["images"], ["brightness"], axes=[0, 1, 2], keepdims=0),
        node("Greater", ["brightness", "half"], ["bright"]),
        node("NonZero", ["bright"], ["places"]),
        node("Transpose", ["places"], ["columns"], perm=[1, 0]),
        node("Cast", ["columns"], ["left"], to=TensorProto.FLOAT),
        node("Concat", ["left", "left", "left", "left"], ["boxes"], axis=1),
        node("Compress", ["brightness", "bright"], ["scores"], axis=0),
        node("Squeeze", ["columns", "last"], ["flat"]),
        node("Add", ["flat", "one"], ["labels"]),
    ]
    outputs = [
        tensor("boxes", "float32", ["found", 4]),
        tensor("labels", "int64", ["found"]),
        tensor("scores", "float32", ["found"]),
    ]
    weights = {"half": np.array(0.5, np.float32), "last": np.array([1]), "one": np.array(1)}
    return graphs.graph(nodes, [tensor("images", "float32", ["batch", 3, 8, 9])], outputs, weights)


def end_to_end() -> ModelProto:
    """Make what Ultralytics exports with its non-maximum suppression: 300 rows, of which most are padding."""
    found = np.zeros((1, 300, 6), np.float32)
    found[0, 0] = [1, 2, 3, 4, 0.5, 1]
    nodes = [node("ReduceMax", ["images"], ["most"], keepdims=0), node("Mul", ["found", "most"], ["output0"])]
    return graphs.graph(
        nodes,
        [tensor("images", "float32", [1, 3, 32, 32])],
        [tensor("output0", "float32", [1, 300, 6])],
        {"found": found},
    )


def tensorflow_detection() -> ModelProto:
    """Make what TensorFlow's detectors become: 5 rows for each image, and how many of them are finds."""
    weights = {
        "boxes": np.arange(20, dtype=np.float32).reshape(1, 5, 4),
        "scores": np.array([[0.75, 0.5, 0.25, 0.125, 0.0625]], np.float32),
        "classes": np.array([[1, 2, 1, 1, 1]], np.float32),
        "count": np.array([2], np.float32),
        "nothing": np.array(0, np.float32),
    }
    names = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
    nodes = [
        node("Cast", ["input_tensor"], ["floats"], to=TensorProto.FLOAT),
        node("ReduceMin", ["floats"], ["least"], keepdims=0),
        node("Mul", ["least", "nothing"], ["zero"]),
        *[node("Add", [weight, "zero"], [name]) for weight, name in zip(weights, names, strict=False)],
    ]
    outputs = [tensor(name, "float32", [1, 5, 4][: 3 - (at > 0) - (at > 2)]) for at, name in enumerate(names)]
    return graphs.graph(nodes, [tensor("input_tensor", "uint8", [1, None, None, 3])], outputs, weights)


def yolo(
    axes: list[Any] | None = ["batch", 84, 8400],  # noqa: B006 - nobody changes it
    *,
    rows: int = 84,
    columns: int = 8400,
) -> ModelProto:
    """Make the raw output of a YOLO: 84 numbers for each of 8,400 places."""
    nodes = [node("ReduceMin", ["images"], ["least"], keepdims=0), node("Add", ["halves", "least"], ["output0"])]
    return graphs.graph(
        nodes,
        [tensor("images", "float32", ["batch", 3, 64, 64])],
        [tensor("output0", "float32", axes)],
        {"halves": np.full((1, rows, columns), 0.5, np.float32)},
    )


def raw_boxes(axes: list[Any]) -> ModelProto:
    """Make what a detector has before its non-maximum suppression: four boxes, and a score of each of three classes."""
    length = axes[-1]
    weights = {
        "four": np.ones((1, 4, length), np.float32),
        "twelve": np.ones((1, 4, 3), np.float32),
        "kinds": np.ones((1, 4), np.float32),
    }
    nodes = [node("ReduceMin", ["images"], ["least"], keepdims=0)]
    nodes += [
        node("Add", [weight, "least"], [name])
        for weight, name in zip(weights, ("boxes", "scores", "labels"), strict=True)
    ]
    outputs = [
        tensor("boxes", "float32", axes),
        tensor("scores", "float32", [*axes[:2], 3]),
        tensor("labels", "float32", axes[:2]),
    ]
    return graphs.graph(nodes, [tensor("images", "float32", ["N", 3, 64, 64])], outputs, weights)


def found_places(batch: str | None, axes: list[Any] | None, *, beside: bool) -> ModelProto:
    """Make a model that answers where the values of all its rows are not 0, ``beside`` their largest or alone."""
    nodes = [node("NonZero", ["x"], ["by axis"]), node("Transpose", ["by axis"], ["whole"], perm=[1, 0])]
    nodes += [node("Cast", ["whole"], ["places"], to=TensorProto.FLOAT)]
    outputs = [tensor("places", "float32", axes)]
    if beside:
        nodes.append(node("ReduceMax", ["x"], ["most"], axes=[1]))
        outputs.append(tensor("most", "float32", [batch, 1]))
    return graphs.graph(nodes, [tensor("x", "float32", [batch, 3])], outputs)


def text() -> ModelProto:
    """Make a classifier of texts with the vocabulary inside."""
    nodes = [
        ml("LabelEncoder", ["text"], ["index"], keys_strings=["good", "bad"], values_int64s=[1, 0], default_int64=0),
        ml("LabelEncoder", ["index"], ["label"], keys_int64s=[0, 1], values_strings=["sad", "glad"]),
    ]
    return graphs.graph(nodes, [tensor("text", "string", ["N", 1])], [tensor("label", "string", ["N", 1])])


def tokeniser() -> ModelProto:
    """Make a model with its tokeniser inside, an operator of onnxruntime-extensions."""
    nodes = [
        node("BertTokenizer", ["text"], ["input_ids"], domain="ai.onnx.contrib"),
        node("Cast", ["input_ids"], ["y"], to=TensorProto.FLOAT),
    ]
    model = graphs.graph(nodes, [tensor("text", "string", ["N"])], [tensor("y", "float32", ["N", 1])])
    model.opset_import.append(helper.make_opsetid("ai.onnx.contrib", 1))
    return model


def quantised() -> ModelProto:
    """Make a classifier whose probabilities are quantised and back."""
    weights: dict[str, NDArray[Any]] = {
        "scale": np.array(1 / 256, np.float32),
        "zero_point": np.array(0, np.uint8),
    }
    nodes = [
        node("Softmax", ["x"], ["shares"]),
        node("QuantizeLinear", ["shares", "scale", "zero_point"], ["bytes"]),
        node("DequantizeLinear", ["bytes", "scale", "zero_point"], ["y"]),
    ]
    return graphs.graph(nodes, [tensor("x", "float32", ["N", 2])], [tensor("y", "float32", ["N", 2])], weights)


def local_function(*, name: str = "scores") -> ModelProto:
    """Make a model whose Softmax is in a function of its own, as PyTorch's exporter has written them."""
    function = helper.make_function(
        "pkg.onnxscript.torch_lib", "aten_softmax", ["a"], ["b"],
        [node("Softmax", ["a"], ["b"], axis=-1)], [helper.make_opsetid("", 17)],
    )  # fmt: skip
    call = node("aten_softmax", ["x"], [name], domain="pkg.onnxscript.torch_lib")
    model = graphs.graph([call], [tensor("x", "float32", ["N", 2])], [tensor(name, "float32", ["N", 2])])
    model.opset_import.append(helper.make_opsetid("pkg.onnxscript.torch_lib", 1))
    model.functions.append(function)
    return model


def with_default() -> ModelProto:
    """Make ``x * factor``, whose factor has a value in the file that a caller may replace."""
    return graphs.graph(
        [node("Mul", ["x", "factor"], ["y"])],
        [tensor("x", "float32", ["N", 1]), tensor("factor", "float32", [1])],
        [tensor("y", "float32", ["N", 1])],
        {"factor": np.array([3], np.float32)},
    )


def of_type(kind: onnx.TypeProto, name: str = "x") -> ModelProto:
    """Make a model whose input is of a type that is no tensor."""
    value = helper.make_value_info(name, kind)
    constant = node("Constant", [], ["y"], value_floats=[1.0])
    return graphs.graph([constant], [value], [tensor("y", "float32", [1])])


def float_type(axes: list[Any] | None) -> onnx.TypeProto:
    return helper.make_tensor_type_proto(TensorProto.FLOAT, axes)


def columns(*inputs: tuple[str, str, list[Any]], output: str = "y") -> ModelProto:
    """Make a model of several inputs that answers the first."""
    return graphs.graph(
        [node("Cast", [inputs[0][0]], [output], to=TensorProto.FLOAT)],
        [tensor(name, dtype, axes) for name, dtype, axes in inputs],
        [tensor(output, "float32", inputs[0][2])],
    )


def nonzero() -> ModelProto:
    """Make a model that answers the places of what is not zero, which may be none."""
    return graphs.graph(
        [node("NonZero", ["x"], ["places"])],
        [tensor("x", "float32", [1, "T"])],
        [tensor("places", "int64", [2, "found"])],
    )


def add_and_subtract() -> ModelProto:
    """Make Triton's own example."""
    inputs = [tensor(name, "int32", ["batch", 16]) for name in ("INPUT0", "INPUT1")]
    outputs = [tensor(name, "int32", ["batch", 16]) for name in ("OUTPUT0", "OUTPUT1")]
    nodes = [node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]), node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"])]
    return graphs.graph(nodes, inputs, outputs)


def text_pipeline() -> ModelProto:
    """Convert scikit-learn's classifier of texts: words, their weights, a regression."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import StringTensorType
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = ["a good day", "good food", "a bad day", "bad food"] * 3
    model = make_pipeline(TfidfVectorizer(lowercase=False), LogisticRegression()).fit(
        texts, ["glad", "glad", "sad", "sad"] * 3
    )
    types = [("text", StringTensorType([None, 1]))]
    made: ModelProto = to_onnx(model, initial_types=types, target_opset={"": 17, "ai.onnx.ml": 3})
    return made


def catboost() -> ModelProto:
    """Make what CatBoost writes of a classifier: a label, and a map of texts to probabilities for each row."""
    made = ml(
        "TreeEnsembleClassifier", ["features"], ["label", "probability_tensor"],
        nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[0, 0, 0],
        nodes_values=[0.5, 0.0, 0.0], nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
        class_treeids=[0] * 4, class_nodeids=[1, 1, 2, 2], class_ids=[0, 1] * 2,
        class_weights=[0.75, 0.25, 0.125, 0.875], classlabels_strings=["no", "yes"],
    )  # fmt: skip
    zipped = ml("ZipMap", ["probability_tensor"], ["probabilities"], classlabels_strings=["no", "yes"])
    kind = helper.make_map_type_proto(TensorProto.STRING, float_type(None))
    outputs = [
        tensor("label", "string", ["N"]),
        helper.make_value_info("probabilities", helper.make_sequence_type_proto(kind)),
    ]
    return graphs.graph([made, zipped], [tensor("features", "float32", ["N", 2])], outputs)


def in_bfloat16() -> ModelProto:
    """Make a model that computes in bfloat16 and has floats outside: of 1.00390625, 8 bits remain."""
    nodes = [
        node("Cast", ["x"], ["short"], to=TensorProto.BFLOAT16),
        node("Cast", ["short"], ["y"], to=TensorProto.FLOAT),
    ]
    return graphs.graph(nodes, [tensor("x", "float32", ["N", 1])], [tensor("y", "float32", ["N", 1])])


def quantised_picture() -> ModelProto:
    """Make a classifier of pictures of bytes, whose convolution is quantised."""
    weights: dict[str, NDArray[Any]] = {
        "scale": np.array(1 / 255, np.float32),
        "zero": np.array(0, np.uint8),
        "small": np.array(1 / 128, np.float32),
        "kernel_bytes": np.full((2, 3, 3, 3), 4, np.int8),
        "kernel_zero": np.array(0, np.int8),
    }
    weights["kernel_bytes"][1] = 2
    nodes = [
        node("DequantizeLinear", ["image", "scale", "zero"], ["floats"]),
        node("DequantizeLinear", ["kernel_bytes", "small", "kernel_zero"], ["kernel"]),
        node("Conv", ["floats", "kernel"], ["found"]),
        node("GlobalAveragePool", ["found"], ["mean"]),
        node("Flatten", ["mean"], ["logits"]),
        node("Softmax", ["logits"], ["scores"]),
    ]
    inputs, outputs = [tensor("image", "uint8", ["N", 3, 8, 9])], [tensor("scores", "float32", ["N", 2])]
    return graphs.graph(nodes, inputs, outputs, weights)


def mask() -> ModelProto:
    """Make a segmentation that answers the class of each pixel: where red is over blue, 0, else 2."""
    nodes = [node("ArgMax", ["image"], ["mask"], axis=1, keepdims=0)]
    return graphs.graph(nodes, [tensor("image", "float32", ["N", 3, 8, 9])], [tensor("mask", "int64", ["N", 8, 9])])


def over_threshold() -> ModelProto:
    """Make a model with a scalar beside its rows: which values are over it."""
    return graphs.graph(
        [node("Greater", ["x", "threshold"], ["over"])],
        [tensor("x", "float32", ["N", 2]), tensor("threshold", "float32", [])],
        [tensor("over", "bool", ["N", 2])],
    )


def graph_network() -> ModelProto:
    """Make a network of nodes and edges, each of any number: what each edge brings from its node."""
    return graphs.graph(
        [node("Gather", ["nodes", "edges"], ["messages"])],
        [tensor("nodes", "float32", ["num_nodes", 2]), tensor("edges", "int64", ["num_edges"])],
        [tensor("messages", "float32", ["num_edges", 2])],
    )


def denoiser() -> ModelProto:
    """Make a step of a diffusion: latent vectors, the time, and what a text says."""
    nodes = [
        node("Cast", ["timestep"], ["time"], to=TensorProto.FLOAT),
        node("ReduceMean", ["encoder_hidden_states"], ["said"], keepdims=1, axes=[1, 2]),
        node("Unsqueeze", ["said", "last"], ["wide"]),
        node("Mul", ["sample", "time"], ["later"]),
        node("Add", ["later", "wide"], ["out_sample"]),
    ]
    inputs = [
        tensor("sample", "float32", ["batch", 4, "height", "width"]),
        tensor("timestep", "int64", [1]),
        tensor("encoder_hidden_states", "float32", ["batch", "sequence", 3]),
    ]
    outputs = [tensor("out_sample", "float32", ["batch", 4, "height", "width"])]
    return graphs.graph(nodes, inputs, outputs, {"last": np.array([3])})


def decoder() -> ModelProto:
    """Make a decoder of tokens with its past, which is empty at first."""
    nodes = [
        node("Unsqueeze", ["input_ids", "ends"], ["wide"]),
        node("Cast", ["wide"], ["key"], to=TensorProto.FLOAT),
        node("Concat", ["past.key", "key"], ["present.key"], axis=2),
    ]
    inputs = [
        tensor("input_ids", "int64", ["batch", "sequence"]),
        tensor("past.key", "float32", ["batch", 1, "past_sequence", 1]),
    ]
    outputs = [tensor("present.key", "float32", ["batch", 1, "total", 1])]
    return graphs.graph(nodes, inputs, outputs, {"ends": np.array([1, 3])})


def external(folder: Path) -> Path:
    """Write a package whose weights are in a file beside it."""
    graphs.package(folder, dense(np.full((2, 1), 2.0)))
    model = onnx.load(folder / "model.onnx")
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    return folder


THREE = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
SIXTEEN = np.eye(2, 16)
