"""Read a model's signature, and where its weights are kept, straight from the ONNX file.

An ONNX file is one protobuf message (``ModelProto`` of onnx.proto, https://onnx.ai/onnx/repo-docs/IR.html). The few
fields that say so are picked from the wire format here, over a memory map, so that the
functions that only describe a model need neither onnxruntime nor the protobuf library, and weights are never read.
Field numbers below are those of onnx.proto; the encoding is https://protobuf.dev/programming-guides/encoding/.
"""

import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

from functions.shared.inference.errors import ModelPackageError

Dimension: TypeAlias = int | str | None
Shape: TypeAlias = tuple[Dimension, ...]
Layout: TypeAlias = Literal["NCHW", "NHWC"]

_DTYPES: Final = (
    "undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool", "float16",
    "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16", "float8e4m3fn", "float8e4m3fnuz",
    "float8e5m2", "float8e5m2fnuz", "uint4", "int4", "float4e2m1", "float8e8m0", "uint2", "int2",
)  # fmt: skip
FLOATS: Final = frozenset({"float16", "float32", "float64"})
WHOLE_NUMBERS: Final = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"})
SERVED_DTYPES: Final = FLOATS | WHOLE_NUMBERS | {"bool", "string"}

# Steps that change the form of a tensor but not what its values mean.
_FORM_ONLY: Final = frozenset(
    {
        "Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose",
        "QuantizeLinear", "DequantizeLinear",
    }
)  # fmt: skip
# What keeps the largest of several values the largest, or tells which one it is.
_SAME_LARGEST: Final = _FORM_ONLY | {"Softmax", "LogSoftmax", "Sigmoid", "ArgMax"}
# Steps that may stand between a graph's image input and its first convolution without moving an axis.
_ELEMENTWISE: Final = frozenset(
    {
        "Identity", "Cast", "Add", "Sub", "Mul", "Div", "BatchNormalization", "Pad", "Clip",
        "QuantizeLinear", "DequantizeLinear",
    }
)  # fmt: skip
# Steps that make a tensor of rank 4 of a picture without a batch or channel axis.
_NEW_AXIS: Final = frozenset({"Unsqueeze", "Reshape"})
# The domains of operators that onnxruntime itself knows.
_KNOWN_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training"})
_RUNTIMES_DOMAINS: Final = ("com.microsoft", "com.ms.internal")
# What ONNX-ML's regressors do to their values at the end, by the name of the operator that does the same.
_POST_TRANSFORMS: Final[Mapping[bytes, str]] = {
    b"LOGISTIC": "Sigmoid",
    b"SOFTMAX": "Softmax",
    b"SOFTMAX_ZERO": "Softmax",
}
_CLASS_ATTRIBUTES: Final = frozenset({b"classlabels_ints", b"classlabels_int64s", b"classlabels_strings"})
_MAX_CLASSES: Final = 100_000
_MAX_STEPS_TRACED: Final = 32
_FIRST_IR_WITH_DEFAULTS: Final = 4

# Which fields of a message may hold a tensor, at any depth, and as what.
_WAY_TO_TENSORS: Final[Mapping[str, Mapping[int, str]]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
}
# The key without which no tensor is external: what does not hold it, a million numbers of a tree say, is not walked.
_LOCATION: Final = b"location"
_EXTERNAL: Final = 1


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input of the graph.

    Attributes
    ----------
    name
        As in the file.
    dtype
        numpy's name for the element type (``float32``, ``int64``, ``bool``), ``string``, or, for what is no tensor,
        a description such as ``sequence(float32)``.
    shape
        One entry per axis: its length, the name of a symbolic axis, or None for an axis that is open and nameless.
        None where the file does not even tell the number of axes.
    layout_hint, channels_hint
        What the first convolution (or the transposition that leads to one) says about an image input.
    """

    name: str
    dtype: str
    shape: Shape | None
    layout_hint: Layout | None = None
    channels_hint: int | None = None

    @property
    def axes(self) -> Shape:
        """The shape, empty where the file does not tell it."""
        return self.shape or ()


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """An output of the graph: a tensor, or what ONNX-ML calls a ZipMap, a sequence of maps, one map per row.

    Attributes
    ----------
    name, dtype, shape
        As for `TensorSpec`; of a sequence of maps, `dtype` is that of the values and `shape` is None.
    key_dtype
        ``int64`` or ``string`` for a sequence of maps, None for everything else.
    produced_by
        The operator that computes it, steps that only reshape, cast or quantise aside; None where that cannot be told.
        ``Sigmoid`` or ``Softmax`` too for an ONNX-ML regressor that ends in one.
    classes
        The class labels that the file keeps for this output, in the order of the scores; None where it keeps none.
    told_from
        The tensor whose largest value this output tells, by its place or as a share: the same one for an ArgMax and a
        Softmax of the same logits. Of any other output, the tensor that it is.
    """

    name: str
    dtype: str
    shape: Shape | None
    key_dtype: str | None = None
    produced_by: str | None = None
    classes: tuple[int | str, ...] | None = None
    told_from: str | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """What goes into a model and what comes out, in the file's order.

    Attributes
    ----------
    inputs, outputs
        Of the graph. An input that has a value in the file is none: the model runs with that value.
    unknown_operator
        Domain and name of an operator that neither ONNX nor onnxruntime nor the file itself defines; None without one.
    optional
        Inputs that have a value in the file, which a caller may replace.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[OutputSpec, ...]
    unknown_operator: tuple[str, str] | None = None
    optional: tuple[TensorSpec, ...] = ()

    def describe(self) -> dict[str, list[dict[str, object]]]:
        """Tell the signature as plain values for JSON: open axes are null, symbolic ones their name."""

        def document(spec: TensorSpec | OutputSpec) -> dict[str, object]:
            keys = spec.key_dtype if isinstance(spec, OutputSpec) else None
            dtype = f"sequence(map({keys}, {spec.dtype}))" if keys else spec.dtype
            return {"name": spec.name, "dtype": dtype, "shape": None if spec.shape is None else list(spec.shape)}

        return {
            "inputs": [document(spec) for spec in self.inputs],
            "outputs": [document(spec) for spec in self.outputs],
        }


class ExternalData(NamedTuple):
    """Where a tensor's values are kept that are not in the ONNX file.

    Attributes
    ----------
    tensor
        Its name, empty where it has none.
    location
        The file, relative to the ONNX file's folder; as written there, which may be anything.
    end
        How many bytes the file must have, as far as the ONNX file tells.
    """

    tensor: str
    location: str
    end: int


def written(shape: Shape | None) -> str:
    """Write a shape for a message: ``[N, 28, 28, 1]``, with ``?`` for an axis without length or name."""
    return "of unknown shape" if shape is None else f"[{', '.join(str(axis or '?') for axis in shape)}]"


def read_signature(path: Path) -> Signature:
    """Read names, element types and shapes of a model's inputs and outputs.

    Parameters
    ----------
    path
        An ``.onnx`` file. Weights kept beside it are not looked at.

    Raises
    ------
    ModelPackageError
        The file cannot be read, or it is not an ONNX model.
    """
    with _mapped(path) as data:
        return _Graph(data).signature()


def read_external_data(path: Path) -> tuple[ExternalData, ...]:
    """Read which tensors of a model have their values in other files: weights, constants, at any depth.

    Parameters
    ----------
    path
        An ``.onnx`` file. The other files are not looked at.

    Raises
    ------
    ModelPackageError
        The file cannot be read, or it is not an ONNX model.
    """
    with _mapped(path) as data:
        return tuple(_external_data(data))


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
    except OSError as error:
        raise ModelPackageError(f"{path.name}: cannot be read: {error.strerror}") from error
    except (_WireError, IndexError, UnicodeDecodeError, ValueError) as error:
        # ValueError: an empty file cannot be mapped; IndexError: the file ends inside a number.
        raise ModelPackageError(f"{path.name}: is not an ONNX model: {error or 'it ends too early'}") from error


class _WireError(Exception):
    """The bytes are not the protobuf message that they should be."""


_Span: TypeAlias = tuple[int, int]


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise _WireError("a number is too long")


def _fields(data: mmap.mmap, span: _Span) -> Iterator[tuple[int, int, _Span]]:
    """Yield the fields of one message: (number, value of a varint or 0, span of anything else or (0, 0))."""
    at, end = span
    while at < end:
        tag, at = _varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, at = _varint(data, at)
            yield number, value, (0, 0)
            continue
        if wire_type == 2:
            length, at = _varint(data, at)
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            raise _WireError("it is no protobuf message")
        if number == 0 or at + length > end:
            raise _WireError("a field runs past the end")
        yield number, 0, (at, at + length)
        at += length


def _external_data(data: mmap.mmap) -> Iterator[ExternalData]:
    messages = [("model", (0, len(data)))]
    while messages:
        kind, span = messages.pop()
        if data.find(_LOCATION, *span) < 0:
            continue
        if kind != "tensor":
            way = _WAY_TO_TENSORS[kind]
            messages += [(way[number], part) for number, _, part in _fields(data, span) if number in way]
        elif external := _external_tensor(data, span):
            yield external


def _external_tensor(data: mmap.mmap, tensor: _Span) -> ExternalData | None:
    name, entries, where = "", dict[str, str](), 0
    for number, value, span in _fields(data, tensor):
        if number == 8:
            name = data[slice(*span)].decode()
        elif number == 13:
            entry = {part: data[slice(*text)].decode() for part, _, text in _fields(data, span)}
            entries[entry.get(1, "")] = entry.get(2, "")
        elif number == 14:
            where = value
    if where != _EXTERNAL:
        return None
    try:
        end = int(entries.get("offset", 0)) + int(entries.get("length", 0))
    except ValueError:
        raise _WireError(f"tensor {name!r} says no numbers for the offset and length of its values") from None
    return ExternalData(name, entries.get("location", ""), end)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _dtype(number: int) -> str:
    return _DTYPES[number] if number < len(_DTYPES) else f"type{number}"


@dataclass(slots=True)
class _Node:
    op: str = ""
    domain: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: list[_Span] = field(default_factory=list)


class _Graph:
    """The parts of a ``GraphProto`` that tell its signature and where its outputs come from."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        graph: _Span | None = None
        self._functions: list[_Span] = []
        ir_version = 0
        for number, value, span in _fields(data, (0, len(data))):
            if number == 7:
                graph = span
            elif number == 25:
                self._functions.append(span)
            elif number == 1:
                ir_version = value
        self._defaults_are_replaceable = ir_version >= _FIRST_IR_WITH_DEFAULTS
        if graph is None:
            raise _WireError("it has no graph")
        self._inputs: list[_Span] = []
        self._outputs: list[_Span] = []
        self._initializers: dict[str, _Span] = {}
        self._producers: dict[str, _Node] = {}
        self._consumers: dict[str, _Node] = {}
        self._foreign: dict[tuple[str, str], None] = {}
        for number, _, span in _fields(data, graph):
            if number == 1:
                self._add_node(span)
            elif number == 5:
                self._initializers[self._text_field(span, 8)] = span
            elif number == 11:
                self._inputs.append(span)
            elif number == 12:
                self._outputs.append(span)

    def signature(self) -> Signature:
        inputs, optional = [], []
        for span in self._inputs:
            name, type_span = self._name_and_type(span)
            dtype, shape, _ = self._type(type_span)
            if name in self._initializers:
                if self._defaults_are_replaceable:  # before that, a weight had to be listed among the inputs
                    optional.append(TensorSpec(name, dtype, shape))
                continue
            inputs.append(TensorSpec(name, dtype, shape, *self._image_hints(name, len(shape or ()))))
        outputs = []
        for span in self._outputs:
            name, type_span = self._name_and_type(span)
            dtype, shape, key_dtype = self._type(type_span)
            producer = self._trace(name)
            outputs.append(
                OutputSpec(
                    name,
                    dtype,
                    shape,
                    key_dtype,
                    self._produced_by(producer) if producer else None,
                    self._classes(producer) if producer else None,
                    self._told_from(name),
                )
            )
        if not outputs:
            raise _WireError("its graph has no outputs")
        return Signature(tuple(inputs), tuple(outputs), self._unknown_operator(), tuple(optional))

    def _unknown_operator(self) -> tuple[str, str] | None:
        if not self._foreign:
            return None
        own = {(self._text_field(span, 10), self._text_field(span, 1)) for span in self._functions}
        return next((operator for operator in self._foreign if operator not in own), None)

    def _text(self, span: _Span) -> str:
        return self._data[span[0] : span[1]].decode()

    def _text_field(self, message: _Span, wanted: int) -> str:
        for number, _, span in _fields(self._data, message):
            if number == wanted:
                return self._text(span)
        return ""

    def _add_node(self, message: _Span) -> None:
        node = _Node()
        for number, _, span in _fields(self._data, message):
            if number == 1:
                node.inputs.append(self._text(span))
            elif number == 2:
                node.outputs.append(self._text(span))
            elif number == 4:
                node.op = self._text(span)
            elif number == 5:
                node.attributes.append(span)
            elif number == 7:
                node.domain = self._text(span)
        if node.domain not in _KNOWN_DOMAINS and not node.domain.startswith(_RUNTIMES_DOMAINS):
            self._foreign[node.domain, node.op] = None
        for name in node.outputs:
            self._producers[name] = node
        for name in node.inputs:
            self._consumers.setdefault(name, node)

    def _name_and_type(self, value_info: _Span) -> tuple[str, _Span]:
        name, type_span = "", (0, 0)
        for number, _, span in _fields(self._data, value_info):
            if number == 1:
                name = self._text(span)
            elif number == 2:
                type_span = span
        return name, type_span

    def _type(self, message: _Span) -> tuple[str, Shape | None, str | None]:
        """Tell (element type, shape, type of the keys of a sequence of maps) of a ``TypeProto``."""
        for number, _, span in _fields(self._data, message):
            if number == 1:
                return *self._tensor_type(span), None
            if number == 4:
                element = self._message(span, 1)
                mapping = self._message(element, 5)
                if mapping != (0, 0):
                    key = self._number(mapping, 1)
                    value, _, _ = self._type(self._message(mapping, 2))
                    return value, None, _dtype(key)
                return f"sequence({self._type(element)[0]})", None, None
            if number == 5:
                return f"map({_dtype(self._number(span, 1))}, {self._type(self._message(span, 2))[0]})", None, None
            if number == 8:
                return f"sparse({self._tensor_type(span)[0]})", None, None
            if number == 9:
                return f"optional({self._type(self._message(span, 1))[0]})", None, None
        return "undefined", None, None

    def _tensor_type(self, message: _Span) -> tuple[str, Shape | None]:
        dtype, shape = "undefined", None
        for number, value, span in _fields(self._data, message):
            if number == 1:
                dtype = _dtype(value)
            elif number == 2:
                shape = tuple(self._dimension(axis) for n, _, axis in _fields(self._data, span) if n == 1)
        return dtype, shape

    def _dimension(self, message: _Span) -> Dimension:
        for number, value, span in _fields(self._data, message):
            if number == 1:
                # Some exporters write -1, older ones 0, for an axis that is open.
                return _signed(value) if _signed(value) > 0 else None
            if number == 2:
                return self._text(span) or None
        return None

    def _message(self, message: _Span, wanted: int) -> _Span:
        for number, _, span in _fields(self._data, message):
            if number == wanted:
                return span
        return (0, 0)

    def _number(self, message: _Span, wanted: int) -> int:
        for number, value, _ in _fields(self._data, message):
            if number == wanted:
                return value
        return 0

    def _trace(self, name: str) -> _Node | None:
        """Find the node that gives the values of a tensor their meaning."""
        for _ in range(_MAX_STEPS_TRACED):
            node = self._producers.get(name)
            if node is None or node.op not in _FORM_ONLY or not node.inputs:
                return node
            name = node.inputs[0]
        return None

    def _told_from(self, name: str) -> str | None:
        for _ in range(_MAX_STEPS_TRACED):
            node = self._producers.get(name)
            if node is None or node.op not in _SAME_LARGEST or not node.inputs:
                return name
            name = node.inputs[0]
        return None

    def _produced_by(self, node: _Node) -> str:
        if node.domain not in _KNOWN_DOMAINS:
            return f"{node.domain}.{node.op}"
        if node.op.endswith("Regressor"):
            for attribute in node.attributes:
                if self._text_field(attribute, 1) == "post_transform":
                    return _POST_TRANSFORMS.get(self._data[slice(*self._message(attribute, 4))], node.op)
        return node.op

    def _classes(self, node: _Node) -> tuple[int | str, ...] | None:
        for attribute in node.attributes:
            if self._data[slice(*self._message(attribute, 1))] in _CLASS_ATTRIBUTES:
                texts = tuple(self._text(span) for number, _, span in _fields(self._data, attribute) if number == 9)
                if classes := texts or self._ints(attribute, 8):
                    return classes
        if node.op in ("ArrayFeatureExtractor", "Gather") and node.inputs:
            # "classes[index of the best]": how skl2onnx writes what has no classifier operator of its own
            tensor = self._initializers.get(node.inputs[0])
            return self._tensor_values(tensor) if tensor else None
        return None

    def _ints(self, message: _Span, wanted: int) -> tuple[int, ...]:
        """Read a repeated int64, packed or not."""
        values = []
        for number, value, (at, end) in _fields(self._data, message):
            if number != wanted:
                continue
            if end == 0:
                values.append(_signed(value))
            while at < end:
                value, at = _varint(self._data, at)
                values.append(_signed(value))
        return tuple(values)

    def _tensor_values(self, tensor: _Span) -> tuple[int | str, ...] | None:
        """Read a small ``TensorProto`` of whole numbers or strings."""
        dtype = _dtype(self._number(tensor, 2))
        if dtype == "string":
            return tuple(self._text(span) for number, _, span in _fields(self._data, tensor) if number == 6) or None
        if dtype not in ("int32", "int64"):
            return None
        at, end = self._message(tensor, 9)
        size = 8 if dtype == "int64" else 4
        if at < end <= at + size * _MAX_CLASSES:
            raw = self._data[at:end]
            return tuple(int.from_bytes(raw[i : i + size], "little", signed=True) for i in range(0, len(raw), size))
        return self._ints(tensor, 7 if dtype == "int64" else 5) or None

    def _image_hints(self, name: str, rank: int) -> tuple[Layout | None, int | None]:
        """Tell layout and channels of an image input; of rank 3, both or none."""
        layout: Layout | None = None
        for _ in range(_MAX_STEPS_TRACED):
            node = self._consumers.get(name)
            if node is None or not node.outputs:
                break
            if node.op == "Transpose":
                perm = next((self._ints(span, 8) for span in node.attributes), ())
                if perm not in ((0, 3, 1, 2), (2, 0, 1)):
                    break
                layout = "NHWC"
            elif node.op in ("Conv", "QLinearConv") and len(node.inputs) > 1:
                dims = self._kernel(node)
                if rank == 3 and (len(dims) != 4 or 1 in dims[2:]):
                    return None, None  # over time, not over a picture
                groups = 1
                for span in node.attributes:
                    if self._text_field(span, 1) == "group":
                        groups = self._number(span, 3)
                return layout or "NCHW", dims[1] * groups if len(dims) == 4 else None
            elif node.op not in _ELEMENTWISE and not (rank == 3 and node.op in _NEW_AXIS):
                break
            name = node.outputs[0]
        return (layout, None) if rank == 4 else (None, None)

    def _kernel(self, convolution: _Node) -> tuple[int, ...]:
        """Return the shape of a convolution's weights, which may be quantised; empty where it cannot be told."""
        at = 1 if convolution.op == "Conv" else 3
        name = convolution.inputs[at] if at < len(convolution.inputs) else ""
        producer = self._producers.get(name)
        if producer is not None and producer.op == "DequantizeLinear" and producer.inputs:
            name = producer.inputs[0]
        weights = self._initializers.get(name)
        return self._ints(weights, 1) if weights else ()
