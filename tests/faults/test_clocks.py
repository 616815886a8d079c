"""A clock that jumps back and forth by an hour while clients predict.

The clock of the process jumps; the database's does not. Ids are made from the first, and order the lists. Leases, keys
and quotas go by the second, so nothing that the first does gives two workers one prediction, or uses a key twice.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import sha256

import pytest

from functions.shared.ledger.identifiers import created_at, new_id
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.pool import MAX_IDLE
from functions.shared.ledger.records import IdempotencyKey, NewInput, PredictionFilter, QueuedPrediction, Success
from tests.support.predictions import MODEL, prediction

HOUR = 3600

Jump = Callable[[float], None]
"""Sets the clock so many seconds off."""


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Jump:
    """A clock of this process that can be set, as everything here reads it."""
    seconds = 0.0
    wall, wall_ns = time.time, time.time_ns

    def set_to(off: float) -> None:
        nonlocal seconds
        seconds = off

    monkeypatch.setattr(time, "time", lambda: wall() + seconds)
    monkeypatch.setattr(time, "time_ns", lambda: wall_ns() + int(seconds * 1e9))
    return set_to


@pytest.fixture
def ledger(database_url: str, jump: Jump) -> Iterator[Ledger]:
    assert jump is not None
    opened = Ledger.at(database_url, pool_size=4, longest=60)
    yield opened
    opened.close()


def pages(ledger: Ledger, limit: int) -> Iterator[list[str]]:
    cursor = None
    while True:
        page = ledger.list(PredictionFilter(), limit=limit, cursor=cursor)
        yield [str(record.prediction_id) for record in page.records]
        cursor = page.next_cursor
        if cursor is None:
            return


def test_under_load_no_id_is_made_twice_and_every_record_is_listed_once_in_order(ledger: Ledger, jump: Jump) -> None:
    over = threading.Event()

    def keep_jumping() -> None:
        for off in itertools.cycle((0, HOUR, -HOUR, 0.001, -0.001)):
            jump(off)
            if over.wait(0.002):
                return

    def store(_: int) -> list[str]:
        made = []
        for _ in range(50):
            new = prediction()
            ledger.store(MODEL, [new])
            made.append(str(new.prediction_id))
        return made

    ledger.register(MODEL)
    with ThreadPoolExecutor(5) as threads:
        threads.submit(keep_jumping)
        stored = [one for made in threads.map(store, range(4)) for one in made]
        listed_meanwhile = [one for page in pages(ledger, 7) for one in page]
        over.set()

    jump(0)
    listed = [one for page in pages(ledger, 7) for one in page]
    assert len(set(stored)) == 200
    assert listed == listed_meanwhile == sorted(stored, reverse=True)


def test_ids_of_one_microsecond_are_different(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_764_000_000_000_000_000)
    assert len({new_id() for _ in range(100_000)}) == 100_000


@pytest.mark.parametrize("off", [HOUR, -HOUR])
def test_a_record_says_the_time_of_its_id(ledger: Ledger, jump: Jump, off: int) -> None:
    jump(off)
    new = prediction()
    ledger.store(MODEL, [new])
    record, _ = ledger.get(new.prediction_id)
    assert record.created_at == created_at(new.prediction_id)
    assert abs((record.created_at - datetime.now(UTC)).total_seconds() - off) < 60


@pytest.mark.parametrize("off", [HOUR, -HOUR])
def test_a_lease_is_neither_shorter_nor_longer(ledger: Ledger, jump: Jump, off: int) -> None:
    new = QueuedPrediction(NewInput(b"x", "image/png"), "anna")
    ledger.enqueue(new)
    assert len(ledger.claim([new.prediction_id], lease_seconds=60).claimed) == 1
    jump(off)
    assert ledger.claim([new.prediction_id], lease_seconds=60).busy == (new.prediction_id,)
    assert not ledger.sweep(queued_seconds=60, processing_seconds=60).failed
    assert len(ledger.claim([new.prediction_id], lease_seconds=0).claimed) == 1
    assert ledger.complete(MODEL, [Success(new.prediction_id, [1.0], 0, "7", 1.0, "7", 0.1)]) == ()
    assert ledger.get(new.prediction_id)[0].status == "succeeded"


@pytest.mark.parametrize("off", [25 * HOUR, -25 * HOUR])
def test_a_key_neither_expires_nor_lives_longer(ledger: Ledger, jump: Jump, off: int) -> None:
    key = IdempotencyKey("anna", "once", sha256(b"x").digest())
    first = prediction(user_id="anna")
    ledger.store(MODEL, [first], idempotency=key)
    jump(off)
    for replay in (ledger.replay(key), ledger.store(MODEL, [prediction(user_id="anna")], idempotency=key)):
        assert replay is not None
        assert replay.records == (first.record(MODEL),)


@pytest.mark.parametrize("off", [MAX_IDLE * 2, -MAX_IDLE * 2, HOUR, -HOUR])
def test_an_idle_connection_is_replaced_at_most(ledger: Ledger, jump: Jump, off: float) -> None:
    for seconds in (0, off, 0, off):
        jump(seconds)
        new = prediction()
        ledger.store(MODEL, [new])
        assert ledger.get(new.prediction_id)[0] == new.record(MODEL)
