"""Outputs that are stored apart from the records of their predictions, in one transaction with them."""

import hashlib
from typing import Any
from uuid import UUID

import pytest

from functions.shared.ledger.deletions import DeletingLedger
from functions.shared.ledger.errors import RecordNotFoundError
from functions.shared.ledger.identifiers import new_id
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.quotas import QuotaExceededError, Quotas
from functions.shared.ledger.records import (
    IdempotencyKey,
    NewInput,
    NewOutput,
    NewPrediction,
    QueuedPrediction,
    StoredOutput,
    Success,
)
from tests.support.database import Query
from tests.support.predictions import MODEL, prediction

BYTES = bytes(range(256))


def output(name: str = "output0", **changes: Any) -> NewOutput:
    """Return an output of 256 bytes, with `changes`. Whatever its content is, the ledger does not look into it."""
    given: dict[str, Any] = {
        "output_id": new_id(),
        "name": name,
        "datatype": "UINT8",
        "shape": (2, 128),
        "size": len(BYTES),
        "sha256": hashlib.sha256(BYTES).digest(),
        "content": b"compressed",
        "uri": None,
        "user_id": "anna",
    }
    return NewOutput(**(given | changes))


def large(*outputs: NewOutput, **changes: Any) -> NewPrediction:
    return prediction(**{"user_id": "anna", "large": outputs, **changes})


def queued(ledger: Ledger) -> UUID:
    one = QueuedPrediction(input=NewInput(b"image", "image/png"), user_id="anna")
    ledger.enqueue(one)
    return one.prediction_id


def success(prediction_id: UUID, *outputs: NewOutput) -> Success:
    return Success(prediction_id, [1.0], None, None, None, 1.0, 0.1, None, outputs)


def test_what_is_stored_is_read_back(ledger: Ledger) -> None:
    here, there = output("here/0"), output("there", shape=(), uri="s3://bucket/key")
    one, other = large(here, there), prediction()

    ledger.store(MODEL, [one, other])

    expected = StoredOutput("UINT8", [2, 128], 256, here.sha256, b"compressed", None)
    assert ledger.get_output(one.prediction_id, "here/0") == expected
    assert ledger.get_output(one.prediction_id, "here/0", user_id="anna") == expected
    assert ledger.get_output(one.prediction_id, "there")[1:] == ([], 256, there.sha256, None, "s3://bucket/key")
    assert ledger.get(one.prediction_id)[0] == one.record(MODEL)
    assert ledger.get(other.prediction_id)[0] == other.record(MODEL)
    assert ledger.known_objects([here.output_id, there.output_id]) == {there.output_id}
    assert ledger.objects() == [(there.output_id, "s3://bucket/key")]


@pytest.mark.parametrize(
    ("name", "user_id"), [pytest.param("other", None, id="another output"), pytest.param("output0", "bob", id="bob")]
)
def test_what_is_not_there_or_anothers_is_not_found(ledger: Ledger, name: str, user_id: str | None) -> None:
    one = large(output())
    ledger.store(MODEL, [one])
    with pytest.raises(RecordNotFoundError):
        ledger.get_output(one.prediction_id, name, user_id=user_id)


def test_a_statement_that_is_sent_again_and_a_key_store_once(ledger: Ledger, query: Query) -> None:
    one, again = large(output()), large(output())
    key = IdempotencyKey("anna", "once", bytes(32))
    assert ledger.store(MODEL, [one], idempotency=key) is None
    assert ledger.store(MODEL, [one], idempotency=key) is None  # its own first attempt
    replay = ledger.store(MODEL, [again], idempotency=key)
    assert replay is not None
    assert [record.prediction_id for record in replay.records] == [one.prediction_id]
    ledger.store(MODEL, [one])
    assert query("SELECT prediction_id FROM large_outputs") == [[one.prediction_id]]


def test_of_two_workers_outputs_those_of_the_first_outcome_are_kept(ledger: Ledger) -> None:
    prediction_id = queued(ledger)
    first, second = output(), output(content=b"other")
    assert ledger.complete(MODEL, [success(prediction_id, first)]) == ()
    assert ledger.complete(MODEL, [success(prediction_id, second)]) == (prediction_id,)
    assert ledger.get_output(prediction_id, "output0").content == b"compressed"


def test_a_claim_tells_whose_the_prediction_is(ledger: Ledger) -> None:
    [claimed] = ledger.claim([queued(ledger)], lease_seconds=60).claimed
    assert claimed.user_id == "anna"


def test_nothing_is_stored_for_a_prediction_that_was_deleted_meanwhile(database_url: str, query: Query) -> None:
    ledger = DeletingLedger.at(database_url, longest=60)
    prediction_id = queued(ledger)
    ledger.delete(prediction_id)
    assert ledger.complete(MODEL, [success(prediction_id, output())]) == (prediction_id,)
    assert query("SELECT count(*) FROM large_outputs") == [[0]]
    ledger.close()


def test_the_sum_of_bytes_of_a_user_has_them_and_gives_them_back(database_url: str, query: Query) -> None:
    ledger = DeletingLedger.at(database_url, longest=60, quotas=Quotas(stored_bytes=2000))

    def used() -> int:
        rows = query("SELECT stored_bytes FROM quota_usage WHERE user_id = 'anna'")
        return int(rows[0][0]) if rows else 0

    own = prediction().input.content or b""
    one, two = large(output()), large(output(), output("output1"))
    key = IdempotencyKey("anna", "once", bytes(32))
    for _ in range(2):
        ledger.store(MODEL, [one])
        ledger.store(MODEL, [two], idempotency=key)
    assert used() == 2 * len(own) + 3 * 256
    with pytest.raises(QuotaExceededError):
        ledger.store(MODEL, [large(output(size=2000))])
    prediction_id = queued(ledger)
    for _ in range(2):
        ledger.complete(MODEL, [success(prediction_id, output(size=900))])
    assert used() == 2 * len(own) + 3 * 256 + len(b"image") + 900  # over the quota: a worker refuses nothing

    for gone in (one.prediction_id, prediction_id, two.prediction_id):
        ledger.delete(gone)
        while ledger.settle(ledger.deletion(gone)):
            pass
    assert used() == 0
    assert query("SELECT count(*) FROM large_outputs") == [[0]]
    ledger.close()


def test_without_a_quota_nothing_is_counted(ledger: Ledger, query: Query) -> None:
    ledger.store(MODEL, [large(output())])
    ledger.complete(MODEL, [success(queued(ledger), output())])
    assert query("SELECT count(*) FROM quota_usage") == [[0]]
    assert query("SELECT DISTINCT counted FROM large_outputs") == [[None]]


def test_the_object_of_a_deleted_prediction_is_noted_to_be_removed(database_url: str) -> None:
    ledger = DeletingLedger.at(database_url, longest=60)
    one = large(output(uri="s3://bucket/inputs/anna/1"))
    ledger.store(MODEL, [one])
    ledger.delete(one.prediction_id)
    deletion = ledger.deletion(one.prediction_id)
    while ledger.settle(deletion):
        pass
    assert [(found.uri, found.for_ever) for found in ledger.deleted_objects(deletion)] == [
        ("s3://bucket/inputs/anna/1", True)
    ]
    ledger.close()
