"""The parts of the OpenAPI document that FastAPI cannot derive from types."""

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from functions.shared.api.problems import CONTENT_TYPE


class ErrorPointer(BaseModel):
    """One of several errors."""

    model_config = ConfigDict(defer_build=True)  # only the OpenAPI document needs it

    pointer: str = Field(description="A JSON pointer (RFC 6901) into what was sent.", examples=["/features/2"])
    detail: str


class ProblemDocument(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(defer_build=True)

    type: str = Field(examples=["about:blank"])
    title: str
    status: int
    detail: str = Field(description="What is wrong, and what would be right.")
    errors: list[ErrorPointer] | None = None


_WHEN: dict[int, str] = {
    400: "Malformed: broken JSON or multipart, no file, no features, an image that cannot be decoded.",
    401: "No valid token, where the API has an authorizer.",
    403: "The request names another user than its token does.",
    404: "No such prediction or upload, or one that belongs to somebody else.",
    406: "`Accept` does not admit what the route answers.",
    413: "The body, or the image once decoded, is over the limit, which the answer names.",
    415: "A content type that this model does not take; the answer names those it does.",
    422: "Well-formed, but not what is taken: the answer says where and why.",
    503: "The database, S3 or the queue cannot be reached: nothing was stored. `Retry-After` says when to come back.",
}


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
