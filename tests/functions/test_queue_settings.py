"""The queue's settings fit each other, the functions' time-outs and the code, which no linter of templates checks."""

import pytest

from functions.shared.prediction.sweeping import TIME_FOR_A_PORTION
from functions.shared.prediction.worker_batch import LEASE_MARGIN
from functions.shared.queue import predictions
from functions.shared.settings import SweepSettings
from local.settings import ROOT
from local.template import Function, Queue, QueueSource, read_queues, read_template

FUNCTIONS = {function.logical_id: function for function in read_template(ROOT / "template.yaml")}
QUEUES = {queue.logical_id: queue for queue in read_queues(ROOT / "template.yaml")}


@pytest.fixture
def worker() -> Function:
    return FUNCTIONS["WorkerFunction"]


@pytest.fixture
def source(worker: Function) -> QueueSource:
    assert worker.source is not None
    return worker.source


@pytest.fixture
def queue(source: QueueSource) -> Queue:
    return QUEUES[source.queue]


@pytest.fixture
def sweep_settings() -> SweepSettings:
    variables = {name: value or "unknown here" for name, value in FUNCTIONS["SweepFunction"].environment.items()}
    del variables["DATABASE_SECRET_ARN"]  # stands in for DATABASE_URL
    return SweepSettings.from_environment(variables)


def test_a_message_comes_again_only_when_its_worker_has_long_ended(
    worker: Function, source: QueueSource, queue: Queue
) -> None:
    # AWS, "Creating and configuring an Amazon SQS event source mapping": six times the time-out, and the window.
    assert queue.visibility_timeout >= 6 * worker.timeout + source.window


def test_a_message_that_comes_again_finds_its_dead_workers_lease_over(worker: Function, queue: Queue) -> None:
    assert queue.visibility_timeout > worker.timeout + LEASE_MARGIN


def test_a_large_batch_has_a_window(source: QueueSource) -> None:
    assert source.batch_size <= 10 or source.window >= 1  # otherwise Lambda refuses it


def test_a_bad_message_fails_alone(source: QueueSource) -> None:
    assert source.reports_failures


def test_messages_that_come_too_often_go_where_they_are_kept(queue: Queue) -> None:
    assert queue.dead_letters in QUEUES
    assert queue.max_receives is not None
    assert queue.max_receives >= 5  # AWS's advice: a throttled delivery counts as well
    assert QUEUES[queue.dead_letters].dead_letters is None


def test_the_sweep_interferes_with_nothing_that_goes_its_way(
    worker: Function, queue: Queue, sweep_settings: SweepSettings
) -> None:
    assert sweep_settings.queued_seconds > queue.visibility_timeout
    assert sweep_settings.processing_seconds > queue.visibility_timeout + worker.timeout + LEASE_MARGIN


def test_the_sweep_has_time_for_several_portions_and_ends_before_the_next_one() -> None:
    sweep = FUNCTIONS["SweepFunction"]
    assert sweep.timeout * 1000 > 2 * TIME_FOR_A_PORTION
    assert sweep.period is not None
    assert sweep.period > sweep.timeout


def test_a_request_is_answered_before_its_time_is_up_also_when_the_queue_is_not() -> None:
    longest = predictions.ATTEMPTS * (predictions.CONNECT_TIMEOUT + predictions.READ_TIMEOUT)
    assert longest < FUNCTIONS["PredictFunction"].timeout / 2


def test_predict_and_the_sweep_send_to_a_queue() -> None:
    for name in ("PredictFunction", "SweepFunction"):
        assert "QUEUE_URL" in FUNCTIONS[name].environment
