"""Delete predictions for good: one by its id, or many by their user and age."""

from functools import cache
from http import HTTPStatus
from typing import Annotated, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response

from functions.delete_predictions.query import DeletionQuery, require_some
from functions.delete_predictions.representations import (
    STILL_DELETING,
    Deleted,
    DeletionState,
    find_deletion,
    not_removed_yet,
    outcome,
)
from functions.shared.api.app import create_app, create_handler
from functions.shared.api.auth import caller, require_own
from functions.shared.api.documentation import problems, with_scope
from functions.shared.api.negotiation import require_accepts
from functions.shared.api.query_fields import require_clear
from functions.shared.api.scopes import Scope
from functions.shared.execution_environment import on_lambda
from functions.shared.ledger.deletions import DeletingLedger
from functions.shared.log import start_logging
from functions.shared.object_storage.errors import ObjectStoreUnavailableError
from functions.shared.prediction.deletion import Deleter
from functions.shared.settings import DeleteSettings

router = APIRouter(tags=["predictions"])

PredictionId = Annotated[UUID, Path(description="The `prediction_id` of a record.")]
DeletionId = Annotated[UUID, Path(description="The id at the end of the `Location` of a deletion.")]


class Environment(NamedTuple):
    """What an execution environment makes once and every event uses."""

    token_required: bool
    ledger: DeletingLedger
    deleter: Deleter


@cache
def environment() -> Environment:
    """Make the connection pool, the first time."""
    settings = DeleteSettings.from_environment()
    start_logging(settings.log_level)
    ledger = DeletingLedger.configured(settings)
    return Environment(
        settings.token_required, ledger, Deleter(ledger, settings.inputs_bucket, settings.bucket_for_uploads)
    )


@router.delete(
    "/prediction/{prediction_id}",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    responses={
        204: {"description": "The record, its input and all that belonged to them are gone."},
        **problems(401, 404, 422, 503),
    },
    openapi_extra=with_scope(Scope.DELETE_ALL),
)
async def delete_prediction(request: Request, prediction_id: PredictionId) -> Response:
    """Delete one record, its input unless another record has it too, and its idempotency key."""
    env = environment()
    asking = caller(request, required=env.token_required)
    own = asking.confined_to(Scope.DELETE_ALL)
    try:
        env.deleter.delete(prediction_id, user_id=own, requested_by=asking.user_id)
    except ObjectStoreUnavailableError as error:
        raise not_removed_yet() from error
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.delete(
    "/predictions",
    response_model=Deleted,
    responses={202: STILL_DELETING, **problems(401, 403, 406, 422, 503)},
    openapi_extra=with_scope(Scope.DELETE_ALL),
)
async def delete_predictions(request: Request, query: Annotated[DeletionQuery, Query()]) -> Response:
    """Delete all records of a user, or those created before a time, with everything that belongs to them.

    Without `until`, the uploads and idempotency keys of the user go too: nothing is left with the user's name.
    """
    require_accepts(request.headers.get("accept"))
    env = environment()
    asking = caller(request, required=env.token_required)
    own = asking.confined_to(Scope.DELETE_ALL)
    require_some(request)
    require_clear(request)
    require_own(query.user_id, own)
    deletion = env.deleter.delete_many(
        user_id=query.user_id if own is None else own,
        until=query.until,
        requested_by=asking.user_id,
        remaining_time=request.scope["aws.context"].get_remaining_time_in_millis,
    )
    return outcome(deletion)


@router.get(
    "/deletion/{deletion_id}",
    response_model=DeletionState,
    response_model_exclude_none=True,
    responses=problems(401, 404, 406, 422, 503),
)
async def get_deletion(request: Request, deletion_id: DeletionId) -> Response:
    """How far a deletion is that was answered with `202`. Its id is known only to the one who asked for it."""
    require_accepts(request.headers.get("accept"))
    env = environment()
    caller(request, required=env.token_required)
    deletion = find_deletion(env.ledger, deletion_id)
    return Response(DeletionState.of(deletion).model_dump_json(exclude_none=True), media_type="application/json")


handler = create_handler(create_app(router), environment)

if on_lambda():
    environment()
