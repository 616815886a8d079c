"""What `predict` answers: stored records, the answer that a key got before, or why there is nothing to answer."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import TypeAlias
from uuid import UUID

from fastapi import Response
from pydantic_core import to_json

from functions.predict.batch_problems import raise_refused
from functions.shared.api.app import MAX_RESPONSE_BYTES
from functions.shared.api.idempotency import REPLAYED
from functions.shared.api.preferences import APPLIED
from functions.shared.api.problems import Problem
from functions.shared.api.representations import Accepted, members
from functions.shared.ledger.records import PredictionRecord, Replay
from functions.shared.prediction.errors import RefusedInputsError
from functions.shared.prediction.synchronous import Refusal

Represent: TypeAlias = Callable[[Sequence[PredictionRecord]], Response]
"""Makes a route's answer out of the records of a request. Raises `Problem` (413) where it would be too large."""


def one_record(records: Sequence[PredictionRecord]) -> Response:
    """Answer the record of a request with one input, and its path."""
    [record] = records
    return _created(to_json(members(record)), {"Location": _location(record.prediction_id)})


def several_records(records: Sequence[PredictionRecord]) -> Response:
    """Answer the records of a batch, in the order of its inputs."""
    return _created(to_json({"predictions": [members(record) for record in records]}), {})


def accepted(queued: UUID | Replay, represent: Represent) -> Response:
    """Answer a request whose prediction is queued, or was decided before."""
    if isinstance(queued, Replay):
        return _replayed(queued, represent)
    body = Accepted.model_construct(prediction_id=queued, status="queued")
    headers = {"Location": _location(queued), **APPLIED}
    return Response(body.model_dump_json(), HTTPStatus.ACCEPTED, headers, "application/json")


def nothing_stored(outcome: Replay | Refusal, pointers: Sequence[str] | None, represent: Represent) -> Response:
    """Answer a request that stores nothing: with what its key got the first time, or with what was wrong.

    Parameters
    ----------
    outcome
        What became of the request.
    pointers
        Where in the body its inputs stand; None for a request that is one input.
    represent
        Makes the answer out of records.

    Raises
    ------
    Problem
        If its inputs were refused.
    Exception
        The refusal's own error, which `functions.shared.api.problems` answers.
    """
    if isinstance(outcome, Replay):
        return _replayed(outcome, represent)
    if isinstance(outcome.error, RefusedInputsError):
        raise_refused(outcome.error, pointers)
    raise outcome.error


def _replayed(replay: Replay, represent: Represent) -> Response:
    """Answer what was answered the first time, synchronously or not, whatever is asked for now."""
    records = replay.records
    response = accepted(records[0].prediction_id, represent) if replay.was_queued else represent(records)
    response.headers.update(REPLAYED)
    return response


def _created(content: bytes, headers: dict[str, str]) -> Response:
    if len(content) > MAX_RESPONSE_BYTES:
        detail = (
            f"The answer would have {len(content)} bytes, and at most {MAX_RESPONSE_BYTES} fit: send fewer at once."
        )
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    return Response(content, HTTPStatus.CREATED, headers, "application/json")


def _location(prediction_id: UUID) -> str:
    return f"/prediction/{prediction_id}"
