"""Cut a request into requests of one row: each is stored as the input of its prediction, and can be sent again."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from functions.infer.request import InferRequest, InputTensor
from functions.infer.tensors import flat_values
from functions.shared.inference.tensor_values import to_binary


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


def cut(request: InferRequest, arrays: Mapping[str, NDArray[Any]], count: int, batched: Collection[str]) -> list[Row]:
    """Return the requests of one row that a request of `count` rows is made of.

    Each tensor stays in JSON or in binary. JSON of one row stays as it is, to the character; of several, each number
    keeps its value.

    Parameters
    ----------
    request
        The request.
    arrays
        Its tensors.
    count
        The number of rows.
    batched
        The names of the tensors whose first axis is that of the rows. The others are the same for each row.
    """
    if count == 1 and all(tensor.content is None for tensor in request.inputs):
        return [Row(f'{{"inputs": {request.inputs_text}}}')]
    shares = [_shares(tensor, arrays[tensor.name], count, tensor.name in batched) for tensor in request.inputs]
    return [_row(request.inputs, [share[row] for share in shares]) for row in range(count)]


class _Share(NamedTuple):
    """What a row has of a tensor: its shape, and its values in JSON or in binary."""

    shape: list[int]
    data: list[Any] | None
    content: bytes


def _shares(tensor: InputTensor, array: NDArray[Any], count: int, is_batched: bool) -> Sequence[_Share]:
    """Return what each row has of a tensor."""
    values = None if tensor.content is not None else flat_values(tensor)
    if not is_batched:
        return [_Share(list(tensor.shape), values, tensor.content or b"")] * count
    shape = [1, *tensor.shape[1:]]
    if values is None:
        return [_Share(shape, None, to_binary(array[row : row + 1])) for row in range(count)]
    size = len(values) // count
    return [_Share(shape, values[row * size : (row + 1) * size], b"") for row in range(count)]


def _row(tensors: Sequence[InputTensor], shares: Sequence[_Share]) -> Row:
    inputs = []
    for tensor, share in zip(tensors, shares, strict=True):
        described: dict[str, Any] = {"name": tensor.name, "shape": share.shape, "datatype": tensor.datatype}
        parameters = dict(tensor.parameters)
        if share.data is None:
            parameters["binary_data_size"] = len(share.content)
        else:
            described["data"] = share.data
        inputs.append(described | {"parameters": parameters} if parameters else described)
    text = json.dumps({"inputs": inputs})
    if all(share.data is not None for share in shares):
        return Row(text)
    header = text.encode()
    return Row(None, header + b"".join(share.content for share in shares), len(header))
