"""The local server with its prefetched events over without, under load: `python -m tests.benchmarks.prefetch`.

Requests a second are compared, since what prefetching saves is the wait between two events. So the machine
must have nothing else to do.
"""

import contextlib
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Final

from local.services.postgres import EmbeddedPostgres
from tests.benchmarks.digits import digits
from tests.benchmarks.measure import Row
from tests.benchmarks.report import print_table
from tests.benchmarks.requests import write_requests
from tests.benchmarks.served import CONNECTIONS, load
from tests.benchmarks.servers import local_server

ROUNDS: Final = 12
SECONDS: Final = 3
SERVE: Final = """\
import runpy, sys
import local.runtime.pool as pool
pool._PREFETCH, sys.argv = {}, ["local"]
runpy.run_module("local", run_name="__main__")
"""


def main() -> int:
    """Load both servers in turn, and print the ratio; 0 if prefetching is worth its price."""
    rates: list[list[float]] = [[], []]  # without, with
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="onnx-ledger-bench-")))
        write_requests(folder / "digits", digits())
        addresses = []
        for events in (0, 1):
            own = folder / str(events)
            own.mkdir()
            database = EmbeddedPostgres(own / "postgres")
            running.callback(database.stop)
            command = [sys.executable, "-c", SERVE.format(events)]
            addresses.append(running.enter_context(local_server(own, database.start(), command)).address)
        for address in addresses:
            load(address, folder / "digits", 2)  # the environments start
        for number in range(ROUNDS):
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
            for events in (0, 1) if number % 2 else (1, 0):
                measured = load(addresses[events], folder / "digits", SECONDS)
                rates[events].append(measured["stored"] / measured["seconds"])
    ratio = median(ahead / behind for behind, ahead in zip(*rates, strict=True))
    without, ahead = (round(median(rate), 1) for rate in rates)
    parts = {"prefetched_per_s": ahead, "without_per_s": without, "rounds": ROUNDS}
    what = f"the local server, {CONNECTIONS} connections: requests/s with a prefetched event over without"
    row = Row(what, ratio, 1.05, at_most=False, parts=parts)
    print_table([row])
    return 0 if row.passed else 1


if __name__ == "__main__":
    sys.exit(main())
