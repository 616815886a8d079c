"""Time how requests are stored together: `python -m tests.benchmarks.many_requests`.

Each request has one picture. Processor time is what the ledger and PostgreSQL's process for its connection take
together; other work on the machine lengthens only the time on the clock.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from itertools import count, cycle
from pathlib import Path

import psutil

from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.quotas import NO_QUOTAS, Quotas
from functions.shared.ledger.records import IdempotencyKey, NewInput, StoredRequest
from tests.benchmarks.child import database
from tests.benchmarks.digits import digits
from tests.benchmarks.measure import Row, machine
from tests.benchmarks.report import print_table
from tests.support.database_proxy import Proxy
from tests.support.predictions import MODEL, prediction

SIZES = (1, 8, 32, 64)
ROUNDS = 9
REQUESTS = 512  # in a round
MOST_PER_REQUEST = 0.5
"""The largest ratio of the processor time of one of 32 requests together over that of one alone."""


def main() -> int:
    """Measure, print a table, and return 0 if every target is reached, 1 otherwise."""
    print(machine(), flush=True)
    with database() as url:
        rows = measure(url)
    print_table(rows)
    return 0 if all(row.passed for row in rows) else 1


def measure(url: str) -> list[Row]:
    """Measure with and without keys, and with quotas, in turn."""
    most = 2**62
    kinds: dict[str, tuple[bool, Quotas]] = {
        "without keys": (False, NO_QUOTAS),
        "with keys": (True, NO_QUOTAS),
        "with keys and quotas": (True, Quotas(most, most, most)),
    }
    rows = []
    for name, (keyed, quotas) in kinds.items():
        ledger = Ledger.at(url, pool_size=1, quotas=quotas)
        ledger.register(MODEL)
        [[pid]] = ledger._pool.run("SELECT pg_backend_pid()", {})  # its pool has one connection
        server = psutil.Process(int(pid))
        took = {size: _time(ledger, server, size, keyed=keyed) for size in SIZES}
        flights = _round_trips(url, quotas, keyed=keyed)
        parts = {f"{what}_us_at_{size}": took[size][what] for size in SIZES for what in ("client", "server", "clock")}
        ratio = sum(took[32][what] for what in ("client", "server")) / sum(
            took[1][what] for what in ("client", "server")
        )
        what = f"one of 32 requests {name}: processor time over one alone"
        rows.append(Row(what, ratio, MOST_PER_REQUEST, parts=parts))
        rows.append(Row(f"round trips to store 64 requests {name}", flights, 2 if keyed else 1))
        ledger.close()
    return rows


_names = count()


def requests(size: int, *, keyed: bool) -> list[StoredRequest]:
    """Return requests as a batch of single predictions leaves them: of several users, each with a picture."""
    images = cycle(digits()[:5])
    return [
        StoredRequest(
            [prediction(user_id=(user := f"user {n % 8}"), input=NewInput(next(images), "image/png", "digit.png"))],
            IdempotencyKey(user, f"request {next(_names)}", sha256(user.encode()).digest()) if keyed else None,
        )
        for n in range(size)
    ]


def store(ledger: Ledger, asked: list[StoredRequest]) -> None:
    """Look their keys up and store them, as a server does."""
    keys = [one.idempotency for one in asked if one.idempotency is not None]
    if any(ledger.replays(keys)) or any(ledger.store_requests(MODEL, asked)):
        raise RuntimeError("a request was not stored")


def _time(ledger: Ledger, server: psutil.Process, size: int, *, keyed: bool) -> dict[str, float]:
    """Return the times that a request takes, in microseconds."""

    def server_time() -> float:
        return sum(server.cpu_times()[:2])

    clocks: dict[str, Callable[[], float]] = {
        "client": time.thread_time,
        "server": server_time,
        "clock": time.perf_counter,
    }
    store(ledger, requests(size, keyed=keyed))
    took = dict.fromkeys(clocks, 0.0)
    for _ in range(ROUNDS):
        batches = [requests(size, keyed=keyed) for _ in range(REQUESTS // size)]
        began = {what: clock() for what, clock in clocks.items()}
        for batch in batches:
            store(ledger, batch)
        for what, clock in clocks.items():
            took[what] += clock() - began[what]
    return {what: round(seconds / ROUNDS / REQUESTS * 1e6, 1) for what, seconds in took.items()}


def _round_trips(url: str, quotas: Quotas, *, keyed: bool) -> int:
    with tempfile.TemporaryDirectory() as folder, Proxy(parse_database_url(url), Path(folder)) as proxy:
        ledger = Ledger.at(proxy.url, quotas=quotas)
        ledger.register(MODEL)
        before = proxy.flights
        store(ledger, requests(64, keyed=keyed))
        counted = proxy.flights - before
        ledger.close()  # says good-bye, which is a flight too
        return counted


if __name__ == "__main__":
    sys.exit(main())
