"""Predict, store input and prediction in one transaction, then answer. Or store the input, queue it, and answer 202."""

from functools import cache
from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from functions.predict.asked import Asked, Environment, ask_one, ask_several, queue_one
from functions.predict.documentation import IDEMPOTENCY, INFERENCE_ID, LOCATION, MANY_INPUTS, ONE_INPUT, PREFER
from functions.predict.request_body import Limits, whole_body
from functions.shared.api.app import DirectRoute, create_app, create_handler
from functions.shared.api.documentation import problems
from functions.shared.api.preferences import prefers_async
from functions.shared.api.representations import Accepted, Prediction, Predictions
from functions.shared.execution_environment import on_lambda
from functions.shared.log import start_logging
from functions.shared.object_storage.bucket import Bucket
from functions.shared.prediction.serving import Serving
from functions.shared.prediction.synchronous import Predicted, store
from functions.shared.prediction.synchronous import predict as predict_requests
from functions.shared.queue.predictions import SqsQueue
from functions.shared.settings import PredictSettings

router = APIRouter(tags=["predictions"], route_class=DirectRoute)


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
    openapi_extra=ONE_INPUT | {"parameters": [*INFERENCE_ID, *IDEMPOTENCY["parameters"], PREFER]},
)
async def predict(request: Request) -> Response:
    """Predict one input and store both; the answer is the stored record.

    With `Prefer: respond-async` the input is stored and queued; the answer says where to find the prediction later.
    """
    env = environment()
    asked = ask_one(env, request, await whole_body(request))
    if env.serving.queue is not None and prefers_async(request):
        return queue_one(env, env.serving.queue, asked)
    return _predict(env, asked)


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
    return _predict(env, ask_several(env, request, await whole_body(request)))


def _predict(env: Environment, asked: Asked) -> Response:
    [outcome] = predict_requests(env.serving, [asked.request])
    if not isinstance(outcome, Predicted):
        return asked.nothing_stored(outcome)
    # Build the answer before storing: a failure after the commit would leave records that the caller never hears of.
    response = asked.predicted(outcome)
    [other] = store(env.serving, [outcome])
    return response if other is None else asked.nothing_stored(other)


handler = create_handler(create_app(router), environment)

if on_lambda():
    environment().serving.warm_up()
