"""Cut a request into requests of one row: each is stored as the input of its prediction, and can be sent again."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from functions.infer.request import InferRequest, InputTensor
from functions.infer.tensors import flat_values, to_binary


class Row(NamedTuple):
    """A request with one row.

    Attributes
    ----------
    text
        Its JSON; None if a tensor is in binary.
    content, header_length
        Its JSON with the tensors in binary behind it, and how many bytes the JSON has; None if no tensor is in binary.
    """

    text: str | None
    content: bytes | None = None
    header_length: int | None = None


def cut(request: InferRequest, arrays: Mapping[str, NDArray[Any]], count: int) -> list[Row]:
    """Return the requests of one row that a request of `count` rows is made of.

    Each tensor stays in JSON or in binary. JSON of one row stays as it is, to the character; of several, each number
    keeps its value.

    Parameters
    ----------
    request
        The request.
    arrays
        Its tensors. If `count` is more than one, their first axis is that of the rows.
    count
        The number of rows.
    """
    if all(tensor.content is None for tensor in request.inputs):
        if count == 1:
            return [Row(f'{{"inputs": {request.inputs_text}}}')]
        in_json = [flat_values(tensor) for tensor in request.inputs]
        return [
            Row(
                _text(
                    _described(tensor, count) | {"data": _share(values, row, count)}
                    for tensor, values in zip(request.inputs, in_json, strict=True)
                )
            )
            for row in range(count)
        ]
    return [_binary_row(request, arrays, row, count) for row in range(count)]


def _binary_row(request: InferRequest, arrays: Mapping[str, NDArray[Any]], row: int, count: int) -> Row:
    inputs, contents = [], []
    for tensor in request.inputs:
        described = _described(tensor, count)
        if tensor.content is None:
            described["data"] = _share(flat_values(tensor), row, count)
        else:
            array = arrays[tensor.name]
            contents.append(tensor.content if count == 1 else to_binary(array[row : row + 1]))
            described["parameters"] = tensor.parameters | {"binary_data_size": len(contents[-1])}
        inputs.append(described)
    header = _text(inputs).encode()
    return Row(None, header + b"".join(contents), len(header))


def _described(tensor: InputTensor, count: int) -> dict[str, Any]:
    shape = list(tensor.shape) if count == 1 else [1, *tensor.shape[1:]]
    described: dict[str, Any] = {"name": tensor.name, "shape": shape, "datatype": tensor.datatype}
    return described | {"parameters": tensor.parameters} if tensor.parameters else described


def _share(values: list[Any], row: int, count: int) -> list[Any]:
    size = len(values) // count
    return values[row * size : (row + 1) * size]


def _text(inputs: Any) -> str:  # noqa: ANN401 - an iterable of JSON objects
    return json.dumps({"inputs": list(inputs)})
