"""Derive how a model takes features from the shapes of its inputs and from model.json."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from functions.shared.inference.errors import ModelPackageError
from functions.shared.inference.onnx_file import FLOATS, WHOLE_NUMBERS, Signature, TensorSpec, written
from functions.shared.inference.package_settings import PackageSettings, wrong

FeatureType: TypeAlias = Literal["number", "integer", "boolean", "string"]

_FEATURE_TYPES: Final[dict[str, FeatureType]] = {
    **dict.fromkeys(FLOATS, "number"),
    **dict.fromkeys(WHOLE_NUMBERS, "integer"),
    "bool": "boolean",
    "string": "string",
}
_IMAGE_KEYS: Final = (
    *("size", "fit", "crop_size", "pad_color", "stride"),
    *("resample", "rescale_factor", "image_mean", "image_std", "color", "encoded"),
)


@dataclass(frozen=True, slots=True)
class FeatureColumn:
    """One feature: its name in the API (None if it has none) and its type in the model."""

    name: str | None
    dtype: str

    @property
    def type(self) -> FeatureType:
        """The JSON type that a caller sends."""
        return _FEATURE_TYPES[self.dtype]


@dataclass(frozen=True, slots=True)
class FeatureTensor:
    """One input of the graph: which features it takes, by position in the API's order.

    Attributes
    ----------
    name, dtype
        Of the graph's input.
    columns
        Positions among the features. None if the width is open and model.json does not give it.
    rank
        2 for ``[N, F]``, 1 for ``[N]`` or, in a graph without batch axis, ``[F]``.
    """

    name: str
    dtype: str
    columns: tuple[int, ...] | None
    rank: int


@dataclass(frozen=True, slots=True)
class FeatureInput:
    """How the model takes its features.

    Attributes
    ----------
    columns
        The features in the API's order. None if the model takes any number of them: it then has one tensor.
    tensors
        The graph's inputs.
    batch, unbatched
        As for `ImageInput`.
    missing
        Whether null stands for a missing value, which is NaN to the model.
    """

    columns: tuple[FeatureColumn, ...] | None
    tensors: tuple[FeatureTensor, ...]
    batch: int | None
    unbatched: bool
    missing: bool = False

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names by which a caller may key the features. None if they have none."""
        names = tuple(column.name for column in self.columns or () if column.name is not None)
        return names or None

    @property
    def rows(self) -> int | None:
        """The number of inputs that each run takes. None if it is open, 0 if the graph has no batch axis."""
        return 0 if self.unbatched else self.batch


def choose_feature_input(signature: Signature, settings: PackageSettings) -> FeatureInput:
    """Decide which features the inputs of a model, each of rank 1 or 2, take.

    An input takes as many features as it is wide; several inputs take consecutive features. Names come from model.json.
    If it has none and each feature has an input of its own, the feature is named after its input.

    Raises
    ------
    ModelPackageError
        model.json contradicts the inputs, or they contradict each other.
    """
    inputs, names = signature.inputs, settings.feature_names
    for key in _IMAGE_KEYS:
        if getattr(settings, key) is not None:
            raise wrong(key, f"is about images, but the model takes features {written(inputs[0].shape)}")
    if settings.missing is not None and not any(spec.dtype in FLOATS for spec in inputs):
        raise wrong("missing", f"is {settings.missing}, but the model has no input of floats, which alone have a NaN")
    batch, unbatched = _batch(signature, names)
    widths = [_width(spec, unbatched=unbatched) for spec in inputs]
    if None in widths:
        if len(inputs) == 1 and names is None:
            tensor = FeatureTensor(inputs[0].name, inputs[0].dtype, None, 2)
            return FeatureInput(None, (tensor,), batch, unbatched, settings.missing is not None)
        # Of several inputs, each is a column unless it says otherwise.
        widths = [len(names)] if len(inputs) == 1 and names is not None else [width or 1 for width in widths]
    slots = [spec for spec, width in zip(inputs, widths, strict=True) for _ in range(width or 0)]
    if names is not None and len(names) != len(slots):
        raise wrong("feature_names", f"has {len(names)} names, but the model takes {len(slots)} features")
    own_names = [spec.name for spec in slots]
    order = list(range(len(slots)))
    if len(set(own_names)) == len(slots):
        if names is not None and set(names) == set(own_names):
            order = [own_names.index(name) for name in names]  # model.json has the inputs' names in another order
        names = names or tuple(own_names)
    columns = tuple(
        FeatureColumn(None if names is None else names[at], slots[slot].dtype) for at, slot in enumerate(order)
    )
    place = {slot: at for at, slot in enumerate(order)}
    tensors = []
    start = 0
    for spec, width in zip(inputs, widths, strict=True):
        stop = start + (width or 0)
        tensors.append(
            FeatureTensor(spec.name, spec.dtype, tuple(place[at] for at in range(start, stop)), len(spec.axes))
        )
        start = stop
    return FeatureInput(columns, tuple(tensors), batch, unbatched, settings.missing is not None)


def _width(spec: TensorSpec, *, unbatched: bool) -> int | None:
    if len(spec.axes) == 1 and not unbatched:
        return 1
    axis = spec.axes[-1]
    return axis if isinstance(axis, int) else None


def _batch(signature: Signature, names: tuple[str, ...] | None) -> tuple[int | None, bool]:
    """Return the number of rows of each run, or None, and whether the graph has no batch axis."""
    inputs = signature.inputs
    if len(inputs) == 1 and len(inputs[0].axes) == 1:
        (length,) = inputs[0].axes
        leading = {output.shape[0] for output in signature.outputs if output.shape}
        # [4] is one row of four features, unless an output has four rows too and model.json does not name four
        told = names is not None and len(names) == length
        if isinstance(length, int) and length > 1 and (told or length not in leading):
            return None, True
    fixed = {spec.name: axis for spec in inputs for axis in spec.axes[:1] if isinstance(axis, int)}
    if len(set(fixed.values())) > 1:
        sizes = ", ".join(f"{name!r} {rows}" for name, rows in fixed.items())
        raise ModelPackageError(f"model.onnx: its inputs take different numbers of rows: {sizes}")
    return next(iter(fixed.values()), None), False
