"""Give out the URL to upload a large input to, and the id to predict it by."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from functions.shared.api.app import create_app, create_handler
from functions.shared.api.auth import caller, owner
from functions.shared.api.content_encoding import decompressed
from functions.shared.api.documentation import problems
from functions.shared.api.fields import query_of, refuse_in_query
from functions.shared.api.negotiation import require_accepts
from functions.shared.api.problems import Problem, unavailable
from functions.shared.execution_environment import on_lambda
from functions.shared.inference.errors import InferenceError
from functions.shared.inference.location import resolve
from functions.shared.inference.package import takes_images
from functions.shared.ledger.identifiers import new_id
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.quotas import Quotas
from functions.shared.ledger.records import Upload
from functions.shared.log import logger, start_logging
from functions.shared.object_storage.bucket import Bucket, key_of
from functions.shared.settings import UploadSettings
from functions.upload.announcement import (
    MAX_BODY_BYTES,
    ONE_ANNOUNCEMENT,
    Announcement,
    UploadRequest,
    parse_announcement,
)

router = APIRouter(tags=["predictions"])


@dataclass(frozen=True)
class Environment:
    """What an execution environment creates once, for all its events."""

    settings: UploadSettings
    ledger: Ledger
    uploads_bucket: Bucket | None

    @cached_property
    def takes_images(self) -> bool:
        """Whether the model takes images, read on the first call. If that fails, the next request tries again."""
        return takes_images(resolve(self.settings.model))


@cache
def environment() -> Environment:
    """Create the connection pool, on the first call."""
    settings = UploadSettings.from_environment()
    start_logging(settings.log_level)
    return Environment(
        settings,
        Ledger.configured(settings, quotas=Quotas.of(open_uploads=settings.quota_open_uploads)),
        Bucket(settings.bucket_for_uploads) if settings.bucket_for_uploads else None,
    )


@router.post(
    "/upload",
    status_code=HTTPStatus.CREATED,
    response_model=UploadRequest,
    responses=problems(400, 401, 403, 404, 406, 413, 415, 422, 429, 503),
    openapi_extra=ONE_ANNOUNCEMENT,
)
async def upload(request: Request) -> Response:
    """Announce an image that is too large for a request to this API, and get the URL to upload it to."""
    require_accepts(request.headers.get("accept"))
    env = environment()
    subject = caller(request, required=env.settings.token_required).user_id
    bucket = env.uploads_bucket
    if bucket is None:
        raise Problem(HTTPStatus.NOT_FOUND, "Uploads are off: send the image itself to POST /prediction.")
    _require_images(env)
    refuse_in_query(query_of(request), Announcement.model_fields, "the body, as a member of JSON")
    encoding = request.headers.get("content-encoding")
    body = decompressed(await request.body(), encoding, limit=MAX_BODY_BYTES)
    announced = parse_announcement(
        request.headers.get("content-type", ""), body, max_bytes=env.settings.max_upload_bytes
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
    headers = {"Cache-Control": "no-store"}  # anyone with the URL can use it
    return Response(answer.model_dump_json(), HTTPStatus.CREATED, headers, "application/json")


def _require_images(env: Environment) -> None:
    """Refuse every upload where the model takes no images: nothing could predict it."""
    try:
        taken = env.takes_images
    except InferenceError as error:
        logger.error("the model cannot be read", reason=str(error))
        raise unavailable("The model cannot be read.") from error
    if not taken:
        detail = "This model takes no images: send what it takes to POST /prediction, as application/json."
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)


handler = create_handler(create_app(router), environment)

if on_lambda():
    environment()
