"""Ground truths: what predictions should have been, whoever says so, when, and how many at once."""

import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.deletions import DeletingLedger
from functions.shared.ledger.errors import LedgerError, RecordNotFoundError
from functions.shared.ledger.ground_truths import (
    MOST_EARLIER_BYTES,
    MOST_FAULTS,
    MOST_JUDGED,
    Fault,
    GroundTruth,
    GroundTruthsRefusedError,
    JudgingLedger,
    TooManyJudgedError,
)
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import (
    Failure,
    IdempotencyKey,
    ModelIdentity,
    NewInput,
    NewPrediction,
    PredictionFilter,
    QueuedPrediction,
    Success,
)
from tests.support.database import Query
from tests.support.predictions import MODEL, PNG, prediction
from tests.support.waiting import soon

UNKNOWN = UUID("019a0000-0000-7000-8000-000000000000")
PLAIN: dict[str, Any] = {"likely_class": None, "label": None, "confidence": None}


def of_task(task: str, labels: tuple[str, ...] | None = None) -> ModelIdentity:
    return MODEL._replace(name=task, task=task, labels=labels)


def answering(predicted_value: Any, **changes: Any) -> NewPrediction:
    output = predicted_value if isinstance(predicted_value, list) else [predicted_value]
    return prediction(**PLAIN, output=output, predicted_value=predicted_value, **changes)


@pytest.fixture
def ledger(database_url: str) -> Iterator[JudgingLedger]:
    with closing(JudgingLedger.at(database_url, longest=60)) as opened:
        yield opened


@pytest.fixture
def eraser(database_url: str) -> Iterator[DeletingLedger]:
    with closing(DeletingLedger.at(database_url, longest=60)) as opened:
        yield opened


def stored(ledger: Ledger, **changes: Any) -> UUID:
    new = prediction(**changes)
    ledger.store(MODEL, [new])
    return new.prediction_id


def label(prediction_id: UUID | None, value: str, **changes: Any) -> GroundTruth:
    return GroundTruth("label", value, prediction_id, **changes)


def value(prediction_id: UUID | None, given: Any, **changes: Any) -> GroundTruth:
    return GroundTruth("value", given, prediction_id, **changes)


def truth_of(ledger: Ledger, prediction_id: UUID) -> tuple[Any, bool | None]:
    record, _ = ledger.get(prediction_id)
    return record.ground_truth, record.correct


def values(ledger: JudgingLedger, prediction_id: UUID) -> list[Any]:
    """Return the history, the newest first."""
    return [entry.value for entry in ledger.history(prediction_id).entries]


def faults(ledger: JudgingLedger, *truths: GroundTruth, user_id: str | None = None) -> Sequence[Fault]:
    with pytest.raises(GroundTruthsRefusedError) as refused:
        ledger.judge_many(truths, user_id=user_id)
    assert refused.value.count == len(refused.value.faults)
    return refused.value.faults


def test_a_prediction_gets_a_ground_truth_and_its_record_shows_whether_it_was_right(ledger: JudgingLedger) -> None:
    right, wrong = stored(ledger), stored(ledger)

    assert ledger.judge(label(right, "7")).correct is True
    assert ledger.judge(label(wrong, "1")).correct is False

    assert (truth_of(ledger, right), truth_of(ledger, wrong)) == (("7", True), ("1", False))
    page = ledger.list(PredictionFilter(), limit=10)
    assert [(one.ground_truth, one.correct) for one in page.records] == [("1", False), ("7", True)]


def test_a_record_without_a_ground_truth_has_none(ledger: JudgingLedger) -> None:
    prediction_id = stored(ledger)

    assert truth_of(ledger, prediction_id) == (None, None)
    assert ledger.history(prediction_id).entries == []


def test_the_same_again_changes_nothing(ledger: JudgingLedger, query: Query) -> None:
    prediction_id = stored(ledger)
    said = {"source": "human", "source_id": "anna", "comment": "sure"}
    first = ledger.judge(label(prediction_id, "7", **said), given_by="anna")
    [before] = query("SELECT xmin::text, judged_at FROM predictions")

    assert ledger.judge(label(prediction_id, "7", **said), given_by="bob") == first

    assert query("SELECT xmin::text, judged_at FROM predictions") == [before]
    assert values(ledger, prediction_id) == ["7"]


@pytest.mark.parametrize(
    "other", [{"value": "1"}, {"source": "model"}, {"source_id": "bob"}, {"comment": "or so"}, {"comment": None}]
)
def test_anything_else_supersedes_it_and_the_history_keeps_both(ledger: JudgingLedger, other: dict[str, Any]) -> None:
    prediction_id = stored(ledger)
    first = label(prediction_id, "7", source="human", source_id="anna", comment="sure")
    second = first._replace(**other)
    before, after = (ledger.judge(one, given_by="anna") for one in (first, second))

    newest, oldest = ledger.history(prediction_id).entries

    assert newest == (after.given_at, second.value, second.source, second.source_id, second.comment, "anna")
    assert oldest == (before.given_at, "7", "human", "anna", "sure", "anna")
    assert truth_of(ledger, prediction_id) == (second.value, second.value == "7")


def test_it_can_be_withdrawn_and_given_again(ledger: JudgingLedger) -> None:
    prediction_id = stored(ledger)
    ledger.judge(label(prediction_id, "7"))

    for _ in range(2):  # the second time there is none to withdraw
        assert ledger.withdraw_truth(prediction_id, given_by="bob") == "anonymous"
    assert truth_of(ledger, prediction_id) == (None, None)
    ledger.judge(label(prediction_id, "7"))

    assert values(ledger, prediction_id) == ["7", None, "7"]
    assert ledger.history(prediction_id).entries[1].given_by == "bob"
    assert truth_of(ledger, prediction_id) == ("7", True)


def test_nothing_to_withdraw_leaves_no_trace(ledger: JudgingLedger, query: Query) -> None:
    prediction_id = stored(ledger)

    ledger.withdraw_truth(prediction_id)

    assert query("SELECT count(*) FROM ground_truths") == [[0]]
    assert query("SELECT judged_at FROM predictions") == [[None]]


def test_the_latest_is_the_one_that_holds_although_the_clock_was_set_back(ledger: JudgingLedger, query: Query) -> None:
    prediction_id = stored(ledger)
    ledger.judge(label(prediction_id, "1"))
    for table, column in (("predictions", "judged_at"), ("ground_truths", "created_at")):
        query(f"UPDATE {table} SET {column} = {column} + interval '1 hour'")

    ledger.judge(label(prediction_id, "2"))
    ledger.withdraw_truth(prediction_id)
    ledger.judge(label(prediction_id, "3"))

    assert values(ledger, prediction_id) == ["3", None, "2", "1"]


@pytest.mark.parametrize("user_id", [None, "bob"])
def test_a_prediction_that_does_not_exist_or_is_somebody_elses_cannot_be_judged(
    ledger: JudgingLedger, user_id: str | None
) -> None:
    prediction_id = UNKNOWN if user_id is None else stored(ledger, user_id="anna")

    with pytest.raises(RecordNotFoundError):
        ledger.judge(label(prediction_id, "7"), user_id=user_id)
    with pytest.raises(RecordNotFoundError):
        ledger.withdraw_truth(prediction_id, user_id=user_id)
    with pytest.raises(RecordNotFoundError):
        ledger.history(prediction_id, user_id=user_id)
    assert [fault.reason for fault in faults(ledger, label(prediction_id, "7"), user_id=user_id)] == ["none"]


def test_the_owner_may_do_all_of_it(ledger: JudgingLedger) -> None:
    prediction_id = stored(ledger, user_id="anna")

    assert ledger.judge(label(prediction_id, "7"), user_id="anna").user_id == "anna"
    assert ledger.history(prediction_id, user_id="anna").value == "7"
    assert ledger.withdraw_truth(prediction_id, user_id="anna") == "anna"


# --- what a model's task asks for -------------------------------------------------------------------------------------

RIGHT: dict[str, tuple[ModelIdentity, Any, GroundTruth, bool | None]] = {
    "a class of a model without labels": (of_task("classification"), "7", label(None, "cat"), False),
    "a number": (of_task("regression"), 2.5, value(None, 3), None),
    "a number that is the same": (of_task("regression"), 2.5, value(None, 2.5), None),
    "a very large number": (of_task("regression"), 2.5, value(None, 1e300), None),
    "a very small number": (of_task("regression"), 2.5, value(None, -1e-300), None),
    "numbers": (of_task("regression"), [2.5, -1e-7, 1e20], value(None, [1, 2, 3.5]), None),
    "nested numbers": (of_task("regression"), [[1.5, 2.0], [3.0, 4.0]], value(None, [[0, 0], [0, -1]]), None),
    "numbers that are stored apart": (of_task("regression"), None, value(None, [[1, 2], [3]]), None),
    "a vector": (of_task("embedding"), [0.1, 0.2], value(None, [1, 0]), None),
    "classes that are right": (of_task("multi-target"), ["cat", 3], value(None, ["cat", 3]), True),
    "classes of which one is wrong": (of_task("multi-target"), ["cat", 3], value(None, ["cat", 4]), False),
    "quantities": (of_task("multi-target"), [1.5, 2.0], value(None, [1.5, 2.0]), None),
    "a quantity beside a class": (of_task("multi-target"), ["cat", 2.0], value(None, ["cat", 2]), None),
    "a class whose name looks like a number": (of_task("multi-target"), ["1.5"], value(None, ["1.5"]), True),
    "names with quotes, commas and backslashes": (
        of_task("multi-target"),
        ['a", "b', "\\", 'c\\"d'],
        value(None, ["x", "y", "z"]),
        False,
    ),
    "finds": (of_task("detection"), ["cat"], value(None, [{"box": [0, 0, 1, 1], "label": "cat"}]), None),
    "tensors": (of_task("tensors"), None, value(None, {"mask": [[0, 1], [1, 0]], "none": None}), None),
    "a flag of a model of tensors": (of_task("tensors"), None, value(None, False), None),
}


@pytest.mark.parametrize(("model", "predicted", "truth", "correct"), RIGHT.values(), ids=RIGHT)
@pytest.mark.parametrize("comes", ["after the outcome", "before the outcome", "with many"])
def test_what_suits_the_prediction_is_kept_and_judged_by_the_same_rule_whenever_it_comes(
    ledger: JudgingLedger, model: ModelIdentity, predicted: Any, truth: GroundTruth, correct: bool | None, comes: str
) -> None:
    new = answering(predicted)
    if model.task == "classification":
        new = prediction()
    truth = truth._replace(prediction_id=new.prediction_id)
    if comes == "before the outcome":
        queued = QueuedPrediction(new.input, "anonymous", prediction_id=new.prediction_id)
        ledger.enqueue(queued)
        assert ledger.judge(truth).correct is None
        ledger.complete(
            model,
            [
                Success(
                    new.prediction_id, new.output, new.likely_class, new.label, new.confidence, new.predicted_value, 1.0
                )
            ],
        )
    else:
        ledger.store(model, [new])
        if comes == "with many":
            ledger.judge_many([truth])
        else:
            assert ledger.judge(truth).correct is correct

    assert truth_of(ledger, new.prediction_id) == (truth.value, correct)


WRONG: dict[str, tuple[ModelIdentity, Any, GroundTruth, str]] = {
    "an unknown label": (MODEL, "7", label(None, "seven"), "label"),
    "no label": (MODEL, "7", label(None, ""), "label"),
    "a value": (MODEL, "7", value(None, 7), "kind"),
    "the label as a value": (MODEL, "7", value(None, "7"), "kind"),
    "a label of a regression": (of_task("regression"), 2.5, label(None, "7"), "kind"),
    "a label of several targets": (of_task("multi-target"), ["cat"], label(None, "cat"), "kind"),
    "a label of tensors": (of_task("tensors"), None, label(None, "cat"), "kind"),
    "a text": (of_task("regression"), 2.5, value(None, "2.5"), "shape"),
    "a flag": (of_task("regression"), 2.5, value(None, True), "shape"),
    "a list": (of_task("regression"), 2.5, value(None, [2.5]), "shape"),
    "a list that is too short": (of_task("regression"), [2.5, 3.5], value(None, [2.5]), "shape"),
    "a list of other things": (of_task("regression"), [2.5, 3.5], value(None, [2.5, None]), "shape"),
    "a list nested in another way": (of_task("regression"), [[1.0, 2.0], [3.0]], value(None, [[1], [2, 3]]), "shape"),
    "a text for numbers that are stored apart": (of_task("regression"), None, value(None, ["a"]), "shape"),
    "a number for a class": (of_task("multi-target"), ["cat", 3], value(None, [1, 3]), "shape"),
    "a class for a number": (of_task("multi-target"), ["cat", 3], value(None, ["cat", "3"]), "shape"),
    "one too many": (of_task("multi-target"), ["cat", 3], value(None, ["cat", 3, 4]), "shape"),
}


@pytest.mark.parametrize(("model", "predicted", "truth", "reason"), WRONG.values(), ids=WRONG)
def test_what_does_not_suit_it_is_refused_and_leaves_nothing(
    ledger: JudgingLedger, query: Query, model: ModelIdentity, predicted: Any, truth: GroundTruth, reason: str
) -> None:
    new = prediction() if model.task == "classification" else answering(predicted)
    ledger.store(model, [new])

    with pytest.raises(GroundTruthsRefusedError) as refused:
        ledger.judge(truth._replace(prediction_id=new.prediction_id))

    [fault] = refused.value.faults
    assert (fault.number, fault.reason, fault.task) == (0, reason, model.task)
    assert fault.labels == (MODEL.labels if model is MODEL else None)
    assert truth_of(ledger, new.prediction_id) == (None, None)
    assert query("SELECT count(*) FROM ground_truths") == [[0]]


def test_a_label_that_the_model_has_answered_is_known_although_it_is_not_listed(ledger: JudgingLedger) -> None:
    prediction_id = stored(ledger, label="other", predicted_value="other")

    assert ledger.judge(label(prediction_id, "other")).correct is True


def test_a_prediction_that_failed_can_have_a_ground_truth_and_is_neither_right_nor_wrong(ledger: JudgingLedger) -> None:
    new = QueuedPrediction(NewInput(PNG, "image/png"), "anonymous")
    ledger.enqueue(new)
    ledger.judge(label(new.prediction_id, "7"))

    ledger.complete(MODEL, [Failure(new.prediction_id, "no image.", "undecodable")])

    assert truth_of(ledger, new.prediction_id) == ("7", None)
    assert ledger.judge(value(new.prediction_id, 3)).correct is None


def test_a_failure_has_its_kind(ledger: JudgingLedger, query: Query) -> None:
    failed, late, made = (QueuedPrediction(NewInput(PNG, "image/png"), "anonymous") for _ in range(3))
    for new in (failed, late, made):
        ledger.enqueue(new)
    ledger.complete(MODEL, [Failure(failed.prediction_id, "no image.", "undecodable")])
    ledger.complete(MODEL, [Success(made.prediction_id, [1.0], 7, "7", 1.0, "7", 1.0)])
    ledger.claim([late.prediction_id], lease_seconds=0)
    query("UPDATE predictions SET status_since = now() - interval '1 hour' WHERE status = 'processing'")
    ledger.sweep(queued_seconds=60, processing_seconds=60)

    kinds = query("SELECT prediction_id, failure FROM predictions")

    assert {row[0]: row[1] for row in kinds} == {
        failed.prediction_id: "undecodable",
        late.prediction_id: "too_late",
        made.prediction_id: None,
    }


def test_a_repeated_request_is_answered_as_the_first_time(ledger: JudgingLedger) -> None:
    key, new = IdempotencyKey("anonymous", "once", b"d" * 32), prediction()
    ledger.store(MODEL, [new], idempotency=key)
    ledger.judge(label(new.prediction_id, "7"))

    replay = ledger.replay(key)

    assert replay is not None
    assert replay.records == (new.record(MODEL),)


# --- many at once -----------------------------------------------------------------------------------------------------


def test_many_are_kept_together_by_either_id(ledger: JudgingLedger) -> None:
    by_id, by_theirs = stored(ledger), stored(ledger, inference_id="a")
    twins = {stored(ledger, inference_id="b") for _ in range(2)}

    done = ledger.judge_many(
        [
            label(by_id, "7", source="human"),
            label(None, "1", inference_id="a"),
            label(None, "2", inference_id="b", comment="both"),
        ],
        given_by="anna",
    )

    assert (done.predictions, done.changed) == (4, 4)
    assert {UUID(other) for other in done.others} == {by_id, by_theirs, *twins}
    assert truth_of(ledger, by_id) == ("7", True)
    assert truth_of(ledger, by_theirs) == ("1", False)
    for twin in twins:
        assert ledger.history(twin).entries[0][1:] == ("2", None, None, "both", "anna")


def test_many_again_change_only_what_is_new(ledger: JudgingLedger, query: Query) -> None:
    ids = [stored(ledger) for _ in range(4)]
    ledger.judge_many([label(one, "7") for one in ids])

    done = ledger.judge_many([label(ids[0], "1"), *(label(one, "7") for one in ids[1:])])

    assert (done.predictions, done.changed) == (4, 1)
    assert query("SELECT count(*) FROM ground_truths") == [[5]]


def test_of_many_none_is_kept_if_one_is_wrong_and_each_that_is_wrong_is_named(
    ledger: JudgingLedger, query: Query
) -> None:
    mine, theirs = stored(ledger, user_id="anna"), stored(ledger, user_id="bob", inference_id="theirs")

    found = faults(
        ledger,
        label(mine, "7"),
        label(mine, "seven"),
        label(theirs, "7"),
        value(mine, 7),
        label(None, "7", inference_id="unknown"),
        label(None, "7", inference_id="theirs"),
        user_id="anna",
    )

    assert [(fault.number, fault.reason) for fault in found] == [
        (1, "contradiction"),
        (2, "none"),
        (3, "contradiction"),
        (4, "none"),
        (5, "none"),
    ]
    assert query("SELECT count(*) FROM ground_truths") == [[0]]
    assert truth_of(ledger, mine) == (None, None)


def test_two_for_one_prediction_must_say_the_same(ledger: JudgingLedger) -> None:
    prediction_id = stored(ledger, inference_id="a")
    same = [label(prediction_id, "7"), label(prediction_id, "7"), label(None, "7", inference_id="a")]

    assert ledger.judge_many(same) == (1, 1, ())
    assert values(ledger, prediction_id) == ["7"]
    for other in (same[0]._replace(value="1"), same[2]._replace(value="1"), same[0]._replace(comment="sure")):
        assert [(one.number, one.reason) for one in faults(ledger, same[0], other)] == [(1, "contradiction")]


def test_an_inference_id_of_several_users_names_nobodys_predictions(ledger: JudgingLedger) -> None:
    for user_id in ("anna", "bob"):
        stored(ledger, user_id=user_id, inference_id="order-17")

    [fault] = faults(ledger, label(None, "7", inference_id="order-17"))
    done = ledger.judge_many([label(None, "7", inference_id="order-17")], user_id="anna")

    assert fault.reason == "several users"
    assert done.predictions == 1


@pytest.mark.parametrize("user_id", [None, "anonymous"])
def test_an_inference_id_of_too_many_predictions_is_refused(
    ledger: JudgingLedger, query: Query, user_id: str | None
) -> None:
    stored(ledger, inference_id="busy")
    query(
        """
        INSERT INTO predictions (prediction_id, input_id, created_at, status_since, status, user_id, metadata,
                                 inference_id)
        SELECT gen_random_uuid(), input_id, now(), now(), 'queued', user_id, metadata, inference_id
        FROM predictions, generate_series(1, :count::int)
        """,
        count=MOST_JUDGED,
    )

    with pytest.raises(TooManyJudgedError):
        ledger.judge_many([label(None, "7", inference_id="busy")], user_id=user_id)

    assert query("SELECT count(*) FROM ground_truths") == [[0]]


# --- many, without writing --------------------------------------------------------------------------------------------


def test_a_check_says_of_each_what_judging_would_do(ledger: JudgingLedger) -> None:
    new, changed, same = (stored(ledger) for _ in range(3))
    twins = [stored(ledger, inference_id="b") for _ in range(2)]
    ledger.judge_many([label(changed, "1"), label(same, "7", source="human"), label(twins[0], "7")])
    truths = [
        label(new, "7"),
        label(new, "7"),
        label(changed, "7"),
        label(same, "7", source="human"),
        label(None, "7", inference_id="b"),
        label(UNKNOWN, "7"),
    ]

    would_be = ledger.check_many(truths)

    assert would_be.outcomes == [
        (0, "new", 1, 1, None),
        (1, "repeated", 1, 0, None),
        (2, "changed", 1, 1, "1"),
        (3, "same", 1, 0, "7"),
        (4, "new", 2, 1, None),
    ]
    assert [(fault.number, fault.reason) for fault in would_be.faults] == [(5, "none")]
    done = ledger.judge_many(truths[:5])
    assert (would_be.predictions, would_be.changed) == (done.predictions, done.changed) == (5, 3)


@pytest.mark.parametrize("other", [{"source": "model"}, {"source_id": "bob"}, {"comment": "or so"}, {"comment": None}])
def test_a_check_knows_that_another_source_supersedes_too(ledger: JudgingLedger, other: dict[str, Any]) -> None:
    prediction_id = stored(ledger)
    first = label(prediction_id, "7", source="human", source_id="anna", comment="sure")
    ledger.judge(first)

    assert ledger.check_many([first._replace(**other)]).outcomes == [(0, "changed", 1, 1, "7")]


def test_a_check_finds_the_faults_that_judging_finds_and_more_than_a_refusal_lists(ledger: JudgingLedger) -> None:
    mine, theirs = stored(ledger, user_id="anna"), stored(ledger, user_id="bob", inference_id="theirs")
    truths = [label(mine, "seven"), value(mine, 7), label(theirs, "7"), label(None, "7", inference_id="theirs")]

    would_be = ledger.check_many(truths, user_id="anna")

    assert would_be.faults == faults(ledger, *truths, user_id="anna")
    assert would_be.outcomes == []
    assert len(ledger.check_many([label(UNKNOWN, "7")] * (MOST_FAULTS + 1)).faults) == MOST_FAULTS + 1


def test_of_a_prediction_whose_first_truth_is_refused_the_next_counts(ledger: JudgingLedger) -> None:
    mine = stored(ledger, user_id="anna", inference_id="order-17")
    stored(ledger, user_id="bob", inference_id="order-17")

    would_be = ledger.check_many([label(None, "7", inference_id="order-17"), label(mine, "7")])

    assert [(fault.number, fault.reason) for fault in would_be.faults] == [(0, "several users")]
    assert would_be.outcomes == [(1, "new", 1, 1, None)]
    assert would_be.changed == 1


def test_a_check_of_too_many_predictions_is_refused_as_judging_them_is(ledger: JudgingLedger, query: Query) -> None:
    stored(ledger, inference_id="busy")
    query(
        """
        INSERT INTO predictions (prediction_id, input_id, created_at, status_since, status, user_id, metadata,
                                 inference_id)
        SELECT gen_random_uuid(), input_id, now(), now(), 'queued', user_id, metadata, inference_id
        FROM predictions, generate_series(1, :count::int)
        """,
        count=MOST_JUDGED,
    )

    with pytest.raises(TooManyJudgedError):
        ledger.check_many([label(None, "7", inference_id="busy")])


def test_a_check_needs_no_right_to_write_and_waits_for_nobody(
    ledger: JudgingLedger, database_url: str, query: Query, held: Query
) -> None:
    prediction_id = stored(ledger, inference_id="a")
    truths = [label(prediction_id, "7"), label(None, "7", inference_id="a"), label(UNKNOWN, "7")]
    held("SELECT FROM predictions FOR UPDATE")
    before = query("SELECT xmin::text, xmax::text FROM predictions")
    joiner = "&" if "?" in database_url else "?"

    with closing(JudgingLedger.at(f"{database_url}{joiner}options=-c%20default_transaction_read_only%3Don")) as reader:
        with pytest.raises(LedgerError):
            reader.judge(truths[0])
        for user_id in (None, "anonymous"):
            assert [one.what for one in reader.check_many(truths, user_id=user_id).outcomes] == ["new", "repeated"]

    assert query("SELECT xmin::text, xmax::text FROM predictions") == before


def test_a_long_truth_is_not_told_and_a_short_one_of_any_kind_is(ledger: JudgingLedger) -> None:
    short, long = {"boxes": [1, "é"]}, {"text": "x" * MOST_EARLIER_BYTES}
    for given, told in ((short, short), (long, None)):
        new = answering({"a": [1]})
        ledger.store(of_task("detection"), [new])
        ledger.judge(value(new.prediction_id, given))

        assert ledger.check_many([value(new.prediction_id, [])]).outcomes == [(0, "changed", 1, 1, told)]


def test_nothing_to_check_is_checked_without_the_database() -> None:
    with closing(JudgingLedger.at("postgresql://ledger@127.0.0.1:1/ledger")) as ledger:
        assert ledger.check_many([]).outcomes == ()


# --- at the same time -------------------------------------------------------------------------------------------------


@pytest.fixture
def held(database_url: str) -> Iterator[Query]:
    """Runs statements in a transaction, which holds what it has locked until the test commits."""
    with closing(Connection(parse_database_url(database_url), longest=60)) as connection:
        connection.run("BEGIN", {})
        yield lambda sql, **parameters: connection.run(sql, parameters, keep=False)


def waits_for_a_lock(query: Query) -> bool:
    return query("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'") == [[True]]


def test_of_two_at_once_the_later_supersedes_the_earlier(ledger: JudgingLedger, query: Query, held: Query) -> None:
    prediction_id = stored(ledger)
    ledger.judge(label(prediction_id, "0"))
    held("SELECT 1 FROM predictions FOR UPDATE")

    with ThreadPoolExecutor(2) as threads:
        told = [threads.submit(ledger.judge, label(prediction_id, one)) for one in ("1", "2")]
        assert soon(lambda: query("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") == [[2]])
        held("COMMIT")
        for one in told:
            one.result()

    newest, *_ = kept = values(ledger, prediction_id)
    assert (sorted(kept), kept[-1]) == (["0", "1", "2"], "0")
    assert truth_of(ledger, prediction_id) == (newest, False)


def test_the_same_twice_at_once_is_kept_once(ledger: JudgingLedger, query: Query, held: Query) -> None:
    prediction_id = stored(ledger)
    held("SELECT 1 FROM predictions FOR UPDATE")

    with ThreadPoolExecutor(2) as threads:
        told = [threads.submit(ledger.judge, label(prediction_id, "7")) for _ in range(2)]
        assert soon(lambda: query("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") == [[2]])
        held("COMMIT")
        first, second = (one.result() for one in told)

    assert first == second
    assert values(ledger, prediction_id) == ["7"]


def test_an_outcome_that_waits_for_a_ground_truth_is_judged_by_it(
    ledger: JudgingLedger, query: Query, held: Query
) -> None:
    new = QueuedPrediction(NewInput(PNG, "image/png"), "anonymous")
    ledger.enqueue(new)
    held("UPDATE predictions SET ground_truth = '\"7\"', judged_at = '2026-01-01Z'")

    with ThreadPoolExecutor(1) as threads:
        outcome = Success(new.prediction_id, [1.0], 7, "7", 1.0, "7", 1.0)
        told = threads.submit(ledger.complete, MODEL, [outcome])
        assert soon(lambda: waits_for_a_lock(query))
        held("COMMIT")
        told.result()

    assert truth_of(ledger, new.prediction_id) == ("7", True)


def test_a_ground_truth_that_waits_for_an_outcome_is_checked_against_it(
    ledger: JudgingLedger, query: Query, held: Query
) -> None:
    new = QueuedPrediction(NewInput(PNG, "image/png"), "anonymous")
    ledger.enqueue(new)
    held("SELECT 1 FROM predictions FOR UPDATE")
    made = answering(2.5)

    with ThreadPoolExecutor(1) as threads:
        told = threads.submit(ledger.judge, label(new.prediction_id, "7"))
        assert soon(lambda: waits_for_a_lock(query))
        ledger.store(of_task("regression"), [made])  # registers a model that the statement cannot see
        held(
            "UPDATE predictions SET (model_id, duration_ms, predicted_value, output, status) = "
            "(SELECT model_id, 1, '2.5'::jsonb, '[2.5]'::jsonb, 'succeeded' FROM models) WHERE prediction_id = :id",
            id=new.prediction_id,
        )
        held("COMMIT")
        with pytest.raises(GroundTruthsRefusedError) as refused:
            told.result()

    assert refused.value.faults[0].reason == "kind"


@pytest.mark.parametrize("comes_first", ["the ground truth", "the deletion"])
def test_a_deletion_at_the_same_time_leaves_no_ground_truth(
    ledger: JudgingLedger, eraser: DeletingLedger, query: Query, held: Query, comes_first: str
) -> None:
    prediction_id = stored(ledger)
    with ThreadPoolExecutor(1) as threads:
        if comes_first == "the ground truth":
            held("UPDATE predictions SET ground_truth = '\"7\"', judged_at = '2026-01-01Z'")
            held("INSERT INTO ground_truths SELECT prediction_id, judged_at, ground_truth FROM predictions")
            told: Any = threads.submit(eraser.delete, prediction_id)
        else:
            held("DELETE FROM predictions")
            told = threads.submit(ledger.judge, label(prediction_id, "7"))
        assert soon(lambda: waits_for_a_lock(query))
        held("COMMIT")
        if comes_first == "the ground truth":
            told.result()
        else:
            with pytest.raises(RecordNotFoundError):
                told.result()

    assert query("SELECT (SELECT count(*) FROM predictions), (SELECT count(*) FROM ground_truths)") == [[0, 0]]


def test_many_and_many_in_the_opposite_order_do_not_deadlock(ledger: JudgingLedger, query: Query) -> None:
    ids = [stored(ledger) for _ in range(200)]
    barrier = threading.Barrier(4)

    def judge(number: int) -> None:
        barrier.wait()
        for _ in range(5):
            ledger.judge_many([label(one, str(number)) for one in (ids if number % 2 else reversed(ids))])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(judge, range(4)))

    # The current one is the latest, of each.
    assert query(
        """
        SELECT count(*) FROM predictions p
        JOIN LATERAL (SELECT value, created_at FROM ground_truths t WHERE t.prediction_id = p.prediction_id
                      ORDER BY created_at DESC LIMIT 1) t ON TRUE
        WHERE t.value = p.ground_truth AND t.created_at = p.judged_at
          AND p.correct = (p.label = p.ground_truth #>> '{}')
        """
    ) == [[200]]


# --- in any order -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_said_in_whatever_order_the_record_and_its_history_agree(
    ledger: JudgingLedger, eraser: DeletingLedger, query: Query, seed: int
) -> None:
    """Judges, withdraws, makes and deletes at random, and keeps the same in a dictionary."""
    draw = random.Random(seed)
    histories: dict[UUID, list[str | None]] = {}
    labels: dict[UUID, str] = {}
    for _ in range(10):
        new = QueuedPrediction(NewInput(PNG, "image/png"), "anonymous", inference_id=draw.choice(["a", "b"]))
        ledger.enqueue(new)
        histories[new.prediction_id] = []

    def said(prediction_id: UUID, truth: str | None) -> None:
        if truth != (histories[prediction_id] or [None])[0]:
            histories[prediction_id].insert(0, truth)

    for _ in range(120):
        some = draw.sample(sorted(histories), k=draw.randint(1, len(histories)))
        truth = draw.choice("179")
        match draw.choice(["one", "one", "many", "many", "withdraw", "make", "delete"]):
            case "one":
                ledger.judge(label(some[0], truth))
                said(some[0], truth)
            case "many":
                given = {one: draw.choice("179") for one in some}
                ledger.judge_many([label(*one) for one in given.items()])
                for one in given.items():
                    said(*one)
            case "withdraw":
                ledger.withdraw_truth(some[0])
                said(some[0], None)
            case "make":
                ledger.complete(MODEL, [Success(some[0], [1.0], 7, truth, 1.0, truth, 1.0)])
                labels.setdefault(some[0], truth)
            case "delete" if len(histories) > 3:
                eraser.delete(some[0])
                del histories[some[0]]

    for prediction_id, history in histories.items():
        assert values(ledger, prediction_id) == history
        current, made = (history or [None])[0], labels.get(prediction_id)
        assert truth_of(ledger, prediction_id) == (current, current == made if current and made else None)
    assert query("SELECT count(*) FROM ground_truths") == [[sum(map(len, histories.values()))]]


# --- the end of it ----------------------------------------------------------------------------------------------------


def test_a_deleted_prediction_takes_its_ground_truths_with_it(
    ledger: JudgingLedger, eraser: DeletingLedger, query: Query
) -> None:
    gone, stays = stored(ledger), stored(ledger)
    for prediction_id in (gone, stays):
        ledger.judge(label(prediction_id, "1"))
        ledger.judge(label(prediction_id, "7"))

    eraser.delete(gone)

    assert query("SELECT DISTINCT prediction_id FROM ground_truths") == [[stays]]


def test_what_an_erased_user_said_of_others_stays_without_their_name_and_words(
    ledger: JudgingLedger, eraser: DeletingLedger
) -> None:
    prediction_id, own = stored(ledger, user_id="bob"), stored(ledger, user_id="anna")
    ledger.judge(label(prediction_id, "1", source="human", source_id="anna", comment="anna"), given_by="anna")
    ledger.judge(label(prediction_id, "7", source="human", source_id="bob", comment="bob"), given_by="bob")
    ledger.judge(label(own, "7"), given_by="bob")
    deletion = eraser.begin_deletion(user_id="anna")
    while (more := eraser.delete_some(deletion)) is not None:
        deletion = more
    while eraser.settle(deletion):
        pass
    assert eraser.finish_deletion(deletion).finished_at is None

    while eraser.delete_some_uploads(deletion):
        pass

    assert eraser.finish_deletion(deletion).finished_at is not None
    newest, oldest = ledger.history(prediction_id).entries
    assert newest[1:] == ("7", "human", "bob", "bob", "bob")
    assert oldest[1:] == ("1", "human", None, None, None)


def test_what_is_withdrawn_from_the_queue_takes_its_ground_truth_with_it(ledger: JudgingLedger, query: Query) -> None:
    new = QueuedPrediction(NewInput(PNG, "image/png"), "anonymous", inference_id="a")
    ledger.enqueue(new)
    ledger.judge_many([label(None, "7", inference_id="a")])

    assert ledger.withdraw(new.prediction_id)

    assert query("SELECT count(*) FROM ground_truths") == [[0]]
