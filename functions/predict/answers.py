"""Make the answers of `predict`: stored records, a replayed answer, or a problem."""

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
"""Makes a route's answer from the records of a request. Raises `Problem` (413) if the answer would be too large."""


def one_record(records: Sequence[PredictionRecord]) -> Response:
    """Answer with the record of a request's one input, and its path in `Location`."""
    [record] = records
    return _created(to_json(members(record)), {"Location": _location(record.prediction_id)})


def several_records(records: Sequence[PredictionRecord]) -> Response:
    """Answer with the records of a batch, in the order of its inputs."""
    return _created(to_json({"predictions": [members(record) for record in records]}), {})


def accepted(queued: UUID | Replay, represent: Represent) -> Response:
    """Answer a request whose prediction is queued, or whose key was used before."""
    if isinstance(queued, Replay):
        return _replayed(queued, represent)
    body = Accepted.model_construct(prediction_id=queued, status="queued")
    headers = {"Location": _location(queued), **APPLIED}
    return Response(body.model_dump_json(), HTTPStatus.ACCEPTED, headers, "application/json")


def nothing_stored(outcome: Replay | Refusal, pointers: Sequence[str] | None, represent: Represent) -> Response:
    """Answer a request that stores nothing: replay the answer that its key got, or raise what was wrong.

    Parameters
    ----------
    outcome
        The replayed records, or the reason for the refusal.
    pointers
        JSON pointers to the inputs in the body; None if the request is a single input.
    represent
        Makes the answer from records.

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
    """Repeat the first answer. Whether it is synchronous is up to the first request, not this one."""
    records = replay.records
    response = accepted(records[0].prediction_id, represent) if replay.was_queued else represent(records)
    response.headers.update(REPLAYED)
    return response


def _created(content: bytes, headers: dict[str, str]) -> Response:
    if len(content) > MAX_RESPONSE_BYTES:
        detail = f"The answer would be {len(content)} bytes long; at most {MAX_RESPONSE_BYTES} fit. Send fewer inputs."
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    return Response(content, HTTPStatus.CREATED, headers, "application/json")


def _location(prediction_id: UUID) -> str:
    return f"/prediction/{prediction_id}"
