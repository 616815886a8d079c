"""The JSON of `POST /upload`: an image is described before it is uploaded, and the answer says how to upload it."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from functions.shared.api.fields import (
    ANONYMOUS,
    MAX_FILENAME_LENGTH,
    MAX_USER_ID_LENGTH,
    check_filename,
    check_user_id,
    or_null,
    text_schema,
)
from functions.shared.api.json_source import decode, parse_members
from functions.shared.api.negotiation import essence
from functions.shared.api.problems import Problem, invalid
from functions.shared.inference.content_types import IMAGE_SUBTYPE, SUPPORTED_CONTENT_TYPES, may_be_image

JSON: Final = "application/json"

MAX_BODY_BYTES: Final = 1_000_000
"""The most bytes that a compressed announcement may become."""

_SHA256_BYTES: Final = 32

ONE_ANNOUNCEMENT: Final[dict[str, Any]] = {
    "requestBody": {"required": True, "content": {JSON: {"schema": {"$ref": "#/components/schemas/Announcement"}}}}
}
"""`openapi_extra` of the route. `python -m infra.openapi` adds the schema."""


def _sha256(value: object) -> bytes:
    try:
        digest = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        digest = b""
    if len(digest) != _SHA256_BYTES:
        raise PydanticCustomError("sha256", "must be 64 hexadecimal digits")
    return digest


def _integer(value: object) -> object:
    # To JSON Schema, and to JSON, 8000000.0 is an integer.
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Announcement(BaseModel):
    """An image to upload."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    contenttype: StrictStr = Field(
        description=(
            f"What the client calls the image: one of {', '.join(SUPPORTED_CONTENT_TYPES)}, by any name. The bytes "
            "tell which it is. The upload is signed for this type."
        ),
        examples=list(SUPPORTED_CONTENT_TYPES),
        json_schema_extra={
            "pattern": rf"^\s*([iI][mM][aA][gG][eE]/{IMAGE_SUBTYPE}|application/octet-stream)\s*(;[\s\S]*)?$"
        },
    )
    size: Annotated[StrictInt, BeforeValidator(_integer)] = Field(gt=0, description="Bytes.", examples=[8_000_000])
    filename: Any = Field(default=None, json_schema_extra=or_null(text_schema(MAX_FILENAME_LENGTH, "seven.png")))
    sha256: Annotated[
        bytes | None,
        BeforeValidator(_sha256),
        WithJsonSchema({"type": ["string", "null"], "pattern": "^[0-9a-fA-F]{64}$"}),
    ] = Field(
        default=None,
        description="The digest of the image. S3 refuses an upload with another.",
    )
    user_id: Any = Field(default=None, json_schema_extra=or_null(text_schema(MAX_USER_ID_LENGTH, ANONYMOUS)))


def parse_announcement(header: str, body: bytes, *, max_bytes: int) -> Announcement:
    """Read and check the body of `POST /upload`.

    Parameters
    ----------
    header
        The request's Content-Type header.
    body
        The request's body.
    max_bytes
        The largest upload, in bytes.

    Raises
    ------
    Problem
        400 if the body is malformed, 413 if the upload is too large, 415 if the body is not JSON or the image has a
        content type that is not supported, 422 if anything else is wrong.
    """
    if essence(header) != JSON:
        detail = "Describe the upload as application/json; the image itself goes to the URL in the answer."
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept-Post": JSON})
    # Treat null as absent: many clients send null for every optional field that is not set. A name that no announcement
    # has is refused, null or not: it may be a misspelt one.
    members = {
        name: source.value
        for name, source in parse_members(decode(body)).items()
        if source.value is not None or name not in Announcement.model_fields
    }
    try:
        announced = Announcement.model_validate(members)
    except ValidationError as error:
        raise invalid(error.errors()) from None
    kind = essence(announced.contenttype)
    if not kind or not may_be_image(kind):
        taken = ", ".join(SUPPORTED_CONTENT_TYPES)
        detail = f"The content type {announced.contenttype[:100]!r} is not supported: use one of {taken}."
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, errors=[("/contenttype", "not supported")])
    if announced.size > max_bytes:
        detail = f"The upload would be {announced.size} bytes long; at most {max_bytes} are allowed."
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, errors=[("/size", f"at most {max_bytes}")])
    if announced.filename is not None:
        check_filename("/filename", announced.filename)
    if announced.user_id is not None:
        check_user_id("/user_id", announced.user_id)
    return announced.model_copy(update={"contenttype": kind})


class UploadRequest(BaseModel):
    """The request that uploads the image, as its body. Afterwards `POST /prediction` takes `input_id` for the image."""

    input_id: str = Field(examples=["019ab5a4-2f7c-7e11-8a4b-3f0c5d6e7f80"])
    method: Literal["PUT"]
    url: str = Field(description="A signed URL. It needs no token.")
    headers: dict[str, str] = Field(description="Send them unchanged: the URL's signature covers them.")
    expires_at: datetime
