"""Small ONNX models for the tests, built from single operators, and model packages of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

Axes: TypeAlias = Sequence[int | str | None] | None

_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "float64": TensorProto.DOUBLE,
    "uint8": TensorProto.UINT8,
    "int8": TensorProto.INT8,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint16": TensorProto.UINT16,
    "bool": TensorProto.BOOL,
    "string": TensorProto.STRING,
    "complex64": TensorProto.COMPLEX64,
    "bfloat16": TensorProto.BFLOAT16,
}


def tensor(name: str, dtype: str, axes: Axes) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, _TYPES[dtype], axes)


def graph(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    weights: dict[str, NDArray[Any]] | None = None,
) -> ModelProto:
    initializers = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    made = helper.make_graph(nodes, "graph", inputs, outputs, initializers)
    return helper.make_model(made, opset_imports=opsets, ir_version=8)


def package(folder: Path, model: ModelProto | bytes, **settings: object) -> Path:
    """Write a model package: `settings` are the keys of model.json, which is missing without any."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    (folder / "model.json").unlink(missing_ok=True)
    if settings:
        (folder / "model.json").write_text(json.dumps(settings))
    return folder


def passing(dtype: str, axes: Axes, *, answer: Axes = None, name: str = "x") -> ModelProto:
    """Make a model that returns its input unchanged, whatever output shape it declares."""
    node = helper.make_node("Identity", [name], ["y"])
    return graph([node], [tensor(name, dtype, axes)], [tensor("y", dtype, axes if answer is None else answer)])


def pixels(axes: Sequence[int | str | None], dtype: str = "float32") -> ModelProto:
    """Make a model that returns its image, flattened, so that a test can read what preprocessing made."""
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "shape"], ["y"]),
    ]
    batch = axes[0]
    length = int(np.prod([axis for axis in axes[1:] if isinstance(axis, int)]))
    shape = np.array([batch if isinstance(batch, int) else 0, -1])
    known = all(isinstance(axis, int) for axis in axes[1:])
    answer = tensor("y", "float32", [batch, length if known else None])
    return graph(nodes, [tensor("image", dtype, axes)], [answer], {"shape": shape})


def conv_net(
    layout: Literal["NCHW", "NHWC"] = "NHWC",
    *,
    batch: int | str | None = "N",
    size: tuple[int | str | None, int | str | None] = (28, 28),
    channels: int = 1,
    classes: int = 10,
    dtype: str = "float32",
    ends_in: Literal["Softmax", "LogSoftmax", "Sigmoid", "logits"] = "Softmax",
    seed: int = 0,
) -> ModelProto:
    """Make an image classifier: one convolution, the mean over the image, one dense layer."""
    rng = np.random.default_rng(seed)
    weights = {
        "kernel": rng.normal(size=(4, channels, 3, 3)).astype(np.float32),
        "dense": rng.normal(size=(4, classes)).astype(np.float32),
        "bias": rng.normal(size=classes).astype(np.float32),
        "scale": np.array(1 / 255 if dtype.lstrip("u").startswith("int") else 1, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        *([helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2])] if layout == "NHWC" else []),
        helper.make_node("Conv", ["planes" if layout == "NHWC" else "scaled", "kernel"], ["features"]),
        helper.make_node("Relu", ["features"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("Gemm", ["flat", "dense", "bias"], ["logits" if ends_in != "logits" else "scores"]),
        *([helper.make_node(ends_in, ["logits"], ["scores"])] if ends_in != "logits" else []),
    ]
    axes = [batch, channels, *size] if layout == "NCHW" else [batch, *size, channels]
    outputs = [tensor("scores", "float32", [batch, classes])]
    if dtype in ("float16", "float64"):
        nodes.append(helper.make_node("Cast", ["scores"], ["answer"], to=_TYPES[dtype]))
        outputs = [tensor("answer", dtype, [batch, classes])]
    return graph(nodes, [tensor("image", dtype, axes)], outputs, weights)


def linear(
    weights: NDArray[Any],
    *,
    batch: int | str | None = "N",
    dtype: str = "float32",
    then: Sequence[str] = (),
    answer: Axes = None,
) -> ModelProto:
    """Make a model ``x @ weights`` of features, with operators after it."""
    features, outputs = weights.shape
    names = ["x", *[f"step{at}" for at in range(len(then))], "y"]
    nodes = [helper.make_node("MatMul", ["x", "weights"], [names[1]])]
    nodes += [helper.make_node(op, [names[at + 1]], [names[at + 2]]) for at, op in enumerate(then)]
    return graph(
        nodes,
        [tensor("x", dtype, [batch, features])],
        [tensor("y", dtype, [batch, outputs] if answer is None else answer)],
        {"weights": weights.astype(dtype)},
    )


def yolo_shaped(rows: int = 84, columns: int = 8400, *, batch: int | str | None = "N") -> ModelProto:
    """Make a model of four features whose output is as large as that of a YOLO: boxes above, scores below."""
    rng = np.random.default_rng(rows)
    boxes = rng.uniform(0, 640, (1, min(rows, 4), columns))
    scores = 1 / (1 + np.exp(-rng.normal(-8, 2, (1, max(rows - 4, 0), columns))))
    weights = {
        "finds": np.concatenate([boxes, scores], axis=1).astype(np.float32),
        "one": np.array([0, 1, 1]),
        "axes": np.array([1]),
    }
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["sums"]),
        helper.make_node("Reshape", ["sums", "one"], ["factors"]),
        helper.make_node("Mul", ["factors", "finds"], ["output0"]),
    ]
    return graph(
        nodes, [tensor("x", "float32", [batch, 4])], [tensor("output0", "float32", [batch, rows, columns])], weights
    )


def as_long_as_told(value: float = 0.0) -> ModelProto:
    """Make a model whose output has as many values as its input says."""
    repeated = numpy_helper.from_array(np.array([value], dtype=np.float32))
    node = helper.make_node("ConstantOfShape", ["length"], ["values"], value=repeated)
    return graph([node], [tensor("length", "int64", [1])], [tensor("values", "float32", ["n"])])


def sum_and_difference(*, texts: bool = False) -> ModelProto:
    """Make the model that Triton's examples call `simple`: two rows of 16 whole numbers to their sum and difference.

    With `texts`, the one that they call `simple_string`: the numbers are written in decimal.
    """
    nodes = [
        helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
        helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
    ]
    if texts:
        for one in nodes:
            one.input[:] = [f"{name}_number" for name in one.input]
            one.output[:] = [f"{name}_number" for name in one.output]
        read = [
            helper.make_node("Cast", [name], [f"{name}_number"], to=TensorProto.INT32) for name in ("INPUT0", "INPUT1")
        ]
        write = [
            helper.make_node("Cast", [f"{name}_number"], [name], to=TensorProto.STRING)
            for name in ("OUTPUT0", "OUTPUT1")
        ]
        nodes = [*read, *nodes, *write]
    dtype = "string" if texts else "int32"
    inputs = [tensor(f"INPUT{number}", dtype, ["batch", 16]) for number in range(2)]
    outputs = [tensor(f"OUTPUT{number}", dtype, ["batch", 16]) for number in range(2)]
    return graph(nodes, inputs, outputs)


def brittle() -> ModelProto:
    """Make a classifier of digits that fails on any but a black one.

    It looks the brightest pixel up in a table that has an entry for black alone.
    """
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["brightest"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Cast", ["brightest"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["scores"]),
    ]
    image, scores = tensor("image", "float32", ["N", 28, 28, 1]), tensor("scores", "float32", ["N", 2])
    return graph(nodes, [image], [scores], {"table": np.array([[0.25, 0.75]], np.float32)})


def looping() -> ModelProto:
    """Make a regression of one feature: how often the model multiplies large matrices. A million times takes hours."""
    square = [200, 200]
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "square"], ["product"]),
            helper.make_node("Tanh", ["product"], ["next"]),
            helper.make_node("Identity", ["goes_on"], ["goes_on_then"]),
        ],
        "body",
        [tensor("number", "int64", []), tensor("goes_on", "bool", []), tensor("state", "float32", square)],
        [tensor("goes_on_then", "bool", []), tensor("next", "float32", square)],
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["times"], to=TensorProto.INT64),
        helper.make_node("Loop", ["times", "", "square"], ["last"], body=body),
        helper.make_node("ReduceMean", ["last"], ["mean"], keepdims=0),
        helper.make_node("Add", ["x", "mean"], ["y"]),
    ]
    weights = {"square": np.random.default_rng(0).normal(size=square).astype(np.float32)}
    return graph(nodes, [tensor("x", "float32", ["N", 1])], [tensor("y", "float32", ["N", 1])], weights)
