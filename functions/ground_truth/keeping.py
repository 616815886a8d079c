"""Keep ground truths of a caller's own predictions, or by scope of everybody's. A refusal is a `Problem`."""

from datetime import datetime
from http import HTTPStatus
from uuid import UUID

from functions.ground_truth.access import log_judged_by_scope
from functions.ground_truth.answers import TOO_LATE, problem_of, problem_of_many
from functions.ground_truth.environment import LONGEST
from functions.ground_truth.many import Received
from functions.shared import wait_budget
from functions.shared.api.auth import Caller
from functions.shared.api.problems import Problem
from functions.shared.api.scopes import Scope
from functions.shared.ledger.ground_truths import (
    MOST_JUDGED,
    CheckedMany,
    GroundTruth,
    GroundTruthsRefusedError,
    Judged,
    JudgedMany,
    JudgingLedger,
    TooManyJudgedError,
)


def keep_one(
    ledger: JudgingLedger, judge: Caller, prediction_id: UUID, truth: GroundTruth, unless_judged_since: datetime | None
) -> Judged:
    """Keep the ground truth of one prediction. Log it if the prediction is not the caller's own.

    Raises
    ------
    Problem
        404, if there is no such prediction that the caller may judge; 412, if something else was said of it since; 422,
        if the truth does not fit the prediction.
    """
    truth = truth._replace(prediction_id=prediction_id)
    own = judge.confined_to(Scope.WRITE_GROUND_TRUTH)
    try:
        judged = ledger.judge(truth, user_id=own, given_by=judge.user_id, unless_judged_since=unless_judged_since)
    except GroundTruthsRefusedError as error:
        raise problem_of(truth, error.faults[0]) from error
    log_judged_by_scope(judge, [] if judged.user_id == judge.user_id else [str(prediction_id)])
    return judged


def withdraw(ledger: JudgingLedger, judge: Caller, prediction_id: UUID, unless_judged_since: datetime | None) -> None:
    """Withdraw the ground truth of one prediction. Log it if the prediction is not the caller's own.

    Raises
    ------
    Problem
        412 if another ground truth was given since.
    """
    own = judge.confined_to(Scope.WRITE_GROUND_TRUTH)
    try:
        owner = ledger.withdraw_truth(
            prediction_id, user_id=own, given_by=judge.user_id, unless_judged_since=unless_judged_since
        )
    except GroundTruthsRefusedError as error:
        raise Problem(HTTPStatus.PRECONDITION_FAILED, f"{TOO_LATE}.") from error
    log_judged_by_scope(judge, [] if owner == judge.user_id else [str(prediction_id)])


def keep_many(
    ledger: JudgingLedger, judge: Caller, received: Received, unless_judged_since: datetime | None, *, dry_run: bool
) -> JudgedMany | CheckedMany:
    """Keep all ground truths of a request or none. Log which predictions are not the caller's own.

    Parameters
    ----------
    ledger, judge
        Where they are kept, and who gives them.
    received
        The ground truths.
    unless_judged_since
        If given, nothing else may have been said of their predictions at this time or later.
    dry_run
        Whether to write nothing, and say what would become of each, including those that would make the request fail.

    Raises
    ------
    Problem
        400, 412 or 422 if an item is no ground truth, comes too late, or does not fit its prediction; it points at
        each. 413 if too many predictions have these ids.
    """
    if not dry_run:
        received.require_all()
    keep = ledger.check_many if dry_run else ledger.judge_many
    own = judge.confined_to(Scope.WRITE_GROUND_TRUTH)
    try:
        with wait_budget.limited(LONGEST):
            done = keep(received.truths(), user_id=own, given_by=judge.user_id, unless_judged_since=unless_judged_since)
    except GroundTruthsRefusedError as error:
        raise problem_of_many(received, error) from error
    except TooManyJudgedError as error:
        detail = f"More than {MOST_JUDGED} predictions have these ids, and none was judged: send fewer at once."
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail) from error
    log_judged_by_scope(judge, done.others)
    return done
