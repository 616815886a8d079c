"""A model package: ``model.onnx`` and what ``model.json`` adds to it.

Everything is decided here, once, from the file's signature: whether the API takes images or features, in what form the
model wants them, which output is the answer and whether that is a classification. Nothing here runs the model.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from functions.shared.inference.answer import Answer, choose_answer
from functions.shared.inference.content_types import SUPPORTED_CONTENT_TYPES
from functions.shared.inference.errors import ModelPackageError
from functions.shared.inference.feature_input import FeatureInput, choose_feature_input
from functions.shared.inference.image_input import ImageInput, choose_image_input
from functions.shared.inference.onnx_file import SERVED_DTYPES, Signature, read_signature, written
from functions.shared.inference.package_settings import Activation, PackageSettings, Task

__all__ = ["FeatureInput", "ImageInput", "ModelPackage"]

_VERSION_LENGTH: Final = 12


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """What is served.

    Attributes
    ----------
    path
        The ONNX file.
    name, version
        From model.json; else the folder's name and the first 12 digits of the file's SHA-256.
    sha256
        Of the ONNX file, in lower-case hexadecimal.
    task
        ``classification`` or ``regression``.
    labels
        Class names in the order of the scores; None where neither model.json nor the ONNX file names them.
    feature_names
        The features in the API's order; None for images, and where nobody names them.
    activation
        What is applied to the scores: ``none``, ``softmax`` (over an input's scores), ``sigmoid`` (to each).
    signature
        Inputs and outputs as the ONNX file has them.
    input, answer
        What goes in, and which of the outputs come out.
    """

    path: Path
    name: str
    version: str
    sha256: str
    task: Task
    labels: tuple[str, ...] | None
    feature_names: tuple[str, ...] | None
    activation: Activation
    signature: Signature
    input: ImageInput | FeatureInput
    answer: Answer

    @property
    def takes(self) -> Literal["image", "features"]:
        """What the API takes as one input."""
        return "image" if isinstance(self.input, ImageInput) else "features"

    @classmethod
    def load(cls, folder: Path) -> "ModelPackage":
        """Read a package and check it against itself.

        Parameters
        ----------
        folder
            Holds ``model.onnx`` (or exactly one ``.onnx`` file of another name) and, optionally, ``model.json``.

        Raises
        ------
        ModelPackageError
            A file is missing or is not what its name says, model.json has an unknown key or a value of the wrong type,
            it contradicts the ONNX file, or the model takes something that is neither one image nor features.
        """
        if folder.is_file():
            raise ModelPackageError(f"{folder.name}: is a file: name the folder that holds it, {folder.parent}")
        if not folder.is_dir():
            raise ModelPackageError(f"{folder.name or folder}: there is no such folder")
        path = find_model(folder)
        settings = PackageSettings.read(folder / "model.json")
        sha256 = file_sha256(path)
        if settings.sha256 not in (None, sha256):
            raise ModelPackageError(
                f"model.json: sha256: is {settings.sha256}, but that of {path.name} is {sha256}: it is another file"
            )
        signature = read_signature(path)
        model_input = _choose_input(signature, settings)
        answer, task = choose_answer(signature, settings, model_input.rows)
        labels = settings.labels
        if labels is None and task == "classification" and answer.classes is not None:
            labels = tuple(str(label) for label in answer.classes)
        return cls(
            path=path,
            name=settings.name or folder.resolve().name or "model",
            version=settings.version or sha256[:_VERSION_LENGTH],
            sha256=sha256,
            task=task,
            labels=labels,
            feature_names=model_input.names if isinstance(model_input, FeatureInput) else None,
            activation=settings.activation,
            signature=signature,
            input=model_input,
            answer=answer,
        )

    def describe_input(self) -> dict[str, object]:
        """Tell what the API takes for one input, as plain values for JSON."""
        wanted = self.input
        if isinstance(wanted, ImageInput):
            return {
                "takes": "image",
                "content_types": list(SUPPORTED_CONTENT_TYPES),
                "height": wanted.height,
                "width": wanted.width,
                "channels": wanted.channels,
                "color": wanted.color,
                "resample": wanted.resample,
            }
        features = None
        if wanted.columns is not None:
            features = [{"name": column.name, "type": column.type, "dtype": column.dtype} for column in wanted.columns]
        return {"takes": "features", "features": features}


def file_sha256(path: Path) -> str:
    """Compute a file's SHA-256.

    Returns
    -------
    str
        64 lower-case hexadecimal digits.

    Raises
    ------
    ModelPackageError
        The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelPackageError(f"{path.name}: cannot be read: {error.strerror}") from error


def find_model(folder: Path) -> Path:
    """Find a package's ONNX file: ``model.onnx``, or the only ``.onnx`` file there is.

    Raises
    ------
    ModelPackageError
        There is none, or there are several and none is called ``model.onnx``.
    """
    path = folder / "model.onnx"
    if path.is_file():
        return path
    others = sorted(other for other in folder.glob("*.onnx") if other.is_file())
    if len(others) == 1:
        return others[0]
    if others:
        names = ", ".join(other.name for other in others[:5])
        raise ModelPackageError(
            f"model.onnx: is missing in {folder.name}, which has {len(others)} other .onnx files ({names}): "
            "name the one to serve model.onnx"
        )
    raise ModelPackageError(f"model.onnx: is missing in {folder.name}")


def _choose_input(signature: Signature, settings: PackageSettings) -> ImageInput | FeatureInput:
    inputs = signature.inputs
    if not inputs:
        raise ModelPackageError("model.onnx: has no input, so there is nothing to predict from")
    for spec in inputs:
        if spec.dtype not in SERVED_DTYPES:
            raise ModelPackageError(f"model.onnx: input {spec.name!r} is of type {spec.dtype}, which is not served")
        if spec.shape is None:
            raise ModelPackageError(f"model.onnx: input {spec.name!r} has no shape: export it with one")
        if len(inputs) > 1 and len(spec.shape) not in (1, 2):
            raise ModelPackageError(
                f"model.onnx: has {len(inputs)} inputs, of which {spec.name!r} is {written(spec.shape)}: "
                "a model with several inputs takes features, each of its inputs being [N], [N, 1] or [N, F]"
            )
    rank = len(inputs[0].axes)
    if rank in (1, 2):
        return choose_feature_input(signature, settings)
    if rank in (3, 4):
        return choose_image_input(signature, settings)
    raise ModelPackageError(
        f"model.onnx: input {inputs[0].name!r} is {written(inputs[0].shape)}, of rank {rank}: "
        "rank 1 and 2 are served as features, rank 3 and 4 as an image"
    )
