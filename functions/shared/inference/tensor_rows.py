"""Check arrays against a model's inputs, and split them into rows: for callers who send the model's own tensors."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from functions.shared.inference.datatypes import DATATYPES
from functions.shared.inference.errors import InputProblem, InvalidTensorsError, TooManyRowsError, json_pointer_token
from functions.shared.inference.onnx_file import TensorSpec


class TensorRows(NamedTuple):
    """How a model takes arrays.

    Attributes
    ----------
    specs
        The graph's inputs, in the order of an instance's arrays.
    batched
        Whether the first axis of each input is that of the rows. Then any number of rows is right.
    finite
        Whether NaN and Infinity are refused.
    """

    specs: tuple[TensorSpec, ...]
    batched: bool
    finite: bool

    def split(self, arrays: Mapping[str, NDArray[Any]], max_rows: int) -> list[tuple[NDArray[Any], ...]]:
        """Return the arrays of each row, in the order of `specs`, each with a first axis of one entry.

        Parameters
        ----------
        arrays
            The inputs by name. Texts are objects.
        max_rows
            The most rows.

        Raises
        ------
        InvalidTensorsError
            An input is missing or unknown, has another type or shape than the model's, the numbers of rows differ, or
            there is none.
        TooManyRowsError
            There are more than `max_rows`.
        """
        problems = [
            *self._unknown(arrays),
            *(problem for spec in self.specs for problem in self._mistakes(spec, arrays.get(spec.name))),
        ]
        counts = {len(arrays[spec.name]) for spec in self.specs} if self.batched and not problems else {1}
        if len(counts) > 1:
            found = ", ".join(f"{spec.name!r} has {len(arrays[spec.name])}" for spec in self.specs)
            problems.append(InputProblem("", f"the inputs must have as many rows each, but {found}"))
        elif counts == {0}:
            problems.append(InputProblem("", "the inputs have no rows: send at least one"))
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise InvalidTensorsError(problems[0].detail + more, problems=tuple(problems))
        (count,) = counts
        if count > max_rows:
            raise TooManyRowsError(f"the request has {count} rows; at most {max_rows} are allowed")
        ordered = [arrays[spec.name] for spec in self.specs]
        if not self.batched:
            return [tuple(array[np.newaxis] for array in ordered)]
        return [tuple(array[row : row + 1] for array in ordered) for row in range(count)]

    def _unknown(self, arrays: Mapping[str, NDArray[Any]]) -> Sequence[InputProblem]:
        known = [spec.name for spec in self.specs]
        return [
            InputProblem(_pointer(name), f"the model has no input {name[:100]!r}: it takes {', '.join(known)}")
            for name in arrays
            if name not in known
        ]

    def _mistakes(self, spec: TensorSpec, array: NDArray[Any] | None) -> Sequence[InputProblem]:
        wanted = f"{DATATYPES[spec.dtype]} of the shape {_written(spec)}"
        if array is None:
            return [InputProblem(_pointer(spec.name), f"the input {spec.name!r} is missing: it must be {wanted}")]
        dtype = "string" if array.dtype.kind == "O" else array.dtype.name
        if dtype != spec.dtype:
            what = f"the input {spec.name!r} must be {wanted}, not {DATATYPES[dtype]}"
            return [InputProblem(_pointer(spec.name), what)]
        if not self._fits(spec, array):
            what = f"the input {spec.name!r} must be {wanted}, not {list(array.shape)}"
            return [InputProblem(_pointer(spec.name), what)]
        if self.finite and array.dtype.kind == "f" and not np.isfinite(array).all():
            return [
                InputProblem(_pointer(spec.name), f"the input {spec.name!r} must be finite, without NaN or Infinity")
            ]
        return []

    def _fits(self, spec: TensorSpec, array: NDArray[Any]) -> bool:
        if len(spec.axes) != array.ndim:
            return False
        axes = list(zip(spec.axes, array.shape, strict=True))[self.batched :]
        return all(not isinstance(axis, int) or length == axis for axis, length in axes)


def _pointer(name: str) -> str:
    return f"/inputs/{json_pointer_token(name)}"


def _written(spec: TensorSpec) -> list[int]:
    return [axis if isinstance(axis, int) else -1 for axis in spec.axes]
