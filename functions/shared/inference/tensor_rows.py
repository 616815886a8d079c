"""Split arrays, checked against a model's inputs, into rows, and join the outputs of rows again.

For callers who send a model's own tensors, whatever kind of model it is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.shared.inference.datatypes import DATATYPES
from functions.shared.inference.errors import InputProblem, InvalidTensorsError, TooManyRowsError, json_pointer_token
from functions.shared.inference.instance import Instance
from functions.shared.inference.onnx_file import OutputSpec, Shape, TensorSpec
from functions.shared.inference.package import FeatureInput, ImageInput, ModelPackage, TensorInput
from functions.shared.inference.tensor_input import InputTensor


class TensorRows:
    """Splits and joins rows for one model.

    Parameters
    ----------
    package
        The model.

    Attributes
    ----------
    batched
        The inputs whose first axis is that of the rows. If there are none, a request is one row.
    """

    def __init__(self, package: ModelPackage) -> None:
        wanted = package.input
        if isinstance(wanted, TensorInput):
            self._tensors = wanted.tensors
        else:
            self._tensors = tuple(
                InputTensor(spec.name, spec.dtype, _row_of(spec, wanted), not wanted.unbatched)
                for spec in package.signature.inputs
            )
        self.batched = frozenset(one.name for one in self._tensors if one.batched)
        self._finite = isinstance(wanted, FeatureInput)
        self._nan_is_missing = isinstance(wanted, FeatureInput) and wanted.missing is not None
        self._outputs = package.signature.outputs
        self._known = {one.name for one in self._tensors}

    def split(self, arrays: Mapping[str, NDArray[Any]], max_rows: int) -> list[Instance]:
        """Return the rows of a request.

        Parameters
        ----------
        arrays
            The inputs by name, texts as objects. Any number of rows is right, whatever batch the graph fixes.
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
            InputProblem(_pointer(name), f"the model has no input {name[:100]!r}: it takes {self._listed()}")
            for name in arrays
            if name not in self._known
        ]
        axes: dict[str, int] = {}
        present = [one for one in self._tensors if one.name in arrays or not one.optional]
        for one in present:
            mistake = self._mistake(one, arrays.get(one.name), axes)
            if mistake is not None:
                problems.append(InputProblem(_pointer(one.name), f"the input {one.name[:100]!r} {mistake}"))
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise InvalidTensorsError(problems[0].detail + more, problems=tuple(problems))
        count = _count({one.name: len(arrays[one.name]) for one in present if one.batched})
        if count > max_rows:
            raise TooManyRowsError(f"the request has {count} rows; at most {max_rows} are allowed")
        names = tuple(one.name for one in present)
        return [
            Instance(
                tuple(
                    arrays[one.name][row : row + 1] if one.batched else arrays[one.name][np.newaxis] for one in present
                ),
                names,
                axes,
            )
            for row in range(count)
        ]

    def join(self, rows: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
        """Return the outputs of all rows together, as the graph would answer them.

        Raises
        ------
        InvalidTensorsError
            The rows' outputs differ in their shapes.
        """
        return {spec.name: self._joined(spec, rows) for spec in self._outputs if spec.name in rows[0]}

    def _joined(self, spec: OutputSpec, rows: Sequence[Mapping[str, NDArray[Any]]]) -> NDArray[Any]:
        parts = [row[spec.name] for row in rows]
        if len({part.shape for part in parts}) > 1:
            message = f"the rows have outputs {spec.name!r} of different shapes: send one row in a request"
            raise InvalidTensorsError(message)
        if len(parts) == 1 and (not self.batched or (spec.shape is not None and len(spec.shape) == parts[0].ndim)):
            return parts[0]
        return np.stack(parts)

    def _mistake(self, wanted: InputTensor, array: NDArray[Any] | None, axes: dict[str, int]) -> str | None:
        """Say what is wrong with an input, and note the lengths of those of its axes that have a name."""
        lead = [-1] if wanted.batched else []
        shape = lead + [axis if isinstance(axis, int) else -1 for axis in wanted.shape]
        described = f"must be {DATATYPES[wanted.dtype]} of the shape {shape}, where -1 is any length"
        if array is None:
            return f"is missing: it {described}"
        dtype = "string" if array.dtype.kind == "O" else array.dtype.name
        if dtype != wanted.dtype:
            return f"{described}, not {DATATYPES[dtype]}"
        own = array.shape[wanted.batched :]
        if array.ndim != len(shape) or not all(
            not isinstance(axis, int) or axis == length for axis, length in zip(wanted.shape, own, strict=True)
        ):
            return f"{described}, not {list(array.shape)}"
        for axis, length in zip(wanted.shape, own, strict=True):
            if isinstance(axis, str) and axes.setdefault(axis, length) != length:
                return f"has {length} entries on the axis {axis!r}, of which another input has {axes[axis]}"
        if self._finite and array.dtype.kind == "f":
            wrong = np.isinf(array) if self._nan_is_missing else ~np.isfinite(array)
            if wrong.any():
                return f"must be finite: it has {'Infinity' if self._nan_is_missing else 'NaN or Infinity'}"
        return None

    def _listed(self) -> str:
        return ", ".join(repr(one.name) for one in self._tensors[:10])


def _row_of(spec: TensorSpec, wanted: FeatureInput | ImageInput) -> Shape:
    """Return the shape of an input for one row. Where the file leaves a width open, model.json may tell it."""
    row = spec.axes[not wanted.unbatched :]
    if isinstance(wanted, FeatureInput) and len(row) == 1:
        columns = next(one.columns for one in wanted.tensors if one.name == spec.name)
        return row if columns is None else (len(columns),)
    return row


def _count(lengths: Mapping[str, int]) -> int:
    counts = set(lengths.values()) or {1}
    if len(counts) > 1:
        found = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
        raise InvalidTensorsError(f"the inputs must have the same number of rows, but {found}")
    (count,) = counts
    if count == 0:
        raise InvalidTensorsError("the inputs have no rows: send at least one")
    return count


def _pointer(name: str) -> str:
    return f"/inputs/{json_pointer_token(name)}"
