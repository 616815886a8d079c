"""A queue and a schedule invoke functions as on AWS: batches, partial failures, dead letters."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import psutil
import pytest

from local.errors import CannotServeError
from local.template import Queue, QueueSource, read_queues, read_template
from tests.support.local_server import PROJECT, LocalServer

pytestmark = pytest.mark.server

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

TEMPLATE = PROJECT / "queue.yaml"
PATIENCE = 60.0  # seconds; moto needs a few to start


@dataclass(frozen=True)
class Running:
    """A server with a queue, and the queue."""

    server: LocalServer
    environment: dict[str, str]
    sqs: "SQSClient"

    def send(self, *bodies: str) -> None:
        entries: Any = [{"Id": str(at), "MessageBody": body} for at, body in enumerate(bodies)]
        self.sqs.send_message_batch(QueueUrl=self.environment["QUEUE_URL"], Entries=entries)

    def events(self, function: str) -> list[dict[str, Any]]:
        """Return the events that invoked a function."""
        lines = [json.loads(line) for line in self.server.functions_log.splitlines() if line.startswith("{")]
        return [line[function] for line in lines if function in line]

    def told_of_a_new_queue(self) -> list[dict[str, Any]]:
        """Return the events of the schedule that say so. It has others, one a minute."""
        return [event for event in self.events("tick") if event.get("queue_lost")]

    def records(self, body: str) -> list[dict[str, Any]]:
        """Return the records of a message, one for each delivery."""
        return [one for event in self.events("take") for one in event["Records"] if one["body"] == body]

    def dead(self) -> list[str]:
        url = self.environment["QUEUE_URL"].replace("/Work", "/DeadLetters")
        return [message["Body"] for message in self.sqs.receive_message(QueueUrl=url).get("Messages", [])]


def wait_until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    server = LocalServer(tmp_path_factory.mktemp("queue") / "home", TEMPLATE=str(TEMPLATE), ENVIRONMENTS="1").start()
    try:
        environment = httpx.get(f"{server.address}/echo").json()["environment"]
        sqs = boto3.client(
            "sqs",
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            region_name=environment["AWS_REGION"],
            aws_access_key_id="x",
            aws_secret_access_key="x",
        )
        running = Running(server, environment, sqs)
        # The first queue is a new one too. A test that ends a queue waits for what is told of the next.
        wait_until(running.told_of_a_new_queue)
        yield running
        assert server.stop() == 0
        assert server.processes() == []
    finally:
        server.clean_up()


def test_a_message_comes_as_lambda_gives_it_and_once(running: Running) -> None:
    running.send("one")

    wait_until(lambda: running.records("one"))
    time.sleep(1.5)

    [record] = running.records("one")
    assert record["eventSource"] == "aws:sqs"
    assert record["eventSourceARN"] == "arn:aws:sqs:us-east-1:123456789012:Work"
    assert record["awsRegion"] == "us-east-1"
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert record["attributes"]["SentTimestamp"].isdigit()
    assert record["messageAttributes"] == {}
    assert {"messageId", "receiptHandle", "md5OfBody"} < set(record)


def test_messages_that_come_together_are_one_batch_up_to_its_size(running: Running) -> None:
    running.send(*[f"first {number}" for number in range(10)])
    running.send(*[f"second {number}" for number in range(10)])

    wait_until(lambda: all(running.records(f"{which} {n}") for which in ("first", "second") for n in range(10)))

    sizes = [
        len(event["Records"])
        for event in running.events("take")
        if event["Records"][0]["body"].startswith(("first", "second"))
    ]
    assert max(sizes) == 12
    assert sum(sizes) == 20


def test_a_message_that_fails_comes_again_and_its_neighbours_do_not(running: Running) -> None:
    running.send("good", "bad")

    wait_until(lambda: "bad" in running.dead())

    assert [one["attributes"]["ApproximateReceiveCount"] for one in running.records("bad")] == ["1", "2"]
    assert len(running.records("good")) == 1


@pytest.mark.parametrize(("body", "says"), [("raise", "Take: ValueError: as asked"), ("die", "SIGKILL")])
def test_where_the_function_fails_the_whole_batch_comes_again(running: Running, body: str, says: str) -> None:
    running.send(body, f"beside {body}")

    wait_until(lambda: body in running.dead())

    assert len(running.records(f"beside {body}")) == 2
    assert says in running.server.output


def test_the_schedule_runs_its_function_and_says_that_the_queue_is_new(running: Running) -> None:
    wait_until(running.told_of_a_new_queue)

    [event] = running.told_of_a_new_queue()
    assert (event["source"], event["detail-type"], event["detail"]) == ("aws.events", "Scheduled Event", {})
    assert event["queue_lost"] is True


def moto_processes(running: Running) -> list[psutil.Process]:
    return [one for one in running.server.processes() if "local.services.moto_process" in command_of(one)]


def command_of(process: psutil.Process) -> list[str]:
    """Return its command line, empty if it has just ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def test_a_queue_that_ends_comes_back_at_the_same_address_and_the_schedule_is_told(running: Running) -> None:
    before = len(running.told_of_a_new_queue())
    [moto] = moto_processes(running)

    moto.kill()

    wait_until(lambda: len(running.told_of_a_new_queue()) > before)
    running.send("after")
    wait_until(lambda: running.records("after"))


def test_the_schedule_is_told_of_a_queue_that_ends_while_every_worker_is_busy(running: Running, tmp_path: Path) -> None:
    before = len(running.told_of_a_new_queue())
    go_on = tmp_path / "go_on"
    running.send(f"wait for {go_on}")
    wait_until(lambda: running.records(f"wait for {go_on}"))
    [moto] = moto_processes(running)

    moto.kill()

    wait_until(lambda: len(running.told_of_a_new_queue()) > before)  # before the worker is free
    go_on.touch()


def test_a_queue_whose_guard_is_killed_is_replaced_not_doubled(running: Running) -> None:
    [moto] = moto_processes(running)
    guard = moto.parent()
    assert guard is not None

    guard.kill()

    wait_until(lambda: moto not in (found := moto_processes(running)) and len(found) == 1)
    running.send("after the guard")
    wait_until(lambda: running.records("after the guard"))


def test_functions_have_what_boto3_asks_for(running: Running) -> None:
    assert running.environment["QUEUE_URL"].startswith(running.environment["AWS_ENDPOINT_URL"])
    assert running.environment["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert running.environment["AWS_ACCESS_KEY_ID"]
    assert running.environment["AWS_SECRET_ACCESS_KEY"]


# --- what the template says ------------------------------------------------------------------------------------------


def test_queues_and_what_they_call_are_read() -> None:
    functions = {function.logical_id: function for function in read_template(TEMPLATE)}

    assert functions["Take"].source == QueueSource("Work", batch_size=12, window=1, reports_failures=True)
    assert functions["Tick"].period == 60
    assert (functions["Echo"].source, functions["Echo"].period) == (None, None)
    assert read_queues(TEMPLATE) == (
        Queue("Work", visibility_timeout=4, dead_letters="DeadLetters", max_receives=2),
        Queue("DeadLetters"),
    )


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ("{Type: Schedule, Properties: {Schedule: 'cron(0 12 * * ? *)'}}", "rate"),
        ("{Type: SQS, Properties: {Queue: work}}", "GetAtt"),
        ("{Type: SQS, Properties: {Queue: !GetAtt Work.Arn, BatchSize: 0}}", "BatchSize"),
    ],
)
def test_what_cannot_be_done_here_is_refused(tmp_path: Path, event: str, says: str) -> None:
    path = tmp_path / "template.yaml"
    path.write_text(
        f"Resources: {{F: {{Type: 'AWS::Serverless::Function', Properties: {{Handler: f.h, Events: {{E: {event}}}}}}}}}"
    )

    with pytest.raises(CannotServeError, match=says):
        read_template(path)
