"""Return one prediction with its input; or its input, or a large output, alone, byte for byte."""

from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from functions.get_prediction import output
from functions.get_prediction.byte_range import asked_part, content_range
from functions.get_prediction.environment import PredictionId, environment
from functions.shared.api.app import MAX_RESPONSE_BYTES, create_app, create_handler
from functions.shared.api.auth import caller, find_readable
from functions.shared.api.documentation import problems, with_scope
from functions.shared.api.negotiation import require_accepts
from functions.shared.api.open_inference import HEADER_LENGTH
from functions.shared.api.representations import PredictionWithInput, record_json
from functions.shared.api.scopes import Scope
from functions.shared.execution_environment import on_lambda

router = APIRouter()

# The bytes come from a caller. Without these headers a browser might run them as a page of this API.
_NO_PAGE: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}


@router.get(
    "/prediction/{prediction_id}",
    response_model=PredictionWithInput,
    responses=problems(401, 404, 406, 422, 503),
    tags=["predictions"],
    openapi_extra=with_scope(Scope.READ_ALL),
)
async def get_prediction(request: Request, prediction_id: PredictionId) -> Response:
    """One record with its input.

    The input is `features`, or `image`, a base64 data URI of the original bytes. A large input has an `input_url`
    instead.
    """
    require_accepts(request.headers.get("accept"))
    env = environment()
    reader = caller(request, required=env.token_required)
    record, stored = find_readable(
        reader, prediction_id, lambda user_id: env.ledger.get(prediction_id, user_id=user_id)
    )
    own = record_json(record)
    part = env.inputs.member(prediction_id, stored, room=MAX_RESPONSE_BYTES - len(own))
    return Response(own[:-1] + b"," + part + b"}", media_type="application/json")


@router.get(
    "/prediction/{prediction_id}/input",
    response_class=Response,
    responses={
        200: {"description": "The input as it was sent.", "content": {"*/*": {}}},
        206: {"description": "A part of the bytes, at most 4.4 MB.", "content": {"*/*": {}}},
        304: {"description": "The input is the one of the `ETag` in `If-None-Match`."},
        307: {
            "description": "The input is too large for the answer. `Location` serves it for a minute.",
            "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
        },
        **problems(401, 404, 416, 422, 503),
    },
    tags=["predictions"],
    openapi_extra=with_scope(Scope.READ_ALL),
)
async def get_input(request: Request, prediction_id: PredictionId) -> Response:
    """The input as it was sent: the same bytes, the same content type.

    A large input is answered with a redirect. `Range` gets one part after another instead, from this API alone.
    """
    env = environment()
    reader = caller(request, required=env.token_required)
    stored = find_readable(reader, prediction_id, lambda user_id: env.ledger.get_input(prediction_id, user_id=user_id))
    # A browser keeps the bytes, but asks before it shows them: they may have been deleted.
    cached = {"Cache-Control": "private, no-cache", "ETag": f'"{stored.sha256}"', **_NO_PAGE}
    if cached["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=cached)
    part = asked_part(request.headers, cached["ETag"], stored.size, "input")
    # An inference request in binary can be read with the length of its JSON alone.
    length = {} if stored.header_length is None else {HEADER_LENGTH: str(stored.header_length)}
    if part is None and (url := env.inputs.presigned_url(prediction_id, stored)) is not None:
        headers = {"Location": url, "Cache-Control": "no-store", **_NO_PAGE, **length}
        return Response(status_code=HTTPStatus.TEMPORARY_REDIRECT, headers=headers)
    headers = {"Accept-Ranges": "bytes", **cached, **length}
    if stored.filename is not None:
        headers["Content-Disposition"] = f"inline; filename*=UTF-8''{quote(stored.filename, safe='')}"  # RFC 6266
    content = env.inputs.content(stored)
    if part is None:
        return Response(content, headers=headers, media_type=stored.contenttype)
    headers |= content_range(part, stored.size)
    content = content[part.start : part.stop]
    return Response(content, HTTPStatus.PARTIAL_CONTENT, headers, stored.contenttype)


router.routes.extend(output.router.routes)

handler = create_handler(create_app(router), environment)

if on_lambda():
    environment()
