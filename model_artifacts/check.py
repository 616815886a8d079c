"""Show how the service would serve a model package: its signature, the input the API takes, and one prediction."""

import io
import json
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from functions.shared.inference.content_types import SUPPORTED_CONTENT_TYPES
from functions.shared.inference.errors import InputError
from functions.shared.inference.model import Instance, Model
from functions.shared.inference.onnx_file import written
from functions.shared.inference.package import FeatureInput, ImageInput, ModelPackage, TensorInput
from model_artifacts.errors import CheckError

Features: TypeAlias = dict[str, object] | list[object]

_URL = "http://127.0.0.1:3000/prediction"
_OPEN_LENGTH = 224  # the height and width of a made-up image if the model takes any size
_MADE_UP = {"number": 1.0, "integer": 1, "boolean": True, "string": "a"}
_SHOWN_LABELS = 20
_LONGEST_BODY = 2_000
_OPTIONS = {"image": "--input FILE", "features": "--features JSON", "tensors": "--inputs JSON"}
_TAKEN = {"image": "an image (--input)", "features": "features (--features)", "tensors": "tensors (--inputs)"}
_SENT = {"image": "an image", "features": "features", "tensors": "tensors"}


def check(folder: Path, *, image: Path | None = None, features: str | None = None, inputs: str | None = None) -> None:
    """Print how the service would serve a package, and make one prediction with it.

    Parameters
    ----------
    folder : Path
        The model package.
    image : Path or None
        The image to predict.
    features : str or None
        The features to predict: a JSON list or object, or the name of a file that contains one, either alone or under
        the key `features`, as in a request's body.
    inputs : str or None
        The tensors to predict: a JSON object, or the name of a file that contains one, as for `features`. Without all
        three the input is made up.

    Raises
    ------
    InferenceError
        The package cannot be served, or it cannot predict the input.
    CheckError
        The input cannot be read, or it is not of the kind that the model takes.
    """
    package = ModelPackage.load(folder)
    model = Model.load(package)
    wanted = package.input
    decode: Callable[[], Instance]
    _print_package(package)
    _require_kind(package, image=image, features=features, inputs=inputs)
    if isinstance(wanted, ImageInput):
        _print_image_input(wanted)
        data = _made_up_image(wanted) if image is None else _read(image)
        decode = partial(model.decode_image, data)
    elif isinstance(wanted, TensorInput):
        tensors = wanted.sample() if inputs is None else _parse("inputs", inputs)
        _print_tensor_input(wanted, tensors)
        decode = partial(model.decode_tensors, tensors)
    else:
        chosen = _made_up_features(wanted) if features is None else _parse("features", features)
        _print_feature_input(wanted, chosen)
        decode = partial(model.decode_features, chosen)

    given = image or features or inputs
    made_up = given is None
    print(f"\nOne prediction, of {'a made-up input' if made_up else given} ({model.provider})")
    try:
        (prediction,) = model.predict([decode()])
    except InputError as error:
        if not made_up:
            raise
        # The made-up input may be at fault, for example a category that the model does not know, and not the package.
        print(f"  refused: {error}\n  try a real input: {_OPTIONS[package.takes]}")
        return
    if prediction.predicted_value is not None:
        print(f"  predicted value  {prediction.predicted_value}")
    if prediction.confidence is not None:
        print(f"  confidence       {prediction.confidence:.4f}")
    print(f"  output           {json.dumps(prediction.output)}")
    for name, value in (prediction.outputs or {}).items():
        print(f"  {name}  {json.dumps(value)}")


def _require_kind(package: ModelPackage, *, image: Path | None, features: str | None, inputs: str | None) -> None:
    given = {"image": image, "features": features, "tensors": inputs}
    for kind, value in given.items():
        if value is not None and kind != package.takes:
            raise CheckError(f"{package.name} takes {_TAKEN[package.takes]}, not {_SENT[kind]}")


def _print_package(package: ModelPackage) -> None:
    print(f"{package.name}, version {package.version}: {package.task}")
    print(f"  folder      {package.path.parent}")
    print(f"  sha256      {package.sha256}")
    if package.labels is not None:
        rest = len(package.labels) - _SHOWN_LABELS
        more = f", and {rest} more" if rest > 0 else ""
        print(f"  labels      {', '.join(package.labels[:_SHOWN_LABELS])}{more}")
    print(f"  activation  {package.activation}")

    print("\nFiles")
    _print_table([(file.name, f"{file.size} bytes", f"sha256 {file.sha256}") for file in package.files])
    rows = [("input", each.name, each.dtype, written(each.shape)) for each in package.signature.inputs]
    for output in package.signature.outputs:
        if output.key_dtype is None:
            rows.append(("output", output.name, output.dtype, written(output.shape)))
        else:
            rows.append(("output", output.name, output.dtype, f"one map per row, keyed by {output.key_dtype}"))
    print("\nSignature")
    _print_table(rows)
    print(f"\nThe answer is {_answer(package)}")
    if package.answer.further:
        others = ", ".join(one.name for one in package.answer.further)
        print(f"  stored by name  {others}")


def _answer(package: ModelPackage) -> str:
    """Tell which outputs are read as what."""
    named = ", ".join(one.name for one in package.answer.headline)
    return f"{named}, read as {package.task}" if named else "all outputs by name"


def _print_image_input(wanted: ImageInput) -> None:
    size = "its own size" if wanted.height is None else f"{wanted.height} x {wanted.width} pixels (height x width)"
    if wanted.edges is not None:
        size = "its own shape"
    if wanted.stride is not None:
        size = f"at most {size}"
    scaled = f"(pixel * {wanted.rescale_factor:.6g} - {_numbers(wanted.mean)}) / {_numbers(wanted.std)}"
    print("\nThe API takes an image")
    print(f"  sent as     {', '.join(SUPPORTED_CONTENT_TYPES)}")
    print(f"  becomes     {wanted.color}, {size}, {wanted.resample} resampling")
    if wanted.height is not None or wanted.edges is not None:
        print(f"  fitted by   {_fitting(wanted)}")
    print(f"  each value  {scaled}")
    print(f"  curl -F file=@image.png {_URL}")


def _fitting(wanted: ImageInput) -> str:
    if wanted.edges is not None:
        longest = f"{wanted.edges.longest} pixels at the longer edge"
        return (
            longest
            if wanted.edges.shortest is None
            else f"{wanted.edges.shortest} at the shorter edge, at most {longest}"
        )
    if wanted.fit == "letterbox":
        multiple = f" to a multiple of {wanted.stride}" if wanted.stride is not None else ""
        return f"letterbox, filled up{multiple} with {', '.join(map(str, wanted.pad_color))}"
    match wanted.resized_to:
        case None:
            return "stretching"
        case height, width:
            resized = f"stretching to {height} x {width}"
        case edge:
            resized = f"resizing the shorter edge to {edge}"
    return f"{resized}, then cutting out the middle as {wanted.crop_rounding} does"


def _print_feature_input(wanted: FeatureInput, sample: Features) -> None:
    if wanted.columns is None:
        print("\nThe API takes a list of features, any number of them")
    elif wanted.names is None:
        print("\nThe API takes a list of features, in this order")
    else:
        print("\nThe API takes features, an object by name or a list in this order")
    if wanted.columns is not None:
        _print_table(
            [(column.name or f"[{at}]", column.type, column.dtype) for at, column in enumerate(wanted.columns)]
        )
    body = shlex.quote(json.dumps({"features": sample}, ensure_ascii=False))
    print(f"  curl -H 'Content-Type: application/json' -d {body} {_URL}")


def _print_tensor_input(wanted: TensorInput, sample: Features) -> None:
    print("\nThe API takes an object with a value or nested lists for each input, of one example")
    _print_table(
        [(one.name, one.dtype, written(one.shape), "may be left out" if one.optional else "") for one in wanted.tensors]
    )
    body = json.dumps({"inputs": sample}, ensure_ascii=False)
    if len(body) <= _LONGEST_BODY:
        print(f"  curl -H 'Content-Type: application/json' -d {shlex.quote(body)} {_URL}")


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _numbers(values: tuple[float, ...]) -> str:
    texts = [f"{value:.6g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"


def _made_up_image(wanted: ImageInput) -> bytes:
    """Make a PNG whose brightness rises from left to right."""
    height, width = wanted.height or _OPEN_LENGTH, wanted.width or _OPEN_LENGTH
    row = np.linspace(0, 255, width).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.tile(row, (height, 1))).save(file, format="PNG")
    return file.getvalue()


def _made_up_features(wanted: FeatureInput) -> Features:
    if wanted.columns is None:
        return [_MADE_UP["number"]]
    values = [_MADE_UP[column.type] for column in wanted.columns]
    return values if wanted.names is None else dict(zip(wanted.names, values, strict=True))


def _parse(member: str, text: str) -> Features:
    given = text if text.lstrip().startswith(("[", "{")) else _read(Path(text))
    try:
        value = json.loads(given)
    except ValueError as error:
        raise CheckError(f"--{member} is not valid JSON: {error}") from error
    if isinstance(value, dict) and isinstance(value.get(member), list | dict):
        value = value[member]
    if not isinstance(value, list | dict):
        raise CheckError(f"--{member} is a JSON {type(value).__name__}, not a list or an object")
    return value


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckError(f"{path}: {error.strerror}") from error
