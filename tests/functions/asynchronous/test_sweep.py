"""The sweep: what has got stuck between the ledger, the queue and a worker is seen to."""

import time
from typing import Any
from uuid import UUID

import httpx
import pytest

from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import NewInput, QueuedPrediction
from functions.shared.queue.errors import QueueUnavailableError
from functions.sweep.handler import Event, handler
from tests.support.event_transport import Context
from tests.support.prediction_queue import Queue

SCHEDULED: Any = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
LOST: Event = {"queue_lost": True}


@pytest.fixture
def ledger(database_url: str) -> Any:
    """The ledger, to leave in it what a crash would."""
    opened = Ledger.at(database_url, longest=60)
    yield opened
    opened.close()


def crashed(ledger: Ledger, content: bytes) -> UUID:
    """Leave what a crash between commit and send leaves."""
    prediction = QueuedPrediction(NewInput(content, "image/png"), "anna")
    ledger.enqueue(prediction)
    return prediction.prediction_id


def swept(event: Event, context: Context) -> tuple[int, int]:
    """Sweep, and return how many were sent and how many failed."""
    counts = handler(event, context)
    return counts["sent"], counts["failed"]


def status(api: httpx.Client, prediction_id: UUID) -> str:
    return str(api.get(f"/prediction/{prediction_id}").json()["status"])


def test_what_was_never_sent_is_sent_and_predicted(
    api: httpx.Client, queue: Queue, ledger: Ledger, digit: bytes
) -> None:
    made = [crashed(ledger, digit) for _ in range(3)]
    ledger._pool.run("UPDATE predictions SET status_since = now() - interval '1 hour'", {})

    assert swept(SCHEDULED, Context()) == (3, 0)
    assert swept(SCHEDULED, Context()) == (0, 0)  # not again before its time
    assert queue.deliver() == []

    assert {status(api, prediction_id) for prediction_id in made} == {"succeeded"}


def test_what_is_new_is_left_alone(api: httpx.Client, queue: Queue, ledger: Ledger, digit: bytes) -> None:
    made = crashed(ledger, digit)

    assert swept(SCHEDULED, Context()) == (0, 0)

    assert queue.receive() == []
    assert status(api, made) == "queued"


def test_what_no_worker_came_to_an_end_with_fails_and_says_why(
    api: httpx.Client, queue: Queue, environment: pytest.MonkeyPatch, ledger: Ledger, digit: bytes
) -> None:
    environment.setenv("PROCESSING_SECONDS", "0.05")
    made = crashed(ledger, digit)
    ledger.claim([made], lease_seconds=60)
    time.sleep(0.06)

    assert swept(SCHEDULED, Context()) == (0, 1)

    record = api.get(f"/prediction/{made}").json()
    assert record["status"] == "failed"
    assert "not finished in time" in record["error"]
    assert queue.receive() == []


def test_when_the_queue_is_lost_all_that_is_unfinished_is_sent_again(
    api: httpx.Client, queue: Queue, ledger: Ledger, digit: bytes
) -> None:
    new, taken = crashed(ledger, digit), crashed(ledger, digit)
    ledger.claim([taken], lease_seconds=60)

    assert swept(LOST, Context()) == (2, 0)
    assert queue.deliver() == []

    assert status(api, new) == status(api, taken) == "succeeded"


def test_without_time_left_it_begins_nothing(queue: Queue, ledger: Ledger, digit: bytes) -> None:
    crashed(ledger, digit)

    assert swept(LOST, Context(milliseconds=1000)) == (0, 0)
    assert queue.receive() == []


def test_what_could_not_be_sent_stays_queued(
    api: httpx.Client, queue: Queue, credentials: pytest.MonkeyPatch, ledger: Ledger, digit: bytes
) -> None:
    credentials.setenv("QUEUE_URL", f"{queue.url}-of-yesterday")
    made = crashed(ledger, digit)

    with pytest.raises(QueueUnavailableError):
        handler(LOST, Context())

    assert status(api, made) == "queued"
