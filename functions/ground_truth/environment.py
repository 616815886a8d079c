"""What an execution environment of this function creates once, and how large a request may be."""

from functools import cache
from http import HTTPStatus
from typing import Annotated, Final, NamedTuple
from uuid import UUID

from fastapi import Path, Request

from functions.shared.api.content_encoding import decompressed
from functions.shared.api.problems import Problem
from functions.shared.ledger.ground_truths import JudgingLedger
from functions.shared.log import start_logging
from functions.shared.settings import FunctionSettings

MAX_BODY_BYTES: Final = 4_500_000
"""The largest request body, in bytes, before and after it is decompressed."""

LONGEST: Final = 12.0
"""Seconds that the statement for ten thousand ground truths may take on a slow machine. A database that does not answer
is noticed sooner: connecting has a limit of its own."""

PredictionId = Annotated[UUID, Path(description="The `prediction_id` of a record.")]


class Environment(NamedTuple):
    """What an execution environment creates once, for all its events."""

    token_required: bool
    ledger: JudgingLedger


@cache
def environment() -> Environment:
    """Create the connection pool, on the first call."""
    settings = FunctionSettings.from_environment()
    start_logging(settings.log_level)
    return Environment(settings.token_required, JudgingLedger.configured(settings, longest=LONGEST))


async def whole_body(request: Request) -> bytes:
    """Return the decompressed body. Raises `Problem` if it is too large, or does not have its Content-Encoding."""
    body = await request.body()
    if len(body) > MAX_BODY_BYTES:
        detail = f"The body is {len(body)} bytes long; at most {MAX_BODY_BYTES} are allowed."
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    return decompressed(body, request.headers.get("content-encoding"), limit=MAX_BODY_BYTES)
