"""Predict, store input and prediction in one transaction, and only then answer."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from time import perf_counter

from fastapi import APIRouter, Request, Response

from functions.predict.documentation import IDEMPOTENCY, MANY_INPUTS, ONE_INPUT
from functions.predict.inputs import Limits, ReceivedInput, ReceivedRequest, receive
from functions.predict.problems_of_many import ProblemsOfMany
from functions.shared.api.app import MAX_RESPONSE_BYTES, create_app, create_handler, on_lambda
from functions.shared.api.auth import caller, require_own
from functions.shared.api.documentation import problems
from functions.shared.api.fields import ANONYMOUS
from functions.shared.api.idempotency import REPLAYED, idempotency_key
from functions.shared.api.log import logger
from functions.shared.api.negotiation import require_accepts
from functions.shared.api.problems import Problem
from functions.shared.api.representations import Prediction, Predictions, represent
from functions.shared.api.settings import PredictSettings
from functions.shared.inference.errors import InputError
from functions.shared.inference.location import resolve
from functions.shared.inference.model import Instance, Model
from functions.shared.inference.package import ModelPackage
from functions.shared.inference.prediction import Prediction as ModelPrediction
from functions.shared.ledger.errors import LedgerUnavailableError
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import (
    IdempotencyKey,
    ModelIdentity,
    NewInput,
    NewPrediction,
    PredictionRecord,
)

router = APIRouter(tags=["predictions"])


@dataclass(frozen=True, slots=True)
class Environment:
    """What an execution environment makes once and every event uses."""

    settings: PredictSettings
    limits: Limits
    model: Model
    identity: ModelIdentity
    ledger: Ledger


@cache
def environment() -> Environment:
    """Load the model and make the connection pool, the first time."""
    settings = PredictSettings.from_environment()
    model = Model.load(
        ModelPackage.load(resolve(settings.model)),
        providers=settings.execution_providers,
        intra_op_threads=settings.intra_op_threads,
        max_image_pixels=settings.max_image_pixels,
    )
    package = model.package
    identity = ModelIdentity(
        name=package.name,
        version=package.version,
        sha256=package.sha256,
        labels=package.labels,
        task=package.task,
        provider=model.provider,
    )
    limits = Limits(settings.max_body_bytes, settings.max_batch_inputs)
    return Environment(settings, limits, model, identity, Ledger.at(settings.database_url))


@router.post(
    "/prediction",
    status_code=HTTPStatus.CREATED,
    response_model=Prediction,
    responses={
        201: {"headers": {"Location": {"description": "The record's path.", "schema": {"type": "string"}}}},
        **problems(400, 401, 403, 406, 413, 415, 422, 503),
    },
    openapi_extra=ONE_INPUT | IDEMPOTENCY,
)
async def predict(request: Request) -> Response:
    """Predict one input and store both; the answer is the stored record."""
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
            return _respond(replay.records, many=many, replayed=True)

    started = perf_counter()
    instances = _decode(env.model, received.inputs)
    decoded = perf_counter()
    predictions = _run(env.model, instances, received.inputs)
    inferred = perf_counter()

    duration_ms = round((inferred - started) * 1000 / len(instances), 3)
    records = [
        NewPrediction(
            input=NewInput(
                content=one.content,
                contenttype=one.contenttype,
                filename=one.filename,
                features=one.features.text if one.features else None,
            ),
            output=prediction.output,
            likely_class=prediction.likely_class,
            label=prediction.label,
            confidence=prediction.confidence,
            predicted_value=prediction.predicted_value,
            duration_ms=duration_ms,
            user_id=user_id,
            metadata=one.metadata,
        )
        for one, prediction in zip(received.inputs, predictions, strict=True)
    ]
    # The answer is complete before anything is stored: what could still fail must not fail once the records are there.
    response = _respond([record.record(env.identity) for record in records], many=many)
    if replay := env.ledger.store(env.identity, records, idempotency=idempotency):
        return _respond(replay.records, many=many, replayed=True)
    stored = perf_counter()
    shared = {
        "model": env.identity.name,
        "version": env.identity.version,
        "user_id": user_id,
        "batch": len(records),
        "decode_ms": round((decoded - started) * 1000, 3),
        "inference_ms": round((inferred - decoded) * 1000, 3),
        "store_ms": round((stored - inferred) * 1000, 3),
    }
    for record in records:
        logger.info("predicted", extra={"prediction_id": str(record.prediction_id), **shared})
    return response


def _decode(model: Model, inputs: Sequence[ReceivedInput]) -> list[Instance]:
    instances, problems_found = [], ProblemsOfMany()
    for one in inputs:
        with problems_found.at(one.pointer):
            if one.features is not None:
                instances.append(model.decode_features(one.features.value))
            else:
                instances.append(model.decode_image(one.content or b""))
    problems_found.raise_any()
    return instances


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


def _respond(records: Sequence[PredictionRecord], *, many: bool, replayed: bool = False) -> Response:
    headers = dict(REPLAYED) if replayed else {}
    body: Prediction | Predictions
    if many:
        body = Predictions.model_construct(predictions=[represent(record) for record in records])
    else:
        [record] = records
        headers["Location"] = f"/prediction/{record.prediction_id}"
        body = represent(record)
    content = body.model_dump_json(exclude_unset=True).encode()
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
        )
        for one in received.inputs
    ]
    return hashlib.sha256(json.dumps([many, asked]).encode()).digest()


handler = create_handler(create_app(router))

if on_lambda():
    env = environment()
    env.model.warm_up()
    try:
        env.ledger.register(env.identity)
    except LedgerUnavailableError as error:
        # A database that is away at start-up is no reason to be away too: the first request tries again.
        logger.warning("the model could not be registered yet", extra={"reason": str(error)})
