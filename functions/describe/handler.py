"""Describe the API, its model and its health. Never loads the inference runtime."""

from functools import cache
from http import HTTPStatus
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field

from functions.describe import pages
from functions.describe.documents import model_document, service_document
from functions.describe.open_inference import open_inference_routes
from functions.describe.openapi_document import openapi_document
from functions.describe.served_model import ServedModel
from functions.shared.api.app import create_app, create_handler
from functions.shared.api.documentation import problems
from functions.shared.api.negotiation import quality, require_accepts
from functions.shared.api.open_inference import answer_in_protocol
from functions.shared.api.problems import RETRY_AFTER_SECONDS, Problem
from functions.shared.api.query_fields import QueryFields
from functions.shared.execution_environment import on_lambda
from functions.shared.inference.errors import InferenceError
from functions.shared.inference.package import ModelPackage
from functions.shared.ledger.errors import LedgerError
from functions.shared.ledger.ledger import Ledger
from functions.shared.log import logger, start_logging
from functions.shared.settings import DescribeSettings

router = APIRouter(tags=["description"])


class HealthQuery(QueryFields):
    """What to look at. Other parameters are ignored: some probes add one, so that no cache answers."""

    model_config = ConfigDict(extra="ignore")

    deep: bool = Field(
        default=False, description="Whether to ask the database too, which may have to wake up.", examples=[1]
    )


class Environment(NamedTuple):
    """What an execution environment creates once, for all its events."""

    token_required: bool
    max_batch_inputs: int
    model: ServedModel
    ledger: Ledger


@cache
def environment() -> Environment:
    """Create the connection pool, on the first call."""
    settings = DescribeSettings.from_environment()
    start_logging(settings.log_level)
    return Environment(
        settings.token_required,
        settings.max_batch_inputs,
        ServedModel(settings.model),
        Ledger.configured(settings),
    )


def _package_or_problem() -> ModelPackage:
    try:
        return environment().model.package
    except InferenceError as error:
        logger.error("the model cannot be read", reason=str(error))
        raise _unavailable([("/model", "the model cannot be read")]) from error


def _unavailable(errors: list[tuple[str, str]]) -> Problem:
    detail = f"{' and '.join(what for _, what in errors).capitalize()}."
    wait = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, errors=errors, headers=wait)


@router.get("/", responses={200: {"content": {"application/json": {}, "text/html": {}}}, **problems(406, 503)})
async def describe(request: Request) -> Response:
    """The paths of the API, as JSON, or as a page for a browser."""
    accept = request.headers.get("accept")
    vary = {"Vary": "Accept"}
    if quality(accept, "text/html") > quality(accept, "application/json"):
        return pages.html_page("page.html", vary)
    require_accepts(accept)
    return JSONResponse(service_document(_package_or_problem()), headers=vary)


@router.get("/model", responses=problems(401, 406, 503))
async def get_model(request: Request) -> dict[str, Any]:
    """Name, version, SHA-256, task, signature and labels of the model, and the execution provider it last ran on.

    `sha256` identifies the model: it is a digest over `files` and `settings`. Only these two can change a prediction.
    The settings include the defaults of model.json.
    """
    require_accepts(request.headers.get("accept"))
    package = _package_or_problem()
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


@router.get("/health", responses=problems(406, 422, 503))
async def health(
    request: Request,
    query: Annotated[HealthQuery, Query()],
) -> dict[str, str]:
    """200 when the model's files can be read, and with `deep=1` the database too; else 503 naming what fails."""
    require_accepts(request.headers.get("accept"))
    env = environment()
    answers, failures = {"status": "ok", "model": "ok"}, []
    try:
        env.model.require_readable()
    except InferenceError as error:
        logger.error("the model cannot be read", reason=str(error))
        failures.append(("/model", "the model cannot be read"))
    if query.deep:
        answers["database"] = "ok"
        try:
            env.ledger.ping()
        except LedgerError as error:
            logger.error("the database does not answer", reason=str(error))
            failures.append(("/database", "the database does not answer"))
    if failures:
        raise _unavailable(failures)
    return answers


open_inference = open_inference_routes(
    _package_or_problem, lambda: environment().token_required, lambda: environment().max_batch_inputs
)

handler = create_handler(answer_in_protocol(create_app(router, pages.router, open_inference)))

if on_lambda():
    environment()
