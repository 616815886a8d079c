"""Read what a request to the protocol's routes says: who sends it, about which model, and its body."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from fastapi import Request

from functions.shared.api.auth import caller
from functions.shared.api.content_encoding import decompressed
from functions.shared.api.fields import (
    INFERENCE_ID_NAMES,
    check_inference_id,
    check_user_id,
    query_of,
    refuse_in_query,
)
from functions.shared.api.idempotency import idempotency_key
from functions.shared.api.negotiation import essence
from functions.shared.api.open_inference import require_model
from functions.shared.api.problems import Problem
from functions.shared.ledger.records import ModelIdentity

_TAKEN: Final = ("application/json", "application/octet-stream")


class Limits(NamedTuple):
    """Limits of one request: bytes of its body, once decompressed, and number of rows."""

    body_bytes: int
    rows: int


class Received(NamedTuple):
    """A request as it arrived.

    Attributes
    ----------
    body
        Decompressed.
    subject
        The user of the token; None if the API has no authorizer.
    key
        The `Idempotency-Key`.
    """

    body: bytes
    subject: str | None
    key: str | None


def receive(request: Request, body: bytes, *, served: ModelIdentity, token_required: bool, limits: Limits) -> Received:
    """Read a request. Its body is as it arrived.

    The protocol's clients send no content type, the one of binary or the one of JSON, whatever the body is: the header
    `Inference-Header-Content-Length` alone tells it.

    Raises
    ------
    Problem
        400 if the body is not in its encoding, 401 if a token is required and missing, 404 if the request is about
        another model, 413 if the body is too large, 415 if it is of another type or in another encoding, 422 if the
        query says what is read from the body.
    """
    subject = caller(request, required=token_required).user_id
    parameters = request.path_params
    require_model(parameters["name"], parameters.get("version"), (served.name, served.version))
    key = idempotency_key(request)
    refuse_in_query(query_of(request), ("user_id", *INFERENCE_ID_NAMES), "parameters, in the body")
    contenttype = essence(request.headers.get("content-type", ""))
    if contenttype and contenttype not in _TAKEN and not contenttype.endswith("+json"):
        detail = f"The body has the content type {contenttype[:100]!r}: send {' or '.join(_TAKEN)}."
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept-Post": ", ".join(_TAKEN)})
    if len(body) > limits.body_bytes:
        detail = f"The body is {len(body)} bytes long; at most {limits.body_bytes} are allowed."
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    body = decompressed(body, request.headers.get("content-encoding"), limit=limits.body_bytes)
    return Received(body, subject, key)


def named_inference_id(parameters: Mapping[str, Any]) -> str | None:
    """Return the caller's own id of a request's rows, if its parameters name one. Raises `Problem` if it is none."""
    given = [(f"/parameters/{name}", parameters.get(name)) for name in INFERENCE_ID_NAMES]
    return check_inference_id((pointer, value) for pointer, value in given if value is not None)


def named_user(parameters: Mapping[str, Any]) -> str | None:
    """Return the user that a request names in its parameters, if any. Raises `Problem` if it is no user id."""
    value = parameters.get("user_id")
    return None if value is None else check_user_id("/parameters/user_id", value)
