"""model.json: what a package says beside its ONNX file."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeGuard, get_args

from functions.shared.inference.errors import ModelPackageError

Task: TypeAlias = Literal["classification", "regression", "embedding", "multi-target", "detection", "tensors"]
Activation: TypeAlias = Literal["none", "softmax", "sigmoid"]
Color: TypeAlias = Literal["grey", "rgb", "bgr"]
Missing: TypeAlias = Literal["nan"]
Scalar: TypeAlias = str | bool | int | float

# In the order of Pillow's own numbers, which Hugging Face's preprocessor_config.json uses for the same setting.
RESAMPLE_NAMES: Final = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")

_SHA256_LENGTH: Final = 64
_MAX_NAME_LENGTH: Final = 200
_TASKS: Final[tuple[Task, ...]] = get_args(Task)


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


def _version(key: str, value: object) -> str:
    # 1 is what people write; 1.10 would already have become 1.1
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(key, value)


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


def _size(key: str, value: object) -> tuple[int, int]:
    match value:
        case [int(height), int(width)] if height > 0 and width > 0 and True not in (height is True, width is True):
            return height, width
    raise wrong(key, f"must be [height, width] in pixels, not {shown(value)}")


def _resample(key: str, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(RESAMPLE_NAMES):
        return RESAMPLE_NAMES[value]
    return _one_of(*RESAMPLE_NAMES)(key, value)


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


def _digest(key: str, value: object) -> str:
    if isinstance(value, str) and len(value) == _SHA256_LENGTH and set(value.lower()) <= set("0123456789abcdef"):
        return value.lower()
    raise wrong(key, f"must be {_SHA256_LENGTH} hexadecimal digits, not {shown(value)}")


_READERS: Final[dict[str, Callable[[str, object], object]]] = {
    "name": _text,
    "version": _version,
    "task": _one_of(*_TASKS),
    "labels": _labels,
    "feature_names": _names,
    "missing": _one_of("nan"),
    "answer": _name,
    "keep": _names,
    "activation": _one_of("none", "softmax", "sigmoid"),
    "size": _size,
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


@dataclass(frozen=True, slots=True)
class PackageSettings:
    """model.json as written: None is what it does not say, or says null to.

    Attributes
    ----------
    said
        The keys that have a value, of which some have that of the default.
    """

    name: str | None = None
    version: str | None = None
    task: Task | None = None
    labels: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    missing: Missing | None = None
    answer: str | None = None
    keep: tuple[str, ...] | None = None
    activation: Activation = "none"
    size: tuple[int, int] | None = None
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

    @classmethod
    def read(cls, path: Path) -> "PackageSettings":
        """Read model.json; a file that is not there says nothing.

        Raises
        ------
        ModelPackageError
            It is no JSON object, it has an unknown or repeated key, or a value is not of its key's type.
        """
        try:
            text = path.read_text("utf-8-sig")
        except FileNotFoundError:
            return cls()
        except UnicodeDecodeError as error:
            raise ModelPackageError(f"model.json: is not UTF-8 at byte {error.start}") from error
        except OSError as error:
            raise ModelPackageError(f"model.json: cannot be read: {error.strerror}") from error
        try:
            document = json.loads(text, object_pairs_hook=_object_without_repeats)
        except json.JSONDecodeError as error:
            raise ModelPackageError(f"model.json: is not JSON: {error}") from error
        except RecursionError as error:
            raise ModelPackageError("model.json: is nested too deeply") from error
        if not isinstance(document, dict):
            raise ModelPackageError(f"model.json: must be an object, not {shown(document)}")
        unknown = sorted(document.keys() - _READERS.keys())
        if unknown:
            raise ModelPackageError(
                f"model.json: unknown key {', '.join(map(shown, unknown))}: the keys are {', '.join(_READERS)}"
            )
        values = {key: _READERS[key](key, value) for key, value in document.items() if value is not None}
        return cls(**values, said=frozenset(values))  # type: ignore[arg-type]  # each reader gives its field's type


def _object_without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ModelPackageError(f"model.json: {repeated}: is there twice")
    return document
