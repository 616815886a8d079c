"""Predict, store input and prediction in one transaction, and only then answer. Or store, queue, and answer at once."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from time import perf_counter
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from functions.predict.batch_problems import ProblemsOfMany
from functions.predict.documentation import IDEMPOTENCY, MANY_INPUTS, ONE_INPUT, PREFER
from functions.predict.request_body import Limits, ReceivedInput, ReceivedRequest, receive
from functions.shared.api.app import MAX_RESPONSE_BYTES, DirectRoute, create_app, create_handler
from functions.shared.api.auth import caller, require_own
from functions.shared.api.documentation import problems
from functions.shared.api.fields import ANONYMOUS
from functions.shared.api.idempotency import REPLAYED, idempotency_key
from functions.shared.api.negotiation import require_accepts
from functions.shared.api.preferences import APPLIED, prefers_async
from functions.shared.api.problems import Problem
from functions.shared.api.representations import Accepted, Prediction, Predictions, members
from functions.shared.inference.errors import InputError
from functions.shared.inference.model import Instance, Model
from functions.shared.inference.prediction import Prediction as ModelPrediction
from functions.shared.ledger.errors import LedgerUnavailableError
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import (
    IdempotencyKey,
    ModelIdentity,
    NewPrediction,
    PredictionRecord,
    QueuedPrediction,
    Replay,
)
from functions.shared.ledger.secret import resolve_database_url
from functions.shared.log import logger
from functions.shared.object_storage.bucket import ObjectStore
from functions.shared.prediction.input_objects import ObjectsOfCommit, fetch_upload, new_input
from functions.shared.prediction.serving import load_model
from functions.shared.queue.errors import QueueUnavailableError
from functions.shared.queue.predictions import PredictionQueue
from functions.shared.settings import PredictSettings, before_snapshot, on_lambda

router = APIRouter(tags=["predictions"], route_class=DirectRoute)

_LOCATION = {"Location": {"description": "The record's path.", "schema": {"type": "string"}}}


@dataclass(frozen=True, slots=True)
class Environment:
    """What an execution environment makes once and every event uses."""

    settings: PredictSettings
    limits: Limits
    model: Model
    identity: ModelIdentity
    ledger: Ledger
    queue: PredictionQueue | None
    objects: ObjectStore | None
    uploads: ObjectStore | None


@cache
def environment() -> Environment:
    """Load the model and make the connection pool, the first time."""
    settings = PredictSettings.from_environment()
    model, identity = load_model(settings)
    return Environment(
        settings=settings,
        limits=Limits(settings.max_body_bytes, settings.max_batch_inputs),
        model=model,
        identity=identity,
        ledger=Ledger.at(resolve_database_url(settings.database_url, settings.database_secret_arn)),
        queue=PredictionQueue(settings.queue_url) if settings.queue_url else None,
        objects=ObjectStore(settings.inputs_bucket) if settings.inputs_bucket else None,
        uploads=ObjectStore(settings.bucket_for_uploads) if settings.bucket_for_uploads else None,
    )


@router.post(
    "/prediction",
    status_code=HTTPStatus.CREATED,
    response_model=Prediction,
    responses={
        201: {"headers": _LOCATION},
        202: {"model": Accepted, "description": "Stored, and queued to be predicted.", "headers": _LOCATION},
        **problems(400, 401, 403, 404, 406, 413, 415, 422, 503),
    },
    openapi_extra=ONE_INPUT | {"parameters": [*IDEMPOTENCY["parameters"], PREFER]},
)
async def predict(request: Request) -> Response:
    """Predict one input and store both; the answer is the stored record.

    With `Prefer: respond-async` the input is stored and queued, and the answer is where to find what becomes of it.
    """
    return await _predict(request, many=False)


@router.post(
    "/predictions",
    status_code=HTTPStatus.CREATED,
    response_model=Predictions,
    responses=problems(400, 401, 403, 406, 413, 415, 422, 503),
    openapi_extra=MANY_INPUTS | IDEMPOTENCY,
)
async def predict_many(request: Request) -> Response:
    """Predict several inputs and store them all, or none; the answer is the stored records, in the order sent."""
    return await _predict(request, many=True)


async def _predict(request: Request, *, many: bool) -> Response:
    require_accepts(request.headers.get("accept"))
    env = environment()
    subject = caller(request, required=env.settings.token_required)
    key = idempotency_key(request)
    received = await receive(request, takes=env.model.package.takes, limits=env.limits, many=many)
    require_own(received.user_id, subject)
    user_id = subject or received.user_id or ANONYMOUS

    idempotency = None
    if key is not None:
        idempotency = IdempotencyKey(user_id, key, _digest(received, many=many))
        if replay := env.ledger.replay(idempotency):
            return _replay(replay, many=many)

    most_bytes = env.settings.max_upload_bytes
    inputs = [
        one
        if one.input_id is None
        else fetch_upload(one, one.input_id, env.ledger, env.uploads, user_id=user_id, most_bytes=most_bytes)
        for one in received.inputs
    ]
    if env.queue is not None and not many and prefers_async(request):
        [one] = inputs
        return _enqueue(env, env.queue, one, user_id, idempotency)

    started = perf_counter()
    instances = _decode(env.model, inputs)
    decoded = perf_counter()
    predictions = _run(env.model, instances, inputs)
    inferred = perf_counter()

    duration_ms = round((inferred - started) * 1000 / len(instances), 3)
    records = [
        NewPrediction(
            input=new_input(one, env.objects, user_id),
            output=prediction.output,
            likely_class=prediction.likely_class,
            label=prediction.label,
            confidence=prediction.confidence,
            predicted_value=prediction.predicted_value,
            duration_ms=duration_ms,
            user_id=user_id,
            metadata=one.metadata,
        )
        for one, prediction in zip(inputs, predictions, strict=True)
    ]
    # The answer is complete before anything is stored: what could still fail must not fail once the records are there.
    response = _respond([record.record(env.identity) for record in records], many=many)
    objects = ObjectsOfCommit(env.objects, inputs, [record.input for record in records])

    def write() -> Replay | None:
        return env.ledger.store(env.identity, records, idempotency=idempotency)

    if replay := objects.commit(write, env.ledger, records[0].prediction_id):
        return _replay(replay, many=many)
    stored = perf_counter()
    logger.info_each(
        [("predicted", {"prediction_id": str(record.prediction_id)}) for record in records],
        model=env.identity.name,
        version=env.identity.version,
        user_id=user_id,
        batch=len(records),
        decode_ms=round((decoded - started) * 1000, 3),
        inference_ms=round((inferred - decoded) * 1000, 3),
        store_ms=round((stored - inferred) * 1000, 3),
    )
    return response


def _enqueue(
    env: Environment, queue: PredictionQueue, one: ReceivedInput, user_id: str, idempotency: IdempotencyKey | None
) -> Response:
    # What can be told at once is; only a worker decodes an image to its end.
    if one.features is not None:
        env.model.decode_features(one.features.value)
    else:
        env.model.check_image(one.content or b"")
    prediction = QueuedPrediction(new_input(one, env.objects, user_id), user_id, one.metadata)
    objects = ObjectsOfCommit(env.objects, [one], [prediction.input])
    started = perf_counter()

    def write() -> Replay | None:
        return env.ledger.enqueue(prediction, idempotency=idempotency)

    if replay := objects.commit(write, env.ledger, prediction.prediction_id):
        return _replay(replay, many=False)
    stored = perf_counter()
    about = {"prediction_id": str(prediction.prediction_id), "user_id": user_id}
    try:
        queue.send([prediction.prediction_id])
    except QueueUnavailableError as error:
        if _withdrawn(env.ledger, prediction.prediction_id, idempotency):
            objects.remove()
            raise
        # A worker has it nevertheless, a racing request of the same key was told of it, or the database is away by now:
        # the record stays, and the sweep sends it.
        logger.warning("queued, but perhaps not sent", **about, reason=str(error))
    sent = perf_counter()
    store_ms, send_ms = round((stored - started) * 1000, 3), round((sent - stored) * 1000, 3)
    logger.info("queued", **about, store_ms=store_ms, send_ms=send_ms)
    return _accept(prediction.prediction_id)


def _withdrawn(ledger: Ledger, prediction_id: UUID, idempotency: IdempotencyKey | None) -> bool:
    """Take back a queued prediction that could not be sent, and tell whether it is gone."""
    try:
        return ledger.withdraw(prediction_id, idempotency=idempotency)
    except LedgerUnavailableError as error:
        if error.in_doubt:
            raise
        # The database went away before it was asked: the record is committed and stays, so it is answered as that.
        return False


def _decode(model: Model, inputs: Sequence[ReceivedInput]) -> list[Instance]:
    if not inputs[0].pointer:  # the one input of a request: what is wrong with it is wrong with the request
        return [_decode_one(model, inputs[0])]
    instances, problems_found = [], ProblemsOfMany()
    for one in inputs:
        with problems_found.at(one.pointer):
            instances.append(_decode_one(model, one))
    problems_found.raise_any()
    return instances


def _decode_one(model: Model, one: ReceivedInput) -> Instance:
    if one.features is not None:
        return model.decode_features(one.features.value)
    return model.decode_image(one.content or b"")


def _run(model: Model, instances: Sequence[Instance], inputs: Sequence[ReceivedInput]) -> list[ModelPrediction]:
    try:
        return model.predict(instances)
    except InputError as error:
        problems_found = ProblemsOfMany()
        for problem in error.problems:
            with problems_found.at(inputs[problem.instance].pointer):
                raise type(error)(str(error), problems=(problem,)) from error
        problems_found.raise_any()
        raise


def _replay(replay: Replay, *, many: bool) -> Response:
    """Answer what was answered the first time, synchronously or not, whatever is asked for now."""
    records = replay.records
    response = _accept(records[0].prediction_id) if replay.was_queued else _respond(records, many=many)
    response.headers.update(REPLAYED)
    return response


def _accept(prediction_id: UUID) -> Response:
    body = Accepted.model_construct(prediction_id=prediction_id, status="queued")
    headers = {"Location": _location(prediction_id), **APPLIED}
    return Response(body.model_dump_json(), HTTPStatus.ACCEPTED, headers, "application/json")


def _location(prediction_id: UUID) -> str:
    return f"/prediction/{prediction_id}"


def _respond(records: Sequence[PredictionRecord], *, many: bool) -> Response:
    headers = {}
    body = [members(record) for record in records]
    if not many:
        headers["Location"] = _location(records[0].prediction_id)
    content = to_json({"predictions": body} if many else body[0])
    if len(content) > MAX_RESPONSE_BYTES:
        detail = (
            f"The answer would have {len(content)} bytes, and at most {MAX_RESPONSE_BYTES} fit: send fewer at once."
        )
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    return Response(content, HTTPStatus.CREATED, headers, "application/json")


def _digest(received: ReceivedRequest, *, many: bool) -> bytes:
    """Return a SHA-256 that two requests share exactly if they ask for the same."""
    asked = [
        (
            one.contenttype,
            one.filename,
            hashlib.sha256(one.content).hexdigest() if one.content is not None else None,
            one.features.text if one.features is not None else None,
            one.metadata,
            str(one.input_id) if one.input_id is not None else None,
        )
        for one in received.inputs
    ]
    return hashlib.sha256(json.dumps([many, asked]).encode()).digest()


handler = create_handler(create_app(router))

if on_lambda():
    env = environment()
    env.model.warm_up()
    if env.objects is not None:
        env.objects.warm_up()
    try:
        env.ledger.register(env.identity)
    except LedgerUnavailableError as error:
        # A database that is away at start-up is no reason to be away too: the first request tries again.
        logger.warning("the model could not be registered yet", reason=str(error))
    if before_snapshot():
        # Every environment that is restored would find this one connection, long dead: it opens its own instead.
        env.ledger.close()
