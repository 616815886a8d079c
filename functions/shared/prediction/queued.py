"""Store an input and queue its prediction, so that the caller gets an answer at once."""

from time import perf_counter
from uuid import UUID

from functions.shared.inference.model import Model
from functions.shared.ledger.errors import LedgerUnavailableError
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import IdempotencyKey, QueuedPrediction, Replay
from functions.shared.log import logger
from functions.shared.prediction.input_objects import InputObjects, new_input
from functions.shared.prediction.requests import Input, PredictionRequest
from functions.shared.prediction.serving import Serving
from functions.shared.prediction.uploads import fetch_uploads
from functions.shared.queue.errors import QueueUnavailableError
from functions.shared.queue.predictions import PredictionQueue


def enqueue(serving: Serving, queue: PredictionQueue, request: PredictionRequest) -> UUID | Replay:
    """Commit the input of a request and send its prediction to the worker.

    Parameters
    ----------
    serving
        The model, which checks the input, and the ledger.
    queue
        The worker's queue.
    request
        A request with one input.

    Returns
    -------
    UUID or Replay
        The id of the queued prediction, or what the request's key has already stored.

    Raises
    ------
    InputError, UploadError
        If the input cannot be predicted, as far as the check without decoding all pixels can tell.
    QueueUnavailableError
        If the prediction cannot be sent. Nothing is stored then.
    LedgerError, ObjectStoreError
        If the input cannot be stored.
    """
    idempotency = request.idempotency()
    if idempotency is not None and (replay := serving.ledger.replay(idempotency)):
        return replay
    [one] = fetch_uploads(serving, request.inputs, request.user_id)
    _check(serving.model, one)
    new = new_input(one, serving.inputs_bucket, request.user_id)
    prediction = QueuedPrediction(new, request.user_id, one.metadata, inference_id=one.inference_id)
    new_inputs = [prediction.input] if one.uri is None else []
    started = perf_counter()
    replay = None
    with InputObjects(serving.inputs_bucket, new_inputs, serving.ledger) as input_objects:
        replay = serving.ledger.enqueue(prediction, idempotency=idempotency)
        if replay is not None:
            input_objects.remove()
    if replay is not None:
        return replay
    stored = perf_counter()
    about = {"prediction_id": str(prediction.prediction_id)}
    try:
        queue.send([prediction.prediction_id])
    except QueueUnavailableError as error:
        if _withdraw(serving.ledger, prediction.prediction_id, idempotency):
            input_objects.remove()
            raise
        # A worker has already claimed it, a concurrent request with the same key was answered with it, or the database
        # is now unreachable. The record stays, and the sweep sends it again.
        logger.warning("queued, but perhaps not sent", **about, reason=str(error))
    sent = perf_counter()
    store_ms, send_ms = round((stored - started) * 1000, 3), round((sent - stored) * 1000, 3)
    logger.info("queued", **about, store_ms=store_ms, send_ms=send_ms)
    return prediction.prediction_id


def _check(model: Model, one: Input) -> None:
    """Refuse an input that is clearly bad. Only the worker decodes an image completely."""
    if one.features is not None:
        model.decode_features(one.features.value)
    elif one.tensors is not None:
        model.decode_tensors(one.tensors.value)
    else:
        model.check_image(one.content or b"")


def _withdraw(ledger: Ledger, prediction_id: UUID, idempotency: IdempotencyKey | None) -> bool:
    """Delete a queued prediction that could not be sent, and return whether it is gone."""
    try:
        return ledger.withdraw(prediction_id, idempotency=idempotency)
    except LedgerUnavailableError as error:
        if error.in_doubt:
            raise
        # The database became unreachable before the statement was sent: the record is committed and stays queued.
        return False
