"""Requests are predicted and stored together, without HTTP, and each is told its own outcome."""

import json
from collections.abc import Iterator
from uuid import UUID

import pytest

from functions.shared.inference.errors import UndecodableImageError
from functions.shared.ledger.errors import (
    IdempotencyConflictError,
    LedgerUnavailableError,
    RecordNotFoundError,
    UnstorableValueError,
)
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.pool import Pool
from functions.shared.ledger.records import Replay
from functions.shared.prediction.errors import RefusedInputsError
from functions.shared.prediction.requests import Input, PredictionRequest
from functions.shared.prediction.serving import Serving
from functions.shared.prediction.synchronous import Outcome, Predicted, Refusal, predict, store
from functions.shared.settings import WorkerSettings
from tests.support.repository import DIGIT, ROOT


@pytest.fixture
def digit() -> bytes:
    """The sample image that the repository ships, a 7."""
    return DIGIT.read_bytes()


@pytest.fixture(scope="module")
def loaded() -> Serving:
    """The digit model, not yet with a database."""
    model = str(ROOT / "model_artifacts" / "mnist")
    return Serving.start(WorkerSettings(model=model, database_url="postgresql://nobody@localhost/none"))


@pytest.fixture
def serving(loaded: Serving, database_url: str) -> Iterator[Serving]:
    """The digit model, and a ledger of its own."""
    ledger = Ledger.at(database_url, longest=60)
    yield loaded._replace(ledger=ledger)
    ledger.close()


def asking(*images: bytes, user: str = "anna", key: str | None = None) -> PredictionRequest:
    """Return a request for some images."""
    inputs = tuple(Input("image/png", image, f"{number}.png") for number, image in enumerate(images))
    return PredictionRequest(inputs, user, key, batch=len(images) > 1)


def is_stored(serving: Serving, prediction_id: UUID) -> bool:
    """Tell whether the ledger has a prediction."""
    try:
        serving.ledger.get(prediction_id)
    except RecordNotFoundError:
        return False
    return True


def predicted(serving: Serving, *requests: PredictionRequest) -> list[Predicted]:
    """Predict requests that are all fine."""
    outcomes = predict(serving, requests)
    assert all(isinstance(one, Predicted) for one in outcomes)
    return [one for one in outcomes if isinstance(one, Predicted)]


def test_requests_of_several_users_share_a_run_and_a_commit(
    serving: Serving, digit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving.ledger.register(serving.identity)
    statements = []
    run = Pool.run

    def counted(pool: Pool, sql: str, parameters: dict[str, object], **more: bool) -> object:
        statements.append(sql)
        return run(pool, sql, parameters, **more)

    monkeypatch.setattr(Pool, "run", counted)

    made = predicted(serving, asking(digit), asking(digit, digit, user="bob"), asking(digit, user="carol"))
    assert statements == []
    assert store(serving, made) == [None, None, None]

    assert len(statements) == 1
    for one, user in zip(made, ("anna", "bob", "carol"), strict=True):
        for record in one.records:
            stored, _ = serving.ledger.get(record.prediction_id)
            assert (stored.user_id, stored.label) == (user, "7")
            assert stored == record


def test_a_bad_input_refuses_its_own_request_and_no_other(serving: Serving, digit: bytes) -> None:
    good, bad, batch = predict(serving, [asking(digit), asking(b"no image"), asking(digit, b"no image", digit)])

    assert isinstance(good, Predicted)
    for outcome, position in ((bad, 0), (batch, 1)):
        assert isinstance(outcome, Refusal)
        assert isinstance(outcome.error, RefusedInputsError)
        assert list(outcome.error.errors) == [position]
        assert isinstance(outcome.error.errors[position], UndecodableImageError)


def test_a_key_answers_its_own_request_and_no_other(serving: Serving, digit: bytes) -> None:
    first, other = predicted(serving, asking(digit, key="k"), asking(digit))
    assert store(serving, [first, other]) == [None, None]

    replay, conflict, fresh = predict(
        serving, [asking(digit, key="k"), asking(digit + b" ", key="k"), asking(digit, user="bob", key="k")]
    )

    assert isinstance(replay, Replay)
    assert replay.records == first.records
    assert isinstance(conflict, Refusal)
    assert isinstance(conflict.error, IdempotencyConflictError)
    assert isinstance(fresh, Predicted)


def test_of_two_requests_with_one_key_one_is_stored(serving: Serving, digit: bytes) -> None:
    first, second = predicted(serving, asking(digit, key="k"), asking(digit, key="k"))

    stored, replay = store(serving, [first, second])

    assert stored is None
    assert isinstance(replay, Replay)
    assert replay.records == first.records
    assert not is_stored(serving, second.records[0].prediction_id)


def test_a_value_that_the_database_refuses_refuses_its_own_request(serving: Serving, digit: bytes) -> None:
    good, other = predicted(serving, asking(digit), asking(digit))
    [bad] = predicted(serving, asking(digit)._replace(user_id="a\x00b"))

    results = store(serving, [good, bad, other])

    assert results[0] is None
    assert results[2] is None
    assert isinstance(results[1], Refusal)
    assert isinstance(results[1].error, UnstorableValueError)
    assert is_stored(serving, good.records[0].prediction_id)
    assert is_stored(serving, other.records[0].prediction_id)
    assert not is_stored(serving, bad.records[0].prediction_id)


def test_each_request_is_told_when_the_database_is_away(loaded: Serving, digit: bytes) -> None:
    away = loaded._replace(ledger=Ledger.at("postgresql://nobody@/none?host=/nowhere"))
    with_key, without = predict(away, [asking(digit, key="k"), asking(digit)])
    assert isinstance(with_key, Refusal)
    assert isinstance(with_key.error, LedgerUnavailableError)
    assert isinstance(without, Predicted)

    [result] = store(away, [without])

    assert isinstance(result, Refusal)
    assert isinstance(result.error, LedgerUnavailableError)
    assert not result.error.in_doubt


def told(outcome: Outcome) -> object:
    """Return what a request is told, without what differs from one run to the next."""
    if isinstance(outcome, Predicted):
        return [(record.label, record.output, record.user_id) for record in outcome.records]
    if isinstance(outcome, Replay):
        return outcome
    error = outcome.error
    return type(error), str(error), list(error.errors) if isinstance(error, RefusedInputsError) else None


def test_a_request_alone_is_told_what_it_is_told_among_others(serving: Serving, digit: bytes) -> None:
    assert store(serving, predicted(serving, asking(digit, key="k"))) == [None]
    requests = {
        "good": asking(digit),
        "of several inputs": asking(digit, digit, user="bob"),
        "bad": asking(b"no image"),
        "bad in part": asking(digit, b"no image", digit),
        "repeated": asking(digit, key="k"),
        "in conflict": asking(digit + b" ", key="k"),
    }

    together = predict(serving, list(requests.values()))

    for (name, request), among_others in zip(requests.items(), together, strict=True):
        [alone] = predict(serving, [request])
        assert told(alone) == told(among_others), name


def test_a_request_that_is_stored_alone_is_told_who_was_first(
    serving: Serving, digit: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = predicted(serving, asking(digit, key="k"), asking(digit, key="k"))
    [other] = predicted(serving, asking(digit + b" ", key="k"))
    [unstorable] = predicted(serving, asking(digit)._replace(user_id="a\x00b"))

    assert store(serving, [first]) == [None]
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["prediction_id"] == str(first.records[0].prediction_id)

    [replay], [conflict], [refusal] = (store(serving, [one]) for one in (second, other, unstorable))
    assert isinstance(replay, Replay)
    assert replay.records == first.records
    assert isinstance(conflict, Refusal)
    assert isinstance(conflict.error, IdempotencyConflictError)
    assert isinstance(refusal, Refusal)
    assert isinstance(refusal.error, UnstorableValueError)
    assert capsys.readouterr().out == ""


def test_there_may_be_nothing_to_do(serving: Serving) -> None:
    assert predict(serving, []) == []
    assert store(serving, []) == []
