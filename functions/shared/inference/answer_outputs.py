"""Decide which outputs of a model are its answer, and whether it classifies."""

import math
from dataclasses import dataclass
from typing import Final

from functions.shared.inference.errors import ModelPackageError
from functions.shared.inference.onnx_file import FLOATS, SERVED_DTYPES, OutputSpec, Shape, Signature, written
from functions.shared.inference.package_settings import PackageSettings, Task, shown, wrong

_INDEX_OPERATORS: Final = frozenset({"ArgMax", "ArgMin"})


@dataclass(frozen=True, slots=True)
class Answer:
    """Which outputs of the graph are the answer.

    Attributes
    ----------
    scores
        Probabilities, logits, or the values of a regression. None if the model returns only a label.
    label
        The output with the label of the chosen class; None if there is none.
    width
        Number of scores per input; None if the file does not fix it.
    classes
        The labels in the ONNX file, in the order of the scores.
    label_is_index
        Whether the label output is an index (from ArgMax, for example) and not a label of the training data.
    """

    scores: OutputSpec | None
    label: OutputSpec | None
    width: int | None
    classes: tuple[int | str, ...] | None
    label_is_index: bool


def _row_shape(shape: Shape | None, batch: int | None) -> Shape | None:
    """Return the shape of an output for one input; None if the file does not give the output's shape."""
    if shape is None or batch == 0 or not shape:
        return shape
    return shape[1:] if not isinstance(shape[0], int) or shape[0] == batch else shape


def _is_per_input(shape: Shape | None, batch: int | None) -> bool:
    """Tell whether an output can have one row per input; only a fixed batch can rule that out."""
    if not batch or batch == 1 or shape is None:
        return True
    return shape != () and (shape[0] == batch or not isinstance(shape[0], int))


def _width(row: Shape | None) -> int | None:
    if row is None or not all(isinstance(axis, int) for axis in row):
        return None
    return math.prod(axis for axis in row if isinstance(axis, int))


def choose_answer(signature: Signature, settings: PackageSettings, batch: int | None) -> tuple[Answer, Task]:
    """Decide which outputs of a model are its answer, and whether that is a classification.

    The scores are a ZipMap if there is one, else the first output of floats (with labels: the first that has as many
    values as there are labels), else the first output. The label is the first output of one text or whole number per
    input beside the scores. Other outputs are not computed.

    Parameters
    ----------
    signature
        Of the ONNX file.
    settings
        Of model.json.
    batch
        Rows of each run; None where that is open, 0 where the graph has no batch axis.

    Raises
    ------
    ModelPackageError
        No output can be served, or model.json contradicts them.
    """
    served = [output for output in signature.outputs if output.dtype in SERVED_DTYPES]
    if not served:
        types = ", ".join(output.dtype for output in signature.outputs)
        raise ModelPackageError(f"model.onnx: its outputs are of type {types}, which is not served")
    usable = [output for output in served if _is_per_input(output.shape, batch)]
    if not usable:
        shapes = ", ".join(written(output.shape) for output in served)
        raise ModelPackageError(f"model.onnx: takes {batch} rows at a time, but its outputs are {shapes}")
    rows = {output.name: _row_shape(output.shape, batch) for output in usable}
    scores: OutputSpec | None = _choose_scores(usable, rows, settings)
    label = _choose_label(usable, rows, scores, settings)
    if label is scores:
        scores = None
    row = None if scores is None else rows[scores.name]
    answer = Answer(
        scores=scores,
        label=None if settings.task == "regression" and scores is not None else label,
        width=len(scores.classes) if scores and scores.key_dtype and scores.classes else _width(row),
        classes=(label.classes if label else None) or (scores.classes if scores else None),
        label_is_index=label is not None and (label.produced_by in _INDEX_OPERATORS or label.dtype == "bool"),
    )
    task = settings.task or _likely_task(answer, row, settings)
    _check_scores(answer, row, task, settings)
    if settings.labels is not None:
        _check_labels(settings.labels, answer, task)
    return answer, task


def _choose_scores(usable: list[OutputSpec], rows: dict[str, Shape | None], settings: PackageSettings) -> OutputSpec:
    """Choose the output that is stored: a ZipMap, else the first of floats that fits the labels, else the first."""
    maps = [output for output in usable if output.key_dtype]
    numbers = maps or [output for output in usable if output.dtype in FLOATS]
    if settings.labels is not None:
        fitting = [output for output in numbers if _width(rows[output.name]) == len(settings.labels)]
        numbers = fitting or numbers
    return (numbers or usable)[0]


def _choose_label(
    usable: list[OutputSpec], rows: dict[str, Shape | None], scores: OutputSpec | None, settings: PackageSettings
) -> OutputSpec | None:
    """Choose the output that names the class: one text or whole number per input."""
    single = [
        output
        for output in usable
        if not output.key_dtype and output.dtype not in FLOATS and _width(rows[output.name]) in (1, None)
    ]
    if scores not in single:
        return single[0] if single else None
    # A single whole number is a label if something says so, otherwise the result of a regression.
    told = settings.task == "classification" or settings.labels is not None
    known = scores.classes is not None or scores.produced_by in _INDEX_OPERATORS
    return scores if told or known or scores.dtype in ("string", "bool") else None


def _likely_task(answer: Answer, row: Shape | None, settings: PackageSettings) -> Task:
    if answer.label is not None or answer.scores is None or answer.scores.key_dtype:
        return "classification"
    if settings.labels is not None or settings.activation != "none":
        return "classification"
    if answer.width is None:
        return "classification" if answer.scores.produced_by == "Softmax" else "regression"
    # More than one axis of values is an image or a series, not scores of classes.
    return "classification" if answer.width > 1 and _is_vector(row) else "regression"


def _is_vector(row: Shape | None) -> bool:
    return row is None or sum(axis != 1 for axis in row) <= 1


def _check_scores(answer: Answer, row: Shape | None, task: Task, settings: PackageSettings) -> None:
    scores, activation = answer.scores, settings.activation
    if scores is None:
        if activation != "none":
            raise wrong("activation", f"is {activation}, but the model answers a label and no scores")
        if task == "regression":
            raise wrong("task", "is regression, but the model answers a label and no number")
        return
    if task == "classification" and not _is_vector(row):
        raise wrong("task", f"is classification, but output {scores.name!r} is {written(row)} per input, not a list")
    if activation == "none":
        return
    if scores.produced_by == activation.capitalize():
        raise wrong("activation", f"is {activation}, but output {scores.name!r} already is what a {activation} makes")
    if activation == "softmax" and answer.width == 1:
        raise wrong("activation", f"is softmax, but output {scores.name!r} has 1 value, which would always become 1")
    if scores.dtype not in FLOATS:
        raise wrong("activation", f"is {activation}, but output {scores.name!r} is of {scores.dtype}")


def _check_labels(labels: tuple[str, ...], answer: Answer, task: Task) -> None:
    if task == "regression":
        raise wrong("labels", f"{len(labels)} given, but a regression has none")
    if answer.classes is not None:
        own = [str(label) for label in answer.classes]
        if len(labels) != len(own):
            raise wrong("labels", f"{len(labels)} given, but the model has {len(own)} classes")
        # Different names rename the classes. The same names in another order are a mistake.
        if set(labels) == set(own) and list(labels) != own:
            at = next(at for at, label in enumerate(labels) if label != own[at])
            raise wrong("labels", f"{shown(labels[at])} stands at {at}, where the model has {shown(own[at])}")
    elif answer.scores is not None and answer.width is not None:
        if answer.width == 1 and answer.label is None and len(labels) != 2:
            raise wrong("labels", f"{len(labels)} given, but output {answer.scores.name!r} has 1 value, for 2 classes")
        if answer.width > 1 and len(labels) != answer.width:
            raise wrong("labels", f"{len(labels)} given, but output {answer.scores.name!r} has {answer.width} values")
