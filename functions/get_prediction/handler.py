"""One prediction with its input, or the input alone, as it was uploaded."""

from base64 import b64encode
from functools import cache
from http import HTTPStatus
from json import loads
from typing import Annotated, Any, Final
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from pydantic_core import to_json

from functions.shared.api.app import create_app, create_handler
from functions.shared.api.auth import caller
from functions.shared.api.documentation import problems
from functions.shared.api.negotiation import require_accepts
from functions.shared.api.representations import PredictionWithInput, members
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import PredictionRecord, StoredInput
from functions.shared.ledger.secret import resolve_database_url
from functions.shared.object_storage.bucket import NewObject, ObjectStore, key_of
from functions.shared.object_storage.errors import ObjectStoreUnavailableError
from functions.shared.settings import GetSettings, on_lambda

MAX_INPUT_BYTES: Final = 4_400_000
"""The largest input, in bytes, that an answer holds: Lambda gives back 6 MB, in base64."""

REDIRECT_SECONDS: Final = 60
"""How long the URL can be used that a larger one is found at."""

router = APIRouter()

PredictionId = Annotated[UUID, Path(description="The `prediction_id` of a record.")]


@cache
def settings() -> GetSettings:
    """Read the settings, the first time."""
    return GetSettings.from_environment()


@cache
def ledger() -> Ledger:
    """Make the connection pool, the first time."""
    return Ledger.at(resolve_database_url(settings().database_url, settings().database_secret_arn))


@cache
def objects() -> ObjectStore | None:
    """Where inputs are that are not in the ledger; None where all are."""
    bucket = settings().inputs_bucket
    return ObjectStore(bucket) if bucket else None


@cache
def uploads() -> ObjectStore | None:
    """Where callers upload to; None where they cannot."""
    bucket = settings().bucket_for_uploads
    return ObjectStore(bucket) if bucket else None


@router.get(
    "/prediction/{prediction_id}",
    response_model=PredictionWithInput,
    responses=problems(401, 404, 406, 422, 503),
    tags=["predictions"],
)
async def get_prediction(request: Request, prediction_id: PredictionId) -> Response:
    """One record with its input.

    `image` is a base64 data URI of the original bytes, and a large image has an `input_url` instead. Or there are
    `features`.
    """
    require_accepts(request.headers.get("accept"))
    subject = caller(request, required=settings().token_required)
    record, stored = ledger().get(prediction_id, user_id=subject)
    return Response(to_json(members(record) | _input_members(record, stored)), media_type="application/json")


def _input_members(record: PredictionRecord, stored: StoredInput) -> dict[str, Any]:
    if stored.features is not None:
        return {"features": loads(stored.features)}
    if stored.size > settings().max_inline_bytes:
        return {"input_url": f"/prediction/{record.prediction_id}/input"}
    return {"image": f"data:{stored.contenttype};base64,{b64encode(_content(stored)).decode()}"}


def _content(stored: StoredInput) -> bytes:
    if stored.features is not None:
        return stored.features.encode()
    if stored.content is not None:
        return stored.content
    store, key = _place(stored.uri or "")
    return store.get(key)


def _place(uri: str) -> tuple[ObjectStore, str]:
    store = objects()
    if store is None:
        raise ObjectStoreUnavailableError("INPUTS_BUCKET is not set")
    return store, store.key(uri)


@router.get(
    "/prediction/{prediction_id}/input",
    response_class=Response,
    responses={
        200: {"description": "The input as it was uploaded.", "content": {"*/*": {}}},
        307: {
            "description": "The input is too large to be part of the answer, and is at `Location`, for a minute.",
            "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
        },
        **problems(401, 404, 422, 503),
    },
    tags=["predictions"],
)
async def get_input(request: Request, prediction_id: PredictionId) -> Response:
    """The input as it was uploaded: the same bytes, the same content type. A large one is a redirect away."""
    subject = caller(request, required=settings().token_required)
    stored = ledger().get_input(prediction_id, user_id=subject)
    if (url := _elsewhere(prediction_id, stored)) is not None:
        return Response(
            status_code=HTTPStatus.TEMPORARY_REDIRECT, headers={"Location": url, "Cache-Control": "no-store"}
        )
    headers = {
        # A stored input is somebody else's bytes: a browser must take it for what it says it is, and run none of it.
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, max-age=31536000, immutable",
        "ETag": f'"{stored.sha256}"',
    }
    if stored.filename is not None:
        headers["Content-Disposition"] = f"inline; filename*=UTF-8''{quote(stored.filename, safe='')}"  # RFC 6266
    return Response(_content(stored), headers=headers, media_type=stored.contenttype)


def _elsewhere(prediction_id: UUID, stored: StoredInput) -> str | None:
    """Return a URL to read a large input from; None for one that the answer has room for."""
    if stored.size <= MAX_INPUT_BYTES:
        return None
    if stored.uri is not None:
        store, key = _place(stored.uri)
        return store.presigned_get(key, seconds=REDIRECT_SECONDS)
    lent = uploads()
    if lent is None or stored.content is None:
        return None
    # The ledger has it, and Lambda cannot hand it over. So it is lent where it was uploaded to, for as long as
    # `python -m infra.inputs reconcile` leaves objects there that are nobody's input.
    record, _ = ledger().get(prediction_id)
    key = key_of(record.user_id, record.input_id)
    if not lent.has(key):
        lent.put([NewObject(key, stored.content, stored.contenttype, bytes.fromhex(stored.sha256))])
    return lent.presigned_get(key, seconds=REDIRECT_SECONDS)


handler = create_handler(create_app(router))

if on_lambda():
    ledger()
