"""The parts of the OpenAPI document that FastAPI cannot derive from types."""

from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from functions.shared.api.problems import CONTENT_TYPE
from functions.shared.api.scopes import RESOURCE_SERVER, Scope


class ErrorPointer(BaseModel):
    """One error, and where it is."""

    model_config = ConfigDict(defer_build=True)  # only the OpenAPI document needs it

    line: int | None = Field(default=None, description="The line that it points into, from 1, if the body has lines.")
    pointer: str = Field(description="A JSON pointer (RFC 6901) into the request.", examples=["/features/2"])
    detail: str


class ProblemDocument(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(defer_build=True)

    type: str = Field(examples=["about:blank"])
    title: str
    status: int
    detail: str = Field(description="What is wrong, and what would be right.")
    errors: list[ErrorPointer] | None = None


_WHEN: dict[int, str] = {
    400: "The request is malformed: broken JSON or multipart, no input, or an image that cannot be decoded.",
    401: "The API has an authorizer, and the request has no valid token.",
    403: "The request names a user other than the token's.",
    404: "There is no such prediction, upload, model or version, or it belongs to another user.",
    406: "`Accept` does not admit the content type of the answer.",
    412: "Something else was said of a prediction since the time in `If-Unmodified-Since`.",
    413: "The body, or the decoded image, exceeds the limit that the answer names.",
    415: "The model does not take this content type. The answer names the ones it takes.",
    416: "There are no bytes in the `Range`. `Content-Range` says how many there are.",
    422: "The request is well-formed but not valid. The answer says where and why.",
    429: "The user would have more than a quota of this deployment allows. `Retry-After` says when to retry.",
    503: (
        "The database, S3 or the queue cannot be reached, or the model took too long. `Retry-After` says when to retry."
    ),
}


SCHEME: Final = "Token"
"""The name of the security scheme, as in template.yaml."""

SECURITY_SCHEMES: Final[dict[str, Any]] = {
    SCHEME: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": (
            "An access token of the deployment's OpenID Connect issuer. It applies only where the deployment has an "
            "authorizer: then each user sees their own records, and a scope widens what the token permits. A local "
            "server asks for none unless it runs with `AUTH=on`. Scopes, bare or with "
            f"`{RESOURCE_SERVER}/` before them: "
            f"`{Scope.READ_ALL}` (list and read everybody's records), "
            f"`{Scope.DELETE_ALL}` (delete everybody's records), "
            f"`{Scope.WRITE_GROUND_TRUTH}` (say what became of them)."
        ),
    }
}


def with_scope(scope: Scope) -> dict[str, Any]:
    """Return a route's `openapi_extra` that says what a scope widens: any token is enough for one's own records."""
    return {"security": [{SCHEME: []}, {SCHEME: [scope.value]}]}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return a route's `responses` for its problem documents."""
    schema = {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}
    return {
        status: {
            "description": f"{HTTPStatus(status).phrase}. {_WHEN[status]}",
            "content": {CONTENT_TYPE: {"schema": schema}},
        }
        for status in statuses
    }
