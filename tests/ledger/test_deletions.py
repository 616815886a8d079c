"""What a deletion leaves when others store, predict or delete at the same moment, and when it is interrupted."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.deletions import DeletingLedger
from functions.shared.ledger.errors import RecordNotFoundError, UploadNotAnnouncedError
from functions.shared.ledger.identifiers import new_id
from functions.shared.ledger.records import (
    Deletion,
    IdempotencyKey,
    NewInput,
    NewPrediction,
    QueuedPrediction,
    Success,
    Upload,
)
from infra.migrations import current, upgrade
from tests.support.database import Query
from tests.support.predictions import MODEL, PNG, prediction


@pytest.fixture
def ledger(database_url: str) -> Iterator[DeletingLedger]:
    with closing(DeletingLedger.at(database_url, pool_size=8, longest=60)) as opened:
        yield opened


class Transaction:
    """Another session, in a transaction that is not committed yet."""

    def __init__(self, url: str) -> None:
        self._connection = Connection(parse_database_url(url), prepared=False, longest=60)
        self._connection.run("BEGIN", {})

    def run(self, sql: str, **parameters: object) -> list[list[Any]]:
        return self._connection.run(sql, parameters)

    def commit(self) -> None:
        self._connection.run("COMMIT", {})
        self._connection.close()


def in_thread(call: Callable[[], Any]) -> "Future[Any]":
    result: Future[Any] = Future()

    def run() -> None:
        try:
            result.set_result(call())
        except Exception as error:  # noqa: BLE001 - whatever it is, the test asks for it
            result.set_exception(error)

    threading.Thread(target=run).start()
    return result


def waits(query: Query) -> None:
    """Return when a session waits for a lock."""
    give_up = time.monotonic() + 30
    while not query("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"):
        assert time.monotonic() < give_up
        time.sleep(0.01)


def announced(ledger: DeletingLedger, user_id: str = "anna") -> NewInput:
    """Announce an upload, and return the input that it becomes."""
    input_id = new_id()
    uri = f"s3://uploads/inputs/{user_id}/{input_id}"
    upload = Upload(input_id, user_id, "image/png", None, len(PNG), None, uri)
    ledger.announce_upload(upload, expires_at=datetime.now(UTC) - timedelta(hours=1))
    return NewInput(PNG, "image/png", input_id=input_id, uri=uri, upload_id=input_id)


def uploaded(one: NewInput, user_id: str = "anna") -> NewPrediction:
    return prediction(input=one, user_id=user_id)


def settle(ledger: DeletingLedger) -> None:
    while ledger.settle():
        pass


def counts(query: Query) -> dict[str, int]:
    tables = ("predictions", "inputs", "uploads", "idempotency_keys", "deleted_inputs", "deleted_objects")
    return {table: query(f"SELECT count(*) FROM {table}")[0][0] for table in tables}


def test_the_last_of_two_that_go_at_once_takes_their_input_along(ledger: DeletingLedger, query: Query) -> None:
    shared = announced(ledger)
    one, other = uploaded(shared), uploaded(shared)
    for new in (one, other):
        ledger.store(MODEL, [new])
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(ledger.delete, (one.prediction_id, other.prediction_id)))
        list(threads.map(lambda _: settle(ledger), range(2)))
    assert counts(query) | {"deleted_objects": 1} == dict.fromkeys(counts(query), 0) | {"deleted_objects": 1}
    assert [one.uri for one in ledger.deleted_objects()] == [shared.uri]


def test_an_input_that_is_predicted_again_while_it_goes_stays(
    ledger: DeletingLedger, query: Query, database_url: str
) -> None:
    shared = announced(ledger)
    one, other = uploaded(shared), uploaded(shared)
    ledger.store(MODEL, [one])
    ledger.delete(one.prediction_id)
    storing = Transaction(database_url)
    storing.run(
        "INSERT INTO predictions (prediction_id, input_id, created_at, status, status_since, user_id, metadata) "
        "VALUES (:prediction_id, :input_id, now(), 'queued', now(), 'anna', '{}')",
        prediction_id=other.prediction_id,
        input_id=shared.input_id,
    )
    settling = in_thread(lambda: settle(ledger))
    waits(query)
    storing.commit()
    settling.result(timeout=30)
    assert ledger.get(other.prediction_id)[1].uri == shared.uri
    assert counts(query) == {**counts(query), "inputs": 1, "uploads": 1, "deleted_inputs": 0, "deleted_objects": 0}


def test_an_input_that_goes_while_it_is_predicted_again_is_stored_anew_or_refused(
    ledger: DeletingLedger, query: Query, database_url: str
) -> None:
    kept, gone = NewInput(PNG, "image/png"), announced(ledger)
    for shared in (kept, gone):
        ledger.store(MODEL, [uploaded(shared)])
        deleting = Transaction(database_url)
        deleting.run("DELETE FROM predictions")
        deleting.run("DELETE FROM inputs WHERE input_id = :input_id", input_id=shared.input_id)
        deleting.run("DELETE FROM uploads WHERE input_id = :input_id", input_id=shared.input_id)
        again = uploaded(shared)
        storing = in_thread(partial(ledger.store, MODEL, [again]))
        waits(query)
        deleting.commit()
        if shared is kept:
            assert storing.result(timeout=30) is None
            assert ledger.get_input(again.prediction_id).content == PNG
        else:
            with pytest.raises(UploadNotAnnouncedError):
                storing.result(timeout=30)
            with pytest.raises(RecordNotFoundError):
                ledger.get(again.prediction_id)


def test_a_worker_that_ends_first_is_waited_for_and_deleted(
    ledger: DeletingLedger, query: Query, database_url: str
) -> None:
    queued = QueuedPrediction(NewInput(PNG, "image/png"), "anna")
    ledger.enqueue(queued)
    ledger.claim([queued.prediction_id], lease_seconds=60)
    worker = Transaction(database_url)
    worker.run("UPDATE predictions SET status = 'failed', error = 'Why.'")
    deleting = in_thread(lambda: ledger.delete(queued.prediction_id))
    waits(query)
    worker.commit()
    deleting.result(timeout=30)
    settle(ledger)
    success = Success(queued.prediction_id, [1.0], 0, "0", 1.0, "0", 0.1)
    assert ledger.complete(MODEL, [success]) == (queued.prediction_id,)
    assert counts(query) == dict.fromkeys(counts(query), 0)


def test_a_replay_that_meets_a_deletion_stores_anew(ledger: DeletingLedger, query: Query, database_url: str) -> None:
    key = IdempotencyKey("anna", "once", bytes(32))
    first, second = prediction(user_id="anna"), prediction(user_id="anna")
    ledger.store(MODEL, [first], idempotency=key)
    deleting = Transaction(database_url)
    deleting.run("DELETE FROM predictions")
    deleting.run("DELETE FROM idempotency_keys")
    storing = in_thread(lambda: ledger.store(MODEL, [second], idempotency=key))
    waits(query)
    deleting.commit()
    assert storing.result(timeout=30) is None
    replay = ledger.replay(key)
    assert replay is not None
    assert [record.prediction_id for record in replay.records] == [second.prediction_id]


def test_an_expired_key_is_taken_by_a_queued_prediction_which_can_be_withdrawn(
    ledger: DeletingLedger, query: Query
) -> None:
    key = IdempotencyKey("anna", "once", bytes(32))
    ledger.store(MODEL, [prediction(user_id="anna")], idempotency=key)
    query("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    queued = QueuedPrediction(NewInput(PNG, "image/png"), "anna")
    assert ledger.replay(key) is None
    assert ledger.enqueue(queued, idempotency=key) is None
    assert ledger.withdraw(queued.prediction_id, idempotency=key)
    assert counts(query) == {**counts(query), "predictions": 1, "inputs": 1, "idempotency_keys": 0}


def deleted(ledger: DeletingLedger, deletion: Deletion, limit: int) -> Deletion:
    while (further := ledger.delete_some(deletion, limit=limit)) is not None:
        deletion = further
    settle(ledger)
    return deletion


def test_several_that_work_on_one_deletion_count_each_prediction_once(ledger: DeletingLedger, query: Query) -> None:
    for _ in range(20):
        ledger.store(MODEL, [prediction(user_id=user) for user in ("anna", "bob") for _ in range(5)])
    deletion = ledger.begin_deletion(user_id="anna")
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(lambda _: deleted(ledger, deletion, 7), range(4)))
    state = ledger.finish_deletion(done[0])
    assert (state.deleted, state.finished_at is not None, state.user_id) == (100, True, None)
    assert query("SELECT DISTINCT user_id, count(*) FROM predictions GROUP BY user_id") == [["bob", 100]]
    assert counts(query)["inputs"] == 100


def test_a_deletion_ends_where_it_began(ledger: DeletingLedger) -> None:
    old = [prediction(user_id="anna") for _ in range(3)]
    ledger.store(MODEL, old)
    for deletion in (ledger.begin_deletion(user_id="anna"), ledger.begin_deletion(until=datetime.now(UTC))):
        assert deletion.last_id == max(one.prediction_id for one in old)
    new = prediction(user_id="anna")
    ledger.store(MODEL, [new])
    end = deleted(ledger, deletion, 2)
    assert ledger.finish_deletion(end).finished_at is not None
    assert ledger.get(new.prediction_id)[0].user_id == "anna"


def test_what_is_not_done_keeps_a_deletion_from_being_finished(ledger: DeletingLedger, query: Query) -> None:
    shared = announced(ledger)
    ledger.store(MODEL, [uploaded(shared)])
    deletion = ledger.begin_deletion(user_id="anna")
    assert [one.deletion_id for one in ledger.unfinished_deletions()] == [deletion.deletion_id]

    def is_finished() -> bool:
        return ledger.finish_deletion(deletion).finished_at is not None

    assert not is_finished()
    deletion = ledger.delete_some(deletion) or deletion
    assert not is_finished()
    settle(ledger)
    assert not is_finished()
    objects = ledger.deleted_objects(deletion)
    assert [one.uri for one in objects] == [shared.uri]
    assert not is_finished()
    ledger.objects_removed(objects)
    assert ledger.deleted_objects(deletion) == []
    if not objects[0].for_ever:  # the URL could be used for some minutes more
        assert not is_finished()
        query("UPDATE deleted_objects SET writable_until = now()")
        ledger.objects_removed(ledger.deleted_objects(deletion))
    assert is_finished()
    assert ledger.unfinished_deletions() == []
    assert ledger.unfinished_deletions(after=deletion) == []


def test_an_interrupted_build_of_an_index_is_done_again(new_database: Callable[[], str]) -> None:
    url = new_database()
    upgrade(url, revision="0006")
    with closing(Connection(parse_database_url(url), longest=60)) as administrator:
        administrator.run("UPDATE alembic_version SET version_num = '0005'", {})
        administrator.run("UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'uploads_by_age'::regclass", {})
        administrator.run("DROP INDEX uploads_by_user", {})
        upgrade(url)
        assert str(current(url)) > "0005"
        invalid = (
            "SELECT count(*) FILTER (WHERE NOT indisvalid), count(*) FROM pg_index WHERE indrelid = 'uploads'::regclass"
        )
        assert administrator.run(invalid, {}) == [[0, 3]]


def test_the_previous_version_stores_and_announces_after_the_migration(ledger: DeletingLedger, query: Query) -> None:
    input_id = UUID("019a0000-0000-7000-8000-000000000001")
    query(
        "INSERT INTO uploads (input_id, size, user_id, contenttype, uri) VALUES (:id, 1, 'anna', 'image/png', 's3://u/k')",
        id=input_id,
    )
    query(
        "INSERT INTO inputs (input_id, size, sha256, contenttype, uri) VALUES (:id, 1, sha256('x'), 'image/png', 's3://u/k')",
        id=input_id,
    )
    old = uploaded(NewInput(PNG, "image/png", input_id=input_id))
    ledger.store(MODEL, [old])
    ledger.delete(old.prediction_id)
    settle(ledger)
    assert [one.uri for one in ledger.deleted_objects()] == ["s3://u/k"]
    assert counts(query)["uploads"] == 0


@pytest.fixture
def predictions_wait(query: Query) -> Iterator[None]:
    """Have each new prediction wait for an advisory lock before the database checks that it has an input."""
    query(
        "CREATE FUNCTION wait_for_the_test() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_advisory_xact_lock(2025); RETURN NULL; END'"
    )
    query(
        "CREATE TRIGGER a_trigger_before_that_of_the_foreign_key AFTER INSERT ON predictions "
        "FOR EACH ROW EXECUTE FUNCTION wait_for_the_test()"
    )
    yield
    query("DROP FUNCTION wait_for_the_test() CASCADE")


@pytest.mark.usefixtures("predictions_wait")
def test_an_input_that_goes_after_a_prediction_has_found_it_is_stored_anew(
    ledger: DeletingLedger, query: Query, database_url: str
) -> None:
    shared = NewInput(PNG, "image/png")
    ledger.store(MODEL, [uploaded(shared)])
    deleting = Transaction(database_url)
    deleting.run("SELECT pg_advisory_xact_lock(2025)")
    again = uploaded(shared)
    storing = in_thread(lambda: ledger.store(MODEL, [again]))
    waits(query)
    deleting.run("DELETE FROM predictions")
    deleting.run("DELETE FROM inputs")
    deleting.commit()
    assert storing.result(timeout=30) is None
    assert ledger.get_input(again.prediction_id).content == PNG


@pytest.fixture
def finished_at_once(query: Query) -> Iterator[None]:
    """Finish each deletion as soon as it is asked for, as a later one of the same user does."""
    query(
        "CREATE FUNCTION finish_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN "
        "UPDATE deletions SET finished_at = now(), user_id = NULL WHERE deletion_id = NEW.deletion_id; "
        "RETURN NULL; END'"
    )
    query("CREATE TRIGGER finish_it AFTER INSERT ON deletions FOR EACH ROW EXECUTE FUNCTION finish_it()")
    yield
    query("DROP FUNCTION finish_it() CASCADE")


@pytest.mark.usefixtures("finished_at_once")
def test_a_deletion_that_another_one_finishes_deletes_nobody_elses(ledger: DeletingLedger, query: Query) -> None:
    ledger.store(MODEL, [prediction(user_id="anna")])
    ledger.store(MODEL, [prediction(user_id="bob"), uploaded(announced(ledger, "bob"), "bob")])
    ledger.store(MODEL, [prediction(user_id="anna")])
    deletion = ledger.begin_deletion(user_id="anna")
    assert deletion.user_id == "anna"
    forgotten = ledger.deletion(deletion.deletion_id)
    assert (forgotten.user_id, forgotten.finished_at is not None) == (None, True)

    for one in (forgotten, deletion):
        assert deleted(ledger, one, 10).deletion_id == one.deletion_id
        assert ledger.delete_some_uploads(one) == 0

    assert query("SELECT user_id, count(*) FROM predictions GROUP BY user_id") == [["bob", 2]]
    assert counts(query)["uploads"] == 1
