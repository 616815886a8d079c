"""Return a large output of a prediction: in binary, in parts if need be, or in JSON."""

from http import HTTPStatus
from math import prod
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request, Response
from pydantic_core import to_json

from functions.get_prediction.byte_range import asked_part, content_range
from functions.get_prediction.environment import PredictionId, environment
from functions.get_prediction.stored_output import OCTET_STREAM, compressed, content_of, presigned_url, values_of
from functions.shared.api.app import MAX_RESPONSE_BYTES
from functions.shared.api.auth import caller, find_readable
from functions.shared.api.documentation import problems, with_scope
from functions.shared.api.negotiation import quality
from functions.shared.api.problems import Problem
from functions.shared.api.representations import NamedTensor
from functions.shared.api.scopes import Scope
from functions.shared.ledger.errors import RecordNotFoundError
from functions.shared.ledger.records import StoredOutput
from functions.shared.object_storage.bucket import LARGEST_UNLENT, Bucket

router = APIRouter()

OutputName = Annotated[
    str, Path(description="The output's name in the record.", max_length=1000, pattern="^[^\\x00]*$")
]

_JSON: Final = "application/json"
_LEAST_JSON_BYTES: Final = 2  # of a value, with the comma

_TENSOR_HEADERS: Final[dict[str, Any]] = {
    "Tensor-Datatype": {"schema": {"type": "string"}, "description": "As the Open Inference Protocol calls it."},
    "Tensor-Shape": {"schema": {"type": "string"}, "description": "The lengths of its axes: `84, 8400`."},
}
_BINARY: Final[dict[str, Any]] = {
    OCTET_STREAM: {"schema": {"type": "string", "format": "binary", "contentMediaType": OCTET_STREAM}}
}
_TENSOR: Final[dict[str, Any]] = {_JSON: {"schema": {"$ref": f"#/components/schemas/{NamedTensor.__name__}"}}}


@router.get(
    "/prediction/{prediction_id}/output/{name:path}",
    response_class=Response,
    responses={
        # In this order: a client that does not say what it accepts gets the bytes.
        200: {"description": "The output.", "headers": _TENSOR_HEADERS, "content": _BINARY | _TENSOR},
        206: {"description": "A part of the bytes, at most 4.4 MB.", "headers": _TENSOR_HEADERS, "content": _BINARY},
        304: {"description": "The output is the one of the `ETag` in `If-None-Match`."},
        307: {
            "description": "The output is too large for the answer. `Location` serves it for a minute.",
            "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
        },
        **problems(401, 404, 406, 416, 422, 503),
    },
    tags=["predictions"],
    openapi_extra=with_scope(Scope.READ_ALL),
)
async def get_output(request: Request, prediction_id: PredictionId, name: OutputName) -> Response:
    """An output that the record refers to. `Accept` chooses its bytes or, where they fit, its values in JSON.

    The bytes are little-endian and in row-major order, as in the Open Inference Protocol. Of an output that is too
    large for one answer, `Range` gets one part after another.
    """
    env = environment()
    accept = request.headers.get("accept")
    weight = quality(accept, _JSON)
    as_json = weight > quality(accept, OCTET_STREAM)
    if not as_json and quality(accept, OCTET_STREAM) == 0:
        raise Problem(HTTPStatus.NOT_ACCEPTABLE, f"The answer is {OCTET_STREAM} or {_JSON}: Accept admits neither.")
    reader = caller(request, required=env.token_required)
    try:
        stored = find_readable(
            reader, prediction_id, lambda user_id: env.ledger.get_output(prediction_id, name, user_id=user_id)
        )
    except RecordNotFoundError:
        detail = "There is no prediction with this id that has this output stored apart: its record names those it has."
        raise Problem(HTTPStatus.NOT_FOUND, detail) from None
    if as_json:
        return _in_json(request, name, stored, env.inputs.inputs_bucket)
    return _in_binary(request, stored, env.inputs.inputs_bucket)


def _in_json(request: Request, name: str, stored: StoredOutput, bucket: Bucket | None) -> Response:
    headers = _headers(stored, "-json")
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    content = None
    if prod(stored.shape) * _LEAST_JSON_BYTES <= MAX_RESPONSE_BYTES:
        data = values_of(stored, content_of(stored, compressed(stored, bucket)))
        content = to_json({"name": name, "shape": stored.shape, "datatype": stored.datatype, "data": data})
    if content is None or len(content) > MAX_RESPONSE_BYTES:
        detail = (
            f"This output is too large for an answer in JSON, of {MAX_RESPONSE_BYTES} bytes: accept {OCTET_STREAM}."
        )
        raise Problem(HTTPStatus.NOT_ACCEPTABLE, detail)
    return Response(content, headers=headers, media_type=_JSON)


def _in_binary(request: Request, stored: StoredOutput, bucket: Bucket | None) -> Response:
    headers = _headers(stored) | {"Accept-Ranges": "bytes"}
    part = asked_part(request.headers, headers["ETag"], stored.size, "output")
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    if part is not None:
        content = content_of(stored, compressed(stored, bucket))[part.start : part.stop]
        headers |= content_range(part, stored.size)
        return Response(content, HTTPStatus.PARTIAL_CONTENT, headers, OCTET_STREAM)
    if stored.size <= LARGEST_UNLENT:
        return Response(content_of(stored, compressed(stored, bucket)), headers=headers, media_type=OCTET_STREAM)
    # Without the header, a client may take any encoding, but few can read what they did not ask for.
    takes_gzip = quality(request.headers.get("accept-encoding") or "identity", "gzip") > 0
    if takes_gzip and (url := presigned_url(stored, bucket)) is not None:
        return Response(None, HTTPStatus.TEMPORARY_REDIRECT, {"Location": url, "Cache-Control": "no-store"})
    if takes_gzip and stored.content is not None and len(stored.content) <= LARGEST_UNLENT:
        headers = _headers(stored, "-gzip") | {"Content-Encoding": "gzip"}
        return Response(stored.content, headers=headers, media_type=OCTET_STREAM)
    detail = (
        f"This output has {stored.size} bytes, and an answer has room for {LARGEST_UNLENT}: read it in parts, "
        f"with Range: bytes=0-{LARGEST_UNLENT - 1} and so on{'' if takes_gzip else ', or accept the encoding gzip'}."
    )
    raise Problem(HTTPStatus.NOT_ACCEPTABLE, detail, headers={"Accept-Ranges": "bytes"})


def _headers(stored: StoredOutput, form: str = "") -> dict[str, str]:
    headers = {
        "Tensor-Datatype": stored.datatype,
        "Cache-Control": "private, no-cache",
        "ETag": f'"{stored.sha256.hex()}{form}"',
        "Vary": "Accept, Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    return headers | {"Tensor-Shape": ", ".join(map(str, stored.shape))} if stored.shape else headers
