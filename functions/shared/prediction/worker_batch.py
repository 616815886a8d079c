"""Predict a batch of queued predictions. They run together, but each succeeds or fails separately.

The ledger decides which worker makes a prediction and keeps the first outcome. A permanent error (a bad input) is an
outcome. A temporary one (the runtime failed, time ran out, S3 is unreachable) is not: the prediction is tried again.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, islice
from time import perf_counter
from typing import Final, TypeAlias
from uuid import UUID

from functions.shared.inference import run_deadline
from functions.shared.inference.errors import (
    ImageTooLargeError,
    InputError,
    ModelRunError,
    ModelTimeoutError,
    OutOfMemoryError,
    OutputTooLargeError,
    UndecodableImageError,
    UnpredictableInputError,
)
from functions.shared.inference.model import Instance, Model
from functions.shared.inference.output_size import MAX_STORED_BYTES
from functions.shared.ledger.errors import LedgerError, LedgerUnavailableError
from functions.shared.ledger.records import ClaimedPrediction, Failure, Measured, NewOutput, Success, rounded_ms
from functions.shared.log import logger
from functions.shared.object_storage.bucket import PARALLEL, Bucket
from functions.shared.object_storage.errors import ObjectMissingError, ObjectStoreUnavailableError
from functions.shared.prediction.input_objects import InputObjects
from functions.shared.prediction.instances import run
from functions.shared.prediction.output_objects import new_outputs
from functions.shared.prediction.pace import Pace
from functions.shared.prediction.serving import Serving

LEASE_MARGIN: Final = 1.0
"""Seconds that a statement may still run after its worker's time has ended."""

DECODING_SHARE: Final = 0.5
"""Share of the remaining time after which nothing more is decoded before the model runs."""

RUNNING_SHARE: Final = 0.9
"""Share of the remaining time after which the model is ended: the rest is for recording the outcomes."""

LONG_ENOUGH: Final = 30.0
"""Seconds after which a prediction that was alone fails instead of being tried again."""

_KINDS: Final[dict[type[InputError], str]] = {
    UndecodableImageError: "undecodable",
    ImageTooLargeError: "too_large",
    OutputTooLargeError: "output_too_large",
    UnpredictableInputError: "unpredictable",
}
"""The kinds of failures by their errors, as in `Failure`. An input that the model does not take has any other."""

RemainingTime: TypeAlias = Callable[[], int]
"""Returns the milliseconds that the worker has left."""


def predict_queued(
    serving: Serving,
    pace: Pace,
    prediction_ids: Iterable[UUID],
    remaining_time: RemainingTime,
    *,
    suspects: Collection[UUID] = (),
) -> set[UUID]:
    """Make queued predictions and record their outcomes.

    Usually this takes two SQL statements and one run of the model. Suspects follow, each with statements and a run of
    its own: one that ends its worker takes no other with it. Those that no worker has come to yet go first.

    Parameters
    ----------
    serving
        The model, the ledger and the bucket of the inputs.
    pace
        How long predictions take here: it limits how many are started.
    prediction_ids
        The ids in the worker's messages.
    remaining_time
        How much time the worker has.
    suspects
        Those among the ids whose message comes again: their worker may have ended because of one of them.

    Returns
    -------
    set of UUID
        The predictions to try again later: they have no outcome, or another worker has claimed them.

    Raises
    ------
    LedgerError
        If the database cannot be reached. All predictions must then be tried again.
    """
    # All workers have the same time limit, so a worker that claimed a prediction longer ago than this has ended.
    lease_seconds = remaining_time() / 1000 + LEASE_MARGIN
    wanted = list(prediction_ids)
    undone: set[UUID] = set()
    if together := [one for one in wanted if one not in suspects]:
        undone |= _predict_together(serving, pace, together, remaining_time, lease_seconds)
    ordered: Sequence[UUID] = ()
    if alone := [one for one in wanted if one in suspects]:
        ordered = serving.ledger.least_recently_claimed(alone)
    for position, one in enumerate(ordered):
        if (position or together) and not pace.affordable(remaining_time()):
            return undone | set(ordered[position:])
        undone |= _predict_together(serving, pace, [one], remaining_time, lease_seconds)
    return undone


def _predict_together(
    serving: Serving,
    pace: Pace,
    prediction_ids: Iterable[UUID],
    remaining_time: RemainingTime,
    lease_seconds: float,
) -> set[UUID]:
    claim = serving.ledger.claim(prediction_ids, lease_seconds=lease_seconds)
    return {*claim.busy, *predict_claimed(serving, pace, claim.claimed, remaining_time)}


def predict_claimed(
    serving: Serving,
    pace: Pace,
    claimed: Sequence[ClaimedPrediction],
    remaining_time: RemainingTime,
    count: Callable[[int, int], None] = lambda _succeeded, _failed: None,
) -> set[UUID]:
    """Make predictions that this worker has claimed, together, and record their outcomes.

    Parameters
    ----------
    serving, pace, remaining_time
        As in `predict_queued`.
    claimed
        The predictions.
    count
        Is told how many have just succeeded and failed, once that is committed.

    Returns
    -------
    set of UUID
        Those that have no outcome, and are to be tried again.

    Raises
    ------
    LedgerError
        If the database cannot be reached. None has an outcome then, as far as one can tell.
    """
    outcomes = _outcomes(serving, pace, claimed, remaining_time)
    decided = {outcome.prediction_id for some in _together(outcomes) for outcome in _record(serving, some, count)}
    return {one.prediction_id for one in claimed if one.prediction_id not in decided}


def _outcomes(
    serving: Serving, pace: Pace, claimed: Sequence[ClaimedPrediction], remaining_time: RemainingTime
) -> list[Success | Failure]:
    """Predict as many as time allows: usually all, in one portion."""
    outcomes: list[Success | Failure] = []
    fetched = _fetched(serving.inputs_bucket, claimed)
    count = max(1, pace.affordable(remaining_time()))
    began = perf_counter()
    while count and (first := next(fetched, None)) is not None:
        some = chain([first], islice(fetched, count - 1))
        tried, made = outcomes_of(serving.model, some, remaining_time(), serving.inputs_bucket)
        outcomes += made
        ended = perf_counter()
        pace.note(tried, (ended - began) * 1000)
        count, began = pace.affordable(remaining_time()), ended
    return outcomes


def _fetched(bucket: Bucket | None, claimed: Sequence[ClaimedPrediction]) -> Iterator[ClaimedPrediction | Failure]:
    """Yield predictions with their inputs' bytes, a few at a time: all of them may not fit into memory.

    A prediction whose object is missing fails. Those that cannot be fetched now are left out.
    """
    if all(one.uri is None for one in claimed):
        yield from claimed
        return
    with ThreadPoolExecutor(PARALLEL) as threads:
        for start in range(0, len(claimed), PARALLEL):
            found = list(threads.map(partial(_fetch, bucket), claimed[start : start + PARALLEL]))
            yield from (one for one in found if one is not None)
            if None in found:
                return  # the others would most likely time out as well


def _fetch(bucket: Bucket | None, one: ClaimedPrediction) -> ClaimedPrediction | Failure | None:
    if one.uri is None:
        return one
    if bucket is None:
        logger.error("an input is in a bucket, and INPUTS_BUCKET is not set")
        return None
    try:
        content = bucket.get(bucket.key(one.uri), sha256=one.sha256)
    except ObjectMissingError as error:
        logger.error("an input's object is missing", reason=str(error))
        return Failure(one.prediction_id, "The bytes of the input are no longer there.", "input_missing")
    except ObjectStoreUnavailableError as error:
        logger.error("object storage cannot be reached", reason=str(error))
        return None
    return one._replace(content=content)


def outcomes_of(
    model: Model,
    claimed: Iterable[ClaimedPrediction | Failure],
    milliseconds: float,
    inputs_bucket: Bucket | None = None,
) -> tuple[int, list[Success | Failure]]:
    """Decode and predict, in one run of the model, for as long as there is time.

    Parameters
    ----------
    model
        The model.
    claimed
        The predictions to make; failures are passed through. Those that there is no time to decode are not taken.
    milliseconds
        The time that is left.
    inputs_bucket
        The bucket for what is large; None if the ledger stores it itself.

    Returns
    -------
    int
        How many it has taken.
    list
        One outcome for each of these. A prediction has none if the runtime failed through no fault of its input, or if
        the run took too long: it is tried again, alone. One that was alone fails.
    """
    started = perf_counter()
    tried = 0
    instances: dict[UUID, Instance] = {}
    decode_ms: dict[UUID, float] = {}
    owners: dict[UUID, str] = {}
    failures: list[Failure] = []
    for one in claimed:
        tried += 1
        if isinstance(one, Failure):
            failures.append(one)
            continue
        began = perf_counter()
        try:
            instances[one.prediction_id] = _decode(model, one)
            decode_ms[one.prediction_id] = rounded_ms((perf_counter() - began) * 1000)
            owners[one.prediction_id] = one.user_id
        except InputError as error:
            failures.append(_failure(one.prediction_id, str(error), _kind(error)))
        except MemoryError:
            logger.error("there is not enough memory to decode an input", prediction_id=str(one.prediction_id))
        if (perf_counter() - started) * 1000 > milliseconds * DECODING_SHARE:
            break
    decoded = perf_counter()
    seconds = milliseconds / 1000 * RUNNING_SHARE - (decoded - started)
    try:
        with run_deadline.limited(seconds):
            answers = zip(instances, run(model, list(instances.values())), strict=True)
    except OutOfMemoryError as error:
        logger.error("the model cannot run", predictions=[str(one) for one in instances], reason=str(error))
        return tried, [*failures]
    except ModelTimeoutError as error:
        logger.error("the model took too long", predictions=[str(one) for one in instances], reason=str(error))
        if len(instances) == 1 and seconds > LONG_ENOUGH:
            reason = f"the model took longer than {seconds:.0f} seconds"
            failures += [_failure(one, reason, "too_slow") for one in instances]
        return tried, [*failures]
    ended, count = perf_counter(), max(1, len(instances))
    duration_ms = round((ended - started) * 1000 / count, 3)
    inference_ms = rounded_ms((ended - decoded) * 1000 / count)
    successes: list[Success] = []
    for prediction_id, answer in answers:
        if isinstance(answer, InputError):
            failures.append(_failure(prediction_id, answer.problems[-1].detail, _kind(answer)))
        elif isinstance(answer, ModelRunError):
            logger.error("the model failed", prediction_id=str(prediction_id), reason=str(answer))
        else:
            successes.append(
                Success(
                    prediction_id=prediction_id,
                    output=answer.output,
                    likely_class=answer.likely_class,
                    label=answer.label,
                    confidence=answer.confidence,
                    predicted_value=answer.predicted_value,
                    duration_ms=duration_ms,
                    outputs=None if answer.outputs is None else dict(answer.outputs),
                    large=new_outputs(answer.large, inputs_bucket, owners[prediction_id]),
                    measured=Measured(
                        decode_ms[prediction_id], inference_ms, *(instances[prediction_id].picture or ())
                    ),
                )
            )
    return tried, [*failures, *successes]


def _failure(prediction_id: UUID, reason: str, kind: str) -> Failure:
    """Word the reason as a sentence, as the synchronous path does."""
    return Failure(prediction_id, reason if reason.endswith(".") else f"{reason}.", kind)


def _kind(error: InputError) -> str:
    return next((kind for of, kind in _KINDS.items() if isinstance(error, of)), "refused_by_model")


def _decode(model: Model, one: ClaimedPrediction) -> Instance:
    takes = model.package.takes
    if takes != (one.form or ("image" if one.features is None else "features")):
        raise InputError(f"another model is served by now, which takes {takes}")
    if one.features is not None and one.form == "tensors":
        return model.decode_tensors(json.loads(one.features))
    if one.features is not None:
        return model.decode_features(json.loads(one.features))
    return model.decode_image(one.content or b"")


def _together(outcomes: Iterable[Success | Failure]) -> Iterator[Sequence[Success | Failure]]:
    """Yield the outcomes that are committed together: all, but for those with outputs that make too much."""
    some: list[Success | Failure] = []
    size = 0
    for outcome in outcomes:
        own = sum(one.size for one in _large([outcome]))
        if some and size + own > MAX_STORED_BYTES:
            yield some
            some, size = [], 0
        some.append(outcome)
        size += own
    if some:
        yield some


def _large(outcomes: Iterable[Success | Failure]) -> list[NewOutput]:
    return [one for outcome in outcomes if isinstance(outcome, Success) for one in outcome.large]


def _record(
    serving: Serving, outcomes: Sequence[Success | Failure], count: Callable[[int, int], None]
) -> Sequence[Success | Failure]:
    """Commit outcomes, and return those that are committed."""
    started = perf_counter()
    try:
        decided_before = _complete(serving, outcomes)
    except ObjectStoreUnavailableError as error:
        logger.error("object storage cannot be reached", reason=str(error))
        return ()
    store_ms = round((perf_counter() - started) * 1000, 3)
    succeeded = [isinstance(one, Success) for one in outcomes if one.prediction_id not in decided_before]
    count(sum(succeeded), len(succeeded) - sum(succeeded))
    logger.info_each(
        [_line(outcome, decided_before) for outcome in outcomes],
        model=serving.identity.name,
        version=serving.identity.version,
        batch=len(outcomes),
        store_ms=store_ms,
    )
    return outcomes


def _complete(serving: Serving, outcomes: Sequence[Success | Failure]) -> set[UUID]:
    """Commit outcomes together. One that the database refuses fails by itself: its neighbours are stored without it."""
    outputs = _large(outcomes)
    decided_before: set[UUID] = set()
    try:
        with InputObjects(serving.inputs_bucket, (), serving.ledger, outputs) as objects:
            decided_before = set(serving.ledger.complete(serving.identity, outcomes))
            unused = _large(one for one in outcomes if one.prediction_id in decided_before)
            objects.remove(one.output_id for one in unused)
    except LedgerUnavailableError:
        raise
    except LedgerError as error:
        if len(outcomes) > 1:
            middle = len(outcomes) // 2
            return _complete(serving, outcomes[:middle]) | _complete(serving, outcomes[middle:])
        [outcome] = outcomes
        if isinstance(outcome, Failure):
            raise
        logger.warning("an answer cannot be stored", prediction_id=str(outcome.prediction_id), reason=str(error))
        return _complete(
            serving, [Failure(outcome.prediction_id, "The model's answer cannot be stored.", "unstorable")]
        )
    return decided_before


def _line(outcome: Success | Failure, decided_before: set[UUID]) -> tuple[str, Mapping[str, object]]:
    prediction_id = str(outcome.prediction_id)
    if outcome.prediction_id in decided_before:
        return "predicted before", {"prediction_id": prediction_id}
    if isinstance(outcome, Failure):
        return "failed", {"prediction_id": prediction_id, "reason": outcome.error}
    return "predicted", {"prediction_id": prediction_id, "duration_ms": outcome.duration_ms}
