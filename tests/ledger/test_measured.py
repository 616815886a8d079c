"""`predictions.measured`: what was measured of a prediction, and how long it was in the queue."""

import time
from typing import Any
from uuid import UUID

import pytest

from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import Failure, Measured, NewInput, QueuedPrediction, Success, rounded_ms
from tests.support.database import Query
from tests.support.predictions import MODEL, prediction

PICTURE = Measured(0.25, 0.125, 28, 24, 340, 0.5, 0.03125)
FEATURES = Measured(0.0000125, 12345.5)
STORED = [0.25, 0.125, None, 28, 24, 340, 0.5, 0.03125]


def measured(query: Query, prediction_id: UUID) -> Any:
    [[found]] = query("SELECT measured FROM predictions WHERE prediction_id = :id", id=prediction_id)
    return found


@pytest.mark.parametrize("count", [1, 3])
def test_each_of_one_or_many_has_its_own(ledger: Ledger, query: Query, count: int) -> None:
    pictures = [prediction(measured=PICTURE._replace(size=340 + at)) for at in range(count)]
    ledger.store(MODEL, pictures)
    for at, one in enumerate(pictures):
        assert measured(query, one.prediction_id) == [*STORED[:5], 340 + at, *STORED[6:]]


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_no_picture_has_its_times_alone(ledger: Ledger, query: Query, count: int) -> None:
    rows = [prediction(measured=FEATURES) for _ in range(count)]
    ledger.store(MODEL, rows)
    for one in rows:
        assert measured(query, one.prediction_id) == [pytest.approx(0.0000125), pytest.approx(12345.5)]
    [[width]] = query("SELECT measured[4] FROM predictions LIMIT 1")
    assert width is None


def test_a_record_has_the_times_that_it_was_answered_with(ledger: Ledger) -> None:
    for value in (0.0000123456, 0.0823451, 0.13, 1, 999.96, 1234.567, 29_876.54, 98_765_432.1):
        new = prediction(measured=Measured(rounded_ms(value), rounded_ms(value / 3)))
        ledger.store(MODEL, [new])
        record, _ = ledger.get(new.prediction_id)
        assert record == new.record(MODEL)
        assert record.decode_ms == pytest.approx(value, rel=0.0005)
        assert record.queue_ms is None


def test_what_was_not_measured_has_nothing(ledger: Ledger, query: Query) -> None:
    some = [prediction(), prediction(measured=PICTURE)]
    ledger.store(MODEL, some)
    assert [measured(query, one.prediction_id) for one in some] == [None, STORED]


def test_one_that_was_queued_has_the_time_until_a_worker_began(ledger: Ledger, query: Query) -> None:
    made, fails, unmeasured = (QueuedPrediction(NewInput(b"1", "image/png"), "anna") for _ in range(3))
    for one in (made, fails, unmeasured):
        ledger.enqueue(one)
    time.sleep(0.2)
    ledger.claim([made.prediction_id, fails.prediction_id, unmeasured.prediction_id], lease_seconds=60)
    [[waited]] = query(
        "SELECT extract(epoch FROM status_since - created_at)::float8 * 1000 FROM predictions "
        "WHERE prediction_id = :id", id=made.prediction_id
    )  # fmt: skip
    success = Success(made.prediction_id, [1.0], 0, "0", 1.0, "0", 0.5, measured=PICTURE)
    without = success._replace(prediction_id=unmeasured.prediction_id, measured=None)
    ledger.complete(MODEL, [success, Failure(fails.prediction_id, "Why."), without])
    assert measured(query, made.prediction_id) == [0.25, 0.125, pytest.approx(waited), *STORED[3:]]
    assert waited >= 200
    assert measured(query, fails.prediction_id) is None
    assert measured(query, unmeasured.prediction_id) is None


def test_features_that_were_queued_have_no_picture(ledger: Ledger, query: Query) -> None:
    queued = QueuedPrediction(NewInput(None, "application/json", features="[1]"), "anna")
    ledger.enqueue(queued)
    ledger.claim([queued.prediction_id], lease_seconds=60)
    ledger.complete(MODEL, [Success(queued.prediction_id, [1.0], None, None, None, 1.0, 0.5, measured=FEATURES)])
    found = measured(query, queued.prediction_id)
    assert found[:2] == [pytest.approx(0.0000125), pytest.approx(12345.5)]
    assert found[2] is not None
    assert found[3:] == [None] * 5


def test_a_clock_that_was_set_back_makes_no_time_in_the_queue_negative(ledger: Ledger, query: Query) -> None:
    queued = QueuedPrediction(NewInput(b"1", "image/png"), "anna")
    ledger.enqueue(queued)
    ledger.claim([queued.prediction_id], lease_seconds=60)
    query("UPDATE predictions SET status_since = created_at - interval '1 hour'")
    ledger.complete(MODEL, [Success(queued.prediction_id, [1.0], 0, "0", 1.0, "0", 0.5, measured=PICTURE)])
    assert measured(query, queued.prediction_id)[2] == 0
