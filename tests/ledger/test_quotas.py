"""What a user may store is counted by the statement that stores, so that it is neither exceeded nor miscounted."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

import pytest

from functions.shared.ledger.deletions import DeletingLedger
from functions.shared.ledger.errors import IdempotencyConflictError, LedgerError, RecordNotFoundError
from functions.shared.ledger.identifiers import new_id
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.quotas import QuotaExceededError, Quotas
from functions.shared.ledger.records import Deletion, Failure, IdempotencyKey, NewInput, QueuedPrediction, Upload
from tests.support.database import Query
from tests.support.database_proxy import Fate, Proxy
from tests.support.predictions import MODEL, prediction

With = Callable[..., DeletingLedger]
"""Returns a ledger with quotas."""


pytestmark = pytest.mark.usefixtures("within_one_hour")


@pytest.fixture
def ledger_with(database_url: str) -> Iterator[With]:
    with ExitStack() as stack:

        def open_ledger(url: str = database_url, **quotas: int) -> DeletingLedger:
            opened = DeletingLedger.at(url, quotas=Quotas(**quotas), pool_size=16)
            stack.callback(opened.close)
            return opened

        yield open_ledger


def key(name: str = "order-17") -> IdempotencyKey:
    return IdempotencyKey("anna", name, sha256(b"a seven").digest())


def queued(user_id: str = "anna", content: bytes = b"x") -> QueuedPrediction:
    return QueuedPrediction(NewInput(content, "image/png"), user_id)


def announced(user_id: str = "anna") -> Upload:
    input_id = new_id()
    return Upload(input_id, user_id, "image/png", None, 10, None, f"s3://uploads/{input_id}")


def announce(ledger: Ledger, upload: Upload) -> None:
    ledger.announce_upload(upload, expires_at=datetime.now(UTC) + timedelta(minutes=15))


def usage(query: Query, user_id: str = "anna") -> tuple[int, int] | None:
    """Return how many predictions and bytes are counted; None if nothing is."""
    rows = query("SELECT predictions, stored_bytes FROM quota_usage WHERE user_id = :user_id", user_id=user_id)
    return (rows[0][0], rows[0][1]) if rows else None


def count(query: Query, table: str = "predictions") -> int:
    [[found]] = query(f"SELECT count(*) FROM {table}")
    return int(found)


def store(ledger: Ledger, user_id: str = "anna", size: int = 100, upload_id: UUID | None = None) -> UUID:
    one = NewInput(b"x" * size, "image/png")
    if upload_id is not None:
        one = replace(one, input_id=upload_id, upload_id=upload_id)
    new = prediction(input=one, user_id=user_id)
    ledger.store(MODEL, [new])
    return new.prediction_id


def carry_on(ledger: DeletingLedger, deletion: Deletion) -> Deletion:
    """Do all that is to do for a deletion, and return how far it is then."""
    while further := ledger.delete_some(deletion):
        deletion = further
    while ledger.settle(deletion) or ledger.delete_some_uploads(deletion):
        pass
    ledger.objects_removed(ledger.deleted_objects(deletion))
    return ledger.finish_deletion(deletion)


def test_without_a_quota_nothing_is_counted(ledger: Ledger, query: Query) -> None:
    store(ledger)
    ledger.enqueue(queued())
    announce(ledger, announced())
    assert count(query, "quota_usage") == 0
    assert query("SELECT count(*) FROM inputs WHERE counted IS NOT NULL") == [[0]]


def test_more_than_the_quota_of_an_hour_is_refused_and_stores_nothing(ledger_with: With, query: Query) -> None:
    ledger = ledger_with(predictions_per_hour=3)
    store(ledger)
    ledger.enqueue(queued())
    for many in (2, 4):
        with pytest.raises(QuotaExceededError) as refused:
            ledger.store(MODEL, [prediction(user_id="anna") for _ in range(many)])
    assert (refused.value.quota, refused.value.limit) == ("predictions_per_hour", 3)
    assert 0 < refused.value.retry_after <= 3601
    assert usage(query) == (2, 101)
    store(ledger)
    for over in (lambda: store(ledger), lambda: ledger.enqueue(queued()), lambda: store(ledger)):
        with pytest.raises(QuotaExceededError):
            over()
    assert (count(query), count(query, "inputs"), usage(query)) == (3, 3, (3, 201))
    store(ledger, "bob")  # each has a quota of their own


def test_the_next_hour_begins_anew(ledger_with: With, query: Query) -> None:
    ledger = ledger_with(predictions_per_hour=1)
    store(ledger)
    query("UPDATE quota_usage SET hour = hour - interval '1 hour'")
    store(ledger)
    with pytest.raises(QuotaExceededError):
        store(ledger)
    assert usage(query) == (1, 200)


@pytest.mark.parametrize("hours", [1, 5])
def test_a_clock_that_is_set_back_frees_nothing_and_locks_nobody_out(
    ledger_with: With, query: Query, hours: int
) -> None:
    ledger = ledger_with(predictions_per_hour=2)
    store(ledger)
    query("UPDATE quota_usage SET hour = hour + make_interval(hours => :hours::int)", hours=hours)
    store(ledger)
    assert usage(query) == (2 if hours == 1 else 1, 200)


@pytest.mark.parametrize("together", [1, 3])
def test_of_many_at_once_none_passes_the_last_place(ledger_with: With, query: Query, together: int) -> None:
    ledger = ledger_with(predictions_per_hour=10 * together)

    def try_to_store(_: int) -> bool:
        try:
            ledger.store(MODEL, [prediction(user_id="anna") for _ in range(together)])
        except QuotaExceededError:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        stored = list(threads.map(try_to_store, range(40)))
    assert stored.count(True) == 10
    assert count(query) == 10 * together


def test_of_many_queued_at_once_none_passes_the_last_place(ledger_with: With, query: Query) -> None:
    ledger = ledger_with(queued_predictions=5)

    def try_to_queue(_: int) -> str:
        try:
            ledger.enqueue(queued())
        except QuotaExceededError as error:
            return error.quota
        return "queued"

    with ThreadPoolExecutor(16) as threads:
        outcomes = list(threads.map(try_to_queue, range(40)))
    assert (outcomes.count("queued"), outcomes.count("queued_predictions")) == (5, 35)
    assert count(query) == 5


def test_of_many_announced_at_once_none_passes_the_last_place(ledger_with: With, query: Query) -> None:
    ledger = ledger_with(open_uploads=5)

    def try_to_announce(_: int) -> str:
        try:
            announce(ledger, announced())
        except QuotaExceededError as error:
            return error.quota
        return "announced"

    with ThreadPoolExecutor(16) as threads:
        outcomes = list(threads.map(try_to_announce, range(40)))
    assert (outcomes.count("announced"), outcomes.count("open_uploads")) == (5, 35)
    assert count(query, "uploads") == 5


def test_an_upload_is_open_until_it_has_been_predicted_or_has_expired(ledger_with: With, query: Query) -> None:
    ledger = ledger_with(open_uploads=1, stored_bytes=1000)
    first, second = announced(), announced()
    announce(ledger, first)
    with pytest.raises(QuotaExceededError):
        announce(ledger, second)
    store(ledger, upload_id=first.input_id)
    announce(ledger, second)
    with pytest.raises(QuotaExceededError):
        announce(ledger, announced())
    query("UPDATE uploads SET created_at = now() - interval '2 days', expires_at = now() - interval '1 day'")
    while ledger.expire():
        pass
    announce(ledger, announced())
    assert usage(query) == (1, 100)


def test_a_queued_prediction_is_one_until_it_has_ended(ledger_with: With) -> None:
    ledger = ledger_with(queued_predictions=1)
    for _ in range(3):
        new = queued()
        ledger.enqueue(new)
        with pytest.raises(QuotaExceededError):
            ledger.enqueue(queued())
        ledger.claim([new.prediction_id], lease_seconds=60)
        with pytest.raises(QuotaExceededError):
            ledger.enqueue(queued())
        ledger.enqueue(queued("bob"))
        ledger.complete(MODEL, [Failure(new.prediction_id, "bad")])
        query_bob = ledger.sweep(queued_seconds=-60, processing_seconds=60).requeue
        ledger.complete(MODEL, [Failure(one, "bad") for one in query_bob])
        store(ledger)  # what is not queued is no part of it


@pytest.mark.parametrize("together", [1, 3])
def test_a_repeated_request_is_counted_once(ledger_with: With, query: Query, together: int) -> None:
    ledger = ledger_with(predictions_per_hour=together)
    for _ in range(3):
        ledger.store(MODEL, [prediction(user_id="anna") for _ in range(together)], idempotency=key())
    with pytest.raises(IdempotencyConflictError):
        ledger.store(MODEL, [prediction()], idempotency=IdempotencyKey("anna", "order-17", sha256(b"x").digest()))
    with pytest.raises(QuotaExceededError):
        ledger.store(MODEL, [prediction(user_id="anna")], idempotency=key("another"))
    assert count(query) == count(query, "inputs") == together
    assert count(query, "idempotency_keys") == 1


def test_the_same_request_many_times_at_once_is_counted_once_and_never_refused(ledger_with: With, query: Query) -> None:
    ledger = ledger_with(predictions_per_hour=1, queued_predictions=1)

    def repeat(_: int) -> bool:
        return ledger.enqueue(queued(), idempotency=key()) is None

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(repeat, range(32))).count(True) == 1
    assert (count(query), usage(query)) == (1, (1, 1))


@pytest.mark.parametrize("idempotency", [None, key()])
@pytest.mark.parametrize("together", [1, 3])
def test_what_is_sent_again_because_its_acknowledgement_was_lost_is_counted_once(
    ledger_with: With, proxy: Proxy, query: Query, together: int, idempotency: IdempotencyKey | None
) -> None:
    ledger = ledger_with(proxy.url, predictions_per_hour=together, queued_predictions=1)
    ledger.register(MODEL)
    proxy.next_flights(Fate.REPLY_LOST)
    ledger.store(MODEL, [prediction(user_id="anna") for _ in range(together)], idempotency=idempotency)
    found = usage(query)
    assert found is not None
    assert found[0] == count(query) == together


def test_users_that_are_stored_together_are_counted_each(ledger_with: With, query: Query) -> None:
    ledger = ledger_with(stored_bytes=1000)
    upload = announced()
    announce(ledger, upload)
    same = NewInput(b"x" * 10, "image/png", input_id=upload.input_id, upload_id=upload.input_id)
    ledger.store(
        MODEL,
        [
            *(prediction(user_id="anna", input=same) for _ in range(3)),
            prediction(user_id="anna", input=NewInput(b"x", "image/png")),
            prediction(user_id="bob", input=NewInput(b"x" * 100, "image/png")),
        ],
    )
    assert (usage(query), usage(query, "bob")) == ((4, 11), (1, 100))


def test_what_is_deleted_gives_its_bytes_back_and_no_prediction(ledger_with: With, query: Query) -> None:
    ledger = ledger_with(stored_bytes=250)
    first = store(ledger)
    store(ledger)
    with pytest.raises(QuotaExceededError) as refused:
        store(ledger)
    assert (refused.value.quota, refused.value.limit) == ("stored_bytes", 250)
    ledger.delete(first)
    assert ledger.settle(ledger.deletion(first)) == 1
    assert usage(query) == (2, 100)
    store(ledger)
    assert usage(query) == (3, 200)


def test_the_bytes_of_an_upload_are_counted_once_and_given_back_with_its_last_prediction(
    ledger_with: With, query: Query
) -> None:
    ledger = ledger_with(stored_bytes=150)
    upload = announced()
    announce(ledger, upload)
    made = [store(ledger, upload_id=upload.input_id) for _ in range(3)]
    for prediction_id in made:
        assert usage(query) == (3, 100)
        ledger.delete(prediction_id)
        ledger.settle(ledger.deletion(prediction_id))
    assert usage(query) is None


def test_what_was_stored_while_there_was_no_quota_is_not_given_back(
    ledger: Ledger, ledger_with: With, query: Query
) -> None:
    old = store(ledger)
    counting = ledger_with(stored_bytes=1000)
    store(counting)
    counting.delete(old)
    counting.settle(counting.deletion(old))
    assert usage(query) == (1, 100)


@pytest.mark.parametrize("idempotency", [None, key()])
def test_what_is_withdrawn_is_not_counted(ledger_with: With, query: Query, idempotency: IdempotencyKey | None) -> None:
    ledger = ledger_with(predictions_per_hour=2)
    store(ledger)
    new = queued()
    ledger.enqueue(new, idempotency=idempotency)
    assert usage(query) == (2, 101)
    assert ledger.withdraw(new.prediction_id, idempotency=idempotency)
    assert usage(query) == (1, 100)


def test_nothing_counts_a_user_who_is_erased(ledger_with: With, query: Query) -> None:
    ledger = ledger_with(predictions_per_hour=10, queued_predictions=10, open_uploads=10)
    for user_id in ("anna", "bob"):
        store(ledger, user_id)
        ledger.enqueue(queued(user_id))
        announce(ledger, announced(user_id))
    query("UPDATE uploads SET expires_at = now() - interval '1 hour'")
    assert carry_on(ledger, ledger.begin_deletion(user_id="anna")).finished_at is not None
    assert query("SELECT user_id FROM quota_usage") == [["bob"]]


def test_what_an_erased_user_stores_meanwhile_is_counted(ledger_with: With, query: Query) -> None:
    ledger = ledger_with(stored_bytes=1000)
    store(ledger, size=1)
    deletion = ledger.begin_deletion(user_id="anna")
    later = store(ledger, size=10)
    assert carry_on(ledger, deletion).finished_at is not None
    assert usage(query) == (2, 10)
    ledger.delete(later)
    ledger.settle(ledger.deletion(later))
    assert usage(query) is None


def test_a_count_that_says_nothing_any_more_is_forgotten(ledger_with: With, query: Query) -> None:
    ledger = ledger_with(stored_bytes=1000)
    store(ledger, "bob")
    new = [queued(), queued()]
    for one in new:
        ledger.enqueue(one)
    for one in new:
        ledger.withdraw(one.prediction_id)
    assert usage(query) == (0, 0)
    query("UPDATE quota_usage SET hour = hour - interval '2 hours'")
    ledger.expire()
    assert (usage(query), usage(query, "bob")) == (None, (1, 100))


def test_storing_deleting_and_erasing_at_once_loses_no_count(ledger_with: With, query: Query) -> None:
    """What is counted is in the end what there is, and no two wait for each other."""
    ledger = ledger_with(stored_bytes=10**9)
    users = ("anna", "bob", "carl")

    def work(number: int) -> None:
        user_id = users[number % 3]
        made = [prediction(user_id=user, input=NewInput(b"x" * (number + 1), "image/png")) for user in users]
        ledger.store(MODEL, made)
        with suppress(RecordNotFoundError):  # erased by another one
            ledger.delete(made[number % 3].prediction_id)
        if number % 8 == 0:
            carry_on(ledger, ledger.begin_deletion(user_id=user_id))
        ledger.settle()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(60)))
    while ledger.settle():
        pass
    for user_id in users:
        [[there]] = query(
            "SELECT coalesce(sum(i.size), 0)::bigint FROM predictions p JOIN inputs i USING (input_id) "
            "WHERE p.user_id = :user_id",
            user_id=user_id,
        )
        found = usage(query, user_id)
        assert (0 if found is None else found[1]) == there


def test_another_refusal_is_none_of_a_quota(ledger_with: With) -> None:
    ledger = ledger_with(stored_bytes=1000)
    with pytest.raises(LedgerError) as refused:
        ledger.store(MODEL, [prediction(duration_ms=None)])
    assert not isinstance(refused.value, QuotaExceededError)
