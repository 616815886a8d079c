"""Answer inference requests of the Open Inference Protocol: predict each row, store it, then answer."""

from functools import cache
from typing import Final

from fastapi import APIRouter, Request, Response

from functions.infer.answers import answer
from functions.infer.asked import Environment, ask_v1, ask_v2
from functions.infer.documentation import INFER, INFERRED, PREDICT, PREDICTED
from functions.infer.received import Limits
from functions.shared.api.app import create_app, create_handler
from functions.shared.api.open_inference import MODEL, VERSION, answer_in_protocol, errors
from functions.shared.execution_environment import on_lambda
from functions.shared.log import start_logging
from functions.shared.prediction.serving import Serving
from functions.shared.settings import InferSettings

router = APIRouter(tags=["Open Inference Protocol"])

_ERRORS: Final = errors(400, 401, 403, 404, 409, 413, 415, 429, 503)


@cache
def environment() -> Environment:
    """Load the model and create the connection pool, on the first call."""
    settings = InferSettings.from_environment()
    start_logging(settings.log_level)
    serving = Serving.start(settings, idempotency_hours=settings.idempotency_hours, quotas=settings.quotas)
    return Environment(settings.token_required, Limits(settings.max_body_bytes, settings.max_batch_inputs), serving)


@router.post("/v2/models/{name}/infer", responses={**INFERRED, **_ERRORS}, openapi_extra=INFER | MODEL)
async def infer(request: Request) -> Response:
    """Predict rows of the model's own tensors, and store each as a prediction of its own.

    `parameters.prediction_ids` of the answer has their ids, in the order of the rows.
    """
    return answer(ask_v2(environment(), request, await request.body()))


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
    return answer(ask_v1(environment(), request, await request.body()))


handler = create_handler(answer_in_protocol(create_app(router)), environment)

if on_lambda():
    environment().serving.warm_up()
