"""Tell where the inputs of a model can be read in two ways. docs/models.md has the table of how they are read."""

from typing import Final

from functions.shared.inference.image_input import image_size
from functions.shared.inference.onnx_file import WHOLE_NUMBERS, Dimension, Shape, Signature, TensorSpec, written
from functions.shared.inference.package_settings import PackageSettings
from functions.shared.inference.preprocessor_config import with_preprocessor_config

# If a side is shorter, the input is as plausibly a table or a series as a picture.
_SMALLEST_PLAUSIBLE_SIDE: Final = 8
_RANK_3: Final = "color or size if it is a picture, or task: tensors"


def input_doubt(signature: Signature, settings: PackageSettings) -> str | None:
    """Return what about the inputs can be read in two ways, with the key that settles it; None if nothing can.

    Parameters
    ----------
    signature
        Of a model that takes an image or features.
    settings
        Of model.json.
    """
    inputs = signature.inputs
    if len(inputs[0].axes) in (3, 4):
        return _image_doubt(inputs[0], settings)
    leading = {output.shape[0] for output in signature.outputs if output.shape}
    return _columns_doubt(inputs, settings) if len(inputs) > 1 else _vector_doubt(inputs[0], leading, settings)


def _columns_doubt(inputs: tuple[TensorSpec, ...], settings: PackageSettings) -> str | None:
    if settings.feature_names is not None:
        return None
    for spec in inputs:
        if len(spec.axes) == 2 and not isinstance(spec.axes[1], int):
            return (
                f"input {spec.name!r} is {written(spec.shape)}, one value of a row or a series of any length: "
                "say task: tensors in model.json, or feature_names if it is one value"
            )
        if len(spec.axes) == 1 and isinstance(spec.axes[0], int) and spec.axes[0] > 1:
            return (
                f"input {spec.name!r} is {written(spec.shape)}, {spec.axes[0]} rows or one row of {spec.axes[0]} "
                "values: say task: tensors in model.json, or feature_names with a name for each input if it is rows"
            )
    wide = [spec for spec in inputs if len(spec.axes) == 2 and spec.axes[1] != 1 and spec.dtype in WHOLE_NUMBERS]
    if len(wide) > 1:
        first, second, *_ = wide
        return (
            f"inputs {first.name!r} {written(first.shape)} and {second.name!r} {written(second.shape)} are of whole "
            "numbers, tokens or features: say task: tensors in model.json, or feature_names"
        )
    symbols = {spec.axes[0]: spec for spec in reversed(inputs) if isinstance(spec.axes[0], str)}
    if len(symbols) > 1:
        first, second, *_ = reversed(symbols.values())
        return (
            f"input {second.name!r} is {written(second.shape)} and {first.name!r} {written(first.shape)}, "
            "whose first axes may differ: say task: tensors in model.json, or feature_names if both are rows"
        )
    return None


def _vector_doubt(spec: TensorSpec, leading: set[Dimension], settings: PackageSettings) -> str | None:
    last = spec.axes[-1]
    if settings.feature_names is not None or (spec.dtype == "string" and not isinstance(last, int)):
        return None
    if len(spec.axes) == 1:
        if isinstance(last, int):
            if last == 1 or last not in leading:
                return None
            return (
                f"input {spec.name!r} is {written(spec.shape)} and so is an output, {last} rows or one row of {last} "
                "values: say feature_names in model.json, one name or as many, or task: tensors"
            )
        return (
            f"input {spec.name!r} is {written(spec.shape)}, rows of one value or a series of any length: "
            "say feature_names in model.json with one name, or task: tensors"
        )
    if isinstance(last, int) or spec.dtype.startswith("float"):
        return None
    return (
        f"input {spec.name!r} is {written(spec.shape)} of {spec.dtype}, tokens or features: "
        "say task: tensors in model.json, or feature_names"
    )


def _image_doubt(spec: TensorSpec, settings: PackageSettings) -> str | None:
    settings = with_preprocessor_config(settings)
    return _rank_4_doubt(spec, settings) if len(spec.axes) == 4 else _rank_3_doubt(spec, settings)


def _rank_3_doubt(spec: TensorSpec, settings: PackageSettings) -> str | None:
    first, _, last = spec.axes
    what = f"input {spec.name!r} is {written(spec.shape)}"
    if settings.color is None and spec.channels_hint in (1, 3, 4):
        return None
    if settings.color is None and settings.size is None:
        return f"{what}, a series or a picture: say {_RANK_3}, in model.json"
    planes = [at for at, axis in ((0, first), (2, last)) if axis in (3, 4)]
    if settings.color is None and planes:
        return f"{what}, a colour picture or several grey ones: say color in model.json, or task: tensors"
    if settings.color in ("rgb", "bgr") and len(planes) == 2 and settings.size is None and spec.layout_hint is None:
        return f"{what}, with colours on its first or its last axis: say size in model.json, or task: tensors"
    return None


def _rank_4_doubt(spec: TensorSpec, settings: PackageSettings) -> str | None:
    what = f"input {spec.name!r} is {written(spec.shape)}"
    _, first, second, last = spec.axes
    fixed = {at: axis for at, axis in ((1, first), (3, last)) if isinstance(axis, int) and axis in (1, 3, 4)}
    has_4 = 4 in fixed.values() if spec.channels_hint is None else spec.channels_hint == 4
    if has_4 and settings.color is None:
        return (
            f"{what}, with 4 channels, a picture with transparency or none: say color in model.json, or task: tensors"
        )
    if spec.layout_hint is not None:
        return None
    if len(fixed) == 2:
        fitting = [at for at, axis in fixed.items() if _fits(spec.axes, at, axis, settings)]
        if len(fitting) != 1:
            return f"{what}, with channels on axis 1 or on axis 3: say color or size in model.json, or task: tensors"
    elif not fixed and _may_be_channels(first) and _may_be_channels(last):
        return (
            f"{what} and leaves the channels open, on axis 1 or on axis 3: "
            "export it with one of them fixed, or say task: tensors in model.json"
        )
    sides = (second, last) if 1 in fixed or not _may_be_channels(last) else (first, second)
    small = [side for side in sides if isinstance(side, int) and side < _SMALLEST_PLAUSIBLE_SIDE]
    if small and settings.color is None and settings.size is None:
        return f"{what}, a small picture or a series: say {_RANK_3}, in model.json"
    return None


def _may_be_channels(axis: object) -> bool:
    return not isinstance(axis, int) or axis in (1, 3, 4)


def _fits(axes: Shape, at: int, channels: int, settings: PackageSettings) -> bool:
    """Tell whether reading one axis as the channels agrees with model.json."""
    if settings.color is not None and (settings.color == "grey") != (channels == 1):
        return False
    sides = axes[2:] if at == 1 else axes[1:3]
    wanted = image_size(settings) or sides
    return all(not isinstance(side, int) or side == one for side, one in zip(sides, wanted, strict=True))
