import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest

from functions.shared.ledger.errors import IdempotencyConflictError, UnstorableValueError
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import Failure, IdempotencyKey, NewInput, QueuedPrediction, Replay
from tests.ledger.conftest import Query
from tests.support.database_proxy import Fate, Proxy
from tests.support.predictions import MODEL, prediction


def key(name: str = "order-17", *, asks: str = "a seven", user_id: str = "anna") -> IdempotencyKey:
    return IdempotencyKey(user_id, name, sha256(asks.encode()).digest())


def stored(query: Query) -> int:
    ((count,),) = query("SELECT count(*) FROM predictions")
    assert [[count]] == query("SELECT count(*) FROM inputs")
    return int(count)


@pytest.mark.parametrize("size", [1, 5])
def test_the_same_request_again_stores_nothing_and_gets_what_the_first_one_stored(
    ledger: Ledger, query: Query, size: int
) -> None:
    first = [prediction(label=str(n), output=[1e16, 0.1], metadata={"z": 1, "a": 2}) for n in range(size)]
    assert ledger.replay(key()) is None
    assert ledger.store(MODEL, first, idempotency=key()) is None
    expected = Replay(tuple(new.record(MODEL) for new in first), was_queued=False)
    for replay in (ledger.store(MODEL, [prediction()], idempotency=key()), ledger.replay(key())):
        assert repr(replay) == repr(expected)
    assert stored(query) == size


def test_another_request_under_the_same_key_is_a_conflict(ledger: Ledger, query: Query) -> None:
    ledger.store(MODEL, [prediction()], idempotency=key())
    with pytest.raises(IdempotencyConflictError):
        ledger.store(MODEL, [prediction()], idempotency=key(asks="an eight"))
    with pytest.raises(IdempotencyConflictError):
        ledger.replay(key(asks="an eight"))
    assert stored(query) == 1


def test_the_keys_of_two_users_have_nothing_to_do_with_each_other(ledger: Ledger, query: Query) -> None:
    for user_id in ("anna", "bob"):
        assert ledger.store(MODEL, [prediction()], idempotency=key(user_id=user_id)) is None
    assert stored(query) == 2


def test_any_text_is_a_key(ledger: Ledger) -> None:
    for name in ("'; DROP TABLE idempotency_keys; --", "{a,b}", '"', "NULL", "~" * 255):
        new = prediction()
        ledger.store(MODEL, [new], idempotency=key(name))
        replay = ledger.replay(key(name))
        assert replay is not None
        assert replay.records == (new.record(MODEL),)


def test_a_request_that_was_refused_leaves_its_key_free(ledger: Ledger, query: Query) -> None:
    with pytest.raises(UnstorableValueError):
        ledger.store(MODEL, [prediction(label="\0")], idempotency=key())
    assert ledger.replay(key()) is None
    assert ledger.store(MODEL, [prediction()], idempotency=key()) is None
    assert stored(query) == 1


@pytest.mark.parametrize("fate", [Fate.REQUEST_LOST, Fate.REPLY_LOST])
def test_a_request_whose_acknowledgement_was_lost_is_no_replay_of_itself(
    proxied: Ledger, proxy: Proxy, query: Query, fate: Fate
) -> None:
    proxied.register(MODEL)
    proxy.next_flights(fate)
    assert proxied.store(MODEL, [prediction()], idempotency=key()) is None
    assert stored(query) == 1


def test_a_key_costs_no_round_trip(proxied: Ledger, proxy: Proxy) -> None:
    proxied.register(MODEL)
    for n in range(3):
        with proxy.counted(1):
            proxied.store(MODEL, [prediction()], idempotency=key(str(n)))
        with proxy.counted(1):
            proxied.store(MODEL, [prediction(), prediction()], idempotency=key(f"batch {n}"))


@pytest.mark.parametrize("size", [1, 3])
def test_of_requests_that_race_one_is_stored_and_all_get_it(ledger: Ledger, query: Query, size: int) -> None:
    rounds, racers = 25, 3
    start = threading.Barrier(racers)

    def request(name: str) -> tuple[object, ...]:
        start.wait()
        new = [prediction() for _ in range(size)]
        replay = ledger.store(MODEL, new, idempotency=key(name))
        return tuple(one.record(MODEL) for one in new) if replay is None else replay.records

    with ThreadPoolExecutor(racers) as threads:
        for n in range(rounds):
            answers = list(threads.map(request, [str(n)] * racers))
            assert len({repr(answer) for answer in answers}) == 1
    assert stored(query) == rounds * size


def test_a_queued_request_is_replayed_as_one_whatever_has_become_of_it(ledger: Ledger, query: Query) -> None:
    first, second = (QueuedPrediction(NewInput(b"x", "image/png"), "anna") for _ in range(2))
    assert ledger.enqueue(first, idempotency=key()) is None
    for status in ("queued", "failed"):
        replay = ledger.enqueue(second, idempotency=key())
        assert replay is not None
        assert replay.was_queued
        assert [(record.prediction_id, record.status) for record in replay.records] == [(first.prediction_id, status)]
        ledger.complete(MODEL, [Failure(first.prediction_id, "not an image")])
    assert stored(query) == 1


def test_without_a_key_the_table_of_keys_is_not_touched(ledger: Ledger, query: Query) -> None:
    ledger.register(MODEL)
    query("ALTER TABLE idempotency_keys RENAME TO away")
    try:
        ledger.store(MODEL, [prediction()])
        ledger.store(MODEL, [prediction(), prediction()])
    finally:
        query("ALTER TABLE away RENAME TO idempotency_keys")
    assert stored(query) == 3
