"""Convert the outputs of a model that takes tensors to named tensors in plain Python values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.shared.inference.datatypes import DATATYPES
from functions.shared.inference.errors import InputProblem, UnpredictableInputError
from functions.shared.inference.onnx_file import OutputSpec
from functions.shared.inference.outputs import RowsMismatchError
from functions.shared.inference.package import ModelPackage, TensorInput
from functions.shared.inference.prediction import Prediction, TensorValue


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
    undecided
        The outputs of which the file does not tell whether their first axis is that of the examples. `decide` does.
    """

    def __init__(self, package: ModelPackage) -> None:
        if not isinstance(package.input, TensorInput):
            raise TypeError("this model takes no tensors")
        self._specs = package.signature.outputs
        self.names = [spec.name for spec in self._specs]
        self._batched = {spec.name: _is_batched(spec, package.input) for spec in self._specs}

    @property
    def undecided(self) -> list[str]:
        """The names of those outputs."""
        return [name for name, batched in self._batched.items() if batched is None]

    def decide(self, name: str, *, batched: bool) -> None:
        """Say whether the first axis of an output is that of the examples."""
        self._batched[name] = batched

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
                made[at][spec.name] = array[at] if per_example else array
            if axes and per_example:
                for at, own in enumerate(axes):
                    made[at][spec.name] = made[at][spec.name][_own_part(spec, own)]
        return made

    def read(
        self, raw: Sequence[NDArray[Any]], rows: int, count: int, axes: Sequence[Mapping[str, int]] = ()
    ) -> list[Prediction]:
        """Read one run's outputs. Parameters and errors as in `arrays`, and one more.

        Raises
        ------
        UnpredictableInputError
            An output for an example contains NaN or Infinity; each problem gives the position of the example.
        """
        predictions, problems = [], []
        for at, arrays in enumerate(self.arrays(raw, rows, count, axes)):
            infinite = [name for name, array in arrays.items() if array.dtype.kind == "f" and not _is_finite(array)]
            if infinite:
                message = f"the model's output {infinite[0]!r} for this input has a value that is not a finite number"
                problems.append(InputProblem("", message, at))
                continue
            values = {name: tensor_value(array) for name, array in arrays.items()}
            predictions.append(Prediction({"outputs": values}, None, None, None, None))
        if problems:
            raise UnpredictableInputError(problems[0].detail, problems=tuple(problems))
        return predictions


def tensor_value(array: NDArray[Any]) -> TensorValue:
    """Write a tensor as plain values for JSON. It must not have NaN or infinity; a negative zero becomes zero."""
    dtype = "string" if array.dtype.kind in "OU" else array.dtype.name
    flat = np.ravel(array)
    if flat.dtype.kind == "f":
        flat = flat + 0.0  # -0.0 + 0.0 is 0.0
    return {"shape": list(array.shape), "datatype": DATATYPES[dtype], "data": flat.tolist()}


def _is_finite(array: NDArray[Any]) -> bool:
    return bool(np.isfinite(array).all())


def _is_batched(spec: OutputSpec, wanted: TensorInput) -> bool | None:
    """Tell whether the first axis of an output is that of the examples. None if the file does not tell."""
    if wanted.unbatched or spec.shape == ():
        return False
    lead = spec.shape[0] if spec.shape else None
    if wanted.batch is not None:
        # An axis that is open although all inputs are fixed depends on their values.
        return lead == wanted.batch
    if isinstance(lead, int):
        return False
    return True if lead in wanted.batch_names else None


def _own_part(spec: OutputSpec, own: Mapping[str, int]) -> tuple[slice, ...]:
    shape = (spec.shape or ())[1:]
    return tuple(slice(own.get(axis) if isinstance(axis, str) else None) for axis in shape)
