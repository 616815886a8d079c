"""Where to upload an input that is too large for a request to the API, and under which id to have it predicted then."""

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from http import HTTPStatus
from typing import Any, Final, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from functions.shared.api.app import create_app, create_handler
from functions.shared.api.auth import caller, require_own
from functions.shared.api.documentation import problems
from functions.shared.api.fields import (
    ANONYMOUS,
    MAX_FILENAME_LENGTH,
    MAX_USER_ID_LENGTH,
    check_filename,
    check_user_id,
)
from functions.shared.api.negotiation import require_accepts
from functions.shared.api.problems import Problem
from functions.shared.inference.content_types import SUPPORTED_CONTENT_TYPES
from functions.shared.ledger.identifiers import new_id
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import Upload
from functions.shared.ledger.secret import resolve_database_url
from functions.shared.object_storage.bucket import ObjectStore, key_of
from functions.shared.settings import UploadSettings, on_lambda

router = APIRouter(tags=["predictions"])

_MEMBERS: Final = ("contenttype", "size", "filename", "sha256", "user_id")
_SHA256_BYTES: Final = 32

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "title": "Announcement",
                    "required": ["contenttype", "size"],
                    "additionalProperties": False,
                    "properties": {
                        "contenttype": {"type": "string", "enum": list(SUPPORTED_CONTENT_TYPES)},
                        "size": {"type": "integer", "minimum": 1, "description": "Bytes.", "examples": [8_000_000]},
                        "filename": {"type": "string", "maxLength": MAX_FILENAME_LENGTH},
                        "sha256": {
                            "type": "string",
                            "pattern": "^[0-9a-fA-F]{64}$",
                            "description": "Nothing else can be uploaded then.",
                        },
                        "user_id": {"type": "string", "maxLength": MAX_USER_ID_LENGTH, "default": ANONYMOUS},
                    },
                }
            }
        },
    }
}


class UploadRequest(BaseModel):
    """A request to send, with the file as its body. Then `POST /prediction` takes `input_id` for the file."""

    input_id: str = Field(examples=["019ab5a4-2f7c-7e11-8a4b-3f0c5d6e7f80"])
    method: Literal["PUT"]
    url: str = Field(description="Needs no token: it says itself what may be uploaded, and until when.")
    headers: dict[str, str] = Field(description="To be sent as they are.")
    expires_at: datetime


@cache
def settings() -> UploadSettings:
    """Read the settings, the first time."""
    return UploadSettings.from_environment()


@cache
def ledger() -> Ledger:
    """Make the connection pool, the first time."""
    return Ledger.at(resolve_database_url(settings().database_url, settings().database_secret_arn))


@cache
def uploads() -> ObjectStore | None:
    """Where callers upload to; None where they cannot."""
    bucket = settings().bucket_for_uploads
    return ObjectStore(bucket) if bucket else None


@router.post(
    "/upload",
    status_code=HTTPStatus.CREATED,
    response_model=UploadRequest,
    responses=problems(400, 401, 403, 404, 406, 413, 415, 422, 503),
    openapi_extra=_BODY,
)
async def upload(request: Request) -> Response:
    """Announce an image that is too large for a request to this API, and learn where to upload it."""
    require_accepts(request.headers.get("accept"))
    subject = caller(request, required=settings().token_required)
    store = uploads()
    if store is None:
        raise Problem(HTTPStatus.NOT_FOUND, "There are no uploads here: send the image itself to POST /prediction.")
    members = _members(request.headers.get("content-type", ""), await request.body())
    contenttype, size = _contenttype(members.get("contenttype")), _size(members.get("size"))
    filename = check_filename("/filename", members["filename"]) if "filename" in members else None
    sha256 = _sha256(members["sha256"]) if "sha256" in members else None
    user_id = check_user_id("/user_id", members["user_id"]) if "user_id" in members else None
    require_own(user_id, subject)
    owner = subject or user_id or ANONYMOUS

    input_id, seconds = new_id(), settings().upload_seconds
    key = key_of(owner, input_id)
    expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
    presigned = store.presigned_put(key, contenttype=contenttype, size=size, sha256=sha256, seconds=seconds)
    answer = UploadRequest(
        input_id=str(input_id), method="PUT", url=presigned.url, headers=presigned.headers, expires_at=expires_at
    )
    ledger().announce_upload(Upload(input_id, owner, contenttype, filename, size, sha256, store.uri(key)))
    return Response(
        answer.model_dump_json(),
        HTTPStatus.CREATED,
        {"Cache-Control": "no-store"},  # whoever has the URL can use it
        "application/json",
    )


def _members(contenttype: str, body: bytes) -> dict[str, Any]:
    essence = contenttype.partition(";")[0].strip().lower()
    if essence != "application/json":
        detail = "Say what is to be uploaded as application/json; the image itself goes to the URL in the answer."
        headers = {"Accept-Post": "application/json"}
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers=headers)
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):  # not JSON, not UTF-8, an integer of too many digits; nested too deeply
        raise Problem(HTTPStatus.BAD_REQUEST, "The body is not JSON.") from None
    if not isinstance(members, dict):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The JSON body must be an object.", errors=[("", "no object")])
    for name in members:
        if name not in _MEMBERS:
            detail = f"the member {name[:100]!r} is not known here: there are {', '.join(_MEMBERS)}"
            raise _refuse("/" + name[:100].replace("~", "~0").replace("/", "~1"), detail)
    # A null says as much as a missing member does: many clients send one for each optional field.
    return {name: value for name, value in members.items() if value is not None}


def _contenttype(value: object) -> str:
    if not isinstance(value, str):
        raise _refuse("/contenttype", "contenttype must be a string, such as image/jpeg")
    contenttype = value.partition(";")[0].strip().lower()
    if contenttype not in SUPPORTED_CONTENT_TYPES:
        detail = f"The content type {value[:100]!r} is not one that is taken: {', '.join(SUPPORTED_CONTENT_TYPES)}."
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, errors=[("/contenttype", "not taken")])
    return contenttype


def _size(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _refuse("/size", "size must be the file's size in bytes: an integer above 0")
    most = settings().max_upload_bytes
    if value > most:
        detail = f"The upload would have {value} bytes: at most {most} are taken."
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, errors=[("/size", f"at most {most}")])
    return value


def _sha256(value: object) -> bytes:
    try:
        digest = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        digest = b""
    if len(digest) != _SHA256_BYTES:
        raise _refuse("/sha256", "sha256 must be 64 hexadecimal digits")
    return digest


def _refuse(pointer: str, detail: str) -> Problem:
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{detail}.", errors=[(pointer, detail)])


handler = create_handler(create_app(router))

if on_lambda():
    ledger()
