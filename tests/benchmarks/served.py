"""Compare the local server under load with the plain Keras app on the same machine."""

import contextlib
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from local.services.postgres import EmbeddedPostgres
from tests.benchmarks import generator
from tests.benchmarks.child import ChildError
from tests.benchmarks.digits import digits
from tests.benchmarks.measure import Progress, Row
from tests.benchmarks.requests import write_requests
from tests.benchmarks.servers import lacks, local_server, plain_app, stored_predictions

ROUNDS = 6
SECONDS = 4
CONNECTIONS = 8


def rows(progress: Progress) -> list[Row]:
    """Load both servers in turn, and count what each has stored."""
    if missing := lacks("plain", "tensorflow"):
        raise ChildError(missing)
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="onnx-ledger-bench-")))
        write_requests(folder / "digits", digits())
        progress("starting the plain app and the local server")
        addresses, urls = {}, {}
        for name, start in (("plain", plain_app), ("ours", local_server)):
            server = EmbeddedPostgres(folder / name)
            running.callback(server.stop)
            urls[name] = server.start()
            addresses[name] = running.enter_context(start(folder, urls[name])).address
        measured: dict[str, list[dict[str, Any]]] = {name: [] for name in addresses}
        for name, address in addresses.items():
            load(address, folder / "digits", 2)  # warm: TensorFlow traces, environments start
            progress(f"{name} is warm")
        stored = {name: stored_predictions(url) for name, url in urls.items()}
        for number in range(1, ROUNDS + 1):
            for name, address in addresses.items():
                progress(f"round {number} of {ROUNDS}: {name}, {SECONDS} s")
                measured[name].append(load(address, folder / "digits", SECONDS))
        for name, url in urls.items():
            new = stored_predictions(url) - stored[name]
            answered = sum(one["stored"] for one in measured[name])
            if new != answered or any(one["refused"] for one in measured[name]):
                raise ChildError(f"{name}: {answered} answered 201, {new} stored, {measured[name]}")
    return [_row(measured["plain"], measured["ours"])]


def _row(plain: list[dict[str, Any]], ours: list[dict[str, Any]]) -> Row:
    """Compare only loads of the same round, which follow each other closely: a machine's speed changes in seconds."""
    ratio = median(
        (one["stored"] / one["seconds"]) / (other["stored"] / other["seconds"])
        for one, other in zip(ours, plain, strict=True)
    )
    rates = {
        name: sum(one["stored"] for one in own) / sum(one["seconds"] for one in own)
        for name, own in (("plain", plain), ("ours", ours))
    }
    parts = {
        "ours_per_s": round(rates["ours"], 1),
        "plain_per_s": round(rates["plain"], 1),
        "ours_p50_ms": round(min(one["p50_ms"] for one in ours), 2),
        "plain_p50_ms": round(min(one["p50_ms"] for one in plain), 2),
        "generator_share_of_a_core": round(
            sum(one["own_seconds"] for one in ours) / sum(o["seconds"] for o in ours), 3
        ),
    }
    what = f"the local server, {CONNECTIONS} connections, each digit stored: requests/s over the plain Keras app"
    return Row(what, ratio, 60, at_most=False, parts=parts)


def load(address: str, requests: Path, seconds: float) -> dict[str, Any]:
    """Load a server, and return what the generator has counted."""
    return generator.own(address, requests, CONNECTIONS, seconds)
