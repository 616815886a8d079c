"""One prediction with its input, or the input alone, as it was uploaded."""

from base64 import b64encode
from functools import cache
from json import loads
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response

from functions.shared.api.app import create_app, create_handler, on_lambda
from functions.shared.api.auth import caller
from functions.shared.api.documentation import problems
from functions.shared.api.negotiation import require_accepts
from functions.shared.api.representations import PredictionWithInput, members
from functions.shared.api.settings import FunctionSettings
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import StoredInput

router = APIRouter()

PredictionId = Annotated[UUID, Path(description="The `prediction_id` of a record.")]


@cache
def settings() -> FunctionSettings:
    """Read the settings, the first time."""
    return FunctionSettings.from_environment()


@cache
def ledger() -> Ledger:
    """Make the connection pool, the first time."""
    return Ledger.at(settings().database_url)


@router.get(
    "/prediction/{prediction_id}",
    response_model=PredictionWithInput,
    response_model_exclude_unset=True,
    responses=problems(401, 404, 406, 422, 503),
    tags=["predictions"],
)
async def get_prediction(request: Request, prediction_id: PredictionId) -> PredictionWithInput:
    """One record with its input: `image`, a base64 data URI of the original bytes, or `features`."""
    require_accepts(request.headers.get("accept"))
    subject = caller(request, required=settings().token_required)
    record, stored = ledger().get(prediction_id, user_id=subject)
    return PredictionWithInput.model_construct(**members(record), **_input_members(stored))


def _input_members(stored: StoredInput) -> dict[str, Any]:
    if stored.features is not None:
        return {"features": loads(stored.features)}
    return {"image": f"data:{stored.contenttype};base64,{b64encode(stored.content or b'').decode()}"}


@router.get(
    "/prediction/{prediction_id}/input",
    response_class=Response,
    responses={
        200: {"description": "The input as it was uploaded.", "content": {"*/*": {}}},
        **problems(401, 404, 422, 503),
    },
    tags=["predictions"],
)
async def get_input(request: Request, prediction_id: PredictionId) -> Response:
    """The input as it was uploaded: the same bytes, the same content type."""
    subject = caller(request, required=settings().token_required)
    stored = ledger().get_input(prediction_id, user_id=subject)
    headers = {
        # A stored input is somebody else's bytes: a browser must take it for what it says it is, and run none of it.
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, max-age=31536000, immutable",
        "ETag": f'"{stored.sha256}"',
    }
    if stored.filename is not None:
        headers["Content-Disposition"] = f"inline; filename*=UTF-8''{quote(stored.filename, safe='')}"  # RFC 6266
    content = stored.features.encode() if stored.features is not None else stored.content
    return Response(content, headers=headers, media_type=stored.contenttype)


handler = create_handler(create_app(router))

if on_lambda():
    ledger()
