"""Compare the number of predictions that a worker makes in a second with that of single synchronous requests."""

import contextlib
import os
from collections.abc import Callable
from itertools import cycle
from typing import Any
from uuid import UUID

from local.template import read_template
from tests.benchmarks.child import database, run_child
from tests.benchmarks.digits import Context, digits, form_event
from tests.benchmarks.measure import ROOT, Progress, Row, interleave, medians

SECONDS = 15
SINGLES_PER_BATCH = 10


def batch_size() -> int:
    """Return the number of messages in a worker's batch, as template.yaml sets it."""
    sources = (function.source for function in read_template(ROOT / "template.yaml"))
    [size] = [source.batch_size for source in sources if source is not None]
    return size


def rows(progress: Progress) -> list[Row]:
    """Measure batches of the size that template.yaml sets."""
    batch = batch_size()
    progress(f"batches of {batch} in a worker, and single requests")
    with database() as url:
        measured = run_child(__name__, url)
    return [
        Row(
            f"a worker's predictions/s, {batch} to a batch, over synchronous single requests",
            measured["worker_per_s"] / measured["singles_per_s"],
            5,
            at_most=False,
            parts={name: round(value, 3) for name, value in measured.items()},
        )
    ]


def measure() -> dict[str, float]:
    """Measure in this process: predictions per second, and the median milliseconds of a batch and of a request."""
    import functions.predict.handler as predict_function
    import functions.worker.handler as worker_function
    from functions.shared.ledger.connection import Connection
    from functions.shared.ledger.database_url import parse_database_url
    from functions.shared.ledger.records import NewInput, QueuedPrediction

    size = batch_size()
    images, context = digits(), Context()
    requests = cycle([form_event("/prediction", image) for image in images])
    inputs = cycle(images)
    ledger = predict_function.environment().serving.ledger
    queued: list[UUID] = []

    def enqueue() -> None:
        while len(queued) < size:
            prediction = QueuedPrediction(NewInput(next(inputs), "image/png", filename="digit.png"), "anonymous")
            ledger.enqueue(prediction)
            queued.append(prediction.prediction_id)

    def batch() -> None:
        event: Any = {"Records": [{"messageId": str(one), "body": str(one)} for one in queued]}
        queued.clear()
        if worker_function.handler(event, context)["batchItemFailures"]:
            raise RuntimeError("not all were predicted")

    def single() -> None:
        if predict_function.handler(next(requests), context)["statusCode"] != 201:
            raise RuntimeError("a request failed")

    singles: list[Callable[[], object]] = [single] * SINGLES_PER_BATCH
    for _ in range(10):
        enqueue()
        batch()
        single()
    # Replace the plans that PostgreSQL made for empty tables. In a ledger that is in use, autovacuum does this.
    with contextlib.closing(Connection(parse_database_url(os.environ["DATABASE_URL"]))) as connection:
        connection.run("ANALYZE", {}, keep=False)
    _, batches, *own = interleave(SECONDS, enqueue, batch, *singles)
    alone = [duration for durations in own for duration in durations]
    took = medians([batches, alone])
    return {
        "worker_per_s": len(batches) * size / sum(batches) * 1000,
        "singles_per_s": len(alone) / sum(alone) * 1000,
        "batch_p50_ms": took[0],
        "single_p50_ms": took[1],
    }
