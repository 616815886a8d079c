"""Ground truths as callers see them, and what is wrong with those that cannot be kept."""

from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, Literal, get_args
from uuid import UUID

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from functions.ground_truth.many import Place, Problems, Received
from functions.ground_truth.truth import SOURCES, refuse
from functions.shared.api.app import MAX_RESPONSE_BYTES
from functions.shared.api.problems import Problem, shortened
from functions.shared.ledger.ground_truths import (
    MOST_EARLIER_BYTES,
    MOST_HISTORY,
    CheckedMany,
    Fault,
    GroundTruth,
    GroundTruthsRefusedError,
    History,
    HistoryEntry,
    Judged,
    JudgedMany,
    Outcome,
    Reason,
    What,
)

_MOST_LABELS: Final = 20
"""The most labels that a refusal names."""

_MOST_HISTORY_BYTES: Final = MAX_RESPONSE_BYTES - 200_000

_MOST_DETAIL_BYTES: Final = 2_000_000
"""The most bytes of pointers and details in a check. Ten thousand outcomes without them have at most 4 MB."""

_REASONS: Final[dict[Reason, str]] = {
    "none": "unknown_id",
    "several users": "several_users",
    "contradiction": "contradiction",
    "late": "late",
    "kind": "wrong_kind",
    "label": "unknown_label",
    "shape": "wrong_shape",
}
"""The word that the answer has for a `Reason`."""

TOO_LATE: Final = "something else was said of this prediction since then: look at it again"
"""What is wrong with a ground truth that comes too late."""

_MALFORMED: Final = "malformed"
_OUTCOMES: Final = (*get_args(What), _MALFORMED, *_REASONS.values())


class _Representation(BaseModel):
    model_config = ConfigDict(defer_build=True)


class GivenTruth(_Representation):
    """What a prediction should have been, and who says so. Members that do not apply are absent."""

    ground_truth: Any = Field(default=None, description="The label, or the value. Absent if withdrawn.", examples=["7"])
    source: str | None = Field(default=None, description=f"One of {', '.join(SOURCES)}.", examples=["human"])
    source_id: str | None = Field(default=None, description="Which one, in the caller's words.", examples=["anna"])
    comment: str | None = None
    given_by: str | None = Field(default=None, description="The user of the token.")
    given_at: datetime | None = None


class CurrentTruth(GivenTruth):
    """The ground truth of a prediction."""

    prediction_id: UUID
    correct: bool | None = Field(
        default=None,
        description="Whether the predicted label is the ground truth; with several targets that are classes, whether "
        "all of them are. Absent for numbers, and until there is a prediction.",
    )


class PastTruth(GivenTruth):
    """A ground truth that was given or withdrawn."""

    withdrawn: bool | None = Field(default=None, description="True if the ground truth was withdrawn at that time.")


class TruthHistory(CurrentTruth):
    """The ground truth of a prediction, and all earlier ones."""

    history: list[PastTruth] = Field(
        description=f"The newest first, the current one included: at most {MOST_HISTORY}, and as many as fit."
    )


class CheckedTruth(_Representation):
    """What would become of a ground truth. Members that do not apply are absent."""

    line: int | None = Field(default=None, description="Its line, if the body has lines.")
    pointer: str | None = Field(default=None, description="A JSON pointer to it, or to the member that is refused.")
    outcome: Literal[_OUTCOMES] = Field(  # type: ignore[valid-type]  # the words are those of the ledger
        description="`new`: its prediction has no ground truth yet. `changed`: it differs from the current one, or has "
        "another source. `same`: it equals the current one, and nothing would change. `repeated`: it equals an earlier "
        "one of this request. With any other outcome, the whole request would be refused.",
        examples=["new"],
    )
    predictions: int | None = Field(
        default=None, description="How many predictions it applies to. Absent if it would be refused."
    )
    changed: int | None = Field(default=None, description="For how many of these it would change the ground truth.")
    ground_truth: Any = Field(
        default=None,
        description="The current one, if it applies to one prediction and the current one has at most "
        f"{MOST_EARLIER_BYTES} bytes of JSON.",
        examples=["1"],
    )
    detail: str | None = Field(
        default=None, description="Why it would be refused, and what would be right. Absent if very many would be."
    )


class ManyJudged(_Representation):
    """What the ground truths of a request have changed, or with `dry_run=true` would change."""

    ground_truths: int = Field(description="How many were sent.")
    predictions: int = Field(description="How many predictions they apply to.")
    changed: int = Field(description="For how many of these the ground truth has changed.")
    refused: int | None = Field(
        default=None,
        description="With `dry_run=true`: how many would make the request fail. The figures above leave these out.",
    )
    outcomes: list[CheckedTruth] | None = Field(
        default=None, description="With `dry_run=true`: what would become of each, in the order of the request."
    )


def current(prediction_id: UUID, truth: GroundTruth, judged: Judged) -> Response:
    """Answer with the ground truth that was just given."""
    entry = HistoryEntry(judged.given_at, truth.value, truth.source, truth.source_id, truth.comment, judged.given_by)
    return _answer(_current(prediction_id, entry, judged.correct))


def with_history(prediction_id: UUID, history: History) -> Response:
    """Answer with the ground truth of a prediction and its history."""
    newest = history.entries[0] if history.value is not None else None
    entries, room = [], _MOST_HISTORY_BYTES
    for entry in history.entries:
        entries.append(to_json(_entry(entry)))
        room -= len(entries[-1])
        if room < 0:
            entries.pop()
            break
    head = to_json(_current(prediction_id, newest, history.correct))
    return Response(b'%b,"history":[%b]}' % (head[:-1], b",".join(entries)), media_type="application/json")


def many_judged(received: Received, judged: JudgedMany) -> Response:
    """Answer with what the ground truths of a request have changed."""
    return _answer({"ground_truths": len(received.items), "predictions": judged.predictions, "changed": judged.changed})


def many_checked(received: Received, would_be: CheckedMany) -> Response:
    """Answer with what would become of each ground truth of a request."""
    unordered: list[Outcome | Fault] = [*would_be.outcomes, *would_be.faults]
    verdicts = iter(sorted(unordered, key=lambda verdict: verdict.number))
    outcomes, room = [], _MOST_DETAIL_BYTES
    for place, item in received.items:
        if isinstance(item, Problem):
            members = _refused(place, _MALFORMED, item)
        elif isinstance(verdict := next(verdicts), Fault):
            members = _refused(place, _REASONS[verdict.reason], problem_of(item, verdict))
        else:
            members = _kept(place, verdict)
        if "detail" in members:
            room -= len(to_json((members["pointer"], members["detail"])))
            if room < 0:
                members |= {"pointer": place.pointer or None, "detail": None}
        outcomes.append({name: value for name, value in members.items() if value is not None})
    refused = len(received.items) - len(would_be.outcomes)
    figures = {"predictions": would_be.predictions, "changed": would_be.changed, "refused": refused}
    return _answer({"ground_truths": len(received.items), **figures, "outcomes": outcomes})


def _kept(place: Place, outcome: Outcome) -> dict[str, Any]:
    return {
        "line": place.line,
        "pointer": place.pointer or None,
        "outcome": outcome.what,
        "predictions": outcome.predictions,
        "changed": outcome.changed,
        "ground_truth": outcome.earlier,
    }


def _refused(place: Place, word: str, problem: Problem) -> dict[str, Any]:
    pointer, detail = problem.errors[0] if problem.errors else ("", problem.detail)
    where = {"line": place.line, "pointer": shortened(place.pointer + pointer)}
    return {**where, "outcome": word, "detail": shortened(detail)}


def _answer(members: dict[str, Any]) -> Response:
    return Response(to_json(members), media_type="application/json")


def _current(prediction_id: UUID, entry: HistoryEntry | None, correct: bool | None) -> dict[str, Any]:
    members: dict[str, Any] = {"prediction_id": prediction_id}
    if entry is not None:
        members |= _entry(entry)
    return members if correct is None else members | {"correct": correct}


def _entry(entry: HistoryEntry) -> dict[str, Any]:
    given = {
        "ground_truth": entry.value,
        "withdrawn": True if entry.value is None else None,
        "source": entry.source,
        "source_id": entry.source_id,
        "comment": entry.comment,
        "given_by": entry.given_by,
        "given_at": entry.given_at,
    }
    return {name: value for name, value in given.items() if value is not None}


def problem_of(truth: GroundTruth, fault: Fault) -> Problem:
    """Say why a ground truth cannot be kept, and what would be right."""
    pointer = f"/{truth.kind}"
    match fault.reason:
        case "none" if truth.inference_id is not None:
            return refuse("/inference_id", "there is no prediction with this inference_id")
        case "none":
            return refuse("/prediction_id", "there is no prediction with this id")
        case "several users":
            detail = "predictions of several users have this inference_id: send the prediction_id of each"
            return refuse("/inference_id", detail)
        case "contradiction":
            detail = "an earlier ground truth of this request differs for the same prediction: send one of them"
            return refuse("", detail)
        case "late":
            return Problem(HTTPStatus.PRECONDITION_FAILED, f"{TOO_LATE}.", errors=[("", TOO_LATE)])
        case "label":
            return refuse(pointer, f"the model does not know the label {truth.value!r}: send {_one_of(fault)}")
        case "kind" if truth.kind == "value":
            return refuse(pointer, f"the prediction is a classification: send label, {_one_of(fault)}")
        case "kind":
            return refuse(pointer, f"the prediction is no classification but {fault.task}: send value, {_like(fault)}")
    return refuse(pointer, f"value must be as the prediction is: {_like(fault)}")


def problem_of_many(received: Received, error: GroundTruthsRefusedError) -> Problem:
    """Say which ground truths of a request cannot be kept, where they are, and why."""
    problems = Problems()
    truths = received.truths()  # one for each item: a request with anything else is refused before
    for fault in error.faults:
        problems.add(received.items[fault.number][0], problem_of(truths[fault.number], fault))
    return problems.problem(count=error.count)


def _one_of(fault: Fault) -> str:
    if fault.labels is None:
        return "as a string"
    named = ", ".join(repr(label[:50]) for label in fault.labels[:_MOST_LABELS])
    more = len(fault.labels) - _MOST_LABELS
    return f"one of {named}{f' and {more} more' if more > 0 else ''}"


def _like(fault: Fault) -> str:
    if fault.task not in ("regression", "embedding", "multi-target"):
        return "as JSON"
    what = "numbers" if fault.task != "multi-target" else "classes and numbers"
    return "a number" if fault.size is None else f"a list of {fault.size} {what}, nested as the prediction is"
