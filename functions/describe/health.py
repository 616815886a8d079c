"""Tell whether the model, and with it the database, can be used."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import ConfigDict, Field

from functions.describe.environment import environment, unreachable
from functions.shared.api.documentation import problems
from functions.shared.api.negotiation import require_accepts
from functions.shared.api.query_fields import QueryFields
from functions.shared.inference.errors import InferenceError
from functions.shared.ledger.errors import LedgerError
from functions.shared.log import logger

router = APIRouter(tags=["description"])


class HealthQuery(QueryFields):
    """What to look at. Other parameters are ignored: some probes add one, so that no cache answers."""

    model_config = ConfigDict(extra="ignore")

    deep: bool = Field(
        default=False, description="Whether to ask the database too, which may have to wake up.", examples=[1]
    )


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
        raise unreachable(failures)
    return answers
