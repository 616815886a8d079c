"""Derive how a model takes named tensors from its signature and model.json (`"task": "tensors"`)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from functions.shared.inference.datatypes import DATATYPES, export_instead
from functions.shared.inference.errors import ModelPackageError
from functions.shared.inference.onnx_file import (
    FLOATS,
    SERVED_DTYPES,
    Dimension,
    Shape,
    Signature,
    TensorSpec,
    written,
)
from functions.shared.inference.package_settings import PackageSettings, Scalar, shown, wrong

_KEYS_OF_OTHERS: Final = (
    "size", "fit", "crop_size", "pad_color", "stride", "resample", "rescale_factor", "image_mean", "image_std", "color",
    "encoded", "feature_names",
)  # fmt: skip
# What names of an axis say that it is part of one example. Exporters make up names such as unk__7, s0 or dim_1.
_PARTS_OF_AN_EXAMPLE: Final = (
    "seq", "len", "time", "step", "frame", "token", "word", "char", "height", "width", "point", "box", "node", "edge",
    "num_", "channel", "feature", "sample_rate",
)  # fmt: skip


MADE_UP_LENGTH: Final = 8
"""Most networks accept this length: for a made-up example of a model that takes any."""


@dataclass(frozen=True, slots=True)
class InputTensor:
    """One input of the graph.

    Attributes
    ----------
    name, dtype
        Of the graph's input.
    shape
        Of one example: without the batch axis.
    batched
        Whether the graph's input has a batch axis before that shape. If not, one run has one value for all examples.
    optional
        Whether the graph has a value for it where a caller sends none.
    padding
        What the shorter examples of a run are filled up with; None if they are not.
    """

    name: str
    dtype: str
    shape: Shape
    batched: bool
    optional: bool = False
    padding: Scalar | None = None


@dataclass(frozen=True, slots=True)
class TensorInput:
    """How the model takes its tensors.

    Attributes
    ----------
    tensors
        The graph's inputs, in its order; the optional ones last.
    batch, unbatched
        As for `ImageInput`.
    batch_axes
        What the batch axis is in the inputs' shapes, where it is open: its names, and None where it has none.
    missing
        As for `FeatureInput`.
    """

    tensors: tuple[InputTensor, ...]
    batch: int | None
    unbatched: bool
    batch_axes: frozenset[str | None]
    missing: bool = False

    @property
    def rows(self) -> int | None:
        """As for `FeatureInput`."""
        return 0 if self.unbatched else self.batch

    def sample(self) -> dict[str, object]:
        """Make up an example as a caller sends it: ones, true and the text a, 8 entries where the length is open."""
        values: dict[str, object] = {"string": "a", "bool": True}
        return {one.name: _nested(values.get(one.dtype, 1), one.shape) for one in self.tensors if not one.optional}

    def describe(self) -> list[dict[str, object]]:
        """Tell what the API takes for one example, as plain values for JSON: open axes are null or their name."""
        return [
            {
                "name": one.name,
                "datatype": DATATYPES[one.dtype],
                "shape": list(one.shape),
                "optional": one.optional,
                "padding": one.padding,
            }
            for one in self.tensors
        ]


def _nested(value: object, shape: Shape) -> object:
    for axis in reversed(shape):
        value = [value] * (axis if isinstance(axis, int) else MADE_UP_LENGTH)
    return value


def choose_tensor_input(signature: Signature, settings: PackageSettings) -> TensorInput:
    """Decide what an example of a model is, and whether its inputs have a batch axis.

    The first axis of the inputs is that of a batch where it is open, unless its name says otherwise. Where all lengths
    are fixed, an axis of 1 is. Whatever can be read in two ways is refused, unless ``batched`` says which one is meant.

    Raises
    ------
    ModelPackageError
        The inputs can be read in two ways, are of a type that is not served, or contradict model.json.
    """
    for key in _KEYS_OF_OTHERS:
        if getattr(settings, key) is not None:
            raise wrong(key, "is about images or features, but the task is tensors")
    if not signature.inputs:
        raise ModelPackageError("model.onnx: has no input, so there is nothing to predict from")
    for spec in (*signature.inputs, *signature.optional):
        if spec.dtype not in SERVED_DTYPES:
            raise ModelPackageError(
                f"model.onnx: input {spec.name!r} is of type {spec.dtype}, which is not served"
                + export_instead(spec.dtype)
            )
        if spec.shape is None:
            raise ModelPackageError(f"model.onnx: input {spec.name!r} has no shape: export it with one")
    leading = _batched_axes(signature, settings.batched)
    names = frozenset(axis for axis in leading.values() if isinstance(axis, str))
    fixed = {axis for axis in leading.values() if isinstance(axis, int)}
    open_axes = frozenset(axis for axis in leading.values() if not isinstance(axis, int))
    tensors = [
        _input_tensor(spec, batched=spec.name in leading, optional=False, settings=settings)
        for spec in signature.inputs
    ]
    tensors += [
        _input_tensor(spec, batched=bool(names & set(spec.axes[:1])), optional=True, settings=settings)
        for spec in signature.optional
    ]
    _check_padding(tensors, settings)
    if settings.missing is not None and not any(one.dtype in FLOATS for one in tensors):
        raise wrong("missing", f"is {settings.missing}, but the model has no input of floats, which alone have a NaN")
    return TensorInput(tuple(tensors), next(iter(fixed), None), not leading, open_axes, settings.missing is not None)


def _input_tensor(spec: TensorSpec, *, batched: bool, optional: bool, settings: PackageSettings) -> InputTensor:
    padding = (settings.padding or {}).get(spec.name)
    return InputTensor(spec.name, spec.dtype, spec.axes[1:] if batched else spec.axes, batched, optional, padding)


def _batched_axes(signature: Signature, batched: bool | None) -> dict[str, Dimension]:
    """Return the batch axis of each input that has one."""
    leading = {spec.name: spec.axes[0] for spec in signature.inputs if spec.axes}
    if batched is False or (not leading and not batched):
        return {}
    open_ones: dict[str, Dimension] = {name: axis for name, axis in leading.items() if not isinstance(axis, int)}
    if open_ones:
        # A fixed length beside open ones is no batch axis: it would not go with them.
        if batched is None:
            _require_one_batch_axis(signature, open_ones)
        return open_ones
    lengths = set(leading.values())
    if len(lengths) == 1 and (batched or lengths == {1}):
        return leading
    if batched:
        what = "its inputs have no axis" if not lengths else f"its inputs take {_listed(leading)} rows"
        raise wrong("batched", f"is true, but {what}")
    if len(lengths) == 1 and any(spec.shape and spec.shape[0] in (*lengths, None) for spec in signature.outputs):
        raise _doubt(signature.inputs[0])
    return {}


def _require_one_batch_axis(signature: Signature, leading: dict[str, Dimension]) -> None:
    names = {axis for axis in leading.values() if isinstance(axis, str) and not _is_made_up(axis)}
    part = next((name for name, axis in leading.items() if isinstance(axis, str) and _is_part(axis)), None)
    if part is None and len(names) < 2:
        return
    odd = part or next(name for name, axis in leading.items() if axis in names)
    raise _doubt(next(spec for spec in signature.inputs if spec.name == odd))


def _doubt(spec: TensorSpec) -> ModelPackageError:
    return wrong(
        "batched",
        f"is not there, and input {spec.name!r} {written(spec.shape)} can be read in two ways: "
        "write true if its first axis is that of a batch of examples, false if it belongs to each example",
    )


def _is_made_up(axis: str) -> bool:
    return axis.lower().startswith(("unk__", "dim_", "s")) and axis[-1:].isdigit()


def _is_part(axis: str) -> bool:
    return "batch" not in axis.lower() and any(part in axis.lower() for part in _PARTS_OF_AN_EXAMPLE)


def _listed(leading: dict[str, Dimension]) -> str:
    return ", ".join(f"{name!r} {axis}" for name, axis in leading.items())


def _check_padding(tensors: Iterable[InputTensor], settings: PackageSettings) -> None:
    padding = settings.padding or {}
    by_name = {one.name: one for one in tensors}
    for name, value in padding.items():
        if name not in by_name:
            raise wrong("padding", f"there is no input {shown(name)}: the inputs are {', '.join(by_name)}")
        one = by_name[name]
        if not one.batched or all(isinstance(axis, int) for axis in one.shape):
            raise wrong("padding", f"input {name!r} is {written(one.shape)} per example: it has nothing to pad")
        if None in one.shape:
            raise wrong(
                "padding", f"input {name!r} is {written(one.shape)} per example: name its open axes in the file"
            )
        if not _fits(value, one.dtype):
            raise wrong("padding", f"{shown(value)} is no {one.dtype}, of which input {name!r} is")
    padded = {axis: name for name in padding for axis in by_name[name].shape if isinstance(axis, str)}
    for one in by_name.values():
        shared = next((axis for axis in one.shape if axis in padded), None)
        if shared is not None and one.name not in padding:
            raise wrong("padding", f"input {one.name!r} has the axis {shared!r} of {padded[shared]!r}: pad it as well")


def _fits(value: Scalar, dtype: str) -> bool:
    if dtype in ("string", "bool"):
        return isinstance(value, str if dtype == "string" else bool)
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (dtype.startswith("float") or float(value).is_integer())
    )
