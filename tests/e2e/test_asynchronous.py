"""Asynchronous predictions: each is made once, whatever is killed on the way, whichever server queues them.

By hand, with a picture of how it goes:

    ASYNC_PREDICTIONS=10000 ASYNC_KILLS=10 python -m pytest -s tests/e2e/test_asynchronous.py -k worker
"""

import io
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import boto3
import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from local.settings import ROOT
from tests.support.local_server import LocalServer, Serve

pytestmark = pytest.mark.server

PREDICTIONS = int(os.environ.get("ASYNC_PREDICTIONS", "300"))
KILLS = int(os.environ.get("ASYNC_KILLS", "3"))
PATIENCE = 180 + PREDICTIONS / 20  # seconds


class Kind(NamedTuple):
    """A kind of server.

    Attributes
    ----------
    name
        Its `SERVER`.
    serves, works
        What the command lines have of the processes that take requests and that predict what is queued.
    side
        Of an image, in pixels, so large that a batch takes long enough to be killed.
    """

    name: str
    serves: str
    works: str
    side: int


@pytest.fixture(params=["lambda", "batching"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """The server: with SQS and a function that works on it, or with PostgreSQL alone."""
    if request.param == "lambda":
        return Kind("lambda", "functions.predict.handler.handler", "functions.worker.handler.handler", 28)
    return Kind("batching", "local.batching", "--multiprocessing-fork", 600)


@pytest.fixture
def hurried(kind: Kind, tmp_path: Path) -> dict[str, str]:
    """Environment variables of a server whose queue delivers again after seconds, not minutes."""
    if kind.name == "batching":
        return {"SERVER": "batching", "QUEUE_SECONDS": "2", "WORKERS": "2"}
    text = (ROOT / "template.yaml").read_text("utf-8")
    changes = {
        "VisibilityTimeout: 370": "VisibilityTimeout: 13",
        "Timeout: 60\n      MemorySize: 1769": "Timeout: 2\n      MemorySize: 1769",
    }
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    template = tmp_path / "template.yaml"
    template.write_text(text, "utf-8")
    return {"TEMPLATE": str(template), "PYTHONPATH": str(ROOT)}


@pytest.fixture
def images(kind: Kind) -> list[bytes]:
    """Images that the model gives ten different answers to."""
    noise = np.random.default_rng(4).integers(0, 256, (10, 28, 28), np.uint8)
    files = [io.BytesIO() for _ in noise]
    for pixels, file in zip(noise, files, strict=True):
        Image.fromarray(pixels).resize((kind.side, kind.side)).save(file, "png")
    return [file.getvalue() for file in files]


def predict(client: httpx.Client, image: bytes, **headers: str) -> httpx.Response:
    """Send an image, again if the queue is not there yet, or the process was killed that had taken it."""
    headers = {"content-type": "image/png", "idempotency-key": str(uuid4()), **headers}
    while True:
        with suppress(httpx.TransportError):
            answer = client.post("/prediction", content=image, headers=headers)
            if answer.status_code != 503:
                return answer
        time.sleep(0.2)


def queue_all(client: httpx.Client, images: list[bytes], count: int) -> dict[str, int]:
    """Queue images in turn, and return which image each prediction is of."""
    with ThreadPoolExecutor(4) as threads:
        answers = threads.map(
            lambda number: predict(client, images[number % len(images)], prefer="respond-async"), range(count)
        )
        return {answer.json()["prediction_id"]: number % len(images) for number, answer in enumerate(answers)}


def processes_of(server: LocalServer, module: str) -> list[psutil.Process]:
    """Return the server's processes that run a module or a handler."""
    return [process for process in server.processes() if module in process.cmdline()]


def function_environment(server: LocalServer, kind: Kind) -> dict[str, str]:
    [process, *_] = processes_of(server, kind.serves)
    return process.environ()


def records(client: httpx.Client) -> Iterator[dict[str, Any]]:
    """Return all records, page by page."""
    url: str | None = "/predictions?limit=100"
    while url:
        page = client.get(url)
        yield from page.json()["predictions"]
        url = page.links.get("next", {}).get("url")


def wait_until(condition: Callable[[], bool], *, pause: float = 0.1) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(pause)


class Progress:
    """How many predictions are in each state, as the database has it."""

    def __init__(self, server: LocalServer, kind: Kind) -> None:
        self._connection = Connection(
            parse_database_url(function_environment(server, kind)["DATABASE_URL"]), longest=60
        )

    def __call__(self) -> Counter[str]:
        rows = self._connection.run("SELECT status, count(*) FROM predictions GROUP BY status", {})
        return Counter(dict(map(tuple, rows)))

    def close(self) -> None:
        self._connection.close()


def killed_in_a_batch(server: LocalServer, kind: Kind, progress: Progress) -> bool:
    """Wait a moment for a batch to be under way, kill the worker, and tell whether it left the batch undone."""
    workers = processes_of(server, kind.works)
    until = time.monotonic() + 1
    while workers and time.monotonic() < until:
        if progress()["processing"]:
            for process in workers:
                process.send_signal(signal.SIGKILL)
            psutil.wait_procs(workers, timeout=30)
            return progress()["processing"] > 0
    return False


def all_succeeded(client: httpx.Client, count: int) -> Callable[[], bool]:
    return lambda: [one["status"] for one in records(client)].count("succeeded") == count


def test_each_is_made_once_and_as_at_once_although_its_worker_is_killed(
    serve: Serve, kind: Kind, hurried: dict[str, str], images: list[bytes]
) -> None:
    server = serve(**hurried).start()
    with httpx.Client(base_url=server.address, timeout=60) as client, ThreadPoolExecutor(1) as thread:
        expected = [predict(client, image).json()["prediction"] for image in images]
        assert len({json.dumps(one) for one in expected}) == len(images)
        progress = Progress(server, kind)

        def enough(count: int) -> bool:
            return progress()["succeeded"] > count

        made_at_once = progress()["succeeded"]
        began = time.monotonic()

        queueing = thread.submit(queue_all, client, images, PREDICTIONS)
        for kill in range(KILLS):
            wait_until(partial(enough, made_at_once + kill * PREDICTIONS // (KILLS + 1)))
            wait_until(partial(killed_in_a_batch, server, kind, progress), pause=0)
        queued = queueing.result()
        posted = time.monotonic() - began
        wait_until(lambda: progress()["succeeded"] == made_at_once + PREDICTIONS)
        took = time.monotonic() - began

        assert len(queued) == PREDICTIONS
        assert progress() == {"succeeded": made_at_once + PREDICTIONS}
        outputs = {record["prediction_id"]: record["prediction"] for record in records(client)}
        assert {one: outputs[one] for one in queued} == {one: expected[image] for one, image in queued.items()}
        progress.close()
    lines = [json.loads(line) for line in server.functions_log.splitlines() if line.startswith('{"level"')]
    made = Counter(line["prediction_id"] for line in lines if line["message"] == "predicted")
    assert set(made.values()) == {1}
    if kind.name == "lambda":
        assert dead_letters(server, kind) == []
    print(f"\n{PREDICTIONS} queued in {posted:.1f} s and made in {took:.1f} s, with {KILLS} kills amid a batch")
    assert server.stop() == 0
    assert server.processes() == []


def dead_letters(server: LocalServer, kind: Kind) -> list[Any]:
    """Return what is in the dead-letter queue."""
    environment = function_environment(server, kind)
    sqs = boto3.client(
        "sqs",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    url = environment["QUEUE_URL"].rpartition("/")[0] + "/DeadLetterQueue"
    found: list[Any] = sqs.receive_message(QueueUrl=url).get("Messages", [])
    return found


def test_what_was_queued_when_everything_was_killed_is_made_after_the_next_start(
    serve: Serve, hurried: dict[str, str], images: list[bytes]
) -> None:
    server = serve(**hurried).start()
    with httpx.Client(base_url=server.address, timeout=60) as client:
        queued = queue_all(client, images, 100)
    server.kill_everything()
    server = serve(**hurried).start()

    with httpx.Client(base_url=server.address, timeout=60) as client:
        wait_until(all_succeeded(client, 100))
        assert {record["prediction_id"] for record in records(client)} == set(queued)


@pytest.mark.parametrize("kind", ["lambda"], indirect=True)
def test_a_queue_that_is_killed_comes_back_and_loses_nothing(
    serve: Serve, hurried: dict[str, str], images: list[bytes]
) -> None:
    server = serve(**hurried).start()
    with httpx.Client(base_url=server.address, timeout=60) as client:
        queue_all(client, images, 50)
        [process] = processes_of(server, "local.services.moto_process")
        process.send_signal(signal.SIGKILL)
        queue_all(client, images, 50)

        wait_until(all_succeeded(client, 100))
