"""Answer errors as `application/problem+json` (RFC 9457). Domain errors become HTTP here and nowhere else.

Every error response is a `Problem`. Its `detail` says what was wrong and what would be right, and never contains SQL, a
path, a stack trace or another user's data.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from itertools import zip_longest
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from functions.shared.inference.errors import (
    ImageTooLargeError,
    InputError,
    MissingFeaturesError,
    ModelTimeoutError,
    OutOfMemoryError,
    OutputTooLargeError,
    TooManyRowsError,
    UndecodableImageError,
    json_pointer_token,
)
from functions.shared.ledger.errors import (
    IdempotencyConflictError,
    InvalidCursorError,
    LedgerUnavailableError,
    RecordNotFoundError,
    UnstorableValueError,
    UploadNotAnnouncedError,
)
from functions.shared.ledger.quotas import QuotaExceededError
from functions.shared.log import logger
from functions.shared.object_storage.errors import ObjectMissingError, ObjectStoreUnavailableError
from functions.shared.prediction.errors import (
    UploadError,
    UploadMismatchError,
    UploadNotFoundError,
    UploadTooLargeError,
)
from functions.shared.queue.errors import QueueUnavailableError

RETRY_AFTER_SECONDS = 5
"""Seconds until a caller should retry when the database or the queue is unreachable."""

CONTENT_TYPE = "application/problem+json"

MAX_ERRORS = 1_000
"""Errors that a problem document lists."""

MAX_TEXT_LENGTH = 500
"""Characters of each text of a problem document. Lambda answers at most 6 MB."""

_STATUS_BY_INPUT_ERROR: dict[type[InputError], HTTPStatus] = {
    UndecodableImageError: HTTPStatus.BAD_REQUEST,
    MissingFeaturesError: HTTPStatus.BAD_REQUEST,
    ImageTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    OutputTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    TooManyRowsError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
}

_STATUS_BY_UPLOAD_ERROR: dict[type[UploadError], HTTPStatus] = {
    UploadNotFoundError: HTTPStatus.NOT_FOUND,
    UploadTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UploadMismatchError: HTTPStatus.UNPROCESSABLE_ENTITY,
}

_EXAMPLE_ID = "019ab5a4-2f7c-7e11-8a4b-3f0c5d6e7f80"

_QUOTAS: dict[str, str] = {
    "predictions_per_hour": (
        "The quota is {limit} predictions an hour for each user, and this request would exceed it. Nothing was stored. "
        "The next hour begins in {seconds} seconds. A request for more than {limit} is never taken."
    ),
    "stored_bytes": (
        "The quota is {limit} bytes of inputs and large outputs for each user, and this request would exceed it. "
        "Nothing was stored. DELETE /prediction/{{prediction_id}} gives back what a record takes."
    ),
    "queued_predictions": (
        "The quota is {limit} queued predictions for each user, and this request would exceed it. Nothing was stored. "
        "Wait until one has ended, or send the request without Prefer: respond-async."
    ),
    "open_uploads": (
        "The quota is {limit} open uploads for each user, and this one would exceed it. Nothing was stored. Predict an "
        "upload by its input_id, or wait until one expires."
    ),
}

_HOW_TO_REPEAT = "With an Idempotency-Key, it is safe to repeat the request; without one, check GET /predictions first."

# Several functions or routes share these paths; each knows only its own methods, and `Allow` must name all.
_METHODS_OF_OTHERS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (re.compile("/predictions"), ("DELETE", "GET", "POST")),
    (re.compile("/prediction/[^/]+"), ("DELETE", "GET")),
    (re.compile("/prediction/[^/]+/ground_truth"), ("DELETE", "GET", "PUT")),
    (re.compile("/v1/models/[^/]+"), ("GET", "POST")),
)


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it a problem, and so does every answer that carries one
    """An error response.

    Parameters
    ----------
    status
        The HTTP status.
    detail
        What is wrong and what would be right. The caller reads it.
    errors
        Pairs of a JSON pointer (RFC 6901) into the request and what is wrong there.
    lines
        For each error the number of the line that the pointer points into, from 1, if the request has lines; else None.
    headers
        Headers of the response, such as `Allow` or `Retry-After`.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        errors: Iterable[tuple[str, str]] = (),
        lines: Sequence[int | None] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors: Sequence[tuple[str, str]] = tuple(errors)
        self.lines = lines
        self.headers = headers or {}

    def body(self) -> bytes:
        """Return the problem as JSON (RFC 9457, section 3), within `MAX_ERRORS` and `MAX_TEXT_LENGTH`."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": shortened(self.detail),
        }
        if self.errors:
            errors = [*self.errors[:MAX_ERRORS]]
            if len(self.errors) > MAX_ERRORS:
                errors.append(("", f"and {len(self.errors) - MAX_ERRORS} more errors"))
            document["errors"] = [
                {
                    **({} if line is None else {"line": line}),
                    "pointer": shortened(pointer),
                    "detail": shortened(detail),
                }
                for (pointer, detail), line in zip_longest(errors, self.lines[: len(errors)])
            ]
        return json.dumps(document, ensure_ascii=False).encode("utf-8", errors="backslashreplace")


def shortened(text: str) -> str:
    """Return a text within `MAX_TEXT_LENGTH`."""
    return text if len(text) <= MAX_TEXT_LENGTH else f"{text[: MAX_TEXT_LENGTH - 1]}…"


def unavailable(
    detail: str, *, errors: Iterable[tuple[str, str]] = (), retry_after: int = RETRY_AFTER_SECONDS
) -> Problem:
    """Return the problem of a request that may succeed if it is sent again after some seconds."""
    headers = {"Retry-After": str(retry_after)}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, errors=errors, headers=headers)


def invalid(faults: Iterable[Mapping[str, Any]]) -> Problem:
    """Convert pydantic's `errors()` to a problem with a JSON pointer and a message for each."""
    errors = [
        (
            "".join(f"/{json_pointer_token(str(part))}" for part in fault["loc"]),
            f"{fault['msg'][:1].lower()}{fault['msg'][1:]}",
        )
        for fault in faults
    ]
    detail = "; ".join(f"{pointer[1:]}: {message}" for pointer, message in errors)
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{detail}.", errors=errors)


def problem_of_input(error: InputError) -> Problem:
    """Convert the error of an input to a problem."""
    status = _STATUS_BY_INPUT_ERROR.get(type(error), HTTPStatus.UNPROCESSABLE_ENTITY)
    message = str(error)
    detail = message if message.endswith(".") else f"{message}."
    return Problem(status, detail, errors=((problem.pointer, problem.detail) for problem in error.problems))


def _respond(problem: Problem) -> Response:
    return Response(problem.body(), problem.status, problem.headers, CONTENT_TYPE)


async def _on_problem(_request: Request, error: Problem) -> Response:
    return _respond(error)


async def _on_input_error(_request: Request, error: InputError) -> Response:
    return _respond(problem_of_input(error))


async def _on_upload_error(_request: Request, error: UploadError) -> Response:
    status, reason = _STATUS_BY_UPLOAD_ERROR[type(error)], str(error)
    errors = [("/input_id", reason)] if status is HTTPStatus.UNPROCESSABLE_ENTITY else []
    return _respond(Problem(status, reason if reason.endswith(".") else f"{reason}.", errors=errors))


async def _on_record_not_found(_request: Request, _error: RecordNotFoundError) -> Response:
    # Use the same message for another user's record: otherwise it would reveal that the record exists.
    return _respond(Problem(HTTPStatus.NOT_FOUND, "There is no prediction with this id."))


async def _on_upload_not_announced(request: Request, _error: UploadNotAnnouncedError) -> Response:
    return await _on_upload_error(request, UploadNotFoundError("There is no upload with this input_id."))


async def _on_invalid_cursor(_request: Request, error: InvalidCursorError) -> Response:
    detail = "The cursor is not valid: send the next_cursor of the previous page unchanged, in the same order, or none."
    logger.debug("invalid cursor", reason=str(error))
    errors = [("/cursor", "not a cursor of this API, or of another order")]
    return _respond(Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors))


async def _on_idempotency_conflict(_request: Request, _error: IdempotencyConflictError) -> Response:
    detail = "This Idempotency-Key was used with another input: send that input, or use another key for this one."
    return _respond(Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail))


async def _on_unstorable_value(_request: Request, error: UnstorableValueError) -> Response:
    logger.warning("a value cannot be stored", reason=str(error))
    detail = "A value in the request cannot be stored: a number is out of range, or a character is not text."
    return _respond(Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail))


async def _on_quota_exceeded(_request: Request, error: QuotaExceededError) -> Response:
    logger.info("over a quota", quota=error.quota, limit=error.limit)
    detail = _QUOTAS[error.quota].format(limit=error.limit, seconds=error.retry_after)
    headers = {"Retry-After": str(error.retry_after)}
    return _respond(Problem(HTTPStatus.TOO_MANY_REQUESTS, detail, headers=headers))


async def _on_ledger_unavailable(request: Request, error: LedgerUnavailableError) -> Response:
    logger.error("the database cannot be reached", reason=str(error), in_doubt=error.in_doubt)
    if error.in_doubt and _says_what_is_so(request):
        detail = (
            "The database connection broke before it confirmed the commit: what this request says may or may not be "
            "stored. It is safe to repeat it: the same again changes nothing."
        )
    elif request.method == "POST" and error.in_doubt:
        # The outcome is unknown: the statement was sent and may be committed, and the database cannot be asked.
        detail = (
            "The database connection broke before it confirmed the commit: the request may or may not be stored. "
            + _HOW_TO_REPEAT
        )
    elif request.method == "DELETE":
        # Earlier statements of this request may be committed.
        detail = (
            "The database cannot be reached. What this request has already deleted stays deleted. It is safe to repeat "
            f"the request, in {RETRY_AFTER_SECONDS} seconds."
        )
    else:
        detail = f"The database cannot be reached, and nothing was stored. Try again in {RETRY_AFTER_SECONDS} seconds."
    return _respond(unavailable(detail))


def _says_what_is_so(request: Request) -> bool:
    """Whether a request says how things are, and does not ask for anything new: it can be sent again."""
    return request.method == "PUT" or request.scope["path"] == "/ground_truth"


async def _on_model_timeout(_request: Request, error: ModelTimeoutError) -> Response:
    logger.error("the model took too long", reason=str(error))
    detail = (
        "The model took too long for this request and was ended: nothing was stored. Send fewer inputs at once or "
        "smaller ones, or one with Prefer: respond-async, which may take longer where predictions are queued."
    )
    return _respond(unavailable(detail))


async def _on_out_of_memory(_request: Request, error: OutOfMemoryError) -> Response:
    logger.error("there is not enough memory", reason=str(error))
    detail = (
        "There was not enough memory to decode or to predict this request, and nothing was stored. Send fewer inputs "
        "at once or smaller ones."
    )
    return _respond(unavailable(detail))


async def _on_queue_unavailable(_request: Request, error: QueueUnavailableError) -> Response:
    logger.error("the queue cannot be reached", reason=str(error))
    detail = (
        "The queue cannot be reached, and nothing was stored. Send the request without Prefer: respond-async, or try "
        f"again in {RETRY_AFTER_SECONDS} seconds."
    )
    return _respond(unavailable(detail))


async def _on_objects_unavailable(_request: Request, error: ObjectStoreUnavailableError) -> Response:
    logger.error("object storage cannot be reached", reason=str(error))
    detail = f"Object storage cannot be reached, and nothing was stored. Try again in {RETRY_AFTER_SECONDS} seconds."
    return _respond(unavailable(detail))


async def _on_object_missing(_request: Request, error: ObjectMissingError) -> Response:
    logger.error("an input's object is missing", reason=str(error))
    detail = "The bytes of this input cannot be found at the moment. GET /predictions still lists the record."
    return _respond(unavailable(detail))


async def _on_invalid_request(_request: Request, error: RequestValidationError) -> Response:
    # FastAPI prefixes each location with the part of the request: query, path or body.
    return _respond(invalid([{**fault, "loc": fault["loc"][1:], "msg": _says(fault)} for fault in error.errors()]))


def _says(fault: Mapping[str, Any]) -> str:
    # What a path has is an id. A query says by itself what would be right.
    return f"{fault['msg']}, as in {_EXAMPLE_ID}" if fault["loc"][0] == "path" else str(fault["msg"])


async def _on_http_exception(request: Request, error: HTTPException) -> Response:
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    if status is HTTPStatus.NOT_FOUND:
        detail = f"There is nothing at this path. GET {request.scope['root_path']}/ lists the paths."
    elif status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": _allowed(request.scope["path"], headers["Allow"])}
        if request.method == "OPTIONS":  # RFC 9110, section 9.3.7
            return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
        detail = f"{request.method} is not allowed on this path: use {headers['Allow']}."
    else:
        detail = str(error.detail)
    return _respond(Problem(status, detail, headers=headers))


def _allowed(path: str, methods: str) -> str:
    """Return the methods of a path, including other functions' methods, and HEAD if GET is allowed."""
    names = set(methods.split(", ")).union(*(others for paths, others in _METHODS_OF_OTHERS if paths.fullmatch(path)))
    return ", ".join(sorted({*names, "HEAD"} if "GET" in names else names))


async def _on_unexpected(request: Request, error: Exception) -> Response:
    logger.exception("unexpected error", error)
    detail = "The server failed unexpectedly."
    if request.method == "POST" and not _says_what_is_so(request):
        # The error may have occurred after the commit, so do not claim that nothing was stored.
        detail += f" The request may or may not be stored. {_HOW_TO_REPEAT}"
    return _respond(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail))


def answer_problems(app: FastAPI) -> None:
    """Make `app` answer every error with a problem document."""
    app.exception_handler(Problem)(_on_problem)
    app.exception_handler(InputError)(_on_input_error)
    app.exception_handler(UploadError)(_on_upload_error)
    app.exception_handler(RecordNotFoundError)(_on_record_not_found)
    app.exception_handler(UploadNotAnnouncedError)(_on_upload_not_announced)
    app.exception_handler(InvalidCursorError)(_on_invalid_cursor)
    app.exception_handler(IdempotencyConflictError)(_on_idempotency_conflict)
    app.exception_handler(UnstorableValueError)(_on_unstorable_value)
    app.exception_handler(QuotaExceededError)(_on_quota_exceeded)
    app.exception_handler(LedgerUnavailableError)(_on_ledger_unavailable)
    app.exception_handler(ModelTimeoutError)(_on_model_timeout)
    app.exception_handler(OutOfMemoryError)(_on_out_of_memory)
    app.exception_handler(QueueUnavailableError)(_on_queue_unavailable)
    app.exception_handler(ObjectStoreUnavailableError)(_on_objects_unavailable)
    app.exception_handler(ObjectMissingError)(_on_object_missing)
    app.exception_handler(RequestValidationError)(_on_invalid_request)
    app.exception_handler(HTTPException)(_on_http_exception)
    app.exception_handler(Exception)(_on_unexpected)
