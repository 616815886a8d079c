"""Predict the rows of a request, store them, and make the answer between the two."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeAlias
from uuid import UUID

from fastapi import Response

from functions.infer.response import InferResponse
from functions.shared.api.idempotency import REPLAYED
from functions.shared.api.problems import Problem, problem_of_input
from functions.shared.ledger.records import Replay
from functions.shared.prediction.errors import RefusedInputsError
from functions.shared.prediction.requests import Input, PredictionRequest
from functions.shared.prediction.serving import Serving
from functions.shared.prediction.synchronous import Predicted, Refusal, predict, predict_again, store

Outputs: TypeAlias = Sequence[Mapping[str, Any]]
"""The model's outputs for each row, by name."""

Respond: TypeAlias = Callable[[Outputs, Sequence[UUID]], InferResponse]
"""Makes an answer from the outputs and the ids of the predictions. Raises `Problem` if it cannot be made."""


def answer(serving: Serving, inputs: Sequence[Input], user_id: str, key: str | None, respond: Respond) -> Response:
    """Predict and store the rows of a request, all or none, and answer it.

    Parameters
    ----------
    serving
        The model and the ledger.
    inputs
        The rows.
    user_id
        Their owner.
    key
        The caller's `Idempotency-Key`.
    respond
        Makes the answer, before anything is stored.

    Raises
    ------
    Problem
        If an input is refused, or the answer cannot be made.
    Exception
        Another reason why nothing is stored, which `functions.shared.api.problems` answers.
    """
    asked = PredictionRequest(tuple(inputs), user_id, key, batch=True)
    [outcome] = predict(serving, [asked], keep_outputs=True)
    if not isinstance(outcome, Predicted):
        return _nothing_stored(serving, inputs, outcome, respond)
    response = _response(respond(outcome.outputs, [one.prediction_id for one in outcome.records]))
    [other] = store(serving, [outcome])
    return response if other is None else _nothing_stored(serving, inputs, other, respond)


def _nothing_stored(serving: Serving, inputs: Sequence[Input], outcome: Replay | Refusal, respond: Respond) -> Response:
    if isinstance(outcome, Replay):
        return _replayed(serving, inputs, outcome, respond)
    if isinstance(outcome.error, RefusedInputsError):
        raise refused(outcome.error, len(inputs)) from outcome.error
    raise outcome.error


def _replayed(serving: Serving, inputs: Sequence[Input], replay: Replay, respond: Respond) -> Response:
    """Answer with the ids of what is stored, and the outputs that the same model makes again of the same input.

    A model of the same name and version may have other weights. Its outputs would not be those that are stored.
    """
    predicted = predict_again(serving, inputs)
    first = replay.records[0]
    same = all(
        (again.prediction.output, again.prediction.outputs) == (record.output, record.outputs)
        for again, record in zip(predicted, replay.records, strict=True)
    )
    if not same:
        detail = (
            f"This Idempotency-Key was used when another model was served, {first.model_name} {first.model_version}: "
            f"GET /prediction/{first.prediction_id} has what it predicted."
        )
        raise Problem(HTTPStatus.CONFLICT, detail)
    outputs = [again.outputs for again in predicted]
    response = _response(respond(outputs, [record.prediction_id for record in replay.records]))
    response.headers.update(REPLAYED)
    return response


def _response(made: InferResponse) -> Response:
    return Response(made.content, headers=made.headers, media_type=made.media_type)


def refused(error: RefusedInputsError, rows: int) -> Problem:
    """Return the problem of the first bad row, which it names."""
    position, first = min(error.errors.items())
    problem = problem_of_input(first)
    if rows == 1:
        return problem
    more = f" ({len(error.errors)} of {rows} rows are refused)" if len(error.errors) > 1 else ""
    return Problem(problem.status, f"Row {position}: {problem.detail}{more}")
