"""The worker of a server: what is queued is predicted once, whatever ends a worker, and soon, with PostgreSQL alone."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID

import pytest

from functions.shared.inference.model import Model
from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.identifiers import first_id_at
from functions.shared.ledger.records import NewInput, PredictionRecord, QueuedPrediction
from functions.shared.prediction.queued import enqueue
from functions.shared.prediction.requests import Features, Input, PredictionRequest
from functions.shared.prediction.rolling import Roller
from functions.shared.prediction.serving import Serving
from functions.shared.prediction.sweeping import Sweeper
from functions.shared.settings import RollupSettings, SweepSettings, WorkerSettings
from infra.migrations import upgrade
from local.batching.queue_worker import LedgerQueue, QueueWorker
from local.services.postgres import EmbeddedPostgres
from tests.support.database import Query
from tests.support.database_proxy import Fate, Proxy
from tests.support.graphs import looping, package
from tests.support.pgbouncer import PGBOUNCER, PORT, PgBouncer
from tests.support.predictions import MODEL, prediction
from tests.support.queue_child import POISON
from tests.support.repository import DIGIT, ROOT
from tests.support.waiting import soon

MINUTES = 600.0
PATIENCE = 120.0  # seconds; a worker that nobody wakes looks after MINUTES
HOURS = [1_000_000]
DIGIT_BYTES = DIGIT.read_bytes()


@pytest.fixture
def query(database_url: str) -> Iterator[Query]:
    """Ask the database itself, on a connection of its own."""
    connection = Connection(parse_database_url(database_url), longest=60)
    yield lambda sql, **parameters: connection.run(sql, parameters, keep=False)
    connection.close()


Serve = Callable[..., Serving]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that loads a model, with a ledger that is closed after the test."""
    made: list[Serving] = []

    def start(url: str, model: Path = ROOT / "model_artifacts" / "mnist") -> Serving:
        made.append(Serving.start(WorkerSettings.from_environment({"DATABASE_URL": url, "MODEL": str(model)})))
        return made[-1]

    yield start
    for one in made:
        one.ledger.close()


@pytest.fixture
def serving(serve: Serve, database_url: str) -> Serving:
    return serve(database_url)


StartWorker = Callable[..., QueueWorker]


@pytest.fixture
def start_worker(serve: Serve) -> Iterator[StartWorker]:
    """Return a function that starts a worker in this process, which is stopped after the test."""
    assert serve is not None  # the workers are stopped before their ledgers are closed
    workers: list[QueueWorker] = []

    def start(serving: Serving, *rest: Any, **options: Any) -> QueueWorker:
        workers.append(QueueWorker(serving, *rest, **{"poll_seconds": MINUTES, **options}))
        workers[-1].start()
        return workers[-1]

    yield start
    for worker in workers:
        worker.stop(PATIENCE)


class Child:
    """A worker in a process of its own."""

    def __init__(self, url: str, log: Path, **options: object) -> None:
        self._log = log
        environment = {
            **os.environ,
            "DATABASE_URL": url,
            "MODEL": str(ROOT / "model_artifacts" / "mnist"),
            **{name.upper(): str(value) for name, value in options.items()},
        }
        command = [sys.executable, "-m", "tests.support.queue_child"]
        with log.open("a") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT, env=environment)

    def lines(self) -> list[dict[str, Any]]:
        """Return what it has logged, and all others with the same log."""
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]

    def started(self) -> int:
        """Return how many work that have this log."""
        return self._log.read_text().count("ready")

    def stop(self) -> int:
        """Ask it to stop, and return its exit status."""
        self.process.terminate()
        return self.process.wait(PATIENCE)


StartChild = Callable[..., Child]


@pytest.fixture
def start_child(database_url: str, tmp_path: Path) -> Iterator[StartChild]:
    """Return a function that starts a worker in a process of its own."""
    children: list[Child] = []

    def start(**options: object) -> Child:
        defaults = {"poll_seconds": 0.2, "time_seconds": 1.0, "most_at_once": 5}
        children.append(Child(database_url, tmp_path / "log", **(defaults | options)))
        return children[-1]

    yield start
    for child in children:
        child.process.kill()
        child.process.wait()


def queue(serving: Serving, *contents: bytes | list[int], worker: QueueWorker | None = None) -> list[UUID]:
    """Queue images, or features, as `POST /prediction` does, and return the predictions' ids, oldest first."""
    made = []
    for content in contents:
        one = (
            Input("image/png", content)
            if isinstance(content, bytes)
            else Input("application/json", features=Features(content, json.dumps(content)))
        )
        request = PredictionRequest((one,), "anna")
        queued = enqueue(serving, LedgerQueue(serving.ledger, worker), request)
        assert isinstance(queued, UUID)
        made.append(queued)
    return made


def statuses(query: Query) -> Counter[str]:
    """Return how many predictions are in each state."""
    return Counter(dict(map(tuple, query("SELECT status, count(*) FROM predictions GROUP BY status"))))


def all_are(query: Query, *wanted: str) -> Callable[[], bool]:
    return lambda: set(statuses(query)) <= set(wanted)


def record(serving: Serving, prediction_id: UUID) -> PredictionRecord:
    return serving.ledger.get(prediction_id)[0]


def predicted(lines: list[dict[str, Any]]) -> Counter[str]:
    return Counter(line["prediction_id"] for line in lines if line["message"] == "predicted")


# --- what is queued is predicted, once -------------------------------------------------------------------------------


def test_two_processes_predict_each_of_two_hundred_once(
    serving: Serving, start_child: StartChild, query: Query
) -> None:
    made = queue(serving, *[DIGIT_BYTES] * 200)
    # No lease ends meanwhile, on however slow a machine: what one process has is not for the other.
    children = [start_child(time_seconds=PATIENCE) for _ in range(2)]

    assert soon(all_are(query, "succeeded"), PATIENCE)

    assert soon(lambda: len(predicted(children[0].lines())) == len(made), PATIENCE)  # it is logged once it is stored
    assert predicted(children[0].lines()) == {str(one): 1 for one in made}
    assert {record(serving, one).label for one in made} == {"7"}
    assert query("SELECT DISTINCT attempts FROM predictions") == [[1]]
    assert soon(lambda: children[0].started() == 2, PATIENCE)  # a signal before that ends a process
    assert [child.stop() for child in children] == [0, 0]


def test_what_a_killed_worker_was_at_is_predicted_once_its_lease_is_up(
    serving: Serving, start_child: StartChild, query: Query
) -> None:
    made = queue(serving, *[DIGIT_BYTES] * 200)
    victim = start_child()

    def is_idle() -> bool:
        """Whether the database has done all that it was asked."""
        active = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND datname = "
        return not query(active + "current_database()")

    def is_stopped_amid_a_batch() -> bool:
        victim.process.send_signal(signal.SIGSTOP)
        assert soon(is_idle, PATIENCE)
        if statuses(query)["processing"]:
            return True
        victim.process.send_signal(signal.SIGCONT)
        return False

    assert soon(is_stopped_amid_a_batch, PATIENCE)
    [[stopped_at]] = query("SELECT count(*) FROM predictions WHERE status = 'processing'")
    victim.process.kill()
    start_child()

    assert soon(all_are(query, "succeeded"), PATIENCE)
    assert soon(lambda: len(predicted(victim.lines())) == len(made), PATIENCE)  # it is logged once it is stored
    assert predicted(victim.lines()) == {str(one): 1 for one in made}
    assert query("SELECT attempts, count(*) FROM predictions GROUP BY 1 ORDER BY 1") == [
        [1, 200 - stopped_at],
        [2, stopped_at],
    ]


def test_an_input_that_kills_its_workers_fails_and_takes_no_other_with_it(
    serving: Serving, start_child: StartChild, query: Query
) -> None:
    made = queue(serving, DIGIT_BYTES, DIGIT_BYTES + POISON, *[DIGIT_BYTES] * 3)
    child = start_child()
    deaths = 0
    until = time.monotonic() + PATIENCE
    while not all_are(query, "succeeded", "failed")() and time.monotonic() < until:
        if child.process.poll() is not None:
            deaths += 1
            child = start_child()
        time.sleep(0.05)

    assert [record(serving, one).status for one in made] == ["succeeded", "failed", *["succeeded"] * 3]
    assert record(serving, made[1]).error == "The prediction was not finished in 2 attempts."
    assert deaths == 2


def test_a_bad_input_fails_alone_and_says_why(serving: Serving, start_worker: StartWorker, query: Query) -> None:
    good, bad, good_too = queue(serving, DIGIT_BYTES, DIGIT_BYTES[:-30], DIGIT_BYTES)
    start_worker(serving)

    assert soon(all_are(query, "succeeded", "failed"), PATIENCE)

    assert record(serving, good).status == record(serving, good_too).status == "succeeded"
    assert record(serving, bad).error == "the image is damaged or cut off."


def test_an_input_that_a_batch_fails_on_is_tried_alone_and_then_given_up(
    serving: Serving, start_worker: StartWorker, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = Model.decode_image

    def decode_or_fail(model: Model, data: bytes, *rest: Any) -> Any:
        if data.endswith(POISON):
            raise ZeroDivisionError
        return decode(model, data, *rest)

    monkeypatch.setattr(Model, "decode_image", decode_or_fail)
    good, bad = queue(serving, DIGIT_BYTES, DIGIT_BYTES + POISON)
    start_worker(serving, poll_seconds=0.1, time_seconds=0.2, attempts=2)

    assert soon(all_are(query, "succeeded", "failed"), PATIENCE)

    assert (record(serving, good).status, record(serving, bad).status) == ("succeeded", "failed")


def test_what_another_model_was_asked_for_fails_and_says_so(
    serve: Serve, serving: Serving, start_worker: StartWorker, query: Query, database_url: str
) -> None:
    (made,) = queue(serving, DIGIT_BYTES)
    start_worker(serve(database_url, ROOT / "model_artifacts" / "diabetes"))
    assert soon(all_are(query, "failed"), PATIENCE)
    assert "takes features" in str(record(serving, made).error)


# --- soon ------------------------------------------------------------------------------------------------------------


def is_asleep(worker: QueueWorker) -> bool:
    return worker._asleep


def test_a_worker_that_sleeps_in_this_process_is_woken_at_once(
    serving: Serving, start_worker: StartWorker, query: Query
) -> None:
    worker = start_worker(serving)
    for _ in range(3):
        assert soon(lambda: is_asleep(worker), PATIENCE)
        queue(serving, DIGIT_BYTES, worker=worker)
        assert soon(all_are(query, "succeeded"), PATIENCE)


def test_workers_elsewhere_are_woken_at_once(
    serve: Serve, serving: Serving, start_worker: StartWorker, query: Query, database_url: str
) -> None:
    elsewhere = serve(database_url)
    worker = start_worker(elsewhere)
    for _ in range(3):
        assert soon(lambda: is_asleep(worker), PATIENCE)
        queue(serving, DIGIT_BYTES)
        assert soon(all_are(query, "succeeded"), PATIENCE)


def test_a_worker_that_is_busy_leaves_it_to_another(
    serve: Serve,
    serving: Serving,
    start_worker: StartWorker,
    query: Query,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_work, go_on = threading.Event(), threading.Event()
    decode = Model.decode_image

    def decode_slowly(model: Model, data: bytes, *rest: Any) -> Any:
        if data.endswith(b"slow"):
            at_work.set()
            go_on.wait(PATIENCE)
        return decode(model, data, *rest)

    monkeypatch.setattr(Model, "decode_image", decode_slowly)
    worker = start_worker(serving)
    assert soon(lambda: is_asleep(worker), PATIENCE)
    (slow,) = queue(serving, DIGIT_BYTES + b"slow", worker=worker)
    assert at_work.wait(PATIENCE)
    other = start_worker(serve(database_url))
    assert soon(lambda: is_asleep(other), PATIENCE)

    (quick,) = queue(serving, DIGIT_BYTES, worker=worker)

    assert soon(lambda: record(serving, quick).status == "succeeded", PATIENCE)
    assert record(serving, slow).status == "processing"
    go_on.set()
    assert soon(all_are(query, "succeeded"), PATIENCE)


def test_a_worker_whose_ear_was_cut_off_hears_again(serving: Serving, start_worker: StartWorker, query: Query) -> None:
    worker = start_worker(serving)
    assert soon(lambda: is_asleep(worker), PATIENCE)
    query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND pid <> pg_backend_pid()"
    )

    def listens() -> bool:
        return bool(query("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND pid <> pg_backend_pid()"))

    assert soon(listens, PATIENCE)
    assert soon(lambda: is_asleep(worker), PATIENCE)
    queue(serving, DIGIT_BYTES)
    assert soon(all_are(query, "succeeded"), PATIENCE)


@pytest.mark.skipif(PGBOUNCER is None, reason="needs the pgbouncer command (apt-get install pgbouncer)")
def test_behind_a_pooler_in_transaction_mode_a_worker_looks_itself(
    serve: Serve, start_worker: StartWorker, query: Query, database_url: str
) -> None:
    with TemporaryDirectory() as folder, PgBouncer(database_url, Path(folder)):
        database = urlsplit(database_url).path
        url = f"postgresql://anna@{database}?host={quote(folder)}&port={PORT}&pooler=transaction"
        pooled = serve(url)
        worker = start_worker(pooled, poll_seconds=0.2)
        for _ in range(3):
            queue(pooled, DIGIT_BYTES)
            assert soon(all_are(query, "succeeded"), PATIENCE)
        assert query("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND pid <> pg_backend_pid()") == []
        worker.stop(PATIENCE)


def test_what_no_worker_was_woken_for_is_found_by_the_poll(
    serving: Serving, start_worker: StartWorker, query: Query
) -> None:
    worker = start_worker(serving, poll_seconds=0.5)
    assert soon(lambda: is_asleep(worker), PATIENCE)
    serving.ledger.enqueue(QueuedPrediction(NewInput(DIGIT_BYTES, "image/png"), "anna"))
    assert soon(all_are(query, "succeeded"), PATIENCE)


@pytest.mark.server
def test_a_database_that_goes_away_and_comes_back_loses_nothing(serve: Serve, start_worker: StartWorker) -> None:
    with TemporaryDirectory() as folder:
        postgres = EmbeddedPostgres(Path(folder), durable=False)
        with postgres:
            upgrade(postgres.url)
            serving = serve(postgres.url)
            worker = start_worker(serving)
            (before,) = queue(serving, DIGIT_BYTES, worker=worker)
            assert soon(lambda: record(serving, before).status == "succeeded", PATIENCE)
            assert soon(lambda: is_asleep(worker), PATIENCE)
        assert soon(lambda: not is_asleep(worker), PATIENCE)  # it has noticed
        with postgres:
            made = queue(serving, DIGIT_BYTES, DIGIT_BYTES, worker=worker)
            assert soon(lambda: {record(serving, one).status for one in made} == {"succeeded"}, PATIENCE)
            worker.stop(PATIENCE)


def test_what_a_worker_was_at_when_the_database_went_away_is_predicted_when_it_is_back(
    serve: Serve, serving: Serving, start_worker: StartWorker, query: Query, database_url: str
) -> None:
    with TemporaryDirectory() as folder, Proxy(parse_database_url(database_url), Path(folder)) as proxy:
        proxied = serve(proxy.url)
        made = queue(serving, DIGIT_BYTES, DIGIT_BYTES)
        proxied.ledger.register(proxied.identity)
        # The worker listens, claims, and cannot record what it has predicted, neither the first time nor the second.
        proxy.next_flights(None, None, None, Fate.REQUEST_LOST, Fate.REQUEST_LOST)
        worker = start_worker(proxied)
        assert soon(all_are(query, "succeeded"), PATIENCE)
        assert {record(serving, one).label for one in made} == {"7"}
        worker.stop(PATIENCE)


# --- stopping --------------------------------------------------------------------------------------------------------


def test_stopping_finishes_what_is_claimed_and_leaves_the_rest_queued(
    serving: Serving, start_child: StartChild, query: Query
) -> None:
    queue(serving, *[DIGIT_BYTES] * 200)
    child = start_child()
    assert soon(lambda: statuses(query)["succeeded"] > 0, PATIENCE)

    assert child.stop() == 0

    assert set(statuses(query)) <= {"succeeded", "queued"}
    assert query("SELECT DISTINCT attempts FROM predictions WHERE status = 'queued'") in ([], [[None]])


def test_stopping_gives_back_what_takes_too_long(
    serve: Serve, start_worker: StartWorker, query: Query, database_url: str, tmp_path: Path
) -> None:
    slow = serve(database_url, package(tmp_path / "slow", looping()))
    (made,) = queue(slow, HOURS)
    worker = start_worker(slow, time_seconds=10.0)
    assert soon(all_are(query, "processing"), PATIENCE)

    worker.stop(0.5)

    assert query("SELECT status, attempts FROM predictions") == [["queued", None]]
    start_worker(serve(database_url))  # of another model, which takes no features
    assert soon(all_are(query, "failed"), PATIENCE)
    assert "takes image" in str(record(slow, made).error)
    assert soon(lambda: not worker._thread.is_alive(), PATIENCE)  # the run has been ended: no test may outlive it


def test_a_stopped_worker_claims_nothing_more(serving: Serving, start_worker: StartWorker, query: Query) -> None:
    worker = start_worker(serving)
    assert soon(lambda: is_asleep(worker), PATIENCE)
    worker.stop(PATIENCE)
    queue(serving, DIGIT_BYTES, worker=worker)
    assert not soon(lambda: statuses(query)["queued"] == 0, 0.5)


# --- beside requests -------------------------------------------------------------------------------------------------


def test_a_worker_lets_waiting_requests_go_first_but_not_for_ever(
    serving: Serving, start_worker: StartWorker, query: Query
) -> None:
    asked = 0

    def is_busy() -> bool:
        nonlocal asked
        asked += 1
        return True

    queue(serving, DIGIT_BYTES)
    start_worker(serving, is_busy=is_busy)
    assert soon(all_are(query, "succeeded"), PATIENCE)
    assert asked > 1


# --- the sweep -------------------------------------------------------------------------------------------------------


def test_of_several_workers_one_sweeps_once_a_period(serving: Serving, start_child: StartChild, query: Query) -> None:
    query(
        "INSERT INTO idempotency_keys (user_id, key, created_at, was_queued, digest, prediction_ids) "
        "VALUES ('anna', 'old', now() - interval '25 hours', FALSE, sha256('x'), '{}'), "
        "('anna', 'new', now(), FALSE, sha256('x'), '{}')"
    )
    children = [start_child(sweeps=1), start_child(sweeps=1)]

    def swept() -> list[dict[str, Any]]:
        return [line for line in children[0].lines() if line["message"] == "swept"]

    assert soon(lambda: len(swept()) > 0, PATIENCE)
    assert soon(lambda: children[0].started() == 2, PATIENCE)
    queue(serving, *[DIGIT_BYTES] * 20)  # both of them are at work, and none sweeps again
    assert soon(all_are(query, "succeeded"), PATIENCE)
    assert [(one["expired"], one["sent"], one["failed"]) for one in swept()] == [(1, 0, 0)]
    assert query("SELECT key FROM idempotency_keys") == [["new"]]


def test_a_sweep_goes_on_with_a_deletion(
    serving: Serving, start_worker: StartWorker, query: Query, database_url: str
) -> None:
    sweeper = Sweeper.configured(SweepSettings.from_environment({"DATABASE_URL": database_url}), None)
    queue(serving, DIGIT_BYTES, DIGIT_BYTES)
    sweeper.ledger.begin_deletion(user_id="anna")

    start_worker(serving, sweeper)

    assert soon(lambda: query("SELECT count(*) FROM predictions") == [[0]], PATIENCE)
    assert soon(lambda: query("SELECT deleted FROM deletions WHERE finished_at IS NOT NULL") == [[2]], PATIENCE)
    assert query("SELECT count(*) FROM inputs") == [[0]]
    sweeper.ledger.close()


def test_a_worker_rolls_up_once_a_period(
    serving: Serving, start_worker: StartWorker, query: Query, database_url: str
) -> None:
    serving.ledger.store(MODEL, [prediction(prediction_id=first_id_at(datetime.now(UTC) - timedelta(hours=3)))])

    def roller() -> Roller:
        return Roller.configured(RollupSettings.from_environment({"DATABASE_URL": database_url}))

    start_worker(serving, None, roller())
    assert soon(lambda: query("SELECT count(*) > 0 FROM rollups") == [[True]], PATIENCE)
    assert soon(lambda: query("SELECT count(*) FROM stale_hours") == [[0]], PATIENCE)
    query("UPDATE predictions SET label = '8'")
    start_worker(serving, None, roller())
    queue(serving, DIGIT_BYTES)
    assert soon(all_are(query, "succeeded"), PATIENCE)
    assert query("SELECT count(*) FROM stale_hours") == [[1]]


def test_a_sweep_that_fails_ends_no_worker(serving: Serving, start_worker: StartWorker, query: Query) -> None:
    elsewhere = SweepSettings.from_environment({"DATABASE_URL": "postgresql://anna@127.0.0.1:1/ledger"})
    start_worker(serving, Sweeper.configured(elsewhere, None))
    assert soon(lambda: bool(query("SELECT 1 FROM schedule")), PATIENCE)
    queue(serving, DIGIT_BYTES)
    assert soon(all_are(query, "succeeded"), PATIENCE)
