"""OpenAPI for the request bodies of `ground_truth`."""

from typing import Any, Final

from functions.ground_truth.many import CSV, JSON, LINES, MOST
from functions.ground_truth.query import UNMODIFIED_SINCE
from functions.ground_truth.truth import (
    MAX_COMMENT_LENGTH,
    MAX_LABEL_LENGTH,
    MAX_SOURCE_ID_LENGTH,
    MAX_VALUE_BYTES,
    MAX_VALUE_DEPTH,
    SOURCES,
)
from functions.shared.api.fields import MAX_INFERENCE_ID_LENGTH, or_null, text_schema

_Schema = dict[str, Any]

_NO_NUL: Final = "^[^\\x00]*$"
_LABEL: Final[_Schema] = {
    "type": "string",
    "maxLength": MAX_LABEL_LENGTH,
    "pattern": _NO_NUL,
    "description": "For a classification: the name of the class. A name that the model does not know is refused.",
    "examples": ["7"],
}
_VALUE: Final[_Schema] = {
    "type": ["number", "string", "boolean", "array", "object"],
    "items": {},
    "description": "For anything else: a number, or a list that is nested as the prediction is; for a detection, or a "
    f"model that takes tensors, any JSON. At most {MAX_VALUE_BYTES} bytes of JSON, {MAX_VALUE_DEPTH} levels deep.",
    "examples": [3.2],
}
_SAID: Final[dict[str, _Schema]] = {
    "source": {
        "type": ["string", "null"],
        "enum": [*SOURCES, None],
        "description": "Who or what knows the ground truth.",
        "examples": [SOURCES[0]],
    },
    "source_id": or_null(text_schema(MAX_SOURCE_ID_LENGTH, "reviewer-3"))
    | {"description": "Which one, in the caller's words."},
    "comment": {"type": ["string", "null"], "maxLength": MAX_COMMENT_LENGTH, "pattern": _NO_NUL},
}
_IDS: Final[dict[str, _Schema]] = {
    "prediction_id": {"type": "string", "format": "uuid", "description": "The id of a record."},
    "inference_id": text_schema(MAX_INFERENCE_ID_LENGTH, "order-17")
    | {"description": "The caller's own id. The ground truth applies to every prediction that has it."},
}


def _either(name: str, schemas: dict[str, _Schema]) -> dict[str, _Schema]:
    """Return the properties of an object that has the named member and none of the others."""
    return {other: schema if other == name else {"type": "null"} for other, schema in schemas.items()}


def _object(properties: dict[str, _Schema], *required: str) -> _Schema:
    return {"type": "object", "required": [*required], "additionalProperties": False, "properties": properties}


def _truths(*, named: bool) -> list[_Schema]:
    said = {"label": _LABEL, "value": _VALUE}
    of_one = [(_either(kind, said) | _SAID, kind) for kind in said]
    if not named:
        return [_object(*one) for one in of_one]
    return [_object(_either(name, _IDS) | properties, name, kind) for properties, kind in of_one for name in _IDS]


SCHEMAS: Final[dict[str, _Schema]] = {
    "GroundTruth": {"description": "What a prediction should have been.", "oneOf": _truths(named=False)},
    "NamedGroundTruth": {
        "description": "What a prediction should have been, with an id of the prediction.",
        "oneOf": _truths(named=True),
    },
    "GroundTruths": _object(
        {
            "items": {
                "type": "array",
                "minItems": 1,
                "maxItems": MOST,
                "items": {"$ref": "#/components/schemas/NamedGroundTruth"},
            }
        },
        "items",
    ),
}
"""The schemas of the bodies, which `python -m infra.openapi` adds."""

_AS_TEXT: Final = {
    LINES: f"One `NamedGroundTruth` a line, at most {MOST}.",
    CSV: f"A row that names the columns, which are members of `NamedGroundTruth`, then at most {MOST} rows. A value is "
    "JSON. An empty cell counts as absent.",
}


CONDITION: Final[_Schema] = {
    "parameters": [
        {
            "name": UNMODIFIED_SINCE,
            "in": "header",
            "description": "When it was said, where it is sent later: `Sun, 29 Nov 2026 12:00:00 GMT`. Nothing is kept "
            "if something else was said of a prediction since, and the answer is 412.",
            "schema": {"type": "string"},
        }
    ]
}
"""The header of whatever gives or withdraws a ground truth."""


def _body(content: dict[str, _Schema]) -> _Schema:
    return CONDITION | {"requestBody": {"required": True, "content": content}}


ONE_TRUTH: Final = _body({JSON: {"schema": {"$ref": "#/components/schemas/GroundTruth"}}})
MANY_TRUTHS: Final = _body(
    {
        JSON: {"schema": {"$ref": "#/components/schemas/GroundTruths"}},
        **{kind: {"schema": {"type": "string", "description": said}} for kind, said in _AS_TEXT.items()},
    }
)
