"""Answer figures of the ledger: how often, how fast, how right, and how different from before."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from functions.shared.api.app import create_app, create_handler
from functions.shared.api.documentation import problems, with_scope
from functions.shared.api.scopes import Scope
from functions.shared.execution_environment import on_lambda
from functions.statistics import drift, performance, usage
from functions.statistics.environment import answer, asking, environment
from functions.statistics.query import (
    DriftQuery,
    ModelName,
    ModelsQuery,
    PerformanceQuery,
    StatisticsQuery,
    Version,
)
from functions.statistics.representations import Drift, Models, Performance, Statistics

router = APIRouter(tags=["figures"])

_OF_ALL = with_scope(Scope.READ_ALL)


@router.get(
    "/statistics",
    response_model=Statistics,
    responses=problems(401, 404, 406, 422, 503),
    openapi_extra=_OF_ALL,
)
async def get_statistics(request: Request, query: Annotated[StatisticsQuery, Query()]) -> Response:
    """How many predictions there were, how fast and how sure they were, in buckets of time.

    The sum over the buckets is the number of records, to the record. Requests that were refused (4xx) are counted by
    day, without their content. Without the scope, the figures are of the caller's own records.
    """
    return answer(usage.statistics(asking(request), query))


@router.get("/models", response_model=Models, responses=problems(401, 406, 422, 503), openapi_extra=_OF_ALL)
async def get_models(request: Request, query: Annotated[ModelsQuery, Query()]) -> Response:  # noqa: ARG001 - it has none
    """Every model and version that was served: since when, how many predictions it made, and how many were right."""
    return answer(usage.models(asking(request)))


@router.get(
    "/models/{name}/versions/{version}/performance",
    response_model=Performance,
    responses=problems(401, 404, 406, 422, 503),
    openapi_extra=_OF_ALL,
)
async def get_performance(
    request: Request, name: ModelName, version: Version, query: Annotated[PerformanceQuery, Query()]
) -> Response:
    """How right a version was, where the truth is known."""
    return answer(performance.performance(asking(request), name, version, query))


@router.get(
    "/models/{name}/versions/{version}/drift",
    response_model=Drift,
    responses=problems(401, 404, 406, 422, 503),
    openapi_extra=_OF_ALL,
)
async def get_drift(
    request: Request, name: ModelName, version: Version, query: Annotated[DriftQuery, Query()]
) -> Response:
    """How what a version was sent, and what it answered, differs from a baseline, in windows of time."""
    return answer(drift.drift(asking(request), name, version, query))


handler = create_handler(create_app(router), environment)

if on_lambda():
    environment()
