"""Where to upload an input that is too large for a request to the API, and under which id to have it predicted then."""

from datetime import UTC, datetime, timedelta
from functools import cache
from http import HTTPStatus
from typing import Literal, NamedTuple

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from functions.shared.api.app import create_app, create_handler
from functions.shared.api.auth import caller, owner
from functions.shared.api.documentation import problems
from functions.shared.api.negotiation import require_accepts
from functions.shared.api.problems import Problem
from functions.shared.execution_environment import on_lambda
from functions.shared.ledger.identifiers import new_id
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import Upload
from functions.shared.log import start_logging
from functions.shared.object_storage.bucket import Bucket, key_of
from functions.shared.settings import UploadSettings
from functions.upload.announcement import ONE_ANNOUNCEMENT, parse_announcement

router = APIRouter(tags=["predictions"])


class Environment(NamedTuple):
    """What an execution environment makes once and every event uses."""

    settings: UploadSettings
    ledger: Ledger
    uploads_bucket: Bucket | None


@cache
def environment() -> Environment:
    """Make the connection pool, the first time."""
    settings = UploadSettings.from_environment()
    start_logging(settings.log_level)
    return Environment(
        settings,
        Ledger.configured(settings),
        Bucket(settings.bucket_for_uploads) if settings.bucket_for_uploads else None,
    )


class UploadRequest(BaseModel):
    """A request to send, with the file as its body. Then `POST /prediction` takes `input_id` for the file."""

    input_id: str = Field(examples=["019ab5a4-2f7c-7e11-8a4b-3f0c5d6e7f80"])
    method: Literal["PUT"]
    url: str = Field(description="Needs no token: it says itself what may be uploaded, and until when.")
    headers: dict[str, str] = Field(description="To be sent as they are.")
    expires_at: datetime


@router.post(
    "/upload",
    status_code=HTTPStatus.CREATED,
    response_model=UploadRequest,
    responses=problems(400, 401, 403, 404, 406, 413, 415, 422, 503),
    openapi_extra=ONE_ANNOUNCEMENT,
)
async def upload(request: Request) -> Response:
    """Announce an image that is too large for a request to this API, and learn where to upload it."""
    require_accepts(request.headers.get("accept"))
    env = environment()
    subject = caller(request, required=env.settings.token_required)
    bucket = env.uploads_bucket
    if bucket is None:
        raise Problem(HTTPStatus.NOT_FOUND, "There are no uploads here: send the image itself to POST /prediction.")
    announced = parse_announcement(
        request.headers.get("content-type", ""), await request.body(), max_bytes=env.settings.max_upload_bytes
    )
    user_id = owner(announced.user_id, subject)

    input_id, seconds = new_id(), env.settings.upload_seconds
    key = key_of(user_id, input_id)
    expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
    presigned = bucket.presigned_put(
        key, contenttype=announced.contenttype, size=announced.size, sha256=announced.sha256, seconds=seconds
    )
    answer = UploadRequest(
        input_id=str(input_id), method="PUT", url=presigned.url, headers=presigned.headers, expires_at=expires_at
    )
    env.ledger.announce_upload(
        Upload(
            input_id=input_id,
            user_id=user_id,
            contenttype=announced.contenttype,
            filename=announced.filename,
            size=announced.size,
            sha256=announced.sha256,
            uri=bucket.uri(key),
        ),
        expires_at=expires_at,
    )
    headers = {"Cache-Control": "no-store"}  # whoever has the URL can use it
    return Response(answer.model_dump_json(), HTTPStatus.CREATED, headers, "application/json")


handler = create_handler(create_app(router))

if on_lambda():
    environment()
