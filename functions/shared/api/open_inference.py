"""What the routes of the Open Inference Protocol have in common: their errors, and the name of the model."""

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from functions.shared.api.problems import CONTENT_TYPE, Problem

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
"""The header that says how many bytes of a body are JSON. Without it, all are."""

_BELOW: Final = ("/v1/", "/v2/")


class OpenInferenceError(BaseModel):
    """An error of the Open Inference Protocol."""

    model_config = ConfigDict(defer_build=True)  # only the OpenAPI document needs it

    error: str = Field(description="What is wrong, and what would be right.")


def answer_in_protocol(app: FastAPI) -> FastAPI:
    """Make `app` answer errors below /v1 and /v2 as the protocol's clients read them: `{"error": "…"}`.

    Their clients show the text, and nothing else. They take 400 for a request that is well-formed but not valid.
    """
    for kind, handler in app.exception_handlers.items():
        app.exception_handlers[kind] = _in_protocol(handler)
    return app


def _in_protocol(handler: Callable[..., Any]) -> Callable[[Request, Any], Awaitable[Response]]:
    async def answer(request: Request, error: Any) -> Response:  # noqa: ANN401 - whatever `handler` answers
        response: Response = await handler(request, error)
        path = request.scope["path"]
        if not (path.startswith(_BELOW) or path == "/v2") or response.headers.get("content-type") != CONTENT_TYPE:
            return response
        problem = json.loads(bytes(response.body))
        status = HTTPStatus(problem["status"])
        if status is HTTPStatus.UNPROCESSABLE_ENTITY:
            status = HTTPStatus.BAD_REQUEST
        others = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        return Response(error_body(problem["detail"]), status, others, "application/json")

    return answer


def error_body(detail: str) -> bytes:
    """Return an error of the protocol (Open Inference Protocol, "Inference Response JSON Error Object")."""
    return json.dumps({"error": detail}).encode()


def require_model(name: str, version: str | None, served: tuple[str, str]) -> None:
    """Refuse a request for another model than the served one.

    Parameters
    ----------
    name, version
        What is asked for. Without a version, any is right.
    served
        Name and version of the served model.

    Raises
    ------
    Problem
        404. The text begins as that of Triton, for which clients look.
    """
    if name != served[0]:
        detail = f"Request for unknown model: {name[:100]!r} is not found, this service serves {served[0]!r}."
    elif version not in (None, served[1]):
        detail = f"Request for unknown model: {name!r} has no version {version[:100]!r}, it has {served[1]!r}."
    else:
        return
    raise Problem(HTTPStatus.NOT_FOUND, detail)


_WHEN: Final = {
    400: "The request is not one of the protocol, or not what the model takes.",
    401: "The API has an authorizer, and the request has no valid token.",
    403: "The request names a user other than the token's.",
    404: "There is no such model, or no such version of it.",
    409: "The Idempotency-Key was used before, and the outputs made now are not the stored ones.",
    413: "The body, the number of rows or the answer exceeds the limit that the answer names.",
    415: "The body has another content type or encoding than those that the answer names.",
    429: "The user would have more than a quota of this deployment allows. `Retry-After` says when to retry.",
    503: "The database, S3 or the model cannot be reached, or it took too long. `Retry-After` says when to retry.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return a route's `responses` for its errors."""
    schema = {"$ref": f"#/components/schemas/{OpenInferenceError.__name__}"}
    return {
        status: {
            "description": f"{HTTPStatus(status).phrase}. {_WHEN[status]}",
            "content": {"application/json": {"schema": schema}},
        }
        for status in statuses
    }


def _parameter(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": {"type": "string"}}


MODEL: Final[dict[str, Any]] = {"parameters": [_parameter("name", "The model's name, as `GET /model` has it.")]}
"""`openapi_extra` of a route of the model."""

VERSION: Final[dict[str, Any]] = {"parameters": [*MODEL["parameters"], _parameter("version", "The model's version.")]}
"""`openapi_extra` of a route of a version of the model."""
