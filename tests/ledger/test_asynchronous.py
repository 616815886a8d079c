import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest

from functions.shared.ledger.identifiers import new_id
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import (
    Failure,
    NewInput,
    PredictionFilter,
    PredictionRecord,
    QueuedPrediction,
    Success,
    Sweep,
)
from tests.support.database import Query
from tests.support.database_proxy import Fate, Proxy
from tests.support.predictions import MODEL, prediction

LEASE = 60.0


def queued(number: int = 1) -> list[QueuedPrediction]:
    return [
        QueuedPrediction(NewInput(b"%d" % n, "image/png", f"{n}.png"), "anna", {"b": n, "a": 0}) for n in range(number)
    ]


def success(new: QueuedPrediction, label: str = "7") -> Success:
    return Success(new.prediction_id, [0.1, 0.9], 1, label, 0.9, label, 0.25)


def record(ledger: Ledger, new: QueuedPrediction) -> PredictionRecord:
    return ledger.get(new.prediction_id)[0]


def test_a_queued_prediction_is_on_record_with_its_input(ledger: Ledger) -> None:
    (new,) = queued()
    assert ledger.enqueue(new) is None
    on_record, stored = ledger.get(new.prediction_id, user_id="anna")
    assert (on_record.status, on_record.output, on_record.model_name, on_record.error) == ("queued", None, None, None)
    assert (on_record.user_id, dict(on_record.metadata), on_record.filename) == ("anna", {"b": 0, "a": 0}, "0.png")
    assert (stored.content, stored.sha256) == (b"0", sha256(b"0").hexdigest())
    assert ledger.list(PredictionFilter(user_id="anna"), limit=5).records == (on_record,)


def test_queueing_takes_one_round_trip_and_survives_a_lost_acknowledgement(
    proxied: Ledger, proxy: Proxy, query: Query
) -> None:
    proxied.enqueue(*queued())
    with proxy.counted(1):
        proxied.enqueue(*queued())
    proxy.next_flights(Fate.REPLY_LOST)
    proxied.enqueue(*queued())
    assert query("SELECT count(*) FROM predictions") == [[3]]


def test_a_claim_reads_the_inputs_and_marks_the_predictions(ledger: Ledger) -> None:
    batch = queued(3)
    for new in batch:
        ledger.enqueue(new)
    claim = ledger.claim([new.prediction_id for new in batch], lease_seconds=LEASE)
    assert {(one.prediction_id, one.content, one.features, one.uri) for one in claim.claimed} == {
        (new.prediction_id, new.input.content, None, None) for new in batch
    }
    assert (claim.busy, claim.done) == ((), ())
    assert {record(ledger, new).status for new in batch} == {"processing"}


def test_what_one_worker_has_claimed_is_busy_for_another(ledger: Ledger) -> None:
    (new,) = queued()
    ledger.enqueue(new)
    ledger.claim([new.prediction_id], lease_seconds=LEASE)
    again = ledger.claim([new.prediction_id], lease_seconds=LEASE)
    assert (again.claimed, again.busy) == ((), (new.prediction_id,))


def test_what_another_worker_is_just_claiming_is_busy_and_not_waited_for(ledger: Ledger, query: Query) -> None:
    (new,) = queued()
    ledger.enqueue(new)
    query("BEGIN")
    query("SELECT 1 FROM predictions FOR UPDATE")
    claim = ledger.claim([new.prediction_id], lease_seconds=LEASE)
    query("ROLLBACK")
    assert (claim.claimed, claim.busy) == ((), (new.prediction_id,))


def test_of_many_that_are_wanted_each_is_told_by_its_id(ledger: Ledger) -> None:
    batch = queued(6)
    for new in batch:
        ledger.enqueue(new)
    ids = [new.prediction_id for new in batch]
    ledger.claim([ids[1], ids[3]], lease_seconds=LEASE)
    ledger.complete(MODEL, [success(batch[4])])
    claim = ledger.claim([ids[at] for at in (4, 0, 3, 5, 1, 2)], lease_seconds=LEASE)
    assert {one.prediction_id: one.content for one in claim.claimed} == {ids[at]: b"%d" % at for at in (0, 2, 5)}
    assert (sorted(claim.busy), claim.done) == (sorted((ids[1], ids[3])), (ids[4],))


def test_what_a_dead_worker_has_claimed_is_taken_over_when_its_lease_is_up(ledger: Ledger) -> None:
    (new,) = queued()
    ledger.enqueue(new)
    ledger.claim([new.prediction_id], lease_seconds=LEASE)
    time.sleep(0.02)
    taken_over = ledger.claim([new.prediction_id], lease_seconds=0.01)
    assert [one.prediction_id for one in taken_over.claimed] == [new.prediction_id]


def test_what_is_finished_or_unknown_is_done(ledger: Ledger) -> None:
    good, bad = queued(2)
    made_at_once = prediction()
    unknown = new_id()
    ledger.store(MODEL, [made_at_once])
    for new in (good, bad):
        ledger.enqueue(new)
    ledger.complete(MODEL, [success(good), Failure(bad.prediction_id, "not an image")])
    wanted = [good.prediction_id, bad.prediction_id, made_at_once.prediction_id, unknown]
    claim = ledger.claim(wanted, lease_seconds=LEASE)
    assert (claim.claimed, claim.busy, sorted(claim.done)) == ((), (), sorted(wanted))


def test_a_success_is_recorded_with_its_model(ledger: Ledger) -> None:
    (new,) = queued()
    ledger.enqueue(new)
    assert ledger.complete(MODEL, [success(new)]) == ()
    on_record = record(ledger, new)
    assert (on_record.status, on_record.output, on_record.label, on_record.confidence) == (
        "succeeded",
        [0.1, 0.9],
        "7",
        0.9,
    )
    assert (on_record.model_name, on_record.model_version, on_record.duration_ms) == (MODEL.name, MODEL.version, 0.25)


def test_a_bad_input_fails_alone_and_with_its_reason(ledger: Ledger) -> None:
    good, bad = queued(2)
    for new in (good, bad):
        ledger.enqueue(new)
    ledger.complete(MODEL, [success(good), Failure(bad.prediction_id, 'it\'s "not" an image')])
    assert (record(ledger, good).status, record(ledger, good).error) == ("succeeded", None)
    assert (record(ledger, bad).status, record(ledger, bad).error) == ("failed", 'it\'s "not" an image')
    assert record(ledger, bad).output is None


def test_the_first_outcome_stays(ledger: Ledger) -> None:
    (new,) = queued()
    ledger.enqueue(new)
    ledger.complete(MODEL, [success(new, "first")])
    assert ledger.complete(MODEL, [success(new, "second")]) == (new.prediction_id,)
    assert ledger.complete(MODEL, [Failure(new.prediction_id, "third")]) == (new.prediction_id,)
    assert record(ledger, new).label == "first"


def test_claiming_and_completing_take_one_round_trip_each(proxied: Ledger, proxy: Proxy) -> None:
    proxied.register(MODEL)
    for _ in range(2):
        batch = queued(10)
        for new in batch:
            proxied.enqueue(new)
        with proxy.counted(2):
            claim = proxied.claim([new.prediction_id for new in batch], lease_seconds=LEASE)
            proxied.complete(MODEL, [success(new) for new in batch])
        assert len(claim.claimed) == 10


def test_workers_that_get_the_same_messages_make_each_prediction_once(ledger: Ledger, query: Query) -> None:
    batch = queued(60)
    for new in batch:
        ledger.enqueue(new)

    def work(worker: int) -> list[str]:
        order = batch if worker % 2 else batch[::-1]
        claimed = []
        for start in range(0, len(order), 10):
            wanted = [new.prediction_id for new in order[start : start + 10]]
            claim = ledger.claim(wanted, lease_seconds=LEASE)
            claimed += [str(one.prediction_id) for one in claim.claimed]
            ledger.complete(MODEL, [Success(i, [1.0], 0, str(worker), 1.0, str(worker), 0.1) for i in wanted])
        return claimed

    with ThreadPoolExecutor(4) as threads:
        claimed = [one for worker in threads.map(work, range(4)) for one in worker]
    assert len(claimed) == len(set(claimed))
    assert query("SELECT status, count(*) FROM predictions GROUP BY status") == [["succeeded", 60]]


def test_a_sweep_finds_what_is_queued_for_too_long_and_not_again_at_once(ledger: Ledger, query: Query) -> None:
    (new,) = queued()
    ledger.enqueue(new)
    assert ledger.sweep(queued_seconds=60, processing_seconds=60) == Sweep((), ())
    query("UPDATE predictions SET status_since = now() - interval '61 s'")
    assert ledger.sweep(queued_seconds=60, processing_seconds=60) == Sweep((new.prediction_id,), ())
    assert ledger.sweep(queued_seconds=60, processing_seconds=60) == Sweep((), ())
    assert record(ledger, new).status == "queued"


def test_a_sweep_fails_what_is_in_processing_for_too_long(ledger: Ledger) -> None:
    stuck, finished = queued(2)
    for new in (stuck, finished):
        ledger.enqueue(new)
    ledger.claim([stuck.prediction_id, finished.prediction_id], lease_seconds=LEASE)
    ledger.complete(MODEL, [success(finished)])
    assert ledger.sweep(queued_seconds=60, processing_seconds=60) == Sweep((), ())
    time.sleep(0.02)
    assert ledger.sweep(queued_seconds=0, processing_seconds=0) == Sweep((), (stuck.prediction_id,))
    assert record(ledger, stuck).status == "failed"
    assert record(ledger, stuck).error
    assert record(ledger, finished).status == "succeeded"


def test_a_sweep_does_as_many_as_it_is_told_oldest_first(ledger: Ledger) -> None:
    batch = queued(5)
    for new in batch:
        ledger.enqueue(new)
    time.sleep(0.01)
    found = ledger.sweep(queued_seconds=0, processing_seconds=0, limit=3)
    assert sorted(found.requeue) == sorted(new.prediction_id for new in batch)[:3]


def test_a_sweep_leaves_alone_what_is_made_at_once(ledger: Ledger) -> None:
    new = prediction()
    ledger.store(MODEL, [new])
    assert ledger.sweep(queued_seconds=0, processing_seconds=0) == Sweep((), ())
    assert ledger.get(new.prediction_id)[0] == new.record(MODEL)


@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_an_outcome_whose_acknowledgement_was_lost_is_recorded_once(
    proxied: Ledger, proxy: Proxy, outcome: str
) -> None:
    (new,) = queued()
    proxied.register(MODEL)
    proxied.enqueue(new)
    proxy.next_flights(Fate.REPLY_LOST)
    proxied.complete(MODEL, [success(new) if outcome == "success" else Failure(new.prediction_id, "no image")])
    assert record(proxied, new).status == ("succeeded" if outcome == "success" else "failed")


def test_the_prediction_that_was_claimed_last_comes_last(ledger: Ledger) -> None:
    batch = queued(4)
    for new in batch:
        ledger.enqueue(new)
    ids = [new.prediction_id for new in batch]
    ledger.claim([ids[1]], lease_seconds=LEASE)
    assert ledger.least_recently_claimed(ids) == (ids[0], ids[2], ids[3], ids[1])
    ledger.claim([ids[0]], lease_seconds=LEASE)
    assert ledger.least_recently_claimed(ids[::-1]) == (ids[2], ids[3], ids[1], ids[0])
    assert ledger.least_recently_claimed([]) == ()
