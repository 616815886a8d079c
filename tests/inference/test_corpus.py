"""Each model as users export it has its right reading and answer, or is refused at start with the key that settles it.

A wrong reading that answers is the worst there is: whatever can be read in two ways is among the refusals, and the same
model with the key is among the readings.
"""

import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from PIL import Image

from functions.shared.inference.errors import InputError, ModelPackageError, ModelRunError
from functions.shared.inference.model import Instance, Model
from functions.shared.inference.package import ModelPackage
from functions.shared.inference.prediction import Prediction
from tests.inference.corpus import (
    SIXTEEN,
    THREE,
    Reading,
    Refusal,
    add_and_subtract,
    age,
    attention,
    bert,
    best,
    catboost,
    columns,
    decoder,
    denoiser,
    dense,
    end_to_end,
    external,
    float_type,
    found_places,
    graph_network,
    heads,
    hidden_states,
    imputer,
    in_bfloat16,
    local_function,
    lstm,
    mask,
    node,
    nonzero,
    of_type,
    over_threshold,
    plane,
    quantised,
    quantised_picture,
    raw_boxes,
    same,
    scikit_learn,
    several_labels,
    shares,
    tensorflow_detection,
    text,
    text_pipeline,
    tokeniser,
    torchvision,
    tree_classifier,
    tree_label_beside,
    trees,
    waveform,
    with_default,
    yolo,
)
from tests.support import graphs
from tests.support.graphs import tensor

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

SOFT = [0.0900306, 0.2447285, 0.6652410]
"""The softmax of 0, 1, 2."""

WHITE = np.full((8, 9, 3), 255, np.uint8)
BLACK = np.zeros((8, 9, 3), np.uint8)
TWO_COLUMNS = BLACK.copy()
TWO_COLUMNS[:, 2] = 255
TWO_COLUMNS[:, 5] = 204

READINGS: dict[str, Reading] = {
    # --- scikit-learn ---
    "scikit-learn: a classifier": Reading(
        partial(scikit_learn, "logistic"), "features", "classification", [1.0, 0.0], "1", "1"
    ),
    "scikit-learn: a regression": Reading(partial(scikit_learn, "line"), "features", "regression", [1.0, 0.0], 2.0),
    "scikit-learn: a regression of several targets": Reading(
        partial(scikit_learn, "lines"), "features", "regression", [1.0, 0.0], [1.0, 0.0, 1.0],
        said={"task": "regression"},
    ),
    "scikit-learn: a forest that declares one target and answers two": Reading(
        partial(scikit_learn, "forest of targets"), "features", "regression", [1.0, 0.0], [4.0, 0.0]
    ),
    "scikit-learn: several targets": Reading(
        partial(scikit_learn, "targets"), "features", "multi-target", [1.0, 0.0], [1, 0],
        further={"probabilities[0]": None, "probabilities[1]": None}, said={"task": "multi-target"},
    ),
    "scikit-learn: several labels": Reading(
        partial(scikit_learn, "multilabel"), "features", "multi-target", [1.0, 0.0], [1, 0],
        further={"probabilities": None}, said={"task": "multi-target"},
    ),
    "scikit-learn: clusters": Reading(partial(scikit_learn, "clusters"), "features", "classification", [1.0, 0.0]),
    "scikit-learn: outliers": Reading(partial(scikit_learn, "outliers"), "features", "classification", [1.0, 0.0]),
    "scikit-learn: components": Reading(
        partial(scikit_learn, "components"), "features", "embedding", [1.0, 0.0], said={"task": "embedding"}
    ),
    "two targets, as a MultiOutputClassifier has them": Reading(
        several_labels, "features", "multi-target", [0.75, 0.25], [1, 0],
        further={"probabilities[0]": [0.25, 0.75], "probabilities[1]": [0.75, 0.25]}, said={"task": "multi-target"},
    ),
    # --- trees ---
    "LightGBM: a map per row": Reading(
        partial(tree_classifier, zipmap=True), "features", "classification", [1.0, 0.0, 0.0], "1", "1"
    ),
    "XGBoost: probabilities": Reading(
        partial(tree_classifier, zipmap=False), "features", "classification", [0.0, 0.0, 0.0], "0", "0"
    ),
    "trees: a label, and one number that is no score of its classes": Reading(
        partial(tree_label_beside, "age", 1, [node("ReduceMax", ["features"], ["age"], axes=[1])]),
        "features", "classification", [1.0, 0.0, 7.0], "1", "1", {"age": [7.0]},
    ),
    "trees: a label, and more numbers than classes": Reading(
        partial(tree_label_beside, "output_1", 6, [node("Concat", ["features"] * 2, ["output_1"], axis=1)]),
        "features", "classification", [1.0, 0.0, 7.0], "1", "1", {"output_1": [1.0, 0.0, 7.0] * 2},
    ),
    "trees: a label, and as many numbers as classes": Reading(
        partial(tree_label_beside, "output_1", 3, [node("Identity", ["shares"], ["output_1"])]),
        "features", "classification", [1.0, 0.0, 7.0], "1", "1",
    ),
    "CatBoost: a regression": Reading(
        partial(dense, np.array([[2.0], [3.0]]), out="predictions"), "features", "regression", [1.0, 1.0], 5.0
    ),
    "trees trained with missing values": Reading(
        trees, "features", "regression", [None, 1.0], 10.0, said={"missing": "nan"}
    ),
    "an imputer": Reading(imputer, "features", "regression", [None, 1.0], 8.0, said={"missing": "nan"}),
    "CatBoost: a classifier": Reading(catboost, "features", "classification", [1.0, 0.0], "yes", "yes"),
    # --- PyTorch, Keras ---
    "PyTorch: logits": Reading(
        partial(dense, np.eye(3)), "features", "classification", [0.0, 1.0, 2.0], "c", "c",
        said={"labels": ["a", "b", "c"], "activation": "softmax"},
    ),
    "PyTorch: an output whose batch axis has a name that its exporter made up": Reading(
        partial(dense, np.eye(2, 1), answer=["MatMuly_dim_0", 1]), "features", "regression", [3.0, 1.0], 3.0
    ),
    "Keras: probabilities": Reading(
        partial(dense, np.eye(3), ("Softmax",)), "features", "classification", [0.0, 1.0, 2.0], "2", "2"
    ),
    "the best of many": Reading(
        partial(dense, np.eye(3), ("Softmax",)), "features", "classification", [0.0, 2.0, 1.0], "1", "1",
        said={"top_k": 2},
    ),
    "Keras: one probability": Reading(
        partial(dense, np.eye(2, 1), ("Sigmoid",)), "features", "classification", [9.0, 0.0], "1", "1",
        said={"task": "classification"},
    ),
    "Keras: one number from 0 to 1": Reading(
        partial(dense, np.eye(2, 1), ("Sigmoid",)), "features", "regression", [0.0, 0.0], 0.5,
        said={"task": "regression"},
    ),
    "Keras: several inputs": Reading(
        partial(columns, ("left", "float32", ["N", 1]), ("right", "float32", ["N", 2])),
        "features", "regression", [4.0, 5.0, 6.0], 4.0,
    ),
    "several independent labels": Reading(
        partial(dense, np.eye(2), ("Sigmoid",)), "features", "classification", [0.0, 9.0], "b", "b",
        said={"labels": ["a", "b"]},
    ),
    # --- pictures ---
    "a picture, channels last": Reading(graphs.conv_net, "image", "classification", np.zeros((28, 28), np.uint8)),
    "a picture of any size in any batch, as optimum exports it": Reading(
        partial(graphs.conv_net, "NCHW", channels=3, size=("height", "width"), batch="batch_size"),
        "image", "classification", BLACK,
    ),
    "a grey picture without a channel axis": Reading(
        partial(plane, ["N", 8, 9]), "image", "regression", WHITE, 1.0, said={"color": "grey"}
    ),
    "a grey picture without a channel axis, by its size": Reading(
        partial(plane, ["N", 8, 9]), "image", "regression", WHITE, 1.0, said={"size": [8, 9]}
    ),
    "a grey picture without a channel axis, by its convolution": Reading(
        partial(plane, ["N", 8, 9], kernel=(1, 1, 3, 3)), "image", "regression", WHITE, 1.0
    ),
    "a picture without a batch axis, by its convolution": Reading(
        partial(plane, [3, 8, 9], kernel=(1, 3, 3, 3), new_axis=0), "image", "regression", WHITE, 1.0
    ),
    "a picture without a batch axis": Reading(
        partial(graphs.passing, "float32", [3, 8, 9], answer=[3, 8, 9]), "image", "regression", WHITE,
        np.ones((3, 8, 9)).tolist(), said={"color": "rgb", "task": "regression"},
    ),
    "segmentation": Reading(
        partial(graphs.passing, "float32", ["N", 1, 8, 9]), "image", "regression", WHITE, [np.ones((8, 9)).tolist()],
        said={"task": "regression"},
    ),
    "a segmentation that answers classes": Reading(
        mask, "image", "regression", WHITE, np.zeros((8, 9), int).tolist(), said={"task": "regression"}
    ),
    "a quantised picture": Reading(quantised_picture, "image", "classification", WHITE, "0", "0"),
    "the raw output of a YOLO": Reading(
        yolo, "image", "regression", np.full((64, 64, 3), 255, np.uint8), further={"output0": None},
        said={"task": "regression"},
    ),
    # --- vectors ---
    "an embedding": Reading(
        partial(dense, SIXTEEN), "features", "embedding", [1.0, 2.0], [1.0, 2.0, *[0.0] * 14],
        said={"task": "embedding"},
    ),
    "a regression of three targets": Reading(
        partial(dense, THREE), "features", "regression", [1.0, 2.0], [1.0, 2.0, 3.0], said={"task": "regression"}
    ),
    "three targets": Reading(
        partial(dense, THREE), "features", "multi-target", [1.0, 2.0], [1.0, 2.0, 3.0], said={"task": "multi-target"}
    ),
    "a forecast": Reading(
        partial(dense, THREE), "features", "regression", [1.0, 0.0], [1.0, 0.0, 1.0], said={"task": "regression"}
    ),
    "an autoencoder": Reading(
        partial(dense, np.eye(2), ("Sigmoid",)), "features", "regression", [0.0, 0.0], [0.5, 0.5],
        said={"task": "regression"},
    ),
    # --- several outputs ---
    "two heads": Reading(
        partial(heads, age(), shares()), "features", "classification", [0.0, 1.0, 2.0], "2", "2", {"age": [8.0]}
    ),
    "two heads, the other one the answer": Reading(
        partial(heads, age(), shares()), "features", "regression", [0.0, 1.0, 2.0], 8.0,
        further={"probabilities": SOFT}, said={"answer": "age"},
    ),
    "two heads, one kept": Reading(
        partial(heads, age(), shares()), "features", "regression", [0.0, 1.0, 2.0], 8.0, said={"keep": ["age"]}
    ),
    "a label, probabilities and an age": Reading(
        partial(heads, best(), shares(), age()), "features", "classification", [0.0, 1.0, 2.0], "2", "2", {"age": [8.0]}
    ),
    "a label, an age and a weight": Reading(
        partial(heads, best(), age(), age("weight")), "features", "classification", [0.0, 1.0, 2.0], "2", "2",
        {"age": [8.0], "weight": [8.0]},
    ),
    "a label and an age of an open shape": Reading(
        lambda: heads(best(), ("age", "float32", ["N", None], age()[3])), "features", "classification",
        [0.0, 1.0, 2.0], "2", "2", {"age": [8.0]},
    ),
    "a label and a share that is none of a class": Reading(
        lambda: heads(best(), ("risk", "float32", ["N", 1], [
            node("MatMul", ["x", "column"], ["sum"]), node("Sigmoid", ["sum"], ["risk"]),
        ])), "features", "classification", [0.0, 0.0, 0.0], "0", "0", {"risk": [0.5]},
    ),
    "a label with names and the weights of an attention": Reading(
        partial(heads, best(), attention()), "features", "classification", [0.0, 1.0, 2.0], "c", "c",
        {"attention": SOFT[::-1]}, said={"labels": ["a", "b", "c"]},
    ),
    "a label and the weights of an attention": Reading(
        partial(heads, best(), attention()), "features", "classification", [0.0, 1.0, 2.0], "2", "2",
        {"attention": SOFT[::-1]},
    ),
    "a label and its probabilities, whatever they are called": Reading(
        partial(heads, best(), shares("output_1")), "features", "classification", [0.0, 1.0, 2.0], "2", "2"
    ),
    "a label and an age": Reading(
        partial(heads, best(), age()), "features", "classification", [0.0, 1.0, 2.0], "2", "2", {"age": [8.0]}
    ),
    "a label and its one score": Reading(
        partial(heads, best(), age("scores")), "features", "classification", [0.0, 1.0, 2.0], "2", "2"
    ),
    "logits, and the weights of an attention": Reading(
        partial(heads, same("logits"), attention()), "features", "classification", [0.0, 1.0, 2.0], "2", "2",
        {"attention": SOFT[::-1]}, said={"answer": "logits", "task": "classification"},
    ),
    "the mean of a Gaussian process, and its deviation": Reading(
        partial(heads, age("GPmean"), age("GPstd")), "features", "regression", [0.0, 1.0, 2.0], 8.0,
        further={"GPstd": [8.0]}, said={"answer": "GPmean"},
    ),
    "survival: a risk, and a curve": Reading(
        partial(heads, age("risk"), same("survival")), "features", "regression", [0.0, 1.0, 2.0], 8.0,
        further={"survival": [0.0, 1.0, 2.0]}, said={"answer": "risk"},
    ),
    "two classifications": Reading(
        partial(heads, shares("colour"), shares("shape")), "features", "multi-target", [0.0, 1.0, 2.0], [2, 2],
        said={"task": "multi-target"},
    ),
    "two labels": Reading(
        partial(heads, best("colour"), best("shape"), age()), "features", "multi-target", [0.0, 1.0, 2.0], [2, 2],
        further={"age": [8.0]}, said={"task": "multi-target"},
    ),
    # --- detections ---
    "torchvision: two finds": Reading(
        torchvision, "image", "detection", TWO_COLUMNS, ["3", "person"], said={
            "task": "detection", "labels": [f"thing {at}" for at in range(3)] + ["3", "4", "5", "person"]},
    ),
    "torchvision: an empty picture": Reading(
        torchvision, "image", "detection", BLACK, [], said={"task": "detection"}
    ),
    "Ultralytics: one find among 300 rows": Reading(
        end_to_end, "image", "detection", WHITE, ["cat"], said={"task": "detection", "labels": ["dog", "cat"]}
    ),
    "Ultralytics: an empty picture": Reading(end_to_end, "image", "detection", BLACK, [], said={"task": "detection"}),
    "TensorFlow: two finds of five rows": Reading(
        tensorflow_detection, "image", "detection", WHITE, ["1", "2"], said={"task": "detection"}
    ),
    # --- texts, types ---
    "a text": Reading(text, "features", "classification", ["good"], "glad", "glad"),
    "scikit-learn: words": Reading(text_pipeline, "features", "classification", ["good good day"], "glad", "glad"),
    "floats that are short inside": Reading(in_bfloat16, "features", "regression", [1.00390625], 1.0),
    "quantised": Reading(quantised, "features", "classification", [0.0, 9.0], "1", "1"),
    "half precision": Reading(
        partial(dense, np.eye(2, 1), dtype="float16"), "features", "regression", [1.5, 0.0], 1.5
    ),
    "bytes": Reading(
        partial(columns, ("x", "int8", ["N", 1])), "features", "regression", [-128], -128.0
    ),
    "one logit of two classes": Reading(
        partial(dense, np.eye(2, 1)), "features", "classification", [0.25, 0.0], "yes", "yes",
        said={"labels": ["no", "yes"], "activation": "sigmoid"},
    ),
    "one probability that no Sigmoid shows": Reading(
        partial(dense, np.eye(2, 1)), "features", "classification", [0.25, 0.0], "no", "no",
        said={"labels": ["no", "yes"], "activation": "none"},
    ),
    "a whole number that model.json calls a class": Reading(
        partial(graphs.passing, "int64", ["N", 1]), "features", "classification", [2], "2", "2",
        said={"task": "classification"},
    ),
    "an input with a value in the file": Reading(with_default, "features", "regression", [2.0], 6.0),
    "a function of its own": Reading(
        local_function, "features", "classification", [0.0, 9.0], "1", "1", said={"task": "classification"}
    ),
    "any number of features": Reading(
        partial(graphs.passing, "float32", [None, None]), "features", "regression", [1.0, 2.0], [1.0, 2.0],
        said={"task": "regression"},
    ),
    "a row without a batch axis, by its names": Reading(
        partial(graphs.passing, "float32", [2]), "features", "regression", [1.0, 2.0], [1.0, 2.0],
        said={"task": "regression", "feature_names": ["a", "b"]},
    ),
    # --- tensors ---
    "tokens and their mask": Reading(
        partial(bert, "input_ids", "attention_mask"), "tensors", "tensors",
        {"input_ids": [1, 2, 3], "attention_mask": [1, 1, 0]}, further={"logits": [6.0, 8.0]}, said={"task": "tensors"},
    ),
    "tokens and their mask, classified": Reading(
        partial(bert, "input_ids", "attention_mask"), "tensors", "tensors",
        {"input_ids": [1, 2, 3], "attention_mask": [1, 1, 0]}, "good", "good", {"logits": [6.0, 8.0]},
        said={"task": "tensors", "answer": "logits", "labels": ["bad", "good"], "activation": "softmax"},
    ),
    "tokens": Reading(
        partial(bert, "input_ids"), "tensors", "tensors", {"input_ids": [1, 2]}, further={"logits": [3.0, 4.0]},
        said={"task": "tensors"},
    ),
    "tokens, a vector each": Reading(
        hidden_states, "tensors", "tensors", {"input_ids": [1, 2]},
        further={"last_hidden_state": [2.0, 3.0, 4.0, 5.0]}, said={"task": "tensors"},
    ),
    "a series": Reading(
        lstm, "tensors", "tensors", {"x": [[0.0] * 12] * 60}, further={"y": [0.0]}, said={"task": "tensors"}
    ),
    "sound": Reading(
        waveform, "tensors", "tensors", {"audio": [[1.0, 1.0, 1.0, 1.0]]}, further={"logits": [3.0, 3.0]},
        said={"task": "tensors"},
    ),
    "no rows at all": Reading(
        nonzero, "tensors", "tensors", {"x": [0.0, 0.0]}, further={"places": []}, said={"task": "tensors"}
    ),
    "a scalar beside a row": Reading(
        over_threshold, "tensors", "tensors", {"x": [0.5, 2.0], "threshold": 1.0}, further={"over": [False, True]},
        said={"task": "tensors"},
    ),
    "nodes and edges": Reading(
        graph_network, "tensors", "tensors", {"nodes": [[1.0, 2.0], [3.0, 4.0]], "edges": [1, 0, 1]},
        further={"messages": [3.0, 4.0, 1.0, 2.0, 3.0, 4.0]}, said={"task": "tensors", "batched": False},
    ),
    "a step of a diffusion": Reading(
        denoiser, "tensors", "tensors",
        {"sample": [[[1.0]]] * 4, "timestep": [3], "encoder_hidden_states": [[1.0, 2.0, 3.0]]},
        further={"out_sample": [5.0] * 4}, said={"task": "tensors"},
    ),
    "a decoder whose past is empty": Reading(
        decoder, "tensors", "tensors", {"input_ids": [7, 8], "past.key": [[]]},
        further={"present.key": [7.0, 8.0]}, said={"task": "tensors"},
    ),
    "a video": Reading(
        partial(graphs.passing, "float32", ["N", 1, 2, 1, 1]), "tensors", "tensors", {"x": [[[[1.0]], [[2.0]]]]},
        further={"y": [1.0, 2.0]}, said={"task": "tensors"},
    ),
    "two pictures": Reading(
        partial(columns, ("left", "float32", ["N", 1, 1, 2]), ("right", "float32", ["N", 1, 1, 2])),
        "tensors", "tensors", {"left": [[[1.0, 2.0]]], "right": [[[3.0, 4.0]]]}, further={"y": [1.0, 2.0]},
        said={"task": "tensors"},
    ),
    "nothing but open axes": Reading(
        partial(graphs.passing, "float32", [None] * 4), "tensors", "tensors", {"x": [[[1.0, 2.0]]]},
        further={"y": [1.0, 2.0]}, said={"task": "tensors"},
    ),
    "a forecast of several steps": Reading(
        partial(graphs.passing, "float32", ["batch", "time", 2]), "tensors", "tensors", {"x": [[1.0, 2.0], [3.0, 4.0]]},
        further={"y": [1.0, 2.0, 3.0, 4.0]}, said={"task": "tensors"},
    ),
    "bytes of a picture, raw": Reading(
        partial(graphs.passing, "uint8", ["N", 1, 1, 2]), "tensors", "tensors", {"x": [[[0, 255]]]},
        further={"y": [0, 255]}, said={"task": "tensors"},
    ),
    "texts of any rank": Reading(
        partial(graphs.passing, "string", ["N", 1, 2]), "tensors", "tensors", {"x": [["é", ""]]},
        further={"y": ["é", ""]}, said={"task": "tensors"},
    ),
    "Triton's own example": Reading(
        add_and_subtract, "tensors", "tensors", {"INPUT0": [5] * 16, "INPUT1": [3] * 16},
        further={"OUTPUT0": [8] * 16, "OUTPUT1": [2] * 16}, said={"task": "tensors"},
    ),
}  # fmt: skip

BFLOAT16_OUT = graphs.graph(
    [node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16), node("Identity", ["x"], ["z"])],
    [tensor("x", "float32", ["N", 1])],
    [tensor("y", "bfloat16", ["N", 1]), tensor("z", "float32", ["N", 1])],
)

REFUSALS: dict[str, Refusal] = {
    # --- inputs ---
    "tokens and their mask": Refusal(partial(bert, "input_ids", "attention_mask"), ("'input_ids'", "task: tensors")),
    "tokens and their mask, exported at one length": Refusal(
        partial(bert, "input_ids", "attention_mask", length=128), ("'input_ids'", "'attention_mask'", "task: tensors")
    ),
    "tokens": Refusal(partial(bert, "input_ids"), ("'input_ids'", "task: tensors")),
    "a series": Refusal(lstm, ("'x' is [N, 60, 12]", "task: tensors")),
    "a short series": Refusal(partial(graphs.passing, "float32", ["N", 6, 4]), ("'x' is [N, 6, 4]", "task: tensors")),
    "a plane": Refusal(partial(plane, ["N", 28, 28]), ("'image' is [N, 28, 28]", "color or size", "task: tensors")),
    "a plane of a series, by its convolution over time": Refusal(
        partial(plane, ["N", 28, 28], kernel=(1, 1, 1, 3)), ("'image' is [N, 28, 28]", "task: tensors")
    ),
    "a picture without a batch axis, or a batch of three": Refusal(
        partial(plane, [3, 28, 28]), ("'image' is [3, 28, 28]", "color")
    ),
    "a picture without a batch axis, with a size alone": Refusal(
        partial(plane, [3, 28, 28]), ("'image' is [3, 28, 28]", "say color"), {"size": [28, 28]}
    ),
    "a picture without a batch axis, channels last": Refusal(
        partial(graphs.passing, "float32", [24, 24, 3], answer=[1]), ("'x' is [24, 24, 3]", "color")
    ),
    "sound": Refusal(waveform, ("'audio' is [N, 1, T]", "task: tensors")),
    "sound without a batch axis": Refusal(
        partial(graphs.passing, "float32", ["samples"]), ("'x' is [samples]", "feature_names", "task: tensors")
    ),
    "a row, or as many rows": Refusal(partial(graphs.passing, "float32", [4]), ("'x' is [4]", "feature_names")),
    "a row of texts, or as many rows": Refusal(
        partial(graphs.passing, "string", [3]), ("'x' is [3]", "feature_names", "task: tensors")
    ),
    "latent vectors of a diffusion": Refusal(
        partial(graphs.passing, "float32", ["batch", 4, 64, 64]),
        ("'x' is [batch, 4, 64, 64]", "color", "task: tensors"),
    ),
    "channels first or last": Refusal(
        partial(graphs.passing, "float32", ["N", 3, 40, 1]), ("'x' is [N, 3, 40, 1]", "color or size")
    ),
    "a table as a picture": Refusal(
        partial(graphs.passing, "float32", ["N", 6, 5, 1]), ("'x' is [N, 6, 5, 1]", "color or size", "task: tensors")
    ),
    "nothing but open axes": Refusal(
        partial(graphs.passing, "float32", [None] * 4), ("'x' is [?, ?, ?, ?]", "color", "task: tensors")
    ),
    "nothing but open axes, in colour": Refusal(
        partial(graphs.passing, "float32", [None] * 4), ("'x' is [?, ?, ?, ?]", "task: tensors"), {"color": "rgb"}
    ),
    "a video": Refusal(
        partial(graphs.passing, "float32", ["N", 3, 16, 32, 32]), ("'x' is [N, 3, 16, 32, 32]", "task: tensors")
    ),
    "two pictures": Refusal(
        partial(columns, ("left", "float32", ["N", 3, 32, 32]), ("right", "float32", ["N", 3, 32, 32])),
        ("'left' is [N, 3, 32, 32]", "task: tensors"),
    ),
    "a scalar beside a row": Refusal(
        partial(columns, ("x", "float32", ["N", 1]), ("threshold", "float32", [])),
        ("'threshold' is []", "task: tensors"),
    ),
    "a scalar": Refusal(partial(graphs.passing, "float32", []), ("'x' is []", "task: tensors")),
    "nodes and edges": Refusal(
        partial(columns, ("nodes", "float32", ["n", 4]), ("weights", "float32", ["e", 1])),
        ("'weights' is [e, 1]", "'nodes' [n, 4]", "task: tensors"),
    ),
    "vectors without a batch axis": Refusal(
        partial(columns, ("a", "float32", [4]), ("b", "float32", [4])), ("'a' is [4]", "feature_names", "task: tensors")
    ),
    "a series without a batch axis": Refusal(
        partial(graphs.passing, "float32", [60, 12], answer=[1, 3]), ("takes 60 rows", "task: tensors")
    ),
    "masks of any length": Refusal(partial(graphs.passing, "bool", ["N", "T"]), ("'x' is [N, T]", "task: tensors")),
    "a sequence of tensors": Refusal(
        partial(of_type, helper.make_sequence_type_proto(float_type([None, 2]))), ("'x'", "sequence(float32)")
    ),
    "a map": Refusal(
        partial(of_type, helper.make_map_type_proto(TensorProto.STRING, float_type([]))),
        ("'x'", "map(string, float32)"),
    ),
    "an optional tensor": Refusal(
        partial(of_type, helper.make_optional_type_proto(float_type([1]))), ("'x'", "optional(float32)")
    ),
    "complex numbers": Refusal(partial(graphs.passing, "complex64", ["N", 2]), ("'x'", "complex64")),
    "bfloat16": Refusal(partial(graphs.passing, "bfloat16", ["N", 2]), ("'x'", "bfloat16", "float32")),
    "no shape": Refusal(partial(graphs.passing, "float32", None), ("'x' has no shape", "task: tensors")),
    "a tokeniser inside": Refusal(tokeniser, ("BertTokenizer", "ai.onnx.contrib")),
    "missing values of an input that has none": Refusal(
        partial(columns, ("x", "int64", ["N", 1])), ("missing",), {"missing": "nan"}
    ),
    "the input of a diffusion": Refusal(denoiser, ("'sample' is [batch, 4, height, width]", "task: tensors")),
    "a decoder with its past": Refusal(decoder, ("'past.key' is [batch, 1, past_sequence, 1]", "task: tensors")),
    "nodes and edges as tensors": Refusal(graph_network, ("batched", "'nodes' [num_nodes, 2]"), {"task": "tensors"}),
    "bfloat16, as tensors": Refusal(
        partial(graphs.passing, "bfloat16", ["N", 2]), ("'x'", "bfloat16", "float32"), {"task": "tensors"}
    ),
    # --- outputs ---
    "a segmentation that answers classes": Refusal(mask, ("'mask' is [N, 8, 9]", "task", "regression")),
    "two targets": Refusal(several_labels, ("'label' is [?, 2]", "task", "multi-target")),
    "scikit-learn: two targets": Refusal(partial(scikit_learn, "targets"), ("'label' is [?, 2]", "multi-target")),
    "scikit-learn: several labels that are declared as one": Refusal(
        partial(scikit_learn, "multilabel"), ("'label'", "multi-target")
    ),
    "scikit-learn: components": Refusal(
        partial(scikit_learn, "components"), ("'variable' is [2]", "task", "embedding")
    ),
    "scikit-learn: a regression of several targets": Refusal(
        partial(scikit_learn, "lines"), ("'variable' is [3]", "task", "regression")
    ),
    "an embedding, or a regression of 16 targets": Refusal(
        partial(dense, SIXTEEN), ("'y' is [16]", "task", "embedding", "regression", "classification", "multi-target")
    ),
    "logits": Refusal(partial(dense, np.eye(3)), ("'y' is [3]", "task", "classification")),
    "an autoencoder, or several labels": Refusal(partial(dense, np.eye(3), ("Sigmoid",)), ("'y' is [3]", "task")),
    "segmentation": Refusal(partial(graphs.passing, "float32", ["N", 1, 16, 16]), ("'y' is [1, 16, 16]", "task")),
    "values of any number": Refusal(partial(graphs.passing, "float32", [None, None]), ("'y' is [?]", "task")),
    "one value out of a Sigmoid": Refusal(
        partial(dense, np.eye(2, 1), ("Sigmoid",)), ("'y'", "Sigmoid", "task", "classification or regression")
    ),
    "a whole number": Refusal(
        partial(graphs.passing, "int64", ["N", 1]), ("'y'", "task", "classification or regression")
    ),
    "logits, and the weights of an attention": Refusal(
        partial(heads, same("logits"), attention()), ("'logits', 'attention'", "answer")
    ),
    "a logit or a probability": Refusal(
        partial(dense, np.eye(2, 1)), ("activation", "'y' is one value", "sigmoid"), {"labels": ["no", "yes"]}
    ),
    "two numbers": Refusal(partial(heads, age("GPmean"), age("GPstd")), ("'GPmean', 'GPstd'", "answer")),
    "survival": Refusal(partial(heads, age("risk"), same("survival")), ("'risk', 'survival'", "answer")),
    "two classifications": Refusal(partial(heads, shares("colour"), shares("shape")), ("'colour', 'shape'", "answer")),
    "two labels": Refusal(
        partial(heads, best("colour"), best("shape")), ("'colour', 'shape'", "answer", "multi-target")
    ),
    "a label for each token": Refusal(
        lambda: heads(("label", "int64", ["N", "T"], [node("ArgMax", ["x"], ["label"], axis=1)])),
        ("'label' is [N, T]", "task", "multi-target", "tensors"),
    ),
    "a label, and the places of the best": Refusal(
        lambda: heads(
            best(), ("places", "int64", ["N", 3], [node("TopK", ["x", "three"], ["most", "places"])]), shares()
        ),
        ("'places' is [N, 3]", "keep"),
    ),
    "a whole number beside numbers": Refusal(
        lambda: heads(age(), ("steps", "int64", ["N"], [node("Shape", ["x"], ["steps"])])),
        ("'steps'", "answer"),
    ),
    "a detection": Refusal(torchvision, ("'boxes'", "task", "detection")),
    "a detection in one output": Refusal(end_to_end, ("'output0' is [300, 6]", "task", "detection")),
    "the raw output of a YOLO": Refusal(yolo, ("'output0' is [84, 8400]", "task", "tensors")),
    "an output that can never be stored": Refusal(
        partial(graphs.passing, "float32", ["N", 3, 2000, 2000]),
        ("'y' is [3, 2000, 2000]", "33554432 bytes", "keep"),
        {"task": "regression"},
    ),
    "an output of bfloat16": Refusal(lambda: BFLOAT16_OUT, ("'y'", "bfloat16", "float32", "keep")),
    "an output of bfloat16, as tensors": Refusal(
        lambda: BFLOAT16_OUT, ("'y'", "bfloat16", "float32", "keep"), {"task": "tensors"}
    ),
    "the best of an embedding": Refusal(
        partial(dense, np.eye(3)), ("top_k", "embedding"), {"task": "embedding", "top_k": 2}
    ),
    "more of the best than there are": Refusal(
        partial(dense, np.eye(3), ("Softmax",)), ("top_k", "4", "'y'", "3 values"), {"top_k": 4}
    ),
    "the best of a label": Refusal(lambda: heads(best()), ("top_k", "label", "no scores"), {"top_k": 2}),
    "the best of no output": Refusal(partial(bert, "tokens"), ("top_k", "answer"), {"task": "tensors", "top_k": 2}),
    "a Softmax in a function of its own": Refusal(local_function, ("'scores' is [2]", "task")),
    "no such output to keep": Refusal(partial(heads, age(), shares()), ("keep", "sex", "age"), {"keep": ["sex"]}),
    "no such answer": Refusal(partial(heads, age(), shares()), ("answer", "sex", "age"), {"answer": "sex"}),
    "an answer that is not kept": Refusal(
        partial(heads, age(), shares()), ("answer", "age"), {"answer": "age", "keep": ["probabilities"]}
    ),
    "a class of several targets": Refusal(
        several_labels, ("task", "'label' is [?, 2]", "multi-target"), {"task": "classification"}
    ),
    "labels of an embedding": Refusal(
        partial(dense, np.eye(3)), ("labels", "embedding"), {"task": "embedding", "labels": ["a", "b", "c"]}
    ),
    "an embedding of one value": Refusal(
        partial(dense, np.eye(2, 1)), ("task", "embedding", "'y'"), {"task": "embedding"}
    ),
    "the raw output of a YOLO, called a detection": Refusal(
        yolo, ("task", "'output0' is [84, 8400]", "nms=True", "tensors"), {"task": "detection"}
    ),
    "boxes, and the scores of every class for each": Refusal(
        partial(raw_boxes, ["N", 4, 4]),
        ("task", "'boxes' is [4, 4]", "'scores' is [4, 3]", "tensors"),
        {"task": "detection"},
    ),
    "boxes of five numbers": Refusal(
        partial(raw_boxes, ["N", 4, 5]), ("task", "'boxes' is [4, 5]", "not 4 numbers a box"), {"task": "detection"}
    ),
    "a fixed batch, and an output that does not say whose its rows are": Refusal(
        partial(dense, np.eye(2), ("Softmax",), batch=3, answer=["found", 2]),
        ("takes 3 rows", "'y' is [found, 2]", "batch of one"),
    ),
    "a detection without boxes": Refusal(
        partial(heads, age(), shares()), ("task", "detection", "boxes"), {"task": "detection"}
    ),
}


def load(folder: Path, model: Any, said: Mapping[str, Any]) -> Model:
    return Model.load(ModelPackage.load(graphs.package(folder, model, **said)))


def each(cases: Mapping[str, Reading] | Mapping[str, Refusal]) -> list[Any]:
    """Return the cases as parameters. To import scikit-learn takes seconds."""
    slow = [pytest.mark.slow]
    return [
        pytest.param(case, id=name, marks=slow if name.startswith("scikit-learn") else ())
        for name, case in cases.items()
    ]


def png(pixels: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def decoded(model: Model, given: Any) -> Instance:
    if model.package.takes == "image":
        return model.decode_image(png(given))
    return model.decode_tensors(given) if model.package.takes == "tensors" else model.decode_features(given)


def further(prediction: Prediction) -> dict[str, Any] | None:
    named: Any = prediction.output.get("outputs") if isinstance(prediction.output, dict) else None
    outputs = prediction.outputs if named is None else named
    return None if outputs is None else {name: value.get("data") for name, value in outputs.items()}


@pytest.mark.parametrize("reading", each(READINGS))
def test_a_model_that_is_read_in_one_way_answers_what_it_means(tmp_path: Path, reading: Reading) -> None:
    model = load(tmp_path / "model", reading.model(), reading.said)
    model.warm_up()
    assert (model.package.takes, model.package.task) == (reading.takes, reading.task)
    instance = decoded(model, reading.given)
    [prediction] = model.predict([instance])
    if reading.value is not None:
        answered: Any = prediction.predicted_value
        assert np.shape(answered) == np.shape(reading.value)
        for one, wanted in zip(
            np.ravel(np.array(answered, object)),
            np.ravel(np.array(reading.value, object)),
            strict=True,
        ):
            assert one == pytest.approx(wanted, abs=1e-6) if isinstance(wanted, float) else one == wanted
    if reading.label is not None or reading.task != "classification":
        assert prediction.label == reading.label
    wanted = reading.further
    if wanted is not None or reading.takes != "tensors":
        kept = further(prediction)
        assert (None if kept is None else set(kept)) == (None if wanted is None else set(wanted))
        for name, data in (kept or {}).items():
            assert (wanted or {})[name] in (None, pytest.approx(data, abs=1e-6))


@pytest.mark.parametrize("reading", each(READINGS))
def test_three_inputs_at_once_are_answered_as_one_by_one(tmp_path: Path, reading: Reading) -> None:
    model = load(tmp_path / "model", reading.model(), reading.said)
    instance, other = decoded(model, reading.given), model.made_up_instance()
    try:
        alone = [model.predict([one])[0] for one in (instance, other, instance)]
    except InputError:  # a text that the model does not know, for one
        alone, other = [model.predict([instance])[0]] * 3, instance
    together = model.predict([instance, other, instance])
    for one, wanted in zip(together, alone, strict=True):
        assert (one.label, further(one)) == (wanted.label, further(wanted))
        assert str(one.predicted_value) == str(wanted.predicted_value)


@pytest.mark.parametrize("batch", ["N", None])
@pytest.mark.parametrize("axes", [["found", 2], [None, 2], None], ids=str)
@pytest.mark.parametrize("said", [{"task": "regression"}, {"answer": "most"}, {"task": "tensors"}], ids=str)
def test_what_was_found_in_three_inputs_belongs_to_each(
    tmp_path: Path, batch: str | None, axes: list[Any] | None, said: Mapping[str, Any]
) -> None:
    """Three finds in three inputs are not one each: here two are in the first, and none is in the second."""
    if batch is None and axes == [None, 2]:
        pytest.skip("an axis without a name on both sides is that of the batch")
    model = found_places(batch, axes, beside=said == {"answer": "most"})
    loaded = load(tmp_path / "model", model, said)
    rows = [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    tensors = said == {"task": "tensors"}
    given = [loaded.decode_tensors({"x": row}) if tensors else loaded.decode_features(row) for row in rows]

    made = loaded.predict_tensors(given)

    wanted = [[0, 0, 0, 1], [], [0, 2]]
    assert [np.ravel(arrays["places"]).tolist() for _, arrays in made] == wanted
    for (prediction, _), places in zip(made, wanted, strict=True):
        if said == {"task": "regression"}:
            assert np.ravel(np.array(prediction.output)).tolist() == places
        else:
            assert (further(prediction) or {})["places"] == places


@pytest.mark.parametrize("axes", [[3, "N"], ["C", "N"], ["N", 3], ["N", 1], ["N"], [], None], ids=str)
@pytest.mark.parametrize("task", ["regression", "tensors"])
@pytest.mark.parametrize("is_warm", [True, False])
def test_scores_whose_second_axis_is_that_of_the_inputs_are_not_mixed(
    tmp_path: Path, axes: list[Any] | None, task: str, is_warm: bool
) -> None:
    """Three classes of three inputs: the first axis has as many entries as there are inputs, whatever the file says."""
    model = graphs.passing("float32", ["N", 3])
    model.graph.node[0].CopyFrom(node("Transpose", ["x"], ["y"], perm=[1, 0]))
    model.graph.output[0].CopyFrom(tensor("y", "float32", axes))
    loaded = load(tmp_path / "model", model, {"task": task})
    if is_warm:
        loaded.warm_up()
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]
    tensors = task == "tensors"
    given = [loaded.decode_tensors({"x": row}) if tensors else loaded.decode_features(row) for row in rows]

    made = loaded.predict_tensors(given)

    assert [np.ravel(arrays["y"]).tolist() for _, arrays in made] == rows
    if not tensors:
        assert [np.ravel(np.array(one.output)).tolist() for one, _ in made] == rows


@pytest.mark.parametrize("refusal", each(REFUSALS))
def test_what_can_be_read_in_two_ways_or_not_at_all_is_refused_at_start(tmp_path: Path, refusal: Refusal) -> None:
    with pytest.raises(ModelPackageError) as refused:
        load(tmp_path / "model", refusal.model(), refusal.said)
    message = str(refused.value)
    assert message.startswith(("model.onnx: ", "model.json: "))
    assert "\n" not in message
    assert [word for word in refusal.words if word not in message] == [], message


def test_the_corpus_is_large_enough() -> None:
    assert len(READINGS) >= 40
    assert len(REFUSALS) >= 40


def test_weights_beside_the_file(tmp_path: Path) -> None:
    model = Model.load(ModelPackage.load(external(tmp_path)))
    assert model.predict([model.decode_features([1.0, 2.0])])[0].predicted_value == 6.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logistic", "targets", "multilabel", "clusters", "outliers", "lines"])
def test_what_scikit_learn_exports_is_answered_as_the_runtime_says(tmp_path: Path, name: str) -> None:
    said = {
        "targets": {"task": "multi-target"},
        "multilabel": {"task": "multi-target"},
        "lines": {"task": "regression"},
    }
    model = load(tmp_path / "model", scikit_learn(name), said.get(name, {}))
    session = onnxruntime.InferenceSession(model.package.path, providers=["CPUExecutionProvider"])
    for row in ([0.0, 1.0], [1.0, 1.0], [0.0, 0.0]):
        first = session.run(None, {session.get_inputs()[0].name: np.array([row], np.float32)})[0]
        value = model.predict([model.decode_features(row)])[0].predicted_value
        assert np.ravel(np.array(value, float)) == pytest.approx(np.ravel(first).astype(float))


def test_a_find_has_its_box_its_score_and_its_label(tmp_path: Path) -> None:
    model = load(tmp_path / "model", torchvision(), {"task": "detection"})
    [prediction] = model.predict([model.decode_image(png(TWO_COLUMNS))])
    finds: Any = prediction.output
    assert finds == [
        {"box": [2.0] * 4, "score": 1.0, "label": "3"},
        {"box": [5.0] * 4, "score": pytest.approx(0.8), "label": "6"},
    ]
    assert (prediction.label, prediction.confidence, prediction.outputs) == (None, None, None)
    assert model.predict([model.decode_image(png(BLACK))])[0].output == []


@pytest.mark.parametrize(
    ("model", "words"),
    [
        pytest.param(partial(yolo, [None, 84, "anchors"]), "is [84, 8400] for one input, not rows of 6", id="dynamic"),
        pytest.param(partial(yolo, None), "is [84, 8400] for one input, not rows of 6", id="without a shape"),
        pytest.param(
            partial(yolo, [None, 25200, 6], rows=25200, columns=6), "a class that is no whole number", id="v5"
        ),
        pytest.param(partial(raw_boxes, ["N", None, 4]), "4 boxes, 12 scores and 4 classes", id="scores of classes"),
    ],
)
def test_a_detection_that_only_a_run_shows_to_be_none_is_refused_at_start(
    tmp_path: Path, model: Any, words: str
) -> None:
    loaded = load(tmp_path / "model", model(), {"task": "detection"})
    with pytest.raises(ModelRunError) as refused:
        loaded.warm_up()
    assert words in str(refused.value)
    assert "say regression or tensors" in str(refused.value)


def test_the_largest_scores_are_kept_with_their_places(tmp_path: Path) -> None:
    said = {"labels": ["a", "b", "c"], "activation": "softmax", "top_k": 2}
    model = load(tmp_path / "model", dense(np.eye(3)), said)
    [prediction] = model.predict([model.decode_features([1.0, 0.0, 2.0])])
    assert prediction.output == {"values": pytest.approx([SOFT[2], SOFT[1]]), "indices": [2, 0]}
    assert (prediction.label, prediction.likely_class) == ("c", 2)
    assert prediction.confidence == pytest.approx(SOFT[2])
    [even] = model.predict([model.decode_features([1.0, 1.0, 1.0])])
    assert even.output == {"values": pytest.approx([1 / 3, 1 / 3]), "indices": [0, 1]}
    all_scores = load(tmp_path / "all", dense(np.eye(3)), said | {"top_k": 3})
    assert all_scores.package.sha256 != model.package.sha256


def test_of_named_tensors_the_largest_values_take_the_place_of_the_answer(tmp_path: Path) -> None:
    said = {"task": "tensors", "answer": "probabilities", "top_k": 2}
    model = load(tmp_path / "model", heads(age(), shares()), said)
    [prediction] = model.predict([model.decode_tensors({"x": [1.0, 0.0, 2.0]})])
    outputs: Any = prediction.output
    assert outputs["outputs"] == {
        "age": {"shape": [1], "datatype": "FP32", "data": [7.0]},
        "probabilities.values": {"shape": [2], "datatype": "FP32", "data": pytest.approx([SOFT[2], SOFT[1]])},
        "probabilities.indices": {"shape": [2], "datatype": "INT64", "data": [2, 0]},
    }
    assert prediction.label == "2"
    assert prediction.confidence == pytest.approx(SOFT[2])


def test_as_many_finds_as_pictures_are_not_one_each(tmp_path: Path) -> None:
    model = load(tmp_path / "model", torchvision(), {"task": "detection"})
    two, none = (model.decode_image(png(picture)) for picture in (TWO_COLUMNS, BLACK))
    assert [len(one.output) for one in model.predict([two, none])] == [2, 0]


def test_null_is_nan_only_where_model_json_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="feature 0 must be a finite number, not null"):
        load(tmp_path / "strict", trees(), {}).decode_features([None, 1.0])
    model = load(tmp_path / "model", trees(), {"missing": "nan"})
    (array,) = model.decode_features([None, 1]).arrays
    assert np.isnan(array[0, 0])
    assert [one.predicted_value for one in model.predict([model.decode_features([0.75, None])])] == [20.0]
    with pytest.raises(InputError, match="feature 1 must be a finite number, or null if it is missing, not a text"):
        model.decode_features([None, "1"])
    with pytest.raises(InputError, match="feature 1 must be a finite number, or null if it is missing, not NaN"):
        model.decode_features([None, float("nan")])


def test_null_is_no_whole_number(tmp_path: Path) -> None:
    said = {"missing": "nan"}
    model = load(tmp_path / "model", columns(("x", "float32", ["N", 1]), ("count", "int64", ["N", 1])), said)
    assert model.predict([model.decode_features({"x": 1.5, "count": 2})])[0].predicted_value == 1.5
    with pytest.raises(InputError, match=r'feature "count" must be a whole number .*, not null'):
        model.decode_features({"x": None, "count": None})


def test_a_further_output_that_is_not_finite_refuses_its_input(tmp_path: Path) -> None:
    parts = heads(age(), ("logarithm", "float32", ["N", 3], [node("Log", ["x"], ["logarithm"])]))
    model = load(tmp_path / "model", parts, {"answer": "age"})
    with pytest.raises(InputError, match="not a finite number") as caught:
        model.predict([model.decode_features(row) for row in ([1, 1, 1], [0, 1, 1], [1, 1, 1])])
    assert [problem.instance for problem in caught.value.problems] == [1]


def test_a_label_of_more_than_one_class_that_the_file_does_not_tell_is_found_at_start(tmp_path: Path) -> None:
    model = several_labels()
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    loaded = load(tmp_path / "model", model, {"keep": ["label"], "task": "classification"})
    with pytest.raises(ModelPackageError, match="output 'label' has 2 labels for one input: say task: multi-target"):
        loaded.warm_up()
