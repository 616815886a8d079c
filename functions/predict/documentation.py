"""OpenAPI for the request bodies of `predict`. One route takes several content types, so no type describes its body."""

from typing import Any, Final

from functions.shared.api.fields import (
    ANONYMOUS,
    INFERENCE_IDS,
    MAX_FILENAME_LENGTH,
    MAX_USER_ID_LENGTH,
    METADATA,
    or_null,
    text_schema,
)
from functions.shared.api.idempotency import HEADER, MAX_KEY_LENGTH, PATTERN
from functions.shared.inference.content_types import SUPPORTED_CONTENT_TYPES
from functions.shared.inference.decoding_budget import IMAGES_OF_A_REQUEST, MAX_SIDE, SECONDS
from functions.shared.settings import PredictSettings

_MAX_PIXELS = PredictSettings.model_fields["max_image_pixels"].default
_IMAGE_LIMITS = (
    f"An image has at most {MAX_SIDE} pixels on a side and {_MAX_PIXELS} in all, unless the deployment sets another "
    f"limit. The images of one request have at most {IMAGES_OF_A_REQUEST} times as many, and {SECONDS:g} seconds of "
    "processor time to be decoded in. What is over a limit is refused with 413, which names it."
)

# No default, though it is ANONYMOUS: generated clients would send it, also where a token names another user.
_USER_ID_PART = text_schema(MAX_USER_ID_LENGTH, ANONYMOUS) | {
    "description": f"`{ANONYMOUS}` if absent. Where a token is required, it is the token's user."
}
# With any members, and none in an example: Swagger UI would fill in some.
_METADATA_PART = {"type": "object", "additionalProperties": True, "description": METADATA, "examples": [{}]}
_METADATA = {
    "metadata": or_null(_METADATA_PART),
    **{name: or_null(schema) for name, schema in INFERENCE_IDS.items()},
}
_USER_ID = {"user_id": or_null(_USER_ID_PART)}


def _file(contenttype: str) -> dict[str, Any]:
    """Return the schema of bytes: `format` is what OpenAPI 3.0 has for them, and what most generators know."""
    return {"type": "string", "format": "binary", "contentMediaType": contenttype}


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "required": [*required], "additionalProperties": False, "properties": properties}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_IMAGE = {
    "image": {
        "type": "string",
        "description": f"A base64 data URI. {_IMAGE_LIMITS}",
        "pattern": r"^\s*[dD][aA][tT][aA]:[^,]*; *[bB][aA][sS][eE]64 *,[\s\S]",
        "examples": ["data:image/png;base64,iVBORw0KGgo="],
    },
    "filename": or_null(text_schema(MAX_FILENAME_LENGTH, "seven.png")),
    **_METADATA,
}
_FEATURES = {"features": _ref("Features"), **_METADATA}
_INPUTS = {"inputs": _ref("Tensors"), **_METADATA}
_FILE = _file("application/octet-stream") | {"description": f"An image. {_IMAGE_LIMITS}"}
_BESIDE_FILES = {"user_id": _USER_ID_PART, "metadata": _METADATA_PART}
_OF_EACH_FILE = {
    name: {
        "type": "array",
        "minItems": 1,
        "items": schema,
        "description": "One for each file, in the order of the files, or one for all of them.",
    }
    for name, schema in INFERENCE_IDS.items()
}

SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "Features": {
        "description": "The features in the model's order, or keyed by name where the model names them.",
        "oneOf": [
            {"type": "array", "items": {}, "minItems": 1},
            {"type": "object", "additionalProperties": True, "minProperties": 1},
        ],
    },
    "Tensors": {
        "description": "The tensors of one example by name, without a batch axis: a value, or nested lists.",
        "type": "object",
        "additionalProperties": True,
        "minProperties": 1,
    },
    "ImageInstance": _object(_IMAGE, "image"),
    "FeaturesInstance": _object(_FEATURES, "features"),
    "TensorsInstance": _object(_INPUTS, "inputs"),
    "ImageInput": _object(_IMAGE | _USER_ID, "image"),
    "FeaturesInput": _object(_FEATURES | _USER_ID, "features"),
    "TensorsInput": _object(_INPUTS | _USER_ID, "inputs"),
    "UploadedInput": _object(
        {
            "input_id": {
                "type": "string",
                "format": "uuid",
                "description": "The id that `POST /upload` returned, once the image is uploaded.",
            },
            **_USER_ID,
            **_METADATA,
        },
        "input_id",
    ),
    "ImageForm": _object({"file": _FILE, **_BESIDE_FILES, **INFERENCE_IDS}, "file"),
    "ImagesForm": _object(
        {"file": {"type": "array", "minItems": 1, "items": _FILE}, **_BESIDE_FILES, **_OF_EACH_FILE}, "file"
    ),
    "Instances": _object(
        {
            "instances": {
                "type": "array",
                "minItems": 1,
                "items": {"oneOf": [_ref("ImageInstance"), _ref("FeaturesInstance"), _ref("TensorsInstance")]},
            },
            **_USER_ID,
            **_METADATA,
        },
        "instances",
    ),
}
"""The schemas of the bodies, by name. `describe` leaves out those that its model does not take."""

LOCATION: Final[dict[str, Any]] = {"Location": {"description": "The record's path.", "schema": {"type": "string"}}}
"""The headers of an answer about one record."""

IDEMPOTENCY: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": HEADER,
            "in": "header",
            "description": "A request with the same key, user and input gets the first answer, and stores nothing.",
            "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH, "pattern": PATTERN},
        }
    ]
}
"""`openapi_extra` of the routes that store records."""

PREFER: Final[dict[str, Any]] = {
    "name": "Prefer",
    "in": "header",
    "description": "`respond-async` queues the prediction and answers before it is made (RFC 7240).",
    "schema": {"type": "string", "examples": ["respond-async"]},
}
"""The header parameter of the route that can answer 202."""

INFERENCE_ID: Final[list[dict[str, Any]]] = [
    {
        "name": name,
        "in": "query",
        "description": schema["description"] + " An image that is the body itself has no other place for it.",
        "schema": {key: value for key, value in schema.items() if key != "description"},
    }
    for name, schema in INFERENCE_IDS.items()
]
"""The query parameters of `POST /prediction`."""

ONE_INPUT: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": (
            "The served model decides which of these are accepted: see `GET /model`. A member of the JSON that is null "
            "counts as absent."
        ),
        "content": {
            "multipart/form-data": {"schema": _ref("ImageForm")},
            "application/json": {
                "schema": {
                    "oneOf": [_ref("ImageInput"), _ref("FeaturesInput"), _ref("TensorsInput"), _ref("UploadedInput")]
                }
            },
            **{contenttype: {"schema": _file(contenttype)} for contenttype in SUPPORTED_CONTENT_TYPES},
        },
    }
}
"""`openapi_extra` of `POST /prediction`."""

MANY_INPUTS: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": ("One bad input refuses the whole request. A member of the JSON that is null counts as absent."),
        "content": {
            "multipart/form-data": {"schema": _ref("ImagesForm")},
            "application/json": {"schema": _ref("Instances")},
        },
    }
}
"""`openapi_extra` of `POST /predictions`."""
