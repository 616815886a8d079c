"""Predict the inputs of requests and store them before the requests are answered.

There are two steps: `predict` makes the predictions and their records, and `store` commits them. Build the whole answer
between the two: an answer that failed after the commit would leave records that the caller does not know of.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias

from functions.shared.inference import run_deadline
from functions.shared.inference.errors import (
    InferenceError,
    InputError,
    ModelRunError,
    ModelTimeoutError,
    OutOfMemoryError,
)
from functions.shared.inference.prediction import Prediction
from functions.shared.ledger.errors import LedgerError, LedgerUnavailableError
from functions.shared.ledger.records import IdempotencyKey, NewInput, NewPrediction, PredictionRecord, Replay
from functions.shared.log import logger
from functions.shared.object_storage.bucket import Bucket
from functions.shared.object_storage.errors import ObjectStoreError
from functions.shared.prediction.errors import RefusedInputsError, UploadError
from functions.shared.prediction.input_objects import InputObjects, new_input
from functions.shared.prediction.instances import Answer, WithOutputs, decode, run, run_with_outputs
from functions.shared.prediction.limits import RUN_SECONDS
from functions.shared.prediction.requests import Input, PredictionRequest
from functions.shared.prediction.serving import Serving
from functions.shared.prediction.uploads import fetch_uploads


class Refusal(NamedTuple):
    """Why a request was not predicted or not stored. It does not affect other requests."""

    error: RefusedInputsError | UploadError | InferenceError | LedgerError | ObjectStoreError


class Predicted(NamedTuple):
    """The predictions of one request, not yet stored.

    Attributes
    ----------
    predictions
        In the order of the request's inputs.
    records
        The records that the ledger will return once the predictions are stored.
    new_inputs
        The inputs whose objects must still be put: an upload already has its object.
    idempotency
        The request's key.
    decode_ms, inference_ms
        Duration of decoding and of running the model, for all requests that were predicted together.
    outputs
        The outputs of the model that each prediction was made from, by name, if they were to be kept.
    """

    predictions: tuple[NewPrediction, ...]
    records: tuple[PredictionRecord, ...]
    new_inputs: tuple[NewInput, ...]
    idempotency: IdempotencyKey | None
    decode_ms: float
    inference_ms: float
    outputs: tuple[Mapping[str, Any], ...] = ()


Outcome: TypeAlias = Predicted | Replay | Refusal
"""The outcome of a request: predictions to store, what its key has already stored, or a refusal."""


class _Asked(NamedTuple):
    request: PredictionRequest
    idempotency: IdempotencyKey | None
    inputs: list[Input]


def predict(serving: Serving, requests: Sequence[PredictionRequest], *, keep_outputs: bool = False) -> list[Outcome]:
    """Predict the inputs of several requests in one run of the model. Store nothing.

    Parameters
    ----------
    serving
        The model and the ledger.
    requests
        The inputs of each request are predicted all or not at all.
    keep_outputs
        Whether the predictions have the outputs that they were made from.

    Returns
    -------
    list
        One outcome per request, in the same order.
    """
    if len(requests) == 1:
        return [_predict_alone(serving, requests[0], keep_outputs=keep_outputs)]
    outcomes: dict[int, Outcome] = {}
    asked: dict[int, _Asked] = {}
    for position, request in enumerate(requests):
        found = _look_up(serving, request)
        if isinstance(found, _Asked):
            asked[position] = found
        else:
            outcomes[position] = found
    started = perf_counter()
    instances = {}
    for position, one in asked.items():
        try:
            instances[position] = decode(serving.model, one.inputs)
        except (RefusedInputsError, OutOfMemoryError) as error:
            outcomes[position] = Refusal(error)
    decoded = perf_counter()
    everything = [instance for some in instances.values() for instance in some]
    answers: Iterator[Answer | WithOutputs]
    try:
        with run_deadline.limited(RUN_SECONDS):
            answers = iter((run_with_outputs if keep_outputs else run)(serving.model, everything))
    except (ModelTimeoutError, OutOfMemoryError) as error:
        outcomes |= dict.fromkeys(instances, Refusal(error))
        return [outcomes[position] for position in range(len(requests))]
    inferred = perf_counter()

    count = sum(map(len, instances.values()))
    timing = _Timing((decoded - started) * 1000, (inferred - decoded) * 1000, count)
    for position, some in instances.items():
        outcomes[position] = _outcome(serving, asked[position], islice(answers, len(some)), timing)
    return [outcomes[position] for position in range(len(requests))]


def _predict_alone(serving: Serving, request: PredictionRequest, *, keep_outputs: bool) -> Outcome:
    """Predict one request as `predict` does, without the sorting that several need."""
    asked = _look_up(serving, request)
    if not isinstance(asked, _Asked):
        return asked
    started = perf_counter()
    try:
        instances = decode(serving.model, asked.inputs)
        decoded = perf_counter()
        with run_deadline.limited(RUN_SECONDS):
            answers: Iterable[Answer | WithOutputs] = (run_with_outputs if keep_outputs else run)(
                serving.model, instances
            )
    except (RefusedInputsError, ModelTimeoutError, OutOfMemoryError) as error:
        return Refusal(error)
    inferred = perf_counter()
    timing = _Timing((decoded - started) * 1000, (inferred - decoded) * 1000, len(instances))
    return _outcome(serving, asked, answers, timing)


def predict_again(serving: Serving, inputs: Sequence[Input]) -> list[WithOutputs]:
    """Return the predictions and the model's outputs for inputs that are stored already, and store nothing.

    Raises
    ------
    RefusedInputsError, InferenceError
        If they cannot be predicted, although they once were.
    """
    instances = decode(serving.model, inputs)
    with run_deadline.limited(RUN_SECONDS):
        answers = run_with_outputs(serving.model, instances)
    predicted = []
    for answer in answers:
        if not isinstance(answer, WithOutputs):
            raise answer
        predicted.append(answer)
    return predicted


def _look_up(serving: Serving, request: PredictionRequest) -> _Asked | Replay | Refusal:
    """Return the request with its uploads, ready to predict; or what its key has already stored."""
    idempotency = request.idempotency()
    try:
        if idempotency is not None and (replay := serving.ledger.replay(idempotency)):
            return replay
        return _Asked(request, idempotency, fetch_uploads(serving, request.inputs, request.user_id))
    except (UploadError, LedgerError, ObjectStoreError) as error:
        return Refusal(error)


class _Timing(NamedTuple):
    decode_ms: float
    inference_ms: float
    inputs: int


def _outcome(
    serving: Serving, asked: _Asked, answers: Iterable[Answer | WithOutputs], timing: _Timing
) -> Predicted | Refusal:
    user_id = asked.request.user_id
    duration_ms = round((timing.decode_ms + timing.inference_ms) / timing.inputs, 3)
    predictions: list[NewPrediction] = []
    records: list[PredictionRecord] = []
    new_inputs: list[NewInput] = []
    errors: dict[int, InputError] = {}
    kept: list[Mapping[str, Any]] = []
    for position, (one, answered) in enumerate(zip(asked.inputs, answers, strict=True)):
        if isinstance(answered, WithOutputs):
            kept.append(answered.outputs)
        answer = answered.prediction if isinstance(answered, WithOutputs) else answered
        if isinstance(answer, ModelRunError):
            return Refusal(answer)
        if isinstance(answer, InputError):
            errors[position] = answer
            continue
        stored = new_input(one, serving.inputs_bucket, user_id)
        if one.uri is None:
            new_inputs.append(stored)
        prediction = _new_prediction(stored, answer, one, user_id, duration_ms)
        predictions.append(prediction)
        records.append(prediction.record(serving.identity))
    if errors:
        return Refusal(RefusedInputsError(errors))
    return Predicted(
        predictions=tuple(predictions),
        records=tuple(records),
        new_inputs=tuple(new_inputs),
        idempotency=asked.idempotency,
        decode_ms=round(timing.decode_ms, 3),
        inference_ms=round(timing.inference_ms, 3),
        outputs=tuple(kept),
    )


def _new_prediction(
    stored: NewInput, answer: Prediction, one: Input, user_id: str, duration_ms: float
) -> NewPrediction:
    return NewPrediction(
        input=stored,
        output=answer.output,
        likely_class=answer.likely_class,
        label=answer.label,
        confidence=answer.confidence,
        predicted_value=answer.predicted_value,
        duration_ms=duration_ms,
        user_id=user_id,
        metadata=one.metadata,
        outputs=None if answer.outputs is None else dict(answer.outputs),
    )


def store(serving: Serving, made: Sequence[Predicted]) -> list[Replay | Refusal | None]:
    """Commit predictions with their inputs.

    Requests without an idempotency key share one commit. If the database refuses a value in it, each request is
    committed separately, so that a bad value affects only its own request.

    Parameters
    ----------
    serving
        The ledger and the bucket.
    made
        The results of `predict`. The predictions of each request are stored all or not at all.

    Returns
    -------
    list
        For each request, in the same order: None if it is stored; what its key stored, if a concurrent request was
        first; or why it is not stored.
    """
    if len(made) == 1:
        return [_store_alone(serving, made[0])]
    together = [position for position, one in enumerate(made) if one.idempotency is None]
    alone = [position for position, one in enumerate(made) if one.idempotency is not None]
    results: dict[int, Replay | Refusal | None] = {}
    if together:
        results |= _store_together(serving, made, together)
    for position in alone:
        results[position] = _store_alone(serving, made[position])
    return [results[position] for position in range(len(made))]


def _store_alone(serving: Serving, made: Predicted) -> Replay | Refusal | None:
    try:
        return _commit(serving, [made])
    except (LedgerError, ObjectStoreError) as error:
        return Refusal(error)


def _store_together(
    serving: Serving, made: Sequence[Predicted], positions: Sequence[int]
) -> dict[int, Replay | Refusal | None]:
    try:
        return dict.fromkeys(positions, _commit(serving, [made[position] for position in positions]))
    except LedgerError as error:
        if len(positions) > 1 and not isinstance(error, LedgerUnavailableError):
            return {
                position: result
                for one in positions
                for position, result in _store_together(serving, made, [one]).items()
            }
        return dict.fromkeys(positions, Refusal(error))
    except ObjectStoreError as error:
        return dict.fromkeys(positions, Refusal(error))


def _commit(serving: Serving, made: Sequence[Predicted]) -> Replay | None:
    started = perf_counter()
    predictions = [prediction for one in made for prediction in one.predictions]
    if serving.inputs_bucket is None:
        replay = serving.ledger.store(serving.identity, predictions, idempotency=made[0].idempotency)
    else:
        replay = _commit_with_objects(serving, serving.inputs_bucket, predictions, made)
    if replay is None:
        logger.info_each(
            [("predicted", _about(prediction)) for prediction in predictions],
            model=serving.identity.name,
            version=serving.identity.version,
            batch=len(predictions),
            decode_ms=made[0].decode_ms,
            inference_ms=made[0].inference_ms,
            store_ms=round((perf_counter() - started) * 1000, 3),
        )
    return replay


def _commit_with_objects(
    serving: Serving, bucket: Bucket, predictions: Sequence[NewPrediction], made: Sequence[Predicted]
) -> Replay | None:
    """Put the objects of the inputs, then commit the rows that name them."""
    new_inputs = [new for one in made for new in one.new_inputs]
    replay = None
    with InputObjects(bucket, new_inputs, serving.ledger, predictions[0].prediction_id) as input_objects:
        replay = serving.ledger.store(serving.identity, predictions, idempotency=made[0].idempotency)
        if replay is not None:
            input_objects.remove()
    return replay


def _about(prediction: NewPrediction) -> dict[str, object]:
    return {"prediction_id": str(prediction.prediction_id), "user_id": prediction.user_id}
