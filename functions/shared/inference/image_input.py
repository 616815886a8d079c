"""Derive how a model takes its image from the shape of its input and from model.json."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from functions.shared.inference.errors import ModelPackageError
from functions.shared.inference.onnx_file import FLOATS, WHOLE_NUMBERS, Dimension, Signature, TensorSpec, written
from functions.shared.inference.package_settings import Color, PackageSettings, wrong

Layout: TypeAlias = Literal["NCHW", "NHWC", "NHW"]

# If the last two axes of a rank-3 input are shorter, the input is a table or a series, not a picture.
_SMALLEST_PLAUSIBLE_SIDE: Final = 8


@dataclass(frozen=True, slots=True)
class ImageInput:
    """How the model takes its image.

    Attributes
    ----------
    name, dtype
        Of the graph's input.
    layout
        The order of the axes. ``NHW`` is a grey image without a channel axis.
    channels
        1 (grey), 3 (colour) or 4 (colour and transparency).
    height, width
        In pixels. Both None if the model takes any size and model.json names none: an image then keeps its own.
    batch
        The number of images that each run takes. None if it is open.
    unbatched
        The graph has no batch axis at all.
    color
        Order of the channels: ``grey``, ``rgb``, ``bgr``; with 4 channels, transparency comes last.
    resample
        One of `RESAMPLE_NAMES`.
    rescale_factor, mean, std
        A pixel of 0 to 255 becomes ``(pixel * rescale_factor - mean) / std``; one mean and std per channel.
    """

    name: str
    dtype: str
    layout: Layout
    channels: int
    height: int | None
    width: int | None
    batch: int | None
    unbatched: bool
    color: Color
    resample: str
    rescale_factor: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def rows(self) -> int | None:
        """The number of inputs that each run takes. None if it is open, 0 if the graph has no batch axis."""
        return 0 if self.unbatched else self.batch


@dataclass(frozen=True, slots=True)
class _Axes:
    """A possible reading of an input's axes."""

    layout: Layout
    batch: Dimension
    channel: Dimension
    height: Dimension
    width: Dimension
    unbatched: bool = False


def choose_image_input(signature: Signature, settings: PackageSettings) -> ImageInput:
    """Decide how the only input of a model, of rank 3 or 4, takes an image.

    A wrong choice would exchange axes or channels, and every prediction would be wrong. So what model.json says goes
    before what is likely.

    Raises
    ------
    ModelPackageError
        The input cannot be an image, or model.json contradicts it or is needed to decide.
    """
    (spec,) = signature.inputs
    if settings.feature_names is not None:
        raise wrong("feature_names", f"the model takes an image {written(spec.shape)}, which has no features")
    if spec.dtype not in FLOATS | WHOLE_NUMBERS:
        raise ModelPackageError(
            f"model.onnx: input {spec.name!r} is an image of {spec.dtype}, which is not served: "
            "say task: tensors in model.json"
        )
    axes = _axes_of_rank_4(spec, settings) if len(spec.axes) == 4 else _axes_of_rank_3(signature, settings)
    channels = _channels(spec, axes, settings)
    color = settings.color or ("grey" if channels == 1 else "rgb")
    if (color == "grey") != (channels == 1):
        raise wrong("color", f"{color} has {1 if color == 'grey' else 3} channels, the model's input {channels}")
    height, width = _image_size(spec, axes, settings)
    rescale, mean, std = _normalisation(spec, channels, settings)
    return ImageInput(
        name=spec.name,
        dtype=spec.dtype,
        layout=axes.layout,
        channels=channels,
        height=height,
        width=width,
        batch=_fixed(axes.batch),
        unbatched=axes.unbatched,
        color=color,
        resample=settings.resample or "bilinear",
        rescale_factor=rescale,
        mean=mean,
        std=std,
    )


def _fixed(axis: Dimension) -> int | None:
    return axis if isinstance(axis, int) else None


def _axes_of_rank_4(spec: TensorSpec, settings: PackageSettings) -> _Axes:
    batch, first, second, last = spec.axes
    readings = [_Axes("NCHW", batch, first, second, last), _Axes("NHWC", batch, last, first, second)]
    possible = [axes for axes in readings if _fixed(axes.channel) in (None, 1, 3, 4)]
    if not possible:
        raise ModelPackageError(
            f"model.onnx: input {spec.name!r} is {written(spec.shape)}: an image has 1, 3 or 4 channels, "
            f"on axis 1 (here {first}) or axis 3 (here {last}): for anything else say task: tensors in model.json"
        )

    def likelihood(axes: _Axes) -> tuple[bool, bool, bool]:
        # First comes a channel axis of known length, then what agrees with model.json, then the layout that the first
        # convolution shows. Without one it is NCHW, which ONNX's convolutions take.
        sides = zip((axes.height, axes.width), settings.size or (None, None), strict=True)
        fits_size = all(None in (_fixed(side), wanted) or side == wanted for side, wanted in sides)
        fits_color = None in (settings.color, _fixed(axes.channel)) or (settings.color == "grey") == (axes.channel == 1)
        return _fixed(axes.channel) is not None, fits_size and fits_color, axes.layout == (spec.layout_hint or "NCHW")

    return max(possible, key=likelihood)


def _axes_of_rank_3(signature: Signature, settings: PackageSettings) -> _Axes:
    (spec,) = signature.inputs
    first, second, last = spec.axes
    large = [isinstance(axis, int) and axis >= _SMALLEST_PLAUSIBLE_SIDE for axis in spec.axes]
    grey = (settings.color or ("grey" if spec.channels_hint == 1 else None)) == "grey"
    if last in (1, 3, 4) and large[0] and large[1] and (last == 1 or not grey):
        return _Axes("NHWC", None, last, first, second, unbatched=True)
    leading = {output.shape[0] for output in signature.outputs if output.shape}
    coloured = settings.color in ("rgb", "bgr") or spec.channels_hint in (3, 4)
    if first in (3, 4) and large[1] and large[2] and not grey and (coloured or first not in leading):
        return _Axes("NCHW", None, first, second, last, unbatched=True)
    told = settings.size is not None or settings.color is not None
    if told or (large[1] and large[2]):
        return _Axes("NHW", first, 1, second, last)
    raise ModelPackageError(
        f"model.onnx: input {spec.name!r} is {written(spec.shape)}, of rank 3, and not plausibly a grey image "
        f"[N, height, width] of at least {_SMALLEST_PLAUSIBLE_SIDE} by {_SMALLEST_PLAUSIBLE_SIDE} pixels: "
        "if it is one, say color: grey in model.json, else task: tensors"
    )


def _channels(spec: TensorSpec, axes: _Axes, settings: PackageSettings) -> int:
    if isinstance(axes.channel, int):
        return axes.channel
    if settings.color is not None:
        return 1 if settings.color == "grey" else 3
    if spec.channels_hint in (1, 3, 4):
        return spec.channels_hint
    raise ModelPackageError(
        f"model.json: color: is missing: input {spec.name!r} is {written(spec.shape)} and leaves the channels open: "
        "if it is no picture, say task: tensors"
    )


def _image_size(spec: TensorSpec, axes: _Axes, settings: PackageSettings) -> tuple[int | None, int | None]:
    wanted = settings.size
    if wanted is None:
        height, width = _fixed(axes.height), _fixed(axes.width)
        if (height is None) != (width is None):
            raise ModelPackageError(
                f"model.json: size: is missing: input {spec.name!r} is {written(spec.shape)} and fixes only one side"
            )
        return height, width
    for what, axis, length in (("height", axes.height, wanted[0]), ("width", axes.width, wanted[1])):
        if isinstance(axis, int) and axis != length:
            raise wrong("size", f"{what} is {length}, but that of input {spec.name!r} {written(spec.shape)} is {axis}")
    return wanted


def _normalisation(
    spec: TensorSpec, channels: int, settings: PackageSettings
) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    values = {}
    for key, given, default in (("image_mean", settings.image_mean, 0.0), ("image_std", settings.image_std, 1.0)):
        if given is None or len(given) == 1 == channels:
            values[key] = given or (default,) * channels
        elif len(given) == channels:
            values[key] = given
        elif len(given) == 1:
            values[key] = given * channels
        else:
            plural = "s" if channels > 1 else ""
            raise wrong(key, f"has {len(given)} values, but the model's image {channels} channel{plural}")
    mean, std = values["image_mean"], values["image_std"]
    rescale = settings.rescale_factor
    if rescale is None:
        rescale = 1 / 255 if spec.dtype in FLOATS else 1.0
        if spec.dtype == "int8" and settings.image_mean is None and settings.image_std is None:
            mean = (128.0,) * channels  # the zero point of full-integer quantisation: 0..255 onto -128..127
    if spec.dtype in WHOLE_NUMBERS:
        bits = int(spec.dtype.removeprefix("u").removeprefix("int"))
        low, high = (0, 2**bits - 1) if spec.dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        ends = [(pixel * rescale - m) / s for m, s in zip(mean, std, strict=True) for pixel in (0, 255)]
        if round(min(ends)) < low or round(max(ends)) > high:
            raise ModelPackageError(
                f"model.json: rescale_factor, image_mean, image_std: pixels become {min(ends):g} to {max(ends):g}, "
                f"but input {spec.name!r} is {spec.dtype}, {low} to {high}"
            )
    return rescale, mean, std
