"""Version 2 of the protocol: a request becomes the rows to predict, and their outputs become the answer."""

from collections.abc import Callable, Sequence
from typing import NamedTuple
from uuid import UUID

from functions.infer.answers import Outputs
from functions.infer.request import InferRequest, parse_request
from functions.infer.response import InferResponse, make_response, requested_outputs
from functions.infer.rows import Row, cut
from functions.infer.tensors import to_array
from functions.shared.inference.model import Instance, Model
from functions.shared.ledger.records import ModelIdentity
from functions.shared.prediction.requests import Features, Input


class Asked(NamedTuple):
    """What a request asks for.

    Attributes
    ----------
    inputs
        Its rows.
    user_id
        The user that it names.
    respond
        Makes its answer from the rows' outputs.
    """

    inputs: tuple[Input, ...]
    user_id: object
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
    arrays = {tensor.name: to_array(tensor) for tensor in request.inputs}
    outputs = requested_outputs(request, model.output_names)
    instances = model.instances(arrays, max_rows)
    rows = cut(request, arrays, len(instances), model.tensor_rows.batched)

    def respond(made: Outputs, prediction_ids: Sequence[UUID]) -> InferResponse:
        described = _described(request, served) | {"parameters": {"prediction_ids": list(prediction_ids)}}
        return make_response(described, outputs, model.tensor_rows.join(made))

    inputs = tuple(_input(row, instance) for row, instance in zip(rows, instances, strict=True))
    return Asked(inputs, request.user_id, respond)


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
