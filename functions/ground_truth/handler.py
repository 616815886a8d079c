"""Keep what predictions should have been: of one by its id, or of many."""

from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from functions.ground_truth.access import own_or_by_scope
from functions.ground_truth.answers import (
    CurrentTruth,
    ManyJudged,
    TruthHistory,
    current,
    many_checked,
    many_judged,
    with_history,
)
from functions.ground_truth.documentation import CONDITION, MANY_TRUTHS, ONE_TRUTH
from functions.ground_truth.environment import PredictionId, environment, whole_body
from functions.ground_truth.keeping import keep_many, keep_one, withdraw
from functions.ground_truth.many import JSON, receive_many
from functions.ground_truth.query import ManyQuery, unless_judged_since
from functions.ground_truth.truth import read_truth
from functions.shared.api.app import create_app, create_handler
from functions.shared.api.auth import caller
from functions.shared.api.documentation import problems, with_scope
from functions.shared.api.json_source import decode, parse_members
from functions.shared.api.negotiation import essence, require_accepts
from functions.shared.api.problems import Problem
from functions.shared.api.query_fields import require_clear
from functions.shared.api.scopes import Scope
from functions.shared.execution_environment import on_lambda
from functions.shared.ledger.ground_truths import CheckedMany

router = APIRouter(tags=["ground truth"])

_PATH: Final = "/prediction/{prediction_id}/ground_truth"


@router.put(
    _PATH,
    response_model=CurrentTruth,
    responses=problems(400, 401, 404, 406, 412, 413, 415, 422, 503),
    openapi_extra=ONE_TRUTH | with_scope(Scope.WRITE_GROUND_TRUTH),
)
async def put_ground_truth(request: Request, prediction_id: PredictionId) -> Response:
    """Say what a prediction should have been. The same again changes nothing, and another supersedes it.

    It may come before an asynchronous prediction has been made. Only then is it not checked against the model.
    """
    require_accepts(request.headers.get("accept"))
    env = environment()
    judge = caller(request, required=env.token_required)
    if essence(request.headers.get("content-type", "")) != JSON:
        detail = f'Send the ground truth as {JSON}: {{"label": "7"}} or {{"value": 3.2}}.'
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept": JSON})
    members = parse_members(decode(await whole_body(request)))
    truth = read_truth({name: source.value for name, source in members.items()})
    judged = keep_one(env.ledger, judge, prediction_id, truth, unless_judged_since(request))
    return current(prediction_id, truth, judged)


@router.get(
    _PATH,
    response_model=TruthHistory,
    responses=problems(401, 404, 406, 422, 503),
    openapi_extra=with_scope(Scope.WRITE_GROUND_TRUTH),
)
async def get_ground_truth(request: Request, prediction_id: PredictionId) -> Response:
    """What a prediction should have been, and all its ground truths. `predictions:read-all` permits it, too."""
    require_accepts(request.headers.get("accept"))
    env = environment()
    reader = caller(request, required=env.token_required)
    return with_history(
        prediction_id,
        own_or_by_scope(reader, prediction_id, lambda user_id: env.ledger.history(prediction_id, user_id=user_id)),
    )


@router.delete(
    _PATH,
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    responses={204: {"description": "The prediction has no ground truth."}, **problems(401, 404, 412, 422, 503)},
    openapi_extra=CONDITION | with_scope(Scope.WRITE_GROUND_TRUTH),
)
async def delete_ground_truth(request: Request, prediction_id: PredictionId) -> Response:
    """Withdraw the ground truth of a prediction. The history keeps what it was, and that it was withdrawn."""
    env = environment()
    judge = caller(request, required=env.token_required)
    withdraw(env.ledger, judge, prediction_id, unless_judged_since(request))
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.post(
    "/ground_truth",
    response_model=ManyJudged,
    responses=problems(400, 401, 406, 412, 413, 415, 422, 503),
    openapi_extra=MANY_TRUTHS | with_scope(Scope.WRITE_GROUND_TRUTH),
)
async def post_ground_truth(request: Request, query: Annotated[ManyQuery, Query()]) -> Response:
    """Say what many predictions should have been, each by its `prediction_id` or by `inference_id`: all or none.

    An `inference_id` stands for every prediction that has it. Several ground truths for one prediction must be equal.
    `errors` points at each that is wrong, and has its line if the body has lines.

    With `dry_run=true` nothing is written. `outcomes` then says what would become of each, including those that would
    make the request fail.
    """
    require_clear(request)
    require_accepts(request.headers.get("accept"))
    env = environment()
    judge = caller(request, required=env.token_required)
    received = receive_many(request.headers.get("content-type", ""), await whole_body(request))
    done = keep_many(env.ledger, judge, received, unless_judged_since(request), dry_run=bool(query.dry_run))
    return many_checked(received, done) if isinstance(done, CheckedMany) else many_judged(received, done)


handler = create_handler(create_app(router), environment)

if on_lambda():
    environment()
