"""Measure whether the resident memory of predict grows while it serves digits."""

from itertools import cycle

import psutil

from tests.benchmarks.child import database, run_child
from tests.benchmarks.digits import Context, digits, form_event
from tests.benchmarks.measure import Progress, Row

FEW = 100
MANY = 10_000


def rows(progress: Progress) -> list[Row]:
    """Compare the resident memory after many requests with that after a few."""
    progress(f"{MANY} predictions in one process")
    with database() as url:
        measured = run_child(__name__, url)
    few, many = measured["few"], measured["many"]
    what = f"resident memory of predict after {MANY:,} requests over after {FEW}"
    return [Row(what, many / few, 1.05, parts={"few_mb": few / 1e6, "many_mb": many / 1e6})]


def measure() -> dict[str, int]:
    """Measure in this process; the figures are bytes."""
    from functions.predict.handler import handler

    requests = cycle([form_event("/prediction", image) for image in digits()])
    process = psutil.Process()
    resident = {}
    for served in range(1, MANY + 1):
        if handler(next(requests), Context())["statusCode"] != 201:
            raise RuntimeError("a request failed")
        if served == FEW:
            resident["few"] = process.memory_info().rss
    resident["many"] = process.memory_info().rss
    return resident
