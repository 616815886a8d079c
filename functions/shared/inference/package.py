"""A model package: ``model.onnx`` and what ``model.json`` adds to it.

Loading a package decides, from the file's signature, whether the API takes images or features, in what form the model
takes them, which output is the answer, and whether the model classifies. Nothing here runs the model.
"""

import hashlib
import json
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

from functions.shared.inference.answer_outputs import Answer, Doubts, choose_answer
from functions.shared.inference.content_types import SUPPORTED_CONTENT_TYPES
from functions.shared.inference.datatypes import export_instead
from functions.shared.inference.errors import ModelPackageError
from functions.shared.inference.feature_input import FeatureInput, choose_feature_input
from functions.shared.inference.image_input import ImageInput, choose_image_input
from functions.shared.inference.onnx_file import SERVED_DTYPES, Signature, read_signature, written
from functions.shared.inference.output_size import refuse_too_large
from functions.shared.inference.package_baseline import Described, read_baseline
from functions.shared.inference.package_files import PackageFile, find_model, is_file, read_files, status_of
from functions.shared.inference.package_settings import Activation, Missing, PackageSettings, Task, shown, wrong
from functions.shared.inference.signature_doubts import input_doubt
from functions.shared.inference.tensor_answer import choose_tensor_answer
from functions.shared.inference.tensor_input import TensorInput, choose_tensor_input

__all__ = ["FeatureInput", "ImageInput", "ModelPackage", "Takes", "TensorInput"]

Takes: TypeAlias = Literal["image", "features", "tensors"]
"""What the API takes as one input of a model."""

ModelInput: TypeAlias = ImageInput | FeatureInput | TensorInput

_VERSION_LENGTH: Final = 12
_NAMED_FILES: Final = 3  # in a message: some exporters write one file a tensor


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A model package that can be served.

    Attributes
    ----------
    path
        The ONNX file.
    name, version
        From model.json; else the folder's name and the first 12 digits of `sha256`.
    sha256
        The model's identity, in lower-case hexadecimal: a digest over `files` and `settings`. For a package of one
        file with default settings, it is the file's digest.
    files
        The ONNX file, then its external data files.
    settings
        All settings that can change a prediction, defaults included, as a JSON object. Equal settings give equal text.
    task
        ``classification``, ``regression``, ``embedding``, ``multi-target``, ``detection`` or ``tensors``.
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
    encoded
        Whether a request of the Open Inference Protocol may have image files in place of the model's tensor.
    top_k
        How many of a classification's scores are answered and stored, the largest; None for all.
    baseline
        What baseline.json says, as JSON text; None if there is none. It is no part of what the model is.
    """

    path: Path
    name: str
    version: str
    sha256: str
    files: tuple[PackageFile, ...]
    settings: str
    task: Task
    labels: tuple[str, ...] | None
    feature_names: tuple[str, ...] | None
    activation: Activation
    signature: Signature
    input: ModelInput
    answer: Answer
    encoded: bool = False
    top_k: int | None = None
    baseline: str | None = None

    @property
    def takes(self) -> Takes:
        """What the API takes as one input."""
        if isinstance(self.input, TensorInput):
            return "tensors"
        return "image" if isinstance(self.input, ImageInput) else "features"

    @classmethod
    def load(cls, folder: Path, *, with_baseline: bool = True) -> "ModelPackage":
        """Read a package and check it against itself.

        Parameters
        ----------
        folder
            Holds ``model.onnx`` (or exactly one ``.onnx`` file of another name) and, optionally, ``model.json`` and
            ``baseline.json``.
        with_baseline
            Whether to read the latter: what replaces it does not.

        Raises
        ------
        ModelPackageError
            A file is missing, cut off, or not what its name or `sha256` says, model.json has an unknown key or a value
            of the wrong type, it contradicts the ONNX file, baseline.json is none of this model, or the model takes
            something that is neither one image nor features.
        """
        path, said = _find(folder)
        files = read_files(path)
        signature = read_signature(path)
        if signature.unknown_operator is not None:
            domain, name = signature.unknown_operator
            raise ModelPackageError(
                f"{path.name}: has the operator {name} of the domain {domain}, which onnxruntime does not have: "
                "export the model without it (what a tokeniser does, callers then do themselves)"
            )
        decided = _Decisions.of(signature, said)
        refuse_too_large(decided.answer, decided.input.rows, top_k=decided.top_k)
        decided.refuse_doubt(signature, said)
        _check_texts(decided)
        _check_outputs(signature)
        sha256 = _digest(files, decided.settings, signature)
        _check_digest(said.sha256, sha256, files)
        return cls(
            path=path,
            name=said.name or folder.resolve().name or "model",
            version=said.version or sha256[:_VERSION_LENGTH],
            sha256=sha256,
            files=files,
            settings=decided.settings,
            task=decided.task,
            labels=decided.labels,
            feature_names=decided.input.names if isinstance(decided.input, FeatureInput) else None,
            activation=decided.activation,
            signature=signature,
            input=decided.input,
            answer=decided.answer,
            encoded=bool(said.encoded),
            top_k=said.top_k,
            baseline=read_baseline(folder, _described(decided)) if with_baseline else None,
        )

    def describe_input(self) -> dict[str, object]:
        """Tell what the API takes for one input, as plain values for JSON."""
        wanted = self.input
        if isinstance(wanted, ImageInput):
            image: dict[str, object] = {
                "takes": "image",
                "content_types": list(SUPPORTED_CONTENT_TYPES),
                "height": wanted.height,
                "width": wanted.width,
                "channels": wanted.channels,
                "color": wanted.color,
                "resample": wanted.resample,
                "fit": wanted.fit,
                "crop_size": wanted.crop_size,
            }
            if wanted.stride is not None:
                image["stride"] = wanted.stride
            if wanted.edges is not None:
                image["size"] = wanted.edges.describe()
            return image
        if isinstance(wanted, TensorInput):
            tensors: dict[str, object] = {"takes": "tensors", "inputs": wanted.describe()}
            return tensors | {"missing": "nan"} if wanted.missing else tensors
        features = None
        if wanted.columns is not None:
            features = [{"name": column.name, "type": column.type, "dtype": column.dtype} for column in wanted.columns]
        described: dict[str, object] = {"takes": "features", "features": features}
        return described | {"missing": "nan"} if wanted.missing else described


def takes_images(folder: Path) -> bool:
    """Return whether a package's model takes images. Reads the ONNX file's signature and model.json, not the weights.

    Parameters and errors as in `ModelPackage.load`.
    """
    path, said = _find(folder)
    return isinstance(_choose_input(read_signature(path), said), ImageInput)


def _find(folder: Path) -> tuple[Path, PackageSettings]:
    """Return a package's ONNX file, and what its model.json says."""
    status = status_of(folder, folder.name or str(folder))
    if is_file(status):
        raise ModelPackageError(f"{folder.name}: is a file: name the folder that holds it, {folder.parent}")
    if status is None or not stat.S_ISDIR(status.st_mode):
        raise ModelPackageError(f"{folder.name or folder}: there is no such folder")
    return find_model(folder), PackageSettings.read(folder / "model.json")


class _Decisions(NamedTuple):
    """What a signature and model.json say together."""

    input: ModelInput
    answer: Answer
    task: Task
    labels: tuple[str, ...] | None
    activation: Activation
    missing: Missing | None
    keep: tuple[str, ...] | None
    top_k: int | None
    doubts: Doubts

    @classmethod
    def of(cls, signature: Signature, settings: PackageSettings) -> "_Decisions":
        model_input = _choose_input(signature, settings)
        doubts = Doubts()
        answer: Answer
        task: Task
        if isinstance(model_input, TensorInput):
            answer, task = choose_tensor_answer(signature, settings, model_input), "tensors"
        else:
            answer, task = choose_answer(signature, settings, model_input.rows, doubts)
        labels = settings.labels
        if labels is None and task in ("classification", "tensors") and answer.classes is not None:
            labels = tuple(str(label) for label in answer.classes)
        missing, keep, top_k = settings.missing, settings.keep, settings.top_k
        return cls(model_input, answer, task, labels, settings.activation, missing, keep, top_k, doubts)

    def refuse_doubt(self, signature: Signature, settings: PackageSettings) -> None:
        """Refuse a model whose signature can be read in two ways.

        Raises
        ------
        ModelPackageError
            It can, and model.json does not say which is meant.
        """
        doubt = None if isinstance(self.input, TensorInput) else input_doubt(signature, settings)
        if doubt is not None:
            raise ModelPackageError(f"model.onnx: {doubt}")
        self.doubts.refuse()

    @property
    def settings(self) -> str:
        """All that can change an answer beside the weights: one JSON text, whether it was said or follows."""
        wanted, answer = self.input, self.answer
        document: dict[str, object] = {
            "task": self.task,
            "labels": self.labels,
            "activation": self.activation,
            "outputs": {
                "scores": answer.scores and answer.scores.name,
                "label": answer.label and answer.label.name,
            },
        }
        # Only where there are any: what a model is does not change with the keys that came later.
        if answer.targets:
            document["targets"] = [one.name for one in answer.targets]
        if answer.finds is not None:
            document["finds"] = [one.name for one in answer.finds.outputs]
        if self.keep is not None and answer.further:
            document["keep"] = sorted(one.name for one in answer.further)
        if self.top_k is not None:
            document["top_k"] = self.top_k
        if self.missing is not None:
            document["missing"] = self.missing
        if isinstance(wanted, TensorInput):
            document |= {
                "padding": {one.name: one.padding for one in wanted.tensors if one.padding is not None},
                "batched": not wanted.unbatched,
            }
        elif isinstance(wanted, FeatureInput):
            document["feature_names"] = wanted.names
        else:
            document |= {
                "layout": wanted.layout,
                "size": None if wanted.height is None else (wanted.height, wanted.width),
                "resample": wanted.resample,
                "rescale_factor": wanted.rescale_factor,
                "image_mean": wanted.mean,
                "image_std": wanted.std,
                "color": wanted.color,
            }
            # What only some models have is not told of the others, so that their digests stay as they are.
            document |= wanted.fit_settings
        return _canonical(document)


def _described(decided: _Decisions) -> Described:
    """Return what the package's baseline must agree with."""
    wanted = decided.input
    features: Collection[str] | None = None
    if isinstance(wanted, FeatureInput) and wanted.columns is not None:
        features = wanted.names or [str(position) for position in range(len(wanted.columns))]
    return Described(isinstance(wanted, ImageInput), features, decided.labels)


def _check_texts(decided: _Decisions) -> None:
    """Refuse names that neither the database nor JSON can represent."""
    names = decided.input.names if isinstance(decided.input, FeatureInput) else None
    for key, texts in (("labels", decided.labels), ("feature_names", names)):
        for text in texts or ():
            if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
                raise wrong(key, f"{shown(text)} is no text that can be stored: it has U+0000 or half of a character")


def _check_outputs(signature: Signature) -> None:
    """Refuse names that no path can have at its end: such an output could be stored apart, and not be read again."""
    for output in signature.outputs:
        if output.name in (".", "..") or output.name.endswith("/"):
            raise ModelPackageError(
                f"the output {shown(output.name)} could not be read by its path, /prediction/…/output/{output.name}: "
                "export the model with another name for it"
            )


def _canonical(document: Mapping[str, object]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def _digest(files: Sequence[PackageFile], settings: str, signature: Signature) -> str:
    """Return the digest that identifies a model.

    A package of one file with default settings has the digest of the file.
    """
    graph, *external = files
    if not external and settings == _settings_without_model_json(signature):
        return graph.sha256
    covered = {"graph": graph.sha256, "external": {file.name: file.sha256 for file in external}, "settings": settings}
    return hashlib.sha256(_canonical(covered).encode()).hexdigest()


def _settings_without_model_json(signature: Signature) -> str | None:
    try:
        return _Decisions.of(signature, PackageSettings()).settings
    except ModelPackageError:
        return None  # the file alone cannot be served


def _check_digest(wanted: str | None, found: str, files: Sequence[PackageFile]) -> None:
    if wanted in (None, found):
        return
    graph = files[0]
    rest = f" and {len(files) - _NAMED_FILES} more files" if len(files) > _NAMED_FILES else ""
    covered = f"{', '.join(file.name for file in files[:_NAMED_FILES])}{rest}"
    if wanted == graph.sha256:
        raise wrong(
            "sha256",
            f"is {wanted}, that of {graph.name} alone, but that of the model ({covered} and the settings) is {found}: "
            "if this is the model you mean, write the latter",
        )
    raise wrong(
        "sha256",
        f"is {wanted}, but that of the model ({covered} and the settings) is {found}: "
        "it is another model, or it has other settings",
    )


def _choose_input(signature: Signature, settings: PackageSettings) -> ModelInput:
    if settings.task == "tensors":
        return choose_tensor_input(signature, settings)
    for key in ("padding", "batched"):
        if getattr(settings, key) is not None:
            raise wrong(key, 'is about tensors: write "task": "tensors" if the model takes them')
    inputs = signature.inputs
    if not inputs:
        raise ModelPackageError("model.onnx: has no input, so there is nothing to predict from")
    for spec in inputs:
        if spec.dtype not in SERVED_DTYPES:
            raise ModelPackageError(
                f"model.onnx: input {spec.name!r} is of type {spec.dtype}, which is not served"
                + export_instead(spec.dtype)
            )
        if spec.shape is None:
            raise ModelPackageError(
                f"model.onnx: input {spec.name!r} has no shape: export it with one, or say task: tensors in model.json"
            )
        if len(inputs) > 1 and len(spec.shape) not in (1, 2):
            raise ModelPackageError(
                f"model.onnx: has {len(inputs)} inputs, of which {spec.name!r} is {written(spec.shape)}: "
                "a model with several inputs takes features, each of its inputs being [N], [N, 1] or [N, F]: "
                "for anything else say task: tensors in model.json"
            )
    rank = len(inputs[0].axes)
    if rank in (1, 2):
        return choose_feature_input(signature, settings)
    if rank in (3, 4):
        if settings.missing is not None:
            raise wrong("missing", f"is about features, but the model takes an image {written(inputs[0].shape)}")
        return choose_image_input(signature, settings)
    raise ModelPackageError(
        f"model.onnx: input {inputs[0].name!r} is {written(inputs[0].shape)}, of rank {rank}: "
        "rank 1 and 2 are served as features, rank 3 and 4 as an image: "
        "for anything else say task: tensors in model.json"
    )
