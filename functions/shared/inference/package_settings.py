"""model.json: what a package says beside its ONNX file."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeGuard, get_args

from functions.shared.inference.errors import ModelPackageError

Task: TypeAlias = Literal["classification", "regression", "embedding", "multi-target", "detection", "tensors"]
Activation: TypeAlias = Literal["none", "softmax", "sigmoid"]
Color: TypeAlias = Literal["grey", "rgb", "bgr"]
Fit: TypeAlias = Literal["stretch", "crop", "letterbox", "scale"]
Missing: TypeAlias = Literal["nan"]
Scalar: TypeAlias = str | bool | int | float

# In the order of Pillow's own numbers, which Hugging Face's preprocessor_config.json uses for the same setting.
RESAMPLE_NAMES: Final = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")

INTER_LINEAR: Final = "inter_linear"
"""OpenCV's name of what it resizes with by default: four pixels make one, however much smaller the image becomes."""

PREPROCESSOR_CONFIG: Final = "preprocessor_config.json"
"""The file beside a model in which Hugging Face's libraries keep what they do to an image."""

_SHA256_LENGTH: Final = 64
_MAX_NAME_LENGTH: Final = 200
_TASKS: Final[tuple[Task, ...]] = get_args(Task)
_FITS: Final[tuple[Fit, ...]] = get_args(Fit)


@dataclass(frozen=True, slots=True)
class Edges:
    """How long the edges of an image become: its shorter one, unless its longer one would be longer than that.

    Attributes
    ----------
    shortest
        In pixels. None if the longer edge alone decides.
    longest
        In pixels.
    """

    shortest: int | None
    longest: int

    @property
    def pixels(self) -> int:
        """The most pixels that an image has then."""
        return self.longest * (self.longest if self.shortest is None else min(self.shortest, self.longest))

    def describe(self) -> dict[str, int]:
        """Write the edges as model.json and preprocessor_config.json do."""
        longest = {"longest_edge": self.longest}
        return longest if self.shortest is None else {"shortest_edge": self.shortest} | longest


def wrong(key: str, what: str) -> ModelPackageError:
    """Make the error for a key of model.json that is wrong, by itself or beside the ONNX file."""
    return ModelPackageError(f"model.json: {key}: {what}")


def shown(value: object) -> str:
    """Write a value of model.json for a message, cut to 60 characters."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _is_number(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False


def _text(key: str, value: object) -> str:
    if isinstance(value, str) and value.strip() and len(value) <= _MAX_NAME_LENGTH and value.isprintable():
        return value
    raise wrong(key, f"must be a text of 1 to {_MAX_NAME_LENGTH} printable characters, not {shown(value)}")


def _path_segment(key: str, value: object) -> str:
    text = _text(key, value)
    if "/" in text or text in (".", ".."):  # gateways read it as more than one, or as none
        raise wrong(key, f"must be a text without a slash, because paths of the API have it, not {shown(value)}")
    return text


def _version(key: str, value: object) -> str:
    # 1 is what people write; 1.10 would already have become 1.1
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _path_segment(key, value)


def _one_of(*choices: str) -> Callable[[str, object], str]:
    def read(key: str, value: object) -> str:
        if isinstance(value, str) and value in choices:
            return value
        raise wrong(key, f"must be one of {', '.join(choices)}, not {shown(value)}")

    return read


def _labels(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise wrong(key, f"must be a list of texts, not {shown(value)}")
    labels = []
    for at, label in enumerate(value):
        if isinstance(label, bool) or not isinstance(label, str | int):
            raise wrong(key, f"must be texts or whole numbers, but the one at {at} is {shown(label)}")
        labels.append(str(label))
    return _distinct(key, labels)


def _name(key: str, value: object) -> str:
    if isinstance(value, str) and value:
        return value
    raise wrong(key, f"must be a text, not {shown(value)}")


def _names(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise wrong(key, f"must be a list of texts, not {shown(value)}")
    for at, name in enumerate(value):
        if not isinstance(name, str) or not name:
            raise wrong(key, f"must be texts, but the one at {at} is {shown(name)}")
    return _distinct(key, value)


def _distinct(key: str, values: list[str]) -> tuple[str, ...]:
    first: dict[str, int] = {}
    for at, value in enumerate(values):
        if first.setdefault(value, at) != at:
            raise wrong(key, f"{shown(value)} stands at {first[value]} and again at {at}")
    return tuple(values)


def _is_pixels(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _size(key: str, value: object) -> int | tuple[int, int] | Edges:
    match value:
        case {"longest_edge": longest, "shortest_edge": shortest, **others} if (
            _is_pixels(longest) and _is_pixels(shortest) and not others
        ):
            return Edges(shortest, longest)
        case {"longest_edge": longest, **others} if _is_pixels(longest) and not others:
            return Edges(None, longest)
        case [height, width] if _is_pixels(height) and _is_pixels(width):
            return height, width
        case side if _is_pixels(side):
            return side  # what it means depends on `fit`
    raise wrong(key, f"must be [height, width] in pixels, not {shown(value)}")


def _crop_size(key: str, value: object) -> tuple[int, int]:
    size = _size(key, value)
    if isinstance(size, Edges):
        raise wrong(key, f"must be [height, width] in pixels, not {shown(value)}")
    return (size, size) if isinstance(size, int) else size


def _stride(key: str, value: object) -> int:
    if _is_pixels(value):
        return value
    raise wrong(key, f"must be a whole number of pixels, not {shown(value)}")


def _resample(key: str, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(RESAMPLE_NAMES):
        return RESAMPLE_NAMES[value]
    return _one_of(*RESAMPLE_NAMES, INTER_LINEAR)(key, value)


def _pad_color(key: str, value: object) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    samples = tuple(one for one in values if isinstance(one, int) and not isinstance(one, bool) and 0 <= one <= 255)
    if not samples or len(samples) != len(values):
        raise wrong(key, f"must be a whole number of 0 to 255 or a list of them, one per channel, not {shown(value)}")
    return samples


def _factor(key: str, value: object) -> float:
    if _is_number(value) and value != 0:
        return float(value)
    raise wrong(key, f"must be a number other than 0, not {shown(value)}")


def _per_channel(key: str, value: object) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value]
    numbers = tuple(float(one) for one in values if _is_number(one))
    if not numbers or len(numbers) != len(values):
        raise wrong(key, f"must be a number or a list of them, one per channel, not {shown(value)}")
    if key == "image_std" and 0 in numbers:
        raise wrong(key, f"must not be 0, it divides: {shown(value)}")
    return numbers


def _padding(key: str, value: object) -> dict[str, Scalar]:
    if not isinstance(value, dict) or not value:
        raise wrong(key, f"must be an object with a value for each input that is padded, not {shown(value)}")
    for name, scalar in value.items():
        if not (isinstance(scalar, str | bool) or _is_number(scalar)):
            raise wrong(key, f"must be numbers, texts or booleans, but that of {shown(name)} is {shown(scalar)}")
    return value


def _flag(key: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise wrong(key, f"must be true or false, not {shown(value)}")


def _count(key: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise wrong(key, f"must be a whole number of at least 1, not {shown(value)}")


def _digest(key: str, value: object) -> str:
    if isinstance(value, str) and len(value) == _SHA256_LENGTH and set(value.lower()) <= set("0123456789abcdef"):
        return value.lower()
    raise wrong(key, f"must be {_SHA256_LENGTH} hexadecimal digits, not {shown(value)}")


_READERS: Final[dict[str, Callable[[str, object], object]]] = {
    "name": _path_segment,
    "version": _version,
    "task": _one_of(*_TASKS),
    "labels": _labels,
    "feature_names": _names,
    "missing": _one_of("nan"),
    "answer": _name,
    "keep": _names,
    "top_k": _count,
    "activation": _one_of("none", "softmax", "sigmoid"),
    "size": _size,
    "fit": _one_of(*_FITS),
    "crop_size": _crop_size,
    "pad_color": _pad_color,
    "stride": _stride,
    "resample": _resample,
    "rescale_factor": _factor,
    "image_mean": _per_channel,
    "image_std": _per_channel,
    "color": _one_of("grey", "rgb", "bgr"),
    "padding": _padding,
    "batched": _flag,
    "encoded": _flag,
    "sha256": _digest,
}


def read_setting(key: str, value: object, file: str = "model.json") -> object:
    """Check and convert the value of a key of model.json, or of a key of another file that takes the same values.

    Raises
    ------
    ModelPackageError
        The value is not of the key's type. The message begins with the name of the file.
    """
    try:
        return _READERS[key](key, value)
    except ModelPackageError as error:
        raise ModelPackageError(str(error).replace("model.json", file, 1)) from None


@dataclass(frozen=True, slots=True)
class PackageSettings:
    """model.json as written: None is what it does not say, or says null to.

    Attributes
    ----------
    said
        The keys that have a value, of which some have that of the default.
    fit
        ``keep``, to resize nothing, is only said by preprocessor_config.json.
    preprocessor_config
        The path of the preprocessor_config.json beside model.json. None if there is none.
    told_by
        By the key of a setting that model.json does not have, the key of preprocessor_config.json that says it.
    """

    name: str | None = None
    version: str | None = None
    task: Task | None = None
    labels: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    missing: Missing | None = None
    answer: str | None = None
    keep: tuple[str, ...] | None = None
    top_k: int | None = None
    activation: Activation = "none"
    size: int | tuple[int, int] | Edges | None = None
    fit: Fit | Literal["keep"] | None = None
    crop_size: tuple[int, int] | None = None
    pad_color: tuple[int, ...] | None = None
    stride: int | None = None
    resample: str | None = None
    rescale_factor: float | None = None
    image_mean: tuple[float, ...] | None = None
    image_std: tuple[float, ...] | None = None
    color: Color | None = None
    padding: Mapping[str, Scalar] | None = None
    batched: bool | None = None
    encoded: bool | None = None
    sha256: str | None = None
    said: frozenset[str] = frozenset()
    preprocessor_config: Path | None = None
    told_by: Mapping[str, str] = field(default_factory=dict)

    def wrong(self, key: str, what: str) -> ModelPackageError:
        """Make the error for a setting that is wrong beside the ONNX file. It names the file that has it."""
        by = self.told_by.get(key)
        return wrong(key, what) if by is None else ModelPackageError(f"{PREPROCESSOR_CONFIG}: {by}: {what}")

    @classmethod
    def read(cls, path: Path) -> "PackageSettings":
        """Read model.json; a file that is not there says nothing.

        Raises
        ------
        ModelPackageError
            It is no JSON object, it has an unknown or repeated key, or a value is not of its key's type.
        """
        document = read_object(path)
        unknown = sorted(document.keys() - _READERS.keys())
        if unknown:
            raise ModelPackageError(
                f"model.json: unknown key {', '.join(map(shown, unknown))}: the keys are {', '.join(_READERS)}"
            )
        values = {key: read_setting(key, value) for key, value in document.items() if value is not None}
        beside = path.with_name(PREPROCESSOR_CONFIG)
        return cls(
            **values,  # type: ignore[arg-type]  # each reader gives its field's type
            said=frozenset(values),
            preprocessor_config=beside if beside.exists() else None,
        )


def read_object(path: Path) -> dict[str, object]:
    """Read a JSON object from a file of a package; one that is not there is empty.

    Raises
    ------
    ModelPackageError
        The file cannot be read, is no JSON object, or has a key twice.
    """

    def without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
        document = dict(pairs)
        if len(document) != len(pairs):
            keys = [key for key, _ in pairs]
            repeated = next(key for key in keys if keys.count(key) > 1)
            raise ModelPackageError(f"{path.name}: {repeated}: is there twice")
        return document

    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise ModelPackageError(f"{path.name}: is not UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise ModelPackageError(f"{path.name}: cannot be read: {error.strerror}") from error
    try:
        document = json.loads(text, object_pairs_hook=without_repeats)
    except ValueError as error:  # or a whole number of thousands of digits
        raise ModelPackageError(f"{path.name}: is not JSON: {error}") from error
    except RecursionError as error:
        raise ModelPackageError(f"{path.name}: is nested too deeply") from error
    if not isinstance(document, dict):
        raise ModelPackageError(f"{path.name}: must be an object, not {shown(document)}")
    return document
