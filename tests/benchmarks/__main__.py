"""`python -m tests.benchmarks [--only NAME]`: measure, print a table, keep the figures."""

import argparse
import importlib
import os
import sys
import time
from functools import partial

from tests.benchmarks.child import ChildError
from tests.benchmarks.measure import Row, machine

BENCHMARKS = {
    "warm": "single requests, pages and batches in process, over the bare work",
    "round_trips": "round trips to the database per stored prediction",
    "cold_start": "a fresh interpreter to the first response",
    "memory": "resident memory after 10,000 requests",
    "served": "the local server under load, over the plain Keras app",
}


def main() -> int:
    """Run what is asked for; 0 if every target is reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="run this one; may be given several times")
    names = parser.parse_args().only or list(BENCHMARKS)
    print(machine(), flush=True)
    rows: list[Row] = []
    failed: list[str] = []
    for name in names:
        began = time.monotonic()
        _say(f"[{name}] {BENCHMARKS[name]} (load {os.getloadavg()[0]:.1f})")
        benchmark = importlib.import_module(f"tests.benchmarks.{name}")
        try:
            rows += benchmark.rows(partial(_progress, name))
        except ChildError as error:
            _say(f"[{name}] not measured: {error}")
            failed.append(name)
        _say(f"[{name}] took {time.monotonic() - began:.0f} s")
    print_table(rows)
    if failed:
        print(f"not measured: {', '.join(failed)}")
    return 0 if not failed and all(row.passed for row in rows) else 1


def print_table(rows: list[Row]) -> None:
    """Print a line for each ratio, and below it what the ratio is made of."""
    width = max((len(row.what) for row in rows), default=0)
    for row in rows:
        bound = f"{'<=' if row.at_most else '>='} {row.target:g}"
        print(f"{row.what:<{width}} {row.measured:8.3f}  {bound:<7} {'pass' if row.passed else 'MISS'}")
        if row.parts:
            print("    " + ", ".join(f"{name} {value:g}" for name, value in row.parts.items()))


def _progress(name: str, line: str) -> None:
    _say(f"[{name}] {line}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
