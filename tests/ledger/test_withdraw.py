"""What was queued and could not be sent is taken back, unless somebody counts on it by then."""

import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest

from functions.shared.ledger.errors import LedgerUnavailableError
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import IdempotencyKey, NewInput, QueuedPrediction
from tests.ledger.conftest import Query
from tests.support.database_proxy import Fate, Proxy
from tests.support.predictions import MODEL, prediction


def key(name: str = "order-17") -> IdempotencyKey:
    return IdempotencyKey("anna", name, sha256(b"a seven").digest())


def queued() -> QueuedPrediction:
    return QueuedPrediction(NewInput(b"x", "image/png"), "anna")


def counts(query: Query) -> tuple[int, ...]:
    """Return how many predictions, inputs and keys there are."""
    tables = ("predictions", "inputs", "idempotency_keys")
    return tuple(query(f"SELECT count(*) FROM {table}")[0][0] for table in tables)


@pytest.mark.parametrize("idempotency", [None, key()])
def test_what_is_withdrawn_has_never_been(ledger: Ledger, query: Query, idempotency: IdempotencyKey | None) -> None:
    new, other = queued(), queued()
    ledger.enqueue(new, idempotency=idempotency)
    ledger.enqueue(other)

    assert ledger.withdraw(new.prediction_id, idempotency=idempotency)

    assert counts(query) == (1, 1, 0)
    assert ledger.claim([new.prediction_id, other.prediction_id], lease_seconds=60).done == (new.prediction_id,)


@pytest.mark.parametrize("idempotency", [None, key()])
@pytest.mark.parametrize("fate", [Fate.REQUEST_LOST, Fate.REPLY_LOST])
def test_a_withdrawal_whose_acknowledgement_was_lost_is_one(
    proxied: Ledger, proxy: Proxy, query: Query, idempotency: IdempotencyKey | None, fate: Fate
) -> None:
    new = queued()
    proxied.enqueue(new, idempotency=idempotency)
    proxy.next_flights(fate)

    assert proxied.withdraw(new.prediction_id, idempotency=idempotency)
    assert counts(query) == (0, 0, 0)


@pytest.mark.parametrize("idempotency", [None, key()])
def test_what_a_worker_has_is_not_withdrawn(ledger: Ledger, query: Query, idempotency: IdempotencyKey | None) -> None:
    new = queued()
    ledger.enqueue(new, idempotency=idempotency)
    ledger.claim([new.prediction_id], lease_seconds=60)

    assert not ledger.withdraw(new.prediction_id, idempotency=idempotency)
    assert counts(query)[:2] == (1, 1)


def test_what_another_request_was_told_of_is_not_withdrawn(ledger: Ledger, query: Query) -> None:
    new = queued()
    ledger.enqueue(new, idempotency=key())
    assert ledger.replay(key()) is not None

    assert not ledger.withdraw(new.prediction_id, idempotency=key())
    assert counts(query) == (1, 1, 1)


def test_what_was_made_at_once_is_not_withdrawn(ledger: Ledger, query: Query) -> None:
    new = prediction()
    ledger.store(MODEL, [new])

    assert not ledger.withdraw(new.prediction_id)
    assert counts(query)[:2] == (1, 1)


def test_whoever_races_a_withdrawal_gets_what_stays_or_nothing(ledger: Ledger, query: Query) -> None:
    kept = 0
    start = threading.Barrier(2)

    def another_request() -> bool:
        start.wait()
        try:
            return ledger.enqueue(queued(), idempotency=key(str(number))) is not None
        except LedgerUnavailableError:
            return False

    with ThreadPoolExecutor(1) as thread:
        for number in range(100):
            new = queued()
            ledger.enqueue(new, idempotency=key(str(number)))
            other = thread.submit(another_request)
            start.wait()
            gone = ledger.withdraw(new.prediction_id, idempotency=key(str(number)))
            was_told = other.result()
            assert gone != was_told
            kept += was_told
    assert query("SELECT count(*) FROM predictions WHERE status <> 'queued'") == [[0]]
    assert counts(query)[2] >= kept


def test_a_sweep_goes_on_after_the_last_one_it_found(ledger: Ledger) -> None:
    batch = sorted((queued() for _ in range(5)), key=lambda new: new.prediction_id)
    for new in batch:
        ledger.enqueue(new)

    first = ledger.sweep(queued_seconds=0, processing_seconds=0, limit=3)
    second = ledger.sweep(queued_seconds=0, processing_seconds=0, limit=3, after=max(first.requeue))

    assert sorted(first.requeue + second.requeue) == [new.prediction_id for new in batch]


def test_a_sweep_after_the_queue_was_lost_fails_nothing(ledger: Ledger) -> None:
    waiting, taken = queued(), queued()
    for new in (waiting, taken):
        ledger.enqueue(new)
    ledger.claim([taken.prediction_id], lease_seconds=60)

    found = ledger.sweep(queued_seconds=0, processing_seconds=0, retry=True)

    assert (sorted(found.requeue), found.failed) == (sorted([waiting.prediction_id, taken.prediction_id]), ())
    assert ledger.get(taken.prediction_id)[0].status == "queued"
    assert len(ledger.claim([taken.prediction_id], lease_seconds=60).claimed) == 1
