"""Convert the runtime's outputs to predictions in plain Python values."""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from functions.shared.inference.answer_outputs import SHARES
from functions.shared.inference.errors import InputProblem, ModelPackageError, ModelRunError, UnpredictableInputError
from functions.shared.inference.finds import FindsReader
from functions.shared.inference.package import ModelPackage
from functions.shared.inference.prediction import Output, Prediction
from functions.shared.inference.tensor_values import SURELY_SMALL, is_large, large_tensor, named_tensors

RawOutput: TypeAlias = "NDArray[Any] | list[NDArray[Any]] | list[dict[int | str, float]]"

# Rounding errs by less than this, even in half precision. Scores that are further off are not probabilities.
_TOLERANCE: Final = 0.005
_EVEN: Final = 0.5


class RowsMismatchError(Exception):
    """The number of rows differs from the number of inputs, so rows cannot be matched to inputs."""


class OutputReader:
    """Turns the runtime's outputs into predictions for one model.

    Parameters
    ----------
    package
        The model. Its answer, task and activation decide which outputs are read and how.

    Attributes
    ----------
    names
        The outputs to request from the runtime, in the order that `read` expects.
    """

    def __init__(self, package: ModelPackage) -> None:
        answer = package.answer
        self._task = package.task
        self._targets = answer.targets
        self._finds = None if answer.finds is None else FindsReader(answer.finds, package.labels)
        self._further = tuple(spec.name for spec in answer.further)
        self._unmatched = answer.unmatched
        self._classify = package.task == "classification"
        self._activation = package.activation
        self._top_k = package.top_k
        self._labels = package.labels
        self._width = answer.width
        self._positions = None if answer.classes is None else {one: at for at, one in enumerate(answer.classes)}
        self._label_positions = {label: at for at, label in enumerate(package.labels or ())}
        self._keys = None if answer.scores is None else answer.scores.classes
        self._label_is_index = answer.label_is_index
        self._has_scores = answer.scores is not None
        self._has_label = self._classify and answer.label is not None
        self._independent = package.activation == "sigmoid" or (
            answer.scores is not None and answer.scores.produced_by == "Sigmoid"
        )
        headline = [spec for spec in answer.headline if spec is not answer.label or self._has_label]
        self._headline_names = [spec.name for spec in headline]
        self.names = [*self._headline_names, *self._further]

    def read(self, raw: Sequence[RawOutput], rows: int, count: int) -> list[Prediction]:
        """Read one run's outputs.

        Parameters
        ----------
        raw
            The outputs called `names`.
        rows
            Number of inputs in the run.
        count
            Number of rows to read, from the first; the others are padding.

        Raises
        ------
        UnpredictableInputError
            The output for an input contains NaN or Infinity; each problem gives the position of the input.
        RowsMismatchError
            An output does not have one row per input.
        ModelRunError
            The number of scores differs from that of the file, or what is answered is no detection.
        ModelPackageError
            The number of scores differs from that of the labels, or there is more than one label for an input. (A file
            that says its shapes is refused on loading.)
        """
        predictions = self._headline(raw, rows, count)
        if not self._further:
            return predictions
        others = self._beside(raw[len(self._headline_names) :], rows, count)
        made = []
        for one, arrays in zip(predictions, others, strict=True):
            values, large = named_tensors(arrays)
            made.append(replace(one, outputs=values, large=one.large + large))
        return made

    def _headline(self, raw: Sequence[RawOutput], rows: int, count: int) -> list[Prediction]:
        if self._targets:
            return self._several(raw, rows, count)
        if self._finds is not None:
            arrays = [_rows(np.asarray(one), rows) for one in raw[: len(self._headline_names)]]
            return _finite([self._finds.read([array[at] for array in arrays]) for at in range(count)])
        labels: list[int | str] = []
        if self._has_label:
            at = 1 if self._has_scores else 0
            labels = _single(_rows(np.asarray(raw[at]), rows)[:count].reshape(count, -1), self.names[at])
        if not self._has_scores:
            return [self._labelled([label], (), label) for label in labels]
        scores = self._scores(raw[0], rows, count)
        if self._top_k is None and scores.size > SURELY_SMALL * count and is_large(scores[0]):
            return self._apart(scores, labels)
        outputs = scores.tolist()
        if scores.ndim == 1:
            outputs = [[value] for value in outputs]
        flat = outputs if scores.ndim <= 2 else scores.reshape(count, -1).tolist()
        if scores.dtype.kind == "f":
            _require_finite(flat)
        if not self._classify:
            return [
                Prediction(output, None, None, None, values[0] if len(values) == 1 else output)
                for output, values in zip(outputs, flat, strict=True)
            ]
        if self._top_k is not None:
            outputs = [_largest_of(row, self._top_k) for row in scores.reshape(count, -1)]
        return self._classified(outputs, flat, labels)

    def _classified(
        self, outputs: Sequence[Any], flat: Sequence[Sequence[float]], labels: Sequence[int | str]
    ) -> list[Prediction]:
        if self._has_label:
            return [self._labelled(*parts) for parts in zip(outputs, flat, labels, strict=True)]
        self._check_width(len(flat[0]))
        return [self._scored(output, values) for output, values in zip(outputs, flat, strict=True)]

    def _apart(self, scores: NDArray[Any], labels: Sequence[int | str]) -> list[Prediction]:
        """Read an answer that is too large for a record: what it means is shown, its values are stored apart."""
        if scores.dtype.kind == "f":
            _refuse([at for at, row in enumerate(scores) if not np.isfinite(row).all()])
        name = self._headline_names[0]
        large = [large_tensor(name, row) for row in scores]
        outputs: list[Any] = [{"outputs": {name: one.reference}} for one in large]
        if self._classify:
            read = self._classified(outputs, scores.reshape(len(scores), -1).tolist(), labels)
        else:
            read = [Prediction(output, None, None, None, None) for output in outputs]
        return [replace(prediction, large=(one,)) for prediction, one in zip(read, large, strict=True)]

    def _several(self, raw: Sequence[RawOutput], rows: int, count: int) -> list[Prediction]:
        """Read several targets: the class of each, or the number of each."""
        parts = []
        for spec, one in zip(self._targets, raw, strict=False):
            array = _rows(np.asarray(one), rows)[:count].reshape(count, -1)
            if array.dtype.kind == "f":
                _require_finite(array.tolist())
                array = array + 0.0  # no negative zero
            if spec.produced_by in SHARES and array.shape[1] > 1:
                array = array.argmax(axis=1)[:, np.newaxis]
            elif array.dtype.kind == "b":
                array = array.astype(np.uint8)
            parts.append(array.tolist())
        values = [[value for part in row for value in part] for row in zip(*parts, strict=True)]
        return [Prediction(value, None, None, None, value) for value in values]

    def _beside(self, raw: Sequence[RawOutput], rows: int, count: int) -> list[dict[str, NDArray[Any]]]:
        """Read the further outputs: for each input, an array by name; ``name[0]``, ``name[1]`` of a sequence."""
        values: list[dict[str, NDArray[Any]]] = [{} for _ in range(count)]
        infinite: dict[int, None] = {}
        for name, one in zip(self._further, raw, strict=True):
            parts = {f"{name}[{at}]": part for at, part in enumerate(one)} if isinstance(one, list) else {name: one}
            for part_name, part in parts.items():
                array = np.asarray(part)
                for at, row in enumerate([array] if name in self._unmatched else _rows(array, rows)[:count]):
                    if row.dtype.kind == "f" and not np.isfinite(row).all():
                        infinite[at] = None
                    else:
                        values[at][part_name] = row
        _refuse(sorted(infinite))
        return values

    def _scores(self, raw: RawOutput, rows: int, count: int) -> NDArray[Any]:
        if isinstance(raw, list):
            if len(raw) != rows:
                raise RowsMismatchError
            keys = self._keys or sorted(raw[0])
            scores = np.array([[row[key] for key in keys] for row in raw[:count]])
        else:
            scores = _rows(raw, rows)[:count]
        if scores.dtype.kind == "b":
            return scores.astype(np.uint8)
        if scores.dtype.kind != "f":
            return scores
        if self._activation != "none":
            scores = _activated(scores, self._activation)
        positive_zeros: NDArray[Any] = scores + 0.0  # -0.0 + 0.0 is 0.0
        return positive_zeros

    def _check_width(self, width: int) -> None:
        if self._labels is None and self._width not in (None, width):
            raise ModelRunError(
                f"model.onnx: output {self._headline_names[0]!r} has {self._width} scores by its shape, but "
                f"{width} for one input"
            )
        if self._labels is None or width == len(self._labels) or (width, len(self._labels)) == (1, 2):
            return
        raise ModelPackageError(f"model.json: labels: {len(self._labels)} given, but the model answers {width} values")

    def _scored(self, output: Output, values: Sequence[float]) -> Prediction:
        """Read a classification from its scores alone."""
        confidence: float | None
        if len(values) == 1:
            # the one score is the probability of the second of two classes
            index = int(values[0] > _EVEN)
            confidence = (values[0] if index else 1 - values[0]) if -_TOLERANCE <= values[0] <= 1 + _TOLERANCE else None
        else:
            confidence = max(values)
            index = values.index(confidence)
            if not self._are_probabilities(values):
                confidence = None
        label = str(index) if self._labels is None else self._labels[index]
        return Prediction(output, index, label, _clipped(confidence), label)

    def _labelled(self, output: Output, values: Sequence[float], answered: int | str) -> Prediction:
        """Read a classification whose label the model returns itself."""
        index = self._index_of(answered, values)
        confidence = None
        of_classes = self._positions is None or len(self._positions) == len(values)
        if index is not None and of_classes and 1 < len(values) > index and self._are_probabilities(values):
            confidence = _clipped(values[index])
        labels = self._labels or ()
        label = labels[index] if index is not None and index < len(labels) else str(answered)
        return Prediction(output, index, label, confidence, label)

    def _index_of(self, label: int | str, values: Sequence[float]) -> int | None:
        """Return the index of the class whose label the model returned."""
        if self._label_is_index:
            return int(label)
        if self._positions is not None:
            return self._positions.get(label)
        if isinstance(label, str) and label in self._label_positions:
            return self._label_positions[label]
        if isinstance(label, int) and 0 <= label < len(self._label_positions):
            return label
        # The label's index is unknown: use the most likely class, if the scores are probabilities.
        return values.index(max(values)) if len(values) > 1 and self._are_probabilities(values) else None

    def _are_probabilities(self, values: Sequence[float]) -> bool:
        # a forest adds up shares, and may return -1e-7 or 1.0000001
        if min(values) < -_TOLERANCE or max(values) > 1 + _TOLERANCE:
            return False
        return self._independent or abs(sum(values) - 1) <= _TOLERANCE


def _single(labels: NDArray[Any], name: str) -> list[int | str]:
    if labels.shape[1] != 1:
        raise ModelPackageError(
            f"model.onnx: output {name!r} has {labels.shape[1]} labels for one input: "
            "say task: multi-target in model.json"
        )
    values: list[int | str] = labels[:, 0].tolist()
    return values


def largest(scores: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Return the indices of the largest scores, the largest first; of equal ones, the first."""
    return np.argsort(-scores.astype(np.float64), kind="stable")[:count]


def _largest_of(scores: NDArray[Any], count: int) -> dict[str, list[Any]]:
    indices = largest(scores, count)
    return {"values": scores[indices].tolist(), "indices": indices.tolist()}


def _clipped(probability: float | None) -> float | None:
    return None if probability is None else min(max(probability, 0.0), 1.0)


def _rows(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """Give an output a first axis of one entry per input."""
    if array.ndim and array.shape[0] == rows:
        return array
    if rows == 1:
        return array[np.newaxis]
    raise RowsMismatchError


def _require_finite(flat: Sequence[Sequence[float]]) -> None:
    # The sum of finite numbers is usually finite. If it is not, check each number.
    _refuse([at for at, values in enumerate(flat) if not isfinite(sum(values)) and not all(map(isfinite, values))])


def _finite(predictions: Sequence[Prediction | None]) -> list[Prediction]:
    _refuse([at for at, one in enumerate(predictions) if one is None])
    return [one for one in predictions if one is not None]


def _refuse(infinite: Sequence[int]) -> None:
    """Refuse the inputs at these positions."""
    if infinite:
        message = "the model's answer to this input is not a finite number"
        raise UnpredictableInputError(message, problems=tuple(InputProblem("", message, at) for at in infinite))


def _activated(logits: NDArray[Any], activation: str) -> NDArray[Any]:
    """Apply softmax over the last axis that holds the scores, or the logistic function to each."""
    values = logits.astype(np.float64)
    if activation == "sigmoid":
        # 1 / (1 + e^-x), written so that the exponential never overflows
        small = np.exp(-np.abs(values))
        return np.where(values >= 0, 1 / (1 + small), small / (1 + small))
    flat = values.reshape(len(values), -1)
    shares = np.exp(flat - flat.max(axis=1, keepdims=True))
    return np.reshape(shares / shares.sum(axis=1, keepdims=True), values.shape)
