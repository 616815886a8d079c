"""Convert the outputs of a model that takes tensors to named tensors in plain Python values."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.shared.inference.errors import InputProblem, UnpredictableInputError
from functions.shared.inference.onnx_file import Shape
from functions.shared.inference.outputs import OutputReader, RowsMismatchError, largest
from functions.shared.inference.package import ModelPackage, TensorInput
from functions.shared.inference.package_settings import Task
from functions.shared.inference.prediction import Prediction
from functions.shared.inference.tensor_answer import classifies, is_batched
from functions.shared.inference.tensor_values import named_tensors


class TensorReader:
    """Turns the runtime's outputs into predictions for one model.

    Parameters
    ----------
    package
        The model, which takes tensors.

    Attributes
    ----------
    names
        The outputs to request from the runtime, in the order that `read` expects.
    """

    def __init__(self, package: ModelPackage) -> None:
        if not isinstance(package.input, TensorInput):
            raise TypeError("this model takes no tensors")
        answer = package.answer
        self._specs = answer.further
        self.names = [spec.name for spec in self._specs]
        self._batched = {spec.name: is_batched(spec, package.input) for spec in self._specs}
        # Where the file has a length, it is that of the exporter's own example: a run shows whether it follows the
        # inputs'. What is open and has another name may follow them for some inputs, and not for others.
        self._unproven = {
            spec.name
            for spec in self._specs
            if self._batched[spec.name] is None and not isinstance((spec.shape or (None,))[0], int)
        }
        self._answer, self._answer_reader = None, None
        self._top_k = package.top_k
        if answer.headline:
            task: Task = "classification" if classifies(answer, package.labels, package.activation) else "regression"
            [spec] = answer.headline
            self._answer = self.names.index(spec.name)
            self._answer_reader = OutputReader(replace(package, task=task, answer=replace(answer, further=())))
        self._axes = {spec.name: (spec.shape or ())[1:] for spec in self._specs}

    @property
    def undecided(self) -> tuple[str, ...]:
        """The outputs of which the file does not tell whether their first axis is that of the examples."""
        return tuple(name for name, batched in self._batched.items() if batched is None)

    @property
    def one_by_one(self) -> bool:
        """Whether a run must have one example, because an output is not, or may not be, one entry for each."""
        return bool(self._unproven) or not all(self._batched.values())

    def decide(self, name: str, *, batched: bool) -> None:
        """Say whether the first axis of an output is that of the examples."""
        self._batched[name] = batched

    def has_unnamed_axes(self, names: Collection[str]) -> bool:
        """Return whether an output has an open axis, after that of the batch, that is not called as one of these."""
        return any(
            spec.shape is None or any(not isinstance(axis, int) and axis not in names for axis in spec.shape[1:])
            for spec in self._specs
        )

    def name_axis(self, name: str, at: int, axis: str) -> None:
        """Say that an axis of an output is as long as an axis of the inputs; `at` counts the batch axis."""
        axes = self._axes[name]
        axes = (*axes, *[None] * (at - len(axes)))
        self._axes[name] = (*axes[: at - 1], axis, *axes[at:])

    def arrays(
        self, raw: Sequence[NDArray[Any]], rows: int, count: int, axes: Sequence[Mapping[str, int]] = ()
    ) -> list[dict[str, NDArray[Any]]]:
        """Split one run's outputs into those of each example.

        Parameters
        ----------
        raw
            The outputs called `names`.
        rows
            Number of examples in the run.
        count
            Number of examples to read, from the first; the others are padding.
        axes
            For each example, the lengths of its own axes where it was filled up to the length of others. What an output
            has beyond them is dropped.

        Raises
        ------
        RowsMismatchError
            An output does not have one entry per example.
        """
        made: list[dict[str, NDArray[Any]]] = [{} for _ in range(count)]
        for spec, output in zip(self._specs, raw, strict=True):
            array = np.asarray(output)
            per_example = bool(self._batched[spec.name])
            if per_example and (array.ndim == 0 or len(array) != rows):
                if rows > 1:
                    raise RowsMismatchError
                per_example = False
            if not per_example and rows > 1:
                raise RowsMismatchError
            for at in range(count):
                made[at][spec.name] = array[at, ...] if per_example else array
            if axes and per_example:
                for at, own in enumerate(axes):
                    made[at][spec.name] = made[at][spec.name][_own_part(self._axes[spec.name], own)]
        return made

    def read(
        self, raw: Sequence[NDArray[Any]], rows: int, count: int, axes: Sequence[Mapping[str, int]] = ()
    ) -> list[Prediction]:
        """Read one run's outputs. Parameters and errors as in `arrays`, and two more.

        Raises
        ------
        UnpredictableInputError
            An output for an example contains NaN or Infinity; each problem gives the position of the example.
        ModelPackageError
            The number of scores differs from that of the labels.
        """
        predictions, problems = [], []
        for at, arrays in enumerate(self.arrays(raw, rows, count, axes)):
            infinite = [name for name, array in arrays.items() if array.dtype.kind == "f" and not _is_finite(array)]
            if infinite:
                message = f"the model's output {infinite[0]!r} for this input has a value that is not a finite number"
                problems.append(InputProblem("", message, at))
                continue
            values, large = named_tensors(self._kept(arrays))
            predictions.append(Prediction({"outputs": values}, None, None, None, None, large=large))
        if problems:
            raise UnpredictableInputError(problems[0].detail, problems=tuple(problems))
        if self._answer is None or self._answer_reader is None:
            return predictions
        answers = self._answer_reader.read([raw[self._answer]], rows, count)
        return [
            replace(answer, output=one.output, large=one.large)
            for answer, one in zip(answers, predictions, strict=True)
        ]

    def _kept(self, arrays: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Put the largest scores and their indices in place of the scores, if only these are kept."""
        if self._top_k is None or self._answer is None:
            return arrays
        kept: dict[str, NDArray[Any]] = {}
        for name, array in arrays.items():
            if name == self.names[self._answer]:
                indices = largest(array.reshape(-1), self._top_k)
                kept |= {f"{name}.values": array.reshape(-1)[indices], f"{name}.indices": indices}
            else:
                kept[name] = array
        return kept


def _is_finite(array: NDArray[Any]) -> bool:
    return bool(np.isfinite(array).all())


def _own_part(axes: Shape, own: Mapping[str, int]) -> tuple[slice | EllipsisType, ...]:
    return *(slice(own.get(axis) if isinstance(axis, str) else None) for axis in axes), ...
