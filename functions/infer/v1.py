"""Version 1 of the protocol: `{"instances": […]}` is answered with `{"predictions": […]}`.

An instance is one input, without the axis of the batch. Source: KServe, "V1 Protocol", after TensorFlow Serving,
"RESTful API", of which `{"b64": "…"}` is for bytes.
"""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from functions.infer.request import own_parameters, refusal, shown
from functions.infer.response import InferResponse, fitting
from functions.shared.api.app import MAX_RESPONSE_BYTES
from functions.shared.api.base64_text import from_base64
from functions.shared.api.json_source import Source, decode, parse_items, parse_members
from functions.shared.api.problems import Problem
from functions.shared.inference.content_types import sniff_contenttype
from functions.shared.inference.package import ModelPackage
from functions.shared.prediction.requests import Features, Input

_JSON: Final = "application/json"


class Instances(NamedTuple):
    """The inputs of a request, and its parameters."""

    inputs: tuple[Input, ...]
    parameters: Mapping[str, Any]


def parse_instances(body: bytes, package: ModelPackage, max_rows: int) -> Instances:
    """Read a request.

    Raises
    ------
    Problem
        400 if it is not `{"instances": […]}`, or an instance is not in a form that the model takes; 413 if there are
        more than `max_rows`.
    """
    members = parse_members(decode(body))
    source = members.get("instances")
    if source is None or not isinstance(source.value, list) or not source.value:
        raise refusal('The request has no instances: send "instances", a list with at least one input.')
    if len(source.value) > max_rows:
        detail = f"The request has {len(source.value)} instances; at most {max_rows} are allowed."
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    parameters = own_parameters(members)
    inputs = tuple(_input(one, position, package) for position, one in enumerate(parse_items(source)))
    return Instances(inputs, parameters)


def make_predictions(outputs: Sequence[Mapping[str, NDArray[Any]]], prediction_ids: Sequence[UUID]) -> InferResponse:
    """Write the answer: an output for each instance, or an object of them by name where the model has several.

    Raises
    ------
    Problem
        400 if an output is not finite, 413 if the answer would be too large.
    """
    predictions: list[Any] = []
    for row in outputs:
        for name, array in row.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise refusal(f"The output {shown(name)} is not finite, which JSON cannot say.")
        values = {name: array.tolist() for name, array in row.items()}
        predictions.append(next(iter(values.values())) if len(values) == 1 else values)
    content = to_json({"predictions": predictions, "prediction_ids": prediction_ids})
    return InferResponse(fitting(content, MAX_RESPONSE_BYTES), _JSON, {})


def _input(source: Source, position: int, package: ModelPackage) -> Input:
    if package.takes == "features":
        return Input(_JSON, features=Features(*source))
    if package.takes == "tensors":
        return Input(_JSON, tensors=_named(source, package), form="tensors")
    value = source.value
    name = package.signature.inputs[0].name
    if isinstance(value, dict) and value.keys() == {name}:
        value = value[name]
    if not isinstance(value, dict) or value.keys() != {"b64"} or not isinstance(value["b64"], str):
        raise refusal(
            f'Instance {position} must be {{"b64": "…"}}, an image file in base64, not {shown(value)}. Version 2 '
            "takes the model's own tensor: POST /v2/models/{name}/infer."
        )
    try:
        content = from_base64(value["b64"])
    except ValueError:  # binascii.Error is one
        raise refusal(f"Instance {position} has a b64 that is no base64.") from None
    return Input(sniff_contenttype(content) or "application/octet-stream", content=content)


def _named(source: Source, package: ModelPackage) -> Features:
    """Return the tensors of an instance by name: a model with one input may get its value alone."""
    if isinstance(source.value, dict) or len(package.signature.inputs) != 1:
        return Features(*source)
    name = package.signature.inputs[0].name
    return Features({name: source.value}, f"{{{json.dumps(name)}: {source.text}}}")
