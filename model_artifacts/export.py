"""Export a Keras model as a model package (`model.onnx` and `model.json`), if ONNX Runtime gives the same answers.

The module imports Keras and TensorFlow, which take seconds: import it only in a command that needs it.
"""

import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from functions.shared.inference.package import ModelPackage
from model_artifacts.errors import ExportError, ParityError

TOLERANCE = 1e-5
"""The largest difference allowed between Keras and ONNX Runtime: absolute for values up to 1, relative above."""

_OPSET = 18  # the newest that tf2onnx writes for every layer used here; it refuses 20
_ROWS_AT_A_TIME = 256
_MADE_UP_ROWS = 200
_MADE_UP_LENGTH = 32  # the length of an axis that the model leaves open, other than the batch
_SEED = 20


def export_package(
    model: keras.Model, folder: Path, description: dict[str, Any], samples: Sequence[NDArray[Any]]
) -> float:
    """Export a Keras model to a folder if ONNX Runtime agrees with Keras on the samples.

    If they disagree, the folder keeps the package that it had.

    Parameters
    ----------
    model : keras.Model
        Built, with a float32 dtype policy (Keras's exporter takes no other) and one output.
    folder : Path
        The package's folder. It is made if missing; `model.onnx` and `model.json` in it are replaced.
    description : dict
        The content of `model.json`. Its `sha256` is dropped, because it belongs to the previous model.
    samples : sequence of numpy.ndarray
        One array per input of the model, each [N, ...]. Keras and ONNX Runtime are compared on them.

    Returns
    -------
    float
        The largest difference found: absolute where Keras's value is below 1, relative above.

    Raises
    ------
    ParityError
        Keras and ONNX Runtime differ by more than `TOLERANCE`.
    ExportError
        The model has several outputs, or Keras exports its constants as inputs.
    """
    if len(model.outputs) != 1:
        raise ExportError(f"the model has {len(model.outputs)} outputs, a model package has one")
    _hold_normalization_in_numpy(model)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "model.onnx.partial"
    try:
        _call(model, [sample[:1] for sample in samples])  # Keras exports only models that have been called
        with warnings.catch_warnings():
            # Keras patches tf2onnx for NumPy 2 and asks for an attribute that NumPy warns about.
            warnings.filterwarnings("ignore", r"In the future `np\.object`", FutureWarning)
            model.export(partial, format="onnx", opset_version=_OPSET, verbose=False)
        _name_axes_and_output(partial, model)
        difference = largest_difference(model, partial, samples)
        if not difference <= TOLERANCE:
            raise ParityError(
                f"ONNX Runtime and Keras differ by {difference:.2g} on {len(samples[0])} inputs, "
                f"more than {TOLERANCE:.0e}: nothing was exported"
            )
        _write_json(folder, {key: value for key, value in description.items() if key != "sha256"})
        partial.replace(folder / "model.onnx")
    finally:
        partial.unlink(missing_ok=True)
    return difference


def record_digest(folder: Path) -> None:
    """Add a package's digest to its `model.json`, so that the service refuses any other model in its place.

    Parameters
    ----------
    folder : Path
        The package. Call this last: any later change to it changes the digest, and the package is refused.

    Raises
    ------
    ModelPackageError
        The package cannot be served.
    """
    description = json.loads((folder / "model.json").read_bytes())
    _write_json(folder, {**description, "sha256": ModelPackage.load(folder).sha256})


def _write_json(folder: Path, description: dict[str, Any]) -> None:
    (folder / "model.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def export_keras_file(keras_file: Path, folder: Path) -> float:
    """Export a saved Keras model if ONNX Runtime agrees with Keras on 200 rows of made-up input.

    An existing `model.json` is kept without its `sha256`, which is the digest of the previous model. If there is none,
    one is written with the folder's name as the model's.

    Parameters
    ----------
    keras_file : Path
        The file that `model.save` wrote.
    folder : Path
        The model package's folder, as in `export_package`.

    Returns
    -------
    float
        The largest difference found, as in `export_package`.

    Raises
    ------
    ParityError
        Keras and ONNX Runtime differ by more than `TOLERANCE`.
    ExportError
        The file is not a Keras model that can be loaded and exported, or the existing `model.json` is not a JSON
        object.
    """
    try:
        model = keras.saving.load_model(keras_file, compile=False)
    except (ValueError, TypeError, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ExportError(f"{keras_file} cannot be loaded as a Keras model: {reason}") from error
    description = {"name": folder.resolve().name}
    present = folder / "model.json"
    if present.exists():
        try:
            description = json.loads(present.read_bytes())
        except ValueError as error:
            raise ExportError(f"{present} is not valid JSON: {error}") from error
        if not isinstance(description, dict):
            raise ExportError(f"{present} holds {type(description).__name__}, not an object")
    return export_package(model, folder, description, made_up_inputs(model))


def made_up_inputs(model: keras.Model) -> list[NDArray[Any]]:
    """Make random inputs that fit the model's signature. They are the same in every run.

    Parameters
    ----------
    model : keras.Model
        Built.

    Returns
    -------
    list of numpy.ndarray
        200 rows per input. Floats are in [0, 1); integers are 0 or 1, which even the smallest embedding accepts; axes
        that the model leaves open are 32 long.
    """
    generator = np.random.default_rng(_SEED)
    samples = []
    for each in model.inputs:
        shape = [_MADE_UP_ROWS, *(_MADE_UP_LENGTH if length is None else length for length in each.shape[1:])]
        floating = "float" in each.dtype
        values = generator.random(shape) if floating else generator.integers(0, 2, shape)
        samples.append(values.astype(each.dtype))
    return samples


def largest_difference(model: keras.Model, onnx_file: Path, samples: Sequence[NDArray[Any]]) -> float:
    """Compare Keras and ONNX Runtime (CPU) on the same inputs.

    Parameters
    ----------
    model : keras.Model
        The original.
    onnx_file : Path
        Its export.
    samples : sequence of numpy.ndarray
        One array per input of the model, each [N, ...].

    Returns
    -------
    float
        The maximum of ``|onnx - keras| / max(1, |keras|)`` over all values; infinity if a value is not finite or the
        shapes differ.
    """
    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    worst = 0.0
    for start in range(0, len(samples[0]), _ROWS_AT_A_TIME):
        part = [sample[start : start + _ROWS_AT_A_TIME] for sample in samples]
        expected = _call(model, part)
        (actual,) = session.run(None, dict(zip(names, part, strict=True)))
        if actual.shape != expected.shape or not np.isfinite(expected).all() or not np.isfinite(actual).all():
            return float("inf")
        difference = np.abs(actual - expected) / np.maximum(1, np.abs(expected))
        worst = max(worst, float(difference.max(initial=0)))
    return worst


def _call(model: keras.Model, inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
    by_name = {each.name: value for each, value in zip(model.inputs, inputs, strict=True)}
    result = model(by_name if len(inputs) > 1 else inputs[0], training=False)
    return np.asarray(keras.ops.convert_to_numpy(result))


def _hold_normalization_in_numpy(model: keras.Model) -> None:
    """Turn the mean and variance of `Normalization` layers from TensorFlow tensors into NumPy arrays.

    Keras traces a function that captures those tensors, and tf2onnx turns every captured tensor into an input, so
    callers would have to send the mean. An array is traced as a constant.
    """
    for layer in _layers(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.mean = np.asarray(layer.mean)
            layer.variance = np.asarray(layer.variance)


def _layers(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def _name_axes_and_output(path: Path, model: keras.Model) -> None:
    """Name the batch axis `batch` everywhere, and name the output after its layer.

    tf2onnx gives the batch axis of each tensor a different name and calls the output `Identity:0`. The API would show
    these names to its callers.
    """
    exported = onnx.load(path)
    graph = exported.graph
    unknown = [value.name for value in graph.input][len(model.inputs) :]
    if unknown:
        raise ExportError(f"Keras exported constants of the model as inputs: {', '.join(unknown)}")
    (output,) = graph.output
    traced, named = output.name, model.layers[-1].name
    for value in (*graph.input, output):
        first = value.type.tensor_type.shape.dim[0]
        if not first.HasField("dim_value"):
            first.dim_param = "batch"
    output.name = named
    for node in graph.node:
        node.input[:] = [named if name == traced else name for name in node.input]
        node.output[:] = [named if name == traced else name for name in node.output]
    onnx.checker.check_model(exported, full_check=True)
    onnx.save(exported, path)
