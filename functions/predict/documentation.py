"""OpenAPI for the request bodies of `predict`. One route takes several content types, so no type describes its body."""

from typing import Any, Final

from functions.shared.api.fields import (
    ANONYMOUS,
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

_USER_ID_PART = text_schema(MAX_USER_ID_LENGTH) | {"default": ANONYMOUS}
_USER_ID = or_null(_USER_ID_PART)
_METADATA_PART = {"type": "object", "description": METADATA}
_METADATA = or_null(_METADATA_PART)

_IMAGE_INSTANCE: dict[str, Any] = {
    "type": "object",
    "title": "ImageInput",
    "required": ["image"],
    "additionalProperties": False,
    "properties": {
        "image": {
            "type": "string",
            "description": "A base64 data URI.",
            "pattern": r"^\s*[dD][aA][tT][aA]:[^,]*; *[bB][aA][sS][eE]64 *,[\s\S]",
            "examples": ["data:image/png;base64,iVBORw0KGgo="],
        },
        "filename": or_null(text_schema(MAX_FILENAME_LENGTH)),
        "metadata": _METADATA,
    },
}

_FEATURES_INSTANCE: dict[str, Any] = {
    "type": "object",
    "title": "FeaturesInput",
    "required": ["features"],
    "additionalProperties": False,
    "properties": {
        "features": {
            "description": "The features in the model's order, or keyed by name where the model names them.",
            "oneOf": [
                {"type": "array", "items": {}, "minItems": 1},
                {"type": "object", "additionalProperties": {}, "minProperties": 1},
            ],
        },
        "metadata": _METADATA,
    },
}


def _with_user(instance: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a request with a single input, which also has a `user_id`."""
    return instance | {"title": f"One{instance['title']}", "properties": instance["properties"] | {"user_id": _USER_ID}}


_UPLOADED: dict[str, Any] = {
    "type": "object",
    "title": "UploadedInput",
    "required": ["input_id"],
    "additionalProperties": False,
    "properties": {
        "input_id": {
            "type": "string",
            "format": "uuid",
            "description": "The id that `POST /upload` returned, once the image is uploaded.",
        },
        "user_id": _USER_ID,
        "metadata": _METADATA,
    },
}

_BESIDE_INSTANCES = {"user_id": _USER_ID, "metadata": _METADATA}

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

ONE_INPUT: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": (
            "The served model decides which of these are accepted: see `GET /model`. A member of the JSON that is null "
            f"counts as absent. {_IMAGE_LIMITS}"
        ),
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {"type": "string", "contentMediaType": "application/octet-stream"},
                        "user_id": _USER_ID_PART,
                        "metadata": _METADATA_PART,
                    },
                }
            },
            "application/json": {
                "schema": {"oneOf": [_with_user(_IMAGE_INSTANCE), _with_user(_FEATURES_INSTANCE), _UPLOADED]}
            },
            **{contenttype: {"schema": {}} for contenttype in SUPPORTED_CONTENT_TYPES},
        },
    }
}
"""`openapi_extra` of `POST /prediction`."""

MANY_INPUTS: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": (
            "Several `file` parts, or `instances`. One bad input refuses the whole request. A member of the JSON that "
            f"is null counts as absent. {_IMAGE_LIMITS}"
        ),
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "contentMediaType": "application/octet-stream"},
                        },
                        "user_id": _USER_ID_PART,
                        "metadata": _METADATA_PART,
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["instances"],
                    "additionalProperties": False,
                    "properties": {
                        "instances": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"oneOf": [_IMAGE_INSTANCE, _FEATURES_INSTANCE]},
                        },
                        **_BESIDE_INSTANCES,
                    },
                }
            },
        },
    }
}
"""`openapi_extra` of `POST /predictions`."""
