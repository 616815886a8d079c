"""List predictions, newest first, a page at a time."""

from functools import cache
from typing import Annotated, Final, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from functions.shared.api.app import create_app, create_handler
from functions.shared.api.auth import caller, log_read_by_scope, require_own
from functions.shared.api.documentation import problems, with_scope
from functions.shared.api.negotiation import require_accepts
from functions.shared.api.query_fields import TIME, QueryFields, Time, UserId, never_null, require_clear
from functions.shared.api.representations import PredictionPage, page_json
from functions.shared.api.scopes import Scope
from functions.shared.execution_environment import on_lambda
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import PredictionFilter
from functions.shared.log import start_logging
from functions.shared.settings import FunctionSettings

router = APIRouter()

_MAX_TEXT_LENGTH: Final = 255


_Text = Annotated[str | None, Field(max_length=_MAX_TEXT_LENGTH, pattern="^[^\\x00]*$", json_schema_extra=never_null)]
_Cursor = Annotated[str | None, Field(min_length=1, max_length=_MAX_TEXT_LENGTH, json_schema_extra=never_null)]
_Share = Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False, json_schema_extra=never_null)]


class PageQuery(QueryFields):
    """Which predictions, and how many of them."""

    limit: int = Field(default=50, ge=1, le=1000, description="The most records on a page.", examples=[50])
    cursor: _Cursor = Field(default=None, description="`next_cursor` of the previous page.")
    user_id: UserId = None
    model: _Text = Field(default=None, description="The model's name.", examples=["mnist"])
    version: _Text = Field(default=None, description="The model's version.", examples=["1"])
    label: _Text = Field(default=None, examples=["7"])
    min_confidence: _Share = Field(default=None, examples=[0.9])
    max_confidence: _Share = Field(default=None, examples=[0.5])
    since: Time = Field(default=None, description=f"Created at this time or later{TIME}.")
    until: Time = Field(default=None, description=f"Created before this time{TIME}.")


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
    """Newest first. The cursor is a position, so records written in between are neither skipped nor repeated.

    A page that does not fit into one answer has fewer records than `limit`; `next_cursor` continues after them.
    """
    require_accepts(request.headers.get("accept"))
    env = environment()
    reader = caller(request, required=env.token_required)
    own = reader.confined_to(Scope.READ_ALL)
    require_clear(request)
    require_own(query.user_id, own)
    wanted = PredictionFilter(
        user_id=query.user_id if own is None else own,
        model=query.model,
        version=query.version,
        label=query.label,
        min_confidence=query.min_confidence,
        max_confidence=query.max_confidence,
        since=query.since,
        until=query.until,
    )
    page, content = page_json(env.ledger.list(wanted, limit=query.limit, cursor=query.cursor))
    if reader.user_id is not None:
        others = [record.prediction_id for record in page.records if record.user_id != reader.user_id]
        log_read_by_scope(reader, others)
    headers = {}
    if page.next_cursor is not None:
        headers["Link"] = f'<{_next_url(query, page.next_cursor)}>; rel="next"'  # RFC 8288
    return Response(content, headers=headers, media_type="application/json")


def _next_url(query: PageQuery, cursor: str) -> str:
    asked = query.model_dump(mode="json", exclude_unset=True, exclude={"cursor"})
    return f"/predictions?{urlencode({**asked, 'cursor': cursor})}"


handler = create_handler(create_app(router))

if on_lambda():
    environment()
