"""Version 2 of the protocol: a request becomes the rows to predict, and their outputs become the answer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from functions.infer.answers import Outputs, refused
from functions.infer.request import InferRequest, parse_request, refusal, shown
from functions.infer.response import InferResponse, make_response, requested_outputs
from functions.infer.rows import Row, cut
from functions.infer.tensors import elements, to_array
from functions.shared.inference.errors import InputError, TooManyRowsError
from functions.shared.inference.model import Instance, Model
from functions.shared.ledger.records import ModelIdentity
from functions.shared.prediction.errors import RefusedInputsError
from functions.shared.prediction.requests import Features, Input


class Asked(NamedTuple):
    """What a request asks for.

    Attributes
    ----------
    inputs
        Its rows.
    parameters
        Its own parameters.
    respond
        Makes its answer from the rows' outputs.
    """

    inputs: tuple[Input, ...]
    parameters: Mapping[str, Any]
    respond: Callable[[Outputs, Sequence[UUID]], InferResponse]


def read(body: bytes, header_length: str | None, model: Model, served: ModelIdentity, max_rows: int) -> Asked:
    """Read a request.

    Parameters
    ----------
    body, header_length
        As in `parse_request`.
    model, served
        The model and its identity.
    max_rows
        The most rows.

    Raises
    ------
    Problem
        400 if it is not a request of the protocol, or asks for outputs that the model does not have.
    InputError
        If its tensors are not those that the model takes.
    """
    request = parse_request(body, header_length)
    outputs = requested_outputs(request, model.output_names)
    if model.package.encoded and request.inputs[0].datatype == "BYTES":
        arrays, instances = _files(request, model, max_rows)
    else:
        arrays = {tensor.name: to_array(tensor) for tensor in request.inputs}
        instances = model.instances(arrays, max_rows)
    rows = cut(request, arrays, len(instances), model.tensor_rows.batched)

    def respond(made: Outputs, prediction_ids: Sequence[UUID]) -> InferResponse:
        described = _described(request, served) | {"parameters": {"prediction_ids": list(prediction_ids)}}
        joined = model.tensor_rows.join(made)
        return make_response(described, outputs, joined, model.package, batched=bool(model.tensor_rows.batched))

    inputs = tuple(_input(row, instance) for row, instance in zip(rows, instances, strict=True))
    return Asked(inputs, request.parameters, respond)


def _files(request: InferRequest, model: Model, max_rows: int) -> tuple[dict[str, NDArray[Any]], list[Instance]]:
    """Decode image files that are sent in place of the model's tensor, one a row."""
    (tensor, *others) = request.inputs
    if others or tensor.name != model.package.signature.inputs[0].name or tensor.shape[1:] not in ((), (1,)):
        name = model.package.signature.inputs[0].name
        raise refusal(f"Image files must be the one input {shown(name)}, of the shape [rows] or [rows, 1].")
    files = elements(tensor)
    if not files:
        raise refusal(f"The input {shown(tensor.name)} has no rows: send at least one.")
    if len(files) > max_rows:
        raise TooManyRowsError(f"the request has {len(files)} rows; at most {max_rows} are allowed")
    budget = model.decoding_budget()
    instances, errors = [], {}
    for row, file in enumerate(files):
        try:
            instances.append(model.decode_image(file, budget))
        except InputError as error:
            errors[row] = error
    if errors:
        raise refused(RefusedInputsError(errors), len(files))
    array = np.empty(len(files), dtype=object)
    array[:] = files
    return {tensor.name: array.reshape(tensor.shape)}, instances


def _described(request: InferRequest, served: ModelIdentity) -> dict[str, object]:
    described: dict[str, object] = {"model_name": served.name, "model_version": served.version}
    return described if request.id is None else described | {"id": request.id}


def _input(row: Row, instance: Instance) -> Input:
    if row.text is not None:
        return Input("application/json", tensors=Features(None, row.text), form="v2", instance=instance)
    return Input(
        "application/octet-stream",
        content=row.content,
        form="v2-binary",
        header_length=row.header_length,
        instance=instance,
    )
