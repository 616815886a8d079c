"""Describe the API, its model and its health. Never loads the inference runtime."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from functions.describe import health, pages
from functions.describe.documents import model_document, service_document
from functions.describe.environment import environment, package_or_problem
from functions.describe.open_inference import open_inference_routes
from functions.describe.openapi_document import openapi_document
from functions.shared.api.app import create_app, create_handler
from functions.shared.api.documentation import problems
from functions.shared.api.negotiation import quality, require_accepts
from functions.shared.api.open_inference import answer_in_protocol
from functions.shared.execution_environment import on_lambda
from functions.shared.inference.errors import InferenceError
from functions.shared.inference.package import ModelPackage
from functions.shared.ledger.errors import LedgerError
from functions.shared.log import logger

router = APIRouter(tags=["description"])


@router.get("/", responses={200: {"content": {"application/json": {}, "text/html": {}}}, **problems(406, 503)})
async def describe(request: Request) -> Response:
    """The paths of the API, as JSON, or as a page for a browser."""
    accept = request.headers.get("accept")
    vary = {"Vary": "Accept"}
    if quality(accept, "text/html") > quality(accept, "application/json"):
        return pages.console_page(vary)
    require_accepts(accept)
    return JSONResponse(service_document(package_or_problem()), headers=vary)


@router.get("/model", responses=problems(401, 406, 503))
async def get_model(request: Request) -> dict[str, Any]:
    """Name, version, SHA-256, task, signature and labels of the model, and the execution provider it last ran on.

    `sha256` identifies the model: it is a digest over `files` and `settings`. Only these two can change a prediction.
    The settings include the defaults of model.json. `baseline` says what the inputs looked like that the model's
    predictions are compared with, and what it scored on them; null if its package has none.
    """
    require_accepts(request.headers.get("accept"))
    package = package_or_problem()
    return model_document(package, _served_provider(package))


@router.get("/openapi.json", include_in_schema=False)
async def openapi() -> Response:
    """The OpenAPI 3.1 document of all routes, generated from the code, with the forms of input that the model takes."""
    env = environment()
    try:
        package = env.model.package
    except InferenceError as error:
        logger.error("the model cannot be read", reason=str(error))
        package = None
    return JSONResponse(openapi_document(package, token_required=env.token_required), headers=pages.NOSNIFF)


def _served_provider(package: ModelPackage) -> str | None:
    """Return the execution provider that `predict` registered the model with, if it has."""
    try:
        return environment().ledger.served_provider(package.name, package.version, package.sha256)
    except LedgerError as error:
        # Answer the rest: it does not need the database.
        logger.warning("the execution provider cannot be read", reason=str(error))
        return None


open_inference = open_inference_routes(
    package_or_problem, lambda: environment().token_required, lambda: environment().max_batch_inputs
)

_app = answer_in_protocol(create_app(router, health.router, pages.router, open_inference))

handler = create_handler(_app, environment)

if on_lambda():
    environment()
