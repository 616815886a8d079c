"""Predict the rows of a request, store them, and make the answer between the two."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple, TypeAlias
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


class Asked(NamedTuple):
    """A request for rows, which are predicted and stored all or none, and how its route answers it.

    Attributes
    ----------
    serving
        The model and the ledger.
    request
        What it asks for: the rows are inputs of the request.
    respond
        Makes the answer.
    """

    serving: Serving
    request: PredictionRequest
    respond: Respond

    def predicted(self, made: Predicted) -> Response:
        """Return the answer to predictions that are to be stored. Raises `Problem` if it cannot be made.

        Parameters
        ----------
        made
            With its outputs.
        """
        return _response(self.respond(made.outputs, [one.prediction_id for one in made.records]))

    def nothing_stored(self, outcome: Replay | Refusal) -> Response:
        """Return the answer to a request that stores nothing: repeat that of its key, or raise what was wrong.

        Raises
        ------
        Problem
            If an input is refused, or the answer cannot be made.
        Exception
            The refusal's own error, which `functions.shared.api.problems` answers.
        """
        inputs = [one for one in self.request.inputs if isinstance(one, Input)]
        if isinstance(outcome, Replay):
            return _replayed(self.serving, inputs, outcome, self.respond)
        if isinstance(outcome.error, RefusedInputsError):
            raise refused(outcome.error, len(inputs)) from outcome.error
        raise outcome.error


def answer(asked: Asked) -> Response:
    """Predict and store the rows of a request, and answer it. Errors as in `Asked`."""
    [outcome] = predict(asked.serving, [asked.request], keep_outputs=True)
    if not isinstance(outcome, Predicted):
        return asked.nothing_stored(outcome)
    response = asked.predicted(outcome)  # before anything is stored
    [other] = store(asked.serving, [outcome])
    return response if other is None else asked.nothing_stored(other)


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
            "This Idempotency-Key was used before, and the outputs made now are not the stored ones: another model was "
            f"served, {first.model_name} {first.model_version}, or their last bits differ. "
            f"GET /prediction/{first.prediction_id} has what was predicted."
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
