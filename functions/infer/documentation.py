"""OpenAPI for the bodies of `infer`, which no type describes: the binary form is no JSON.

Source: Open Inference Protocol, the schemas of its REST specification.
"""

from typing import Any, Final

from functions.infer.request import MAX_LENGTH, MAX_RANK
from functions.shared.api.fields import ANONYMOUS, INFERENCE_IDS, MAX_USER_ID_LENGTH, text_schema
from functions.shared.api.open_inference import HEADER_LENGTH
from functions.shared.inference.datatypes import DTYPES

_PARAMETERS: Final[dict[str, Any]] = {"type": "object", "additionalProperties": True}
_LENGTHS: Final[dict[str, Any]] = {
    "type": "array",
    "maxItems": MAX_RANK,
    "items": {"type": "integer", "minimum": 0, "maximum": MAX_LENGTH},
}
_DATA: Final[dict[str, Any]] = {"type": "array", "description": "The values, flat in row-major order.", "items": {}}
_TENSOR: Final[dict[str, Any]] = {
    "name": {"type": "string"},
    "shape": _LENGTHS,
    "datatype": {"type": "string", "enum": [*DTYPES]},
    "parameters": _PARAMETERS,
    "data": _DATA,
}
_REQUESTED: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "parameters": _PARAMETERS
        | {
            "properties": {
                "binary_data": {"type": "boolean"},
                "classification": {
                    "type": "integer",
                    "minimum": 0,
                    "maximum": MAX_LENGTH,
                    "description": "How many of the largest values are answered as texts, `value:index:label`.",
                },
            }
        },
    },
}
_NAMED: Final = {"user_id": text_schema(MAX_USER_ID_LENGTH, example=ANONYMOUS), **INFERENCE_IDS}
_REQUEST: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {
            "type": "string",
            "description": "The answer repeats it. What is stored is `parameters.inference_id`.",
        },
        "parameters": _PARAMETERS | {"properties": {**_NAMED, "binary_data_output": {"type": "boolean"}}},
        "inputs": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "required": ["name", "shape", "datatype"], "properties": _TENSOR},
        },
        "outputs": {"type": "array", "items": _REQUESTED},
    },
}
_IDS: Final[dict[str, Any]] = {"type": "array", "items": {"type": "string", "format": "uuid"}}
_RESPONSE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["model_name", "model_version", "outputs", "parameters"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "parameters": {"type": "object", "required": ["prediction_ids"], "properties": {"prediction_ids": _IDS}},
        "outputs": {
            "type": "array",
            "items": {"type": "object", "required": ["name", "shape", "datatype"], "properties": _TENSOR},
        },
    },
}
_BINARY: Final[dict[str, Any]] = {
    "schema": {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
}
_INSTANCES: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["instances"],
    "properties": {
        "instances": {"type": "array", "minItems": 1, "items": {}},
        "parameters": _PARAMETERS | {"properties": _NAMED},
    },
}
_PREDICTIONS: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["predictions", "prediction_ids"],
    "properties": {"predictions": {"type": "array", "items": {}}, "prediction_ids": _IDS},
}

SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "InferRequest": _REQUEST,
    "InferResponse": _RESPONSE,
    "InstancesV1": _INSTANCES,
    "PredictionsV1": _PREDICTIONS,
}
"""The schemas of the OpenAPI document that the bodies refer to."""


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


INFER: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": (
            f"JSON; or JSON followed by the tensors in binary, in the order of `inputs`: then `{HEADER_LENGTH}` is the "
            "number of bytes of JSON, and `parameters.binary_data_size` of each such input that of its bytes."
        ),
        "content": {**_json("InferRequest"), "application/octet-stream": _BINARY},
    }
}
"""`openapi_extra` of the routes that take tensors."""

INFERRED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The outputs of all rows, as JSON, or in binary behind it if that was asked for.",
        "content": {**_json("InferResponse"), "application/octet-stream": _BINARY},
    }
}
"""Their answer."""

PREDICT: Final[dict[str, Any]] = {"requestBody": {"required": True, "content": _json("InstancesV1")}}
"""`openapi_extra` of the route of version 1."""

PREDICTED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "An output for each instance.", "content": _json("PredictionsV1")}
}
"""Its answer."""
