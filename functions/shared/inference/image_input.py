"""Derive how a model takes its image from the shape of its input and from model.json."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from functions.shared.inference.errors import ModelPackageError
from functions.shared.inference.onnx_file import FLOATS, WHOLE_NUMBERS, Dimension, Signature, TensorSpec, written
from functions.shared.inference.package_settings import INTER_LINEAR, Color, Edges, Fit, PackageSettings, shown, wrong
from functions.shared.inference.preprocessor_config import with_preprocessor_config

Layout: TypeAlias = Literal["NCHW", "NHWC", "NHW"]
CropRounding: TypeAlias = Literal["torchvision", "transformers"]

_PAD_COLOR: Final = 114  # of Ultralytics' YOLO
_OPAQUE: Final = 255

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
        In pixels. Both None if the model takes any size and model.json names none: an image then keeps its own, or
        gets `edges`.
    batch
        The number of images that each run takes. None if it is open.
    unbatched
        The graph has no batch axis at all.
    color
        Order of the channels: ``grey``, ``rgb``, ``bgr``; with 4 channels, transparency comes last.
    resample
        One of `RESAMPLE_NAMES`, or `INTER_LINEAR`.
    fit
        How an image of another shape gets the model's. ``stretch`` changes its aspect ratio, ``crop`` cuts off what
        the longer edge has too much, ``letterbox`` fills up what the shorter edge has too little, ``scale`` keeps the
        aspect ratio.
    resized_to
        What an image is resized to before `height` and `width` are cut out of its middle: the length of its shorter
        edge (``crop``), or its height and width (``stretch``). None if nothing is cut out.
    crop_rounding
        Whose middle that is where it lies between two pixels.
    pad_color
        What ``letterbox`` fills with: one sample of 0 to 255 per channel, in the order of `color`.
    stride
        Of a ``letterbox`` that is as small as the image allows: each side is filled up by less than this, to `height`
        or `width` less a multiple of this. None if it always has `height` and `width`.
    edges
        What ``scale`` makes an image's edges; None for every other `fit`.
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
    fit: Fit = "stretch"
    resized_to: int | tuple[int, int] | None = None
    crop_rounding: CropRounding = "torchvision"
    pad_color: tuple[int, ...] = ()
    stride: int | None = None
    edges: Edges | None = None

    @property
    def is_open(self) -> bool:
        """Whether images differ in size when they come to the model."""
        return self.height is None or self.stride is not None

    @property
    def crop_size(self) -> tuple[int, int] | None:
        """Height and width of what is cut out of an image; None if nothing is."""
        if self.resized_to is None or self.height is None or self.width is None:
            return None
        return self.height, self.width

    @property
    def fit_settings(self) -> dict[str, object]:
        """How an image is fitted, in the words of model.json. Empty if it is stretched to the model's size."""
        if self.fit == "letterbox":
            letterbox: dict[str, object] = {"fit": self.fit, "pad_color": self.pad_color}
            return letterbox if self.stride is None else letterbox | {"stride": self.stride}
        if self.edges is not None:
            return {"fit": self.fit, "size": self.edges.describe()}
        if self.resized_to is None:
            return {}
        return {
            "fit": self.fit,
            "size": self.resized_to,
            "crop_size": self.crop_size,
            "crop_rounding": self.crop_rounding,
        }

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
    settings = with_preprocessor_config(settings)
    fitting = _fitting(settings)
    if settings.feature_names is not None:
        raise wrong("feature_names", f"the model takes an image {written(spec.shape)}, which has no features")
    if spec.dtype not in FLOATS | WHOLE_NUMBERS:
        raise ModelPackageError(
            f"model.onnx: input {spec.name!r} is an image of {spec.dtype}, which is not served: "
            "say task: tensors in model.json"
        )
    axes = _axes_of_rank_4(spec, settings, fitting) if len(spec.axes) == 4 else _axes_of_rank_3(signature, settings)
    channels = _channels(spec, axes, settings)
    color = settings.color or ("grey" if channels == 1 else "rgb")
    if (color == "grey") != (channels == 1):
        raise settings.wrong(
            "color", f"{color} has {1 if color == 'grey' else 3} channels, the model's input {channels}"
        )
    height, width = _image_size(spec, axes, settings, fitting)
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
        resample=settings.resample or (INTER_LINEAR if fitting.fit == "letterbox" else "bilinear"),
        rescale_factor=rescale,
        mean=mean,
        std=std,
        fit=fitting.fit,
        resized_to=_resized_to(fitting, height, width),
        crop_rounding="transformers" if fitting.crops and "fit" in settings.told_by else "torchvision",
        pad_color=_pad_color(channels, settings) if fitting.fit == "letterbox" else (),
        stride=_stride(spec, axes, (height, width), settings),
        edges=fitting.edges,
    )


class _Fitting(NamedTuple):
    """What the settings say of how an image is fitted: the model's own size may follow from the ONNX file.

    Attributes
    ----------
    fit
        As in `ImageInput`.
    crops
        A part is cut out of the middle.
    resized_to
        As in `ImageInput`. None if the settings do not say it.
    size, key
        Height and width of what the model takes, and which setting says so. None, and the one that would say so.
    edges
        As in `ImageInput`.
    """

    fit: Fit
    crops: bool
    resized_to: int | tuple[int, int] | None
    size: tuple[int, int] | None
    key: str
    edges: Edges | None = None


def _fitting(settings: PackageSettings) -> _Fitting:
    fit, size, crop_size = settings.fit, settings.size, settings.crop_size
    if settings.pad_color is not None and fit != "letterbox":
        raise settings.wrong("pad_color", "is what an image is filled up with where fit is letterbox, and only there")
    if settings.stride is not None and fit != "letterbox":
        raise settings.wrong("stride", "is about a letterbox that is as small as the image allows: say fit: letterbox")
    if (fit == "scale") != isinstance(size, Edges):
        raise settings.wrong(
            "size",
            'must be {"shortest_edge": pixels, "longest_edge": pixels}, or the latter alone, where fit is scale, and '
            "nowhere else",
        )
    if isinstance(size, Edges):
        if crop_size is not None:
            raise settings.wrong("crop_size", "is cut out of an image, but fit is scale, which keeps all of it")
        return _Fitting("scale", crops=False, resized_to=None, size=None, key="size", edges=size)
    if fit == "letterbox":
        if crop_size is not None:
            raise settings.wrong("crop_size", "is cut out of an image, but fit is letterbox, which keeps all of it")
        return _Fitting(
            fit, crops=False, resized_to=None, size=(size, size) if isinstance(size, int) else size, key="size"
        )
    if fit == "crop":
        if isinstance(size, tuple) and crop_size is not None:
            if size[0] != size[1]:
                raise settings.wrong(
                    "size",
                    f"must be the length of the shorter edge, not {shown(size)}: or say fit: stretch if the image is "
                    "stretched to that before crop_size is cut out of it",
                )
            size = size[0]
        if isinstance(size, tuple):
            return _Fitting(fit, crops=True, resized_to=None, size=size, key="size")
        return _Fitting(fit, crops=True, resized_to=size, size=crop_size, key="crop_size")
    if isinstance(size, int):
        raise settings.wrong(
            "size", f"must be [height, width] in pixels, or say fit: crop if {size} is the length of the shorter edge"
        )
    if crop_size is None:
        return _Fitting("stretch", crops=False, resized_to=None, size=size, key="size")
    if fit is None or size is None:
        missing = "fit" if fit is None else "size"
        raise settings.wrong(
            missing, "is missing beside crop_size: say fit: crop and the shorter edge as size, or fit: stretch and "
            "[height, width] as size: that is what an image is resized to before crop_size is cut out of it",
        )  # fmt: skip
    return _Fitting("stretch", crops=True, resized_to=size, size=crop_size, key="crop_size")


def image_size(settings: PackageSettings) -> tuple[int, int] | None:
    """Return height and width of what the model takes, if the settings say it.

    Raises
    ------
    ModelPackageError
        The settings contradict each other.
    """
    return _fitting(settings).size


def _resized_to(fitting: _Fitting, height: int | None, width: int | None) -> int | tuple[int, int] | None:
    """Return what an image is resized to before it is cut. The default covers the crop, whatever the image's shape."""
    if not fitting.crops or height is None or width is None or fitting.resized_to == (height, width):
        return None
    return max(height, width) if fitting.resized_to is None else fitting.resized_to


def _pad_color(channels: int, settings: PackageSettings) -> tuple[int, ...]:
    given = settings.pad_color or (_PAD_COLOR,)
    if len(given) == channels:
        return given
    if len(given) == 1:
        return (*given * min(channels, 3), *(_OPAQUE,) * (channels - 3))
    plural = "s" if channels > 1 else ""
    raise settings.wrong("pad_color", f"has {len(given)} values, but the model's image {channels} channel{plural}")


def _stride(
    spec: TensorSpec, axes: _Axes, size: tuple[int | None, int | None], settings: PackageSettings
) -> int | None:
    """Return the stride of a letterbox, if the model takes what it makes."""
    stride = settings.stride
    if stride is None:
        return None
    if isinstance(axes.height, int) or isinstance(axes.width, int):
        raise settings.wrong("stride", f"makes images of many sizes, but input {spec.name!r} is {written(spec.shape)}")
    if any(side is None or side % stride for side in size):
        raise settings.wrong("stride", f"is {stride}, of which both sides in size must be a multiple")
    return stride


def _fixed(axis: Dimension) -> int | None:
    return axis if isinstance(axis, int) else None


def _axes_of_rank_4(spec: TensorSpec, settings: PackageSettings, fitting: _Fitting) -> _Axes:
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
        sides = zip((axes.height, axes.width), fitting.size or (None, None), strict=True)
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


def _image_size(
    spec: TensorSpec, axes: _Axes, settings: PackageSettings, fitting: _Fitting
) -> tuple[int | None, int | None]:
    wanted, key = fitting.size, fitting.key
    height, width = _fixed(axes.height), _fixed(axes.width)
    if fitting.edges is not None:
        if height is not None or width is not None:
            raise settings.wrong(
                "fit", f"is scale, which makes images of many sizes, but input {spec.name!r} is {written(spec.shape)}"
            )
        return None, None
    if wanted is None:
        if (height is None) != (width is None):
            raise settings.wrong(
                key, f"is missing: input {spec.name!r} is {written(spec.shape)} and fixes only one side"
            )
        if height is None and (fitting.fit != "stretch" or fitting.crops):
            raise settings.wrong(
                key, f"is missing: input {spec.name!r} is {written(spec.shape)}, and fit: {fitting.fit} needs a size"
            )
        if height is not None and settings.fit == "keep":
            raise settings.wrong(
                "fit", f"is false, but input {spec.name!r} is {written(spec.shape)}: say fit in model.json"
            )
        return height, width
    for what, axis, length in (("height", height, wanted[0]), ("width", width, wanted[1])):
        if axis is not None and axis != length:
            raise settings.wrong(
                key, f"{what} is {length}, but that of input {spec.name!r} {written(spec.shape)} is {axis}"
            )
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
            raise settings.wrong(key, f"has {len(given)} values, but the model's image {channels} channel{plural}")
    mean, std = values["image_mean"], values["image_std"]
    rescale = settings.rescale_factor
    if rescale is None:
        rescale = 1 / 255 if spec.dtype in FLOATS else 1.0
        if spec.dtype == "int8" and settings.image_mean is None and settings.image_std is None:
            mean = (128.0,) * channels  # the zero point of full-integer quantisation: 0..255 onto -128..127
    if spec.dtype in WHOLE_NUMBERS:
        if "rescale_factor" in settings.told_by and rescale != 1:
            raise settings.wrong(
                "rescale_factor",
                f"pixels become {rescale * 255:g} at most, but input {spec.name!r} is {spec.dtype}, which takes them "
                "as they are: say rescale_factor, image_mean and image_std in model.json",
            )
        bits = int(spec.dtype.removeprefix("u").removeprefix("int"))
        low, high = (0, 2**bits - 1) if spec.dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        ends = [(pixel * rescale - m) / s for m, s in zip(mean, std, strict=True) for pixel in (0, 255)]
        if round(min(ends)) < low or round(max(ends)) > high:
            raise ModelPackageError(
                f"model.json: rescale_factor, image_mean, image_std: pixels become {min(ends):g} to {max(ends):g}, "
                f"but input {spec.name!r} is {spec.dtype}, {low} to {high}"
            )
    return rescale, mean, std
