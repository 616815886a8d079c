"""Convert values of JSON to the element types of a model, and say what is wrong with those that are not of them."""

import math
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from functions.shared.inference.errors import InputProblem, InvalidFeaturesError

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


_EXACT: Final = 2.0**53
"""From there on, a number that is read as a float may be another whole number than the one that was written."""


class Problems:
    """Collects up to a hundred problems of one input, and counts the others."""

    def __init__(self, pointer: str = "/features") -> None:
        self._pointer = pointer
        self._found: list[InputProblem] = []
        self._more = 0
        self.is_complete = True
        """Whether all problems were looked for."""

    @property
    def is_full(self) -> bool:
        """Whether it lists as many as it can."""
        return len(self._found) >= _MAX_PROBLEMS

    def add(self, pointer: str, detail: str) -> None:
        """Note a problem at a JSON pointer."""
        if len(self._found) < _MAX_PROBLEMS:
            self._found.append(InputProblem(pointer, detail))
        else:
            self._more += 1

    def raise_if_any(self) -> None:
        """Refuse the input for its problems.

        Raises
        ------
        InvalidFeaturesError
            It has any.
        """
        if not self._found:
            return
        if self._more:
            count = f"{self._more} more" if self.is_complete else "more"
            self._found.append(InputProblem(self._pointer, f"and {count} problems"))
        message = self._found[0].detail
        if len(self._found) > 1:
            count = f"{len(self._found) + self._more - 1 - bool(self._more)} more"
            message += f" (and {count if self.is_complete else f'at least {count}'})"
        raise InvalidFeaturesError(message, problems=tuple(self._found))


def shown(name: str) -> str:
    """Write a name for a message, cut to 100 characters."""
    return f'"{name}"' if len(name) <= _MAX_NAME_SHOWN else f'"{name[:_MAX_NAME_SHOWN]}..."'


def type_of(value: object) -> str:
    """Write what a value of JSON is for a message: `a number`, `null`."""
    return _JSON_TYPES.get(type(value), f"a {type(value).__name__}")


def wanted_type(dtype: str) -> str:
    """Write what a value must be for a message, by the element type of the model."""
    if dtype == "string":
        return "a text"
    if dtype == "bool":
        return "true or false"
    if dtype.startswith("float"):
        return "a finite number"
    limits = np.iinfo(dtype)
    return f"a whole number from {limits.min} to {limits.max}"


def converted(values: list[object], dtype: str, *, missing: bool = False) -> NDArray[Any] | None:
    """Convert values to an array. None if one is wrong: `mistake` then says which. With `missing`, None is NaN."""
    types = set(map(type, values))
    if missing and type(None) in types:
        known = converted([0.0 if value is None else value for value in values], dtype)
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
                if not all(is_whole(value) for value in numbers if isinstance(value, float)):
                    return None
                numbers = [int(value) for value in numbers]
            return np.array(numbers, dtype=dtype)  # OverflowError where one does not fit
        array = np.array(numbers, dtype=np.float64)
    except (OverflowError, ValueError):  # beyond float64, or the whole number of infinity or NaN
        return None
    with np.errstate(over="ignore"):
        array = array.astype(dtype, copy=False)
    return array if np.isfinite(array).all() else None


def is_whole(value: float) -> bool:
    """Tell whether a number with a point or an exponent is a whole one, and certainly the one that was written."""
    return value.is_integer() and abs(value) < _EXACT


def _is_unicode(value: object) -> bool:
    """Tell whether a text can be encoded as UTF-8. JSON's escapes can spell half of a surrogate pair, which cannot."""
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return True


def mistake(value: object, dtype: str) -> str | None:
    """Say what is wrong with a value. None if it is right."""
    if dtype == "string":
        if not isinstance(value, str):
            return f"not {type_of(value)}"
        return None if _is_unicode(value) else "not half of a surrogate pair"
    if dtype == "bool":
        return None if isinstance(value, bool) else f"not {type_of(value)}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"not {type_of(value)}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"not {'NaN' if math.isnan(value) else 'Infinity'}"
    if converted([value], dtype) is not None:
        return None
    if not dtype.startswith("float"):
        if not isinstance(value, float):
            return "not one beyond that"
        is_rounded = value.is_integer() and not is_whole(value)
        return f"not {value:g}" + (", which may be rounded: write it without a point or an exponent" * is_rounded)
    return f"not one beyond the {dtype} that the model takes"
