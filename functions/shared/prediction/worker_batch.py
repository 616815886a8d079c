"""What becomes of queued predictions: each succeeds or fails by itself, though they are run together."""

import json
from collections.abc import Iterable, Mapping
from time import perf_counter
from uuid import UUID

from functions.shared.inference.errors import InputError, ModelRunError
from functions.shared.inference.model import Instance, Model
from functions.shared.inference.prediction import Prediction
from functions.shared.ledger.records import ClaimedPrediction, Failure, Success
from functions.shared.log import logger


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
        An outcome for each, but for those that the model failed on through no fault of the input: they have none yet.
    """
    started = perf_counter()
    instances: dict[UUID, Instance] = {}
    reasons: dict[UUID, str] = {}
    for one in claimed:
        if isinstance(one, Failure):
            reasons[one.prediction_id] = one.error
            continue
        try:
            instances[one.prediction_id] = _decode(model, one)
        except InputError as error:
            reasons[one.prediction_id] = str(error)
    predictions, unpredictable = _run(model, instances)
    reasons |= unpredictable
    duration_ms = round((perf_counter() - started) * 1000 / max(1, len(instances)), 3)
    return [
        *(Failure(prediction_id, _sentence(reason)) for prediction_id, reason in reasons.items()),
        *(
            Success(
                prediction_id=prediction_id,
                output=prediction.output,
                likely_class=prediction.likely_class,
                label=prediction.label,
                confidence=prediction.confidence,
                predicted_value=prediction.predicted_value,
                duration_ms=duration_ms,
            )
            for prediction_id, prediction in predictions.items()
        ),
    ]


def _sentence(reason: str) -> str:
    """Return a reason as the synchronous path words it."""
    return reason if reason.endswith(".") else f"{reason}."


def _decode(model: Model, one: ClaimedPrediction) -> Instance:
    takes = model.package.takes
    if takes != ("image" if one.features is None else "features"):
        raise InputError(f"another model is served by now, which takes {takes}")
    if one.features is not None:
        return model.decode_features(json.loads(one.features))
    return model.decode_image(one.content or b"")


def _run(model: Model, instances: Mapping[UUID, Instance]) -> tuple[dict[UUID, Prediction], dict[UUID, str]]:
    """Return predictions, and for inputs that have none for good the reasons."""
    if not instances:
        return {}, {}
    ids = list(instances)
    try:
        return dict(zip(ids, model.predict(list(instances.values())), strict=True)), {}
    except InputError as error:
        bad = {ids[problem.instance]: problem.detail for problem in error.problems}
        predictions, more = _run(model, {one: instances[one] for one in ids if one not in bad})
        return predictions, bad | more
    except ModelRunError as error:
        if len(ids) == 1:
            logger.error("the model failed", prediction_id=str(ids[0]), reason=str(error))
            return {}, {}
    predictions, bad = {}, {}
    for one in ids:
        more_predictions, more = _run(model, {one: instances[one]})
        predictions |= more_predictions
        bad |= more
    return predictions, bad
