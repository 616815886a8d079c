"""Of many requests that are predicted and stored together, each stands or falls by itself."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import numpy as np
import pytest
from moto import mock_aws
from PIL import Image

from functions.shared.inference.errors import InputError, ModelRunError
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.errors import (
    IdempotencyConflictError,
    LedgerUnavailableError,
    UnstorableValueError,
)
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.quotas import QuotaExceededError, Quotas
from functions.shared.ledger.records import Replay
from functions.shared.object_storage import bucket as object_storage
from functions.shared.object_storage.errors import ObjectStoreUnavailableError
from functions.shared.prediction.errors import RefusedInputsError
from functions.shared.prediction.requests import Features, Input, PredictionRequest
from functions.shared.prediction.serving import Serving
from functions.shared.prediction.synchronous import Predicted, Refusal, predict, store
from functions.shared.settings import WorkerSettings
from tests.support.buckets import Bucket, make_bucket
from tests.support.database import predictions, run
from tests.support.database_proxy import Fate, Proxy
from tests.support.faulty_proxy import End, FaultyProxy
from tests.support.graphs import brittle, linear, package
from tests.support.prediction_queue import AWS
from tests.support.repository import DIGIT

Outcome = Replay | Refusal | None


def started(folder: Path) -> Serving:
    """Return a model, not yet with a database."""
    return Serving.start(WorkerSettings(model=str(folder), database_url="postgresql://nobody@localhost/none"))


@pytest.fixture(scope="module")
def of_images(tmp_path_factory: pytest.TempPathFactory) -> Serving:
    """A model that predicts black images, and fails on others."""
    return started(package(tmp_path_factory.mktemp("models") / "brittle", brittle(), task="classification"))


@pytest.fixture(scope="module")
def of_features(tmp_path_factory: pytest.TempPathFactory) -> Serving:
    """A model that answers the roots of two features, and NaN where they have none."""
    roots = linear(np.eye(2, dtype=np.float32), then=["Sqrt"])
    return started(package(tmp_path_factory.mktemp("models") / "roots", roots, task="regression"))


With = Callable[..., Serving]
"""Returns a model with a ledger that has some quotas, in a database."""


@pytest.fixture
def with_ledger(database_url: str) -> Iterator[With]:
    opened: list[Ledger] = []

    def give(serving: Serving, url: str = database_url, **quotas: int) -> Serving:
        opened.append(Ledger.at(url, longest=60, quotas=Quotas(**quotas)))
        return serving._replace(ledger=opened[-1])

    yield give
    for ledger in opened:
        ledger.close()


def black() -> bytes:
    """Return a file that the model predicts."""
    file = BytesIO()
    Image.new("L", (28, 28)).save(file, "png")
    return file.getvalue()


def asking(*images: bytes, user: str = "anna", key: str | None = None) -> PredictionRequest:
    """Return a request for some images, a black one if none is given."""
    inputs = tuple(Input("image/png", image) for image in images or [black()])
    return PredictionRequest(inputs, user, key, batch=len(images) > 1)


def features(*values: float, text: str | None = None, key: str | None = None) -> PredictionRequest:
    """Return a request for features."""
    one = Input("application/json", features=Features(list(values), str(list(values)) if text is None else text))
    return PredictionRequest((one,), "anna", key)


def serve(serving: Serving, requests: list[PredictionRequest]) -> tuple[list[Outcome], dict[int, Predicted]]:
    """Predict and store requests together. Return what each is told, and what was made."""
    outcomes = predict(serving, requests)
    made = {number: one for number, one in enumerate(outcomes) if isinstance(one, Predicted)}
    told: dict[int, Outcome] = {n: one for n, one in enumerate(outcomes) if not isinstance(one, Predicted)}
    told |= zip(made, store(serving, list(made.values())), strict=True)
    return [told[number] for number in range(len(requests))], made


def reason(told: Outcome) -> Exception:
    """Return why a request is refused: of its only input, if that is refused."""
    assert isinstance(told, Refusal)
    if isinstance(told.error, RefusedInputsError):
        [error] = told.error.errors.values()
        return error
    return told.error


def ids(*made: Predicted) -> list[UUID]:
    return sorted(record.prediction_id for one in made for record in one.records)


def stored_ids(database_url: str) -> list[object]:
    """Return the ids of all predictions, each of which has its own input."""
    rows = run(database_url, "SELECT p.prediction_id FROM predictions p JOIN inputs i USING (input_id) ORDER BY 1")
    assert len(rows) == predictions(database_url)
    return [row[0] for row in rows]


@pytest.mark.usefixtures("within_one_hour")
def test_whatever_is_wrong_with_a_request_refuses_it_and_no_other(
    of_images: Serving, with_ledger: With, database_url: str
) -> None:
    serving = with_ledger(of_images, predictions_per_hour=20)
    digit = DIGIT.read_bytes()
    first = asking(key="taken", user="greedy")
    [stored_first], made_first = serve(serving, [first])
    [stored_batch], made_batch = serve(serving, [asking(*[black()] * 17, user="greedy")])
    assert [stored_first, stored_batch] == [None, None]
    others = [
        *(asking(user=f"user {n}") for n in range(4)),
        *(asking(key=f"key {n}", user=f"user {n}") for n in range(4)),
        asking(black(), black(), key="batch"),
        asking(black(), black(), black()),
    ]
    bad: list[tuple[PredictionRequest, type[Exception] | type[Replay] | None]] = [
        (asking(b"no image"), InputError),
        (asking(digit, key="a run that fails"), ModelRunError),
        (asking(black(), digit), ModelRunError),
        (asking(user="a\0b"), UnstorableValueError),
        (asking(user="a\0b", key="k"), UnstorableValueError),
        (first, Replay),
        (asking(black(), black(), user="greedy", key="taken"), IdempotencyConflictError),
        (asking(key="twice"), None),
        (asking(key="twice"), Replay),
        (asking(black(), black(), key="twice"), IdempotencyConflictError),
        (asking(*[black()] * 3, user="greedy"), QuotaExceededError),
        (asking(*[black()] * 4, user="greedy", key="many more"), QuotaExceededError),
    ]
    mixed = [*others[:3], *(request for request, _ in bad), *others[3:]]

    told, made = serve(serving, mixed)

    assert told[:3] + told[3 + len(bad) :] == [None] * 10
    for (_, expected), outcome in zip(bad, told[3:], strict=False):
        said = reason(outcome) if isinstance(outcome, Refusal) else outcome
        assert said is None if expected is None else isinstance(said, expected), said
    assert isinstance(told[8], Replay)
    assert told[8].records == made_first[0].records
    assert isinstance(told[11], Replay)
    assert told[11].records == made[10].records
    accepted = [made[number] for number, outcome in enumerate(told) if outcome is None]
    assert stored_ids(database_url) == ids(*made_first.values(), *made_batch.values(), *accepted)
    for one in accepted:
        for record in one.records:
            assert serving.ledger.get(record.prediction_id)[0] == record


def test_a_number_that_is_none_refuses_its_own_request(
    of_features: Serving, with_ledger: With, database_url: str
) -> None:
    serving = with_ledger(of_features)
    others = [features(n, n + 1, key=f"key {n}" if n % 2 else None) for n in range(10)]
    bad = [features(float("nan"), 1), features(-1, 1, key="NaN comes out"), features(1, 2, text="NaN", key="text")]
    told, made = serve(serving, [*others[:5], *bad, *others[5:]])
    assert told[:5] + told[8:] == [None] * 10
    assert all(isinstance(reason(one), InputError) for one in told[5:7])
    assert isinstance(reason(told[7]), UnstorableValueError)
    accepted = [made[number] for number, outcome in enumerate(told) if outcome is None]
    assert stored_ids(database_url) == ids(*accepted)


def test_servers_that_are_sent_the_same_requests_at_once_store_each_once(
    of_images: Serving, with_ledger: With, database_url: str
) -> None:
    def answers(number: int) -> dict[str | None, object]:
        serving = with_ledger(of_images)
        requests = [asking(key=f"key {n}") for n in range(12)]
        if number:
            requests.reverse()
        told, made = serve(serving, requests)
        return {
            request.key: outcome.records if isinstance(outcome, Replay) else made[n].records
            for n, (request, outcome) in enumerate(zip(requests, told, strict=True))
            if not isinstance(outcome, Refusal)
        }

    for _ in range(5):
        run(database_url, "TRUNCATE predictions, inputs, idempotency_keys CASCADE")
        with ThreadPoolExecutor(2) as threads:
            one, other = threads.map(answers, range(2))
        assert one == other
        assert len(one) == len(stored_ids(database_url)) == 12


MIXED = [asking(user="bob"), asking(key="a"), asking(black(), black()), asking(key="a"), asking(key="b", user="bob")]


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    with TemporaryDirectory() as folder, Proxy(parse_database_url(database_url), Path(folder)) as running:
        yield running


@pytest.mark.parametrize("fate", [Fate.REQUEST_LOST, Fate.REPLY_LOST])
def test_a_connection_that_breaks_once_costs_nothing(
    of_images: Serving, with_ledger: With, proxy: Proxy, database_url: str, fate: Fate
) -> None:
    serving = with_ledger(of_images, proxy.url)
    serving.ledger.register(serving.identity)
    made = [one for one in predict(serving, MIXED) if isinstance(one, Predicted)]
    proxy.next_flights(fate)
    told = store(serving, made)
    assert [type(one) for one in told] == [type(None), type(None), type(None), Replay, type(None)]
    assert stored_ids(database_url) == ids(*made[:3], made[4])


@pytest.mark.parametrize(("fate", "written"), [(Fate.REQUEST_LOST, 0), (Fate.REPLY_LOST, 5)])
def test_of_a_connection_that_breaks_before_or_after_the_commit_each_is_told_that_nobody_knows(
    of_images: Serving, with_ledger: With, proxy: Proxy, database_url: str, fate: Fate, written: int
) -> None:
    serving = with_ledger(of_images, proxy.url)
    serving.ledger.register(serving.identity)
    made = [one for one in predict(serving, MIXED) if isinstance(one, Predicted)]
    proxy.next_flights(fate, None, fate)
    for outcome in store(serving, made):
        error = reason(outcome)
        assert isinstance(error, LedgerUnavailableError)
        assert error.in_doubt
    assert len(stored_ids(database_url)) == written

    # The keys find out.
    told, again = serve(serving, MIXED[1:2] + MIXED[4:])
    if written:
        assert [isinstance(one, Replay) and one.records for one in told] == [made[1].records, made[4].records]
    else:
        assert told == [None, None]
        assert stored_ids(database_url) == ids(*again.values())


def test_where_the_database_is_not_reached_at_all_nothing_is_in_doubt(
    of_images: Serving, with_ledger: With, proxy: Proxy, database_url: str
) -> None:
    serving = with_ledger(of_images, proxy.url)
    serving.ledger.register(serving.identity)
    made = [one for one in predict(serving, MIXED) if isinstance(one, Predicted)]
    proxy.close()
    for outcome in store(serving, made):
        error = reason(outcome)
        assert isinstance(error, LedgerUnavailableError)
        assert not error.in_doubt
    looked_up = predict(serving, MIXED)
    assert [isinstance(one, Predicted) for one in looked_up] == [True, False, True, False, False]
    assert stored_ids(database_url) == []


@pytest.mark.parametrize(
    ("direction", "count"), [("up", 1), ("up", 700), ("up", 5_000), ("down", 0), ("down", 3)], ids=str
)
@pytest.mark.parametrize("end", [End.RESET, End.CLOSE])
def test_a_connection_that_breaks_in_the_middle_costs_nothing(
    of_images: Serving, with_ledger: With, database_url: str, direction: str, count: int, end: End
) -> None:
    server = parse_database_url(database_url)
    with FaultyProxy(f"{server.socket_directory}/.s.PGSQL.{server.port}") as proxy:
        url = f"postgresql://{server.user}@127.0.0.1:{proxy.port}/{server.database}?sslmode=disable"
        serving = with_ledger(of_images, url)
        serving.ledger.register(serving.identity)
        made = [one for one in predict(serving, MIXED) if isinstance(one, Predicted)]
        proxy.cut_after(direction, count, end)
        told = store(serving, made)
        assert proxy.cuts == 1
    assert [type(one) for one in told] == [type(None), type(None), type(None), Replay, type(None)]
    assert stored_ids(database_url) == ids(*made[:3], made[4])


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        yield make_bucket("inputs-of-tests")


def objects_of(*made: Predicted) -> set[str]:
    """Return the keys of the inputs' objects."""
    return {f"inputs/{one.user_id}/{one.input.input_id}" for each in made for one in each.predictions}


def test_of_what_is_not_stored_no_object_is_left(
    of_images: Serving, with_ledger: With, bucket: Bucket, database_url: str
) -> None:
    serving = with_ledger(of_images)._replace(inputs_bucket=object_storage.Bucket(bucket.name))
    requests = [*MIXED, asking(user="a\0b")]
    told, made = serve(serving, requests)
    assert [type(one) for one in told] == [type(None), type(None), type(None), Replay, type(None), Refusal]
    accepted = [made[0], made[1], made[2], made[4]]
    assert set(bucket.contents()) == objects_of(*accepted)
    assert stored_ids(database_url) == ids(*accepted)


@pytest.mark.parametrize("committed", [True, False])
def test_what_was_committed_although_nobody_said_so_keeps_its_objects_and_is_answered(
    of_images: Serving, with_ledger: With, proxy: Proxy, bucket: Bucket, database_url: str, committed: bool
) -> None:
    serving = with_ledger(of_images, proxy.url)._replace(inputs_bucket=object_storage.Bucket(bucket.name))
    serving.ledger.register(serving.identity)
    made = [one for one in predict(serving, [*MIXED[:3], MIXED[4]]) if isinstance(one, Predicted)]
    fate = Fate.REPLY_LOST if committed else Fate.REQUEST_LOST
    proxy.next_flights(fate, None, fate)
    told = store(serving, made)
    assert set(bucket.contents()) == objects_of(*made)
    if committed:
        assert told == [None] * 4
        assert stored_ids(database_url) == ids(*made)
    else:
        assert all(isinstance(reason(one), LedgerUnavailableError) for one in told)
        assert stored_ids(database_url) == []


def test_without_its_objects_no_row_is_written_and_each_is_told(
    of_images: Serving, with_ledger: With, bucket: Bucket, database_url: str
) -> None:
    serving = with_ledger(of_images)._replace(inputs_bucket=object_storage.Bucket("another-bucket"))
    assert bucket.contents() == {}
    told, _ = serve(serving, MIXED[:3])
    assert all(isinstance(reason(one), ObjectStoreUnavailableError) for one in told)
    assert stored_ids(database_url) == []
