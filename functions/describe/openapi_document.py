"""The OpenAPI document of this deployment: what its own model takes, and whether it asks for a token."""

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from functions.shared.inference.feature_input import FeatureColumn, FeatureInput
from functions.shared.inference.onnx_file import Dimension
from functions.shared.inference.package import ModelPackage
from functions.shared.inference.tensor_input import TensorInput

PATH: Final = Path(__file__).with_name("openapi.json")
"""The document of the project, which shows every form of input. `python -m infra.openapi` writes it."""

_Json = dict[str, Any]

_FORMS: Final[dict[str, frozenset[str]]] = {
    "image": frozenset(
        {"Announcement", "ImageForm", "ImageInput", "ImageInstance", "ImagesForm", "UploadedInput", "UploadRequest"}
    ),
    "features": frozenset({"Features", "FeaturesInput", "FeaturesInstance"}),
    "tensors": frozenset({"Tensors", "TensorsInput", "TensorsInstance"}),
}
"""The schemas of one form of input, by what a model takes."""

_ALIKE: Final = ("/v1/", "/v2/")
"""Where paths begin that take the tensors of every model."""


def openapi_document(package: ModelPackage | None, *, token_required: bool) -> _Json:
    """Return the document.

    Parameters
    ----------
    package
        The served model. None if it cannot be read: then the document shows every form of input.
    token_required
        Whether the deployment has an authorizer. If not, the document names no token: nobody could give one.
    """
    document: _Json = json.loads(_text())
    if not token_required:
        del document["components"]["securitySchemes"]
        for operations in document["paths"].values():
            for operation in operations.values():
                del operation["security"]
    else:
        # The user is the token's. A client that named one could only be refused.
        for schema in document["components"]["schemas"].values():
            if schema.get("additionalProperties") is False:  # a request's
                schema["properties"].pop("user_id", None)
    if package is not None:
        document["info"]["description"] = f"Serves {package.name}, version {package.version}: {package.task}."
        _keep_one_form(document, package)
    return document


@cache
def _text() -> str:
    return PATH.read_text("utf-8")


def _keep_one_form(document: _Json, package: ModelPackage) -> None:
    others = frozenset[str]().union(*(names for takes, names in _FORMS.items() if takes != package.takes))
    schemas = document["components"]["schemas"]
    for name in others:
        del schemas[name]
    instances = schemas["Instances"]["properties"]["instances"]
    instances["items"] = _taken(instances["items"], others)
    if isinstance(package.input, FeatureInput):
        schemas["Features"] |= _features(package.input)
    if isinstance(package.input, TensorInput):
        schemas["Tensors"] |= _tensors(package.input)
    for path, operations in list(document["paths"].items()):
        for method, operation in list(operations.items()):
            if "requestBody" not in operation or path.startswith(_ALIKE) or path.endswith("/ground_truth"):
                continue
            content = operation["requestBody"]["content"]
            schemas_taken = {kind: _taken(media["schema"], others) for kind, media in content.items()}
            operation["requestBody"]["content"] = {
                kind: {"schema": schema} for kind, schema in schemas_taken.items() if schema is not None
            }
            if not operation["requestBody"]["content"]:
                del operations[method]
        if not operations:
            del document["paths"][path]


def _taken(schema: _Json, others: frozenset[str]) -> _Json | None:
    """Return what is left of a body's schema without other forms of input, or None if that is nothing."""
    if "oneOf" in schema:
        left = [one for one in schema["oneOf"] if _taken(one, others) is not None]
        return {"oneOf": left} if len(left) > 1 else next(iter(left), None)
    if schema.get("format") == "binary":  # the bytes of an image
        return None if "ImageForm" in others else schema
    return None if schema["$ref"].rpartition("/")[2] in others else schema


def _features(wanted: FeatureInput) -> _Json:
    """Return the schema of one row: as many features as the model has, by their names if they have any."""
    if wanted.columns is None:
        return {}
    types = [_types(column.dtype, missing=wanted.missing) for column in wanted.columns]
    row = _list(_value(frozenset().union(*types)), len(types))
    if wanted.names is None:
        return {"oneOf": [row]}
    return {"oneOf": [row, _by_name({name: _value(of) for name, of in zip(wanted.names, types, strict=True)})]}


def _tensors(wanted: TensorInput) -> _Json:
    """Return the schema of one example: a value, or nested lists of the lengths that are fixed, for each input."""
    properties = {}
    for one in wanted.tensors:
        schema = _value(_types(one.dtype, missing=wanted.missing))
        for length in reversed(one.shape):
            schema = _list(schema, length)
        properties[one.name] = schema
    return _by_name(properties, optional=frozenset(one.name for one in wanted.tensors if one.optional))


def _types(dtype: str, *, missing: bool) -> frozenset[str]:
    """Return the types in JSON of a value."""
    own = FeatureColumn(None, dtype).type
    return frozenset({own, "null"} if missing and own == "number" else {own})


def _value(types: frozenset[str]) -> _Json:
    return {"type": next(iter(types)) if len(types) == 1 else sorted(types)}


def _list(items: _Json, length: Dimension) -> _Json:
    bounds = {"minItems": length, "maxItems": length} if isinstance(length, int) else {}
    return {"type": "array", "items": items, **bounds}


def _by_name(properties: dict[str, _Json], *, optional: frozenset[str] = frozenset()) -> _Json:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "additionalProperties": False, "properties": properties}
