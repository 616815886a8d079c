"""Predict what is queued, a batch at a time. Each prediction succeeds or fails by itself, though they run together.

The ledger says whose turn it is, and keeps the first outcome. What is wrong for good (a bad input) is the prediction's
outcome. What another try may mend (the runtime failed, there was no time, S3 is away) has no outcome yet.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Final, TypeAlias
from uuid import UUID

from functions.shared.inference.errors import InputError, ModelRunError
from functions.shared.inference.model import Instance, Model
from functions.shared.ledger.errors import LedgerError, LedgerUnavailableError
from functions.shared.ledger.records import ClaimedPrediction, Failure, Success
from functions.shared.log import logger
from functions.shared.object_storage.bucket import PARALLEL, Bucket
from functions.shared.object_storage.errors import ObjectMissingError, ObjectStoreUnavailableError
from functions.shared.prediction.instances import run
from functions.shared.prediction.pace import Pace
from functions.shared.prediction.serving import Serving

LEASE_MARGIN: Final = 1.0
"""Seconds that a statement may still be under way after the time of its worker has ended."""

RemainingTime: TypeAlias = Callable[[], int]
"""Milliseconds that the worker has left."""


def predict_queued(
    serving: Serving, pace: Pace, prediction_ids: Iterable[UUID], remaining_time: RemainingTime
) -> set[UUID]:
    """Predict queued predictions, with one query, one run of the model and one statement.

    Parameters
    ----------
    serving
        The model, the ledger and the bucket of the inputs.
    pace
        How long predictions take here, so that no more are begun than there is time for.
    prediction_ids
        Which.
    remaining_time
        How much time there is.

    Returns
    -------
    set of UUID
        Those that are to be tried again later: they have no outcome, or another worker is at them.

    Raises
    ------
    LedgerError
        If the database cannot be reached, and all are to be tried again.
    """
    # Every worker is given the same time, so one that has had this much is no more.
    lease_seconds = remaining_time() / 1000 + LEASE_MARGIN
    claim = serving.ledger.claim(prediction_ids, lease_seconds=lease_seconds)
    outcomes = _outcomes(serving, pace, claim.claimed, remaining_time)
    if outcomes:
        _record(serving, outcomes)
    decided = {outcome.prediction_id for outcome in outcomes}
    return {*claim.busy, *(one.prediction_id for one in claim.claimed if one.prediction_id not in decided)}


def _outcomes(
    serving: Serving, pace: Pace, claimed: Sequence[ClaimedPrediction], remaining_time: RemainingTime
) -> list[Success | Failure]:
    """Predict as many as there is time for, which should be all of them, in one portion."""
    outcomes: list[Success | Failure] = []
    fetched = _fetched(serving.inputs_bucket, claimed)
    count = max(1, pace.affordable(remaining_time()))
    began = perf_counter()
    while portion := list(islice(fetched, count)):
        outcomes += outcomes_of(serving.model, portion)
        ended = perf_counter()
        pace.note(len(portion), (ended - began) * 1000)
        count, began = pace.affordable(remaining_time()), ended
    return outcomes


def _fetched(bucket: Bucket | None, claimed: Sequence[ClaimedPrediction]) -> Iterator[ClaimedPrediction | Failure]:
    """Yield predictions with their inputs' bytes, a few at a time, since not all of them may fit into the memory.

    One whose bytes are gone fails. Those that cannot be fetched at the moment are left out.
    """
    if all(one.uri is None for one in claimed):
        yield from claimed
        return
    with ThreadPoolExecutor(PARALLEL) as threads:
        for start in range(0, len(claimed), PARALLEL):
            found = list(threads.map(partial(_fetch, bucket), claimed[start : start + PARALLEL]))
            yield from (one for one in found if one is not None)
            if None in found:
                return  # each of the others would take its time to be refused too


def _fetch(bucket: Bucket | None, one: ClaimedPrediction) -> ClaimedPrediction | Failure | None:
    if one.uri is None:
        return one
    if bucket is None:
        logger.error("an input is in a bucket, and INPUTS_BUCKET is not set")
        return None
    try:
        content = bucket.get(bucket.key(one.uri))
    except ObjectMissingError as error:
        logger.error("an input's object is missing", reason=str(error))
        return Failure(one.prediction_id, "The bytes of the input are no longer there.")
    except ObjectStoreUnavailableError as error:
        logger.error("object storage cannot be reached", reason=str(error))
        return None
    return one._replace(content=content)


def outcomes_of(model: Model, claimed: Iterable[ClaimedPrediction | Failure]) -> list[Success | Failure]:
    """Decode and predict, in one run of the model.

    Parameters
    ----------
    model
        The model.
    claimed
        What to predict; what has failed before that is passed on.

    Returns
    -------
    list
        An outcome for each, but for those that the runtime failed on through no fault of the input: they have none yet.
    """
    started = perf_counter()
    instances: dict[UUID, Instance] = {}
    failures: list[Failure] = []
    for one in claimed:
        if isinstance(one, Failure):
            failures.append(one)
            continue
        try:
            instances[one.prediction_id] = _decode(model, one)
        except InputError as error:
            failures.append(_failure(one.prediction_id, str(error)))
    answers = zip(instances, run(model, list(instances.values())), strict=True)
    duration_ms = round((perf_counter() - started) * 1000 / max(1, len(instances)), 3)
    successes: list[Success] = []
    for prediction_id, answer in answers:
        if isinstance(answer, InputError):
            failures.append(_failure(prediction_id, answer.problems[-1].detail))
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
                )
            )
    return [*failures, *successes]


def _failure(prediction_id: UUID, reason: str) -> Failure:
    """Word the reason as a sentence, as the synchronous path does."""
    return Failure(prediction_id, reason if reason.endswith(".") else f"{reason}.")


def _decode(model: Model, one: ClaimedPrediction) -> Instance:
    takes = model.package.takes
    if takes != ("image" if one.features is None else "features"):
        raise InputError(f"another model is served by now, which takes {takes}")
    if one.features is not None:
        return model.decode_features(json.loads(one.features))
    return model.decode_image(one.content or b"")


def _record(serving: Serving, outcomes: Sequence[Success | Failure]) -> None:
    started = perf_counter()
    decided_before = _complete(serving, outcomes)
    store_ms = round((perf_counter() - started) * 1000, 3)
    logger.info_each(
        [_line(outcome, decided_before) for outcome in outcomes],
        model=serving.identity.name,
        version=serving.identity.version,
        batch=len(outcomes),
        store_ms=store_ms,
    )


def _complete(serving: Serving, outcomes: Sequence[Success | Failure]) -> set[UUID]:
    """Commit outcomes together. One that the database refuses fails by itself: its neighbours are stored without it."""
    try:
        return set(serving.ledger.complete(serving.identity, outcomes))
    except LedgerUnavailableError:
        raise
    except LedgerError as error:
        if len(outcomes) > 1:
            return {decided for one in outcomes for decided in _complete(serving, [one])}
        [outcome] = outcomes
        if isinstance(outcome, Failure):
            raise
        logger.warning("an answer cannot be stored", prediction_id=str(outcome.prediction_id), reason=str(error))
        return _complete(serving, [Failure(outcome.prediction_id, "The model's answer cannot be stored.")])


def _line(outcome: Success | Failure, decided_before: set[UUID]) -> tuple[str, Mapping[str, object]]:
    prediction_id = str(outcome.prediction_id)
    if outcome.prediction_id in decided_before:
        return "predicted before", {"prediction_id": prediction_id}
    if isinstance(outcome, Failure):
        return "failed", {"prediction_id": prediction_id, "reason": outcome.error}
    return "predicted", {"prediction_id": prediction_id, "duration_ms": outcome.duration_ms}
