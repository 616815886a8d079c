"""Convert a caller's features to the model's tensors, and report every mistake at once."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from functions.shared.inference.errors import (
    InputProblem,
    MissingFeaturesError,
    json_pointer_token,
)
from functions.shared.inference.feature_input import FeatureInput, FeatureTensor
from functions.shared.inference.json_values import Problems, converted, mistake, shown, type_of, wanted_type


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
        problems = Problems()
        values: Sequence[object] = ()
        if isinstance(features, list):
            values = self._in_order(features, problems)
        elif isinstance(features, dict):
            values = self._by_name(features, problems)
        else:
            problems.add("/features", f"features must be {self._expected()}, not {type_of(features)}")
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

    def _in_order(self, features: list[object], problems: "Problems") -> Sequence[object]:
        columns = self._wanted.columns
        if columns is None and not features:
            problems.add("/features", "features must not be empty")
        elif columns is not None and len(features) != len(columns):
            problems.add("/features", f"features must be {self._expected()}, but {len(features)} came")
            return ()
        return features

    def _by_name(self, features: Mapping[str, object], problems: "Problems") -> Sequence[object]:
        names = self._names
        if names is None:
            problems.add("/features", f"this model does not name its features: send {self._expected()}, not an object")
            return ()
        for name in features:
            if name not in self._known:
                problems.add(
                    f"/features/{json_pointer_token(name)}",
                    f"the model has no feature {shown(name)}: send {self._expected()}",
                )
        for name, column in zip(names, self._wanted.columns or (), strict=True):
            if name not in features:
                problems.add(
                    f"/features/{json_pointer_token(name)}",
                    f"feature {shown(name)} is missing: it must be {self._wanted_type(column.dtype)}",
                )
        return [features.get(name, _ABSENT) for name in names]

    def _tensor(
        self, tensor: FeatureTensor, values: Sequence[object], pointers: "_Pointers", problems: "Problems"
    ) -> NDArray[Any]:
        places = tensor.columns if tensor.columns is not None else range(len(values))
        own = [values[place] for place in places]
        missing = self._wanted.missing and tensor.dtype.startswith("float")
        array = converted(own, tensor.dtype, missing=missing)
        if array is None:
            for place, value in zip(places, own, strict=True):
                excused = value is _ABSENT or (missing and value is None)
                what = None if excused else mistake(value, tensor.dtype)
                if what is not None:
                    pointer, name = pointers.of(place)
                    problems.add(pointer, f"{name} must be {self._wanted_type(tensor.dtype)}, {what}")
            array = np.empty(0)
        return array if tensor.rank == 1 and len(own) == 1 else array[np.newaxis]

    def _wanted_type(self, dtype: str) -> str:
        wanted = wanted_type(dtype)
        return f"{wanted}, or null if it is missing" if self._wanted.missing and dtype.startswith("float") else wanted


class _Absent:
    """Stands for a missing feature, so that the others are still checked."""


_ABSENT: Final = _Absent()


class _Pointers:
    """Returns a feature's JSON pointer and its name for messages."""

    def __init__(self, names: tuple[str, ...] | None, *, by_name: bool) -> None:
        self._names = names
        self._by_name = by_name

    def of(self, place: int) -> tuple[str, str]:
        if self._names is None:
            return f"/features/{place}", f"feature {place}"
        name = self._names[place]
        return f"/features/{json_pointer_token(name) if self._by_name else place}", f"feature {shown(name)}"
