"""Predict the inputs of requests and store them before the requests are answered.

There are two steps: `predict` makes the predictions and their records, and `store` commits them. Build the whole answer
between the two: an answer that failed after the commit would leave records that the caller does not know of.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from functions.shared.inference import run_deadline
from functions.shared.inference.errors import (
    InferenceError,
    InputError,
    ModelRunError,
    ModelTimeoutError,
    OutOfMemoryError,
)
from functions.shared.inference.instance import Instance
from functions.shared.inference.prediction import Prediction
from functions.shared.ledger.errors import LedgerError, LedgerUnavailableError
from functions.shared.ledger.records import (
    IdempotencyKey,
    Measured,
    NewInput,
    NewOutput,
    NewPrediction,
    PredictionRecord,
    Replay,
    StoredRequest,
    rounded_ms,
)
from functions.shared.log import logger
from functions.shared.object_storage.errors import ObjectStoreError
from functions.shared.prediction.errors import RefusedInputsError, UploadError
from functions.shared.prediction.input_objects import InputObjects, new_input
from functions.shared.prediction.instances import Answer, WithOutputs, decode, run, run_with_outputs
from functions.shared.prediction.limits import RUN_SECONDS
from functions.shared.prediction.output_objects import new_outputs, too_large_together
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
    request_id
        As in `PredictionRequest`.
    large
        The outputs that are stored apart.
    """

    predictions: tuple[NewPrediction, ...]
    records: tuple[PredictionRecord, ...]
    new_inputs: tuple[NewInput, ...]
    idempotency: IdempotencyKey | None
    decode_ms: float
    inference_ms: float
    outputs: tuple[Mapping[str, Any], ...] = ()
    request_id: str | None = None
    large: tuple[NewOutput, ...] = ()

    @property
    def object_ids(self) -> list[UUID]:
        """The ids of what is stored as objects, where there is a bucket."""
        return [*(new.input_id for new in self.new_inputs), *(output.output_id for output in self.large)]


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
    for position, found in enumerate(_look_up(serving, requests)):
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
        outcomes[position] = _outcome(serving, asked[position], some, islice(answers, len(some)), timing)
    return [outcomes[position] for position in range(len(requests))]


def _predict_alone(serving: Serving, request: PredictionRequest, *, keep_outputs: bool) -> Outcome:
    """Predict one request as `predict` does, without the sorting that several need."""
    key = request.idempotency()
    try:
        if key is not None and (replay := serving.ledger.replay(key)):
            return replay
        inputs = fetch_uploads(serving, request.inputs, request.user_id)
    except (UploadError, LedgerError, ObjectStoreError) as error:
        return Refusal(error)
    started = perf_counter()
    try:
        instances = decode(serving.model, inputs)
        decoded = perf_counter()
        with run_deadline.limited(RUN_SECONDS):
            answers: Iterable[Answer | WithOutputs] = (run_with_outputs if keep_outputs else run)(
                serving.model, instances
            )
    except (RefusedInputsError, ModelTimeoutError, OutOfMemoryError) as error:
        return Refusal(error)
    inferred = perf_counter()
    timing = _Timing((decoded - started) * 1000, (inferred - decoded) * 1000, len(instances))
    return _outcome(serving, _Asked(request, key, inputs), instances, answers, timing)


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


def _look_up(serving: Serving, requests: Sequence[PredictionRequest]) -> Iterator[_Asked | Replay | Refusal]:
    """Yield each request with its uploads, ready to predict; or what its key has already stored."""
    keys = [request.idempotency() for request in requests]
    stored = iter(serving.ledger.replays([key for key in keys if key is not None]))
    for request, key in zip(requests, keys, strict=True):
        found = None if key is None else next(stored)
        if isinstance(found, LedgerError):
            yield Refusal(found)
        elif found is not None:
            yield found
        else:
            try:
                yield _Asked(request, key, fetch_uploads(serving, request.inputs, request.user_id))
            except (UploadError, LedgerError, ObjectStoreError) as error:
                yield Refusal(error)


class _Timing(NamedTuple):
    decode_ms: float
    inference_ms: float
    inputs: int


def _outcome(
    serving: Serving,
    asked: _Asked,
    instances: Sequence[Instance],
    answers: Iterable[Answer | WithOutputs],
    timing: _Timing,
) -> Predicted | Refusal:
    user_id = asked.request.user_id
    duration_ms = round((timing.decode_ms + timing.inference_ms) / timing.inputs, 3)
    predictions: list[NewPrediction] = []
    records: list[PredictionRecord] = []
    new_inputs: list[NewInput] = []
    errors: dict[int, InputError] = {}
    kept: list[Mapping[str, Any]] = []
    timings = rounded_ms(timing.decode_ms / timing.inputs), rounded_ms(timing.inference_ms / timing.inputs)
    for position, (one, instance, answered) in enumerate(zip(asked.inputs, instances, answers, strict=True)):
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
        prediction.measured = Measured(*timings, *(instance.picture or ()))
        if answer.large:
            prediction.large = new_outputs(answer.large, serving.inputs_bucket, user_id)
        predictions.append(prediction)
        records.append(prediction.record(serving.identity))
    if errors:
        return Refusal(RefusedInputsError(errors))
    large = tuple([output for prediction in predictions for output in prediction.large])
    if large and (too_large := too_large_together(large)) is not None:
        return Refusal(too_large)
    return Predicted(
        predictions=tuple(predictions),
        records=tuple(records),
        new_inputs=tuple(new_inputs),
        idempotency=asked.idempotency,
        decode_ms=round(timing.decode_ms, 3),
        inference_ms=round(timing.inference_ms, 3),
        outputs=tuple(kept),
        request_id=asked.request.request_id,
        large=large,
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
        inference_id=one.inference_id,
    )


def store(serving: Serving, made: Sequence[Predicted]) -> list[Replay | Refusal | None]:
    """Commit predictions with their inputs, those of all requests together.

    A value that the database refuses, a key that is taken and a user over a quota affect their own request only.

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
    if len(made) == 1 and serving.inputs_bucket is None:
        return [_store_alone(serving, made[0])]
    started = perf_counter()
    told = _commit_each(serving, made) if serving.inputs_bucket is None else _commit_each_with_objects(serving, made)
    _log(serving, [one for one, answer in zip(made, told, strict=True) if answer is None], started)
    return [Refusal(answer) if isinstance(answer, Exception) else answer for answer in told]


def _store_alone(serving: Serving, made: Predicted) -> Replay | Refusal | None:
    started = perf_counter()
    try:
        replay = serving.ledger.store(serving.identity, made.predictions, idempotency=made.idempotency)
    except LedgerError as error:
        return Refusal(error)
    if replay is None:
        _log(serving, [made], started)
    return replay


def _log(serving: Serving, stored: Sequence[Predicted], started: float) -> None:
    lines = [("predicted", _about(one, prediction)) for one in stored for prediction in one.predictions]
    if lines:
        logger.info_each(
            lines,
            model=serving.identity.name,
            version=serving.identity.version,
            batch=len(lines),
            decode_ms=stored[0].decode_ms,
            inference_ms=stored[0].inference_ms,
            store_ms=round((perf_counter() - started) * 1000, 3),
        )


def _about(made: Predicted, prediction: NewPrediction) -> dict[str, object]:
    about: dict[str, object] = {"prediction_id": str(prediction.prediction_id)}
    if made.request_id is not None:
        about["function_request_id"] = made.request_id
    return about


def _commit_each(serving: Serving, made: Iterable[Predicted]) -> Sequence[Replay | LedgerError | None]:
    requests = [StoredRequest(one.predictions, one.idempotency) for one in made]
    return serving.ledger.store_requests(serving.identity, requests)


def _commit_each_with_objects(
    serving: Serving, made: Sequence[Predicted]
) -> Sequence[Replay | LedgerError | ObjectStoreError | None]:
    """Put the objects first. Those of requests that are not stored are removed, unless their rows may exist."""
    new_inputs = [new for one in made for new in one.new_inputs]
    large = [output for one in made for output in one.large]
    objects = InputObjects(serving.inputs_bucket, new_inputs, serving.ledger, large)
    try:
        objects.put()
    except ObjectStoreError as error:
        named = [bool(one.large) or any(new.uri is not None for new in one.new_inputs) for one in made]
        others = iter(
            _commit_each(serving, [one for one, has_object in zip(made, named, strict=True) if not has_object])
        )
        return [error if has_object else next(others) for has_object in named]
    told = list(_commit_each(serving, made))
    doubtful: list[UUID] = []
    unnamed: list[UUID] = []
    for one, answer in zip(made, told, strict=True):
        if answer is not None:
            in_doubt = isinstance(answer, LedgerUnavailableError) and answer.in_doubt
            (doubtful if in_doubt else unnamed).extend(one.object_ids)
    objects.remove(unnamed)
    found = objects.find_rows(doubtful)
    return [None if not found.isdisjoint(one.object_ids) else answer for one, answer in zip(made, told, strict=True)]
