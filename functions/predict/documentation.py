"""The request bodies of `predict`, which FastAPI cannot read from a type: one route takes several content types."""

from typing import Any, Final

from functions.shared.inference.content_types import SUPPORTED_CONTENT_TYPES

_USER_ID = {"type": "string", "maxLength": 255, "default": "anonymous"}
_METADATA = {"type": "object", "description": "Kept with the record, unchanged."}

_IMAGE_INSTANCE: dict[str, Any] = {
    "type": "object",
    "title": "ImageInput",
    "required": ["image"],
    "additionalProperties": False,
    "properties": {
        "image": {
            "type": "string",
            "description": "A base64 data URI.",
            "examples": ["data:image/png;base64,iVBORw0KGgo="],
        },
        "filename": {"type": "string", "maxLength": 255},
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
            "oneOf": [{"type": "array", "items": {}}, {"type": "object", "additionalProperties": {}}],
        },
        "metadata": _METADATA,
    },
}


def _with_user(instance: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an instance that is a request's only one, and says whose it is."""
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
            "description": "As `POST /upload` answered, once the image is uploaded.",
        },
        "user_id": _USER_ID,
        "metadata": _METADATA,
    },
}

_BESIDE_INSTANCES = {"user_id": _USER_ID, "metadata": _METADATA}

LOCATION: Final[dict[str, Any]] = {"Location": {"description": "The record's path.", "schema": {"type": "string"}}}
"""The headers of an answer that is about one record."""

IDEMPOTENCY: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "The same key, user and input answer what they did the first time, and store nothing more.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        }
    ]
}
"""`openapi_extra` of the routes that store something."""

PREFER: Final[dict[str, Any]] = {
    "name": "Prefer",
    "in": "header",
    "description": "`respond-async` asks for an answer at once, before the prediction is made (RFC 7240).",
    "schema": {"type": "string", "examples": ["respond-async"]},
}
"""The parameter of the route that may answer 202."""

ONE_INPUT: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "Which of these a deployment takes follows from its model: `GET /model` says.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "contentMediaType": "application/octet-stream"},
                        "user_id": _USER_ID,
                        "metadata": {"type": "string", "contentMediaType": "application/json"},
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
        "description": "Several parts `file`, or `instances`. One bad input refuses them all.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "array", "items": {"contentMediaType": "application/octet-stream"}},
                        "user_id": _USER_ID,
                        "metadata": {"type": "string", "contentMediaType": "application/json"},
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
