"""Convert a caller's features to the model's tensors, and report every mistake at once."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from functions.shared.inference.errors import (
    InputProblem,
    InvalidFeaturesError,
    MissingFeaturesError,
    json_pointer_token,
)
from functions.shared.inference.feature_input import FeatureInput, FeatureTensor

_MAX_PROBLEMS: Final = 100
_MAX_NAME_SHOWN: Final = 100
_JSON_TYPES: Final[dict[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
}


class FeatureDecoder:
    """Checks and converts feature vectors for one model.

    Parameters
    ----------
    wanted
        How the model takes its features.
    """

    def __init__(self, wanted: FeatureInput) -> None:
        self._wanted = wanted
        self._names = wanted.names
        self._known = frozenset(wanted.names or ())

    def decode(self, features: object) -> tuple[NDArray[Any], ...]:
        """Turn one feature vector into the model's tensors.

        Parameters
        ----------
        features
            As JSON gives it: a list in the model's order or, where the model names its features, an object by name.

        Returns
        -------
        tuple[NDArray, ...]
            One array for each input of the graph: ``[1, F]`` or ``[1]``, in the model's dtype.

        Raises
        ------
        MissingFeaturesError
            There are none (None).
        InvalidFeaturesError
            They are not those that the model takes. The error lists up to 100 problems.
        """
        if features is None:
            message = f"there are no features: send {self._expected()}"
            raise MissingFeaturesError(message, problems=(InputProblem("/features", message),))
        problems = _Problems()
        values: Sequence[object] = ()
        if isinstance(features, list):
            values = self._in_order(features, problems)
        elif isinstance(features, dict):
            values = self._by_name(features, problems)
        else:
            problems.add("/features", f"features must be {self._expected()}, not {_type_of(features)}")
        pointers = _Pointers(self._names, by_name=isinstance(features, dict))
        arrays = []
        if values:
            for tensor in self._wanted.tensors:
                arrays.append(self._tensor(tensor, values, pointers, problems))  # noqa: PERF401 - reads as a step
        problems.raise_if_any()
        return tuple(arrays)

    def _expected(self) -> str:
        columns, names = self._wanted.columns, self._names
        if columns is None:
            return "a list of values"
        count = f"a list of {len(columns)} value{'s' if len(columns) > 1 else ''}"
        if names is None:
            return count
        return f"{count} or an object with {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"

    def _in_order(self, features: list[object], problems: "_Problems") -> Sequence[object]:
        columns = self._wanted.columns
        if columns is None and not features:
            problems.add("/features", "features must not be empty")
        elif columns is not None and len(features) != len(columns):
            problems.add("/features", f"features must be {self._expected()}, but {len(features)} came")
            return ()
        return features

    def _by_name(self, features: Mapping[str, object], problems: "_Problems") -> Sequence[object]:
        names = self._names
        if names is None:
            problems.add("/features", f"this model does not name its features: send {self._expected()}, not an object")
            return ()
        for name in features:
            if name not in self._known:
                problems.add(
                    f"/features/{json_pointer_token(name)}",
                    f"the model has no feature {_shown(name)}: send {self._expected()}",
                )
        for name, column in zip(names, self._wanted.columns or (), strict=True):
            if name not in features:
                problems.add(
                    f"/features/{json_pointer_token(name)}",
                    f"feature {_shown(name)} is missing: it must be {self._wanted_type(column.dtype)}",
                )
        return [features.get(name, _ABSENT) for name in names]

    def _tensor(
        self, tensor: FeatureTensor, values: Sequence[object], pointers: "_Pointers", problems: "_Problems"
    ) -> NDArray[Any]:
        places = tensor.columns if tensor.columns is not None else range(len(values))
        own = [values[place] for place in places]
        missing = self._wanted.missing and tensor.dtype.startswith("float")
        array = _converted(own, tensor.dtype, missing=missing)
        if array is None:
            for place, value in zip(places, own, strict=True):
                excused = value is _ABSENT or (missing and value is None)
                what = None if excused else _mistake(value, tensor.dtype)
                if what is not None:
                    pointer, name = pointers.of(place)
                    problems.add(pointer, f"{name} must be {self._wanted_type(tensor.dtype)}, {what}")
            array = np.empty(0)
        return array if tensor.rank == 1 and len(own) == 1 else array[np.newaxis]

    def _wanted_type(self, dtype: str) -> str:
        wanted = _wanted_type(dtype)
        return f"{wanted}, or null if it is missing" if self._wanted.missing and dtype.startswith("float") else wanted


class _Absent:
    """Stands for a missing feature, so that the others are still checked."""


_ABSENT: Final = _Absent()


class _Problems:
    """Collects up to a hundred problems of one input, and counts the others."""

    def __init__(self, pointer: str = "/features") -> None:
        self._pointer = pointer
        self._found: list[InputProblem] = []
        self._more = 0

    def add(self, pointer: str, detail: str) -> None:
        if len(self._found) < _MAX_PROBLEMS:
            self._found.append(InputProblem(pointer, detail))
        else:
            self._more += 1

    def raise_if_any(self) -> None:
        if not self._found:
            return
        if self._more:
            self._found.append(InputProblem(self._pointer, f"and {self._more} more problems"))
        message = self._found[0].detail
        if len(self._found) > 1:
            message += f" (and {len(self._found) + self._more - 1 - bool(self._more)} more)"
        raise InvalidFeaturesError(message, problems=tuple(self._found))


class _Pointers:
    """Returns a feature's JSON pointer and its name for messages."""

    def __init__(self, names: tuple[str, ...] | None, *, by_name: bool) -> None:
        self._names = names
        self._by_name = by_name

    def of(self, place: int) -> tuple[str, str]:
        if self._names is None:
            return f"/features/{place}", f"feature {place}"
        name = self._names[place]
        return f"/features/{json_pointer_token(name) if self._by_name else place}", f"feature {_shown(name)}"


def _shown(name: str) -> str:
    return f'"{name}"' if len(name) <= _MAX_NAME_SHOWN else f'"{name[:_MAX_NAME_SHOWN]}..."'


def _type_of(value: object) -> str:
    return _JSON_TYPES.get(type(value), f"a {type(value).__name__}")


def _wanted_type(dtype: str) -> str:
    if dtype == "string":
        return "a text"
    if dtype == "bool":
        return "true or false"
    if dtype.startswith("float"):
        return "a finite number"
    limits = np.iinfo(dtype)
    return f"a whole number from {limits.min} to {limits.max}"


def _converted(values: list[object], dtype: str, *, missing: bool = False) -> NDArray[Any] | None:
    """Convert values to an array. None if one is wrong: `_mistake` then says which. With `missing`, None is NaN."""
    types = set(map(type, values))
    if missing and type(None) in types:
        known = _converted([0.0 if value is None else value for value in values], dtype)
        if known is not None:
            known[[value is None for value in values]] = np.nan
        return known
    if dtype == "string":
        if types == {str} and all(map(_is_unicode, values)):
            array = np.empty(len(values), dtype=object)
            array[:] = values
            return array
        return None
    if dtype == "bool":
        return np.array(values, dtype=np.bool_) if types == {bool} else None
    if not types <= {int, float}:
        return None
    numbers = cast("list[int | float]", values)
    try:
        if not dtype.startswith("float"):
            if float in types:
                if not all(value.is_integer() for value in numbers if isinstance(value, float)):
                    return None
                numbers = [int(value) for value in numbers]
            return np.array(numbers, dtype=dtype)  # OverflowError where one does not fit
        array = np.array(numbers, dtype=np.float64)
    except (OverflowError, ValueError):  # beyond float64, or the whole number of infinity or NaN
        return None
    with np.errstate(over="ignore"):
        array = array.astype(dtype, copy=False)
    return array if np.isfinite(array).all() else None


def _is_unicode(value: object) -> bool:
    """Tell whether a text can be encoded as UTF-8. JSON's escapes can spell half of a surrogate pair, which cannot."""
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return True


def _mistake(value: object, dtype: str) -> str | None:
    """Say what is wrong with a value. None if it is right."""
    if dtype == "string":
        if not isinstance(value, str):
            return f"not {_type_of(value)}"
        return None if _is_unicode(value) else "not half of a surrogate pair"
    if dtype == "bool":
        return None if isinstance(value, bool) else f"not {_type_of(value)}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"not {_type_of(value)}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"not {'NaN' if math.isnan(value) else 'Infinity'}"
    if _converted([value], dtype) is not None:
        return None
    if not dtype.startswith("float"):
        return f"not {value:g}" if isinstance(value, float) else "not one beyond that"
    return f"not one beyond the {dtype} that the model takes"
