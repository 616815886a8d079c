"""Write the OpenAPI document that `describe` serves, from the routes of every function.

    python -m infra.openapi [--check]

`describe` cannot build it at run time: importing the other functions' routes would load the inference runtime.
"""

import json
import sys
from typing import Any

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from functions.delete_predictions import handler as delete_predictions
from functions.describe import handler as describe
from functions.describe import health, openapi_document, pages
from functions.get_prediction import handler as get_prediction
from functions.ground_truth import documentation as truths
from functions.ground_truth import handler as ground_truth
from functions.infer import documentation as inference
from functions.infer import handler as infer
from functions.list_predictions import handler as list_predictions
from functions.predict import handler as predict
from functions.predict.documentation import SCHEMAS
from functions.shared.api.app import TITLE, VERSION, create_app
from functions.shared.api.documentation import SCHEME, SECURITY_SCHEMES, ProblemDocument
from functions.shared.api.open_inference import OpenInferenceError
from functions.shared.api.representations import NamedTensor
from functions.statistics import handler as statistics
from functions.upload import handler as upload
from functions.upload.announcement import Announcement

DOCUMENT = openapi_document.PATH


def build() -> dict[str, Any]:
    """Return one OpenAPI 3.1 document for the routes of all functions."""
    functions = (predict, upload, list_predictions, get_prediction, delete_predictions, ground_truth, statistics)
    others = (describe, health, pages, infer)
    app = create_app(*(function.router for function in (*functions, *others)), describe.open_inference)
    document = get_openapi(
        title=TITLE,
        version=VERSION,
        openapi_version="3.1.0",
        summary="An answered prediction is a stored prediction.",
        routes=app.routes,
    )
    schemas = document["components"]["schemas"]
    # FastAPI adds its own validation error to every route, but our routes answer with a problem document.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    # FastAPI cannot see the problem document, nor what a route parses or chooses itself, so add their schemas here.
    _, definitions = models_json_schema(
        [(model, "validation") for model in (ProblemDocument, OpenInferenceError, Announcement, NamedTensor)],
        ref_template="#/components/schemas/{model}",
    )
    schemas.update(definitions["$defs"])
    schemas.update(SCHEMAS | inference.SCHEMAS | truths.SCHEMAS)
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    document["components"]["securitySchemes"] = SECURITY_SCHEMES
    names = {
        (route.path_format, method): route.name
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            operation["operationId"] = names[path, method.upper()]  # what generators call the function
            # A route that answers 401 asks for a token. One that says nothing of it is open.
            operation.setdefault("security", [{SCHEME: []}] if "401" in operation["responses"] else [])
    return document


def main(arguments: list[str]) -> int:
    """Write the document, or with `--check` only say whether the committed one is up to date."""
    text = json.dumps(build(), indent=2, ensure_ascii=False) + "\n"
    if "--check" in arguments:
        if DOCUMENT.is_file() and DOCUMENT.read_text("utf-8") == text:
            return 0
        print(f"{DOCUMENT.name} is stale: run `make openapi` and commit it", file=sys.stderr)
        return 1
    DOCUMENT.write_text(text, "utf-8")
    print(f"wrote {len(document_paths(text))} paths to {DOCUMENT.name}")
    return 0


def document_paths(text: str) -> list[str]:
    """Return the paths of an OpenAPI document."""
    return list(json.loads(text)["paths"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
