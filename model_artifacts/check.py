"""Show how the service would serve a model package: its signature, the input the API takes, and one prediction."""

import io
import json
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from functions.shared.inference.content_types import SUPPORTED_CONTENT_TYPES
from functions.shared.inference.errors import InputError
from functions.shared.inference.model import Model
from functions.shared.inference.onnx_file import written
from functions.shared.inference.package import FeatureInput, ImageInput, ModelPackage
from model_artifacts.errors import CheckError

Features: TypeAlias = dict[str, object] | list[object]

_URL = "http://127.0.0.1:3000/prediction"
_OPEN_LENGTH = 224  # the height and width of a made-up image if the model takes any size
_MADE_UP = {"number": 1.0, "integer": 1, "boolean": True, "string": "a"}
_SHOWN_LABELS = 20


def check(folder: Path, *, image: Path | None = None, features: str | None = None) -> None:
    """Print how the service would serve a package, and make one prediction with it.

    Parameters
    ----------
    folder : Path
        The model package.
    image : Path or None
        The image to predict.
    features : str or None
        The features to predict: a JSON list or object, or the name of a file that contains one, either alone or under
        the key `features`, as in a request's body. Without `image` and `features` the input is made up.

    Raises
    ------
    InferenceError
        The package cannot be served, or it cannot predict the input.
    CheckError
        The input cannot be read, or it is an image and the model takes features, or the other way round.
    """
    package = ModelPackage.load(folder)
    model = Model.load(package)
    wanted = package.input
    _print_package(package)
    if isinstance(wanted, ImageInput):
        if features is not None:
            raise CheckError(f"{package.name} takes an image (--input), not features")
        _print_image_input(wanted)
        data = _made_up_image(wanted) if image is None else _read(image)
        decode = partial(model.decode_image, data)
    else:
        if image is not None:
            raise CheckError(f"{package.name} takes features (--features), not an image")
        chosen = _made_up_features(wanted) if features is None else _parse_features(features)
        _print_feature_input(wanted, chosen)
        decode = partial(model.decode_features, chosen)

    made_up = image is None and features is None
    print(f"\nOne prediction, of {'a made-up input' if made_up else image or features} ({model.provider})")
    try:
        (prediction,) = model.predict([decode()])
    except InputError as error:
        if not made_up:
            raise
        # The made-up input may be at fault, for example a category that the model does not know, and not the package.
        print(f"  refused: {error}\n  try a real input: --input FILE or --features JSON")
        return
    print(f"  predicted value  {prediction.predicted_value}")
    if prediction.confidence is not None:
        print(f"  confidence       {prediction.confidence:.4f}")
    print(f"  output           {json.dumps(prediction.output)}")


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


def _print_image_input(wanted: ImageInput) -> None:
    size = "its own size" if wanted.height is None else f"{wanted.height} x {wanted.width} pixels (height x width)"
    scaled = f"(pixel * {wanted.rescale_factor:.6g} - {_numbers(wanted.mean)}) / {_numbers(wanted.std)}"
    print("\nThe API takes an image")
    print(f"  sent as     {', '.join(SUPPORTED_CONTENT_TYPES)}")
    print(f"  becomes     {wanted.color}, {size}, {wanted.resample} resampling")
    if wanted.height is not None:
        print(f"  fitted by   {_fitting(wanted)}")
    print(f"  each value  {scaled}")
    print(f"  curl -F file=@image.png {_URL}")


def _fitting(wanted: ImageInput) -> str:
    if wanted.fit == "letterbox":
        return f"letterbox, filled up with {', '.join(map(str, wanted.pad_color))}"
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


def _parse_features(text: str) -> Features:
    given = text if text.lstrip().startswith(("[", "{")) else _read(Path(text))
    try:
        value = json.loads(given)
    except ValueError as error:
        raise CheckError(f"--features is not valid JSON: {error}") from error
    if isinstance(value, dict) and isinstance(value.get("features"), list | dict):
        value = value["features"]
    if not isinstance(value, list | dict):
        raise CheckError(f"--features is a JSON {type(value).__name__}, not a list or an object")
    return value


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckError(f"{path}: {error.strerror}") from error
