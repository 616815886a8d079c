"""Answer inference requests of the Open Inference Protocol: predict each row, store it, then answer."""

from functools import cache
from typing import Final, NamedTuple

from fastapi import APIRouter, Request, Response

from functions.infer import v1, v2
from functions.infer.answers import answer
from functions.infer.documentation import INFER, INFERRED, PREDICT, PREDICTED
from functions.infer.received import Limits, Received, named_user, receive
from functions.shared.api.app import create_app, create_handler
from functions.shared.api.auth import owner
from functions.shared.api.open_inference import HEADER_LENGTH, MODEL, VERSION, answer_in_protocol, errors
from functions.shared.execution_environment import on_lambda
from functions.shared.log import start_logging
from functions.shared.prediction.serving import Serving
from functions.shared.settings import InferSettings

router = APIRouter(tags=["Open Inference Protocol"])

_ERRORS: Final = errors(400, 401, 403, 404, 409, 413, 415, 503)


class Environment(NamedTuple):
    """What an execution environment creates once, for all its events."""

    token_required: bool
    limits: Limits
    serving: Serving


@cache
def environment() -> Environment:
    """Load the model and create the connection pool, on the first call."""
    settings = InferSettings.from_environment()
    start_logging(settings.log_level)
    serving = Serving.start(settings, idempotency_hours=settings.idempotency_hours)
    return Environment(settings.token_required, Limits(settings.max_body_bytes, settings.max_batch_inputs), serving)


@router.post("/v2/models/{name}/infer", responses={**INFERRED, **_ERRORS}, openapi_extra=INFER | MODEL)
async def infer(request: Request) -> Response:
    """Predict rows of the model's own tensors, and store each as a prediction of its own.

    `parameters.prediction_ids` of the answer has their ids, in the order of the rows.
    """
    env = environment()
    received = await _receive(env, request)
    served = env.serving.identity
    header_length = request.headers.get(HEADER_LENGTH)
    asked = v2.read(received.body, header_length, env.serving.model, served, env.limits.rows)
    user_id = owner(named_user(asked.user_id), received.subject)
    return answer(env.serving, asked.inputs, user_id, received.key, asked.respond)


@router.post(
    "/v2/models/{name}/versions/{version}/infer",
    responses={**INFERRED, **_ERRORS},
    openapi_extra=INFER | VERSION,
)
async def infer_version(request: Request) -> Response:
    """Do the same, if this version of the model is served."""
    return await infer(request)


@router.post("/v1/models/{name}:predict", responses={**PREDICTED, **_ERRORS}, openapi_extra=PREDICT | MODEL)
async def predict_v1(request: Request) -> Response:
    """Predict instances, and store each as a prediction of its own (version 1 of the protocol).

    An instance is a feature vector, an object of tensors by name, or an image file as `{"b64": "…"}`.
    """
    env = environment()
    received = await _receive(env, request)
    asked = v1.parse_instances(received.body, env.serving.model.package, env.limits.rows)
    user_id = owner(named_user(asked.user_id), received.subject)
    return answer(env.serving, asked.inputs, user_id, received.key, v1.make_predictions)


async def _receive(env: Environment, request: Request) -> Received:
    return await receive(request, served=env.serving.identity, token_required=env.token_required, limits=env.limits)


handler = create_handler(answer_in_protocol(create_app(router)))

if on_lambda():
    environment().serving.warm_up()
