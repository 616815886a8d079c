"""Convert a caller's named tensors to the model's arrays, and report every mistake at once."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from functions.shared.inference.errors import (
    InputProblem,
    InvalidFeaturesError,
    MissingFeaturesError,
    json_pointer_token,
)
from functions.shared.inference.instance import Instance
from functions.shared.inference.json_values import Problems, converted, mistake, shown, type_of, wanted_type
from functions.shared.inference.onnx_file import FLOATS, Shape
from functions.shared.inference.tensor_input import InputTensor, TensorInput

_ROOT: Final = "/inputs"


class TensorDecoder:
    """Checks and converts examples for one model.

    Parameters
    ----------
    wanted
        How the model takes its tensors.
    """

    def __init__(self, wanted: TensorInput) -> None:
        self._wanted = wanted
        self._by_name = {one.name: one for one in wanted.tensors}

    def decode(self, inputs: object) -> Instance:
        """Turn one example into arrays.

        Parameters
        ----------
        inputs
            As JSON gives it: an object with a value or nested lists for each input of the model.

        Raises
        ------
        MissingFeaturesError
            There are none (None, or an empty object).
        InvalidFeaturesError
            They are not those that the model takes. The error lists up to 100 problems.
        """
        if inputs is None or inputs == {}:
            message = f"there are no inputs: send {self._expected()}"
            raise MissingFeaturesError(message, problems=(InputProblem(_ROOT, message),))
        problems = Problems(_ROOT)
        if not isinstance(inputs, dict):
            message = f"inputs must be {self._expected()}, not {type_of(inputs)}"
            raise InvalidFeaturesError(message, problems=(InputProblem(_ROOT, message),))
        for name in inputs:
            if name not in self._by_name:
                message = f"the model has no input {shown(name)}: send {self._expected()}"
                problems.add(f"{_ROOT}/{json_pointer_token(name)}", message)
        names, arrays, axes = [], [], dict[str, int]()
        for one in self._wanted.tensors:
            if one.name in inputs:
                array = _array(one, inputs[one.name], axes, problems, missing=self._wanted.missing)
                if array is not None:
                    names.append(one.name)
                    arrays.append(array[np.newaxis])
            elif not one.optional:
                message = f"input {shown(one.name)} is missing: it must be {_described(one)}"
                problems.add(f"{_ROOT}/{json_pointer_token(one.name)}", message)
        problems.raise_if_any()
        return Instance(tuple(arrays), tuple(names), axes)

    def _expected(self) -> str:
        names = [one.name for one in self._wanted.tensors if not one.optional] or list(self._by_name)
        return f"an object with {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"


def _array(
    one: InputTensor, value: object, axes: dict[str, int], problems: Problems, *, missing: bool
) -> NDArray[Any] | None:
    """Convert the value of one input. None if it is wrong; `problems` then says how."""
    pointer, what = f"{_ROOT}/{json_pointer_token(one.name)}", f"input {shown(one.name)}"
    flat: list[Any] = [value]
    shape: list[int] = []
    for rank in range(len(one.shape)):
        if not flat:
            shape.append(axis if isinstance(axis := one.shape[rank], int) else 0)
            continue
        if (bad := _not_lists(flat)) is not None:
            where = pointer + _path(bad, shape)
            problems.add(where, f"{what} must be {_described(one)}: here is {type_of(flat[bad])}, not a list")
            return None
        length = len(flat[0])
        if (bad := _of_other_length(flat, length)) is not None:
            where = pointer + _path(bad, shape)
            problems.add(where, f"{what} is ragged: {len(flat[bad])} values here, but {length} in the first list")
            return None
        shape.append(length)
        flat = list(chain.from_iterable(flat))
    wrong = _wrong_axis(one.shape, shape, axes)
    if wrong is not None:
        problems.add(pointer, f"{what} must be {_described(one)}, but is {shape}: {wrong}")
        return None
    missing = missing and one.dtype in FLOATS
    if flat:
        array = converted(flat, one.dtype, missing=missing)
    else:
        array = np.empty(0, object if one.dtype == "string" else one.dtype)
    if array is None:
        _report(one, flat, shape, problems, missing=missing)
        return None
    return array.reshape(shape)


def _not_lists(values: Sequence[object]) -> int | None:
    if set(map(type, values)) == {list}:
        return None
    return next(at for at, value in enumerate(values) if not isinstance(value, list))


def _of_other_length(lists: Sequence[Sequence[object]], length: int) -> int | None:
    if set(map(len, lists)) == {length}:
        return None
    return next(at for at, one in enumerate(lists) if len(one) != length)


def _path(at: int, shape: Sequence[int]) -> str:
    """Return the JSON pointer, below a tensor's, of the element at a position in row-major order."""
    return "".join(f"/{index}" for index in np.unravel_index(at, shape)) if shape else ""


def _wrong_axis(wanted: Shape, shape: Sequence[int], axes: dict[str, int]) -> str | None:
    """Say which axis has the wrong length, and note the lengths of those that have a name."""
    for at, (axis, length) in enumerate(zip(wanted, shape, strict=True)):
        if isinstance(axis, int) and axis != length:
            return f"axis {at} must have {axis} entries"
        if isinstance(axis, str) and axes.setdefault(axis, length) != length:
            return f"axis {at}, {axis}, must have as many entries as in the input before, {axes[axis]}"
    return None


def _described(one: InputTensor) -> str:
    kind = wanted_type(one.dtype)
    if not one.shape:
        return kind
    return f"lists of the shape [{', '.join(str(axis or '?') for axis in one.shape)}], each entry {kind}"


def _report(
    one: InputTensor, flat: Sequence[object], shape: Sequence[int], problems: Problems, *, missing: bool
) -> None:
    wanted = wanted_type(one.dtype) + (", or null if it is missing" if missing else "")
    for at, value in enumerate(flat):
        what = None if missing and value is None else mistake(value, one.dtype)
        if what is None:
            continue
        place = f"[{', '.join(map(str, np.unravel_index(at, shape)))}]" if shape else ""
        pointer = f"{_ROOT}/{json_pointer_token(one.name)}{_path(at, shape)}"
        problems.add(pointer, f"input {shown(one.name)}{place} must be {wanted}, {what}")
        if problems.is_full:
            problems.is_complete = False  # a body may have a million values
            return
