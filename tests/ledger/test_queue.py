"""The table of predictions as a queue: workers find the oldest themselves, and the ledger counts the attempts."""

import select
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import UUID

import pytest

from functions.shared.ledger import ledger as ledgers
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.listener import Listener, listen
from functions.shared.ledger.records import ClaimedPrediction, Failure, NewInput, QueuedPrediction
from tests.support.database import Query
from tests.support.database_proxy import Fate, Proxy
from tests.support.predictions import MODEL

LEASE = 60.0


def enqueue(ledger: Ledger, number: int, content: bytes = b"x", uri: str | None = None) -> list[UUID]:
    """Queue predictions, and return their ids, oldest first."""
    made = [QueuedPrediction(NewInput(content, "image/png", uri=uri), "anna") for _ in range(number)]
    for one in made:
        ledger.enqueue(one)
    return [one.prediction_id for one in made]


def claim(ledger: Ledger, limit: int = 10, *, lease: float = LEASE, again: bool = False) -> list[UUID]:
    """Claim, and return the ids."""
    return [one.prediction_id for one in ledger.claim_oldest(limit=limit, lease_seconds=lease, again=again)]


def statuses(query: Query) -> list[tuple[str, int | None]]:
    """Return the status and the attempts of each prediction, oldest first."""
    return [(row[0], row[1]) for row in query("SELECT status, attempts FROM predictions ORDER BY prediction_id")]


def pass_time(query: Query, seconds: float) -> None:
    """Make all that is unfinished so much older."""
    query("UPDATE predictions SET status_since = status_since - make_interval(secs => :seconds)", seconds=seconds)


def test_the_oldest_are_claimed_with_their_inputs_and_counted(ledger: Ledger, query: Query) -> None:
    made = enqueue(ledger, 5, b"a seven")

    claimed = ledger.claim_oldest(limit=3, lease_seconds=LEASE)

    assert [one.prediction_id for one in claimed] == made[:3]
    assert {(one.content, one.features, one.uri, one.attempt) for one in claimed} == {(b"a seven", None, None, 1)}
    assert statuses(query) == [("processing", 1)] * 3 + [("queued", None)] * 2
    assert claim(ledger) == made[3:]
    assert claim(ledger) == claim(ledger, again=True) == []


def test_claiming_takes_one_round_trip_and_survives_a_lost_request(proxied: Ledger, proxy: Proxy) -> None:
    made = enqueue(proxied, 3)
    claim(proxied, 1)
    with proxy.counted(1):
        assert claim(proxied, 1) == made[1:2]
    proxy.next_flights(Fate.REQUEST_LOST)
    assert claim(proxied, 1) == made[2:]


def test_a_claim_whose_answer_was_lost_is_up_when_its_lease_is(proxied: Ledger, proxy: Proxy, query: Query) -> None:
    made = enqueue(proxied, 1)
    claim(proxied)  # opens the connection
    query("UPDATE predictions SET status = 'queued', attempts = NULL")
    proxy.next_flights(Fate.REPLY_LOST)

    assert claim(proxied) == []
    pass_time(query, LEASE + 1)
    assert claim(proxied, again=True) == made


def test_inputs_beyond_a_workers_memory_are_left_to_the_next_claim_but_never_all(ledger: Ledger) -> None:
    made = enqueue(ledger, 4, bytes(1000))

    def claim_bytes(most: int) -> list[UUID]:
        return [one.prediction_id for one in ledger.claim_oldest(limit=4, lease_seconds=LEASE, most_bytes=most)]

    assert claim_bytes(1) == made[:1]
    assert claim_bytes(2000) == made[1:3]
    assert claim_bytes(2000) == made[3:]


def test_inputs_in_s3_are_not_read_and_so_not_counted(ledger: Ledger) -> None:
    made = enqueue(ledger, 3, bytes(1000), uri="s3://inputs/seven")
    claimed = ledger.claim_oldest(limit=4, lease_seconds=LEASE, most_bytes=1)
    assert [one.prediction_id for one in claimed] == made


def test_workers_side_by_side_claim_each_prediction_once_and_all_of_them(ledger: Ledger, query: Query) -> None:
    made = enqueue(ledger, 120)

    def work(_: int) -> list[UUID]:
        claimed: list[UUID] = []
        while some := claim(ledger, 4):
            claimed += some
        return claimed

    with ThreadPoolExecutor(4) as threads:
        claimed = [one for some in threads.map(work, range(4)) for one in some]
    assert sorted(claimed) == made
    assert statuses(query) == [("processing", 1)] * 120


def test_what_another_worker_is_just_claiming_is_passed_over_and_not_waited_for(ledger: Ledger, query: Query) -> None:
    made = enqueue(ledger, 3)
    query("BEGIN")
    query("SELECT 1 FROM predictions WHERE prediction_id = :first FOR UPDATE", first=made[0])
    claimed = claim(ledger, 2)
    query("ROLLBACK")
    assert claimed == made[1:]


def test_what_a_dead_worker_left_behind_is_claimed_again_each_time_after_twice_as_long(
    ledger: Ledger, query: Query
) -> None:
    made = enqueue(ledger, 2)
    claim(ledger)
    for attempt, lease in enumerate((60, 120, 240, 480, 960), start=2):
        pass_time(query, lease - 5)
        assert claim(ledger, again=True) == []
        pass_time(query, 6)
        claimed = ledger.claim_oldest(limit=10, lease_seconds=LEASE, again=True)
        assert [(one.prediction_id, one.attempt) for one in claimed] == [(one, attempt) for one in made]
    assert claim(ledger) == []  # only again, for they were claimed before


def test_what_a_worker_on_lambda_left_behind_has_had_its_first_attempt(ledger: Ledger, query: Query) -> None:
    made = enqueue(ledger, 1)
    ledger.claim(made, lease_seconds=LEASE)
    assert claim(ledger) == claim(ledger, again=True) == []
    pass_time(query, LEASE + 1)
    assert [one.attempt for one in ledger.claim_oldest(limit=1, lease_seconds=LEASE, again=True)] == [2]


def test_what_was_queued_for_sqs_is_claimed_here_and_the_message_then_finds_it_done(ledger: Ledger) -> None:
    made = enqueue(ledger, 1)
    assert claim(ledger) == made
    assert ledger.claim(made, lease_seconds=LEASE).busy == tuple(made)
    ledger.complete(MODEL, [Failure(made[0], "Why.")])
    assert ledger.claim(made, lease_seconds=LEASE).done == tuple(made)


def test_what_is_released_is_claimed_anew_unless_that_was_an_attempt(ledger: Ledger, query: Query) -> None:
    made = enqueue(ledger, 2)
    claimed = ledger.claim_oldest(limit=2, lease_seconds=LEASE)

    assert ledger.release(claimed[:1], counted=False) == (made[0],)
    assert ledger.release(claimed[1:], counted=True) == (made[1],)

    assert statuses(query) == [("queued", None), ("queued", 1)]
    assert claim(ledger) == made[:1]
    assert claim(ledger, again=True) == made[1:]


def test_only_what_is_still_claimed_is_released(ledger: Ledger, query: Query) -> None:
    taken_over, failed = enqueue(ledger, 2)
    claimed = ledger.claim_oldest(limit=2, lease_seconds=LEASE)
    ledger.complete(MODEL, [Failure(failed, "Why.")])
    time.sleep(0.02)
    assert claim(ledger, lease=0.01, again=True) == [taken_over]

    assert ledger.release(claimed, counted=False) == ()
    assert statuses(query) == [("processing", 2), ("failed", 1)]


def test_no_more_than_a_window_of_the_oldest_is_claimed_at_a_time(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "CLAIM_WINDOW", 3)
    made = enqueue(ledger, 5)
    assert claim(ledger) == made[:3]
    assert claim(ledger) == []
    ledger.complete(MODEL, [Failure(made[1], "Why.")])
    assert claim(ledger) == made[3:4]


def test_of_many_servers_one_begins_a_task_once_a_period(ledger: Ledger, query: Query) -> None:
    with ThreadPoolExecutor(4) as threads:
        began = list(threads.map(lambda _: ledger.begin_task("sweep", period=3600), range(8)))
    assert sorted(began) == [False] * 7 + [True]
    assert ledger.begin_task("another", period=3600)
    query("UPDATE schedule SET began_at = began_at - interval '61 minutes'")
    assert ledger.begin_task("sweep", period=3600)


@pytest.fixture
def listener(ledger: Ledger) -> Iterator[Listener]:
    opened = listen(ledger)
    assert opened is not None
    with closing(opened):
        yield opened


def is_heard(listener: Listener, seconds: float) -> bool:
    readable, _, _ = select.select([listener], [], [], seconds)
    return bool(readable)


def test_a_notification_is_heard_and_nothing_else(ledger: Ledger, listener: Listener) -> None:
    for _ in range(3):
        enqueue(ledger, 1)
        assert not is_heard(listener, 0.2)
        ledger.notify()
        assert is_heard(listener, 10)
        assert listener.hear()


def test_a_listener_whose_server_has_gone_says_so(listener: Listener, query: Query) -> None:
    query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND pid <> pg_backend_pid()"
    )
    heard = True
    while heard:  # a farewell, and then the end
        assert is_heard(listener, 10)
        heard = listener.hear()


def test_notifying_takes_one_round_trip(proxied: Ledger, proxy: Proxy) -> None:
    proxied.notify()
    with proxy.counted(1):
        proxied.notify()


def test_a_claimed_prediction_says_nothing_of_attempts_where_sqs_counts_them() -> None:
    assert ClaimedPrediction(UUID(int=1), b"", None, None)[-2:] == (1, None)
