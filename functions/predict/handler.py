"""Predict, store input and prediction in one transaction, then answer. Or store the input, queue it, and answer 202."""

from collections.abc import Sequence
from functools import cache
from http import HTTPStatus
from typing import NamedTuple

from fastapi import APIRouter, Request, Response

from functions.predict.answers import Represent, accepted, nothing_stored, one_record, several_records
from functions.predict.documentation import IDEMPOTENCY, LOCATION, MANY_INPUTS, ONE_INPUT, PREFER
from functions.predict.request_body import Limits, Receive, receive_one, receive_several
from functions.shared.api.app import DirectRoute, create_app, create_handler
from functions.shared.api.auth import caller, owner
from functions.shared.api.documentation import problems
from functions.shared.api.idempotency import idempotency_key
from functions.shared.api.negotiation import require_accepts
from functions.shared.api.preferences import prefers_async
from functions.shared.api.representations import Accepted, Prediction, Predictions
from functions.shared.execution_environment import on_lambda
from functions.shared.log import start_logging
from functions.shared.object_storage.bucket import Bucket
from functions.shared.prediction.queued import enqueue
from functions.shared.prediction.requests import PredictionRequest
from functions.shared.prediction.serving import Serving
from functions.shared.prediction.synchronous import Predicted, store
from functions.shared.prediction.synchronous import predict as predict_requests
from functions.shared.queue.predictions import SqsQueue
from functions.shared.settings import PredictSettings

router = APIRouter(tags=["predictions"], route_class=DirectRoute)


class Environment(NamedTuple):
    """What an execution environment creates once, for all its events."""

    token_required: bool
    limits: Limits
    serving: Serving


@cache
def environment() -> Environment:
    """Load the model and create the connection pool, on the first call."""
    settings = PredictSettings.from_environment()
    start_logging(settings.log_level)
    serving = Serving.start(
        settings,
        uploads_bucket=Bucket(settings.bucket_for_uploads) if settings.bucket_for_uploads else None,
        queue=SqsQueue(settings.queue_url) if settings.queue_url else None,
        max_upload_bytes=settings.max_upload_bytes,
        idempotency_hours=settings.idempotency_hours,
        quotas=settings.quotas,
    )
    return Environment(settings.token_required, Limits(settings.max_body_bytes, settings.max_batch_inputs), serving)


@router.post(
    "/prediction",
    status_code=HTTPStatus.CREATED,
    response_model=Prediction,
    responses={
        201: {"headers": LOCATION},
        202: {"model": Accepted, "description": "Stored and queued.", "headers": LOCATION},
        **problems(400, 401, 403, 404, 406, 413, 415, 422, 429, 503),
    },
    openapi_extra=ONE_INPUT | {"parameters": [*IDEMPOTENCY["parameters"], PREFER]},
)
async def predict(request: Request) -> Response:
    """Predict one input and store both; the answer is the stored record.

    With `Prefer: respond-async` the input is stored and queued; the answer says where to find the prediction later.
    """
    env = environment()
    asked, _ = await _receive(env, request, receive_one)
    if env.serving.queue is not None and prefers_async(request):
        return accepted(enqueue(env.serving, env.serving.queue, asked), one_record)
    return _predict(env, asked, None, one_record)


@router.post(
    "/predictions",
    status_code=HTTPStatus.CREATED,
    response_model=Predictions,
    responses=problems(400, 401, 403, 406, 413, 415, 422, 429, 503),
    openapi_extra=MANY_INPUTS | IDEMPOTENCY,
)
async def predict_many(request: Request) -> Response:
    """Predict several inputs and store all of them or none; the answer is the stored records, in the order sent."""
    env = environment()
    asked, pointers = await _receive(env, request, receive_several)
    return _predict(env, asked, pointers, several_records)


async def _receive(
    env: Environment, request: Request, receive: Receive
) -> tuple[PredictionRequest, Sequence[str] | None]:
    """Return what a request asks for, and JSON pointers to its inputs."""
    require_accepts(request.headers.get("accept"))
    subject = caller(request, required=env.token_required).user_id
    key = idempotency_key(request)
    received = await receive(request, env.serving.model.package.takes, env.limits)
    user_id = owner(received.user_id, subject)
    return PredictionRequest(received.inputs, user_id, key, received.pointers is not None), received.pointers


def _predict(
    env: Environment, asked: PredictionRequest, pointers: Sequence[str] | None, represent: Represent
) -> Response:
    [outcome] = predict_requests(env.serving, [asked])
    if not isinstance(outcome, Predicted):
        return nothing_stored(outcome, pointers, represent)
    # Build the answer before storing: a failure after the commit would leave records that the caller never hears of.
    response = represent(outcome.records)
    [other] = store(env.serving, [outcome])
    return response if other is None else nothing_stored(other, pointers, represent)


handler = create_handler(create_app(router))

if on_lambda():
    environment().serving.warm_up()
