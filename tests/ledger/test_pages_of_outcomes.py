"""Pages by what became of predictions, and pages with the least sure first."""

import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from functions.shared.ledger.errors import InvalidCursorError
from functions.shared.ledger.identifiers import created_at
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import (
    Failure,
    NewInput,
    NewPrediction,
    Order,
    Page,
    PredictionFilter,
    QueuedPrediction,
    Status,
    StoredRequest,
)
from tests.support.database import Query
from tests.support.predictions import MODEL, prediction

EVERYTHING = PredictionFilter()
LONGEST = "ü" * 255

Judge = Callable[[NewPrediction, object], None]


@pytest.fixture
def judge(query: Query) -> Judge:
    """Say what a prediction should have been; None withdraws it."""

    def say(new: NewPrediction, truth: object) -> None:
        query(
            "UPDATE predictions SET ground_truth = to_jsonb(:truth::text), correct = :truth = label "
            "WHERE prediction_id = :prediction_id",
            truth=truth,
            prediction_id=new.prediction_id,
        )

    return say


def pages(ledger: Ledger, matching: PredictionFilter, limit: int, order: Order) -> Iterator[Page]:
    cursor = None
    while True:
        page = ledger.list(matching, limit=limit, cursor=cursor, order=order)
        yield page
        if page.next_cursor is None:
            return
        cursor = page.next_cursor


def found(
    ledger: Ledger, matching: PredictionFilter = EVERYTHING, limit: int = 3, order: Order = "newest"
) -> list[UUID]:
    return [record.prediction_id for page in pages(ledger, matching, limit, order) for record in page.records]


class Known(NamedTuple):
    """A stored prediction, and what a filter may ask of it."""

    new: NewPrediction
    version: str
    truth: str | None

    def meets(self, matching: PredictionFilter) -> bool:
        new, correct = self.new, None if self.truth is None or self.new.label is None else self.truth == self.new.label
        confidence = -1.0 if new.confidence is None else new.confidence
        at = created_at(new.prediction_id)
        return (
            matching.user_id in (None, new.user_id)
            and matching.label in (None, new.label)
            and matching.version in (None, self.version)
            and matching.inference_id in (None, new.inference_id)
            and matching.has_ground_truth in (None, self.truth is not None)
            and matching.correct in (None, correct)
            and matching.ground_truth in (None, self.truth)
            and matching.status in (None, "succeeded")
            and (matching.min_confidence is None or confidence >= matching.min_confidence)
            and (matching.max_confidence is None or 0 <= confidence <= matching.max_confidence)
            and (matching.since is None or at >= matching.since)
            and (matching.until is None or at < matching.until)
        )


CONDITIONS: dict[str, list[Any]] = {
    "user_id": ["anna", "bob"],
    "label": ["a", "b"],
    "version": ["1", "2"],
    "inference_id": ["order 1", "order 2", "never seen"],
    "has_ground_truth": [True, False],
    "correct": [True, False],
    "ground_truth": ["a", "b", "c"],
    "status": ["succeeded", "failed"],
    "min_confidence": [0.25, 0.5],
    "max_confidence": [0.5, 0.75],
}


def some_filter(choose: random.Random, stored: list[Known]) -> PredictionFilter:
    names = choose.sample([*CONDITIONS, "since", "until"], choose.choice([0, 1, 1, 1, 2, 2, 3]))
    moment = created_at(choose.choice(stored).new.prediction_id)
    return PredictionFilter(**{name: choose.choice(CONDITIONS.get(name, [moment])) for name in names})


@pytest.mark.parametrize("seed", range(4))
def test_pages_of_any_filter_size_and_order_hold_every_match_once_and_in_order(
    ledger: Ledger, judge: Judge, seed: int
) -> None:
    choose = random.Random(seed)
    stored = []
    for _ in range(60):
        new = prediction(
            user_id=choose.choice(["anna", "bob"]),
            label=choose.choice(["a", "b", None]),
            # Few values, so that many are equal.
            confidence=choose.choice([None, 0.0, 0.25, 0.5, 0.5, 0.5, 0.75, 1.0, choose.random()]),
            inference_id=choose.choice([None, "order 1", "order 2"]),
        )
        version, truth = choose.choice("12"), choose.choice([None, None, "a", "b", "c"])
        ledger.store(MODEL._replace(version=version), [new])
        if truth is not None:
            judge(new, truth)
        stored.append(Known(new, version, truth))
    for _ in range(150):
        matching, limit = some_filter(choose, stored), choose.choice([1, 2, 5, 7, 60, 61])
        matches = [one.new for one in stored if one.meets(matching)]
        newest = sorted([new.prediction_id for new in matches], reverse=True)
        least_sure = sorted((new.confidence, new.prediction_id) for new in matches if new.confidence is not None)
        assert found(ledger, matching, limit) == newest, matching
        assert found(ledger, matching, limit, "confidence") == [identifier for _, identifier in least_sure], matching


def test_predictions_are_found_by_their_status(ledger: Ledger) -> None:
    queued, processing, failed = (QueuedPrediction(NewInput(b"x", "image/png"), "anna") for _ in range(3))
    for one in (queued, processing, failed):
        ledger.enqueue(one)
    ledger.claim([processing.prediction_id, failed.prediction_id], lease_seconds=60)
    ledger.complete(MODEL, [Failure(failed.prediction_id, "It cannot be decoded.")])
    succeeded = prediction(user_id="anna")
    ledger.store(MODEL, [succeeded])

    by_status: dict[Status, UUID] = {
        "queued": queued.prediction_id,
        "processing": processing.prediction_id,
        "failed": failed.prediction_id,
        "succeeded": succeeded.prediction_id,
    }
    for user_id in (None, "anna", "bob"):
        for status, prediction_id in by_status.items():
            wanted = PredictionFilter(status=status, user_id=user_id)
            assert found(ledger, wanted) == ([] if user_id == "bob" else [prediction_id])
    assert found(ledger, order="confidence") == [succeeded.prediction_id]
    assert found(ledger, PredictionFilter(status="failed"), order="confidence") == []
    assert found(ledger, PredictionFilter(status="failed", model="mnist")) == []


def test_a_ground_truth_that_supersedes_or_is_withdrawn_is_found_as_it_is_now(ledger: Ledger, judge: Judge) -> None:
    new = prediction(label="7")
    ledger.store(MODEL, [new])

    for truth in ("7", "1", "1", "7", None, "1"):
        judge(new, truth)
        for wanted in ("7", "1"):
            assert bool(found(ledger, PredictionFilter(ground_truth=wanted))) == (wanted == truth)
        for correct in (True, False):
            expected = truth is not None and correct == (truth == "7")
            assert bool(found(ledger, PredictionFilter(correct=correct))) == expected
            assert bool(found(ledger, PredictionFilter(correct=correct, user_id="anonymous"))) == expected
        assert bool(found(ledger, PredictionFilter(has_ground_truth=True))) == (truth is not None)
        assert bool(found(ledger, PredictionFilter(has_ground_truth=False))) == (truth is None)


@pytest.mark.parametrize(
    ("truth", "written"),
    [
        ('"7"', "7"),
        ("7", "7"),
        ("3.20", "3.20"),
        ('["a", 1]', '["a", 1]'),
        ('""', ""),
        (f'"{LONGEST}"', LONGEST),
    ],
)
def test_a_ground_truth_is_found_by_its_text(ledger: Ledger, query: Query, truth: str, written: str) -> None:
    new = prediction()
    ledger.store(MODEL, [new])
    query("UPDATE predictions SET ground_truth = :truth::jsonb", truth=truth)

    assert found(ledger, PredictionFilter(ground_truth=written)) == [new.prediction_id]
    assert found(ledger, PredictionFilter(correct=True)) == found(ledger, PredictionFilter(correct=False)) == []
    assert found(ledger, PredictionFilter(has_ground_truth=True)) == [new.prediction_id]


def test_a_ground_truth_of_any_length_can_be_kept_and_is_not_taken_for_its_beginning(
    ledger: Ledger, query: Query
) -> None:
    new = prediction()
    ledger.store(MODEL, [new])
    query("UPDATE predictions SET ground_truth = to_jsonb(repeat('x', 100000))")

    assert found(ledger, PredictionFilter(ground_truth="x" * 255)) == []
    assert found(ledger, PredictionFilter(has_ground_truth=True)) == [new.prediction_id]


def test_what_is_deleted_or_withdrawn_is_in_no_table_of_what_is_judged(
    ledger: Ledger, judge: Judge, query: Query
) -> None:
    first, second = prediction(), prediction()
    for new in (first, second):
        ledger.store(MODEL, [new])
        judge(new, "7")
    assert query("SELECT count(*) FROM judged_predictions") == [[2]]

    judge(first, None)
    query("DELETE FROM predictions WHERE prediction_id = :one", one=second.prediction_id)

    assert query("SELECT count(*) FROM judged_predictions") == [[0]]


def test_an_inference_id_is_kept_with_many_that_are_stored_together(ledger: Ledger) -> None:
    named, unnamed, other = prediction(inference_id="a"), prediction(), prediction(inference_id="b")

    ledger.store_requests(MODEL, [StoredRequest([named, unnamed]), StoredRequest([other])])

    listed = {record.prediction_id: record for record in ledger.list(PredictionFilter(), limit=9).records}
    for new in (named, unnamed, other):
        assert ledger.get(new.prediction_id)[0] == listed[new.prediction_id] == new.record(MODEL)
        assert listed[new.prediction_id].inference_id == new.inference_id


@pytest.mark.parametrize("order", ["newest", "confidence"])
def test_what_is_judged_between_two_pages_is_neither_repeated_nor_are_others_skipped(
    ledger: Ledger, judge: Judge, order: Order
) -> None:
    stored = [prediction(confidence=n / 12, label="7") for n in range(12)]
    for new in stored:
        ledger.store(MODEL, [new])
        judge(new, "1")
    wrong = PredictionFilter(correct=False)
    in_order = stored if order == "confidence" else stored[::-1]

    first = ledger.list(wrong, limit=4, order=order)
    judge(in_order[1], "7")  # it was on the first page
    judge(in_order[6], "7")  # it will be on none
    judge(in_order[0], "2")  # wrong in another way, and no reason to be shown again
    second = ledger.list(wrong, limit=20, cursor=first.next_cursor, order=order)

    read = [record.prediction_id for page in (first, second) for record in page.records]
    assert read == [new.prediction_id for position, new in enumerate(in_order) if position != 6]


def test_what_is_stored_between_two_pages_is_shown_where_it_belongs(ledger: Ledger) -> None:
    stored = [prediction(confidence=confidence) for confidence in (0.1, 0.3, 0.5)]
    for new in stored:
        ledger.store(MODEL, [new])

    first = ledger.list(PredictionFilter(), limit=2, order="confidence")
    surer, less_sure = prediction(confidence=0.4), prediction(confidence=0.2)
    for new in (surer, less_sure):
        ledger.store(MODEL, [new])
    second = ledger.list(PredictionFilter(), limit=9, cursor=first.next_cursor, order="confidence")

    assert [record.confidence for record in (*first.records, *second.records)] == [0.1, 0.3, 0.4, 0.5]


def test_a_page_that_is_cut_short_goes_on_where_it_ended(ledger: Ledger) -> None:
    for _ in range(5):
        ledger.store(MODEL, [prediction(confidence=0.5)])
    page = ledger.list(PredictionFilter(), limit=5, order="confidence")

    short = page.first(2)
    rest = ledger.list(PredictionFilter(), limit=5, cursor=short.next_cursor, order="confidence")

    assert [*short.records, *rest.records] == [*page.records]


def test_a_cursor_is_good_for_its_own_order_only(ledger: Ledger) -> None:
    for _ in range(3):
        ledger.store(MODEL, [prediction()])
    orders: list[Order] = ["newest", "confidence"]
    cursors = {order: ledger.list(PredictionFilter(), limit=1, order=order).next_cursor for order in orders}

    for order in orders:
        for other in orders:
            if order == other:
                assert ledger.list(PredictionFilter(), limit=1, cursor=cursors[other], order=order).records
            else:
                with pytest.raises(InvalidCursorError):
                    ledger.list(PredictionFilter(), limit=1, cursor=cursors[other], order=order)
