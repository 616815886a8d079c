"""Make the answer to an inference request, in JSON or in JSON followed by tensors in binary.

Source: Open Inference Protocol, "Inference Response JSON Object"; for tensors in binary, as in `request`.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json as json_of

from functions.infer.classes import largest
from functions.infer.request import InferRequest, RequestedOutput, refusal, shown
from functions.infer.tensors import to_json
from functions.shared.api.app import MAX_RESPONSE_BYTES
from functions.shared.api.open_inference import HEADER_LENGTH
from functions.shared.api.problems import Problem
from functions.shared.inference.package import ModelPackage
from functions.shared.inference.tensor_values import datatype_of, to_binary

# Lambda returns at most 6 MB of text, and binary takes a third more as text (base64).
_MAX_BINARY_BYTES: Final = MAX_RESPONSE_BYTES // 4 * 3


class InferResponse(NamedTuple):
    """The body of an answer with its media type and headers."""

    content: bytes
    media_type: str
    headers: dict[str, str]


def requested_outputs(request: InferRequest, names: Sequence[str]) -> tuple[RequestedOutput, ...]:
    """Return the outputs to answer: those that a request asks for, or all.

    Raises
    ------
    Problem
        400, if the model has no output of a name that is asked for.
    """
    if request.outputs is None:
        return tuple(RequestedOutput(name, request.binary) for name in names)
    for output in request.outputs:
        if output.name not in names:
            raise refusal(f"The model has no output {shown(output.name)}: it has {', '.join(map(shown, names))}.")
    return request.outputs


def make_response(
    described: Mapping[str, Any],
    outputs: Sequence[RequestedOutput],
    arrays: Mapping[str, NDArray[Any]],
    package: ModelPackage,
    *,
    batched: bool,
) -> InferResponse:
    """Write an answer.

    Parameters
    ----------
    described
        The members before `outputs`.
    outputs
        The outputs to answer, in this order.
    arrays
        All outputs of the model, by name.
    package
        The model.
    batched
        Whether the outputs have a first axis of rows.

    Raises
    ------
    Problem
        400, if an output that JSON cannot hold is asked for in JSON, or the classes of one that has none; 413, if the
        answer would be too large.
    """
    tensors, contents = [], []
    for output in outputs:
        array = arrays[output.name]
        if output.classes:
            scores = package.answer.scores
            labels = package.labels if scores is not None and scores.name == output.name else None
            array = largest(output, array, labels, batched=batched)
        tensor: dict[str, Any] = {"name": output.name, "datatype": datatype_of(array), "shape": list(array.shape)}
        if output.binary:
            contents.append(to_binary(array))
            tensor["parameters"] = {"binary_data_size": len(contents[-1])}
        else:
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise refusal(f"The output {shown(output.name)} is not finite, which JSON cannot say: ask for binary.")
            tensor["data"] = to_json(array)
        tensors.append(tensor)
    header = json_of({**described, "outputs": tensors})
    if not contents:
        return InferResponse(fitting(header, MAX_RESPONSE_BYTES), "application/json", {})
    content = fitting(b"".join((header, *contents)), _MAX_BINARY_BYTES)
    return InferResponse(content, "application/octet-stream", {HEADER_LENGTH: str(len(header))})


def fitting(content: bytes, limit: int) -> bytes:
    """Return the body of an answer. Raises `Problem` (413) if it is longer than `limit` bytes."""
    if len(content) > limit:
        detail = (
            f"The answer would be {len(content)} bytes long; at most {limit} fit. Send fewer rows, ask for fewer "
            "outputs or for binary, or POST /prediction, which stores large outputs apart. A deployment computes less "
            'where its model.json names the outputs worth it under "keep".'
        )
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    return content
