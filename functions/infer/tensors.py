"""Turn the protocol's tensors into arrays, and arrays into values for JSON.

In binary, values are little-endian and in row-major order. An element of BYTES is its length, in four bytes, and then
its bytes (Triton Inference Server, "Binary Tensor Data Extension").
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from functions.infer.request import InputTensor, refusal, shown
from functions.shared.inference.datatypes import DTYPES
from functions.shared.inference.json_values import is_whole

_LENGTH_BYTES: Final = 4


def to_array(tensor: InputTensor) -> NDArray[Any]:
    """Return a tensor as an array of its shape and datatype; texts are objects.

    Raises
    ------
    Problem
        400, if there are more or fewer values than the shape has, or a value is not of the datatype.
    """
    where = f"The input {shown(tensor.name)}"
    count = math.prod(tensor.shape)
    if tensor.content is not None:
        array = _from_binary(tensor.content, tensor.datatype, count, where)
    else:
        array = _from_json(flat_values(tensor), tensor.datatype, where)
    try:
        return array.reshape(tensor.shape)
    except ValueError:  # an axis of no entries beside others whose product no array can have
        raise refusal(f"{where} has the shape {list(tensor.shape)}, which is larger than any array.") from None


def flat_values(tensor: InputTensor) -> list[Any]:
    """Return the values of a tensor that was sent in JSON, in row-major order.

    Raises
    ------
    Problem
        400, if they are nested otherwise than the shape, or are more or fewer than it has.
    """
    where = f"The input {shown(tensor.name)}"
    data = tensor.data or []
    nested = any(isinstance(one, list) for one in data)
    values = list(_unnested(data, tensor.shape, where)) if nested else data
    count = math.prod(tensor.shape)
    if len(values) != count:
        raise refusal(f"{where} has the shape {list(tensor.shape)}, which is {count} values, but {len(values)} came.")
    return values


def to_json(array: NDArray[Any]) -> list[Any]:
    """Return an array's values for JSON: flat, in row-major order."""
    flat: list[Any] = array.ravel().tolist()
    return flat


def _unnested(data: object, shape: Sequence[int], where: str) -> Iterator[Any]:
    if not shape:
        yield data
        return
    if not isinstance(data, list) or len(data) != shape[0]:
        raise refusal(
            f"{where} has data that is nested otherwise than its shape: send it flat, or nested as the shape."
        )
    for one in data:
        yield from _unnested(one, shape[1:], where)


def _from_json(values: list[Any], datatype: str, where: str) -> NDArray[Any]:
    dtype = DTYPES[datatype]
    types = set(map(type, values))
    try:
        if dtype == "string" and types <= {str}:
            for text in values:
                text.encode()
            return _texts(values)
        if dtype == "bool" and types <= {bool}:
            return np.array(values, dtype=np.bool_)
        if dtype.startswith("float") and types <= {int, float}:
            with np.errstate(over="ignore"):
                array = np.array(values, dtype=np.float64).astype(dtype)
            if np.isfinite(array).all():
                return array
        if "int" in dtype and types <= {int, float} and all(is_whole(one) for one in values if type(one) is float):
            return np.array([int(one) for one in values], dtype=dtype)
    except (OverflowError, UnicodeEncodeError):  # beyond the datatype; half of a surrogate pair
        pass
    wrong = next(one for one in values if not _is_of(one, dtype))
    raise refusal(f"{where} has the value {shown(wrong)}, which is no {datatype}.")


def _is_of(value: object, dtype: str) -> bool:
    """Tell whether one value is of a type, as `_from_json` takes it."""
    try:
        if dtype == "string":
            return isinstance(value, str) and bool(value.encode() or True)
        if dtype == "bool":
            return isinstance(value, bool)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if dtype.startswith("float"):
            with np.errstate(over="ignore"):
                return bool(np.isfinite(np.float64(value).astype(dtype)))
        whole = int(value)
        return (isinstance(value, int) or is_whole(value)) and np.iinfo(dtype).min <= whole <= np.iinfo(dtype).max
    except (OverflowError, ValueError):
        return False


def _from_binary(content: bytes, datatype: str, count: int, where: str) -> NDArray[Any]:
    if datatype == "BYTES":
        return _texts_from_binary(content, count, where)
    dtype = np.dtype(DTYPES[datatype])
    if len(content) != count * dtype.itemsize:
        raise refusal(
            f"{where} has a shape of {count} values of {datatype}, which is {count * dtype.itemsize} bytes, but its "
            f"binary_data_size is {len(content)}."
        )
    if datatype == "BOOL" and content.strip(b"\0\1"):
        raise refusal(f"{where} has a BOOL that is neither 0 nor 1.")
    # A copy: the bytes of the body need not be where numbers of this size may be.
    return np.frombuffer(content, dtype=dtype.newbyteorder("<")).astype(dtype)


def _texts_from_binary(content: bytes, count: int, where: str) -> NDArray[Any]:
    try:
        return _texts([one.decode() for one in _elements(content, count, where)])
    except UnicodeDecodeError:
        raise refusal(f"{where} has an element of BYTES that is no UTF-8, which a model takes.") from None


def elements(tensor: InputTensor) -> list[bytes]:
    """Return the elements of a tensor of BYTES, whatever they are.

    Raises
    ------
    Problem
        400, if they were not sent in binary, or are more or fewer than the shape has.
    """
    where = f"The input {shown(tensor.name)}"
    if tensor.content is None:
        raise refusal(f"{where} has files as BYTES: send them in binary, because JSON has texts only.")
    return _elements(tensor.content, math.prod(tensor.shape), where)


def _elements(content: bytes, count: int, where: str) -> list[bytes]:
    found = []
    at = 0
    while at < len(content):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(content[at:start], "little")
        if max(start, at) > len(content):
            raise refusal(
                f"{where} has an element of BYTES that is cut off: each is its length, in 4 bytes, and itself."
            )
        found.append(content[start:at])
    if len(found) != count:
        raise refusal(f"{where} has a shape of {count} elements, but {len(found)} came.")
    return found


def _texts(values: Sequence[str]) -> NDArray[Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
