"""Count the round trips to the database per stored prediction, on the wire."""

import os
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.child import database, run_child
from tests.benchmarks.digits import Context, digits, form_event
from tests.benchmarks.measure import Progress, Row

BATCH = 256


def rows(progress: Progress) -> list[Row]:
    """Count for one prediction and for a batch."""
    progress(f"one prediction and a batch of {BATCH}, through a proxy that counts")
    with database() as url:
        measured = run_child(__name__, url)
    return [
        Row("round trips to store one prediction, warm", measured["one"], 1),
        Row(f"round trips to store a batch of {BATCH}, warm", measured["batch"], 1),
    ]


def measure() -> dict[str, int]:
    """Count in this process, for the second request of each kind: the first one prepares the statements."""
    from functions.shared.ledger.database_url import parse_database_url
    from tests.support.database_proxy import Proxy

    image = digits()[0]
    requests = {
        "one": form_event("/prediction", image),
        "batch": form_event("/predictions", *[image] * BATCH),
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        Proxy(parse_database_url(os.environ["DATABASE_URL"]), Path(folder)) as proxy,
    ):
        os.environ["DATABASE_URL"] = proxy.url
        from functions.predict.handler import handler

        counted = {}
        for name, event in requests.items():
            _serve(handler, event)
            before = proxy.flights
            _serve(handler, event)
            counted[name] = proxy.flights - before
    return counted


def _serve(handler: Any, event: dict[str, Any]) -> None:
    if handler(event, Context())["statusCode"] != 201:
        raise RuntimeError("a request failed")
