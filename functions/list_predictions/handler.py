"""List predictions a page at a time, newest first or least sure first."""

from functools import cache
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query, Request, Response

from functions.list_predictions.page_query import PageQuery
from functions.shared.api.app import create_app, create_handler
from functions.shared.api.auth import caller, log_read_by_scope, require_own
from functions.shared.api.documentation import problems, with_scope
from functions.shared.api.negotiation import require_accepts
from functions.shared.api.query_fields import require_clear
from functions.shared.api.representations import PredictionPage, page_json
from functions.shared.api.scopes import Scope
from functions.shared.execution_environment import on_lambda
from functions.shared.ledger.ledger import Ledger
from functions.shared.log import start_logging
from functions.shared.settings import FunctionSettings

router = APIRouter()


class Environment(NamedTuple):
    """What an execution environment creates once, for all its events."""

    token_required: bool
    ledger: Ledger


@cache
def environment() -> Environment:
    """Create the connection pool, on the first call."""
    settings = FunctionSettings.from_environment()
    start_logging(settings.log_level)
    return Environment(settings.token_required, Ledger.configured(settings))


@router.get(
    "/predictions",
    response_model=PredictionPage,
    responses=problems(401, 403, 406, 422, 503),
    tags=["predictions"],
    openapi_extra=with_scope(Scope.READ_ALL),
)
async def list_predictions(request: Request, query: Annotated[PageQuery, Query()]) -> Response:
    """Newest first, or least sure first. The cursor is a position, so what is written in between is not repeated.

    A page that does not fit into one answer has fewer records than `limit`; `next_cursor` continues after them.
    """
    require_accepts(request.headers.get("accept"))
    env = environment()
    reader = caller(request, required=env.token_required)
    own = reader.confined_to(Scope.READ_ALL)
    require_clear(request)
    require_own(query.user_id, own)
    listed = env.ledger.list(query.matching(own), limit=query.limit, cursor=query.cursor, order=query.order)
    page, content = page_json(listed)
    if reader.user_id is not None:
        others = [record.prediction_id for record in page.records if record.user_id != reader.user_id]
        log_read_by_scope(reader, others)
    headers = {}
    if page.next_cursor is not None:
        headers["Link"] = f'<{query.next_url(page.next_cursor)}>; rel="next"'  # RFC 8288
    return Response(content, headers=headers, media_type="application/json")


handler = create_handler(create_app(router), environment)

if on_lambda():
    environment()
