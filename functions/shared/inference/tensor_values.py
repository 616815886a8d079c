"""Write tensors as plain values for JSON, or in binary where they are too large for the record of a prediction."""

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from functions.shared.inference.datatypes import DATATYPES
from functions.shared.inference.output_size import LARGEST_ALONE, LARGEST_TOGETHER
from functions.shared.inference.prediction import LargeTensor, TensorValue

_LENGTH_BYTES: Final = 4
_MOST_JSON_BYTES: Final = 25
"""Bytes of the longest number in JSON, with the comma: -2.2250738585072014e-308,"""

SURELY_SMALL: Final = LARGEST_ALONE // _MOST_JSON_BYTES
"""Numbers that are never too many for a record, whatever they are."""


def tensor_value(array: NDArray[Any]) -> TensorValue:
    """Write a tensor as plain values for JSON. It must not have NaN or infinity; a negative zero becomes zero."""
    return {"shape": list(array.shape), "datatype": datatype_of(array), "data": np.ravel(_positive(array)).tolist()}


def datatype_of(array: NDArray[Any]) -> str:
    """Return the Open Inference Protocol's name for the type of an array's elements."""
    return "BYTES" if array.dtype.kind in "OUS" else DATATYPES[array.dtype.name]


def to_binary(array: NDArray[Any]) -> bytes:
    """Return an array's values in the protocol's binary form: little-endian, row-major, and texts after their lengths.

    Source: Triton Inference Server, "Binary Tensor Data Extension".
    """
    if datatype_of(array) != "BYTES":
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    found = (one if isinstance(one, bytes) else str(one).encode() for one in array.ravel())
    return b"".join(len(one).to_bytes(_LENGTH_BYTES, "little") + one for one in found)


def large_tensor(name: str, array: NDArray[Any]) -> LargeTensor:
    """Write a tensor in binary. A negative zero becomes zero, as in JSON."""
    return LargeTensor.of(name, datatype_of(array), array.shape, to_binary(_positive(array)))


def is_large(array: NDArray[Any]) -> bool:
    """Tell whether a tensor is too large for a record, whatever else that has."""
    return (array.size > SURELY_SMALL or array.dtype.kind in "OUS") and json_size(array) > LARGEST_ALONE


def named_tensors(arrays: Mapping[str, NDArray[Any]]) -> tuple[dict[str, TensorValue], tuple[LargeTensor, ...]]:
    """Write the outputs for one input: those that fit into a record in full, and references to the others.

    A tensor is stored apart if it alone is too large for a record. If the others are too large together, the largest
    are stored apart as well.

    Parameters
    ----------
    arrays
        The outputs by name. They must not have NaN or infinity.

    Returns
    -------
    dict
        Each output by name.
    tuple of LargeTensor
        Those that are stored apart.
    """
    sizes = {name: json_size(array) for name, array in arrays.items()}
    apart = {name for name, size in sizes.items() if size > LARGEST_ALONE}
    room = LARGEST_TOGETHER - sum(size for name, size in sizes.items() if name not in apart)
    for name in sorted(sizes.keys() - apart, key=lambda one: (-sizes[one], one)):
        if room >= 0:
            break
        apart.add(name)
        room += sizes[name]
    large = {name: large_tensor(name, array) for name, array in arrays.items() if name in apart}
    values = {name: large[name].reference if name in apart else tensor_value(array) for name, array in arrays.items()}
    return values, tuple(large.values())


def json_size(array: NDArray[Any]) -> int:
    """Return how many bytes of JSON a tensor takes at most. It follows from shape and type, unless it has texts."""
    if array.dtype.kind in "OUS":
        texts = array.ravel().tolist()
        return sum(len(json.dumps(one, ensure_ascii=False).encode()) + 1 for one in texts)
    return array.size * _most_bytes_each(array.dtype)


def _most_bytes_each(dtype: np.dtype[Any]) -> int:
    if dtype.kind == "b":
        return len("false,")
    if dtype.kind in "iu":
        return max(len(f"{np.iinfo(dtype).min},"), len(f"{np.iinfo(dtype).max},"))
    return _MOST_JSON_BYTES


def _positive(array: NDArray[Any]) -> NDArray[Any]:
    return array + 0.0 if array.dtype.kind == "f" else array  # -0.0 + 0.0 is 0.0
